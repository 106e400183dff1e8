/* assign: which member of a group reads which partition. Pure: all memory is the caller's.
 *
 *   range        each topic by itself: a run of neighbouring partitions for each subscriber, the first ones one longer
 *   round robin  all partitions of all topics in a row, dealt to the members in turn
 *   sticky       counts as even as subscriptions allow, then as few partitions moved as that allows (KIP-54)
 *   cooperative  sticky, but what moves is nobody's for one round: its owner lets go first (KIP-429)
 *   failover     everything to the member that joined first: here that is the first in the input that subscribes
 *
 * Range and round robin give, tie for tie, what Kafka's RangeAssignor and RoundRobinAssignor give (without racks). For sticky
 * the rules are Kafka's and the ties are ours.
 *
 * Everything is an index: a topic into input.topics, a member into input.members. Names of topics are unique, ids of
 * members too. Topics that do not exist are left out of a subscription: they have no partitions to give.
 *
 *     size_t size = lt_assign_scratch_bytes(LEAT_STICKY, &input);
 *     struct lt_assign_output output = { .parts = parts, .first = first };
 *     int r = lt_assign(LEAT_STICKY, &input, &output, malloc(size), size);
 */
#ifndef LT_GROUP_ASSIGN_H
#define LT_GROUP_ASSIGN_H

#include <leat.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LT_ASSIGN_PARTITIONS_MAX = 1 << 24 }; /* of all topics together: keeps every number in 32 bits */

struct lt_assign_topic {
    const char *name;
    uint32_t partitions;
};

struct lt_assign_part {
    uint32_t topic, partition;
};

struct lt_assign_member {
    const char *id;
    const char *instance_id; /* NULL: a dynamic member */
    const uint32_t *topics;  /* the subscription; one named twice counts once */
    uint32_t topic_count;
    uint32_t owned_count;
    const struct lt_assign_part
        *owned;         /* what the member says is its own; what does not exist is passed over */
    int64_t generation; /* of `owned`; -1: unknown, and older than any other */
};

struct lt_assign_input {
    const struct lt_assign_topic *topics;
    uint32_t topic_count;
    uint32_t member_count;
    const struct lt_assign_member *members;
};

/* Member m gets parts[first[m]] up to parts[first[m + 1]], by name of topic, then partition. */
struct lt_assign_output {
    struct lt_assign_part *parts; /* room for every partition of every topic */
    uint32_t *first;              /* member_count + 1 */
};

/* Scratch for any call below with this input, aligned as malloc does; 0 where the partitions are too many. */
size_t lt_assign_scratch_bytes(enum leat_assignor kind, const struct lt_assign_input *input);

/* Every partition of a subscribed topic goes to one of its subscribers; with LEAT_COOPERATIVE_STICKY those that another member
 * has to release first go to nobody yet. 0, or LEAT_EINVAL (LEAT_CUSTOM, an index out of range, too little
 * scratch), LEAT_ELIMIT (more than LT_ASSIGN_PARTITIONS_MAX partitions). */
int lt_assign(enum leat_assignor kind, const struct lt_assign_input *input, struct lt_assign_output *output,
              void *scratch, size_t scratch_bytes);

/* Whether somebody else's assignment will do: members get what exists and what they subscribe to, each partition once;
 * with `whole` none of a subscribed topic is missing. 0, or LEAT_EINVAL with the values; LEAT_ELIMIT. */
int lt_assign_check(const struct lt_assign_input *input, const struct lt_assign_output *output, bool whole,
                    void *scratch, size_t scratch_bytes);

/* One cooperative round towards a target that lt_assign_check would pass: takes out of it what another member still owns. */
int lt_assign_round(const struct lt_assign_input *input, struct lt_assign_output *target, void *scratch,
                    size_t scratch_bytes);

#endif
