/* paths: what is stepped, and the state that each begins in. What the tracee does there is in tracee/tracee.c, by name. */
#include <leat.h>

#include "step.h"

static void place_empty(const struct world *world)
{
    (void)world;
}

static void place_some(const struct world *world)
{
    act_send(world, 2, false);
    act_send(world, 1, true);
}

/* The hint is a word that anyone may write. */
static void place_lying_hint(const struct world *world)
{
    struct lt_ring ring = world_ring(world, 0);
    place_some(world);
    lt_ring_words(&ring)->hint = 0x123456789abcdef0;
}

/* The map has an epoch that this producer does not know of yet. */
static void place_new_epoch(const struct world *world)
{
    struct lt_ring ring = world_ring(world, 0);
    lt_ring_genesis(&ring, 2);
    lt_topic_head(world->page)->map_epoch = 2;
}

/* A reader sleeps, and is listed. */
static void place_sleeper(const struct world *world)
{
    place_some(world);
    lt_partition_bell_set(world->part, 0, 1);
    lt_bell_arm(&world->bells->bells[0]);
}

/* Slots 31, 0 and 1 of the second lap are the next ones, and the payload's last two units. */
static void place_wrap(const struct world *world)
{
    while (world_ring(world, 0).gate->limit_offset < 31) {
        struct lt_ring ring = world_ring(world, 0);
        uint64_t tail, pos;
        uint32_t epoch;
        lt_ring_find_tail(&ring, &tail, &pos, &epoch);
        if (tail == 31)
            break;
        if (pos % 64 < 56)
            act_send(world, 1, true);
        else
            act_send(world, 1, false);
        if (tail == 16)
            act_reclaim(world, 12, false);
    }
    act_reclaim(world, 24, false);
}

static void place_full(const struct world *world)
{
    for (uint32_t i = 0; i < 32; i++)
        act_send(world, 1, false);
}

static void place_mixed(const struct world *world)
{
    act_fill(world);
}

static void place_sealed(const struct world *world)
{
    place_some(world);
    act_rotate(world);
}

/* The worker was killed before it named the successor. */
static void place_sealed_unnamed(const struct world *world)
{
    uint64_t base_offset;
    uint32_t epoch;
    place_some(world);
    act_seal(world, &base_offset, &epoch);
}

static void place_exclusive(const struct world *world)
{
    place_some(world);
    lt_topic_head(world->page)->exclusive_client = TRACEE;
}

static void place_records(const struct world *world)
{
    act_send(world, 2, false);
    act_send(world, 1, true);
    act_send(world, 3, false);
}

static void place_gaps(const struct world *world)
{
    struct lt_claim claim;
    act_hold(world, OTHER, 1, 0, &claim);
    act_send(world, 1, true);
    act_hold(world, OTHER, 2, 3, &claim);
    act_send(world, 2, false);
    act_repair(world, LT_OWNER_ALIVE, LT_OWNER_DEAD);
}

/* Records up to the lap's end and behind it. */
static void place_lap(const struct world *world)
{
    place_wrap(world);
    world->notes->start = 29;
    act_send(world, 3, false);
}

static void place_two_rings(const struct world *world)
{
    act_send(world, 2, false);
    act_rotate(world);
    act_send(world, 1, true);
    act_send(world, 1, false);
}

static void place_behind(const struct world *world)
{
    place_full(world);
    act_reclaim(world, 20, false);
}

static void place_reader_asleep(const struct world *world)
{
    lt_partition_bell_set(world->part, 0, 1);
}

static void place_starving(const struct world *world)
{
    place_records(world);
    world->mailbox->readers[0].keep = 0;
    world->part->starving = 1;
}

/* Claims of a dead OTHER in every state that a death leaves. */
static void place_wreck(const struct world *world)
{
    struct lt_claim claim;
    act_send(world, 2, false);
    act_hold(world, OTHER, 1, 2, &claim);
    act_send(world, 2, false);
    /* Committed, and not published. */
    struct lt_ring ring = world_ring(world, 0);
    struct lt_pair *word = lt_ring_claim_at(&ring, lt_ring_rel(&ring, 3));
    word->lo = lt_lo_with(word->lo, LT_COMMITTED);
    lt_ring_slot_at(&ring, lt_ring_rel(&ring, 3))->word = 0;
    lt_ring_slot_at(&ring, lt_ring_rel(&ring, 4))->word = 0;
    act_hold(world, OTHER, 3, 0, &claim);
    act_send(world, 1, true);
}

