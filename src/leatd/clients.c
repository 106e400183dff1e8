/* clients: see clients.h.
 *
 * Points, with what a death there leaves:
 *   clients.store       a mailbox with the keeper and no entry: dropped at adoption
 *   clients.enter       the same
 *   clients.enter.after an ALIVE entry whose client never had the answer: it says HELLO again and is recognised
 *   clients.left        the entry says LEFT, nothing is repaired: adoption repairs everything
 *   clients.dead        the entry says DEAD: adoption cleans it
 *   clients.clean       the same; some of it is done
 *   clients.free        the same; all of it is done but for the word
 */
#include "leatd/clients.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include <leat.h>
#include "leatd/control.h"
#include "leatd/fold.h"
#include "leatd/groups.h"
#include "leatd/kept.h"
#include "leatd/leases.h"
#include "leatd/readers.h"
#include "leatd/topics.h"
#include "leatd/warden.h"

#define OWNER_DIED 0x40000000u /* FUTEX_OWNER_DIED */
#define DESCRIPTORS_OF_A_CLIENT 3u
#define SPARE_DESCRIPTORS 64u

static struct lt_client_entry *entry_of(struct lt_worker *w, uint32_t id)
{
    return &w->coordinator->clients[id];
}

/* --- repair --- */

/* Everybody who may sleep on something that a dead process was about to say: a client, or the worker before this one. */
static void rescue_bells(struct lt_worker *w, const struct lt_partition *page)
{
    for (uint32_t word = 0; word < LT_BELL_WORDS; word++)
        for (uint64_t bits = page->bells[word] | page->acked_bells[word]; bits != 0; bits &= bits - 1)
            lt_bell_rescue(&w->bells->bells[word * 64 + (uint32_t)__builtin_ctzll(bits)]);
}

void lt_clients_repair_part(struct lt_worker *w, struct lt_part *part, bool wake_all)
{
    struct lt_partition *page = part->page;
    uint32_t published = 0, freed = 0;
    for (uint32_t ring = page->first_ring;; ring++) {
        struct lt_kept_ring *kept = lt_part_ring(part, ring);
        struct lt_repair_report report;
        if (kept->base && lt_kept_repair(kept, w->fate, &report) != LT_RING_CORRUPT) {
            part->counted[LT_PART_ABORTED] += report.aborted;
            part->counted[LT_PART_HELPED] += report.helped;
            part->held |= report.held != 0;
            published += report.helped + report.gaps;
            freed += report.freed;
        }
        if (ring == page->current_ring)
            break;
    }
    lt_point("clients.repair");
    if (wake_all) {
        rescue_bells(w, page);
        lt_part_wake_room(page);
        lt_warden_knock(w, part);
    } else if (published != 0) {
        lt_partition_ring_bells(page, w->bells);
    }
    if (freed != 0 && !wake_all)
        lt_warden_knock(w, part);
}

/* Whoever dies inside a knock, between taking the flag off leatd's own bell and the wake, leaves the warden asleep and everybody
 * else in the belief that it is up. */
static void rescue_warden(struct lt_worker *w)
{
    lt_bell_rescue(&w->bells->leatd);
}

void lt_clients_repair(struct lt_worker *w, uint32_t id)
{
    for (struct lt_topic *topic = lt_topics_next(w, NULL); topic; topic = lt_topics_next(w, topic))
        if (topic->wrote[id / 64] >> id % 64 & 1)
            for (uint32_t p = 0; p < topic->partition_count; p++)
                lt_clients_repair_part(w, &topic->parts[p], true);
}

/* --- those who come --- */

static uint32_t count_of_uid(struct lt_worker *w, uint32_t uid)
{
    uint32_t count = 0;
    for (uint32_t c = 1; c < LT_CLIENTS_MAX; c++)
        count += w->clients[c] && w->clients[c]->uid == uid;
    return count;
}

