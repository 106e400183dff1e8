/* Runs test programs one after another and sums up: one line a program, the whole output of those that failed,
 * and at the end one line `N passed, N failed, N skipped` over all of them.
 *
 *     runner [--env=NAME=VALUE]... [--zig=PATH] [--jobs=N] [PROGRAM | --jobs=N]... [-- [FILTER]... [--seed N]]
 *
 * --env   set for the programs
 * --zig   before the first program, `PATH build install --prefix` into a directory of this run, which the
 *         programs find as LEAT_TEST_PREFIX
 * --jobs  how many of the programs that follow may run side by side
 * FILTER  part of a program's name, to run all of its tests, or of a test's name
 *
 * build.zig writes the part before `--`; what follows it was typed by somebody: `zig build test -- fence`.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PROGRAMS_MAX = 512, JOBS_MAX = 8, WORDS_MAX = 15 };

struct program {
    const char *path;
    int jobs;
};

struct job {
    pid_t pid; /* 0: free */
    const char *name;
    int output; /* an unlinked file: a pipe would need reading while we wait */
    double start;
};

struct total {
    int passed, failed, skipped;
};

static struct program programs[PROGRAMS_MAX];
static int program_count;
static const char *filters[WORDS_MAX];
static int filter_count;
static const char *seed;
static const char *zig;
static char prefix[64];

static struct job jobs[JOBS_MAX];
static int running;
static struct total total;

__attribute__((noreturn)) static void die(const char *what, const char *with)
{
    fprintf(stderr, "runner: %s %s: %s\n", what, with, strerror(errno));
    exit(2);
}

static double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int unlinked_file(void)
{
    char path[] = "/tmp/leat-runner-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        die("cannot make", path);
    unlink(path);
    return fd;
}

/* The child starts with an empty signal mask, dies with us, and writes to `output`. */
static pid_t spawn(char *const argv[], int output)
{
    fflush(NULL);
    pid_t self = getpid();
    pid_t pid = fork();
    if (pid < 0)
        die("cannot fork for", argv[0]);
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != self)
        _exit(127);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    execv(argv[0], argv);
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static void copy_out(int fd)
{
    char buffer[65536];
    lseek(fd, 0, SEEK_SET);
    for (ssize_t size; (size = read(fd, buffer, sizeof buffer)) > 0;)
        fwrite(buffer, 1, (size_t)size, stdout);
    fflush(stdout);
}

/* ---- the results of a program ---- */

/* The last line of the output, if it is the summary that test.c writes. */
static bool read_summary(int fd, struct total *sum)
{
    char tail[257];
    off_t size = lseek(fd, 0, SEEK_END);
    off_t from = size > 256 ? size - 256 : 0;
    ssize_t got = pread(fd, tail, sizeof tail - 1, from);
    if (got <= 0)
        return false;
    tail[got] = 0;
    if (tail[got - 1] == '\n')
        tail[got - 1] = 0;
    const char *line = strrchr(tail, '\n');
    line = line ? line + 1 : tail;
    return sscanf(line, "%d passed, %d failed, %d skipped", &sum->passed, &sum->failed, &sum->skipped) == 3;
}

static void finish(struct job *job, int status)
{
    struct total sum = { 0 };
    bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    bool counted = read_summary(job->output, &sum);
    if (!counted)
        sum = (struct total){ 0 };
    bool died = !counted || (!clean && sum.failed == 0);
    if (died) /* the program itself broke, whatever its tests did */
        sum.failed++;
    total.passed += sum.passed;
    total.failed += sum.failed;
    total.skipped += sum.skipped;

    if (sum.failed > 0) {
        printf("---- output of %s\n", job->name);
        copy_out(job->output);
        if (died && WIFSIGNALED(status))
            printf("killed by signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
        else if (died)
            printf("exit status %d, without a failed test\n", WEXITSTATUS(status));
        printf("----\n");
    }
    if (sum.passed + sum.failed + sum.skipped > 0) {
        printf("%s %-28s %3d passed", sum.failed ? "FAIL" : "ok  ", job->name, sum.passed);
        if (sum.failed)
            printf(", %d failed", sum.failed);
        if (sum.skipped)
            printf(", %d skipped", sum.skipped);
        printf(" (%.1f s)\n", now_seconds() - job->start);
    }
    fflush(stdout);
    close(job->output);
    job->pid = 0;
    running--;
}

static void wait_for_one(void)
{
    int status;
    pid_t pid = waitpid(-1, &status, 0);
    if (pid < 0 && errno != EINTR)
        die("lost", "a test program");
    for (int i = 0; i < JOBS_MAX; i++)
        if (pid > 0 && jobs[i].pid == pid)
            finish(&jobs[i], status);
}

/* ---- starting programs ---- */

static bool any_filter_names(const char *name)
{
    for (int i = 0; i < filter_count; i++)
        if (strstr(name, filters[i]))
            return true;
    return false;
}

static void start(const struct program *program)
{
    char *argv[2 * WORDS_MAX + 4];
    int argc = 0;
    const char *name = name_of(program->path);
    argv[argc++] = (char *)program->path;
    if (!any_filter_names(name)) {
        for (int i = 0; i < filter_count; i++) {
            argv[argc++] = (char *)"--match";
            argv[argc++] = (char *)filters[i];
        }
    }
    if (seed) {
        argv[argc++] = (char *)"--seed";
        argv[argc++] = (char *)seed;
    }
    argv[argc] = NULL;

    while (running >= program->jobs)
        wait_for_one();
    int place = 0;
    while (jobs[place].pid)
        place++;
    struct job *job = &jobs[place];
    job->name = name;
    job->start = now_seconds();
    job->output = unlinked_file();
    job->pid = spawn(argv, job->output);
    running++;
}

/* ---- the installed prefix ---- */

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    remove(path);
    return 0;
}

