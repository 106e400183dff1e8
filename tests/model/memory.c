/* memory: the three memories under the explorer, one table of locations.
 *
 * SC     a store is there for everybody at once.
 * TSO    x86: a store goes into its actor's buffer, from which it arrives later, in order; the actor's own loads look there
 *        first. Locked operations, membarrier and system calls on futexes empty it.
 * WEAK   a location keeps its last stores; each actor has a view: for each location, the oldest of them that it may
 *        still read. A load takes any store from there on. A release store carries its actor's view, an acquire load that
 *        reads it takes it over; relaxed ones do not. RMWs read the newest, with acquire and release. So an
 *        acquire or release that is missing shows, and a store may be seen late by each actor separately.
 *
 * Plain accesses (records) are checked for races with the same views: whoever reads or overwrites a record must have
 * the write before it in its view, and whoever overwrites it the reads of all others too.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

struct store {
    uint64_t value;
    uint8_t view[LOCS_MAX];
};

struct pending {
    uint64_t value;
    uint8_t loc;
};

struct location {
    uintptr_t address;
    char name[32];
    uint8_t readers, writers; /* bit a: actor a may load, store it */
    bool plain;
    uint8_t marks; /* plain: the first of its marks, one an actor: "a has read this" */
};

/* What does not change while a configuration is explored. */
static struct location locations[LOCS_MAX];
static uint32_t loc_count, view_bytes;
static uint8_t loc_of[sizeof(struct shared) / 4 + 1];
static uint64_t forgotten;

/* The state. */
static uint64_t values[LOCS_MAX]; /* SC, TSO, and plain ones */
static struct pending buffers[ACTORS_MAX][BUFFER];
static uint8_t buffered[ACTORS_MAX];
static struct store history[LOCS_MAX][HISTORY];
static uint8_t newest[LOCS_MAX]; /* index of the newest store; of plain ones and marks: 0 or 1 */
static uint8_t views[ACTORS_MAX][LOCS_MAX];

#define MARK_NONE 0xff

void memory_reset(void)
{
    loc_count = 1; /* 0: none */
    memset(loc_of, 0, sizeof loc_of);
    memset(locations, 0, sizeof locations);
    memset(values, 0, sizeof values);
    memset(buffered, 0, sizeof buffered);
    memset(buffers, 0, sizeof buffers);
    memset(history, 0, sizeof history);
    memset(newest, 0, sizeof newest);
    memset(views, 0, sizeof views);
    forgotten = 0;
}

uint64_t memory_forgotten(void)
{
    return forgotten;
}

static uint8_t new_location(void)
{
    if (loc_count == LOCS_MAX) {
        fprintf(stderr, "model: more than %d locations\n", LOCS_MAX);
        abort();
    }
    view_bytes = (loc_count + 16) & ~15u;
    return (uint8_t)loc_count++;
}

uint8_t memory_add(const void *p, uint64_t value, uint32_t readers, uint32_t writers, bool plain,
                   const char *format, ...)
{
    uint8_t loc = new_location();
    struct location *l = &locations[loc];
    l->address = (uintptr_t)p;
    l->plain = plain;
    l->readers = (uint8_t)(readers | writers);
    l->writers = (uint8_t)writers;
    va_list args;
    va_start(args, format);
    vsnprintf(l->name, sizeof l->name, format, args);
    va_end(args);
    loc_of[(l->address - (uintptr_t)shared) / 4] = loc;
    values[loc] = value;
    history[loc][0].value = value;
    if (plain && config->memory == WEAK) {
        l->marks = (uint8_t)loc_count;
        for (uint32_t a = 0; a < actor_count; a++) {
            uint8_t mark = new_location();
            locations[mark] = (struct location){ .marks = MARK_NONE, .name = "what was read" };
        }
    }
    return loc;
}

uint8_t memory_loc(const void *p)
{
    uintptr_t at = (uintptr_t)p - (uintptr_t)shared;
    uint8_t loc = at < sizeof(struct shared) ? loc_of[at / 4] : 0;
    if (loc == 0) {
        fprintf(stderr, "model: nobody said that %p (shared + %zu) is used\n", p, (size_t)at);
        abort();
    }
    return loc;
}

const char *memory_name(uint8_t loc)
{
    return locations[loc].name;
}

