/* simdisk: a disk in memory behind store/io's table. */
#include "simdisk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512u
#define MAX_FDS 128
#define MAX_FLIGHT 64
#define NAME_SIZE 48

/* A write since the last sync that covered it. */
struct pending {
    uint64_t seq;
    uint64_t at;
    uint32_t size;
    unsigned char *bytes;
};

struct name {
    char name[NAME_SIZE];
    int inode; /* -1: none */
};

/* A change of a directory: up to two names at once (a rename). */
struct change {
    struct name names[2];
    int count;
};

struct inode {
    bool used, directory;
    /* file */
    uint64_t size, disk_size, capacity;
    unsigned char *cache, *disk;
    uint64_t *dirty_seq, *clean_seq; /* a sector */
    struct pending *pending;
    int pending_count, pending_capacity;
    /* directory */
    struct name *names, *disk_names;
    int name_count, name_capacity, disk_name_count;
    struct change *changes;
    int change_count, change_capacity;
};

struct handle {
    bool used, past_cache;
    int inode;
};

struct flight {
    struct lt_io_op op;
    int inode;
    uint64_t seq; /* of a sync: what it covers */
};

struct simdisk {
    struct lt_io io;
    uint64_t random;
    struct inode *inodes;
    int inode_count, inode_capacity;
    struct handle handles[MAX_FDS];
    struct flight flights[MAX_FLIGHT];
    int flight_count;
    uint64_t seq;
    uint64_t operations, stop_at, fail_at;
    int fail_error;
    bool fail_forever, failed;
    void (*after)(void *arg);
    void *after_arg;
};

/* ---- small things ---- */

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = (*state += 0x9e3779b97f4a7c15ull);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static void *must(void *memory)
{
    if (!memory) {
        fprintf(stderr, "simdisk: no memory\n");
        abort();
    }
    return memory;
}

static struct simdisk *disk_of(struct lt_io *io)
{
    return (struct simdisk *)io;
}

/* Whether this operation fails, and how: 0, -errno, or SIMDISK_SHORT. */
static int begin(struct simdisk *disk)
{
    uint64_t at = disk->operations++;
    if (at >= disk->stop_at)
        return -EIO;
    if (at == disk->fail_at || (disk->fail_forever && at >= disk->fail_at)) {
        disk->failed = true;
        return disk->fail_error == SIMDISK_SHORT ? SIMDISK_SHORT : -disk->fail_error;
    }
    return 0;
}

static bool stopped(const struct simdisk *disk)
{
    return disk->operations > disk->stop_at;
}

static void changed(struct simdisk *disk)
{
    if (disk->after && !stopped(disk))
        disk->after(disk->after_arg);
}

static int new_inode(struct simdisk *disk, bool directory)
{
    if (disk->inode_count == disk->inode_capacity) {
        disk->inode_capacity = disk->inode_capacity ? disk->inode_capacity * 2 : 16;
        disk->inodes = must(realloc(disk->inodes, (size_t)disk->inode_capacity * sizeof disk->inodes[0]));
    }
    disk->inodes[disk->inode_count] = (struct inode){ .used = true, .directory = directory };
    return disk->inode_count++;
}

static void reserve(struct inode *inode, uint64_t size)
{
    if (size <= inode->capacity)
        return;
    uint64_t capacity = (size + SECTOR - 1) / SECTOR * SECTOR, sectors = capacity / SECTOR,
             old = inode->capacity / SECTOR;
    inode->cache = must(realloc(inode->cache, capacity));
    inode->disk = must(realloc(inode->disk, capacity));
    inode->dirty_seq = must(realloc(inode->dirty_seq, sectors * sizeof inode->dirty_seq[0]));
    inode->clean_seq = must(realloc(inode->clean_seq, sectors * sizeof inode->clean_seq[0]));
    memset(inode->cache + inode->capacity, 0, capacity - inode->capacity);
    memset(inode->disk + inode->capacity, 0, capacity - inode->capacity);
    memset(inode->dirty_seq + old, 0, (sectors - old) * sizeof inode->dirty_seq[0]);
    memset(inode->clean_seq + old, 0, (sectors - old) * sizeof inode->clean_seq[0]);
    inode->capacity = capacity;
}

