/* offsets: the committed offsets of all groups. */
#include "store/offsets.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <leat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/err.h"

#define TRIES 16

/* A key and what was put last. */
struct item {
    uint64_t hash;
    uint64_t topic;
    int64_t offset;
    uint32_t partition;
    uint16_t group_size, metadata_size;
    unsigned char bytes[]; /* group, metadata */
};

/* Entries that are to be written, end to end. */
struct run {
    unsigned char *bytes;
    size_t size, capacity;
    uint64_t end_sequence;
};

struct lt_offsets {
    struct lt_io *io;
    int dir_fd, fd;
    char *path;
    uint64_t least_bytes, size_bytes; /* of the file */
    uint64_t pos;                     /* where the next run goes */
    uint64_t sequence, durable;
    uint64_t token;
    struct run staged, flight;
    uint32_t flight_done, tries;
    bool under_way;
    int error; /* FAILED */
    char reason[256];
    struct item **slots; /* open addressing, a power of two */
    uint64_t slot_count, item_count, live_count;
    uint64_t live_bytes; /* of the entries that a compaction would write */
};

static int fail_io(struct lt_offsets *offsets, const char *name, const char *what, int error)
{
    lt_fail_errno(-error, "%s/%s: %s", offsets->path, name, what);
    return error == -ENOSPC || error == -EDQUOT ? LEAT_ENOSPC : LEAT_EIO;
}

static int stop(struct lt_offsets *offsets)
{
    if (offsets->error == 0) {
        offsets->error = LEAT_EIO;
        snprintf(offsets->reason, sizeof offsets->reason, "%s", lt_fail_text());
    }
    return offsets->error;
}

static int refuse(const struct lt_offsets *offsets)
{
    return lt_fail(offsets->error, "%s", offsets->reason);
}

/* ---- the table ---- */

static uint64_t key_hash(const void *group, size_t group_size, uint64_t topic, uint32_t partition)
{
    return XXH3_64bits_withSeed(group, group_size, topic * 0x9e3779b97f4a7c15ull ^ partition);
}

static uint64_t entry_bytes(uint32_t group_size, uint32_t metadata_size)
{
    uint64_t bytes = sizeof(struct lt_offsets_entry) + group_size + metadata_size;
    return (bytes + LT_BATCH_ALIGN - 1) / LT_BATCH_ALIGN * LT_BATCH_ALIGN;
}

static bool is_item(const struct item *item, uint64_t hash, const struct lt_offsets_entry *key,
                    const void *group)
{
    return item->hash == hash && item->topic == key->topic && item->partition == key->partition &&
           item->group_size == key->group_size && memcmp(item->bytes, group, key->group_size) == 0;
}

static struct item **slot_of(const struct lt_offsets *offsets, uint64_t hash,
                             const struct lt_offsets_entry *key, const void *group)
{
    uint64_t at = hash & (offsets->slot_count - 1);
    while (offsets->slots[at] && !is_item(offsets->slots[at], hash, key, group))
        at = (at + 1) & (offsets->slot_count - 1);
    return &offsets->slots[at];
}

static void enter_item(struct item **slots, uint64_t slot_count, struct item *item)
{
    uint64_t at = item->hash & (slot_count - 1);
    while (slots[at])
        at = (at + 1) & (slot_count - 1);
    slots[at] = item;
}

static int grow_table(struct lt_offsets *offsets)
{
    if (offsets->item_count * 2 < offsets->slot_count)
        return 0;
    uint64_t count = offsets->slot_count ? offsets->slot_count * 2 : 64;
    struct item **slots = calloc(count, sizeof *slots);
    if (!slots)
        return lt_fail(LEAT_ENOMEM, "%s: no memory for %" PRIu64 " committed offsets", offsets->path, count);
    for (uint64_t i = 0; i < offsets->slot_count; i++)
        if (offsets->slots[i])
            enter_item(slots, count, offsets->slots[i]);
    free(offsets->slots);
    offsets->slots = slots;
    offsets->slot_count = count;
    return 0;
}

static void count_live(struct lt_offsets *offsets, const struct item *item, int sign)
{
    if (item->offset == LT_OFFSETS_FORGOTTEN)
        return;
    uint64_t bytes = entry_bytes(item->group_size, item->metadata_size);
    offsets->live_count += (uint64_t)(int64_t)sign;
    offsets->live_bytes += sign > 0 ? bytes : -bytes;
}

