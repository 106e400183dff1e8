/* An idle bus uses no processor.
 *
 * Goal: ten clients that wait for records on a hundred partitions, some of them members of a group, and leatd's two processes, use no
 * measurable time over ten seconds; also when the topic has a log.
 * Method: user and system time of all twelve processes from /proc/PID/stat, in ticks, before and after. The ten seconds
 * are what is measured, so here, and only here, a test sleeps.
 */
#include "bus.h"
#include "test.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

enum { WAITERS = 10, PARTITIONS = 100, SECONDS = 10 };

struct usage {
    uint64_t ticks;
    uint64_t switches; /* voluntary: how often it woke up, more or less; of all its threads */
};

static struct usage usage_of(pid_t pid)
{
    struct usage usage = { 0 };
    char line[1024];
    FILE *file = fopen(text("/proc/%d/stat", (int)pid), "r");
    CHECK(file && fgets(line, sizeof line, file));
    fclose(file);
    unsigned long user, sys;
    const char *end = strrchr(line, ')');
    CHECK(end && sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) == 2);
    usage.ticks = user + sys;
    DIR *threads = opendir(text("/proc/%d/task", (int)pid));
    CHECK(threads);
    for (struct dirent *entry; (entry = readdir(threads));) {
        unsigned long switches;
        if (entry->d_name[0] == '.' ||
            !(file = fopen(text("/proc/%d/task/%s/status", (int)pid, entry->d_name), "r")))
            continue;
        while (fgets(line, sizeof line, file))
            if (sscanf(line, "voluntary_ctxt_switches: %lu", &switches) == 1)
                usage.switches += switches;
        fclose(file);
    }
    closedir(threads);
    return usage;
}

/* ARG 0: how to wait. */
ROLE(waiter)
{
    leat_bus *bus = role_open();
    const leat_record *records;
    leat_consumer *consumer;
    if (strcmp(role_arg(0), "member") == 0) {
        leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
        options.group = "g";
        CHECK_OK(leat_consumer_open(&consumer, bus, &options));
        CHECK_OK(leat_consumer_subscribe(consumer, (const char *[]){ "t" }, 1));
    } else {
        consumer = open_reader(bus, "t", NULL);
    }
    leat_producer *producer = open_producer(bus, "t", NULL);
    (void)producer;
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), 0);
    if (strcmp(role_arg(0), "fd") == 0) {
        struct epoll_event event = { .events = EPOLLIN };
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, CHECK_OK(leat_consumer_fd(consumer)), &event), 0);
        while (CHECK_OK(leat_consumer_poll(consumer, 0, &records)) > 0)
            ;
        say("ready");
        CHECK_EQ(epoll_wait(epoll, &event, 1, -1), 1);
    } else {
        say("ready");
    }
    CHECK(CHECK_OK(leat_consumer_poll(consumer, -1, &records)) > 0);
    say("woken");
    leat_close(bus);
}

static void be_idle(enum leat_level level)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = PARTITIONS, .level = level);
    struct child *waiters[WAITERS];
    pid_t pids[WAITERS + 2];
    struct usage before[WAITERS + 2], after;
    for (int i = 0; i < WAITERS; i++) {
        waiters[i] = bus_spawn(bus, waiter, .args = { i == 0 ? "member" : i % 3 == 2 ? "fd" : "poll" });
        child_expect(waiters[i], "ready");
        pids[i] = waiters[i]->pid;
    }
    struct lt_status_answer status = bus_status(bus);
    pids[WAITERS] = status.keeper_pid;
    pids[WAITERS + 1] = status.worker_pid;
    const struct timespec second = { .tv_sec = 1 }, pause = { .tv_sec = SECONDS };
    nanosleep(&second, NULL); /* let everybody come to rest */
    for (int i = 0; i < WAITERS + 2; i++)
        before[i] = usage_of(pids[i]);
    nanosleep(&pause, NULL);
    uint64_t busiest = 0;
    for (int i = 0; i < WAITERS + 2; i++) {
        after = usage_of(pids[i]);
        uint64_t ticks = after.ticks - before[i].ticks, switches = after.switches - before[i].switches;
        printf("%s: %" PRIu64 " ticks, woke %" PRIu64 " times in %d s\n",
               i < WAITERS    ? "client"
               : i == WAITERS ? "keeper"
                              : "worker",
               ticks, switches, SECONDS);
        CHECK(ticks <= 1);
        busiest = switches > busiest ? switches : busiest;
    }
    /* No process of an idle bus wakes more than once a second; a wake may give the processor up twice. */
    CHECK(busiest <= 2 * SECONDS);

    /* And they were not asleep for good. */
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    CHECK_OK(leat_producer_send(producer, &(leat_record){ .value = "x", .value_size = 1 }, NULL));
    for (int i = 0; i < WAITERS; i++) {
        child_expect(waiters[i], "woken");
        child_end(waiters[i]);
    }
    leat_close(handle);
    bus_stop(bus);
}

TEST(idle_bus_with_ten_waiting_clients_uses_no_processor)
{
    be_idle(LEAT_RING);
}

TEST(idle_bus_with_a_log_uses_no_processor)
{
    be_idle(LEAT_DURABLE);
}
