/* groups: see groups.h, and src/README.md, "Groups", for who writes which word and what a death leaves.
 *
 * Points, with what a death there leaves:
 *   group.fence        nothing has changed: the member is evicted again
 *   group.fence.after  the seat's fence is another than the word: the next worker finishes the eviction
 *   group.save         what was committed is in the mailbox still
 *   group.take         the same, and in the page; the owner is asked, or evicted, again
 *   group.take.after   nobody owns it; the next worker plans
 *   group.grant        the same
 *   group.list         its owner does not know, and is not on the partition's list: it asks to be, at adoption
 *   group.grant.after  its owner does not know: every version moves at adoption
 *   group.seat         the seat is not taken: JOIN is said again
 *   group.gone         the seat is taken by a member with another fence, or without a client: freed at adoption
 *   group.page         the new page is an orphan, or both are there: the higher number counts
 */
#include "leatd/groups.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "leatd/fold.h"
#include "leatd/group_log.h"
#include "leatd/readers.h"
#include "leatd/topics.h"
#include "leatd/warden.h"
#include "shm/member.h"

#define NS_PER_MS 1000000ll
#define ADOPTION_NS (1000 * NS_PER_MS) /* members that a new worker waits for */
#define FIRST_SEATS 8u
#define FIRST_PLACES 16u
#define POLL_LOOKS 4 /* looks at a member's polls in one max_poll_interval */
#define TEXT_BYTES 1500

/* --- the table --- */

struct lt_kept_group *lt_groups_find(struct lt_worker *w, const char *name)
{
    struct lt_kept_group *g = w->groups;
    while (g && strcmp(g->name, name) != 0)
        g = g->next;
    return g;
}

struct lt_kept_group *lt_groups_of_bell(struct lt_worker *w, uint32_t bell, uint32_t *m)
{
    if (bell >= LT_BELLS || !w->group_of_bell[bell])
        return NULL;
    *m = w->seat_of_bell[bell];
    return w->group_of_bell[bell];
}

static void plan_look(struct lt_worker *w, int64_t at_ns)
{
    if (at_ns == 0 || (w->groups_at_ns != 0 && w->groups_at_ns <= at_ns))
        return;
    w->groups_at_ns = at_ns;
    lt_bell_rescue(&w->bells->leatd); /* the warden's sleep is longer than that */
}

/* --- what the machine wants done --- */

static struct lt_reader *reader_of(struct lt_kept_group *g, uint32_t p, uint32_t m)
{
    const struct lt_agent *agent = &g->agents[m];
    const struct lt_group_part *mine = &g->machine.parts[p];
    struct lt_worker *w = g->w;
    struct lt_topic *topic = lt_topics_by_id(w, mine->topic_id);
    if (!topic || mine->partition >= topic->partition_count || agent->client == 0 ||
        !w->clients[agent->client])
        return NULL;
    const struct lt_part *part = &topic->parts[mine->partition];
    struct lt_reader *any = NULL;
    for (uint32_t i = 0; i < part->reader_count; i++) {
        if (part->readers[i].client != agent->client || part->readers[i].bell != agent->bell)
            continue;
        any = &w->clients[agent->client]->mailbox->readers[part->readers[i].entry];
        /* One that was not closed in time can stand in front of this grant's. Relaxed: whoever reads its commit looks again. */
        if (lt_load_relaxed64(&any->grant) == lt_place_of(g, p)->grant)
            return any;
    }
    return any;
}

/* Producers ring who owns it, and nobody else of the group. */
static void list_reader(struct lt_kept_group *g, uint32_t p, uint32_t m, bool on)
{
    const struct lt_group_part *mine = &g->machine.parts[p];
    struct lt_topic *topic = lt_topics_by_id(g->w, mine->topic_id);
    if (topic && mine->partition < topic->partition_count && g->agents[m].client != 0)
        lt_readers_list(&topic->parts[mine->partition], g->agents[m].client, g->agents[m].bell, on);
}

bool lt_groups_is_listed(struct lt_kept_group *g, uint32_t p, uint32_t m)
{
    const struct lt_group_part *mine = &g->machine.parts[p];
    struct lt_topic *topic = lt_topics_by_id(g->w, mine->topic_id);
    return topic && mine->partition < topic->partition_count &&
           lt_readers_is_listed(&topic->parts[mine->partition], g->agents[m].client, g->agents[m].bell);
}

bool lt_groups_owns(struct lt_worker *w, uint32_t bell, uint32_t topic_id, uint32_t partition)
{
    uint32_t m, p;
    struct lt_kept_group *g = lt_groups_of_bell(w, bell, &m);
    return g && (p = lt_groups_place(g, topic_id, partition)) != LT_NOBODY && g->machine.parts[p].owner == m;
}

uint64_t lt_groups_committed(struct lt_kept_group *g, uint32_t p)
{
    uint32_t owner = g->machine.parts[p].owner;
    const struct lt_group_place *place = lt_place_of(g, p);
    const struct lt_reader *reader = owner != LT_NOBODY ? reader_of(g, p, owner) : NULL;
    uint64_t committed = reader ? lt_member_committed(reader, place->grant) : LT_COMMIT_NONE;
    return committed != LT_COMMIT_NONE ? committed : place->committed;
}

static void fence(void *user, uint32_t m)
{
    struct lt_kept_group *g = user;
    struct lt_worker *w = g->w;
    uint32_t bell = g->agents[m].bell;
    struct lt_member_word *word = &w->coordinator->members[bell];
    lt_point("group.fence");
    lt_member_fence(word); /* [group.fence]; what it commits later does not count */
    lt_point("group.fence.after");
    lt_membarrier();
    lt_store_release32(&word->version, word->version + 1);
    lt_bell_ring(&w->bells->bells[bell]);
}

