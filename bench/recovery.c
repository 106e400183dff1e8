/*
 * How long a log of some GiB takes to be opened: after a close in good order, and as a death leaves it, with the last batches
 * written and not flushed. The log is made by src/store itself, one partition of 1 KiB records, and is read past the page
 * cache when it is opened, whatever was in there.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <leat.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "store/plog.h"

#define BATCH_BYTES (1u << 20)
#define UNFLUSHED_BATCHES 8
#define OPENINGS 5

struct recovery {
    struct lt_io *io;
    int dir_fd;
    const char *directory;
    unsigned char *stage;
};

static const struct lt_plog_settings settings = { .id = { .topic = 1 }, .level = LT_PLOG_WRITTEN };

static int open_log(const struct recovery *r, struct lt_plog **log)
{
    return lt_plog_open(r->io, r->dir_fd, r->directory, &settings, LT_RECOVER_CREATE, log);
}

/* One batch of records, written when this returns. */
static int append(const struct recovery *r, struct lt_plog *log)
{
    static unsigned char value[1024];
    struct lt_batch batch;
    struct lt_io_op op, again;
    uint64_t offset = lt_plog_end(log);
    lt_batch_start(&batch, r->stage, BATCH_BYTES, offset);
    memcpy(value, &offset, sizeof offset);
    for (int full = 0; !full; offset++) {
        struct lt_store_record record = { .offset = offset,
                                          .stamp = offset / 1000,
                                          .key_size = LT_STORE_NULL,
                                          .value_size = sizeof value,
                                          .kind = LT_RECORD_DATA,
                                          .bytes = value };
        full = lt_batch_add(&batch, &record);
    }
    int result;
    while ((result = lt_plog_append(log, &batch, &op)) == LT_PLOG_NO_ROOM || result == LT_PLOG_SYNC) {
        bool sync = result == LT_PLOG_SYNC && lt_plog_sync(log, &op) == 0;
        int error = !sync ? lt_plog_prepare(log)
                          : lt_plog_completed(log, op.token, lt_io_now(r->io, &op), &again);
        if (error < 0)
            return error;
    }
    while (result == 0 && (result = lt_plog_completed(log, op.token, lt_io_now(r->io, &op), &again)) == 1) {
        op = again;
        result = 0;
    }
    return result;
}

static int flush(const struct recovery *r, struct lt_plog *log)
{
    struct lt_io_op op, again;
    while (lt_plog_sync(log, &op) == 0) {
        int error = lt_plog_completed(log, op.token, lt_io_now(r->io, &op), &again);
        if (error < 0)
            return error;
    }
    return 0;
}

static int make_log(const struct recovery *r, uint64_t bytes)
{
    struct lt_plog *log;
    int error = open_log(r, &log);
    for (uint64_t written = 0; error == 0 && written < bytes; written += BATCH_BYTES)
        error = append(r, log);
    if (error == 0)
        error = flush(r, log);
    return error < 0 ? error : lt_plog_close(log, lt_plog_end(log));
}

/* One opening; what is left is closed well, or as a death does it, for the next one. */
static int measure(const struct recovery *r, bool die, double *ns, uint64_t *offsets)
{
    struct lt_plog *log;
    uint64_t from = bench_ticks();
    int error = open_log(r, &log);
    *ns = bench_ns(bench_ticks_after() - from);
    if (error != 0)
        return error;
    *offsets = lt_plog_end(log);
    if (!die)
        return lt_plog_close(log, lt_plog_end(log));
    for (int i = 0; error == 0 && i < UNFLUSHED_BATCHES; i++)
        error = append(r, log);
    lt_plog_abandon(log);
    return error;
}

static void report(const char *how, uint64_t mib, double *ns, int count, uint64_t offsets,
                   const struct bench_options *options)
{
    struct bench_quantiles q = bench_quantiles_of(ns, count); /* sorts them */
    if (options->json)
        printf("{\"record\":\"recovery\",\"name\":\"recovery/%s\",\"log_mib\":%llu,\"records\":%llu,\"n\":%d,"
               "\"p50_ns\":%.0f,\"max_ns\":%.0f}\n",
               how, (unsigned long long)mib, (unsigned long long)offsets, count, q.p50_ns, ns[count - 1]);
    else
        printf("%-34s %8llu MiB %12llu records %9.1f ms %9.1f ms\n", how, (unsigned long long)mib,
               (unsigned long long)offsets, q.p50_ns / 1e6, ns[count - 1] / 1e6);
    fflush(stdout);
}

static int run(const struct recovery *r, uint64_t mib, const struct bench_options *options)
{
    double ns[OPENINGS];
    uint64_t offsets;
    int error = make_log(r, mib << 20);
    for (int die = 0; error == 0 && die < 2; die++) {
        if (die)
            error = measure(r, true, &ns[0], &offsets); /* it finds a log that was closed well */
        for (int i = 0; error == 0 && i < OPENINGS; i++)
            error = measure(r, die != 0, &ns[i], &offsets);
        if (error == 0)
            report(die ? "after a death" : "after a close", mib, ns, OPENINGS, offsets, options);
    }
    return error;
}

/* Returns how many cases failed: 0 or 1. */
int bench_recovery(const struct bench_options *options)
{
    char directory[64];
    uint64_t mib = options->log_mib ? options->log_mib : options->quick ? 8 : 2048;
    const char *tmp = getenv("TMPDIR");
    if (options->filter && !strstr("recovery", options->filter))
        return 0;
    snprintf(directory, sizeof directory, "%s/leat-bench-XXXXXX", tmp && strlen(tmp) < 32 ? tmp : "/tmp");
    if (!mkdtemp(directory)) {
        fprintf(stderr, "bench: recovery: %s: %s\n", directory, strerror(errno));
        return 1;
    }
    if (!options->json)
        printf(
            "\nRecovery: opening a log, p50 and max of %d. Target: 10 GiB (--log-mib 10240) in less than 1 s.\n",
            OPENINGS);
    struct recovery r = { .io = lt_io_plain(1),
                          .dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                          .directory = directory,
                          .stage = aligned_alloc(4096, BATCH_BYTES) };
    int error = r.io && r.dir_fd >= 0 && r.stage ? run(&r, mib, options) : LEAT_ENOMEM;
    if (error != 0)
        fprintf(stderr, "bench: recovery: %d: %s\n", error, lt_fail_text());
    free(r.stage);
    if (r.dir_fd >= 0)
        close(r.dir_fd);
    if (r.io)
        lt_io_free(r.io);
    bench_remove_tree(directory);
    return error != 0;
}
