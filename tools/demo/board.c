/* The board, which parent, readers and producers of the demo map in common, and other small things that all of them use. */
#include "demo.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static void *common_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED)
        return memory;
    perror("demo: mmap");
    exit(1);
}

struct board *board_make(uint64_t flood, uint64_t paced, double rate)
{
    struct board *board = common_memory(sizeof *board);
    board->flood = flood;
    board->total = flood + paced;
    board->rate = rate;
    for (int i = 0; i < PARTITIONS; i++) {
        board->results[i].seen = common_memory(board->total / 8 + 1);
        board->results[i].latencies_ns = common_memory((paced + 1) * sizeof(int64_t));
        board->results[i].latency_room = paced;
    }
    return board;
}

int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void complain(const char *who, leat_bus *bus, int error)
{
    const char *text = leat_last_error(bus);
    fprintf(stderr, "demo: %s: %s\n", who, *text ? text : leat_strerror(error));
}

void tell(int fd, uint64_t number)
{
    if (write(fd, &number, sizeof number) != sizeof number)
        _exit(1); /* the parent is gone */
}
