#include "page.h"

#include <stdlib.h>
#include <string.h>

#include "base/futex.h"
#include "leat.h"
#include "test.h"

enum { PAGE_BELL = 5, OTHER = 2 };

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

struct page *page_new(enum leat_level level)
{
    struct page *page = zeroed(sizeof *page);
    CHECK_EQ(lt_membarrier_register(), 0);
    page->coordinator = zeroed(sizeof *page->coordinator);
    page->bells = zeroed(sizeof *page->bells);
    page->mailbox = zeroed(sizeof *page->mailbox);
    page->bus.generation = lt_fork_generation;
    page->bus.coordinator = page->coordinator;
    page->bus.bells = page->bells;
    page->bus.mailbox = page->mailbox;
    page->bus.client = 1;
    pthread_mutex_init(&page->bus.mutex, NULL);

    struct lt_attached *topic = &page->topic;
    topic->page = zeroed(lt_topic_bytes(PAGE_PARTITIONS));
    page->head = lt_topic_head(topic->page);
    *page->head = (struct lt_topic_head){ .name = "t",
                                          .topic_id = 7,
                                          .state = LT_TOPIC_OPEN,
                                          .partition_count = PAGE_PARTITIONS,
                                          .first_global = 100,
                                          .level = level,
                                          .partitioner = LEAT_XXH3,
                                          .log = 1,
                                          .map_epoch = 1 };
    lt_topic_map_init(topic->page, PAGE_PARTITIONS);
    strcpy(topic->name, "t");
    topic->bus = &page->bus;
    topic->topic_id = 7;
    topic->partition_count = PAGE_PARTITIONS;
    topic->head = page->head;
    topic->record_max = 1024;
    topic->mapped = zeroed(PAGE_PARTITIONS * sizeof *topic->mapped);
    for (uint32_t i = 0; i < PAGE_PARTITIONS; i++) {
        struct arena *arena = arena_new(PAGE_SLOTS, PAGE_SLOTS, PAGE_BASE);
        struct lt_partition *part = page->parts[i] = lt_topic_partition(topic->page, i);
        part->gate[0] = arena->gate;
        part->written = part->durable = PAGE_BASE;
        part->visible = level == LEAT_RING ? UINT64_MAX : PAGE_BASE;
        page->mapped[i] = (struct lt_mapped){ .topic = topic, .partition = i, .references = 1 << 20 };
        page->mapped[i].view = arena_view(arena);
        page->mapped[i].view.gate = &part->gate[0];
        topic->mapped[i] = &page->mapped[i];
    }
    return page;
}

static void begin_handle(struct page *page, struct lt_handle *handle, enum lt_handle_kind kind)
{
    handle->generation = lt_fork_generation;
    handle->kind = kind;
    handle->bus = &page->bus;
    handle->counts.mailbox = page->mailbox->counters;
}

int page_try_producer(struct page *page, const leat_producer_options *options, leat_producer **out)
{
    leat_producer *p = *out = zeroed(sizeof *p);
    p->options = options != NULL ? *options : (leat_producer_options)LEAT_PRODUCER_OPTIONS;
    begin_handle(page, &p->handle, LT_HANDLE_PRODUCER);
    p->topic = &page->topic;
    p->bells = page->bells;
    p->owner = page->bus.client;
    p->partition_count = PAGE_PARTITIONS;
    p->partitioner = LEAT_ROUND_ROBIN;
    p->map = lt_topic_map(page->topic.page);
    p->epoch_max = 1;
    p->record_max = page->topic.record_max;
    p->on_delivered = p->options.on_delivered;
    p->user = p->options.user;
    p->outs = zeroed(PAGE_PARTITIONS * sizeof *p->outs);
    p->many_next = zeroed(LT_MANY_WINDOW * sizeof *p->many_next);
    p->many_first = zeroed(PAGE_PARTITIONS * sizeof *p->many_first);
    p->many_last = zeroed(PAGE_PARTITIONS * sizeof *p->many_last);
    p->many_touched = zeroed(PAGE_PARTITIONS * sizeof *p->many_touched);
    for (uint32_t i = 0; i < PAGE_PARTITIONS; i++) {
        p->outs[i] = (struct lt_out){ .ring = page->mapped[i].view,
                                      .mapped = &page->mapped[i],
                                      .part = page->parts[i],
                                      .global = page->head->first_global + i,
                                      .slots_high = UINT64_MAX,
                                      .units_high = UINT64_MAX };
        p->many_first[i] = LT_NOBODY;
    }
    return lt_ack_open(p);
}

