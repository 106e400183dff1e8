/* plog: one partition's log on a disk in memory, states placed by hand. */
#include "store/plog.h"

#include <errno.h>
#include <fcntl.h>
#include <leat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "simdisk.h"
#include "store/plog_inside.h"
#include "test.h"

#define SEGMENT_BYTES (4 * LT_STORE_PAGE)
#define FIRST_NAME "00000000000000000000.log"

static struct simdisk *disk;
static struct lt_io *io;
static struct lt_plog_settings settings = { .id = { .topic = 9, .partition = 1 },
                                            .segment_bytes = SEGMENT_BYTES,
                                            .reserve_step = 100,
                                            .index_step = 512,
                                            .level = LT_PLOG_DURABLE,
                                            .depth = 8 };
static unsigned char stages[8][8192] __attribute__((aligned(64)));

static void start_disk(void)
{
    disk = simdisk_new(test_random());
    io = simdisk_io(disk);
}

static struct lt_plog *open_with(unsigned how)
{
    struct lt_plog *log = NULL;
    int result = lt_plog_open(io, simdisk_root(disk), "p", &settings, how, &log);
    if (result != 0)
        FAIL("open: %d: %s", result, lt_fail_text());
    return log;
}

static struct lt_plog *new_log(void)
{
    start_disk();
    return open_with(LT_RECOVER_CREATE);
}

/* What is left when power goes now and nothing that was not synced survives: the seeds are tried for the bare one. */
static void lose_power(void)
{
    struct simdisk *after = simdisk_after_power_loss(disk, test_random());
    simdisk_free(disk);
    disk = after;
    io = simdisk_io(disk);
}

/* Submits one record with a value of that size; the stage is one of eight. */
static int send_one(struct lt_plog *log, int stage, uint32_t size, struct lt_io_op *op)
{
    static unsigned char value[8192];
    struct lt_batch batch;
    uint64_t offset = lt_plog_end(log);
    memset(value, (int)offset, sizeof value);
    struct lt_store_record record = { .offset = offset,
                                      .stamp = 1000 + offset,
                                      .value_size = size,
                                      .key_size = LT_STORE_NULL,
                                      .kind = LT_RECORD_DATA,
                                      .bytes = value };
    lt_batch_start(&batch, stages[stage], sizeof stages[0], offset);
    CHECK_EQ(lt_batch_add(&batch, &record), 0);
    return lt_plog_append(log, &batch, op);
}

static int finish(struct lt_plog *log)
{
    struct lt_io_done done;
    struct lt_io_op again;
    int error = 0;
    while (lt_io_reap(io, &done, 1, 0) == 1) {
        int result = lt_plog_completed(log, done.token, done.result, &again);
        if (result == 1)
            CHECK_EQ(lt_io_submit(io, &again, 1), 1);
        error = result < 0 ? result : error;
    }
    return error;
}

/* Appends `count` records one after the other, makes room as needed. */
static void fill(struct lt_plog *log, int count, uint32_t size)
{
    while (count-- > 0) {
        struct lt_io_op op;
        CHECK_EQ(lt_plog_prepare(log), 0);
        CHECK_EQ(send_one(log, 0, size, &op), 0);
        CHECK_EQ(lt_io_submit(io, &op, 1), 1);
        CHECK_EQ(finish(log), 0);
    }
}

static void check_readable(struct lt_plog *log, uint64_t from, uint64_t end)
{
    static unsigned char bytes[16384] __attribute__((aligned(64)));
    struct lt_plog_place place;
    struct lt_plog_cursor cursor;
    CHECK_EQ(lt_plog_find(log, from, &place), 0);
    lt_plog_cursor_start(&cursor, &place);
    while (from < end) {
        struct lt_store_record record;
        uint32_t at = 0;
        int result = lt_plog_read(log, &cursor, bytes, sizeof bytes);
        if (result != 0)
            FAIL("read at %llu: %d: %s", (unsigned long long)from, result, lt_fail_text());
        while (lt_batch_next(bytes, &at, &record)) {
            CHECK_EQ(record.offset, from);
            CHECK_EQ(*(const unsigned char *)record.bytes, from & 0xff);
            from++;
        }
        from = ((const struct lt_batch_head *)(const void *)bytes)->end_offset;
    }
    lt_plog_cursor_end(log, &cursor);
}

