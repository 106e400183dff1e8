/* grouppage: what leatd knows of a group, in a memfd that only leatd maps: the next worker goes on from it.
 *
 *   at                     what
 *   0                      struct lt_region (id = number of the page)
 *   64                     struct lt_group_head
 *   LT_GROUP_MEMBERS_AT    struct lt_group_seat x member_room
 *   behind them            struct lt_group_place x part_room
 *
 * A page that has become too small is copied to a bigger one with a higher number; the keeper has both for a moment, and the
 * higher one of a name that is ready counts.
 *
 * What a death leaves: every word that decides something is stored last and alone (seat.serial, place.owner, place.topic_id), so a page is
 * read as it stands. place.committed comes before place.owner = 0: who is found owning is asked again.
 */
#ifndef LT_SHM_GROUPPAGE_H
#define LT_SHM_GROUPPAGE_H

#include "shm/region.h"
#include "shm/wire.h"

struct lt_group_head {
    char name[256];
    uint32_t uid, gid; /* who made it: nobody else but root may use it */
    uint32_t member_room, part_room;
    uint32_t assignor;
    uint32_t alone; /* LT_JOIN_ALONE */
    uint32_t next_serial;
    uint32_t first_topic; /* topics with this id or above are younger than the group */
    uint64_t generation;
    uint64_t empty_since_ms; /* 0: it has members */
    uint64_t last_rebalance_us;
    uint64_t rebalances, evictions, unowned_us;
    uint64_t id; /* of the group: number of its first page */
    uint64_t created_ms;
    uint64_t reserved[3];
};

struct lt_group_seat {
    uint32_t serial; /* [group.seat] 0: free. Stored last when it is taken, first when it is left */
    uint32_t client, bell;
    uint32_t fence; /* the coordinator's word when it joined; another value: its eviction was not finished */
    uint64_t away_ms; /* static, and gone since then (CLOCK_REALTIME); 0: here */
    uint64_t session_timeout_ms;
    char client_id[96];
    char instance_id[96];
    uint64_t gates; /* LT_JOIN_GATE */
    uint64_t reserved[3];
};

struct lt_group_place {
    uint32_t topic_id; /* [group.place] 0: free. Stored last */
    uint32_t partition;
    uint32_t owner;     /* [group.owner] serial of the member that has it; 0: nobody */
    uint32_t grant;     /* times it was granted */
    uint64_t committed; /* or LT_COMMIT_NONE; what its owner has committed since is in the owner's mailbox */
    uint64_t metadata_offset; /* the offset that the metadata came with */
    uint64_t unowned_us;
    uint32_t fresh; /* younger than the group: starts at its first record */
    uint32_t metadata_size;
    char metadata[LT_METADATA_MAX];
    uint64_t reserved;
};

#define LT_GROUP_HEAD_AT 64u
#define LT_GROUP_MEMBERS_AT 512u

static inline uint64_t lt_group_page_bytes(uint32_t members, uint32_t parts)
{
    return LT_GROUP_MEMBERS_AT + (uint64_t)members * sizeof(struct lt_group_seat) +
           (uint64_t)parts * sizeof(struct lt_group_place);
}
static inline struct lt_group_head *lt_group_head(void *page)
{
    return (struct lt_group_head *)(void *)((char *)page + LT_GROUP_HEAD_AT);
}
static inline struct lt_group_seat *lt_group_seat(void *page, uint32_t seat)
{
    return (struct lt_group_seat *)(void *)((char *)page + LT_GROUP_MEMBERS_AT) + seat;
}
static inline struct lt_group_place *lt_group_place(void *page, uint32_t members, uint32_t place)
{
    return (struct lt_group_place *)(void *)((char *)page + LT_GROUP_MEMBERS_AT +
                                             (uint64_t)members * sizeof(struct lt_group_seat)) +
           place;
}

#endif
