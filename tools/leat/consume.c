/* leat consume: records onto stdout, from all partitions of some topics, from those that were named, or as a member of a
 * group. Options, signals, and the readers' lives: see consume.h.
 */
#include "consume.h"
#include "group.h"
#include "options.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- signals ---- */

static volatile sig_atomic_t stopping;
static leat_consumer *volatile woken; /* the only reader: in the thread that takes signals */

static void on_signal(int sig)
{
    (void)sig;
    stopping = 1;
    if (woken)
        leat_consumer_wakeup(woken);
}

/* The second signal kills: stdout may be a pipe that nobody empties. */
static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)(SA_RESETHAND | SA_RESTART) };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool consume_is_stopped(void)
{
    return stopping;
}

/* ---- options ---- */

static struct place read_place(const struct cli *cli, const char *text)
{
    if (strcmp(text, "beginning") == 0 || strcmp(text, "earliest") == 0)
        return (struct place){ AT_BEGINNING, 0 };
    if (strcmp(text, "end") == 0 || strcmp(text, "latest") == 0)
        return (struct place){ AT_END, 0 };
    if (strcmp(text, "stored") == 0)
        return (struct place){ AT_STORED, 0 };
    if (strncmp(text, "s@", 2) == 0)
        return (struct place){ AT_TIME, options_number(cli, "-o s@", text + 2, 0, INT64_MAX) };
    if (*text == '-')
        return (struct place){ AT_LAST, options_number(cli, "-o -", text + 1, 0, INT64_MAX) };
    char *end;
    errno = 0;
    long long offset = strtoll(text, &end, 10);
    if (end == text || *end || errno || offset < 0)
        cli_misused(cli, "-o '%s': has to be beginning, end, stored, an offset, -N or s@MS", text);
    return (struct place){ AT_OFFSET, offset };
}

static void add_partition(struct consume *c, const char *text)
{
    if (c->partition_count == PARTITIONS_MOST)
        cli_misused(c->cli, "-p: at most %d", PARTITIONS_MOST);
    c->partitions[c->partition_count++] = (uint32_t)options_number(c->cli, "-p", text, 0, INT32_MAX);
}

enum {
    OPT_IDLE_EXIT = 1000,
    OPT_RESET,
    OPT_GATE,
    OPT_CLIENT_ID,
    OPT_MAX_POLL_RECORDS,
    OPT_TRACE,
    /* of a group */
    OPT_ASSIGNOR,
    OPT_COMMIT,
    OPT_INSTANCE_ID,
    OPT_MAX_POLL_INTERVAL,
    OPT_REBALANCE_TIMEOUT,
    OPT_SESSION_TIMEOUT,
    OPT_JOIN_DELAY,
    OPT_ALONE,
    OPT_REJOIN,
    OPT_INSTANCES,
};

static const struct option longs[] = {
    { "group", required_argument, NULL, 'g' },
    { "partition", required_argument, NULL, 'p' },
    { "offset", required_argument, NULL, 'o' },
    { "count", required_argument, NULL, 'c' },
    { "exit", no_argument, NULL, 'e' },
    { "format", required_argument, NULL, 'f' },
    { "idle-exit", required_argument, NULL, OPT_IDLE_EXIT },
    { "reset", required_argument, NULL, OPT_RESET },
    { "gate", no_argument, NULL, OPT_GATE },
    { "client-id", required_argument, NULL, OPT_CLIENT_ID },
    { "max-poll-records", required_argument, NULL, OPT_MAX_POLL_RECORDS },
    { "trace-rebalance", no_argument, NULL, OPT_TRACE },
    { "assignor", required_argument, NULL, OPT_ASSIGNOR },
    { "commit", required_argument, NULL, OPT_COMMIT },
    { "instance-id", required_argument, NULL, OPT_INSTANCE_ID },
    { "max-poll-interval", required_argument, NULL, OPT_MAX_POLL_INTERVAL },
    { "rebalance-timeout", required_argument, NULL, OPT_REBALANCE_TIMEOUT },
    { "session-timeout", required_argument, NULL, OPT_SESSION_TIMEOUT },
    { "join-delay", required_argument, NULL, OPT_JOIN_DELAY },
    { "alone", no_argument, NULL, OPT_ALONE },
    { "rejoin", no_argument, NULL, OPT_REJOIN },
    { "instances", required_argument, NULL, OPT_INSTANCES },
    OPTIONS_COMMON,
};

