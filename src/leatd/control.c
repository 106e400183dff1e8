/* control: see control.h. One thread, one epoll; every request is checked, answered and done with before the next is read.
 *
 * What comes over a connection is input. A length, a string or a number is checked before it is used; descriptors that come
 * along are dropped by the kernel, for no room is given for them. Sends never wait: who does not read its answers is
 * disconnected. Creating takes long and is the maker's, and what waits for the disk is group_log's; such a connection is not read
 * meanwhile.
 *
 * Points: control.request (before a request is looked at), control.answer (it is done, and its client does not know).
 */
#include "leatd/control.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/err.h"
#include <leat.h>
#include "leatd/clients.h"
#include "leatd/fold.h"
#include "leatd/groups.h"
#include "leatd/leases.h"
#include "leatd/maker.h"
#include "leatd/readers.h"
#include "leatd/topics.h"

#define EVENTS 64
#define REQUESTS_A_TURN 32 /* of one connection, before the others get theirs */
#define SPARE_CONNECTIONS 64u
#define FDS_MAX 3

enum source { LISTEN = 1, CONN, PIDFD, KEEPER, WAKE, SIGNALS };

/* What an answer carries besides its result. */
struct out {
    unsigned char *body; /* LT_MSG_MAX - sizeof(struct lt_msg) bytes */
    uint32_t size;
    int fds[FDS_MAX];
    uint32_t fd_count;
    uint32_t close_count; /* the first of them are ours to close */
    bool later;           /* the maker answers, or group_log */
};

/* --- epoll --- */

static uint64_t tag_of(enum source source, uint32_t generation, uint32_t index)
{
    return (uint64_t)source << 56 | (uint64_t)(generation & 0xffffff) << 32 | index;
}

static int add_source(struct lt_worker *w, int fd, uint64_t tag, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.u64 = tag };
    return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : lt_fail_errno(errno, "epoll_ctl");
}

int lt_control_watch_client(struct lt_worker *w, struct lt_client *client)
{
    return add_source(w, client->pidfd, tag_of(PIDFD, client->generation, client->id), EPOLLIN);
}

void lt_control_unwatch_client(struct lt_worker *w, struct lt_client *client)
{
    /* By name: the keeper has this descriptor too, so closing ours would not take it off. */
    epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, client->pidfd, NULL);
}

static void listen_to(struct lt_worker *w, struct lt_conn *conn, bool on)
{
    struct epoll_event event = { .events = on ? EPOLLIN : 0,
                                 .data.u64 = tag_of(CONN, conn->generation, conn->index) };
    epoll_ctl(w->epoll_fd, EPOLL_CTL_MOD, conn->fd, &event);
}

/* --- connections --- */

static void close_conn(struct lt_worker *w, struct lt_conn *conn)
{
    if (conn->client) {
        conn->client->conn = NULL; /* away: it may come back. Its pidfd, or its lease, tell if not */
        conn->client = NULL;
    }
    epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
    close(conn->fd);
    lt_peer_free(&conn->peer);
    w->conns[conn->index] = NULL;
    w->conn_count--;
    free(conn);
}

static bool is_welcome(struct lt_worker *w, const struct lt_peer *peer)
{
    uint32_t idle = 0;
    if (w->conn_count >= w->config.max_clients + SPARE_CONNECTIONS)
        return false;
    if (peer->uid == 0 || peer->uid == geteuid())
        return true;
    for (uint32_t i = 0; i < w->conn_room; i++)
        idle += w->conns[i] && !w->conns[i]->client && w->conns[i]->peer.uid == peer->uid;
    return idle < SPARE_CONNECTIONS / 2;
}

static struct lt_conn *enter_conn(struct lt_worker *w, int fd)
{
    uint32_t index = 0;
    while (index < w->conn_room && w->conns[index])
        index++;
    if (index == w->conn_room) {
        uint32_t room = w->conn_room ? w->conn_room * 2 : 64;
        struct lt_conn **conns = realloc(w->conns, room * sizeof(struct lt_conn *));
        if (!conns)
            return NULL;
        memset(conns + w->conn_room, 0, (room - w->conn_room) * sizeof(struct lt_conn *));
        w->conns = conns;
        w->conn_room = room;
    }
    struct lt_conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        return NULL;
    conn->fd = fd;
    conn->index = index;
    conn->generation = ++w->conn_generation;
    return conn;
}

