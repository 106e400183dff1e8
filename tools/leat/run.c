/* leat run: a bus for the life of one command, as dbus-run-session does it.
 *
 *     leat run --+-- leatd      a session of its own; ends in good order when the pipe is at its end whose read end it
 *                |              has (--die-with-fd) and whose only write end is ours: so it ends however we end
 *                +-- COMMAND    in our process group, so that the terminal is its own; LEAT_BUS names the bus
 *
 * leatd is several processes, and one that was killed is replaced by another, so its pid says little. All of them have the
 * same stdout: the bus has ended when that is at its end.
 *
 * Everything that happens here is a readable descriptor: signals (SIGCHLD too) come through a signalfd, leatd's words
 * through pipes. Signals are blocked from the start and stay so, except in the children.
 */
#include "cli.h"
#include "options.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { READY_MS = 30000, STOP_MS = 10000, SAID_SIZE = 4096 };

struct run {
    const struct cli *cli;
    char **argv; /* the command */
    bool verbose;
    char directory[PATH_MAX];
    sigset_t signals, signals_before;
    int signal_fd;
    int life;             /* write end: leatd lives as long as this is open */
    int out;              /* leatd's stdout and stderr; -1: at its end, and of out: the bus has ended */
    int err;              /* -1 too when it goes straight to our own stderr */
    pid_t leatd, command; /* command: 0 when not started, or gone */
    int command_status;
    bool ready;
    int told_to_stop;                              /* the signal that came before there was a command */
    char out_text[SAID_SIZE], err_text[SAID_SIZE]; /* the last that it said */
    size_t out_size, err_size;
};

/* ---- the directory ---- */

/* $XDG_RUNTIME_DIR is ours alone, and in memory; a socket's path has to fit in 108 bytes. */
static int make_directory(struct run *run)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    if (base && *base == '/' && strlen(base) <= 64) {
        snprintf(run->directory, sizeof run->directory, "%s/leat-run-XXXXXX", base);
        if (mkdtemp(run->directory))
            return 0;
    }
    strcpy(run->directory, "/tmp/leat-run-XXXXXX");
    if (mkdtemp(run->directory))
        return 0;
    return cli_fail(run->cli, "cannot make %s: %s", run->directory, strerror(errno));
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    remove(path);
    return 0;
}

