/* link: see link.h.
 *
 *   call:  number + 1, send, wait for the answer of that number
 *            | the connection is lost: connect, hello (resume), standing requests, then send again
 *            ` nobody listens any more, or the hello is refused: the bus has ended, for good: *gone
 *
 * Everything that arrives is input: lengths are checked, descriptors that nobody asked for are closed.
 */
#include "client/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <leat.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "shm/place.h"

#define NS_PER_MS 1000000ll
#define FDS_MAX 8  /* room for what an answer may carry */
#define PAUSE_MS 5 /* between two tries to connect */
#define GOODBYE_MS 1000
#define SPIN_MAX_US 50

/* Positive conditions in here. */
#define AHEAD \
    32u /* requests that are said before the first is heard: both sides' sockets have room for so many */

enum { LOST = 1 }; /* the connection ended under the request */

/* A request that is said again to each new worker. */
struct lt_standing {
    struct lt_standing *next;
    uint16_t type;
    uint32_t body_size;
    uint32_t
        topic_id; /* of an attach, the last one of several: by that name there may be another topic now */
    unsigned char body[];
};

static int64_t now_ms(void)
{
    return lt_clock_mono_ns() / NS_PER_MS;
}

static int left_ms(int64_t deadline_ms)
{
    int64_t left = deadline_ms - now_ms();
    return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

static void close_all(const int *fds, int count)
{
    for (int i = 0; i < count; i++)
        close(fds[i]);
}

/* --- one message each way --- */

static int send_message(int fd, uint16_t type, uint32_t number, const void *body, uint32_t body_size,
                        int64_t deadline_ms)
{
    struct lt_msg head = {
        .magic = LT_MSG_MAGIC, .type = type, .size = (uint32_t)sizeof head + body_size, .number = number
    };
    struct iovec parts[2] = { { &head, sizeof head }, { (void *)(uintptr_t)body, body_size } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = body_size != 0 ? 2 : 1 };
    for (;;) {
        if (sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return 0;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return LOST;
        struct pollfd ready = { .fd = fd, .events = POLLOUT };
        if (left_ms(deadline_ms) == 0)
            return LEAT_ETIMEOUT;
        poll(&ready, 1, left_ms(deadline_ms));
    }
}

/* Receives one message into buffer. Its size; LOST is 0 here; or LEAT_ETIMEOUT. */
static int receive_message(int fd, unsigned char *buffer, int *fds, int *fd_count, int64_t deadline_ms,
                           int64_t spin_ns)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
    } control;
    struct iovec part = { buffer, LT_MSG_MAX };
    int64_t spin_until_ns = spin_ns != 0 ? lt_clock_mono_ns() + spin_ns : 0;
    *fd_count = 0;
    for (;;) {
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
        };
        ssize_t size = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (size < 0 && errno == EAGAIN && spin_until_ns != 0 && lt_clock_mono_ns() < spin_until_ns) {
            lt_relax();
            continue;
        }
        if (size < 0 && errno == EAGAIN) {
            struct pollfd ready = { .fd = fd, .events = POLLIN };
            if (left_ms(deadline_ms) == 0)
                return LEAT_ETIMEOUT;
            poll(&ready, 1, left_ms(deadline_ms));
            continue;
        }
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0)
            return 0;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
            if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                continue;
            int count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            for (int i = 0; i < count && *fd_count < FDS_MAX; i++)
                memcpy(&fds[(*fd_count)++], CMSG_DATA(c) + (size_t)i * sizeof(int), sizeof(int));
        }
        return (int)size;
    }
}

/* The answer to request `number` in buffer. 0, LOST, LEAT_ETIMEOUT, LEAT_EPROTO. */
static int receive_answer(struct lt_link *link, int fd, uint16_t type, uint32_t number, int *fds,
                          int *fd_count, int64_t deadline_ms)
{
    for (;;) {
        int size = receive_message(fd, link->buffer, fds, fd_count, deadline_ms,
                                   (int64_t)lt_load_relaxed64(&link->spin_ns));
        if (size <= 0)
            return size == 0 ? LOST : size;
        struct lt_msg head;
        memset(&head, 0, sizeof head);
        memcpy(&head, link->buffer, (size_t)size < sizeof head ? (size_t)size : sizeof head);
        if (head.magic != LT_MSG_MAGIC || (head.flags & 1) == 0 || head.size != (uint32_t)size ||
            (size_t)size < sizeof head) {
            close_all(fds, *fd_count);
            return lt_fail(LEAT_EPROTO, "answer to \"%s\": %d bytes, magic %#x, size %u", lt_msg_name(type),
                           size, head.magic, head.size);
        }
        if (head.number == number && head.type == type)
            return 0;
        close_all(fds, *fd_count); /* to a request that timed out */
    }
}

