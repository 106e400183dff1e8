/* leat topic alter, resume: what an operator changes of a topic that is in use. */
#include "options.h"
#include "topic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what create says, too ---- */

uint32_t topic_read_mode(const struct cli *cli, const char *text)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);
    if (end == text || *end || mode > 0777 || *text == '-')
        cli_misused(cli, "--mode '%s': wants an octal number like 0660", text);
    return (uint32_t)mode;
}

static bool is_endless(const char *text)
{
    return strcmp(text, "none") == 0 || strcmp(text, "-1") == 0;
}

int64_t topic_read_retention_bytes(const struct cli *cli, const char *text)
{
    return is_endless(text) ? -1 : (int64_t)options_size(cli, "--retention-bytes", text);
}

int64_t topic_read_retention_ms(const struct cli *cli, const char *text)
{
    return is_endless(text) ? -1 : options_time_ms(cli, "--retention-ms", text);
}

/* ---- alter ---- */

static void refuse_later(const struct cli *cli, const char *name)
{
    exit(cli_fail(cli, "%s: growing and shrinking a topic comes with a later version", name));
}

static leat_topic_options read_settings(struct cli *cli, int argc, char **argv)
{
    enum {
        OPT_PARTITIONS = 1000,
        OPT_RETENTION_BYTES,
        OPT_RETENTION_MS,
        OPT_ON_FULL,
        OPT_MODE,
        OPT_OWNER,
        OPT_MOVE_BUCKETS,
        OPT_DRY_RUN,
    };
    static const struct option longs[] = {
        { "partitions", required_argument, NULL, OPT_PARTITIONS },
        { "retention-bytes", required_argument, NULL, OPT_RETENTION_BYTES },
        { "retention-ms", required_argument, NULL, OPT_RETENTION_MS },
        { "on-full", required_argument, NULL, OPT_ON_FULL },
        { "mode", required_argument, NULL, OPT_MODE },
        { "owner", required_argument, NULL, OPT_OWNER },
        { "move-buckets", required_argument, NULL, OPT_MOVE_BUCKETS },
        { "dry-run", no_argument, NULL, OPT_DRY_RUN },
        OPTIONS_COMMON,
    };
    leat_topic_options options = LEAT_TOPIC_DEFAULTS;
    bool any = false;
    for (int c; (c = options_next(cli, argc, argv, "", longs)) >= 0; any = true) {
        switch (c) {
        case OPT_PARTITIONS:
            options.partitions = (uint32_t)options_number(cli, "--partitions", optarg, 1, 4096);
            break;
        case OPT_RETENTION_BYTES:
            options.retention_bytes = topic_read_retention_bytes(cli, optarg);
            break;
        case OPT_RETENTION_MS:
            options.retention_ms = topic_read_retention_ms(cli, optarg);
            break;
        case OPT_ON_FULL:
            options.on_full = (enum leat_on_full)options_word(cli, "--on-full", optarg, topic_on_full);
            break;
        case OPT_MODE:
            options.mode = topic_read_mode(cli, optarg);
            break;
        case OPT_OWNER:
            options.owner = optarg;
            break;
        case OPT_MOVE_BUCKETS:
            refuse_later(cli, "--move-buckets");
            break;
        default:
            refuse_later(cli, "--dry-run");
        }
    }
    if (!any)
        cli_misused(cli, "alter what?");
    return options;
}

static int alter(const struct cli *cli, leat_bus *bus, const char *topic, void *user)
{
    const leat_topic_options *options = user;
    leat_topic_info *info;
    int r = leat_topic_alter(bus, topic, options);
    if (r >= 0 && !cli->json) {
        printf("%s altered\n", topic);
        return CLI_DONE;
    }
    if (r >= 0)
        r = leat_topic_describe(bus, topic, &info);
    if (r < 0)
        return topic_fail(cli, topic, r);
    struct json json = { .out = stdout };
    topic_print_json(&json, info);
    putchar('\n');
    leat_topic_info_free(info);
    return CLI_DONE;
}

int topic_alter_main(struct cli *cli, int argc, char **argv)
{
    leat_topic_options options = read_settings(cli, argc, argv);
    return topic_for_names(cli, argc, argv, alter, &options);
}

/* ---- resume ---- */

struct resumption {
    int32_t partition; /* -1: all that have failed */
    unsigned flags;
};

static int resume(const struct cli *cli, leat_bus *bus, const char *topic, void *user)
{
    const struct resumption *what = user;
    int resumed = leat_topic_resume(bus, topic, what->partition, what->flags);
    if (resumed < 0)
        return topic_fail(cli, topic, resumed);
    if (!cli->json) {
        printf("%s: %d %s\n", topic, resumed, resumed == 1 ? "partition resumed" : "partitions resumed");
        return CLI_DONE;
    }
    struct json json = { .out = stdout };
    json_open(&json, '{');
    json_key(&json, "topic");
    json_text(&json, topic);
    json_key(&json, "resumed");
    json_int(&json, resumed);
    json_close(&json, '}');
    putchar('\n');
    return CLI_DONE;
}

int topic_resume_main(struct cli *cli, int argc, char **argv)
{
    enum { OPT_PARTITION = 1000, OPT_CUT };
    static const struct option longs[] = {
        { "partition", required_argument, NULL, OPT_PARTITION },
        { "cut", no_argument, NULL, OPT_CUT },
        OPTIONS_COMMON,
    };
    struct resumption what = { .partition = -1 };
    for (int c; (c = options_next(cli, argc, argv, "p:", longs)) >= 0;) {
        if (c == OPT_CUT)
            what.flags |= LEAT_CUT;
        else
            what.partition = (int32_t)options_number(cli, "--partition", optarg, 0, 4095);
    }
    return topic_for_names(cli, argc, argv, resume, &what);
}
