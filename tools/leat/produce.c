/* leat produce: stdin into a topic, a record a line.
 *
 * One read gives a block, the block is cut into records that stay where they are, and what one block gave is sent
 * in batches: a pipe that brings a line at a time is sent a line at a time, a file is sent as fast as it comes.
 * Records keep their order: those that a batch left over are tried again, in order, before anything else is sent.
 */
#include "cli.h"
#include "format.h"
#include "input.h"
#include "json.h"
#include "options.h"
#include "tally.h"
#include "topic.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BATCH_DEFAULT = 500, BATCH_MOST = 65536, HEADERS_MOST = 64 };

struct produce {
    const struct cli *cli;
    /* as asked for */
    const char *topic;
    char *separator; /* NULL: no keys */
    size_t separator_size;
    char *delimiter;
    size_t delimiter_size;
    bool empty_is_null;
    leat_header headers[HEADERS_MOST];
    size_t header_count;
    int64_t partition; /* -1: by key */
    size_t batch;
    double rate; /* records a second; 0: as they come */
    bool keep_going;
    bool has_format;
    struct format format;
    leat_producer_options options;
    /* at work */
    leat_producer *out;
    leat_record *records;
    leat_receipt *receipts;
    size_t count;    /* records in the batch */
    uint64_t number; /* records read so far */
    int64_t due_ns;  /* when the next record may leave, with a rate */
    uint64_t failed;
    bool broken_pipe;
    struct tally tally;
};

static volatile sig_atomic_t stopped_by;

static void on_signal(int sig)
{
    stopped_by = sig;
}

/* Once, and without SA_RESTART: a read ends with it, and the second signal kills. */
static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };
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

static void add_header(struct produce *p, char *text)
{
    if (p->header_count == HEADERS_MOST)
        cli_misused(p->cli, "-H: at most %d", HEADERS_MOST);
    char *equals = strchr(text, '=');
    leat_header *header = &p->headers[p->header_count++];
    header->name = text;
    header->name_size = equals ? (size_t)(equals - text) : strlen(text);
    header->value = equals ? equals + 1 : NULL;
    header->value_size = equals ? strlen(equals + 1) : 0;
    if (header->name_size == 0)
        cli_misused(p->cli, "-H '%s': wants NAME=VALUE", text);
}

/* Bytes of -K or -D; at least one. */
static char *read_bytes(const struct cli *cli, const char *name, char *text, size_t *size)
{
    *size = options_unescape(cli, name, text);
    if (*size == 0)
        cli_misused(cli, "%s: wants at least one character", name);
    return text;
}

static double read_rate(const struct cli *cli, const char *text)
{
    char *end;
    double rate = strtod(text, &end);
    if (end == text || *end || !(rate > 0 && rate < 1e9))
        cli_misused(cli, "--rate '%s': wants records a second", text);
    return rate;
}

static int fixed_partition(const char *topic, const void *key, size_t key_size, uint32_t partitions,
                           void *user)
{
    (void)topic, (void)key, (void)key_size, (void)partitions;
    const struct produce *p = user;
    return (int)p->partition;
}

enum {
    OPT_PARTITIONER = 1000,
    OPT_BATCH,
    OPT_RATE,
    OPT_LEVEL,
    OPT_EXCLUSIVE,
    OPT_ON_ERROR,
    OPT_FULL_TIMEOUT,
};