/* Says the error of an answer with a negative result, in leatd's words. */
static int told_error(const struct lt_link *link, const struct lt_msg *head)
{
    uint32_t size = head->size - (uint32_t)sizeof *head;
    const char *text = (const char *)link->buffer + sizeof *head;
    size_t length = strnlen(text, size < LT_MSG_TEXT ? size : LT_MSG_TEXT);
    return lt_fail(head->result, "%.*s", (int)length, length != 0 ? text : leat_strerror(head->result));
}

/* Says a request. 0, LOST or LEAT_ETIMEOUT. */
static int say(struct lt_link *link, int fd, struct lt_request *request, int64_t deadline_ms)
{
    if (request->number == 0)
        request->number = ++link->number;
    return send_message(fd, (uint16_t)request->type, request->number, request->body, request->body_size,
                        deadline_ms);
}

/* Its answer; `r` is what saying it came to. The answer's result, or LOST in *lost. Descriptors are handed over only with a
 * result that is no error. */
static int hear(struct lt_link *link, int fd, struct lt_request *request, int r, bool *lost,
                int64_t deadline_ms)
{
    int fds[FDS_MAX], fd_count = 0;
    struct lt_msg head;

    *lost = false;
    if (r == 0)
        r = receive_answer(link, fd, (uint16_t)request->type, request->number, fds, &fd_count, deadline_ms);
    if (r == LOST) {
        *lost = true;
        return LEAT_EGONE;
    }
    if (r == LEAT_ETIMEOUT)
        return lt_fail(LEAT_EGONE, "%s: leatd has not answered \"%s\" in time", link->directory,
                       lt_msg_name(request->type));
    if (r < 0)
        return r;

    memcpy(&head, link->buffer, sizeof head);
    int wanted = head.result < 0 ? 0 : LT_LINK_FDS;
    while (fd_count > wanted)
        close(fds[--fd_count]);
    if (head.result < 0)
        return told_error(link, &head);
    request->fd_count = fd_count;
    memcpy(request->fds, fds, sizeof(int) * (size_t)fd_count);
    uint32_t size = head.size - (uint32_t)sizeof head;
    request->got = size < request->answer_size ? size : request->answer_size;
    if (request->got != 0)
        memcpy(request->answer, link->buffer + sizeof head, request->got);
    return head.result;
}

/* One request and its answer on fd. */
static int exchange(struct lt_link *link, int fd, struct lt_request *request, bool *lost, int64_t deadline_ms)
{
    int r = say(link, fd, request, deadline_ms);
    return hear(link, fd, request, r, lost, deadline_ms);
}

/* --- standing requests --- */

static struct lt_standing **find_standing(struct lt_link *link, uint16_t type, const void *body,
                                          uint32_t size)
{
    struct lt_standing **at = &link->standing;
    while (*at != NULL &&
           ((*at)->type != type || (*at)->body_size != size || memcmp((*at)->body, body, size) != 0))
        at = &(*at)->next;
    return at;
}

static int remember(struct lt_link *link, const struct lt_request *request)
{
    struct lt_standing **at = find_standing(link, (uint16_t)request->type, request->body, request->body_size);
    if (*at == NULL) { /* in the order in which they were made: attaches before readers */
        struct lt_standing *standing = calloc(1, sizeof *standing + request->body_size);
        if (standing == NULL)
            return lt_fail(LEAT_ENOMEM, "%u bytes for a request", request->body_size);
        standing->type = (uint16_t)request->type;
        standing->body_size = request->body_size;
        memcpy(standing->body, request->body, request->body_size);
        *at = standing;
    }
    if (request->type == LT_MSG_TOPIC_ATTACH && request->got >= sizeof(struct lt_topic_attach_answer))
        (*at)->topic_id = ((const struct lt_topic_attach_answer *)request->answer)->topic_id;
    return 0;
}

static void forget(struct lt_link *link, const struct lt_request *request)
{
    struct lt_standing **at = find_standing(link, (uint16_t)request->forget, request->forget_body,
                                            request->forget_size);
    struct lt_standing *standing = *at;
    if (standing != NULL && standing->topic_id == request->forget_topic) {
        *at = standing->next;
        free(standing);
    }
}

