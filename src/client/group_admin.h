/* group_admin: questions about groups, asked over the link. */
#ifndef LT_CLIENT_GROUP_ADMIN_H
#define LT_CLIENT_GROUP_ADMIN_H

#include <leat.h>

#include "shm/wire.h"

/* 0: go on; 1: that is enough; or an error. */
typedef int lt_offsets_fn(const struct lt_group_offset_row *row, void *user);

/* Every partition that the group has anything to do with. 0, or what the callback said, or LEAT_ENOGROUP, LEAT_EPERM, LEAT_EGONE. */
int lt_group_offsets(leat_bus *bus, const char *group, lt_offsets_fn *take, void *user);

/* 0, or LEAT_EINVAL; says "group". */
int lt_group_name_check(const char *group);

#endif
