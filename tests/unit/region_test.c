/* region: sealed memory that is handed to other processes. */
#include "shm/region.h"

#include <errno.h>
#include <fcntl.h>
#include <leat.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "test.h"

#define PAGE 4096u

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

static int region_of(uint64_t size)
{
    int fd = lt_region_create("test", size, NULL);
    CHECK(fd >= 0);
    return fd;
}

static unsigned char *map_of(int fd, uint64_t size, int writable)
{
    void *base;
    CHECK_EQ(lt_region_map(fd, size, writable, 0, 0, 0, &base), 0);
    return base;
}

/* ---- the memfd ---- */

TEST(size_is_rounded_up_to_pages)
{
    uint64_t size;
    int fd = lt_region_create("test", PAGE + 1, &size);
    struct stat st;
    CHECK_EQ(fstat(fd, &st), 0);
    CHECK_EQ(size, 2 * PAGE);
    CHECK_EQ(st.st_size, 2 * PAGE);
}

TEST(region_of_no_bytes_is_refused)
{
    CHECK_EQ(lt_region_create("test", 0, NULL), -EINVAL);
}

/* The kernel would not refuse: it would kill until there is room. The limit on file sizes is this test's own net. */
static void refuse_big_files(void)
{
    struct rlimit limit = { 1u << 30, 1u << 30 };
    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

TEST(region_larger_than_the_machine_is_refused)
{
    refuse_big_files();
    CHECK_EQ(lt_region_create("test", 1ull << 62, NULL), -ENOMEM);
}

TEST(region_that_cannot_be_made_leaves_no_descriptor)
{
    struct rlimit limit = { PAGE, PAGE };
    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int next = dup(0);
    close(next);
    CHECK_EQ(lt_region_create("test", 2 * PAGE, NULL), -EFBIG);
    CHECK_EQ(dup(0), next);
}

TEST(every_page_is_there_before_it_is_touched)
{
    struct stat st;
    CHECK_EQ(fstat(region_of(40 * PAGE), &st), 0);
    CHECK(st.st_blocks * 512 >= 40 * (int64_t)PAGE);
}

TEST(region_is_all_zeros)
{
    static const unsigned char zeros[3 * PAGE];
    CHECK_MEM(map_of(region_of(sizeof zeros), sizeof zeros, 0), zeros, sizeof zeros);
}

TEST(nobody_can_shrink_a_region)
{
    int fd = region_of(4 * PAGE);
    CHECK_EQ(ftruncate(fd, PAGE), -1);
    CHECK_EQ(errno, EPERM);
}

TEST(nobody_can_grow_a_region)
{
    int fd = region_of(4 * PAGE);
    CHECK_EQ(ftruncate(fd, 5 * PAGE), -1);
    CHECK_EQ(errno, EPERM);
}

TEST(nobody_can_seal_a_region_against_writing)
{
    int fd = region_of(PAGE);
    CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    CHECK_EQ(errno, EPERM);
}

TEST(region_is_its_owners_alone_and_closed_by_exec)
{
    int fd = region_of(PAGE);
    struct stat st;
    CHECK_EQ(fstat(fd, &st), 0);
    CHECK_EQ(st.st_mode & 07777, 0600);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

TEST(region_cannot_be_made_executable)
{
    int fd = region_of(PAGE);
    if (!(fcntl(fd, F_GET_SEALS) & F_SEAL_EXEC))
        SKIP("this kernel has no MFD_NOEXEC_SEAL");
    CHECK_EQ(fchmod(fd, 0700), -1);
}

/* ---- read-only descriptors ---- */

TEST(read_only_descriptor_refuses_a_writable_mapping)
{
    void *base;
    int fd = lt_region_reopen_readonly(region_of(PAGE));
    CHECK(fd >= 0);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(lt_region_map(fd, PAGE, 1, 0, 0, 0, &base), -EACCES);
}

TEST(read_only_mapping_cannot_be_made_writable)
{
    void *base = map_of(lt_region_reopen_readonly(region_of(PAGE)), PAGE, 0);
    CHECK_EQ(mprotect(base, PAGE, PROT_READ | PROT_WRITE), -1);
    CHECK_EQ(errno, EACCES);
}

TEST(read_only_mapping_shows_what_the_writer_writes)
{
    int fd = region_of(PAGE);
    unsigned char *writer = map_of(fd, PAGE, 1), *reader = map_of(lt_region_reopen_readonly(fd), PAGE, 0);
    writer[17] = 42;
    CHECK_EQ(reader[17], 42);
}

static int exit_status_of(pid_t child)
{
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

TEST(another_user_cannot_reopen_a_read_only_descriptor_for_writing)
{
    if (geteuid() != 0)
        SKIP("it takes root to become another user");
    int fd = lt_region_reopen_readonly(region_of(PAGE)), open_to_all = memfd_create("control", MFD_CLOEXEC);
    CHECK_EQ(fchmod(open_to_all, 0666), 0);
    pid_t child = fork();
    if (child == 0) {
        char path[40];
        CHECK_EQ(setresgid(65534, 65534, 65534), 0);
        CHECK_EQ(setresuid(65534, 65534, 65534), 0);
        CHECK_EQ(prctl(PR_SET_DUMPABLE, 1), 0); /* else /proc/self is root's, and that would be why */
        snprintf(path, sizeof path, "/proc/self/fd/%d", open_to_all);
        CHECK(open(path, O_RDWR) >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        CHECK_EQ(open(path, O_RDWR), -1);
        CHECK_EQ(errno, EACCES);
        _exit(0);
    }
    CHECK_EQ(exit_status_of(child), 0);
}

/* ---- mappings ---- */

TEST(double_mapping_shows_the_same_bytes_behind_the_end)
{
    void *base;
    CHECK_EQ(lt_region_map(region_of(4 * PAGE), 4 * PAGE, 1, 0, 2 * PAGE, 2 * PAGE, &base), 0);
    unsigned char *bytes = base, wrapped[100];
    memset(wrapped, 7, sizeof wrapped);
    memcpy(bytes + 4 * PAGE - 50, wrapped,
           sizeof wrapped); /* 50 bytes at the end, 50 at the payload's start */
    CHECK_MEM(bytes + 2 * PAGE, wrapped, 50);
    bytes[3 * PAGE] = 9;
    CHECK_EQ(bytes[5 * PAGE], 9);
}

TEST(double_mapping_of_a_read_only_descriptor_is_read_only_twice)
{
    void *base;
    int fd = lt_region_reopen_readonly(region_of(2 * PAGE));
    CHECK_EQ(lt_region_map(fd, 2 * PAGE, 0, 0, PAGE, PAGE, &base), 0);
    CHECK_EQ(mprotect(base, 2 * PAGE, PROT_WRITE), -1);
    CHECK_EQ(mprotect((char *)base + 2 * PAGE, PAGE, PROT_WRITE), -1);
}

static int is_mapped(void *page)
{
    unsigned char resident;
    return mincore(page, PAGE, &resident) == 0;
}

TEST(unmapping_takes_both_mappings_away)
{
    void *base;
    CHECK_EQ(lt_region_map(region_of(2 * PAGE), 2 * PAGE, 1, 0, PAGE, PAGE, &base), 0);
    lt_region_unmap(base, 2 * PAGE, PAGE);
    for (unsigned i = 0; i < 3; i++)
        CHECK(!is_mapped((char *)base + i * PAGE));
}

TEST(mapping_that_fails_leaves_nothing_behind)
{
    void *base = NULL, *room;
    CHECK_EQ(lt_region_map(-1, 3 * PAGE, 1, 0, 0, 0, &base), -EBADF);
    CHECK(base == NULL);
    /* The kernel gives the same place again: the reservation is gone. */
    room = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(room, 3 * PAGE);
    CHECK_EQ(lt_region_map(-1, 3 * PAGE, 1, 0, 0, 0, &base), -EBADF);
    CHECK(!is_mapped(room));
}

TEST(child_of_a_fork_has_no_mapping)
{
    void *base;
    CHECK_EQ(lt_region_map(region_of(2 * PAGE), 2 * PAGE, 1, 1, PAGE, PAGE, &base), 0);
    pid_t child = fork();
    if (child == 0) {
        for (unsigned i = 0; i < 3; i++)
            CHECK(!is_mapped((char *)base + i * PAGE));
        _exit(0);
    }
    CHECK_EQ(exit_status_of(child), 0);
    CHECK(is_mapped(base));
}

/* Bit 63 of a page's entry: it is in the page table. */
static int pages_present(const void *base, unsigned pages)
{
    uint64_t entries[64];
    int present = 0, fd = open("/proc/self/pagemap", O_RDONLY);
    if (fd < 0)
        SKIP("/proc/self/pagemap cannot be read");
    CHECK_EQ(pread(fd, entries, pages * 8, (off_t)((uintptr_t)base / PAGE * 8)), (ssize_t)(pages * 8));
    for (unsigned i = 0; i < pages; i++)
        present += entries[i] >> 63;
    close(fd);
    return present;
}

TEST(populated_mapping_has_every_page_in_its_table)
{
    void *writable, *readable;
    int fd = region_of(32 * PAGE);
    CHECK_EQ(lt_region_map(fd, 32 * PAGE, 1, 1, 16 * PAGE, 16 * PAGE, &writable), 0);
    CHECK_EQ(lt_region_map(lt_region_reopen_readonly(fd), 32 * PAGE, 0, 1, 0, 0, &readable), 0);
    CHECK_EQ(pages_present(writable, 48), 48);
    CHECK_EQ(pages_present(readable, 32), 32);
}

/* ---- what arrives over a socket ---- */

TEST(checked_size_is_the_memfds)
{
    int fd = region_of(3 * PAGE);
    CHECK_EQ(lt_region_checked_size(fd), 3 * PAGE);
    CHECK_EQ(lt_region_checked_size(lt_region_reopen_readonly(fd)), 3 * PAGE);
}

TEST(memfd_without_seals_is_refused)
{
    int fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK_EQ(ftruncate(fd, PAGE), 0);
    CHECK_EQ(lt_region_checked_size(fd), -EBADF);
    CHECK_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL), 0);
    CHECK_EQ(lt_region_checked_size(fd), -EBADF);
}

TEST(what_is_no_memfd_is_refused)
{
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(lt_region_checked_size(ends[0]), -EBADF);
    CHECK_EQ(lt_region_checked_size(open("/dev/null", O_RDONLY)), -EBADF);
    CHECK_EQ(lt_region_checked_size(-1), -EBADF);
}

/* ---- the head ---- */

static struct lt_region *ring_region(void)
{
    static unsigned char page[PAGE] __attribute__((aligned(64)));
    memset(page, 0, sizeof page);
    lt_region_init(page, LT_REGION_RING, PAGE, 77, 5);
    return (struct lt_region *)(void *)page;
}

TEST(finished_region_passes_its_check)
{
    struct lt_region *region = ring_region();
    CHECK_EQ(lt_region_check(region, LT_REGION_RING, PAGE, 77), 0);
    CHECK_EQ(region->owner_id, 5);
}

TEST(region_that_is_not_ready_is_refused)
{
    struct lt_region *region = ring_region();
    region->ready = 0;
    CHECK_EQ(lt_region_check(region, LT_REGION_RING, PAGE, 77), LEAT_EPROTO);
}

TEST(memory_that_is_no_region_is_refused)
{
    struct lt_region *region = ring_region();
    region->magic++;
    CHECK_EQ(lt_region_check(region, LT_REGION_RING, PAGE, 77), LEAT_EPROTO);
    CHECK_EQ(lt_region_check(region, LT_REGION_RING, 63, 77), LEAT_EPROTO);
}

TEST(region_of_another_build_is_told_from_a_damaged_one)
{
    struct lt_region *region = ring_region();
    region->fingerprint++;
    CHECK_EQ(lt_region_check(region, LT_REGION_RING, PAGE, 77), LEAT_EVERSION);
    region = ring_region();
    region->version++;
    CHECK_EQ(lt_region_check(region, LT_REGION_RING, PAGE, 77), LEAT_EVERSION);
}

TEST(region_of_another_kind_or_size_or_id_is_refused)
{
    struct lt_region *region = ring_region();
    CHECK_EQ(lt_region_check(region, LT_REGION_TOPIC, PAGE, 77), LEAT_EPROTO);
    CHECK_EQ(lt_region_check(region, LT_REGION_RING, 2 * PAGE, 77), LEAT_EPROTO);
    CHECK_EQ(lt_region_check(region, LT_REGION_RING, PAGE, 78), LEAT_EPROTO);
}

TEST(refusal_says_what_was_found_and_what_was_wanted)
{
    lt_region_check(ring_region(), LT_REGION_RING, PAGE, 78);
    CHECK_STR(lt_fail_text(),
              "region is a ring (5) of 4096 bytes, id 77; wanted a ring of 4096 bytes, id 78");
}

TEST(region_of_a_kind_that_does_not_exist_is_refused)
{
    struct lt_region *region = ring_region();
    region->kind = 0xffffffff;
    CHECK_EQ(lt_region_check(region, LT_REGION_RING, PAGE, 77), LEAT_EPROTO);
}
