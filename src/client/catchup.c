/* catchup: a partition's log, read where the ring is over. See catchup.h. */
#include "client/catchup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "client/bus.h"
#include "client/link.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

#define STRETCH (1024ull << 10) /* made present at once */
#define AROUND (64ull << 10)    /* what the kernel maps around a page that is touched */
#define PAGE ((uint64_t)LT_STORE_PAGE)
#define NS_PER_MS 1000000ll
#define PATIENCE_MS LT_LINK_PATIENCE_MS /* of a question that cannot be put off */

bool lt_catchup_reads;

/* --- making and letting go --- */

struct lt_catchup *lt_catchup_new(const struct lt_attached *topic, uint32_t partition)
{
    struct lt_catchup *log = calloc(1, sizeof *log);
    if (log == NULL) {
        lt_fail(LEAT_ENOMEM, "%s: %zu bytes", topic->name, sizeof *log);
        return NULL;
    }
    log->topic = topic;
    log->partition = partition;
    log->fd = -1;
    return log;
}

void lt_catchup_drop(struct lt_catchup *log)
{
    if (log->base != NULL)
        munmap((void *)(uintptr_t)log->base, log->size_bytes);
    if (log->fd >= 0)
        close(log->fd);
    log->fd = -1;
    log->base = NULL;
    log->batch = NULL;
    log->placed = false;
}

void lt_catchup_free(struct lt_catchup *log)
{
    if (log == NULL)
        return;
    lt_catchup_drop(log);
    free(log);
}

static int fail_at(const struct lt_catchup *log, int error, uint64_t pos, const char *why)
{
    return lt_fail(error,
                   "%s: partition %u: segment %020" PRIu64 ".log at %" PRIu64 ", offset %" PRIu64 ": %s",
                   log->topic->name, log->partition, log->base_offset, pos, log->next, why);
}

/* --- pages --- */

/* For a kernel that cannot populate: what can be read can be mapped. */
static int read_over(const struct lt_catchup *log, uint64_t from, uint64_t to)
{
    unsigned char scratch[16 << 10];
    while (from < to) {
        size_t size = to - from < sizeof scratch ? (size_t)(to - from) : sizeof scratch;
        ssize_t n = pread(log->fd, scratch, size, (off_t)from);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : EFAULT;
        from += (uint64_t)n;
    }
    return 0;
}

static int populate(const struct lt_catchup *log, uint64_t from, uint64_t to)
{
    if (log->fd >= 0)
        return read_over(log, from, to);
    int r;
    do
        r = madvise((void *)(uintptr_t)(log->base + from), to - from, MADV_POPULATE_READ);
    while (r != 0 && (errno == EINTR || errno == EAGAIN));
    return r == 0 ? 0 : errno;
}

/* What populate costs where the pages are in the cache, which is almost always: a walk for each page, dearer than reading it. One
 * touch in AROUND maps all of its neighbours that are there, and mincore says whether that was all. It says so truly only of
 * files that are ours. */
static bool is_cached(const struct lt_catchup *log, uint64_t from, uint64_t to)
{
    unsigned char pages[STRETCH / PAGE], all = 1;
    unsigned char *base = (void *)(uintptr_t)log->base;
    if (!log->ours || to - from > STRETCH)
        return false;
    for (uint64_t at = from; at < to; at = (at | (AROUND - 1)) + 1)
        if (madvise(base + at, PAGE, MADV_POPULATE_READ) != 0)
            return false;
    if (mincore(base + from, to - from, pages) != 0)
        return false;
    for (uint64_t i = 0; i < (to - from + PAGE - 1) / PAGE; i++)
        all &= pages[i];
    return (all & 1) != 0;
}

static int make_present(const struct lt_catchup *log, uint64_t from, uint64_t to)
{
    return log->fd < 0 && is_cached(log, from, to) ? 0 : populate(log, from, to);
}

