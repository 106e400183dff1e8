/* The harness of test.h: runs the tests of one program, each in a child of its own.
 *
 *     PROGRAM [--list] [--only NAME] [--match PART]... [--seed N]
 *     PROGRAM --role NAME SEED [ARGUMENT]...
 *
 * Prints a line a test and at the end `N passed, N failed, N skipped`; exits 1 when one failed.
 *
 * The parent is a subreaper: what a test starts and abandons, even in another session, becomes its child, and
 * it kills and reaps until it has no children left. So nothing outlives a test but what escaped to PID 1 before
 * this program was started.
 */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_SKIP = 77, MATCH_MAX = 16 };

enum outcome { PASSED, FAILED, SKIPPED };

static struct test_case *first_test;
static struct test_case **next_place = &first_test;
static struct test_role *first_role;
static const char *const *role_arguments;

static const char *program_path;
static uint64_t run_seed;
static uint64_t random_state;
static char directory[64];
static int slowdown = 1;

/* Constructors of one file run in the order they are written; of several, in link order. */
void test_register(struct test_case *test)
{
    *next_place = test;
    next_place = &test->next;
}

void test_register_role(struct test_role *role)
{
    role->next = first_role;
    first_role = role;
}

/* ---- called from tests ---- */

const char *const *test_role_arguments(void)
{
    return role_arguments;
}

uint64_t test_seed(void)
{
    return run_seed;
}

/* splitmix64: every seed gives a full-period stream. */
uint64_t test_random(void)
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

const char *test_dir(void)
{
    return directory;
}

bool test_long(void)
{
    const char *value = getenv("LEAT_TEST_LONG");
    return value && *value && strcmp(value, "0") != 0;
}

int test_slowdown(void)
{
    return slowdown;
}

/* One write, so that lines of several failing processes do not mix. _exit: the failing process may hold any
 * lock, and its exit handlers have nothing to say any more. */
void test_fail(const char *file, int line, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    dprintf(STDOUT_FILENO, "%s:%d: %s\n", file, line, text);
    _exit(1);
}

void test_skip(const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    dprintf(STDOUT_FILENO, "  because %s\n", text);
    _exit(EXIT_SKIP);
}

static const char *print_wide(char *text, size_t size, struct test_wide value)
{
    if (value.negative)
        snprintf(text, size, "%" PRId64, (int64_t)value.bits);
    else
        snprintf(text, size, "%" PRIu64 " (0x%" PRIx64 ")", value.bits, value.bits);
    return text;
}

void test_check_eq(const char *file, int line, const char *what, struct test_wide got,
                   struct test_wide wanted)
{
    char a[64], b[64];
    if (got.negative == wanted.negative && got.bits == wanted.bits)
        return;
    test_fail(file, line, "%s is %s, wanted %s", what, print_wide(a, sizeof a, got),
              print_wide(b, sizeof b, wanted));
}

void test_check_str(const char *file, int line, const char *what, const char *got, const char *wanted)
{
    if (got == wanted || (got && wanted && strcmp(got, wanted) == 0))
        return;
    test_fail(file, line, "%s is \"%s\", wanted \"%s\"", what, got ? got : "(null)",
              wanted ? wanted : "(null)");
}

void test_check_mem(const char *file, int line, const char *what, const void *got, const void *wanted,
                    size_t size_bytes)
{
    const unsigned char *a = got, *b = wanted;
    for (size_t i = 0; i < size_bytes; i++)
        if (a[i] != b[i])
            test_fail(file, line, "%s: byte %zu of %zu is 0x%02x, wanted 0x%02x", what, i, size_bytes, a[i],
                      b[i]);
}

/* ---- one test ---- */

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    remove(path);
    return 0;
}

/* A test may have taken its own write permission away; we can still give it back. */
static int open_directory(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)walk;
    if (kind == FTW_D || kind == FTW_DNR)
        chmod(path, st->st_mode | 0700);
    return 0;
}

