/* format: the bytes of a log on disk, all little-endian; FORMAT.md draws them. format.c asserts sizes and places.
 *
 * A partition's directory holds
 *
 *   meta                        two slots, written in turn: generation, start, reserved offsets, checkpoint
 *   00000000000000000000.log    segments, named by the offset of their first record
 *   00000000000000000000.idx    sparse index of a segment that is over; made again from the log when it is not right
 *   spare.new  meta.new  index.new   unfinished; removed at the next start
 *
 * A segment is a head page and then batches, end to end, each on a multiple of 64, zeros behind the last.
 *
 * Who may write: the one process that has the log open. What never changes: a segment's head; a batch once anything of
 * it was acknowledged; a segment's size. What a death leaves: batches behind the last acknowledged one that are whole,
 * torn or absent, in any mixture; a spare without a name; the older of meta's two slots.
 */
#ifndef LT_STORE_FORMAT_H
#define LT_STORE_FORMAT_H

#include <stdint.h>

#define LT_STORE_VERSION 1u
#define LT_SEGMENT_MAGIC 0x316765737461656cull /* "leatseg1" */
#define LT_META_MAGIC 0x3174656d7461656cull    /* "leatmet1" */
#define LT_INDEX_MAGIC 0x317864697461656cull   /* "leatidx1" */
#define LT_OFFSETS_MAGIC 0x3166666f7461656cull /* "leatoff1" */
#define LT_BATCH_MAGIC 0x3142544cu             /* "LTB1" */

#define LT_STORE_PAGE 4096u /* a head's share of its file, and what direct reads are aligned to */
#define LT_BATCH_ALIGN 64u
#define LT_RECORD_ALIGN 8u
#define LT_BATCH_BYTES_MAX (1u << 30)

/* Whose log it is: in every head, and in the seed of every hash, so that bytes which lie in the wrong file are noticed. */
struct lt_log_id {
    uint64_t topic;
    uint32_t partition;
};

enum lt_segment_flag {
    LT_SEGMENT_AGAIN =
        1, /* the file was a segment before: what lies behind the last batch may be of that one */
};

/* At 0 of a segment, the rest of its page zeros. Written once, before the file has its name. */
struct lt_segment_head {
    uint64_t magic;
    uint32_t version;
    uint32_t head_bytes;  /* where the first batch is: LT_STORE_PAGE */
    uint64_t fingerprint; /* of this file's structures: lt_store_fingerprint() */
    uint64_t topic;
    uint32_t partition;
    uint32_t flags; /* enum lt_segment_flag */
    uint64_t base_offset;
    uint64_t size_bytes; /* of the whole file */
    uint64_t generation; /* of the log when it was made */
    int64_t
        previous_timestamp_max; /* of the segment before this one; INT64_MIN: no record in it, or none before */
    uint64_t reserved[6];
    uint64_t hash; /* XXH3-64 of all the above */
};

/* What a batch is. */
enum lt_batch_flag {
    LT_BATCH_GAP = 1, /* no records: its offsets were given out and hold nothing any more */
    LT_BATCH_LOST =
        2, /* a GAP that stands for what a power loss may have taken: offsets that are not used again */
};

/* Offsets [first_offset, end_offset) of the log, in order; those that no record names are gaps. Records follow at once. */
struct lt_batch_head {
    uint32_t magic;
    uint32_t bytes; /* head, records and padding: a multiple of LT_BATCH_ALIGN */
    uint64_t
        hash; /* XXH3-64 of all that follows, up to `bytes`; seeded with identity, segment and position */
    uint64_t first_offset;
    uint64_t end_offset;     /* of the next batch */
    uint64_t durable_offset; /* all below was known to be durable when this was written */
    uint64_t generation;     /* starts of the log; never falls from batch to batch */
    int64_t timestamp_min;   /* of its records, ms; 0 without any */
    int64_t timestamp_max;
    uint32_t record_count;
    uint32_t flags;
    uint32_t records_bytes; /* of the records behind this head; padding follows */
    uint32_t reserved;
};

enum lt_record_kind {
    LT_RECORD_DATA = 1,
    LT_RECORD_MARKER = 2, /* takes an offset, is shown to no reader; its value is leat's own */
};

