/* leat: records from process to process through shared memory, with keys, partitions and offsets.
 *
 * The one header a user reads. Link with `pkg-config --cflags --libs leat`.
 *
 * Caveats, read first
 *  - One machine. A bus is one `leatd` (or one `leat_host`) and its clients; nothing crosses a network.
 *  - What survives which death is the topic's level (enum leat_level), and README.md has the table. A topic without a log
 *    is memory only: a record lives as long as its ring keeps it, and the topic as long as the bus.
 *  - The views that leat_consumer_poll() returns point into shared memory. They hold until the next poll,
 *    seek, assign, subscribe or close of that consumer, and are read-only: writing to one is a SIGSEGV.
 *  - After fork() a child owns none of its parent's handles: every call on them returns LEAT_EFORKED. The
 *    child opens its own. exec() is fine: descriptors are close-on-exec.
 *  - Each leat_open() starts one library thread. It sleeps; it holds the process's lease, by which leatd
 *    learns of a death in microseconds, and reconnects when leatd's worker was restarted.
 *
 * Threads
 *  - leat_bus: any thread, any time, but leat_close() must be the last call on it.
 *  - leat_producer and leat_consumer: one call at a time, from any thread; open one for each thread
 *    that sends or polls. A second thread that enters meanwhile gets LEAT_EBUSY_HANDLE where this is noticed,
 *    and it is not always noticed. leat_consumer_wakeup() is the exception: any thread, any
 *    signal handler, any time before close.
 *  - leat_host: any thread; leat_host_stop() last.
 *
 * Returns: >= 0 is done (a count where one makes sense), negative is a LEAT_E... below. Nothing prints, exits
 * or raises a signal. leat_last_error() has the values that belong to the last failure in this thread.
 */
#ifndef LEAT_H
#define LEAT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LEAT_VERSION "0.1.0"
#define LEAT_API __attribute__((visibility("default")))

/* --- errors ---------------------------------------------------------------------------------------- */

enum leat_error {
    LEAT_EINVAL = -1,   /* an argument makes no sense; the caller's mistake */
    LEAT_ENOMEM = -2,   /* memory cannot be had */
    LEAT_EGONE = -3,    /* no leatd answers on this bus, or the bus has ended */
    LEAT_EVERSION = -4, /* library and leatd are of builds that do not fit together */
    LEAT_ENOTOPIC = -5, /* no such topic */
    LEAT_EEXIST = -6,   /* a topic of that name exists; a member with that instance id lives */
    LEAT_ENOPART = -7,  /* no such partition */
    LEAT_EPERM = -8,    /* the topic's owner and mode do not allow it, or the bus belongs to another user */
    LEAT_ELIMIT =
        -9, /* a limit of the bus is reached (clients, topics, memory ...): leat_last_error() names it */
    LEAT_ETOOBIG = -10,  /* a record above a quarter of the ring, or of 64 MiB; the message names the limit */
    LEAT_EFULL = -11,    /* the ring is full: at once with on_full error, after full_timeout_ms otherwise */
    LEAT_ETIMEOUT = -12, /* not done in the time given */
    LEAT_EABORTED = -13, /* this claim was taken back while its owner stood still; claim again */
    LEAT_EWAKEUP = -14,  /* leat_consumer_wakeup() was called */
    LEAT_EFORKED = -15,  /* the handle belongs to the parent of this process */
    LEAT_EEXCLUSIVE =
        -16, /* another producer holds the topic exclusively, or others are in the way of holding it */
    LEAT_EBUSY_HANDLE =
        -17, /* another thread is inside a call on this handle, or a callback called back in */
    LEAT_EUNSUPPORTED = -18, /* this build or this kernel cannot do that; the message says what is missing */
    LEAT_EFENCED = -19,  /* this member was evicted, or another one owns the partition: another took over */
    LEAT_EIO = -20,      /* an operating system call failed; the message has its name and errno */
    LEAT_EDELETED = -21, /* the topic was deleted while this handle used it */
    LEAT_EINUSE = -22,   /* something still uses what is to be removed; a group has members */
    LEAT_EPROTO = -23,   /* the other side answered nonsense */
    LEAT_EOFFSET =
        -24, /* the offset is not (or no longer) in the partition and the reset policy is LEAT_RESET_ERROR */
    LEAT_ENOSPC = -25,   /* the disk is full */
    LEAT_EFAILED = -26,  /* the partition has failed and waits for an operator */
    LEAT_ENOGROUP = -27, /* no such group */
};

/* What a code means, for people. Never NULL, whatever the code. */
LEAT_API const char *leat_strerror(int error);

/* --- the bus --------------------------------------------------------------------------------------- */

typedef struct leat_bus leat_bus;
typedef struct leat_producer leat_producer;
typedef struct leat_consumer leat_consumer;
typedef struct leat_host leat_host;

/* Opens the bus `where`: a name, or an absolute path to its runtime directory; NULL means $LEAT_BUS, else
 * "default". A name lives in $XDG_RUNTIME_DIR/leat/NAME (root: /run/leat/NAME).
 * Errors: LEAT_EGONE (nobody answers there), LEAT_EVERSION, LEAT_EPERM, LEAT_ELIMIT (client table full),
 * LEAT_EINVAL (a name with '/' that is no absolute path, or longer than 100 bytes), LEAT_EUNSUPPORTED. On
 * failure *bus is NULL; leat_last_error(NULL) has the details. */
