/* send: one record, or many. See producer.h for what a death at each point leaves.
 *
 * One send: choose a partition, claim (one CAS), copy, commit (one CAS, then the published word), look at the bells. No system call,
 * no lock, no allocation unless the ring is full, was rotated away, or somebody sleeps.
 *
 * A claim that was taken back while this process stood still (LT_RING_TAKEN at commit) was never visible: the record is
 * claimed and copied again.
 */
#include <string.h>

#include "base/clock.h"
#include "client/producer.h"
#include "client/record.h"

/* Lines that are fetched for the sends after this one. Measured across core complexes with a chasing reader: 8 to 32 slots
 * take batches of 16 x 64 bytes from 40 M/s to 48-65 and leave latency alone; 4 would do more for single records (5.9 to 9.3
 * M/s) and cost one-way latency 50 ns. */
#define SLOTS_AHEAD 32
#define CLAIMS_AHEAD 64

static inline int send_to(leat_producer *p, uint32_t partition, const leat_record *record,
                          leat_receipt *receipt)
{
    struct lt_out *out = &p->outs[partition];
    struct lt_record_size size = lt_record_measure(record);
    struct lt_claim claim;

    if (LT_UNLIKELY(size.total > p->record_max))
        return lt_producer_refuse_record(p, size.total);
    if (LT_UNLIKELY(lt_attached_deleted(p->topic)) || LT_UNLIKELY(lt_bus_gone(p->handle.bus)))
        return lt_producer_check(p);
    uint32_t units = lt_record_units(size.total);
    int64_t now_ms = record->timestamp_ms != 0 ? 0 : lt_clock_real_coarse_ms();
    for (;;) {
        int r = lt_out_claim(p, out, 1, units, &claim);
        if (LT_UNLIKELY(r < 0))
            return r;
        lt_point("produce.write");
        uint64_t rel = lt_ring_rel(&out->ring, claim.offset);
        lt_record_fetch_slot(lt_ring_slot_at(&out->ring, rel) + SLOTS_AHEAD);
        lt_record_fetch(lt_ring_claim_at(&out->ring, rel + CLAIMS_AHEAD));
        lt_record_write(&out->ring, lt_ring_slot_at(&out->ring, rel), record, size, claim.pos, claim.epoch,
                        now_ms);
        if (LT_LIKELY(lt_ring_commit(&out->ring, &claim) == 0))
            break;
        lt_count(&p->handle, LT_COUNT_ABORTED, 1);
    }
    lt_out_published(p, out, &claim, size.total);
    if (receipt != NULL)
        *receipt = (leat_receipt){ .partition = partition, .offset = claim.offset };
    if (LT_UNLIKELY(p->on_delivered != NULL))
        lt_ack_sent(p, partition, claim.offset, 1);
    return 0;
}

int leat_producer_send(leat_producer *p, const leat_record *record, leat_receipt *receipt)
{
    uint32_t partition;
    if (LT_UNLIKELY(p == NULL || record == NULL))
        return lt_fail(LEAT_EINVAL, "leat_producer_send: NULL");
    int r = lt_handle_enter(&p->handle);
    if (LT_UNLIKELY(r < 0))
        return r;
    r = lt_producer_choose(p, record->key, record->key_size, &partition);
    if (LT_LIKELY(r == 0))
        r = send_to(p, partition, record, receipt);
    if (LT_UNLIKELY(r < 0))
        lt_ack_tell(p);
    lt_handle_leave(&p->handle);
    return r;
}

int leat_producer_send_to(leat_producer *p, uint32_t partition, const leat_record *record,
                          leat_receipt *receipt)
{
    if (LT_UNLIKELY(p == NULL || record == NULL))
        return lt_fail(LEAT_EINVAL, "leat_producer_send_to: NULL");
    int r = lt_handle_enter(&p->handle);
    if (LT_UNLIKELY(r < 0))
        return r;
    if (LT_LIKELY(partition < p->partition_count))
        r = send_to(p, partition, record, receipt);
    else
        r = lt_fail(LEAT_ENOPART, "%s: partition %u; there are %u", p->topic->name, partition,
                    p->partition_count);
    if (LT_UNLIKELY(r < 0))
        lt_ack_tell(p);
    lt_handle_leave(&p->handle);
    return r;
}

/* --- many --- */

/* The records of one partition, in array order: all of [0, count), or a list by index. */
struct run {
    const leat_record *records;
    leat_receipt *receipts; /* may be NULL */
    const uint32_t *next;   /* NULL: the one behind */
    uint32_t at;            /* the next to be sent; count or LT_NOBODY: none */
    uint32_t count;
};

