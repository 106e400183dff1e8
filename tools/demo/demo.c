/* Small things that all processes of the demo use: see demo.h. */
#include "demo.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

enum { NS_PER_S = 1000000000 };

int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * (int64_t)NS_PER_S + t.tv_nsec;
}

void sleep_until(int64_t ns)
{
    struct timespec due = { ns / NS_PER_S, ns % NS_PER_S };
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

void complain(const char *who, leat_bus *bus, int error)
{
    const char *text = leat_last_error(bus);
    fprintf(stderr, "demo: %s: %s\n", who, *text ? text : leat_strerror(error));
}

unsigned partition_set(const leat_partition *partitions, int count)
{
    unsigned set = 0;
    for (int i = 0; i < count; i++)
        set |= 1u << partitions[i].partition;
    return set;
}

static leat_consumer *to_wake;

static void wake(int sig)
{
    (void)sig;
    leat_consumer_wakeup(to_wake);
}

void wake_at_sigterm(leat_consumer *consumer)
{
    to_wake = consumer;
    signal(SIGTERM, wake);
}
