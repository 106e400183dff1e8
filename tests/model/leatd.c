/* leatd: the worker's control and lease threads as one actor, its warden as the same or as one of its own. Repair, reclaim
 * and rotation are as they ship; what is around them follows src/leatd, and says where. */
#include <string.h>

#include "actors.h"
#include "base/futex.h"
#include "shm/reclaim.h"
#include "shm/repair.h"
#include "shm/rotation.h"

/* leatd looks again at a ring that had no room to give when what was in the way has changed; in production by a timer. */
static uint32_t digest(void)
{
    uint32_t hash = 2166136261u;
    const struct leatd *d = &the_leatd()->leatd;
    for (uint32_t i = 0; i < config->slots; i++) {
        uint64_t lo = memory_latest(&lt_ring_claim_at(&d->ring[d->current], i)->lo);
        hash = (hash ^ (uint32_t)(lo >> 25)) * 16777619u;
    }
    for (uint32_t c = 0; !config->bells && c < config->consumers; c++)
        if (world.actors[config->producers + c].life == LIVES)
            hash = (hash ^ (uint32_t)memory_latest(&shared->readers[c].keep)) * 16777619u;
    return hash;
}

/* In weak memory: it may have looked too early to see what was there. */
static bool has_seen_all(const struct actor *actor)
{
    const struct leatd *d = &actor->leatd;
    bool current = memory_is_current(actor->id, &lt_ring_claim_at(&d->ring[d->current], d->seen_at)->lo);
    for (uint32_t c = 0; c < config->consumers; c++)
        current &= world.actors[config->producers + c].life == DEAD ||
                   ((d->seen_pin == LT_PIN_NONE || memory_is_current(actor->id, &shared->readers[c].pin)) &&
                    (config->bells || memory_is_current(actor->id, &shared->readers[c].keep)));
    return current;
}

static bool is_in_the_way(uint64_t pin)
{
    for (uint32_t c = 0; c < config->consumers; c++)
        if (world.actors[config->producers + c].life == LIVES &&
            memory_latest(&shared->readers[c].pin) == pin)
            return true;
    return false;
}

static bool should_retry(const struct actor *actor)
{
    const struct leatd *d = &actor->leatd;
    if (!d->wanting)
        return false;
    return d->seen != digest() || (d->seen_pin != LT_PIN_NONE && !is_in_the_way(d->seen_pin)) ||
           !has_seen_all(actor);
}

/* What blocks readers, as anybody could see it now. */
static bool has_blocker(const struct leatd *d)
{
    uint64_t offset;
    uint32_t owner;
    enum lt_claim_state state;
    for (uint32_t k = d->first; k <= d->current; k++)
        if (lt_repair_blocker(&d->ring[k], d->limit[k], &offset, &owner, &state) == 0)
            return true;
    return false;
}

uint32_t leatd_events(struct event *events, bool timers)
{
    const struct actor *actor = the_leatd();
    const struct leatd *d = &actor->leatd;
    const struct notes *notes = &world.notes;
    uint32_t n = 0;
    if (config->bells)
        n = 0; /* the warden's */
    else if (notes->knocked)
        events[n++] = (struct event){ .kind = EV_KNOCK, .mandatory = true };
    else if (should_retry(actor))
        events[n++] = (struct event){ .kind = EV_RETRY, .mandatory = true };
    if (timers && notes->lock == 0 && has_blocker(d))
        events[n++] = (struct event){ .kind = EV_STALL, .mandatory = true };
    else if (timers && d->wanting && notes->rotations > 0)
        events[n++] = (struct event){ .kind = EV_ROTATE, .mandatory = true };
    for (uint32_t a = 0; a < actor->id; a++) {
        const struct actor *other = &world.actors[a];
        if (other->life != LIVES || other->op.kind == OP_DONE)
            continue;
        for (uint32_t keep = 0; notes->kills > 0 && keep <= memory_pending(a); keep++)
            events[n++] = (struct event){ .kind = EV_KILL, .actor = (uint8_t)a, .keep = (uint8_t)keep };
        if (notes->leases > 0 && other->kind == PRODUCER)
            events[n++] = (struct event){ .kind = EV_LEASE, .actor = (uint8_t)a };
    }
    if (notes->stalls > 0 && has_blocker(d))
        events[n++] = (struct event){ .kind = EV_STALL };
    if (notes->rotations > 0)
        events[n++] = (struct event){ .kind = EV_ROTATE };
    return n;
}

