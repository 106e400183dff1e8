/* news: see news.h. */
#include "shm/news.h"

#include <string.h>

#include "base/atomic.h"

#define TRIES 4 /* a writing takes less than a microsecond, unless its writer has died */

void lt_news_begin(struct lt_news *news)
{
    /* Odd already: the last worker died in here. Relaxed: each word behind it is a release. */
    lt_store_relaxed32(&news->seq, lt_load_relaxed32(&news->seq) | 1);
}

void lt_news_add(struct lt_news *news, uint32_t at, const struct lt_group_sync_row *row)
{
    uint64_t words[LT_NEWS_ROW_WORDS];
    memcpy(words, row, sizeof words);
    for (uint32_t i = 0; i < LT_NEWS_ROW_WORDS; i++)
        lt_store_release64(&news->rows[at * LT_NEWS_ROW_WORDS + i], words[i]); /* [group.news] */
}

void lt_news_end(struct lt_news *news, const struct lt_news_head *head)
{
    lt_store_release64(&news->version_count, (uint64_t)head->version << 32 | head->count); /* [group.news] */
    lt_store_release64(&news->serial_flags, (uint64_t)head->serial << 32 | head->flags);
    lt_store_release64(&news->generation, head->generation);
    lt_store_release32(&news->seq, lt_load_relaxed32(&news->seq) + 1); /* [group.news] */
}

static bool read_once(const struct lt_news *news, struct lt_news_head *head, struct lt_group_sync_row *rows)
{
    uint32_t seq = lt_load_acquire32(&news->seq); /* [group.news] */
    uint64_t version_count = lt_load_acquire64(&news->version_count);
    uint64_t serial_flags = lt_load_acquire64(&news->serial_flags);
    uint64_t words[LT_NEWS_ROW_WORDS];
    *head = (struct lt_news_head){ .version = (uint32_t)(version_count >> 32),
                                   .count = (uint32_t)version_count,
                                   .serial = (uint32_t)(serial_flags >> 32),
                                   .flags = (uint32_t)serial_flags,
                                   .generation = lt_load_acquire64(&news->generation) };
    for (uint32_t row = 0; head->count <= LT_NEWS_ROWS && row < head->count; row++) {
        for (uint32_t i = 0; i < LT_NEWS_ROW_WORDS; i++)
            words[i] = lt_load_acquire64(&news->rows[row * LT_NEWS_ROW_WORDS + i]); /* [group.news] */
        memcpy(&rows[row], words, sizeof words);
    }
    /* relaxed: behind acquires, and whichever of those has seen a newer word, this sees its odd seq, or a later one. */
    return (seq & 1) == 0 && lt_load_relaxed32(&news->seq) == seq;
}

bool lt_news_read(const struct lt_news *news, struct lt_news_head *head, struct lt_group_sync_row *rows)
{
    for (int i = 0; i < TRIES; i++) {
        if (read_once(news, head, rows))
            return head->count <= LT_NEWS_ROWS;
        lt_relax();
    }
    return false;
}
