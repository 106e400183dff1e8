/* leat-dump, the program: what it prints, what it finds, and how it ends.
 *
 * Goal: each kind of damage is found and named, what a death leaves is no damage, and nothing that is whole is called damaged. Method:
 * logs in real files (tests/lib/logdir.h) that are damaged by hand, and rings of a running bus.
 */
#include "bus.h"
#include "cli.h"
#include "logdir.h"
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/format.h"
#include "store/topicfile.h"

static const char *output;

/* Its exit status; stdout and stderr in `output`. */
#define run_dump(...) run_dump_of((const char *const[]){ "leat-dump", __VA_ARGS__, NULL })
static int run_dump_of(const char *const *argv)
{
    const char *full[16] = { test_program("LEAT_TEST_DUMP") };
    for (int i = 1; i < 15 && argv[i]; i++)
        full[i] = argv[i];
    int status = run_program(full, &output);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#define CHECK_DUMP(wanted_status, wanted_text, ...)                                                          \
    do {                                                                                                     \
        int status_ = run_dump(__VA_ARGS__);                                                                 \
        if (status_ != (wanted_status) || !strstr(output, wanted_text))                                      \
            FAIL("exit %d, wanted %d and '%s'; said:\n%.600s\n...\n%s", status_, wanted_status, wanted_text, \
                 output, output + (strlen(output) > 600 ? strlen(output) - 600 : 0));                        \
    } while (0)

static const char *in(const char *name)
{
    return text("%s/%s", test_dir(), name);
}

/* A log of 150 records in some segments, and the name of each of them. */
static char segments[16][64];
static int segment_count;

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static const char *make_log(bool clean)
{
    const char *path = in("log");
    logdir_make(path, 150, clean);
    DIR *stream = opendir(path);
    CHECK(stream);
    for (struct dirent *entry; (entry = readdir(stream));)
        if (strstr(entry->d_name, ".log"))
            snprintf(segments[segment_count++], sizeof segments[0], "%.63s", entry->d_name);
    closedir(stream);
    qsort(segments, (size_t)segment_count, sizeof segments[0], by_name);
    CHECK(segment_count >= 3);
    return path;
}

static const char *segment(int i)
{
    return text("%s/log/%s", test_dir(), segments[i < 0 ? segment_count + i : i]);
}

static const char *index_of(int i)
{
    const char *path = segment(i);
    return text("%.*s.idx", (int)(strlen(path) - 4), path);
}

/* Where its last batch ends. */
static uint64_t end_of(const char *path)
{
    size_t size;
    const unsigned char *bytes = logdir_read(path, &size);
    uint64_t pos = LT_STORE_PAGE;
    struct lt_batch_head head;
    while (pos + sizeof head <= size &&
           (memcpy(&head, bytes + pos, sizeof head), head.magic == LT_BATCH_MAGIC))
        pos += head.bytes;
    return pos;
}

/* ---- whole ---- */

TEST(log_that_was_closed_is_whole)
{
    const char *log = make_log(true);
    CHECK_DUMP(0, "offsets 0..150, closed in order", log);
    CHECK(strstr(output, "batch pos=4096 bytes="));
    CHECK(strstr(output, " entries, all of them batches"));
    CHECK(!strstr(output, "record offset"));
    CHECK_DUMP(0, "closed in order", "--verify", log);
    CHECK(!strstr(output, "batch pos"));
}

TEST(log_of_a_dead_process_is_whole)
{
    CHECK_DUMP(0, "not closed in order, nothing is torn", make_log(false));
}

TEST(records_are_printed_with_all_that_they_have)
{
    make_log(true);
    CHECK_DUMP(0,
               "record offset=3 is=data timestamp=2023-11-14T22:13:20.003Z epoch=0 key_size=2 value_size=100 "
               "headers_size=11 key=\"k3\" value=\"record 3\\x00",
               "--records", segment(0));
    CHECK(strstr(output, "header=\"h\" is=\"vw\""));
    CHECK_DUMP(0, "key=\"6b33\" value=\"7265636f72642033", "--offset", "3", "--hex", segment(0));
    CHECK(!strstr(output, "offset=4 is=data"));
    CHECK_DUMP(0, "offset=5 is=data", "--offset", "3..6", segment(0));
    CHECK(!strstr(output, "offset=6 is=data") && !strstr(output, "offset=2 is=data"));
}

TEST(json_is_a_document_a_line)
{
    int lines = 0;
    const char *log = make_log(true);
    CHECK_DUMP(0, "\"kind\":\"verdict\",\"verdict\":\"ok\"", "--json", "--records", log);
    for (const char *line = output; *line; line = strchr(line, '\n') + 1, lines++) {
        const char *document = text("%.*s", (int)strcspn(line, "\n"), line);
        CHECK(json_has(document, "path") && json_has(document, "kind"));
    }
    CHECK(lines > 300);
    CHECK_DUMP(0, "\"verdict\":\"ok\"", "--json", "--verify", log);
    CHECK(!strstr(output, "\"batch\""));
}

TEST(copies_under_other_names_are_known_by_their_magic)
{
    size_t size;
    make_log(true);
    logdir_make_offsets(in("groups"), 9);
    const char *from[] = { segment(0), index_of(0), in("log/meta"), in("groups/offsets") };
    const char *says[] = { "ok: segment 0..", "ok: index of the segment at 0",
                           "ok: generation 1, closed in order", "ok: 9 entries" };
    for (int i = 0; i < 4; i++) {
        const void *bytes = logdir_read(from[i], &size);
        logdir_write(in("copy"), bytes, size);
        CHECK_DUMP(0, says[i], in("copy"));
    }
    logdir_write(in("copy"), "hello", 5);
    CHECK_DUMP(1, "no file of leat", in("copy"));
    CHECK_DUMP(1, "No such file", in("nothing"));
}

TEST(committed_offsets_are_printed)
{
    logdir_make_offsets(in("groups"), 9);
    CHECK_DUMP(0, "group=\"workers\" topic=0000000000001234 partition=3 offset=70 metadata=\"note\"",
               in("groups"));
}

/* ---- torn ---- */

TEST(torn_end_is_no_damage)
{
    const char *log = make_log(false);
    uint64_t end = end_of(segment(-1));
    logdir_put(segment(-1), end, "LTB1 and so on", 14);
    CHECK_DUMP(0, "torn: a start would go on at offset 150, write zeros over", log);
    CHECK_DUMP(0, text("torn: segment"), "--verify", segment(-1));
    CHECK(strstr(output, text("at %llu is no valid batch", (unsigned long long)end)));
}

TEST(what_is_unfinished_is_named_and_no_damage)
{
    const char *log = make_log(false);
    logdir_write(in("log/spare.new"), "", 0);
    CHECK_DUMP(0, "unfinished name=spare.new", log);
}

TEST(slot_of_meta_that_is_torn_leaves_the_other)
{
    size_t size;
    struct lt_meta_slot slots[2];
    const char *log = make_log(true);
    const unsigned char *bytes = logdir_read(in("log/meta"), &size);
    memcpy(&slots[0], bytes, sizeof slots[0]);
    memcpy(&slots[1], bytes + LT_STORE_PAGE, sizeof slots[1]);
    int older = slots[0].sequence > slots[1].sequence;
    logdir_flip(in("log/meta"), (uint64_t)older * LT_STORE_PAGE + 80);
    CHECK_DUMP(0, text("torn: slot %d is not whole", older), log);
    logdir_flip(in("log/meta"), (uint64_t)!older * LT_STORE_PAGE + 80);
    CHECK_DUMP(3, "damaged: neither slot is whole", "--verify", log);
}

/* ---- damaged ---- */

TEST(bit_below_the_durable_mark_is_damage)
{
    const char *log = make_log(true);
    logdir_flip(segment(-1), LT_STORE_PAGE + 200);
    CHECK_DUMP(3, "its checksum differs", "--verify", log);
    CHECK_DUMP(3, "all was durable", "--verify", segment(-1));
}

TEST(bit_in_an_old_segment_is_found_though_no_start_would_look_there)
{
    const char *log = make_log(true);
    uint64_t end = end_of(segment(0)), last = 0;
    size_t size;
    const unsigned char *bytes = logdir_read(segment(0), &size);
    for (uint64_t pos = LT_STORE_PAGE; pos < end;
         pos += ((const struct lt_batch_head *)(const void *)(bytes + pos))->bytes)
        last = pos;
    logdir_flip(segment(0), last + 100); /* the very last one: nothing behind it says that it was durable */
    CHECK_DUMP(3, "and the next one begins at", "--verify", log);
}

TEST(start_that_would_refuse_is_foreseen)
{
    const char *log = make_log(false);
    uint64_t end = end_of(segment(-1));
    size_t size;
    const unsigned char *bytes = logdir_read(segment(-1), &size);
    CHECK(end > LT_STORE_PAGE + ((const struct lt_batch_head *)(const void *)(bytes + LT_STORE_PAGE))->bytes);
    logdir_flip(segment(-1), LT_STORE_PAGE + 100);
    CHECK_DUMP(3, "a start would refuse to write", "--verify", log);
}

TEST(segment_that_is_missing_is_damage)
{
    const char *log = make_log(true);
    CHECK_EQ(unlink(segment(1)), 0);
    CHECK_DUMP(3, "and the next one begins at", "--verify", log);
    CHECK_EQ(unlink(segment(0)), 0);
    CHECK_DUMP(3, "but its first segment is that at", "--verify", log);
    CHECK_EQ(unlink(segment(-1)), 0);
    CHECK_DUMP(3, "where its checkpoint is, is missing", "--verify", log);
}

TEST(segment_under_another_name_is_damage)
{
    const char *log = make_log(true);
    CHECK_EQ(rename(segment(1), in("log/00000000000000000007.log")), 0);
    CHECK_DUMP(3, "belongs to topic 4660 partition 0 offset", "--verify", log);
}

TEST(damaged_heads_are_named)
{
    make_log(true);
    logdir_make_offsets(in("groups"), 3);
    logdir_flip(segment(0), 60);
    logdir_flip(index_of(0), 100);
    logdir_flip(in("groups/offsets"), 30);
    CHECK_DUMP(3, "damaged: the head's checksum differs", segment(0));
    CHECK_DUMP(3, "damaged: its checksum differs", index_of(0));
    CHECK_DUMP(3, "damaged: its head is damaged", in("groups/offsets"));
    logdir_flip(segment(1), 0);
    CHECK_DUMP(3, "not what its name says", segment(1));
}

TEST(index_that_points_elsewhere_is_named)
{
    size_t size;
    make_log(true);
    unsigned char *bytes = logdir_read(index_of(0), &size);
    struct lt_index_entry entry;
    memcpy(&entry, bytes + sizeof(struct lt_index_head), sizeof entry);
    entry.pos += LT_BATCH_ALIGN;
    memcpy(bytes + sizeof(struct lt_index_head), &entry, sizeof entry);
    logdir_seal(bytes, size);
    logdir_write(index_of(0), bytes, size);
    CHECK_DUMP(3, "damaged: entry 0, offset", "--verify", in("log"));
    CHECK_DUMP(0, "ok: index", index_of(0)); /* alone nobody could know */
}

/* meta with words that are wrong and hashes that are right. */
static void change_meta(size_t at, uint64_t add)
{
    size_t size;
    unsigned char *bytes = logdir_read(in("log/meta"), &size);
    for (size_t slot = 0; slot <= LT_STORE_PAGE; slot += LT_STORE_PAGE) {
        uint64_t value;
        memcpy(&value, bytes + slot + at, sizeof value);
        value += add;
        memcpy(bytes + slot + at, &value, sizeof value);
    }
    logdir_seal(bytes, size);
    logdir_write(in("log/meta"), bytes, size);
}

TEST(meta_that_does_not_fit_its_log_is_damage)
{
    const char *log = make_log(true);
    change_meta(offsetof(struct lt_meta_slot, point_pos), 64);
    CHECK_DUMP(3, "damaged: no valid batch at", "--verify", log);
    change_meta(offsetof(struct lt_meta_slot, point_pos), (uint64_t)-128);
    CHECK_DUMP(3, "is not where a batch begins", "--verify", log);
    change_meta(offsetof(struct lt_meta_slot, point_pos), 64);
    CHECK_DUMP(0, "closed in order", "--verify", log);
    change_meta(offsetof(struct lt_meta_slot, reserved_offset), (uint64_t)-50);
    CHECK_DUMP(3, "damaged: ends at offset 150, but only those below", "--verify", log);
}

TEST(entry_of_a_commit_that_was_durable_is_missed)
{
    logdir_make_offsets(in("groups"), 9);
    logdir_flip(in("groups/offsets"), LT_STORE_PAGE + 60);
    CHECK_DUMP(3, "damaged: no valid entry", "--verify", in("groups"));
}

/* ---- versions ---- */

TEST(newer_format_is_refused_with_both_numbers)
{
    size_t size;
    uint32_t version = LT_STORE_VERSION + 1;
    make_log(true);
    logdir_make_offsets(in("groups"), 3);
    const char *paths[] = { segment(0), index_of(0), in("log/meta"), in("groups/offsets") };
    for (int i = 0; i < 4; i++) {
        unsigned char *bytes = logdir_read(paths[i], &size);
        for (size_t slot = 0; slot <= (i == 2 ? LT_STORE_PAGE : 0u); slot += LT_STORE_PAGE)
            memcpy(bytes + slot + 8, &version, sizeof version);
        logdir_seal(bytes, size);
        logdir_write(paths[i], bytes, size);
        CHECK_DUMP(1, "unreadable: written in format 2, this program knows up to 1", "--verify", paths[i]);
    }
    CHECK_DUMP(1, "written in format 2", "--verify", in("log"));
}

/* ---- trees ---- */

static void make_tree(void)
{
    static struct lt_topicfile topic = { .name = "orders",
                                         .log_id = LOGDIR_TOPIC,
                                         .ring_size = 64 << 10,
                                         .segment_bytes = 64 << 10,
                                         .retention_bytes = UINT64_MAX,
                                         .retention_ms = -1,
                                         .partition_count = 1,
                                         .partitioner = LEAT_XXH3,
                                         .mode = 0660 };
    struct lt_io *io = lt_io_plain(1);
    const char *dirs[] = { "data",     "data/topics", "data/topics/orders", "data/groups",
                           "data/new", "data/old",    "data/new/77" };
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
        CHECK_EQ(mkdir(in(dirs[i]), 0700), 0);
    int fd = lt_io_plain_table.open(io, -100, in("data/topics/orders"), 0, 0);
    CHECK(fd >= 0);
    CHECK_EQ(lt_topicfile_write(io, fd, "orders", &topic), 0);
    lt_io_close(io, fd);
    logdir_make_offsets(in("data/groups"), 4);
}

TEST(data_directory_is_walked_whole)
{
    make_tree();
    logdir_make(in("data/topics/orders/0"), 20, true);
    CHECK_DUMP(0, "data/topics/orders/0: ok: 1 segments, offsets 0..20, closed in order", in("data"));
    CHECK(strstr(output, "ok: settings of orders, 1 partitions"));
    CHECK(strstr(output, "data/groups/offsets: ok: 4 entries"));
    CHECK(strstr(output, "unfinished name="));
    CHECK_DUMP(0, "ok: settings of orders", in("data/topics/orders"));
    CHECK_EQ(rename(in("data/topics/orders/0"), in("data/topics/orders/1")), 0);
    CHECK_DUMP(3, "has 1 partitions, and no directory 0", "--verify", in("data"));
    CHECK(strstr(
        output,
        "is the log of topic 0000000000001234 partition 0, and lies where 0000000000001234, 1 belongs"));
    logdir_flip(in("data/topics/orders/topic"), 40);
    CHECK_DUMP(3, "damaged: its checksum differs", "--verify", in("data/topics/orders"));
    CHECK_DUMP(1, "no directory of leat", "--verify", in("data/old"));
}

/* ---- rings ---- */

/* A descriptor of this process, as a path, whose link has this in its name. */
static const char *descriptor_of(pid_t pid, const char *name)
{
    const char *found = NULL;
    DIR *stream = opendir(text("/proc/%d/fd", (int)pid));
    CHECK(stream);
    for (struct dirent *entry; (entry = readdir(stream)) && !found;) {
        char link[256] = "";
        const char *path = text("/proc/%d/fd/%s", (int)pid, entry->d_name);
        if (readlink(path, link, sizeof link - 1) > 0 && strstr(link, name))
            found = path;
    }
    closedir(stream);
    CHECK(found);
    return found;
}

TEST(ring_of_a_running_bus_is_printed_and_sound)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    CHECK_EQ(leat(bus, "one\ntwo\nthree\n", "produce", "t", "-p", "1").exit, 0);
    CHECK_DUMP(0, "ok: offsets 0..3, ", "--bus", bus->path, "--ring", "t:1", "--records");
    CHECK(strstr(output, "gate ring_id=") && strstr(output, "value=\"two\"") && !strstr(output, "t:0"));
    CHECK_DUMP(0, "t:0 ring 0: ok: offsets 0..0, 0 claims", "--bus", bus->path, "--ring", "t", "--verify");
    CHECK_DUMP(0, "\"value\":\"three\"", "--bus", bus->path, "--ring", "t:1", "--offset", "2..", "--json");
    CHECK_DUMP(1, "has 2 partitions", "--bus", bus->path, "--ring", "t:2");
    CHECK_DUMP(1, "no topic u", "--bus", bus->path, "--ring", "u");
    CHECK_DUMP(2, "wants TOPIC or TOPIC:PARTITION", "--bus", bus->path, "--ring", "t:x");
    bus_stop(bus);
    CHECK_DUMP(1, "a ring is memory and ends with its bus", "--bus", bus->path, "--ring", "t");
}