/* The warden's next look at a ring that had no room to give; in production 2 ms later. */
bool warden_is_due(void)
{
    return world.notes.lock == 0 && should_retry(the_leatd());
}

static struct event choose(void)
{
    model_yield(OP_CHOOSE, 0, MODEL_RELAXED);
    uint32_t a = model_alternative();
    return (struct event){ .kind = (uint8_t)(a >> 8), .actor = a >> 4 & 15, .keep = a & 15 };
}

/* The fate of each owner id. */
static void fates_of(uint8_t *fates, uint32_t left)
{
    memset(fates, LT_OWNER_DEAD, ACTORS_MAX + 1); /* leatd itself, 0, never holds a claim */
    for (uint32_t a = 0; a < actor_count; a++)
        if (world.actors[a].life != DEAD)
            fates[owner_of(&world.actors[a])] = left == a ? LT_OWNER_LEFT : LT_OWNER_ALIVE;
}

static void repair_all(struct leatd *d, uint32_t left)
{
    uint8_t fates[ACTORS_MAX + 1];
    uint32_t published = 0;
    fates_of(fates, left);
    for (uint32_t k = d->first; k <= d->current; k++) {
        struct lt_repair_report report = { 0 };
        int r = lt_repair_scan(&d->ring[k], d->limit[k], fates, actor_count + 1, &report);
        if (r != 0 && r != LT_RING_SEALED)
            model_fail("repair: scan of ring %u says %d", k, r);
        published += report.helped + report.gaps;
    }
    if (config->bells && left < ACTORS_MAX && published != 0)
        lt_partition_ring_bells(PARTITION, &shared->bells);
}

/* A claim that stood in the way for stall_limit. */
static void treat_stall(struct leatd *d)
{
    for (uint32_t k = d->first; k <= d->current; k++) {
        uint64_t offset;
        uint32_t owner;
        enum lt_claim_state state;
        if (lt_repair_blocker(&d->ring[k], d->limit[k], &offset, &owner, &state) != 0)
            continue;
        struct lt_repair_report report = { 0 };
        int r = lt_repair_claim(&d->ring[k], offset, LT_OWNER_LEFT, &report);
        if (r != 0)
            model_fail("repair: claim at %llu says %d", (unsigned long long)offset, r);
        if (config->bells && report.helped + report.gaps != 0)
            lt_partition_ring_bells(PARTITION, &shared->bells);
        return;
    }
}

static void wake_producers(void)
{
    lt_store_release32(&PARTITION->room_seq, lt_load_relaxed32(&PARTITION->room_seq) + 1);
    lt_futex_wake(&PARTITION->room_seq);
}

static uint64_t lowest_keep(void)
{
    uint64_t keep = LT_PIN_NONE;
    for (uint32_t c = 0; c < config->consumers; c++) {
        if (world.actors[config->producers + c].life == DEAD)
            continue;
        uint64_t k = lt_load_acquire64(&shared->readers[c].keep);
        keep = k < keep ? k : keep;
    }
    return keep;
}

/* A pin below the limit holds nothing of this ring: it cannot have passed its check. */
static uint64_t lowest_pin(uint64_t limit)
{
    uint64_t pin = LT_PIN_NONE;
    for (uint32_t c = 0; c < config->consumers; c++) {
        if (world.actors[config->producers + c].life == DEAD)
            continue;
        /* acquire: pairs with [reader.unpin]. */
        uint64_t p = lt_load_acquire64(&shared->readers[c].pin);
        if (p >= limit && p < pin)
            pin = p;
    }
    return pin;
}

/* The records are wanted still: whoever lets go of them is asked to say so. */
static void starve(void)
{
    if (lt_load_relaxed32(&PARTITION->starving) != 0)
        return;
    /* [room.starving] release, then a membarrier, then the keeps once more: a reader lowers its keep and then looks here. */
    lt_store_release32(&PARTITION->starving, 1);
    lt_membarrier();
    knock();
}

