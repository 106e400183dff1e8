/* keeper: the process that holds what must outlive a worker. It writes to no region and speaks to no client.
 *
 * It starts the worker, stores descriptors for it, watches its pidfd and starts another when it dies: at once; after three
 * starts within a second, with a pause that doubles up to max-start-pause. Its own death is the worker's to mend.
 */
#ifndef LT_LEATD_KEEPER_H
#define LT_LEATD_KEEPER_H

#include "leatd/config.h"

/* Opens the bus and serves it until it is told to end. die_fd: see leatd(8) --die-with-fd; -1: none. Returns the exit
 * status. */
int lt_keeper_run(const struct lt_config *config, int die_fd);
/* leatd --keeper FD: takes over from a keeper that died; everything comes from the worker. */
int lt_keeper_take_over(int link);

#endif
