/* postgres: orders into a PostgreSQL database.
 *
 * Its client library is looked for when it is wanted, so that a demo without PostgreSQL can be built and run. What is used
 * of it has been the same in every libpq.so.5.
 */
#include "sink.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct pg_conn PGconn;
typedef struct pg_result PGresult;

enum { CONNECTION_OK = 0, PGRES_COMMAND_OK = 1, PGRES_TUPLES_OK = 2, ARGUMENTS = 8 };

static struct {
    PGconn *(*connect)(const char *conninfo);
    int (*status)(const PGconn *conn);
    char *(*error)(const PGconn *conn);
    void (*finish)(PGconn *conn);
    PGresult *(*exec)(PGconn *conn, const char *sql);
    PGresult *(*prepare)(PGconn *conn, const char *name, const char *sql, int count, const unsigned *types);
    PGresult *(*exec_prepared)(PGconn *conn, const char *name, int count, const char *const *values,
                               const int *sizes, const int *formats, int result_format);
    int (*result_status)(const PGresult *result);
    char *(*affected)(PGresult *result);
    int (*rows)(const PGresult *result);
    char *(*value)(const PGresult *result, int row, int column);
    void (*clear)(PGresult *result);
} pq;

struct postgres {
    struct sink sink;
    PGconn *conn;
    bool prepared;
};

static bool load(void)
{
    const struct {
        const char *name;
        void *to;
    } calls[] = {
        { "PQconnectdb", &pq.connect },
        { "PQstatus", &pq.status },
        { "PQerrorMessage", &pq.error },
        { "PQfinish", &pq.finish },
        { "PQexec", &pq.exec },
        { "PQprepare", &pq.prepare },
        { "PQexecPrepared", &pq.exec_prepared },
        { "PQresultStatus", &pq.result_status },
        { "PQcmdTuples", &pq.affected },
        { "PQntuples", &pq.rows },
        { "PQgetvalue", &pq.value },
        { "PQclear", &pq.clear },
    };
    void *library = dlopen("libpq.so.5", RTLD_NOW);
    bool good = library != NULL;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0] && good; i++) {
        void *call = dlsym(library, calls[i].name);
        memcpy(calls[i].to, &call, sizeof call); /* C has no cast from an object's pointer to a function's */
        good = call != NULL;
    }
    if (!good)
        fprintf(stderr, "demo: postgres: %s (Debian's package libpq5 has it)\n", dlerror());
    return good;
}

/* What libpq says ends with a newline. */
static bool complain_of(struct postgres *postgres, const char *what)
{
    fprintf(stderr, "demo: postgres: %s: %s", what, pq.error(postgres->conn));
    return false;
}

static void close_connection(struct sink *sink)
{
    struct postgres *postgres = (struct postgres *)sink;
    pq.finish(postgres->conn);
    free(postgres);
}

/* Whether the result is of this kind; it is cleared when not. */
static bool is_status(struct postgres *postgres, PGresult *result, int wanted, const char *what)
{
    if (pq.result_status(result) == wanted)
        return true;
    complain_of(postgres, what);
    pq.clear(result);
    return false;
}

static bool run_sql(struct sink *sink, const char *sql)
{
    struct postgres *postgres = (struct postgres *)sink;
    PGresult *result = pq.exec(postgres->conn, sql);
    if (!is_status(postgres, result, PGRES_COMMAND_OK, sql))
        return false;
    pq.clear(result);
    return true;
}

static struct sink *open_connection(const char *where)
{
    struct postgres *postgres = load() ? calloc(1, sizeof *postgres) : NULL;
    if (!postgres)
        return NULL;
    postgres->conn = pq.connect(where);
    /* Or it remarks that a table that is to be dropped was not there. */
    if ((pq.status(postgres->conn) == CONNECTION_OK || complain_of(postgres, "connect")) &&
        run_sql(&postgres->sink, "set client_min_messages = warning"))
        return &postgres->sink;
    close_connection(&postgres->sink);
    return NULL;
}

static bool ask(struct sink *sink, const char *sql, int64_t *answer, int count)
{
    struct postgres *postgres = (struct postgres *)sink;
    PGresult *result = pq.exec(postgres->conn, sql);
    memset(answer, 0, (size_t)count * sizeof *answer);
    if (!is_status(postgres, result, PGRES_TUPLES_OK, sql))
        return false;
    for (int i = 0; i < count && pq.rows(result) > 0; i++)
        answer[i] = strtoll(pq.value(result, 0, i), NULL, 10);
    pq.clear(result);
    return true;
}

static bool prepare(struct postgres *postgres)
{
    PGresult *result = pq.prepare(postgres->conn, "put", SINK_INSERT, 0, NULL);
    if (!is_status(postgres, result, PGRES_COMMAND_OK, "prepare"))
        return false;
    pq.clear(result);
    return postgres->prepared = true;
}

static int put(struct sink *sink, const struct order *order, const leat_record *record, const char *consumer)
{
    struct postgres *postgres = (struct postgres *)sink;
    char sequence[16], cents[24], part[16], position[24];
    const char *values[ARGUMENTS] = { order->id, order->customer, sequence, order->item, cents,
                                      part,      position,        consumer };
    snprintf(sequence, sizeof sequence, "%" PRIu32, order->sequence);
    snprintf(cents, sizeof cents, "%" PRId64, order->cents);
    snprintf(part, sizeof part, "%" PRIu32, record->partition);
    snprintf(position, sizeof position, "%" PRIu64, record->offset);
    if (!postgres->prepared && !prepare(postgres))
        return -1;
    PGresult *result = pq.exec_prepared(postgres->conn, "put", ARGUMENTS, values, NULL, NULL, 0);
    if (!is_status(postgres, result, PGRES_COMMAND_OK, "insert"))
        return -1;
    int stored = atoi(pq.affected(result));
    pq.clear(result);
    return stored;
}

const struct sink_kind sink_postgres = {
    .name = "postgres",
    .serial = "bigserial primary key",
    .open = open_connection,
    .close = close_connection,
    .run = run_sql,
    .ask = ask,
    .put = put,
};