LEAT_API int leat_open(leat_bus **bus, const char *where);

/* Closes the bus; producers and consumers opened from it are closed first. NULL is fine. */
LEAT_API void leat_close(leat_bus *bus);

/* One line with the values that belong to the last failed call of this thread; "" when there was none. The bus
 * may be NULL. The text holds until the thread's next failing call. */
LEAT_API const char *leat_last_error(leat_bus *bus);

/* Where the bus lives: the absolute path of its runtime directory. */
LEAT_API const char *leat_bus_path(leat_bus *bus);

/* The directory that `where` (as in leat_open) names, into out. Returns its length or LEAT_EINVAL. */
LEAT_API int leat_bus_locate(const char *where, char *out, size_t out_size);

/* --- records --------------------------------------------------------------------------------------- */

typedef struct leat_header {
    const void *name; /* not 0-terminated */
    size_t name_size;
    const void *value; /* NULL: a null value */
    size_t value_size;
} leat_header;

/* A NULL key or value pointer is a null; size 0 with a pointer is empty. Zero-initialise for sending. */
typedef struct leat_record {
    const void *key;
    size_t key_size;
    const void *value;
    size_t value_size;
    const leat_header *headers;
    size_t header_count;
    int64_t timestamp_ms; /* since 1970, kept with 48 bits: 0 to 2^48 - 1; 0 when sending: now */
    /* set on received records, ignored when sending: */
    const char *topic;
    uint32_t partition;
    uint64_t offset;
} leat_record;

typedef struct leat_receipt {
    uint32_t partition;
    uint64_t offset;
} leat_receipt;

typedef struct leat_partition {
    const char *topic;
    uint32_t partition;
} leat_partition;

/* --- topics ---------------------------------------------------------------------------------------- */

enum leat_level { LEAT_RING = 0, LEAT_WRITTEN = 1, LEAT_DURABLE = 2 };
enum leat_on_full { LEAT_BLOCK = 0, LEAT_OVERWRITE = 1, LEAT_ERROR = 2 };
enum leat_partitioner {
    LEAT_PARTITIONER_TOPIC = 0, /* producer option: as the topic says */
    LEAT_XXH3 = 1,              /* xxh3_64(key) mod 4096 -> the topic's map */
    LEAT_MURMUR2 = 2,           /* murmur2 mod N: where Kafka's Java client puts the key */
    LEAT_ROUND_ROBIN = 3,       /* keys do not matter */
    LEAT_CALLBACK = 4,          /* options.partition_of decides */
};

typedef struct leat_topic_options {
    size_t size; /* of this struct, set by the macro: later versions add fields */
    uint32_t partitions;
    uint64_t ring_size;    /* payload bytes of one partition, rounded up to a power of two; 64 KiB to 1 GiB */
    enum leat_level level; /* what an acknowledged record survives; README.md has the table */
    enum leat_on_full on_full;
    enum leat_partitioner partitioner; /* LEAT_XXH3 or LEAT_MURMUR2 */
    uint32_t mode;                     /* like a file's: r consume, w produce */
    const char *owner; /* NULL: the caller; "USER" or "USER:GROUP", names or numbers; only root gives away */
    int no_log; /* 1: memory only: retention is the ring; it goes with the bus. Only with LEAT_RING. 0: there is a log above
                 * LEAT_RING, and at that level where leatd.conf says so and the bus has a data directory */
    int if_not_exists;       /* an existing topic of that name is no error */
    int64_t retention_bytes; /* of one partition's log, by whole segments, never the last; -1: all is kept */
    int64_t retention_ms;    /* a segment goes when its last record is older; -1: never */
    uint64_t segment_bytes;  /* of one file of the log; 64 KiB to 1 GiB */
} leat_topic_options;

#define LEAT_TOPIC_OPTIONS                                                                                   \
    {                                                                                                        \
        sizeof(leat_topic_options), 1, 4u << 20, LEAT_RING, LEAT_BLOCK, LEAT_XXH3, 0660, NULL, 0, 0, -1, -1, \
            16u << 20                                                                                        \
    }

/* The same with nothing said: leat_topic_create takes what leatd.conf says for new topics, leat_topic_alter leaves as it is
 * whatever is not set. */
#define LEAT_TOPIC_DEFAULTS                                                                                 \
    {                                                                                                       \
        sizeof(leat_topic_options), UINT32_MAX, UINT64_MAX, (enum leat_level) - 1, (enum leat_on_full) - 1, \
            LEAT_PARTITIONER_TOPIC, UINT32_MAX, NULL, -1, 0, INT64_MIN, INT64_MIN, UINT64_MAX               \
    }

typedef struct leat_partition_info {
    uint32_t partition;
    const char
        *state; /* "open", "full" (no disk space), "failed"; "sealed", "drained" come with later versions */
    uint64_t log_start_offset; /* the first record that can still be read */
    uint64_t log_end_offset;   /* the offset that the next record gets */
    uint64_t acked_offset;     /* everything below is acknowledged at the topic's level */
    uint64_t bytes_on_disk;
    uint64_t segments;
    uint32_t rings;   /* 1, and one more for each retired ring that something still holds */
    uint32_t readers; /* consumers attached */
    char *reason;     /* why it is full or failed; "" while it is open */
} leat_partition_info;

