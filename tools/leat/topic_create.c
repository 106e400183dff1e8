/* leat topic create: makes topics, and says what they cost. */
#include "options.h"
#include "topic.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void refuse_replicas(const struct cli *cli, const char *text)
{
    if (options_number(cli, "--replication-factor", text, 1, INT16_MAX) == 1)
        return;
    exit(
        cli_fail(cli,
                 "--replication-factor %s: a bus lives on one machine, which has no second place for a copy; "
                 "the bridge to Kafka, a later version's, mirrors topics elsewhere",
                 text));
}

static leat_topic_options read_options(struct cli *cli, int argc, char **argv)
{
    enum {
        OPT_PARTITIONS = 1000,
        OPT_RING_SIZE,
        OPT_LEVEL,
        OPT_NO_LOG,
        OPT_RETENTION_BYTES,
        OPT_RETENTION_MS,
        OPT_SEGMENT_BYTES,
        OPT_ON_FULL,
        OPT_PARTITIONER,
        OPT_MODE,
        OPT_OWNER,
        OPT_IF_NOT_EXISTS,
        OPT_REPLICATION,
    };
    static const struct option longs[] = {
        { "partitions", required_argument, NULL, OPT_PARTITIONS },
        { "ring-size", required_argument, NULL, OPT_RING_SIZE },
        { "level", required_argument, NULL, OPT_LEVEL },
        { "no-log", no_argument, NULL, OPT_NO_LOG },
        { "retention-bytes", required_argument, NULL, OPT_RETENTION_BYTES },
        { "retention-ms", required_argument, NULL, OPT_RETENTION_MS },
        { "segment-bytes", required_argument, NULL, OPT_SEGMENT_BYTES },
        { "on-full", required_argument, NULL, OPT_ON_FULL },
        { "partitioner", required_argument, NULL, OPT_PARTITIONER },
        { "mode", required_argument, NULL, OPT_MODE },
        { "owner", required_argument, NULL, OPT_OWNER },
        { "if-not-exists", no_argument, NULL, OPT_IF_NOT_EXISTS },
        { "replication-factor", required_argument, NULL, OPT_REPLICATION },
        OPTIONS_COMMON,
    };
    leat_topic_options options = LEAT_TOPIC_DEFAULTS;
    for (int c; (c = options_next(cli, argc, argv, "", longs)) >= 0;) {
        switch (c) {
        case OPT_PARTITIONS:
            options.partitions = (uint32_t)options_number(cli, "--partitions", optarg, 1, 4096);
            break;
        case OPT_RING_SIZE:
            options.ring_size = options_size(cli, "--ring-size", optarg);
            break;
        case OPT_LEVEL:
            options.level = (enum leat_level)options_word(cli, "--level", optarg, topic_levels);
            break;
        case OPT_NO_LOG:
            options.no_log = 1;
            break;
        case OPT_RETENTION_BYTES:
            options.retention_bytes = topic_read_retention_bytes(cli, optarg);
            break;
        case OPT_RETENTION_MS:
            options.retention_ms = topic_read_retention_ms(cli, optarg);
            break;
        case OPT_SEGMENT_BYTES:
            options.segment_bytes = options_size(cli, "--segment-bytes", optarg);
            break;
        case OPT_ON_FULL:
            options.on_full = (enum leat_on_full)options_word(cli, "--on-full", optarg, topic_on_full);
            break;
        case OPT_PARTITIONER: {
            static const char *const words[] = { "xxh3", "murmur2", NULL };
            options.partitioner = (enum leat_partitioner)(LEAT_XXH3 +
                                                          options_word(cli, "--partitioner", optarg, words));
            break;
        }
        case OPT_MODE:
            options.mode = topic_read_mode(cli, optarg);
            break;
        case OPT_OWNER:
            options.owner = optarg;
            break;
        case OPT_IF_NOT_EXISTS:
            options.if_not_exists = 1;
            break;
        default:
            refuse_replicas(cli, optarg);
        }
    }
    return options;
}

struct creation {
    leat_topic_options options;
    struct table costs;
};

static int create(const struct cli *cli, leat_bus *bus, const char *topic, void *user)
{
    struct creation *creation = user;
    leat_topic_info *info;
    int r = leat_topic_create(bus, topic, &creation->options);
    if (r >= 0)
        r = leat_topic_describe(bus, topic, &info);
    if (r < 0)
        return topic_fail(cli, topic, r);
    if (cli->json) {
        struct json json = { .out = stdout };
        topic_print_json(&json, info);
        putchar('\n');
    } else {
        topic_cost_add(&creation->costs, info);
    }
    leat_topic_info_free(info);
    return CLI_DONE;
}

int topic_create_main(struct cli *cli, int argc, char **argv)
{
    struct creation creation = { .options = read_options(cli, argc, argv) };
    topic_cost_begin(&creation.costs);
    int status = topic_for_names(cli, argc, argv, create, &creation);
    table_end(&creation.costs, stdout);
    return status;
}
