/* leat group reset-offsets: moves the committed offsets of a group that has no members.
 *
 * Everything is found out first: what is there now, where it is to go, and whether that lies within what the partition has. Then
 * one call sets it. Another command between the two can only have made the table older than it says.
 */
#include "group.h"
#include "options.h"
#include "table.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* One partition: where it was and where it goes. */
struct move {
    char *topic;
    uint32_t partition;
    int64_t first, end;   /* what the partition has */
    int64_t current, now; /* current -1: none is committed */
    int64_t asked;        /* before it was put within bounds */
};

struct reset {
    const struct cli *cli;
    const char *group;
    enum { TO_NOTHING, TO_EARLIEST, TO_LATEST, TO_OFFSET, TO_TIME, SHIFT_BY } to;
    int64_t number; /* the offset, the time in ms, or by how many */
    bool dry_run;
    char **topics; /* of --topic, as given */
    int topic_count;
    struct move *moves;
    int count, room;
};

/* ---- times ---- */

/* So many digits at *at, which moves behind them; -1 when there are others. */
static int digits(const char **at, int count)
{
    int number = 0;
    for (int i = 0; i < count; i++, ++*at) {
        if (!isdigit((unsigned char)**at))
            return -1;
        number = 10 * number + (**at - '0');
    }
    return number;
}

static bool skip(const char **at, char c)
{
    if (**at != c)
        return false;
    ++*at;
    return true;
}

/* Any number of digits; what is below a millisecond is dropped. */
static int read_fraction_ms(const char **at)
{
    int ms = 0, scale = 100;
    if (!isdigit((unsigned char)**at))
        return -1;
    for (; isdigit((unsigned char)**at); ++*at, scale /= 10)
        ms += scale * (**at - '0');
    return ms;
}

/* Nothing, Z, +HH, +HHMM or +HH:MM, in seconds. */
static bool read_zone(const char **at, int *zone_s)
{
    *zone_s = 0;
    if (!**at || skip(at, 'Z'))
        return true;
    int sign = skip(at, '+') ? 1 : skip(at, '-') ? -1 : 0;
    int hours = sign ? digits(at, 2) : -1, minutes = 0;
    if (hours >= 0 && **at) {
        skip(at, ':');
        minutes = digits(at, 2);
    }
    *zone_s = sign * (3600 * hours + 60 * minutes);
    return hours >= 0 && hours <= 23 && minutes >= 0 && minutes <= 59;
}

/* HH:MM, HH:MM:SS or HH:MM:SS.f behind the T. */
static bool read_clock(const char **at, struct tm *tm, int *ms)
{
    tm->tm_hour = digits(at, 2);
    bool good = tm->tm_hour >= 0 && skip(at, ':');
    tm->tm_min = good ? digits(at, 2) : -1;
    if (good && skip(at, ':'))
        tm->tm_sec = digits(at, 2);
    if (good && skip(at, '.'))
        *ms = read_fraction_ms(at);
    return good && tm->tm_hour <= 23 && tm->tm_min >= 0 && tm->tm_min <= 59 && tm->tm_sec >= 0 &&
           tm->tm_sec <= 60 && *ms >= 0;
}

static bool read_date(const char **at, struct tm *tm)
{
    int year = digits(at, 4);
    bool good = year >= 1970 && skip(at, '-');
    int month = good ? digits(at, 2) : -1;
    good = good && month >= 1 && month <= 12 && skip(at, '-');
    tm->tm_mday = good ? digits(at, 2) : -1;
    tm->tm_year = year - 1900;
    tm->tm_mon = month - 1;
    return good && tm->tm_mday >= 1;
}

