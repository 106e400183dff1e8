/* The story: see story.h. The parent's part of it; readers and producers are child processes. */
#include "story.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_S = 120, DRAIN_MS = 20000 };

struct child {
    pid_t pid; /* 0: none */
    int heard; /* what it tells us */
};

static struct board *board;
static struct input *input;
static struct child readers[PARTITIONS];
static struct child writer;
static volatile sig_atomic_t interrupted;
static int64_t begin_ns;

/* ---- telling ---- */

/* One line, as it happens, with the seconds since the start. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("%7.3f  ", (double)(now_ns() - begin_ns) / 1e9);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

struct grouped grouped(uint64_t n)
{
    char plain[32];
    struct grouped out;
    size_t size = (size_t)snprintf(plain, sizeof plain, "%" PRIu64, n), to = 0;
    for (size_t i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            out.text[to++] = ',';
        out.text[to++] = plain[i];
    }
    out.text[to] = 0;
    return out;
}

/* ---- children ---- */

static void on_signal(int sig)
{
    interrupted = sig;
}

static void look_again_soon(void)
{
    struct timespec pause = { 0, 100000 };
    nanosleep(&pause, NULL);
}

/* Returns 0 in the child. Children die with us, and take signals as any program does. */
static pid_t spawn(struct child *child, int *tell_fd)
{
    int fds[2];
    pid_t parent = getpid();
    fflush(NULL);
    if (pipe2(fds, O_CLOEXEC) < 0 || (child->pid = fork()) < 0) {
        perror("demo");
        exit(1);
    }
    if (child->pid > 0) {
        close(fds[1]);
        child->heard = fds[0];
        return child->pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    signal(SIGINT, SIG_IGN); /* the parent has it too, and decides */
    signal(SIGTERM, SIG_DFL);
    close(fds[0]);
    *tell_fd = fds[1];
    return 0;
}

/* What a child has to tell. False: it ended before. */
static bool hear(struct child *child, uint64_t *number)
{
    ssize_t got;
    do
        got = read(child->heard, number, sizeof *number);
    while (got < 0 && errno == EINTR && !interrupted);
    return got == sizeof *number;
}

/* Its wait status. */
static int await(struct child *child)
{
    int status = -1;
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
        if (interrupted)
            kill(child->pid, SIGKILL);
    close(child->heard);
    child->pid = 0;
    return status;
}

static void end_children(void)
{
    struct child *all[PARTITIONS + 1] = { &writer };
    for (int i = 0; i < PARTITIONS; i++)
        all[i + 1] = &readers[i];
    for (int i = 0; i < PARTITIONS + 1; i++) {
        if (all[i]->pid <= 0)
            continue;
        kill(all[i]->pid, SIGKILL);
        await(all[i]);
    }
}

static bool start_readers(void)
{
    int tell_fd;
    uint64_t number;
    for (int i = 0; i < PARTITIONS; i++)
        if (spawn(&readers[i], &tell_fd) == 0)
            exit(reader_main(board, input, (uint32_t)i, tell_fd));
    for (int i = 0; i < PARTITIONS; i++)
        if (!hear(&readers[i], &number))
            return false;
    say("readers %d, %d and %d: a process for each partition; nothing is overwritten before it was read",
        readers[0].pid, readers[1].pid, readers[2].pid);
    return true;
}

/* A producer process that sends up to record `to`. */
static bool start_writer(uint64_t to, pid_t predecessor)
{
    int tell_fd;
    uint64_t next;
    if (spawn(&writer, &tell_fd) == 0)
        exit(writer_main(board, input, to, predecessor, tell_fd));
    if (!hear(&writer, &next))
        return false;
    if (next == 0)
        say("producer %d starts with record 1", writer.pid);
    else
        say("producer %d finds record %s to be the last in the bus, and goes on with %s", writer.pid,
            grouped(next).text, grouped(next + 1).text);
    return true;
}

static bool stop_readers(void)
{
    bool clean = true;
    for (int i = 0; i < PARTITIONS; i++)
        kill(readers[i].pid, SIGTERM);
    for (int i = 0; i < PARTITIONS; i++)
        clean &= await(&readers[i]) == 0;
    return clean;
}

/* ---- chapters ---- */

static bool make_topic(void)
{
    leat_bus *bus;
    leat_topic_info *info = NULL;
    leat_topic_options options = LEAT_TOPIC_OPTIONS;
    options.partitions = PARTITIONS;
    int r = leat_open(&bus, board->bus);
    if (r >= 0)
        r = leat_topic_create(bus, DEMO_TOPIC, &options);
    if (r >= 0)
        r = leat_topic_describe(bus, DEMO_TOPIC, &info);
    if (r < 0) {
        complain("topic", bus, r);
    } else {
        say("topic " DEMO_TOPIC ": %" PRIu32 " partitions, keyed by package, rings of %" PRIu64
            " MiB; %.1f MiB of memory in all",
            info->partition_count, info->ring_bytes >> 20, (double)info->memory_bytes / (1 << 20));
        leat_topic_info_free(info);
    }
    leat_close(bus); /* before we fork: a child has no use for our handles */
    return r >= 0;
}

static uint64_t random_below(uint64_t n)
{
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        random = (uint64_t)now_ns();
    return random % n;
}

/* Kills the producer a little after `target` records. False: it ended before that. */
static bool kill_writer_after(uint64_t target)
{
    pid_t pid = writer.pid;
    siginfo_t ended = { 0 };
    while (board->sent < target && !interrupted) {
        if (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) < 0 || ended.si_pid == pid)
            return false;
        look_again_soon();
    }
    kill(pid, SIGKILL);
    int status = await(&writer);
    if (interrupted || !WIFSIGNALED(status))
        return false;
    say("producer %d killed with -9 at record %s", pid, grouped(board->sent).text);
    return true;
}

