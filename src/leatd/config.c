/* config: one table of settings, read from a file or from options. See config.h. */
#include "leatd/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include <leat.h>
#include "shm/topic.h"
#include "store/topicfile.h"

#define NO_LIMIT UINT32_MAX
#define NO_END UINT64_MAX /* of retention; -1 in a signed field */

enum kind {
    COUNT,
    MILLISECONDS,
    SIZE,
    RETENTION_SIZE,
    RETENTION_MS,
    OCTAL,
    YES_NO,
    ON_FULL,
    PARTITIONER,
    LEVEL,
    LOG_LEVEL
};

#define AT(field) offsetof(struct lt_config, field)

static const struct lt_setting settings[] = {
    { "max-clients", "N", "clients of the bus", COUNT, AT(max_clients), 1, LT_CLIENTS_MAX - 1 },
    { "max-clients-per-uid", "N", "clients of one user", COUNT, AT(max_clients_per_uid), 1, NO_LIMIT },
    { "max-topics", "N", "topics of the bus", COUNT, AT(max_topics), 1, LT_PARTITIONS_MAX },
    { "max-topics-per-uid", "N", "topics owned by one user", COUNT, AT(max_topics_per_uid), 0, NO_LIMIT },
    { "max-partitions", "N", "partitions of the bus", COUNT, AT(max_partitions), 1, LT_PARTITIONS_MAX },
    { "max-partitions-per-uid", "N", "partitions owned by one user", COUNT, AT(max_partitions_per_uid), 0,
      NO_LIMIT },
    { "max-memory", "SIZE", "shared memory of the bus (half of the machine's)", SIZE, AT(max_memory), 1 << 20,
      INT64_MAX },
    { "max-memory-per-uid", "SIZE", "shared memory of one user's topics, groups and clients", SIZE,
      AT(max_memory_per_uid), 0, INT64_MAX },
    { "max-groups", "N", "consumer groups of the bus; half of them for one user", COUNT, AT(max_groups), 1,
      NO_LIMIT },
    { "group-retention", "MS", "how long an empty group keeps its committed offsets; 0: for ever",
      MILLISECONDS, AT(group_retention_ms), 0, 100ull * 365 * 24 * 3600 * 1000 },
    { "stall-limit", "MS", "how long a claim may hold up readers before it is taken back", COUNT,
      AT(stall_limit_ms), 1, 600000 },
    { "max-start-pause", "MS", "longest pause before a worker that keeps dying is started again", COUNT,
      AT(max_start_pause_ms), 1, 600000 },
    { "socket-mode", "OCTAL", "mode of the control socket", OCTAL, AT(socket_mode), 0, 0777 },
    { "auto-create", "yes|no", "create a topic when somebody attaches to produce to it", YES_NO,
      AT(auto_create), 0, 1 },
    { "log-level", "error|warn|info|debug", "what goes to stderr", LOG_LEVEL, AT(log_level), 0,
      LT_LOG_DEBUG },
    { "partitions", "N", "of a new topic", COUNT, AT(partitions), 1, LT_TOPIC_PARTITIONS_MAX },
    { "ring-size", "SIZE", "of a new topic: payload bytes of a partition", SIZE, AT(ring_size),
      LT_RING_SIZE_MIN, LT_RING_SIZE_MAX },
    { "on-full", "block|overwrite|error", "of a new topic", ON_FULL, AT(on_full), 0, LEAT_ERROR },
    { "partitioner", "xxh3|murmur2", "of a new topic", PARTITIONER, AT(partitioner), LEAT_XXH3,
      LEAT_MURMUR2 },
    { "mode", "OCTAL", "of a new topic: r consume, w produce", OCTAL, AT(mode), 0, 0777 },
    { "level", "ring|written|durable", "of a new topic: what an acknowledged record survives", LEVEL,
      AT(level), 0, LEAT_DURABLE },
    { "log", "yes|no", "of a new topic of level ring: whether it has a log all the same", YES_NO, AT(log), 0,
      1 },
    { "segment-bytes", "SIZE", "of a new topic: one file of its log", SIZE, AT(segment_bytes),
      LT_SEGMENT_BYTES_MIN, LT_SEGMENT_BYTES_MAX },
    { "retention-bytes", "SIZE|none", "of a new topic: what is kept of a partition's log", RETENTION_SIZE,
      AT(retention_bytes), 0, INT64_MAX },
    { "retention-ms", "MS|none", "of a new topic: for how long", RETENTION_MS, AT(retention_ms), 0,
      INT64_MAX },
};

