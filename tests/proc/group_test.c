/* Members of consumer groups, through the library.
 *
 * Goal: what leat.h promises of groups: who gets what, in which order callbacks come, what a commit says and when it is refused, and
 * that nobody loses a record or waits because of somebody else.
 * Method: the members of most tests are consumers of this process, polled in turn; callbacks write down what they are told. Members
 * that stop or die are processes of their own. How fast any of it is is the bench's business, but for a member that sleeps: it is told
 * by its bell, long before its two seconds are over.
 */
#include "bus.h"
#include "test.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- members, and what they are told ---- */

enum { MEMBERS = 8, PATIENCE_S = 20 };

static char said[8192]; /* "a+t0,t1 b-t0": assigned +, revoked -, lost !, in the order in which it was said */

struct member {
    char name[16];
    leat_consumer *consumer;
    bool commits; /* in on_revoked */
    int commit_result;
    uint64_t records;
    uint64_t last_offset[16]; /* by partition */
    uint64_t first_offset[16];
    uint64_t count[16];
    int result;          /* of the last poll */
    char committed[512]; /* what on_commit said */
};

static struct member members[MEMBERS];
static int member_count;

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void note(const struct member *m, char sign, const leat_partition *partitions, int count)
{
    char names[64][64];
    CHECK(count > 0 && count <= 64);
    for (int i = 0; i < count; i++)
        snprintf(names[i], sizeof names[i], "%s%u", partitions[i].topic, partitions[i].partition);
    qsort(names, (size_t)count, sizeof names[0], by_name);
    size_t at = strlen(said);
    at += (size_t)snprintf(said + at, sizeof said - at, "%s%s%c", at != 0 ? " " : "", m->name, sign);
    for (int i = 0; i < count; i++)
        at += (size_t)snprintf(said + at, sizeof said - at, "%s%s", i != 0 ? "," : "", names[i]);
}

static void assigned(leat_consumer *consumer, const leat_partition *partitions, int count, void *user)
{
    const leat_record *records;
    note(user, '+', partitions, count);
    CHECK_EQ(leat_consumer_poll(consumer, 0, &records), LEAT_EBUSY_HANDLE);
    CHECK(leat_consumer_position(consumer, partitions[0].topic, partitions[0].partition) !=
          LEAT_EBUSY_HANDLE);
}

static void revoked(leat_consumer *consumer, const leat_partition *partitions, int count, void *user)
{
    struct member *m = user;
    note(m, '-', partitions, count);
    if (m->commits)
        m->commit_result = leat_consumer_commit(consumer, LEAT_SYNC);
}

static void lost(leat_consumer *consumer, const leat_partition *partitions, int count, void *user)
{
    struct member *m = user;
    note(m, '!', partitions, count);
    m->commit_result = leat_consumer_commit(consumer, LEAT_SYNC);
}

static void committed(leat_consumer *consumer, const leat_offset *offsets, int count, int error, void *user)
{
    struct member *m = user;
    size_t at = strlen(m->committed);
    (void)consumer;
    for (int i = 0; i < count; i++)
        at += (size_t)snprintf(m->committed + at, sizeof m->committed - at, "%s%s%u@%" PRId64,
                               at != 0 ? " " : "", offsets[i].topic, offsets[i].partition, offsets[i].offset);
    if (error != 0)
        snprintf(m->committed + at, sizeof m->committed - at, "(%d)", error);
}

/* Defaults of these tests: from the first record on, by hand, no spinning. */
static leat_consumer_options options_of(const char *group)
{
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.group = group;
    options.reset = LEAT_EARLIEST;
    options.assignor = LEAT_COOPERATIVE_STICKY;
    options.auto_commit_ms = 0;
    options.spin_us = 0;
    return options;
}

static struct member *member_new(leat_bus *bus, const char *name, leat_consumer_options options)
{
    struct member *m = &members[member_count++];
    CHECK(member_count <= MEMBERS);
    memset(m, 0, sizeof *m);
    snprintf(m->name, sizeof m->name, "%s", name);
    options.on_assigned = assigned;
    options.on_revoked = revoked;
    options.on_lost = lost;
    options.user = m;
    m->commit_result = 1;
    CHECK_OK(leat_consumer_open(&m->consumer, bus, &options));
    return m;
}

static struct member *member_join(leat_bus *bus, const char *name, const char *topic,
                                  leat_consumer_options options)
{
    struct member *m = member_new(bus, name, options);
    CHECK_OK(leat_consumer_subscribe(m->consumer, (const char *[]){ topic }, 1));
    return m;
}

static void member_close(struct member *m)
{
    CHECK_OK(leat_consumer_close(m->consumer));
    m->consumer = NULL;
}

static void member_poll(struct member *m, int64_t timeout_ms)
{
    const leat_record *records;
    m->result = leat_consumer_poll(m->consumer, timeout_ms, &records);
    for (int i = 0; i < m->result; i++) {
        uint32_t p = records[i].partition;
        CHECK(p < 16);
        if (m->count[p]++ == 0)
            m->first_offset[p] = records[i].offset;
        m->last_offset[p] = records[i].offset;
        m->records++;
    }
}

/* Everybody, once. */
static void poll_all(void)
{
    for (int i = 0; i < member_count; i++) {
        if (members[i].consumer == NULL)
            continue;
        member_poll(&members[i], 0);
        CHECK_OK(members[i].result);
    }
}

static void poll_until_said(const char *wanted)
{
    double until = now_s() + PATIENCE_S * test_slowdown();
    while (strcmp(said, wanted) != 0) {
        if (now_s() > until)
            CHECK_STR(said, wanted);
        poll_all();
        bus_pause();
    }
    for (int i = 0; i < 3; i++) /* and nothing more */
        poll_all();
    CHECK_STR(said, wanted);
    said[0] = 0;
}

static void poll_until_read(struct member *m, uint64_t records)
{
    WAIT_UNTIL((poll_all(), m->records >= records), PATIENCE_S);
    CHECK_EQ(m->records, records);
}

static void send_to(leat_producer *producer, uint32_t partition, int count)
{
    for (int i = 0; i < count; i++) {
        leat_record record = { .value = "x", .value_size = 1 };
        CHECK_OK(leat_producer_send_to(producer, partition, &record, NULL));
    }
}

static int64_t committed_of(const struct member *m, uint32_t partition)
{
    return leat_consumer_committed(m->consumer, "t", partition);
}

static int commit_to(const struct member *m, uint32_t partition, int64_t offset)
{
    leat_offset at = { .topic = "t", .partition = partition, .offset = offset };
    return leat_consumer_commit_offsets(m->consumer, &at, 1, LEAT_SYNC);
}

/* The group's own word. */
static leat_group_partition_info part_of(leat_bus *bus, const char *group, uint32_t partition)
{
    leat_group_info *info;
    CHECK_OK(leat_group_describe(bus, group, &info));
    CHECK((int)partition < info->partition_count);
    leat_group_partition_info part = info->partitions[partition];
    CHECK_EQ(part.partition, partition);
    leat_group_info_free(info); /* the numbers hold */
    return part;
}

struct stage {
    struct bus *bus;
    leat_bus *handle;
    leat_producer *producer;
};

