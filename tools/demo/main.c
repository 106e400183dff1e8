/* The demo: a pipeline of food orders, through a topic of three partitions into a database, while consumers come, go and
 * die. Everything is checked, and the last line says how it went; P is the longest time from the kill of a consumer to the
 * first record that the heir of one of its partitions gets:
 *
 *     demo: S sent, T stored, D duplicates, L lost, P us
 *
 *     leat-demo [--seconds N] [--rate N] [--quick] [--sink sqlite|postgres] [--keep DIR] [--postgres CONNECTION]
 *
 *     --seconds   how long orders are sent; default 20
 *     --rate      orders a second; default 3000
 *     --quick     the same story in 4 seconds
 *     --keep      where the bus with its log (DIR/bus), the SQLite file (DIR/orders.db) and the producer's ledger are to
 *                 stay; otherwise they are in memory, and go. Where they are there already the demo goes on: however it
 *                 ended, and be it by a kill -9 of all its processes, S and T count what was sent and stored before, too.
 *                 On a disk P is longer when the one who is killed waits for that disk: it dies when that is over
 *     --postgres  what libpq takes for a connection; default: its own environment ($PGHOST ...). The table
 *                 leat_demo_orders is replaced, unless the demo goes on, and stays
 *
 * Its processes are this program again: `leat-demo producer`, `counter`, `consumer N`.
 *
 * Exit: 0 all is well, 1 a check failed or something broke, 2 usage.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bus.h"
#include "counter.h"
#include "crew.h"
#include "home.h"
#include "producer.h"
#include "verdict.h"
#include "worker.h"

#define WHERE "LEAT_DEMO_WHERE"   /* of the store, for consumers: a connection may have a password in it */
#define LEDGER "LEAT_DEMO_LEDGER" /* the file, for the producer */

struct settings {
    double seconds, rate;
    const struct sink_kind *sink;
    const char *keep;
    const char *postgres;
};

static int usage(void)
{
    fputs("usage: leat-demo [--seconds N] [--rate N] [--quick] [--sink sqlite|postgres] [--keep DIR]\n"
          "                 [--postgres CONNECTION]\n",
          stderr);
    return 2;
}

/* 0: has complained. */
static double read_number(const char *text, double min, double max)
{
    char *end;
    double n = strtod(text, &end);
    if (end != text && !*end && n >= min && n <= max)
        return n;
    fprintf(stderr, "demo: '%s': has to be from %g to %g\n", text, min, max);
    return 0;
}

static bool take_option(int option, struct settings *settings)
{
    switch (option) {
    case 's':
        return (settings->seconds = read_number(optarg, 2, 3600)) > 0;
    case 'r':
        return (settings->rate = read_number(optarg, 100, 100000)) > 0;
    case 'q':
        settings->seconds = 4;
        return true;
    case 'k':
        settings->keep = optarg;
        return true;
    case 'p':
        settings->postgres = optarg;
        return true;
    case 'i':
        settings->sink = sink_find(optarg);
        if (!settings->sink)
            fprintf(stderr, "demo: sink '%s': sqlite or postgres\n", optarg);
        return settings->sink != NULL;
    default:
        usage();
        return false;
    }
}

static bool read_options(int argc, char **argv, struct settings *settings)
{
    static const struct option longs[] = {
        { "seconds", required_argument, NULL, 's' },
        { "rate", required_argument, NULL, 'r' },
        { "quick", no_argument, NULL, 'q' },
        { "sink", required_argument, NULL, 'i' },
        { "keep", required_argument, NULL, 'k' },
        { "postgres", required_argument, NULL, 'p' },
        { NULL, 0, NULL, 0 },
    };
    *settings = (struct settings){ .seconds = 20, .rate = 3000, .sink = &sink_sqlite, .postgres = "" };
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) >= 0;)
        if (!take_option(c, settings))
            return false;
    return optind == argc || (usage(), false);
}

/* ---- the parent ---- */

