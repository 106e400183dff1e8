/* topics: pages and rings: making, finding, attaching, describing, deleting. */
#ifndef LT_LEATD_TOPICS_H
#define LT_LEATD_TOPICS_H

#include "leatd/worker.h"

/* Under the lock. `name` is 0-terminated. Topics that are being made are not found; `making` ones only by ..._any. */
struct lt_topic *lt_topics_by_name(struct lt_worker *w, const char *name);
struct lt_topic *lt_topics_by_name_any(struct lt_worker *w, const char *name);
struct lt_topic *lt_topics_by_id(struct lt_worker *w, uint32_t id);
/* The next topic after `topic` in some order (NULL: the first), over all that are open. */
struct lt_topic *lt_topics_next(struct lt_worker *w, const struct lt_topic *topic);

/* Creates a topic; without the lock, in the maker's thread. token: created_by, 0: none. 0, or LEAT_E... with a message. */
int lt_topics_create(struct lt_worker *w, const struct lt_peer *peer, uint64_t token,
                     const struct lt_topic_create *request);

/* Under the lock. Marks it deleted and wakes everybody; what it held is given back by lt_topics_release. */
void lt_topics_delete(struct lt_worker *w, struct lt_topic *topic);
/* Under the lock: one reference less; when it was the last of a deleted topic, the maker releases it. */
void lt_topics_unref(struct lt_worker *w, struct lt_topic *topic);
/* Without the lock: unmaps, drops with the keeper, frees. Nobody else knows of it any more. */
void lt_topics_release(struct lt_worker *w, struct lt_topic *topic);
/* Under the lock: puts a topic that was read back from its page into the tables. */
int lt_topics_enter(struct lt_worker *w, struct lt_topic *topic);
/* Under the lock: out of the tables again. */
void lt_topics_forget(struct lt_worker *w, struct lt_topic *topic);
/* A topic with its partitions and nothing in them. NULL: no memory. */
struct lt_topic *lt_topics_new(const char *name, uint32_t id, uint32_t partitions, uint32_t first_global);

/* Looks up topic->owner. Names can come from far away: without the lock where that can be. */
void lt_topics_name_owner(struct lt_topic *topic);

/* Rings. Without the lock: a new ring of a partition, mapped and stored with the keeper. 0 or an error with a message. */
int lt_topics_make_ring(struct lt_worker *w, const struct lt_topic *topic, uint32_t partition, uint32_t ring,
                        uint64_t ring_id, struct lt_kept_ring *kept);
/* Under the lock: forgets ring number `ring` of a partition (unmaps, drops). */
void lt_topics_drop_ring(struct lt_worker *w, struct lt_part *part, uint32_t ring);
static inline struct lt_kept_ring *lt_part_ring(struct lt_part *part, uint32_t ring)
{
    return &part->rings[ring % LT_RINGS];
}
static inline uint32_t lt_part_global(const struct lt_part *part)
{
    return part->topic->first_global + part->index;
}
/* Ring ids are the bus's own: the topic's id and its count of rings. */
static inline uint64_t lt_topic_ring_id(const struct lt_topic *topic, uint64_t number)
{
    return (uint64_t)topic->id << 32 | number;
}
/* What the gate of a ring's number says at first. */
void lt_topics_gate_init(struct lt_ring_gate *gate, uint64_t ring_id, uint64_t base_offset);

/* Requests of clients; under the lock, in the control thread. */
int lt_topics_attach(struct lt_worker *w, struct lt_conn *conn, const struct lt_topic_attach *request,
                     struct lt_topic_attach_answer *answer, int *fd);
int lt_topics_detach(struct lt_worker *w, struct lt_conn *conn, const struct lt_topic_detach *request);
int lt_topics_attach_ring(struct lt_worker *w, struct lt_conn *conn, const struct lt_ring_attach *request,
                          struct lt_ring_attach_answer *answer, int *fd);
/* A partition that this connection's client may read. */
int lt_topics_find_part(struct lt_worker *w, struct lt_conn *conn, uint32_t topic_id, uint32_t partition,
                        struct lt_part **part);
#define LT_TOPICS_LATER 1 /* it has a log: what waits for the disk is the maker's */
int lt_topics_remove(struct lt_worker *w, struct lt_conn *conn, uint32_t number, const char *name);
/* The second half of that: without the lock, in the maker's thread, of whom else nobody deletes a topic with a log. */
int lt_topics_remove_logged(struct lt_worker *w, const struct lt_peer *peer, const char *name);
/* Fills at most size bytes; returns rows or an error. */
int lt_topics_describe(struct lt_worker *w, const struct lt_topic_describe *request,
                       struct lt_topic_describe_answer *answer, uint32_t size, uint32_t *used);
/* Shared memory of a user's topics, groups and clients. */
uint64_t lt_topics_memory_of(struct lt_worker *w, uint32_t uid);
/* The first offset that can be read, and the one behind the last. */
void lt_topics_bounds(struct lt_part *part, uint64_t *start, uint64_t *end);
/* Names after `after`, sorted, as many as fit. */
int lt_topics_list(struct lt_worker *w, const char *after, char *names, uint32_t size, uint32_t *used);

/* Topics are others: topics_seq, groups, and everybody who sleeps on a bell. Under the lock. */
void lt_topics_moved(struct lt_worker *w);
void lt_part_wake_room(struct lt_partition *page);

static inline bool lt_topic_writes(const struct lt_topic *topic, uint32_t client)
{
    return topic->head->writers[client / 64] >> client % 64 & 1;
}

#endif