static inline uint32_t behind(const struct run *run, uint32_t at)
{
    return run->next != NULL ? run->next[at] : at + 1 == run->count ? LT_NOBODY : at + 1;
}

/* What fits into one claim from run->at on: up to count_max records and a quarter of the ring. */
struct chunk {
    uint32_t count;
    uint32_t units;
    uint64_t bytes;
    uint64_t refused; /* the first record that can never be sent ends the chunk: its size; else 0 */
    bool is_inline;   /* nothing but plain records that fit into their slots */
};

static struct chunk measure(const leat_producer *p, const struct lt_out *out, const struct run *run)
{
    struct chunk chunk = { .is_inline = true };
    uint32_t units_max = (uint32_t)(p->record_max / LT_UNIT), count_max = out->ring.count_max;
    uint32_t i = run->at;
    if (run->next == NULL) {
        const leat_record *first = run->records + run->at, *record = first;
        const leat_record *end = first + (run->count - i < count_max ? run->count - i : count_max);
        for (; record < end && LT_LIKELY(lt_record_is_small(record)); record++)
            chunk.bytes += record->value_size + record->key_size;
        chunk.count = (uint32_t)(record - first);
        i = i + chunk.count == run->count ? LT_NOBODY : i + chunk.count;
    }
    for (; i != LT_NOBODY && chunk.count < count_max; i = behind(run, i)) {
        struct lt_record_size size = lt_record_measure(&run->records[i]);
        if (LT_UNLIKELY(size.total > p->record_max)) {
            chunk.refused = size.total;
            break;
        }
        uint32_t units = lt_record_units(size.total);
        if (chunk.units + units > units_max)
            break;
        chunk.is_inline &= lt_record_is_small(&run->records[i]);
        chunk.units += units;
        chunk.bytes += size.total;
        chunk.count++;
    }
    return chunk;
}

/* Copies a chunk of small records under its claim. `next` as in a run. */
static inline void write_small(const struct lt_out *out, const leat_record *records, const uint32_t *next,
                               uint32_t at, const struct lt_claim *claim, int64_t now_ms)
{
    uint64_t stamp = lt_record_stamp(claim->epoch, now_ms);
    struct lt_slot *slots = lt_ring_slot_at(&out->ring, 0), *end = slots + out->ring.slot_count;
    struct lt_slot *slot = lt_ring_slot(&out->ring, claim, 0);
    for (uint32_t left = claim->count; left != 0; left--) {
        lt_record_fetch_slot(slot + SLOTS_AHEAD);
        lt_record_write_small(slot, records + at, stamp);
        at = next != NULL ? next[at] : at + 1;
        if (LT_UNLIKELY(++slot == end))
            slot = slots;
        if (left == claim->count / 2 + 1)
            lt_point("produce.write.half");
    }
}

/* Sizes are measured again: the array is the caller's, and nobody changes it meanwhile. */
static void write_any(const struct lt_out *out, const struct run *run, const struct lt_claim *claim,
                      int64_t now_ms)
{
    uint64_t rel = lt_ring_rel(&out->ring, claim->offset);
    uint64_t pos = claim->pos;
    uint32_t at = run->at;
    for (uint32_t i = 0; i < claim->count; i++, at = behind(run, at)) {
        const leat_record *record = &run->records[at];
        struct lt_record_size size = lt_record_measure(record);
        if (i == claim->count / 2)
            lt_point("produce.write.half");
        lt_record_write(&out->ring, lt_ring_slot_at(&out->ring, rel + i), record, size, pos, claim->epoch,
                        now_ms);
        pos += lt_record_units(size.total);
    }
}

static void write_chunk(const struct lt_out *out, const struct run *run, const struct lt_claim *claim,
                        const struct chunk *chunk, int64_t now_ms)
{
    if (!chunk->is_inline)
        write_any(out, run, claim, now_ms);
    else if (run->next == NULL)
        write_small(out, run->records, NULL, run->at, claim, now_ms);
    else
        write_small(out, run->records, run->next, run->at, claim, now_ms);
}

static void tell(leat_producer *p, uint32_t partition, struct run *run, const struct lt_claim *claim)
{
    if (run->receipts == NULL && p->on_delivered == NULL && run->next == NULL) {
        run->at = run->at + claim->count == run->count ? LT_NOBODY : run->at + claim->count;
        return;
    }
    for (uint32_t i = 0; i < claim->count; i++, run->at = behind(run, run->at))
        if (run->receipts != NULL)
            run->receipts[run->at] = (leat_receipt){ .partition = partition, .offset = claim->offset + i };
    if (p->on_delivered != NULL)
        lt_ack_sent(p, partition, claim->offset, claim->count);
}