static void save(void *user, uint32_t p, uint32_t m)
{
    struct lt_kept_group *g = user;
    struct lt_group_place *place = lt_place_of(g, p);
    const struct lt_reader *reader = reader_of(g, p, m);
    uint64_t committed = reader ? lt_member_committed(reader, place->grant) : LT_COMMIT_NONE;
    lt_point("group.save");
    if (committed != LT_COMMIT_NONE)
        lt_store_relaxed64(&place->committed, committed);
}

static bool is_fenced(struct lt_kept_group *g, uint32_t m)
{
    return g->w->coordinator->members[g->agents[m].bell].fence != lt_seat(g, m)->fence;
}

static void take(void *user, uint32_t p)
{
    struct lt_kept_group *g = user;
    lt_point("group.take");
    /* [group.owner] release: `committed` is in the page. Read by the next worker. */
    lt_store_release32(&lt_place_of(g, p)->owner, 0);
    /* Who was evicted may live, and have views: its reader stays on the list, by which the next worker finds its pin. */
    if (!is_fenced(g, g->machine.parts[p].owner))
        list_reader(g, p, g->machine.parts[p].owner, false);
    lt_point("group.take.after");
}

/* The machine's times are those of events; what one event takes counts too. */
static int64_t since_event(const struct lt_kept_group *g)
{
    return lt_clock_mono_ns() - g->now_ns;
}

static void grant(void *user, uint32_t p, uint32_t m, int64_t unowned_ns)
{
    struct lt_kept_group *g = user;
    struct lt_group_place *place = lt_place_of(g, p);
    if (unowned_ns >= 0) {
        place->unowned_us = (uint64_t)(unowned_ns + since_event(g)) / 1000;
        g->head->unowned_us += place->unowned_us;
    }
    place->grant++;
    lt_point("group.grant");
    lt_store_release32(&place->owner, g->agents[m].serial); /* [group.owner] */
    lt_point("group.list");
    list_reader(g, p, m, true); /* in front of `version`: whoever takes it over may sleep on it at once */
    lt_point("group.grant.after");
}

static bool is_eviction(enum lt_group_why why)
{
    return why == LT_WHY_DIED || why == LT_WHY_HUNG || why == LT_WHY_SLOW || why == LT_WHY_AWAY_TOO_LONG;
}

static void knock_part(struct lt_kept_group *g, uint32_t p)
{
    struct lt_topic *topic = lt_topics_by_id(g->w, g->machine.parts[p].topic_id);
    if (topic && g->machine.parts[p].partition < topic->partition_count)
        lt_warden_knock(g->w, &topic->parts[g->machine.parts[p].partition]);
}

static void free_agent(struct lt_agent *agent)
{
    free(agent->names);
    free(agent->topics);
    memset(agent, 0, sizeof *agent);
}

static void gone(void *user, uint32_t m, enum lt_group_why why)
{
    struct lt_kept_group *g = user;
    struct lt_agent *agent = &g->agents[m];
    if (is_eviction(why)) {
        g->head->evictions++;
        lt_worker_say(g->w, LT_LOG_INFO, "group %s: member %s is evicted: %s", g->name, agent->id,
                      lt_group_why(why));
    }
    if (agent->bell < LT_BELLS && g->w->group_of_bell[agent->bell] == g &&
        g->w->seat_of_bell[agent->bell] == m) {
        g->w->group_of_bell[agent->bell] = NULL;
        lt_groups_no_news(g, m);
    }
    for (uint32_t p = 0; agent->gates && p < g->machine.part_room; p++)
        knock_part(g, p); /* producers may have waited for it */
    lt_point("group.gone");
    lt_store_release32(&lt_seat(g, m)->serial, 0); /* [group.seat] */
    free_agent(agent);
}

static void generation(void *user, uint64_t number)
{
    struct lt_kept_group *g = user;
    g->head->generation = number;
}

/* Those who wait for it come first: what can be done behind that is (lt_groups_settle). */
static void tell(void *user, uint32_t m)
{
    struct lt_kept_group *g = user;
    g->agents[m].to_tell = g->has_news = true;
}

static void *room(void *user, int which, size_t bytes)
{
    struct lt_kept_group *g = user;
    if (g->room_bytes[which] < bytes) {
        free(g->room[which]);
        g->room[which] = malloc(bytes * 2);
        g->room_bytes[which] = g->room[which] ? bytes * 2 : 0;
    }
    return g->room[which];
}

/* "a -> orders-0 orders-1; b -> nothing", cut to what a line takes. */
static void say_owners(const struct lt_kept_group *g, char *text, size_t size)
{
    size_t at = 0;
    text[0] = 0;
    for (uint32_t m = 0; m < g->machine.member_room && at < size; m++) {
        if (!g->machine.members[m].used)
            continue;
        at += (size_t)snprintf(text + at, size - at, "%s%s ->", at ? "; " : "", g->agents[m].id);
        if (g->machine.members[m].owned == 0 && at < size)
            at += (size_t)snprintf(text + at, size - at, " nothing");
        for (uint32_t p = 0; p < g->machine.part_room && at < size; p++) {
            const struct lt_group_part *part = &g->machine.parts[p];
            const struct lt_topic *topic;
            if (part->topic_id != 0 && part->owner == m && (topic = lt_topics_by_id(g->w, part->topic_id)))
                at += (size_t)snprintf(text + at, size - at, " %s-%u", topic->name, part->partition);
        }
    }
}

