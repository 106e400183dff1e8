/* keep: the link between keeper and worker. See keep.h.
 *
 * Points: keep.store, keep.store.after, keep.drop, keep.replace, keep.replace.after (all in the worker).
 */
#include "leatd/keep.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/err.h"
#include "base/log.h"
#include <leat.h>

#define REPLACE_TRIES 3
#define ANSWER_TIMEOUT_S 10

extern char **environ;

/* --- the table --- */

static uint32_t *chain_of(struct lt_keep_table *table, uint32_t kind, uint64_t id)
{
    uint64_t hash = (id * 0x9e3779b97f4a7c15ull) ^ (kind * 0x85ebca6bull);
    return &table->chains[(hash >> 20 ^ hash) % LT_KEEP_CHAINS];
}

static uint32_t *find_link(struct lt_keep_table *table, uint32_t kind, uint64_t id)
{
    uint32_t *link = chain_of(table, kind, id);
    while (*link != 0 && (table->pairs[*link - 1].kind != kind || table->pairs[*link - 1].id != id))
        link = &table->pairs[*link - 1].next;
    return link;
}

struct lt_keep_pair *lt_keep_find(struct lt_keep_table *table, uint32_t kind, uint64_t id)
{
    uint32_t at = *find_link(table, kind, id);
    return at == 0 ? NULL : &table->pairs[at - 1];
}

int lt_keep_add(struct lt_keep_table *table, uint32_t kind, uint64_t id, const struct lt_keep_note *note,
                int fd)
{
    lt_keep_remove(table, kind, id);
    if (table->count == table->room) {
        uint32_t room = table->room ? table->room * 2 : 64;
        struct lt_keep_pair *pairs = realloc(table->pairs, room * sizeof *pairs);
        if (!pairs)
            return -ENOMEM;
        table->pairs = pairs;
        table->room = room;
    }
    uint32_t *chain = chain_of(table, kind, id);
    struct lt_keep_pair *pair = &table->pairs[table->count++];
    *pair = (struct lt_keep_pair){ .kind = kind, .fd = fd, .id = id, .next = *chain };
    if (note)
        pair->note = *note;
    *chain = table->count;
    return 0;
}

void lt_keep_remove(struct lt_keep_table *table, uint32_t kind, uint64_t id)
{
    uint32_t *link = find_link(table, kind, id);
    if (*link == 0)
        return;
    uint32_t at = *link - 1;
    close(table->pairs[at].fd);
    *link = table->pairs[at].next;
    /* The last one moves into the gap. */
    uint32_t last = --table->count;
    if (at != last) {
        *find_link(table, table->pairs[last].kind, table->pairs[last].id) = at + 1;
        table->pairs[at] = table->pairs[last];
    }
}

void lt_keep_clear(struct lt_keep_table *table)
{
    for (uint32_t i = 0; i < table->count; i++)
        close(table->pairs[i].fd);
    free(table->pairs);
    memset(table, 0, sizeof *table);
}

/* --- messages --- */

