/* pin: the reader's half of reclaim, on its own entry of its mailbox. The other half, and why the two meet, is in reclaim.h.
 *
 *   lt_pin_take   pin, compiler barrier, look at what is announced: true, and everything from `offset` on in this ring stays as it
 *                 is until the pin is dropped; false: too late, drop it and go on elsewhere
 *   lt_pin_drop   every read in place is over
 *
 * A pin holds the ring whose gate was looked at, and no other: leatd takes a pin below a ring's limit for one that holds
 * nothing there, so a reader that goes on into the next ring drops its views and pins anew.
 */
#ifndef LT_SHM_PIN_H
#define LT_SHM_PIN_H

#include "shm/mailbox.h"
#include "shm/ring.h"

/* The store alone, for whoever looks at `announced` later; a light fence comes behind it. */
static inline void lt_pin_store(struct lt_reader *reader, uint64_t offset)
{
    /* [reader.pin] release: it may take the place of a pin further back, and says as [reader.unpin] does that reads below
     * it are over. Pairs with leatd's acquire load. Before the next load it is brought by leatd's membarrier. */
    lt_store_release64(&reader->pin, offset);
    lt_fence_light();
}

static inline bool lt_pin_take(struct lt_reader *reader, const struct lt_ring_gate *gate, uint64_t offset)
{
    lt_pin_store(reader, offset);
    /* [reclaim.announce] acquire. Either leatd sees the pin, or this sees its announcement. */
    return lt_load_acquire64(&gate->announced) <= offset;
}

static inline void lt_pin_drop(struct lt_reader *reader)
{
    /* [reader.unpin] release: every read in place is over. Pairs with leatd's acquire load of the pin. */
    lt_store_release64(&reader->pin, LT_PIN_NONE);
}

#endif
