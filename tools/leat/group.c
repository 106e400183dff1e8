/* What the group commands share: see group.h. */
#include "group.h"

#include <stddef.h>

const char *const group_assignors[] = { "range",    "roundrobin", "sticky", "cooperative-sticky",
                                        "failover", NULL };
