/* What every command of leat shares: what was said before the command's name, how to complain, how to end.
 *
 * A command is a function of its own file. It reads its options with options_next(), does its work through leat.h
 * and returns an exit status; main.c has the list of them. Results go to stdout; totals, progress and errors to stderr,
 * an error as one line `leat: COMMAND: WHY`.
 */
#ifndef CLI_H
#define CLI_H

#include <leat.h>
#include <stdbool.h>

enum cli_status {
    CLI_DONE = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_ALARM = 3, /* an alarm that was asked for went off */
};

struct cli {
    const char *bus;     /* as given; NULL: $LEAT_BUS, else "default" */
    bool json;           /* one JSON document instead of tables */
    const char *command; /* as in `leat: COMMAND: WHY` */
    const char *usage;   /* the command's arguments and options, for people */
};

/* `leat: COMMAND: ` and the text, on stderr. Returns CLI_FAILED. */
__attribute__((format(printf, 2, 3))) int cli_fail(const struct cli *cli, const char *format, ...);

/* The same, for a call that returned `error`: the values that the library has for it, or else what it means. */
int cli_fail_error(const struct cli *cli, int error);

/* The text that cli_fail_error prints. */
const char *cli_why(int error);

/* A mistake in the arguments: says so, points at --help, ends the program with CLI_USAGE. */
__attribute__((format(printf, 2, 3), noreturn)) void cli_misused(const struct cli *cli, const char *format,
                                                                 ...);

/* The memory given, unless there is none: then the program ends. For the small things; what grows with the input checks. */
void *cli_have(void *memory);

/* Opens the bus that was asked for, or complains and returns NULL. */
leat_bus *cli_open(const struct cli *cli);

int status_main(struct cli *cli, int argc, char **argv);
int topic_create_main(struct cli *cli, int argc, char **argv);
int topic_list_main(struct cli *cli, int argc, char **argv);
int topic_describe_main(struct cli *cli, int argc, char **argv);
int topic_delete_main(struct cli *cli, int argc, char **argv);
int topic_alter_main(struct cli *cli, int argc, char **argv);
int topic_resume_main(struct cli *cli, int argc, char **argv);
int produce_main(struct cli *cli, int argc, char **argv);
int consume_main(struct cli *cli, int argc, char **argv);
int group_list_main(struct cli *cli, int argc, char **argv);
int group_describe_main(struct cli *cli, int argc, char **argv);
int group_reset_main(struct cli *cli, int argc, char **argv);
int group_delete_main(struct cli *cli, int argc, char **argv);
int group_plan_main(struct cli *cli, int argc, char **argv);
int run_main(struct cli *cli, int argc, char **argv);

#endif
