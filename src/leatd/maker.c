/* maker: see maker.h. Jobs are done one after the other, in the order in which they came. */
#include "leatd/maker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "leatd/alter.h"
#include "leatd/data.h"
#include "leatd/persister.h"
#include "leatd/topics.h"

void lt_job_free(struct lt_job *job)
{
    if (job->kind == LT_JOB_SEGMENT && job->fd >= 0)
        close(job->fd);
    lt_peer_free(&job->peer);
    free(job);
}

void lt_maker_add(struct lt_worker *w, struct lt_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&w->jobs_lock);
    if (w->jobs)
        w->jobs_last->next = job;
    else
        w->jobs = job;
    w->jobs_last = job;
    pthread_cond_signal(&w->jobs_more);
    pthread_mutex_unlock(&w->jobs_lock);
}

/* NULL: the worker ends. What was deleted before that is still given back: a host goes on living. */
static struct lt_job *next_job(struct lt_worker *w)
{
    pthread_mutex_lock(&w->jobs_lock);
    while (!w->jobs && !w->jobs_end)
        pthread_cond_wait(&w->jobs_more, &w->jobs_lock);
    struct lt_job *job = w->jobs;
    if (job)
        w->jobs = job->next;
    pthread_mutex_unlock(&w->jobs_lock);
    return job;
}

static void finish(struct lt_worker *w, struct lt_job *job)
{
    uint64_t one = 1;
    pthread_mutex_lock(&w->jobs_lock);
    struct lt_job **last = &w->done;
    while (*last)
        last = &(*last)->next;
    job->next = NULL;
    *last = job;
    pthread_mutex_unlock(&w->jobs_lock);
    if (write(w->wake_fd, &one, sizeof one) != sizeof one)
        return; /* its counter is full: then it is awake */
}

/* false: nobody waits for an answer. */
static bool work(struct lt_worker *w, struct lt_job *job)
{
    uint64_t log_id;
    switch (job->kind) {
    case LT_JOB_CREATE:
        job->result = lt_topics_create(w, &job->peer, job->token, &job->request);
        return true;
    case LT_JOB_DELETE:
        job->result = lt_topics_remove_logged(w, &job->peer, job->request.name);
        return true;
    case LT_JOB_ALTER:
        job->result = lt_topics_alter(w, &job->peer, &job->alter);
        return true;
    case LT_JOB_RESUME:
        job->result = lt_topics_resume(w, &job->peer, &job->resume);
        return true;
    case LT_JOB_SEGMENT:
        job->result = lt_persister_attach_segment(job->part, &job->segment, &job->place, &job->fd);
        lt_worker_lock(w);
        lt_topics_unref(w, job->part->topic);
        lt_worker_unlock(w);
        return true;
    case LT_JOB_RELEASE:
        log_id = job->release->head ? job->release->head->log_id : 0;
        if (log_id != 0)
            lt_data_remove(w, log_id);
        lt_topics_release(w, job->release);
        return false;
    case LT_JOB_DROP_RING:
        lt_region_unmap(job->drop_base, job->drop_bytes, 0);
        lt_keep_drop(&w->keep, LT_KEEP_RING, job->drop_ring_id);
        return false;
    case LT_JOB_SWEEP:
        lt_data_sweep(w);
        return false;
    }
    return false;
}

static void *run(void *argument)
{
    struct lt_worker *w = argument;
    struct lt_job *job;
    while ((job = next_job(w))) {
        if (!work(w, job)) {
            lt_job_free(job);
            continue;
        }
        if (job->result < 0)
            snprintf(job->text, sizeof job->text, "%s", lt_fail_text());
        finish(w, job);
    }
    return NULL;
}

struct lt_job *lt_maker_done(struct lt_worker *w)
{
    pthread_mutex_lock(&w->jobs_lock);
    struct lt_job *job = w->done;
    if (job)
        w->done = job->next;
    pthread_mutex_unlock(&w->jobs_lock);
    return job;
}

void lt_maker_drain(struct lt_worker *w)
{
    struct lt_job *job;
    while ((job = next_job(w))) { /* nobody is there to be answered */
        work(w, job);
        lt_job_free(job);
    }
}

int lt_maker_start(struct lt_worker *w)
{
    return lt_worker_thread(&w->maker_thread, run, w);
}

void lt_maker_stop(struct lt_worker *w)
{
    struct lt_job *job;
    pthread_mutex_lock(&w->jobs_lock);
    w->jobs_end = true;
    pthread_cond_signal(&w->jobs_more);
    pthread_mutex_unlock(&w->jobs_lock);
    pthread_join(w->maker_thread, NULL);
    while ((job = lt_maker_done(w)))
        lt_job_free(job);
}
