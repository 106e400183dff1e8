/* place: see place.h. */
#include "shm/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include <leat.h>

static int too_long(const char *what, size_t length, size_t limit)
{
    return lt_fail(LEAT_EINVAL, "%s: %zu bytes, at most %zu fit", what, length, limit);
}

static int place_path(const char *path, char *out, size_t size)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    if (length == 1)
        return lt_fail(LEAT_EINVAL, "bus \"%s\": the root directory is no bus directory", path);
    if (length >= size || length >= LT_PLACE_MAX)
        return too_long("the bus's path", length, (size < LT_PLACE_MAX ? size : LT_PLACE_MAX) - 1);
    memcpy(out, path, length);
    out[length] = 0;
    return (int)length;
}

static int check_name(const char *name)
{
    size_t length = strlen(name);
    if (length == 0)
        return lt_fail(LEAT_EINVAL, "the bus's name is empty");
    if (length > LT_PLACE_NAME_MAX)
        return too_long("the bus's name", length, LT_PLACE_NAME_MAX);
    if (strchr(name, '/'))
        return lt_fail(LEAT_EINVAL, "bus \"%s\": a name has no '/', and a path begins with one", name);
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return lt_fail(LEAT_EINVAL, "bus \"%s\": not a name", name);
    return 0;
}

static const char *which(const char *where)
{
    if (!where && (where = getenv("LEAT_BUS"), !where || !*where))
        where = "default";
    return where;
}

int lt_place(const char *where, char *out, size_t size)
{
    char path[LT_PLACE_MAX + LT_PLACE_NAME_MAX + 64];
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int length;

    where = which(where);
    if (where[0] == '/')
        return place_path(where, out, size);
    int r = check_name(where);
    if (r < 0)
        return r;
    if (geteuid() == 0)
        length = snprintf(path, sizeof path, "/run/leat/%s", where);
    else if (runtime && runtime[0] == '/')
        length = snprintf(path, sizeof path, "%s/leat/%s", runtime, where);
    else
        length = snprintf(path, sizeof path, "/run/user/%u/leat/%s", (unsigned)geteuid(), where);
    if (length < 0 || (size_t)length >= sizeof path)
        return too_long("$XDG_RUNTIME_DIR", runtime ? strlen(runtime) : 0, LT_PLACE_MAX);
    return place_path(path, out, size);
}

int lt_place_data(const char *where, char *out, size_t size)
{
    char path[LT_PLACE_MAX + LT_PLACE_NAME_MAX + 64], bus[LT_PLACE_MAX];
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int length;

    where = which(where);
    int r = where[0] == '/' ? place_path(where, bus, sizeof bus) : check_name(where);
    if (r < 0)
        return r;
    if (where[0] == '/')
        length = snprintf(path, sizeof path, "%s/data", bus);
    else if (geteuid() == 0)
        length = snprintf(path, sizeof path, "/var/lib/leat/%s", where);
    else if (state && state[0] == '/')
        length = snprintf(path, sizeof path, "%s/leat/%s", state, where);
    else if (home && home[0] == '/')
        length = snprintf(path, sizeof path, "%s/.local/state/leat/%s", home, where);
    else
        return lt_fail(LEAT_EINVAL, "bus \"%s\": neither $XDG_STATE_HOME nor $HOME says where its data is",
                       where);
    if (length < 0 || (size_t)length >= sizeof path)
        return too_long("$XDG_STATE_HOME or $HOME", state ? strlen(state) : 0, LT_PLACE_MAX);
    return place_path(path, out, size);
}

int lt_place_socket(const char *directory, const char *name, struct sockaddr_un *address, int *dir_fd)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    *dir_fd = -1;
    int length = snprintf(address->sun_path, sizeof address->sun_path, "%s/%s", directory, name);
    if (length > 0 && (size_t)length < sizeof address->sun_path)
        return 0;
    *dir_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*dir_fd < 0)
        return errno == ENOENT ? lt_fail(LEAT_EGONE, "%s: no such directory", directory)
                               : lt_fail_errno(errno, "open %s", directory);
    snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", *dir_fd, name);
    return 0;
}
