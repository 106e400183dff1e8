/* batch: the form of records on disk. */
#include "store/batch.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "store/hash.h"
#include "test.h"

static const struct lt_batch_place place = { .id = { .topic = 5, .partition = 3 },
                                             .base_offset = 100,
                                             .pos = 4096 };

static unsigned char bytes[4096] __attribute__((aligned(64)));

static struct lt_store_record record_of(uint64_t offset, const char *value, const char *key)
{
    static char joined[256];
    struct lt_store_record record = {
        .offset = offset, .stamp = 1000 + offset, .kind = LT_RECORD_DATA, .bytes = joined
    };
    record.value_size = value ? (uint32_t)strlen(value) : LT_STORE_NULL;
    record.key_size = key ? (uint32_t)strlen(key) : LT_STORE_NULL;
    strcpy(joined, value ? value : "");
    strcat(joined, key ? key : "");
    return record;
}

static uint32_t sealed(struct lt_batch *batch)
{
    memset(bytes, 0xee, sizeof bytes);
    lt_batch_start(batch, bytes, sizeof bytes, 100);
    struct lt_store_record record = record_of(100, "one", "k");
    CHECK_EQ(lt_batch_add(batch, &record), 0);
    record = record_of(103, "three", NULL);
    CHECK_EQ(lt_batch_add(batch, &record), 0);
    lt_batch_skip_to(batch, 110);
    return lt_batch_seal(batch, &place, 7, 90);
}

TEST(sealed_batch_is_whole)
{
    struct lt_batch batch;
    uint32_t size = sealed(&batch);
    CHECK_EQ(size % LT_BATCH_ALIGN, 0);
    CHECK_STR(lt_batch_check(bytes, size, &place), NULL);
    const struct lt_batch_head *head = (const void *)bytes;
    CHECK_EQ(head->first_offset, 100);
    CHECK_EQ(head->end_offset, 110);
    CHECK_EQ(head->record_count, 2);
    CHECK_EQ(head->timestamp_min, 1100);
    CHECK_EQ(head->timestamp_max, 1103);
}

TEST(every_bit_of_a_batch_is_covered)
{
    struct lt_batch batch;
    uint32_t size = sealed(&batch);
    for (uint32_t i = 0; i < size * 8; i++) {
        bytes[i / 8] ^= (unsigned char)(1u << i % 8);
        if (!lt_batch_check(bytes, sizeof bytes, &place))
            FAIL("bit %u of byte %u can change unnoticed", i % 8, i / 8);
        bytes[i / 8] ^= (unsigned char)(1u << i % 8);
    }
}

TEST(batch_is_valid_in_its_own_place_only)
{
    struct lt_batch batch;
    uint32_t size = sealed(&batch);
    struct lt_batch_place other = place;
    other.pos += LT_BATCH_ALIGN;
    CHECK(lt_batch_check(bytes, size, &other) != NULL);
    other = place;
    other.base_offset++;
    CHECK(lt_batch_check(bytes, size, &other) != NULL);
    other = place;
    other.id.partition++;
    CHECK(lt_batch_check(bytes, size, &other) != NULL);
    other = place;
    other.id.topic++;
    CHECK(lt_batch_check(bytes, size, &other) != NULL);
}

TEST(null_and_empty_stay_different)
{
    struct lt_batch batch;
    struct lt_store_record record = record_of(0, "", NULL), found = { 0 };
    uint32_t at = 0;
    lt_batch_start(&batch, bytes, sizeof bytes, 0);
    CHECK_EQ(lt_batch_add(&batch, &record), 0);
    record = record_of(1, NULL, "");
    CHECK_EQ(lt_batch_add(&batch, &record), 0);
    lt_batch_seal(&batch, &place, 1, 0);
    CHECK_EQ(lt_batch_next(bytes, &at, &found), 1);
    CHECK_EQ(found.value_size, 0);
    CHECK_EQ(found.key_size, LT_STORE_NULL);
    CHECK_EQ(lt_batch_next(bytes, &at, &found), 1);
    CHECK_EQ(found.value_size, LT_STORE_NULL);
    CHECK_EQ(found.key_size, 0);
    CHECK_EQ(lt_batch_next(bytes, &at, &found), 0);
}

TEST(values_lie_at_multiples_of_eight)
{
    struct lt_batch batch;
    struct lt_store_record found;
    uint32_t at = 0;
    sealed(&batch);
    while (lt_batch_next(bytes, &at, &found))
        CHECK_EQ((uintptr_t)found.bytes % LT_RECORD_ALIGN, 0);
}

TEST(batch_without_records_is_a_gap)
{
    struct lt_batch batch;
    lt_batch_start(&batch, bytes, 128, 5);
    CHECK(lt_batch_is_empty(&batch));
    lt_batch_skip_to(&batch, 1ull << 40);
    uint32_t size = lt_batch_seal(&batch, &place, 1, 0), at = 0;
    struct lt_store_record found;
    CHECK_STR(lt_batch_check(bytes, size, &place), NULL);
    CHECK_EQ(((const struct lt_batch_head *)(const void *)bytes)->flags, LT_BATCH_GAP);
    CHECK_EQ(lt_batch_next(bytes, &at, &found), 0);
}

TEST(batch_takes_no_more_than_its_memory)
{
    struct lt_batch batch;
    struct lt_store_record record = record_of(0, "0123456789012345678901234567890123456789", NULL);
    lt_batch_start(&batch, bytes, 256, 0);
    memset(bytes + 256, 0x55, 64);
    for (record.offset = 0; lt_batch_add(&batch, &record) == 0;)
        record.offset++;
    CHECK_EQ(record.offset, 2);
    CHECK_EQ(lt_batch_seal(&batch, &place, 1, 0), 256);
    CHECK_EQ(bytes[256], 0x55);
}

TEST(offset_that_goes_back_is_refused)
{
    struct lt_batch batch;
    struct lt_store_record record = record_of(8, "x", NULL);
    lt_batch_start(&batch, bytes, sizeof bytes, 5);
    CHECK_EQ(lt_batch_add(&batch, &record), 0);
    CHECK_EQ(lt_batch_add(&batch, &record), 1);
    record.offset = 4;
    CHECK_EQ(lt_batch_add(&batch, &record), 1);
}

TEST(hash_is_the_same_by_whatever_instructions)
{
    static unsigned char many[8192];
    for (size_t i = 0; i < sizeof many; i++)
        many[i] = (unsigned char)test_random();
    for (size_t size = 0; size <= 5000; size += size < 300 || (size > 1000 && size < 1100) ? 1 : 61)
        for (uint64_t seed = 0; seed < 3; seed++) {
            const unsigned char *from = many + test_random() % 64;
            CHECK_EQ(lt_store_hash(from, size, seed * 0x9e3779b97f4a7c15ull),
                     XXH3_64bits_withSeed(from, size, seed * 0x9e3779b97f4a7c15ull));
        }
    CHECK_EQ(lt_store_hash(many, sizeof many, 7), XXH3_64bits_withSeed(many, sizeof many, 7));
}
