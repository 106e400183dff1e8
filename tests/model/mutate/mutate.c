/* mutate: applies each edit of tests/model/mutants.txt to a copy of its file, builds the explorer and the unit tests of the ring
 * with it, and runs them until one of them notices.
 *
 *   mutate ROOT CC [--sample N] [--seed S] [--jobs N] [--states N] [NAME]...
 *   mutate ROOT CC --keep NAME
 *
 * A mutant is killed when the explorer finds a violation, and finds it again when it replays the schedule that it printed;
 * or when a unit test fails. The list says of some why nobody can notice; those are `explained`, and a kill of such a one
 * is an error in the list. How far the explorer goes is a number of states and no time, so that a slow machine comes to
 * the same verdict. --keep leaves the explorer with that mutant in zig-out/mutants/NAME, and says how to replay what it found.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MUTANTS_MAX 512
/* For what never ends; neither decides about anything that does. */
#define MODEL_LIMIT_S 3600
#define UNIT_LIMIT_S 300

enum fate { WAITING, KILLED, EXPLAINED, SURVIVED, BROKEN };

struct mutant {
    char name[64];
    char file[64];
    char config[32]; /* where to look first, or empty */
    char *why;
    char *explanation; /* or NULL */
    char *old, *new;
    enum fate fate;
    char by[320];
    double seconds;
    bool wanted;
    pid_t pid;
};

static struct mutant mutants[MUTANTS_MAX];
static size_t mutant_count;
static const char *root, *cc;
static char work[256];
static uint64_t most_states = 1000000; /* of one configuration, for one that nobody has noticed yet */
#define FEW_STATES 20000               /* before the unit tests are asked */
#define HINTED_STATES 20000000         /* where the list says that it will be noticed */

/* What is compiled into the explorer, below src; and what tests it. */
static const struct unit {
    const char *dir, *name;
} model_units[] = { { "shm", "ring" },     { "shm", "repair" },  { "shm", "reclaim" }, { "shm", "rotation" },
                    { "shm", "bell" },     { "shm", "topic" },   { "group", "group" }, { "group", "assign" },
                    { "group", "roster" }, { "group", "sticky" } };
static const struct {
    const char *name;
    bool of_groups;
} unit_tests[] = { { "ring_test", false },
                   { "repair_test", false },
                   { "bell_test", false },
                   { "topic_test", false },
                   { "group_test", true } };
#define COUNT(array) (sizeof(array) / sizeof *(array))

