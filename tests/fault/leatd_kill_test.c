/* leatd, killed with -9 at each of its named steps.
 *
 * Goal: whatever step the worker or the keeper dies at, the next one finishes it or takes it back: every request of a client
 * ends as it should, nothing that was sent is lost or comes twice, and nothing is left behind.
 * Method: a play that does all that a bus does (topics, clients, readers, deaths, stops, rotations, restarts), while a gate reader
 * checks each byte. It runs once for each step, with a leatd that dies there the first time it passes, and once more
 * with one that dies at a later pass.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 512 };

/* ---- the cast ---- */

/* Sends as producer ARG 0 to topic t, one record each time it is told. */
ROLE(actor)
{
    leat_bus *bus = role_open();
    uint32_t who = (uint32_t)role_number(0);
    leat_producer *producer = open_producer(bus, "t", NULL);
    say("ready");
    for (uint64_t number = 0;; number++) {
        if (strcmp(hear_any(), "send") != 0)
            break;
        CHECK_OK(traffic_send(producer, 0, who, number, 200, NULL));
        say("sent");
    }
    CHECK_OK(leat_producer_close(producer));
    leat_close(bus);
}

/* Holds views and a claim until it dies. */
ROLE(hoarder)
{
    leat_bus *bus = role_open();
    leat_consumer *consumer = open_reader(bus, "t", NULL);
    leat_producer *producer = open_producer(bus, "t", NULL);
    const leat_record *records;
    leat_claim claim;
    CHECK_OK(leat_consumer_poll(consumer, 1000, &records));
    CHECK_OK(leat_producer_claim(producer, NULL, 0, 100, &claim));
    say("hoards");
    hear_any();
}

struct play {
    struct bus *bus;
    leat_bus *handle;
    struct ledger *ledger;
    struct watcher *watcher;
    leat_producer *steady;
    uint64_t sent;    /* by the steady one, producer 0 */
    uint64_t victims; /* records that producer 1 and 2 committed */
};

static void send_steadily(struct play *play, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++, play->sent++)
        CHECK_OK(traffic_send(play->steady, 0, 0, play->sent, traffic_size(play->sent), NULL));
}

static void everything_is_seen(struct play *play)
{
    WAIT_UNTIL(ledger_count(play->ledger, 0) == play->sent, 5);
}

/* ---- the acts ---- */

static void act_topics(struct play *play)
{
    leat_topic_options options = LEAT_TOPIC_OPTIONS;
    options.partitions = 3;
    options.ring_size = 64 << 10;
    CHECK_OK(leat_topic_create(play->handle, "a", &options));
    CHECK_EQ(leat_topic_create(play->handle, "a", &options), LEAT_EEXIST);
    leat_producer_options alone = LEAT_PRODUCER_OPTIONS;
    alone.exclusive = 1;
    leat_producer *producer = open_producer(play->handle, "a", &alone);
    leat_consumer *consumer = open_reader(play->handle, "a", NULL);
    struct ledger *ledger = ledger_new(1, 30);
    for (uint64_t i = 0; i < 30; i++)
        CHECK_OK(traffic_send(producer, (uint32_t)i % 3, 0, i, 40, NULL));
    traffic_read(consumer, ledger, 30, 2);
    leat_topic_info *info = bus_describe(play->handle, "a");
    CHECK_EQ(info->partitions[1].log_end_offset, 10);
    CHECK_EQ(info->producers, 1);
    CHECK_EQ(info->partitions[2].readers, 1);
    leat_topic_info_free(info);
    CHECK_OK(leat_consumer_close(consumer));
    CHECK_OK(leat_producer_close(producer));
    CHECK_OK(leat_topic_delete(play->handle, "a"));
    CHECK_EQ(leat_topic_delete(play->handle, "a"), LEAT_ENOTOPIC);
    ledger_free(ledger);
}

static void act_clients(struct play *play)
{
    for (int i = 0; i < 2; i++) {
        leat_bus *another = bus_open(play->bus);
        leat_producer *producer = open_producer(another, "t", NULL);
        CHECK_OK(leat_producer_close(producer));
        leat_close(another);
    }
}

