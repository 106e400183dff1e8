/* leatd dies at each step of making, changing, deleting and restoring a topic with a log.
 *
 * Goal: a topic is there whole, with its settings and its records, or it never was, or it is gone; whoever asked is answered in the
 * end, as if nobody had died; nothing is left lying about in the data directory.
 * Method: one process asks. The worker is killed at the point; or it stops there, and then the keeper is killed and the worker goes
 * on; or both are killed, and another leatd begins on the same directory. Then the request is said again, and both are killed once more.
 */
#include "bus.h"
#include "test.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PARTITIONS = 2, OLD_MS = 1000000, NEW_MS = 2000000 };

static const char *const options[] = { "--max-start-pause", "1", "--log-level", "error", NULL };

struct step {
    const char *point;
    const char *request; /* of the one that asks */
    bool done;           /* when both die there: it has happened all the same */
};

static const struct step steps[] = {
    { "topic.create", "create", false },      { "topic.create.page", "create", false },
    { "topic.create.ring", "create", false }, { "data.create", "create", false },
    { "data.create.logs", "create", false },  { "data.create.rename", "create", false },
    { "data.create.after", "create", true },  { "topic.create.open", "create", true },
    { "topic.create.after", "create", true }, { "data.alter", "alter", false },
    { "data.alter.after", "alter", true },    { "data.delete", "delete", false },
    { "data.delete.after", "delete", true },  { "topic.delete", "delete", true },
    { "topic.delete.after", "delete", true }, { "data.remove", "delete", true },
};
enum { STEPS = sizeof steps / sizeof *steps };

static const char *const restoring[] = { "restore.topic", "restore.logs", "restore.done", "adopt.fresh" };

/* ---- requests ---- */

static int request(leat_bus *bus, const char *what)
{
    leat_topic_options topic = LEAT_TOPIC_OPTIONS;
    leat_topic_options change = LEAT_TOPIC_DEFAULTS;
    topic.partitions = PARTITIONS;
    topic.ring_size = 64 << 10;
    topic.level = LEAT_WRITTEN;
    topic.retention_ms = OLD_MS;
    topic.segment_bytes = 64 << 10;
    topic.on_full = LEAT_ERROR;
    change.retention_ms = NEW_MS;
    if (strcmp(what, "create") == 0)
        return leat_topic_create(bus, "t", &topic);
    return strcmp(what, "alter") == 0 ? leat_topic_alter(bus, "t", &change) : leat_topic_delete(bus, "t");
}

ROLE(asker)
{
    leat_bus *bus = role_open();
    say("ready");
    hear("ask");
    int r = request(bus, role_arg(0));
    say("%d", r);
    hear("end");
    leat_close(bus);
}

/* A record to each partition. */
static void send_some(leat_bus *bus)
{
    leat_producer *producer = open_producer(bus, "t", NULL);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        leat_record record = { .value = "some", .value_size = 4 };
        CHECK_OK(leat_producer_send_to(producer, p, &record, NULL));
    }
    CHECK_OK(leat_producer_flush(producer, 10000));
    CHECK_OK(leat_producer_close(producer));
}

/* What has to be there before the one that asks does. */
static void prepare(struct bus *bus, const char *what)
{
    leat_bus *handle = bus_open(bus);
    if (strcmp(what, "create") != 0) {
        CHECK_OK(request(handle, "create"));
        send_some(handle);
    }
    leat_close(handle);
}

/* ---- what is there ---- */

static int count_in(const struct bus *bus, const char *directory)
{
    DIR *stream = opendir(text("%s/data/%s", bus->path, directory));
    CHECK(stream);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(stream));)
        count += entry->d_name[0] != '.';
    closedir(stream);
    return count;
}

static bool is_there(leat_bus *bus)
{
    leat_topic_info *info;
    int r = leat_topic_describe(bus, "t", &info);
    if (r == LEAT_ENOTOPIC)
        return false;
    CHECK_OK(r);
    leat_topic_info_free(info);
    return true;
}

/* Whole, and usable: all its records, and those that are sent now. */
static void check_whole(leat_bus *bus, int64_t retention_ms, int records)
{
    leat_topic_info *info = bus_describe(bus, "t");
    CHECK_EQ(info->partition_count, PARTITIONS);
    CHECK_EQ(info->level, LEAT_WRITTEN);
    CHECK_EQ(info->log, 1);
    CHECK_EQ(info->on_full, LEAT_ERROR);
    CHECK_EQ(info->ring_bytes, 64 << 10);
    CHECK_EQ(info->segment_bytes, 64 << 10);
    CHECK_EQ(info->retention_ms, retention_ms);
    for (int p = 0; p < PARTITIONS; p++)
        CHECK_STR(info->partitions[p].state, "open");
    leat_topic_info_free(info);
    send_some(bus);
    leat_consumer *consumer = open_reader(bus, "t", NULL);
    const leat_record *views;
    for (int seen = 0; seen < records + PARTITIONS;) {
        int n = CHECK_OK(leat_consumer_poll(consumer, 10000, &views));
        CHECK(n > 0);
        seen += n;
    }
    CHECK_OK(leat_consumer_close(consumer));
}