static void free_inode(struct inode *inode)
{
    for (int i = 0; i < inode->pending_count; i++)
        free(inode->pending[i].bytes);
    free(inode->pending);
    free(inode->cache);
    free(inode->disk);
    free(inode->dirty_seq);
    free(inode->clean_seq);
    free(inode->names);
    free(inode->disk_names);
    free(inode->changes);
}

/* ---- files ---- */

static void apply(struct simdisk *disk, struct inode *inode, const void *bytes, uint32_t size, uint64_t at)
{
    if (size == 0)
        return;
    reserve(inode, at + size);
    memcpy(inode->cache + at, bytes, size);
    if (at + size > inode->size)
        inode->size = at + size;
    disk->seq++;
    for (uint64_t s = at / SECTOR; s <= (at + size - 1) / SECTOR; s++)
        inode->dirty_seq[s] = disk->seq;
    if (inode->pending_count == inode->pending_capacity) {
        inode->pending_capacity = inode->pending_capacity ? inode->pending_capacity * 2 : 8;
        inode->pending = must(
            realloc(inode->pending, (size_t)inode->pending_capacity * sizeof inode->pending[0]));
    }
    unsigned char *copy = must(malloc(size));
    memcpy(copy, bytes, size);
    inode->pending[inode->pending_count++] = (struct pending){
        .seq = disk->seq, .at = at, .size = size, .bytes = copy
    };
}

/* The part of a write that lies in one sector, onto `to` (a whole file). */
static void put_sector(unsigned char *to, uint64_t to_size, uint64_t sector, uint64_t at, uint32_t size,
                       const unsigned char *bytes)
{
    uint64_t from = sector * SECTOR, end = from + SECTOR;
    if (from < at)
        from = at;
    if (end > at + size)
        end = at + size;
    if (end > to_size)
        end = to_size;
    if (from < end)
        memcpy(to + from, bytes + (from - at), end - from);
}

/* Writes of a sector up to a sequence go to the disk, in order. */
static void settle_sector(struct inode *inode, uint64_t sector, uint64_t upto)
{
    for (int i = 0; i < inode->pending_count; i++) {
        const struct pending *p = &inode->pending[i];
        if (p->seq > upto || p->seq <= inode->clean_seq[sector] || sector < p->at / SECTOR ||
            sector > (p->at + p->size - 1) / SECTOR)
            continue;
        put_sector(inode->disk, inode->capacity, sector, p->at, p->size, p->bytes);
    }
    if (inode->clean_seq[sector] < upto)
        inode->clean_seq[sector] = upto;
}

static void forget_settled(struct inode *inode)
{
    int kept = 0;
    for (int i = 0; i < inode->pending_count; i++) {
        struct pending *p = &inode->pending[i];
        bool dirty = false;
        for (uint64_t s = p->at / SECTOR; s <= (p->at + p->size - 1) / SECTOR && !dirty; s++)
            dirty = p->seq > inode->clean_seq[s];
        if (dirty)
            inode->pending[kept++] = *p;
        else
            free(p->bytes);
    }
    inode->pending_count = kept;
}

static void settle(struct inode *inode, uint64_t from, uint64_t end, uint64_t upto)
{
    for (uint64_t s = from / SECTOR; s * SECTOR < end && s * SECTOR < inode->capacity; s++)
        settle_sector(inode, s, upto);
    inode->disk_size = inode->size;
    forget_settled(inode);
}

/* A sync that failed: what reached the disk is anybody's guess, and the cache calls all of it clean. */
static void settle_badly(struct simdisk *disk, struct inode *inode)
{
    for (uint64_t s = 0; s * SECTOR < inode->capacity; s++)
        if (inode->dirty_seq[s] > inode->clean_seq[s]) {
            if (next_random(&disk->random) & 1)
                settle_sector(inode, s, disk->seq);
            inode->clean_seq[s] = disk->seq;
        }
    forget_settled(inode);
}

static struct inode *inode_of(struct simdisk *disk, int fd)
{
    if (fd < 0 || fd >= MAX_FDS || !disk->handles[fd].used) {
        fprintf(stderr, "simdisk: descriptor %d is not open\n", fd);
        abort();
    }
    return &disk->inodes[disk->handles[fd].inode];
}

