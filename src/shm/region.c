/* region: making, checking and mapping of sealed memfds. */
#include "shm/region.h"

#include <leat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/err.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u /* Linux 6.3 */
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define ALLOCATE_STEP (16ull << 20)

static int create_memfd(const char *name)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
    return fd < 0 && errno == EINVAL ? memfd_create(name, flags) : fd;
}

/* In steps: a signal undoes the step under way, so that in a program with a fast timer a big one would never end. */
static int allocate(int fd, uint64_t size)
{
    for (uint64_t at = 0; at < size;) {
        uint64_t step = size - at < ALLOCATE_STEP ? size - at : ALLOCATE_STEP;
        if (fallocate(fd, 0, (off_t)at, (off_t)step) == 0)
            at += step;
        else if (errno != EINTR)
            return -1;
    }
    return 0;
}

/* Bytes that the machine can still give without killing somebody for them: the kernel would rather do that than fail
 * our fallocate. UINT64_MAX where it does not say. */
static uint64_t available_bytes(void)
{
    char text[512], *line;
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return UINT64_MAX;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    text[size > 0 ? size : 0] = 0;
    line = strstr(text, "MemAvailable:");
    return line ? strtoull(line + strlen("MemAvailable:"), NULL, 10) * 1024 : UINT64_MAX;
}

int lt_region_create(const char *name, uint64_t size, uint64_t *size_out)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (size == 0 || size > INT64_MAX - page)
        return -EINVAL;
    size = (size + page - 1) & ~(page - 1);
    if (size > available_bytes())
        return -ENOMEM;

    int fd = create_memfd(name);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size) != 0 || allocate(fd, size) != 0 || fchmod(fd, 0600) != 0 ||
        fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
        int error_number = errno;
        close(fd);
        return -error_number;
    }
    if (size_out)
        *size_out = size;
    return fd;
}

int lt_region_reopen_readonly(int fd)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int readonly_fd = open(path, O_RDONLY | O_CLOEXEC);
    return readonly_fd < 0 ? -errno : readonly_fd;
}

/* Every page gets its entry in the page table now. The memory is there already, so this can only save faults, and that
 * it did not work is no error. */
static void populate_all(void *base, uint64_t size, int writable)
{
    int advice = writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
    int done;
    while ((done = madvise(base, size, advice)) != 0 && errno == EINTR)
        ;
    if (done == 0)
        return;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE); /* an older kernel */
    for (uint64_t at = 0; at < size; at += page)
        lt_load_relaxed32((const uint32_t *)(const void *)((const char *)base + at));
}

int lt_region_map(int fd, uint64_t size, int writable, int populate, uint64_t twice_at, uint64_t twice_size,
                  void **base)
{
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    /* The whole range first, so that nobody else's mapping can come between the two. */
    char *at = mmap(NULL, size + twice_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return -errno;
    if (mmap(at, size, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
        goto fail;
    if (twice_size != 0 &&
        mmap(at + size, twice_size, protection, MAP_SHARED | MAP_FIXED, fd, (off_t)twice_at) == MAP_FAILED)
        goto fail;
    if (madvise(at, size + twice_size, MADV_DONTFORK) != 0)
        goto fail;
    if (populate)
        populate_all(at, size + twice_size, writable);
    *base = at;
    return 0;

fail:;
    int error_number = errno;
    munmap(at, size + twice_size);
    return -error_number;
}

void lt_region_unmap(void *base, uint64_t size, uint64_t twice_size)
{
    if (base)
        munmap(base, size + twice_size);
}

int64_t lt_region_checked_size(int fd)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS)
        return -EBADF;
    if (fstat(fd, &st) != 0)
        return -errno;
    return st.st_size;
}

void lt_region_init(void *base, enum lt_region_kind kind, uint64_t size, uint64_t id, uint64_t owner_id)
{
    struct lt_region *region = base;
    region->magic = LT_REGION_MAGIC;
    region->version = LT_LAYOUT_VERSION;
    region->kind = (uint32_t)kind;
    region->fingerprint = lt_fingerprint();
    region->size = size;
    region->id = id;
    region->owner_id = owner_id;
    region->reserved = 0;
    region->reserved2 = 0;
    /* [region.ready] release: whoever sees READY sees the head and all that was written to the region before.
     * Pairs with [region.ready] in lt_region_check. */
    lt_point("region.ready");
    lt_store_release32(&region->ready, LT_REGION_READY);
}

static const char *kind_name(uint32_t kind)
{
    static const char *const names[] = { "?", "coordinator", "bells", "mailbox", "topic", "ring" };
    return names[kind < sizeof names / sizeof *names ? kind : 0];
}

/* One load of each field: whoever writes the region may write its head. */
int lt_region_check(const void *base, enum lt_region_kind kind, uint64_t size, uint64_t id)
{
    const struct lt_region *region = base;
    const char *name = kind_name(kind);
    if (size < sizeof *region)
        return lt_fail(LEAT_EPROTO, "%s region: %llu bytes are too few", name, (unsigned long long)size);
    /* [region.ready] acquire: pairs with the release in lt_region_init. */
    uint32_t ready = lt_load_acquire32(&region->ready);
    uint64_t magic = lt_load_relaxed64(&region->magic);
    if (magic != LT_REGION_MAGIC || ready != LT_REGION_READY)
        return lt_fail(LEAT_EPROTO,
                       "%s region: magic %#llx, ready %#x: not a region of leat, or not finished", name,
                       (unsigned long long)magic, ready);

    uint32_t version = lt_load_relaxed32(&region->version);
    uint64_t fingerprint = lt_load_relaxed64(&region->fingerprint);
    if (version != LT_LAYOUT_VERSION || fingerprint != lt_fingerprint())
        return lt_fail(LEAT_EVERSION, "%s region: layout %u, fingerprint %016llx; this build has %u, %016llx",
                       name, version, (unsigned long long)fingerprint, LT_LAYOUT_VERSION,
                       (unsigned long long)lt_fingerprint());

    uint32_t found_kind = lt_load_relaxed32(&region->kind);
    uint64_t found_size = lt_load_relaxed64(&region->size);
    uint64_t found_id = lt_load_relaxed64(&region->id);
    if (found_kind != (uint32_t)kind || found_size != size || found_id != id)
        return lt_fail(LEAT_EPROTO,
                       "region is a %s (%u) of %llu bytes, id %llu; wanted a %s of %llu bytes, id %llu",
                       kind_name(found_kind), found_kind, (unsigned long long)found_size,
                       (unsigned long long)found_id, name, (unsigned long long)size, (unsigned long long)id);
    return 0;
}
