/* point: dies or stops at a named step, for the fault tests (builds with LT_KILL_POINTS only).
 *
 *   LEAT_KILL=NAME:COUNT[:kill|:stop|:exit][,...]   at the COUNT-th pass of lt_point(NAME), counted in this process
 *   LEAT_KILL_FILE=PATH                             gets a line `NAME:COUNT:HOW` right before; a test can wait for it
 *
 * With a file, each entry acts once for all processes that share it: a worker that was restarted with the same
 * environment passes the point where its predecessor died. Without one, it dies there again.
 */
#include "base/atomic.h"

#ifdef LT_KILL_POINTS

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES 32
#define EXIT_STATUS 3

enum how { KILL, STOP, EXIT };

struct entry {
    char name[64];
    uint32_t count;
    enum how how;
    uint32_t passed;
};

static const char *const how_names[] = { [KILL] = "kill", [STOP] = "stop", [EXIT] = "exit" };
static struct entry entries[ENTRIES];
static uint32_t entry_count;
static const char *file_path;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* A test that mistypes must not pass for having killed nobody. */
static void refuse(const char *text)
{
    dprintf(STDERR_FILENO, "LEAT_KILL: cannot read \"%s\": NAME:COUNT[:kill|:stop|:exit]\n", text);
    _exit(EXIT_STATUS);
}

static bool read_how(const char *text, enum how *how)
{
    for (*how = KILL; *how <= EXIT; (*how)++)
        if (strcmp(text, how_names[*how]) == 0)
            return true;
    return false;
}

static void read_entry(const char *text)
{
    if (entry_count == ENTRIES)
        refuse(text);
    struct entry *entry = &entries[entry_count];
    char parts[128], *rest = parts, *end = parts;
    snprintf(parts, sizeof parts, "%s", text);
    const char *name = strsep(&rest, ":"), *count = strsep(&rest, ":"), *how = rest ? rest : "kill";
    entry->count = count ? (uint32_t)strtoul(count, &end, 10) : 0;
    if (!*name || strlen(name) >= sizeof entry->name || entry->count == 0 || *end != 0 ||
        !read_how(how, &entry->how))
        refuse(text);
    strcpy(entry->name, name);
    entry_count++;
}

static void read_environment(void)
{
    const char *all = getenv("LEAT_KILL");
    if (!all || !*all)
        return;
    char *copy = strdup(all), *rest = copy;
    for (char *text; copy && (text = strsep(&rest, ","));)
        read_entry(text);
    free(copy);
    const char *path = getenv("LEAT_KILL_FILE");
    file_path = path ? strdup(path) : NULL;
}

/* Whether this entry may act: it is written down now, and was not before. */
static bool write_down(const struct entry *entry)
{
    char line[128], text[ENTRIES * sizeof line] = "\n";
    int fd = open(file_path, O_CREAT | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) {
        dprintf(STDERR_FILENO, "LEAT_KILL_FILE: %s: %s\n", file_path, strerror(errno));
        return true;
    }
    flock(fd, LOCK_EX); /* let go by close or by death */
    ssize_t size = read(fd, text + 1, sizeof text - 2);
    text[size > 0 ? size + 1 : 1] = 0;
    int line_size = snprintf(line, sizeof line, "\n%s:%u:%s\n", entry->name, entry->count,
                             how_names[entry->how]);
    bool is_new = !strstr(text, line);
    if (is_new && write(fd, line + 1, (size_t)line_size - 1) < 0)
        dprintf(STDERR_FILENO, "LEAT_KILL_FILE: %s: %s\n", file_path, strerror(errno));
    close(fd);
    return is_new;
}

static void act(enum how how)
{
    if (how == EXIT)
        _exit(EXIT_STATUS);
    /* To this thread: it takes the signal on the way out of the call, and everybody stops or dies with it. Sent to the
     * process, a stop could be another thread's to take, and this one would go on for a few steps. */
    syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), how == STOP ? SIGSTOP : SIGKILL);
}

void lt_point_hit(const char *name)
{
    pthread_once(&once, read_environment);
    for (uint32_t i = 0; i < entry_count; i++) {
        struct entry *entry = &entries[i];
        if (strcmp(entry->name, name) != 0 || lt_fetch_add32(&entry->passed, 1) + 1 != entry->count)
            continue;
        if (!file_path || write_down(entry))
            act(entry->how);
    }
}

#endif
