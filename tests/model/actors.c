/* actors: who does what in the model. The steps on shared memory are those of the shipping files; where a sequence of them
 * exists only in src/client or src/leatd, the same order is written down here, and said so. */
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "model.h"
#include "shm/pin.h"
#include "shm/reclaim.h"
#include "shm/repair.h"
#include "shm/rotation.h"

#define PARTITION (&shared->partition)

static struct lt_ring_gate *gate_of(uint32_t ring)
{
    return lt_partition_gate(PARTITION, ring);
}

static void attach(struct lt_ring *view, uint32_t ring)
{
    const struct lt_ring_gate *gate = gate_of(ring);
    lt_ring_view_small(view, shared->ring[ring], config->slots, config->units,
                       lt_load_acquire64(&gate->base_offset), gate);
}

/* --- the regions, and who may touch what --- */

static uint32_t mask_of(enum actor_kind kind)
{
    uint32_t mask = 0;
    for (uint32_t a = 0; a < actor_count; a++)
        if (world.actors[a].kind == kind)
            mask |= 1u << a;
    return mask;
}

static bool any_exclusive(void)
{
    for (uint32_t p = 0; p < config->producers; p++)
        if (config->producer[p].exclusive)
            return true;
    return false;
}

static void place_ring(uint32_t k)
{
    uint32_t P = mask_of(PRODUCER), C = mask_of(CONSUMER), L = mask_of(LEATD) | mask_of(WARDEN);
    struct lt_ring view = { .base = shared->ring[k] };
    struct lt_ring_gate *gate = gate_of(k);
    uint32_t rotates = config->rotations > 0 ? L : 0;
    bool is_first = k == 0;

    memory_add(&gate->announced, is_first ? config->base : 0, C, L, false, "gate%u.announced", k);
    memory_add(&gate->base_offset, is_first ? config->base : 0, P | C | L, rotates, false,
               "gate%u.base_offset", k);
    memory_add(&gate->frozen, 0, P | L, rotates, false, "gate%u.frozen", k);
    memory_add(&gate->end_offset, NO_LIMIT, C | L, rotates, false, "gate%u.end_offset", k);
    memory_add(&gate->limit_offset, is_first ? config->base : 0, P | (rotates ? C : 0), L, false,
               "gate%u.limit_offset", k);
    memory_add(&gate->limit_pos, 0, P | (rotates ? C : 0), L, false, "gate%u.limit_pos", k);

    lt_ring_view_small(&view, shared->ring[k], config->slots, config->units, config->base, gate);
    for (uint32_t i = 0; i < config->slots; i++) {
        memory_add(&lt_ring_claim_at(&view, i)->lo, 0, 0, P | L, false, "claim%u[%u].lo", k, i);
        memory_add(&lt_ring_claim_at(&view, i)->hi, 0, 0, P | L, false, "claim%u[%u].hi", k, i);
        memory_add(&lt_ring_slot_at(&view, i)->word, 0, C, P | L, false, "slot%u[%u].word", k, i);
        memory_add(&lt_ring_slot_at(&view, i)->stamp, 0, C, P, true, "slot%u[%u]", k, i);
    }
    for (uint32_t i = 0; i < config->units; i++)
        memory_add(lt_ring_payload_at(&view, i), 0, C, P, true, "payload%u[%u]", k, i);
    memory_add(&lt_ring_words(&view)->hint, 0, (config->deaths > 0 ? L : rotates) | (config->bells ? C : 0),
               P | rotates, false, "hint%u", k);
    if (is_first)
        lt_ring_genesis(&view, 1);
}

