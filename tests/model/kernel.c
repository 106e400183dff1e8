/* kernel: system calls and locks as steps of the explorer. */
#include "actors.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"

int lt_futex_wait(const uint32_t *word, uint32_t value, int64_t timeout_ns)
{
    (void)timeout_ns;
    uint8_t loc = memory_loc(word);
    self->op.value = value;
    model_yield(OP_FUTEX_WAIT, loc, MODEL_ACQUIRE);
    memory_flush(self->id);
    int r = 0;
    /* The kernel looks under its lock, behind a full fence: a waker that stored before sees the waiter, or is seen. */
    if ((uint32_t)memory_latest_loc(loc) == value) {
        if (tracing)
            model_trace("%c: sleeps on %s\n", 'a' + (int)self->id, memory_name(loc));
        model_yield(OP_ASLEEP, loc, MODEL_ACQUIRE);
        r = self->op.timed_out ? -1 : 0;
    }
    memory_see_latest(loc);
    self->op.value = 0;
    self->op.timed_out = 0;
    return r;
}

int lt_futex_wake(uint32_t *word)
{
    uint8_t loc = memory_loc(word);
    model_yield(OP_FUTEX_WAKE, loc, MODEL_RELEASE);
    memory_flush(self->id);
    int woken = 0;
    for (uint32_t a = 0; a < actor_count; a++) {
        struct actor *actor = &world.actors[a];
        if (actor->life == LIVES && actor->op.kind == OP_ASLEEP && actor->op.loc == loc) {
            actor->op.kind = OP_WOKEN;
            memory_join(a, self->id);
            woken++;
        }
    }
    if (tracing)
        model_trace("%c: wakes %d on %s\n", 'a' + (int)self->id, woken, memory_name(loc));
    return woken;
}

void lt_membarrier(void)
{
    model_yield(OP_MEMBARRIER, 0, MODEL_RELAXED);
    memory_everybody(self->id);
    if (tracing)
        model_trace("%c: membarrier\n", 'a' + (int)self->id);
}

/* Under this lock leatd's threads work on their tables. */
void lock_tables(void)
{
    if (!config->bells)
        return;
    model_yield(OP_LOCK, 0, MODEL_ACQUIRE);
    world.notes.lock = self->id + 1;
    for (uint32_t a = 0; a < actor_count; a++)
        if (world.actors[a].kind == LEATD || world.actors[a].kind == WARDEN)
            memory_join(self->id, a);
    memory_flush(self->id);
}

void unlock_tables(void)
{
    if (!config->bells)
        return;
    memory_flush(self->id); /* a locked operation, or on its way to a futex */
    world.notes.lock = 0;
}

void knock(void)
{
    if (config->bells)
        lt_bells_knock(&shared->bells, 0);
    else
        world.notes.knocked = true;
}

int64_t lt_clock_mono_ns(void)
{
    return 0;
}

int(lt_fail)(int error, const char *format, ...)
{
    (void)format;
    return error;
}
