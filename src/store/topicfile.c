/* topicfile: the settings of a topic. See topicfile.h. */
#include "store/topicfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <leat.h>
#include <stddef.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/err.h"
#include "shm/topic.h"

#define HASHED offsetof(struct lt_topicfile, name)

_Static_assert(LT_TOPICFILE_BUCKETS == LT_BUCKETS, "the map is the page's");
_Static_assert(offsetof(struct lt_topicfile, name) == 32, "lt_topicfile.name");
_Static_assert(offsetof(struct lt_topicfile, log_id) == 288, "lt_topicfile.log_id");
_Static_assert(offsetof(struct lt_topicfile, partition_count) == 336, "lt_topicfile.partition_count");
_Static_assert(offsetof(struct lt_topicfile, map) == LT_STORE_PAGE, "the map begins a page");
_Static_assert(sizeof(struct lt_topicfile) == 3 * LT_STORE_PAGE, "whole pages");

static int fail_io(const char *dir_path, const char *name, const char *what, int error)
{
    lt_fail_errno(-error, "%s/%s: %s", dir_path, name, what);
    return error == -ENOSPC || error == -EDQUOT ? LEAT_ENOSPC : LEAT_EIO;
}

static uint64_t hash_of(const struct lt_topicfile *file)
{
    return XXH3_64bits((const unsigned char *)file + HASHED, sizeof *file - HASHED);
}

static uint64_t fingerprint(void)
{
    return lt_store_fingerprint() ^ sizeof(struct lt_topicfile) << 32;
}

/* ---- write ---- */

static int fill(struct lt_io *io, int fd, const char *dir_path, const struct lt_topicfile *file)
{
    int error = lt_io_write_all(io, fd, file, sizeof *file, 0, 0);
    if (error < 0)
        return fail_io(dir_path, LT_TOPICFILE_TEMPORARY, "write", error);
    error = lt_io_sync(io, fd);
    return error < 0 ? fail_io(dir_path, LT_TOPICFILE_TEMPORARY, "fsync", error) : 0;
}

int lt_topicfile_write(struct lt_io *io, int dir_fd, const char *dir_path, struct lt_topicfile *file)
{
    file->magic = LT_TOPICFILE_MAGIC;
    file->version = LT_STORE_VERSION;
    file->bytes = sizeof *file;
    file->fingerprint = fingerprint();
    memset(file->reserved, 0, sizeof file->reserved);
    file->hash = hash_of(file);

    int error = lt_io_unlink(io, dir_fd, LT_TOPICFILE_TEMPORARY); /* of who died before */
    if (error < 0 && error != -ENOENT)
        return fail_io(dir_path, LT_TOPICFILE_TEMPORARY, "unlink", error);
    int fd = lt_io_open(io, dir_fd, LT_TOPICFILE_TEMPORARY, O_RDWR | O_CREAT | O_EXCL);
    if (fd < 0)
        return fail_io(dir_path, LT_TOPICFILE_TEMPORARY, "create", fd);
    int r = fill(io, fd, dir_path, file);
    lt_io_close(io, fd);
    if (r < 0) {
        lt_io_unlink(io, dir_fd, LT_TOPICFILE_TEMPORARY);
        return r;
    }
    error = lt_io_rename(io, dir_fd, LT_TOPICFILE_TEMPORARY, LT_TOPICFILE_NAME);
    if (error < 0)
        return fail_io(dir_path, LT_TOPICFILE_NAME, "rename to it", error);
    error = lt_io_sync(io, dir_fd);
    return error < 0 ? fail_io(dir_path, LT_TOPICFILE_NAME, "fsync of its directory", error) : 0;
}

/* ---- read ---- */

static int damaged(const char *dir_path, const char *what, uint64_t value)
{
    return lt_fail(LEAT_EFAILED, "%s/%s: damaged: %s %" PRIu64, dir_path, LT_TOPICFILE_NAME, what, value);
}

