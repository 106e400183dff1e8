/* group_log: what groups have committed of logged topics, in one file (store/offsets.h), and the thread that writes it. See
 * src/README.md, "Committed offsets".
 *
 * Pages and mailboxes are where a committed offset is; the file is what is left of them when both leatd's processes are gone. `filed` of a
 * group says what was put into it. Whatever may differ is *listed*; a round of the thread, under the worker's lock, puts what does
 * differ, lets the lock go, writes, and answers those who wait.
 *
 *     at once                     COMMIT with LT_COMMIT_SYNC, LEAVE, DELETE: they are answered when it is on the disk
 *     within GATHER_NS            a group has changed
 *     when the warden folds       what members have committed by a store
 *
 * What a death leaves: of a write under way nothing, or entries that are whole. Who waited asks the next worker, which compares all of
 * the file with all groups before it answers.
 */
#ifndef LT_LEATD_GROUP_LOG_H
#define LT_LEATD_GROUP_LOG_H

#include "leatd/groups.h"

/* Topics and groups are there. A fresh bus: makes the groups of the file, before anybody is served. Without a data directory nothing. 0 or
 * an error with a message. */
int lt_group_log_start(struct lt_worker *w);
/* What is committed by now is written; the thread ends. Without the lock. */
void lt_group_log_stop(struct lt_worker *w);
/* What was said under the lock that has just been let go is to be done. */
void lt_group_log_kick(struct lt_worker *w);

/* --- all under the lock --- */

/* A request will be answered when what it changed is on the disk: returns LT_GROUPS_LATER. Or 0, when nothing has to be waited for.
 * `member`: it has to be a member still by then; NULL: whatever becomes of the disk, it is done. */
int lt_group_log_wait(struct lt_worker *w, struct lt_conn *conn, const struct lt_membership *member);
/* The same for one who is no member, and who is told of errors. */
int lt_group_log_wait_outside(struct lt_worker *w, struct lt_conn *conn);
/* From time to time: whether members have committed anything since the last time. */
bool lt_group_log_tick(struct lt_worker *w);
/* After an error: the file is opened again. */
void lt_group_log_resume(struct lt_worker *w);

/* By groups.c. A place is the group's, or will not be any more; there is room for so many. */
int lt_group_log_fit(struct lt_kept_group *g, uint32_t places);
void lt_group_log_place(struct lt_kept_group *g, uint32_t p);
void lt_group_log_unplace(struct lt_kept_group *g, uint32_t p);
/* What is committed there, or the text with it, may be another. */
void lt_group_log_look(struct lt_kept_group *g, uint32_t p, bool text);
void lt_group_log_changed(struct lt_kept_group *g);
/* The group is forgotten; or only its memory is freed. */
void lt_group_log_drop(struct lt_kept_group *g);
void lt_group_log_free(struct lt_kept_group *g);
/* Whether a commit of that group waits for the disk. */
static inline bool lt_group_log_is_slow(const struct lt_kept_group *g)
{
    return g->w->group_log && g->filed.slow_count != 0;
}

/* group_restore.c: the file and the groups, compared. `restore`: the file's say. Keys that nobody has any more are given to forget(). */
struct lt_offsets;
int lt_group_restore(struct lt_worker *w, struct lt_offsets *offsets);
int lt_group_compare(struct lt_worker *w, struct lt_offsets *offsets);
/* Forgets a key, with the next round. */
void lt_group_log_forget(struct lt_worker *w, const char *group, uint64_t log_id, uint32_t partition);

#endif
