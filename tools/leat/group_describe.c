/* leat group describe: where a group is in each partition, and whose that is. */
#include "group.h"
#include "options.h"
#include "table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct wish {
    bool members;
    int64_t lag_over; /* -1: not asked */
    struct table table;
    bool alarmed;
};

/* ---- for people ---- */

static void add_number(struct table *table, int64_t number)
{
    table_add(table, number < 0 ? "-" : "%" PRId64, number);
}

static void add_name(struct table *table, const char *name)
{
    table_add(table, "%s", name && *name ? name : "-");
}

static void add_partition(struct table *table, const char *group, const leat_group_partition_info *part)
{
    table_add(table, "%s", group);
    add_name(table, part->topic);
    table_add(table, "%" PRIu32, part->partition);
    add_number(table, part->current_offset);
    table_add(table, "%" PRIu64, part->log_end_offset);
    add_number(table, part->lag);
    add_name(table, part->member_id);
    add_number(table, part->pid > 0 ? part->pid : -1);
    add_name(table, part->client_id);
}

/* As reset-offsets takes them: orders:0,2 alerts:1; by topic and number. */
static char *partitions_text(const leat_group_member_info *member)
{
    char *text;
    size_t size;
    FILE *out = cli_have(open_memstream(&text, &size));
    for (int i = 0; i < member->partition_count; i++) {
        const leat_partition *part = &member->partitions[i];
        if (i > 0 && strcmp(part->topic, part[-1].topic) == 0)
            fprintf(out, ",%" PRIu32, part->partition);
        else
            fprintf(out, "%s%s:%" PRIu32, i ? " " : "", part->topic, part->partition);
    }
    fclose(out);
    return cli_have(text);
}

static void add_member(struct table *table, const char *group, const leat_group_member_info *member)
{
    char *partitions = partitions_text(member);
    table_add(table, "%s", group);
    add_name(table, member->member_id);
    add_name(table, member->instance_id);
    add_number(table, member->pid > 0 ? member->pid : -1);
    add_name(table, member->client_id);
    table_add(table, "%d", member->partition_count);
    add_name(table, partitions);
    free(partitions);
}

static void add_rows(struct table *table, const leat_group_info *info, bool members)
{
    for (int i = 0; members && i < info->member_count; i++)
        add_member(table, info->group, &info->members[i]);
    for (int i = 0; !members && i < info->partition_count; i++)
        add_partition(table, info->group, &info->partitions[i]);
}

/* ---- for programs ---- */

static void json_member(struct json *json, const leat_group_member_info *member)
{
    json_open(json, '{');
    json_key(json, "member_id");
    json_text(json, member->member_id);
    json_key(json, "client_id");
    group_json_name(json, member->client_id);
    json_key(json, "instance_id");
    group_json_name(json, member->instance_id);
    json_key(json, "pid");
    group_json_number(json, member->pid > 0 ? member->pid : -1);
    json_key(json, "partitions");
    json_open(json, '[');
    for (int i = 0; i < member->partition_count; i++) {
        json_open(json, '{');
        json_key(json, "topic");
        json_text(json, member->partitions[i].topic);
        json_key(json, "partition");
        json_uint(json, member->partitions[i].partition);
        json_close(json, '}');
    }
    json_close(json, ']');
    json_close(json, '}');
}

static void json_partition(struct json *json, const leat_group_partition_info *part)
{
    json_open(json, '{');
    json_key(json, "topic");
    json_text(json, part->topic);
    json_key(json, "partition");
    json_uint(json, part->partition);
    json_key(json, "current_offset");
    group_json_number(json, part->current_offset);
    json_key(json, "log_start_offset");
    json_uint(json, part->log_start_offset);
    json_key(json, "log_end_offset");
    json_uint(json, part->log_end_offset);
    json_key(json, "lag");
    group_json_number(json, part->lag);
    json_key(json, "member_id");
    group_json_name(json, part->member_id);
    json_key(json, "metadata");
    json_text(json, part->metadata);
    json_key(json, "unowned_us");
    json_uint(json, part->unowned_us);
    json_key(json, "gated_by");
    json_open(json, '[');
    json_close(json, ']');
    json_close(json, '}');
}

