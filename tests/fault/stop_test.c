/* SIGSTOP: processes that stand still for as long as they like, and then go on where they were.
 *
 * Goal: a producer that is stopped in the middle of a send, or a reader that is stopped while it holds views, stops nobody
 * else, for any number of ring lengths; and when it goes on, it harms nobody: a claim that was taken back is refused
 * and its send ends well on a new one, views that were held are unchanged byte by byte.
 * Method: producers stop themselves at a kill point (LEAT_KILL=...:stop), readers are stopped by the test while they hold
 * what poll gave them. Others send several rings' worth meanwhile, so that leatd has to rotate.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 512, RINGS_WORTH = 5 * SLOTS };

/* Sends one record as producer ARG 0, then another one on request. */
ROLE(stopped_producer)
{
    leat_bus *bus = role_open();
    uint32_t who = (uint32_t)role_number(0);
    size_t size = (size_t)role_number(1);
    leat_producer *producer = open_producer(bus, "t", NULL);
    leat_receipt receipt;
    say("ready");
    for (uint64_t number = 0;; number++) {
        hear("send");
        CHECK_OK(traffic_send(producer, 0, who, number, size, &receipt));
        say("offset %" PRIu64, receipt.offset);
    }
}

ROLE(stopped_in_place)
{
    leat_bus *bus = role_open();
    leat_producer *producer = open_producer(bus, "t", NULL);
    leat_claim claim;
    say("ready");
    hear("send");
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 300, &claim));
    memset(claim.value, 'x', 150);
    raise(SIGSTOP);
    memset((char *)claim.value + 150, 'y', 150); /* memory that must not be anybody else's yet */
    CHECK_EQ(leat_claim_commit(&claim, NULL), LEAT_EABORTED);
    CHECK_OK(traffic_send(producer, 0, 1, 0, 300, NULL));
    say("sent");
    hear("end");
    CHECK_OK(leat_producer_close(producer));
    leat_close(bus);
}

/* Sends [from, from + count) as producer 0. */
static void send_steadily(leat_producer *producer, uint64_t from, uint64_t count)
{
    for (uint64_t i = from; i < from + count; i++)
        CHECK_OK(traffic_send(producer, 0, 0, i, traffic_size(i), NULL));
}

static uint32_t rings_of(leat_bus *bus)
{
    leat_topic_info *info = bus_describe(bus, "t");
    uint32_t rings = info->partitions[0].rings;
    leat_topic_info_free(info);
    return rings;
}

struct scene {
    struct bus *bus;
    leat_bus *handle;
    struct ledger *ledger;
    struct watcher *watcher;
    leat_producer *other;
};

static struct scene scene_with(enum leat_on_full on_full, bool gate)
{
    struct scene scene = { .bus = bus_start("--log-level", "debug") };
    bus_topic(scene.bus, "t", .on_full = on_full);
    scene.handle = bus_open(scene.bus);
    scene.ledger = ledger_new(10, 100000);
    scene.watcher = watcher_start(scene.handle, "t", scene.ledger, gate);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.full_timeout_ms = 5000;
    scene.other = open_producer(scene.handle, "t", &options);
    return scene;
}

static void expect_others_seen(struct scene *scene, uint64_t count)
{
    WAIT_UNTIL(ledger_count(scene->ledger, 0) == count, 5);
    ledger_all(scene->ledger, 0, count);
}

/* One producer stopped at `point`, others go on, it goes on. */
static void stop_producer_at(const char *point, size_t size, bool committed)
{
    printf("at %s, a record of %zu bytes\n", point, size);
    fflush(stdout);
    struct scene scene = scene_with(LEAT_BLOCK, true);
    struct child *stopped = bus_spawn(scene.bus, stopped_producer, .kill = bus_stop_at(point, 2),
                                      .args = { "1", text("%zu", size) });
    child_expect(stopped, "ready");
    child_tell(stopped, "send");
    int64_t first = child_number(stopped, "offset");
    CHECK_EQ(first, 0);
    child_tell(stopped, "send");
    child_wait_stopped(stopped);

    send_steadily(scene.other, 0, RINGS_WORTH);
    expect_others_seen(&scene, RINGS_WORTH);
    CHECK_EQ(ledger_missed_count(scene.ledger), 0);
    /* What was committed was published in its place; what was not, nobody sees. */
    CHECK_EQ(ledger_count(scene.ledger, 1), committed ? 2 : 1);
    CHECK(bus_counter(scene.bus, "rotations", "t", -1, -1) >= 1);

    child_continue(stopped);
    int64_t second = child_number(stopped, "offset");
    if (committed)
        CHECK_EQ(second, 1);
    else
        CHECK(second > RINGS_WORTH); /* a claim of its own, behind all that came meanwhile */
    WAIT_UNTIL(ledger_count(scene.ledger, 1) == 2, 1);

    send_steadily(scene.other, RINGS_WORTH, RINGS_WORTH);
    child_tell(stopped, "send");
    child_number(stopped, "offset");
    expect_others_seen(&scene, 2 * RINGS_WORTH);
    WAIT_UNTIL(ledger_count(scene.ledger, 1) == 3, 1);
    ledger_all(scene.ledger, 1, 3);
    WAIT_UNTIL(rings_of(scene.handle) == 1, 5); /* nothing holds the old ring any more */
    watcher_stop(scene.watcher);
    leat_close(scene.handle);
    bus_stop(scene.bus);
}