typedef struct leat_topic_info {
    char *topic;
    uint32_t partition_count;
    enum leat_level level;
    int log;
    enum leat_on_full on_full;
    enum leat_partitioner partitioner;
    uint64_t ring_bytes; /* payload bytes of one partition */
    uint64_t ring_slots; /* records of one partition */
    uint64_t record_max; /* bytes of the largest record: key, value and headers together */
    uint32_t map_epoch;
    char *owner; /* "USER:GROUP" */
    uint32_t uid, gid;
    uint32_t mode;
    uint64_t memory_bytes; /* shared memory that the topic takes now */
    uint32_t descriptors;  /* descriptors that leatd's two processes hold for it, each */
    uint32_t producers;    /* clients attached to produce */
    leat_partition_info *partitions;
    int64_t retention_bytes, retention_ms; /* -1: no limit */
    uint64_t segment_bytes;
} leat_topic_info;

/* Creates a topic; its memory is taken, in full, before this returns, and with a log it is on the disk: it is there again when
 * leatd is started again. options may be NULL.
 * Errors: LEAT_EEXIST, LEAT_EINVAL (a name that is empty, ".", "..", above 249 bytes or has other bytes than
 * [A-Za-z0-9._-]; partitions outside 1..4096 ...), LEAT_ELIMIT, LEAT_ENOMEM, LEAT_EPERM, LEAT_EUNSUPPORTED (a log on a bus without a
 * data directory), LEAT_ENOSPC, LEAT_EIO, LEAT_EGONE. */
LEAT_API int leat_topic_create(leat_bus *bus, const char *topic, const leat_topic_options *options);

/* Changes settings of a topic while it is used: retention_bytes, retention_ms, on_full, mode, owner. Start from
 * LEAT_TOPIC_DEFAULTS and set what is to change; another field may be set to what it is. Producers take a new on_full when they
 * are opened, and rights are looked at when somebody attaches.
 * Errors: LEAT_EUNSUPPORTED (another number of partitions, which a later version will do, or another field that stays as it was made),
 * LEAT_ENOTOPIC, LEAT_EPERM (not its owner; only root gives away), LEAT_EINVAL, LEAT_EIO, LEAT_ENOSPC, LEAT_EGONE. */
LEAT_API int leat_topic_alter(leat_bus *bus, const char *topic, const leat_topic_options *options);

#define LEAT_CUT 1u /* give up what is damaged, with all that lies behind it */

/* Opens logs of partitions that have failed (describe says why) once more, and waits for what comes of it: one partition, or with -1
 * all that have failed. What was acknowledged and is damaged stays refused unless flags has LEAT_CUT; its offsets are not given out
 * again. The file of committed offsets is opened again, too, if that has failed. How many are open again. Errors: LEAT_EFAILED (one at least has failed again), LEAT_ENOTOPIC, LEAT_ENOPART, LEAT_EPERM,
 * LEAT_EINVAL (it has no log), LEAT_EGONE. */
LEAT_API int leat_topic_resume(leat_bus *bus, const char *topic, int32_t partition, unsigned flags);

/* *info is to be freed with leat_topic_info_free(). Errors: LEAT_ENOTOPIC, LEAT_EGONE. */
LEAT_API int leat_topic_describe(leat_bus *bus, const char *topic, leat_topic_info **info);
LEAT_API void leat_topic_info_free(leat_topic_info *info);

/* Names of all topics, sorted; returns how many. Free with leat_names_free(). */
LEAT_API int leat_topic_list(leat_bus *bus, char ***names);
LEAT_API void leat_names_free(char **names, int count);

/* Deletes a topic. Handles that use it get LEAT_EDELETED from their next call on it; views already handed
 * out hold until their consumer's next call. Errors: LEAT_ENOTOPIC, LEAT_EPERM (not its owner), LEAT_EGONE. */
LEAT_API int leat_topic_delete(leat_bus *bus, const char *topic);

/* --- producers ------------------------------------------------------------------------------------- */

typedef void leat_delivered_fn(const leat_receipt *receipt, int error, void *user);
typedef int leat_partition_of_fn(const char *topic, const void *key, size_t key_size, uint32_t partitions,
                                 void *user);

typedef struct leat_producer_options {
    size_t size;
    enum leat_partitioner partitioner;
    int exclusive; /* hold the topic alone: cheaper claims; LEAT_EEXCLUSIVE while others are attached */
    int64_t full_timeout_ms; /* how long a send waits for room; -1: for ever */
    int64_t
        spin_us; /* how long who waits (for room, or to be acknowledged) spins before it sleeps; -1: only spins */
    leat_delivered_fn
        *on_delivered; /* once for each record sent, when it is acknowledged or will not be; in order in each
                          partition, from calls on the same handle (send, wait, flush, close); must not call back into it */
    leat_partition_of_fn
        *partition_of; /* with LEAT_CALLBACK: returns a partition, or a negative error that send returns */
    void *user;
    enum leat_level
        level; /* wait for more than the topic's level; readers see records at the topic's. LEAT_RING: as the topic. A flush that
                * only this asks for comes with the log's own, up to half a second later */
} leat_producer_options;