ROLE(writes)
{
    leat_bus *bus = role_open();
    leat_producer *producer = open_producer(bus, "t", NULL);
    leat_record record = { .value = "x", .value_size = 1 };
    say("on");
    while (!heard())
        CHECK_OK(leat_producer_send(producer, &record, NULL));
    leat_close(bus);
}

/* Until the bus is gone. */
ROLE(writes_on)
{
    leat_bus *bus = role_open();
    leat_producer *producer = open_producer(bus, "t", NULL);
    leat_record record = { .value = "x", .value_size = 1 };
    say("on");
    while (leat_producer_send(producer, &record, NULL) >= 0)
        ;
    hear("never");
}

TEST(ring_that_is_written_at_full_speed_is_never_called_damaged)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .on_full = LEAT_OVERWRITE);
    struct child *writer = bus_spawn(bus, writes);
    child_expect(writer, "on");
    for (int i = 0; i < 30; i++)
        CHECK_DUMP(0, "t:0 ring 0: ok: ", "--bus", bus->path, "--ring", "t", "--records");
    child_tell(writer, "enough");
    child_end(writer);
}

TEST(ring_of_a_stopped_worker_is_read_from_its_descriptor)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 1);
    CHECK_EQ(leat(bus, "one\ntwo\n", "produce", "t").exit, 0);
    pid_t worker = bus_status(bus).worker_pid;
    kill(worker, SIGSTOP);
    const char *path = descriptor_of(worker, "leat-ring");
    CHECK_DUMP(0, "ok: offsets 0..2, ", "--ring-file", path, "--records");
    CHECK(strstr(output, "value=\"one\"") && strstr(output, "region version=1"));
    CHECK_DUMP(0, "offset=101", "--ring-file", path, "--records", "--base", "100");
    size_t size;
    unsigned char *bytes = logdir_read(path, &size);
    kill(worker, SIGCONT);
    logdir_write(in("copy"), bytes, size);
    CHECK_DUMP(0, "ok: offsets 0..2, ", "--ring-file", in("copy"));
    CHECK_DUMP(1, "--ring-file prints rings", in("copy"));
    bytes[8]++;
    logdir_write(in("copy"), bytes, size);
    CHECK_DUMP(1, "ring region: layout 2, ", "--ring-file", in("copy"));
    logdir_write(in("copy"), bytes, 100);
    CHECK_DUMP(1, "unreadable", "--ring-file", in("copy"));
    CHECK_DUMP(3, "not a region of leat", "--ring-file", test_program("LEAT_TEST_DUMP"));
}

