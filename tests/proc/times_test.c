/* Offsets by time, asked while views are held.
 *
 * Goal: leat_consumer_offset_for_time leaves the views of the last poll alone, and the records under them.
 * Method: an older ring is kept by another reader, so that the question begins there; a thread laps the current ring.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <pthread.h>
#include <stdatomic.h>

enum { RING = 1 << 20, SLOTS = RING / 128, HELD = 8 };

static _Atomic bool over;

/* Three laps of a ring, and then some more. */
static void *send_on(void *argument)
{
    for (uint64_t i = 0; i < 3 * SLOTS; i++)
        CHECK_OK(traffic_send(argument, 0, 1, i, 40, NULL));
    atomic_store(&over, true);
    return NULL;
}

TEST(views_stay_unchanged_while_an_offset_is_asked_for_by_time)
{
    struct bus *bus = bus_start("--stall-limit", "20");
    bus_topic(bus, "t", .ring_size = RING, .on_full = LEAT_OVERWRITE);
    leat_bus *handle = bus_open(bus), *elsewhere = bus_open(bus);
    leat_producer *producer = open_producer(elsewhere, "t", NULL);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.max_poll_records = HELD;
    options.reset = LEAT_EARLIEST;
    leat_consumer *holder = open_reader(elsewhere, "t", &options);
    leat_consumer *consumer = open_reader(handle, "t", &options);
    const leat_record *records;
    uint64_t number = 0;
    for (; number < HELD; number++)
        CHECK_OK(traffic_send(producer, 0, 0, number, 40, NULL));
    CHECK_EQ(CHECK_OK(leat_consumer_poll(holder, 5000, &records)), HELD);
    /* Held up by those views, the topic goes on in another ring. */
    while (bus_counter(bus, "rotations", "t", 0, -1) < 1)
        for (int i = 0; i < SLOTS / 16; i++)
            CHECK_OK(traffic_send(producer, 0, 0, number++, 40, NULL));
    leat_receipt receipt;
    CHECK_OK(traffic_send(producer, 0, 0, number, 40, &receipt));
    CHECK_OK(leat_consumer_seek(consumer, "t", 0, (int64_t)receipt.offset));
    for (int i = 1; i < HELD; i++)
        CHECK_OK(traffic_send(producer, 0, 0, number + (uint64_t)i, 40, NULL));
    CHECK_EQ(CHECK_OK(leat_consumer_poll(consumer, 5000, &records)), HELD);

    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, send_on, producer), 0);
    while (!atomic_load(&over)) {
        CHECK_OK(leat_consumer_offset_for_time(consumer, "t", 0, (int64_t)1 << 47));
        for (int i = 0; i < HELD; i++)
            CHECK_EQ(traffic_check(&records[i]).number, number + (uint64_t)i);
    }
    pthread_join(thread, NULL);
    leat_close(handle);
    leat_close(elsewhere);
}
