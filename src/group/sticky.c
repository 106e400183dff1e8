/* sticky: even counts first, then as few moves as that allows (KIP-54).
 *
 *  1. keep    who claims a partition and still subscribes to it has it.
 *  2. fill    what nobody has goes to the subscriber with the fewest; topics that few subscribe to come first.
 *  3. level   while a partition's owner has two more than another of its subscribers, it moves there: set by set
 *             (roster.h), until no set has anything to move. Then no single legal move makes counts more even.
 *  4. home    moves that turned out to be for nothing are taken back: a partition whose owner has more than the one it
 *             came from, and rings of moves (A's went to B, B's to C, C's to A), which change no count. After that there
 *             may be something to level again.
 *
 * It ends: level makes the sum of the squared counts smaller, home makes it no larger and the number of moved
 * partitions smaller. An outcome put in as claims comes out as it is: nothing to fill, level or take home. Where all
 * subscribe to the same, counts differ by at most one and the moves are as few as can be: fill raises nobody above the
 * average rounded up, and level takes from none who has not more than a member may keep.
 *
 * Kafka has two algorithms, for equal and for differing subscriptions, the latter quadratic. This one is both: a pass costs
 * about as many steps as there are partitions, and subscribers of all sets, and passes are few.
 */
#include "group/sticky.h"

struct sticky {
    struct lt_roster *roster;
    uint32_t *count;     /* [rank] partitions it has */
    uint32_t *home;      /* [partition] who had it and still subscribes: a rank, or LT_NOBODY */
    uint32_t *set_order; /* sets by number of subscribers */
    uint32_t *set_part;  /* [set], [set + 1]: where its partitions are in the next two */
    uint32_t *in_order;  /* by name of topic, then number */
    uint32_t *
        by_number; /* by number, then name of topic: what is given away is to leave topics as mixed as they were */
    uint32_t *head;       /* [rank] a list of partitions through next[] */
    uint32_t *next;       /* [partition] */
    uint32_t *mark;       /* [rank] */
    uint32_t *givers;     /* a heap of ranks, the largest count first */
    uint32_t *takers;     /* a heap of ranks, the smallest count first */
    uint32_t *path;       /* ranks along moves */
    uint32_t *path_moves; /* the moved partition that leads on from each */
};

static uint32_t *take(struct lt_scratch *scratch, size_t count)
{
    return lt_scratch_take(scratch, count, sizeof(uint32_t));
}

static struct sticky place(const struct lt_roster *roster, struct lt_scratch *scratch)
{
    size_t members = roster->input->member_count, topics = roster->input->topic_count;
    size_t partitions = roster->partition_count;
    return (struct sticky){
        .count = take(scratch, members),
        .home = take(scratch, partitions),
        .set_order = take(scratch, topics),
        .set_part = take(scratch, topics + 1),
        .in_order = take(scratch, partitions),
        .by_number = take(scratch, partitions),
        .head = take(scratch, members),
        .next = take(scratch, partitions),
        .mark = take(scratch, members),
        .givers = take(scratch, members + 1),
        .takers = take(scratch, members),
        .path = take(scratch, members),
        .path_moves = take(scratch, members),
    };
}

void lt_sticky_place(const struct lt_roster *roster, struct lt_scratch *scratch)
{
    place(roster, scratch);
}

/* ---- sets, and the partitions of each ---- */

/* From how many of each there are to where the first of each goes. */
static void sum_up(uint32_t *count, uint32_t keys)
{
    uint32_t begin = 0;
    for (uint32_t key = 0; key < keys; key++) {
        uint32_t here = count[key];
        count[key] = begin;
        begin += here;
    }
}

static void order_sets(struct sticky *s)
{
    const struct lt_roster *roster = s->roster;
    uint32_t *at = s->givers, keys = roster->input->member_count + 1;
    for (uint32_t key = 0; key < keys; key++)
        at[key] = 0;
    for (uint32_t set = 0; set < roster->set_count; set++)
        at[lt_roster_subscriber_count(roster, set)]++;
    sum_up(at, keys);
    for (uint32_t set = 0; set < roster->set_count; set++)
        s->set_order[at[lt_roster_subscriber_count(roster, set)]++] = set;
}

static void list_partitions(struct sticky *s)
{
    const struct lt_roster *roster = s->roster;
    const struct lt_assign_input *input = roster->input;
    uint32_t *end = s->set_part + 1, *at = s->next;
    for (uint32_t set = 0; set <= roster->set_count; set++)
        s->set_part[set] = 0;
    for (uint32_t t = 0; t < input->topic_count; t++)
        end[roster->set_of[t]] += input->topics[t].partitions;
    sum_up(end, roster->set_count);
    for (uint32_t i = 0; i < input->topic_count; i++) {
        uint32_t topic = roster->by_name[i], set = roster->set_of[topic];
        for (uint32_t number = 0; number < input->topics[topic].partitions; number++)
            s->in_order[end[set]++] = roster->base[topic] + number;
    }
    /* Numbers of a set are below the count of its partitions, so that each set has room for a counter a number. */
    for (uint32_t p = 0; p < roster->partition_count; p++)
        at[p] = 0;
    for (uint32_t t = 0; t < input->topic_count; t++)
        for (uint32_t number = 0; number < input->topics[t].partitions; number++)
            at[s->set_part[roster->set_of[t]] + number]++;
    sum_up(at, roster->partition_count);
    for (uint32_t i = 0; i < input->topic_count; i++) {
        uint32_t topic = roster->by_name[i], *first = at + s->set_part[roster->set_of[topic]];
        for (uint32_t number = 0; number < input->topics[topic].partitions; number++)
            s->by_number[first[number]++] = roster->base[topic] + number;
    }
}

