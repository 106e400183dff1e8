/* visible: what a consumer of a topic above level ring gets to see, by words that the tests place. */
#include <string.h>

#include "client/commit.h"
#include "client/member.h"
#include "leat.h"
#include "page.h"
#include "test.h"
#include "threads.h"

enum { BASE = PAGE_BASE };

static const uint32_t max_of = 500;

/* Polls once; what came are the offsets behind the position. */
static int poll(leat_consumer *c)
{
    const leat_record *records;
    uint64_t at = c->cursors[0]->position;
    int n = leat_consumer_poll(c, 0, &records);
    CHECK(n >= 0);
    for (int i = 0; i < n; i++)
        CHECK_EQ(records[i].offset, at + (uint64_t)i);
    return n;
}

static void see(struct page *page, uint64_t below)
{
    page_acknowledge(page, 0, below, below);
}

TEST(records_are_handed_out_once_they_are_visible)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_consumer *c = page_consumer(page, max_of);
    page_send(page, 0, 10);
    CHECK_EQ(poll(c), 0);
    see(page, BASE + 3);
    CHECK_EQ(poll(c), 3);
    CHECK_EQ(poll(c), 0);
    see(page, BASE + 10);
    CHECK_EQ(poll(c), 7);
    see(page, BASE + 20); /* a word that is ahead shows nothing that is not there */
    CHECK_EQ(poll(c), 0);
}

TEST(everything_published_is_visible_at_level_ring)
{
    struct page *page = page_new(LEAT_RING);
    leat_consumer *c = page_consumer(page, max_of);
    page_send(page, 0, 10);
    CHECK_EQ(poll(c), 10);
}

/* Every place at which a poll can begin and what is visible can end, over two laps. */
TEST(what_is_visible_ends_anywhere_in_the_lap)
{
    for (uint64_t begin = 0; begin <= PAGE_SLOTS; begin += 7)
        for (uint64_t end = begin; end <= PAGE_SLOTS + begin && end <= PAGE_SLOTS + 20; end += 3) {
            struct page *page = page_new(LEAT_WRITTEN);
            leat_consumer *c = page_consumer(page, max_of);
            page_send(page, 0, (uint32_t)begin);
            see(page, BASE + begin);
            CHECK_EQ(poll(c), begin);
            page->parts[0]->gate[0].limit_offset = BASE + begin;
            page_send(page, 0, PAGE_SLOTS - 1);
            see(page, BASE + end);
            CHECK_EQ(poll(c), end - begin < PAGE_SLOTS - 1 ? end - begin : PAGE_SLOTS - 1);
        }
}

TEST(what_is_not_visible_is_not_pinned)
{
    struct page *page = page_new(LEAT_DURABLE);
    leat_consumer *c = page_consumer(page, max_of);
    page_send(page, 0, 1);
    CHECK_EQ(poll(c), 0);
    CHECK_EQ(c->touched_count, 0);
    CHECK_EQ(page->mailbox->readers[0].pin, LT_PIN_NONE);
}

TEST(small_polls_stop_at_their_size_and_at_what_is_visible)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_consumer *c = page_consumer(page, 4);
    page_send(page, 0, 10);
    see(page, BASE + 6);
    CHECK_EQ(poll(c), 4);
    CHECK_EQ(poll(c), 2);
    CHECK_EQ(poll(c), 0);
}

/* ---- sleeping ---- */

static int32_t sleeper;

static void *poll_there(void *argument)
{
    const leat_record *records;
    __atomic_store_n(&sleeper, thread_id(), __ATOMIC_RELEASE);
    return (void *)(intptr_t)leat_consumer_poll(argument, 20000, &records);
}

TEST(sleeping_poll_is_woken_when_more_is_visible_and_not_before)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_consumer *c = page_consumer(page, max_of);
    c->sleep_ns = 20000000000; /* who is forgotten fails the test */
    pthread_t thread = thread_start(poll_there, c);
    thread_wait_asleep(&sleeper);
    uint32_t armed = lt_load_acquire32(&c->bell->word);
    page_send(page, 0, 3);
    lt_partition_ring_bells(page->parts[0], page->bells);
    CHECK_EQ(lt_load_acquire32(&c->bell->word), armed);
    see(page, BASE + 2);
    CHECK_EQ((intptr_t)thread_join(thread), 2);
}

/* ---- holes ---- */

static uint64_t knocks(const struct page *page)
{
    return page->bells->knocks[100 / 64] >> 100 % 64 & 1;
}

TEST(records_that_are_not_visible_yet_are_no_hole)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_consumer *c = page_consumer(page, max_of);
    page_send(page, 0, 5);
    lt_consumer_knock(c);
    CHECK_EQ(knocks(page), 0);
}

TEST(claim_that_nobody_publishes_is_a_hole)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_consumer *c = page_consumer(page, max_of);
    struct lt_ring ring = page->mapped[0].view;
    struct lt_claim claim;
    CHECK_EQ(arena_claim(&ring, 3, 1, 0, &claim), 0);
    page_send(page, 0, 5);
    lt_consumer_knock(c);
    CHECK_EQ(knocks(page), 1);
}

/* ---- ends ---- */

static void send_gap(struct page *page)
{
    struct lt_ring ring = page->mapped[0].view;
    struct lt_claim claim;
    CHECK_EQ(arena_claim(&ring, 3, 1, 0, &claim), 0);
    CHECK_EQ(lt_ring_abort(&ring, &claim), 0);
}

