/* tracee: does one path of paths.c with the shipping client, one breakpoint before it and one behind it.
 *
 *   tracee PATH      descriptor 3 is the memory (step.h), filled already
 *
 * Producer and consumer are the real ones, opened by hand: what leatd would have answered (regions, page, mapped rings) is put
 * into the structs of src/client. There is no leatd to ask, so every ring is mapped beforehand. The calls are leat.h's.
 */
#include <leat.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "../step.h"
#include "client/consumer.h"
#include "client/producer.h"

#define MAX_RECORDS 16u

struct handles {
    leat_bus bus;
    struct lt_attached topic;
    struct lt_mapped *mapped_list[1];
    struct lt_mapped mapped[2 * RINGS]; /* for writing, for reading */
    leat_producer producer;
    struct lt_out out;
    uint32_t many_first[1], many_last[1], many_touched[1];
    leat_consumer consumer;
    struct lt_cursor cursor;
    struct lt_cursor *cursors[1], *touched[1];
    leat_record records[MAX_RECORDS];
    leat_header headers[8];
    /* what is sent: copied from here */
    unsigned char values[SENDS_MAX][512];
    leat_record sent[SENDS_MAX];
    leat_receipt receipts[SENDS_MAX];
    leat_header sent_headers[2];
    ucontext_t outside, inside;
};
_Static_assert(sizeof(struct handles) <= HANDLES_SIZE, "handles");

static struct world world;
static struct handles *h;
static const struct path *path;

int main(int argc, char **argv);

/* The vdso tells the time between two ticks of the kernel, and tries again when one came: for ever, under a stepper. As a system
 * call it is the stepper's to tell. */
int clock_gettime(clockid_t clock, struct timespec *t)
{
    return (int)syscall(SYS_clock_gettime, clock, t);
}

/* --- handles --- */

static void open_topic(void)
{
    leat_bus *bus = &h->bus;
    struct lt_attached *topic = &h->topic;
    bus->generation = lt_fork_generation;
    bus->client = TRACEE;
    bus->coordinator = world.coordinator;
    bus->bells = world.bells;
    bus->mailbox = world.mailbox;
    strcpy(bus->path, "nowhere");
    pthread_mutex_init(&bus->mutex, NULL);
    strcpy(topic->name, "stepped");
    topic->bus = bus;
    topic->topic_id = 1;
    topic->partition_count = 1;
    topic->page = world.page;
    topic->head = lt_topic_head(world.page);
    topic->ring_size = PAYLOAD_SIZE;
    topic->mapped = h->mapped_list;
    for (uint32_t i = 0; i < 2 * RINGS; i++) {
        struct lt_mapped *m = &h->mapped[i];
        *m = (struct lt_mapped){ .topic = topic, .ring = i / 2, .write = i % 2 == 0, .references = 1 };
        m->next = h->mapped_list[0];
        h->mapped_list[0] = m;
    }
}

/* lt_attached_map finds them mapped already. */
static void view_rings(void)
{
    for (uint32_t i = 0; i < 2 * RINGS; i++) {
        h->mapped[i].view = world_ring(&world, h->mapped[i].ring);
        world.notes->base_offset_at[i] = (uint64_t)((unsigned char *)&h->mapped[i].view.base_offset -
                                                    world.base);
    }
    h->topic.record_max = lt_ring_record_max(&h->mapped[0].view);
}

static void open_producer(void)
{
    leat_producer *p = &h->producer;
    p->handle.generation = lt_fork_generation;
    p->handle.kind = LT_HANDLE_PRODUCER;
    p->handle.bus = &h->bus;
    p->handle.counts.mailbox = world.mailbox->counters;
    p->topic = &h->topic;
    p->outs = &h->out;
    p->map = lt_topic_map(world.page);
    p->bells = world.bells;
    p->owner = TRACEE;
    p->partition_count = 1;
    p->partitioner = LEAT_XXH3;
    p->epoch_max = 1;
    p->exclusive = path->exclusive;
    p->record_max = h->topic.record_max;
    p->many_first = h->many_first;
    p->many_last = h->many_last;
    p->many_touched = h->many_touched;
    p->many_first[0] = LT_NOBODY;
    p->options.full_timeout_ms = -1;
    h->out.part = world.part;
}

