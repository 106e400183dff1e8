/* hash_wide: XXH3 compiled for AVX2, whatever the build is for. Only hash.c comes here, and only where there is AVX2. */
#include "store/hash_wide.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

/* Everything that the header defines: what is inlined must be of the same kind. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define XXH_INLINE_ALL
#define XXH_VECTOR 2 /* XXH_AVX2 */
#include <xxhash.h>

uint64_t lt_store_hash_wide(const void *bytes, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, size, seed);
}
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
uint64_t lt_store_hash_wide(const void *bytes, size_t size, uint64_t seed)
{
    (void)bytes, (void)size;
    return seed; /* never asked */
}
#endif