static void take_option(struct produce *p, int c)
{
    static const char *const reactions[] = { "stop", "continue", NULL };
    const struct cli *cli = p->cli;
    switch (c) {
    case 'K':
        p->separator = read_bytes(cli, "-K", optarg, &p->separator_size);
        break;
    case 'D':
        p->delimiter = read_bytes(cli, "-D", optarg, &p->delimiter_size);
        break;
    case 'Z':
        p->empty_is_null = true;
        break;
    case 'H':
        add_header(p, optarg);
        break;
    case 'p':
        p->partition = options_number(cli, "-p", optarg, 0, INT32_MAX);
        break;
    case 'f':
        format_free(&p->format);
        format_parse(&p->format, cli, optarg);
        p->has_format = true;
        break;
    case OPT_PARTITIONER:
        p->options.partitioner = (enum leat_partitioner)(
            LEAT_XXH3 + options_word(cli, "--partitioner", optarg, topic_partitioners));
        break;
    case OPT_BATCH:
        p->batch = (size_t)options_number(cli, "--batch", optarg, 1, BATCH_MOST);
        break;
    case OPT_RATE:
        p->rate = read_rate(cli, optarg);
        break;
    case OPT_LEVEL:
        p->options.level = (enum leat_level)options_word(cli, "--level", optarg, topic_levels);
        break;
    case OPT_EXCLUSIVE:
        p->options.exclusive = 1;
        break;
    case OPT_ON_ERROR:
        p->keep_going = options_word(cli, "--on-error", optarg, reactions) == 1;
        break;
    default:
        p->options.full_timeout_ms = options_time_ms(cli, "--full-timeout", optarg);
    }
}

static void read_options(struct produce *p, struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {
        { "key-separator", required_argument, NULL, 'K' },
        { "delimiter", required_argument, NULL, 'D' },
        { "header", required_argument, NULL, 'H' },
        { "partition", required_argument, NULL, 'p' },
        { "format", required_argument, NULL, 'f' },
        { "partitioner", required_argument, NULL, OPT_PARTITIONER },
        { "batch", required_argument, NULL, OPT_BATCH },
        { "rate", required_argument, NULL, OPT_RATE },
        { "level", required_argument, NULL, OPT_LEVEL },
        { "exclusive", no_argument, NULL, OPT_EXCLUSIVE },
        { "on-error", required_argument, NULL, OPT_ON_ERROR },
        { "full-timeout", required_argument, NULL, OPT_FULL_TIMEOUT },
        OPTIONS_COMMON,
    };
    static char newline[] = "\n";
    *p = (struct produce){
        .cli = cli,
        .delimiter = newline,
        .delimiter_size = 1,
        .partition = -1,
        .batch = BATCH_DEFAULT,
        .options = LEAT_PRODUCER_OPTIONS,
    };
    for (int c; (c = options_next(cli, argc, argv, "K:D:ZH:p:f:", longs)) >= 0;)
        take_option(p, c);
    if (optind == argc)
        cli_misused(cli, "which topic?");
    if (optind + 1 < argc)
        cli_misused(cli, "'%s': one topic at a time", argv[optind + 1]);
    p->topic = argv[optind];
    if (p->partition >= 0 && p->options.partitioner != LEAT_PARTITIONER_TOPIC)
        cli_misused(cli, "-p and --partitioner: one or the other");
    if (p->partition >= 0) {
        p->options.partitioner = LEAT_CALLBACK;
        p->options.partition_of = fixed_partition;
        p->options.user = p;
    }
}

/* ---- sending ---- */

/* Says why a record was not taken, and whether to go on. */
static bool failed(struct produce *p, const leat_record *record, int error, const char *why)
{
    uint64_t number = p->number - p->count + (uint64_t)(record - p->records) + 1;
    p->failed++;
    tally_progress_end(&p->tally);
    cli_fail(p->cli, "record %" PRIu64 ": %s", number, why);
    return p->keep_going && (error == LEAT_ETOOBIG || error == LEAT_EFULL);
}

/* The records of a batch that were not taken, one by one and in order: either there is room now, or we learn why not.
 * `waited`: the batch has waited for room as long as one may. */
static bool send_leftovers(struct produce *p, const leat_record *records, leat_receipt *receipts,
                           size_t count, bool waited)
{
    for (size_t i = 0; i < count && !stopped_by; i++) {
        if (receipts[i].offset != UINT64_MAX)
            continue;
        int r = waited ? LEAT_EFULL : leat_producer_send(p->out, &records[i], &receipts[i]);
        if (r < 0)
            receipts[i].offset = UINT64_MAX;
        if (r < 0 && !failed(p, &records[i], r, waited ? leat_strerror(r) : cli_why(r)))
            return false;
        waited = false;
    }
    return true;
}

static void print_receipt(struct produce *p, const leat_record *record, const leat_receipt *receipt,
                          int64_t now_ns)
{
    leat_record printed = *record;
    printed.topic = p->topic;
    printed.partition = receipt->partition;
    printed.offset = receipt->offset;
    format_print(&p->format, &printed, now_ns, stdout);
}