static int64_t sim_read(struct lt_io *io, int fd, void *bytes, size_t size, uint64_t at)
{
    struct simdisk *disk = disk_of(io);
    struct inode *inode = inode_of(disk, fd);
    int fault = begin(disk);
    if (fault < 0)
        return fault;
    if (at >= inode->size)
        return 0;
    if (size > inode->size - at)
        size = inode->size - at;
    if (fault == SIMDISK_SHORT && size > 1)
        size /= 2;
    memcpy(bytes, inode->cache + at, size);
    if (!disk->handles[fd].past_cache || size == 0)
        return (int64_t)size;
    for (uint64_t s = at / SECTOR; s <= (at + size - 1) / SECTOR; s++)
        if (inode->dirty_seq[s] <= inode->clean_seq[s]) {
            uint64_t from = s * SECTOR < at ? at : s * SECTOR, end = (s + 1) * SECTOR;
            if (end > at + size)
                end = at + size;
            memcpy((unsigned char *)bytes + (from - at), inode->disk + from, end - from);
        }
    return (int64_t)size;
}

static int64_t run_write(struct simdisk *disk, struct inode *inode, const void *bytes, size_t size,
                         uint64_t at, uint32_t flags, int fault)
{
    if (fault < 0)
        return fault;
    if (fault == SIMDISK_SHORT)
        size /= 2;
    apply(disk, inode, bytes, (uint32_t)size, at);
    if (flags & LT_IO_DSYNC)
        settle(inode, at, at + size, disk->seq);
    return (int64_t)size;
}

static int64_t sim_write(struct lt_io *io, int fd, const void *bytes, size_t size, uint64_t at,
                         uint32_t flags)
{
    struct simdisk *disk = disk_of(io);
    struct inode *inode = inode_of(disk, fd);
    int64_t n;
    int fault = begin(disk);
    if (fault == -EIO && flags & LT_IO_DSYNC && !stopped(disk)) {
        /* The bytes are in the cache; the sync behind them failed. */
        apply(disk, inode, bytes, (uint32_t)size, at);
        settle_badly(disk, inode);
        n = fault;
    } else {
        n = run_write(disk, inode, bytes, size, at, flags, fault);
    }
    changed(disk);
    return n;
}

static int sync_directory(struct inode *inode);

static int sync_inode(struct simdisk *disk, struct inode *inode, uint64_t upto, int fault)
{
    if (fault == SIMDISK_SHORT)
        fault = -EIO;
    if (inode->directory)
        return fault < 0 ? fault : sync_directory(inode);
    if (fault == 0)
        settle(inode, 0, inode->capacity, upto);
    else if (fault != -EINTR && !stopped(disk))
        settle_badly(disk, inode);
    return fault;
}

static int sim_sync(struct lt_io *io, int fd)
{
    struct simdisk *disk = disk_of(io);
    int result = sync_inode(disk, inode_of(disk, fd), disk->seq, begin(disk));
    changed(disk);
    return result;
}

static int sim_allocate(struct lt_io *io, int fd, uint64_t size)
{
    struct simdisk *disk = disk_of(io);
    struct inode *inode = inode_of(disk, fd);
    int fault = begin(disk);
    if (fault != 0)
        return fault < 0 ? fault : -ENOSPC;
    reserve(inode, size);
    if (size > inode->size)
        inode->size = size;
    changed(disk);
    return 0;
}

static int sim_stat(struct lt_io *io, int fd, struct lt_io_stat *stat)
{
    struct simdisk *disk = disk_of(io);
    struct inode *inode = inode_of(disk, fd);
    int fault = begin(disk);
    if (fault != 0)
        return fault < 0 ? fault : -EIO;
    *stat = (struct lt_io_stat){ .size = inode->size, .inode = (uint64_t)(inode - disk->inodes) };
    return 0;
}

static int sim_map(struct lt_io *io, int fd, size_t size, const void **base)
{
    struct simdisk *disk = disk_of(io);
    struct inode *inode = inode_of(disk, fd);
    int fault = begin(disk);
    if (fault != 0)
        return fault < 0 ? fault : -EIO;
    reserve(inode, size);
    *base = inode->cache;
    return 0;
}

static int sim_unmap(struct lt_io *io, const void *base, size_t size)
{
    (void)io, (void)base, (void)size;
    return 0;
}

/* ---- directories ---- */

static int find_name(const struct name *names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i].name, name) == 0)
            return i;
    return -1;
}

