/* tree: directories: which kind each is, and what has to be in it. */
#ifndef TREE_H
#define TREE_H

#include "dump.h"

struct tree_names {
    char **names; /* sorted */
    size_t count, capacity;
    bool failed;
};

/* Whose log a directory is, by where it lies. */
struct tree_expect {
    bool topic_known, partition_known;
    uint64_t topic;
    uint32_t partition;
};

/* PATH/NAME, to be freed; NULL: a verdict was said. */
char *tree_join(struct dump *dump, const char *path, const char *name);

void partition_dump(struct dump *dump, const char *path, int fd, const struct tree_names *names,
                    const struct tree_expect *expect);

#endif
