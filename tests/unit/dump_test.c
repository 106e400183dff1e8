/* leat-dump's walkers on bytes that nobody sealed: whatever lies in a file or in a ring, they end, and say something. */
#include "../../tools/leat-dump/dump.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "arena.h"
#include "logdir.h"
#include "store/offsets.h"
#include "test.h"

static struct dump dump;

static void start(bool as_json)
{
    dump = (struct dump){
        .records = true, .to = UINT64_MAX, .path = "", .as_json = as_json, .io = still_start(false)
    };
    dump.json.out = fopen("/dev/null", "w");
    CHECK(dump.io && dump.json.out);
}

static unsigned verdicts(void)
{
    unsigned sum = 0;
    for (int i = 0; i < DUMP_VERDICTS; i++)
        sum += dump.count[i];
    return sum;
}

static const char *in(const char *dir, const char *name)
{
    static char paths[4][4096];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, 4096, "%s/%s", dir, name);
    return path;
}

/* ---- files ---- */

struct file {
    char path[512];
    unsigned char *bytes;
    size_t size;
};

static struct file files[32];
static unsigned file_count;

static void take_files(const char *dir)
{
    DIR *stream = opendir(dir);
    CHECK(stream);
    for (struct dirent *entry; (entry = readdir(stream));)
        if (entry->d_name[0] != '.') {
            CHECK(file_count < 32);
            struct file *file = &files[file_count++];
            snprintf(file->path, sizeof file->path, "%s/%.250s", dir, entry->d_name);
            file->bytes = logdir_read(file->path, &file->size);
        }
    closedir(stream);
}

/* Some bytes become others: mostly near the heads, where they are followed. */
static void damage(unsigned char *bytes, size_t size)
{
    static const unsigned char odd[] = { 0, 1, 0x7f, 0x80, 0xff };
    for (uint64_t n = 1 + test_random() % 8; n > 0; n--) {
        uint64_t at = test_random() % (test_random() % 2 ? 256 : size) % size;
        if (test_random() % 4 == 0)
            at = (size > 4096 ? 4096 + at % 512 : at) % size;
        bytes[at] = test_random() % 2 ? (unsigned char)test_random() : odd[test_random() % sizeof odd];
    }
}

TEST(flipped_bytes_in_files_never_stop_a_walk)
{
    char log[512], groups[512];
    snprintf(log, sizeof log, "%s/log", test_dir());
    snprintf(groups, sizeof groups, "%s/groups", test_dir());
    logdir_make(log, 150, false);
    logdir_make_offsets(groups, 20);
    take_files(log);
    take_files(groups);
    CHECK(file_count >= 6);
    start(test_random() % 2);
    for (int i = 0; i < (test_long() ? 20000 : 300); i++) {
        struct file *file = &files[test_random() % file_count];
        unsigned char *bytes = malloc(file->size);
        size_t size = test_random() % 8 ? file->size : test_random() % file->size;
        unsigned before = verdicts();
        CHECK(bytes);
        memcpy(bytes, file->bytes, file->size);
        damage(bytes, file->size);
        if (test_random() % 2)
            logdir_seal(bytes, file->size);
        logdir_write(file->path, bytes, size);
        dump_path(&dump, file->path);
        CHECK(verdicts() > before);
        before = verdicts();
        dump_path(&dump, strncmp(file->path, log, strlen(log)) == 0 ? log : groups);
        CHECK(verdicts() > before);
        logdir_write(file->path, file->bytes, file->size);
        free(bytes);
    }
    CHECK(dump.count[DUMP_DAMAGED] > 0);
}

/* Hashes that are right, around records that make no sense. */
TEST(sealed_nonsense_is_no_batch)
{
    char path[4096];
    logdir_make(in(test_dir(), "log"), 1, false);
    snprintf(path, sizeof path, "%s", in(test_dir(), "log/00000000000000000000.log"));
    start(false);
    for (int i = 0; i < 300; i++) {
        static unsigned char bytes[4096] __attribute__((aligned(64)));
        struct lt_batch batch;
        struct lt_batch_place place = { .id = { LOGDIR_TOPIC, LOGDIR_PARTITION }, .pos = LT_STORE_PAGE };
        lt_batch_start(&batch, bytes, sizeof bytes, 0);
        for (size_t at = sizeof(struct lt_batch_head); at < sizeof bytes; at++)
            bytes[at] = test_random() % 3 ? 0 : (unsigned char)test_random();
        bytes[sizeof(struct lt_batch_head)] = (unsigned char)(test_random() %
                                                              64); /* the first record's length */
        batch.size = sizeof(struct lt_batch_head) + test_random() % 2048;
        batch.end_offset = 1 + test_random() % 100;
        batch.record_count = 1 + (uint32_t)(test_random() % 4);
        batch.flags = (uint32_t)(test_random() % 4) & ~1u;
        uint32_t size = lt_batch_seal(&batch, &place, 1, test_random() % 2 ? 0 : test_random());
        logdir_put(path, LT_STORE_PAGE, bytes, size);
        dump_path(&dump, path);
    }
}

TEST(sound_files_are_called_so)
{
    logdir_make(in(test_dir(), "log"), 150, true);
    logdir_make_offsets(in(test_dir(), "groups"), 20);
    start(false);
    dump_path(&dump, in(test_dir(), "log"));
    dump_path(&dump, in(test_dir(), "groups"));
    CHECK(dump.count[DUMP_OK] >= 5);
    CHECK_EQ(dump.count[DUMP_TORN] + dump.count[DUMP_DAMAGED] + dump.count[DUMP_UNREAD], 0);
    CHECK_EQ(dump_status(&dump), DUMP_DONE);
}

