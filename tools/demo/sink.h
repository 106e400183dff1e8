/* sink: where orders are stored: a table of a database, in which an order's id is unique.
 *
 * What differs between databases is a kind; what is asked of them is the same SQL. Whatever fails says why on stderr.
 */
#ifndef SINK_H
#define SINK_H

#include "order.h"

#define SINK_TABLE "leat_demo_orders"

/* Each kind's struct begins with it. */
struct sink {
    const struct sink_kind *kind;
};

struct sink_kind {
    const char *name;
    const char *serial; /* the type of a key that numbers rows as they come */
    struct sink *(*open)(const char *where);
    void (*close)(struct sink *sink);
    bool (*run)(struct sink *sink, const char *sql);
    /* The first row's columns, which are numbers. */
    bool (*ask)(struct sink *sink, const char *sql, int64_t *answer, int count);
    /* 1: stored, 0: an order of this id was there, -1: failed. */
    int (*put)(struct sink *sink, const struct order *order, const leat_record *record, const char *consumer);
};

extern const struct sink_kind sink_sqlite;   /* where: a file */
extern const struct sink_kind sink_postgres; /* where: what libpq takes for a connection; "": $PGHOST ... */

/* Its statement: $1 order_id, customer, sequence, item, cents, part, position, $8 consumer. */
#define SINK_INSERT                                                                                    \
    "insert into " SINK_TABLE " (order_id, customer, sequence, item, cents, part, position, consumer)" \
    " values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (order_id) do nothing"

/* NULL: no such kind. */
const struct sink_kind *sink_find(const char *name);
/* The table, when it is not there; anew: without orders, in place of an earlier demo's. Says how many orders it has. */
bool sink_make(const struct sink_kind *kind, const char *where, bool anew, int64_t *orders);

struct sink *sink_open(const struct sink_kind *kind, const char *where);
void sink_close(struct sink *sink);
bool sink_begin(struct sink *sink);
bool sink_commit(struct sink *sink);
int sink_put(struct sink *sink, const struct order *order, const leat_record *record, const char *consumer);

struct sink_report {
    int64_t orders, distinct;         /* rows, and different order ids in them */
    int64_t customers, cents;         /* cents: of all orders */
    int64_t disorder;                 /* rows that do not follow their customer's row before */
    int64_t of_partition[PARTITIONS]; /* orders */
    int64_t customers_of_partition[PARTITIONS];
};
bool sink_report(const struct sink_kind *kind, const char *where, struct sink_report *report);

#endif
