/* data: see data.h. What is written goes through the persister's table of file operations, but for the making and removing of
 * directories that hold nothing yet, or nothing any more.
 *
 * Points, with what a death of the worker there leaves (and, in brackets, of both processes):
 *   data.create          a page in state NEW: dropped at adoption (nothing)
 *   data.create.logs     that, and DATA/new/ID, which is removed
 *   data.create.rename   the same, whole
 *   data.create.after    a page in state NEW and topics/NAME: both go, and the client asks again (the topic)
 *   data.delete          nothing has happened
 *   data.delete.after    an open page whose directory is in old/: the page goes (the topic is gone)
 *   data.remove          the same; what is left in old/ goes
 *   data.alter           the settings as they were
 *   data.alter.after     the new ones in the file, the old ones in the page; the client asks again (the new ones)
 */
#include "leatd/data.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/err.h"
#include <leat.h>
#include "leatd/maker.h"
#include "leatd/persister.h"
#include "leatd/topics.h"
#include "store/topicfile.h"

#define OPENERS 16u
#define UNKNOWN_NEXT \
    (1ull << 32) /* above the last segment's base: no log gives out that many before it names another */

struct lt_data {
    char path[LT_PLACE_MAX];
    int fd, topics_fd, new_fd, old_fd, groups_fd;
    size_t
        unsynced; /* the part of the path behind which directories are new, and not known to be on the disk; 0: none */
};

/* --- directories --- */

static int make_one(const char *path, mode_t mode, bool *made)
{
    *made = mkdir(path, mode) == 0;
    if (*made)
        return chmod(path, mode) == 0 ? 0 : lt_fail_errno(errno, "chmod %s", path);
    return errno == EEXIST ? 0 : lt_fail_errno(errno, "mkdir %s (--data says where)", path);
}

static int make_path(struct lt_data *data)
{
    char part[LT_PLACE_MAX];
    bool made;
    int r = 0;
    snprintf(part, sizeof part, "%s", data->path);
    for (char *slash = strchr(part + 1, '/'); r == 0; slash = strchr(slash + 1, '/')) {
        if (slash)
            *slash = 0;
        r = make_one(part, slash && geteuid() == 0 ? 0755 : 0700, &made);
        if (made && data->unsynced == 0)
            data->unsynced = strlen(part);
        if (!slash)
            break;
        *slash = '/';
    }
    return r;
}

static int open_directory(struct lt_data *data, const char *name, int *fd)
{
    if (mkdirat(data->fd, name, 0700) == 0)
        data->unsynced = data->unsynced != 0 ? data->unsynced : strlen(data->path);
    else if (errno != EEXIST)
        return lt_fail_errno(errno, "mkdir %s/%s", data->path, name);
    *fd = openat(data->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return *fd < 0 ? lt_fail_errno(errno, "open %s/%s", data->path, name) : 0;
}

static int open_directories(struct lt_data *data)
{
    struct stat st;
    data->fd = open(data->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (data->fd < 0 || fstat(data->fd, &st) != 0)
        return lt_fail_errno(errno, "open %s", data->path);
    if (st.st_uid != geteuid())
        return lt_fail(LEAT_EPERM, "%s belongs to uid %u; leatd runs as uid %u", data->path,
                       (unsigned)st.st_uid, (unsigned)geteuid());
    if (st.st_mode & 0022)
        return lt_fail(LEAT_EPERM, "%s has mode %04o: others may write there", data->path,
                       (unsigned)st.st_mode & 07777);
    int r = open_directory(data, "topics", &data->topics_fd);
    if (r == 0)
        r = open_directory(data, "new", &data->new_fd);
    if (r == 0)
        r = open_directory(data, "old", &data->old_fd);
    return r == 0 ? open_directory(data, "groups", &data->groups_fd) : r;
}

/* Held by the keeper, too, so that no other bus comes in between two workers. */
static int take_lock(struct lt_worker *w, struct lt_data *data)
{
    char text[32] = "";
    if (lt_keep_fd(&w->keep, LT_KEEP_DATA, 0) >= 0)
        return 0;
    int fd = openat(data->fd, LT_LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return lt_fail_errno(errno, "open %s/%s", data->path, LT_LOCK_FILE);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int error_number = errno;
        ssize_t size = pread(fd, text, sizeof text - 1, 0);
        close(fd);
        if (error_number != EWOULDBLOCK)
            return lt_fail_errno(error_number, "lock %s/%s", data->path, LT_LOCK_FILE);
        text[size > 0 ? size : 0] = 0;
        return lt_fail(LEAT_EINUSE, "another bus has the data directory %s (its leatd was started as pid %d)",
                       data->path, atoi(text));
    }
    int length = snprintf(text, sizeof text, "%d\n", w->keep.alone ? (int)getpid() : w->keep.keeper_pid);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)length, 0) != length)
        lt_worker_log(w, LT_LOG_WARN, "%s/%s: cannot be written: %s", data->path, LT_LOCK_FILE,
                      strerror(errno));
    struct lt_keep_note note = { .pid = w->keep.keeper_pid };
    int r = lt_keep_store(&w->keep, LT_KEEP_DATA, 0, &note, fd);
    if (r < 0)
        close(fd);
    return r;
}

