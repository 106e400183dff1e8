/* stepper: ptrace. One process a path; states are gone back to, so it never has to start again.
 *
 * System calls are not made but answered: a wake is counted, a wait is what the others act on (scenarios.c), a membarrier is done
 * already, since each stop is a context switch on one processor. So nothing here depends on time.
 */
#include "stepper.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BYTES_OF_INT3 0xcc
#define BYTES_OF_SYSCALL 0x050f
#define XSTATE_MAX 16384
#define TICK_S 1
#define TICKS_MAX 3 /* that one run to the end may take */
#define STEPS_MAX 200000
#define WAITS_MAX 50
#define CALL_NS 1000000 /* that pass with each look at the clock */

struct world live, copy;

#if defined(__x86_64__)

struct state {
    struct user_regs_struct regs;
    unsigned char xstate[XSTATE_MAX];
    size_t xstate_size;
    unsigned char memory[MEMORY_SIZE];
};

/* Addresses seen on a path, and what kind of instruction is there. */
struct seen {
    uint64_t at;
    uint32_t bytes;
};
#define SEEN_MAX 32768u

static struct {
    pid_t pid;
    struct build *build;
    const struct path *path;
    const struct options *options;
    struct stepped *sum;
    struct user_regs_struct regs; /* as of the last stop */
    uint64_t bias;
    uint32_t number; /* of the instruction that is about to be executed */
    bool failed, dead, twisted;
    const char *failed_in; /* which scenario */
    struct seen seen[SEEN_MAX];
} now;

static int memory_fd = -1;
static volatile sig_atomic_t ticks;

static void tick(int signal)
{
    (void)signal;
    ticks++;
}

const char *stepper_open(void)
{
    static char why[128];
    memory_fd = memfd_create("leat-step", MFD_CLOEXEC);
    int copy_fd = memfd_create("leat-step-copy", MFD_CLOEXEC);
    if (memory_fd < 0 || copy_fd < 0 || ftruncate(memory_fd, MEMORY_SIZE) != 0 ||
        ftruncate(copy_fd, MEMORY_SIZE) != 0 || !world_map(&live, memory_fd, LIVE_AT) ||
        !world_map(&copy, copy_fd, COPY_AT)) {
        snprintf(why, sizeof why, "no memory: %s", strerror(errno));
        return why;
    }
    /* One processor for both: a stop is then a switch and no interrupt to another one. */
    cpu_set_t all, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof all, &all) == 0)
        for (int i = CPU_SETSIZE - 1; i >= 0; i--)
            if (CPU_ISSET(i, &all)) {
                CPU_SET(i, &one);
                sched_setaffinity(0, sizeof one, &one);
                break;
            }
    struct sigaction action = { .sa_handler = tick };
    sigaction(SIGALRM, &action, NULL);
    struct itimerval each = { .it_interval.tv_sec = TICK_S, .it_value.tv_sec = TICK_S };
    setitimer(ITIMER_REAL, &each, NULL);

    pid_t pid = fork();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
            _exit(errno & 127);
        raise(SIGSTOP);
        _exit(0);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (!WIFSTOPPED(status)) {
        snprintf(why, sizeof why, "ptrace is not permitted here: %s", strerror(WEXITSTATUS(status)));
        return why;
    }
    bool stepped = ptrace(PTRACE_SINGLESTEP, pid, 0, 0) == 0;
    snprintf(why, sizeof why, "no single steps here: %s", strerror(errno));
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) > 0 || errno == EINTR)
        if (WIFSIGNALED(status) || WIFEXITED(status))
            break;
    return stepped ? NULL : why;
}

/* --- failures --- */

static void say_where(uint64_t rip)
{
    const struct instruction *at = build_find(now.build, rip - now.bias);
    if (at) {
        const struct function *function = &now.build->functions[at->function];
        printf("    before %s+0x%llx: %s\n", function->name, (unsigned long long)(at->at - function->at),
               at->text);
    } else {
        printf("    before 0x%llx, outside of the program\n", (unsigned long long)rip);
    }
}

