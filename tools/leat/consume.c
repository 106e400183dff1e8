/* leat consume: records onto stdout, from all partitions of some topics or from those that were named.
 *
 * What one poll gave is printed and flushed before the next poll, which is when views end and, with --gate, when the bus is
 * told that these records were read: whatever was let go of has been written.
 */
#include "cli.h"
#include "format.h"
#include "options.h"
#include "tally.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PARTITIONS_MOST = 4096, END_LOOK_MS = 50 };

/* -o: where to begin. */
struct place {
    enum { AT_END, AT_BEGINNING, AT_OFFSET, AT_LAST, AT_TIME, AT_STORED } kind;
    int64_t number; /* the offset, how many, or the time in ms */
};

/* One partition that is read. */
struct part {
    const char *topic;
    uint32_t partition;
    int64_t end; /* with -e: where to stop */
    bool done;   /* it is there, and paused */
};

struct consume {
    const struct cli *cli;
    /* as asked for */
    const char *const *topics;
    int topic_count;
    uint32_t partitions[PARTITIONS_MOST];
    int partition_count; /* 0: all */
    struct place from;
    int64_t count; /* still to print; -1: no end */
    bool to_end;
    int64_t idle_ms; /* -1: for ever */
    bool trace;
    struct format format;
    leat_consumer_options options;
    /* at work */
    leat_consumer *in;
    struct part *parts;
    int part_count;
    bool broken_pipe;
    struct tally tally;
};

/* ---- signals ---- */

static leat_consumer *volatile woken;
static volatile sig_atomic_t stopping;

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

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
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

static void refuse_group_option(const struct cli *cli, const char *name)
{
    exit(
        cli_fail(cli,
                 "%s: groups come with a later version; without one, every consumer reads all partitions, or "
                 "those that -p names",
                 name));
}

enum {
    OPT_IDLE_EXIT = 1000,
    OPT_RESET,
    OPT_GATE,
    OPT_CLIENT_ID,
    OPT_MAX_POLL_RECORDS,
    OPT_TRACE,
    OPT_ASSIGNOR,
    OPT_COMMIT,
    OPT_INSTANCE_ID,
    OPT_MAX_POLL_INTERVAL,
    OPT_INSTANCES,
};

static void take_option(struct consume *c, int option)
{
    static const char *const resets[] = { "latest", "earliest", "error", NULL };
    const struct cli *cli = c->cli;
    switch (option) {
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
    case OPT_RESET:
        c->options.reset = (enum leat_reset)options_word(cli, "--reset", optarg, resets);
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
    case 'g':
        refuse_group_option(cli, "-g");
        break;
    case OPT_ASSIGNOR:
        refuse_group_option(cli, "--assignor");
        break;
    case OPT_COMMIT:
        refuse_group_option(cli, "--commit");
        break;
    case OPT_INSTANCE_ID:
        refuse_group_option(cli, "--instance-id");
        break;
    case OPT_MAX_POLL_INTERVAL:
        refuse_group_option(cli, "--max-poll-interval");
        break;
    default:
        refuse_group_option(cli, "--instances");
    }
}

static void read_options(struct consume *c, struct cli *cli, int argc, char **argv)
{
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
        { "instances", required_argument, NULL, OPT_INSTANCES },
        OPTIONS_COMMON,
    };
    *c = (struct consume){ .cli = cli, .count = -1, .idle_ms = -1, .options = LEAT_CONSUMER_OPTIONS };
    c->options.reset = LEAT_EARLIEST; /* who fell behind goes on where the least is lost */
    format_parse(&c->format, cli, "%s\\n");
    for (int option; (option = options_next(cli, argc, argv, "g:p:o:c:ef:", longs)) >= 0;)
        take_option(c, option);
    if (optind == argc)
        cli_misused(cli, "which topic?");
    if (c->from.kind == AT_STORED)
        refuse_group_option(cli, "-o stored");
    c->topics = (const char *const *)argv + optind;
    c->topic_count = argc - optind;
    if (c->count > 0 && c->count < c->options.max_poll_records)
        c->options.max_poll_records = (uint32_t)c->count;
}

