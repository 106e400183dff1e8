/* The partitions of a reader: see consume.h.
 *
 * Without a group, and with -p, they are there from the start. A member's come and go inside its polls, by callbacks. -o places a
 * partition when this command gets it for the first time, so that a rebalance does not print it all again.
 */
#include "consume.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void lock(struct consume *c)
{
    pthread_mutex_lock(&c->lock);
}

static void unlock(struct consume *c)
{
    pthread_mutex_unlock(&c->lock);
}

/* ---- the list ---- */

struct part *parts_find(const struct reader *reader, const char *topic, uint32_t partition)
{
    for (int i = 0; i < reader->part_count; i++)
        if (reader->parts[i].partition == partition && strcmp(reader->parts[i].topic, topic) == 0)
            return &reader->parts[i];
    return NULL;
}

static struct part *add(struct reader *reader, const leat_partition *from)
{
    if (reader->part_count == reader->part_room) {
        reader->part_room = reader->part_room ? 2 * reader->part_room : 16;
        size_t bytes = (size_t)reader->part_room * sizeof *reader->parts;
        reader->parts = cli_have(realloc(reader->parts, bytes));
    }
    struct part *part = &reader->parts[reader->part_count++];
    *part = (struct part){ .topic = cli_have(strdup(from->topic)), .partition = from->partition, .back = -1 };
    return part;
}

static void drop(struct reader *reader, const leat_partition *gone)
{
    struct part *part = parts_find(reader, gone->topic, gone->partition);
    if (!part)
        return;
    free(part->topic);
    *part = reader->parts[--reader->part_count];
}

void parts_free(struct reader *reader)
{
    for (int i = 0; i < reader->part_count; i++)
        free(reader->parts[i].topic);
    free(reader->parts);
    reader->parts = NULL;
    reader->part_count = reader->part_room = 0;
}

/* ---- where it begins ---- */

/* *to: an offset, LEAT_BEGINNING or LEAT_END. */
static int place_in(const struct reader *reader, const struct part *part, int64_t *to)
{
    const struct place *from = &reader->consume->from;
    int64_t end, first;
    switch (from->kind) {
    case AT_BEGINNING:
        *to = LEAT_BEGINNING;
        return 0;
    case AT_OFFSET:
        *to = from->number;
        return 0;
    case AT_TIME:
        *to = leat_consumer_offset_for_time(reader->in, part->topic, part->partition, from->number);
        return *to < 0 ? (int)*to : 0;
    case AT_LAST:
        end = leat_consumer_end_offset(reader->in, part->topic, part->partition);
        first = leat_consumer_beginning_offset(reader->in, part->topic, part->partition);
        *to = end - first > from->number ? end - from->number : first;
        return end < 0 ? (int)end : first < 0 ? (int)first : 0;
    default:
        *to = LEAT_END;
        return 0;
    }
}

static int seek(const struct reader *reader, const struct part *part)
{
    int64_t to;
    if (reader->consume->from.kind == AT_STORED)
        return 0;
    int r = place_in(reader, part, &to);
    return r < 0 ? r : leat_consumer_seek(reader->in, part->topic, part->partition, to);
}

/* Puts one partition where -o says, and with -e notes where it ends now. Under the lock. */
static int place(struct reader *reader, struct part *part)
{
    struct consume *c = reader->consume;
    int r = tally_knows(&c->tally, part->topic, part->partition) ? 0 : seek(reader, part);
    if (r < 0)
        return r;
    tally_add(&c->tally, part->topic, part->partition, 0, 0);
    if (c->to_end)
        part->end = leat_consumer_end_offset(reader->in, part->topic, part->partition);
    return part->end < 0 ? (int)part->end : 0;
}

/* ---- --trace-rebalance ---- */

static void trace_part(const struct reader *reader, const leat_partition *part, bool with_place, FILE *out)
{
    fprintf(out, " %s-%" PRIu32, part->topic, part->partition);
    int64_t at = with_place ? leat_consumer_position(reader->in, part->topic, part->partition) : -1;
    if (at >= 0)
        fprintf(out, " at %" PRId64, at);
}