static void place_bells(void)
{
    uint32_t P = mask_of(PRODUCER), C = mask_of(CONSUMER), L = mask_of(LEATD) | mask_of(WARDEN);
    uint64_t listed = (1u << config->consumers) - 1;
    memory_add(&PARTITION->bell_summary, listed != 0, P | L, 0, false, "bell_summary");
    memory_add(&PARTITION->bells[0], listed, P | L, 0, false, "bells");
    memory_add(&PARTITION->starving, 0, C | L, L, false, "starving");
    for (uint32_t c = 0; c < config->consumers; c++)
        memory_add(&shared->bells.bells[c].word, 0, 0, P | L | 1u << (config->producers + c), false, "bell%u",
                   c);
    memory_add(&shared->bells.leatd.word, 0, 0, P | C | L, false, "bell of leatd");
    memory_add(&shared->bells.knocks[0], 0, 0, P | C | L, false, "knocks");
    memory_add(&shared->bells.knock_summary[0], 0, 0, P | C | L, false, "knock_summary");
    for (uint32_t i = 1; i < LT_KNOCK_WORDS / 64; i++)
        memory_add(&shared->bells.knock_summary[i], 0, L, 0, false, "knock_summary[%u]", i);
}

void actors_place(void)
{
    for (uint32_t a = 0; a < actor_count; a++) {
        struct actor *actor = &world.actors[a];
        actor->id = (uint8_t)a;
        actor->kind = a < config->producers                       ? PRODUCER
                      : a < config->producers + config->consumers ? CONSUMER
                      : actor == the_leatd()                      ? LEATD
                                                                  : WARDEN;
        actor->number = (uint8_t)(actor->kind == PRODUCER   ? a
                                  : actor->kind == CONSUMER ? a - config->producers
                                                            : 0);
    }
    uint32_t P = mask_of(PRODUCER), C = mask_of(CONSUMER), L = mask_of(LEATD) | mask_of(WARDEN);
    memory_add(&PARTITION->room_seq, 0, P, L, false, "room_seq");
    memory_add(&PARTITION->current_ring, 0, P | C | L, config->rotations > 0 ? L : 0, false, "current_ring");
    for (uint32_t c = 0; c < config->consumers; c++) {
        uint32_t me = 1u << (config->producers + c);
        memory_add(&shared->readers[c].pin, LT_PIN_NONE, L, me, false, "pin%u", c);
        memory_add(&shared->readers[c].keep, config->consumer[c].keep ? config->base : LT_PIN_NONE, L,
                   config->consumer[c].keep ? me : 0, false, "keep%u", c);
    }
    for (uint32_t k = 0; k <= config->rotations; k++)
        place_ring(k);
    if (config->bells)
        place_bells();

    for (uint32_t a = 0; a < actor_count; a++) {
        struct actor *actor = &world.actors[a];
        if (actor->kind == PRODUCER) {
            attach(&actor->producer.ring, 0);
            actor->producer.exclusive = config->producer[actor->number].exclusive;
        } else if (actor->kind == CONSUMER) {
            attach(&actor->consumer.ring, 0);
            actor->consumer.position = config->base;
        } else if (actor->kind == LEATD) {
            attach(&actor->leatd.ring[0], 0);
            actor->leatd.limit[0] = config->base;
        }
    }
}

/* --- system calls --- */

int lt_futex_wait(const uint32_t *word, uint32_t value, int64_t timeout_ns)
{
    (void)timeout_ns;
    uint8_t loc = memory_loc(word);
    self->op.value = value;
    model_yield(OP_FUTEX_WAIT, loc, MODEL_ACQUIRE);
    memory_flush(self->id);
    int r = 0;
    /* The kernel looks under its lock, behind a full fence: a waker that stored before sees the waiter, or is seen. */
    if ((uint32_t)memory_latest_loc(loc) == value) {
        if (tracing)
            model_trace("%c: sleeps on %s\n", 'a' + (int)self->id, memory_name(loc));
        model_yield(OP_ASLEEP, loc, MODEL_ACQUIRE);
        r = self->op.timed_out ? -1 : 0;
    }
    memory_see_latest(loc);
    self->op.value = 0;
    self->op.timed_out = 0;
    return r;
}