static void settled(void *user, enum lt_group_why why, int64_t took_ns)
{
    struct lt_kept_group *g = user;
    g->settled_why = why;
    g->settled_ns = took_ns + since_event(g);
    g->head->last_rebalance_us = (uint64_t)g->settled_ns / 1000;
    g->head->rebalances++;
}

static void say_settled(struct lt_kept_group *g)
{
    char text[TEXT_BYTES];
    if (g->settled_why == LT_WHY_NONE)
        return;
    say_owners(g, text, sizeof text);
    lt_worker_say(g->w, LT_LOG_INFO, "group %s: generation %llu, %s, %lld us: %s", g->name,
                  (unsigned long long)g->machine.generation, lt_group_why(g->settled_why),
                  (long long)g->settled_ns / 1000, text[0] ? text : "no members");
    g->settled_why = LT_WHY_NONE;
}

static const struct lt_group_hooks hooks = { .fence = fence,
                                             .save = save,
                                             .take = take,
                                             .grant = grant,
                                             .gone = gone,
                                             .generation = generation,
                                             .tell = tell,
                                             .room = room,
                                             .settled = settled };

static void unlink_place(struct lt_kept_group *g, uint32_t p);

/* --- time --- */

static void earlier(int64_t *deadline_ns, int64_t at_ns)
{
    if (at_ns != 0 && (*deadline_ns == 0 || at_ns < *deadline_ns))
        *deadline_ns = at_ns;
}

/* When the polls of this member are to be looked at. */
static int64_t next_look(const struct lt_agent *agent, int64_t now_ns)
{
    int64_t late_ns = agent->polled_ns + agent->max_poll_interval_ns;
    int64_t pause_ns = agent->max_poll_interval_ns / POLL_LOOKS;
    int64_t look_ns = now_ns + (pause_ns > NS_PER_MS ? pause_ns : NS_PER_MS); /* whatever a member asks for */
    return look_ns < late_ns || late_ns <= now_ns ? look_ns : late_ns;
}

static bool is_watched(const struct lt_kept_group *g, uint32_t m)
{
    return g->machine.members[m].used && !g->machine.members[m].away;
}

/* Of an empty group. A clock that was put back makes it no longer than it was at first. */
static int64_t retention_left_ms(const struct lt_kept_group *g)
{
    int64_t whole_ms = (int64_t)g->w->config.group_retention_ms;
    int64_t left_ms = (int64_t)g->head->empty_since_ms + whole_ms - lt_clock_real_ms();
    return left_ms < 0 ? 0 : left_ms < whole_ms ? left_ms : whole_ms;
}

static void plan_deadline(struct lt_kept_group *g, int64_t machine_ns)
{
    g->deadline_ns = machine_ns;
    for (uint32_t m = 0; m < g->machine.member_room; m++)
        if (is_watched(g, m))
            earlier(&g->deadline_ns, next_look(&g->agents[m], g->now_ns));
    if (g->machine.member_count == 0 && g->w->config.group_retention_ms != 0)
        earlier(&g->deadline_ns, g->now_ns + retention_left_ms(g) * NS_PER_MS);
    plan_look(g->w, g->deadline_ns);
}

void lt_groups_settle(struct lt_kept_group *g)
{
    g->changes++; /* somebody asked for this step, so something is new */
    int64_t machine_ns = lt_group_step(&g->machine, g->now_ns);
    lt_groups_tell(g);
    say_settled(g);
    bool is_empty = g->machine.member_count == 0;
    if (!is_empty)
        g->head->empty_since_ms = 0;
    else if (g->head->empty_since_ms == 0)
        g->head->empty_since_ms = (uint64_t)lt_clock_real_ms();
    plan_deadline(g, machine_ns);
    lt_group_log_changed(g);
}

/* A count that stands still for the interval is a hang. */
static void evict_hung(struct lt_kept_group *g)
{
    for (uint32_t m = 0; m < g->machine.member_room; m++) {
        struct lt_agent *agent = &g->agents[m];
        if (!is_watched(g, m) || !g->w->clients[agent->client])
            continue;
        /* [group.polls] relaxed: a count; nothing is read because of it. */
        uint64_t polls = lt_load_relaxed64(
            &g->w->clients[agent->client]->mailbox->members[agent->bell].polls);
        if (polls != agent->polls) {
            agent->polls = polls;
            agent->polled_ns = g->now_ns;
        } else if (g->now_ns - agent->polled_ns >= agent->max_poll_interval_ns) {
            lt_group_evict(&g->machine, m, LT_WHY_HUNG, g->now_ns);
        }
    }
}

static bool has_expired(const struct lt_kept_group *g)
{
    return g->machine.member_count == 0 && g->head->empty_since_ms != 0 &&
           g->w->config.group_retention_ms != 0 && retention_left_ms(g) == 0;
}

void lt_groups_tick(struct lt_worker *w, int64_t now_ns)
{
    w->groups_at_ns = 0;
    for (struct lt_kept_group *g = w->groups, *next; g; g = next) {
        next = g->next;
        if (g->deadline_ns != 0 && g->deadline_ns <= now_ns) {
            if (has_expired(g)) {
                lt_worker_log(w, LT_LOG_INFO, "group %s: empty for %llu ms: forgotten", g->name,
                              (unsigned long long)w->config.group_retention_ms);
                lt_groups_drop(w, g);
                continue;
            }
            g->now_ns = now_ns;
            evict_hung(g);
            lt_groups_settle(g);
        }
        earlier(&w->groups_at_ns, g->deadline_ns);
    }
}

/* --- deaths --- */