/* One dies with a claim, one behind its commit, one with everything in hand. */
static void act_deaths(struct play *play)
{
    static const char *const deaths[] = { "ring.claim.after:1", "ring.commit.after:1" };
    for (int i = 0; i < 2; i++) {
        struct child *victim = bus_spawn(play->bus, actor, .kill = deaths[i], .args = { text("%d", 1 + i) });
        child_expect(victim, "ready");
        child_tell(victim, "send");
        child_killed(victim, SIGKILL);
        send_steadily(play, 1);
        everything_is_seen(play);
    }
    WAIT_UNTIL(ledger_count(play->ledger, 2) == 1, 2);
    CHECK_EQ(ledger_count(play->ledger, 1), 0);
    struct child *hoarder = bus_spawn(play->bus, hoarder);
    child_expect(hoarder, "hoards");
    child_kill(hoarder);
    send_steadily(play, 1);
    everything_is_seen(play);
}

/* Sends while the ring is not nearly full; whether leatd has left it. */
static bool is_left_early(struct play *play)
{
    leat_topic_info *info = bus_describe(play->handle, "t");
    uint32_t rings = info->partitions[0].rings;
    uint64_t used = info->partitions[0].log_end_offset - info->partitions[0].log_start_offset;
    leat_topic_info_free(info);
    if (rings == 1 && used < SLOTS - 60)
        send_steadily(play, SLOTS - 60 - used);
    return rings > 1;
}

/* One stands still in a claim while the others go round, then goes on. */
static void act_stop(struct play *play)
{
    struct child *stopped = bus_spawn(play->bus, actor, .kill = bus_stop_at("ring.claim.after", 1),
                                      .args = { "3" });
    child_expect(stopped, "ready");
    child_tell(stopped, "send");
    child_wait_stopped(stopped);
    WAIT_UNTIL(is_left_early(play), 5); /* behind a seal, and then from ring to ring */
    send_steadily(play, 3 * SLOTS);
    everything_is_seen(play);
    child_continue(stopped);
    child_expect(stopped, "sent");
    WAIT_UNTIL(ledger_count(play->ledger, 3) == 1, 2);
    send_steadily(play, 3 * SLOTS);
    everything_is_seen(play);
    child_tell(stopped, "end");
    child_end(stopped);
}

static void act_restart(struct play *play)
{
    uint64_t killed = bus_kill_worker(play->bus);
    bus_wait_worker(play->bus, killed);
    send_steadily(play, SLOTS);
    everything_is_seen(play);
}

static void nothing_is_left(struct play *play)
{
    leat_status_info *status;
    leat_topic_info *info;
    char **names;
    /* The dead are cleared when their pidfd fires, rings go with the need for room. */
    WAIT_UNTIL(bus_status(play->bus).clients == 1, 5);
    CHECK_OK(leat_status(play->handle, &status));
    CHECK_EQ(status->client[0].producers, 1);
    CHECK_EQ(status->client[0].readers, 1);
    CHECK_EQ(status->client[0].quarantined, 0);
    leat_status_free(status);
    CHECK_EQ(leat_topic_list(play->handle, &names), 1);
    leat_names_free(names, 1);
    do {
        send_steadily(play, SLOTS / 2);
        info = bus_describe(play->handle, "t");
        uint32_t rings = info->partitions[0].rings;
        CHECK_EQ(info->producers, 1);
        CHECK_EQ(info->partitions[0].readers, 1);
        leat_topic_info_free(info);
        if (rings == 1)
            break;
    } while (play->sent < 100 * SLOTS);
    CHECK(play->sent < 100 * SLOTS);
    everything_is_seen(play);
    watcher_stop(play->watcher);
    CHECK_EQ(ledger_missed_count(play->ledger), 0);
    ledger_all(play->ledger, 0, play->sent);
    CHECK_EQ(ledger_count(play->ledger, 1), 0);
    CHECK_EQ(ledger_count(play->ledger, 2), 1);
    CHECK_EQ(ledger_count(play->ledger, 3), 1);
    CHECK_OK(leat_producer_close(play->steady));
    CHECK_OK(leat_topic_delete(play->handle, "t"));
    leat_close(play->handle);
}

static bool died; /* in the last play */

