/* consumer: open, close, what is assigned, and where in it. See consumer.h.
 *
 * An assignment is made anew each time: what can be refused without harm (names, rights, partition numbers) is asked first,
 * then the old one is let go, then the new one is taken; when that fails half-way nothing is assigned.
 */
#include "client/consumer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_POLL_RECORDS (1u << 24)

/* --- open and close --- */

static struct lt_consumer_open open_body(const leat_consumer *c, uint32_t bell)
{
    struct lt_consumer_open body = { .consumer = c->number, .bell = bell };
    snprintf(body.client_id, sizeof body.client_id, "%s", c->client_id);
    return body;
}

static int ask_for_bell(leat_consumer *c)
{
    struct lt_consumer_open body = open_body(c, UINT32_MAX);
    struct lt_consumer_answer answer = { 0 };
    struct lt_request request = { .type = LT_MSG_CONSUMER_OPEN,
                                  .body = &body,
                                  .body_size = sizeof body,
                                  .answer = &answer,
                                  .answer_size = sizeof answer };
    int r = lt_link_call(&c->handle.bus->link, &request);
    if (r < 0)
        return r;
    if (request.got != sizeof answer || answer.bell >= LT_BELLS)
        return lt_fail(LEAT_EPROTO, "consumer %u got bell %u", c->number, answer.bell);
    c->bell_number = answer.bell;
    c->bell = &c->handle.bus->bells->bells[answer.bell];
    /* Once more with the bell's number in it: the same open, in the words in which it has to stand. */
    body.bell = answer.bell;
    request.remember = true;
    r = lt_link_call(&c->handle.bus->link, &request);
    return r < 0 ? r : 0;
}

static void give_bell(leat_consumer *c)
{
    struct lt_consumer_open stood = open_body(c, c->bell_number);
    struct lt_consumer_close body = { .bell = c->bell_number };
    struct lt_request request = { .type = LT_MSG_CONSUMER_CLOSE,
                                  .body = &body,
                                  .body_size = sizeof body,
                                  .forget = LT_MSG_CONSUMER_OPEN,
                                  .forget_body = &stood,
                                  .forget_size = sizeof stood };
    lt_link_call(&c->handle.bus->link, &request);
}

static void free_consumer(leat_consumer *c)
{
    free(c->cursors);
    free(c->touched);
    free(c->topics);
    free(c->assignment);
    free(c->records);
    free(c->headers);
    free(c);
}

static int open_consumer(leat_consumer *c, leat_bus *bus)
{
    const leat_consumer_options *options = &c->options;
    if (options->group != NULL)
        return lt_fail(LEAT_EUNSUPPORTED, "group \"%s\": this version has no groups yet", options->group);
    if ((unsigned)options->reset > LEAT_RESET_ERROR)
        return lt_fail(LEAT_EINVAL, "reset %d", (int)options->reset);
    if (options->max_poll_records == 0 || options->max_poll_records > MAX_POLL_RECORDS)
        return lt_fail(LEAT_EINVAL, "max_poll_records %u: 1 to %u", options->max_poll_records,
                       MAX_POLL_RECORDS);
    c->handle.bus = bus;
    c->max = options->max_poll_records;
    c->reset = options->reset;
    c->gate = options->gate != 0;
    if (options->client_id != NULL)
        snprintf(c->client_id, sizeof c->client_id, "%s", options->client_id);
    c->records = calloc(c->max, sizeof *c->records);
    if (c->records == NULL)
        return lt_fail(LEAT_ENOMEM, "%u records for a poll", c->max);
    pthread_mutex_lock(&bus->mutex);
    c->number = ++bus->next_consumer;
    pthread_mutex_unlock(&bus->mutex);
    return ask_for_bell(c);
}