static struct stage stage_with(uint32_t partitions)
{
    struct stage stage = { .bus = bus_start("--log-level", "warn") };
    bus_topic(stage.bus, "t", .partitions = partitions);
    stage.handle = bus_open(stage.bus);
    stage.producer = open_producer(stage.handle, "t", NULL);
    return stage;
}

/* ---- joining and leaving ---- */

TEST(first_member_gets_everything_and_two_share)
{
    struct stage s = stage_with(4);
    struct member *a = member_join(s.handle, "a", "t", options_of("g"));
    CHECK_EQ(leat_consumer_generation(a->consumer), 0);
    poll_until_said("a+t0,t1,t2,t3");
    CHECK(strlen(leat_consumer_member_id(a->consumer)) != 0);
    CHECK_EQ(leat_consumer_generation(a->consumer), 1);
    struct member *b = member_join(s.handle, "b", "t", options_of("g"));
    CHECK(strcmp(leat_consumer_member_id(a->consumer), leat_consumer_member_id(b->consumer)) != 0);
    poll_until_said("a-t2,t3 b+t2,t3");
    const leat_partition *partitions;
    CHECK_EQ(leat_consumer_assignment(a->consumer, &partitions), 2);
    CHECK_STR(partitions[0].topic, "t");
    leat_close(s.handle);
}

TEST(eager_assignors_release_everything_before_anything_is_assigned)
{
    struct stage s = stage_with(2);
    leat_consumer_options options = options_of("g");
    options.assignor = LEAT_RANGE;
    member_join(s.handle, "a", "t", options);
    poll_until_said("a+t0,t1");
    member_join(s.handle, "b", "t", options);
    WAIT_UNTIL((poll_all(), strlen(said) >= strlen("a-t0,t1 a+t0 b+t1")), PATIENCE_S);
    CHECK(strncmp(said, "a-t0,t1 ", 8) == 0);
    leat_close(s.handle);
}

TEST(members_that_leave_hand_over_at_what_they_committed)
{
    struct stage s = stage_with(2);
    struct member *a = member_join(s.handle, "a", "t", options_of("g"));
    poll_until_said("a+t0,t1");
    struct member *b = member_join(s.handle, "b", "t", options_of("g"));
    poll_until_said("a-t1 b+t1");
    send_to(s.producer, 1, 10);
    poll_until_read(b, 10);
    CHECK_OK(commit_to(b, 1, 4));
    CHECK_EQ(committed_of(b, 1), 4);
    member_close(b);
    poll_until_said("b-t1 a+t1");
    poll_until_read(a, 6);
    CHECK_EQ(a->first_offset[1], 4);
    leat_close(s.handle);
}

TEST(commit_in_on_revoked_lands)
{
    struct stage s = stage_with(2);
    struct member *a = member_join(s.handle, "a", "t", options_of("g"));
    a->commits = true;
    poll_until_said("a+t0,t1");
    send_to(s.producer, 1, 10);
    poll_until_read(a, 10);
    struct member *b = member_join(s.handle, "b", "t", options_of("g"));
    poll_until_said("a-t1 b+t1");
    CHECK_EQ(a->commit_result, 0);
    CHECK_EQ(committed_of(b, 1), 10);
    CHECK_EQ(b->records, 0);
    leat_close(s.handle);
}

TEST(seek_in_on_assigned_is_where_reading_begins)
{
    struct stage s = stage_with(1);
    send_to(s.producer, 0, 10);
    struct member *a = member_join(s.handle, "a", "t", options_of("g"));
    poll_until_said("a+t0");
    poll_until_read(a, 10);
    CHECK_OK(leat_consumer_seek(a->consumer, "t", 0, 8));
    poll_until_read(a, 12);
    leat_close(s.handle);
}

TEST(more_members_than_partitions_stand_by)
{
    struct stage s = stage_with(1);
    struct member *a = member_join(s.handle, "a", "t", options_of("g"));
    member_join(s.handle, "b", "t", options_of("g"));
    member_join(s.handle, "c", "t", options_of("g"));
    poll_until_said("a+t0");
    member_close(a);
    poll_until_said("a-t0 b+t0");
    leat_close(s.handle);
}

TEST(unsubscribing_leaves_and_subscribing_joins_again)
{
    struct stage s = stage_with(1);
    struct member *a = member_join(s.handle, "a", "t", options_of("g"));
    struct member *b = member_join(s.handle, "b", "t", options_of("g"));
    poll_until_said("a+t0");
    CHECK_OK(leat_consumer_subscribe(a->consumer, NULL, 0));
    CHECK_STR(leat_consumer_member_id(a->consumer), "");
    poll_until_said("a-t0 b+t0");
    CHECK_OK(leat_consumer_subscribe(a->consumer, (const char *[]){ "t" }, 1));
    member_close(b);
    poll_until_said("b-t0 a+t0");
    leat_close(s.handle);
}

TEST(subscription_can_change)
{
    struct stage s = stage_with(1);
    bus_topic(s.bus, "u", .partitions = 2);
    struct member *a = member_join(s.handle, "a", "t", options_of("g"));
    poll_until_said("a+t0");
    CHECK_OK(leat_consumer_subscribe(a->consumer, (const char *[]){ "u" }, 1));
    poll_until_said("a-t0 a+u0,u1");
    CHECK_OK(leat_consumer_subscribe(a->consumer, (const char *[]){ "u", "t" }, 2));
    poll_until_said("a+t0");
    CHECK_EQ(leat_consumer_subscribe(a->consumer, (const char *[]){ "none" }, 1), LEAT_ENOTOPIC);
    CHECK_EQ(leat_consumer_subscribe(a->consumer, (const char *[]){ "^(" }, 1), LEAT_EINVAL);
    CHECK_EQ(commit_to(a, 0, 0), 0);
    leat_close(s.handle);
}

TEST(consumer_in_one_group_does_not_disturb_another)
{
    struct stage s = stage_with(2);
    struct member *a = member_join(s.handle, "a", "t", options_of("g"));
    struct member *b = member_join(s.handle, "b", "t", options_of("h"));
    poll_until_said("a+t0,t1 b+t0,t1");
    send_to(s.producer, 0, 5);
    poll_until_read(a, 5);
    poll_until_read(b, 5);
    CHECK_OK(leat_consumer_commit(a->consumer, LEAT_SYNC));
    CHECK_EQ(committed_of(a, 0), 5);
    CHECK_EQ(committed_of(b, 0), 0);
    leat_close(s.handle);
}

TEST(alone_refuses_a_second_member)
{
    struct stage s = stage_with(1);
    leat_consumer_options options = options_of("g");
    options.alone = 1;
    struct member *a = member_join(s.handle, "a", "t", options);
    struct member *b = member_new(s.handle, "b", options_of("g"));
    CHECK_EQ(leat_consumer_subscribe(b->consumer, (const char *[]){ "t" }, 1), LEAT_EEXCLUSIVE);
    poll_until_said("a+t0");
    member_close(a);
    CHECK_OK(leat_consumer_subscribe(b->consumer, (const char *[]){ "t" }, 1));
    poll_until_said("a-t0 b+t0");
    leat_close(s.handle);
}

TEST(another_assignor_than_the_groups_is_refused)
{
    struct stage s = stage_with(1);
    member_join(s.handle, "a", "t", options_of("g"));
    leat_consumer_options options = options_of("g");
    options.assignor = LEAT_ROUNDROBIN;
    struct member *b = member_new(s.handle, "b", options);
    CHECK_EQ(leat_consumer_subscribe(b->consumer, (const char *[]){ "t" }, 1), LEAT_EINVAL);
    leat_close(s.handle);
}

