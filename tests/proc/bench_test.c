/* The benches of groups, as far as they are programs.
 *
 * Goal: they run to their end, measure what they say, and what they say can be read by others. Method: the bench program with --quick,
 * and leatd as the tests have it; its lines are looked at, never its figures.
 */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* All that it wrote to stdout; it ends with 0. */
static const char *bench(const char *args)
{
    static char out[1 << 18];
    char command[8192];
    const char *program = getenv("LEAT_TEST_BENCH");
    if (program == NULL)
        SKIP("no bench program: LEAT_TEST_BENCH");
    CHECK_EQ(setenv("LEAT_BENCH_LEATD", getenv("LEAT_TEST_LEATD"), 1), 0);
    CHECK((size_t)snprintf(command, sizeof command, "'%s' %s", program, args) < sizeof command);
    FILE *pipe = popen(command, "r");
    CHECK(pipe != NULL);
    size_t size = fread(out, 1, sizeof out - 1, pipe);
    out[size] = 0;
    int status = pclose(pipe);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        FAIL("bench %s: status %d: %s", args, status, out);
    return out;
}

/* The line of this case, cut out; the text is one JSON object a line. */
static const char *line_of(const char *out, const char *name)
{
    static char line[4096];
    char wanted[128];
    snprintf(wanted, sizeof wanted, "\"name\":\"%s\"", name);
    const char *at = strstr(out, wanted);
    if (at == NULL)
        FAIL("no %s in: %s", name, out);
    while (at > out && at[-1] != '\n')
        at--;
    size_t size = strcspn(at, "\n");
    CHECK(size < sizeof line);
    memcpy(line, at, size);
    line[size] = 0;
    return line;
}

static bool has_number(const char *out, const char *name, const char *key)
{
    const char *line = line_of(out, name);
    return json_has(line, key) && strtod(json_at(line, key), NULL) > 0;
}

TEST_SLOW(rebalance_prints_joins_leaves_and_kills_beside_their_floors, 180)
{
    static const char *const moves[] = { "join", "leave", "kill-8M" };
    static const char *const kinds[] = { "cooperative-sticky/3/spin", "cooperative-sticky/3/sleep",
                                         "cooperative-sticky/30/spin", "range/3/spin", "range/30/sleep" };
    const char *out = bench("rebalance --quick --json");
    char name[128];
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (size_t m = 0; m < sizeof moves / sizeof moves[0]; m++) {
            snprintf(name, sizeof name, "rebalance/%s/%s", kinds[k], moves[m]);
            CHECK(has_number(out, name, "first_p99_ns"));
            CHECK(has_number(out, name, "ratio"));
            CHECK(json_has(line_of(out, name), "pause_p50_ns"));
        }
    CHECK(has_number(out, "rebalance/floor/futex-hop", "first_p50_ns"));
    CHECK(has_number(out, "rebalance/floor/robust-futex/kill-8M", "first_p50_ns"));
}

TEST_SLOW(durable_prints_sends_replay_and_recovery_beside_the_disk, 180)
{
    static const char *const sizes[] = { "100", "1024", "16384" };
    const char *out = bench("durable --quick --json --log-mib 16");
    char name[128];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        snprintf(name, sizeof name, "durable/%s/one/wait", sizes[i]);
        CHECK(has_number(out, name, "p99_ns"));
        CHECK(has_number(out, name, "ratio"));
        snprintf(name, sizeof name, "durable/%s/16/window", sizes[i]);
        CHECK(has_number(out, name, "records_per_s"));
        CHECK(has_number(out, name, "bandwidth_ratio"));
        snprintf(name, sizeof name, "durable/%s/replay", sizes[i]);
        CHECK(has_number(out, name, "bandwidth_ratio"));
    }
    CHECK(has_number(out, "recovery/after a close", "p50_ns"));
    CHECK(has_number(out, "recovery/after a death", "p50_ns"));
}

TEST(commits_make_no_system_call)
{
    static const char *const names[] = { "commit/1/async", "commit/1/sync", "commit/1/record-async",
                                         "commit/1/offsets-async", "commit/30/async" };
    const char *out = bench("rebalance --quick --json --case commit/");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        CHECK(has_number(out, names[i], "p50_ns"));
        CHECK(strcmp(json_at(line_of(out, names[i]), "system_calls"), "\"MADE\"") != 0);
    }
}

TEST(scaling_prints_members_beside_one_and_beside_their_floors)
{
    const char *out = bench("scaling --quick --json --work-us 200");
    CHECK(has_number(out, "scaling/3/1-member", "records_per_s"));
    CHECK(has_number(out, "scaling/3/3-members", "ratio_against"));
    CHECK(has_number(out, "scaling/6/6-members", "ratio"));
    CHECK(has_number(out, "scaling/6/floor-6", "records_per_s"));
}

TEST(what_cannot_be_is_a_matter_of_usage)
{
    const char *program = getenv("LEAT_TEST_BENCH");
    char command[8192];
    if (program == NULL)
        SKIP("no bench program: LEAT_TEST_BENCH");
    static const char *const wrong[] = { "rebalance --rounds 0", "latency --rounds 65", "scaling --work-us 0",
                                         "flood" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(command, sizeof command, "'%s' %s 2>&1 >/dev/null | grep -q usage:", program, wrong[i]);
        CHECK_EQ(system(command), 0);
    }
}