TEST(empty_directory_is_no_log_unless_asked)
{
    struct lt_plog *log;
    start_disk();
    CHECK_EQ(lt_plog_open(io, simdisk_root(disk), "p", &settings, 0, &log), 1);
    log = open_with(LT_RECOVER_CREATE);
    CHECK_EQ(lt_plog_end(log), 0);
    lt_plog_abandon(log);
    CHECK_EQ(simdisk_open_count(disk), 0);
}

TEST(log_rolls_and_is_read_from_anywhere)
{
    struct lt_plog *log = new_log();
    fill(log, 100, 700);
    CHECK(log->segment_count > 4);
    CHECK_EQ(lt_plog_durable(log), 100);
    for (uint64_t from = 0; from < 100; from++)
        check_readable(log, from, 100);
    lt_plog_abandon(log);
    CHECK_EQ(simdisk_open_count(disk), 0);
}

TEST(completions_in_any_order_acknowledge_a_prefix)
{
    struct lt_plog *log = new_log();
    struct lt_io_op ops[3], again;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(send_one(log, i, 100, &ops[i]), 0);
    CHECK_EQ(lt_plog_completed(log, ops[2].token, ops[2].size, &again), 0);
    CHECK_EQ(lt_plog_completed(log, ops[1].token, ops[1].size, &again), 0);
    CHECK_EQ(lt_plog_acked(log), 0);
    CHECK_EQ(lt_plog_completed(log, ops[0].token, ops[0].size, &again), 0);
    CHECK_EQ(lt_plog_written(log), 3);
    lt_plog_abandon(log);
}

TEST(batch_alone_is_flushed_by_itself_and_those_behind_it_by_one_sync)
{
    struct lt_plog *log = new_log();
    struct lt_io_op ops[3], sync, again;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(send_one(log, i, 100, &ops[i]), 0);
    CHECK_EQ(ops[0].flags, LT_IO_DSYNC);
    CHECK_EQ(ops[1].flags, 0);
    CHECK_EQ(lt_plog_sync(log, &sync), LT_PLOG_NOTHING);
    CHECK_EQ(lt_plog_completed(log, ops[0].token, ops[0].size, &again), 0);
    CHECK_EQ(lt_plog_acked(log), 1);
    CHECK_EQ(lt_plog_completed(log, ops[1].token, ops[1].size, &again), 0);
    CHECK_EQ(lt_plog_acked(log), 1);
    CHECK_EQ(lt_plog_sync(log, &sync), 0);
    CHECK_EQ(lt_plog_completed(log, ops[2].token, ops[2].size, &again), 0);
    CHECK_EQ(lt_plog_sync(log, &again), LT_PLOG_BUSY);
    CHECK_EQ(lt_plog_completed(log, sync.token, 0, &again), 0);
    CHECK_EQ(lt_plog_acked(log), 2); /* the third ended behind the sync's beginning */
    CHECK_EQ(lt_plog_sync(log, &sync), 0);
    CHECK_EQ(lt_plog_completed(log, sync.token, 0, &again), 0);
    CHECK_EQ(lt_plog_acked(log), 3);
    CHECK_EQ(send_one(log, 0, 100, &ops[0]), 0);
    CHECK_EQ(ops[0].flags, LT_IO_DSYNC);
    lt_plog_abandon(log);
}

TEST(short_write_goes_on_where_it_stopped)
{
    struct lt_plog *log = new_log();
    struct lt_io_op op, again;
    CHECK_EQ(send_one(log, 0, 1000, &op), 0);
    CHECK_EQ(lt_plog_completed(log, op.token, 512, &again), 1);
    CHECK_EQ(again.at, op.at + 512);
    CHECK_EQ(again.size, op.size - 512);
    CHECK(again.bytes == (const unsigned char *)op.bytes + 512);
    CHECK_EQ(lt_plog_acked(log), 0);
    CHECK_EQ(lt_plog_completed(log, again.token, again.size, &op), 0);
    CHECK_EQ(lt_plog_acked(log), 1);
    lt_plog_abandon(log);
}

