/* ack: what a producer waits for, is told and is refused, by words that the tests place. */
#include "client/ack.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "leat.h"
#include "page.h"
#include "test.h"
#include "threads.h"

enum { LONG_MS = 20000, BASE = PAGE_BASE };

static const leat_record record = { .value = "v", .value_size = 1 };

static leat_receipt send_to(leat_producer *p, uint32_t partition)
{
    leat_receipt receipt;
    CHECK_EQ(leat_producer_send_to(p, partition, &record, &receipt), 0);
    return receipt;
}

/* A call that waits, in a thread of its own. */
struct waiter {
    leat_producer *p;
    leat_receipt receipt; /* offset UINT64_MAX: flushes */
    int64_t timeout_ms;
    int32_t id;
    int result;
    char said[256];
    pthread_t thread;
};

static void *wait_there(void *argument)
{
    struct waiter *waiter = argument;
    __atomic_store_n(&waiter->id, thread_id(), __ATOMIC_RELEASE);
    waiter->result = waiter->receipt.offset == UINT64_MAX
                         ? leat_producer_flush(waiter->p, waiter->timeout_ms)
                         : leat_producer_wait(waiter->p, &waiter->receipt, waiter->timeout_ms);
    strncpy(waiter->said, leat_last_error(NULL), sizeof waiter->said - 1);
    return NULL;
}

static struct waiter *start(leat_producer *p, leat_receipt receipt)
{
    static struct waiter waiter;
    waiter = (struct waiter){ .p = p, .receipt = receipt, .timeout_ms = LONG_MS };
    waiter.thread = thread_start(wait_there, &waiter);
    thread_wait_asleep(&waiter.id);
    return &waiter;
}

static int end(struct waiter *waiter)
{
    thread_join(waiter->thread);
    return waiter->result;
}

/* ---- wait ---- */

TEST(offset_that_is_acknowledged_is_not_waited_for)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = page_producer(page, NULL);
    leat_receipt receipt = send_to(p, 0);
    page_acknowledge(page, 0, BASE + 1, BASE);
    CHECK_EQ(leat_producer_wait(p, &receipt, 0), 0);
}

TEST(wait_ends_when_its_time_is_over)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = page_producer(page, NULL);
    send_to(p, 0);
    leat_receipt receipt = send_to(p, 0);
    page_acknowledge(page, 0, BASE + 1, BASE + 1);
    CHECK_EQ(leat_producer_wait(p, &receipt, 0), LEAT_ETIMEOUT);
    CHECK_STR(leat_last_error(NULL), "t: partition 0: acknowledged below 1001, not yet below 1002");
    int64_t before_ns = lt_clock_mono_ns();
    CHECK_EQ(leat_producer_wait(p, &receipt, 3), LEAT_ETIMEOUT);
    CHECK(lt_clock_mono_ns() - before_ns >= 3000000);
}

TEST(sleeping_wait_is_woken_by_its_acknowledgement)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = page_producer(page, NULL);
    struct waiter *waiter = start(p, send_to(p, 1));
    page_acknowledge(page, 1, BASE + 1, BASE);
    CHECK_EQ(end(waiter), 0);
}

TEST(written_is_not_durable)
{
    struct page *page = page_new(LEAT_DURABLE);
    leat_producer *p = page_producer(page, NULL);
    leat_receipt receipt = send_to(p, 0);
    page_acknowledge(page, 0, BASE + 1, BASE);
    CHECK_EQ(leat_producer_wait(p, &receipt, 0), LEAT_ETIMEOUT);
    page_acknowledge(page, 0, BASE + 1, BASE + 1);
    CHECK_EQ(leat_producer_wait(p, &receipt, 0), 0);
}

TEST(producer_may_wait_for_more_than_its_topic_and_never_for_less)
{
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    leat_producer *p;
    options.level = LEAT_DURABLE;
    CHECK_EQ(page_producer(page_new(LEAT_RING), &options)->acks.level, LEAT_DURABLE);
    options.level = LEAT_WRITTEN;
    CHECK_EQ(page_producer(page_new(LEAT_DURABLE), &options)->acks.level, LEAT_DURABLE);
    options.level = LEAT_RING;
    CHECK_EQ(page_producer(page_new(LEAT_WRITTEN), &options)->acks.level, LEAT_WRITTEN);
    options.level = (enum leat_level)3;
    CHECK_EQ(page_try_producer(page_new(LEAT_WRITTEN), &options, &p), LEAT_EINVAL);
}

