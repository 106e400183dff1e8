/* A storm over the log: worker, keeper, both at once, and clients are killed with -9 while they work, again and again.
 *
 * Goal: what was acknowledged at the topic's level is in the log afterwards, as the level promises; nothing is there twice, nothing in
 * another order, no offset was given out twice.
 * Method: senders that each write numbers 0, 1, 2 ... to one partition and put on the board how many are acknowledged (the board
 * survives them). A new leatd on the same directory goes on from what a death of both left. In the end the whole log is read from its
 * first record on, and held against the board.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PARTITIONS = 2,
    CREW = 3,
    SENDERS_MAX = 4000,
    NUMBERS_MAX = 1 << 16,
    STOP = SENDERS_MAX,
    TOGETHER = 16
};

static const char *const options[] = { "--stall-limit", "20", "--max-start-pause", "1", "--log-level",
                                       "error",         NULL };

/* ARG 0: who. Sends some and waits for the last of them; a bus that has ended is its end, too. */
ROLE(sender)
{
    leat_bus *bus = NULL;
    leat_producer *producer = NULL;
    uint32_t who = (uint32_t)role_number(0);
    uint64_t number = 0;
    int r = leat_open(&bus, NULL);
    if (r == 0)
        r = leat_producer_open(&producer, bus, "t", NULL);
    for (uint32_t i = 0; i < who; i++)
        test_random();
    while (r == 0 && number + TOGETHER < NUMBERS_MAX && board_get(STOP) == 0) {
        leat_receipt receipt;
        for (uint64_t more = 1 + test_random() % TOGETHER; r == 0 && more > 0; more--) {
            r = traffic_send(producer, who % PARTITIONS, who, number, traffic_size(number), &receipt);
            number += r == 0;
        }
        if (r == 0)
            r = leat_producer_wait(producer, &receipt, 30000);
        if (r == 0)
            board_set(who, number);
    }
    if (r < 0 && r != LEAT_EGONE)
        CHECK_OK(r);
    leat_producer_close(producer);
    leat_close(bus);
}

struct storm {
    struct bus *bus;
    const char *path;
    bool tail_may_go; /* level ring: what a death of both takes with it */
    struct child *crew[CREW];
    uint32_t who[CREW];
    uint32_t senders;
    bool lost_tail[SENDERS_MAX]; /* of this sender's, a death of both may have taken the last */
    int workers, keepers, boths, clients;
};

static void hire(struct storm *storm, int i)
{
    storm->who[i] = storm->senders++;
    CHECK(storm->senders < SENDERS_MAX);
    storm->crew[i] = bus_spawn(storm->bus, sender, .args = { text("%u", storm->who[i]) });
}

static void kill_client(struct storm *storm)
{
    int i = (int)(test_random() % CREW);
    child_kill(storm->crew[i]);
    hire(storm, i);
    storm->clients++;
}

static void kill_both(struct storm *storm)
{
    bus_kill_both(storm->bus);
    for (int i = 0; i < CREW; i++) {
        child_end_in(storm->crew[i], 30);
        storm->lost_tail[storm->who[i]] = storm->tail_may_go;
    }
    storm->bus = bus_start_in(storm->path, options);
    for (int i = 0; i < CREW; i++)
        hire(storm, i);
    storm->boths++;
}

static void round_of(struct storm *storm)
{
    uint64_t dice = test_random() % 8;
    /* Something has to happen between two deaths: some more records are acknowledged. */
    uint64_t seen = board_get(storm->who[0]);
    WAIT_UNTIL(board_get(storm->who[0]) > seen || !child_lives(storm->crew[0]), 20);
    if (dice < 3) {
        uint64_t killed = bus_kill_worker(storm->bus);
        if (dice == 0)
            bus_wait_worker(storm->bus, killed);
        storm->workers++;
    } else if (dice == 3) {
        pid_t keeper = bus_kill_keeper(storm->bus);
        bus_wait_keeper(storm->bus, keeper);
        storm->keepers++;
    } else if (dice < 6) {
        kill_both(storm);
    } else {
        kill_client(storm);
    }
}

