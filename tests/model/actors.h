/* actors: what the actors' files share. */
#ifndef TESTS_MODEL_ACTORS_H
#define TESTS_MODEL_ACTORS_H

#include "model.h"

#define PARTITION (&shared->partition)

struct lt_ring_gate *gate_of(uint32_t ring);
/* A process's view of a ring. */
void attach(struct lt_ring *view, uint32_t ring);
bool any_exclusive(void);
/* The owner id in its claims. */
uint32_t owner_of(const struct actor *actor);
/* Asks leatd for a look. */
void knock(void);
/* Under this lock leatd's threads work on their tables; without bells leatd is one thread. */
void lock_tables(void);
void unlock_tables(void);

/* A turn of each: false when it is done for good. */
bool producer_once(struct actor *me);
bool consumer_once(struct actor *me);
bool leatd_once(struct actor *me);
bool warden_once(struct actor *me);
bool member_once(struct actor *me);
bool coordinator_once(struct actor *me);
/* Members, the coordinator and its page before the first step. */
void group_place(void);

#endif
