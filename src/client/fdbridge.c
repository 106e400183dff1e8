/* fdbridge: a descriptor for the caller's own event loop: an eventfd, and one thread that waits on the consumer's bell for it.
 *
 *   poll() returns 0     read the eventfd empty, arm the bell, membarrier, look once more, hand the armed value to the thread
 *   the bell is rung     the thread writes the eventfd, and waits to be handed the next value
 *   poll() returns more  nothing: the descriptor stays readable, or the thread waits still
 *   seek, resume, assign ring the bell: what they bring back nobody publishes
 *
 * A member of a group lives as long as it polls: while the descriptor is silent there is nothing to poll for, and the thread says so
 * in its place. A readable descriptor that nobody polls is a hang. When an automatic commit is due it says that there is something to
 * poll for; so it does some ms after a poll that met a log which leatd has not opened yet.
 *
 * So the looks are all made by whoever polls, and the thread touches nothing of the consumer but the bell, and a member's count of polls. It is
 * bell.h's waiter in two halves: steps 1 to 3 here, step 4 there. A poll that sleeps uses the same bell and then leaves its
 * flag on, since the thread may be counting on it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/futex.h"
#include "client/consumer.h"
#include "client/member.h"

#define STACK_BYTES (128u << 10)

struct lt_bridge {
    pthread_t thread;
    int fd;
    struct lt_bell *bell;
    struct lt_member *member; /* NULL without a group */
    uint64_t nap_ns;          /* the thread waits at most so long before it looks at due_ms */
    uint64_t due_ms;          /* there is something to poll for then; 0: no such time */
    uint32_t armed;           /* the bell's value to wait on; written before `turn` */
    uint32_t turn;            /* [bridge.turn] futex: 1: the thread's; 0: whoever polls; 2: the end */
};

enum { POLLERS = 0, THREADS = 1, STOP = 2 };

static void signal_fd(const struct lt_bridge *bridge)
{
    uint64_t one = 1;
    ssize_t r = write(bridge->fd, &one, sizeof one);
    (void)r; /* full is readable */
}

static bool is_due(const struct lt_bridge *bridge)
{
    /* relaxed: a number; what is due is the poller's to know. */
    uint64_t due_ms = lt_load_relaxed64(&bridge->due_ms);
    return due_ms != 0 && (uint64_t)lt_clock_mono_coarse_ms() >= due_ms;
}

static void *run(void *argument)
{
    struct lt_bridge *bridge = argument;
    prctl(PR_SET_NAME, "leat-fd");
    for (;;) {
        uint32_t turn = lt_load_acquire32(&bridge->turn); /* [bridge.turn] */
        if (turn == STOP)
            return NULL;
        if (turn == POLLERS) {
            lt_futex_wait(&bridge->turn, POLLERS, -1);
            continue;
        }
        /* Bounded: a wake that somebody kept to himself costs one bound, and a look by the caller. */
        lt_bell_wait(bridge->bell, bridge->armed, (int64_t)lt_load_relaxed64(&bridge->nap_ns));
        if (lt_load_acquire32(&bridge->bell->word) == bridge->armed &&
            lt_load_acquire32(&bridge->turn) == THREADS && !is_due(bridge)) {
            if (bridge->member != NULL)
                lt_member_beat(bridge->member);
            continue;
        }
        if (lt_cas32(&bridge->turn, &(uint32_t){ THREADS }, POLLERS))
            signal_fd(bridge);
    }
}

