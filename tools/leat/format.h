/* -f FORMAT: how a record is printed. kcat's tokens, and %d.
 *
 *     %s value  %S its length   %k key  %K its length (-1: null)   %t topic  %p partition  %o offset
 *     %T timestamp (ms)   %h headers, name=value,...   %d delivered by poll (ns)   %%   \n \t \r \0 \\ \xHH
 */
#ifndef FORMAT_H
#define FORMAT_H

#include "cli.h"

#include <stdio.h>

struct format_part {
    char token; /* 0: literal text */
    char *text;
    size_t size;
};

struct format {
    struct format_part *parts;
    size_t count;
    bool wants_timestamp, wants_delivery;
};

/* Complains about what it does not know, as a mistake in the arguments. */
void format_parse(struct format *format, const struct cli *cli, const char *text);
void format_free(struct format *format);

void format_print(const struct format *format, const leat_record *record, int64_t delivered_ns, FILE *out);

/* --json instead of a format: one object a line. */
void format_print_json(const leat_record *record, FILE *out);

#endif