TEST(send_of_a_stopped_producer_ends_well_on_a_new_claim)
{
    stop_producer_at("ring.claim.after", 40, false);
    stop_producer_at("ring.claim.after", 1000, false);
    stop_producer_at("ring.commit", 40, false);
    stop_producer_at("ring.commit", 1000, false);
}

TEST(record_of_a_producer_stopped_behind_its_commit_is_published_for_it)
{
    stop_producer_at("ring.commit.after", 40, true);
    stop_producer_at("ring.publish", 1000, true);
    stop_producer_at("ring.done", 40, true);
}

TEST(producer_stopped_before_its_claim_claims_where_the_others_are)
{
    struct scene scene = scene_with(LEAT_BLOCK, true);
    struct child *stopped = bus_spawn(scene.bus, stopped_producer, .kill = bus_stop_at("ring.claim", 1),
                                      .args = { "1", "40" });
    child_expect(stopped, "ready");
    child_tell(stopped, "send");
    child_wait_stopped(stopped);
    send_steadily(scene.other, 0, RINGS_WORTH);
    expect_others_seen(&scene, RINGS_WORTH);
    child_continue(stopped);
    CHECK_EQ(child_number(stopped, "offset"), RINGS_WORTH);
    WAIT_UNTIL(ledger_count(scene.ledger, 1) == 1, 1);
    watcher_stop(scene.watcher);
}

TEST(stopped_in_place_claim_is_refused_and_its_bytes_are_nobody_elses_until_then)
{
    struct scene scene = scene_with(LEAT_BLOCK, true);
    struct child *stopped = bus_spawn(scene.bus, stopped_in_place);
    child_expect(stopped, "ready");
    child_tell(stopped, "send");
    child_wait_stopped(stopped);
    send_steadily(scene.other, 0, RINGS_WORTH);
    expect_others_seen(&scene, RINGS_WORTH); /* and whole: each byte is checked */
    child_continue(stopped);
    child_expect(stopped, "sent");
    WAIT_UNTIL(ledger_count(scene.ledger, 1) == 1, 1);
    send_steadily(scene.other, RINGS_WORTH, RINGS_WORTH);
    expect_others_seen(&scene, 2 * RINGS_WORTH);
    child_tell(stopped, "end");
    child_end(stopped);
    watcher_stop(scene.watcher);
}

TEST(producer_killed_while_it_is_stopped_frees_what_it_held)
{
    struct scene scene = scene_with(LEAT_BLOCK, true);
    struct child *stopped = bus_spawn(scene.bus, stopped_producer, .kill = bus_stop_at("ring.claim.after", 1),
                                      .args = { "1", "1000" });
    child_expect(stopped, "ready");
    child_tell(stopped, "send");
    child_wait_stopped(stopped);
    send_steadily(scene.other, 0, RINGS_WORTH);
    CHECK_EQ(rings_of(scene.handle), 2);
    child_kill(stopped);
    send_steadily(scene.other, RINGS_WORTH, RINGS_WORTH);
    expect_others_seen(&scene, 2 * RINGS_WORTH);
    WAIT_UNTIL(rings_of(scene.handle) == 1, 5);
    CHECK_EQ(ledger_count(scene.ledger, 1), 0);
    watcher_stop(scene.watcher);
}