TEST(level_above_ring_needs_a_log)
{
    struct page *page = page_new(LEAT_RING);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    leat_producer *p;
    page->head->log = 0;
    CHECK_EQ(page_try_producer(page, NULL, &p), 0);
    options.level = LEAT_DURABLE;
    CHECK_EQ(page_try_producer(page, &options, &p), LEAT_EINVAL);
    CHECK_STR(leat_last_error(NULL), "t: level \"durable\" needs a log, and this topic has none");
}

TEST(nothing_is_waited_for_at_level_ring)
{
    struct page *page = page_new(LEAT_RING);
    leat_producer *p = page_producer(page, NULL);
    leat_receipt receipt = send_to(p, 0);
    CHECK_EQ(leat_producer_wait(p, &receipt, -1), 0);
    CHECK_EQ(leat_producer_flush(p, -1), 0);
}

TEST(receipt_that_was_never_given_is_refused)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = page_producer(page, NULL);
    send_to(p, 0);
    CHECK_EQ(leat_producer_wait(p, &(leat_receipt){ 0, BASE + 1 }, 0), LEAT_EINVAL);
    CHECK_STR(leat_last_error(NULL), "t: partition 0: offset 1001 was not given out; the next is 1001");
    CHECK_EQ(leat_producer_wait(p, &(leat_receipt){ PAGE_PARTITIONS, 0 }, 0), LEAT_EINVAL);
    page_send(page, 0, 1); /* somebody else's can be waited for */
    CHECK_EQ(leat_producer_wait(p, &(leat_receipt){ 0, BASE + 1 }, 0), LEAT_ETIMEOUT);
}

TEST(receipt_of_a_ring_that_this_producer_has_not_come_to_is_waited_for)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = page_producer(page, NULL);
    leat_receipt receipt = { 0, BASE + 7 };
    page->parts[0]->current_ring = 1;
    CHECK_EQ(leat_producer_wait(p, &receipt, 1), LEAT_ETIMEOUT);
    page_acknowledge(page, 0, BASE + 8, BASE);
    CHECK_EQ(leat_producer_wait(p, &receipt, 1), 0);
}

TEST(wait_on_a_partition_that_fails_says_why)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = page_producer(page, NULL);
    leat_receipt first = send_to(p, 2), second = send_to(p, 2);
    struct waiter *waiter = start(p, second);
    page_acknowledge(page, 2, BASE + 1, BASE + 1);
    page_state(page, 2, LT_PARTITION_FAILED, LEAT_EIO, "/data/t/2/0.log: write: Input/output error");
    CHECK_EQ(end(waiter), LEAT_EIO);
    CHECK_STR(waiter->said, "t: partition 2: /data/t/2/0.log: write: Input/output error");
    CHECK_EQ(leat_producer_wait(p, &first, 0), 0); /* was acknowledged before */
}

TEST(wait_on_a_full_disk_goes_on_until_there_is_room)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = page_producer(page, NULL);
    leat_receipt receipt = send_to(p, 0);
    page_state(page, 0, LT_PARTITION_FULL, LEAT_ENOSPC, "full");
    CHECK_EQ(leat_producer_wait(p, &receipt, 1), LEAT_ETIMEOUT);
    struct waiter *waiter = start(p, receipt);
    page_state(page, 0, LT_PARTITION_OPEN, 0, NULL);
    page_acknowledge(page, 0, BASE + 1, BASE);
    CHECK_EQ(end(waiter), 0);
}

TEST(wait_ends_with_the_topic_and_with_the_bus)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = page_producer(page, NULL);
    leat_receipt receipt = send_to(p, 0);
    struct waiter *waiter = start(p, receipt);
    lt_store_release32(&page->head->state, LT_TOPIC_DELETED); /* nobody wakes it: it looks */
    CHECK_EQ(end(waiter), LEAT_EDELETED);
    page->head->state = LT_TOPIC_OPEN;
    waiter = start(p, receipt);
    lt_store_release32(&page->bus.gone, 1);
    CHECK_EQ(end(waiter), LEAT_EGONE);
}

/* Claims of others may be in the way; leatd watches them once it was knocked at. */
TEST(long_wait_knocks_at_leatds_door)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = page_producer(page, NULL);
    leat_receipt receipt = send_to(p, 3);
    CHECK_EQ(leat_producer_wait(p, &receipt, 150), LEAT_ETIMEOUT);
    CHECK_EQ(page->bells->knocks[103 / 64], 1ull << 103 % 64);
}