uint64_t memory_latest_loc(uint8_t loc)
{
    return config->memory == WEAK && !locations[loc].plain ? history[loc][newest[loc]].value : values[loc];
}

/* What will be there once everything on its way has arrived: of TSO, what memory holds. */
uint64_t memory_latest(const void *p)
{
    return memory_latest_loc(memory_loc(p));
}

/* For a debugger: "call memory_show()" says what is where, since the bytes themselves cannot be looked at. */
void memory_show(void)
{
    for (uint32_t loc = 1; loc < loc_count; loc++)
        if (locations[loc].marks != MARK_NONE)
            printf("%-20s %#llx\n", locations[loc].name, (unsigned long long)memory_latest_loc((uint8_t)loc));
    for (uint32_t a = 0; a < actor_count; a++)
        for (uint32_t i = 0; i < buffered[a]; i++)
            printf("on its way from %c: %s %#llx\n", 'a' + (int)a, locations[buffers[a][i].loc].name,
                   (unsigned long long)buffers[a][i].value);
}

/* --- who shares what --- */

/* Whether this access is a step: others could tell it from none. Who may touch what is said where the location is
 * added; anything else is somebody's error. */
static bool is_shared_load(uint8_t loc)
{
    uint8_t me = (uint8_t)(1u << self->id);
    if (!(locations[loc].readers & me))
        model_fail("not its word: %c loads %s", 'a' + (int)self->id, locations[loc].name);
    return locations[loc].writers & ~me;
}

static bool is_shared_store(uint8_t loc)
{
    uint8_t me = (uint8_t)(1u << self->id);
    if (!(locations[loc].writers & me))
        model_fail("not its word: %c stores into %s", 'a' + (int)self->id, locations[loc].name);
    return (locations[loc].readers | locations[loc].writers) & ~me;
}

/* --- views --- */

static void join(uint8_t *to, const uint8_t *from)
{
    for (uint32_t i = 0; i < view_bytes; i++)
        to[i] = to[i] > from[i] ? to[i] : from[i];
}

void memory_join(uint32_t to, uint32_t from)
{
    if (config->memory == WEAK)
        join(views[to], views[from]);
}

void memory_see_latest(uint8_t loc)
{
    views[self->id][loc] = newest[loc];
}

/* One more store at the end of a location's history. */
static void append(uint8_t loc, uint64_t value, bool release, const uint8_t *inherited)
{
    uint8_t *view = views[self->id];
    if (newest[loc] == HISTORY - 1) {
        forgotten++;
        memmove(&history[loc][0], &history[loc][1], sizeof(struct store) * (HISTORY - 1));
        for (uint32_t a = 0; a < actor_count; a++)
            views[a][loc] -= views[a][loc] > 0;
        for (uint32_t l = 1; l < loc_count; l++)
            if (locations[l].marks == 0 && !locations[l].plain)
                for (uint32_t i = 0; i <= newest[l]; i++)
                    history[l][i].view[loc] -= history[l][i].view[loc] > 0;
        newest[loc]--;
    }
    struct store *store = &history[loc][++newest[loc]];
    view[loc] = newest[loc];
    store->value = value;
    if (release) {
        memcpy(store->view, view, LOCS_MAX);
    } else {
        memset(store->view, 0, LOCS_MAX);
        store->view[loc] = newest[loc];
    }
    if (inherited)
        join(store->view, inherited);
}

static bool is_sync(uint32_t loc)
{
    return !locations[loc].plain && locations[loc].marks != MARK_NONE;
}

