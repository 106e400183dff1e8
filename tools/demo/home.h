/* home: the directory in which a demo leaves things: HOME/bus with the log in it, HOME/orders.db, HOME/ledger and what leatd
 * said. One of the user's stays, and another life of the demo goes on from it; one of our own is removed.
 */
#ifndef HOME_H
#define HOME_H

#include <stdbool.h>
#include <stdint.h>

/* keep: NULL, or where it is to be. need_bytes: how much room our own one has to have. False: has said why. */
bool home_make(const char *keep, uint64_t need_bytes);
/* The path of something in it; holds until the end. */
const char *home_path(const char *name);
/* Unless it is to stay. */
void home_leave(void);

#endif
