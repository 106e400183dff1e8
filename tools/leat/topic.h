/* What the topic commands share: the words of settings, and how a topic is shown. */
#ifndef TOPIC_H
#define TOPIC_H

#include "cli.h"
#include "json.h"
#include "table.h"

/* Lists that NULL ends, indexed by the enums of leat.h; partitioners begin with LEAT_XXH3, so theirs is one less. */
extern const char *const topic_levels[];
extern const char *const topic_on_full[];
extern const char *const topic_partitioners[];

void topic_print_json(struct json *json, const leat_topic_info *info);
void topic_print(const leat_topic_info *info);

/* Options that create and alter have both: what was said, as leat.h has it. */
uint32_t topic_read_mode(const struct cli *cli, const char *text);
int64_t topic_read_retention_bytes(const struct cli *cli, const char *text);
int64_t topic_read_retention_ms(const struct cli *cli, const char *text);

/* What topics cost, one a line. */
void topic_cost_begin(struct table *table);
void topic_cost_add(struct table *table, const leat_topic_info *info);

/* Calls `each` for every name that stands behind the options (there has to be one), until one fails. */
typedef int topic_each_fn(const struct cli *cli, leat_bus *bus, const char *topic, void *user);
int topic_for_names(const struct cli *cli, int argc, char **argv, topic_each_fn *each, void *user);

/* Complains about a call on a topic. Returns CLI_FAILED. */
int topic_fail(const struct cli *cli, const char *topic, int error);

#endif