/* ISO 8601, UTC without a zone as in Kafka's script; or @MS. */
static int64_t read_time(const struct cli *cli, const char *text)
{
    struct tm tm = { 0 };
    int ms = 0, zone_s = 0;
    const char *at = text;
    if (skip(&at, '@'))
        return options_number(cli, "--to-datetime @", at, 0, INT64_MAX);
    bool good = read_date(&at, &tm);
    int day = tm.tm_mday;
    if (good && (skip(&at, 'T') || skip(&at, ' ')))
        good = read_clock(&at, &tm, &ms) && read_zone(&at, &zone_s);
    int64_t seconds = good ? (int64_t)timegm(&tm) - zone_s : -1;
    if (!good || *at || tm.tm_mday != day || seconds < 0) /* timegm knows how long months are */
        cli_misused(cli,
                    "--to-datetime '%s': wants something like 2026-01-31, 2026-01-31T12:00:00.000+01:00 "
                    "or @MS",
                    text);
    return seconds * 1000 + ms;
}

/* ---- options ---- */

static void set_target(struct reset *reset, int to, int64_t number)
{
    if (reset->to != TO_NOTHING)
        cli_misused(reset->cli, "one of --to-earliest, --to-latest, --to-offset, --to-datetime, --shift-by");
    reset->to = to;
    reset->number = number;
}

static void add_topic(struct reset *reset, char *text)
{
    size_t bytes = (size_t)(reset->topic_count + 1) * sizeof *reset->topics;
    reset->topics = cli_have(realloc(reset->topics, bytes));
    reset->topics[reset->topic_count++] = text;
}

static void read_options(struct reset *reset, struct cli *cli, int argc, char **argv)
{
    enum { OPT_TOPIC = 1000, OPT_EARLIEST, OPT_LATEST, OPT_OFFSET, OPT_DATETIME, OPT_SHIFT, OPT_DRY_RUN };
    static const struct option longs[] = {
        { "topic", required_argument, NULL, OPT_TOPIC },
        { "to-earliest", no_argument, NULL, OPT_EARLIEST },
        { "to-latest", no_argument, NULL, OPT_LATEST },
        { "to-offset", required_argument, NULL, OPT_OFFSET },
        { "to-datetime", required_argument, NULL, OPT_DATETIME },
        { "shift-by", required_argument, NULL, OPT_SHIFT },
        { "dry-run", no_argument, NULL, OPT_DRY_RUN },
        OPTIONS_COMMON,
    };
    *reset = (struct reset){ .cli = cli };
    for (int c; (c = options_next(cli, argc, argv, "", longs)) >= 0;) {
        if (c == OPT_TOPIC)
            add_topic(reset, optarg);
        else if (c == OPT_EARLIEST)
            set_target(reset, TO_EARLIEST, 0);
        else if (c == OPT_LATEST)
            set_target(reset, TO_LATEST, 0);
        else if (c == OPT_OFFSET)
            set_target(reset, TO_OFFSET, options_number(cli, "--to-offset", optarg, 0, INT64_MAX));
        else if (c == OPT_DATETIME)
            set_target(reset, TO_TIME, read_time(cli, optarg));
        else if (c == OPT_SHIFT)
            set_target(reset, SHIFT_BY, options_number(cli, "--shift-by", optarg, -INT64_MAX, INT64_MAX));
        else
            reset->dry_run = true;
    }
    if (optind == argc)
        cli_misused(cli, "which group?");
    if (optind + 1 < argc)
        cli_misused(cli, "'%s': one group at a time", argv[optind + 1]);
    if (reset->topic_count == 0)
        cli_misused(cli, "which --topic?");
    if (reset->to == TO_NOTHING)
        cli_misused(cli, "where: --to-earliest, --to-latest, --to-offset, --to-datetime or --shift-by?");
    reset->group = argv[optind];
}

/* ---- which partitions ---- */

static void add_move(struct reset *reset, const leat_topic_info *info, uint32_t partition)
{
    const leat_partition_info *part = &info->partitions[partition];
    for (int i = 0; i < reset->count; i++)
        if (reset->moves[i].partition == partition && strcmp(reset->moves[i].topic, info->topic) == 0)
            return;
    if (reset->count == reset->room) {
        reset->room = reset->room ? 2 * reset->room : 16;
        reset->moves = cli_have(realloc(reset->moves, (size_t)reset->room * sizeof *reset->moves));
    }
    reset->moves[reset->count++] = (struct move){ .topic = cli_have(strdup(info->topic)),
                                                  .partition = partition,
                                                  .first = (int64_t)part->log_start_offset,
                                                  .end = (int64_t)part->log_end_offset,
                                                  .current = -1 };
}