static bool is_empty(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (!stream) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    struct dirent *entry;
    bool empty = true;
    while (empty && (entry = readdir(stream)))
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(stream);
    return empty;
}

/* The first job there is: later ones make and delete topics. */
static int plan_sweep(struct lt_worker *w)
{
    if (is_empty(w->data->new_fd) && is_empty(w->data->old_fd))
        return 0;
    struct lt_job *job = calloc(1, sizeof *job);
    if (!job)
        return lt_fail(LEAT_ENOMEM, "no memory to tidy %s", w->data->path);
    job->kind = LT_JOB_SWEEP;
    job->peer.pidfd = -1;
    lt_maker_add(w, job);
    return 0;
}

int lt_data_open(struct lt_worker *w)
{
    if (w->config.data[0] == 0)
        return 0;
    struct lt_data *data = calloc(1, sizeof *data);
    if (!data)
        return lt_fail(LEAT_ENOMEM, "no memory for the data directory");
    memcpy(data->path, w->config.data, sizeof data->path);
    data->fd = data->topics_fd = data->new_fd = data->old_fd = data->groups_fd = -1;
    w->data = data;
    int r = make_path(data);
    if (r == 0)
        r = open_directories(data);
    if (r == 0)
        r = take_lock(w, data);
    if (r == 0)
        r = plan_sweep(w);
    if (r < 0)
        lt_data_close(w);
    return r;
}

void lt_data_close(struct lt_worker *w)
{
    struct lt_data *data = w->data;
    if (!data)
        return;
    int fds[] = { data->fd, data->topics_fd, data->new_fd, data->old_fd, data->groups_fd };
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(data);
    w->data = NULL;
}

int lt_data_groups_fd(const struct lt_worker *w)
{
    return w->data ? w->data->groups_fd : -1;
}

/* --- small things --- */

struct id_text {
    char text[64];
};

static struct id_text in(const char *directory, uint64_t log_id)
{
    struct id_text id;
    snprintf(id.text, sizeof id.text, "%s%016" PRIx64, directory, log_id);
    return id;
}

static int fail_io(const struct lt_data *data, const char *name, const char *what, int error)
{
    lt_fail_errno(-error, "%s/%s: %s", data->path, name, what);
    return error == -ENOSPC || error == -EDQUOT ? LEAT_ENOSPC : LEAT_EIO;
}

static int sync_directory(struct lt_worker *w, int fd, const char *name)
{
    int error = lt_io_sync(lt_persister_io(w), fd);
    return error < 0 ? fail_io(w->data, name, "fsync", error) : 0;
}

