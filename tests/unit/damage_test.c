/* A producer of the same topic may write anything into a ring, at any time: its readers lose what it damaged, and nothing
 * else. Goal: no crash, no view outside of the ring, and what was left alone arrives. Method: a bus in this process; the test
 * writes into the slots behind the back of the producer that filled them. */
#include <leat.h>
#include <string.h>

#include "base/atomic.h"
#include "client/consumer.h"
#include "client/producer.h"
#include "test.h"

#define RING_BYTES (64u << 10)

struct scene {
    leat_host *host;
    leat_bus *bus;
    leat_producer *out;
    leat_consumer *in;
};

static struct scene scene_new(void)
{
    struct scene scene;
    leat_host_options host = LEAT_HOST_OPTIONS;
    leat_topic_options topic = LEAT_TOPIC_OPTIONS;
    leat_consumer_options consumer = LEAT_CONSUMER_OPTIONS;
    host.directory = test_dir();
    topic.ring_size = RING_BYTES;
    consumer.reset = LEAT_EARLIEST;
    CHECK_EQ(leat_host_start(&scene.host, &host), 0);
    CHECK_EQ(leat_open(&scene.bus, leat_host_path(scene.host)), 0);
    CHECK_EQ(leat_topic_create(scene.bus, "t", &topic), 0);
    CHECK_EQ(leat_producer_open(&scene.out, scene.bus, "t", NULL), 0);
    CHECK_EQ(leat_consumer_open(&scene.in, scene.bus, &consumer), 0);
    CHECK_EQ(leat_consumer_subscribe(scene.in, (const char *[]){ "t" }, 1), 0);
    return scene;
}

static void scene_end(struct scene *scene)
{
    leat_close(scene->bus);
    leat_host_stop(scene->host);
}

static struct lt_slot *slot_of(const struct scene *scene, uint64_t offset)
{
    const struct lt_ring *ring = &scene->out->outs[0].ring;
    return lt_ring_slot_at(ring, lt_ring_rel(ring, offset));
}

static void send_numbers(struct scene *scene, uint32_t count, size_t size)
{
    static unsigned char value[4096];
    for (uint32_t i = 0; i < count; i++) {
        memcpy(value, &i, sizeof i);
        leat_record record = { .key = "k", .key_size = 1, .value = value, .value_size = size };
        CHECK_EQ(leat_producer_send(scene->out, &record, NULL), 0);
    }
}

/* Polls until nothing comes; how many. Each value has to be the number of its offset. */
static uint32_t count_good(struct scene *scene)
{
    const leat_record *records;
    uint32_t good = 0;
    int n;
    while ((n = leat_consumer_poll(scene->in, 0, &records)) > 0) {
        for (int i = 0; i < n; i++) {
            uint32_t number;
            memcpy(&number, records[i].value, sizeof number);
            CHECK_EQ(number, records[i].offset);
            good++;
        }
    }
    CHECK_EQ(n, 0);
    return good;
}

TEST(slots_that_make_no_sense_are_stepped_over_and_counted)
{
    struct scene scene = scene_new();
    send_numbers(&scene, 10, 8);
    slot_of(&scene, 1)->value_size = LT_INLINE_MAX + 1;
    slot_of(&scene, 2)->key_size = LT_NULL_SIZE - 1;
    slot_of(&scene, 3)->headers_size = UINT32_MAX;
    slot_of(&scene, 4)->headers_size = 7; /* less than any header */
    slot_of(&scene, 5)->pos = 0;          /* not inline: fits, and then is somebody's bytes */
    slot_of(&scene, 5)->value_size = RING_BYTES;
    CHECK_EQ(count_good(&scene), 5);
    CHECK_EQ(leat_consumer_missed(scene.in, "t", 0), 5);
    CHECK_EQ(leat_consumer_lag(scene.in, "t", 0), 0);
    scene_end(&scene);
}