static void make_directory(void)
{
    const char *base = getenv("TMPDIR");
    if (!base || strlen(base) > 30)
        base = "/tmp";
    snprintf(directory, sizeof directory, "%s/leat-test-XXXXXX", base);
    if (!mkdtemp(directory)) {
        dprintf(STDOUT_FILENO, "cannot make %s: %s\n", directory, strerror(errno));
        exit(1);
    }
}

static void remove_directory(void)
{
    nftw(directory, open_directory, 16, FTW_PHYS);
    nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static pid_t parent_of(const char *pid)
{
    char path[300], text[512];
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0)
        return -1;
    text[size] = 0;
    const char *end = strrchr(text, ')'); /* the name may hold anything, so count from its end */
    int parent = -1;
    if (!end || sscanf(end + 1, " %*c %d", &parent) != 1)
        return -1;
    return parent;
}

static void kill_children(void)
{
    DIR *proc = opendir("/proc");
    if (!proc)
        return;
    pid_t self = getpid();
    for (struct dirent *entry; (entry = readdir(proc));) {
        char *end;
        long pid = strtol(entry->d_name, &end, 10);
        if (*end == 0 && pid > 1 && parent_of(entry->d_name) == self)
            kill((pid_t)pid, SIGKILL);
    }
    closedir(proc);
}

/* Ends only when there is nobody left: each death can hand us the children of the dead. */
static void reap_everybody(pid_t group)
{
    kill(-group, SIGKILL);
    kill_children();
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        kill_children();
}

static uint64_t hash_name(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return hash;
}

__attribute__((noreturn)) static void run_in_child(const struct test_case *test, pid_t parent)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before the line above */
        _exit(1);
    random_state = run_seed ^ hash_name(test->name);
    test->run();
    exit(0); /* with exit handlers: leak and race reports are written there */
}

static enum outcome judge(const struct test_case *test, bool ended, int limit_seconds, int status)
{
    if (!ended) {
        printf("still running after %d s, killed\n", limit_seconds);
        return FAILED;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return PASSED;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP)
        return SKIPPED;
    if (WIFSIGNALED(status))
        printf("%s: killed by signal %d (%s)\n", test->file, WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 1)
        printf("%s: exit status %d\n", test->file, WEXITSTATUS(status));
    return FAILED;
}

static enum outcome run_test(const struct test_case *test)
{
    int limit_seconds = test->limit_seconds * slowdown;
    pid_t self = getpid();
    make_directory();
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        printf("fork: %s\n", strerror(errno));
        remove_directory();
        return FAILED;
    }
    if (pid == 0)
        run_in_child(test, self);
    setpgid(pid, pid); /* here too: whoever comes first */

    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        printf("pidfd_open: %s\n", strerror(errno));
        reap_everybody(pid);
        remove_directory();
        return FAILED;
    }
    struct pollfd wait_for = { .fd = pidfd, .events = POLLIN };
    double deadline = now_seconds() + limit_seconds;
    int ready;
    do {
        double left = deadline - now_seconds();
        ready = poll(&wait_for, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
    } while (ready < 0 && errno == EINTR);
    close(pidfd);

    int status = 0;
    if (ready == 1)
        waitpid(pid, &status, 0);
    reap_everybody(pid);
    remove_directory();
    return judge(test, ready == 1, limit_seconds, status);
}

/* ---- the program ---- */

struct wish {
    bool list;
    const char *only;
    const char *match[MATCH_MAX];
    int match_count;
};

static bool wanted(const struct test_case *test, const struct wish *wish)
{
    if (wish->only)
        return strcmp(test->name, wish->only) == 0;
    if (wish->match_count == 0)
        return true;
    for (int i = 0; i < wish->match_count; i++)
        if (strstr(test->name, wish->match[i]))
            return true;
    return false;
}

