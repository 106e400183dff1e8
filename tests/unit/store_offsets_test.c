/* offsets: committed offsets in one file, on a disk in memory. */
#include "store/offsets.h"

#include <errno.h>
#include <leat.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "simdisk.h"
#include "test.h"

static struct simdisk *disk;
static const struct lt_offsets_key key = { .group = "orders", .topic = 3, .partition = 1 };

static struct lt_offsets *open_offsets(void)
{
    struct lt_offsets *offsets;
    if (!disk)
        disk = simdisk_new(test_random());
    int error = lt_offsets_open(simdisk_io(disk), simdisk_root(disk), "d", 2 * LT_STORE_PAGE, 0, 0, &offsets);
    if (error < 0)
        FAIL("open: %d: %s", error, lt_fail_text());
    return offsets;
}

static struct lt_offsets *reopen(struct lt_offsets *offsets)
{
    lt_offsets_close(offsets);
    struct simdisk *after = simdisk_after_power_loss(disk, test_random());
    simdisk_free(disk);
    disk = after;
    return open_offsets();
}

static int64_t offset_of(const struct lt_offsets *offsets, const struct lt_offsets_key *which)
{
    struct lt_offsets_value value;
    return lt_offsets_get(offsets, which, &value) ? value.offset : -1;
}

TEST(commit_is_found_again_with_its_metadata)
{
    struct lt_offsets *offsets = open_offsets();
    struct lt_offsets_value value;
    CHECK_EQ(offset_of(offsets, &key), -1);
    CHECK(lt_offsets_put(offsets, &key, 42, "note", 4) >= 0);
    CHECK_EQ(lt_offsets_flush(offsets), 0);
    offsets = reopen(offsets);
    CHECK_EQ(lt_offsets_get(offsets, &key, &value), 1);
    CHECK_EQ(value.offset, 42);
    CHECK_EQ(value.metadata_size, 4);
    CHECK_MEM(value.metadata, "note", 4);
    CHECK_EQ(lt_offsets_count(offsets), 1);
    lt_offsets_close(offsets);
}

TEST(commit_is_durable_when_its_write_was_done)
{
    struct lt_offsets *offsets = open_offsets();
    struct lt_io_op op, again;
    int64_t first = lt_offsets_put(offsets, &key, 1, NULL, 0);
    CHECK_EQ(lt_offsets_seal(offsets, &op), 0);
    int64_t second = lt_offsets_put(offsets, &key, 2, NULL, 0);
    CHECK_EQ(lt_offsets_seal(offsets, &again), LT_OFFSETS_BUSY);
    CHECK(lt_offsets_durable(offsets) <= (uint64_t)first);
    CHECK_EQ(lt_offsets_completed(offsets, op.size / 2, &again), 1);
    CHECK(lt_offsets_durable(offsets) <= (uint64_t)first);
    CHECK_EQ(lt_offsets_completed(offsets, again.size, &op), 0);
    CHECK_EQ(lt_offsets_durable(offsets), first + 1);
    CHECK_EQ(lt_offsets_flush(offsets), 0);
    CHECK_EQ(lt_offsets_durable(offsets), second + 1);
    lt_offsets_close(offsets);
}

TEST(forgotten_commit_stays_forgotten)
{
    struct lt_offsets *offsets = open_offsets();
    CHECK(lt_offsets_put(offsets, &key, 42, NULL, 0) >= 0);
    CHECK(lt_offsets_put(offsets, &key, LT_OFFSETS_FORGOTTEN, NULL, 0) >= 0);
    CHECK_EQ(lt_offsets_flush(offsets), 0);
    offsets = reopen(offsets);
    CHECK_EQ(offset_of(offsets, &key), -1);
    CHECK_EQ(lt_offsets_count(offsets), 0);
    lt_offsets_close(offsets);
}

TEST(many_groups_and_many_commits_fit_a_small_file)
{
    struct lt_offsets *offsets = open_offsets();
    char group[32];
    struct lt_offsets_key each = { .group = group };
    for (int round = 0; round < 50; round++) {
        for (uint32_t i = 0; i < 200; i++) {
            snprintf(group, sizeof group, "group %u", i % 20);
            each.topic = i / 20;
            each.partition = i;
            CHECK(lt_offsets_put(offsets, &each, round * 1000 + (int)i, group, i % 20) >= 0);
        }
        CHECK_EQ(lt_offsets_flush(offsets), 0);
    }
    CHECK(simdisk_size(disk, "", LT_OFFSETS_NAME) <= 200 * 128 * 8);
    offsets = reopen(offsets);
    CHECK_EQ(lt_offsets_count(offsets), 200);
    for (uint32_t i = 0; i < 200; i++) {
        snprintf(group, sizeof group, "group %u", i % 20);
        each.topic = i / 20;
        each.partition = i;
        CHECK_EQ(offset_of(offsets, &each), 49000 + i);
    }
    lt_offsets_close(offsets);
}

TEST(full_disk_keeps_what_was_put_for_later)
{
    struct lt_offsets *offsets = open_offsets();
    struct lt_io_op op;
    for (int i = 0; i < 200; i++)
        CHECK(lt_offsets_put(offsets, &key, i, NULL, 0) >= 0);
    simdisk_fail_at(disk, simdisk_operations(disk), ENOSPC, true);
    CHECK_EQ(lt_offsets_seal(offsets, &op), LEAT_ENOSPC);
    CHECK(!lt_offsets_failed(offsets));
    simdisk_fail_at(disk, UINT64_MAX, 0, false);
    CHECK_EQ(lt_offsets_flush(offsets), 0);
    offsets = reopen(offsets);
    CHECK_EQ(offset_of(offsets, &key), 199);
    lt_offsets_close(offsets);
}