TEST(options_that_make_no_sense_are_refused_with_their_values)
{
    struct stage s = stage_with(1);
    static const char long_name[300] = { [0 ... 298] = 'x' };
    leat_consumer *consumer;
#define REFUSED(field, value, words)                                              \
    do {                                                                          \
        leat_consumer_options options = options_of("g");                          \
        options.field = (value);                                                  \
        CHECK_EQ(leat_consumer_open(&consumer, s.handle, &options), LEAT_EINVAL); \
        if (strstr(leat_last_error(s.handle), words) == NULL)                     \
            CHECK_STR(leat_last_error(s.handle), words);                          \
    } while (0)
    REFUSED(group, "", "group \"\"");
    REFUSED(group, "a/b", "group \"a/b\"");
    REFUSED(group, long_name, "249");
    REFUSED(assignor, (enum leat_assignor)17, "assignor 17");
    REFUSED(assignor, LEAT_CUSTOM, "options.assign");
    REFUSED(auto_commit_ms, -5, "auto_commit_ms -5");
    REFUSED(max_poll_interval_ms, 0, "max_poll_interval_ms 0");
    REFUSED(rebalance_timeout_ms, -1, "rebalance_timeout_ms -1");
    REFUSED(session_timeout_ms, 0, "session_timeout_ms 0");
    REFUSED(join_delay_ms, -3, "join_delay_ms -3");
    REFUSED(instance_id, long_name, "instance_id of 299 bytes");
    REFUSED(instance_id, "", "instance_id of 0 bytes");
    REFUSED(client_id, long_name, "client_id of 299 bytes");
    leat_close(s.handle);
}

/* ---- topics that come and go ---- */

static void say_assigned(leat_consumer *consumer, const leat_partition *partitions, int count, void *user)
{
    (void)consumer, (void)user;
    say("assigned %s%u of %d", partitions[0].topic, partitions[0].partition, count);
}

/* Sleeps in poll until it is told to stop. ARG 0: what to subscribe to. */
ROLE(sleeper)
{
    leat_bus *bus = role_open();
    leat_consumer_options options = options_of("g");
    options.on_assigned = say_assigned;
    leat_consumer *consumer;
    const leat_record *records;
    int n;
    CHECK_OK(leat_consumer_open(&consumer, bus, &options));
    CHECK_OK(leat_consumer_subscribe(consumer, (const char *[]){ role_arg(0) }, 1));
    say("joined");
    while ((n = CHECK_OK(leat_consumer_poll(consumer, -1, &records))) == 0) {}
    say("read %s %d", records[0].topic, n);
    leat_close(bus);
}

TEST(sleeping_member_with_a_pattern_gets_a_new_topic_at_once)
{
    struct stage s = stage_with(1);
    struct child *sleeper = bus_spawn(s.bus, sleeper, .args = { "^new\\." });
    child_expect(sleeper, "joined");
    for (int i = 0; i < 100; i++) /* until it is asleep, most likely */
        bus_pause();
    double start = now_s();
    bus_topic(s.bus, "new.a", .partitions = 3);
    child_expect(sleeper, "assigned new.a0 of 3");
    CHECK(now_s() - start < 1.0 * test_slowdown());
    leat_producer *producer = open_producer(s.handle, "new.a", NULL);
    send_to(producer, 2, 1);
    child_expect(sleeper, "read new.a 1");
    child_end(sleeper);
    leat_close(s.handle);
}

TEST(new_topic_of_a_known_group_starts_at_its_first_record)
{
    struct stage s = stage_with(1);
    leat_consumer_options options = options_of("g");
    options.reset = LEAT_LATEST;
    struct member *a = member_join(s.handle, "a", "^", options);
    send_to(s.producer, 0, 1);
    poll_until_said("a+t0");
    CHECK_EQ(a->records, 0); /* latest */
    bus_topic(s.bus, "u", .partitions = 1);
    leat_producer *producer = open_producer(s.handle, "u", NULL);
    send_to(producer, 0, 7);
    poll_until_said("a+u0");
    poll_until_read(a, 7);
    leat_close(s.handle);
}

TEST(deleted_topic_is_revoked_and_no_error)
{
    struct stage s = stage_with(1);
    bus_topic(s.bus, "u", .partitions = 2);
    struct member *a = member_join(s.handle, "a", "^", options_of("g"));
    poll_until_said("a+t0,u0,u1");
    CHECK_OK(leat_topic_delete(s.handle, "u"));
    poll_until_said("a-u0,u1");
    bus_topic(s.bus, "u", .partitions = 1); /* another one */
    poll_until_said("a+u0");
    send_to(s.producer, 0, 3);
    poll_until_read(a, 3);
    leat_close(s.handle);
}

/* ---- commits ---- */

TEST(commit_takes_what_was_handed_out)
{
    struct stage s = stage_with(1);
    send_to(s.producer, 0, 20);
    leat_consumer_options options = options_of("g");
    options.max_poll_records = 8;
    struct member *a = member_join(s.handle, "a", "t", options);
    CHECK_OK(leat_consumer_commit(a->consumer, LEAT_SYNC)); /* of nothing */
    WAIT_UNTIL((poll_all(), a->records == 8), PATIENCE_S);
    CHECK_EQ(committed_of(a, 0), 0); /* where it began is committed */
    CHECK_OK(leat_consumer_commit(a->consumer, LEAT_SYNC));
    CHECK_EQ(committed_of(a, 0), 8);
    CHECK_EQ(part_of(s.handle, "g", 0).current_offset, 8);
    CHECK_EQ(part_of(s.handle, "g", 0).lag, 12);
    leat_record record = { .topic = "t", .partition = 0, .offset = 2 };
    CHECK_OK(leat_consumer_commit_record(a->consumer, &record, LEAT_SYNC));
    CHECK_EQ(committed_of(a, 0), 3);
    leat_close(s.handle);
}

TEST(rewind_brings_again_what_was_not_committed)
{
    struct stage s = stage_with(2);
    struct member *a = member_join(s.handle, "a", "t", options_of("g"));
    poll_until_said("a+t0,t1");
    send_to(s.producer, 0, 10);
    send_to(s.producer, 1, 10);
    poll_until_read(a, 20);
    CHECK_OK(commit_to(a, 1, 7));
    CHECK_OK(leat_consumer_rewind(a->consumer));
    CHECK_EQ(leat_consumer_position(a->consumer, "t", 1), 7);
    poll_until_read(a, 33);
    CHECK_EQ(a->count[0], 20);
    CHECK_EQ(a->count[1], 13);
    leat_close(s.handle);
}

