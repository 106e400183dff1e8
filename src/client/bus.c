/* bus: opening and closing, and what a fork does to it. See bus.h for its parts and locks.
 *
 * Order of opening: membarrier registration, link and hello, regions, lease. Registration comes first because nobody may
 * read or write a region who could be missed by a membarrier. Any step that fails undoes those before it.
 *
 * Fork: the mappings are MADV_DONTFORK, so a child that used a handle would crash; the generation is what keeps it from
 * trying. The child closes the sockets that it inherited: else leatd would not see the parent's end.
 */
#include "client/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/futex.h"
#include "client/consumer.h"
#include "client/producer.h"
#include "shm/place.h"
#include "shm/region.h"

uint32_t lt_fork_generation;

static pthread_mutex_t process_mutex = PTHREAD_MUTEX_INITIALIZER;
static leat_bus *process_buses;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int fork_error;

/* --- fork --- */

static void fork_prepare(void)
{
    pthread_mutex_lock(&process_mutex);
}

static void fork_parent(void)
{
    pthread_mutex_unlock(&process_mutex);
}

/* Only what is safe behind a fork of a threaded process: stores and close(). */
static void fork_child(void)
{
    lt_store_relaxed32(&lt_fork_generation, lt_fork_generation + 1);
    for (leat_bus *bus = process_buses; bus != NULL; bus = bus->next) {
        close(bus->link.fd);
        close(bus->lease.wake_fd);
        for (struct lt_handle *handle = bus->handles; handle != NULL; handle = handle->next)
            if (handle->kind == LT_HANDLE_CONSUMER)
                lt_consumer_forked((leat_consumer *)(void *)handle);
    }
    process_buses = NULL;
    pthread_mutex_unlock(&process_mutex);
}

static void fork_watch(void)
{
    fork_error = pthread_atfork(fork_prepare, fork_parent, fork_child);
}

/* --- checks --- */

int lt_bus_check(const leat_bus *bus)
{
    if (bus == NULL)
        return lt_fail(LEAT_EINVAL, "the bus is NULL");
    if (bus->generation != lt_load_relaxed32(&lt_fork_generation))
        return lt_fail(LEAT_EFORKED, "the bus was opened by the parent of process %d", (int)getpid());
    if (lt_bus_gone(bus))
        return lt_fail(LEAT_EGONE, "%s: the bus has ended", bus->path);
    return 0;
}

int lt_handle_refuse(const struct lt_handle *handle)
{
    if (handle->generation != lt_load_relaxed32(&lt_fork_generation))
        return lt_fail(LEAT_EFORKED, "the handle was opened by the parent of process %d", (int)getpid());
    return lt_fail(LEAT_EBUSY_HANDLE, "another call on this %s is under way",
                   handle->kind == LT_HANDLE_PRODUCER ? "producer" : "consumer");
}

int lt_options_take(void *to, size_t to_size, const void *from)
{
    size_t size;
    if (from == NULL)
        return 0;
    memcpy(&size, from, sizeof size);
    if (size < 2 * sizeof(size_t))
        return lt_fail(LEAT_EINVAL, "options of %zu bytes: start from the LEAT_..._OPTIONS macro", size);
    memcpy(to, from, size < to_size ? size : to_size);
    return 0;
}

/* --- handles --- */

void lt_handle_add(struct lt_handle *handle, leat_bus *bus, enum lt_handle_kind kind)
{
    handle->generation = bus->generation;
    handle->kind = kind;
    handle->bus = bus;
    pthread_mutex_lock(&bus->mutex);
    handle->counts.mailbox = bus->mailbox->counters;
    handle->counts.apart = bus->handles != NULL;
    for (struct lt_handle *other = bus->handles; other != NULL; other = other->next)
        lt_store_relaxed32(&other->counts.apart, 1);
    bool first_of_many = bus->handles != NULL && bus->handles->next == NULL;
    pthread_mutex_lock(&process_mutex); /* a fork's child walks the list */
    handle->next = bus->handles;
    bus->handles = handle;
    pthread_mutex_unlock(&process_mutex);
    pthread_mutex_unlock(&bus->mutex);
    if (first_of_many)
        lt_lease_nudge(bus);
}

/* Under the mutex. The one plain adder of the mailbox's counters has been told to count apart by now. */
/* Whether anything was counted since. */
static bool fold_handle(leat_bus *bus, struct lt_handle *handle)
{
    bool moved = false;
    for (int i = 0; i < LT_CLIENT_COUNTERS; i++) {
        uint64_t total = lt_load_relaxed64(&handle->counts.own[i]);
        uint64_t folded = handle->counts.folded[i];
        if (total == folded)
            continue;
        handle->counts.folded[i] = total;
        lt_fetch_add64(&bus->mailbox->counters[i], total - folded);
        moved = true;
    }
    return moved;
}

