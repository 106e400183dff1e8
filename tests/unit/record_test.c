/* The bytes of a record: what is written comes back, and what was damaged is noticed and never read beyond. */
#include <stdlib.h>
#include <string.h>

#include "client/record.h"
#include "test.h"

static size_t random_below(size_t n)
{
    return (size_t)(test_random() % n);
}

TEST(copies_of_every_small_size_are_exact)
{
    unsigned char to[512];
    for (size_t size = 0; size <= 200; size++) {
        /* On the heap and of that very size: ASan sees a read behind it. */
        unsigned char *from = malloc(size + 1);
        CHECK(from != NULL);
        unsigned char *exact = size != 0 ? realloc(from, size) : from;
        CHECK(exact != NULL);
        for (size_t i = 0; i < size; i++)
            exact[i] = (unsigned char)test_random();
        memset(to, 0xee, sizeof to);
        lt_record_copy(to + 8, exact, size);
        CHECK_MEM(to + 8, exact, size);
        CHECK_EQ(to[7], 0xee);
        CHECK_EQ(to[8 + size], 0xee);
        free(exact);
    }
}

TEST(headers_come_back_as_they_were_written)
{
    leat_header headers[] = {
        { "name", 4, "value", 5 }, { "empty", 5, "", 0 },     { "null", 4, NULL, 0 },
        { "", 0, "no name", 7 },   { "name", 4, "again", 5 },
    };
    unsigned char block[256];
    leat_header out[8];
    uint64_t size = lt_record_headers_size(headers, 5);
    CHECK_EQ(size, 5 * 8 + 4 + 5 + 5 + 4 + 7 + 4 + 5);
    lt_record_headers_write(block, headers, 5);
    CHECK_EQ(lt_record_headers_read(block, (uint32_t)size, out, 8), 5);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(out[i].name_size, headers[i].name_size);
        CHECK_MEM(out[i].name, headers[i].name, headers[i].name_size);
        CHECK_EQ(out[i].value_size, headers[i].value_size);
        CHECK_EQ(out[i].value == NULL, headers[i].value == NULL);
        if (headers[i].value != NULL)
            CHECK_MEM(out[i].value, headers[i].value, headers[i].value_size);
    }
}

TEST(headers_that_make_no_sense_have_no_size)
{
    leat_header no_name = { NULL, 0, "v", 1 }, no_value = { "n", 1, NULL, 1 };
    CHECK_EQ(lt_record_headers_size(&no_name, 1), UINT64_MAX);
    CHECK_EQ(lt_record_headers_size(&no_value, 1), UINT64_MAX);
    CHECK_EQ(lt_record_headers_size(NULL, 1), UINT64_MAX);
    CHECK_EQ(lt_record_headers_size(NULL, 0), 0);
}

TEST(more_headers_than_room_is_no_damage)
{
    leat_header headers[3] = { { "a", 1, "1", 1 }, { "b", 1, "2", 1 }, { "c", 1, "3", 1 } };
    unsigned char block[64];
    leat_header out[3];
    lt_record_headers_write(block, headers, 3);
    CHECK_EQ(lt_record_headers_read(block, 30, out, 2), -2);
    CHECK_EQ(lt_record_headers_read(block, 30, out, 0), -2);
    CHECK_EQ(lt_record_headers_read(block, 30, out, 3), 3);
    CHECK_EQ(lt_record_headers_read(block, 0, out, 0), 0);
}

TEST(cut_headers_are_damaged)
{
    leat_header headers[2] = { { "name", 4, "value", 5 }, { "n", 1, NULL, 0 } };
    leat_header out[4];
    uint32_t size = (uint32_t)lt_record_headers_size(headers, 2);
    unsigned char *whole = malloc(size);
    CHECK(whole != NULL);
    lt_record_headers_write(whole, headers, 2);
    for (uint32_t cut = 1; cut < size; cut++) {
        unsigned char *block = malloc(cut);
        CHECK(block != NULL);
        memcpy(block, whole, cut);
        int r = lt_record_headers_read(block, cut, out, 4);
        CHECK(r == -1 || (cut == 17 && r == 1)); /* 17: the first one is whole */
        free(block);
    }
    free(whole);
}

TEST(random_bytes_as_headers_stay_within_the_block)
{
    leat_header out[16];
    for (int round = 0; round < 20000; round++) {
        uint32_t size = (uint32_t)random_below(96) + 1;
        unsigned char *block = malloc(size);
        CHECK(block != NULL);
        for (uint32_t i = 0; i < size; i++)
            block[i] = random_below(3) == 0 ? (unsigned char)test_random() : (unsigned char)random_below(9);
        int count = lt_record_headers_read(block, size, out, 16);
        for (int i = 0; i < count; i++) {
            const unsigned char *name = out[i].name, *value = out[i].value;
            CHECK(name >= block && name + out[i].name_size <= block + size);
            CHECK(value == NULL || (value >= block && value + out[i].value_size <= block + size));
        }
        free(block);
    }
}

TEST(a_record_measures_what_it_takes)
{
    leat_record record = { .key = "key", .key_size = 3, .value = "value", .value_size = 5 };
    CHECK_EQ(lt_record_measure(&record).total, 8);
    record.key = NULL;
    CHECK_EQ(lt_record_measure(&record).total, LT_RECORD_SENSELESS); /* a size without a pointer */
    record.key_size = 0;
    CHECK_EQ(lt_record_measure(&record).total, 5);
    record.value_size = (size_t)UINT32_MAX;
    CHECK_EQ(lt_record_measure(&record).total, LT_RECORD_HUGE);
    record.value_size = SIZE_MAX;
    record.key = "key";
    record.key_size = 3; /* their sum wraps */
    CHECK_EQ(lt_record_measure(&record).total, LT_RECORD_HUGE);
    CHECK(!lt_record_is_small(&record));
}

TEST(small_is_what_fits_into_a_slot)
{
    for (size_t key_size = 0; key_size < 120; key_size++) {
        for (size_t value_size = 0; value_size < 120; value_size++) {
            leat_record record = { .key = "", .key_size = key_size, .value = "", .value_size = value_size };
            CHECK_EQ(lt_record_is_small(&record), key_size + value_size <= LT_INLINE_MAX);
        }
    }
    leat_header header = { "n", 1, "v", 1 };
    leat_record with_header = { .value = "v", .value_size = 1, .headers = &header, .header_count = 1 };
    CHECK(!lt_record_is_small(&with_header));
    CHECK_EQ(lt_record_measure(&with_header).total, 1 + 8 + 2);
}