/* Says one again. A refusal is no error of anybody's: the topic may be gone, and its handles will see that. */
static bool say_again(struct lt_link *link, int fd, const struct lt_standing *standing, int64_t deadline_ms)
{
    struct lt_topic_attach_answer answer = { 0 };
    bool lost;
    struct lt_request request = { .type = (enum lt_msg_type)standing->type,
                                  .body = standing->body,
                                  .body_size = standing->body_size,
                                  .answer = &answer,
                                  .answer_size = sizeof answer };
    int r = exchange(link, fd, &request, &lost, deadline_ms);
    close_all(request.fds, request.fd_count);
    if (r < 0 || standing->type != LT_MSG_TOPIC_ATTACH || answer.topic_id == standing->topic_id)
        return !lost;
    /* Another topic by that name, which nobody here asked for. */
    struct lt_topic_detach detach = { .topic_id = answer.topic_id,
                                      .write = ((const struct lt_topic_attach *)standing->body)->write };
    request = (struct lt_request){ .type = LT_MSG_TOPIC_DETACH, .body = &detach, .body_size = sizeof detach };
    exchange(link, fd, &request, &lost, deadline_ms);
    close_all(request.fds, request.fd_count);
    return !lost;
}

/* --- connecting --- */

/* A descriptor; LEAT_EGONE (nobody listens: for good), LEAT_EPERM ...; or -EAGAIN: try again. */
static int connect_once(const struct lt_link *link)
{
    struct sockaddr_un address;
    int dir_fd;
    int r = lt_place_socket(link->directory, LT_CONTROL_SOCKET, &address, &dir_fd);
    if (r < 0)
        return r;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        r = lt_fail_errno(errno, "socket");
    } else if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        int error = errno;
        close(fd);
        fd = -1;
        if (error == EAGAIN || error == EINTR)
            r = -EAGAIN;
        else if (error == ENOENT || error == ECONNREFUSED || error == ENOTDIR)
            r = lt_fail(LEAT_EGONE, "%s: no leatd runs there (%s)", link->directory, strerror(error));
        else
            r = lt_fail_errno(error, "%s/%s", link->directory, LT_CONTROL_SOCKET);
    }
    if (dir_fd >= 0)
        close(dir_fd);
    return fd >= 0 ? fd : r;
}

static void pause_ms(int ms)
{
    poll(NULL, 0, ms);
}

/* Hello on a fresh connection. The answer's result or *lost. */
static int say_hello(struct lt_link *link, int fd, struct lt_hello_answer *answer, int fds[LT_LINK_FDS],
                     int *fd_count, bool *lost, int64_t deadline_ms)
{
    link->hello.client = link->client;
    link->hello.bus_id = link->bus_id;
    struct lt_request request = { .type = LT_MSG_HELLO,
                                  .body = &link->hello,
                                  .body_size = sizeof link->hello,
                                  .answer = answer,
                                  .answer_size = sizeof *answer };
    int r = exchange(link, fd, &request, lost, deadline_ms);
    if (r < 0)
        return r;
    *fd_count = request.fd_count;
    memcpy(fds, request.fds, sizeof request.fds);
    int wanted = link->hello.mailbox != 0 && link->client == 0 ? LT_LINK_FDS : 0;
    bool right = request.got == sizeof *answer && *fd_count >= wanted &&
                 (link->client == 0 || (answer->client == link->client && answer->bus_id == link->bus_id));
    while (*fd_count > (right ? wanted : 0))
        close(fds[--*fd_count]);
    return right ? 0
                 : lt_fail(LEAT_EPROTO, "hello was answered with %u bytes, %d descriptors, client %u",
                           request.got, *fd_count, answer->client);
}

/* Until a worker greets us, or nobody will, or the deadline. On a resume everything that stands is said again. The new
 * connection takes the place of the old one. */