/* Forgets what nobody can read any more, and counts from there: states that differ in nothing else become one. */
void memory_tidy(void)
{
    if (config->memory != WEAK)
        return;
    uint8_t least[LOCS_MAX];
    memset(least, 0xff, sizeof least);
    for (uint32_t a = 0; a < actor_count; a++)
        if (world.actors[a].life == LIVES && world.actors[a].op.kind != OP_DONE)
            for (uint32_t i = 0; i < view_bytes; i++)
                /* Who never loads it may be told of it, and has nothing to tell. */
                if (locations[i].readers >> a & 1 || locations[i].plain || locations[i].marks == MARK_NONE)
                    least[i] = least[i] < views[a][i] ? least[i] : views[a][i];
    bool any = false;
    for (uint32_t loc = 1; loc < loc_count; loc++) {
        if (least[loc] > newest[loc])
            least[loc] = newest[loc];
        any |= least[loc] > 0;
    }
    if (!any)
        return;
    least[0] = 0;
    for (uint32_t i = loc_count; i < view_bytes; i++)
        least[i] = 0;
    for (uint32_t loc = 1; loc < loc_count; loc++) {
        if (least[loc] > 0 && is_sync(loc))
            memmove(&history[loc][0], &history[loc][least[loc]],
                    sizeof(struct store) * (newest[loc] - least[loc] + 1u));
        newest[loc] -= least[loc];
    }
    for (uint32_t a = 0; a < actor_count; a++)
        for (uint32_t i = 0; i < view_bytes; i++)
            views[a][i] = views[a][i] > least[i] ? views[a][i] - least[i] : 0;
    for (uint32_t loc = 1; loc < loc_count; loc++)
        for (uint32_t s = 0; is_sync(loc) && s <= newest[loc]; s++) {
            uint8_t *view = history[loc][s].view;
            for (uint32_t i = 0; i < view_bytes; i++)
                view[i] = view[i] > least[i] ? view[i] - least[i] : 0;
        }
}

bool memory_is_current(uint32_t actor, const void *p)
{
    uint8_t loc = memory_loc(p);
    return config->memory != WEAK || views[actor][loc] == newest[loc];
}

/* --- TSO --- */

uint32_t memory_pending(uint32_t actor)
{
    return buffered[actor];
}

void memory_flush_one(uint32_t actor)
{
    struct pending *first = &buffers[actor][0];
    values[first->loc] = first->value;
    if (tracing)
        model_trace("%c: %s = %#llx arrives\n", 'a' + (int)actor, locations[first->loc].name,
                    (unsigned long long)first->value);
    buffered[actor]--;
    memmove(first, first + 1, sizeof *first * (BUFFER - 1));
    memset(&buffers[actor][BUFFER - 1], 0, sizeof *first);
}

void memory_flush(uint32_t actor)
{
    while (buffered[actor] > 0)
        memory_flush_one(actor);
}

void memory_drop(uint32_t actor, uint32_t keep)
{
    while (keep-- > 0 && buffered[actor] > 0)
        memory_flush_one(actor);
    buffered[actor] = 0;
    memset(buffers[actor], 0, sizeof buffers[actor]);
}

/* --- membarrier: everybody passes a full fence --- */

void memory_everybody(uint32_t caller)
{
    for (uint32_t a = 0; a < actor_count; a++)
        memory_flush(a);
    if (config->memory != WEAK)
        return;
    uint8_t before[LOCS_MAX];
    memcpy(before, views[caller], LOCS_MAX);
    for (uint32_t a = 0; a < actor_count; a++) {
        join(views[caller], views[a]);
        if (world.actors[a].life == LIVES)
            join(views[a], before);
    }
}

/* --- the shim's operations --- */

/* In how many ways can the actor's next step go? A load may take any store that its view allows. */
uint32_t memory_choices(const struct actor *actor)
{
    if (config->memory == WEAK && actor->op.kind == OP_LOAD)
        return (uint32_t)newest[actor->op.loc] - views[actor->id][actor->op.loc] + 1;
    return 1;
}

static const char *order_name(enum model_order order)
{
    return order == MODEL_ACQUIRE ? " acquire" : order == MODEL_RELEASE ? " release" : "";
}

static void say(const char *what, uint8_t loc, const char *order, uint64_t value)
{
    if (tracing)
        model_trace("%c: %s %s%s %#llx\n", 'a' + (int)self->id, what, locations[loc].name, order,
                    (unsigned long long)value);
}

uint64_t model_load(const void *p, enum model_order order)
{
    uint8_t loc = memory_loc(p);
    model_count();
    if (!self)
        return memory_latest_loc(loc);
    bool is_step = is_shared_load(loc);
    if (is_step)
        model_yield(OP_LOAD, loc, order);
    uint64_t value = 0;
    if (config->memory == WEAK) {
        uint32_t back = is_step ? model_alternative() : 0;
        const struct store *store = &history[loc][newest[loc] - back];
        value = store->value;
        uint8_t *view = views[self->id];
        if (view[loc] < newest[loc] - back)
            view[loc] = (uint8_t)(newest[loc] - back);
        if (order == MODEL_ACQUIRE)
            join(view, store->view);
    } else {
        value = values[loc];
        for (uint32_t i = 0; i < buffered[self->id]; i++)
            if (buffers[self->id][i].loc == loc)
                value = buffers[self->id][i].value;
    }
    if (is_step)
        say("load", loc, order_name(order), value);
    return value;
}

