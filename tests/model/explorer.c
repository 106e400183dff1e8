/* explorer: every interleaving of a configuration, depth first, each state once. See README.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "coroutine.h"
#include "model.h"

struct world world;
const struct config *config;
struct shared *shared;
uint32_t actor_count;
struct actor *self;
bool tracing, fair;
uint32_t standing_still;

enum transition_kind { STEP, FLUSH, DIE };

/* kind 4 | actor 4 | alternative 16 */
typedef uint32_t transition;
static transition transition_of(enum transition_kind kind, uint32_t actor, uint32_t alternative)
{
    return (uint32_t)kind << 20 | actor << 16 | alternative;
}
static enum transition_kind kind_of(transition t)
{
    return (enum transition_kind)(t >> 20);
}
static uint32_t actor_of(transition t)
{
    return t >> 16 & 15;
}
static uint32_t alternative_of(transition t)
{
    return t & 0xffff;
}

#define TRANSITIONS_MAX 64
#define FAIR_STEPS_MAX 20000

static unsigned char *stacks; /* ACTORS_MAX x STACK_SIZE, at a fixed address */
static void *explorer_sp;
static uint32_t alternative;
static uint32_t quiet_loads;
#define QUIET_LOADS_MAX 100000
static bool failed;
static char failure[256];
static jmp_buf failed_outside;
static const char *labels[ACTORS_MAX];

/* --- what actors call --- */

void model_trace(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (self && labels[self->id])
        printf("%-24s", labels[self->id]);
    else
        printf("%-24s", "");
    vprintf(format, args);
    va_end(args);
}

void model_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(failure, sizeof failure, format, args);
    va_end(args);
    failed = true;
    if (!self)
        longjmp(failed_outside, 1);
    void *nowhere;
    coroutine_switch(&nowhere, explorer_sp);
    abort();
}

void lt_point_hit(const char *name)
{
    if (self)
        labels[self->id] = name;
}

void model_yield(enum op_kind kind, uint8_t loc, enum model_order order)
{
    quiet_loads = 0;
    self->op.kind = (uint8_t)kind;
    self->op.loc = loc;
    self->op.order = (uint8_t)order;
    coroutine_switch(&self->sp, explorer_sp);
}

/* Code that goes round without a step that others could see would never come back. */
void model_count(void)
{
    if (++quiet_loads > QUIET_LOADS_MAX) {
        quiet_loads = 0;
        model_fail("endless: %c goes round for ever", self ? 'a' + (int)self->id : '-');
    }
}

uint32_t model_alternative(void)
{
    return alternative;
}

/* --- steps --- */

static void entry(void)
{
    actor_main(self);
    for (;;)
        model_yield(OP_DONE, 0, MODEL_RELAXED);
}

static unsigned char *stack_top(uint32_t a)
{
    return stacks + (a + 1) * STACK_SIZE;
}

static void start_actor(struct actor *actor)
{
    memset(stack_top(actor->id) - STACK_SIZE, 0, STACK_SIZE);
    actor->sp = coroutine_prepare(stack_top(actor->id), entry);
    memset(&actor->op, 0, sizeof actor->op);
    actor->op.kind = OP_START;
}

/* Lets an actor run to its next step. */
static void run(struct actor *actor, uint32_t with)
{
    self = actor;
    alternative = with;
    coroutine_switch(&explorer_sp, actor->sp);
    self = NULL;
    /* What calls left below the stack pointer must not tell states apart. */
    unsigned char *bottom = stack_top(actor->id) - STACK_SIZE;
    if (!failed)
        memset(bottom, 0, (size_t)((unsigned char *)actor->sp - bottom));
}

static size_t private_size(const struct actor *actor)
{
    static const size_t sizes[] = {
        [PRODUCER] = sizeof(struct producer), [CONSUMER] = sizeof(struct consumer),
        [LEATD] = sizeof(struct leatd),       [WARDEN] = 0,
        [MEMBER] = sizeof(struct member),     [COORDINATOR] = sizeof(struct coordinator),
    };
    return offsetof(struct actor, producer) + sizes[actor->kind];
}

/* Nothing of a dead actor is left that could tell states apart. */
void explorer_bury(struct actor *actor)
{
    memset(stack_top(actor->id) - STACK_SIZE, 0, STACK_SIZE);
    actor->life = DEAD;
    actor->sp = stack_top(actor->id);
    memset(&actor->op, 0, sizeof actor->op);
    memset(&actor->producer, 0, private_size(actor) - offsetof(struct actor, producer));
}

