/* counters: a file that outlives leatd, and that may have been damaged by anything. */
#include "shm/counters.h"

#include <errno.h>
#include <fcntl.h>
#include <leat.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "test.h"

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    return path;
}

/* Left open to the test's end; kept where a leak checker finds it. */
static struct lt_counters create(uint64_t bus_id, uint32_t capacity)
{
    static struct lt_counters kept[4];
    static int count;
    CHECK(count < 4);
    struct lt_counters *counters = &kept[count++];
    CHECK_EQ(lt_counters_create(counters, path_of("counters"), bus_id, capacity), 0);
    return *counters;
}

static int open_it(struct lt_counters *counters)
{
    return lt_counters_open(counters, path_of("counters"));
}

/* Entries that are taken. */
static uint32_t taken(const struct lt_counters *counters)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < counters->head->used; i++)
        count += counters->entries[i].state == LT_COUNTER_TAKEN;
    return count;
}

TEST(reader_sees_labels_and_value)
{
    struct lt_counters writer = create(9, 16), reader;
    lt_counter_set(lt_counters_get(&writer, "records", "orders", 3, 7, -1), 41);
    lt_counter_add(lt_counters_get(&writer, "records", "orders", 3, 7, -1), 1);
    CHECK_EQ(open_it(&reader), 0);
    CHECK_EQ(reader.head->used, 1);
    CHECK_EQ(reader.entries[0].state, LT_COUNTER_TAKEN);
    CHECK_STR(reader.entries[0].name, "records");
    CHECK_STR(reader.entries[0].topic, "orders");
    CHECK_EQ(reader.entries[0].topic_id, 3);
    CHECK_EQ(reader.entries[0].partition, 7);
    CHECK_EQ(reader.entries[0].client, -1);
    CHECK_EQ(reader.entries[0].value, 42);
}

TEST(values_may_be_negative)
{
    struct lt_counters writer = create(9, 16), reader;
    lt_counter_add(lt_counters_get(&writer, "balance", "", 0, -1, -1), -5);
    CHECK_EQ(open_it(&reader), 0);
    CHECK_EQ(reader.entries[0].value, -5);
}

TEST(file_can_be_read_by_everybody_and_written_by_its_owner)
{
    struct stat st;
    umask(077);
    create(9, 16);
    CHECK_EQ(stat(path_of("counters"), &st), 0);
    CHECK_EQ(st.st_mode & 07777, 0644);
}

TEST(no_file_is_a_bus_that_is_gone)
{
    struct lt_counters reader;
    CHECK_EQ(open_it(&reader), LEAT_EGONE);
    CHECK(reader.head == NULL);
}

/* ---- entries ---- */

TEST(each_label_tells_entries_apart)
{
    struct lt_counters c = create(9, 16);
    struct lt_counter *entry = lt_counters_get(&c, "records", "orders", 3, 7, 1);
    CHECK(lt_counters_get(&c, "bytes", "orders", 3, 7, 1) != entry);
    CHECK(lt_counters_get(&c, "records", "orders", 4, 7, 1) != entry);
    CHECK(lt_counters_get(&c, "records", "orders", 3, 8, 1) != entry);
    CHECK(lt_counters_get(&c, "records", "orders", 3, 7, 2) != entry);
    CHECK(lt_counters_get(&c, "records", "orders", 3, 7, 1) == entry);
    CHECK_EQ(taken(&c), 5);
}

TEST(long_labels_are_cut_and_found_again)
{
    struct lt_counters c = create(9, 16);
    char name[100], topic[250];
    memset(name, 'n', sizeof name);
    memset(topic, 't', sizeof topic);
    name[99] = topic[249] = 0;
    struct lt_counter *entry = lt_counters_get(&c, name, topic, 1, 0, -1);
    CHECK_EQ(strlen(entry->name), sizeof entry->name - 1);
    CHECK_EQ(strlen(entry->topic), sizeof entry->topic - 1);
    CHECK(lt_counters_get(&c, name, topic, 1, 0, -1) == entry);
}

TEST(full_file_gives_no_new_entry_and_keeps_the_old)
{
    struct lt_counters c = create(9, 2);
    struct lt_counter *a = lt_counters_get(&c, "a", "", 0, -1, -1),
                      *b = lt_counters_get(&c, "b", "", 0, -1, -1);
    CHECK(lt_counters_get(&c, "c", "", 0, -1, -1) == NULL);
    CHECK(lt_counters_get(&c, "a", "", 0, -1, -1) == a);
    CHECK(lt_counters_get(&c, "b", "", 0, -1, -1) == b);
}

