/*
 * From rounds to a line. A round counts when its placement is the one that most rounds had, and when its
 * processes had their CPUs to themselves (waited for them less than QUEUED_MAX of the time; cases with more
 * processes than CPUs are let off). Figures are medians of the rounds that count, with the smallest and the
 * largest beside them; max is the largest of all rounds. A ratio is formed within a round, between a case and
 * its floor when both count, and again the median is taken. Where that leaves nothing, first the quiet is let
 * go (a ! says so), then the placement (MIXED).
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

#define QUEUED_MAX 0.05

typedef double figure(const struct bench_round *round);

static double before_ns(const struct bench_round *r)
{
    return r->before_ns;
}
static double after_ns(const struct bench_round *r)
{
    return r->after_ns;
}
static double p50_ns(const struct bench_round *r)
{
    return r->p50_ns;
}
static double p99_ns(const struct bench_round *r)
{
    return r->p99_ns;
}
static double p999_ns(const struct bench_round *r)
{
    return r->p999_ns;
}
static double records_per_s(const struct bench_round *r)
{
    return r->records_per_s;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values. */
double bench_median(double *values, int count)
{
    if (count == 0)
        return 0;
    qsort(values, (size_t)count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

struct bench_quantiles bench_quantiles_of(double *values_ns, int count)
{
    if (count == 0)
        return (struct bench_quantiles){ 0 };
    qsort(values_ns, (size_t)count, sizeof *values_ns, ascending);
    return (struct bench_quantiles){ values_ns[(count - 1) * 50 / 100], values_ns[(count - 1) * 90 / 100],
                                     values_ns[(count - 1) * 99 / 100] };
}

struct spread {
    double median, min, max;
};

static struct spread spread_of(double *values, int count)
{
    if (count == 0)
        return (struct spread){ 0 };
    double median = bench_median(values, count);
    return (struct spread){ median, values[0], values[count - 1] };
}

/* Which rounds of a case count. */
struct choice {
    enum bench_placement label; /* MIXED: of any placement */
    bool noisy;                 /* also those that had to share their CPUs */
};

static bool counts(const struct bench_case *self, const struct bench_round *round, struct choice choice)
{
    bool quiet = round->queued <= QUEUED_MAX || self->producers + self->consumers > 2;
    return (choice.label == BENCH_MIXED || round->placement == choice.label) && (quiet || choice.noisy);
}

static int how_many(const struct bench_case *self, struct choice choice)
{
    int n = 0;
    for (int i = 0; i < self->rounds; i++)
        n += counts(self, &self->results[i], choice);
    return n;
}

static struct choice choose(const struct bench_case *self)
{
    for (int noisy = 0; noisy < 2; noisy++) {
        struct choice same = { BENCH_SAME, noisy != 0 }, cross = { BENCH_CROSS, noisy != 0 };
        int same_count = how_many(self, same), cross_count = how_many(self, cross);
        if (same_count + cross_count > 0)
            return same_count >= cross_count ? same : cross;
    }
    return (struct choice){ BENCH_MIXED, true };
}

static struct spread over_rounds(const struct bench_case *self, struct choice choice, figure *of)
{
    double values[BENCH_MAX_ROUNDS];
    int n = 0;
    for (int i = 0; i < self->rounds; i++)
        if (counts(self, &self->results[i], choice))
            values[n++] = of(&self->results[i]);
    return spread_of(values, n);
}

/* self / other, round by round. *choice is where to begin, and then what it came to. */
static struct spread ratio_to(const struct bench_case *self, const struct bench_case *other, figure *of,
                              struct choice *choice)
{
    double values[BENCH_MAX_ROUNDS];
    const struct choice tries[] = { *choice, { choice->label, true }, { BENCH_MIXED, true } };
    int n = 0;
    for (int t = 0; t < 3 && n == 0; t++) {
        *choice = tries[t];
        for (int i = 0; i < self->rounds && i < other->rounds; i++) {
            const struct bench_round *a = &self->results[i], *b = &other->results[i];
            if (counts(self, a, *choice) && counts(other, b, *choice) && of(b) > 0)
                values[n++] = of(a) / of(b);
        }
    }
    return spread_of(values, n);
}

/* ---- lines --------------------------------------------------------------------------------------------- */

void bench_json_string(const char *key, const char *text)
{
    printf(",\"%s\":\"", key);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            printf("\\u%04x", (unsigned char)*text);
        else
            putchar(*text);
    }
    putchar('"');
}

static const char *human_ns(double ns, char *out, size_t out_size)
{
    if (ns < 9999.5)
        snprintf(out, out_size, "%.0f ns", ns);
    else if (ns < 9999.5e3)
        snprintf(out, out_size, "%.1f us", ns / 1e3);
    else
        snprintf(out, out_size, "%.1f ms", ns / 1e6);
    return out;
}

static const char *human_rate(double rate, const char *unit, char *out, size_t out_size)
{
    if (rate >= 1e9)
        snprintf(out, out_size, "%.2f G%s", rate / 1e9, unit);
    else if (rate >= 1e6)
        snprintf(out, out_size, "%.2f M%s", rate / 1e6, unit);
    else
        snprintf(out, out_size, "%.1f k%s", rate / 1e3, unit);
    return out;
}

static void cpu_model(char *out, size_t out_size)
{
    snprintf(out, out_size, "unknown");
    FILE *info = fopen("/proc/cpuinfo", "re");
    char line[256];
    while (info && fgets(line, sizeof line, info)) {
        char *colon = strstr(line, ": ");
        if (strncmp(line, "model name", 10) == 0 && colon) {
            colon[strcspn(colon, "\n")] = 0;
            snprintf(out, out_size, "%s", colon + 2);
            break;
        }
    }
    if (info)
        fclose(info);
}

void bench_report_machine(const struct bench_options *options)
{
    struct utsname os;
    char cpu[128];
    cpu_model(cpu, sizeof cpu);
    if (uname(&os) != 0)
        return;
    if (options->json) {
        printf("{\"record\":\"machine\"");
        bench_json_string("cpu", cpu);
        bench_json_string("kernel", os.release);
        printf(",\"cpus_used\":[%d,%d],\"tick_ns\":%.4f,\"seconds\":%.3f,\"rounds\":%d}\n", bench_cpu(0),
               bench_cpu(1), bench_ns(1000) / 1000, options->seconds, options->rounds);
    } else {
        printf("%s, Linux %s, CPUs %d and %d; ", cpu, os.release, bench_cpu(0), bench_cpu(1));
        if (options->seconds > 0)
            printf("%.3g s a case in %d rounds, medians of rounds.\n", options->seconds, options->rounds);
        else
            printf("%d rounds a case.\n", options->rounds);
    }
}

void bench_report_head(enum bench_measure measure, const char *about, const struct bench_options *options)
{
    if (options->json)
        return;
    printf("\n%s\n", about);
    printf("placed: where the CPUs were, and how many rounds count; !: they had to share the CPUs; "
           "~: nor did a pair.\n");
    if (measure == BENCH_LATENCY)
        printf("%-34s %-8s %9s %8s %8s %8s %9s %19s %7s %7s %9s\n", "case", "placed", "n", "p50", "p99",
               "p99.9", "max", "p50 of rounds", "x floor", "(p99)", "probe ns");
    else
        printf("%-34s %-8s %9s %11s %11s %25s %7s %7s %9s\n", "case", "placed", "n", "records/s", "bytes/s",
               "records/s of rounds", "x floor", "x other", "probe ns");
}

struct line {
    const struct bench_case *self;
    struct choice choice, ratio_choice;
    int rounds_used;
    uint64_t n;
    double max_ns, queued;
    struct spread before, after, p50, p99, p999, rate, ratio, ratio_p99, ratio_other;
};

static void json_line(const struct line *l, const struct bench_case *cases)
{
    const struct bench_case *self = l->self;
    printf("{\"record\":\"case\"");
    bench_json_string("name", self->name);
    bench_json_string("kind", self->kind == BENCH_FLOOR ? "floor" : "leat");
    bench_json_string("measure", self->measure == BENCH_LATENCY ? "latency" : "throughput");
    printf(",\"size_bytes\":%u", self->size_bytes);
    bench_json_string("mode", self->block ? "block" : "spin");
    bench_json_string("shape", self->shape);
    printf(",\"batch\":%u,\"producers\":%u,\"consumers\":%u,\"partitions\":%u", self->batch, self->producers,
           self->consumers, self->partitions);
    if (self->error[0]) {
        bench_json_string("error", self->error);
        printf("}\n");
        return;
    }
    printf(",\"placement_before_ns\":%.0f,\"placement_after_ns\":%.0f", l->before.median, l->after.median);
    bench_json_string("label", bench_placement_names[l->choice.label]);
    printf(",\"rounds\":%d,\"rounds_used\":%d,\"queued\":%.3f,\"n\":%llu", self->rounds, l->rounds_used,
           l->queued, (unsigned long long)l->n);
    if (self->measure == BENCH_LATENCY)
        printf(",\"p50_ns\":%.1f,\"p99_ns\":%.1f,\"p999_ns\":%.1f,\"max_ns\":%.0f,\"p50_min_ns\":%.1f,"
               "\"p50_max_ns\":%.1f,\"p99_min_ns\":%.1f,\"p99_max_ns\":%.1f",
               l->p50.median, l->p99.median, l->p999.median, l->max_ns, l->p50.min, l->p50.max, l->p99.min,
               l->p99.max);
    else
        printf(",\"records_per_s\":%.0f,\"bytes_per_s\":%.0f,\"records_per_s_min\":%.0f,"
               "\"records_per_s_max\":%.0f",
               l->rate.median, l->rate.median * self->size_bytes, l->rate.min, l->rate.max);
    if (self->floor >= 0 && l->ratio.median > 0) {
        bench_json_string("floor", cases[self->floor].name);
        printf(",\"ratio\":%.3f,\"ratio_min\":%.3f,\"ratio_max\":%.3f", l->ratio.median, l->ratio.min,
               l->ratio.max);
        if (self->measure == BENCH_LATENCY)
            printf(",\"ratio_p99\":%.3f", l->ratio_p99.median);
        bench_json_string("ratio_label", bench_placement_names[l->ratio_choice.label]);
        printf(",\"ratio_noisy\":%s", l->ratio_choice.noisy ? "true" : "false");
    }
    if (self->against >= 0 && l->ratio_other.median > 0) {
        bench_json_string("against", cases[self->against].name);
        printf(",\"ratio_against\":%.3f", l->ratio_other.median);
    }
    printf("}\n");
}

static const char *ratio_text(const struct spread *ratio, bool known, bool mixed, char *out, size_t out_size)
{
    if (!known || ratio->median <= 0)
        return "-";
    snprintf(out, out_size, "%s%.2f", mixed ? "~" : "", ratio->median);
    return out;
}

static void table_line(const struct line *l)
{
    const struct bench_case *self = l->self;
    char a[32], b[32], c[32], d[32], e[32], f[32], g[64], h[16], k[16], probe[48];
    if (self->error[0]) {
        printf("%-34s failed: %s\n", self->name, self->error);
        return;
    }
    bool mixed = l->ratio_choice.label == BENCH_MIXED || l->ratio_choice.noisy;
    char placed[16];
    snprintf(placed, sizeof placed, "%s %d%s", bench_placement_names[l->choice.label], l->rounds_used,
             l->choice.noisy ? "!" : "");
    snprintf(probe, sizeof probe, "%.0f/%.0f", l->before.median, l->after.median);
    if (self->measure == BENCH_LATENCY) {
        snprintf(g, sizeof g, "%s-%s", human_ns(l->p50.min, e, sizeof e), human_ns(l->p50.max, f, sizeof f));
        printf("%-34s %-8s %9llu %8s %8s %8s %9s %19s %7s %7s %9s\n", self->name, placed,
               (unsigned long long)l->n, human_ns(l->p50.median, a, sizeof a),
               human_ns(l->p99.median, b, sizeof b), human_ns(l->p999.median, c, sizeof c),
               human_ns(l->max_ns, d, sizeof d), g,
               ratio_text(&l->ratio, self->floor >= 0, mixed, h, sizeof h),
               ratio_text(&l->ratio_p99, self->floor >= 0, mixed, k, sizeof k), probe);
    } else {
        snprintf(g, sizeof g, "%s-%s", human_rate(l->rate.min, "/s", e, sizeof e),
                 human_rate(l->rate.max, "/s", f, sizeof f));
        printf("%-34s %-8s %9llu %11s %11s %25s %7s %7s %9s\n", self->name, placed, (unsigned long long)l->n,
               human_rate(l->rate.median, "/s", a, sizeof a),
               human_rate(l->rate.median * self->size_bytes, "B/s", b, sizeof b), g,
               ratio_text(&l->ratio, self->floor >= 0, mixed, h, sizeof h),
               ratio_text(&l->ratio_other, self->against >= 0, mixed, k, sizeof k), probe);
    }
}

void bench_report_case(const struct bench_case *cases, int index, const struct bench_options *options)
{
    const struct bench_case *self = &cases[index];
    figure *main_figure = self->measure == BENCH_LATENCY ? p50_ns : records_per_s;
    struct line l = { .self = self, .choice = choose(self) };
    for (int i = 0; i < self->rounds; i++) {
        const struct bench_round *round = &self->results[i];
        if (round->max_ns > l.max_ns)
            l.max_ns = round->max_ns;
        if (!counts(self, round, l.choice))
            continue;
        l.rounds_used++;
        l.n += round->n;
        if (round->queued > l.queued)
            l.queued = round->queued;
    }
    l.before = over_rounds(self, l.choice, before_ns);
    l.after = over_rounds(self, l.choice, after_ns);
    l.p50 = over_rounds(self, l.choice, p50_ns);
    l.p99 = over_rounds(self, l.choice, p99_ns);
    l.p999 = over_rounds(self, l.choice, p999_ns);
    l.rate = over_rounds(self, l.choice, records_per_s);
    if (self->floor >= 0) {
        l.ratio_choice = l.choice;
        l.ratio = ratio_to(self, &cases[self->floor], main_figure, &l.ratio_choice);
        if (self->measure == BENCH_LATENCY)
            l.ratio_p99 = ratio_to(self, &cases[self->floor], p99_ns, &l.ratio_choice);
    }
    if (self->against >= 0) {
        struct choice choice = l.choice;
        l.ratio_other = ratio_to(self, &cases[self->against], main_figure, &choice);
    }
    if (options->json)
        json_line(&l, cases);
    else
        table_line(&l);
    fflush(stdout);
}
