/* The command line, as users and their scripts meet it.
 *
 * Goal: options, exit statuses, the shape of lines and of JSON are those that are promised. Method: the real program on
 * a real bus, each test with one of its own; what it says is looked at, never how it does it.
 */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* All records of a topic in the format given, from their first on. */
static const char *all_of(const struct bus *bus, const char *topic, const char *format)
{
    struct said said = leat(bus, NULL, "consume", topic, "-o", "beginning", "-e", "-f", format);
    if (said.exit != 0)
        FAIL("consume %s: %s", topic, said.err);
    return said.out;
}

static void check_fails(struct said said, int status, const char *what, const char *why)
{
    if (said.exit != status || !strstr(said.err, why) || (status == 1 && !is_complaint(said.err, what)))
        FAIL("exit %d, stderr '%s'; wanted %d and 'leat: %s: ...%s...'", said.exit, said.err, status, what,
             why);
    CHECK_STR(said.out, "");
}

/* ---- the whole ---- */

TEST(without_a_command_or_with_an_unknown_one_it_is_a_matter_of_usage)
{
    static const char *const nothing[] = { "leat", NULL };
    CHECK_EQ(leat_run(NULL, NULL, 0, nothing).exit, 2);
    check_fails(leat(NULL, NULL, "flood"), 2, "flood", "flood: no such command");
    check_fails(leat(NULL, NULL, "topic"), 2, "topic", "create, list, describe, delete, alter or resume?");
    check_fails(leat(NULL, NULL, "topic", "flood"), 2, "topic", "topic flood: no such command");
    check_fails(leat(NULL, NULL, "group", "flood"), 2, "group",
                "group flood: no such command: list, describe");
    check_fails(leat(NULL, NULL, "--flood"), 2, "", "--flood: no such option");
    check_fails(leat(NULL, NULL, "status", "--flood"), 2, "status", "status: --flood: no such option");
    check_fails(leat(NULL, NULL, "status", "-x"), 2, "status", "status: -x: no such option");
    check_fails(leat(NULL, NULL, "status", "more"), 2, "status", "'more': takes no arguments");
    check_fails(leat(NULL, NULL, "produce", "t", "-p"), 2, "produce", "-p wants a value");
    check_fails(leat(NULL, NULL, "status", "--bus"), 2, "status", "--bus wants a value");
}

TEST(help_and_version_go_to_stdout)
{
    struct said help = leat(NULL, NULL, "--help");
    CHECK_EQ(help.exit, 0);
    CHECK(strstr(help.out, "topic create"));
    CHECK_STR(help.err, "");
    CHECK_STR(leat(NULL, NULL, "--version").out, "leat " LEAT_VERSION "\n");
    help = leat(NULL, NULL, "produce", "--help");
    CHECK_EQ(help.exit, 0);
    CHECK(strstr(help.out, "usage: leat [--bus BUS] [--json] produce TOPIC"));
}

TEST(names_that_are_taken_say_that_they_come_later)
{
    static const char *const names[] = { "repartition", "migrate", "pipe", "size", "keys", "perf" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct said said = leat(NULL, NULL, names[i], "--anything", "at all");
        CHECK_EQ(said.exit, 1);
        CHECK_STR(said.err, text("leat: %s: comes with a later version\n", names[i]));
    }
    CHECK_STR(leat(NULL, NULL, "topic", "alias", "a", "b").err,
              "leat: topic alias: comes with a later version\n");
}

TEST(bus_is_named_before_or_behind_the_command)
{
    struct bus *bus = bus_start();
    CHECK_EQ(leat(NULL, NULL, "--bus", bus->path, "status").exit, 0);
    CHECK_EQ(leat(NULL, NULL, "status", "--bus", bus->path).exit, 0);
    CHECK_EQ(leat(bus, NULL, "status").exit, 0);
    struct said said = leat(bus, NULL, "--bus", text("%s/elsewhere", bus->path), "status");
    check_fails(said, 1, "status", "");
    check_fails(leat(NULL, NULL, "--bus", "no/such", "status"), 1, "status", "no/such");
}

/* ---- status ---- */

TEST(status_tells_of_the_bus)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    struct said said = leat(bus, NULL, "status", "--json");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(json_at(said.out, "bus"), text("\"%s\"", bus->path));
    CHECK_EQ(atoi(json_at(said.out, "pid")), bus->keeper);
    CHECK(atoi(json_at(said.out, "worker_pid")) > 0);
    CHECK_STR(json_at(said.out, "incarnation"), "1");
    CHECK(atof(json_at(said.out, "uptime_s")) >= 0);
    CHECK_STR(json_at(said.out, "topics"), "1");
    CHECK_STR(json_at(said.out, "groups"), "0");
    CHECK(atoi(json_at(said.out, "clients")) >= 0);

    said = leat(bus, NULL, "status");
    CHECK_EQ(said.exit, 0);
    CHECK(has_line(said.out, text("bus          %s", bus->path)));
    CHECK(has_line(said.out, "topics       1"));
}

TEST(status_fails_when_no_leatd_answers_but_counters_are_still_read)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    CHECK_EQ(leat(bus, "a\nb\nc\n", "produce", "t").exit, 0);
    CHECK_EQ(bus_counter(bus, "records", NULL, -1, -1), 3); /* folded in */
    bus_kill_both(bus);

    check_fails(leat(bus, NULL, "status"), 1, "status", "");
    struct said said = leat(bus, NULL, "status", "--counters", "--json");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(json_at(said.out, "bus"), text("\"%s\"", bus->path));
    CHECK(json_has(said.out, "counters.0.value"));
    said = leat(bus, NULL, "status", "--counters");
    CHECK_EQ(said.exit, 0);
    CHECK(strstr(said.out, "COUNTER"));
    CHECK(strstr(said.out, "records"));
}

