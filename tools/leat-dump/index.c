/* index: the sparse index of a segment. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"

static void print_head(struct dump *dump, const struct lt_index_head *head)
{
    out_begin(dump, "index");
    out_uint(dump, "version", head->version);
    out_hex(dump, "fingerprint", head->fingerprint);
    out_hex(dump, "topic", head->topic);
    out_uint(dump, "partition", head->partition);
    out_uint(dump, "entries", head->entry_count);
    out_uint(dump, "base_offset", head->base_offset);
    out_uint(dump, "end_offset", head->end_offset);
    out_uint(dump, "end_pos", head->end_pos);
    out_time(dump, "timestamp_max", head->timestamp_max);
    out_end(dump);
}

static void print_entries(struct dump *dump, const struct dump_index *index)
{
    for (uint32_t i = 0; i < index->head.entry_count; i++) {
        out_begin(dump, "entry");
        out_uint(dump, "offset", index->entries[i].offset);
        out_uint(dump, "pos", index->entries[i].pos);
        out_time(dump, "timestamp_max", index->entries[i].timestamp_max);
        out_end(dump);
    }
}

/* Whether its head is one that can be followed. */
static bool check_head(struct dump *dump, const struct dump_file *file, const struct lt_index_head *head)
{
    uint64_t base;
    if (file->size < sizeof *head || head->magic != LT_INDEX_MAGIC)
        dump_say(dump, DUMP_DAMAGED, "no index: %" PRIu64 " bytes, magic %016" PRIx64, file->size,
                 head->magic);
    else if (head->version > LT_STORE_VERSION)
        dump_say(dump, DUMP_UNREAD, "written in format %u, this program knows up to %u", head->version,
                 LT_STORE_VERSION);
    else if (head->entry_count > (file->size - sizeof *head) / sizeof(struct lt_index_entry))
        dump_say(dump, DUMP_DAMAGED, "%u entries do not fit into %" PRIu64 " bytes", head->entry_count,
                 file->size);
    else if (file->known && (head->topic != file->dir.id.topic || head->partition != file->dir.id.partition))
        dump_say(dump, DUMP_DAMAGED,
                 "belongs to topic %016" PRIx64 " partition %u, expected %016" PRIx64 ", %u", head->topic,
                 head->partition, file->dir.id.topic, file->dir.id.partition);
    else if (lt_segment_parse(file->name, "idx", &base) && base != head->base_offset)
        dump_say(dump, DUMP_DAMAGED, "is of the segment at %" PRIu64, head->base_offset);
    else
        return true;
    return false;
}

static const char *disorder(const struct dump_index *index)
{
    const struct lt_index_head *head = &index->head;
    uint64_t pos = LT_STORE_PAGE, offset = head->base_offset;
    if (head->end_pos < LT_STORE_PAGE || head->end_offset < head->base_offset)
        return "its end lies before its beginning";
    for (uint32_t i = 0; i < head->entry_count; i++) {
        const struct lt_index_entry *entry = &index->entries[i];
        if (entry->pos <= pos || entry->offset <= offset || entry->pos % LT_BATCH_ALIGN != 0)
            return "entries are not in order";
        pos = entry->pos;
        offset = entry->offset;
    }
    if (head->entry_count > 0 && (pos >= head->end_pos || offset >= head->end_offset))
        return "an entry lies behind its end";
    return NULL;
}

static bool check(struct dump *dump, const struct dump_index *index)
{
    const struct lt_index_head *head = &index->head;
    const char *why = disorder(index);
    if (head->hash != lt_index_hash(head, index->entries))
        dump_say(dump, DUMP_DAMAGED, "its checksum differs; it is made again from the log when it is needed");
    else if (head->version != LT_STORE_VERSION || head->fingerprint != lt_store_fingerprint())
        dump_say(dump, DUMP_UNREAD, "format %u with fingerprint %016" PRIx64 ", expected %u with %016" PRIx64,
                 head->version, head->fingerprint, LT_STORE_VERSION, lt_store_fingerprint());
    else if (why)
        dump_say(dump, DUMP_DAMAGED, "%s", why);
    else
        return true;
    return false;
}

void index_dump(struct dump *dump, struct dump_file *file, struct dump_index *index)
{
    *index = (struct dump_index){ 0 };
    if (!file_read(dump, file, &index->head, sizeof index->head, 0) || !check_head(dump, file, &index->head))
        return;
    size_t size = index->head.entry_count * sizeof index->entries[0];
    index->entries = calloc(1, size + 1);
    if (!index->entries) {
        dump_say(dump, DUMP_UNREAD, "no memory for %u entries", index->head.entry_count);
        return;
    }
    print_head(dump, &index->head);
    bool whole = file_read(dump, file, index->entries, size, sizeof index->head);
    if (whole)
        print_entries(dump, index);
    if (!whole || !check(dump, index)) {
        free(index->entries);
        index->entries = NULL;
    }
}