static void remove_directory(const struct run *run)
{
    nftw(run->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* ---- children ---- */

/* leatd beside this program, else on PATH. */
static void exec_leatd(const struct run *run, int life_read)
{
    char path[PATH_MAX], number[16];
    snprintf(number, sizeof number, "%d", life_read);
    const char *const argv[] = { "leatd", "--bus", run->directory, "--die-with-fd", number, NULL };
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - sizeof "leatd");
    char *slash = size > 0 ? memrchr(path, '/', (size_t)size) : NULL;
    if (slash) {
        strcpy(slash + 1, "leatd");
        execv(path, (char *const *)argv);
    }
    if (!slash || errno == ENOENT)
        execvp("leatd", (char *const *)argv);
    dprintf(STDERR_FILENO, "leatd cannot be run: %s\n", strerror(errno));
}

/* Copies of our own descriptors 0 to 2 may be missing; then pipes could take their numbers. */
static int start_leatd(struct run *run)
{
    int life[2], out[2], err[2];
    if (pipe2(life, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
        return cli_fail(run->cli, "cannot make a pipe: %s", strerror(errno));
    run->leatd = fork();
    if (run->leatd < 0)
        return cli_fail(run->cli, "cannot fork: %s", strerror(errno));
    if (run->leatd == 0) {
        setsid(); /* what the terminal sends its foreground is not for leatd */
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(null, STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        if (!run->verbose)
            dup2(err[1], STDERR_FILENO);
        fcntl(life[0], F_SETFD, 0);
        sigprocmask(SIG_SETMASK, &run->signals_before, NULL);
        exec_leatd(run, life[0]);
        _exit(127);
    }
    close(life[0]);
    close(out[1]);
    close(err[1]);
    run->life = life[1];
    run->out = out[0];
    run->err = err[0];
    return CLI_DONE;
}

static int start_command(struct run *run)
{
    setenv("LEAT_BUS", run->directory, 1);
    run->command = fork();
    if (run->command < 0)
        return cli_fail(run->cli, "cannot fork: %s", strerror(errno));
    if (run->command > 0)
        return CLI_DONE;
    sigprocmask(SIG_SETMASK, &run->signals_before, NULL);
    execvp(run->argv[0], run->argv);
    cli_fail(run->cli, "%s: %s", run->argv[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

/* ---- what happens ---- */

/* Keeps the last of what was said: a full buffer loses its first half. Nobody may block on a pipe that we hold. */
static void hear(int *fd, char *text, size_t *size)
{
    if (*size > SAID_SIZE / 2) {
        memmove(text, text + SAID_SIZE / 4, *size - SAID_SIZE / 4);
        *size -= SAID_SIZE / 4;
    }
    ssize_t got = read(*fd, text + *size, SAID_SIZE - 1 - *size);
    if (got > 0) {
        *size += (size_t)got;
    } else if (got == 0 || errno != EINTR) {
        close(*fd);
        *fd = -1;
    }
    text[*size] = 0;
}

static void reap(struct run *run)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid == run->command) {
            run->command = 0;
            run->command_status = status;
        }
    }
}

/* A signal from the terminal went to the whole foreground: the command has it already. */
static void take_signal(struct run *run)
{
    struct signalfd_siginfo info;
    if (read(run->signal_fd, &info, sizeof info) != sizeof info)
        return;
    if (info.ssi_signo == SIGCHLD)
        reap(run);
    else if (!run->command)
        run->told_to_stop = (int)info.ssi_signo;
    else if (info.ssi_code != SI_KERNEL)
        kill(run->command, (int)info.ssi_signo);
}

/* Waits for something and takes it in. False: nothing came in time. */
static bool step(struct run *run, int timeout_ms)
{
    struct pollfd fds[] = {
        { .fd = run->signal_fd, .events = POLLIN },
        { .fd = run->out, .events = POLLIN }, /* a negative one is passed over */
        { .fd = run->err, .events = POLLIN },
    };
    int r = poll(fds, 3, timeout_ms);
    if (r <= 0)
        return r < 0 && errno == EINTR;
    if (fds[1].revents)
        hear(&run->out, run->out_text, &run->out_size);
    if (fds[2].revents)
        hear(&run->err, run->err_text, &run->err_size);
    if (fds[0].revents)
        take_signal(run);
    run->ready |= strncmp(run->out_text, "leatd: ready", 12) == 0 || strstr(run->out_text, "\nleatd: ready");
    return true;
}

/* ---- the story ---- */

static int await_ready(struct run *run)
{
    bool in_time = true;
    while (!run->ready && !run->told_to_stop && run->out >= 0 && in_time)
        in_time = step(run, READY_MS);
    if (run->ready)
        return CLI_DONE;
    if (run->told_to_stop)
        return CLI_FAILED;
    while (run->out < 0 && run->err >= 0 && step(run, 1000)) /* its last words */
        ;
    fwrite(run->err_text, 1, run->err_size, stderr);
    if (run->out >= 0)
        return cli_fail(run->cli, "leatd is not ready after %d s", READY_MS / 1000);
    return cli_fail(run->cli, "leatd did not start");
}

static void tell_of_end(const struct run *run)
{
    fwrite(run->err_text, 1, run->err_size, stderr);
    cli_fail(run->cli, "leatd ended, and the bus with it");
}

/* A bus that ends under its command is worth a line, but the command decides what becomes of it. */
static void await_command(struct run *run)
{
    bool told = false;
    while (run->command) {
        step(run, -1);
        if (run->out < 0 && !told) {
            tell_of_end(run);
            told = true;
        }
    }
    step(run, 0); /* the end of both may have come at once */
    if (run->out < 0 && !told)
        tell_of_end(run);
}

/* The pipe's end, and SIGKILL for the case that nobody takes that. */
static void stop_leatd(struct run *run)
{
    bool in_time = true;
    close(run->life);
    while (run->out >= 0 && in_time)
        in_time = step(run, STOP_MS);
    if (run->out >= 0)
        kill(-run->leatd, SIGKILL);
}

static int run_it(struct run *run)
{
    int status = start_leatd(run);
    if (status == CLI_DONE) {
        status = await_ready(run);
        if (status == CLI_DONE)
            status = start_command(run);
        if (status == CLI_DONE)
            await_command(run);
        stop_leatd(run);
    }
    if (status != CLI_DONE)
        return run->told_to_stop ? 128 + run->told_to_stop : status;
    if (WIFSIGNALED(run->command_status))
        return 128 + WTERMSIG(run->command_status);
    return WEXITSTATUS(run->command_status);
}

static void read_options(struct run *run, struct cli *cli, int argc, char **argv)
{
    enum { OPT_VERBOSE = 1000 };
    static const struct option longs[] = {
        { "verbose", no_argument, NULL, OPT_VERBOSE },
        OPTIONS_COMMON,
    };
    for (int c; (c = options_next(cli, argc, argv, "+", longs)) >= 0;)
        run->verbose |= c == OPT_VERBOSE;
    if (optind == argc)
        cli_misused(cli, "which command?");
    if (cli->bus)
        cli_misused(cli, "--bus: the bus of `run` is a new one, and its own");
    run->argv = argv + optind;
}

int run_main(struct cli *cli, int argc, char **argv)
{
    static struct run run = { .out = -1, .err = -1 };
    run.cli = cli;
    read_options(&run, cli, argc, argv);
    signal(SIGCHLD, SIG_DFL); /* ignored by who started us, it would swallow exit statuses */
    sigemptyset(&run.signals);
    static const int signals[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT };
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaddset(&run.signals, signals[i]);
    sigprocmask(SIG_BLOCK, &run.signals, &run.signals_before);
    run.signal_fd = signalfd(-1, &run.signals, SFD_CLOEXEC);
    if (run.signal_fd < 0)
        return cli_fail(cli, "signalfd: %s", strerror(errno));
    int status = make_directory(&run);
    if (status != CLI_DONE)
        return status;
    status = run_it(&run);
    remove_directory(&run);
    return status;
}
