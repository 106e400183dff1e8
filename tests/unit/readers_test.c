/* readers: on which list of a partition a reader's bell stands, and what a start of the worker makes of the lists. */
#include "leatd/readers.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "leat.h"
#include "leatd/topics.h"
#include "shm/mailbox.h"
#include "test.h"

enum { CLIENT = 3, BELL = 70, TOPIC = 9, PARTITIONS = 2 };

/* A worker that has one topic and one client, whose consumer has a bell. */
struct scene {
    struct lt_worker w;
    struct lt_client client;
    struct lt_conn conn;
    struct lt_topic *topic;
};

/* All that was made, so that a leak checker reaches it: tests end without giving anything back. */
static struct made {
    struct made *next;
    void *memory;
} * all;

static void *zeroed(size_t bytes)
{
    struct made *made = malloc(sizeof *made);
    void *memory = aligned_alloc(4096, (bytes + 4095) & ~(size_t)4095);
    CHECK(made != NULL && memory != NULL);
    *made = (struct made){ .next = all, .memory = memory };
    all = made;
    return memset(memory, 0, bytes);
}

static struct scene *scene_new(enum leat_level level)
{
    struct scene *s = zeroed(sizeof *s);
    struct lt_worker *w = &s->w;
    w->coordinator = zeroed(sizeof *w->coordinator);
    w->bells = zeroed(sizeof *w->bells);
    w->globals = zeroed(LT_PARTITIONS_MAX * sizeof *w->globals);
    memset(w->group_of_bell, 0, sizeof w->group_of_bell);

    s->topic = lt_topics_new("t", TOPIC, PARTITIONS, 0);
    s->topic->page = zeroed(lt_topic_bytes(PARTITIONS));
    s->topic->head = lt_topic_head(s->topic->page);
    s->topic->head->level = level;
    s->topic->head->mode = 0666;
    for (uint32_t p = 0; p < PARTITIONS; p++)
        s->topic->parts[p].page = lt_topic_partition(s->topic->page, p);
    CHECK_EQ(lt_topics_enter(w, s->topic), 0);

    s->client = (struct lt_client){ .id = CLIENT, .uid = geteuid(), .bell_count = 1 };
    s->client.mailbox = zeroed(sizeof *s->client.mailbox);
    s->conn = (struct lt_conn){ .client = &s->client, .peer = { .uid = geteuid() } };
    w->clients[CLIENT] = &s->client;
    w->coordinator->bells[BELL].client = CLIENT;
    return s;
}

static struct lt_partition *page_of(const struct scene *s, uint32_t partition)
{
    return s->topic->parts[partition].page;
}

static bool is_on(const uint64_t *list, uint32_t bell)
{
    return list[bell / 64] >> bell % 64 & 1;
}

static void open_reader(struct scene *s, uint32_t entry, uint32_t partition)
{
    s->client.mailbox->readers[entry].ident = LT_READER_IDENT(TOPIC, partition, BELL);
    CHECK_EQ(lt_readers_open(&s->w, &s->conn, entry, false), 0);
}

/* The worker dies, and the next one has the same regions and knows nothing. */
static void restart(struct scene *s)
{
    free(s->client.idents);
    s->client.idents = NULL;
    s->client.reader_count = s->client.bell_count = 0;
    for (uint32_t p = 0; p < PARTITIONS; p++)
        s->topic->parts[p].reader_count = 0;
}

TEST(readers_at_level_ring_are_rung_by_producers)
{
    struct scene *s = scene_new(LEAT_RING);
    open_reader(s, 0, 1);
    CHECK(is_on(page_of(s, 1)->bells, BELL));
    CHECK_EQ(page_of(s, 1)->acked_summary, 0);
    CHECK_EQ(page_of(s, 0)->bell_summary, 0);
    CHECK_EQ(lt_readers_close(&s->w, &s->client, 0), 0);
    CHECK_EQ(page_of(s, 1)->bell_summary, 0);
}

TEST(readers_above_level_ring_are_rung_by_the_persister)
{
    struct scene *s = scene_new(LEAT_WRITTEN);
    open_reader(s, 0, 1);
    CHECK(is_on(page_of(s, 1)->acked_bells, BELL));
    CHECK_EQ(page_of(s, 1)->bell_summary, 0);
    CHECK_EQ(lt_readers_close(&s->w, &s->client, 0), 0);
    CHECK_EQ(page_of(s, 1)->acked_summary, 0);
}

TEST(bell_stays_listed_until_its_last_reader_has_gone)
{
    struct scene *s = scene_new(LEAT_DURABLE);
    open_reader(s, 0, 1);
    open_reader(s, 1, 1);
    CHECK_EQ(lt_readers_close(&s->w, &s->client, 0), 0);
    CHECK(is_on(page_of(s, 1)->acked_bells, BELL));
    CHECK_EQ(lt_readers_close(&s->w, &s->client, 1), 0);
    CHECK(!is_on(page_of(s, 1)->acked_bells, BELL));
}

