/* build: builds of the tracee: shipping files and the driver by one compiler at one level, the rest of libleat as build.zig made it.
 * A wrong edit goes into a copy of its file, never into src. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stepper.h"

struct build builds[] = {
    { .name = "gcc-O2", .compiler = "gcc", .level = "-O2" },
    { .name = "clang-O2", .compiler = "clang", .level = "-O2" },
    { .name = "gcc-O3", .compiler = "gcc", .level = "-O3" },
    /* Zig's driver takes -O3 for -O2. */
    { .name = "clang-O3", .compiler = "clang", .level = "-O2 -Xclang -O3" },
};
const size_t build_count = sizeof builds / sizeof *builds;

/* What a path goes through. Everything else comes from libleat.a, and is never stepped but for a call or two. */
static const char shipping[] =
    "base/clock base/err base/futex shm/bell shm/reclaim shm/repair shm/ring shm/rotation shm/topic "
    "client/claim client/cursor client/poll client/producer client/record client/send "
    "client/topic leatd/kept";

static char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *text(const char *format, ...)
{
    va_list args;
    char *made;
    va_start(args, format);
    if (vasprintf(&made, format, args) < 0)
        exit(2);
    va_end(args);
    return made;
}

static char *read_all(FILE *f)
{
    char *all = NULL;
    size_t room = 0;
    if (!f)
        return strdup("");
    ssize_t size = getdelim(&all, &room, 0, f);
    return size < 0 ? strdup("") : all;
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "r");
    char *all = read_all(f);
    if (f)
        fclose(f);
    return all;
}

/* --- wrong edits --- */

static void append_line(char **to, const char *line)
{
    char *longer = text("%s%s\n", *to ? *to : "", line);
    free(*to);
    *to = longer;
}

static size_t read_list(const char *path, struct mutant *mutants, size_t max)
{
    char *all = read_file(path), *rest = all;
    struct mutant *m = NULL;
    size_t n = 0;
    for (char *line; rest && (line = strsep(&rest, "\n"));) {
        if (line[0] == '@' && n < max) {
            m = &mutants[n++];
            memset(m, 0, sizeof *m);
            if (sscanf(line, "@ %63s %63s %255[^\n]", m->name, m->file, m->paths) < 2)
                n--;
        } else if (m && line[0] == '?') {
            m->why = strdup(line + 2);
        } else if (m && line[0] == '-') {
            append_line(&m->old, line + 1);
        } else if (m && line[0] == '+') {
            append_line(&m->new, line + 1);
        }
    }
    free(all);
    return n;
}

static size_t read_named(const struct toolchain *tools, const char *list, struct mutant *mutants, size_t max)
{
    char *path = text("%s/tests/model/%s", tools->root, list);
    size_t n = read_list(path, mutants, max);
    free(path);
    return n;
}

size_t mutants_read(const struct toolchain *tools, struct mutant *mutants, size_t max)
{
    return read_named(tools, "step/mutants.txt", mutants, max);
}

/* Writes `in` with the edit to a file. NULL, or what is wrong with the edit. */
static const char *edit(struct mutant *m, const char *in, const char *to)
{
    size_t size = strlen(m->old);
    const char *at = strstr(in, m->old);
    if (!at) { /* its last line may be the beginning of one */
        m->old[--size] = 0;
        at = strstr(in, m->old);
        if (m->new && * m->new)
            m->new[strlen(m->new) - 1] = 0;
    }
    if (!at || strstr(at + 1, m->old))
        return "its old text is not there, or more than once";
    FILE *f = fopen(to, "w");
    if (!f)
        return "cannot write the edited file";
    fprintf(f, "%.*s%s%s", (int)(at - in), in, m->new ? m->new : "", at + size);
    return fclose(f) == 0 ? NULL : "cannot write the edited file";
}

/* Writes the edited copy below `dir`. NULL, or what is wrong with the edit. */
static const char *apply(const struct toolchain *tools, const char *name, const char *dir)
{
    static struct mutant mutants[512];
    size_t n = read_named(tools, "step/mutants.txt", mutants, 512);
    n += read_named(tools, "mutants.txt", mutants + n, 512 - n);
    struct mutant *m = NULL;
    for (size_t i = 0; i < n && !m; i++)
        if (strcmp(mutants[i].name, name) == 0)
            m = &mutants[i];
    if (!m || !m->old)
        return "there is no edit of that name";
    char *from = text("%s/src/%s", tools->root, m->file), *in = read_file(from);
    char *to = text("%s/%s", dir, m->file);
    const char *wrong = edit(m, in, to);
    free(from);
    free(in);
    free(to);
    return wrong;
}

/* --- compiling --- */

static const char *command_of(const struct build *build, const struct toolchain *tools)
{
    if (strcmp(build->compiler, "gcc") == 0)
        return text("%s -mcx16", tools->gcc);
    return text("%s cc -target x86_64-linux-gnu.2.36 -mcpu=baseline+cx16 -fno-sanitize=all", tools->zig);
}