/* A key that is forgotten keeps its slot until the next compaction. */
static int set_item(struct lt_offsets *offsets, const struct lt_offsets_entry *entry, const void *group,
                    const void *metadata)
{
    int error = grow_table(offsets);
    if (error < 0)
        return error;
    uint64_t hash = key_hash(group, entry->group_size, entry->topic, entry->partition);
    struct item **slot = slot_of(offsets, hash, entry, group);
    struct item *item = *slot;
    if (!item || item->metadata_size < entry->metadata_size) {
        item = malloc(sizeof *item + entry->group_size + entry->metadata_size);
        if (!item)
            return lt_fail(LEAT_ENOMEM, "%s: no memory for a committed offset", offsets->path);
        offsets->item_count += !*slot;
    }
    if (*slot)
        count_live(offsets, *slot, -1);
    struct item *old = *slot;
    item->hash = hash;
    item->topic = entry->topic;
    item->partition = entry->partition;
    item->offset = entry->offset;
    item->group_size = entry->group_size;
    item->metadata_size = entry->metadata_size;
    memmove(item->bytes, group, entry->group_size);
    memcpy(item->bytes + entry->group_size, metadata, entry->metadata_size);
    *slot = item;
    if (old != item)
        free(old);
    count_live(offsets, item, 1);
    return 0;
}

/* ---- entries ---- */

static uint64_t entry_hash(const struct lt_offsets_entry *entry, uint64_t pos)
{
    const size_t from = offsetof(struct lt_offsets_entry, sequence);
    return XXH3_64bits_withSeed((const unsigned char *)entry + from, entry->bytes - from,
                                pos * 0x9e3779b97f4a7c15ull ^ entry->bytes);
}

/* One more entry at the end of a run; its hash comes when its place is known. */
static int add_entry(struct lt_offsets *offsets, struct run *run, const struct lt_offsets_entry *key,
                     const void *group, const void *metadata)
{
    uint64_t bytes = entry_bytes(key->group_size, key->metadata_size);
    if (!run->bytes || run->size + bytes > run->capacity) {
        size_t capacity = run->capacity ? run->capacity * 2 : 4096;
        while (capacity < run->size + bytes)
            capacity *= 2;
        unsigned char *more = realloc(run->bytes, capacity);
        if (!more)
            return lt_fail(LEAT_ENOMEM, "%s: no memory for %zu bytes of commits", offsets->path, capacity);
        run->bytes = more;
        run->capacity = capacity;
    }
    struct lt_offsets_entry entry = *key;
    entry.magic = LT_OFFSETS_ENTRY_MAGIC;
    entry.bytes = (uint32_t)bytes;
    unsigned char *to = run->bytes + run->size;
    memset(to, 0, bytes);
    memcpy(to, &entry, sizeof entry);
    memcpy(to + sizeof entry, group, entry.group_size);
    memcpy(to + sizeof entry + entry.group_size, metadata, entry.metadata_size);
    run->size += bytes;
    return 0;
}

static void seal_run(struct run *run, uint64_t pos, uint64_t durable_sequence)
{
    for (size_t at = 0; at < run->size;) {
        struct lt_offsets_entry *entry = (struct lt_offsets_entry *)(void *)(run->bytes + at);
        entry->durable_sequence = durable_sequence;
        entry->hash = entry_hash(entry, pos + at);
        at += entry->bytes;
    }
}

const struct lt_offsets_entry *lt_offsets_entry_at(const unsigned char *bytes, uint64_t size, uint64_t pos)
{
    const struct lt_offsets_entry *entry = (const void *)(bytes + pos);
    if (pos + sizeof *entry > size || entry->magic != LT_OFFSETS_ENTRY_MAGIC || entry->bytes > size - pos ||
        entry->bytes != entry_bytes(entry->group_size, entry->metadata_size))
        return NULL;
    return entry->hash == entry_hash(entry, pos) ? entry : NULL;
}

/* ---- a new file ---- */

