/* err and log: texts about failures. */
#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <leat.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "test.h"
#include "threads.h"

TEST(failure_returns_its_error_and_keeps_its_text)
{
    CHECK_EQ(lt_fail(LEAT_ENOPART, "%s: partition %u of %u", "orders", 7u, 4u), LEAT_ENOPART);
    CHECK_STR(lt_fail_text(), "orders: partition 7 of 4");
}

TEST(thread_that_never_failed_has_no_text)
{
    CHECK_STR(lt_fail_text(), "");
}

TEST(cleared_text_is_empty)
{
    lt_fail(LEAT_EINVAL, "something");
    lt_fail_clear();
    CHECK_STR(lt_fail_text(), "");
}

TEST(failure_can_carry_the_text_of_the_one_before)
{
    lt_fail(LEAT_EIO, "inner");
    lt_fail(LEAT_EIO, "outer: %s", lt_fail_text());
    CHECK_STR(lt_fail_text(), "outer: inner");
}

TEST(long_text_is_cut)
{
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    lt_fail(LEAT_EIO, "%s", text);
    CHECK_EQ(strlen(lt_fail_text()), 511);
}

static void *fail_elsewhere(void *argument)
{
    (void)argument;
    CHECK_STR(lt_fail_text(), "");
    lt_fail(LEAT_EIO, "elsewhere");
    return NULL;
}

TEST(each_thread_has_its_own_text)
{
    lt_fail(LEAT_EIO, "here");
    thread_join(thread_start(fail_elsewhere, NULL));
    CHECK_STR(lt_fail_text(), "here");
}

TEST(failed_system_call_says_which_and_why)
{
    CHECK_EQ(lt_fail_errno(EISDIR, "open %s", "/x"), LEAT_EIO);
    CHECK_STR(lt_fail_text(), "open /x: Is a directory (errno 21)");
}

TEST(errno_becomes_the_error_that_tells_what_to_do)
{
    CHECK_EQ(lt_fail_errno(ENOMEM, "x"), LEAT_ENOMEM);
    CHECK_EQ(lt_fail_errno(ENOSPC, "x"), LEAT_ENOMEM);
    CHECK_EQ(lt_fail_errno(EMFILE, "x"), LEAT_ELIMIT);
    CHECK_EQ(lt_fail_errno(ENFILE, "x"), LEAT_ELIMIT);
    CHECK_EQ(lt_fail_errno(EACCES, "x"), LEAT_EPERM);
    CHECK_EQ(lt_fail_errno(EPERM, "x"), LEAT_EPERM);
    CHECK_EQ(lt_fail_errno(EBADF, "x"), LEAT_EIO);
}

/* ---- log ---- */

static int log_end;

static void catch_log(void)
{
    int ends[2];
    CHECK_EQ(pipe2(ends, O_NONBLOCK), 0);
    CHECK_EQ(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    log_end = ends[0];
}

static const char *logged(void)
{
    static char text[4096];
    ssize_t size = read(log_end, text, sizeof text - 1);
    text[size > 0 ? size : 0] = 0;
    return text;
}

TEST(log_line_has_time_process_level_and_text)
{
    char pattern[200];
    regex_t regex;
    catch_log();
    lt_log(LT_LOG_INFO, "topic %s created", "orders");
    snprintf(
        pattern, sizeof pattern,
        "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z leatd\\[%d\\] info: topic orders created\n$",
        (int)getpid());
    CHECK_EQ(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    CHECK_EQ(regexec(&regex, logged(), 0, NULL, 0), 0);
    regfree(&regex);
}

TEST(log_shows_information_but_no_debugging_unless_told)
{
    catch_log();
    lt_log(LT_LOG_DEBUG, "x");
    CHECK_STR(logged(), "");
    lt_log_set_level(LT_LOG_DEBUG);
    lt_log(LT_LOG_DEBUG, "x");
    CHECK(strstr(logged(), " debug: x\n"));
    lt_log_set_level(LT_LOG_ERROR);
    lt_log(LT_LOG_WARN, "x");
    CHECK_STR(logged(), "");
}

TEST(nobody_can_fake_a_log_line)
{
    catch_log();
    lt_log(LT_LOG_INFO, "client says %s", "a\n2026-01-01T00:00:00.000Z leatd[1] error: b\033[2J");
    const char *text = logged();
    CHECK(strchr(text, '\n') == text + strlen(text) - 1);
    CHECK(!strchr(text, '\033'));
}

TEST(long_log_line_is_cut_and_still_ended)
{
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    catch_log();
    lt_log(LT_LOG_INFO, "%s", text);
    const char *line = logged();
    CHECK_EQ(strlen(line), 1024);
    CHECK(line[1023] == '\n');
}
