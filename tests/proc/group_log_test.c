/* What groups have committed is there when leatd has begun anew.
 *
 * Goal: the promises of leat.h and src/README ("Committed offsets"): what waits for the disk, what follows when, what comes back and as what.
 * Method: both of leatd's processes are killed at once, right behind the call that made a promise; a new leatd on the same directory
 * is asked. What follows by itself is waited for in the file, of which the tests read no more than entries of the right form.
 */
#include "bus.h"
#include "client/bus.h"
#include "store/format.h"
#include "test.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATIENCE_S = 20 };

static const char *const no_options[] = { NULL };

static struct bus *begin_anew(struct bus *bus, const char *const *options)
{
    const char *path = text("%s", bus->path);
    bus_kill_both(bus);
    return bus_start_in(path, options);
}

static leat_consumer_options options_of(const char *group)
{
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.group = group;
    options.reset = LEAT_EARLIEST;
    options.auto_commit_ms = 0;
    options.spin_us = 0;
    return options;
}

static leat_consumer *join(leat_bus *handle, leat_consumer_options options)
{
    leat_consumer *consumer;
    CHECK_OK(leat_consumer_open(&consumer, handle, &options));
    CHECK_OK(leat_consumer_subscribe(consumer, (const char *[]){ "t" }, 1));
    return consumer;
}

static void send(leat_bus *handle, uint32_t count)
{
    leat_producer *producer = open_producer(handle, "t", NULL);
    for (uint32_t i = 0; i < count; i++)
        CHECK_OK(leat_producer_send(producer, &(leat_record){ .value = "x", .value_size = 1 }, NULL));
    CHECK_OK(leat_producer_flush(producer, 20000));
    leat_producer_close(producer);
}

/* Polls until so many have come; the offset of the first one. */
static uint64_t take(leat_consumer *consumer, uint32_t count)
{
    const leat_record *records;
    uint64_t first = UINT64_MAX;
    uint32_t taken = 0;
    for (double until = now_s() + PATIENCE_S * test_slowdown(); taken < count;) {
        int n = CHECK_OK(leat_consumer_poll(consumer, 100, &records));
        if (n > 0 && first == UINT64_MAX)
            first = records[0].offset;
        taken += (uint32_t)n;
        if (now_s() > until)
            FAIL("%u of %u records", taken, count);
    }
    return first;
}

/* leatd's word; -1: none, -2: there is no such group. */
static int64_t committed_of(leat_bus *handle, const char *group, uint32_t partition)
{
    leat_group_info *info;
    int64_t committed = -1;
    int r = leat_group_describe(handle, group, &info);
    if (r == LEAT_ENOGROUP)
        return -2;
    CHECK_OK(r);
    for (int i = 0; i < info->partition_count; i++)
        if (info->partitions[i].partition == partition)
            committed = info->partitions[i].current_offset;
    leat_group_info_free(info);
    return committed;
}

static uint64_t generation_of(leat_bus *handle, const char *group)
{
    leat_group_info *info;
    CHECK_OK(leat_group_describe(handle, group, &info));
    uint64_t generation = info->generation;
    leat_group_info_free(info);
    return generation;
}

/* What the last entry of this group and partition in the file says; -1: there is none, or it is forgotten. */
static int64_t filed(const struct bus *bus, const char *group, uint32_t partition)
{
    static unsigned char bytes[1 << 20];
    int64_t offset = -1;
    FILE *file = fopen(text("%s/data/groups/offsets", bus->path), "r");
    size_t size = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    if (file)
        fclose(file);
    for (size_t at = LT_STORE_PAGE; at + sizeof(struct lt_offsets_entry) <= size;) {
        struct lt_offsets_entry entry;
        memcpy(&entry, bytes + at, sizeof entry);
        if (entry.magic != LT_OFFSETS_ENTRY_MAGIC || entry.bytes > size - at)
            break;
        if (entry.partition == partition && entry.topic != 0 && entry.group_size == strlen(group) &&
            memcmp(bytes + at + sizeof entry, group, entry.group_size) == 0)
            offset = entry.offset;
        at += entry.bytes;
    }
    return offset;
}

