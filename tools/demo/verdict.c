/* verdict: see verdict.h. */
#include "verdict.h"

#include <inttypes.h>
#include <stdio.h>

#include "board.h"

enum { BAR = 30 };

static void print_partitions(const struct sink_report *report)
{
    int64_t most = 1;
    for (int p = 0; p < PARTITIONS; p++)
        most = report->of_partition[p] > most ? report->of_partition[p] : most;
    printf("\nstored:\n");
    for (int p = 0; p < PARTITIONS; p++) {
        printf("    " DEMO_TOPIC "-%d  %9s orders of %2" PRId64 " customers  ", p,
               grouped((uint64_t)report->of_partition[p]).text, report->customers_of_partition[p]);
        for (int64_t i = report->of_partition[p] * BAR / most; i > 0; i--)
            putchar('#');
        putchar('\n');
    }
    printf("    %s orders of %" PRId64 " customers, %.2f on average\n",
           grouped((uint64_t)report->orders).text, report->customers,
           report->orders ? (double)report->cents / 100 / (double)report->orders : 0);
}

static bool check(bool good, const char *what)
{
    printf("    %-6s  %s\n", good ? "ok" : "FAILED", what);
    return good;
}

/* From the kill to the heir's first record, the longest. */
static int64_t longest_us(const struct outcome *outcome)
{
    int64_t longest = 0;
    for (int p = 0; p < PARTITIONS; p++)
        if ((outcome->killed & 1u << p) && outcome->pauses[p].first_us > longest)
            longest = outcome->pauses[p].first_us;
    return longest;
}

static bool check_pause(const struct outcome *outcome)
{
    char text[160];
    snprintf(text, sizeof text,
             "a consumer was killed; from the kill to the first record at its heir: %s us%s",
             grouped((uint64_t)longest_us(outcome)).text,
             __builtin_popcount(outcome->killed) > 1 ? " at most" : "");
    return check(outcome->killed && longest_us(outcome) > 0, text);
}

static void print_again(const struct outcome *outcome)
{
    char text[160];
    snprintf(text, sizeof text,
             "no order is stored twice (%s came again: stored, and not committed before the kill)",
             grouped(outcome->again).text);
    check(true, text);
}

static bool check_store(const struct outcome *outcome, const struct sink_report *report, int64_t duplicates,
                        int64_t lost)
{
    int64_t customers = 0;
    for (int p = 0; p < PARTITIONS; p++)
        customers += report->customers_of_partition[p];
    bool good = check(lost == 0 && outcome->sent == (uint64_t)report->orders,
                      "every order that was sent is stored");
    if (duplicates == 0)
        print_again(outcome);
    else
        good = check(false, "no order is stored twice");
    good &= check(report->disorder == 0,
                  "the orders of each customer are stored in the order in which they were sent");
    good &= check(customers == report->customers, "each customer's orders are in one partition");
    return good;
}

static bool check_groups(const struct outcome *outcome, const struct sink_report *report)
{
    bool good = check(outcome->counted == outcome->sent && outcome->disorder == 0 &&
                          outcome->customers == (uint64_t)report->customers &&
                          outcome->cents == (uint64_t)report->cents,
                      "the other group has counted the same, each order once and in order");
    good &= check(outcome->counter_rebalances <= 1, "nobody there was disturbed: no rebalance but the first");
    good &= check(!outcome->shared, "no partition had two owners at any time");
    good &= check_pause(outcome);
    return good;
}

bool verdict(const struct outcome *outcome, const struct sink_report *report)
{
    int64_t duplicates = report->orders - report->distinct;
    int64_t sent = (int64_t)outcome->sent;
    int64_t lost = (sent > report->distinct ? sent - report->distinct : 0) + (int64_t)outcome->missing;
    print_partitions(report);
    printf("\nchecks:\n");
    bool good = check(outcome->told, "everything went as planned, and every process ended as it should");
    good &= check_store(outcome, report, duplicates, lost);
    good &= check_groups(outcome, report);
    printf("\ndemo: %" PRIu64 " sent, %" PRId64 " stored, %" PRId64 " duplicates, %" PRId64 " lost, %" PRId64
           " us\n",
           outcome->sent, report->orders, duplicates, lost, longest_us(outcome));
    return good;
}
