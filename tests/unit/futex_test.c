/* futex: waits, wakes and the membarrier. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/futex.h"
#include "shm/region.h"
#include "test.h"
#include "threads.h"

#define MS 1000000

struct sleeper {
    const uint32_t *words[3];
    int count;
    int32_t thread;
    int result;
};

static void *sleep_once(void *argument)
{
    struct sleeper *s = argument;
    uint32_t values[3] = { 0 };
    lt_store_release32((uint32_t *)&s->thread, (uint32_t)thread_id());
    s->result = s->count == 1 ? lt_futex_wait(s->words[0], 0, -1)
                              : lt_futex_wait_many(s->words, values, s->count, -1);
    return NULL;
}

/* A wake that finds nobody yet is tried again; the word keeps its value, so each sleeper sleeps just once. */
static void wake(uint32_t *word, int sleepers)
{
    for (int woken = 0; woken < sleepers; sched_yield())
        woken += lt_futex_wake(word);
}

static void skip_without_wait_many(void)
{
    static const uint32_t word = 1;
    const uint32_t *words[] = { &word };
    uint32_t value = 0;
    if (lt_futex_wait_many(words, &value, 1, 0) == -ENOSYS)
        SKIP("this kernel has no futex_waitv");
}

TEST(wait_returns_at_once_when_the_word_differs)
{
    uint32_t word = 5;
    CHECK_EQ(lt_futex_wait(&word, 4, -1), 0);
}

TEST(wait_ends_after_its_time)
{
    uint32_t word = 5;
    int64_t start = lt_clock_mono_ns();
    CHECK_EQ(lt_futex_wait(&word, 5, 5 * MS), -ETIMEDOUT);
    CHECK(lt_clock_mono_ns() - start >= 5 * MS);
}

TEST(wake_wakes_every_sleeper)
{
    uint32_t word = 0;
    struct sleeper sleepers[3] = { 0 };
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        sleepers[i] = (struct sleeper){ .words = { &word }, .count = 1 };
        threads[i] = thread_start(sleep_once, &sleepers[i]);
    }
    for (int i = 0; i < 3; i++)
        thread_wait_asleep(&sleepers[i].thread);
    wake(&word, 3);
    for (int i = 0; i < 3; i++) {
        thread_join(threads[i]);
        CHECK_EQ(sleepers[i].result, 0);
    }
}

TEST(sleeper_on_a_read_only_mapping_is_woken_through_another_mapping)
{
    uint64_t size;
    void *ours, *theirs;
    int fd = lt_region_create("test", 1, &size);
    CHECK_EQ(lt_region_map(fd, size, 1, 0, 0, 0, &ours), 0);
    CHECK_EQ(lt_region_map(fd, size, 0, 0, 0, 0, &theirs), 0);
    struct sleeper sleeper = { .words = { theirs }, .count = 1 };
    pthread_t thread = thread_start(sleep_once, &sleeper);
    wake(ours, 1);
    thread_join(thread);
    CHECK_EQ(sleeper.result, 0);
}

TEST(wait_says_when_the_memory_is_gone)
{
    void *gone = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(gone, 4096);
    CHECK_EQ(lt_futex_wait(gone, 0, -1), -EFAULT);
}

TEST(wait_many_names_the_word_that_differs)
{
    skip_without_wait_many();
    uint32_t a = 0, b = 7, c = 0, values[3] = { 0 };
    const uint32_t *words[3] = { &a, &b, &c };
    CHECK_EQ(lt_futex_wait_many(words, values, 3, -1), 1);
}

TEST(wait_many_names_the_word_that_was_woken)
{
    skip_without_wait_many();
    uint32_t a = 0, b = 0, c = 0;
    struct sleeper sleeper = { .words = { &a, &b, &c }, .count = 3 };
    pthread_t thread = thread_start(sleep_once, &sleeper);
    wake(&c, 1);
    thread_join(thread);
    CHECK_EQ(sleeper.result, 2);
}

TEST(wait_many_ends_after_its_time)
{
    skip_without_wait_many();
    uint32_t a = 0, b = 0, values[2] = { 0 };
    const uint32_t *words[2] = { &a, &b };
    int64_t start = lt_clock_mono_ns();
    CHECK_EQ(lt_futex_wait_many(words, values, 2, 5 * MS), -ETIMEDOUT);
    CHECK(lt_clock_mono_ns() - start >= 5 * MS);
}

