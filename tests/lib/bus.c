/* bus: see bus.h. */
#include "bus.h"

#include "base/atomic.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_SECONDS = 30, MESSAGE_MAX = 4096, CHANNEL_FD = 3 };

extern char **environ;

/* ---- small things ---- */

double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

const char *text(const char *format, ...)
{
    char *result;
    va_list args;
    va_start(args, format);
    if (vasprintf(&result, format, args) < 0)
        FAIL("out of memory");
    va_end(args);
    return result;
}

void bus_pause(void)
{
    poll(NULL, 0, 1);
}

const char *test_program(const char *variable)
{
    const char *path = getenv(variable);
    if (!path)
        SKIP("%s is not set; `tools/zig build test` sets it", variable);
    return path;
}

static bool readable_within(int fd, double seconds)
{
    double deadline = now_s() + seconds;
    struct pollfd wait_for = { .fd = fd, .events = POLLIN };
    int r;
    do {
        double left = deadline - now_s();
        r = poll(&wait_for, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
    } while (r < 0 && errno == EINTR);
    return r == 1;
}

static bool gone_within(pid_t pid, double seconds)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0 && errno == ESRCH)
        return true;
    CHECK(pidfd >= 0);
    bool gone = readable_within(pidfd, seconds * test_slowdown());
    close(pidfd);
    return gone;
}

void pid_wait_gone(pid_t pid)
{
    if (!gone_within(pid, WAIT_SECONDS))
        FAIL("process %d does not end", (int)pid);
}

