/* mailbox: what a client tells leatd. Writable by that client only; leatd reads it as input: one load, check, use the local.
 *
 * Who may have written it is known (a memfd per client), what it says may be a lie: a wrong pin holds up the
 * reclaim of partitions which that client may read (leatd checks), a wrong lease is the client's own death.
 */
#ifndef LT_SHM_MAILBOX_H
#define LT_SHM_MAILBOX_H

#include "shm/bell.h"
#include "shm/region.h"

#define LT_READERS_MAX 4096u /* partitions that one client reads at a time, over all its consumers */
#define LT_PIN_NONE UINT64_MAX

/* Counters of a client; leatd folds them into the counters file once a second. */
enum lt_client_counter {
    LT_COUNT_SENT_RECORDS,
    LT_COUNT_SENT_BYTES,
    LT_COUNT_RECEIVED_RECORDS,
    LT_COUNT_RECEIVED_BYTES,
    LT_COUNT_ABORTED,    /* claims of this client that were taken back or given up */
    LT_COUNT_WAKES,      /* sleepers this client woke */
    LT_COUNT_WAITS,      /* times this client slept for records */
    LT_COUNT_FULL_WAITS, /* times this client waited for room */
    LT_COUNT_MISSED,     /* offsets overwritten before this client read them */
    LT_COUNT_MOVED,      /* times this client moved to a new ring */
    LT_CLIENT_COUNTERS = 16,
};

/* A (consumer, partition). A line of its own. The client writes `ident` before it asks leatd to look at
 * the entry, and 0 after leatd has forgotten it; ident 0 is free. */
struct lt_reader {
    uint64_t ident; /* 1 << 63 | topic_id << 28 | partition << 12 | bell: LT_READER_IDENT */
    uint64_t pin;   /* [reader.pin] offsets from here on are being read in place, or LT_PIN_NONE */
    uint64_t
        keep; /* [reader.keep] offsets from here on are wanted still (gate), or LT_PIN_NONE: nobody waits for this reader */
    uint64_t position;
    uint64_t
        committed; /* [group.commit] a member of a group: the offset it wants next after a restart, or LT_COMMIT_NONE */
    uint64_t grant; /* [group.begin] the grant of this partition to which `committed` belongs */
    uint64_t reserved[2];
};
#define LT_COMMIT_NONE UINT64_MAX
#define LT_READER_IDENT(topic_id, partition, bell) \
    (1ull << 63 | (uint64_t)(topic_id) << 28 | (uint64_t)(partition) << 12 | (bell))

/* A consumer that is a member of a group, by its bell. A line of its own. */
struct lt_member_box {
    uint64_t
        polls; /* [group.polls] +1 with each poll, and each time a sleeping one looks: leatd sees a hang by it */
    uint64_t reserved[7];
};

struct lt_mailbox {
    struct lt_region region; /* written by leatd, once */
    uint32_t lease; /* [lease.hold] robust futex: TID | FUTEX_WAITERS, held by the library's thread */
    uint32_t reserved0[15];
    uint64_t counters[LT_CLIENT_COUNTERS];
    uint32_t readers_used; /* entries [0, readers_used) may be in use: saves leatd the scan of the rest */
    uint32_t reserved1[15];
    struct lt_reader readers[LT_READERS_MAX];
    struct lt_member_box members[LT_BELLS];
};

#endif