/* What only goes with -g. */
static void take_group_option(struct consume *c, int option)
{
    static const char *const commits[] = { "auto", "sync", "none", NULL };
    const struct cli *cli = c->cli;
    leat_consumer_options *options = &c->options;
    switch (option) {
    case OPT_ASSIGNOR:
        options->assignor = (enum leat_assignor)options_word(cli, "--assignor", optarg, group_assignors);
        break;
    case OPT_COMMIT:
        c->commit = (enum commit)options_word(cli, "--commit", optarg, commits);
        break;
    case OPT_INSTANCE_ID:
        options->instance_id = optarg;
        break;
    case OPT_MAX_POLL_INTERVAL:
        options->max_poll_interval_ms = options_time_ms(cli, "--max-poll-interval", optarg);
        break;
    case OPT_REBALANCE_TIMEOUT:
        options->rebalance_timeout_ms = options_time_ms(cli, "--rebalance-timeout", optarg);
        break;
    case OPT_SESSION_TIMEOUT:
        options->session_timeout_ms = options_time_ms(cli, "--session-timeout", optarg);
        break;
    case OPT_JOIN_DELAY:
        options->join_delay_ms = options_time_ms(cli, "--join-delay", optarg);
        break;
    case OPT_ALONE:
        options->alone = 1;
        break;
    case OPT_REJOIN:
        options->rejoin = 1;
        break;
    default:
        c->instances = (int)options_number(cli, "--instances", optarg, 1, INSTANCES_MOST);
    }
}

static void take_option(struct consume *c, int option)
{
    const struct cli *cli = c->cli;
    switch (option) {
    case 'g':
        c->options.group = optarg;
        break;
    case 'p':
        add_partition(c, optarg);
        break;
    case 'o':
        c->from = read_place(cli, optarg);
        break;
    case 'c':
        c->count = options_number(cli, "-c", optarg, 0, INT64_MAX);
        break;
    case 'e':
        c->to_end = true;
        break;
    case 'f':
        format_free(&c->format);
        format_parse(&c->format, cli, optarg);
        break;
    case OPT_IDLE_EXIT:
        c->idle_ms = options_time_ms(cli, "--idle-exit", optarg);
        break;
    case OPT_GATE:
        c->options.gate = 1;
        break;
    case OPT_CLIENT_ID:
        c->options.client_id = optarg;
        break;
    case OPT_MAX_POLL_RECORDS:
        c->options.max_poll_records = (uint32_t)options_number(cli, "--max-poll-records", optarg, 1, 1000000);
        break;
    case OPT_TRACE:
        c->trace = true;
        break;
    default:
        take_group_option(c, option);
    }
}

static enum leat_reset read_reset(const struct cli *cli)
{
    static const char *const resets[] = { "latest", "earliest", "error", NULL };
    return (enum leat_reset)options_word(cli, "--reset", optarg, resets);
}

static const char *option_name(int option)
{
    const struct option *o = longs;
    while (o->name && o->val != option)
        o++;
    return o->name;
}

