/* Groups from a shell: `leat consume -g` and `leat group`, as users and their scripts meet them.
 *
 * Goal: options, exit statuses, the shape of tables and of JSON are those that are promised, and what was printed is what is
 * committed. Method: the real program on a real bus, each test with one of its own. What members do to one another is group_test's.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_fails(struct said said, int status, const char *what, const char *why)
{
    if (said.exit != status || !strstr(said.err, why) || (status == 1 && !is_complaint(said.err, what)))
        FAIL("exit %d, stderr '%s'; wanted %d and 'leat: %s: ...%s...'", said.exit, said.err, status, what,
             why);
    CHECK_STR(said.out, "");
}

/* A topic with records "0" to "count - 1" in turn over its partitions. */
static struct bus *bus_with(const char *topic, uint32_t partitions, int count)
{
    struct bus *bus = bus_start();
    bus_topic(bus, topic, .partitions = partitions);
    const char *input = "";
    for (int i = 0; i < count; i++)
        input = text("%s%d\n", input, i);
    CHECK_EQ(leat(bus, input, "produce", topic).exit, 0);
    return bus;
}

static void produce(const struct bus *bus, const char *topic, const char *input)
{
    CHECK_EQ(leat(bus, input, "produce", topic, "-p", "0").exit, 0);
}

static const char *describe(const struct bus *bus, const char *group)
{
    struct said said = leat(bus, NULL, "group", "describe", group, "--json");
    if (said.exit != 0)
        FAIL("group describe %s: %s", group, said.err);
    return said.out;
}

static const char *committed(const struct bus *bus, const char *group, int row)
{
    return json_at(describe(bus, group), text("partitions.%d.current_offset", row));
}

/* The next record of a partition that nobody has committed yet; the group is there. */
static int64_t next_of(const struct bus *bus, const char *group, int row)
{
    const char *json = describe(bus, group), *path = text("partitions.%d.current_offset", row);
    return json_has(json, path) ? strtoll(json_at(json, path), NULL, 10) : -1;
}

static int members_of(const struct bus *bus, const char *group)
{
    struct said said = leat(bus, NULL, "group", "describe", group, "--json");
    int count = 0;
    while (said.exit == 0 && json_has(said.out, text("members.%d", count)))
        count++;
    return count;
}

static bool is_stable_with(const struct bus *bus, const char *group, int members)
{
    return members_of(bus, group) == members &&
           strcmp(json_at(describe(bus, group), "state"), "\"stable\"") == 0;
}

static int lines_of(const char *text)
{
    int lines = 0;
    while ((text = strchr(text, '\n')))
        lines++, text++;
    return lines;
}

static void check_ends_well(struct command *command)
{
    command_signal(command, SIGTERM);
    struct said said = command_end(command);
    if (said.exit != 0)
        FAIL("exit %d: %s", said.exit, said.err);
}

/* ---- options ---- */

TEST(options_of_groups_go_with_a_group)
{
    static const char *const options[][2] = {
        { "--assignor", "range" },       { "--commit", "sync" },        { "--instance-id", "i" },
        { "--max-poll-interval", "1s" }, { "--instances", "2" },        { "--join-delay", "1s" },
        { "--rebalance-timeout", "1s" }, { "--session-timeout", "1s" }, { "-o", "stored" },
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        check_fails(leat(NULL, NULL, "consume", "t", options[i][0], options[i][1]), 2, "", "goes with -g");
    check_fails(leat(NULL, NULL, "consume", "t", "--alone"), 2, "", "--alone goes with -g");
    check_fails(leat(NULL, NULL, "consume", "t", "--rejoin"), 2, "", "--rejoin goes with -g");
    check_fails(leat(NULL, NULL, "consume", "^t"), 2, "", "a pattern goes with -g");
    check_fails(leat(NULL, NULL, "consume", "^t", "-g", "g", "-p", "0"), 2, "", "a pattern goes with -g");
    check_fails(leat(NULL, NULL, "consume", "t", "-g", "g", "-p", "0", "--instances", "2"), 2, "", "with -p");
    check_fails(leat(NULL, NULL, "consume", "t", "-g", "g", "--alone", "--instances", "2"), 2, "",
                "one or the other");
    check_fails(leat(NULL, NULL, "consume", "t", "-g", "g", "--instances", "0"), 2, "", "from 1 to 256");
    check_fails(leat(NULL, NULL, "consume", "t", "-g", "g", "--assignor", "fair"), 2, "",
                "range, roundrobin, sticky, cooperative-sticky, failover");
    check_fails(leat(NULL, NULL, "consume", "t", "-g", "g", "--commit", "never"), 2, "", "auto, sync, none");
}

/* ---- where a member starts, and what it commits ---- */

TEST(member_goes_on_where_its_group_was)
{
    struct bus *bus = bus_with("t", 1, 3);
    struct said said = leat(bus, NULL, "consume", "t", "-g", "g", "--reset", "earliest", "-e");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(said.out, "0\n1\n2\n");
    CHECK(strstr(said.err, "3 records, 3 bytes in ") && has_line(said.err, "t-0: 3"));
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "g", "-e").out, "");
    produce(bus, "t", "3\n4\n");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "g", "-e").out, "3\n4\n");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "other", "--reset", "earliest", "-e").out,
              "0\n1\n2\n3\n4\n");
}

