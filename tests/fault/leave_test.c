/* Clients that leave without a word, and ones that leave half-way in.
 *
 * Goal: however a client ends, what it had is taken back, the others go on, and its id is given out again only when nothing
 * of it can still come.
 * Method: processes that exit without closing, in each way there is, with claims open, views held and topics held
 * exclusively; connections that end between HELLO and the lease; one id after another on a bus with room for few.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS = 512 };

/* ARG 0: how to end; with a claim open, a record sent and views held. */
ROLE(leaver)
{
    leat_bus *bus = role_open();
    const char *how = role_arg(0);
    leat_producer *producer = open_producer(bus, "t", NULL);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.gate = 1;
    leat_consumer *consumer = open_reader(bus, "t", &options);
    const leat_record *records;
    CHECK_OK(traffic_send(producer, 0, 1, (uint64_t)role_number(1), 40, NULL));
    CHECK(CHECK_OK(leat_consumer_poll(consumer, 1000, &records)) > 0);
    leat_claim claim;
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 300, &claim));
    say("ready");
    hear("leave");
    if (strcmp(how, "exit") == 0)
        exit(0);
    if (strcmp(how, "_exit") == 0)
        _exit(0);
    if (strcmp(how, "return") == 0)
        return;
    if (strcmp(how, "abort") == 0)
        abort();
    if (strcmp(how, "exec") == 0)
        execl("/bin/sh", "sh", "-c", "read line <&3", (char *)NULL); /* until the test closes its end */
    FAIL("%s?", how);
}

static void wait_for_clients(leat_bus *bus, uint32_t count)
{
    leat_status_info *info;
    uint32_t clients;
    double until = now_s() + 5 * test_slowdown();
    do {
        CHECK_OK(leat_status(bus, &info));
        clients = info->clients;
        leat_status_free(info);
        if (clients != count)
            bus_pause(); /* leatd clears the dead when their pidfd fires; nobody tells us when */
    } while (clients != count && now_s() < until);
    CHECK_EQ(clients, count);
}

static void leave_by(const char *how)
{
    bool lives_on = strcmp(how, "exec") == 0;
    /* Whoever executes another program may still hold a pin for all that leatd can know; that is left behind by and by. */
    struct bus *bus = bus_start("--stall-limit", lives_on ? "100" : "60000");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(2, 100000);
    struct watcher *watcher = watcher_start(handle, "t", ledger, true);
    leat_producer *other = open_producer(handle, "t", NULL);
    wait_for_clients(handle, 1);
    struct child *leaver = bus_spawn(bus, leaver, .args = { how, "0" });
    child_expect(leaver, "ready");
    wait_for_clients(handle, 2);
    CHECK_OK(traffic_send(other, 0, 0, 0, 40, NULL)); /* behind the open claim */
    child_tell(leaver, "leave");
    WAIT_UNTIL(ledger_count(ledger, 0) == 1, 1);
    CHECK_EQ(ledger_count(ledger, 1), 1);
    uint64_t number = 1;
    if (lives_on) {
        /* The process lives on, as another program, and nothing of the client is in it. */
        CHECK(child_lives(leaver));
    } else if (strcmp(how, "abort") == 0) {
        child_killed(leaver, SIGABRT);
    } else {
        child_end(leaver);
    }
    for (; number < 4 * SLOTS; number++)
        CHECK_OK(traffic_send(other, 0, 0, number, 40, NULL));
    WAIT_UNTIL(ledger_count(ledger, 0) == number, 5);
    if (!lives_on)
        wait_for_clients(handle, 1);
    watcher_stop(watcher);
    if (child_lives(leaver))
        child_kill(leaver);
    wait_for_clients(handle, 1);
    leat_close(handle);
    bus_stop(bus);
}

TEST(client_that_exits_without_closing_is_cleared_away)
{
    leave_by("exit");
}

TEST(client_that_leaves_by_quick_exit_is_cleared_away)
{
    leave_by("_exit");
}

TEST(client_whose_main_returns_is_cleared_away)
{
    leave_by("return");
}

TEST(client_that_aborts_is_cleared_away)
{
    leave_by("abort");
}

TEST(client_that_executes_another_program_is_no_client_any_more)
{
    leave_by("exec");
}

ROLE(holder)
{
    leat_bus *bus = role_open();
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.exclusive = 1;
    leat_producer *producer = open_producer(bus, "t", &options);
    CHECK_OK(traffic_send(producer, 0, 1, (uint64_t)role_number(0), 40, NULL));
    say("ready");
    hear("leave");
    _exit(0);
}