static int check_values(const char *dir_path, const struct lt_topicfile *file)
{
    uint64_t size = file->ring_size;
    if (!memchr(file->name, 0, sizeof file->name) || lt_topic_name_check(file->name, strlen(file->name)) < 0)
        return damaged(dir_path, "a name of bytes", strnlen(file->name, sizeof file->name));
    if (file->partition_count == 0 || file->partition_count > LT_TOPIC_PARTITIONS_MAX)
        return damaged(dir_path, "partitions", file->partition_count);
    if (size < LT_RING_SIZE_MIN || size > LT_RING_SIZE_MAX || (size & (size - 1)) != 0)
        return damaged(dir_path, "ring size", size);
    if (file->log_id == 0)
        return damaged(dir_path, "log id", file->log_id);
    if (file->level > LEAT_DURABLE)
        return damaged(dir_path, "level", file->level);
    if (file->on_full > LEAT_ERROR)
        return damaged(dir_path, "on-full", file->on_full);
    if (file->partitioner != LEAT_XXH3 && file->partitioner != LEAT_MURMUR2)
        return damaged(dir_path, "partitioner", file->partitioner);
    if (file->mode > 0777)
        return damaged(dir_path, "mode", file->mode);
    if (file->segment_bytes < LT_SEGMENT_BYTES_MIN || file->segment_bytes > LT_SEGMENT_BYTES_MAX)
        return damaged(dir_path, "segment bytes", file->segment_bytes);
    if (file->retention_ms < -1)
        return damaged(dir_path, "retention ms", (uint64_t)file->retention_ms);
    for (uint32_t bucket = 0; bucket < LT_TOPICFILE_BUCKETS; bucket++)
        if (file->map[bucket] >= file->partition_count)
            return damaged(dir_path, "a bucket of partition", file->map[bucket]);
    return 0;
}

int lt_topicfile_check(const char *dir_path, const struct lt_topicfile *file, int64_t got)
{
    /* What tells versions apart stands in front of all that a later version may change. */
    if (got < (int64_t)HASHED || file->magic != LT_TOPICFILE_MAGIC)
        return damaged(dir_path, "no topic's settings, bytes", (uint64_t)got);
    if (file->version > LT_STORE_VERSION)
        return lt_fail(LEAT_EVERSION, "%s/%s: written in format %u, this program knows up to %u", dir_path,
                       LT_TOPICFILE_NAME, file->version, LT_STORE_VERSION);
    if (file->fingerprint != fingerprint())
        return lt_fail(
            LEAT_EVERSION, "%s/%s: format %u with fingerprint %016" PRIx64 ", expected %u with %016" PRIx64,
            dir_path, LT_TOPICFILE_NAME, file->version, file->fingerprint, LT_STORE_VERSION, fingerprint());
    if (got < (int64_t)sizeof *file || file->bytes != sizeof *file)
        return damaged(dir_path, "bytes", (uint64_t)got);
    if (file->hash != hash_of(file))
        return lt_fail(LEAT_EFAILED, "%s/%s: damaged: its checksum differs", dir_path, LT_TOPICFILE_NAME);
    return check_values(dir_path, file);
}

int lt_topicfile_read(struct lt_io *io, int dir_fd, const char *dir_path, struct lt_topicfile *file)
{
    memset(file, 0, sizeof *file);
    int fd = lt_io_open(io, dir_fd, LT_TOPICFILE_NAME, O_RDONLY);
    if (fd == -ENOENT)
        return 1;
    if (fd < 0)
        return fail_io(dir_path, LT_TOPICFILE_NAME, "open", fd);
    int64_t got = lt_io_read_all(io, fd, file, sizeof *file, 0);
    lt_io_close(io, fd);
    return got < 0 ? fail_io(dir_path, LT_TOPICFILE_NAME, "read", (int)got)
                   : lt_topicfile_check(dir_path, file, got);
}
