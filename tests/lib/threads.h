/* Threads in tests: started and joined in one line, and seen to be asleep.
 *
 * Knows nothing of leat. */
#ifndef TEST_THREADS_H
#define TEST_THREADS_H

#include <pthread.h>
#include <stdint.h>

/* A thread that fails the test when it cannot be started or joined. */
pthread_t thread_start(void *(*run)(void *), void *argument);
void *thread_join(pthread_t thread);

/* This thread's number for the kernel. */
int32_t thread_id(void);

/* Returns once the kernel says that thread `id` of this process sleeps. The number is read anew until it is not 0. */
void thread_wait_asleep(const int32_t *id);

#endif
