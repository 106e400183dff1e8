/* futex: waits and wakes on shared words (never PRIVATE: regions are mapped by many processes), and membarrier. */
#ifndef LT_BASE_FUTEX_H
#define LT_BASE_FUTEX_H

#include <stdint.h>

/* Sleeps while *word == value, at most timeout_ns (-1: for ever). 0: woken, or the word differs, or a signal; -ETIMEDOUT. */
int lt_futex_wait(const uint32_t *word, uint32_t value, int64_t timeout_ns);
/* Wakes all; how many. */
int lt_futex_wake(uint32_t *word);
/* FUTEX_WAITV on up to 128 words: the index of one that was woken or differs, -ETIMEDOUT, -EAGAIN is folded into an
 * index by comparing, -ENOSYS where the kernel (before 5.16) lacks it. */
#define LT_FUTEX_MANY 128
int lt_futex_wait_many(const uint32_t *const *words, const uint32_t *values, int count, int64_t timeout_ns);

/* Every process that attaches to a bus registers once; 0 or -errno (then leat cannot be used: LEAT_EUNSUPPORTED). */
int lt_membarrier_register(void);
/* Every running thread of every registered process passes a full memory fence before this returns. */
void lt_membarrier(void);

#endif