TEST(metadata_comes_back_with_its_offset)
{
    struct stage s = stage_with(2);
    char out[256], long_text[202] = { [0 ... 200] = 'm' };
    struct member *a = member_join(s.handle, "a", "t", options_of("g"));
    poll_until_said("a+t0,t1");
    leat_offset offsets[] = { { "t", 0, 3, "batch 17" }, { "t", 1, 5, NULL } };
    CHECK_OK(leat_consumer_commit_offsets(a->consumer, offsets, 2, LEAT_SYNC));
    CHECK_EQ(leat_consumer_committed_metadata(a->consumer, "t", 0, out, sizeof out), 8);
    CHECK_STR(out, "batch 17");
    CHECK_EQ(leat_consumer_committed_metadata(a->consumer, "t", 1, out, sizeof out), 0);
    CHECK_STR(out, "");
    CHECK_EQ(leat_consumer_committed_metadata(a->consumer, "t", 0, out, 8), LEAT_EINVAL);
    CHECK_EQ(leat_consumer_committed_metadata(a->consumer, "t", 2, out, sizeof out), LEAT_ENOPART);
    offsets[0].metadata = long_text;
    CHECK_EQ(leat_consumer_commit_offsets(a->consumer, offsets, 2, LEAT_SYNC), LEAT_EINVAL);
    leat_group_info *info;
    CHECK_OK(leat_group_describe(s.handle, "g", &info));
    CHECK_STR(info->partitions[0].metadata, "batch 17");
    CHECK_EQ(info->partitions[1].current_offset, 5);
    leat_group_info_free(info);
    CHECK_OK(commit_to(a, 0, 4)); /* a commit without a text has none */
    CHECK_EQ(leat_consumer_committed_metadata(a->consumer, "t", 0, out, sizeof out), 0);
    leat_close(s.handle);
}

TEST(commit_of_several_offsets_is_all_or_none)
{
    struct stage s = stage_with(2);
    struct member *a = member_join(s.handle, "a", "t", options_of("g"));
    poll_until_said("a+t0,t1");
    leat_offset offsets[] = { { "t", 0, 3, NULL }, { "t", 9, 5, NULL } };
    CHECK_EQ(leat_consumer_commit_offsets(a->consumer, offsets, 2, LEAT_SYNC), LEAT_EFENCED);
    offsets[1].topic = "u";
    CHECK_EQ(leat_consumer_commit_offsets(a->consumer, offsets, 2, LEAT_SYNC), LEAT_ENOPART);
    offsets[1] = (leat_offset){ "t", 1, -7, NULL };
    CHECK_EQ(leat_consumer_commit_offsets(a->consumer, offsets, 2, LEAT_SYNC), LEAT_EINVAL);
    CHECK_EQ(committed_of(a, 0), 0);
    offsets[1].offset = 7;
    CHECK_EQ(leat_consumer_commit_offsets(a->consumer, offsets, 2, LEAT_SYNC), 0);
    CHECK_EQ(committed_of(a, 0), 3);
    CHECK_EQ(committed_of(a, 1), 7);
    leat_close(s.handle);
}

TEST(calls_of_groups_are_refused_without_one)
{
    struct stage s = stage_with(1);
    leat_consumer *consumer = open_reader(s.handle, "t", NULL);
    leat_offset offset = { "t", 0, 0, NULL };
    char out[10];
    CHECK_EQ(leat_consumer_commit(consumer, LEAT_SYNC), LEAT_EINVAL);
    CHECK_EQ(leat_consumer_commit_offsets(consumer, &offset, 1, LEAT_SYNC), LEAT_EINVAL);
    CHECK_EQ(leat_consumer_store(consumer, &offset, 1), LEAT_EINVAL);
    CHECK_EQ(leat_consumer_committed(consumer, "t", 0), LEAT_EINVAL);
    CHECK_EQ(leat_consumer_committed_metadata(consumer, "t", 0, out, sizeof out), LEAT_EINVAL);
    CHECK_EQ(leat_consumer_rewind(consumer), LEAT_EINVAL);
    CHECK_STR(leat_consumer_member_id(consumer), "");
    CHECK_EQ(leat_consumer_generation(consumer), 0);
    leat_close(s.handle);
}

static void send_gap(leat_producer *producer)
{
    leat_claim claim;
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 8, &claim));
    CHECK_OK(leat_claim_abort(&claim));
}

TEST(commit_of_everything_goes_over_gaps_before_and_after)
{
    struct stage s = stage_with(1);
    struct member *a = member_join(s.handle, "a", "t", options_of("g"));
    poll_until_said("a+t0");
    send_gap(s.producer);
    send_to(s.producer, 0, 2);
    poll_until_read(a, 2);
    send_gap(s.producer);
    CHECK_OK(leat_consumer_commit(a->consumer, LEAT_SYNC));
    CHECK_EQ(committed_of(a, 0), 4);
    send_gap(s.producer);
    send_gap(s.producer);
    poll_all();
    CHECK_EQ(committed_of(a, 0), 6);
    CHECK_EQ(part_of(s.handle, "g", 0).lag, 0);
    send_to(s.producer, 0, 2);
    poll_until_read(a, 4);
    send_gap(s.producer);
    poll_all();
    CHECK_EQ(committed_of(a, 0), 6); /* two records are not done */
    CHECK_OK(commit_to(a, 0, 7));
    poll_all();
    CHECK_EQ(committed_of(a, 0), 7);
    CHECK_OK(commit_to(a, 0, 8));
    CHECK_EQ(committed_of(a, 0), 9);
    leat_close(s.handle);
}

TEST(asynchronous_commits_are_told_in_order_by_later_calls)
{
    struct stage s = stage_with(2);
    leat_consumer_options options = options_of("g");
    options.on_commit = committed;
    struct member *a = member_join(s.handle, "a", "t", options);
    poll_until_said("a+t0,t1");
    leat_offset offset = { "t", 0, 3, NULL };
    CHECK_OK(leat_consumer_commit_offsets(a->consumer, &offset, 1, LEAT_ASYNC));
    CHECK_EQ(committed_of(a, 0), 3);
    CHECK_STR(a->committed, "");
    offset.offset = 4;
    CHECK_OK(leat_consumer_commit_offsets(a->consumer, &offset, 1, LEAT_ASYNC));
    CHECK_STR(a->committed, "t0@3");
    poll_all();
    CHECK_STR(a->committed, "t0@3 t0@4");
    CHECK_OK(commit_to(a, 1, 1)); /* LEAT_SYNC says it by its return */
    poll_all();
    CHECK_STR(a->committed, "t0@3 t0@4");
    offset.offset = 5;
    CHECK_OK(leat_consumer_commit_offsets(a->consumer, &offset, 1, LEAT_ASYNC));
    member_close(a);
    CHECK_STR(a->committed, "t0@3 t0@4 t0@5");
    leat_close(s.handle);
}

TEST(automatic_commits_come_with_the_interval_at_revoke_and_at_close)
{
    struct stage s = stage_with(2);
    leat_consumer_options options = options_of("g");
    options.auto_commit_ms = 3600000;
    options.on_commit = committed;
    struct member *a = member_join(s.handle, "a", "t", options);
    poll_until_said("a+t0,t1");
    send_to(s.producer, 1, 5);
    poll_until_read(a, 5);
    poll_all();
    CHECK_EQ(committed_of(a, 1), 0); /* not yet */
    options.auto_commit_ms = 20;
    struct member *b = member_join(s.handle, "b", "t", options);
    poll_until_said("a-t1 b+t1");
    CHECK_STR(a->committed, "t1@5");
    CHECK_EQ(committed_of(b, 1), 5);
    send_to(s.producer, 1, 2);
    poll_until_read(b, 2);
    WAIT_UNTIL((poll_all(), strcmp(b->committed, "t1@7") == 0), PATIENCE_S);
    send_to(s.producer, 0, 4);
    poll_until_read(a, 9);
    member_close(a);
    CHECK_STR(a->committed, "t1@5 t0@4");
    poll_until_said("a-t0 b+t0");
    CHECK_EQ(committed_of(b, 0), 4);
    CHECK_EQ(b->records, 2);
    leat_close(s.handle);
}