TEST(failed_write_stops_the_log_for_good)
{
    struct lt_plog *log = new_log();
    struct lt_io_op ops[2], op;
    CHECK_EQ(send_one(log, 0, 100, &ops[0]), 0);
    CHECK_EQ(send_one(log, 1, 100, &ops[1]), 0);
    CHECK_EQ(lt_plog_completed(log, ops[1].token, -EIO, &op), LEAT_EIO);
    CHECK_EQ(lt_plog_completed(log, ops[0].token, ops[0].size, &op), LEAT_EIO);
    CHECK_EQ(lt_plog_acked(log), 0);
    CHECK_EQ(lt_plog_state(log), LT_PLOG_FAILED);
    CHECK_EQ(lt_plog_under_way(log), 0);
    CHECK_EQ(send_one(log, 0, 100, &op), LEAT_EIO);
    CHECK(strstr(lt_plog_reason(log), "errno 5"));
    CHECK_EQ(lt_plog_trim(log, 0, INT64_MAX), LEAT_EIO);
    CHECK_EQ(lt_plog_close(log, 2), LEAT_EIO);
}

/* The cache says that the bytes are there and clean, the disk does not have them. */
TEST(resume_after_a_failed_sync_reads_past_the_cache)
{
    settings.level = LT_PLOG_WRITTEN;
    for (int i = 0; i < 50; i++) {
        struct lt_plog *log = new_log();
        struct lt_io_op op;
        fill(log, 1 + i % 5, i % 2 ? 900 : 100); /* few sectors: often the disk has none of them */
        CHECK_EQ(lt_plog_written(log), 1 + i % 5);
        CHECK_EQ(lt_plog_sync(log, &op), 0);
        simdisk_fail_at(disk, simdisk_operations(disk), EIO, false);
        CHECK_EQ(lt_io_submit(io, &op, 1), 1);
        CHECK_EQ(finish(log), LEAT_EIO);
        lt_plog_abandon(log);
        log = open_with(0);
        uint64_t durable = lt_plog_durable(log);
        CHECK(simdisk_is_zero(disk, "", FIRST_NAME,
                              log->end.pos)); /* the cache, too: what it has, readers map */
        lt_plog_abandon(log);
        lose_power();
        log = open_with(0);
        CHECK(lt_plog_end(log) >= durable);
        if (durable > 0)
            check_readable(log, 0, durable);
        lt_plog_abandon(log);
        simdisk_free(disk);
    }
}

TEST(full_disk_is_told_before_the_room_is_gone_and_goes_away)
{
    struct lt_plog *log = new_log();
    struct lt_io_op op;
    fill(log, 1, 6000); /* half of it is used */
    CHECK_EQ(lt_plog_reserve(log, 10), 0);
    simdisk_fail_at(disk, simdisk_operations(disk), ENOSPC, true);
    CHECK_EQ(lt_plog_prepare(log), LEAT_ENOSPC);
    CHECK_EQ(lt_plog_state(log), LT_PLOG_FULL);
    CHECK_EQ(lt_plog_error(log), LEAT_ENOSPC);
    CHECK(strstr(lt_plog_reason(log), "errno 28"));
    CHECK_EQ(send_one(log, 0, 100, &op), 0); /* what was promised still fits */
    simdisk_fail_at(disk, UINT64_MAX, 0, false);
    CHECK_EQ(lt_plog_prepare(log), 0);
    CHECK_EQ(lt_plog_state(log), LT_PLOG_OPEN);
    lt_plog_abandon(log);
}

/* Whoever makes spares by itself does not say prepare: one is there. Whichever operation of the roll it is that gives the name. */
TEST(disk_without_room_for_a_name_is_full_until_the_name_is_given)
{
    int seen = 0;
    for (uint64_t k = 0; k < 8; k++) {
        struct lt_plog *log = new_log();
        struct lt_io_op op;
        fill(log, 1, 6000);
        CHECK_EQ(lt_plog_reserve(log, 10), 0);
        CHECK_EQ(lt_plog_prepare(log), 0);
        simdisk_fail_at(disk, simdisk_operations(disk) + k, ENOSPC, true);
        if (send_one(log, 0, 7000, &op) == LEAT_ENOSPC) {
            CHECK_EQ(lt_plog_state(log), LT_PLOG_FULL);
            simdisk_fail_at(disk, UINT64_MAX, 0, false);
            CHECK_EQ(send_one(log, 0, 7000, &op), 0);
            CHECK_EQ(lt_plog_state(log), LT_PLOG_OPEN);
            seen++;
        }
        lt_plog_abandon(log);
        simdisk_free(disk);
    }
    CHECK_EQ(seen, 1);
}

