/* leat: the bus from a shell. Finds the command, says what it can do, and knows the names that are taken.
 *
 *     leat [--bus BUS] [--json] COMMAND ...
 *
 * `--bus`, `--json` and `--help` are understood before and behind the command's name.
 */
#include "cli.h"
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct command {
    const char *group; /* the word before the name, or NULL */
    const char *name;
    int (*run)(struct cli *cli, int argc, char **argv); /* NULL: comes with a later version */
    const char *does;
    const char *usage;
};

static const struct command commands[] = {
    { NULL, "status", status_main, "what the bus is and who is on it",
      "[--clients] [--counters]\n"
      "  --clients            every client: pid, uid, what it holds\n"
      "  --counters           every counter; needs no leatd that lives\n" },
    { "topic", "create", topic_create_main, "create topics, and say what they cost",
      "NAME... [--partitions N] [OPTION]...\n"
      "  --partitions N       1 to 4096 (default 1)\n"
      "  --ring-size SIZE     payload bytes of one partition (default 4MiB)\n"
      "  --level LEVEL        what is acknowledged: ring, written or durable (default ring)\n"
      "  --no-log             memory only; with level ring\n"
      "  --retention-bytes N  of one partition's log; none: all is kept (default none)\n"
      "  --retention-ms TIME  500, 10s, 24h; none: for ever (default none)\n"
      "  --segment-bytes SIZE of one file of the log (default 16MiB)\n"
      "  --on-full WHAT       block, overwrite or error (default block)\n"
      "  --partitioner NAME   xxh3, or murmur2 as in Kafka's Java client (default xxh3)\n"
      "  --mode MODE          like a file's: r consume, w produce (default 0660)\n"
      "  --owner USER[:GROUP] only root gives away (default: you)\n"
      "  --if-not-exists      an existing topic of that name is no error\n"
      "leatd.conf(5) can have other defaults\n" },
    { "topic", "list", topic_list_main, "every topic in a line", "\n" },
    { "topic", "describe", topic_describe_main, "a topic's settings, cost and partitions", "NAME...\n" },
    { "topic", "delete", topic_delete_main, "delete topics with all that is in them", "NAME...\n" },
    { "topic", "alter", topic_alter_main, "change settings of topics in use",
      "NAME... OPTION...\n"
      "  --retention-bytes N  of one partition's log; none: all is kept\n"
      "  --retention-ms TIME  500, 10s, 24h; none: for ever\n"
      "  --on-full WHAT       block, overwrite or error; producers take it when they are opened\n"
      "  --mode MODE          like a file's: r consume, w produce\n"
      "  --owner USER[:GROUP] only root gives away\n"
      "  --partitions N       comes with a later version\n" },
    { "topic", "resume", topic_resume_main, "open partitions again that have failed",
      "NAME... [--partition N] [--cut]\n"
      "  --partition N        this one (default: all that have failed)\n"
      "  --cut                give up what is damaged, with all that lies behind it\n" },
    { "topic", "alias", NULL, NULL, NULL },
    { NULL, "produce", produce_main, "send stdin, a record a line",
      "TOPIC [OPTION]... <INPUT\n"
      "  -K SEP               the key stands before SEP\n"
      "  -D DELIM             what ends a record (default \\n)\n"
      "  -Z                   an empty key or value is null\n"
      "  -H NAME=VALUE        a header of every record; without = its value is null\n"
      "  -p N                 to this partition\n"
      "  --partitioner NAME   xxh3, murmur2 or roundrobin (default: as the topic says)\n"
      "  --batch N            at most N records at once (default 500)\n"
      "  --rate N             records a second\n"
      "  --level LEVEL        wait for written or durable, where the topic asks for less\n"
      "  --exclusive          hold the topic alone\n"
      "  --on-error WHAT      stop, or continue with the next record (default stop)\n"
      "  --full-timeout TIME  how long a full ring is waited for (default 30s)\n"
      "  -f FORMAT            print each acknowledged record; `man leat` has the tokens\n" },
    { NULL, "consume", consume_main, "print records",
      "TOPIC... [OPTION]...\n"
      "  -g GROUP             as a member of this group; a TOPIC that begins with ^ is a pattern then\n"
      "  -p N                 this partition only; may be repeated\n"
      "  -o WHERE             beginning, end, stored, OFFSET, -N (the last N) or s@MS (a time)\n"
      "                       (default end, with -g stored)\n"
      "  -c N                 stop after N records\n"
      "  -e                   stop at what is the end now\n"
      "  --idle-exit TIME     stop after so long without a record\n"
      "  -f FORMAT            default '%s\\n'; `man leat` has the tokens\n"
      "  --reset WHERE        earliest, latest or error, for who fell behind or has no place yet\n"
      "                       (default earliest, with -g latest)\n"
      "  --gate               keep every record until it was read here, with -g: until it was committed\n"
      "  --client-id ID       the name that `status --clients` shows\n"
      "  --max-poll-records N at most N records between two flushes (default 500)\n"
      "  --trace-rebalance    say which partitions come and go\n"
      "with -g:\n"
      "  --assignor NAME      range, roundrobin, sticky, cooperative-sticky or failover (default range)\n"
      "  --commit WHEN        auto (every 5 s and at the end), sync (what is printed, at once) or none\n"
      "  --instances N        N members at once\n"
      "  --instance-id ID     a static member: a restart moves nothing\n"
      "  --session-timeout TIME    how long a static member may be away (default 45s)\n"
      "  --max-poll-interval TIME  evicted when it has not polled for so long (default 5min)\n"
      "  --rebalance-timeout TIME  evicted when it has not released in time (default 1min)\n"
      "  --join-delay TIME    how long the first member waits for others (default 0)\n"
      "  --alone              the only member, ever\n"
      "  --rejoin             evicted: join again\n" },
    { "group", "list", group_list_main, "every group in a line", "\n" },
    { "group", "describe", group_describe_main, "a group's offsets, lags and members",
      "GROUP... [--members] [--lag-over N]\n"
      "  --members            a line for each member, with its partitions\n"
      "  --lag-over N         exit 3 when a partition's lag is above N\n" },
    { "group", "reset-offsets", group_reset_main, "move the offsets of a group without members",
      "GROUP --topic TOPIC[:P,...]... WHERE [--dry-run]\n"
      "  --topic TOPIC[:P,...] all partitions of a topic, or these; may be repeated\n"
      "  --to-earliest        to the first record there is\n"
      "  --to-latest          to the end\n"
      "  --to-offset N        to this offset\n"
      "  --to-datetime TIME   to the first record of this time or later: 2026-01-31T12:00:00Z, @MS ...\n"
      "  --shift-by N         by N, backwards when it is negative\n"
      "  --dry-run            only say where\n" },
    { "group", "delete", group_delete_main, "forget groups without members, and their offsets",
      "GROUP...\n" },
    { "group", "plan", group_plan_main, "what an assignor would do, without a bus",
      "--assignor NAME [FILE]\n"
      "  --assignor NAME      range, roundrobin, sticky, cooperative-sticky (one round) or failover\n"
      "  FILE                 JSON: topics, members, owned, generation, instance_id (default stdin)\n" },
    { NULL, "run", run_main, "run a command with a bus of its own",
      "[--verbose] [--] COMMAND [ARGUMENT]...\n"
      "  --verbose            leatd's messages on stderr\n" },
    { NULL, "repartition", NULL, NULL, NULL },
    { NULL, "migrate", NULL, NULL, NULL },
    { NULL, "pipe", NULL, NULL, NULL },
    { NULL, "size", NULL, NULL, NULL },
    { NULL, "keys", NULL, NULL, NULL },
    { NULL, "perf", NULL, NULL, NULL },
};

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

