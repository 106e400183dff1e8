/* What the group commands share. */
#ifndef GROUP_H
#define GROUP_H

#include "cli.h"
#include "json.h"

#include <stdint.h>

/* Indexed by enum leat_assignor; NULL ends the list. */
extern const char *const group_assignors[];

/* Calls `each` for every name that stands behind the options (there has to be one), until one fails. */
typedef int group_each_fn(const struct cli *cli, leat_bus *bus, const char *group, void *user);
int group_for_names(const struct cli *cli, int argc, char **argv, group_each_fn *each, void *user);

/* Complains about a call on a group. Returns CLI_FAILED. */
int group_fail(const struct cli *cli, const char *group, int error);

/* A number, or null where it is negative: there is none. */
void group_json_number(struct json *json, int64_t number);
/* A string, or null where there is none. */
void group_json_name(struct json *json, const char *name);

#endif
