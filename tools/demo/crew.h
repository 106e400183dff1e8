/* crew: the child processes, and the pipe on which they tell their news. */
#ifndef CREW_H
#define CREW_H

#include "news.h"

#include <sys/types.h>

enum { PRODUCER, COUNTER, FIRST_WORKER, HANDS = FIRST_WORKER + WORKERS };

struct hand {
    char name[16];
    pid_t pid; /* 0: not there */
    bool ready;
    unsigned owns;    /* partitions, by what it has told */
    struct news last; /* with the counts up to now */
};

struct crew {
    struct hand hands[HANDS];
    int news; /* the end that we read from */
    int hand_end;
};

bool crew_make(struct crew *crew);
/* Starts this one: a process of this program with such arguments; the first one says which role. */
bool crew_start(struct crew *crew, int who, const char *const *arguments);
/* The next piece of news within so many milliseconds, already noted with its hand. */
bool crew_hear(struct crew *crew, struct news *news, int within_ms);
/* The first one found that has ended without having been told to, or NULL. */
struct hand *crew_missing(struct crew *crew);
void crew_signal(const struct crew *crew, int who, int sig);
/* Waits for its end; returns the wait status. What it told stays in the pipe. */
int crew_await(struct crew *crew, int who);
/* SIGKILL to all that are there. */
void crew_kill(struct crew *crew);

/* How many workers there are, and how many of them own something. */
int crew_workers(const struct crew *crew);
int crew_owners(const struct crew *crew);
/* What all workers together own. */
unsigned crew_owned(const struct crew *crew);

#endif