/* The place in client_list of the client with this pid. */
static int client_place(const char *json, pid_t pid)
{
    for (int i = 0; json_has(json, text("client_list.%d", i)); i++)
        if (atoi(json_at(json, text("client_list.%d.pid", i))) == pid)
            return i;
    FAIL("no client with pid %d in %s", pid, json);
}

TEST(status_lists_clients_with_what_they_hold)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 3);
    struct command *tail = leat_start(bus, "consume", "t", "--trace-rebalance");
    command_wait_err(tail, "assigned t-2");
    struct said said = leat(bus, NULL, "status", "--clients", "--json");
    CHECK_EQ(said.exit, 0);
    int i = client_place(said.out, tail->pid);
    CHECK_STR(json_at(said.out, text("client_list.%d.readers", i)), "3");
    CHECK_STR(json_at(said.out, text("client_list.%d.consumers", i)), "1");
    CHECK_STR(json_at(said.out, text("client_list.%d.uid", i)), text("%u", getuid()));
    CHECK_STR(json_at(said.out, text("client_list.%d.state", i)), "\"alive\"");
    CHECK_STR(json_at(said.out, text("client_list.%d.program", i)), "\"leat\"");
    said = leat(bus, NULL, "status", "--clients");
    CHECK_EQ(said.exit, 0);
    CHECK(strstr(said.out, text(" %d ", tail->pid)));
}

/* It comes from another process, so a terminal is not told to turn bold. */
TEST(client_id_is_shown_as_it_was_given)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    struct command *tail = leat_start(bus, "consume", "t", "--client-id", "anna\033[1m", "--trace-rebalance");
    command_wait_err(tail, "assigned t-0");
    struct said said = leat(bus, NULL, "status", "--clients", "--json");
    int i = client_place(said.out, tail->pid);
    CHECK_STR(json_at(said.out, text("client_list.%d.client_id", i)), "\"anna\\u001b[1m\"");
    CHECK(strstr(leat(bus, NULL, "status", "--clients").out, "anna?[1m"));
}

/* ---- topic ---- */

TEST(topic_create_says_what_it_costs)
{
    struct bus *bus = bus_start();
    struct said said = leat(bus, NULL, "topic", "create", "orders", "more", "--partitions", "3",
                            "--ring-size", "64KiB");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(said.err, "");
    CHECK(strstr(said.out, "MEMORY") && strstr(said.out, "DESCRIPTORS"));
    CHECK(strstr(said.out, "\norders ") && strstr(said.out, "\nmore "));
    CHECK(strstr(said.out, "64 KiB"));

    said = leat(bus, NULL, "topic", "create", "third", "--json", "--partitions", "2", "--ring-size", "65536");
    CHECK_EQ(said.exit, 0);
    CHECK(atoll(json_at(said.out, "memory_bytes")) > 2 * 65536);
    CHECK(atoll(json_at(said.out, "descriptors")) >= 2);
}

TEST(topic_describe_has_the_promised_fields)
{
    struct bus *bus = bus_start();
    CHECK_EQ(leat(bus, NULL, "topic", "create", "orders", "--partitions", "2", "--ring-size", "128KiB",
                  "--on-full", "error", "--partitioner", "murmur2", "--mode", "0640", "--no-log")
                 .exit,
             0);
    CHECK_EQ(leat(bus, "a\nb\nc\n", "produce", "orders", "-p", "1").exit, 0);
    struct said said = leat(bus, NULL, "topic", "describe", "orders", "--json");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(json_at(said.out, "topic"), "\"orders\"");
    CHECK_STR(json_at(said.out, "partition_count"), "2");
    CHECK_STR(json_at(said.out, "level"), "\"ring\"");
    CHECK_STR(json_at(said.out, "log"), "false");
    CHECK_STR(json_at(said.out, "on_full"), "\"error\"");
    CHECK_STR(json_at(said.out, "partitioner"), "\"murmur2\"");
    CHECK_STR(json_at(said.out, "ring_bytes"), "131072");
    CHECK(json_has(said.out, "map_epoch"));
    CHECK(json_has(said.out, "owner"));
    CHECK_STR(json_at(said.out, "mode"), "\"0640\"");
    CHECK_STR(json_at(said.out, "partitions.1.partition"), "1");
    CHECK_STR(json_at(said.out, "partitions.1.state"), "\"open\"");
    CHECK_STR(json_at(said.out, "partitions.1.log_start_offset"), "0");
    CHECK_STR(json_at(said.out, "partitions.1.log_end_offset"), "3");
    CHECK_STR(json_at(said.out, "partitions.1.acked_offset"), "3");
    CHECK_STR(json_at(said.out, "partitions.1.bytes_on_disk"), "0");
    CHECK_STR(json_at(said.out, "partitions.1.segments"), "0");
    CHECK(!json_has(said.out, "partitions.2"));

    said = leat(bus, NULL, "topic", "describe", "orders");
    CHECK_EQ(said.exit, 0);
    CHECK(has_line(said.out, "partitioner  murmur2"));
    CHECK(strstr(said.out, "LOG-END-OFFSET"));
}