int lt_futex_wake(uint32_t *word)
{
    uint8_t loc = memory_loc(word);
    model_yield(OP_FUTEX_WAKE, loc, MODEL_RELEASE);
    memory_flush(self->id);
    int woken = 0;
    for (uint32_t a = 0; a < actor_count; a++) {
        struct actor *actor = &world.actors[a];
        if (actor->life == LIVES && actor->op.kind == OP_ASLEEP && actor->op.loc == loc) {
            actor->op.kind = OP_WOKEN;
            memory_join(a, self->id);
            woken++;
        }
    }
    if (tracing)
        model_trace("%c: wakes %d on %s\n", 'a' + (int)self->id, woken, memory_name(loc));
    return woken;
}

void lt_membarrier(void)
{
    model_yield(OP_MEMBARRIER, 0, MODEL_RELAXED);
    memory_everybody(self->id);
    if (tracing)
        model_trace("%c: membarrier\n", 'a' + (int)self->id);
}

/* Under this lock leatd's threads work on their tables. */
static void lock_tables(void)
{
    if (!config->bells)
        return;
    model_yield(OP_LOCK, 0, MODEL_ACQUIRE);
    world.notes.lock = self->id + 1;
    for (uint32_t a = 0; a < actor_count; a++)
        if (world.actors[a].kind == LEATD || world.actors[a].kind == WARDEN)
            memory_join(self->id, a);
    memory_flush(self->id);
}

static void unlock_tables(void)
{
    if (!config->bells)
        return;
    memory_flush(self->id); /* a locked operation, or on its way to a futex */
    world.notes.lock = 0;
}

static void knock(void)
{
    if (config->bells)
        lt_bells_knock(&shared->bells, 0);
    else
        world.notes.knocked = true;
}

int64_t lt_clock_mono_ns(void)
{
    return 0;
}

int lt_fail(int error, const char *format, ...)
{
    (void)format;
    return error;
}

/* --- producer: src/client's send --- */

static uint32_t owner_of(const struct actor *actor)
{
    return actor->id + 1u;
}

static uint32_t value_of(const struct actor *actor, uint32_t sequence)
{
    return (actor->number + 1u) << 8 | sequence;
}

static void move_producer(struct producer *p, uint32_t ring)
{
    p->ring_no = ring;
    p->has_tail = false;
    attach(&p->ring, ring);
}

static int claim_once(struct actor *me, struct lt_claim *claim)
{
    struct producer *p = &me->producer;
    const struct producer_config *c = &config->producer[me->number];
    uint32_t units = (uint32_t)c->count * c->units;
    int r;
    if (!p->exclusive) {
        r = lt_ring_claim(&p->ring, owner_of(me), c->count, units, 1, claim);
    } else {
        if (!p->has_tail) {
            r = lt_ring_tail(&p->ring, &p->tail);
            if (r != 0)
                return r;
            p->has_tail = true;
        }
        r = lt_ring_claim_exclusive(&p->ring, &p->tail, owner_of(me), c->count, units, 1, claim);
    }
    if (r == LT_RING_FULL)
        oracle_full(me, &p->ring, c->count, units);
    return r;
}

/* Claims, whatever it takes: moves on when the ring is left, else knocks and sleeps (src/client/producer.c,
 * lt_out_claim_slow). */
static void claim_room(struct actor *me, struct lt_claim *claim)
{
    struct producer *p = &me->producer;
    int r = claim_once(me, claim);
    while (r != 0) {
        if (r != LT_RING_FULL && r != LT_RING_SEALED)
            model_fail("claim: %c gets %d", 'a' + (int)me->id, r);
        /* [room.seq] before the try that fails. */
        uint32_t seq = lt_load_acquire32(&PARTITION->room_seq);
        uint32_t current = lt_load_acquire32(&PARTITION->current_ring); /* [rotation.publish] */
        if (current != p->ring_no)
            move_producer(p, current);
        r = claim_once(me, claim);
        if (r == 0 || lt_load_acquire32(&PARTITION->current_ring) != p->ring_no)
            continue;
        knock();
        lt_futex_wait(&PARTITION->room_seq, seq, -1);
    }
}