/* What it looks at stays as it is: names, sizes, bytes. */
TEST(nothing_is_changed_by_looking)
{
    char log[512];
    snprintf(log, sizeof log, "%s", in(test_dir(), "log"));
    logdir_make(log, 100, false);
    logdir_write(in(log, "spare.new"), "x", 1);
    logdir_flip(in(log, "00000000000000000000.log"), 4096 + 100);
    take_files(log);
    start(false);
    dump_path(&dump, log);
    unsigned before = file_count;
    for (unsigned i = 0; i < before; i++) {
        size_t size;
        unsigned char *bytes = logdir_read(files[i].path, &size);
        CHECK_EQ(size, files[i].size);
        CHECK_MEM(bytes, files[i].bytes, size);
    }
    take_files(log);
    CHECK_EQ(file_count, 2 * before);
}

/* ---- rings ---- */

static size_t arena_bytes(const struct arena *arena)
{
    return arena->ring.payload_at + 2 * arena->ring.payload_size;
}

static void send_some(struct arena *arena)
{
    struct lt_claim claim;
    for (uint64_t i = 0; i < 100; i++) {
        if (i >= 40)
            arena_reclaim(arena, 1000 + i - 40);
        CHECK_EQ(arena_send(&arena->ring, 1, 1, i), 0);
    }
    CHECK_EQ(arena_send(&arena->ring, 2, 5, 7), 0);
    CHECK_EQ(lt_ring_claim(&arena->ring, 3, 1, 4, 1, &claim), 0);
    struct lt_slot *slot = lt_ring_slot(&arena->ring, &claim, 0);
    slot->key_size = LT_NULL_SIZE;
    slot->value_size = 200;
    slot->headers_size = 0;
    slot->pos = (uint32_t)claim.pos;
    CHECK_EQ(lt_ring_commit(&arena->ring, &claim), 0);
    CHECK_EQ(arena_claim(&arena->ring, 4, 2, 8, &claim), 0);
    CHECK_EQ(lt_ring_abort(&arena->ring, &claim), 0);
    CHECK_EQ(arena_claim(&arena->ring, 5, 2, 9, &claim), 0); /* and stays BUSY */
}

TEST(sound_ring_is_called_so_with_and_without_its_gate)
{
    struct arena *arena = arena_new(64, 128, 1000);
    start(false);
    ring_dump(&dump, &arena->ring, &arena->gate);
    ring_dump(&dump, &arena->ring, NULL);
    send_some(arena);
    ring_dump(&dump, &arena->ring, &arena->gate);
    ring_dump(&dump, &arena->ring, NULL);
    CHECK_EQ(dump.count[DUMP_OK], 4);
    CHECK_EQ(dump.count[DUMP_DAMAGED], 0);
}

TEST(each_broken_invariant_of_a_ring_is_found)
{
    struct arena *arena = arena_new(64, 128, 1000);
    send_some(arena);
    uint64_t rel = lt_ring_rel(&arena->ring, 1090);
    struct lt_pair *word = lt_ring_claim_at(&arena->ring, rel), was = *word;
    struct lt_slot *slot = lt_ring_slot_at(&arena->ring, rel), slot_was = *slot;
    uint64_t lap = rel >> arena->ring.slot_shift;
    start(false);
    for (int i = 0; i < 8; i++) {
        unsigned before = dump.count[DUMP_DAMAGED];
        if (i == 0)
            word->lo = lt_lo(lap, LT_FREE, 1, 1);
        else if (i == 1)
            word->lo = lt_lo(lap + 2, LT_PUBLISHED, 1, 1);
        else if (i == 2)
            word->lo = lt_lo(lap, LT_PUBLISHED, 1, 0);
        else if (i == 3)
            word->hi = lt_hi(5, 1, 1);
        else if (i == 4)
            word->hi = lt_hi(lt_hi_pos(was.hi), 0, 0);
        else if (i == 5)
            slot->word = lt_slot_word(lap, LT_KIND_GAP);
        else if (i == 6)
            slot->word = lt_slot_word(lap - 1, LT_KIND_RECORD);
        else
            slot->value_size = 1u << 30;
        ring_dump(&dump, &arena->ring, &arena->gate);
        if (dump.count[DUMP_DAMAGED] == before)
            FAIL("damage %d was not found", i);
        *word = was;
        *slot = slot_was;
    }
    ring_dump(&dump, &arena->ring, &arena->gate);
    CHECK_EQ(dump.count[DUMP_OK], 1);
}

TEST(flipped_bytes_in_a_ring_never_stop_a_walk)
{
    struct arena *arena = arena_new(64, 128, 1000);
    send_some(arena);
    size_t size = arena_bytes(arena);
    unsigned char *was = malloc(size);
    struct lt_ring_gate gate_was = arena->gate;
    CHECK(was);
    memcpy(was, arena->memory, size);
    start(true);
    for (int i = 0; i < (test_long() ? 200000 : 5000); i++) {
        unsigned before = verdicts();
        unsigned char *memory = arena->memory;
        for (uint64_t n = 1 + test_random() % 6; n > 0; n--) {
            uint64_t at = test_random() % 2 ? 4096 + test_random() % (64 * 16) : test_random() % size;
            memory[at] = (unsigned char)test_random();
        }
        if (test_random() % 4 == 0)
            ((unsigned char *)&arena->gate)[test_random() % sizeof arena->gate] = (unsigned char)
                test_random();
        ring_dump(&dump, &arena->ring, test_random() % 2 ? &arena->gate : NULL);
        CHECK(verdicts() > before);
        memcpy(arena->memory, was, size);
        arena->gate = gate_was;
    }
    free(was);
}
