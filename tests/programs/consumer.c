/* A consumer on its own, as the manual shows it: every record of "orders" from the first on, one a line, until
 * it is interrupted or the number given as an argument came. */
#include <leat.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static leat_consumer *in;
static void stop(int sig)
{
    (void)sig;
    leat_consumer_wakeup(in); /* async-signal-safe */
}

int main(int argc, char **argv)
{
    long left = argc > 1 ? atol(argv[1]) : -1;
    leat_bus *bus;
    if (leat_open(&bus, NULL) < 0)
        return fprintf(stderr, "leat: %s\n", leat_last_error(NULL)), 1;
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.reset = LEAT_EARLIEST;
    if (leat_consumer_open(&in, bus, &options) < 0)
        return 1;
    leat_consumer_subscribe(in, (const char *[]){ "orders" },
                            1); /* without a group: every partition, new ones too */
    leat_consumer_assign(in, (leat_partition[]){ { "orders", 0 } }, 1);
    leat_consumer_seek(in, "orders", 0,
                       LEAT_BEGINNING); /* LEAT_END, an offset; leat_consumer_seek_time(..., ms) */
    leat_consumer_pause(in, "orders", 0);
    leat_consumer_resume(in, "orders", 0);
    int64_t next = leat_consumer_position(in, "orders", 0);
    int64_t end = leat_consumer_end_offset(in, "orders", 0), lag = leat_consumer_lag(in, "orders", 0);
    const leat_partition *partitions;
    int count = leat_consumer_assignment(in, &partitions);
    int fd = leat_consumer_fd(in); /* readable when poll(0) has something: for the caller's own epoll loop */
    printf("%d partition: position %lld end %lld lag %lld, %s\n", count, (long long)next, (long long)end,
           (long long)lag, fd >= 0 ? "a descriptor" : "no descriptor");
    fflush(stdout);
    signal(SIGINT, stop);

    const leat_record *records;
    int n = 0;
    while (left != 0 &&
           (n = leat_consumer_poll(in, 1000, &records)) >= 0) { /* ms; views, valid until the next poll */
        for (int i = 0; i < n && left != 0; i++, left--)
            printf("P%u @%llu %.*s\n", records[i].partition, (unsigned long long)records[i].offset,
                   (int)records[i].value_size, (const char *)records[i].value);
        fflush(stdout);
    }
    if (n == LEAT_EWAKEUP)
        printf("interrupted\n");
    leat_consumer_close(in);
    leat_close(bus);
    return n < 0 && n != LEAT_EWAKEUP;
}
