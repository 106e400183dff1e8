/* What the processes of the demo share: the input, which they have by fork, and a board that all of them map.
 *
 * The demo knows leat only by leat.h, as any program does.
 */
#ifndef DEMO_H
#define DEMO_H

#include <leat.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DEMO_TOPIC "packages"

enum { PARTITIONS = 3 };

/* ---- input.c ---- */

struct line {
    char *text;
    uint32_t size;
    uint32_t key;    /* index in keys */
    uint32_t of_key; /* how many lines of this key stand before it */
};

struct key {
    char *name;
    uint32_t size;
    uint32_t lines; /* of the whole input */
};

struct input {
    const char *source; /* for people */
    struct line *lines;
    struct key *keys;
    uint32_t line_count, key_count;
};

/* The package manager's log, or made up lines where there is none. */
void input_load(struct input *input);

/* Record `number` is a line, the input being repeated without end; its number within its key follows from that. */
const struct line *input_line(const struct input *input, uint64_t number);
uint64_t input_of_key(const struct input *input, uint64_t number);

/* What every record carries besides the line, as the header "stamp". */
struct stamp {
    uint64_t number; /* 0, 1, 2 ... over all records of the demo */
    uint64_t of_key; /* 0, 1, 2 ... over those of its key */
    int64_t sent_ns; /* CLOCK_MONOTONIC, just before the send */
};

/* ---- board.c ---- */

/* A reader's results: written by the reader, read by the parent when the reader has ended. */
struct result {
    volatile uint64_t received; /* a gauge meanwhile */
    uint64_t out_of_order;      /* not the number that comes next for its key */
    uint64_t damaged;           /* key, line or stamp are not those that were sent */
    uint64_t missed;            /* what the bus says was overwritten */
    uint64_t keys;
    uint64_t latency_count, latency_room;
    int64_t *latencies_ns; /* of the paced records */
    uint8_t *seen;         /* a bit a record */
};

struct board {
    volatile uint64_t sent; /* a gauge: the last send that returned, plus one. No order depends on it. */
    uint64_t flood;         /* records 0 to flood - 1 go as fast as they can, */
    uint64_t total;         /* the others at a pace */
    double rate;            /* records a second */
    char bus[128];
    struct result results[PARTITIONS];
};

/* Memory that every process of the demo sees. Ends the program when there is none. */
struct board *board_make(uint64_t flood, uint64_t paced, double rate);

int64_t now_ns(void);

/* Says what a call of the library said. */
void complain(const char *who, leat_bus *bus, int error);

/* ---- reader.c, writer.c: the bodies of child processes ---- */

/* Tells the parent one number: the reader that it is attached, the writer with which record it begins. */
void tell(int fd, uint64_t number);

int reader_main(struct board *board, const struct input *input, uint32_t partition, int tell_fd);

/* Sends up to record `to` - 1, beginning behind the last that the bus has. `predecessor`: the pid of a killed one, or 0. */
int writer_main(struct board *board, const struct input *input, uint64_t to, pid_t predecessor, int tell_fd);

/* ---- bus.c ---- */

/* A leatd of our own on a fresh directory; it ends when we do, however we do. Returns its pid, or -1 having said why. */
pid_t bus_start(char *directory, size_t directory_size);
/* Whether it stopped cleanly. */
bool bus_stop(void);

#endif
