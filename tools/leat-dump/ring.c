/* ring: a ring's claims and slots, and the invariants that shm/ring.h lists. Whoever produces goes on meanwhile, and any of them may
 * have damaged it: each word is loaded once; what looks wrong is looked at again, since leatd may have given the place out
 * again, which its gate then says. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"

#define COMPLAINTS_MAX 16u
#define RESTARTS_MAX 64u

static const char *const states[] = { "free",    "busy",  "committed", "published",
                                      "aborted", "acked", "seal",      "unknown" };

struct walk {
    struct dump *dump;
    const struct lt_ring *ring;
    const struct lt_ring_gate *gate; /* NULL: nobody gives anything out again */
    uint64_t rel;                    /* of the head that is looked at */
    uint64_t from;                   /* rel where the walk began */
    uint64_t until;                  /* rel of the tail as it was then: nobody can keep this from ending */
    bool follows;                    /* pos and epoch of the one before are known */
    uint32_t pos, epoch;
    uint64_t claims, unfinished;
    unsigned complaints, restarts;
    bool over, sealed;
};

struct claim {
    uint64_t lo, hi;
};

/* As in ring.c: equal laps around the load of hi mean that both halves are of one claim. */
static struct claim load_claim(const struct lt_ring *ring, uint64_t rel)
{
    const struct lt_pair *word = lt_ring_claim_at(ring, rel);
    struct claim claim = { .lo = lt_load_acquire64(&word->lo) };
    for (int tries = 0; tries < 1000; tries++) {
        uint64_t lap = lt_lo_lap(claim.lo);
        claim.hi = lt_load_acquire64(&word->hi);
        claim.lo = lt_load_acquire64(&word->lo);
        if (lt_lo_lap(claim.lo) == lap)
            break;
    }
    return claim;
}

static uint64_t offset_of(const struct walk *walk, uint64_t rel)
{
    return lt_ring_offset(walk->ring, rel);
}

/* Whether what lies at rel may have been given out again since it was looked at. */
static bool given_back(const struct walk *walk, uint64_t rel)
{
    /* [reclaim.publish] acquire: the claims below the limit are over. Pairs with lt_reclaim_publish. */
    return walk->gate && lt_load_acquire64(&walk->gate->limit_offset) > offset_of(walk, rel);
}

/* The same for what is only read: an announcement comes before any of it is overwritten. */
static bool overwritten(const struct walk *walk, uint64_t rel)
{
    return walk->gate && lt_load_acquire64(&walk->gate->announced) > offset_of(walk, rel);
}

static void complain(struct walk *walk, uint64_t rel, const char *what)
{
    if (++walk->complaints > COMPLAINTS_MAX)
        return;
    struct claim claim = load_claim(walk->ring, rel);
    dump_say(walk->dump, DUMP_DAMAGED,
             "offset %" PRIu64 ": %s (claim: lap %" PRIu64
             " %s owner %u count %u pos %u units %u epoch %u; its lap is %" PRIu64 ")",
             offset_of(walk, rel), what, lt_lo_lap(claim.lo), states[lt_lo_state(claim.lo)],
             lt_lo_owner(claim.lo), lt_lo_count(claim.lo), lt_hi_pos(claim.hi), lt_hi_units(claim.hi),
             lt_hi_epoch(claim.hi), rel >> walk->ring->slot_shift);
}

/* ---- slots ---- */

static void print_slot(struct walk *walk, uint64_t rel, const char *kind)
{
    if (!out_wants(walk->dump, offset_of(walk, rel), offset_of(walk, rel) + 1))
        return;
    out_begin(walk->dump, "slot");
    out_uint(walk->dump, "offset", offset_of(walk, rel));
    out_text(walk->dump, "is", kind);
    out_end(walk->dump);
}

