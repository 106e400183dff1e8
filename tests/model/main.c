/* main: runs configurations, prints a table, replays schedules. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"

static const char *const memory_names[] = { [SC] = "sc", [TSO] = "tso", [WEAK] = "weak" };

static const struct config *find(const char *name, size_t length)
{
    for (size_t i = 0; i < config_count; i++)
        if (strlen(configs[i].name) == length && memcmp(configs[i].name, name, length) == 0)
            return &configs[i];
    fprintf(stderr, "model: there is no configuration \"%.*s\"\n", (int)length, name);
    exit(2);
}

struct limits {
    uint64_t states;       /* of one configuration */
    double seconds, total; /* of one, of all */
    bool no_rings, no_groups;
    bool first; /* stop at the first violation, and look for it everywhere in small rounds first */
};

struct sum {
    struct outcome outcome;
    unsigned explored, violations;
    bool over[128]; /* all of it was seen */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void print_line(const struct config *c, const struct outcome *o)
{
    printf(
        "%-21s %-5s %10llu states %11llu steps %9llu kills %7llu stops %8llu runs %6.1f s %7.0f/s %s  %s\n",
        c->name, memory_names[c->memory], (unsigned long long)o->states, (unsigned long long)o->transitions,
        (unsigned long long)o->kills, (unsigned long long)o->stops, (unsigned long long)o->runs, o->seconds,
        (double)o->states / o->seconds, o->cut ? "cut" : "all", c->what);
    if (memory_forgotten())
        printf("    history too short %llu times\n", (unsigned long long)memory_forgotten());
    if (o->violated)
        printf("VIOLATION %s: %s\n    --replay %s:%s --trace\n", c->name, o->message, c->name, o->schedule);
}

static bool is_wanted(const struct config *c, const char *only, const struct limits *limits)
{
    if (only)
        return !strcmp(c->name, only);
    return c->members > 0 ? !limits->no_groups : !limits->no_rings;
}

/* One round over all configurations, or over one. false: enough. */
static bool run_round(const char *only, const struct limits *limits, uint64_t states, struct sum *sum)
{
    unsigned left = 0;
    double start = now();
    for (size_t i = 0; i < config_count; i++)
        left += is_wanted(&configs[i], only, limits);
    for (size_t i = 0; i < config_count; i++) {
        if (sum->over[i] || !is_wanted(&configs[i], only, limits))
            continue;
        /* What the small ones leave of the time is for the large ones, which come last. */
        double share = limits->total > 0 ? (start + limits->total - now()) / left-- : limits->seconds;
        struct outcome o;
        explore(&configs[i], &o, states, share);
        sum->over[i] = !o.cut;
        if (!limits->first || o.violated || !o.cut || states == limits->states)
            print_line(&configs[i], &o);
        sum->explored++;
        sum->violations += o.violated;
        sum->outcome.states += o.states;
        sum->outcome.kills += o.kills;
        sum->outcome.seconds += o.seconds;
        sum->outcome.runs += !o.cut;
        if (limits->first && o.violated)
            return false;
    }
    return true;
}

static int replay_one(const char *what, bool trace)
{
    const char *colon = strchr(what, ':');
    char message[256];
    if (!colon) {
        fprintf(stderr, "model: --replay CONFIGURATION:SCHEDULE\n");
        return 2;
    }
    int violated = replay(find(what, (size_t)(colon - what)), colon + 1, trace, message, sizeof message);
    printf("%s\n", message);
    return violated;
}

int main(int argc, char **argv)
{
    const char *replayed = NULL, *only = NULL;
    bool trace = false;
    struct limits limits = { .states = UINT64_MAX, .seconds = 1e9 };
    double total = 420;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--replay") && i + 1 < argc)
            replayed = argv[++i];
        else if (!strcmp(argv[i], "--trace"))
            trace = true;
        else if (!strcmp(argv[i], "--first"))
            limits.first = true;
        else if (!strcmp(argv[i], "--kind") && i + 1 < argc)
            limits.no_rings = !strcmp(argv[++i], "group"), limits.no_groups = !limits.no_rings;
        else if (!strcmp(argv[i], "--each") && i + 1 < argc)
            limits.seconds = strtod(argv[++i], NULL), total = 0;
        else if (!strcmp(argv[i], "--states") && i + 1 < argc)
            limits.states = strtoull(argv[++i], NULL, 10), total = 0;
        else if (!strcmp(argv[i], "--seconds") && i + 1 < argc)
            total = strtod(argv[++i], NULL);
        else if (argv[i][0] == '-') {
            fprintf(stderr, "model: what is \"%s\"?\n", argv[i]);
            return 2;
        } else {
            only = find(argv[i], strlen(argv[i]))->name;
        }
    }
    if (replayed)
        return replay_one(replayed, trace);
    limits.total = total;
    struct sum sum = { 0 };
    bool goes_on = true;
    for (uint64_t states = 20000; limits.first && goes_on && states < limits.states; states *= 8)
        goes_on = run_round(only, &limits, states, &sum);
    if (goes_on)
        run_round(only, &limits, limits.states, &sum);
    if (!limits.first)
        printf("%llu of %u configurations were explored to their end\n", (unsigned long long)sum.outcome.runs,
               sum.explored);
    printf("%u passed, %u failed, 0 skipped\n", sum.explored - sum.violations, sum.violations);
    printf("model: %llu states, %llu kills, %u violations, %.0f s\n", (unsigned long long)sum.outcome.states,
           (unsigned long long)sum.outcome.kills, sum.violations, sum.outcome.seconds);
    return sum.violations != 0;
}
