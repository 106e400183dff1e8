/* coroutine: two stacks and one switch between them. Saves what the calling convention says a call keeps. */
#ifndef TESTS_MODEL_COROUTINE_H
#define TESTS_MODEL_COROUTINE_H

#include <stdint.h>

/* Leaves *save so that a later switch to it returns from this call; goes on at `to`. */
void coroutine_switch(void **save, void *to);
/* A stack pointer from which a switch enters entry(), with all saved registers 0. `top`: the stack's end, 16-aligned. */
void *coroutine_prepare(void *top, void (*entry)(void));

#endif
