/* io_fail: a table that stands before another one and fails what a test wants to fail; see io_fail.c. */
#ifndef LT_STORE_IO_FAIL_H
#define LT_STORE_IO_FAIL_H

#include "store/io.h"

/* `inner` itself, unless this is a fault build and LEAT_IO_FAIL is set. */
#ifdef LT_KILL_POINTS
struct lt_io *lt_io_failing(struct lt_io *inner);
#else
static inline struct lt_io *lt_io_failing(struct lt_io *inner)
{
    return inner;
}
#endif

#endif