TEST(entries_of_a_deleted_topic_are_given_out_again_as_new)
{
    struct lt_counters c = create(9, 3);
    struct lt_counter *bus = lt_counters_get(&c, "wakes", "", 0, -1, -1);
    lt_counter_set(lt_counters_get(&c, "records", "old", 3, 0, -1), 100);
    lt_counter_set(lt_counters_get(&c, "records", "old", 3, 1, -1), 100);
    lt_counters_free_topic(&c, 3);
    CHECK_EQ(taken(&c), 1);
    struct lt_counter *fresh = lt_counters_get(&c, "records", "new", 4, 0, -1);
    CHECK(fresh != NULL);
    CHECK_EQ(fresh->value, 0);
    CHECK(lt_counters_get(&c, "records", "new", 4, 1, -1) != NULL);
    CHECK(lt_counters_get(&c, "wakes", "", 0, -1, -1) == bus);
}

TEST(entries_of_a_client_that_left_are_freed_and_no_others)
{
    struct lt_counters c = create(9, 8);
    lt_counters_get(&c, "sent", "", 0, -1, 5);
    lt_counters_get(&c, "received", "", 0, -1, 5);
    lt_counters_get(&c, "sent", "", 0, -1, 6);
    lt_counters_free_client(&c, 5);
    CHECK_EQ(taken(&c), 1);
}

TEST(what_belongs_to_no_topic_and_no_client_is_never_freed)
{
    struct lt_counters c = create(9, 8);
    lt_counters_get(&c, "wakes", "", 0, -1, -1);
    lt_counters_free_topic(&c, 0);
    lt_counters_free_client(&c, -1);
    CHECK_EQ(taken(&c), 1);
}

TEST(thousands_of_entries_come_and_go_and_are_found)
{
    enum { TOPICS = 50, PARTITIONS = 80 };
    struct lt_counters c = create(9, TOPICS * PARTITIONS);
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t t = 1; t <= TOPICS; t++)
            for (int32_t p = 0; p < PARTITIONS; p++)
                lt_counter_set(lt_counters_get(&c, "records", "topic", t, p, -1), (int64_t)t * 1000 + p);
        for (uint32_t t = 1; t <= TOPICS; t++)
            for (int32_t p = 0; p < PARTITIONS; p++)
                CHECK_EQ(lt_counters_get(&c, "records", "topic", t, p, -1)->value, (int64_t)t * 1000 + p);
        CHECK_EQ(taken(&c), TOPICS * PARTITIONS);
        for (uint32_t t = 1 + round % 2; t <= TOPICS; t += 2)
            lt_counters_free_topic(&c, t);
        CHECK_EQ(taken(&c), TOPICS * PARTITIONS / 2);
    }
}

/* ---- the next worker ---- */

TEST(next_worker_of_the_bus_goes_on_with_the_file)
{
    struct lt_counters first = create(9, 16);
    lt_counter_set(lt_counters_get(&first, "records", "orders", 3, 0, -1), 10);
    struct lt_counters second = create(9, 16);
    lt_counter_add(lt_counters_get(&second, "records", "orders", 3, 0, -1), 1);
    CHECK_EQ(taken(&second), 1);
    CHECK_EQ(second.entries[0].value, 11);
    CHECK_EQ(first.entries[0].value, 11); /* the same memory: readers' files do not go stale */
}

TEST(entry_whose_worker_died_before_it_was_taken_is_free)
{
    struct lt_counters first = create(9, 16), second;
    lt_counters_get(&first, "a", "", 0, -1, -1);
    strcpy(first.entries[1].name, "half");
    first.entries[1].value = 99;
    second = create(9, 16);
    struct lt_counter *entry = lt_counters_get(&second, "b", "", 0, -1, -1);
    CHECK(entry == &second.entries[1]);
    CHECK_STR(entry->name, "b");
    CHECK_EQ(entry->value, 0);
}

TEST(another_bus_begins_with_a_new_file)
{
    struct lt_counters first = create(9, 16), second;
    lt_counters_get(&first, "a", "", 0, -1, -1);
    second = create(10, 16);
    CHECK_EQ(taken(&second), 0);
    CHECK_EQ(taken(&first), 1); /* whoever has the old one still reads the old one */
}

TEST(damaged_file_is_replaced_by_the_next_worker)
{
    struct lt_counters first = create(9, 16);
    lt_counters_get(&first, "a", "", 0, -1, -1);
    CHECK_EQ(truncate(path_of("counters"), 100), 0);
    struct lt_counters second = create(9, 16);
    CHECK_EQ(taken(&second), 0);
    CHECK(lt_counters_get(&second, "b", "", 0, -1, -1) != NULL);
}

TEST(file_that_others_may_write_is_not_taken_over)
{
    struct lt_counters first = create(9, 16);
    lt_counters_get(&first, "a", "", 0, -1, -1);
    CHECK_EQ(chmod(path_of("counters"), 0666), 0);
    struct lt_counters second = create(9, 16);
    CHECK_EQ(taken(&second), 0);
}