void stepper_fail(const char *format, ...)
{
    va_list args;
    if (now.failed)
        return; /* the first one says it */
    now.failed = true;
    now.failed_in = scenario_now();
    now.sum->violations++;
    if (now.options->quiet)
        return;
    printf("VIOLATION %s %s, instruction %u, %s: ", now.build->name, now.path->name, now.number,
           scenario_now());
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

bool stepper_failed(void)
{
    bool failed = now.failed;
    now.failed = false;
    return failed;
}

/* --- the tracee --- */

/* The next stop. false: it is gone, or goes round for ever. */
static bool wait_stop(int *status)
{
    int start = ticks;
    for (;;) {
        if (waitpid(now.pid, status, 0) == now.pid)
            break;
        if (errno != EINTR) {
            now.dead = true;
            stepper_fail("the tracee is gone: %s", strerror(errno));
            return false;
        }
        if (ticks - start > TICKS_MAX)
            kill(now.pid, SIGSTOP);
    }
    if (!WIFSTOPPED(*status)) {
        now.dead = true;
        stepper_fail("the tracee ended with status 0x%x", (unsigned)*status);
        return false;
    }
    ptrace(PTRACE_GETREGS, now.pid, 0, &now.regs);
    int signal = WSTOPSIG(*status);
    if (signal == SIGSTOP) {
        stepper_fail("goes round for ever, at 0x%llx", now.regs.rip - now.bias);
        return false;
    }
    if (signal != SIGTRAP) {
        stepper_fail("signal %d at 0x%llx", signal, now.regs.rip - now.bias);
        return false;
    }
    return true;
}

static uint32_t bytes_at(uint64_t rip)
{
    uint32_t slot = (uint32_t)(rip * 0x9e3779b97f4a7c15ull >> 49) % SEEN_MAX;
    while (now.seen[slot].at != 0 && now.seen[slot].at != rip)
        slot = (slot + 1) % SEEN_MAX;
    struct seen *seen = &now.seen[slot];
    if (seen->at == 0) {
        errno = 0;
        seen->at = rip;
        seen->bytes = (uint32_t)ptrace(PTRACE_PEEKTEXT, now.pid, (void *)rip, 0);
        now.sum->addresses++;
    }
    return seen->bytes;
}

/* lock cmpxchg16b: f0, a prefix for wide operands, 0f c7. */
static bool is_wide_cas(uint32_t bytes)
{
    return (bytes & 0xff) == 0xf0 && (bytes >> 8 & 0xf8) == 0x48 && bytes >> 16 == 0xc70f;
}

static bool is_live(uint64_t at, uint64_t size)
{
    uint64_t from = (uint64_t)(uintptr_t)live.base;
    return at >= from && at + size <= from + MEMORY_SIZE;
}

/* Answers the system call in now.regs. false: it has to be made. */
static bool answer(uint64_t number)
{
    struct user_regs_struct *r = &now.regs;
    if (number == SYS_membarrier) {
        r->rax = 0;
    } else if (number == SYS_futex && (r->rsi & FUTEX_CMD_MASK) == FUTEX_WAKE) {
        live.notes->wakes++;
        r->rax = 1;
    } else if (number == SYS_futex && (r->rsi & FUTEX_CMD_MASK) == FUTEX_WAIT) {
        if (++live.notes->waits > WAITS_MAX) {
            stepper_fail("waits for ever");
            return false;
        }
        r->rax = (uint64_t)scenarios_wait(now.path, (uint32_t *)r->rdi, (uint32_t)r->rdx);
    } else if (number == SYS_clock_gettime && is_live(r->rsi, sizeof(struct timespec))) {
        live.notes->clock_ns += CALL_NS;
        *(struct timespec *)r->rsi = (struct timespec){ .tv_sec = (time_t)(live.notes->clock_ns / 1000000000),
                                                        .tv_nsec = (long)(live.notes->clock_ns %
                                                                          1000000000) };
        r->rax = 0;
    } else {
        return false;
    }
    return true;
}

bool stepper_step(void)
{
    int status;
    uint32_t bytes = bytes_at(now.regs.rip);
    if ((bytes & 0xff) == BYTES_OF_INT3)
        return false;
    struct instruction *at = build_find(now.build, now.regs.rip - now.bias);
    if (at)
        at->seen++;
    if ((bytes & 0xffff) == BYTES_OF_SYSCALL && answer(now.regs.rax)) {
        now.regs.rip += 2;
        now.regs.rcx = now.regs.rip;
        now.regs.r11 = now.regs.eflags;
        ptrace(PTRACE_SETREGS, now.pid, 0, &now.regs);
        return true;
    }
    if (ptrace(PTRACE_SINGLESTEP, now.pid, 0, 0) != 0) {
        stepper_fail("no step: %s", strerror(errno));
        return false;
    }
    return wait_stop(&status);
}

/* A stop of PTRACE_SYSEMU is at a system call or behind a breakpoint. */
static bool is_breakpoint(void)
{
    siginfo_t info;
    return ptrace(PTRACE_GETSIGINFO, now.pid, 0, &info) == 0 && info.si_code == SI_KERNEL;
}

bool stepper_go_on(void)
{
    int status;
    while (ptrace(PTRACE_SYSEMU, now.pid, 0, 0) == 0) {
        if (!wait_stop(&status))
            return false;
        if (is_breakpoint())
            return true;
        if (answer(now.regs.orig_rax)) {
            ptrace(PTRACE_SETREGS, now.pid, 0, &now.regs);
        } else if (now.failed) {
            return false;
        } else {
            /* Once more, and really: the clock where the vdso cannot tell the time. */
            now.regs.rax = now.regs.orig_rax;
            now.regs.orig_rax = UINT64_MAX;
            now.regs.rip -= 2;
            ptrace(PTRACE_SETREGS, now.pid, 0, &now.regs);
            if (ptrace(PTRACE_SINGLESTEP, now.pid, 0, 0) != 0 || !wait_stop(&status))
                return false;
        }
    }
    stepper_fail("no way on: %s", strerror(errno));
    return false;
}

/* --- states --- */

struct state *state_new(void)
{
    return calloc(1, sizeof(struct state));
}

/* All but the rings' second mappings. */
static void copy_memory(unsigned char *to, const unsigned char *from)
{
    memcpy(to, from, RINGS_AT);
    for (uint32_t k = 0; k < RINGS; k++)
        memcpy(to + RINGS_AT + k * RING_STRIDE, from + RINGS_AT + k * RING_STRIDE, RING_BYTES);
}

void state_take(struct state *state)
{
    struct iovec xstate = { state->xstate, sizeof state->xstate };
    state->regs = now.regs;
    ptrace(PTRACE_GETREGSET, now.pid, NT_X86_XSTATE, &xstate);
    state->xstate_size = xstate.iov_len;
    copy_memory(state->memory, live.base);
}

void state_back(const struct state *state)
{
    struct iovec xstate = { (void *)state->xstate, state->xstate_size };
    if (now.dead)
        return;
    copy_memory(live.base, state->memory);
    now.regs = state->regs;
    now.regs.orig_rax = UINT64_MAX;
    ptrace(PTRACE_SETREGS, now.pid, 0, &now.regs);
    ptrace(PTRACE_SETREGSET, now.pid, NT_X86_XSTATE, &xstate);
}

/* --- a path --- */

static uint64_t tail_of(const struct world *world)
{
    struct lt_ring ring = world_ring(world, world->part->current_ring);
    uint64_t tail, pos;
    uint32_t epoch;
    return lt_ring_find_tail(&ring, &tail, &pos, &epoch) == LT_RING_CORRUPT ? 0 : tail;
}

static bool start(void)
{
    char number[16];
    int status;
    snprintf(number, sizeof number, "%u", (unsigned)(now.path - paths));
    world_init(&live);
    now.path->place(&live);
    live.notes->expect = tail_of(&live) > 0 ? tail_of(&live) : 1;
    now.pid = fork();
    if (now.pid == 0) {
        personality(ADDR_NO_RANDOMIZE);
        /* dup2 of itself would keep the flag that closes it. */
        int r = memory_fd == MEMORY_FD ? fcntl(memory_fd, F_SETFD, 0) : dup2(memory_fd, MEMORY_FD);
        if (r < 0 || ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
            _exit(3);
        execl(now.build->program, now.build->program, number, (char *)NULL);
        _exit(3);
    }
    /* The exec's own stop, then the first breakpoint. */
    if (!wait_stop(&status))
        return false;
    ptrace(PTRACE_SETOPTIONS, now.pid, 0, PTRACE_O_EXITKILL);
    if (ptrace(PTRACE_CONT, now.pid, 0, 0) != 0 || !wait_stop(&status))
        return false;
    now.bias = live.notes->main_at - now.build->main_at;
    return true;
}

static void end(void)
{
    int status;
    if (now.pid <= 0)
        return;
    kill(now.pid, SIGKILL);
    while (waitpid(now.pid, &status, 0) < 0 && errno == EINTR)
        continue;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void say_again(uint64_t rip)
{
    if (now.options->quiet)
        return;
    say_where(rip);
    printf("    again: tools/zig build test:step -- --build %s --path %s --at %u --scenario %s%s%s\n",
           now.build->name, now.path->name, now.number, now.failed_in,
           now.options->mutant ? " --mutant " : "", now.options->mutant ? now.options->mutant : "");
}

void step_path(struct build *build, const struct path *path, const struct options *options,
               struct stepped *sum)
{
    double from = seconds();
    memset(&now, 0, sizeof now);
    now.build = build;
    now.path = path;
    now.options = options;
    now.sum = sum;
    if (start()) {
        while (sum->violations < options->violations_max && now.number < STEPS_MAX) {
            uint64_t rip = now.regs.rip;
            if (!now.twisted)
                now.twisted = scenarios_twist(path, is_wide_cas(bytes_at(rip)));
            if (options->only_instruction == UINT32_MAX || options->only_instruction == now.number) {
                sum->checks += scenarios_run(path, options);
                if (stepper_failed())
                    say_again(rip);
            }
            if (now.dead || !stepper_step())
                break;
            now.number++;
        }
        sum->instructions = now.number;
        sum->waits = live.notes->waits;
        if (!now.twisted && path->twist != NO_TWIST)
            stepper_fail("the path never came to its twist");
        if (!now.dead && !now.failed && sum->violations < options->violations_max) {
            scenarios_check_end(path);
            sum->checks++;
        }
        if (stepper_failed())
            say_again(now.regs.rip);
    }
    end();
    sum->seconds = seconds() - from;
}

#else

const char *stepper_open(void)
{
    return "single steps are written for x86-64";
}

void step_path(struct build *build, const struct path *path, const struct options *options,
               struct stepped *sum)
{
    (void)build, (void)path, (void)options, (void)sum;
}

bool stepper_step(void)
{
    return false;
}

bool stepper_go_on(void)
{
    return false;
}

void stepper_fail(const char *format, ...)
{
    (void)format;
}

bool stepper_failed(void)
{
    return false;
}

struct state *state_new(void)
{
    return NULL;
}

void state_take(struct state *state)
{
    (void)state;
}

void state_back(const struct state *state)
{
    (void)state;
}

#endif
