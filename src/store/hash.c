/* hash: see hash.h. What is in here is the same header twice: this one as the build says, hash_wide.c for AVX2. */
#include "store/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/atomic.h"
#include "store/hash_wide.h"

#if defined(__x86_64__)
#include <cpuid.h>

/* The CPU has AVX2, and the kernel keeps its registers. */
static uint32_t look(void)
{
    uint32_t a, b, c, d, low, high;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0 || (c & bit_AVX) == 0 ||
        __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (b & bit_AVX2) == 0)
        return 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 6) == 6;
}

/* relaxed: whoever looks finds the same. */
static bool is_wide(void)
{
    static uint32_t known; /* 1: no, 2: yes */
    uint32_t is = lt_load_relaxed32(&known);
    if (is == 0) {
        is = 1 + look();
        lt_store_relaxed32(&known, is);
    }
    return is == 2;
}
#else
static bool is_wide(void)
{
    return false;
}
#endif

#define SHORT 1024u /* below it is not worth a look */

uint64_t lt_store_hash(const void *bytes, size_t size, uint64_t seed)
{
    if (size >= SHORT && is_wide())
        return lt_store_hash_wide(bytes, size, seed);
    return XXH3_64bits_withSeed(bytes, size, seed);
}
