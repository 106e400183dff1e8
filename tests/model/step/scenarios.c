/* scenarios: what happens at an instruction, and what must hold then.
 *
 * On a copy of the regions: the tracee is killed here, or first taken for dead by its lease alone; leatd acts on that; what must
 * hold of the ring is checked, and that the others can go on.
 * On the regions themselves: something happens here (leatd takes the claim back, others send, go round the ring, the ring is rotated
 * away, memory is reclaimed), and the tracee goes on from this very instruction to its end.
 */
#include <errno.h>
#include <inttypes.h>
#include <leat.h>
#include <stdio.h>
#include <string.h>

#include "base/futex.h"
#include "stepper.h"

static const char *now = "none";
static const struct path *path;

const char *scenario_now(void)
{
    return now;
}

/* --- what must hold --- */

static uint64_t limit_of(const struct world *world, uint32_t ring)
{
    return lt_partition_gate(world->part, ring)->limit_offset;
}

static const char *const state_names[] = { "FREE",    "BUSY",  "COMMITTED", "PUBLISHED",
                                           "ABORTED", "ACKED", "SEAL",      "7" };

/* A claim of the tracee, as it was before something happened. */
struct own_claim {
    uint32_t ring;
    uint64_t offset;
    uint32_t count, units;
    enum lt_claim_state state;
};

/* Walks the heads above a ring's limit. false: at the tail, or the words make no sense. */
static bool next_head(const struct lt_ring *ring, uint64_t *offset, struct lt_pair *word)
{
    uint64_t rel = lt_ring_rel(ring, *offset);
    if (rel >= lt_ring_rel(ring, ring->gate->limit_offset) + ring->slot_count)
        return false;
    *word = *lt_ring_claim_at(ring, rel);
    return lt_lo_lap(word->lo) == rel >> ring->slot_shift && lt_lo_state(word->lo) != LT_SEAL &&
           lt_lo_state(word->lo) != LT_FREE && lt_lo_count(word->lo) != 0;
}

static uint32_t find_own(const struct world *world, struct own_claim *own, uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k <= world->part->current_ring; k++) {
        struct lt_ring ring = world_ring(world, k);
        struct lt_pair word;
        uint64_t offset = ring.gate->limit_offset;
        for (; next_head(&ring, &offset, &word); offset += lt_lo_count(word.lo))
            if (lt_lo_owner(word.lo) == TRACEE && n < max)
                own[n++] = (struct own_claim){ k, offset, lt_lo_count(word.lo), lt_hi_units(word.hi),
                                               lt_lo_state(word.lo) };
    }
    return n;
}

static bool is_committed(enum lt_claim_state state)
{
    return state == LT_COMMITTED || state == LT_PUBLISHED;
}

/* All records of a claim are there, whole and one behind the other; or each of its offsets is a gap. */
static void check_own(const struct world *world, const struct own_claim *own)
{
    for (uint32_t i = 0; i < own->count; i++) {
        uint32_t id = world_id_at(world, own->offset + i, NULL);
        if (is_committed(own->state) && (id < ID_TRACEE || id >= ID_TRACEE + SENDS_MAX ||
                                         (i > 0 && id != world_id_at(world, own->offset + i - 1, NULL) + 1)))
            stepper_fail("offset %" PRIu64 " was %s, and is no record of the tracee's but 0x%x",
                         (own->offset + i), state_names[own->state], id);
        if (!is_committed(own->state) && id != GAP_ID)
            stepper_fail("offset %" PRIu64 " was %s, and is no gap but 0x%x", (own->offset + i),
                         state_names[own->state], id);
    }
}

