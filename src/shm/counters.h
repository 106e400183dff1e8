/* counters: labelled 64-bit numbers in BUS/counters, a plain mapped file. leatd writes it; anybody reads it, also
 * when leatd is dead. Clients count in their mailboxes; leatd folds those in, once a second while there are clients and
 * whenever a client leaves.
 *
 *   at     what
 *   0      struct lt_counters_head
 *   4096   struct lt_counter x capacity; an entry is taken once its `state` says so, and never moves
 */
#ifndef LT_SHM_COUNTERS_H
#define LT_SHM_COUNTERS_H

#include <stdint.h>

#define LT_COUNTERS_MAGIC 0x6c656174636e7472ull
#define LT_COUNTERS_AT 4096u

struct lt_counters_head {
    uint64_t magic;
    uint32_t version;
    uint32_t capacity;
    uint64_t bus_id;
    uint64_t folded_ms; /* when the clients' numbers were last folded in (ms since 1970) */
    uint32_t used;      /* entries [0, used) may be taken */
    uint32_t reserved[7];
};

enum lt_counter_state { LT_COUNTER_FREE = 0, LT_COUNTER_TAKEN = 1 };

struct lt_counter {
    uint32_t state; /* [counter.taken] stored last, with release */
    int32_t partition;
    int32_t client;
    uint32_t topic_id;
    int64_t value;
    char name[32];
    char topic[72]; /* or a group; cut when longer */
};

struct lt_counters {
    struct lt_counters_head *head;
    struct lt_counter *entries;
    uint32_t capacity;
    uint64_t bytes;
    /* leatd's own: entries by the hash of their labels (number + 1; 0 none), and where to look for a free one */
    uint32_t *index;
    uint32_t index_mask;
    uint32_t first_free;
};

/* leatd: makes (or, with the same bus_id, takes over) the file. 0 or -errno. */
int lt_counters_create(struct lt_counters *counters, const char *path, uint64_t bus_id, uint32_t capacity);
/* Readers: a copy of the file as it is now; open again for newer numbers. (A mapping would end in SIGBUS when somebody
 * truncates the file.) Labels end within their fields and used <= capacity, whatever the file says.
 * 0 or LEAT_EGONE (no such file), LEAT_EVERSION, LEAT_EPROTO (damaged), LEAT_EPERM, LEAT_EIO ..., with a message. */
int lt_counters_open(struct lt_counters *counters, const char *path);
void lt_counters_close(struct lt_counters *counters);
/* The entry with these labels, taken if need be; NULL when the file is full (leatd says so once). The topic's id
 * and not its name tells entries apart; names above 31 bytes are cut. The pointer holds until its entry is freed. */
struct lt_counter *lt_counters_get(struct lt_counters *counters, const char *name, const char *topic,
                                   uint32_t topic_id, int32_t partition, int32_t client);
void lt_counters_free_topic(struct lt_counters *counters, uint32_t topic_id);
void lt_counters_free_client(struct lt_counters *counters, int32_t client);
void lt_counter_set(struct lt_counter *counter, int64_t value);
void lt_counter_add(struct lt_counter *counter, int64_t value);

#endif
