/* JSON out: see json.h. */
#include "json.h"

#include <inttypes.h>
#include <string.h>

/* What stands before a value: a comma unless it is the first, or follows its key. */
static void begin(struct json *json)
{
    if (json->comma)
        putc_unlocked(',', json->out);
    json->comma = true;
}

void json_open(struct json *json, char bracket)
{
    begin(json);
    putc_unlocked(bracket, json->out);
    json->comma = false;
}

void json_close(struct json *json, char bracket)
{
    putc_unlocked(bracket, json->out);
    json->comma = true;
}

void json_key(struct json *json, const char *name)
{
    json_text(json, name);
    putc_unlocked(':', json->out);
    json->comma = false;
}

/* How many bytes the UTF-8 character at `at` has, by table 3-7 of the Unicode standard; 0: it is none. */
static size_t character_size(const unsigned char *at, size_t left)
{
    unsigned char first = at[0], second = left > 1 ? at[1] : 0;
    size_t size = first < 0x80   ? 1
                  : first < 0xc2 ? 0
                  : first < 0xe0 ? 2
                  : first < 0xf0 ? 3
                  : first < 0xf5 ? 4
                                 : 0;
    if (size > left)
        return 0;
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
        (first == 0xf0 && second < 0x90) ||
        (first == 0xf4 && second > 0x8f)) /* longer than needed, a surrogate, above U+10FFFF */
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

/* The letter of a character's short escape, or 0. */
static char short_escape(unsigned char c)
{
    switch (c) {
    case '"':
        return '"';
    case '\\':
        return '\\';
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

void json_bytes(struct json *json, const void *bytes, size_t size)
{
    begin(json);
    if (!bytes) {
        fputs("null", json->out);
        return;
    }
    const unsigned char *at = bytes, *end = at + size;
    putc_unlocked('"', json->out);
    while (at < end) {
        char letter = short_escape(*at);
        size_t whole = character_size(at, (size_t)(end - at));
        if (letter)
            fprintf(json->out, "\\%c", letter);
        else if (*at < 0x20 || *at == 0x7f || whole == 0)
            fprintf(json->out, "\\u%04x", *at);
        else
            fwrite(at, 1, whole, json->out);
        at += whole ? whole : 1;
    }
    putc_unlocked('"', json->out);
}

void json_text(struct json *json, const char *string)
{
    json_bytes(json, string, string ? strlen(string) : 0);
}

void json_int(struct json *json, int64_t number)
{
    begin(json);
    fprintf(json->out, "%" PRId64, number);
}

void json_uint(struct json *json, uint64_t number)
{
    begin(json);
    fprintf(json->out, "%" PRIu64, number);
}

void json_float(struct json *json, double number)
{
    begin(json);
    fprintf(json->out, "%.6f", number);
}

void json_bool(struct json *json, bool value)
{
    begin(json);
    fputs(value ? "true" : "false", json->out);
}
