/* world: the memory, what lies in it, and what others do there. See step.h. */
#include <string.h>
#include <sys/mman.h>

#include "base/futex.h"
#include "leatd/kept.h"
#include "shm/rotation.h"
#include "step.h"

#define EPOCH_MAX 9u

_Static_assert(sizeof(struct notes) <= NOTES_SIZE, "notes");
_Static_assert(LT_TOPIC_PARTS_AT + sizeof(struct lt_partition) <= TOPIC_SIZE, "page");
_Static_assert(offsetof(struct lt_bells, bells) + 4 * sizeof(struct lt_bell) <= BELLS_SIZE, "bells");
_Static_assert(offsetof(struct lt_mailbox, readers) + 4 * sizeof(struct lt_reader) <= PAGE, "mailbox");

void world_view(struct world *world, unsigned char *base)
{
    world->base = base;
    world->notes = (void *)(base + PRIVATE_AT);
    world->coordinator = (void *)(base + COORDINATOR_AT);
    world->page = base + TOPIC_AT;
    world->part = lt_topic_partition(world->page, 0);
    world->bells = (void *)(base + BELLS_AT);
    world->mailbox = (void *)(base + MAILBOX_AT);
}

bool world_map(struct world *world, int fd, unsigned char *base)
{
    int prot = PROT_READ | PROT_WRITE;
    if (mmap(base, MEMORY_SIZE, prot, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0) != base)
        return false;
    for (uint32_t k = 0; k < RINGS; k++) {
        uint64_t at = RINGS_AT + k * RING_STRIDE + RING_BYTES;
        if (mmap(base + at, PAGE, prot, MAP_SHARED | MAP_FIXED, fd, (off_t)(at - PAGE)) == MAP_FAILED)
            return false;
    }
    world_view(world, base);
    return true;
}

unsigned char *world_ring_base(const struct world *world, uint32_t ring)
{
    return world->base + RINGS_AT + ring * RING_STRIDE;
}

struct lt_ring world_ring(const struct world *world, uint32_t ring)
{
    struct lt_ring view;
    struct lt_ring_gate *gate = lt_partition_gate(world->part, ring);
    lt_ring_view(&view, world_ring_base(world, ring), PAYLOAD_SIZE, gate->base_offset, gate);
    return view;
}

static void init_gate(const struct world *world, uint32_t ring, uint64_t base_offset)
{
    struct lt_ring_gate *gate = lt_partition_gate(world->part, ring);
    memset(gate, 0, sizeof *gate);
    gate->ring_id = ring + 1;
    gate->base_offset = gate->announced = gate->limit_offset = base_offset;
    gate->end_offset = UINT64_MAX;
}

void world_init(const struct world *world)
{
    struct lt_topic_head *head = lt_topic_head(world->page);
    memset(world->base, 0, MEMORY_SIZE);
    world->notes->next_id = ID_FIRST;
    head->state = LT_TOPIC_OPEN;
    head->partition_count = 1;
    head->ring_size = PAYLOAD_SIZE;
    head->map_epoch = 1;
    head->on_full = 0;
    lt_topic_map_init(world->page, 1);
    world->part->visible = UINT64_MAX;
    init_gate(world, 0, 0);
    struct lt_ring ring = world_ring(world, 0);
    lt_ring_genesis(&ring, 1);
    world->mailbox->readers[0].pin = LT_PIN_NONE;
    world->mailbox->readers[0].keep = LT_PIN_NONE;
    world->mailbox->readers[0].committed = LT_COMMIT_NONE;
}

/* --- contents --- */

/* Every fourth is larger than its slot; all are whole words. */
uint32_t record_size(uint32_t id)
{
    return id % 4 == 3 ? 104 + id / 4 % 3 * 48 : 24 + id % 5 * 16;
}

static uint64_t word_of(uint32_t id, uint32_t i)
{
    return ((uint64_t)i * 0x9e3779b97f4a7c15ull) ^ ((uint64_t)id << 32 | id);
}

void record_fill(unsigned char *value, uint32_t id)
{
    uint32_t size = record_size(id);
    for (uint32_t i = 0; i < size / 8; i++) {
        uint64_t word = word_of(id, i);
        lt_shared_copy(value + i * 8, &word, sizeof word);
    }
}

uint32_t record_id(const unsigned char *value, uint64_t size)
{
    uint32_t id;
    if (size < sizeof id)
        return 0;
    lt_shared_copy(&id, value, sizeof id);
    if (size != record_size(id))
        return 0;
    for (uint32_t i = 0; i < size / 8; i++) {
        uint64_t word;
        lt_shared_copy(&word, value + i * 8, sizeof word);
        if (word != word_of(id, i))
            return 0;
    }
    return id;
}

