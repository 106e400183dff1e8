/* leat group plan: what an assignor would do with a group that somebody describes.
 *
 *     {"topics":{"t1":3},"members":{"c1":["t1"],"c2":["t1"]},"owned":{"c1":["t1-0"]},"generation":{"c1":4}}
 *
 * Reads JSON, leaves the thinking to leat_group_plan(). Whoever is not among the members has left: what it owned is anybody's. What a
 * member subscribes to or owns and is not among the topics has been deleted, and has nothing to give.
 */
#include "cli.h"
#include "group.h"
#include "json.h"
#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plan {
    const struct cli *cli;
    enum leat_assignor assignor;
    const char *file; /* as in complaints */
    json_t *root;     /* every string of the plan lies in here */
    leat_plan_topic *topics;
    int topic_count;
    leat_plan_member *members; /* in the order of the input */
    int member_count;
};

enum { BAD = -1 };

/* Complaints have the place in front, as in "owned.c1: ...", and a value as it is in the input, if that is short. */
struct shown {
    char text[80];
};

static struct shown shown(const json_t *value)
{
    struct shown shown;
    size_t room = sizeof shown.text - 4; /* for "..." */
    size_t size = json_dumpb(value, shown.text, room, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    if (size > room)
        memcpy(shown.text + room, "...", 4);
    else
        shown.text[size] = 0;
    return shown;
}

/* ---- the text ---- */

/* A line of the parser's about a text that may have anything in it. */
static int fail_parse(struct plan *plan, json_error_t *error)
{
    for (char *c = error->text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    cli_fail(plan->cli, "%s: line %d, column %d: %s", plan->file, error->line, error->column, error->text);
    return BAD;
}

static int read_text(struct plan *plan, const char *path)
{
    json_error_t error;
    FILE *in = stdin;
    plan->file = "stdin";
    if (path && strcmp(path, "-") != 0) {
        plan->file = path;
        in = fopen(path, "re");
    }
    if (!in)
        return cli_fail(plan->cli, "%s: %s", path, strerror(errno)), BAD;
    plan->root = json_loadf(in, JSON_REJECT_DUPLICATES, &error);
    bool unread = ferror(in);
    int why = errno;
    if (in != stdin)
        fclose(in);
    if (unread)
        return cli_fail(plan->cli, "%s: %s", plan->file, strerror(why)), BAD;
    return plan->root ? 0 : fail_parse(plan, &error);
}

/* ---- its parts ---- */

/* One of the root's objects; an empty one where there is none. */
static int take_object(struct plan *plan, const char *name, bool needed, json_t **object)
{
    *object = json_object_get(plan->root, name);
    if (!*object && needed)
        return cli_fail(plan->cli, "%s is missing", name), BAD;
    if (!*object) {
        *object = json_object();
        cli_have(*object);
        json_object_set_new(plan->root, name, *object);
    }
    if (!json_is_object(*object))
        return cli_fail(plan->cli, "%s: %s is no object", name, shown(*object).text), BAD;
    return 0;
}

static int check_fields(struct plan *plan)
{
    static const char *const known[] = { "topics", "members", "owned", "generation", "instance_id" };
    const char *name;
    json_t *value;
    if (!json_is_object(plan->root))
        return cli_fail(plan->cli, "%s: %s is no object", plan->file, shown(plan->root).text), BAD;
    json_object_foreach(plan->root, name, value)
    {
        size_t i = 0;
        while (i < sizeof known / sizeof known[0] && strcmp(known[i], name) != 0)
            i++;
        if (i == sizeof known / sizeof known[0])
            return cli_fail(plan->cli, "%s: no such field: topics, members, owned, generation, instance_id",
                            name),
                   BAD;
    }
    return 0;
}

static int read_topics(struct plan *plan)
{
    json_t *topics, *count;
    const char *name;
    if (take_object(plan, "topics", true, &topics) < 0)
        return BAD;
    plan->topics = cli_have(calloc(json_object_size(topics) + 1, sizeof *plan->topics));
    json_object_foreach(topics, name, count)
    {
        if (!json_is_integer(count) || json_integer_value(count) < 0 ||
            json_integer_value(count) > UINT32_MAX)
            return cli_fail(plan->cli, "topics.%s: %s is no number of partitions", name, shown(count).text),
                   BAD;
        plan->topics[plan->topic_count++] = (leat_plan_topic){ name, (uint32_t)json_integer_value(count) };
    }
    return 0;
}

/* A list of strings, `where`.`name` of the input. NULL means the complaint is out. */
static const char **read_strings(struct plan *plan, const char *where, const char *name, const json_t *list)
{
    if (!json_is_array(list)) {
        cli_fail(plan->cli, "%s.%s: %s is no list", where, name, shown(list).text);
        return NULL;
    }
    const char **strings = cli_have(calloc(json_array_size(list) + 1, sizeof *strings));
    for (size_t i = 0; i < json_array_size(list); i++) {
        strings[i] = json_string_value(json_array_get(list, i));
        if (strings[i])
            continue;
        cli_fail(plan->cli, "%s.%s: %s is no name", where, name, shown(json_array_get(list, i)).text);
        free(strings);
        return NULL;
    }
    return strings;
}

static int read_members(struct plan *plan)
{
    json_t *members, *list;
    const char *id;
    if (take_object(plan, "members", true, &members) < 0)
        return BAD;
    plan->members = cli_have(calloc(json_object_size(members) + 1, sizeof *plan->members));
    json_object_foreach(members, id, list)
    {
        leat_plan_member *member = &plan->members[plan->member_count++];
        *member = (leat_plan_member){ .member_id = id, .generation = -1 };
        member->topics = read_strings(plan, "members", id, list);
        if (!member->topics)
            return BAD;
        member->topic_count = (int)json_array_size(list);
    }
    return 0;
}

/* TOPIC-PARTITION: names of topics may have a '-' themselves, so it is the last one that counts. The name is cut off in place. */
static bool split_part(char *text, leat_partition *part)
{
    char *dash = strrchr(text, '-');
    if (!dash || dash == text || strspn(dash + 1, "0123456789") != strlen(dash + 1) ||
        (dash[1] == '0' && dash[2]))
        return false;
    errno = 0;
    unsigned long long number = strtoull(dash + 1, NULL, 10);
    if (!dash[1] || errno || number > UINT32_MAX)
        return false;
    *dash = 0;
    *part = (leat_partition){ text, (uint32_t)number };
    return true;
}

/* The names live as long as the program: one block a member. */
static int read_owned(struct plan *plan, leat_plan_member *member, const json_t *list)
{
    const char **strings = read_strings(plan, "owned", member->member_id, list);
    if (!strings)
        return BAD;
    size_t count = json_array_size(list);
    leat_partition *parts = cli_have(calloc(count + 1, sizeof *parts));
    member->owned = parts;
    for (; (size_t)member->owned_count < count; member->owned_count++) {
        const char *text = strings[member->owned_count];
        if (split_part(cli_have(strdup(text)), &parts[member->owned_count]))
            continue;
        cli_fail(plan->cli, "owned.%s: '%s' is no TOPIC-PARTITION", member->member_id, text);
        free(strings);
        return BAD;
    }
    free(strings);
    return 0;
}

static int read_generation(struct plan *plan, leat_plan_member *member, const json_t *value)
{
    if (!json_is_integer(value) || json_integer_value(value) < -1)
        return cli_fail(plan->cli, "generation.%s: %s is no generation", member->member_id,
                        shown(value).text),
               BAD;
    member->generation = json_integer_value(value);
    return 0;
}

static int read_instance_id(struct plan *plan, leat_plan_member *member, const json_t *value)
{
    member->instance_id = json_string_value(value);
    if (!member->instance_id && !json_is_null(value))
        return cli_fail(plan->cli, "instance_id.%s: %s is no name", member->member_id, shown(value).text),
               BAD;
    return 0;
}

/* An object that says something about members, for each of them that it knows. */
static int read_about_members(struct plan *plan, const char *name,
                              int (*read)(struct plan *plan, leat_plan_member *member, const json_t *value))
{
    json_t *object;
    if (take_object(plan, name, false, &object) < 0)
        return BAD;
    for (int m = 0; m < plan->member_count; m++) {
        json_t *value = json_object_get(object, plan->members[m].member_id);
        if (value && read(plan, &plan->members[m], value) < 0)
            return BAD;
    }
    return 0;
}

static int compare_instances(const void *a, const void *b)
{
    const leat_plan_member *x = *(const leat_plan_member *const *)a, *y = *(const leat_plan_member *const *)b;
    return strcmp(x->instance_id ? x->instance_id : "", y->instance_id ? y->instance_id : "");
}

static int compare_ids(const void *a, const void *b)
{
    const leat_plan_member *x = *(const leat_plan_member *const *)a, *y = *(const leat_plan_member *const *)b;
    return strcmp(x->member_id, y->member_id);
}

/* Members in another order; to be freed. */
static leat_plan_member **sorted(struct plan *plan, int (*compare)(const void *a, const void *b))
{
    leat_plan_member **list = cli_have(calloc((size_t)plan->member_count + 1, sizeof(leat_plan_member *)));
    for (int m = 0; m < plan->member_count; m++)
        list[m] = &plan->members[m];
    qsort(list, (size_t)plan->member_count, sizeof(leat_plan_member *), compare);
    return list;
}

static int check_instances(struct plan *plan)
{
    leat_plan_member **list = sorted(plan, compare_instances);
    int r = 0;
    for (int m = 1; m < plan->member_count && r == 0; m++)
        if (list[m]->instance_id && compare_instances(&list[m - 1], &list[m]) == 0) {
            cli_fail(plan->cli, "instance_id: '%s' is both %s's and %s's", list[m]->instance_id,
                     list[m - 1]->member_id, list[m]->member_id);
            r = BAD;
        }
    free(list);
    return r;
}

static int read_plan(struct plan *plan, const char *path)
{
    if (read_text(plan, path) < 0 || check_fields(plan) < 0 || read_topics(plan) < 0 ||
        read_members(plan) < 0 || read_about_members(plan, "owned", read_owned) < 0 ||
        read_about_members(plan, "generation", read_generation) < 0 ||
        read_about_members(plan, "instance_id", read_instance_id) < 0)
        return BAD;
    return check_instances(plan);
}

/* ---- the answer ---- */

static void print_part(struct json *json, const leat_partition *part)
{
    char text[512], *whole = text;
    int size = snprintf(text, sizeof text, "%s-%" PRIu32, part->topic, part->partition);
    if (size >= (int)sizeof text && asprintf(&whole, "%s-%" PRIu32, part->topic, part->partition) < 0)
        cli_have(NULL);
    json_text(json, whole);
    if (whole != text)
        free(whole);
}

static void print_plan(struct plan *plan)
{
    struct json json = { .out = stdout };
    leat_plan_member **list = sorted(plan, compare_ids);
    json_open(&json, '{');
    for (int m = 0; m < plan->member_count; m++) {
        json_key(&json, list[m]->member_id);
        json_open(&json, '[');
        for (int i = 0; i < list[m]->part_count; i++)
            print_part(&json, &list[m]->parts[i]);
        json_close(&json, ']');
    }
    json_close(&json, '}');
    putchar('\n');
    free(list);
}

int group_plan_main(struct cli *cli, int argc, char **argv)
{
    enum { OPT_ASSIGNOR = 1000 };
    static const struct option longs[] = {
        { "assignor", required_argument, NULL, OPT_ASSIGNOR },
        OPTIONS_COMMON,
    };
    struct plan plan = { .cli = cli };
    bool chosen = false;
    while (options_next(cli, argc, argv, "", longs) >= 0) {
        plan.assignor = (enum leat_assignor)options_word(cli, "--assignor", optarg, group_assignors);
        chosen = true;
    }
    if (!chosen)
        cli_misused(cli, "which --assignor?");
    if (argc - optind > 1)
        cli_misused(cli, "'%s': one FILE at most", argv[optind + 1]);
    if (read_plan(&plan, argv[optind]) < 0) /* what was read ends with the program */
        return CLI_FAILED;
    int r = leat_group_plan(plan.assignor, plan.topics, plan.topic_count, plan.members, plan.member_count);
    if (r < 0)
        return cli_fail_error(cli, r);
    print_plan(&plan);
    return CLI_DONE;
}