TEST(topics_are_listed_and_deleted)
{
    struct bus *bus = bus_start();
    CHECK_STR(leat(bus, NULL, "topic", "list").out, "");
    CHECK_STR(leat(bus, NULL, "topic", "list", "--json").out, "[]\n");
    bus_topic(bus, "b");
    bus_topic(bus, "a", .partitions = 2);
    struct said said = leat(bus, NULL, "topic", "list", "--json");
    CHECK_STR(json_at(said.out, "0.topic"), "\"a\"");
    CHECK_STR(json_at(said.out, "0.partition_count"), "2");
    CHECK_STR(json_at(said.out, "1.topic"), "\"b\"");
    said = leat(bus, NULL, "topic", "list");
    CHECK(strstr(said.out, "\na ") && strstr(said.out, "\nb "));

    CHECK_STR(leat(bus, NULL, "topic", "delete", "a", "b").out, "a deleted\nb deleted\n");
    check_fails(leat(bus, NULL, "topic", "delete", "a"), 1, "topic delete", "a");
    CHECK_STR(leat(bus, NULL, "topic", "list", "--json").out, "[]\n");
}

TEST(topic_that_exists_is_refused_unless_that_is_fine)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "orders");
    check_fails(leat(bus, NULL, "topic", "create", "orders"), 1, "topic create", "orders");
    CHECK_EQ(leat(bus, NULL, "topic", "create", "orders", "--if-not-exists").exit, 0);
    check_fails(leat(bus, NULL, "topic", "describe", "nobody"), 1, "topic describe", "nobody");
}

TEST(topic_names_that_cannot_be_are_refused)
{
    struct bus *bus = bus_start();
    static char longest[501];
    memset(longest, 'x', 500);
    check_fails(leat(bus, NULL, "topic", "create", "a/b"), 1, "topic create", "");
    check_fails(leat(bus, NULL, "topic", "create", ".."), 1, "topic create", "");
    check_fails(leat(bus, NULL, "topic", "create", ""), 1, "topic create", "");
    check_fails(leat(bus, NULL, "topic", "create", longest), 1, "topic create", "");
    longest[249] = 0;
    CHECK_EQ(leat(bus, NULL, "topic", "create", longest, "--ring-size", "64K").exit, 0);
    CHECK_EQ(leat(bus, NULL, "status").exit, 0);
}

TEST(topic_settings_that_make_no_sense_are_a_matter_of_usage)
{
    check_fails(leat(NULL, NULL, "topic", "create"), 2, "", "which topic?");
    check_fails(leat(NULL, NULL, "topic", "create", "t", "--partitions", "0"), 2, "", "from 1 to 4096");
    check_fails(leat(NULL, NULL, "topic", "create", "t", "--partitions", "5000"), 2, "", "from 1 to 4096");
    check_fails(leat(NULL, NULL, "topic", "create", "t", "--partitions", "3x"), 2, "", "not a number");
    check_fails(leat(NULL, NULL, "topic", "create", "t", "--ring-size", "4 parsecs"), 2, "",
                "--ring-size '4 parsecs'");
    check_fails(leat(NULL, NULL, "topic", "create", "t", "--ring-size", "99999999999G"), 2, "",
                "--ring-size");
    check_fails(leat(NULL, NULL, "topic", "create", "t", "--on-full", "panic"), 2, "",
                "block, overwrite, error");
    check_fails(leat(NULL, NULL, "topic", "create", "t", "--partitioner", "dice"), 2, "", "xxh3, murmur2");
    check_fails(leat(NULL, NULL, "topic", "create", "t", "--mode", "rw"), 2, "", "octal");
    check_fails(leat(NULL, NULL, "topic", "create", "t", "--level", "diamond"), 2, "",
                "ring, written, durable");
}

TEST(what_needs_a_second_machine_is_refused_with_the_reason)
{
    struct bus *bus = bus_start();
    check_fails(leat(bus, NULL, "topic", "create", "t", "--replication-factor", "3"), 1, "topic create",
                "one machine");
    CHECK_STR(leat(bus, NULL, "topic", "list", "--json").out, "[]\n");
    CHECK_EQ(leat(bus, NULL, "topic", "create", "t", "--replication-factor", "1", "--level", "ring",
                  "--ring-size", "64KiB")
                 .exit,
             0);
}

TEST(ring_that_is_too_small_or_too_large_is_refused)
{
    struct bus *bus = bus_start();
    check_fails(leat(bus, NULL, "topic", "create", "t", "--ring-size", "1G", "--partitions", "4096"), 1,
                "topic create", "");
    check_fails(leat(bus, NULL, "topic", "create", "t", "--ring-size", "2G"), 1, "topic create", "");
    CHECK_EQ(leat(bus, NULL, "status").exit, 0);
}

/* ---- produce ---- */

TEST(a_line_is_a_record_and_an_empty_one_is_empty)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    struct said said = leat(bus, "one\n\nthree", "produce", "t");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(said.out, "");
    CHECK(strstr(said.err, "3 records, 8 bytes in "));
    CHECK(has_line(said.err, "t-0: 3"));
    CHECK_STR(all_of(bus, "t", "%S:%s|"), "3:one|0:|5:three|");
    CHECK_STR(all_of(bus, "t", "%K%k"), "-1-1-1");
}

