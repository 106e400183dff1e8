/* The producer of the manual, word for word; tests/proc/examples_test.c runs it. */
#include <leat.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    leat_bus *bus;
    int r = leat_open(&bus, NULL); /* $LEAT_BUS, else the bus named "default" */
    if (r < 0)
        return fprintf(stderr, "leat: %s\n", leat_strerror(r)), 1;

    leat_producer_options options =
        LEAT_PRODUCER_OPTIONS; /* partitioner, exclusive, full_timeout_ms, on_delivered ... */
    leat_producer *out;
    r = leat_producer_open(&out, bus, "orders", &options);
    if (r < 0)
        return fprintf(stderr, "orders: %s\n", leat_last_error(bus)), 1; /* one line with values in it */

    const char *order = "{\"order_id\":\"order-1\",\"amount\":32.89}";
    leat_record record = { .key = "CUST-00042", .key_size = 10, .value = order, .value_size = strlen(order) };
    leat_receipt receipt;
    r = leat_producer_send(out, &record, &receipt); /* copies into the ring; never waits for a disk */
    if (r == 0)
        r = leat_producer_wait(out, &receipt, 10000); /* ms; acknowledged at the topic's level */
    if (r == 0)
        printf("partition %u offset %llu\n", receipt.partition, (unsigned long long)receipt.offset);

    /* In place: the value is written straight into shared memory. */
    leat_claim claim;
    r = leat_producer_claim(out, "CUST-00017", 10, 4096, &claim);
    if (r == 0) {
        memset(claim.value, 'x', 4096);
        r = leat_claim_commit(&claim, &receipt); /* or leat_claim_abort(&claim) */ // NOLINT
    }

    /* Many at once: one claim a partition, visible together. */
    leat_record batch[16];
    for (int i = 0; i < 16; i++)
        batch[i] = record;
    r = leat_producer_send_many(out, batch, 16, NULL); /* how many were accepted */ // NOLINT

    leat_producer_flush(out, 10000); /* ms; everything sent has reached its level */
    leat_producer_close(out);
    leat_close(bus);
}