TEST(member_without_a_place_starts_as_reset_says)
{
    struct bus *bus = bus_with("t", 1, 3);
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "new", "-e").out, "");
    produce(bus, "t", "3\n");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "new", "-e").out, "3\n");
    struct said said = leat(bus, NULL, "consume", "t", "-g", "strict", "--reset", "error", "-e");
    CHECK_EQ(said.exit, 1);
    CHECK(strstr(said.err, "leat: consume: t: partition 0: no committed offset to start at\n"));
}

TEST(count_commits_what_was_printed_and_no_more)
{
    struct bus *bus = bus_with("t", 1, 10);
    static const char *const commits[] = { "auto", "sync" };
    for (int i = 0; i < 2; i++) {
        const char *g = text("g%d", i);
        CHECK_STR(
            leat(bus, NULL, "consume", "t", "-g", g, "--reset", "earliest", "-c", "2", "--commit", commits[i])
                .out,
            "0\n1\n");
        CHECK_STR(committed(bus, g, 0), "2");
        CHECK_STR(leat(bus, NULL, "consume", "t", "-g", g, "-c", "3", "--max-poll-records", "2", "--commit",
                       commits[i])
                      .out,
                  "2\n3\n4\n");
        CHECK_STR(committed(bus, g, 0), "5");
        CHECK_STR(leat(bus, NULL, "consume", "t", "-g", g, "-e", "--commit", commits[i]).out,
                  "5\n6\n7\n8\n9\n");
    }
}

TEST(commit_none_commits_nothing)
{
    struct bus *bus = bus_with("t", 1, 2);
    for (int i = 0; i < 2; i++)
        CHECK_STR(
            leat(bus, NULL, "consume", "t", "-g", "g", "--reset", "earliest", "-e", "--commit", "none").out,
            "0\n1\n");
    CHECK_STR(committed(bus, "g", 0), "0");
}

TEST(commit_sync_commits_what_is_printed_at_once)
{
    struct bus *bus = bus_with("t", 1, 3);
    struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "--reset", "earliest", "--commit",
                                      "sync");
    command_wait_out(tail, "2\n");
    WAIT_UNTIL(next_of(bus, "g", 0) == 3, 20);
    command_signal(tail, SIGKILL);
    CHECK_EQ(command_end(tail).exit, 128 + SIGKILL);
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "g", "-e").out, "");
}

/* Nobody polls for it: nothing comes any more. */
TEST(commit_auto_commits_every_few_seconds)
{
    struct bus *bus = bus_with("t", 1, 3);
    struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "--reset", "earliest");
    command_wait_out(tail, "2\n");
    WAIT_UNTIL(next_of(bus, "g", 0) == 3, 20);
    check_ends_well(tail);
}

TEST(what_could_not_be_written_is_not_committed)
{
    struct bus *bus = bus_with("t", 1, 0);
    static const char *const commits[] = { "auto", "sync" };
    for (int i = 0; i < 2; i++) {
        struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "--reset", "earliest",
                                          "--trace-rebalance", "--commit", commits[i]);
        command_wait_err(tail, "assigned t-0");
        close(tail->out);
        tail->out = -1;
        produce(bus, "t", text("lost %d\n", i));
        CHECK_EQ(command_end(tail).exit, 128 + SIGPIPE);
        WAIT_UNTIL(members_of(bus, "g") == 0, 20);
        CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "g", "-e").out, text("lost %d\n", i));
    }
}

TEST(signal_commits_leaves_and_tells_the_totals)
{
    static const int signals[] = { SIGINT, SIGTERM };
    struct bus *bus = bus_with("t", 2, 0);
    for (int i = 0; i < 2; i++) {
        struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "--trace-rebalance");
        command_wait_err(tail, "assigned t-0");
        produce(bus, "t", "a\nb\n");
        command_wait_out(tail, "a\nb\n"); /* while it goes on */
        CHECK_EQ(members_of(bus, "g"), 1);
        command_signal(tail, signals[i]);
        struct said said = command_end(tail);
        CHECK_EQ(said.exit, 0);
        CHECK_STR(said.out, "a\nb\n");
        CHECK(has_line(said.err, "t-0: 2") && has_line(said.err, "t-1: 0"));
        CHECK_EQ(members_of(bus, "g"), 0);
        CHECK_STR(committed(bus, "g", 0), text("%d", 2 * i + 2));
    }
}