TEST(nothing_on_stdin_is_nothing_sent)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    struct said said = leat(bus, NULL, "produce", "t", "--json");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(json_at(said.out, "records"), "0");
    CHECK_STR(json_at(said.out, "partitions.1"), "0");
    CHECK_STR(said.err, "");
}

TEST(key_stands_before_the_separator_and_decides_the_partition)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 3);
    CHECK_EQ(leat(bus, "anna::1\nben::2\nanna::3::x\nnobody\nanna::5\n", "produce", "t", "-K", "::").exit, 0);
    const char *records = all_of(bus, "t", "%k=%s(%K)\n");
    CHECK(has_line(records, "anna=1(4)"));
    CHECK(has_line(records, "anna=3::x(4)"));
    CHECK(has_line(records, "ben=2(3)"));
    CHECK(has_line(records, "=nobody(-1)"));
    const char *places = all_of(bus, "t", "%k %p\n");
    int of_anna = atoi(strstr(places, "anna ") + 5), count = 0;
    for (const char *at = places; (at = strstr(at, "anna ")); at += 5, count++)
        CHECK_EQ(atoi(at + 5), of_anna);
    CHECK_EQ(count, 3);
}

TEST(delimiter_can_be_any_bytes)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "zero");
    bus_topic(bus, "word");
    static const char *const argv[] = { "leat", "produce", "zero", "-D", "\\0", NULL };
    CHECK_EQ(leat_run(bus, "a\nb\0c\0", 6, argv).exit, 0);
    CHECK_STR(all_of(bus, "zero", "%S "), "3 1 ");
    CHECK_EQ(leat(bus, "oneANDtwoANDANDfourAN", "produce", "word", "-D", "AND").exit, 0);
    CHECK_STR(all_of(bus, "word", "%s|"), "one|two||fourAN|");
    check_fails(leat(bus, "", "produce", "word", "-D", "\\q"), 2, "", "-D: \\ goes with");
    check_fails(leat(bus, "", "produce", "word", "-D", ""), 2, "", "at least one");
}

TEST(empty_key_or_value_is_null_when_asked)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    CHECK_EQ(leat(bus, ":a\nk:\n:\n", "produce", "t", "-K", ":", "-p", "0").exit, 0);
    CHECK_EQ(leat(bus, ":a\nk:\n:\n", "produce", "t", "-K", ":", "-p", "0", "-Z").exit, 0);
    CHECK_STR(all_of(bus, "t", "%K/%S "), "0/1 1/0 0/0 -1/1 1/-1 -1/-1 ");
}

TEST(headers_travel_with_every_record)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    CHECK_EQ(
        leat(bus, "a\nb\n", "produce", "t", "-H", "from=test", "-H", "empty=", "-H", "null", "-H", "e=a=b")
            .exit,
        0);
    CHECK_STR(all_of(bus, "t", "%h|"), "from=test,empty=,null,e=a=b|from=test,empty=,null,e=a=b|");
    check_fails(leat(bus, "", "produce", "t", "-H", "=x"), 2, "", "NAME=VALUE");
}

TEST(partition_can_be_named)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 3);
    struct said said = leat(bus, "a:1\nb:2\nc:3\n", "produce", "t", "-K", ":", "-p", "2", "--json");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(json_at(said.out, "partitions.0"), "0");
    CHECK_STR(json_at(said.out, "partitions.2"), "3");
    check_fails(leat(bus, "a\n", "produce", "t", "-p", "3"), 1, "produce", "t has no partition 3");
    check_fails(leat(bus, "a\n", "produce", "t", "-p", "-1"), 2, "", "-p");
    check_fails(leat(bus, "a\n", "produce", "t", "-p", "1", "--partitioner", "xxh3"), 2, "",
                "one or the other");
}

TEST(partitioner_can_be_another_than_the_topics)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 3);
    CHECK_EQ(leat(bus, "k:1\nk:2\nk:3\n", "produce", "t", "-K", ":", "--partitioner", "roundrobin").exit, 0);
    struct said said = leat(bus, NULL, "topic", "describe", "t", "--json");
    for (int i = 0; i < 3; i++)
        CHECK_STR(json_at(said.out, text("partitions.%d.log_end_offset", i)), "1");
    /* Which partition that is, is for the partitioners' own tests. */
    said = leat(bus, "k:1\nk:2\nk:3\n", "produce", "t", "-K", ":", "--partitioner", "murmur2", "-f", "%p");
    CHECK_EQ(said.exit, 0);
    CHECK(strcmp(said.out, "000") == 0 || strcmp(said.out, "111") == 0 || strcmp(said.out, "222") == 0);
}

TEST(acknowledged_records_are_printed_on_demand)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    struct said said = leat(bus, "k=a\nk=b\n", "produce", "t", "-K", "=", "-f", "%t-%p@%o %k:%s\\t%%\\n");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(said.out, "t-0@0 k:a\t%\nt-0@1 k:b\t%\n");
    said = leat(bus, "c\n", "produce", "t", "-f", "%o:%T\n", "--json");
    char *totals = strchr(said.out, '\n');
    CHECK(totals);
    *totals++ = 0;
    CHECK(strtoll(said.out + 2, NULL, 10) > 1700000000000);
    CHECK(has_line(all_of(bus, "t", "%o:%T\n"), said.out));
    CHECK_STR(json_at(totals, "records"), "1");
    check_fails(leat(bus, "", "produce", "t", "-f", "%x"), 2, "", "%x is no token");
}