/* ---- what waits ---- */

static void commit_and_die(enum leat_level level)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2, .level = level);
    leat_bus *handle = bus_open(bus);
    send(handle, 20);
    leat_consumer *consumer = join(handle, options_of("g"));
    take(consumer, 20);
    leat_offset offset = { .topic = "t", .partition = 1, .offset = 7, .metadata = "seven" };
    CHECK_OK(leat_consumer_commit(consumer, LEAT_SYNC));
    CHECK_OK(leat_consumer_commit_offsets(consumer, &offset, 1, LEAT_SYNC));
    int64_t other = CHECK_OK(leat_consumer_committed(consumer, "t", 0));
    bus = begin_anew(bus, no_options);
    leat_close(handle);

    handle = bus_open(bus);
    CHECK_EQ(committed_of(handle, "g", 0), other);
    CHECK_EQ(committed_of(handle, "g", 1), 7);
    leat_consumer_options options = options_of("g");
    CHECK_OK(leat_consumer_open(&consumer, handle, &options));
    CHECK_OK(leat_consumer_assign(consumer, (leat_partition[]){ { "t", 1 } }, 1));
    char metadata[64];
    CHECK_EQ(leat_consumer_committed_metadata(consumer, "t", 1, metadata, sizeof metadata), 5);
    CHECK_STR(metadata, "seven");
    leat_consumer_close(consumer);
    consumer = join(handle, options_of("g"));
    CHECK_EQ(take(consumer, 1), 7);
    leat_close(handle);
    bus_stop(bus);
}

TEST(synchronous_commit_at_level_durable_survives_the_death_of_both)
{
    commit_and_die(LEAT_DURABLE);
}

TEST(synchronous_commit_at_level_written_survives_the_death_of_both)
{
    commit_and_die(LEAT_WRITTEN);
}

TEST(consumer_that_was_closed_has_its_automatic_commit_on_the_disk)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    leat_consumer_options options = options_of("g");
    send(handle, 5);
    options.auto_commit_ms = 3600 * 1000;
    leat_consumer *consumer = join(handle, options);
    take(consumer, 5);
    leat_consumer_close(consumer);
    bus = begin_anew(bus, no_options);
    leat_close(handle);
    handle = bus_open(bus);
    CHECK_EQ(committed_of(handle, "g", 0), 5);
    leat_close(handle);
    bus_stop(bus);
}

TEST(reset_and_delete_of_a_group_are_on_the_disk_when_they_return)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2, .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    leat_offset offsets[] = { { .topic = "t", .partition = 0, .offset = 3 },
                              { .topic = "t", .partition = 1, .offset = 4, .metadata = "four" } };
    CHECK_OK(leat_group_reset(handle, "stays", offsets, 2));
    CHECK_OK(leat_group_reset(handle, "goes", offsets, 2));
    CHECK_OK(leat_group_delete(handle, "goes"));
    bus = begin_anew(bus, no_options);
    leat_close(handle);
    handle = bus_open(bus);
    CHECK_EQ(committed_of(handle, "stays", 0), 3);
    CHECK_EQ(committed_of(handle, "stays", 1), 4);
    CHECK_EQ(committed_of(handle, "goes", 0), -2);
    leat_close(handle);
    bus_stop(bus);
}

static leat_consumer *revoked_of;
static int revoked_result = 1;

static void commit_revoked(leat_consumer *consumer, const leat_partition *partitions, int count, void *user)
{
    (void)partitions, (void)count, (void)user;
    if (consumer == revoked_of)
        revoked_result = leat_consumer_commit(consumer, LEAT_SYNC);
}

TEST(synchronous_commit_in_on_revoked_lands)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2, .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    send(handle, 20);
    leat_consumer_options options = options_of("g");
    options.on_revoked = commit_revoked;
    leat_consumer *first = revoked_of = join(handle, options);
    take(first, 20);
    leat_consumer *second = join(handle, options);
    const leat_record *records;
    WAIT_UNTIL((leat_consumer_poll(first, 0, &records), leat_consumer_poll(second, 0, &records),
                revoked_result != 1),
               PATIENCE_S);
    CHECK_EQ(revoked_result, 0);
    bus = begin_anew(bus, no_options);
    leat_close(handle);
    handle = bus_open(bus);
    CHECK_EQ(committed_of(handle, "g", 0) + committed_of(handle, "g", 1), 20);
    leat_close(handle);
    bus_stop(bus);
}

