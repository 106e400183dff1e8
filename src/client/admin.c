/* admin: topics and the bus, as seen from outside: requests over the link, and the counters file.
 *
 * Answers that do not fit into one message come in pages: names behind a name, partitions and clients from a number on.
 * What arrives is checked like any input: counts against the bytes that came.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <leat.h>

#include "base/clock.h"
#include "client/bus.h"
#include "client/link.h"
#include "shm/counters.h"
#include "shm/place.h"
#include "shm/wire.h"

#define CREATE_MS 300000 /* a topic of many GiB is taken in full before it is answered */
#define FOLD_MS 1000     /* fresh counters are not worth more */
#define ANSWER_MAX (LT_MSG_MAX - (uint32_t)sizeof(struct lt_msg))

static int check_name(leat_bus *bus, const char *topic)
{
    int r = lt_bus_check(bus);
    if (r < 0)
        return r;
    return topic == NULL ? lt_fail(LEAT_EINVAL, "the topic's name is NULL")
                         : lt_topic_name_check(topic, strlen(topic));
}

static int no_memory(const char *what)
{
    return lt_fail(LEAT_ENOMEM, "memory for %s", what);
}

/* Waits for memory, or for a disk. */
static bool is_slow(enum lt_msg_type type)
{
    return type == LT_MSG_TOPIC_CREATE || type == LT_MSG_TOPIC_DELETE || type == LT_MSG_TOPIC_ALTER ||
           type == LT_MSG_TOPIC_RESUME;
}

/* A request whose body is a struct that begins with a name, and whose answer may be as long as a message. */
static int call(leat_bus *bus, enum lt_msg_type type, const void *body, uint32_t body_size,
                unsigned char *answer, uint32_t *got)
{
    struct lt_request request = { .type = type,
                                  .body = body,
                                  .body_size = body_size,
                                  .answer = answer,
                                  .answer_size = answer != NULL ? ANSWER_MAX : 0,
                                  .timeout_ms = is_slow(type) ? CREATE_MS : 0 };
    int r = lt_link_call(&bus->link, &request);
    if (got != NULL)
        *got = request.got;
    return r;
}

/* --- topics --- */

static int put_owner(struct lt_topic_create *body, const char *topic, const char *owner)
{
    if (owner == NULL)
        return 0;
    if (strlen(owner) >= sizeof body->owner)
        return lt_fail(LEAT_EINVAL, "%s: an owner of %zu bytes", topic, strlen(owner));
    memcpy(body->owner, owner, strlen(owner));
    return 0;
}

static int create(leat_bus *bus, const char *topic, const leat_topic_options *options)
{
    struct lt_topic_create body;
    memset(&body, 0, sizeof body);
    memcpy(body.name, topic, strlen(topic));
    body.partitions = options->partitions == UINT32_MAX ? 0 : options->partitions;
    body.level = (uint32_t)options->level;
    body.on_full = (uint32_t)options->on_full;
    body.partitioner = (uint32_t)options->partitioner;
    body.mode = options->mode;
    body.no_log = options->no_log > 0 ? 1 : UINT32_MAX;
    body.if_not_exists = options->if_not_exists != 0;
    body.ring_size = options->ring_size == UINT64_MAX ? 0 : options->ring_size;
    body.segment_bytes = options->segment_bytes == UINT64_MAX ? 0 : options->segment_bytes;
    body.retention_bytes = options->retention_bytes;
    body.retention_ms = options->retention_ms;
    int r = put_owner(&body, topic, options->owner);
    return r < 0 ? r : call(bus, LT_MSG_TOPIC_CREATE, &body, sizeof body, NULL, NULL);
}

int leat_topic_create(leat_bus *bus, const char *topic, const leat_topic_options *options)
{
    static const leat_topic_options defaults = LEAT_TOPIC_OPTIONS;
    leat_topic_options taken = defaults;
    int kept = errno;
    int r = check_name(bus, topic);
    if (r >= 0)
        r = lt_options_take(&taken, sizeof taken, options);
    if (r >= 0 && (taken.partitions == 0 ||
                   taken.ring_size == 0)) /* on the wire: whatever leatd's configuration says */
        r = lt_fail(LEAT_EINVAL, "topic %s: %u partitions of %llu bytes", topic, taken.partitions,
                    (unsigned long long)taken.ring_size);
    if (r >= 0)
        r = create(bus, topic, &taken);
    errno = kept;
    return r < 0 ? r : 0;
}

