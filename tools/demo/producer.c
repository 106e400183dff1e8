/* producer: see producer.h. */
#include "producer.h"

#include <signal.h>
#include <string.h>

#include "news.h"
#include "order.h"

enum { TICK_NS = 1000000 };

static volatile sig_atomic_t over;

static void stop(int sig)
{
    over = sig;
}

/* The key decides about the partition, so all orders of a customer are in one, in the order in which they are sent. */
static int send_order(leat_producer *out, uint64_t number, uint32_t *sequences)
{
    struct order order;
    char text[ORDER_TEXT_MAX];
    order_make(&order, number);
    order.sequence = ++sequences[order_customer(&order)];
    leat_record record = {
        .key = order.customer,
        .key_size = strlen(order.customer),
        .value = text,
        .value_size = order_write(&order, text),
    };
    return leat_producer_send(out, &record, NULL);
}

/* Each millisecond what is due by then. */
static int send_at_rate(leat_producer *out, struct news *news, double rate)
{
    uint32_t sequences[CUSTOMERS] = { 0 };
    int64_t begin_ns = now_ns(), last_ns = 0;
    for (int64_t tick_ns = begin_ns; !over; tick_ns += TICK_NS) {
        sleep_until(tick_ns);
        uint64_t due = (uint64_t)((double)(now_ns() - begin_ns) * rate / 1e9);
        for (; news->orders < due && !over; news->orders++) {
            int r = send_order(out, news->orders, sequences);
            if (r < 0)
                return r;
        }
        if (news_due(&last_ns))
            news_send(news);
    }
    return 0;
}

int producer_main(int who, double rate)
{
    struct news news = { .kind = NEWS_READY, .who = who };
    leat_bus *bus;
    leat_producer *out = NULL;
    signal(SIGTERM, stop);
    int r = leat_open(&bus, NULL);
    if (r >= 0)
        r = leat_producer_open(&out, bus, DEMO_TOPIC, NULL);
    if (r >= 0) {
        news_send(&news);
        news.kind = NEWS_SENT;
        r = send_at_rate(out, &news, rate);
        news_send(&news);
    }
    if (r < 0)
        complain("producer", bus, r);
    int closed = leat_producer_close(out);
    leat_close(bus);
    return r < 0 || closed < 0;
}
