/* fork() and exec() in a program that has a bus open.
 *
 * Goal: a forked child owns none of its parent's handles: each call on them says LEAT_EFORKED, and the parent does not
 * notice. A child may open the bus for itself. A program that was executed has nothing of the client that was there.
 * Method: the test forks itself with everything open and in use. What a child finds wrong is its exit status.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void child_ended_well(pid_t pid)
{
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        FAIL("the forked child ended with wait status 0x%x", (unsigned)status);
}

struct everything {
    leat_bus *bus;
    leat_producer *producer;
    leat_consumer *consumer;
    leat_claim claim;
    leat_receipt receipt;
};

static struct everything open_everything(const struct bus *bus)
{
    struct everything all = { .bus = bus_open(bus) };
    all.producer = open_producer(all.bus, "t", NULL);
    all.consumer = open_reader(all.bus, "t", NULL);
    CHECK_OK(leat_consumer_fd(all.consumer));
    CHECK_OK(traffic_send(all.producer, 0, 0, 0, 40, &all.receipt));
    CHECK_OK(leat_producer_claim(all.producer, NULL, 0, 100, &all.claim));
    return all;
}

/* Every call that takes a handle. */
static void all_are_refused(struct everything *all)
{
    leat_bus *bus = all->bus;
    leat_producer *producer;
    leat_consumer *consumer;
    leat_topic_info *topic_info;
    leat_status_info *status_info;
    const leat_record *records;
    const leat_partition *parts;
    leat_record record = { .value = "x", .value_size = 1 };
    leat_claim claim;
    char **names;
    CHECK_EQ(leat_topic_create(bus, "new", NULL), LEAT_EFORKED);
    CHECK_EQ(leat_topic_describe(bus, "t", &topic_info), LEAT_EFORKED);
    CHECK_EQ(leat_topic_list(bus, &names), LEAT_EFORKED);
    CHECK_EQ(leat_topic_delete(bus, "t"), LEAT_EFORKED);
    CHECK_EQ(leat_status(bus, &status_info), LEAT_EFORKED);
    CHECK_EQ(leat_producer_open(&producer, bus, "t", NULL), LEAT_EFORKED);
    CHECK(producer == NULL);
    CHECK_EQ(leat_consumer_open(&consumer, bus, NULL), LEAT_EFORKED);
    CHECK(consumer == NULL);
    CHECK_EQ(leat_producer_send(all->producer, &record, NULL), LEAT_EFORKED);
    CHECK_EQ(leat_producer_send_to(all->producer, 0, &record, NULL), LEAT_EFORKED);
    CHECK_EQ(leat_producer_send_many(all->producer, &record, 1, NULL), LEAT_EFORKED);
    CHECK_EQ(leat_producer_claim(all->producer, NULL, 0, 10, &claim), LEAT_EFORKED);
    CHECK_EQ(leat_claim_commit(&all->claim, NULL), LEAT_EFORKED);
    CHECK_EQ(leat_claim_abort(&all->claim), LEAT_EFORKED);
    CHECK_EQ(leat_producer_wait(all->producer, &all->receipt, 0), LEAT_EFORKED);
    CHECK_EQ(leat_producer_flush(all->producer, 0), LEAT_EFORKED);
    CHECK_EQ(leat_producer_partitions(all->producer), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_poll(all->consumer, 0, &records), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_subscribe(all->consumer, (const char *[]){ "t" }, 1), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_assign(all->consumer, NULL, 0), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_assignment(all->consumer, &parts), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_seek(all->consumer, "t", 0, 0), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_seek_time(all->consumer, "t", 0, 0), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_pause(all->consumer, "t", 0), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_resume(all->consumer, "t", 0), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_position(all->consumer, "t", 0), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_beginning_offset(all->consumer, "t", 0), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_end_offset(all->consumer, "t", 0), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_offset_for_time(all->consumer, "t", 0, 0), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_lag(all->consumer, "t", 0), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_missed(all->consumer, "t", 0), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_fd(all->consumer), LEAT_EFORKED);
    CHECK(strlen(leat_last_error(bus)) > 0);
    leat_consumer_wakeup(all->consumer);
    CHECK_EQ(leat_producer_close(all->producer), LEAT_EFORKED);
    CHECK_EQ(leat_consumer_close(all->consumer), LEAT_EFORKED);
    leat_close(bus);
}

