/* consumer: a handle that reads partitions, on its own or as a member of a group, and what its files share.
 *
 *   consumer.c   open, close, what is assigned, seek and the questions about offsets
 *   cursor.c     one partition: its ring, its entry in the mailbox, where offsets and times are
 *   poll.c       finding records, handing out views, sleeping
 *   replay.c     the same for a cursor that reads the log (catchup.h)
 *   fdbridge.c   the descriptor for the caller's own event loop
 *   member.c     with a group: joining and leaving it, and its turn in each poll (member.h)
 *   assignment.c with a group: taking and releasing what it assigns (assignment.h)
 *   standby.c    with a group: what is ready to be taken (standby.h)
 *   commit.c     with a group: committed offsets (commit.h)
 *
 * What a death leaves: pins and keeps in the mailbox, which leatd takes for none once the pidfd fires; a bell that nobody sleeps on.
 * Points at which a fault build can die here: consume.pin (pinned, not looked yet), consume.view (about to return views),
 * consume.unpin (views are over, the pin is still there), consume.move (about to attach the next ring), catchup.ask (about to
 * ask for a segment), consume.sleep (bell armed, about to sleep).
 */
#ifndef LT_CLIENT_CONSUMER_H
#define LT_CLIENT_CONSUMER_H

#include <stdbool.h>
#include <stdint.h>

#include <leat.h>

#include "base/atomic.h"
#include "client/bus.h"
#include "client/cursor.h"
#include "client/topic.h"
#include "shm/bell.h"

#define LT_CLIENT_ID_BYTES 96u /* and of an instance id; in messages */

struct lt_bridge;
struct lt_member;

struct leat_consumer {
    struct lt_handle handle;
    /* read by every poll */
    struct lt_cursor **cursors;
    uint32_t cursor_count;
    uint32_t turn;            /* whose turn it is */
    uint32_t max;             /* records of a poll */
    uint32_t wake;            /* [consumer.wake] leat_consumer_wakeup() was called */
    struct lt_member *member; /* NULL without a group */
    uint64_t topics_seq;
    bool deleted; /* one of ours was */
    bool retry; /* the last look met a log that leatd has not opened yet: look again in LT_CATCHUP_RETRY_MS */
    bool gate;
    enum leat_reset reset;
    leat_record *records;       /* [max] */
    struct lt_cursor **touched; /* [cursor_count] what the last poll has views into */
    uint32_t touched_count;
    uint32_t empty_polls; /* in a row, that did not sleep */
    uint32_t last;        /* records of the last poll */
    uint32_t headers_used;
    uint32_t headers_room;
    leat_header *headers;
    uint32_t headers_wanted; /* a record that did not fit: the next poll makes room */
    /* the rest */
    bool calling;          /* one of the caller's callbacks runs: calls that are fine in it may enter */
    int64_t sleep_ns;      /* a poll sleeps at most this long before it looks again */
    uint32_t cursors_room; /* of cursors, touched and assignment */
    struct lt_bell *bell;
    uint32_t bell_number;
    uint32_t number;
    char client_id[LT_CLIENT_ID_BYTES]; /* the option's, "" without */
    struct lt_bridge *bridge;
    struct lt_attached **topics; /* one reference each */
    uint32_t topic_count;
    leat_partition *assignment; /* [cursor_count] */
    leat_consumer_options options;
};

/* A lie on the bells' page costs at most this. */
#define LT_SLEEP_NS 2000000000ll

/* --- callbacks --- */

enum {
    LT_CALLING = 2
}; /* handle.busy while a callback of the caller's runs: who asks for a free handle is refused */

static inline void lt_consumer_call(leat_consumer *c)
{
    c->calling = true;
    lt_store_relaxed32(&c->handle.busy, LT_CALLING);
}
static inline void lt_consumer_called(leat_consumer *c)
{
    lt_store_relaxed32(&c->handle.busy, 1);
    c->calling = false;
}