leat_producer *page_producer(struct page *page, const leat_producer_options *options)
{
    leat_producer *p;
    CHECK_EQ(page_try_producer(page, options, &p), 0);
    return p;
}

leat_consumer *page_consumer(struct page *page, uint32_t max_poll_records)
{
    leat_consumer *c = zeroed(sizeof *c);
    struct lt_cursor *cursor = zeroed(sizeof *cursor);
    c->options = (leat_consumer_options)LEAT_CONSUMER_OPTIONS;
    c->options.spin_us = 0;
    begin_handle(page, &c->handle, LT_HANDLE_CONSUMER);
    c->max = max_poll_records;
    c->records = zeroed(max_poll_records * sizeof *c->records);
    c->cursors = zeroed(sizeof *c->cursors);
    c->touched = zeroed(sizeof *c->touched);
    c->assignment = zeroed(sizeof *c->assignment);
    c->sleep_ns = LT_SLEEP_NS;
    c->bell_number = PAGE_BELL;
    c->bell = &page->bells->bells[PAGE_BELL];
    cursor->topic = &page->topic;
    cursor->part = page->parts[0];
    cursor->global = page->head->first_global;
    cursor->entry = &page->mailbox->readers[0];
    cursor->entry->pin = cursor->entry->keep = LT_PIN_NONE;
    cursor->entry->committed = LT_COMMIT_NONE;
    cursor->mapped = &page->mapped[0];
    cursor->ring = page->mapped[0].view;
    cursor->handed = PAGE_BASE;
    lt_cursor_place(cursor, PAGE_BASE);
    lt_consumer_add(c, cursor);
    if (page->head->level == LEAT_RING)
        lt_partition_bell_set(page->parts[0], PAGE_BELL, 1);
    else
        lt_partition_acked_bell_set(page->parts[0], PAGE_BELL, 1);
    return c;
}

void page_send(struct page *page, uint32_t partition, uint32_t count)
{
    struct lt_ring ring = page->mapped[partition].view;
    for (uint32_t i = 0; i < count; i++)
        CHECK_EQ(arena_send(&ring, OTHER, 1, i), 0);
}

void page_acknowledge(struct page *page, uint32_t partition, uint64_t written, uint64_t durable)
{
    struct lt_partition *part = page->parts[partition];
    enum leat_level level = (enum leat_level)page->head->level;
    lt_store_release64(&part->written, written);
    lt_store_release64(&part->durable, durable);
    if (level != LEAT_RING)
        lt_store_release64(&part->visible, level == LEAT_WRITTEN ? written : durable);
    lt_store_release32(&part->acked_seq, part->acked_seq + 1);
    lt_futex_wake(&part->acked_seq);
    lt_partition_ring_acked(part, page->bells);
}

void page_state(struct page *page, uint32_t partition, enum lt_partition_state state, int error,
                const char *reason)
{
    struct lt_partition *part = page->parts[partition];
    memset(part->reason, 0, sizeof part->reason);
    if (reason != NULL)
        strncpy(part->reason, reason, sizeof part->reason - 1);
    part->error = error;
    lt_store_release32(&part->state, state);
    lt_store_release32(&part->acked_seq, part->acked_seq + 1);
    lt_futex_wake(&part->acked_seq);
}