static int check_limits(struct lt_worker *w, const struct lt_peer *peer)
{
    const struct lt_config *config = &w->config;
    if (w->client_count >= config->max_clients)
        return lt_fail(LEAT_ELIMIT, "the client table is full: %u of %u clients (max-clients)",
                       w->client_count, config->max_clients);
    if (w->memory_bytes + sizeof(struct lt_mailbox) > config->max_memory)
        return lt_fail(LEAT_ELIMIT, "a client takes %zu bytes, %llu of %llu are in use (max-memory)",
                       sizeof(struct lt_mailbox), (unsigned long long)w->memory_bytes,
                       (unsigned long long)config->max_memory);
    uint64_t descriptors = lt_keep_count(&w->keep) + w->conn_count + SPARE_DESCRIPTORS;
    if (descriptors + DESCRIPTORS_OF_A_CLIENT > w->descriptor_limit)
        return lt_fail(LEAT_ELIMIT, "a client takes %u descriptors, %llu of %llu are in use (RLIMIT_NOFILE)",
                       DESCRIPTORS_OF_A_CLIENT, (unsigned long long)descriptors,
                       (unsigned long long)w->descriptor_limit);
    if (peer->uid == 0 || peer->uid == geteuid())
        return 0;
    uint32_t mine = count_of_uid(w, peer->uid);
    if (mine >= config->max_clients_per_uid)
        return lt_fail(LEAT_ELIMIT, "uid %u has %u of %u clients (max-clients-per-uid)", peer->uid, mine,
                       config->max_clients_per_uid);
    return 0;
}

/* The id that was free for longest, more or less. */
static uint32_t find_id(struct lt_worker *w)
{
    for (uint32_t i = 0; i < LT_CLIENTS_MAX - 1; i++) {
        uint32_t id = (w->last_client_id + i) % (LT_CLIENTS_MAX - 1) + 1;
        if (entry_of(w, id)->state == LT_CLIENT_FREE && !w->clients[id])
            return id;
    }
    return 0;
}

static int map_mailbox(struct lt_client *client, int fd, uint64_t bytes)
{
    void *base;
    int r = lt_region_map(fd, bytes, 1, 0, 0, 0, &base);
    if (r < 0)
        return lt_fail_errno(-r, "map the mailbox of client %u", client->id);
    client->mailbox = base;
    client->mailbox_bytes = bytes;
    return 0;
}

static int make_mailbox(struct lt_worker *w, struct lt_client *client)
{
    struct lt_keep_note note = { .pid = client->pid, .uid = client->uid, .gid = client->gid };
    uint64_t bytes;
    int fd = lt_region_create("leat-mailbox", sizeof(struct lt_mailbox), &bytes);
    if (fd < 0)
        return lt_fail_errno(-fd, "a mailbox of %zu bytes", sizeof(struct lt_mailbox));
    int r = map_mailbox(client, fd, bytes);
    if (r == 0) {
        for (uint32_t e = 0; e < LT_READERS_MAX; e++)
            client->mailbox->readers[e].pin = client->mailbox->readers[e].keep = LT_PIN_NONE;
        lt_region_init(client->mailbox, LT_REGION_MAILBOX, bytes, client->id, 0);
        lt_point("clients.store");
        note.bytes = bytes;
        r = lt_keep_store(&w->keep, LT_KEEP_MAILBOX, client->id, &note, fd);
    }
    if (r < 0)
        close(fd);
    return r;
}

void lt_clients_name(struct lt_worker *w, const struct lt_client *client, const char *name)
{
    struct lt_client_entry *entry = &w->coordinator->clients[client->id];
    snprintf(entry->client_id, sizeof entry->client_id, "%s", name);
}

static void write_entry(struct lt_client_entry *entry, const struct lt_client *client,
                        const struct lt_hello *hello)
{
    entry->pid = client->pid;
    entry->uid = client->uid;
    entry->gid = client->gid;
    entry->since_ms = (uint64_t)lt_clock_real_ms();
    entry->mailbox_bytes = client->mailbox_bytes;
    entry->quarantined = 0;
    entry->last_delete = 0;
    snprintf(entry->program, sizeof entry->program, "%s", hello->program);
    snprintf(entry->client_id, sizeof entry->client_id, "%s", hello->client_id);
    lt_point("clients.enter");
    /* [clients.alive] release: whoever sees ALIVE sees the rest of the entry. */
    lt_store_release32(&entry->state, LT_CLIENT_ALIVE);
    lt_point("clients.enter.after");
}