/* ---- what follows ---- */

TEST(asynchronous_commit_is_on_the_disk_about_a_second_later)
{
    struct bus *bus = bus_start("--log", "yes");
    bus_topic(bus, "t", .segment_bytes = 1 << 20);
    leat_bus *handle = bus_open(bus);
    send(handle, 20);
    leat_consumer *consumer = join(handle, options_of("g"));
    take(consumer, 20);
    leat_offset offset = { .topic = "t", .partition = 0, .offset = 11, .metadata = "eleven" };
    CHECK_OK(leat_consumer_commit_offsets(consumer, &offset, 1, LEAT_ASYNC));
    double from = now_s();
    WAIT_UNTIL(filed(bus, "g", 0) == 11, PATIENCE_S);
    printf("busy: %.0f ms\n", (now_s() - from) * 1e3);

    /* And when leatd had nothing to do for so long that it hardly looks any more. */
    WAIT_UNTIL(handle->coordinator->resting != 0, PATIENCE_S);
    offset = (leat_offset){ .topic = "t", .partition = 0, .offset = 12 };
    from = now_s();
    CHECK_OK(leat_consumer_commit_offsets(consumer, &offset, 1, LEAT_ASYNC));
    WAIT_UNTIL(filed(bus, "g", 0) == 12, PATIENCE_S);
    printf("at rest: %.0f ms\n", (now_s() - from) * 1e3);
    CHECK(now_s() - from < 4 * test_slowdown()); /* the longest pause is 8 s */

    bus = begin_anew(bus, no_options);
    leat_close(handle);
    handle = bus_open(bus);
    CHECK_EQ(committed_of(handle, "g", 0), 12);
    leat_close(handle);
    bus_stop(bus);
}

TEST(clean_stop_keeps_what_members_have_committed)
{
    struct bus *bus = bus_start("--log", "yes");
    bus_topic(bus, "t", .partitions = 2, .segment_bytes = 1 << 20);
    leat_bus *handle = bus_open(bus);
    send(handle, 10);
    leat_consumer *consumer = join(handle, options_of("g"));
    take(consumer, 10);
    CHECK_OK(leat_consumer_commit(consumer, LEAT_ASYNC));
    const char *path = text("%s", bus->path);
    bus_stop(bus);
    leat_close(handle);
    bus = bus_start_in(path, no_options);
    handle = bus_open(bus);
    CHECK_EQ(committed_of(handle, "g", 0) + committed_of(handle, "g", 1), 10);
    leat_close(handle);
    bus_stop(bus);
}

TEST(next_worker_goes_on_with_the_file)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    send(handle, 20);
    leat_offset elsewhere = { .topic = "t", .partition = 0, .offset = 2 };
    CHECK_OK(leat_group_reset(handle, "other", &elsewhere, 1));
    leat_consumer *consumer = join(handle, options_of("g"));
    take(consumer, 20);
    for (int64_t i = 1; i < 5; i++) {
        leat_offset offset = { .topic = "t", .partition = 0, .offset = 2 * i };
        CHECK_OK(leat_consumer_commit_offsets(consumer, &offset, 1, LEAT_SYNC));
        bus_wait_worker(bus, bus_kill_worker(bus));
        offset.offset++; /* a request to a worker that has just begun */
        CHECK_OK(leat_consumer_commit_offsets(consumer, &offset, 1, LEAT_SYNC));
        CHECK_EQ(filed(bus, "g", 0), 2 * i + 1);
    }
    CHECK_EQ(filed(bus, "other", 0), 2);
    CHECK_OK(leat_group_delete(handle, "other"));
    CHECK_EQ(filed(bus, "other", 0), -1);
    leat_close(handle);
    bus_stop(bus);
}

/* ---- what comes back ---- */

