/* leat status: the bus as leatd tells it, its clients, and its counters, which need no leatd. */
#include "cli.h"
#include "json.h"
#include "options.h"
#include "table.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

struct wish {
    bool clients, counters;
};

/* What was found; what was not asked for is NULL. */
struct found {
    leat_status_info *status;
    leat_counter *counters;
    int counter_count;
    char bus[PATH_MAX];
};

/* ---- for people ---- */

static void print_status(const leat_status_info *info)
{
    printf("bus          %s\n", info->bus);
    printf("leatd        keeper %" PRId32 ", worker %" PRId32 "\n", info->pid, info->worker_pid);
    printf("incarnation  %" PRIu64 "\n", info->incarnation);
    printf("uptime       %s\n", table_duration(info->uptime_s).text);
    printf("memory       %s\n", table_bytes(info->memory_bytes).text);
    printf("topics       %" PRIu32 "\n", info->topics);
    printf("groups       %" PRIu32 "\n", info->groups);
    printf("clients      %" PRIu32 "\n", info->clients);
}

static void print_clients(const leat_status_info *info)
{
    static const char *const heads[] = { ">CLIENT",      ">PID",      ">UID",   "STATE",
                                         "PROGRAM",      ">PRODUCES", ">READS", ">CONSUMERS",
                                         ">QUARANTINED", "CLIENT-ID", NULL };
    struct table table;
    table_begin(&table, heads);
    for (uint32_t i = 0; i < info->clients; i++) {
        const leat_client_info *client = &info->client[i];
        table_add(&table, "%" PRIu32, client->id);
        table_add(&table, "%" PRId32, client->pid);
        table_add(&table, "%" PRIu32, client->uid);
        table_add(&table, "%s", client->state);
        table_add(&table, "%s", client->program);
        table_add(&table, "%" PRIu32, client->producers);
        table_add(&table, "%" PRIu32, client->readers);
        table_add(&table, "%" PRIu32, client->consumers);
        table_add(&table, "%" PRIu32, client->quarantined);
        table_add(&table, "%s", *client->client_id ? client->client_id : "-");
    }
    table_end(&table, stdout);
}

static void print_counters(const leat_counter *counters, int count)
{
    static const char *const heads[] = { "COUNTER", "TOPIC", ">PARTITION", ">CLIENT", ">VALUE", NULL };
    struct table table;
    table_begin(&table, heads);
    for (int i = 0; i < count; i++) {
        const leat_counter *counter = &counters[i];
        table_add(&table, "%s", counter->name);
        table_add(&table, "%s", *counter->topic ? counter->topic : "-");
        table_add(&table, counter->partition < 0 ? "-" : "%" PRId32, counter->partition);
        table_add(&table, counter->client < 0 ? "-" : "%" PRId32, counter->client);
        table_add(&table, "%" PRId64, counter->value);
    }
    table_end(&table, stdout);
}

static void print_people(const struct found *found, const struct wish *wish)
{
    if (found->status)
        print_status(found->status);
    if (found->status && wish->clients) {
        putchar('\n');
        print_clients(found->status);
    }
    if (found->status && wish->counters)
        putchar('\n');
    if (wish->counters)
        print_counters(found->counters, found->counter_count);
}

/* ---- for programs ---- */

static void json_status(struct json *json, const leat_status_info *info)
{
    json_key(json, "pid");
    json_int(json, info->pid);
    json_key(json, "worker_pid");
    json_int(json, info->worker_pid);
    json_key(json, "incarnation");
    json_uint(json, info->incarnation);
    json_key(json, "uptime_s");
    json_float(json, info->uptime_s);
    json_key(json, "topics");
    json_uint(json, info->topics);
    json_key(json, "groups");
    json_uint(json, info->groups);
    json_key(json, "clients");
    json_uint(json, info->clients);
    json_key(json, "memory_bytes");
    json_uint(json, info->memory_bytes);
}

