/* What went through, partition by partition: see tally.h. */
#include "tally.h"
#include "cli.h"
#include "table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_NS (200 * INT64_C(1000000))

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void tally_begin(struct tally *tally)
{
    *tally = (struct tally){ .begin_ns = now_ns(), .terminal = isatty(STDERR_FILENO) };
    tally->shows_progress = tally->terminal && !isatty(STDOUT_FILENO);
}

double tally_seconds(const struct tally *tally)
{
    return (double)(now_ns() - tally->begin_ns) / 1e9;
}

static struct tally_row *find_row(struct tally *tally, const char *topic, uint32_t partition)
{
    for (size_t i = 0; i < tally->count; i++) {
        size_t at = (tally->last + i) % tally->count;
        struct tally_row *row = &tally->rows[at];
        if (row->partition == partition && strcmp(row->topic, topic) == 0) {
            tally->last = at;
            return row;
        }
    }
    return NULL;
}

bool tally_knows(struct tally *tally, const char *topic, uint32_t partition)
{
    return find_row(tally, topic, partition);
}

static struct tally_row *row_of(struct tally *tally, const char *topic, uint32_t partition)
{
    struct tally_row *row = find_row(tally, topic, partition);
    if (row)
        return row;
    tally->rows = cli_have(realloc(tally->rows, (tally->count + 1) * sizeof *tally->rows));
    tally->last = tally->count++;
    tally->rows[tally->last] = (struct tally_row){ cli_have(strdup(topic)), partition, 0 };
    return &tally->rows[tally->last];
}

void tally_add(struct tally *tally, const char *topic, uint32_t partition, uint64_t records, uint64_t bytes)
{
    row_of(tally, topic, partition)->records += records;
    tally->records += records;
    tally->bytes += bytes;
}

/* ---- progress ---- */

void tally_progress(struct tally *tally)
{
    if (!tally->shows_progress)
        return;
    int64_t now = now_ns();
    if (now - tally->begin_ns < PROGRESS_NS || now - tally->shown_ns < PROGRESS_NS)
        return;
    tally->shown_ns = now;
    double seconds = (double)(now - tally->begin_ns) / 1e9;
    fprintf(stderr, "\r%s records, %s, %s/s \033[K", table_count(tally->records).text,
            table_bytes(tally->bytes).text, table_count((uint64_t)((double)tally->records / seconds)).text);
}

void tally_progress_end(struct tally *tally)
{
    if (tally->shown_ns)
        fputs("\r\033[K", stderr);
    tally->shown_ns = 0;
}

/* ---- the end ---- */

static int by_name(const void *a, const void *b)
{
    const struct tally_row *x = a, *y = b;
    int order = strcmp(x->topic, y->topic);
    return order ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

static void print_chart(const struct tally *tally)
{
    struct winsize size = { 0 };
    ioctl(STDERR_FILENO, TIOCGWINSZ, &size);
    int width = size.ws_col > 20 ? size.ws_col : 80;
    int name_width = 0, count_width = 0;
    uint64_t most = 1;
    for (size_t i = 0; i < tally->count; i++) {
        const struct tally_row *row = &tally->rows[i];
        int name = snprintf(NULL, 0, "%s-%" PRIu32, row->topic, row->partition);
        int count = (int)strlen(table_count(row->records).text);
        name_width = name > name_width ? name : name_width;
        count_width = count > count_width ? count : count_width;
        most = row->records > most ? row->records : most;
    }
    int bar_max = width - name_width - count_width - 7;
    for (size_t i = 0; i < tally->count; i++) {
        const struct tally_row *row = &tally->rows[i];
        char name[300];
        snprintf(name, sizeof name, "%s-%" PRIu32, row->topic, row->partition);
        fprintf(stderr, "  %-*s  %*s  ", name_width, name, count_width, table_count(row->records).text);
        int bar = bar_max > 0 ? (int)((double)row->records * bar_max / (double)most + 0.5) : 0;
        for (int j = 0; j < bar; j++)
            fputc('#', stderr);
        fputc('\n', stderr);
    }
}

void tally_print(struct tally *tally)
{
    double seconds = tally_seconds(tally);
    tally_progress_end(tally);
    if (tally->count > 0)
        qsort(tally->rows, tally->count, sizeof tally->rows[0], by_name);
    tally->last = 0;
    if (tally->terminal) {
        fprintf(stderr, "%s records, %s in %.3f s (%s/s)\n", table_count(tally->records).text,
                table_bytes(tally->bytes).text, seconds,
                table_count(seconds > 0 ? (uint64_t)((double)tally->records / seconds) : 0).text);
        print_chart(tally);
        return;
    }
    fprintf(stderr, "%" PRIu64 " records, %" PRIu64 " bytes in %.3f s\n", tally->records, tally->bytes,
            seconds);
    for (size_t i = 0; i < tally->count; i++)
        fprintf(stderr, "%s-%" PRIu32 ": %" PRIu64 "\n", tally->rows[i].topic, tally->rows[i].partition,
                tally->rows[i].records);
}

void tally_free(struct tally *tally)
{
    for (size_t i = 0; i < tally->count; i++)
        free(tally->rows[i].topic);
    free(tally->rows);
    *tally = (struct tally){ 0 };
}
