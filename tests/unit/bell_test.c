/* bell: the states of one word, and that no wake is lost. */
#include "shm/bell.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/atomic.h"
#include "base/futex.h"
#include "test.h"
#include "threads.h"

#define MS 1000000ll
#define LONG_WAIT (20000 * MS) /* who sleeps that long has been forgotten */

TEST(armed_bell_has_the_flag_and_the_old_seq)
{
    struct lt_bell bell = { .word = 6 };
    CHECK_EQ(lt_bell_arm(&bell), 7);
    CHECK_EQ(bell.word, 7);
}

TEST(arming_twice_is_arming_once)
{
    struct lt_bell bell = { .word = 6 };
    lt_bell_arm(&bell);
    CHECK_EQ(lt_bell_arm(&bell), 7);
    CHECK_EQ(bell.word, 7);
}

TEST(ringing_a_bell_that_nobody_waits_for_changes_nothing)
{
    struct lt_bell bell = { .word = 6 };
    CHECK(!lt_bell_ring(&bell));
    CHECK_EQ(bell.word, 6);
}

TEST(ringing_an_armed_bell_moves_seq_and_takes_the_flag)
{
    struct lt_bell bell = { .word = 7 };
    lt_bell_ring(&bell);
    CHECK_EQ(bell.word, 8);
}

TEST(seq_wraps_into_itself_and_not_into_the_flag)
{
    struct lt_bell bell = { .word = UINT32_MAX };
    lt_bell_ring(&bell);
    CHECK_EQ(bell.word, 0);
}

TEST(disarmed_bell_is_as_it_was)
{
    struct lt_bell bell = { .word = 6 };
    lt_bell_disarm(&bell, lt_bell_arm(&bell));
    CHECK_EQ(bell.word, 6);
}

TEST(disarming_leaves_a_bell_alone_that_was_rung_meanwhile)
{
    struct lt_bell bell = { .word = 6 };
    uint32_t armed = lt_bell_arm(&bell);
    lt_bell_ring(&bell);
    lt_bell_disarm(&bell, armed);
    CHECK_EQ(bell.word, 8);
}

TEST(waiting_for_a_bell_that_was_rung_since_arming_returns_at_once)
{
    struct lt_bell bell = { 0 };
    uint32_t armed = lt_bell_arm(&bell);
    lt_bell_ring(&bell);
    CHECK(lt_bell_wait(&bell, armed, -1));
}

TEST(waiting_for_a_bell_that_nobody_rings_ends_after_its_time)
{
    struct lt_bell bell = { 0 };
    uint32_t armed = lt_bell_arm(&bell);
    CHECK(!lt_bell_wait(&bell, armed, 5 * MS));
    CHECK_EQ(bell.word, armed);
}

struct sleeper {
    struct lt_bell bell;
    int32_t thread;
    bool rung;
};

static void *sleep_once(void *argument)
{
    struct sleeper *s = argument;
    uint32_t armed = lt_bell_arm(&s->bell);
    lt_store_release32((uint32_t *)&s->thread, (uint32_t)thread_id());
    s->rung = lt_bell_wait(&s->bell, armed, LONG_WAIT);
    return NULL;
}

TEST(ringing_says_that_it_woke_a_sleeper)
{
    struct sleeper sleeper = { 0 };
    pthread_t thread = thread_start(sleep_once, &sleeper);
    thread_wait_asleep(&sleeper.thread);
    CHECK(lt_bell_ring(&sleeper.bell));
    thread_join(thread);
    CHECK(sleeper.rung);
}

TEST(rescue_wakes_a_sleeper_whose_waker_died_between_the_word_and_the_wake)
{
    struct sleeper sleeper = { 0 };
    pthread_t thread = thread_start(sleep_once, &sleeper);
    thread_wait_asleep(&sleeper.thread);
    lt_store_release32(&sleeper.bell.word, 2); /* as far as the dead one came */
    CHECK(!lt_bell_ring(&sleeper.bell));
    lt_bell_rescue(&sleeper.bell);
    thread_join(thread);
    CHECK(sleeper.rung);
}

TEST(rescue_rings_an_armed_bell)
{
    struct lt_bell bell = { .word = 7 };
    lt_bell_rescue(&bell);
    CHECK_EQ(bell.word, 8);
}

/* Two threads hand a number to and fro. Each sleeps whenever the other has not answered yet. */
struct side {
    struct lt_bell bell;
    uint64_t number __attribute__((aligned(64)));
};