/* At a multiple of 8 behind the batch's head. Then value, key, headers end to end (as in a ring), zeros up to `bytes`. */
struct lt_record_head {
    uint32_t bytes;      /* with this head and the padding: a multiple of LT_RECORD_ALIGN */
    uint32_t delta;      /* offset - first_offset of the batch */
    uint64_t stamp;      /* epoch 16 | timestamp_ms 48, as in a slot */
    uint32_t key_size;   /* UINT32_MAX: null; 0: empty */
    uint32_t value_size; /* the same */
    uint32_t headers_size;
    uint32_t kind;
};

/* A slot of `meta`, at 0 and at LT_STORE_PAGE. The valid one with the higher sequence counts. */
struct lt_meta_slot {
    uint64_t magic;
    uint32_t version;
    uint32_t clean; /* 1: closed in order; the log ends exactly at the checkpoint */
    uint64_t fingerprint;
    uint64_t topic;
    uint32_t partition;
    uint32_t reserved0;
    uint64_t sequence;
    uint64_t generation;
    uint64_t start_offset;    /* of the oldest segment that is not trimmed; only grows */
    uint64_t reserved_offset; /* offsets below may have been given out */
    /* The checkpoint: all before is durable and was checked; recovery starts here. A batch begins here, or zeros. */
    uint64_t point_base; /* the segment */
    uint64_t point_pos;  /* in its file */
    uint64_t point_offset;
    int64_t point_timestamp_max; /* of the segment's records before it; INT64_MIN: none */
    uint64_t
        window_bytes; /* no batch begins or ends further than this behind the first byte that is not durable */
    uint64_t reserved[49];
    uint64_t hash; /* XXH3-64 of all the above */
};

/* At 0 of an index; the entries follow. */
struct lt_index_head {
    uint64_t magic;
    uint32_t version;
    uint32_t entry_count;
    uint64_t fingerprint;
    uint64_t topic;
    uint32_t partition;
    uint32_t reserved0;
    uint64_t base_offset;
    uint64_t end_offset;   /* of the segment's last batch */
    uint64_t end_pos;      /* behind it */
    int64_t timestamp_max; /* of all records of the segment; INT64_MIN: none */
    uint64_t reserved;
    uint64_t hash; /* XXH3-64 of the entries, seeded with that of all the above */
};

struct lt_index_entry {
    uint64_t offset; /* of the batch at pos */
    uint64_t pos;
    int64_t timestamp_max; /* of the segment's records before pos; INT64_MIN: none */
};

/* At 0 of the file of committed offsets; the rest of its page zeros. */
struct lt_offsets_head {
    uint64_t magic;
    uint32_t version;
    uint32_t head_bytes;
    uint64_t fingerprint;
    uint64_t size_bytes;
    uint64_t first_sequence; /* of the first entry */
    uint64_t reserved[2];
    uint64_t hash;
};

/* One committed offset; group's name and metadata follow, then zeros up to `bytes`. The last of a key counts. */
struct lt_offsets_entry {
    uint32_t magic;
    uint32_t bytes;            /* a multiple of LT_BATCH_ALIGN */
    uint64_t hash;             /* of all that follows, up to `bytes`; seeded with the position */
    uint64_t sequence;         /* one more than that of the entry before */
    uint64_t durable_sequence; /* all below was known to be durable when this was written */
    uint64_t topic;
    uint32_t partition;
    uint16_t group_size;
    uint16_t metadata_size;
    int64_t offset; /* -1: forgotten */
};
#define LT_OFFSETS_ENTRY_MAGIC 0x314f544cu /* "LTO1" */

/* The metadata of a group's own entry, which has topic 0 and this partition, and offset 0. */
#define LT_OFFSETS_GROUP_PART UINT32_MAX
struct lt_offsets_group {
    uint32_t uid, gid;   /* whose it is */
    uint32_t assignor;   /* enum leat_assignor */
    uint32_t serial;     /* serials of members that may have been given out are not above */
    uint64_t generation; /* the same of generations */
    uint64_t created_ms;
    uint64_t empty_since_ms; /* 0: it had members */
    uint64_t reserved;
};

/* Differs between builds whose structures above differ; stable across machines of one kind. */
uint64_t lt_store_fingerprint(void);

#endif
