/* A topic that is deleted and made anew under its name, while handles of the old one are open.
 *
 * Goal: old handles say that their topic was deleted; new ones work, whatever becomes of the old ones, and go on working
 * after leatd's worker was killed.
 * Method: one client holds both; the worker is killed; somebody else asks for what only the new handle keeps away.
 */
#include "bus.h"
#include "test.h"
#include "traffic.h"

static void begin_anew(struct bus *bus, leat_bus *handle)
{
    CHECK_OK(leat_topic_delete(handle, "t"));
    bus_topic(bus, "t");
}

static void restart_worker(struct bus *bus, leat_bus *handle)
{
    bus_wait_worker(bus, bus_kill_worker(bus));
    /* A request of its own, so that everything that stands has been said again. */
    leat_topic_info_free(bus_describe(handle, "t"));
}

static void check_holds(leat_bus *handle, leat_bus *elsewhere)
{
    const leat_producer_options alone = { .size = sizeof alone,
                                          .partitioner = LEAT_PARTITIONER_TOPIC,
                                          .exclusive = 1 };
    leat_producer *other = NULL;
    leat_topic_info *info = bus_describe(handle, "t");
    CHECK_EQ(info->producers, 1);
    leat_topic_info_free(info);
    CHECK_EQ(leat_producer_open(&other, elsewhere, "t", &alone), LEAT_EEXCLUSIVE);
}

TEST(producer_of_a_topic_made_anew_stays_attached_beside_the_old_one_when_the_worker_dies)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "t");
    leat_bus *handle = bus_open(bus), *elsewhere = bus_open(bus);
    leat_producer *old = open_producer(handle, "t", NULL);
    begin_anew(bus, handle);
    leat_producer *producer = open_producer(handle, "t", NULL);
    CHECK_OK(traffic_send(producer, 0, 0, 0, 40, NULL));
    CHECK_EQ(traffic_send(old, 0, 0, 0, 40, NULL), LEAT_EDELETED);
    check_holds(handle, elsewhere);
    restart_worker(bus, handle);
    check_holds(handle, elsewhere);
    leat_producer_close(old);
    restart_worker(bus, handle);
    check_holds(handle, elsewhere);
    CHECK_OK(traffic_send(producer, 0, 0, 1, 40, NULL));
    leat_close(elsewhere);
    leat_close(handle);
}