int leat_topic_delete(leat_bus *bus, const char *topic)
{
    struct lt_name body;
    int kept = errno;
    int r = check_name(bus, topic);
    if (r >= 0) {
        memset(&body, 0, sizeof body);
        memcpy(body.name, topic, strlen(topic));
        r = call(bus, LT_MSG_TOPIC_DELETE, &body, sizeof body, NULL, NULL);
    }
    errno = kept;
    return r < 0 ? r : 0;
}

/* --- describe --- */

void leat_topic_info_free(leat_topic_info *info)
{
    if (info == NULL)
        return;
    free(info->topic);
    free(info->owner);
    for (uint32_t i = 0; info->partitions != NULL && i < info->partition_count; i++)
        free(info->partitions[i].reason);
    free(info->partitions);
    free(info);
}

static int take_topic(leat_topic_info *info, const struct lt_topic_describe_answer *answer)
{
    const struct lt_topic_create *topic = &answer->topic;
    if (topic->partitions == 0 || topic->partitions > LT_TOPIC_PARTITIONS_MAX)
        return lt_fail(LEAT_EPROTO, "a topic with %u partitions", topic->partitions);
    info->topic = strndup(topic->name, sizeof topic->name);
    info->owner = strndup(answer->owner, sizeof answer->owner);
    info->partitions = calloc(topic->partitions, sizeof *info->partitions);
    if (info->topic == NULL || info->owner == NULL || info->partitions == NULL)
        return no_memory("a topic's description");
    info->partition_count = topic->partitions;
    info->level = (enum leat_level)topic->level;
    info->log = answer->log != 0;
    info->on_full = (enum leat_on_full)topic->on_full;
    info->partitioner = (enum leat_partitioner)topic->partitioner;
    info->ring_bytes = topic->ring_size;
    info->ring_slots = answer->ring_slots;
    info->record_max = answer->record_max;
    info->map_epoch = answer->map_epoch;
    info->uid = answer->uid;
    info->gid = answer->gid;
    info->mode = topic->mode;
    info->memory_bytes = answer->memory_bytes;
    info->descriptors = answer->descriptors;
    info->producers = answer->producers;
    info->retention_bytes = topic->retention_bytes;
    info->retention_ms = topic->retention_ms;
    info->segment_bytes = topic->segment_bytes;
    return 0;
}

static int take_row(leat_partition_info *to, const struct lt_partition_row *row)
{
    static const char *const states[] = {
        [LT_PARTITION_OPEN] = "open", [LT_PARTITION_FULL] = "full", [LT_PARTITION_FAILED] = "failed"
    };
    char *reason = strndup(row->reason, sizeof row->reason);
    if (reason == NULL)
        return no_memory("a partition's description");
    *to = (leat_partition_info){ .partition = row->partition,
                                 .state = row->state < 3 ? states[row->state] : "unknown",
                                 .log_start_offset = row->log_start_offset,
                                 .log_end_offset = row->log_end_offset,
                                 .acked_offset = row->acked_offset,
                                 .bytes_on_disk = row->bytes_on_disk,
                                 .segments = row->segments,
                                 .rings = row->rings,
                                 .readers = row->readers,
                                 .reason = reason };
    return 0;
}

static int describe(leat_bus *bus, const char *topic, leat_topic_info *info, unsigned char *buffer)
{
    struct lt_topic_describe body;
    memset(&body, 0, sizeof body);
    memcpy(body.name, topic, strlen(topic));
    do {
        uint32_t got;
        int rows = call(bus, LT_MSG_TOPIC_DESCRIBE, &body, sizeof body, buffer, &got);
        if (rows < 0)
            return rows;
        const struct lt_topic_describe_answer *answer = (const void *)buffer;
        if (got < sizeof *answer || (got - sizeof *answer) / sizeof answer->rows[0] < (uint32_t)rows ||
            rows == 0)
            return lt_fail(LEAT_EPROTO, "%s: %d partitions in %u bytes", topic, rows, got);
        int r = info->topic == NULL ? take_topic(info, answer) : 0;
        if (r < 0)
            return r;
        if (info->partitions == NULL || (uint32_t)rows > info->partition_count - body.from_partition)
            return lt_fail(LEAT_EPROTO, "%s: %d partitions from %u on, of %u", topic, rows,
                           body.from_partition, info->partition_count);
        for (int i = 0; i < rows; i++) {
            r = take_row(&info->partitions[body.from_partition++], &answer->rows[i]);
            if (r < 0)
                return r;
        }
    } while (body.from_partition < info->partition_count);
    return 0;
}

