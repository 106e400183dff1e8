/* claim: records written in place. Between claim and commit the value's bytes are the caller's; the key was copied behind
 * the value at once, and moves down at commit when the value was shortened.
 *
 * What a death leaves: BUSY, like any claim. A claim that is held for longer than the bus's stall limit while somebody waits
 * behind it is taken back by leatd; its commit says LEAT_EABORTED, and only then its memory is given out again.
 */
#include <string.h>

#include "base/clock.h"
#include "client/producer.h"
#include "client/record.h"

/* leat_claim.reserved: which entry, and that it is still the same claim. */
enum { INDEX = 0, COOKIE = 1 };

static unsigned char *value_of(const struct lt_open_claim *open)
{
    const struct lt_ring *ring = &open->mapped->view;
    return open->is_inline ? lt_ring_slot(ring, &open->claim, 0)->data
                           : lt_ring_payload_at(ring, open->claim.pos);
}

static int claim_in_place(leat_producer *p, const void *key, size_t key_size, size_t value_size,
                          leat_claim *out_claim)
{
    uint32_t partition = 0;
    if (~p->open_claims == 0)
        return lt_fail(LEAT_ELIMIT, "%s: %d claims are open already", p->topic->name, LT_OPEN_CLAIMS);
    leat_record sizes = { .key = key, .key_size = key_size, .value = "", .value_size = value_size };
    struct lt_record_size size = lt_record_measure(&sizes);
    if (size.total > p->record_max)
        return lt_producer_refuse_record(p, size.total);
    int r = lt_producer_check(p);
    if (r == 0)
        r = lt_producer_choose(p, key, key_size, &partition);
    if (r < 0)
        return r;

    struct lt_out *out = &p->outs[partition];
    uint32_t index = (uint32_t)__builtin_ctzll(~p->open_claims);
    struct lt_open_claim *open = &p->claims[index];
    r = lt_out_claim(p, out, 1, lt_record_units(size.total), &open->claim);
    if (r < 0)
        return r;
    p->open_claims |= 1ull << index;
    open->mapped = out->mapped;
    open->cookie = ++p->cookie;
    open->partition = partition;
    open->key_size = key != NULL ? (uint32_t)key_size : LT_NULL_SIZE;
    open->value_size = value_size;
    open->is_inline = size.total <= LT_INLINE_MAX;
    unsigned char *value = value_of(open);
    if (key != NULL)
        lt_record_copy(value + value_size, key, key_size);
    *out_claim = (leat_claim){ .value = value,
                               .value_size = value_size,
                               .partition = partition,
                               .offset = open->claim.offset,
                               .producer = p,
                               .reserved = { index, open->cookie } };
    lt_point("produce.claim");
    return 0;
}

int leat_producer_claim(leat_producer *p, const void *key, size_t key_size, size_t value_size,
                        leat_claim *claim)
{
    if (p == NULL || claim == NULL)
        return lt_fail(LEAT_EINVAL, "leat_producer_claim: NULL");
    int r = lt_handle_enter(&p->handle);
    if (r < 0)
        return r;
    r = claim_in_place(p, key, key_size, value_size, claim);
    if (LT_UNLIKELY(r < 0))
        lt_ack_tell(p);
    lt_handle_leave(&p->handle);
    return r;
}

/* The entry of a claim that is open still, or NULL. */
static struct lt_open_claim *find_open(leat_producer *p, const leat_claim *claim)
{
    uint64_t index = claim->reserved[INDEX];
    if (index >= LT_OPEN_CLAIMS || (p->open_claims >> index & 1) == 0 ||
        p->claims[index].cookie != claim->reserved[COOKIE])
        return NULL;
    return &p->claims[index];
}

bool lt_claims_hold(const leat_producer *p, const struct lt_mapped *mapped)
{
    for (uint64_t bits = p->open_claims; bits != 0; bits &= bits - 1)
        if (p->claims[__builtin_ctzll(bits)].mapped == mapped)
            return true;
    return false;
}

