/* group: see group.h.
 *
 * Nothing here is stored for the next worker: it starts from who owns what (the hooks have stored that) and plans again, which for
 * sticky assignors gives the same plan, and for the others one that depends on members and topics alone.
 */
#include "group/group.h"

#include <string.h>

#include "base/err.h"
#include "group/assign.h"

#define AGAIN_NS 100000000ll /* a plan for which there was no memory */

const char *lt_group_why(enum lt_group_why why)
{
    static const char *const words[LT_WHY_COUNT] = {
        [LT_WHY_NONE] = "nothing",
        [LT_WHY_JOIN] = "a member joined",
        [LT_WHY_LEAVE] = "a member left",
        [LT_WHY_DIED] = "a member died",
        [LT_WHY_HUNG] = "a member did not poll in time",
        [LT_WHY_SLOW] = "a member did not release in time",
        [LT_WHY_AWAY_TOO_LONG] = "a static member did not come back in time",
        [LT_WHY_SUBSCRIPTION] = "a subscription changed",
        [LT_WHY_TOPICS] = "topics changed",
        [LT_WHY_ADOPTED] = "the worker was restarted",
    };
    return (unsigned)why < LT_WHY_COUNT ? words[why] : words[LT_WHY_NONE];
}

const char *lt_group_assignor_name(enum leat_assignor assignor)
{
    static const char *const names[LEAT_ASSIGNORS] = {
        [LEAT_RANGE] = "range",       [LEAT_ROUNDROBIN] = "roundrobin",
        [LEAT_STICKY] = "sticky",     [LEAT_COOPERATIVE_STICKY] = "cooperative-sticky",
        [LEAT_FAILOVER] = "failover", [LEAT_CUSTOM] = "custom"
    };
    return (unsigned)assignor < LEAT_ASSIGNORS ? names[assignor] : NULL;
}

void lt_group_init(struct lt_group *g, const struct lt_group_hooks *hooks, void *user,
                   enum leat_assignor assignor)
{
    memset(g, 0, sizeof *g);
    g->hooks = hooks;
    g->user = user;
    g->assignor = assignor;
    g->leader = g->passed_over = LT_NOBODY;
}

bool lt_group_subscribes(const struct lt_group *g, uint32_t m, uint32_t topic_id)
{
    const struct lt_group_member *member = &g->members[m];
    for (uint32_t i = 0; i < member->topic_count; i++)
        if (member->topics[i] == topic_id)
            return true;
    return false;
}

static bool is_eager(const struct lt_group *g)
{
    return g->assignor == LEAT_RANGE || g->assignor == LEAT_ROUNDROBIN || g->assignor == LEAT_STICKY;
}

static void mark(struct lt_group *g, enum lt_group_why why, int64_t now_ns)
{
    g->dirty = true;
    if (g->started_ns == 0)
        g->started_ns = now_ns;
    g->why = why;
    g->leader = LT_NOBODY; /* whoever was asked, was asked about something else */
}

/* --- events --- */

/* The part has no owner from here on. */
static void take(struct lt_group *g, uint32_t p, bool save, int64_t now_ns)
{
    struct lt_group_part *part = &g->parts[p];
    uint32_t owner = part->owner;
    if (save)
        g->hooks->save(g->user, p, owner);
    g->hooks->take(g->user, p);
    part->owner = LT_NOBODY;
    part->release = false;
    part->unowned_since_ns = now_ns;
    g->members[owner].owned--;
}

static void take_all(struct lt_group *g, uint32_t m, bool save, int64_t now_ns)
{
    for (uint32_t p = 0; p < g->part_room && g->members[m].owned != 0; p++)
        if (g->parts[p].topic_id != 0 && g->parts[p].owner == m)
            take(g, p, save, now_ns);
}

void lt_group_join(struct lt_group *g, uint32_t m, int64_t delay_ns, int64_t now_ns)
{
    struct lt_group_member *member = &g->members[m];
    member->used = true;
    member->away = false;
    member->tell = true;
    member->joined = ++g->joins;
    member->owned = 0;
    member->release_by_ns = member->away_until_ns = 0;
    if (g->member_count++ == 0) { /* nobody is left that a new worker would wait for */
        g->adopting = false;
        g->hold_until_ns = delay_ns > 0 ? now_ns + delay_ns : 0;
    }
    mark(g, LT_WHY_JOIN, now_ns);
}

void lt_group_changed(struct lt_group *g, enum lt_group_why why, int64_t now_ns)
{
    mark(g, why, now_ns);
}