/* When the next poll is due though nobody rings. Whether the thread, if it waits already, waits too long for that. */
static bool set_due(leat_consumer *c)
{
    struct lt_bridge *bridge = c->bridge;
    uint64_t due_ms = c->member != NULL && c->member->dirty ? (uint64_t)c->member->due_ms : 0;
    uint64_t nap_ns = (uint64_t)c->sleep_ns, before_ns = lt_load_relaxed64(&bridge->nap_ns);
    uint64_t retry_ms = (uint64_t)lt_clock_mono_coarse_ms() + LT_CATCHUP_RETRY_MS;
    if (c->retry && (due_ms == 0 || due_ms > retry_ms))
        due_ms = retry_ms;
    if (c->retry && nap_ns > LT_CATCHUP_RETRY_MS * 1000000ull)
        nap_ns = LT_CATCHUP_RETRY_MS * 1000000ull;
    lt_store_relaxed64(&bridge->due_ms, due_ms);
    lt_store_relaxed64(&bridge->nap_ns, nap_ns);
    return nap_ns < before_ns;
}

int lt_bridge_rest(leat_consumer *c)
{
    struct lt_bridge *bridge = c->bridge;
    uint64_t count;
    if (set_due(c) && lt_load_acquire32(&bridge->turn) == THREADS)
        lt_bell_ring(c->bell);
    /* The thread waits already, and nobody has rung since: whatever was published since would have. */
    if (lt_load_acquire32(&bridge->turn) == THREADS && lt_load_acquire32(&c->bell->word) == bridge->armed)
        return 0;
    /* Rung just now, and the thread is about to say so: it is readable or will be, which is right or costs one poll. */
    if (lt_load_acquire32(&bridge->turn) == THREADS)
        return 0;
    int kept = errno;
    while (read(bridge->fd, &count, sizeof count) > 0) {}
    uint32_t armed = lt_bell_arm(c->bell); /* [bell.arm] */
    lt_membarrier();
    int n = lt_consumer_look(c);
    if (n == 0 && !lt_consumer_has_business(c)) {
        lt_consumer_knock(c);
        set_due(c);
        bridge->armed = armed;
        lt_store_release32(&bridge->turn, THREADS); /* [bridge.turn] */
        lt_futex_wake(&bridge->turn);
    } else {
        lt_bell_disarm(c->bell, armed);
        signal_fd(bridge); /* nobody waits for more: that is the next poll's to find out */
    }
    errno = kept;
    return n;
}

void lt_bridge_nudge(leat_consumer *c)
{
    if (c->bridge != NULL)
        lt_bell_ring(c->bell);
}

int lt_bridge_open(leat_consumer *c)
{
    pthread_attr_t attr;
    sigset_t all, old;
    struct lt_bridge *bridge = calloc(1, sizeof *bridge);
    if (bridge == NULL)
        return lt_fail(LEAT_ENOMEM, "%zu bytes", sizeof *bridge);
    bridge->bell = c->bell;
    bridge->member = c->member;
    bridge->nap_ns = (uint64_t)c->sleep_ns;
    bridge->fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK); /* readable: the caller's first poll settles it */
    if (bridge->fd < 0) {
        free(bridge);
        return lt_fail_errno(errno, "eventfd");
    }
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = pthread_create(&bridge->thread, &attr, run, bridge);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (error != 0) {
        close(bridge->fd);
        free(bridge);
        return lt_fail_errno(error, "starting a thread for the descriptor");
    }
    c->bridge = bridge;
    return bridge->fd;
}

void lt_bridge_close(leat_consumer *c)
{
    struct lt_bridge *bridge = c->bridge;
    if (bridge == NULL)
        return;
    lt_store_release32(&bridge->turn, STOP);
    lt_futex_wake(&bridge->turn);
    lt_bell_rescue(c->bell);
    pthread_join(bridge->thread, NULL);
    close(bridge->fd);
    free(bridge);
    c->bridge = NULL;
}

void lt_bridge_forked(struct lt_bridge *bridge)
{
    close(bridge->fd);
}

int leat_consumer_fd(leat_consumer *c)
{
    if (c == NULL)
        return lt_fail(LEAT_EINVAL, "the consumer is NULL");
    int kept = errno;
    int r = lt_handle_enter(&c->handle);
    if (r < 0)
        return r;
    r = c->bridge != NULL ? c->bridge->fd : lt_bridge_open(c);
    lt_handle_leave(&c->handle);
    errno = kept;
    return r;
}
