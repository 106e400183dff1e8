/* standby: readers of partitions that a member does not own, and may be granted: open with leatd, the current ring mapped, without a
 * position. To take one over costs no request. Their bells are on no list: records of others wake nobody.
 *
 * A member keeps what it has let go of, gets ready what leatd says is coming, and, when it has nothing else to do, one partition
 * after the other of its topics, up to LT_STANDBYS. Rings that were rotated away and topics that were deleted are let
 * go when it next idles: their memory is freed by the last who has it mapped.
 *
 * What a death leaves: entries without pin, keep or commit, of which leatd forgets with the client.
 * Point: standby.open (leatd knows the reader, the member does not count on it yet).
 */
#ifndef LT_CLIENT_STANDBY_H
#define LT_CLIENT_STANDBY_H

#include "client/member.h"

/* The standby of that partition, if there is one: the caller's from here on. */
struct lt_cursor *lt_standby_take(leat_consumer *c, const struct lt_attached *topic, uint32_t partition);
/* Of a cursor that is nobody's any more, and whose reader is open. Closed, if there is no memory for it. */
void lt_standby_keep(leat_consumer *c, struct lt_cursor *cursor);
struct lt_standby {
    struct lt_attached *topic;
    uint32_t partition;
};
/* Opens those that are not there yet, all together. What fails is left out: it is met again, and said, when it is granted. */
void lt_standby_open(leat_consumer *c, const struct lt_standby *wanted, uint32_t count);
/* An assignment has changed: in a while, at idle moments, it is seen to that what may come is ready. */
void lt_standby_plan(leat_consumer *c);
/* An idle moment: at most one partition is opened. */
void lt_standby_step(leat_consumer *c);
/* Rings and topics that are gone are let go of. */
void lt_standby_freshen(leat_consumer *c);
void lt_standby_drop_all(leat_consumer *c);
bool lt_standby_uses(const leat_consumer *c, const struct lt_attached *topic);

#endif