/* A copy of a published record: false when it makes no sense, or there is no memory for it. `lo` and `hi`: where its bytes may lie. */
static bool copy_record(const struct walk *walk, uint64_t rel, const struct claim *claim,
                        struct lt_store_record *record, unsigned char **bytes)
{
    const struct lt_ring *ring = walk->ring;
    const struct lt_slot *slot = lt_ring_slot_at(ring, rel);
    uint32_t pos = lt_load_relaxed32(&slot->pos);
    *record = (struct lt_store_record){ .offset = offset_of(walk, rel),
                                        .stamp = lt_load_relaxed64(&slot->stamp),
                                        .key_size = lt_load_relaxed32(&slot->key_size),
                                        .value_size = lt_load_relaxed32(&slot->value_size),
                                        .headers_size = lt_load_relaxed32(&slot->headers_size),
                                        .kind = LT_RECORD_DATA };
    uint64_t size = lt_store_payload(record->key_size, record->value_size, record->headers_size);
    uint32_t units = lt_record_units(size);
    uint32_t within = (pos - lt_hi_pos(claim->hi)) & LT_POS_MASK;
    if ((pos == LT_POS_INLINE) != (units == 0) || size > lt_ring_record_max(ring) ||
        (units > 0 && (pos > LT_POS_MASK || (uint64_t)within + units > lt_hi_units(claim->hi))))
        return false;
    *bytes = malloc(size + 1);
    if (*bytes)
        lt_shared_copy(*bytes, units == 0 ? slot->data : lt_ring_payload_at(ring, pos), size);
    lt_fence_light(); /* from here on the copy is used */
    record->bytes = *bytes;
    return *bytes != NULL;
}

static void look_at_record(struct walk *walk, uint64_t rel, const struct claim *claim)
{
    struct lt_store_record record;
    unsigned char *bytes = NULL;
    bool sound = copy_record(walk, rel, claim, &record, &bytes);
    if (overwritten(walk, rel))
        print_slot(walk, rel, "overwritten meanwhile");
    else if (sound)
        out_record(walk->dump, &record);
    else
        complain(walk, rel, "the published record's sizes and place do not fit its claim");
    free(bytes);
}

/* What a slot may be, by the state of its claim. NULL, or what is wrong. */
static const char *misplaced(enum lt_claim_state state, uint64_t slot_lap, uint64_t lap,
                             enum lt_slot_kind kind)
{
    if (slot_lap > lap)
        return "its slot is of a later lap";
    bool published = slot_lap == lap;
    switch (state) {
    case LT_BUSY:
        return published ? "its slot is published, and the claim is not committed" : NULL;
    case LT_COMMITTED:
        return published && kind != LT_KIND_RECORD ? "its slot holds no record, and the claim is committed"
                                                   : NULL;
    case LT_PUBLISHED:
        return !published               ? "its slot is not published, and the claim says so"
               : kind != LT_KIND_RECORD ? "its slot holds no record, and the claim is published"
                                        : NULL;
    default: /* aborted: the gaps may be owed still */
        return published && kind != LT_KIND_GAP ? "its slot holds no gap, and the claim is aborted" : NULL;
    }
}

static void look_at_slot(struct walk *walk, uint64_t rel, const struct claim *claim, uint32_t *published)
{
    const struct lt_slot *slot = lt_ring_slot_at(walk->ring, rel);
    /* [ring.see] acquire: whoever sees the published word sees slot and payload. */
    uint64_t word = lt_load_acquire64(&slot->word), lap = rel >> walk->ring->slot_shift;
    const char *wrong = misplaced(lt_lo_state(claim->lo), lt_word_lap(word), lap, lt_word_kind(word));
    if (given_back(walk, rel)) {
        print_slot(walk, rel, "overwritten meanwhile");
        return;
    }
    if (wrong && load_claim(walk->ring, walk->rel).lo == claim->lo && lt_load_acquire64(&slot->word) == word)
        complain(walk, rel, wrong);
    if (lt_word_lap(word) != lap) {
        print_slot(walk, rel, "not published");
        return;
    }
    ++*published;
    if (lt_word_kind(word) == LT_KIND_RECORD)
        look_at_record(walk, rel, claim);
    else
        print_slot(walk, rel, lt_word_kind(word) == LT_KIND_GAP ? "gap" : "unknown");
}

/* ---- claims ---- */

