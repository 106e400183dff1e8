/* Admin and hosting, as the manual shows them, in a program of their own. */
#include <leat.h>
#include <stdio.h>

int main(void)
{
    leat_host *host; /* a bus inside this program: threads, no fork; it ends with the program */
    leat_bus *bus;
    if (leat_host_start(&host, NULL) < 0 || leat_open(&bus, leat_host_path(host)) < 0)
        return fprintf(stderr, "leat: %s\n", leat_last_error(NULL)), 1;

    leat_topic_options topic =
        LEAT_TOPIC_OPTIONS; /* partitions, ring_size, level, on_full, partitioner, mode ... */
    topic.partitions = 6;
    int r = leat_topic_create(bus, "orders", &topic);
    leat_topic_info *info = NULL;
    if (r == 0)
        r = leat_topic_describe(bus, "orders", &info);
    if (r < 0 || !info)
        return fprintf(stderr, "orders: %s\n", leat_last_error(bus)), 1;
    printf("%s: %u partitions, %llu bytes\n", info->topic, info->partition_count,
           (unsigned long long)info->memory_bytes);
    leat_topic_info_free(info);
    leat_topic_delete(bus, "orders");

    leat_close(bus);
    leat_host_stop(host);
    return 0;
}