/* Lists are as long as `capacity` of the inode, both. */
static void set_name(struct name *names, int *count, const struct name *to)
{
    int at = find_name(names, *count, to->name);
    if (to->inode < 0) {
        if (at >= 0)
            names[at] = names[--*count];
    } else {
        names[at >= 0 ? at : (*count)++] = *to;
    }
}

static void make_room(struct inode *inode)
{
    int wanted = (inode->name_count > inode->disk_name_count ? inode->name_count : inode->disk_name_count) +
                 2 * inode->change_count + 4;
    if (wanted <= inode->name_capacity)
        return;
    inode->name_capacity = wanted * 2;
    size_t size = (size_t)inode->name_capacity * sizeof inode->names[0];
    inode->names = must(realloc(inode->names, size));
    inode->disk_names = must(realloc(inode->disk_names, size));
}

static void change_names(struct inode *inode, const struct change *change)
{
    make_room(inode);
    for (int i = 0; i < change->count; i++)
        set_name(inode->names, &inode->name_count, &change->names[i]);
    if (inode->change_count == inode->change_capacity) {
        inode->change_capacity = inode->change_capacity ? inode->change_capacity * 2 : 8;
        inode->changes = must(
            realloc(inode->changes, (size_t)inode->change_capacity * sizeof inode->changes[0]));
    }
    inode->changes[inode->change_count++] = *change;
}

static int sync_directory(struct inode *inode)
{
    make_room(inode);
    memcpy(inode->disk_names, inode->names, (size_t)inode->name_count * sizeof inode->names[0]);
    inode->disk_name_count = inode->name_count;
    inode->change_count = 0;
    return 0;
}

static struct name name_of(const char *name, int inode)
{
    struct name entry = { .inode = inode };
    snprintf(entry.name, sizeof entry.name, "%s", name);
    return entry;
}

static int new_handle(struct simdisk *disk, int inode, bool past_cache)
{
    for (int fd = 0; fd < MAX_FDS; fd++)
        if (!disk->handles[fd].used) {
            disk->handles[fd] = (struct handle){ .used = true, .past_cache = past_cache, .inode = inode };
            return fd;
        }
    return -EMFILE;
}

static int sim_open(struct lt_io *io, int dir, const char *name, int flags, unsigned mode)
{
    (void)mode;
    struct simdisk *disk = disk_of(io);
    struct inode *in = inode_of(disk, dir);
    int fault = begin(disk);
    if (fault != 0)
        return fault < 0 ? fault : -EIO;
    int at = find_name(in->names, in->name_count, name);
    if (at >= 0)
        return flags & O_EXCL ? -EEXIST : new_handle(disk, in->names[at].inode, flags & LT_IO_PAST_CACHE);
    if (!(flags & O_CREAT))
        return -ENOENT;
    int inode = new_inode(disk, false);
    in = inode_of(disk, dir); /* the array may have moved */
    struct change change = { .names = { name_of(name, inode) }, .count = 1 };
    change_names(in, &change);
    int fd = new_handle(disk, inode, flags & LT_IO_PAST_CACHE);
    changed(disk);
    return fd;
}

static int sim_close(struct lt_io *io, int fd)
{
    struct simdisk *disk = disk_of(io);
    inode_of(disk, fd);
    disk->handles[fd].used = false;
    return 0;
}

static int sim_rename(struct lt_io *io, int dir, const char *from, const char *to)
{
    struct simdisk *disk = disk_of(io);
    struct inode *in = inode_of(disk, dir);
    int fault = begin(disk);
    if (fault != 0)
        return fault < 0 ? fault : -EIO;
    int at = find_name(in->names, in->name_count, from);
    if (at < 0)
        return -ENOENT;
    struct change change = { .names = { name_of(from, -1), name_of(to, in->names[at].inode) }, .count = 2 };
    change_names(in, &change);
    changed(disk);
    return 0;
}

static int sim_unlink(struct lt_io *io, int dir, const char *name)
{
    struct simdisk *disk = disk_of(io);
    struct inode *in = inode_of(disk, dir);
    int fault = begin(disk);
    if (fault != 0)
        return fault < 0 ? fault : -EIO;
    if (find_name(in->names, in->name_count, name) < 0)
        return -ENOENT;
    struct change change = { .names = { name_of(name, -1) }, .count = 1 };
    change_names(in, &change);
    changed(disk);
    return 0;
}

