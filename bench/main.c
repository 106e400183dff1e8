/*
 * The bench program: `tools/zig build bench -- latency|throughput|rebalance|scaling|durable|regress REV|where [options]`. Always built
 * for speed. Compare ratios of one run, not figures of two: bench.h and report.c say how.
 */
#include "bench.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "usage: bench latency|throughput [--json] [--seconds S] [--rounds N] [--case FILTER]\n"
    "       bench rebalance [--json] [--rounds N] [--case FILTER] [--quick]\n"
    "       bench scaling [--json] [--seconds S] [--rounds N] [--case FILTER] [--work-us US] [--quick]\n"
    "       bench durable [--json] [--seconds S] [--rounds N] [--case FILTER] [--log-mib N] [--quick]\n"
    "       bench regress REV [--json] [--seconds S] [--rounds N] [--case FILTER]\n"
    "       bench where\n"
    "\n"
    "  latency         one way from process to process, floor and leat, spinning and blocking\n"
    "  throughput      lossless streams: single, batch, exclusive, shared, keyed 4 x 4\n"
    "  rebalance       join, leave and kill -9 to the first record at the new owner; what a commit costs\n"
    "  scaling         3 and 6 members of a group over one, with 1 ms of work a record\n"
    "  durable         acknowledged at level durable, replay and recovery, beside the bare disk\n"
    "  regress REV     this tree against revision REV of its repository, interleaved\n"
    "  where           prints the paths of this program and of its leatd (for regress)\n"
    "\n"
    "  --json          one JSON object a line\n"
    "  --seconds S     measured time of a case, all rounds together (default 1; regress 0.2 a run)\n"
    "  --rounds N      rounds of a case (default 5, rebalance 200); pairs of runs for regress (default 7)\n"
    "  --case FILTER   cases whose names contain FILTER, and their floors\n"
    "  --log-mib N     size of the log that is recovered (durable; default 2048)\n"
    "  --work-us US    what a record takes (scaling; default 1000)\n"
    "  --quick         few and short rounds: whether it runs, not how fast\n"
    "\n"
    "Exit: 0 done, 1 a case failed, 2 usage.\n";

static int misused(const char *what)
{
    fprintf(stderr, "bench: %s\n%s", what, usage);
    return 2;
}

/* Returns 0, 2 on misuse, or -1 when help was asked for and given. */
static int parse(int argc, char **argv, struct bench_options *options)
{
    static const struct option names[] = {
        { "json", no_argument, NULL, 'j' },
        { "seconds", required_argument, NULL, 's' },
        { "rounds", required_argument, NULL, 'r' },
        { "case", required_argument, NULL, 'c' },
        { "quick", no_argument, NULL, 'q' },
        { "work-us", required_argument, NULL, 'w' },
        { "log-mib", required_argument, NULL, 'l' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    for (int o; (o = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        char *end = NULL;
        switch (o) {
        case 'j':
            options->json = true;
            break;
        case 's':
            options->seconds = strtod(optarg, &end);
            if (*end || !(options->seconds > 0 && options->seconds <= 600))
                return misused("--seconds takes a number above 0, up to 600");
            break;
        case 'r':
            options->rounds = (int)strtol(optarg, &end, 10);
            if (*end || options->rounds < 1 || options->rounds > 2000)
                return misused("--rounds takes 1 to 64, with rebalance to 2000");
            break;
        case 'c':
            options->filter = optarg;
            break;
        case 'q':
            options->quick = true;
            break;
        case 'w':
            options->work_us = (uint32_t)strtoul(optarg, &end, 10);
            if (*end || options->work_us < 1 || options->work_us > 1000000)
                return misused("--work-us takes 1 to 1000000");
            break;
        case 'l':
            options->log_mib = strtoull(optarg, &end, 10);
            if (*end || options->log_mib < 1 || options->log_mib > 1 << 20)
                return misused("--log-mib takes 1 to 1048576");
            break;
        case 'h':
            fputs(usage, stdout);
            return -1;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    return 0;
}

static int where(void)
{
    char program[4096], leatd[4096];
    if (bench_where(program, leatd, sizeof leatd) != 0)
        return 1;
    printf("%s\n%s\n", program, leatd);
    return 0;
}

struct bench {
    const char *name;
    int (*run)(const struct bench_options *);
    double seconds, quick_seconds;
    int rounds, quick_rounds, max_rounds;
};

static const struct bench benches[] = {
    { "latency", bench_latency, 1, 0.02, 5, 1, BENCH_MAX_ROUNDS },
    { "throughput", bench_throughput, 1, 0.02, 5, 1, BENCH_MAX_ROUNDS },
    { "rebalance", bench_rebalance, 0, 0, 200, 2, 2000 }, /* all rounds are alike: no seconds */
    { "scaling", bench_scaling, 5, 0.1, 5, 1, BENCH_MAX_ROUNDS },
    { "durable", bench_durable, 2, 0.05, 5, 1, BENCH_MAX_ROUNDS },
};

static int measure(const struct bench *bench, struct bench_options *options)
{
    if (options->seconds == 0)
        options->seconds = options->quick ? bench->quick_seconds : bench->seconds;
    if (options->rounds == 0)
        options->rounds = options->quick ? bench->quick_rounds : bench->rounds;
    if (options->work_us == 0)
        options->work_us = 1000;
    if (options->rounds > bench->max_rounds)
        return misused("--rounds takes 1 to 64, with rebalance to 2000");
    if (bench_clock_init() != 0 || bench_cpus_init() != 0)
        return 1;
    bench_report_machine(options);
    int failed = bench->run(options);
    if (failed > 0)
        fprintf(stderr, "bench: %d case%s failed\n", failed, failed == 1 ? "" : "s");
    return failed > 0;
}

int main(int argc, char **argv)
{
    struct bench_options options = { 0 };
    int r = parse(argc, argv, &options);
    if (r != 0)
        return r < 0 ? 0 : r;
    signal(SIGCHLD, SIG_DFL); /* were it ignored, children could not be waited for */
    const char *command = optind < argc ? argv[optind] : "",
               *revision = optind + 1 < argc ? argv[optind + 1] : NULL;
    bool regress = strcmp(command, "regress") == 0;
    if (regress != (revision != NULL) || argc - optind > 2)
        return misused(regress ? "regress takes one revision" : "one sub-command, please");
    if (regress && options.rounds > BENCH_MAX_ROUNDS)
        return misused("--rounds takes 1 to 64, with rebalance to 2000");
    if (regress)
        return bench_regress(revision, &options);
    for (size_t i = 0; i < sizeof benches / sizeof benches[0]; i++)
        if (strcmp(command, benches[i].name) == 0)
            return measure(&benches[i], &options);
    if (strcmp(command, "where") == 0)
        return where();
    return misused(*command ? "no such sub-command"
                            : "latency, throughput, rebalance, scaling, durable or regress?");
}