static void make_head(const struct lt_offsets *offsets, struct lt_offsets_head *head, uint64_t size_bytes)
{
    *head = (struct lt_offsets_head){ .magic = LT_OFFSETS_MAGIC,
                                      .version = LT_STORE_VERSION,
                                      .head_bytes = LT_STORE_PAGE,
                                      .fingerprint = lt_store_fingerprint(),
                                      .size_bytes = size_bytes,
                                      .first_sequence = offsets->sequence };
    head->hash = XXH3_64bits(head, offsetof(struct lt_offsets_head, hash));
}

/* All that counts, as one run. It includes what was put and is not written yet. */
static int collect(struct lt_offsets *offsets, struct run *run)
{
    uint64_t sequence = offsets->sequence;
    for (uint64_t i = 0; i < offsets->slot_count; i++) {
        const struct item *item = offsets->slots[i];
        if (!item || item->offset == LT_OFFSETS_FORGOTTEN)
            continue;
        struct lt_offsets_entry key = { .sequence = sequence++,
                                        .topic = item->topic,
                                        .partition = item->partition,
                                        .group_size = item->group_size,
                                        .metadata_size = item->metadata_size,
                                        .offset = item->offset };
        int error = add_entry(offsets, run, &key, item->bytes, item->bytes + item->group_size);
        if (error < 0)
            return error;
    }
    run->end_sequence = sequence;
    seal_run(run, LT_STORE_PAGE, offsets->sequence);
    return 0;
}

static int fill_file(struct lt_offsets *offsets, int fd, uint64_t size, const struct run *run)
{
    struct lt_io *io = offsets->io;
    struct lt_offsets_head head;
    make_head(offsets, &head, size);
    int error = lt_io_write_zeros(io, fd, size, 0);
    if (error == 0)
        error = lt_io_write_all(io, fd, &head, sizeof head, 0, 0);
    if (error == 0)
        error = lt_io_write_all(io, fd, run->bytes, run->size, LT_STORE_PAGE, 0);
    if (error < 0)
        return fail_io(offsets, LT_OFFSETS_TEMPORARY, "write", error);
    error = lt_io_sync(io, fd);
    return error < 0 ? fail_io(offsets, LT_OFFSETS_TEMPORARY, "fsync", error) : 0;
}

/* The new file under its temporary name, whole and durable: its descriptor, or an error and nothing has changed. */
static int make_file(struct lt_offsets *offsets, uint64_t size, const struct run *run)
{
    struct lt_io *io = offsets->io;
    int error = lt_io_unlink(io, offsets->dir_fd, LT_OFFSETS_TEMPORARY);
    if (error < 0 && error != -ENOENT)
        return fail_io(offsets, LT_OFFSETS_TEMPORARY, "unlink", error);
    int fd = lt_io_open(io, offsets->dir_fd, LT_OFFSETS_TEMPORARY, O_RDWR | O_CREAT | O_EXCL);
    if (fd < 0)
        return fail_io(offsets, LT_OFFSETS_TEMPORARY, "create", fd);
    error = fill_file(offsets, fd, size, run);
    if (error == 0)
        return fd;
    lt_io_close(io, fd);
    lt_io_unlink(io, offsets->dir_fd, LT_OFFSETS_TEMPORARY);
    return error;
}

/* From here on a failure leaves either file under the name. Both say what was durable, but which one goes on? */
static int name_file(struct lt_offsets *offsets, int fd)
{
    int error = lt_io_rename(offsets->io, offsets->dir_fd, LT_OFFSETS_TEMPORARY, LT_OFFSETS_NAME);
    const char *what = "rename to it";
    if (error == 0) {
        error = lt_io_sync(offsets->io, offsets->dir_fd);
        what = "fsync of its directory";
    }
    if (error == 0)
        return 0;
    lt_io_close(offsets->io, fd);
    fail_io(offsets, LT_OFFSETS_NAME, what, error);
    return stop(offsets);
}

/* Keys that are forgotten need their slots no longer than the file has something of them. Without memory for it, until the next time. */
static void drop_forgotten(struct lt_offsets *offsets)
{
    struct item **slots = calloc(offsets->slot_count, sizeof *slots);
    if (!slots)
        return;
    for (uint64_t i = 0; i < offsets->slot_count; i++) {
        struct item *item = offsets->slots[i];
        if (item && item->offset == LT_OFFSETS_FORGOTTEN) {
            free(item);
            offsets->item_count--;
        } else if (item) {
            enter_item(slots, offsets->slot_count, item);
        }
    }
    free(offsets->slots);
    offsets->slots = slots;
}