static void nothing_lies_about(const struct bus *bus, int topics)
{
    WAIT_UNTIL(count_in(bus, "new") == 0 && count_in(bus, "old") == 0, 10);
    CHECK_EQ(count_in(bus, "topics"), topics);
}

/* As it is after the request, whatever was in between. */
static void check_done(const struct bus *bus, const char *what, int *records)
{
    leat_bus *handle = bus_open(bus);
    bool deleted = strcmp(what, "delete") == 0;
    CHECK_EQ(is_there(handle), !deleted);
    if (!deleted) {
        check_whole(handle, strcmp(what, "alter") == 0 ? NEW_MS : OLD_MS, *records);
        *records += PARTITIONS;
    }
    leat_close(handle);
    nothing_lies_about(bus, !deleted);
}

/* As it was before. */
static void check_not_done(const struct bus *bus, const char *what, int *records)
{
    leat_bus *handle = bus_open(bus);
    bool created = strcmp(what, "create") != 0;
    CHECK_EQ(is_there(handle), created);
    if (created) {
        check_whole(handle, OLD_MS, *records);
        *records += PARTITIONS;
    }
    leat_close(handle);
    nothing_lies_about(bus, created);
}

static struct bus *begin_again(struct bus *bus)
{
    bus_kill_both(bus);
    return bus_start_in(bus->path, options);
}

static void say_where(const char *point, const char *how)
{
    printf("at %s, %s\n", point, how);
    fflush(stdout);
}

/* ---- the worker dies ---- */

static void worker_dies_at(const struct step *step)
{
    say_where(step->point, "the worker");
    const char *kill_at = bus_kill_at(step->point, 1);
    struct bus *bus = bus_start_fault(kill_at, "--max-start-pause", "1", "--log-level", "error");
    int records = strcmp(step->request, "create") == 0 ? 0 : PARTITIONS;
    prepare(bus, step->request);
    struct child *asker = bus_spawn(bus, asker, .args = { step->request });
    child_expect(asker, "ready");
    child_tell(asker, "ask");
    child_expect(asker, "0");
    child_tell(asker, "end");
    child_end(asker);
    WAIT_UNTIL(bus_died_at(bus, kill_at), 10);
    check_done(bus, step->request, &records);
    bus = begin_again(bus);
    check_done(bus, step->request, &records);
    bus_stop(bus);
}

TEST_SLOW(worker_that_dies_at_any_step_is_followed_by_one_that_finishes_or_begins_again, 180)
{
    for (int i = 0; i < STEPS; i++)
        worker_dies_at(&steps[i]);
}

/* The next worker finds the directory moved away, and a page that says open. */
TEST(clients_of_a_topic_whose_deletion_a_death_cut_short_are_told)
{
    const char *kill_at = bus_kill_at("data.delete.after", 1);
    struct bus *bus = bus_start_fault(kill_at, "--max-start-pause", "1", "--log-level", "error");
    leat_bus *handle = bus_open(bus);
    leat_record record = { .value = "some", .value_size = 4 };
    const leat_record *views;
    CHECK_OK(request(handle, "create"));
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    CHECK_OK(leat_producer_send_to(producer, 0, &record, NULL));
    WAIT_UNTIL(CHECK_OK(leat_consumer_poll(consumer, 10, &views)) == 1, 10);
    leat_bus *other = bus_open(bus);
    CHECK_OK(request(other, "delete"));
    CHECK(bus_died_at(bus, kill_at));
    WAIT_UNTIL(leat_producer_send_to(producer, 0, &record, NULL) == LEAT_EDELETED, 10);
    WAIT_UNTIL(leat_consumer_poll(consumer, 10, &views) == LEAT_EDELETED, 10);
    leat_consumer_close(consumer);
    leat_producer_close(producer);
    leat_close(other);
    leat_close(handle);
    bus_stop(bus);
}

/* ---- it stops, and the keeper dies, or both ---- */

struct scene {
    struct bus *bus;
    struct child *asker;
    pid_t worker;
    int records;
};

static struct scene stop_at(const struct step *step, const char *how)
{
    say_where(step->point, how);
    const char *stop = bus_stop_at(step->point, 1);
    struct scene scene = { .bus = bus_start_fault(stop, "--max-start-pause", "1", "--log-level", "error") };
    scene.records = strcmp(step->request, "create") == 0 ? 0 : PARTITIONS;
    prepare(scene.bus, step->request);
    scene.asker = bus_spawn(scene.bus, asker, .args = { step->request });
    child_expect(scene.asker, "ready");
    scene.worker = bus_status(scene.bus).worker_pid;
    child_tell(scene.asker, "ask");
    WAIT_UNTIL(bus_died_at(scene.bus, step->point), 10);
    return scene;
}

