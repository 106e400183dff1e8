/* oracle: what must hold, whatever the schedule. Looks at what actors were told and given, and at rest also at memory. */
#include <string.h>

#include "model.h"

static struct notes *notes(void)
{
    return &world.notes;
}

static uint32_t index_of(uint64_t offset)
{
    if (offset < config->base || offset - config->base >= OFFSETS_MAX)
        model_fail("offset: %llu is not of this run", (unsigned long long)offset);
    return (uint32_t)(offset - config->base);
}

static uint32_t producer_of(uint32_t value)
{
    uint32_t p = (value >> 8) - 1;
    if (p >= config->producers)
        model_fail("payload: %#x was never written", value);
    return p;
}

void oracle_reset(void)
{
    struct notes *n = notes();
    n->kills = config->kills;
    n->leases = config->leases;
    n->stalls = config->stalls;
    n->deaths = config->deaths;
    n->rotations = config->rotations;
    n->hangs = config->hangs;
    n->late = config->late;
}

void oracle_claimed(struct actor *who, uint32_t ring, const struct lt_ring *view,
                    const struct lt_claim *claim, uint32_t first_value, uint32_t units_each)
{
    struct notes *n = notes();
    uint8_t me = who->id + 1;
    for (uint32_t i = 0; i < claim->count; i++) {
        uint32_t o = index_of(claim->offset + i);
        if (n->value[o] != 0)
            model_fail("offset: %llu is given out twice, for %#x and %#x",
                       (unsigned long long)claim->offset + i, n->value[o], first_value + i);
        n->value[o] = (uint16_t)(first_value + i);
        uint8_t *writer = &n->slot_writer[ring][lt_ring_rel(view, claim->offset + i) & view->slot_mask];
        if (*writer != 0 && *writer != me)
            model_fail("reuse: %c is given slot of %llu while %c may still write there", 'a' + (int)who->id,
                       (unsigned long long)claim->offset + i, 'a' + *writer - 1);
        *writer = me;
    }
    for (uint32_t u = 0; u < claim->count * units_each; u++) {
        uint8_t *writer = &n->unit_writer[ring][(claim->pos + u) & (view->payload_units - 1)];
        if (*writer != 0 && *writer != me)
            model_fail("reuse: %c is given payload %llu while %c may still write there", 'a' + (int)who->id,
                       (unsigned long long)claim->pos + u, 'a' + *writer - 1);
        *writer = me;
    }
}

/* Its writes are over. */
void oracle_released(struct actor *who)
{
    struct notes *n = notes();
    uint8_t me = who->id + 1;
    for (uint32_t k = 0; k < RINGS_MAX; k++) {
        for (uint32_t i = 0; i < SLOTS_MAX; i++)
            n->slot_writer[k][i] = n->slot_writer[k][i] == me ? 0 : n->slot_writer[k][i];
        for (uint32_t i = 0; i < UNITS_MAX; i++)
            n->unit_writer[k][i] = n->unit_writer[k][i] == me ? 0 : n->unit_writer[k][i];
    }
}

void oracle_acked(struct actor *who, const struct lt_claim *claim)
{
    struct notes *n = notes();
    for (uint32_t i = 0; i < claim->count; i++) {
        uint32_t o = index_of(claim->offset + i);
        if (n->flags[o] & NOTE_GAP)
            model_fail("fence: the commit of %llu is acknowledged, and readers saw a gap there",
                       (unsigned long long)claim->offset + i);
        n->flags[o] |= NOTE_ACKED;
    }
    n->acked[who->number] += (uint8_t)claim->count;
    oracle_released(who);
}

void oracle_refused(struct actor *who, const struct lt_claim *claim, bool given_up)
{
    struct notes *n = notes();
    for (uint32_t i = 0; i < claim->count; i++) {
        uint32_t o = index_of(claim->offset + i);
        if (n->flags[o] & NOTE_SEEN)
            model_fail("fence: the commit of %llu is refused, and a reader was given it",
                       (unsigned long long)claim->offset + i);
        n->flags[o] |= NOTE_GAP;
    }
    if (given_up)
        n->given_up[who->number] += (uint8_t)claim->count;
    oracle_released(who);
}

