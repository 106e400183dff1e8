/* shim: what base/atomic.h is in a model build (LT_MODEL). Every operation is one step of the explorer: the actor that
 * is about to do it stands still until the explorer picks it. Included by base/atomic.h only. */
#ifndef TESTS_MODEL_SHIM_H
#define TESTS_MODEL_SHIM_H

#include <string.h>

enum model_order { MODEL_RELAXED, MODEL_ACQUIRE, MODEL_RELEASE };
enum model_rmw { MODEL_ADD, MODEL_OR, MODEL_EXCHANGE };

uint64_t model_load(const void *p, enum model_order order);
void model_store(void *p, uint64_t value, enum model_order order);
bool model_cas(void *p, uint64_t expected, uint64_t desired, uint64_t *found);
bool model_cas_pair(struct lt_pair *p, struct lt_pair expected, struct lt_pair desired);
uint64_t model_rmw(void *p, enum model_rmw what, uint64_t value);
void model_fence_full(void);
/* A plain copy into or out of shared memory. The model's records are one word a unit: `size` is not looked at. */
void model_copy(void *to, const void *from);

#define LT_MODEL_WIDTH(bits)                                                                             \
    static inline uint##bits##_t lt_load_relaxed##bits(const uint##bits##_t *p)                          \
    {                                                                                                    \
        return (uint##bits##_t)model_load(p, MODEL_RELAXED);                                             \
    }                                                                                                    \
    static inline uint##bits##_t lt_load_acquire##bits(const uint##bits##_t *p)                          \
    {                                                                                                    \
        return (uint##bits##_t)model_load(p, MODEL_ACQUIRE);                                             \
    }                                                                                                    \
    static inline void lt_store_relaxed##bits(uint##bits##_t *p, uint##bits##_t v)                       \
    {                                                                                                    \
        model_store(p, v, MODEL_RELAXED);                                                                \
    }                                                                                                    \
    static inline void lt_store_release##bits(uint##bits##_t *p, uint##bits##_t v)                       \
    {                                                                                                    \
        model_store(p, v, MODEL_RELEASE);                                                                \
    }                                                                                                    \
    static inline bool lt_cas##bits(uint##bits##_t *p, uint##bits##_t *expected, uint##bits##_t desired) \
    {                                                                                                    \
        uint64_t found;                                                                                  \
        bool done = model_cas(p, *expected, desired, &found);                                            \
        *expected = (uint##bits##_t)found;                                                               \
        return done;                                                                                     \
    }                                                                                                    \
    static inline uint##bits##_t lt_fetch_add##bits(uint##bits##_t *p, uint##bits##_t v)                 \
    {                                                                                                    \
        return (uint##bits##_t)model_rmw(p, MODEL_ADD, v);                                               \
    }                                                                                                    \
    static inline uint##bits##_t lt_fetch_or##bits(uint##bits##_t *p, uint##bits##_t v)                  \
    {                                                                                                    \
        return (uint##bits##_t)model_rmw(p, MODEL_OR, v);                                                \
    }                                                                                                    \
    static inline uint##bits##_t lt_exchange##bits(uint##bits##_t *p, uint##bits##_t v)                  \
    {                                                                                                    \
        return (uint##bits##_t)model_rmw(p, MODEL_EXCHANGE, v);                                          \
    }

LT_MODEL_WIDTH(32)
LT_MODEL_WIDTH(64)
#undef LT_MODEL_WIDTH

static inline bool lt_cas_pair(struct lt_pair *p, struct lt_pair expected, struct lt_pair desired)
{
    return model_cas_pair(p, expected, desired);
}

/* For the compiler only: nothing that the explorer could see. */
static inline void lt_fence_light(void)
{
}

static inline void lt_fence_full(void)
{
    model_fence_full();
}

#define lt_shared_copy(to, from, size) model_copy(to, from)

#endif