TEST(wait_many_takes_128_words_and_no_more)
{
    skip_without_wait_many();
    static uint32_t all[LT_FUTEX_MANY + 1], values[LT_FUTEX_MANY + 1];
    const uint32_t *words[LT_FUTEX_MANY + 1];
    for (int i = 0; i <= LT_FUTEX_MANY; i++)
        words[i] = &all[i];
    CHECK_EQ(lt_futex_wait_many(words, values, LT_FUTEX_MANY, 0), -ETIMEDOUT);
    CHECK_EQ(lt_futex_wait_many(words, values, LT_FUTEX_MANY + 1, 0), -EINVAL);
    CHECK_EQ(lt_futex_wait_many(words, values, 0, 0), -EINVAL);
}

static void ignore_signal(int number)
{
    (void)number;
}

/* Sends one, and returns when the thread has taken it. (A count in the handler would not do: ThreadSanitizer runs handlers
 * later.) */
static void interrupt(pthread_t thread, int32_t id)
{
    char path[64], text[4096];
    struct sigaction action = { .sa_handler = ignore_signal };
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
    snprintf(path, sizeof path, "/proc/self/task/%d/status", (int)id);
    for (unsigned long pending = 1; pending != 0; sched_yield()) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return; /* it has ended already */
        ssize_t size = read(fd, text, sizeof text - 1);
        close(fd);
        text[size > 0 ? size : 0] = 0;
        const char *line = strstr(text, "SigPnd:");
        pending = line ? strtoul(line + strlen("SigPnd:"), NULL, 16) : 0;
    }
}

TEST(wait_many_goes_on_after_a_signal)
{
    skip_without_wait_many();
    uint32_t a = 0, b = 0;
    struct sleeper sleeper = { .words = { &a, &b }, .count = 2 };
    pthread_t thread = thread_start(sleep_once, &sleeper);
    thread_wait_asleep(&sleeper.thread);
    interrupt(thread, sleeper.thread);
    wake(&b, 1);
    thread_join(thread);
    CHECK_EQ(sleeper.result, 1);
}

TEST(wait_ends_after_a_signal)
{
    uint32_t a = 0;
    struct sleeper sleeper = { .words = { &a }, .count = 1 };
    pthread_t thread = thread_start(sleep_once, &sleeper);
    thread_wait_asleep(&sleeper.thread);
    interrupt(thread, sleeper.thread);
    thread_join(thread);
    CHECK_EQ(sleeper.result, 0);
}

/* Store buffering: one side stores, passes a compiler barrier and loads; the other stores, passes a membarrier and
 * loads. Without the membarrier both can miss the other's store, within some thousand rounds. */
struct duel {
    uint32_t x __attribute__((aligned(64)));
    uint32_t y __attribute__((aligned(64)));
    uint32_t light_round __attribute__((aligned(64)));
    uint32_t heavy_round __attribute__((aligned(64)));
    uint32_t light_saw __attribute__((aligned(64)));
    uint32_t rounds;
};

static void meet(uint32_t *mine, const uint32_t *theirs, uint32_t round)
{
    lt_store_release32(mine, round);
    for (uint32_t spins = 0; lt_load_acquire32(theirs) < round; spins++)
        if (spins % 1024 == 1023)
            sched_yield();
}

/* So that the two come to their stores at all distances from each other. */
static void dawdle(uint32_t steps)
{
    for (uint32_t i = 0; i < steps; i++)
        lt_fence_light();
}

static void *light_side(void *argument)
{
    struct duel *d = argument;
    for (uint32_t round = 1; round <= d->rounds; round++) {
        meet(&d->light_round, &d->heavy_round, 2 * round - 1);
        dawdle(round % 128);
        lt_store_relaxed32(&d->x, round);
        lt_fence_light();
        d->light_saw = lt_load_relaxed32(&d->y);
        meet(&d->light_round, &d->heavy_round, 2 * round);
    }
    return NULL;
}

TEST(membarrier_fences_a_thread_that_passes_only_a_compiler_barrier)
{
    static struct duel d;
    CHECK_EQ(lt_membarrier_register(), 0);
    d.rounds = test_long() ? 2000000 : 50000;
    pthread_t thread = thread_start(light_side, &d);
    for (uint32_t round = 1; round <= d.rounds; round++) {
        meet(&d.heavy_round, &d.light_round, 2 * round - 1);
        dawdle(round / 128 % 128);
        lt_store_relaxed32(&d.y, round);
        lt_membarrier();
        uint32_t heavy_saw = lt_load_relaxed32(&d.x);
        meet(&d.heavy_round, &d.light_round, 2 * round);
        CHECK(heavy_saw == round || d.light_saw == round);
    }
    thread_join(thread);
}
