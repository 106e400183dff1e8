/* step: what the stepper and its tracee share: the memory that both map, the paths, and leatd's and the others' acts on it.
 *
 * Everything that a path can change lies in one memfd, mapped by both at the same address: the regions of a bus with one
 * partition, and also the tracee's stack and its handles. So a state of the tracee is a copy of that memory and its registers,
 * and the stepper can go on from one state in many ways. A copy of the regions alone is mapped elsewhere: nothing in them holds
 * an address.
 *
 *   at          what
 *   STACK_AT    the tracee's stack inside the stepped section
 *   PRIVATE_AT  struct notes, then the tracee's handles
 *   REGIONS_AT  coordinator, topic page, bells, mailbox (as much of each as one partition needs), and RINGS rings, each with
 *               its payload's second mapping behind it
 */
#ifndef TESTS_STEP_H
#define TESTS_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/bell.h"
#include "shm/coordinator.h"
#include "shm/mailbox.h"
#include "shm/member.h"
#include "shm/reclaim.h"
#include "shm/repair.h"
#include "shm/ring.h"
#include "shm/topic.h"

#define PAGE 4096u
#define LIVE_AT ((unsigned char *)0x210000000000)
#define COPY_AT ((unsigned char *)0x220000000000)
#define MEMORY_FD 3 /* in the tracee */

#define PAYLOAD_SIZE 4096u /* of a ring: 32 slots, 64 units: the smallest whose payload can be mapped twice */
#define RINGS 3u
#define RING_BYTES (4 * PAGE)
#define RING_STRIDE (5 * PAGE)

#define STACK_AT 0u
#define STACK_SIZE (4 * PAGE)
#define PRIVATE_AT (STACK_AT + STACK_SIZE)
#define NOTES_SIZE (2 * PAGE)
#define HANDLES_AT (PRIVATE_AT + NOTES_SIZE)
#define HANDLES_SIZE (10 * PAGE)
#define REGIONS_AT (HANDLES_AT + HANDLES_SIZE)
#define COORDINATOR_AT REGIONS_AT
#define TOPIC_AT (COORDINATOR_AT + PAGE)
#define TOPIC_SIZE (4 * PAGE)
#define BELLS_AT (TOPIC_AT + TOPIC_SIZE)
#define BELLS_SIZE (3 * PAGE)
#define MAILBOX_AT (BELLS_AT + BELLS_SIZE)
#define RINGS_AT (MAILBOX_AT + PAGE)
#define MEMORY_SIZE (RINGS_AT + RINGS * RING_STRIDE)

/* Owners: the tracee is a client like any other. */
#define TRACEE 1u
#define OTHER 2u
#define OWNERS 3u

#define OFFSETS 512u
#define GOT_MAX 64u
#define SENDS_MAX 8u

/* What a record holds is known by its id; 0 is none. */
#define ID_FIRST 1u        /* of those that the stepper sends */
#define ID_TRACEE 0x10000u /* and of those that the tracee sends */

struct missed {
    uint64_t from, count;
};

/* Who sent what and who got what. In the shared memory, so that it goes back to a state with everything else. */
struct notes {
    uint64_t main_at; /* where the tracee's main lies: says where its program was loaded */
    int32_t result;   /* of the section's last call */
    uint32_t calls;   /* that have come back */
    /* written by the tracee as its calls come back */
    uint32_t acked[SENDS_MAX]; /* ids */
    uint64_t acked_at[SENDS_MAX];
    uint32_t acked_count;
    uint32_t damaged; /* a view was not what its record is, at [damaged_at] */
    uint64_t damaged_at;
    uint32_t got_count;
    uint32_t got[GOT_MAX];
    uint64_t got_at[GOT_MAX];
    struct missed missed[8];
    uint32_t missed_count;
    /* written by the stepper and by acts */
    uint32_t next_id;
    uint32_t truth[OFFSETS];      /* the id that OTHER has at this offset; 0: unknown, or nothing */
    uint64_t clock_ns;            /* as the tracee is told it */
    uint32_t wakes;               /* FUTEX_WAKEs of the tracee */
    uint32_t waits;               /* FUTEX_WAITs */
    uint64_t start;               /* the consumer's first offset */
    uint64_t expect;              /* it has to come at least here */
    struct lt_member_word member; /* in production one of the coordinator's */
    uint64_t committed_to;        /* by the last commit that was told to count */
    bool evicted;
    uint64_t heir_at; /* and what leatd read then */
    /* Where, in the tracee's handles, the base offset of each ring's view lies: it is told by the answer to an attach, and
     * there is nobody to ask, so whoever makes a ring says it there. 0: nowhere. */
    uint64_t base_offset_at[2 * RINGS];
};

