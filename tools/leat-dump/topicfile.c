/* topicfile: a topic's settings. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "dump.h"

/* `which` of these words, or its number. */
static void out_word(struct dump *dump, const char *name, const char *const *words, uint32_t count,
                     uint32_t which)
{
    if (which < count)
        out_text(dump, name, words[which]);
    else
        out_uint(dump, name, which);
}

static void print(struct dump *dump, const struct lt_topicfile *topic)
{
    static const char *const levels[] = { "ring", "written", "durable" },
                             *const on_full[] = { "block", "overwrite", "error" },
                             *const partitioners[] = { "0", "xxh3", "murmur2" };
    uint64_t kept = topic->retention_bytes;
    char mode[16];
    snprintf(mode, sizeof mode, "%04o", topic->mode);
    out_begin(dump, "topic");
    out_uint(dump, "version", topic->version);
    out_hex(dump, "fingerprint", topic->fingerprint);
    out_bytes(dump, "name", topic->name, strnlen(topic->name, sizeof topic->name));
    out_hex(dump, "log_id", topic->log_id);
    out_uint(dump, "partition_count", topic->partition_count);
    out_word(dump, "level", levels, 3, topic->level);
    out_word(dump, "on_full", on_full, 3, topic->on_full);
    out_word(dump, "partitioner", partitioners, 3, topic->partitioner);
    out_uint(dump, "ring_size", topic->ring_size);
    out_uint(dump, "segment_bytes", topic->segment_bytes);
    out_int(dump, "retention_bytes", kept == UINT64_MAX ? -1 : (int64_t)kept);
    out_int(dump, "retention_ms", topic->retention_ms);
    out_time(dump, "created", (int64_t)topic->created_ms);
    out_uint(dump, "uid", topic->uid);
    out_uint(dump, "gid", topic->gid);
    out_text(dump, "mode", mode);
    out_uint(dump, "map_epoch", topic->map_epoch);
    out_end(dump);
}

bool topicfile_dump(struct dump *dump, struct dump_file *file, struct lt_topicfile *topic)
{
    if (!file_read(dump, file, topic, sizeof *topic, 0))
        return false;
    int64_t got = (int64_t)(file->size < sizeof *topic ? file->size : sizeof *topic);
    int error = lt_topicfile_check(file->dir.path, topic, got);
    if (topic->magic == LT_TOPICFILE_MAGIC)
        print(dump, topic);
    if (error < 0)
        dump_say(dump, dump_verdict_of(error), "%s", dump_why(dump));
    return error == 0;
}

void topicfile_judge(struct dump *dump, const struct lt_topicfile *topic)
{
    dump_say(dump, DUMP_OK, "settings of %s, %u partitions, log id %016" PRIx64, topic->name,
             topic->partition_count, topic->log_id);
}