TEST(json_ends_with_totals)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    struct said said = leat(bus, "k:ab\nk:c\n", "produce", "t", "--json", "-K", ":");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(said.err, "");
    CHECK_STR(json_at(said.out, "records"), "2");
    CHECK_STR(json_at(said.out, "bytes"), "5");
    CHECK(atof(json_at(said.out, "seconds")) >= 0);
    CHECK_EQ(atoi(json_at(said.out, "partitions.0")) + atoi(json_at(said.out, "partitions.1")), 2);
    CHECK_STR(json_at(said.out, "failed"), "0");
}

TEST(many_records_keep_their_order_whatever_the_batch)
{
    struct bus *bus = bus_start();
    static const char *const batches[] = { "1", "7", "500", "20000" };
    enum { COUNT = 20000 };
    static char input[COUNT * 8];
    char *to = input;
    for (int i = 0; i < COUNT; i++)
        to += sprintf(to, "%d\n", i);
    for (int b = 0; b < 4; b++) {
        const char *topic = text("t%d", b);
        bus_topic(bus, topic, .ring_size = 8 << 20);
        struct said said = leat(bus, input, "produce", topic, "--batch", batches[b], "--json");
        CHECK_EQ(said.exit, 0);
        CHECK_STR(json_at(said.out, "records"), text("%d", COUNT));
        CHECK_STR(all_of(bus, topic, "%s\n"), input);
    }
}

TEST(rate_is_kept)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    double begin = now_s();
    struct said said = leat(bus, "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n", "produce", "t", "--rate", "50",
                            "--json");
    CHECK_EQ(said.exit, 0);
    CHECK(now_s() - begin >= 0.2); /* ten gaps of 20 ms; an upper limit would measure the machine */
    CHECK(atof(json_at(said.out, "seconds")) >= 0.199);
    check_fails(leat(bus, "", "produce", "t", "--rate", "0"), 2, "", "--rate");
}

TEST(record_that_is_too_big_stops_or_is_left_out)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t"); /* 64 KiB: a quarter is the limit */
    static char input[50000];
    strcpy(input, "before\n");
    memset(input + 7, 'x', 40000);
    strcpy(input + 40007, "\nafter\n");
    struct said said = leat(bus, input, "produce", "t");
    CHECK_EQ(said.exit, 1);
    CHECK(strstr(said.err, "leat: produce: record 2: "));
    CHECK_STR(all_of(bus, "t", "%s "), "before ");
    said = leat(bus, input, "produce", "t", "--on-error", "continue", "--json");
    CHECK_EQ(said.exit, 1);
    CHECK(is_complaint(said.err, "produce"));
    CHECK_STR(json_at(said.out, "failed"), "1");
    CHECK_STR(json_at(said.out, "records"), "2");
    CHECK_STR(all_of(bus, "t", "%s "), "before before after ");
}

TEST(full_ring_is_waited_for_as_long_as_said)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t"); /* 512 records */
    struct command *gate = leat_start(bus, "consume", "t", "--gate", "--trace-rebalance",
                                      "--max-poll-records", "1");
    command_wait_err(gate, "assigned t-0");
    command_signal(gate, SIGSTOP);
    static char input[2 * 2000 + 1];
    for (int i = 0; i < 2000; i++)
        memcpy(input + 2 * i, "x\n", 3);
    struct said said = leat(bus, input, "produce", "t", "--full-timeout", "200ms", "--json");
    CHECK_EQ(said.exit, 1);
    CHECK(is_complaint(said.err, "produce"));
    int sent = atoi(json_at(said.out, "records"));
    CHECK(sent > 0 && sent <= 512);

    /* And when the gate goes on, so does the producer: nothing is lost. */
    struct command *producer = leat_start(bus, "produce", "t", "--json");
    command_write(producer, input);
    command_signal(gate, SIGCONT);
    said = command_end(producer);
    CHECK_EQ(said.exit, 0);
    CHECK_STR(json_at(said.out, "records"), "2000");
    command_wait_out_size(gate, 2 * (size_t)(sent + 2000));
}

TEST(exclusive_producer_wants_the_topic_alone)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    struct command *first = leat_start(bus, "produce", "t", "--exclusive", "-f", "%o\n");
    command_write(first, "a\n");
    command_wait_out(first, "0\n");
    check_fails(leat(bus, "b\n", "produce", "t"), 1, "produce", "");
    CHECK_EQ(command_end(first).exit, 0);
    CHECK_EQ(leat(bus, "b\n", "produce", "t", "--exclusive").exit, 0);
    CHECK_STR(all_of(bus, "t", "%s "), "a b ");
}

TEST(interrupted_producer_says_how_far_it_was)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    struct command *producer = leat_start(bus, "produce", "t", "-f", "%s\n");
    command_write(producer, "a\nb\n");
    command_wait_out(producer, "b\n");
    command_signal(producer, SIGTERM);
    command_wait_err(producer, "t-0: 2");
    CHECK_EQ(command_end(producer).exit, 128 + SIGTERM);
}

TEST(lines_are_sent_as_they_come)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    struct command *producer = leat_start(bus, "produce", "t", "-f", "%o\n");
    command_write(producer, "a\nhal");
    command_wait_out(producer, "0\n");
    CHECK_STR(all_of(bus, "t", "%s "), "a ");
    command_write(producer, "f\n");
    command_wait_out(producer, "1\n");
    CHECK_STR(all_of(bus, "t", "%s "), "a half ");
    CHECK_EQ(command_end(producer).exit, 0);
}