/* Settling is the caller's. */
static void member_gone(struct lt_kept_group *g, uint32_t m, enum lt_group_why why)
{
    struct lt_agent *agent = &g->agents[m];
    g->now_ns = lt_clock_mono_ns();
    if (agent->instance_id[0] != 0) {
        lt_group_away(&g->machine, m, g->now_ns + agent->session_timeout_ns);
        /* Behind what is saved: a worker that dies before this leaves an eviction to finish, and no commit is lost. */
        lt_seat(g, m)->away_ms = (uint64_t)lt_clock_real_ms();
        g->w->group_of_bell[agent->bell] = NULL;
        agent->client = agent->bell = 0;
    } else {
        lt_group_evict(&g->machine, m, why, g->now_ns);
    }
}

void lt_groups_bell_gone(struct lt_worker *w, uint32_t bell)
{
    uint32_t m;
    struct lt_kept_group *g = lt_groups_of_bell(w, bell, &m);
    if (!g)
        return;
    member_gone(g, m, LT_WHY_LEAVE);
    lt_groups_settle(g);
}

/* One plan a group, however many of its members were this client's: none of them is an heir. */
void lt_groups_client_gone(struct lt_worker *w, const struct lt_client *client)
{
    for (struct lt_kept_group *g = w->groups; g; g = g->next) {
        bool was_here = false;
        for (uint32_t m = 0; m < g->machine.member_room; m++)
            if (is_watched(g, m) && g->agents[m].client == client->id) {
                member_gone(g, m, LT_WHY_DIED);
                was_here = true;
            }
        if (was_here)
            lt_groups_settle(g);
    }
}

void lt_groups_reader_gone(struct lt_worker *w, uint32_t bell, uint32_t topic_id, uint32_t partition)
{
    uint32_t m, p;
    struct lt_kept_group *g = lt_groups_of_bell(w, bell, &m);
    if (g && (p = lt_groups_place(g, topic_id, partition)) != LT_NOBODY && g->machine.parts[p].owner == m)
        save(g, p, m);
}

/* --- pages --- */

uint64_t lt_groups_memory_of(struct lt_worker *w, uint32_t uid)
{
    uint64_t memory = 0;
    for (const struct lt_kept_group *g = w->groups; g; g = g->next)
        memory += g->head->uid == uid ? g->page_bytes : 0;
    return memory;
}

/* Whether the user, or the bus, may have so much more. */
static int check_memory(struct lt_worker *w, uint32_t uid, uint64_t bytes)
{
    const struct lt_config *config = &w->config;
    if (w->memory_bytes + bytes > config->max_memory)
        return lt_fail(LEAT_ELIMIT, "a group takes %llu bytes, %llu of %llu are in use (max-memory)",
                       (unsigned long long)bytes, (unsigned long long)w->memory_bytes,
                       (unsigned long long)config->max_memory);
    if (uid == 0 || uid == geteuid())
        return 0;
    uint64_t mine = lt_topics_memory_of(w, uid);
    return mine + bytes > config->max_memory_per_uid
               ? lt_fail(LEAT_ELIMIT,
                         "a group takes %llu bytes, uid %u has %llu of %llu (max-memory-per-uid)",
                         (unsigned long long)bytes, uid, (unsigned long long)mine,
                         (unsigned long long)config->max_memory_per_uid)
               : 0;
}

static int make_page(struct lt_worker *w, uint32_t uid, uint32_t seats, uint32_t places, void **page,
                     uint64_t *bytes, int *fd)
{
    int r = check_memory(w, uid, lt_group_page_bytes(seats, places));
    if (r < 0)
        return r;

    *fd = lt_region_create("leat-group", lt_group_page_bytes(seats, places), bytes);
    if (*fd < 0)
        return lt_fail_errno(-*fd, "a group's page of %llu bytes",
                             (unsigned long long)lt_group_page_bytes(seats, places));
    r = lt_region_map(*fd, *bytes, 1, 0, 0, 0, page);
    if (r < 0) {
        close(*fd);
        return lt_fail_errno(-r, "map a group's page");
    }
    return 0;
}

/* With the keeper, under a new number; its words are in it by now. */
static int store_page(struct lt_worker *w, void *page, uint64_t bytes, int fd, uint64_t *number)
{
    struct lt_keep_note note = { .bytes = bytes };
    *number = ++w->coordinator->next_group_page;
    lt_region_init(page, LT_REGION_GROUP, bytes, *number, 0);
    int r = lt_keep_store(&w->keep, LT_KEEP_GROUP, *number, &note, fd);
    lt_point("group.page");
    if (r < 0) {
        close(fd);
        lt_region_unmap(page, bytes, 0);
        return r;
    }
    w->memory_bytes += bytes;
    return 0;
}

static void drop_page(struct lt_worker *w, void *page, uint64_t bytes, uint64_t number)
{
    lt_region_unmap(page, bytes, 0);
    lt_keep_drop(&w->keep, LT_KEEP_GROUP, number);
    w->memory_bytes -= bytes;
}

/* The arrays beside the page, in its sizes. */
static int fit_arrays(struct lt_kept_group *g, uint32_t seats, uint32_t places)
{
    struct lt_group *machine = &g->machine;
    struct lt_group_member *members = realloc(machine->members, seats * sizeof *members);
    if (members)
        machine->members = members;
    struct lt_group_part *parts = realloc(machine->parts, places * sizeof *parts);
    if (parts)
        machine->parts = parts;
    struct lt_agent *agents = realloc(g->agents, seats * sizeof *agents);
    if (agents)
        g->agents = agents;
    if (!members || !parts || !agents || lt_group_log_fit(g, places) < 0)
        return lt_fail(LEAT_ENOMEM, "no memory for a group of %u members, %u partitions", seats, places);
    memset(members + machine->member_room, 0, (seats - machine->member_room) * sizeof *members);
    memset(agents + machine->member_room, 0, (seats - machine->member_room) * sizeof *agents);
    for (uint32_t p = machine->part_room; p < places; p++)
        parts[p] = (struct lt_group_part){ .owner = LT_NOBODY, .target = LT_NOBODY };
    for (uint32_t m = 0; m < machine->member_room; m++) { /* they point into the agents */
        if (!members[m].used)
            continue;
        members[m].id = agents[m].id;
        members[m].instance_id = agents[m].instance_id[0] ? agents[m].instance_id : NULL;
    }
    machine->member_room = seats;
    machine->part_room = places;
    return 0;
}

