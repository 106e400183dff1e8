/* Records onto stdout: see consume.h. */
#include "consume.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define END_LOOK_MS 50

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void lock(struct consume *c)
{
    pthread_mutex_lock(&c->lock);
}

static void unlock(struct consume *c)
{
    pthread_mutex_unlock(&c->lock);
}

/* ---- complaints ---- */

static int fail(struct reader *reader, int error)
{
    if (reader->error >= 0) /* otherwise a callback has said it */
        consume_fail(reader->consume, "%s", cli_why(error));
    return error;
}

static int fail_fenced(struct reader *reader)
{
    const struct consume *c = reader->consume;
    consume_fail(reader->consume,
                 "member %s of group %s was evicted: it did not poll for --max-poll-interval %" PRId64
                 " ms, or did not release within --rebalance-timeout %" PRId64
                 " ms; others go on from its last commit (--rejoin joins again)",
                 reader->member_id, c->options.group, c->options.max_poll_interval_ms,
                 c->options.rebalance_timeout_ms);
    return LEAT_EFENCED;
}

/* ---- what was handed out and is not printed ---- */

/* With -e, what came after the end that we noted is not printed: the end is where it was, however busy the topic is. */
static bool beyond_end(const struct reader *reader, const leat_record *record)
{
    if (!reader->consume->to_end)
        return false;
    const struct part *part = parts_find(reader, record->topic, record->partition);
    return part && record->offset >= (uint64_t)part->end;
}

/* The first one of each partition counts. */
static void note_back(struct reader *reader, const leat_record *record)
{
    struct part *part = parts_find(reader, record->topic, record->partition);
    if (part && part->back < 0)
        part->back = (int64_t)record->offset;
}

/* Ends the views. Without it a commit would take them for printed. */
static int hand_back(struct reader *reader)
{
    int r = 0;
    for (int i = 0; i < reader->part_count && r >= 0; i++) {
        struct part *part = &reader->parts[i];
        if (part->back >= 0)
            r = leat_consumer_seek(reader->in, part->topic, part->partition, part->back);
        part->back = -1;
    }
    return r == LEAT_EDELETED ? 0 : r;
}

/* ---- printing ---- */

static void print_record(struct consume *c, const leat_record *record, int64_t now_ns)
{
    if (c->cli->json)
        format_print_json(record, stdout);
    else
        format_print(&c->format, record, now_ns, stdout);
    tally_add(&c->tally, record->topic, record->partition, 1, record->key_size + record->value_size);
    c->count -= c->count > 0;
}

/* What of a poll cannot be written comes again some day: nobody knows how much of it arrived. Under the lock. */
static int fail_writing(struct reader *reader, const leat_record *records, int count, int error)
{
    struct consume *c = reader->consume;
    c->broken_pipe = error == EPIPE;
    for (int i = 0; i < count; i++)
        note_back(reader, &records[i]);
    if (!c->broken_pipe && !c->failed)
        cli_fail(c->cli, "cannot write to stdout: %s", strerror(error));
    c->failed = true;
    consume_end(c);
    return LEAT_EIO;
}

static int print_locked(struct reader *reader, const leat_record *records, int count)
{
    struct consume *c = reader->consume;
    int64_t now_ns = c->format.wants_delivery ? clock_ns(CLOCK_REALTIME) : 0;
    for (int i = 0; i < count; i++) {
        if (c->failed || c->count == 0 || beyond_end(reader, &records[i]))
            note_back(reader, &records[i]);
        else
            print_record(c, &records[i], now_ns);
    }
    if (fflush(stdout) != 0)
        return fail_writing(reader, records, count, errno);
    c->idle_since_ns = clock_ns(CLOCK_MONOTONIC);
    if (c->count == 0)
        consume_end(c);
    tally_progress(&c->tally);
    return 0;
}

static int print_records(struct reader *reader, const leat_record *records, int count)
{
    struct consume *c = reader->consume;
    lock(c);
    int r = print_locked(reader, records, count);
    unlock(c);
    int back = hand_back(reader);
    if (back < 0)
        fail(reader, back);
    return r < 0 ? r : back;
}

/* All that was printed is flushed by now. */
static int commit(struct reader *reader)
{
    const struct consume *c = reader->consume;
    if (c->commit != COMMIT_SYNC || !c->options.group)
        return 0;
    int r = leat_consumer_commit(reader->in, LEAT_SYNC);
    if (r == LEAT_EFENCED)
        return c->options.rejoin ? 0 : fail_fenced(reader);
    if (r == LEAT_EINUSE)
        consume_fail(reader->consume, "%s: what -p prints is committed only while it has none", cli_why(r));
    else if (r < 0)
        fail(reader, r);
    return r;
}

/* ---- -e ---- */

/* A partition that is done is paused: what comes after its end is for others. */
static void look_at(struct reader *reader, struct part *part)
{
    if (part->done || leat_consumer_position(reader->in, part->topic, part->partition) < part->end)
        return;
    leat_consumer_pause(reader->in, part->topic, part->partition);
    lock(reader->consume); /* others look, too */
    part->done = true;
    unlock(reader->consume);
}

