/* consumer: src/client's poll and cursor, over ring, pins and bells as they ship. */
#include "actors.h"
#include "base/futex.h"
#include "shm/pin.h"

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
    uint64_t begin;
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
    if (n > 0 && kind == LT_KIND_NONE)
        oracle_end(me, c->position);
    for (uint32_t i = 0; i < n; i++)
        if (values[i] != 0) {
            slot = lt_ring_slot_at(&c->ring, lt_ring_rel(&c->ring, first + i));
            if (read_record(&c->ring, slot, units).value != values[i])
                model_fail("changed: the record at %llu changed under the pin of %c",
                           (unsigned long long)first + i, 'a' + (int)me->id);
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
        /* Woken for it, so it is there to be seen; or weak memory could show the old one, pin after pin, without end. */
        memory_see_latest(memory_loc(&PARTITION->current_ring));
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

bool consumer_once(struct actor *me)
{
    struct consumer *c = &me->consumer;
    struct lt_reader *reader = &shared->readers[me->number];
    const struct lt_ring_gate *gate = gate_of(c->ring_no);

    uint64_t rel = lt_ring_rel(&c->ring, c->position);
    uint64_t word = lt_load_acquire64(&lt_ring_slot_at(&c->ring, rel)->word);
    if (lt_word_lap(word) != rel >> c->ring.slot_shift &&
        lt_load_relaxed64(&gate->announced) <= c->position &&
        lt_load_relaxed64(&gate->end_offset) > c->position) {
        sleep_for_records(me, true);
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