static int reach(struct lt_link *link, struct lt_hello_answer *answer, int fds[LT_LINK_FDS],
                 int64_t deadline_ms)
{
    for (;;) {
        bool lost = false;
        int fd_count = 0;
        int fd = connect_once(link);
        if (fd < 0 && fd != -EAGAIN) {
            if (fd == LEAT_EGONE && link->gone != NULL)
                lt_store_release32(link->gone, 1);
            return fd;
        }
        if (fd >= 0) {
            int r = say_hello(link, fd, answer, fds, &fd_count, &lost, deadline_ms);
            if (r >= 0) {
                for (struct lt_standing *s = link->standing; s != NULL && !lost; s = s->next)
                    lost = !say_again(link, fd, s, deadline_ms);
            } else if (!lost) {
                close(fd);
                if (link->client != 0 && link->gone != NULL && left_ms(deadline_ms) > 0) {
                    lt_store_release32(link->gone, 1); /* leatd does not know us any more */
                    r = lt_fail(LEAT_EGONE, "%s: client %u was refused after a restart of leatd's worker: %s",
                                link->directory, link->client, lt_fail_text());
                }
                return r;
            }
            if (!lost && link->fd < 0) {
                link->fd = fd;
                return 0;
            }
            if (!lost) {
                dup3(fd, link->fd, O_CLOEXEC);
                close(fd);
                return 0;
            }
            close_all(fds, fd_count);
            close(fd);
        }
        if (left_ms(deadline_ms) == 0 || lt_load_relaxed32(&link->stop) != 0)
            return lt_fail(LEAT_EGONE, "%s: leatd's worker does not come back", link->directory);
        pause_ms(PAUSE_MS);
    }
}

static void hang_up(struct lt_link *link)
{
    link->up = false;
    shutdown(link->fd, SHUT_RDWR); /* so that a poll() of it returns; the number stays ours */
}

static int reconnect(struct lt_link *link, int64_t deadline_ms)
{
    struct lt_hello_answer answer;
    int fds[LT_LINK_FDS];
    int r = reach(link, &answer, fds, deadline_ms);
    if (r >= 0) {
        link->up = true;
        link->reached++;
    }
    return r;
}

/* --- the calls --- */

static void introduce(struct lt_hello *hello, bool mailbox)
{
    char host[64] = "";
    uint32_t random = 0;
    memset(hello, 0, sizeof *hello);
    hello->fingerprint = lt_fingerprint();
    hello->layout_version = LT_LAYOUT_VERSION;
    hello->mailbox = mailbox;
    snprintf(hello->library_version, sizeof hello->library_version, "%s", LEAT_VERSION);
    snprintf(hello->program, sizeof hello->program, "%.31s", program_invocation_short_name);
    gethostname(host, sizeof host - 1);
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
        random = (uint32_t)getpid();
    snprintf(hello->client_id, sizeof hello->client_id, "%.31s-%.50s-%08x", program_invocation_short_name,
             host, random);
}

int lt_link_open(struct lt_link *link, const char *directory, bool mailbox, uint32_t *gone,
                 struct lt_hello_answer *answer, int fds[LT_LINK_FDS], int64_t patience_ms)
{
    memset(link, 0, sizeof *link);
    link->fd = -1;
    if (strlen(directory) >= sizeof link->directory)
        return lt_fail(LEAT_EINVAL, "a path of %zu bytes", strlen(directory));
    snprintf(link->directory, sizeof link->directory, "%s", directory);
    link->buffer = malloc(LT_MSG_MAX);
    if (link->buffer == NULL)
        return lt_fail(LEAT_ENOMEM, "%u bytes for messages", LT_MSG_MAX);
    introduce(&link->hello, mailbox);
    link->gone = gone;
    int r = reach(link, answer, fds, now_ms() + patience_ms);
    if (r < 0) {
        free(link->buffer);
        link->buffer = NULL;
        return r;
    }
    pthread_mutex_init(&link->mutex, NULL);
    link->client = answer->client;
    link->bus_id = answer->bus_id;
    link->up = true;
    return 0;
}

void lt_link_spin(struct lt_link *link, int64_t spin_us)
{
    uint64_t spin_ns = spin_us < 0 || spin_us > SPIN_MAX_US ? SPIN_MAX_US * 1000 : (uint64_t)spin_us * 1000;
    if (lt_load_relaxed64(&link->spin_ns) < spin_ns) /* relaxed: sooner or later */
        lt_store_relaxed64(&link->spin_ns, spin_ns);
}

void lt_link_stop(struct lt_link *link)
{
    lt_store_relaxed32(&link->stop, 1);
}

void lt_link_close(struct lt_link *link, bool bye)
{
    if (bye) {
        /* Said again when a worker died under it: the next one would keep us for as long as this process lives. */
        struct lt_request request = { .type = LT_MSG_BYE, .timeout_ms = GOODBYE_MS };
        lt_link_call(link, &request);
    }
    close(link->fd);
    link->fd = -1;
    while (link->standing != NULL) {
        struct lt_standing *next = link->standing->next;
        free(link->standing);
        link->standing = next;
    }
    free(link->buffer);
    link->buffer = NULL;
    pthread_mutex_destroy(&link->mutex);
}

static bool is_gone(const struct lt_link *link)
{
    return link->gone != NULL && lt_load_acquire32(link->gone) != 0;
}