TEST(stopped_producer_is_shown_as_stopped)
{
    struct scene scene = scene_with(LEAT_BLOCK, true);
    struct child *stopped = bus_spawn(scene.bus, stopped_producer, .kill = bus_stop_at("ring.claim.after", 1),
                                      .args = { "1", "40" });
    child_expect(stopped, "ready");
    child_tell(stopped, "send");
    child_wait_stopped(stopped);
    send_steadily(scene.other, 0, 1);
    expect_others_seen(&scene, 1); /* so its claim was taken back */
    leat_status_info *info;
    CHECK_OK(leat_status(scene.handle, &info));
    const leat_client_info *found = NULL;
    for (uint32_t i = 0; i < info->clients; i++)
        if (info->client[i].pid == stopped->pid)
            found = &info->client[i];
    CHECK(found);
    CHECK_STR(found->state, "stopped");
    CHECK_EQ(found->quarantined, 1);
    leat_status_free(info);
    CHECK_EQ(bus_counter(scene.bus, "aborted", "t", 0, -1), 1);
    watcher_stop(scene.watcher);
}

/* Holds the topic exclusively; sends as producer 1 until the board says stop. */
ROLE(stopped_holder)
{
    leat_bus *bus = role_open();
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.exclusive = 1;
    leat_producer *producer = open_producer(bus, "t", &options);
    uint64_t number = 0;
    CHECK_OK(traffic_send(producer, 0, 1, number++, 40, NULL));
    say("ready");
    hear("go on");
    while (board_get(0) == 0)
        CHECK_OK(traffic_send(producer, 0, 1, number++, 40, NULL));
    say("sent %" PRIu64, number);
    hear("end");
    CHECK_OK(leat_producer_close(producer));
    leat_close(bus);
}

/* It stands still while leatd leaves the ring under it; then it goes on in the next one and loses nothing. */
static void stop_holder_at(const char *point, int pass)
{
    printf("at %s:%d\n", point, pass);
    fflush(stdout);
    struct bus *bus = bus_start("--log-level", "warn");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(2, 64 << 20);
    ledger_in_order(ledger);
    struct watcher *watcher = watcher_start(handle, "t", ledger, true);
    /* Views that are held make leatd leave the ring. */
    leat_consumer *slow = open_reader(handle, "t", NULL);
    const leat_record *records;
    board_set(0, 0);
    struct child *holder = bus_spawn(bus, stopped_holder, .kill = bus_stop_at(point, pass));
    child_expect(holder, "ready");
    CHECK_EQ(CHECK_OK(leat_consumer_poll(slow, 5000, &records)), 1);
    child_tell(holder, "go on");
    child_wait_stopped(holder);
    WAIT_UNTIL(rings_of(handle) >= 2, 5);
    child_continue(holder);
    uint64_t seen = ledger_count(ledger, 1);
    WAIT_UNTIL(ledger_count(ledger, 1) > seen + 3 * SLOTS, 5);
    traffic_check(&records[0]);
    board_set(0, 1);
    uint64_t sent = (uint64_t)child_number(holder, "sent");
    WAIT_UNTIL(ledger_count(ledger, 1) == sent, 2);
    ledger_all(ledger, 1, sent);
    CHECK_EQ(ledger_missed_count(ledger), 0);
    child_tell(holder, "end");
    child_end(holder);
    watcher_stop(watcher);
    leat_close(handle);
    ledger_free(ledger);
    bus_stop(bus);
}

TEST(exclusive_holder_that_stands_still_while_its_ring_is_left_goes_on_in_the_next)
{
    static const char *const points[] = { "ring.exclusive", "ring.exclusive.half", "ring.exclusive.after",
                                          "ring.commit",    "ring.commit.after",   "produce.bell" };
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        stop_holder_at(points[i], 420);
}

/* ---- several stopped producers ---- */

enum { STOPPED = 5, RETIRED_MAX = 4 };

/* Stops five producers, each in the ring that the others went to meanwhile; returns how many records were sent until the
 * topic's on-full rule came, which is to be `rule`. */
