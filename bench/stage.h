/*
 * The processes of a rebalance, and what they share: a survivor and one other member of a group, a producer,
 * and a director that tells the other member to come, to leave, or kills it.
 *
 * Every TRICKLE_US each partition gets a record. A member commits what it was handed but for the last record
 * of each partition, so that whoever gets the partition next finds one there at once: the first record at a
 * new owner is the hand-over and not the wait for the producer. Members write down when they were handed
 * what; the director looks at that when a round is over.
 */
#ifndef STAGE_H
#define STAGE_H

#include "bench.h"

#include <leat.h>

#define STAGE_PARTITIONS 64 /* bits of a mask */
#define STAGE_LOG 32768     /* records of one round at one member */
#define STAGE_TRICKLE_US 100

/* director -> member. LEAVE and END of a member that is none are nothing. */
enum order { ORDER_NONE, ORDER_JOIN, ORDER_LEAVE, ORDER_END };

enum { SURVIVOR, OTHER, MEMBERS };

struct delivery {
    uint64_t ticks, offset;
    uint32_t partition;
};

/* Written by the member, but for `order`. */
struct member {
    _Alignas(128) uint32_t order; /* the director's: (number << 8) | enum order */
    int32_t pid;
    uint32_t done;           /* the last order that was carried out */
    uint64_t acted_ticks;    /* when that began */
    uint64_t owned;          /* a bit a partition, as the callbacks say */
    uint64_t assigned_ticks; /* of the last on_assigned */
    uint64_t revoked_ticks;  /* of the last on_revoked */
    uint32_t epoch, count;   /* of the log */
    uint64_t seen;           /* partitions of which something is in it */
    struct delivery log[STAGE_LOG];
};

struct stage {
    struct bench_crew crew;
    char bus[128];
    uint32_t partitions, ring_bytes;
    enum leat_assignor assignor;
    bool spins[MEMBERS];
    _Alignas(128) uint32_t epoch; /* the director's: a log of another epoch starts anew; 0: no log */
    struct member members[MEMBERS];
};

/* Runs `who` until ORDER_END; seat is where its failure is written. */
void stage_member(struct stage *stage, int who, int seat);
void stage_produce(struct stage *stage, int seat);
/* Runs in a process of its own. */
void stage_create_topic(struct stage *stage, int seat);

#endif