/* No claim is on its way, heads follow one another, their payload too; each offset is a record or a gap. */
static void check_rings(const struct world *world)
{
    uint32_t seen[SENDS_MAX] = { 0 }, last = 0;
    for (uint32_t k = 0; k <= world->part->current_ring; k++) {
        struct lt_ring ring = world_ring(world, k);
        struct lt_pair word;
        uint64_t offset, pos, tail, tail_pos;
        uint32_t epoch;
        world_limit(world, k, &offset, &pos);
        for (; offset < ring.gate->end_offset && next_head(&ring, &offset, &word);
             offset += lt_lo_count(word.lo)) {
            enum lt_claim_state state = lt_lo_state(word.lo);
            if (state != LT_PUBLISHED && state != LT_ACKED)
                stepper_fail("the claim at %" PRIu64 " of owner %u is still %s", offset, lt_lo_owner(word.lo),
                             state_names[state]);
            if (lt_hi_pos(word.hi) != (pos & LT_POS_MASK))
                stepper_fail("the claim at %" PRIu64
                             " has payload at %u, and the one before ends at %" PRIu64,
                             offset, lt_hi_pos(word.hi), pos);
            pos += lt_hi_units(word.hi);
            for (uint32_t i = 0; i < lt_lo_count(word.lo); i++) {
                uint32_t id = world_id_at(world, offset + i, NULL);
                uint32_t truth = offset + i < OFFSETS ? world->notes->truth[offset + i] : 0;
                if (id == 0 || id == SEAL_ID || id == DAMAGED_ID)
                    stepper_fail("offset %" PRIu64 " of ring %u holds %s", (offset + i), k,
                                 id == 0         ? "nothing"
                                 : id == SEAL_ID ? "a seal inside a claim"
                                                 : "damaged bytes");
                else if (truth != 0 && id != truth)
                    stepper_fail("offset %" PRIu64 " holds 0x%x, and %u was sent there", (offset + i), id,
                                 truth);
                else if (id != GAP_ID && id < ID_TRACEE && truth == 0 && offset + i < OFFSETS)
                    stepper_fail("offset %" PRIu64 " holds %u, which nobody sent there", (offset + i), id);
                if (id < ID_TRACEE || id >= ID_TRACEE + SENDS_MAX)
                    continue;
                if (lt_lo_owner(word.lo) != TRACEE)
                    stepper_fail("offset %" PRIu64 " holds 0x%x in a claim of owner %u", (offset + i), id,
                                 lt_lo_owner(word.lo));
                if (seen[id - ID_TRACEE]++ != 0)
                    stepper_fail("0x%x is there twice, at %" PRIu64 " too", id, (offset + i));
                if (id < last)
                    stepper_fail("0x%x comes behind 0x%x", id, last);
                last = id;
            }
        }
        int r = lt_ring_find_tail(&ring, &tail, &tail_pos, &epoch);
        /* An exclusive holder's claim over the first seal is void, and lies behind the end. */
        if (r == LT_RING_CORRUPT || tail < offset || (tail > offset && ring.gate->end_offset == UINT64_MAX))
            stepper_fail("ring %u: the walk ends at %" PRIu64 ", find_tail says %d, %" PRIu64, k, offset, r,
                         tail);
    }
}

/* What was acknowledged is where the receipt says, unless it has been given up since. */
static void check_acked(const struct world *world)
{
    const struct notes *notes = world->notes;
    for (uint32_t i = 0; i < notes->acked_count; i++) {
        uint32_t ring, id = world_id_at(world, notes->acked_at[i], &ring);
        if (notes->acked_at[i] >= limit_of(world, ring) && id != notes->acked[i])
            stepper_fail("0x%x was acknowledged at %" PRIu64 ", which holds 0x%x", notes->acked[i],
                         notes->acked_at[i], id);
    }
}

/* A listed reader that sleeps although something was published since it fell asleep. */
static void check_woken(const struct world *world)
{
    if ((world->part->bells[0] & 1) && (world->bells->bells[0].word & LT_BELL_WAITERS))
        stepper_fail("the reader that sleeps was not woken");
}

/* What a reader got is what was sent, in order, and what it did not get it was told of. */
static void check_got(const struct world *world)
{
    const struct notes *notes = world->notes;
    uint64_t at = notes->start;
    if (notes->damaged != 0)
        stepper_fail("%u views changed under the reader, one at %" PRIu64, notes->damaged, notes->damaged_at);
    for (uint32_t i = 0; i <= notes->got_count; i++) {
        uint64_t to = i < notes->got_count ? notes->got_at[i] : world->mailbox->readers[0].position;
        if (to < at)
            stepper_fail("offset %" PRIu64 " comes behind %" PRIu64, to, at);
        for (; at < to && at < OFFSETS; at++) {
            bool told = notes->truth[at] == 0;
            for (uint32_t m = 0; m < notes->missed_count; m++)
                told |= at - notes->missed[m].from < notes->missed[m].count;
            if (!told)
                stepper_fail("offset %" PRIu64 " was neither got nor missed", at);
        }
        if (i < notes->got_count && to < OFFSETS && notes->got[i] != notes->truth[to])
            stepper_fail("got 0x%x at %" PRIu64 ", where %u was sent", notes->got[i], to, notes->truth[to]);
        at = to + 1;
    }
    if (notes->evicted && notes->committed_to > notes->heir_at)
        stepper_fail("a commit of %" PRIu64 " counts, and the heir begins at %" PRIu64, notes->committed_to,
                     notes->heir_at);
    if (world->mailbox->readers[0].position < notes->expect)
        stepper_fail("the reader came to %" PRIu64 ", and there is something up to %" PRIu64,
                     world->mailbox->readers[0].position, notes->expect);
}

