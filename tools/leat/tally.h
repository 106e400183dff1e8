/* What went through, partition by partition, and how to show it: a chart on a terminal, plain lines elsewhere.
 *
 *     5,221 records, 354.7 KiB in 0.094 s (55,542/s)   |   5221 records, 363217 bytes in 0.094 s
 *       orders-0  1,725  ############################    |   orders-0: 1725
 *       orders-1  1,680  ###########################     |   orders-1: 1680
 *       orders-2  1,816  #############################   |   orders-2: 1816
 */
#ifndef TALLY_H
#define TALLY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct tally_row {
    char *topic;
    uint32_t partition;
    uint64_t records;
};

struct tally {
    struct tally_row *rows; /* in the order in which they were first added to */
    size_t count, last;     /* last: where the previous record was, and the next one likely is */
    uint64_t records, bytes;
    int64_t begin_ns, shown_ns;
    bool terminal, shows_progress; /* stderr is one; and stdout is not */
};

void tally_begin(struct tally *tally);

/* `records` more; 0 makes the row known. */
void tally_add(struct tally *tally, const char *topic, uint32_t partition, uint64_t records, uint64_t bytes);

/* Whether there is a row for it. */
bool tally_knows(struct tally *tally, const char *topic, uint32_t partition);

double tally_seconds(const struct tally *tally);

/* A line that replaces itself, a few times a second, when stderr is a terminal and what we print is not on it. */
void tally_progress(struct tally *tally);
/* Removes that line. */
void tally_progress_end(struct tally *tally);

/* On stderr. */
void tally_print(struct tally *tally);
void tally_free(struct tally *tally);

#endif
