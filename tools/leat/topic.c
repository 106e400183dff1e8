/* leat topic list, describe, delete. */
#include "topic.h"
#include "options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void read_no_options(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = { OPTIONS_COMMON };
    while (options_next(cli, argc, argv, "", longs) >= 0)
        ;
}

/* The library's line may begin with the topic's name itself. */
int topic_fail(const struct cli *cli, const char *topic, int error)
{
    const char *why = cli_why(error);
    size_t size = strlen(topic);
    if (strncmp(why, topic, size) == 0 && (why[size] == ':' || why[size] == ' '))
        return cli_fail(cli, "%s", why);
    return cli_fail(cli, "%s: %s", topic, why);
}

int topic_for_names(const struct cli *cli, int argc, char **argv, topic_each_fn *each, void *user)
{
    if (optind == argc)
        cli_misused(cli, "which topic?");
    leat_bus *bus = cli_open(cli);
    if (!bus)
        return CLI_FAILED;
    int status = CLI_DONE;
    for (int i = optind; i < argc && status == CLI_DONE; i++)
        status = each(cli, bus, argv[i], user);
    leat_close(bus);
    return status;
}

/* ---- list ---- */

static void add_line(struct table *table, const leat_topic_info *info)
{
    uint64_t records = 0;
    for (uint32_t i = 0; i < info->partition_count; i++)
        records += info->partitions[i].log_end_offset - info->partitions[i].log_start_offset;
    table_add(table, "%s", info->topic);
    table_add(table, "%" PRIu32, info->partition_count);
    table_add(table, "%s", topic_levels[info->level]);
    table_add(table, "%s", topic_on_full[info->on_full]);
    table_add(table, "%s", table_bytes(info->ring_bytes).text);
    table_add(table, "%s", table_count(records).text);
    table_add(table, "%s", table_bytes(info->memory_bytes).text);
    table_add(table, "%s", info->owner);
    table_add(table, "%04" PRIo32, info->mode);
}

static int list(const struct cli *cli, leat_bus *bus, struct json *json, struct table *table)
{
    char **names;
    int count = leat_topic_list(bus, &names), status = CLI_DONE;
    if (count < 0)
        return cli_fail_error(cli, count);
    for (int i = 0; i < count && status == CLI_DONE; i++) {
        leat_topic_info *info;
        int r = leat_topic_describe(bus, names[i], &info);
        if (r == LEAT_ENOTOPIC)
            continue; /* deleted since */
        if (r < 0) {
            status = topic_fail(cli, names[i], r);
            continue;
        }
        if (cli->json)
            topic_print_json(json, info);
        else
            add_line(table, info);
        leat_topic_info_free(info);
    }
    leat_names_free(names, count);
    return status;
}

int topic_list_main(struct cli *cli, int argc, char **argv)
{
    static const char *const heads[] = { "TOPIC",    ">PARTITIONS", "LEVEL", "ON-FULL", ">RING",
                                         ">OFFSETS", ">MEMORY",     "OWNER", "MODE",    NULL };
    read_no_options(cli, argc, argv);
    if (optind < argc)
        cli_misused(cli, "'%s': takes no arguments", argv[optind]);
    leat_bus *bus = cli_open(cli);
    if (!bus)
        return CLI_FAILED;
    struct table table;
    struct json json = { .out = stdout };
    table_begin(&table, heads);
    if (cli->json)
        json_open(&json, '[');
    int status = list(cli, bus, &json, &table);
    if (cli->json) {
        json_close(&json, ']');
        putchar('\n');
    } else {
        table_end(&table, stdout);
    }
    leat_close(bus);
    return status;
}

/* ---- describe, delete ---- */

/* *user: whether this is the first. */
static int describe(const struct cli *cli, leat_bus *bus, const char *topic, void *user)
{
    bool *first = user;
    leat_topic_info *info;
    int r = leat_topic_describe(bus, topic, &info);
    if (r < 0)
        return topic_fail(cli, topic, r);
    if (cli->json) {
        struct json json = { .out = stdout };
        topic_print_json(&json, info);
    } else if (!*first) {
        putchar('\n');
    }
    if (cli->json)
        putchar('\n');
    else
        topic_print(info);
    *first = false;
    leat_topic_info_free(info);
    return CLI_DONE;
}

int topic_describe_main(struct cli *cli, int argc, char **argv)
{
    bool first = true;
    read_no_options(cli, argc, argv);
    return topic_for_names(cli, argc, argv, describe, &first);
}

static int delete_one(const struct cli *cli, leat_bus *bus, const char *topic, void *user)
{
    (void)user;
    int r = leat_topic_delete(bus, topic);
    if (r < 0)
        return topic_fail(cli, topic, r);
    if (!cli->json) {
        printf("%s deleted\n", topic);
        return CLI_DONE;
    }
    struct json json = { .out = stdout };
    json_open(&json, '{');
    json_key(&json, "topic");
    json_text(&json, topic);
    json_key(&json, "deleted");
    json_bool(&json, true);
    json_close(&json, '}');
    putchar('\n');
    return CLI_DONE;
}

int topic_delete_main(struct cli *cli, int argc, char **argv)
{
    read_no_options(cli, argc, argv);
    return topic_for_names(cli, argc, argv, delete_one, NULL);
}