void oracle_record(struct actor *consumer, uint64_t offset, uint64_t value)
{
    struct notes *n = notes();
    uint32_t o = index_of(offset), p = producer_of((uint32_t)value), sequence = (uint32_t)value & 0xff;
    if (n->value[o] != value)
        model_fail("payload: %c reads %#llx at %llu, where %#x was written", 'a' + (int)consumer->id,
                   (unsigned long long)value, (unsigned long long)offset, n->value[o]);
    if (n->flags[o] & NOTE_GAP)
        model_fail("fence: %c is given %llu, whose claim was refused", 'a' + (int)consumer->id,
                   (unsigned long long)offset);
    n->flags[o] |= NOTE_SEEN;
    uint8_t *last = &n->last[consumer->number][p];
    if (sequence <= *last)
        model_fail("order: %c is given record %u of %c behind record %u", 'a' + (int)consumer->id, sequence,
                   'a' + (int)p, *last);
    if (sequence != *last + 1u && !n->missed[consumer->number] && config->producer[p].give_up == 0)
        model_fail("lost: %c is given record %u of %c behind record %u", 'a' + (int)consumer->id, sequence,
                   'a' + (int)p, *last);
    *last = (uint8_t)sequence;
}

void oracle_end(struct actor *consumer, uint64_t offset)
{
    const struct notes *n = notes();
    uint32_t o = index_of(offset);
    uint32_t before = n->value[o - 1], here = n->value[o];
    if (o == 0 || before == 0 || here != before + 1 || !(n->flags[o - 1] & NOTE_SEEN))
        return;
    uint32_t count = config->producer[producer_of(here)].count;
    if (((here & 0xff) - 1) % count != 0)
        model_fail("batch: %c is given %llu, and not what was committed with it", 'a' + (int)consumer->id,
                   (unsigned long long)offset - 1);
}

void oracle_gap(struct actor *consumer, uint64_t offset)
{
    struct notes *n = notes();
    uint32_t o = index_of(offset);
    if (n->flags[o] & NOTE_ACKED)
        model_fail("lost: %c sees a gap at %llu, which was acknowledged", 'a' + (int)consumer->id,
                   (unsigned long long)offset);
    if (n->flags[o] & NOTE_SEEN)
        model_fail("lost: %c sees a gap at %llu, where another reader was given a record",
                   'a' + (int)consumer->id, (unsigned long long)offset);
    n->flags[o] |= NOTE_GAP;
}

void oracle_missed(struct actor *consumer, uint64_t to)
{
    if (config->consumer[consumer->number].keep)
        model_fail("lost: %c wanted what was kept, and fell behind to %llu", 'a' + (int)consumer->id,
                   (unsigned long long)to);
    if (to <= consumer->consumer.position)
        model_fail("missed: %c falls back from %llu to %llu", 'a' + (int)consumer->id,
                   (unsigned long long)consumer->consumer.position, (unsigned long long)to);
    notes()->missed[consumer->number] = 1;
}

void oracle_died(struct actor *who)
{
    oracle_released(who);
}

/* A claim that does not fit by the limit that its maker has read does not fit at a later tail either. */
void oracle_full(struct actor *who, const struct lt_ring *ring, uint32_t count, uint32_t units)
{
    struct lt_ring_end end;
    self = NULL; /* looks, and takes no step */
    int r = lt_ring_find_end(ring, &end);
    self = who;
    uint64_t slots = end.tail + count - ring->cached_limit_offset;
    uint64_t payload = (end.pos + units - ring->cached_limit_pos) & LT_POS_MASK;
    if (r == 0 && slots <= ring->slot_count && payload <= ring->payload_units)
        model_fail("full: %c is refused at the tail %llu, and it fits", 'a' + (int)who->id,
                   (unsigned long long)end.tail);
}

/* --- at rest --- */

