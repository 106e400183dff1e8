/* topic: see topic.h. */
#include "shm/topic.h"

#include <leat.h>
#include <string.h>

#include "base/atomic.h"
#include "base/err.h"

void lt_topic_map_init(void *page, uint32_t partitions)
{
    uint16_t *map = lt_topic_map(page);
    for (uint32_t bucket = 0; bucket < LT_BUCKETS; bucket++)
        map[bucket] = (uint16_t)(bucket % partitions);
}

static int is_name_byte(unsigned char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '.' || byte == '_' || byte == '-';
}

int lt_topic_name_check(const char *name, size_t size)
{
    if (size == 0)
        return lt_fail(LEAT_EINVAL, "a topic's name is empty");
    if (size > LT_TOPIC_NAME_MAX)
        return lt_fail(LEAT_EINVAL, "a topic's name has %zu bytes; the limit is %u", size, LT_TOPIC_NAME_MAX);
    for (size_t i = 0; i < size; i++)
        if (!is_name_byte((unsigned char)name[i]))
            return lt_fail(LEAT_EINVAL,
                           "a topic's name has byte 0x%02x at %zu; allowed are A-Z a-z 0-9 . _ -",
                           (unsigned char)name[i], i);
    if ((size == 1 && name[0] == '.') || (size == 2 && memcmp(name, "..", 2) == 0))
        return lt_fail(LEAT_EINVAL, "a topic cannot be called \"%.*s\"", (int)size, name);
    return 0;
}

/* The text is not one load: it belongs to a state that is the same before and behind it. */
int lt_partition_refusal(const struct lt_partition *p, uint32_t *state, char reason[LT_REASON_MAX])
{
    for (int tries = 0;; tries++) {
        uint64_t words[LT_REASON_MAX / 8];
        uint32_t seq = lt_load_acquire32(&p->acked_seq);
        *state = lt_load_acquire32(&p->state); /* [log.state] error and reason came before */
        int32_t error = (int32_t)lt_load_relaxed32((const uint32_t *)&p->error);
        for (uint32_t i = 0; i < LT_REASON_MAX / 8; i++) /* acquire: before the second look at the state */
            words[i] = lt_load_acquire64((const uint64_t *)(const void *)p->reason + i);
        if ((lt_load_acquire32(&p->state) != *state || lt_load_relaxed32(&p->acked_seq) != seq) && tries < 8)
            continue;
        memcpy(reason, words, LT_REASON_MAX);
        reason[LT_REASON_MAX - 1] = 0;
        return *state == LT_PARTITION_OPEN ? 0 : error < 0 ? error : LEAT_EFAILED;
    }
}

/* One writer (leatd, under its lock), so loads and stores will do. Wakers load the summary first, with acquire: a word
 * whose bit they see is at least as new as that bit. */
static void set_bell(uint64_t *list_summary, uint64_t *list, uint32_t bell, int on)
{
    uint32_t word = bell / 64;
    uint64_t bit = 1ull << bell % 64;
    uint64_t bells = lt_load_relaxed64(&list[word]);
    uint64_t summary = lt_load_relaxed64(list_summary);
    bells = on ? bells | bit : bells & ~bit;
    summary = bells != 0 ? summary | 1ull << word : summary & ~(1ull << word);
    lt_store_release64(&list[word], bells);
    lt_store_release64(list_summary, summary); /* [bells.list] pairs with the load in ring_list */
}

static uint32_t ring_list(const uint64_t *list_summary, const uint64_t *list, struct lt_bells *bells)
{
    uint32_t woken = 0;
    lt_fence_light();
    /* [bells.list] A reader that is not on the list yet is not asleep either: it arms its bell and looks again, behind a
     * membarrier, after leatd has listed it. */
    uint64_t summary = lt_load_acquire64(list_summary);
    for (; summary != 0; summary &= summary - 1) {
        uint32_t word = (uint32_t)__builtin_ctzll(summary);
        if (word >= LT_BELL_WORDS)
            break;
        for (uint64_t bits = lt_load_relaxed64(&list[word]); bits != 0; bits &= bits - 1)
            woken += lt_bell_ring(&bells->bells[word * 64 + (uint32_t)__builtin_ctzll(bits)]);
    }
    return woken;
}

void lt_partition_bell_set(struct lt_partition *p, uint32_t bell, int on)
{
    set_bell(&p->bell_summary, p->bells, bell, on);
}

void lt_partition_acked_bell_set(struct lt_partition *p, uint32_t bell, int on)
{
    set_bell(&p->acked_summary, p->acked_bells, bell, on);
}

uint32_t lt_partition_ring_bells(const struct lt_partition *p, struct lt_bells *bells)
{
    return ring_list(&p->bell_summary, p->bells, bells);
}

uint32_t lt_partition_ring_acked(const struct lt_partition *p, struct lt_bells *bells)
{
    return ring_list(&p->acked_summary, p->acked_bells, bells);
}
