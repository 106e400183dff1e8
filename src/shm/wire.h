/* wire: what goes over the control socket (SOCK_SEQPACKET, BUS/control): one request, one answer, in order.
 *
 * A message is a struct lt_msg and a body, at most LT_MSG_MAX bytes. All numbers are in host order: one machine. leatd checks
 * every length; a message that makes no sense is answered with LEAT_EPROTO and the connection goes on, unless not even the
 * head is whole: then it is closed. Every request may be repeated after a reconnect and then means the same request.
 * Descriptors travel with answers only, never with requests: leatd closes any it gets.
 */
#ifndef LT_SHM_WIRE_H
#define LT_SHM_WIRE_H

#include <stdint.h>

#include "shm/topic.h"

#define LT_MSG_MAX 65536u
#define LT_MSG_TEXT 256u
#define LT_MSG_MAGIC 0x6c743031u
#define LT_CONTROL_SOCKET "control" /* in the bus directory */
#define LT_COUNTERS_FILE "counters"
#define LT_LOCK_FILE "lock"

enum lt_msg_type {
    LT_MSG_HELLO = 1,
    LT_MSG_BYE = 2,
    LT_MSG_TOPIC_CREATE = 3,
    LT_MSG_TOPIC_DELETE = 4,
    LT_MSG_TOPIC_LIST = 5,
    LT_MSG_TOPIC_DESCRIBE = 6,
    LT_MSG_TOPIC_ATTACH = 7, /* + fd of the topic's page, read-only */
    LT_MSG_TOPIC_DETACH = 8,
    LT_MSG_RING_ATTACH = 9, /* + fd of one ring */
    LT_MSG_CONSUMER_OPEN = 10,
    LT_MSG_CONSUMER_CLOSE = 11,
    LT_MSG_READER_OPEN = 12,
    LT_MSG_READER_CLOSE = 13,
    LT_MSG_STATUS = 14,
    LT_MSG_CLIENTS = 15,
    LT_MSG_FOLD = 16, /* write all counters to the file now */
    LT_MSG_TOPIC_NAME = 17,
    LT_MSG_GROUP_JOIN = 18,
    LT_MSG_GROUP_LEAVE = 19,
    LT_MSG_GROUP_SYNC = 20,
    LT_MSG_GROUP_RELEASE = 21,
    LT_MSG_GROUP_COMMIT = 22,
    LT_MSG_GROUP_OFFSETS = 23,
    LT_MSG_GROUP_LIST = 24,
    LT_MSG_GROUP_DESCRIBE = 25,
    LT_MSG_GROUP_DELETE = 26,
    LT_MSG_GROUP_VIEW = 27,
    LT_MSG_GROUP_PROPOSE = 28,
    LT_MSG_SEGMENT_ATTACH = 29, /* + fd of one segment of a partition's log, read-only */
    LT_MSG_TOPIC_RESUME = 30,
    LT_MSG_TOPIC_ALTER = 31,
};

struct lt_msg {
    uint32_t magic;
    uint16_t type;
    uint16_t flags;  /* 1: an answer */
    uint32_t size;   /* head and body */
    uint32_t number; /* of the request, chosen by the client, increasing */
    int32_t result;  /* answers: >= 0 or LEAT_E... */
    uint32_t reserved;
};

/* An answer with result < 0 has this body: */
struct lt_msg_error {
    char text[LT_MSG_TEXT];
};

struct lt_hello { /* request */
    uint64_t fingerprint;
    uint32_t layout_version;
    uint32_t client;  /* 0: a new client; else who I was (same pid, not yet dead) */
    uint64_t bus_id;  /* with client: which bus */
    uint32_t mailbox; /* 1: I want regions and a mailbox (a client); 0: only control requests */
    uint32_t reserved;
    char library_version[32];
    char program[32];
    char client_id[96];
};
struct
    lt_hello_answer { /* + fds: coordinator (ro), bells (rw), mailbox (rw) for a new client with mailbox; none on resume */
    uint64_t bus_id;
    uint64_t incarnation;
    uint32_t client;
    uint32_t reserved;
    uint64_t coordinator_bytes, bells_bytes, mailbox_bytes;
};