TEST(kinds_that_nobody_writes_are_stepped_over)
{
    struct scene scene = scene_new();
    send_numbers(&scene, 3, 8);
    uint64_t *word = &slot_of(&scene, 1)->word;
    *word = lt_slot_word(lt_word_lap(*word), (enum lt_slot_kind)9);
    CHECK_EQ(count_good(&scene), 2);
    scene_end(&scene);
}

/* Inside of the reader's mapping, the payload's second one included; and every byte can be read. */
static void check_bytes(const struct scene *scene, const void *bytes, size_t size)
{
    const struct lt_ring *ring = &scene->in->cursors[0]->ring;
    const unsigned char *from = bytes, *slots = ring->base + ring->slots_at;
    const unsigned char *end = ring->base + ring->payload_at + 2 * ring->payload_size;
    if (from == NULL)
        return;
    CHECK(from >= slots && from <= end && size <= (size_t)(end - from));
    for (size_t i = 0; i < size; i++)
        (void)*(const volatile unsigned char *)(from + i);
}

static void check_view(const struct scene *scene, const leat_record *record)
{
    check_bytes(scene, record->value, record->value_size);
    check_bytes(scene, record->key, record->key_size);
    for (size_t i = 0; i < record->header_count; i++) {
        check_bytes(scene, record->headers[i].name, record->headers[i].name_size);
        check_bytes(scene, record->headers[i].value, record->headers[i].value_size);
    }
}

/* Sizes, places and payload at random, but for the published word; every byte of every view is read. */
TEST(views_of_random_bytes_stay_inside_the_ring)
{
    struct scene scene = scene_new();
    const struct lt_ring *ring = &scene.out->outs[0].ring;
    uint64_t next = 0;
    for (int round = 0; round < (test_long() ? 20000 : 1000); round++) {
        uint32_t count = 1 + (uint32_t)(test_random() % 32);
        send_numbers(&scene, count, test_random() % 2 ? 8 : 300);
        for (uint32_t i = 0; i < count; i++, next++) {
            struct lt_slot *slot = slot_of(&scene, next);
            uint64_t word = slot->word;
            if (test_random() % 4 == 0)
                continue;
            for (size_t at = 8; at < sizeof *slot; at++)
                if (test_random() % 2)
                    ((unsigned char *)slot)[at] = (unsigned char)test_random();
            if (test_random() % 2) /* sizes that pass the check now and then */
                slot->key_size = (uint32_t)(test_random() % 200),
                slot->value_size = (uint32_t)(test_random() % 200),
                slot->headers_size = (uint32_t)(test_random() % 100);
            CHECK_EQ(slot->word, word);
        }
        lt_ring_payload_at(ring, test_random())[0] ^= (unsigned char)test_random();
        const leat_record *records;
        int n;
        while ((n = leat_consumer_poll(scene.in, 0, &records)) > 0)
            for (int i = 0; i < n; i++)
                check_view(&scene, &records[i]);
        CHECK_EQ(n, 0);
    }
    CHECK_EQ(leat_consumer_lag(scene.in, "t", 0), 0);
    scene_end(&scene);
}

/* The claim words too: a sender says so, or gets through; nobody crashes or hangs. */
TEST(sender_on_damaged_claim_words_ends_well_or_says_so)
{
    struct scene scene = scene_new();
    struct lt_ring *ring = &scene.out->outs[0].ring;
    scene.out->options.full_timeout_ms = 20;
    for (int round = 0; round < 200; round++) {
        uint64_t at = test_random() % ring->slot_count;
        lt_ring_claim_at(ring, at)->lo = test_random();
        lt_ring_claim_at(ring, at)->hi = test_random();
        if (round % 3 == 0)
            lt_ring_words(ring)->hint = test_random();
        leat_record record = { .value = "v", .value_size = 1 };
        int r = leat_producer_send(scene.out, &record, NULL);
        CHECK(r == 0 || r == LEAT_EPROTO || r == LEAT_EFULL);
        leat_consumer_end_offset(scene.in, "t", 0);
    }
    scene_end(&scene);
}
