/* tree: a partition's, a topic's, the groups' or a whole data directory.
 *
 *   DATA/topics/NAME/topic     DATA/topics/NAME/P/...     DATA/groups/offsets     DATA/new/ID  DATA/old/ID
 */
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *tree_join(struct dump *dump, const char *path, const char *name)
{
    char *joined = NULL;
    size_t size = strlen(path);
    if (asprintf(&joined, "%s%s%s", path, size > 0 && path[size - 1] == '/' ? "" : "/", name) >= 0)
        return joined;
    dump_say(dump, DUMP_UNREAD, "no memory for a path");
    return NULL;
}

/* ---- names ---- */

static void add_name(void *arg, const char *name)
{
    struct tree_names *names = arg;
    if (names->count == names->capacity) {
        size_t capacity = names->capacity ? names->capacity * 2 : 64;
        char **more = realloc(names->names, capacity * sizeof more[0]);
        names->failed |= !more;
        if (!more)
            return;
        names->names = more;
        names->capacity = capacity;
    }
    names->names[names->count] = strdup(name);
    names->failed |= !names->names[names->count];
    names->count += names->names[names->count] != NULL;
}

static int by_name(const void *a, const void *b)
{
    const char *left = *(char *const *)a, *right = *(char *const *)b;
    size_t left_size = strspn(left, "0123456789"), right_size = strspn(right, "0123456789");
    if (left_size != right_size && !left[left_size] && !right[right_size])
        return left_size < right_size ? -1 : 1; /* 9 before 10 */
    return strcmp(left, right);
}

static void free_names(struct tree_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i]);
    free(names->names);
}

static bool has(const struct tree_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->names[i], name) == 0)
            return true;
    return false;
}

static bool is_number(const char *name, uint32_t *number)
{
    char again[16];
    *number = (uint32_t)strtoul(name, NULL, 10);
    snprintf(again, sizeof again, "%" PRIu32, *number);
    return strcmp(name, again) == 0;
}

/* Opens it and lists it: its descriptor, or -1 and a verdict. */
static int enter(struct dump *dump, const char *path, struct tree_names *names)
{
    *names = (struct tree_names){ 0 };
    dump->path = path;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = fd < 0 ? -errno : dump->io->table->list(dump->io, fd, add_name, names);
    if (error < 0 || names->failed) {
        dump_say(dump, DUMP_UNREAD, "%s", error < 0 ? strerror(-error) : "no memory for its names");
        if (fd >= 0)
            close(fd);
        return -1;
    }
    if (names->count > 0)
        qsort(names->names, names->count, sizeof names->names[0], by_name);
    return fd;
}

/* ---- kinds ---- */

typedef void visit(struct dump *dump, const char *path, const struct tree_expect *expect);

static void visit_child(struct dump *dump, const char *path, const char *name, visit *how,
                        const struct tree_expect *expect)
{
    char *child = tree_join(dump, path, name);
    if (child)
        how(dump, child, expect);
    free(child);
    dump->path = path;
}

static void visit_file(struct dump *dump, const char *path, const struct tree_expect *expect)
{
    (void)expect;
    dump_file(dump, path);
}

static bool is_partition(const struct tree_names *names)
{
    uint64_t base;
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->names[i], LT_META_NAME) == 0 || lt_segment_parse(names->names[i], "log", &base))
            return true;
    return false;
}

static bool is_topic(const struct tree_names *names)
{
    uint32_t number;
    bool found = has(names, LT_TOPICFILE_NAME);
    for (size_t i = 0; i < names->count; i++)
        found |= is_number(names->names[i], &number);
    return found;
}

static void visit_partition(struct dump *dump, const char *path, const struct tree_expect *expect)
{
    struct tree_names names;
    int fd = enter(dump, path, &names);
    if (fd >= 0 && is_partition(&names))
        partition_dump(dump, path, fd, &names, expect);
    else if (fd >= 0)
        dump_say(dump, DUMP_DAMAGED, "no log in it");
    if (fd >= 0)
        close(fd);
    free_names(&names);
}

/* The file `topic`; without one that is right the partitions are looked at all the same. */
static bool look_at_settings(struct dump *dump, const char *path, struct lt_topicfile *topic)
{
    struct dump_file file = { .fd = -1 };
    char *name = tree_join(dump, path, LT_TOPICFILE_NAME);
    bool right = name && file_open_path(dump, name, &file) && topicfile_dump(dump, &file, topic);
    if (right)
        topicfile_judge(dump, topic);
    else
        topic->log_id = 0;
    file_close(dump, &file);
    free(name);
    dump->path = path;
    return right;
}

