/* The manual's programs, as they stand.
 *
 * Goal: what the manual shows compiles (in C, and what is for it in C++), runs, and does what it says.
 * Method: the build compiles tests/programs; the test runs them against a bus and looks at what they printed and sent.
 */
#include "bus.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs a program with this LEAT_BUS to its end, which is to be a good one; returns what it printed. */
static const char *run_example(const struct bus *bus, const char *name, const char *argument)
{
    const char *const argv[] = { text("%s/%s", test_program("LEAT_TEST_PROGRAMS"), name), argument, NULL };
    const char *output;
    if (bus)
        setenv("LEAT_BUS", bus->path, 1);
    int status = run_program(argv, &output);
    unsetenv("LEAT_BUS");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        FAIL("%s ended with wait status 0x%x: %s", name, (unsigned)status, output);
    return output;
}

TEST(producer_of_the_manual_sends_its_eighteen_records)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "orders", .partitions = 6);
    const char *said = run_example(bus, "producer", NULL);
    unsigned partition;
    unsigned long long offset;
    CHECK_EQ(sscanf(said, "partition %u offset %llu\n", &partition, &offset), 2);
    CHECK_EQ(offset, 0);
    leat_bus *handle = bus_open(bus);
    leat_consumer *consumer = open_reader(handle, "orders", NULL);
    int large = 0, small = 0, n;
    const leat_record *records;
    while ((n = CHECK_OK(leat_consumer_poll(consumer, 0, &records))) > 0)
        for (int i = 0; i < n; i++) {
            CHECK_EQ(records[i].key_size, 10);
            if (records[i].value_size == 4096) {
                CHECK_MEM(records[i].key, "CUST-00017", 10);
                CHECK_EQ(((const unsigned char *)records[i].value)[4095], 'x');
                large++;
            } else {
                CHECK_MEM(records[i].key, "CUST-00042", 10);
                CHECK_EQ(records[i].partition, partition);
                small++;
            }
        }
    CHECK_EQ(large, 1);
    CHECK_EQ(small, 17);
    leat_close(handle);
}

TEST(producer_of_the_manual_says_what_is_wrong)
{
    const char *const argv[] = { text("%s/producer", test_program("LEAT_TEST_PROGRAMS")), NULL };
    const char *output;
    setenv("LEAT_BUS", text("%s/nothing", test_dir()), 1);
    int status = run_program(argv, &output);
    CHECK_EQ(WEXITSTATUS(status), 1);
    CHECK(strncmp(output, "leat: ", 6) == 0 && strlen(output) > 10);

    struct bus *bus = bus_start();
    setenv("LEAT_BUS", bus->path, 1);
    status = run_program(argv, &output);
    CHECK_EQ(WEXITSTATUS(status), 1);
    CHECK(strncmp(output, "orders: ", 8) == 0 && strlen(output) > 12);
}

TEST(consumer_of_the_manual_reads_on_its_own)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "orders");
    run_example(bus, "producer", NULL);
    const char *said = run_example(bus, "consumer", "1");
    CHECK(strstr(said, "1 partition: position 0 end 18 lag 18, a descriptor\n"));
    CHECK(strstr(said, "P0 @0 {\"order_id\":\"order-1\",\"amount\":32.89}\n"));
}

TEST(consumer_of_the_manual_ends_when_it_is_interrupted)
{
    struct bus *bus = bus_start();
    bus_topic(bus, "orders");
    int ends[2];
    char output[512];
    CHECK_EQ(pipe(ends), 0);
    const char *program = text("%s/consumer", test_program("LEAT_TEST_PROGRAMS"));
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        setenv("LEAT_BUS", bus->path, 1);
        execl(program, "consumer", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    size_t size = 0;
    ssize_t got;
    bool interrupted = false;
    while ((got = read(ends[0], output + size, sizeof output - 1 - size)) > 0) {
        size += (size_t)got;
        if (!interrupted) { /* its first line: it is set up */
            leat_bus *handle = bus_open(bus);
            leat_producer *producer = open_producer(handle, "orders", NULL);
            CHECK_OK(leat_producer_send(producer, &(leat_record){ .value = "one", .value_size = 3 }, NULL));
            leat_close(handle);
            interrupted = true;
        } else if (memmem(output, size, "one", 3)) {
            CHECK_EQ(kill(pid, SIGINT), 0);
        }
    }
    output[size] = 0;
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(strstr(output, "P0 @0 one\ninterrupted\n"));
}

TEST(host_of_the_manual_needs_no_bus)
{
    const char *said = run_example(NULL, "host", NULL);
    CHECK(strncmp(said, "orders: 6 partitions, ", 22) == 0);
}

TEST(program_in_cpp_hosts_sends_and_reads)
{
    const char *said = run_example(NULL, "cpp", NULL);
    CHECK(strstr(said, " @0 order-1\n"));
}