static int move_page(struct lt_kept_group *g, uint32_t seats, uint32_t places)
{
    struct lt_worker *w = g->w;
    void *page;
    uint64_t bytes, number;
    int fd, r = make_page(w, g->head->uid, seats, places, &page, &bytes, &fd);
    if (r < 0)
        return r;
    *lt_group_head(page) = *g->head;
    lt_group_head(page)->member_room = seats;
    lt_group_head(page)->part_room = places;
    memcpy(lt_group_seat(page, 0), lt_seat(g, 0), g->head->member_room * sizeof(struct lt_group_seat));
    memcpy(lt_group_place(page, seats, 0), lt_place_of(g, 0),
           g->head->part_room * sizeof(struct lt_group_place));
    r = fit_arrays(g, seats, places);
    if (r < 0) {
        close(fd);
        lt_region_unmap(page, bytes, 0);
        return r;
    }
    r = store_page(w, page, bytes, fd, &number);
    if (r < 0)
        return r;
    drop_page(w, g->page, g->page_bytes, g->number);
    g->page = page;
    g->page_bytes = bytes;
    g->number = number;
    g->head = lt_group_head(page);
    return 0;
}

static uint32_t count_free_seats(const struct lt_kept_group *g)
{
    uint32_t count = 0;
    for (uint32_t m = 0; m < g->head->member_room; m++)
        count += !g->machine.members[m].used;
    return count;
}

static uint32_t count_free_places(const struct lt_kept_group *g)
{
    uint32_t count = 0;
    for (uint32_t p = 0; p < g->head->part_room; p++)
        count += g->machine.parts[p].topic_id == 0;
    return count;
}

int lt_groups_room(struct lt_kept_group *g, uint32_t seats, uint32_t places)
{
    uint32_t seat_room = g->head->member_room, place_room = g->head->part_room;
    uint32_t free_seats = count_free_seats(g), free_places = count_free_places(g);
    if (free_seats >= seats && free_places >= places)
        return 0;
    while (free_seats + seat_room - g->head->member_room < seats)
        seat_room *= 2;
    while (free_places + place_room - g->head->part_room < places)
        place_room *= 2;
    return move_page(g, seat_room, place_room);
}

/* So that a reclaim finds who still wants the partition. */
static int link_place(struct lt_kept_group *g, uint32_t p)
{
    const struct lt_group_part *mine = &g->machine.parts[p];
    struct lt_topic *topic = lt_topics_by_id(g->w, mine->topic_id);
    if (!topic || mine->partition >= topic->partition_count)
        return 0;
    struct lt_part *part = &topic->parts[mine->partition];
    struct lt_group_ref *refs = realloc(part->groups, (part->group_count + 1) * sizeof *refs);
    if (!refs)
        return lt_fail(LEAT_ENOMEM, "group %s: no memory for %s-%u", g->name, topic->name, mine->partition);
    part->groups = refs;
    refs[part->group_count++] = (struct lt_group_ref){ g, p };
    return 0;
}

static void unlink_place(struct lt_kept_group *g, uint32_t p)
{
    const struct lt_group_part *mine = &g->machine.parts[p];
    struct lt_topic *topic = mine->topic_id != 0 ? lt_topics_by_id(g->w, mine->topic_id) : NULL;
    if (!topic || mine->partition >= topic->partition_count)
        return;
    struct lt_part *part = &topic->parts[mine->partition];
    for (uint32_t i = 0; i < part->group_count; i++)
        if (part->groups[i].group == g && part->groups[i].place == p) {
            part->groups[i] = part->groups[--part->group_count];
            return;
        }
}

/* By way of the partition, which knows few groups, rather than of the group, which may know all partitions. */
uint32_t lt_groups_place(struct lt_kept_group *g, uint32_t topic_id, uint32_t partition)
{
    struct lt_topic *topic = topic_id != 0 ? lt_topics_by_id(g->w, topic_id) : NULL;
    if (!topic || partition >= topic->partition_count)
        return LT_NOBODY;
    const struct lt_part *part = &topic->parts[partition];
    for (uint32_t i = 0; i < part->group_count; i++)
        if (part->groups[i].group == g)
            return part->groups[i].place;
    return LT_NOBODY;
}

static bool has_gates(const struct lt_kept_group *g)
{
    for (uint32_t m = 0; m < g->machine.member_room; m++)
        if (g->machine.members[m].used && g->agents[m].gates)
            return true;
    return false;
}

/* Somebody has it, or will: not when they have all gone on to other topics. */
static bool is_wanted(const struct lt_kept_group *g, uint32_t p)
{
    const struct lt_group *machine = &g->machine;
    if (machine->parts[p].owner != LT_NOBODY || machine->adopting)
        return true;
    for (uint32_t t = 0; t < machine->topic_count; t++)
        if (machine->topics[t].id == machine->parts[p].topic_id)
            return true;
    return false;
}

