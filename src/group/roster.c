/* roster: see roster.h. */
#include "group/roster.h"
#include "base/err.h"

#include <string.h>

void *lt_scratch_take(struct lt_scratch *scratch, size_t count, size_t size)
{
    enum { ALIGN = 16 };
    char *at = scratch->at ? scratch->at + scratch->used : NULL;
    scratch->used += (count * size + ALIGN - 1) / ALIGN * ALIGN;
    return at;
}

static uint32_t *take(struct lt_scratch *scratch, size_t count)
{
    return lt_scratch_take(scratch, count, sizeof(uint32_t));
}

uint64_t lt_roster_partitions(const struct lt_assign_input *input)
{
    uint64_t count = 0;
    for (uint32_t t = 0; t < input->topic_count; t++)
        count += input->topics[t].partitions;
    return count;
}

void lt_roster_place(struct lt_roster *roster, const struct lt_assign_input *input,
                     struct lt_scratch *scratch)
{
    size_t topics = input->topic_count, members = input->member_count, subscriptions = 0;
    for (size_t m = 0; m < members; m++)
        subscriptions += input->members[m].topic_count;
    *roster = (struct lt_roster){ .input = input, .partition_count = (uint32_t)lt_roster_partitions(input) };
    roster->by_name = take(scratch, topics);
    roster->base = take(scratch, topics);
    roster->members = take(scratch, members);
    roster->rank = take(scratch, members);
    roster->set_of = take(scratch, topics);
    roster->set_at = take(scratch, topics + 2);
    roster->subscribers = take(scratch, subscriptions);
    roster->owner = take(scratch, roster->partition_count);
    for (size_t i = 0; i < sizeof roster->work / sizeof roster->work[0]; i++)
        roster->work[i] = take(scratch, topics + 1);
}

/* ---- order ---- */

/* As Java's String.compareTo, which goes by UTF-16 units: characters above U+FFFF are surrogates there and stand
 * before U+E000, though their UTF-8 is larger. */
static int compare_names(const char *a, const char *b)
{
    const unsigned char *x = (const unsigned char *)a, *y = (const unsigned char *)b;
    while (*x == *y && *x)
        x++, y++;
    bool x_above = *x >= 0xf0, y_above = *y >= 0xf0;
    if (x_above != y_above && *x >= 0xee && *y >= 0xee)
        return x_above ? -1 : 1;
    return (*x > *y) - (*x < *y);
}

typedef int compare_fn(const struct lt_assign_input *input, uint32_t a, uint32_t b);

static int compare_topics(const struct lt_assign_input *input, uint32_t a, uint32_t b)
{
    return strcmp(input->topics[a].name, input->topics[b].name);
}

static int compare_members(const struct lt_assign_input *input, uint32_t a, uint32_t b)
{
    const struct lt_assign_member *x = &input->members[a], *y = &input->members[b];
    if (!x->instance_id != !y->instance_id)
        return x->instance_id ? -1 : 1;
    int by_instance = x->instance_id ? compare_names(x->instance_id, y->instance_id) : 0;
    return by_instance ? by_instance : compare_names(x->id, y->id);
}

static void sink(const struct lt_assign_input *input, compare_fn *compare, uint32_t *heap, uint32_t count,
                 uint32_t at)
{
    uint32_t moving = heap[at];
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && compare(input, heap[child], heap[child + 1]) < 0)
            child++;
        if (compare(input, moving, heap[child]) >= 0)
            break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

/* Heapsort: in place, and never slower than n log n. */
static void sort(const struct lt_assign_input *input, compare_fn *compare, uint32_t *list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        list[i] = i;
    for (uint32_t i = count / 2; i-- > 0;)
        sink(input, compare, list, count, i);
    for (uint32_t end = count; end-- > 1;) {
        uint32_t largest = list[0];
        list[0] = list[end];
        list[end] = largest;
        sink(input, compare, list, end, 0);
    }
}