TEST(partition_ends_where_what_is_visible_ends)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_consumer *c = page_consumer(page, max_of);
    page_send(page, 0, 10);
    CHECK_EQ(leat_consumer_end_offset(c, "t", 0), BASE);
    CHECK_EQ(leat_consumer_lag(c, "t", 0), 0);
    see(page, BASE + 4);
    CHECK_EQ(leat_consumer_end_offset(c, "t", 0), BASE + 4);
    CHECK_EQ(leat_consumer_lag(c, "t", 0), 4);
    CHECK_EQ(poll(c), 4);
    CHECK_EQ(leat_consumer_lag(c, "t", 0), 0);
    see(page, BASE + 50); /* never behind the tail */
    CHECK_EQ(leat_consumer_end_offset(c, "t", 0), BASE + 10);
}

TEST(gaps_at_the_end_are_stepped_over_once_they_are_visible)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_consumer *c = page_consumer(page, max_of);
    page_send(page, 0, 1);
    send_gap(page);
    send_gap(page);
    see(page, BASE + 1);
    CHECK_EQ(poll(c), 1);
    CHECK_EQ(leat_consumer_position(c, "t", 0), BASE + 1);
    CHECK_EQ(leat_consumer_lag(c, "t", 0), 0);
    see(page, BASE + 2);
    CHECK_EQ(leat_consumer_position(c, "t", 0), BASE + 2);
    see(page, BASE + 3);
    CHECK_EQ(leat_consumer_lag(c, "t", 0), 0);
    CHECK_EQ(leat_consumer_position(c, "t", 0), BASE + 3);
}

TEST(commit_does_not_follow_over_gaps_that_are_not_visible)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_consumer *c = page_consumer(page, max_of);
    struct lt_member member = { .joined = true };
    page_send(page, 0, 1);
    send_gap(page);
    see(page, BASE + 1);
    CHECK_EQ(poll(c), 1);
    lt_store_relaxed64(&c->cursors[0]->entry->committed, BASE + 1);
    c->member = &member;
    CHECK_EQ(leat_consumer_position(c, "t", 0), BASE + 1);
    CHECK_EQ(c->cursors[0]->entry->committed, BASE + 1);
    see(page, BASE + 2);
    CHECK_EQ(leat_consumer_position(c, "t", 0), BASE + 2);
    CHECK_EQ(c->cursors[0]->entry->committed, BASE + 2);
}

TEST(latest_is_where_what_is_visible_ends)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_consumer *c = page_consumer(page, max_of);
    page_send(page, 0, 10);
    see(page, BASE + 6);
    CHECK_EQ(leat_consumer_seek(c, "t", 0, LEAT_END), 0);
    CHECK_EQ(leat_consumer_position(c, "t", 0), BASE + 6);
    see(page, BASE + 10);
    CHECK_EQ(poll(c), 4);
}

TEST(offset_that_is_there_and_not_visible_can_be_sought_and_is_waited_for)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_consumer *c = page_consumer(page, max_of);
    page_send(page, 0, 10);
    see(page, BASE + 2);
    CHECK_EQ(leat_consumer_seek(c, "t", 0, BASE + 8), 0);
    CHECK_EQ(poll(c), 0);
    see(page, BASE + 8);
    CHECK_EQ(poll(c), 0);
    see(page, BASE + 9);
    CHECK_EQ(poll(c), 1);
}

TEST(search_for_a_time_ends_where_what_is_visible_ends)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_consumer *c = page_consumer(page, max_of);
    page_send(page, 0, 10); /* all stamped 0 */
    see(page, BASE + 6);
    CHECK_EQ(leat_consumer_offset_for_time(c, "t", 0, 1), BASE + 6);
    CHECK_EQ(leat_consumer_offset_for_time(c, "t", 0, 0), BASE);
}

/* ---- places ---- */

TEST(seeks_between_two_rings_all_arrive_without_a_poll_in_between)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_consumer *c = page_consumer(page, max_of);
    struct lt_mapped old = page->mapped[0];
    old.ring = 7;
    page_send(page, 0, 20);
    for (uint32_t i = 0; i < 2 * LT_RINGS; i++) {
        c->cursors[0]->mapped = &old;
        CHECK_EQ(leat_consumer_seek(c, "t", 0, BASE + i), 0);
        CHECK_EQ(leat_consumer_position(c, "t", 0), BASE + i);
    }
}

/* A log that cannot be opened on a new bus: the ring begins above all that may have been given out. */
TEST(what_a_failed_log_may_still_have_is_not_skipped)
{
    static const enum leat_reset resets[] = { LEAT_LATEST, LEAT_EARLIEST, LEAT_RESET_ERROR };
    struct page *page = page_new(LEAT_WRITTEN);
    struct lt_partition *part = page->parts[0];
    page->head->log_id = 1;
    part->log_start = part->written = part->durable = part->visible = 0;
    part->gate[0].announced = BASE;
    page_state(page, 0, LT_PARTITION_FAILED, LEAT_EIO, "why");
    leat_consumer *c = page_consumer(page, max_of);
    const leat_record *records;
    for (size_t i = 0; i < sizeof resets / sizeof *resets; i++) {
        c->reset = resets[i];
        CHECK_EQ(leat_consumer_seek(c, "t", 0, 10), 0);
        CHECK_EQ(leat_consumer_poll(c, 0, &records), LEAT_EIO);
        CHECK(strstr(leat_last_error(&page->bus), "why") != NULL);
        CHECK_EQ(leat_consumer_position(c, "t", 0), 10);
    }
    CHECK_EQ(leat_consumer_missed(c, "t", 0), 0);
    CHECK_EQ(leat_consumer_beginning_offset(c, "t", 0), 0);
    page_state(page, 0, LT_PARTITION_OPEN, 0, NULL); /* and the log turns out to be empty */
    page_send(page, 0, 3);
    part->visible = BASE + 3;
    CHECK_EQ(leat_consumer_poll(c, 0, &records), 3);
    CHECK_EQ(records[0].offset, BASE);
}
