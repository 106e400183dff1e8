/* Topics with a log, as an operator sees them.
 *
 * Goal: what is asked for when a topic is made is there after a restart; settings change while it is used; what lies in a data
 * directory belongs to one bus at a time; what cannot be served says why, and the rest is.
 * Method: the leat program, a bus that is stopped or killed and started again in the same place, files that are damaged by hand.
 */
#include "bus.h"
#include "cli.h"
#include "test.h"
#include "traffic.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const quiet[] = { "--log-level", "warn", NULL };

static struct bus *start_again(const struct bus *bus)
{
    return bus_start_in(bus->path, quiet);
}

static const char *describe(const struct bus *bus, const char *topic)
{
    struct said said = leat(bus, NULL, "topic", "describe", topic, "--json");
    CHECK_EQ(said.exit, 0);
    return said.out;
}

static void check_fails(struct said said, int status, const char *why)
{
    if (said.exit != status || !strstr(said.err, why))
        FAIL("exit %d, stderr '%s'; wanted %d and '%s'", said.exit, said.err, status, why);
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Changes a byte of a file. */
static void damage(const char *path, off_t at)
{
    unsigned char byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQ(pread(fd, &byte, 1, at), 1);
    byte ^= 0x55;
    CHECK_EQ(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* ---- options ---- */

TEST(options_of_a_logged_topic_are_shown_and_there_after_a_restart)
{
    struct bus *bus = bus_start("--log-level", "warn");
    struct said said = leat(bus, NULL, "topic", "create", "orders", "--partitions", "2", "--ring-size",
                            "128KiB", "--level", "durable", "--retention-bytes", "1GiB", "--retention-ms",
                            "24h", "--segment-bytes", "1MiB", "--on-full", "error", "--partitioner",
                            "murmur2", "--mode", "0640");
    CHECK_STR(said.err, "");
    CHECK_EQ(said.exit, 0);
    for (int i = 0; i < 2; i++) {
        const char *json = describe(bus, "orders");
        CHECK_STR(json_at(json, "partition_count"), "2");
        CHECK_STR(json_at(json, "level"), "\"durable\"");
        CHECK_STR(json_at(json, "log"), "true");
        CHECK_STR(json_at(json, "retention_bytes"), "1073741824");
        CHECK_STR(json_at(json, "retention_ms"), "86400000");
        CHECK_STR(json_at(json, "segment_bytes"), "1048576");
        CHECK_STR(json_at(json, "on_full"), "\"error\"");
        CHECK_STR(json_at(json, "partitioner"), "\"murmur2\"");
        CHECK_STR(json_at(json, "ring_bytes"), "131072");
        CHECK_STR(json_at(json, "mode"), "\"0640\"");
        CHECK_STR(json_at(json, "partitions.1.state"), "\"open\"");
        CHECK_STR(json_at(json, "partitions.1.reason"), "\"\"");
        CHECK_STR(json_at(json, "partitions.1.segments"), "1");
        CHECK(atoll(json_at(json, "partitions.1.bytes_on_disk")) > 0);
        said = leat(bus, NULL, "topic", "describe", "orders");
        CHECK(has_line(said.out, "retention    1 GiB a partition, 1 d 0 h"));
        CHECK(strstr(said.out, "ON-DISK"));
        bus_stop(bus);
        bus = start_again(bus);
    }
    bus_stop(bus);
}

TEST(records_of_every_level_are_there_after_a_stop)
{
    static const char *const levels[] = { "ring", "written", "durable" };
    struct bus *bus = bus_start("--log-level", "warn", "--log", "yes");
    for (int l = 0; l < 3; l++) {
        CHECK_EQ(
            leat(bus, NULL, "topic", "create", levels[l], "--level", levels[l], "--ring-size", "64KiB").exit,
            0);
        CHECK_EQ(leat(bus, "a\nb\nc\n", "produce", levels[l]).exit, 0);
    }
    bus_stop(bus);
    bus = start_again(bus);
    for (int l = 0; l < 3; l++) {
        const char *json = describe(bus, levels[l]);
        CHECK_STR(json_at(json, "partitions.0.log_start_offset"), "0");
        CHECK_STR(json_at(json, "partitions.0.log_end_offset"), "3");
        CHECK_STR(json_at(json, "partitions.0.acked_offset"), "3");
        struct said said = leat(bus, "d\n", "produce", levels[l], "-f", "%o\n");
        CHECK_STR(said.out, "3\n");
        CHECK_STR(leat(bus, NULL, "consume", levels[l], "-o", "beginning", "-e", "-f", "%o%s ").out,
                  "0a 1b 2c 3d ");
    }
    bus_stop(bus);
}

TEST(both_killed_lose_no_more_than_the_level_says_and_use_no_offset_twice)
{
    struct bus *bus = bus_start("--log-level", "warn");
    CHECK_EQ(leat(bus, NULL, "topic", "create", "t", "--level", "written", "--ring-size", "64KiB").exit, 0);
    CHECK_EQ(leat(bus, "a\nb\nc\n", "produce", "t").exit, 0);
    bus_kill_both(bus);
    bus = start_again(bus);
    const char *json = describe(bus, "t");
    CHECK_STR(json_at(json, "partitions.0.log_start_offset"), "0");
    int64_t end = atoll(json_at(json, "partitions.0.log_end_offset"));
    CHECK(end > 3);
    WAIT_UNTIL(atoll(json_at(describe(bus, "t"), "partitions.0.acked_offset")) == end, 5);
    CHECK_STR(leat(bus, "d\n", "produce", "t", "-f", "%o\n").out, text("%" PRId64 "\n", end));
    CHECK_STR(leat(bus, NULL, "consume", "t", "-o", "beginning", "-e", "-f", "%o%s ").out,
              text("0a 1b 2c %" PRId64 "d ", end));
    bus_stop(bus);
}

TEST(topics_without_a_log_are_gone_after_a_restart)
{
    struct bus *bus = bus_start("--log-level", "warn", "--log", "yes");
    CHECK_EQ(leat(bus, NULL, "topic", "create", "memory", "--no-log", "--ring-size", "64KiB").exit, 0);
    CHECK_EQ(leat(bus, NULL, "topic", "create", "disk", "--ring-size", "64KiB").exit, 0);
    CHECK_STR(json_at(describe(bus, "memory"), "log"), "false");
    CHECK_STR(json_at(describe(bus, "disk"), "log"), "true");
    bus_stop(bus);
    bus = start_again(bus);
    struct said said = leat(bus, NULL, "topic", "list", "--json");
    CHECK_STR(json_at(said.out, "0.topic"), "\"disk\"");
    CHECK(!json_has(said.out, "1"));
    bus_stop(bus);
}

TEST(defaults_of_new_topics_come_from_the_settings)
{
    struct bus *bus = bus_start("--log-level", "warn", "--level", "written", "--segment-bytes", "1MiB",
                                "--retention-bytes", "8MiB", "--retention-ms", "1000", "--partitions", "3",
                                "--ring-size", "64KiB", "--on-full", "overwrite", "--mode", "0600", "--log",
                                "no");
    CHECK_EQ(leat(bus, NULL, "topic", "create", "t").exit, 0);
    const char *json = describe(bus, "t");
    CHECK_STR(json_at(json, "partition_count"), "3");
    CHECK_STR(json_at(json, "ring_bytes"), "65536");
    CHECK_STR(json_at(json, "on_full"), "\"overwrite\"");
    CHECK_STR(json_at(json, "mode"), "\"0600\"");
    CHECK_STR(json_at(json, "level"), "\"written\"");
    CHECK_STR(json_at(json, "log"), "true");
    CHECK_STR(json_at(json, "segment_bytes"), "1048576");
    CHECK_STR(json_at(json, "retention_bytes"), "8388608");
    CHECK_STR(json_at(json, "retention_ms"), "1000");
    CHECK_EQ(leat(bus, NULL, "topic", "create", "u", "--retention-ms", "none", "--level", "ring").exit, 0);
    json = describe(bus, "u");
    CHECK_STR(json_at(json, "retention_ms"), "-1");
    CHECK_STR(json_at(json, "level"), "\"ring\"");
    CHECK_STR(json_at(json, "log"), "false");
    CHECK_EQ(leat(bus, NULL, "topic", "create", "v", "--no-log").exit, 0);
    CHECK_STR(json_at(describe(bus, "v"), "level"), "\"ring\"");
    /* A C program that says nothing of levels gets what its macro says. */
    leat_bus *handle = bus_open(bus);
    CHECK_OK(leat_topic_create(handle, "c", NULL));
    leat_topic_info *info = bus_describe(handle, "c");
    CHECK_EQ(info->level, LEAT_RING);
    CHECK_EQ(info->retention_bytes, -1);
    CHECK_EQ(info->partition_count, 1);
    leat_topic_info_free(info);
    leat_topic_options options = LEAT_TOPIC_DEFAULTS;
    CHECK_OK(leat_topic_create(handle, "d", &options));
    info = bus_describe(handle, "d");
    CHECK_EQ(info->level, LEAT_WRITTEN);
    CHECK_EQ(info->partition_count, 3);
    leat_topic_info_free(info);
    leat_close(handle);
    bus_stop(bus);
}

TEST(options_that_contradict_each_other_are_refused)
{
    struct bus *bus = bus_start("--log-level", "warn");
    check_fails(leat(bus, NULL, "topic", "create", "t", "--level", "durable", "--no-log"), 1,
                "without a log");
    check_fails(leat(bus, NULL, "topic", "create", "t", "--no-log", "--retention-ms", "1"), 1, "retention");
    check_fails(leat(bus, NULL, "topic", "create", "t", "--segment-bytes", "4KiB"), 1, "65536..1073741824");
    check_fails(leat(bus, NULL, "topic", "create", "t", "--retention-bytes", "much"), 2, "--retention-bytes");
    CHECK_STR(leat(bus, NULL, "topic", "list", "--json").out, "[]\n");
    bus_stop(bus);
}

/* ---- alter ---- */

TEST(settings_change_live_and_stay_changed)
{
    struct bus *bus = bus_start("--log-level", "warn");
    CHECK_EQ(leat(bus, NULL, "topic", "create", "t", "--level", "written", "--ring-size", "64KiB").exit, 0);
    struct said said = leat(bus, NULL, "topic", "alter", "t", "--retention-bytes", "1MiB", "--retention-ms",
                            "1h", "--on-full", "error", "--mode", "0600");
    CHECK_STR(said.err, "");
    CHECK_STR(said.out, "t altered\n");
    said = leat(bus, NULL, "--json", "topic", "alter", "t", "--retention-ms", "2h");
    CHECK_STR(json_at(said.out, "retention_ms"), "7200000");
    for (int i = 0; i < 2; i++) {
        const char *json = describe(bus, "t");
        CHECK_STR(json_at(json, "retention_bytes"), "1048576");
        CHECK_STR(json_at(json, "retention_ms"), "7200000");
        CHECK_STR(json_at(json, "on_full"), "\"error\"");
        CHECK_STR(json_at(json, "mode"), "\"0600\"");
        bus_kill_both(bus);
        bus = start_again(bus);
    }
    CHECK_EQ(leat(bus, NULL, "topic", "alter", "t", "--retention-bytes", "none").exit, 0);
    CHECK_STR(json_at(describe(bus, "t"), "retention_bytes"), "-1");
    bus_stop(bus);
}

TEST(alter_refuses_what_it_cannot_do)
{
    struct bus *bus = bus_start("--log-level", "warn");
    CHECK_EQ(leat(bus, NULL, "topic", "create", "t", "--ring-size", "64KiB", "--no-log").exit, 0);
    check_fails(leat(bus, NULL, "topic", "alter", "t", "--partitions", "2"), 1, "later version");
    CHECK_EQ(leat(bus, NULL, "topic", "alter", "t", "--partitions", "1").exit, 0);
    check_fails(leat(bus, NULL, "topic", "alter", "t", "--move-buckets", "0-1:0"), 1, "later version");
    check_fails(leat(bus, NULL, "topic", "alter", "t", "--retention-ms", "1"), 1, "no log");
    check_fails(leat(bus, NULL, "topic", "alter", "t"), 2, "alter what?");
    check_fails(leat(bus, NULL, "topic", "alter", "--mode", "0600"), 2, "which topic?");
    check_fails(leat(bus, NULL, "topic", "alter", "nobody", "--mode", "0600"), 1, "nobody");
    CHECK_EQ(leat(bus, NULL, "topic", "alter", "t", "--on-full", "overwrite").exit, 0);
    CHECK_STR(json_at(describe(bus, "t"), "on_full"), "\"overwrite\"");

    leat_bus *handle = bus_open(bus);
    leat_topic_options options = LEAT_TOPIC_DEFAULTS;
    options.level = LEAT_DURABLE;
    CHECK_EQ(leat_topic_alter(handle, "t", &options), LEAT_EUNSUPPORTED);
    CHECK(strstr(leat_last_error(handle), "level"));
    options.level = LEAT_RING;
    options.ring_size = 64 << 10;
    CHECK_OK(leat_topic_alter(handle, "t", &options));
    options.ring_size = 128 << 10;
    CHECK_EQ(leat_topic_alter(handle, "t", &options), LEAT_EUNSUPPORTED);
    CHECK_EQ(leat_topic_alter(handle, "t", NULL), LEAT_EINVAL);
    CHECK_EQ(leat_topic_resume(handle, "t", -1, 0), LEAT_EINVAL);
    leat_close(handle);
    bus_stop(bus);
}

/* Another user's word counts for nothing. */
ROLE(stranger)
{
    leat_bus *bus = role_open();
    leat_topic_options options = LEAT_TOPIC_DEFAULTS;
    options.retention_ms = 1;
    CHECK_EQ(leat_topic_alter(bus, "t", &options), LEAT_EPERM);
    CHECK_EQ(leat_topic_resume(bus, "t", -1, LEAT_CUT), LEAT_EPERM);
    CHECK_EQ(leat_topic_delete(bus, "t"), LEAT_EPERM);
    options.retention_ms = INT64_MIN;
    options.owner = "root";
    CHECK_EQ(leat_topic_alter(bus, "mine", &options), LEAT_EPERM);
    options.owner = NULL;
    options.mode = 0600;
    CHECK_OK(leat_topic_alter(bus, "mine", &options));
    leat_close(bus);
}

TEST(only_the_owner_alters_and_only_root_gives_away)
{
    if (geteuid() != 0)
        SKIP("needs root, to be somebody else");
    struct bus *bus = bus_start("--log-level", "warn");
    CHECK_EQ(chmod(test_dir(), 0755), 0);
    CHECK_EQ(
        leat(bus, NULL, "topic", "create", "t", "mine", "--level", "written", "--ring-size", "64KiB").exit,
        0);
    CHECK_EQ(leat(bus, NULL, "topic", "alter", "mine", "--owner", "65534:65534").exit, 0);
    child_end(bus_spawn(bus, stranger, .uid = 65534, .gid = 65534));
    bus_stop(bus);
    bus = start_again(bus);
    leat_bus *handle = bus_open(bus);
    leat_topic_info *info = bus_describe(handle, "mine");
    CHECK_EQ(info->uid, 65534);
    CHECK_EQ(info->mode, 0600);
    leat_topic_info_free(info);
    leat_close(handle);
    bus_stop(bus);
}

/* ---- deleting ---- */

TEST(deleted_topic_takes_its_files_with_it_and_its_name_is_free)
{
    struct bus *bus = bus_start("--log-level", "warn");
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(leat(bus, NULL, "topic", "create", "t", "--level", "durable", "--ring-size", "64KiB").exit,
                 0);
        CHECK_EQ(leat(bus, "a\n", "produce", "t").exit, 0);
        CHECK_STR(json_at(describe(bus, "t"), "partitions.0.log_end_offset"), "1");
        CHECK(exists(text("%s/data/topics/t/0/meta", bus->path)));
        CHECK_STR(leat(bus, NULL, "topic", "delete", "t").out, "t deleted\n");
        CHECK(!exists(text("%s/data/topics/t", bus->path)));
    }
    check_fails(leat(bus, NULL, "topic", "delete", "t"), 1, "no topic t");
    WAIT_UNTIL(rmdir(text("%s/data/old", bus->path)) == 0, 5); /* it is empty in the end */
    CHECK_EQ(mkdir(text("%s/data/old", bus->path), 0700), 0);
    bus_stop(bus);
    bus = start_again(bus);
    CHECK_STR(leat(bus, NULL, "topic", "list", "--json").out, "[]\n");
    bus_stop(bus);
}

/* ---- the directory ---- */

TEST(data_directory_belongs_to_one_bus_at_a_time)
{
    const char *data = text("%s/data", test_dir());
    struct bus *bus = bus_start("--log-level", "warn", "--data", data);
    struct stat st;
    CHECK_EQ(stat(data, &st), 0);
    CHECK_EQ(st.st_mode & 0777, 0700);
    CHECK(!exists(text("%s/data", bus->path)));
    const char *const argv[] = {
        test_program("LEAT_TEST_LEATD"), "--bus", text("%s/other", test_dir()), "--data", data, NULL
    };
    const char *output;
    int keeper = bus_status(bus).keeper_pid;
    CHECK_EQ(run_program(argv, &output), 1 << 8);
    if (!strstr(output, text("another bus has the data directory %s", data)) ||
        !strstr(output, text("pid %d", keeper)))
        FAIL("leatd says '%s'", output);
    /* Also while there is no worker for a moment. */
    uint64_t killed = bus_kill_worker(bus);
    CHECK_EQ(run_program(argv, &output), 1 << 8);
    bus_wait_worker(bus, killed);
    CHECK_EQ(run_program(argv, &output), 1 << 8);
    /* And for the keeper that the worker has started. */
    pid_t before = bus_kill_keeper(bus);
    bus_wait_keeper(bus, before);
    CHECK_EQ(run_program(argv, &output), 1 << 8);
    bus_stop(bus);
    bus = bus_start("--log-level", "warn", "--data", data);
    bus_stop(bus);
}

TEST(directory_that_others_may_write_to_is_refused)
{
    const char *data = text("%s/data", test_dir());
    CHECK_EQ(mkdir(data, 0700), 0);
    CHECK_EQ(chmod(data, 0777), 0);
    const char *const argv[] = {
        test_program("LEAT_TEST_LEATD"), "--bus", text("%s/other", test_dir()), "--data", data, NULL
    };
    const char *output;
    CHECK_EQ(run_program(argv, &output), 1 << 8);
    CHECK(strstr(output, "0777"));
}

TEST(topic_whose_settings_are_damaged_is_left_alone_and_the_others_are_served)
{
    struct bus *bus = bus_start("--log-level", "error");
    CHECK_EQ(
        leat(bus, NULL, "topic", "create", "bad", "good", "--level", "written", "--ring-size", "64KiB").exit,
        0);
    bus_stop(bus);
    const char *file = text("%s/data/topics/bad/topic", bus->path);
    damage(file, 300);
    bus = start_again(bus);
    struct said said = leat(bus, NULL, "topic", "list", "--json");
    CHECK_STR(json_at(said.out, "0.topic"), "\"good\"");
    CHECK(!json_has(said.out, "1"));
    /* Its name stays its own, over restarts of the worker, too. */
    check_fails(leat(bus, NULL, "topic", "create", "bad", "--level", "written"), 1, "is not served");
    uint64_t killed = bus_kill_worker(bus);
    bus_wait_worker(bus, killed);
    check_fails(leat(bus, NULL, "topic", "create", "bad", "--level", "written"), 1, "is not served");
    CHECK(exists(text("%s/data/topics/bad/0/meta", bus->path)));
    bus_stop(bus);
    damage(file, 300); /* and back */
    bus = start_again(bus);
    CHECK_STR(json_at(describe(bus, "bad"), "partitions.0.state"), "\"open\"");
    bus_stop(bus);
}

TEST(damaged_log_is_a_partition_that_has_failed_until_an_operator_cuts_it)
{
    struct bus *bus = bus_start("--log-level", "error");
    CHECK_EQ(leat(bus, NULL, "topic", "create", "t", "--partitions", "2", "--level", "durable", "--ring-size",
                  "64KiB")
                 .exit,
             0);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(leat(bus, "some record\n", "produce", "t", "-p", "0").exit, 0);
    bus_kill_both(bus);
    damage(text("%s/data/topics/t/0/00000000000000000000.log", bus->path), 4096 + 100);
    bus = start_again(bus);
    const char *json = describe(bus, "t");
    CHECK_STR(json_at(json, "partitions.0.state"), "\"failed\"");
    CHECK(strstr(json_at(json, "partitions.0.reason"), "durable"));
    CHECK_STR(json_at(json, "partitions.1.state"), "\"open\"");
    struct said said = leat(bus, NULL, "topic", "describe", "t");
    CHECK(strstr(said.out, "partition 0 failed: "));
    check_fails(leat(bus, "x\n", "produce", "t", "-p", "0"), 1, "durable");
    CHECK_EQ(leat(bus, "x\n", "produce", "t", "-p", "1").exit, 0);

    check_fails(leat(bus, NULL, "topic", "resume", "t"), 1, "durable");
    check_fails(leat(bus, NULL, "topic", "resume", "t", "--partition", "2"), 1, "0..1");
    CHECK_STR(leat(bus, NULL, "topic", "resume", "t", "--partition", "1").out, "t: 0 partitions resumed\n");
    said = leat(bus, NULL, "topic", "resume", "t", "--cut");
    CHECK_STR(said.err, "");
    CHECK_STR(said.out, "t: 1 partition resumed\n");
    json = describe(bus, "t");
    CHECK_STR(json_at(json, "partitions.0.state"), "\"open\"");
    CHECK_STR(json_at(json, "partitions.0.reason"), "\"\"");
    said = leat(bus, "y\n", "produce", "t", "-p", "0", "-f", "%o\n");
    CHECK(atoll(said.out) >= 20);
    bus_stop(bus);
    bus = start_again(bus);
    CHECK_STR(json_at(describe(bus, "t"), "partitions.0.state"), "\"open\"");
    bus_stop(bus);
}

/* All that the log has is behind the damage. */
TEST(readers_of_a_damaged_log_wait_for_the_operator_and_read_the_other_partitions)
{
    struct bus *bus = bus_start("--log-level", "error");
    CHECK_EQ(leat(bus, NULL, "topic", "create", "t", "--partitions", "2", "--level", "durable", "--ring-size",
                  "64KiB")
                 .exit,
             0);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(leat(bus, "some record\n", "produce", "t", "-p", "0").exit, 0);
    CHECK_EQ(leat(bus, "x\n", "produce", "t", "-p", "1").exit, 0);
    bus_kill_both(bus);
    damage(text("%s/data/topics/t/0/00000000000000000000.log", bus->path), 4096 + 100);
    bus = start_again(bus);
    leat_bus *handle = bus_open(bus);
    const leat_record *records;
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.reset = LEAT_LATEST;
    leat_consumer *latest;
    CHECK_OK(leat_consumer_open(&latest, handle, &options));
    CHECK_OK(leat_consumer_subscribe(latest, (const char *[]){ "t" }, 1));
    CHECK_EQ(leat_consumer_poll(latest, 100, &records), LEAT_EFAILED);
    leat_consumer *earliest = open_reader(handle, "t", NULL);
    int n = 0;
    for (int polls = 0; n <= 0 && polls < 2; polls++)
        n = leat_consumer_poll(earliest, 20000, &records);
    CHECK_EQ(n, 1);
    CHECK_EQ(records[0].partition, 1);
    CHECK_EQ(leat_consumer_poll(earliest, 100, &records), LEAT_EFAILED);
    CHECK_EQ(leat_consumer_missed(earliest, "t", 0), 0);
    CHECK_EQ(CHECK_OK(leat_topic_resume(handle, "t", 0, LEAT_CUT)), 1);
    CHECK_EQ(leat(bus, "y\n", "produce", "t", "-p", "0").exit, 0);
    CHECK_EQ(CHECK_OK(leat_consumer_poll(earliest, 20000, &records)), 1);
    CHECK_EQ(CHECK_OK(leat_consumer_poll(latest, 20000, &records)), 1);
    CHECK_OK(leat_consumer_close(earliest));
    CHECK_OK(leat_consumer_close(latest));
    leat_close(handle);
    bus_stop(bus);
}

TEST(log_that_is_gone_is_a_partition_that_has_failed_and_gives_no_offset_twice)
{
    struct bus *bus = bus_start("--log-level", "error");
    CHECK_EQ(leat(bus, NULL, "topic", "create", "t", "--level", "written", "--ring-size", "64KiB").exit, 0);
    CHECK_EQ(leat(bus, "a\nb\n", "produce", "t").exit, 0);
    bus_stop(bus);
    const char *log = text("%s/data/topics/t/0", bus->path), *aside = text("%s/aside", test_dir());
    CHECK_EQ(rename(log, aside), 0);
    bus = start_again(bus);
    CHECK_STR(json_at(describe(bus, "t"), "partitions.0.state"), "\"failed\"");
    check_fails(leat(bus, "c\n", "produce", "t"), 1, "t/0");
    check_fails(leat(bus, NULL, "topic", "resume", "t"), 1, "t/0");
    CHECK_EQ(rename(aside, log), 0);
    CHECK_STR(leat(bus, NULL, "topic", "resume", "t").out, "t: 1 partition resumed\n");
    struct said said = leat(bus, "c\n", "produce", "t", "-f", "%o\n");
    CHECK(atoll(said.out) >= 2);
    CHECK_STR(leat(bus, NULL, "consume", "t", "-o", "beginning", "-e", "-f", "%s").out, "abc");
    bus_stop(bus);
}

/* ---- many ---- */

TEST_SLOW(five_hundred_logged_partitions_are_made_and_found_again_in_seconds, 180)
{
    struct bus *bus = bus_start("--log-level", "warn");
    double start = now_s();
    CHECK_EQ(leat(bus, NULL, "topic", "create", "t", "--partitions", "500", "--level", "written",
                  "--ring-size", "64KiB")
                 .exit,
             0);
    double made = now_s() - start;
    CHECK_EQ(leat(bus, "a\nb\nc\n", "produce", "t").exit, 0);
    bus_kill_both(bus);
    start = now_s();
    bus = start_again(bus);
    double found = now_s() - start;
    printf("500 partitions: made in %.2f s, found again in %.2f s\n", made, found);
    CHECK(made < 20 * test_slowdown() && found < 20 * test_slowdown());
    CHECK_STR(json_at(describe(bus, "t"), "partition_count"), "500");
    bus_stop(bus);
}

/* ---- hosts ---- */

static leat_host *host_with(const char *data)
{
    leat_host_options options = LEAT_HOST_OPTIONS;
    leat_host *host = NULL;
    options.data = data;
    CHECK_OK(leat_host_start(&host, &options));
    return host;
}

TEST(host_has_logs_where_it_was_given_a_data_directory)
{
    leat_topic_options options = LEAT_TOPIC_OPTIONS;
    leat_bus *bus;
    options.ring_size = 64 << 10;
    options.level = LEAT_WRITTEN;
    leat_host *host = host_with(NULL);
    CHECK_OK(leat_open(&bus, leat_host_path(host)));
    CHECK_EQ(leat_topic_create(bus, "t", &options), LEAT_EUNSUPPORTED);
    CHECK(strstr(leat_last_error(bus), "data directory"));
    leat_close(bus);
    leat_host_stop(host);

    const char *data = text("%s/data", test_dir());
    for (uint64_t i = 0; i < 3; i++) {
        host = host_with(data);
        CHECK_OK(leat_open(&bus, leat_host_path(host)));
        options.if_not_exists = 1;
        CHECK_OK(leat_topic_create(bus, "t", &options));
        leat_producer *producer = open_producer(bus, "t", NULL);
        leat_receipt receipt;
        leat_record record = { .value = "a", .value_size = 1 };
        CHECK_OK(leat_producer_send(producer, &record, &receipt));
        CHECK_EQ(receipt.offset, i);
        CHECK_OK(leat_producer_close(producer));
        leat_host *second = NULL;
        leat_host_options same = LEAT_HOST_OPTIONS;
        same.data = data;
        CHECK_EQ(leat_host_start(&second, &same), LEAT_EINUSE);
        leat_close(bus);
        leat_host_stop(host);
    }
}

static int count_leat_maps(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    int count = 0;
    CHECK(maps);
    while (fgets(line, sizeof line, maps))
        count += strstr(line, "memfd:leat-ring") != NULL;
    fclose(maps);
    return count;
}

TEST(topic_that_is_deleted_right_before_the_end_leaves_nothing)
{
    const char *data = text("%s/data", test_dir());
    leat_topic_options options = LEAT_TOPIC_OPTIONS;
    options.ring_size = 64 << 10;
    options.partitions = 4;
    options.level = LEAT_WRITTEN;
    for (int i = 0; i < 10; i++) {
        leat_bus *bus;
        leat_host *host = host_with(data);
        CHECK_OK(leat_open(&bus, leat_host_path(host)));
        CHECK_OK(leat_topic_create(bus, "t", &options));
        CHECK_OK(leat_topic_delete(bus, "t"));
        leat_close(bus);
        leat_host_stop(host);
        CHECK_EQ(rmdir(text("%s/topics", data)), 0); /* they are empty */
        CHECK_EQ(rmdir(text("%s/old", data)), 0);
        CHECK_EQ(rmdir(text("%s/new", data)), 0);
        CHECK_EQ(count_leat_maps(), 0);
    }
}
