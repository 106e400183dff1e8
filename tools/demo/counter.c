/* counter: see counter.h. */
#include "counter.h"

#include <string.h>

#include "news.h"
#include "order.h"

struct counter {
    struct news news;
    uint32_t sequences[CUSTOMERS]; /* the last one of each; 0: none yet */
    bool damaged;
};

/* What it has counted is gone with an earlier life's process, so it begins where the log does, whatever was committed. */
static void on_assigned(leat_consumer *in, const leat_partition *partitions, int count, void *user)
{
    for (int i = 0; i < count; i++)
        leat_consumer_seek(in, partitions[i].topic, partitions[i].partition, LEAT_BEGINNING);
    struct news news = ((struct counter *)user)->news;
    news.kind = NEWS_ASSIGNED;
    news.partitions = partition_set(partitions, count);
    news_send(&news);
}

static void count_order(struct counter *counter, const leat_record *record)
{
    struct order order;
    int customer = order_read(&order, record) ? order_customer(&order) : -1;
    if (customer < 0) {
        counter->damaged = true;
        return;
    }
    uint32_t *sequence = &counter->sequences[customer];
    counter->news.orders++;
    counter->news.cents += (uint64_t)order.cents;
    counter->news.customers += *sequence == 0;
    counter->news.disorder += order.sequence != *sequence + 1;
    *sequence = order.sequence;
}

/* LEAT_EWAKEUP, or an error. */
static int count_on(leat_consumer *in, struct counter *counter)
{
    const leat_record *records;
    int64_t last_ns = 0;
    int n;
    while ((n = leat_consumer_poll(in, 100, &records)) >= 0) {
        for (int i = 0; i < n; i++)
            count_order(counter, &records[i]);
        if (news_due(&last_ns))
            news_send(&counter->news);
    }
    return n;
}

static int join(leat_consumer **in, leat_bus *bus, struct counter *counter)
{
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.group = DEMO_COUNTERS;
    options.client_id = "counter";
    options.reset = LEAT_EARLIEST;
    options.auto_commit_ms = 50;
    options.on_assigned = on_assigned;
    options.user = counter;
    int r = leat_consumer_open(in, bus, &options);
    return r < 0 ? r : leat_consumer_subscribe(*in, (const char *[]){ DEMO_TOPIC }, 1);
}

int counter_main(int who)
{
    struct counter counter = { .news = { .kind = NEWS_READY, .who = who } };
    leat_bus *bus;
    leat_consumer *in = NULL;
    int r = leat_open(&bus, NULL);
    if (r >= 0)
        r = join(&in, bus, &counter);
    if (r >= 0) {
        wake_at_sigterm(in);
        news_send(&counter.news);
        counter.news.kind = NEWS_COUNTED;
        r = count_on(in, &counter);
        news_send(&counter.news);
    }
    if (r < 0 && r != LEAT_EWAKEUP)
        complain("counter", bus, r);
    leat_consumer_close(in);
    leat_close(bus);
    return r != LEAT_EWAKEUP || counter.damaged;
}