/* The whole play; returns what leatd holds at its end, or 0 when it died before it was ready: then nobody had a bus. */
static uint64_t perform(const char *kill)
{
    static const char *const options[] = { "--stall-limit", "30", "--max-start-pause", "1", "--log-level",
                                           "error",         NULL };
    struct play play = { .bus = bus_try_fault(kill, options) };
    if (!play.bus)
        return 0;
    bus_topic(play.bus, "t");
    play.handle = bus_open(play.bus);
    play.ledger = ledger_new(4, 100 * SLOTS + 10);
    play.watcher = watcher_start(play.handle, "t", play.ledger, true);
    play.steady = open_producer(play.handle, "t", NULL);
    act_topics(&play);
    act_clients(&play);
    act_deaths(&play);
    act_stop(&play);
    act_restart(&play);
    act_topics(&play);
    nothing_is_left(&play);
    died = kill && bus_died_at(play.bus, kill);
    WAIT_UNTIL(bus_status(play.bus).clients == 0, 5);
    uint64_t memory = bus_status(play.bus).memory_bytes;
    bus_stop(play.bus);
    ledger_free(play.ledger);
    return memory;
}

/* ---- the steps ---- */

struct step {
    const char *name;
    bool rare; /* not every play comes here: whether somebody sleeps or knocks is a matter of timing */
};

static const struct step adoption[] = {
    { "adopt.start", false },   { "adopt.fresh", false },  { "adopt.topics", false },
    { "adopt.clients", false }, { "adopt.groups", false }, { "adopt.readers", false },
    { "adopt.repair", false },  { "adopt.done", false },
};

static const struct step keeping[] = {
    { "keep.store", false },   { "keep.store.after", false }, { "keep.drop", false },
    { "region.ready", false }, { "keeper.store", false },     { "keeper.store.after", false },
    { "keeper.drop", false },  { "keep.replace", true },      { "keep.replace.after", true },
};

static const struct step topics[] = {
    { "topic.create.page", false }, { "topic.create.ring", false },  { "topic.create", false },
    { "topic.create.open", false }, { "topic.create.after", false }, { "topic.attach", false },
    { "topic.detach", false },      { "topic.delete", false },       { "topic.delete.after", false },
};

static const struct step clients[] = {
    { "clients.enter", false },   { "clients.enter.after", false }, { "clients.store", false },
    { "clients.left", true },     { "clients.repair", false },      { "clients.dead", false },
    { "clients.clean", false },   { "clients.free", false },        { "consumer.open", false },
    { "consumer.close", false },  { "reader.open", false },         { "reader.close", false },
    { "control.request", false }, { "control.answer", false },
};

static const struct step repair[] = {
    { "repair.abort", false }, { "repair.abort.after", false }, { "repair.gap", false },
    { "repair.help", false },  { "repair.free", true },         { "warden.stall", false },
    { "bell.ring", true },     { "bell.wake", true },           { "knock.summary", true },
};

