/* Stands in for data.c until that is there. */
#include <leat.h>

#include "base/err.h"
#include "leatd/data.h"

int lt_data_open_log(struct lt_worker *w, const struct lt_part *part, unsigned how, struct lt_plog **log)
{
    (void)w, (void)how;
    *log = NULL;
    return lt_fail(LEAT_EUNSUPPORTED, "topic %s: no data directory", part->topic->name);
}

int lt_data_groups_fd(const struct lt_worker *w)
{
    (void)w;
    return -1;
}
