/* batch: records in the form in which they are written. */
#include "store/batch.h"

#include <string.h>

#include "store/hash.h"

static uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

/* Where a batch lies is part of its checksum: one that was written to the wrong place, or that a file brought along from an
 * earlier life, is as bad as a torn one. */
static uint64_t seed_of(const struct lt_batch_place *place)
{
    uint64_t seed = place->id.topic * 0x9e3779b97f4a7c15ull ^ place->id.partition;
    seed = (seed ^ seed >> 29) * 0xbf58476d1ce4e5b9ull ^ place->base_offset;
    return (seed ^ seed >> 32) * 0x94d049bb133111ebull ^ place->pos;
}

static uint64_t hash_of(const struct lt_batch_head *head, const struct lt_batch_place *place)
{
    const size_t from = offsetof(struct lt_batch_head, first_offset);
    /* magic and bytes stand before the hash; `bytes` is covered as the length that is hashed. */
    return lt_store_hash((const unsigned char *)head + from, head->bytes - from, seed_of(place));
}

uint64_t lt_batch_bytes_of(uint64_t payload)
{
    uint64_t record = round_up(sizeof(struct lt_record_head) + payload, LT_RECORD_ALIGN);
    return round_up(sizeof(struct lt_batch_head) + record, LT_BATCH_ALIGN);
}

void lt_batch_start(struct lt_batch *batch, void *bytes, size_t capacity, uint64_t first_offset)
{
    if (capacity > LT_BATCH_BYTES_MAX)
        capacity = LT_BATCH_BYTES_MAX;
    *batch = (struct lt_batch){ .bytes = bytes,
                                .capacity = capacity / LT_BATCH_ALIGN * LT_BATCH_ALIGN,
                                .size = sizeof(struct lt_batch_head),
                                .first_offset = first_offset,
                                .end_offset = first_offset };
}

static void note_time(struct lt_batch *batch, int64_t timestamp_ms)
{
    if (batch->record_count == 0 || timestamp_ms < batch->timestamp_min)
        batch->timestamp_min = timestamp_ms;
    if (batch->record_count == 0 || timestamp_ms > batch->timestamp_max)
        batch->timestamp_max = timestamp_ms;
}

int lt_batch_add(struct lt_batch *batch, const struct lt_store_record *record)
{
    uint64_t payload = lt_store_payload(record->key_size, record->value_size, record->headers_size);
    uint64_t size = round_up(sizeof(struct lt_record_head) + payload, LT_RECORD_ALIGN);
    uint64_t delta = record->offset - batch->first_offset;
    if (size > batch->capacity - batch->size || delta > UINT32_MAX || record->offset < batch->end_offset)
        return 1;
    struct lt_record_head head = { .bytes = (uint32_t)size,
                                   .delta = (uint32_t)delta,
                                   .stamp = record->stamp,
                                   .key_size = record->key_size,
                                   .value_size = record->value_size,
                                   .headers_size = record->headers_size,
                                   .kind = record->kind };
    unsigned char *to = batch->bytes + batch->size;
    memcpy(to, &head, sizeof head);
    if (payload > 0)
        memcpy(to + sizeof head, record->bytes, payload);
    memset(to + sizeof head + payload, 0, size - sizeof head - payload);
    note_time(batch, lt_stamp_ms(record->stamp));
    batch->size += size;
    batch->end_offset = record->offset + 1;
    batch->record_count++;
    return 0;
}

void lt_batch_skip_to(struct lt_batch *batch, uint64_t end_offset)
{
    if (end_offset > batch->end_offset)
        batch->end_offset = end_offset;
    if (batch->record_count == 0)
        batch->flags |= LT_BATCH_GAP;
}

uint32_t lt_batch_seal(struct lt_batch *batch, const struct lt_batch_place *place, uint64_t generation,
                       uint64_t durable_offset)
{
    uint64_t bytes = round_up(batch->size, LT_BATCH_ALIGN);
    memset(batch->bytes + batch->size, 0, bytes - batch->size);
    struct lt_batch_head *head = (struct lt_batch_head *)(void *)batch->bytes;
    *head = (struct lt_batch_head){ .magic = LT_BATCH_MAGIC,
                                    .bytes = (uint32_t)bytes,
                                    .first_offset = batch->first_offset,
                                    .end_offset = batch->end_offset,
                                    .durable_offset = durable_offset,
                                    .generation = generation,
                                    .timestamp_min = batch->timestamp_min,
                                    .timestamp_max = batch->timestamp_max,
                                    .record_count = batch->record_count,
                                    .flags = batch->flags,
                                    .records_bytes = (uint32_t)(batch->size - sizeof *head) };
    head->hash = hash_of(head, place);
    return head->bytes;
}

uint32_t lt_batch_peek(const struct lt_batch_head *head)
{
    if (head->magic != LT_BATCH_MAGIC || head->bytes < sizeof *head || head->bytes > LT_BATCH_BYTES_MAX ||
        head->bytes % LT_BATCH_ALIGN != 0)
        return 0;
    if (head->end_offset <= head->first_offset || head->records_bytes > head->bytes - sizeof *head ||
        (head->flags & LT_BATCH_GAP) != (head->record_count == 0))
        return 0;
    return head->bytes;
}

/* The hash says that the bytes are those that were sealed; this, that walking them stays inside. */
static const char *check_records(const struct lt_batch_head *head)
{
    const unsigned char *from = (const unsigned char *)(head + 1);
    uint64_t next = 0, count = 0;
    uint32_t at = 0;
    for (; at < head->records_bytes; count++) {
        struct lt_record_head record;
        if (head->records_bytes - at < sizeof record)
            return "a record is cut";
        memcpy(&record, from + at, sizeof record);
        uint64_t payload = lt_store_payload(record.key_size, record.value_size, record.headers_size);
        if (record.bytes != round_up(sizeof record + payload, LT_RECORD_ALIGN) ||
            record.bytes > head->records_bytes - at)
            return "a record's sizes do not fit";
        if (record.delta < next || record.delta >= head->end_offset - head->first_offset)
            return "records are not in order";
        next = (uint64_t)record.delta + 1;
        at += record.bytes;
    }
    return count == head->record_count ? NULL : "the number of records differs";
}

const char *lt_batch_check(const void *bytes, uint64_t available, const struct lt_batch_place *place)
{
    const struct lt_batch_head *head = bytes;
    if (available < sizeof *head)
        return "no room for a head";
    if (head->magic == 0 && head->bytes == 0 && head->hash == 0)
        return "nothing is written here";
    if (lt_batch_peek(head) == 0)
        return "no batch's head";
    if (head->bytes > available)
        return "it is longer than its segment";
    if (head->hash != hash_of(head, place))
        return "its checksum differs";
    return check_records(head);
}
