/* dump: what every part of leat-dump shares: what was asked for, where lines go, what was found.
 *
 *   main       arguments
 *   out        lines and verdicts, for people or as JSON
 *   still      store/io's table without anything that changes a file
 *   file       one file: which kind it is, by its magic
 *   segment index meta offsets topicfile    one kind each: prints it, says what is wrong with it alone
 *   tree       directories: do the files fit together, and what would a recovery do
 *   ring       a ring in memory; bus: that of a running leatd; memfd: one whose leatd is dead or stopped
 *
 * Everything that is read is input: sizes and places are checked before they are followed. Nothing is ever written.
 */
#ifndef DUMP_H
#define DUMP_H

#include <leat.h>
#include <stdbool.h>
#include <stdint.h>

#include "../leat/json.h"
#include "shm/ring.h"
#include "store/batch.h"
#include "store/index.h"
#include "store/io.h"
#include "store/meta.h"
#include "store/segment.h"
#include "store/topicfile.h"

enum dump_status { DUMP_DONE = 0, DUMP_FAILED = 1, DUMP_USAGE = 2, DUMP_ALARM = 3 };

enum dump_verdict {
    DUMP_OK,
    DUMP_TORN, /* what a death or a loss of power leaves; the next start puts it right, and nothing is lost that was durable */
    DUMP_DAMAGED, /* not what leat left there */
    DUMP_UNREAD,  /* not a file of leat, of a newer format, or the system refused it */
};
#define DUMP_VERDICTS 4

struct dump {
    bool verify;  /* verdicts only */
    bool records; /* also records */
    bool hex;
    uint64_t from, to; /* of offsets: [from, to) */
    struct lt_io *io;
    struct json json;
    bool as_json;
    const char *path;   /* of what is looked at now */
    char heading[4096]; /* path that was printed last */
    unsigned count[DUMP_VERDICTS];
};

int dump_status(const struct dump *dump);

/* ---- out ---- */

/* A line: out_begin, some of the others, out_end. Nothing comes of it when only verdicts are wanted. */
void out_begin(struct dump *dump, const char *kind);
void out_end(struct dump *dump);
void out_uint(struct dump *dump, const char *name, uint64_t value);
void out_int(struct dump *dump, const char *name, int64_t value);
void out_hex(struct dump *dump, const char *name, uint64_t value);
void out_time(struct dump *dump, const char *name, int64_t ms); /* INT64_MIN: none */
void out_text(struct dump *dump, const char *name, const char *text);
/* As text, or as hex when that was asked for. NULL is null. */
void out_bytes(struct dump *dump, const char *name, const void *bytes, size_t size);
void out_record(struct dump *dump, const struct lt_store_record *record);
bool out_wants(const struct dump *dump, uint64_t first_offset, uint64_t end_offset);
void dump_say(struct dump *dump, enum dump_verdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The last error's words, without the path that stands before the verdict anyway. */
const char *dump_why(const struct dump *dump);
/* ... and which verdict its number is. */
enum dump_verdict dump_verdict_of(int error);

/* ---- still ---- */

/* past_cache: what the disk has, as a recovery reads it; else what the page cache shows. NULL without memory. */
struct lt_io *still_start(bool past_cache);

/* ---- file ---- */

struct dump_file {
    struct lt_store_dir dir; /* dir.id: whose it has to be, where that is known */
    const char *name;
    bool known; /* dir.id counts */
    int fd;
    uint64_t size;
};

/* Opens a regular file of that directory and sets dump->path; false: a verdict was said. */
bool file_open(struct dump *dump, const char *dir_path, int dir_fd, const char *name, struct dump_file *file);
/* The same by a path. */
bool file_open_path(struct dump *dump, const char *path, struct dump_file *file);
void file_close(struct dump *dump, struct dump_file *file);
/* Up to `size` bytes at `at`, the rest zeros. false: a verdict was said. */
bool file_read(struct dump *dump, const struct dump_file *file, void *bytes, size_t size, uint64_t at);
/* A file by itself, of whatever kind. */
void dump_file(struct dump *dump, const char *path);
/* A file or a directory. */
void dump_path(struct dump *dump, const char *path);

/* ---- kinds ---- */

/* A segment as it was found, up to the first batch that is not valid or not the next. */
struct dump_segment {
    struct lt_segment_head head;
    uint64_t end_offset, end_pos;
    int64_t timestamp_max;
    uint64_t generation; /* the highest of its batches */
    uint64_t batches, records, gaps;
    const char *why; /* there is none at end_pos */
    uint64_t claim;  /* durable offset that whole batches behind it tell of */
    uint64_t behind; /* whole batches behind it */
    uint64_t
        nonzero; /* where the first byte at or above end_pos is that is not zero; head.size_bytes: none */
    bool whole;  /* the head is right and the file could be read */
};

/* Told of each batch in order: where it is and the latest record before it in this segment. */
struct dump_watch {
    void (*batch)(void *arg, const struct lt_batch_head *batch, uint64_t pos, int64_t timestamp_max);
    void *arg;
};

/* Prints it. When it is not `whole`, its verdict was said. */
void segment_dump(struct dump *dump, struct dump_file *file, const struct dump_watch *watch,
                  struct dump_segment *segment);
/* The verdict on one that is looked at alone. */
void segment_judge(struct dump *dump, const struct dump_segment *segment);

struct dump_index {
    struct lt_index_head head;
    struct lt_index_entry *entries; /* malloc; NULL unless it is whole */
};
/* Prints it; entries are NULL when a verdict was said. */
void index_dump(struct dump *dump, struct dump_file *file, struct dump_index *index);

/* Prints it; whether there is a slot that counts: else a verdict was said. */
bool meta_dump(struct dump *dump, struct dump_file *file, struct lt_meta_slot *meta);
void meta_judge(struct dump *dump, const struct lt_meta_slot *meta);

/* Prints it; whether it is right: else a verdict was said. */
bool topicfile_dump(struct dump *dump, struct dump_file *file, struct lt_topicfile *topic);
void topicfile_judge(struct dump *dump, const struct lt_topicfile *topic);

void offsets_dump(struct dump *dump, struct dump_file *file);

/* ---- tree ---- */

void tree_dump(struct dump *dump, const char *path);

/* ---- ring ---- */

/* A ring in memory, whoever writes it meanwhile. `gate` NULL: it is not known; offsets count from base_offset. */
void ring_dump(struct dump *dump, const struct lt_ring *ring, const struct lt_ring_gate *gate);
/* TOPIC[:PARTITION] of a running bus. 0 or an enum dump_status: then the reason was said on stderr. */
int bus_dump(struct dump *dump, const char *bus, const char *what);
/* A memfd by its place in /proc, or a copy of one. */
void memfd_dump(struct dump *dump, const char *path, uint64_t base_offset);

#endif