void lt_group_release(struct lt_group *g, uint32_t m, uint32_t p, int64_t now_ns)
{
    if (p < g->part_room && g->parts[p].topic_id != 0 && g->parts[p].owner == m)
        take(g, p, true, now_ns);
}

static void remove_member(struct lt_group *g, uint32_t m, enum lt_group_why why, int64_t now_ns)
{
    take_all(g, m, !g->members[m].away, now_ns); /* who is away was saved when it went */
    for (uint32_t p = 0; p < g->part_room; p++)
        if (g->parts[p].topic_id != 0 && g->parts[p].target == m)
            g->parts[p].target = LT_NOBODY;
    g->hooks->gone(g->user, m, why);
    memset(&g->members[m], 0, sizeof g->members[m]);
    if (g->passed_over == m)
        g->passed_over = LT_NOBODY;
    if (--g->member_count == 0)
        g->hold_until_ns = 0;
    mark(g, why, now_ns);
}

void lt_group_leave(struct lt_group *g, uint32_t m, int64_t now_ns)
{
    remove_member(g, m, LT_WHY_LEAVE, now_ns);
}

void lt_group_evict(struct lt_group *g, uint32_t m, enum lt_group_why why, int64_t now_ns)
{
    if (!g->members[m].away)
        g->hooks->fence(g->user, m);
    remove_member(g, m, why, now_ns);
}

void lt_group_away(struct lt_group *g, uint32_t m, int64_t until_ns)
{
    struct lt_group_member *member = &g->members[m];
    g->hooks->fence(g->user, m);
    for (uint32_t p = 0; p < g->part_room; p++)
        if (g->parts[p].topic_id != 0 && g->parts[p].owner == m) {
            g->hooks->save(g->user, p, m);
            g->parts[p].release = false; /* nobody is there to do it */
        }
    member->away = true;
    member->away_until_ns = until_ns;
    member->release_by_ns = 0;
    if (g->leader == m)
        g->leader = LT_NOBODY; /* another one is asked */
}

void lt_group_back(struct lt_group *g, uint32_t m)
{
    struct lt_group_member *member = &g->members[m];
    member->away = false;
    member->away_until_ns = 0;
    member->tell = true;
}

void lt_group_adopt(struct lt_group *g, int64_t until_ns, int64_t now_ns)
{
    g->member_count = 0;
    for (uint32_t m = 0; m < g->member_room; m++) {
        g->members[m].owned = 0;
        g->members[m].tell = g->members[m].used;
        g->member_count += g->members[m].used;
        if (g->members[m].used && g->joins < g->members[m].joined)
            g->joins = g->members[m].joined;
    }
    for (uint32_t p = 0; p < g->part_room; p++) {
        struct lt_group_part *part = &g->parts[p];
        part->target = part->owner;
        part->release = false;
        if (part->topic_id != 0 && part->owner != LT_NOBODY)
            g->members[part->owner].owned++;
    }
    g->hold_until_ns = until_ns;
    g->adopting = true;
    if (g->member_count != 0)
        mark(g, LT_WHY_ADOPTED, now_ns);
}

void lt_group_drop_part(struct lt_group *g, uint32_t p)
{
    struct lt_group_part *part = &g->parts[p];
    if (part->topic_id != 0 && part->owner != LT_NOBODY) {
        g->members[part->owner].owned--;
        g->members[part->owner].tell = true;
    }
    memset(part, 0, sizeof *part);
    part->owner = part->target = LT_NOBODY;
}

/* --- plans --- */

