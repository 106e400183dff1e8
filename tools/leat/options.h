/* Options: getopt_long with the complaints in our own shape, and the numbers, sizes and times that options have.
 *
 * A mistake ends the program with status 2: options are read before anything is held.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "cli.h"

#include <getopt.h>
#include <stddef.h>
#include <stdint.h>

enum { OPTIONS_BUS = 0x7f00, OPTIONS_JSON };

/* Every command's list of long options ends with these. */
#define OPTIONS_COMMON                                                                            \
    { "bus", required_argument, NULL, OPTIONS_BUS }, { "json", no_argument, NULL, OPTIONS_JSON }, \
        { "help", no_argument, NULL, 'h' },                                                       \
    {                                                                                             \
        NULL, 0, NULL, 0                                                                          \
    }

/* The command's next option, or -1. Takes care of the common ones: a command's --help never comes back. */
int options_next(struct cli *cli, int argc, char **argv, const char *shorts, const struct option *longs);

/* What an option was given: `name` is for the complaint. */
int64_t options_number(const struct cli *cli, const char *name, const char *text, int64_t min, int64_t max);

/* Bytes: 4096, 64K, 4MiB, 1G; kB, MB and GB are powers of ten. */
uint64_t options_size(const struct cli *cli, const char *name, const char *text);

/* Milliseconds: 500, 500ms, 2s, 1min, 1h. */
int64_t options_time_ms(const struct cli *cli, const char *name, const char *text);

/* The index of a word in a list that NULL ends. */
int options_word(const struct cli *cli, const char *name, const char *text, const char *const *words);

/* Bytes with \n \t \r \0 \\ \xHH written out, in place. Returns their number; the result is 0-terminated besides. */
size_t options_unescape(const struct cli *cli, const char *name, char *text);

#endif