/* ---- sets ---- */

static int check_subscriptions(const struct lt_assign_input *input)
{
    for (uint32_t m = 0; m < input->member_count; m++) {
        const struct lt_assign_member *member = &input->members[m];
        for (uint32_t i = 0; i < member->topic_count; i++)
            if (member->topics[i] >= input->topic_count)
                return lt_fail(LEAT_EINVAL, "member %s subscribes to topic %u of %u", member->id,
                               member->topics[i], input->topic_count);
    }
    return 0;
}

/* Topics begin as one set; each member in turn splits every set that it subscribes to a part of. A set that has become empty
 * lends its number to the next new one, so there are never more than topics + 1. */
static void split_sets(struct lt_roster *roster)
{
    const struct lt_assign_input *input = roster->input;
    uint32_t *size = roster->work[0], *new_of = roster->work[1], *split_by = roster->work[2];
    uint32_t *seen_by = roster->work[3], *set_of = roster->set_of;
    uint32_t next = 1, spare = LT_NOBODY; /* spare: the head of a list through `size` of empty sets */
    for (uint32_t t = 0; t < input->topic_count; t++)
        set_of[t] = 0, seen_by[t] = LT_NOBODY, split_by[t] = LT_NOBODY;
    split_by[input->topic_count] = LT_NOBODY;
    size[0] = input->topic_count;
    for (uint32_t m = 0; m < input->member_count; m++) {
        const struct lt_assign_member *member = &input->members[m];
        for (uint32_t i = 0; i < member->topic_count; i++) {
            uint32_t topic = member->topics[i], old = set_of[topic], fresh;
            if (seen_by[topic] == m)
                continue;
            seen_by[topic] = m;
            if (split_by[old] != m) {
                fresh = spare == LT_NOBODY ? next++ : spare;
                spare = spare == LT_NOBODY ? spare : size[spare];
                size[fresh] = 0;
                new_of[old] = fresh;
                split_by[old] = m;
            }
            fresh = new_of[old];
            set_of[topic] = fresh;
            size[fresh]++;
            if (--size[old] == 0) {
                size[old] = spare;
                spare = old;
            }
        }
    }
}

/* Numbers sets by their first topic's name, so that the order of the input does not matter; first[set] is that topic. */
static void number_sets(struct lt_roster *roster, uint32_t *first)
{
    uint32_t *new_of = roster->work[1], topics = roster->input->topic_count;
    for (uint32_t set = 0; set <= topics; set++)
        new_of[set] = LT_NOBODY;
    for (uint32_t i = 0; i < topics; i++) {
        uint32_t topic = roster->by_name[i], *fresh = &new_of[roster->set_of[topic]];
        if (*fresh == LT_NOBODY) {
            first[roster->set_count] = topic;
            *fresh = roster->set_count++;
        }
        roster->set_of[topic] = *fresh;
    }
}

/* Calls for each set that a member subscribes to, once: its subscribers' count, or, with `list`, the next of them. */
static void add_subscriber(struct lt_roster *roster, uint32_t rank, const uint32_t *first, uint32_t *seen_by,
                           uint32_t *list)
{
    const struct lt_assign_member *member = &roster->input->members[roster->members[rank]];
    for (uint32_t i = 0; i < member->topic_count; i++) {
        uint32_t topic = member->topics[i], set = roster->set_of[topic];
        if (first[set] != topic || seen_by[set] == rank)
            continue;
        seen_by[set] = rank;
        uint32_t *at = &roster->set_at[set + 1];
        if (list)
            list[*at] = rank;
        (*at)++;
    }
}