uint64_t lt_groups_keep(const struct lt_part *part)
{
    uint64_t lowest = LT_PIN_NONE;
    for (uint32_t i = 0; i < part->group_count; i++) {
        struct lt_kept_group *g = part->groups[i].group;
        uint32_t p = part->groups[i].place;
        if (!has_gates(g) || !is_wanted(g, p))
            continue;
        uint64_t committed = lt_groups_committed(g, p);
        if (committed == LT_COMMIT_NONE)
            return 0; /* whoever gets it says first where it begins */
        if (committed < lowest)
            lowest = committed;
    }
    return lowest;
}

void lt_groups_drop_place(struct lt_kept_group *g, uint32_t p)
{
    lt_group_log_unplace(g, p);
    unlink_place(g, p);
    if (p < g->free_from)
        g->free_from = p;
    lt_group_drop_part(&g->machine, p);
    lt_store_release32(&lt_place_of(g, p)->topic_id, 0); /* [group.place] */
}

uint32_t lt_groups_add_place(struct lt_kept_group *g, uint32_t topic_id, uint32_t partition, bool fresh)
{
    uint32_t p = g->free_from;
    while (g->machine.parts[p].topic_id != 0)
        p++; /* there is room: lt_groups_room */
    struct lt_group_place *place = lt_place_of(g, p);
    g->machine.parts[p] = (struct lt_group_part){
        .topic_id = topic_id, .partition = partition, .owner = LT_NOBODY, .target = LT_NOBODY
    };
    if (link_place(g, p) < 0) {
        g->machine.parts[p].topic_id = 0;
        return LT_NOBODY;
    }
    memset(place, 0, sizeof *place);
    place->partition = partition;
    place->committed = LT_COMMIT_NONE;
    place->fresh = fresh;
    lt_store_release32(&place->topic_id, topic_id); /* [group.place] */
    lt_group_log_place(g, p);
    g->free_from = p + 1;
    return p;
}

/* --- making and dropping --- */

static struct lt_kept_group *new_group(struct lt_worker *w, const char *name, uint32_t seats, uint32_t places)
{
    struct lt_kept_group *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->w = w;
    snprintf(g->name, sizeof g->name, "%s", name);
    lt_group_init(&g->machine, &hooks, g, LEAT_RANGE);
    if (fit_arrays(g, seats, places) < 0) {
        lt_group_log_free(g);
        free(g->machine.members);
        free(g->machine.parts);
        free(g->agents);
        free(g);
        return NULL;
    }
    g->now_ns = lt_clock_mono_ns();
    return g;
}

static void free_group(struct lt_kept_group *g)
{
    for (uint32_t p = 0; p < g->machine.part_room; p++)
        unlink_place(g, p);
    for (uint32_t m = 0; m < g->machine.member_room; m++) {
        if (g->agents[m].serial != 0 && g->w->group_of_bell[g->agents[m].bell] == g)
            g->w->group_of_bell[g->agents[m].bell] = NULL;
        free_agent(&g->agents[m]);
    }
    lt_group_log_free(g);
    free(g->machine.members);
    free(g->machine.parts);
    free(g->agents);
    free(g->topics);
    free(g->proposed);
    free(g->room[0]);
    free(g->room[1]);
    free(g);
}

static void enter(struct lt_worker *w, struct lt_kept_group *g)
{
    g->next = w->groups;
    w->groups = g;
    w->group_count++;
}

static uint32_t count_of_uid(struct lt_worker *w, uint32_t uid)
{
    uint32_t count = 0;
    for (struct lt_kept_group *g = w->groups; g; g = g->next)
        count += g->head->uid == uid;
    return count;
}

static int check_limits(struct lt_worker *w, const struct lt_peer *peer)
{
    uint32_t max = w->config.max_groups;
    if (w->group_count >= max)
        return lt_fail(LEAT_ELIMIT, "the bus has %u of %u groups (max-groups)", w->group_count, max);
    if (peer->uid != 0 && peer->uid != geteuid() && count_of_uid(w, peer->uid) >= max / 2)
        return lt_fail(LEAT_ELIMIT, "uid %u has %u groups, half of what the bus can have (max-groups)",
                       peer->uid, max / 2);
    return 0;
}

static struct lt_kept_group *make_group(struct lt_worker *w, const char *name,
                                        const struct lt_offsets_group *from, uint32_t places, int *r)
{
    int fd;
    struct lt_kept_group *g = new_group(w, name, FIRST_SEATS, places);
    if (!g) {
        *r = lt_fail(LEAT_ENOMEM, "no memory for a group");
        return NULL;
    }
    *r = make_page(w, from->uid, FIRST_SEATS, places, &g->page, &g->page_bytes, &fd);
    if (*r == 0) {
        g->head = lt_group_head(g->page);
        snprintf(g->head->name, sizeof g->head->name, "%s", name);
        g->head->uid = from->uid;
        g->head->gid = from->gid;
        g->head->assignor = from->assignor;
        g->head->next_serial = from->serial;
        g->head->generation = from->generation;
        g->head->created_ms = from->created_ms;
        g->head->empty_since_ms = from->empty_since_ms;
        g->head->member_room = FIRST_SEATS;
        g->head->part_room = places;
        g->head->first_topic = (uint32_t)w->coordinator->next_topic_id;
        g->machine.assignor = (enum leat_assignor)from->assignor;
        g->machine.generation = from->generation;
        *r = store_page(w, g->page, g->page_bytes, fd, &g->number);
        if (*r == 0)
            g->head->id = g->number;
    }
    if (*r < 0) {
        free_group(g);
        return NULL;
    }
    enter(w, g);
    plan_deadline(g, 0);
    return g;
}

