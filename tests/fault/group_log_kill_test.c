/* leatd's worker dies while somebody waits for a committed offset to be on the disk; and both die while groups come back.
 *
 * Goal: a commit that returned 0 is in the file, whoever died in between; nobody waits for ever; a group that came back half comes back whole.
 * Method: one death at each point of a round, and at each step of the restore; then both are killed, and the next leatd is asked.
 */
#include "bus.h"
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int64_t committed_of(leat_bus *handle, const char *group, uint32_t partition)
{
    leat_group_info *info;
    int64_t committed = -1;
    CHECK_OK(leat_group_describe(handle, group, &info));
    for (int i = 0; i < info->partition_count; i++)
        if (info->partitions[i].partition == partition)
            committed = info->partitions[i].current_offset;
    leat_group_info_free(info);
    return committed;
}

static void send(leat_bus *handle)
{
    leat_producer *producer = open_producer(handle, "t", NULL);
    for (int i = 0; i < 20; i++)
        CHECK_OK(leat_producer_send_to(producer, 1, &(leat_record){ .value = "x", .value_size = 1 }, NULL));
    leat_producer_close(producer);
}

/* A member that has got all that was sent. */
static leat_consumer *join(leat_bus *handle)
{
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    leat_consumer *consumer;
    const leat_record *records;
    int taken = 0;
    options.group = "g";
    options.reset = LEAT_EARLIEST;
    options.auto_commit_ms = 0;
    CHECK_OK(leat_consumer_open(&consumer, handle, &options));
    CHECK_OK(leat_consumer_subscribe(consumer, (const char *[]){ "t" }, 1));
    WAIT_UNTIL((taken += CHECK_OK(leat_consumer_poll(consumer, 10, &records))) == 20, 20);
    return consumer;
}

static int commit(leat_consumer *consumer, int64_t offset)
{
    leat_offset commit = { .topic = "t", .partition = 1, .offset = offset, .metadata = "note" };
    return leat_consumer_commit_offsets(consumer, &commit, 1, LEAT_SYNC);
}

static void die_in_a_round(const char *point)
{
    for (int pass = 1; pass < 8; pass++) {
        const char *kill = bus_kill_at(point, pass);
        struct bus *bus = bus_start_fault(kill, "--max-start-pause", "1");
        const char *path = text("%s", bus->path);
        bus_topic(bus, "t", .partitions = 2, .level = LEAT_DURABLE);
        leat_bus *handle = bus_open(bus);
        send(handle);
        leat_consumer *consumer = join(handle);
        int64_t last = 0;
        for (int64_t offset = 1; !bus_died_at(bus, kill) && offset < 10; offset++) {
            CHECK_OK(commit(consumer, offset));
            last = offset;
        }
        leat_offset other = { .topic = "t", .partition = 0, .offset = 77 };
        CHECK_OK(leat_group_reset(handle, "other", &other, 1));
        CHECK_OK(leat_group_delete(handle, "other"));
        CHECK_OK(leat_group_reset(handle, "third", &other, 1));
        CHECK(bus_died_at(bus, kill));
        printf("%s: commits up to %d\n", kill, (int)last);
        bus_kill_both(bus);
        leat_close(handle);
        bus = bus_start_in(path, (const char *const[]){ NULL });
        handle = bus_open(bus);
        CHECK_EQ(committed_of(handle, "g", 1), last);
        CHECK_EQ(committed_of(handle, "third", 0), 77);
        leat_group_info *info;
        CHECK_EQ(leat_group_describe(handle, "other", &info), LEAT_ENOGROUP);
        leat_close(handle);
        bus_stop(bus);
    }
}

TEST(worker_that_dies_before_it_writes_loses_no_commit_that_was_acknowledged)
{
    die_in_a_round("group_log.put");
}

TEST(worker_that_dies_between_write_and_answer_answers_all_the_same)
{
    die_in_a_round("group_log.written");
}

