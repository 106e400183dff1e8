/* logdir: see logdir.h. */
#include "logdir.h"

#include <fcntl.h>
#include <leat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/err.h"
#include "store/index.h"
#include "store/meta.h"
#include "store/offsets.h"
#include "store/plog.h"
#include "test.h"

static int directory(const char *path)
{
    mkdir(path, 0700);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        FAIL("cannot open %s", path);
    return fd;
}

/* ---- a log ---- */

static void append(struct lt_io *io, struct lt_plog *log, uint64_t offset)
{
    static unsigned char stage[4096] __attribute__((aligned(64)));
    unsigned char bytes[256] = { 0 };
    int value = 100, key, headers = 0;
    snprintf((char *)bytes, 100, "record %llu", (unsigned long long)offset);
    key = snprintf((char *)bytes + value, 20, "k%llu", (unsigned long long)offset);
    if (offset % 3 == 0) {
        uint32_t sizes[2] = { 1, 2 };
        memcpy(bytes + value + key, sizes, sizeof sizes);
        bytes[value + key + 8] = 'h';
        bytes[value + key + 9] = 'v';
        bytes[value + key + 10] = 'w';
        headers = (int)sizeof sizes + 3;
    }
    struct lt_store_record record = { .offset = offset,
                                      .stamp = 1700000000000 + offset,
                                      .key_size = (uint32_t)key,
                                      .value_size = (uint32_t)value,
                                      .headers_size = (uint32_t)headers,
                                      .kind = LT_RECORD_DATA,
                                      .bytes = bytes };
    struct lt_batch batch;
    struct lt_io_op op;
    struct lt_io_done done;
    CHECK_EQ(lt_plog_prepare(log), 0);
    lt_batch_start(&batch, stage, sizeof stage, offset);
    CHECK_EQ(lt_batch_add(&batch, &record), 0);
    CHECK_EQ(lt_plog_append(log, &batch, &op), 0);
    CHECK_EQ(lt_io_submit(io, &op, 1), 1);
    CHECK_EQ(lt_io_reap(io, &done, 1, -1), 1);
    CHECK_EQ(lt_plog_completed(log, done.token, done.result, &op), 0);
}

void logdir_make(const char *path, uint64_t count, bool clean)
{
    struct lt_plog_settings settings = { .id = { LOGDIR_TOPIC, LOGDIR_PARTITION },
                                         .segment_bytes = LOGDIR_SEGMENT,
                                         .index_step = 1024,
                                         .level = LT_PLOG_DURABLE };
    struct lt_io *io = lt_io_plain(4);
    struct lt_plog *log = NULL;
    int dir = directory(path);
    if (lt_plog_open(io, dir, path, &settings, LT_RECOVER_CREATE, &log) != 0)
        FAIL("%s: %s", path, lt_fail_text());
    for (uint64_t offset = 0; offset < count; offset++)
        append(io, log, offset);
    if (clean)
        CHECK_EQ(lt_plog_close(log, count), 0);
    else
        lt_plog_abandon(log);
    lt_io_free(io);
    close(dir);
}

void logdir_make_offsets(const char *path, int count)
{
    struct lt_io *io = lt_io_plain(4);
    struct lt_offsets *offsets = NULL;
    int dir = directory(path);
    if (lt_offsets_open(io, dir, path, 4 * LT_STORE_PAGE, 0, 0, &offsets) != 0)
        FAIL("%s: %s", path, lt_fail_text());
    for (int i = 0; i < count; i++) {
        struct lt_offsets_key key = { .group = "workers",
                                      .topic = LOGDIR_TOPIC,
                                      .partition = (uint32_t)i % 4 };
        CHECK(lt_offsets_put(offsets, &key, i * 10, "note", i % 2 ? 4 : 0) >= 0);
        CHECK_EQ(lt_offsets_flush(offsets), 0);
    }
    lt_offsets_close(offsets);
    lt_io_free(io);
    close(dir);
}

/* ---- hands ---- */

/* The list keeps what was read reachable for a leak checker. */
struct kept {
    struct kept *next;
    unsigned char bytes[];
};
static struct kept *kept;

unsigned char *logdir_read(const char *path, size_t *size)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        FAIL("cannot open %s", path);
    struct kept *one = malloc(sizeof *one + (size_t)st.st_size + 1);
    CHECK(one);
    one->next = kept;
    kept = one;
    unsigned char *bytes = one->bytes;
    CHECK_EQ(pread(fd, bytes, (size_t)st.st_size, 0), st.st_size);
    close(fd);
    *size = (size_t)st.st_size;
    return bytes;
}

void logdir_write(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        FAIL("cannot make %s", path);
    CHECK_EQ(write(fd, bytes, size), (ssize_t)size);
    close(fd);
}

void logdir_put(const char *path, uint64_t at, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        FAIL("cannot open %s", path);
    CHECK_EQ(pwrite(fd, bytes, size, (off_t)at), (ssize_t)size);
    close(fd);
}

void logdir_flip(const char *path, uint64_t at)
{
    size_t size;
    unsigned char *bytes = logdir_read(path, &size);
    CHECK(at < size);
    bytes[at] ^= 0x10;
    logdir_put(path, at, bytes + at, 1);
}

static void put_hash(unsigned char *bytes, size_t hash_at)
{
    uint64_t hash = XXH3_64bits(bytes, hash_at);
    memcpy(bytes + hash_at, &hash, sizeof hash);
}

void logdir_seal(void *bytes, size_t size)
{
    uint64_t magic = 0;
    struct lt_index_head index;
    memcpy(&magic, bytes, size < sizeof magic ? size : sizeof magic);
    if (magic == LT_SEGMENT_MAGIC && size >= sizeof(struct lt_segment_head)) {
        put_hash(bytes, offsetof(struct lt_segment_head, hash));
    } else if (magic == LT_OFFSETS_MAGIC && size >= sizeof(struct lt_offsets_head)) {
        put_hash(bytes, offsetof(struct lt_offsets_head, hash));
    } else if (magic == LT_META_MAGIC && size >= LT_STORE_PAGE + sizeof(struct lt_meta_slot)) {
        put_hash(bytes, offsetof(struct lt_meta_slot, hash));
        put_hash((unsigned char *)bytes + LT_STORE_PAGE, offsetof(struct lt_meta_slot, hash));
    } else if (magic == LT_INDEX_MAGIC && size >= sizeof index) {
        memcpy(&index, bytes, sizeof index);
        if (index.entry_count > (size - sizeof index) / sizeof(struct lt_index_entry))
            return;
        void *entries = malloc(size);
        CHECK(entries);
        memcpy(entries, (const unsigned char *)bytes + sizeof index, size - sizeof index);
        index.hash = lt_index_hash(&index, entries);
        memcpy(bytes, &index, sizeof index);
        free(entries);
    }
}
