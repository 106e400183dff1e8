/* How a topic is shown: as JSON, to people, and by what it costs. */
#include "topic.h"

#include <inttypes.h>
#include <stdio.h>

const char *const topic_levels[] = { "ring", "written", "durable", NULL };
const char *const topic_on_full[] = { "block", "overwrite", "error", NULL };
const char *const topic_partitioners[] = { "xxh3", "murmur2", "roundrobin", NULL };

static const char *partitioner_name(enum leat_partitioner partitioner)
{
    return partitioner >= LEAT_XXH3 && partitioner <= LEAT_ROUND_ROBIN ? topic_partitioners[partitioner - 1]
                                                                       : "-";
}

static void json_partition(struct json *json, const leat_partition_info *partition)
{
    json_open(json, '{');
    json_key(json, "partition");
    json_uint(json, partition->partition);
    json_key(json, "state");
    json_text(json, partition->state);
    json_key(json, "log_start_offset");
    json_uint(json, partition->log_start_offset);
    json_key(json, "log_end_offset");
    json_uint(json, partition->log_end_offset);
    json_key(json, "acked_offset");
    json_uint(json, partition->acked_offset);
    json_key(json, "bytes_on_disk");
    json_uint(json, partition->bytes_on_disk);
    json_key(json, "segments");
    json_uint(json, partition->segments);
    json_key(json, "rings");
    json_uint(json, partition->rings);
    json_key(json, "readers");
    json_uint(json, partition->readers);
    json_key(json, "reason");
    json_text(json, partition->reason);
    json_close(json, '}');
}

void topic_print_json(struct json *json, const leat_topic_info *info)
{
    char mode[16];
    snprintf(mode, sizeof mode, "%04" PRIo32, info->mode);
    json_open(json, '{');
    json_key(json, "topic");
    json_text(json, info->topic);
    json_key(json, "partition_count");
    json_uint(json, info->partition_count);
    json_key(json, "level");
    json_text(json, topic_levels[info->level]);
    json_key(json, "log");
    json_bool(json, info->log);
    json_key(json, "retention_bytes");
    json_int(json, info->retention_bytes);
    json_key(json, "retention_ms");
    json_int(json, info->retention_ms);
    json_key(json, "segment_bytes");
    json_uint(json, info->segment_bytes);
    json_key(json, "on_full");
    json_text(json, topic_on_full[info->on_full]);
    json_key(json, "partitioner");
    json_text(json, partitioner_name(info->partitioner));
    json_key(json, "ring_bytes");
    json_uint(json, info->ring_bytes);
    json_key(json, "ring_slots");
    json_uint(json, info->ring_slots);
    json_key(json, "record_max");
    json_uint(json, info->record_max);
    json_key(json, "map_epoch");
    json_uint(json, info->map_epoch);
    json_key(json, "owner");
    json_text(json, info->owner);
    json_key(json, "mode");
    json_text(json, mode);
    json_key(json, "memory_bytes");
    json_uint(json, info->memory_bytes);
    json_key(json, "descriptors");
    json_uint(json, info->descriptors);
    json_key(json, "producers");
    json_uint(json, info->producers);
    json_key(json, "partitions");
    json_open(json, '[');
    for (uint32_t i = 0; i < info->partition_count; i++)
        json_partition(json, &info->partitions[i]);
    json_close(json, ']');
    json_close(json, '}');
}

static void print_retention(const leat_topic_info *info)
{
    printf("retention    ");
    if (info->retention_bytes >= 0)
        printf("%s a partition", table_bytes((uint64_t)info->retention_bytes).text);
    if (info->retention_ms >= 0)
        printf("%s%s", info->retention_bytes >= 0 ? ", " : "",
               table_duration((double)info->retention_ms / 1e3).text);
    printf("%s\n", info->retention_bytes < 0 && info->retention_ms < 0 ? "all is kept" : "");
    printf("segments     %s\n", table_bytes(info->segment_bytes).text);
}

static void print_settings(const leat_topic_info *info)
{
    printf("topic        %s\n", info->topic);
    printf("partitions   %" PRIu32 "\n", info->partition_count);
    printf("level        %s\n", topic_levels[info->level]);
    printf("log          %s\n", info->log ? "yes" : "no: memory only");
    if (info->log)
        print_retention(info);
    printf("on full      %s\n", topic_on_full[info->on_full]);
    printf("partitioner  %s\n", partitioner_name(info->partitioner));
    printf("ring         %s and %s records a partition\n", table_bytes(info->ring_bytes).text,
           table_count(info->ring_slots).text);
    printf("record       at most %s\n", table_bytes(info->record_max).text);
    printf("map epoch    %" PRIu32 "\n", info->map_epoch);
    printf("owner        %s\n", info->owner);
    printf("mode         %04" PRIo32 "\n", info->mode);
    printf("memory       %s\n", table_bytes(info->memory_bytes).text);
    printf("descriptors  %" PRIu32 " in each process of leatd\n", info->descriptors);
    printf("producers    %" PRIu32 "\n", info->producers);
}

static void print_partitions(const leat_topic_info *info)
{
    static const char *const heads[] = { ">PARTITION", "STATE",    ">LOG-START-OFFSET", ">LOG-END-OFFSET",
                                         ">ACKED",     ">ON-DISK", ">SEGMENTS",         ">RINGS",
                                         ">READERS",   NULL };
    struct table table;
    table_begin(&table, heads);
    for (uint32_t i = 0; i < info->partition_count; i++) {
        const leat_partition_info *partition = &info->partitions[i];
        table_add(&table, "%" PRIu32, partition->partition);
        table_add(&table, "%s", partition->state);
        table_add(&table, "%" PRIu64, partition->log_start_offset);
        table_add(&table, "%" PRIu64, partition->log_end_offset);
        table_add(&table, "%" PRIu64, partition->acked_offset);
        table_add(&table, "%s", info->log ? table_bytes(partition->bytes_on_disk).text : "-");
        table_add(&table, "%s", info->log ? table_count(partition->segments).text : "-");
        table_add(&table, "%" PRIu32, partition->rings);
        table_add(&table, "%" PRIu32, partition->readers);
    }
    table_end(&table, stdout);
    for (uint32_t i = 0; i < info->partition_count; i++) {
        const leat_partition_info *partition = &info->partitions[i];
        if (*partition->reason)
            printf("partition %" PRIu32 " %s: %s\n", partition->partition, partition->state,
                   partition->reason);
    }
}

void topic_print(const leat_topic_info *info)
{
    print_settings(info);
    putchar('\n');
    print_partitions(info);
}

void topic_cost_begin(struct table *table)
{
    static const char *const heads[] = { "TOPIC",       ">PARTITIONS", ">RING",        ">RECORDS",
                                         ">RECORD-MAX", ">MEMORY",     ">DESCRIPTORS", NULL };
    table_begin(table, heads);
}

void topic_cost_add(struct table *table, const leat_topic_info *info)
{
    table_add(table, "%s", info->topic);
    table_add(table, "%" PRIu32, info->partition_count);
    table_add(table, "%s", table_bytes(info->ring_bytes).text);
    table_add(table, "%s", table_count(info->ring_slots).text);
    table_add(table, "%s", table_bytes(info->record_max).text);
    table_add(table, "%s", table_bytes(info->memory_bytes).text);
    table_add(table, "%" PRIu32, info->descriptors);
}
