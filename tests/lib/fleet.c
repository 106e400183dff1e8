/* fleet: see fleet.h. */
#include "fleet.h"

#include "base/atomic.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- the board ---- */

enum {
    SENT = 0,
    STOP_FEEDING = 1,
    TWICE = 2,
    FEEDERS_DONE = 3,
    ANY_DOOMED = 4,
    NEXT_LIFE = 5,
    MEMBERS_AT = 64,
    MEMBER_WORDS = 16,
    PARTS_AT = MEMBERS_AT + FLEET_MEMBERS * MEMBER_WORDS,
    PART_WORDS = 8,
    LIVES_AT = PARTS_AT + FLEET_GROUPS * FLEET_PARTITIONS * PART_WORDS,
    LIVES_MAX = 4096,
};
enum { M_LEAVE, M_LIFE, M_RECORDS, M_REVOKED, M_ASSIGNED, M_LOST, M_FENCED };
enum { P_OWNER, P_REPORTED, P_TRIED, P_READ };

static uint32_t member_word(int index, uint32_t field)
{
    return MEMBERS_AT + (uint32_t)index * MEMBER_WORDS + field;
}

static uint64_t *part_word(int group, uint32_t partition, uint32_t field)
{
    CHECK(partition < FLEET_PARTITIONS);
    return board() + PARTS_AT + ((uint32_t)group * FLEET_PARTITIONS + partition) * PART_WORDS + field;
}

/* ---- feeding ---- */

void fleet_topic(struct bus *bus, const char *topic, uint32_t partitions)
{
    bus_topic(bus, topic, .partitions = partitions, .ring_size = 1 << 20);
}

static void sleep_us(int64_t us)
{
    struct timespec pause = { us / 1000000, us % 1000000 * 1000 };
    nanosleep(&pause, NULL);
}

/* ARG 0: topic, ARG 1: records/s, ARG 2: at most so many. */
ROLE(fleet_feeder)
{
    leat_bus *bus = role_open();
    leat_producer *producer = open_producer(bus, role_arg(0), NULL);
    int64_t rate = role_number(1), count = role_number(2);
    uint32_t partitions = (uint32_t)leat_producer_partitions(producer);
    double began = now_s();
    say("ready");
    for (int64_t n = 0; (count == 0 || n < count) && board_get(STOP_FEEDING) == 0; n++) {
        leat_record record = { .value = &n, .value_size = sizeof n };
        CHECK_OK(leat_producer_send_to(producer, (uint32_t)(n % partitions), &record, NULL));
        board_add(SENT, 1);
        while (rate != 0 && (double)(n + 1) / (double)rate > now_s() - began && board_get(STOP_FEEDING) == 0)
            sleep_us(200);
    }
    CHECK_OK(leat_producer_close(producer));
    leat_close(bus);
    board_add(FEEDERS_DONE, 1);
}

static struct child *feeders[8];
static int feeder_count;

void fleet_feed(struct bus *bus, const char *topic, int rate, uint64_t count)
{
    struct child *child = bus_spawn(bus, fleet_feeder,
                                    .args = { topic, text("%d", rate), text("%" PRIu64, count) });
    child_expect(child, "ready");
    feeders[feeder_count++] = child;
}

int fleet_fed(void)
{
    return (int)board_get(FEEDERS_DONE);
}

uint64_t fleet_dry(void)
{
    board_set(STOP_FEEDING, 1);
    while (feeder_count != 0)
        child_end_in(feeders[--feeder_count], 60);
    board_set(STOP_FEEDING, 0);
    return board_get(SENT);
}

/* ---- a member ---- */

static int me, group_number;
static uint64_t my_life;
static int64_t slow_release_ms, next_offset[FLEET_PARTITIONS];
static uint32_t mine[FLEET_PARTITIONS];
static bool die_in_assign;

/* A doomed member may be late, so words only grow. */
static void raise_to(uint64_t *word, uint64_t value)
{
    uint64_t seen = lt_load_acquire64(word);
    while (seen < value && !lt_cas64(word, &seen, value))
        ;
}

/* A member that is started again under its number is another life, and does not answer for the one before. */
static bool is_doomed(uint64_t life)
{
    return board_get(LIVES_AT + (uint32_t)life) != 0;
}

/* Topics "t", "t1", "t2" ... have their parts apart. */
static uint32_t key_of(const char *topic, uint32_t partition)
{
    size_t length = strlen(topic);
    char last = topic[length - 1];
    uint32_t digit = last >= '1' && last <= '7' ? (uint32_t)(last - '0') : 0;
    return partition + digit * 4;
}

