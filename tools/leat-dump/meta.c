/* meta: the two slots of what changes in place. */
#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "dump.h"

static void print_slot(struct dump *dump, unsigned which, const struct lt_meta_slot *slot, const char *state)
{
    out_begin(dump, "meta");
    out_uint(dump, "slot", which);
    out_text(dump, "is", state);
    out_uint(dump, "version", slot->version);
    out_hex(dump, "fingerprint", slot->fingerprint);
    out_uint(dump, "clean", slot->clean);
    out_hex(dump, "topic", slot->topic);
    out_uint(dump, "partition", slot->partition);
    out_uint(dump, "sequence", slot->sequence);
    out_uint(dump, "generation", slot->generation);
    out_uint(dump, "start_offset", slot->start_offset);
    out_uint(dump, "reserved_offset", slot->reserved_offset);
    out_uint(dump, "point_base", slot->point_base);
    out_uint(dump, "point_pos", slot->point_pos);
    out_uint(dump, "point_offset", slot->point_offset);
    out_time(dump, "point_timestamp_max", slot->point_timestamp_max);
    out_uint(dump, "window_bytes", slot->window_bytes);
    out_end(dump);
}

static void print_empty(struct dump *dump, unsigned which, const char *state)
{
    out_begin(dump, "meta");
    out_uint(dump, "slot", which);
    out_text(dump, "is", state);
    out_end(dump);
}

static bool is_zero(const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++)
        if (at[i])
            return false;
    return true;
}

/* Which slot counts, or -1: none is whole; or an error of one, with its words. */
static int choose(struct dump_file *file, const struct lt_meta_slot slots[2], bool whole[2])
{
    int best = -1;
    for (int i = 0; i < 2; i++) {
        struct lt_store_dir dir = file->dir;
        if (!file->known)
            dir.id = (struct lt_log_id){ slots[i].topic, slots[i].partition };
        int r = lt_meta_check(&dir, &slots[i]);
        if (r < 0)
            return r;
        whole[i] = r > 0;
        if (whole[i] && (best < 0 || slots[i].sequence > slots[best].sequence))
            best = i;
    }
    return best;
}

bool meta_dump(struct dump *dump, struct dump_file *file, struct lt_meta_slot *meta)
{
    struct lt_meta_slot slots[2];
    bool whole[2] = { false, false };
    for (unsigned i = 0; i < 2; i++)
        if (!file_read(dump, file, &slots[i], sizeof slots[i], (uint64_t)i * LT_STORE_PAGE))
            return false;
    lt_fail_clear();
    int best = choose(file, slots, whole);
    for (int i = 0; i < 2; i++) {
        if (is_zero(&slots[i], sizeof slots[i]))
            print_empty(dump, (unsigned)i, "empty");
        else if (slots[i].magic != LT_META_MAGIC)
            print_empty(dump, (unsigned)i, "damaged");
        else
            print_slot(dump, (unsigned)i, &slots[i], i == best ? "counts" : whole[i] ? "older" : "not whole");
    }
    if (best >= 0) {
        *meta = slots[best];
        if (!whole[!best] && !is_zero(&slots[!best], sizeof slots[0]))
            dump_say(dump, DUMP_TORN, "slot %d is not whole: its write was interrupted, or it rotted", !best);
        return true;
    }
    if (best == -1 && !*lt_fail_text())
        dump_say(dump, DUMP_DAMAGED, "neither slot is whole");
    else
        dump_say(dump, dump_verdict_of(best), "%s", dump_why(dump));
    return false;
}

void meta_judge(struct dump *dump, const struct lt_meta_slot *meta)
{
    if (meta->reserved_offset < meta->point_offset || meta->start_offset > meta->point_base ||
        meta->point_base > meta->point_offset || meta->point_pos < LT_STORE_PAGE ||
        meta->point_pos % LT_BATCH_ALIGN != 0)
        dump_say(dump, DUMP_DAMAGED,
                 "start %" PRIu64 ", checkpoint at offset %" PRIu64 " in segment %" PRIu64 " at byte %" PRIu64
                 ", reserved %" PRIu64 ": not in order",
                 meta->start_offset, meta->point_offset, meta->point_base, meta->point_pos,
                 meta->reserved_offset);
    else
        dump_say(dump, DUMP_OK,
                 "generation %" PRIu64 ", %s, start %" PRIu64 ", checkpoint at offset %" PRIu64
                 ", reserved %" PRIu64,
                 meta->generation, meta->clean ? "closed in order" : "open or not closed in order",
                 meta->start_offset, meta->point_offset, meta->reserved_offset);
}