static uint32_t id_in(const struct world *world, const struct lt_ring *ring, const struct lt_slot *slot)
{
    const unsigned char *at = slot->pos == LT_POS_INLINE ? slot->data : lt_ring_payload_at(ring, slot->pos);
    uint64_t size = slot->value_size;
    if (size > (slot->pos == LT_POS_INLINE ? LT_INLINE_MAX : PAYLOAD_SIZE / 4))
        return DAMAGED_ID;
    uint32_t id = record_id(at, size);
    return id == 0 || (slot->stamp >> 48) != lt_topic_head(world->page)->map_epoch ? DAMAGED_ID : id;
}

uint32_t world_id_at(const struct world *world, uint64_t offset, uint32_t *ring)
{
    uint32_t k = world->part->current_ring;
    while (k > 0 && lt_partition_gate(world->part, k)->base_offset > offset)
        k--;
    if (ring)
        *ring = k;
    struct lt_ring view = world_ring(world, k);
    const struct lt_slot *slot;
    switch (lt_ring_peek(&view, offset, &slot)) {
    case LT_KIND_RECORD:
        return id_in(world, &view, slot);
    case LT_KIND_GAP:
        return GAP_ID;
    case LT_KIND_SEAL:
        return SEAL_ID;
    default:
        return 0;
    }
}

/* --- acts --- */

static void ring_bells(const struct world *world)
{
    lt_partition_ring_bells(world->part, world->bells);
}

/* As client/send.c: claim, write, commit, bells. */
int act_send(const struct world *world, uint32_t count, bool big)
{
    struct lt_ring ring = world_ring(world, world->part->current_ring);
    uint32_t ids[8], units = 0, id = world->notes->next_id;
    for (uint32_t i = 0; i < count; i++) {
        while (big && record_size(id) <= LT_INLINE_MAX)
            id++;
        while (!big && record_size(id) > LT_INLINE_MAX)
            id++;
        ids[i] = id++;
        units += lt_record_units(record_size(ids[i]));
    }
    struct lt_claim claim;
    int r = lt_ring_claim(&ring, OTHER, count, units, EPOCH_MAX, &claim);
    if (r != 0)
        return r;
    uint64_t pos = claim.pos;
    for (uint32_t i = 0; i < count; i++) {
        struct lt_slot *slot = lt_ring_slot(&ring, &claim, i);
        bool is_inline = record_size(ids[i]) <= LT_INLINE_MAX;
        slot->stamp = (uint64_t)claim.epoch << 48 | 1;
        slot->key_size = LT_NULL_SIZE;
        slot->value_size = record_size(ids[i]);
        slot->headers_size = 0;
        slot->pos = is_inline ? LT_POS_INLINE : (uint32_t)(pos & LT_POS_MASK);
        record_fill(is_inline ? slot->data : lt_ring_payload_at(&ring, pos), ids[i]);
        pos += lt_record_units(record_size(ids[i]));
    }
    r = lt_ring_commit(&ring, &claim);
    if (r != 0)
        return r;
    world->notes->next_id = id;
    for (uint32_t i = 0; i < count; i++)
        if (claim.offset + i < OFFSETS)
            world->notes->truth[claim.offset + i] = ids[i];
    ring_bells(world);
    return 0;
}

int act_hold(const struct world *world, uint32_t owner, uint32_t count, uint32_t units,
             struct lt_claim *claim)
{
    struct lt_ring ring = world_ring(world, world->part->current_ring);
    return lt_ring_claim(&ring, owner, count, units, EPOCH_MAX, claim);
}

/* As leatd/clients.c. */
int act_repair(const struct world *world, enum lt_owner_fate tracee, enum lt_owner_fate other)
{
    uint8_t fates[OWNERS] = { LT_OWNER_DEAD, (uint8_t)tracee, (uint8_t)other };
    uint32_t published = 0;
    int said = 0;
    for (uint32_t k = world->part->first_ring; k <= world->part->current_ring; k++) {
        struct lt_ring ring = world_ring(world, k);
        struct lt_repair_report report = { 0 };
        int r = lt_repair_scan(&ring, ring.gate->limit_offset, fates, OWNERS, &report);
        published += report.helped + report.gaps;
        said = r == LT_RING_CORRUPT || said == LT_RING_CORRUPT ? LT_RING_CORRUPT : r;
    }
    if (published != 0)
        ring_bells(world);
    /* The dead may have published and not come to its bells, or to its wake. */
    if (tracee == LT_OWNER_DEAD)
        for (uint32_t b = 0; b < 2; b++)
            if (world->part->bells[0] >> b & 1)
                lt_bell_rescue(&world->bells->bells[b]);
    return said;
}

void world_limit(const struct world *world, uint32_t ring, uint64_t *offset, uint64_t *pos)
{
    struct lt_kept_ring kept = { .view = world_ring(world, ring) };
    lt_kept_begin(&kept, lt_partition_gate(world->part, ring));
    *offset = kept.limit_offset;
    *pos = kept.limit_pos;
}