static int sim_mkdir(struct lt_io *io, int dir, const char *name, unsigned mode)
{
    (void)mode;
    struct simdisk *disk = disk_of(io);
    struct inode *in = inode_of(disk, dir);
    int fault = begin(disk);
    if (fault != 0)
        return fault < 0 ? fault : -EIO;
    if (find_name(in->names, in->name_count, name) >= 0)
        return -EEXIST;
    int inode = new_inode(disk, true);
    struct change change = { .names = { name_of(name, inode) }, .count = 1 };
    change_names(inode_of(disk, dir), &change);
    changed(disk);
    return 0;
}

static int sim_list(struct lt_io *io, int dir, void (*each)(void *arg, const char *name), void *arg)
{
    struct simdisk *disk = disk_of(io);
    struct inode *in = inode_of(disk, dir);
    int fault = begin(disk);
    if (fault != 0)
        return fault < 0 ? fault : -EIO;
    for (int i = 0; i < in->name_count; i++)
        each(arg, in->names[i].name);
    return 0;
}

/* ---- asynchronous ---- */

static int sim_submit(struct lt_io *io, const struct lt_io_op *ops, int count)
{
    struct simdisk *disk = disk_of(io);
    int taken = 0;
    for (; taken < count && disk->flight_count < MAX_FLIGHT; taken++)
        disk->flights[disk->flight_count++] = (struct flight){
            .op = ops[taken], .inode = (int)(inode_of(disk, ops[taken].fd) - disk->inodes), .seq = disk->seq
        };
    changed(disk);
    return taken > 0 || count == 0 ? taken : -EAGAIN;
}

static int64_t land(struct simdisk *disk, const struct flight *flight)
{
    struct inode *inode = &disk->inodes[flight->inode];
    int fault = begin(disk);
    const struct lt_io_op *op = &flight->op;
    if (op->kind == LT_IO_SYNC)
        return sync_inode(disk, inode, flight->seq, fault);
    if (fault == -EIO && op->flags & LT_IO_DSYNC && !stopped(disk)) {
        apply(disk, inode, op->bytes, op->size, op->at);
        settle_badly(disk, inode);
        return fault;
    }
    return run_write(disk, inode, op->bytes, op->size, op->at, op->flags, fault);
}

static int sim_reap(struct lt_io *io, struct lt_io_done *done, int max, int64_t timeout_ns)
{
    (void)timeout_ns;
    struct simdisk *disk = disk_of(io);
    int n = 0;
    while (n < max && disk->flight_count > 0 && (n == 0 || next_random(&disk->random) % 3 != 0)) {
        int which = (int)(next_random(&disk->random) % (uint64_t)disk->flight_count);
        struct flight flight = disk->flights[which];
        memmove(&disk->flights[which], &disk->flights[which + 1],
                (size_t)(disk->flight_count - which - 1) * sizeof flight);
        disk->flight_count--;
        done[n].token = flight.op.token;
        done[n].result = land(disk, &flight);
        n++;
        changed(disk);
    }
    return n;
}

static void sim_free(struct lt_io *io)
{
    simdisk_free(disk_of(io));
}

static const struct lt_io_table table = {
    .name = "simdisk",
    .open = sim_open,
    .close = sim_close,
    .read = sim_read,
    .write = sim_write,
    .datasync = sim_sync,
    .sync = sim_sync,
    .allocate = sim_allocate,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
    .list = sim_list,
    .stat = sim_stat,
    .map = sim_map,
    .unmap = sim_unmap,
    .submit = sim_submit,
    .reap = sim_reap,
    .free = sim_free,
};

/* ---- power ---- */

static struct simdisk *bare(uint64_t seed)
{
    struct simdisk *disk = must(calloc(1, sizeof *disk));
    disk->io.table = &table;
    disk->random = seed;
    disk->stop_at = disk->fail_at = UINT64_MAX;
    return disk;
}

struct simdisk *simdisk_new(uint64_t seed)
{
    struct simdisk *disk = bare(seed);
    new_handle(disk, new_inode(disk, true), false);
    return disk;
}

void simdisk_free(struct simdisk *disk)
{
    for (int i = 0; i < disk->inode_count; i++)
        free_inode(&disk->inodes[i]);
    free(disk->inodes);
    free(disk);
}

struct lt_io *simdisk_io(struct simdisk *disk)
{
    return &disk->io;
}

int simdisk_root(struct simdisk *disk)
{
    (void)disk;
    return 0;
}

