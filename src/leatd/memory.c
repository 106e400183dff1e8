/* memory: what can still be had. Shared memory is taken in full when a topic is created; asking for more than there is would
 * not fail but make the kernel kill somebody, so leatd looks first: at the machine, and at the control groups it is in. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "leatd/worker.h"

static bool read_text(const char *path, char *text, size_t size)
{
    FILE *in = fopen(path, "re");
    if (!in)
        return false;
    size_t length = fread(text, 1, size - 1, in);
    text[length] = 0;
    fclose(in);
    return length > 0;
}

static uint64_t machine_available(void)
{
    char text[4096];
    unsigned long long kib;
    const char *line = read_text("/proc/meminfo", text, sizeof text) ? strstr(text, "MemAvailable:") : NULL;
    return line && sscanf(line, "MemAvailable: %llu kB", &kib) == 1 ? (uint64_t)kib << 10 : UINT64_MAX;
}

static bool read_number(const char *directory, const char *file, uint64_t *number)
{
    char path[1280], text[64];
    char *end;
    snprintf(path, sizeof path, "%s/%s", directory, file);
    if (!read_text(path, text, sizeof text))
        return false;
    *number = strtoull(text, &end, 10);
    return end != text; /* "max": no limit */
}

/* The tightest of the version 2 groups that we are in. */
static uint64_t groups_available(void)
{
    char text[1024], directory[1200];
    uint64_t least = UINT64_MAX, limit, used;
    if (!read_text("/proc/self/cgroup", text, sizeof text))
        return least;
    const char *line = strstr(text, "0::/");
    if (!line)
        return least;
    snprintf(directory, sizeof directory, "/sys/fs/cgroup%.*s", (int)strcspn(line + 3, "\n"), line + 3);
    while (strlen(directory) > strlen("/sys/fs/cgroup/")) {
        if (read_number(directory, "memory.max", &limit) && read_number(directory, "memory.current", &used)) {
            uint64_t available = limit > used ? limit - used : 0;
            if (available < least)
                least = available;
        }
        *strrchr(directory, '/') = 0;
    }
    return least;
}

uint64_t lt_memory_available(void)
{
    uint64_t machine = machine_available(), groups = groups_available();
    return machine < groups ? machine : groups;
}