TEST(producing_to_what_is_not_there_fails)
{
    struct bus *bus = bus_start();
    check_fails(leat(bus, "a\n", "produce", "nobody"), 1, "produce", "nobody");
    check_fails(leat(NULL, "a\n", "produce"), 2, "", "which topic?");
    check_fails(leat(NULL, "a\n", "produce", "a", "b"), 2, "", "one topic");
}

/* ---- consume ---- */

TEST(consume_begins_where_it_is_told)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    CHECK_EQ(leat(bus, "0\n1\n2\n3\n4\n", "produce", "t").exit, 0);
    CHECK_STR(leat(bus, NULL, "consume", "t", "-e", "-o", "beginning").out, "0\n1\n2\n3\n4\n");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-e", "-o", "end").out, "");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-e").out, "");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-e", "-o", "3").out, "3\n4\n");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-e", "-o", "-2").out, "3\n4\n");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-e", "-o", "-99").out, "0\n1\n2\n3\n4\n");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-e", "-o", "s@0").out, "0\n1\n2\n3\n4\n");
    CHECK_STR(leat(bus, NULL, "consume", "t", "-e", "-o", "s@99999999999999").out, "");
    check_fails(leat(bus, NULL, "consume", "t", "-o", "middle"), 2, "", "-o 'middle'");
}

TEST(consume_begins_at_a_time)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    struct said said = leat(bus, "a\n", "produce", "t", "-f", "%T");
    long long first_ms = strtoll(said.out, NULL, 10);
    WAIT_UNTIL(strtoll(leat(bus, "b\n", "produce", "t", "-f", "%T").out, NULL, 10) > first_ms + 5, 10);
    said = leat(bus, NULL, "consume", "t", "-e", "-o", text("s@%lld", first_ms + 1), "-f", "%s%T\n");
    CHECK_EQ(said.exit, 0);
    CHECK(strncmp(said.out, "b", 1) == 0);
    for (const char *at = said.out; *at; at = strchr(at, '\n') + 1)
        CHECK(strtoll(at + 1, NULL, 10) >= first_ms + 1);
}

TEST(consume_reads_the_partitions_that_are_named)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 3);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(leat(bus, text("in %d\n", i), "produce", "t", "-p", text("%d", i)).exit, 0);
    CHECK_STR(leat(bus, NULL, "consume", "t", "-e", "-o", "beginning", "-p", "1").out, "in 1\n");
    struct said said = leat(bus, NULL, "consume", "t", "-e", "-o", "beginning", "-p", "0", "-p", "2");
    CHECK(has_line(said.out, "in 0") && has_line(said.out, "in 2") && !has_line(said.out, "in 1"));
    CHECK(has_line(said.err, "t-0: 1") && has_line(said.err, "t-2: 1") && !strstr(said.err, "t-1"));
    check_fails(leat(bus, NULL, "consume", "t", "-e", "-p", "3"), 1, "consume", "");
}

TEST(consume_reads_several_topics)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "a");
    bus_topic(bus, "b");
    CHECK_EQ(leat(bus, "1\n", "produce", "a").exit, 0);
    CHECK_EQ(leat(bus, "2\n", "produce", "b").exit, 0);
    struct said said = leat(bus, NULL, "consume", "a", "b", "-e", "-o", "beginning", "-f", "%t%s\n");
    CHECK(has_line(said.out, "a1") && has_line(said.out, "b2"));
    check_fails(leat(bus, NULL, "consume", "a", "nobody", "-e"), 1, "consume", "nobody");
}

TEST(consume_stops_after_so_many)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    CHECK_EQ(leat(bus, "0\n1\n2\n3\n", "produce", "t").exit, 0);
    struct said said = leat(bus, NULL, "consume", "t", "-o", "beginning", "-c", "3");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(said.out, "0\n1\n2\n");
    CHECK(has_line(said.err, "t-0: 3"));
    CHECK_STR(leat(bus, NULL, "consume", "t", "-o", "beginning", "-c", "0").out, "");
}

TEST(consume_stops_when_nothing_comes)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    CHECK_EQ(leat(bus, "0\n", "produce", "t").exit, 0);
    struct said said = leat(bus, NULL, "consume", "t", "-o", "beginning", "--idle-exit", "50");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(said.out, "0\n");
}

TEST(consume_prints_what_comes_and_ends_well_when_told)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    static const int signals[] = { SIGINT, SIGTERM };
    for (int i = 0; i < 2; i++) {
        struct command *tail = leat_start(bus, "consume", "t", "--trace-rebalance");
        command_wait_err(tail, text("assigned t-0 at %d\n", 2 * i));
        CHECK_EQ(leat(bus, "a\nb\n", "produce", "t").exit, 0);
        command_wait_out(tail, "a\nb\n"); /* while it goes on */
        command_signal(tail, signals[i]);
        struct said said = command_end(tail);
        CHECK_EQ(said.exit, 0);
        CHECK_STR(said.out, "a\nb\n");
        CHECK(strstr(said.err, "2 records, 2 bytes in "));
        CHECK(has_line(said.err, "t-0: 2"));
    }
}

TEST(consume_until_the_end_ignores_what_comes_later)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    CHECK_EQ(leat(bus, "0\n1\n2\n", "produce", "t", "-p", "0").exit, 0);
    /* A partition that is not read to its end keeps it busy; -e is about the ends that it found. */
    struct said said = leat(bus, NULL, "consume", "t", "-e", "-o", "beginning", "--max-poll-records", "1");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(said.out, "0\n1\n2\n");
    CHECK(has_line(said.err, "t-0: 3"));
    CHECK(has_line(said.err, "t-1: 0"));
}