static void print_claim(struct walk *walk, const struct claim *claim, uint32_t published)
{
    out_begin(walk->dump, "claim");
    out_uint(walk->dump, "offset", offset_of(walk, walk->rel));
    out_text(walk->dump, "state", states[lt_lo_state(claim->lo)]);
    out_uint(walk->dump, "owner", lt_lo_owner(claim->lo));
    out_uint(walk->dump, "count", lt_lo_count(claim->lo));
    out_uint(walk->dump, "pos", lt_hi_pos(claim->hi));
    out_uint(walk->dump, "units", lt_hi_units(claim->hi));
    out_uint(walk->dump, "epoch", lt_hi_epoch(claim->hi));
    out_uint(walk->dump, "published", published);
    out_end(walk->dump);
}

/* The limit may have moved since the walk began. */
static bool too_far(const struct walk *walk, uint64_t end)
{
    uint64_t from = walk->gate ? lt_ring_rel(walk->ring, lt_load_acquire64(&walk->gate->limit_offset))
                               : walk->from;
    return end - from > walk->ring->slot_count && end > from;
}

static const char *nonsense(const struct walk *walk, const struct claim *claim)
{
    const struct lt_ring *ring = walk->ring;
    uint32_t count = lt_lo_count(claim->lo);
    if (lt_lo_lap(claim->lo) > walk->rel >> ring->slot_shift)
        return "it was given out again above the limit";
    if (lt_lo_lap(claim->lo) < walk->rel >> ring->slot_shift)
        return "nothing is claimed here, and the tail is further on";
    if (lt_lo_state(claim->lo) == LT_FREE || lt_lo_state(claim->lo) > LT_SEAL)
        return "a lap without a state";
    if (lt_lo_state(claim->lo) == LT_SEAL)
        return NULL;
    if (count == 0 || count > ring->slot_count)
        return "a claim of so many offsets";
    if (too_far(walk, walk->rel + count))
        return "the claims since the limit are more than there are slots";
    if (lt_hi_units(claim->hi) > ring->payload_units)
        return "a claim of more payload than there is";
    if (walk->follows && lt_hi_pos(claim->hi) != walk->pos)
        return "its pos is not where the claim before ended";
    if (walk->follows && lt_hi_epoch(claim->hi) < walk->epoch)
        return "its epoch is below that of the claim before";
    return NULL;
}

/* The limit has overtaken the walk: on from there. */
static void start_again(struct walk *walk)
{
    uint64_t limit = lt_load_acquire64(&walk->gate->limit_offset);
    walk->rel = walk->from = lt_ring_rel(walk->ring, limit);
    walk->follows = false;
    if (++walk->restarts <= RESTARTS_MAX)
        return;
    out_begin(walk->dump, "note");
    out_text(walk->dump, "text", "others write faster than this looks: the walk ends here");
    out_end(walk->dump);
    walk->over = true;
}

static void step(struct walk *walk)
{
    struct claim claim = load_claim(walk->ring, walk->rel);
    if (given_back(walk, walk->rel)) {
        start_again(walk);
        return;
    }
    const char *wrong = nonsense(walk, &claim);
    if (wrong || lt_lo_state(claim.lo) == LT_SEAL) {
        if (wrong)
            complain(walk, walk->rel, wrong);
        walk->over = true;
        return;
    }
    uint32_t published = 0, count = lt_lo_count(claim.lo);
    for (uint32_t i = 0; i < count; i++)
        look_at_slot(walk, walk->rel + i, &claim, &published);
    if (lt_lo_state(claim.lo) != LT_PUBLISHED) {
        print_claim(walk, &claim, published);
        walk->unfinished++;
    }
    walk->claims++;
    walk->follows = true;
    walk->pos = (lt_hi_pos(claim.hi) + lt_hi_units(claim.hi)) & LT_POS_MASK;
    walk->epoch = lt_hi_epoch(claim.hi);
    walk->rel += count;
}

/* ---- all of it ---- */

/* rel of the oldest head that is still whole: of those words whose lap is their offset's own. Without a gate. */
static uint64_t oldest_head(const struct lt_ring *ring, uint64_t tail)
{
    uint64_t rel = tail > 2 * ring->slot_count ? tail - ring->slot_count : ring->slot_count;
    for (; rel < tail; rel++) {
        uint64_t lo = lt_load_acquire64(&lt_ring_claim_at(ring, rel)->lo);
        if (lt_lo_lap(lo) == rel >> ring->slot_shift && lt_lo_state(lo) != LT_FREE)
            break;
    }
    return rel;
}

