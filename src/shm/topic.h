/* topic: a topic's page. Read-only to clients; leatd is the one writer of every word.
 *
 *   at                 what
 *   0                  struct lt_region (id = topic id)
 *   64                 struct lt_topic_head: name, settings, map epoch, state
 *   LT_TOPIC_MAP_AT    uint16_t map[4096]: bucket -> partition
 *   LT_TOPIC_PARTS_AT  struct lt_partition x partition_count
 *
 * A death of leatd leaves the page as it is: all that leatd knows of a topic is in it, and the next worker reads it back.
 */
#ifndef LT_SHM_TOPIC_H
#define LT_SHM_TOPIC_H

#include "shm/bell.h"
#include "shm/region.h"
#include "shm/ring.h"

#define LT_TOPIC_NAME_MAX 249u
#define LT_TOPIC_PARTITIONS_MAX 4096u
#define LT_BUCKETS 4096u
#define LT_RINGS 6u /* the current one, up to LT_RINGS_RETIRED retired ones, one being made */
#define LT_RINGS_RETIRED 4u
#define LT_BELL_WORDS (LT_BELLS / 64)
#define LT_CLIENTS_MAX 1024u
#define LT_WRITER_WORDS (LT_CLIENTS_MAX / 64)

enum lt_topic_state { LT_TOPIC_NEW = 0, LT_TOPIC_OPEN = 1, LT_TOPIC_DELETED = 2 };

/* What a partition's log can do for senders. Anything but OPEN refuses them; what is in the ring is read on. */
enum lt_partition_state {
    LT_PARTITION_OPEN = 0,
    LT_PARTITION_FULL = 1,   /* LEAT_ENOSPC: no room for the next segment; ends by itself */
    LT_PARTITION_FAILED = 2, /* LEAT_EIO or LEAT_EFAILED, see `reason`: an operator decides */
};
#define LT_REASON_MAX 256u

struct lt_topic_head {
    char name[256];
    uint32_t topic_id;
    uint32_t state; /* enum lt_topic_state */
    uint32_t partition_count;
    uint32_t first_global; /* number on the bus of partition 0: knocks and counters use it */
    uint64_t ring_size;    /* payload bytes of one partition */
    uint32_t level;        /* enum leat_level */
    uint32_t on_full;      /* enum leat_on_full */
    uint32_t partitioner;  /* enum leat_partitioner */
    uint32_t log;
    uint32_t uid, gid, mode;
    uint32_t map_epoch;  /* [map.take] the map's version; claims inherit it */
    uint64_t created_by; /* client << 32 | request number: makes a repeated create the same create */
    uint64_t created_ms;
    uint32_t exclusive_client; /* who holds the topic exclusively; 0 nobody */
    uint32_t reserved0;
    uint64_t next_ring_id;
    uint64_t writers[LT_WRITER_WORDS]; /* bit c: client c is attached to produce */
    uint64_t log_id; /* of its log, and of what groups have committed of it; never used twice; 0: no log */
    uint64_t retention_bytes; /* of one partition's log; UINT64_MAX: all is kept */
    int64_t retention_ms;     /* -1: for ever */
    uint64_t segment_bytes;
    uint64_t reserved1[4];
};

