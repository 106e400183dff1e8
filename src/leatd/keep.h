/* keep: what keeper and worker say to each other, and the table of descriptors that both hold.
 *
 * The link is a SOCK_SEQPACKET pair. A message is a struct lt_keep_msg, CONFIG with a struct lt_config behind it, STORE with
 * a descriptor. Both ends are the same program, so there is no version to check.
 *
 *   a worker starts       keeper: CONFIG, STORE for every stored pair, DONE      worker: READY, once clients can connect
 *   a keeper starts       worker: CONFIG, STORE for every stored pair, DONE      keeper: READY
 *   later                 worker: STORE, DROP, each answered by ANSWER
 *                         keeper: STOP (end in good order)   worker: STOP (I was told to end: end us both)
 *
 * A worker stores a descriptor before anybody is told of it. So a death of either leaves every descriptor that a client
 * can have with the other; a pair that was stored and never announced is found, and dropped, at adoption.
 */
#ifndef LT_LEATD_KEEP_H
#define LT_LEATD_KEEP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "leatd/config.h"

enum lt_keep_kind {
    LT_KEEP_LISTEN = 1,
    LT_KEEP_LOCK = 2,
    LT_KEEP_DIE = 3, /* --die-with-fd: the bus ends when this one is at its end */
    LT_KEEP_COORDINATOR = 4,
    LT_KEEP_BELLS = 5,
    LT_KEEP_MAILBOX = 6, /* id: client */
    LT_KEEP_PIDFD = 7,   /* id: client; note: pid, uid, gid */
    LT_KEEP_TOPIC = 8,   /* id: topic id; note: bytes */
    LT_KEEP_RING = 9,    /* id: ring id; note: topic, partition, ring, bytes */
    LT_KEEP_GROUP = 10,  /* id: number of the page; note: bytes */
    LT_KEEP_DATA = 11,   /* the lock of the data directory */
};

enum lt_keep_verb {
    LT_KEEP_CONFIG = 1,
    LT_KEEP_STORE = 2,
    LT_KEEP_DROP = 3,
    LT_KEEP_DONE = 4,
    LT_KEEP_READY = 5,
    LT_KEEP_STOP = 6,
    LT_KEEP_ANSWER = 7,
};

struct lt_keep_note {
    int32_t pid;
    uint32_t uid, gid;
    uint32_t topic_id, partition, ring;
    uint64_t bytes;
};

struct lt_keep_msg {
    uint32_t verb;
    uint32_t kind;
    uint64_t id;
    uint32_t number; /* of STORE and DROP; the answer has the same */
    int32_t result;  /* ANSWER: 0 or -errno */
    struct lt_keep_note note;
};

struct lt_keep_pair {
    uint32_t kind;
    int fd;
    uint64_t id;
    struct lt_keep_note note;
    uint32_t next; /* in its chain, +1 */
};

#define LT_KEEP_CHAINS 4096u

/* Descriptors by (kind, id). Owns them. */
struct lt_keep_table {
    struct lt_keep_pair *pairs;
    uint32_t count, room;
    uint32_t chains[LT_KEEP_CHAINS]; /* index + 1 */
};

struct lt_keep_pair *lt_keep_find(struct lt_keep_table *table, uint32_t kind, uint64_t id);
/* Takes the descriptor; an older one of the same key is closed. 0 or -ENOMEM (then the caller keeps the descriptor). */
int lt_keep_add(struct lt_keep_table *table, uint32_t kind, uint64_t id, const struct lt_keep_note *note,
                int fd);
void lt_keep_remove(struct lt_keep_table *table, uint32_t kind, uint64_t id);
void lt_keep_clear(struct lt_keep_table *table);

/* One message. pass_fd -1: none. 0 or -errno. */
int lt_keep_send(int link, const struct lt_keep_msg *msg, const struct lt_config *config, int pass_fd);
/* 1: a message; 0: the other end is gone; -errno. *passed_fd is -1 when none came. */
int lt_keep_receive(int link, struct lt_keep_msg *msg, struct lt_config *config, int *passed_fd, int flags);
/* CONFIG (with our pid), every pair, DONE. 0 or -errno. */
int lt_keep_send_all(int link, const struct lt_keep_table *table, const struct lt_config *config,
                     int32_t keeper_pid, int32_t worker_pid);
/* The other end of that; who is who stands in the note of CONFIG. 0, 1: the other end is gone before DONE, or -errno. */
int lt_keep_receive_all(int link, struct lt_keep_table *table, struct lt_config *config, int32_t *keeper_pid,
                        int32_t *worker_pid);

/* Starts this same program with `option NUMBER`, NUMBER being one end of a new pair; the other end into *link. The child's
 * pid or -errno. All that it needs comes over the link. */
int lt_keep_spawn(const char *option, int *link);

/* --- the worker's side --- */

struct lt_keep {
    pthread_mutex_t
        lock;   /* one request at a time; taken inside the worker's own mutex, never the other way round */
    int link;   /* -1: a host, which has no keeper, or a keeper that could not be replaced yet */
    bool alone; /* a host */
    bool stop_wanted; /* the keeper said STOP */
    uint32_t number;
    int32_t keeper_pid;
    struct lt_keep_table table;
    const struct lt_config *config;
    int epoll_fd; /* the link is watched there, under this tag; -1: not yet */
    uint64_t epoll_tag;
    void (*replaced)(void *user, int32_t keeper_pid); /* both are called under the lock, in any thread */
    void (*stop)(void *user);
    void *user;
};

void lt_keep_init(struct lt_keep *keep, const struct lt_config *config, int link);
void lt_keep_end(struct lt_keep *keep);
/* Stores with the keeper. Takes the descriptor when it returns 0; else LEAT_E... with a message. */
int lt_keep_store(struct lt_keep *keep, uint32_t kind, uint64_t id, const struct lt_keep_note *note, int fd);
/* The descriptor of a pair, or -1. It stays the table's. */
int lt_keep_fd(struct lt_keep *keep, uint32_t kind, uint64_t id);
uint32_t lt_keep_count(struct lt_keep *keep);
/* Drops there and closes here. */
void lt_keep_drop(struct lt_keep *keep, uint32_t kind, uint64_t id);
/* Watches the link from now on. */
void lt_keep_watch(struct lt_keep *keep, int epoll_fd, uint64_t epoll_tag);
/* The link is readable: takes STOP, replaces a keeper that died. */
void lt_keep_look(struct lt_keep *keep);
/* Clients can connect. */
void lt_keep_ready(struct lt_keep *keep, int32_t worker_pid);
/* The worker was told to end: so is the keeper. */
void lt_keep_stop(struct lt_keep *keep);

#endif
