/* assignment: what leatd assigns to a member: reading it (news, or SYNC), letting go of what is to go, taking over what is new.
 *
 *   rows against         cursors:   another grant       lost: on_lost, close
 *                                   asked back, or gone revoked: commit (auto), on_revoked, RELEASE; it stays as a standby
 *                                   the same            stays
 *                                   no cursor           taken: a standby's reader, or a new one; placed; on_assigned
 *                                   coming              its reader is opened and its ring mapped while another lets go of it
 */
#ifndef LT_CLIENT_ASSIGNMENT_H
#define LT_CLIENT_ASSIGNMENT_H

#include "client/member.h"

/* What becomes of a cursor. */
enum lt_fate { LT_FATE_STAYS = 0, LT_FATE_LOST = 1, LT_FATE_REVOKED = 2 };

/* Asks what has changed and does it. 0, LEAT_EFENCED (evicted), or another error. */
int lt_assignment_sync(leat_consumer *c);

void lt_assignment_doom(leat_consumer *c, enum lt_fate fate);
/* Calls back with the cursors of this fate that on_assigned was told of (`told`), or was not. */
int lt_assignment_tell(leat_consumer *c, leat_partitions_fn *callback, enum lt_fate fate, bool told);

#endif