/* How a power loss treats a list of things that are not synced: all in one way, or each by itself. */
enum fate { FATE_NONE, FATE_ALL, FATE_SOME, FATE_TORN, FATE_FIRST };

static enum fate choose_fate(uint64_t *random)
{
    static const enum fate fates[] = { FATE_NONE, FATE_ALL,  FATE_SOME, FATE_SOME,
                                       FATE_TORN, FATE_TORN, FATE_FIRST };
    return fates[next_random(random) % (sizeof fates / sizeof fates[0])];
}

static bool survives(enum fate fate, int i, int first, uint64_t *random)
{
    if (fate == FATE_FIRST)
        return i < first;
    return fate == FATE_ALL || (fate != FATE_NONE && next_random(random) & 1);
}

static void lose_names(struct inode *to, const struct inode *from, uint64_t *random)
{
    to->name_capacity = from->disk_name_count + 2 * from->change_count + 4;
    size_t size = (size_t)to->name_capacity * sizeof to->names[0];
    to->names = must(calloc(1, size));
    to->disk_names = must(calloc(1, size));
    if (from->disk_name_count > 0)
        memcpy(to->names, from->disk_names, (size_t)from->disk_name_count * sizeof to->names[0]);
    to->name_count = from->disk_name_count;
    enum fate fate = choose_fate(random);
    int first = (int)(next_random(random) % (uint64_t)(from->change_count + 1));
    for (int i = 0; i < from->change_count; i++)
        if (survives(fate, i, first, random))
            for (int j = 0; j < from->changes[i].count; j++)
                set_name(to->names, &to->name_count, &from->changes[i].names[j]);
    memcpy(to->disk_names, to->names, size);
    to->disk_name_count = to->name_count;
}

/* One write after another, each sector of it taken or not; what a sector has is a version that the cache once had. */
static void lose_writes(struct inode *to, const struct inode *from, const struct pending *writes, int count,
                        uint64_t *random)
{
    uint64_t sectors = to->capacity / SECTOR;
    int *last = must(calloc(sectors + 1, sizeof *last)); /* 1 + the last write that each sector has */
    enum fate fate = choose_fate(random);
    int first = (int)(next_random(random) % (uint64_t)(count + 1));
    for (int i = 0; i < count; i++) {
        bool whole = fate != FATE_TORN && survives(fate, i, first, random);
        for (uint64_t s = writes[i].at / SECTOR; s <= (writes[i].at + writes[i].size - 1) / SECTOR; s++)
            if (s < sectors && (fate == FATE_TORN ? next_random(random) & 1 : whole))
                last[s] = i + 1;
    }
    for (int i = 0; i < count; i++)
        for (uint64_t s = writes[i].at / SECTOR; s <= (writes[i].at + writes[i].size - 1) / SECTOR; s++) {
            uint64_t clean = s * SECTOR < from->capacity ? from->clean_seq[s] : 0;
            if (s < sectors && i < last[s] && writes[i].seq > clean)
                put_sector(to->disk, to->size, s, writes[i].at, writes[i].size, writes[i].bytes);
        }
    free(last);
}

static void lose_file(const struct simdisk *disk, struct inode *to, int which, uint64_t *random)
{
    const struct inode *from = &disk->inodes[which];
    struct pending writes[512];
    int count = 0;
    for (int i = 0; i < from->pending_count && count < 512; i++)
        writes[count++] = from->pending[i];
    for (int i = 0; i < disk->flight_count && count < 512; i++)
        if (disk->flights[i].inode == which && disk->flights[i].op.kind == LT_IO_WRITE)
            writes[count++] = (struct pending){
                .seq = UINT64_MAX,
                .at = disk->flights[i].op.at,
                .size = disk->flights[i].op.size,
                .bytes = (unsigned char *)(uintptr_t)disk->flights[i].op.bytes
            };
    uint64_t size = next_random(random) & 1 ? from->size : from->disk_size;
    for (int i = 0; i < count && size < from->size && next_random(random) & 1; i++)
        if (writes[i].at + writes[i].size > size)
            size = writes[i].at + writes[i].size;
    reserve(to, size);
    to->size = to->disk_size = size;
    if (to->capacity == 0)
        return;
    if (from->capacity > 0)
        memcpy(to->disk, from->disk, size < from->capacity ? size : from->capacity);
    if (count > 0)
        lose_writes(to, from, writes, count, random);
    memcpy(to->cache, to->disk, to->capacity);
}