TEST(wait_that_only_spins_knocks_too_and_ends_with_the_bus)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.spin_us = -1;
    leat_producer *p = page_producer(page, &options);
    struct waiter waiter = { .p = p, .receipt = send_to(p, 3), .timeout_ms = -1 };
    waiter.thread = thread_start(wait_there, &waiter);
    while (lt_load_relaxed64(&page->bells->knocks[103 / 64]) == 0)
        lt_relax();
    lt_store_release32(&page->bus.gone, 1);
    CHECK_EQ(end(&waiter), LEAT_EGONE);
}

/* ---- flush ---- */

static const leat_receipt all = { 0, UINT64_MAX };

TEST(flush_waits_for_every_partition_that_was_sent_to)
{
    struct page *page = page_new(LEAT_DURABLE);
    leat_producer *p = page_producer(page, NULL);
    CHECK_EQ(leat_producer_flush(p, 0), 0);
    send_to(p, 1);
    send_to(p, 3);
    page_send(page, 0, 5); /* others' are others' */
    struct waiter *waiter = start(p, all);
    page_acknowledge(page, 1, BASE + 1, BASE + 1);
    page_acknowledge(page, 3, BASE + 1, BASE);
    CHECK_EQ(leat_producer_flush(p, 0), LEAT_EBUSY_HANDLE); /* it is still in there */
    page_acknowledge(page, 3, BASE + 1, BASE + 1);
    CHECK_EQ(end(waiter), 0);
}

TEST(flush_says_the_first_error_and_waits_for_the_others)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = page_producer(page, NULL);
    send_to(p, 0);
    send_to(p, 1);
    page_state(page, 0, LT_PARTITION_FAILED, LEAT_EFAILED, "damaged");
    struct waiter *waiter = start(p, all);
    page_acknowledge(page, 1, BASE + 1, BASE);
    CHECK_EQ(end(waiter), LEAT_EFAILED);
}

TEST(flush_covers_claims_that_were_committed_in_another_order)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = page_producer(page, NULL);
    leat_claim first, second;
    p->partition_count = 1;
    CHECK_EQ(leat_producer_claim(p, NULL, 0, 8, &first), 0);
    CHECK_EQ(leat_producer_claim(p, NULL, 0, 8, &second), 0);
    CHECK_EQ(leat_claim_commit(&second, NULL), 0);
    CHECK_EQ(leat_claim_commit(&first, NULL), 0);
    page_acknowledge(page, 0, BASE + 1, BASE);
    CHECK_EQ(leat_producer_flush(p, 0), LEAT_ETIMEOUT);
    page_acknowledge(page, 0, BASE + 2, BASE);
    CHECK_EQ(leat_producer_flush(p, 0), 0);
}

/* ---- on_delivered ---- */

enum { TOLD_MAX = 4096 };
static struct told {
    uint32_t partition;
    uint64_t offset;
    int error;
} told[TOLD_MAX];
static int told_count;

static void delivered(const leat_receipt *receipt, int error, void *user)
{
    CHECK(user == &told);
    CHECK(told_count < TOLD_MAX);
    told[told_count++] = (struct told){ receipt->partition, receipt->offset, error };
}

static leat_producer *telling(struct page *page)
{
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    options.on_delivered = delivered;
    options.user = &told;
    return page_producer(page, &options);
}

/* What was told since the last look: `count` calls, of these offsets one behind the other. */
static void expect(int count, uint32_t partition, uint64_t first, int error)
{
    CHECK_EQ(told_count, count);
    for (int i = 0; i < count; i++) {
        CHECK_EQ(told[i].partition, partition);
        CHECK_EQ(told[i].offset, first + (uint64_t)i);
        CHECK_EQ(told[i].error, error);
    }
    told_count = 0;
}

TEST(delivery_is_told_by_the_next_call_behind_the_acknowledgement)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = telling(page);
    for (int i = 0; i < 3; i++)
        send_to(p, 0);
    expect(0, 0, 0, 0);
    page_acknowledge(page, 0, BASE + 2, BASE);
    expect(0, 0, 0, 0);
    send_to(p, 1); /* any call */
    expect(2, 0, BASE, 0);
    page_acknowledge(page, 0, BASE + 3, BASE);
    page_acknowledge(page, 1, BASE + 1, BASE);
    CHECK_EQ(leat_producer_flush(p, 0), 0);
    CHECK_EQ(told_count, 2);
    CHECK_EQ(p->acks.waiting_count, 0);
}