/* What was taken is counted, and printed once it is acknowledged. */
static bool account(struct produce *p, const leat_record *records, const leat_receipt *receipts, size_t count)
{
    int r = p->has_format ? leat_producer_flush(p->out, p->options.full_timeout_ms) : 0;
    if (r < 0) {
        cli_fail_error(p->cli, r);
        return false;
    }
    int64_t now_ns = p->format.wants_delivery ? clock_ns(CLOCK_REALTIME) : 0;
    for (size_t i = 0; i < count; i++) {
        if (receipts[i].offset == UINT64_MAX)
            continue;
        tally_add(&p->tally, p->topic, receipts[i].partition, 1, records[i].key_size + records[i].value_size);
        if (p->has_format)
            print_receipt(p, &records[i], &receipts[i], now_ns);
    }
    if (p->has_format && fflush(stdout) != 0) {
        p->broken_pipe = errno == EPIPE;
        if (!p->broken_pipe)
            cli_fail(p->cli, "cannot write to stdout: %s", strerror(errno));
        return false;
    }
    tally_progress(&p->tally);
    return true;
}

static bool send_some(struct produce *p, const leat_record *records, leat_receipt *receipts, size_t count)
{
    int64_t begin_ns = clock_ns(CLOCK_MONOTONIC), timeout_ns = p->options.full_timeout_ms * 1000000;
    for (size_t i = 0; i < count; i++)
        receipts[i].offset = UINT64_MAX;
    int r = leat_producer_send_many(p->out, records, count, receipts);
    bool on = true;
    if (r < 0 || (size_t)r < count) {
        bool waited = r == LEAT_EFULL ||
                      (timeout_ns > 0 && clock_ns(CLOCK_MONOTONIC) - begin_ns >= timeout_ns);
        on = send_leftovers(p, records, receipts, count, waited);
    }
    return account(p, records, receipts, count) && on;
}

/* How many of `count` records may leave now, at least one: waits until that is so. A schedule, not a pause between records:
 * what a late wake-up cost is made good, but not more than a tenth of a second of it. */
static size_t await_turn(struct produce *p, size_t count)
{
    if (p->rate <= 0)
        return count;
    int64_t now = clock_ns(CLOCK_MONOTONIC), late_most = INT64_C(100000000);
    if (p->due_ns < now - late_most)
        p->due_ns = p->due_ns == 0 ? now : now - late_most;
    while (now < p->due_ns && !stopped_by) {
        struct timespec due = { p->due_ns / INT64_C(1000000000), p->due_ns % INT64_C(1000000000) };
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        now = clock_ns(CLOCK_MONOTONIC);
    }
    double may = (double)(now - p->due_ns) * p->rate / 1e9 + 1;
    size_t n = may < 1 ? 1 : may > (double)count ? count : (size_t)may;
    p->due_ns += (int64_t)((double)n * 1e9 / p->rate);
    return n;
}

static bool send_batch(struct produce *p)
{
    bool on = true;
    for (size_t sent = 0; sent < p->count && on && !stopped_by;) {
        size_t n = await_turn(p, p->count - sent);
        if (stopped_by)
            break;
        on = send_some(p, p->records + sent, p->receipts + sent, n);
        sent += n;
    }
    p->count = 0;
    return on && !stopped_by;
}

/* ---- reading ---- */

static void add_record(struct produce *p, char *bytes, size_t size, int64_t now_ms)
{
    leat_record *record = &p->records[p->count++];
    *record = (leat_record){
        .value = bytes,
        .value_size = size,
        .headers = p->header_count ? p->headers : NULL,
        .header_count = p->header_count,
        .timestamp_ms = now_ms,
    };
    char *separator = p->separator ? memmem(bytes, size, p->separator, p->separator_size) : NULL;
    if (separator) {
        record->key = bytes;
        record->key_size = (size_t)(separator - bytes);
        record->value = separator + p->separator_size;
        record->value_size = size - record->key_size - p->separator_size;
    }
    if (p->empty_is_null && record->key_size == 0)
        record->key = NULL;
    if (p->empty_is_null && record->value_size == 0)
        record->value = NULL;
    p->number++;
}