int run_program(const char *const *argv, const char **output)
{
    int ends[2], status;
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        dprintf(STDERR_FILENO, "cannot run %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    close(ends[1]);
    size_t size = 0, room = 4096;
    char *all = malloc(room);
    CHECK(all);
    for (ssize_t got; (got = read(ends[0], all + size, room - size - 1)) > 0;) {
        size += (size_t)got;
        if (room - size < 2048) {
            all = realloc(all, room *= 2);
            CHECK(all);
        }
    }
    all[size] = 0;
    close(ends[0]);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    *output = all;
    return status;
}

/* ---- leatd ---- */

/* false: it ended before it was ready. Its descriptors may live on in a worker, so its own end counts. */
static bool is_ready(struct bus *bus)
{
    char line[512];
    size_t size = 0;
    int pidfd = (int)syscall(SYS_pidfd_open, bus->keeper, 0);
    CHECK(pidfd >= 0);
    do {
        struct pollfd wait_for[2] = { { .fd = bus->ready, .events = POLLIN },
                                      { .fd = pidfd, .events = POLLIN } };
        if (poll(wait_for, 2, WAIT_SECONDS * 1000 * test_slowdown()) <= 0)
            FAIL("leatd is not ready after %d s", WAIT_SECONDS);
        ssize_t got = wait_for[0].revents ? read(bus->ready, line + size, sizeof line - 1 - size) : 0;
        if (got <= 0) {
            close(pidfd);
            return false;
        }
        size += (size_t)got;
        line[size] = 0;
    } while (!strchr(line, '\n'));
    close(pidfd);
    if (strncmp(line, "leatd: ready", 12) != 0)
        FAIL("leatd says \"%s\"", line);
    return true;
}

static struct bus *start(const char *path, const char *program, const char *kill, const char *const *options)
{
    static int buses;
    struct bus *bus = calloc(1, sizeof *bus);
    CHECK(bus);
    int number = buses++;
    if (path)
        snprintf(bus->path, sizeof bus->path, "%s", path);
    else
        snprintf(bus->path, sizeof bus->path, "%s/bus%d", test_dir(), number);
    snprintf(bus->kill_file, sizeof bus->kill_file, "%s/killed%d", test_dir(), number);

    const char *argv[32] = { test_program(program), "--bus", bus->path };
    int argc = 3;
    for (; options && *options; options++) {
        CHECK(argc < 31);
        argv[argc++] = *options;
    }
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    fflush(NULL);
    bus->keeper = fork();
    CHECK(bus->keeper >= 0);
    if (bus->keeper == 0) {
        dup2(ends[1], STDOUT_FILENO);
        unsetenv("LEAT_BUS");
        unsetenv("LEAT_KILL");
        if (kill) {
            setenv("LEAT_KILL", kill, 1);
            setenv("LEAT_KILL_FILE", bus->kill_file, 1);
        }
        execv(argv[0], (char *const *)(uintptr_t)argv);
        dprintf(STDERR_FILENO, "cannot run %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    close(ends[1]);
    bus->ready = ends[0];
    if (is_ready(bus))
        return bus;
    int status;
    CHECK_EQ(waitpid(bus->keeper, &status, 0), bus->keeper);
    if (status == 0)
        FAIL("leatd ended before it was ready, and says that all is well");
    close(bus->ready);
    free(bus);
    return NULL;
}

static struct bus *must(struct bus *bus)
{
    if (!bus)
        FAIL("leatd ended before it was ready");
    return bus;
}

struct bus *bus_start_as(const char *program, const char *kill, const char *const *options)
{
    return must(start(NULL, program, kill, options + 1)); /* the first is empty, because an array cannot be */
}

struct bus *bus_try_fault(const char *kill, const char *const *options)
{
    return start(NULL, "LEAT_TEST_LEATD_FAULT", kill, options);
}

struct bus *bus_start_in(const char *path, const char *const *options)
{
    return must(start(path, "LEAT_TEST_LEATD", NULL, options));
}

struct bus *bus_start_fault_in(const char *path, const char *kill, const char *const *options)
{
    return must(start(path, "LEAT_TEST_LEATD_FAULT", kill, options));
}

void bus_stop(struct bus *bus)
{
    pid_t keeper = bus_status(bus).keeper_pid;
    CHECK_EQ(kill(keeper, SIGTERM), 0);
    pid_wait_gone(keeper);
    if (keeper == bus->keeper) {
        int status;
        CHECK_EQ(waitpid(keeper, &status, 0), keeper);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            FAIL("leatd ends with wait status 0x%x", (unsigned)status);
    }
    CHECK(control_connect(bus->path) < 0);
}

struct lt_status_answer bus_status(const struct bus *bus)
{
    struct lt_status_answer status = { 0 };
    WAIT_UNTIL(control_status(bus->path, &status), WAIT_SECONDS); /* a worker may die meanwhile */
    return status;
}

uint64_t bus_kill_worker(const struct bus *bus)
{
    struct lt_status_answer status = bus_status(bus);
    CHECK(status.worker_pid > 1 && status.worker_pid != status.keeper_pid);
    CHECK_EQ(kill(status.worker_pid, SIGKILL), 0);
    return status.incarnation;
}

struct lt_status_answer bus_wait_worker(const struct bus *bus, uint64_t after)
{
    struct lt_status_answer status = { 0 };
    /* A connection that the dying worker took ends at once; one that waits in the listening socket is answered by
     * the next worker. */
    WAIT_UNTIL(control_status(bus->path, &status) && status.incarnation > after, WAIT_SECONDS);
    return status;
}

pid_t bus_kill_keeper(struct bus *bus)
{
    struct lt_status_answer status = bus_status(bus);
    pid_t keeper = status.keeper_pid;
    CHECK(keeper > 1 && keeper != status.worker_pid);
    CHECK_EQ(kill(keeper, SIGKILL), 0);
    pid_wait_gone(keeper);
    if (keeper == bus->keeper)
        CHECK_EQ(waitpid(keeper, NULL, 0), keeper);
    return keeper;
}

struct lt_status_answer bus_wait_keeper(const struct bus *bus, pid_t before)
{
    struct lt_status_answer status = { 0 };
    WAIT_UNTIL(control_status(bus->path, &status) && status.keeper_pid != before && status.keeper_pid > 1,
               WAIT_SECONDS);
    return status;
}

void bus_kill_both(struct bus *bus)
{
    struct lt_status_answer status = bus_status(bus);
    /* The keeper is stopped first, so that neither has the time to replace the other. */
    CHECK_EQ(kill(status.keeper_pid, SIGSTOP), 0);
    CHECK_EQ(kill(status.worker_pid, SIGKILL), 0);
    pid_wait_gone(status.worker_pid);
    CHECK_EQ(kill(status.keeper_pid, SIGKILL), 0);
    pid_wait_gone(status.keeper_pid);
    if (status.keeper_pid == bus->keeper)
        CHECK_EQ(waitpid(bus->keeper, NULL, 0), bus->keeper);
}

bool bus_died_at(const struct bus *bus, const char *kill)
{
    char notes[4096];
    int fd = open(bus->kill_file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t size = read(fd, notes, sizeof notes - 1);
    close(fd);
    notes[size > 0 ? size : 0] = 0;
    return strstr(notes, kill) != NULL;
}

/* ---- topics, counters, handles ---- */

void bus_topic_as(const struct bus *bus, const char *name, leat_topic_options options)
{
    if (options.partitions == 0)
        options.partitions = 1;
    if (options.ring_size == 0)
        options.ring_size = 64 << 10;
    if (options.partitioner == LEAT_PARTITIONER_TOPIC)
        options.partitioner = LEAT_XXH3;
    if (options.mode == 0)
        options.mode = 0660;
    if (options.level == LEAT_RING && options.segment_bytes == 0)
        options.no_log = 1;
    if (options.retention_bytes == 0)
        options.retention_bytes = -1;
    if (options.retention_ms == 0)
        options.retention_ms = -1;
    leat_bus *handle = bus_open(bus);
    CHECK_OK(leat_topic_create(handle, name, &options));
    leat_close(handle);
}

leat_topic_info *bus_describe(leat_bus *bus, const char *topic)
{
    leat_topic_info *info = NULL;
    CHECK_OK(leat_topic_describe(bus, topic, &info));
    return info;
}

leat_bus *bus_open(const struct bus *bus)
{
    leat_bus *handle = NULL;
    CHECK_OK(leat_open(&handle, bus->path));
    return handle;
}

leat_producer *open_producer(leat_bus *bus, const char *topic, const leat_producer_options *options)
{
    leat_producer *producer = NULL;
    CHECK_OK(leat_producer_open(&producer, bus, topic, options));
    return producer;
}

leat_consumer *open_reader(leat_bus *bus, const char *topic, const leat_consumer_options *options)
{
    leat_consumer_options from_the_start = LEAT_CONSUMER_OPTIONS;
    if (options)
        from_the_start = *options;
    from_the_start.reset = LEAT_EARLIEST;
    leat_consumer *consumer = NULL;
    CHECK_OK(leat_consumer_open(&consumer, bus, &from_the_start));
    CHECK_OK(leat_consumer_subscribe(consumer, (const char *[]){ topic }, 1));
    return consumer;
}

static void fold_counters(const struct bus *bus)
{
    struct answer answer;
    int fd = control_connect(bus->path);
    if (fd < 0)
        return;
    if (control_hello(fd, false, &answer) >= 0)
        control_ask(fd, LT_MSG_FOLD, NULL, 0, &answer);
    close(fd);
}

int64_t bus_counter(const struct bus *bus, const char *name, const char *topic, int partition, int client)
{
    leat_counter *counters = NULL;
    int64_t sum = 0;
    fold_counters(bus);
    int count = CHECK_OK(leat_counters_read(bus->path, &counters));
    for (int i = 0; i < count; i++) {
        const leat_counter *c = &counters[i];
        if (strcmp(c->name, name) == 0 && strcmp(c->topic, topic ? topic : "") == 0 && c->client == client &&
            (partition < 0 || c->partition == partition))
            sum += c->value;
    }
    leat_counters_free(counters);
    return sum;
}

/* ---- processes ---- */

const char *bus_kill_at(const char *point, int pass)
{
    return text("%s:%d", point, pass);
}

const char *bus_stop_at(const char *point, int pass)
{
    return text("%s:%d:stop", point, pass);
}

static const char *board_path(void)
{
    const char *path = getenv("LEAT_TEST_BOARD");
    return path ? path : text("%s/board", test_dir());
}

static bool is_set_anew(const char *entry)
{
    return strncmp(entry, "LEAT_BUS=", 9) == 0 || strncmp(entry, "LEAT_KILL", 9) == 0 ||
           strncmp(entry, "LEAT_TEST_BOARD=", 16) == 0;
}

static const char **environment_of(const struct bus *bus, const struct spawn *spawn)
{
    size_t count = 0, used = 0;
    while (environ[count])
        count++;
    const char **all = calloc(count + 4, sizeof *all);
    CHECK(all);
    for (size_t i = 0; i < count; i++)
        if (!is_set_anew(environ[i]))
            all[used++] = environ[i];
    if (bus && !spawn->no_bus)
        all[used++] = text("LEAT_BUS=%s", bus->path);
    if (spawn->kill)
        all[used++] = text("LEAT_KILL=%s", spawn->kill);
    all[used++] = text("LEAT_TEST_BOARD=%s", board_path());
    return all;
}

/* Only system calls: other threads of the test may have held any lock. */
__attribute__((noreturn)) static void become(const struct spawn *spawn, int program, int channel,
                                             const char *const *argv, const char *const *env)
{
    if (channel == CHANNEL_FD)
        fcntl(channel, F_SETFD, 0);
    else
        dup2(channel, CHANNEL_FD);
    if (spawn->gid != 0 && (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setgid, spawn->gid) < 0))
        _exit(126);
    if (spawn->uid != 0 && syscall(SYS_setuid, spawn->uid) < 0)
        _exit(126);
    syscall(SYS_execveat, program, "", argv, env, AT_EMPTY_PATH);
    _exit(127);
}

struct child *bus_spawn_as(const struct bus *bus, const char *role, struct spawn spawn)
{
    struct child *child = calloc(1, sizeof *child);
    CHECK(child);
    int ends[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    const char *argv[20] = { "test", "--role", role, text("%llu", (unsigned long long)test_seed()) };
    for (int i = 0; i < 12 && spawn.args[i]; i++)
        argv[4 + i] = spawn.args[i];
    const char **env = environment_of(bus, &spawn);
    /* By descriptor, and not at 3: a child that has become another user may not be able to follow the path. */
    int program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int moved = fcntl(program, F_DUPFD_CLOEXEC, CHANNEL_FD + 1);
    CHECK(moved >= 0);
    board();
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        become(&spawn, moved, ends[1], argv, env);
    close(program);
    close(moved);
    close(ends[1]);
    free(env);
    *child = (struct child){ .pid = pid, .channel = ends[0], .role = role };
    return child;
}

static void reap(struct child *child, int flags)
{
    if (child->reaped)
        return;
    pid_t pid;
    do
        pid = waitpid(child->pid, &child->status, flags);
    while (pid < 0 && errno == EINTR);
    CHECK_EQ(pid, child->pid);
    child->reaped = !WIFSTOPPED(child->status);
}

static const char *how_it_ended(const struct child *child)
{
    if (WIFEXITED(child->status))
        return text("exit status %d", WEXITSTATUS(child->status));
    if (WIFSIGNALED(child->status))
        return text("signal %d (%s)", WTERMSIG(child->status), strsignal(WTERMSIG(child->status)));
    return text("a stop by signal %d", WSTOPSIG(child->status));
}

void child_tell(struct child *child, const char *format, ...)
{
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (send(child->channel, message, (size_t)size, MSG_NOSIGNAL) < 0) {
        reap(child, 0);
        FAIL("%s ended (%s) before it was told \"%s\"", child->role, how_it_ended(child), message);
    }
}

bool child_talks(struct child *child, int within_ms)
{
    return readable_within(child->channel, within_ms / 1e3);
}

static const char *hear_or_fail(struct child *child, const char *wanted)
{
    static char message[MESSAGE_MAX + 1];
    if (!readable_within(child->channel, WAIT_SECONDS * test_slowdown()))
        FAIL("%s (%d) says nothing for %d s, wanted %s", child->role, (int)child->pid, WAIT_SECONDS, wanted);
    ssize_t size = recv(child->channel, message, MESSAGE_MAX, 0);
    if (size <= 0) {
        reap(child, 0);
        FAIL("%s ended (%s), wanted %s", child->role, how_it_ended(child), wanted);
    }
    message[size] = 0;
    return message;
}

const char *child_hear(struct child *child)
{
    return hear_or_fail(child, "a message");
}

void child_expect(struct child *child, const char *message)
{
    const char *said = hear_or_fail(child, text("\"%s\"", message));
    if (strcmp(said, message) != 0)
        FAIL("%s says \"%s\", wanted \"%s\"", child->role, said, message);
}

int64_t child_number(struct child *child, const char *word)
{
    const char *said = hear_or_fail(child, text("\"%s NUMBER\"", word));
    size_t size = strlen(word);
    if (strncmp(said, word, size) != 0 || said[size] != ' ')
        FAIL("%s says \"%s\", wanted \"%s NUMBER\"", child->role, said, word);
    return strtoll(said + size, NULL, 10);
}

/* Death is waited for with a limit, so that a child that hangs is named. */
static void wait_for_end(struct child *child, double seconds)
{
    if (!child->reaped && !gone_within(child->pid, seconds))
        FAIL("%s (%d) does not end in %.0f s", child->role, (int)child->pid, seconds);
    reap(child, 0);
}

static void expect_exit(struct child *child, int status)
{
    if (!WIFEXITED(child->status) || WEXITSTATUS(child->status) != status)
        FAIL("%s ended with %s, wanted exit status %d", child->role, how_it_ended(child), status);
    close(child->channel);
}

void child_exit(struct child *child, int status)
{
    wait_for_end(child, WAIT_SECONDS);
    expect_exit(child, status);
}

void child_end(struct child *child)
{
    child_exit(child, 0);
}

void child_end_in(struct child *child, double seconds)
{
    wait_for_end(child, seconds);
    expect_exit(child, 0);
}

void child_killed(struct child *child, int sig)
{
    wait_for_end(child, WAIT_SECONDS);
    if (!WIFSIGNALED(child->status) || WTERMSIG(child->status) != sig)
        FAIL("%s ended with %s, wanted signal %d", child->role, how_it_ended(child), sig);
    close(child->channel);
}

void child_kill(struct child *child)
{
    CHECK_EQ(kill(child->pid, SIGKILL), 0);
    child_killed(child, SIGKILL);
}

void child_wait_stopped(struct child *child)
{
    reap(child, WUNTRACED); /* no descriptor tells of a stop; the test's own limit ends this wait */
    if (child->reaped)
        FAIL("%s ended with %s, wanted a stop", child->role, how_it_ended(child));
}

void child_stop(struct child *child)
{
    CHECK_EQ(kill(child->pid, SIGSTOP), 0);
    child_wait_stopped(child);
}

void child_continue(struct child *child)
{
    CHECK_EQ(kill(child->pid, SIGCONT), 0);
}

bool child_lives(struct child *child)
{
    if (!child->reaped && waitpid(child->pid, &child->status, WNOHANG) == child->pid)
        child->reaped = true;
    return !child->reaped;
}

/* ---- in a role ---- */

leat_bus *role_open(void)
{
    leat_bus *bus = NULL;
    CHECK_OK(leat_open(&bus, NULL));
    return bus;
}

void say(const char *format, ...)
{
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (send(CHANNEL_FD, message, (size_t)size, MSG_NOSIGNAL) < 0)
        _exit(1); /* the test is gone */
}

const char *hear_any(void)
{
    static char message[MESSAGE_MAX + 1];
    ssize_t size;
    do
        size = recv(CHANNEL_FD, message, MESSAGE_MAX, 0);
    while (size < 0 && errno == EINTR);
    if (size <= 0)
        _exit(1);
    message[size] = 0;
    return message;
}

void hear(const char *message)
{
    const char *told = hear_any();
    if (strcmp(told, message) != 0)
        FAIL("the test says \"%s\", wanted \"%s\"", told, message);
}

bool heard(void)
{
    return readable_within(CHANNEL_FD, 0);
}

const char *role_arg(int i)
{
    const char *const *args = test_role_arguments();
    for (int k = 0; k <= i; k++)
        if (!args[k])
            FAIL("the role has no argument %d", i);
    return args[i];
}

int64_t role_number(int i)
{
    return strtoll(role_arg(i), NULL, 0);
}

/* ---- the board ---- */

uint64_t *board(void)
{
    static uint64_t *words;
    if (words)
        return words;
    size_t size = BOARD_WORDS * sizeof *words;
    int fd = open(board_path(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    CHECK(fd >= 0);
    CHECK_EQ(ftruncate(fd, (off_t)size), 0);
    words = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(words != MAP_FAILED);
    close(fd);
    return words;
}

uint64_t board_get(uint32_t word)
{
    return lt_load_acquire64(&board()[word]);
}

void board_set(uint32_t word, uint64_t value)
{
    lt_store_release64(&board()[word], value);
}

uint64_t board_add(uint32_t word, uint64_t value)
{
    return lt_fetch_add64(&board()[word], value) + value;
}
