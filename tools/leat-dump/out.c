/* out: lines and verdicts. See dump.h. A line is a kind and fields: `  batch pos=4096 bytes=128 ...`, or a JSON document. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "client/record.h"
#include "dump.h"

#define HEADERS_MAX 64

static const char *const verdicts[DUMP_VERDICTS] = { "ok", "torn", "damaged", "unreadable" };

int dump_status(const struct dump *dump)
{
    if (dump->count[DUMP_DAMAGED] > 0)
        return DUMP_ALARM;
    return dump->count[DUMP_UNREAD] > 0 ? DUMP_FAILED : DUMP_DONE;
}

/* ---- text ---- */

/* Nothing that a terminal would act on. */
static void put_printable(FILE *out, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++) {
        if (at[i] == '"' || at[i] == '\\')
            fprintf(out, "\\%c", at[i]);
        else if (at[i] == '\n')
            fputs("\\n", out);
        else if (at[i] < 0x20 || at[i] >= 0x7f)
            fprintf(out, "\\x%02x", at[i]);
        else
            putc(at[i], out);
    }
}

static void put_plain(FILE *out, const char *text)
{
    for (; *text; text++)
        putc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, out);
}

static void put_name(struct dump *dump, const char *name)
{
    if (dump->as_json)
        json_key(&dump->json, name);
    else
        fprintf(dump->json.out, " %s=", name);
}

/* ---- a line ---- */

void out_begin(struct dump *dump, const char *kind)
{
    FILE *out = dump->json.out;
    if (dump->verify)
        return;
    if (dump->as_json) {
        json_open(&dump->json, '{');
        json_key(&dump->json, "path");
        json_text(&dump->json, dump->path);
        json_key(&dump->json, "kind");
        json_text(&dump->json, kind);
        return;
    }
    if (strcmp(dump->heading, dump->path) != 0) {
        snprintf(dump->heading, sizeof dump->heading, "%s", dump->path);
        put_plain(out, dump->path);
        fputs(":\n", out);
    }
    fprintf(out, "  %s", kind);
}

void out_end(struct dump *dump)
{
    if (dump->verify)
        return;
    if (dump->as_json) {
        json_close(&dump->json, '}');
        dump->json.comma = false; /* the next document is one of its own */
    }
    putc('\n', dump->json.out);
}

void out_uint(struct dump *dump, const char *name, uint64_t value)
{
    if (dump->verify)
        return;
    put_name(dump, name);
    if (dump->as_json)
        json_uint(&dump->json, value);
    else
        fprintf(dump->json.out, "%" PRIu64, value);
}

void out_int(struct dump *dump, const char *name, int64_t value)
{
    if (dump->verify)
        return;
    put_name(dump, name);
    if (dump->as_json)
        json_int(&dump->json, value);
    else
        fprintf(dump->json.out, "%" PRId64, value);
}

void out_hex(struct dump *dump, const char *name, uint64_t value)
{
    char text[20];
    snprintf(text, sizeof text, "%016" PRIx64, value);
    out_text(dump, name, text);
}

void out_time(struct dump *dump, const char *name, int64_t ms)
{
    if (dump->verify)
        return;
    put_name(dump, name);
    if (dump->as_json && ms == INT64_MIN) {
        json_bytes(&dump->json, NULL, 0);
        return;
    }
    if (dump->as_json) {
        json_int(&dump->json, ms);
        return;
    }
    int64_t rest = ms % 1000 < 0 ? ms % 1000 + 1000 : ms % 1000;
    time_t seconds = (time_t)(ms / 1000 - (ms % 1000 < 0));
    struct tm date;
    char text[64];
    if (ms == INT64_MIN)
        putc('-', dump->json.out);
    else if (ms > -62135596800000 && ms < 253402300800000 && gmtime_r(&seconds, &date) &&
             strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &date) > 0)
        fprintf(dump->json.out, "%s.%03dZ", text, (int)rest);
    else
        fprintf(dump->json.out, "%" PRId64 "ms", ms);
}

void out_text(struct dump *dump, const char *name, const char *text)
{
    if (dump->verify)
        return;
    put_name(dump, name);
    if (dump->as_json)
        json_text(&dump->json, text);
    else
        put_plain(dump->json.out, text);
}

static void put_hex(struct dump *dump, const unsigned char *bytes, size_t size)
{
    putc('"', dump->json.out);
    for (size_t i = 0; i < size; i++)
        fprintf(dump->json.out, "%02x", bytes[i]);
    putc('"', dump->json.out);
    dump->json.comma = true;
}

