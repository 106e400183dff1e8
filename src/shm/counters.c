/* counters: see counters.h.
 *
 * leatd maps the file; a reader takes a copy of it, so that nothing that happens to the file later is its problem.
 */
#include "shm/counters.h"

#include <leat.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/err.h"

#define VERSION 1u
#define CAPACITY_MAX (1u << 24)

static uint64_t bytes_of(uint32_t capacity)
{
    return LT_COUNTERS_AT + (uint64_t)capacity * sizeof(struct lt_counter);
}

static void view(struct lt_counters *counters, void *base, uint32_t capacity)
{
    counters->head = base;
    counters->entries = (struct lt_counter *)(void *)((char *)base + LT_COUNTERS_AT);
    counters->capacity = capacity;
    counters->bytes = bytes_of(capacity);
}

/* --- leatd --- */

static uint32_t hash_of(const char *name, uint32_t topic_id, int32_t partition, int32_t client)
{
    uint64_t hash = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < sizeof(((struct lt_counter *)0)->name) - 1 && name[i]; i++)
        hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3ull;
    hash = (hash ^ topic_id) * 0x100000001b3ull;
    hash = (hash ^ (uint32_t)partition) * 0x100000001b3ull;
    hash = (hash ^ (uint32_t)client) * 0x100000001b3ull;
    return (uint32_t)(hash >> 32 ^ hash);
}

static bool is_taken(const struct lt_counter *entry)
{
    /* [counter.taken] acquire: who sees TAKEN sees the labels. Pairs with the release in lt_counters_get. */
    return lt_load_acquire32(&entry->state) == LT_COUNTER_TAKEN;
}

static void index_add(struct lt_counters *counters, uint32_t number)
{
    const struct lt_counter *entry = &counters->entries[number];
    uint32_t at = hash_of(entry->name, entry->topic_id, entry->partition, entry->client);
    while (counters->index[at & counters->index_mask] != 0)
        at++;
    counters->index[at & counters->index_mask] = number + 1;
}

/* After entries were freed: an open hash has no cheap way to take single ones out. */
static void index_all(struct lt_counters *counters)
{
    memset(counters->index, 0, (counters->index_mask + 1ull) * sizeof *counters->index);
    counters->first_free = counters->head->used;
    for (uint32_t i = counters->head->used; i-- > 0;) {
        if (is_taken(&counters->entries[i]))
            index_add(counters, i);
        else
            counters->first_free = i;
    }
}

static int make_index(struct lt_counters *counters)
{
    uint64_t size = 64;
    while (size < 2ull * counters->capacity)
        size *= 2;
    counters->index = malloc(size * sizeof *counters->index);
    if (!counters->index)
        return -ENOMEM;
    counters->index_mask = (uint32_t)(size - 1);
    index_all(counters);
    return 0;
}

/* The predecessor's file, when it is one that only we can have written. -errno: make a new one. */
static int take_over(struct lt_counters *counters, const char *path, uint64_t bus_id, uint32_t capacity)
{
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    void *base = MAP_FAILED;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 022) == 0 &&
        (uint64_t)st.st_size == bytes_of(capacity))
        base = mmap(NULL, bytes_of(capacity), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (base == MAP_FAILED)
        return -EINVAL;

    const struct lt_counters_head *head = base;
    if (head->magic != LT_COUNTERS_MAGIC || head->version != VERSION || head->capacity != capacity ||
        head->bus_id != bus_id || head->used > capacity) {
        munmap(base, bytes_of(capacity));
        return -EINVAL;
    }
    view(counters, base, capacity);
    return 0;
}

