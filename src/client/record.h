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

/* The block's size; UINT64_MAX when a header makes no sense (no name, a size without a pointer). */
uint64_t lt_record_headers_size(const leat_header *headers, size_t count);
void lt_record_headers_write(unsigned char *to, const leat_header *headers, size_t count);

/* Into out[0, room): how many; -1: damaged; -2: more than `room`. */
int lt_record_headers_read(const unsigned char *from, uint32_t size, leat_header *out, uint32_t room);

/* A copy of a size that is known only at run time, without a call for small ones. Never reads behind `from`: the larger
 * steps overlap instead. */
static inline void lt_record_copy(unsigned char *to, const void *from_void, size_t size)
{
    const unsigned char *from = from_void;
    if (size > LT_INLINE_MAX) {
        lt_shared_copy(to, from, size);
    } else if (size >= 32) {
        lt_shared_copy(to, from, 32);
        if (size >= 64)
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

/* Sizes of a record to be sent. */
struct lt_record_size {
    uint64_t total; /* value, key and headers; UINT64_MAX: makes no sense */
    uint32_t headers;
};

static inline struct lt_record_size lt_record_measure(const leat_record *record)
{
    struct lt_record_size size = { .total = UINT64_MAX, .headers = 0 };
    if (__builtin_expect((record->key == NULL && record->key_size != 0) ||
                             (record->value == NULL && record->value_size != 0) ||
                             (record->key_size | record->value_size) >= LT_NULL_SIZE,
                         0))
        return size;
    if (__builtin_expect(record->header_count != 0, 0)) {
        uint64_t headers = lt_record_headers_size(record->headers, record->header_count);
        if (headers >= LT_NULL_SIZE)
            return size;
        size.headers = (uint32_t)headers;
    }
    size.total = (uint64_t)record->value_size + record->key_size + size.headers;
    return size;
}

#define LT_STAMP_MASK ((1ull << 48) - 1)

static inline uint64_t lt_record_stamp(uint32_t epoch, int64_t timestamp_ms)
{
    return (uint64_t)epoch << 48 | ((uint64_t)timestamp_ms & LT_STAMP_MASK);
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
    lt_record_copy(to, record->value, record->value_size);
    lt_record_copy(to + record->value_size, record->key, record->key_size);
    if (__builtin_expect(size.headers != 0, 0))
        lt_record_headers_write(to + record->value_size + record->key_size, record->headers,
                                record->header_count);
}

#endif