/* "0,2,5" behind the colon; NULL: all. */
static int add_listed(struct reset *reset, const leat_topic_info *info, char *list)
{
    for (uint32_t i = 0; !list && i < info->partition_count; i++)
        add_move(reset, info, i);
    for (char *one; (one = strsep(&list, ","));) {
        int64_t partition = options_number(reset->cli, "--topic: partition", one, 0, INT32_MAX);
        if (partition >= info->partition_count)
            return cli_fail(reset->cli, "%s has partitions 0 to %" PRIu32 ", not %" PRId64, info->topic,
                            info->partition_count - 1, partition);
        add_move(reset, info, (uint32_t)partition);
    }
    return CLI_DONE;
}

static int add_topics(struct reset *reset, leat_bus *bus)
{
    int status = CLI_DONE;
    for (int i = 0; i < reset->topic_count && status == CLI_DONE; i++) {
        leat_topic_info *info;
        char *list = reset->topics[i], *name = strsep(&list, ":");
        int r = leat_topic_describe(bus, name, &info);
        if (r < 0)
            return group_fail(reset->cli, name, r);
        status = add_listed(reset, info, list);
        leat_topic_info_free(info);
    }
    return status;
}

/* ---- where to ---- */

/* What is committed now. A group that is not there has nothing, and is made. */
static int find_current(struct reset *reset, leat_bus *bus)
{
    leat_group_info *info;
    int r = leat_group_describe(bus, reset->group, &info);
    if (r == LEAT_ENOGROUP)
        return CLI_DONE;
    if (r < 0)
        return group_fail(reset->cli, reset->group, r);
    int members = info->member_count;
    for (int i = 0; i < reset->count; i++)
        for (int k = 0; k < info->partition_count; k++)
            if (info->partitions[k].partition == reset->moves[i].partition &&
                strcmp(info->partitions[k].topic, reset->moves[i].topic) == 0)
                reset->moves[i].current = info->partitions[k].current_offset;
    leat_group_info_free(info);
    if (members == 0)
        return CLI_DONE;
    return cli_fail(reset->cli, "group %s has members: %d: only a group without members can be changed",
                    reset->group, members);
}

/* Only a reader can look into a partition. */
static int find_times(struct reset *reset, leat_bus *bus)
{
    leat_consumer *in;
    int r = leat_consumer_open(&in, bus, NULL);
    if (r < 0)
        return cli_fail_error(reset->cli, r);
    for (int i = 0; i < reset->count && r >= 0; i++) {
        struct move *move = &reset->moves[i];
        r = leat_consumer_assign(in, &(leat_partition){ move->topic, move->partition }, 1);
        if (r >= 0)
            move->asked = leat_consumer_offset_for_time(in, move->topic, move->partition, reset->number);
        r = r >= 0 && move->asked < 0 ? (int)move->asked : r;
    }
    if (r < 0)
        cli_fail_error(reset->cli, r);
    leat_consumer_close(in);
    return r < 0 ? CLI_FAILED : CLI_DONE;
}

/* A sum that stays within what a number can hold; it is put within bounds anyway. */
static int64_t shifted(int64_t from, int64_t by)
{
    int64_t sum;
    return !__builtin_add_overflow(from, by, &sum) ? sum : by < 0 ? 0 : INT64_MAX;
}

static int find_asked(struct reset *reset, struct move *move)
{
    if (reset->to == TO_EARLIEST)
        move->asked = move->first;
    else if (reset->to == TO_LATEST)
        move->asked = move->end;
    else if (reset->to == TO_OFFSET)
        move->asked = reset->number;
    else if (reset->to == SHIFT_BY && move->current >= 0)
        move->asked = shifted(move->current, reset->number);
    else if (reset->to == SHIFT_BY)
        return cli_fail(reset->cli, "%s: %s-%" PRIu32 " has no committed offset that could be shifted",
                        reset->group, move->topic, move->partition);
    return CLI_DONE;
}

