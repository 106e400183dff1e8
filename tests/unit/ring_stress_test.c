/* Threads on one ring: the goal is interleavings that nobody thought of, under ThreadSanitizer too. Producers claim, some
 * claims are taken back by a repairer that plays leatd, readers check that each acknowledged record is there once, in its
 * producer's order, whole. Flow control is a shared counter, so that nothing is lost by overwriting. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "shm/reclaim.h"
#include "shm/repair.h"
#include "test.h"

#define PRODUCERS 3
#define SLOTS 16

struct stress {
    struct arena *arena;
    uint32_t records;  /* each producer */
    uint64_t consumed; /* the reader's position: nothing at or above it may be overwritten */
    uint32_t finished;
    uint64_t taken;
    bool meddle;
};

struct producer {
    struct stress *stress;
    uint32_t owner;
    uint64_t seed;
};

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

static void *produce(void *argument)
{
    struct producer *p = argument;
    struct lt_ring ring = arena_view(p->stress->arena);
    uint32_t sent = 0;
    while (sent < p->stress->records) {
        uint32_t count = 1 + (uint32_t)next_random(&p->seed) % 3;
        if (count > p->stress->records - sent)
            count = p->stress->records - sent;
        struct lt_claim claim;
        int r = arena_claim(&ring, p->owner, count, (uint64_t)p->owner << 32 | sent, &claim);
        if (r == LT_RING_FULL) {
            lt_relax();
            continue;
        }
        CHECK_EQ(r, 0);
        if (next_random(&p->seed) % 16 == 0) {
            lt_ring_abort(&ring, &claim);
            continue;
        }
        if (p->stress->meddle && next_random(&p->seed) % 16 == 0)
            for (int i = 0; i < 20; i++)
                sched_yield(); /* long enough under way for the repairer to come by */
        r = lt_ring_commit(&ring, &claim);
        if (r == 0)
            sent += count;
        else
            lt_fetch_add64(&p->stress->taken, 1);
    }
    lt_fetch_add32(&p->stress->finished, 1);
    return NULL;
}

/* leatd: reclaims behind the reader and now and then takes a claim back. */
static void *lead(void *argument)
{
    struct stress *s = argument;
    struct lt_ring ring = arena_view(s->arena);
    struct lt_ring_gate *gate = &s->arena->gate;
    uint64_t seed = 12345;
    while (lt_load_acquire32(&s->finished) < PRODUCERS + 1) {
        struct lt_reclaim reclaim = { .offset = gate->limit_offset, .pos = gate->limit_pos };
        lt_reclaim_scan(&ring, &reclaim, reclaim.offset + SLOTS, 0, lt_load_acquire64(&s->consumed));
        lt_reclaim_announce(gate, reclaim.offset);
        lt_reclaim_publish(gate, reclaim.offset, reclaim.pos);
        uint64_t offset;
        uint32_t owner;
        enum lt_claim_state state;
        if (s->meddle && next_random(&seed) % 4 == 0 &&
            lt_repair_blocker(&ring, gate->limit_offset, &offset, &owner, &state) == 0) {
            struct lt_repair_report report = { 0 };
            lt_repair_claim(&ring, offset, LT_OWNER_LEFT, &report);
        }
        sched_yield();
    }
    return NULL;
}

static void read_all(struct stress *s)
{
    struct lt_ring ring = arena_view(s->arena);
    uint64_t next[PRODUCERS] = { 0 };
    uint64_t seen = 0, total = (uint64_t)PRODUCERS * s->records;
    for (uint64_t offset = 0; seen < total;) {
        switch (arena_kind(&ring, offset)) {
        case LT_KIND_NONE:
            sched_yield();
            continue;
        case LT_KIND_GAP:
            break;
        default: {
            uint64_t value = arena_value(&ring, offset);
            uint32_t owner = (uint32_t)(value >> 32);
            CHECK(owner >= 1 && owner <= PRODUCERS);
            CHECK_EQ((uint32_t)value, next[owner - 1]);
            next[owner - 1]++;
            seen++;
        }
        }
        lt_store_release64(&s->consumed, ++offset);
    }
    lt_fetch_add32(&s->finished, 1);
}

static void run(bool meddle, uint32_t records)
{
    struct stress s = { .arena = arena_new(SLOTS, 64, 0), .records = records, .meddle = meddle };
    pthread_t thread[PRODUCERS + 1];
    struct producer producer[PRODUCERS];
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producer[i] = (struct producer){ &s, i + 1, test_random() };
        CHECK_EQ(pthread_create(&thread[i], NULL, produce, &producer[i]), 0);
    }
    CHECK_EQ(pthread_create(&thread[PRODUCERS], NULL, lead, &s), 0);
    read_all(&s);
    for (uint32_t i = 0; i <= PRODUCERS; i++)
        pthread_join(thread[i], NULL);
    if (meddle)
        CHECK(s.taken > 0);
}

TEST(three_producers_on_a_tiny_ring_lose_nothing_and_keep_their_order)
{
    run(false, 6000 / (uint32_t)test_slowdown());
}

TEST(claims_taken_back_under_way_are_sent_again_and_nothing_appears_twice)
{
    run(true, 6000 / (uint32_t)test_slowdown());
}