static int compact(struct lt_offsets *offsets)
{
    struct run run = { 0 };
    uint64_t size = offsets->least_bytes;
    while (size < LT_STORE_PAGE + 4 * offsets->live_bytes)
        size *= 2;
    int fd = collect(offsets, &run);
    if (fd == 0)
        fd = make_file(offsets, size, &run);
    int error = fd < 0 ? fd : name_file(offsets, fd);
    if (error == 0) {
        if (offsets->fd >= 0)
            lt_io_close(offsets->io, offsets->fd);
        offsets->fd = fd;
        offsets->size_bytes = size;
        offsets->pos = LT_STORE_PAGE + run.size;
        offsets->sequence = offsets->durable = run.end_sequence;
        offsets->staged.size = 0;
        drop_forgotten(offsets);
    }
    free(run.bytes);
    return error;
}

/* ---- recovery ---- */

/* A whole file, past the cache. *size is what it holds. */
static int read_file(struct lt_offsets *offsets, int flags, unsigned char **bytes, uint64_t *size)
{
    struct lt_io_stat stat = { 0 };
    int fd = lt_io_open(offsets->io, offsets->dir_fd, LT_OFFSETS_NAME, flags);
    if (fd < 0)
        return fail_io(offsets, LT_OFFSETS_NAME, "open", fd);
    int error = lt_io_stat(offsets->io, fd, &stat);
    uint64_t room = (stat.size + LT_STORE_PAGE) / LT_STORE_PAGE *
                    LT_STORE_PAGE; /* one byte more at least: never 0 */
    *bytes = error < 0 ? NULL : aligned_alloc(LT_STORE_PAGE, room);
    if (error < 0) {
        error = fail_io(offsets, LT_OFFSETS_NAME, "fstat", error);
    } else if (!*bytes) {
        error = lt_fail(LEAT_ENOMEM, "%s/%s: no memory for %" PRIu64 " bytes", offsets->path, LT_OFFSETS_NAME,
                        room);
    } else {
        memset(*bytes, 0, room);
        int64_t n = lt_io_read_all(offsets->io, fd, *bytes, stat.size, 0);
        *size = n < 0 ? 0 : (uint64_t)n;
        error = n < 0 ? fail_io(offsets, LT_OFFSETS_NAME, "read", (int)n) : 0;
    }
    lt_io_close(offsets->io, fd);
    return error;
}

int lt_offsets_check(const char *path, const struct lt_offsets_head *head, uint64_t size)
{
    if (size < LT_STORE_PAGE || head->magic != LT_OFFSETS_MAGIC)
        return lt_fail(LEAT_EFAILED, "%s/%s: %" PRIu64 " bytes, magic %016" PRIx64 ": not a file of offsets",
                       path, LT_OFFSETS_NAME, size, head->magic);
    if (head->version > LT_STORE_VERSION)
        return lt_fail(LEAT_EVERSION, "%s/%s: written in format %u, this program knows up to %u", path,
                       LT_OFFSETS_NAME, head->version, LT_STORE_VERSION);
    if (head->hash != XXH3_64bits(head, offsetof(struct lt_offsets_head, hash)) || head->size_bytes > size ||
        head->size_bytes < LT_STORE_PAGE)
        return lt_fail(LEAT_EFAILED, "%s/%s: its head is damaged", path, LT_OFFSETS_NAME);
    if (head->fingerprint != lt_store_fingerprint())
        return lt_fail(LEAT_EVERSION,
                       "%s/%s: format %u with fingerprint %016" PRIx64 ", expected %016" PRIx64, path,
                       LT_OFFSETS_NAME, head->version, head->fingerprint, lt_store_fingerprint());
    return 0;
}

static int take_head(struct lt_offsets *offsets, const unsigned char *bytes, uint64_t size)
{
    struct lt_offsets_head head;
    memcpy(&head, bytes, sizeof head);
    int error = lt_offsets_check(offsets->path, &head, size);
    offsets->size_bytes = head.size_bytes;
    offsets->sequence = head.first_sequence;
    return error;
}

