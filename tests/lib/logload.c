/* logload: a random workload on logs over a simulated disk, and what must be found of it. */
#include "logload.h"

#include <fcntl.h>
#include <leat.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "store/offsets.h"
#include "store/plog_inside.h"

#define STAGES 24
#define STAGE_SIZE 4096
#define PAYLOAD_MAX 700
#define SEGMENT_BYTES (4 * LT_STORE_PAGE)

enum what { NOT_GIVEN = 0, RECORD, GAP };

/* One partition, and what is known of it beside what it says itself. */
struct part {
    struct lt_plog *log; /* NULL: it could not be opened */
    int dir;
    const char *name;
    unsigned char what[LOGLOAD_OFFSETS];
    uint64_t given;    /* offsets below were given out */
    uint64_t durable;  /* acknowledged as durable */
    uint64_t written;  /* acknowledged as written, in this life */
    uint64_t trimmed;  /* start that a trim reported */
    uint64_t trimming; /* start that a trim may have reached */
    bool ring_kept;    /* the process died and the ring did not: what was given out is appended again */
    enum lt_plog_level level;
};

#define KEYS 5
#define HISTORY 600

/* The file of committed offsets, and all that was put into it. */
struct commits {
    struct lt_offsets *offsets;
    int dir;
    struct {
        int64_t value;
        uint64_t sequence; /* in this life */
    } history[KEYS][HISTORY];
    int count[KEYS];
    int durable[KEYS]; /* of the history: it or a later one must be found; -1: none need be */
    int life_from[KEYS];
};

struct stage {
    bool used;
    unsigned char *bytes;
};

struct logload {
    uint64_t seed, random;
    struct simdisk *disk;
    struct part parts[LOGLOAD_LOGS];
    struct commits commits;
    bool commits_under_way;
    bool strict; /* an image is looked at, whose disk is a good one */
    struct stage stages[STAGES];
    char why[LOGLOAD_TEXT];
};

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = (*state += 0x9e3779b97f4a7c15ull);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static uint64_t below(struct logload *load, uint64_t limit)
{
    return next_random(&load->random) % limit;
}

__attribute__((format(printf, 2, 3))) static const char *say(struct logload *load, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (load->why[0] == 0)
        vsnprintf(load->why, sizeof load->why, format, args);
    va_end(args);
    return load->why;
}

/* This disk has failed: an error is no wonder, though a wrong answer is. */
static bool forgivable(const struct logload *load)
{
    return !load->strict && (simdisk_failed(load->disk) || simdisk_stopped(load->disk));
}

/* ---- records: all of one follows from its partition and offset ---- */