#define LEAT_PRODUCER_OPTIONS                                                                            \
    {                                                                                                    \
        sizeof(leat_producer_options), LEAT_PARTITIONER_TOPIC, 0, 30000, 20, NULL, NULL, NULL, LEAT_RING \
    }

/* Attaches to a topic to produce. options may be NULL. Errors: LEAT_ENOTOPIC, LEAT_EPERM, LEAT_EEXCLUSIVE,
 * LEAT_ELIMIT, LEAT_ENOMEM, LEAT_EGONE, LEAT_EINVAL (options.level on a topic without a log). */
LEAT_API int leat_producer_open(leat_producer **producer, leat_bus *bus, const char *topic,
                                const leat_producer_options *options);

/* Copies one record into the ring. 0: it is committed and *receipt (may be NULL) says where. Never waits for a
 * disk; waits for room up to full_timeout_ms. Should leatd take the claim back because this process stood still for
 * long, send claims again by itself: nothing of the first try was visible.
 * A partition whose log cannot take more refuses at once, whatever on_full says, and leat_last_error() has path and errno:
 * LEAT_ENOSPC (no room on the disk; ends by itself), LEAT_EIO or LEAT_EFAILED (until an operator has resumed it).
 * Errors: also LEAT_ETOOBIG, LEAT_EFULL, LEAT_ENOPART (a callback's answer), LEAT_EDELETED, LEAT_EGONE, LEAT_EFORKED. */
LEAT_API int leat_producer_send(leat_producer *producer, const leat_record *record, leat_receipt *receipt);

/* The same, to the partition given. */
LEAT_API int leat_producer_send_to(leat_producer *producer, uint32_t partition, const leat_record *record,
                                   leat_receipt *receipt);

/* Many at once. Records of one partition that stand together in the array (after partitioning, in array order)
 * share claims and become visible together, up to 4095 records or a quarter of the ring a claim.
 * Returns how many were accepted: always a prefix of the array when everything goes to one partition; with several
 * partitions, records[i] was accepted exactly when receipts[i].offset != UINT64_MAX (give receipts to know). A negative
 * error only if none was accepted. receipts may be NULL. */
LEAT_API int leat_producer_send_many(leat_producer *producer, const leat_record *records, size_t count,
                                     leat_receipt *receipts);

/* A record being written in place. Between claim and commit the value's bytes are yours; nobody reads them. At
 * most 64 claims of a producer can be open. A claim held longer than the bus's stall limit (100 ms) while somebody
 * waits behind it is taken back; its commit then returns LEAT_EABORTED. */
typedef struct leat_claim {
    void *value;          /* 64-byte aligned from 97 bytes of record on, 8-byte aligned below */
    size_t value_size;    /* may be lowered before commit */
    int64_t timestamp_ms; /* 0: now */
    uint32_t partition;
    uint64_t offset;
    leat_producer *producer;
    uint64_t reserved[4];
} leat_claim;

/* key may be NULL (keyless). Errors as leat_producer_send, and LEAT_ELIMIT (64 open claims). */
LEAT_API int leat_producer_claim(leat_producer *producer, const void *key, size_t key_size, size_t value_size,
                                 leat_claim *claim);
/* Makes the record visible. LEAT_EABORTED: it was taken back, nothing was visible, claim again. Commit and abort each
 * end the claim, whatever they return. */
LEAT_API int leat_claim_commit(leat_claim *claim, leat_receipt *receipt);
/* Gives the claim up. Its offset becomes a gap that readers step over. */
LEAT_API int leat_claim_abort(leat_claim *claim);

/* Waits until the record is acknowledged at the topic's level (or options.level), up to timeout_ms (-1: for ever); at LEAT_RING
 * it is, once send returned. A restart of leatd's worker only makes it wait longer.
 * Errors: LEAT_ETIMEOUT (it may still come), LEAT_EIO or LEAT_EFAILED (the partition has failed; only after an operator has
 * resumed it may the record be acknowledged), LEAT_EINVAL (a receipt that was never given), LEAT_EDELETED, LEAT_EGONE. */
LEAT_API int leat_producer_wait(leat_producer *producer, const leat_receipt *receipt, int64_t timeout_ms);
/* The same for everything sent, on all partitions; the first error, if any. Calls on_delivered for what is due. */
LEAT_API int leat_producer_flush(leat_producer *producer, int64_t timeout_ms);
/* How many partitions the topic has now. */
LEAT_API int leat_producer_partitions(leat_producer *producer);
/* Aborts open claims, flushes (at most 10 s), detaches. Returns what the flush said; on_delivered has it for each record that is
 * not acknowledged then. NULL is fine. */
LEAT_API int leat_producer_close(leat_producer *producer);

/* --- consumers ------------------------------------------------------------------------------------- */

enum leat_reset { LEAT_LATEST = 0, LEAT_EARLIEST = 1, LEAT_RESET_ERROR = 2 };

#define LEAT_BEGINNING ((int64_t)-1) /* the first record there is */
#define LEAT_END ((int64_t)-2)       /* behind the last record there is now */

typedef void leat_missed_fn(leat_consumer *consumer, const leat_partition *partition, uint64_t from_offset,
                            uint64_t count, void *user);