void model_store(void *p, uint64_t value, enum model_order order)
{
    uint8_t loc = memory_loc(p);
    if (!self) {
        values[loc] = value;
        history[loc][newest[loc]].value = value;
        return;
    }
    bool is_step = is_shared_store(loc);
    if (config->memory == TSO && is_step) {
        /* Nobody sees it enter the buffer; a death may drop it again (memory_drop): no step. */
        if (buffered[self->id] == BUFFER)
            model_yield(OP_STORE, loc, order);
        if (buffered[self->id] == BUFFER)
            memory_flush_one(self->id);
        buffers[self->id][buffered[self->id]++] = (struct pending){ .value = value, .loc = loc };
    } else {
        if (is_step)
            model_yield(OP_STORE, loc, order);
        if (config->memory == WEAK)
            append(loc, value, order == MODEL_RELEASE, NULL);
        else
            values[loc] = value;
    }
    if (is_step)
        say("store", loc, order_name(order), value);
}

/* Before a locked operation: its place in the schedule. */
static void lock(uint8_t loc)
{
    if (is_shared_store(loc))
        model_yield(OP_RMW, loc, MODEL_ACQUIRE);
    memory_flush(self->id);
}

/* The newest store of a location, acquired. */
static uint64_t read_newest(uint8_t loc, bool acquire)
{
    if (config->memory != WEAK)
        return values[loc];
    const struct store *store = &history[loc][newest[loc]];
    views[self->id][loc] = newest[loc];
    if (acquire)
        join(views[self->id], store->view);
    return store->value;
}

static void write_newest(uint8_t loc, uint64_t value)
{
    if (config->memory == WEAK)
        append(loc, value, true, NULL);
    else
        values[loc] = value;
}

bool model_cas(void *p, uint64_t expected, uint64_t desired, uint64_t *found)
{
    uint8_t loc = memory_loc(p);
    lock(loc);
    *found = read_newest(loc, true);
    bool done = *found == expected;
    if (done)
        write_newest(loc, desired);
    say(done ? "cas" : "cas fails", loc, "", done ? desired : *found);
    return done;
}

bool model_cas_pair(struct lt_pair *p, struct lt_pair expected, struct lt_pair desired)
{
    uint8_t lo = memory_loc(&p->lo), hi = memory_loc(&p->hi);
    (void)is_shared_store(hi);
    lock(lo);
    bool done = memory_latest_loc(lo) == expected.lo && memory_latest_loc(hi) == expected.hi;
    /* Whatever it finds is the newest; a failure acquires nothing. */
    read_newest(lo, false);
    read_newest(hi, false);
    if (done) {
        /* One store of 16 bytes: either half brings the whole view along. */
        read_newest(lo, true);
        read_newest(hi, true);
        write_newest(hi, desired.hi);
        write_newest(lo, desired.lo);
        if (config->memory == WEAK)
            memcpy(history[hi][newest[hi]].view, views[self->id], LOCS_MAX);
    }
    say(done ? "cas pair" : "cas pair fails", lo, "", done ? desired.lo : memory_latest_loc(lo));
    return done;
}

uint64_t model_rmw(void *p, enum model_rmw what, uint64_t value)
{
    uint8_t loc = memory_loc(p);
    lock(loc);
    uint64_t old = read_newest(loc, true);
    uint64_t new = what == MODEL_ADD ? old + value : what == MODEL_OR ? old | value : value;
    write_newest(loc, new);
    say("rmw", loc, "", new);
    return old;
}

void model_fence_full(void)
{
    model_yield(OP_FENCE, 0, MODEL_RELAXED);
    memory_flush(self->id);
}

/* --- plain accesses --- */

static void check_order(uint32_t loc, const char *what)
{
    if (views[self->id][loc] < newest[loc])
        model_fail("race: %c %s %s, and nothing orders that behind the last %s", 'a' + (int)self->id, what,
                   locations[loc].name, locations[loc].plain ? "write" : "access");
}

