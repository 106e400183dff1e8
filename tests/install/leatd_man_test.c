/* The examples of leatd(8), leat-dump(1) and leatd.conf(5), from where they are installed.
 *
 * Goal: what a reader copies from a page works. Method: the "$ " lines of the first two are run by a shell; leatd is started with
 * the file of leatd.conf(5), and what that says is looked for in a topic that creates itself.
 */
#include "test.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 1, 2))) static char *text(const char *format, ...)
{
    char *result;
    va_list args;
    va_start(args, format);
    if (vasprintf(&result, format, args) < 0)
        FAIL("out of memory");
    va_end(args);
    return result; /* the process ends with the test */
}

/* The example of a page as a reader sees it. */
static char *example_of(const char *name)
{
    static char page[1 << 16];
    const char *prefix = getenv("LEAT_TEST_PREFIX");
    if (!prefix)
        SKIP("LEAT_TEST_PREFIX is not set; `tools/zig build test:install` sets it");
    setenv("PATH", text("%s/bin:%s", prefix, getenv("PATH")), 1);
    FILE *file = fopen(text("%s/share/man/man%s/%s", prefix, strrchr(name, '.') + 1, name), "r");
    CHECK(file);
    page[fread(page, 1, sizeof page - 1, file)] = 0;
    fclose(file);
    char *begin = strstr(page, "\n.EX\n"), *end = begin ? strstr(begin, "\n.EE") : NULL;
    CHECK(end);
    end[1] = 0;
    char *to = begin;
    for (const char *from = begin + 5; *from; from++)
        if (from[0] != '\\' || from[1] != '-') /* \- is a minus; nothing else of roff is in these examples */
            *to++ = *from;
    *to = 0;
    return begin;
}

static void run(const char *script)
{
    const char *path = text("%s/script", test_dir());
    FILE *file = fopen(path, "w");
    CHECK(file);
    CHECK(fputs(script, file) >= 0);
    CHECK_EQ(fclose(file), 0);
    int status = system(
        text("cd %s && sh -ex script", test_dir())); /* NOLINT: a shell is what a reader has */
    if (status != 0)
        FAIL("wait status %d from:\n%s", status, script);
}

static void run_session_of(const char *page)
{
    const char *script = "";
    char *line, *rest = example_of(page);
    while ((line = strsep(&rest, "\n")))
        if (strncmp(line, "$ ", 2) == 0)
            script = text("%s%s\n", script, line + 2);
    CHECK(*script);
    run(script);
}

TEST(session_of_leatd_8_runs)
{
    run_session_of("leatd.8");
}

TEST(session_of_leat_dump_1_runs)
{
    run_session_of("leat-dump.1");
}

TEST(file_of_leatd_conf_5_is_what_leatd_reads)
{
    const char *path = text("%s/leatd.conf", test_dir());
    FILE *file = fopen(path, "w");
    CHECK(file);
    CHECK(fputs(example_of("leatd.conf.5"), file) >= 0);
    CHECK_EQ(fclose(file), 0);
    run("mkfifo ready\n"
        "leatd --bus \"$PWD/bus\" --config leatd.conf > ready &\n"
        "read line < ready\n"
        "export LEAT_BUS=\"$PWD/bus\"\n"
        "echo one | leat produce fresh\n"
        "leat --json topic describe fresh > said\n"
        "grep -E '\"partition_count\": ?3' said\n"
        "grep -E '\"on_full\": ?\"overwrite\"' said\n"
        "grep -E '\"ring_bytes\": ?1048576' said\n"
        "grep -E '\"mode\": ?\"0664\"' said\n"
        "kill $!\n"
        "wait $!\n");
}