TEST(member_stops_when_nothing_comes)
{
    struct bus *bus = bus_with("t", 2, 2);
    struct said said = leat(bus, NULL, "consume", "t", "-g", "g", "--reset", "earliest", "--idle-exit", "50");
    CHECK_EQ(said.exit, 0);
    CHECK_EQ(lines_of(said.out), 2);
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "g", "-e").out, "");
}

TEST(member_begins_where_it_is_told_once)
{
    struct bus *bus = bus_with("t", 1, 4);
    CHECK_EQ(leat(bus, NULL, "consume", "t", "-g", "g", "--reset", "earliest", "-e").exit, 0);
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "g", "-e", "-o", "beginning").out, "0\n1\n2\n3\n");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "g", "-e", "-o", "2").out, "2\n3\n");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "g", "-e", "-o", "-1").out, "3\n");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "g", "-e", "-o", "s@0").out, "0\n1\n2\n3\n");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "g", "-e", "-o", "end").out, "");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "g", "-e").out, "");

    /* What was revoked and comes back goes on: another member makes an eager group release all, twice. */
    struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "-o", "beginning", "--assignor",
                                      "roundrobin", "--trace-rebalance");
    command_wait_out(tail, "3\n");
    struct command *other = leat_start(bus, "consume", "t", "-g", "g", "-o", "stored", "--assignor",
                                       "roundrobin");
    WAIT_UNTIL(is_stable_with(bus, "g", 2), 20);
    check_ends_well(other);
    WAIT_UNTIL(is_stable_with(bus, "g", 1), 20);
    produce(bus, "t", "4\n");
    command_wait_out(tail, "4\n");
    command_signal(tail, SIGINT);
    CHECK_STR(command_end(tail).out, "0\n1\n2\n3\n4\n");
}

/* ---- members ---- */

TEST(rebalance_is_traced_in_a_line_each)
{
    struct bus *bus = bus_with("t", 2, 0);
    struct command *first = leat_start(bus, "consume", "t", "-g", "g", "--trace-rebalance", "--client-id",
                                       "anna");
    command_wait_err(first, "leat: consume: assigned t-0 at 0, t-1 at 0 (member ");
    const char *id = json_at(describe(bus, "g"), "members.0.member_id");
    id = text("%.*s", (int)strlen(id) - 2, id + 1);
    command_wait_err(first, text("(member %s, generation ", id));
    struct command *second = leat_start(bus, "consume", "t", "-g", "g", "--trace-rebalance");
    command_wait_err(second, "leat: consume: assigned t-");
    command_wait_err(first, text("leat: consume: revoked t-0, t-1 (member %s, generation ", id));
    check_ends_well(second);
    check_ends_well(first);
}

TEST(members_share_and_are_described)
{
    struct bus *bus = bus_with("t", 3, 0);
    struct command *tails[2];
    for (int i = 0; i < 2; i++)
        tails[i] = leat_start(bus, "consume", "t", "-g", "g", "--client-id", i ? "carl" : "anna",
                              "--instance-id", i ? "two" : "one");
    WAIT_UNTIL(is_stable_with(bus, "g", 2), 20);
    const char *json = describe(bus, "g");
    CHECK_STR(json_at(json, "group"), "\"g\"");
    CHECK_STR(json_at(json, "assignor"), "\"range\"");
    CHECK(atoi(json_at(json, "generation")) > 0);
    CHECK(json_has(json, "last_rebalance_us"));
    for (int i = 0; i < 2; i++) {
        bool is_one = strcmp(json_at(json, text("members.%d.instance_id", i)), "\"one\"") == 0;
        CHECK_STR(json_at(json, text("members.%d.client_id", i)), is_one ? "\"anna\"" : "\"carl\"");
        CHECK_EQ(atoi(json_at(json, text("members.%d.pid", i))), tails[!is_one]->pid);
        CHECK_STR(json_at(json, text("members.%d.partitions.0.topic", i)), "\"t\"");
        CHECK(json_has(json, text("members.%d.partitions.0.partition", i)));
    }
    for (int p = 0; p < 3; p++) {
        CHECK_STR(json_at(json, text("partitions.%d.topic", p)), "\"t\"");
        CHECK_STR(json_at(json, text("partitions.%d.partition", p)), text("%d", p));
        CHECK_STR(json_at(json, text("partitions.%d.log_end_offset", p)), "0");
        CHECK_STR(json_at(json, text("partitions.%d.gated_by", p)), "[]");
        CHECK_STR(json_at(json, text("partitions.%d.lag", p)), "0");
        const char *owner = json_at(json, text("partitions.%d.member_id", p));
        CHECK(strcmp(owner, json_at(json, "members.0.member_id")) == 0 ||
              strcmp(owner, json_at(json, "members.1.member_id")) == 0);
    }

    struct said said = leat(bus, NULL, "group", "describe", "g", "--members");
    CHECK_EQ(lines_of(said.out), 3);
    CHECK(strstr(said.out, text(" %d  anna ", tails[0]->pid)) &&
          strstr(said.out, text(" %d  carl ", tails[1]->pid)));
    CHECK(strstr(said.out, "  t:0,1\n") && strstr(said.out, "  t:2\n"));
    said = leat(bus, NULL, "group", "describe", "g");
    CHECK(strncmp(said.out, "GROUP  TOPIC  PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG  CONSUMER-ID  ",
                  75) == 0);
    CHECK_EQ(lines_of(said.out), 4);
    for (int i = 0; i < 2; i++)
        check_ends_well(tails[i]);
}