int leat_consumer_open(leat_consumer **out, leat_bus *bus, const leat_consumer_options *options)
{
    static const leat_consumer_options defaults = LEAT_CONSUMER_OPTIONS;
    if (out == NULL)
        return lt_fail(LEAT_EINVAL, "leat_consumer_open: no place for the consumer");
    *out = NULL;
    int kept = errno;
    int r = lt_bus_check(bus);
    if (r < 0)
        return r;
    leat_consumer *c = aligned_alloc(64, (sizeof *c + 63) & ~(size_t)63);
    if (c == NULL)
        return lt_fail(LEAT_ENOMEM, "%zu bytes for a consumer", sizeof *c);
    memset(c, 0, sizeof *c);
    c->options = defaults;
    r = lt_options_take(&c->options, sizeof c->options, options);
    if (r >= 0)
        r = open_consumer(c, bus);
    errno = kept;
    if (r < 0) {
        free_consumer(c);
        return r;
    }
    lt_handle_add(&c->handle, bus, LT_HANDLE_CONSUMER);
    *out = c;
    return 0;
}

static void drop_assignment(leat_consumer *c)
{
    lt_consumer_release(c);
    for (uint32_t i = 0; i < c->cursor_count; i++)
        lt_cursor_close(c, c->cursors[i]);
    for (uint32_t i = 0; i < c->topic_count; i++)
        lt_attached_close(c->topics[i], false);
    free(c->cursors);
    free(c->touched);
    free(c->topics);
    free(c->assignment);
    c->cursors = c->touched = NULL;
    c->topics = NULL;
    c->assignment = NULL;
    c->cursor_count = c->topic_count = c->turn = 0;
    c->deleted = false;
}

int leat_consumer_close(leat_consumer *c)
{
    if (c == NULL)
        return 0;
    int kept = errno;
    int r = lt_handle_enter(&c->handle);
    if (r < 0)
        return r;
    lt_bridge_close(c);
    drop_assignment(c);
    lt_handle_remove(&c->handle);
    give_bell(c);
    free_consumer(c);
    errno = kept;
    return 0;
}

void lt_consumer_ring(leat_consumer *c)
{
    lt_bell_ring(c->bell);
}

void lt_consumer_forked(leat_consumer *c)
{
    if (c->bridge != NULL)
        lt_bridge_forked(c->bridge);
}

void leat_consumer_wakeup(leat_consumer *c)
{
    if (c == NULL || c->handle.generation != lt_load_relaxed32(&lt_fork_generation))
        return;
    int kept = errno;
    /* [consumer.wake] then the bell, like any waker: who sleeps has armed, passed a membarrier and looked at this before. */
    lt_store_release32(&c->wake, 1);
    lt_bell_ring(c->bell);
    errno = kept;
}

/* --- assigning --- */

/* What is to be assigned, before anything is changed. */
struct plan {
    struct lt_attached **topics; /* one reference each */
    uint32_t topic_count;
    struct item {
        struct lt_attached *topic;
        uint32_t partition;
    } * items;
    uint32_t count;
};

static void free_plan(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->topic_count; i++)
        lt_attached_close(plan->topics[i], false);
    free(plan->topics);
    free(plan->items);
}

/* The topic, attached once for the whole plan. */
static int plan_topic(leat_consumer *c, struct plan *plan, const char *name, struct lt_attached **topic)
{
    for (uint32_t i = 0; name != NULL && i < plan->topic_count; i++) {
        if (strcmp(plan->topics[i]->name, name) == 0) {
            *topic = plan->topics[i];
            return 1;
        }
    }
    int r = lt_attached_open(c->handle.bus, name, false, false, topic);
    if (r < 0)
        return r;
    plan->topics[plan->topic_count++] = *topic;
    return 0;
}

static int plan_item(struct plan *plan, struct lt_attached *topic, uint32_t partition)
{
    for (uint32_t i = 0; i < plan->count; i++)
        if (plan->items[i].topic == topic && plan->items[i].partition == partition)
            return lt_fail(LEAT_EINVAL, "%s: partition %u is there twice", topic->name, partition);
    if (partition >= topic->partition_count)
        return lt_fail(LEAT_ENOPART, "%s: partition %u; there are %u", topic->name, partition,
                       topic->partition_count);
    plan->items[plan->count++] = (struct item){ topic, partition };
    return 0;
}

