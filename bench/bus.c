/*
 * A private bus: a leatd of our own in a temporary directory, for one case. It is the leatd that
 * LEAT_BENCH_LEATD names, else the one beside this program, where the build puts it; never one that happens
 * to be installed.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READY_MS 10000
#define STOP_MS 5000

struct bench_bus {
    pid_t pid;
    int out; /* leatd's stdout: kept open, or a later line of its would be a SIGPIPE */
    char directory[64];
    char log[96];
};

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

_Noreturn static void exec_leatd(const struct bench_bus *bus, const char *leatd, int out, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int log = open(bus->log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    if (getppid() != parent || log < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
        _exit(126);
    execl(leatd, leatd, "--bus", bus->directory, (char *)NULL);
    dprintf(STDERR_FILENO, "%s: %s\n", leatd, strerror(errno));
    _exit(127);
}

/* Waits for the line "leatd: ready". */
static int await_ready(struct bench_bus *bus)
{
    char text[1024];
    size_t have = 0;
    for (;;) {
        struct pollfd ready = { .fd = bus->out, .events = POLLIN };
        int r = poll(&ready, 1, READY_MS);
        if (r < 0 && errno == EINTR)
            continue;
        ssize_t got = r <= 0 ? 0 : read(bus->out, text + have, sizeof text - 1 - have);
        if (got <= 0)
            return -1;
        have += (size_t)got;
        text[have] = 0;
        if (strstr(text, "leatd: ready"))
            return 0;
        if (have == sizeof text - 1)
            have = 0;
    }
}

static void last_line(const char *path, char *line, size_t size)
{
    char next[256];
    snprintf(line, size, "nothing in its log");
    FILE *log = fopen(path, "re");
    while (log && fgets(next, sizeof next, log)) {
        next[strcspn(next, "\n")] = 0;
        snprintf(line, size, "%.150s", next);
    }
    if (log)
        fclose(log);
}

void bench_remove_tree(const char *path)
{
    nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* Both paths have room for `size` bytes. Negative when /proc does not say where we are. */
int bench_where(char *program, char *leatd, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", program, size - 1);
    if (n <= 0)
        return -errno;
    program[n] = 0;
    const char *named = getenv("LEAT_BENCH_LEATD"), *slash = strrchr(program, '/');
    char resolved[PATH_MAX];
    /* Whoever asks `where` may stand in another directory. */
    if (named && *named)
        snprintf(leatd, size, "%s", realpath(named, resolved) ? resolved : named);
    else
        snprintf(leatd, size, "%.*s/leatd", (int)(slash - program), program);
    return 0;
}

int bench_bus_start(struct bench_bus **out, char *error, size_t error_size)
{
    char program[4096], leatd[4096];
    const char *tmp = getenv("TMPDIR");
    int ends[2];
    if (bench_where(program, leatd, sizeof leatd) != 0 || access(leatd, X_OK) != 0) {
        snprintf(error, error_size, "no leatd: set LEAT_BENCH_LEATD, or run `tools/zig build bench -- ...`");
        return -1;
    }
    struct bench_bus *bus = calloc(1, sizeof *bus);
    if (!bus)
        return -1;
    /* A socket lives in there, and its path has room for 107 bytes: a long TMPDIR is passed over. */
    snprintf(bus->directory, sizeof bus->directory, "%s/leat-bench-XXXXXX",
             tmp && strlen(tmp) < 32 ? tmp : "/tmp");
    if (!mkdtemp(bus->directory) || pipe2(ends, O_CLOEXEC) != 0) {
        snprintf(error, error_size, "%s: %s", bus->directory, strerror(errno));
        free(bus);
        return -1;
    }
    snprintf(bus->log, sizeof bus->log, "%s/bench.log", bus->directory);
    pid_t parent = getpid();
    fflush(NULL);
    bus->pid = fork();
    if (bus->pid == 0)
        exec_leatd(bus, leatd, ends[1], parent);
    close(ends[1]);
    bus->out = ends[0];
    if (bus->pid < 0 || await_ready(bus) != 0) {
        char why[160];
        last_line(bus->log, why, sizeof why);
        snprintf(error, error_size, "leatd did not get ready: %s", why);
        bench_bus_stop(bus);
        return -1;
    }
    *out = bus;
    return 0;
}

const char *bench_bus_path(const struct bench_bus *bus)
{
    return bus->directory;
}

int bench_bus_pid(const struct bench_bus *bus)
{
    return bus->pid;
}

void bench_bus_stop(struct bench_bus *bus)
{
    if (!bus)
        return;
    struct timespec nap = { .tv_nsec = 1000 * 1000 };
    bool gone = bus->pid <= 0;
    if (!gone)
        kill(bus->pid, SIGTERM);
    for (int ms = 0; !gone && ms < STOP_MS; ms++) {
        gone = waitpid(bus->pid, NULL, WNOHANG) != 0;
        if (!gone)
            nanosleep(&nap, NULL);
    }
    if (!gone) {
        fprintf(stderr, "bench: leatd %d did not stop on SIGTERM within %d ms; killed\n", (int)bus->pid,
                STOP_MS);
        kill(bus->pid, SIGKILL);
        waitpid(bus->pid, NULL, 0);
    }
    close(bus->out);
    bench_remove_tree(bus->directory);
    free(bus);
}