static void remove_prefix(void)
{
    if (*prefix)
        nftw(prefix, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void on_signal(int sig)
{
    remove_prefix(); /* nftw is not async-signal-safe; we are on the way out, and alone */
    signal(sig, SIG_DFL);
    raise(sig);
}

static void install(void)
{
    strcpy(prefix, "/tmp/leat-prefix-XXXXXX");
    if (!mkdtemp(prefix))
        die("cannot make", prefix);
    atexit(remove_prefix);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    char *argv[] = { (char *)zig, (char *)"build", (char *)"install", (char *)"--prefix", prefix, NULL };
    int output = unlinked_file(), status;
    pid_t pid = spawn(argv, output);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        copy_out(output);
        fprintf(stderr, "runner: `zig build install --prefix %s` failed\n", prefix);
        exit(2);
    }
    close(output);
    setenv("LEAT_TEST_PREFIX", prefix, 1);
    setenv("LEAT_TEST_ZIG", zig, 1);
}

/* ---- arguments ---- */

static bool starts_with(const char *text, const char *start, const char **rest)
{
    size_t size = strlen(start);
    *rest = text + size;
    return strncmp(text, start, size) == 0;
}

static void set_environment(const char *setting)
{
    char *name = strdup(setting);
    char *value = name ? strchr(name, '=') : NULL;
    if (!value) {
        errno = EINVAL;
        die("--env wants NAME=VALUE, not", setting);
    }
    *value++ = 0;
    /* Relative to the build's directory; tests may go elsewhere. */
    char *whole = strchr(value, '/') ? realpath(value, NULL) : NULL;
    setenv(name, whole ? whole : value, 1);
    free(whole);
    free(name);
}

static int read_jobs(const char *text)
{
    int n = atoi(text);
    return n < 1 ? 1 : n > JOBS_MAX ? JOBS_MAX : n;
}

static void read_typed(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            seed = argv[++i];
        } else if (argv[i][0] == '-' || filter_count == WORDS_MAX) {
            fprintf(stderr, "runner: cannot use '%s'; usage: -- [FILTER]... [--seed N]\n", argv[i]);
            exit(2);
        } else {
            filters[filter_count++] = argv[i];
        }
    }
}

static void read_arguments(int argc, char **argv)
{
    int next_jobs = 1;
    const char *rest;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            read_typed(argc - i - 1, argv + i + 1);
            return;
        }
        if (starts_with(argv[i], "--env=", &rest)) {
            set_environment(rest);
        } else if (starts_with(argv[i], "--zig=", &rest)) {
            zig = rest;
        } else if (starts_with(argv[i], "--jobs=", &rest)) {
            next_jobs = read_jobs(rest);
        } else if (program_count < PROGRAMS_MAX) {
            programs[program_count++] = (struct program){ argv[i], next_jobs };
        } else {
            errno = E2BIG;
            die("too many programs at", argv[i]);
        }
    }
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    read_arguments(argc, argv);
    if (zig)
        install();
    for (int i = 0; i < program_count; i++)
        start(&programs[i]);
    while (running > 0)
        wait_for_one();
    if (filter_count > 0 && total.passed + total.failed + total.skipped == 0) {
        fprintf(stderr, "runner: no test or program has '%s' in its name\n", filters[0]);
        total.failed = 1;
    }
    printf("%d passed, %d failed, %d skipped\n", total.passed, total.failed, total.skipped);
    return total.failed != 0;
}