/* Bytes up to `upto` can be touched from now on, or LEAT_EIO. */
static int secure(struct lt_catchup *log, uint64_t upto)
{
    if (LT_LIKELY(upto <= log->secured && log->pos >= log->secured_from))
        return 0;
    if (log->pos < log->secured_from || log->pos > log->secured)
        log->secured = log->secured_from = log->pos & ~(PAGE - 1);
    int error = 0;
    while (error == 0 && log->secured < upto) {
        uint64_t to = (log->secured | (STRETCH - 1)) + 1;
        if (to > log->size_bytes)
            to = log->size_bytes;
        error = make_present(log, log->secured, to);
        if (error != 0 && to > upto) { /* what is not needed yet is another batch's business */
            to = (upto + PAGE - 1) & ~(PAGE - 1);
            error = populate(log, log->secured, to);
        }
        if (error == 0)
            log->secured = to;
    }
    if (error == 0)
        return 0;
    /* EFAULT stands for the SIGBUS that touching it would have been: a read error, or the file is shorter by now. */
    return fail_at(log, error == ENOMEM ? LEAT_ENOMEM : LEAT_EIO, log->secured,
                   error == EFAULT ? "it cannot be read from the disk" : strerror(error));
}

/* --- batches --- */

uint64_t lt_catchup_bound(const struct lt_partition *part)
{
    /* [log.written] acquire: the bytes of what lies below are in the page cache, and stay. */
    uint64_t written = lt_load_acquire64(&part->written);
    uint64_t visible = lt_load_acquire64(&part->visible); /* [log.visible] */
    return written < visible ? written : visible;
}

void lt_catchup_place(struct lt_catchup *log, uint64_t offset)
{
    log->waits = false;
    if (log->batch != NULL && offset >= log->batch->first_offset && offset < log->batch->end_offset) {
        log->at = 0;
        return;
    }
    log->batch = NULL;
    if (offset != log->next)
        log->placed = false;
}

/* The batch at `pos`. 0, ELSEWHERE, or an error. */
static int enter_batch(struct lt_catchup *log)
{
    uint64_t left = log->size_bytes - log->pos;
    const struct lt_batch_head *head = (const void *)(log->base + log->pos);
    struct lt_batch_place place = { .id = { .topic = log->topic->head->log_id, .partition = log->partition },
                                    .base_offset = log->base_offset,
                                    .pos = log->pos };
    const char *why = "the segment ends";
    int r = left < sizeof *head ? 1 : secure(log, log->pos + sizeof *head);
    if (r < 0)
        return r;
    if (r == 0) {
        uint32_t bytes = lt_batch_peek(head);
        bool other = bytes != 0 && head->first_offset != log->next;
        r = bytes == 0 || bytes > left || other;
        why = other ? "a batch of other offsets is there" : "no batch is there";
        if (r == 0)
            r = secure(log, log->pos + bytes);
        if (r < 0)
            return r;
    }
    if (r != 0) /* the segment is over, as far as we can see: leatd knows */
        return log->asked ? fail_at(log, LEAT_EFAILED, log->pos, why) : LT_CATCHUP_ELSEWHERE;
    why = lt_batch_check(head, left, &place);
    if (why != NULL)
        return fail_at(log, LEAT_EFAILED, log->pos, why);
    log->asked = false;
    log->batch = head;
    log->at = 0;
    log->pos += head->bytes;
    log->next = head->end_offset;
    return 0;
}

int lt_catchup_batch(struct lt_catchup *log, uint64_t offset, uint64_t bound)
{
    while (log->batch == NULL || offset >= log->batch->end_offset) {
        log->batch = NULL;
        if (offset >= bound)
            return LT_CATCHUP_END;
        if (log->base == NULL || !log->placed)
            return LT_CATCHUP_ELSEWHERE;
        if (log->next >= bound)
            return LT_CATCHUP_END;
        int r = enter_batch(log);
        if (r == LT_CATCHUP_ELSEWHERE)
            log->placed = false;
        if (r != 0)
            return r;
    }
    return 0;
}

/* --- segments --- */

static int check_answer(const struct lt_catchup *log, int fd, const struct lt_segment_attach_answer *answer)
{
    struct stat stat;
    if (answer->log_id != log->topic->head->log_id || answer->size_bytes > INT64_MAX / 2 ||
        answer->size_bytes < LT_STORE_PAGE + sizeof(struct lt_batch_head) || answer->pos < LT_STORE_PAGE ||
        answer->pos > answer->size_bytes - sizeof(struct lt_batch_head) ||
        answer->pos % LT_BATCH_ALIGN != 0 || answer->first_offset < answer->base_offset)
        return lt_fail(LEAT_EPROTO,
                       "%s: partition %u: a segment of %" PRIu64 " bytes from offset %" PRIu64
                       " on, and the batch of %" PRIu64 " at %" PRIu64,
                       log->topic->name, log->partition, answer->size_bytes, answer->base_offset,
                       answer->first_offset, answer->pos);
    if (fstat(fd, &stat) != 0)
        return lt_fail_errno(errno, "%s: partition %u: segment %020" PRIu64 ".log", log->topic->name,
                             log->partition, answer->base_offset);
    if (!S_ISREG(stat.st_mode) || (uint64_t)stat.st_size < answer->size_bytes)
        return lt_fail(LEAT_EIO,
                       "%s: partition %u: segment %020" PRIu64 ".log has %lld bytes, leatd said %" PRIu64,
                       log->topic->name, log->partition, answer->base_offset, (long long)stat.st_size,
                       answer->size_bytes);
    return 0;
}