/* The whole log, by somebody who was not there. */
static void read_back(struct storm *storm)
{
    leat_bus *handle = bus_open(storm->bus);
    struct ledger *ledger = ledger_new(SENDERS_MAX, NUMBERS_MAX);
    ledger_in_order(ledger);
    leat_consumer *reader = open_reader(handle, "t", NULL);
    leat_topic_info *info = bus_describe(handle, "t");
    const leat_record *records;
    uint64_t total = 0, acked = 0;
    for (double until = now_s() + 60 * test_slowdown();;) {
        int n = CHECK_OK(leat_consumer_poll(reader, 100, &records));
        for (int i = 0; i < n; i++)
            ledger_note(ledger, &records[i]);
        total += (uint64_t)n;
        int64_t lag = 0;
        for (uint32_t p = 0; p < PARTITIONS; p++)
            lag += CHECK_OK(leat_consumer_lag(reader, "t", p));
        if (n == 0 && lag == 0)
            break;
        if (now_s() > until)
            FAIL("%" PRIu64 " records read, and still %" PRId64 " to go", total, lag);
    }
    for (uint32_t who = 0; who < storm->senders; who++) {
        uint64_t count = ledger_count(ledger, who);
        /* What is there of a sender is a beginning of what it sent, without a hole. */
        ledger_all(ledger, who, count);
        if (!storm->lost_tail[who])
            CHECK(count >= board_get(who));
        acked += board_get(who);
    }
    CHECK_EQ(ledger_missed_count(ledger), 0);
    printf("%" PRIu64 " records acknowledged, %" PRIu64 " in the log, ending at %" PRIu64 " and %" PRIu64
           "; %u senders; killed: %d workers, %d keepers, %d times both, %d clients\n",
           acked, total, info->partitions[0].log_end_offset, info->partitions[1].log_end_offset,
           storm->senders, storm->workers, storm->keepers, storm->boths, storm->clients);
    leat_topic_info_free(info);
    ledger_free(ledger);
    leat_consumer_close(reader);
    leat_close(handle);
}

static void weather(enum leat_level level, int rounds)
{
    static struct storm storm;
    storm = (struct storm){ .tail_may_go = level == LEAT_RING };
    for (uint32_t word = 0; word <= SENDERS_MAX; word++)
        board_set(word, 0);
    storm.bus = bus_start("--stall-limit", "20", "--max-start-pause", "1", "--log-level", "error");
    storm.path = text("%s", storm.bus->path);
    bus_topic(storm.bus, "t", .partitions = PARTITIONS, .level = level, .segment_bytes = 256 << 10,
              .retention_bytes = -1, .retention_ms = -1);
    for (int i = 0; i < CREW; i++)
        hire(&storm, i);
    for (int i = 0; i < rounds; i++)
        round_of(&storm);
    board_set(STOP, 1);
    for (int i = 0; i < CREW; i++)
        child_end_in(storm.crew[i], 40);
    read_back(&storm);
    bus_stop(storm.bus);
}

TEST_SLOW(durable_log_loses_nothing_acknowledged_whoever_is_killed, 120)
{
    weather(LEAT_DURABLE, 50);
}

TEST_SLOW(written_log_loses_nothing_acknowledged_whoever_is_killed, 120)
{
    weather(LEAT_WRITTEN, 30);
}

TEST_SLOW(ring_level_log_has_no_holes_and_no_doubles_whoever_is_killed, 120)
{
    weather(LEAT_RING, 30);
}

TEST_LONG(long_storm_over_the_log_loses_nothing_acknowledged, 1800)
{
    for (int i = 0; i < 4; i++) {
        weather(LEAT_DURABLE, 100);
        weather(LEAT_WRITTEN, 100);
        weather(LEAT_RING, 50);
    }
}
