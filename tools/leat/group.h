/* What the group commands share. */
#ifndef GROUP_H
#define GROUP_H

#include "cli.h"

/* Indexed by enum leat_assignor; NULL ends the list. */
extern const char *const group_assignors[];

#endif