/* Directories that this bus has made are on the disk before anything in them has to be. */
static int sync_path(struct lt_worker *w)
{
    struct lt_data *data = w->data;
    char part[LT_PLACE_MAX];
    if (data->unsynced == 0)
        return 0;
    int r = sync_directory(w, data->fd, ".");
    for (size_t length = strlen(data->path); r == 0 && length > data->unsynced;) {
        snprintf(part, sizeof part, "%s", data->path);
        while (length > 1 && part[length - 1] != '/')
            length--;
        part[length > 1 ? --length : length] = 0;
        int fd = open(part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            continue; /* what we may not read, we have not made */
        r = sync_directory(w, fd, "..");
        close(fd);
    }
    if (r == 0)
        data->unsynced = 0;
    return r;
}

static void fill_file(const struct lt_topic *topic, const struct lt_topic_head *head,
                      struct lt_topicfile *file)
{
    *file = (struct lt_topicfile){ .log_id = head->log_id,
                                   .ring_size = head->ring_size,
                                   .created_ms = head->created_ms,
                                   .segment_bytes = head->segment_bytes,
                                   .retention_bytes = head->retention_bytes,
                                   .retention_ms = head->retention_ms,
                                   .partition_count = head->partition_count,
                                   .level = head->level,
                                   .on_full = head->on_full,
                                   .partitioner = head->partitioner,
                                   .uid = head->uid,
                                   .gid = head->gid,
                                   .mode = head->mode,
                                   .map_epoch = head->map_epoch };
    snprintf(file->name, sizeof file->name, "%s", head->name);
    memcpy(file->map, lt_topic_map(topic->page), sizeof file->map);
}

static int write_file(struct lt_worker *w, const struct lt_topic *topic, const struct lt_topic_head *settings,
                      int dir_fd)
{
    struct lt_topicfile *file = malloc(sizeof *file);
    char path[LT_PLACE_MAX + 300];
    if (!file)
        return lt_fail(LEAT_ENOMEM, "topic %s: no memory for its settings", topic->name);
    fill_file(topic, settings, file);
    snprintf(path, sizeof path, "%s/topics/%s", w->data->path, topic->name);
    int r = lt_topicfile_write(lt_persister_io(w), dir_fd, path, file);
    free(file);
    return r;
}

/* --- logs --- */

static int open_log_in(struct lt_worker *w, int topic_fd, const struct lt_part *part, unsigned how,
                       struct lt_plog **log)
{
    const struct lt_topic_head *head = part->topic->head;
    char name[16], path[LT_PLACE_MAX + 300];
    struct lt_plog_settings settings = {
        .id = { .topic = head->log_id, .partition = part->index },
        .segment_bytes = head->segment_bytes,
        .reserve_step = head->ring_size / LT_SLOT_SIZE, /* what a death of both skips is some rings' worth */
        .level = head->level == LEAT_DURABLE ? LT_PLOG_DURABLE : LT_PLOG_WRITTEN,
    };
    *log = NULL;
    snprintf(name, sizeof name, "%u", part->index);
    snprintf(path, sizeof path, "%s/topics/%s/%s", w->data->path, part->topic->name, name);
    struct lt_io *io = lt_persister_io(w);
    int fd = lt_io_open(io, topic_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (fd < 0)
        return lt_fail_errno(-fd, "%s: open", path);
    int r = lt_plog_open(io, fd, path, &settings, how, log);
    if (r != 0) {
        lt_io_close(io, fd);
        return r < 0 ? r : lt_fail(LEAT_EFAILED, "%s: there is no log", path);
    }
    return 0;
}

int lt_data_open_log(struct lt_worker *w, const struct lt_part *part, unsigned how, struct lt_plog **log)
{
    *log = NULL;
    if (!w->data)
        return lt_fail(LEAT_EFAILED, "topic %s: this bus has no data directory", part->topic->name);
    int fd = openat(w->data->topics_fd, part->topic->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return lt_fail_errno(errno, "open %s/topics/%s", w->data->path, part->topic->name);
    int r = open_log_in(w, fd, part, how, log);
    close(fd);
    return r;
}

struct opener {
    struct lt_worker *w;
    int topic_fd; /* -1: each topic's own */
    unsigned how;
    struct lt_opening *openings;
    uint32_t count, first, step;
    pthread_t thread;
    bool runs;
};

struct highest {
    uint64_t base;
};

static void note_segment(void *arg, const char *name)
{
    struct highest *highest = arg;
    uint64_t base;
    if (lt_segment_parse(name, "log", &base) && base > highest->base)
        highest->base = base;
}

/* Where offsets go on of a log that does not say so itself: an operator may yet make it readable, and none is given out twice. */
static uint64_t guess_next(const struct opener *opener, const struct lt_part *part)
{
    struct highest highest = { 0 };
    char path[300];
    snprintf(path, sizeof path, "%s/%u", part->topic->name, part->index);
    int fd = openat(opener->w->data->topics_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        struct lt_io *io = lt_persister_io(opener->w);
        io->table->list(io, fd, note_segment, &highest);
        close(fd);
    }
    return highest.base + UNKNOWN_NEXT;
}

static int reserve(struct lt_plog *log, const struct lt_part *part)
{
    uint64_t slots = part->topic->head->ring_size / LT_SLOT_SIZE;
    if (lt_plog_state(log) == LT_PLOG_FAILED)
        return 0;
    return lt_plog_reserve(log, lt_plog_next(log) + (LT_RINGS + 1ull) * slots);
}

static void open_one(const struct opener *opener, struct lt_opening *opening)
{
    const struct lt_part *part = opening->part;
    opening->error = opener->topic_fd < 0
                         ? lt_data_open_log(opener->w, part, opener->how, &opening->log)
                         : open_log_in(opener->w, opener->topic_fd, part, opener->how, &opening->log);
    if (opening->error == 0) {
        opening->next = lt_plog_next(opening->log);
        reserve(opening->log, part); /* fails: so has the log, and says so */
        return;
    }
    snprintf(opening->why, sizeof opening->why, "%s", lt_fail_text());
    opening->next = guess_next(opener, part);
}

static void *open_some(void *argument)
{
    const struct opener *opener = argument;
    for (uint32_t i = opener->first; i < opener->count; i += opener->step)
        open_one(opener, &opener->openings[i]);
    return NULL;
}

/* Side by side: each waits for a handful of syncs, and the disk does many at once. */
static void open_many(struct lt_worker *w, int topic_fd, unsigned how, struct lt_opening *openings,
                      uint32_t count)
{
    struct opener openers[OPENERS];
    uint32_t threads = count < OPENERS ? count : OPENERS;
    for (uint32_t i = 0; i < threads; i++) {
        openers[i] = (struct opener){ .w = w,
                                      .topic_fd = topic_fd,
                                      .how = how,
                                      .openings = openings,
                                      .count = count,
                                      .first = i,
                                      .step = threads };
        openers[i].runs = i > 0 && lt_worker_thread(&openers[i].thread, open_some, &openers[i]) == 0;
    }
    for (uint32_t i = 0; i < threads; i++) {
        if (openers[i].runs)
            pthread_join(openers[i].thread, NULL);
        else
            open_some(&openers[i]);
    }
}

void lt_data_open_logs(struct lt_worker *w, struct lt_opening *openings, uint32_t count)
{
    open_many(w, -1, 0, openings, count);
}

void lt_data_close_logs(struct lt_opening *openings, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!openings[i].log)
            continue;
        int fd = lt_plog_dir(openings[i].log).fd;
        lt_plog_abandon(openings[i].log);
        close(fd);
        openings[i].log = NULL;
    }
}

/* --- create --- */

static int make_parts(struct lt_worker *w, const struct lt_topic *topic, int topic_fd)
{
    struct lt_io *io = lt_persister_io(w);
    char name[16];
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        snprintf(name, sizeof name, "%u", p);
        int error = io->table->mkdir(io, topic_fd, name, 0700);
        if (error < 0)
            return fail_io(w->data, topic->name, "mkdir of a partition", error);
    }
    return 0;
}