TEST(each_assignor_is_known_and_another_ones_is_refused)
{
    static const char *const assignors[] = { "range", "roundrobin", "sticky", "cooperative-sticky",
                                             "failover" };
    struct bus *bus = bus_with("t", 2, 0);
    for (int i = 0; i < 5; i++) {
        struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "--assignor", assignors[i],
                                          "--trace-rebalance");
        command_wait_err(tail, "assigned ");
        CHECK_STR(json_at(describe(bus, "g"), "assignor"), text("\"%s\"", assignors[i]));
        check_fails(leat(bus, NULL, "consume", "t", "-g", "g", "--assignor", assignors[(i + 1) % 5]), 1,
                    "consume", text("use %s, not %s", assignors[i], assignors[(i + 1) % 5]));
        check_ends_well(tail);
    }
}

TEST(instances_are_members_of_one_process)
{
    struct bus *bus = bus_with("t", 3, 300);
    struct said said = leat(bus, NULL, "consume", "t", "-g", "g", "--reset", "earliest", "--instances", "3",
                            "-e", "-f", "value %s, and more of a line\n");
    CHECK_EQ(said.exit, 0);
    CHECK_EQ(lines_of(said.out), 300);
    for (int i = 0; i < 300; i++)
        CHECK(has_line(said.out, text("value %d, and more of a line", i)));
    CHECK(strstr(said.err, "300 records, "));
    for (int p = 0; p < 3; p++) {
        CHECK(has_line(said.err, text("t-%d: 100", p)));
        CHECK_STR(committed(bus, "g", p), "100");
    }

    struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "--instances", "4", "--instance-id",
                                      "static");
    WAIT_UNTIL(is_stable_with(bus, "g", 4), 20);
    const char *json = describe(bus, "g");
    for (int i = 0; i < 4; i++)
        CHECK_EQ(atoi(json_at(json, text("members.%d.pid", i))), tail->pid);
    CHECK(strstr(json, "\"static-1\"") && strstr(json, "\"static-4\""));
    produce(bus, "t", "a\nb\n");
    command_wait_out(tail, "a\nb\n");
    command_signal(tail, SIGINT);
    said = command_end(tail);
    CHECK_EQ(said.exit, 0);
    CHECK(strstr(said.err, "2 records, ") && has_line(said.err, "t-0: 2"));
    CHECK_STR(committed(bus, "g", 0), "102");
}

TEST(instances_stop_together_after_so_many)
{
    struct bus *bus = bus_with("t", 3, 300);
    struct said said = leat(bus, NULL, "consume", "t", "-g", "g", "--reset", "earliest", "--instances", "3",
                            "-c", "100", "--max-poll-records", "7");
    CHECK_EQ(said.exit, 0);
    CHECK_EQ(lines_of(said.out), 100);
    int64_t sum = 0;
    for (int p = 0; p < 3; p++)
        sum += next_of(bus, "g", p);
    CHECK_EQ(sum, 100);
    CHECK_EQ(lines_of(leat(bus, NULL, "consume", "t", "-g", "g", "-e").out), 200);
    check_fails(leat(bus, NULL, "consume", "nobody", "-g", "g", "--instances", "3"), 1, "consume", "nobody");
}