/* ---- beginning ---- */

static void on_missed(leat_consumer *in, const leat_partition *partition, uint64_t from_offset,
                      uint64_t count, void *user)
{
    (void)in;
    struct consume *c = user;
    tally_progress_end(&c->tally);
    fprintf(stderr, "leat: consume: %s-%" PRIu32 ": %" PRIu64 " records missed from offset %" PRIu64 "\n",
            partition->topic, partition->partition, count, from_offset);
}

static int assign_named(struct consume *c)
{
    int count = c->topic_count * c->partition_count;
    leat_partition *named = cli_have(calloc((size_t)count, sizeof *named));
    for (int i = 0; i < count; i++)
        named[i] = (leat_partition){ c->topics[i / c->partition_count],
                                     c->partitions[i % c->partition_count] };
    int r = leat_consumer_assign(c->in, named, count);
    free(named);
    return r;
}

/* *to: an offset, LEAT_BEGINNING or LEAT_END. */
static int place_in(struct consume *c, const struct part *part, int64_t *to)
{
    int64_t end, first;
    switch (c->from.kind) {
    case AT_BEGINNING:
        *to = LEAT_BEGINNING;
        return 0;
    case AT_OFFSET:
        *to = c->from.number;
        return 0;
    case AT_TIME:
        *to = leat_consumer_offset_for_time(c->in, part->topic, part->partition, c->from.number);
        return *to < 0 ? (int)*to : 0;
    case AT_LAST:
        end = leat_consumer_end_offset(c->in, part->topic, part->partition);
        first = leat_consumer_beginning_offset(c->in, part->topic, part->partition);
        *to = end - first > c->from.number ? end - c->from.number : first;
        return end < 0 ? (int)end : first < 0 ? (int)first : 0;
    default:
        *to = LEAT_END;
        return 0;
    }
}

/* Puts one partition where -o says, and with -e notes where it ends now. */
static int place(struct consume *c, struct part *part)
{
    int64_t to;
    int r = place_in(c, part, &to);
    if (r >= 0)
        r = leat_consumer_seek(c->in, part->topic, part->partition, to);
    if (r < 0)
        return r;
    if (c->to_end)
        part->end = leat_consumer_end_offset(c->in, part->topic, part->partition);
    if (part->end < 0)
        return (int)part->end;
    tally_add(&c->tally, part->topic, part->partition, 0, 0);
    if (c->trace)
        fprintf(stderr, "leat: consume: assigned %s-%" PRIu32 " at %" PRId64 "\n", part->topic,
                part->partition, leat_consumer_position(c->in, part->topic, part->partition));
    return 0;
}

