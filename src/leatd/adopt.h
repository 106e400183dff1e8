/* adopt: what a new worker does before it serves: everything that the last one knew, from the regions. */
#ifndef LT_LEATD_ADOPT_H
#define LT_LEATD_ADOPT_H

#include "leatd/worker.h"

/* Whichever it is, by what is in keep's table. 0 or an error with a message. */
int lt_adopt(struct lt_worker *w);

#endif