static void assigned(leat_consumer *c, const leat_partition *parts, int count, void *user)
{
    (void)user;
    CHECK(count > 0);
    for (int i = 0; i < count; i++) {
        uint32_t p = key_of(parts[i].topic, parts[i].partition);
        uint64_t before = lt_exchange64(part_word(group_number, p, P_OWNER), my_life + 1);
        if (before != 0 && !is_doomed(before - 1))
            FAIL("partition %u was given to member %d while life %d had it", p, me, (int)before - 1);
        int64_t at = leat_consumer_position(c, parts[i].topic, parts[i].partition);
        int64_t reported = (int64_t)lt_load_acquire64(part_word(group_number, p, P_REPORTED));
        int64_t tried = (int64_t)lt_load_acquire64(part_word(group_number, p, P_TRIED));
        if (at < reported || at > tried)
            FAIL("partition %u: member %d starts at %" PRId64 "; committed: %" PRId64 ", tried: %" PRId64, p,
                 me, at, reported, tried);
        int64_t read = (int64_t)lt_load_acquire64(part_word(group_number, p, P_READ));
        if (at < read) {
            if (before == 0 && board_get(ANY_DOOMED) == 0)
                FAIL("partition %u: %" PRId64 " records come twice, and nobody was killed", p, read - at);
            board_add(TWICE, (uint64_t)(read - at));
        }
        next_offset[p] = at;
    }
    board_add(member_word(me, M_ASSIGNED), (uint64_t)count);
}

static void let_go(const leat_partition *parts, int count)
{
    for (int i = 0; i < count; i++) {
        uint64_t expected = my_life + 1;
        uint32_t p = key_of(parts[i].topic, parts[i].partition);
        if (!lt_cas64(part_word(group_number, p, P_OWNER), &expected, 0) && !is_doomed(my_life))
            FAIL("partition %u: member %d lets go of what life %d has", parts[i].partition, me,
                 (int)expected - 1);
        next_offset[key_of(parts[i].topic, parts[i].partition)] = -1;
    }
}

static void commit(leat_consumer *c)
{
    const leat_partition *parts;
    int count = CHECK_OK(leat_consumer_assignment(c, &parts));
    int64_t offsets[FLEET_PARTITIONS];
    for (int i = 0; i < count; i++) {
        uint32_t p = key_of(parts[i].topic, parts[i].partition);
        mine[i] = p;
        offsets[i] = next_offset[p];
        raise_to(part_word(group_number, p, P_TRIED), (uint64_t)offsets[i]);
    }
    int r = leat_consumer_commit(c, LEAT_SYNC);
    if (r == LEAT_EFENCED) {
        CHECK(is_doomed(my_life));
        board_add(member_word(me, M_FENCED), 1);
        return;
    }
    CHECK_OK(r);
    for (int i = 0; i < count; i++) {
        uint64_t *reported = part_word(group_number, mine[i], P_REPORTED);
        int64_t before = (int64_t)lt_load_acquire64(reported);
        if (offsets[i] < before)
            FAIL("partition %u: member %d commits %" PRId64 " behind %" PRId64, mine[i], me, offsets[i],
                 before);
        lt_store_release64(reported, (uint64_t)offsets[i]);
    }
}

static void revoked(leat_consumer *c, const leat_partition *parts, int count, void *user)
{
    CHECK(count > 0);
    if (slow_release_ms != 0)
        sleep_us(slow_release_ms * 1000);
    if (user == NULL)
        commit(c); /* it lands even now */
    else           /* automatic: it has landed by now */
        for (int i = 0; i < count; i++)
            lt_store_release64(
                part_word(group_number, key_of(parts[i].topic, parts[i].partition), P_REPORTED),
                (uint64_t)next_offset[key_of(parts[i].topic, parts[i].partition)]);
    let_go(parts, count);
    board_add(member_word(me, M_REVOKED), (uint64_t)count);
}

static void lost(leat_consumer *c, const leat_partition *parts, int count, void *user)
{
    (void)c, (void)user;
    CHECK(count > 0);
    CHECK(is_doomed(my_life));
    for (int i = 0; i < count; i++) {
        uint64_t expected = my_life + 1;
        lt_cas64(part_word(group_number, key_of(parts[i].topic, parts[i].partition), P_OWNER), &expected, 0);
        next_offset[key_of(parts[i].topic, parts[i].partition)] = -1;
    }
    board_add(member_word(me, M_LOST), (uint64_t)count);
}

