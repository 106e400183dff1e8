/* Options and their values: see options.h. */
#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_usage(const struct cli *cli)
{
    printf("usage: leat [--bus BUS] [--json] %s %s", cli->command, cli->usage);
}

/* getopt leaves the culprit in optopt when it is one letter or a long option that it knows, and in argv otherwise. */
static void refuse(const struct cli *cli, int answer, char **argv, const struct option *longs)
{
    char letter[3] = { '-', (char)optopt, 0 };
    const char *culprit = optopt > 0 && optopt < 0x7f ? letter : argv[optind - 1];
    for (const struct option *o = longs; o->name; o++)
        if (optopt > 0x7f && o->val == optopt)
            culprit = o->name;
    const char *dashes = *culprit == '-' ? "" : "--";
    if (answer == ':')
        cli_misused(cli, "%s%s wants a value", dashes, culprit);
    if (optopt > 0x7f)
        cli_misused(cli, "%s%s takes no value", dashes, culprit);
    cli_misused(cli, "%s: no such option", culprit);
}

int options_next(struct cli *cli, int argc, char **argv, const char *shorts, const struct option *longs)
{
    /* ':' tells a missing value from an unknown option; '+', where there is one, has to stay in front. */
    char with_colon[64];
    bool in_order = *shorts == '+';
    snprintf(with_colon, sizeof with_colon, "%s:%s", in_order ? "+" : "", shorts + in_order);
    opterr = 0;
    for (;;) {
        int c = getopt_long(argc, argv, with_colon, longs, NULL);
        switch (c) {
        case OPTIONS_BUS:
            cli->bus = optarg;
            break;
        case OPTIONS_JSON:
            cli->json = true;
            break;
        case '?':
        case ':':
            refuse(cli, c, argv, longs);
            break;
        case 'h':
            if (!cli->command)
                return c;
            print_usage(cli);
            exit(CLI_DONE);
        default:
            return c;
        }
    }
}

int64_t options_number(const struct cli *cli, const char *name, const char *text, int64_t min, int64_t max)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (end == text || *end || errno)
        cli_misused(cli, "%s '%s': not a number", name, text);
    if (n < min || n > max)
        cli_misused(cli, "%s %s: has to be from %" PRId64 " to %" PRId64, name, text, min, max);
    return n;
}

struct unit {
    const char *name;
    int64_t times;
};

/* A number that is not negative, times its unit. */
static int64_t with_unit(const struct cli *cli, const char *name, const char *text, const struct unit *units,
                         const char *example)
{
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    while (units->name && strcmp(units->name, end) != 0)
        units++;
    int64_t product;
    if (end == text || errno || n < 0 || !units->name ||
        __builtin_mul_overflow((int64_t)n, units->times, &product))
        cli_misused(cli, "%s '%s': wants something like %s", name, text, example);
    return product;
}

uint64_t options_size(const struct cli *cli, const char *name, const char *text)
{
    static const struct unit units[] = {
        { "", 1 },          { "B", 1 },       { "K", 1 << 10 },   { "KiB", 1 << 10 },   { "M", 1 << 20 },
        { "MiB", 1 << 20 }, { "G", 1 << 30 }, { "GiB", 1 << 30 }, { "k", 1 << 10 },     { "m", 1 << 20 },
        { "g", 1 << 30 },   { "kB", 1000 },   { "MB", 1000000 },  { "GB", 1000000000 }, { NULL, 0 },
    };
    return (uint64_t)with_unit(cli, name, text, units, "65536, 512KiB or 4MiB");
}

int64_t options_time_ms(const struct cli *cli, const char *name, const char *text)
{
    static const struct unit units[] = {
        { "", 1 },        { "ms", 1 },       { "s", 1000 }, { "min", 60000 },
        { "h", 3600000 }, { "d", 86400000 }, { NULL, 0 },
    };
    return with_unit(cli, name, text, units, "500 (ms), 2s or 1min");
}

int options_word(const struct cli *cli, const char *name, const char *text, const char *const *words)
{
    char all[128] = "";
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0)
            return i;
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", words[i]);
    }
    cli_misused(cli, "%s '%s': has to be one of %s", name, text, all);
}

size_t options_unescape(const struct cli *cli, const char *name, char *text)
{
    char *to = text;
    for (const char *from = text; *from;) {
        if (*from != '\\') {
            *to++ = *from++;
            continue;
        }
        unsigned byte;
        int used = 0;
        from++;
        switch (*from++) {
        case 'n':
            *to++ = '\n';
            break;
        case 't':
            *to++ = '\t';
            break;
        case 'r':
            *to++ = '\r';
            break;
        case '0':
            *to++ = '\0';
            break;
        case '\\':
            *to++ = '\\';
            break;
        case 'x':
            if (sscanf(from, "%2x%n", &byte, &used) != 1 || used != 2)
                cli_misused(cli, "%s: \\x wants two hexadecimal digits", name);
            *to++ = (char)byte;
            from += used;
            break;
        default:
            cli_misused(cli, "%s: \\ goes with n, t, r, 0, x or another \\", name);
        }
    }
    *to = 0;
    return (size_t)(to - text);
}
