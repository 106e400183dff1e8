/* topic: names, the page's parts, and whose bells a publication rings. */
#include "shm/topic.h"

#include <leat.h>
#include <string.h>

#include "base/err.h"
#include "shm/ring.h"
#include "test.h"

static int check(const char *name)
{
    return lt_topic_name_check(name, strlen(name));
}

TEST(letters_digits_dots_dashes_and_underscores_make_a_name)
{
    CHECK_EQ(check("a"), 0);
    CHECK_EQ(check("Orders.v2_EU-west"), 0);
    CHECK_EQ(check("0123456789"), 0);
    CHECK_EQ(check("..."), 0);
    CHECK_EQ(check(".hidden"), 0);
}

TEST(empty_name_is_refused)
{
    CHECK_EQ(check(""), LEAT_EINVAL);
}

TEST(names_of_directories_are_refused)
{
    CHECK_EQ(check("."), LEAT_EINVAL);
    CHECK_EQ(check(".."), LEAT_EINVAL);
    CHECK_STR(lt_fail_text(), "a topic cannot be called \"..\"");
}

TEST(name_of_249_bytes_is_the_longest)
{
    char name[300];
    memset(name, 'x', sizeof name);
    CHECK_EQ(lt_topic_name_check(name, 249), 0);
    CHECK_EQ(lt_topic_name_check(name, 250), LEAT_EINVAL);
    CHECK_STR(lt_fail_text(), "a topic's name has 250 bytes; the limit is 249");
}

TEST(every_other_byte_is_refused)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    for (int byte = 0; byte < 256; byte++) {
        char name[3] = { 'a', (char)byte, 'b' };
        bool fine = byte != 0 && strchr(good, byte);
        CHECK_EQ(lt_topic_name_check(name, 3), fine ? 0 : LEAT_EINVAL);
    }
}

TEST(refusal_names_the_byte_and_its_place)
{
    check("ab/c");
    CHECK_STR(lt_fail_text(), "a topic's name has byte 0x2f at 2; allowed are A-Z a-z 0-9 . _ -");
}

/* ---- the page ---- */

static void *page_of(uint32_t partitions)
{
    static unsigned char page[LT_TOPIC_PARTS_AT + 2 * sizeof(struct lt_partition)]
        __attribute__((aligned(64)));
    CHECK(lt_topic_bytes(partitions) <= sizeof page);
    return page;
}

TEST(first_map_gives_each_partition_the_same_share_within_one_bucket)
{
    void *page = page_of(1); /* the map takes the same room whatever it maps to */
    uint32_t share[7] = { 0 };
    lt_topic_map_init(page, 7);
    for (uint32_t bucket = 0; bucket < LT_BUCKETS; bucket++) {
        CHECK(lt_topic_map(page)[bucket] < 7);
        share[lt_topic_map(page)[bucket]]++;
    }
    for (int i = 0; i < 7; i++)
        CHECK(share[i] == LT_BUCKETS / 7 || share[i] == LT_BUCKETS / 7 + 1);
}

TEST(first_map_of_4096_partitions_has_a_bucket_for_each)
{
    void *page = page_of(1);
    lt_topic_map_init(page, 4096);
    for (uint32_t bucket = 0; bucket < LT_BUCKETS; bucket++)
        CHECK_EQ(lt_topic_map(page)[bucket], bucket);
}

TEST(parts_of_a_page_do_not_touch)
{
    char *page = page_of(2);
    memset(lt_topic_head(page), 1, sizeof(struct lt_topic_head));
    memset(lt_topic_map(page), 2, LT_BUCKETS * sizeof(uint16_t));
    memset(lt_topic_partition(page, 0), 3, sizeof(struct lt_partition));
    memset(lt_topic_partition(page, 1), 4, sizeof(struct lt_partition));
    CHECK_EQ(((struct lt_region *)(void *)page)->ready, 0);
    CHECK(lt_topic_head(page)->name[0] == 1);
    CHECK_EQ(lt_topic_map(page)[0], 0x0202);
    CHECK_EQ(lt_topic_map(page)[LT_BUCKETS - 1], 0x0202);
    CHECK_EQ(lt_topic_partition(page, 0)->room_seq, 0x03030303);
    CHECK((char *)(lt_topic_partition(page, 1) + 1) == page + lt_topic_bytes(2));
}

TEST(ring_and_its_sixth_successor_share_a_gate)
{
    struct lt_partition *p = lt_topic_partition(page_of(1), 0);
    CHECK(lt_partition_gate(p, 1) == lt_partition_gate(p, 7));
    CHECK(lt_partition_gate(p, 1) != lt_partition_gate(p, 6));
}

/* ---- bells ---- */

static struct lt_partition partition;
static struct lt_bells bells;

/* All bells armed; which were rung is what has lost its flag. */
static uint32_t ring_all(bool *rung)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < LT_BELLS; i++)
        bells.bells[i].word = LT_BELL_WAITERS;
    lt_partition_ring_bells(&partition, &bells);
    for (uint32_t i = 0; i < LT_BELLS; i++)
        count += rung[i] = bells.bells[i].word == 2;
    return count;
}

TEST(publication_rings_the_listed_bells_and_no_others)
{
    bool rung[LT_BELLS];
    lt_partition_bell_set(&partition, 0, 1);
    lt_partition_bell_set(&partition, 63, 1);
    lt_partition_bell_set(&partition, 64, 1);
    lt_partition_bell_set(&partition, 1023, 1);
    CHECK_EQ(ring_all(rung), 4);
    CHECK(rung[0] && rung[63] && rung[64] && rung[1023]);
}

TEST(bell_that_was_taken_off_the_list_is_not_rung)
{
    bool rung[LT_BELLS];
    lt_partition_bell_set(&partition, 5, 1);
    lt_partition_bell_set(&partition, 6, 1);
    lt_partition_bell_set(&partition, 5, 0);
    CHECK_EQ(ring_all(rung), 1);
    CHECK(rung[6]);
}

TEST(summary_stays_on_until_its_last_bell_is_off)
{
    lt_partition_bell_set(&partition, 70, 1);
    lt_partition_bell_set(&partition, 71, 1);
    lt_partition_bell_set(&partition, 70, 0);
    CHECK_EQ(partition.bell_summary, 2);
    lt_partition_bell_set(&partition, 71, 0);
    CHECK_EQ(partition.bell_summary, 0);
}

TEST(setting_a_bell_twice_is_setting_it_once)
{
    lt_partition_bell_set(&partition, 8, 1);
    lt_partition_bell_set(&partition, 8, 1);
    lt_partition_bell_set(&partition, 8, 0);
    CHECK_EQ(partition.bell_summary, 0);
    CHECK_EQ(partition.bells[0], 0);
}

TEST(publication_to_readers_that_are_awake_wakes_nobody)
{
    lt_partition_bell_set(&partition, 8, 1);
    CHECK_EQ(lt_partition_ring_bells(&partition, &bells), 0);
    CHECK_EQ(bells.bells[8].word, 0);
}