TEST(append_without_a_segment_to_go_to_changes_nothing)
{
    struct lt_plog *log = new_log();
    struct lt_io_op op;
    fill(log, 1, 6000);
    CHECK_EQ(send_one(log, 0, 7000, &op), LT_PLOG_NO_ROOM);
    CHECK_EQ(lt_plog_end(log), 1);
    CHECK_EQ(lt_plog_prepare(log), 0);
    CHECK_EQ(send_one(log, 0, 7000, &op), 0);
    lt_plog_abandon(log);
}

TEST(spare_is_wanted_once_half_of_the_segment_is_used)
{
    struct lt_plog *log = new_log();
    int idle = simdisk_open_count(disk);
    fill(log, 1, 3000);
    bool zeros;
    CHECK_EQ(lt_plog_wants_spare(log, &zeros), 0);
    CHECK_EQ(simdisk_open_count(disk), idle);
    fill(log, 1, 3000);
    CHECK_EQ(lt_plog_wants_spare(log, &zeros), SEGMENT_BYTES);
    CHECK(zeros);
    lt_plog_abandon(log);
}

TEST(segments_grow_from_the_first_to_the_size_that_is_set)
{
    static const uint64_t pages[] = { 2, 4, 8, 10, 10 };
    struct lt_plog_settings with = settings;
    settings.first_bytes = 2 * LT_STORE_PAGE;
    settings.segment_bytes = 10 * LT_STORE_PAGE;
    struct lt_plog *log = new_log();
    for (uint32_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        while (log->segment_count == i + 1)
            fill(log, 1, 700);
        CHECK_EQ(log->segments[i].size_bytes, pages[i] * LT_STORE_PAGE);
        if (i == 1) { /* what was there stays as large as it is */
            lt_plog_abandon(log);
            settings.first_bytes = 4 * LT_STORE_PAGE;
            log = open_with(0);
        }
    }
    check_readable(log, 0, lt_plog_end(log));
    lt_plog_abandon(log);
    settings = with;
}

TEST(batch_above_a_segment_gets_a_segment_of_its_own_size)
{
    static unsigned char big[8 * LT_STORE_PAGE] __attribute__((aligned(64)));
    static unsigned char value[6 * LT_STORE_PAGE];
    struct lt_plog *log = new_log();
    struct lt_batch batch;
    struct lt_io_op op;
    struct lt_store_record record = {
        .value_size = sizeof value, .key_size = LT_STORE_NULL, .bytes = value, .kind = 1
    };
    CHECK_EQ(lt_plog_prepare(log), 0);
    lt_batch_start(&batch, big, sizeof big, 0);
    CHECK_EQ(lt_batch_add(&batch, &record), 0);
    CHECK_EQ(lt_plog_append(log, &batch, &op), LT_PLOG_NO_ROOM);
    CHECK_EQ(lt_plog_prepare(log), 0);
    CHECK_EQ(lt_plog_append(log, &batch, &op), 0);
    CHECK_EQ(lt_io_submit(io, &op, 1), 1);
    CHECK_EQ(finish(log), 0);
    CHECK_EQ(lt_plog_acked(log), 1);
    lt_plog_abandon(log);
    log = open_with(0);
    CHECK_EQ(lt_plog_end(log), 1);
    lt_plog_abandon(log);
}

TEST(damage_below_the_durable_offset_is_not_cut_off)
{
    struct lt_plog *log = new_log();
    fill(log, 5, 700);
    lt_plog_abandon(log);
    CHECK(simdisk_damage(disk, "", FIRST_NAME, LT_STORE_PAGE + 2 * 832 + 200, 1)); /* in the third of five */
    log = open_with(0);
    CHECK_EQ(lt_plog_state(log), LT_PLOG_FAILED);
    CHECK_EQ(lt_plog_error(log), LEAT_EFAILED);
    CHECK_EQ(lt_plog_end(log), 2);
    CHECK(strstr(lt_plog_reason(log), "no valid batch at 5760 for offset 2"));
    check_readable(log, 0, 2);
    lt_plog_abandon(log);
    log = open_with(0); /* nothing was changed by looking */
    CHECK_EQ(lt_plog_state(log), LT_PLOG_FAILED);
    lt_plog_abandon(log);
    log = open_with(LT_RECOVER_CUT);
    CHECK_EQ(lt_plog_state(log), LT_PLOG_OPEN);
    CHECK_EQ(lt_plog_end(log), 2);
    CHECK(lt_plog_next(log) >= 5);
    lt_plog_abandon(log);
}

