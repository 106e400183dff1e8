/* bus: the demo's private bus: a leatd on a fresh directory. */
#ifndef BUS_H
#define BUS_H

#include <stdbool.h>
#include <stddef.h>

/* It ends when we do, however we do. False: has said why. */
bool bus_start(char *directory, size_t directory_size);
/* Removes the directory, too. Whether it stopped cleanly. */
bool bus_stop(void);

#endif