/* The others go on: they claim, commit and publish for more than a lap, and all that is reclaimed for it. */
static void check_life_goes_on(const struct world *world)
{
    struct lt_ring_gate *gate = lt_partition_gate(world->part, world->part->current_ring);
    if (gate->frozen && act_adopt(world, LT_OWNER_DEAD, LT_OWNER_ALIVE) == LT_RING_CORRUPT)
        stepper_fail("the rotation cannot be finished");
    lt_topic_head(world->page)->exclusive_client = 0;
    world->mailbox->readers[0].pin = world->mailbox->readers[0].keep = LT_PIN_NONE;
    for (uint32_t round = 0; round < 3; round++) {
        act_reclaim(world, UINT64_MAX, false);
        struct lt_ring ring = world_ring(world, world->part->current_ring);
        uint64_t tail, pos;
        uint32_t epoch;
        int r = lt_ring_find_tail(&ring, &tail, &pos, &epoch);
        if (r != 0 || ring.gate->limit_offset != tail || ring.gate->limit_pos != pos)
            stepper_fail("reclaim stops at %" PRIu64 ", %" PRIu64 ", and the tail is %" PRIu64 ", %" PRIu64,
                         ring.gate->limit_offset, ring.gate->limit_pos, tail, pos);
        r = act_send(world, 2, false);
        if (r != 0)
            stepper_fail("nobody can send any more: the ring says %d", r);
        act_fill(world);
        check_rings(world);
    }
}

/* --- killed here, on a copy --- */

static void take_copy(void)
{
    memcpy(copy.base + PRIVATE_AT, live.base + PRIVATE_AT, NOTES_SIZE);
    memcpy(copy.base + REGIONS_AT, live.base + REGIONS_AT, RINGS_AT - REGIONS_AT);
    for (uint32_t k = 0; k < RINGS; k++)
        memcpy(world_ring_base(&copy, k), world_ring_base(&live, k), RING_BYTES);
    memset(copy.notes->base_offset_at, 0, sizeof copy.notes->base_offset_at);
}

static void check_idempotent(enum lt_owner_fate other)
{
    static unsigned char before[RINGS * RING_STRIDE];
    memcpy(before, copy.base + RINGS_AT, sizeof before);
    act_repair(&copy, LT_OWNER_DEAD, other);
    if (memcmp(before, copy.base + RINGS_AT, sizeof before) != 0)
        stepper_fail("a second repair changes what the first one left");
}

static void killed(bool left_before)
{
    struct own_claim own[8];
    enum lt_owner_fate other = strcmp(path->name, "repair") == 0 ? LT_OWNER_DEAD : LT_OWNER_ALIVE;
    take_copy();
    uint32_t n = find_own(&copy, own, 8);
    if (left_before && act_repair(&copy, LT_OWNER_LEFT, other) == LT_RING_CORRUPT)
        stepper_fail("repair says CORRUPT");
    int r = path->kind == LEATD ? act_adopt(&copy, LT_OWNER_DEAD, other)
                                : act_repair(&copy, LT_OWNER_DEAD, other);
    if (r == LT_RING_CORRUPT)
        stepper_fail("repair says CORRUPT");
    check_idempotent(other);
    for (uint32_t i = 0; i < n; i++)
        check_own(&copy, &own[i]);
    check_acked(&copy);
    check_rings(&copy);
    if (n > 0 || path->kind == LEATD)
        check_woken(&copy);
    check_life_goes_on(&copy);
}

static void is_killed(void)
{
    killed(false);
}

static void is_left_then_killed(void)
{
    killed(true);
}

/* --- something happens here, and the tracee goes on --- */

static struct own_claim owns[8];
static uint32_t own_count;
static bool was_left, was_overwritten;

static void is_left(void)
{
    was_left = true;
    if (act_repair(&live, LT_OWNER_LEFT, LT_OWNER_ALIVE) == LT_RING_CORRUPT)
        stepper_fail("repair says CORRUPT");
}

/* Taken back, and the others want all the room there is: not its bytes, as long as it may write there. */
static void is_left_and_wanted(void)
{
    is_left();
    for (int i = 0; i < 2; i++) {
        act_make_room(&live);
        act_fill(&live);
    }
    for (uint32_t i = 0; i < own_count; i++)
        if (owns[i].state != LT_PUBLISHED && owns[i].state != LT_ACKED &&
            limit_of(&live, owns[i].ring) > owns[i].offset)
            stepper_fail("the claim at %" PRIu64 " was %s, and its bytes are given out again", owns[i].offset,
                         state_names[owns[i].state]);
}

