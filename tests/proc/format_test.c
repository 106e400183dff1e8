/* The tables of src/store/FORMAT.md are the structures of the headers, byte by byte. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus.h"
#include "store/format.h"
#include "store/topicfile.h"
#include "test.h"

struct field {
    const char *name;
    size_t at, bytes;
};

struct table {
    const char *name;
    size_t bytes;
    struct field fields[28];
};

#define FIELD(type, field)                                                            \
    {                                                                                 \
#field, offsetof(struct type, field), sizeof(((const struct type *)0)->field) \
    }

/* In the order of the page. What is reserved is not listed here: it is what lies between. */
static const struct table tables[] = {
    { "segment",
      sizeof(struct lt_segment_head),
      { FIELD(lt_segment_head, magic), FIELD(lt_segment_head, version), FIELD(lt_segment_head, head_bytes),
        FIELD(lt_segment_head, fingerprint), FIELD(lt_segment_head, topic), FIELD(lt_segment_head, partition),
        FIELD(lt_segment_head, flags), FIELD(lt_segment_head, base_offset),
        FIELD(lt_segment_head, size_bytes), FIELD(lt_segment_head, generation),
        FIELD(lt_segment_head, previous_timestamp_max), FIELD(lt_segment_head, hash) } },
    { "batch",
      sizeof(struct lt_batch_head),
      { FIELD(lt_batch_head, magic), FIELD(lt_batch_head, bytes), FIELD(lt_batch_head, hash),
        FIELD(lt_batch_head, first_offset), FIELD(lt_batch_head, end_offset),
        FIELD(lt_batch_head, durable_offset), FIELD(lt_batch_head, generation),
        FIELD(lt_batch_head, timestamp_min), FIELD(lt_batch_head, timestamp_max),
        FIELD(lt_batch_head, record_count), FIELD(lt_batch_head, flags),
        FIELD(lt_batch_head, records_bytes) } },
    { "record",
      sizeof(struct lt_record_head),
      { FIELD(lt_record_head, bytes), FIELD(lt_record_head, delta), FIELD(lt_record_head, stamp),
        FIELD(lt_record_head, key_size), FIELD(lt_record_head, value_size),
        FIELD(lt_record_head, headers_size), FIELD(lt_record_head, kind) } },
    { "meta",
      sizeof(struct lt_meta_slot),
      { FIELD(lt_meta_slot, magic), FIELD(lt_meta_slot, version), FIELD(lt_meta_slot, clean),
        FIELD(lt_meta_slot, fingerprint), FIELD(lt_meta_slot, topic), FIELD(lt_meta_slot, partition),
        FIELD(lt_meta_slot, sequence), FIELD(lt_meta_slot, generation), FIELD(lt_meta_slot, start_offset),
        FIELD(lt_meta_slot, reserved_offset), FIELD(lt_meta_slot, point_base), FIELD(lt_meta_slot, point_pos),
        FIELD(lt_meta_slot, point_offset), FIELD(lt_meta_slot, point_timestamp_max),
        FIELD(lt_meta_slot, window_bytes), FIELD(lt_meta_slot, hash) } },
    { "index",
      sizeof(struct lt_index_head),
      { FIELD(lt_index_head, magic), FIELD(lt_index_head, version), FIELD(lt_index_head, entry_count),
        FIELD(lt_index_head, fingerprint), FIELD(lt_index_head, topic), FIELD(lt_index_head, partition),
        FIELD(lt_index_head, base_offset), FIELD(lt_index_head, end_offset), FIELD(lt_index_head, end_pos),
        FIELD(lt_index_head, timestamp_max), FIELD(lt_index_head, hash) } },
    { "index's entry",
      sizeof(struct lt_index_entry),
      { FIELD(lt_index_entry, offset), FIELD(lt_index_entry, pos), FIELD(lt_index_entry, timestamp_max) } },
    { "offsets",
      sizeof(struct lt_offsets_head),
      { FIELD(lt_offsets_head, magic), FIELD(lt_offsets_head, version), FIELD(lt_offsets_head, head_bytes),
        FIELD(lt_offsets_head, fingerprint), FIELD(lt_offsets_head, size_bytes),
        FIELD(lt_offsets_head, first_sequence), FIELD(lt_offsets_head, hash) } },
    { "offsets' entry",
      sizeof(struct lt_offsets_entry),
      { FIELD(lt_offsets_entry, magic), FIELD(lt_offsets_entry, bytes), FIELD(lt_offsets_entry, hash),
        FIELD(lt_offsets_entry, sequence), FIELD(lt_offsets_entry, durable_sequence),
        FIELD(lt_offsets_entry, topic), FIELD(lt_offsets_entry, partition),
        FIELD(lt_offsets_entry, group_size), FIELD(lt_offsets_entry, metadata_size),
        FIELD(lt_offsets_entry, offset) } },
    { "topic",
      sizeof(struct lt_topicfile),
      { FIELD(lt_topicfile, magic),
        FIELD(lt_topicfile, version),
        FIELD(lt_topicfile, bytes),
        FIELD(lt_topicfile, fingerprint),
        FIELD(lt_topicfile, hash),
        FIELD(lt_topicfile, name),
        FIELD(lt_topicfile, log_id),
        FIELD(lt_topicfile, ring_size),
        FIELD(lt_topicfile, created_ms),
        FIELD(lt_topicfile, segment_bytes),
        FIELD(lt_topicfile, retention_bytes),
        FIELD(lt_topicfile, retention_ms),
        FIELD(lt_topicfile, partition_count),
        FIELD(lt_topicfile, level),
        FIELD(lt_topicfile, on_full),
        FIELD(lt_topicfile, partitioner),
        FIELD(lt_topicfile, uid),
        FIELD(lt_topicfile, gid),
        FIELD(lt_topicfile, mode),
        FIELD(lt_topicfile, map_epoch),
        FIELD(lt_topicfile, map) } },
};

