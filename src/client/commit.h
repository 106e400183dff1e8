/* commit: committed offsets of a consumer with a group.
 *
 * A member's commit is a store into its own mailbox, and a look at its fence: shm/member.h says why that is enough.
 * A consumer of the group that is no member (leat_consumer_assign) commits by a request.
 *
 * What a commit says is "everything below is done". When that is all that was handed out, it says so of the gaps behind it too,
 * also of those that come later: drained means lag 0.
 *
 * Points at which a fault build can die here: commit.store (about to store), commit.fence (stored, the fence not looked at).
 */
#ifndef LT_CLIENT_COMMIT_H
#define LT_CLIENT_COMMIT_H

#include <leat.h>

#include "client/consumer.h"

struct lt_report;

/* One partition of a commit. */
struct lt_intent {
    struct lt_cursor *cursor;
    uint64_t offset;
    const char *metadata; /* NULL: none */
};

/* What was handed out before this poll. on_commit is told later. */
int lt_commit_auto(leat_consumer *c);
/* Runs on_commit for what was committed by earlier calls. */
void lt_commit_report(leat_consumer *c);
/* All that was not told. */
void lt_commit_forget(leat_consumer *c);

/* A gate has committed more: what is below need not be kept any more. As [reader.keep] in poll.c: leatd stores `starving`, passes a
 * membarrier and looks at what is committed again, so one of us sees the other. */
void lt_commit_tell_starving(leat_consumer *c, const struct lt_cursor *cursor);

/* After leat_consumer_assign: places every cursor at the group's committed offset, if there is one. */
int lt_commit_fetch(leat_consumer *c);

#endif
