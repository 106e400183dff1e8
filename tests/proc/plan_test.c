/* `leat group plan`, as users and their scripts meet it: JSON in, JSON out, and one line that says what is wrong with the former.
 *
 * Method: the real program, without a bus. What assignors decide is tests/unit/assign_*; here each is asked once.
 */
#include "cli.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAN(assignor, input) leat(NULL, input, "group", "plan", "--assignor", assignor)

static void check_plan(const char *assignor, const char *input, const char *wanted)
{
    struct said said = PLAN(assignor, input);
    CHECK_STR(said.err, "");
    CHECK_STR(said.out, wanted);
    CHECK_EQ(said.exit, 0);
}

static void check_refused(const char *input, const char *why)
{
    struct said said = PLAN("range", input);
    CHECK_STR(said.err, why);
    CHECK_STR(said.out, "");
    CHECK_EQ(said.exit, 1);
}

TEST(each_assignor_answers)
{
    static const char group[] =
        "{\"topics\":{\"t1\":3,\"t2\":3},\"members\":{\"c1\":[\"t1\",\"t2\"],\"c2\":[\"t2\",\"t1\"]}}";
    static const char joined[] = "{\"topics\":{\"t1\":3},\"members\":{\"c1\":[\"t1\"],\"c2\":[\"t1\"]},"
                                 "\"owned\":{\"c1\":[\"t1-0\",\"t1-1\",\"t1-2\"]},\"generation\":{\"c1\":4}}";
    check_plan("range", group, "{\"c1\":[\"t1-0\",\"t1-1\",\"t2-0\",\"t2-1\"],\"c2\":[\"t1-2\",\"t2-2\"]}\n");
    check_plan("roundrobin", group,
               "{\"c1\":[\"t1-0\",\"t1-2\",\"t2-1\"],\"c2\":[\"t1-1\",\"t2-0\",\"t2-2\"]}\n");
    check_plan("sticky", joined, "{\"c1\":[\"t1-0\",\"t1-1\"],\"c2\":[\"t1-2\"]}\n");
    check_plan("cooperative-sticky", joined, "{\"c1\":[\"t1-0\",\"t1-1\"],\"c2\":[]}\n");
    check_plan("failover", group,
               "{\"c1\":[\"t1-0\",\"t1-1\",\"t1-2\",\"t2-0\",\"t2-1\",\"t2-2\"],\"c2\":[]}\n");
}

TEST(members_come_by_name_and_partitions_by_topic_and_number)
{
    check_plan(
        "roundrobin",
        "{\"members\":{\"m2\":[\"b\"],\"m10\":[\"a\"],\"M\":[]},\"topics\":{\"b\":1,\"a\":11,\"unread\":3}}",
        "{\"M\":[],\"m10\":[\"a-0\",\"a-1\",\"a-2\",\"a-3\",\"a-4\",\"a-5\",\"a-6\",\"a-7\",\"a-8\",\"a-9\",\"a-10\"],"
        "\"m2\":[\"b-0\"]}\n");
}

TEST(a_file_or_stdin_is_read)
{
    char path[200];
    snprintf(path, sizeof path, "%s/group.json", test_dir());
    FILE *file = fopen(path, "w");
    CHECK(file);
    fputs("{\"topics\":{\"t\":1},\"members\":{\"c\":[\"t\"]}}\n", file);
    fclose(file);
    CHECK_STR(leat(NULL, NULL, "group", "plan", "--assignor", "range", path).out, "{\"c\":[\"t-0\"]}\n");
    CHECK_STR(leat(NULL, NULL, "group", "plan", path, "--assignor=range").out, "{\"c\":[\"t-0\"]}\n");
    CHECK_STR(leat(NULL, "{\"topics\":{},\"members\":{}}", "group", "plan", "--assignor", "range", "-").out,
              "{}\n");
    struct said said = leat(NULL, NULL, "group", "plan", "--assignor", "range", "/no/such/file");
    CHECK_EQ(said.exit, 1);
    CHECK_STR(said.err, "leat: group plan: /no/such/file: No such file or directory\n");
    CHECK_EQ(leat(NULL, NULL, "group", "plan", "--assignor", "range", test_dir()).exit, 1);
}

TEST(a_dash_in_a_topics_name_is_part_of_it)
{
    check_plan("sticky",
               "{\"topics\":{\"t\":2,\"t-1\":2},\"members\":{\"a\":[\"t\",\"t-1\"],\"b\":[\"t\",\"t-1\"]},"
               "\"owned\":{\"a\":[\"t-1\",\"t-1-1\"],\"b\":[\"t-1-0\",\"t-0\"]}}",
               "{\"a\":[\"t-1\",\"t-1-1\"],\"b\":[\"t-0\",\"t-1-0\"]}\n");
}

