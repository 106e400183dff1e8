/* Producers that are killed with -9 at every named step of a send.
 *
 * Goal: whatever step a producer dies at, a reader and another producer go on at once, without waiting for any timeout. What
 * was committed is there, once and whole; what was not is not there at all; no offset is given out twice; and the
 * ring goes on for laps.
 * Method: the victim is a process that dies by itself at a kill point (LEAT_KILL). The test watches with a consumer
 * that sleeps in poll, so that a wake-up that the dead did not come to shows too, and sends as the other producer. leatd's
 * stall limit is a minute: nothing here may come of it but where a stopped producer is what is tested.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum mode { SINGLE, PAYLOAD, BATCH, IN_PLACE, ABORT, EXCLUSIVE, EXCLUSIVE_BATCH, MODES };

static const char *const mode_names[] = { "a small record",    "a large record", "a batch",
                                          "in place",          "an abort",       "an exclusive record",
                                          "an exclusive batch" };

enum { PER_BATCH = 7, SLOTS = 512, LAPS = 3 };

/* Board words. */
enum { ACKED, SEEN };

/* What becomes of the record whose sending was cut short at this point. */
enum fate { GONE, THERE };

struct point {
    const char *name;
    enum fate fate;
    unsigned modes; /* bits: which sends pass it */
    int pass;       /* which pass to die at: the first ones are to go well where there are more than one */
};

#define BIT(mode) (1u << (mode))
#define SHARED (BIT(SINGLE) | BIT(PAYLOAD) | BIT(BATCH) | BIT(IN_PLACE))
#define ALONE (BIT(EXCLUSIVE) | BIT(EXCLUSIVE_BATCH))

static const struct point points[] = {
    { "ring.claim", GONE, SHARED | BIT(ABORT), 3 },
    { "ring.claim.after", GONE, SHARED | BIT(ABORT), 3 },
    { "produce.batch", GONE, BIT(BATCH) | BIT(EXCLUSIVE_BATCH), 3 },
    { "produce.claim", GONE, BIT(IN_PLACE) | BIT(ABORT), 3 },
    { "produce.write", GONE, BIT(SINGLE) | BIT(PAYLOAD) | BIT(BATCH) | ALONE, 3 },
    { "produce.write.half", GONE, BIT(BATCH) | BIT(EXCLUSIVE_BATCH), 3 },
    { "ring.exclusive", GONE, ALONE, 3 },
    { "ring.exclusive.half", GONE, ALONE, 3 },
    { "ring.exclusive.after", GONE, ALONE, 3 },
    { "ring.commit", GONE, SHARED | ALONE, 3 },
    { "ring.commit.after", THERE, SHARED | ALONE, 3 },
    { "ring.publish.inner", THERE, BIT(BATCH) | BIT(EXCLUSIVE_BATCH), 2 * (PER_BATCH - 1) + 4 },
    { "ring.publish", THERE, SHARED | ALONE, 3 },
    { "ring.done", THERE, SHARED | ALONE, 3 },
    { "ring.done.after", THERE, SHARED | ALONE, 3 },
    { "ring.abort", GONE, BIT(ABORT), 3 },
    { "ring.abort.after", GONE, BIT(ABORT), 3 },
    { "produce.bell", THERE, SHARED | ALONE, 3 },
    { "produce.bell.after", THERE, SHARED | ALONE, 3 },
    /* The reader sleeps, so each send rings it. */
    { "bell.ring", THERE, SHARED | ALONE, 3 },
    { "bell.wake", THERE, SHARED | ALONE, 3 },
    /* Passed once the ring is three quarters full. */
    { "knock.summary", THERE, SHARED | ALONE, 1 },
};
enum { POINTS = sizeof points / sizeof *points };

/* ---- the victim ---- */

static int send_batch(leat_producer *producer, uint64_t number)
{
    unsigned char values[PER_BATCH][TRAFFIC_MAX];
    leat_record records[PER_BATCH] = { 0 };
    for (int i = 0; i < PER_BATCH; i++) {
        uint64_t n = number * PER_BATCH + (uint64_t)i;
        records[i].value = values[i];
        records[i].value_size = traffic_size(n);
        traffic_fill(values[i], records[i].value_size, 1, n);
    }
    int sent = leat_producer_send_many(producer, records, PER_BATCH, NULL);
    if (sent >= 0)
        CHECK_EQ(sent, PER_BATCH);
    return sent;
}

static int send_in_place(leat_producer *producer, uint64_t number, bool commit)
{
    leat_claim claim;
    size_t size = number % 2 ? 200 : 48;
    int r = leat_producer_claim(producer, NULL, 0, size, &claim);
    if (r < 0)
        return r;
    traffic_fill(claim.value, size, 1, number);
    return commit ? leat_claim_commit(&claim, NULL) : leat_claim_abort(&claim);
}

