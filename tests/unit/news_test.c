/* news: what is written is read whole, or not at all. */
#include "shm/news.h"

#include <pthread.h>
#include <string.h>

#include "base/atomic.h"
#include "test.h"
#include "threads.h"

static struct lt_group_sync_row row_of(uint32_t partition, uint64_t committed)
{
    return (struct lt_group_sync_row){ .topic_id = 7,
                                       .partition = partition,
                                       .flags = LT_SYNC_LISTED,
                                       .grant = partition + 1,
                                       .committed = committed };
}

static void write_news(struct lt_news *news, uint32_t version, uint32_t count)
{
    struct lt_news_head head = { .version = version, .count = count, .serial = 5, .generation = version };
    lt_news_begin(news);
    for (uint32_t i = 0; i < count && i < LT_NEWS_ROWS; i++) {
        struct lt_group_sync_row row = row_of(i, version);
        lt_news_add(news, i, &row);
    }
    lt_news_end(news, &head);
}

TEST(what_was_written_is_read)
{
    struct lt_news news = { 0 };
    struct lt_news_head head;
    struct lt_group_sync_row rows[LT_NEWS_ROWS];
    write_news(&news, UINT32_MAX, LT_NEWS_ROWS);
    CHECK(lt_news_read(&news, &head, rows));
    CHECK_EQ(head.version, UINT32_MAX);
    CHECK_EQ(head.count, LT_NEWS_ROWS);
    CHECK_EQ(head.serial, 5);
    for (uint32_t i = 0; i < LT_NEWS_ROWS; i++) {
        struct lt_group_sync_row row = row_of(i, UINT32_MAX);
        CHECK(memcmp(&rows[i], &row, sizeof row) == 0);
    }
}

TEST(news_of_an_empty_assignment_are_news)
{
    struct lt_news news = { 0 };
    struct lt_news_head head;
    write_news(&news, 3, 0);
    CHECK(lt_news_read(&news, &head, NULL));
    CHECK_EQ(head.count, 0);
}

TEST(more_than_fits_has_to_be_asked_for)
{
    struct lt_news news = { 0 };
    struct lt_news_head head;
    write_news(&news, 3, LT_NEWS_ASK);
    CHECK(!lt_news_read(&news, &head, NULL));
}

TEST(news_whose_writer_has_died_have_to_be_asked_for_until_the_next_one_has_written)
{
    struct lt_news news = { 0 };
    struct lt_news_head head;
    struct lt_group_sync_row rows[LT_NEWS_ROWS], row = row_of(0, 9);
    write_news(&news, 3, 2);
    lt_news_begin(&news);
    lt_news_add(&news, 0, &row);
    CHECK(!lt_news_read(&news, &head, rows));
    write_news(&news, 4, 1);
    CHECK(lt_news_read(&news, &head, rows));
    CHECK_EQ(head.version, 4);
    CHECK_EQ(rows[0].committed, 4);
}

struct writing {
    struct lt_news news;
    uint32_t stop;
};

static void *write_on(void *argument)
{
    struct writing *w = argument;
    for (uint32_t version = 1; !lt_load_relaxed32(&w->stop); version++)
        write_news(&w->news, version, version % (LT_NEWS_ROWS + 1));
    return NULL;
}

TEST(news_that_are_read_while_they_are_written_are_of_one_writing)
{
    static struct writing w;
    struct lt_group_sync_row rows[LT_NEWS_ROWS];
    struct lt_news_head head;
    write_news(&w.news, 0, 0);
    pthread_t writer = thread_start(write_on, &w);
    for (int read = 0; read < 100000; read++) {
        if (!lt_news_read(&w.news, &head, rows))
            continue;
        CHECK_EQ(head.generation, head.version);
        CHECK_EQ(head.count, head.version % (LT_NEWS_ROWS + 1));
        for (uint32_t i = 0; i < head.count; i++)
            CHECK_EQ(rows[i].committed, head.version);
    }
    lt_store_relaxed32(&w.stop, 1);
    thread_join(writer);
}
