/* worker: a consumer process of the group, which stores orders. It may be killed at any instruction.
 *
 * Why every order is stored once, whoever dies when:
 *  - the orders of a poll are stored in one transaction, and only then are their offsets committed. Who dies before that
 *    leaves them uncommitted, and the heir of the partition gets them again: none is lost;
 *  - an order that the store has already is passed over (insert or ignore, by order id): none is doubled;
 *  - a partition has one owner at a time, and the heir starts at the last commit: orders of a customer stay in order;
 *  - transaction and commit (LEAT_SYNC, of a durable topic) are on the disk when they return: the same holds when everything
 *    dies at once, leatd too, and another life of the demo is the heir.
 */
#ifndef WORKER_H
#define WORKER_H

#include "sink.h"

/* Until SIGTERM. Returns the exit status. */
int worker_main(int who, const char *name, const struct sink_kind *kind, const char *where);

#endif
