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
/* Under the lock, any thread: the answer to a request of which it was said that it comes later. Nothing when that connection is gone. With
 * an error goes lt_fail's text. */
void lt_control_answer(struct lt_worker *w, uint32_t index, uint32_t generation, const struct lt_msg *head,
                       int result);
/* Under the lock: a client's pidfd, on and off the list of what is waited for. */
int lt_control_watch_client(struct lt_worker *w, struct lt_client *client);
void lt_control_unwatch_client(struct lt_worker *w, struct lt_client *client);

#endif
