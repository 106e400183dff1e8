/* worker: the half of leatd that serves. All of its state is in struct lt_worker, so that several can run in one process
 * (leat_host_start).
 *
 *   thread     sleeps on                        does
 *   control    epoll                            requests, pidfds, the link to the keeper        control.c
 *   maker      a condition                      what takes long: memory of new topics            maker.c
 *   warden     leatd's bell                     reclaim, stalls, rotation, folding of counters   warden.c
 *   leases     FUTEX_WAITV                      the first sign of a death                        leases.c
 *   persister  two bells, io_uring              rings to logs; one helper makes segments         persister.c
 *   group_log  a condition                      committed offsets to their file                  group_log.c
 *
 * One mutex, `lock`, over everything here but `keep` (which has its own, taken inside) and the maker's queue. It is never
 * held while memory for a topic is taken or given back. Words in regions have one writer, the worker, and are written
 * under it (those of the log in a partition's page by the persister, without it); those that clients write are loaded once, checked, and the local is used.
 *
 * What a death leaves: the regions, which say all there is to know. This struct is rebuilt from them by adopt.c.
 */
#ifndef LT_LEATD_WORKER_H
#define LT_LEATD_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "leatd/config.h"
#include "leatd/keep.h"
#include "leatd/peer.h"
#include "shm/coordinator.h"
#include "shm/counters.h"
#include "shm/mailbox.h"
#include "shm/reclaim.h"
#include "shm/repair.h"
#include "shm/ring.h"
#include "shm/topic.h"
#include "shm/wire.h"

#define LT_TOPIC_CHAINS 1024u
#define LT_SAID_BYTES 8192u
#define LT_CLIENT_COUNTER_NAMES 10u

enum lt_part_counter {
    LT_PART_OFFSETS,   /* offsets given out */
    LT_PART_BYTES,     /* payload bytes given out; small records, which lie in their slots, take none */
    LT_PART_ABORTED,   /* claims taken back */
    LT_PART_HELPED,    /* committed claims published for their owner */
    LT_PART_RECLAIMS,  /* limits published */
    LT_PART_ROTATIONS, /* new rings */
    LT_PART_COUNTERS,
};

struct lt_kept_group;

/* A reader of a partition: entry `entry` of that client's mailbox. */
struct lt_reader_ref {
    uint16_t client;
    uint16_t entry;
    uint16_t bell;
    bool listed; /* a member's is not while the partition is another's: records are none of its business */
};

/* A group that knows a partition, as its part `place`. */
struct lt_group_ref {
    struct lt_kept_group *group;
    uint32_t place;
};

/* A claim that is in the way of readers. */
struct lt_stall {
    uint64_t offset;
    int64_t since_ns; /* 0: none */
    uint64_t tail;    /* when it was first seen: claims below were there already */
    bool taken;       /* it was taken back */
};

/* The worker's own mapping of one ring of a partition. */
struct lt_kept_ring {
    void *base; /* NULL: none */
    uint64_t bytes;
    uint64_t id;
    struct lt_ring view;
    uint64_t front; /* everything below is published: readers do not wait for it. See kept.h */
    uint64_t
        settled; /* everything below is PUBLISHED or ACKED: its owners have nothing to do with it any more */
    /* A consistent pair: the gate's two limits are stored one after the other, and a worker can die in between. */
    uint64_t limit_offset, limit_pos;
    struct lt_stall stall;
};

struct lt_part {
    struct lt_part_log *log; /* persister.c; NULL: no log */
    struct lt_topic *topic;
    uint32_t index;
    struct lt_partition *page;
    struct lt_kept_ring rings[LT_RINGS]; /* ring k at k % LT_RINGS, as its gate */
    struct lt_reader_ref *readers;
    uint32_t reader_count, reader_room;
    struct lt_group_ref *groups;
    uint32_t group_count;
    /* warden */
    int64_t deadline_ns; /* look again then; 0: not watched */
    int64_t blocked_ns;  /* since when reclaim has not moved although room is short; 0: it is not */
    bool held;           /* claims were taken back from owners that live; for `leat status --clients` */
    bool looked_at, corrupt_said, rotate_failed_said;
    /* fold */
    uint64_t counted[LT_PART_COUNTERS]; /* since the last fold */
    struct lt_counter *counters[LT_PART_COUNTERS];
    uint64_t folded_ring, folded_pos;
};

struct lt_topic {
    struct lt_topic *next_by_name, *next_by_id;
    void *page;
    uint64_t page_bytes;
    struct lt_topic_head *head;
    uint32_t id;
    uint32_t first_global;
    uint32_t partition_count;
    char name[256];
    char owner[128]; /* "USER:GROUP"; "": not looked up yet */
    struct lt_part *parts;
    uint64_t memory_bytes;
    uint32_t descriptors;
    uint32_t uid; /* who pays */
    bool making;  /* reserved: its memory is being taken */
    bool gone;    /* deleted: freed once refs is 0 */
    uint32_t refs;
    uint64_t wrote
        [LT_WRITER_WORDS]; /* clients that can have mapped a ring of it writable, also before they detached */
};

/* A client. Its entry in the coordinator says the same to whoever maps that, and to the next worker. */
struct lt_client {
    uint32_t id;
    int32_t pid;
    uint32_t uid, gid;
    int pidfd; /* the keep table's */
    struct lt_mailbox *mailbox;
    uint64_t mailbox_bytes;
    struct lt_conn *conn; /* NULL: away */
    uint32_t generation;  /* tells the next client with this id from this one */
    uint32_t reader_count, bell_count;
    uint64_t *idents; /* LT_READERS_MAX; what each entry was opened as; NULL before the first */
    uint64_t counted[LT_CLIENT_COUNTERS];
    struct lt_counter *counters[LT_CLIENT_COUNTERS];
    bool is_adopted; /* from the last worker, and not seen by this one yet */
    bool leased;     /* a lease thread has its mailbox, and unmaps it */
};

