/* ledger: see ledger.h. */
#include "ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- the file ---- */

static int map_file(struct ledger *ledger, const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *file = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, sizeof(struct ledger_file)) == 0)
        file = mmap(NULL, sizeof(struct ledger_file), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (file == MAP_FAILED)
        fprintf(stderr, "demo: %s: %s\n", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    ledger->file = file;
    return file == MAP_FAILED ? LEAT_EIO : 0;
}

/* ---- the log ---- */

static void find_order(struct ledger *ledger, const leat_record *record)
{
    struct order order;
    int customer = order_read(&order, record) ? order_customer(&order) : -1;
    /* One that is missing or out of order in the middle is for the counter to see. */
    if (customer >= 0 && order.sequence > ledger->found[customer])
        ledger->found[customer] = order.sequence;
}

/* 1: it has all been read. */
static int is_at_end(leat_consumer *in)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        int64_t position = leat_consumer_position(in, DEMO_TOPIC, p);
        int64_t end = leat_consumer_end_offset(in, DEMO_TOPIC, p);
        if (position < 0 || end < 0)
            return (int)(position < 0 ? position : end);
        if (position < end)
            return 0;
    }
    return 1;
}

static int read_to_end(struct ledger *ledger, leat_consumer *in)
{
    int at_end;
    while ((at_end = is_at_end(in)) == 0) {
        const leat_record *records;
        int n = leat_consumer_poll(in, 1000, &records);
        if (n < 0)
            return n;
        for (int i = 0; i < n; i++)
            find_order(ledger, &records[i]);
    }
    return at_end < 0 ? at_end : 0;
}

static int read_log(struct ledger *ledger, leat_bus *bus)
{
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    leat_partition parts[PARTITIONS];
    leat_consumer *in = NULL;
    options.reset = LEAT_EARLIEST;
    for (uint32_t p = 0; p < PARTITIONS; p++)
        parts[p] = (leat_partition){ DEMO_TOPIC, p };
    int r = leat_consumer_open(&in, bus, &options);
    if (r >= 0)
        r = leat_consumer_assign(in, parts, PARTITIONS);
    if (r >= 0)
        r = read_to_end(ledger, in);
    if (r < 0)
        complain("ledger", bus, r);
    leat_consumer_close(in);
    return r < 0 ? r : 0;
}

/* What is in the log stays there, so it is noted as if it had been acknowledged now. */
static void compare(struct ledger *ledger)
{
    struct ledger_file *file = ledger->file;
    for (int c = 0; c < CUSTOMERS; c++) {
        if (file->acknowledged[c] > ledger->found[c])
            file->missing += file->acknowledged[c] - ledger->found[c];
        file->acknowledged[c] = ledger->found[c];
        ledger->sent += ledger->found[c];
    }
}

int ledger_open(struct ledger *ledger, leat_bus *bus, const char *path)
{
    *ledger = (struct ledger){ 0 };
    for (int p = 0; p < PARTITIONS; p++)
        if (!(ledger->pending[p] = calloc(PENDING_MAX, sizeof(struct pending))))
            return LEAT_ENOMEM;
    int r = map_file(ledger, path);
    if (r >= 0)
        r = read_log(ledger, bus);
    if (r >= 0)
        compare(ledger);
    return r;
}

/* ---- orders ---- */

void ledger_draw(struct ledger *ledger, struct order *order)
{
    int customer;
    do
        customer = order_customer_of(ledger->next++);
    while (++ledger->drawn[customer] <= ledger->found[customer]);
    order_make(order, ledger->next - 1);
    order->sequence = ledger->drawn[customer];
}

bool ledger_is_full(const struct ledger *ledger)
{
    for (int p = 0; p < PARTITIONS; p++)
        if (ledger->last[p] - ledger->first[p] == PENDING_MAX)
            return true;
    return false;
}

void ledger_await(struct ledger *ledger, const struct order *order, const leat_receipt *receipt)
{
    uint32_t p = receipt->partition;
    ledger->pending[p][ledger->last[p]++ % PENDING_MAX] = (struct pending){ receipt->offset,
                                                                            order_customer(order) };
}

void ledger_delivered(const leat_receipt *receipt, int error, void *user)
{
    struct ledger *ledger = user;
    if (error == 0)
        ledger->delivered[receipt->partition] = receipt->offset + 1;
    else if (ledger->error == 0)
        ledger->error = error;
}

static void settle_partition(struct ledger *ledger, int p)
{
    while (ledger->first[p] != ledger->last[p]) {
        const struct pending *pending = &ledger->pending[p][ledger->first[p] % PENDING_MAX];
        if (pending->offset >= ledger->delivered[p])
            break;
        ledger->file->acknowledged[pending->customer]++;
        ledger->sent++;
        ledger->first[p]++;
    }
}

int ledger_settle(struct ledger *ledger)
{
    for (int p = 0; p < PARTITIONS; p++)
        settle_partition(ledger, p);
    return ledger->error;
}