/* The parent's handles work as if nothing had been. */
static void all_work(struct everything *all)
{
    memset(all->claim.value, 'x', 100);
    traffic_fill(all->claim.value, 100, 0, 1);
    CHECK_OK(leat_claim_commit(&all->claim, NULL));
    for (uint64_t i = 2; i < 100; i++)
        CHECK_OK(traffic_send(all->producer, 0, 0, i, 40, NULL));
    struct ledger *ledger = ledger_new(1, 100);
    traffic_read(all->consumer, ledger, 100, 1);
    ledger_all(ledger, 0, 100);
    leat_topic_info *info = bus_describe(all->bus, "t");
    CHECK_EQ(info->producers, 1);
    CHECK_EQ(info->partitions[0].readers, 1);
    leat_topic_info_free(info);
    CHECK_OK(leat_consumer_close(all->consumer));
    CHECK_OK(leat_producer_close(all->producer));
    leat_close(all->bus);
    ledger_free(ledger);
}

TEST(forked_child_is_told_so_by_every_call_and_its_parent_does_not_notice)
{
    struct bus *bus = bus_start("--stall-limit", "60000");
    bus_topic(bus, "t");
    struct everything all = open_everything(bus);
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        all_are_refused(&all);
        _exit(0);
    }
    child_ended_well(pid);
    CHECK_EQ(bus_status(bus).clients, 1);
    all_work(&all);
    bus_stop(bus);
}

TEST(forked_child_that_ends_by_exit_harms_nobody)
{
    struct bus *bus = bus_start("--stall-limit", "60000");
    bus_topic(bus, "t");
    struct everything all = open_everything(bus);
    fflush(NULL);
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            exit(0); /* with exit handlers, and without a word to the library */
        child_ended_well(pid);
    }
    all_work(&all);
}

static void use_a_bus_of_ones_own(const struct bus *bus, uint32_t who)
{
    leat_bus *mine = bus_open(bus);
    leat_producer *producer = open_producer(mine, "u", NULL);
    leat_consumer *consumer = open_reader(mine, "u", NULL);
    CHECK_OK(traffic_send(producer, 0, who, 0, 40, NULL));
    const leat_record *records;
    CHECK(CHECK_OK(leat_consumer_poll(consumer, 1000, &records)) > 0);
    leat_close(mine);
}

TEST(forked_child_opens_the_bus_for_itself)
{
    struct bus *bus = bus_start("--stall-limit", "60000");
    bus_topic(bus, "t");
    bus_topic(bus, "u");
    struct everything all = open_everything(bus);
    fflush(NULL);
    for (uint32_t i = 0; i < 5; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            if (i % 2)
                all_are_refused(&all); /* also when the old handles were closed */
            use_a_bus_of_ones_own(bus, i);
            if (!(i % 2))
                all_are_refused(&all);
            /* And its own children are told again. */
            leat_bus *mine = bus_open(bus);
            leat_topic_info *info;
            pid_t grandchild = fork();
            if (grandchild == 0) {
                CHECK_EQ(leat_topic_describe(mine, "u", &info), LEAT_EFORKED);
                use_a_bus_of_ones_own(bus, 10 + i);
                _exit(0);
            }
            child_ended_well(grandchild);
            info = bus_describe(mine, "u");
            leat_topic_info_free(info);
            leat_close(mine);
            _exit(0);
        }
        child_ended_well(pid);
    }
    all_work(&all);
    WAIT_UNTIL(bus_status(bus).clients == 0, 5);
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(20, 1);
    leat_consumer *consumer = open_reader(handle, "u", NULL);
    traffic_read(consumer, ledger, 10, 1);
    leat_close(handle);
}

/* ---- while threads are at work ---- */

static volatile bool stop;

static void *send_on(void *producer)
{
    uint64_t number = 0;
    for (; !stop; number++)
        CHECK_OK(traffic_send(producer, 0, 0, number, 40, NULL));
    return (void *)(uintptr_t)number;
}