TEST(what_is_gone_counts_for_nothing)
{
    check_plan("sticky",
               "{\"topics\":{\"t\":2},\"members\":{\"c\":[\"t\",\"gone\"],\"d\":[\"gone\"],\"e\":[]},"
               "\"owned\":{\"c\":[\"t-7\",\"gone-0\"],\"left\":[\"t-0\"]},\"generation\":{\"left\":9},"
               "\"instance_id\":{\"left\":\"i\"}}",
               "{\"c\":[\"t-0\",\"t-1\"],\"d\":[],\"e\":[]}\n");
}

TEST(generations_decide_between_claims_and_equal_ones_void_each_other)
{
    static const char input[] =
        "{\"topics\":{\"t\":3},\"members\":{\"c1\":[\"t\"],\"c2\":[\"t\"],\"c3\":[\"t\"]},"
        "\"owned\":{\"c1\":[\"t-0\",\"t-1\"],\"c2\":[\"t-0\",\"t-2\"]},\"generation\":{\"c1\":%s,\"c2\":%s}}";
    char text[400];
    snprintf(text, sizeof text, input, "5", "5");
    check_plan("cooperative-sticky", text, "{\"c1\":[\"t-1\"],\"c2\":[\"t-2\"],\"c3\":[]}\n");
    snprintf(text, sizeof text, input, "4", "9007199254740993");
    check_plan("cooperative-sticky", text, "{\"c1\":[\"t-1\"],\"c2\":[\"t-0\"],\"c3\":[]}\n");
}

TEST(static_members_stand_before_dynamic_ones)
{
    check_plan("range",
               "{\"topics\":{\"t\":3},\"members\":{\"a\":[\"t\"],\"b\":[\"t\"],\"c\":[\"t\"]},"
               "\"instance_id\":{\"b\":\"i2\",\"c\":\"i1\",\"a\":null}}",
               "{\"a\":[\"t-2\"],\"b\":[\"t-1\"],\"c\":[\"t-0\"]}\n");
}

TEST(names_may_have_any_character)
{
    check_plan("range", "{\"topics\":{\"t\":1},\"members\":{\"\\u00e4\\\"\\n\\u20ac\":[\"t\"]}}",
               "{\"\xc3\xa4\\\"\\n\xe2\x82\xac\":[\"t-0\"]}\n");
}

TEST(nonsense_is_refused_in_one_line_with_its_values)
{
    check_refused("", "leat: group plan: stdin: line 1, column 0: '[' or '{' expected near end of file\n");
    check_refused("{\"topics\":\n{\"t\":1,}}",
                  "leat: group plan: stdin: line 2, column 8: string or '}' expected near '}'\n");
    check_refused("[1]", "leat: group plan: stdin: [1] is no object\n");
    check_refused("{}", "leat: group plan: topics is missing\n");
    check_refused("{\"topics\":{}}", "leat: group plan: members is missing\n");
    check_refused("{\"topics\":[\"t\"]}", "leat: group plan: topics: [\"t\"] is no object\n");
    check_refused(
        "{\"topic\":{}}",
        "leat: group plan: topic: no such field: topics, members, owned, generation, instance_id\n");
    check_refused("{\"topics\":{\"t\":3.5}}", "leat: group plan: topics.t: 3.5 is no number of partitions\n");
    check_refused("{\"topics\":{\"t\":-1}}", "leat: group plan: topics.t: -1 is no number of partitions\n");
    check_refused("{\"topics\":{\"t\":\"3\"}}",
                  "leat: group plan: topics.t: \"3\" is no number of partitions\n");
    check_refused("{\"topics\":{\"t\":4294967296}}",
                  "leat: group plan: topics.t: 4294967296 is no number of partitions\n");
    check_refused("{\"topics\":{},\"members\":{\"c\":\"t\"}}",
                  "leat: group plan: members.c: \"t\" is no list\n");
    check_refused("{\"topics\":{},\"members\":{\"c\":[7]}}", "leat: group plan: members.c: 7 is no name\n");
    check_refused("{\"topics\":{},\"members\":{\"c\":[]},\"owned\":{\"c\":[\"t1\"]}}",
                  "leat: group plan: owned.c: 't1' is no TOPIC-PARTITION\n");
    check_refused("{\"topics\":{},\"members\":{\"c\":[]},\"owned\":{\"c\":[\"t-4294967296\"]}}",
                  "leat: group plan: owned.c: 't-4294967296' is no TOPIC-PARTITION\n");
    check_refused("{\"topics\":{},\"members\":{\"c\":[]},\"generation\":{\"c\":\"4\"}}",
                  "leat: group plan: generation.c: \"4\" is no generation\n");
    check_refused("{\"topics\":{},\"members\":{\"c\":[]},\"generation\":{\"c\":-2}}",
                  "leat: group plan: generation.c: -2 is no generation\n");
    check_refused("{\"topics\":{},\"members\":{\"c\":[],\"d\":[]},\"instance_id\":{\"c\":\"i\",\"d\":\"i\"}}",
                  "leat: group plan: instance_id: 'i' is both c's and d's\n");
    check_refused("{\"topics\":{},\"members\":{\"c\":[]},\"instance_id\":{\"c\":1}}",
                  "leat: group plan: instance_id.c: 1 is no name\n");
}