/* Members in turn. */
static int deal(const leat_assign_view *view, int *owner, void *user)
{
    (void)user;
    if (die_in_assign)
        raise(SIGKILL);
    for (int i = 0; i < view->part_count; i++)
        owner[i] = i % view->member_count;
    return 0;
}

static void take_record(const leat_record *record, bool automatic)
{
    uint32_t p = key_of(record->topic, record->partition);
    CHECK_EQ(record->value_size, sizeof(int64_t));
    if ((int64_t)record->offset != next_offset[p])
        FAIL("partition %u: member %d got offset %" PRIu64 " and wanted %" PRId64, p, me, record->offset,
             next_offset[p]);
    uint64_t owner = lt_load_acquire64(part_word(group_number, p, P_OWNER));
    if (owner != my_life + 1 && !is_doomed(my_life))
        FAIL("partition %u: member %d reads what life %d has", p, me, (int)owner - 1);
    next_offset[p]++;
    raise_to(part_word(group_number, p, P_READ), (uint64_t)next_offset[p]);
    if (automatic) /* may be committed at any time from here on */
        raise_to(part_word(group_number, p, P_TRIED), (uint64_t)next_offset[p]);
}

static int subscribe(leat_consumer *c, const char *list)
{
    char copy[512];
    const char *names[16];
    int count = 0;
    snprintf(copy, sizeof copy, "%s", list);
    for (char *at = strtok(copy, ","); at; at = strtok(NULL, ","))
        names[count++] = at;
    return leat_consumer_subscribe(c, names, count);
}

static leat_consumer_options options_of_role(void)
{
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    const char *instance = role_arg(4);
    options.group = role_arg(1);
    options.assignor = (enum leat_assignor)role_number(3);
    options.instance_id = instance[0] ? instance : NULL;
    long poll_ms, rebalance_ms, session_ms, delay_ms;
    CHECK_EQ(sscanf(role_arg(5), "%ld %ld %ld %ld", &poll_ms, &rebalance_ms, &session_ms, &delay_ms), 4);
    if (poll_ms)
        options.max_poll_interval_ms = poll_ms;
    if (rebalance_ms)
        options.rebalance_timeout_ms = rebalance_ms;
    if (session_ms)
        options.session_timeout_ms = session_ms;
    options.join_delay_ms = delay_ms;
    options.reset = LEAT_EARLIEST;
    options.gate = 1;
    options.assign = deal;
    options.on_assigned = assigned;
    options.on_revoked = revoked;
    options.on_lost = lost;
    options.client_id = text("m%d", me);
    return options;
}

/* ARGs: index, group, topics, assignor, instance id, times, slow release, commit every / automatic, rejoin, die in assign, batch, number. */
ROLE(fleet_member)
{
    leat_bus *bus = role_open();
    CHECK_EQ(sscanf(role_arg(0), "%d %" SCNu64, &me, &my_life), 2);
    leat_consumer_options options = options_of_role();
    slow_release_ms = role_number(6);
    int64_t commit_every = role_number(7), polls = 0;
    bool automatic = commit_every == 0;
    options.rejoin = (int)role_number(8);
    die_in_assign = role_number(9) != 0;
    options.max_poll_records = (uint32_t)role_number(10);
    group_number = (int)role_number(11);
    options.auto_commit_ms = automatic ? 20 : 0;
    options.user = automatic ? &options : NULL;
    memset(next_offset, 0xff, sizeof next_offset);
    leat_consumer *c;
    CHECK_OK(leat_consumer_open(&c, bus, &options));
    CHECK_OK(subscribe(c, role_arg(2)));
    say("joined");
    while (board_get(member_word(me, M_LEAVE)) == 0) {
        const leat_record *records;
        int n = leat_consumer_poll(c, 20, &records);
        if (n == LEAT_EFENCED) {
            CHECK(is_doomed(my_life));
            board_add(member_word(me, M_FENCED), 1);
            if (!options.rejoin)
                break;
            continue;
        }
        CHECK_OK(n);
        for (int i = 0; i < n; i++)
            take_record(&records[i], automatic);
        board_add(member_word(me, M_RECORDS), (uint64_t)n);
        if (!automatic && (n == 0 || ++polls % commit_every == 0))
            commit(c);
    }
    CHECK_OK(leat_consumer_close(c));
    leat_close(bus);
}