/* As leatd/warden.c, its two halves one behind the other; the membarrier between them is the context switch to here. */
void act_reclaim(const struct world *world, uint64_t up_to, bool heed_readers)
{
    struct lt_ring ring = world_ring(world, world->part->current_ring);
    struct lt_ring_gate *gate = lt_partition_gate(world->part, world->part->current_ring);
    const struct lt_reader *reader = &world->mailbox->readers[0];
    uint64_t limit, pos;
    world_limit(world, world->part->current_ring, &limit, &pos);
    struct lt_reclaim target = { .offset = limit, .pos = pos };
    if (gate->frozen)
        return;
    uint64_t keep = heed_readers ? lt_load_acquire64(&reader->keep) : LT_PIN_NONE;
    lt_reclaim_scan(&ring, &target, up_to, 0, keep);
    if (target.offset > gate->announced)
        lt_reclaim_announce(gate, target.offset);
    lt_membarrier();
    uint64_t pin = heed_readers ? lt_load_acquire64(&reader->pin) : LT_PIN_NONE;
    if (pin >= limit && pin < target.offset) {
        target = (struct lt_reclaim){ .offset = limit, .pos = pos };
        lt_reclaim_cut(&ring, &target, pin);
    }
    if (target.offset > limit) {
        lt_reclaim_publish(gate, target.offset, target.pos > gate->limit_pos ? target.pos : gate->limit_pos);
        act_wake_room(world);
    }
}

void act_wake_room(const struct world *world)
{
    lt_store_release32(&world->part->room_seq, lt_load_relaxed32(&world->part->room_seq) + 1);
    lt_futex_wake(&world->part->room_seq);
}

/* As leatd/rotate.c. */
int act_seal(const struct world *world, uint64_t *base_offset, uint32_t *epoch)
{
    struct lt_ring ring = world_ring(world, world->part->current_ring);
    struct lt_ring_gate *gate = lt_partition_gate(world->part, world->part->current_ring);
    lt_store_release32(&gate->frozen, 1);
    lt_membarrier();
    return lt_rotation_seal(&ring, lt_topic_head(world->page)->exclusive_client != 0, base_offset, epoch);
}

int act_succeed(const struct world *world, uint64_t base_offset, uint32_t epoch)
{
    uint32_t next = world->part->current_ring + 1;
    struct lt_ring_gate *gate = lt_partition_gate(world->part, world->part->current_ring);
    if (next == RINGS)
        return LT_RING_FULL;
    init_gate(world, next, base_offset);
    struct lt_ring ring = world_ring(world, next);
    lt_ring_genesis(&ring, epoch);
    for (uint32_t i = 2 * next; i < 2 * next + 2; i++)
        if (world->notes->base_offset_at[i] != 0)
            *(uint64_t *)(void *)(world->base + world->notes->base_offset_at[i]) = base_offset;
    lt_store_release32(&world->part->current_ring, next);
    lt_store_release64(&gate->end_offset, base_offset);
    act_wake_room(world);
    ring_bells(world);
    return 0;
}

int act_rotate(const struct world *world)
{
    uint64_t base_offset;
    uint32_t epoch;
    if (world->part->current_ring + 1 == RINGS)
        return 0;
    int r = act_seal(world, &base_offset, &epoch);
    return r != 0 ? r : act_succeed(world, base_offset, epoch);
}

/* As leatd/adopt.c. */
int act_adopt(const struct world *world, enum lt_owner_fate tracee, enum lt_owner_fate other)
{
    struct lt_partition *part = world->part;
    for (uint32_t k = part->first_ring; k != part->current_ring; k++)
        if (lt_partition_gate(part, k)->end_offset == UINT64_MAX)
            lt_store_release64(&lt_partition_gate(part, k)->end_offset,
                               lt_partition_gate(part, k + 1)->base_offset);
    if (lt_partition_gate(part, part->current_ring)->frozen) {
        int r = act_rotate(world);
        if (r != 0)
            return r;
    }
    return act_repair(world, tracee, other);
}

uint32_t act_fill(const struct world *world)
{
    uint32_t sent = 0;
    for (uint32_t i = 0; i < 64; i++) {
        if (act_send(world, 1 + i % 3, i % 4 == 0) != 0 && act_send(world, 1, false) != 0)
            break;
        sent++;
    }
    return sent;
}

void act_overwrite(const struct world *world)
{
    struct lt_ring ring = world_ring(world, world->part->current_ring);
    uint64_t tail, pos;
    uint32_t epoch;
    struct lt_claim claim;
    while (lt_ring_find_tail(&ring, &tail, &pos, &epoch) == 0 &&
           tail + ring.count_max < ring.gate->limit_offset + ring.slot_count &&
           act_send(world, 1, false) == 0)
        continue;
    for (uint32_t units = 8; units > 0;) {
        if (act_hold(world, OTHER, 1, units, &claim) != 0) {
            units /= 2;
            continue;
        }
        struct lt_slot *slot = lt_ring_slot(&ring, &claim, 0);
        memset(&slot->stamp, 0xee, LT_SLOT_SIZE - sizeof slot->word);
        memset(lt_ring_payload_at(&ring, claim.pos), 0xee, units * LT_UNIT);
    }
}

void act_make_room(const struct world *world)
{
    act_reclaim(world, UINT64_MAX, true);
}