/* All that a topic is, in a directory that is not a topic's yet. */
static int fill_new(struct lt_worker *w, const struct lt_topic *topic, int topic_fd,
                    struct lt_opening *openings)
{
    int r = make_parts(w, topic, topic_fd);
    if (r < 0)
        return r;
    for (uint32_t p = 0; p < topic->partition_count; p++)
        openings[p].part = &topic->parts[p];
    open_many(w, topic_fd, LT_RECOVER_CREATE, openings, topic->partition_count);
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        if (openings[p].error < 0)
            return lt_fail(openings[p].error, "%s", openings[p].why);
        if (lt_plog_state(openings[p].log) == LT_PLOG_FAILED)
            return lt_fail(LEAT_EIO, "%s", lt_plog_reason(openings[p].log));
    }
    lt_point("data.create.logs");
    return write_file(w, topic, topic->head, topic_fd); /* and syncs the directory, partitions and all */
}

static int name_new(struct lt_worker *w, const struct lt_topic *topic, const char *from)
{
    struct lt_io *io = lt_persister_io(w);
    char to[300];
    snprintf(to, sizeof to, "topics/%s", topic->name);
    int r = sync_path(w);
    if (r < 0)
        return r;
    lt_point("data.create.rename");
    int error = lt_io_rename(io, w->data->fd, from, to);
    if (error == -ENOTEMPTY || error == -EEXIST || error == -ENOTDIR)
        return lt_fail(LEAT_EEXIST, "topic %s: %s/%s is there, and is not served: leatd's log says why",
                       topic->name, w->data->path, to);
    if (error < 0)
        return fail_io(w->data, to, "rename to it", error);
    r = sync_directory(w, w->data->topics_fd, "topics");
    if (r == 0)
        r = sync_directory(w, w->data->new_fd, "new");
    if (r < 0 && lt_io_rename(io, w->data->fd, to, from) < 0)
        lt_worker_log(w, LT_LOG_ERROR, "topic %s could not be made, and %s/%s stays", topic->name,
                      w->data->path, to);
    return r;
}