/* A ring that nobody works on: every claim is over, its slots say what it came to, pos and epoch follow along. */
static void check_claims(const struct leatd *d, uint32_t k)
{
    const struct lt_ring *ring = &d->ring[k];
    uint64_t rel = lt_ring_rel(ring, d->limit[k]), end = rel + ring->slot_count;
    bool is_first = true;
    uint32_t pos = 0;
    while (rel < end) {
        const struct lt_pair *word = lt_ring_claim_at(ring, rel);
        uint64_t lo = memory_latest(&word->lo), hi = memory_latest(&word->hi);
        uint64_t offset = lt_ring_offset(ring, rel);
        if (lt_lo_lap(lo) < rel >> ring->slot_shift || lt_lo_state(lo) == LT_SEAL)
            return;
        if (lt_lo_state(lo) != LT_PUBLISHED && lt_lo_state(lo) != LT_ACKED)
            model_fail("held: everybody rests, and the claim of %llu has state %u",
                       (unsigned long long)offset, lt_lo_state(lo));
        if (!is_first && lt_hi_pos(hi) != pos)
            model_fail("pos: the claim of %llu has payload at %u, the one before it ends at %u",
                       (unsigned long long)offset, lt_hi_pos(hi), pos);
        if (lt_hi_epoch(hi) != EPOCH)
            model_fail("epoch: the claim of %llu has %u", (unsigned long long)offset, lt_hi_epoch(hi));
        for (uint32_t i = 0; i < lt_lo_count(lo); i++) {
            uint64_t seen = memory_latest(&lt_ring_slot_at(ring, rel + i)->word);
            bool is_record = lt_word_kind(seen) == LT_KIND_RECORD;
            if (lt_word_lap(seen) != (rel + i) >> ring->slot_shift ||
                is_record != (lt_lo_state(lo) == LT_PUBLISHED))
                model_fail("slot: everybody rests, and the slot of %llu says %#llx",
                           (unsigned long long)offset + i, (unsigned long long)seen);
        }
        is_first = false;
        pos = (lt_hi_pos(hi) + lt_hi_units(hi)) & LT_POS_MASK;
        rel += lt_lo_count(lo);
    }
}

static void check_producer(const struct actor *actor, uint32_t stopped)
{
    if (actor->op.kind == OP_DONE || (actor->op.kind == OP_WAIT && !producer_can_go_on(actor)))
        return;
    /* What a stopped process holds is not given out again, and without a ring to rotate to that is that. */
    if (stopped != 0 && world.notes.rotations == 0 && actor->op.kind == OP_ASLEEP)
        return;
    model_fail("stuck: %c waits%s for room", 'a' + (int)actor->id,
               stopped ? " beside one that stands still" : "");
}

static void check_consumer(const struct actor *actor, uint32_t stopped)
{
    const struct notes *n = notes();
    const struct consumer *c = &actor->consumer;
    const struct leatd *d = &the_leatd()->leatd;
    uint64_t tail, pos;
    uint32_t epoch;
    lt_ring_find_tail(&d->ring[d->current], &tail, &pos, &epoch);
    if (c->position != tail)
        model_fail("stuck: %c stands at %llu%s, the tail is %llu", 'a' + (int)actor->id,
                   (unsigned long long)c->position, stopped ? " beside one that stands still" : "",
                   (unsigned long long)tail);
    for (uint32_t p = 0; p < config->producers && !n->missed[actor->number]; p++) {
        if (config->producer[p].give_up != 0)
            continue;
        uint32_t last = n->last[actor->number][p];
        bool may_be_ahead = world.actors[p].life == DEAD || (stopped & 1u << p);
        if (last < n->acked[p] || (last > n->acked[p] && !may_be_ahead))
            model_fail("lost: %c was given %u records of %c, which has %u acknowledged", 'a' + (int)actor->id,
                       last, 'a' + (int)p, n->acked[p]);
    }
}

void oracle_rest(uint32_t stopped)
{
    const struct leatd *d = &the_leatd()->leatd;
    for (uint32_t a = 0; a < actor_count; a++) {
        const struct actor *actor = &world.actors[a];
        if (actor->life == DEAD || (stopped & 1u << a))
            continue;
        if (actor->kind == PRODUCER)
            check_producer(actor, stopped);
        else if (actor->kind == CONSUMER)
            check_consumer(actor, stopped);
    }
    if (stopped == 0 && config->bells && memory_latest(&shared->bells.knocks[0]) != 0)
        model_fail("wake: everybody rests, and nobody has looked where somebody knocked");
    for (uint32_t k = d->first; stopped == 0 && k <= d->current; k++)
        check_claims(d, k);
}