int leat_topic_describe(leat_bus *bus, const char *topic, leat_topic_info **out)
{
    if (out == NULL)
        return lt_fail(LEAT_EINVAL, "leat_topic_describe: no place for the answer");
    *out = NULL;
    int kept = errno;
    int r = check_name(bus, topic);
    if (r < 0)
        return r;
    leat_topic_info *info = calloc(1, sizeof *info);
    unsigned char *buffer = malloc(ANSWER_MAX);
    r = info != NULL && buffer != NULL ? describe(bus, topic, info, buffer)
                                       : no_memory("a topic's description");
    free(buffer);
    if (r < 0)
        leat_topic_info_free(info);
    else
        *out = info;
    errno = kept;
    return r;
}

/* --- alter and resume --- */

static int stays(const char *topic, const char *field, uint64_t is, uint64_t wanted)
{
    if (is == wanted)
        return 0;
    return lt_fail(LEAT_EUNSUPPORTED, "%s: its %s is %llu, not %llu, and stays as it was made", topic, field,
                   (unsigned long long)is, (unsigned long long)wanted);
}

/* Fields that stay as they are may be said again. */
static int check_fixed(const leat_topic_info *info, const leat_topic_options *to)
{
    static const leat_topic_options unsaid = LEAT_TOPIC_DEFAULTS;
    int r = 0;
    if (to->partitions != unsaid.partitions && to->partitions != info->partition_count)
        return lt_fail(LEAT_EUNSUPPORTED,
                       "%s: %u partitions instead of %u: growing and shrinking come with a later version",
                       info->topic, to->partitions, info->partition_count);
    if (to->ring_size != unsaid.ring_size)
        r = stays(info->topic, "ring size", info->ring_bytes, to->ring_size);
    if (r == 0 && to->level != unsaid.level)
        r = stays(info->topic, "level", info->level, to->level);
    if (r == 0 && to->partitioner != unsaid.partitioner)
        r = stays(info->topic, "partitioner", info->partitioner, to->partitioner);
    if (r == 0 && to->no_log > 0)
        r = stays(info->topic, "log", (uint64_t)info->log, 0);
    if (r == 0 && to->segment_bytes != unsaid.segment_bytes && info->log)
        r = stays(info->topic, "segment size", info->segment_bytes, to->segment_bytes);
    return r;
}

static int alter(leat_bus *bus, const char *topic, const leat_topic_options *to)
{
    static const leat_topic_options unsaid = LEAT_TOPIC_DEFAULTS;
    struct lt_topic_alter body;
    memset(&body, 0, sizeof body);
    memcpy(body.topic.name, topic, strlen(topic));
    body.topic.retention_bytes = to->retention_bytes;
    body.topic.retention_ms = to->retention_ms;
    body.topic.on_full = (uint32_t)to->on_full;
    body.topic.mode = to->mode;
    body.fields = (to->retention_bytes != unsaid.retention_bytes ? LT_ALTER_RETENTION_BYTES : 0) |
                  (to->retention_ms != unsaid.retention_ms ? LT_ALTER_RETENTION_MS : 0) |
                  (to->on_full != unsaid.on_full ? LT_ALTER_ON_FULL : 0) |
                  (to->mode != unsaid.mode ? LT_ALTER_MODE : 0) | (to->owner != NULL ? LT_ALTER_OWNER : 0);
    int r = put_owner(&body.topic, topic, to->owner);
    return r < 0 ? r : call(bus, LT_MSG_TOPIC_ALTER, &body, sizeof body, NULL, NULL);
}

int leat_topic_alter(leat_bus *bus, const char *topic, const leat_topic_options *options)
{
    leat_topic_options to = LEAT_TOPIC_DEFAULTS;
    leat_topic_info *info = NULL;
    int kept = errno;
    if (options == NULL)
        return lt_fail(LEAT_EINVAL, "leat_topic_alter: nothing to alter");
    int r = lt_options_take(&to, sizeof to, options);
    if (r >= 0)
        r = leat_topic_describe(bus, topic, &info);
    if (r >= 0)
        r = check_fixed(info, &to);
    if (r >= 0)
        r = alter(bus, topic, &to);
    leat_topic_info_free(info);
    errno = kept;
    return r < 0 ? r : 0;
}

int leat_topic_resume(leat_bus *bus, const char *topic, int32_t partition, unsigned flags)
{
    struct lt_topic_resume body;
    int kept = errno;
    int r = check_name(bus, topic);
    if (r >= 0 && (partition < -1 || (flags & ~LEAT_CUT) != 0))
        r = lt_fail(LEAT_EINVAL, "%s: partition %d, flags %#x", topic, partition, flags);
    if (r >= 0) {
        memset(&body, 0, sizeof body);
        memcpy(body.name, topic, strlen(topic));
        body.partition = partition < 0 ? UINT32_MAX : (uint32_t)partition;
        body.cut = (flags & LEAT_CUT) != 0;
        r = call(bus, LT_MSG_TOPIC_RESUME, &body, sizeof body, NULL, NULL);
    }
    errno = kept;
    return r;
}

