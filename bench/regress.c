/*
 * This tree against another revision: REV is built in a git worktree of its own, then both bench programs run
 * in turn, one round each (A B A B ...), and the k-th run of the one is paired with the k-th of the other
 * under the same placement. What counts is the ratio within a pair; the floors are paired as well, as the
 * control: they are the same code twice, and what moves them is noise.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_TRACKS 192
#define PATH_BYTES 4096

enum tree { OURS, THEIRS, TREES };

struct program {
    char bench[PATH_BYTES], leatd[PATH_BYTES];
};

/* The figures of one case, by tree and placement, in the order of the runs. */
struct series {
    int count;
    double main[BENCH_MAX_ROUNDS], p99[BENCH_MAX_ROUNDS];
};

struct track {
    char name[64];
    bool latency;
    struct series series[TREES][BENCH_MIXED]; /* MIXED runs pair with nothing */
};

struct regress {
    struct program programs[TREES];
    char home[64]; /* the temporary directory, with tree/ and out/ in it */
    int failed;
    int track_count;
    struct track tracks[MAX_TRACKS];
};

static volatile sig_atomic_t interrupted;

static void interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

/* ---- children ------------------------------------------------------------------------------------------ */

typedef void line_fn(char *line, void *user);

/* Runs argv in `directory` (NULL: here), each line of its stdout to `line` (NULL: to our stderr). 0 when it
 * exits with 0. */
