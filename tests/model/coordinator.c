/* coordinator: leatd's worker as far as it runs a group. The machine is src/group as it ships, fences and commits are shm/member.h; what its
 * hooks do, and what is stored in which order, follows src/leatd/groups.c and group_requests.c, and says where. */
#include <string.h>

#include "actors.h"
#include "base/futex.h"
#include "shm/member.h"

#define START_NS 1 /* 0 is no time */
#define TIMEOUT_NS 1000
#define ADOPTION_NS 100000
#define SESSION_NS 1000000

static const uint32_t topic_ids[] = { 1 };
static const char *const ids[MEMBERS_MAX] = { "a", "b", "c" };

/* --- what the machine wants done: groups.c, "what the machine wants done" --- */

static struct lt_reader *reader_of(const struct coordinator *c, uint32_t p, uint32_t m)
{
    uint32_t bell = c->bell[m];
    return bell != 0 && (c->opened[bell - 1] & 1u << p) ? &shared->entries[bell - 1][p] : NULL;
}

static void fence(void *user, uint32_t m)
{
    const struct coordinator *c = user;
    uint32_t actor = c->bell[m] - 1u;
    struct lt_member_word *word = &shared->words[actor];
    lt_point("group.fence");
    lt_member_fence(word); /* [group.fence] */
    lt_point("group.fence.after");
    lt_membarrier();
    group_let_go(actor, 0xff);
    lt_store_release32(&word->version, lt_load_relaxed32(&word->version) + 1);
}

static void save(void *user, uint32_t p, uint32_t m)
{
    const struct coordinator *c = user;
    struct lt_reader *reader = reader_of(c, p, m);
    uint64_t committed = reader ? lt_member_committed(reader, c->grants[p]) : LT_COMMIT_NONE;
    lt_point("group.save");
    if (committed == LT_COMMIT_NONE)
        return;
    group_saved(p, lt_load_relaxed64(&shared->places[p].committed), committed);
    lt_store_relaxed64(&shared->places[p].committed, committed);
}

static void take(void *user, uint32_t p)
{
    (void)user;
    lt_point("group.take");
    lt_store_release32(&shared->places[p].owner, 0); /* [group.owner] */
    group_taken(p);
    lt_point("group.take.after");
}

static void grant(void *user, uint32_t p, uint32_t m, int64_t unowned_ns)
{
    struct coordinator *c = user;
    (void)unowned_ns;
    c->grants[p]++;
    lt_point("group.grant");
    group_granted(p, m);
    lt_store_release32(&shared->places[p].owner, c->serial[m]); /* [group.owner] */
    lt_point("group.grant.after");
}

static void gone(void *user, uint32_t m, enum lt_group_why why)
{
    struct coordinator *c = user;
    (void)why;
    group_gone(m);
    lt_point("group.gone");
    lt_store_release32(&shared->seats[m].serial, 0); /* [group.seat] */
    c->serial[m] = c->bell[m] = 0;
}

static void generation(void *user, uint64_t number)
{
    struct coordinator *c = user;
    group_generation(number);
    c->generation = number;
}

static void tell(void *user, uint32_t m)
{
    const struct coordinator *c = user;
    struct lt_member_word *word = &shared->words[c->bell[m] - 1];
    lt_store_release32(&word->version, lt_load_relaxed32(&word->version) + 1); /* [group.version] */
}

/* Not part of a state: what is in it is used before the next step. */
static void *room(void *user, int which, size_t bytes)
{
    static char rooms[2][1 << 16] __attribute__((aligned(16)));
    (void)user;
    if (bytes > sizeof rooms[which])
        model_fail("room: a plan of %zu bytes", bytes);
    return rooms[which];
}