static int send_as(enum mode mode, leat_producer *producer, uint64_t number)
{
    switch (mode) {
    case BATCH:
    case EXCLUSIVE_BATCH:
        return send_batch(producer, number);
    case IN_PLACE:
        return send_in_place(producer, number, true);
    case ABORT:
        return send_in_place(producer, number, false);
    case PAYLOAD:
        return traffic_send(producer, 0, 1, number, 500, NULL);
    default:
        return traffic_send(producer, 0, 1, number, 40, NULL);
    }
}

/* Sends as producer 1 until it is killed. ACKED counts the sends that returned. */
ROLE(victim)
{
    leat_bus *bus = role_open();
    enum mode mode = (enum mode)role_number(0);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.exclusive = mode == EXCLUSIVE || mode == EXCLUSIVE_BATCH;
    leat_producer *producer = open_producer(bus, "t", &options);
    uint64_t per_send = mode == ABORT ? 0 : mode == BATCH || mode == EXCLUSIVE_BATCH ? PER_BATCH : 1;
    for (uint64_t number = 0; number < 4 * SLOTS; number++) {
        CHECK_OK(send_as(mode, producer, number));
        board_set(ACKED, (number + 1) * per_send);
        /* Until the test has seen it: so the next one finds the reader asleep. */
        WAIT_UNTIL(board_get(SEEN) >= (number + 1) * per_send, 20);
    }
    FAIL("nothing has killed this process");
}

/* ---- the test ---- */

static uint64_t count_mode(enum mode mode)
{
    return mode == ABORT ? 0 : mode == BATCH || mode == EXCLUSIVE_BATCH ? PER_BATCH : 1;
}

/* Until the victim has died, tells it what has been seen. */
static void watch_it_die(struct child *victim, const struct ledger *ledger)
{
    double until = now_s() + 20 * test_slowdown();
    while (child_lives(victim)) {
        board_set(SEEN, ledger_count(ledger, 1));
        if (now_s() > until)
            FAIL("the victim lives after 20 s; %" PRIu64 " of its records were seen",
                 ledger_count(ledger, 1));
        bus_pause(); /* a death is no message; whoever is watched here does not depend on us */
    }
    child_killed(victim, SIGKILL);
}

/* The dead exclusive holder's hold ends with its pidfd, which fires when the kernel has torn it down. */
static leat_producer *open_survivor(leat_bus *bus)
{
    leat_producer *producer = NULL;
    int r = LEAT_EEXCLUSIVE;
    WAIT_UNTIL((r = leat_producer_open(&producer, bus, "t", NULL)) != LEAT_EEXCLUSIVE, 2);
    CHECK_OK(r);
    return producer;
}

static void kill_at(const struct point *point, enum mode mode)
{
    printf("at %s of %s\n", point->name, mode_names[mode]);
    fflush(stdout);
    struct bus *bus = bus_start("--stall-limit", "60000", "--log-level", "warn");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(2, 100000);
    struct watcher *watcher = watcher_start(handle, "t", ledger, true);
    leat_producer *other = count_mode(mode) && (BIT(mode) & ALONE) ? NULL : open_producer(handle, "t", NULL);

    board_set(ACKED, 0);
    board_set(SEEN, 0);
    struct child *victim = bus_spawn(bus, victim, .kill = bus_kill_at(point->name, point->pass),
                                     .args = { text("%d", mode) });
    watch_it_die(victim, ledger);

    /* What it committed arrives without anybody's help. A second is half of what a sleeper's own bound would take. */
    uint64_t per_send = count_mode(mode);
    uint64_t wanted = board_get(ACKED) + (point->fate == THERE ? per_send : 0);
    WAIT_UNTIL(ledger_count(ledger, 1) >= wanted, 1);

    /* The next one's record arrives, too. */
    if (!other)
        other = open_survivor(handle);
    uint64_t number = 0;
    CHECK_OK(traffic_send(other, 0, 0, number++, 40, NULL));
    WAIT_UNTIL(ledger_count(ledger, 0) == 1, 1);
    CHECK_EQ(ledger_count(ledger, 1), wanted);

    /* Laps: the dead one's claims and bytes are given out again. */
    for (; number < LAPS * SLOTS; number++)
        CHECK_OK(traffic_send(other, 0, 0, number, traffic_size(number), NULL));
    WAIT_UNTIL(ledger_count(ledger, 0) == number, 5);
    CHECK_EQ(ledger_missed_count(ledger), 0);
    watcher_stop(watcher);
    ledger_all(ledger, 0, number);
    ledger_all(ledger, 1, wanted);
    leat_topic_info *info = bus_describe(handle, "t");
    CHECK_EQ(info->partitions[0].rings, 1);
    leat_topic_info_free(info);
    leat_close(handle);
    ledger_free(ledger);
    bus_stop(bus);
}

