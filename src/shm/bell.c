/* bell: see bell.h for who passes which fence. */
#include "shm/bell.h"

#include "base/atomic.h"
#include "base/clock.h"
#include "base/futex.h"

uint32_t lt_bell_arm(struct lt_bell *bell)
{
    /* [bell.arm] An OR and no CAS loop: others can write here, and could keep a loop going. What orders it before the
     * second look is the caller's membarrier. Pairs with [bell.look]. */
    return lt_fetch_or32(&bell->word, LT_BELL_WAITERS) | LT_BELL_WAITERS;
}

void lt_bell_disarm(struct lt_bell *bell, uint32_t armed)
{
    /* Fails when a waker was here: then the flag is off already. */
    lt_cas32(&bell->word, &armed, armed & ~LT_BELL_WAITERS);
}

bool lt_bell_wait(struct lt_bell *bell, uint32_t armed, int64_t timeout_ns)
{
    int64_t until_ns = timeout_ns < 0 ? -1 : lt_clock_mono_ns() + timeout_ns;
    int64_t left_ns = timeout_ns;
    for (;;) {
        /* The word is looked at by the kernel after it has queued us, so a waker's CAS is either seen there or its
         * FUTEX_WAKE finds us. */
        int error = lt_futex_wait(&bell->word, armed, left_ns);
        if (lt_load_acquire32(&bell->word) != armed)
            return true;
        if (error < 0)
            return false;
        if (until_ns >= 0 && (left_ns = until_ns - lt_clock_mono_ns()) <= 0)
            return false;
    }
}

bool lt_bell_ring(struct lt_bell *bell)
{
    lt_fence_light();
    /* [bell.look] relaxed: the store-load order against [ring.publish] is the waiter's to make, by its membarrier
     * between [bell.arm] and its second look. */
    uint32_t word = lt_load_relaxed32(&bell->word);
    if (!(word & LT_BELL_WAITERS))
        return false;
    lt_point("bell.ring");
    /* One try: when the word has changed since the look, who was armed then is up again, and whoever armed since
     * looks again behind a membarrier that drained what we published. */
    if (!lt_cas32(&bell->word, &word, (word + 2) & ~LT_BELL_WAITERS))
        return false;
    lt_point("bell.wake");
    return lt_futex_wake(&bell->word) > 0;
}

void lt_bell_rescue(struct lt_bell *bell)
{
    if (!lt_bell_ring(bell))
        lt_futex_wake(&bell->word);
}

void lt_bells_knock(struct lt_bells *bells, uint32_t global)
{
    if (global >= LT_PARTITIONS_MAX)
        return;
    uint32_t word = global / 64;
    /* [knock.set] The bit, then its summary, each time and both with RMWs: a knocker that died between the two may
     * have left a bit without summary, and a bit that is found set may be taken before our last store is out.
     * Pairs with [knock.take], which goes the other way round. */
    lt_fetch_or64(&bells->knocks[word], 1ull << global % 64);
    lt_point("knock.summary");
    lt_fetch_or64(&bells->knock_summary[word / 64], 1ull << word % 64);
    lt_bell_ring(&bells->leatd);
}

static void take_word(struct lt_bells *bells, uint32_t word, void (*look)(void *user, uint32_t global),
                      void *user)
{
    for (uint64_t bits = lt_exchange64(&bells->knocks[word], 0); bits != 0; bits &= bits - 1)
        look(user, word * 64 + (uint32_t)__builtin_ctzll(bits));
}

void lt_bells_take(struct lt_bells *bells, void (*look)(void *user, uint32_t global), void *user)
{
    for (uint32_t s = 0; s < LT_KNOCK_WORDS / 64; s++) {
        if (lt_load_relaxed64(&bells->knock_summary[s]) ==
            0) /* relaxed: a bit missed here is followed by a ring */
            continue;
        /* [knock.take] The summary first: a knock that comes between the two is taken now or announced again. */
        for (uint64_t words = lt_exchange64(&bells->knock_summary[s], 0); words != 0; words &= words - 1)
            take_word(bells, s * 64 + (uint32_t)__builtin_ctzll(words), look, user);
    }
}