TEST(join_delay_makes_one_rebalance_of_many_joins)
{
    struct bus *bus = bus_with("t", 3, 0);
    struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "--instances", "3", "--join-delay",
                                      "2s");
    WAIT_UNTIL(is_stable_with(bus, "g", 3), 20);
    CHECK_STR(json_at(describe(bus, "g"), "generation"), "1");
    check_ends_well(tail);
}

TEST(static_member_that_comes_back_moves_nothing)
{
    struct bus *bus = bus_with("t", 2, 0);
    struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "--instance-id", "one",
                                      "--trace-rebalance");
    command_wait_err(tail, "assigned t-0 at 0, t-1 at 0");
    const char *generation = json_at(describe(bus, "g"), "generation");
    check_fails(leat(bus, NULL, "consume", "t", "-g", "g", "--instance-id", "one"), 1, "consume",
                "instance one is member");
    check_ends_well(tail);
    CHECK_STR(json_at(describe(bus, "g"), "members.0.pid"), "null"); /* away */
    CHECK(strstr(leat(bus, NULL, "group", "describe", "g", "--members").out, "  one  "));
    tail = leat_start(bus, "consume", "t", "-g", "g", "--instance-id", "one", "--trace-rebalance");
    command_wait_err(tail, "assigned t-0 at 0, t-1 at 0");
    CHECK_STR(json_at(describe(bus, "g"), "generation"), generation);
    check_ends_well(tail);
}

TEST(static_member_that_stays_away_is_forgotten)
{
    struct bus *bus = bus_with("t", 1, 0);
    struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "--instance-id", "one",
                                      "--session-timeout", "200ms", "--trace-rebalance");
    command_wait_err(tail, "assigned t-0");
    check_ends_well(tail);
    WAIT_UNTIL(members_of(bus, "g") == 0, 20);
}

TEST(member_that_is_alone_refuses_others)
{
    struct bus *bus = bus_with("t", 1, 0);
    struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "--alone", "--trace-rebalance");
    command_wait_err(tail, "assigned t-0");
    check_fails(leat(bus, NULL, "consume", "t", "-g", "g"), 1, "consume", "alone");
    check_ends_well(tail);
}

TEST(evicted_member_says_so_and_fails)
{
    struct bus *bus = bus_with("t", 1, 0);
    struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "--max-poll-interval", "300ms",
                                      "--trace-rebalance");
    command_wait_err(tail, "assigned t-0");
    command_signal(tail, SIGSTOP);
    WAIT_UNTIL(members_of(bus, "g") == 0, 20);
    command_signal(tail, SIGCONT);
    struct said said = command_end(tail);
    CHECK_EQ(said.exit, 1);
    CHECK(strstr(said.err, "leat: consume: lost t-0 (member "));
    CHECK(strstr(said.err, "of group g was evicted: it did not poll for --max-poll-interval 300 ms"));
}

TEST(evicted_member_joins_again_when_it_is_asked_to)
{
    struct bus *bus = bus_with("t", 1, 0);
    struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "--max-poll-interval", "300ms",
                                      "--trace-rebalance", "--rejoin", "--commit", "sync");
    command_wait_err(tail, "assigned t-0");
    command_signal(tail, SIGSTOP);
    WAIT_UNTIL(members_of(bus, "g") == 0, 20);
    command_signal(tail, SIGCONT);
    command_wait_err(tail, "lost t-0");
    WAIT_UNTIL(is_stable_with(bus, "g", 1), 20);
    produce(bus, "t", "a\n");
    command_wait_out(tail, "a\n");
    check_ends_well(tail);
}

TEST(pattern_takes_in_topics_that_come_later)
{
    struct bus *bus = bus_with("log-a", 1, 0);
    struct command *tail = leat_start(bus, "consume", "^log-", "-g", "g", "--trace-rebalance", "-f",
                                      "%t %s\n");
    command_wait_err(tail, "assigned log-a-0");
    bus_topic(bus, "log-b");
    bus_topic(bus, "other");
    produce(bus, "log-b", "b\n");
    command_wait_out(tail, "log-b b\n");
    command_signal(tail, SIGTERM);
    CHECK(!strstr(command_end(tail).err, "other"));
}

TEST(several_topics_of_one_group)
{
    struct bus *bus = bus_with("a", 1, 1);
    bus_topic(bus, "b");
    produce(bus, "b", "x\n");
    struct said said = leat(bus, NULL, "consume", "a", "b", "-g", "g", "--reset", "earliest", "-e", "-f",
                            "%t%s\n");
    CHECK(has_line(said.out, "a0") && has_line(said.out, "bx"));
    said = leat(bus, NULL, "group", "describe", "g");
    CHECK(has_line(said.out,
                   "g      a              0               1               1    0  -              -  -"));
    CHECK(has_line(said.out,
                   "g      b              0               1               1    0  -              -  -"));
    check_fails(leat(bus, NULL, "consume", "a", "nobody", "-g", "g"), 1, "consume", "nobody");
}

