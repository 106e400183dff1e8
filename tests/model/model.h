/* model: what the parts of the explorer know of each other. See README.md for what is modelled and what is not.
 *
 * A state is: the actors (registers and live stack of each), their private structs, the oracle's notes, and memory. Memory
 * is a table of locations, not bytes: the addresses that the shipping code loads and stores are keys into it, and
 * the bytes behind them cannot be touched at all, so nothing goes round the explorer.
 */
#ifndef TESTS_MODEL_MODEL_H
#define TESTS_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef LT_MODEL
#define LT_MODEL 1
#endif
#include "base/atomic.h"
#include "group/group.h"
#include "shm/coordinator.h"
#include "shm/grouppage.h"
#include "shm/mailbox.h"
#include "shm/ring.h"
#include "shm/topic.h"

#define ACTORS_MAX 6
#define LOCS_MAX 128
#define HISTORY 24 /* weak memory: stores of a location that can be told apart */
#define BUFFER 4   /* TSO: stores of an actor on their way */
#define STACK_SIZE 4096
#define NO_LIMIT UINT64_MAX
#define EPOCH 1u       /* of all claims: nothing in the model changes the map yet */
#define OFFSETS_MAX 32 /* records of a run, gaps included */
#define PRODUCERS_MAX 3
#define CONSUMERS_MAX 2
#define RINGS_MAX 3
#define SLOTS_MAX 4
#define UNITS_MAX 4
#define RING_BYTES (8192 + SLOTS_MAX * LT_SLOT_SIZE + UNITS_MAX * LT_UNIT)
#define SENDS_MAX 4
#define MEMBERS_MAX 3
#define PARTS_MAX 2

enum memory_model { SC, TSO, WEAK };

/* --- configurations --- */

enum send_kind { SEND, BATCH, GIVE_UP };

struct producer_config {
    uint8_t sends;   /* how many */
    uint8_t count;   /* records of each */
    uint8_t units;   /* payload units of each record; 0: inline */
    bool exclusive;  /* claims with plain stores */
    bool heir;       /* comes when producer 0, who held the ring exclusively, is done or dead */
    bool reuses;     /* comes when producer 0's owner id may be given out again, and gets it */
    uint8_t give_up; /* bit s: send s is given up after the claim */
};

struct consumer_config {
    uint8_t gulp; /* records of a poll at most */
    bool keep;    /* gates reclaim */
};

struct member_config {
    uint8_t commits; /* turns that commit */
    bool leaves;     /* behind them */
    bool is_static;  /* leaves by going away, and comes back once */
};

struct config {
    const char *name;
    const char *what;
    enum memory_model memory;
    uint8_t slots, units;
    uint8_t producers, consumers;
    struct producer_config producer[PRODUCERS_MAX];
    struct consumer_config consumer[CONSUMERS_MAX];
    uint8_t base;   /* first offset */
    uint8_t greed;  /* offsets that a reclaim frees beyond the limit at most; 0: all that may go */
    uint8_t kills;  /* deaths of clients, at any step */
    uint8_t leases; /* leases that fire for somebody who lives */
    uint8_t stalls; /* claims treated as stalled although their owner runs */
    uint8_t deaths; /* deaths of leatd's worker */
    uint8_t rotations;
    bool no_stops; /* do not ask at each state what becomes of the others when one stands still for ever */
    bool presses;  /* producers knock before the ring is full, and do not wait */
    bool bells;    /* sleepers sleep on bells; else on what they wait for */
    /* A group, and no ring: */
    uint8_t members, parts;
    enum leat_assignor assignor;
    struct member_config member[MEMBERS_MAX];
    uint8_t hangs; /* evictions of members that live */
    uint8_t late;  /* deadlines that are reached while there is still something to do */
};

extern const struct config configs[];
extern const size_t config_count;

/* --- actors --- */