static void join(struct lt_client *client, struct lt_conn *conn)
{
    client->conn = conn;
    client->is_adopted = false;
    conn->client = client;
}

/* What was taken before something failed. */
static void undo_enter(struct lt_worker *w, struct lt_client *client)
{
    char why[LT_MSG_TEXT];
    snprintf(why, sizeof why, "%s", lt_fail_text());
    lt_keep_drop(&w->keep, LT_KEEP_PIDFD, client->id);
    lt_keep_drop(&w->keep, LT_KEEP_MAILBOX, client->id);
    if (client->mailbox)
        lt_region_unmap(client->mailbox, client->mailbox_bytes, 0);
    free(client);
    lt_fail(0, "%s", why);
}

/* The last worker died between writing the entry and its answer: then this HELLO is the same one again. Its client id has a
 * random part, so no other handle of that process says it; and who has an answer resumes instead. */
static struct lt_client *find_unanswered(struct lt_worker *w, const struct lt_peer *peer,
                                         const struct lt_hello *hello)
{
    for (uint32_t c = 1; c < LT_CLIENTS_MAX; c++) {
        struct lt_client *client = w->clients[c];
        if (client && client->is_adopted && !client->conn && client->pid == peer->pid &&
            client->uid == peer->uid && client->bell_count == 0 &&
            lt_load_acquire32(&client->mailbox->lease) == 0 &&
            strcmp(entry_of(w, c)->client_id, hello->client_id) == 0)
            return client;
    }
    return NULL;
}

static int give_regions(struct lt_worker *w, uint32_t id, int fds[3])
{
    fds[0] = lt_region_reopen_readonly(w->coordinator_fd);
    if (fds[0] < 0)
        return lt_fail_errno(-fds[0], "a read-only descriptor of the coordinator");
    fds[1] = w->bells_fd;
    fds[2] = lt_keep_fd(&w->keep, LT_KEEP_MAILBOX, id);
    return 0;
}

int lt_clients_enter(struct lt_worker *w, struct lt_conn *conn, const struct lt_hello *hello, int fds[3])
{
    struct lt_peer *peer = &conn->peer;
    struct lt_client *client = find_unanswered(w, peer, hello);
    int r;
    if (client) {
        r = give_regions(w, client->id, fds);
        if (r == 0)
            join(client, conn);
        return r;
    }
    r = check_limits(w, peer);
    if (r < 0)
        return r;
    r = lt_peer_watch(peer, conn->fd);
    if (r < 0)
        return r;
    uint32_t id = find_id(w);
    client = id ? calloc(1, sizeof *client) : NULL;
    if (!client)
        return id ? lt_fail(LEAT_ENOMEM, "no memory for a client")
                  : lt_fail(LEAT_ELIMIT, "all of %u client ids are in use", LT_CLIENTS_MAX - 1);
    client->id = id;
    client->pid = peer->pid;
    client->uid = peer->uid;
    client->gid = peer->gid;
    client->generation = ++w->client_generation;

    struct lt_keep_note note = { .pid = client->pid, .uid = client->uid, .gid = client->gid };
    r = make_mailbox(w, client);
    if (r == 0)
        r = lt_keep_store(&w->keep, LT_KEEP_PIDFD, id, &note, peer->pidfd);
    if (r < 0) {
        undo_enter(w, client);
        return r;
    }
    client->pidfd = peer->pidfd;
    peer->pidfd = -1; /* the table's now */
    r = give_regions(w, id, fds);
    if (r == 0 && (r = lt_control_watch_client(w, client)) < 0)
        close(fds[0]);
    if (r < 0) {
        undo_enter(w, client);
        return r;
    }
    w->clients[id] = client;
    w->client_count++;
    w->last_client_id = id;
    w->memory_bytes += client->mailbox_bytes;
    w->fate[id] = LT_OWNER_ALIVE;
    join(client, conn);
    write_entry(entry_of(w, id), client, hello);
    lt_warden_wake(w); /* it folds while there are clients */
    return 0;
}