TEST(every_token_of_the_format_prints_what_it_should)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    CHECK_EQ(leat(bus, "key:value\n", "produce", "t", "-K", ":", "-H", "h=1").exit, 0);
    CHECK_STR(all_of(bus, "t", "%s %S %k %K %t %p %o %h %%\\n\\t\\\\\\x41"),
              "value 5 key 3 t 0 0 h=1 %\n\t\\A");
    long long ms = strtoll(all_of(bus, "t", "%T"), NULL, 10), ns = strtoll(all_of(bus, "t", "%d"), NULL, 10);
    CHECK(ms > 1700000000000);
    CHECK(ns / 1000000 >= ms);
    check_fails(leat(bus, NULL, "consume", "t", "-f", "100%"), 2, "", "is no token");
}

TEST(json_lines_can_hold_any_bytes)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    CHECK_EQ(leat(bus, "k\"\\:v\t\xc3\xa9\xff\x01\nnull:\n", "produce", "t", "-K", ":", "-Z", "-H", "n").exit,
             0);
    struct said said = leat(bus, NULL, "consume", "t", "-e", "-o", "beginning", "--json");
    CHECK_EQ(said.exit, 0);
    char *second = strchr(said.out, '\n');
    CHECK(second);
    *second++ = 0;
    CHECK_STR(json_at(said.out, "topic"), "\"t\"");
    CHECK_STR(json_at(said.out, "partition"), "0");
    CHECK_STR(json_at(said.out, "offset"), "0");
    CHECK_STR(json_at(said.out, "key"), "\"k\\\"\\\\\"");
    CHECK_STR(json_at(said.out, "value"), "\"v\\t\xc3\xa9\\u00ff\\u0001\"");
    CHECK_STR(json_at(said.out, "headers.0.name"), "\"n\"");
    CHECK_STR(json_at(said.out, "headers.0.value"), "null");
    CHECK(atoll(json_at(said.out, "timestamp_ms")) > 0);
    CHECK_STR(json_at(second, "value"), "null");
    CHECK_STR(json_at(second, "offset"), "1");
}

TEST(overtaken_consumer_says_how_many_it_missed)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .on_full = LEAT_OVERWRITE); /* 512 records */
    struct command *tail = leat_start(bus, "consume", "t", "--trace-rebalance", "-f", "%o\n", "-c", "100");
    command_wait_err(tail, "assigned t-0 at 0");
    command_signal(tail, SIGSTOP);
    static char input[2 * 5000 + 1];
    for (int i = 0; i < 5000; i++)
        memcpy(input + 2 * i, "x\n", 3);
    CHECK_EQ(leat(bus, input, "produce", "t").exit, 0);
    command_signal(tail, SIGCONT);
    struct said said = command_end(tail);
    CHECK_EQ(said.exit, 0);
    const char *missed = strstr(said.err, "leat: consume: t-0: ");
    unsigned long long count, from;
    CHECK(missed);
    CHECK_EQ(sscanf(missed, "leat: consume: t-0: %llu records missed from offset %llu\n", &count, &from), 2);
    /* What was printed, and what was missed, follow one another: it may have got some before it stopped. */
    CHECK(strstr(text("\n%s", said.out), text("\n%llu\n", from + count)));
    if (from > 0)
        CHECK(strstr(text("\n%s", said.out), text("\n%llu\n", from - 1)));
}

TEST(consumer_of_a_deleted_topic_is_told)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    struct command *tail = leat_start(bus, "consume", "t", "--trace-rebalance");
    command_wait_err(tail, "assigned t-0");
    CHECK_EQ(leat(bus, NULL, "topic", "delete", "t").exit, 0);
    command_wait_err(tail, "leat: consume: ");
    struct said said = command_end(tail);
    CHECK_EQ(said.exit, 1);
}

TEST(consumer_whose_bus_ends_is_told)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    struct command *tail = leat_start(bus, "consume", "t", "--trace-rebalance");
    command_wait_err(tail, "assigned t-0");
    bus_stop(bus);
    struct said said = command_end(tail);
    CHECK_EQ(said.exit, 1);
    CHECK(strstr(said.err, "leat: consume: "));
}

TEST(consumer_whose_reader_is_gone_ends_as_pipes_do)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    CHECK_EQ(leat(bus, "a\nb\n", "produce", "t").exit, 0);
    struct command *tail = leat_start(bus, "consume", "t", "--trace-rebalance");
    command_wait_err(tail, "assigned t-0");
    close(tail->out);
    tail->out = -1;
    CHECK_EQ(leat(bus, "c\n", "produce", "t").exit, 0);
    CHECK_EQ(command_end(tail).exit, 128 + SIGPIPE);
}

/* ---- run ---- */

static struct said run_shell(const char *script)
{
    return leat(NULL, NULL, "run", "--", "sh", "-c", script);
}

TEST(run_brings_a_bus_and_ends_with_the_commands_status)
{
    struct said said = leat(NULL, NULL, "run", "true");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(said.out, "");
    CHECK_STR(said.err, "");
    CHECK_EQ(run_shell("exit 7").exit, 7);
    CHECK_EQ(run_shell("kill -KILL $$").exit, 128 + SIGKILL);
    said = leat(NULL, NULL, "run", "/no/such/command");
    CHECK_EQ(said.exit, 127);
    CHECK_STR(said.err, "leat: run: /no/such/command: No such file or directory\n");
    CHECK_EQ(leat(NULL, NULL, "run", "/").exit, 126);
    check_fails(leat(NULL, NULL, "run"), 2, "", "which command?");
}