enum op_kind {
    OP_START,
    OP_LOAD,
    OP_STORE,
    OP_RMW, /* and both compare-and-swaps */
    OP_PLAIN,
    OP_FENCE,
    OP_MEMBARRIER,
    OP_FUTEX_WAIT,
    OP_ASLEEP,
    OP_WOKEN,
    OP_FUTEX_WAKE,
    OP_WAIT,   /* until something is there: the sleep of configurations without bells */
    OP_CHOOSE, /* leatd: until something happens */
    OP_LOCK,   /* leatd's threads: until the other one has let go */
    OP_DONE,
};

enum life { LIVES, DEAD };
enum actor_kind { PRODUCER, CONSUMER, LEATD, WARDEN, MEMBER, COORDINATOR };

struct op {
    uint8_t kind;
    uint8_t loc;
    uint8_t order;
    uint8_t timed_out;
    uint32_t spare;
    uint64_t value; /* futex: the value waited on */
};

struct producer {
    struct lt_ring ring;
    struct lt_ring_tail tail;
    uint32_t ring_no;
    uint8_t sent; /* sends done */
    bool exclusive;
    bool has_tail;
    bool has_waited;
};

struct consumer {
    struct lt_ring ring;
    uint64_t position;
    uint32_t ring_no;
    uint32_t spare;
};

struct leatd {
    struct lt_ring ring[RINGS_MAX];
    uint64_t limit[RINGS_MAX], limit_pos[RINGS_MAX];
    uint32_t first, current;
    uint64_t seen_pin; /* what stood in the way of the last reclaim: a pin, or claims and keeps */
    uint32_t seen;
    uint8_t gone;    /* bit a: actor a is known to be dead */
    bool wanting;    /* somebody knocked for room and has not got it */
    bool adopting;   /* a new incarnation */
    uint8_t seen_at; /* where it stopped: a claim's index */
};

/* A request and its answer: the control socket. */
enum request_kind { ASK_JOIN, ASK_STAND, ASK_LEAVE, ASK_AWAY, ASK_SYNC, ASK_RELEASE, ASK_OPEN, ASK_CLOSE };
enum desk_state { DESK_EMPTY, DESK_ASKED, DESK_ANSWERED };
struct desk {
    uint8_t state, kind;
    uint8_t parts;            /* bit p */
    int8_t result;            /* 0, or -1: fenced */
    uint32_t serial, said;    /* answered, asked with */
    uint32_t version, fence;  /* answered */
    uint8_t owned, released;  /* bit p: rows; those with LT_SYNC_RELEASE */
    uint8_t grant[PARTS_MAX]; /* of each row */
    uint8_t spare[4];
    uint64_t committed[PARTS_MAX];
};

struct member {
    struct desk desk;
    uint32_t serial, version, fence;
    uint8_t joined, standing, over;
    uint8_t commits; /* turns left */
    uint8_t lives;   /* times that it will come back */
    uint8_t held;    /* bit p: it has a cursor there */
    uint8_t idents;  /* bit p: its reader's entry says so */
    uint8_t spare;
    uint8_t position[PARTS_MAX], grant[PARTS_MAX];
    uint8_t spare2[4];
};

struct coordinator {
    /* the worker's */
    struct lt_group machine;
    struct lt_group_member members[MEMBERS_MAX];
    struct lt_group_part parts[PARTS_MAX];
    uint32_t serial[MEMBERS_MAX]; /* of each seat; 0: free */
    uint8_t bell[MEMBERS_MAX];    /* of each seat: actor + 1, or 0: nobody is there */
    uint8_t opened[MEMBERS_MAX];  /* of each actor: readers that it has opened */
    uint8_t adopting;
    int64_t now_ns, deadline_ns;
    /* the page's, and what clients do when a worker is gone */
    uint64_t generation;
    uint32_t next_serial;
    uint8_t seat_bell[MEMBERS_MAX];
    uint8_t grants[PARTS_MAX];
    uint8_t stands;                   /* bit a: says its JOIN again before anything else */
    uint8_t cleaned;                  /* bit a: its death has been dealt with */
    uint8_t left_idents[MEMBERS_MAX]; /* of the dead */
    /* the oracle's */
    uint8_t told[PARTS_MAX];     /* bit a: was told that it owns, and has not let go */
    uint8_t reported[PARTS_MAX]; /* the highest offset whose commit was reported as done */
    uint8_t stored[PARTS_MAX];   /* the highest that was stored at all */
    uint8_t sweep;               /* bit p: to be released before anything is granted */
    uint8_t planned[PARTS_MAX];  /* the target of this generation + 1 */
};