TEST(forks_amid_sends_polls_and_requests_of_other_threads)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    bus_topic(bus, "u", .on_full = LEAT_OVERWRITE);
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(1, 64 << 20);
    struct watcher *watcher = watcher_start(handle, "t", ledger, true);
    leat_producer *producer = open_producer(handle, "t", NULL);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, send_on, producer), 0);
    fflush(NULL);
    for (uint32_t i = 0; i < 50; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            leat_topic_info *info;
            CHECK_EQ(leat_topic_describe(handle, "t", &info), LEAT_EFORKED);
            if (i % 5 == 0)
                use_a_bus_of_ones_own(bus, i);
            _exit(0);
        }
        if (i % 2) {
            leat_topic_info *info = bus_describe(handle, "t");
            leat_topic_info_free(info);
        }
        child_ended_well(pid);
    }
    stop = true;
    void *sent;
    pthread_join(thread, &sent);
    WAIT_UNTIL(ledger_count(ledger, 0) == (uintptr_t)sent, 5);
    ledger_all(ledger, 0, (uintptr_t)sent);
    watcher_stop(watcher);
    leat_close(handle);
}

/* ---- what outlives whom ---- */

static void wait_for_clients(const struct bus *bus, uint32_t count)
{
    WAIT_UNTIL(bus_status(bus).clients == count, 5);
}

/* Opens everything, forks a child that lives on (ARG 0: as it is, or as another program), and dies. */
ROLE(parent)
{
    leat_bus *bus = role_open();
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.exclusive = 1;
    open_producer(bus, "t", &options);
    leat_consumer_options gate = LEAT_CONSUMER_OPTIONS;
    gate.gate = 1;
    leat_consumer *consumer = open_reader(bus, "t", &gate);
    CHECK_OK(leat_consumer_fd(consumer));
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (strcmp(role_arg(0), "exec") == 0)
            execl("/bin/sh", "sh", "-c", "read line <&3", (char *)NULL);
        hear_any();
        _exit(0);
    }
    say("child %d", (int)pid);
    hear("die");
    _exit(0);
}

static void parent_dies(const char *how)
{
    struct bus *bus = bus_start("--stall-limit", "60000");
    bus_topic(bus, "t");
    struct child *parent = bus_spawn(bus, parent, .args = { how });
    pid_t grandchild = (pid_t)child_number(parent, "child");
    wait_for_clients(bus, 1);
    CHECK_EQ(kill(parent->pid, SIGKILL), 0);
    wait_for_clients(bus, 0);
    CHECK_EQ(kill(grandchild, 0), 0); /* it lives, and keeps nothing */
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    for (uint64_t i = 0; i < 2000; i++)
        CHECK_OK(traffic_send(producer, 0, 0, i, 40, NULL));
    leat_close(handle);
    CHECK_EQ(kill(grandchild, SIGKILL), 0);
    child_killed(parent, SIGKILL);
}

TEST(forked_child_keeps_no_dead_parent_on_the_bus)
{
    parent_dies("fork");
}

TEST(executed_child_keeps_no_dead_parent_on_the_bus)
{
    parent_dies("exec");
}

/* Says which descriptors it has: none of the library's. */
ROLE(heir)
{
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory);
    for (struct dirent *entry; (entry = readdir(directory));) {
        char target[256];
        ssize_t size = readlink(text("/proc/self/fd/%s", entry->d_name), target, sizeof target - 1);
        if (size <= 0)
            continue;
        target[size] = 0;
        if (strstr(target, "leat-") && strstr(target, "memfd"))
            FAIL("descriptor %s is %s", entry->d_name, target);
        if (strstr(target, "eventfd"))
            FAIL("descriptor %s is %s", entry->d_name, target);
    }
    closedir(directory);
    say("nothing");
}

TEST(executed_program_inherits_no_descriptor_of_the_library)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    struct everything all = open_everything(bus);
    struct child *heir = bus_spawn(bus, heir);
    child_expect(heir, "nothing");
    child_end(heir);
    all_work(&all);
}

static void *fork_and_wait(void *argument)
{
    (void)argument;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    child_ended_well(pid);
    return NULL;
}

TEST(fork_in_another_thread_does_not_break_the_lease)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    struct everything all = open_everything(bus);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, NULL, fork_and_wait, NULL), 0);
        pthread_join(thread, NULL);
    }
    leat_status_info *info;
    CHECK_OK(leat_status(all.bus, &info));
    CHECK_STR(info->client[0].state, "alive");
    leat_status_free(info);
    all_work(&all);
}