static void end_claim(leat_producer *p, struct lt_open_claim *open)
{
    struct lt_mapped *mapped = open->mapped;
    p->open_claims &= ~(1ull << (open - p->claims));
    /* The producer has moved on since, and this was the last claim in the old ring. */
    if (LT_UNLIKELY(mapped != p->outs[open->partition].mapped) && !lt_claims_hold(p, mapped))
        lt_mapped_drop(mapped);
}

static void abort_open(leat_producer *p, struct lt_open_claim *open)
{
    struct lt_out *out = &p->outs[open->partition];
    lt_ring_abort(&open->mapped->view, &open->claim);
    lt_count(&p->handle, LT_COUNT_ABORTED, 1);
    /* Whoever slept before this offset can step over it now. */
    lt_fence_light();
    lt_partition_ring_bells(out->part, p->bells);
    end_claim(p, open);
}

static int commit_open(leat_producer *p, struct lt_open_claim *open, leat_claim *claim, leat_receipt *receipt)
{
    struct lt_ring *ring = &open->mapped->view;
    struct lt_out *out = &p->outs[open->partition];
    if (claim->value_size > open->value_size) {
        abort_open(p, open);
        return lt_fail(LEAT_EINVAL, "%s: a value of %zu bytes in a claim for %llu", p->topic->name,
                       claim->value_size, (unsigned long long)open->value_size);
    }
    struct lt_slot *slot = lt_ring_slot(ring, &open->claim, 0);
    unsigned char *value = value_of(open);
    uint32_t key_bytes = open->key_size != LT_NULL_SIZE ? open->key_size : 0;
    if (claim->value_size != open->value_size)
        memmove(value + claim->value_size, value + open->value_size, key_bytes);
    int64_t stamp_ms = claim->timestamp_ms != 0 ? claim->timestamp_ms : lt_clock_real_coarse_ms();
    slot->stamp = lt_record_stamp(open->claim.epoch, stamp_ms);
    slot->key_size = open->key_size;
    slot->value_size = (uint32_t)claim->value_size;
    slot->headers_size = 0;
    slot->pos = open->is_inline ? LT_POS_INLINE : (uint32_t)open->claim.pos;

    int r = lt_ring_commit(ring, &open->claim);
    uint64_t offset = open->claim.offset;
    if (r != 0) {
        lt_count(&p->handle, LT_COUNT_ABORTED, 1);
        r = lt_fail(LEAT_EABORTED, "%s: partition %u: offset %llu was taken back", p->topic->name,
                    open->partition, (unsigned long long)offset);
    } else {
        uint64_t sent_end = out->sent_end;
        lt_out_published(p, out, &open->claim, claim->value_size + key_bytes);
        if (out->sent_end < sent_end) /* what was claimed later was published earlier */
            out->sent_end = sent_end;
    }
    uint32_t partition = open->partition;
    end_claim(p, open);
    if (r < 0)
        return r;
    if (receipt != NULL)
        *receipt = (leat_receipt){ .partition = partition, .offset = offset };
    if (p->on_delivered != NULL)
        lt_ack_sent(p, partition, offset, 1);
    return 0;
}

/* Commit, or abort when `commit` is false. The claim is over, whatever this returns. */
static int finish(leat_claim *claim, bool commit, leat_receipt *receipt)
{
    if (claim == NULL || claim->producer == NULL)
        return lt_fail(LEAT_EINVAL, "the claim is NULL or not open");
    leat_producer *p = claim->producer;
    int r = lt_handle_enter(&p->handle);
    if (r < 0)
        return r;
    struct lt_open_claim *open = find_open(p, claim);
    if (open == NULL)
        r = lt_fail(LEAT_EINVAL, "%s: the claim is not open", p->topic->name);
    else if (commit)
        r = commit_open(p, open, claim, receipt);
    else
        abort_open(p, open);
    claim->value = NULL;
    lt_handle_leave(&p->handle);
    return r;
}

int leat_claim_commit(leat_claim *claim, leat_receipt *receipt)
{
    return finish(claim, true, receipt);
}

int leat_claim_abort(leat_claim *claim)
{
    return finish(claim, false, NULL);
}

void lt_claims_abort_all(leat_producer *p)
{
    for (uint32_t i = 0; i < LT_OPEN_CLAIMS; i++)
        if (p->open_claims >> i & 1)
            abort_open(p, &p->claims[i]);
}
