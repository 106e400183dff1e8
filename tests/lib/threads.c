#include "threads.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "test.h"

pthread_t thread_start(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, run, argument), 0);
    return thread;
}

void *thread_join(pthread_t thread)
{
    void *result;
    CHECK_EQ(pthread_join(thread, &result), 0);
    return result;
}

int32_t thread_id(void)
{
    return (int32_t)syscall(SYS_gettid);
}

static char state_of(int32_t id)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)id);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return '?';
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    text[size > 0 ? size : 0] = 0;
    const char *end = strrchr(text, ')');
    return end && end[1] ? end[2] : '?';
}

void thread_wait_asleep(const int32_t *id)
{
    for (;;) {
        int32_t now = __atomic_load_n(id, __ATOMIC_ACQUIRE);
        if (now != 0 && state_of(now) == 'S')
            return;
        sched_yield();
    }
}
