/* warden: looks after partitions on whose behalf somebody knocked: stalls, reclaim, rotation, retired rings. */
#ifndef LT_LEATD_WARDEN_H
#define LT_LEATD_WARDEN_H

#include "leatd/worker.h"

int lt_warden_start(struct lt_worker *w);
void lt_warden_stop(struct lt_worker *w);
/* Any thread, with or without the lock: the warden looks at this partition soon. */
void lt_warden_knock(struct lt_worker *w, const struct lt_part *part);
/* Wakes the warden: its pauses have changed. */
void lt_warden_wake(struct lt_worker *w);
/* Under the lock: a topic goes away. */
void lt_warden_forget(struct lt_worker *w, struct lt_topic *topic);
/* How much is free in a ring. */
struct lt_room {
    uint64_t tail, pos; /* pos in units, 64 bit */
    bool is_short;      /* less than a quarter, of slots or of bytes */
    bool is_tight;      /* less than an eighth */
};
/* false: it is sealed, or damaged. */
bool lt_warden_room(const struct lt_kept_ring *kept, struct lt_room *room);

#endif
