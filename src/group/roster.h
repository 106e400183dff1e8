/* roster: an assignment's input in the order that assignors walk it, and the owners they write.
 *
 *   rank       a member's place: static members by instance id, then dynamic ones by id, as Kafka's MemberInfo orders
 *              them (static membership: KIP-345)
 *   partition  one number over all topics, by name of topic, then partition: topic t has base[t] and the next ones
 *   set        topics that the same members subscribe to: groups have few of these, however many topics and members
 *
 * Arrays lie in the caller's scratch. `lt_roster_place` only divides it, so it also says how much is wanted.
 */
#ifndef LT_GROUP_ROSTER_H
#define LT_GROUP_ROSTER_H

#include "group/assign.h"

#define LT_NOBODY UINT32_MAX
#define LT_DISPUTED (UINT32_MAX - 1) /* a claim only: several members of one generation say it is theirs */

/* What is left of the scratch. Without memory behind it (at == NULL) it only counts. */
struct lt_scratch {
    char *at;
    size_t used, size;
};

void *lt_scratch_take(struct lt_scratch *scratch, size_t count, size_t size);

struct lt_roster {
    const struct lt_assign_input *input;
    uint32_t partition_count;
    uint32_t set_count;
    uint32_t *by_name;     /* topics, by name */
    uint32_t *base;        /* [topic] */
    uint32_t *members;     /* [rank] */
    uint32_t *rank;        /* [member] */
    uint32_t *set_of;      /* [topic] */
    uint32_t *set_at;      /* [set], [set + 1]: where its subscribers are */
    uint32_t *subscribers; /* ranks, ascending within a set */
    uint32_t *owner;       /* [partition] a rank, or LT_NOBODY */
    uint32_t *work[4];     /* [topic] of scratch for the making */
};

static inline uint32_t lt_roster_subscriber_count(const struct lt_roster *roster, uint32_t set)
{
    return roster->set_at[set + 1] - roster->set_at[set];
}

/* Partitions of all topics. */
uint64_t lt_roster_partitions(const struct lt_assign_input *input);

void lt_roster_place(struct lt_roster *roster, const struct lt_assign_input *input,
                     struct lt_scratch *scratch);

/* Fills all of it; nobody owns anything. 0, LEAT_EINVAL. */
int lt_roster_make(struct lt_roster *roster);

/* Whose each partition was: of all claims the one with the highest generation, as a rank, LT_NOBODY, or LT_DISPUTED. A claimant may
 * have left the topic since. `generation` is scratch, a number for each partition, as `claim` is. */
void lt_roster_claims(const struct lt_roster *roster, uint32_t *claim, int64_t *generation);

/* From the owners to the members' lists, and back; back takes a list that lt_assign_check has passed. */
void lt_roster_write(const struct lt_roster *roster, struct lt_assign_output *output);
void lt_roster_read(struct lt_roster *roster, const struct lt_assign_output *output);

#endif