TEST(group_comes_back_as_what_it_was)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    leat_consumer_options options = options_of("g");
    options.assignor = LEAT_STICKY;
    uint64_t generation = 0;
    send(handle, 3);
    for (int i = 0; i < 3; i++) {
        leat_consumer *consumer = join(handle, options);
        if (i == 0)
            take(consumer, 3);
        CHECK_OK(leat_consumer_commit(consumer, LEAT_SYNC));
        generation = generation_of(handle, "g");
        leat_consumer_close(consumer);
    }
    bus = begin_anew(bus, no_options);
    leat_close(handle);
    handle = bus_open(bus);
    leat_group_info *info;
    CHECK_OK(leat_group_describe(handle, "g", &info));
    CHECK_STR(info->state, "empty");
    CHECK_EQ(info->assignor, LEAT_STICKY);
    CHECK_EQ(info->uid, getuid());
    CHECK(info->generation >= generation);
    leat_group_info_free(info);
    leat_consumer *consumer = join(handle, options);
    const leat_record *records;
    CHECK_OK(leat_consumer_poll(consumer, 0, &records));
    CHECK((uint64_t)leat_consumer_generation(consumer) > generation);
    leat_close(handle);
    bus_stop(bus);
}

TEST(topic_that_is_younger_than_the_group_still_starts_at_its_first_record)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    leat_offset offset = { .topic = "t", .partition = 0, .offset = 0 };
    CHECK_OK(leat_group_reset(handle, "g", &offset, 1));
    uint64_t begun_ms = (uint64_t)(now_s() * 1e3);
    WAIT_UNTIL((uint64_t)(now_s() * 1e3) > begun_ms + 2, PATIENCE_S);
    bus_topic(bus, "younger", .level = LEAT_DURABLE);
    leat_producer *producer = open_producer(handle, "younger", NULL);
    CHECK_OK(leat_producer_send(producer, &(leat_record){ .value = "x", .value_size = 1 }, NULL));
    CHECK_OK(leat_producer_flush(producer, 20000));
    bus = begin_anew(bus, no_options);
    leat_close(handle);
    handle = bus_open(bus);
    leat_consumer_options options = options_of("g");
    options.reset = LEAT_LATEST;
    leat_consumer *consumer;
    CHECK_OK(leat_consumer_open(&consumer, handle, &options));
    CHECK_OK(leat_consumer_subscribe(consumer, (const char *[]){ "younger" }, 1));
    CHECK_EQ(take(consumer, 1), 0);
    leat_close(handle);
    bus_stop(bus);
}

TEST(deleted_topic_takes_its_committed_offsets_with_it)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    leat_offset offset = { .topic = "t", .partition = 0, .offset = 3 };
    CHECK_OK(leat_group_reset(handle, "g", &offset, 1));
    CHECK_OK(leat_topic_delete(handle, "t"));
    bus_topic(bus, "t", .level = LEAT_DURABLE);
    CHECK_EQ(committed_of(handle, "g", 0), -1);
    bus = begin_anew(bus, no_options);
    leat_close(handle);
    handle = bus_open(bus);
    CHECK_EQ(committed_of(handle, "g", 0), -1);
    WAIT_UNTIL(filed(bus, "g", 0) == -1, PATIENCE_S);
    leat_close(handle);
    bus_stop(bus);
}

TEST(empty_group_is_forgotten_in_time_after_a_new_start_too)
{
    static const char *const options[] = { "--group-retention", "1000", NULL };
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    leat_offset offset = { .topic = "t", .partition = 0, .offset = 3 };
    CHECK_OK(leat_group_reset(handle, "g", &offset, 1));
    bus = begin_anew(bus, options);
    leat_close(handle);
    handle = bus_open(bus);
    WAIT_UNTIL(committed_of(handle, "g", 0) == -2, PATIENCE_S);
    WAIT_UNTIL(filed(bus, "g", 0) == -1, PATIENCE_S);
    leat_close(handle);
    bus = begin_anew(bus, no_options);
    handle = bus_open(bus);
    CHECK_EQ(committed_of(handle, "g", 0), -2);
    leat_close(handle);
    bus_stop(bus);
}