/* Who gets which partition of a group's topics; the same for all members of a group. */
enum leat_assignor {
    LEAT_RANGE = 0,              /* as Kafka's: neighbours of each topic */
    LEAT_ROUNDROBIN = 1,         /* as Kafka's: dealt out one by one */
    LEAT_STICKY = 2,             /* balanced, moving as little as possible; everything is released first */
    LEAT_COOPERATIVE_STICKY = 3, /* the same, and what does not move is read all the time */
    LEAT_FAILOVER = 4,           /* everything to the oldest member; the others stand by */
    LEAT_CUSTOM = 5,             /* options.assign of the elected leader computes it */
};
#define LEAT_ASSIGNORS 6

typedef struct leat_offset {
    const char *topic;
    uint32_t partition;
    int64_t offset;       /* the next one wanted: one above the last that was processed */
    const char *metadata; /* any text, up to 200 bytes; NULL: none */
} leat_offset;

enum leat_commit_mode {
    LEAT_SYNC = 0, /* done when it returns: acknowledged at the topic's level */
    LEAT_ASYNC = 1 /* a store; options.on_commit tells, from a later call on the same handle */
};

/* Called from inside poll, subscribe, assign and close; never with an empty set. Calls on the consumer are fine in them
 * (commit, seek, pause, position ...) but for poll, subscribe, assign, close and leat_consumer_fd: LEAT_EBUSY_HANDLE. In one turn lost
 * comes before revoked, and revoked before assigned. Who assigns eagerly (range, round robin, sticky) revokes everything in
 * one turn and assigns in a later one; a cooperative assignor revokes only what moves. */
typedef void leat_partitions_fn(leat_consumer *consumer, const leat_partition *partitions, int count,
                                void *user);
/* What was committed, and 0 or the error, in the order of the commits; the texts hold until it returns. Called from inside a later
 * poll, commit or close. */
typedef void leat_committed_fn(leat_consumer *consumer, const leat_offset *offsets, int count, int error,
                               void *user);

/* What a custom assignor sees, and fills: owner[i] is the index of the member that gets parts[i]. */
typedef struct leat_assign_member {
    const char *member_id, *instance_id; /* "" without */
    const char *const *topics;           /* subscribed, sorted */
    int topic_count;
} leat_assign_member;
typedef struct leat_assign_view {
    const leat_assign_member *members;
    int member_count;
    const leat_partition *parts; /* all partitions that somebody is subscribed to, sorted */
    int part_count;
    const int *previous; /* [part_count] who owns it now; -1: nobody */
} leat_assign_view;
/* 0, or a negative error that this member's poll returns. It has left the group then, as it has after an assignment that leatd refused
 * (LEAT_EINVAL), so that another leader is asked; leat_consumer_subscribe brings it back. Must not call the consumer. */
typedef int leat_assign_fn(const leat_assign_view *view, int *owner, void *user);

typedef struct leat_consumer_options {
    size_t size;
    const char *group;     /* NULL: a consumer on its own */
    enum leat_reset reset; /* where to start without a position, and where to go on after falling behind. In a
                              * group the first owner's start is committed at once: the next one goes on from there */
    int64_t spin_us;       /* how long a poll spins before it sleeps; -1: it never sleeps; default 20 */
    int64_t
        gather_us; /* for streams: a poll that follows one with fewer than 64 records first lets them gather for this
                              * long, away from the ring: a reader that chases a producer record by record slows both down
                              * several times. 1 or 2 will do. Default 0: every record at once */
    uint32_t max_poll_records;
    int gate; /* keep every record until this consumer polled past it, or with a group until the group has committed it
               * (also while nobody has the partition, as long as there are members; automatic commits come with
               * every poll then): producers of a topic whose on_full is block or error wait or fail instead of
               * overwriting it; all members of a group should say the same */
    leat_missed_fn *
        on_missed; /* called inside poll: `count` offsets from `from_offset` on were overwritten unread, or with a log:
                     * removed by its retention */
    const char *client_id; /* shown by `leat status --clients`; NULL: program-host-8hex */
    void *user;
    /* groups only: */
    enum leat_assignor assignor; /* all members of a group say the same: LEAT_EINVAL */
    int64_t
        auto_commit_ms; /* what was handed out before is committed by the first poll after this long, at revoke
                              * and at close; 0: by hand; default 5000 */
    int manual_store; /* auto commit and commit() take what leat_consumer_store() says, not what was handed out */
    leat_partitions_fn *on_assigned; /* positions are known: seek here to start elsewhere */
    leat_partitions_fn *on_revoked;  /* still owned: a commit in here lands */
    leat_partitions_fn *on_lost;     /* owned by others already: a commit in here is LEAT_EFENCED */
    leat_committed_fn *on_commit;    /* of LEAT_ASYNC and automatic commits */
    leat_assign_fn *assign;          /* with LEAT_CUSTOM */
    const char *
        instance_id; /* a static member: comes back under this name and keeps its partitions for session_timeout_ms */
    int64_t
        max_poll_interval_ms; /* no poll for this long: evicted; default 300000. A poll that waits is a poll, and so is
                                   * a leat_consumer_fd() that is silent; one that is readable has to be polled */
    int64_t rebalance_timeout_ms; /* asked to release and not done: evicted; default 60000 */
    int64_t session_timeout_ms;   /* static members; default 45000 */
    int64_t
        join_delay_ms; /* the first member of an empty group: others have this long to join before the first
                              * assignment; default 0 */
    int rejoin; /* evicted: poll calls on_lost and joins again by itself; 0: it returns LEAT_EFENCED until subscribe() */
    int alone; /* the only member, ever: LEAT_EEXCLUSIVE when there is another one */
} leat_consumer_options;