static int make_file(struct lt_counters *counters, const char *temporary, uint64_t bus_id, uint32_t capacity)
{
    int fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return -errno;
    void *base = MAP_FAILED;
    int error = fchmod(fd, 0644) != 0 ? errno : posix_fallocate(fd, 0, (off_t)bytes_of(capacity));
    if (error == 0) {
        base = mmap(NULL, bytes_of(capacity), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        error = base == MAP_FAILED ? errno : 0;
    }
    close(fd);
    if (error != 0)
        return -error;
    view(counters, base, capacity);
    counters->head->version = VERSION;
    counters->head->capacity = capacity;
    counters->head->bus_id = bus_id;
    counters->head->magic = LT_COUNTERS_MAGIC;
    return 0;
}

/* Under another name until it is whole, so that nobody opens half a file, and who reads an older bus's file keeps that. */
static int make_new(struct lt_counters *counters, const char *path, uint64_t bus_id, uint32_t capacity)
{
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary)
        return -ENAMETOOLONG;
    unlink(temporary);
    int error = make_file(counters, temporary, bus_id, capacity);
    if (error == 0 && rename(temporary, path) != 0)
        error = -errno;
    if (error != 0)
        unlink(temporary);
    return error;
}

int lt_counters_create(struct lt_counters *counters, const char *path, uint64_t bus_id, uint32_t capacity)
{
    *counters = (struct lt_counters){ 0 };
    if (capacity == 0 || capacity > CAPACITY_MAX)
        return -EINVAL;
    int error = take_over(counters, path, bus_id, capacity);
    if (error != 0)
        error = make_new(counters, path, bus_id, capacity);
    if (error == 0)
        error = make_index(counters);
    if (error != 0)
        lt_counters_close(counters);
    return error;
}

static struct lt_counter *find(const struct lt_counters *counters, const char *name, uint32_t topic_id,
                               int32_t partition, int32_t client)
{
    for (uint32_t at = hash_of(name, topic_id, partition, client);; at++) {
        uint32_t number = counters->index[at & counters->index_mask];
        if (number == 0)
            return NULL;
        struct lt_counter *entry = &counters->entries[number - 1];
        if (entry->topic_id == topic_id && entry->partition == partition && entry->client == client &&
            strncmp(entry->name, name, sizeof entry->name - 1) == 0)
            return entry;
    }
}

/* The first entry that is not taken; NULL: there is none. */
static struct lt_counter *find_free(struct lt_counters *counters)
{
    uint32_t used = counters->head->used;
    while (counters->first_free < used && is_taken(&counters->entries[counters->first_free]))
        counters->first_free++;
    return counters->first_free < counters->capacity ? &counters->entries[counters->first_free] : NULL;
}

struct lt_counter *lt_counters_get(struct lt_counters *counters, const char *name, const char *topic,
                                   uint32_t topic_id, int32_t partition, int32_t client)
{
    struct lt_counter *entry = find(counters, name, topic_id, partition, client);
    if (entry)
        return entry;
    entry = find_free(counters);
    if (!entry)
        return NULL;
    memset(entry, 0, sizeof *entry);
    entry->partition = partition;
    entry->client = client;
    entry->topic_id = topic_id;
    snprintf(entry->name, sizeof entry->name, "%s", name);
    snprintf(entry->topic, sizeof entry->topic, "%s", topic);
    /* [counter.taken] release: dead before it, and the entry is free still. */
    lt_store_release32(&entry->state, LT_COUNTER_TAKEN);

    uint32_t number = (uint32_t)(entry - counters->entries);
    if (number >= counters->head->used)
        lt_store_release32(&counters->head->used, number + 1);
    counters->first_free = number + 1;
    index_add(counters, number);
    return entry;
}

static void free_entry(struct lt_counter *entry)
{
    lt_store_release32(&entry->state, LT_COUNTER_FREE);
}

void lt_counters_free_topic(struct lt_counters *counters, uint32_t topic_id)
{
    for (uint32_t i = 0; topic_id != 0 && i < counters->head->used; i++)
        if (is_taken(&counters->entries[i]) && counters->entries[i].topic_id == topic_id)
            free_entry(&counters->entries[i]);
    index_all(counters);
}