/* Something new that nobody but `self` knows of. */
static void renew(uint32_t loc)
{
    for (uint32_t a = 0; a < actor_count; a++)
        views[a][loc] = 0;
    for (uint32_t l = 1; l < loc_count; l++)
        for (uint32_t s = 0; is_sync(l) && s <= newest[l]; s++)
            history[l][s].view[loc] = 0;
    newest[loc] = 1;
    views[self->id][loc] = 1;
}

void memory_write(const void *p, uint64_t value)
{
    uint8_t loc = memory_loc(p);
    bool is_step = is_shared_store(loc);
    if (config->memory == WEAK) {
        check_order(loc, "writes");
        for (uint32_t a = 0; a < actor_count; a++)
            check_order(locations[loc].marks + a, "writes");
        renew(loc);
    } else if (is_step) {
        model_yield(OP_PLAIN, loc, MODEL_RELAXED);
    }
    values[loc] = value;
    say("write", loc, "", value);
}

uint64_t memory_read(const void *p)
{
    uint8_t loc = memory_loc(p);
    bool is_step = is_shared_load(loc);
    if (config->memory == WEAK) {
        check_order(loc, "reads");
        renew(locations[loc].marks + self->id);
    } else if (is_step) {
        model_yield(OP_PLAIN, loc, MODEL_RELAXED);
    }
    say("read", loc, "", values[loc]);
    return values[loc];
}

void model_copy(void *to, const void *from)
{
    (void)to;
    (void)from;
    abort(); /* nothing that is compiled into the model copies yet */
}

/* --- saving --- */

static uint8_t *put(uint8_t *to, const void *from, size_t size)
{
    memcpy(to, from, size);
    return to + size;
}

size_t memory_save(uint8_t *to)
{
    uint8_t *start = to;
    if (config->memory != WEAK) {
        to = put(to, values + 1, sizeof *values * (loc_count - 1));
        if (config->memory == TSO) {
            to = put(to, buffered, actor_count);
            for (uint32_t a = 0; a < actor_count; a++)
                for (uint32_t i = 0; i < buffered[a]; i++) {
                    to = put(to, &buffers[a][i].value, 8);
                    to = put(to, &buffers[a][i].loc, 1);
                }
        }
        return (size_t)(to - start);
    }
    to = put(to, newest, loc_count);
    for (uint32_t a = 0; a < actor_count; a++)
        to = put(to, views[a], loc_count);
    for (uint32_t loc = 1; loc < loc_count; loc++) {
        if (locations[loc].plain)
            to = put(to, &values[loc], 8);
        else if (locations[loc].marks != MARK_NONE)
            for (uint32_t s = 0; s <= newest[loc]; s++) {
                const struct store *store = &history[loc][s];
                uint64_t any = 0, part;
                for (uint32_t i = 0; i < view_bytes; i += 8) {
                    memcpy(&part, store->view + i, 8);
                    any |= part;
                }
                to = put(to, &store->value, 8);
                *to++ = any != 0;
                if (any)
                    to = put(to, store->view, loc_count);
            }
    }
    return (size_t)(to - start);
}

static const uint8_t *get(void *to, const uint8_t *from, size_t size)
{
    memcpy(to, from, size);
    return from + size;
}

size_t memory_restore(const uint8_t *from)
{
    const uint8_t *start = from;
    if (config->memory != WEAK) {
        from = get(values + 1, from, sizeof *values * (loc_count - 1));
        if (config->memory == TSO) {
            from = get(buffered, from, actor_count);
            for (uint32_t a = 0; a < actor_count; a++) {
                memset(buffers[a], 0, sizeof buffers[a]);
                for (uint32_t i = 0; i < buffered[a]; i++) {
                    from = get(&buffers[a][i].value, from, 8);
                    from = get(&buffers[a][i].loc, from, 1);
                }
            }
        }
        return (size_t)(from - start);
    }
    from = get(newest, from, loc_count);
    for (uint32_t a = 0; a < actor_count; a++)
        from = get(views[a], from, loc_count);
    for (uint32_t loc = 1; loc < loc_count; loc++) {
        if (locations[loc].plain)
            from = get(&values[loc], from, 8);
        else if (locations[loc].marks != MARK_NONE)
            for (uint32_t s = 0; s <= newest[loc]; s++) {
                struct store *store = &history[loc][s];
                from = get(&store->value, from, 8);
                if (*from++)
                    from = get(store->view, from, loc_count);
                else
                    memset(store->view, 0, LOCS_MAX);
            }
    }
    return (size_t)(from - start);
}