static void list_subscribers(struct lt_roster *roster, const uint32_t *first)
{
    uint32_t *seen_by = roster->work[3], *set_at = roster->set_at;
    for (uint32_t set = 0; set <= roster->set_count; set++)
        set_at[set] = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t set = 0; set < roster->set_count; set++)
            seen_by[set] = LT_NOBODY;
        for (uint32_t rank = 0; rank < roster->input->member_count; rank++)
            add_subscriber(roster, rank, first, seen_by, pass ? roster->subscribers : NULL);
        if (pass)
            break;
        /* From counts to the places where each begins: the second pass moves each to its end. */
        uint32_t begin = 0;
        for (uint32_t set = 0; set < roster->set_count; set++) {
            uint32_t count = set_at[set + 1];
            set_at[set + 1] = begin;
            begin += count;
        }
    }
}

int lt_roster_make(struct lt_roster *roster)
{
    const struct lt_assign_input *input = roster->input;
    uint32_t *first = roster->work[0], next = 0;
    int r = check_subscriptions(input);
    if (r < 0)
        return r;
    sort(input, compare_topics, roster->by_name, input->topic_count);
    sort(input, compare_members, roster->members, input->member_count);
    for (uint32_t rank = 0; rank < input->member_count; rank++)
        roster->rank[roster->members[rank]] = rank;
    for (uint32_t i = 0; i < input->topic_count; i++) {
        uint32_t topic = roster->by_name[i];
        roster->base[topic] = next;
        next += input->topics[topic].partitions;
    }
    split_sets(roster);
    number_sets(roster, first);
    list_subscribers(roster, first);
    for (uint32_t p = 0; p < roster->partition_count; p++)
        roster->owner[p] = LT_NOBODY;
    return 0;
}

/* ---- claims ---- */

void lt_roster_claims(const struct lt_roster *roster, uint32_t *claim, int64_t *generation)
{
    const struct lt_assign_input *input = roster->input;
    for (uint32_t p = 0; p < roster->partition_count; p++)
        claim[p] = LT_NOBODY;
    for (uint32_t rank = 0; rank < input->member_count; rank++) {
        const struct lt_assign_member *member = &input->members[roster->members[rank]];
        for (uint32_t i = 0; i < member->owned_count; i++) {
            struct lt_assign_part part = member->owned[i];
            if (part.topic >= input->topic_count || part.partition >= input->topics[part.topic].partitions)
                continue; /* deleted since */
            uint32_t p = roster->base[part.topic] + part.partition;
            if (claim[p] == LT_NOBODY || member->generation > generation[p]) {
                claim[p] = rank;
                generation[p] = member->generation;
            } else if (member->generation == generation[p] && claim[p] != rank) {
                claim[p] = LT_DISPUTED;
            }
        }
    }
}

/* ---- out and in ---- */

void lt_roster_write(const struct lt_roster *roster, struct lt_assign_output *output)
{
    const struct lt_assign_input *input = roster->input;
    uint32_t *end = output->first + 1; /* of each member, while it is filled */
    for (uint32_t m = 0; m <= input->member_count; m++)
        output->first[m] = 0;
    for (uint32_t p = 0; p < roster->partition_count; p++)
        if (roster->owner[p] != LT_NOBODY)
            end[roster->members[roster->owner[p]]]++;
    uint32_t begin = 0;
    for (uint32_t m = 0; m < input->member_count; m++) {
        uint32_t count = end[m];
        end[m] = begin;
        begin += count;
    }
    for (uint32_t i = 0; i < input->topic_count; i++) {
        uint32_t topic = roster->by_name[i];
        for (uint32_t number = 0; number < input->topics[topic].partitions; number++) {
            uint32_t rank = roster->owner[roster->base[topic] + number];
            if (rank != LT_NOBODY)
                output->parts[end[roster->members[rank]]++] = (struct lt_assign_part){ topic, number };
        }
    }
}

void lt_roster_read(struct lt_roster *roster, const struct lt_assign_output *output)
{
    for (uint32_t m = 0; m < roster->input->member_count; m++)
        for (uint32_t i = output->first[m]; i < output->first[m + 1]; i++)
            roster->owner[roster->base[output->parts[i].topic] + output->parts[i].partition] = roster
                                                                                                   ->rank[m];
}