/* --- list --- */

void leat_names_free(char **names, int count)
{
    for (int i = 0; names != NULL && i < count; i++)
        free(names[i]);
    free(names);
}

/* Adds a page of names. How many, or an error. */
static int take_names(char ***names, int *count, const char *page, uint32_t size, int told)
{
    char **more = realloc(*names, ((size_t)*count + (size_t)told + 1) * sizeof *more);
    if (more == NULL)
        return no_memory("names");
    *names = more;
    for (int i = 0; i < told; i++) {
        size_t length = strnlen(page, size);
        if (length == size || length == 0)
            return lt_fail(LEAT_EPROTO, "%d names, and name %d has no end", told, i);
        more[*count] = strndup(page, length);
        if (more[*count] == NULL)
            return no_memory("names");
        ++*count;
        page += length + 1;
        size -= (uint32_t)length + 1;
    }
    return told;
}

static int list(leat_bus *bus, char ***names, int *count, unsigned char *buffer)
{
    struct lt_name body;
    memset(&body, 0, sizeof body);
    for (;;) {
        uint32_t got;
        int r = call(bus, LT_MSG_TOPIC_LIST, &body, sizeof body, buffer, &got);
        if (r > 0)
            r = take_names(names, count, (const char *)buffer, got, r);
        if (r <= 0)
            return r;
        const char *last = (*names)[*count - 1];
        if (strlen(last) >= sizeof body.name || strcmp(last, body.name) <= 0)
            return lt_fail(LEAT_EPROTO, "names do not come in order");
        memset(&body, 0, sizeof body);
        memcpy(body.name, last, strlen(last));
    }
}

int leat_topic_list(leat_bus *bus, char ***out)
{
    if (out == NULL)
        return lt_fail(LEAT_EINVAL, "leat_topic_list: no place for the names");
    *out = NULL;
    int kept = errno;
    int r = lt_bus_check(bus);
    if (r < 0)
        return r;
    char **names = calloc(1, sizeof *names);
    int count = 0;
    unsigned char *buffer = malloc(ANSWER_MAX);
    r = names != NULL && buffer != NULL ? list(bus, &names, &count, buffer) : no_memory("names");
    free(buffer);
    if (r < 0)
        leat_names_free(names, count);
    else
        *out = names;
    errno = kept;
    return r < 0 ? r : count;
}

/* --- status --- */

void leat_status_free(leat_status_info *info)
{
    if (info == NULL)
        return;
    free(info->bus);
    free(info->client);
    free(info);
}

static const char *state_name(uint32_t state)
{
    switch (state) {
    case LT_CLIENT_ALIVE:
        return "alive";
    case 100:
        return "away";
    case 101:
        return "stopped";
    default:
        return "dead";
    }
}

static void take_client(leat_client_info *to, const struct lt_client_row *row)
{
    *to = (leat_client_info){ .id = row->id,
                              .pid = row->pid,
                              .uid = row->uid,
                              .producers = row->producers,
                              .consumers = row->consumers,
                              .readers = row->readers,
                              .quarantined = row->quarantined,
                              .state = state_name(row->state) };
    memcpy(to->program, row->program, sizeof to->program);
    memcpy(to->client_id, row->client_id, sizeof to->client_id);
    to->program[sizeof to->program - 1] = 0;
    to->client_id[sizeof to->client_id - 1] = 0;
}

static int status_clients(leat_bus *bus, leat_status_info *info, unsigned char *buffer)
{
    struct lt_clients body = { 0 };
    for (;;) {
        uint32_t got;
        int rows = call(bus, LT_MSG_CLIENTS, &body, sizeof body, buffer, &got);
        if (rows <= 0)
            return rows;
        const struct lt_client_row *row = (const void *)buffer;
        if (got / sizeof *row < (uint32_t)rows)
            return lt_fail(LEAT_EPROTO, "%d clients in %u bytes", rows, got);
        leat_client_info *more = realloc(info->client, (info->clients + (uint32_t)rows) * sizeof *more);
        if (more == NULL)
            return no_memory("clients");
        info->client = more;
        for (int i = 0; i < rows; i++) {
            if (row[i].id < body.from)
                return lt_fail(LEAT_EPROTO, "clients do not come in order");
            take_client(&more[info->clients++], &row[i]);
            body.from = row[i].id + 1;
        }
    }
}