TEST(damage_of_the_last_batch_is_a_torn_end)
{
    struct lt_plog *log = new_log();
    fill(log, 5, 700);
    lt_plog_abandon(log);
    CHECK(simdisk_damage(disk, "", FIRST_NAME, LT_STORE_PAGE + 4 * 832 + 200, 1));
    log = open_with(0);
    CHECK_EQ(lt_plog_state(log), LT_PLOG_OPEN);
    CHECK_EQ(lt_plog_end(log), 4);
    CHECK(lt_plog_next(log) >= 5);
    CHECK(lt_plog_cut_bytes(log) > 0);
    CHECK(simdisk_is_zero(disk, "", FIRST_NAME, log->end.pos));
    lt_plog_abandon(log);
}

TEST(newer_format_is_refused_with_both_numbers)
{
    struct lt_plog *log = new_log();
    fill(log, 3, 100);
    lt_plog_abandon(log);
    CHECK(simdisk_damage(disk, "", FIRST_NAME, 8, 1 ^ 3));
    CHECK_EQ(lt_plog_open(io, simdisk_root(disk), "p", &settings, 0, &log), LEAT_EVERSION);
    CHECK(strstr(lt_fail_text(), "format 3, this program knows up to 1"));
    CHECK_EQ(simdisk_open_count(disk), 0);
}

TEST(anothers_log_is_refused)
{
    struct lt_plog *log = new_log();
    lt_plog_abandon(log);
    settings.id.partition = 2;
    CHECK_EQ(lt_plog_open(io, simdisk_root(disk), "p", &settings, 0, &log), LEAT_EFAILED);
    CHECK(strstr(lt_fail_text(), "partition 1, expected 9, 2"));
}

TEST(older_slot_of_meta_counts_when_the_newer_is_torn)
{
    struct lt_plog *log = new_log();
    fill(log, 3, 100);
    uint64_t newer = log->meta.sequence % 2 * LT_STORE_PAGE;
    lt_plog_abandon(log);
    CHECK(simdisk_damage(disk, "", "meta", newer + 50, 1));
    log = open_with(0);
    CHECK_EQ(lt_plog_end(log), 3);
    lt_plog_abandon(log);
    CHECK(simdisk_damage(disk, "", "meta", 50, 1));
    CHECK(simdisk_damage(disk, "", "meta", LT_STORE_PAGE + 50, 1));
    CHECK_EQ(lt_plog_open(io, simdisk_root(disk), "p", &settings, 0, &log), LEAT_EFAILED);
}

/* Whatever an index says, what is found is what was asked for. */
TEST(damaged_index_is_made_again)
{
    struct lt_plog *log = new_log();
    fill(log, 60, 700);
    lt_plog_abandon(log);
    int64_t size = simdisk_size(disk, "", "00000000000000000000.idx");
    CHECK(size > 100);
    for (int64_t at = 0; at < size; at++) {
        CHECK(simdisk_damage(disk, "", "00000000000000000000.idx", (uint64_t)at, 0x10));
        log = open_with(0);
        for (uint64_t offset = 0; offset < 20; offset += 3) {
            struct lt_plog_place place;
            CHECK_EQ(lt_plog_find(log, offset, &place), 0);
            CHECK_EQ(place.offset, offset);
        }
        lt_plog_abandon(log);
    }
}

/* Its checksum is right and its content is not: of a program with a bug, for example. */
TEST(index_is_a_hint_and_no_more)
{
    struct lt_plog *log = new_log();
    fill(log, 60, 700);
    struct lt_index index = { .step = 512 };
    CHECK_EQ(lt_index_read(&log->dir, 0, SEGMENT_BYTES, &index), 1);
    for (uint32_t i = 0; i < index.count; i++)
        index.entries[i].pos += LT_BATCH_ALIGN;
    CHECK_EQ(lt_index_write(&log->dir, &index), 0);
    struct lt_plog_place place;
    for (uint64_t offset = 0; offset < 20; offset++) {
        CHECK_EQ(lt_plog_find(log, offset, &place), 0);
        CHECK_EQ(place.offset, offset);
    }
    CHECK_EQ(lt_index_read(&log->dir, 0, SEGMENT_BYTES, &index), 1); /* made again */
    lt_index_free(&index);
    lt_plog_abandon(log);
}

