/* sticky: see the head of sticky.c. */
#ifndef LT_GROUP_STICKY_H
#define LT_GROUP_STICKY_H

#include "group/roster.h"

/* Gives every partition of the roster an owner. `claim` is what lt_roster_claims found; both are kept. */
void lt_sticky_assign(struct lt_roster *roster, const uint32_t *claim, struct lt_scratch *scratch);

/* Counts what lt_sticky_assign takes, for lt_scratch that has no memory. */
void lt_sticky_place(const struct lt_roster *roster, struct lt_scratch *scratch);

#endif
