/* A storm: everything dies and stops at random, for a while.
 *
 * Goal: whatever is killed or stopped, in whatever combination, each record whose send returned is read by each gate reader once,
 * whole and in order; one whose sender died is read at most once; and in the end the bus is as clean as in the beginning.
 * Method: producers that die or stop at random steps or random moments, readers that die, a worker and a keeper that die,
 * all from one seed; three gate readers in the test itself keep the ledgers. What was acknowledged is on the board,
 * which survives its writers.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PARTITIONS = 2,
    CREW = 4,
    READERS = 2,
    WATCHERS = 3,
    PRODUCERS_MAX = 4000,
    NUMBERS_MAX = 1 << 16,
    BATCH = 7
};

static const char *const steps[] = {
    "ring.claim",         "ring.claim.after", "ring.commit",        "ring.commit.after", "ring.publish",
    "ring.publish.inner", "ring.done",        "ring.done.after",    "ring.abort",        "ring.abort.after",
    "ring.ack",           "bell.ring",        "bell.wake",          "knock.summary",     "produce.write",
    "produce.batch",      "produce.bell",     "produce.bell.after", "produce.move",      "produce.write.half",
    "produce.wait",       "produce.claim",
};

static int send_batch(leat_producer *producer, uint32_t who, uint64_t number)
{
    static unsigned char values[BATCH][TRAFFIC_MAX];
    leat_record records[BATCH] = { 0 };
    for (uint64_t i = 0; i < BATCH; i++) {
        records[i].value = values[i];
        records[i].value_size = traffic_size(number + i);
        traffic_fill(values[i], records[i].value_size, who, number + i);
    }
    return leat_producer_send_many(producer, records, BATCH, NULL);
}

static int send_in_place(leat_producer *producer, uint32_t who, uint64_t number)
{
    leat_claim claim;
    int r;
    do {
        r = leat_producer_claim(producer, NULL, 0, traffic_size(number), &claim);
        if (r < 0)
            return r;
        traffic_fill(claim.value, claim.value_size, who, number);
        if (test_random() % 8 == 0) {
            leat_claim_abort(&claim);
            r = LEAT_EABORTED;
        } else {
            r = leat_claim_commit(&claim, NULL);
        }
    } while (r == LEAT_EABORTED);
    return r;
}

/* ARG 0: who, which is also the word of the board that counts what was acknowledged. */
ROLE(producer)
{
    leat_bus *bus = role_open();
    uint32_t who = (uint32_t)role_number(0);
    leat_producer *producer = open_producer(bus, "t", NULL);
    uint64_t number = 0;
    for (uint32_t i = 0; i < who; i++)
        test_random(); /* a way of its own */
    while (number + BATCH < NUMBERS_MAX && board_get(PRODUCERS_MAX) == 0) {
        uint64_t dice = test_random() % 16;
        if (dice == 0) {
            CHECK_EQ(CHECK_OK(send_batch(producer, who, number)), BATCH);
            number += BATCH;
        } else {
            CHECK_OK(dice < 4 ? send_in_place(producer, who, number)
                              : traffic_send(producer, (uint32_t)dice % PARTITIONS, who, number,
                                             traffic_size(number), NULL));
            number++;
        }
        board_set(who, number);
    }
    CHECK_OK(leat_producer_close(producer));
    leat_close(bus);
}

/* ARG 0: gate. */
ROLE(reader)
{
    leat_bus *bus = role_open();
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.gate = role_number(0) != 0;
    leat_consumer *consumer = open_reader(bus, "t", &options);
    const leat_record *records;
    for (;;) {
        int n = CHECK_OK(leat_consumer_poll(consumer, -1, &records));
        for (int i = 0; i < n; i++)
            traffic_check(&records[i]);
    }
}

struct member {
    struct child *child;
    uint32_t who;
    bool stopped;
};

struct storm {
    struct bus *bus;
    struct member crew[CREW], readers[READERS];
    uint32_t producers;
    uint64_t kills, stops, workers, keepers;
};

static void hire(struct storm *storm, struct member *member)
{
    member->who = storm->producers++;
    CHECK(storm->producers < PRODUCERS_MAX);
    const char *kill = NULL;
    if (test_random() % 3) {
        const char *step = steps[test_random() % (sizeof steps / sizeof *steps)];
        int pass = 1 + (int)(test_random() % (test_random() % 2 ? 20 : 2000));
        kill = test_random() % 3 ? bus_kill_at(step, pass) : bus_stop_at(step, pass);
    }
    member->stopped = false;
    member->child = bus_spawn(storm->bus, producer, .kill = kill, .args = { text("%u", member->who) });
}

static bool is_stopped(pid_t pid)
{
    char state = 0;
    FILE *file = fopen(text("/proc/%d/stat", (int)pid), "r");
    if (!file)
        return false;
    int read = fscanf(file, "%*d (%*[^)]) %c", &state);
    fclose(file);
    return read == 1 && state == 'T';
}

/* Ends as it was told to, or because it had nothing left to send. */
static void bury(struct member *member)
{
    if (member->child->status != 0)
        child_killed(member->child, SIGKILL);
    else
        child_end(member->child);
}

static void stir_crew(struct storm *storm)
{
    struct member *member = &storm->crew[test_random() % CREW];
    if (!child_lives(member->child)) {
        storm->kills++;
        bury(member);
        hire(storm, member);
        return;
    }
    bool stopped = is_stopped(member->child->pid);
    switch (test_random() % 4) {
    case 0: /* also a stopped one; it may have come to its own end meanwhile */
        kill(member->child->pid, SIGKILL);
        WAIT_UNTIL(!child_lives(member->child), 10);
        bury(member);
        storm->kills++;
        hire(storm, member);
        break;
    case 1:
        if (!stopped) {
            kill(member->child->pid, SIGSTOP);
            storm->stops++;
        }
        break;
    default:
        if (stopped)
            kill(member->child->pid, SIGCONT);
    }
}

