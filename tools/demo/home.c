/* home: see home.h. */
#include "home.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static char home[PATH_MAX];
static bool kept;

static bool has_room(const char *base, uint64_t need_bytes)
{
    struct statvfs fs;
    return statvfs(base, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize >= need_bytes;
}

/* In memory where that can be had, so that a disk that is busy with something else shows in nothing that the demo measures. */
static bool make_own(uint64_t need_bytes)
{
    const char *bases[] = { getenv("XDG_RUNTIME_DIR"), "/dev/shm", "/tmp" };
    enum { BASES = sizeof bases / sizeof bases[0] };
    for (int i = 0; i < BASES; i++) {
        const char *base = bases[i];
        if (!base || *base != '/' || strlen(base) > 64 || !has_room(base, need_bytes))
            continue;
        snprintf(home, sizeof home, "%s/leat-demo-XXXXXX", base);
        if (mkdtemp(home))
            return true;
    }
    *home = 0;
    fprintf(stderr,
            "demo: neither $XDG_RUNTIME_DIR nor /dev/shm nor /tmp can be written and has %" PRIu64
            " MiB of room\n",
            need_bytes >> 20);
    return false;
}

bool home_make(const char *keep, uint64_t need_bytes)
{
    if (!keep)
        return make_own(need_bytes);
    kept = true;
    if ((mkdir(keep, 0777) == 0 || errno == EEXIST) && realpath(keep, home))
        return true;
    *home = 0;
    fprintf(stderr, "demo: %s: %s\n", keep, strerror(errno));
    return false;
}

const char *home_path(const char *name)
{
    char *path;
    if (asprintf(&path, "%s/%s", home, name) < 0)
        abort();
    return path;
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    remove(path);
    return 0;
}

void home_leave(void)
{
    if (*home && !kept)
        nftw(home, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
