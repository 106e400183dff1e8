/* bus: see bus.h. */
#include "leatd/bus.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include <leat.h>
#include "shm/place.h"
#include "shm/wire.h"

#define LISTEN_BACKLOG 1024

/* Whatever the umask says: a bus of root is for everybody unless its directory was made otherwise before. */
static int make_one(const char *path, mode_t mode)
{
    if (mkdir(path, mode) == 0)
        return chmod(path, mode) == 0 ? 0 : lt_fail_errno(errno, "chmod %s", path);
    return errno == EEXIST ? 0 : lt_fail_errno(errno, "mkdir %s", path);
}

static int make_directories(const char *path)
{
    char part[LT_PLACE_MAX];
    mode_t mode = geteuid() == 0 ? 0755 : 0700;
    snprintf(part, sizeof part, "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        int r = make_one(part, mode);
        *slash = '/';
        if (r < 0)
            return r;
    }
    return make_one(part, mode);
}

static int check_directory(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return lt_fail_errno(errno, "stat %s", path);
    if (!S_ISDIR(st.st_mode))
        return lt_fail(LEAT_EINVAL, "%s is not a directory", path);
    if (st.st_uid != geteuid())
        return lt_fail(LEAT_EPERM, "%s belongs to uid %u; leatd runs as uid %u", path, (unsigned)st.st_uid,
                       (unsigned)geteuid());
    if (st.st_mode & 0022)
        lt_log(LT_LOG_WARN,
               "%s has mode %04o: whoever may write there can put a socket of their own in its place", path,
               (unsigned)st.st_mode & 07777);
    return 0;
}

static int take_lock(const char *path)
{
    char file[PATH_MAX], text[32] = "";
    snprintf(file, sizeof file, "%s/%s", path, LT_LOCK_FILE);
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return lt_fail_errno(errno, "open %s", file);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int error_number = errno;
        ssize_t size = pread(fd, text, sizeof text - 1, 0);
        close(fd);
        if (error_number != EWOULDBLOCK)
            return lt_fail_errno(error_number, "lock %s", file);
        text[size > 0 ? size : 0] = 0;
        return lt_fail(LEAT_EINUSE, "another leatd serves %s (started as pid %d)", path, atoi(text));
    }
    int length = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)length, 0) != length)
        lt_log(LT_LOG_WARN, "%s: cannot be written: %s", file, strerror(errno));
    return fd;
}

static int listen_at(const char *path, uint32_t socket_mode)
{
    char file[PATH_MAX];
    struct sockaddr_un address;
    int dir_fd;
    snprintf(file, sizeof file, "%s/%s", path, LT_CONTROL_SOCKET);
    int r = lt_place_socket(path, LT_CONTROL_SOCKET, &address, &dir_fd);
    if (r < 0)
        return r;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The lock is ours, so a socket of that name is a dead one's. Nobody can connect before listen(). */
    if (fd < 0 || (unlink(file) != 0 && errno != ENOENT) ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || chmod(file, socket_mode) != 0 ||
        listen(fd, LISTEN_BACKLOG) != 0) {
        r = lt_fail_errno(errno, "listen at %s", file);
        if (fd >= 0)
            close(fd);
        fd = r;
    }
    if (dir_fd >= 0)
        close(dir_fd);
    return fd;
}

int lt_bus_open(struct lt_bus *bus, const char *path, uint32_t socket_mode)
{
    int r = make_directories(path);
    if (r == 0)
        r = check_directory(path);
    if (r < 0)
        return r;
    bus->lock_fd = take_lock(path);
    if (bus->lock_fd < 0)
        return bus->lock_fd;
    bus->listen_fd = listen_at(path, socket_mode);
    if (bus->listen_fd < 0) {
        close(bus->lock_fd);
        return bus->listen_fd;
    }
    return 0;
}

void lt_bus_remove(const char *path)
{
    char file[PATH_MAX];
    snprintf(file, sizeof file, "%s/%s", path, LT_CONTROL_SOCKET);
    unlink(file);
}
