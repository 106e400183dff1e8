/* story: what happens, in which order. */
#ifndef STORY_H
#define STORY_H

#include "sink.h"

struct plan {
    double seconds; /* of orders */
    double rate;    /* orders a second */
    const struct sink_kind *sink;
    const char *where;
    const char *bus;       /* the directory */
    bool goes_on;          /* the topic is there, of an earlier life */
    int64_t stored_before; /* in an earlier life */
};

/* How long a partition of the killed consumer rested. */
struct pause {
    unsigned heir;       /* consumer-N */
    int64_t assigned_us; /* from the kill to on_assigned at the heir */
    int64_t first_us;    /* from the kill to the heir's first record */
};

/* What came of it, for the verdict. */
struct outcome {
    bool told;        /* all went as planned, and every process ended as it should */
    bool interrupted; /* there is no verdict */
    uint64_t sent;    /* in all lives: as ledger.h has it */
    uint64_t missing; /* were sent in an earlier life, and not in the log when this one began */
    uint64_t again;   /* orders that came to a worker and were stored already */
    unsigned killed;  /* the partitions that the killed consumer owned */
    struct pause pauses[PARTITIONS];    /* of those */
    bool shared;                        /* some partition had two owners at once */
    uint64_t counted, customers, cents; /* by the other group */
    uint64_t disorder;                  /* orders that came to it out of their customer's order, or twice */
    uint64_t counter_rebalances;
};

/* From here on the story ends at the next signal, and everything is put away; nobody reading along is a signal, too. */
void story_catch_signals(void);
void story_tell(const struct plan *plan, struct outcome *outcome);

#endif
