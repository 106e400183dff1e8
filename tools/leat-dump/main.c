/* leat-dump: prints and verifies what lies on disk and in memory. See leat-dump(1). */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"

static const char usage[] =
    "usage: leat-dump [OPTION]... PATH...\n"
    "       leat-dump [OPTION]... --ring TOPIC[:PARTITION] [--bus BUS]\n"
    "       leat-dump [OPTION]... --ring-file FILE\n"
    "\n"
    "PATH is a file of a log, or a directory: a partition's, a topic's, or all data of a bus.\n"
    "\n"
    "  --verify         verdicts only\n"
    "  --records        also records\n"
    "  --offset A[..B]  of these offsets only, B not included; A.. is A and all behind it\n"
    "  --hex            keys, values and headers in hexadecimal\n"
    "  --past-cache     read what the disk has, not what the page cache shows\n"
    "  --ring T[:P]     the rings of a topic on a running bus\n"
    "  --bus BUS        which one (default: $LEAT_BUS, else \"default\")\n"
    "  --ring-file FILE a ring in /proc/PID/fd/N, or a copy of it\n"
    "  --base OFFSET    first offset of that ring (default 0)\n"
    "  --json           a JSON document a line\n"
    "  --version        what this is\n"
    "\n"
    "Exit: 0 all is good, or torn as a death leaves it; 1 something cannot be read; 2 usage; 3 damage was found.\n";

__attribute__((format(printf, 1, 2), noreturn)) static void misused(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("leat-dump: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\nleat-dump --help says how\n", stderr);
    va_end(args);
    exit(DUMP_USAGE);
}

static const char *read_number(const char *text, uint64_t *number)
{
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return end == text || errno || *text < '0' || *text > '9' ? NULL : end;
}

static void read_range(struct dump *dump, const char *text)
{
    const char *end = read_number(text, &dump->from);
    dump->records = true;
    dump->to = dump->from == UINT64_MAX ? UINT64_MAX : dump->from + 1;
    if (end && strncmp(end, "..", 2) == 0) {
        dump->to = UINT64_MAX;
        end += 2;
        if (*end)
            end = read_number(end, &dump->to);
    }
    if (!end || *end || dump->to <= dump->from)
        misused("--offset '%s': wants A, A.. or A..B", text);
}

struct wanted {
    const char *bus, *ring, *ring_file;
    uint64_t base_offset;
    bool past_cache;
};

enum { VERIFY = 1000, RECORDS, OFFSET, HEX, PAST_CACHE, RING, BUS, RING_FILE, BASE, JSON, VERSION };

static const struct option longs[] = {
    { "verify", no_argument, NULL, VERIFY },
    { "records", no_argument, NULL, RECORDS },
    { "offset", required_argument, NULL, OFFSET },
    { "hex", no_argument, NULL, HEX },
    { "past-cache", no_argument, NULL, PAST_CACHE },
    { "ring", required_argument, NULL, RING },
    { "bus", required_argument, NULL, BUS },
    { "ring-file", required_argument, NULL, RING_FILE },
    { "base", required_argument, NULL, BASE },
    { "json", no_argument, NULL, JSON },
    { "version", no_argument, NULL, VERSION },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

static void take_option(struct dump *dump, struct wanted *wanted, int option, char **argv)
{
    const char *end;
    switch (option) {
    case VERIFY:
        dump->verify = true;
        break;
    case RECORDS:
        dump->records = true;
        break;
    case OFFSET:
        read_range(dump, optarg);
        break;
    case HEX:
        dump->hex = true;
        break;
    case PAST_CACHE:
        wanted->past_cache = true;
        break;
    case RING:
        wanted->ring = optarg;
        break;
    case BUS:
        wanted->bus = optarg;
        break;
    case RING_FILE:
        wanted->ring_file = optarg;
        break;
    case BASE:
        end = read_number(optarg, &wanted->base_offset);
        if (!end || *end)
            misused("--base '%s': not an offset", optarg);
        break;
    case JSON:
        dump->as_json = true;
        break;
    case VERSION:
        puts("leat-dump " LEAT_VERSION);
        exit(DUMP_DONE);
    case 'h':
        fputs(usage, stdout);
        exit(DUMP_DONE);
    default:
        misused("%s: %s", argv[optind - 1], option == ':' ? "wants a value" : "no such option");
    }
}

static int end_output(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "leat-dump: cannot write to stdout: %s\n", strerror(errno));
    return DUMP_FAILED;
}

int main(int argc, char **argv)
{
    static struct dump dump = { .to = UINT64_MAX, .path = "" };
    struct wanted wanted = { 0 };
    int status = 0;
    dump.json.out = stdout;
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, ":h", longs, NULL)) >= 0;)
        take_option(&dump, &wanted, option, argv);
    if (optind == argc && !wanted.ring && !wanted.ring_file)
        misused("which file or directory?");
    if (wanted.bus && !wanted.ring)
        misused("--bus goes with --ring");
    dump.io = still_start(wanted.past_cache);
    if (!dump.io) {
        fputs("leat-dump: no memory\n", stderr);
        return DUMP_FAILED;
    }
    for (int i = optind; i < argc; i++)
        dump_path(&dump, argv[i]);
    if (wanted.ring_file)
        memfd_dump(&dump, wanted.ring_file, wanted.base_offset);
    if (wanted.ring)
        status = bus_dump(&dump, wanted.bus, wanted.ring);
    lt_io_free(dump.io);
    return end_output(status ? status : dump_status(&dump));
}
