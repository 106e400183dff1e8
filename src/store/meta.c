/* meta: the few words of a partition that change in place. */
#include "store/meta.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <leat.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/err.h"

#define FILE_SIZE (2u * LT_STORE_PAGE)

static int fail_io(const struct lt_store_dir *dir, const char *name, const char *what, int error)
{
    lt_fail_errno(-error, "%s/%s: %s", dir->path, name, what);
    return error == -ENOSPC || error == -EDQUOT ? LEAT_ENOSPC : LEAT_EIO;
}

static uint64_t slot_hash(const struct lt_meta_slot *slot)
{
    return XXH3_64bits(slot, offsetof(struct lt_meta_slot, hash));
}

static void seal(const struct lt_store_dir *dir, struct lt_meta_slot *slot)
{
    slot->magic = LT_META_MAGIC;
    slot->version = LT_STORE_VERSION;
    slot->fingerprint = lt_store_fingerprint();
    slot->topic = dir->id.topic;
    slot->partition = dir->id.partition;
    slot->hash = slot_hash(slot);
}

static uint64_t place_of(const struct lt_meta_slot *slot)
{
    return slot->sequence % 2 * LT_STORE_PAGE;
}

static int fill(const struct lt_store_dir *dir, int fd, const struct lt_meta_slot *slot)
{
    unsigned char bytes[FILE_SIZE] = { 0 };
    memcpy(bytes + place_of(slot), slot, sizeof *slot);
    int error = lt_io_write_all(dir->io, fd, bytes, sizeof bytes, 0, 0);
    if (error < 0)
        return fail_io(dir, LT_META_TEMPORARY, "write", error);
    error = lt_io_sync(dir->io, fd);
    if (error < 0)
        return fail_io(dir, LT_META_TEMPORARY, "fsync", error);
    return 0;
}

int lt_meta_create(const struct lt_store_dir *dir, const struct lt_meta_slot *meta)
{
    struct lt_meta_slot slot = *meta;
    seal(dir, &slot);
    int error = lt_io_unlink(dir->io, dir->fd, LT_META_TEMPORARY);
    if (error < 0 && error != -ENOENT)
        return fail_io(dir, LT_META_TEMPORARY, "unlink", error);
    int fd = lt_io_open(dir->io, dir->fd, LT_META_TEMPORARY, O_RDWR | O_CREAT | O_EXCL);
    if (fd < 0)
        return fail_io(dir, LT_META_TEMPORARY, "create", fd);
    error = fill(dir, fd, &slot);
    lt_io_close(dir->io, fd);
    if (error < 0)
        return error;
    error = lt_io_rename(dir->io, dir->fd, LT_META_TEMPORARY, LT_META_NAME);
    if (error < 0)
        return fail_io(dir, LT_META_NAME, "rename to it", error);
    error = lt_io_sync(dir->io, dir->fd);
    return error < 0 ? fail_io(dir, LT_META_NAME, "fsync of its directory", error) : 0;
}

int lt_meta_check(const struct lt_store_dir *dir, const struct lt_meta_slot *slot)
{
    if (slot->magic != LT_META_MAGIC)
        return 0;
    if (slot->version > LT_STORE_VERSION)
        return lt_fail(LEAT_EVERSION, "%s/%s: written in format %u, this program knows up to %u", dir->path,
                       LT_META_NAME, slot->version, LT_STORE_VERSION);
    if (slot->hash != slot_hash(slot))
        return 0;
    if (slot->version != LT_STORE_VERSION || slot->fingerprint != lt_store_fingerprint())
        return lt_fail(LEAT_EVERSION,
                       "%s/%s: format %u with fingerprint %016" PRIx64 ", expected %u with %016" PRIx64,
                       dir->path, LT_META_NAME, slot->version, slot->fingerprint, LT_STORE_VERSION,
                       lt_store_fingerprint());
    if (slot->topic != dir->id.topic || slot->partition != dir->id.partition)
        return lt_fail(
            LEAT_EFAILED, "%s/%s: belongs to topic %" PRIu64 " partition %u, expected %" PRIu64 ", %u",
            dir->path, LT_META_NAME, slot->topic, slot->partition, dir->id.topic, dir->id.partition);
    return 1;
}

static int choose(const struct lt_store_dir *dir, const unsigned char *bytes, struct lt_meta_slot *meta)
{
    bool found = false;
    for (int i = 0; i < 2; i++) {
        struct lt_meta_slot slot;
        memcpy(&slot, bytes + i * LT_STORE_PAGE, sizeof slot);
        int whole = lt_meta_check(dir, &slot);
        if (whole < 0)
            return whole;
        if (whole && (!found || slot.sequence > meta->sequence))
            *meta = slot;
        found = found || whole;
    }
    return found ? 0 : lt_fail(LEAT_EFAILED, "%s/%s: neither slot is whole", dir->path, LT_META_NAME);
}

/* Past the page cache: after a sync that failed, the cache holds a slot that the disk may not have. */
static int read_slots(const struct lt_store_dir *dir, struct lt_meta_slot *meta)
{
    int fd = lt_io_open(dir->io, dir->fd, LT_META_NAME, O_RDONLY | LT_IO_PAST_CACHE);
    if (fd < 0)
        return fail_io(dir, LT_META_NAME, "open", fd);
    unsigned char *bytes = aligned_alloc(LT_STORE_PAGE, FILE_SIZE);
    int error = 0;
    if (!bytes) {
        error = lt_fail(LEAT_ENOMEM, "%s/%s: no memory for %u bytes", dir->path, LT_META_NAME, FILE_SIZE);
    } else {
        memset(bytes, 0, FILE_SIZE);
        int64_t n = lt_io_read_all(dir->io, fd, bytes, FILE_SIZE, 0);
        error = n < 0 ? fail_io(dir, LT_META_NAME, "read", (int)n) : choose(dir, bytes, meta);
    }
    free(bytes);
    lt_io_close(dir->io, fd);
    return error;
}

int lt_meta_open(const struct lt_store_dir *dir, struct lt_meta_slot *meta, bool *absent)
{
    int fd = lt_io_open(dir->io, dir->fd, LT_META_NAME, O_RDWR);
    *absent = fd == -ENOENT;
    if (fd < 0)
        return fail_io(dir, LT_META_NAME, "open", fd);
    int error = lt_io_datasync(dir->io, fd);
    error = error < 0 ? fail_io(dir, LT_META_NAME, "fdatasync", error) : read_slots(dir, meta);
    if (error < 0)
        lt_io_close(dir->io, fd);
    return error < 0 ? error : fd;
}

int lt_meta_write(const struct lt_store_dir *dir, int fd, struct lt_meta_slot *meta)
{
    meta->sequence++;
    seal(dir, meta);
    int error = lt_io_write_all(dir->io, fd, meta, sizeof *meta, place_of(meta), LT_IO_DSYNC);
    if (error < 0) {
        fail_io(dir, LT_META_NAME, "write", error);
        return LEAT_EIO;
    }
    return 0;
}
