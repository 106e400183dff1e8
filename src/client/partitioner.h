/* partitioner: which partition a key goes to. Pure.
 *
 *   xxh3      bucket = xxh3_64(key) mod 4096, then the topic's map (DESIGN 4)
 *   murmur2   (murmur2(key) & 0x7fffffff) mod N: where Kafka's Java client puts it (BuiltInPartitioner over
 *             Utils.murmur2, seed 0x9747b28c), and kafka-python
 */
#ifndef LT_CLIENT_PARTITIONER_H
#define LT_CLIENT_PARTITIONER_H

#include <stddef.h>
#include <stdint.h>

/* 0..LT_BUCKETS-1 */
uint32_t lt_partitioner_bucket(const void *key, size_t size);
uint32_t lt_partitioner_murmur2(const void *key, size_t size);

static inline uint32_t lt_partitioner_kafka(const void *key, size_t size, uint32_t partitions)
{
    return (lt_partitioner_murmur2(key, size) & 0x7fffffff) % partitions;
}

#endif
