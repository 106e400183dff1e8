/* member: how a member of a group commits, and how leatd makes sure that it has read the last commit that counts.
 *
 *   member: lt_member_store, lt_member_holds            leatd: lt_member_fence, membarrier, lt_member_committed
 *   1 store committed         [group.commit]            1 fence + 1               [group.fence]
 *   2 compiler barrier                                  2 membarrier
 *   3 load the fence          [group.fence]             3 read committed, grant   [group.commit]
 *
 * Either (3) of the member sees the new fence, and the commit does not count; or it came before leatd's (1) was visible, so (1) of the
 * member was drained by the membarrier and leatd reads it. A hand-over without a fence follows the member's own
 * RELEASE, which it says after its last store.
 */
#ifndef LT_SHM_MEMBER_H
#define LT_SHM_MEMBER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "shm/coordinator.h"
#include "shm/mailbox.h"

static inline void lt_member_store(struct lt_reader *reader, uint64_t offset)
{
    /* [group.commit] release: what was done with the records is done. Pairs with leatd's acquire load. */
    lt_store_release64(&reader->committed, offset);
}

/* A partition begins that was granted to us; what is stored until the next one belongs to that grant. An entry stays until it is closed,
 * and meanwhile the partition may have been another's, and be ours again: of that grant nothing is in it yet. */
static inline void lt_member_start(struct lt_reader *reader, uint32_t grant, uint64_t offset)
{
    /* [group.begin] release: whoever sees it sees the LT_COMMIT_NONE with which the entry was opened, or what came since. */
    lt_store_release64(&reader->grant, grant);
    lt_member_store(reader, offset);
}

/* Behind one store or many: whether they count. */
static inline bool lt_member_holds(const struct lt_member_word *word, uint32_t fence)
{
    lt_fence_light();
    /* [group.fence] acquire: either leatd reads what was stored, or this sees that it has evicted us. */
    return lt_load_acquire32(&word->fence) == fence;
}

/* leatd, one writer. A membarrier comes behind it. */
static inline void lt_member_fence(struct lt_member_word *word)
{
    /* [group.fence] release: pairs with the member's acquire load. */
    lt_store_release32(&word->fence, lt_load_relaxed32(&word->fence) + 1);
}

/* leatd: what was committed of this grant. LT_COMMIT_NONE when there is nothing, or nothing that could be an offset: the word is
 * the member's. */
static inline uint64_t lt_member_committed(const struct lt_reader *reader, uint32_t grant)
{
    /* [group.begin] acquire: comes before `committed`. */
    if (lt_load_acquire64(&reader->grant) != grant)
        return LT_COMMIT_NONE;
    /* [group.commit] acquire. */
    uint64_t committed = lt_load_acquire64(&reader->committed);
    return committed <= INT64_MAX ? committed : LT_COMMIT_NONE;
}

#endif
