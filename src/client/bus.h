/* bus: what one leat_open() made: the regions, the link to leatd, the lease, and all that was opened from it.
 *
 *   bus -> link      control socket, requests            link.h
 *       -> lease     the library's thread                lease.h
 *       -> topics    attached pages and mapped rings     topic.h
 *       -> handles   producers and consumers             producer.h, consumer.h
 *
 * Locks, outer to inner: bus->mutex (topics, handles, reader entries; opens, closes and ring moves take it), then the link's
 * own (a request and its answer). Sends and polls take neither as long as they stay in the rings that they have.
 * The lease thread reconnects under the link's mutex alone.
 *
 * What a death leaves: a lease that the kernel marks, claims that repair settles, pins that leatd frees when the pidfd fires.
 */
#ifndef LT_CLIENT_BUS_H
#define LT_CLIENT_BUS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <leat.h>

#include "base/atomic.h"
#include "base/err.h"
#include "client/lease.h"
#include "client/link.h"
#include "shm/bell.h"
#include "shm/coordinator.h"
#include "shm/mailbox.h"

#define LT_LIKELY(x) __builtin_expect(!!(x), 1)
#define LT_UNLIKELY(x) __builtin_expect(!!(x), 0)

struct lt_attached;

/* +1 in every fork()ed child: a handle of another generation belongs to the parent, and its mappings are not even there. */
extern uint32_t lt_fork_generation;

/* Where a handle counts. A bus with one handle counts in the mailbox at once, by plain adds. With more than one each counts on
 * lines of its own (two threads would fight over the mailbox's), and the lease thread adds those up once a second. */
struct lt_counts {
    uint64_t *mailbox;
    uint32_t apart; /* 1: count in `own` */
    uint64_t own[LT_CLIENT_COUNTERS];
    uint64_t folded[LT_CLIENT_COUNTERS]; /* how much of `own` is in the mailbox already */
};

enum lt_handle_kind { LT_HANDLE_PRODUCER = 1, LT_HANDLE_CONSUMER = 2 };

/* The head of every producer and consumer. */
struct lt_handle {
    uint32_t generation;
    uint32_t busy; /* somebody is inside a call */
    enum lt_handle_kind kind;
    leat_bus *bus;
    struct lt_handle *next;
    struct lt_counts counts;
};

struct leat_bus {
    uint32_t generation;
    uint32_t gone; /* [bus.gone] the bus has ended; never taken back */
    uint32_t client;
    char path[4096];

    const struct lt_coordinator *coordinator;
    struct lt_bells *bells;
    struct lt_mailbox *mailbox;
    uint64_t coordinator_bytes, bells_bytes, mailbox_bytes;

    struct lt_link link;
    struct lt_lease lease;

    pthread_mutex_t mutex;
    struct lt_handle *handles;
    struct lt_attached *topics;
    uint64_t entries[LT_READERS_MAX / 64]; /* bit e: mailbox reader e is taken */
    uint32_t next_consumer;

    leat_bus *next; /* all of this process, for the child of a fork */
};

/* --- calls --- */

/* 0, or why this bus cannot be used here (NULL, forked, gone). */
int lt_bus_check(const leat_bus *bus);

static inline bool lt_bus_gone(const leat_bus *bus)
{
    return lt_load_relaxed32(&bus->gone) != 0;
}

int lt_handle_refuse(const struct lt_handle *handle);

/* Every call on a handle begins here. Relaxed: the flag catches mistakes, it does not order anything. */
static inline int lt_handle_enter(struct lt_handle *handle)
{
    if (LT_UNLIKELY((handle->generation ^ lt_load_relaxed32(&lt_fork_generation)) |
                    lt_load_relaxed32(&handle->busy)))
        return lt_handle_refuse(handle);
    lt_store_relaxed32(&handle->busy, 1);
    return 0;
}

static inline void lt_handle_leave(struct lt_handle *handle)
{
    lt_store_relaxed32(&handle->busy, 0);
}

void lt_handle_add(struct lt_handle *handle, leat_bus *bus, enum lt_handle_kind kind);
void lt_handle_remove(struct lt_handle *handle);

static inline void lt_count(struct lt_handle *handle, enum lt_client_counter which, uint64_t n)
{
    /* relaxed: one writer; readers want a number, not an order. */
    struct lt_counts *counts = &handle->counts;
    uint64_t *at = &(lt_load_relaxed32(&counts->apart) ? counts->own : counts->mailbox)[which];
    lt_store_relaxed64(at, lt_load_relaxed64(at) + n);
}

/* --- for the lease thread --- */

/* Adds what handles counted apart into the mailbox. Returns whether that is needed again; *moved: there was something. */
bool lt_bus_fold(leat_bus *bus, bool *moved);
/* The bus has ended: wakes everybody who sleeps on a bell. */
void lt_bus_end(leat_bus *bus);

/* --- reader entries of the mailbox --- */

/* Under the mutex. An index, or LEAT_ELIMIT. */
int lt_bus_entry_take(leat_bus *bus);
void lt_bus_entry_give(leat_bus *bus, uint32_t entry);

/* Copies an options struct of whatever version over the defaults. Its first field is its size. 0 or LEAT_EINVAL. */
int lt_options_take(void *to, size_t to_size, const void *from);

#endif
