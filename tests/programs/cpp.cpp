// The same from C++: a host, a topic, a record there and back.
#include <leat.h>
#include <stdio.h>
#include <string.h>

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, leat_last_error(nullptr));
    return 1;
}

int main()
{
    leat_host *host = nullptr;
    leat_bus *bus = nullptr;
    if (leat_host_start(&host, nullptr) < 0 || leat_open(&bus, leat_host_path(host)) < 0)
        return failed("host");

    leat_topic_options topic = LEAT_TOPIC_OPTIONS;
    topic.partitions = 2;
    if (leat_topic_create(bus, "orders", &topic) < 0)
        return failed("create");

    leat_producer_options producer_options = LEAT_PRODUCER_OPTIONS;
    producer_options.full_timeout_ms = 1000;
    leat_producer *out = nullptr;
    if (leat_producer_open(&out, bus, "orders", &producer_options) < 0)
        return failed("producer");
    leat_record record = leat_record();
    record.key = "CUST-00042";
    record.key_size = 10;
    record.value = "order-1";
    record.value_size = 7;
    leat_receipt receipt;
    if (leat_producer_send(out, &record, &receipt) < 0)
        return failed("send");

    leat_consumer_options consumer_options = LEAT_CONSUMER_OPTIONS;
    consumer_options.reset = LEAT_EARLIEST;
    leat_consumer *in = nullptr;
    const char *names[] = { "orders" };
    const leat_record *records = nullptr;
    if (leat_consumer_open(&in, bus, &consumer_options) < 0 || leat_consumer_subscribe(in, names, 1) < 0 ||
        leat_consumer_poll(in, 1000, &records) != 1)
        return failed("consumer");
    printf("P%u @%llu %.*s\n", records[0].partition, (unsigned long long)records[0].offset,
           (int)records[0].value_size, static_cast<const char *>(records[0].value));

    leat_close(bus); // closes producer and consumer first
    leat_host_stop(host);
    return 0;
}