static int run(const char *const argv[], const char *directory, const char *leatd, line_fn *line, void *user)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -errno;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (leatd)
            setenv("LEAT_BENCH_LEATD", leatd, 1);
        else
            unsetenv("LEAT_BENCH_LEATD");
        if (dup2(line ? ends[1] : STDERR_FILENO, STDOUT_FILENO) >= 0 && (!directory || chdir(directory) == 0))
            execvp(argv[0], (char *const *)argv); /* which does not write to them */
        fprintf(stderr, "bench: %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    close(ends[1]);
    FILE *out = fdopen(ends[0], "r");
    char *text = NULL;
    size_t size = 0;
    while (out && getline(&text, &size, out) > 0) {
        text[strcspn(text, "\n")] = 0;
        if (line)
            line(text, user);
    }
    free(text);
    if (out)
        fclose(out);
    int status = -1;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

/* ---- the other tree ------------------------------------------------------------------------------------ */

static void read_where(char *line, void *user)
{
    struct program *program = user;
    char *into = program->bench[0] ? program->leatd : program->bench;
    snprintf(into, PATH_BYTES, "%s", line);
}

/* The Zig that built us goes first on PATH: the other tree's tools/zig takes it when it wants that version,
 * and fetches its own when not. */
static void prefer_our_zig(void)
{
    const char *zig = getenv("LEAT_BUILD_ZIG"), *path = getenv("PATH");
    const char *slash = zig ? strrchr(zig, '/') : NULL;
    char longer[2 * PATH_BYTES];
    if (!slash)
        return;
    snprintf(longer, sizeof longer, "%.*s:%s", (int)(slash - zig), zig, path ? path : "/usr/bin:/bin");
    setenv("PATH", longer, 1);
}

static int build_theirs(struct regress *regress, const char *revision)
{
    char tree[96], out[96];
    snprintf(tree, sizeof tree, "%s/tree", regress->home);
    snprintf(out, sizeof out, "%s/out", regress->home);
    const char *add[] = { "git", "worktree", "add", "--quiet", "--detach", tree, revision, NULL };
    int r = run(add, NULL, NULL, NULL, NULL);
    if (r != 0)
        return r;
    struct program *theirs = &regress->programs[THEIRS];
    const char *build[] = { "tools/zig", "build", "-Doptimize=ReleaseFast", "--prefix", out, "bench", "--",
                            "where",     NULL };
    r = run(build, tree, NULL, read_where, theirs);
    if (r != 0 || access(theirs->bench, X_OK) != 0) {
        fprintf(stderr, "bench: regress: %s does not build, or has no `bench where`\n", revision);
        return -1;
    }
    /* An older one says it from its own directory; the build puts leatd beside the bench. */
    if (theirs->leatd[0] != '/')
        snprintf(theirs->leatd, sizeof theirs->leatd, "%.*s/leatd",
                 (int)(strrchr(theirs->bench, '/') - theirs->bench), theirs->bench);
    return 0;
}

static void drop_theirs(struct regress *regress)
{
    char tree[96];
    snprintf(tree, sizeof tree, "%s/tree", regress->home);
    const char *drop[] = { "git", "worktree", "remove", "--force", tree, NULL };
    if (access(tree, F_OK) == 0)
        run(drop, NULL, NULL, NULL, NULL);
    bench_remove_tree(regress->home);
}

/* ---- what they print: lines of our own making, so a search for the key will do ------------------------- */

static const char *json_find(const char *line, const char *key)
{
    char quoted[48];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(line, quoted);
    return at ? at + strlen(quoted) : NULL;
}

static double json_number(const char *line, const char *key)
{
    const char *at = json_find(line, key);
    return at ? strtod(at, NULL) : 0;
}

static bool json_text(const char *line, const char *key, char *out, size_t out_size)
{
    const char *at = json_find(line, key);
    if (!at || *at != '"')
        return false;
    size_t size = strcspn(at + 1, "\"");
    if (size >= out_size)
        return false;
    memcpy(out, at + 1, size);
    out[size] = 0;
    return true;
}

static struct track *track_of(struct regress *regress, const char *name)
{
    for (int i = 0; i < regress->track_count; i++)
        if (strcmp(regress->tracks[i].name, name) == 0)
            return &regress->tracks[i];
    if (regress->track_count == MAX_TRACKS)
        return NULL;
    struct track *track = &regress->tracks[regress->track_count++];
    snprintf(track->name, sizeof track->name, "%s", name);
    return track;
}

struct reader {
    struct regress *regress;
    enum tree tree;
};

static void read_case(char *line, void *user)
{
    const struct reader *reader = user;
    char record[16], name[64], label[16], error[192];
    if (!json_text(line, "record", record, sizeof record) || strcmp(record, "case") != 0 ||
        !json_text(line, "name", name, sizeof name))
        return;
    if (json_find(line, "error")) {
        if (!json_text(line, "error", error, sizeof error))
            error[0] = 0;
        fprintf(stderr, "bench: %s of %s failed: %s\n", name, reader->tree == OURS ? "this tree" : "REV",
                error);
        reader->regress->failed++;
        return;
    }
    struct track *track = track_of(reader->regress, name);
    if (!track || !json_text(line, "label", label, sizeof label))
        return;
    for (int placement = 0; placement < BENCH_MIXED; placement++) {
        struct series *series = &track->series[reader->tree][placement];
        if (strcmp(label, bench_placement_names[placement]) != 0 || series->count == BENCH_MAX_ROUNDS)
            continue;
        track->latency = json_find(line, "p50_ns") != NULL;
        series->main[series->count] = json_number(line, track->latency ? "p50_ns" : "records_per_s");
        series->p99[series->count++] = json_number(line, "p99_ns");
    }
}

static int run_once(struct regress *regress, enum tree tree, const char *command,
                    const struct bench_options *options)
{
    struct program *program = &regress->programs[tree];
    struct reader reader = { regress, tree };
    const char *filter = options->filter ? options->filter : "";
    char seconds[32];
    snprintf(seconds, sizeof seconds, "%.3f", options->seconds);
    const char *argv[] = { program->bench, command, "--json", "--rounds", "1",
                           "--seconds",    seconds, "--case", filter,     NULL };
    return run(argv, NULL, program->leatd, read_case, &reader);
}

/* ---- the comparison ------------------------------------------------------------------------------------ */

/* Two-sided: how likely is a split at least this uneven, were both trees the same? Ties are left out. */
static double sign_test(int lower, int higher)
{
    int n = lower + higher, few = lower < higher ? lower : higher;
    double ways = 1, sum = 0, all = 1; /* ways = n over k, all = 2^n */
    for (int k = 0; k <= few; k++) {
        sum += ways;
        ways = ways * (n - k) / (k + 1);
    }
    for (int i = 0; i < n; i++)
        all *= 2;
    return 2 * sum > all ? 1 : 2 * sum / all;
}

struct comparison {
    int pairs, lower, higher;
    double ours, theirs, median, min, max, p99, p;
};

static struct comparison compare(const struct series *ours, const struct series *theirs)
{
    struct comparison c = { .pairs = ours->count < theirs->count ? ours->count : theirs->count };
    double ratios[BENCH_MAX_ROUNDS], p99[BENCH_MAX_ROUNDS], a[BENCH_MAX_ROUNDS], b[BENCH_MAX_ROUNDS];
    if (c.pairs == 0)
        return c;
    for (int i = 0; i < c.pairs; i++) {
        a[i] = ours->main[i];
        b[i] = theirs->main[i];
        ratios[i] = b[i] > 0 ? a[i] / b[i] : 0;
        p99[i] = theirs->p99[i] > 0 ? ours->p99[i] / theirs->p99[i] : 0;
        c.lower += ratios[i] < 1;
        c.higher += ratios[i] > 1;
    }
    c.ours = bench_median(a, c.pairs);
    c.theirs = bench_median(b, c.pairs);
    c.median = bench_median(ratios, c.pairs);
    c.min = ratios[0];
    c.max = ratios[c.pairs - 1];
    c.p99 = bench_median(p99, c.pairs);
    c.p = sign_test(c.lower, c.higher);
    return c;
}

static void print_comparison(const struct track *track, enum bench_placement placement,
                             const struct comparison *c, bool json)
{
    bool rise = c->median > 1, better = rise != track->latency;
    const char *verdict = c->p > 0.05 ? "same" : better ? "better" : "worse";
    const char *placed = bench_placement_names[placement];
    char p99[16] = "-";
    if (track->latency)
        snprintf(p99, sizeof p99, "%.3f", c->p99);
    if (json)
        printf("{\"record\":\"regress\",\"name\":\"%s\",\"label\":\"%s\",\"unit\":\"%s\",\"pairs\":%d,"
               "\"this\":%.1f,\"rev\":%.1f,\"ratio\":%.4f,\"ratio_min\":%.4f,\"ratio_max\":%.4f,"
               "\"ratio_p99\":%.4f,\"lower\":%d,\"higher\":%d,\"p\":%.4f,\"verdict\":\"%s\"}\n",
               track->name, placed, track->latency ? "p50_ns" : "records_per_s", c->pairs, c->ours, c->theirs,
               c->median, c->min, c->max, c->p99, c->lower, c->higher, c->p, verdict);
    else
        printf("%-34s %-6s %5d %14.0f %14.0f %7.3f %6.3f-%-6.3f %7s %6.3f  %s\n", track->name, placed,
               c->pairs, c->ours, c->theirs, c->median, c->min, c->max, p99, c->p, verdict);
}

static void report(const struct regress *regress, const char *revision, bool json)
{
    if (!json)
        printf(
            "This tree over %s: median ratio of pairs of one placement. Latency: p50 in ns, lower is better; "
            "throughput: records/s.\np: sign test; the floors are the control.\n"
            "%-34s %-6s %5s %14s %14s %7s %13s %7s %6s  %s\n",
            revision, "case", "placed", "pairs", "this", "REV", "ratio", "min-max", "p99", "p", "verdict");
    for (int i = 0; i < regress->track_count; i++)
        for (int placement = 0; placement < BENCH_MIXED; placement++) {
            const struct track *track = &regress->tracks[i];
            struct comparison c = compare(&track->series[OURS][placement], &track->series[THEIRS][placement]);
            if (c.pairs > 0)
                print_comparison(track, (enum bench_placement)placement, &c, json);
        }
}

/* Which of the two goes first changes with every pair, or one tree would always find the other's caches. */
static void run_pairs(struct regress *regress, const struct bench_options *options)
{
    static const char *const commands[] = { "latency", "throughput" };
    for (int pair = 0; pair < options->rounds && !interrupted; pair++)
        for (int c = 0; c < 2 && !interrupted; c++) {
            enum tree first = pair % 2 ? THEIRS : OURS;
            fprintf(stderr, "bench: pair %d of %d, %s\n", pair + 1, options->rounds, commands[c]);
            if (run_once(regress, first, commands[c], options) != 0 ||
                run_once(regress, first == OURS ? THEIRS : OURS, commands[c], options) != 0)
                regress->failed++;
        }
}

int bench_regress(const char *revision, const struct bench_options *given)
{
    struct bench_options options = *given;
    options.seconds = options.seconds > 0 ? options.seconds : 0.2;
    options.rounds = options.rounds ? options.rounds : 7;
    struct regress *regress = calloc(1, sizeof *regress);
    if (!regress)
        return 1;
    snprintf(regress->home, sizeof regress->home, "/tmp/leat-regress-XXXXXX");
    if (bench_where(regress->programs[OURS].bench, regress->programs[OURS].leatd, PATH_BYTES) != 0 ||
        !mkdtemp(regress->home)) {
        fprintf(stderr, "bench: regress: %s\n", strerror(errno));
        free(regress);
        return 1;
    }
    signal(SIGINT, interrupt); /* children get it too; the worktree is removed either way */
    signal(SIGTERM, interrupt);
    prefer_our_zig();
    int r = build_theirs(regress, revision);
    if (r == 0) {
        run_pairs(regress, &options);
        report(regress, revision, options.json);
    }
    drop_theirs(regress);
    int failed = r != 0 || regress->failed > 0 || interrupted;
    free(regress);
    return failed;
}
