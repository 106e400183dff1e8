/* A reader process of the demo: one partition, read from its first record on, every record looked at.
 *
 * It is a gate (options.gate): the bus overwrites nothing that it has not read, and so a producer that is faster waits
 * for it. SIGTERM means that nothing more will be sent: it reads up to the end, and ends.
 */
#include "demo.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static leat_consumer *in;

static void stop(int sig)
{
    (void)sig;
    leat_consumer_wakeup(in);
}

struct reader {
    const struct board *board;
    const struct input *input;
    struct result *result;
    uint64_t *next_of_key;
};

static void on_missed(leat_consumer *consumer, const leat_partition *partition, uint64_t from_offset,
                      uint64_t count, void *user)
{
    (void)consumer, (void)partition, (void)from_offset;
    struct reader *reader = user;
    reader->result->missed += count;
}

/* The stamp that a record carries, when all of the record is as it was sent. */
static bool read_stamp(const struct reader *reader, const leat_record *record, struct stamp *stamp)
{
    if (record->header_count != 1 || record->headers[0].value_size != sizeof *stamp)
        return false;
    memcpy(stamp, record->headers[0].value, sizeof *stamp);
    if (stamp->number >= reader->board->total)
        return false;
    const struct line *line = input_line(reader->input, stamp->number);
    const struct key *key = &reader->input->keys[line->key];
    return record->key_size == key->size && memcmp(record->key, key->name, key->size) == 0 &&
           record->value_size == line->size && memcmp(record->value, line->text, line->size) == 0 &&
           stamp->of_key == input_of_key(reader->input, stamp->number);
}

static void look_at(struct reader *reader, const leat_record *record, int64_t polled_ns)
{
    struct result *result = reader->result;
    struct stamp stamp;
    result->received++;
    if (!read_stamp(reader, record, &stamp)) {
        result->damaged++;
        return;
    }
    result->seen[stamp.number / 8] |= (uint8_t)(1 << stamp.number % 8);

    uint64_t *next = &reader->next_of_key[input_line(reader->input, stamp.number)->key];
    result->keys += *next == 0;
    result->out_of_order += stamp.of_key != *next;
    *next = stamp.of_key + 1;

    if (stamp.number >= reader->board->flood && result->latency_count < result->latency_room)
        result->latencies_ns[result->latency_count++] = polled_ns - stamp.sent_ns;
}

/* LEAT_EWAKEUP, or an error. */
static int read_on(struct reader *reader)
{
    const leat_record *records;
    int n;
    while ((n = leat_consumer_poll(in, -1, &records)) >= 0) {
        int64_t polled_ns = now_ns();
        for (int i = 0; i < n; i++)
            look_at(reader, &records[i], polled_ns);
    }
    return n;
}

/* What is still there. Gaps that a killed producer left are stepped over by poll: drained means position == end. */
static int read_out(struct reader *reader, uint32_t partition)
{
    const leat_record *records;
    int64_t end = leat_consumer_end_offset(in, DEMO_TOPIC, partition);
    while (leat_consumer_position(in, DEMO_TOPIC, partition) < end) {
        int n = leat_consumer_poll(in, 100, &records);
        if (n < 0)
            return n;
        int64_t polled_ns = now_ns();
        for (int i = 0; i < n; i++)
            look_at(reader, &records[i], polled_ns);
    }
    return end < 0 ? (int)end : 0;
}

static int attach(struct reader *reader, leat_bus *bus, uint32_t partition)
{
    char client_id[32];
    snprintf(client_id, sizeof client_id, "demo-reader-%u", partition);
    leat_consumer_options options = LEAT_CONSUMER_OPTIONS;
    options.gate = 1;
    options.reset = LEAT_EARLIEST;
    options.client_id = client_id;
    options.on_missed = on_missed;
    options.user = reader;
    int r = leat_consumer_open(&in, bus, &options);
    if (r >= 0)
        r = leat_consumer_assign(in, (leat_partition[]){ { DEMO_TOPIC, partition } }, 1);
    if (r >= 0)
        r = leat_consumer_seek(in, DEMO_TOPIC, partition, LEAT_BEGINNING);
    return r;
}

int reader_main(struct board *board, const struct input *input, uint32_t partition, int tell_fd)
{
    struct reader reader = {
        .board = board,
        .input = input,
        .result = &board->results[partition],
        .next_of_key = calloc(input->key_count, sizeof(uint64_t)),
    };
    leat_bus *bus;
    int r = leat_open(&bus, board->bus);
    if (r >= 0)
        r = attach(&reader, bus, partition);
    if (r >= 0) {
        signal(SIGTERM, stop);
        tell(tell_fd, partition);
        r = read_on(&reader);
    }
    if (r == LEAT_EWAKEUP)
        r = read_out(&reader, partition);
    if (r < 0)
        complain("reader", bus, r);
    signal(SIGTERM, SIG_IGN);
    leat_consumer_close(in);
    leat_close(bus);
    free(reader.next_of_key);
    return r < 0;
}
