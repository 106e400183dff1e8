/* layout: where everything shared lies, said once, asserted here and hashed into the fingerprint.
 *
 * Processes of different builds meet in these structs. Whoever changes one changes a line here, with that the
 * fingerprint, and builds that do not fit together refuse each other. A change of *meaning* that leaves all places as they
 * are raises LT_LAYOUT_VERSION instead.
 */
#include <leat.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/bell.h"
#include "shm/coordinator.h"
#include "shm/counters.h"
#include "shm/grouppage.h"
#include "shm/mailbox.h"
#include "shm/region.h"
#include "shm/repair.h"
#include "shm/ring.h"
#include "shm/topic.h"
#include "shm/wire.h"

/* SIZE(struct, bytes)  AT(struct, field, place)  IS(constant, value) */
#define LAYOUT(SIZE, AT, IS)                 \
    SIZE(lt_region, 64)                      \
    AT(lt_region, magic, 0)                  \
    AT(lt_region, version, 8)                \
    AT(lt_region, kind, 12)                  \
    AT(lt_region, fingerprint, 16)           \
    AT(lt_region, size, 24)                  \
    AT(lt_region, id, 32)                    \
    AT(lt_region, owner_id, 40)              \
    AT(lt_region, ready, 60)                 \
    IS(LT_LAYOUT_VERSION, 1)                 \
                                             \
    SIZE(lt_pair, 16)                        \
    SIZE(lt_slot, 128)                       \
    AT(lt_slot, word, 0)                     \
    AT(lt_slot, stamp, 8)                    \
    AT(lt_slot, key_size, 16)                \
    AT(lt_slot, value_size, 20)              \
    AT(lt_slot, headers_size, 24)            \
    AT(lt_slot, pos, 28)                     \
    AT(lt_slot, data, 32)                    \
    SIZE(lt_ring_words, 64)                  \
    AT(lt_ring_words, hint, 0)               \
    SIZE(lt_ring_gate, 128)                  \
    AT(lt_ring_gate, announced, 0)           \
    AT(lt_ring_gate, ring_id, 8)             \
    AT(lt_ring_gate, base_offset, 16)        \
    AT(lt_ring_gate, frozen, 24)             \
    AT(lt_ring_gate, end_offset, 32)         \
    AT(lt_ring_gate, limit_offset, 64)       \
    AT(lt_ring_gate, limit_pos, 72)          \
    IS(LT_LINE, 64)                          \
    IS(LT_UNIT, 64)                          \
    IS(LT_SLOT_SIZE, 128)                    \
    IS(LT_INLINE_MAX, 96)                    \
    IS(LT_COUNT_MAX, 4095)                   \
    IS(LT_OWNER_MAX, 8191)                   \
    IS(LT_POS_MASK, 0xfffffff)               \
    IS(LT_LENGTH_MAX, 0xfffff)               \
    IS(LT_LAP_MAX, 0xfffffffff)              \
    IS(LT_RING_SIZE_MIN, 65536)              \
    IS(LT_RING_SIZE_MAX, 1073741824)         \
    IS(LT_FREE, 0)                           \
    IS(LT_BUSY, 1)                           \
    IS(LT_COMMITTED, 2)                      \
    IS(LT_PUBLISHED, 3)                      \
    IS(LT_ABORTED, 4)                        \
    IS(LT_ACKED, 5)                          \
    IS(LT_SEAL, 6)                           \
    IS(LT_KIND_RECORD, 1)                    \
    IS(LT_KIND_GAP, 2)                       \
    IS(LT_KIND_SEAL, 3)                      \
                                             \
    SIZE(lt_topic_head, 536)                 \
    AT(lt_topic_head, name, 0)               \
    AT(lt_topic_head, topic_id, 256)         \
    AT(lt_topic_head, state, 260)            \
    AT(lt_topic_head, partition_count, 264)  \
    AT(lt_topic_head, first_global, 268)     \
    AT(lt_topic_head, ring_size, 272)        \
    AT(lt_topic_head, level, 280)            \
    AT(lt_topic_head, on_full, 284)          \
    AT(lt_topic_head, partitioner, 288)      \
    AT(lt_topic_head, log, 292)              \
    AT(lt_topic_head, uid, 296)              \
    AT(lt_topic_head, gid, 300)              \
    AT(lt_topic_head, mode, 304)             \
    AT(lt_topic_head, map_epoch, 308)        \
    AT(lt_topic_head, created_by, 312)       \
    AT(lt_topic_head, created_ms, 320)       \
    AT(lt_topic_head, exclusive_client, 328) \
    AT(lt_topic_head, next_ring_id, 336)     \
    AT(lt_topic_head, writers, 344)          \
    AT(lt_topic_head, log_id, 472)           \
    AT(lt_topic_head, retention_bytes, 480)  \
    AT(lt_topic_head, retention_ms, 488)     \
    AT(lt_topic_head, segment_bytes, 496)    \
    SIZE(lt_partition, 1472)                 \
    AT(lt_partition, room_seq, 0)            \
    AT(lt_partition, starving, 4)            \
    AT(lt_partition, first_ring, 8)          \
    AT(lt_partition, current_ring, 12)       \
    AT(lt_partition, state, 16)              \
    AT(lt_partition, error, 20)              \
    AT(lt_partition, visible, 64)            \
    AT(lt_partition, written, 72)            \
    AT(lt_partition, durable, 80)            \
    AT(lt_partition, log_start, 88)          \
    AT(lt_partition, log_bytes, 96)          \
    AT(lt_partition, log_segments, 104)      \
    AT(lt_partition, acked_seq, 108)         \
    AT(lt_partition, log_open, 112)          \
    AT(lt_partition, bell_summary, 128)      \
    AT(lt_partition, bells, 136)             \
    AT(lt_partition, acked_summary, 264)     \
    AT(lt_partition, acked_bells, 272)       \
    AT(lt_partition, gate, 448)              \
    AT(lt_partition, reason, 1216)           \
    IS(LT_TOPIC_HEAD_AT, 64)                 \
    IS(LT_TOPIC_MAP_AT, 1024)                \
    IS(LT_TOPIC_PARTS_AT, 9216)              \
    IS(LT_TOPIC_NAME_MAX, 249)               \
    IS(LT_BUCKETS, 4096)                     \
    IS(LT_RINGS, 6)                          \
    IS(LT_CLIENTS_MAX, 1024)                 \
    IS(LEAT_BLOCK, 0)                        \
    IS(LEAT_OVERWRITE, 1)                    \
    IS(LEAT_ERROR, 2)                        \
    IS(LEAT_XXH3, 1)                         \
    IS(LEAT_MURMUR2, 2)                      \
                                             \
    SIZE(lt_bell, 64)                        \
    AT(lt_bell, word, 0)                     \
    SIZE(lt_bells, 74048)                    \
    AT(lt_bells, leatd, 64)                  \
    AT(lt_bells, knock_summary, 128)         \
    AT(lt_bells, knocks, 320)                \
    AT(lt_bells, bells, 8512)                \
    IS(LT_BELLS, 1024)                       \
    IS(LT_PARTITIONS_MAX, 65536)             \
    IS(LT_BELL_WAITERS, 1)                   \
                                             \
    SIZE(lt_bell_entry, 8)                   \
    AT(lt_bell_entry, client, 0)             \
    AT(lt_bell_entry, consumer, 4)           \
    SIZE(lt_client_entry, 192)               \
    AT(lt_client_entry, state, 0)            \
    AT(lt_client_entry, pid, 4)              \
    AT(lt_client_entry, uid, 8)              \
    AT(lt_client_entry, gid, 12)             \
    AT(lt_client_entry, since_ms, 16)        \
    AT(lt_client_entry, mailbox_bytes, 24)   \
    AT(lt_client_entry, program, 32)         \
    AT(lt_client_entry, client_id, 64)       \
    AT(lt_client_entry, quarantined, 160)    \
    SIZE(lt_coordinator, 1065152)            \
    AT(lt_coordinator, bus_id, 64)           \
    AT(lt_coordinator, incarnation, 72)      \
    AT(lt_coordinator, topics_seq, 80)       \
    AT(lt_coordinator, keeper_pid, 88)       \
    AT(lt_coordinator, worker_pid, 92)       \
    AT(lt_coordinator, started_ms, 96)       \
    AT(lt_coordinator, ended, 104)           \
    AT(lt_coordinator, stall_limit_ms, 108)  \
    AT(lt_coordinator, next_topic_id, 112)   \
    AT(lt_coordinator, bells, 192)           \
    AT(lt_coordinator, next_group_page, 120) \
    AT(lt_coordinator, resting, 128)         \
    AT(lt_coordinator, groups_restored, 132) \
    AT(lt_coordinator, clients, 8384)        \
    AT(lt_coordinator, members, 204992)      \
    AT(lt_coordinator, news, 213184)         \
    SIZE(lt_news, 832)                       \
    AT(lt_news, seq, 0)                      \
    AT(lt_news, version_count, 8)            \
    AT(lt_news, serial_flags, 16)            \
    AT(lt_news, generation, 24)              \
    AT(lt_news, rows, 64)                    \
    IS(LT_NEWS_ROWS, 32)                     \
    SIZE(lt_member_word, 8)                  \
    AT(lt_member_word, version, 0)           \
    AT(lt_member_word, fence, 4)             \
    IS(LT_CLIENT_ALIVE, 1)                   \
    IS(LT_CLIENT_LEFT, 2)                    \
    IS(LT_CLIENT_DEAD, 3)                    \
                                             \
    SIZE(lt_reader, 64)                      \
    AT(lt_reader, ident, 0)                  \
    AT(lt_reader, pin, 8)                    \
    AT(lt_reader, keep, 16)                  \
    AT(lt_reader, position, 24)              \
    AT(lt_reader, committed, 32)             \
    AT(lt_reader, grant, 40)                 \
    SIZE(lt_member_box, 64)                  \
    AT(lt_member_box, polls, 0)              \
    SIZE(lt_mailbox, 328000)                 \
    AT(lt_mailbox, lease, 64)                \
    AT(lt_mailbox, counters, 128)            \
    AT(lt_mailbox, readers_used, 256)        \
    AT(lt_mailbox, readers, 320)             \
    AT(lt_mailbox, members, 262464)          \
    IS(LT_READERS_MAX, 4096)                 \
    IS(LT_CLIENT_COUNTERS, 16)               \
    IS(LT_COUNT_SENT_RECORDS, 0)             \
    IS(LT_COUNT_MOVED, 9)                    \
                                             \
    SIZE(lt_counters_head, 64)               \
    AT(lt_counters_head, magic, 0)           \
    AT(lt_counters_head, version, 8)         \
    AT(lt_counters_head, capacity, 12)       \
    AT(lt_counters_head, bus_id, 16)         \
    AT(lt_counters_head, folded_ms, 24)      \
    AT(lt_counters_head, used, 32)           \
    SIZE(lt_counter, 128)                    \
    AT(lt_counter, state, 0)                 \
    AT(lt_counter, partition, 4)             \
    AT(lt_counter, client, 8)                \
    AT(lt_counter, topic_id, 12)             \
    AT(lt_counter, value, 16)                \
    AT(lt_counter, name, 24)                 \
    AT(lt_counter, topic, 56)                \
    IS(LT_COUNTERS_AT, 4096)                 \
                                             \
    SIZE(lt_msg, 24)                         \
    AT(lt_msg, type, 4)                      \
    AT(lt_msg, size, 8)                      \
    AT(lt_msg, number, 12)                   \
    AT(lt_msg, result, 16)                   \
    SIZE(lt_msg_error, 256)                  \
    SIZE(lt_hello, 192)                      \
    SIZE(lt_hello_answer, 48)                \
    SIZE(lt_topic_create, 448)               \
    SIZE(lt_name, 256)                       \
    SIZE(lt_topic_describe, 264)             \
    SIZE(lt_partition_row, 312)              \
    SIZE(lt_topic_describe_answer, 624)      \
    SIZE(lt_topic_alter, 456)                \
    SIZE(lt_topic_resume, 264)               \
    SIZE(lt_topic_attach, 264)               \
    SIZE(lt_topic_attach_answer, 16)         \
    SIZE(lt_topic_detach, 8)                 \
    SIZE(lt_ring_attach, 16)                 \
    SIZE(lt_ring_attach_answer, 24)          \
    SIZE(lt_consumer_open, 104)              \
    SIZE(lt_consumer_answer, 8)              \
    SIZE(lt_consumer_close, 8)               \
    SIZE(lt_reader_open, 8)                  \
    SIZE(lt_reader_close, 8)                 \
    SIZE(lt_status_answer, 48)               \
    SIZE(lt_clients, 8)                      \
    SIZE(lt_client_row, 160)                 \
    IS(LT_MSG_MAX, 65536)                    \
    SIZE(lt_group_head, 376)                 \
    SIZE(lt_group_seat, 256)                 \
    SIZE(lt_group_place, 256)                \
    SIZE(lt_topic_name, 8)                   \
    SIZE(lt_group_join, 504)                 \
    SIZE(lt_group_join_answer, 144)          \
    SIZE(lt_membership, 8)                   \
    SIZE(lt_group_leave, 16)                 \
    SIZE(lt_group_sync, 16)                  \
    SIZE(lt_group_sync_row, 24)              \
    SIZE(lt_group_sync_answer, 24)           \
    SIZE(lt_topic_part, 8)                   \
    SIZE(lt_group_release, 16)               \
    SIZE(lt_group_commit_row, 224)           \
    SIZE(lt_group_commit, 272)               \
    SIZE(lt_group_offsets, 264)              \
    SIZE(lt_group_offset_row, 512)           \
    SIZE(lt_group_list, 256)                 \
    SIZE(lt_group_row, 320)                  \
    SIZE(lt_group_describe, 264)             \
    SIZE(lt_group_member_row, 336)           \
    SIZE(lt_group_view, 16)                  \
    SIZE(lt_group_view_row, 232)             \
    SIZE(lt_group_view_answer, 16)           \
    SIZE(lt_group_propose_row, 16)           \
    SIZE(lt_group_propose, 24)               \
    IS(LT_GROUP_MEMBERS_AT, 512)             \
    IS(LT_METADATA_MAX, 200)                 \
    IS(LT_MSG_GROUP_PROPOSE, 28)             \
    IS(LT_MSG_SEGMENT_ATTACH, 29)            \
    IS(LT_MSG_TOPIC_RESUME, 30)              \
    IS(LT_MSG_TOPIC_ALTER, 31)

