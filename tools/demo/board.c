/* board: see board.h. */
#include "board.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REDRAW_NS = 200000000 };
#define INDENT "           "

void board_open(struct board *board, const struct crew *crew)
{
    *board = (struct board){ .crew = crew, .begin_ns = now_ns(), .live = isatty(STDOUT_FILENO) };
}

struct names partition_names(unsigned partitions)
{
    struct names names = { "" };
    for (int p = 0; p < PARTITIONS; p++) {
        size_t size = strlen(names.text);
        if (partitions & 1u << p)
            snprintf(names.text + size, sizeof names.text - size, "%s" DEMO_TOPIC "-%d", size ? " " : "", p);
    }
    return names;
}

struct grouped grouped(uint64_t n)
{
    char plain[32];
    struct grouped out;
    size_t size = (size_t)snprintf(plain, sizeof plain, "%" PRIu64, n), to = 0;
    for (size_t i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            out.text[to++] = ',';
        out.text[to++] = plain[i];
    }
    out.text[to] = 0;
    return out;
}

/* ---- the table ---- */

static void write_partition(FILE *to, const leat_group_partition_info *part)
{
    int64_t committed = part->current_offset < 0 ? 0 : part->current_offset;
    fprintf(to, INDENT "%s-%-2" PRIu32 "  %-12s  %7" PRId32 "  %9s  %9s  %7s\n", part->topic, part->partition,
            part->client_id ? part->client_id : "-", part->pid, grouped((uint64_t)committed).text,
            grouped(part->log_end_offset).text, grouped((uint64_t)(part->lag < 0 ? 0 : part->lag)).text);
}

static void write_members(FILE *to, const leat_group_info *info)
{
    int idle = 0;
    for (int i = 0; i < info->member_count; i++)
        idle += info->members[i].partition_count == 0;
    fprintf(to, INDENT "%s: %s, generation %" PRIu64 ", %d member%s", info->group, info->state,
            info->generation, info->member_count, info->member_count == 1 ? "" : "s");
    for (int i = 0; i < info->member_count; i++)
        if (info->members[i].partition_count == 0)
            fprintf(to, "%s%s", idle > 0 ? "; idle: " : ", ", info->members[i].client_id), idle = 0;
    fputc('\n', to);
}

static void write_counted(FILE *to, const struct board *board)
{
    const struct news *counted = &board->crew->hands[COUNTER].last;
    fprintf(to, INDENT DEMO_COUNTERS ": %s orders of %" PRIu64 " customers, %.2f on average\n",
            grouped(counted->orders).text, counted->customers,
            counted->orders ? (double)counted->cents / 100 / (double)counted->orders : 0);
}

/* Nothing when the group cannot be described now. */
static void write_table(FILE *to, const struct board *board)
{
    leat_group_info *info;
    if (!board->bus || leat_group_describe(board->bus, DEMO_GROUP, &info) < 0)
        return;
    fprintf(to, INDENT "%-9s  %-12s  %7s  %9s  %9s  %7s\n", "PARTITION", "OWNER", "PROCESS", "COMMITTED",
            "END", "LAG");
    for (int i = 0; i < info->partition_count; i++)
        write_partition(to, &info->partitions[i]);
    write_members(to, info);
    write_counted(to, board);
    leat_group_info_free(info);
}

/* ---- the screen ---- */

static void wipe(struct board *board)
{
    if (board->shown > 0)
        printf("\033[%dA\033[J", board->shown);
    board->shown = 0;
}

static int count_lines(const char *text)
{
    int lines = 0;
    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

/* Prints the table; returns its lines. */
static int print_table(const struct board *board)
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    if (!memory)
        return 0;
    write_table(memory, board);
    fclose(memory);
    fputs(text, stdout);
    int lines = count_lines(text);
    free(text);
    return lines;
}

static void draw(struct board *board)
{
    if (board->live)
        board->shown = print_table(board);
    board->last_ns = now_ns();
    fflush(stdout);
}

__attribute__((format(printf, 2, 0))) static void say(struct board *board, const char *format, va_list args)
{
    wipe(board);
    printf("%7.3f    ", (double)(now_ns() - board->begin_ns) / 1e9);
    vprintf(format, args);
    putchar('\n');
    draw(board);
}

void board_say(struct board *board, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(board, format, args);
    va_end(args);
}

void board_title(struct board *board, const char *format, ...)
{
    va_list args;
    wipe(board);
    va_start(args, format);
    putchar('\n');
    vprintf(format, args);
    putchar('\n');
    va_end(args);
    draw(board);
}

void board_table(struct board *board)
{
    wipe(board);
    print_table(board);
    fflush(stdout);
}

void board_refresh(struct board *board)
{
    if (!board->live || now_ns() - board->last_ns < REDRAW_NS)
        return;
    wipe(board);
    draw(board);
}
