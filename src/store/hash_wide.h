/* hash_wide: lt_store_hash for CPUs with AVX2; for hash.c alone. */
#ifndef LT_STORE_HASH_WIDE_H
#define LT_STORE_HASH_WIDE_H

#include <stddef.h>
#include <stdint.h>

uint64_t lt_store_hash_wide(const void *bytes, size_t size, uint64_t seed);

#endif