struct lt_topic_create {
    char name[256];
    uint32_t partitions;
    uint32_t level, on_full, partitioner, mode, no_log, if_not_exists, reserved;
    uint64_t ring_size;
    /* As leatd's configuration says: partitions, ring_size and segment_bytes of 0; UINT32_MAX of level, on_full, partitioner, mode,
     * and of no_log (above level ring there is a log); INT64_MIN of the next two. */
    uint64_t segment_bytes;
    int64_t retention_bytes; /* of one partition; -1: all is kept */
    int64_t retention_ms;    /* -1: for ever */
    char owner[128];         /* "" : the caller */
};
struct lt_name { /* TOPIC_DELETE, and TOPIC_LIST: names behind this one */
    char name[256];
};
/* TOPIC_LIST answer: result = how many names; body: 0-terminated names one after the other, sorted. 0 names: the end. */

struct lt_topic_describe {
    char name[256];
    uint32_t from_partition;
    uint32_t reserved;
};
struct lt_partition_row {
    uint32_t partition, state, rings, readers; /* state: enum lt_partition_state */
    uint64_t log_start_offset, log_end_offset, acked_offset;
    uint64_t bytes_on_disk, segments;
    char reason[LT_REASON_MAX]; /* why it is full or failed */
};
struct lt_topic_describe_answer { /* result = rows that follow */
    struct lt_topic_create topic;
    uint32_t uid, gid, map_epoch, descriptors, producers, log;
    char owner[128];
    uint64_t memory_bytes, ring_slots, record_max;
    struct lt_partition_row rows[];
};

struct lt_topic_attach {
    char name[256];
    uint32_t write; /* 1: to produce, 0: to consume */
    uint32_t exclusive;
};
struct lt_topic_attach_answer {
    uint64_t page_bytes;
    uint32_t topic_id;
    uint32_t reserved;
};
struct lt_topic_detach { /* nothing of this client produces there any more; all its claims are over */
    uint32_t topic_id;
    uint32_t write;
};

struct lt_ring_attach {
    uint32_t topic_id, partition, ring, write; /* ring: its number (first_ring..current_ring) */
};
struct lt_ring_attach_answer { /* LEAT_EOFFSET: that ring is gone */
    uint64_t bytes, ring_id, base_offset;
};

/* SEGMENT_ATTACH: where a partition's log has an offset, or the first record of a time or later. LEAT_EOFFSET: below the log's
 * start, or not written yet (result text says which); LEAT_EBUSY_HANDLE: leatd has not opened the log yet, or the log is busy: again. */
struct lt_segment_attach {
    uint32_t topic_id, partition;
    uint64_t offset;
    int64_t timestamp_ms; /* by_time: this counts, and the offset does not; no fd comes */
    uint32_t by_time, reserved;
};
struct lt_segment_attach_answer {
    uint64_t log_id;       /* with partition, base_offset and place: what a batch's hash is seeded with */
    uint64_t base_offset;  /* the segment */
    uint64_t size_bytes;   /* of its file */
    uint64_t pos;          /* of the batch that has the offset, or of the next one */
    uint64_t first_offset; /* of that batch */
};
/* RESUME: partitions that have failed are opened again. */
struct lt_topic_resume {
    char name[256];
    uint32_t partition; /* UINT32_MAX: all that have failed */
    uint32_t cut;       /* 1: what is damaged is given up, with all behind it */
};
/* ALTER: settings of a topic that may change while it is used; only those whose bit is set in `fields`. */
enum lt_alter_field {
    LT_ALTER_RETENTION_BYTES = 1,
    LT_ALTER_RETENTION_MS = 2,
    LT_ALTER_ON_FULL = 4,
    LT_ALTER_MODE = 8,
    LT_ALTER_OWNER = 16
};
struct lt_topic_alter {
    uint32_t fields, reserved;
    struct lt_topic_create topic;
};

struct lt_consumer_open {
    uint32_t consumer;  /* the client's own number, not 0 */
    uint32_t bell;      /* 0xffffffff: any; on resume: the one it has */
    char client_id[96]; /* "": as HELLO said; else the client is shown by this name from now on */
};
struct lt_consumer_answer {
    uint32_t bell, reserved;
};
struct lt_consumer_close {
    uint32_t bell, reserved;
};
struct lt_reader_open { /* leatd reads topic, partition and bell from the mailbox's entry */
    uint32_t entry;
    uint32_t member; /* 1: of a member, who may open it before the partition is granted: its bell is on the
                        partition's list only while the partition is. 0: from now on */
};
struct lt_reader_close { /* the client set pin and keep to none before; clears ident after the answer */
    uint32_t entry, reserved;
};