static uint64_t stop_five(struct scene *scene, struct child **stopped, int rule)
{
    uint64_t number = 0;
    for (int i = 0; i < STOPPED; i++) {
        stopped[i] = bus_spawn(scene->bus, stopped_producer, .kill = bus_stop_at("ring.claim.after", 1),
                               .args = { text("%d", i + 1), "40" });
        child_expect(stopped[i], "ready");
        child_tell(stopped[i], "send");
        child_wait_stopped(stopped[i]);
        uint32_t before = rings_of(scene->handle);
        CHECK_EQ(before, i + 1);
        if (i + 1 == STOPPED)
            break;
        /* Until there is no room but by leaving this ring. */
        send_steadily(scene->other, number, 2 * SLOTS);
        number += 2 * SLOTS;
        expect_others_seen(scene, number);
    }
    CHECK_EQ(rings_of(scene->handle), 1 + RETIRED_MAX);
    int r;
    double start = now_s();
    while ((r = traffic_send(scene->other, 0, 0, number, 40, NULL)) == 0) {
        number++;
        start = now_s();
        if (number > 20 * SLOTS)
            FAIL("five producers are stopped, and there is always room");
    }
    printf("after %" PRIu64 " records: %s, %.3f s after the last good one\n", number, leat_strerror(r),
           now_s() - start);
    CHECK_EQ(r, rule);
    CHECK_EQ(rings_of(scene->handle), 1 + RETIRED_MAX);
    return number;
}

static void five_go_on(struct scene *scene, struct child **stopped, uint64_t number)
{
    for (int i = 0; i < STOPPED; i++)
        child_continue(stopped[i]);
    for (int i = 0; i < STOPPED; i++)
        child_number(stopped[i], "offset");
    expect_others_seen(scene, number);
    for (uint32_t who = 1; who <= STOPPED; who++)
        WAIT_UNTIL(ledger_count(scene->ledger, who) == 1, 2);
    for (uint64_t i = 0; i < 3 * SLOTS; i++, number++) {
        int r;
        /* With on_full error, room comes when leatd has looked. */
        WAIT_UNTIL((r = traffic_send(scene->other, 0, 0, number, 40, NULL)) != LEAT_EFULL, 5);
        CHECK_OK(r);
    }
    expect_others_seen(scene, number);
    WAIT_UNTIL(rings_of(scene->handle) == 1, 5);
}

TEST(five_stopped_producers_take_four_retired_rings_and_then_a_blocked_send_times_out)
{
    struct scene scene = scene_with(LEAT_BLOCK, true);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.full_timeout_ms = 1000;
    scene.other = open_producer(scene.handle, "t", &options);
    struct child *stopped[STOPPED];
    uint64_t number = stop_five(&scene, stopped, LEAT_EFULL);
    double start = now_s();
    CHECK_EQ(traffic_send(scene.other, 0, 0, number, 40, NULL), LEAT_EFULL);
    double took = now_s() - start;
    if (took < 0.9 || took > 1.5 * test_slowdown())
        FAIL("a send with full_timeout_ms 1000 gave up after %.3f s", took);
    five_go_on(&scene, stopped, number);
    watcher_stop(scene.watcher);
}

TEST(five_stopped_producers_take_four_retired_rings_and_then_a_topic_with_error_says_so)
{
    struct scene scene = scene_with(LEAT_ERROR, true);
    /* `error` says FULL at once, also while leatd makes the next ring: send until it has. */
    struct child *stopped[STOPPED];
    uint64_t number = 0;
    for (int i = 0; i < STOPPED; i++) {
        stopped[i] = bus_spawn(scene.bus, stopped_producer, .kill = bus_stop_at("ring.claim.after", 1),
                               .args = { text("%d", i + 1), "40" });
        child_expect(stopped[i], "ready");
        child_tell(stopped[i], "send");
        child_wait_stopped(stopped[i]);
        for (int k = 0; i + 1 < STOPPED && k < 2 * SLOTS; k++, number++) {
            int r;
            WAIT_UNTIL((r = traffic_send(scene.other, 0, 0, number, 40, NULL)) != LEAT_EFULL, 5);
            CHECK_OK(r);
        }
    }
    CHECK_EQ(rings_of(scene.handle), 1 + RETIRED_MAX);
    double start = 0;
    for (int r = 0; r != LEAT_EFULL; number += r == 0) {
        start = now_s();
        r = traffic_send(scene.other, 0, 0, number, 40, NULL);
        CHECK(r == 0 || r == LEAT_EFULL);
        CHECK(number < 20 * SLOTS);
    }
    CHECK(now_s() - start < 0.5 * test_slowdown());
    five_go_on(&scene, stopped, number);
    watcher_stop(scene.watcher);
}

/* ---- a reader that is stopped ---- */

struct held {
    struct stamp stamp;
    uint64_t offset;
    size_t size;
    const void *view;
    unsigned char copy[TRAFFIC_MAX];
};

static struct ledger *reader_ledger;

static void note_missed(leat_consumer *consumer, const leat_partition *partition, uint64_t from_offset,
                        uint64_t count, void *user)
{
    (void)consumer, (void)user;
    ledger_missed(reader_ledger, partition->partition, from_offset, count);
}