static void reclaim(struct leatd *d)
{
    uint32_t k = d->current;
    const struct lt_ring *ring = &d->ring[k];
    d->seen = digest();
    d->seen_pin = LT_PIN_NONE;
    struct lt_reclaim target = { .offset = d->limit[k], .pos = d->limit_pos[k] };
    lt_reclaim_scan(ring, &target, config->greed ? d->limit[k] + config->greed : NO_LIMIT, 0, lowest_keep());
    if (target.stop == LT_STOP_CORRUPT)
        model_fail("reclaim: the words at %llu make no sense", (unsigned long long)target.stop_offset);
    d->seen_at = (uint8_t)(lt_ring_rel(ring, target.offset) & ring->slot_mask);
    if (target.offset == d->limit[k]) {
        if (config->bells && target.stop == LT_STOP_KEEP)
            starve();
        return;
    }
    if (target.offset > lt_load_relaxed64(&gate_of(k)->announced))
        lt_reclaim_announce(gate_of(k), target.offset);
    lt_membarrier();
    uint64_t pin = lowest_pin(d->limit[k]);
    struct lt_reclaim cut = { .offset = d->limit[k], .pos = d->limit_pos[k] };
    lt_reclaim_cut(ring, &cut, pin < target.offset ? pin : target.offset);
    if (cut.offset == d->limit[k]) {
        d->seen_pin = pin;
        return;
    }
    d->limit[k] = cut.offset;
    d->limit_pos[k] = cut.pos;
    /* A gate that a dying worker left may have a pos of a later offset already; limits only grow. */
    uint64_t pos = lt_load_relaxed64(&gate_of(k)->limit_pos);
    lt_reclaim_publish(gate_of(k), cut.offset, cut.pos > pos ? cut.pos : pos);
    wake_producers();
    d->wanting = false;
    d->seen = 0;
    if (config->bells && lt_load_relaxed32(&PARTITION->starving) != 0)
        lt_store_release32(&PARTITION->starving, 0);
}

/* Steps 2 to 6 of shm/rotation.h, in the order of src/leatd/rotate.c. */
static void rotate(struct leatd *d)
{
    uint32_t k = d->current, next = k + 1;
    struct lt_ring_gate *gate = gate_of(k), *successor = gate_of(next);
    lt_store_release32(&gate->frozen, 1);
    lt_membarrier();
    uint64_t base;
    uint32_t epoch;
    int r = lt_rotation_seal(&d->ring[k], any_exclusive(), &base, &epoch);
    if (r != 0)
        model_fail("rotation: seal says %d", r);
    if (epoch != EPOCH)
        model_fail("rotation: the next ring would begin with epoch %u", epoch);
    lt_store_relaxed64(&successor->base_offset, base);
    lt_store_relaxed64(&successor->announced, base);
    lt_store_relaxed64(&successor->limit_offset, base);
    attach(&d->ring[next], next);
    lt_ring_genesis(&d->ring[next], epoch);
    d->limit[next] = base;
    d->limit_pos[next] = 0;
    /* [rotation.publish] release, both. Who sees the number finds its ring ready, who sees an end finds the ring behind it. */
    lt_store_release32(&PARTITION->current_ring, next);
    lt_store_release64(&gate->end_offset, base);
    d->current = next;
    d->wanting = false;
    wake_producers();
}

/* A limit as one pair again: a worker can die between the stores of limit_pos and limit_offset, so pos is taken from
 * the claim at the limit, or from the tail when there is none. */
static void adopt_limit(struct leatd *d, uint32_t k)
{
    const struct lt_ring *ring = &d->ring[k];
    uint64_t offset = lt_load_acquire64(&gate_of(k)->limit_offset);
    uint64_t rel = lt_ring_rel(ring, offset), pos;
    const struct lt_pair *word = lt_ring_claim_at(ring, rel);
    for (;;) {
        uint64_t tail, lo = lt_load_acquire64(&word->lo);
        uint32_t epoch;
        if (lt_lo_lap(lo) == rel >> ring->slot_shift) {
            pos = lt_hi_pos(lt_load_relaxed64(&word->hi));
            break;
        }
        lt_ring_find_tail(ring, &tail, &pos, &epoch);
        if (tail == offset)
            break;
    }
    uint64_t found = lt_load_acquire64(&gate_of(k)->limit_pos);
    d->limit[k] = offset;
    d->limit_pos[k] = found - ((found - pos) & LT_POS_MASK);
}