TEST(times_are_found_by_the_first_batch_that_reaches_them)
{
    struct lt_plog *log = new_log();
    struct lt_plog_place place;
    fill(log, 60, 700);
    for (uint64_t offset = 0; offset < 60; offset++) {
        CHECK_EQ(lt_plog_find_time(log, 1000 + (int64_t)offset, &place), 0);
        CHECK_EQ(place.offset, offset);
    }
    CHECK_EQ(lt_plog_find_time(log, 0, &place), 0);
    CHECK_EQ(place.offset, 0);
    CHECK_EQ(lt_plog_find_time(log, 1060, &place), LT_PLOG_NOTHING);
    lt_plog_abandon(log);
}

TEST(trim_keeps_the_bytes_and_the_young)
{
    struct lt_plog *log = new_log();
    fill(log, 100, 700);
    uint64_t bytes = lt_plog_bytes(log), segments = log->segment_count;
    CHECK_EQ(bytes, segments * SEGMENT_BYTES);
    CHECK_EQ(lt_plog_trim(log, UINT64_MAX, INT64_MIN), 0);
    CHECK_EQ(lt_plog_trim(log, bytes - 2 * SEGMENT_BYTES, INT64_MIN), 2);
    uint64_t start = lt_plog_start(log);
    CHECK(start > 0);
    struct lt_plog_place place;
    CHECK_EQ(lt_plog_find(log, start - 1, &place), LEAT_EOFFSET);
    check_readable(log, start, 100);
    CHECK_EQ(lt_plog_trim(log, UINT64_MAX, 1000 + (int64_t)start), 0); /* its oldest is as young as that */
    CHECK_EQ(lt_plog_trim(log, UINT64_MAX, INT64_MAX), segments - 3);
    CHECK_EQ(log->segment_count, 1);
    lt_plog_abandon(log);
    log = open_with(0);
    CHECK_EQ(log->segment_count, 1);
    CHECK_EQ(lt_plog_end(log), 100);
    lt_plog_abandon(log);
}

TEST(trimmed_segment_is_the_next_spare_unless_it_was_lent)
{
    for (int lent = 0; lent < 2; lent++) {
        struct lt_plog *log = new_log();
        struct lt_io_stat old, spare;
        int fd;
        fill(log, 60, 700);
        if (log->spare_fd >= 0)
            lt_io_close(io, log->spare_fd);
        log->spare_fd = -1;
        uint64_t base = log->segments[1].base_offset;
        char name[LT_SEGMENT_NAME_SIZE];
        lt_segment_name(name, base, "log");
        CHECK((fd = lt_io_open(io, simdisk_root(disk), name, O_RDONLY)) >= 0);
        CHECK_EQ(lt_io_stat(io, fd, &old), 0);
        lt_io_close(io, fd);
        if (lent)
            lt_plog_lend(log, base + 1);
        log->segments[0].own = false; /* the first one goes */
        CHECK(lt_plog_trim(log, 2 * SEGMENT_BYTES, INT64_MIN) >= 2);
        for (uint32_t i = 0; i < log->segment_count; i++) /* only this one was there to be kept */
            CHECK(log->segments[i].base_offset > base);
        while (log->spare_fd < 0)
            fill(log, 1, 700);
        CHECK_EQ(lt_io_stat(io, log->spare_fd, &spare), 0);
        if (!lent)
            CHECK_EQ(spare.inode, old.inode);
        else
            CHECK(spare.inode != old.inode);
        fill(log, 40, 700); /* over what it had, and beyond */
        uint64_t start = lt_plog_start(log), end = lt_plog_end(log);
        check_readable(log, start, end);
        lt_plog_abandon(log);
        lose_power();
        log = open_with(0);
        CHECK_EQ(lt_plog_state(log), LT_PLOG_OPEN);
        CHECK_EQ(lt_plog_end(log), end);
        check_readable(log, start, end);
        lt_plog_abandon(log);
        simdisk_free(disk);
    }
}

