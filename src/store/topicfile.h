/* topicfile: the settings of a topic, in the file `topic` of its directory: what a bus that begins anew makes the topic of.
 *
 * Whole or not there: it is written aside, synced, renamed, and its directory synced. Who may write: the one process that has the
 * data directory locked. What a death leaves: the file as it was before, or as it is after, and perhaps a `topic.new`.
 */
#ifndef LT_STORE_TOPICFILE_H
#define LT_STORE_TOPICFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/format.h"
#include "store/io.h"

#define LT_TOPICFILE_MAGIC 0x31706f747461656cull /* "leattop1" */
#define LT_TOPICFILE_NAME "topic"
#define LT_TOPICFILE_TEMPORARY "topic.new"
#define LT_TOPICFILE_BUCKETS 4096u

#define LT_SEGMENT_BYTES_MIN (64ull << 10)
#define LT_SEGMENT_BYTES_MAX (1ull << 30)

/* The whole file. The head is one page, the map two. */
struct lt_topicfile {
    uint64_t magic;
    uint32_t version;
    uint32_t bytes; /* of the file */
    uint64_t fingerprint;
    uint64_t hash; /* XXH3-64 of all that follows */
    char name[256];
    uint64_t log_id;     /* random, not 0, in every head of its logs */
    uint64_t ring_size;  /* payload bytes of one partition */
    uint64_t created_ms; /* since 1970 */
    uint64_t segment_bytes;
    uint64_t retention_bytes; /* UINT64_MAX: all is kept */
    int64_t retention_ms;     /* -1: for ever */
    uint32_t partition_count;
    uint32_t level;       /* enum leat_level */
    uint32_t on_full;     /* enum leat_on_full */
    uint32_t partitioner; /* enum leat_partitioner */
    uint32_t uid, gid, mode;
    uint32_t map_epoch;
    unsigned char reserved[LT_STORE_PAGE - 368]; /* zeros */
    uint16_t map[LT_TOPICFILE_BUCKETS];          /* bucket -> partition */
};

/* Fills in magic, version, size, fingerprint and hash, and writes it. dir_path is for messages. 0, LEAT_ENOSPC or LEAT_EIO: then
 * the file is what it was, or what it was to be. */
int lt_topicfile_write(struct lt_io *io, int dir_fd, const char *dir_path, struct lt_topicfile *file);
/* Reads and checks: every field is in its range afterwards. 0; 1: there is none; LEAT_EVERSION (newer than this program, or another
 * build's); LEAT_EFAILED (damaged); LEAT_EIO. */
int lt_topicfile_read(struct lt_io *io, int dir_fd, const char *dir_path, struct lt_topicfile *file);
/* The check alone, of a file of which `got` bytes could be read. */
int lt_topicfile_check(const char *dir_path, const struct lt_topicfile *file, int64_t got);

#endif
