/* logdir: a small log in real files, as leatd would leave it, and hands to damage them with. For leat-dump's tests. */
#ifndef LOGDIR_H
#define LOGDIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOGDIR_SEGMENT = 4 * 4096, LOGDIR_TOPIC = 0x1234, LOGDIR_PARTITION = 0 };

/* PATH, made here: records 0..count-1 of 100 bytes ("record N", zeros), keys "kN", one header each third, a batch each, some four
 * segments with indexes a hundred. `clean`: closed in order; else as a death leaves it. */
void logdir_make(const char *path, uint64_t count, bool clean);
/* PATH/offsets with so many commits. */
void logdir_make_offsets(const char *path, int count);

/* A whole file; it goes with the process. */
unsigned char *logdir_read(const char *path, size_t *size);
void logdir_write(const char *path, const void *bytes, size_t size);
/* Bytes at a place of a file. */
void logdir_put(const char *path, uint64_t at, const void *bytes, size_t size);
/* Turns one bit of the byte at a place. */
void logdir_flip(const char *path, uint64_t at);
/* Hashes made right again: of a segment's, meta's, index's or offsets' head(s), by magic. */
void logdir_seal(void *bytes, size_t size);

#endif
