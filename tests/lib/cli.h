/* cli: the leat program, run as a shell would run it, with all that it says kept apart.
 *
 *     struct said said = leat(bus, "a\nb\n", "produce", "orders");
 *     CHECK_EQ(said.exit, 0);
 *
 *     struct command *tail = leat_start(bus, "consume", "orders", "-o", "beginning");
 *     command_wait_out(tail, "a\nb\n");
 *     command_signal(tail, SIGINT);
 *     said = command_end(tail);
 *
 * The program is the one that LEAT_TEST_LEAT names. Calls fail the test when the command cannot be run; a command that
 * never ends, or never says what is waited for, ends with the test's time.
 */
#ifndef TESTS_CLI_H
#define TESTS_CLI_H

#include "bus.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What a command has said until now: 0-terminated besides. */
struct said {
    int exit; /* 128 + the signal's number when it was killed */
    char *out, *err;
    size_t out_size, err_size;
};

struct command {
    pid_t pid;
    int in, out, err; /* -1: at its end */
    struct said said;
};

/* leat(bus, input, ARGUMENT...): LEAT_BUS is the bus's, or unset where there is none; no input is an empty one. */
#define leat(bus, input, ...) leat_text(bus, input, (const char *const[]){ "leat", __VA_ARGS__, NULL })
struct said leat_text(const struct bus *bus, const char *input, const char *const *argv);
struct said leat_run(const struct bus *bus, const char *input, size_t input_size, const char *const *argv);

/* The same, and it goes on: its stdin stays open. */
#define leat_start(bus, ...) command_start(bus, (const char *const[]){ "leat", __VA_ARGS__, NULL })
struct command *command_start(const struct bus *bus, const char *const *argv);
void command_write(struct command *command, const char *text);
void command_close_in(struct command *command);
/* Until stdout, or stderr, has this text in it. */
void command_wait_out(struct command *command, const char *text);
void command_wait_err(struct command *command, const char *text);
/* Until stdout has so many bytes. */
void command_wait_out_size(struct command *command, size_t size);
void command_signal(struct command *command, int sig);
/* Closes its stdin, waits for its end, and forgets it; what it said stays. */
struct said command_end(struct command *command);

/* Whether `line` is one of the lines of `text`. */
bool has_line(const char *text, const char *line);
/* One line, beginning with `leat: WHAT: `. */
bool is_complaint(const char *text, const char *what);

/* The value at a path like "partitions.0.log_end_offset" in a JSON document: a number or word as it is written, a string
 * with its quotes and escapes, an object or array whole. Fails the test when the text is no JSON, or has nothing there.
 * Holds until the process ends. */
const char *json_at(const char *json, const char *path);
/* Whether there is something; the text has to be JSON. */
bool json_has(const char *json, const char *path);

#endif