static int map_file(struct lt_catchup *log, int fd, const struct lt_segment_attach_answer *answer)
{
    struct stat stat;
    void *base = mmap(NULL, answer->size_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return lt_fail_errno(errno, "%s: partition %u: mapping %" PRIu64 " bytes of the log",
                             log->topic->name, log->partition, answer->size_bytes);
    madvise(base, answer->size_bytes, MADV_DONTFORK);
    madvise(base, answer->size_bytes, MADV_SEQUENTIAL);
    log->base = base;
    log->size_bytes = answer->size_bytes;
    log->base_offset = answer->base_offset;
    log->secured = log->secured_from = 0;
    log->ours = fstat(fd, &stat) == 0 && stat.st_uid == geteuid();
    /* Of no bytes at all: only whether there is such an advice. */
    if (lt_catchup_reads || madvise(base, 0, MADV_POPULATE_READ) != 0)
        log->fd = fd;
    return 0;
}

int lt_catchup_map(struct lt_catchup *log, int fd, const struct lt_segment_attach_answer *answer)
{
    int r = check_answer(log, fd, answer);
    /* A place in the segment that is mapped: the name of a segment is never given to another one. */
    if (r == 0 && (log->base == NULL || log->base_offset != answer->base_offset ||
                   log->size_bytes != answer->size_bytes)) {
        lt_catchup_drop(log);
        r = map_file(log, fd, answer);
    }
    if (fd != log->fd)
        close(fd);
    if (r < 0)
        return r;
    log->batch = NULL;
    log->pos = answer->pos;
    log->next = answer->first_offset;
    log->placed = log->asked = true;
    return 0;
}

/* --- asking --- */

static int later(struct lt_catchup *log, const struct lt_partition *part)
{
    log->waits = true;
    log->acked_seq = lt_load_acquire32(&part->acked_seq);
    log->retry_ms = lt_clock_mono_coarse_ms() + LT_CATCHUP_RETRY_MS;
    return LT_CATCHUP_LATER;
}

bool lt_catchup_waits(struct lt_catchup *log)
{
    if (log->waits) {
        const struct lt_partition *part = lt_attached_partition(log->topic, log->partition);
        log->waits = lt_load_acquire32(&part->acked_seq) == log->acked_seq && /* [log.acked] */
                     lt_clock_mono_coarse_ms() < log->retry_ms;
    }
    return log->waits;
}

/* leatd has not opened the log: it has just started, or cannot. */
static int not_open(struct lt_catchup *log, const struct lt_partition *part)
{
    char reason[LT_REASON_MAX];
    if (lt_load_acquire32(&part->state) != LT_PARTITION_FAILED) /* [log.state] */
        return later(log, part);
    int error = part->error;
    memcpy(reason, part->reason, sizeof reason);
    reason[sizeof reason - 1] = 0;
    return lt_fail(error < 0 ? error : LEAT_EFAILED, "%s: partition %u: %s", log->topic->name, log->partition,
                   reason);
}

/* 0 and an answer, with *fd unless by time; LATER; LEAT_EOFFSET and other errors. */
static int request(struct lt_catchup *log, const struct lt_segment_attach *body,
                   struct lt_segment_attach_answer *answer, int *fd)
{
    const struct lt_partition *part = lt_attached_partition(log->topic, log->partition);
    struct lt_request request = { .type = LT_MSG_SEGMENT_ATTACH,
                                  .body = body,
                                  .body_size = sizeof *body,
                                  .answer = answer,
                                  .answer_size = sizeof *answer };
    log->waits = false;
    if (lt_load_acquire32(&part->log_open) == 0) /* [log.open] */
        return not_open(log, part);
    lt_point("catchup.ask");
    int r = lt_link_call(&log->topic->bus->link, &request);
    if (r == LEAT_EBUSY_HANDLE)
        return later(log, part);
    if (r < 0)
        return r;
    int wanted = body->by_time ? 0 : 1;
    if (request.got == sizeof *answer && request.fd_count == wanted) {
        *fd = wanted ? request.fds[0] : -1;
        return 0;
    }
    for (int i = 0; i < request.fd_count; i++)
        close(request.fds[i]);
    return lt_fail(LEAT_EPROTO, "%s: partition %u: a segment was answered with %u bytes and %d descriptors",
                   log->topic->name, log->partition, request.got, request.fd_count);
}

int lt_catchup_ask(struct lt_catchup *log, uint64_t offset)
{
    const struct lt_partition *part = lt_attached_partition(log->topic, log->partition);
    struct lt_segment_attach body = { .topic_id = log->topic->topic_id,
                                      .partition = log->partition,
                                      .offset = offset };
    struct lt_segment_attach_answer answer = { 0 };
    int fd;
    int r = request(log, &body, &answer, &fd);
    if (r == LEAT_EOFFSET) /* trimmed away meanwhile; or a leatd that starts has not got there yet */
        return offset < lt_load_acquire64(&part->log_start) ? LT_CATCHUP_GONE : later(log, part);
    return r == 0 ? lt_catchup_map(log, fd, &answer) : r;
}

/* --- times --- */

/* For callers that can wait: what leatd says, however long it starts. */
static int insist(struct lt_catchup *log, int r, int64_t *since_ms)
{
    if (r != LT_CATCHUP_LATER)
        return r;
    int64_t now_ms = lt_clock_mono_coarse_ms();
    const struct lt_partition *part = lt_attached_partition(log->topic, log->partition);
    if (*since_ms == 0)
        *since_ms = now_ms;
    if (now_ms - *since_ms > PATIENCE_MS || lt_bus_gone(log->topic->bus))
        return lt_fail(LEAT_EBUSY_HANDLE, "%s: partition %u: leatd has not opened the log", log->topic->name,
                       log->partition);
    lt_futex_wait(&part->acked_seq, log->acked_seq, LT_CATCHUP_RETRY_MS * NS_PER_MS);
    return LT_CATCHUP_LATER;
}

static int ask_time(struct lt_catchup *log, int64_t timestamp_ms, uint64_t *offset)
{
    struct lt_segment_attach body = { .topic_id = log->topic->topic_id,
                                      .partition = log->partition,
                                      .timestamp_ms = timestamp_ms,
                                      .by_time = 1 };
    struct lt_segment_attach_answer answer = { 0 };
    int64_t since_ms = 0;
    int r, fd;
    do
        r = insist(log, request(log, &body, &answer, &fd), &since_ms);
    while (r == LT_CATCHUP_LATER);
    *offset = answer.first_offset;
    return r == LEAT_EOFFSET ? LT_CATCHUP_END : r;
}

/* Walks from *offset on. As lt_catchup_find_time, or GONE. */
static int walk_to_time(struct lt_catchup *log, int64_t timestamp_ms, uint64_t bound, uint64_t *offset)
{
    struct lt_store_record record;
    int64_t since_ms = 0;
    lt_catchup_place(log, *offset);
    for (;;) {
        int r = lt_catchup_batch(log, *offset, bound);
        if (r == LT_CATCHUP_ELSEWHERE) {
            do
                r = insist(log, lt_catchup_ask(log, *offset), &since_ms);
            while (r == LT_CATCHUP_LATER);
            if (r != 0)
                return r;
            if (log->next > *offset)
                *offset = log->next;
            continue;
        }
        if (r != 0)
            return r;
        for (uint32_t at; lt_catchup_next(log, *offset, &record, &at); lt_catchup_take(log, at)) {
            *offset = record.offset;
            if (lt_stamp_ms(record.stamp) >= timestamp_ms)
                return 0;
        }
        *offset = log->batch->end_offset;
    }
}

int lt_catchup_find_time(struct lt_catchup *log, int64_t timestamp_ms, uint64_t bound, uint64_t *offset)
{
    int r;
    do { /* again when what was found is trimmed away before we are there */
        r = ask_time(log, timestamp_ms, offset);
        if (r == 0)
            r = walk_to_time(log, timestamp_ms, bound, offset);
    } while (r == LT_CATCHUP_GONE);
    return r;
}
