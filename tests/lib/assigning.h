/* assigning: an assignor's input in a few words, and what came out of it in one line.
 *
 *     struct assigning *a = assigning_of("t1:3 t2:2");
 *     assigning_member(a, "c1", "t1 t2");
 *     assigning_member(a, "c2", "t2");
 *     assigning_owns(a, "c1", 4, "t1-0 t1-1");
 *     CHECK_STR(assigned(a, LEAT_STICKY), "c1: t1-0 t1-1 t1-2 | c2: t2-0 t2-1");
 *
 * Members are told in the order in which they were added. A subscription may name topics that do not exist. Nothing is
 * freed before the test ends.
 */
#ifndef TESTS_ASSIGNING_H
#define TESTS_ASSIGNING_H

#include "group/assign.h"

enum { ASSIGNING_MEMBERS = 64, ASSIGNING_TOPICS = 64 };

struct assigning {
    struct lt_assign_topic topics[ASSIGNING_TOPICS];
    struct lt_assign_member members[ASSIGNING_MEMBERS];
    struct lt_assign_input input;
    struct lt_assign_output output; /* of the last assigned() */
};

struct assigning *assigning_of(const char *topics);
void assigning_topic(struct assigning *a, const char *name, uint32_t partitions);
void assigning_drop_topic(struct assigning *a, const char *name);
void assigning_member(struct assigning *a, const char *id, const char *subscription);
void assigning_static(struct assigning *a, const char *id, const char *instance_id, const char *subscription);
void assigning_leave(struct assigning *a, const char *id);
void assigning_subscribe(struct assigning *a, const char *id, const char *subscription);
void assigning_owns(struct assigning *a, const char *id, int64_t generation, const char *parts);
/* What was assigned last is what all own now. */
void assigning_settle(struct assigning *a, int64_t generation);

const char *assigned(struct assigning *a, enum leat_assignor kind);
/* Partitions of a member in the last assignment; of one topic of it. */
uint32_t assigned_count(const struct assigning *a, const char *id);
uint32_t assigned_of_topic(const struct assigning *a, const char *id, const char *topic);
/* Partitions that a member owned and another has now. */
uint32_t assigned_moved(const struct assigning *a);
/* Fails the test unless each partition that has a subscriber is a subscriber's, and no single move makes counts more
 * even. */
void assigned_check(const struct assigning *a);

/* lt_assign with memory of its own, which has the size that it asked for and is full of garbage. */
int assign_once(enum leat_assignor kind, const struct lt_assign_input *input,
                struct lt_assign_output *output);
/* Memory that stays until the test ends; fails the test when there is none. */
void *assigning_keep(void *memory);
/* Room for an input's output. */
struct lt_assign_output output_for(const struct lt_assign_input *input);

#endif
