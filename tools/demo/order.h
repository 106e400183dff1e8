/* order: what a customer orders, and how it is written as JSON. */
#ifndef ORDER_H
#define ORDER_H

#include "demo.h"

enum { ORDER_TEXT_MAX = 256 };

struct order {
    char id[24];
    char customer[16]; /* the record's key: a customer's orders stay in order */
    char item[24];
    uint32_t sequence; /* 1, 2, 3 ... of each customer */
    uint32_t quantity;
    int64_t cents;
};

/* Whose order `number` (0, 1, 2 ...) is: 0 to CUSTOMERS - 1. */
int order_customer_of(uint64_t number);
/* That order; all follows from the number, but for the sequence, which also wants those before. */
void order_make(struct order *order, uint64_t number);
/* 0 to CUSTOMERS - 1, out of the customer's name; -1: no customer of ours. */
int order_customer(const struct order *order);
/* Returns the size. */
size_t order_write(const struct order *order, char text[ORDER_TEXT_MAX]);
/* Whether it is an order as order_write writes it. */
bool order_read(struct order *order, const leat_record *record);

#endif
