/* data: the data directory: which topics there are, with what settings, and where their logs lie.
 *
 *   DATA/lock                  flock: one bus at a time. Its descriptor is the keeper's, too: it is held as long as the bus lives
 *   DATA/topics/NAME/topic     settings (store/topicfile.h)
 *   DATA/topics/NAME/P/        the log of partition P (store/FORMAT.md)
 *   DATA/new/ID/               a topic that is being made; ID: its log id, in hex
 *   DATA/old/ID/               a topic that was deleted, and is being removed
 *   DATA/groups/offsets        committed offsets
 *
 * A topic is made whole under new/ and then renamed to topics/NAME: from then on it exists, unless only the worker dies before the
 * topic's page is open: then it never was, and its client asks again. Deleting renames it to old/. What is found in new/ and old/
 * at a start is removed.
 */
#ifndef LT_LEATD_DATA_H
#define LT_LEATD_DATA_H

#include "leatd/worker.h"
#include "store/plog.h"

struct lt_topicfile;

#define LT_DATA_DESCRIPTORS \
    5u /* of the worker, a partition: directory, meta, segment, spare; one that is over */

/* A log that is opened together with others, and what came of it. */
struct lt_opening {
    const struct lt_part *part;
    struct lt_plog *log; /* NULL: it could not be opened */
    int error;           /* why not */
    char why[LT_REASON_MAX];
    uint64_t next; /* offsets below may have been given out */
};

/* Makes what is missing, takes the lock. 0, also where the bus is to have none; LEAT_EINUSE (another bus has it: its pid is in the
 * text), LEAT_EIO, LEAT_EPERM. */
int lt_data_open(struct lt_worker *w);
void lt_data_close(struct lt_worker *w);

/* Without the lock: the files of a topic that is being made (its page is filled), and an open log for each partition, in
 * *openings, to be freed. 0 or an error; then nothing is left. */
int lt_data_create(struct lt_worker *w, struct lt_topic *topic, struct lt_opening **openings);
/* Its settings are these from now on. Without the lock. */
int lt_data_alter(struct lt_worker *w, const struct lt_topic *topic, const struct lt_topic_head *settings);
/* Out of topics/, durably: it does not come back. Without the lock. */
int lt_data_delete(struct lt_worker *w, const struct lt_topic *topic);
/* Removes what was deleted; the persister has closed it. */
void lt_data_remove(struct lt_worker *w, uint64_t log_id);
/* Removes what is in new/ and old/. The maker's first job. */
void lt_data_sweep(struct lt_worker *w);

/* Adoption. Whether the last worker died while it deleted this topic, with its directory gone already. */
bool lt_data_is_deleted(const struct lt_worker *w, uint64_t log_id);
/* The last worker died while it made this topic: its directory goes, if it has one. */
void lt_data_undo(struct lt_worker *w, const struct lt_topic_head *head);

/* A fresh bus: makes a topic of each directory, with rings that begin where its logs do. Under the lock, before anybody is served.
 * A topic that cannot be read is left alone and its name with it; a log that cannot be makes a partition that has failed. restore.c */
int lt_data_restore(struct lt_worker *w);
/* Calls `each` for every name in topics/. 0 or an error. */
int lt_data_list(struct lt_worker *w, void (*each)(void *arg, const char *name), void *arg);
/* The settings of the topic in topics/NAME. 0 or an error. */
int lt_data_read(struct lt_worker *w, const char *name, struct lt_topicfile *file);

/* Opens the log of a partition. 0 or an error; a damaged one is opened FAILED. how: enum LT_RECOVER_... The directory's
 * descriptor is lt_plog_dir(log).fd, and is closed by who closes the log. */
int lt_data_open_log(struct lt_worker *w, const struct lt_part *part, unsigned how, struct lt_plog **log);
/* Many, side by side: of what takes long most is waiting for the disk. */
void lt_data_open_logs(struct lt_worker *w, struct lt_opening *openings, uint32_t count);
/* As a death leaves them. NULL is fine. */
void lt_data_close_logs(struct lt_opening *openings, uint32_t count);
/* Directory of the groups' file. -1: none. */
int lt_data_groups_fd(const struct lt_worker *w);

#endif
