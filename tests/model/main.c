/* main: runs configurations, prints a table, replays schedules. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int main(int argc, char **argv)
{
    const char *replayed = NULL, *only = NULL;
    bool trace = false, first = false;
    uint64_t max_states = 1000000000;
    double max_seconds = 600;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--replay") && i + 1 < argc)
            replayed = argv[++i];
        else if (!strcmp(argv[i], "--trace"))
            trace = true;
        else if (!strcmp(argv[i], "--first"))
            first = true;
        else if (!strcmp(argv[i], "--each") && i + 1 < argc)
            max_seconds = strtod(argv[++i], NULL);
        else if (!strcmp(argv[i], "--states") && i + 1 < argc)
            max_states = strtoull(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--seconds") && i + 1 < argc)
            max_seconds = strtod(argv[++i], NULL);
        else
            only = argv[i];
    }
    if (replayed) {
        const char *colon = strchr(replayed, ':');
        if (!colon)
            return 2;
        char message[256];
        bool violated = replay(find(replayed, (size_t)(colon - replayed)), colon + 1, trace, message,
                               sizeof message);
        printf("%s\n", message);
        return violated;
    }
    struct outcome sum = { 0 };
    unsigned violations = 0, explored = 0;
    for (size_t i = 0; i < config_count; i++) {
        if (only && strcmp(configs[i].name, only) != 0)
            continue;
        struct outcome o;
        explore(&configs[i], &o, max_states, max_seconds);
        explored++;
        printf(
            "%-12s %-5s %10llu states %11llu steps %9llu kills %7llu stops %8llu runs %6.1f s %7.0f/s%s  %s\n",
            configs[i].name, memory_names[configs[i].memory], (unsigned long long)o.states,
            (unsigned long long)o.transitions, (unsigned long long)o.kills, (unsigned long long)o.stops,
            (unsigned long long)o.runs, o.seconds, (double)o.states / o.seconds, o.cut ? " cut" : "",
            configs[i].what);
        if (memory_forgotten())
            printf("    history too short %llu times\n", (unsigned long long)memory_forgotten());
        if (o.violated) {
            violations++;
            printf("VIOLATION %s: %s\n    --replay %s:%s --trace\n", configs[i].name, o.message,
                   configs[i].name, o.schedule);
        }
        if (first && violations)
            return 1;
        sum.states += o.states;
        sum.kills += o.kills;
        sum.seconds += o.seconds;
    }
    printf("%u passed, %u failed, 0 skipped\n", explored - violations, violations);
    printf("model: %llu states, %llu kills, %u violations, %.0f s\n", (unsigned long long)sum.states,
           (unsigned long long)sum.kills, violations, sum.seconds);
    return violations != 0;
}