/* A directory, or a file, and all in it. What cannot be removed stays for the next start. */
static void remove_tree(int dir_fd, const char *name)
{
    if (unlinkat(dir_fd, name, 0) == 0 || (errno != EISDIR && errno != EPERM))
        return;
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream) {
        struct dirent *entry;
        while ((entry = readdir(stream)))
            if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                remove_tree(fd, entry->d_name);
        closedir(stream);
    } else if (fd >= 0) {
        close(fd);
    }
    unlinkat(dir_fd, name, AT_REMOVEDIR);
}

int lt_data_create(struct lt_worker *w, struct lt_topic *topic, struct lt_opening **openings)
{
    struct lt_io *io = lt_persister_io(w);
    struct id_text id = in("new/", topic->head->log_id);
    char why[LT_MSG_TEXT];
    struct lt_opening *all = calloc(topic->partition_count, sizeof *all);
    if (!all)
        return lt_fail(LEAT_ENOMEM, "topic %s: no memory for %u logs", topic->name, topic->partition_count);
    lt_point("data.create");
    int error = io->table->mkdir(io, w->data->fd, id.text, 0700);
    int fd = error < 0 ? error : lt_io_open(io, w->data->fd, id.text, O_RDONLY | O_DIRECTORY);
    int r = fd < 0 ? fail_io(w->data, id.text, "mkdir", fd) : fill_new(w, topic, fd, all);
    if (fd >= 0)
        lt_io_close(io, fd);
    if (r == 0)
        r = name_new(w, topic, id.text);
    if (r == 0) {
        lt_point("data.create.after");
        *openings = all;
        return 0;
    }
    snprintf(why, sizeof why, "%s", lt_fail_text());
    lt_data_close_logs(all, topic->partition_count);
    free(all);
    remove_tree(w->data->fd, id.text);
    return lt_fail(r, "%s", why);
}

/* --- alter and delete --- */