TEST(groups_that_came_back_half_come_back_whole)
{
    enum { GROUPS = 6 };
    struct bus *bus = bus_start();
    const char *path = text("%s", bus->path);
    bus_topic(bus, "t", .partitions = 3, .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    for (int g = 0; g < GROUPS; g++) {
        leat_offset offsets[3];
        for (uint32_t p = 0; p < 3; p++)
            offsets[p] = (leat_offset){ .topic = "t", .partition = p, .offset = 10 * g + p };
        CHECK_OK(leat_group_reset(handle, text("g%d", g), offsets, 3));
    }
    bus_kill_both(bus);
    leat_close(handle);
    for (int pass = 1; pass <= GROUPS + 1; pass++) {
        const char *kill = bus_kill_at(pass <= GROUPS ? "group.page" : "group_log.restored",
                                       pass <= GROUPS ? pass : 1);
        bus = bus_start_fault_in(path, kill, (const char *const[]){ "--max-start-pause", "1", NULL });
        CHECK(bus_died_at(bus, kill));
        handle = bus_open(bus);
        for (int g = 0; g < GROUPS; g++)
            for (uint32_t p = 0; p < 3; p++)
                CHECK_EQ(committed_of(handle, text("g%d", g), p), 10 * g + p);
        bus_kill_both(bus);
        leat_close(handle);
    }
}

/* ---- a storm ---- */

enum { STORM_PARTITIONS = 3, STORM_STOP = 100, STORM_COMMITS = 101 };

/* Sends until somebody says stop, or the bus has ended. */
ROLE(sender)
{
    leat_bus *bus = NULL;
    leat_producer *producer = NULL;
    int r = leat_open(&bus, NULL); /* which may be dying already */
    if (r == 0)
        r = leat_producer_open(&producer, bus, "t", NULL);
    for (uint32_t i = 0; r == 0 && board_get(STORM_STOP) == 0; i++) {
        leat_receipt receipt;
        leat_record record = { .value = "x", .value_size = 1 };
        r = leat_producer_send_to(producer, i % STORM_PARTITIONS, &record, &receipt);
        if (r == 0)
            r = leat_producer_wait(producer, &receipt, 30000);
    }
    if (r < 0 && r != LEAT_EGONE)
        CHECK_OK(r);
    leat_close(bus);
}

/* Puts on the board what of each partition is committed and acknowledged. */
ROLE(committer)
{
    leat_bus *bus = NULL;
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.group = "g";
    options.reset = LEAT_EARLIEST;
    options.auto_commit_ms = 0;
    leat_consumer *consumer = NULL;
    int r = leat_open(&bus, NULL); /* which may be dying already */
    if (r == 0)
        r = leat_consumer_open(&consumer, bus, &options);
    if (r == 0)
        r = leat_consumer_subscribe(consumer, (const char *[]){ "t" }, 1);
    while (r >= 0 && board_get(STORM_STOP) == 0) {
        const leat_record *records;
        int64_t positions[STORM_PARTITIONS];
        r = leat_consumer_poll(consumer, 100, &records);
        if (r <= 0)
            continue;
        for (uint32_t p = 0; p < STORM_PARTITIONS; p++)
            positions[p] = leat_consumer_position(consumer, "t", p);
        r = leat_consumer_commit(consumer, LEAT_SYNC);
        for (uint32_t p = 0; r == 0 && p < STORM_PARTITIONS; p++)
            if (positions[p] > 0)
                board_set(p, (uint64_t)positions[p]);
        board_add(STORM_COMMITS, r == 0);
    }
    if (r < 0 && r != LEAT_EGONE)
        CHECK_OK(r);
    leat_close(bus);
}

static uint64_t generation_of(leat_bus *handle)
{
    leat_group_info *info;
    int r = leat_group_describe(handle, "g", &info);
    if (r == LEAT_ENOGROUP)
        return 0;
    CHECK_OK(r);
    uint64_t generation = info->generation;
    leat_group_info_free(info);
    return generation;
}

TEST(acknowledged_commits_outlive_a_storm_of_deaths)
{
    int rounds = test_long() ? 300 : 30, both = 0;
    const char *const options[] = { "--max-start-pause", "1", "--log-level", "error", NULL };
    struct bus *bus = bus_start("--max-start-pause", "1", "--log-level", "error");
    const char *path = text("%s", bus->path);
    bus_topic(bus, "t", .partitions = STORM_PARTITIONS, .level = LEAT_WRITTEN);
    struct child *from = bus_spawn(bus, sender), *to = bus_spawn(bus, committer);
    uint64_t generation = 0;
    for (int i = 0; i < rounds; i++) {
        uint64_t seen = board_get(STORM_COMMITS), dice = test_random() % 8;
        WAIT_UNTIL(board_get(STORM_COMMITS) > seen, 30);
        if (dice < 3) {
            bus_wait_worker(bus, bus_kill_worker(bus));
        } else if (dice == 3) {
            bus_wait_keeper(bus, bus_kill_keeper(bus));
        } else if (dice == 4) {
            child_kill(to);
            to = bus_spawn(bus, committer);
        } else {
            bus_kill_both(bus);
            child_end_in(from, 30);
            child_end_in(to, 30);
            bus = bus_start_in(path, options);
            leat_bus *handle = bus_open(bus);
            for (uint32_t p = 0; p < STORM_PARTITIONS; p++)
                CHECK(committed_of(handle, "g", p) >= (int64_t)board_get(p));
            CHECK(generation_of(handle) > generation);
            generation = generation_of(handle);
            leat_close(handle);
            from = bus_spawn(bus, sender);
            to = bus_spawn(bus, committer);
            both++;
        }
    }
    board_set(STORM_STOP, 1);
    child_end_in(from, 30);
    child_end_in(to, 30);
    printf("%d rounds, %d times both, %d commits acknowledged\n", rounds, both,
           (int)board_get(STORM_COMMITS));
    bus_stop(bus);
}

/* ---- errors ---- */

static const char *fail_file(void)
{
    return text("%s/fail", test_dir());
}

static void fail(const char *op, int error, const char *part)
{
    FILE *file = fopen(text("%s.new", fail_file()), "w");
    CHECK(file);
    fprintf(file, "%s %d %s\n", op, error, part);
    CHECK_EQ(fclose(file), 0);
    CHECK_EQ(rename(text("%s.new", fail_file()), fail_file()), 0);
}

static void fail_no_more(void)
{
    CHECK_EQ(unlink(fail_file()), 0);
}

static struct bus *begin_failing(leat_bus **handle, leat_consumer **consumer)
{
    setenv("LEAT_IO_FAIL", fail_file(), 1);
    struct bus *bus = bus_start_fault(NULL, "--max-start-pause", "1");
    bus_topic(bus, "t", .partitions = 2, .level = LEAT_DURABLE);
    *handle = bus_open(bus);
    send(*handle);
    *consumer = join(*handle);
    CHECK_OK(commit(*consumer, 1));
    return bus;
}

static void end_failing(struct bus *bus, leat_bus *handle, int64_t committed)
{
    const char *path = text("%s", bus->path);
    bus_kill_both(bus);
    leat_close(handle);
    bus = bus_start_in(path, (const char *const[]){ NULL });
    handle = bus_open(bus);
    CHECK_EQ(committed_of(handle, "g", 1), committed);
    leat_close(handle);
    bus_stop(bus);
}

TEST(failed_write_is_told_to_who_waits_until_an_operator_says_so)
{
    leat_bus *handle;
    leat_consumer *consumer;
    struct bus *bus = begin_failing(&handle, &consumer);
    fail("write", EIO, "groups/offsets");
    CHECK_EQ(commit(consumer, 2), LEAT_EIO);
    printf("%s\n", leat_last_error(handle));
    CHECK(strstr(leat_last_error(handle), "groups/offsets") != NULL);
    CHECK_EQ(commit(consumer, 3), LEAT_EIO);
    fail_no_more();
    /* What a failed write has left nobody knows until it is read again. */
    CHECK_EQ(commit(consumer, 4), LEAT_EIO);
    CHECK_OK(leat_topic_resume(handle, "t", -1, 0));
    WAIT_UNTIL(commit(consumer, 5) == 0, 20);
    end_failing(bus, handle, 5);
}

TEST(next_worker_opens_a_file_that_has_failed)
{
    leat_bus *handle;
    leat_consumer *consumer;
    struct bus *bus = begin_failing(&handle, &consumer);
    fail("write", EIO, "groups/offsets");
    CHECK_EQ(commit(consumer, 2), LEAT_EIO);
    fail_no_more();
    bus_wait_worker(bus, bus_kill_worker(bus));
    CHECK_OK(commit(consumer, 3));
    end_failing(bus, handle, 3);
}

TEST(file_that_cannot_be_opened_is_opened_when_an_operator_says_so)
{
    leat_bus *handle;
    leat_consumer *consumer;
    struct bus *bus = begin_failing(&handle, &consumer);
    fail("open", EIO, "groups/offsets");
    bus_wait_worker(bus, bus_kill_worker(bus));
    CHECK_EQ(commit(consumer, 2), LEAT_EIO);
    CHECK(strstr(leat_last_error(handle), "groups/offsets") != NULL);
    fail_no_more();
    CHECK_OK(leat_topic_resume(handle, "t", -1, 0));
    WAIT_UNTIL(commit(consumer, 3) == 0, 20);
    end_failing(bus, handle, 3);
}

TEST(short_and_interrupted_writes_are_gone_on_with)
{
    leat_bus *handle;
    leat_consumer *consumer;
    struct bus *bus = begin_failing(&handle, &consumer);
    fail("write", 0, "groups/offsets");
    CHECK_OK(commit(consumer, 2));
    fail_no_more();
    end_failing(bus, handle, 2);
}

TEST(closing_does_not_wait_for_a_disk_that_has_failed)
{
    leat_bus *handle;
    leat_consumer *consumer;
    struct bus *bus = begin_failing(&handle, &consumer);
    fail("write", EIO, "groups/offsets");
    CHECK_EQ(commit(consumer, 2), LEAT_EIO);
    CHECK_OK(leat_consumer_close(consumer));
    CHECK_EQ(committed_of(handle, "g", 1), 2); /* where its heir starts */
    fail_no_more();
    leat_close(handle);
    bus_stop(bus);
}