static int place_all(struct consume *c)
{
    const leat_partition *assigned;
    int count = leat_consumer_assignment(c->in, &assigned);
    if (count < 0)
        return count;
    c->parts = cli_have(calloc((size_t)count + 1, sizeof *c->parts));
    c->part_count = count;
    for (int i = 0; i < count; i++) { /* copies: the assignment holds until the next call */
        c->parts[i].topic = cli_have(strdup(assigned[i].topic));
        c->parts[i].partition = assigned[i].partition;
    }
    for (int i = 0; i < count; i++) {
        int r = place(c, &c->parts[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

static int begin(struct consume *c, leat_bus *bus)
{
    c->options.on_missed = on_missed;
    c->options.user = c;
    int r = leat_consumer_open(&c->in, bus, &c->options);
    if (r < 0)
        return cli_fail_error(c->cli, r);
    woken = c->in;
    r = c->partition_count ? assign_named(c) : leat_consumer_subscribe(c->in, c->topics, c->topic_count);
    if (r >= 0)
        r = place_all(c);
    return r < 0 ? cli_fail_error(c->cli, r) : CLI_DONE;
}

/* ---- reading ---- */

static struct part *part_of(struct consume *c, const leat_record *record)
{
    for (int i = 0; i < c->part_count; i++)
        if (c->parts[i].partition == record->partition && strcmp(c->parts[i].topic, record->topic) == 0)
            return &c->parts[i];
    return NULL;
}

/* With -e, what came after the end that we noted is not printed: the end is where it was, however busy the topic is. */
static bool beyond_end(struct consume *c, const leat_record *record)
{
    if (!c->to_end)
        return false;
    const struct part *part = part_of(c, record);
    return part && record->offset >= (uint64_t)part->end;
}

/* A partition that is done is paused: what comes after its end is for others. */
static bool all_read(struct consume *c)
{
    bool all = c->to_end;
    for (int i = 0; c->to_end && i < c->part_count; i++) {
        struct part *part = &c->parts[i];
        if (part->done)
            continue;
        part->done = leat_consumer_position(c->in, part->topic, part->partition) >= part->end;
        if (part->done)
            leat_consumer_pause(c->in, part->topic, part->partition);
        all &= part->done;
    }
    return all;
}

static bool print_records(struct consume *c, const leat_record *records, int count)
{
    int64_t now_ns = c->format.wants_delivery ? clock_ns(CLOCK_REALTIME) : 0;
    for (int i = 0; i < count && c->count != 0; i++) {
        const leat_record *record = &records[i];
        if (beyond_end(c, record))
            continue;
        if (c->cli->json)
            format_print_json(record, stdout);
        else
            format_print(&c->format, record, now_ns, stdout);
        tally_add(&c->tally, record->topic, record->partition, 1, record->key_size + record->value_size);
        c->count -= c->count > 0;
    }
    if (fflush(stdout) == 0)
        return true;
    c->broken_pipe = errno == EPIPE;
    if (!c->broken_pipe)
        cli_fail(c->cli, "cannot write to stdout: %s", strerror(errno));
    return false;
}

/* How long the next poll may wait. With -e it looks at its end every now and then: gaps at the end are no records. */
static int64_t wait_ms(const struct consume *c, int64_t idle_since_ns, bool came_dry)
{
    int64_t wait = -1;
    if (c->idle_ms >= 0) {
        wait = c->idle_ms - (clock_ns(CLOCK_MONOTONIC) - idle_since_ns) / 1000000;
        wait = wait < 0 ? 0 : wait;
    }
    int64_t look = came_dry ? END_LOOK_MS : 0;
    return c->to_end && (wait < 0 || wait > look) ? look : wait;
}

static int fail_reading(struct consume *c, int error)
{
    tally_progress_end(&c->tally);
    return cli_fail_error(c->cli, error);
}

static int read_all(struct consume *c)
{
    int64_t idle_since = clock_ns(CLOCK_MONOTONIC);
    bool came_dry = false;
    while (!stopping && c->count != 0 && !all_read(c)) {
        const leat_record *records;
        int n = leat_consumer_poll(c->in, wait_ms(c, idle_since, came_dry), &records);
        if (n == LEAT_EWAKEUP)
            break;
        if (n < 0)
            return fail_reading(c, n);
        if (n > 0 && !print_records(c, records, n))
            return CLI_FAILED;
        came_dry = n == 0;
        int64_t now = clock_ns(CLOCK_MONOTONIC);
        if (n > 0)
            idle_since = now;
        else if (c->idle_ms >= 0 && now - idle_since >= c->idle_ms * 1000000)
            break;
        tally_progress(&c->tally);
    }
    return CLI_DONE;
}

/* ---- the command ---- */

int consume_main(struct cli *cli, int argc, char **argv)
{
    static struct consume c;
    read_options(&c, cli, argc, argv);
    catch_signals();
    leat_bus *bus = cli_open(cli);
    if (!bus)
        return CLI_FAILED;
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    tally_begin(&c.tally);
    int status = begin(&c, bus);
    if (status == CLI_DONE) {
        status = read_all(&c);
        tally_print(&c.tally);
    }
    woken = NULL;
    leat_consumer_close(c.in);
    leat_close(bus);
    for (int i = 0; i < c.part_count; i++)
        free((char *)c.parts[i].topic);
    free(c.parts);
    format_free(&c.format);
    tally_free(&c.tally);
    if (c.broken_pipe) { /* `leat consume ... | head`: quietly, and as whoever waits for us expects it */
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    return status;
}