/* `group_option`: one that was given and only goes with -g, or 0. */
static void check_company(struct consume *c, int group_option)
{
    bool grouped = c->options.group;
    if (group_option && !grouped)
        cli_misused(c->cli, "--%s goes with -g", option_name(group_option));
    if (c->from.kind == AT_STORED && !grouped)
        cli_misused(c->cli, "-o stored goes with -g");
    if (c->from.kind == AT_DEFAULT)
        c->from.kind = grouped ? AT_STORED : AT_END;
    for (int i = 0; i < c->topic_count; i++)
        if (c->topics[i][0] == '^' && !consume_is_member(c))
            cli_misused(c->cli, "%s: a pattern goes with -g, and without -p", c->topics[i]);
    if (c->instances > 1 && c->partition_count > 0)
        cli_misused(c->cli, "--instances: with -p there is no membership that could be divided");
    if (c->instances > 1 && c->options.alone)
        cli_misused(c->cli, "--instances %d and --alone: one or the other", c->instances);
    if (c->commit != COMMIT_AUTO)
        c->options.auto_commit_ms = 0;
}

static void read_options(struct consume *c, struct cli *cli, int argc, char **argv)
{
    int group_option = 0, reset = -1;
    *c = (struct consume){ .cli = cli,
                           .count = -1,
                           .idle_ms = -1,
                           .instances = 1,
                           .lock = PTHREAD_MUTEX_INITIALIZER,
                           .options = LEAT_CONSUMER_OPTIONS };
    format_parse(&c->format, cli, "%s\\n");
    for (int option; (option = options_next(cli, argc, argv, "g:p:o:c:ef:", longs)) >= 0;) {
        if (option >= OPT_ASSIGNOR)
            group_option = option;
        if (option == OPT_RESET)
            reset = (int)read_reset(cli);
        else
            take_option(c, option);
    }
    if (optind == argc)
        cli_misused(cli, "which topic?");
    c->topics = (const char *const *)argv + optind;
    c->topic_count = argc - optind;
    check_company(c, group_option);
    /* On its own, who fell behind goes on where the least is lost. */
    c->options.reset = reset >= 0 ? (enum leat_reset)reset : c->options.group ? LEAT_LATEST : LEAT_EARLIEST;
    if (c->count > 0 && c->count < c->options.max_poll_records)
        c->options.max_poll_records = (uint32_t)c->count;
}

/* ---- ending ---- */

void consume_end(struct consume *c)
{
    if (c->ended)
        return;
    c->ended = true;
    for (int i = 0; i < c->instances; i++)
        if (c->readers[i].in)
            leat_consumer_wakeup(c->readers[i].in);
}

