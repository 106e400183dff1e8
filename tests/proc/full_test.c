/* Topics with on_full error that are full for a while, and leatd cannot rotate.
 *
 * Goal: a topic that refuses takes records again once what held its room up is gone, though nobody tells leatd.
 * Method: memory for one ring and no more; a reader holds views for longer than the stall limit, then lets go.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

enum { RING = 1 << 20 };

TEST(topic_that_refuses_takes_records_again_when_a_reader_lets_go_late)
{
    struct bus *bus = bus_start("--max-memory", "8MiB");
    bus_topic(bus, "t", .ring_size = RING, .on_full = LEAT_ERROR);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    const leat_record *records;
    uint64_t sent = 0;
    leat_topic_options filler = LEAT_TOPIC_OPTIONS;
    filler.ring_size = RING / 16;
    for (int i = 0; leat_topic_create(handle, text("filler%d", i), &filler) == 0; i++)
        CHECK(i < 100);
    CHECK_OK(traffic_send(producer, 0, 0, sent++, 40, NULL));
    CHECK_EQ(CHECK_OK(leat_consumer_poll(consumer, 5000, &records)), 1);
    int r;
    while ((r = traffic_send(producer, 0, 0, sent, 40, NULL)) == 0)
        CHECK(++sent < 100000);
    CHECK_EQ(r, LEAT_EFULL);
    /* Longer than leatd watches what is in the way. */
    for (double end = now_s() + 0.5; now_s() < end; bus_pause())
        CHECK_EQ(traffic_send(producer, 0, 0, sent, 40, NULL), LEAT_EFULL);
    CHECK_OK(leat_consumer_poll(consumer, 5000, &records));
    while (CHECK_OK(leat_consumer_poll(consumer, 0, &records)) > 0)
        ;
    WAIT_UNTIL(traffic_send(producer, 0, 0, sent, 40, NULL) == 0, 5);
    leat_close(handle);
}