TEST(named_partitions_commit_to_a_group_without_members)
{
    struct bus *bus = bus_with("t", 2, 4);
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "g", "-p", "1", "--reset", "earliest", "-c", "1").out,
              "1\n");
    CHECK_EQ(members_of(bus, "g"), 0);
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "g", "-p", "1", "-e", "--commit", "sync").out, "3\n");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "g", "-p", "1", "-e").out, "");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "g", "-p", "1", "-e", "-o", "beginning").out, "1\n3\n");

    struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "--trace-rebalance");
    command_wait_err(tail, "assigned t-");
    static const char *const commits[] = { "auto", "sync" };
    for (int i = 0; i < 2; i++) {
        struct said said = leat(bus, NULL, "consume", "t", "-g", "g", "-p", "1", "-o", "beginning", "-c", "1",
                                "--commit", commits[i]);
        CHECK_EQ(said.exit, 1);
        CHECK(strstr(said.err, "leat: consume: ") && strstr(said.err, "members"));
    }
    check_ends_well(tail);
}

/* ---- group list, describe, delete ---- */

TEST(groups_are_listed)
{
    struct bus *bus = bus_with("t", 2, 4);
    CHECK_STR(leat(bus, NULL, "group", "list").out, "");
    CHECK_STR(leat(bus, NULL, "group", "list", "--json").out, "[]\n");
    CHECK_EQ(leat(bus, NULL, "consume", "t", "-g", "b", "--reset", "earliest", "-c", "1").exit, 0);
    struct command *tail = leat_start(bus, "consume", "t", "-g", "a", "--trace-rebalance", "--assignor",
                                      "sticky");
    command_wait_err(tail, "assigned t-0");
    WAIT_UNTIL(is_stable_with(bus, "a", 1), 20);
    struct said said = leat(bus, NULL, "group", "list", "--json");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(json_at(said.out, "0.group"), "\"a\"");
    CHECK_STR(json_at(said.out, "0.state"), "\"stable\"");
    CHECK_STR(json_at(said.out, "0.members"), "1");
    CHECK_STR(json_at(said.out, "0.assignor"), "\"sticky\"");
    CHECK_STR(json_at(said.out, "0.lag"), "0");
    CHECK_STR(json_at(said.out, "1.group"), "\"b\"");
    CHECK_STR(json_at(said.out, "1.state"), "\"empty\"");
    CHECK_STR(json_at(said.out, "1.lag"), "3");
    said = leat(bus, NULL, "group", "list");
    CHECK(strncmp(said.out, "GROUP  STATE   MEMBERS  ASSIGNOR", 32) == 0);
    CHECK(strstr(said.out, "\na      stable        1  sticky") &&
          strstr(said.out, "\nb      empty         0  "));
    CHECK_STR(json_at(leat(bus, NULL, "status", "--json").out, "groups"), "2");
    check_fails(leat(bus, NULL, "group", "list", "a"), 2, "", "takes no arguments");
    check_ends_well(tail);
}

TEST(group_that_is_not_there_is_named)
{
    struct bus *bus = bus_start();
    check_fails(leat(bus, NULL, "group", "describe", "nobody"), 1, "group describe", "nobody");
    check_fails(leat(bus, NULL, "group", "delete", "nobody"), 1, "group delete", "nobody");
    check_fails(leat(bus, NULL, "group", "describe"), 2, "", "which group?");
    check_fails(leat(bus, NULL, "group", "delete"), 2, "", "which group?");
}

TEST(offset_that_nobody_committed_is_none)
{
    struct bus *bus = bus_with("t", 2, 4);
    CHECK_EQ(leat(bus, NULL, "group", "reset-offsets", "g", "--topic", "t:0", "--to-latest").exit, 0);
    struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "--reset", "error", "-o", "end",
                                      "--commit", "none", "--trace-rebalance");
    command_wait_err(tail, "assigned t-0");
    const char *json = describe(bus, "g");
    CHECK_STR(json_at(json, "partitions.1.current_offset"), "null");
    CHECK_STR(json_at(json, "partitions.1.lag"), "null");
    CHECK_STR(json_at(json, "partitions.0.current_offset"), "2");
    check_ends_well(tail);
    CHECK(has_line(leat(bus, NULL, "group", "describe", "g").out,
                   "g      t              1               -               2    -  -              -  -"));
}

