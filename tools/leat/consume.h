/* leat consume: what its files share.
 *
 *   consume.c        options, signals; readers are started, waited for and closed
 *   consume_parts.c  which partitions a reader has, where it begins in each, what a group does to them
 *   consume_read.c   records onto stdout until the end, and what is committed then
 *
 * A reader is one consumer on a bus of its own. Without --instances there is one, in the main thread; otherwise each has a
 * thread. What they share is changed under the lock; lines of output are whole because they are written under it too. A
 * reader's parts are changed by its own thread only, under the lock, so that it may look without it.
 *
 * What a poll gave is printed and flushed before the next poll or commit: whatever is committed, or with --gate let go
 * of, has been written. Records that were handed out and not printed are handed back (a seek) before anything else.
 */
#ifndef CONSUME_H
#define CONSUME_H

#include "cli.h"
#include "format.h"
#include "tally.h"

#include <inttypes.h>
#include <pthread.h>

enum { PARTITIONS_MOST = 4096, INSTANCES_MOST = 256, MEMBER_ID_BYTES = 160 };

/* -o: where to begin. */
struct place {
    enum { AT_DEFAULT, AT_END, AT_BEGINNING, AT_OFFSET, AT_LAST, AT_TIME, AT_STORED } kind;
    int64_t number; /* the offset, how many, or the time in ms */
};

enum commit { COMMIT_AUTO, COMMIT_SYNC, COMMIT_NONE }; /* as the words of --commit */

/* One partition that is read. */
struct part {
    char *topic;
    uint32_t partition;
    int64_t end;  /* with -e: where to stop */
    bool done;    /* it is there, and paused */
    int64_t back; /* to be handed back from here on; -1: nothing */
};

struct reader {
    struct consume *consume;
    leat_bus *bus;
    leat_consumer *in;
    struct part *parts;
    int part_count, part_room;
    char member_id[MEMBER_ID_BYTES]; /* the last one: kept when it is lost */
    int64_t generation;
    int error;  /* of a callback, which has nobody to tell; said already */
    bool began; /* it got as far as reading */
    char instance_id[128];
    pthread_t thread;
};

struct consume {
    const struct cli *cli;
    /* as asked for */
    const char *const *topics;
    int topic_count;
    uint32_t partitions[PARTITIONS_MOST];
    int partition_count; /* 0: all */
    struct place from;
    bool to_end;
    int64_t idle_ms; /* -1: for ever */
    bool trace;
    enum commit commit;
    int instances;
    struct format format;
    leat_consumer_options options;
    /* at work */
    struct reader *readers; /* `instances` of them */
    pthread_t main_thread;
    pthread_mutex_t lock; /* of what follows, of stdout, and of what a reader shows the others */
    int running;          /* threads */
    int64_t count;        /* still to print; -1: no end */
    int64_t idle_since_ns;
    bool ended;  /* all readers are to stop */
    bool failed; /* and why was said */
    bool broken_pipe;
    struct tally tally;
};

/* A reader's group gives it partitions and takes them: it is a member, not only somebody who commits (-p). */
static inline bool consume_is_member(const struct consume *c)
{
    return c->options.group && c->partition_count == 0;
}

/* Tells every reader to stop. Under the lock. */
void consume_end(struct consume *c);

/* Whether a signal has said so, without threads. */
bool consume_is_stopped(void);

/* The first complaint is printed, in one line, and ends all. Not under the lock. */
__attribute__((format(printf, 2, 3))) void consume_fail(struct consume *c, const char *format, ...);

/* ---- consume_parts.c ---- */

/* Sets the callbacks that keep a reader's parts. */
void parts_listen(struct reader *reader, leat_consumer_options *options);

/* What was subscribed or assigned, without a group's word. 0 or a negative error. */
int parts_begin(struct reader *reader);

struct part *parts_find(const struct reader *reader, const char *topic, uint32_t partition);
void parts_free(struct reader *reader);

/* ---- consume_read.c ---- */

/* Until there is a reason to stop. */
void read_all(struct reader *reader);

#endif
