/* persister: the thread that writes records to the logs. See src/README.md, "The log in leatd".
 *
 * One thread, one io_uring, for all partitions that have a log. It sleeps on a bell of its own, which stands in each such
 * partition's list: whoever publishes rings it. It reads rings without the worker's lock: nothing at or above `written` is
 * overwritten or unmapped (lt_persister_free_below), whoever may have reclaimed it otherwise.
 */
#ifndef LT_LEATD_PERSISTER_H
#define LT_LEATD_PERSISTER_H

#include "leatd/worker.h"
#include "store/plog.h"

/* Starts the thread; the bus and its topics are there. 0 or an error with a message. Nothing without a data directory. */
int lt_persister_start(struct lt_worker *w);
/* Writes what is published, closes the logs in good order. */
void lt_persister_stop(struct lt_worker *w);
/* Before anything else here: the data directory is open. 0 or an error with a message. */
int lt_persister_init(struct lt_worker *w);
void lt_persister_free(struct lt_worker *w);

/* What file operations go through; the synchronous half is any thread's. */
struct lt_io *lt_persister_io(struct lt_worker *w);

/* Under the worker's lock, for each partition of a topic with a log, before the topic opens or while it is adopted. `log` NULL: not
 * open yet, the persister does it (from the topic's directory). 0 or LEAT_ENOMEM. */
int lt_persister_add(struct lt_worker *w, struct lt_part *part, struct lt_plog *log);
/* Under the lock: the topic is gone. Returns at once; the persister lets go of the topic (a reference) when it has closed its
 * logs; their files are the data directory's business after that. */
void lt_persister_remove(struct lt_worker *w, struct lt_topic *topic);
/* Offsets below may be overwritten, as far as the log is concerned. UINT64_MAX without a log. Any thread. */
uint64_t lt_persister_free_below(const struct lt_part *part);
/* Where the log has an offset or a time. It reads, so without the worker's lock; the caller holds the topic. */
int lt_persister_attach_segment(struct lt_part *part, const struct lt_segment_attach *request,
                                struct lt_segment_attach_answer *answer, int *fd);
/* Under the lock. Returns at once. The page's acked_seq moves when it was tried, and state and reason say what came of it. */
int lt_persister_resume(struct lt_worker *w, struct lt_part *part, bool cut);
/* Without the lock, when nobody knows of the partition any more. */
void lt_persister_release(struct lt_part *part);
/* Room is short, and the log is what is in the way. */
void lt_persister_press(struct lt_part *part);
/* A setting (retention) has changed, or somebody wants to be served at once. Any thread. */
void lt_persister_wake(struct lt_worker *w);

#endif