static void kill_at_all_points_of(enum mode mode)
{
    for (int i = 0; i < POINTS; i++)
        if (points[i].modes & BIT(mode))
            kill_at(&points[i], mode);
}

TEST(producer_killed_at_any_step_of_a_small_record_holds_up_nobody)
{
    kill_at_all_points_of(SINGLE);
}

TEST(producer_killed_at_any_step_of_a_large_record_holds_up_nobody)
{
    kill_at_all_points_of(PAYLOAD);
}

TEST(producer_killed_at_any_step_of_a_batch_leaves_all_of_it_or_nothing)
{
    kill_at_all_points_of(BATCH);
}

TEST(producer_killed_at_any_step_of_a_record_in_place_holds_up_nobody)
{
    kill_at_all_points_of(IN_PLACE);
}

TEST(producer_killed_at_any_step_of_an_abort_leaves_a_gap)
{
    kill_at_all_points_of(ABORT);
}

TEST(exclusive_producer_killed_at_any_step_leaves_the_topic_to_the_next)
{
    kill_at_all_points_of(EXCLUSIVE);
}

TEST(exclusive_producer_killed_at_any_step_of_a_batch_leaves_all_of_it_or_nothing)
{
    kill_at_all_points_of(EXCLUSIVE_BATCH);
}

/* ---- killed in its answer to a claim that was taken back ---- */

TEST(producer_killed_before_it_acknowledges_a_lost_claim_gives_it_back_by_dying)
{
    struct bus *bus = bus_start("--stall-limit", "20");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(2, 100000);
    struct watcher *watcher = watcher_start(handle, "t", ledger, true);
    leat_producer *other = open_producer(handle, "t", NULL);

    struct child *victim = bus_spawn(bus, victim, .kill = "ring.claim.after:1:stop,ring.ack:1",
                                     .args = { text("%d", SINGLE) });
    child_wait_stopped(victim);
    /* The stopped claim is in the way; leatd takes it back after the stall limit. */
    CHECK_OK(traffic_send(other, 0, 0, 0, 40, NULL));
    WAIT_UNTIL(ledger_count(ledger, 0) == 1, 1);
    child_continue(victim);
    child_killed(victim, SIGKILL);

    uint64_t number = 1;
    for (; number < LAPS * SLOTS; number++)
        CHECK_OK(traffic_send(other, 0, 0, number, traffic_size(number), NULL));
    WAIT_UNTIL(ledger_count(ledger, 0) == number, 5);
    watcher_stop(watcher);
    ledger_all(ledger, 0, number);
    CHECK_EQ(ledger_count(ledger, 1), 0);
    leat_close(handle);
}

/* ---- killed on the way to another ring, and waiting for room ---- */

/* Claims a record and stands still with it. */
ROLE(blocker)
{
    leat_bus *bus = role_open();
    leat_producer *producer = open_producer(bus, "t", NULL);
    leat_claim claim;
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 100, &claim));
    say("claimed");
    hear_any();
}

/* Sends one record as producer 1, then, when told, more until it is killed. */
ROLE(mover)
{
    leat_bus *bus = role_open();
    leat_producer *producer = open_producer(bus, "t", NULL);
    CHECK_OK(traffic_send(producer, 0, 1, 0, 40, NULL));
    say("sent");
    hear("go on");
    for (uint64_t number = 1;; number++)
        CHECK_OK(traffic_send(producer, 0, 1, number, 40, NULL));
}

TEST(producer_killed_on_its_way_to_the_next_ring_holds_up_nobody)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(2, 100000);
    struct watcher *watcher = watcher_start(handle, "t", ledger, true);
    leat_producer *other = open_producer(handle, "t", NULL);
    struct child *victim = bus_spawn(bus, mover, .kill = bus_kill_at("produce.move", 2));
    child_expect(victim, "sent");
    struct child *blocker = bus_spawn(bus, blocker);
    child_expect(blocker, "claimed");
    child_stop(blocker);
    uint64_t number = 0;
    while (bus_counter(bus, "rotations", "t", 0, -1) == 0)
        for (int i = 0; i < 64; i++, number++)
            CHECK_OK(traffic_send(other, 0, 0, number, 40, NULL));
    child_tell(victim, "go on");
    child_killed(victim, SIGKILL);
    for (int i = 0; i < LAPS * SLOTS; i++, number++)
        CHECK_OK(traffic_send(other, 0, 0, number, 40, NULL));
    WAIT_UNTIL(ledger_count(ledger, 0) == number, 2);
    CHECK_EQ(ledger_count(ledger, 1), 1);
    watcher_stop(watcher);
    leat_close(handle);
}