struct simdisk *simdisk_after_power_loss(const struct simdisk *disk, uint64_t seed)
{
    struct simdisk *after = bare(seed);
    uint64_t random = seed ^ 0x706f776572ull;
    for (int i = 0; i < disk->inode_count; i++)
        new_inode(after, disk->inodes[i].directory);
    bool *reached = must(calloc((size_t)disk->inode_count, sizeof *reached));
    reached[0] = true;
    /* A directory's inode is older than what is in it. */
    for (int i = 0; i < disk->inode_count; i++) {
        if (!reached[i])
            continue;
        if (!disk->inodes[i].directory) {
            lose_file(disk, &after->inodes[i], i, &random);
            continue;
        }
        lose_names(&after->inodes[i], &disk->inodes[i], &random);
        for (int j = 0; j < after->inodes[i].name_count; j++)
            reached[after->inodes[i].names[j].inode] = true;
    }
    free(reached);
    new_handle(after, 0, false);
    return after;
}

void simdisk_cut_short(struct simdisk *disk)
{
    for (int i = 0; i < disk->flight_count; i++)
        if (next_random(&disk->random) & 1)
            land(disk, &disk->flights[i]);
    disk->flight_count = 0;
}

void simdisk_after_death(struct simdisk *disk)
{
    simdisk_cut_short(disk);
    for (int fd = 1; fd < MAX_FDS; fd++)
        disk->handles[fd].used = false;
}

/* ---- faults and looks ---- */

uint64_t simdisk_operations(const struct simdisk *disk)
{
    return disk->operations;
}

void simdisk_stop_at(struct simdisk *disk, uint64_t at)
{
    disk->stop_at = at;
}

void simdisk_fail_at(struct simdisk *disk, uint64_t at, int error, bool forever)
{
    disk->fail_at = at;
    disk->fail_error = error;
    disk->fail_forever = forever;
    disk->failed = false;
}

bool simdisk_failed(const struct simdisk *disk)
{
    return disk->failed;
}

bool simdisk_stopped(const struct simdisk *disk)
{
    return stopped(disk);
}

void simdisk_watch(struct simdisk *disk, void (*after)(void *arg), void *arg)
{
    disk->after = after;
    disk->after_arg = arg;
}

int simdisk_open_count(const struct simdisk *disk)
{
    int count = 0;
    for (int fd = 1; fd < MAX_FDS; fd++)
        count += disk->handles[fd].used;
    return count;
}

static struct inode *look_up(struct simdisk *disk, const char *dir, const char *name)
{
    struct inode *in = &disk->inodes[0];
    const char *const path[] = { dir, name };
    for (int i = 0; i < 2; i++) {
        if (path[i][0] == 0)
            continue;
        int at = find_name(in->names, in->name_count, path[i]);
        if (at < 0)
            return NULL;
        in = &disk->inodes[in->names[at].inode];
    }
    return in;
}

bool simdisk_damage(struct simdisk *disk, const char *dir, const char *name, uint64_t at, unsigned char with)
{
    struct inode *inode = look_up(disk, dir, name);
    if (!inode || at >= inode->size)
        return false;
    inode->cache[at] ^= with;
    inode->disk[at] ^= with;
    return true;
}

int64_t simdisk_size(struct simdisk *disk, const char *dir, const char *name)
{
    struct inode *inode = look_up(disk, dir, name);
    return inode ? (int64_t)inode->size : -1;
}

bool simdisk_is_zero(struct simdisk *disk, const char *dir, const char *name, uint64_t from)
{
    const struct inode *inode = look_up(disk, dir, name);
    for (uint64_t i = from; inode && i < inode->size; i++)
        if (inode->cache[i] || inode->disk[i])
            return false;
    return inode;
}

void simdisk_print(struct simdisk *disk)
{
    for (int i = 0; i < disk->inode_count; i++)
        for (int j = 0; disk->inodes[i].directory && j < disk->inodes[i].name_count; j++)
            fprintf(stderr, "inode %d: %s -> %d (%llu bytes)\n", i, disk->inodes[i].names[j].name,
                    disk->inodes[i].names[j].inode,
                    (unsigned long long)disk->inodes[disk->inodes[i].names[j].inode].size);
}
