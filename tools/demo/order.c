/* order: see order.h. */
#include "order.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int cents;
} menu[] = { { "pizza margherita", 950 }, { "pad thai", 1190 },    { "ramen", 1350 },   { "falafel", 720 },
             { "lamb biryani", 1480 },    { "lentil soup", 640 },  { "ceviche", 1720 }, { "poke bowl", 1290 },
             { "moussaka", 1140 },        { "apple strudel", 560 } };

/* splitmix64: any number into one that looks random. */
static uint64_t scramble(uint64_t number)
{
    uint64_t z = (number + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* A few regulars and many who come now and then: the square of an even distribution. */
int order_customer_of(uint64_t number)
{
    double r = (double)(scramble(number) >> 40) / (1 << 24);
    return (int)(r * r * CUSTOMERS);
}

void order_make(struct order *order, uint64_t number)
{
    uint64_t random = scramble(number);
    unsigned dish = (unsigned)(random % (sizeof menu / sizeof menu[0]));
    order->sequence = 0;
    order->quantity = 1 + (uint32_t)(random >> 8) % 4;
    order->cents = menu[dish].cents * (int64_t)order->quantity;
    snprintf(order->id, sizeof order->id, "order-%07" PRIu64, number + 1);
    snprintf(order->customer, sizeof order->customer, "CUST-%05u",
             (unsigned)order_customer_of(number) % CUSTOMERS + 1);
    snprintf(order->item, sizeof order->item, "%s", menu[dish].name);
}

int order_customer(const struct order *order)
{
    int number;
    if (sscanf(order->customer, "CUST-%5d", &number) != 1 || number < 1 || number > CUSTOMERS)
        return -1;
    return number - 1;
}

size_t order_write(const struct order *order, char text[ORDER_TEXT_MAX])
{
    return (size_t)snprintf(text, ORDER_TEXT_MAX,
                            "{\"order_id\":\"%s\",\"customer\":\"%s\",\"sequence\":%" PRIu32
                            ",\"item\":\"%s\",\"quantity\":%" PRIu32 ",\"amount\":%" PRId64 ".%02" PRId64 "}",
                            order->id, order->customer, order->sequence, order->item, order->quantity,
                            order->cents / 100, order->cents % 100);
}

bool order_read(struct order *order, const leat_record *record)
{
    char text[ORDER_TEXT_MAX];
    int64_t whole, hundredths;
    int end = 0;
    if (record->value_size >= sizeof text)
        return false;
    memcpy(text, record->value, record->value_size);
    text[record->value_size] = 0;
    int got = sscanf(text,
                     "{\"order_id\":\"%23[^\"]\",\"customer\":\"%15[^\"]\",\"sequence\":%" SCNu32
                     ",\"item\":\"%23[^\"]\",\"quantity\":%" SCNu32 ",\"amount\":%" SCNd64 ".%" SCNd64 "}%n",
                     order->id, order->customer, &order->sequence, order->item, &order->quantity, &whole,
                     &hundredths, &end);
    order->cents = got == 7 ? whole * 100 + hundredths : 0;
    return got == 7 && (size_t)end == record->value_size && record->key_size == strlen(order->customer) &&
           memcmp(record->key, order->customer, record->key_size) == 0;
}