/* Holds views until the test is gone. */
ROLE(pinner)
{
    leat_bus *bus = role_open();
    leat_consumer *consumer = open_reader(bus, "t", NULL);
    const leat_record *records;
    CHECK(CHECK_OK(leat_consumer_poll(consumer, 5000, &records)) > 0);
    say("holds");
    hear_any();
}

/* Holds the topic exclusively and sends as producer 1 until it is killed. */
ROLE(holder)
{
    leat_bus *bus = role_open();
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.exclusive = 1;
    leat_producer *producer = open_producer(bus, "t", &options);
    CHECK_OK(traffic_send(producer, 0, 1, 0, 40, NULL));
    say("sent");
    hear("go on");
    for (uint64_t number = 1;; number++) {
        CHECK_OK(traffic_send(producer, 0, 1, number, 40, NULL));
        board_set(ACKED, number + 1);
    }
}

static uint32_t rings_of(leat_bus *bus)
{
    leat_topic_info *info = bus_describe(bus, "t");
    uint32_t rings = info->partitions[0].rings;
    leat_topic_info_free(info);
    return rings;
}

/* Its claim and leatd's rotation cross: it stands between its claim and its look at the freeze while the ring is left. */
TEST(exclusive_producer_killed_with_a_claim_behind_the_rotation_leaves_a_gap)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(2, 100000);
    struct watcher *watcher = watcher_start(handle, "t", ledger, true);
    struct child *victim = bus_spawn(bus, holder,
                                     .kill = "ring.exclusive.after:420:stop,ring.exclusive.gap:1");
    child_expect(victim, "sent");
    struct child *pinner = bus_spawn(bus, pinner);
    child_expect(pinner, "holds"); /* so the ring cannot be reclaimed, and is left in the end */
    child_tell(victim, "go on");
    child_wait_stopped(victim);
    WAIT_UNTIL(rings_of(handle) == 2, 5);
    child_continue(victim);
    child_killed(victim, SIGKILL);
    uint64_t acked = board_get(ACKED);
    CHECK_EQ(acked, 419);
    WAIT_UNTIL(ledger_count(ledger, 1) == acked, 1);
    leat_producer *other = open_survivor(handle);
    for (uint64_t number = 0; number < LAPS * SLOTS; number++)
        CHECK_OK(traffic_send(other, 0, 0, number, 40, NULL));
    WAIT_UNTIL(ledger_count(ledger, 0) == LAPS * SLOTS, 2);
    ledger_all(ledger, 1, acked);
    CHECK_EQ(ledger_count(ledger, 1), acked);
    watcher_stop(watcher);
    child_kill(pinner);
    leat_close(handle);
}

TEST(producer_killed_while_it_waits_for_room_holds_up_nobody)
{
    struct bus *bus = bus_start("--stall-limit", "60000");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_consumer_options gate = LEAT_CONSUMER_OPTIONS;
    gate.gate = 1;
    leat_consumer *slow = open_reader(handle, "t", &gate);
    const leat_record *records;
    CHECK_EQ(leat_consumer_poll(slow, 0, &records), 0);
    struct child *victim = bus_spawn(bus, mover, .kill = bus_kill_at("produce.wait", 1));
    child_expect(victim, "sent");
    child_tell(victim, "go on");
    child_killed(victim, SIGKILL);
    struct ledger *ledger = ledger_new(2, 100000);
    uint64_t waiting = (uint64_t)leat_consumer_lag(slow, "t", 0);
    CHECK(waiting >= SLOTS / 2);
    traffic_read(slow, ledger, waiting, 1);
    ledger_all(ledger, 1, waiting);
    struct watcher *watcher = watcher_start(handle, "t", ledger_new(2, 100000), true);
    CHECK_OK(leat_consumer_close(slow));
    leat_producer *other = open_producer(handle, "t", NULL);
    for (uint64_t number = 0; number < LAPS * SLOTS; number++)
        CHECK_OK(traffic_send(other, 0, 0, number, 40, NULL));
    watcher_stop(watcher);
    leat_close(handle);
}

/* ---- many deaths, others at work ---- */