void lt_counters_free_client(struct lt_counters *counters, int32_t client)
{
    for (uint32_t i = 0; client >= 0 && i < counters->head->used; i++)
        if (is_taken(&counters->entries[i]) && counters->entries[i].client == client)
            free_entry(&counters->entries[i]);
    index_all(counters);
}

void lt_counter_set(struct lt_counter *counter, int64_t value)
{
    lt_store_relaxed64((uint64_t *)&counter->value, (uint64_t)value); /* relaxed: each number stands alone */
}

void lt_counter_add(struct lt_counter *counter, int64_t value)
{
    lt_fetch_add64((uint64_t *)&counter->value, (uint64_t)value);
}

/* --- readers --- */

static bool read_whole(int fd, void *to, uint64_t size, uint64_t at)
{
    for (uint64_t done = 0; done < size;) {
        ssize_t n = pread(fd, (char *)to + done, size - done, (off_t)(at + done));
        if (n > 0)
            done += (uint64_t)n;
        else if (n == 0 || errno != EINTR)
            return false;
    }
    return true;
}

static int check_head(const struct lt_counters_head *head, const char *path)
{
    if (head->magic != LT_COUNTERS_MAGIC)
        return lt_fail(LEAT_EPROTO, "%s: magic %#llx: not a counters file", path,
                       (unsigned long long)head->magic);
    if (head->version != VERSION)
        return lt_fail(LEAT_EVERSION, "%s: version %u; this build reads %u", path, head->version, VERSION);
    if (head->capacity == 0 || head->capacity > CAPACITY_MAX || head->used > head->capacity)
        return lt_fail(LEAT_EPROTO, "%s: %u entries used of %u: damaged", path, head->used, head->capacity);
    return 0;
}

/* Labels of a damaged file may lack their ends. */
static void end_labels(struct lt_counters *counters)
{
    for (uint32_t i = 0; i < counters->head->used; i++) {
        struct lt_counter *entry = &counters->entries[i];
        entry->name[sizeof entry->name - 1] = 0;
        entry->topic[sizeof entry->topic - 1] = 0;
    }
}

static int read_file(struct lt_counters *counters, int fd, const char *path)
{
    struct lt_counters_head head;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return lt_fail_errno(errno, "%s", path);
    if (!S_ISREG(st.st_mode) || !read_whole(fd, &head, sizeof head, 0))
        return lt_fail(LEAT_EPROTO, "%s: %lld bytes: not a counters file", path, (long long)st.st_size);
    int error = check_head(&head, path);
    if (error != 0)
        return error;
    if ((uint64_t)st.st_size != bytes_of(head.capacity))
        return lt_fail(LEAT_EPROTO, "%s: %lld bytes; %u entries make %llu: damaged", path,
                       (long long)st.st_size, head.capacity, (unsigned long long)bytes_of(head.capacity));

    void *base = mmap(NULL, bytes_of(head.capacity), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                      0);
    if (base == MAP_FAILED)
        return lt_fail_errno(errno, "memory for %s", path);
    view(counters, base, head.capacity);
    *counters->head = head;
    if (!read_whole(fd, counters->entries, head.used * sizeof(struct lt_counter), LT_COUNTERS_AT))
        return lt_fail(LEAT_EPROTO, "%s: ends before its %u entries: damaged", path, head.used);
    end_labels(counters);
    return 0;
}

int lt_counters_open(struct lt_counters *counters, const char *path)
{
    *counters = (struct lt_counters){ 0 };
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? lt_fail(LEAT_EGONE, "%s: no such file", path)
                                                   : lt_fail_errno(errno, "%s", path);
    int error = read_file(counters, fd, path);
    close(fd);
    if (error != 0)
        lt_counters_close(counters);
    return error;
}

void lt_counters_close(struct lt_counters *counters)
{
    if (counters->head)
        munmap(counters->head, counters->bytes);
    free(counters->index);
    *counters = (struct lt_counters){ 0 };
}
