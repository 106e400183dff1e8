/* bus: the demo's private bus: a leatd of its own. */
#ifndef BUS_H
#define BUS_H

#include <stdbool.h>

/* In this directory, which leatd makes or has made in an earlier life. It ends when we do, however we do. What it says goes to
 * the file log. False: has said why. */
bool bus_start(const char *directory, const char *log);
/* Whether it stopped cleanly. */
bool bus_stop(void);

#endif
