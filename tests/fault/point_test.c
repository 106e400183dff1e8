/* point: the kill points themselves, which every other test here trusts.
 *
 * Each test forks a child, gives it an environment and lets it pass points; what becomes of it is the result. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "test.h"
#include "threads.h"

/* Passes points a and b in turn, `passes` times each, and tells through the pipe how many it got behind. */
static pid_t start(const char *kill, const char *file, int passes, int *count_fd)
{
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        setenv("LEAT_KILL", kill, 1);
        if (file)
            setenv("LEAT_KILL_FILE", file, 1);
        for (int i = 0; i < passes; i++) {
            lt_point("test.a");
            CHECK_EQ(write(ends[1], "a", 1), 1);
            lt_point("test.b");
            CHECK_EQ(write(ends[1], "b", 1), 1);
        }
        _exit(0);
    }
    close(ends[1]);
    *count_fd = ends[0];
    return child;
}

/* What is behind the points that were passed. */
static const char *passed(int fd)
{
    static char text[256];
    ssize_t size = read(fd, text, sizeof text - 1);
    text[size > 0 ? size : 0] = 0;
    return text;
}

static int status_of(pid_t child)
{
    int status;
    CHECK_EQ(waitpid(child, &status, WUNTRACED), child);
    return status;
}

static void expect_killed_behind(const char *kill, const char *wanted)
{
    int fd, status = status_of(start(kill, NULL, 5, &fd));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK_STR(passed(fd), wanted);
}

static void expect_unharmed(const char *kill)
{
    int fd;
    CHECK_EQ(status_of(start(kill, NULL, 2, &fd)), 0);
    CHECK_STR(passed(fd), "abab");
}

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", test_dir(), name);
    return path;
}

TEST(process_dies_at_the_counted_pass)
{
    expect_killed_behind("test.a:3", "abab");
    expect_killed_behind("test.b:1:kill", "a");
}

TEST(first_of_several_entries_that_is_reached_kills)
{
    expect_killed_behind("test.a:4,test.b:2,test.c:1", "aba");
}

TEST(points_that_are_not_named_are_passed)
{
    expect_unharmed("");
    expect_unharmed("test.c:1");
    expect_unharmed("test:1");
    expect_unharmed("test.a.after:1");
    expect_unharmed("test.a:3");
}

TEST(process_stops_at_the_point_and_goes_on_behind_it)
{
    int fd;
    pid_t child = start("test.b:2:stop", NULL, 3, &fd);
    int status = status_of(child);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    CHECK_STR(passed(fd), "aba");
    kill(child, SIGCONT);
    CHECK_EQ(status_of(child), 0);
    CHECK_STR(passed(fd), "bab");
}

TEST(process_exits_at_the_point)
{
    int fd, status = status_of(start("test.b:2:exit", NULL, 3, &fd));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    CHECK_STR(passed(fd), "aba");
}

TEST(entry_that_cannot_be_read_is_not_taken_for_none)
{
    static const char *const bad[] = { "test.a",    "test.a:", "test.a:x",       "test.a:1:die",
                                       "test.a:1:", ":1",      "test.a:1:kill:2" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int fd, status = status_of(start(bad[i], NULL, 2, &fd));
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
        CHECK_STR(passed(fd), "");
    }
}

TEST(file_says_which_point_it_was)
{
    char text[100] = "";
    int fd;
    status_of(start("test.a:2", path_of("hit"), 3, &fd));
    FILE *file = fopen(path_of("hit"), "r");
    CHECK(file != NULL);
    CHECK(fgets(text, sizeof text, file) != NULL);
    CHECK_STR(text, "test.a:2:kill\n");
}

TEST(no_file_is_made_before_the_point)
{
    int fd;
    CHECK_EQ(status_of(start("test.a:9", path_of("hit"), 3, &fd)), 0);
    CHECK_EQ(access(path_of("hit"), F_OK), -1);
}

TEST(successor_with_the_same_file_passes_where_its_predecessor_died)
{
    int fd;
    CHECK(WIFSIGNALED(status_of(start("test.a:2,test.b:2", path_of("hit"), 2, &fd))));
    CHECK(WIFSIGNALED(status_of(start("test.a:2,test.b:2", path_of("hit"), 2, &fd))));
    CHECK_STR(passed(fd), "aba"); /* past the first entry, and killed by the second */
    CHECK_EQ(status_of(start("test.a:2,test.b:2", path_of("hit"), 2, &fd)), 0);
}

TEST(point_whose_name_ends_like_one_in_the_file_still_kills)
{
    int fd;
    FILE *file = fopen(path_of("hit"), "w");
    CHECK(fputs("other.test.a:2:kill\n", file) > 0);
    CHECK_EQ(fclose(file), 0);
    CHECK(WIFSIGNALED(status_of(start("test.a:2", path_of("hit"), 2, &fd))));
}

/* Threads pass one point together; exactly one of them is the counted one. */
static uint32_t passes;

static void *pass_many(void *argument)
{
    (void)argument;
    for (int i = 0; i < 10000; i++) {
        lt_point("test.many");
        lt_fetch_add32(&passes, 1);
    }
    return NULL;
}

static int status_of_threads(const char *kill)
{
    pid_t child = fork();
    if (child == 0) {
        setenv("LEAT_KILL", kill, 1);
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
            threads[i] = thread_start(pass_many, NULL);
        for (int i = 0; i < 4; i++)
            thread_join(threads[i]);
        _exit(0);
    }
    return status_of(child);
}

TEST(passes_of_all_threads_are_counted)
{
    CHECK(WIFSIGNALED(status_of_threads("test.many:40000")));
    CHECK_EQ(status_of_threads("test.many:40001"), 0);
}