static void missed(leat_consumer *consumer, const leat_partition *partition, uint64_t from, uint64_t count,
                   void *user)
{
    (void)consumer, (void)partition, (void)user;
    FAIL("%" PRIu64 " missed from %" PRIu64 " on", count, from);
}

TEST(committed_offset_in_the_gap_that_a_loss_has_left_is_no_error)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    send(handle, 10);
    /* As if 13 records had been read whose bytes never came to the disk: the next ring begins behind what it could have given out. */
    leat_offset offset = { .topic = "t", .partition = 0, .offset = 13 };
    CHECK_OK(leat_group_reset(handle, "g", &offset, 1));
    bus = begin_anew(bus, no_options);
    leat_close(handle);
    handle = bus_open(bus);
    leat_consumer_options options = options_of("g");
    options.reset = LEAT_RESET_ERROR;
    options.on_missed = missed;
    leat_consumer *consumer = join(handle, options);
    const leat_record *records;
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), 0);
    CHECK_EQ(leat_consumer_poll(consumer, 20, &records), 0);
    send(handle, 1);
    CHECK(take(consumer, 1) > 13);
    CHECK_OK(leat_consumer_commit(consumer, LEAT_SYNC));
    CHECK_EQ(leat_consumer_lag(consumer, "t", 0), 0);
    leat_close(handle);
    bus_stop(bus);
}

