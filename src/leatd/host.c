/* host: a bus inside the caller's program: the worker's threads and no keeper. leat.h has the contract.
 *
 * A death of the program ends the bus; its directory is left, and the next host there, or leatd, takes the names over. What lies in
 * a data directory is there again for whoever is given that. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include <leat.h>
#include "leatd/bus.h"
#include "leatd/worker.h"

struct leat_host {
    struct lt_worker worker;
    pid_t pid;
    bool is_fresh; /* the directory is ours to remove */
    char path[LT_PLACE_MAX];
};

static int choose_directory(struct leat_host *host, const leat_host_options *options)
{
    if (options && options->directory) {
        int length = lt_place(options->directory, host->path, sizeof host->path);
        return length < 0 ? length : 0;
    }
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (!runtime || runtime[0] != '/' || access(runtime, W_OK) != 0)
        runtime = "/tmp";
    int length = snprintf(host->path, sizeof host->path, "%s/leat-host-XXXXXX", runtime);
    if (length < 0 || (size_t)length >= sizeof host->path)
        return lt_fail(LEAT_EINVAL, "$XDG_RUNTIME_DIR has %zu bytes", strlen(runtime));
    if (!mkdtemp(host->path))
        return lt_fail_errno(errno, "a directory %s", host->path);
    host->is_fresh = true;
    return 0;
}

static void remove_directory(const struct leat_host *host)
{
    static const char *const names[] = { LT_COUNTERS_FILE, LT_LOCK_FILE };
    char file[PATH_MAX];
    if (!host->is_fresh)
        return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(file, sizeof file, "%s/%s", host->path, names[i]);
        unlink(file);
    }
    rmdir(host->path);
}

static int start(struct leat_host *host, const char *data)
{
    struct lt_config config;
    struct lt_bus bus;
    lt_config_init(&config);
    config.max_memory_per_uid = config
                                    .max_memory; /* the program's own bus: no user is to be spared another */
    snprintf(config.path, sizeof config.path, "%s", host->path);
    if (data && (size_t)snprintf(config.data, sizeof config.data, "%s", data) >= sizeof config.data)
        return lt_fail(LEAT_EINVAL, "data: a path of %zu bytes", strlen(data));
    int r = lt_bus_open(&bus, host->path, config.socket_mode);
    if (r < 0)
        return r;
    r = lt_worker_init(&host->worker, &config, -1);
    if (r == 0 && (lt_keep_add(&host->worker.keep.table, LT_KEEP_LISTEN, 0, NULL, bus.listen_fd) < 0 ||
                   lt_keep_add(&host->worker.keep.table, LT_KEEP_LOCK, 0, NULL, bus.lock_fd) < 0))
        r = lt_fail(LEAT_ENOMEM, "no memory for a bus");
    return r < 0 ? r : lt_worker_start(&host->worker, false);
}

int leat_host_start(leat_host **host, const leat_host_options *options)
{
    if (!host)
        return lt_fail(LEAT_EINVAL, "leat_host_start: no place for the handle");
    *host = NULL;
    if (options && options->size < sizeof options->size + sizeof options->directory)
        return lt_fail(LEAT_EINVAL, "leat_host_start: options of %zu bytes; use LEAT_HOST_OPTIONS",
                       options->size);
    struct leat_host *made = calloc(1, sizeof *made);
    if (!made)
        return lt_fail(LEAT_ENOMEM, "no memory for a bus");
    made->pid = getpid();
    int r = choose_directory(made, options);
    if (r == 0) {
        bool has_data = options && options->size >= offsetof(leat_host_options, data) + sizeof options->data;
        r = start(made, has_data ? options->data : NULL);
        if (r < 0) {
            lt_bus_remove(made->path);
            remove_directory(made);
        }
    }
    if (r < 0)
        free(made);
    else
        *host = made;
    return r;
}

const char *leat_host_path(leat_host *host)
{
    return host ? host->path : "";
}

void leat_host_stop(leat_host *host)
{
    /* A forked child has neither the threads nor the bus: it leaves both alone. */
    if (!host || host->pid != getpid())
        return;
    lt_bus_remove(host->path); /* first: who connects from now on finds nobody */
    lt_worker_stop(&host->worker);
    remove_directory(host);
    free(host);
}
