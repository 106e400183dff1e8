/* The demo's input: what the package manager did on this machine, keyed by package.
 *
 * It is real in what matters here: keys of very different weight, and lines of one key whose order means something.
 */
#include "demo.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINES_ENOUGH = 200, LINES_MOST = 1 << 20, MADE_UP_LINES = 20000, MADE_UP_KEYS = 400 };

/* "DATE TIME ACTION PACKAGE:ARCH ...", but "DATE TIME status STATE PACKAGE:ARCH ...". NULL: not about a package. */
static const char *package_of(const char *line, size_t *size)
{
    char action[32], state[32];
    int at = 0, behind_state = 0;
    if (sscanf(line, "%*s %*s %31s %n%31s %n", action, &at, state, &behind_state) != 2)
        return NULL;
    if (strcmp(action, "startup") == 0 || strcmp(action, "conffile") == 0)
        return NULL;
    if (strcmp(action, "status") == 0)
        at = behind_state;
    if (at == 0)
        return NULL;
    *size = strcspn(line + at, ": \n");
    return *size > 0 ? line + at : NULL;
}

static void *have(void *memory)
{
    if (memory)
        return memory;
    fputs("demo: no memory\n", stderr);
    exit(1);
}

/* Keys get numbers in the order in which they first come. */
static uint32_t number_of(struct input *input, const char *name, size_t size)
{
    char *copy = have(strndup(name, size));
    ENTRY *found = hsearch((ENTRY){ copy, NULL }, FIND);
    if (found) {
        free(copy);
        return (uint32_t)(uintptr_t)found->data;
    }
    input->keys = have(realloc(input->keys, (input->key_count + 1) * sizeof input->keys[0]));
    input->keys[input->key_count] = (struct key){ copy, (uint32_t)size, 0 };
    have(hsearch((ENTRY){ copy, (void *)(uintptr_t)input->key_count }, ENTER));
    return input->key_count++;
}

static void add_line(struct input *input, const char *text)
{
    size_t key_size = 0;
    const char *key = package_of(text, &key_size);
    if (!key || input->line_count == LINES_MOST)
        return;
    if ((input->line_count & (input->line_count + 1)) == 0) /* at 0, 1, 3, 7 ...: room for as many again */
        input->lines = have(realloc(input->lines, 2 * (input->line_count + 1) * sizeof input->lines[0]));
    uint32_t number = number_of(input, key, key_size);
    size_t size = strcspn(text, "\n");
    input->lines[input->line_count++] = (struct line){
        .text = have(strndup(text, size)),
        .size = (uint32_t)size,
        .key = number,
        .of_key = input->keys[number].lines++,
    };
}

static void read_log(struct input *input, FILE *log)
{
    char *line = NULL;
    size_t room = 0;
    while (log && getline(&line, &room, log) > 0)
        add_line(input, line);
    free(line);
}

/* What logrotate has compressed is read through gzip. */
static void read_compressed(struct input *input, int age)
{
    char path[64], command[96];
    snprintf(path, sizeof path, "/var/log/dpkg.log.%d.gz", age);
    FILE *log = fopen(path, "re");
    if (!log)
        return;
    fclose(log);
    snprintf(command, sizeof command, "gzip -dc %s 2>/dev/null", path);
    log = popen(command, "re");
    read_log(input, log);
    if (log)
        pclose(log);
}

/* Oldest first. */
static void read_logs(struct input *input)
{
    char path[64];
    for (int age = 12; age >= 0; age--) {
        if (age > 0)
            snprintf(path, sizeof path, "/var/log/dpkg.log.%d", age);
        else
            strcpy(path, "/var/log/dpkg.log");
        FILE *log = fopen(path, "re");
        read_log(input, log);
        if (log)
            fclose(log);
        else if (age > 0)
            read_compressed(input, age);
    }
}

/* Lines of the same kind. The few busy keys and the many quiet ones come from squaring a random number. */
static void make_up(struct input *input)
{
    static const char *const states[] = { "half-installed", "unpacked", "half-configured", "installed" };
    uint64_t random = 0x9e3779b97f4a7c15;
    char line[128];
    for (int i = 0; i < MADE_UP_LINES; i++) {
        random = random * 6364136223846793005 + 1442695040888963407;
        double r = (double)(random >> 40) / (1 << 24);
        int package = (int)(r * r * MADE_UP_KEYS);
        snprintf(line, sizeof line, "2024-01-01 %02d:%02d:%02d status %s package-%03d:amd64 1.%d-1",
                 i / 3600 % 24, i / 60 % 60, i % 60, states[i % 4], package, i);
        add_line(input, line);
    }
}

void input_load(struct input *input)
{
    *input = (struct input){ .source = "/var/log/dpkg.log" };
    have(hcreate(1 << 18) ? input : NULL);
    read_logs(input);
    if (input->line_count >= LINES_ENOUGH)
        return;
    /* Keys that a few real lines brought stay, with no lines. */
    input->source = "a made up package log (this machine's is empty or cannot be read)";
    input->line_count = 0;
    for (uint32_t i = 0; i < input->key_count; i++)
        input->keys[i].lines = 0;
    make_up(input);
}

const struct line *input_line(const struct input *input, uint64_t number)
{
    return &input->lines[number % input->line_count];
}

uint64_t input_of_key(const struct input *input, uint64_t number)
{
    const struct line *line = input_line(input, number);
    return number / input->line_count * input->keys[line->key].lines + line->of_key;
}