#define LEAT_CONSUMER_OPTIONS                                                                                \
    {                                                                                                        \
        sizeof(leat_consumer_options), NULL, LEAT_LATEST, 20, 0, 500, 0, NULL, NULL, NULL, LEAT_RANGE, 5000, \
            0, NULL, NULL, NULL, NULL, NULL, NULL, 300000, 60000, 45000, 0, 0, 0                             \
    }

/* options may be NULL. Errors: LEAT_EINVAL, LEAT_ELIMIT, LEAT_EGONE. */
LEAT_API int leat_consumer_open(leat_consumer **consumer, leat_bus *bus,
                                const leat_consumer_options *options);

/* Without a group: every partition of these topics, new ones too; starts as `reset` says.
 * With a group: becomes a member, or changes what it is subscribed to; a name that begins with '^' is a pattern (POSIX extended regular
 * expression, from the first byte on), and topics that come later count too. Partitions are assigned inside later polls.
 * Replaces what was subscribed or assigned; 0 topics: leaves.
 * Errors: LEAT_ENOTOPIC, LEAT_EPERM (a topic, or the group is another user's), LEAT_ELIMIT (readers of a client), LEAT_EINVAL (another
 * assignor than the group's, a bad pattern), LEAT_EEXCLUSIVE, LEAT_EEXIST (the instance id is in use). */
LEAT_API int leat_consumer_subscribe(leat_consumer *consumer, const char *const *topics, int count);
/* Just these partitions; replaces what was subscribed or assigned. With a group: not a member of it; starts at its committed
 * offsets and commits to it by requests, while it has no members. Errors: also LEAT_ENOPART. */
LEAT_API int leat_consumer_assign(leat_consumer *consumer, const leat_partition *partitions, int count);
/* What is assigned now; *partitions holds until the next call. Returns how many. */
LEAT_API int leat_consumer_assignment(leat_consumer *consumer, const leat_partition **partitions);

/* Up to max_poll_records records, as views that hold until the next poll (see the caveats above). Waits up to
 * timeout_ms (-1: for ever) when there is none. 0: none came in time. Partitions take turns.
 * A member of a group takes and gives up partitions in here, also while it waits. A topic that is deleted is revoked then.
 * Errors: LEAT_EWAKEUP, LEAT_EDELETED, LEAT_EOFFSET (overrun, or no committed offset, with LEAT_RESET_ERROR; seek to go on), LEAT_EFENCED
 * (evicted, without options.rejoin: each time, until subscribe), LEAT_EGONE, LEAT_EFORKED; LEAT_EIO or LEAT_EFAILED (what comes next
 * in a partition's log cannot be read or is damaged: each time it is that partition's turn; seek or an operator's resume goes on,
 * the other partitions do meanwhile); what options.assign returned; and
 * what can fail when a partition is taken (LEAT_ELIMIT, LEAT_EPERM, LEAT_ENOMEM): the next poll tries again. */
LEAT_API int leat_consumer_poll(leat_consumer *consumer, int64_t timeout_ms, const leat_record **records);
/* Makes the current or else the next poll return LEAT_EWAKEUP. Async-signal-safe. */
LEAT_API void leat_consumer_wakeup(leat_consumer *consumer);
/* A descriptor for the caller's own epoll loop, readable when poll(0) has something to say. Never read it: poll until it
 * returns 0, and it falls silent. Starts one thread. Closed by leat_consumer_close. */
LEAT_API int leat_consumer_fd(leat_consumer *consumer);

/* Errors of these: LEAT_ENOPART (not assigned), LEAT_EINVAL. */
LEAT_API int leat_consumer_seek(leat_consumer *consumer, const char *topic, uint32_t partition,
                                int64_t offset);
/* To the first record whose timestamp is at or after the time; the end when there is none. */
LEAT_API int leat_consumer_seek_time(leat_consumer *consumer, const char *topic, uint32_t partition,
                                     int64_t timestamp_ms);
LEAT_API int leat_consumer_pause(leat_consumer *consumer, const char *topic, uint32_t partition);
LEAT_API int leat_consumer_resume(leat_consumer *consumer, const char *topic, uint32_t partition);
/* The offset of the next record that poll will look for. Gaps are stepped over: drained means position == end. */
LEAT_API int64_t leat_consumer_position(leat_consumer *consumer, const char *topic, uint32_t partition);
LEAT_API int64_t leat_consumer_beginning_offset(leat_consumer *consumer, const char *topic,
                                                uint32_t partition);
LEAT_API int64_t leat_consumer_end_offset(leat_consumer *consumer, const char *topic, uint32_t partition);
/* The offset that leat_consumer_seek_time would go to. */
LEAT_API int64_t leat_consumer_offset_for_time(leat_consumer *consumer, const char *topic, uint32_t partition,
                                               int64_t timestamp_ms);
