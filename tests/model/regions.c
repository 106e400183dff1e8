/* regions: shared memory as leatd would have made it, and who may touch which word of it. */
#include "actors.h"

struct lt_ring_gate *gate_of(uint32_t ring)
{
    return lt_partition_gate(PARTITION, ring);
}

void attach(struct lt_ring *view, uint32_t ring)
{
    const struct lt_ring_gate *gate = gate_of(ring);
    lt_ring_view_small(view, shared->ring[ring], config->slots, config->units,
                       lt_load_acquire64(&gate->base_offset), gate);
}

static uint32_t mask_of(enum actor_kind kind)
{
    uint32_t mask = 0;
    for (uint32_t a = 0; a < actor_count; a++)
        if (world.actors[a].kind == kind)
            mask |= 1u << a;
    return mask;
}

bool any_exclusive(void)
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
        lt_ring_genesis(&view, EPOCH);
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
    if (config->members > 0) {
        group_place();
        return;
    }
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
