/* leases: see leases.h.
 *
 * A client's library thread holds the lease word of its mailbox on its robust list: TID | FUTEX_WAITERS. When that thread ends
 * in any way, the kernel sets FUTEX_OWNER_DIED and wakes one waiter on the word: the only one is here. A lease that is
 * not taken yet is waited for as 0; the kernel wakes by place, whatever was expected.
 *
 * The word is the client's: it can lie about its own death, and it can change the word as often as it likes; after CHANGES_MAX
 * changes it is left to its pidfd. Where the kernel lacks FUTEX_WAITV (before 5.16) all clients are.
 *
 * A mailbox is unmapped by the thread that waits on it. One that ended, or never was, leaves it to the caller.
 */
#include "leatd/leases.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/err.h"
#include "base/futex.h"
#include "leatd/clients.h"

#define GROUP_SLOTS (LT_FUTEX_MANY - 1u)
#define OWNER_DIED 0x40000000u
#define CHANGES_MAX 1000u

enum slot_state { EMPTY, WATCHED, FIRED, LEAVING };

struct slot {
    enum slot_state state;
    uint32_t id, generation;
    uint32_t value, changes;
    struct lt_mailbox *mailbox;
    uint64_t bytes;
};

struct lt_lease_group {
    struct lt_worker *w;
    pthread_t thread;
    pthread_mutex_t lock; /* over the slots; taken inside the worker's, never the other way round */
    uint32_t change;      /* +1 and a wake: look at the slots again */
    bool end, has_thread, running;
    struct slot slots[GROUP_SLOTS];
};

static void nudge(struct lt_lease_group *group)
{
    lt_fetch_add32(&group->change, 1);
    lt_futex_wake(&group->change);
}

static void empty(struct slot *slot)
{
    lt_region_unmap(slot->mailbox, slot->bytes, 0);
    memset(slot, 0, sizeof *slot);
}

struct fired {
    uint32_t id, generation;
};

/* What to wait on now; those that have fired come out in `fired`. */
static int look(struct lt_lease_group *group, const uint32_t **words, uint32_t *values, struct fired *fired,
                uint32_t *fired_count)
{
    int count = 1; /* [0] is `change` */
    *fired_count = 0;
    pthread_mutex_lock(&group->lock);
    for (uint32_t i = 0; i < GROUP_SLOTS; i++) {
        struct slot *slot = &group->slots[i];
        if (slot->state == LEAVING)
            empty(slot);
        if (slot->state != WATCHED)
            continue;
        /* [lease.hold] acquire: what the owner did before it died is seen. */
        uint32_t value = lt_load_acquire32(&slot->mailbox->lease);
        if (value != slot->value)
            slot->changes++;
        slot->value = value;
        if (value & OWNER_DIED) {
            slot->state = FIRED;
            fired[(*fired_count)++] = (struct fired){ slot->id, slot->generation };
        } else if (slot->changes > CHANGES_MAX) {
            slot->state = FIRED; /* left to its pidfd */
        } else {
            words[count] = &slot->mailbox->lease;
            values[count++] = value;
        }
    }
    pthread_mutex_unlock(&group->lock);
    return count;
}

static void tell(struct lt_worker *w, const struct fired *fired, uint32_t count)
{
    lt_worker_lock(w);
    for (uint32_t i = 0; i < count; i++) {
        struct lt_client *client = w->clients[fired[i].id];
        if (client && client->generation == fired[i].generation)
            lt_clients_left(w, client);
    }
    lt_worker_unlock(w);
}

static void *run(void *argument)
{
    struct lt_lease_group *group = argument;
    const uint32_t *words[LT_FUTEX_MANY];
    uint32_t values[LT_FUTEX_MANY], fired_count;
    struct fired fired[GROUP_SLOTS];
    lt_worker_hurry();
    for (;;) {
        words[0] = &group->change;
        values[0] = lt_load_acquire32(&group->change);
        if (lt_load_acquire32(&group->w->leases_end))
            break;
        int count = look(group, words, values, fired, &fired_count);
        if (fired_count != 0) {
            tell(group->w, fired, fired_count);
            continue;
        }
        int r = lt_futex_wait_many(words, values, count, -1);
        if (r < 0) {
            lt_worker_log(group->w, LT_LOG_WARN,
                          "FUTEX_WAITV: %s: deaths are seen by pidfd only, which takes longer", strerror(-r));
            break;
        }
    }
    pthread_mutex_lock(&group->lock);
    group->running = false;
    for (uint32_t i = 0; i < GROUP_SLOTS; i++)
        if (group->slots[i].state == LEAVING)
            empty(&group->slots[i]);
    pthread_mutex_unlock(&group->lock);
    return NULL;
}

static struct lt_lease_group *group_of(struct lt_worker *w, uint32_t id)
{
    struct lt_lease_group **group = &w->lease_groups[id / GROUP_SLOTS];
    if (*group)
        return *group;
    struct lt_lease_group *made = calloc(1, sizeof *made);
    if (!made)
        return NULL;
    made->w = w;
    pthread_mutex_init(&made->lock, NULL);
    made->running = true;
    if (lt_worker_thread(&made->thread, run, made) < 0) {
        lt_worker_log(w, LT_LOG_WARN, "%s: deaths are seen by pidfd only", lt_fail_text());
        pthread_mutex_destroy(&made->lock);
        free(made);
        return NULL;
    }
    *group = made;
    return made;
}

void lt_leases_add(struct lt_worker *w, struct lt_client *client)
{
    struct lt_lease_group *group = group_of(w, client->id);
    if (!group)
        return;
    struct slot *slot = &group->slots[client->id % GROUP_SLOTS];
    pthread_mutex_lock(&group->lock);
    if (group->running) {
        if (slot->state == LEAVING) { /* an older client's; the thread may still be inside its wait */
            pthread_mutex_unlock(&group->lock);
            return;
        }
        *slot = (struct slot){ .state = WATCHED,
                               .id = client->id,
                               .generation = client->generation,
                               .mailbox = client->mailbox,
                               .bytes = client->mailbox_bytes };
        client->leased = true;
    }
    pthread_mutex_unlock(&group->lock);
    nudge(group);
}

void lt_leases_remove(struct lt_worker *w, struct lt_client *client)
{
    struct lt_lease_group *group = w->lease_groups[client->id / GROUP_SLOTS];
    struct slot *slot = &group->slots[client->id % GROUP_SLOTS];
    pthread_mutex_lock(&group->lock);
    slot->state = LEAVING;
    if (!group->running)
        empty(slot);
    pthread_mutex_unlock(&group->lock);
    client->leased = false;
    nudge(group);
}

void lt_leases_stop(struct lt_worker *w)
{
    lt_store_release32(&w->leases_end, 1);
    for (uint32_t g = 0; g < sizeof w->lease_groups / sizeof *w->lease_groups; g++) {
        struct lt_lease_group *group = w->lease_groups[g];
        if (!group)
            continue;
        nudge(group);
        pthread_join(group->thread, NULL);
    }
}

void lt_leases_free(struct lt_worker *w)
{
    for (uint32_t g = 0; g < sizeof w->lease_groups / sizeof *w->lease_groups; g++) {
        if (!w->lease_groups[g])
            continue;
        pthread_mutex_destroy(&w->lease_groups[g]->lock);
        free(w->lease_groups[g]);
        w->lease_groups[g] = NULL;
    }
}