static const struct step room[] = {
    { "reclaim.announce", false },
    { "reclaim.announce.after", false },
    { "reclaim.publish", false },
    { "reclaim.publish.after", false },
    { "rotation.ring", false },
    { "rotation.freeze", false },
    { "rotation.freeze.after", false },
    { "rotation.seal", false },
    { "rotation.seal.publish", false },
    { "rotation.publish", false },
    { "rotation.publish.after", false },
    { "rotation.after", false },
    { "ring.drop", false },
    { "ring.drop.after", false },
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct {
    const struct step *steps;
    size_t count;
} tables[] = {
    { adoption, COUNT(adoption) }, { keeping, COUNT(keeping) }, { topics, COUNT(topics) },
    { clients, COUNT(clients) },   { repair, COUNT(repair) },   { room, COUNT(room) },
};

static void die_at(const struct step *step, uint64_t memory)
{
    uint64_t held = 0;
    int pass = 0;
    /* The first pass that is not before it is ready, and a later one. */
    while (held == 0) {
        printf("at %s:%d\n", step->name, ++pass);
        fflush(stdout);
        held = perform(bus_kill_at(step->name, pass));
    }
    CHECK_EQ(held, memory);
    if (!died && !step->rare)
        FAIL("leatd never passed %s for the %d. time", step->name, pass);
    pass += 1 + (int)(test_random() % 5);
    printf("at %s:%d\n", step->name, pass);
    fflush(stdout);
    CHECK_EQ(perform(bus_kill_at(step->name, pass)), memory);
}

static void die_at_each(const struct step *steps, size_t count)
{
    uint64_t memory = perform(NULL);
    for (size_t i = 0; i < count; i++)
        die_at(&steps[i], memory);
}

TEST_SLOW(leatd_that_dies_while_it_takes_over_is_followed_by_one_that_does, 120)
{
    die_at_each(adoption, COUNT(adoption));
}

TEST_SLOW(leatd_that_dies_with_a_descriptor_half_handed_over_loses_none, 120)
{
    die_at_each(keeping, COUNT(keeping));
}

TEST_SLOW(leatd_that_dies_in_a_request_about_topics_has_it_repeated, 120)
{
    die_at_each(topics, COUNT(topics));
}

TEST_SLOW(leatd_that_dies_while_clients_come_and_go_forgets_none_and_keeps_none, 120)
{
    die_at_each(clients, COUNT(clients));
}

TEST_SLOW(leatd_that_dies_in_a_repair_has_it_finished_by_the_next, 120)
{
    die_at_each(repair, COUNT(repair));
}

TEST_SLOW(leatd_that_dies_while_it_makes_room_has_it_made_by_the_next, 120)
{
    die_at_each(room, COUNT(room));
}

TEST_LONG(leatd_dies_at_two_random_steps_of_a_play, 1200)
{
    uint64_t memory = perform(NULL);
    for (int i = 0; i < 300; i++) {
        const char *kills[2];
        for (int k = 0; k < 2; k++) {
            size_t table = test_random() % COUNT(tables);
            kills[k] = text("%s:%d", tables[table].steps[test_random() % tables[table].count].name,
                            1 + (int)(test_random() % 8));
        }
        printf("at %s and %s\n", kills[0], kills[1]);
        fflush(stdout);
        uint64_t held = perform(text("%s,%s", kills[0], kills[1]));
        CHECK(held == 0 || held == memory);
    }
}

/* ---- the tables are whole ---- */

static bool is_in_a_table(const char *name)
{
    for (size_t t = 0; t < COUNT(tables); t++)
        for (size_t i = 0; i < tables[t].count; i++)
            if (strcmp(tables[t].steps[i].name, name) == 0)
                return true;
    return false;
}

static int check_file(const char *path)
{
    FILE *source = fopen(path, "r");
    char line[512];
    int found = 0;
    if (!source)
        FAIL("cannot read %s", path);
    while (fgets(line, sizeof line, source)) {
        /* All names in the call's line: one may choose between two. */
        for (const char *at = strstr(line, "lt_point("); at && (at = strchr(at, '"'));) {
            size_t size = strcspn(++at, "\"");
            const char *name = text("%.*s", (int)size, at);
            at += size + 1;
            found++;
            if (!is_in_a_table(name))
                FAIL("%s has the point %s, and leatd was not killed there", path, name);
        }
    }
    fclose(source);
    return found;
}

TEST(every_point_of_leatd_is_in_a_table)
{
    const char *root = test_program("LEAT_TEST_ROOT");
    const char *folder = text("%s/src/leatd", root);
    DIR *directory = opendir(folder);
    CHECK(directory);
    int found = 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        size_t size = strlen(entry->d_name);
        if (strncmp(entry->d_name, "group", 5) == 0)
            continue; /* group_leatd_test.c */
        if (strcmp(entry->d_name, "data.c") == 0 || strcmp(entry->d_name, "restore.c") == 0)
            continue; /* data_kill_test.c */
        if (strcmp(entry->d_name, "part_log.c") == 0)
            continue; /* level_kill_test.c */
        if (size > 2 && strcmp(entry->d_name + size - 2, ".c") == 0)
            found += check_file(text("%s/%s", folder, entry->d_name));
    }
    closedir(directory);
    CHECK(found > 0);
    static const char *const shared[] = { "repair", "reclaim", "rotation", "region", "bell" };
    for (size_t i = 0; i < COUNT(shared); i++)
        check_file(text("%s/src/shm/%s.c", root, shared[i]));
}