static int take_entries(struct lt_offsets *offsets, const unsigned char *bytes)
{
    const struct lt_offsets_entry *entry;
    offsets->pos = LT_STORE_PAGE;
    while ((entry = lt_offsets_entry_at(bytes, offsets->size_bytes, offsets->pos)) &&
           entry->sequence == offsets->sequence) {
        const unsigned char *group = (const unsigned char *)(entry + 1);
        int error = set_item(offsets, entry, group, group + entry->group_size);
        if (error < 0)
            return error;
        offsets->pos += entry->bytes;
        offsets->sequence++;
    }
    return 0;
}

/* Does a whole entry behind the end say that more was durable? */
static int look_behind(struct lt_offsets *offsets, const unsigned char *bytes, unsigned how)
{
    uint64_t claim = 0;
    for (uint64_t pos = offsets->pos; pos < offsets->size_bytes; pos += LT_BATCH_ALIGN) {
        const struct lt_offsets_entry *entry = lt_offsets_entry_at(bytes, offsets->size_bytes, pos);
        if (entry && entry->durable_sequence > claim)
            claim = entry->durable_sequence;
    }
    if (claim > offsets->sequence && !(how & LT_OFFSETS_CUT))
        return lt_fail(LEAT_EFAILED,
                       "%s/%s: no valid entry %" PRIu64 " at %" PRIu64 ", but all below %" PRIu64
                       " was durable",
                       offsets->path, LT_OFFSETS_NAME, offsets->sequence, offsets->pos, claim);
    return 0;
}

static bool is_zero(const unsigned char *bytes, uint64_t from, uint64_t end)
{
    for (uint64_t i = from; i < end; i++)
        if (bytes[i])
            return false;
    return true;
}

/* What is torn goes, on the disk and in the cache: an entry of it could one day follow what is written before it. */
static int clear_tail(struct lt_offsets *offsets, const unsigned char *on_disk)
{
    unsigned char *cached = NULL;
    uint64_t size = 0;
    int error = read_file(offsets, O_RDONLY, &cached, &size);
    bool zero = error == 0 && size >= offsets->size_bytes &&
                is_zero(on_disk, offsets->pos, offsets->size_bytes) &&
                is_zero(cached, offsets->pos, offsets->size_bytes);
    free(cached);
    if (error < 0 || zero)
        return error;
    error = lt_io_write_zeros(offsets->io, offsets->fd, offsets->size_bytes - offsets->pos, offsets->pos);
    if (error < 0)
        return fail_io(offsets, LT_OFFSETS_NAME, "write over the torn end", error);
    error = lt_io_datasync(offsets->io, offsets->fd);
    return error < 0 ? fail_io(offsets, LT_OFFSETS_NAME, "fdatasync", error) : 0;
}

static int recover(struct lt_offsets *offsets, unsigned how)
{
    unsigned char *bytes = NULL;
    uint64_t size = 0;
    int error = lt_io_unlink(offsets->io, offsets->dir_fd, LT_OFFSETS_TEMPORARY);
    if (error < 0 && error != -ENOENT)
        return fail_io(offsets, LT_OFFSETS_TEMPORARY, "unlink", error);
    /* What is only in the cache becomes durable; then what the disk has is what counts. */
    error = lt_io_datasync(offsets->io, offsets->fd);
    error = error < 0 ? fail_io(offsets, LT_OFFSETS_NAME, "fdatasync", error) : 0;
    if (error == 0)
        error = read_file(offsets, O_RDONLY | LT_IO_PAST_CACHE, &bytes, &size);
    if (error == 0)
        error = take_head(offsets, bytes, size);
    if (error == 0)
        error = take_entries(offsets, bytes);
    if (error == 0)
        error = look_behind(offsets, bytes, how);
    if (error == 0)
        error = clear_tail(offsets, bytes);
    free(bytes);
    offsets->durable = offsets->sequence;
    return error;
}

static int open_file(struct lt_offsets *offsets, unsigned how)
{
    /* The name may be that of a compaction whose own sync of the directory never came, or failed. */
    int error = lt_io_sync(offsets->io, offsets->dir_fd);
    if (error < 0)
        return fail_io(offsets, ".", "fsync", error);
    offsets->fd = lt_io_open(offsets->io, offsets->dir_fd, LT_OFFSETS_NAME, O_RDWR);
    if (offsets->fd >= 0)
        return recover(offsets, how);
    if (offsets->fd == -ENOENT)
        return compact(offsets); /* of nothing */
    return fail_io(offsets, LT_OFFSETS_NAME, "open", offsets->fd);
}