/* Holds what one poll gave it until told to go on; then compares, and reads up to offset ARG 1. */
ROLE(stopped_reader)
{
    leat_bus *bus = role_open();
    bool gate = role_number(0) != 0;
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.gate = gate;
    options.on_missed = note_missed;
    options.max_poll_records = 64;
    reader_ledger = ledger_new(10, 100000);
    leat_consumer *consumer = open_reader(bus, "t", &options);
    say("ready");
    hear("poll");
    const leat_record *records;
    int n = CHECK_OK(leat_consumer_poll(consumer, 5000, &records));
    struct held *held = calloc((size_t)n, sizeof *held);
    CHECK(n > 0 && held);
    for (int i = 0; i < n; i++) {
        held[i].stamp = ledger_note(reader_ledger, &records[i]);
        held[i].offset = records[i].offset;
        held[i].size = records[i].value_size;
        held[i].view = records[i].value;
        memcpy(held[i].copy, records[i].value, records[i].value_size);
    }
    say("holds %d", n);
    hear("compare");
    for (int i = 0; i < n; i++) {
        CHECK_EQ(records[i].offset, held[i].offset);
        CHECK_EQ(records[i].value_size, held[i].size);
        CHECK(records[i].value == held[i].view);
        CHECK_MEM(held[i].view, held[i].copy, held[i].size);
    }
    say("unchanged");
    for (;;) {
        const char *told = hear_any();
        int64_t until = strtoll(told, NULL, 10);
        if (strcmp(told, "end") == 0)
            break;
        while (CHECK_OK(leat_consumer_position(consumer, "t", 0)) < until) {
            n = CHECK_OK(leat_consumer_poll(consumer, 5000, &records));
            if (n == 0)
                FAIL("nothing comes at %" PRId64 ", wanted up to %" PRId64,
                     leat_consumer_position(consumer, "t", 0), until);
            for (int i = 0; i < n; i++)
                ledger_note(reader_ledger, &records[i]);
        }
        CHECK_EQ(ledger_missed_count(reader_ledger), leat_consumer_missed(consumer, "t", 0));
        CHECK_EQ(ledger_missed_count(reader_ledger) + ledger_count(reader_ledger, 0), until);
        say("missed %" PRIu64, ledger_missed_count(reader_ledger));
    }
    free(held);
    CHECK_OK(leat_consumer_close(consumer));
    leat_close(bus);
}

TEST(views_of_a_stopped_reader_stay_while_producers_leave_the_ring_behind)
{
    struct scene scene = scene_with(LEAT_BLOCK, false);
    struct child *reader = bus_spawn(scene.bus, stopped_reader, .args = { "0" });
    child_expect(reader, "ready");
    send_steadily(scene.other, 0, 100);
    child_tell(reader, "poll");
    int64_t holds = child_number(reader, "holds");
    child_stop(reader);

    send_steadily(scene.other, 100, RINGS_WORTH);
    CHECK(bus_counter(scene.bus, "rotations", "t", -1, -1) >= 1);
    child_continue(reader);
    child_tell(reader, "compare");
    child_expect(reader, "unchanged");

    /* From here it may have missed what was overwritten, but nothing that still is in a ring. */
    child_tell(reader, "%d", 100 + RINGS_WORTH);
    int64_t missed = child_number(reader, "missed");
    printf("held %" PRId64 ", missed %" PRId64 " of %d\n", holds, missed, 100 + RINGS_WORTH);
    CHECK(missed <= RINGS_WORTH);
    /* It follows again, and the old ring goes with the next need for room. */
    uint64_t number = 100 + RINGS_WORTH;
    for (int i = 0; i < 8; i++, number += SLOTS / 4) {
        send_steadily(scene.other, number, SLOTS / 4);
        child_tell(reader, "%" PRIu64, number + SLOTS / 4);
        CHECK_EQ(child_number(reader, "missed"), missed);
    }
    CHECK_EQ(rings_of(scene.handle), 1);
    child_tell(reader, "end");
    child_end(reader);
    watcher_stop(scene.watcher);
}

/* A pin holds the ring it was taken in. A poll that came to the end of one ring and went on in the next once gave out views of
 * both, and those of the next ring were overwritten. */