struct lt_kept_group *lt_groups_make(struct lt_worker *w, const struct lt_peer *peer, const char *name,
                                     int *r)
{
    uint64_t now_ms = (uint64_t)lt_clock_real_ms();
    struct lt_offsets_group from = {
        .uid = peer->uid, .gid = peer->gid, .created_ms = now_ms, .empty_since_ms = now_ms
    };
    *r = check_limits(w, peer);
    return *r < 0 ? NULL : make_group(w, name, &from, FIRST_PLACES, r);
}

struct lt_kept_group *lt_groups_make_again(struct lt_worker *w, const char *name,
                                           const struct lt_offsets_group *head, uint32_t places, int *r)
{
    struct lt_offsets_group from = *head;
    if (from.empty_since_ms == 0) /* it had members, and they are gone with the last bus */
        from.empty_since_ms = (uint64_t)lt_clock_real_ms();
    if (from.assignor >= LEAT_ASSIGNORS)
        from.assignor = LEAT_RANGE;
    return make_group(w, name, &from, places > FIRST_PLACES ? places : FIRST_PLACES, r);
}

static void forget(struct lt_worker *w, struct lt_kept_group *g)
{
    struct lt_kept_group **at = &w->groups;
    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    w->group_count--;
}

void lt_groups_drop(struct lt_worker *w, struct lt_kept_group *g)
{
    lt_fold_forget_group(w, g);
    lt_group_log_drop(g);
    forget(w, g);
    drop_page(w, g->page, g->page_bytes, g->number);
    free_group(g);
}

void lt_groups_free(struct lt_worker *w)
{
    while (w->groups) {
        struct lt_kept_group *g = w->groups;
        forget(w, g);
        lt_region_unmap(g->page, g->page_bytes, 0);
        free_group(g);
    }
}

/* --- seats --- */

static void name_agent(struct lt_kept_group *g, uint32_t m, const char *client_id, const char *instance_id,
                       uint32_t serial)
{
    struct lt_agent *agent = &g->agents[m];
    struct lt_group_member *member = &g->machine.members[m];
    agent->serial = serial;
    snprintf(agent->client_id, sizeof agent->client_id, "%s", client_id);
    snprintf(agent->instance_id, sizeof agent->instance_id, "%s", instance_id);
    snprintf(agent->id, sizeof agent->id, "%s-%06u", client_id, serial);
    member->id = agent->id;
    member->instance_id = agent->instance_id[0] ? agent->instance_id : NULL;
}

void lt_groups_sit_down(struct lt_kept_group *g, uint32_t m, const struct lt_client *client,
                        const struct lt_group_join *join, uint32_t serial)
{
    struct lt_worker *w = g->w;
    struct lt_agent *agent = &g->agents[m];
    struct lt_group_seat *seat = lt_seat(g, m);
    agent->client = client->id;
    agent->bell = join->bell;
    agent->polls = lt_load_relaxed64(&client->mailbox->members[join->bell].polls);
    agent->polled_ns = g->now_ns;
    w->group_of_bell[join->bell] = g;
    w->seat_of_bell[join->bell] = m;
    seat->client = client->id;
    seat->bell = join->bell;
    seat->fence = w->coordinator->members[join->bell].fence;
    lt_store_release64(&seat->away_ms, 0); /* behind the three above: until then it is away */
    if (seat->serial == serial)
        return; /* a static member that is back */
    name_agent(g, m, join->client_id, join->instance_id, serial);
    memcpy(seat->client_id, agent->client_id, sizeof seat->client_id);
    memcpy(seat->instance_id, agent->instance_id, sizeof seat->instance_id);
    lt_point("group.seat");
    lt_store_release32(&seat->serial, serial); /* [group.seat] release: the rest of the seat is there */
}

/* --- adoption --- */

/* A member of the last worker's. Its subscription comes with its JOIN; what it owns it is subscribed to, until then. */
static int take_seat(struct lt_kept_group *g, uint32_t m)
{
    struct lt_worker *w = g->w;
    const struct lt_group_seat *seat = lt_seat(g, m);
    struct lt_agent *agent = &g->agents[m];
    struct lt_group_member *member = &g->machine.members[m];
    name_agent(g, m, seat->client_id, seat->instance_id, seat->serial);
    member->used = true;
    member->joined = seat->serial; /* they were given in the order of joining */
    member->rebalance_timeout_ns = 60000 * NS_PER_MS;
    agent->max_poll_interval_ns = 300000 * NS_PER_MS;
    agent->session_timeout_ns = (int64_t)seat->session_timeout_ms * NS_PER_MS;
    agent->polled_ns = g->now_ns;
    agent->gates = seat->gates != 0;
    if (seat->away_ms != 0) {
        int64_t gone_ns = (lt_clock_real_ms() - (int64_t)seat->away_ms) * NS_PER_MS;
        member->away = true;
        member->away_until_ns = g->now_ns + agent->session_timeout_ns - gone_ns;
    } else {
        agent->client = seat->client;
        agent->bell = seat->bell;
        w->group_of_bell[seat->bell] = g;
        w->seat_of_bell[seat->bell] = m;
    }
    for (uint32_t p = 0; p < g->machine.part_room; p++) {
        const struct lt_group_part *part = &g->machine.parts[p];
        if (part->topic_id == 0 || part->owner != m || lt_group_subscribes(&g->machine, m, part->topic_id))
            continue;
        uint32_t *topics = realloc(agent->topics, (agent->topic_count + 1) * sizeof *topics);
        if (!topics)
            return lt_fail(LEAT_ENOMEM, "no memory for a member's topics");
        agent->topics = topics;
        topics[agent->topic_count++] = part->topic_id;
        member->topics = topics;
        member->topic_count = agent->topic_count;
    }
    return 0;
}

