/* keeper: see keeper.h. One thread, one poll loop.
 *
 * Points: keeper.store, keeper.store.after, keeper.drop. None where the worker is dead already, or has not been told everything:
 * a keeper that dies there is the second death, and the bus has ended.
 */
#include "leatd/keeper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include <leat.h>
#include "leatd/bus.h"
#include "leatd/keep.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

#define MS 1000000ll
#define STARTS_AT_ONCE 3
#define STARTS_WITHIN_NS (1000 * MS)
#define FIRST_PAUSE_MS 50
#define STOP_PATIENCE_NS (10000 * MS)

struct keeper {
    struct lt_config config;
    struct lt_keep_table table;
    int link;  /* to the worker; -1: none */
    int pidfd; /* of the worker; -1: there is none now */
    int signal_fd;
    int die_fd;
    int32_t worker_pid;
    bool started_once; /* a worker has served */
    bool was_ready;    /* this one has */
    bool stopping;
    int64_t stop_at_ns;    /* when stopping: when patience with the worker ends */
    int64_t restart_at_ns; /* no worker: when the next is started */
    int64_t starts_ns[STARTS_AT_ONCE];
    uint32_t start_count;
    uint32_t pause_ms;
};

/* --- sd_notify(3), the one datagram of it that is needed --- */