static void write_records(const struct lt_ring *ring, const struct lt_claim *claim, uint32_t first_value,
                          uint32_t units)
{
    for (uint32_t i = 0; i < claim->count; i++) {
        uint64_t pos = claim->pos + (uint64_t)i * units;
        for (uint32_t u = 0; u < units; u++)
            memory_write(lt_ring_payload_at(ring, pos + u), first_value + i);
        memory_write(&lt_ring_slot(ring, claim, i)->stamp, pos << 32 | (first_value + i));
    }
}

static bool producer_once(struct actor *me)
{
    struct producer *p = &me->producer;
    const struct producer_config *c = &config->producer[me->number];
    if (p->sent == c->sends)
        return false;
    uint32_t first_value = value_of(me, (uint32_t)p->sent * c->count + 1);
    bool give_up = c->give_up >> p->sent & 1;
    for (;;) {
        struct lt_claim claim;
        claim_room(me, &claim);
        oracle_claimed(me, p->ring_no, &p->ring, &claim, first_value, c->units);
        write_records(&p->ring, &claim, first_value, c->units);
        if (give_up) {
            /* It gives the memory back with its first step; what it stores behind that are compare-and-swaps. */
            oracle_released(me);
            lt_ring_abort(&p->ring, &claim);
            oracle_refused(me, &claim, true);
            if (config->bells)
                lt_partition_ring_bells(PARTITION, &shared->bells);
            break;
        }
        int r = lt_ring_commit(&p->ring, &claim);
        if (r == 0) {
            oracle_acked(me, &claim);
            if (config->bells && lt_load_relaxed64(&PARTITION->bell_summary) != 0)
                lt_partition_ring_bells(PARTITION, &shared->bells);
            break;
        }
        if (r != LT_RING_TAKEN)
            model_fail("commit: %c gets %d", 'a' + (int)me->id, r);
        oracle_refused(me, &claim, false);
    }
    p->sent++;
    return true;
}

/* --- consumer: src/client's poll --- */

static enum lt_slot_kind kind_of_word(const struct lt_ring *ring, uint64_t rel, uint64_t word)
{
    return lt_word_lap(word) == rel >> ring->slot_shift ? lt_word_kind(word) : LT_KIND_NONE;
}

/* Whether a poll would find anything, had everything arrived: what the bells are for, where they are not modelled. */
bool consumer_can_go_on(const struct actor *actor)
{
    const struct consumer *c = &actor->consumer;
    const struct lt_ring_gate *gate = gate_of(c->ring_no);
    uint64_t rel = lt_ring_rel(&c->ring, c->position);
    enum lt_slot_kind kind = kind_of_word(&c->ring, rel,
                                          memory_latest(&lt_ring_slot_at(&c->ring, rel)->word));
    if (kind == LT_KIND_RECORD || kind == LT_KIND_GAP || memory_latest(&gate->announced) > c->position)
        return true;
    return (kind == LT_KIND_SEAL || memory_latest(&gate->end_offset) <= c->position) &&
           memory_latest(&PARTITION->current_ring) != c->ring_no;
}

/* The ring that holds this offset (src/client/cursor.c, ring_of). */
static void go(struct consumer *c, uint64_t offset)
{
    uint32_t ring = lt_load_acquire32(&PARTITION->current_ring);
    while (ring != 0 && lt_load_acquire64(&gate_of(ring)->base_offset) > offset)
        ring--;
    if (ring != c->ring_no) {
        c->ring_no = ring;
        attach(&c->ring, ring);
    }
    c->position = offset;
}

