/* stage: see stage.h. */
#include "stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define VALUE_BYTES 64
#define WAIT_MS 5

static const char topic_name[] = "moves";

_Noreturn static void fail(struct stage *stage, int seat, leat_bus *bus, const char *what, int r)
{
    const char *why = leat_last_error(bus);
    bench_fail(&stage->crew, seat, "%s: %s", what, why[0] ? why : leat_strerror(r));
}

static void nap_us(long us)
{
    struct timespec nap = { .tv_nsec = us * 1000 };
    nanosleep(&nap, NULL);
}

void stage_create_topic(struct stage *stage, int seat)
{
    leat_topic_options topic = LEAT_TOPIC_OPTIONS;
    topic.no_log = 1; /* the ring's own figures; `durable` has the log's */
    topic.partitions = stage->partitions;
    topic.ring_size = stage->ring_bytes;
    topic.on_full = LEAT_OVERWRITE;
    leat_bus *bus;
    int r = leat_open(&bus, stage->bus);
    if (r < 0 || (r = leat_topic_create(bus, topic_name, &topic)) < 0)
        fail(stage, seat, bus, "create topic", r);
    leat_close(bus);
}

/* ---- the producer -------------------------------------------------------------------------------------- */

static void next_tick(struct timespec *at)
{
    at->tv_nsec += STAGE_TRICKLE_US * 1000;
    if (at->tv_nsec >= 1000000000) {
        at->tv_nsec -= 1000000000;
        at->tv_sec++;
    }
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, at, NULL);
}

void stage_produce(struct stage *stage, int seat)
{
    static const char value[VALUE_BYTES];
    leat_bus *bus;
    leat_producer *out;
    struct timespec at;
    int r = leat_open(&bus, stage->bus);
    if (r < 0 || (r = leat_producer_open(&out, bus, topic_name, NULL)) < 0)
        fail(stage, seat, bus, "producer", r);
    prctl(PR_SET_TIMERSLACK, 1);
    bench_crew_meet(&stage->crew, seat);
    clock_gettime(CLOCK_MONOTONIC, &at);
    while (!lt_load_relaxed32(&stage->crew.stop)) {
        for (uint32_t p = 0; p < stage->partitions; p++) {
            leat_record record = { .value = value, .value_size = sizeof value };
            if ((r = leat_producer_send_to(out, p, &record, NULL)) < 0)
                fail(stage, seat, bus, "leat_producer_send_to", r);
        }
        next_tick(&at);
    }
    leat_producer_close(out);
    leat_close(bus);
}

/* ---- members ------------------------------------------------------------------------------------------- */

struct actor {
    struct stage *stage;
    struct member *me;
    int seat;
    leat_bus *bus;
    leat_consumer *in; /* NULL: no member */
    bool spins;
};

static uint64_t mask_of(const leat_partition *partitions, int count)
{
    uint64_t mask = 0;
    for (int i = 0; i < count; i++)
        mask |= 1ull << partitions[i].partition;
    return mask;
}

static void assigned(leat_consumer *consumer, const leat_partition *partitions, int count, void *user)
{
    struct member *me = ((struct actor *)user)->me;
    (void)consumer;
    me->assigned_ticks = bench_ticks();
    lt_store_release64(&me->owned, me->owned | mask_of(partitions, count));
}

static void revoked(leat_consumer *consumer, const leat_partition *partitions, int count, void *user)
{
    struct member *me = ((struct actor *)user)->me;
    (void)consumer;
    me->revoked_ticks = bench_ticks();
    lt_store_release64(&me->owned, me->owned & ~mask_of(partitions, count));
}

static void lost(leat_consumer *consumer, const leat_partition *partitions, int count, void *user)
{
    const struct actor *actor = user;
    (void)consumer;
    bench_fail(&actor->stage->crew, actor->seat, "a member that polls has lost %s-%u and %d more",
               partitions[0].topic, partitions[0].partition, count - 1);
}

static void missed(leat_consumer *consumer, const leat_partition *partition, uint64_t from, uint64_t count,
                   void *user)
{
    const struct actor *actor = user;
    (void)consumer;
    bench_fail(&actor->stage->crew, actor->seat, "%s-%u: %llu records from %llu on were overwritten unread",
               partition->topic, partition->partition, (unsigned long long)count, (unsigned long long)from);
}