int lt_offsets_open(struct lt_io *io, int dir_fd, const char *path, uint64_t bytes, uint32_t token_tag,
                    unsigned how, struct lt_offsets **out)
{
    struct lt_offsets *offsets = calloc(1, sizeof *offsets);
    *out = NULL;
    if (!offsets || !(offsets->path = strdup(path))) {
        free(offsets);
        return lt_fail(LEAT_ENOMEM, "%s: no memory", path);
    }
    offsets->io = io;
    offsets->dir_fd = dir_fd;
    offsets->fd = -1;
    offsets->token = (uint64_t)token_tag << 32;
    offsets->least_bytes = bytes < 2 * LT_STORE_PAGE ? bytes ? 2 * LT_STORE_PAGE : LT_OFFSETS_BYTES : bytes;
    offsets->least_bytes = (offsets->least_bytes + LT_STORE_PAGE - 1) / LT_STORE_PAGE * LT_STORE_PAGE;
    int error = grow_table(offsets);
    if (error == 0)
        error = open_file(offsets, how);
    if (error < 0)
        lt_offsets_close(offsets);
    else
        *out = offsets;
    return error;
}

void lt_offsets_close(struct lt_offsets *offsets)
{
    if (!offsets)
        return;
    if (offsets->fd >= 0)
        lt_io_close(offsets->io, offsets->fd);
    for (uint64_t i = 0; i < offsets->slot_count; i++)
        free(offsets->slots[i]);
    free(offsets->slots);
    free(offsets->staged.bytes);
    free(offsets->flight.bytes);
    free(offsets->path);
    free(offsets);
}

/* ---- use ---- */

int64_t lt_offsets_put(struct lt_offsets *offsets, const struct lt_offsets_key *key, int64_t offset,
                       const void *metadata, uint32_t metadata_size)
{
    size_t group_size = strlen(key->group);
    if (offsets->error < 0)
        return refuse(offsets);
    if (group_size > LT_OFFSETS_GROUP_MAX || metadata_size > LT_OFFSETS_METADATA_MAX)
        return lt_fail(LEAT_EINVAL, "a group's name of %zu bytes or metadata of %u: at most %u and %u",
                       group_size, metadata_size, LT_OFFSETS_GROUP_MAX, LT_OFFSETS_METADATA_MAX);
    struct lt_offsets_entry entry = { .sequence = offsets->sequence,
                                      .topic = key->topic,
                                      .partition = key->partition,
                                      .group_size = (uint16_t)group_size,
                                      .metadata_size = (uint16_t)metadata_size,
                                      .offset = offset };
    const void *bytes = metadata_size > 0 ? metadata : "";
    int error = add_entry(offsets, &offsets->staged, &entry, key->group, bytes);
    if (error < 0)
        return error;
    error = set_item(offsets, &entry, key->group, bytes);
    if (error < 0) {
        offsets->staged.size -= entry_bytes(entry.group_size, entry.metadata_size);
        return error;
    }
    return (int64_t)offsets->sequence++;
}

int lt_offsets_get(const struct lt_offsets *offsets, const struct lt_offsets_key *key,
                   struct lt_offsets_value *value)
{
    size_t group_size = strlen(key->group);
    struct lt_offsets_entry entry = { .topic = key->topic,
                                      .partition = key->partition,
                                      .group_size = (uint16_t)group_size };
    uint64_t hash = key_hash(key->group, group_size, key->topic, key->partition);
    const struct item *item = group_size > LT_OFFSETS_GROUP_MAX ? NULL
                                                                : *slot_of(offsets, hash, &entry, key->group);
    if (!item || item->offset == LT_OFFSETS_FORGOTTEN)
        return 0;
    *value = (struct lt_offsets_value){ .offset = item->offset,
                                        .metadata = item->bytes + item->group_size,
                                        .metadata_size = item->metadata_size };
    return 1;
}