static void stir_readers(struct storm *storm)
{
    struct member *member = &storm->readers[test_random() % READERS];
    bool gate = test_random() % 2;
    if (member->child && test_random() % 3 == 0 && !gate) {
        /* One that is no gate may also stand still for a while. */
        kill(member->child->pid, is_stopped(member->child->pid) ? SIGCONT : SIGSTOP);
        return;
    }
    if (member->child)
        child_kill(member->child);
    member->child = bus_spawn(storm->bus, reader, .args = { gate ? "1" : "0" });
    storm->kills++;
}

static void stir_leatd(struct storm *storm)
{
    if (test_random() % 4 == 0) {
        pid_t keeper = bus_kill_keeper(storm->bus);
        bus_wait_keeper(storm->bus, keeper);
        storm->keepers++;
    } else {
        uint64_t killed = bus_kill_worker(storm->bus);
        if (test_random() % 2)
            bus_wait_worker(storm->bus, killed);
        storm->workers++;
    }
}

/* Everybody goes on until the board says stop, and ends. */
static void calm_down(struct storm *storm)
{
    board_set(PRODUCERS_MAX, 1);
    for (int i = 0; i < READERS; i++)
        if (storm->readers[i].child)
            child_kill(storm->readers[i].child);
    for (int i = 0; i < CREW; i++) {
        struct child *child = storm->crew[i].child;
        double until = now_s() + 30 * test_slowdown();
        while (child_lives(child)) {
            if (is_stopped(child->pid))
                kill(child->pid, SIGCONT);
            if (now_s() > until)
                FAIL("producer %u (%d) does not end", storm->crew[i].who, (int)child->pid);
            bus_pause(); /* its next stop is as unannounced as its end */
        }
        bury(&storm->crew[i]);
    }
}

static void weather(double seconds)
{
    struct storm storm = { .bus = bus_start("--stall-limit", "20", "--max-start-pause", "1", "--log-level",
                                            "error") };
    bus_topic(storm.bus, "t", .partitions = PARTITIONS);
    leat_bus *handle = bus_open(storm.bus);
    for (uint32_t word = 0; word <= PRODUCERS_MAX; word++)
        board_set(word, 0);
    struct ledger *ledgers[WATCHERS];
    struct watcher *watchers[WATCHERS];
    for (int i = 0; i < WATCHERS; i++) {
        ledgers[i] = ledger_new(PRODUCERS_MAX, NUMBERS_MAX);
        ledger_in_order(ledgers[i]);
        watchers[i] = watcher_start(handle, "t", ledgers[i], true);
    }
    for (int i = 0; i < CREW; i++)
        hire(&storm, &storm.crew[i]);
    for (double until = now_s() + seconds; now_s() < until;) {
        uint64_t dice = test_random() % 32;
        if (dice == 0)
            stir_leatd(&storm);
        else if (dice < 4)
            stir_readers(&storm);
        else
            stir_crew(&storm);
        for (uint64_t i = test_random() % 8; i > 0; i--)
            bus_pause(); /* the storm's own pace */
    }
    calm_down(&storm);

    uint64_t total = 0, extra = 0;
    for (int w = 0; w < WATCHERS; w++)
        for (uint32_t who = 0; who < storm.producers; who++) {
            uint64_t acked = board_get(who);
            WAIT_UNTIL(ledger_count(ledgers[w], who) >= acked, 5);
            ledger_all(ledgers[w], who, acked);
            CHECK(ledger_count(ledgers[w], who) <= acked + BATCH);
            CHECK_EQ(ledger_count(ledgers[w], who), ledger_count(ledgers[0], who));
            total += w == 0 ? acked : 0;
            extra += w == 0 ? ledger_count(ledgers[w], who) - acked : 0;
        }
    for (int w = 0; w < WATCHERS; w++)
        CHECK_EQ(ledger_missed_count(ledgers[w]), 0);
    printf("%" PRIu64 " records acknowledged and read by all, %" PRIu64
           " read of senders that died; %u producers, "
           "%" PRIu64 " deaths, %" PRIu64 " stops, %" PRIu64 " workers and %" PRIu64 " keepers killed\n",
           total, extra, storm.producers, storm.kills, storm.stops, storm.workers, storm.keepers);

    /* Clean again: one client, and one ring a partition once there is need for room. */
    WAIT_UNTIL(bus_status(storm.bus).clients == 1, 5);
    uint32_t last = storm.producers;
    leat_producer *producer = open_producer(handle, "t", NULL);
    for (uint64_t i = 0; i < 4096; i++)
        CHECK_OK(traffic_send(producer, (uint32_t)i % PARTITIONS, last, i, 40, NULL));
    for (int w = 0; w < WATCHERS; w++) {
        WAIT_UNTIL(ledger_count(ledgers[w], last) == 4096, 5);
        watcher_stop(watchers[w]);
        ledger_free(ledgers[w]);
    }
    leat_topic_info *info = bus_describe(handle, "t");
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        CHECK_EQ(info->partitions[p].rings, 1);
        CHECK_EQ(info->partitions[p].readers, 0);
    }
    leat_topic_info_free(info);
    leat_close(handle);
    bus_stop(storm.bus);
}

TEST_SLOW(storm_of_deaths_and_stops_loses_nothing, 120)
{
    weather(15);
}

TEST_LONG(long_storm_of_deaths_and_stops_loses_nothing, 1200)
{
    for (int i = 0; i < 30; i++)
        weather(20);
}
