/* The descriptor of leat_consumer_fd, in an event loop that polls once for each event.
 *
 * Goal: it is readable whenever poll(0) has something to say, whatever made that so and whenever it came.
 * Method: level-triggered epoll, one poll(0) an event; a sender in a thread that aims at the moment in which the
 * descriptor falls silent; and the calls that bring records back without anybody sending one.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <unistd.h>

static int watch(leat_consumer *consumer)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN };
    CHECK(epoll >= 0);
    CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, CHECK_OK(leat_consumer_fd(consumer)), &event), 0);
    return epoll;
}

static bool is_readable(int epoll, int timeout_ms)
{
    struct epoll_event event;
    int n = epoll_wait(epoll, &event, 1, timeout_ms);
    CHECK(n >= 0);
    return n == 1;
}

static void drain(leat_consumer *consumer, int epoll)
{
    const leat_record *records;
    while (CHECK_OK(leat_consumer_poll(consumer, 0, &records)) > 0)
        ;
    CHECK(!is_readable(epoll, 20));
}

/* ---- a record that comes while the descriptor falls silent ---- */

struct aim {
    leat_producer *producer;
    _Atomic uint64_t asked; /* a record for each */
    uint64_t count;
};

static void *send_when_asked(void *argument)
{
    struct aim *aim = argument;
    for (uint64_t i = 0; i < aim->count; i++) {
        while (atomic_load(&aim->asked) <= i)
            ;
        for (uint64_t spin = 0; spin < i % 512 * 16; spin++)
            atomic_signal_fence(memory_order_seq_cst);
        CHECK_OK(traffic_send(aim->producer, 0, 0, i, 40, NULL));
    }
    return NULL;
}

TEST(record_that_comes_while_the_descriptor_falls_silent_is_followed_by_the_next)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 1);
    leat_bus *handle = bus_open(bus), *elsewhere = bus_open(bus);
    struct aim aim = { .producer = open_producer(elsewhere, "t", NULL), .count = 20000 };
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    int epoll = watch(consumer);
    const leat_record *records;
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, send_when_asked, &aim), 0);
    atomic_store(&aim.asked, 1);
    for (uint64_t seen = 0; seen < aim.count;) {
        if (!is_readable(epoll, 5000))
            FAIL("%d of %d records, and the descriptor is silent; poll(0) says %d", (int)seen, (int)aim.count,
                 leat_consumer_poll(consumer, 0, &records));
        int n = CHECK_OK(leat_consumer_poll(consumer, 0, &records));
        seen += (uint64_t)n;
        if (n != 0) /* the next one comes about when the next poll finds nothing */
            atomic_store(&aim.asked, seen + 1);
    }
    pthread_join(thread, NULL);
    leat_close(handle);
    leat_close(elsewhere);
}

/* ---- records that nobody sends ---- */

TEST(descriptor_is_readable_after_calls_that_bring_records_back)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t", .partitions = 2);
    leat_bus *handle = bus_open(bus);
    leat_producer *producer = open_producer(handle, "t", NULL);
    leat_consumer *consumer = open_reader(handle, "t", NULL);
    int epoll = watch(consumer);

    CHECK_OK(leat_consumer_pause(consumer, "t", 0));
    CHECK_OK(traffic_send(producer, 0, 0, 0, 40, NULL));
    drain(consumer, epoll);
    CHECK_OK(leat_consumer_resume(consumer, "t", 0));
    CHECK(is_readable(epoll, 5000));
    drain(consumer, epoll);

    CHECK_OK(leat_consumer_seek(consumer, "t", 0, LEAT_BEGINNING));
    CHECK(is_readable(epoll, 5000));
    drain(consumer, epoll);

    CHECK_OK(leat_consumer_seek_time(consumer, "t", 0, 1));
    CHECK(is_readable(epoll, 5000));
    drain(consumer, epoll);

    CHECK_OK(leat_consumer_assign(consumer, (leat_partition[]){ { "t", 0 } }, 1));
    CHECK(is_readable(epoll, 5000));
    drain(consumer, epoll);
    leat_close(handle);
}
