/* create: the steps of making a topic that a restart takes, too. */
#ifndef LT_LEATD_CREATE_H
#define LT_LEATD_CREATE_H

#include "leatd/data.h"
#include "leatd/plan.h"

/* In the tables, with a page; not to be found yet. 0, or an error with a message and nothing left. */
int lt_topics_begin(struct lt_worker *w, const struct lt_plan *plan, struct lt_topic **topic);
/* With rings that begin where its logs go on, and open. An error: give up. */
int lt_topics_complete(struct lt_worker *w, struct lt_topic *topic, struct lt_opening *openings);
/* Out of the tables; the message of the last error stays. */
void lt_topics_give_up(struct lt_worker *w, struct lt_topic *topic);

#endif