TEST(lag_above_the_threshold_is_an_alarm)
{
    struct bus *bus = bus_with("t", 1, 5);
    CHECK_EQ(leat(bus, NULL, "consume", "t", "-g", "g", "--reset", "earliest", "-c", "2").exit, 0);
    struct said said = leat(bus, NULL, "group", "describe", "g", "--lag-over", "2");
    CHECK_EQ(said.exit, 3);
    CHECK_STR(said.err, "leat: group describe: g: t-0: lag 3 is above 2\n");
    CHECK(strstr(said.out, "LAG"));
    said = leat(bus, NULL, "group", "describe", "g", "--lag-over", "3");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(said.err, "");
    CHECK_EQ(leat(bus, NULL, "group", "describe", "g", "--lag-over", "0", "--json").exit, 3);
    check_fails(leat(bus, NULL, "group", "describe", "g", "--lag-over", "-1"), 2, "", "--lag-over");
}

TEST(groups_are_deleted_while_they_are_empty)
{
    struct bus *bus = bus_with("t", 1, 2);
    CHECK_EQ(leat(bus, NULL, "consume", "t", "-g", "b", "--reset", "earliest", "-e").exit, 0);
    struct command *tail = leat_start(bus, "consume", "t", "-g", "a", "--trace-rebalance");
    command_wait_err(tail, "assigned t-0");
    check_fails(leat(bus, NULL, "group", "delete", "a"), 1, "group delete",
                "group a has members: 1: only a group without members can be changed");
    check_ends_well(tail);
    CHECK_STR(leat(bus, NULL, "group", "delete", "a", "b").out, "a deleted\nb deleted\n");
    CHECK_STR(leat(bus, NULL, "group", "list", "--json").out, "[]\n");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-g", "b", "--reset", "earliest", "-e").out, "0\n1\n");
    CHECK_STR(leat(bus, NULL, "group", "delete", "b", "--json").out, "{\"group\":\"b\",\"deleted\":true}\n");
}

/* ---- group reset-offsets ---- */

#define RESET(bus, ...) leat(bus, NULL, "group", "reset-offsets", "g", __VA_ARGS__)

static const char *new_offset(struct said said, int row)
{
    if (said.exit != 0)
        FAIL("exit %d: %s", said.exit, said.err);
    return json_at(said.out, text("partitions.%d.new_offset", row));
}

TEST(offsets_are_reset_to_where_it_says)
{
    struct bus *bus = bus_with("t", 2, 20);
    CHECK_EQ(leat(bus, NULL, "consume", "t", "-g", "g", "--reset", "earliest", "-e").exit, 0);
    CHECK_STR(RESET(bus, "--topic", "t", "--to-earliest").out,
              "GROUP  TOPIC  PARTITION  CURRENT-OFFSET  NEW-OFFSET\n"
              "g      t              0              10           0\n"
              "g      t              1              10           0\n");
    CHECK_STR(new_offset(RESET(bus, "--topic", "t", "--to-latest", "--json"), 1), "10");
    CHECK_STR(new_offset(RESET(bus, "--topic", "t:1", "--to-offset", "4", "--json"), 0), "4");
    CHECK_STR(committed(bus, "g", 0), "10");
    CHECK_STR(committed(bus, "g", 1), "4");
    CHECK_STR(new_offset(RESET(bus, "--topic", "t:0,1", "--shift-by", "-2", "--json"), 1), "2");
    CHECK_STR(committed(bus, "g", 0), "8");
    CHECK_STR(new_offset(RESET(bus, "--topic", "t:0", "--shift-by", "1", "--json"), 0), "9");
    CHECK_EQ(lines_of(leat(bus, NULL, "consume", "t", "-g", "g", "-e").out), 1 + 8);
}

TEST(reset_to_a_time_finds_its_first_record)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    long long first_ms = strtoll(leat(bus, "a\n", "produce", "t", "-f", "%T").out, NULL, 10);
    int tries = 1; /* until one has a later time */
    while (strtoll(leat(bus, "b\n", "produce", "t", "-f", "%T").out, NULL, 10) <= first_ms)
        tries++;
    CHECK_STR(
        new_offset(RESET(bus, "--topic", "t", "--to-datetime", text("@%lld", first_ms + 1), "--json"), 0),
        text("%d", tries));
    CHECK_STR(new_offset(RESET(bus, "--topic", "t", "--to-datetime", "1970-01-01", "--json"), 0), "0");
    CHECK_STR(new_offset(RESET(bus, "--topic", "t", "--to-datetime", "2500-01-01T00:00:00Z", "--json"), 0),
              text("%d", tries + 1));
    CHECK_STR(
        new_offset(RESET(bus, "--topic", "t", "--to-datetime", "1970-01-01T12:00:00.5+01:00", "--json"), 0),
        "0");
    static const char *const wrong[] = { "yesterday",
                                         "2026-13-01",
                                         "2026-02-30",
                                         "2026-01-01T25:00",
                                         "@x",
                                         "2026-01-01T12",
                                         "2026-01-01T12:00:00+1",
                                         "1969-12-31",
                                         "" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        check_fails(RESET(bus, "--topic", "t", "--to-datetime", wrong[i]), 2, "", "--to-datetime");
}