/* Sends a run, claim by claim. *sent grows by what was accepted; 0, or the error that ended it. */
static int send_run(leat_producer *p, uint32_t partition, struct run *run, int64_t now_ms, size_t *sent)
{
    struct lt_out *out = &p->outs[partition];
    int r = out->mapped != NULL ? 0 : lt_out_attach(p, out);
    if (LT_UNLIKELY(r < 0))
        return r;
    while (run->at != LT_NOBODY) {
        struct lt_claim claim;
        struct chunk chunk = measure(p, out, run);
        if (LT_UNLIKELY(chunk.count == 0))
            return lt_producer_refuse_record(p, chunk.refused);
        if (LT_UNLIKELY(lt_attached_deleted(p->topic)) || LT_UNLIKELY(lt_bus_gone(p->handle.bus)))
            return lt_producer_check(p);
        lt_point("produce.batch");
        r = lt_out_claim(p, out, chunk.count, chunk.units, &claim);
        if (LT_UNLIKELY(r < 0))
            return r;
        lt_point("produce.write");
        write_chunk(out, run, &claim, &chunk, now_ms);
        if (LT_UNLIKELY(lt_ring_commit(&out->ring, &claim) != 0)) {
            lt_count(&p->handle, LT_COUNT_ABORTED, 1);
            continue;
        }
        lt_out_published(p, out, &claim, chunk.bytes);
        *sent += chunk.count;
        tell(p, partition, run, &claim);
    }
    return 0;
}

/* Threads a window's records into a list for each partition, in array order. Those before an error are sent. */
static int sort_window(leat_producer *p, const leat_record *records, uint32_t count, uint32_t *touched)
{
    int r = 0;
    *touched = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t partition;
        r = lt_producer_choose(p, records[i].key, records[i].key_size, &partition);
        if (LT_UNLIKELY(r < 0))
            break;
        p->many_next[i] = LT_NOBODY;
        if (p->many_first[partition] == LT_NOBODY) {
            p->many_first[partition] = i;
            p->many_touched[(*touched)++] = partition;
        } else {
            p->many_next[p->many_last[partition]] = i;
        }
        p->many_last[partition] = i;
    }
    return r;
}

static int send_window(leat_producer *p, const leat_record *records, uint32_t count, leat_receipt *receipts,
                       int64_t now_ms, size_t *sent)
{
    uint32_t touched;
    int sorted = sort_window(p, records, count, &touched);
    int r = 0;
    for (uint32_t i = 0; i < touched; i++) {
        uint32_t partition = p->many_touched[i];
        struct run run = { records, receipts, p->many_next, p->many_first[partition], count };
        p->many_first[partition] = LT_NOBODY;
        if (r == 0)
            r = send_run(p, partition, &run, now_ms, sent);
    }
    return r < 0 ? r : sorted;
}

static int send_many(leat_producer *p, const leat_record *records, size_t count, leat_receipt *receipts)
{
    bool one = p->partition_count == 1 && p->partitioner != LEAT_CALLBACK;
    size_t window_max = one ? INT32_MAX : LT_MANY_WINDOW;
    int64_t now_ms = lt_clock_real_coarse_ms();
    size_t sent = 0;
    int r = 0;

    for (size_t i = 0; receipts != NULL && i < count; i++)
        receipts[i] = (leat_receipt){ .partition = UINT32_MAX, .offset = UINT64_MAX };
    for (size_t at = 0; at < count && r == 0;) {
        uint32_t window = (uint32_t)(count - at < window_max ? count - at : window_max);
        leat_receipt *told = receipts != NULL ? receipts + at : NULL;
        if (one) {
            struct run run = { records + at, told, NULL, 0, window };
            r = send_run(p, 0, &run, now_ms, &sent);
        } else {
            r = send_window(p, records + at, window, told, now_ms, &sent);
        }
        at += window;
    }
    return sent == 0 && r < 0 ? r : sent > INT32_MAX ? INT32_MAX : (int)sent;
}

int leat_producer_send_many(leat_producer *p, const leat_record *records, size_t count,
                            leat_receipt *receipts)
{
    if (LT_UNLIKELY(p == NULL || (records == NULL && count != 0)))
        return lt_fail(LEAT_EINVAL, "leat_producer_send_many: NULL");
    int r = lt_handle_enter(&p->handle);
    if (LT_UNLIKELY(r < 0))
        return r;
    r = send_many(p, records, count < INT32_MAX ? count : INT32_MAX, receipts);
    if (LT_UNLIKELY(r < 0))
        lt_ack_tell(p);
    lt_handle_leave(&p->handle);
    return r;
}