static void settled(void *user, enum lt_group_why why, int64_t took_ns)
{
    (void)user, (void)why, (void)took_ns;
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

/* lt_groups_settle */
static void settle(struct coordinator *c)
{
    c->deadline_ns = lt_group_step(&c->machine, c->now_ns);
}

static void set_up(struct coordinator *c)
{
    static struct lt_group_topic topic;
    topic = (struct lt_group_topic){ .id = topic_ids[0], .partitions = config->parts, .name = "t" };
    c->now_ns = START_NS;
    lt_group_init(&c->machine, &hooks, c, config->assignor);
    c->machine.members = c->members;
    c->machine.member_room = config->members;
    c->machine.parts = c->parts;
    c->machine.part_room = config->parts;
    c->machine.topics = &topic;
    c->machine.topic_count = 1;
    c->machine.generation = c->generation;
    for (uint32_t p = 0; p < config->parts; p++)
        c->parts[p] = (struct lt_group_part){
            .topic_id = topic_ids[0], .partition = p, .owner = LT_NOBODY, .target = LT_NOBODY
        };
}

/* --- requests: group_requests.c --- */

/* lt_groups_of_bell */
static uint32_t seat_of(const struct coordinator *c, uint32_t actor)
{
    for (uint32_t m = 0; m < config->members; m++)
        if (c->serial[m] != 0 && c->bell[m] == actor + 1)
            return m;
    return LT_NOBODY;
}

static bool is_instance(uint32_t actor)
{
    return config->member[actor].is_static;
}

static void name(struct coordinator *c, uint32_t m, uint32_t actor, uint32_t serial)
{
    c->serial[m] = serial;
    c->members[m].id = ids[actor];
    c->members[m].instance_id = is_instance(actor) ? ids[actor] : NULL;
}

static bool subscribe(struct coordinator *c, uint32_t m)
{
    bool changed = c->members[m].topic_count == 0;
    c->members[m].topics = topic_ids;
    c->members[m].topic_count = 1;
    return changed;
}

static void take_settings(struct coordinator *c, uint32_t m)
{
    c->members[m].rebalance_timeout_ns = TIMEOUT_NS * (m + 1);
    c->members[m].named = true;
}

/* lt_groups_sit_down */
static void sit_down(struct coordinator *c, uint32_t m, uint32_t actor, uint32_t serial)
{
    struct lt_group_seat *seat = &shared->seats[m];
    c->bell[m] = (uint8_t)(actor + 1);
    c->seat_bell[m] = (uint8_t)(actor + 1);
    lt_store_relaxed32(&seat->fence, lt_load_relaxed32(&shared->words[actor].fence));
    lt_store_release64(&seat->away_ms, 0);
    if (c->serial[m] == serial)
        return; /* a static member that is back */
    name(c, m, actor, serial);
    lt_point("group.seat");
    lt_store_release32(&seat->serial, serial); /* [group.seat] */
}

static void join_again(struct coordinator *c, uint32_t m)
{
    bool changed = subscribe(c, m);
    take_settings(c, m);
    if (changed)
        lt_group_changed(&c->machine, LT_WHY_SUBSCRIPTION, c->now_ns);
    settle(c);
}

/* A static member's seat. */
static uint32_t find_instance(const struct coordinator *c, uint32_t actor)
{
    for (uint32_t m = 0; is_instance(actor) && m < config->members; m++)
        if (c->members[m].used && c->members[m].instance_id == ids[actor])
            return m;
    return LT_NOBODY;
}

static uint32_t join_group(struct coordinator *c, uint32_t actor)
{
    uint32_t m = seat_of(c, actor);
    if (m != LT_NOBODY) {
        join_again(c, m);
        return m;
    }
    m = find_instance(c, actor);
    if (m != LT_NOBODY) { /* come_back */
        if (!c->members[m].away)
            model_fail("instance: %c comes back to a seat that is taken", 'a' + (int)actor);
        bool changed = subscribe(c, m);
        sit_down(c, m, actor, c->serial[m]);
        take_settings(c, m);
        lt_group_back(&c->machine, m);
        if (changed)
            lt_group_changed(&c->machine, LT_WHY_SUBSCRIPTION, c->now_ns);
        settle(c);
        return m;
    }
    for (m = 0; c->members[m].used;)
        if (++m == config->members)
            model_fail("seats: there are more members than there are");
    subscribe(c, m);
    sit_down(c, m, actor, ++c->next_serial);
    take_settings(c, m);
    lt_group_join(&c->machine, m, 0, c->now_ns);
    settle(c);
    return m;
}

/* groups.c, member_gone */
static void member_gone(struct coordinator *c, uint32_t m, enum lt_group_why why)
{
    if (c->members[m].instance_id) {
        lt_group_away(&c->machine, m, c->now_ns + SESSION_NS);
        lt_store_relaxed64(&shared->seats[m].away_ms, 1); /* plain in groups.c */
        c->bell[m] = 0;
    } else {
        lt_group_evict(&c->machine, m, why, c->now_ns);
    }
    settle(c);
}

static void fill_rows(struct coordinator *c, struct actor *member, uint32_t m)
{
    struct desk *desk = &member->member.desk;
    desk->version = lt_load_relaxed32(&shared->words[member->id].version);
    for (uint32_t p = 0; p < config->parts; p++) {
        if (c->parts[p].owner != m)
            continue;
        desk->owned |= (uint8_t)(1u << p);
        desk->released |= (uint8_t)(c->parts[p].release << p);
        desk->grant[p] = c->grants[p];
        desk->committed[p] = lt_load_relaxed64(&shared->places[p].committed);
        if (!c->parts[p].release)
            group_told(member, p, desk->committed[p]);
    }
}

/* lt_readers_close */
static void close_readers(struct coordinator *c, uint32_t actor, uint8_t parts)
{
    uint32_t m = seat_of(c, actor);
    for (uint32_t p = 0; p < config->parts; p++) {
        if (!(parts & c->opened[actor] & 1u << p))
            continue;
        if (m != LT_NOBODY && c->parts[p].owner == m)
            save(c, p, m); /* lt_groups_reader_gone */
        c->opened[actor] &= (uint8_t) ~(1u << p);
    }
}

static void release(struct coordinator *c, uint32_t m, uint8_t parts)
{
    for (uint32_t p = 0; p < config->parts; p++)
        if (parts & 1u << p)
            lt_group_release(&c->machine, m, p, c->now_ns);
    settle(c);
}

/* Requests of who is a member; -1: it is none any more. */
static int8_t take_member(struct coordinator *c, struct actor *member)
{
    struct desk *desk = &member->member.desk;
    uint32_t m = seat_of(c, member->id);
    bool leaves = desk->kind == ASK_LEAVE || desk->kind == ASK_AWAY;
    if (m == LT_NOBODY || c->serial[m] != desk->said)
        return leaves ? 0 : -1;
    switch (desk->kind) {
    case ASK_LEAVE:
        lt_group_leave(&c->machine, m, c->now_ns);
        settle(c);
        break;
    case ASK_AWAY:
        member_gone(c, m, LT_WHY_LEAVE);
        break;
    case ASK_RELEASE:
        release(c, m, desk->parts);
        break;
    default:
        fill_rows(c, member, m);
    }
    return 0;
}

/* A JOIN with a serial: the second one, or on a new connection the one that stands. */
static void take_standing(struct coordinator *c, struct actor *member)
{
    uint32_t m = seat_of(c, member->id);
    memory_join(the_leatd()->id, member->id);
    if (m != LT_NOBODY && c->serial[m] == member->member.serial)
        join_again(c, m);
    c->stands &= (uint8_t) ~(1u << member->id);
}

static void take_request(struct coordinator *c, struct actor *member)
{
    struct desk *desk = &member->member.desk;
    uint32_t m;
    int8_t result = 0;
    memory_join(the_leatd()->id, member->id);
    switch (desk->kind) {
    case ASK_JOIN:
        m = join_group(c, member->id);
        desk->serial = c->serial[m];
        desk->fence = lt_load_relaxed32(&shared->seats[m].fence);
        break;
    case ASK_STAND:
        take_standing(c, member);
        break;
    case ASK_OPEN:
        c->opened[member->id] |= desk->parts;
        break;
    case ASK_CLOSE:
        close_readers(c, member->id, desk->parts);
        break;
    default:
        result = take_member(c, member);
    }
    if (config->deaths > 0)
        model_yield(OP_PLAIN, 0, MODEL_RELAXED); /* done, and not answered */
    memory_flush(the_leatd()->id);
    desk->result = result;
    desk->state = DESK_ANSWERED;
    if (desk->kind == ASK_STAND || desk->kind == ASK_LEAVE || desk->kind == ASK_AWAY)
        member->member.standing = desk->kind == ASK_STAND; /* lt_link_call: remember, forget */
}

/* --- adoption: groups.c, "adoption" --- */

void coordinator_die(struct actor *actor)
{
    struct coordinator *c = &actor->coordinator;
    memset(c, 0, offsetof(struct coordinator, generation));
    c->adopting = 1;
    c->sweep = 0; /* what the next one plans, it says */
    c->stands = 0;
    for (uint32_t a = 0; a < config->members; a++)
        if (world.actors[a].life == LIVES && world.actors[a].member.standing)
            c->stands |= (uint8_t)(1u << a);
}

static bool is_seated(const struct coordinator *c, uint32_t m)
{
    const struct lt_group_seat *seat = &shared->seats[m];
    uint32_t actor = c->seat_bell[m] - 1u;
    return lt_load_relaxed64(&seat->away_ms) != 0 ||
           (!(c->cleaned & 1u << actor) &&
            lt_load_relaxed32(&shared->words[actor].fence) == lt_load_relaxed32(&seat->fence));
}

static uint32_t member_of_serial(uint32_t serial)
{
    for (uint32_t m = 0; serial != 0 && m < config->members; m++)
        if (lt_load_relaxed32(&shared->seats[m].serial) == serial)
            return m;
    return LT_NOBODY;
}

static void finish_evictions(struct coordinator *c)
{
    lt_membarrier();
    for (uint32_t m = 0; m < config->members; m++) {
        struct lt_group_seat *seat = &shared->seats[m];
        if (lt_load_relaxed32(&seat->serial) == 0 || is_seated(c, m))
            continue;
        c->bell[m] = c->seat_bell[m];
        group_let_go(c->bell[m] - 1u, 0xff);
        for (uint32_t p = 0; p < config->parts; p++) {
            if (c->parts[p].owner != m)
                continue;
            save(c, p, m);
            take(c, p);
            c->parts[p].owner = LT_NOBODY;
            c->parts[p].unowned_since_ns = c->now_ns;
        }
        c->bell[m] = 0;
        lt_store_release32(&seat->serial, 0);
    }
}

static void take_seat(struct coordinator *c, uint32_t m)
{
    struct lt_group_member *member = &c->members[m];
    uint32_t actor = c->seat_bell[m] - 1u;
    name(c, m, actor, lt_load_relaxed32(&shared->seats[m].serial));
    member->used = true;
    member->joined = c->serial[m];
    member->rebalance_timeout_ns = TIMEOUT_NS * (m + 1);
    if (lt_load_relaxed64(&shared->seats[m].away_ms) != 0) {
        member->away = true;
        member->away_until_ns = c->now_ns + SESSION_NS;
    } else {
        c->bell[m] = (uint8_t)(actor + 1);
    }
    for (uint32_t p = 0; p < config->parts; p++)
        if (c->parts[p].owner == m)
            subscribe(c, m);
}

static struct event choose(void)
{
    model_yield(OP_CHOOSE, 0, MODEL_RELAXED);
    uint32_t a = model_alternative();
    return (struct event){ .kind = (uint8_t)(a >> 8), .actor = a >> 4 & 15, .keep = a & 15 };
}

static void note_death(struct actor *me, struct actor *victim, uint32_t keep);

static void adopt(struct actor *me)
{
    struct coordinator *c = &me->coordinator;
    for (struct event event; (event = choose()).kind == EV_KILL;)
        note_death(me, &world.actors[event.actor], event.keep);
    set_up(c);
    for (uint32_t a = 0; a < config->members; a++) /* clients and their readers come first */
        c->opened[a] = world.actors[a].life == LIVES ? world.actors[a].member.idents : c->left_idents[a];
    for (uint32_t p = 0; p < config->parts; p++)
        c->parts[p].owner = member_of_serial(lt_load_relaxed32(&shared->places[p].owner));
    finish_evictions(c);
    for (uint32_t p = 0; p < config->parts; p++) /* clear_orphans */
        if (c->parts[p].owner == LT_NOBODY)
            lt_store_release32(&shared->places[p].owner, 0);
    for (uint32_t m = 0; m < config->members; m++)
        if (lt_load_relaxed32(&shared->seats[m].serial) != 0)
            take_seat(c, m);
    lt_group_adopt(&c->machine, c->now_ns + ADOPTION_NS, c->now_ns);
    for (uint32_t p = 0; p < config->parts; p++)
        c->planned[p] = (uint8_t)(c->parts[p].target + 1);
    settle(c);
    c->adopting = 0;
}

/* --- events --- */

uint32_t coordinator_events(struct event *events, bool timers)
{
    const struct coordinator *c = &the_leatd()->coordinator;
    const struct notes *notes = &world.notes;
    uint32_t n = 0;
    if (c->adopting)
        events[n++] = (struct event){ .kind = EV_GO, .mandatory = true };
    for (uint32_t a = 0; a < config->members && !c->adopting; a++) {
        const struct actor *member = &world.actors[a];
        if (standing_still & 1u << a)
            continue;
        if (member->life == DEAD && !(c->cleaned & 1u << a))
            events[n++] = (struct event){ .kind = EV_DEAD, .actor = (uint8_t)a, .mandatory = true };
        else if (c->stands & 1u << a)
            events[n++] = (struct event){ .kind = EV_REJOIN, .actor = (uint8_t)a, .mandatory = true };
        else if (member->life == LIVES && member->member.desk.state == DESK_ASKED)
            events[n++] = (struct event){ .kind = EV_REQUEST, .actor = (uint8_t)a, .mandatory = true };
    }
    for (uint32_t a = 0; a < config->members && !c->adopting; a++) {
        uint32_t m = seat_of(c, a);
        if (m != LT_NOBODY && (notes->hangs > 0 || (timers && (standing_still & 1u << a))))
            events[n++] = (struct event){ .kind = EV_LEASE, .actor = (uint8_t)a, .mandatory = timers };
    }
    if (!c->adopting && c->deadline_ns != 0 && (notes->late > 0 || timers))
        events[n++] = (struct event){ .kind = EV_LATE, .mandatory = timers };
    for (uint32_t a = 0; a < config->members; a++) {
        if (world.actors[a].life != LIVES || world.actors[a].op.kind == OP_DONE)
            continue;
        for (uint32_t keep = 0; notes->kills > 0 && keep <= memory_pending(a); keep++)
            events[n++] = (struct event){ .kind = EV_KILL, .actor = (uint8_t)a, .keep = (uint8_t)keep };
    }
    return n;
}

/* lt_clients_dead */
static void clean(struct coordinator *c, uint32_t actor)
{
    uint32_t m = seat_of(c, actor); /* lt_groups_client_gone */
    if (m != LT_NOBODY)
        member_gone(c, m, LT_WHY_DIED);
    c->cleaned |= (uint8_t)(1u << actor);
    close_readers(c, actor, 0xff);
    c->left_idents[actor] = 0;
}

static void note_death(struct actor *me, struct actor *victim, uint32_t keep)
{
    struct coordinator *c = &me->coordinator;
    world.notes.kills--;
    if (tracing)
        model_trace("%c dies, and leatd knows\n", 'a' + (int)victim->id);
    memory_drop(victim->id, keep);
    memory_join(me->id, victim->id);
    group_let_go(victim->id, 0xff);
    c->left_idents[victim->id] = victim->member.idents;
    c->stands &= (uint8_t) ~(1u << victim->id);
    explorer_bury(victim);
    if (!c->adopting)
        clean(c, victim->id);
}

/* It lives: evict_hung; a static one's lease has fired, lt_clients_left. */
static void give_up(struct actor *me, uint32_t actor)
{
    struct coordinator *c = &me->coordinator;
    uint32_t m = seat_of(c, actor);
    if (tracing)
        model_trace("%c: gives %c up, which lives\n", 'a' + (int)me->id, 'a' + (int)actor);
    if (is_instance(actor) && standing_still == 0) {
        member_gone(c, m, LT_WHY_DIED);
        return;
    }
    lt_group_evict(&c->machine, m, LT_WHY_HUNG, c->now_ns);
    settle(c);
}

bool coordinator_once(struct actor *me)
{
    struct coordinator *c = &me->coordinator;
    if (c->adopting) {
        adopt(me);
        return true;
    }
    struct event event = choose();
    switch (event.kind) {
    case EV_REQUEST:
        take_request(c, &world.actors[event.actor]);
        break;
    case EV_REJOIN:
        take_standing(c, &world.actors[event.actor]);
        break;
    case EV_LEASE:
        world.notes.hangs -= world.notes.hangs > 0;
        give_up(me, event.actor);
        break;
    case EV_LATE:
        world.notes.late -= world.notes.late > 0;
        if (tracing)
            model_trace("%c: a deadline is reached\n", 'a' + (int)me->id);
        c->now_ns = c->deadline_ns;
        settle(c);
        c->now_ns = START_NS; /* what is left of other deadlines counts from there */
        break;
    case EV_KILL:
        note_death(me, &world.actors[event.actor], event.keep);
        break;
    case EV_DEAD:
        clean(c, event.actor);
        break;
    }
    return true;
}

/* --- before the first step --- */

void group_place(void)
{
    uint32_t L = 1u << config->members, all = L - 1;
    /* The page is the worker's alone: where it may die, each of its stores is a step all the same. */
    uint32_t seen = config->deaths > 0 ? all : 0;
    for (uint32_t a = 0; a < actor_count; a++) {
        world.actors[a].id = (uint8_t)a;
        world.actors[a].kind = a < config->members ? MEMBER : COORDINATOR;
        world.actors[a].number = (uint8_t)(a < config->members ? a : 0);
    }
    for (uint32_t a = 0; a < config->members; a++) {
        struct member *m = &world.actors[a].member;
        memory_add(&shared->words[a].version, 0, 1u << a, L, false, "version %c", 'a' + (int)a);
        memory_add(&shared->words[a].fence, 0, 1u << a, L, false, "fence %c", 'a' + (int)a);
        for (uint32_t p = 0; p < config->parts; p++) {
            struct lt_reader *entry = &shared->entries[a][p];
            memory_add(&entry->committed, LT_COMMIT_NONE, L, 1u << a, false, "committed %c[%u]", 'a' + (int)a,
                       p);
            memory_add(&entry->grant, 0, L, 1u << a, false, "grant %c[%u]", 'a' + (int)a, p);
        }
        memory_add(&shared->seats[a].serial, 0, seen, L, false, "seat%u.serial", a);
        memory_add(&shared->seats[a].fence, 0, seen, L, false, "seat%u.fence", a);
        memory_add(&shared->seats[a].away_ms, 0, seen, L, false, "seat%u.away", a);
        m->commits = config->member[a].commits;
        m->lives = config->member[a].is_static;
    }
    for (uint32_t p = 0; p < config->parts; p++) {
        memory_add(&shared->places[p].owner, 0, seen, L, false, "place%u.owner", p);
        memory_add(&shared->places[p].committed, LT_COMMIT_NONE, seen, L, false, "place%u.committed", p);
    }
    set_up(&the_leatd()->coordinator);
}
