/* offsets: the committed offsets of all groups: a table in memory, and one file that is appended to and, when it is full, written
 * anew beside itself and renamed.
 *
 *     sequence = lt_offsets_put(offsets, &key, offset, metadata, size)     a store: nothing is written yet
 *     lt_offsets_seal(offsets, &op) -> lt_io_submit ... lt_offsets_completed    all that was put since, as one write
 *     lt_offsets_durable(offsets) > sequence                               this commit survives a loss of power
 *
 * What always holds: one write is under way at most, so an entry that is whole says that the writes before were done. A
 * write or sync that failed ends it (FAILED): nothing is durable any more until it is opened again, which reads past the cache.
 * What a death leaves: entries behind the last durable one, whole or torn; or a file beside it without its name.
 * Compaction keeps the file at most four times as long as what it says, so that it is read in milliseconds.
 */
#ifndef LT_STORE_OFFSETS_H
#define LT_STORE_OFFSETS_H

#include <stdbool.h>

#include "store/format.h"
#include "store/io.h"

#define LT_OFFSETS_NAME "offsets"
#define LT_OFFSETS_TEMPORARY "offsets.new"
#define LT_OFFSETS_BYTES (1ull << 20)
#define LT_OFFSETS_GROUP_MAX 1024
#define LT_OFFSETS_METADATA_MAX 4096
#define LT_OFFSETS_FORGOTTEN (-1)
#define LT_OFFSETS_CUT 1u /* an operator's word: what follows damage is given up */

struct lt_offsets_key {
    const char *group;
    uint64_t topic;
    uint32_t partition;
};

struct lt_offsets_value {
    int64_t offset;
    const void *metadata; /* until the next put of that key */
    uint32_t metadata_size;
};

enum lt_offsets_condition { LT_OFFSETS_NOTHING = 1, LT_OFFSETS_BUSY = 2 };

struct lt_offsets;

/* Recovers, or makes it. `bytes`: the least size of the file, 0: LT_OFFSETS_BYTES. 0; LEAT_EIO, LEAT_ENOSPC, LEAT_ENOMEM,
 * LEAT_EVERSION, LEAT_EFAILED (damaged below what was durable; the text says where). */
int lt_offsets_open(struct lt_io *io, int dir_fd, const char *path, uint64_t bytes, uint32_t token_tag,
                    unsigned how, struct lt_offsets **offsets);
/* The head of such a file of that size. 0, LEAT_EVERSION or LEAT_EFAILED. */
int lt_offsets_check(const char *path, const struct lt_offsets_head *head, uint64_t size);
/* The entry at a place of a file that is in memory, whole, or NULL. */
const struct lt_offsets_entry *lt_offsets_entry_at(const unsigned char *bytes, uint64_t size, uint64_t pos);
/* With nothing under way. What was put and not sealed is lost. */
void lt_offsets_close(struct lt_offsets *offsets);

/* Its sequence, >= 0; LEAT_EINVAL (too long), LEAT_ENOMEM, or what made it FAILED. */
int64_t lt_offsets_put(struct lt_offsets *offsets, const struct lt_offsets_key *key, int64_t offset,
                       const void *metadata, uint32_t metadata_size);
/* 1: found; 0: not. What was put last, durable or not. */
int lt_offsets_get(const struct lt_offsets *offsets, const struct lt_offsets_key *key,
                   struct lt_offsets_value *value);
void lt_offsets_each(const struct lt_offsets *offsets,
                     void (*each)(void *arg, const struct lt_offsets_key *key,
                                  const struct lt_offsets_value *value),
                     void *arg);
/* How many keys have an offset. */
uint64_t lt_offsets_count(const struct lt_offsets *offsets);

/* 0 and *op; NOTHING; BUSY; LEAT_ENOSPC: it is full and there is no room for another (what was put is kept, try again); or FAILED's
 * error. Compaction happens in here and waits for the disk. */
int lt_offsets_seal(struct lt_offsets *offsets, struct lt_io_op *op);
/* 0; 1: submit *again; or the error that made it FAILED. */
int lt_offsets_completed(struct lt_offsets *offsets, int64_t result, struct lt_io_op *again);
/* All that was put, here and now. 0 or an error. With nothing under way. */
int lt_offsets_flush(struct lt_offsets *offsets);
/* Commits of sequences below are durable. */
uint64_t lt_offsets_durable(const struct lt_offsets *offsets);
bool lt_offsets_failed(const struct lt_offsets *offsets);
const char *lt_offsets_reason(const struct lt_offsets *offsets);

#endif
