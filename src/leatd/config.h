/* config: what leatd was told: limits of the bus and defaults for new topics. Every setting has one name, which is a line
 * `name = value` of the config file and an option `--name value` alike.
 *
 * Plain bytes: the keeper hands it to each worker, and a worker to a new keeper. Both are the same program. */
#ifndef LT_LEATD_CONFIG_H
#define LT_LEATD_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "shm/place.h"

struct lt_config {
    char path[LT_PLACE_MAX]; /* the bus directory */
    char data[LT_PLACE_MAX]; /* the data directory; "": there is none, and no topic has a log */
    uint32_t max_clients, max_clients_per_uid;
    uint32_t max_topics, max_topics_per_uid;
    uint32_t max_partitions, max_partitions_per_uid;
    uint64_t max_memory, max_memory_per_uid; /* bytes of shared memory */
    uint32_t max_groups;
    uint64_t group_retention_ms; /* an empty group is forgotten then; 0: never */
    uint32_t stall_limit_ms;
    uint32_t max_start_pause_ms;
    uint32_t socket_mode;
    uint32_t auto_create;
    uint32_t log_level; /* enum lt_log_level */
    /* of new topics */
    uint32_t partitions;
    uint32_t on_full;     /* enum leat_on_full */
    uint32_t partitioner; /* enum leat_partitioner */
    uint32_t mode;
    uint64_t ring_size;
    uint32_t level; /* enum leat_level */
    uint32_t log;   /* of level ring: 1: it has a log, too. Above that level there always is one */
    uint64_t segment_bytes;
    uint64_t retention_bytes; /* of one partition; UINT64_MAX: all is kept */
    int64_t retention_ms;     /* -1: for ever */
};

struct lt_setting {
    const char *name;
    const char *value; /* what stands for the value in the help text */
    const char *text;
    int kind;  /* config.c */
    size_t at; /* in struct lt_config */
    uint64_t min, max;
};

void lt_config_init(struct lt_config *config);
/* All settings, for options and for the help text. */
const struct lt_setting *lt_config_settings(size_t *count);
/* 0 or LEAT_EINVAL with a message. */
int lt_config_set(struct lt_config *config, const char *name, const char *value);
/* 0, or LEAT_EINVAL with file and line in the message, or LEAT_EIO, LEAT_EPERM. */
int lt_config_read(struct lt_config *config, const char *file);
/* "4MiB", "64k", "1GiB", "4096": bytes. 0 or LEAT_EINVAL. */
int lt_config_size(const char *text, uint64_t *size);

#endif