TEST(delivery_is_told_at_once_at_level_ring)
{
    leat_producer *p = telling(page_new(LEAT_RING));
    leat_record records[3] = { record, record, record };
    send_to(p, 2);
    expect(1, 2, BASE, 0);
    p->partition_count = 1;
    CHECK_EQ(leat_producer_send_many(p, records, 3, NULL), 3);
    expect(3, 0, BASE, 0);
}

TEST(batches_are_told_record_by_record)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = telling(page);
    leat_record records[10];
    for (int i = 0; i < 10; i++)
        records[i] = record;
    p->partition_count = 1;
    CHECK_EQ(leat_producer_send_many(p, records, 10, NULL), 10);
    CHECK_EQ(leat_producer_send_many(p, records, 10, NULL), 10);
    CHECK_EQ(p->acks.unacked[0].count, 1); /* one range */
    page_acknowledge(page, 0, BASE + 15, BASE);
    CHECK_EQ(leat_producer_flush(p, 0), LEAT_ETIMEOUT);
    expect(15, 0, BASE, 0);
    page_acknowledge(page, 0, BASE + 20, BASE);
    CHECK_EQ(leat_producer_wait(p, &(leat_receipt){ 0, BASE }, 0), 0);
    expect(5, 0, BASE + 15, 0);
}

TEST(claims_are_told_by_offset_whatever_order_they_were_committed_in)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = telling(page);
    leat_claim claims[5];
    p->partition_count = 1;
    for (int i = 0; i < 5; i++)
        CHECK_EQ(leat_producer_claim(p, NULL, 0, 8, &claims[i]), 0);
    CHECK_EQ(leat_claim_commit(&claims[4], NULL), 0);
    CHECK_EQ(leat_claim_commit(&claims[1], NULL), 0);
    CHECK_EQ(leat_claim_commit(&claims[3], NULL), 0);
    CHECK_EQ(leat_claim_commit(&claims[0], NULL), 0);
    CHECK_EQ(leat_claim_abort(&claims[2]), 0);
    page_acknowledge(page, 0, BASE + 5, BASE);
    CHECK_EQ(leat_producer_flush(p, 0), 0);
    static const uint64_t offsets[] = { 0, 1, 3, 4 };
    CHECK_EQ(told_count, 4);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(told[i].offset, BASE + offsets[i]);
}

/* Two who send in turn: each one's offsets are ranges of one. */
TEST(queue_of_many_ranges_keeps_their_order)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = telling(page);
    for (uint64_t i = 0; i < PAGE_SLOTS / 2; i++) {
        send_to(p, 0);
        page_send(page, 0, 1);
    }
    CHECK_EQ(p->acks.unacked[0].count, PAGE_SLOTS / 2);
    page_acknowledge(page, 0, BASE + 11, BASE);
    lt_ack_tell(p);
    CHECK_EQ(told_count, 6);
    page_acknowledge(page, 0, BASE + PAGE_SLOTS, BASE);
    lt_ack_tell(p);
    CHECK_EQ(told_count, PAGE_SLOTS / 2);
    for (uint64_t i = 0; i < PAGE_SLOTS / 2; i++)
        CHECK_EQ(told[i].offset, BASE + 2 * i);
}

TEST(what_a_failed_partition_has_not_acknowledged_is_told_with_its_error)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = telling(page);
    for (int i = 0; i < 4; i++)
        send_to(p, 0);
    page_acknowledge(page, 0, BASE + 1, BASE);
    page_state(page, 0, LT_PARTITION_FAILED, LEAT_EIO, "write: Input/output error");
    CHECK_EQ(leat_producer_send_to(p, 0, &record, NULL), LEAT_EIO);
    CHECK_EQ(told_count, 4);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(told[i].error, i == 0 ? 0 : LEAT_EIO);
}

TEST(full_disk_ends_nobodys_delivery)
{
    struct page *page = page_new(LEAT_WRITTEN);
    leat_producer *p = telling(page);
    send_to(p, 0);
    page_state(page, 0, LT_PARTITION_FULL, LEAT_ENOSPC, "full");
    CHECK_EQ(leat_producer_send_to(p, 0, &record, NULL), LEAT_ENOSPC);
    expect(0, 0, 0, 0);
}