static void keeper_dies_at(const struct step *step)
{
    struct scene scene = stop_at(step, "the keeper");
    pid_t keeper = scene.bus->keeper;
    CHECK_EQ(kill(keeper, SIGKILL), 0);
    pid_wait_gone(keeper);
    /* Stopped for good: the signal is noted before it acts. */
    WAIT_UNTIL(kill(scene.worker, SIGCONT) == 0 && child_talks(scene.asker, 10), 20);
    child_expect(scene.asker, "0");
    child_tell(scene.asker, "end");
    child_end(scene.asker);
    bus_wait_keeper(scene.bus, keeper);
    check_done(scene.bus, step->request, &scene.records);
    struct bus *bus = begin_again(scene.bus);
    check_done(bus, step->request, &scene.records);
    bus_stop(bus);
}

TEST_SLOW(keeper_that_dies_at_any_step_is_replaced_and_the_step_is_done, 180)
{
    for (int i = 0; i < STEPS; i++)
        keeper_dies_at(&steps[i]);
}

static void both_die_at(const struct step *step)
{
    struct scene scene = stop_at(step, "both");
    CHECK_EQ(kill(scene.bus->keeper, SIGKILL), 0);
    CHECK_EQ(kill(scene.worker, SIGKILL), 0);
    pid_wait_gone(scene.bus->keeper);
    pid_wait_gone(scene.worker);
    const char *said = child_hear(scene.asker);
    if (strcmp(said, text("%d", LEAT_EGONE)) != 0 && strcmp(said, "0") != 0)
        FAIL("whoever asked is told %s", said);
    bool answered = strcmp(said, "0") == 0;
    child_kill(scene.asker);
    CHECK(step->done || !answered);

    struct bus *bus = bus_start_in(scene.bus->path, options);
    if (!step->done) {
        check_not_done(bus, step->request, &scene.records);
        leat_bus *handle = bus_open(bus);
        CHECK_OK(request(handle, step->request));
        leat_close(handle);
    }
    check_done(bus, step->request, &scene.records);
    bus = begin_again(bus);
    check_done(bus, step->request, &scene.records);
    bus_stop(bus);
}

TEST_SLOW(death_of_both_at_any_step_leaves_all_of_it_or_nothing, 180)
{
    for (int i = 0; i < STEPS; i++)
        both_die_at(&steps[i]);
}

/* ---- restoring ---- */

TEST_SLOW(worker_that_dies_while_it_restores_is_followed_by_one_that_restores_all, 120)
{
    const char *data = text("%s/data", test_dir());
    struct bus *bus = bus_start("--log-level", "error", "--data", data);
    for (int i = 0; i < 3; i++)
        bus_topic(bus, text("t%d", i), .partitions = 2, .level = LEAT_WRITTEN);
    bus_topic(bus, "t", .partitions = PARTITIONS, .level = LEAT_WRITTEN);
    leat_bus *handle = bus_open(bus);
    send_some(handle);
    leat_close(handle);
    bus_stop(bus);
    for (size_t i = 0; i < sizeof restoring / sizeof *restoring; i++) {
        for (int pass = 1; pass <= (i == 0 ? 4 : 1); pass++) {
            const char *kill_at = bus_kill_at(restoring[i], pass);
            say_where(kill_at, "the worker");
            bus = bus_start_fault(kill_at, "--max-start-pause", "1", "--log-level", "error", "--data", data);
            CHECK(bus_died_at(bus, kill_at));
            struct lt_status_answer status = bus_status(bus);
            CHECK_EQ(status.topics, 4);
            handle = bus_open(bus);
            leat_topic_info *info = bus_describe(handle, "t");
            for (uint32_t p = 0; p < PARTITIONS; p++) {
                CHECK_STR(info->partitions[p].state, "open");
                CHECK(info->partitions[p].log_end_offset >=
                      1); /* a death with logs open skips what was reserved */
                CHECK_EQ(info->partitions[p].log_start_offset, 0);
            }
            leat_topic_info_free(info);
            leat_close(handle);
            bus_stop(bus);
        }
    }
}

/* ---- the tables are whole ---- */

static bool is_in_a_table(const char *name)
{
    for (int i = 0; i < STEPS; i++)
        if (strcmp(steps[i].point, name) == 0)
            return true;
    for (size_t i = 0; i < sizeof restoring / sizeof *restoring; i++)
        if (strcmp(restoring[i], name) == 0)
            return true;
    return false;
}

TEST(every_point_of_the_data_directory_is_in_a_table)
{
    static const char *const files[] = { "data.c", "restore.c" };
    for (int i = 0; i < 2; i++) {
        char line[512], name[64];
        int found = 0;
        FILE *source = fopen(text("%s/src/leatd/%s", test_program("LEAT_TEST_ROOT"), files[i]), "r");
        CHECK(source);
        while (fgets(line, sizeof line, source)) {
            const char *at = strstr(line, "lt_point(\"");
            if (!at || sscanf(at, "lt_point(\"%63[^\"]", name) != 1)
                continue;
            found++;
            if (!is_in_a_table(name))
                FAIL("%s has the point %s, and leatd was not killed there", files[i], name);
        }
        fclose(source);
        CHECK(found > 0);
    }
}
