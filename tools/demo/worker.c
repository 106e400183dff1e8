/* worker: see worker.h. */
#include "worker.h"

#include <stdio.h>

#include "news.h"

enum { IDLE_MS = 100 };

struct worker {
    const char *name;
    struct sink *sink;
    struct news news;   /* counts */
    unsigned beginning; /* partitions that are assigned and have brought nothing yet */
};

/* ---- what the group tells ---- */

static unsigned tell(struct worker *worker, enum news_kind kind, const leat_partition *partitions, int count)
{
    struct news news = worker->news;
    news.kind = kind;
    news.partitions = partition_set(partitions, count);
    news.at_ns = now_ns();
    news_send(&news);
    return news.partitions;
}

static void on_assigned(leat_consumer *in, const leat_partition *partitions, int count, void *user)
{
    (void)in;
    struct worker *worker = user;
    worker->beginning |= tell(worker, NEWS_ASSIGNED, partitions, count);
}

/* Nothing to commit here: that was done after each transaction. */
static void on_revoked(leat_consumer *in, const leat_partition *partitions, int count, void *user)
{
    (void)in;
    struct worker *worker = user;
    worker->beginning &= ~tell(worker, NEWS_REVOKED, partitions, count);
}

static void on_lost(leat_consumer *in, const leat_partition *partitions, int count, void *user)
{
    (void)in;
    struct worker *worker = user;
    worker->beginning &= ~tell(worker, NEWS_LOST, partitions, count);
}

/* ---- storing ---- */

static void tell_first(struct worker *worker, const leat_record *records, int count, int64_t polled_ns)
{
    struct news news = worker->news;
    news.kind = NEWS_FIRST;
    news.at_ns = polled_ns;
    for (int i = 0; i < count && worker->beginning; i++) {
        news.partitions = worker->beginning & 1u << records[i].partition;
        worker->beginning &= ~news.partitions;
        if (news.partitions)
            news_send(&news);
    }
}

static bool store_order(struct worker *worker, const leat_record *record)
{
    struct order order;
    if (!order_read(&order, record)) {
        fprintf(stderr, "demo: %s: %s-%u @%llu is no order\n", worker->name, record->topic, record->partition,
                (unsigned long long)record->offset);
        return false;
    }
    int fresh = sink_put(worker->sink, &order, record, worker->name);
    worker->news.orders += fresh > 0;
    worker->news.again += fresh == 0;
    return fresh >= 0;
}

/* The transaction first, then the offsets. */
static int store(struct worker *worker, leat_consumer *in, const leat_record *records, int count)
{
    bool good = sink_begin(worker->sink);
    for (int i = 0; i < count && good; i++)
        good = store_order(worker, &records[i]);
    if (!good || !sink_commit(worker->sink))
        return 1;
    int r = leat_consumer_commit(in, LEAT_SYNC);
    return r < 0 ? r : 0;
}

/* LEAT_EWAKEUP; another error; or 1: has complained. */
static int work(struct worker *worker, leat_consumer *in)
{
    const leat_record *records;
    int64_t last_ns = 0;
    int n;
    while ((n = leat_consumer_poll(in, IDLE_MS, &records)) >= 0) {
        if (n > 0 && worker->beginning)
            tell_first(worker, records, n, now_ns());
        int r = n > 0 ? store(worker, in, records, n) : 0;
        if (r != 0)
            return r;
        if (news_due(&last_ns))
            news_send(&worker->news);
    }
    return n;
}

static int join(leat_consumer **in, leat_bus *bus, struct worker *worker)
{
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.group = DEMO_GROUP;
    options.client_id = worker->name;
    options.assignor = LEAT_COOPERATIVE_STICKY;
    options.reset = LEAT_EARLIEST;
    options.auto_commit_ms = 0;
    options.on_assigned = on_assigned;
    options.on_revoked = on_revoked;
    options.on_lost = on_lost;
    options.user = worker;
    int r = leat_consumer_open(in, bus, &options);
    return r < 0 ? r : leat_consumer_subscribe(*in, (const char *[]){ DEMO_TOPIC }, 1);
}

int worker_main(int who, const char *name, const struct sink_kind *kind, const char *where)
{
    struct worker worker = { .name = name, .news = { .kind = NEWS_READY, .who = who } };
    leat_bus *bus;
    leat_consumer *in = NULL;
    if (!(worker.sink = sink_open(kind, where)))
        return 1;
    int r = leat_open(&bus, NULL);
    if (r >= 0)
        r = join(&in, bus, &worker);
    if (r >= 0) {
        wake_at_sigterm(in);
        news_send(&worker.news);
        worker.news.kind = NEWS_STORED;
        r = work(&worker, in);
    }
    if (r < 0 && r != LEAT_EWAKEUP)
        complain(name, bus, r);
    leat_consumer_close(in); /* hands its partitions on */
    if (r == LEAT_EWAKEUP)
        news_send(&worker.news);
    leat_close(bus);
    sink_close(worker.sink);
    return r != LEAT_EWAKEUP;
}