static void adopt(struct leatd *d)
{
    d->first = 0;
    d->current = lt_load_acquire32(&PARTITION->current_ring);
    for (uint32_t k = 0; k < d->current; k++) /* src/leatd/rotate.c, lt_rotate_adopt */
        if (lt_load_relaxed64(&gate_of(k)->end_offset) == NO_LIMIT)
            lt_store_release64(&gate_of(k)->end_offset, lt_load_relaxed64(&gate_of(k + 1)->base_offset));
    for (uint32_t k = 0; k <= d->current; k++) {
        attach(&d->ring[k], k);
        adopt_limit(d, k);
    }
    repair_all(d, ACTORS_MAX);
    if (lt_load_acquire32(&gate_of(d->current)->frozen))
        rotate(d);
    d->wanting = true;
    d->adopting = false;
    wake_producers();
}

void leatd_die(struct actor *actor)
{
    memset(&actor->leatd, 0, sizeof actor->leatd);
    actor->leatd.adopting = true;
}

static void note_death(struct actor *leatd, struct actor *victim, uint32_t keep)
{
    world.notes.kills--;
    if (tracing)
        model_trace("%c dies, and leatd knows\n", 'a' + (int)victim->id);
    memory_drop(victim->id, keep);
    /* The kernel tells of a death when all that the dead did is there for everybody. */
    memory_join(leatd->id, victim->id);
    oracle_died(victim);
    explorer_bury(victim);
    lock_tables();
    repair_all(&leatd->leatd, ACTORS_MAX);
    world.notes.id_is_free |= victim->id == 0; /* src/leatd/clients.c, lt_clients_clean: behind the scan */
    if (config->bells) {
        /* It may have changed a word and not come to its wake: src/leatd/clients.c, lt_clients_repair_part. */
        for (uint32_t c = 0; c < config->consumers; c++)
            lt_bell_rescue(&shared->bells.bells[c]);
        wake_producers();
        knock();
        lt_bell_rescue(&shared->bells.leatd);
    }
    unlock_tables();
}

bool leatd_once(struct actor *me)
{
    struct leatd *d = &me->leatd;
    if (d->adopting) {
        adopt(d);
        return true;
    }
    struct event event = choose();
    switch (event.kind) {
    case EV_KNOCK:
        world.notes.knocked = false;
        d->wanting = true;
        reclaim(d);
        break;
    case EV_RETRY:
        reclaim(d);
        break;
    case EV_KILL:
        note_death(me, &world.actors[event.actor], event.keep);
        break;
    case EV_LEASE:
        world.notes.leases--;
        if (tracing)
            model_trace("%c: the lease of %c fires\n", 'a' + (int)me->id, 'a' + event.actor);
        lock_tables();
        repair_all(d, event.actor);
        unlock_tables();
        break;
    case EV_STALL:
        world.notes.stalls -= world.notes.stalls > 0;
        lock_tables();
        treat_stall(d);
        unlock_tables();
        break;
    case EV_ROTATE:
        world.notes.rotations--;
        rotate(d);
        break;
    }
    return true;
}

/* --- leatd's warden: src/leatd/warden.c, run and turn --- */

static void take_knock(void *user, uint32_t global)
{
    (void)global;
    *(bool *)user = true;
}

/* Returns whether there was anything to do. */
static bool turn(void)
{
    struct leatd *d = &the_leatd()->leatd;
    bool knocked = false;
    lock_tables();
    bool due = should_retry(the_leatd());
    lt_bells_take(&shared->bells, take_knock, &knocked);
    if (knocked)
        d->wanting = true;
    if (knocked || due)
        reclaim(d);
    unlock_tables();
    return knocked || due;
}

bool warden_once(struct actor *me)
{
    (void)me;
    struct lt_bell *bell = &shared->bells.leatd;
    if (turn())
        return true;
    uint32_t armed = lt_bell_arm(bell);
    lt_membarrier();
    if (!turn())
        lt_bell_wait(bell, armed, -1);
    lt_bell_disarm(bell, armed);
    return true;
}