static int by_name(const void *a, const void *b)
{
    const leat_partition *x = a, *y = b;
    int order = strcmp(x->topic, y->topic);
    return order ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

static void print_trace(const struct reader *reader, const char *what, const leat_partition *parts, int count,
                        FILE *out)
{
    bool assigned = strcmp(what, "assigned") == 0;
    fprintf(out, "leat: consume: %s", what);
    for (int i = 0; i < count; i++) {
        if (i > 0)
            fputc(',', out);
        trace_part(reader, &parts[i], assigned, out);
    }
    if (consume_is_member(reader->consume))
        fprintf(out, " (member %s, generation %" PRId64 ")", reader->member_id, reader->generation);
    fputc('\n', out);
}

/* One line for all of them. Under the lock. */
static void trace(struct reader *reader, const char *what, const leat_partition *parts, int count)
{
    struct consume *c = reader->consume;
    char *line = NULL;
    size_t size, bytes = (size_t)count * sizeof *parts;
    if (!c->trace)
        return;
    leat_partition *sorted = memcpy(cli_have(malloc(bytes)), parts, bytes);
    qsort(sorted, (size_t)count, sizeof *sorted, by_name);
    FILE *out = cli_have(open_memstream(&line, &size));
    print_trace(reader, what, sorted, count, out);
    fclose(out);
    tally_progress_end(&c->tally);
    fputs(line, stderr);
    free(line);
    free(sorted);
}

/* ---- what the library says ---- */

/* It is forgotten with the membership, and asked for afterwards. */
static void note_membership(struct reader *reader)
{
    const char *id = leat_consumer_member_id(reader->in);
    int64_t generation = leat_consumer_generation(reader->in);
    if (*id)
        snprintf(reader->member_id, sizeof reader->member_id, "%s", id);
    if (generation > 0)
        reader->generation = generation;
}

static void on_assigned(leat_consumer *in, const leat_partition *parts, int count, void *user)
{
    struct reader *reader = user;
    int r = 0;
    (void)in;
    lock(reader->consume);
    note_membership(reader);
    for (int i = 0; i < count && r >= 0; i++)
        r = place(reader, add(reader, &parts[i]));
    if (r >= 0)
        trace(reader, "assigned", parts, count);
    unlock(reader->consume);
    if (r < 0) {
        reader->error = r;
        consume_fail(reader->consume, "%s", cli_why(r));
    }
}

static void taken(struct reader *reader, const char *what, const leat_partition *parts, int count)
{
    lock(reader->consume);
    note_membership(reader);
    trace(reader, what, parts, count);
    for (int i = 0; i < count; i++)
        drop(reader, &parts[i]);
    unlock(reader->consume);
}

static void on_revoked(leat_consumer *in, const leat_partition *parts, int count, void *user)
{
    (void)in;
    taken(user, "revoked", parts, count);
}

static void on_lost(leat_consumer *in, const leat_partition *parts, int count, void *user)
{
    (void)in;
    taken(user, "lost", parts, count);
}

static void on_missed(leat_consumer *in, const leat_partition *partition, uint64_t from_offset,
                      uint64_t count, void *user)
{
    struct consume *c = ((struct reader *)user)->consume;
    (void)in;
    lock(c);
    tally_progress_end(&c->tally);
    fprintf(stderr, "leat: consume: %s-%" PRIu32 ": %" PRIu64 " records missed from offset %" PRIu64 "\n",
            partition->topic, partition->partition, count, from_offset);
    unlock(c);
}

static const char *why_no_commit(int error)
{
    return error == LEAT_EINUSE ? "the group has members, and -p makes none of us" : leat_strerror(error);
}

/* Of automatic commits. That a member was evicted is poll's to say. */
static void on_commit(leat_consumer *in, const leat_offset *offsets, int count, int error, void *user)
{
    struct reader *reader = user;
    (void)in;
    if (error >= 0 || error == LEAT_EFENCED)
        return;
    reader->error = error;
    consume_fail(reader->consume, "group %s: commit of %s-%" PRIu32 "%s at %" PRId64 ": %s",
                 reader->consume->options.group, offsets[0].topic, offsets[0].partition,
                 count > 1 ? " and others" : "", offsets[0].offset, why_no_commit(error));
}

void parts_listen(struct reader *reader, leat_consumer_options *options)
{
    options->user = reader;
    options->on_missed = on_missed;
    if (!options->group)
        return;
    options->on_commit = on_commit;
    options->on_assigned = on_assigned;
    options->on_revoked = on_revoked;
    options->on_lost = on_lost;
}

int parts_begin(struct reader *reader)
{
    const leat_partition *assigned;
    int r = 0, count = leat_consumer_assignment(reader->in, &assigned);
    if (count < 0)
        return count;
    lock(reader->consume);
    for (int i = 0; i < count; i++) /* copies: the assignment holds until the next call */
        add(reader, &assigned[i]);
    for (int i = 0; i < count && r >= 0; i++) {
        r = place(reader, &reader->parts[i]);
        if (r >= 0)
            trace(reader, "assigned", &(leat_partition){ reader->parts[i].topic, reader->parts[i].partition },
                  1);
    }
    unlock(reader->consume);
    return r;
}