void lt_handle_remove(struct lt_handle *handle)
{
    leat_bus *bus = handle->bus;
    pthread_mutex_lock(&bus->mutex);
    fold_handle(bus, handle);
    pthread_mutex_lock(&process_mutex);
    for (struct lt_handle **at = &bus->handles; *at != NULL; at = &(*at)->next) {
        if (*at == handle) {
            *at = handle->next;
            break;
        }
    }
    pthread_mutex_unlock(&process_mutex);
    pthread_mutex_unlock(&bus->mutex);
}

bool lt_bus_fold(leat_bus *bus, bool *moved)
{
    bool many = false;
    *moved = false;
    /* Whoever has the mutex may be waiting for a worker: another second does no harm. */
    if (pthread_mutex_trylock(&bus->mutex) != 0)
        return true;
    for (struct lt_handle *handle = bus->handles; handle != NULL; handle = handle->next) {
        if (lt_load_relaxed32(&handle->counts.apart) != 0) {
            *moved |= fold_handle(bus, handle);
            many = true;
        }
    }
    pthread_mutex_unlock(&bus->mutex);
    return many;
}

void lt_bus_end(leat_bus *bus)
{
    lt_store_release32(&bus->gone, 1);
    pthread_mutex_lock(&bus->mutex);
    for (struct lt_handle *handle = bus->handles; handle != NULL; handle = handle->next)
        if (handle->kind == LT_HANDLE_CONSUMER)
            lt_consumer_ring((leat_consumer *)(void *)handle);
    pthread_mutex_unlock(&bus->mutex);
}

int lt_bus_entry_take(leat_bus *bus)
{
    for (uint32_t w = 0; w < LT_READERS_MAX / 64; w++) {
        if (~bus->entries[w] == 0)
            continue;
        uint32_t entry = w * 64 + (uint32_t)__builtin_ctzll(~bus->entries[w]);
        bus->entries[w] |= 1ull << (entry & 63);
        /* relaxed: leatd takes it for an upper bound, and looks at the entry itself when it is asked to. */
        if (lt_load_relaxed32(&bus->mailbox->readers_used) <= entry)
            lt_store_relaxed32(&bus->mailbox->readers_used, entry + 1);
        return (int)entry;
    }
    return lt_fail(LEAT_ELIMIT, "a client reads at most %u partitions at a time", LT_READERS_MAX);
}

void lt_bus_entry_give(leat_bus *bus, uint32_t entry)
{
    bus->entries[entry / 64] &= ~(1ull << (entry & 63));
}

/* --- open and close --- */

/* Checks one region's descriptor and maps it; the descriptor is closed in any case. */
static int map_region(int fd, enum lt_region_kind kind, uint64_t told, int writable, uint64_t least,
                      uint64_t id, void **base, uint64_t *bytes)
{
    int64_t size = lt_region_checked_size(fd);
    int r;
    if (size < 0)
        r = lt_fail_errno((int)-size, "region %d of the bus", kind);
    else if ((uint64_t)size != told || (uint64_t)size < least)
        r = lt_fail(LEAT_EPROTO, "region %d has %lld bytes, leatd said %llu, at least %llu are needed", kind,
                    (long long)size, (unsigned long long)told, (unsigned long long)least);
    else if ((r = lt_region_map(fd, told, writable, 1, 0, 0, base)) < 0)
        r = lt_fail_errno(-r, "mapping %llu bytes", (unsigned long long)told);
    else if ((r = lt_region_check(*base, kind, told, id)) < 0)
        lt_region_unmap(*base, told, 0);
    else
        *bytes = told;
    close(fd);
    return r;
}

static int map_regions(leat_bus *bus, const struct lt_hello_answer *answer, const int fds[LT_LINK_FDS])
{
    void *base = NULL;
    int r = map_region(fds[0], LT_REGION_COORDINATOR, answer->coordinator_bytes, 0, sizeof *bus->coordinator,
                       0, &base, &bus->coordinator_bytes);
    if (r < 0) {
        close(fds[1]);
        close(fds[2]);
        return r;
    }
    bus->coordinator = base;
    r = map_region(fds[1], LT_REGION_BELLS, answer->bells_bytes, 1, sizeof *bus->bells, 0, &base,
                   &bus->bells_bytes);
    if (r < 0) {
        close(fds[2]);
        return r;
    }
    bus->bells = base;
    r = map_region(fds[2], LT_REGION_MAILBOX, answer->mailbox_bytes, 1, sizeof *bus->mailbox, answer->client,
                   &base, &bus->mailbox_bytes);
    if (r >= 0)
        bus->mailbox = base;
    return r;
}