static bool flood(int kills)
{
    int64_t flood_begin_ns = now_ns();
    uint64_t piece = board->flood / (uint64_t)(kills + 1);
    say("flood: %s records, a send each, as fast as they go", grouped(board->flood).text);
    if (!start_writer(board->flood, 0))
        return false;
    for (int i = 0; i < kills; i++) {
        pid_t killed = writer.pid;
        /* Somewhere in the middle half of its piece. */
        if (!kill_writer_after(piece * (uint64_t)i + piece / 4 + random_below(piece / 2 + 1))) {
            if (!interrupted)
                say("FAILED: producer %d ended before it could be killed", killed);
            return false;
        }
        if (!start_writer(board->flood, killed))
            return false;
    }
    pid_t pid = writer.pid;
    if (await(&writer) != 0)
        return false;
    say("producer %d has sent record %s; %.2f s since the first", pid, grouped(board->flood).text,
        (double)(now_ns() - flood_begin_ns) / 1e9);
    return true;
}

static uint64_t received(void)
{
    uint64_t sum = 0;
    for (int i = 0; i < PARTITIONS; i++)
        sum += board->results[i].received;
    return sum;
}

/* A pace shows how long a record takes only when no others wait in front of it. */
static bool pace(void)
{
    int64_t limit_ns = now_ns() + DRAIN_MS * INT64_C(1000000);
    while (received() < board->flood && now_ns() < limit_ns && !interrupted)
        look_again_soon();
    say("pace: %s records more, %.0f a second", grouped(board->total - board->flood).text, board->rate);
    return start_writer(board->total, 0) && await(&writer) == 0;
}

static bool chapters(int kills)
{
    pid_t leatd = bus_start(board->bus, sizeof board->bus);
    if (leatd < 0)
        return false;
    say("leatd %d: a private bus in %s", leatd, board->bus);
    if (!make_topic() || !start_readers() || !flood(kills) || !pace() || !stop_readers())
        return false;
    say("the readers have read to the end");
    return true;
}

bool story_tell(struct board *the_board, struct input *the_input, int kills)
{
    board = the_board;
    input = the_input;
    begin_ns = now_ns();
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    alarm(LIMIT_S);

    input_load(input);
    say("input: %s, %s lines about %s packages, over and over", input->source,
        grouped(input->line_count).text, grouped(input->key_count).text);
    bool told = chapters(kills);
    end_children();
    told &= bus_stop();
    if (interrupted == SIGALRM)
        say("FAILED: not done after %d s", LIMIT_S);
    else if (interrupted)
        say("interrupted");
    alarm(0);
    return told && !interrupted;
}
