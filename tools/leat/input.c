/* Records out of a stream of bytes: see input.h. */
#include "input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROOM_FIRST = 1 << 20, ROOM_MOST = 1 << 29 };

int input_begin(struct input *input, int fd, const char *delimiter, size_t delimiter_size)
{
    *input = (struct input){ .fd = fd, .delimiter = delimiter, .delimiter_size = delimiter_size };
    input->buffer = malloc(ROOM_FIRST);
    input->room = ROOM_FIRST;
    return input->buffer ? 0 : -ENOMEM;
}

void input_end(struct input *input)
{
    free(input->buffer);
    input->buffer = NULL;
}

bool input_next(struct input *input, char **record, size_t *size)
{
    char *from = input->buffer + input->begin;
    char *search = input->buffer + input->searched;
    size_t left = input->end - input->searched;
    char *found = input->delimiter_size == 1 ? memchr(search, *input->delimiter, left)
                                             : memmem(search, left, input->delimiter, input->delimiter_size);
    if (found) {
        *record = from;
        *size = (size_t)(found - from);
        input->begin = input->searched = (size_t)(found - input->buffer) + input->delimiter_size;
        return true;
    }
    if (input->ended && input->begin < input->end) {
        *record = from;
        *size = input->end - input->begin;
        input->begin = input->searched = input->end;
        return true;
    }
    /* A delimiter may have begun to arrive. */
    size_t tail = input->delimiter_size - 1;
    input->searched = input->end - input->begin > tail ? input->end - tail : input->begin;
    return false;
}

/* Room for a block behind what is there: by moving that to the front, or else by growing. */
static int make_room(struct input *input)
{
    size_t kept = input->end - input->begin;
    memmove(input->buffer, input->buffer + input->begin, kept);
    input->searched -= input->begin;
    input->begin = 0;
    input->end = kept;
    if (kept <= input->room / 2)
        return 0;
    if (input->room >= ROOM_MOST)
        return -EFBIG;
    char *more = realloc(input->buffer, 2 * input->room);
    if (!more)
        return -ENOMEM;
    input->buffer = more;
    input->room *= 2;
    return 0;
}

int input_fill(struct input *input)
{
    int r = make_room(input);
    if (r < 0)
        return r;
    ssize_t got = read(input->fd, input->buffer + input->end, input->room - input->end);
    if (got < 0)
        return -errno;
    input->end += (size_t)got;
    input->ended = got == 0;
    return got > 0;
}