TEST(failed_write_ends_it_until_it_is_opened_again)
{
    struct lt_offsets *offsets = open_offsets();
    struct lt_io_op op;
    CHECK(lt_offsets_put(offsets, &key, 7, NULL, 0) >= 0);
    CHECK_EQ(lt_offsets_seal(offsets, &op), 0);
    CHECK_EQ(lt_offsets_completed(offsets, -EIO, &op), LEAT_EIO);
    CHECK(lt_offsets_failed(offsets));
    CHECK_EQ(lt_offsets_put(offsets, &key, 8, NULL, 0), LEAT_EIO);
    CHECK(strstr(lt_offsets_reason(offsets), "errno 5"));
    offsets = reopen(offsets);
    CHECK(lt_offsets_put(offsets, &key, 8, NULL, 0) >= 0);
    lt_offsets_close(offsets);
}

TEST(keys_come_and_go_and_the_others_stay)
{
    struct lt_offsets *offsets = open_offsets();
    CHECK(lt_offsets_put(offsets, &key, 42, "note", 4) >= 0);
    for (uint64_t round = 0; round < 50; round++) {
        for (uint64_t i = 0; i < 100; i++) {
            struct lt_offsets_key passing = { .group = "passing",
                                              .topic = 1 + round % 3,
                                              .partition = (uint32_t)i };
            CHECK(lt_offsets_put(offsets, &passing, (int64_t)i, NULL, 0) >= 0);
            if (i % 2 == 0)
                CHECK(lt_offsets_put(offsets, &passing, LT_OFFSETS_FORGOTTEN, NULL, 0) >= 0);
        }
        CHECK_EQ(lt_offsets_flush(offsets), 0);
        CHECK_EQ(lt_offsets_count(offsets), 1 + 50 * (round < 3 ? round + 1 : 3));
        CHECK_EQ(offset_of(offsets, &key), 42);
    }
    offsets = reopen(offsets);
    CHECK_EQ(lt_offsets_count(offsets), 151);
    for (uint32_t i = 0; i < 100; i++)
        CHECK_EQ(
            offset_of(offsets, &(struct lt_offsets_key){ .group = "passing", .topic = 2, .partition = i }),
            i % 2 == 0 ? -1 : (int64_t)i);
    lt_offsets_close(offsets);
}

TEST(every_bit_of_an_entry_is_covered)
{
    struct lt_offsets *offsets = open_offsets();
    CHECK(lt_offsets_put(offsets, &key, 1, "ab", 2) >= 0);
    CHECK_EQ(lt_offsets_flush(offsets), 0);
    lt_offsets_close(offsets);
    for (uint64_t at = LT_STORE_PAGE; at < LT_STORE_PAGE + 128; at++) {
        struct simdisk *whole = disk;
        disk = simdisk_after_power_loss(whole, 1);
        CHECK(simdisk_damage(disk, "", LT_OFFSETS_NAME, at, 1));
        offsets = open_offsets();
        if (at < LT_STORE_PAGE + 64 && offset_of(offsets, &key) != -1)
            FAIL("byte %llu can change unnoticed", (unsigned long long)at);
        lt_offsets_close(offsets);
        simdisk_free(disk);
        disk = whole;
    }
}

/* Of two entries in one write the first is lost and the second is there: it must not follow one that is written later. */
TEST(torn_end_does_not_come_back)
{
    const struct lt_offsets_key other = { .group = "others", .topic = 3, .partition = 1 };
    struct lt_offsets *offsets = open_offsets();
    struct lt_io_op op;
    struct lt_io *io = simdisk_io(disk);
    CHECK(lt_offsets_put(offsets, &key, 1, NULL, 0) >= 0);
    CHECK(lt_offsets_put(offsets, &other, 2, NULL, 0) >= 0);
    CHECK_EQ(lt_offsets_seal(offsets, &op), 0);
    CHECK_EQ(op.size, 128);
    CHECK_EQ(lt_io_write_all(io, op.fd, (const unsigned char *)op.bytes + 64, 64, op.at + 64, LT_IO_DSYNC),
             0);
    offsets = reopen(offsets);
    CHECK_EQ(lt_offsets_count(offsets), 0);
    CHECK(lt_offsets_put(offsets, &key, 5, NULL, 0) >= 0);
    CHECK_EQ(lt_offsets_flush(offsets), 0);
    offsets = reopen(offsets);
    CHECK_EQ(offset_of(offsets, &key), 5);
    CHECK_EQ(offset_of(offsets, &other), -1);
    lt_offsets_close(offsets);
}

TEST(damage_below_what_was_durable_is_said)
{
    struct lt_offsets *offsets = open_offsets();
    for (int i = 0; i < 5; i++) {
        CHECK(lt_offsets_put(offsets, &key, i, NULL, 0) >= 0);
        CHECK_EQ(lt_offsets_flush(offsets), 0);
    }
    lt_offsets_close(offsets);
    CHECK(simdisk_damage(disk, "", LT_OFFSETS_NAME, LT_STORE_PAGE + 64 + 30, 1));
    CHECK_EQ(lt_offsets_open(simdisk_io(disk), simdisk_root(disk), "d", 0, 0, 0, &offsets), LEAT_EFAILED);
    CHECK(strstr(lt_fail_text(), "no valid entry 1 at 4160"));
    CHECK_EQ(lt_offsets_open(simdisk_io(disk), simdisk_root(disk), "d", 0, 0, LT_OFFSETS_CUT, &offsets), 0);
    CHECK_EQ(offset_of(offsets, &key), 0);
    lt_offsets_close(offsets);
}
