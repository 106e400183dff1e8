/* JSON out: enough of a writer for what leat prints, straight to a stream, on one line. */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json {
    FILE *out;
    bool comma; /* something stands before, on this level */
};

/* '{' or '[', and its end: '}' or ']'. Every value inside an object follows a json_key. */
void json_open(struct json *json, char bracket);
void json_close(struct json *json, char bracket);
void json_key(struct json *json, const char *name);

/* Bytes that are no UTF-8 become \u0080 to \u00ff, one for one. NULL is null. */
void json_bytes(struct json *json, const void *bytes, size_t size);
void json_text(struct json *json, const char *string);
void json_int(struct json *json, int64_t number);
void json_uint(struct json *json, uint64_t number);
void json_float(struct json *json, double number);
void json_bool(struct json *json, bool value);

#endif
