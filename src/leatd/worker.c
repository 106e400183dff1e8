/* worker: starting and ending one. See worker.h for its threads. */
#include "leatd/worker.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/err.h"
#include "base/futex.h"
#include <leat.h>
#include "leatd/adopt.h"
#include "leatd/clients.h"
#include "leatd/control.h"
#include "leatd/data.h"
#include "leatd/fold.h"
#include "leatd/group_log.h"
#include "leatd/groups.h"
#include "leatd/leases.h"
#include "leatd/maker.h"
#include "leatd/persister.h"
#include "leatd/topics.h"
#include "leatd/warden.h"

#define STACK_BYTES (1u << 20) /* the maker looks up names, and what that loads is not ours */
#define SLICE_NS 100000        /* the shortest that there is */
#define ANSWER_TIMEOUT_S 10

/* sched(7); glibc has it from 2.41 on. */
struct slice {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns; /* of SCHED_OTHER the first is the slice */
};

void lt_worker_hurry(void)
{
    struct slice slice = { .size = sizeof slice };
    if (syscall(SYS_sched_getattr, 0, &slice, sizeof slice, 0) != 0 || slice.policy != SCHED_OTHER)
        return;
    slice.flags = 0;
    slice.runtime_ns = SLICE_NS;
    syscall(SYS_sched_setattr, 0, &slice, 0); /* a kernel that knows none takes no notice */
}

