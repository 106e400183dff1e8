/* offsets: the file of committed offsets, as its recovery reads it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "dump.h"
#include "store/offsets.h"

/* The whole file in memory, and how far it was walked. */
struct walk {
    unsigned char *bytes;
    uint64_t size; /* as its head says */
    uint64_t pos, sequence;
    uint64_t claim;
    uint64_t entries, behind;
};

static void print_head(struct dump *dump, const struct lt_offsets_head *head)
{
    out_begin(dump, "offsets");
    out_uint(dump, "version", head->version);
    out_hex(dump, "fingerprint", head->fingerprint);
    out_uint(dump, "size_bytes", head->size_bytes);
    out_uint(dump, "first_sequence", head->first_sequence);
    out_end(dump);
}

static void print_entry(struct dump *dump, const struct lt_offsets_entry *entry, uint64_t pos)
{
    const unsigned char *group = (const unsigned char *)(entry + 1);
    out_begin(dump, "entry");
    out_uint(dump, "pos", pos);
    out_uint(dump, "bytes", entry->bytes);
    out_uint(dump, "sequence", entry->sequence);
    out_uint(dump, "durable_sequence", entry->durable_sequence);
    out_bytes(dump, "group", group, entry->group_size);
    out_hex(dump, "topic", entry->topic);
    out_uint(dump, "partition", entry->partition);
    out_int(dump, "offset", entry->offset);
    if (entry->metadata_size > 0)
        out_bytes(dump, "metadata", group + entry->group_size, entry->metadata_size);
    out_end(dump);
}

static void walk_entries(struct dump *dump, struct walk *walk)
{
    const struct lt_offsets_entry *entry;
    while ((entry = lt_offsets_entry_at(walk->bytes, walk->size, walk->pos)) &&
           entry->sequence == walk->sequence) {
        print_entry(dump, entry, walk->pos);
        walk->pos += entry->bytes;
        walk->sequence++;
        walk->entries++;
    }
    for (uint64_t pos = walk->pos; pos < walk->size;) {
        entry = lt_offsets_entry_at(walk->bytes, walk->size, pos);
        if (!entry) {
            pos += LT_BATCH_ALIGN;
            continue;
        }
        print_entry(dump, entry, pos);
        if (entry->durable_sequence > walk->claim)
            walk->claim = entry->durable_sequence;
        walk->behind++;
        pos += entry->bytes;
    }
}

static void judge(struct dump *dump, const struct walk *walk)
{
    uint64_t nonzero = walk->pos;
    while (nonzero < walk->size && walk->bytes[nonzero] == 0)
        nonzero++;
    if (walk->claim > walk->sequence)
        dump_say(dump, DUMP_DAMAGED,
                 "no valid entry %" PRIu64 " at %" PRIu64 ", but all below %" PRIu64 " was durable",
                 walk->sequence, walk->pos, walk->claim);
    else if (nonzero < walk->size)
        dump_say(dump, DUMP_TORN,
                 "%" PRIu64 " entries; at %" PRIu64
                 " is no valid one, and behind it nothing that says it was durable",
                 walk->entries, walk->pos);
    else
        dump_say(dump, DUMP_OK, "%" PRIu64 " entries, to byte %" PRIu64 " of %" PRIu64, walk->entries,
                 walk->pos, walk->size);
}

void offsets_dump(struct dump *dump, struct dump_file *file)
{
    struct lt_offsets_head head;
    if (!file_read(dump, file, &head, sizeof head, 0))
        return;
    int error = lt_offsets_check(file->dir.path, &head, file->size);
    if (head.magic == LT_OFFSETS_MAGIC)
        print_head(dump, &head);
    if (error < 0) {
        dump_say(dump, dump_verdict_of(error), "%s", dump_why(dump));
        return;
    }
    struct walk walk = { .size = head.size_bytes, .pos = LT_STORE_PAGE, .sequence = head.first_sequence };
    walk.bytes = aligned_alloc(LT_STORE_PAGE,
                               (walk.size + LT_STORE_PAGE - 1) / LT_STORE_PAGE * LT_STORE_PAGE);
    if (!walk.bytes) {
        dump_say(dump, DUMP_UNREAD, "no memory for %" PRIu64 " bytes", walk.size);
        return;
    }
    if (file_read(dump, file, walk.bytes, walk.size, 0)) {
        walk_entries(dump, &walk);
        judge(dump, &walk);
    }
    free(walk.bytes);
}
