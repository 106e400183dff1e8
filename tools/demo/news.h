/* news: what child processes tell the parent, each piece by one write to one pipe that all of them share. A write of this
 * size is whole or not at all, also for one who is killed meanwhile; and what one process tells before it lets another go
 * on is read before what that one tells.
 */
#ifndef NEWS_H
#define NEWS_H

#include "demo.h"

enum { NEWS_FD = 3 }; /* the end that a child writes to */

enum news_kind {
    NEWS_READY,    /* attached; a consumer: subscribed; the producer: has read the log (orders, missing) */
    NEWS_ASSIGNED, /* partitions */
    NEWS_REVOKED,
    NEWS_LOST,
    NEWS_FIRST, /* partitions, at_ns: the first record since it was assigned came out of poll */
    NEWS_SENT,  /* orders */
    NEWS_STORED,
    NEWS_COUNTED,
};

/* Counts are since the sender's start, but for the producer's: those are of all lives of the demo. */
struct news {
    enum news_kind kind;
    int who;             /* as crew.h numbers them */
    unsigned partitions; /* a set */
    int64_t at_ns;
    uint64_t orders;           /* sent, stored or counted */
    uint64_t missing;          /* acknowledged in an earlier life, and not in the log any more */
    uint64_t again;            /* came to a worker, and were stored already */
    uint64_t customers, cents; /* counted */
    uint64_t disorder;         /* counted: not the sequence that comes next for this customer */
};

/* Ends the process when the parent is gone. */
void news_send(const struct news *news);
/* Counts are sent now and then: whether it is time again. */
bool news_due(int64_t *last_ns);

#endif
