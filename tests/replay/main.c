/* replay: a power loss at every point of a workload on the log, and what recovery makes of it.
 *
 * Goal: every record that was acknowledged as durable is there after it, in order, its bytes equal; nothing is there that was not
 * appended; no offset is given out twice.
 * Method: tests/lib/logload runs logs on a simulated disk that keeps every write and name until a sync covers it. After each
 * operation (each prefix of the recorded operations, that is) some images are made: of what no sync covers any subset is
 * dropped, torn at sectors. On each, recovery runs, is stopped at some operation, loses power again, and runs once more; then
 * all is read and compared; on a third of them the log goes on, loses power and is looked at again.
 *
 *     test:replay -- [--seed N] [--images N] [--seconds N] [--jobs N] [--steps N] [--each N]
 *     test:replay -- --seed N --image K        one image of one workload
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "logload.h"

struct options {
    uint64_t seed;
    uint64_t images;
    int64_t image; /* -1: all */
    int seconds, jobs, steps, each;
};

/* Shared by the jobs; each adds to its own. */
struct tally {
    uint64_t images, passed, lost, invented;
};

/* One workload and its images. */
struct run {
    const struct options *options;
    struct tally *tally;
    struct logload *load;
    uint64_t seed;
    int64_t image; /* the next one's number */
};

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void report(const struct run *run, int64_t image, const char *why)
{
    bool invented = strncmp(why, "invented", 8) == 0;
    run->tally->lost += !invented;
    run->tally->invented += invented;
    fprintf(stderr,
            "replay: %s\n    tools/zig build test:replay -- --seed %llu --image %lld --steps %d --each %d\n",
            why, (unsigned long long)run->seed, (long long)image, run->options->steps, run->options->each);
}

/* After each operation of the workload. */
static void power_may_go(void *arg)
{
    struct run *run = arg;
    for (int i = 0; i < run->options->each; i++) {
        int64_t image = run->image++;
        if (run->options->image >= 0 && image != run->options->image)
            continue;
        if (logload_why(run->load)[0] != 0)
            return;
        run->tally->images++;
        const char *why = logload_check_power_loss(run->load, run->seed * 1000003 + (uint64_t)image);
        if (why)
            report(run, image, why);
    }
}

/* One workload from its seed. */
static void run_seed(const struct options *options, uint64_t seed, struct tally *tally)
{
    struct run run = { .options = options, .tally = tally, .seed = seed };
    uint64_t bad = tally->lost + tally->invented;
    run.load = logload_new(seed);
    simdisk_watch(logload_disk(run.load), power_may_go, &run);
    for (int i = 0; i < options->steps; i++)
        if (!logload_step(run.load)) {
            if (tally->lost + tally->invented == bad)
                report(&run, -1, logload_why(run.load));
            break;
        }
    simdisk_watch(logload_disk(run.load), NULL, NULL);
    tally->passed += tally->lost + tally->invented == bad;
    logload_free(run.load);
}

static uint64_t total(const struct tally *tallies, int jobs)
{
    uint64_t images = 0;
    for (int i = 0; i < jobs; i++)
        images += ((const volatile struct tally *)tallies)[i].images;
    return images;
}

static void work(const struct options *options, struct tally *tallies, int job, double end_s)
{
    for (uint64_t n = (uint64_t)job; now_s() < end_s && total(tallies, options->jobs) < options->images;
         n += (uint64_t)options->jobs)
        run_seed(options, options->seed + n, &tallies[job]);
}

static void parse(int argc, char **argv, struct options *options)
{
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (value && strcmp(argv[i], "--seed") == 0)
            options->seed = strtoull(value, NULL, 0);
        else if (value && strcmp(argv[i], "--images") == 0)
            options->images = strtoull(value, NULL, 0);
        else if (value && strcmp(argv[i], "--image") == 0)
            options->image = strtoll(value, NULL, 0);
        else if (value && strcmp(argv[i], "--seconds") == 0)
            options->seconds = atoi(value);
        else if (value && strcmp(argv[i], "--jobs") == 0)
            options->jobs = atoi(value);
        else if (value && strcmp(argv[i], "--steps") == 0)
            options->steps = atoi(value);
        else if (value && strcmp(argv[i], "--each") == 0)
            options->each = atoi(value);
        else {
            fprintf(stderr, "replay: %s: not an option, or without its value\n", argv[i]);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    struct options options = {
        .images = 200000, .image = -1, .seconds = 300, .jobs = 2, .steps = 400, .each = 2
    };
    options.seed = (uint64_t)time(NULL) * 1000;
    parse(argc, argv, &options);
    double start_s = now_s();
    if (options.image >= 0)
        options.jobs = 1;
    if (options.jobs < 1)
        options.jobs = 1;
    struct tally *tallies = mmap(NULL, (size_t)options.jobs * sizeof *tallies, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tallies == MAP_FAILED)
        return 1;
    int broken = 0;
    if (options.image >= 0) {
        run_seed(&options, options.seed, tallies);
    } else {
        printf("replay: from seed %llu\n", (unsigned long long)options.seed);
        fflush(stdout);
        for (int job = 0; job < options.jobs; job++)
            if (fork() == 0) {
                work(&options, tallies, job, start_s + options.seconds);
                _exit(0);
            }
        for (int status; wait(&status) > 0;)
            broken += status != 0;
    }
    struct tally all = { 0 };
    for (int job = 0; job < options.jobs; job++) {
        all.images += tallies[job].images;
        all.passed += tallies[job].passed;
        all.lost += tallies[job].lost;
        all.invented += tallies[job].invented;
    }
    uint64_t failed = all.lost + all.invented + (uint64_t)broken;
    printf("%llu passed, %llu failed, 0 skipped\n", (unsigned long long)all.passed,
           (unsigned long long)failed);
    printf("replay: %llu images, %llu lost, %llu invented, %.0f s\n", (unsigned long long)all.images,
           (unsigned long long)all.lost, (unsigned long long)all.invented, now_s() - start_s);
    return failed > 0;
}