static void print_ring(struct dump *dump, const struct lt_ring *ring, const struct lt_ring_end *end, int r)
{
    uint64_t hint = lt_load_relaxed64(&lt_ring_words(ring)->hint);
    out_begin(dump, "ring");
    out_uint(dump, "slots", ring->slot_count);
    out_uint(dump, "payload_bytes", ring->payload_size);
    out_uint(dump, "base_offset", ring->base_offset);
    out_uint(dump, "hint", hint);
    out_int(dump, "hint_offset", (int64_t)lt_ring_offset(ring, hint));
    if (r != LT_RING_CORRUPT) {
        out_uint(dump, "tail", end->tail);
        out_uint(dump, "tail_pos", end->pos);
        out_uint(dump, "epoch", end->epoch);
        out_text(dump, "is", r == LT_RING_SEALED ? "sealed" : "open");
    }
    out_end(dump);
}

static void print_gate(struct dump *dump, const struct lt_ring_gate *gate)
{
    uint64_t end = lt_load_acquire64(&gate->end_offset);
    out_begin(dump, "gate");
    out_uint(dump, "ring_id", lt_load_relaxed64(&gate->ring_id));
    out_uint(dump, "base_offset", lt_load_relaxed64(&gate->base_offset));
    out_uint(dump, "announced", lt_load_acquire64(&gate->announced));
    out_uint(dump, "limit_offset", lt_load_acquire64(&gate->limit_offset));
    out_uint(dump, "limit_pos", lt_load_acquire64(&gate->limit_pos));
    out_uint(dump, "frozen", lt_load_acquire32(&gate->frozen));
    out_int(dump, "end_offset", end == UINT64_MAX ? -1 : (int64_t)end);
    out_end(dump);
}

/* What leatd alone writes. The limit is read first: the announcement only grows, and comes before it. */
static void judge_gate(struct walk *walk)
{
    uint64_t limit = lt_load_acquire64(&walk->gate->limit_offset);
    uint64_t announced = lt_load_acquire64(&walk->gate->announced);
    if (announced < limit)
        dump_say(walk->dump, DUMP_DAMAGED, "the limit is %" PRIu64 ", and only %" PRIu64 " was announced",
                 limit, announced);
    if (limit < walk->ring->base_offset)
        dump_say(walk->dump, DUMP_DAMAGED,
                 "the limit is %" PRIu64 ", below the ring's first offset, %" PRIu64, limit,
                 walk->ring->base_offset);
}

void ring_dump(struct dump *dump, const struct lt_ring *ring, const struct lt_ring_gate *gate)
{
    struct lt_ring_end end = { 0 };
    int r = lt_ring_find_end(ring, &end);
    struct walk walk = { .dump = dump, .ring = ring, .gate = gate };
    print_ring(dump, ring, &end, r);
    if (gate)
        print_gate(dump, gate);
    if (r == LT_RING_CORRUPT) {
        dump_say(dump, DUMP_DAMAGED, "no way through its claims leads to an end");
        return;
    }
    if (gate)
        judge_gate(&walk);
    walk.rel = walk.from = gate ? lt_ring_rel(ring, lt_load_acquire64(&gate->limit_offset))
                                : oldest_head(ring, lt_ring_rel(ring, end.tail));
    walk.until = lt_ring_rel(ring, end.tail);
    walk.sealed = r == LT_RING_SEALED;
    while (!walk.over && walk.rel < walk.until)
        step(&walk);
    if (walk.complaints > COMPLAINTS_MAX)
        dump_say(dump, DUMP_DAMAGED, "and %u more", walk.complaints - COMPLAINTS_MAX);
    if (walk.complaints == 0 && !gate && walk.rel != walk.until)
        dump_say(dump, DUMP_DAMAGED, "its heads end at offset %" PRIu64 ", and its tail is %" PRIu64,
                 offset_of(&walk, walk.rel), end.tail);
    else if (walk.complaints == 0)
        dump_say(dump, DUMP_OK,
                 "offsets %" PRIu64 "..%" PRIu64 "%s, %" PRIu64 " claims, %" PRIu64 " of them not published",
                 offset_of(&walk, walk.from), offset_of(&walk, walk.rel), walk.sealed ? " (sealed)" : "",
                 walk.claims, walk.unfinished);
}
