/* A bus inside the program: leat_host_start.
 *
 * Goal: a program needs no daemon: it hosts a bus by itself, other processes join by its path, and the bus ends with it.
 * Method: the test is the host; its other processes are clients that get the path.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static leat_host *host_at(const char *directory)
{
    leat_host_options options = LEAT_HOST_OPTIONS;
    options.directory = directory;
    leat_host *host = NULL;
    CHECK_OK(leat_host_start(&host, directory ? &options : NULL));
    return host;
}

static leat_bus *open_host(leat_host *host)
{
    leat_bus *bus = NULL;
    CHECK_OK(leat_open(&bus, leat_host_path(host)));
    return bus;
}

static void create(leat_bus *bus, const char *topic)
{
    leat_topic_options options = LEAT_TOPIC_OPTIONS;
    options.ring_size = 64 << 10;
    CHECK_OK(leat_topic_create(bus, topic, &options));
}

static uint64_t send_and_read(leat_bus *bus, const char *topic, uint64_t count)
{
    create(bus, topic);
    leat_producer *producer = open_producer(bus, topic, NULL);
    struct ledger *ledger = ledger_new(1, count);
    struct watcher *watcher = watcher_start(bus, topic, ledger, true);
    for (uint64_t i = 0; i < count; i++)
        CHECK_OK(traffic_send(producer, 0, 0, i, traffic_size(i), NULL));
    WAIT_UNTIL(ledger_count(ledger, 0) == count, 10);
    ledger_all(ledger, 0, count);
    watcher_stop(watcher);
    CHECK_OK(leat_producer_close(producer));
    ledger_free(ledger);
    return count;
}

TEST(program_hosts_a_bus_for_itself)
{
    leat_host *host = host_at(NULL);
    CHECK(leat_host_path(host)[0] == '/');
    leat_bus *bus = open_host(host);
    send_and_read(bus, "t", 20000);
    leat_status_info *info;
    CHECK_OK(leat_status(bus, &info));
    CHECK_EQ(info->worker_pid, getpid());
    CHECK_EQ(info->clients, 1);
    leat_status_free(info);
    leat_close(bus);
    leat_host_stop(host);
}

TEST(directory_of_a_host_is_removed_at_its_end)
{
    leat_host *host = host_at(NULL);
    char path[1024];
    struct stat st;
    snprintf(path, sizeof path, "%s", leat_host_path(host));
    CHECK_EQ(stat(path, &st), 0);
    CHECK_EQ(st.st_mode & 0777, 0700);
    leat_host_stop(host);
    CHECK(stat(path, &st) < 0);
}

TEST(host_takes_the_directory_that_it_is_given)
{
    const char *path = text("%s/mine", test_dir());
    leat_host *host = host_at(path);
    CHECK_STR(leat_host_path(host), path);
    leat_bus *bus = open_host(host);
    send_and_read(bus, "t", 100);
    leat_close(bus);
    leat_host *second = (leat_host *)1;
    leat_host_options options = LEAT_HOST_OPTIONS;
    options.directory = path;
    CHECK(leat_host_start(&second, &options) < 0); /* that bus exists */
    CHECK(second == NULL);
    CHECK(*leat_last_error(NULL));
    leat_host_stop(host);
    host = host_at(path);
    leat_host_stop(host);
}

TEST(two_hosts_in_one_program_are_two_buses)
{
    leat_host *a = host_at(NULL), *b = host_at(NULL);
    CHECK(strcmp(leat_host_path(a), leat_host_path(b)) != 0);
    leat_bus *at_a = open_host(a), *at_b = open_host(b);
    send_and_read(at_a, "t", 1000);
    leat_topic_info *info;
    CHECK_EQ(leat_topic_describe(at_b, "t", &info), LEAT_ENOTOPIC);
    send_and_read(at_b, "t", 1000);
    leat_close(at_a);
    leat_host_stop(a);
    send_and_read(at_b, "u", 1000);
    leat_close(at_b);
    leat_host_stop(b);
}

/* Sends as producer 1 to topic t of the bus ARG 0. */
ROLE(guest)
{
    leat_bus *bus;
    CHECK_OK(leat_open(&bus, role_arg(0)));
    leat_producer *producer = open_producer(bus, "t", NULL);
    uint64_t count = (uint64_t)role_number(1);
    say("ready");
    for (uint64_t i = 0; i < count; i++)
        CHECK_OK(traffic_send(producer, 0, 1, i, traffic_size(i), NULL));
    say("sent");
    const char *told = hear_any();
    if (strcmp(told, "wait") == 0) {
        leat_consumer *consumer;
        const leat_record *records;
        CHECK_OK(leat_consumer_open(&consumer, bus, NULL));
        CHECK_OK(leat_consumer_subscribe(consumer, (const char *[]){ "t" }, 1));
        say("waits");
        CHECK_EQ(leat_consumer_poll(consumer, -1, &records), LEAT_EGONE);
    }
    leat_close(bus);
}

