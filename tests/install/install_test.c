/* What `zig build install` lays down, used as a stranger uses it.
 *
 * Goal: a program in C or C++ that knows only leat.h and leat.pc compiles, links and runs, with Zig's compiler
 * and with the machine's own where there is one; and the shared library shows nothing but leat_*.
 * Method: the runner has installed into LEAT_TEST_PREFIX. We read leat.pc as pkg-config does, and the library's
 * symbol table ourselves: a bare machine has neither pkg-config nor nm.
 */
#include "test.h"

#include <ctype.h>
#include <elf.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);
    if (!value)
        SKIP("%s is not set; `tools/zig build test:install` sets it", name);
    return value;
}

static const char *prefix(void)
{
    return from_environment("LEAT_TEST_PREFIX");
}

__attribute__((format(printf, 1, 2))) static const char *text(const char *format, ...)
{
    char *result;
    va_list args;
    va_start(args, format);
    if (vasprintf(&result, format, args) < 0)
        FAIL("out of memory");
    va_end(args);
    return result; /* the process ends with the test */
}

static const char *read_file(const char *path, size_t *size)
{
    struct stat st;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &st) < 0)
        FAIL("cannot read %s", path);
    char *bytes = malloc((size_t)st.st_size + 1);
    CHECK(bytes);
    *size = fread(bytes, 1, (size_t)st.st_size, file);
    bytes[*size] = 0;
    fclose(file);
    return bytes;
}

static void write_file(const char *path, const char *content)
{
    FILE *file = fopen(path, "w");
    CHECK(file);
    CHECK(fputs(content, file) >= 0);
    CHECK_EQ(fclose(file), 0);
}

static void run(const char *command)
{
    printf("$ %s\n", command);
    fflush(stdout);
    int status = system(command); /* NOLINT: a shell is what a user has */
    if (status != 0)
        FAIL("wait status %d from: %s", status, command);
}

/* ---- leat.pc ---- */

static const char *pc_raw(const char *pc, const char *name, const char *after)
{
    const char *label = text("\n%s%s", name, after);
    const char *at = strstr(text("\n%s", pc), label);
    if (!at)
        return NULL;
    at += strlen(label);
    while (*at == ' ')
        at++;
    return text("%.*s", (int)strcspn(at, "\n"), at);
}

/* A field with its ${variables} put in, as pkg-config gives it. */
static const char *pc_field(const char *field)
{
    size_t size;
    const char *pc = read_file(text("%s/lib/pkgconfig/leat.pc", prefix()), &size);
    const char *value = pc_raw(pc, field, ":");
    if (!value)
        FAIL("leat.pc has no %s", field);
    for (const char *open; (open = strstr(value, "${"));) {
        const char *close = strchr(open, '}');
        CHECK(close);
        const char *name = text("%.*s", (int)(close - open - 2), open + 2);
        const char *put = pc_raw(pc, name, "=");
        if (!put)
            FAIL("leat.pc uses ${%s} and does not define it", name);
        value = text("%.*s%s%s", (int)(open - value), value, put, close + 1);
    }
    return value;
}

/* ---- the shared library's dynamic symbols ---- */

struct symbols {
    const char *names;
    const ElfW(Sym) * first;
    size_t count;
};

static struct symbols read_symbols(void)
{
    size_t size;
    const char *file = read_file(text("%s/lib/libleat.so", prefix()), &size);
    const ElfW(Ehdr) *head = (const void *)file;
    CHECK(size > sizeof *head && memcmp(head->e_ident, ELFMAG, SELFMAG) == 0);
    const ElfW(Shdr) *section = (const void *)(file + head->e_shoff);
    for (int i = 0; i < head->e_shnum; i++) {
        if (section[i].sh_type == SHT_DYNSYM)
            return (struct symbols){
                .names = file + section[section[i].sh_link].sh_offset,
                .first = (const void *)(file + section[i].sh_offset),
                .count = section[i].sh_size / sizeof(ElfW(Sym)),
            };
    }
    FAIL("libleat.so has no dynamic symbols");
}

static const char *exported(const struct symbols *symbols, size_t i)
{
    const ElfW(Sym) *symbol = &symbols->first[i];
    int bind = ELF64_ST_BIND(symbol->st_info); /* the same in both classes */
    bool shown = (bind == STB_GLOBAL || bind == STB_WEAK) && symbol->st_shndx != SHN_UNDEF;
    return shown ? symbols->names + symbol->st_name : NULL;
}

static bool exports(const struct symbols *symbols, const char *name)
{
    for (size_t i = 0; i < symbols->count; i++) {
        const char *shown = exported(symbols, i);
        if (shown && strcmp(shown, name) == 0)
            return true;
    }
    return false;
}