static void open_consumer(struct actor *actor)
{
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.group = "movers";
    options.reset = LEAT_EARLIEST;
    options.spin_us = actor->spins ? -1 : 0;
    options.assignor = actor->stage->assignor;
    options.auto_commit_ms = 0;
    options.on_assigned = assigned;
    options.on_revoked = revoked;
    options.on_lost = lost;
    options.on_missed = missed;
    options.user = actor;
    int r = leat_consumer_open(&actor->in, actor->bus, &options);
    if (r < 0)
        fail(actor->stage, actor->seat, actor->bus, "leat_consumer_open", r);
}

static void join(struct actor *actor)
{
    open_consumer(actor);
    lt_store_release64(&actor->me->acted_ticks, bench_ticks());
    int r = leat_consumer_subscribe(actor->in, (const char *[]){ topic_name }, 1);
    if (r < 0)
        fail(actor->stage, actor->seat, actor->bus, "leat_consumer_subscribe", r);
}

static void leave(struct actor *actor)
{
    if (!actor->in)
        return;
    lt_store_release64(&actor->me->acted_ticks, bench_ticks());
    leat_consumer_close(actor->in);
    actor->in = NULL;
}

static void note(struct actor *actor, const leat_record *records, int count, uint64_t now)
{
    struct member *me = actor->me;
    uint32_t epoch = lt_load_acquire32(&actor->stage->epoch);
    if (epoch == 0)
        return;
    if (me->epoch != epoch) {
        me->seen = 0;
        lt_store_release32(&me->count, 0);
        lt_store_release32(&me->epoch, epoch);
    }
    uint32_t n = me->count;
    for (int i = 0; i < count; i++) {
        uint64_t bit = 1ull << records[i].partition;
        if (n >= STAGE_LOG - ((me->seen & bit) != 0 ? STAGE_PARTITIONS : 0))
            continue; /* a round that takes too long: each partition's first record still has its place */
        me->seen |= bit;
        me->log[n++] = (struct delivery){ now, records[i].offset, records[i].partition };
    }
    lt_store_release32(&me->count, n);
}

/* All but the last record of each partition. Those of one partition stand together. */
static void commit_behind(struct actor *actor, const leat_record *records, int count)
{
    for (int i = 0; i < count; i++) {
        if (i + 1 < count && records[i + 1].partition == records[i].partition)
            continue;
        leat_offset offset = { .topic = topic_name,
                               .partition = records[i].partition,
                               .offset = (int64_t)records[i].offset };
        int r = leat_consumer_commit_offsets(actor->in, &offset, 1, LEAT_ASYNC);
        if (r < 0)
            fail(actor->stage, actor->seat, actor->bus, "leat_consumer_commit_offsets", r);
    }
}

static void poll_once(struct actor *actor)
{
    const leat_record *records;
    int n = leat_consumer_poll(actor->in, WAIT_MS, &records);
    if (n < 0)
        fail(actor->stage, actor->seat, actor->bus, "leat_consumer_poll", n);
    if (n == 0)
        return;
    note(actor, records, n, bench_ticks());
    commit_behind(actor, records, n);
}

void stage_member(struct stage *stage, int who, int seat)
{
    struct actor actor = {
        .stage = stage, .me = &stage->members[who], .seat = seat, .spins = stage->spins[who]
    };
    bench_prefault(actor.me, sizeof *actor.me);
    actor.me->pid = getpid();
    int r = leat_open(&actor.bus, stage->bus);
    if (r < 0)
        fail(stage, seat, NULL, "leat_open", r);
    if (who == SURVIVOR)
        bench_crew_meet(&stage->crew, seat);
    for (;;) {
        uint32_t order = lt_load_acquire32(&actor.me->order);
        if (order != actor.me->done) {
            if ((order & 0xff) == ORDER_JOIN)
                join(&actor);
            else
                leave(&actor);
            lt_store_release32(&actor.me->done, order);
            if ((order & 0xff) == ORDER_END)
                break;
        }
        if (actor.in)
            poll_once(&actor);
        else
            nap_us(50);
    }
    leat_close(actor.bus);
}
