/* Keys go where others put them: Kafka's Java client and kafka-python by murmur2, XXH3's reference by xxh3. */
#include <string.h>

#include "client/partitioner.h"
#include "shm/topic.h"
#include "test.h"

/* org.apache.kafka.common.utils.UtilsTest.testMurmur2 */
TEST(murmur2_is_the_one_of_kafkas_java_client)
{
    static const struct {
        const char *key;
        int32_t hash;
    } cases[] = {
        { "21", -973932308 },
        { "foobar", -790332482 },
        { "a-little-bit-long-string", -985981536 },
        { "a-little-bit-longer-string", -1486304829 },
        { "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971 },
        { "abc", 479470107 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_EQ((int32_t)lt_partitioner_murmur2(cases[i].key, strlen(cases[i].key)), cases[i].hash);
}

/* kafka-python, test_partitioner.py: test_murmur2_java_compatibility, over 1000 partitions */
TEST(murmur2_places_keys_as_kafka_python_does)
{
    CHECK_EQ(lt_partitioner_kafka("", 0, 1000), 681u);
    CHECK_EQ(lt_partitioner_kafka("a", 1, 1000), 524u);
    CHECK_EQ(lt_partitioner_kafka("ab", 2, 1000), 434u);
    CHECK_EQ(lt_partitioner_kafka("abc", 3, 1000), 107u);
    CHECK_EQ(lt_partitioner_kafka("123456789", 9, 1000), 566u);
    CHECK_EQ(lt_partitioner_kafka("\x00 ", 2, 1000), 742u);
}

TEST(murmur2_never_gives_a_negative_partition)
{
    for (uint32_t i = 0; i < 100000; i++)
        CHECK(lt_partitioner_kafka(&i, sizeof i, 7) < 7);
}

/* The published hash of the empty input: XXH3_64bits("", 0) with seed 0. */
TEST(a_bucket_is_the_low_bits_of_xxh3)
{
    CHECK_EQ(lt_partitioner_bucket("", 0), (uint32_t)(0x2d06800538d394c2ull % LT_BUCKETS));
}

TEST(buckets_are_used_alike)
{
    static uint32_t used[LT_BUCKETS];
    const uint32_t each = 64;
    for (uint32_t i = 0; i < LT_BUCKETS * each; i++)
        used[lt_partitioner_bucket(&i, sizeof i)]++;
    for (uint32_t b = 0; b < LT_BUCKETS; b++)
        CHECK(used[b] > each / 4 && used[b] < each * 4);
}