static void apply(transition t)
{
    struct actor *actor = &world.actors[actor_of(t)];
    switch (kind_of(t)) {
    case STEP:
        if (actor->op.kind == OP_ASLEEP)
            actor->op.timed_out = 1;
        run(actor, alternative_of(t));
        break;
    case FLUSH:
        memory_flush_one(actor->id);
        break;
    case DIE:
        memory_drop(actor->id, alternative_of(t));
        world.notes.deaths--;
        if (tracing)
            model_trace("%c: dies\n", 'a' + (int)actor->id);
        if (actor->kind == COORDINATOR)
            coordinator_die(actor);
        else
            leatd_die(actor);
        start_actor(actor);
        run(actor, 0);
        break;
    }
    memory_tidy();
}

/* All that can happen now. *busy: actors of whom something must happen sooner or later. */
static uint32_t enumerate(transition *out, uint32_t *busy, bool timers)
{
    uint32_t n = 0;
    *busy = 0;
    for (uint32_t a = 0; a < actor_count; a++) {
        struct actor *actor = &world.actors[a];
        if (actor->life != LIVES)
            continue;
        uint32_t pending = memory_pending(a);
        if (pending > 0) {
            out[n++] = transition_of(FLUSH, a, 0);
            *busy |= 1u << a;
        }
        switch (actor->op.kind) {
        case OP_DONE:
            continue;
        case OP_ASLEEP:
            if (timers || (actor->kind == WARDEN && warden_is_due())) {
                out[n++] = transition_of(STEP, a, 0);
                *busy |= 1u << a;
            }
            break;
        case OP_LOCK:
            if (world.notes.lock == 0) {
                out[n++] = transition_of(STEP, a, 0);
                *busy |= 1u << a;
            }
            break;
        case OP_WAIT:
            if (actor->kind == PRODUCER   ? producer_can_go_on(actor)
                : actor->kind == CONSUMER ? consumer_can_go_on(actor)
                                          : member_can_go_on(actor)) {
                out[n++] = transition_of(STEP, a, 0);
                *busy |= 1u << a;
            }
            break;
        case OP_CHOOSE: {
            struct event events[32];
            uint32_t count = actor->kind == COORDINATOR ? coordinator_events(events, timers)
                                                        : leatd_events(events, timers);
            for (uint32_t e = 0; e < count; e++) {
                if (events[e].mandatory)
                    *busy |= 1u << a;
                out[n++] = transition_of(
                    STEP, a, (uint32_t)events[e].kind << 8 | (uint32_t)events[e].actor << 4 | events[e].keep);
            }
            break;
        }
        default: {
            uint32_t choices = memory_choices(actor);
            for (uint32_t c = 0; c < choices; c++)
                out[n++] = transition_of(STEP, a, c);
            *busy |= 1u << a;
        }
        }
        if (actor == the_leatd() && world.notes.deaths > 0 && actor->op.kind != OP_START)
            for (uint32_t keep = 0; keep <= pending; keep++)
                out[n++] = transition_of(DIE, a, keep);
    }
    if (n > TRANSITIONS_MAX)
        abort();
    return n;
}

/* --- saving --- */

static size_t save(uint8_t *to)
{
    uint8_t *start = to;
    for (uint32_t a = 0; a < actor_count; a++) {
        size_t size = private_size(&world.actors[a]);
        memcpy(to, &world.actors[a], size);
        to += size;
    }
    memcpy(to, &world.notes, sizeof world.notes);
    to += sizeof world.notes;
    to += memory_save(to);
    for (uint32_t a = 0; a < actor_count; a++) {
        struct actor *actor = &world.actors[a];
        if (actor->life != LIVES || actor->op.kind == OP_DONE)
            continue;
        size_t live = (size_t)(stack_top(a) - (unsigned char *)actor->sp);
        memcpy(to, actor->sp, live);
        to += live;
    }
    return (size_t)(to - start);
}

static void restore(const uint8_t *from)
{
    for (uint32_t a = 0; a < actor_count; a++) {
        /* The kind never changes, so the size that is being restored is known. */
        size_t size = private_size(&world.actors[a]);
        unsigned char *old_sp = world.actors[a].sp;
        memcpy(&world.actors[a], from, size);
        from += size;
        if ((unsigned char *)world.actors[a].sp > old_sp)
            memset(old_sp, 0, (size_t)((unsigned char *)world.actors[a].sp - old_sp));
    }
    memcpy(&world.notes, from, sizeof world.notes);
    from += sizeof world.notes;
    from += memory_restore(from);
    for (uint32_t a = 0; a < actor_count; a++) {
        struct actor *actor = &world.actors[a];
        if (actor->life != LIVES || actor->op.kind == OP_DONE)
            continue;
        size_t live = (size_t)(stack_top(a) - (unsigned char *)actor->sp);
        memcpy(actor->sp, from, live);
        from += live;
    }
    failed = false;
}

