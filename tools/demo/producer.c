/* producer: see producer.h. */
#include "producer.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "ledger.h"
#include "news.h"

enum { TICK_NS = 1000000, FLUSH_MS = 60000 };

static volatile sig_atomic_t over;

static void stop(int sig)
{
    over = sig;
}

/* The key decides about the partition, so all orders of a customer are in one, in the order in which they are sent. */
static int send_order(leat_producer *out, const struct order *order, leat_receipt *receipt)
{
    char text[ORDER_TEXT_MAX];
    leat_record record = {
        .key = order->customer,
        .key_size = strlen(order->customer),
        .value = text,
        .value_size = order_write(order, text),
    };
    return leat_producer_send(out, &record, receipt);
}

/* Does not wait until it is acknowledged, or each order would take a disk's flush. */
static int send_next(leat_producer *out, struct ledger *ledger)
{
    struct order order;
    leat_receipt receipt;
    int r = ledger_is_full(ledger) ? leat_producer_flush(out, FLUSH_MS) : 0;
    if (r >= 0)
        r = ledger_settle(ledger);
    if (r < 0)
        return r;
    ledger_draw(ledger, &order);
    r = send_order(out, &order, &receipt);
    if (r >= 0)
        ledger_await(ledger, &order, &receipt);
    return r;
}

static void tell(struct news *news, const struct ledger *ledger)
{
    news->orders = ledger->sent;
    news_send(news);
}

/* Each millisecond what is due by then. */
static int send_at_rate(leat_producer *out, struct ledger *ledger, struct news *news, double rate)
{
    int64_t begin_ns = now_ns(), last_ns = 0;
    uint64_t sent = 0; /* in this life */
    for (int64_t tick_ns = begin_ns; !over; tick_ns += TICK_NS) {
        sleep_until(tick_ns);
        uint64_t due = (uint64_t)((double)(now_ns() - begin_ns) * rate / 1e9);
        for (; sent < due && !over; sent++) {
            int r = send_next(out, ledger);
            if (r < 0)
                return r;
        }
        if (news_due(&last_ns))
            tell(news, ledger);
    }
    return 0;
}

static int produce(leat_bus *bus, leat_producer *out, struct ledger *ledger, struct news *news, double rate)
{
    tell(news, ledger);
    news->kind = NEWS_SENT;
    int r = send_at_rate(out, ledger, news, rate);
    if (r >= 0)
        r = leat_producer_flush(out, FLUSH_MS);
    if (r >= 0)
        r = ledger_settle(ledger);
    tell(news, ledger);
    if (r < 0)
        complain("producer", bus, r);
    return r;
}

int producer_main(int who, double rate, const char *path)
{
    static struct ledger ledger;
    struct news news = { .kind = NEWS_READY, .who = who };
    leat_producer_options options = LEAT_PRODUCER_OPTIONS;
    leat_bus *bus;
    leat_producer *out = NULL;
    options.on_delivered = ledger_delivered;
    options.user = &ledger;
    signal(SIGTERM, stop);
    int r = leat_open(&bus, NULL);
    if (r >= 0)
        r = leat_producer_open(&out, bus, DEMO_TOPIC, &options);
    if (r < 0)
        complain("producer", bus, r);
    if (r >= 0)
        r = ledger_open(&ledger, bus, path);
    if (r >= 0) {
        news.missing = ledger.file->missing;
        r = produce(bus, out, &ledger, &news, rate);
    }
    int closed = leat_producer_close(out);
    leat_close(bus);
    return r < 0 || closed < 0;
}