TEST(views_of_a_poll_at_the_end_of_a_ring_stay_while_the_next_ring_is_lapped)
{
    struct scene scene = scene_with(LEAT_BLOCK, false);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.max_poll_records = SLOTS;
    leat_consumer *consumer = open_reader(scene.handle, "t", &options);
    struct child *reader = bus_spawn(scene.bus, stopped_reader, .args = { "0" });
    child_expect(reader, "ready");
    uint64_t number = 100;
    send_steadily(scene.other, 0, number);
    child_tell(reader, "poll");
    child_number(reader, "holds");
    child_stop(reader);

    const leat_record *records;
    for (;;) {
        while (CHECK_OK(leat_consumer_position(consumer, "t", 0)) < (int64_t)number)
            CHECK_OK(leat_consumer_poll(consumer, 5000, &records));
        /* Some of these lie at the end of the old ring, some at the beginning of the new one. */
        send_steadily(scene.other, number, SLOTS / 16);
        number += SLOTS / 16;
        if (bus_counter(scene.bus, "rotations", "t", -1, -1) != 0)
            break;
    }
    send_steadily(scene.other, number, SLOTS / 16);
    number += SLOTS / 16;
    int n = CHECK_OK(leat_consumer_poll(consumer, 5000, &records));
    CHECK(n > 0);
    unsigned char(*copies)[TRAFFIC_MAX] = calloc((size_t)n, sizeof *copies);
    for (int i = 0; i < n; i++)
        memcpy(copies[i], records[i].value, records[i].value_size);
    printf("%d records up to %" PRId64 " of %" PRIu64 "\n", n, leat_consumer_position(consumer, "t", 0),
           number);

    send_steadily(scene.other, number, RINGS_WORTH);
    for (int i = 0; i < n; i++)
        CHECK_MEM(records[i].value, copies[i], records[i].value_size);
    free(copies);
    CHECK_OK(leat_consumer_close(consumer));
    child_continue(reader);
    child_tell(reader, "compare");
    child_expect(reader, "unchanged");
    child_tell(reader, "end");
    child_end(reader);
    watcher_stop(scene.watcher);
}

TEST(stopped_gate_reader_misses_nothing_and_producers_wait_for_it)
{
    struct scene scene = scene_with(LEAT_BLOCK, false);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.full_timeout_ms = 500;
    scene.other = open_producer(scene.handle, "t", &options);
    struct child *reader = bus_spawn(scene.bus, stopped_reader, .args = { "1" });
    child_expect(reader, "ready");
    send_steadily(scene.other, 0, 100);
    child_tell(reader, "poll");
    child_number(reader, "holds");
    child_stop(reader);
    uint64_t number = 100;
    int r;
    while ((r = traffic_send(scene.other, 0, 0, number, 40, NULL)) == 0)
        CHECK(++number < 10 * SLOTS);
    CHECK_EQ(r, LEAT_EFULL);
    CHECK(number >= SLOTS / 2);
    child_continue(reader);
    child_tell(reader, "compare");
    child_expect(reader, "unchanged");
    child_tell(reader, "%" PRIu64, number);
    CHECK_EQ(child_number(reader, "missed"), 0);
    CHECK_OK(traffic_send(scene.other, 0, 0, number, 40, NULL));
    child_tell(reader, "%" PRIu64, number + 1);
    CHECK_EQ(child_number(reader, "missed"), 0);
    child_tell(reader, "end");
    child_end(reader);
    watcher_stop(scene.watcher);
}

/* ---- everybody stops ---- */

TEST(stop_of_all_clients_for_longer_than_the_stall_limit_harms_nobody)
{
    struct scene scene = scene_with(LEAT_BLOCK, true);
    struct child *producers[3];
    for (int i = 0; i < 3; i++) {
        producers[i] = bus_spawn(scene.bus, stopped_producer, .kill = bus_stop_at("ring.claim.after", i + 1),
                                 .args = { text("%d", i + 1), "200" });
        child_expect(producers[i], "ready");
    }
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < i; k++) {
            child_tell(producers[i], "send");
            child_number(producers[i], "offset");
        }
        child_tell(producers[i], "send");
        child_wait_stopped(producers[i]);
    }
    send_steadily(scene.other, 0, 10); /* waits behind all three, one stall limit each at most */
    expect_others_seen(&scene, 10);
    for (int i = 2; i >= 0; i--) {
        child_continue(producers[i]);
        child_number(producers[i], "offset");
    }
    for (uint32_t who = 1; who <= 3; who++) {
        WAIT_UNTIL(ledger_count(scene.ledger, who) == who, 1);
        ledger_all(scene.ledger, who, who);
    }
    watcher_stop(scene.watcher);
}
