/* wire: what goes over the control socket (SOCK_SEQPACKET, BUS/control): one request, one answer, in order.
 *
 * A message is a struct lt_msg and a body, at most LT_MSG_MAX bytes. All numbers are in host order: one machine. leatd checks
 * every length; a message that makes no sense is answered with LEAT_EPROTO and the connection goes on, unless not even the
 * head is whole: then it is closed. Every request may be repeated after a reconnect and then means the same request.
 * Descriptors travel with answers only, never with requests: leatd closes any it gets.
 */
#ifndef LT_SHM_WIRE_H
#define LT_SHM_WIRE_H

#include <stdint.h>

#include "shm/topic.h"

#define LT_MSG_MAX 65536u
#define LT_MSG_TEXT 256u
#define LT_MSG_MAGIC 0x6c743031u
#define LT_CONTROL_SOCKET "control" /* in the bus directory */
#define LT_COUNTERS_FILE "counters"
#define LT_LOCK_FILE "lock"

enum lt_msg_type {
    LT_MSG_HELLO = 1,
    LT_MSG_BYE = 2,
    LT_MSG_TOPIC_CREATE = 3,
    LT_MSG_TOPIC_DELETE = 4,
    LT_MSG_TOPIC_LIST = 5,
    LT_MSG_TOPIC_DESCRIBE = 6,
    LT_MSG_TOPIC_ATTACH = 7, /* + fd of the topic's page, read-only */
    LT_MSG_TOPIC_DETACH = 8,
    LT_MSG_RING_ATTACH = 9, /* + fd of one ring */
    LT_MSG_CONSUMER_OPEN = 10,
    LT_MSG_CONSUMER_CLOSE = 11,
    LT_MSG_READER_OPEN = 12,
    LT_MSG_READER_CLOSE = 13,
    LT_MSG_STATUS = 14,
    LT_MSG_CLIENTS = 15,
    LT_MSG_FOLD = 16, /* write all counters to the file now */
};

struct lt_msg {
    uint32_t magic;
    uint16_t type;
    uint16_t flags;  /* 1: an answer */
    uint32_t size;   /* head and body */
    uint32_t number; /* of the request, chosen by the client, increasing */
    int32_t result;  /* answers: >= 0 or LEAT_E... */
    uint32_t reserved;
};

/* An answer with result < 0 has this body: */
struct lt_msg_error {
    char text[LT_MSG_TEXT];
};

struct lt_hello { /* request */
    uint64_t fingerprint;
    uint32_t layout_version;
    uint32_t client;  /* 0: a new client; else who I was (same pid, not yet dead) */
    uint64_t bus_id;  /* with client: which bus */
    uint32_t mailbox; /* 1: I want regions and a mailbox (a client); 0: only control requests */
    uint32_t reserved;
    char library_version[32];
    char program[32];
    char client_id[96];
};
struct
    lt_hello_answer { /* + fds: coordinator (ro), bells (rw), mailbox (rw) for a new client with mailbox; none on resume */
    uint64_t bus_id;
    uint64_t incarnation;
    uint32_t client;
    uint32_t reserved;
    uint64_t coordinator_bytes, bells_bytes, mailbox_bytes;
};

struct lt_topic_create {
    char name[256];
    uint32_t partitions;
    uint32_t level, on_full, partitioner, mode, no_log, if_not_exists, reserved;
    uint64_t ring_size;
    char owner[128]; /* "" : the caller */
};
struct lt_name { /* TOPIC_DELETE, and TOPIC_LIST: names behind this one */
    char name[256];
};
/* TOPIC_LIST answer: result = how many names; body: 0-terminated names one after the other, sorted. 0 names: the end. */

struct lt_topic_describe {
    char name[256];
    uint32_t from_partition;
    uint32_t reserved;
};
struct lt_partition_row {
    uint32_t partition, state, rings, readers;
    uint64_t log_start_offset, log_end_offset, acked_offset;
};
struct lt_topic_describe_answer { /* result = rows that follow */
    struct lt_topic_create topic;
    uint32_t uid, gid, map_epoch, descriptors, producers, log;
    char owner[128];
    uint64_t memory_bytes, ring_slots, record_max;
    struct lt_partition_row rows[];
};

struct lt_topic_attach {
    char name[256];
    uint32_t write; /* 1: to produce, 0: to consume */
    uint32_t exclusive;
};
struct lt_topic_attach_answer {
    uint64_t page_bytes;
    uint32_t topic_id;
    uint32_t reserved;
};
struct lt_topic_detach { /* nothing of this client produces there any more; all its claims are over */
    uint32_t topic_id;
    uint32_t write;
};

struct lt_ring_attach {
    uint32_t topic_id, partition, ring, write; /* ring: its number (first_ring..current_ring) */
};
struct lt_ring_attach_answer { /* LEAT_EOFFSET: that ring is gone */
    uint64_t bytes, ring_id, base_offset;
};

struct lt_consumer_open {
    uint32_t consumer;  /* the client's own number, not 0 */
    uint32_t bell;      /* 0xffffffff: any; on resume: the one it has */
    char client_id[96]; /* "": as HELLO said; else the client is shown by this name from now on */
};
struct lt_consumer_answer {
    uint32_t bell, reserved;
};
struct lt_consumer_close {
    uint32_t bell, reserved;
};
struct lt_reader_open { /* leatd reads topic, partition and bell from the mailbox's entry */
    uint32_t entry, reserved;
};
struct lt_reader_close { /* the client set pin and keep to none before; clears ident after the answer */
    uint32_t entry, reserved;
};

struct lt_status_answer {
    uint64_t incarnation, started_ms, memory_bytes;
    int32_t keeper_pid, worker_pid;
    uint32_t topics, groups, clients, reserved;
};
struct lt_clients { /* request */
    uint32_t from, reserved;
};
struct lt_client_row {
    uint32_t id;
    int32_t pid;
    uint32_t uid, producers, consumers, readers, quarantined,
        state; /* enum lt_client_state; 100: away, 101: stopped */
    char program[32];
    char client_id[96];
};
/* CLIENTS answer: result = rows that follow, ids >= from. */

/* For logs and errors. Never NULL. */
const char *lt_msg_name(uint32_t type);

#endif
