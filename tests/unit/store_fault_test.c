/* Every file operation of a workload on the log fails, once and for ever, in each of the ways that one can fail.
 *
 * Goal: no crash, no acknowledgement that does not hold, no record that was not appended, no offset given out twice.
 * Method: the workload of tests/lib/logload, once to count its operations, then once for each of them; behind the fault it goes
 * on, opens again what failed, and at last loses power. */
#include <errno.h>
#include <stdio.h>

#include "logload.h"
#include "test.h"

#define STEPS 150

static uint64_t count_operations(uint64_t seed)
{
    struct logload *load = logload_new(seed);
    for (int i = 0; i < STEPS; i++)
        CHECK(logload_step(load));
    uint64_t operations = simdisk_operations(logload_disk(load));
    logload_free(load);
    return operations;
}

static void run_with_fault(uint64_t seed, uint64_t at, int error, bool forever)
{
    struct logload *load = logload_new(seed);
    simdisk_fail_at(logload_disk(load), at, error, forever);
    bool good = true;
    for (int i = 0; i < STEPS && good; i++)
        good = logload_step(load);
    for (uint64_t i = 0; i < 2 && good; i++)
        good = logload_check_power_loss(load, seed * 7919 + at * 16 + i) == NULL;
    if (!good)
        FAIL("operation %llu of seed %llu fails with %d, %s: %s", (unsigned long long)at,
             (unsigned long long)seed, error, forever ? "for ever" : "once", logload_why(load));
    logload_free(load);
}

static void fail_each(int error, bool forever)
{
    for (int workload = 0; workload < (test_long() ? 30 : 3); workload++) {
        uint64_t seed = test_random();
        uint64_t operations = count_operations(seed);
        CHECK(operations > 50);
        for (uint64_t at = 0; at < operations; at++)
            run_with_fault(seed, at, error, forever);
    }
}

TEST_SLOW(each_operation_fails_once_with_eio, 300)
{
    fail_each(EIO, false);
}

TEST_SLOW(each_operation_fails_from_there_on_with_eio, 300)
{
    fail_each(EIO, true);
}

TEST_SLOW(each_operation_finds_the_disk_full_once, 300)
{
    fail_each(ENOSPC, false);
}

TEST_SLOW(each_operation_finds_the_disk_full_from_there_on, 300)
{
    fail_each(ENOSPC, true);
}

TEST_SLOW(each_operation_is_cut_short_once, 300)
{
    fail_each(SIMDISK_SHORT, false);
}

TEST_SLOW(each_operation_is_cut_short_from_there_on, 300)
{
    fail_each(SIMDISK_SHORT, true);
}

TEST_SLOW(each_operation_is_interrupted_once, 300)
{
    fail_each(EINTR, false);
}

TEST_SLOW(each_operation_is_interrupted_from_there_on, 300)
{
    fail_each(EINTR, true);
}

/* A few images of a few workloads: the whole of it is test:replay. */
static struct logload *watched;

static void lose_power(void *arg)
{
    uint64_t *seed = arg;
    const char *why = logload_check_power_loss(watched, ++*seed);
    if (why)
        FAIL("%s", why);
}

TEST_SLOW(power_is_lost_after_each_operation, 300)
{
    uint64_t seed = test_random();
    watched = logload_new(seed);
    simdisk_watch(logload_disk(watched), lose_power, &seed);
    for (int i = 0; i < (test_long() ? 4000 : 300); i++)
        CHECK(logload_step(watched));
    simdisk_watch(logload_disk(watched), NULL, NULL);
    const char *why = logload_check_death(watched);
    if (why)
        FAIL("%s", why);
    logload_free(watched);
}
