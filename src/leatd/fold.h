/* fold: clients' counters, which are in their mailboxes, into the counters file. */
#ifndef LT_LEATD_FOLD_H
#define LT_LEATD_FOLD_H

#include "leatd/worker.h"

int lt_fold_open(struct lt_worker *w);
/* Under the lock. Whether anything had changed; `all`: partitions too, whether or not a client's counter moved. */
bool lt_fold(struct lt_worker *w, bool all);
/* A client leaves: its last numbers go into the totals, its own entries go. */
void lt_fold_client(struct lt_worker *w, struct lt_client *client);
void lt_fold_forget_client(struct lt_worker *w, uint32_t id);
void lt_fold_forget_topic(struct lt_worker *w, struct lt_topic *topic);
void lt_fold_forget_group(struct lt_worker *w, const struct lt_kept_group *group);
void lt_fold_close(struct lt_worker *w);

#endif