static void take_conn(struct lt_worker *w, int fd)
{
    struct lt_conn *conn = enter_conn(w, fd);
    if (!conn || lt_peer_read(&conn->peer, fd) < 0 || !is_welcome(w, &conn->peer) ||
        add_source(w, fd, tag_of(CONN, conn->generation, conn->index), EPOLLIN) < 0) {
        if (conn) {
            lt_worker_log(w, LT_LOG_DEBUG, "pid %d of uid %u is turned away", conn->peer.pid, conn->peer.uid);
            lt_peer_free(&conn->peer);
        }
        free(conn);
        close(fd);
        return;
    }
    w->conns[conn->index] = conn;
    w->conn_count++;
}

/* Without a descriptor to accept it with, a connection would keep us awake for ever: one is held in reserve. */
static void turn_away(struct lt_worker *w)
{
    close(w->spare_fd);
    int fd = accept4(w->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    w->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    lt_worker_log(w, LT_LOG_WARN, "no descriptor is left: a connection is turned away");
}

static void accept_all(struct lt_worker *w)
{
    for (int i = 0; i < EVENTS; i++) {
        int fd = accept4(w->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            take_conn(w, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE)
            turn_away(w);
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

/* --- answers --- */

static void put_fds(struct msghdr *head, void *control, const struct out *out)
{
    if (out->fd_count == 0)
        return;
    head->msg_control = control;
    head->msg_controllen = CMSG_SPACE(out->fd_count * sizeof(int));
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(head);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(out->fd_count * sizeof(int));
    memcpy(CMSG_DATA(cmsg), out->fds, out->fd_count * sizeof(int));
}

/* false: the connection is of no use any more. */
static bool answer(struct lt_worker *w, struct lt_conn *conn, const struct lt_msg *request, int result,
                   struct out *out)
{
    union {
        char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control = { .bytes = { 0 } };
    struct lt_msg msg = {
        .magic = LT_MSG_MAGIC, .type = request->type, .flags = 1, .number = request->number, .result = result
    };
    if (result < 0) {
        struct lt_msg_error *error = (struct lt_msg_error *)(void *)out->body;
        memset(error, 0, sizeof *error);
        snprintf(error->text, sizeof error->text, "%s", lt_fail_text());
        out->size = sizeof *error;
        out->fd_count = 0;
    }
    msg.size = (uint32_t)sizeof msg + out->size;
    memcpy(w->answer, &msg, sizeof msg);
    struct iovec whole = { w->answer, msg.size };
    struct msghdr head = { .msg_iov = &whole, .msg_iovlen = 1 };
    put_fds(&head, control.bytes, out);
    lt_point("control.answer");
    ssize_t sent = sendmsg(conn->fd, &head, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        lt_worker_log(w, LT_LOG_DEBUG, "pid %d does not take its answer: %s", conn->peer.pid,
                      strerror(errno));
    for (uint32_t i = 0; i < out->close_count; i++)
        close(out->fds[i]);
    return sent >= 0;
}

static void begin_out(struct lt_worker *w, struct out *out)
{
    memset(out, 0, sizeof *out);
    out->body = w->answer + sizeof(struct lt_msg);
}

/* --- requests: each returns the answer's result --- */

static int check_build(const struct lt_hello *hello)
{
    if (hello->fingerprint == lt_fingerprint() && hello->layout_version == LT_LAYOUT_VERSION)
        return 0;
    return lt_fail(
        LEAT_EVERSION,
        "leatd %s has layout %u, fingerprint %016llx; the client has layout %u, fingerprint %016llx",
        LEAT_VERSION, LT_LAYOUT_VERSION, (unsigned long long)lt_fingerprint(), hello->layout_version,
        (unsigned long long)hello->fingerprint);
}

static void end_text(char *text, size_t size)
{
    text[size - 1] = 0;
}

static int say_hello(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    struct lt_hello hello;
    struct lt_hello_answer *reply = (struct lt_hello_answer *)(void *)out->body;
    memcpy(&hello, body, sizeof hello);
    end_text(hello.program, sizeof hello.program);
    end_text(hello.client_id, sizeof hello.client_id);
    int r = check_build(&hello);
    if (r < 0)
        return r;
    if (conn->said_hello)
        return lt_fail(LEAT_EPROTO, "this connection has said hello before");
    if (hello.client != 0)
        r = lt_clients_resume(w, conn, &hello);
    else if (hello.mailbox)
        r = lt_clients_enter(w, conn, &hello, out->fds);
    if (r < 0)
        return r;
    conn->said_hello = true;
    *reply = (struct lt_hello_answer){ .bus_id = w->coordinator->bus_id,
                                       .incarnation = w->coordinator->incarnation,
                                       .coordinator_bytes = w->coordinator_bytes,
                                       .bells_bytes = w->bells_bytes };
    if (conn->client) {
        reply->client = conn->client->id;
        reply->mailbox_bytes = conn->client->mailbox_bytes;
    }
    if (hello.client == 0 && hello.mailbox) {
        out->fd_count = 3;
        out->close_count = 1;
    }
    out->size = sizeof *reply;
    return 0;
}

static int say_bye(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    (void)body, (void)out;
    if (conn->client)
        lt_clients_dead(w, conn->client, "said goodbye");
    return 0;
}

static struct lt_job *new_job(struct lt_conn *conn, const struct lt_msg *head)
{
    struct lt_job *job = calloc(1, sizeof *job);
    if (!job || lt_peer_copy(&job->peer, &conn->peer) < 0) {
        free(job);
        return NULL;
    }
    job->conn_index = conn->index;
    job->conn_generation = conn->generation;
    job->head = *head;
    job->token = conn->client ? (uint64_t)conn->client->id << 32 | head->number : 0;
    return job;
}

static void answer_later(struct lt_worker *w, struct lt_conn *conn, struct out *out)
{
    conn->busy = true;
    listen_to(w, conn, false);
    out->later = true;
}

static int hand_over(struct lt_worker *w, struct lt_conn *conn, struct lt_job *job, struct out *out)
{
    if (!job)
        return lt_fail(LEAT_ENOMEM, "no memory for a request");
    answer_later(w, conn, out);
    lt_maker_add(w, job);
    return 0;
}

static int create_topic(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    const struct lt_msg *head = (const struct lt_msg *)(const void *)w->buffer;
    const struct lt_topic_create *request = body;
    if (!memchr(request->name, 0, sizeof request->name))
        return lt_topic_name_check(request->name, sizeof request->name);
    if (!memchr(request->owner, 0, sizeof request->owner))
        return lt_fail(LEAT_EINVAL, "an owner of more than %zu bytes", sizeof request->owner - 1);
    struct lt_job *job = new_job(conn, head);
    if (job)
        job->request = *request;
    return hand_over(w, conn, job, out);
}

static int delete_topic(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    const struct lt_msg *head = (const struct lt_msg *)(const void *)w->buffer;
    const struct lt_name *request = body;
    if (!memchr(request->name, 0, sizeof request->name))
        return lt_topic_name_check(request->name, sizeof request->name);
    int r = lt_topics_remove(w, conn, head->number, request->name);
    if (r != LT_TOPICS_LATER)
        return r;
    struct lt_job *job = new_job(conn, head);
    if (job) {
        job->kind = LT_JOB_DELETE;
        memcpy(job->request.name, request->name, sizeof job->request.name);
    }
    return hand_over(w, conn, job, out);
}

static int alter_topic(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    const struct lt_msg *head = (const struct lt_msg *)(const void *)w->buffer;
    const struct lt_topic_alter *request = body;
    if (!memchr(request->topic.name, 0, sizeof request->topic.name))
        return lt_topic_name_check(request->topic.name, sizeof request->topic.name);
    if (!memchr(request->topic.owner, 0, sizeof request->topic.owner))
        return lt_fail(LEAT_EINVAL, "an owner of more than %zu bytes", sizeof request->topic.owner - 1);
    struct lt_job *job = new_job(conn, head);
    if (job) {
        job->kind = LT_JOB_ALTER;
        job->alter = *request;
    }
    return hand_over(w, conn, job, out);
}

static int resume_topic(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    const struct lt_msg *head = (const struct lt_msg *)(const void *)w->buffer;
    const struct lt_topic_resume *request = body;
    if (!memchr(request->name, 0, sizeof request->name))
        return lt_topic_name_check(request->name, sizeof request->name);
    struct lt_job *job = new_job(conn, head);
    if (job) {
        job->kind = LT_JOB_RESUME;
        job->resume = *request;
    }
    return hand_over(w, conn, job, out);
}

static int list_topics(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    struct lt_name request;
    (void)conn;
    memcpy(&request, body, sizeof request);
    end_text(request.name, sizeof request.name);
    return lt_topics_list(w, request.name, (char *)out->body, LT_MSG_MAX - (uint32_t)sizeof(struct lt_msg),
                          &out->size);
}

static int describe_topic(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    const struct lt_topic_describe *request = body;
    (void)conn;
    if (!memchr(request->name, 0, sizeof request->name))
        return lt_topic_name_check(request->name, sizeof request->name);
    return lt_topics_describe(w, request, (struct lt_topic_describe_answer *)(void *)out->body,
                              LT_MSG_MAX - (uint32_t)sizeof(struct lt_msg), &out->size);
}

static int attach(struct lt_worker *w, struct lt_conn *conn, const struct lt_topic_attach *request,
                  struct out *out)
{
    struct lt_topic_attach_answer *reply = (struct lt_topic_attach_answer *)(void *)out->body;
    memset(reply, 0, sizeof *reply);
    int r = lt_topics_attach(w, conn, request, reply, &out->fds[0]);
    if (r < 0)
        return r;
    out->size = sizeof *reply;
    out->fd_count = out->close_count = 1;
    return 0;
}

static int attach_topic(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    const struct lt_msg *head = (const struct lt_msg *)(const void *)w->buffer;
    const struct lt_topic_attach *request = body;
    if (!memchr(request->name, 0, sizeof request->name))
        return lt_topic_name_check(request->name, sizeof request->name);
    int r = attach(w, conn, request, out);
    if (r != LEAT_ENOTOPIC || !w->config.auto_create || !request->write)
        return r;
    /* On first use, with the defaults; attached when it is there. */
    struct lt_job *job = new_job(conn, head);
    if (job) {
        job->attach = *request;
        memcpy(job->request.name, request->name, sizeof job->request.name);
        job->request.on_full = job->request.partitioner = job->request.mode = UINT32_MAX;
        job->request.level = job->request.no_log = UINT32_MAX;
        job->request.retention_bytes = job->request.retention_ms = INT64_MIN;
        job->request.if_not_exists = 1;
    }
    return hand_over(w, conn, job, out);
}

static int detach_topic(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    (void)out;
    return lt_topics_detach(w, conn, body);
}

static int attach_ring(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    struct lt_ring_attach_answer *reply = (struct lt_ring_attach_answer *)(void *)out->body;
    int r = lt_topics_attach_ring(w, conn, body, reply, &out->fds[0]);
    if (r < 0)
        return r;
    out->size = sizeof *reply;
    out->fd_count = out->close_count = 1;
    return 0;
}

static int attach_segment(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    const struct lt_msg *head = (const struct lt_msg *)(const void *)w->buffer;
    const struct lt_segment_attach *request = body;
    struct lt_part *part;
    int r = lt_topics_find_part(w, conn, request->topic_id, request->partition, &part);
    if (r < 0)
        return r;
    struct lt_job *job = new_job(conn, head);
    if (job) {
        job->kind = LT_JOB_SEGMENT;
        job->part = part;
        job->segment = *request;
        job->fd = -1;
        part->topic->refs++;
    }
    return hand_over(w, conn, job, out);
}

static int open_consumer(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    struct lt_consumer_answer *reply = (struct lt_consumer_answer *)(void *)out->body;
    struct lt_consumer_open request;
    memcpy(&request, body, sizeof request);
    end_text(request.client_id, sizeof request.client_id);
    memset(reply, 0, sizeof *reply);
    out->size = sizeof *reply;
    int r = lt_readers_open_consumer(w, conn->client, &request, &reply->bell);
    if (r == 0 && request.client_id[0] != 0)
        lt_clients_name(w, conn->client, request.client_id);
    return r;
}

static int close_consumer(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    const struct lt_consumer_close *request = body;
    (void)out;
    return lt_readers_close_consumer(w, conn->client, request->bell);
}

static int open_reader(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    const struct lt_reader_open *request = body;
    (void)out;
    return lt_readers_open(w, conn, request->entry, request->member != 0);
}

static int close_reader(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    const struct lt_reader_close *request = body;
    (void)out;
    return lt_readers_close(w, conn->client, request->entry);
}

static int tell_status(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    struct lt_status_answer *reply = (struct lt_status_answer *)(void *)out->body;
    (void)conn, (void)body;
    *reply = (struct lt_status_answer){ .incarnation = w->coordinator->incarnation,
                                        .started_ms = w->coordinator->started_ms,
                                        .memory_bytes = w->memory_bytes,
                                        .keeper_pid = w->coordinator->keeper_pid,
                                        .worker_pid = w->coordinator->worker_pid,
                                        .topics = w->topic_count,
                                        .groups = w->group_count,
                                        .clients = w->client_count };
    out->size = sizeof *reply;
    return 0;
}

static int tell_clients(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    const struct lt_clients *request = body;
    uint32_t room = (LT_MSG_MAX - (uint32_t)sizeof(struct lt_msg)) / (uint32_t)sizeof(struct lt_client_row);
    (void)conn;
    int rows = lt_clients_rows(w, request->from, (struct lt_client_row *)(void *)out->body, room);
    out->size = (uint32_t)rows * (uint32_t)sizeof(struct lt_client_row);
    return rows;
}

static int fold_now(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out)
{
    (void)conn, (void)body, (void)out;
    lt_fold(w, true);
    return 0;
}

/* --- one message --- */

struct kind {
    uint32_t size;
    bool for_clients; /* not on a control-only connection */
    int (*handle)(struct lt_worker *w, struct lt_conn *conn, const void *body, struct out *out);
    lt_group_request_fn *group; /* instead of handle: a body of `size` bytes or more */
};

static const struct kind kinds[] = {
    [LT_MSG_HELLO] = { sizeof(struct lt_hello), false, say_hello, NULL },
    [LT_MSG_BYE] = { 0, false, say_bye, NULL },
    [LT_MSG_TOPIC_CREATE] = { sizeof(struct lt_topic_create), false, create_topic, NULL },
    [LT_MSG_TOPIC_DELETE] = { sizeof(struct lt_name), false, delete_topic, NULL },
    [LT_MSG_TOPIC_LIST] = { sizeof(struct lt_name), false, list_topics, NULL },
    [LT_MSG_TOPIC_DESCRIBE] = { sizeof(struct lt_topic_describe), false, describe_topic, NULL },
    [LT_MSG_TOPIC_ATTACH] = { sizeof(struct lt_topic_attach), true, attach_topic, NULL },
    [LT_MSG_TOPIC_DETACH] = { sizeof(struct lt_topic_detach), true, detach_topic, NULL },
    [LT_MSG_RING_ATTACH] = { sizeof(struct lt_ring_attach), true, attach_ring, NULL },
    [LT_MSG_CONSUMER_OPEN] = { sizeof(struct lt_consumer_open), true, open_consumer, NULL },
    [LT_MSG_CONSUMER_CLOSE] = { sizeof(struct lt_consumer_close), true, close_consumer, NULL },
    [LT_MSG_READER_OPEN] = { sizeof(struct lt_reader_open), true, open_reader, NULL },
    [LT_MSG_READER_CLOSE] = { sizeof(struct lt_reader_close), true, close_reader, NULL },
    [LT_MSG_STATUS] = { 0, false, tell_status, NULL },
    [LT_MSG_CLIENTS] = { sizeof(struct lt_clients), false, tell_clients, NULL },
    [LT_MSG_FOLD] = { 0, false, fold_now, NULL },
    [LT_MSG_TOPIC_NAME] = { sizeof(struct lt_topic_name), true, NULL, lt_groups_topic_name },
    [LT_MSG_GROUP_JOIN] = { sizeof(struct lt_group_join), true, NULL, lt_groups_join },
    [LT_MSG_GROUP_LEAVE] = { sizeof(struct lt_group_leave), true, NULL, lt_groups_leave },
    [LT_MSG_GROUP_SYNC] = { sizeof(struct lt_group_sync), true, NULL, lt_groups_sync },
    [LT_MSG_GROUP_RELEASE] = { sizeof(struct lt_group_release), true, NULL, lt_groups_release },
    [LT_MSG_GROUP_COMMIT] = { sizeof(struct lt_group_commit), false, NULL, lt_groups_commit },
    [LT_MSG_GROUP_OFFSETS] = { sizeof(struct lt_group_offsets), false, NULL, lt_groups_offsets },
    [LT_MSG_GROUP_LIST] = { sizeof(struct lt_group_list), false, NULL, lt_groups_list },
    [LT_MSG_GROUP_DESCRIBE] = { sizeof(struct lt_group_describe), false, NULL, lt_groups_describe },
    [LT_MSG_GROUP_DELETE] = { sizeof(struct lt_name), false, NULL, lt_groups_delete },
    [LT_MSG_GROUP_VIEW] = { sizeof(struct lt_group_view), true, NULL, lt_groups_view },
    [LT_MSG_TOPIC_RESUME] = { sizeof(struct lt_topic_resume), false, resume_topic, NULL },
    [LT_MSG_TOPIC_ALTER] = { sizeof(struct lt_topic_alter), false, alter_topic, NULL },
    [LT_MSG_SEGMENT_ATTACH] = { sizeof(struct lt_segment_attach), true, attach_segment, NULL },
    [LT_MSG_GROUP_PROPOSE] = { sizeof(struct lt_group_propose), true, NULL, lt_groups_propose },
};

/* Another build's HELLO may have another size: what tells the builds apart stands in front. */
static int refuse_hello(const unsigned char *body, uint32_t size)
{
    struct lt_hello hello = { 0 };
    if (size < offsetof(struct lt_hello, client))
        return lt_fail(LEAT_EPROTO, "hello: %u bytes; wanted %zu", size, sizeof hello);
    memcpy(&hello, body, offsetof(struct lt_hello, client));
    int r = check_build(&hello);
    return r < 0 ? r : lt_fail(LEAT_EPROTO, "hello: %u bytes; wanted %zu", size, sizeof hello);
}

static int handle(struct lt_worker *w, struct lt_conn *conn, const struct lt_msg *head, size_t received,
                  struct out *out)
{
    const unsigned char *body = w->buffer + sizeof *head;
    uint32_t size = (uint32_t)(received - sizeof *head);
    if (received > LT_MSG_MAX)
        return lt_fail(LEAT_EPROTO, "a message of %zu bytes; at most %u", received, LT_MSG_MAX);
    if (head->magic != LT_MSG_MAGIC)
        return lt_fail(LEAT_EPROTO, "magic %#x; wanted %#x", head->magic, LT_MSG_MAGIC);
    if (head->size != received)
        return lt_fail(LEAT_EPROTO, "%s: the head says %u bytes, %zu came", lt_msg_name(head->type),
                       head->size, received);
    if (head->type >= sizeof kinds / sizeof *kinds ||
        (!kinds[head->type].handle && !kinds[head->type].group) || head->flags != 0)
        return lt_fail(LEAT_EPROTO, "type %u, flags %u: no request", head->type, head->flags);
    const struct kind *kind = &kinds[head->type];
    if (head->type == LT_MSG_HELLO && size != kind->size)
        return refuse_hello(body, size);
    if (kind->group ? size < kind->size : size != kind->size)
        return lt_fail(LEAT_EPROTO, "%s: a body of %u bytes; wanted %u", lt_msg_name(head->type), size,
                       kind->size);
    if (head->type != LT_MSG_HELLO && !conn->said_hello)
        return lt_fail(LEAT_EPROTO, "%s: before hello", lt_msg_name(head->type));
    if (kind->for_clients && !conn->client)
        return lt_fail(LEAT_EPROTO, "%s: this connection is no client's", lt_msg_name(head->type));
    if (!kind->group)
        return kind->handle(w, conn, body, out);
    int result = kind->group(w, conn, body, size, out->body, LT_MSG_MAX - (uint32_t)sizeof *head, &out->size);
    if (result == LT_GROUPS_LATER)
        answer_later(w, conn, out);
    return result;
}

/* false: nothing more to read now, or the connection is closed. */
static bool read_one(struct lt_worker *w, struct lt_conn *conn)
{
    struct lt_msg head;
    struct out out;
    ssize_t received = recv(conn->fd, w->buffer, LT_MSG_MAX, MSG_DONTWAIT | MSG_TRUNC);
    if (received < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (received < (ssize_t)sizeof head) { /* its end, or not even a head */
        close_conn(w, conn);
        return false;
    }
    memcpy(&head, w->buffer, sizeof head);
    begin_out(w, &out);
    lt_point("control.request");
    int result = handle(w, conn, &head, (size_t)received, &out);
    if (out.later)
        return false;
    if (!answer(w, conn, &head, result, &out)) {
        close_conn(w, conn);
        return false;
    }
    if (head.type == LT_MSG_HELLO && result == 0 && conn->client)
        lt_leases_add(w, conn->client);
    return true;
}

static struct lt_conn *find_conn(struct lt_worker *w, uint32_t index, uint32_t generation)
{
    struct lt_conn *conn = index < w->conn_room ? w->conns[index] : NULL;
    return conn && (conn->generation & 0xffffff) == (generation & 0xffffff) ? conn : NULL;
}

/* --- what was answered later --- */

static void answer_now(struct lt_worker *w, struct lt_conn *conn, const struct lt_msg *head, int result,
                       struct out *out)
{
    conn->busy = false;
    if (answer(w, conn, head, result, out))
        listen_to(w, conn, true);
    else
        close_conn(w, conn);
}

void lt_control_answer(struct lt_worker *w, uint32_t index, uint32_t generation, const struct lt_msg *head,
                       int result)
{
    struct lt_conn *conn = find_conn(w, index, generation);
    struct out out;
    if (!conn || !conn->busy)
        return; /* gone: it asks again */
    begin_out(w, &out);
    answer_now(w, conn, head, result, &out);
}

static void put_segment(struct lt_job *job, struct out *out)
{
    memcpy(out->body, &job->place, sizeof job->place);
    out->size = sizeof job->place;
    out->fds[0] = job->fd;
    out->fd_count = out->close_count = job->fd >= 0;
    job->fd = -1; /* closed with the answer */
}

static void answer_job(struct lt_worker *w, struct lt_job *job)
{
    struct lt_conn *conn = find_conn(w, job->conn_index, job->conn_generation);
    struct out out;
    int result = job->result;
    if (!conn || !conn->busy)
        return; /* gone: it asks again, and is recognised */
    begin_out(w, &out);
    if (result < 0)
        lt_fail(result, "%s", job->text);
    else if (job->kind == LT_JOB_SEGMENT)
        put_segment(job, &out);
    else if (job->attach.name[0] && conn->client)
        result = attach(w, conn, &job->attach, &out);
    answer_now(w, conn, &job->head, result, &out);
}

static void answer_jobs(struct lt_worker *w)
{
    uint64_t count;
    struct lt_job *job;
    if (read(w->wake_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        lt_worker_log(w, LT_LOG_ERROR, "eventfd: %s", strerror(errno));
    while ((job = lt_maker_done(w))) {
        answer_job(w, job);
        lt_job_free(job);
    }
}

/* --- the loop --- */

static void take_conn_event(struct lt_worker *w, uint32_t index, uint32_t generation, uint32_t events)
{
    struct lt_conn *conn = find_conn(w, index, generation);
    if (conn && conn->busy) {
        if (events & (EPOLLHUP | EPOLLERR))
            close_conn(w, conn);
        return;
    }
    for (int i = 0; conn && i < REQUESTS_A_TURN && read_one(w, conn); i++)
        ;
}

static void take_signal(struct lt_worker *w)
{
    struct signalfd_siginfo info;
    if (read(w->signal_fd, &info, sizeof info) != sizeof info)
        return;
    lt_worker_log(w, LT_LOG_INFO, "signal %u from pid %u", info.ssi_signo, info.ssi_pid);
    lt_keep_stop(&w->keep);
    lt_store_release32(&w->stopping, 1);
}

static void take_event(struct lt_worker *w, uint64_t tag, uint32_t events)
{
    uint32_t index = (uint32_t)tag, generation = (uint32_t)(tag >> 32) & 0xffffff;
    struct lt_client *client;
    switch ((enum source)(tag >> 56)) {
    case LISTEN:
        accept_all(w);
        break;
    case CONN:
        take_conn_event(w, index, generation, events);
        break;
    case PIDFD:
        client = index < LT_CLIENTS_MAX ? w->clients[index] : NULL;
        if (client && (client->generation & 0xffffff) == generation)
            lt_clients_dead(w, client, "is dead");
        break;
    case KEEPER:
        lt_keep_look(&w->keep);
        break;
    case WAKE:
        answer_jobs(w);
        break;
    case SIGNALS:
        take_signal(w);
        break;
    }
}

static void *run(void *argument)
{
    struct lt_worker *w = argument;
    struct epoll_event events[EVENTS];
    lt_worker_hurry();
    while (!lt_load_acquire32(&w->stopping)) {
        int count = epoll_wait(w->epoll_fd, events, EVENTS, -1);
        if (count < 0 && errno != EINTR)
            break;
        lt_worker_lock(w);
        for (int i = 0; i < count; i++)
            take_event(w, events[i].data.u64, events[i].events);
        lt_worker_unlock(w);
    }
    return NULL;
}

static int open_signals(struct lt_worker *w)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM); /* blocked by lt_worker_run, before there was a thread */
    w->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (w->signal_fd < 0)
        return lt_fail_errno(errno, "signalfd");
    return add_source(w, w->signal_fd, tag_of(SIGNALS, 0, 0), EPOLLIN);
}

int lt_control_start(struct lt_worker *w)
{
    w->listen_fd = lt_keep_fd(&w->keep, LT_KEEP_LISTEN, 0);
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    w->buffer = malloc(LT_MSG_MAX);
    w->answer = malloc(LT_MSG_MAX);
    if (w->epoll_fd < 0 || w->wake_fd < 0 || w->spare_fd < 0)
        return lt_fail_errno(errno, "epoll");
    if (!w->buffer || !w->answer)
        return lt_fail(LEAT_ENOMEM, "no memory for requests");
    return w->own_process ? open_signals(w) : 0;
}

int lt_control_serve(struct lt_worker *w)
{
    int r = add_source(w, w->wake_fd, tag_of(WAKE, 0, 0), EPOLLIN);
    if (r == 0)
        r = add_source(w, w->listen_fd, tag_of(LISTEN, 0, 0), EPOLLIN);
    if (r < 0)
        return r;
    lt_keep_watch(&w->keep, w->epoll_fd, tag_of(KEEPER, 0, 0));
    return lt_worker_thread(&w->control_thread, run, w);
}

void lt_control_wait(struct lt_worker *w)
{
    pthread_join(w->control_thread, NULL);
}

void lt_control_end(struct lt_worker *w)
{
    uint64_t one = 1;
    lt_store_release32(&w->stopping, 1);
    if (write(w->wake_fd, &one, sizeof one) != sizeof one)
        return; /* its counter is full: then it is awake */
}

void lt_control_free(struct lt_worker *w)
{
    for (uint32_t i = 0; i < w->conn_room; i++)
        if (w->conns[i])
            close_conn(w, w->conns[i]);
    free(w->conns);
    free(w->buffer);
    free(w->answer);
    int fds[] = { w->epoll_fd, w->wake_fd, w->spare_fd, w->signal_fd };
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}
