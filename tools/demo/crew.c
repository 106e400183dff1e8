/* crew: see crew.h. */
#include "crew.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

bool crew_make(struct crew *crew)
{
    int fds[2];
    *crew = (struct crew){ .news = -1, .hand_end = -1 };
    snprintf(crew->hands[PRODUCER].name, sizeof crew->hands[0].name, "producer");
    snprintf(crew->hands[COUNTER].name, sizeof crew->hands[0].name, "counter");
    for (int i = 0; i < WORKERS; i++)
        snprintf(crew->hands[FIRST_WORKER + i].name, sizeof crew->hands[0].name, "consumer-%d", i + 1);
    if (pipe2(fds, O_CLOEXEC) < 0) {
        perror("demo: pipe");
        return false;
    }
    crew->news = fds[0];
    crew->hand_end = fds[1];
    return true;
}

/* In the child, between fork and exec: it dies with us, and leaves a Ctrl-C to us. */
static void become(const struct crew *crew, const char *const *arguments, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    signal(SIGINT, SIG_IGN);
    dup2(crew->hand_end, NEWS_FD); /* which is never CLOEXEC, but when it is the same */
    if (crew->hand_end == NEWS_FD)
        fcntl(NEWS_FD, F_SETFD, 0);
    char program[PATH_MAX]; /* by its name, which `leat status --clients` shows */
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    program[size > 0 ? size : 0] = 0;
    execv(program, (char *const *)(uintptr_t)arguments);
    _exit(127);
}

bool crew_start(struct crew *crew, int who, const char *const *arguments)
{
    struct hand *hand = &crew->hands[who];
    pid_t parent = getpid();
    fflush(NULL);
    hand->pid = fork();
    if (hand->pid == 0)
        become(crew, arguments, parent);
    if (hand->pid > 0)
        return true;
    perror("demo: fork");
    hand->pid = 0;
    return false;
}

static void note(struct hand *hand, const struct news *news)
{
    if (news->kind == NEWS_READY)
        hand->ready = true;
    else if (news->kind == NEWS_ASSIGNED)
        hand->owns |= news->partitions;
    else if (news->kind == NEWS_REVOKED || news->kind == NEWS_LOST)
        hand->owns &= ~news->partitions;
    hand->last = *news;
}

bool crew_hear(struct crew *crew, struct news *news, int within_ms)
{
    struct pollfd told = { .fd = crew->news, .events = POLLIN };
    if (poll(&told, 1, within_ms) <= 0 || read(crew->news, news, sizeof *news) != sizeof *news)
        return false;
    if (news->who < 0 || news->who >= HANDS)
        return false;
    note(&crew->hands[news->who], news);
    return true;
}

struct hand *crew_missing(struct crew *crew)
{
    for (int i = 0; i < HANDS; i++) {
        siginfo_t ended = { 0 };
        pid_t pid = crew->hands[i].pid;
        if (pid && (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) < 0 || ended.si_pid == pid))
            return &crew->hands[i];
    }
    return NULL;
}

void crew_signal(const struct crew *crew, int who, int sig)
{
    if (crew->hands[who].pid)
        kill(crew->hands[who].pid, sig);
}

int crew_await(struct crew *crew, int who)
{
    struct hand *hand = &crew->hands[who];
    int status = -1;
    while (hand->pid && waitpid(hand->pid, &status, 0) < 0 && errno == EINTR)
        ;
    hand->pid = 0;
    hand->ready = false;
    return status;
}

void crew_kill(struct crew *crew)
{
    for (int i = 0; i < HANDS; i++)
        crew_signal(crew, i, SIGKILL);
    for (int i = 0; i < HANDS; i++)
        crew_await(crew, i);
}

int crew_workers(const struct crew *crew)
{
    int count = 0;
    for (int i = FIRST_WORKER; i < HANDS; i++)
        count += crew->hands[i].pid != 0;
    return count;
}

int crew_owners(const struct crew *crew)
{
    int count = 0;
    for (int i = FIRST_WORKER; i < HANDS; i++)
        count += crew->hands[i].owns != 0;
    return count;
}

unsigned crew_owned(const struct crew *crew)
{
    unsigned owned = 0;
    for (int i = FIRST_WORKER; i < HANDS; i++)
        owned |= crew->hands[i].owns;
    return owned;
}
