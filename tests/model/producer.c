/* producer: src/client's send, over the ring as it ships. Where a sequence of its steps exists only in src/client, the same
 * order is written down here, and said so. */
#include "actors.h"
#include "base/futex.h"

/* Whoever waits for producer 0's id gets that; before, its own is in no claim. */
uint32_t owner_of(const struct actor *actor)
{
    if (actor->kind == PRODUCER && config->producer[actor->number].reuses && actor->producer.has_waited)
        return 1;
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
        r = lt_ring_claim(&p->ring, owner_of(me), c->count, units, EPOCH, claim);
    } else {
        if (!p->has_tail) {
            r = lt_ring_tail(&p->ring, &p->tail);
            if (r != 0)
                return r;
            p->has_tail = true;
        }
        r = lt_ring_claim_exclusive(&p->ring, &p->tail, owner_of(me), c->count, units, EPOCH, claim);
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

bool producer_can_go_on(const struct actor *actor)
{
    if (config->producer[actor->number].reuses)
        return world.notes.id_is_free;
    return world.actors[0].life == DEAD || world.actors[0].op.kind == OP_DONE;
}

/* leatd tells an heir over its socket that the hold has ended, and a new client its id. */
static void wait_for_leatd(struct producer *p)
{
    model_yield(OP_WAIT, 0, MODEL_ACQUIRE);
    memory_join(self->id, the_leatd()->id);
    p->has_waited = true;
}

bool producer_once(struct actor *me)
{
    struct producer *p = &me->producer;
    const struct producer_config *c = &config->producer[me->number];
    if ((c->heir || c->reuses) && !p->has_waited)
        wait_for_leatd(p);
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
            /* Asks for room before there is none (src/client/producer.c, lt_out_press). */
            if (config->presses && lt_ring_used_slots(&p->ring, &claim) >= config->slots)
                knock();
            break;
        }
        if (r != LT_RING_TAKEN)
            model_fail("commit: %c gets %d", 'a' + (int)me->id, r);
        oracle_refused(me, &claim, false);
    }
    p->sent++;
    return true;
}
