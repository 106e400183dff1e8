/* clients: the client table: who comes, who left, who is dead, and what is freed when. See src/README.md, "A client's life".
 *
 *   FREE --hello--> ALIVE --lease fires--> LEFT --pidfd--> DEAD --cleaned--> FREE
 *                     |                                      |
 *                     '------------- pidfd, BYE -------------'
 *
 * LEFT aborts and helps and frees nothing. DEAD frees: claims' memory, pins, readers, bells, writer bits, exclusive holds;
 * then the id. The order of the steps is such that a worker that dies among them finds the entry DEAD and does them all again.
 */
#ifndef LT_LEATD_CLIENTS_H
#define LT_LEATD_CLIENTS_H

#include "leatd/worker.h"

/* All under the lock. */

/* A new client for this connection. Descriptors for the answer, which belong to the tables but for the first, which is to be
 * closed: coordinator (read-only), bells, mailbox. 0 or LEAT_E... with a message. */
int lt_clients_enter(struct lt_worker *w, struct lt_conn *conn, const struct lt_hello *hello, int fds[3]);
/* The same client again, over this connection. */
/* The name that `leat status --clients` shows, as a consumer's options give it; cut to what an entry has room for. */
void lt_clients_name(struct lt_worker *w, const struct lt_client *client, const char *name);
int lt_clients_resume(struct lt_worker *w, struct lt_conn *conn, const struct lt_hello *hello);
/* A client that the last worker knew; its mailbox and pidfd are in keep's table. 0 or an error. */
int lt_clients_adopt(struct lt_worker *w, uint32_t id);

/* Its lease fired. */
void lt_clients_left(struct lt_worker *w, struct lt_client *client);
/* Its pidfd fired, or it said goodbye. The client is freed. */
void lt_clients_dead(struct lt_worker *w, struct lt_client *client, const char *how);
/* What a DEAD entry still holds anywhere, also without a struct lt_client (adoption). Leaves the entry FREE. */
void lt_clients_clean(struct lt_worker *w, uint32_t id);

/* Repairs all rings that this client can have written, with every owner's fate, and wakes who waits there. */
void lt_clients_repair(struct lt_worker *w, uint32_t id);
/* The same for one partition; wakes everybody when `wake_all`, else only if something was published. */
void lt_clients_repair_part(struct lt_worker *w, struct lt_part *part, bool wake_all);

int lt_clients_rows(struct lt_worker *w, uint32_t from, struct lt_client_row *rows, uint32_t room);
void lt_clients_free(struct lt_worker *w, struct lt_client *client);

#endif
