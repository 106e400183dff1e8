/*
 * Groups and rounds: who runs when. Every wanted case runs once a round, in turn, each between two probes, so
 * a host that moves the CPUs moves them under floor and leat alike. Round 0 warms up and is thrown away.
 */
#include "bench.h"

#include <stdio.h>

static void want(struct bench_case *cases, int count, const char *filter)
{
    for (int i = 0; i < count; i++)
        cases[i].wanted = !filter || strstr(cases[i].name, filter);
    for (int i = 0; i < count; i++) {
        if (!cases[i].wanted)
            continue;
        if (cases[i].floor >= 0)
            cases[cases[i].floor].wanted = true;
        if (cases[i].against >= 0)
            cases[cases[i].against].wanted = true;
    }
}

/* A case that failed once is left out of the rounds that follow: its error is what there is to report. */
static void run_round(struct bench_case *self, double slice_s, bool keep)
{
    struct bench_round round = { .before_ns = bench_probe() };
    if (self->round(self, slice_s, &round, self->error, sizeof self->error) != 0) {
        if (self->error[0] == 0)
            snprintf(self->error, sizeof self->error, "failed without a word");
        return;
    }
    round.after_ns = bench_probe();
    round.placement = bench_place(round.before_ns, round.after_ns);
    if (keep)
        self->results[self->rounds++] = round;
}

/* Returns how many cases failed. */
int bench_group_run(struct bench_case *cases, int count, const struct bench_options *options)
{
    int failed = 0;
    want(cases, count, options->filter);
    for (int r = 0; r <= options->rounds; r++)
        for (int i = 0; i < count; i++)
            if (cases[i].wanted && cases[i].error[0] == 0)
                run_round(&cases[i], options->seconds / options->rounds, r > 0);
    for (int i = 0; i < count; i++) {
        bench_bus_stop(cases[i].bus);
        cases[i].bus = NULL;
        if (!cases[i].wanted)
            continue;
        bench_report_case(cases, i, options);
        failed += cases[i].error[0] != 0;
    }
    return failed;
}
