/* Tables for people: cells are collected, then printed with every column as wide as its widest cell.
 *
 * Cells hold what other processes said (client ids, program names), so bytes that a terminal would act on are printed
 * as '?'.
 */
#ifndef TABLE_H
#define TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { TABLE_COLUMNS = 16 };

struct table {
    int columns;
    char **cells; /* row by row, heads first */
    size_t count, room;
};

/* `heads` ends with NULL; a head that begins with '>' makes its column flush right. */
void table_begin(struct table *table, const char *const *heads);

/* The next cell, from left to right, row by row. */
__attribute__((format(printf, 2, 3))) void table_add(struct table *table, const char *format, ...);

/* Prints and forgets it; heads alone are not worth printing. */
void table_end(struct table *table, FILE *out);

/* Numbers as people read them: 5,273 and 25.3 MiB and 3 h 12 min. Each use has a buffer of its own, by value. */
struct table_text {
    char text[40];
};
struct table_text table_count(uint64_t n);
struct table_text table_bytes(uint64_t bytes);
struct table_text table_duration(double seconds);

#endif