/* Sends as producer ARG 0 without a pause; ACKED + producer counts. */
ROLE(sender)
{
    leat_bus *bus = role_open();
    uint32_t who = (uint32_t)role_number(0);
    leat_producer *producer = open_producer(bus, "t", NULL);
    for (uint64_t number = 0;; number++) {
        CHECK_OK(traffic_send(producer, 0, who, number, traffic_size(number), NULL));
        board_set(who, number + 1);
    }
}

/* What a producer sent is seen up to its last acknowledged one, and at most the one that it was about; nothing twice. */
static void check_sender(const struct ledger *ledger, uint32_t who)
{
    uint64_t acked = board_get(who);
    WAIT_UNTIL(ledger_count(ledger, who) >= acked, 2);
    ledger_all(ledger, who, acked);
    CHECK(ledger_count(ledger, who) <= acked + 1);
}

TEST(producers_killed_at_random_moments_lose_nothing_that_was_acknowledged)
{
    enum { KILLS = 60 };
    struct bus *bus = bus_start("--stall-limit", "60000", "--log-level", "warn");
    bus_topic(bus, "t", .ring_size = 256 << 10);
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(KILLS + 2, 8 << 20);
    ledger_in_order(ledger);
    struct watcher *watcher = watcher_start(handle, "t", ledger, true);
    struct child *steady = bus_spawn(bus, sender, .args = { "0" });
    for (uint32_t who = 1; who <= KILLS; who++) {
        struct child *victim = bus_spawn(bus, sender, .args = { text("%u", who) });
        uint64_t moment = 1 + test_random() % 400;
        WAIT_UNTIL(board_get(who) >= moment, 10);
        child_kill(victim);
        check_sender(ledger, who);
        uint64_t others = board_get(0);
        WAIT_UNTIL(board_get(0) > others + SLOTS, 2); /* and the steady one goes on */
    }
    child_kill(steady);
    check_sender(ledger, 0);
    CHECK_EQ(ledger_missed_count(ledger), 0);
    watcher_stop(watcher);
    leat_close(handle);
}

TEST(three_producers_dead_in_a_row_leave_three_gaps)
{
    struct bus *bus = bus_start("--stall-limit", "60000");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(2, 1000);
    struct watcher *watcher = watcher_start(handle, "t", ledger, false);
    leat_producer *other = open_producer(handle, "t", NULL);
    struct child *victims[3];
    /* Stopped with their claims first, so that the holes lie side by side. */
    for (int i = 0; i < 3; i++) {
        victims[i] = bus_spawn(bus, victim, .kill = bus_stop_at("ring.claim.after", 1),
                               .args = { text("%d", i == 1 ? BATCH : SINGLE) });
        child_wait_stopped(victims[i]);
    }
    leat_receipt receipt;
    CHECK_OK(traffic_send(other, 0, 0, 0, 40, &receipt));
    CHECK_EQ(receipt.offset, 1 + PER_BATCH + 1);
    CHECK_EQ(ledger_count(ledger, 0), 0);
    for (int i = 2; i >= 0; i--)
        child_kill(victims[i]);
    WAIT_UNTIL(ledger_count(ledger, 0) == 1, 1);
    CHECK_EQ(ledger_count(ledger, 1), 0);
    watcher_stop(watcher);
    leat_close(handle);
}

/* ---- the table is whole ---- */

static bool is_in_table(const char *name)
{
    for (int i = 0; i < POINTS; i++)
        if (strcmp(points[i].name, name) == 0)
            return true;
    /* Tested on their own, above. */
    return strcmp(name, "ring.ack") == 0 || strcmp(name, "ring.exclusive.gap") == 0 ||
           strcmp(name, "produce.move") == 0 || strcmp(name, "produce.wait") == 0 ||
           strcmp(name, "produce.ack") == 0; /* level_kill_test.c */
}

static void check_points_of(const char *file)
{
    const char *path = text("%s/%s", test_program("LEAT_TEST_ROOT"), file);
    FILE *source = fopen(path, "r");
    char line[512], name[64];
    if (!source)
        FAIL("cannot read %s", path);
    while (fgets(line, sizeof line, source)) {
        const char *at = strstr(line, "lt_point(");
        at = at ? strchr(at, '"') : NULL;
        if (at && sscanf(at, "\"%63[^\"]\"", name) == 1 && !is_in_table(name))
            FAIL("%s has the point %s, and no producer was killed there", file, name);
    }
    fclose(source);
}

TEST(every_point_of_a_send_is_in_the_table)
{
    check_points_of("src/shm/ring.c");
    check_points_of("src/client/producer.h");
    check_points_of("src/client/producer.c");
    check_points_of("src/client/ack.c");
    check_points_of("src/client/send.c");
    check_points_of("src/client/claim.c");
}