/* What both databases take for an order, the log's records, and some room. */
static uint64_t needed_bytes(const struct settings *settings)
{
    return (uint64_t)(settings->seconds * settings->rate) * 400 + (32u << 20);
}

/* Whether there is a topic of an earlier life. A store that is not there any more, or another one, gets all of it again. */
static bool look_back(struct plan *plan)
{
    leat_bus *bus;
    leat_topic_info *info;
    leat_offset beginning[PARTITIONS];
    int r = leat_open(&bus, plan->bus);
    if (r >= 0)
        r = leat_topic_describe(bus, DEMO_TOPIC, &info);
    plan->goes_on = r >= 0;
    if (r >= 0)
        leat_topic_info_free(info);
    if (r == LEAT_ENOTOPIC)
        r = 0;
    bool good = r >= 0 && sink_make(plan->sink, plan->where, !plan->goes_on, &plan->stored_before);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        beginning[p] = (leat_offset){ DEMO_TOPIC, p, LEAT_BEGINNING, NULL };
    if (good && plan->goes_on && plan->stored_before == 0)
        r = leat_group_reset(bus, DEMO_GROUP, beginning, PARTITIONS);
    if (r < 0)
        complain("bus", bus, r);
    leat_close(bus);
    return good && r >= 0;
}

static void print_head(const struct plan *plan)
{
    printf("bus %s, topic " DEMO_TOPIC " with %d partitions, orders of %d customers\n", plan->bus, PARTITIONS,
           CUSTOMERS);
    if (plan->sink == &sink_sqlite)
        printf("group " DEMO_GROUP " stores them: %s\n", plan->where);
    else
        printf("group " DEMO_GROUP " stores them: %s, table " SINK_TABLE "\n", plan->sink->name);
    printf("group " DEMO_COUNTERS " counts them\n\n");
    fflush(stdout);
}

static int run_on(const struct settings *settings)
{
    struct plan plan = {
        .seconds = settings->seconds,
        .rate = settings->rate,
        .sink = settings->sink,
        .bus = home_path("bus"),
        .where = settings->sink == &sink_sqlite ? home_path("orders.db") : settings->postgres,
    };
    struct outcome outcome;
    struct sink_report report;
    setenv("LEAT_BUS", plan.bus, 1);
    setenv(WHERE, plan.where, 1);
    setenv(LEDGER, home_path("ledger"), 1);
    if (!look_back(&plan))
        return 1;
    print_head(&plan);
    story_tell(&plan, &outcome);
    if (outcome.interrupted || !sink_report(plan.sink, plan.where, &report))
        return 1;
    return verdict(&outcome, &report) ? 0 : 1;
}

static int run(int argc, char **argv)
{
    struct settings settings;
    if (!read_options(argc, argv, &settings))
        return 2;
    story_catch_signals();
    if (!home_make(settings.keep, needed_bytes(&settings)))
        return 1;
    int status = bus_start(home_path("bus"), home_path("leatd.log")) ? run_on(&settings) : 1;
    if (!bus_stop())
        status = 1;
    home_leave();
    return status;
}

/* ---- the others ---- */

static int run_consumer(const char *number, const char *sink)
{
    char name[32];
    const char *where = getenv(WHERE);
    const struct sink_kind *kind = sink_find(sink);
    int n = atoi(number);
    snprintf(name, sizeof name, "consumer-%d", n);
    return kind && where && n >= 1 && n <= WORKERS ? worker_main(FIRST_WORKER + n - 1, name, kind, where) : 2;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "counter") == 0)
        return counter_main(COUNTER);
    if (argc == 3 && strcmp(argv[1], "producer") == 0)
        return getenv(LEDGER) ? producer_main(PRODUCER, atof(argv[2]), getenv(LEDGER)) : 2;
    if (argc == 4 && strcmp(argv[1], "consumer") == 0)
        return run_consumer(argv[2], argv[3]);
    return run(argc, argv);
}