int lt_keep_send(int link, const struct lt_keep_msg *msg, const struct lt_config *config, int pass_fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = { .bytes = { 0 } };
    struct iovec parts[2] = { { (void *)(uintptr_t)msg, sizeof *msg },
                              { (void *)(uintptr_t)config, config ? sizeof *config : 0 } };
    struct msghdr head = { .msg_iov = parts, .msg_iovlen = 2 };
    if (pass_fd >= 0) {
        head.msg_control = control.bytes;
        head.msg_controllen = sizeof control.bytes;
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&head);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &pass_fd, sizeof pass_fd);
    }
    while (sendmsg(link, &head, MSG_NOSIGNAL) < 0) {
        if (errno == ETOOMANYREFS) { /* the other end has not taken enough of those under way yet */
            usleep(1000);
            continue;
        }
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

int lt_keep_receive(int link, struct lt_keep_msg *msg, struct lt_config *config, int *passed_fd, int flags)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct lt_config unwanted;
    struct iovec parts[2] = { { msg, sizeof *msg }, { config ? config : &unwanted, sizeof *config } };
    struct msghdr head = { .msg_iov = parts,
                           .msg_iovlen = 2,
                           .msg_control = control.bytes,
                           .msg_controllen = sizeof control.bytes };
    ssize_t size;
    *passed_fd = -1;
    while ((size = recvmsg(link, &head, flags | MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
        ;
    if (size < 0)
        return errno == ECONNRESET ? 0 : -errno;
    if (size == 0)
        return 0;
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&head);
    if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS &&
        cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(passed_fd, CMSG_DATA(cmsg), sizeof *passed_fd);
    if ((size_t)size < sizeof *msg || (msg->verb == LT_KEEP_STORE && *passed_fd < 0))
        return head.msg_flags & MSG_CTRUNC ? -EMFILE : -EPROTO;
    return 1;
}

int lt_keep_send_all(int link, const struct lt_keep_table *table, const struct lt_config *config,
                     int32_t keeper_pid, int32_t worker_pid)
{
    struct lt_keep_msg msg = { .verb = LT_KEEP_CONFIG,
                               .note = { .pid = keeper_pid, .uid = (uint32_t)worker_pid } };
    int r = lt_keep_send(link, &msg, config, -1);
    for (uint32_t i = 0; r == 0 && i < table->count; i++) {
        const struct lt_keep_pair *pair = &table->pairs[i];
        msg = (struct lt_keep_msg){
            .verb = LT_KEEP_STORE, .kind = pair->kind, .id = pair->id, .note = pair->note
        };
        r = lt_keep_send(link, &msg, NULL, pair->fd);
    }
    msg = (struct lt_keep_msg){ .verb = LT_KEEP_DONE };
    return r == 0 ? lt_keep_send(link, &msg, NULL, -1) : r;
}

int lt_keep_receive_all(int link, struct lt_keep_table *table, struct lt_config *config, int32_t *keeper_pid,
                        int32_t *worker_pid)
{
    for (;;) {
        struct lt_keep_msg msg;
        struct lt_config received;
        int fd;
        int r = lt_keep_receive(link, &msg, &received, &fd, 0);
        if (r <= 0)
            return r == 0 ? 1 : r;
        switch (msg.verb) {
        case LT_KEEP_CONFIG:
            *config = received;
            *keeper_pid = msg.note.pid;
            *worker_pid = (int32_t)msg.note.uid;
            break;
        case LT_KEEP_STORE:
            r = lt_keep_add(table, msg.kind, msg.id, &msg.note, fd);
            if (r < 0)
                return r;
            break;
        case LT_KEEP_DONE:
            return 0;
        default:
            break;
        }
    }
}

int lt_keep_spawn(const char *option, int *link)
{
    int pair[2];
    pid_t pid;
    char number[16];
    sigset_t none, defaults;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return -errno;
    snprintf(number, sizeof number, "%d", pair[1]);
    char *argv[] = { (char *)(uintptr_t) "leatd", (char *)(uintptr_t)option, number, NULL };
    sigemptyset(&none);
    sigfillset(&defaults);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1],
                                     pair[1]); /* takes close-on-exec off, in the child only */
    int error_number = posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(pair[1]);
    if (error_number != 0) {
        close(pair[0]);
        return -error_number;
    }
    *link = pair[0];
    return (int)pid;
}

/* --- the worker's side --- */

void lt_keep_init(struct lt_keep *keep, const struct lt_config *config, int link)
{
    memset(keep, 0, sizeof *keep);
    pthread_mutex_init(&keep->lock, NULL);
    keep->config = config;
    keep->link = link;
    keep->alone = link < 0;
    keep->epoll_fd = -1;
}

void lt_keep_end(struct lt_keep *keep)
{
    lt_keep_clear(&keep->table);
    if (keep->link >= 0)
        close(keep->link);
    keep->link = -1;
    pthread_mutex_destroy(&keep->lock);
}

static void watch_link(struct lt_keep *keep)
{
    struct epoll_event event = { .events = EPOLLIN, .data.u64 = keep->epoll_tag };
    if (keep->epoll_fd >= 0 && keep->link >= 0)
        epoll_ctl(keep->epoll_fd, EPOLL_CTL_ADD, keep->link, &event);
}