/* Overwritten before it was read: goes on at the oldest that is still there (src/client/cursor.c, lt_cursor_first_from). */
static void fall_behind(struct actor *me)
{
    struct consumer *c = &me->consumer;
    uint32_t current = lt_load_acquire32(&PARTITION->current_ring);
    uint64_t begin = c->position;
    for (uint32_t ring = 0;; ring++) {
        const struct lt_ring_gate *gate = gate_of(ring);
        uint64_t base = lt_load_acquire64(&gate->base_offset),
                 announced = lt_load_acquire64(&gate->announced);
        begin = c->position > base ? c->position : base;
        begin = begin < announced ? announced : begin;
        if (ring == current || begin < lt_load_acquire64(&gate->end_offset))
            break;
    }
    oracle_missed(me, begin);
    go(c, begin);
}

struct seen {
    uint32_t value;
    uint64_t pos;
};

static struct seen read_record(const struct lt_ring *ring, const struct lt_slot *slot, uint32_t units)
{
    uint64_t word = memory_read(&slot->stamp);
    struct seen seen = { .value = (uint32_t)word, .pos = word >> 32 };
    for (uint32_t u = 0; u < units; u++) {
        uint64_t value = memory_read(lt_ring_payload_at(ring, seen.pos + u));
        if (value != seen.value)
            model_fail("payload: slot says %#x, payload says %#llx", seen.value, (unsigned long long)value);
    }
    return seen;
}

/* All producers of a configuration write records of the same size, or this could not know. */
static uint32_t record_units(void)
{
    return config->producer[0].units;
}

/* Takes what is published from the position on, and looks at it again as the caller of a poll does until the next one. */
static enum lt_slot_kind walk(struct actor *me, uint32_t *taken)
{
    struct consumer *c = &me->consumer;
    uint32_t values[SLOTS_MAX], n = 0, units = record_units();
    uint64_t first = c->position;
    enum lt_slot_kind kind = LT_KIND_RECORD;
    const struct lt_slot *slot;
    while (n < config->consumer[me->number].gulp) {
        kind = lt_ring_peek(&c->ring, first + n, &slot);
        if (kind != LT_KIND_RECORD && kind != LT_KIND_GAP)
            break;
        values[n] = kind == LT_KIND_RECORD ? read_record(&c->ring, slot, units).value : 0;
        if (values[n] != 0)
            oracle_record(me, first + n, values[n]);
        else
            oracle_gap(me, first + n);
        n++;
    }
    c->position = first + n;
    for (uint32_t i = 0; i < n; i++)
        if (values[i] != 0) {
            slot = lt_ring_slot_at(&c->ring, lt_ring_rel(&c->ring, first + i));
            if (read_record(&c->ring, slot, units).value != values[i])
                model_fail("changed: the record at %llu changed under the pin of %c",
                           (unsigned long long)(first + i), 'a' + (int)me->id);
        }
    *taken = n;
    return kind;
}

static void release(struct actor *me)
{
    struct lt_reader *reader = &shared->readers[me->number];
    lt_pin_drop(reader);
    if (!config->consumer[me->number].keep)
        return;
    /* [reader.keep] release, then a look whether leatd waits for it: it stores `starving`, passes a membarrier and looks at
     * the keeps again. */
    lt_store_release64(&reader->keep, me->consumer.position);
    lt_fence_light();
    if (config->bells && lt_load_relaxed32(&PARTITION->starving) != 0)
        knock();
}

/* Is there anything for a poll to do? */
static bool is_ready(const struct consumer *c)
{
    const struct lt_ring_gate *gate = gate_of(c->ring_no);
    uint64_t rel = lt_ring_rel(&c->ring, c->position);
    uint64_t word = lt_load_acquire64(&lt_ring_slot_at(&c->ring, rel)->word);
    return lt_word_lap(word) == rel >> c->ring.slot_shift ||
           lt_load_relaxed64(&gate->announced) > c->position ||
           lt_load_relaxed64(&gate->end_offset) <= c->position;
}

/* Sleeps until there may be something (src/client/poll.c, sleep_for_records). `looks`: look once more first; else what
 * was seen was a seal without a successor. */
