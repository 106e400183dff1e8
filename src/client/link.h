/* link: the control socket: one request and its answer at a time, reconnected when leatd's worker was restarted.
 *
 * The descriptor's number stays the same for the life of the bus: a new connection is put in place of the old one, so that
 * the lease thread can poll it without asking. Requests that have to hold as long as the client does (attaches, consumers,
 * readers) are kept as *standing* and said again to each new worker, which only has to compare them with what it found
 * in the regions.
 *
 * When the connection is lost under a request, the request is repeated on the next one: wire.h makes every request
 * mean the same when it is repeated.
 */
#ifndef LT_CLIENT_LINK_H
#define LT_CLIENT_LINK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/wire.h"

#define LT_LINK_FDS 3
#define LT_LINK_PATIENCE_MS 10000 /* for a worker that is being restarted */
#define LT_LINK_ANSWER_MS 30000   /* for an answer, unless the request says otherwise */

struct lt_standing;

struct lt_link {
    pthread_mutex_t mutex;
    int fd; /* -1: never was connected */
    bool up;
    uint32_t reached; /* +1 with each connection */
    uint64_t
        spin_ns; /* how long an answer is looked for before this sleeps: 0, but with a consumer that spins */
    uint32_t *gone; /* the bus's; NULL for a link of one request */
    uint32_t stop;  /* the bus is being closed */
    uint32_t number;
    uint32_t client;
    uint64_t bus_id;
    char directory[4096];
    struct lt_hello hello;
    struct lt_standing *standing;
    unsigned char *buffer; /* LT_MSG_MAX bytes */
};

struct lt_request {
    enum lt_msg_type type;
    const void *body;
    uint32_t body_size;
    void *answer; /* room for the answer's body; may be NULL */
    uint32_t answer_size;
    uint32_t number;      /* out: its number, which it keeps when it is sent again, so that leatd knows it */
    uint32_t got;         /* out: bytes of the answer's body */
    uint32_t reached;     /* out: link->reached when it was answered */
    int fds[LT_LINK_FDS]; /* out: the caller's to close */
    int fd_count;
    int64_t timeout_ms; /* 0: LT_LINK_ANSWER_MS */
    bool once;          /* do not reconnect for it */
    bool remember;      /* once answered well, it stands */
    /* what stood and shall not be said again: taken off before this one is sent */
    enum lt_msg_type forget;
    const void *forget_body;
    uint32_t forget_size;
    uint32_t
        forget_topic; /* of an attach: only when it stands for this topic, and not for one made anew under the name */
};

/* Connects and says hello; fds of the regions when hello.mailbox was asked for. 0, or LEAT_EGONE, LEAT_EVERSION, LEAT_EPERM ... */
int lt_link_open(struct lt_link *link, const char *directory, bool mailbox, uint32_t *gone,
                 struct lt_hello_answer *answer, int fds[LT_LINK_FDS], int64_t patience_ms);
/* A consumer of this process spins for so long (-1: always) before it sleeps: so do its requests, but no longer than an answer takes
 * that leatd can give at once. To sleep costs a wake, and the CPU, which another may have by then. */
void lt_link_spin(struct lt_link *link, int64_t spin_us);
/* No more waiting for a worker from here on: a reconnect that is under way in another thread ends. */
void lt_link_stop(struct lt_link *link);
/* Says goodbye when `bye`. */
void lt_link_close(struct lt_link *link, bool bye);

/* The answer's result (>= 0), or a negative error with its message. */
int lt_link_call(struct lt_link *link, struct lt_request *request);

/* The same for several that do not wait for one another: they travel together, for the price of one or two. Errors are in
 * results; lt_fail's words are the last one's. */
void lt_link_call_all(struct lt_link *link, struct lt_request *requests, int *results, uint32_t count);

/* Remembers what was answered otherwise than it has to stand (forgets what `request` says) without saying it, if no worker was
 * greeted since `reached`: it would not know. 0; 1: say it; or LEAT_ENOMEM. */
int lt_link_stand(struct lt_link *link, const struct lt_request *request, uint32_t reached);

/* The lease thread, after a hang-up: connects again unless somebody did. 0, or LEAT_EGONE: *gone tells whether for good. */
int lt_link_mend(struct lt_link *link);

#endif
