/* step: single-steps the compiled client through its paths, and tries at every machine instruction what can happen there.
 *
 *   step --root DIR --gcc CC --zig ZIG --flags FLAGS --rest LIBLEAT [--sample] [--self] [--build NAME] [--path NAME]
 *        [--at N] [--scenario NAME] [--mutant NAME] [--window N] [--uncovered]
 *
 * The first five come from build.zig. See README.md here for what is checked, and what that proves.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "stepper.h"

#define MUTANTS_MAX 64

static struct toolchain tools = { .gcc = "gcc" };
static struct options options = { .only_instruction = UINT32_MAX, .window = 16, .violations_max = 3 };
static const char *only_build, *only_path;
static bool sample, self, uncovered;
static unsigned passed, failed, skipped, built, stepped_paths;
static uint64_t instructions, checks, violations;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: tools/zig build test:step -- [--sample] [--self] [--build NAME] [--path NAME] [--at N] "
            "[--scenario NAME] [--mutant NAME] [--window N] [--uncovered]\n");
    return 2;
}

static bool take_option(char **argv, int *i)
{
    const char *name = argv[*i], *value = argv[*i + 1];
    struct {
        const char *name;
        const char **to;
    } strings[] = {
        { "--root", &tools.root },
        { "--gcc", &tools.gcc },
        { "--zig", &tools.zig },
        { "--flags", &tools.flags },
        { "--rest", &tools.rest },
        { "--build", &only_build },
        { "--path", &only_path },
        { "--mutant", &options.mutant },
        { "--scenario", &options.only_scenario },
    };
    if (strcmp(name, "--sample") == 0)
        return sample = true;
    if (strcmp(name, "--self") == 0)
        return self = true;
    if (strcmp(name, "--uncovered") == 0)
        return uncovered = true;
    if (!value)
        return false;
    ++*i;
    for (size_t s = 0; s < sizeof strings / sizeof *strings; s++)
        if (strcmp(name, strings[s].name) == 0) {
            *strings[s].to = value;
            return true;
        }
    if (strcmp(name, "--at") == 0)
        options.only_instruction = (uint32_t)strtoul(value, NULL, 10);
    else if (strcmp(name, "--window") == 0)
        options.window = (uint32_t)strtoul(value, NULL, 10);
    else
        return false;
    return true;
}

static bool is_chosen(const struct path *path)
{
    return only_path ? strcmp(path->name, only_path) == 0 : !sample || path->sampled;
}

/* Instructions of the shipping functions that a path came into, and those of them that none came to. */
static void report_coverage(const struct build *build)
{
    uint32_t all = 0, seen = 0, functions = 0;
    for (uint32_t i = 0, end; i < build->instruction_count; i = end) {
        const struct function *function = &build->functions[build->instructions[i].function];
        uint32_t here = 0;
        for (end = i; end < build->instruction_count &&
                      build->instructions[end].function == build->instructions[i].function;
             end++)
            here += build->instructions[end].seen != 0;
        if (here == 0 || !function->ours)
            continue;
        functions++;
        all += end - i;
        seen += here;
        if (uncovered)
            printf("    %-34s %4u of %4u instructions\n", function->name, here, end - i);
    }
    if (build->instruction_count == 0)
        printf("%-9s no objdump here: nothing is known of instructions that no path came to\n", build->name);
    else
        printf("%-9s %u shipping functions, %u instructions: %u stepped, %u never reached by these paths\n",
               build->name, functions, all, seen, all - seen);
}

static void step_build(struct build *build)
{
    for (size_t p = 0; p < path_count; p++) {
        struct stepped sum = { 0 };
        if (!is_chosen(&paths[p]))
            continue;
        step_path(build, &paths[p], &options, &sum);
        printf("%-9s %-14s %5u instructions %5u addresses %6llu checks %2u violations %5.1f s  %s\n",
               build->name, paths[p].name, sum.instructions, sum.addresses, (unsigned long long)sum.checks,
               sum.violations, sum.seconds, paths[p].what);
        stepped_paths++;
        instructions += sum.instructions;
        checks += sum.checks;
        violations += sum.violations;
        if (sum.violations == 0 && sum.instructions > 0)
            passed++;
        else
            failed++;
    }
}

static void make_and_step(struct build *build)
{
    bool missing;
    const char *wrong = build_make(build, &tools, options.mutant, &missing);
    if (wrong) {
        printf("%s %s: %s\n", missing ? "SKIP" : "FAIL", build->name, wrong);
        if (missing)
            skipped++;
        else
            failed++;
        return;
    }
    built++;
    step_build(build);
    report_coverage(build);
}

/* Each edit of mutants.txt is wrong, and one of its paths has to notice. */
static void test_self(struct build *build)
{
    static struct mutant mutants[MUTANTS_MAX];
    size_t n = mutants_read(&tools, mutants, MUTANTS_MAX);
    struct options quiet = options;
    quiet.quiet = true;
    quiet.violations_max = 1;
    for (size_t i = 0; i < n; i += sample ? 4 : 1) {
        bool missing;
        struct stepped sum = { 0 };
        const char *wrong = build_make(build, &tools, mutants[i].name, &missing);
        char *names = mutants[i].paths, *name;
        if (missing)
            return;
        while (!wrong && sum.violations == 0 && (name = strsep(&names, " ")))
            for (size_t p = 0; p < path_count; p++)
                if (strcmp(paths[p].name, name) == 0)
                    step_path(build, &paths[p], &quiet, &sum);
        printf("%-9s wrong edit %-28s %s%s\n", build->name, mutants[i].name,
               wrong                 ? wrong
               : sum.violations != 0 ? "noticed: "
                                     : "NOT NOTICED: ",
               wrong ? "" : mutants[i].why);
        if (!wrong && sum.violations != 0)
            passed++;
        else
            failed++;
    }
}

static void say_sum(double from)
{
    printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
    printf("step: %u builds, %u paths, %llu instructions, %llu checks, %llu violations, %.0f s\n", built,
           stepped_paths, (unsigned long long)instructions, (unsigned long long)checks,
           (unsigned long long)violations, seconds() - from);
}

/* What is built is built elsewhere. */
static const char *whole(const char *path)
{
    char *made = realpath(path, NULL);
    return made ? made : path;
}

int main(int argc, char **argv)
{
    double from = seconds();
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--") != 0 && !take_option(argv, &i))
            return usage();
    if (!tools.root || !tools.zig || !tools.flags || !tools.rest)
        return usage();
    tools.root = whole(tools.root);
    tools.rest = whole(tools.rest);
    if (sample)
        options.window = 6;
    const char *cannot = stepper_open();
    if (cannot) {
        printf("SKIP: %s\n", cannot);
        skipped++;
        say_sum(from);
        return 0;
    }
    snprintf(tools.work, sizeof tools.work, "%s/leat-step-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(tools.work))
        return 2;
    bool any = false;
    for (size_t b = 0; b < build_count; b++) {
        /* A short run: one build of each compiler. */
        if (only_build ? strcmp(builds[b].name, only_build) != 0 : sample && b >= 2)
            continue;
        any = true;
        make_and_step(&builds[b]);
    }
    if (self && !options.mutant)
        test_self(&builds[0]);
    char remove[300];
    snprintf(remove, sizeof remove, "rm -rf %s", tools.work);
    if (system(remove) != 0)
        fprintf(stderr, "step: cannot remove %s\n", tools.work);
    if (!any)
        return usage();
    say_sum(from);
    return failed != 0;
}