static void dump_topic(struct dump *dump, const char *path, const struct tree_names *names)
{
    struct tree_expect expect = { 0 };
    struct lt_topicfile topic;
    expect.topic_known = look_at_settings(dump, path, &topic);
    expect.topic = topic.log_id;
    for (uint32_t i = 0; expect.topic_known && i < topic.partition_count; i++) {
        char name[16];
        snprintf(name, sizeof name, "%u", i);
        if (!has(names, name))
            dump_say(dump, DUMP_DAMAGED, "has %u partitions, and no directory %s", topic.partition_count,
                     name);
    }
    for (size_t i = 0; i < names->count; i++) {
        expect.partition_known = is_number(names->names[i], &expect.partition);
        if (expect.partition_known)
            visit_child(dump, path, names->names[i], visit_partition, &expect);
    }
}

static void visit_topic(struct dump *dump, const char *path, const struct tree_expect *expect)
{
    (void)expect;
    struct tree_names names;
    int fd = enter(dump, path, &names);
    if (fd >= 0 && is_topic(&names))
        dump_topic(dump, path, &names);
    else if (fd >= 0)
        dump_say(dump, DUMP_DAMAGED, "no topic in it");
    if (fd >= 0)
        close(fd);
    free_names(&names);
}

static void visit_all(struct dump *dump, const char *path, visit *how)
{
    struct tree_names names;
    int fd = enter(dump, path, &names);
    for (size_t i = 0; fd >= 0 && i < names.count; i++)
        visit_child(dump, path, names.names[i], how, NULL);
    if (fd >= 0)
        close(fd);
    free_names(&names);
}

static void visit_topics(struct dump *dump, const char *path, const struct tree_expect *expect)
{
    (void)expect;
    visit_all(dump, path, visit_topic);
}

/* What is being made or removed: whatever is in there, the next start removes it. */
static void note_unfinished(struct dump *dump, const char *path, const struct tree_expect *expect)
{
    (void)expect;
    out_begin(dump, "unfinished");
    out_text(dump, "name", path);
    out_end(dump);
}

static void visit_unfinished(struct dump *dump, const char *path, const struct tree_expect *expect)
{
    (void)expect;
    visit_all(dump, path, note_unfinished);
}

static void dump_groups(struct dump *dump, const char *path, const struct tree_names *names)
{
    if (has(names, "offsets.new"))
        note_unfinished(dump, "offsets.new", NULL);
    if (has(names, "offsets"))
        visit_child(dump, path, "offsets", visit_file, NULL);
}

static void visit_groups(struct dump *dump, const char *path, const struct tree_expect *expect)
{
    (void)expect;
    struct tree_names names;
    int fd = enter(dump, path, &names);
    if (fd >= 0) {
        dump_groups(dump, path, &names);
        close(fd);
    }
    free_names(&names);
}

static void dump_data(struct dump *dump, const char *path, const struct tree_names *names)
{
    visit_child(dump, path, "topics", visit_topics, NULL);
    if (has(names, "groups"))
        visit_child(dump, path, "groups", visit_groups, NULL);
    if (has(names, "new"))
        visit_child(dump, path, "new", visit_unfinished, NULL);
    if (has(names, "old"))
        visit_child(dump, path, "old", visit_unfinished, NULL);
}

static void visit_data(struct dump *dump, const char *path, const struct tree_expect *expect)
{
    (void)expect;
    struct tree_names names;
    int fd = enter(dump, path, &names);
    if (fd >= 0 && has(&names, "topics"))
        dump_data(dump, path, &names);
    else if (fd >= 0)
        dump_say(dump, DUMP_UNREAD, "no data of leat in it");
    if (fd >= 0)
        close(fd);
    free_names(&names);
}

void tree_dump(struct dump *dump, const char *path)
{
    struct tree_names names;
    int fd = enter(dump, path, &names);
    if (fd < 0)
        ;
    else if (is_partition(&names))
        partition_dump(dump, path, fd, &names, NULL);
    else if (has(&names, "topics"))
        dump_data(dump, path, &names);
    else if (has(&names, "offsets"))
        dump_groups(dump, path, &names);
    else if (is_topic(&names))
        dump_topic(dump, path, &names);
    else if (has(&names, "data")) /* a bus's directory */
        visit_child(dump, path, "data", visit_data, NULL);
    else
        dump_say(dump, DUMP_UNREAD, "no directory of leat");
    if (fd >= 0)
        close(fd);
    free_names(&names);
}
