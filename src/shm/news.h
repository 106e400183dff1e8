/* news: what leatd tells a member about its assignment, in the coordinator, one for each bell: the rows that SYNC would say. A member
 * that sees a new version reads them there and has asked nobody; it asks (SYNC) when they are more than fit, or not to be had.
 *
 *   leatd: lt_news_begin, lt_news_add .., lt_news_end, version + 1     member: version, lt_news_read
 *   1 seq odd                                                          1 load seq: even
 *   2 words            [group.news]                                    2 load words        [group.news]
 *   3 seq even         [group.news]                                    3 load seq again: the same
 *
 * Each word is stored with release and loaded with acquire: a member that has loaded a word of a newer writing has seen its (1)
 * by (3). What a death of leatd leaves: an odd seq, or news that no version tells of; the next worker writes them anew, and
 * until then members ask it.
 *
 * Every client may read what another's assignment is: topics by number, partitions, offsets.
 */
#ifndef LT_SHM_NEWS_H
#define LT_SHM_NEWS_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/wire.h"

#define LT_NEWS_ROWS 32u
#define LT_NEWS_ASK UINT32_MAX /* instead of a count: there are more, or none at all */
#define LT_NEWS_ROW_WORDS (sizeof(struct lt_group_sync_row) / sizeof(uint64_t))

struct lt_news {
    uint32_t seq;
    uint32_t reserved0;
    uint64_t version_count; /* version << 32 | rows, or LT_NEWS_ASK */
    uint64_t serial_flags;  /* the member's serial << 32 | enum lt_sync_flags */
    uint64_t generation;
    uint64_t reserved[4];
    uint64_t rows[LT_NEWS_ROWS * LT_NEWS_ROW_WORDS]; /* struct lt_group_sync_row, word by word */
};

/* leatd, one writer. */
void lt_news_begin(struct lt_news *news);
void lt_news_add(struct lt_news *news, uint32_t at, const struct lt_group_sync_row *row);
struct lt_news_head {
    uint32_t version; /* the word's as it will be */
    uint32_t count, serial, flags;
    uint64_t generation;
};
void lt_news_end(struct lt_news *news, const struct lt_news_head *head);

/* A member: head and rows (LT_NEWS_ROWS of them fit). false: they are being written, or count is LT_NEWS_ASK: ask. */
bool lt_news_read(const struct lt_news *news, struct lt_news_head *head, struct lt_group_sync_row *rows);

#endif