#define SIZE_HOLDS(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type " has " #bytes " bytes");
#define AT_HOLDS(type, field, place) \
    _Static_assert(offsetof(struct type, field) == (place), #type "." #field " is at " #place);
#define IS_HOLDS(constant, value) _Static_assert((constant) == (value), #constant " is " #value);
LAYOUT(SIZE_HOLDS, AT_HOLDS, IS_HOLDS)

/* What the places above have to be for. */
#define ON_A_LINE(type, field) \
    _Static_assert(offsetof(struct type, field) % LT_LINE == 0, #type "." #field " begins a line")
#define WHOLE_LINES(type) _Static_assert(sizeof(struct type) % LT_LINE == 0, #type " is whole lines")

/* Futex words are 4-byte aligned, claims 16: the processor and the kernel want that. */
_Static_assert(_Alignof(struct lt_pair) == 16, "a claim is aligned for a 16-byte CAS");
_Static_assert(offsetof(struct lt_region, ready) % 4 == 0, "ready is one word");
_Static_assert(sizeof(struct lt_slot) == LT_SLOT_SIZE, "slots lie LT_SLOT_SIZE apart");
_Static_assert(sizeof(((struct lt_slot *)0)->data) == LT_INLINE_MAX, "an inline record fills its slot");
_Static_assert(offsetof(struct lt_slot, data) + LT_INLINE_MAX == LT_SLOT_SIZE, "nothing behind the data");
_Static_assert(sizeof(struct lt_region) == LT_LINE, "lt_ring_words() is the ring's second line");

/* Written by different processes, or at different rates: not on one line. */
WHOLE_LINES(lt_ring_gate);
ON_A_LINE(lt_ring_gate, limit_offset);
WHOLE_LINES(lt_partition);
ON_A_LINE(lt_partition, visible);
ON_A_LINE(lt_partition, bell_summary);
ON_A_LINE(lt_partition, gate);
WHOLE_LINES(lt_bell);
ON_A_LINE(lt_bells, leatd);
ON_A_LINE(lt_bells, knock_summary);
ON_A_LINE(lt_bells, knocks);
ON_A_LINE(lt_bells, bells);
WHOLE_LINES(lt_client_entry);
ON_A_LINE(lt_coordinator, bus_id);
ON_A_LINE(lt_coordinator, bells);
ON_A_LINE(lt_coordinator, clients);
WHOLE_LINES(lt_reader);
WHOLE_LINES(lt_member_box);
ON_A_LINE(lt_mailbox, members);
ON_A_LINE(lt_coordinator, members);
ON_A_LINE(lt_coordinator, news);
WHOLE_LINES(lt_news);
_Static_assert(sizeof(struct lt_group_sync_row) % sizeof(uint64_t) == 0, "news go word by word");
ON_A_LINE(lt_mailbox, lease);
ON_A_LINE(lt_mailbox, counters);
ON_A_LINE(lt_mailbox, readers_used);
ON_A_LINE(lt_mailbox, readers);
WHOLE_LINES(lt_counter);

/* Places that are computed, not fields. */
_Static_assert(LT_TOPIC_HEAD_AT == sizeof(struct lt_region), "the topic's head is right behind the region's");
_Static_assert(LT_TOPIC_HEAD_AT + sizeof(struct lt_topic_head) <= LT_TOPIC_MAP_AT,
               "the head ends before the map");
_Static_assert(LT_TOPIC_PARTS_AT % LT_LINE == 0, "partitions begin on a line");
_Static_assert(LT_TOPIC_MAP_AT + LT_BUCKETS * sizeof(uint16_t) <= LT_TOPIC_PARTS_AT,
               "the map ends before them");
_Static_assert(sizeof(struct lt_counters_head) <= LT_COUNTERS_AT,
               "the counters' head ends before the entries");

_Static_assert(LT_GROUP_HEAD_AT + sizeof(struct lt_group_head) <= LT_GROUP_MEMBERS_AT,
               "the head of a group ends before its members");
_Static_assert(LT_GROUP_MEMBERS_AT % LT_LINE == 0, "members begin on a line");

/* Numbers that are packed into others, or index bit maps. */
_Static_assert(LT_RINGS > LT_RINGS_RETIRED + 1, "the current ring, the retired ones, and one being made");
_Static_assert(LT_TOPIC_PARTITIONS_MAX <= LT_BUCKETS, "each partition has a bucket");
_Static_assert(LT_TOPIC_PARTITIONS_MAX <= UINT16_MAX + 1, "the map's entries are 16 bits");
_Static_assert(LT_CLIENTS_MAX - 1 <= LT_OWNER_MAX, "a claim's owner is a client id");
_Static_assert(LT_BELL_WORDS <= 64, "a partition's bells have one word of summary");
_Static_assert(LT_KNOCK_WORDS % 64 == 0, "knock_summary is whole words");
_Static_assert(LT_BELLS <= 1u << 12, "a bell has 12 bits of a reader's ident");
_Static_assert(LT_TOPIC_PARTITIONS_MAX <= 1u << 16, "a partition has 16 bits of a reader's ident");
_Static_assert(LT_TOPIC_NAME_MAX < sizeof(((struct lt_topic_head *)0)->name), "a name and its 0");
_Static_assert(LT_COUNT_MOVED < LT_CLIENT_COUNTERS, "a mailbox has room for its counters");
_Static_assert(sizeof(struct lt_topic_describe_answer) + sizeof(struct lt_msg) < LT_MSG_MAX,
               "an answer fits");
_Static_assert(LT_RING_SIZE_MAX / LT_UNIT <= (LT_POS_MASK + 1ull) / 2, "positions of a ring are told apart");

uint64_t lt_fingerprint(void)
{
#define SIZE_NUMBER(type, bytes) bytes,
#define AT_NUMBER(type, field, place) place,
#define IS_NUMBER(constant, value) value,
    static const uint64_t numbers[] = { LAYOUT(SIZE_NUMBER, AT_NUMBER, IS_NUMBER) };
    uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a, over whole numbers: order counts */
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        hash = (hash ^ numbers[i]) * 0x100000001b3ull;
    return hash;
}