static void usage(void)
{
    fprintf(stderr, "usage: %s [--list] [--only NAME] [--match PART]... [--seed N]\n", program_path);
    exit(2);
}

static struct wish read_arguments(int argc, char **argv)
{
    struct wish wish = { 0 };
    for (int i = 1; i < argc; i++) {
        bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--list") == 0)
            wish.list = true;
        else if (strcmp(argv[i], "--only") == 0 && has_value)
            wish.only = argv[++i];
        else if (strcmp(argv[i], "--match") == 0 && has_value && wish.match_count < MATCH_MAX)
            wish.match[wish.match_count++] = argv[++i];
        else if (strcmp(argv[i], "--seed") == 0 && has_value)
            run_seed = strtoull(argv[++i], NULL, 0);
        else
            usage();
    }
    return wish;
}

/* Under the build the whole command, since it hands us an environment; on our own just us. */
static void print_again(const struct test_case *test)
{
    const char *again = getenv("LEAT_TEST_AGAIN");
    if (again)
        printf("     again: %s %s --seed %" PRIu64 "\n", again, test->name, run_seed);
    else
        printf("     again: %s --only %s --seed %" PRIu64 "\n", program_path, test->name, run_seed);
}

static void report(const struct test_case *test, enum outcome outcome, double seconds)
{
    static const char *const words[] = { [PASSED] = "ok  ", [FAILED] = "FAIL", [SKIPPED] = "skip" };
    printf("%s %s (%.2f s)\n", words[outcome], test->name, seconds);
    if (outcome == FAILED)
        print_again(test);
}

static void read_slowdown(void)
{
    const char *slow = getenv("LEAT_TEST_SLOWDOWN");
    if (slow && atoi(slow) > 0)
        slowdown = atoi(slow);
}

/* Tests may drop privileges or hand paths to other processes, so the path that we print is the whole one. */
static const char *whole_path(const char *path)
{
    static char whole[4096];
    return realpath(path, whole) ? whole : path;
}

/* Another process of a test, executed by it. Its random numbers follow from the test's seed and its name. */
static int run_role(char **argv)
{
    for (const struct test_role *role = first_role; role; role = role->next) {
        if (strcmp(role->name, argv[0]) != 0)
            continue;
        run_seed = strtoull(argv[1], NULL, 0);
        random_state = run_seed ^ hash_name(role->name);
        role_arguments = (const char *const *)argv + 2;
        read_slowdown();
        role->run();
        return 0;
    }
    fprintf(stderr, "no role is named %s\n", argv[0]);
    return 2;
}

int main(int argc, char **argv)
{
    int count[3] = { 0 };
    if (argc >= 4 && strcmp(argv[1], "--role") == 0)
        return run_role(argv + 2);
    program_path = whole_path(argv[0]);
    if (getrandom(&run_seed, sizeof run_seed, 0) != sizeof run_seed)
        run_seed = (uint64_t)getpid();
    run_seed >>= 32; /* short enough to type */
    struct wish wish = read_arguments(argc, argv);

    read_slowdown();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    setvbuf(stdout, NULL, _IOLBF, 0);

    for (const struct test_case *test = first_test; test; test = test->next) {
        if (!wanted(test, &wish))
            continue;
        if (wish.list) {
            puts(test->name);
            continue;
        }
        double start = now_seconds();
        bool run = !test->only_long || test_long() || wish.only;
        if (!run)
            puts("  because it is long; `zig build test:long` runs it");
        enum outcome outcome = run ? run_test(test) : SKIPPED;
        count[outcome]++;
        report(test, outcome, now_seconds() - start);
    }
    if (wish.list)
        return 0;
    if (wish.only && count[PASSED] + count[FAILED] + count[SKIPPED] == 0) {
        fprintf(stderr, "no test is named %s\n", wish.only);
        return 2;
    }
    printf("%d passed, %d failed, %d skipped\n", count[PASSED], count[FAILED], count[SKIPPED]);
    return count[FAILED] != 0;
}