struct actor {
    void *sp;
    struct op op;
    uint8_t id, kind, number, life;
    uint8_t spare[4];
    union {
        struct producer producer;
        struct consumer consumer;
        struct leatd leatd;
        struct member member;
        struct coordinator coordinator;
    };
};

/* --- the oracle's notes --- */

struct notes {
    uint16_t value[OFFSETS_MAX];               /* of the last claim of this offset */
    uint8_t flags[OFFSETS_MAX];                /* NOTE_* */
    uint8_t slot_writer[RINGS_MAX][SLOTS_MAX]; /* actor + 1 who may write there */
    uint8_t unit_writer[RINGS_MAX][UNITS_MAX];
    uint8_t acked[PRODUCERS_MAX];               /* records acknowledged */
    uint8_t given_up[PRODUCERS_MAX];            /* bit s */
    uint8_t last[CONSUMERS_MAX][PRODUCERS_MAX]; /* sequence number last delivered */
    uint8_t missed[CONSUMERS_MAX];
    uint8_t kills, leases, stalls, deaths, rotations; /* still allowed */
    uint8_t hangs, late;
    uint8_t lock; /* actor + 1 of leatd's that holds the worker's tables */
    bool knocked;
    bool id_is_free; /* producer 0's */
};
enum { NOTE_ACKED = 1, NOTE_GAP = 2, NOTE_SEEN = 4 };

/* --- the state that is being worked on --- */

struct world {
    struct actor actors[ACTORS_MAX];
    struct notes notes;
};

/* Never touched: addresses only. */
struct shared {
    unsigned char ring[RINGS_MAX][RING_BYTES];
    struct lt_partition partition;
    struct lt_reader readers[CONSUMERS_MAX];
    struct lt_bells bells;
    /* of groups: by actor, by seat, by partition */
    struct lt_member_word words[MEMBERS_MAX];
    struct lt_reader entries[MEMBERS_MAX][PARTS_MAX];
    struct lt_group_seat seats[MEMBERS_MAX];
    struct lt_group_place places[PARTS_MAX];
};

extern struct world world;
extern const struct config *config;
extern struct shared *shared;
extern uint32_t actor_count;
static inline struct actor *the_leatd(void);
extern struct actor *self; /* who runs; NULL outside */

static inline struct actor *the_leatd(void)
{
    return &world.actors[config->producers + config->consumers + config->members];
}

/* --- memory.c --- */

void memory_reset(void);
/* A location: who may load it (who stores may load, too), who may store it. */
uint8_t memory_add(const void *p, uint64_t value, uint32_t readers, uint32_t writers, bool plain,
                   const char *format, ...) __attribute__((format(printf, 6, 7)));
uint8_t memory_loc(const void *p);
uint64_t memory_latest(const void *p);
uint64_t memory_latest_loc(uint8_t loc);
const char *memory_name(uint8_t loc);
uint32_t memory_choices(const struct actor *actor);
uint32_t memory_pending(uint32_t actor); /* stores on their way */
void memory_flush_one(uint32_t actor);
void memory_flush(uint32_t actor);
void memory_drop(uint32_t actor, uint32_t keep);       /* a death: the first `keep` still arrive */
bool memory_is_current(uint32_t actor, const void *p); /* has seen the newest store */
void memory_join(uint32_t to, uint32_t from);
void memory_see_latest(uint8_t loc);    /* self has seen the newest store */
void memory_everybody(uint32_t caller); /* membarrier */
void memory_tidy(void);
void memory_show(void);
size_t memory_save(uint8_t *to);
size_t memory_restore(const uint8_t *from);
uint64_t memory_forgotten(void); /* stores that history had no room for */
/* Plain accesses of records. */
void memory_write(const void *p, uint64_t value);
uint64_t memory_read(const void *p);