struct lt_status_answer {
    uint64_t incarnation, started_ms, memory_bytes;
    int32_t keeper_pid, worker_pid;
    uint32_t topics, groups, clients, reserved;
};
struct lt_clients { /* request */
    uint32_t from, reserved;
};
struct lt_client_row {
    uint32_t id;
    int32_t pid;
    uint32_t uid, producers, consumers, readers, quarantined,
        state; /* enum lt_client_state; 100: away, 101: stopped */
    char program[32];
    char client_id[96];
};
/* CLIENTS answer: result = rows that follow, ids >= from. */

/* --- groups: src/README.md, "Groups" --- */

#define LT_GROUP_NAME_MAX 249u
#define LT_METADATA_MAX 200u /* bytes that a commit can carry */

struct lt_topic_name {
    uint32_t topic_id, reserved;
};
/* TOPIC_NAME answer: struct lt_name. */

enum lt_join_flags {
    LT_JOIN_ALONE = 1, /* refuse when somebody is in the group, and everybody after me: LEAT_EEXCLUSIVE */
    LT_JOIN_GATE =
        2, /* nothing that the group has not committed is overwritten while such a member is in it */
    LT_JOIN_MUST_EXIST = 4, /* LEAT_ENOTOPIC for a topic that is asked for by name and not there */
};
/* JOIN: a consumer (its bell) becomes a member, or changes its subscription, or says again to a new worker that it is one.
 * Variable size: topic_bytes of names behind it, each with a '=' (asked for by name: refused when it may not be read) or a '~'
 * (found by a pattern) in front and a 0 behind. Topics that do not exist are remembered: they may come. */
struct lt_group_join {
    char group[256];
    char instance_id[96]; /* "": a dynamic member */
    char client_id[96];
    uint32_t bell;
    uint32_t serial;   /* 0: a new member; else the one that I am */
    uint32_t assignor; /* enum leat_assignor */
    uint32_t flags;    /* enum lt_join_flags */
    int64_t max_poll_interval_ms, rebalance_timeout_ms, session_timeout_ms, join_delay_ms;
    uint32_t topic_bytes, reserved;
};
struct lt_group_join_answer {
    uint64_t generation;
    uint32_t serial; /* unique in the life of the group, not 0 */
    uint32_t fence;  /* what the coordinator's fence of this bell is: another value means evicted */
    char member_id[128];
};
/* Whatever this says below of a member: LEAT_EFENCED when it is none (any more). */
struct lt_membership { /* LEAVE: result 0; and what SYNC, RELEASE, COMMIT begin with */
    uint32_t bell, serial;
};
struct lt_group_leave {
    struct lt_membership member;
    uint32_t
        keep; /* 1: a static member that comes back: its partitions stay its own for the session timeout */
    uint32_t reserved;
};
enum lt_sync_row_flags {
    LT_SYNC_RELEASE = 1, /* let go of it: revoke, commit, RELEASE */
    LT_SYNC_FRESH = 2,  /* without a committed offset: start at the first record, whatever the reset policy */
    LT_SYNC_LISTED = 4, /* your reader of it is open, and its bell is on the partition's list */
    LT_SYNC_COMING = 8, /* it is another's still, who has been asked to let go: open a reader, map the ring */
};
struct lt_group_sync {
    struct lt_membership member;
    uint32_t from; /* rows to skip */
    uint32_t reserved;
};
struct lt_group_sync_row {
    uint32_t topic_id, partition;
    uint32_t flags;     /* enum lt_sync_row_flags */
    uint32_t grant;     /* +1 each time somebody is granted this partition: another value is another grant */
    uint64_t committed; /* or LT_COMMIT_NONE */
};
enum lt_sync_flags {
    LT_SYNC_COMPUTE = 1, /* you are the leader: VIEW, then PROPOSE */
};
struct lt_group_sync_answer { /* result = rows that follow */
    uint64_t generation;
    uint32_t version; /* the coordinator's word as it was before the rows were made */
    uint32_t total;   /* rows there are; when version differs between two answers, begin again */
    uint32_t state;   /* enum leat_group_state */
    uint32_t flags;   /* enum lt_sync_flags */
    struct lt_group_sync_row rows[];
};
struct lt_topic_part {
    uint32_t topic_id, partition;
};
/* RELEASE: variable size, count parts behind it. What it commits is in the mailbox by now, and the reader's entry is still open.
 * Parts that it does not own are passed over. */
