/* The demo: records of a real keyed input through a topic of three partitions to three reader processes, with a producer
 * that is killed in mid-stream. Everything is checked, and the last line says how it went:
 *
 *     demo: S sent, T received, D duplicates, L lost
 *
 *     leat-demo [--records N] [--kills N]
 *
 * First a flood: every record a send of its own, as fast as they go. The producer process is killed with -9 at some record,
 * and another goes on (writer.c says why nothing is lost or doubled by that). Then some seconds at a pace, because under a
 * flood one measures the queue: there the time from send to poll is taken.
 *
 * Exit: 0 all is well, 1 a check failed or something broke, 2 usage.
 */
#include "demo.h"
#include "story.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { FLOOD = 1000000, PACED = 60000, PACED_RATE = 10000, KILLS = 3 };

/* ---- latency ---- */

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* All latencies of all readers, sorted. */
static int64_t *gather(const struct board *board, uint64_t *count)
{
    *count = 0;
    for (int i = 0; i < PARTITIONS; i++)
        *count += board->results[i].latency_count;
    int64_t *all = calloc(*count + 1, sizeof *all), *to = all;
    for (int i = 0; all && i < PARTITIONS; i++) {
        memcpy(to, board->results[i].latencies_ns, board->results[i].latency_count * sizeof *to);
        to += board->results[i].latency_count;
    }
    if (all)
        qsort(all, *count, sizeof *all, by_size);
    return all;
}

static double microseconds(int64_t ns)
{
    return (double)ns / 1e3;
}

static void print_latency(const struct board *board)
{
    uint64_t count;
    int64_t *all = gather(board, &count);
    if (all && count > 0)
        printf(
            "\none way, %s records at a pace, from before the send to the return of poll in the reader's process:\n"
            "    p50 %.1f us   p99 %.1f us   max %.1f us\n"
            "    The reader sleeps between two records, so nearly all of it is the kernel waking a process up.\n"
            "    `tools/zig build bench -- latency` has the other figures, a reader that spins among them.\n",
            grouped(count).text, microseconds(all[count / 2]), microseconds(all[count * 99 / 100]),
            microseconds(all[count - 1]));
    free(all);
}

/* ---- partitions ---- */

static void print_chart(const struct board *board)
{
    struct winsize size = { 0 };
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    int width = (size.ws_col > 60 && size.ws_col < 200 ? size.ws_col : 80) - 45;
    uint64_t most = 1;
    for (int i = 0; i < PARTITIONS; i++)
        most = board->results[i].received > most ? board->results[i].received : most;
    printf("\nrecords per partition:\n");
    for (int i = 0; i < PARTITIONS; i++) {
        const struct result *result = &board->results[i];
        int bar = (int)((double)result->received * width / (double)most + 0.5);
        printf("    %s-%d  %9s of %3" PRIu64 " packages  ", DEMO_TOPIC, i, grouped(result->received).text,
               result->keys);
        while (bar-- > 0)
            putchar('#');
        putchar('\n');
    }
}

/* ---- checks ---- */

static bool check(bool good, const char *what)
{
    printf("    %-6s %s\n", good ? "ok" : "FAILED", what);
    return good;
}

/* How many of the records some reader has seen. */
static uint64_t distinct(const struct board *board)
{
    uint64_t count = 0;
    for (uint64_t byte = 0; byte < board->total / 8 + 1; byte++) {
        unsigned seen = 0;
        for (int i = 0; i < PARTITIONS; i++)
            seen |= board->results[i].seen[byte];
        count += (uint64_t)__builtin_popcount(seen);
    }
    return count;
}

static bool check_all(const struct board *board, const struct input *input, bool told)
{
    uint64_t received = 0, out_of_order = 0, damaged = 0, missed = 0, keys = 0;
    for (int i = 0; i < PARTITIONS; i++) {
        const struct result *result = &board->results[i];
        received += result->received;
        out_of_order += result->out_of_order;
        damaged += result->damaged;
        missed += result->missed;
        keys += result->keys;
    }
    uint64_t sent = board->sent, once = distinct(board), used = 0;
    uint64_t duplicates = received - damaged - once, lost = sent > once ? sent - once : 0;
    for (uint32_t i = 0; i < input->key_count; i++)
        used += input->keys[i].lines > 0;

    printf("\nchecks:\n");
    bool good = check(told && sent == board->total, "all was sent, and every process ended as it should");
    good &= check(received == sent && duplicates == 0 && lost == 0,
                  "every record received once: none twice, none missing, none that was not sent");
    good &= check(missed == 0, "nothing overwritten before it was read");
    good &= check(damaged == 0, "key, line and stamp of every record are those that were sent");
    good &= check(out_of_order == 0, "order per package: its running number always rose by one");
    good &= check(keys == used, "every package in one partition only");
    printf("\ndemo: %" PRIu64 " sent, %" PRIu64 " received, %" PRIu64 " duplicates, %" PRIu64 " lost\n", sent,
           received, duplicates, lost);
    return good;
}

/* ---- the program ---- */

static uint64_t read_number(const char *text, uint64_t min, uint64_t max)
{
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    if (end != text && !*end && n >= min && n <= max)
        return n;
    fprintf(stderr, "demo: '%s': has to be from %" PRIu64 " to %" PRIu64 "\n", text, min, max);
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        { "records", required_argument, NULL, 'r' },
        { "kills", required_argument, NULL, 'k' },
        { NULL, 0, NULL, 0 },
    };
    uint64_t records = FLOOD;
    int kills = KILLS;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) >= 0;) {
        if (c == 'r') {
            records = read_number(optarg, 100000, UINT64_C(1000000000));
        } else if (c == 'k') {
            kills = (int)read_number(optarg, 0, 20);
        } else {
            fputs("usage: leat-demo [--records N] [--kills N]\n", stderr);
            return 2;
        }
    }
    struct input input;
    struct board *board = board_make(records, PACED, PACED_RATE);
    bool told = story_tell(board, &input, kills);
    if (board->sent > 0) {
        print_chart(board);
        print_latency(board);
    }
    return check_all(board, &input, told) ? 0 : 1;
}
