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

#include "client/commit.h"
#include "client/member.h"

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
    lt_member_free(c);
    free(c->cursors);
    free(c->touched);
    free(c->topics);
    free(c->assignment);
    free(c->records);
    free(c->headers);
    free(c);
}

static int check_options(const leat_consumer_options *options)
{
    if ((unsigned)options->reset > LEAT_RESET_ERROR)
        return lt_fail(LEAT_EINVAL, "reset %d", (int)options->reset);
    if (options->max_poll_records == 0 || options->max_poll_records > MAX_POLL_RECORDS)
        return lt_fail(LEAT_EINVAL, "max_poll_records %u: 1 to %u", options->max_poll_records,
                       MAX_POLL_RECORDS);
    if (options->client_id != NULL && strlen(options->client_id) >= LT_CLIENT_ID_BYTES)
        return lt_fail(LEAT_EINVAL, "client_id of %zu bytes: at most %u", strlen(options->client_id),
                       LT_CLIENT_ID_BYTES - 1);
    return options->group != NULL ? lt_member_check(options) : 0;
}

static int open_consumer(leat_consumer *c, leat_bus *bus)
{
    const leat_consumer_options *options = &c->options;
    int r = check_options(options);
    if (r < 0)
        return r;
    c->handle.bus = bus;
    c->max = options->max_poll_records;
    c->reset = options->reset;
    c->gate = options->gate != 0;
    c->sleep_ns = LT_SLEEP_NS;
    if (options->client_id != NULL)
        snprintf(c->client_id, sizeof c->client_id, "%s", options->client_id);
    c->records = calloc(c->max, sizeof *c->records);
    if (c->records == NULL)
        return lt_fail(LEAT_ENOMEM, "%u records for a poll", c->max);
    pthread_mutex_lock(&bus->mutex);
    c->number = ++bus->next_consumer;
    pthread_mutex_unlock(&bus->mutex);
    if (options->spin_us != 0)
        lt_link_spin(&bus->link, options->spin_us);
    r = ask_for_bell(c);
    if (r == 0 && options->group != NULL) {
        r = lt_member_make(c);
        if (r < 0)
            give_bell(c);
    }
    return r;
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

/* --- what is assigned --- */

int lt_consumer_room(leat_consumer *c, uint32_t count)
{
    if (count <= c->cursors_room)
        return 0;
    struct lt_cursor **cursors = realloc(c->cursors, count * sizeof(struct lt_cursor *));
    if (cursors != NULL)
        c->cursors = cursors;
    struct lt_cursor **touched = realloc(c->touched, count * sizeof(struct lt_cursor *));
    if (touched != NULL)
        c->touched = touched;
    leat_partition *assignment = realloc(c->assignment, count * sizeof *assignment);
    if (assignment != NULL)
        c->assignment = assignment;
    if (cursors == NULL || touched == NULL || assignment == NULL)
        return lt_fail(LEAT_ENOMEM, "%u partitions", count);
    c->cursors_room = count;
    return 0;
}

void lt_consumer_add(leat_consumer *c, struct lt_cursor *cursor)
{
    c->assignment[c->cursor_count] = (leat_partition){ cursor->topic->name, cursor->partition };
    c->cursors[c->cursor_count++] = cursor;
}

uint32_t lt_consumer_part(leat_consumer *c, bool (*goes)(const struct lt_cursor *cursor, uint32_t what),
                          uint32_t what)
{
    uint32_t count = c->cursor_count, stay = 0;
    for (uint32_t i = 0; i < count; i++) { /* those that go to the end */
        struct lt_cursor *cursor = c->cursors[i];
        if (goes == NULL || goes(cursor, what))
            continue;
        c->cursors[i] = c->cursors[stay];
        c->cursors[stay++] = cursor;
    }
    c->cursor_count = c->turn = 0;
    for (uint32_t i = 0; i < stay; i++)
        lt_consumer_add(c, c->cursors[i]);
    return count - stay;
}

void lt_consumer_shed(leat_consumer *c, bool (*goes)(const struct lt_cursor *cursor, uint32_t what),
                      uint32_t what)
{
    uint32_t count = lt_consumer_part(c, goes, what);
    lt_cursors_close(c, c->cursors + c->cursor_count, count);
}

int lt_consumer_keep_topic(leat_consumer *c, struct lt_attached *topic)
{
    struct lt_attached **topics = realloc(c->topics, (c->topic_count + 1) * sizeof(struct lt_attached *));
    if (topics == NULL)
        return lt_fail(LEAT_ENOMEM, "%u topics", c->topic_count + 1);
    c->topics = topics;
    c->topics[c->topic_count++] = topic;
    return 0;
}

void lt_consumer_unassign(leat_consumer *c)
{
    lt_consumer_release(c);
    lt_consumer_shed(c, NULL, 0);
    for (uint32_t i = 0; i < c->topic_count; i++)
        lt_attached_close(c->topics[i], false);
    c->topic_count = 0;
    c->deleted = false;
}

/* --- close --- */

int leat_consumer_close(leat_consumer *c)
{
    if (c == NULL)
        return 0;
    int kept = errno;
    int r = lt_handle_enter(&c->handle);
    if (r < 0)
        return r;
    lt_bridge_close(c);
    if (c->member != NULL)
        lt_member_close(c);
    lt_consumer_unassign(c);
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

static int take_item(leat_consumer *c, const struct item *item)
{
    struct lt_cursor *cursor;
    int r = lt_cursor_open(c, item->topic, item->partition, &cursor);
    if (r < 0)
        return r;
    lt_consumer_add(c, cursor);
    return lt_consumer_start(c, cursor, c->reset == LEAT_RESET_ERROR);
}

static int take_plan(leat_consumer *c, struct plan *plan)
{
    int r = lt_consumer_room(c, plan->count);
    while (r >= 0 && plan->topic_count != 0) {
        r = lt_consumer_keep_topic(c, plan->topics[plan->topic_count - 1]);
        if (r >= 0)
            plan->topic_count--;
    }
    c->topics_seq = UINT64_MAX; /* the first poll looks at every topic */
    for (uint32_t i = 0; r >= 0 && i < plan->count; i++)
        r = take_item(c, &plan->items[i]);
    return r;
}

static int replace(leat_consumer *c, struct plan *plan, int r)
{
    if (r >= 0 && c->member != NULL)
        r = lt_member_leave(c);
    if (r >= 0) {
        lt_consumer_unassign(c);
        r = take_plan(c, plan);
        if (r >= 0 && c->member != NULL)
            r = lt_commit_fetch(c);
        if (r < 0)
            lt_consumer_unassign(c);
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
    r = c->member != NULL ? lt_member_subscribe(c, topics, count) : subscribe(c, topics, count);
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
    int r = lt_consumer_enter(c);
    if (r < 0)
        return r;
    *partitions = c->assignment;
    r = (int)c->cursor_count;
    lt_consumer_leave(c);
    return r;
}

/* --- one partition --- */

struct lt_cursor *lt_consumer_find(leat_consumer *c, const char *topic, uint32_t partition)
{
    for (uint32_t i = 0; topic != NULL && i < c->cursor_count; i++) {
        struct lt_cursor *cursor = c->cursors[i];
        if (cursor->partition == partition &&
            (cursor->topic->name == topic || strcmp(cursor->topic->name, topic) == 0))
            return cursor;
    }
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
    int r = lt_consumer_enter(c);
    if (r < 0)
        return r;
    struct lt_cursor *cursor = lt_consumer_find(c, topic, partition);
    r = cursor == NULL ? LEAT_ENOPART
        : lt_attached_deleted(cursor->topic)
            ? lt_fail(LEAT_EDELETED, "%s: the topic was deleted", cursor->topic->name)
            : question(c, cursor, argument, &answer);
    lt_consumer_leave(c);
    errno = kept;
    return r < 0 ? r : answer;
}

/* Between the beginning and the end. */
static int move_cursor(leat_consumer *c, struct lt_cursor *cursor, uint64_t offset)
{
    lt_cursor_forget(cursor); /* whose views are over */
    int r = lt_cursor_go(cursor, offset);
    if (r == 0 && c->gate)
        lt_store_release64(&cursor->entry->keep, offset); /* [reader.keep] */
    if (r == 0)
        cursor->handed = offset;
    cursor->stored = LT_COMMIT_NONE;
    lt_bridge_nudge(c);
    return r;
}

/* The place itself must lie in a ring: it is the end's. */
static int move_off(leat_consumer *c, struct lt_cursor *cursor, uint64_t end, uint64_t position)
{
    int r = move_cursor(c, cursor, end);
    if (r == 0) {
        cursor->position = cursor->handed = position;
        cursor->beyond = true;
    }
    return r;
}

int lt_consumer_place(leat_consumer *c, struct lt_cursor *cursor, uint64_t offset)
{
    uint64_t end;
    int r = lt_cursor_tail(cursor, &end); /* what is there and not visible yet will be: it is waited for */
    if (r < 0)
        return r;
    return offset <= end ? move_cursor(c, cursor, offset) : move_off(c, cursor, end, offset);
}

int lt_consumer_place_nowhere(leat_consumer *c, struct lt_cursor *cursor)
{
    uint64_t end;
    int r = lt_cursor_end(cursor, &end);
    return r < 0 ? r : move_off(c, cursor, end, LT_NOWHERE);
}

/* The entry is open: leatd sees the pins and keeps of whatever it does from here on. */
int lt_consumer_start(leat_consumer *c, struct lt_cursor *cursor, bool first)
{
    uint64_t offset = 0;
    int r = 0;
    if (first || c->reset == LEAT_EARLIEST)
        offset = lt_cursor_beginning(cursor);
    else if (c->reset == LEAT_RESET_ERROR)
        return lt_consumer_place_nowhere(c, cursor);
    else
        r = lt_cursor_end(cursor, &offset);
    if (r >= 0)
        r = move_cursor(c, cursor, offset);
    cursor->origin = offset;
    return r;
}

static int seek(leat_consumer *c, struct lt_cursor *cursor, int64_t offset, int64_t *answer)
{
    uint64_t end, beginning = lt_cursor_beginning(cursor);
    *answer = 0;
    if (offset < LEAT_END)
        return lt_fail(LEAT_EINVAL, "%s: partition %u: offset %lld", cursor->topic->name, cursor->partition,
                       (long long)offset);
    lt_consumer_release(c);
    if (offset == LEAT_BEGINNING)
        return move_cursor(c, cursor, beginning);
    if (offset >= 0)
        return lt_consumer_place(c, cursor, (uint64_t)offset);
    int r = lt_cursor_end(cursor, &end);
    return r < 0 ? r : move_cursor(c, cursor, end);
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
    (void)argument;
    if (cursor->position == LT_NOWHERE)
        return lt_fail(LEAT_EOFFSET, "%s: partition %u: no position yet: there is no committed offset",
                       cursor->topic->name, cursor->partition);
    if (!cursor->beyond) {
        lt_cursor_skip_gaps(cursor);
        if (c->member != NULL)
            lt_commit_follow(c, cursor);
    }
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