static int call(struct lt_link *link, struct lt_request *request)
{
    int64_t patience_ms = now_ms() + (request->type == LT_MSG_BYE ? GOODBYE_MS : LT_LINK_PATIENCE_MS);
    int64_t timeout_ms = request->timeout_ms != 0 ? request->timeout_ms : LT_LINK_ANSWER_MS;

    if (request->forget != 0)
        forget(link, request);
    for (;;) {
        if (is_gone(link))
            return lt_fail(LEAT_EGONE, "%s: the bus has ended", link->directory);
        if (!link->up) {
            int r = request->once ? lt_fail(LEAT_EGONE, "%s: not connected", link->directory)
                                  : reconnect(link, patience_ms);
            if (r < 0)
                return r;
        }
        bool lost;
        int r = exchange(link, link->fd, request, &lost, now_ms() + timeout_ms);
        if (lost || r == LEAT_EGONE || r == LEAT_EPROTO)
            hang_up(link); /* whatever comes on this connection now is not to be trusted to be ours */
        request->reached = link->reached;
        if (!lost || request->once) {
            if (r >= 0 && request->remember) {
                int failed = remember(link, request);
                if (failed < 0)
                    return failed;
            }
            return r;
        }
        if (left_ms(patience_ms) == 0)
            return lt_fail(LEAT_EGONE, "%s: leatd's worker does not stay", link->directory);
    }
}

int lt_link_call(struct lt_link *link, struct lt_request *request)
{
    request->number = 0;
    request->got = 0;
    request->fd_count = 0;
    pthread_mutex_lock(&link->mutex);
    int r = call(link, request);
    pthread_mutex_unlock(&link->mutex);
    return r;
}

/* Some that are said one behind the other and heard in that order. How many were answered: less than all when the connection is
 * lost, or was never there. */
static uint32_t call_some(struct lt_link *link, struct lt_request *requests, int *results, uint32_t count)
{
    int64_t deadline_ms = now_ms() + LT_LINK_ANSWER_MS;
    uint32_t said = 0, heard = 0;
    bool lost = !link->up || is_gone(link);
    for (; !lost && said < count; said++) {
        if (requests[said].forget != 0)
            forget(link, &requests[said]);
        lost = say(link, link->fd, &requests[said], deadline_ms) != 0;
    }
    for (; !lost && heard < said; heard++) {
        struct lt_request *request = &requests[heard];
        int r = hear(link, link->fd, request, 0, &lost, deadline_ms);
        if (lost || r == LEAT_EGONE || r == LEAT_EPROTO)
            break;
        if (r >= 0 && request->remember) {
            int failed = remember(link, request);
            r = failed < 0 ? failed : r;
        }
        request->reached = link->reached;
        results[heard] = r;
    }
    if (said != 0 && heard < count)
        hang_up(link); /* what comes on this connection now would be taken for another's */
    return heard;
}

void lt_link_call_all(struct lt_link *link, struct lt_request *requests, int *results, uint32_t count)
{
    pthread_mutex_lock(&link->mutex);
    for (uint32_t at = 0; at < count;) {
        uint32_t some = count - at < AHEAD ? count - at : AHEAD;
        for (uint32_t i = at; i < at + some; i++) {
            requests[i].number = requests[i].got = 0;
            requests[i].fd_count = 0;
        }
        uint32_t heard = call_some(link, requests + at, results + at, some);
        for (uint32_t i = at + heard; i < at + some; i++) /* again, and with all patience */
            results[i] = call(link, &requests[i]);
        at += some;
    }
    pthread_mutex_unlock(&link->mutex);
}

int lt_link_stand(struct lt_link *link, const struct lt_request *request, uint32_t reached)
{
    int r = 1;
    pthread_mutex_lock(&link->mutex);
    if (link->reached == reached) {
        if (request->forget != 0)
            forget(link, request);
        r = remember(link, request);
    }
    pthread_mutex_unlock(&link->mutex);
    return r;
}

int lt_link_mend(struct lt_link *link)
{
    int r = 0;
    pthread_mutex_lock(&link->mutex);
    struct pollfd state = { .fd = link->fd, .events = POLLRDHUP };
    if (link->up && poll(&state, 1, 0) > 0)
        hang_up(link);
    if (is_gone(link))
        r = LEAT_EGONE;
    else if (!link->up)
        r = reconnect(link, now_ms() + LT_LINK_PATIENCE_MS);
    pthread_mutex_unlock(&link->mutex);
    return r;
}