void consume_fail(struct consume *c, const char *format, ...)
{
    char why[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    pthread_mutex_lock(&c->lock);
    tally_progress_end(&c->tally);
    if (!c->failed)
        cli_fail(c->cli, "%s", why);
    c->failed = true;
    consume_end(c);
    pthread_mutex_unlock(&c->lock);
}

/* ---- readers ---- */

static int assign_named(struct reader *reader)
{
    const struct consume *c = reader->consume;
    int count = c->topic_count * c->partition_count;
    leat_partition *named = cli_have(calloc((size_t)count, sizeof *named));
    for (int i = 0; i < count; i++)
        named[i] = (leat_partition){ c->topics[i / c->partition_count],
                                     c->partitions[i % c->partition_count] };
    int r = leat_consumer_assign(reader->in, named, count);
    free(named);
    return r;
}

/* The options are the same for all but for the static name: ID-1, ID-2 ... when there are several. */
static leat_consumer_options options_of(struct reader *reader, int number)
{
    const struct consume *c = reader->consume;
    leat_consumer_options options = c->options;
    parts_listen(reader, &options);
    if (options.instance_id && c->instances > 1) {
        snprintf(reader->instance_id, sizeof reader->instance_id, "%s-%d", options.instance_id, number + 1);
        options.instance_id = reader->instance_id;
    }
    return options;
}

static int begin(struct reader *reader)
{
    struct consume *c = reader->consume;
    int number = (int)(reader - c->readers);
    leat_consumer_options options = options_of(reader, number);
    leat_consumer *in = NULL;
    int r = leat_open(&reader->bus, c->cli->bus);
    if (r >= 0)
        r = leat_consumer_open(&in, reader->bus, &options);
    if (r < 0)
        return r;
    pthread_mutex_lock(&c->lock);
    reader->in = in; /* from here on it can be woken */
    pthread_mutex_unlock(&c->lock);
    if (c->instances == 1)
        woken = in;
    r = c->partition_count ? assign_named(reader)
                           : leat_consumer_subscribe(reader->in, c->topics, c->topic_count);
    return r < 0 || consume_is_member(c) ? r : parts_begin(reader);
}

static void run_reader(struct reader *reader)
{
    int r = begin(reader);
    reader->began = r >= 0;
    if (reader->began)
        read_all(reader);
    else
        consume_fail(reader->consume, "%s", cli_why(r));
}

/* ---- several readers ---- */

/* SIGUSR1 is the last reader's word to the main thread. */
static void *run_thread(void *user)
{
    struct reader *reader = user;
    struct consume *c = reader->consume;
    run_reader(reader);
    pthread_mutex_lock(&c->lock);
    if (--c->running == 0)
        pthread_kill(c->main_thread, SIGUSR1);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* Returns how many there are. */
static int start_threads(struct consume *c)
{
    int started = 0, error = 0;
    c->main_thread = pthread_self();
    pthread_mutex_lock(&c->lock); /* none ends before all are counted */
    while (started < c->instances && !error) {
        struct reader *reader = &c->readers[started];
        error = pthread_create(&reader->thread, NULL, run_thread, reader);
        started += !error;
    }
    c->running = started;
    pthread_mutex_unlock(&c->lock);
    if (error)
        consume_fail(c, "thread %d: %s", started + 1, strerror(error));
    return started;
}

/* Until a signal says stop, or all have ended by themselves. */
static void wait_for_signal(struct consume *c, const sigset_t *ours)
{
    int sig = SIGUSR1;
    bool running = true;
    while (sig == SIGUSR1 && running) {
        sigwait(ours, &sig);
        pthread_mutex_lock(&c->lock);
        running = c->running > 0;
        if (sig != SIGUSR1)
            consume_end(c);
        pthread_mutex_unlock(&c->lock);
    }
}

/* Signals are waited for, not caught: they are blocked in every thread. */
static void run_threads(struct consume *c)
{
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &ours, NULL);
    int started = start_threads(c);
    if (started > 0)
        wait_for_signal(c, &ours);
    signal(SIGINT, SIG_DFL); /* the second one kills */
    signal(SIGTERM, SIG_DFL);
    sigdelset(&ours, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
    for (int i = 0; i < started; i++)
        pthread_join(c->readers[i].thread, NULL);
}

/* Commits and leaves: the callbacks run a last time. Returns whether any has read. */
static bool close_readers(struct consume *c)
{
    bool began = false;
    woken = NULL;
    c->ended = true; /* nobody is to be woken any more */
    for (int i = 0; i < c->instances; i++) {
        leat_consumer_close(c->readers[i].in);
        leat_close(c->readers[i].bus);
        parts_free(&c->readers[i]);
        began |= c->readers[i].began;
    }
    return began;
}

/* ---- the command ---- */

static void run(struct consume *c)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    c->idle_since_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    c->readers = cli_have(calloc((size_t)c->instances, sizeof *c->readers));
    for (int i = 0; i < c->instances; i++)
        c->readers[i].consume = c;
    tally_begin(&c->tally);
    if (c->instances == 1)
        run_reader(&c->readers[0]);
    else
        run_threads(c);
    if (close_readers(c))
        tally_print(&c->tally);
    free(c->readers);
    tally_free(&c->tally);
}

int consume_main(struct cli *cli, int argc, char **argv)
{
    static struct consume c;
    read_options(&c, cli, argc, argv);
    catch_signals();
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    run(&c);
    format_free(&c.format);
    if (c.broken_pipe) { /* `leat consume ... | head`: quietly, and as whoever waits for us expects it */
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    return c.failed ? CLI_FAILED : CLI_DONE;
}
