/* rotate: leaving a ring whose room is blocked. The steps and what a death among them leaves are in shm/rotation.h. */
#ifndef LT_LEATD_ROTATE_H
#define LT_LEATD_ROTATE_H

#include "leatd/worker.h"

/* Without the lock, with a reference to the topic, which it gives back. */
void lt_rotate(struct lt_worker *w, struct lt_part *part);
/* Under the lock, at adoption: what a rotation that was published still lacks. */
void lt_rotate_adopt(struct lt_part *part);

#endif
