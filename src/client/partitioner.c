/* partitioner: see partitioner.h. xxhash is compiled in: the library must place keys alike whatever is installed, and a
 * key of 16 bytes is hashed in less time than a call through a shared library's table takes. */
#include "client/partitioner.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "shm/topic.h"

uint32_t lt_partitioner_bucket(const void *key, size_t size)
{
    return (uint32_t)(XXH3_64bits(key, size) % LT_BUCKETS);
}

uint32_t lt_partitioner_murmur2(const void *key, size_t size)
{
    const uint32_t m = 0x5bd1e995;
    const unsigned char *at = key;
    uint32_t h = 0x9747b28cu ^ (uint32_t)size;

    for (; size >= 4; at += 4, size -= 4) {
        /* Little-endian whatever the machine, as the Java code spells it out. */
        uint32_t k = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        k *= m;
        k ^= k >> 24;
        k *= m;
        h *= m;
        h ^= k;
    }
    if (size == 3)
        h ^= (uint32_t)at[2] << 16;
    if (size >= 2)
        h ^= (uint32_t)at[1] << 8;
    if (size >= 1) {
        h ^= at[0];
        h *= m;
    }
    h ^= h >> 13;
    h *= m;
    h ^= h >> 15;
    return h;
}