struct lt_group_release {
    struct lt_membership member;
    uint32_t count, reserved;
};
enum lt_commit_flags {
    LT_COMMIT_MUST_EXIST = 1, /* the group; else it is made */
    LT_COMMIT_SYNC =
        2, /* answered when what is committed of these partitions is on the disk, where their topics have logs above level ring */
};
struct lt_group_commit_row {
    uint32_t topic_id, partition;
    uint64_t offset; /* LT_COMMIT_NONE: forget it */
    uint32_t metadata_size, reserved;
    char metadata[LT_METADATA_MAX];
};
/* COMMIT: variable size, count rows behind it. By a member (member.serial != 0): of partitions that it owns, and only the metadata
 * counts: the offset itself is in its mailbox. By anybody else: only while the group has no members: LEAT_EINUSE. */
struct lt_group_commit {
    char group[256];
    struct lt_membership member;
    uint32_t count;
    uint32_t flags; /* enum lt_commit_flags */
};
struct lt_group_offsets { /* OFFSETS */
    char group[256];
    uint32_t from; /* the first place of the group's page to look at */
    uint32_t reserved;
};
struct lt_group_offset_row {
    uint32_t topic_id, partition;
    uint32_t serial; /* of the member that owns it; 0: nobody */
    uint32_t metadata_size;
    uint64_t committed; /* or LT_COMMIT_NONE */
    uint64_t log_start_offset, log_end_offset;
    uint32_t place; /* where it is in the group's page: the next request is `from` one more */
    uint32_t reserved;
    uint64_t unowned_us; /* how long it had no owner at the last hand-over */
    char topic[256];
    char metadata[LT_METADATA_MAX];
};
/* OFFSETS answer: result = rows that follow; 0: the end. */
struct lt_group_list { /* LIST: after `after` */
    char after[256];
};
struct
    lt_group_row { /* LIST answer: result = rows; DESCRIBE answer: one, and result = member rows that follow */
    char group[256];
    uint32_t state;    /* enum leat_group_state */
    uint32_t assignor; /* enum leat_assignor */
    uint64_t generation;
    uint32_t members, parts;
    uint32_t uid;
    uint32_t changes; /* +1 whenever a member comes or goes or a partition changes hands */
    uint64_t last_rebalance_us;
    uint64_t rebalances, evictions, unowned_us; /* since the group is there */
};
struct lt_group_describe {
    char group[256];
    uint32_t from, reserved; /* member rows to skip; 0 rows: the end */
};
struct lt_group_member_row {
    uint32_t serial;
    int32_t pid; /* 0: a static member that is away */
    uint32_t client, owned;
    char member_id[128];
    char client_id[96];
    char instance_id[96];
};
/* GROUP_DELETE: struct lt_name. LEAT_EINUSE while it has members, LEAT_ENOGROUP. */

/* The leader's part with LEAT_CUSTOM. VIEW: what there is to share out; rows of kind MEMBER come with their topics behind them. */
struct lt_group_view { /* request: as SYNC */
    struct lt_membership member;
    uint32_t from, reserved;
};
struct lt_group_view_row { /* variable: topic_count ids behind it */
    uint32_t serial;
    uint32_t topic_count;
    char member_id[128];
    char instance_id[96];
};
struct lt_group_view_answer { /* result = rows that follow */
    uint64_t round;           /* PROPOSE says it back; another one by now: LEAT_EFENCED, SYNC again */
    uint32_t total, reserved;
};
struct lt_group_propose_row {
    uint32_t serial, topic_id, partition, reserved;
};
/* PROPOSE: variable size, count rows behind it; last = 1 on the last of several. An assignment that is wrong (a partition twice, not
 * subscribed, left out) is refused with LEAT_EINVAL, and the leader is asked again. */
struct lt_group_propose {
    struct lt_membership member;
    uint64_t round;
    uint32_t count, last;
};

/* For logs and errors. Never NULL. */
const char *lt_msg_name(uint32_t type);

#endif