void out_bytes(struct dump *dump, const char *name, const void *bytes, size_t size)
{
    if (dump->verify)
        return;
    put_name(dump, name);
    if (!bytes && !dump->as_json) {
        fputs("null", dump->json.out);
    } else if (bytes && dump->hex) {
        put_hex(dump, bytes, size);
    } else if (dump->as_json) {
        json_bytes(&dump->json, bytes, size);
    } else {
        putc('"', dump->json.out);
        put_printable(dump->json.out, bytes, size);
        putc('"', dump->json.out);
    }
}

/* ---- records ---- */

bool out_wants(const struct dump *dump, uint64_t first_offset, uint64_t end_offset)
{
    return dump->records && !dump->verify && first_offset < dump->to && end_offset > dump->from;
}

static void out_headers(struct dump *dump, const unsigned char *bytes, uint32_t size)
{
    leat_header headers[HEADERS_MAX];
    int count = lt_record_headers_read(bytes, size, headers, HEADERS_MAX);
    if (count < 0) { /* damaged by its producer, or very many: as they are */
        out_bytes(dump, "headers", bytes, size);
        return;
    }
    if (dump->as_json) {
        json_key(&dump->json, "headers");
        json_open(&dump->json, '[');
    }
    for (int i = 0; i < count; i++) {
        const leat_header *header = &headers[i];
        if (dump->as_json)
            json_open(&dump->json, '{');
        out_bytes(dump, dump->as_json ? "name" : "header", header->name, header->name_size);
        out_bytes(dump, dump->as_json ? "value" : "is", header->value, header->value_size);
        if (dump->as_json)
            json_close(&dump->json, '}');
    }
    if (dump->as_json)
        json_close(&dump->json, ']');
}

void out_record(struct dump *dump, const struct lt_store_record *record)
{
    const unsigned char *value = record->bytes;
    bool no_value = record->value_size == LT_STORE_NULL, no_key = record->key_size == LT_STORE_NULL;
    uint32_t value_size = no_value ? 0 : record->value_size, key_size = no_key ? 0 : record->key_size;
    if (!out_wants(dump, record->offset, record->offset + 1))
        return;
    out_begin(dump, "record");
    out_uint(dump, "offset", record->offset);
    out_text(dump, "is",
             record->kind == LT_RECORD_DATA     ? "data"
             : record->kind == LT_RECORD_MARKER ? "marker"
                                                : "unknown");
    out_time(dump, "timestamp", lt_stamp_ms(record->stamp));
    out_uint(dump, "epoch", record->stamp >> 48);
    out_int(dump, "key_size", no_key ? -1 : (int64_t)key_size);
    out_int(dump, "value_size", no_value ? -1 : (int64_t)value_size);
    out_uint(dump, "headers_size", record->headers_size);
    out_bytes(dump, "key", no_key ? NULL : value + value_size, key_size);
    out_bytes(dump, "value", no_value ? NULL : value, value_size);
    if (record->headers_size > 0)
        out_headers(dump, value + value_size + key_size, record->headers_size);
    out_end(dump);
}

/* ---- verdicts ---- */

void dump_say(struct dump *dump, enum dump_verdict verdict, const char *format, ...)
{
    char why[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    dump->count[verdict]++;
    if (dump->as_json) {
        bool verify = dump->verify;
        dump->verify = false;
        out_begin(dump, "verdict");
        out_text(dump, "verdict", verdicts[verdict]);
        out_text(dump, "why", why);
        out_end(dump);
        dump->verify = verify;
        return;
    }
    put_plain(dump->json.out, dump->path);
    fprintf(dump->json.out, ": %s: ", verdicts[verdict]);
    put_plain(dump->json.out, why);
    putc('\n', dump->json.out);
}

const char *dump_why(const struct dump *dump)
{
    const char *text = lt_fail_text(), *slash = strrchr(dump->path, '/');
    const char *places[] = { dump->path, slash ? slash : dump->path };
    for (int i = 0; i < 2; i++) {
        size_t size = strlen(places[i]);
        size_t skipped = i == 1 && !slash && text[0] == '/'; /* of a file by itself: /NAME */
        if (strncmp(text + skipped, places[i], size) == 0 && strncmp(text + skipped + size, ": ", 2) == 0)
            return text + skipped + size + 2;
    }
    return text;
}

enum dump_verdict dump_verdict_of(int error)
{
    return error == LEAT_EFAILED ? DUMP_DAMAGED : DUMP_UNREAD;
}
