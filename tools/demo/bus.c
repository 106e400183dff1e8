/* bus: see bus.h.
 *
 * leatd holds the read end of a pipe whose only write end is ours (--die-with-fd): however we end, it ends too. What it
 * logs is shown when it fails.
 */
#include "bus.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demo.h"

enum { READY_MS = 20000, TRIES = 20, PAUSE_NS = 100000000 };

static const char *bus_directory, *bus_log;
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

static void show_log(void)
{
    char text[4096];
    int log = open(bus_log, O_RDONLY | O_CLOEXEC);
    unlink(bus_log); /* once is enough */
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
    return false;
}

static bool start_once(void)
{
    int life_pipe[2], out_pipe[2];
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
        dup2(open(bus_log, O_CREAT | O_WRONLY | O_TRUNC | O_APPEND | O_CLOEXEC, 0600), STDERR_FILENO);
        exec_leatd(number);
        _exit(127);
    }
    close(life_pipe[0]);
    close(out_pipe[1]);
    life = life_pipe[1];
    out = out_pipe[0];
    return await_ready();
}

/* Whether it has ended well. */
static bool end(void)
{
    int status = -1;
    if (leatd <= 0)
        return false;
    kill(leatd, SIGTERM);
    while (waitpid(leatd, &status, 0) < 0 && errno == EINTR)
        ;
    close(life);
    close(out);
    leatd = 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool bus_start(const char *directory, const char *log)
{
    /* The leatd of a life that was killed this instant may take its time to be gone: it has memory to give back. */
    int tries = access(directory, F_OK) == 0 ? TRIES : 1;
    bus_directory = directory;
    bus_log = log;
    while (!start_once()) {
        end();
        if (--tries == 0) {
            show_log();
            fputs("demo: leatd is not ready\n", stderr);
            return false;
        }
        sleep_until(now_ns() + PAUSE_NS);
    }
    return true;
}

bool bus_stop(void)
{
    bool started = leatd > 0, clean = end();
    if (started && !clean)
        show_log();
    return clean;
}