struct handover {
    struct side sides[2];
    uint64_t rounds;
};

static void await(struct side *side, uint64_t number, uint32_t spins)
{
    for (uint32_t i = 0; i < spins; i++)
        if (lt_load_acquire64(&side->number) >= number)
            return;
    while (lt_load_acquire64(&side->number) < number) {
        uint32_t armed = lt_bell_arm(&side->bell);
        lt_membarrier();
        if (lt_load_acquire64(&side->number) >= number) {
            lt_bell_disarm(&side->bell, armed);
            return;
        }
        if (!lt_bell_wait(&side->bell, armed, LONG_WAIT))
            FAIL("number %llu: never woken", (unsigned long long)number);
    }
}

static void give(struct side *side, uint64_t number)
{
    lt_store_release64(&side->number, number);
    lt_bell_ring(&side->bell);
}

static void *answer(void *argument)
{
    struct handover *h = argument;
    for (uint64_t i = 1; i <= h->rounds; i++) {
        await(&h->sides[1], i, i % 7 * 30);
        give(&h->sides[0], i);
    }
    return NULL;
}

TEST(hundred_thousand_handovers_between_two_sleepers_lose_no_wake)
{
    static struct handover h;
    CHECK_EQ(lt_membarrier_register(), 0);
    h.rounds = test_long() ? 2000000 : 100000;
    pthread_t thread = thread_start(answer, &h);
    for (uint64_t i = 1; i <= h.rounds; i++) {
        give(&h.sides[1], i);
        await(&h.sides[0], i, i % 5 * 50);
    }
    thread_join(thread);
}

/* Two wakers and one bell: the flag that one of them takes off is the other's too. */
struct crowd {
    struct side sides[2]; /* only the first one's bell is used */
    uint64_t taken __attribute__((aligned(64)));
    uint64_t rounds;
    uint32_t next;
};

static void *shout(void *argument)
{
    struct crowd *c = argument;
    struct side *side = &c->sides[lt_fetch_add32(&c->next, 1)];
    for (uint64_t i = 1; i <= c->rounds; i++) {
        lt_store_release64(&side->number, i);
        lt_bell_ring(&c->sides[0].bell);
        while (lt_load_acquire64(&c->taken) + 1 < i) /* at most one ahead, so that the waiter sleeps often */
            sched_yield();
    }
    return NULL;
}

static uint64_t heard(const struct crowd *c)
{
    uint64_t a = lt_load_acquire64(&c->sides[0].number), b = lt_load_acquire64(&c->sides[1].number);
    return a < b ? a : b;
}

TEST(two_wakers_of_one_sleeper_lose_no_wake)
{
    static struct crowd c;
    CHECK_EQ(lt_membarrier_register(), 0);
    c.rounds = test_long() ? 500000 : 20000;
    pthread_t threads[2] = { thread_start(shout, &c), thread_start(shout, &c) };
    while (c.taken < c.rounds) {
        uint32_t armed = lt_bell_arm(&c.sides[0].bell);
        lt_membarrier();
        if (heard(&c) > c.taken)
            lt_bell_disarm(&c.sides[0].bell, armed);
        else if (!lt_bell_wait(&c.sides[0].bell, armed, LONG_WAIT))
            FAIL("round %llu: never woken", (unsigned long long)c.taken);
        lt_store_release64(&c.taken, heard(&c));
    }
    thread_join(threads[0]);
    thread_join(threads[1]);
}

/* ---- knocks ---- */

struct looks {
    uint32_t count;
    uint32_t last[8];
};

static void note(void *user, uint32_t global)
{
    struct looks *looks = user;
    if (looks->count < 8)
        looks->last[looks->count] = global;
    looks->count++;
}

static struct lt_bells bells;

TEST(take_finds_every_knock_once)
{
    struct looks looks = { 0 };
    lt_bells_knock(&bells, 65535);
    lt_bells_knock(&bells, 0);
    lt_bells_knock(&bells, 63);
    lt_bells_knock(&bells, 0);
    lt_bells_knock(&bells, 5000);
    lt_bells_take(&bells, note, &looks);
    CHECK_EQ(looks.count, 4);
    CHECK_EQ(looks.last[0], 0);
    CHECK_EQ(looks.last[1], 63);
    CHECK_EQ(looks.last[2], 5000);
    CHECK_EQ(looks.last[3], 65535);
}