/* --- explorer.c --- */

void model_yield(enum op_kind kind, uint8_t loc, enum model_order order);
void model_count(void);
uint32_t model_alternative(void); /* what the explorer chose for the step that runs */
void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void model_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
void explorer_bury(struct actor *actor);
extern bool tracing;
extern bool fair;               /* a fair run: loads are current */
extern uint32_t standing_still; /* in it: who takes no more steps */

struct outcome {
    uint64_t states, transitions, kills, stops, runs;
    double seconds;
    bool violated, cut;
    char message[256];
    char *schedule;
};
void explore(const struct config *c, struct outcome *outcome, uint64_t max_states, double max_seconds);
bool replay(const struct config *c, const char *schedule, bool trace, char *message, size_t size);

/* --- actors.c --- */

void actors_place(void); /* regions as leatd would have made them, and everybody before the first step */
void actor_main(struct actor *actor);
/* What can happen to leatd now. mandatory: what must happen sooner or later by itself. */
enum event_kind {
    EV_KNOCK,
    EV_RETRY,
    EV_KILL,
    EV_LEASE,
    EV_STALL,
    EV_ROTATE,
    EV_REQUEST,
    EV_REJOIN,
    EV_LATE,
    EV_DEAD,
    EV_GO
};
struct event {
    uint8_t kind;
    uint8_t actor;
    uint8_t keep; /* EV_KILL: of its stores on their way so many arrive */
    uint8_t mandatory;
};
uint32_t leatd_events(struct event *events, bool timers);
void leatd_die(struct actor *leatd);
bool producer_can_go_on(const struct actor *actor);
bool consumer_can_go_on(const struct actor *actor);
bool warden_is_due(void);
uint32_t coordinator_events(struct event *events, bool timers);
void coordinator_die(struct actor *coordinator);
bool member_can_go_on(const struct actor *actor);

/* --- oracle.c --- */

void oracle_reset(void);
void oracle_claimed(struct actor *who, uint32_t ring, const struct lt_ring *view,
                    const struct lt_claim *claim, uint32_t first_value, uint32_t units_each);
void oracle_released(struct actor *who);
void oracle_acked(struct actor *who, const struct lt_claim *claim);
void oracle_refused(struct actor *who, const struct lt_claim *claim, bool given_up);
void oracle_full(struct actor *who, const struct lt_ring *ring, uint32_t count, uint32_t units);
void oracle_record(struct actor *consumer, uint64_t offset, uint64_t value);
/* A poll ended at this offset, which is not published, behind one that it was given. */
void oracle_end(struct actor *consumer, uint64_t offset);
void oracle_gap(struct actor *consumer, uint64_t offset);
void oracle_missed(struct actor *consumer, uint64_t to);
void oracle_died(struct actor *who);
/* Everybody but those in `stopped` has come to rest. */
void oracle_rest(uint32_t stopped);

/* --- group_oracle.c --- */

void group_rest(uint32_t stopped);
/* The member is answered: this is yours, begin there. */
void group_told(struct actor *member, uint32_t p, uint64_t start);
/* It is nobody's owner any more: of these, by itself, by a death or behind a fence. */
void group_let_go(uint32_t actor, uint8_t parts);
void group_stored(uint32_t p, uint64_t offset);
void group_reported(struct actor *member, uint32_t p, uint64_t offset);
/* The coordinator's hooks, before they do it. */
void group_saved(uint32_t p, uint64_t before, uint64_t after);
void group_taken(uint32_t p);
void group_granted(uint32_t p, uint32_t m);
void group_gone(uint32_t m);
void group_generation(uint64_t number);

#endif