static void json_client(struct json *json, const leat_client_info *client)
{
    json_open(json, '{');
    json_key(json, "id");
    json_uint(json, client->id);
    json_key(json, "pid");
    json_int(json, client->pid);
    json_key(json, "uid");
    json_uint(json, client->uid);
    json_key(json, "state");
    json_text(json, client->state);
    json_key(json, "program");
    json_text(json, client->program);
    json_key(json, "client_id");
    json_text(json, client->client_id);
    json_key(json, "producers");
    json_uint(json, client->producers);
    json_key(json, "consumers");
    json_uint(json, client->consumers);
    json_key(json, "readers");
    json_uint(json, client->readers);
    json_key(json, "quarantined");
    json_uint(json, client->quarantined);
    json_close(json, '}');
}

static void json_counter(struct json *json, const leat_counter *counter)
{
    json_open(json, '{');
    json_key(json, "name");
    json_text(json, counter->name);
    json_key(json, "topic");
    json_text(json, *counter->topic ? counter->topic : NULL);
    json_key(json, "partition");
    if (counter->partition < 0)
        json_bytes(json, NULL, 0);
    else
        json_int(json, counter->partition);
    json_key(json, "client");
    if (counter->client < 0)
        json_bytes(json, NULL, 0);
    else
        json_int(json, counter->client);
    json_key(json, "value");
    json_int(json, counter->value);
    json_close(json, '}');
}

static void print_json(const struct found *found, const struct wish *wish)
{
    struct json json = { .out = stdout };
    json_open(&json, '{');
    json_key(&json, "bus");
    json_text(&json, found->bus);
    if (found->status)
        json_status(&json, found->status);
    if (found->status && wish->clients) {
        json_key(&json, "client_list");
        json_open(&json, '[');
        for (uint32_t i = 0; i < found->status->clients; i++)
            json_client(&json, &found->status->client[i]);
        json_close(&json, ']');
    }
    if (wish->counters) {
        json_key(&json, "counters");
        json_open(&json, '[');
        for (int i = 0; i < found->counter_count; i++)
            json_counter(&json, &found->counters[i]);
        json_close(&json, ']');
    }
    json_close(&json, '}');
    putchar('\n');
}

/* ---- the command ---- */

static struct wish read_options(struct cli *cli, int argc, char **argv)
{
    enum { OPT_CLIENTS = 1000, OPT_COUNTERS };
    static const struct option longs[] = {
        { "clients", no_argument, NULL, OPT_CLIENTS },
        { "counters", no_argument, NULL, OPT_COUNTERS },
        OPTIONS_COMMON,
    };
    struct wish wish = { 0 };
    for (int c; (c = options_next(cli, argc, argv, "", longs)) >= 0;) {
        wish.clients |= c == OPT_CLIENTS;
        wish.counters |= c == OPT_COUNTERS;
    }
    if (optind < argc)
        cli_misused(cli, "'%s': takes no arguments", argv[optind]);
    return wish;
}

/* Counters alone are read from the file: leatd may be dead, and then nothing else could be said. */
static int find(const struct cli *cli, const struct wish *wish, struct found *found)
{
    int r = leat_bus_locate(cli->bus, found->bus, sizeof found->bus);
    if (r < 0)
        return cli_fail_error(cli, r);
    if (wish->counters) {
        r = leat_counters_read(cli->bus, &found->counters);
        if (r < 0)
            return cli_fail_error(cli, r);
        found->counter_count = r;
    }
    if (wish->counters && !wish->clients)
        return CLI_DONE;
    leat_bus *bus = cli_open(cli);
    if (!bus)
        return CLI_FAILED;
    r = leat_status(bus, &found->status);
    if (r < 0)
        cli_fail_error(cli, r);
    leat_close(bus);
    return r < 0 ? CLI_FAILED : CLI_DONE;
}

int status_main(struct cli *cli, int argc, char **argv)
{
    struct found found = { 0 };
    struct wish wish = read_options(cli, argc, argv);
    int status = find(cli, &wish, &found);
    if (status == CLI_DONE && cli->json)
        print_json(&found, &wish);
    else if (status == CLI_DONE)
        print_people(&found, &wish);
    if (found.status)
        leat_status_free(found.status);
    if (found.counters)
        leat_counters_free(found.counters);
    return status;
}