static bool parts_are_done(struct reader *reader)
{
    bool all = true;
    for (int i = 0; i < reader->part_count; i++) {
        look_at(reader, &reader->parts[i]);
        all &= reader->parts[i].done;
    }
    return all;
}

/* Whether a reader of ours has this partition, and is through. Of one that is no member of ours: true. Under the lock. */
static bool is_done(const struct consume *c, const leat_group_partition_info *info)
{
    for (int i = 0; info->member_id && i < c->instances; i++) {
        if (strcmp(c->readers[i].member_id, info->member_id) != 0)
            continue;
        const struct part *part = parts_find(&c->readers[i], info->topic, info->partition);
        return part && part->done;
    }
    return true;
}

/* Under the lock. */
static bool parts_of_group_are_done(const struct consume *c, const leat_group_info *info)
{
    for (int i = 0; i < c->instances; i++)
        if (!*c->readers[i].member_id) /* it has still to join */
            return false;
    for (int i = 0; i < info->partition_count; i++)
        if (!is_done(c, &info->partitions[i]))
            return false;
    return true;
}

static void note_member_id(struct reader *reader)
{
    struct consume *c = reader->consume;
    if (*reader->member_id)
        return;
    lock(c);
    snprintf(reader->member_id, sizeof reader->member_id, "%s", leat_consumer_member_id(reader->in));
    unlock(c);
}

/* Whether the group says that nothing moves; and all that it says is ours is read. 1, 0 or a negative error. */
static int group_is_done(struct reader *reader, uint64_t *generation)
{
    struct consume *c = reader->consume;
    leat_group_info *info;
    int r = leat_group_describe(reader->bus, c->options.group, &info);
    if (r < 0)
        return r;
    *generation = info->generation;
    lock(c);
    bool done = strcmp(info->state, "stable") == 0 && parts_of_group_are_done(c, info);
    unlock(c);
    leat_group_info_free(info);
    return done;
}

/* What is granted and not taken yet, or on its way from one reader to another, is to be read, too. A description is not of one
 * moment: what moves while it is made shows in a second one, as another generation or as a group that is not stable. */
static int group_stays_done(struct reader *reader)
{
    uint64_t before, after;
    int r = group_is_done(reader, &before);
    if (r == 1)
        r = group_is_done(reader, &after);
    return r == 1 ? before == after : r;
}

/* Ends all readers when everything is read. 0 or a negative error. */
static int look_for_end(struct reader *reader)
{
    struct consume *c = reader->consume;
    int done = 1;
    if (!c->to_end || !parts_are_done(reader))
        return 0;
    if (consume_is_member(c)) {
        note_member_id(reader);
        done = group_stays_done(reader);
    }
    if (done < 0)
        return fail(reader, done);
    lock(c);
    if (done)
        consume_end(c);
    unlock(c);
    return 0;
}

/* ---- polling ---- */

/* The shorter of two waits, of which a negative one has no end. */
static int64_t sooner(int64_t a_ms, int64_t b_ms)
{
    return a_ms < 0 || (b_ms >= 0 && b_ms < a_ms) ? b_ms : a_ms;
}

/* Whether all is to end; otherwise how long the next poll may wait. With -e it looks at its end every now and then: gaps at the
 * end are no records. And it is polls that commit. */
static bool is_over(struct consume *c, bool came_dry, int64_t *wait_ms)
{
    lock(c);
    *wait_ms = -1;
    if (c->idle_ms >= 0) {
        int64_t idle_ns = clock_ns(CLOCK_MONOTONIC) - c->idle_since_ns;
        *wait_ms = c->idle_ms - idle_ns / 1000000;
        if (*wait_ms <= 0 && came_dry)
            consume_end(c);
        *wait_ms = *wait_ms < 0 ? 0 : *wait_ms;
    }
    if (c->options.group && c->options.auto_commit_ms > 0)
        *wait_ms = sooner(*wait_ms, c->options.auto_commit_ms);
    if (c->to_end)
        *wait_ms = sooner(*wait_ms, came_dry ? END_LOOK_MS : 0);
    bool over = c->ended || c->count == 0 || consume_is_stopped();
    unlock(c);
    return over;
}

/* One poll and all that follows from it. Returns how many records it gave, or a negative error that was said. */
static int read_some(struct reader *reader, int64_t wait_ms)
{
    const leat_record *records;
    int n = leat_consumer_poll(reader->in, wait_ms, &records);
    if (n == LEAT_EWAKEUP)
        return 0;
    if (n == LEAT_EFENCED && reader->consume->options.group)
        return fail_fenced(reader);
    if (n < 0)
        return fail(reader, n);
    int r = n > 0 ? print_records(reader, records, n) : 0;
    if (r >= 0 && n > 0)
        r = commit(reader);
    if (r >= 0)
        r = reader->error;
    return r < 0 ? r : n;
}

void read_all(struct reader *reader)
{
    int64_t wait_ms;
    int n = look_for_end(reader);
    bool came_dry = false;
    while (n >= 0 && !is_over(reader->consume, came_dry, &wait_ms)) {
        n = read_some(reader, wait_ms);
        came_dry = n == 0;
        if (n >= 0) {
            int r = look_for_end(reader);
            n = r < 0 ? r : n;
        }
    }
}