#define STATE_MAX 65536

/* --- the table of states that were seen --- */

static uint64_t *table;
static uint64_t table_size, table_used;

static uint64_t *table_new(uint64_t size)
{
    void *p = mmap(NULL, size * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        perror("model: the table of states");
        exit(2);
    }
    return p;
}

static void table_reset(void)
{
    if (table)
        munmap(table, table_size * sizeof(uint64_t));
    table_size = 1u << 16;
    table_used = 0;
    table = table_new(table_size);
}

static bool table_put(uint64_t key)
{
    uint64_t i = key & (table_size - 1);
    while (table[i] != 0) {
        if (table[i] == key)
            return false;
        i = (i + 1) & (table_size - 1);
    }
    table[i] = key;
    return true;
}

/* true: it was not there. */
static bool table_add(const uint8_t *state, size_t size)
{
    uint64_t key = XXH3_64bits(state, size);
    key |= key == 0;
    if (table_used * 10 > table_size * 6) {
        uint64_t *old = table, old_size = table_size;
        table_size *= 4;
        table = table_new(table_size);
        for (uint64_t i = 0; i < old_size; i++)
            if (old[i] != 0)
                table_put(old[i]);
        munmap(old, old_size * sizeof(uint64_t));
    }
    bool is_new = table_put(key);
    table_used += is_new;
    return is_new;
}

/* --- a run --- */

