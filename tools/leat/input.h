/* Records out of a stream of bytes: read in large blocks, cut at a delimiter.
 *
 * A last piece without a delimiter is a record; nothing behind the last delimiter is none; two delimiters in a row have an
 * empty record between them.
 */
#ifndef INPUT_H
#define INPUT_H

#include <stdbool.h>
#include <stddef.h>

struct input {
    int fd;
    const char *delimiter;
    size_t delimiter_size;
    char *buffer;
    size_t room, begin, end; /* what is there, and not yet cut: [begin, end) */
    size_t searched;         /* no delimiter begins before here */
    bool ended;
};

/* Returns 0 or -ENOMEM. */
int input_begin(struct input *input, int fd, const char *delimiter, size_t delimiter_size);
void input_end(struct input *input);

/* The next record that is there in whole; it stays where it is until input_fill. False: there is none. */
bool input_next(struct input *input, char **record, size_t *size);

/* Reads once. 1: there is more; 0: that was the end (a last record may be there now); -errno: -EINTR too. -EFBIG: half a
 * GiB without a delimiter, more than any ring takes. */
int input_fill(struct input *input);

#endif