LEAT_API int64_t leat_consumer_lag(leat_consumer *consumer, const char *topic, uint32_t partition);
/* How many offsets of this partition were overwritten, or removed from its log, before this consumer read them. */
LEAT_API int64_t leat_consumer_missed(leat_consumer *consumer, const char *topic, uint32_t partition);
/* Commits what is left (auto_commit_ms), calls on_revoked, and leaves the group; a static member only goes away, and its partitions
 * wait for it for session_timeout_ms. Tells on_commit what is left to tell. NULL is fine. */
LEAT_API int leat_consumer_close(leat_consumer *consumer);

/* --- groups ---------------------------------------------------------------------------------------- */

/* Commits of a consumer with a group. A member's is a store into memory that leatd reads, and no system call; with metadata, a
 * request. LEAT_SYNC of partitions whose topic's level is above LEAT_RING is a request that is answered when the offsets are on the disk; at
 * LEAT_RING, and with LEAT_ASYNC, what is committed is there about a second later, or when the consumer is closed: automatic commits do not wait, closing
 * does. With LEAT_ASYNC on_commit is told, too. Errors: LEAT_EFENCED (evicted; or a partition
 * of a topic that it is subscribed to and that is not its own, any more or yet), LEAT_ENOPART (another partition that is not assigned),
 * LEAT_EINVAL (no group, a negative offset, metadata above 200 bytes), LEAT_EINUSE (a consumer that is no member, while the group
 * has members), LEAT_EGONE; of LEAT_SYNC that waits for the disk: LEAT_ENOSPC, LEAT_EIO, LEAT_EFAILED with path and reason: the group's next member starts
 * there, but a new start of all of leatd may not know of it.
 * An offset that says that all that was handed out is done also covers the gaps behind it, and those that come
 * later: drained means lag 0. */

/* Everything handed out by polls so far (with manual_store: what was stored since the last commit), of all assigned partitions. After a
 * seek: where it went. */
LEAT_API int leat_consumer_commit(leat_consumer *consumer, enum leat_commit_mode mode);
/* One record: its offset + 1. */
LEAT_API int leat_consumer_commit_record(leat_consumer *consumer, const leat_record *record,
                                         enum leat_commit_mode mode);
/* These, all or none (from outside of the group: up to 256 together). */
LEAT_API int leat_consumer_commit_offsets(leat_consumer *consumer, const leat_offset *offsets, int count,
                                          enum leat_commit_mode mode);
/* Notes what the next commit() or automatic commit takes, with manual_store; without: LEAT_EINVAL. A seek or rewind forgets it. */
LEAT_API int leat_consumer_store(leat_consumer *consumer, const leat_offset *offsets, int count);
/* The group's committed offset of a partition that is assigned; LEAT_EOFFSET when there is none, LEAT_ENOPART when it is not. */
LEAT_API int64_t leat_consumer_committed(leat_consumer *consumer, const char *topic, uint32_t partition);
/* The text that came with it, into out, 0-terminated; its length; 0: none. A request. LEAT_EINVAL: out is too small. */
LEAT_API int leat_consumer_committed_metadata(leat_consumer *consumer, const char *topic, uint32_t partition,
                                              char *out, size_t out_size);
/* Every assigned partition back to its committed offset (to where it began, when there is none): what was handed out and not committed
 * comes again. Ends the views, as a seek does. */
LEAT_API int leat_consumer_rewind(leat_consumer *consumer);
/* "" before it is a member. Holds until the next call. */
LEAT_API const char *leat_consumer_member_id(leat_consumer *consumer);
/* Of the assignment that it has; 0 before the first. */
LEAT_API int64_t leat_consumer_generation(leat_consumer *consumer);

enum leat_group_state {
    LEAT_GROUP_EMPTY = 0,       /* no members */
    LEAT_GROUP_ASSIGNING = 1,   /* waiting for the join delay, or for a leader's assignment */
    LEAT_GROUP_RECONCILING = 2, /* some partition is not where it should be yet */
    LEAT_GROUP_STABLE = 3,
};

typedef struct leat_group_member_info {
    char *member_id, *client_id, *instance_id;
    int32_t pid; /* 0: a static member that is away */
    leat_partition *partitions;
    int partition_count;
} leat_group_member_info;

typedef struct leat_group_partition_info {
    const char *topic;
    uint32_t partition;
    int64_t current_offset; /* -1: none committed */
    uint64_t log_start_offset, log_end_offset;
    int64_t lag;                       /* -1: unknown, for want of a committed offset */
    const char *member_id, *client_id; /* NULL: nobody owns it */
    int32_t pid;
    char *metadata;      /* "" without */
    uint64_t unowned_us; /* how long it had no owner when it changed hands last */
} leat_group_partition_info;

typedef struct leat_group_info {
    char *group;
    const char *state; /* "empty", "assigning", "reconciling", "stable" */
    uint64_t generation;
    enum leat_assignor assignor;
    uint64_t last_rebalance_us;
    uint64_t rebalances, evictions, unowned_us; /* since the group is there */
    uint32_t uid;
    leat_group_member_info *members; /* by member_id */
    int member_count;
    leat_group_partition_info *partitions; /* by topic and number */
    int partition_count;
} leat_group_info;

/* "range", "roundrobin", "sticky", "cooperative-sticky", "failover", "custom"; NULL for another number. */
LEAT_API const char *leat_assignor_name(enum leat_assignor assignor);