TEST(next_worker_finds_its_readers_on_either_list)
{
    for (int level = LEAT_RING; level <= LEAT_DURABLE; level++) {
        struct scene *s = scene_new((enum leat_level)level);
        open_reader(s, 4, 0);
        restart(s);
        lt_readers_adopt(&s->w, &s->client);
        lt_readers_adopt_done(&s->w);
        CHECK_EQ(s->client.reader_count, 1);
        CHECK_EQ(s->topic->parts[0].reader_count, 1);
        CHECK(is_on(level == LEAT_RING ? page_of(s, 0)->bells : page_of(s, 0)->acked_bells, BELL));
    }
}

TEST(entry_whose_bell_is_not_listed_is_no_reader)
{
    struct scene *s = scene_new(LEAT_WRITTEN);
    s->client.mailbox->readers[4].ident = LT_READER_IDENT(TOPIC, 0, BELL);
    lt_readers_adopt(&s->w, &s->client);
    CHECK_EQ(s->client.reader_count, 0);
}

TEST(bells_that_nobody_stands_behind_are_unlisted_but_for_the_persisters)
{
    struct scene *s = scene_new(LEAT_WRITTEN);
    open_reader(s, 0, 0);
    lt_partition_bell_set(page_of(s, 0), LT_BELL_PERSISTER, 1);
    lt_partition_bell_set(page_of(s, 1), LT_BELL_GATHER, 1);
    lt_partition_bell_set(page_of(s, 1), 12, 1);
    lt_partition_acked_bell_set(page_of(s, 0), 13, 1);
    restart(s);
    lt_readers_adopt(&s->w, &s->client);
    lt_readers_adopt_done(&s->w);
    CHECK(is_on(page_of(s, 0)->bells, LT_BELL_PERSISTER));
    CHECK(is_on(page_of(s, 1)->bells, LT_BELL_GATHER));
    CHECK(!is_on(page_of(s, 1)->bells, 12));
    CHECK(!is_on(page_of(s, 0)->acked_bells, 13));
    CHECK(is_on(page_of(s, 0)->acked_bells, BELL));
}

TEST(dead_client_is_on_no_list)
{
    struct scene *s = scene_new(LEAT_WRITTEN);
    open_reader(s, 0, 0);
    open_reader(s, 1, 1);
    lt_readers_close_all(&s->w, CLIENT);
    CHECK_EQ(page_of(s, 0)->acked_summary | page_of(s, 1)->acked_summary, 0);
    CHECK_EQ(s->w.coordinator->bells[BELL].client, 0);
}

TEST(client_that_this_worker_never_knew_is_taken_off_both_lists)
{
    struct scene *s = scene_new(LEAT_WRITTEN);
    lt_partition_acked_bell_set(page_of(s, 0), BELL, 1);
    lt_partition_bell_set(page_of(s, 1), BELL, 1);
    s->w.clients[CLIENT] = NULL;
    lt_readers_close_all(&s->w, CLIENT);
    CHECK_EQ(page_of(s, 0)->acked_summary | page_of(s, 1)->bell_summary, 0);
}

TEST(no_consumer_gets_a_bell_of_the_persisters)
{
    struct scene *s = scene_new(LEAT_RING);
    struct lt_consumer_open request = { .consumer = 1, .bell = UINT32_MAX };
    uint32_t bell;
    for (uint32_t b = 0; b < LT_BELL_GATHER; b++)
        s->w.coordinator->bells[b].client = 1;
    CHECK_EQ(lt_readers_open_consumer(&s->w, &s->client, &request, &bell), LEAT_ELIMIT);
}

/* A member has readers for what it may be granted. */
TEST(members_reader_is_listed_only_as_long_as_its_group_says_so)
{
    struct scene *s = scene_new(LEAT_WRITTEN);
    s->client.mailbox->readers[0].ident = LT_READER_IDENT(TOPIC, 1, BELL);
    CHECK_EQ(lt_readers_open(&s->w, &s->conn, 0, true), 0);
    CHECK_EQ(page_of(s, 1)->acked_summary, 0);
    lt_readers_list(&s->topic->parts[1], CLIENT, BELL, true);
    CHECK(is_on(page_of(s, 1)->acked_bells, BELL));
    CHECK_EQ(page_of(s, 1)->bell_summary, 0);
    lt_readers_list(&s->topic->parts[1], CLIENT, BELL, false);
    CHECK_EQ(page_of(s, 1)->acked_summary, 0);
}