static size_t round_up(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

/* What the assignors see, in their numbering: one piece of memory, dealt out. */
struct plan {
    struct lt_assign_topic *topics;
    uint32_t *by_id;      /* topics, sorted by id */
    uint32_t *first_part; /* [topic] where its parts begin in part_of */
    uint32_t *part_of;    /* [first_part[topic] + partition] -> index in g->parts, or LT_NOBODY */
    struct lt_assign_member *members;
    uint32_t *member_of; /* [assign's member] -> ours */
    uint32_t *rank;      /* [ours] -> assign's member */
    uint32_t *subscriptions;
    struct lt_assign_part *owned, *parts;
    uint32_t *first;
    struct lt_assign_input input;
};

/* Numbers, not pointers: the first time there is no memory yet. */
static void *deal(uintptr_t *at, size_t count, size_t size)
{
    void *p = (void *)*at;
    *at += round_up(count * size);
    return p;
}

/* Deals out from `at` on; returns the end. With 0: how much it takes. */
static uintptr_t deal_plan(const struct lt_group *g, struct plan *plan, uintptr_t at)
{
    uint64_t parts = 0, subscriptions = 0;
    for (uint32_t t = 0; t < g->topic_count; t++)
        parts += g->topics[t].partitions;
    for (uint32_t m = 0; m < g->member_room; m++)
        subscriptions += g->members[m].used ? g->members[m].topic_count : 0;
    plan->topics = deal(&at, g->topic_count, sizeof *plan->topics);
    plan->by_id = deal(&at, g->topic_count, sizeof *plan->by_id);
    plan->first_part = deal(&at, g->topic_count, sizeof *plan->first_part);
    plan->part_of = deal(&at, parts, sizeof *plan->part_of);
    plan->members = deal(&at, g->member_count, sizeof *plan->members);
    plan->member_of = deal(&at, g->member_count, sizeof *plan->member_of);
    plan->rank = deal(&at, g->member_room, sizeof *plan->rank);
    plan->subscriptions = deal(&at, subscriptions, sizeof *plan->subscriptions);
    plan->owned = deal(&at, parts, sizeof *plan->owned);
    plan->parts = deal(&at, parts, sizeof *plan->parts);
    plan->first = deal(&at, (size_t)g->member_count + 1, sizeof *plan->first);
    return at;
}

static uint32_t topic_of(const struct lt_group *g, const struct plan *plan, uint32_t id)
{
    uint32_t low = 0, high = g->topic_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (g->topics[plan->by_id[middle]].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < g->topic_count && g->topics[plan->by_id[low]].id == id ? plan->by_id[low] : LT_NOBODY;
}

/* By insertion: topics come nearly in the order in which they were made. */
static void sort_topics(const struct lt_group *g, uint32_t *by_id)
{
    for (uint32_t t = 0; t < g->topic_count; t++) {
        uint32_t at = t;
        for (; at > 0 && g->topics[by_id[at - 1]].id > g->topics[t].id; at--)
            by_id[at] = by_id[at - 1];
        by_id[at] = t;
    }
}

static void plan_topics(const struct lt_group *g, struct plan *plan)
{
    uint32_t at = 0;
    sort_topics(g, plan->by_id);
    for (uint32_t t = 0; t < g->topic_count; t++) {
        plan->topics[t] = (struct lt_assign_topic){ g->topics[t].name, g->topics[t].partitions };
        plan->first_part[t] = at;
        at += g->topics[t].partitions;
    }
    for (uint32_t i = 0; i < at; i++)
        plan->part_of[i] = LT_NOBODY;
    for (uint32_t p = 0; p < g->part_room; p++) {
        uint32_t topic = g->parts[p].topic_id != 0 ? topic_of(g, plan, g->parts[p].topic_id) : LT_NOBODY;
        if (topic != LT_NOBODY && g->parts[p].partition < g->topics[topic].partitions)
            plan->part_of[plan->first_part[topic] + g->parts[p].partition] = p;
    }
}

/* Members, and behind each other their subscriptions and, to be filled, what they own. */
static void plan_members(const struct lt_group *g, struct plan *plan)
{
    uint32_t n = 0, *topics = plan->subscriptions;
    struct lt_assign_part *owned = plan->owned;
    for (uint32_t m = 0; m < g->member_room; m++) {
        const struct lt_group_member *member = &g->members[m];
        if (!member->used)
            continue;
        struct lt_assign_member *to = &plan->members[n];
        *to = (struct lt_assign_member){ .id = member->id,
                                         .instance_id = member->instance_id,
                                         .topics = topics,
                                         .owned = owned,
                                         .generation = (int64_t)g->generation };
        for (uint32_t i = 0; i < member->topic_count; i++) {
            uint32_t topic = topic_of(g, plan, member->topics[i]);
            if (topic != LT_NOBODY)
                topics[to->topic_count++] = topic;
        }
        topics += to->topic_count;
        owned += member->owned;
        plan->rank[m] = n;
        plan->member_of[n++] = m;
    }
    plan->input = (struct lt_assign_input){
        .topics = plan->topics, .topic_count = g->topic_count, .member_count = n, .members = plan->members
    };
}

static void plan_owned(const struct lt_group *g, struct plan *plan)
{
    for (uint32_t t = 0; t < g->topic_count; t++)
        for (uint32_t k = 0; k < g->topics[t].partitions; k++) {
            uint32_t p = plan->part_of[plan->first_part[t] + k];
            if (p == LT_NOBODY || g->parts[p].owner == LT_NOBODY)
                continue;
            struct lt_assign_member *member = &plan->members[plan->rank[g->parts[p].owner]];
            plan->owned[member->owned - plan->owned + member->owned_count++] = (struct lt_assign_part){ t,
                                                                                                        k };
        }
}

static bool make_plan(const struct lt_group *g, struct plan *plan)
{
    void *room = g->hooks->room(g->user, 0, deal_plan(g, plan, 0));
    if (room == NULL)
        return false;
    deal_plan(g, plan, (uintptr_t)room);
    plan_topics(g, plan);
    plan_members(g, plan);
    plan_owned(g, plan);
    return true;
}

static enum leat_assignor kind_of(const struct lt_group *g)
{
    /* Releasing before granting is what makes it cooperative, and that is done for all. */
    return g->assignor == LEAT_COOPERATIVE_STICKY ? LEAT_STICKY : g->assignor;
}

static void clear_targets(struct lt_group *g)
{
    for (uint32_t p = 0; p < g->part_room; p++)
        g->parts[p].target = LT_NOBODY;
}

/* Everything of a topic to the subscriber that joined first, and who has a topic keeps it: an heir stays when the elder comes back. */
static void plan_failover(struct lt_group *g, const struct plan *plan)
{
    clear_targets(g);
    for (uint32_t t = 0; t < g->topic_count; t++) {
        uint32_t chosen = LT_NOBODY;
        for (uint32_t m = 0; m < g->member_room; m++)
            if (g->members[m].used && lt_group_subscribes(g, m, g->topics[t].id) &&
                (chosen == LT_NOBODY || g->members[m].joined < g->members[chosen].joined))
                chosen = m;
        for (uint32_t k = 0; k < g->topics[t].partitions; k++) {
            uint32_t p = plan->part_of[plan->first_part[t] + k];
            if (p != LT_NOBODY)
                g->parts[p].target = chosen;
        }
    }
}

static bool plan_assign(struct lt_group *g, struct plan *plan)
{
    struct lt_assign_output output = { .parts = plan->parts, .first = plan->first };
    size_t bytes = lt_assign_scratch_bytes(kind_of(g), &plan->input);
    void *room = bytes != 0 ? g->hooks->room(g->user, 1, bytes) : NULL;
    if (room == NULL || lt_assign(kind_of(g), &plan->input, &output, room, bytes) < 0)
        return false;
    clear_targets(g);
    for (uint32_t n = 0; n < plan->input.member_count; n++) {
        for (uint32_t i = output.first[n]; i < output.first[n + 1]; i++) {
            uint32_t p = plan->part_of[plan->first_part[output.parts[i].topic] + output.parts[i].partition];
            if (p != LT_NOBODY)
                g->parts[p].target = plan->member_of[n];
        }
    }
    return true;
}

/* Targets are set: a new generation begins if they differ from what is. */
static void begin(struct lt_group *g)
{
    bool moves = false;
    g->dirty = false;
    for (uint32_t p = 0; p < g->part_room; p++)
        moves |= g->parts[p].topic_id != 0 && g->parts[p].owner != g->parts[p].target;
    g->sweep = is_eager(g) && moves;
    if (!moves && g->why == LT_WHY_ADOPTED) { /* nobody but leatd has noticed anything */
        g->started_ns = 0;
        return;
    }
    g->hooks->generation(g->user, ++g->generation);
}

/* --- a leader's own assignment --- */

static void elect(struct lt_group *g, int64_t now_ns)
{
    uint32_t chosen = LT_NOBODY;
    for (int spare = 0; spare < 2 && chosen == LT_NOBODY; spare++)
        for (uint32_t m = 0; m < g->member_room; m++) {
            const struct lt_group_member *member = &g->members[m];
            if (member->used && !member->away && member->named && (spare || m != g->passed_over) &&
                (chosen == LT_NOBODY || member->joined < g->members[chosen].joined))
                chosen = m;
        }
    g->leader = chosen;
    g->round++;
    g->leader_by_ns = 0;
    if (chosen == LT_NOBODY)
        return;
    g->leader_by_ns = now_ns + g->members[chosen].rebalance_timeout_ns;
    g->members[chosen].tell = true;
}

static bool is_wanted(const struct lt_group *g, uint32_t topic_id)
{
    for (uint32_t m = 0; m < g->member_room; m++)
        if (g->members[m].used && lt_group_subscribes(g, m, topic_id))
            return true;
    return false;
}

/* One target a part is the form itself: none can be there twice. */
static int check_targets(const struct lt_group *g)
{
    for (uint32_t p = 0; p < g->part_room; p++) {
        const struct lt_group_part *part = &g->parts[p];
        if (part->topic_id == 0)
            continue;
        if (part->target == LT_NOBODY) {
            if (is_wanted(g, part->topic_id))
                return lt_fail(LEAT_EINVAL, "topic %u, partition %u: given to nobody", part->topic_id,
                               part->partition);
        } else if (part->target >= g->member_room || !g->members[part->target].used ||
                   !lt_group_subscribes(g, part->target, part->topic_id)) {
            return lt_fail(LEAT_EINVAL,
                           "topic %u, partition %u: given to member %u, which is not subscribed to it",
                           part->topic_id, part->partition, part->target);
        }
    }
    return 0;
}

int lt_group_proposed(struct lt_group *g, uint32_t m, uint64_t round, int64_t now_ns)
{
    (void)now_ns;
    if (g->leader != m || g->round != round || !g->dirty)
        return lt_fail(LEAT_EFENCED, "round %llu of assigning is over; now it is %llu",
                       (unsigned long long)round, (unsigned long long)g->round);
    int r = check_targets(g);
    g->leader = LT_NOBODY;
    if (r < 0) {
        g->passed_over = m;
        for (uint32_t p = 0; p < g->part_room; p++)
            g->parts[p].target = g->parts[p].owner;
        return r;
    }
    g->passed_over = LT_NOBODY;
    begin(g);
    return 0;
}

/* --- steps --- */

/* Whether the plan has to wait. */
static bool is_held(struct lt_group *g, int64_t now_ns)
{
    if (g->hold_until_ns == 0)
        return false;
    if (now_ns >= g->hold_until_ns) {
        g->hold_until_ns = 0;
        g->adopting = false;
        return false;
    }
    if (!g->adopting)
        return true;
    for (uint32_t m = 0; m < g->member_room; m++)
        if (g->members[m].used && !g->members[m].named && !g->members[m].away)
            return true;
    g->hold_until_ns = 0;
    g->adopting = false;
    return false;
}

/* false: not for want of memory; to be tried again. */
static bool replan(struct lt_group *g, int64_t now_ns)
{
    struct plan plan;
    if (g->assignor == LEAT_CUSTOM) {
        if (g->leader == LT_NOBODY)
            elect(g, now_ns);
        return true;
    }
    if (!make_plan(g, &plan))
        return false;
    if (g->assignor == LEAT_FAILOVER)
        plan_failover(g, &plan);
    else if (!plan_assign(g, &plan))
        return false;
    begin(g);
    return true;
}

static void ask_for_release(struct lt_group *g, struct lt_group_part *part, int64_t now_ns)
{
    struct lt_group_member *owner = &g->members[part->owner];
    part->release = true;
    owner->tell = true;
    if (owner->release_by_ns == 0)
        owner->release_by_ns = now_ns + owner->rebalance_timeout_ns;
}

/* Every owner that has to let go is asked. Returns whether some are still to do so in a sweep. */
static bool ask(struct lt_group *g, int64_t now_ns)
{
    bool pending = false;
    for (uint32_t p = 0; p < g->part_room; p++) {
        struct lt_group_part *part = &g->parts[p];
        if (part->topic_id == 0 || part->owner == LT_NOBODY)
            continue;
        bool wanted = g->sweep || part->owner != part->target;
        if (wanted && g->members[part->owner].away) {
            if (part->owner != part->target)
                take(g, p, false, now_ns); /* fenced and saved when it went */
            continue;
        }
        if (wanted && !part->release) {
            ask_for_release(g, part, now_ns);
        } else if (!wanted && part->release) {
            part->release = false;
            g->members[part->owner].tell = true;
        }
        pending |= g->sweep && part->release;
    }
    return pending;
}

static void grant(struct lt_group *g, int64_t now_ns)
{
    for (uint32_t p = 0; p < g->part_room; p++) {
        struct lt_group_part *part = &g->parts[p];
        if (part->topic_id == 0 || part->owner != LT_NOBODY || part->target == LT_NOBODY)
            continue;
        part->owner = part->target;
        g->members[part->owner].owned++;
        g->members[part->owner].tell = true;
        g->hooks->grant(g->user, p, part->owner,
                        part->unowned_since_ns != 0 ? now_ns - part->unowned_since_ns : -1);
        part->unowned_since_ns = 0;
    }
}

/* Who has nothing left to release is not waited for. */
static void forget_deadlines(struct lt_group *g)
{
    for (uint32_t m = 0; m < g->member_room; m++)
        if (g->members[m].release_by_ns != 0)
            g->members[m].release_by_ns = -g->members[m].release_by_ns;
    for (uint32_t p = 0; p < g->part_room; p++)
        if (g->parts[p].topic_id != 0 && g->parts[p].release &&
            g->members[g->parts[p].owner].release_by_ns < 0)
            g->members[g->parts[p].owner].release_by_ns = -g->members[g->parts[p].owner].release_by_ns;
    for (uint32_t m = 0; m < g->member_room; m++)
        if (g->members[m].release_by_ns < 0)
            g->members[m].release_by_ns = 0;
}

static enum leat_group_state state_of(const struct lt_group *g)
{
    if (g->member_count == 0)
        return LEAT_GROUP_EMPTY;
    if (g->dirty)
        return LEAT_GROUP_ASSIGNING;
    for (uint32_t p = 0; p < g->part_room; p++)
        if (g->parts[p].topic_id != 0 && (g->parts[p].owner != g->parts[p].target || g->parts[p].release))
            return LEAT_GROUP_RECONCILING;
    return LEAT_GROUP_STABLE;
}

static void settle(struct lt_group *g, int64_t now_ns)
{
    g->state = state_of(g);
    for (uint32_t m = 0; m < g->member_room; m++)
        if (g->members[m].used && g->members[m].tell) {
            g->members[m].tell = false;
            if (!g->members[m].away)
                g->hooks->tell(g->user, m);
        }
    if (g->started_ns != 0 && (g->state == LEAT_GROUP_STABLE || g->state == LEAT_GROUP_EMPTY)) {
        int64_t took_ns = now_ns - g->started_ns;
        g->started_ns = 0;
        g->hooks->settled(g->user, g->why, took_ns);
    }
}

static void evict_late(struct lt_group *g, int64_t now_ns)
{
    for (uint32_t m = 0; m < g->member_room; m++) {
        struct lt_group_member *member = &g->members[m];
        if (!member->used)
            continue;
        if (member->release_by_ns != 0 && now_ns >= member->release_by_ns)
            lt_group_evict(g, m, LT_WHY_SLOW, now_ns);
        else if (member->away && now_ns >= member->away_until_ns)
            lt_group_evict(g, m, LT_WHY_AWAY_TOO_LONG, now_ns);
    }
    if (g->leader != LT_NOBODY && g->leader_by_ns != 0 && now_ns >= g->leader_by_ns)
        lt_group_evict(g, g->leader, LT_WHY_SLOW, now_ns);
}

static void earlier(int64_t *deadline_ns, int64_t at_ns)
{
    if (at_ns != 0 && (*deadline_ns == 0 || at_ns < *deadline_ns))
        *deadline_ns = at_ns;
}

static int64_t next_deadline(const struct lt_group *g)
{
    int64_t deadline_ns = 0;
    for (uint32_t m = 0; m < g->member_room; m++) {
        if (!g->members[m].used)
            continue;
        earlier(&deadline_ns, g->members[m].release_by_ns);
        if (g->members[m].away)
            earlier(&deadline_ns, g->members[m].away_until_ns);
    }
    if (g->dirty && g->member_count != 0) {
        earlier(&deadline_ns, g->hold_until_ns);
        if (g->leader != LT_NOBODY)
            earlier(&deadline_ns, g->leader_by_ns);
    }
    return deadline_ns;
}

int64_t lt_group_step(struct lt_group *g, int64_t now_ns)
{
    int64_t again_ns = 0;
    evict_late(g, now_ns);
    if (g->dirty && g->member_count == 0) {
        g->dirty = g->sweep = false;
        clear_targets(g);
    }
    if (g->dirty && !is_held(g, now_ns) && !replan(g, now_ns))
        again_ns = now_ns + AGAIN_NS;
    if (!ask(g, now_ns))
        g->sweep = false;
    if (!g->sweep)
        grant(g, now_ns);
    forget_deadlines(g);
    settle(g, now_ns);
    int64_t deadline_ns = next_deadline(g);
    earlier(&deadline_ns, again_ns);
    return deadline_ns;
}