static void on_missed(leat_consumer *c, const leat_partition *partition, uint64_t from, uint64_t count,
                      void *user)
{
    struct notes *notes = world.notes;
    (void)c, (void)partition, (void)user;
    if (notes->missed_count < 8)
        notes->missed[notes->missed_count++] = (struct missed){ from, count };
}

static void open_consumer(void)
{
    leat_consumer *c = &h->consumer;
    struct lt_cursor *cursor = &h->cursor;
    c->handle.generation = lt_fork_generation;
    c->handle.kind = LT_HANDLE_CONSUMER;
    c->handle.bus = &h->bus;
    c->handle.counts.mailbox = world.mailbox->counters;
    c->cursors = h->cursors;
    c->cursors[0] = cursor;
    c->cursor_count = 1;
    c->max = MAX_RECORDS;
    c->topics_seq = world.coordinator->topics_seq;
    c->reset = LEAT_EARLIEST;
    c->records = h->records;
    c->touched = h->touched;
    c->bell = &world.bells->bells[0];
    c->headers = h->headers;
    c->headers_room = 8;
    c->gate = strcmp(path->name, "keep") == 0;
    c->options.on_missed = on_missed;
    cursor->topic = &h->topic;
    cursor->part = world.part;
    cursor->entry = &world.mailbox->readers[0];
}

/* --- what the sections do --- */

static void make(uint32_t i)
{
    uint32_t id = ID_TRACEE + i;
    record_fill(h->values[i], id);
    h->sent[i] = (leat_record){ .value = h->values[i], .value_size = record_size(id), .timestamp_ms = 1 };
}

/* From here on the stepper holds us to it. */
static void acked(uint32_t i, uint64_t offset)
{
    struct notes *notes = world.notes;
    uint32_t n = notes->acked_count;
    notes->acked[n] = ID_TRACEE + i;
    notes->acked_at[n] = offset;
    lt_store_release32(&notes->acked_count, n + 1);
}

static int send_one(uint32_t i)
{
    int r = leat_producer_send(&h->producer, &h->sent[i], &h->receipts[i]);
    if (r == 0)
        acked(i, h->receipts[i].offset);
    return r;
}

static int send_three(uint32_t from)
{
    int r = leat_producer_send_many(&h->producer, h->sent + from, 3, h->receipts + from);
    for (int i = 0; i < r; i++)
        acked(from + (uint32_t)i, h->receipts[from + (uint32_t)i].offset);
    return r;
}

static int in_place(bool commit)
{
    leat_claim claim;
    leat_receipt receipt;
    int r = leat_producer_claim(&h->producer, NULL, 0, h->sent[3].value_size, &claim);
    if (r != 0)
        return r;
    memcpy(claim.value, h->values[3], h->sent[3].value_size);
    if (!commit)
        return leat_claim_abort(&claim);
    claim.timestamp_ms = 1;
    r = leat_claim_commit(&claim, &receipt);
    if (r == 0)
        acked(3, receipt.offset);
    return r;
}

/* Reads what a poll gave, where it lies. */
static int take(int n)
{
    struct notes *notes = world.notes;
    for (int i = 0; i < n; i++) {
        const leat_record *record = &h->records[i];
        uint32_t id = record_id(record->value, record->value_size);
        if (id == 0) {
            notes->damaged++;
            notes->damaged_at = record->offset;
        }
        if (notes->got_count < GOT_MAX) {
            notes->got[notes->got_count] = id;
            notes->got_at[notes->got_count++] = record->offset;
        }
    }
    return n;
}

/* As a member of a group: what was handed out is done with. By shm/member.h, in the order of leat_consumer_commit. */
static void commit(void)
{
    struct notes *notes = world.notes;
    uint64_t offset = h->cursor.position;
    lt_member_store(h->cursor.entry, offset);
    if (lt_member_holds(&notes->member, 0))
        lt_store_release64(&notes->committed_to, offset);
}