struct child *fleet_join_as(struct bus *bus, int index, struct fleet_member member)
{
    for (uint32_t field = 0; field < MEMBER_WORDS; field++)
        board_set(member_word(index, field), 0);
    uint64_t life = board_add(NEXT_LIFE, 1);
    CHECK(life < LIVES_MAX);
    board_set(member_word(index, M_LIFE), life);
    struct child *child = bus_spawn_as(
        bus, "fleet_member",
        (struct spawn){
            .kill = member.kill,
            .args = { text("%d %" PRIu64, index, life), member.group ? member.group : "g",
                      member.topics ? member.topics : "t", text("%d", (int)member.assignor),
                      member.instance_id ? member.instance_id : "",
                      text("%d %d %d %d", member.max_poll_interval_ms, member.rebalance_timeout_ms,
                           member.session_timeout_ms, member.join_delay_ms),
                      text("%d", member.slow_release_ms),
                      text("%d", member.auto_commit    ? 0
                                 : member.commit_every ? member.commit_every
                                                       : 1),
                      text("%d", member.rejoin), text("%d", member.die_in_assign),
                      text("%d", member.batch ? member.batch : 100), text("%d", member.number) } });
    if (member.kill == NULL)
        child_expect(child, "joined");
    return child;
}

void fleet_leave(struct child *child, int index)
{
    board_set(member_word(index, M_LEAVE), 1);
    child_end_in(child, 60);
}

void fleet_doom(int index)
{
    board_set(ANY_DOOMED, 1); /* from here on records may come twice */
    board_set(LIVES_AT + (uint32_t)board_get(member_word(index, M_LIFE)), 1);
}

void fleet_kill(struct child *child, int index)
{
    fleet_doom(index);
    child_kill(child);
}

uint64_t fleet_records(int index)
{
    return board_get(member_word(index, M_RECORDS));
}
uint64_t fleet_revoked(int index)
{
    return board_get(member_word(index, M_REVOKED));
}
uint64_t fleet_assigned(int index)
{
    return board_get(member_word(index, M_ASSIGNED));
}
uint64_t fleet_lost(int index)
{
    return board_get(member_word(index, M_LOST));
}
uint64_t fleet_fenced(int index)
{
    return board_get(member_word(index, M_FENCED));
}
uint64_t fleet_twice(void)
{
    return board_get(TWICE);
}

/* ---- looking ---- */

static leat_bus *eyes(struct bus *bus)
{
    static leat_bus *open;
    static char path[sizeof bus->path];
    if (open != NULL && strcmp(path, bus->path) != 0) { /* of an earlier bus */
        leat_close(open);
        open = NULL;
    }
    if (open == NULL)
        open = bus_open(bus);
    snprintf(path, sizeof path, "%s", bus->path);
    return open;
}

leat_group_info *fleet_describe(struct bus *bus, const char *group)
{
    leat_group_info *info;
    CHECK_OK(leat_group_describe(eyes(bus), group, &info));
    return info;
}

leat_group_info *fleet_settled(struct bus *bus, const char *group, int members)
{
    double end = now_s() + 30 * test_slowdown();
    for (;;) {
        leat_group_info *info = fleet_describe(bus, group);
        if (info->member_count == members && strcmp(info->state, members ? "stable" : "empty") == 0)
            return info;
        if (now_s() > end)
            FAIL("group %s: %s with %d members after 30 s; wanted %d", group, info->state, info->member_count,
                 members);
        leat_group_info_free(info);
        bus_pause();
    }
}

static int64_t lag_of(struct bus *bus, const char *group, const char *topic)
{
    leat_group_info *info = fleet_describe(bus, group);
    int64_t lag = 0;
    for (int i = 0; i < info->partition_count; i++)
        if (strcmp(info->partitions[i].topic, topic) == 0)
            lag += info->partitions[i].lag < 0 ? 1 : info->partitions[i].lag;
    leat_group_info_free(info);
    return lag;
}

void fleet_finish(struct bus *bus, const char *group, const char *topic, int number)
{
    WAIT_UNTIL(lag_of(bus, group, topic) == 0, 60);
    leat_group_info *info = fleet_describe(bus, group);
    for (int i = 0; i < info->partition_count; i++) {
        const leat_group_partition_info *part = &info->partitions[i];
        if (strcmp(part->topic, topic) != 0)
            continue;
        CHECK_EQ(part->current_offset, (int64_t)part->log_end_offset);
        CHECK_EQ(lt_load_acquire64(part_word(number, key_of(topic, part->partition), P_READ)),
                 part->log_end_offset);
        CHECK_EQ(lt_load_acquire64(part_word(number, key_of(topic, part->partition), P_TRIED)),
                 part->log_end_offset);
    }
    leat_group_info_free(info);
}