static void notify(const char *text)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const char *path = getenv("NOTIFY_SOCKET");
    if (!path || !*path || strlen(path) >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, strlen(path));
    if (path[0] == '@') /* an abstract name */
        address.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (fd < 0 || sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, size) < 0)
        lt_log(LT_LOG_WARN, "notify %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* --- the worker --- */

static int open_pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int start_worker(struct keeper *keeper)
{
    int64_t now = lt_clock_mono_ns();
    memmove(keeper->starts_ns, keeper->starts_ns + 1, sizeof keeper->starts_ns - sizeof *keeper->starts_ns);
    keeper->starts_ns[STARTS_AT_ONCE - 1] = now;
    keeper->start_count++;
    keeper->was_ready = false;

    int pid = lt_keep_spawn("--worker", &keeper->link);
    if (pid < 0)
        return lt_fail_errno(-pid, "start a worker");
    keeper->worker_pid = pid;
    keeper->pidfd = open_pidfd(pid); /* a child that nobody has waited for: the number is its own */
    if (keeper->pidfd < 0)
        return lt_fail_errno(errno, "pidfd_open %d", pid);
    /* Should it die meanwhile, its pidfd says so. */
    int r = lt_keep_send_all(keeper->link, &keeper->table, &keeper->config, getpid(), pid);
    if (r < 0 && r != -EPIPE && r != -ECONNRESET)
        return lt_fail_errno(-r, "tell worker %d what there is", pid);
    return 0;
}

/* When the next start may be: at once, or after a pause that doubles while workers keep dying early. */
static int64_t next_start_ns(struct keeper *keeper)
{
    int64_t now = lt_clock_mono_ns();
    bool often = keeper->start_count >= STARTS_AT_ONCE && now - keeper->starts_ns[0] < STARTS_WITHIN_NS;
    if (!often && keeper->pause_ms != 0 &&
        now - keeper->starts_ns[STARTS_AT_ONCE - 1] > STARTS_WITHIN_NS + keeper->pause_ms * MS)
        keeper->pause_ms = 0; /* the last one lived */
    if (!often && keeper->pause_ms == 0)
        return now;
    keeper->pause_ms = keeper->pause_ms == 0 ? FIRST_PAUSE_MS : keeper->pause_ms * 2;
    if (keeper->pause_ms > keeper->config.max_start_pause_ms)
        keeper->pause_ms = keeper->config.max_start_pause_ms;
    return now + keeper->pause_ms * MS;
}

/* Why it ended. A worker that another keeper started is not our child: then there is no status to be had. */
static int describe_end(struct keeper *keeper, char *text, size_t size)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    if (waitid((idtype_t)P_PIDFD, (id_t)keeper->pidfd, &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0) {
        snprintf(text, size, "is gone");
        return -1;
    }
    if (info.si_code == CLD_EXITED) {
        snprintf(text, size, "exited with status %d", info.si_status);
        return info.si_status;
    }
    snprintf(text, size, "was killed by signal %d", info.si_status);
    return 128 + info.si_status;
}

static void drop_worker(struct keeper *keeper)
{
    close(keeper->pidfd);
    close(keeper->link);
    keeper->pidfd = keeper->link = -1;
}

/* The worker's pidfd fired. Returns an exit status, or -1 to go on. */
static int bury_worker(struct keeper *keeper)
{
    char how[64];
    int status = describe_end(keeper, how, sizeof how);
    drop_worker(keeper);
    if (keeper->stopping)
        return 0;
    if (!keeper->started_once && status < 128) { /* it has said why */
        lt_log(LT_LOG_ERROR, "the first worker %s", how);
        return 1;
    }
    keeper->restart_at_ns = next_start_ns(keeper);
    int64_t pause_ns = keeper->restart_at_ns - lt_clock_mono_ns();
    lt_log(LT_LOG_WARN, "worker %d %s; starting another%s", keeper->worker_pid, how,
           pause_ns > MS ? " after a pause" : "");
    return -1;
}

static void answer(struct keeper *keeper, const struct lt_keep_msg *request, int result)
{
    struct lt_keep_msg msg = { .verb = LT_KEEP_ANSWER, .number = request->number, .result = result };
    lt_keep_send(keeper->link, &msg, NULL, -1); /* a worker that is gone is found by its pidfd */
}

static void stop(struct keeper *keeper, const char *why)
{
    if (keeper->stopping)
        return;
    lt_log(LT_LOG_INFO, "%s: ending", why);
    notify("STOPPING=1");
    keeper->stopping = true;
    keeper->stop_at_ns = lt_clock_mono_ns() + STOP_PATIENCE_NS;
    if (keeper->link >= 0)
        lt_keep_send(keeper->link, &(struct lt_keep_msg){ .verb = LT_KEEP_STOP }, NULL, -1);
}

static void worker_is_ready(struct keeper *keeper)
{
    keeper->was_ready = true;
    if (keeper->started_once) {
        lt_log(LT_LOG_INFO, "worker %d serves", keeper->worker_pid);
        return;
    }
    keeper->started_once = true;
    printf("leatd: ready bus=%s pid=%d worker=%d\n", keeper->config.path, (int)getpid(), keeper->worker_pid);
    fflush(stdout);
    notify("READY=1");
}

static void take(struct keeper *keeper, const struct lt_keep_msg *msg, int fd)
{
    int r;
    switch (msg->verb) {
    case LT_KEEP_STORE:
        lt_point("keeper.store");
        r = lt_keep_add(&keeper->table, msg->kind, msg->id, &msg->note, fd);
        if (r < 0)
            close(fd);
        lt_point("keeper.store.after");
        answer(keeper, msg, r);
        return;
    case LT_KEEP_DROP:
        lt_point("keeper.drop");
        lt_keep_remove(&keeper->table, msg->kind, msg->id);
        answer(keeper, msg, 0);
        break;
    case LT_KEEP_READY:
        worker_is_ready(keeper);
        break;
    case LT_KEEP_STOP:
        stop(keeper, "the worker was told to end");
        break;
    default:
        lt_log(LT_LOG_ERROR, "the worker says %u, which means nothing", msg->verb);
    }
    if (fd >= 0)
        close(fd);
}

/* What was sent before a death is still in the link, and is taken: a descriptor more can do no harm. */
static void take_all(struct keeper *keeper)
{
    struct lt_keep_msg msg;
    int fd, r;
    while (keeper->link >= 0 && (r = lt_keep_receive(keeper->link, &msg, NULL, &fd, MSG_DONTWAIT)) != 0) {
        if (r == 1) {
            take(keeper, &msg, fd);
        } else if (r == -EMFILE) {
            lt_log(LT_LOG_ERROR, "no descriptor is left to store another");
            answer(keeper, &msg, r);
        } else {
            return; /* nothing more */
        }
    }
}

/* --- the loop --- */

static int timeout_ms(const struct keeper *keeper)
{
    int64_t until = keeper->stopping ? keeper->stop_at_ns : keeper->restart_at_ns;
    if (!keeper->stopping && keeper->pidfd >= 0)
        return -1;
    int64_t left_ns = until - lt_clock_mono_ns();
    return left_ns <= 0 ? 0 : (int)(left_ns / MS) + 1;
}

static void read_signal(struct keeper *keeper)
{
    struct signalfd_siginfo info;
    char why[64];
    if (read(keeper->signal_fd, &info, sizeof info) != sizeof info)
        return;
    snprintf(why, sizeof why, "signal %u from pid %u", info.ssi_signo, info.ssi_pid);
    stop(keeper, why);
}

/* True when there is nothing more to be read from the descriptor: its other end is closed. Bytes are nothing to us. */
static bool at_end(int fd)
{
    char bytes[512];
    ssize_t size = read(fd, bytes, sizeof bytes);
    return size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR);
}