/* ---- the log of a real bus ---- */

TEST(log_of_a_bus_is_whole_while_it_runs_and_after_it_has_stopped)
{
    struct bus *bus = bus_start();
    const char *data = text("%s/data", bus->path);
    bus_topic(bus, "t", .partitions = 2, .level = LEAT_DURABLE, .segment_bytes = 64 << 10);
    struct child *writer = bus_spawn(bus, writes);
    child_expect(writer, "on");
    for (int i = 0; i < 20; i++)
        CHECK_DUMP(0, "ok: settings of t, 2 partitions", "--verify", data);
    child_tell(writer, "enough");
    child_end(writer);
    bus_stop(bus);
    CHECK_DUMP(0, "topics/t/0: ok: ", data);
    CHECK(strstr(output, ", closed in order\n") && strstr(output, "batch pos=4096"));
    CHECK_DUMP(0, "data/topics/t/1: ok: ", "--verify", bus->path);
}

TEST(log_of_a_bus_that_was_killed_is_at_most_torn)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .level = LEAT_DURABLE, .segment_bytes = 64 << 10);
    struct child *writer = bus_spawn(bus, writes_on);
    child_expect(writer, "on");
    bus_kill_both(bus);
    CHECK_DUMP(0, "ok: settings of t, 1 partitions", "--verify", text("%s/data", bus->path));
    CHECK(!strstr(output, "closed in order") || strstr(output, "not closed in order"));
    child_kill(writer);
}

/* ---- arguments ---- */

TEST(wrong_arguments_are_refused)
{
    CHECK_DUMP(2, "which file or directory?", "--verify");
    CHECK_DUMP(2, "no such option", "--nonsense");
    CHECK_DUMP(2, "wants A, A.. or A..B", "--offset", "7..3", ".");
    CHECK_DUMP(2, "wants A, A.. or A..B", "--offset", "x", ".");
    CHECK_DUMP(2, "--bus goes with --ring", "--bus", "b", ".");
    CHECK_DUMP(0, "usage: leat-dump", "--help");
}
