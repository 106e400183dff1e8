/* control: see control.h. */
#include "control.h"
#include "test.h"

#include "leat.h"
#include "shm/place.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int control_connect(const char *bus_path)
{
    struct sockaddr_un address;
    int directory = -1;
    if (lt_place_socket(bus_path, LT_CONTROL_SOCKET, &address, &directory) != 0) {
        errno = ENOENT;
        return -1;
    }
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    int r = connect(fd, (struct sockaddr *)&address, sizeof address);
    int error = errno;
    if (directory >= 0)
        close(directory);
    if (r == 0)
        return fd;
    close(fd);
    errno = error;
    return -1;
}

int control_send_raw(int fd, const void *bytes, size_t size)
{
    return (int)send(fd, bytes, size, MSG_NOSIGNAL);
}

int control_send_fd(int fd, const void *bytes, size_t size, int passed)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec part = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &passed, sizeof passed);
    return (int)sendmsg(fd, &message, MSG_NOSIGNAL);
}

uint32_t control_send(int fd, uint16_t type, const void *body, size_t body_size)
{
    static uint32_t last_number;
    static unsigned char message[LT_MSG_MAX];
    struct lt_msg head = { .magic = LT_MSG_MAGIC,
                           .type = type,
                           .size = (uint32_t)(sizeof head + body_size),
                           .number = ++last_number };
    CHECK(sizeof head + body_size <= sizeof message);
    memcpy(message, &head, sizeof head);
    if (body_size > 0)
        memcpy(message + sizeof head, body, body_size);
    control_send_raw(fd, message, sizeof head + body_size); /* a closed connection shows at the answer */
    return head.number;
}

static void take_fds(struct msghdr *message, struct answer *answer)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        answer->fd_count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(answer->fds, CMSG_DATA(c), (size_t)answer->fd_count * sizeof(int));
    }
}

bool control_receive(int fd, struct answer *answer)
{
    char control[CMSG_SPACE(sizeof(int) * CONTROL_FDS)];
    struct iovec parts[2] = { { .iov_base = &answer->head, .iov_len = sizeof answer->head },
                              { .iov_base = answer->bytes, .iov_len = sizeof answer->bytes } };
    struct msghdr message = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control
    };
    answer->fd_count = 0;
    struct pollfd readable = { .fd = fd, .events = POLLIN };
    if (poll(&readable, 1, CONTROL_SECONDS * 1000 * test_slowdown()) == 0)
        FAIL("leatd did not answer in %d s", CONTROL_SECONDS);
    ssize_t size = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (size <= 0) {
        CHECK(size == 0 || errno == ECONNRESET || errno == EPIPE);
        return false;
    }
    take_fds(&message, answer);
    CHECK(!(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)));
    CHECK(size >= (ssize_t)sizeof answer->head);
    CHECK_EQ(answer->head.magic, LT_MSG_MAGIC);
    CHECK_EQ(answer->head.size, size);
    CHECK_EQ(answer->head.flags, 1);
    answer->body_size = (size_t)size - sizeof answer->head;
    if (answer->head.result < 0) {
        CHECK_EQ(answer->body_size, sizeof answer->error);
        CHECK(memchr(answer->error.text, 0, sizeof answer->error.text) != NULL);
    }
    return true;
}

void control_close_fds(struct answer *answer)
{
    for (int i = 0; i < answer->fd_count; i++)
        close(answer->fds[i]);
    answer->fd_count = 0;
}

int control_ask(int fd, uint16_t type, const void *body, size_t body_size, struct answer *answer)
{
    uint32_t number = control_send(fd, type, body, body_size);
    if (!control_receive(fd, answer))
        return LEAT_EGONE;
    CHECK_EQ(answer->head.number, number);
    CHECK_EQ(answer->head.type, type);
    return answer->head.result;
}

struct lt_hello control_hello_body(bool with_mailbox)
{
    struct lt_hello hello = { .fingerprint = lt_fingerprint(),
                              .layout_version = LT_LAYOUT_VERSION,
                              .mailbox = with_mailbox,
                              .library_version = LEAT_VERSION,
                              .program = "test",
                              .client_id = "test" };
    return hello;
}

int control_hello(int fd, bool with_mailbox, struct answer *answer)
{
    struct lt_hello hello = control_hello_body(with_mailbox);
    return control_ask(fd, LT_MSG_HELLO, &hello, sizeof hello, answer);
}

bool control_status(const char *bus_path, struct lt_status_answer *status)
{
    struct answer answer;
    int fd = control_connect(bus_path);
    if (fd < 0)
        return false;
    bool answered = control_hello(fd, false, &answer) >= 0;
    control_close_fds(&answer);
    answered = answered && control_ask(fd, LT_MSG_STATUS, NULL, 0, &answer) >= 0;
    close(fd);
    if (answered)
        *status = answer.status;
    return answered;
}