/* *info is to be freed with leat_group_info_free(). Errors: LEAT_ENOGROUP, LEAT_EGONE. */
LEAT_API int leat_group_describe(leat_bus *bus, const char *group, leat_group_info **info);
LEAT_API void leat_group_info_free(leat_group_info *info);
/* Names of all groups, sorted; returns how many. Free with leat_names_free(). */
LEAT_API int leat_group_list(leat_bus *bus, char ***names);
/* Sets committed offsets of a group that has no members; makes the group if there is none. Offsets are taken as they are; LEAT_BEGINNING
 * and LEAT_END mean the partition's bounds now. Durable when it returns, as a LEAT_SYNC commit. Errors: LEAT_EINUSE, LEAT_ENOTOPIC,
 * LEAT_ENOPART, LEAT_EPERM, LEAT_EGONE; LEAT_ENOSPC, LEAT_EIO, LEAT_EFAILED. */
LEAT_API int leat_group_reset(leat_bus *bus, const char *group, const leat_offset *offsets, int count);
/* Errors: LEAT_EINUSE (it has members), LEAT_ENOGROUP, LEAT_EPERM, LEAT_EGONE. */
LEAT_API int leat_group_delete(leat_bus *bus, const char *group);

/* A dry run of an assignor, for which no bus is needed. */
typedef struct leat_plan_topic {
    const char *topic;
    uint32_t partitions;
} leat_plan_topic;
typedef struct leat_plan_member {
    const char *member_id;     /* unique */
    const char *instance_id;   /* NULL: no static member */
    const char *const *topics; /* what it subscribes to; those that are not there have nothing to give */
    int topic_count;
    const leat_partition *owned; /* what it says it owns; what is not there does not count */
    int owned_count;
    int64_t
        generation; /* of `owned`: of two that own the same the higher is right, of equal ones none; -1: unknown */
    leat_partition *parts; /* answer: by topic and number; the topic's name is the caller's */
    int part_count;
} leat_plan_member;
/* Sets parts and part_count of each member, to be freed with leat_group_plan_free(). Range and round robin order members as
 * Kafka does: static ones by instance id, then the others by member id. LEAT_COOPERATIVE_STICKY answers one round (KIP-429): what
 * another member still owns is nobody's yet. LEAT_FAILOVER takes members as they joined.
 * Errors: LEAT_EINVAL (LEAT_CUSTOM, a topic twice), LEAT_ELIMIT (above 2^24 partitions), LEAT_ENOMEM. */
LEAT_API int leat_group_plan(enum leat_assignor assignor, const leat_plan_topic *topics, int topic_count,
                             leat_plan_member *members, int member_count);
LEAT_API void leat_group_plan_free(leat_plan_member *members, int member_count);

/* --- the bus seen from outside --------------------------------------------------------------------- */

typedef struct leat_client_info {
    uint32_t id;
    int32_t pid;
    uint32_t uid;
    char program[32];
    char client_id[96];
    uint32_t producers; /* topics it may write to now */
    uint32_t consumers;
    uint32_t readers;     /* partitions that its consumers read */
    uint32_t quarantined; /* claims taken back from it whose memory waits for its word or its death */
    const char *
        state; /* "alive", "stopped" (claims were taken back), "dead" (being cleared), "away" (not reconnected yet) */
} leat_client_info;

typedef struct leat_status_info {
    char *bus;
    int32_t pid; /* the keeper */
    int32_t worker_pid;
    uint64_t incarnation; /* starts of the worker */
    double uptime_s;
    uint32_t topics, groups, clients;
    uint64_t memory_bytes;
    leat_client_info *client; /* `clients` of them */
} leat_status_info;

/* Errors: LEAT_EGONE. Free with leat_status_free(). */
LEAT_API int leat_status(leat_bus *bus, leat_status_info **info);
LEAT_API void leat_status_free(leat_status_info *info);

/* Counters: a mapped file of the bus directory. Only needs the file: leatd may be dead. */
typedef struct leat_counter {
    const char *name;  /* "records", "bytes", "rotations" ... */
    const char *topic; /* "" where it does not apply; the group's name with names that begin with "group_" */
    int32_t partition; /* -1 where it does not apply */
    int32_t client;    /* -1 where it does not apply */
    int64_t value;
} leat_counter;
/* where: as in leat_open. Returns how many; *counters is to be freed with leat_counters_free().
 * Errors: LEAT_EGONE (no such file), LEAT_EVERSION, LEAT_EPROTO (a damaged file). */
LEAT_API int leat_counters_read(const char *where, leat_counter **counters);
LEAT_API void leat_counters_free(leat_counter *counters);

/* --- a bus inside this program --------------------------------------------------------------------- */

typedef struct leat_host_options {
    size_t size;
    const char *directory; /* NULL: a fresh one under $XDG_RUNTIME_DIR or /tmp, removed at the end */
    const char *data;      /* where topics with a log are kept, and found again; NULL: there are none */
} leat_host_options;

#define LEAT_HOST_OPTIONS                     \
    {                                         \
        sizeof(leat_host_options), NULL, NULL \
    }

/* Threads, no fork; other processes can join by its path; it ends with the program. options may be NULL. */
LEAT_API int leat_host_start(leat_host **host, const leat_host_options *options);
LEAT_API const char *leat_host_path(leat_host *host);
LEAT_API void leat_host_stop(leat_host *host);

#ifdef __cplusplus
}
#endif
#endif
