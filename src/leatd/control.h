/* control: the thread that talks to clients. */
#ifndef LT_LEATD_CONTROL_H
#define LT_LEATD_CONTROL_H

#include "leatd/worker.h"

int lt_control_start(
    struct lt_worker *w); /* makes epoll and all that; the thread starts with lt_control_serve */
int lt_control_serve(struct lt_worker *w);
/* Asks the thread to end; any thread. */
void lt_control_end(struct lt_worker *w);
void lt_control_wait(struct lt_worker *w);
/* The thread has ended, or never began: closes everything. */
void lt_control_free(struct lt_worker *w);
/* Under the lock: a client's pidfd, on and off the list of what is waited for. */
int lt_control_watch_client(struct lt_worker *w, struct lt_client *client);
void lt_control_unwatch_client(struct lt_worker *w, struct lt_client *client);

#endif