static void make_record(struct lt_store_record *record, unsigned char bytes[PAYLOAD_MAX], uint64_t seed,
                        int part, uint64_t offset)
{
    uint64_t random = seed * 31 + (uint64_t)part * 1000003 + offset;
    uint64_t shape = next_random(&random);
    *record = (struct lt_store_record){
        .offset = offset,
        .stamp = (1000 + offset) | (uint64_t)part << 48,
        .key_size = shape % 5 == 0 ? LT_STORE_NULL : (uint32_t)(shape >> 8 & 31),
        .value_size = shape % 7 == 0 ? LT_STORE_NULL : (uint32_t)(shape >> 16 & 511),
        .headers_size = shape % 3 == 0 ? (uint32_t)(shape >> 32 & 63) : 0,
        .kind = shape % 11 == 0 ? LT_RECORD_MARKER : LT_RECORD_DATA,
        .bytes = bytes
    };
    uint64_t size = lt_store_payload(record->key_size, record->value_size, record->headers_size);
    for (uint64_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(shape >> (i % 8 * 8)) ^ (unsigned char)i;
}

static bool same_record(const struct lt_store_record *a, const struct lt_store_record *b)
{
    return a->offset == b->offset && a->stamp == b->stamp && a->key_size == b->key_size &&
           a->value_size == b->value_size && a->headers_size == b->headers_size && a->kind == b->kind &&
           memcmp(a->bytes, b->bytes, lt_store_payload(a->key_size, a->value_size, a->headers_size)) == 0;
}

/* ---- opening ---- */

static struct lt_plog_settings settings_of(const struct part *part, int i)
{
    return (struct lt_plog_settings){ .id = { .topic = 77, .partition = (uint32_t)i },
                                      .segment_bytes = SEGMENT_BYTES,
                                      .first_bytes = SEGMENT_BYTES / 2,
                                      .reserve_step = 16,
                                      .window_bytes = 1024,
                                      .index_step = 512,
                                      .level = part->level,
                                      .depth = 8,
                                      .tag = (uint32_t)i };
}

static int open_log(struct lt_io *io, const struct part *part, int i, int dir, unsigned how,
                    struct lt_plog **log)
{
    struct lt_plog_settings settings = settings_of(part, i);
    return lt_plog_open(io, dir, part->name, &settings, how, log);
}

/* A directory and its name, durable: what the owner of all partitions does before it opens one. */
static int make_dir(struct lt_io *io, int root, const char *name)
{
    io->table->mkdir(io, root, name, 0700); /* there already, or the open says it */
    int error = lt_io_sync(io, root);
    return error < 0 ? error : lt_io_open(io, root, name, O_RDONLY | O_DIRECTORY);
}

static void open_part(struct logload *load, int i)
{
    struct part *part = &load->parts[i];
    struct lt_io *io = simdisk_io(load->disk);
    if (part->dir < 0)
        part->dir = make_dir(io, simdisk_root(load->disk), part->name);
    if (part->dir < 0)
        return;
    if (open_log(io, part, i, part->dir, LT_RECOVER_CREATE, &part->log) != 0)
        return;
    if (lt_plog_state(part->log) != LT_PLOG_OPEN)
        say(load, "lost: %s is damaged: %s", part->name, lt_plog_reason(part->log));
    if (lt_plog_next(part->log) < part->given)
        say(load, "invented: %s goes on at %llu, and offsets up to %llu were given out", part->name,
            (unsigned long long)lt_plog_next(part->log), (unsigned long long)part->given);
    if (lt_plog_end(part->log) < part->durable)
        say(load, "lost: %s ends at %llu, %llu was durable", part->name,
            (unsigned long long)lt_plog_end(part->log), (unsigned long long)part->durable);
    part->durable = lt_plog_durable(part->log);
    part->written = lt_plog_written(part->log);
}

/* ---- committed offsets ---- */

static const char *const groups[KEYS] = { "a", "a", "group of a longer name", "b", "" };

static struct lt_offsets_key key_of(int key)
{
    return (struct lt_offsets_key){ .group = groups[key],
                                    .topic = (uint64_t)key / 2,
                                    .partition = (uint32_t)key };
}

static int open_offsets(struct lt_io *io, int dir, struct lt_offsets **offsets)
{
    return lt_offsets_open(io, dir, "offsets", 2 * LT_STORE_PAGE, LOGLOAD_LOGS, 0, offsets);
}

static uint32_t metadata_of(int64_t value, unsigned char bytes[64])
{
    memset(bytes, (int)(value % 251), 64);
    return (uint32_t)(value % 60);
}

/* Which of the history this is, from the last durable one on; LT_OFFSETS_FORGOTTEN: nothing is found. -2: none of them. */
static int in_history(const struct commits *commits, int key, const struct lt_offsets *offsets)
{
    struct lt_offsets_key name = key_of(key);
    struct lt_offsets_value found = { .offset = LT_OFFSETS_FORGOTTEN };
    unsigned char wanted[64];
    if (lt_offsets_get(offsets, &name, &found) && (metadata_of(found.offset, wanted) != found.metadata_size ||
                                                   memcmp(found.metadata, wanted, found.metadata_size) != 0))
        return -2;
    for (int i = commits->count[key] - 1; i >= 0 && i >= commits->durable[key]; i--)
        if (commits->history[key][i].value == found.offset)
            return i;
    return found.offset == LT_OFFSETS_FORGOTTEN && commits->durable[key] < 0 ? -1 : -2;
}

static const char *check_commits(struct logload *load, const struct lt_offsets *offsets)
{
    struct lt_offsets_value found = { .offset = LT_OFFSETS_FORGOTTEN };
    for (int key = 0; key < KEYS; key++) {
        struct lt_offsets_key name = key_of(key);
        if (in_history(&load->commits, key, offsets) != -2)
            continue;
        lt_offsets_get(offsets, &name, &found);
        int durable = load->commits.durable[key];
        return say(load, "lost: group '%s' has %lld, the durable commit was %lld", name.group,
                   (long long)found.offset,
                   durable < 0 ? -1LL : (long long)load->commits.history[key][durable].value);
    }
    return NULL;
}

static void open_commits(struct logload *load)
{
    struct commits *commits = &load->commits;
    struct lt_io *io = simdisk_io(load->disk);
    if (commits->dir < 0)
        commits->dir = make_dir(io, simdisk_root(load->disk), "groups");
    if (commits->dir < 0)
        return;
    int error = open_offsets(io, commits->dir, &commits->offsets);
    if (error == LEAT_EFAILED)
        say(load, "lost: %s", lt_fail_text());
    if (error < 0 || check_commits(load, commits->offsets))
        return;
    /* What is found is durable now. */
    for (int key = 0; key < KEYS; key++) {
        commits->durable[key] = in_history(commits, key, commits->offsets);
        commits->life_from[key] = commits->count[key];
    }
}

static void note_durable_commits(struct commits *commits)
{
    uint64_t durable = lt_offsets_durable(commits->offsets);
    for (int key = 0; key < KEYS; key++)
        for (int i = commits->life_from[key]; i < commits->count[key]; i++)
            if (commits->history[key][i].sequence < durable)
                commits->durable[key] = i;
}

static void put_commit(struct logload *load)
{
    struct commits *commits = &load->commits;
    int key = (int)below(load, KEYS), at = commits->count[key];
    struct lt_offsets_key name = key_of(key);
    unsigned char metadata[64];
    if (at == HISTORY)
        return;
    int64_t value = below(load, 12) == 0 ? LT_OFFSETS_FORGOTTEN : (int64_t)at * KEYS + key;
    uint32_t size = value < 0 ? 0 : metadata_of(value, metadata);
    commits->history[key][at].value = value;
    commits->history[key][at].sequence = UINT64_MAX;
    commits->count[key]++;
    int64_t sequence = lt_offsets_put(commits->offsets, &name, value, metadata, size);
    if (sequence >= 0)
        commits->history[key][at].sequence = (uint64_t)sequence;
    else
        commits->count[key]--;
}

struct logload *logload_new(uint64_t seed)
{
    struct logload *load = calloc(1, sizeof *load);
    if (!load)
        abort();
    load->seed = load->random = seed;
    load->disk = simdisk_new(seed ^ 0xd15c);
    load->commits.dir = -1;
    for (int key = 0; key < KEYS; key++)
        load->commits.durable[key] = -1;
    for (int i = 0; i < STAGES; i++)
        if (!(load->stages[i].bytes = aligned_alloc(64, STAGE_SIZE)))
            abort();
    for (int i = 0; i < LOGLOAD_LOGS; i++) {
        load->parts[i].dir = -1;
        load->parts[i].level = i == 0 ? LT_PLOG_DURABLE : LT_PLOG_WRITTEN;
        load->parts[i].name = i == 0 ? "p0" : "p1";
    }
    return load;
}

void logload_free(struct logload *load)
{
    for (int i = 0; i < LOGLOAD_LOGS; i++)
        lt_plog_abandon(load->parts[i].log);
    lt_offsets_close(load->commits.offsets);
    for (int i = 0; i < STAGES; i++)
        free(load->stages[i].bytes);
    simdisk_free(load->disk);
    free(load);
}

struct simdisk *logload_disk(struct logload *load)
{
    return load->disk;
}

const char *logload_why(const struct logload *load)
{
    return load->why;
}

/* ---- steps ---- */

static void note_acked(struct logload *load, struct part *part)
{
    uint64_t durable = lt_plog_durable(part->log), written = lt_plog_written(part->log);
    if (durable < part->durable || written < part->written || durable > written ||
        written > lt_plog_end(part->log))
        say(load, "lost: %s says durable %llu after %llu, written %llu after %llu", part->name,
            (unsigned long long)durable, (unsigned long long)part->durable, (unsigned long long)written,
            (unsigned long long)part->written);
    part->durable = durable;
    part->written = written;
}

static int free_stage(struct logload *load)
{
    for (int i = 0; i < STAGES; i++)
        if (!load->stages[i].used)
            return i;
    return -1;
}

static void submit(struct logload *load, const struct lt_io_op *op)
{
    if (lt_io_submit(simdisk_io(load->disk), op, 1) != 1)
        say(load, "lost: the disk takes no more operations");
}

/* The stage is found again by the bytes that the operation was given; a sync has none. */
static void reap(struct logload *load)
{
    struct lt_io_done done[4];
    struct lt_io_op again;
    int n = lt_io_reap(simdisk_io(load->disk), done, 4, 0);
    for (int i = 0; i < n; i++) {
        if (done[i].token >> 32 == LOGLOAD_LOGS) {
            if (lt_offsets_completed(load->commits.offsets, done[i].result, &again) == 1)
                submit(load, &again);
            else
                load->commits_under_way = false;
            note_durable_commits(&load->commits);
            continue;
        }
        struct part *part = &load->parts[done[i].token >> 32];
        if (!part->log)
            continue;
        int result = lt_plog_completed(part->log, done[i].token, done[i].result, &again);
        if (result == 1)
            submit(load, &again);
        note_acked(load, part);
    }
}

static void free_stages(struct logload *load)
{
    for (int i = 0; i < LOGLOAD_LOGS; i++)
        if (load->parts[i].log && lt_plog_under_way(load->parts[i].log) > 0)
            return;
    for (int i = 0; i < STAGES; i++)
        load->stages[i].used = false;
}

static void drain(struct logload *load)
{
    for (int i = 0; i < LOGLOAD_LOGS; i++)
        while (load->parts[i].log && lt_plog_under_way(load->parts[i].log) > 0)
            reap(load);
    while (load->commits_under_way)
        reap(load);
    free_stages(load);
}

static void reopen(struct logload *load, int i)
{
    drain(load);
    lt_plog_abandon(load->parts[i].log);
    load->parts[i].log = NULL;
    open_part(load, i);
}

static void sync_log(struct logload *load, struct part *part)
{
    struct lt_io_op op;
    if (lt_plog_sync(part->log, &op) == 0)
        submit(load, &op);
}

static void fill(struct logload *load, int i, struct lt_batch *batch)
{
    struct part *part = &load->parts[i];
    uint64_t records = 1 + below(load, 4), offset = lt_plog_end(part->log);
    unsigned char bytes[PAYLOAD_MAX];
    struct lt_store_record record;
    while (records-- > 0) {
        offset += offset >= part->given && below(load, 6) == 0 ? 1 + below(load, 2)
                                                               : 0; /* given out, and aborted */
        while (offset < part->given && part->what[offset] == GAP)
            offset++;
        make_record(&record, bytes, load->seed, i, offset);
        if (lt_batch_add(batch, &record))
            break;
        offset++;
    }
    if (below(load, 8) == 0 && batch->end_offset >= part->given)
        lt_batch_skip_to(batch, offset + 1);
}

/* What the log will be asked to hold, noted before it is asked: it may be found from now on. */
static void note_given(struct logload *load, int i, const struct lt_batch *batch)
{
    struct part *part = &load->parts[i];
    struct lt_store_record record;
    uint32_t at = 0;
    struct lt_batch_head *head = (struct lt_batch_head *)(void *)batch->bytes;
    for (uint64_t offset = batch->first_offset; offset < batch->end_offset; offset++) {
        if (part->what[offset] != NOT_GIVEN && !part->ring_kept)
            say(load, "invented: %s gives out offset %llu again", part->name, (unsigned long long)offset);
        if (offset >= part->given)
            part->what[offset] = GAP;
    }
    head->first_offset = batch->first_offset; /* as much as walking needs; the seal writes it all */
    head->records_bytes = (uint32_t)(batch->size - sizeof *head);
    while (lt_batch_next(batch->bytes, &at, &record))
        part->what[record.offset] = RECORD;
    if (batch->end_offset > part->given)
        part->given = batch->end_offset;
}

static void unnote_given(struct part *part, const struct lt_batch *batch, uint64_t given)
{
    for (uint64_t offset = given; offset < batch->end_offset; offset++)
        part->what[offset] = NOT_GIVEN;
    part->given = given;
}

static void append(struct logload *load, int i)
{
    struct part *part = &load->parts[i];
    struct lt_batch batch;
    struct lt_io_op op;
    int stage = free_stage(load);
    if (stage < 0 || lt_plog_end(part->log) + 64 > LOGLOAD_OFFSETS) {
        drain(load);
        return;
    }
    lt_batch_start(&batch, load->stages[stage].bytes, STAGE_SIZE, lt_plog_end(part->log));
    uint64_t given = part->given;
    fill(load, i, &batch);
    /* As its owner does it: reserved first, given out then. */
    if (lt_plog_reserve(part->log, batch.end_offset) < 0)
        return;
    note_given(load, i, &batch);
    int result = lt_plog_append(part->log, &batch, &op);
    if (result == 0) {
        load->stages[stage].used = true;
        submit(load, &op);
        return;
    }
    /* Nothing of it went out, and this workload will fill these offsets with something else. */
    unnote_given(part, &batch, given);
    if (result == LT_PLOG_BUSY)
        reap(load);
    else if (result == LT_PLOG_SYNC)
        sync_log(load, part);
    else if (result == LT_PLOG_NO_ROOM)
        lt_plog_prepare(part->log);
}

static void skip(struct logload *load, int i, uint64_t to)
{
    struct part *part = &load->parts[i];
    struct lt_io_op op;
    uint64_t from = lt_plog_end(part->log);
    if (to + 64 > LOGLOAD_OFFSETS || lt_plog_reserve(part->log, to) < 0)
        return;
    int result = lt_plog_skip(part->log, to, &op);
    if (result == 0) {
        for (uint64_t offset = from; offset < to; offset++)
            part->what[offset] = GAP;
        part->ring_kept = false;
        if (to > part->given)
            part->given = to;
        submit(load, &op);
    } else if (result == LT_PLOG_NO_ROOM) {
        lt_plog_prepare(part->log);
    } else if (result == LT_PLOG_SYNC) {
        sync_log(load, part);
    } else {
        reap(load);
    }
}

static void trim(struct logload *load, struct part *part)
{
    uint64_t keep = below(load, 3) * SEGMENT_BYTES;
    int64_t after = below(load, 2) ? (int64_t)(1000 + lt_plog_end(part->log) - below(load, 20)) : INT64_MIN;
    part->trimming = UINT64_MAX; /* any segment's start, until it says which */
    int result = lt_plog_trim(part->log, keep, after);
    if (result < 0 && lt_plog_state(part->log) == LT_PLOG_FAILED)
        return; /* nobody knows */
    part->trimmed = part->trimming = lt_plog_start(part->log);
}

static const char *check_contents(struct logload *load, int i, struct lt_plog *log, uint64_t life_from,
                                  uint64_t life_seed);

static void close_in_order(struct logload *load, int i)
{
    struct part *part = &load->parts[i];
    drain(load);
    uint64_t next = lt_plog_end(part->log) > part->given ? lt_plog_end(part->log) : part->given;
    int error = lt_plog_close(part->log, next);
    part->log = NULL;
    open_part(load, i);
    if (part->log && error == 0 && lt_plog_next(part->log) != next)
        say(load, "invented: %s was closed at %llu and goes on at %llu", part->name, (unsigned long long)next,
            (unsigned long long)lt_plog_next(part->log));
}

static void step_commits(struct logload *load)
{
    struct commits *commits = &load->commits;
    struct lt_io_op op;
    if (commits->offsets && lt_offsets_failed(commits->offsets) && !load->commits_under_way) {
        lt_offsets_close(commits->offsets);
        commits->offsets = NULL;
    }
    if (!commits->offsets) {
        open_commits(load);
        return;
    }
    for (uint64_t n = below(load, 5); n > 0; n--)
        put_commit(load);
    if (!load->commits_under_way && below(load, 5) == 0)
        lt_offsets_flush(commits->offsets);
    else if (lt_offsets_seal(commits->offsets, &op) == 0) {
        load->commits_under_way = true;
        submit(load, &op);
    }
    note_durable_commits(commits);
}

/* The process dies and comes back: what was only in the page cache is still there. */
static void die(struct logload *load)
{
    simdisk_stop_at(load->disk, UINT64_MAX);
    simdisk_cut_short(load->disk);
    for (int i = 0; i < LOGLOAD_LOGS; i++) {
        struct part *part = &load->parts[i];
        lt_plog_abandon(part->log);
        part->log = NULL;
        part->dir = -1;
    }
    lt_offsets_close(load->commits.offsets);
    load->commits.offsets = NULL;
    load->commits.dir = -1;
    simdisk_after_death(load->disk);
    load->commits_under_way = false;
    for (int i = 0; i < STAGES; i++)
        load->stages[i].used = false;
    open_commits(load);
    bool ring_kept = below(load, 2);
    for (int i = 0; i < LOGLOAD_LOGS; i++) {
        uint64_t written = load->parts[i].written;
        load->parts[i].ring_kept = ring_kept;
        bool was_open = written > 0;
        open_part(load, i);
        if (was_open && load->parts[i].log && lt_plog_end(load->parts[i].log) < written &&
            !simdisk_failed(load->disk))
            say(load, "lost: %s ends at %llu after a death, %llu was written", load->parts[i].name,
                (unsigned long long)lt_plog_end(load->parts[i].log), (unsigned long long)written);
    }
}

static void step_of(struct logload *load, int i)
{
    struct part *part = &load->parts[i];
    if (!part->log) {
        open_part(load, i);
        return;
    }
    if (lt_plog_state(part->log) == LT_PLOG_FAILED) {
        reopen(load, i);
        return;
    }
    if (part->ring_kept && lt_plog_end(part->log) >= part->given)
        part->ring_kept = false;
    if (lt_plog_end(part->log) < lt_plog_next(part->log) && !part->ring_kept) {
        skip(load, i,
             lt_plog_next(part->log)); /* before anything else: what was given out is not used again */
        return;
    }
    uint64_t dice = below(load, 100);
    if (dice < 45)
        append(load, i);
    else if (dice < 72)
        reap(load);
    else if (dice < 80)
        sync_log(load, part);
    else if (dice < 86)
        lt_plog_prepare(part->log);
    else if (dice < 89)
        trim(load, part);
    else if (dice < 91)
        lt_plog_checkpoint(part->log);
    else if (dice < 93 && !part->ring_kept)
        skip(load, i, lt_plog_end(part->log) + 1 + below(load, 3));
    else if (dice < 95)
        check_contents(load, i, part->log, UINT64_MAX, 0);
    else if (dice < 97)
        close_in_order(load, i);
    else if (dice < 98)
        /* Dies in the middle of what comes: from some operation on nothing is done any more. */
        simdisk_stop_at(load->disk, simdisk_operations(load->disk) + below(load, 25));
    else
        drain(load);
    free_stages(load);
}

bool logload_step(struct logload *load)
{
    if (simdisk_stopped(load->disk))
        die(load);
    else if (below(load, 8) == 0)
        step_commits(load);
    else
        step_of(load, (int)below(load, LOGLOAD_LOGS));
    return load->why[0] == 0;
}

/* ---- what is found ---- */

/* What no record of a batch names: nothing was there, unless a loss is admitted. */
static const char *check_gap(struct logload *load, const struct part *part, const struct lt_batch_head *batch,
                             uint64_t from, uint64_t end)
{
    for (uint64_t offset = from; offset < end; offset++)
        if (part->what[offset] == RECORD && !(batch->flags & LT_BATCH_LOST))
            return say(load, "lost: %s has a gap at %llu, where a record was", part->name,
                       (unsigned long long)offset);
    return NULL;
}

/* `life_from`: offsets from there on were appended by a check, in a life of its own with its own seed. */
static const char *check_batch(struct logload *load, int i, const struct lt_batch_head *batch,
                               uint64_t life_from, uint64_t life_seed)
{
    struct part *part = &load->parts[i];
    struct lt_store_record found, wanted;
    unsigned char bytes[PAYLOAD_MAX];
    uint32_t at = 0;
    uint64_t next = batch->first_offset;
    bool first_life = next < life_from;
    const char *why = NULL;
    while (!why && lt_batch_next(batch, &at, &found)) {
        first_life = found.offset < life_from;
        if (first_life && (found.offset >= LOGLOAD_OFFSETS || part->what[found.offset] != RECORD))
            return say(load, "invented: %s has a record at %llu, where none was", part->name,
                       (unsigned long long)found.offset);
        make_record(&wanted, bytes, first_life ? load->seed : life_seed, i, found.offset);
        if (!same_record(&found, &wanted))
            return say(load, "invented: %s has other bytes at %llu", part->name,
                       (unsigned long long)found.offset);
        why = first_life ? check_gap(load, part, batch, next, found.offset) : NULL;
        next = found.offset + 1;
    }
    return why || !first_life || batch->flags & LT_BATCH_LOST
               ? why
               : check_gap(load, part, batch, next, batch->end_offset);
}

/* Everything from start to what is written, through find and read. */
static const char *check_contents(struct logload *load, int i, struct lt_plog *log, uint64_t life_from,
                                  uint64_t life_seed)
{
    struct part *part = &load->parts[i];
    static _Thread_local unsigned char bytes[64 << 10] __attribute__((aligned(64)));
    struct lt_plog_cursor cursor;
    struct lt_plog_place place;
    int result = lt_plog_find(log, lt_plog_start(log), &place);
    if (result == LT_PLOG_NOTHING)
        return lt_plog_written(log) == lt_plog_start(log) ? NULL
                                                          : say(load, "lost: %s finds no start", part->name);
    if (result < 0)
        return forgivable(load) ? NULL : say(load, "lost: %s: %s", part->name, lt_fail_text());
    lt_plog_cursor_start(&cursor, &place);
    uint64_t next = lt_plog_start(log);
    const char *why = NULL;
    while (!why && (result = lt_plog_read(log, &cursor, bytes, sizeof bytes)) == 0) {
        const struct lt_batch_head *batch = (const void *)bytes;
        if (batch->first_offset != next)
            why = say(load, "lost: %s goes on at %llu behind %llu", part->name,
                      (unsigned long long)batch->first_offset, (unsigned long long)next);
        else
            why = check_batch(load, i, batch, life_from, life_seed);
        next = batch->end_offset;
    }
    lt_plog_cursor_end(log, &cursor);
    if (why || (result < 0 && forgivable(load)))
        return why;
    if (result < 0)
        return say(load, "lost: %s: %s", part->name, lt_fail_text());
    return next == lt_plog_written(log)
               ? NULL
               : say(load, "lost: %s can be read up to %llu of %llu", part->name, (unsigned long long)next,
                     (unsigned long long)lt_plog_written(log));
}

/* A few offsets, looked up at random: the batch that is found must hold them. */
static const char *check_find(struct logload *load, int i, struct lt_plog *log, uint64_t *random)
{
    struct lt_plog_place place;
    struct part *part = &load->parts[i];
    if (lt_plog_written(log) == lt_plog_start(log))
        return NULL;
    uint64_t offset = lt_plog_start(log) + next_random(random) % (lt_plog_written(log) - lt_plog_start(log));
    int result = lt_plog_find(log, offset, &place);
    if (result != 0 || place.offset > offset)
        return say(load, "lost: %s finds %llu at %llu (%d)", part->name, (unsigned long long)offset,
                   (unsigned long long)place.offset, result);
    int64_t time = 1000 + (int64_t)offset;
    result = lt_plog_find_time(log, time, &place);
    if (result < 0)
        return say(load, "lost: %s finds no time %lld: %s", part->name, (long long)time, lt_fail_text());
    return NULL;
}

/* Whether a whole batch lies behind the end of the file, as it is read with these flags. */
static bool has_batch_behind(const struct lt_plog *log, int flags)
{
    const struct lt_batch_head *batch;
    struct lt_segment segment;
    struct lt_scan scan;
    uint64_t at;
    if (lt_segment_open(&log->dir, log->end.base_offset, flags, &segment) < 0)
        return true;
    bool has = true;
    if (lt_scan_open(&scan, &log->dir, &segment, log->end.pos, log->end.offset) == 0) {
        has = lt_scan_any(&scan, log->end.pos, &batch, &at) != 0;
        lt_scan_close(&scan);
    }
    lt_io_close(log->dir.io, segment.fd);
    return has;
}

/* Nothing that could be taken for a batch one day, in the cache and on the disk: zeros behind the end, or (a file that was a
 * segment before) batches of other offsets. */
static const char *check_tail(struct logload *load, int i, struct simdisk *disk, const struct lt_plog *log)
{
    char name[LT_SEGMENT_NAME_SIZE];
    if (!log)
        return say(load, "lost: %s was not opened", load->parts[i].name);
    lt_segment_name(name, log->end.base_offset, "log");
    if (simdisk_is_zero(disk, load->parts[i].name, name, log->end.pos) ||
        (!has_batch_behind(log, O_RDONLY) && !has_batch_behind(log, O_RDONLY | LT_IO_PAST_CACHE)))
        return NULL;
    return say(load, "lost: %s/%s has something behind %llu", load->parts[i].name, name,
               (unsigned long long)log->end.pos);
}

static const char *check_log(struct logload *load, int i, struct lt_plog *log, uint64_t *random)
{
    struct part *part = &load->parts[i];
    if (lt_plog_state(log) != LT_PLOG_OPEN)
        return say(load, "lost: %s is damaged: %s", part->name, lt_plog_reason(log));
    if (lt_plog_end(log) < part->durable)
        return say(load, "lost: %s ends at %llu, %llu was durable", part->name,
                   (unsigned long long)lt_plog_end(log), (unsigned long long)part->durable);
    if (lt_plog_next(log) < part->given)
        return say(load, "invented: %s goes on at %llu, offsets up to %llu were given out", part->name,
                   (unsigned long long)lt_plog_next(log), (unsigned long long)part->given);
    if (lt_plog_start(log) < part->trimmed || lt_plog_start(log) > part->trimming)
        return say(load, "lost: %s starts at %llu, trimmed to %llu", part->name,
                   (unsigned long long)lt_plog_start(log), (unsigned long long)part->trimmed);
    const char *why = check_contents(load, i, log, UINT64_MAX, 0);
    return why ? why : check_find(load, i, log, random);
}

/* ---- after a power loss ---- */

/* A process's view of one image: both logs open, or not. */
struct image {
    struct simdisk *disk;
    struct lt_plog *logs[LOGLOAD_LOGS];
    struct lt_offsets *offsets;
};

static int open_image(struct logload *load, struct image *image)
{
    struct lt_io *io = simdisk_io(image->disk);
    for (int i = 0; i < LOGLOAD_LOGS; i++) {
        int dir = make_dir(io, simdisk_root(image->disk), load->parts[i].name);
        if (dir < 0)
            return dir;
        int result = open_log(io, &load->parts[i], i, dir, LT_RECOVER_CREATE, &image->logs[i]);
        if (result != 0)
            return result;
    }
    int dir = make_dir(io, simdisk_root(image->disk), "groups");
    return dir < 0 ? dir : open_offsets(io, dir, &image->offsets);
}

static void close_image(struct image *image)
{
    lt_offsets_close(image->offsets);
    image->offsets = NULL;
    for (int i = 0; i < LOGLOAD_LOGS; i++) {
        lt_plog_abandon(image->logs[i]);
        image->logs[i] = NULL;
    }
}

static void lose_power(struct image *image, uint64_t *random)
{
    struct simdisk *after = simdisk_after_power_loss(image->disk, next_random(random));
    close_image(image);
    simdisk_free(image->disk);
    image->disk = after;
}

/* Recovery, ended at random operations up to twice: by a loss of power, or only of the process. */
static int recover(struct logload *load, struct image *image, uint64_t *random)
{
    for (int again = (int)(next_random(random) % 3); again > 0; again--) {
        simdisk_stop_at(image->disk, next_random(random) % 60);
        open_image(load, image);
        if (next_random(random) & 1) {
            lose_power(image, random);
        } else {
            close_image(image);
            simdisk_after_death(image->disk);
            simdisk_stop_at(image->disk, UINT64_MAX);
        }
    }
    return open_image(load, image);
}

#define LIFE_STAGES 12

/* One log in its next life: the gap for what may be lost, some records, some of them done. */
static const char *live_on(struct logload *load, struct image *image, int i, uint64_t life_seed,
                           uint64_t *random)
{
    static _Thread_local unsigned char stages[LOGLOAD_LOGS][LIFE_STAGES][STAGE_SIZE]
        __attribute__((aligned(64)));
    struct lt_io *io = simdisk_io(image->disk);
    struct lt_plog *log = image->logs[i];
    struct lt_io_op op;
    struct lt_io_done done;
    unsigned char bytes[PAYLOAD_MAX];
    int batches = (int)(next_random(random) % (LIFE_STAGES + 1));
    for (int j = 0; j < batches; j++) {
        struct lt_batch batch;
        struct lt_store_record record;
        if (lt_plog_prepare(log) < 0)
            return say(load, "lost: %s: %s", load->parts[i].name, lt_plog_reason(log));
        if (lt_plog_skip(log, lt_plog_next(log), &op) == 0)
            lt_io_submit(io, &op, 1);
        lt_batch_start(&batch, stages[i][j], STAGE_SIZE, lt_plog_end(log));
        for (int n = (int)(next_random(random) % 5); n >= 0; n--) {
            make_record(&record, bytes, life_seed, i, batch.end_offset);
            lt_batch_add(&batch, &record);
        }
        if (lt_plog_end(log) >= lt_plog_next(log) && lt_plog_append(log, &batch, &op) == 0)
            lt_io_submit(io, &op, 1);
        while (next_random(random) % 3 != 0 && lt_io_reap(io, &done, 1, 0) == 1)
            if (lt_plog_completed(image->logs[done.token >> 32], done.token, done.result, &op) < 0)
                return say(load, "lost: %s: %s", load->parts[i].name, lt_plog_reason(log));
    }
    return NULL;
}

/* The log goes on behind what was found, power is lost once more, and that is looked at. */
static const char *check_next_life(struct logload *load, struct image *image, uint64_t *random)
{
    uint64_t life_seed = next_random(random), from[LOGLOAD_LOGS], durable[LOGLOAD_LOGS];
    const char *bad = NULL;
    for (int i = 0; i < LOGLOAD_LOGS && !bad; i++) {
        from[i] = lt_plog_next(image->logs[i]);
        bad = live_on(load, image, i, life_seed, random);
    }
    if (bad)
        return bad;
    for (int i = 0; i < LOGLOAD_LOGS; i++)
        durable[i] = lt_plog_durable(image->logs[i]);
    lose_power(image, random);
    if (open_image(load, image) != 0)
        return say(load, "lost: the second recovery: %s", lt_fail_text());
    for (int i = 0; i < LOGLOAD_LOGS; i++) {
        struct lt_plog *log = image->logs[i];
        if (lt_plog_state(log) != LT_PLOG_OPEN || lt_plog_end(log) < durable[i])
            return say(load, "lost: %s ends at %llu in its second life, %llu was durable: %s",
                       load->parts[i].name, (unsigned long long)lt_plog_end(log),
                       (unsigned long long)durable[i], lt_plog_reason(log));
        const char *why = check_contents(load, i, log, from[i], life_seed);
        if (why)
            return why;
    }
    return NULL;
}

const char *logload_check_power_loss(struct logload *load, uint64_t seed)
{
    uint64_t random = seed;
    load->strict = true;
    struct image image = { .disk = simdisk_after_power_loss(load->disk, next_random(&random)) };
    const char *why = NULL;
    if (recover(load, &image, &random) != 0)
        why = say(load, "lost: recovery: %s", lt_fail_text());
    if (!why)
        why = check_commits(load, image.offsets);
    for (int i = 0; i < LOGLOAD_LOGS && !why; i++) {
        why = check_log(load, i, image.logs[i], &random);
        why = why ? why : check_tail(load, i, image.disk, image.logs[i]);
    }
    if (!why && next_random(&random) % 3 == 0)
        why = check_next_life(load, &image, &random);
    close_image(&image);
    simdisk_free(image.disk);
    load->strict = false;
    return why;
}

const char *logload_check_death(struct logload *load)
{
    die(load);
    for (int i = 0; i < LOGLOAD_LOGS && load->why[0] == 0; i++)
        if (load->parts[i].log)
            check_contents(load, i, load->parts[i].log, UINT64_MAX, 0);
    return load->why[0] ? load->why : NULL;
}