TEST(other_nonsense_is_refused_in_one_line_too)
{
    static const char *const inputs[] = {
        "{\"topics\":{\"t\":1,\"t\":2},\"members\":{}}", /* a key twice */
        "{\"topics\":{\"t\":1},\"members\":{\"c\":[],\"c\":[]}}",
        "{\"topics\":{\"t\":99999999999999999999},\"members\":{}}",
        "{\"topics\":{\"t\":4294967295,\"u\":4294967295},\"members\":{}}", /* too many to count */
        "{\"topics\":{\"t\":1},\"members\":{}} trailing",
        "{\"topics\":{\"\xff\":1},\"members\":{}}",
        "{\"topics\":{\"a\\u0000b\":1},\"members\":{}}",
        "{\"topics\":\"\n\n\"",
    };
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        struct said said = PLAN("sticky", inputs[i]);
        if (said.exit != 1 || *said.out || !is_complaint(said.err, "group plan"))
            FAIL("%s: exit %d, '%s', '%s'", inputs[i], said.exit, said.out, said.err);
    }
    CHECK(strstr(PLAN("sticky", inputs[0]).err, "duplicate object key"));
    CHECK(strstr(PLAN("sticky", inputs[3]).err, "8589934590 partitions in all: at most 16777216"));
}

TEST(a_deep_or_long_input_is_refused_in_one_line_too)
{
    enum { SIZE = 200000 };
    char *text = malloc(SIZE + 1);
    CHECK(text);
    memset(text, '[', SIZE);
    text[SIZE] = 0;
    CHECK(is_complaint(PLAN("range", text).err, "group plan"));
    memset(text, 'x', SIZE);
    memcpy(text, "{\"topics\":\"", 11);
    memcpy(text + SIZE - 2, "\"}", 2);
    struct said said = PLAN("range", text);
    CHECK(is_complaint(said.err, "group plan"));
    CHECK(said.err_size < 200);
    free(text);
}

TEST(how_it_is_called_is_a_matter_of_usage)
{
    struct said said = leat(NULL, "{}", "group", "plan");
    CHECK_EQ(said.exit, 2);
    CHECK(strstr(said.err, "leat: group plan: which --assignor?\n"));
    said = PLAN("best", "{}");
    CHECK_EQ(said.exit, 2);
    CHECK(strstr(said.err, "--assignor 'best'"));
    CHECK_EQ(leat(NULL, "{}", "group", "plan", "--assignor", "range", "a", "b").exit, 2);
    CHECK_EQ(leat(NULL, "{}", "group", "plan", "--assigner", "range").exit, 2);
    CHECK_EQ(leat(NULL, "{}", "group").exit, 2);
    CHECK(strstr(leat(NULL, NULL, "group", "plan", "--help").out,
                 "usage: leat [--bus BUS] [--json] group plan "));
}

TEST(two_thousand_members_are_planned_from_json)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    CHECK(out);
    fputs("{\"topics\":{", out);
    for (int t = 0; t < 100; t++)
        fprintf(out, "%s\"topic-%d\":1000", t ? "," : "", t);
    fputs("},\"members\":{", out);
    for (int m = 0; m < 2000; m++) {
        fprintf(out, "%s\"member-%d\":[", m ? "," : "", m);
        const char *comma = "";
        for (int t = 0; t < 100; t++) {
            if (t % 2 != m % 2 && t % 7 != 0)
                continue;
            fprintf(out, "%s\"topic-%d\"", comma, t);
            comma = ",";
        }
        fputs("]", out);
    }
    fputs("}}", out);
    fclose(out);
    struct said said = PLAN("sticky", text);
    free(text);
    CHECK_STR(said.err, "");
    CHECK_EQ(said.exit, 0);
    int parts = 0;
    for (const char *at = said.out; (at = strstr(at, "\"topic-")); at++)
        parts++;
    CHECK_EQ(parts, 100000);
}
