/* readers: consumers' bells, and which entries of which mailboxes count as readers of a partition. */
#ifndef LT_LEATD_READERS_H
#define LT_LEATD_READERS_H

#include "leatd/worker.h"

/* All under the lock. 0 or LEAT_E... with a message. */
int lt_readers_open_consumer(struct lt_worker *w, struct lt_client *client,
                             const struct lt_consumer_open *request, uint32_t *bell);
int lt_readers_close_consumer(struct lt_worker *w, struct lt_client *client, uint32_t bell);
/* A member's is listed when, and as long as, its group says that it owns the partition. */
int lt_readers_open(struct lt_worker *w, struct lt_conn *conn, uint32_t entry, bool member);
int lt_readers_close(struct lt_worker *w, struct lt_client *client, uint32_t entry);

/* The partition was granted to this member, or taken from it: its bell goes on or off the list, if it has a reader there. */
void lt_readers_list(struct lt_part *part, uint32_t client, uint32_t bell, bool on);
bool lt_readers_is_listed(const struct lt_part *part, uint32_t client, uint32_t bell);

/* Everything of a client that is dead: readers, then bells. Also by what the regions say alone. */
void lt_readers_close_all(struct lt_worker *w, uint32_t client_id);
/* After adoption of all clients: entries of mailboxes that count; then listed bells that no entry stands behind go. */
void lt_readers_adopt(struct lt_worker *w, struct lt_client *client);
void lt_readers_adopt_done(struct lt_worker *w);
/* A topic goes away: its readers with it. */
void lt_readers_forget_topic(struct lt_worker *w, struct lt_topic *topic);

/* What this client reads may have been held up by it. */
void lt_readers_knock(struct lt_worker *w, const struct lt_client *client);

/* The lowest pin at or above `limit`, and the lowest keep; LT_PIN_NONE when there is none. A pin below a limit that was
 * published cannot have passed its check, so it holds nothing. Nobody who LEFT
 * is waited for: a pin of theirs guards memory that they may still read, a keep is only a wish. */
uint64_t lt_readers_pin(struct lt_worker *w, const struct lt_part *part, uint64_t limit);
uint64_t lt_readers_keep(struct lt_worker *w, const struct lt_part *part);

#endif