static void sleep_for_records(struct actor *me, bool looks)
{
    struct consumer *c = &me->consumer;
    if (!config->bells) {
        model_yield(OP_WAIT, 0, MODEL_RELAXED);
        return;
    }
    struct lt_bell *bell = &shared->bells.bells[me->number];
    uint32_t armed = lt_bell_arm(bell);
    lt_membarrier();
    if (!looks || !is_ready(c)) {
        if (lt_load_relaxed64(&lt_ring_words(&c->ring)->hint) >= lt_ring_rel(&c->ring, c->position))
            knock();
        lt_bell_wait(bell, armed, -1);
    }
    lt_bell_disarm(bell, armed);
}

static bool consumer_once(struct actor *me)
{
    struct consumer *c = &me->consumer;
    struct lt_reader *reader = &shared->readers[me->number];
    const struct lt_ring_gate *gate = gate_of(c->ring_no);

    uint64_t rel = lt_ring_rel(&c->ring, c->position);
    uint64_t word = lt_load_acquire64(&lt_ring_slot_at(&c->ring, rel)->word);
    if (lt_word_lap(word) != rel >> c->ring.slot_shift &&
        lt_load_relaxed64(&gate->announced) <= c->position &&
        lt_load_relaxed64(&gate->end_offset) > c->position) {
        model_yield(OP_WAIT, 0, MODEL_RELAXED);
        return true;
    }

    uint32_t taken = 0;
    bool waits = false;
    if (!lt_pin_take(reader, gate, c->position)) {
        fall_behind(me);
    } else {
        enum lt_slot_kind kind = walk(me, &taken);
        bool over = kind == LT_KIND_SEAL ||
                    (kind == LT_KIND_NONE && lt_load_acquire64(&gate->end_offset) <= c->position);
        if (over && c->ring_no != lt_load_acquire32(&PARTITION->current_ring)) {
            /* Only what was pinned in this ring is this poll's: a pin there holds nothing in the next one. */
            if (taken == 0)
                go(c, c->position);
        } else if (taken == 0) {
            waits = true; /* sealed, and the next ring is not there yet */
        }
    }
    release(me);
    if (waits)
        sleep_for_records(me, false);
    return true;
}

/* --- leatd's worker --- */

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

/* The fate of each owner; owner a + 1 is actor a. */
static void fates_of(uint8_t *fates, uint32_t left)
{
    fates[0] = LT_OWNER_DEAD; /* leatd itself never holds a claim */
    for (uint32_t a = 0; a < actor_count; a++)
        fates[a + 1] = world.actors[a].life == DEAD ? LT_OWNER_DEAD
                       : left == a                  ? LT_OWNER_LEFT
                                                    : LT_OWNER_ALIVE;
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
    if (config->bells) {
        /* It may have changed a word and not come to its wake: src/leatd/clients.c, lt_clients_repair_part. */
        for (uint32_t c = 0; c < config->consumers; c++)
            lt_bell_rescue(&shared->bells.bells[c]);
        wake_producers();
        knock();
        if (config->rescues)
            lt_bell_rescue(&shared->bells.leatd);
    }
    unlock_tables();
}

static bool leatd_once(struct actor *me)
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

static bool warden_once(struct actor *me)
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

/* --- all --- */

void actor_main(struct actor *actor)
{
    static bool (*const once[])(struct actor *) = {
        [PRODUCER] = producer_once,
        [CONSUMER] = consumer_once,
        [LEATD] = leatd_once,
        [WARDEN] = warden_once,
    };
    while (once[actor->kind](actor)) {
        /* Leftovers of the last turn in saved registers must not tell states apart. */
#if defined(__x86_64__)
        __asm__ volatile("xor %%ebx, %%ebx\n xor %%r12d, %%r12d\n xor %%r13d, %%r13d\n xor %%r14d, %%r14d\n"
                         "xor %%r15d, %%r15d" ::
                             : "rbx", "r12", "r13", "r14", "r15", "cc");
#endif
    }
}