int lt_clients_resume(struct lt_worker *w, struct lt_conn *conn, const struct lt_hello *hello)
{
    uint32_t id = hello->client;
    struct lt_client *client = id < LT_CLIENTS_MAX ? w->clients[id] : NULL;
    if (hello->bus_id != w->coordinator->bus_id)
        return lt_fail(LEAT_EGONE, "this is bus %016llx, not %016llx",
                       (unsigned long long)w->coordinator->bus_id, (unsigned long long)hello->bus_id);
    if (!client || client->pid != conn->peer.pid || client->pid <= 0 || client->uid != conn->peer.uid ||
        lt_pidfd_fired(client->pidfd))
        return lt_fail(LEAT_EGONE, "client %u is not process %d of uid %u, or has been given up", id,
                       conn->peer.pid, conn->peer.uid);
    if (entry_of(w, id)->state == LT_CLIENT_LEFT) {
        if (lt_load_acquire32(&client->mailbox->lease) & OWNER_DIED)
            return lt_fail(LEAT_EGONE, "client %u was given up: its lease has fired", id);
        /* It took its lease again; LEFT freed nothing. */
        w->fate[id] = LT_OWNER_ALIVE;
        lt_store_release32(&entry_of(w, id)->state, LT_CLIENT_ALIVE);
    }
    if (client->conn)
        client->conn->client = NULL; /* the older connection is at its end, and we have not seen that yet */
    join(client, conn);
    return 0;
}

int lt_clients_adopt(struct lt_worker *w, uint32_t id)
{
    const struct lt_client_entry *entry = entry_of(w, id);
    int mailbox_fd = lt_keep_fd(&w->keep, LT_KEEP_MAILBOX, id),
        pidfd = lt_keep_fd(&w->keep, LT_KEEP_PIDFD, id);
    if (mailbox_fd < 0 || pidfd < 0)
        return lt_fail(LEAT_EPROTO, "client %u: the keeper has not all of it", id);
    struct lt_client *client = calloc(1, sizeof *client);
    if (!client)
        return lt_fail(LEAT_ENOMEM, "no memory for a client");
    client->id = id;
    client->pid = entry->pid;
    client->uid = entry->uid;
    client->gid = entry->gid;
    client->pidfd = pidfd;
    client->generation = ++w->client_generation;
    client->is_adopted = true;
    /* Sealed, so its size is what it was; its head is the client's to write and is not asked. */
    int64_t bytes = lt_region_checked_size(mailbox_fd);
    int r = bytes < (int64_t)sizeof(struct lt_mailbox)
                ? lt_fail(LEAT_EPROTO, "client %u: a mailbox of %lld bytes", id, (long long)bytes)
                : map_mailbox(client, mailbox_fd, (uint64_t)bytes);
    if (r == 0)
        r = lt_control_watch_client(w, client);
    if (r < 0) {
        lt_region_unmap(client->mailbox, client->mailbox_bytes, 0);
        free(client);
        return r;
    }
    w->clients[id] = client;
    w->client_count++;
    w->memory_bytes += client->mailbox_bytes;
    w->fate[id] = entry->state == LT_CLIENT_LEFT ? LT_OWNER_LEFT : LT_OWNER_ALIVE;
    return 0;
}

/* --- those who leave --- */

void lt_clients_left(struct lt_worker *w, struct lt_client *client)
{
    struct lt_client_entry *entry = entry_of(w, client->id);
    if (entry->state != LT_CLIENT_ALIVE)
        return;
    lt_groups_client_gone(w, client); /* first: the heirs of its partitions wait */
    w->fate[client->id] = LT_OWNER_LEFT;
    lt_store_release32(&entry->state, LT_CLIENT_LEFT);
    lt_point("clients.left");
    lt_clients_repair(w, client->id);
    lt_readers_knock(w, client);
    rescue_warden(w);
}

static void forget_writer(struct lt_topic *topic, uint32_t id)
{
    struct lt_topic_head *head = topic->head;
    if (head->exclusive_client == id)
        lt_store_release32(&head->exclusive_client, 0);
    lt_store_release64(&head->writers[id / 64], head->writers[id / 64] & ~(1ull << id % 64));
    topic->wrote[id / 64] &= ~(1ull << id % 64);
    if (head->created_by >> 32 == id)
        head->created_by = 0; /* the next client with this id counts its requests anew */
}

