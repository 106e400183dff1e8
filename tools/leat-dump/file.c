/* file: one file: opened, recognised by its magic, handed to whoever knows that kind. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dump.h"
#include "shm/region.h"
#include "store/offsets.h"

static bool refuse(struct dump *dump, int error)
{
    dump_say(dump, DUMP_UNREAD, "%s", strerror(error));
    return false;
}

static bool take_size(struct dump *dump, struct dump_file *file)
{
    struct lt_io_stat stat;
    int error = lt_io_stat(dump->io, file->fd, &stat);
    if (error < 0)
        return refuse(dump, -error);
    file->size = stat.size;
    return true;
}

bool file_open(struct dump *dump, const char *dir_path, int dir_fd, const char *name, struct dump_file *file)
{
    struct stat st;
    file->dir.io = dump->io;
    file->dir.fd = dir_fd;
    file->dir.path = dir_path;
    file->name = name;
    file->fd = -1;
    if (fstatat(dir_fd, name, &st, 0) < 0)
        return refuse(dump, errno);
    if (!S_ISREG(st.st_mode)) {
        dump_say(dump, DUMP_UNREAD, "no regular file");
        return false;
    }
    file->fd = lt_io_open(dump->io, dir_fd, name, O_RDONLY | O_NONBLOCK);
    if (file->fd < 0)
        return refuse(dump, -file->fd);
    if (take_size(dump, file))
        return true;
    file_close(dump, file);
    return false;
}

void file_close(struct dump *dump, struct dump_file *file)
{
    if (file->fd >= 0)
        lt_io_close(dump->io, file->fd);
    file->fd = -1;
}

bool file_read(struct dump *dump, const struct dump_file *file, void *bytes, size_t size, uint64_t at)
{
    memset(bytes, 0, size);
    int64_t n = lt_io_read_all(dump->io, file->fd, bytes, size, at);
    return n >= 0 || refuse(dump, (int)-n);
}

/* ---- by magic ---- */

static void dump_segment_alone(struct dump *dump, struct dump_file *file)
{
    struct dump_segment segment;
    segment_dump(dump, file, NULL, &segment);
    if (segment.whole)
        segment_judge(dump, &segment);
}

static void dump_index_alone(struct dump *dump, struct dump_file *file)
{
    struct dump_index index;
    index_dump(dump, file, &index);
    if (index.entries)
        dump_say(dump, DUMP_OK, "index of the segment at %" PRIu64 ": %u entries, to offset %" PRIu64,
                 index.head.base_offset, index.head.entry_count, index.head.end_offset);
    free(index.entries);
}

static void dump_meta_alone(struct dump *dump, struct dump_file *file)
{
    struct lt_meta_slot meta;
    if (meta_dump(dump, file, &meta))
        meta_judge(dump, &meta);
}

static void dump_topic_alone(struct dump *dump, struct dump_file *file)
{
    struct lt_topicfile topic;
    if (topicfile_dump(dump, file, &topic))
        topicfile_judge(dump, &topic);
}

/* A file whose magic is not the one that its name promises is damaged; one that promises nothing is not ours. */
static bool has_our_name(const char *name)
{
    uint64_t base;
    return lt_segment_parse(name, "log", &base) || lt_segment_parse(name, "idx", &base) ||
           strcmp(name, LT_META_NAME) == 0 || strcmp(name, LT_OFFSETS_NAME) == 0 ||
           strcmp(name, LT_TOPICFILE_NAME) == 0;
}

static void dump_opened(struct dump *dump, struct dump_file *file)
{
    uint64_t magic, second;
    if (!file_read(dump, file, &magic, sizeof magic, 0) ||
        !file_read(dump, file, &second, sizeof second, LT_STORE_PAGE))
        return;
    if (magic == LT_SEGMENT_MAGIC)
        dump_segment_alone(dump, file);
    else if (magic == LT_INDEX_MAGIC)
        dump_index_alone(dump, file);
    else if (magic == LT_META_MAGIC || second == LT_META_MAGIC)
        dump_meta_alone(dump, file);
    else if (magic == LT_OFFSETS_MAGIC)
        offsets_dump(dump, file);
    else if (magic == LT_TOPICFILE_MAGIC)
        dump_topic_alone(dump, file);
    else if (magic == LT_REGION_MAGIC)
        dump_say(dump, DUMP_UNREAD, "a region of shared memory: --ring-file prints rings");
    else if (has_our_name(file->name))
        dump_say(dump, DUMP_DAMAGED, "magic %016" PRIx64 ": not what its name says", magic);
    else
        dump_say(dump, DUMP_UNREAD, "no file of leat: magic %016" PRIx64, magic);
}

bool file_open_path(struct dump *dump, const char *path, struct dump_file *file)
{
    const char *slash = strrchr(path, '/');
    dump->path = path;
    if (!file_open(dump, "", AT_FDCWD, path, file))
        return false;
    file->name = slash ? slash + 1 : path;
    return true;
}

void dump_file(struct dump *dump, const char *path)
{
    struct dump_file file = { .fd = -1 };
    if (file_open_path(dump, path, &file))
        dump_opened(dump, &file);
    file_close(dump, &file);
}

void dump_path(struct dump *dump, const char *path)
{
    struct stat st;
    dump->path = path;
    if (stat(path, &st) < 0)
        refuse(dump, errno);
    else if (S_ISDIR(st.st_mode))
        tree_dump(dump, path);
    else
        dump_file(dump, path);
}