enum { TABLES = sizeof tables / sizeof tables[0] };

/* Rows of a table follow one another without a hole; each is a field, or "0": reserved. */
static void check_row(const struct table *table, const struct field **next, size_t *end, const char *row)
{
    size_t at;
    char bytes[32], name[64];
    if (sscanf(row, "| %zu |%31[^|]| %63[^| ]", &at, bytes, name) != 3)
        FAIL("%s: no row: %.80s", table->name, row);
    if (at != *end)
        FAIL("%s: %s is at %zu, and the row before ends at %zu", table->name, name, at, *end);
    if (strspn(bytes, " ") == strlen(bytes)) { /* what follows the structure */
        CHECK_EQ(at, table->bytes);
        return;
    }
    *end = at + strtoull(bytes, NULL, 10);
    if (strcmp(name, "0") == 0)
        return;
    CHECK((*next)->name);
    CHECK_STR(name, (*next)->name);
    if (at != (*next)->at || *end - at != (*next)->bytes)
        FAIL("%s: %s is %zu bytes at %zu, the page says %zu at %zu", table->name, name, (*next)->bytes,
             (*next)->at, *end - at, at);
    ++*next;
}

TEST(tables_of_the_format_are_its_structures)
{
    FILE *page = fopen(text("%s/src/store/FORMAT.md", test_program("LEAT_TEST_ROOT")), "r");
    const struct table *table = NULL;
    const struct field *next = NULL;
    size_t end = 0;
    int count = 0;
    char line[1024];
    CHECK(page);
    while (fgets(line, sizeof line, page)) {
        if (strncmp(line, "| at |", 6) == 0) {
            CHECK(count < TABLES);
            table = &tables[count++];
            next = table->fields;
            end = 0;
        } else if (table && line[0] == '|' && line[1] == ' ') {
            check_row(table, &next, &end, line);
        } else if (table && line[0] != '|') {
            if (next->name || end != table->bytes)
                FAIL("%s: ends at %zu of %zu, before %s", table->name, end, table->bytes,
                     next->name ? next->name : "nothing");
            table = NULL;
        }
    }
    fclose(page);
    CHECK_EQ(count, TABLES);
}