/* Gives a new keeper all there is. The child is nobody's to wait for: the worker ignores SIGCHLD. */
static int start_keeper(struct lt_keep *keep)
{
    struct lt_keep_msg msg = { 0 };
    int link = -1, fd;
    int pid = lt_keep_spawn("--keeper", &link);
    if (pid < 0)
        return pid;
    struct timeval limit = { .tv_sec = ANSWER_TIMEOUT_S };
    setsockopt(link, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    int r = lt_keep_send_all(link, &keep->table, keep->config, pid, getpid());
    if (r == 0)
        r = lt_keep_receive(link, &msg, NULL, &fd, 0);
    if (r != 1 || msg.verb != LT_KEEP_READY) {
        close(link);
        return r < 0 ? r : -EPROTO;
    }
    keep->link = link;
    keep->keeper_pid = pid;
    return 0;
}

static void replace_keeper(struct lt_keep *keep)
{
    if (keep->link >= 0)
        close(keep->link); /* epoll forgets it with its last descriptor, and this is the last */
    keep->link = -1;
    if (keep->alone || keep->stop_wanted)
        return;
    int32_t old = keep->keeper_pid;
    lt_point("keep.replace");
    for (int i = 0; i < REPLACE_TRIES; i++) {
        int r = start_keeper(keep);
        if (r == 0) {
            lt_log(LT_LOG_WARN, "keeper %d is gone; keeper %d holds the bus now", old, keep->keeper_pid);
            watch_link(keep);
            lt_point("keep.replace.after");
            if (keep->replaced)
                keep->replaced(keep->user, keep->keeper_pid);
            return;
        }
        lt_log(LT_LOG_ERROR, "keeper %d is gone, and none could be started: %s", old, strerror(-r));
    }
}

/* By whichever thread reads it: it may come in front of an answer. */
static void take_stop(struct lt_keep *keep)
{
    keep->stop_wanted = true;
    if (keep->stop)
        keep->stop(keep->user);
}

/* The answer to request `number`; a STOP that comes before it is noted. 0, -errno of the answer, or 1: the keeper is gone. */
static int wait_for_answer(struct lt_keep *keep, uint32_t number)
{
    for (;;) {
        struct lt_keep_msg msg;
        int fd;
        int r = lt_keep_receive(keep->link, &msg, NULL, &fd, 0);
        if (r == -EAGAIN || r == -EWOULDBLOCK)
            return -ETIMEDOUT;
        if (r <= 0)
            return 1;
        if (msg.verb == LT_KEEP_STOP)
            take_stop(keep);
        if (msg.verb == LT_KEEP_ANSWER && msg.number == number)
            return msg.result;
    }
}

static int ask(struct lt_keep *keep, struct lt_keep_msg *msg, int fd)
{
    if (keep->alone)
        return 0;
    if (keep->link < 0) {
        replace_keeper(keep); /* with the table as it is now, the request's change included */
        return keep->link < 0 ? -EPIPE : 0;
    }
    msg->number = ++keep->number;
    int r = lt_keep_send(keep->link, msg, NULL, fd);
    r = r < 0 ? 1 : wait_for_answer(keep, msg->number);
    if (r == 1) {
        replace_keeper(keep);
        r = keep->link < 0 ? -EPIPE : 0;
    }
    return r;
}

int lt_keep_store(struct lt_keep *keep, uint32_t kind, uint64_t id, const struct lt_keep_note *note, int fd)
{
    struct lt_keep_msg msg = { .verb = LT_KEEP_STORE, .kind = kind, .id = id };
    if (note)
        msg.note = *note;
    pthread_mutex_lock(&keep->lock);
    int r = lt_keep_add(&keep->table, kind, id, note, fd);
    if (r == 0) {
        lt_point("keep.store");
        r = ask(keep, &msg, fd);
        lt_point("keep.store.after");
        if (r < 0) { /* the caller keeps the descriptor */
            lt_keep_find(&keep->table, kind, id)->fd = -1;
            lt_keep_remove(&keep->table, kind, id);
        }
    }
    pthread_mutex_unlock(&keep->lock);
    return r < 0 ? lt_fail_errno(-r, "the keeper cannot hold another descriptor") : 0;
}

int lt_keep_fd(struct lt_keep *keep, uint32_t kind, uint64_t id)
{
    pthread_mutex_lock(&keep->lock);
    const struct lt_keep_pair *pair = lt_keep_find(&keep->table, kind, id);
    int fd = pair ? pair->fd : -1;
    pthread_mutex_unlock(&keep->lock);
    return fd;
}

uint32_t lt_keep_count(struct lt_keep *keep)
{
    pthread_mutex_lock(&keep->lock);
    uint32_t count = keep->table.count;
    pthread_mutex_unlock(&keep->lock);
    return count;
}

void lt_keep_drop(struct lt_keep *keep, uint32_t kind, uint64_t id)
{
    struct lt_keep_msg msg = { .verb = LT_KEEP_DROP, .kind = kind, .id = id };
    pthread_mutex_lock(&keep->lock);
    if (lt_keep_find(&keep->table, kind, id)) {
        lt_keep_remove(&keep->table, kind, id);
        lt_point("keep.drop");
        ask(keep, &msg, -1);
    }
    pthread_mutex_unlock(&keep->lock);
}

void lt_keep_watch(struct lt_keep *keep, int epoll_fd, uint64_t epoll_tag)
{
    pthread_mutex_lock(&keep->lock);
    keep->epoll_fd = epoll_fd;
    keep->epoll_tag = epoll_tag;
    watch_link(keep);
    pthread_mutex_unlock(&keep->lock);
}

void lt_keep_look(struct lt_keep *keep)
{
    pthread_mutex_lock(&keep->lock);
    while (keep->link >= 0) {
        struct lt_keep_msg msg;
        int fd;
        int r = lt_keep_receive(keep->link, &msg, NULL, &fd, MSG_DONTWAIT);
        if (r == -EAGAIN || r == -EWOULDBLOCK)
            break;
        if (r <= 0)
            replace_keeper(keep);
        else if (msg.verb == LT_KEEP_STOP)
            take_stop(keep);
    }
    pthread_mutex_unlock(&keep->lock);
}

static void tell(struct lt_keep *keep, const struct lt_keep_msg *msg)
{
    pthread_mutex_lock(&keep->lock);
    if (keep->link >= 0)
        lt_keep_send(keep->link, msg, NULL, -1); /* a keeper that is gone is found by the link's end */
    pthread_mutex_unlock(&keep->lock);
}

void lt_keep_ready(struct lt_keep *keep, int32_t worker_pid)
{
    tell(keep, &(struct lt_keep_msg){ .verb = LT_KEEP_READY, .note = { .pid = worker_pid } });
}

void lt_keep_stop(struct lt_keep *keep)
{
    tell(keep, &(struct lt_keep_msg){ .verb = LT_KEEP_STOP });
}