void lt_clients_clean(struct lt_worker *w, uint32_t id)
{
    lt_store_release32(&entry_of(w, id)->state, LT_CLIENT_DEAD);
    lt_point("clients.dead");
    lt_readers_close_all(w, id);
    w->fate[id] = LT_OWNER_DEAD;
    lt_clients_repair(w, id);
    lt_point("clients.clean");
    for (struct lt_topic *topic = lt_topics_next(w, NULL); topic; topic = lt_topics_next(w, topic))
        forget_writer(topic, id);
    lt_fold_forget_client(w, id);
    lt_keep_drop(&w->keep, LT_KEEP_PIDFD, id);
    lt_keep_drop(&w->keep, LT_KEEP_MAILBOX, id);
    lt_point("clients.free");
    /* The full scan is over: the id may be given out again. */
    lt_store_release32(&entry_of(w, id)->state, LT_CLIENT_FREE);
    rescue_warden(w);
}

void lt_clients_dead(struct lt_worker *w, struct lt_client *client, const char *how)
{
    uint32_t id = client->id;
    lt_worker_log(w, LT_LOG_DEBUG, "client %u (pid %d) %s", id, client->pid, how);
    lt_groups_client_gone(w, client); /* before its entry says DEAD: what it committed is in its mailbox */
    if (client->conn)
        client->conn->client = NULL;
    lt_control_unwatch_client(w, client);
    lt_fold_client(w, client);
    lt_clients_clean(w, id);
    w->clients[id] = NULL;
    w->client_count--;
    w->memory_bytes -= client->mailbox_bytes;
    lt_clients_free(w, client);
}

void lt_clients_free(struct lt_worker *w, struct lt_client *client)
{
    if (client->leased)
        lt_leases_remove(w, client);
    else
        lt_region_unmap(client->mailbox, client->mailbox_bytes, 0);
    free(client->idents);
    free(client);
}

/* --- for people --- */

static void count_quarantined(struct lt_worker *w, uint32_t *counts)
{
    memset(counts, 0, LT_CLIENTS_MAX * sizeof *counts);
    for (struct lt_topic *topic = lt_topics_next(w, NULL); topic; topic = lt_topics_next(w, topic)) {
        for (uint32_t p = 0; p < topic->partition_count; p++) {
            struct lt_part *part = &topic->parts[p];
            uint32_t held = 0;
            for (uint32_t r = 0; part->held && r < LT_RINGS; r++)
                if (part->rings[r].base)
                    held += lt_kept_count_held(&part->rings[r], counts, LT_CLIENTS_MAX);
            part->held = held != 0;
        }
    }
}

static void fill_row(struct lt_worker *w, uint32_t id, uint32_t quarantined, struct lt_client_row *row)
{
    const struct lt_client *client = w->clients[id];
    struct lt_client_entry *entry = entry_of(w, id);
    memset(row, 0, sizeof *row);
    entry->quarantined = quarantined;
    row->id = id;
    row->pid = entry->pid;
    row->uid = entry->uid;
    row->consumers = client->bell_count;
    row->readers = client->reader_count;
    row->quarantined = quarantined;
    row->state = entry->state;
    if (entry->state == LT_CLIENT_ALIVE)
        row->state = !client->conn ? 100 : quarantined != 0 ? 101 : LT_CLIENT_ALIVE;
    for (struct lt_topic *topic = lt_topics_next(w, NULL); topic; topic = lt_topics_next(w, topic))
        row->producers += lt_topic_writes(topic, id);
    memcpy(row->program, entry->program, sizeof row->program);
    memcpy(row->client_id, entry->client_id, sizeof row->client_id);
}

int lt_clients_rows(struct lt_worker *w, uint32_t from, struct lt_client_row *rows, uint32_t room)
{
    uint32_t quarantined[LT_CLIENTS_MAX];
    int count = 0;
    count_quarantined(w, quarantined);
    for (uint32_t id = from; id < LT_CLIENTS_MAX && (uint32_t)count < room; id++)
        if (w->clients[id])
            fill_row(w, id, quarantined[id], &rows[count++]);
    return count;
}
