/* control: the raw control socket, without the library: for tests that send what the library never would, and that
 * want leatd's word for something without being its client.
 *
 * Calls fail the test unless they say otherwise. Every wait ends after CONTROL_SECONDS.
 */
#ifndef TESTS_CONTROL_H
#define TESTS_CONTROL_H

#include "shm/wire.h"

#include <stdbool.h>
#include <stddef.h>

enum { CONTROL_SECONDS = 20, CONTROL_FDS = 8 };

struct answer {
    struct lt_msg head;
    int fds[CONTROL_FDS]; /* that came along; the caller's to close */
    int fd_count;
    size_t body_size;
    union { /* the body */
        unsigned char bytes[LT_MSG_MAX];
        struct lt_msg_error error;
        struct lt_hello_answer hello;
        struct lt_status_answer status;
        struct lt_topic_attach_answer topic_attach;
        struct lt_ring_attach_answer ring_attach;
        struct lt_consumer_answer consumer;
        struct lt_client_row clients[1];
        struct lt_topic_describe_answer describe;
    };
};

/* A connection to the bus in this directory, or -1 with errno: nobody listens there. */
int control_connect(const char *bus_path);

/* Any bytes as one message. Returns what send() did. */
int control_send_raw(int fd, const void *bytes, size_t size);
/* The same with a descriptor sent along. */
int control_send_fd(int fd, const void *bytes, size_t size, int passed);
/* A well-formed head and this body; returns the request's number. */
uint32_t control_send(int fd, uint16_t type, const void *body, size_t body_size);

/* The next answer. false: the other side closed the connection. */
bool control_receive(int fd, struct answer *answer);
void control_close_fds(struct answer *answer);

/* Sends and receives the answer to it. Returns its result, or LEAT_EGONE when the connection was closed. */
int control_ask(int fd, uint16_t type, const void *body, size_t body_size, struct answer *answer);

/* A HELLO as this build's library says it. */
struct lt_hello control_hello_body(bool with_mailbox);
/* Says HELLO; returns the result. */
int control_hello(int fd, bool with_mailbox, struct answer *answer);

/* Connects, says HELLO without a mailbox, asks for the status, closes. false: nobody answered. */
bool control_status(const char *bus_path, struct lt_status_answer *status);

#endif