int lt_data_alter(struct lt_worker *w, const struct lt_topic *topic, const struct lt_topic_head *settings)
{
    int fd = openat(w->data->topics_fd, topic->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return lt_fail_errno(errno, "open %s/topics/%s", w->data->path, topic->name);
    lt_point("data.alter");
    int r = write_file(w, topic, settings, fd);
    close(fd);
    lt_point("data.alter.after");
    return r;
}

static int move_away(struct lt_worker *w, const char *name, uint64_t log_id)
{
    char from[300];
    snprintf(from, sizeof from, "topics/%s", name);
    int error = lt_io_rename(lt_persister_io(w), w->data->fd, from, in("old/", log_id).text);
    if (error < 0 && error != -ENOENT) /* not there: somebody has removed it */
        return fail_io(w->data, from, "rename", error);
    int r = sync_directory(w, w->data->topics_fd, "topics");
    if (r == 0)
        r = sync_directory(w, w->data->old_fd, "old");
    /* Nobody knows what is on the disk; as long as this bus lives, the topic is where it was. */
    if (r < 0 && error == 0)
        lt_io_rename(lt_persister_io(w), w->data->fd, in("old/", log_id).text, from);
    return r;
}

int lt_data_delete(struct lt_worker *w, const struct lt_topic *topic)
{
    lt_point("data.delete");
    int r = move_away(w, topic->name, topic->head->log_id);
    lt_point("data.delete.after");
    return r;
}

void lt_data_remove(struct lt_worker *w, uint64_t log_id)
{
    lt_point("data.remove");
    if (w->data)
        remove_tree(w->data->fd, in("old/", log_id).text);
}

static void remove_all(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (!stream) {
        if (fd >= 0)
            close(fd);
        return;
    }
    struct dirent *entry;
    while ((entry = readdir(stream)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            remove_tree(fd, entry->d_name);
    closedir(stream);
}

void lt_data_sweep(struct lt_worker *w)
{
    remove_all(w->data->new_fd);
    remove_all(w->data->old_fd);
}

/* --- a start --- */

bool lt_data_is_deleted(const struct lt_worker *w, uint64_t log_id)
{
    return w->data && faccessat(w->data->fd, in("old/", log_id).text, F_OK, 0) == 0;
}

void lt_data_undo(struct lt_worker *w, const struct lt_topic_head *head)
{
    struct lt_topicfile *file = w->data && head->log_id != 0 ? malloc(sizeof *file) : NULL;
    char name[sizeof head->name];
    if (!file)
        return;
    memcpy(name, head->name, sizeof name);
    name[sizeof name - 1] = 0;
    /* The name can be another topic's by now. */
    if (lt_data_read(w, name, file) == 0 && file->log_id == head->log_id &&
        (move_away(w, name, head->log_id) < 0 || plan_sweep(w) < 0))
        lt_worker_log(w, LT_LOG_ERROR, "topic %s was not made, and its directory stays: %s", name,
                      lt_fail_text());
    free(file);
}

int lt_data_list(struct lt_worker *w, void (*each)(void *arg, const char *name), void *arg)
{
    struct lt_io *io = lt_persister_io(w);
    /* Names that whoever died before gave are in the cache, and maybe nowhere else. */
    int r = is_empty(w->data->topics_fd) ? 0 : sync_directory(w, w->data->topics_fd, "topics");
    int error = r < 0 ? 0 : io->table->list(io, w->data->topics_fd, each, arg);
    return error < 0 ? fail_io(w->data, "topics", "readdir", error) : r;
}

int lt_data_read(struct lt_worker *w, const char *name, struct lt_topicfile *file)
{
    char path[LT_PLACE_MAX + 300];
    struct lt_io *io = lt_persister_io(w);
    snprintf(path, sizeof path, "%s/topics/%s", w->data->path, name);
    int fd = lt_io_open(io, w->data->topics_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (fd < 0)
        return lt_fail_errno(-fd, "open %s", path);
    int r = lt_topicfile_read(io, fd, path, file);
    lt_io_close(io, fd);
    if (r > 0)
        return lt_fail(LEAT_EFAILED, "%s: it has no settings", path);
    if (r == 0 && strcmp(file->name, name) != 0)
        return lt_fail(LEAT_EFAILED, "%s: its settings are those of topic %s", path, file->name);
    return r;
}