TEST(poll_that_sleeps_commits_what_was_handed_out_before)
{
    struct stage s = stage_with(1);
    leat_consumer_options options = options_of("g");
    options.auto_commit_ms = 100;
    struct member *a = member_join(s.handle, "a", "t", options);
    poll_until_said("a+t0");
    send_to(s.producer, 0, 5);
    poll_until_read(a, 5);
    const leat_record *records;
    CHECK_EQ(CHECK_OK(leat_consumer_poll(a->consumer, 400, &records)), 0); /* longer than the interval */
    CHECK_EQ(committed_of(a, 0), 5);
    member_close(a);
    leat_close(s.handle);
}

TEST(with_manual_store_commits_take_what_was_stored)
{
    struct stage s = stage_with(1);
    send_to(s.producer, 0, 10);
    leat_consumer_options options = options_of("g");
    options.manual_store = 1;
    options.auto_commit_ms = 3600000;
    struct member *a = member_join(s.handle, "a", "t", options);
    poll_until_said("a+t0");
    poll_until_read(a, 10);
    CHECK_OK(leat_consumer_commit(a->consumer, LEAT_SYNC));
    CHECK_EQ(committed_of(a, 0), 0);
    leat_offset offset = { "t", 0, 3, "half" };
    char out[64];
    CHECK_OK(leat_consumer_store(a->consumer, &offset, 1));
    CHECK_EQ(committed_of(a, 0), 0);
    CHECK_OK(leat_consumer_commit(a->consumer, LEAT_SYNC));
    CHECK_EQ(committed_of(a, 0), 3);
    CHECK_EQ(leat_consumer_committed_metadata(a->consumer, "t", 0, out, sizeof out), 4);
    offset = (leat_offset){ "t", 0, 6, NULL };
    CHECK_OK(leat_consumer_store(a->consumer, &offset, 1));
    member_close(a);
    CHECK_EQ(part_of(s.handle, "g", 0).current_offset, 6);
    struct member *b = member_join(s.handle, "b", "t", options_of("g"));
    poll_until_read(b, 4);
    CHECK_EQ(leat_consumer_store(b->consumer, &offset, 1), LEAT_EINVAL);
    leat_close(s.handle);
}

/* ---- where a member starts ---- */

TEST(latest_is_decided_by_the_first_owner_alone)
{
    struct stage s = stage_with(1);
    send_to(s.producer, 0, 10);
    leat_consumer_options options = options_of("g");
    options.reset = LEAT_LATEST;
    struct member *a = member_join(s.handle, "a", "t", options);
    poll_until_said("a+t0");
    CHECK_EQ(committed_of(a, 0), 10);
    member_close(a);
    send_to(s.producer, 0, 5);
    struct member *b = member_join(s.handle, "b", "t", options);
    poll_until_read(b, 5);
    CHECK_EQ(b->first_offset[0], 10);
    leat_close(s.handle);
}

TEST(reset_error_wants_a_seek)
{
    struct stage s = stage_with(1);
    send_to(s.producer, 0, 10);
    leat_consumer_options options = options_of("g");
    options.reset = LEAT_RESET_ERROR;
    struct member *a = member_join(s.handle, "a", "t", options);
    WAIT_UNTIL((member_poll(a, 0), a->result != 0), PATIENCE_S);
    CHECK_EQ(a->result, LEAT_EOFFSET);
    member_poll(a, 0);
    CHECK_EQ(a->result, LEAT_EOFFSET);
    CHECK_EQ(committed_of(a, 0), LEAT_EOFFSET);
    CHECK_EQ(leat_consumer_position(a->consumer, "t", 0), LEAT_EOFFSET);
    CHECK_OK(leat_consumer_commit(a->consumer, LEAT_SYNC)); /* of nothing */
    CHECK_EQ(part_of(s.handle, "g", 0).current_offset, -1);
    CHECK_OK(leat_consumer_rewind(a->consumer));
    member_poll(a, 0);
    CHECK_EQ(a->result, LEAT_EOFFSET);
    CHECK_OK(leat_consumer_seek(a->consumer, "t", 0, 4));
    poll_until_read(a, 6);
    CHECK_OK(leat_consumer_commit(a->consumer, LEAT_SYNC));
    CHECK_EQ(committed_of(a, 0), 10);
    leat_close(s.handle);
}

TEST(what_was_overwritten_while_nobody_was_there_is_missed)
{
    struct stage s = { .bus = bus_start("--log-level", "warn") };
    bus_topic(s.bus, "t", .on_full = LEAT_OVERWRITE);
    s.handle = bus_open(s.bus);
    s.producer = open_producer(s.handle, "t", NULL);
    struct member *a = member_join(s.handle, "a", "t", options_of("g"));
    poll_until_said("a+t0");
    member_close(a);
    send_to(s.producer, 0, 2000); /* of 512 */
    struct member *b = member_join(s.handle, "b", "t", options_of("g"));
    WAIT_UNTIL((poll_all(), b->records > 0 && b->last_offset[0] == 1999), PATIENCE_S);
    CHECK_EQ(leat_consumer_missed(b->consumer, "t", 0), (int64_t)(2000 - b->records));
    leat_close(s.handle);
}

/* ---- from outside ---- */

TEST(assigned_consumer_commits_to_the_group_while_it_has_no_members)
{
    struct stage s = stage_with(2);
    send_to(s.producer, 0, 10);
    struct member *a = member_new(s.handle, "a", options_of("g"));
    CHECK_OK(leat_consumer_assign(a->consumer, (leat_partition[]){ { "t", 0 } }, 1));
    CHECK_STR(leat_consumer_member_id(a->consumer), "");
    CHECK_EQ(committed_of(a, 0), LEAT_EOFFSET);
    poll_until_read(a, 10);
    CHECK_OK(commit_to(a, 0, 6));
    CHECK_EQ(committed_of(a, 0), 6);
    CHECK_OK(leat_consumer_rewind(a->consumer));
    poll_until_read(a, 14);
    CHECK_OK(leat_consumer_assign(a->consumer, (leat_partition[]){ { "t", 0 }, { "t", 1 } }, 2));
    poll_until_read(a, 18);
    struct member *b = member_join(s.handle, "b", "t", options_of("g"));
    CHECK_EQ(leat_consumer_commit(a->consumer, LEAT_SYNC), LEAT_EINUSE);
    poll_until_said("b+t0,t1");
    poll_until_read(b, 4);
    leat_close(s.handle);
}