static void others_send(void)
{
    act_send(&live, 2, false);
    act_send(&live, 1, true);
}

static void others_go_round(void)
{
    for (int i = 0; i < 3; i++) {
        act_make_room(&live);
        act_fill(&live);
    }
    act_make_room(&live);
}

static void others_fill(void)
{
    act_make_room(&live);
    act_fill(&live);
}

/* What could be reclaimed is written all over by claims that are never committed: slots keep their old words meanwhile. */
static void others_overwrite(void)
{
    act_make_room(&live);
    act_overwrite(&live);
    was_overwritten = true;
}

static void is_rotated(void)
{
    if (act_rotate(&live) != 0)
        stepper_fail("the rotation says CORRUPT");
}

static void is_rotated_and_sent(void)
{
    is_rotated();
    act_send(&live, 2, false);
}

static void is_reclaimed(void)
{
    act_make_room(&live);
}

/* As leatd/groups.c: the fence, the membarrier, and then what was committed is the heir's. */
static void is_evicted(void)
{
    struct notes *notes = live.notes;
    lt_member_fence(&notes->member);
    lt_membarrier();
    uint64_t committed = lt_member_committed(&live.mailbox->readers[0], 0);
    notes->evicted = true;
    notes->heir_at = committed == LT_COMMIT_NONE ? 0 : committed;
}

/* Of those claims that were there when it happened. */
static void check_owns(void)
{
    for (uint32_t i = 0; i < own_count; i++)
        if (owns[i].offset >= limit_of(&live, owns[i].ring) &&
            (was_left ||
             owns[i].state != LT_BUSY)) /* BUSY, and let alone: it becomes what the tracee makes of it */
            check_own(&live, &owns[i]);
}

static bool is_allowed(int result)
{
    if (path->kind == CONSUMES)
        return result >= 0;
    if (path->may_abort && (was_left || path->twist == TWIST_TAKEN) && result == LEAT_EABORTED)
        return true;
    return path->result == INT32_MAX || result == path->result;
}

void scenarios_check_end(const struct path *of)
{
    int result = live.notes->result;
    path = of;
    if (was_overwritten) /* whoever did it dies now */
        act_repair(&live, LT_OWNER_ALIVE, LT_OWNER_DEAD);
    if (!is_allowed(result))
        stepper_fail("the call returned %d", result);
    check_owns();
    check_acked(&live);
    check_rings(&live);
    if (path->kind == CONSUMES)
        check_got(&live);
    else if (result >= 0)
        check_woken(&live);
    check_life_goes_on(&live);
    check_acked(&live);
    own_count = 0;
    was_left = was_overwritten = false;
}

struct scenario {
    const char *name;
    void (*act)(void);
    bool on_copy;
    uint32_t kinds; /* of paths, a bit each */
    bool shares;    /* sends: not while the tracee holds the partition exclusively */
};

static const struct scenario scenarios[] = {
    { "killed", is_killed, true, 1 << PRODUCES | 1 << CONSUMES | 1 << LEATD, false },
    { "left-then-killed", is_left_then_killed, true, 1 << PRODUCES, false },
    { "left", is_left, false, 1 << PRODUCES, false },
    { "left-and-wanted", is_left_and_wanted, false, 1 << PRODUCES, true },
    { "others-send", others_send, false, 1 << PRODUCES | 1 << CONSUMES | 1 << LEATD, true },
    { "others-go-round", others_go_round, false, 1 << PRODUCES | 1 << CONSUMES, true },
    { "others-fill", others_fill, false, 1 << PRODUCES | 1 << CONSUMES, true },
    { "others-overwrite", others_overwrite, false, 1 << PRODUCES | 1 << CONSUMES, true },
    { "rotated", is_rotated, false, 1 << PRODUCES | 1 << CONSUMES, false },
    { "rotated-and-sent", is_rotated_and_sent, false, 1 << PRODUCES | 1 << CONSUMES, true },
    { "evicted", is_evicted, false, 1 << CONSUMES, false },
    { "reclaimed", is_reclaimed, false, 1 << PRODUCES | 1 << CONSUMES, false },
};

static bool is_wanted(const struct scenario *s, const struct options *options)
{
    if (s->act == is_evicted && strcmp(path->name, "commit") != 0)
        return false;
    return (s->kinds >> path->kind & 1) && !(s->shares && path->exclusive) &&
           (!options->only_scenario || strcmp(options->only_scenario, s->name) == 0);
}