const struct path paths[] = {
    { "inline", "send: a record that fits into its slot", PRODUCES, .sampled = true, .place = place_some },
    { "first", "send: the first record of a ring", PRODUCES, .place = place_empty },
    { "payload", "send: key and a value in the payload", PRODUCES, .place = place_some },
    { "headers", "send: with headers", PRODUCES, .place = place_some },
    { "batch", "send_many: three that fit into their slots", PRODUCES, .sampled = true, .result = 3,
      .place = place_some },
    { "batch-payload", "send_many: three, one of them in the payload", PRODUCES, .result = 3,
      .place = place_some },
    { "wrap", "send_many: three over the end of slots and payload", PRODUCES, .result = 3,
      .place = place_wrap },
    { "in-place", "claim, write, commit", PRODUCES, .may_abort = true, .place = place_some },
    { "abort", "claim, write, give up", PRODUCES, .may_abort = true, .place = place_some },
    { "wake", "send to a reader that sleeps", PRODUCES, .place = place_sleeper },
    { "abort-wake", "give up a claim while a reader sleeps", PRODUCES, .may_abort = true,
      .place = place_sleeper },
    { "full", "send to a full ring, which waits for room", PRODUCES, .sampled = true, .place = place_full },
    { "refused", "send to a full ring that refuses", PRODUCES, .result = INT32_MAX, .place = place_full },
    { "sealed", "send to a ring that was rotated away", PRODUCES, .place = place_sealed },
    { "unnamed", "send to a sealed ring without successor yet", PRODUCES, .place = place_sealed_unnamed },
    { "hint", "send: the hint lies", PRODUCES, .place = place_lying_hint },
    { "epoch", "send: the map is newer than known", PRODUCES, .place = place_new_epoch },
    { "exclusive", "send and send_many as exclusive holder", PRODUCES, .exclusive = true, .sampled = true,
      .result = 3, .place = place_exclusive },
    { "taken", "send: the claim is taken back", PRODUCES, .twist = TWIST_TAKEN, .sampled = true,
      .place = place_some },
    { "batch-taken", "send_many: the claim is taken back", PRODUCES, .twist = TWIST_TAKEN, .result = 3,
      .place = place_some },
    { "in-place-taken", "commit of a claim that was taken back", PRODUCES, .twist = TWIST_TAKEN,
      .may_abort = true, .place = place_some },
    { "abort-taken", "giving up a claim that was taken back", PRODUCES, .twist = TWIST_TAKEN,
      .may_abort = true, .place = place_some },
    { "contended", "send: another one claims first", PRODUCES, .twist = TWIST_CONTENDED,
      .place = place_some },
    { "exclusive-frozen", "exclusive: rotated between claim and look", PRODUCES, .exclusive = true,
      .twist = TWIST_FROZEN, .result = 3, .place = place_exclusive },
    { "poll", "poll, read in place, poll again", CONSUMES, .sampled = true, .place = place_records },
    { "gaps", "poll over gaps", CONSUMES, .place = place_gaps },
    { "lap", "poll over the end of the slots", CONSUMES, .place = place_lap },
    { "rings", "poll to a seal, and on in the next ring", CONSUMES, .place = place_two_rings },
    { "behind", "poll at a position that was overwritten", CONSUMES, .place = place_behind },
    { "late", "poll: pinned too late", CONSUMES, .twist = TWIST_LATE, .place = place_full },
    { "sleep", "poll: arm the bell, look, sleep, disarm", CONSUMES, .sampled = true, .result = INT32_MAX,
      .place = place_reader_asleep },
    { "sleep-sent", "poll: a record comes behind the arming", CONSUMES, .twist = TWIST_SENT,
      .result = INT32_MAX, .place = place_reader_asleep },
    { "keep", "poll of a gate: keep and knock", CONSUMES, .place = place_starving },
    { "commit", "poll and commit as a member of a group", CONSUMES, .sampled = true, .place = place_records },
    { "repair", "leatd: repair of what a dead producer left", LEATD, .sampled = true, .place = place_wreck },
    { "reclaim", "leatd: reclaim", LEATD, .place = place_mixed },
    { "rotate", "leatd: rotation", LEATD, .place = place_some },
    { "rotate-held", "leatd: rotation under an exclusive holder", LEATD, .exclusive = true,
      .place = place_exclusive },
};
const size_t path_count = sizeof paths / sizeof *paths;