struct lt_conn {
    int fd;
    uint32_t index;
    uint32_t generation;
    struct lt_peer peer;
    struct lt_client *client;
    bool said_hello;
    bool
        busy; /* a request of it is with the maker or group_log: nothing more is read until that is answered */
};

struct lt_lease_group;
struct lt_persister;
struct lt_data;
struct lt_group_log;
struct lt_job;
struct look;

struct lt_worker {
    struct lt_config config;
    struct lt_keep keep;
    bool in_host;     /* no keeper, no log, no signals */
    bool own_process; /* ends with the process */
    pthread_mutex_t lock;
    char said[LT_SAID_BYTES]; /* lines, each a level and a text with its 0 */
    size_t said_bytes;

    struct lt_coordinator *coordinator;
    struct lt_bells *bells;
    int coordinator_fd, bells_fd; /* the keep table's */
    uint64_t coordinator_bytes, bells_bytes;
    struct lt_counters counters;
    bool have_counters;
    uint64_t memory_bytes; /* of all regions */
    uint64_t descriptor_limit;

    struct lt_topic *by_name[LT_TOPIC_CHAINS];
    struct lt_topic *by_id[LT_TOPIC_CHAINS];
    uint32_t topic_count, partition_count;
    struct lt_part **globals; /* LT_PARTITIONS_MAX: number on the bus -> partition */

    struct lt_client *clients[LT_CLIENTS_MAX];
    uint8_t fate[LT_CLIENTS_MAX]; /* enum lt_owner_fate; who is nobody is dead */
    uint32_t client_count;
    uint32_t last_client_id;
    uint32_t client_generation;

    /* groups */
    struct lt_kept_group *groups;
    uint32_t group_count;
    struct lt_kept_group *group_of_bell[LT_BELLS]; /* which the consumer with this bell is a member of */
    uint32_t seat_of_bell[LT_BELLS];
    int64_t groups_at_ns; /* the warden looks at groups then; 0: not planned */

    struct lt_data *data;           /* data.c: the data directory; NULL: this bus has none */
    struct lt_persister *persister; /* persister.c */
    struct lt_group_log *group_log; /* group_log.c: committed offsets; NULL: no data directory */
    bool group_log_kick;            /* it is woken when the lock is let go */

    /* control */
    pthread_t control_thread;
    int listen_fd; /* the keep table's */
    int epoll_fd, wake_fd, signal_fd, spare_fd;
    struct lt_conn **conns;
    uint32_t conn_room, conn_count, conn_generation;
    unsigned char *buffer; /* LT_MSG_MAX, for requests */
    unsigned char *answer; /* and for answers */
    uint32_t stopping;

    /* maker */
    pthread_t maker_thread;
    pthread_mutex_t jobs_lock;
    pthread_cond_t jobs_more;
    struct lt_job *jobs, *jobs_last, *done;
    bool jobs_end;

    /* warden */
    pthread_t warden_thread;
    uint32_t warden_end;
    struct look *looks; /* warden.c: those that are looked at in this turn */
    uint32_t look_count, look_room;
    struct lt_part **watched;
    uint32_t watched_count, watched_room;
    int64_t fold_at_ns, fold_pause_ns;

    /* leases */
    struct lt_lease_group *lease_groups[(LT_CLIENTS_MAX + 126) / 127];
    uint32_t leases_end;
};

/* Logs, unless the worker is a guest in somebody's program. */
#define lt_worker_log(w, level, ...)      \
    do {                                  \
        if (!(w)->in_host)                \
            lt_log((level), __VA_ARGS__); \
    } while (0)

/* A fresh bus, or one that is adopted from what is in keep's table; starts the threads. `link` -1: a host. 0, or an error
 * with a message; then nothing is left but the table. */
int lt_worker_start(struct lt_worker *w, bool own_process);
/* Before that. */
int lt_worker_init(struct lt_worker *w, const struct lt_config *config, int link);
/* Ends in good order: clients see that the bus has ended. Waits for the threads. */
void lt_worker_stop(struct lt_worker *w);
/* Waits until the control thread ends by itself (a signal, the keeper's STOP), then as above. */
void lt_worker_wait(struct lt_worker *w);
/* leatd --worker FD. Exit status. */
int lt_worker_run(int link);

static inline void lt_worker_lock(struct lt_worker *w)
{
    pthread_mutex_lock(&w->lock);
}
/* And logs what was said under it. */
void lt_worker_unlock(struct lt_worker *w);
/* Under the lock, where somebody waits for what comes next: logged when the lock is let go, because a log can be a slow disk. */
void lt_worker_say(struct lt_worker *w, enum lt_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Starts a thread with all signals blocked and a small stack. 0 or an error with a message. */
int lt_worker_thread(pthread_t *thread, void *(*run)(void *), void *argument);

/* The calling thread is one that others wait for: where the kernel has slices (EEVDF, Linux 6.12) it gets short ones, by which it
 * runs soon when it wakes, in front of who computes. */
void lt_worker_hurry(void);

/* What the kernel says can still be had, in bytes; UINT64_MAX when it says nothing. */
uint64_t lt_memory_available(void);

#endif
