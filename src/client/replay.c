/* replay: a poll's share of a cursor that reads the log (catchup.h), and the ways between log and ring. See consumer.h.
 *
 * Into the log: the position is below what the ring still has. Back: the ring has it with a margin, so that a reader that has
 * just caught up is not overtaken at once, or the log has no more. Nothing is pinned and nothing is kept meanwhile: a reader
 * of the log holds up nobody. Views lie in the one segment that is mapped; it stays until the next poll, so a poll that has
 * views of one segment does not go on into the next.
 */
#include "client/consumer.h"
#include "client/record.h"

/* The next record's view. 1; 0: no more in this batch; -1: it makes no sense; -2: its headers want room. */
static int view(leat_consumer *c, const struct lt_store_record *from, leat_record *record)
{
    const unsigned char *at = from->bytes;
    size_t value_size = from->value_size == LT_STORE_NULL ? 0 : from->value_size;
    size_t key_size = from->key_size == LT_STORE_NULL ? 0 : from->key_size;
    record->value = from->value_size == LT_STORE_NULL ? NULL : at;
    record->value_size = value_size;
    record->key = from->key_size == LT_STORE_NULL ? NULL : at + value_size;
    record->key_size = key_size;
    record->headers = NULL;
    record->header_count = 0;
    record->timestamp_ms = lt_stamp_ms(from->stamp);
    record->offset = from->offset;
    if (LT_LIKELY(from->headers_size == 0))
        return 0;
    return lt_consumer_read_headers(c, at + value_size + key_size, from->headers_size, record);
}

/* A poll that has so many bytes ends with the batch: the caller finds them in the cache still, where the check has brought them. */
#define ENOUGH_BYTES (256ull << 10)

/* Hands out what the batch has; its bytes. The position ends at the first record that was not: gaps and markers are behind it then. */
static uint64_t walk(leat_consumer *c, struct lt_cursor *cursor, uint32_t *n)
{
    struct lt_catchup *log = cursor->log;
    leat_record *record = c->records + *n, *end = c->records + c->max;
    struct lt_store_record from;
    uint64_t position = cursor->position, bytes = 0, damaged = 0;
    uint32_t at;
    for (;;) {
        if (!lt_catchup_next(log, position, &from, &at)) {
            position = log->batch->end_offset;
            break;
        }
        position = from.offset;
        if (record == end)
            break;
        int r = view(c, &from, record);
        if (r > 0)
            break; /* its headers want room: the next poll's */
        lt_catchup_take(log, at);
        position++;
        if (LT_UNLIKELY(r < 0)) {
            damaged++;
            continue;
        }
        record->topic = cursor->topic->name;
        record->partition = cursor->partition;
        record++;
        bytes += lt_store_payload(from.key_size, from.value_size, from.headers_size);
    }
    cursor->position = position;
    lt_store_relaxed64(&cursor->entry->position, position);
    uint32_t count = (uint32_t)(record - c->records) - *n;
    if (count != 0) {
        cursor->handed = record[-1].offset + 1;
        lt_count(&c->handle, LT_COUNT_RECEIVED_RECORDS, count);
        lt_count(&c->handle, LT_COUNT_RECEIVED_BYTES, bytes);
        *n += count;
    }
    if (LT_UNLIKELY(damaged != 0)) {
        cursor->missed += damaged;
        lt_count(&c->handle, LT_COUNT_MISSED, damaged);
    }
    return bytes;
}

/* Another segment. No views of this cursor's are out. 0: it is there; 1: that is all for now; LT_REPLAY_LOST; an error. */
static int next_segment(leat_consumer *c, struct lt_cursor *cursor)
{
    struct lt_catchup *log = cursor->log;
    int r = lt_catchup_ask(log, cursor->position);
    if (r == LT_CATCHUP_LATER) {
        c->retry = true;
        return 1;
    }
    if (r == LT_CATCHUP_GONE)
        return LT_REPLAY_LOST;
    if (r == 0 && log->next > cursor->position) /* nothing lies in between */
        cursor->position = log->next;
    return r;
}

int lt_replay(leat_consumer *c, struct lt_cursor *cursor, uint32_t *n)
{
    struct lt_catchup *log = cursor->log;
    uint32_t before = *n;
    uint64_t bytes = 0;
    if (lt_catchup_waits(log)) {
        c->retry = true;
        return 0;
    }
    if (lt_cursor_is_caught_up(cursor))
        return LT_REPLAY_RING;
    while (*n < c->max && c->headers_wanted == 0 && bytes < ENOUGH_BYTES) {
        int r = lt_catchup_batch(log, cursor->position, lt_catchup_bound(cursor->part));
        if (LT_LIKELY(r == 0)) {
            bytes += walk(c, cursor, n);
            continue;
        }
        if (*n != before)
            return 0; /* whatever it is, it comes with the next poll */
        if (r == LT_CATCHUP_END)
            return LT_REPLAY_RING;
        if (r == LT_CATCHUP_ELSEWHERE)
            r = next_segment(c, cursor);
        if (r != 0)
            return r == 1 ? 0 : r;
    }
    return 0;
}