static void begin(const struct config *c)
{
    if (!stacks) {
        stacks = mmap((void *)0x600000000000, ACTORS_MAX * STACK_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        /* Addresses to talk about, nothing to touch. */
        shared = mmap((void *)0x610000000000, sizeof *shared, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (stacks == MAP_FAILED || shared == MAP_FAILED) {
            perror("model: mmap");
            exit(2);
        }
    }
    config = c;
    self = NULL;
    failed = false;
    memset(&world, 0, sizeof world);
    memset(labels, 0, sizeof labels);
    actor_count = c->producers + c->consumers + c->members + 1u + c->bells;
    memory_reset();
    oracle_reset();
    actors_place();
    for (uint32_t a = 0; a < actor_count; a++) {
        start_actor(&world.actors[a]);
        run(&world.actors[a], 0);
    }
    memory_tidy();
}

/* The oracle's last word on a state where all but `stopped` rest. false: it has something to say. */
static bool rests_well(uint32_t stopped)
{
    if (setjmp(failed_outside) != 0)
        return false;
    quiet_loads = 0;
    if (config->members > 0)
        group_rest(stopped);
    else
        oracle_rest(stopped);
    return true;
}

/* Runs everybody but `stopped` in turn until all rest, without more deaths. With somebody stopped time passes, too. */
static bool run_until_rest(uint32_t stopped)
{
    uint32_t turn = 0, timers_left = stopped != 0 ? 3 * actor_count : 0;
    for (uint32_t steps = 0; steps < FAIR_STEPS_MAX; steps++) {
        transition ts[TRANSITIONS_MAX];
        uint32_t busy;
        enumerate(ts, &busy, false);
        if ((busy & ~stopped) == 0 && timers_left > 0) {
            timers_left--;
            enumerate(ts, &busy, true);
            /* leatd's are the shorter ones. */
            if (busy & 1u << the_leatd()->id)
                busy &= stopped | 1u << the_leatd()->id;
        }
        if ((busy & ~stopped) == 0)
            return rests_well(stopped);
        do
            turn = (turn + 1) % actor_count;
        while (!(busy & ~stopped & 1u << turn));
        uint32_t i = 0;
        while (actor_of(ts[i]) != turn)
            i++;
        apply(ts[i]);
        if (failed)
            return false;
    }
    snprintf(failure, sizeof failure, "after %u fair steps there is still something to do", FAIR_STEPS_MAX);
    failed = true;
    return false;
}

static bool run_fairly(uint32_t stopped)
{
    fair = true;
    standing_still = stopped;
    bool well = run_until_rest(stopped);
    fair = false;
    standing_still = 0;
    return well;
}

/* --- schedules as text: a step of actor c is "c", its alternative 3 "c3", a store of its that arrives "~c", its
 * death "!c" --- */

static char *put_transition(char *to, transition t)
{
    if (kind_of(t) != STEP)
        *to++ = kind_of(t) == FLUSH ? '~' : '!';
    *to++ = (char)('a' + actor_of(t));
    if (alternative_of(t) != 0)
        to += sprintf(to, "%u", alternative_of(t));
    return to;
}

static char *schedule_text(const transition *ts, size_t count)
{
    char *text = malloc(count * 10 + 1), *to = text;
    *to = 0;
    for (size_t i = 0; i < count; i++)
        to = put_transition(to, ts[i]);
    *to = 0;
    return text;
}

static const char *get_transition(const char *from, transition *t)
{
    enum transition_kind kind = *from == '~' ? FLUSH : *from == '!' ? DIE : STEP;
    from += kind != STEP;
    if (*from < 'a' || *from >= 'a' + ACTORS_MAX)
        return NULL;
    uint32_t actor = (uint32_t)(*from++ - 'a'), with = 0;
    while (*from >= '0' && *from <= '9')
        with = with * 10 + (uint32_t)(*from++ - '0');
    *t = transition_of(kind, actor, with);
    return from;
}

static bool is_possible(transition t)
{
    transition ts[TRANSITIONS_MAX];
    uint32_t busy, n = enumerate(ts, &busy, false);
    for (uint32_t i = 0; i < n; i++)
        if (ts[i] == t)
            return true;
    return false;
}

/* Plays a schedule; what is not possible is left out (kept[i] says so). What it leaves open is then run fairly: without
 * the actors in `stopped`. true: something was violated. */
static bool play(const struct config *c, const transition *ts, size_t count, uint32_t stopped, bool *kept)
{
    begin(c);
    for (size_t i = 0; i < count && !failed; i++) {
        bool possible = is_possible(ts[i]);
        if (kept)
            kept[i] = possible;
        if (possible)
            apply(ts[i]);
    }
    if (!failed && tracing)
        printf("%-24sthen everybody%s in turn:\n", "", stopped ? " else" : "");
    return failed || !run_fairly(stopped);
}

/* The schedule with all left out that is not needed. */
static size_t shorten(const struct config *c, transition *ts, size_t count, uint32_t stopped)
{
    char first[sizeof failure];
    if (!play(c, ts, count, stopped, NULL))
        return count;
    snprintf(first, sizeof first, "%s", failure);
    char *colon = strchr(first, ':');
    size_t same = colon ? (size_t)(colon - first) : strlen(first);
    transition *shorter = malloc((count + 1) * sizeof *shorter);
    bool *kept = malloc(count + 1);
    bool again = true;
    for (uint32_t rounds = 0; again && rounds < 8; rounds++) {
        again = false;
        for (size_t size = count / 2 > 0 ? count / 2 : 1; size > 0; size /= 2)
            for (size_t at = 0; at < count;) {
                size_t cut = at + size < count ? size : count - at;
                memcpy(shorter, ts, at * sizeof *ts);
                memcpy(shorter + at, ts + at + cut, (count - at - cut) * sizeof *ts);
                size_t left = count - cut;
                memset(kept, 0, count);
                if (play(c, shorter, left, stopped, kept) && strncmp(failure, first, same) == 0) {
                    size_t n = 0;
                    for (size_t i = 0; i < left; i++)
                        if (kept[i])
                            ts[n++] = shorter[i];
                    count = n;
                    again = true;
                } else {
                    at += size;
                }
            }
    }
    free(shorter);
    free(kept);
    return count;
}

bool replay(const struct config *c, const char *schedule, bool trace, char *message, size_t size)
{
    size_t count = 0;
    transition *ts = malloc((strlen(schedule) + 1) * sizeof *ts);
    uint32_t stopped = 0;
    while (*schedule) {
        if (*schedule == '/') { /* "/c": and c stands still from here on */
            stopped |= 1u << (schedule[1] - 'a');
            schedule += 2;
            continue;
        }
        schedule = get_transition(schedule, &ts[count++]);
        if (!schedule) {
            snprintf(message, size, "that is no schedule");
            free(ts);
            return true;
        }
    }
    tracing = trace;
    bool violated = play(c, ts, count, stopped, NULL);
    tracing = false;
    snprintf(message, size, "%s", violated ? failure : "nothing is wrong");
    free(ts);
    return violated;
}

/* --- depth first --- */

struct frame {
    size_t at; /* of its state in `saved` */
    uint32_t next, count;
    transition ts[TRANSITIONS_MAX];
};

static struct frame *frames;
static size_t frame_count, frame_room;
static uint8_t *saved;
static size_t saved_used, saved_room;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void report(struct outcome *outcome, const struct config *c, uint32_t stopped)
{
    outcome->violated = true;
    transition *ts = malloc((frame_count + 1) * sizeof *ts);
    size_t count = 0;
    for (size_t f = 0; f < frame_count; f++)
        if (frames[f].next > 0)
            ts[count++] = frames[f].ts[frames[f].next - 1];
    snprintf(outcome->message, sizeof outcome->message, "%s", failure);
    count = shorten(c, ts, count, stopped);
    play(c, ts, count, stopped, NULL);
    if (failed)
        snprintf(outcome->message, sizeof outcome->message, "%s", failure);
    char *text = schedule_text(ts, count);
    outcome->schedule = malloc(strlen(text) + 4 * ACTORS_MAX);
    char *to = outcome->schedule + sprintf(outcome->schedule, "%s", text);
    for (uint32_t a = 0; a < actor_count; a++)
        if (stopped & 1u << a)
            to += sprintf(to, "/%c", 'a' + (int)a);
    free(text);
    free(ts);
}

static bool is_kill(const struct actor *actor, transition t)
{
    return kind_of(t) == DIE ||
           (kind_of(t) == STEP && actor->op.kind == OP_CHOOSE && alternative_of(t) >> 8 == EV_KILL);
}

/* A new state, just reached and current: looks at it, and puts it on the stack. false: violated. */
static bool visit(struct outcome *outcome, size_t size, uint32_t *stopped)
{
    if (frame_count == frame_room) {
        frame_room = frame_room ? frame_room * 2 : 256;
        frames = realloc(frames, frame_room * sizeof *frames);
    }
    struct frame *f = &frames[frame_count++];
    f->at = saved_used;
    f->next = 0;
    uint32_t busy;
    f->count = enumerate(f->ts, &busy, false);
    saved_used += size;
    *stopped = 0;
    if (busy == 0) {
        outcome->runs++;
        return rests_well(0);
    }
    bool alone = (busy & (busy - 1)) == 0;
    uint32_t who = (uint32_t)__builtin_ctz(busy);
    bool dirty = false;
    if (alone && !config->no_stops && &world.actors[who] != the_leatd() && world.actors[who].kind != WARDEN) {
        outcome->stops++;
        *stopped = busy;
        memory_flush(who);
        if (!run_fairly(busy))
            return false;
        dirty = true;
    }
    if ((outcome->states & 0xff) == 0) { /* some of them, and the same ones each time */
        if (dirty)
            restore(saved + f->at);
        outcome->runs++;
        *stopped = 0;
        if (!run_fairly(0))
            return false;
        dirty = true;
    }
    if (dirty)
        restore(saved + f->at);
    return true;
}

static void make_room(void)
{
    if (saved_used + STATE_MAX > saved_room) {
        saved_room = saved_room ? saved_room * 2 : 1 << 20;
        saved = realloc(saved, saved_room);
    }
}

static void explore_once(const struct config *c, struct outcome *outcome, uint64_t max_states, double until)
{
    begin(c);
    table_reset();
    frame_count = 0;
    saved_used = 0;
    memset(outcome, 0, sizeof *outcome);
    uint32_t stopped;

    make_room();
    size_t size = save(saved);
    table_add(saved, size);
    outcome->states = 1;
    bool is_current = true;
    if (!visit(outcome, size, &stopped)) {
        report(outcome, c, stopped);
        return;
    }
    while (frame_count > 0) {
        struct frame *f = &frames[frame_count - 1];
        if (f->next == f->count) {
            saved_used = f->at;
            frame_count--;
            is_current = false;
            continue;
        }
        if (!is_current)
            restore(saved + f->at);
        transition t = f->ts[f->next++];
        outcome->transitions++;
        outcome->kills += is_kill(&world.actors[actor_of(t)], t);
        apply(t);
        is_current = false;
        if (failed) {
            report(outcome, c, 0);
            return;
        }
        make_room();
        size = save(saved + saved_used);
        if (size > STATE_MAX)
            abort();
        if (!table_add(saved + saved_used, size))
            continue;
        outcome->states++;
        if (!visit(outcome, size, &stopped)) {
            report(outcome, c, stopped);
            return;
        }
        is_current = true;
        if (outcome->states >= max_states || ((outcome->states & 0xfff) == 0 && now() > until)) {
            outcome->cut = true;
            return;
        }
    }
}

void explore(const struct config *c, struct outcome *outcome, uint64_t max_states, double max_seconds)
{
    double start = now();
    explore_once(c, outcome, max_states, start + max_seconds);
    outcome->seconds = now() - start;
}