static const char *const on_full_names[] = { "block", "overwrite", "error", NULL };
static const char *const partitioner_names[] = { "topic", "xxh3", "murmur2", NULL };
static const char *const level_names[] = { "ring", "written", "durable", NULL };
static const char *const log_names[] = { "error", "warn", "info", "debug", NULL };
static const char *const yes_no_names[] = { "no", "yes", NULL };

const struct lt_setting *lt_config_settings(size_t *count)
{
    *count = sizeof settings / sizeof *settings;
    return settings;
}

static uint64_t memory_of_machine(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 1ull << 30;
}

void lt_config_init(struct lt_config *config)
{
    memset(config, 0, sizeof *config);
    config->max_clients = 1000;
    config->max_topics = 10000;
    config->max_partitions = LT_PARTITIONS_MAX;
    config->max_memory = memory_of_machine() / 2;
    /* Nobody's share is all of it, so that one user cannot lock the others out. leatd's own user and root are exempt. */
    config->max_clients_per_uid = config->max_clients / 2;
    config->max_topics_per_uid = config->max_topics / 2;
    config->max_partitions_per_uid = config->max_partitions / 2;
    config->max_memory_per_uid = config->max_memory / 2;
    config->max_groups = 1000;
    config->group_retention_ms = 7ull * 24 * 3600 * 1000;
    config->stall_limit_ms = 100;
    config->max_start_pause_ms = 5000;
    config->socket_mode = 0666;
    config->log_level = LT_LOG_INFO;
    config->partitions = 1;
    config->ring_size = 4ull << 20;
    config->on_full = LEAT_BLOCK;
    config->partitioner = LEAT_XXH3;
    config->mode = 0660;
    config->level = LEAT_RING;
    config->log = 1;
    config->segment_bytes = 16ull << 20;
    config->retention_bytes = UINT64_MAX;
    config->retention_ms = -1;
}

int lt_config_size(const char *text, uint64_t *size)
{
    static const struct {
        const char *unit;
        unsigned shift;
    } units[] = { { "", 0 },     { "B", 0 },  { "k", 10 },   { "K", 10 }, { "KiB", 10 }, { "M", 20 },
                  { "MiB", 20 }, { "G", 30 }, { "GiB", 30 }, { "T", 40 }, { "TiB", 40 } };
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)text[0]) || errno != 0)
        return lt_fail(LEAT_EINVAL, "\"%s\" is no size", text);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].unit) != 0)
            continue;
        if (number > UINT64_MAX >> units[i].shift)
            return lt_fail(LEAT_EINVAL, "\"%s\" is too large", text);
        *size = (uint64_t)number << units[i].shift;
        return 0;
    }
    return lt_fail(LEAT_EINVAL, "\"%s\": unknown unit \"%s\" (k, M, G, KiB, MiB, GiB)", text, end);
}

static int read_number(const char *text, int base, uint64_t *number)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, base);
    if (!isdigit((unsigned char)text[0]) || *end != 0 || errno != 0)
        return lt_fail(LEAT_EINVAL, "\"%s\" is no %s number", text, base == 8 ? "octal" : "decimal");
    *number = value;
    return 0;
}