/* One mapping of the memory. */
struct world {
    unsigned char *base;
    struct notes *notes;
    struct lt_coordinator *coordinator;
    void *page;
    struct lt_partition *part;
    struct lt_bells *bells;
    struct lt_mailbox *mailbox;
};

void world_view(struct world *world, unsigned char *base);
/* Maps the memfd at `base`. false: errno says why. */
bool world_map(struct world *world, int fd, unsigned char *base);
/* An empty bus. */
void world_init(const struct world *world);
unsigned char *world_ring_base(const struct world *world, uint32_t ring);
struct lt_ring world_ring(const struct world *world, uint32_t ring);

/* The limit of a ring, as a worker that takes over reads it. */
void world_limit(const struct world *world, uint32_t ring, uint64_t *offset, uint64_t *pos);

/* --- contents --- */

uint32_t record_size(uint32_t id);
void record_fill(unsigned char *value, uint32_t id);
/* The id of a record with these bytes, or 0: they are no record's. */
uint32_t record_id(const unsigned char *value, uint64_t size);
/* The id of what is published at an offset; 0: nothing, GAP_ID: a gap, SEAL_ID, DAMAGED_ID. */
#define GAP_ID UINT32_MAX
#define SEAL_ID (UINT32_MAX - 1)
#define DAMAGED_ID (UINT32_MAX - 2)
uint32_t world_id_at(const struct world *world, uint64_t offset, uint32_t *ring);

/* --- acts: what others do, with the shipping calls in the order of src/leatd and src/client --- */

/* One claim of `count` records by OTHER, with payload when `big`. 0, or what the ring said. */
int act_send(const struct world *world, uint32_t count, bool big);
/* Claims, and never commits. */
int act_hold(const struct world *world, uint32_t owner, uint32_t count, uint32_t units,
             struct lt_claim *claim);
/* Repair of every ring; bells. Returns what the scan of the current ring said, CORRUPT in any ring first. */
int act_repair(const struct world *world, enum lt_owner_fate tracee, enum lt_owner_fate other);
/* Reclaims as far as claims, pins and keeps allow, at most up to `up_to`. */
void act_reclaim(const struct world *world, uint64_t up_to, bool heed_readers);
/* The next ring. 0, or CORRUPT. */
int act_rotate(const struct world *world);
/* Its first half: frozen and sealed, and no successor yet. */
int act_seal(const struct world *world, uint64_t *base_offset, uint32_t *epoch);
int act_succeed(const struct world *world, uint64_t base_offset, uint32_t epoch);
/* What a worker does when it takes over: finishes rotations, repairs. */
int act_adopt(const struct world *world, enum lt_owner_fate tracee, enum lt_owner_fate other);
/* Sends until the ring is full. */
uint32_t act_fill(const struct world *world);
/* Sends until few slots are left, and then claims what is left, slots and payload, and writes nonsense there. */
void act_overwrite(const struct world *world);
void act_make_room(const struct world *world);
void act_wake_room(const struct world *world);

/* --- paths --- */

enum path_kind { PRODUCES, CONSUMES, LEATD };

/* Once, in the middle of the path and before the next instruction, so that the way from there on is stepped, too. */
enum twist {
    NO_TWIST,
    TWIST_TAKEN,     /* claimed: leatd takes it back */
    TWIST_CONTENDED, /* about to claim: another one does */
    TWIST_FROZEN,    /* claimed: the ring is rotated away */
    TWIST_LATE,      /* pinned: what is pinned has been announced meanwhile */
    TWIST_SENT,      /* bell armed: another one sends */
};

struct path {
    const char *name;
    const char *what;
    enum path_kind kind;
    bool exclusive;
    bool sampled; /* part of a short run */
    enum twist twist;
    bool may_abort; /* in place: a claim that was taken back is the caller's to make again */
    int result;     /* of its last call; INT32_MAX: any */
    void (*place)(const struct world *world);
};
extern const struct path paths[];
extern const size_t path_count;

#endif