static void unmap_regions(leat_bus *bus)
{
    if (bus->coordinator != NULL)
        lt_region_unmap((void *)(uintptr_t)bus->coordinator, bus->coordinator_bytes, 0);
    if (bus->bells != NULL)
        lt_region_unmap(bus->bells, bus->bells_bytes, 0);
    if (bus->mailbox != NULL)
        lt_region_unmap(bus->mailbox, bus->mailbox_bytes, 0);
}

static int open_bus(leat_bus *bus, const char *where)
{
    int fds[LT_LINK_FDS];
    struct lt_hello_answer answer;

    int r = lt_place(where, bus->path, sizeof bus->path);
    if (r < 0)
        return r;
    pthread_once(&fork_once, fork_watch);
    if (fork_error != 0)
        return lt_fail_errno(fork_error, "pthread_atfork");
    r = lt_membarrier_register();
    if (r < 0)
        return lt_fail(LEAT_EUNSUPPORTED, "this kernel has no membarrier(GLOBAL_EXPEDITED): %s",
                       strerror(-r));
    r = lt_link_open(&bus->link, bus->path, true, &bus->gone, &answer, fds, LT_LINK_PATIENCE_MS);
    if (r < 0)
        return r;
    bus->client = answer.client;
    if (answer.client == 0 || answer.client >= LT_CLIENTS_MAX) {
        for (int i = 0; i < LT_LINK_FDS; i++)
            close(fds[i]);
        r = lt_fail(LEAT_EPROTO, "%s: leatd gave client number %u", bus->path, answer.client);
    } else {
        r = map_regions(bus, &answer, fds);
    }
    if (r >= 0)
        r = lt_lease_start(bus);
    if (r < 0) {
        lt_link_close(&bus->link, true);
        unmap_regions(bus);
    }
    return r;
}

int leat_open(leat_bus **out, const char *where)
{
    int kept = errno;
    if (out == NULL)
        return lt_fail(LEAT_EINVAL, "leat_open: no place for the bus");
    *out = NULL;
    leat_bus *bus = calloc(1, sizeof *bus);
    if (bus == NULL)
        return lt_fail(LEAT_ENOMEM, "%zu bytes for a bus", sizeof *bus);
    pthread_mutex_init(&bus->mutex, NULL);
    bus->generation = lt_load_relaxed32(&lt_fork_generation);
    bus->link.fd = bus->lease.wake_fd = -1;
    int r = open_bus(bus, where);
    errno = kept;
    if (r < 0) {
        pthread_mutex_destroy(&bus->mutex);
        free(bus);
        return r;
    }
    pthread_mutex_lock(&process_mutex);
    bus->next = process_buses;
    process_buses = bus;
    pthread_mutex_unlock(&process_mutex);
    *out = bus;
    return 0;
}

static void leave_process(leat_bus *bus)
{
    pthread_mutex_lock(&process_mutex);
    for (leat_bus **at = &process_buses; *at != NULL; at = &(*at)->next) {
        if (*at == bus) {
            *at = bus->next;
            break;
        }
    }
    pthread_mutex_unlock(&process_mutex);
}

void leat_close(leat_bus *bus)
{
    /* In a forked child the bus is the parent's, and its mutexes may be held by threads that are not here. */
    if (bus == NULL || bus->generation != lt_load_relaxed32(&lt_fork_generation))
        return;
    int kept = errno;
    while (bus->handles != NULL) {
        struct lt_handle *handle = bus->handles;
        lt_handle_leave(
            handle); /* leat_close is the last call: whoever is inside has broken the rule already */
        if (handle->kind == LT_HANDLE_PRODUCER)
            leat_producer_close((leat_producer *)(void *)handle);
        else
            leat_consumer_close((leat_consumer *)(void *)handle);
    }
    leave_process(bus);
    /* The thread first: it uses the link. A lease that is given back by its thread fires for nobody. */
    lt_link_stop(&bus->link);
    lt_lease_stop(bus);
    lt_link_close(&bus->link, true);
    unmap_regions(bus);
    pthread_mutex_destroy(&bus->mutex);
    free(bus);
    errno = kept;
}

const char *leat_last_error(leat_bus *bus)
{
    (void)bus;
    return lt_fail_text();
}

const char *leat_bus_path(leat_bus *bus)
{
    return bus == NULL ? "" : bus->path;
}

int leat_bus_locate(const char *where, char *out, size_t out_size)
{
    if (out == NULL)
        return lt_fail(LEAT_EINVAL, "leat_bus_locate: no place for the path");
    int kept = errno;
    int r = lt_place(where, out, out_size);
    errno = kept;
    return r;
}