void lt_offsets_each(const struct lt_offsets *offsets,
                     void (*each)(void *arg, const struct lt_offsets_key *key,
                                  const struct lt_offsets_value *value),
                     void *arg)
{
    char group[LT_OFFSETS_GROUP_MAX + 1];
    for (uint64_t i = 0; i < offsets->slot_count; i++) {
        const struct item *item = offsets->slots[i];
        if (!item || item->offset == LT_OFFSETS_FORGOTTEN)
            continue;
        memcpy(group, item->bytes, item->group_size);
        group[item->group_size] = 0;
        struct lt_offsets_key key = { .group = group, .topic = item->topic, .partition = item->partition };
        struct lt_offsets_value value = { .offset = item->offset,
                                          .metadata = item->bytes + item->group_size,
                                          .metadata_size = item->metadata_size };
        each(arg, &key, &value);
    }
}

uint64_t lt_offsets_count(const struct lt_offsets *offsets)
{
    return offsets->live_count;
}

uint64_t lt_offsets_durable(const struct lt_offsets *offsets)
{
    return offsets->durable;
}

bool lt_offsets_failed(const struct lt_offsets *offsets)
{
    return offsets->error < 0;
}

const char *lt_offsets_reason(const struct lt_offsets *offsets)
{
    return offsets->reason;
}

static void put_op(const struct lt_offsets *offsets, struct lt_io_op *op)
{
    *op = (struct lt_io_op){ .kind = LT_IO_WRITE,
                             .fd = offsets->fd,
                             .flags = LT_IO_DSYNC,
                             .size = (uint32_t)offsets->flight.size - offsets->flight_done,
                             .bytes = offsets->flight.bytes + offsets->flight_done,
                             .at = offsets->pos + offsets->flight_done,
                             .token = offsets->token };
}

int lt_offsets_seal(struct lt_offsets *offsets, struct lt_io_op *op)
{
    if (offsets->error < 0)
        return refuse(offsets);
    if (offsets->under_way)
        return LT_OFFSETS_BUSY;
    if (offsets->staged.size == 0)
        return LT_OFFSETS_NOTHING;
    if (offsets->staged.size > offsets->size_bytes - offsets->pos) {
        int error = compact(offsets); /* what was put is in there */
        return error < 0 ? error : LT_OFFSETS_NOTHING;
    }
    struct run run = offsets->staged;
    offsets->staged = offsets->flight;
    offsets->staged.size = 0;
    offsets->flight = run;
    offsets->flight.end_sequence = offsets->sequence;
    offsets->flight_done = offsets->tries = 0;
    offsets->under_way = true;
    seal_run(&offsets->flight, offsets->pos, offsets->durable);
    put_op(offsets, op);
    return 0;
}

int lt_offsets_completed(struct lt_offsets *offsets, int64_t result, struct lt_io_op *again)
{
    if (!offsets->under_way)
        return lt_fail(LEAT_EINVAL, "%s/%s: no write is under way", offsets->path, LT_OFFSETS_NAME);
    uint64_t left = offsets->flight.size - offsets->flight_done;
    bool interrupted = (result == -EINTR || result == -EAGAIN || result == 0) && ++offsets->tries < TRIES;
    if (interrupted || (result > 0 && (uint64_t)result < left)) {
        offsets->flight_done += result > 0 ? (uint32_t)result : 0;
        put_op(offsets, again);
        return 1;
    }
    offsets->under_way = false;
    if (result < 0 || (uint64_t)result != left) {
        fail_io(offsets, LT_OFFSETS_NAME, "write", result < 0 ? (int)result : -EIO);
        return stop(offsets);
    }
    offsets->pos += offsets->flight.size;
    offsets->durable = offsets->flight.end_sequence;
    return 0;
}

int lt_offsets_flush(struct lt_offsets *offsets)
{
    struct lt_io_op op = { 0 };
    int result = lt_offsets_seal(offsets, &op);
    if (result == LT_OFFSETS_BUSY)
        return lt_fail(LEAT_EINUSE, "%s/%s: a write is under way", offsets->path, LT_OFFSETS_NAME);
    if (result != 0)
        return result < 0 ? result : 0;
    do {
        int64_t n = offsets->io->table->write(offsets->io, op.fd, op.bytes, op.size, op.at, op.flags);
        result = lt_offsets_completed(offsets, n, &op);
    } while (result == 1);
    return result;
}