TEST(exclusive_hold_of_a_client_that_exited_goes_to_the_next)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.exclusive = 1;
    for (int i = 0; i < 5; i++) {
        struct child *holder = bus_spawn(bus, holder, .args = { text("%d", i) });
        child_expect(holder, "ready");
        leat_producer *producer = NULL;
        CHECK_EQ(leat_producer_open(&producer, handle, "t", &options), LEAT_EEXCLUSIVE);
        CHECK_EQ(leat_producer_open(&producer, handle, "t", NULL), LEAT_EEXCLUSIVE);
        child_tell(holder, "leave");
        child_end(holder);
        int r;
        WAIT_UNTIL((r = leat_producer_open(&producer, handle, "t", &options)) != LEAT_EEXCLUSIVE, 2);
        CHECK_OK(r);
        CHECK_OK(leat_producer_close(producer));
    }
    struct ledger *ledger = ledger_new(2, 100);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    traffic_read(consumer, ledger, 5, 1);
    leat_close(handle);
}

/* ---- ids ---- */

TEST(ids_of_the_dead_are_given_out_again_and_nothing_of_them_comes_along)
{
    enum { ROUNDS = 60 };
    struct bus *bus = bus_start("--max-clients", "3", "--stall-limit", "60000", "--log-level", "warn");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    struct ledger *ledger = ledger_new(2, ROUNDS + 1);
    struct watcher *watcher = watcher_start(handle, "t", ledger, true);
    for (int i = 0; i < ROUNDS; i++) {
        /* Two clients at a time are left; the dead one's place comes free when leatd has cleared it. */
        wait_for_clients(handle, 1);
        struct child *leaver = bus_spawn(bus, leaver, .args = { i % 2 ? "_exit" : "exit", text("%d", i) });
        child_expect(leaver, "ready");
        child_tell(leaver, "leave");
        child_end(leaver);
    }
    WAIT_UNTIL(ledger_count(ledger, 1) == ROUNDS, 2);
    ledger_all(ledger, 1, ROUNDS);
    wait_for_clients(handle, 1);
    leat_status_info *info;
    CHECK_OK(leat_status(handle, &info));
    CHECK_EQ(info->client[0].pid, getpid());
    CHECK_EQ(info->client[0].consumers, 1);
    leat_status_free(info);
    watcher_stop(watcher);
    leat_close(handle);
}

/* ---- half-way in ---- */

/* Says HELLO and attaches, as often as ARG 0 says, and never takes a lease. */
ROLE(knocker)
{
    static struct answer answer;
    for (int64_t i = 0; i < role_number(0); i++) {
        int fd = control_connect(getenv("LEAT_BUS"));
        CHECK(fd >= 0);
        CHECK_EQ(control_hello(fd, true, &answer), 0);
        CHECK_EQ(answer.fd_count, 3);
        control_close_fds(&answer);
        struct lt_topic_attach attach = { .name = "t", .write = 1 };
        CHECK_EQ(control_ask(fd, LT_MSG_TOPIC_ATTACH, &attach, sizeof attach, &answer), 0);
        control_close_fds(&answer);
        close(fd);
    }
    say("connected");
    hear_any();
}

TEST(connections_that_end_between_hello_and_lease_are_away_until_their_process_ends)
{
    struct bus *bus = bus_start("--max-clients", "4");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus), *another;
    for (int i = 0; i < 5; i++) {
        struct child *knocker = bus_spawn(bus, knocker, .args = { "3" });
        child_expect(knocker, "connected");
        wait_for_clients(handle, 4);
        CHECK_EQ(leat_open(&another, bus->path), LEAT_ELIMIT);
        child_kill(knocker);
        wait_for_clients(handle, 1);
        leat_topic_info *info = bus_describe(handle, "t");
        CHECK_EQ(info->producers, 0);
        leat_topic_info_free(info);
    }
    leat_close(handle);
}

ROLE(half_way)
{
    static struct answer answer;
    int fd = control_connect(getenv("LEAT_BUS"));
    CHECK(fd >= 0);
    CHECK_EQ(control_hello(fd, true, &answer), 0);
    say("hello");
    hear_any();
}

TEST(client_killed_between_hello_and_lease_leaves_nothing)
{
    struct bus *bus = bus_start("--max-clients", "3");
    leat_bus *handle = bus_open(bus);
    for (int i = 0; i < 10; i++) {
        struct child *child = bus_spawn(bus, half_way);
        child_expect(child, "hello");
        child_kill(child);
        wait_for_clients(handle, 1);
    }
    leat_close(handle);
}

/* ---- closing in good order ---- */

TEST(client_that_closes_and_opens_again_is_a_new_client)
{
    struct bus *bus = bus_start("--max-clients", "2");
    leat_bus *watching = bus_open(bus);
    for (int i = 0; i < 50; i++) {
        leat_bus *handle = bus_open(bus);
        leat_close(handle);
        wait_for_clients(watching, 1);
    }
    leat_close(watching);
    bus_stop(bus);
}
