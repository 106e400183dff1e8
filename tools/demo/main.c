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
 *     --keep      where the SQLite file is to stay, as DIR/orders.db; otherwise it is in memory, beside the bus, and goes
 *                 with it. On a disk P is longer when the one who is killed waits for that disk: it dies when that is over
 *     --postgres  what libpq takes for a connection; default: its own environment ($PGHOST ...). The table
 *                 leat_demo_orders is replaced, and stays
 *
 * Its processes are this program again: `leat-demo producer`, `counter`, `consumer N`.
 *
 * Exit: 0 all is well, 1 a check failed or something broke, 2 usage.
 */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus.h"
#include "counter.h"
#include "crew.h"
#include "producer.h"
#include "verdict.h"
#include "worker.h"

#define WHERE "LEAT_DEMO_WHERE" /* of the store, for consumers: a connection may have a password in it */

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

/* An earlier file goes, with what SQLite keeps beside it. */
static void remove_file(const char *path)
{
    static const char *const behind[] = { "", "-wal", "-shm" };
    char beside[PATH_MAX + 8];
    for (size_t i = 0; i < sizeof behind / sizeof behind[0]; i++) {
        snprintf(beside, sizeof beside, "%s%s", path, behind[i]);
        unlink(beside);
    }
}

/* The SQLite file: in a directory that is to stay, or in the bus's, which goes. */
static const char *choose_file(const struct settings *settings, const char *bus)
{
    static char path[PATH_MAX];
    if (settings->keep)
        mkdir(settings->keep, 0777);
    snprintf(path, sizeof path, "%s/orders.db", settings->keep ? settings->keep : bus);
    remove_file(path);
    return path;
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

static int run_on(const struct settings *settings, const char *bus)
{
    struct plan plan = {
        .seconds = settings->seconds, .rate = settings->rate, .sink = settings->sink, .bus = bus
    };
    struct outcome outcome;
    struct sink_report report;
    plan.where = plan.sink == &sink_sqlite ? choose_file(settings, bus) : settings->postgres;
    setenv("LEAT_BUS", bus, 1);
    setenv(WHERE, plan.where, 1);
    if (!sink_make(plan.sink, plan.where))
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
    char bus[128];
    if (!read_options(argc, argv, &settings))
        return 2;
    story_catch_signals();
    int status = bus_start(bus, sizeof bus) ? run_on(&settings, bus) : 1;
    return bus_stop() ? status : 1;
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
        return producer_main(PRODUCER, atof(argv[2]));
    if (argc == 4 && strcmp(argv[1], "consumer") == 0)
        return run_consumer(argv[2], argv[3]);
    return run(argc, argv);
}
