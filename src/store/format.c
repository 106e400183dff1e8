/* format: every size and place on disk, asserted; changing one means a new LT_STORE_VERSION. */
#include "store/format.h"

#include <stddef.h>

#define PLACE(type, field, at) _Static_assert(offsetof(struct type, field) == (at), #type "." #field)
#define SIZE(type, size) _Static_assert(sizeof(struct type) == (size), #type)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian");

SIZE(lt_segment_head, 128);
PLACE(lt_segment_head, version, 8);
PLACE(lt_segment_head, topic, 24);
PLACE(lt_segment_head, base_offset, 40);
PLACE(lt_segment_head, size_bytes, 48);
PLACE(lt_segment_head, generation, 56);
PLACE(lt_segment_head, previous_timestamp_max, 64);
PLACE(lt_segment_head, hash, 120);

SIZE(lt_batch_head, 80);
PLACE(lt_batch_head, hash, 8);
PLACE(lt_batch_head, first_offset, 16);
PLACE(lt_batch_head, end_offset, 24);
PLACE(lt_batch_head, durable_offset, 32);
PLACE(lt_batch_head, generation, 40);
PLACE(lt_batch_head, timestamp_min, 48);
PLACE(lt_batch_head, timestamp_max, 56);
PLACE(lt_batch_head, record_count, 64);
PLACE(lt_batch_head, flags, 68);
PLACE(lt_batch_head, records_bytes, 72);

SIZE(lt_record_head, 32);
PLACE(lt_record_head, stamp, 8);
PLACE(lt_record_head, key_size, 16);
PLACE(lt_record_head, headers_size, 24);

SIZE(lt_meta_slot, 512);
PLACE(lt_meta_slot, sequence, 40);
PLACE(lt_meta_slot, generation, 48);
PLACE(lt_meta_slot, start_offset, 56);
PLACE(lt_meta_slot, reserved_offset, 64);
PLACE(lt_meta_slot, point_base, 72);
PLACE(lt_meta_slot, point_pos, 80);
PLACE(lt_meta_slot, point_offset, 88);
PLACE(lt_meta_slot, point_timestamp_max, 96);
PLACE(lt_meta_slot, window_bytes, 104);
PLACE(lt_meta_slot, hash, 504);

SIZE(lt_index_head, 88);
PLACE(lt_index_head, base_offset, 40);
PLACE(lt_index_head, hash, 80);
SIZE(lt_index_entry, 24);

SIZE(lt_offsets_head, 64);
PLACE(lt_offsets_head, first_sequence, 32);
PLACE(lt_offsets_head, hash, 56);
SIZE(lt_offsets_entry, 56);
PLACE(lt_offsets_entry, sequence, 16);
PLACE(lt_offsets_entry, durable_sequence, 24);
PLACE(lt_offsets_entry, topic, 32);
PLACE(lt_offsets_entry, partition, 40);
PLACE(lt_offsets_entry, offset, 48);
SIZE(lt_offsets_group, 48);
PLACE(lt_offsets_group, assignor, 8);
PLACE(lt_offsets_group, generation, 16);
PLACE(lt_offsets_group, created_ms, 24);
PLACE(lt_offsets_group, empty_since_ms, 32);

static uint64_t mix(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * 0x9e3779b97f4a7c15ull;
}

uint64_t lt_store_fingerprint(void)
{
    uint64_t sum = LT_STORE_VERSION;
    const uint64_t sizes[] = { sizeof(struct lt_segment_head),
                               sizeof(struct lt_batch_head),
                               sizeof(struct lt_record_head),
                               sizeof(struct lt_meta_slot),
                               sizeof(struct lt_index_head),
                               sizeof(struct lt_index_entry),
                               sizeof(struct lt_offsets_entry),
                               sizeof(struct lt_offsets_group),
                               LT_STORE_PAGE,
                               LT_BATCH_ALIGN,
                               LT_RECORD_ALIGN };
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        sum = mix(sum, sizes[i]);
    return sum;
}