/* `-fPIC -DNDEBUG`: as the library is built. */
static const char script[] =
    "set -e\n"
    "cd \"$dir\"\n"
    "one() {\n"
    "    from=$root/$1\n"
    "    if [ -e \"edited/${1#src/}\" ]; then from=edited/${1#src/}; fi\n"
    "    $cc $flags -Iedited -I\"$root/src\" -I\"$root/include\" -I\"$root/tests/model/step\" -c \"$from\" \\\n"
    "        -o \"$(echo \"${1%.c}\" | tr / _).o\"\n"
    "}\n"
    "for f in $shipping; do set -- \"$@\" \"src/$f.c\"; done\n"
    "set -- \"$@\" tests/model/step/tracee/tracee.c tests/model/step/world.c tests/model/step/paths.c\n"
    /* With an edit of one .c file, the rest is as it was. */
    "edited=$(cd edited && find . -type f | sed 's,^./,src/,')\n"
    "case $edited in *.c) if [ -e \"$whole/tracee\" ]; then cp \"$whole\"/*.o . && set -- \"$edited\"; fi;; esac\n"
    "while [ $# -gt 1 ]; do one \"$1\" & pid=$!; one \"$2\"; wait $pid; shift 2; done\n"
    "if [ $# = 1 ]; then one \"$1\"; fi\n"
    "$cc *.o \"$rest\" -Wl,-z,now -lpthread -o tracee\n"
    "if command -v objdump >/dev/null && command -v nm >/dev/null; then\n"
    "    nm --defined-only src_*.o | sed -n 's/.* [tT] //p' | LC_ALL=C sort -u > names\n"
    "    objdump -d --no-show-raw-insn tracee > listing\n"
    "else\n"
    "    : > names\n"
    "    : > listing\n"
    "fi\n";

static char *environment_of(const struct build *build, const struct toolchain *tools, const char *dir)
{
    return text("cc='%s' root='%s' dir='%s' whole='%s/%s' rest='%s' shipping='%s'\n"
                "flags='%s -w -fPIC -DNDEBUG %s'\n",
                command_of(build, tools), tools->root, dir, tools->work, build->name, tools->rest, shipping,
                tools->flags, build->level);
}

/* --- the listing --- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct names {
    char *text, *known[4096];
    size_t count;
};

static void read_names(struct names *names, const char *dir)
{
    char *path = text("%s/names", dir), *rest = names->text = read_file(path);
    names->count = 0;
    for (char *name; (name = strsep(&rest, "\n")) && names->count < 4096;)
        if (*name)
            names->known[names->count++] = name;
    free(path);
}

static void read_function(struct build *build, const struct names *names, uint64_t at, char *name)
{
    struct function *function = &build->functions[build->function_count++];
    name[strcspn(name, ">")] = 0;
    function->name = name;
    function->at = at;
    function->ours = bsearch(&function->name, names->known, names->count, sizeof *names->known,
                             compare_names) != NULL;
    if (strcmp(name, "main") == 0)
        build->main_at = at;
}

/* What objdump prints: "ADDRESS <NAME>:", and indented "ADDRESS:  TEXT" for each instruction. */
static void read_listing(struct build *build, const char *dir)
{
    static struct names names;
    char *path = text("%s/listing", dir);
    build->listing = read_file(path);
    free(path);
    read_names(&names, dir);
    uint32_t lines = 1;
    for (const char *c = build->listing; *c; c++)
        lines += *c == '\n';
    build->instructions = calloc(lines, sizeof *build->instructions);
    build->functions = calloc(lines, sizeof *build->functions);
    build->instruction_count = build->function_count = 0;
    char *rest = build->listing;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char *end;
        uint64_t at = strtoull(line, &end, 16);
        if (line[0] != ' ' && end[0] == ' ' && end[1] == '<') {
            read_function(build, &names, at, end + 2);
        } else if (line[0] == ' ' && end[0] == ':' && build->function_count > 0) {
            while (isspace((unsigned char)*++end))
                continue;
            build->instructions[build->instruction_count++] = (struct instruction){
                .at = at, .text = end, .function = build->function_count - 1
            };
        }
    }
    free(names.text);
}

struct instruction *build_find(const struct build *build, uint64_t at)
{
    uint32_t low = 0, high = build->instruction_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (build->instructions[middle].at < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low < build->instruction_count && build->instructions[low].at == at ? &build->instructions[low]
                                                                               : NULL;
}

static bool is_there(const char *command)
{
    char *ask = text("command -v '%s' >/dev/null 2>&1", command);
    int r = system(ask);
    free(ask);
    return r == 0;
}

const char *build_make(struct build *build, const struct toolchain *tools, const char *mutant, bool *missing)
{
    const char *tool = strcmp(build->compiler, "gcc") == 0 ? tools->gcc : tools->zig;
    *missing = !is_there(tool);
    if (*missing)
        return text("%s is not there", tool);
    char *dir = text("%s/%s%s%s", tools->work, build->name, mutant ? "-" : "", mutant ? mutant : "");
    char *make = text("mkdir -p %s && cd %s && mkdir -p edited/base edited/shm edited/client edited/leatd",
                      dir, dir);
    if (system(make) != 0)
        return "no directory to build in";
    const char *wrong = mutant ? apply(tools, mutant, text("%s/edited", dir)) : NULL;
    if (wrong)
        return wrong;
    char *path = text("%s/build.sh", dir);
    FILE *f = fopen(path, "w");
    if (!f || fputs(environment_of(build, tools, dir), f) < 0 || fputs(script, f) < 0 || fclose(f) != 0)
        return "no directory to build in";
    char *run = text("sh %s >%s/log 2>&1", path, dir);
    if (system(run) != 0)
        return text("it does not build:\n%s", read_file(text("%s/log", dir)));
    build->program = text("%s/tracee", dir);
    read_listing(build, dir);
    return NULL;
}
