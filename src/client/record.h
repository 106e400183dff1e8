/* record: the bytes of a record as they lie in a slot or in the payload: value, key, headers. Pure.
 *
 *   headers block, packed, no alignment:  { u32 name_size, u32 value_size (LT_NULL_SIZE: null), name, value } ...
 *
 * Writers own the memory and trust the caller's record. Readers trust nothing: a producer of the same topic may write there
 * at any time, so each size is loaded once, checked, and used from the local.
 */
#ifndef LT_CLIENT_RECORD_H
#define LT_CLIENT_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <leat.h>

#include "shm/ring.h"

#define LT_HEADER_FIXED 8u

/* The block's size, from LT_NULL_SIZE on: too much for any ring; UINT64_MAX when a header makes no sense (no name, a size
 * without a pointer). */
uint64_t lt_record_headers_size(const leat_header *headers, size_t count);
void lt_record_headers_write(unsigned char *to, const leat_header *headers, size_t count);

/* Into out[0, room): how many; -1: damaged; -2: more than `room`. */
int lt_record_headers_read(const unsigned char *from, uint32_t size, leat_header *out, uint32_t room);

/* Fetches a line to be written: a commit's CAS waits until every store before it has its line, and a ring's lines were
 * last in a consumer's cache, or in none. Never faults, wherever it points. */
static inline void lt_record_fetch(const void *line)
{
#if defined(__x86_64__)
    /* Spelled out: compilers only use it for CPUs that they are told of, and older ones take it for a no-op. */
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)line));
#else
    __builtin_prefetch(line, 1);
#endif
}

static inline void lt_record_fetch_slot(const struct lt_slot *slot)
{
    lt_record_fetch(slot);
    lt_record_fetch((const char *)slot + LT_LINE);
}

/* A copy of up to LT_INLINE_MAX bytes without a call. Never reads behind `from`: the larger
 * steps overlap instead. */
static inline void lt_record_copy_small(unsigned char *to, const void *from_void, size_t size)
{
    const unsigned char *from = from_void;
    if (size >= 32) {
        lt_shared_copy(to, from, 32);
        if (size > 64)
            lt_shared_copy(to + 32, from + 32, 32);
        lt_shared_copy(to + size - 32, from + size - 32, 32);
    } else if (size >= 16) {
        lt_shared_copy(to, from, 16);
        lt_shared_copy(to + size - 16, from + size - 16, 16);
    } else if (size >= 8) {
        lt_shared_copy(to, from, 8);
        lt_shared_copy(to + size - 8, from + size - 8, 8);
    } else if (size >= 4) {
        lt_shared_copy(to, from, 4);
        lt_shared_copy(to + size - 4, from + size - 4, 4);
    } else if (size != 0) {
        to[0] = from[0];
        to[size / 2] = from[size / 2];
        to[size - 1] = from[size - 1];
    }
}

static inline void lt_record_copy(unsigned char *to, const void *from, size_t size)
{
    if (size > LT_INLINE_MAX)
        lt_shared_copy(to, from, size);
    else
        lt_record_copy_small(to, from, size);
}

/* Sizes of a record to be sent. */
struct lt_record_size {
    uint64_t total; /* value, key and headers; LT_RECORD_SENSELESS: an argument's mistake */
    uint32_t headers;
};
#define LT_RECORD_SENSELESS UINT64_MAX
#define LT_RECORD_HUGE (UINT64_MAX - 1)

/* With headers, or with a mistake. */
struct lt_record_size lt_record_measure_odd(const leat_record *record);

/* Neither headers nor a mistake nor huge: its total is key and value. */
static inline bool lt_record_is_plain(const leat_record *record)
{
    return (((record->key == NULL) & (record->key_size != 0)) |
            ((record->value == NULL) & (record->value_size != 0)) |
            ((record->key_size | record->value_size) >= LT_NULL_SIZE / 2) | (record->header_count != 0)) == 0;
}

/* Plain, with a value, and fits into its slot. Few instructions and no branches: batches ask this of every record. */
static inline bool lt_record_is_small(const leat_record *record)
{
    size_t value_size = record->value_size, key_size = record->key_size;
    return ((value_size > LT_INLINE_MAX) | (key_size > LT_INLINE_MAX - value_size) | (record->value == NULL) |
            ((record->key == NULL) & (key_size != 0)) | (record->header_count != 0)) == 0;
}

static inline struct lt_record_size lt_record_measure(const leat_record *record)
{
    if (__builtin_expect(!lt_record_is_plain(record), 0))
        return lt_record_measure_odd(record);
    return (struct lt_record_size){ .total = (uint64_t)record->value_size + record->key_size };
}

#define LT_STAMP_MASK ((1ull << 48) - 1)

static inline uint64_t lt_record_stamp(uint32_t epoch, int64_t timestamp_ms)
{
    return (uint64_t)epoch << 48 | ((uint64_t)timestamp_ms & LT_STAMP_MASK);
}

/* A small record. `stamp` is of the epoch, and of the time unless the record has its own. */
static inline void lt_record_write_small(struct lt_slot *slot, const leat_record *record, uint64_t stamp)
{
    size_t value_size = record->value_size, key_size = record->key_size;
    if (__builtin_expect(record->timestamp_ms != 0, 0))
        stamp = (stamp & ~LT_STAMP_MASK) | ((uint64_t)record->timestamp_ms & LT_STAMP_MASK);
    slot->stamp = stamp;
    slot->key_size = record->key != NULL ? (uint32_t)key_size : LT_NULL_SIZE;
    slot->value_size = (uint32_t)value_size;
    slot->headers_size = 0;
    slot->pos = LT_POS_INLINE;
    lt_record_copy_small(slot->data, record->value, value_size);
    if (record->key != NULL)
        lt_record_copy_small(slot->data + value_size, record->key, key_size);
}

/* Fills a slot, all but its word; `pos` is where the record begins when it does not fit inline. */
static inline void lt_record_write(const struct lt_ring *ring, struct lt_slot *slot,
                                   const leat_record *record, struct lt_record_size size, uint64_t pos,
                                   uint32_t epoch, int64_t now_ms)
{
    bool is_inline = size.total <= LT_INLINE_MAX;
    unsigned char *to = is_inline ? slot->data : lt_ring_payload_at(ring, pos);
    slot->stamp = lt_record_stamp(epoch, record->timestamp_ms != 0 ? record->timestamp_ms : now_ms);
    slot->key_size = record->key != NULL ? (uint32_t)record->key_size : LT_NULL_SIZE;
    slot->value_size = record->value != NULL ? (uint32_t)record->value_size : LT_NULL_SIZE;
    slot->headers_size = size.headers;
    slot->pos = is_inline ? LT_POS_INLINE : (uint32_t)(pos & LT_POS_MASK);
    if (record->value != NULL)
        lt_record_copy(to, record->value, record->value_size);
    if (record->key != NULL)
        lt_record_copy(to + record->value_size, record->key, record->key_size);
    if (__builtin_expect(size.headers != 0, 0))
        lt_record_headers_write(to + record->value_size + record->key_size, record->headers,
                                record->header_count);
}

#endif
