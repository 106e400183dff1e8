/* atomic: the only file with atomic builtins.
 *
 * Everything shared between processes is loaded and stored through here, so that a model build can put a
 * scheduler under each operation (compile with LT_MODEL and supply the lt_model_* functions) and a fault build can
 * kill the process at each named point (LT_KILL_POINTS). The ring's own code does not know in which it runs.
 *
 * Names: lt_load_* / lt_store_* take a pointer to a plain integer; the suffix is the order. `relaxed` still is one
 * access, never torn, never invented.
 */
#ifndef LT_BASE_ATOMIC_H
#define LT_BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

/* A point between two steps of a protocol at which a process can die. The name is the edge's name. */
#if defined(LT_MODEL) || defined(LT_KILL_POINTS)
void lt_point_hit(const char *name);
#define lt_point(name) lt_point_hit(name)
#else
#define lt_point(name) ((void)0)
#endif

/* The 16 bytes of a claim: the only word that is swapped at that width. */
struct lt_pair {
    uint64_t lo;
    uint64_t hi;
} __attribute__((aligned(16)));

#ifdef LT_MODEL
#include "model/shim.h"
#else

#define LT_ATOMIC_WIDTH(bits)                                                                                \
    static inline uint##bits##_t lt_load_relaxed##bits(const uint##bits##_t *p)                              \
    {                                                                                                        \
        return __atomic_load_n(p, __ATOMIC_RELAXED);                                                         \
    }                                                                                                        \
    static inline uint##bits##_t lt_load_acquire##bits(const uint##bits##_t *p)                              \
    {                                                                                                        \
        return __atomic_load_n(p, __ATOMIC_ACQUIRE);                                                         \
    }                                                                                                        \
    static inline void lt_store_relaxed##bits(uint##bits##_t *p, uint##bits##_t v)                           \
    {                                                                                                        \
        __atomic_store_n(p, v, __ATOMIC_RELAXED);                                                            \
    }                                                                                                        \
    static inline void lt_store_release##bits(uint##bits##_t *p, uint##bits##_t v)                           \
    {                                                                                                        \
        __atomic_store_n(p, v, __ATOMIC_RELEASE);                                                            \
    }                                                                                                        \
    /* Acquire and release on success, acquire on failure; *expected then holds what was found. */           \
    static inline bool lt_cas##bits(uint##bits##_t *p, uint##bits##_t *expected, uint##bits##_t desired)     \
    {                                                                                                        \
        return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE); \
    }                                                                                                        \
    static inline uint##bits##_t lt_fetch_add##bits(uint##bits##_t *p, uint##bits##_t v)                     \
    {                                                                                                        \
        return __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL);                                                   \
    }                                                                                                        \
    static inline uint##bits##_t lt_fetch_or##bits(uint##bits##_t *p, uint##bits##_t v)                      \
    {                                                                                                        \
        return __atomic_fetch_or(p, v, __ATOMIC_ACQ_REL);                                                    \
    }                                                                                                        \
    static inline uint##bits##_t lt_exchange##bits(uint##bits##_t *p, uint##bits##_t v)                      \
    {                                                                                                        \
        return __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL);                                                  \
    }

LT_ATOMIC_WIDTH(32)
LT_ATOMIC_WIDTH(64)
#undef LT_ATOMIC_WIDTH

/* Both halves at once: true when *p was exactly `expected` and is now `desired`. A full fence on x86-64 (lock
 * cmpxchg16b); acquire and release elsewhere. Never libatomic, which would take a lock in private memory. */
static inline bool lt_cas_pair(struct lt_pair *p, struct lt_pair expected, struct lt_pair desired)
{
#if defined(__x86_64__)
    bool done;
    __asm__ volatile("lock cmpxchg16b %1"
                     : "=@ccz"(done), "+m"(*p), "+a"(expected.lo), "+d"(expected.hi)
                     : "b"(desired.lo), "c"(desired.hi)
                     : "memory");
    return done;
#elif defined(__SIZEOF_INT128__) && defined(__GCC_HAVE_SYNC_COMPARE_AND_SWAP_16)
    unsigned __int128 old = ((unsigned __int128)expected.hi << 64) | expected.lo;
    unsigned __int128 new = ((unsigned __int128)desired.hi << 64) | desired.lo;
    return __sync_bool_compare_and_swap((unsigned __int128 *)p, old, new);
#else
#error "leat needs an inline 16-byte compare-and-swap"
#endif
}

/* Keeps the compiler from moving accesses across. The processor's half of the pairing is a membarrier() on the
 * other side, which makes every running thread of every attached process pass a full fence: see lt_membarrier. */
static inline void lt_fence_light(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* A full fence. */
static inline void lt_fence_full(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Payload copied into and out of shared memory: plain accesses, which a model build checks for races. */
#define lt_shared_copy(to, from, size) memcpy(to, from, size)

#endif /* LT_MODEL */

/* A pause in a spin loop. */
static inline void lt_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

#endif