static int status(leat_bus *bus, leat_status_info *info, unsigned char *buffer)
{
    uint32_t got;
    int r = call(bus, LT_MSG_STATUS, NULL, 0, buffer, &got);
    if (r < 0)
        return r;
    struct lt_status_answer answer;
    if (got != sizeof answer)
        return lt_fail(LEAT_EPROTO, "a status of %u bytes", got);
    memcpy(&answer, buffer, sizeof answer);
    info->bus = strdup(bus->path);
    if (info->bus == NULL)
        return no_memory("the status");
    info->pid = answer.keeper_pid;
    info->worker_pid = answer.worker_pid;
    info->incarnation = answer.incarnation;
    info->uptime_s = (double)(lt_clock_real_ms() - (int64_t)answer.started_ms) / 1e3;
    info->topics = answer.topics;
    info->groups = answer.groups;
    info->memory_bytes = answer.memory_bytes;
    return status_clients(bus, info, buffer);
}

int leat_status(leat_bus *bus, leat_status_info **out)
{
    if (out == NULL)
        return lt_fail(LEAT_EINVAL, "leat_status: no place for the answer");
    *out = NULL;
    int kept = errno;
    int r = lt_bus_check(bus);
    if (r < 0)
        return r;
    leat_status_info *info = calloc(1, sizeof *info);
    unsigned char *buffer = malloc(ANSWER_MAX);
    r = info != NULL && buffer != NULL ? status(bus, info, buffer) : no_memory("the status");
    free(buffer);
    if (r < 0)
        leat_status_free(info);
    else
        *out = info;
    errno = kept;
    return r < 0 ? r : 0;
}

/* --- counters --- */

void leat_counters_free(leat_counter *counters)
{
    free(counters);
}

/* One block: the array, and behind it a name and a topic for each. */
struct labels {
    char name[sizeof((struct lt_counter *)0)->name];
    char topic[sizeof((struct lt_counter *)0)->topic];
};

static int take_counters(const struct lt_counters *from, leat_counter **out)
{
    uint32_t used = from->head->used < from->capacity ? from->head->used : from->capacity;
    leat_counter *counters = calloc((size_t)used + 1, sizeof *counters + sizeof(struct labels));
    if (counters == NULL)
        return no_memory("counters");
    struct labels *labels = (struct labels *)(void *)(counters + used + 1);
    int count = 0;
    for (uint32_t i = 0; i < used; i++) {
        const struct lt_counter *entry = &from->entries[i];
        if (lt_load_acquire32(&entry->state) != LT_COUNTER_TAKEN) /* [counter.taken] */
            continue;
        struct labels *label = &labels[count];
        memcpy(label->name, entry->name, sizeof label->name);
        memcpy(label->topic, entry->topic, sizeof label->topic);
        label->name[sizeof label->name - 1] = 0;
        label->topic[sizeof label->topic - 1] = 0;
        counters[count++] = (leat_counter){ .name = label->name,
                                            .topic = label->topic,
                                            .partition = entry->partition,
                                            .client = entry->client,
                                            .value = entry->value };
    }
    *out = counters;
    return count;
}

/* When leatd is there it writes the clients' latest numbers into the file first. */
static void freshen(const char *directory)
{
    struct lt_link *link = calloc(1, sizeof *link);
    struct lt_hello_answer answer;
    int fds[LT_LINK_FDS];
    if (link != NULL && lt_link_open(link, directory, false, NULL, &answer, fds, FOLD_MS) >= 0) {
        struct lt_request request = { .type = LT_MSG_FOLD, .once = true, .timeout_ms = FOLD_MS };
        lt_link_call(link, &request);
        lt_link_close(link, true);
    }
    free(link);
}

int leat_counters_read(const char *where, leat_counter **out)
{
    char directory[LT_PLACE_MAX], path[LT_PLACE_MAX + sizeof LT_COUNTERS_FILE + 1];
    struct lt_counters counters;
    if (out == NULL)
        return lt_fail(LEAT_EINVAL, "leat_counters_read: no place for the counters");
    *out = NULL;
    int kept = errno;
    int r = lt_place(where, directory, sizeof directory);
    if (r >= 0) {
        freshen(directory);
        snprintf(path, sizeof path, "%s/%s", directory, LT_COUNTERS_FILE);
        r = lt_counters_open(&counters, path);
    }
    if (r >= 0) {
        r = take_counters(&counters, out);
        lt_counters_close(&counters);
    }
    errno = kept;
    return r;
}
