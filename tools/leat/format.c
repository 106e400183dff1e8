/* -f FORMAT: see format.h. */
#include "format.h"
#include "json.h"
#include "options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void add_part(struct format *format, char token, char *text, size_t size)
{
    format->parts = cli_have(realloc(format->parts, (format->count + 1) * sizeof *format->parts));
    format->parts[format->count++] = (struct format_part){ token, text, size };
}

/* Literal text up to the next token. Escapes are written out here, so that no '%' of theirs is taken for one. */
static const char *add_text(struct format *format, const struct cli *cli, const char *from)
{
    size_t size = strcspn(from, "%");
    char *text = cli_have(strndup(from, size));
    add_part(format, 0, text, options_unescape(cli, "-f", text));
    return from + size;
}

void format_parse(struct format *format, const struct cli *cli, const char *text)
{
    *format = (struct format){ 0 };
    while (*text) {
        if (*text != '%') {
            text = add_text(format, cli, text);
            continue;
        }
        char token = text[1];
        if (!token || !strchr("sSkKtpoThd%", token))
            cli_misused(cli, "-f: %%%c is no token; there are %%s %%S %%k %%K %%t %%p %%o %%T %%h %%d %%%%",
                        token ? token : ' ');
        format->wants_timestamp |= token == 'T';
        format->wants_delivery |= token == 'd';
        add_part(format, token, NULL, 0);
        text += 2;
    }
}

void format_free(struct format *format)
{
    for (size_t i = 0; i < format->count; i++)
        free(format->parts[i].text);
    free(format->parts);
    *format = (struct format){ 0 };
}

/* name=value,name=value; a name alone has a null value. */
static void print_headers(const leat_record *record, FILE *out)
{
    for (size_t i = 0; i < record->header_count; i++) {
        const leat_header *header = &record->headers[i];
        if (i > 0)
            putc_unlocked(',', out);
        fwrite_unlocked(header->name, 1, header->name_size, out);
        if (!header->value)
            continue;
        putc_unlocked('=', out);
        fwrite_unlocked(header->value, 1, header->value_size, out);
    }
}

static void print_size(const void *bytes, size_t size, FILE *out)
{
    if (bytes)
        fprintf(out, "%zu", size);
    else
        fputs("-1", out);
}

static void print_token(char token, const leat_record *record, int64_t delivered_ns, FILE *out)
{
    switch (token) {
    case 's':
        if (record->value)
            fwrite_unlocked(record->value, 1, record->value_size, out);
        break;
    case 'S':
        print_size(record->value, record->value_size, out);
        break;
    case 'k':
        if (record->key)
            fwrite_unlocked(record->key, 1, record->key_size, out);
        break;
    case 'K':
        print_size(record->key, record->key_size, out);
        break;
    case 't':
        fputs(record->topic, out);
        break;
    case 'p':
        fprintf(out, "%" PRIu32, record->partition);
        break;
    case 'o':
        fprintf(out, "%" PRIu64, record->offset);
        break;
    case 'T':
        fprintf(out, "%" PRId64, record->timestamp_ms);
        break;
    case 'h':
        print_headers(record, out);
        break;
    case 'd':
        fprintf(out, "%" PRId64, delivered_ns);
        break;
    default:
        putc_unlocked('%', out);
    }
}

void format_print(const struct format *format, const leat_record *record, int64_t delivered_ns, FILE *out)
{
    for (size_t i = 0; i < format->count; i++) {
        const struct format_part *part = &format->parts[i];
        if (part->token)
            print_token(part->token, record, delivered_ns, out);
        else
            fwrite_unlocked(part->text, 1, part->size, out);
    }
}

void format_print_json(const leat_record *record, FILE *out)
{
    struct json json = { .out = out };
    json_open(&json, '{');
    json_key(&json, "topic");
    json_text(&json, record->topic);
    json_key(&json, "partition");
    json_uint(&json, record->partition);
    json_key(&json, "offset");
    json_uint(&json, record->offset);
    json_key(&json, "timestamp_ms");
    json_int(&json, record->timestamp_ms);
    json_key(&json, "key");
    json_bytes(&json, record->key, record->key_size);
    json_key(&json, "value");
    json_bytes(&json, record->value, record->value_size);
    json_key(&json, "headers");
    json_open(&json, '[');
    for (size_t i = 0; i < record->header_count; i++) {
        json_open(&json, '{');
        json_key(&json, "name");
        json_bytes(&json, record->headers[i].name, record->headers[i].name_size);
        json_key(&json, "value");
        json_bytes(&json, record->headers[i].value, record->headers[i].value_size);
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
    putc_unlocked('\n', out);
}