/* ---- complaints ---- */

__attribute__((format(printf, 2, 0))) static void say(const struct cli *cli, const char *format, va_list args)
{
    if (cli->command)
        fprintf(stderr, "leat: %s: ", cli->command);
    else
        fprintf(stderr, "leat: ");
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int cli_fail(const struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(cli, format, args);
    va_end(args);
    return CLI_FAILED;
}

const char *cli_why(int error)
{
    const char *text = leat_last_error(NULL);
    return *text ? text : leat_strerror(error);
}

int cli_fail_error(const struct cli *cli, int error)
{
    return cli_fail(cli, "%s", cli_why(error));
}

void cli_misused(const struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(cli, format, args);
    va_end(args);
    fprintf(stderr, "leat%s%s --help says how\n", cli->command ? " " : "", cli->command ? cli->command : "");
    exit(CLI_USAGE);
}

void *cli_have(void *memory)
{
    if (memory)
        return memory;
    fputs("leat: no memory\n", stderr);
    exit(CLI_FAILED);
}

leat_bus *cli_open(const struct cli *cli)
{
    leat_bus *bus;
    int r = leat_open(&bus, cli->bus);
    if (r >= 0)
        return bus;
    cli_fail_error(cli, r);
    return NULL;
}

/* ---- finding the command ---- */

static void print_help(void)
{
    puts("usage: leat [--bus BUS] [--json] COMMAND ...\n");
    for (int i = 0; i < COMMAND_COUNT; i++) {
        const struct command *c = &commands[i];
        if (c->run)
            printf("  %s%s%-*s %s\n", c->group ? c->group : "", c->group ? " " : "", c->group ? 9 : 15,
                   c->name, c->does);
    }
    puts("\n"
         "  --bus BUS    a name, or the absolute path of a directory (default: $LEAT_BUS, else \"default\")\n"
         "  --json       JSON instead of tables\n"
         "  --version    what this is\n"
         "\n"
         "`leat COMMAND --help` has a command's options, `man leat` an example for each.");
}

/* What stands before the command. Returns the index of the command's first word. */
static int read_globals(struct cli *cli, int argc, char **argv)
{
    enum { OPT_VERSION = 1000 };
    static const struct option longs[] = {
        { "version", no_argument, NULL, OPT_VERSION },
        OPTIONS_COMMON,
    };
    for (int c; (c = options_next(cli, argc, argv, "+hV", longs)) >= 0;) {
        if (c == 'h')
            print_help();
        else
            puts("leat " LEAT_VERSION);
        exit(CLI_DONE);
    }
    return optind;
}

static const struct command *find_command(char **words, int count)
{
    for (int i = 0; i < COMMAND_COUNT; i++) {
        const struct command *c = &commands[i];
        if (!c->group && strcmp(c->name, words[0]) == 0)
            return c;
        if (c->group && count > 1 && strcmp(c->group, words[0]) == 0 && strcmp(c->name, words[1]) == 0)
            return c;
    }
    return NULL;
}

/* The commands of a group, as "a, b, c" and with another last separator. */
static void list_names(const char *group, const char *last, char *out, size_t out_size)
{
    const char *separator = "";
    size_t size = 0;
    int left = 0;
    for (int i = 0; i < COMMAND_COUNT; i++)
        left += commands[i].run && commands[i].group && strcmp(commands[i].group, group) == 0;
    *out = 0;
    for (int i = 0; i < COMMAND_COUNT && size < out_size; i++) {
        const struct command *c = &commands[i];
        if (!c->run || !c->group || strcmp(c->group, group) != 0)
            continue;
        size += (size_t)snprintf(out + size, out_size - size, "%s%s", separator, c->name);
        separator = --left == 1 ? last : ", ";
    }
}

static int misnamed(struct cli *cli, char **words, int count)
{
    char names[160];
    list_names(words[0], ", ", names, sizeof names);
    if (*names && count > 1 && words[1][0] != '-')
        cli_misused(cli, "%s %s: no such command: %s", words[0], words[1], names);
    list_names(words[0], " or ", names, sizeof names);
    if (*names)
        cli_misused(cli, "%s: %s?", words[0], names);
    cli_misused(cli, "%s: no such command", words[0]);
}

/* What a command prints with stdio is written before it is called done; one that failed has said why. */
static int end_output(const struct cli *cli, int status)
{
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == CLI_DONE)
        return cli_fail(cli, "cannot write to stdout: %s", strerror(errno));
    return status;
}

int main(int argc, char **argv)
{
    struct cli cli = { 0 };
    int first = read_globals(&cli, argc, argv);
    if (first == argc)
        cli_misused(&cli, "which command?");
    const struct command *command = find_command(argv + first, argc - first);
    if (!command)
        return misnamed(&cli, argv + first, argc - first);

    char name[32];
    snprintf(name, sizeof name, "%s%s%s", command->group ? command->group : "", command->group ? " " : "",
             command->name);
    cli.command = name;
    cli.usage = command->usage;
    if (!command->run)
        return cli_fail(&cli, "comes with a later version");

    first += command->group ? 1 : 0;
    optind = 0; /* glibc: a fresh start on another array */
    return end_output(&cli, command->run(&cli, argc - first, argv + first));
}
