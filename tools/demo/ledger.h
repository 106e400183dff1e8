/* ledger: what the producer knows of each customer's orders, over all lives of the demo.
 *
 * What counts as sent: an order that the topic has acknowledged, at the topic's level. Its number says all about an order (whose
 * it is, what it is, which of that customer's), and the key map keeps a customer's orders in one partition, where they
 * are acknowledged in their order. So a life begins by reading the whole log: it finds the first so many orders of each
 * customer, and each number that is not among them is (again) to be sent.
 *
 *   acknowledged, and noted in the file   was sent. It has to be in the log: where it is not, it is lost, sent again or not
 *   in the log, and not noted             was sent too: the death came before the note, and the groups get it like any other
 *   in neither                            was not sent: it is now, as the same order
 *
 * The file is mapped memory with one word a customer, so a note is a store. That outlives any process; a power cut may take the
 * last notes, which then claim less than was sent.
 */
#ifndef LEDGER_H
#define LEDGER_H

#include "order.h"

enum { PENDING_MAX = 1 << 16 }; /* of one partition */

struct pending {
    uint64_t offset;
    int customer;
};

struct ledger_file {
    uint32_t acknowledged[CUSTOMERS];
    uint32_t missing; /* were noted above by a life before, and then not in the log */
};

struct ledger {
    struct ledger_file *file;
    uint32_t found[CUSTOMERS];      /* in the log, when this life began */
    uint32_t drawn[CUSTOMERS];      /* come up in this life, found ones among them */
    uint64_t next;                  /* number that comes up next */
    uint64_t sent;                  /* acknowledged, of all customers */
    uint64_t delivered[PARTITIONS]; /* the offset below which all is acknowledged */
    struct pending *pending[PARTITIONS];
    uint32_t first[PARTITIONS], last[PARTITIONS]; /* of pending, ever-growing */
    int error;                                    /* of a delivery that failed */
};

/* Reads the log, and the file, which is made when it is not there. 0, or an error that has been said. */
int ledger_open(struct ledger *ledger, leat_bus *bus, const char *path);
/* The next order that is not in the log yet. */
void ledger_draw(struct ledger *ledger, struct order *order);
/* It was sent, and will be acknowledged. Only while the ledger is not full. */
void ledger_await(struct ledger *ledger, const struct order *order, const leat_receipt *receipt);
/* So many are under way that some have to be waited for first. */
bool ledger_is_full(const struct ledger *ledger);
/* A leat_delivered_fn; user: the ledger. It may come from within the send of the very record, so it is only noted here. */
void ledger_delivered(const leat_receipt *receipt, int error, void *user);
/* Notes what was acknowledged. 0, or the error of a delivery. */
int ledger_settle(struct ledger *ledger);

#endif