TEST(reset_stays_within_what_is_there_and_says_so)
{
    struct bus *bus = bus_with("t", 1, 5);
    struct said said = RESET(bus, "--topic", "t", "--to-offset", "99", "--json");
    CHECK_STR(new_offset(said, 0), "5");
    CHECK_STR(json_at(said.out, "group"), "\"g\"");
    CHECK_STR(json_at(said.out, "dry_run"), "false");
    CHECK_STR(json_at(said.out, "partitions.0.topic"), "\"t\"");
    CHECK_STR(json_at(said.out, "partitions.0.partition"), "0");
    CHECK_STR(json_at(said.out, "partitions.0.current_offset"), "null");
    CHECK_STR(json_at(said.out, "partitions.0.clamped"), "true");
    CHECK_STR(said.err,
              "leat: group reset-offsets: t-0: 99 is outside of what is there, 0 to 5: 5 instead\n");
    said = RESET(bus, "--topic", "t", "--shift-by", "-9223372036854775807", "--json");
    CHECK_STR(new_offset(said, 0), "0");
    said = RESET(bus, "--topic", "t", "--shift-by", "9223372036854775807", "--json");
    CHECK_STR(new_offset(said, 0), "5");
    CHECK_STR(committed(bus, "g", 0), "5");
}

TEST(dry_run_of_a_reset_changes_nothing)
{
    struct bus *bus = bus_with("t", 1, 5);
    CHECK_EQ(RESET(bus, "--topic", "t", "--to-latest").exit, 0);
    struct said said = RESET(bus, "--topic", "t", "--to-earliest", "--dry-run", "--json");
    CHECK_STR(new_offset(said, 0), "0");
    CHECK_STR(json_at(said.out, "dry_run"), "true");
    CHECK_STR(committed(bus, "g", 0), "5");
    CHECK_EQ(
        leat(bus, NULL, "group", "reset-offsets", "other", "--topic", "t", "--to-latest", "--dry-run").exit,
        0);
    check_fails(leat(bus, NULL, "group", "describe", "other"), 1, "group describe", "other");
}

TEST(reset_is_for_groups_without_members)
{
    struct bus *bus = bus_with("t", 1, 5);
    struct command *tail = leat_start(bus, "consume", "t", "-g", "g", "--trace-rebalance");
    command_wait_err(tail, "assigned t-0");
    check_fails(RESET(bus, "--topic", "t", "--to-earliest"), 1, "group reset-offsets",
                "group g has members: 1: only a group without members can be changed");
    check_fails(RESET(bus, "--topic", "t", "--to-earliest", "--dry-run"), 1, "group reset-offsets",
                "members");
    check_ends_well(tail);
    CHECK_STR(committed(bus, "g", 0), "5");
}

TEST(reset_that_makes_no_sense_is_refused)
{
    struct bus *bus = bus_with("t", 2, 4);
    check_fails(RESET(bus, "--to-earliest"), 2, "", "which --topic?");
    check_fails(RESET(bus, "--topic", "t"), 2, "", "where: ");
    check_fails(RESET(bus, "--topic", "t", "--to-earliest", "--to-latest"), 2, "", "one of ");
    check_fails(RESET(bus, "more", "--topic", "t", "--to-earliest"), 2, "", "one group at a time");
    check_fails(leat(bus, NULL, "group", "reset-offsets", "--topic", "t", "--to-latest"), 2, "",
                "which group?");
    check_fails(RESET(bus, "--topic", "t:x", "--to-earliest"), 2, "", "not a number");
    check_fails(RESET(bus, "--topic", "t:", "--to-earliest"), 2, "", "not a number");
    check_fails(RESET(bus, "--topic", "t", "--to-offset", "-1"), 2, "", "--to-offset");
    check_fails(RESET(bus, "--topic", "t:2", "--to-earliest"), 1, "group reset-offsets",
                "t has partitions 0 to 1, not 2");
    check_fails(RESET(bus, "--topic", "nobody", "--to-earliest"), 1, "group reset-offsets", "nobody");
    check_fails(RESET(bus, "--topic", "t", "--shift-by", "1"), 1, "group reset-offsets",
                "t-0 has no committed offset");
    CHECK_STR(leat(bus, NULL, "group", "list", "--json").out, "[]\n"); /* none was made */
}
