/* consumer: a handle that reads partitions on its own, and what its files share.
 *
 *   consumer.c   open, close, what is assigned, seek and the questions about offsets
 *   cursor.c     one partition: its ring, its entry in the mailbox, where offsets and times are
 *   poll.c       finding records, handing out views, sleeping
 *   fdbridge.c   the descriptor for the caller's own event loop
 *
 * What a death leaves: pins and keeps in the mailbox, which leatd takes for none once the pidfd fires; a bell that nobody sleeps on.
 * Points at which a fault build can die here: consume.pin (pinned, not looked yet), consume.view (about to return views),
 * consume.unpin (views are over, the pin is still there), consume.move (about to attach the next ring), consume.sleep (bell
 * armed, about to sleep).
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

struct lt_bridge;

struct leat_consumer {
    struct lt_handle handle;
    /* read by every poll */
    struct lt_cursor **cursors;
    uint32_t cursor_count;
    uint32_t turn; /* whose turn it is */
    uint32_t max;  /* records of a poll */
    uint32_t wake; /* [consumer.wake] leat_consumer_wakeup() was called */
    uint64_t topics_seq;
    bool deleted; /* one of ours was */
    bool gate;
    enum leat_reset reset;
    leat_record *records;       /* [max] */
    struct lt_cursor **touched; /* [cursor_count] what the last poll has views into */
    uint32_t touched_count;
    uint32_t empty_polls; /* in a row, that did not sleep */
    uint32_t last;        /* records of the last poll */
    uint32_t headers_room, headers_used;
    leat_header *headers;
    uint32_t headers_wanted; /* a record that did not fit: the next poll makes room */
    /* the rest */
    struct lt_bell *bell;
    uint32_t bell_number;
    uint32_t number;
    char client_id[96]; /* the option's, "" without */
    struct lt_bridge *bridge;
    struct lt_attached **topics; /* one reference each */
    uint32_t topic_count;
    leat_partition *assignment; /* [cursor_count] */
    leat_consumer_options options;
};

/* poll.c: the views of the last poll are over. */
void lt_consumer_release(leat_consumer *c);
/* One look at everything, as poll(0) would: records, 0, or an error. Only inside a call on the consumer. */
int lt_consumer_look(leat_consumer *c);
/* Asks leatd to look at claims that are in the way of what could be read. */
void lt_consumer_knock(leat_consumer *c);

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
