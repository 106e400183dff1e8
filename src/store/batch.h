/* batch: records in the form in which they are written: built, checked, walked. Pure: memory of the caller's, no I/O.
 *
 *     lt_batch_start(&batch, staging, sizeof staging, first_offset);
 *     while (more && lt_batch_add(&batch, &record) == 0) ...     copies: from here on nobody else can change a byte
 *     lt_log_append(log, &batch, &op)                            seals it, says where it goes
 */
#ifndef LT_STORE_BATCH_H
#define LT_STORE_BATCH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "store/format.h"

#define LT_STORE_NULL UINT32_MAX

/* A record, in or out. `bytes`: value, key, headers end to end. */
struct lt_store_record {
    uint64_t offset;
    uint64_t stamp;                /* epoch 16 | timestamp_ms 48 */
    uint32_t key_size, value_size; /* LT_STORE_NULL: null */
    uint32_t headers_size;
    uint32_t kind; /* enum lt_record_kind */
    const void *bytes;
};

struct lt_batch {
    unsigned char *bytes; /* LT_BATCH_ALIGN aligned */
    size_t capacity;
    size_t size; /* so far, padding not included */
    uint64_t first_offset, end_offset;
    int64_t timestamp_min, timestamp_max;
    uint32_t record_count;
    uint32_t flags;
};

/* What seals a batch, and what it is checked against. */
struct lt_batch_place {
    struct lt_log_id id;
    uint64_t base_offset; /* of its segment */
    uint64_t pos;         /* in its file */
};

static inline int64_t lt_stamp_ms(uint64_t stamp)
{
    return (int64_t)(stamp & ((1ull << 48) - 1));
}

static inline uint64_t lt_store_payload(uint32_t key_size, uint32_t value_size, uint32_t headers_size)
{
    return (uint64_t)(key_size == LT_STORE_NULL ? 0 : key_size) +
           (value_size == LT_STORE_NULL ? 0 : value_size) + headers_size;
}

/* Bytes of a batch that holds one record of that payload, and no more. */
uint64_t lt_batch_bytes_of(uint64_t payload);

void lt_batch_start(struct lt_batch *batch, void *bytes, size_t capacity, uint64_t first_offset);
/* 0, or 1: there is no room left. Offsets grow; what lies between two is a gap. */
int lt_batch_add(struct lt_batch *batch, const struct lt_store_record *record);
/* The offsets up to `end_offset` hold nothing. With no record at all the batch is a GAP. */
void lt_batch_skip_to(struct lt_batch *batch, uint64_t end_offset);
static inline int lt_batch_is_empty(const struct lt_batch *batch)
{
    return batch->end_offset == batch->first_offset;
}
/* Pads, writes the head, hashes. Bytes to write. */
uint32_t lt_batch_seal(struct lt_batch *batch, const struct lt_batch_place *place, uint64_t generation,
                       uint64_t durable_offset);

/* Bytes of the batch whose head this is, when that could be one (magic, sizes, order); 0 when not. Needs only the head. */
uint32_t lt_batch_peek(const struct lt_batch_head *head);
/* Whole and in its place: NULL, or what is wrong. `available`: bytes that may be looked at. Records of a checked batch can be
 * walked without looking at sizes again. */
const char *lt_batch_check(const void *bytes, uint64_t available, const struct lt_batch_place *place);
/* Walks a checked batch: *at starts as 0. 1 and a view, or 0 behind the last. */
static inline int lt_batch_next(const void *bytes, uint32_t *at, struct lt_store_record *record)
{
    const struct lt_batch_head *batch = bytes;
    if (*at >= batch->records_bytes)
        return 0;
    const unsigned char *from = (const unsigned char *)(batch + 1) + *at;
    struct lt_record_head head;
    memcpy(&head, from, sizeof head);
    *record = (struct lt_store_record){ .offset = batch->first_offset + head.delta,
                                        .stamp = head.stamp,
                                        .key_size = head.key_size,
                                        .value_size = head.value_size,
                                        .headers_size = head.headers_size,
                                        .kind = head.kind,
                                        .bytes = from + sizeof head };
    *at += head.bytes;
    return 1;
}

#endif
