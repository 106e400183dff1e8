/* data: the data directory: which topics there are, with what settings, and where their logs lie.
 *
 *   DATA/lock                  flock: one bus at a time
 *   DATA/topics/NAME/topic     settings (store/topicfile.h)
 *   DATA/topics/NAME/P/        the log of partition P (store/FORMAT.md)
 *   DATA/new/ID/               a topic that is being made; ID: its log id, in hex
 *   DATA/old/ID/               a topic that was deleted, and is being removed
 *   DATA/groups/offsets        committed offsets
 *
 * A topic is made whole under new/ and then renamed to topics/NAME: from then on it exists, whatever dies. Deleting renames it to old/. What is
 * found in new/ and old/ at a start is removed.
 */
#ifndef LT_LEATD_DATA_H
#define LT_LEATD_DATA_H

#include "leatd/worker.h"
#include "store/plog.h"

/* Makes what is missing, takes the lock. 0; LEAT_EINUSE (another bus has it: its pid is in the text), LEAT_EIO, LEAT_EPERM. */
int lt_data_open(struct lt_worker *w);
void lt_data_close(struct lt_worker *w);

/* Without the lock: the files of a topic that is being made (its page is filled), with an open log for each partition in
 * logs[]. 0 or an error; then nothing is left. */
int lt_data_create(struct lt_worker *w, struct lt_topic *topic, struct lt_plog **logs);
/* Its settings have changed. Without the lock. */
int lt_data_alter(struct lt_worker *w, const struct lt_topic *topic);
/* Out of topics/, durably: it does not come back. Without the lock. */
int lt_data_delete(struct lt_worker *w, const struct lt_topic *topic);
/* Removes what was deleted; the persister has closed it. */
void lt_data_remove(struct lt_worker *w, uint64_t log_id);
/* A fresh bus: makes a topic of each directory, with rings that begin where its logs do. Under the lock, before anybody is served. */
int lt_data_restore(struct lt_worker *w);
/* Opens the log of a partition. 0 or an error; a damaged one is opened FAILED. how: enum LT_RECOVER_... */
int lt_data_open_log(struct lt_worker *w, const struct lt_part *part, unsigned how, struct lt_plog **log);
/* Directory of the groups' file. -1: none. */
int lt_data_groups_fd(const struct lt_worker *w);

#endif
