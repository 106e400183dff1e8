/* topicfile: settings of topics on a disk in memory. */
#include "test.h"

#include <errno.h>
#include <leat.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "simdisk.h"
#include "store/topicfile.h"

static struct lt_topicfile settings(const char *name)
{
    struct lt_topicfile file = { .log_id = 77,
                                 .ring_size = 1 << 20,
                                 .created_ms = 12345,
                                 .segment_bytes = 16 << 20,
                                 .retention_bytes = UINT64_MAX,
                                 .retention_ms = -1,
                                 .partition_count = 3,
                                 .level = LEAT_DURABLE,
                                 .on_full = LEAT_ERROR,
                                 .partitioner = LEAT_MURMUR2,
                                 .uid = 5,
                                 .gid = 6,
                                 .mode = 0640 };
    snprintf(file.name, sizeof file.name, "%s", name);
    for (uint32_t b = 0; b < LT_TOPICFILE_BUCKETS; b++)
        file.map[b] = (uint16_t)(b % 3);
    return file;
}

static int write_to(struct simdisk *disk, struct lt_topicfile file)
{
    return lt_topicfile_write(simdisk_io(disk), simdisk_root(disk), "dir", &file);
}

static int read_from(struct simdisk *disk, struct lt_topicfile *file)
{
    return lt_topicfile_read(simdisk_io(disk), simdisk_root(disk), "dir", file);
}

/* Changes these bits of a byte. */
static void damage(struct simdisk *disk, size_t at, unsigned char with)
{
    CHECK(simdisk_damage(disk, "", LT_TOPICFILE_NAME, at, with));
}

TEST(what_was_written_is_read)
{
    struct simdisk *disk = simdisk_new(test_seed());
    struct lt_topicfile file;
    CHECK_EQ(read_from(disk, &file), 1);
    CHECK_EQ(write_to(disk, settings("orders")), 0);
    CHECK_EQ(read_from(disk, &file), 0);
    struct lt_topicfile wanted = settings("orders");
    CHECK_MEM(file.name, wanted.name, sizeof file - offsetof(struct lt_topicfile, name));
    wanted.retention_ms = 1000;
    CHECK_EQ(write_to(disk, wanted), 0);
    CHECK_EQ(read_from(disk, &file), 0);
    CHECK_EQ(file.retention_ms, 1000);
    CHECK_EQ(simdisk_open_count(disk), 0);
    simdisk_free(disk);
}

TEST(every_byte_that_rots_is_noticed)
{
    for (size_t at = 0; at < sizeof(struct lt_topicfile); at += at < 400 ? 1 : 97) {
        struct simdisk *disk = simdisk_new(1);
        struct lt_topicfile file;
        CHECK_EQ(write_to(disk, settings("orders")), 0);
        CHECK_EQ(read_from(disk, &file), 0);
        damage(disk, at, 0x20);
        int r = read_from(disk, &file);
        if (r != LEAT_EFAILED && r != LEAT_EVERSION)
            FAIL("byte %zu: %d", at, r);
        CHECK(strstr(lt_fail_text(), "dir/topic"));
        simdisk_free(disk);
    }
}

TEST(newer_version_is_refused_with_both_numbers)
{
    struct simdisk *disk = simdisk_new(1);
    struct lt_topicfile file;
    CHECK_EQ(write_to(disk, settings("orders")), 0);
    damage(disk, offsetof(struct lt_topicfile, version), LT_STORE_VERSION ^ (LT_STORE_VERSION + 1));
    CHECK_EQ(read_from(disk, &file), LEAT_EVERSION);
    CHECK(strstr(lt_fail_text(), "format 2"));
    CHECK(strstr(lt_fail_text(), "up to 1"));
    simdisk_free(disk);
}

TEST(values_that_no_topic_has_are_damage_whatever_the_checksum_says)
{
    static const struct {
        size_t at;
        uint64_t value;
        size_t size;
    } wrong[] = {
#define WRONG(field, what) \
    { offsetof(struct lt_topicfile, field), (uint64_t)(what), sizeof(((struct lt_topicfile *)0)->field) }
        WRONG(log_id, 0),
        WRONG(ring_size, 1000),
        WRONG(ring_size, (64 << 10) + 1),
        WRONG(segment_bytes, 1),
        WRONG(retention_ms, -2),
        WRONG(partition_count, 0),
        WRONG(level, 3),
        WRONG(partition_count, 2),
        WRONG(partition_count, 5000),
        WRONG(on_full, 3),
        WRONG(partitioner, 0),
        WRONG(mode, 01000),
        WRONG(map[4095], 3),
        WRONG(segment_bytes, 2ull << 30),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct simdisk *disk = simdisk_new(1);
        struct lt_topicfile file = settings("orders");
        memcpy((char *)&file + wrong[i].at, &wrong[i].value, wrong[i].size);
        CHECK_EQ(write_to(disk, file), 0);
        if (read_from(disk, &file) != LEAT_EFAILED)
            FAIL("case %zu is taken", i);
        simdisk_free(disk);
    }
    static const char *const names[] = { "", ".", "a/b" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct simdisk *disk = simdisk_new(1);
        struct lt_topicfile file;
        CHECK_EQ(write_to(disk, settings(names[i])), 0);
        CHECK_EQ(read_from(disk, &file), LEAT_EFAILED);
        simdisk_free(disk);
    }
}

/* ---- power ---- */

static int64_t read_retention(struct simdisk *disk)
{
    struct lt_topicfile file;
    int r = read_from(disk, &file);
    CHECK(r == 0 || r == 1);
    return r == 0 ? file.retention_ms : -2;
}

TEST(power_lost_at_any_step_leaves_the_old_or_the_new_settings)
{
    for (uint64_t stop = 0;; stop++) {
        struct simdisk *disk = simdisk_new(test_random());
        CHECK_EQ(write_to(disk, settings("orders")), 0);
        struct lt_topicfile next = settings("orders");
        next.retention_ms = 1000;
        uint64_t from = simdisk_operations(disk);
        simdisk_stop_at(disk, from + stop);
        int r = write_to(disk, next);
        for (int i = 0; i < 50; i++) {
            struct simdisk *after = simdisk_after_power_loss(disk, test_random());
            int64_t retention = read_retention(after);
            if (r == 0)
                CHECK_EQ(retention, 1000);
            else
                CHECK(retention == -1 || retention == 1000);
            /* And the next one is written over what is left. */
            next.retention_ms = 2000;
            CHECK_EQ(write_to(after, next), 0);
            CHECK_EQ(read_retention(after), 2000);
            simdisk_free(after);
        }
        simdisk_free(disk);
        if (r == 0)
            return;
    }
}

TEST(each_operation_that_fails_leaves_the_old_or_the_new_settings)
{
    static const int errors[] = { EIO, ENOSPC, EINTR, SIMDISK_SHORT };
    for (size_t e = 0; e < sizeof errors / sizeof *errors; e++) {
        for (uint64_t at = 0;; at++) {
            struct simdisk *disk = simdisk_new(test_random());
            CHECK_EQ(write_to(disk, settings("orders")), 0);
            struct lt_topicfile next = settings("orders");
            next.retention_ms = 1000;
            simdisk_fail_at(disk, simdisk_operations(disk) + at, errors[e], false);
            int r = write_to(disk, next);
            bool failed = simdisk_failed(disk);
            int64_t retention = failed ? read_retention(disk) : 1000;
            CHECK(retention == 1000 || (r != 0 && retention == -1));
            simdisk_free(disk);
            if (!failed)
                break;
        }
    }
}