/* `leat` of a script is the one under test. */
static const char *with_leat(const char *script)
{
    return text("leat() { '%s' \"$@\"; }\n%s", test_program("LEAT_TEST_LEAT"), script);
}

TEST(run_names_its_bus_and_leaves_nothing_behind)
{
    struct said said = run_shell(
        with_leat("echo $LEAT_BUS && leat topic create t --ring-size 64K >/dev/null &&"
                  "seq 3 | leat produce t 2>/dev/null &&"
                  "leat consume t -o beginning -e 2>/dev/null"));
    CHECK_EQ(said.exit, 0);
    char *records = strchr(said.out, '\n');
    CHECK(records);
    CHECK_STR(records, "\n1\n2\n3\n");
    *records = 0;
    CHECK(strncmp(said.out, "/", 1) == 0);
    CHECK_EQ(access(said.out, F_OK), -1);
}

TEST(run_takes_stdin_and_the_commands_own_options)
{
    static const char *const argv[] = { "leat", "run", "cat", "-n", NULL };
    struct said said = leat_run(NULL, "x\n", 2, argv);
    CHECK_EQ(said.exit, 0);
    CHECK_STR(said.out, "     1\tx\n");
}

TEST(run_passes_signals_on)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
    for (int i = 0; i < 3; i++) {
        struct command *run = leat_start(
            NULL, "run", "sh", "-c",
            "trap 'echo told; exit 9' TERM INT HUP; echo up; while :; do read x; done");
        command_wait_out(run, "up\n");
        command_signal(run, signals[i]);
        command_wait_out(run, "told\n");
        CHECK_EQ(command_end(run).exit, 9);
    }
}

TEST(killed_run_takes_its_bus_along)
{
    setenv("XDG_RUNTIME_DIR", test_dir(), 1); /* nobody is left to remove the directory */
    struct command *run = leat_start(NULL, "run", "sh", "-c", "echo $LEAT_BUS; read x");
    command_wait_out(run, "\n");
    const char *bus = text("%.*s", (int)strcspn(run->said.out, "\n"), run->said.out);
    struct said said = leat(NULL, NULL, "--bus", bus, "status", "--json");
    CHECK_EQ(said.exit, 0);
    pid_t keeper = atoi(json_at(said.out, "pid")), worker = atoi(json_at(said.out, "worker_pid"));
    command_signal(run, SIGKILL);
    pid_wait_gone(keeper);
    pid_wait_gone(worker);
    CHECK_EQ(leat(NULL, NULL, "--bus", bus, "status").exit, 1);
}

/* $keeper and $worker are leatd's. */
static const char *with_pids(const char *script)
{
    return with_leat(text("pids() { eval $(leat status | sed -n 's/^leatd *keeper \\([0-9]*\\), worker "
                          "\\([0-9]*\\)/keeper=\\1 worker=\\2/p'); }\npids\n%s",
                          script));
}

/* Stopped first: one alone would replace the other. */
TEST(run_says_when_its_bus_ends_before_the_command)
{
    struct said said = run_shell(with_pids("kill -STOP $keeper $worker; kill -KILL $keeper $worker\n"
                                           "while leat status; do :; done >/dev/null 2>&1; exit 4"));
    CHECK_EQ(said.exit, 4);
    CHECK(strstr(said.err, "leat: run: leatd ended, and the bus with it"));
}

TEST(bus_of_run_survives_either_of_its_processes)
{
    struct said said = run_shell(with_pids("was=$keeper; kill -KILL $keeper\n"
                                           "while [ $keeper = $was ]; do pids 2>/dev/null; done\n"
                                           "was=$worker; kill -KILL $worker\n"
                                           "while [ $worker = $was ]; do pids 2>/dev/null; done\n"
                                           "echo $keeper $worker"));
    pid_t keeper, worker;
    CHECK_EQ(said.exit, 0);
    CHECK_EQ(sscanf(said.out, "%d %d", &keeper, &worker), 2);
    CHECK(!strstr(said.err, "leat: run: "));
    pid_wait_gone(keeper); /* with the command, as it should */
    pid_wait_gone(worker);
}

TEST(run_shows_leatds_messages_on_demand)
{
    struct said said = leat(NULL, NULL, "run", "--verbose", "true");
    CHECK_EQ(said.exit, 0);
    CHECK_STR(said.out, "");
}

TEST(run_without_a_leatd_says_so)
{
    const char *alone = text("%s/leat", test_dir());
    struct said said = { 0 };
    CHECK_EQ(symlink("/bin/true", text("%s/unused", test_dir())), 0);
    CHECK_EQ(system(text("cp '%s' '%s'", test_program("LEAT_TEST_LEAT"), alone)),
             0); /* NOLINT: as a user would */
    setenv("LEAT_TEST_LEAT", alone, 1);
    setenv("PATH", test_dir(), 1);
    said = leat(NULL, NULL, "run", "/bin/true");
    CHECK_EQ(said.exit, 1);
    CHECK(strstr(said.err, "leatd cannot be run: No such file or directory\n"));
    CHECK(strstr(said.err, "leat: run: leatd did not start\n"));
}