TEST(take_leaves_no_knock_behind)
{
    struct looks looks = { 0 };
    lt_bells_knock(&bells, 700);
    lt_bells_take(&bells, note, &looks);
    lt_bells_take(&bells, note, &looks);
    CHECK_EQ(looks.count, 1);
    CHECK_EQ(bells.knocks[700 / 64], 0);
    CHECK_EQ(bells.knock_summary[0], 0);
}

TEST(knock_on_a_partition_that_no_bus_can_have_is_ignored)
{
    struct looks looks = { 0 };
    bells.leatd.word = 1;
    lt_bells_knock(&bells, LT_PARTITIONS_MAX);
    lt_bells_knock(&bells, UINT32_MAX);
    lt_bells_take(&bells, note, &looks);
    CHECK_EQ(looks.count, 0);
    CHECK_EQ(bells.leatd.word, 1);
}

TEST(knock_rings_leatd)
{
    uint32_t armed = lt_bell_arm(&bells.leatd);
    lt_bells_knock(&bells, 12);
    CHECK(lt_bell_wait(&bells.leatd, armed, -1));
}

TEST(knock_of_one_that_died_before_the_summary_is_taken_with_the_next)
{
    struct looks looks = { 0 };
    bells.knocks[3] = 1; /* partition 192, and no summary */
    lt_bells_knock(&bells, 193);
    lt_bells_take(&bells, note, &looks);
    CHECK_EQ(looks.count, 2);
}

TEST(knock_is_announced_again_although_its_bit_is_set_already)
{
    struct looks looks = { 0 };
    bells.knocks[3] = 1;
    lt_bells_knock(&bells, 192);
    lt_bells_take(&bells, note, &looks);
    CHECK_EQ(looks.count, 1);
}

static void knock_once_more(void *user, uint32_t global)
{
    note(user, global);
    if (global == 0)
        lt_bells_knock(&bells, 1); /* same word, same summary */
}

TEST(knock_that_comes_while_knocks_are_taken_is_found_by_the_next_take)
{
    struct looks looks = { 0 };
    lt_bells_knock(&bells, 0);
    lt_bells_take(&bells, knock_once_more, &looks);
    CHECK_EQ(looks.count, 1);
    lt_bells_take(&bells, knock_once_more, &looks);
    CHECK_EQ(looks.count, 2);
    CHECK_EQ(looks.last[1], 1);
}

/* Two threads put work down and knock; the third sleeps, takes knocks and does the work. */
#define DOORS 130u

struct door {
    uint64_t put, done;
};

struct office {
    struct lt_bells bells;
    struct door doors[DOORS];
    uint64_t rounds, did;
    uint32_t next;
};

static void *put_work(void *argument)
{
    struct office *o = argument;
    uint32_t self = lt_fetch_add32(&o->next, 1);
    for (uint64_t i = 0; i < o->rounds; i++) {
        struct door *door = &o->doors[(i * 7 + self * 13) % DOORS];
        lt_fetch_add64(&door->put, 1);
        lt_bells_knock(&o->bells, (uint32_t)(door - o->doors));
        if (i % 16 == 0)
            sched_yield();
    }
    return NULL;
}

static void do_work(void *user, uint32_t global)
{
    struct office *o = user;
    CHECK(global < DOORS);
    struct door *door = &o->doors[global];
    uint64_t put = lt_load_acquire64(&door->put);
    o->did += put - door->done;
    door->done = put;
}

TEST(no_knock_is_lost_while_knocks_are_taken)
{
    static struct office o;
    CHECK_EQ(lt_membarrier_register(), 0);
    o.rounds = test_long() ? 2000000 : 100000;
    pthread_t threads[2] = { thread_start(put_work, &o), thread_start(put_work, &o) };
    while (o.did < 2 * o.rounds) {
        uint32_t armed = lt_bell_arm(&o.bells.leatd);
        lt_membarrier();
        uint64_t before = o.did;
        lt_bells_take(&o.bells, do_work, &o);
        if (o.did != before || o.did == 2 * o.rounds)
            lt_bell_disarm(&o.bells.leatd, armed);
        else if (!lt_bell_wait(&o.bells.leatd, armed, LONG_WAIT))
            FAIL("%llu of %llu done, and nobody rang", (unsigned long long)o.did,
                 (unsigned long long)(2 * o.rounds));
    }
    thread_join(threads[0]);
    thread_join(threads[1]);
}