TEST(groups_are_listed_described_reset_and_deleted)
{
    struct stage s = stage_with(2);
    char **names;
    leat_group_info *info;
    send_to(s.producer, 0, 10);
    CHECK_EQ(leat_group_list(s.handle, &names), 0);
    leat_names_free(names, 0);
    CHECK_EQ(leat_group_describe(s.handle, "h", &info), LEAT_ENOGROUP);
    CHECK_EQ(leat_group_delete(s.handle, "h"), LEAT_ENOGROUP);
    leat_offset offsets[] = { { "t", 0, LEAT_END, NULL }, { "t", 1, LEAT_BEGINNING, "set" } };
    CHECK_OK(leat_group_reset(s.handle, "h", offsets, 2));
    offsets[0].offset = 4;
    CHECK_OK(leat_group_reset(s.handle, "g", offsets, 1));
    CHECK_EQ(leat_group_list(s.handle, &names), 2);
    CHECK_STR(names[0], "g");
    CHECK_STR(names[1], "h");
    leat_names_free(names, 2);
    CHECK_OK(leat_group_describe(s.handle, "h", &info));
    CHECK_STR(info->state, "empty");
    CHECK_EQ(info->partition_count, 2);
    CHECK_EQ(info->partitions[0].current_offset, 10);
    CHECK_EQ(info->partitions[1].current_offset, 0);
    CHECK_STR(info->partitions[1].metadata, "set");
    CHECK(info->partitions[0].member_id == NULL);
    leat_group_info_free(info);

    struct member *a = member_join(s.handle, "a", "t", options_of("g"));
    poll_until_read(a, 6);
    CHECK_OK(leat_group_describe(s.handle, "g", &info));
    CHECK_STR(info->state, "stable");
    CHECK_EQ(info->member_count, 1);
    CHECK_STR(info->members[0].member_id, leat_consumer_member_id(a->consumer));
    CHECK_EQ(info->members[0].partition_count, 2);
    CHECK_STR(info->partitions[0].member_id, info->members[0].member_id);
    CHECK_EQ(info->partitions[0].lag, 6);
    leat_group_info_free(info);
    CHECK_EQ(leat_group_reset(s.handle, "g", offsets, 1), LEAT_EINUSE);
    CHECK_EQ(leat_group_delete(s.handle, "g"), LEAT_EINUSE);
    offsets[0].topic = "none";
    CHECK_EQ(leat_group_reset(s.handle, "h", offsets, 1), LEAT_ENOTOPIC);
    offsets[0] = (leat_offset){ "t", 2, 0, NULL };
    CHECK_EQ(leat_group_reset(s.handle, "h", offsets, 1), LEAT_ENOPART);
    CHECK_OK(leat_group_delete(s.handle, "h"));
    CHECK_EQ(leat_group_list(s.handle, &names), 1);
    leat_names_free(names, 1);
    leat_close(s.handle);
}

/* ---- static members ---- */

TEST(static_member_that_comes_back_in_time_moves_nothing)
{
    struct stage s = stage_with(2);
    leat_consumer_options options = options_of("g");
    struct member *b = member_join(s.handle, "b", "t", options);
    poll_until_said("b+t0,t1");
    options.instance_id = "one";
    struct member *a = member_join(s.handle, "a", "t", options);
    poll_until_said("b-t1 a+t1");
    char id[128];
    snprintf(id, sizeof id, "%s", leat_consumer_member_id(a->consumer));
    send_to(s.producer, 1, 5);
    poll_until_read(a, 5);
    CHECK_OK(commit_to(a, 1, 3));

    struct member *twin = member_new(s.handle, "twin", options);
    CHECK_EQ(leat_consumer_subscribe(twin->consumer, (const char *[]){ "t" }, 1), LEAT_EEXIST);

    member_close(a);
    poll_until_said("a-t1");
    leat_consumer_options others = options;
    others.assignor = options.assignor == LEAT_STICKY ? LEAT_RANGE : LEAT_STICKY;
    struct member *other = member_new(s.handle, "other", others);
    CHECK_EQ(leat_consumer_subscribe(other->consumer, (const char *[]){ "t" }, 1), LEAT_EINVAL);
    CHECK_OK(leat_consumer_subscribe(twin->consumer, (const char *[]){ "t" }, 1));
    CHECK_STR(leat_consumer_member_id(twin->consumer), id);
    poll_until_said("twin+t1");
    poll_until_read(twin, 2);
    CHECK_EQ(twin->first_offset[1], 3);
    CHECK_EQ(b->records, 0);
    leat_close(s.handle);
}

TEST(static_member_that_does_not_come_back_loses_its_partitions)
{
    struct stage s = stage_with(2);
    leat_consumer_options options = options_of("g");
    member_join(s.handle, "b", "t", options);
    poll_until_said("b+t0,t1");
    options.instance_id = "one";
    options.session_timeout_ms = 100;
    struct member *a = member_join(s.handle, "a", "t", options);
    poll_until_said("b-t1 a+t1");
    member_close(a);
    poll_until_said("a-t1 b+t1");
    leat_close(s.handle);
}

/* ---- members that hang or die ---- */

/* A member that obeys: poll, commit, subscribe; says what each gave. ARG 0: max_poll_interval_ms, ARG 1: rejoin. */
static void say_lost(leat_consumer *consumer, const leat_partition *partitions, int count, void *user)
{
    (void)user, (void)partitions;
    say("lost %d, commit %d", count, leat_consumer_commit(consumer, LEAT_SYNC));
}

ROLE(worker)
{
    leat_bus *bus = role_open();
    leat_consumer_options options = options_of("g");
    options.assignor = LEAT_FAILOVER;
    options.on_assigned = say_assigned;
    options.on_lost = say_lost;
    options.max_poll_interval_ms = role_number(0);
    options.rejoin = (int)role_number(1);
    leat_consumer *consumer;
    const leat_record *records;
    CHECK_OK(leat_consumer_open(&consumer, bus, &options));
    CHECK_OK(leat_consumer_subscribe(consumer, (const char *[]){ "t" }, 1));
    for (;;) {
        const char *order = hear_any();
        if (strcmp(order, "poll") == 0)
            say("poll %d", leat_consumer_poll(consumer, 1000, &records));
        else if (strcmp(order, "commit") == 0)
            say("commit %d", leat_consumer_commit(consumer, LEAT_SYNC));
        else if (strcmp(order, "subscribe") == 0)
            say("subscribe %d", leat_consumer_subscribe(consumer, (const char *[]){ "t" }, 1));
        else if (strcmp(order, "sleep") == 0) /* longer than the interval */
            say("sleep %d", leat_consumer_poll(consumer, 1500, &records));
        else
            break;
    }
    leat_close(bus);
}

static int64_t order(struct child *child, const char *what)
{
    child_tell(child, "%s", what);
    return child_number(child, what);
}

TEST(stopped_member_is_fenced_and_the_heir_starts_at_its_last_commit)
{
    struct stage s = stage_with(1);
    send_to(s.producer, 0, 10);
    struct child *victim = bus_spawn(s.bus, worker, .args = { "300", "0" });
    child_tell(victim, "poll");
    child_expect(victim, "assigned t0 of 1");
    child_expect(victim, "poll 10");
    CHECK_EQ(order(victim, "commit"), 0);
    leat_consumer_options options = options_of("g");
    options.assignor = LEAT_FAILOVER;
    struct member *heir = member_join(s.handle, "heir", "t", options);
    child_stop(victim);
    send_to(s.producer, 0, 5);
    poll_until_said("heir+t0");
    poll_until_read(heir, 5);
    CHECK_EQ(heir->first_offset[0], 10);
    CHECK_OK(commit_to(heir, 0, 12));
    child_continue(victim);
    CHECK_EQ(order(victim, "commit"), LEAT_EFENCED);
    child_tell(victim, "poll");
    char wanted[64];
    snprintf(wanted, sizeof wanted, "lost 1, commit %d", LEAT_EFENCED);
    child_expect(victim, wanted);
    CHECK_EQ(child_number(victim, "poll"), LEAT_EFENCED);
    CHECK_EQ(order(victim, "poll"), LEAT_EFENCED); /* each time */
    CHECK_EQ(order(victim, "commit"), LEAT_EFENCED);
    CHECK_EQ(committed_of(heir, 0), 12);
    CHECK_EQ(order(victim, "subscribe"), 0);
    CHECK_EQ(order(victim, "poll"), 0);
    child_tell(victim, "end");
    child_end(victim);
    leat_close(s.handle);
}