TEST(what_is_left_at_the_end_is_told_with_an_error)
{
    leat_producer *p = telling(page_new(LEAT_WRITTEN));
    send_to(p, 3);
    send_to(p, 3);
    lt_ack_end(p, LEAT_ETIMEOUT);
    expect(2, 3, BASE, LEAT_ETIMEOUT);
}

/* ---- refusal ---- */

static void check_refused(leat_producer *p, uint32_t partition, int error, const char *said)
{
    leat_record records[2] = { record, record };
    leat_claim claim;
    CHECK_EQ(leat_producer_send_to(p, partition, &record, NULL), error);
    CHECK_STR(leat_last_error(NULL), said);
    p->next = partition;
    CHECK_EQ(leat_producer_claim(p, NULL, 0, 8, &claim), error);
    p->next = partition;
    CHECK_EQ(leat_producer_send_many(p, records, 1, NULL), error);
    CHECK_STR(leat_last_error(NULL), said);
}

TEST(partition_without_room_on_the_disk_refuses_at_once_and_takes_again_by_itself)
{
    struct page *page = page_new(LEAT_RING);
    leat_producer *p = page_producer(page, NULL);
    page_state(page, 1, LT_PARTITION_FULL, LEAT_ENOSPC, "/d/1: No space left on device");
    check_refused(p, 1, LEAT_ENOSPC, "t: partition 1: /d/1: No space left on device");
    send_to(p, 0); /* another partition's business */
    page_state(page, 1, LT_PARTITION_OPEN, 0, NULL);
    CHECK_EQ(send_to(p, 1).offset, BASE);
}

TEST(failed_partition_refuses_with_its_own_error)
{
    struct page *page = page_new(LEAT_DURABLE);
    leat_producer *p = page_producer(page, NULL);
    page_state(page, 0, LT_PARTITION_FAILED, LEAT_EFAILED, "batch at 4096 is damaged");
    check_refused(p, 0, LEAT_EFAILED, "t: partition 0: batch at 4096 is damaged");
}

TEST(state_without_an_error_is_one_all_the_same)
{
    struct page *page = page_new(LEAT_DURABLE);
    page_state(page, 0, LT_PARTITION_FAILED, 0, NULL);
    check_refused(page_producer(page, NULL), 0, LEAT_EFAILED, "t: partition 0: ");
}

static void *change_states(void *argument)
{
    struct page *page = argument;
    for (int i = 0; i < 20000; i++) {
        static const char *const reasons[] = { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                               "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb" };
        struct lt_partition *part = page->parts[0];
        lt_store_release32(&part->state, LT_PARTITION_OPEN);
        lt_store_release32(&part->acked_seq, part->acked_seq + 1);
        for (uint32_t k = 0; k < 48 / 8; k++) {
            uint64_t word;
            memcpy(&word, reasons[i % 2] + k * 8, 8);
            lt_store_release64((uint64_t *)(void *)part->reason + k, word);
        }
        lt_store_relaxed32((uint32_t *)&part->error, (uint32_t)(i % 2 == 0 ? LEAT_ENOSPC : LEAT_EIO));
        lt_store_release32(&part->state, i % 2 == 0 ? LT_PARTITION_FULL : LT_PARTITION_FAILED);
        lt_store_release32(&part->acked_seq, part->acked_seq + 1);
    }
    return NULL;
}

TEST(reason_is_never_that_of_another_state)
{
    struct page *page = page_new(LEAT_DURABLE);
    pthread_t changer = thread_start(change_states, page);
    uint32_t last = 0;
    while (last < 40000) {
        char reason[LT_REASON_MAX];
        uint32_t state, before = lt_load_acquire32(&page->parts[0]->acked_seq);
        int error = lt_partition_refusal(page->parts[0], &state, reason);
        last = lt_load_acquire32(&page->parts[0]->acked_seq);
        if (state == LT_PARTITION_OPEN || last - before > 8) /* it changed under each of its tries */
            continue;
        CHECK_EQ(error, state == LT_PARTITION_FULL ? LEAT_ENOSPC : LEAT_EIO);
        for (int i = 0; i < 48; i++)
            CHECK(reason[i] == (state == LT_PARTITION_FULL ? 'a' : 'b'));
    }
    thread_join(changer);
}
