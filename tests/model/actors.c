/* actors: turn after turn of whoever an actor is. */
#include "actors.h"

void actor_main(struct actor *actor)
{
    static bool (*const once[])(struct actor *) = {
        [PRODUCER] = producer_once, [CONSUMER] = consumer_once, [LEATD] = leatd_once,
        [WARDEN] = warden_once,     [MEMBER] = member_once,     [COORDINATOR] = coordinator_once,
    };
    while (once[actor->kind](actor)) {
        /* Leftovers of the last turn in saved registers must not tell states apart. */
#if defined(__x86_64__)
        __asm__ volatile("xor %%ebx, %%ebx\n xor %%r12d, %%r12d\n xor %%r13d, %%r13d\n xor %%r14d, %%r14d\n"
                         "xor %%r15d, %%r15d" ::
                             : "rbx", "r12", "r13", "r14", "r15", "cc");
#endif
    }
}
