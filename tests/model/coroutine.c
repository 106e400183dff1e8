/* coroutine: see coroutine.h. */
#include "coroutine.h"

#include <string.h>

#if defined(__x86_64__)

#define SAVED 6

__asm__(".text\n"
        ".globl coroutine_switch\n"
        ".type coroutine_switch, @function\n"
        "coroutine_switch:\n"
        "    push %rbp\n"
        "    push %rbx\n"
        "    push %r12\n"
        "    push %r13\n"
        "    push %r14\n"
        "    push %r15\n"
        "    mov %rsp, (%rdi)\n"
        "    mov %rsi, %rsp\n"
        "    pop %r15\n"
        "    pop %r14\n"
        "    pop %r13\n"
        "    pop %r12\n"
        "    pop %rbx\n"
        "    pop %rbp\n"
        "    ret\n"
        ".size coroutine_switch, . - coroutine_switch\n");

void *coroutine_prepare(void *top, void (*entry)(void))
{
    uint64_t *sp = (uint64_t *)top;
    *--sp = 0; /* entry() is called, not jumped to: its stack is off by 8 */
    *--sp = (uint64_t)(uintptr_t)entry;
    sp -= SAVED;
    memset(sp, 0, SAVED * sizeof *sp);
    return sp;
}

#elif defined(__aarch64__)

#define SAVED 20 /* x19-x30, d8-d15 */

__asm__(".text\n"
        ".globl coroutine_switch\n"
        ".type coroutine_switch, %function\n"
        "coroutine_switch:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp]\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n"
        "    mov sp, x1\n"
        "    ldp x19, x20, [sp]\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    ret\n"
        ".size coroutine_switch, . - coroutine_switch\n");

void *coroutine_prepare(void *top, void (*entry)(void))
{
    uint64_t *sp = (uint64_t *)top - SAVED;
    memset(sp, 0, SAVED * sizeof *sp);
    sp[11] = (uint64_t)(uintptr_t)entry; /* x30 */
    return sp;
}

#else
#error "the explorer wants a context switch for this processor"
#endif