TEST(shared_library_exports_only_leat_names)
{
    struct symbols symbols = read_symbols();
    int count = 0;
    for (size_t i = 0; i < symbols.count; i++) {
        const char *name = exported(&symbols, i);
        if (!name)
            continue;
        if (strncmp(name, "leat_", 5) != 0)
            FAIL("libleat.so exports %s", name);
        count++;
    }
    CHECK(count > 0);
}

/* A declaration is `LEAT_API type leat_name(`, in one line or more. */
TEST(shared_library_exports_every_function_of_the_header)
{
    size_t size;
    struct symbols symbols = read_symbols();
    const char *at = read_file(text("%s/include/leat.h", prefix()), &size);
    int count = 0;
    while ((at = strstr(at, "\nLEAT_API "))) {
        at += strlen("\nLEAT_API ");
        const char *open = at + strcspn(at, "(;"); /* a variable has no ( before its ; */
        const char *start = open;
        while (start > at && (isalnum((unsigned char)start[-1]) || start[-1] == '_'))
            start--;
        const char *name = text("%.*s", (int)(open - start), start);
        if (!exports(&symbols, name))
            FAIL("leat.h declares %s and libleat.so does not have it", name);
        count++;
    }
    CHECK(count > 0);
}

/* ---- compiling ---- */

static const char small_program[] = "#include <leat.h>\n"
                                    "#include <stdio.h>\n"
                                    "#include <string.h>\n"
                                    "int main(void)\n"
                                    "{\n"
                                    "    const char *message = leat_strerror(LEAT_EINVAL);\n"
                                    "    printf(\"%s: %s\\n\", LEAT_VERSION, message);\n"
                                    "    return strlen(message) > 0 ? 0 : 1;\n"
                                    "}\n";

static bool machine_has(const char *program)
{
    return system(text("command -v %s >/dev/null 2>&1", program)) == 0; /* NOLINT */
}

static const char *source(const char *name)
{
    const char *path = text("%s/%s", test_dir(), name);
    write_file(path, small_program);
    return path;
}

static void build_and_run(const char *compiler, const char *flags, const char *file)
{
    const char *program = text("%s/program", test_dir());
    run(text("%s %s -Wall -Wextra -Wpedantic -Werror %s %s %s -Wl,-rpath,%s/lib -o %s", compiler, flags,
             pc_field("Cflags"), file, pc_field("Libs"), prefix(), program));
    run(program);
}

static const char *zig(const char *language)
{
    return text("%s %s", from_environment("LEAT_TEST_ZIG"), language);
}

TEST_SLOW(c_program_builds_with_zig_against_the_installed_library, 300)
{
    build_and_run(zig("cc"), "-std=c99", source("program.c"));
}

/* Without the C++ runtime, which Zig would first compile for a minute and leat.h has no use for. */
TEST_SLOW(cpp_program_builds_with_zig_against_the_installed_library, 300)
{
    build_and_run(zig("c++"), "-std=c++11 -nostdlib++", source("program.cpp"));
}

TEST_SLOW(c_program_builds_with_the_machines_compiler, 120)
{
    if (!machine_has("cc"))
        SKIP("this machine has no cc");
    build_and_run("cc", "-std=c99", source("program.c"));
}

TEST_SLOW(cpp_program_builds_with_the_machines_compiler, 120)
{
    if (!machine_has("c++"))
        SKIP("this machine has no c++");
    build_and_run("c++", "-std=c++11", source("program.cpp"));
}

TEST_SLOW(c_program_links_the_static_library, 300)
{
    const char *program = text("%s/program", test_dir());
    run(text("%s %s %s %s/lib/libleat.a %s -o %s", zig("cc"), pc_field("Cflags"), source("program.c"),
             prefix(), pc_field("Libs.private"), program));
    run(program);
}

TEST(pkg_config_file_names_the_prefix_and_the_version)
{
    CHECK_STR(pc_field("Cflags"), text("-I%s/include", prefix()));
    CHECK_STR(pc_field("Libs"), text("-L%s/lib -lleat", prefix()));
    const char *header = read_file(text("%s/include/leat.h", prefix()), &(size_t){ 0 });
    CHECK(strstr(header, text("#define LEAT_VERSION \"%s\"", pc_field("Version"))));
}

TEST(shared_library_has_its_soname)
{
    CHECK_EQ(access(text("%s/lib/libleat.so.0", prefix()), R_OK), 0);
}

TEST(programs_are_installed)
{
    CHECK_EQ(access(text("%s/bin/leatd", prefix()), X_OK), 0);
    CHECK_EQ(access(text("%s/bin/leat", prefix()), X_OK), 0);
}