static int read_word(const char *text, const char *const *names, uint64_t *number)
{
    for (uint64_t i = 0; names[i]; i++) {
        if (strcmp(text, names[i]) == 0) {
            *number = i;
            return 0;
        }
    }
    return lt_fail(LEAT_EINVAL, "\"%s\" is none of the words that are known here", text);
}

static int read_value(const struct lt_setting *setting, const char *text, uint64_t *number)
{
    enum kind kind = (enum kind)setting->kind;
    if ((kind == RETENTION_SIZE || kind == RETENTION_MS) && strcmp(text, "none") == 0) {
        *number = NO_END;
        return 0;
    }
    switch (kind) {
    case COUNT:
    case MILLISECONDS:
    case RETENTION_MS:
        return read_number(text, 10, number);
    case SIZE:
    case RETENTION_SIZE:
        return lt_config_size(text, number);
    case OCTAL:
        return read_number(text, 8, number);
    case YES_NO:
        return read_word(text, yes_no_names, number);
    case ON_FULL:
        return read_word(text, on_full_names, number);
    case PARTITIONER:
        return read_word(text, partitioner_names, number);
    case LEVEL:
        return read_word(text, level_names, number);
    case LOG_LEVEL:
        return read_word(text, log_names, number);
    }
    return LEAT_EINVAL;
}

int lt_config_set(struct lt_config *config, const char *name, const char *value)
{
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        const struct lt_setting *setting = &settings[i];
        uint64_t number;
        if (strcmp(name, setting->name) != 0)
            continue;
        if (read_value(setting, value, &number) < 0) {
            char why[256];
            snprintf(why, sizeof why, "%s", lt_fail_text());
            return lt_fail(LEAT_EINVAL, "%s: %s; wanted: %s", name, why, setting->value);
        }
        bool is_wide = setting->kind == SIZE || setting->kind == MILLISECONDS ||
                       setting->kind == RETENTION_SIZE || setting->kind == RETENTION_MS;
        bool is_endless = number == NO_END && setting->kind != SIZE && setting->kind != MILLISECONDS &&
                          is_wide;
        if ((number < setting->min || number > setting->max) && !is_endless)
            return lt_fail(LEAT_EINVAL, "%s: %s is outside %llu..%llu", name, value,
                           (unsigned long long)setting->min, (unsigned long long)setting->max);
        char *field = (char *)config + setting->at;
        if (is_wide)
            memcpy(field, &number, sizeof number);
        else
            memcpy(field, &(uint32_t){ (uint32_t)number }, sizeof(uint32_t));
        return 0;
    }
    return lt_fail(LEAT_EINVAL, "%s: no such setting", name);
}

static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        text[--length] = 0;
    return text;
}

static int read_line(struct lt_config *config, char *line)
{
    char *comment = strchr(line, '#');
    if (comment)
        *comment = 0;
    line = trim(line);
    if (!*line)
        return 0;
    char *equals = strchr(line, '=');
    if (!equals)
        return lt_fail(LEAT_EINVAL, "\"%s\": wanted: name = value", line);
    *equals = 0;
    return lt_config_set(config, trim(line), trim(equals + 1));
}

int lt_config_read(struct lt_config *config, const char *file)
{
    char line[1024], why[256];
    FILE *in = fopen(file, "re");
    if (!in)
        return lt_fail_errno(errno, "%s", file);
    int r = 0;
    for (unsigned number = 1; r == 0 && fgets(line, sizeof line, in); number++) {
        if (!strchr(line, '\n') && !feof(in)) {
            r = lt_fail(LEAT_EINVAL, "%s:%u: a line of more than %zu bytes", file, number, sizeof line - 2);
        } else if ((r = read_line(config, line)) < 0) {
            snprintf(why, sizeof why, "%s", lt_fail_text());
            r = lt_fail(r, "%s:%u: %s", file, number, why);
        }
    }
    if (r == 0 && ferror(in))
        r = lt_fail_errno(errno, "read %s", file);
    fclose(in);
    return r;
}