static void json_head(struct json *json, const leat_group_info *info)
{
    json_key(json, "group");
    json_text(json, info->group);
    json_key(json, "state");
    json_text(json, info->state);
    json_key(json, "generation");
    json_uint(json, info->generation);
    json_key(json, "assignor");
    group_json_name(json, leat_assignor_name(info->assignor));
    json_key(json, "last_rebalance_us");
    json_uint(json, info->last_rebalance_us);
    json_key(json, "rebalances");
    json_uint(json, info->rebalances);
    json_key(json, "evictions");
    json_uint(json, info->evictions);
    json_key(json, "unowned_us");
    json_uint(json, info->unowned_us);
    json_key(json, "uid");
    json_uint(json, info->uid);
}

static void print_json(const leat_group_info *info)
{
    struct json json = { .out = stdout };
    json_open(&json, '{');
    json_head(&json, info);
    json_key(&json, "members");
    json_open(&json, '[');
    for (int i = 0; i < info->member_count; i++)
        json_member(&json, &info->members[i]);
    json_close(&json, ']');
    json_key(&json, "partitions");
    json_open(&json, '[');
    for (int i = 0; i < info->partition_count; i++)
        json_partition(&json, &info->partitions[i]);
    json_close(&json, ']');
    json_close(&json, '}');
    putchar('\n');
}

/* ---- the command ---- */

static void look_at_lags(const struct cli *cli, const leat_group_info *info, struct wish *wish)
{
    for (int i = 0; wish->lag_over >= 0 && i < info->partition_count; i++) {
        const leat_group_partition_info *part = &info->partitions[i];
        if (part->lag <= wish->lag_over)
            continue;
        cli_fail(cli, "%s: %s-%" PRIu32 ": lag %" PRId64 " is above %" PRId64, info->group, part->topic,
                 part->partition, part->lag, wish->lag_over);
        wish->alarmed = true;
    }
}

static int describe(const struct cli *cli, leat_bus *bus, const char *group, void *user)
{
    struct wish *wish = user;
    leat_group_info *info;
    int r = leat_group_describe(bus, group, &info);
    if (r < 0)
        return group_fail(cli, group, r);
    if (cli->json)
        print_json(info);
    else
        add_rows(&wish->table, info, wish->members);
    look_at_lags(cli, info, wish);
    leat_group_info_free(info);
    return CLI_DONE;
}

static void read_options(struct wish *wish, struct cli *cli, int argc, char **argv)
{
    enum { OPT_MEMBERS = 1000, OPT_LAG_OVER };
    static const struct option longs[] = {
        { "members", no_argument, NULL, OPT_MEMBERS },
        { "lag-over", required_argument, NULL, OPT_LAG_OVER },
        OPTIONS_COMMON,
    };
    for (int c; (c = options_next(cli, argc, argv, "", longs)) >= 0;) {
        if (c == OPT_MEMBERS)
            wish->members = true;
        else
            wish->lag_over = options_number(cli, "--lag-over", optarg, 0, INT64_MAX);
    }
}

int group_describe_main(struct cli *cli, int argc, char **argv)
{
    static const char *const offsets[] = { "GROUP",           "TOPIC", ">PARTITION",  ">CURRENT-OFFSET",
                                           ">LOG-END-OFFSET", ">LAG",  "CONSUMER-ID", ">PID",
                                           "CLIENT-ID",       NULL };
    static const char *const members[] = { "GROUP",     "CONSUMER-ID",  "INSTANCE-ID", ">PID",
                                           "CLIENT-ID", ">#PARTITIONS", "PARTITIONS",  NULL };
    struct wish wish = { .lag_over = -1 };
    read_options(&wish, cli, argc, argv);
    table_begin(&wish.table, wish.members ? members : offsets);
    int status = group_for_names(cli, argc, argv, describe, &wish);
    table_end(&wish.table, stdout);
    return status == CLI_DONE && wish.alarmed ? CLI_ALARM : status;
}