static void die(const char *what)
{
    fprintf(stderr, "mutate: %s: %s\n", what, strerror(errno));
    exit(2);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *text(const char *format, ...)
{
    va_list args;
    char *made;
    va_start(args, format);
    if (vasprintf(&made, format, args) < 0)
        die("memory");
    va_end(args);
    return made;
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        die(path);
    char *all = NULL;
    size_t room = 0;
    ssize_t size = getdelim(&all, &room, 0, f);
    fclose(f);
    return size < 0 ? strdup("") : all;
}

static void write_file(const char *path, const char *a, size_t a_size, const char *b, const char *c)
{
    FILE *f = fopen(path, "w");
    if (!f)
        die(path);
    fwrite(a, 1, a_size, f);
    fputs(b, f);
    fputs(c, f);
    if (fclose(f) != 0)
        die(path);
}

/* --- the list --- */

static void append_line(char **to, const char *line)
{
    char *longer = text("%s%s\n", *to ? *to : "", line);
    free(*to);
    *to = longer;
}

static void read_list(const char *path)
{
    char *all = read_file(path), *rest = all;
    struct mutant *m = NULL;
    for (char *line; (line = strsep(&rest, "\n"));) {
        if (line[0] == '#' || line[0] == 0)
            continue;
        if (line[0] == '@') {
            if (mutant_count == MUTANTS_MAX)
                exit(2);
            m = &mutants[mutant_count++];
            if (sscanf(line, "@ %63s %63s %31s", m->name, m->file, m->config) < 2) {
                fprintf(stderr, "mutate: cannot read \"%s\"\n", line);
                exit(2);
            }
        } else if (m && line[0] == '?') {
            m->why = strdup(line + 2);
        } else if (m && line[0] == '=') {
            m->explanation = strdup(line + 2);
        } else if (m && line[0] == '-') {
            append_line(&m->old, line + 1);
        } else if (m && line[0] == '+') {
            append_line(&m->new, line + 1);
        } else {
            fprintf(stderr, "mutate: cannot read \"%s\"\n", line);
            exit(2);
        }
    }
    free(all);
}

/* The last line of the old text may be the beginning of a line only. */
static char *find_once(char *in, const char *old, size_t *size)
{
    *size = strlen(old);
    char *at = strstr(in, old);
    if (!at) {
        --*size;
        char *shorter = strndup(old, *size);
        at = strstr(in, shorter);
        if (at && strstr(at + 1, shorter))
            at = NULL;
        free(shorter);
        return at;
    }
    return strstr(at + 1, old) ? NULL : at;
}

/* --- building --- */

/* Runs a shell command, its output into a file. Its exit status, or -1: it was stopped. */
static int shell(const char *command, const char *out, int limit_s)
{
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(out, O_CREAT | O_WRONLY | O_TRUNC, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        alarm((unsigned)limit_s); /* kept over exec */
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            die("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define FLAGS \
    "-std=gnu11 -D_GNU_SOURCE -O1 -g -fno-omit-frame-pointer -fno-strict-aliasing -fno-stack-protector -fno-sanitize=all -w"

static const char *arch_flags(void)
{
#if defined(__x86_64__)
    return "-mcx16";
#else
    return "";
#endif
}

/* Compiles one file. `first`: where headers are looked for before src. */
static bool compile(const char *source, const char *object, const char *first, bool model, const char *log)
{
    char *command = text("%s " FLAGS " %s %s -I%s -I%s/src -I%s/include -I%s/tests -I%s/tests/%s -c %s -o %s",
                         cc, arch_flags(), model ? "-DLT_MODEL" : "", first, root, root, root, root,
                         model ? "model" : "lib", source, object);
    int r = shell(command, log, 120);
    free(command);
    return r == 0;
}

static bool link_all(const char *objects, const char *program, const char *log)
{
    char *command = text("%s %s -fno-sanitize=all -Wl,-z,now -lpthread -o %s", cc, objects, program);
    int r = shell(command, log, 120);
    free(command);
    return r == 0;
}

/* The files of a directory that end in .c, but for `not`. */
static size_t list_c(const char *dir, char **files, size_t max, const char * not )
{
    char *path = text("%s/%s", root, dir);
    DIR *d = opendir(path);
    size_t n = 0;
    if (!d)
        die(path);
    for (struct dirent *e; (e = readdir(d)) && n < max;) {
        size_t length = strlen(e->d_name);
        if (length > 2 && !strcmp(e->d_name + length - 2, ".c") && strcmp(e->d_name, not ) != 0)
            files[n++] = strndup(e->d_name, length - 2);
    }
    closedir(d);
    free(path);
    return n;
}

static char *model_files[64], *lib_files[64], *shm_files[64], *group_files[64], *base_files[64];
static size_t model_file_count, lib_count, shm_count, group_count, base_count;

static void must(bool done, const char *what, const char *log)
{
    if (done)
        return;
    char *said = read_file(log);
    fprintf(stderr, "mutate: %s does not build:\n%s", what, said);
    exit(2);
}

/* Everything without a mutant, so that one costs one file and a link. */
static void build_base(void)
{
    char *log = text("%s/log", work);
    model_file_count = list_c("tests/model", model_files, 64, "");
    /* What these tests need of tests/lib; the rest is for tests with a bus. */
    lib_files[lib_count++] = strdup("test");
    lib_files[lib_count++] = strdup("arena");
    lib_files[lib_count++] = strdup("threads");
    shm_count = list_c("src/shm", shm_files, 64, "");
    group_count = list_c("src/group", group_files, 64, "");
    base_count = list_c("src/base", base_files, 64, "");
    struct {
        const char *dir;
        char **files;
        size_t count;
        const char *kind;
        bool model;
    } parts[] = {
        { "tests/model", model_files, model_file_count, "model", true },
        { "src/shm", shm_files, shm_count, "shm", false },
        { "src/group", group_files, group_count, "group", false },
        { "src/base", base_files, base_count, "base", false },
        { "tests/lib", lib_files, lib_count, "lib", false },
    };
    for (size_t p = 0; p < COUNT(parts); p++)
        for (size_t i = 0; i < parts[p].count; i++) {
            char *source = text("%s/%s/%s.c", root, parts[p].dir, parts[p].files[i]);
            char *object = text("%s/%s_%s.o", work, parts[p].kind, parts[p].files[i]);
            must(compile(source, object, "/nowhere", parts[p].model, log), source, log);
            free(source);
            free(object);
        }
    for (size_t i = 0; i < COUNT(model_units); i++) {
        char *source = text("%s/src/%s/%s.c", root, model_units[i].dir, model_units[i].name);
        char *object = text("%s/modelled_%s.o", work, model_units[i].name);
        must(compile(source, object, "/nowhere", true, log), source, log);
        free(source);
        free(object);
    }
    for (size_t i = 0; i < COUNT(unit_tests); i++) {
        char *source = text("%s/tests/unit/%s.c", root, unit_tests[i].name);
        char *object = text("%s/test_%s.o", work, unit_tests[i].name);
        must(compile(source, object, "/nowhere", false, log), source, log);
        free(source);
        free(object);
    }
    free(log);
}

static void add_object(char **objects, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_object(char **objects, const char *format, ...)
{
    va_list args;
    char *one;
    va_start(args, format);
    if (vasprintf(&one, format, args) < 0)
        die("memory");
    va_end(args);
    char *all = text("%s %s", *objects, one);
    free(*objects);
    free(one);
    *objects = all;
}

/* --- one mutant, in a process of its own --- */

static const char *unit_of(const struct mutant *m)
{
    static char unit[64];
    snprintf(unit, sizeof unit, "%s", strrchr(m->file, '/') + 1);
    *strrchr(unit, '.') = 0;
    return unit;
}

/* The explorer's own: what it does in the place of src/client and src/leatd. */
static bool is_of_the_model(const struct mutant *m)
{
    return !strncmp(m->file, "tests/model/", 12);
}

static bool is_header(const struct mutant *m)
{
    return m->file[strlen(m->file) - 1] == 'h';
}

/* Whether this is the file, below src. */
static bool is_file(const struct mutant *m, const char *dir, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s.c", dir, name);
    return !strcmp(m->file, path);
}

/* What groups are made of: other configurations and other tests than the ring's. */
static bool is_of_groups(const struct mutant *m)
{
    return !strncmp(m->file, "group/", 6) || !strcmp(m->file, "shm/member.h") ||
           !strcmp(m->file, "tests/model/member.c") || !strcmp(m->file, "tests/model/coordinator.c");
}

static void apply(const struct mutant *m, const char *dir, const char *result)
{
    char *path = is_of_the_model(m) ? text("%s/%s", root, m->file) : text("%s/src/%s", root, m->file);
    char *in = read_file(path);
    size_t size;
    char *at = m->old ? find_once(in, m->old, &size) : NULL;
    if (!at) {
        write_file(result, "", 0, "broken\nits old text is not there, or more than once\n", "");
        exit(0);
    }
    char *made = text("%s/%s", dir, is_of_the_model(m) ? m->file + 6 : m->file);
    char *new = strdup(m->new ? m->new : "");
    if (size < strlen(m->old) && *new) /* it ended inside a line */
        new[strlen(new) - 1] = 0;
    write_file(made, in, (size_t)(at - in), new, at + size);
    free(path);
    free(made);
    free(new);
    free(in);
}

/* The explorer with this mutant, DIR/model. false: `by` says why there is none. */
static bool build_model(const struct mutant *m, const char *dir, char *by, size_t size)
{
    const char *unit = unit_of(m);
    char *log = text("%s/log", dir), *objects = strdup(""), *first = text("%s", dir),
         *program = text("%s/explorer", dir);
    for (size_t i = 0; i < model_file_count; i++) {
        bool is_it = is_of_the_model(m) && !strcmp(model_files[i], unit);
        if (!is_header(m) && !is_it) {
            add_object(&objects, "%s/model_%s.o", work, model_files[i]);
            continue;
        }
        char *source = is_it ? text("%s/model/%s.c", dir, unit)
                             : text("%s/tests/model/%s.c", root, model_files[i]);
        char *object = text("%s/model_%s.o", dir, model_files[i]);
        if (!compile(source, object, first, true, log)) {
            snprintf(by, size, "broken: it does not compile");
            free(objects);
            return false;
        }
        add_object(&objects, "%s", object);
    }
    for (size_t i = 0; i < COUNT(model_units); i++) {
        const char *folder = model_units[i].dir, *name = model_units[i].name;
        bool is_it = is_file(m, folder, name);
        if (!is_it && !is_header(m)) {
            add_object(&objects, "%s/modelled_%s.o", work, name);
            continue;
        }
        char *source = text("%s/%s/%s.c", is_it ? dir : text("%s/src", root), folder, name);
        char *object = text("%s/modelled_%s.o", dir, name);
        if (!compile(source, object, first, true, log)) {
            snprintf(by, size, "broken: it does not compile");
            free(objects);
            return false;
        }
        add_object(&objects, "%s", object);
    }
    bool linked = link_all(objects, program, log);
    if (!linked)
        snprintf(by, size, "broken: it does not link");
    free(objects);
    return linked;
}

/* Whether the explorer, told to replay what it printed, comes to the same violation. */
static bool replays(const char *dir, const char *message, const char *what)
{
    char *out = text("%s/replay.out", dir);
    char *command = text("exec %s/explorer --replay '%s'", dir, what);
    int r = shell(command, out, MODEL_LIMIT_S);
    char *said = read_file(out);
    bool same = r == 1 && !strncmp(said, message, strlen(message));
    free(said);
    free(command);
    free(out);
    return same;
}

/* What the explorer's output says is wrong, and the schedule, both in `out`. */
static bool take_violation(char *out, const char **message, const char **schedule)
{
    char *at = strstr(out, "VIOLATION "), *replay = at ? strstr(at, "--replay ") : NULL;
    if (!replay)
        return false;
    *message = at + 10;
    at[strcspn(at, "\n")] = 0;
    *schedule = replay + 9;
    replay[strcspn(replay + 9, " \n") + 9] = 0;
    return true;
}

/* Runs the explorer with this mutant, on one configuration or on all of its kind: whether it notices. */
static bool model_kills(const struct mutant *m, const char *dir, const char *config, uint64_t states,
                        char *by, size_t size)
{
    char *out = text("%s/model.out", dir);
    char *command = text("exec %s/explorer %s --kind %s --first --states %llu", dir, config,
                         is_of_groups(m) ? "group" : "ring", (unsigned long long)states);
    int r = shell(command, out, MODEL_LIMIT_S);
    char *said = read_file(out);
    const char *message, *schedule;
    if (r == 1 && take_violation(said, &message, &schedule)) {
        const char *colon = strchr(message, ':');
        bool again = replays(dir, colon ? colon + 2 : message, schedule);
        snprintf(by, size, "%s%s", again ? "" : "broken: does not replay: ", message);
    } else if (r < 0) {
        snprintf(by, size, "broken: the explorer dies, or never ends");
    } else if (r != 0) {
        snprintf(by, size, "broken: the explorer ends with %d", r);
    }
    free(said);
    free(command);
    free(out);
    return r != 0;
}

/* Adds the objects of a folder of src, this mutant's among them. */
static bool add_folder(const struct mutant *m, const char *dir, const char *folder, char *const *files,
                       size_t count, char **objects, const char *log)
{
    for (size_t i = 0; i < count; i++) {
        bool is_it = is_file(m, folder, files[i]);
        if (!is_it && !is_header(m)) {
            add_object(objects, "%s/%s_%s.o", work, folder, files[i]);
            continue;
        }
        char *source = text("%s/%s/%s.c", is_it ? dir : text("%s/src", root), folder, files[i]);
        char *object = text("%s/%s_%s.o", dir, folder, files[i]);
        if (!compile(source, object, dir, false, log))
            return false;
        add_object(objects, "%s", object);
    }
    return true;
}

static bool test_kills(const struct mutant *m, const char *dir, const char *test, const char *core,
                       const char *log, char *by, size_t size)
{
    char *object = text("%s/test_%s.o", is_header(m) ? dir : work, test);
    char *source = text("%s/tests/unit/%s.c", root, test);
    char *objects = text("%s %s", object, core), *program = text("%s/%s", dir, test);
    char *out = text("%s/%s.out", dir, test);
    bool killed = true;
    if (is_header(m) && !compile(source, object, dir, false, log))
        snprintf(by, size, "broken: it does not compile");
    else if (!link_all(objects, program, log))
        snprintf(by, size, "broken: a test does not link");
    else if (shell(program, out, UNIT_LIMIT_S) != 0)
        snprintf(by, size, "tests/unit/%s", test);
    else
        killed = false;
    free(object);
    free(source);
    free(objects);
    free(program);
    free(out);
    return killed;
}

static bool tests_kill(const struct mutant *m, const char *dir, char *by, size_t size)
{
    if (is_of_the_model(m))
        return false;
    char *log = text("%s/log", dir), *core = strdup("");
    bool killed = !add_folder(m, dir, "shm", shm_files, shm_count, &core, log) ||
                  !add_folder(m, dir, "group", group_files, group_count, &core, log);
    if (killed)
        snprintf(by, size, "broken: it does not compile");
    for (size_t i = 0; i < base_count; i++)
        add_object(&core, "%s/base_%s.o", work, base_files[i]);
    for (size_t i = 0; i < lib_count; i++)
        add_object(&core, "%s/lib_%s.o", work, lib_files[i]);
    for (size_t i = 0; !killed && i < COUNT(unit_tests); i++)
        if (unit_tests[i].of_groups == is_of_groups(m))
            killed = test_kills(m, dir, unit_tests[i].name, core, log, by, size);
    free(core);
    free(log);
    return killed;
}

/* Where the list says, as far as need be; then everywhere, not so far. */
static bool model_notices(const struct mutant *m, const char *dir, uint64_t states, char *by, size_t size)
{
    return (m->config[0] && model_kills(m, dir, m->config, HINTED_STATES, by, size)) ||
           model_kills(m, dir, "", states, by, size);
}

static void make_directories(const char *dir)
{
    static const char *const folders[] = { "shm", "group", "model" };
    if (mkdir(dir, 0700) != 0)
        die(dir);
    for (size_t i = 0; i < COUNT(folders); i++) {
        char *folder = text("%s/%s", dir, folders[i]);
        if (mkdir(folder, 0700) != 0)
            die(folder);
        free(folder);
    }
}

/* Leaves one word, and a line that says by whom, in `result`. */
static void judge(const struct mutant *m, const char *dir, const char *result)
{
    char by[320] = "";
    make_directories(dir);
    apply(m, dir, result);
    /* A look now and then whether an explanation still holds need not go as far. */
    uint64_t states = m->explanation ? most_states / 4 : most_states;
    bool killed = !build_model(m, dir, by, sizeof by) || model_notices(m, dir, FEW_STATES, by, sizeof by) ||
                  tests_kill(m, dir, by, sizeof by) || model_kills(m, dir, "", states, by, sizeof by);
    const char *fate = !strncmp(by, "broken", 6) ? "broken" : killed ? "killed" : "survived";
    char *line = text("%s\n%s\n", fate, by);
    write_file(result, line, strlen(line), "", "");
    exit(0);
}

/* --- all of them --- */

static void take_result(struct mutant *m, const char *result)
{
    char *all = read_file(result), *rest = all;
    char *fate = strsep(&rest, "\n"), *by = rest ? strsep(&rest, "\n") : NULL;
    snprintf(m->by, sizeof m->by, "%s", by ? by : "");
    bool killed = !strcmp(fate, "killed");
    if (strcmp(fate, "killed") != 0 && strcmp(fate, "survived") != 0)
        m->fate = BROKEN;
    else if (m->explanation)
        m->fate = killed ? BROKEN : EXPLAINED;
    else
        m->fate = killed ? KILLED : SURVIVED;
    if (m->explanation && killed) {
        char *said = text("said to go unnoticed, and noticed: %s", m->by);
        snprintf(m->by, sizeof m->by, "%s", said);
        free(said);
    }
    if (m->fate == EXPLAINED)
        snprintf(m->by, sizeof m->by, "%s", m->explanation);
    if (m->fate == SURVIVED)
        snprintf(m->by, sizeof m->by, "%s", m->why ? m->why : "");
    free(all);
}

static void print_one(const struct mutant *m)
{
    static const char *const names[] = { "waiting", "killed", "explained", "SURVIVED", "BROKEN" };
    printf("%-9s %-40s %-16s %5.1f s  %s\n", names[m->fate], m->name, m->file, m->seconds, m->by);
    fflush(stdout);
}

static void run_all(unsigned jobs)
{
    unsigned running = 0;
    size_t next = 0;
    for (;;) {
        while (running < jobs && next < mutant_count) {
            struct mutant *m = &mutants[next++];
            if (!m->wanted)
                continue;
            char *dir = text("%s/m_%s", work, m->name), *result = text("%s/r_%s", work, m->name);
            m->seconds = now();
            m->pid = fork();
            if (m->pid == 0)
                judge(m, dir, result);
            free(dir);
            free(result);
            running++;
        }
        if (running == 0)
            return;
        int status;
        pid_t pid = wait(&status);
        if (pid < 0)
            die("wait");
        for (size_t i = 0; i < mutant_count; i++)
            if (mutants[i].pid == pid) {
                struct mutant *m = &mutants[i];
                char *result = text("%s/r_%s", work, m->name),
                     *remove = text("rm -rf %s/m_%s", work, m->name);
                m->seconds = now() - m->seconds;
                m->pid = 0;
                take_result(m, result);
                print_one(m);
                if (system(remove) != 0)
                    fprintf(stderr, "mutate: cannot remove %s/m_%s\n", work, m->name);
                free(result);
                free(remove);
                running--;
            }
    }
}

/* Those that are explained take the longest, and say the least. */
static void choose(unsigned sample, uint64_t seed)
{
    size_t left = 0;
    for (size_t i = 0; i < mutant_count; i++)
        mutants[i].wanted &= !mutants[i].explanation;
    for (size_t i = 0; i < mutant_count; i++)
        left += mutants[i].wanted;
    while (left > sample) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        struct mutant *m = &mutants[(seed >> 33) % mutant_count];
        left -= m->wanted;
        m->wanted = false;
    }
}

static void remove_work(void)
{
    char *remove = text("rm -rf %s", work);
    if (system(remove) != 0)
        fprintf(stderr, "mutate: cannot remove %s\n", work);
    free(remove);
}

/* Builds the explorer with one mutant to stay, and says what to do with it. */
static int keep(const char *name)
{
    const struct mutant *m = NULL;
    for (size_t i = 0; i < mutant_count; i++)
        if (!strcmp(mutants[i].name, name))
            m = &mutants[i];
    if (!m) {
        fprintf(stderr, "mutate: no mutant is called \"%s\"\n", name);
        return 2;
    }
    char by[320] = "", *dir = text("%s/zig-out/mutants/%s", root, name);
    char *prepare = text("mkdir -p %s/zig-out/mutants && rm -rf %s", root, dir);
    if (system(prepare) != 0)
        die(dir);
    build_base();
    make_directories(dir);
    apply(m, dir, "/dev/stderr");
    if (!build_model(m, dir, by, sizeof by) || !model_notices(m, dir, most_states, by, sizeof by)) {
        fprintf(stderr, "mutate: %s\n", by[0] ? by : "the explorer does not notice it");
        return 1;
    }
    char *out = text("%s/model.out", dir), *said = read_file(out);
    const char *message, *schedule;
    if (!take_violation(said, &message, &schedule))
        return 1;
    printf("%s: %s\n    %s\n    zig-out/mutants/%s has the file with it\n\n", name, m->why ? m->why : "",
           message, name);
    printf("again, step by step:\n    zig-out/mutants/%s/explorer --replay '%s' --trace\n", name, schedule);
    printf("in gdb:\n    gdb --args zig-out/mutants/%s/explorer --replay '%s' --trace\n", name, schedule);
    return 0;
}

static void usage(void)
{
    fprintf(stderr, "usage: mutate ROOT CC [--sample N] [--seed S] [--jobs N] [--states N] [NAME]...\n"
                    "       mutate ROOT CC --keep NAME\n");
    exit(2);
}

int main(int argc, char **argv)
{
    unsigned jobs = 2, sample = 0;
    uint64_t seed = (uint64_t)time(NULL);
    bool any_named = false;
    const char *kept = NULL;
    if (argc < 3)
        usage();
    root = argv[1];
    cc = argv[2];
    char *list = text("%s/tests/model/mutants.txt", root);
    read_list(list);
    for (int i = 3; i < argc; i++) {
        if (!strcmp(argv[i], "--"))
            continue;
        if (!strcmp(argv[i], "--sample") && i + 1 < argc)
            sample = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--jobs") && i + 1 < argc)
            jobs = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--states") && i + 1 < argc)
            most_states = strtoull(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--keep") && i + 1 < argc)
            kept = argv[++i];
        else if (argv[i][0] == '-')
            usage();
        else {
            bool found = false;
            any_named = true;
            for (size_t k = 0; k < mutant_count; k++)
                if (strstr(mutants[k].name, argv[i]))
                    found = mutants[k].wanted = true;
            if (!found) {
                fprintf(stderr, "mutate: no mutant is called \"%s\"\n", argv[i]);
                return 2;
            }
        }
    }
    for (size_t i = 0; i < mutant_count; i++)
        mutants[i].wanted |= !any_named;
    if (sample > 0) {
        choose(sample, seed);
        printf("a sample of %u; again: --sample %u --seed %llu\n", sample, sample, (unsigned long long)seed);
    }
    snprintf(work, sizeof work, "%s/leat-mutants-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(work))
        die(work);
    double start = now();
    if (kept) {
        int r = keep(kept);
        remove_work();
        return r;
    }
    build_base();
    run_all(jobs ? jobs : 1);
    remove_work();

    unsigned counts[5] = { 0 }, applied = 0;
    for (size_t i = 0; i < mutant_count; i++)
        if (mutants[i].wanted) {
            counts[mutants[i].fate]++;
            applied++;
        }
    if (counts[BROKEN] != 0)
        printf("%u of the list do not apply, do not build, do not replay, or are explained and noticed\n",
               counts[BROKEN]);
    printf("%.0f s\n", now() - start);
    printf("%u passed, %u failed, 0 skipped\n", counts[KILLED] + counts[EXPLAINED],
           counts[SURVIVED] + counts[BROKEN]);
    printf("mutants: %u applied, %u killed, %u explained, %u survived\n", applied, counts[KILLED],
           counts[EXPLAINED], counts[SURVIVED] + counts[BROKEN]);
    return counts[SURVIVED] + counts[BROKEN] != 0;
}