/* Where a cursor starts. The entry is open: leatd sees the pins and keeps of whatever it does from here on. */
static int start(leat_consumer *c, struct lt_cursor *cursor)
{
    uint64_t offset;
    int r = 0;
    if (c->reset == LEAT_LATEST)
        r = lt_cursor_end(cursor, &offset);
    else
        offset = lt_cursor_beginning(cursor);
    if (r == 0)
        r = lt_cursor_go(cursor, offset);
    if (r == 0 && c->gate)
        lt_store_release64(&cursor->entry->keep, offset); /* [reader.keep] */
    return r;
}

static int take_plan(leat_consumer *c, struct plan *plan)
{
    uint32_t count = plan->count != 0 ? plan->count : 1;
    c->cursors = calloc(count, sizeof(struct lt_cursor *));
    c->touched = calloc(count, sizeof(struct lt_cursor *));
    c->assignment = calloc(count, sizeof *c->assignment);
    c->topics = plan->topics;
    c->topic_count = plan->topic_count;
    plan->topics = NULL;
    plan->topic_count = 0;
    if (c->cursors == NULL || c->touched == NULL || c->assignment == NULL)
        return lt_fail(LEAT_ENOMEM, "%u partitions", plan->count);
    c->topics_seq = UINT64_MAX; /* the first poll looks at every topic */
    for (uint32_t i = 0; i < plan->count; i++) {
        struct item *item = &plan->items[i];
        int r = lt_cursor_open(c, item->topic, item->partition, &c->cursors[i]);
        if (r < 0)
            return r;
        c->cursor_count++;
        c->assignment[i] = (leat_partition){ item->topic->name, item->partition };
        r = start(c, c->cursors[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

static int replace(leat_consumer *c, struct plan *plan, int r)
{
    if (r >= 0) {
        drop_assignment(c);
        r = take_plan(c, plan);
        if (r < 0)
            drop_assignment(c);
        lt_bridge_nudge(c);
    }
    free_plan(plan);
    return r < 0 ? r : 0;
}

/* Room for so many topics and partitions. */
static int make_plan(struct plan *plan, size_t topics, size_t items)
{
    plan->topics = calloc(topics + 1, sizeof *plan->topics);
    plan->items = calloc(items + 1, sizeof *plan->items);
    if (plan->topics != NULL && plan->items != NULL)
        return 0;
    free_plan(plan);
    lt_fail(LEAT_ENOMEM, "%zu topics, %zu partitions", topics, items);
    return LEAT_ENOMEM;
}

static int subscribe(leat_consumer *c, const char *const *names, int count)
{
    struct plan plan = { 0 };
    if (make_plan(&plan, (size_t)count, (size_t)count * LT_TOPIC_PARTITIONS_MAX) < 0)
        return LEAT_ENOMEM;
    int r = 0;
    for (int i = 0; r >= 0 && i < count; i++) {
        struct lt_attached *topic;
        r = plan_topic(c, &plan, names[i], &topic);
        for (uint32_t k = 0; r == 0 && k < topic->partition_count; k++)
            plan.items[plan.count++] = (struct item){ topic, k };
    }
    return replace(c, &plan, r);
}

static int assign(leat_consumer *c, const leat_partition *partitions, int count)
{
    struct plan plan = { 0 };
    if (make_plan(&plan, (size_t)count, (size_t)count) < 0)
        return LEAT_ENOMEM;
    int r = 0;
    for (int i = 0; r >= 0 && i < count; i++) {
        struct lt_attached *topic;
        r = plan_topic(c, &plan, partitions[i].topic, &topic);
        if (r >= 0)
            r = plan_item(&plan, topic, partitions[i].partition);
    }
    return replace(c, &plan, r);
}

int leat_consumer_subscribe(leat_consumer *c, const char *const *topics, int count)
{
    if (c == NULL || count < 0 || (topics == NULL && count != 0))
        return lt_fail(LEAT_EINVAL, "leat_consumer_subscribe: %d topics", count);
    int kept = errno;
    int r = lt_handle_enter(&c->handle);
    if (r < 0)
        return r;
    r = subscribe(c, topics, count);
    lt_handle_leave(&c->handle);
    errno = kept;
    return r;
}

int leat_consumer_assign(leat_consumer *c, const leat_partition *partitions, int count)
{
    if (c == NULL || count < 0 || (partitions == NULL && count != 0))
        return lt_fail(LEAT_EINVAL, "leat_consumer_assign: %d partitions", count);
    int kept = errno;
    int r = lt_handle_enter(&c->handle);
    if (r < 0)
        return r;
    r = assign(c, partitions, count);
    lt_handle_leave(&c->handle);
    errno = kept;
    return r;
}

int leat_consumer_assignment(leat_consumer *c, const leat_partition **partitions)
{
    if (c == NULL || partitions == NULL)
        return lt_fail(LEAT_EINVAL, "leat_consumer_assignment: NULL");
    int r = lt_handle_enter(&c->handle);
    if (r < 0)
        return r;
    *partitions = c->assignment;
    r = (int)c->cursor_count;
    lt_handle_leave(&c->handle);
    return r;
}

/* --- one partition --- */

static struct lt_cursor *find_cursor(leat_consumer *c, const char *topic, uint32_t partition)
{
    for (uint32_t i = 0; topic != NULL && i < c->cursor_count; i++)
        if (c->cursors[i]->partition == partition && strcmp(c->cursors[i]->topic->name, topic) == 0)
            return c->cursors[i];
    lt_fail(LEAT_ENOPART, "%s: partition %u is not assigned", topic != NULL ? topic : "(NULL)", partition);
    return NULL;
}

/* Enters, finds the cursor, asks `question` of it, leaves. */
typedef int question_fn(leat_consumer *c, struct lt_cursor *cursor, int64_t argument, int64_t *answer);

static int64_t ask_cursor(leat_consumer *c, const char *topic, uint32_t partition, question_fn *question,
                          int64_t argument)
{
    if (c == NULL)
        return lt_fail(LEAT_EINVAL, "the consumer is NULL");
    int kept = errno;
    int64_t answer = 0;
    int r = lt_handle_enter(&c->handle);
    if (r < 0)
        return r;
    struct lt_cursor *cursor = find_cursor(c, topic, partition);
    r = cursor == NULL ? LEAT_ENOPART
        : lt_attached_deleted(cursor->topic)
            ? lt_fail(LEAT_EDELETED, "%s: the topic was deleted", cursor->topic->name)
            : question(c, cursor, argument, &answer);
    lt_handle_leave(&c->handle);
    errno = kept;
    return r < 0 ? r : answer;
}

static int move_cursor(leat_consumer *c, struct lt_cursor *cursor, uint64_t offset)
{
    int r = lt_cursor_go(cursor, offset);
    if (r == 0 && c->gate)
        lt_store_release64(&cursor->entry->keep, offset); /* [reader.keep] */
    lt_bridge_nudge(c);
    return r;
}

static int seek(leat_consumer *c, struct lt_cursor *cursor, int64_t offset, int64_t *answer)
{
    uint64_t end, beginning = lt_cursor_beginning(cursor);
    int r = 0;
    *answer = 0;
    if (offset < LEAT_END)
        return lt_fail(LEAT_EINVAL, "%s: partition %u: offset %lld", cursor->topic->name, cursor->partition,
                       (long long)offset);
    lt_consumer_release(c);
    if (offset == LEAT_BEGINNING)
        return move_cursor(c, cursor, beginning);
    r = lt_cursor_end(cursor, &end);
    if (r < 0)
        return r;
    if (offset == LEAT_END || (uint64_t)offset <= end)
        return move_cursor(c, cursor, offset == LEAT_END ? end : (uint64_t)offset);
    /* Not there: the reset policy's business, at the next poll. The place itself must lie in a ring. */
    r = move_cursor(c, cursor, end);
    if (r == 0) {
        cursor->position = (uint64_t)offset;
        cursor->beyond = true;
    }
    return r;
}

int leat_consumer_seek(leat_consumer *c, const char *topic, uint32_t partition, int64_t offset)
{
    return (int)ask_cursor(c, topic, partition, seek, offset);
}

static int time_offset(leat_consumer *c, struct lt_cursor *cursor, int64_t timestamp_ms, int64_t *answer)
{
    uint64_t offset = 0;
    (void)c;
    int r = lt_cursor_find_time(cursor, timestamp_ms, &offset);
    *answer = (int64_t)offset;
    return r;
}

int64_t leat_consumer_offset_for_time(leat_consumer *c, const char *topic, uint32_t partition,
                                      int64_t timestamp_ms)
{
    return ask_cursor(c, topic, partition, time_offset, timestamp_ms);
}

static int seek_time(leat_consumer *c, struct lt_cursor *cursor, int64_t timestamp_ms, int64_t *answer)
{
    uint64_t offset = 0;
    *answer = 0;
    lt_consumer_release(c);
    int r = lt_cursor_find_time(cursor, timestamp_ms, &offset);
    return r < 0 ? r : move_cursor(c, cursor, offset);
}

int leat_consumer_seek_time(leat_consumer *c, const char *topic, uint32_t partition, int64_t timestamp_ms)
{
    return (int)ask_cursor(c, topic, partition, seek_time, timestamp_ms);
}

static int set_paused(leat_consumer *c, struct lt_cursor *cursor, int64_t paused, int64_t *answer)
{
    *answer = 0;
    cursor->paused = paused != 0;
    lt_bridge_nudge(c);
    return 0;
}

int leat_consumer_pause(leat_consumer *c, const char *topic, uint32_t partition)
{
    return (int)ask_cursor(c, topic, partition, set_paused, 1);
}

int leat_consumer_resume(leat_consumer *c, const char *topic, uint32_t partition)
{
    return (int)ask_cursor(c, topic, partition, set_paused, 0);
}

static int position(leat_consumer *c, struct lt_cursor *cursor, int64_t argument, int64_t *answer)
{
    (void)c;
    (void)argument;
    if (!cursor->beyond)
        lt_cursor_skip_gaps(cursor);
    *answer = (int64_t)cursor->position;
    return 0;
}

int64_t leat_consumer_position(leat_consumer *c, const char *topic, uint32_t partition)
{
    return ask_cursor(c, topic, partition, position, 0);
}

static int beginning(leat_consumer *c, struct lt_cursor *cursor, int64_t argument, int64_t *answer)
{
    (void)c;
    (void)argument;
    *answer = (int64_t)lt_cursor_beginning(cursor);
    return 0;
}

int64_t leat_consumer_beginning_offset(leat_consumer *c, const char *topic, uint32_t partition)
{
    return ask_cursor(c, topic, partition, beginning, 0);
}

static int end_of(leat_consumer *c, struct lt_cursor *cursor, int64_t argument, int64_t *answer)
{
    uint64_t offset = 0;
    (void)c;
    (void)argument;
    int r = lt_cursor_end(cursor, &offset);
    *answer = (int64_t)offset;
    return r;
}

int64_t leat_consumer_end_offset(leat_consumer *c, const char *topic, uint32_t partition)
{
    return ask_cursor(c, topic, partition, end_of, 0);
}

static int lag(leat_consumer *c, struct lt_cursor *cursor, int64_t argument, int64_t *answer)
{
    int64_t at = 0;
    int r = end_of(c, cursor, argument, answer);
    if (r == 0)
        r = position(c, cursor, argument, &at);
    *answer = *answer > at ? *answer - at : 0;
    return r;
}

int64_t leat_consumer_lag(leat_consumer *c, const char *topic, uint32_t partition)
{
    return ask_cursor(c, topic, partition, lag, 0);
}

static int missed(leat_consumer *c, struct lt_cursor *cursor, int64_t argument, int64_t *answer)
{
    (void)c;
    (void)argument;
    *answer = (int64_t)cursor->missed;
    return 0;
}

int64_t leat_consumer_missed(leat_consumer *c, const char *topic, uint32_t partition)
{
    return ask_cursor(c, topic, partition, missed, 0);
}