/* Everything that stands in the buffer, in batches. */
static bool send_block(struct produce *p, struct input *input)
{
    char *bytes;
    size_t size;
    /* %T shows what the record has, so then it is we who stamp it. */
    int64_t now_ms = p->format.wants_timestamp ? clock_ns(CLOCK_REALTIME) / 1000000 : 0;
    while (input_next(input, &bytes, &size)) {
        add_record(p, bytes, size, now_ms);
        if (p->count == p->batch && !send_batch(p))
            return false;
    }
    return send_batch(p);
}

static int send_input(struct produce *p)
{
    struct input input;
    int r = input_begin(&input, STDIN_FILENO, p->delimiter, p->delimiter_size);
    bool on = r == 0;
    while (on && !stopped_by && !input.ended) {
        r = input_fill(&input);
        if (r < 0)
            break;
        on = send_block(p, &input);
    }
    input_end(&input);
    if (r < 0 && r != -EINTR)
        return cli_fail(p->cli, "cannot read stdin: %s", strerror(-r));
    return on && p->failed == 0 ? CLI_DONE : CLI_FAILED;
}

/* ---- the end ---- */

static void print_json(const struct produce *p, double seconds)
{
    struct json json = { .out = stdout };
    json_open(&json, '{');
    json_key(&json, "records");
    json_uint(&json, p->tally.records);
    json_key(&json, "bytes");
    json_uint(&json, p->tally.bytes);
    json_key(&json, "seconds");
    json_float(&json, seconds);
    json_key(&json, "partitions");
    json_open(&json, '{');
    for (size_t i = 0; i < p->tally.count; i++) {
        char name[16];
        snprintf(name, sizeof name, "%" PRIu32, p->tally.rows[i].partition);
        json_key(&json, name);
        json_uint(&json, p->tally.rows[i].records);
    }
    json_close(&json, '}');
    json_key(&json, "failed");
    json_uint(&json, p->failed);
    json_close(&json, '}');
    putchar('\n');
}

static int open_producer(struct produce *p, leat_bus *bus)
{
    int r = leat_producer_open(&p->out, bus, p->topic, &p->options);
    if (r < 0)
        return topic_fail(p->cli, p->topic, r);
    int partitions = leat_producer_partitions(p->out);
    if (p->partition >= partitions)
        return cli_fail(p->cli, "%s has no partition %" PRId64 ", its last one is %d", p->topic, p->partition,
                        partitions - 1);
    for (int i = 0; i < partitions; i++)
        tally_add(&p->tally, p->topic, (uint32_t)i, 0, 0);
    return CLI_DONE;
}

static int produce(struct produce *p)
{
    int status = send_input(p);
    int r = leat_producer_flush(p->out, p->options.full_timeout_ms);
    if (r < 0)
        status = cli_fail_error(p->cli, r);
    if (p->cli->json && !p->broken_pipe)
        print_json(p, tally_seconds(&p->tally));
    if (!p->cli->json)
        tally_print(&p->tally);
    return status;
}

int produce_main(struct cli *cli, int argc, char **argv)
{
    static struct produce p;
    read_options(&p, cli, argc, argv);
    leat_bus *bus = cli_open(cli);
    if (!bus)
        return CLI_FAILED;
    p.records = cli_have(calloc(p.batch, sizeof *p.records));
    p.receipts = cli_have(calloc(p.batch, sizeof *p.receipts));
    catch_signals();
    tally_begin(&p.tally);
    int status = open_producer(&p, bus);
    if (status == CLI_DONE)
        status = produce(&p);
    leat_producer_close(p.out);
    leat_close(bus);
    format_free(&p.format);
    tally_free(&p.tally);
    free(p.records);
    free(p.receipts);
    if (stopped_by || p.broken_pipe) { /* as whoever waits for us expects it */
        fflush(stdout);
        signal(p.broken_pipe ? SIGPIPE : stopped_by, SIG_DFL);
        raise(p.broken_pipe ? SIGPIPE : stopped_by);
    }
    return status;
}