TEST(fenced_member_that_may_rejoin_does_so_by_itself)
{
    struct stage s = stage_with(1);
    struct child *victim = bus_spawn(s.bus, worker, .args = { "300", "1" });
    child_tell(victim, "poll");
    child_expect(victim, "assigned t0 of 1");
    child_expect(victim, "poll 0");
    leat_consumer_options options = options_of("g");
    options.assignor = LEAT_FAILOVER;
    struct member *heir = member_join(s.handle, "heir", "t", options);
    poll_until_said("heir+t0"); /* it hangs: nobody tells it to poll */
    child_tell(victim, "poll");
    child_expect(victim, text("lost 1, commit %d", LEAT_EFENCED));
    child_expect(victim, "poll 0");
    member_close(heir);
    child_tell(victim, "poll");
    child_expect(victim, "assigned t0 of 1");
    child_expect(victim, "poll 0");
    child_tell(victim, "end");
    child_end(victim);
    leat_close(s.handle);
}

TEST(member_that_sleeps_in_poll_does_not_hang)
{
    struct stage s = stage_with(1);
    struct child *sleeper = bus_spawn(s.bus, worker, .args = { "300", "0" });
    child_tell(sleeper, "poll");
    child_expect(sleeper, "assigned t0 of 1");
    child_expect(sleeper, "poll 0");
    CHECK_EQ(order(sleeper, "sleep"), 0);
    CHECK_EQ(order(sleeper, "commit"), 0);
    leat_group_info *info;
    CHECK_OK(leat_group_describe(s.handle, "g", &info));
    CHECK_EQ(info->evictions, 0);
    leat_group_info_free(info);
    child_tell(sleeper, "end");
    child_end(sleeper);
    leat_close(s.handle);
}

TEST(killed_member_fails_over_at_its_last_commit)
{
    struct stage s = stage_with(1);
    send_to(s.producer, 0, 10);
    struct child *victim = bus_spawn(s.bus, worker, .args = { "300000", "0" });
    child_tell(victim, "poll");
    child_expect(victim, "assigned t0 of 1");
    child_expect(victim, "poll 10");
    CHECK_EQ(order(victim, "commit"), 0);
    leat_consumer_options options = options_of("g");
    options.assignor = LEAT_FAILOVER;
    struct member *heir = member_join(s.handle, "heir", "t", options);
    poll_all();
    CHECK_EQ(order(victim, "commit"), 0); /* it still owns it */
    send_to(s.producer, 0, 1);
    double start = now_s();
    child_kill(victim);
    poll_until_said("heir+t0");
    CHECK(now_s() - start < 1.0 * test_slowdown());
    poll_until_read(heir, 1);
    leat_close(s.handle);
}

TEST(member_and_its_commits_outlive_the_worker)
{
    struct stage s = stage_with(2);
    send_to(s.producer, 0, 10);
    struct member *a = member_join(s.handle, "a", "t", options_of("g"));
    poll_until_said("a+t0,t1");
    poll_until_read(a, 10);
    CHECK_OK(commit_to(a, 0, 6));
    bus_wait_worker(s.bus, bus_kill_worker(s.bus));
    CHECK_OK(commit_to(a, 0, 7));
    CHECK_EQ(part_of(s.handle, "g", 0).current_offset, 7);
    send_to(s.producer, 1, 3);
    poll_until_read(a, 13);
    struct member *b = member_join(s.handle, "b", "t", options_of("g"));
    poll_until_said("a-t1 b+t1");
    CHECK_EQ(committed_of(a, 0), 7);
    member_close(a);
    poll_until_said("a-t0 b+t0");
    CHECK_EQ(committed_of(b, 0), 7);
    leat_close(s.handle);
}

/* ---- custom assignors ---- */

static int error_of_dealer, deals;

/* Everything to the member with the greatest id. */
static int deal(const leat_assign_view *view, int *owner, void *user)
{
    int last = 0;
    (void)user;
    deals++;
    if (error_of_dealer != 0)
        return error_of_dealer;
    for (int i = 1; i < view->member_count; i++)
        if (strcmp(view->members[i].member_id, view->members[last].member_id) > 0)
            last = i;
    CHECK_EQ(view->part_count, 3);
    for (int i = 0; i < view->part_count; i++) {
        CHECK_STR(view->parts[i].topic, "t");
        CHECK_EQ(view->parts[i].partition, i);
        CHECK(view->previous[i] >= -1 && view->previous[i] < view->member_count);
        owner[i] = last;
    }
    CHECK_EQ(view->members[0].topic_count, 1);
    CHECK_STR(view->members[0].topics[0], "t");
    return 0;
}

TEST(custom_assignor_of_the_leader_decides)
{
    struct stage s = stage_with(3);
    leat_consumer_options options = options_of("g");
    options.assignor = LEAT_CUSTOM;
    options.assign = deal;
    member_join(s.handle, "a", "t", options);
    poll_until_said("a+t0,t1,t2");
    struct member *b = member_join(s.handle, "b", "t", options);
    poll_until_said("a-t0,t1,t2 b+t0,t1,t2");
    send_to(s.producer, 2, 4);
    poll_until_read(b, 4);
    leat_close(s.handle);
}

TEST(leader_whose_assignor_fails_is_told_and_leaves)
{
    struct stage s = stage_with(3);
    leat_consumer_options options = options_of("g");
    options.assignor = LEAT_CUSTOM;
    options.assign = deal;
    struct member *a = member_join(s.handle, "a", "t", options);
    error_of_dealer = LEAT_EFAILED;
    WAIT_UNTIL((member_poll(a, 0), a->result != 0), PATIENCE_S);
    CHECK_EQ(a->result, LEAT_EFAILED);
    CHECK_STR(leat_consumer_member_id(a->consumer), "");
    error_of_dealer = 0;
    CHECK_OK(leat_consumer_subscribe(a->consumer, (const char *[]){ "t" }, 1));
    poll_until_said("a+t0,t1,t2");
    leat_close(s.handle);
}

/* ---- the caller's own loop ---- */