TEST(offsets_given_out_are_not_used_again)
{
    struct lt_plog *log = new_log();
    struct lt_io_op op;
    fill(log, 3, 100);
    CHECK_EQ(lt_plog_reserve(log, 5000), 0);
    lt_plog_abandon(log);
    lose_power();
    log = open_with(0);
    CHECK_EQ(lt_plog_end(log), 3);
    CHECK(lt_plog_next(log) >= 5000);
    uint64_t next = lt_plog_next(log);
    CHECK_EQ(lt_plog_skip(log, next, &op), 0);
    CHECK_EQ(lt_io_submit(io, &op, 1), 1);
    CHECK_EQ(finish(log), 0);
    CHECK_EQ(lt_plog_acked(log), next);
    fill(log, 1, 100);
    check_readable(log, 0, next + 1);
    lt_plog_abandon(log);
}

TEST(closed_log_goes_on_without_a_hole_and_without_a_scan)
{
    struct lt_plog *log = new_log();
    fill(log, 30, 700);
    CHECK_EQ(lt_plog_close(log, 30), 0);
    uint64_t before = simdisk_operations(disk);
    log = open_with(0);
    CHECK(simdisk_operations(disk) - before < 20);
    CHECK_EQ(lt_plog_end(log), 30);
    CHECK_EQ(lt_plog_next(log), 30);
    lt_plog_abandon(log);
    log = open_with(0); /* a death behind it: nothing was given out, so nothing is lost, but nobody knows */
    CHECK_EQ(lt_plog_end(log), 30);
    lt_plog_abandon(log);
}

/* A batch that a death left on the disk may fit behind one that is written later: its generation gives it away. */
TEST(batch_of_an_earlier_generation_is_not_taken)
{
    struct lt_plog *log = new_log();
    uint64_t generation = log->meta.generation;
    lt_plog_abandon(log);
    log = open_with(0);
    CHECK(log->meta.generation > generation);
    fill(log, 2, 100);
    struct lt_batch batch;
    struct lt_batch_place place = { .id = settings.id, .pos = log->end.pos };
    lt_batch_start(&batch, stages[2], 128, 2);
    lt_batch_skip_to(&batch, 3);
    uint32_t size = lt_batch_seal(&batch, &place, generation, 0);
    CHECK_EQ(lt_io_write_all(io, log->active.fd, stages[2], size, place.pos, LT_IO_DSYNC), 0);
    lt_plog_abandon(log);
    log = open_with(0);
    CHECK_EQ(lt_plog_end(log), 2);
    lt_plog_abandon(log);
}

TEST(window_covers_all_that_is_not_durable)
{
    settings.window_bytes = 1024;
    struct lt_plog *log = new_log();
    struct lt_io_op op;
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(send_one(log, i, 700, &op), 0);
        CHECK(log->meta.window_bytes >= log->end.total);
        struct lt_meta_slot on_disk;
        bool absent;
        int fd = lt_meta_open(&log->dir, &on_disk, &absent);
        CHECK(fd >= 0);
        CHECK_EQ(on_disk.window_bytes, log->meta.window_bytes);
        lt_io_close(io, fd);
    }
    lt_plog_abandon(log);
}

TEST(sync_covers_what_was_written_before_it_and_no_more)
{
    settings.level = LT_PLOG_WRITTEN;
    struct lt_plog *log = new_log();
    struct lt_io_op ops[3], again;
    CHECK_EQ(lt_plog_sync(log, &ops[0]), LT_PLOG_NOTHING);
    CHECK_EQ(send_one(log, 0, 100, &ops[0]), 0);
    CHECK_EQ(send_one(log, 1, 100, &ops[1]), 0);
    CHECK_EQ(lt_plog_completed(log, ops[0].token, ops[0].size, &again), 0);
    CHECK_EQ(lt_plog_acked(log), 1);
    CHECK_EQ(lt_plog_sync(log, &ops[2]), 0);
    CHECK_EQ(lt_plog_sync(log, &again), LT_PLOG_BUSY);
    CHECK_EQ(lt_plog_completed(log, ops[1].token, ops[1].size, &again), 0);
    CHECK_EQ(lt_plog_completed(log, ops[2].token, 0, &again), 0);
    CHECK_EQ(lt_plog_written(log), 2);
    CHECK_EQ(lt_plog_durable(log), 1);
    lt_plog_abandon(log);
}