TEST(other_processes_join_a_host_by_its_path)
{
    leat_host *host = host_at(NULL);
    leat_bus *bus = open_host(host);
    create(bus, "t");
    struct ledger *ledger = ledger_new(2, 20000);
    struct watcher *watcher = watcher_start(bus, "t", ledger, true);
    struct child *guest = bus_spawn(NULL, guest, .args = { leat_host_path(host), "20000" });
    child_expect(guest, "ready");
    child_expect(guest, "sent");
    WAIT_UNTIL(ledger_count(ledger, 1) == 20000, 5);
    child_tell(guest, "end");
    child_end(guest);
    watcher_stop(watcher);
    leat_close(bus);
    leat_host_stop(host);
}

TEST(guest_that_is_killed_harms_no_host)
{
    leat_host *host = host_at(NULL);
    leat_bus *bus = open_host(host);
    create(bus, "t");
    struct ledger *ledger = ledger_new(2, 1 << 20);
    struct watcher *watcher = watcher_start(bus, "t", ledger, true);
    leat_producer *producer = open_producer(bus, "t", NULL);
    for (uint64_t i = 0; i < 10; i++) {
        struct child *guest = bus_spawn(NULL, stormy_guest,
                                        .args = { leat_host_path(host), text("%" PRIu64, i * 10000) });
        child_expect(guest, "ready");
        uint64_t before = ledger_count(ledger, 1);
        WAIT_UNTIL(ledger_count(ledger, 1) > before + 100, 5);
        child_kill(guest);
        CHECK_OK(traffic_send(producer, 0, 0, i, 40, NULL));
        WAIT_UNTIL(ledger_count(ledger, 0) == i + 1, 1);
    }
    watcher_stop(watcher);
    leat_close(bus);
    leat_host_stop(host);
}

ROLE(stormy_guest)
{
    leat_bus *bus;
    CHECK_OK(leat_open(&bus, role_arg(0)));
    leat_producer *producer = open_producer(bus, "t", NULL);
    uint64_t from = (uint64_t)role_number(1);
    say("ready");
    for (uint64_t i = from; i < from + 10000; i++)
        CHECK_OK(traffic_send(producer, 0, 1, i, traffic_size(i), NULL));
    hear_any();
}

TEST(guests_are_told_when_the_host_stops)
{
    leat_host *host = host_at(NULL);
    leat_bus *bus = open_host(host);
    create(bus, "t");
    struct child *guest = bus_spawn(NULL, guest, .args = { leat_host_path(host), "10" });
    child_expect(guest, "ready");
    child_expect(guest, "sent");
    child_tell(guest, "wait");
    child_expect(guest, "waits");
    leat_close(bus);
    leat_host_stop(host);
    child_end(guest);
}

/* A host that ends without a word. */
ROLE(short_lived_host)
{
    leat_host *host = host_at(NULL);
    leat_bus *bus = open_host(host);
    create(bus, "t");
    say("%s", leat_host_path(host));
    hear_any();
}

TEST(guests_are_told_when_the_host_is_killed)
{
    struct child *host = bus_spawn(NULL, short_lived_host);
    const char *path = text("%s", child_hear(host));
    struct child *guest = bus_spawn(NULL, guest, .args = { path, "10" });
    child_expect(guest, "ready");
    child_expect(guest, "sent");
    child_tell(guest, "wait");
    child_expect(guest, "waits");
    child_kill(host);
    child_end(guest);
}

static void *send_much(void *argument)
{
    leat_bus *bus = open_host(argument);
    leat_producer *producer = open_producer(bus, "t", NULL);
    uint32_t who = (uint32_t)board_add(0, 1) - 1;
    for (uint64_t i = 0; i < 10000; i++)
        CHECK_OK(traffic_send(producer, 0, who, i, traffic_size(i), NULL));
    leat_close(bus);
    return NULL;
}

TEST(threads_of_the_host_are_clients_of_their_own)
{
    enum { THREADS = 4 };
    leat_host *host = host_at(NULL);
    leat_bus *bus = open_host(host);
    create(bus, "t");
    struct ledger *ledger = ledger_new(THREADS, 10000);
    struct watcher *watcher = watcher_start(bus, "t", ledger, true);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, send_much, host), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < THREADS; i++) {
        WAIT_UNTIL(ledger_count(ledger, i) == 10000, 5);
        ledger_all(ledger, i, 10000);
    }
    watcher_stop(watcher);
    leat_close(bus);
    leat_host_stop(host);
}

TEST(host_starts_and_stops_again_and_again_without_leaking)
{
    for (int i = 0; i < 20; i++) {
        leat_host *host = host_at(NULL);
        leat_bus *bus = open_host(host);
        create(bus, "t");
        leat_close(bus);
        leat_host_stop(host);
    }
    /* Descriptors come back: the next one has a small number. */
    int fd = dup(STDERR_FILENO);
    CHECK(fd < 12);
    leat_host_stop(NULL);
}
