/* The examples of the man pages, from where they are installed.
 *
 * Goal: what a reader copies from a page works. Method: programs of leat(3) are compiled against the installed library and
 * run; the "$ " lines of leat(1), and the one of leat(7), are run by a shell; each on a bus of its own, by `leat run`.
 */
#include "test.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);
    if (!value)
        SKIP("%s is not set; `tools/zig build test:install` sets it", name);
    return value;
}

__attribute__((format(printf, 1, 2))) static const char *text(const char *format, ...)
{
    char *result;
    va_list args;
    va_start(args, format);
    if (vasprintf(&result, format, args) < 0)
        FAIL("out of memory");
    va_end(args);
    return result; /* the process ends with the test */
}

static const char *prefix(void)
{
    return from_environment("LEAT_TEST_PREFIX");
}

static const char *read_page(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat st;
    if (!file || fstat(fileno(file), &st) < 0)
        FAIL("cannot read %s", path);
    char *bytes = calloc(1, (size_t)st.st_size + 1);
    CHECK(bytes);
    CHECK_EQ(fread(bytes, 1, (size_t)st.st_size, file), (size_t)st.st_size);
    fclose(file);
    return bytes;
}

static const char *page(const char *name)
{
    return read_page(text("%s/share/man/man%s/%s", prefix(), strrchr(name, '.') + 1, name));
}

/* The next example behind *at as a reader sees it, or NULL. Holds until the next call. */
static const char *next_example(const char **at)
{
    const char *begin = strstr(*at, "\n.EX\n");
    const char *end = begin ? strstr(begin, "\n.EE") : NULL;
    if (!end)
        return NULL;
    *at = end;
    static char example[1 << 14];
    char *to = example;
    CHECK((size_t)(end - begin) < sizeof example);
    for (const char *from = begin + 5; from <= end; from++) {
        if (*from != '\\') {
            *to++ = *from;
            continue;
        }
        from++;
        if (*from == 'e')
            *to++ = '\\';
        else if (*from == '-')
            *to++ = '-';
        else if (*from != '&')
            FAIL("roff that this test does not know: \\%c", *from);
    }
    *to = 0;
    return example;
}

static void write_file(const char *path, const char *content)
{
    FILE *file = fopen(path, "w");
    CHECK(file);
    CHECK(fputs(content, file) >= 0);
    CHECK_EQ(fclose(file), 0);
}

static void run(const char *command)
{
    printf("$ %s\n", command);
    fflush(stdout);
    int status = system(command); /* NOLINT: a shell is what a reader has */
    if (status != 0)
        FAIL("wait status %d from: %s", status, command);
}

static void use_installed_leat(void)
{
    setenv("PATH", text("%s/bin:%s", prefix(), getenv("PATH")), 1);
}

static void run_session(const char *script)
{
    const char *path = text("%s/session", test_dir());
    use_installed_leat();
    write_file(path, script);
    run(text("leat run -- sh -ex %s", path));
}

TEST_SLOW(programs_of_leat_3_compile_and_run, 300)
{
    const char *at = page("leat.3"), *program;
    int count = 0;
    use_installed_leat();
    const char *session = "leat topic create orders";
    while ((program = next_example(&at))) {
        const char *source = text("%s/program%d.c", test_dir(), count),
                   *binary = text("%s/program%d", test_dir(), count);
        CHECK(strstr(program, "#include <leat.h>") == program);
        write_file(source, program);
        run(text(
            "%s cc -std=gnu11 -Wall -Wextra -Werror -I%s/include %s -L%s/lib -lleat -Wl,-rpath,%s/lib -o %s",
            from_environment("LEAT_TEST_ZIG"), prefix(), source, prefix(), prefix(), binary));
        session = text("%s && %s", session, binary);
        count++;
    }
    CHECK_EQ(count, 4);
    run(text("leat run -- sh -c '%s'", session));
}

TEST(session_of_leat_1_runs)
{
    const char *at = page("leat.1"), *example;
    const char *session = "";
    int count = 0;
    while ((example = next_example(&at))) {
        for (const char *line = example; *line; line = strchr(line, '\n') + 1) {
            if (strncmp(line, "$ ", 2) != 0)
                continue;
            session = text("%s%.*s\n", session, (int)strcspn(line + 2, "\n"), line + 2);
            count++;
        }
    }
    CHECK(count >= 15);
    run_session(session);
}

TEST(example_of_leat_7_runs)
{
    const char *at = page("leat.7"), *example = next_example(&at);
    CHECK(example && strncmp(example, "$ ", 2) == 0);
    use_installed_leat();
    write_file(text("%s/session", test_dir()), example + 2);
    run(text("sh -ex %s/session", test_dir()));
}
