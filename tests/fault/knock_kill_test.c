/* A client that is killed while it wakes leatd.
 *
 * Goal: whoever dies between taking the flag off leatd's bell and the FUTEX_WAKE leaves the warden asleep, and everybody else in the
 * belief that it is up. Its death must wake the warden, or full rings stay full until leatd happens to look.
 * Method: a producer without readers fills a ring; the first bell that it rings is leatd's. It dies at bell.wake. Another
 * producer then needs the ring reclaimed within a time far below the warden's own pauses (1 s and more).
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

enum { SLOTS = 512 };

ROLE(knocker)
{
    leat_bus *bus = role_open();
    leat_producer *producer = open_producer(bus, "t", NULL);
    say("open");
    hear("go on");
    for (uint64_t i = 0;; i++)
        CHECK_OK(traffic_send(producer, 0, 0, i, 40, NULL));
}

TEST(client_killed_while_it_wakes_leatd_leaves_nobody_waiting)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    struct child *knocker = bus_spawn(bus, knocker, .kill = bus_kill_at("bell.wake", 1));
    child_expect(knocker, "open");
    leat_bus *handle = bus_open(bus);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.full_timeout_ms = 300;
    leat_producer *producer = open_producer(handle, "t", &options);
    child_tell(knocker, "go on");
    child_killed(knocker, SIGKILL);
    for (uint64_t i = 0; i < 4 * SLOTS; i++)
        CHECK_OK(traffic_send(producer, 0, 1, i, 40, NULL));
    leat_close(handle);
    bus_stop(bus);
}
