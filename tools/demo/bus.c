/* bus: see bus.h.
 *
 * leatd holds the read end of a pipe whose only write end is ours (--die-with-fd): however we end, it ends too. What it
 * logs is shown when it fails.
 */
#include "bus.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READY_MS = 20000 };

static char bus_directory[128];
static pid_t leatd;
static int life = -1, out = -1;

/* The one that LEAT_DEMO_LEATD names, else the one beside this program, else the one on PATH. */
static void exec_leatd(const char *life_read)
{
    const char *const argv[] = { "leatd", "--bus", bus_directory, "--die-with-fd", life_read, NULL };
    const char *named = getenv("LEAT_DEMO_LEATD");
    char path[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - sizeof "leatd");
    char *slash = size > 0 ? memrchr(path, '/', (size_t)size) : NULL;
    if (slash)
        strcpy(slash + 1, "leatd");
    if (named)
        execv(named, (char *const *)argv);
    else if (slash)
        execv(path, (char *const *)argv);
    if (!named)
        execvp("leatd", (char *const *)argv);
    fprintf(stderr, "demo: cannot run %s: %s\n", named ? named : "leatd", strerror(errno));
}

/* In memory where that can be had, as a bus is: so that a disk that is busy with something else shows in nothing that the
 * demo measures. */
static bool make_directory(void)
{
    const char *bases[] = { getenv("XDG_RUNTIME_DIR"), "/dev/shm", "/tmp" };
    enum { BASES = sizeof bases / sizeof bases[0] };
    for (int i = 0; i < BASES; i++) {
        const char *base = bases[i];
        if (!base || *base != '/' || strlen(base) > 64)
            continue;
        snprintf(bus_directory, sizeof bus_directory, "%s/leat-demo-XXXXXX", base);
        if (mkdtemp(bus_directory))
            return true;
    }
    fprintf(stderr, "demo: cannot make %s: %s\n", bus_directory, strerror(errno));
    *bus_directory = 0;
    return false;
}

static const char *log_path(void)
{
    static char path[sizeof bus_directory + 16];
    snprintf(path, sizeof path, "%s/leatd.log", bus_directory);
    return path;
}

static void show_log(void)
{
    char text[4096];
    int log = open(log_path(), O_RDONLY | O_CLOEXEC);
    unlink(log_path()); /* once is enough */
    for (ssize_t size; log >= 0 && (size = read(log, text, sizeof text)) > 0;)
        fwrite(text, 1, (size_t)size, stderr);
    if (log >= 0)
        close(log);
}

static bool await_ready(void)
{
    char text[512];
    size_t size = 0;
    while (size < sizeof text - 1) {
        struct pollfd said = { .fd = out, .events = POLLIN };
        int r = poll(&said, 1, READY_MS);
        if (r < 0 && errno == EINTR)
            continue;
        ssize_t got = r > 0 ? read(out, text + size, sizeof text - 1 - size) : 0;
        if (got <= 0)
            break;
        size += (size_t)got;
        text[size] = 0;
        if (strstr(text, "leatd: ready"))
            return true;
    }
    show_log();
    fputs("demo: leatd is not ready\n", stderr);
    return false;
}

bool bus_start(char *directory, size_t directory_size)
{
    int life_pipe[2], out_pipe[2];
    if (!make_directory())
        return false;
    if (pipe2(life_pipe, O_CLOEXEC) < 0 || pipe2(out_pipe, O_CLOEXEC) < 0 || (leatd = fork()) < 0) {
        perror("demo");
        return false;
    }
    if (leatd == 0) {
        char number[16];
        snprintf(number, sizeof number, "%d", life_pipe[0]);
        setsid(); /* a Ctrl-C is for us, and we tell leatd */
        fcntl(life_pipe[0], F_SETFD, 0);
        dup2(out_pipe[1], STDOUT_FILENO);
        dup2(open(log_path(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600), STDERR_FILENO);
        exec_leatd(number);
        _exit(127);
    }
    close(life_pipe[0]);
    close(out_pipe[1]);
    life = life_pipe[1];
    out = out_pipe[0];
    snprintf(directory, directory_size, "%s", bus_directory);
    return await_ready();
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    remove(path);
    return 0;
}

bool bus_stop(void)
{
    int status = -1;
    if (leatd > 0) {
        kill(leatd, SIGTERM);
        while (waitpid(leatd, &status, 0) < 0 && errno == EINTR)
            ;
    }
    close(life);
    bool clean = leatd > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (leatd > 0 && !clean)
        show_log();
    if (*bus_directory)
        nftw(bus_directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    return clean;
}