static void put_within(const struct reset *reset, struct move *move)
{
    move->now = move->asked < move->first ? move->first : move->asked > move->end ? move->end : move->asked;
    if (move->now != move->asked)
        fprintf(stderr,
                "leat: %s: %s-%" PRIu32 ": %" PRId64 " is outside of what is there, %" PRId64 " to %" PRId64
                ": %" PRId64 " instead\n",
                reset->cli->command, move->topic, move->partition, move->asked, move->first, move->end,
                move->now);
}

static int find_targets(struct reset *reset, leat_bus *bus)
{
    int status = reset->to == TO_TIME ? find_times(reset, bus) : CLI_DONE;
    for (int i = 0; i < reset->count && status == CLI_DONE; i++)
        status = find_asked(reset, &reset->moves[i]);
    for (int i = 0; i < reset->count && status == CLI_DONE; i++)
        put_within(reset, &reset->moves[i]);
    return status;
}

/* ---- doing it ---- */

static int set(const struct reset *reset, leat_bus *bus)
{
    leat_offset *offsets = cli_have(calloc((size_t)reset->count + 1, sizeof *offsets));
    for (int i = 0; i < reset->count; i++)
        offsets[i] = (leat_offset){ reset->moves[i].topic, reset->moves[i].partition, reset->moves[i].now,
                                    NULL };
    int r = leat_group_reset(bus, reset->group, offsets, reset->count);
    free(offsets);
    return r < 0 ? group_fail(reset->cli, reset->group, r) : CLI_DONE;
}

static void print_table(const struct reset *reset)
{
    static const char *const heads[] = { "GROUP",           "TOPIC",       ">PARTITION",
                                         ">CURRENT-OFFSET", ">NEW-OFFSET", NULL };
    struct table table;
    table_begin(&table, heads);
    for (int i = 0; i < reset->count; i++) {
        const struct move *move = &reset->moves[i];
        table_add(&table, "%s", reset->group);
        table_add(&table, "%s", move->topic);
        table_add(&table, "%" PRIu32, move->partition);
        table_add(&table, move->current < 0 ? "-" : "%" PRId64, move->current);
        table_add(&table, "%" PRId64, move->now);
    }
    table_end(&table, stdout);
}

static void print_json(const struct reset *reset)
{
    struct json json = { .out = stdout };
    json_open(&json, '{');
    json_key(&json, "group");
    json_text(&json, reset->group);
    json_key(&json, "dry_run");
    json_bool(&json, reset->dry_run);
    json_key(&json, "partitions");
    json_open(&json, '[');
    for (int i = 0; i < reset->count; i++) {
        const struct move *move = &reset->moves[i];
        json_open(&json, '{');
        json_key(&json, "topic");
        json_text(&json, move->topic);
        json_key(&json, "partition");
        json_uint(&json, move->partition);
        json_key(&json, "current_offset");
        group_json_number(&json, move->current);
        json_key(&json, "new_offset");
        json_int(&json, move->now);
        json_key(&json, "clamped");
        json_bool(&json, move->now != move->asked);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
    putchar('\n');
}

static int run(struct reset *reset, leat_bus *bus)
{
    int status = add_topics(reset, bus);
    if (status == CLI_DONE)
        status = find_current(reset, bus);
    if (status == CLI_DONE)
        status = find_targets(reset, bus);
    if (status == CLI_DONE && !reset->dry_run)
        status = set(reset, bus);
    if (status == CLI_DONE && reset->cli->json)
        print_json(reset);
    else if (status == CLI_DONE)
        print_table(reset);
    return status;
}

int group_reset_main(struct cli *cli, int argc, char **argv)
{
    struct reset reset;
    read_options(&reset, cli, argc, argv);
    leat_bus *bus = cli_open(cli);
    int status = bus ? run(&reset, bus) : CLI_FAILED;
    leat_close(bus);
    for (int i = 0; i < reset.count; i++)
        free(reset.moves[i].topic);
    free(reset.moves);
    free(reset.topics);
    return status;
}