/* One partition. Lines apart by how often they change. */
struct lt_partition {
    /* line 0: changes with rotations and reclaims; producers that wait for room sleep on room_seq */
    uint32_t room_seq; /* [room.seq] +1 and FUTEX_WAKE with each limit published and each rotation */
    uint32_t
        starving; /* [room.starving] a producer waits for records that are kept: tell leatd when you let go */
    uint32_t first_ring; /* number of the oldest ring that is still there */
    uint32_t
        current_ring; /* [rotation.publish] number of the ring that is claimed in; ring k has gate[k % LT_RINGS] */
    uint32_t state; /* [log.state] enum lt_partition_state; error and reason are stored before it */
    int32_t error;  /* LEAT_E...: what senders get while it is not open */
    uint32_t reserved0[10];
    /* line 1: the log, each a lower bound that only grows. With no log: visible UINT64_MAX, the others 0 */
    uint64_t
        visible; /* [log.visible] readers see offsets below: what is acknowledged at the topic's level. UINT64_MAX at
                          level ring: what is published is visible */
    uint64_t written;   /* [log.written] all below is with the kernel */
    uint64_t durable;   /* [log.durable] all below is on the disk */
    uint64_t log_start; /* the first offset that the log still has; may lie above `written` after a loss */
    uint64_t log_bytes; /* of its segments' files */
    uint32_t log_segments;
    uint32_t
        acked_seq; /* [log.acked] +1 and FUTEX_WAKE with each move of written or durable (level durable: of that), and with each change of state */
    uint32_t log_open; /* [log.open] 1: leatd has the log open, and it can be read */
    uint32_t reserved1[3];
    /* line 2..: whose bells producers ring: bit w of bell_summary: bells[w] is not 0. Of a topic above level ring that is the
     * persister's alone, and readers stand in acked_bells, which leatd rings when `visible` moves */
    uint64_t bell_summary;
    uint64_t bells[LT_BELL_WORDS];
    uint64_t acked_summary;
    uint64_t acked_bells[LT_BELL_WORDS];
    uint64_t reserved2[6];
    struct lt_ring_gate gate[LT_RINGS];
    char reason[LT_REASON_MAX]; /* path, step, errno; written before `state`, 0-terminated */
};

#define LT_TOPIC_HEAD_AT 64u
#define LT_TOPIC_MAP_AT 1024u
#define LT_TOPIC_PARTS_AT (LT_TOPIC_MAP_AT + LT_BUCKETS * 2u)

static inline uint64_t lt_topic_bytes(uint32_t partitions)
{
    return LT_TOPIC_PARTS_AT + (uint64_t)partitions * sizeof(struct lt_partition);
}
static inline struct lt_topic_head *lt_topic_head(const void *page)
{
    return (struct lt_topic_head *)(void *)((const char *)page + LT_TOPIC_HEAD_AT);
}
static inline uint16_t *lt_topic_map(const void *page)
{
    return (uint16_t *)(void *)((const char *)page + LT_TOPIC_MAP_AT);
}
static inline struct lt_partition *lt_topic_partition(const void *page, uint32_t partition)
{
    return (struct lt_partition *)(void *)((const char *)page + LT_TOPIC_PARTS_AT) + partition;
}
static inline struct lt_ring_gate *lt_partition_gate(struct lt_partition *p, uint32_t ring)
{
    return &p->gate[ring % LT_RINGS];
}

/* The first map: bucket b -> b mod partitions, so that each partition gets within one bucket of the same share. */
void lt_topic_map_init(void *page, uint32_t partitions);
/* Why senders are refused: 0 while it is OPEN; else the error, *state and the reason's text, as leatd stored them together. */
int lt_partition_refusal(const struct lt_partition *p, uint32_t *state, char reason[LT_REASON_MAX]);
/* 0, or LEAT_EINVAL with a message: empty, ".", "..", too long, bytes outside [A-Za-z0-9._-]. */
int lt_topic_name_check(const char *name, size_t size);
/* leatd: a reader's bell goes on or off the partition's list. Order: bells before summary on, summary stays on until empty. */
void lt_partition_bell_set(struct lt_partition *p, uint32_t bell, int on);
/* After a publication: compiler barrier, then every listed bell ([bell.look]). Returns how many were woken. */
uint32_t lt_partition_ring_bells(const struct lt_partition *p, struct lt_bells *bells);
/* The same with the other list: those who wait for what is acknowledged. */
void lt_partition_acked_bell_set(struct lt_partition *p, uint32_t bell, int on);
uint32_t lt_partition_ring_acked(const struct lt_partition *p, struct lt_bells *bells);

#endif
