/* leases: FUTEX_WAITV on the lease words of up to 127 clients a thread. A lease that fires is the first sign of a death, long
 * before the kernel has torn down the victim's memory and its pidfd tells. */
#ifndef LT_LEATD_LEASES_H
#define LT_LEATD_LEASES_H

#include "leatd/worker.h"

/* Under the lock. Watches the client's lease word until it has fired. */
void lt_leases_add(struct lt_worker *w, struct lt_client *client);
/* Under the lock. The mailbox is unmapped, now or by the thread that waits on it. */
void lt_leases_remove(struct lt_worker *w, struct lt_client *client);
/* Without the lock: ends all threads. Then, once no client is left: frees what they had. */
void lt_leases_stop(struct lt_worker *w);
void lt_leases_free(struct lt_worker *w);

#endif