static const uint32_t *subscribers_of(const struct sticky *s, uint32_t set)
{
    return s->roster->subscribers + s->roster->set_at[set];
}

/* ---- heaps ---- */

/* Whether a is to take before b. Givers are the other way round. */
static bool takes_first(const struct sticky *s, uint32_t a, uint32_t b)
{
    return s->count[a] != s->count[b] ? s->count[a] < s->count[b] : a < b;
}

static bool stands_above(const struct sticky *s, const uint32_t *heap, uint32_t a, uint32_t b)
{
    return heap == s->takers ? takes_first(s, a, b) : takes_first(s, b, a);
}

static void sink(const struct sticky *s, uint32_t *heap, uint32_t size, uint32_t at)
{
    uint32_t moving = heap[at];
    for (uint32_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && stands_above(s, heap, heap[child + 1], heap[child]))
            child++;
        if (!stands_above(s, heap, heap[child], moving))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

static void make_heap(const struct sticky *s, uint32_t *heap, uint32_t size)
{
    for (uint32_t i = size / 2; i-- > 0;)
        sink(s, heap, size, i);
}

static void make_takers(struct sticky *s, uint32_t set)
{
    uint32_t size = lt_roster_subscriber_count(s->roster, set);
    for (uint32_t i = 0; i < size; i++)
        s->takers[i] = subscribers_of(s, set)[i];
    make_heap(s, s->takers, size);
}

/* ---- keep, fill ---- */

static void keep(struct sticky *s, uint32_t set, const uint32_t *claim)
{
    uint32_t size = lt_roster_subscriber_count(s->roster, set);
    for (uint32_t i = 0; i < size; i++)
        s->mark[subscribers_of(s, set)[i]] = set;
    for (uint32_t i = s->set_part[set]; i < s->set_part[set + 1]; i++) {
        uint32_t p = s->in_order[i], rank = claim[p];
        if (rank == LT_NOBODY || rank == LT_DISPUTED || s->mark[rank] != set)
            continue;
        s->home[p] = s->roster->owner[p] = rank;
        s->count[rank]++;
    }
}

static void fill(struct sticky *s, uint32_t set)
{
    uint32_t size = lt_roster_subscriber_count(s->roster, set);
    make_takers(s, set);
    for (uint32_t i = s->set_part[set]; size && i < s->set_part[set + 1]; i++) {
        uint32_t *owner = &s->roster->owner[s->in_order[i]];
        if (*owner != LT_NOBODY)
            continue;
        *owner = s->takers[0];
        s->count[*owner]++;
        sink(s, s->takers, size, 0);
    }
}

/* ---- level ---- */

/* Each subscriber's partitions of the set, in the order in which they are best given away: what was another's before first, then the
 * highest numbers. */
static void list_owned(struct sticky *s, uint32_t set)
{
    uint32_t size = lt_roster_subscriber_count(s->roster, set);
    for (uint32_t i = 0; i < size; i++)
        s->head[subscribers_of(s, set)[i]] = LT_NOBODY;
    for (int away = 0; away < 2; away++) {
        for (uint32_t i = s->set_part[set]; i < s->set_part[set + 1]; i++) {
            uint32_t p = s->by_number[i], owner = s->roster->owner[p];
            if ((s->home[p] != owner) != away)
                continue;
            s->next[p] = s->head[owner];
            s->head[owner] = p;
        }
    }
}

/* Whether any two subscribers are so far apart, whoever has partitions of this set. */
static bool has_gap(const struct sticky *s, uint32_t set, uint32_t gap)
{
    uint32_t size = lt_roster_subscriber_count(s->roster, set), most = 0, least = UINT32_MAX;
    for (uint32_t i = 0; i < size; i++) {
        uint32_t count = s->count[subscribers_of(s, set)[i]];
        most = count > most ? count : most;
        least = count < least ? count : least;
    }
    return size > 1 && most - least >= gap;
}

static uint32_t make_givers(struct sticky *s, uint32_t set)
{
    uint32_t size = lt_roster_subscriber_count(s->roster, set), givers = 0;
    for (uint32_t i = 0; i < size; i++) {
        uint32_t rank = subscribers_of(s, set)[i];
        if (s->head[rank] != LT_NOBODY)
            s->givers[givers++] = rank;
    }
    make_heap(s, s->givers, givers);
    return givers;
}

/* Who gave or took does not sink in the other heap, nor need it: the largest count never grows and the smallest never shrinks, so
 * before the gap is closed who gave takes nothing, and who took gives nothing. */
static bool level_set(struct sticky *s, uint32_t set, uint32_t gap)
{
    if (!has_gap(s, set, gap))
        return false;
    uint32_t size = lt_roster_subscriber_count(s->roster, set);
    list_owned(s, set);
    make_takers(s, set);
    bool any = false;
    for (uint32_t givers = make_givers(s, set); givers; sink(s, s->givers, givers, 0)) {
        uint32_t from = s->givers[0], to = s->takers[0], p = s->head[from];
        if (s->count[from] < s->count[to] + gap)
            break;
        s->head[from] = s->next[p];
        s->roster->owner[p] = to;
        s->count[from]--;
        s->count[to]++;
        if (s->head[from] == LT_NOBODY)
            s->givers[0] = s->givers[--givers];
        sink(s, s->takers, size, 0);
        any = true;
    }
    return any;
}

/* The widest gaps first, halving: who has far too many gives to who has far too few where they share a topic, before it
 * would give to somebody in between, who would have to pass it on. */
static void level(struct sticky *s)
{
    uint32_t gap = 2;
    for (uint32_t rank = 0; rank < s->roster->input->member_count; rank++)
        gap = s->count[rank] > gap ? s->count[rank] : gap;
    for (bool last = false; !last; gap = gap / 2 < 2 ? 2 : gap / 2) {
        last = gap == 2;
        for (bool moved = true; moved;) {
            moved = false;
            for (uint32_t i = 0; i < s->roster->set_count; i++)
                moved |= level_set(s, s->set_order[i], gap);
        }
    }
}

/* ---- home ---- */

static bool is_away(const struct sticky *s, uint32_t p)
{
    return s->home[p] != LT_NOBODY && s->home[p] != s->roster->owner[p];
}

static bool take_back(struct sticky *s)
{
    bool any = false;
    for (uint32_t p = 0; p < s->roster->partition_count; p++) {
        uint32_t *owner = &s->roster->owner[p], home = s->home[p];
        if (!is_away(s, p) || s->count[*owner] <= s->count[home])
            continue;
        s->count[*owner]--;
        s->count[home]++;
        *owner = home;
        any = true;
    }
    return any;
}

/* Walks along moves, from who had a partition to who has it now, each move at most once. Where the path meets itself, it
 * has gone round a ring. Where it ends, no ring comes through. */
static bool undo_rings_from(struct sticky *s, uint32_t start)
{
    bool any = false;
    uint32_t length = 1;
    s->path[0] = start;
    s->mark[start] = true;
    while (length) {
        uint32_t here = s->path[length - 1], p = s->head[here];
        if (p == LT_NOBODY) {
            s->mark[here] = false;
            length--;
            continue;
        }
        s->head[here] = s->next[p];
        s->path_moves[length - 1] = p;
        uint32_t there = s->roster->owner[p];
        if (!s->mark[there]) {
            s->mark[there] = true;
            s->path[length++] = there;
            continue;
        }
        any = true;
        for (;;) { /* back to where the ring began, which stays on the path */
            s->roster->owner[s->path_moves[length - 1]] = s->path[length - 1];
            if (s->path[length - 1] == there)
                break;
            s->mark[s->path[--length]] = false;
        }
    }
    return any;
}

static bool undo_rings(struct sticky *s)
{
    uint32_t members = s->roster->input->member_count;
    bool any = false;
    for (uint32_t rank = 0; rank < members; rank++)
        s->head[rank] = LT_NOBODY, s->mark[rank] = false;
    for (uint32_t p = s->roster->partition_count; p-- > 0;) {
        if (!is_away(s, p))
            continue;
        s->next[p] = s->head[s->home[p]];
        s->head[s->home[p]] = p;
    }
    for (uint32_t rank = 0; rank < members; rank++)
        any |= undo_rings_from(s, rank);
    return any;
}

/* ---- all of it ---- */

void lt_sticky_assign(struct lt_roster *roster, const uint32_t *claim, struct lt_scratch *scratch)
{
    struct sticky s = place(roster, scratch);
    s.roster = roster;
    order_sets(&s);
    list_partitions(&s);
    for (uint32_t rank = 0; rank < roster->input->member_count; rank++)
        s.count[rank] = 0, s.mark[rank] = LT_NOBODY;
    for (uint32_t p = 0; p < roster->partition_count; p++)
        s.home[p] = LT_NOBODY;
    for (uint32_t set = 0; set < roster->set_count; set++)
        keep(&s, set, claim);
    for (uint32_t i = 0; i < roster->set_count; i++)
        fill(&s, s.set_order[i]);
    do
        level(&s);
    while (take_back(&s) || undo_rings(&s));
}
