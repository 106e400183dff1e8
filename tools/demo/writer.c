/* A producer process of the demo. It may be killed at any instruction; whoever comes after it goes on behind its last
 * record.
 *
 * Why every record arrives exactly once, although the killed one cannot say how far it was:
 *  - Records are sent in order, one send each, by one producer at a time. A send that returned is in the bus; so when
 *    the bus has record n, all before n are there too, whatever their partitions.
 *  - A record is in the bus whole or not at all. The one that was being sent at the moment of the kill is there if its
 *    commit was done, and otherwise never will be.
 *  - The new producer first waits until leatd has cleared the dead client: then that is decided, whatever the kill left
 *    half done. After that it reads what the rings still hold, takes the highest number, and goes on with the next.
 * So the bus itself remembers how far the producer came; nobody else has to.
 */
#include "demo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static void sleep_until(int64_t ns)
{
    struct timespec due = { ns / INT64_C(1000000000), ns % INT64_C(1000000000) };
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

/* A dead client is listed until all that it held is freed and all that it had begun is decided. */
static int await_cleared(leat_bus *bus, pid_t predecessor)
{
    for (;;) {
        leat_status_info *status;
        int r = leat_status(bus, &status);
        if (r < 0)
            return r;
        bool listed = false;
        for (uint32_t i = 0; i < status->clients; i++)
            listed |= status->client[i].pid == predecessor;
        leat_status_free(status);
        if (!listed)
            return 0;
        sleep_until(now_ns() + 200000);
    }
}

static void note_highest(const leat_record *record, uint64_t *next)
{
    struct stamp stamp;
    if (record->header_count != 1 || record->headers[0].value_size != sizeof stamp)
        return;
    memcpy(&stamp, record->headers[0].value, sizeof stamp);
    if (stamp.number >= *next)
        *next = stamp.number + 1;
}

static int read_partition(leat_consumer *in, uint32_t partition, uint64_t *next)
{
    int r = leat_consumer_assign(in, (leat_partition[]){ { DEMO_TOPIC, partition } }, 1);
    if (r >= 0)
        r = leat_consumer_seek(in, DEMO_TOPIC, partition, LEAT_BEGINNING);
    int64_t end = leat_consumer_end_offset(in, DEMO_TOPIC, partition);
    while (r >= 0 && leat_consumer_position(in, DEMO_TOPIC, partition) < end) {
        const leat_record *records;
        r = leat_consumer_poll(in, 10, &records);
        for (int i = 0; i < r; i++)
            note_highest(&records[i], next);
    }
    return r;
}

/* Reads all that the rings still hold: nobody writes now, so each has an end, and a ring always keeps its last records.
 * From the first one on, and not just the last: there may be gaps at the end, which are no records. */
static int find_next(leat_bus *bus, uint64_t *next)
{
    leat_consumer *in;
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.reset = LEAT_EARLIEST;
    *next = 0;
    int r = leat_consumer_open(&in, bus, &options);
    for (uint32_t p = 0; r >= 0 && p < PARTITIONS; p++)
        r = read_partition(in, p, next);
    leat_consumer_close(in);
    return r;
}

static int send_record(leat_producer *out, const struct input *input, uint64_t number)
{
    const struct line *line = input_line(input, number);
    const struct key *key = &input->keys[line->key];
    struct stamp stamp = { number, input_of_key(input, number), now_ns() };
    leat_header header = { "stamp", 5, &stamp, sizeof stamp };
    leat_record record = {
        .key = key->name,
        .key_size = key->size,
        .value = line->text,
        .value_size = line->size,
        .headers = &header,
        .header_count = 1,
    };
    return leat_producer_send(out, &record, NULL);
}

static int send_all(struct board *board, const struct input *input, leat_producer *out, uint64_t from,
                    uint64_t to)
{
    int64_t begin_ns = now_ns();
    prctl(PR_SET_TIMERSLACK, 1);
    for (uint64_t number = from; number < to; number++) {
        if (number >= board->flood)
            sleep_until(begin_ns + (int64_t)((double)(number - from) * 1e9 / board->rate));
        int r = send_record(out, input, number);
        if (r < 0)
            return r;
        board->sent = number + 1;
    }
    return 0;
}

int writer_main(struct board *board, const struct input *input, uint64_t to, pid_t predecessor, int tell_fd)
{
    leat_bus *bus;
    leat_producer *out = NULL;
    uint64_t next = 0;
    int r = leat_open(&bus, board->bus);
    if (r >= 0 && predecessor)
        r = await_cleared(bus, predecessor);
    if (r >= 0)
        r = find_next(bus, &next);
    if (r >= 0)
        r = leat_producer_open(&out, bus, DEMO_TOPIC, NULL);
    if (r >= 0) {
        tell(tell_fd, next);
        r = send_all(board, input, out, next, to);
    }
    if (r < 0)
        complain("producer", bus, r);
    int closed = leat_producer_close(out);
    leat_close(bus);
    return r < 0 || closed < 0;
}
