/* leat group list and delete, and what the group commands share: see group.h. */
#include "group.h"
#include "options.h"
#include "table.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

const char *const group_assignors[] = { "range",    "roundrobin", "sticky", "cooperative-sticky",
                                        "failover", NULL };

/* ---- shared ---- */

int group_fail(const struct cli *cli, const char *group, int error)
{
    if (error == LEAT_EINUSE)
        return cli_fail(cli, "%s: only a group without members can be changed", cli_why(error));
    const char *why = cli_why(error);
    return strstr(why, group) ? cli_fail(cli, "%s", why) : cli_fail(cli, "%s: %s", group, why);
}

int group_for_names(const struct cli *cli, int argc, char **argv, group_each_fn *each, void *user)
{
    int status = CLI_DONE;
    if (optind == argc)
        cli_misused(cli, "which group?");
    leat_bus *bus = cli_open(cli);
    if (!bus)
        return CLI_FAILED;
    for (int i = optind; i < argc && status == CLI_DONE; i++)
        status = each(cli, bus, argv[i], user);
    leat_close(bus);
    return status;
}

void group_json_number(struct json *json, int64_t number)
{
    if (number < 0)
        json_text(json, NULL);
    else
        json_int(json, number);
}

void group_json_name(struct json *json, const char *name)
{
    json_text(json, name && *name ? name : NULL);
}

static void read_no_options(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = { OPTIONS_COMMON };
    while (options_next(cli, argc, argv, "", longs) >= 0)
        ;
}

/* ---- list ---- */

/* The sum of what is known; -1: nothing is. */
static int64_t lag_of(const leat_group_info *info)
{
    int64_t lag = -1;
    for (int i = 0; i < info->partition_count; i++)
        if (info->partitions[i].lag >= 0)
            lag = (lag < 0 ? 0 : lag) + info->partitions[i].lag;
    return lag;
}

static void list_json(struct json *json, const leat_group_info *info)
{
    json_open(json, '{');
    json_key(json, "group");
    json_text(json, info->group);
    json_key(json, "state");
    json_text(json, info->state);
    json_key(json, "members");
    json_int(json, info->member_count);
    json_key(json, "assignor");
    group_json_name(json, leat_assignor_name(info->assignor));
    json_key(json, "partitions");
    json_int(json, info->partition_count);
    json_key(json, "lag");
    group_json_number(json, lag_of(info));
    json_key(json, "generation");
    json_uint(json, info->generation);
    json_key(json, "rebalances");
    json_uint(json, info->rebalances);
    json_key(json, "evictions");
    json_uint(json, info->evictions);
    json_close(json, '}');
}

static void list_row(struct table *table, const leat_group_info *info)
{
    const char *assignor = leat_assignor_name(info->assignor);
    int64_t lag = lag_of(info);
    table_add(table, "%s", info->group);
    table_add(table, "%s", info->state);
    table_add(table, "%d", info->member_count);
    table_add(table, "%s", assignor ? assignor : "-");
    table_add(table, "%d", info->partition_count);
    table_add(table, lag < 0 ? "-" : "%" PRId64, lag);
    table_add(table, "%" PRIu64, info->generation);
    table_add(table, "%" PRIu64, info->rebalances);
    table_add(table, "%" PRIu64, info->evictions);
}

/* One that is gone meanwhile is none. */
static int list(const struct cli *cli, leat_bus *bus, struct json *json, struct table *table)
{
    char **names;
    int count = leat_group_list(bus, &names);
    if (count < 0)
        return cli_fail_error(cli, count);
    int status = CLI_DONE;
    for (int i = 0; i < count && status == CLI_DONE; i++) {
        leat_group_info *info;
        int r = leat_group_describe(bus, names[i], &info);
        if (r == LEAT_ENOGROUP)
            continue;
        if (r < 0)
            status = group_fail(cli, names[i], r);
        else if (cli->json)
            list_json(json, info);
        else
            list_row(table, info);
        if (r >= 0)
            leat_group_info_free(info);
    }
    leat_names_free(names, count);
    return status;
}

int group_list_main(struct cli *cli, int argc, char **argv)
{
    static const char *const heads[] = { "GROUP", "STATE",       ">MEMBERS",    "ASSIGNOR",   ">PARTITIONS",
                                         ">LAG",  ">GENERATION", ">REBALANCES", ">EVICTIONS", NULL };
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
    }
    table_end(&table, stdout);
    leat_close(bus);
    return status;
}

/* ---- delete ---- */

static int delete_one(const struct cli *cli, leat_bus *bus, const char *group, void *user)
{
    (void)user;
    int r = leat_group_delete(bus, group);
    if (r < 0)
        return group_fail(cli, group, r);
    if (!cli->json) {
        printf("%s deleted\n", group);
        return CLI_DONE;
    }
    struct json json = { .out = stdout };
    json_open(&json, '{');
    json_key(&json, "group");
    json_text(&json, group);
    json_key(&json, "deleted");
    json_bool(&json, true);
    json_close(&json, '}');
    putchar('\n');
    return CLI_DONE;
}

int group_delete_main(struct cli *cli, int argc, char **argv)
{
    read_no_options(cli, argc, argv);
    return group_for_names(cli, argc, argv, delete_one, NULL);
}
