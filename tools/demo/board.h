/* board: what people see: a line for each thing that happens, and a table of how the group stands.
 *
 * On a terminal the table stays at the bottom and changes; elsewhere it is printed when it is asked for.
 */
#ifndef BOARD_H
#define BOARD_H

#include "crew.h"

struct board {
    const struct crew *crew;
    leat_bus *bus; /* NULL: not there yet, or not any more */
    int64_t begin_ns;
    bool live;       /* stdout is a terminal */
    int shown;       /* lines of the table that stand there now */
    int64_t last_ns; /* when it was drawn */
};

void board_open(struct board *board, const struct crew *crew);
/* One line with the seconds since the beginning. */
void board_say(struct board *board, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A new part of the story. */
void board_title(struct board *board, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The table as it is now; it stays. */
void board_table(struct board *board);
/* Draws the table anew when this is a terminal and it is time. */
void board_refresh(struct board *board);

/* "orders-0 orders-2", by value. */
struct names {
    char text[64];
};
struct names partition_names(unsigned partitions);

/* 81234 as 81,234, by value. */
struct grouped {
    char text[32];
};
struct grouped grouped(uint64_t n);

#endif
