/* The worker dies at each step of joining, handing over, evicting, and growing a group's page.
 *
 * Goal: whatever the last worker was about to do, each partition has one owner, no commit that was reported is lost, no record is
 * skipped, and the group comes to rest. Method: a play that passes every point of the coordinator, with members whose checker rides
 * along (tests/lib/fleet.h), once for each point and pass.
 */
#include "fleet.h"
#include "test.h"

#include <stdio.h>
#include <string.h>

static const char *const points[] = { "group.seat",  "group.grant",       "group.grant.after",
                                      "group.save",  "group.take",        "group.take.after",
                                      "group.fence", "group.fence.after", "group.gone",
                                      "group.page",  "adopt.groups",      "group.list",
                                      "group.news",  "group.tell" };
enum { POINTS = sizeof points / sizeof *points, SESSION_MS = 60000 };

static const char *const pattern = "^t[0-9]?$";

static void settled(struct bus *bus, int members)
{
    leat_group_info_free(fleet_settled(bus, "g", members));
}

/* Members come, one leaves, one is killed, a static one goes and comes back, topics come until the page is too small. */
static void play(enum leat_assignor assignor, const char *kill, bool must_die)
{
    struct bus *bus = bus_start_fault(kill, "--max-start-pause", "1", "--stall-limit", "60000");
    fleet_topic(bus, "t", 4);
    fleet_feed(bus, "t", 2000, 0);
    struct child *first = fleet_join(bus, 0, .topics = pattern, .assignor = assignor);
    struct child *leaver = fleet_join(bus, 1, .topics = pattern, .assignor = assignor);
    settled(bus, 2);
    struct child *victim = fleet_join(bus, 2, .topics = pattern, .assignor = assignor);
    settled(bus, 3);
    fleet_leave(leaver, 1);
    settled(bus, 2);
    fleet_kill(victim, 2);
    settled(bus, 1);
    struct child *regular = fleet_join(bus, 3, .topics = pattern, .assignor = assignor, .instance_id = "i",
                                       .session_timeout_ms = SESSION_MS);
    settled(bus, 2);
    for (int i = 1; i <= 4; i++)
        fleet_topic(bus, text("t%d", i), 4);
    settled(bus, 2);
    fleet_leave(regular, 3);
    regular = fleet_join(bus, 3, .topics = pattern, .assignor = assignor, .instance_id = "i",
                         .session_timeout_ms = SESSION_MS);
    settled(bus, 2);
    bus_kill_worker(bus);
    settled(bus, 2);
    fleet_dry();
    fleet_finish(bus, "g", "t", 0);
    fleet_leave(first, 0);
    fleet_leave(regular, 3);
    if (must_die)
        CHECK(bus_died_at(bus, kill));
    bus_stop(bus);
}

static void die_at_each(enum leat_assignor assignor, int pass)
{
    for (int i = 0; i < POINTS; i++) {
        memset(board(), 0, BOARD_WORDS * sizeof *board());
        printf("at %s:%d\n", points[i], pass);
        fflush(stdout);
        play(assignor, bus_kill_at(points[i], pass), pass == 1); /* not all have a later pass */
    }
}

TEST_SLOW(worker_that_dies_at_any_step_of_a_cooperative_group_is_followed_by_one_that_goes_on, 300)
{
    die_at_each(LEAT_COOPERATIVE_STICKY, 1);
}

TEST_SLOW(worker_that_dies_at_any_step_of_an_eager_group_is_followed_by_one_that_goes_on, 300)
{
    die_at_each(LEAT_RANGE, 1 + (int)(test_random() % 4));
}

TEST_LONG(worker_that_dies_at_any_pass_of_any_step_is_followed_by_one_that_goes_on, 3000)
{
    for (int pass = 1; pass <= 8; pass++) {
        die_at_each(LEAT_COOPERATIVE_STICKY, pass);
        die_at_each(LEAT_STICKY, pass);
    }
}

static bool is_here(const char *name)
{
    for (int i = 0; i < POINTS; i++)
        if (strcmp(points[i], name) == 0)
            return true;
    return false;
}

TEST(every_point_of_the_coordinator_is_in_the_table)
{
    static const char *const files[] = { "groups.c", "group_topics.c", "group_news.c", "group_requests.c" };
    int found = 0;
    for (int i = 0; i < 4; i++) {
        char line[512], name[64];
        FILE *source = fopen(text("%s/src/leatd/%s", test_program("LEAT_TEST_ROOT"), files[i]), "r");
        CHECK(source);
        while (fgets(line, sizeof line, source)) {
            const char *at = strstr(line, "lt_point(\"");
            if (!at || sscanf(at, "lt_point(\"%63[^\"]", name) != 1)
                continue;
            found++;
            if (!is_here(name))
                FAIL("%s has the point %s, and leatd was not killed there", files[i], name);
        }
        fclose(source);
    }
    CHECK(found > 0);
}