TEST(descriptor_is_readable_when_the_group_has_news)
{
    struct stage s = stage_with(2);
    leat_consumer_options options = options_of("g");
    options.max_poll_interval_ms = 1000;
    struct member *a = member_join(s.handle, "a", "t", options);
    poll_until_said("a+t0,t1");
    int fd = CHECK_OK(leat_consumer_fd(a->consumer));
    struct pollfd ready = { .fd = fd, .events = POLLIN };
    WAIT_UNTIL((poll_all(), poll(&ready, 1, 0) == 0), PATIENCE_S);
    /* Silent for longer than the interval: nobody has to poll. */
    CHECK_EQ(poll(&ready, 1, 2500), 0);
    CHECK_EQ(commit_to(a, 0, 0), 0);
    struct member *b = member_new(s.handle, "b", options_of("g"));
    CHECK_OK(leat_consumer_subscribe(b->consumer, (const char *[]){ "t" }, 1));
    CHECK_EQ(poll(&ready, 1, 10000), 1);
    poll_until_said("a-t1 b+t1");
    leat_close(s.handle);
}

/* ---- several members of one process ---- */

ROLE(three)
{
    leat_bus *bus = role_open();
    leat_consumer *consumers[3];
    const leat_record *records;
    leat_consumer_options options = options_of("g");
    for (int i = 0; i < 3; i++) {
        CHECK_OK(leat_consumer_open(&consumers[i], bus, &options));
        CHECK_OK(leat_consumer_subscribe(consumers[i], (const char *[]){ "t" }, 1));
    }
    for (;;)
        for (int i = 0; i < 3; i++)
            CHECK_OK(leat_consumer_poll(consumers[i], 1, &records));
}

static leat_group_info *settled(leat_bus *bus, int count)
{
    leat_group_info *info = NULL;
    WAIT_UNTIL((leat_group_info_free(info), poll_all(),
                leat_group_describe(bus, "g", &info) == 0 && info->member_count == count &&
                    strcmp(info->state, "stable") == 0),
               PATIENCE_S);
    return info;
}

TEST(death_of_a_process_with_several_members_is_one_rebalance)
{
    struct stage stage = stage_with(8);
    member_join(stage.handle, "a", "t", options_of("g"));
    struct child *three = bus_spawn(stage.bus, three);
    leat_group_info *before = settled(stage.handle, 4);
    child_kill(three);
    leat_group_info *after = settled(stage.handle, 1);
    CHECK_EQ(after->generation, before->generation + 1);
    CHECK_EQ(after->rebalances, before->rebalances + 1);
    CHECK_EQ(after->evictions, before->evictions + 3);
    leat_group_info_free(before);
    leat_group_info_free(after);
}

/* ---- groups without members ---- */

TEST(empty_group_is_forgotten_however_often_topics_come)
{
    struct bus *bus = bus_start("--log-level", "warn", "--group-retention", "500");
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus);
    CHECK_OK(leat_group_reset(handle, "g", &(leat_offset){ .topic = "t", .offset = 0 }, 1));
    double until = now_s() + 5 * test_slowdown();
    leat_group_info *info = NULL;
    leat_topic_options options = LEAT_TOPIC_OPTIONS;
    options.ring_size = 64 << 10;
    do {
        CHECK(now_s() < until);
        leat_group_info_free(info);
        CHECK_OK(leat_topic_create(handle, "u", &options));
        CHECK_OK(leat_topic_delete(handle, "u"));
    } while (leat_group_describe(handle, "g", &info) != LEAT_ENOGROUP);
}
/* ---- gates ---- */

TEST(gate_keeps_what_nobody_has_yet_while_others_may_join)
{
    struct stage stage = stage_with(1);
    bus_topic(stage.bus, "kept", .on_full = LEAT_ERROR);
    leat_producer *producer = open_producer(stage.handle, "kept", NULL);
    leat_consumer_options options = options_of("g");
    options.gate = 1;
    struct member *a = member_join(stage.handle, "a", "kept", options);
    send_to(producer, 0, 10);
    poll_until_read(a, 10);
    CHECK_OK(leat_consumer_commit(a->consumer, LEAT_SYNC));
    member_close(a);

    options.join_delay_ms = 700;
    struct member *b = member_join(stage.handle, "b", "kept", options);
    leat_record record = { .value = "x", .value_size = 1 };
    int r = 0, sent = 0;
    for (; r == 0 && sent < 5000; sent++)
        r = leat_producer_send_to(producer, 0, &record, NULL);
    CHECK_EQ(r, LEAT_EFULL);
    poll_until_read(b, (uint64_t)sent - 1);
    CHECK_EQ(b->first_offset[0], 10);
}

/* ---- a new worker ---- */

TEST(restart_of_the_worker_that_moves_nothing_is_no_generation_for_those_who_stand_by_either)
{
    struct stage stage = stage_with(1);
    member_join(stage.handle, "a", "t", options_of("g"));
    poll_until_said("a+t0");
    member_join(stage.handle, "b", "t", options_of("g"));
    leat_group_info *before = settled(stage.handle, 2);
    bus_wait_worker(stage.bus, bus_kill_worker(stage.bus));
    leat_group_info *after = settled(stage.handle, 2);
    CHECK_EQ(after->generation, before->generation);
    CHECK_EQ(after->rebalances, before->rebalances);
    leat_group_info_free(before);
    leat_group_info_free(after);
}

TEST(heir_of_a_failover_group_is_the_heir_for_a_new_worker_too)
{
    struct stage stage = stage_with(1);
    leat_consumer_options options = options_of("g");
    options.assignor = LEAT_FAILOVER;
    struct member *a = member_join(stage.handle, "a", "t", options);
    poll_until_said("a+t0");
    member_join(stage.handle, "b", "t", options);
    leat_group_info_free(settled(stage.handle, 2));
    member_close(a);
    poll_until_said("a-t0 b+t0");
    member_join(stage.handle, "c", "t", options); /* in a's seat */
    leat_group_info_free(settled(stage.handle, 2));
    bus_wait_worker(stage.bus, bus_kill_worker(stage.bus));
    leat_group_info_free(settled(stage.handle, 2));
    CHECK_STR(said, "");
}

/* ---- polls that wait ---- */

/* A few tries: others may keep this process from running for so long. */
TEST(member_that_spins_in_poll_does_not_hang)
{
    struct stage stage = stage_with(1);
    leat_consumer_options options = options_of("g");
    options.max_poll_interval_ms = 8;
    options.spin_us = -1;
    struct member *a = member_new(stage.handle, "a", options);
    int tries = 0;
    do {
        CHECK(++tries < 10);
        CHECK_OK(leat_consumer_subscribe(a->consumer, (const char *[]){ "t" }, 1));
        member_poll(a, 200);
    } while (a->result == LEAT_EFENCED);
    CHECK_EQ(a->result, 0);
}

TEST(descriptor_is_readable_when_an_automatic_commit_is_due)
{
    struct stage stage = stage_with(1);
    leat_consumer_options options = options_of("g");
    options.auto_commit_ms = 300;
    struct member *a = member_join(stage.handle, "a", "t", options);
    poll_until_said("a+t0");
    struct pollfd ready = { .fd = CHECK_OK(leat_consumer_fd(a->consumer)), .events = POLLIN };
    send_to(stage.producer, 0, 5);
    poll_until_read(a, 5);
    for (double until = now_s() + PATIENCE_S; committed_of(a, 0) != 5;) {
        CHECK(now_s() < until);
        member_poll(a, 0);
        CHECK_EQ(a->result, 0);
        if (committed_of(a, 0) != 5)
            CHECK_EQ(poll(&ready, 1, PATIENCE_S * 1000), 1);
    }
    member_poll(a, 0);
    CHECK_EQ(poll(&ready, 1, 0), 0);
}
