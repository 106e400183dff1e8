/* sink: see sink.h. What is the same for every kind. */
#include "sink.h"

#include <stdio.h>
#include <string.h>

const struct sink_kind *sink_find(const char *name)
{
    static const struct sink_kind *const kinds[] = { &sink_sqlite, &sink_postgres };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i]->name, name) == 0)
            return kinds[i];
    return NULL;
}

bool sink_make(const struct sink_kind *kind, const char *where, bool anew, int64_t *orders)
{
    char sql[512];
    snprintf(sql, sizeof sql,
             "create table if not exists " SINK_TABLE
             " (stored %s, order_id text not null unique, customer text not null,"
             " sequence integer not null, item text not null, cents integer not null, part integer not null,"
             " position bigint not null, consumer text not null)",
             kind->serial);
    struct sink *sink = sink_open(kind, where);
    bool good = sink && (!anew || kind->run(sink, "drop table if exists " SINK_TABLE)) &&
                kind->run(sink, sql) && kind->ask(sink, "select count(*) from " SINK_TABLE, orders, 1);
    sink_close(sink);
    return good;
}

struct sink *sink_open(const struct sink_kind *kind, const char *where)
{
    struct sink *sink = kind->open(where);
    if (sink)
        sink->kind = kind;
    return sink;
}

void sink_close(struct sink *sink)
{
    if (sink)
        sink->kind->close(sink);
}

bool sink_begin(struct sink *sink)
{
    return sink->kind->run(sink, "begin");
}

bool sink_commit(struct sink *sink)
{
    return sink->kind->run(sink, "commit");
}

int sink_put(struct sink *sink, const struct order *order, const leat_record *record, const char *consumer)
{
    return sink->kind->put(sink, order, record, consumer);
}

static bool ask_all(struct sink *sink, struct sink_report *report)
{
    int64_t sums[4];
    bool good = sink->kind->ask(sink,
                                "select count(*), count(distinct order_id), count(distinct customer),"
                                " coalesce(sum(cents), 0) from " SINK_TABLE,
                                sums, 4);
    report->orders = sums[0];
    report->distinct = sums[1];
    report->customers = sums[2];
    report->cents = sums[3];
    return good;
}

/* Rows are numbered as they are stored; a customer's first order has sequence 1, and each further one 1 more. */
static bool ask_disorder(struct sink *sink, struct sink_report *report)
{
    return sink->kind->ask(sink,
                           "select count(*) from (select sequence - lag(sequence, 1, 0) over"
                           " (partition by customer order by stored) as step from " SINK_TABLE
                           ") as steps where step <> 1",
                           &report->disorder, 1);
}

static bool ask_partition(struct sink *sink, int partition, struct sink_report *report)
{
    char sql[160];
    int64_t answer[2];
    snprintf(sql, sizeof sql, "select count(*), count(distinct customer) from " SINK_TABLE " where part = %d",
             partition);
    bool good = sink->kind->ask(sink, sql, answer, 2);
    report->of_partition[partition] = answer[0];
    report->customers_of_partition[partition] = answer[1];
    return good;
}

bool sink_report(const struct sink_kind *kind, const char *where, struct sink_report *report)
{
    *report = (struct sink_report){ 0 };
    struct sink *sink = sink_open(kind, where);
    bool good = sink && ask_all(sink, report) && ask_disorder(sink, report);
    for (int p = 0; p < PARTITIONS && good; p++)
        good = ask_partition(sink, p, report);
    sink_close(sink);
    return good;
}