static int poll_times(uint32_t polls, int64_t timeout_ms)
{
    const leat_record *records;
    int n = 0;
    while (polls-- > 0) {
        n = leat_consumer_poll(&h->consumer, timeout_ms, &records);
        if (n < 0)
            return n;
        take(n);
        if (strcmp(path->name, "commit") == 0)
            commit();
        world.notes->calls++;
    }
    /* The last poll's views are over, too. */
    lt_consumer_release(&h->consumer);
    return n;
}

static int do_path(void)
{
    const char *name = path->name;
    if (path->kind == CONSUMES)
        return strncmp(name, "sleep", 5) == 0 ? poll_times(1, 60000) : poll_times(4, 0);
    if (strcmp(name, "repair") == 0)
        return act_repair(&world, LT_OWNER_ALIVE, LT_OWNER_DEAD);
    if (strcmp(name, "reclaim") == 0)
        return act_reclaim(&world, 20, true), 0;
    if (strncmp(name, "rotate", 6) == 0)
        return act_rotate(&world);
    if (strncmp(name, "in-place", 8) == 0)
        return in_place(true);
    if (strncmp(name, "abort", 5) == 0)
        return in_place(false);
    if (strcmp(name, "batch-payload") == 0 || strcmp(name, "wrap") == 0)
        return send_three(1);
    if (strncmp(name, "batch", 5) == 0)
        return send_three(0);
    if (strcmp(name, "payload") == 0)
        return send_one(3);
    if (path->exclusive) {
        int r = send_one(3);
        return r != 0 ? r : send_three(4);
    }
    return send_one(0);
}

/* 0, 1, 2, 4, 5, 6 fit into their slots; 3 and 7 do not. */
static void prepare(void)
{
    const char *name = path->name;
    for (uint32_t i = 0; i < SENDS_MAX; i++)
        make(i);
    if (strcmp(name, "payload") == 0) {
        h->sent[3].key = "key";
        h->sent[3].key_size = 3;
    }
    if (strcmp(name, "headers") == 0) {
        h->sent_headers[0] = (leat_header){ .name = "a", .name_size = 1, .value = "bc", .value_size = 2 };
        h->sent_headers[1] = (leat_header){ .name = "d", .name_size = 1 };
        h->sent[0].headers = h->sent_headers;
        h->sent[0].header_count = 2;
    }
    if (strcmp(name, "refused") == 0) {
        h->producer.refuses = true;
        h->out.refused_offset = h->out.ring.cached_limit_offset;
        h->out.refused_pos = h->out.ring.cached_limit_pos;
    }
}

static void section(void)
{
    __asm__ volatile("int3" ::: "memory");
    world.notes->result = do_path();
    __asm__ volatile("int3" ::: "memory");
}

int main(int argc, char **argv)
{
    uint64_t start;
    if (argc != 2 || !world_map(&world, MEMORY_FD, LIVE_AT))
        return 2;
    path = &paths[strtoul(argv[1], NULL, 10)];
    h = (void *)(world.base + HANDLES_AT);
    start = world.notes->start;
    world.notes->main_at = (uintptr_t)&main;
    open_topic();
    view_rings();
    if (path->kind == PRODUCES) {
        open_producer();
        /* A producer that was there before a rotation: it has the first ring still. */
        uint32_t current = world.part->current_ring;
        world.part->current_ring = 0;
        if (lt_out_attach(&h->producer, &h->out) != 0)
            return 2;
        world.part->current_ring = current;
        prepare();
    } else if (path->kind == CONSUMES) {
        open_consumer();
        if (lt_cursor_go(&h->cursor, start) != 0)
            return 2;
    }
    getcontext(&h->inside);
    h->inside.uc_stack.ss_sp = world.base + STACK_AT;
    h->inside.uc_stack.ss_size = STACK_SIZE;
    h->inside.uc_link = &h->outside;
    makecontext(&h->inside, section, 0);
    swapcontext(&h->outside, &h->inside);
    return 0;
}