TEST(thousand_groups_come_back)
{
    enum { GROUPS = 1000, PARTITIONS = 10 };
    struct bus *bus = bus_start("--max-groups", "2000", "--log-level", "warn");
    static const char *const options[] = { "--max-groups", "2000", NULL };
    bus_topic(bus, "t", .partitions = PARTITIONS, .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    leat_offset offsets[PARTITIONS];
    double from = now_s();
    for (int g = 0; g < GROUPS; g++) {
        for (uint32_t p = 0; p < PARTITIONS; p++)
            offsets[p] = (leat_offset){ .topic = "t", .partition = p, .offset = g + p };
        CHECK_OK(leat_group_reset(handle, text("group-%d", g), offsets, PARTITIONS));
    }
    printf("made in %.0f ms\n", (now_s() - from) * 1e3);
    const char *path = text("%s", bus->path);
    bus_kill_both(bus);
    leat_close(handle);
    from = now_s();
    bus = bus_start_in(path, options);
    printf("leatd is ready after %.0f ms; its log says what of it the groups took\n", (now_s() - from) * 1e3);
    handle = bus_open(bus);
    char **names;
    int count = CHECK_OK(leat_group_list(handle, &names));
    CHECK_EQ(count, GROUPS);
    leat_names_free(names, count);
    for (int g = 0; g < GROUPS; g += 97)
        CHECK_EQ(committed_of(handle, text("group-%d", g), 7), g + 7);
    leat_close(handle);
    bus_stop(bus);
}

/* ---- errors ---- */

/* One more commit, and another offset each time. */
static int commit_more(leat_consumer *consumer)
{
    static int64_t next = 1;
    leat_offset offset = { .topic = "t", .partition = 0, .offset = next };
    next = next % 15 + 1;
    return leat_consumer_commit_offsets(consumer, &offset, 1, LEAT_SYNC);
}

TEST(full_disk_is_told_to_who_waits_and_passes_by_itself)
{
    const char *path = text("%s/full", test_dir());
    CHECK_EQ(mkdir(path, 0700), 0);
    CHECK_EQ(mkdir(text("%s/data", path), 0700), 0);
    const char *groups = text("%s/data/groups", path);
    CHECK_EQ(mkdir(groups, 0700), 0);
    if (mount("tmpfs", groups, "tmpfs", 0, "size=1200k") < 0) {
        CHECK(errno == EPERM || errno == EACCES);
        SKIP("may not mount");
    }
    struct bus *bus = bus_start_in(path, no_options);
    bus_topic(bus, "t", .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    send(handle, 16);
    leat_consumer *consumer = join(handle, options_of("g"));
    take(consumer, 16);
    /* Until the file is full, and there is no room for another one. */
    int r = 0, commits = 0;
    for (; r == 0 && commits < 40000; commits++)
        r = commit_more(consumer);
    CHECK_EQ(r, LEAT_ENOSPC);
    printf("%d commits, then: %s\n", commits, leat_last_error(handle));
    CHECK(strstr(leat_last_error(handle), "groups") != NULL);
    CHECK_EQ(mount("tmpfs", groups, "tmpfs", MS_REMOUNT, "size=8m"), 0);
    WAIT_UNTIL(commit_more(consumer) == 0, PATIENCE_S);
    int64_t committed = CHECK_OK(leat_consumer_committed(consumer, "t", 0));
    bus = begin_anew(bus, no_options);
    leat_close(handle);
    handle = bus_open(bus);
    CHECK_EQ(committed_of(handle, "g", 0), committed);
    leat_close(handle);
    bus_stop(bus);
    CHECK_EQ(umount2(groups, MNT_DETACH), 0);
}

/* Moves a file of the data directory away, or back. */
static void move(const struct bus *bus, const char *from, const char *to)
{
    CHECK_EQ(rename(text("%s/data/%s", bus->path, from), text("%s/data/%s", bus->path, to)), 0);
}

TEST(topic_that_cannot_be_served_for_a_while_keeps_its_committed_offsets)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .level = LEAT_DURABLE);
    bus_topic(bus, "other", .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    leat_offset offsets[] = { { .topic = "t", .offset = 3 }, { .topic = "other", .offset = 4 } };
    CHECK_OK(leat_group_reset(handle, "g", offsets, 2));
    const char *path = text("%s", bus->path);
    bus_stop(bus);
    leat_close(handle);

    move(bus, "topics/t/topic", "topics/t/gone");
    bus = bus_start_in(path, no_options);
    bus_wait_worker(bus, bus_kill_worker(bus)); /* who compares all of the file with what is there */
    handle = bus_open(bus);
    CHECK_EQ(committed_of(handle, "g", 0), 4);
    offsets[1].offset = 5;
    CHECK_OK(leat_group_reset(handle, "g", &offsets[1], 1));
    bus_stop(bus);
    leat_close(handle);

    move(bus, "topics/t/gone", "topics/t/topic");
    bus = bus_start_in(path, no_options);
    handle = bus_open(bus);
    leat_group_info *info;
    CHECK_OK(leat_group_describe(handle, "g", &info));
    CHECK_EQ(info->partition_count, 2);
    CHECK_EQ(info->partitions[0].current_offset, 5);
    CHECK_EQ(info->partitions[1].current_offset, 3);
    leat_group_info_free(info);
    leat_close(handle);
    bus_stop(bus);
}

TEST(bus_does_not_begin_without_offsets_that_are_damaged)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .level = LEAT_DURABLE);
    leat_bus *handle = bus_open(bus);
    leat_offset offset = { .topic = "t", .offset = 3 };
    for (int g = 0; g < 5; g++)
        CHECK_OK(leat_group_reset(handle, text("g%d", g), &offset, 1));
    const char *path = text("%s", bus->path), *output;
    bus_stop(bus);
    leat_close(handle);
    FILE *file = fopen(text("%s/data/groups/offsets", path), "r+");
    CHECK(file && fseek(file, LT_STORE_PAGE + 60, SEEK_SET) == 0 && fputc(0x55, file) == 0x55);
    CHECK_EQ(fclose(file), 0);
    const char *argv[] = { test_program("LEAT_TEST_LEATD"), "--bus", path, NULL };
    CHECK(run_program(argv, &output) != 0);
    printf("%s", output);
    CHECK(strstr(output, "groups/offsets") != NULL);

    /* Who says so begins without. */
    move(bus, "groups/offsets", "groups/offsets.damaged");
    bus = bus_start_in(path, no_options);
    handle = bus_open(bus);
    CHECK_EQ(committed_of(handle, "g1", 0), -2);
    CHECK_OK(leat_group_reset(handle, "g1", &offset, 1));
    leat_close(handle);
    bus_stop(bus);
}
