/* Tables for people: see table.h. */
#include "table.h"
#include "cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static void defuse(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
}

static void keep(struct table *table, char *cell)
{
    if (table->count == table->room) {
        table->room = table->room ? 2 * table->room : 64;
        table->cells = cli_have(realloc(table->cells, table->room * sizeof table->cells[0]));
    }
    defuse(cli_have(cell));
    table->cells[table->count++] = cell;
}

void table_begin(struct table *table, const char *const *heads)
{
    *table = (struct table){ 0 };
    while (heads[table->columns]) {
        keep(table, strdup(heads[table->columns]));
        table->columns++;
    }
}

void table_add(struct table *table, const char *format, ...)
{
    char *cell;
    va_list args;
    va_start(args, format);
    if (vasprintf(&cell, format, args) < 0)
        cell = NULL;
    va_end(args);
    keep(table, cell);
}

static void print_cells(const struct table *table, FILE *out)
{
    int width[TABLE_COLUMNS] = { 0 };
    bool right[TABLE_COLUMNS] = { 0 };
    int columns = table->columns;
    for (int i = 0; i < columns; i++) {
        right[i] = table->cells[i][0] == '>';
        if (right[i])
            memmove(table->cells[i], table->cells[i] + 1, strlen(table->cells[i]));
    }
    for (size_t i = 0; i < table->count; i++) {
        int size = (int)strlen(table->cells[i]);
        if (size > width[i % (size_t)columns])
            width[i % (size_t)columns] = size;
    }
    for (size_t i = 0; i < table->count; i++) {
        int column = (int)(i % (size_t)columns);
        bool last = column == columns - 1;
        if (right[column])
            fprintf(out, "%*s", width[column], table->cells[i]);
        else
            fprintf(out, "%-*s", last ? 0 : width[column], table->cells[i]);
        fputs(last ? "\n" : "  ", out);
    }
}

void table_end(struct table *table, FILE *out)
{
    if (table->count > (size_t)table->columns)
        print_cells(table, out);
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (struct table){ 0 };
}

struct table_text table_count(uint64_t n)
{
    struct table_text plain, out;
    size_t size = (size_t)snprintf(plain.text, sizeof plain.text, "%" PRIu64, n), to = 0;
    for (size_t i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            out.text[to++] = ',';
        out.text[to++] = plain.text[i];
    }
    out.text[to] = 0;
    return out;
}

struct table_text table_bytes(uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    struct table_text out;
    double n = (double)bytes;
    int unit = 0;
    while (n >= 1024 && unit < 4) {
        n /= 1024;
        unit++;
    }
    bool whole = n == (double)(uint64_t)n;
    snprintf(out.text, sizeof out.text, "%.*f %s", whole ? 0 : 1, n, units[unit]);
    return out;
}

struct table_text table_duration(double seconds)
{
    struct table_text out;
    uint64_t s = (uint64_t)seconds;
    if (s < 60)
        snprintf(out.text, sizeof out.text, "%.1f s", seconds);
    else if (s < 3600)
        snprintf(out.text, sizeof out.text, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out.text, sizeof out.text, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
    else
        snprintf(out.text, sizeof out.text, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
    return out;
}