/* Whether this seat's consumer is there, and was not being evicted. */
static bool is_seated(struct lt_worker *w, const struct lt_group_seat *seat)
{
    return seat->away_ms != 0 ||
           (seat->client < LT_CLIENTS_MAX && w->clients[seat->client] && seat->bell < LT_BELLS &&
            w->coordinator->bells[seat->bell].client == seat->client &&
            w->coordinator->members[seat->bell].fence == seat->fence);
}

static uint32_t member_of_serial(struct lt_kept_group *g, uint32_t serial)
{
    for (uint32_t m = 0; serial != 0 && m < g->head->member_room; m++)
        if (lt_seat(g, m)->serial == serial)
            return m;
    return LT_NOBODY;
}

static int take_places(struct lt_kept_group *g)
{
    int r = 0;
    for (uint32_t p = 0; r == 0 && p < g->head->part_room; p++) {
        const struct lt_group_place *place = lt_place_of(g, p);
        if (place->topic_id == 0)
            continue;
        g->machine.parts[p] = (struct lt_group_part){ .topic_id = place->topic_id,
                                                      .partition = place->partition,
                                                      .owner = member_of_serial(g, place->owner),
                                                      .target = LT_NOBODY };
        r = link_place(g, p);
        lt_group_log_place(g, p);
    }
    return r;
}

/* Members whose eviction the last worker began: what they committed is read, and their seats are free. */
static void finish_evictions(struct lt_kept_group *g)
{
    lt_membarrier();
    for (uint32_t m = 0; m < g->head->member_room; m++) {
        struct lt_group_seat *seat = lt_seat(g, m);
        if (seat->serial == 0 || is_seated(g->w, seat))
            continue;
        g->agents[m].client = seat->client < LT_CLIENTS_MAX ? seat->client : 0;
        g->agents[m].bell = seat->bell;
        for (uint32_t p = 0; p < g->head->part_room; p++) {
            if (g->machine.parts[p].topic_id == 0 || g->machine.parts[p].owner != m)
                continue;
            save(g, p, m);
            take(g, p);
            g->machine.parts[p].owner = LT_NOBODY;
            g->machine.parts[p].unowned_since_ns = g->now_ns;
        }
        g->agents[m].client = g->agents[m].bell = 0;
        lt_store_release32(&seat->serial, 0);
    }
}

/* Partitions that nobody owns any more, because their member's seat is free, say so too. */
static void clear_orphans(struct lt_kept_group *g)
{
    for (uint32_t p = 0; p < g->head->part_room; p++)
        if (g->machine.parts[p].topic_id != 0 && g->machine.parts[p].owner == LT_NOBODY)
            lt_store_release32(&lt_place_of(g, p)->owner, 0);
}

static int take_group(struct lt_worker *w, void *page, uint64_t bytes, uint64_t number)
{
    struct lt_group_head *head = lt_group_head(page);
    struct lt_kept_group *g = new_group(w, head->name, head->member_room, head->part_room);
    if (!g)
        return lt_fail(LEAT_ENOMEM, "no memory for a group");
    g->page = page;
    g->page_bytes = bytes;
    g->number = number;
    g->head = head;
    g->machine.assignor = (enum leat_assignor)head->assignor;
    g->machine.generation = head->generation;
    w->memory_bytes += bytes;
    enter(w, g);
    int r = take_places(g);
    if (r < 0)
        return r;
    finish_evictions(g);
    clear_orphans(g);
    for (uint32_t m = 0; m < head->member_room; m++)
        if (lt_seat(g, m)->serial != 0 && take_seat(g, m) < 0)
            return LEAT_ENOMEM;
    lt_group_adopt(&g->machine, g->now_ns + ADOPTION_NS, g->now_ns);
    bool changed;
    r = lt_groups_refresh(g, &changed);
    lt_groups_settle(g);
    return r;
}

/* The page of the highest number among those with this name. */
static bool is_newest(struct lt_worker *w, const char *name, uint64_t number)
{
    const struct lt_kept_group *g = lt_groups_find(w, name);
    return !g || g->number < number;
}

int lt_groups_adopt(struct lt_worker *w)
{
    const struct lt_keep_table *table = &w->keep.table;
    uint64_t *numbers = malloc((table->count + 1) * sizeof *numbers);
    uint32_t count = 0;
    int r = numbers ? 0 : lt_fail(LEAT_ENOMEM, "no memory for %u groups", table->count);
    for (uint32_t i = 0; r == 0 && i < table->count; i++)
        if (table->pairs[i].kind == LT_KEEP_GROUP)
            numbers[count++] = table->pairs[i].id;
    for (uint32_t i = 0; r == 0 && i < count; i++) {
        int fd = lt_keep_fd(&w->keep, LT_KEEP_GROUP, numbers[i]);
        int64_t bytes = lt_region_checked_size(fd);
        void *page;
        if (bytes < (int64_t)LT_GROUP_MEMBERS_AT || lt_region_map(fd, (uint64_t)bytes, 1, 0, 0, 0, &page) < 0)
            r = lt_fail(LEAT_EPROTO, "group page %llu cannot be mapped", (unsigned long long)numbers[i]);
        else if (!is_newest(w, lt_group_head(page)->name, numbers[i])) {
            lt_region_unmap(page, (uint64_t)bytes, 0);
            lt_keep_drop(&w->keep, LT_KEEP_GROUP, numbers[i]);
        } else {
            struct lt_kept_group *older = lt_groups_find(w, lt_group_head(page)->name);
            if (older)
                lt_groups_drop(w, older);
            r = take_group(w, page, (uint64_t)bytes, numbers[i]);
        }
    }
    free(numbers);
    return r;
}
