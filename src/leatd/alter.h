/* alter: what changes of a topic while it is used. In the maker's thread, without the lock. */
#ifndef LT_LEATD_ALTER_H
#define LT_LEATD_ALTER_H

#include "leatd/worker.h"

/* 0, or LEAT_ENOTOPIC, LEAT_EPERM, LEAT_EINVAL, LEAT_EIO, LEAT_ENOSPC with a message; then all is as it was. */
int lt_topics_alter(struct lt_worker *w, const struct lt_peer *peer, const struct lt_topic_alter *request);
/* Has logs that failed opened again, and waits for what comes of it. How many are open again; LEAT_EFAILED: one at least is not. */
int lt_topics_resume(struct lt_worker *w, const struct lt_peer *peer, const struct lt_topic_resume *request);

#endif