static int turn(struct keeper *keeper)
{
    bool linked = keeper->link >= 0;
    struct pollfd pfds[4] = {
        { .fd = keeper->signal_fd, .events = POLLIN },
        { .fd = keeper->stopping ? -1 : keeper->die_fd, .events = POLLIN },
        { .fd = keeper->link, .events = POLLIN },
        { .fd = keeper->pidfd, .events = POLLIN },
    };
    if (poll(pfds, 4, timeout_ms(keeper)) < 0 && errno != EINTR) {
        lt_log(LT_LOG_ERROR, "poll: %s", strerror(errno));
        return 1;
    }
    if (pfds[0].revents)
        read_signal(keeper);
    if (pfds[1].revents && at_end(keeper->die_fd))
        stop(keeper, "whoever started us is gone");
    if (linked && pfds[2].revents)
        take_all(keeper);
    if (keeper->pidfd >= 0 && pfds[3].revents)
        return bury_worker(keeper);
    if (pfds[2].revents & POLLHUP && keeper->pidfd >= 0) {
        /* It is dying, and its pidfd says so as soon as its memory is gone. */
        struct pollfd dying = { .fd = keeper->pidfd, .events = POLLIN };
        if (poll(&dying, 1, 1000) > 0)
            return bury_worker(keeper);
        syscall(SYS_pidfd_send_signal, keeper->pidfd, SIGKILL, NULL,
                0); /* it closed its link and lives: useless */
    }

    int64_t now = lt_clock_mono_ns();
    if (keeper->stopping && keeper->pidfd < 0)
        return 0;
    if (keeper->stopping && now >= keeper->stop_at_ns) {
        lt_log(LT_LOG_WARN, "worker %d does not end; killing it", keeper->worker_pid);
        syscall(SYS_pidfd_send_signal, keeper->pidfd, SIGKILL, NULL, 0);
        keeper->stop_at_ns = now + STOP_PATIENCE_NS;
    }
    if (!keeper->stopping && keeper->pidfd < 0 && now >= keeper->restart_at_ns) {
        if (start_worker(keeper) < 0) {
            lt_log(LT_LOG_ERROR, "%s", lt_fail_text());
            if (keeper->pidfd >= 0 || keeper->link >= 0)
                drop_worker(keeper);
            keeper->restart_at_ns = next_start_ns(keeper) + FIRST_PAUSE_MS * MS;
        }
    }
    return -1;
}

static int prepare(struct keeper *keeper)
{
    sigset_t set;
    keeper->link = keeper->pidfd = keeper->die_fd = -1;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    keeper->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return keeper->signal_fd < 0 ? lt_fail_errno(errno, "signalfd") : 0;
}

static int serve(struct keeper *keeper)
{
    int status;
    while ((status = turn(keeper)) < 0)
        ;
    lt_bus_remove(keeper->config.path);
    lt_keep_clear(&keeper->table);
    return status;
}

static int fail(void)
{
    lt_log(LT_LOG_ERROR, "%s", lt_fail_text());
    return 1;
}

int lt_keeper_run(const struct lt_config *config, int die_fd)
{
    static struct keeper keeper;
    struct lt_bus bus;
    keeper.config = *config;
    lt_log_set_level((enum lt_log_level)config->log_level);
    if (prepare(&keeper) < 0 || lt_bus_open(&bus, config->path, config->socket_mode) < 0)
        return fail();
    keeper.die_fd = die_fd;
    if (lt_keep_add(&keeper.table, LT_KEEP_LISTEN, 0, NULL, bus.listen_fd) < 0 ||
        lt_keep_add(&keeper.table, LT_KEEP_LOCK, 0, NULL, bus.lock_fd) < 0 ||
        (die_fd >= 0 && lt_keep_add(&keeper.table, LT_KEEP_DIE, 0, NULL, die_fd) < 0)) {
        lt_fail(LEAT_ENOMEM, "no memory");
        return fail();
    }
    if (start_worker(&keeper) < 0)
        return fail();
    return serve(&keeper);
}

int lt_keeper_take_over(int link)
{
    static struct keeper keeper;
    char text[64];
    int32_t keeper_pid;
    if (prepare(&keeper) < 0)
        return fail();
    keeper.link = link;
    int r = lt_keep_receive_all(link, &keeper.table, &keeper.config, &keeper_pid, &keeper.worker_pid);
    if (r != 0)
        return 1; /* the worker is gone too: this bus has ended */
    lt_log_set_level((enum lt_log_level)keeper.config.log_level);
    keeper.pidfd = open_pidfd(
        keeper.worker_pid); /* it waits for our answer, so it is the one with that number */
    if (keeper.pidfd < 0) {
        lt_fail_errno(errno, "pidfd_open %d", keeper.worker_pid);
        return fail();
    }
    struct lt_keep_pair *die = lt_keep_find(&keeper.table, LT_KEEP_DIE, 0);
    if (die)
        keeper.die_fd = die->fd;
    keeper.started_once = keeper.was_ready = true;
    snprintf(text, sizeof text, "MAINPID=%d", (int)getpid());
    notify(text);
    lt_keep_send(link, &(struct lt_keep_msg){ .verb = LT_KEEP_READY, .note = { .pid = getpid() } }, NULL, -1);
    return serve(&keeper);
}