static void prepare(void)
{
    own_count = find_own(&live, owns, 8);
    was_left = was_overwritten = false;
}

/* The two halves of a reclaim: it announces here, and looks at the pins some instructions later; then what it freed is written. */
static uint32_t run_halves(const struct options *options, struct state *state, struct state *later)
{
    uint32_t checks = 0;
    struct lt_ring ring = world_ring(&live, live.part->current_ring);
    struct lt_ring_gate *gate = lt_partition_gate(live.part, live.part->current_ring);
    struct lt_reclaim target = { .offset = gate->limit_offset, .pos = gate->limit_pos };
    now = "reclaim-in-halves";
    if (gate->frozen || (options->only_scenario && strcmp(options->only_scenario, now) != 0))
        return 0;
    lt_reclaim_scan(&ring, &target, UINT64_MAX, 0, live.mailbox->readers[0].keep);
    if (target.offset > gate->announced)
        lt_reclaim_announce(gate, target.offset);
    for (uint32_t i = 0; i < options->window && stepper_step() && !gate->frozen; i++) {
        state_take(later);
        others_overwrite();
        if (stepper_go_on())
            scenarios_check_end(path);
        checks++;
        state_back(later);
    }
    state_back(state);
    return checks;
}

uint32_t scenarios_run(const struct path *of, const struct options *options)
{
    static struct state *state, *later;
    uint32_t checks = 0;
    path = of;
    if (!state) {
        state = state_new();
        later = state_new();
    }
    state_take(state);
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        const struct scenario *s = &scenarios[i];
        if (!is_wanted(s, options))
            continue;
        now = s->name;
        prepare();
        s->act();
        if (!s->on_copy) {
            if (stepper_go_on())
                scenarios_check_end(path);
            state_back(state);
        }
        checks++;
    }
    if (path->kind == CONSUMES && options->window > 0) {
        own_count = 0;
        checks += run_halves(options, state, later);
    }
    own_count = 0;
    was_left = was_overwritten = false;
    now = "none";
    return checks;
}

/* --- twists --- */

static bool has_claimed(void)
{
    struct own_claim own[8];
    uint32_t n = find_own(&live, own, 8);
    return n > 0 && own[n - 1].state == LT_BUSY;
}

bool scenarios_twist(const struct path *of, bool is_claim)
{
    const struct lt_reader *reader = &live.mailbox->readers[0];
    struct lt_ring_gate *gate = lt_partition_gate(live.part, live.part->current_ring);
    path = of;
    switch (path->twist) {
    case NO_TWIST:
        return false;
    case TWIST_TAKEN:
        return has_claimed() && (act_repair(&live, LT_OWNER_LEFT, LT_OWNER_ALIVE), true);
    case TWIST_CONTENDED:
        return is_claim && (act_send(&live, 2, false), true);
    case TWIST_FROZEN:
        return has_claimed() && (act_rotate(&live), true);
    case TWIST_LATE:
        if (reader->pin != LT_PIN_NONE)
            lt_reclaim_announce(gate, 20);
        return reader->pin != LT_PIN_NONE;
    case TWIST_SENT:
        return (live.bells->bells[0].word & LT_BELL_WAITERS) && (act_send(&live, 1, false), true);
    }
    return false;
}

/* --- waits --- */

int64_t scenarios_wait(const struct path *of, uint32_t *word, uint32_t value)
{
    path = of;
    if (lt_load_acquire32(word) != value)
        return -EAGAIN;
    if (word == &live.part->room_seq) {
        if (lt_partition_gate(live.part, live.part->current_ring)->frozen)
            act_rotate(&live);
        else
            act_repair(&live, LT_OWNER_ALIVE, LT_OWNER_DEAD), act_make_room(&live);
        act_wake_room(&live);
        return 0;
    }
    if (word == &live.bells->bells[0].word) {
        uint64_t position = live.mailbox->readers[0].position;
        if (world_id_at(&live, position, NULL) != 0)
            stepper_fail("goes to sleep with something at %" PRIu64, position);
        act_repair(&live, LT_OWNER_ALIVE, LT_OWNER_DEAD);
        act_make_room(&live);
        if (act_send(&live, 1, false) != 0)
            stepper_fail("nobody can send any more");
        if (lt_load_acquire32(word) == value)
            stepper_fail("asleep, and not rung for");
        return 0;
    }
    stepper_fail("waits on a word that nobody knows");
    return 0;
}