int lt_worker_thread(pthread_t *thread, void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    sigset_t all, old;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error_number = pthread_create(thread, &attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    return error_number == 0 ? 0 : lt_fail_errno(error_number, "start a thread");
}

static void log_all(struct lt_worker *w, const char *said, size_t bytes)
{
    for (const char *at = said; at < said + bytes; at += strlen(at + 1) + 2)
        lt_worker_log(w, (enum lt_log_level)(at[0] - 1), "%s", at + 1);
}

void lt_worker_unlock(struct lt_worker *w)
{
    char said[LT_SAID_BYTES];
    size_t bytes = w->said_bytes;
    memcpy(said, w->said, bytes);
    bool kick = w->group_log_kick;
    w->said_bytes = 0;
    w->group_log_kick = false;
    pthread_mutex_unlock(&w->lock);
    if (kick)
        lt_group_log_kick(w);
    log_all(w, said, bytes);
}

void lt_worker_say(struct lt_worker *w, enum lt_log_level level, const char *format, ...)
{
    va_list args;
    size_t room = sizeof w->said - w->said_bytes;
    va_start(args, format);
    int n = room > 2 ? vsnprintf(w->said + w->said_bytes + 1, room - 1, format, args) : -1;
    va_end(args);
    if (n < 0 || (size_t)n + 2 > room)
        return;                                 /* no room: one of so many at once is left out */
    w->said[w->said_bytes] = (char)(level + 1); /* no 0 between lines but their ends */
    w->said_bytes += (size_t)n + 2;
}

static void note_keeper(void *user, int32_t keeper_pid)
{
    struct lt_worker *w = user;
    if (w->coordinator)
        lt_store_relaxed32((uint32_t *)&w->coordinator->keeper_pid,
                           (uint32_t)keeper_pid); /* for people only */
}

static void end_control(void *user)
{
    lt_control_end(user);
}

int lt_worker_init(struct lt_worker *w, const struct lt_config *config, int link)
{
    struct rlimit limit;
    memset(w, 0, sizeof *w);
    w->config = *config;
    w->in_host = link < 0;
    w->coordinator_fd = w->bells_fd = w->listen_fd = w->epoll_fd = w->wake_fd = w->spare_fd = w->signal_fd =
        -1;
    pthread_mutex_init(&w->lock, NULL);
    pthread_mutex_init(&w->jobs_lock, NULL);
    pthread_cond_init(&w->jobs_more, NULL);
    lt_keep_init(&w->keep, &w->config, link);
    w->keep.replaced = note_keeper;
    w->keep.stop = end_control;
    w->keep.user = w;
    w->descriptor_limit = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
    w->globals = calloc(LT_PARTITIONS_MAX, sizeof(struct lt_part *));
    return w->globals ? 0 : lt_fail(LEAT_ENOMEM, "no memory for %u partitions", LT_PARTITIONS_MAX);
}

/* Everything that is mapped or allocated; no thread runs any more. */
static void free_all(struct lt_worker *w)
{
    struct lt_topic *topic;
    for (uint32_t c = 1; c < LT_CLIENTS_MAX; c++) {
        if (!w->clients[c])
            continue;
        if (w->clients[c]->conn)
            w->clients[c]->conn->client = NULL;
        lt_clients_free(w, w->clients[c]);
    }
    lt_control_free(w);
    lt_leases_free(w);
    lt_fold_close(w);
    lt_groups_free(w);
    w->keep.alone = true; /* what is dropped now is dropped here only */
    while (w->globals && (topic = lt_topics_next(w, NULL))) {
        lt_topics_forget(w, topic);
        lt_topics_release(w, topic);
    }
    lt_persister_free(w);
    lt_data_close(w);
    if (w->coordinator)
        lt_region_unmap(w->coordinator, w->coordinator_bytes, 0);
    if (w->bells)
        lt_region_unmap(w->bells, w->bells_bytes, 0);
    free(w->globals);
    lt_keep_end(&w->keep);
    pthread_cond_destroy(&w->jobs_more);
    pthread_mutex_destroy(&w->jobs_lock);
    pthread_mutex_destroy(&w->lock);
}

/* [bus.ended] for those who look, and a wake-up for those who sleep. */
static void tell_end(struct lt_worker *w)
{
    lt_store_release32(&w->coordinator->ended, 1);
    for (uint32_t b = 0; b < LT_BELLS; b++)
        if (w->coordinator->bells[b].client != 0)
            lt_bell_rescue(&w->bells->bells[b]);
    for (struct lt_topic *topic = lt_topics_next(w, NULL); topic; topic = lt_topics_next(w, topic))
        for (uint32_t p = 0; p < topic->partition_count; p++)
            lt_part_wake_room(topic->parts[p].page);
}

static int start_threads(struct lt_worker *w)
{
    int r = lt_maker_start(w);
    if (r < 0)
        return r;
    r = lt_warden_start(w);
    if (r == 0) {
        r = lt_persister_start(w);
        if (r == 0)
            r = lt_control_serve(w);
        if (r == 0)
            return 0;
        lt_persister_stop(w);
        lt_warden_stop(w);
    }
    lt_maker_stop(w);
    return r;
}

int lt_worker_start(struct lt_worker *w, bool own_process)
{
    w->own_process = own_process;
    /* leatd wakes others as they wake each other: its stores are to be drained by their membarriers, too. */
    int r = lt_membarrier_register();
    if (r < 0)
        r = lt_fail(LEAT_EUNSUPPORTED, "this kernel has no membarrier(2) with GLOBAL_EXPEDITED: %s",
                    strerror(-r));
    if (r == 0)
        r = lt_control_start(w);
    if (r == 0)
        r = lt_data_open(w);
    if (r == 0 && w->data)
        r = lt_persister_init(w);
    if (r == 0) {
        lt_worker_lock(w); /* lease threads begin while the rest is taken over */
        r = lt_adopt(w);
        lt_worker_unlock(w);
    }
    if (r == 0)
        r = lt_group_log_start(w);
    if (r == 0)
        r = lt_fold_open(w);
    if (r == 0)
        r = start_threads(w);
    if (r == 0)
        return 0;
    lt_leases_stop(w);
    lt_group_log_stop(w);
    free_all(w);
    return r;
}

static void end(struct lt_worker *w)
{
    lt_warden_stop(w);
    lt_maker_stop(w);
    lt_leases_stop(w);
    lt_group_log_stop(w);
    lt_fold(w, true);
    lt_persister_stop(w); /* before anybody is told: senders that wait get what they wait for */
    lt_maker_drain(w);    /* topics that were deleted, and that it has let go of */
    tell_end(w);
    free_all(w);
}

void lt_worker_stop(struct lt_worker *w)
{
    lt_control_end(w);
    lt_control_wait(w);
    end(w);
}

void lt_worker_wait(struct lt_worker *w)
{
    lt_control_wait(w);
    end(w);
}

static void prepare_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM); /* read from a descriptor: see control.c */
    sigaddset(&set, SIGINT);  /* the keeper's: a terminal sends it to both */
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN); /* a keeper that we started and that died is not to be waited for */
}

int lt_worker_run(int link)
{
    static struct lt_worker w;
    struct lt_config config;
    struct lt_keep_table table = { 0 };
    struct timeval limit = { .tv_sec = ANSWER_TIMEOUT_S };
    int32_t keeper_pid, worker_pid;
    prepare_signals();
    int r = lt_keep_receive_all(link, &table, &config, &keeper_pid, &worker_pid);
    if (r != 0) {
        lt_log(LT_LOG_ERROR, "the keeper does not say what there is: %s",
               r > 0 ? "it is gone" : strerror(-r));
        return 1;
    }
    lt_log_set_level((enum lt_log_level)config.log_level);
    setsockopt(link, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    r = lt_worker_init(&w, &config, link);
    w.keep.table = table;
    w.keep.keeper_pid = keeper_pid;
    if (r == 0)
        r = lt_worker_start(&w, true);
    if (r < 0) {
        lt_log(LT_LOG_ERROR, "%s", lt_fail_text());
        return 1;
    }
    lt_keep_ready(&w.keep, getpid());
    lt_worker_wait(&w);
    return 0;
}