TEST(link_in_the_files_place_is_replaced_and_not_followed)
{
    char target[300];
    struct stat st;
    snprintf(target, sizeof target, "%s", path_of("target"));
    close(open(target, O_CREAT | O_RDWR, 0600));
    CHECK_EQ(symlink(target, path_of("counters")), 0);
    create(9, 16);
    CHECK_EQ(stat(target, &st), 0);
    CHECK_EQ(st.st_size, 0);
    CHECK_EQ(lstat(path_of("counters"), &st), 0);
    CHECK(S_ISREG(st.st_mode));
}

TEST(directory_that_does_not_exist_is_an_error)
{
    struct lt_counters c;
    CHECK_EQ(lt_counters_create(&c, path_of("nowhere/counters"), 9, 16), -ENOENT);
    CHECK(c.head == NULL);
}

/* ---- damage ---- */

static void overwrite(off_t at, const void *bytes, size_t size)
{
    int fd = open(path_of("counters"), O_RDWR);
    CHECK(fd >= 0);
    CHECK_EQ(pwrite(fd, bytes, size, at), (ssize_t)size);
    close(fd);
}

static void overwrite32(size_t at, uint32_t value)
{
    overwrite((off_t)at, &value, sizeof value);
}

static void expect(int error)
{
    struct lt_counters reader;
    CHECK_EQ(open_it(&reader), error);
    CHECK(reader.head == NULL);
    CHECK(lt_fail_text()[0] != 0);
}

TEST(file_with_another_magic_is_refused)
{
    create(9, 16);
    overwrite32(offsetof(struct lt_counters_head, magic), 1);
    expect(LEAT_EPROTO);
}

TEST(file_of_another_version_is_refused_as_such)
{
    create(9, 16);
    overwrite32(offsetof(struct lt_counters_head, version), 2);
    expect(LEAT_EVERSION);
}

TEST(file_that_claims_more_entries_than_it_has_is_refused)
{
    create(9, 16);
    overwrite32(offsetof(struct lt_counters_head, capacity), 17);
    expect(LEAT_EPROTO);
    overwrite32(offsetof(struct lt_counters_head, capacity), UINT32_MAX);
    expect(LEAT_EPROTO);
    overwrite32(offsetof(struct lt_counters_head, capacity), 0);
    expect(LEAT_EPROTO);
}

TEST(file_that_uses_more_entries_than_it_has_is_refused)
{
    create(9, 16);
    overwrite32(offsetof(struct lt_counters_head, used), 17);
    expect(LEAT_EPROTO);
}

TEST(truncated_file_is_refused_wherever_it_was_cut)
{
    static const off_t cuts[] = { 4096 + 16 * 128 - 1, 4096 + 128, 4096, 4095, 64, 63, 8, 1, 0 };
    struct lt_counters writer = create(9, 16);
    lt_counters_get(&writer, "a", "", 0, -1, -1);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        CHECK_EQ(truncate(path_of("counters"), cuts[i]), 0);
        expect(LEAT_EPROTO);
    }
}

TEST(reader_survives_that_the_file_is_truncated_while_it_is_open)
{
    struct lt_counters writer = create(9, 1000), reader;
    for (int32_t i = 0; i < 1000; i++)
        lt_counter_set(lt_counters_get(&writer, "a", "", 0, i, -1), i);
    CHECK_EQ(open_it(&reader), 0);
    CHECK_EQ(truncate(path_of("counters"), 0), 0);
    for (int32_t i = 0; i < 1000; i++)
        CHECK_EQ(reader.entries[i].value, i);
}

TEST(labels_without_an_end_are_given_one)
{
    struct lt_counters writer = create(9, 16), reader;
    struct lt_counter *entry = lt_counters_get(&writer, "a", "", 0, -1, -1);
    memset(entry->name, 'x', sizeof entry->name);
    memset(entry->topic, 'y', sizeof entry->topic);
    CHECK_EQ(open_it(&reader), 0);
    CHECK_EQ(strlen(reader.entries[0].name), sizeof entry->name - 1);
    CHECK_EQ(strlen(reader.entries[0].topic), sizeof entry->topic - 1);
}

TEST(what_is_no_file_is_refused_without_waiting_for_it)
{
    CHECK_EQ(mkfifo(path_of("counters"), 0600), 0);
    expect(LEAT_EPROTO);
}

TEST(noise_in_the_head_is_refused_or_read_and_never_crashes)
{
    struct lt_counters writer = create(9, 16), reader;
    for (int32_t i = 0; i < 16; i++)
        lt_counters_get(&writer, "a", "", 0, i, -1);
    struct lt_counters_head good = *writer.head;
    for (int i = 0; i < 2000; i++) {
        unsigned char byte = (unsigned char)test_random();
        overwrite(0, &good, sizeof good);
        overwrite((off_t)(test_random() % sizeof good), &byte, 1);
        if (open_it(&reader) == 0) {
            CHECK(reader.head->used <= reader.capacity);
            lt_counters_close(&reader);
        }
    }
}