/* As lt_handle_enter and lt_handle_leave, for calls that are fine inside of a callback. */
static inline int lt_consumer_enter(leat_consumer *c)
{
    if (LT_UNLIKELY(lt_load_relaxed32(&c->handle.busy) == LT_CALLING) &&
        c->handle.generation == lt_load_relaxed32(&lt_fork_generation)) {
        lt_store_relaxed32(&c->handle.busy, 1);
        return 0;
    }
    return lt_handle_enter(&c->handle);
}
static inline void lt_consumer_leave(leat_consumer *c)
{
    lt_store_relaxed32(&c->handle.busy, c->calling ? LT_CALLING : 0);
}

/* --- what is assigned: consumer.c --- */

/* Room for so many cursors altogether. */
int lt_consumer_room(leat_consumer *c, uint32_t count);
/* Room was made. The topic stays attached as long as c->topics has it. */
void lt_consumer_add(leat_consumer *c, struct lt_cursor *cursor);
/* Moves all cursors that are to go behind those that stay, from c->cursors[c->cursor_count] on. How many they are. */
uint32_t lt_consumer_part(leat_consumer *c, bool (*goes)(const struct lt_cursor *cursor, uint32_t what),
                          uint32_t what);
/* And closes them. Their views are over. */
void lt_consumer_shed(leat_consumer *c, bool (*goes)(const struct lt_cursor *cursor, uint32_t what),
                      uint32_t what);
/* Everything, and the topics. */
void lt_consumer_unassign(leat_consumer *c);
/* NULL: not assigned; says so. */
struct lt_cursor *lt_consumer_find(leat_consumer *c, const char *topic, uint32_t partition);
/* One more topic of the consumer's; takes over the reference. */
int lt_consumer_keep_topic(leat_consumer *c, struct lt_attached *topic);

/* Places the cursor at an offset, wherever that is: what was overwritten or is not there yet is the reset policy's business, at
 * the next poll. The views of the last poll are over. */
int lt_consumer_place(leat_consumer *c, struct lt_cursor *cursor, uint64_t offset);
/* Places it where the reset policy begins, at the first record when `first`. */
int lt_consumer_start(leat_consumer *c, struct lt_cursor *cursor, bool first);
/* No position until somebody seeks: polls say LEAT_EOFFSET. */
int lt_consumer_place_nowhere(leat_consumer *c, struct lt_cursor *cursor);

/* poll.c: the views of the last poll are over. */
void lt_consumer_release(leat_consumer *c);
/* One look at everything, as poll(0) would: records, 0, or an error. Only inside a call on the consumer. */
int lt_consumer_look(leat_consumer *c);
/* Headers of one record into the consumer's array. 0; 1: no room beside what is there: this record comes with the next poll;
 * -1: damaged. */
int lt_consumer_read_headers(leat_consumer *c, const unsigned char *block, uint32_t size,
                             leat_record *record);
/* Asks leatd to look at claims that are in the way of what could be read. */
void lt_consumer_knock(leat_consumer *c);

/* replay.c: takes what a cursor in the log has. 0 (*n grows or not) or an error; or nothing was taken, and it goes on elsewhere: */
enum {
    LT_REPLAY_RING = 2, /* in the ring, as the log has no more, or the ring has it as well */
    LT_REPLAY_LOST = 3, /* as the reset policy says: the log has trimmed it away */
};
int lt_replay(leat_consumer *c, struct lt_cursor *cursor, uint32_t *n);

/* For the bus: somebody who sleeps in poll shall look at what has become of the bus. Any thread. */
void lt_consumer_ring(leat_consumer *c);
/* For the child of a fork: closes what is the parent's. */
void lt_consumer_forked(leat_consumer *c);

/* fdbridge.c */
int lt_bridge_open(leat_consumer *c);
void lt_bridge_close(leat_consumer *c);
void lt_bridge_forked(struct lt_bridge *bridge);
/* poll() has found nothing: the descriptor falls silent, and the thread waits on the bell. What a last look found. */
int lt_bridge_rest(leat_consumer *c);
/* There may be something to poll that nobody rings for. */
void lt_bridge_nudge(leat_consumer *c);

#endif
