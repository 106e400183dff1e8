/* fleet: members of a consumer group in processes of their own, and a checker that rides along in all of them.
 *
 *     fleet_topic(bus, "t", 3);
 *     fleet_feed(bus, "t", 3000);                          // records/s to each partition in turn, until fleet_dry
 *     struct child *a = fleet_join(bus, 0, .group = "g", .assignor = LEAT_COOPERATIVE_STICKY);
 *     fleet_settled(bus, "g", 1);
 *     ...
 *     fleet_dry(bus);
 *     fleet_finish(bus, "g");                              // all is read, committed, and nobody complained
 *
 * What the checker knows lies on the board, by (group, partition): who owns it, what was reported as committed, what was tried, how far it
 * was read. Each member checks, as it happens:
 *   - on_assigned: nobody else owns the partition (but somebody whom the test has killed or stopped), and it starts at or above
 *     every commit that was reported, and not above what was tried: no record is skipped, and what comes twice is above the last commit
 *   - each record: the one behind the last one, of the partition's own series, and the partition is ours
 *   - each commit: not below the one before
 * A member that the test is about to kill or stop is *doomed* first (fleet_doom): only then may others take over from it, and records come twice.
 */
#ifndef TESTS_FLEET_H
#define TESTS_FLEET_H

#include "bus.h"

enum { FLEET_MEMBERS = 64, FLEET_PARTITIONS = 32, FLEET_GROUPS = 2 };

struct fleet_member {
    const char *group;  /* "g" */
    const char *topics; /* with commas; "t" */
    enum leat_assignor assignor;
    const char *instance_id;
    int number; /* which of FLEET_GROUPS: 0 or 1 */
    int max_poll_interval_ms, rebalance_timeout_ms, session_timeout_ms, join_delay_ms;
    int slow_release_ms; /* on_revoked takes so long */
    int commit_every;    /* polls; 1 */
    bool auto_commit;    /* instead */
    bool rejoin;
    bool die_in_assign; /* the custom assignor's callback kills its process */
    int batch;          /* max_poll_records; 100 */
    const char *kill;   /* LEAT_KILL */
    int nothing;
};

/* A bus on which no claim is taken back however slow the machine is: the checker wants dense offsets. */
#define fleet_bus(...) bus_start("--stall-limit", "60000", ##__VA_ARGS__)

/* A topic of so many partitions, with rings that hold what a test sends. */
void fleet_topic(struct bus *bus, const char *topic, uint32_t partitions);
/* A process that sends numbered records, round robin, at this rate (0: as fast as it can) and at most `count` (0: until told). */
void fleet_feed(struct bus *bus, const char *topic, int rate, uint64_t count);
/* How many feeders have sent all of theirs. */
int fleet_fed(void);
/* The feeding ends. Returns how many records there are. */
uint64_t fleet_dry(void);

/* fleet_join(bus, 3, .group = "g"): member 3 of this test. */
#define fleet_join(bus, index, ...) \
    fleet_join_as(bus, index, (struct fleet_member){ .nothing = 0, ##__VA_ARGS__ })
struct child *fleet_join_as(struct bus *bus, int index, struct fleet_member member);
/* It leaves in good order. */
void fleet_leave(struct child *child, int index);
void fleet_doom(int index);
void fleet_kill(struct child *child, int index);
/* What a member has seen. */
uint64_t fleet_records(int index);
uint64_t fleet_revoked(int index); /* partitions, over all calls */
uint64_t fleet_assigned(int index);
uint64_t fleet_lost(int index);
uint64_t fleet_fenced(int index); /* polls and commits that said so */
uint64_t fleet_twice(void);       /* records that came to somebody again */

/* Until the group is stable with so many members. */
leat_group_info *fleet_settled(struct bus *bus, const char *group, int members);
leat_group_info *fleet_describe(struct bus *bus, const char *group);
/* Until everything that was sent to the topic is committed by the group; then the books are looked at. `number` as in the members. */
void fleet_finish(struct bus *bus, const char *group, const char *topic, int number);

#endif
