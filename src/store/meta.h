/* meta: the few words of a partition that change in place: two slots in turn, so that one is always whole. */
#ifndef LT_STORE_META_H
#define LT_STORE_META_H

#include "store/segment.h"

#define LT_META_NAME "meta"
#define LT_META_TEMPORARY "meta.new"

/* The file, made aside, synced, named, its directory synced: 0, or an error with nothing under its name. */
int lt_meta_create(const struct lt_store_dir *dir, const struct lt_meta_slot *meta);
/* Opens it and reads the slot that counts. The descriptor; LEAT_EVERSION, LEAT_EFAILED (no slot is whole), LEAT_EIO; or
 * -ENOENT as 1 in *absent. */
int lt_meta_open(const struct lt_store_dir *dir, struct lt_meta_slot *meta, bool *absent);
/* One slot: 1: whole and ours; 0: not whole; LEAT_EVERSION, LEAT_EFAILED (another log's). */
int lt_meta_check(const struct lt_store_dir *dir, const struct lt_meta_slot *slot);
/* Writes the other slot, sequence + 1, and returns when it is durable. 0 or LEAT_EIO: then nobody knows which one counts. */
int lt_meta_write(const struct lt_store_dir *dir, int fd, struct lt_meta_slot *meta);

#endif
