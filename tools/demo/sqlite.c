/* sqlite: orders into a file. One process writes at a time, the others wait for it. */
#include "sink.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATIENCE_MS = 20000 };

struct sqlite {
    struct sink sink;
    sqlite3 *db;
    sqlite3_stmt *insert; /* prepared with the first put */
};

static bool complain_of(struct sqlite *sqlite, const char *what)
{
    fprintf(stderr, "demo: sqlite: %s: %s\n", what, sqlite3_errmsg(sqlite->db));
    return false;
}

static bool run_sql(struct sink *sink, const char *sql)
{
    struct sqlite *sqlite = (struct sqlite *)sink;
    return sqlite3_exec(sqlite->db, sql, NULL, NULL, NULL) == SQLITE_OK || complain_of(sqlite, sql);
}

static void close_file(struct sink *sink)
{
    struct sqlite *sqlite = (struct sqlite *)sink;
    sqlite3_finalize(sqlite->insert);
    sqlite3_close(sqlite->db);
    free(sqlite);
}

/* As durable as the topic: an order's offset is committed behind the transaction, so the transaction has to be on the disk
 * by then (full: one flush of the write-ahead log each). Else a power cut could take orders that the group does not ask for again. */
static struct sink *open_file(const char *where)
{
    struct sqlite *sqlite = calloc(1, sizeof *sqlite);
    if (!sqlite)
        return NULL;
    bool good = sqlite3_open(where, &sqlite->db) == SQLITE_OK || complain_of(sqlite, where);
    good = good && sqlite3_busy_timeout(sqlite->db, PATIENCE_MS) == SQLITE_OK;
    if (good && run_sql(&sqlite->sink, "pragma journal_mode = wal; pragma synchronous = full"))
        return &sqlite->sink;
    close_file(&sqlite->sink);
    return NULL;
}

static bool ask(struct sink *sink, const char *sql, int64_t *answer, int count)
{
    struct sqlite *sqlite = (struct sqlite *)sink;
    sqlite3_stmt *question = NULL;
    bool good = sqlite3_prepare_v2(sqlite->db, sql, -1, &question, NULL) == SQLITE_OK &&
                sqlite3_step(question) == SQLITE_ROW;
    for (int i = 0; i < count; i++)
        answer[i] = good ? sqlite3_column_int64(question, i) : 0;
    if (!good)
        complain_of(sqlite, sql);
    sqlite3_finalize(question);
    return good;
}

static int put(struct sink *sink, const struct order *order, const leat_record *record, const char *consumer)
{
    struct sqlite *sqlite = (struct sqlite *)sink;
    if (!sqlite->insert &&
        sqlite3_prepare_v2(sqlite->db, SINK_INSERT, -1, &sqlite->insert, NULL) != SQLITE_OK)
        return complain_of(sqlite, "insert"), -1;
    sqlite3_stmt *insert = sqlite->insert;
    sqlite3_bind_text(insert, 1, order->id, -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 2, order->customer, -1, SQLITE_STATIC);
    sqlite3_bind_int64(insert, 3, order->sequence);
    sqlite3_bind_text(insert, 4, order->item, -1, SQLITE_STATIC);
    sqlite3_bind_int64(insert, 5, order->cents);
    sqlite3_bind_int64(insert, 6, record->partition);
    sqlite3_bind_int64(insert, 7, (int64_t)record->offset);
    sqlite3_bind_text(insert, 8, consumer, -1, SQLITE_STATIC);
    bool good = sqlite3_step(insert) == SQLITE_DONE || complain_of(sqlite, "insert");
    sqlite3_reset(insert);
    return good ? sqlite3_changes(sqlite->db) : -1;
}

const struct sink_kind sink_sqlite = {
    .name = "sqlite",
    .serial = "integer primary key autoincrement",
    .open = open_file,
    .close = close_file,
    .run = run_sql,
    .ask = ask,
    .put = put,
};
