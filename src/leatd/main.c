/* leatd: the program. See leatd(8), leatd.conf(5).
 *
 * Options come last, so that they win over the file. `--worker FD` and `--keeper FD` are leatd's own: how its two
 * processes start each other. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include <leat.h>
#include "leatd/config.h"
#include "leatd/keeper.h"
#include "leatd/worker.h"

#define EXIT_USAGE 2
#define SETTING 1000 /* option SETTING + i: setting i */

enum option_number { BUS = 'b', DATA = 'd', CONFIG = 'c', HELP = 'h', VERSION = 'V', DIE_WITH_FD = 256 };

struct arguments {
    const char *bus, *data, *config;
    int die_fd;
};

static void print_help(void)
{
    size_t count;
    const struct lt_setting *settings = lt_config_settings(&count);
    printf(
        "usage: leatd [--bus BUS] [--data DIR] [--config FILE] [OPTION]...\n\n"
        "Serves a bus in the foreground: the keeper, which starts and restarts the worker.\n\n"
        "  -b, --bus BUS                 a name, or the absolute path of the bus directory ($LEAT_BUS, \"default\")\n"
        "  -d, --data DIR                where topics with a log are kept (by the bus: see leatd(8))\n"
        "  -c, --config FILE             settings, one `name = value` a line: leatd.conf(5)\n"
        "      --die-with-fd N           end in good order when descriptor N is at its end\n"
        "  -h, --help                    this text\n"
        "  -V, --version                 the version\n\n"
        "Settings; they win over those of FILE:\n");
    for (size_t i = 0; i < count; i++) {
        char head[64];
        snprintf(head, sizeof head, "--%s %s", settings[i].name, settings[i].value);
        printf("      %-31s %s\n", head, settings[i].text);
    }
    printf("\nExit status: 0 ended in good order, 1 failed, 2 usage.\n");
}

static int usage(const char *text)
{
    fprintf(stderr, "leatd: %s\nTry `leatd --help`.\n", text);
    return EXIT_USAGE;
}

static int read_descriptor(const char *text, int *fd)
{
    char *end;
    errno = 0;
    long value = text ? strtol(text, &end, 10) : -1;
    if (!text || *text == 0 || *end != 0 || errno != 0 || value < 0 || value > 1 << 20 ||
        fcntl((int)value, F_GETFD) < 0)
        return lt_fail(LEAT_EINVAL, "\"%s\" is no open descriptor", text);
    fcntl((int)value, F_SETFD, FD_CLOEXEC);
    *fd = (int)value;
    return 0;
}

/* One table for getopt_long: our own options, then all settings. */
static struct option *make_options(void)
{
    static const struct option own[] = {
        { "bus", required_argument, NULL, BUS },
        { "data", required_argument, NULL, DATA },
        { "config", required_argument, NULL, CONFIG },
        { "help", no_argument, NULL, HELP },
        { "version", no_argument, NULL, VERSION },
        { "die-with-fd", required_argument, NULL, DIE_WITH_FD },
    };
    size_t own_count = sizeof own / sizeof *own, count;
    const struct lt_setting *settings = lt_config_settings(&count);
    struct option *options = calloc(own_count + count + 1, sizeof *options);
    if (!options)
        return NULL;
    memcpy(options, own, sizeof own);
    for (size_t i = 0; i < count; i++)
        options[own_count + i] = (struct option){ settings[i].name, required_argument, NULL,
                                                  SETTING + (int)i };
    return options;
}

/* 0: go on; else 1 + the exit status. `config` NULL: only our own options are read, for the file they may name. */
static int read_options(int argc, char **argv, const struct option *options, struct arguments *arguments,
                        struct lt_config *config)
{
    size_t count;
    const struct lt_setting *settings = lt_config_settings(&count);
    int option;
    optind = 1;
    opterr = config == NULL; /* say it once */
    while ((option = getopt_long(argc, argv, "b:d:c:hV", options, NULL)) != -1) {
        if (option >= SETTING) {
            if (config && lt_config_set(config, settings[option - SETTING].name, optarg) < 0)
                return 1 + usage(lt_fail_text());
            continue;
        }
        switch (option) {
        case BUS:
            arguments->bus = optarg;
            break;
        case DATA:
            arguments->data = optarg;
            break;
        case CONFIG:
            arguments->config = optarg;
            break;
        case HELP:
            print_help();
            return 1;
        case VERSION:
            printf("leatd %s\n", LEAT_VERSION);
            return 1;
        case DIE_WITH_FD:
            if (read_descriptor(optarg, &arguments->die_fd) < 0)
                return 1 + usage(lt_fail_text());
            break;
        default:
            return 1 + usage("unknown option, or no value");
        }
    }
    return optind == argc ? 0 : 1 + usage("no arguments are wanted");
}

/* Each partition takes a descriptor in either process. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        fprintf(stderr, "leatd: RLIMIT_NOFILE stays as it is: %s\n", strerror(errno));
}

/* Whoever starts us without stdin, stdout or stderr must not get log lines into whatever has their numbers then. */
static void fill_standard_descriptors(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
        ;
    if (fd >= 0)
        close(fd);
}

static int fail(const char *what)
{
    fprintf(stderr, "leatd: %s: %s\n", what, lt_fail_text());
    return EXIT_FAILURE;
}

/* Absolute, so that messages say where it is. */
static int choose_data(const struct arguments *arguments, struct lt_config *config)
{
    char here[PATH_MAX];
    const char *data = arguments->data;
    if (!data)
        return lt_place_data(arguments->bus, config->data, sizeof config->data);
    if (!*data)
        return lt_fail(LEAT_EINVAL, "the directory's name is empty");
    if (data[0] != '/' && !getcwd(here, sizeof here))
        return lt_fail_errno(errno, "the current directory");
    int length = snprintf(config->data, sizeof config->data, "%s%s%s", data[0] == '/' ? "" : here,
                          data[0] == '/' ? "" : "/", data);
    if (length < 0 || (size_t)length >= sizeof config->data)
        return lt_fail(LEAT_EINVAL, "%s: %d bytes, at most %zu fit", data, length, sizeof config->data - 1);
    return 0;
}

int main(int argc, char **argv)
{
    static struct lt_config config;
    struct arguments arguments = { .die_fd = -1 };
    int fd;
    fill_standard_descriptors();
    if (argc == 3 && argv[2] != NULL &&
        (strcmp(argv[1], "--worker") == 0 || strcmp(argv[1], "--keeper") == 0)) {
        if (read_descriptor(argv[2], &fd) < 0)
            return fail(argv[1]);
        return strcmp(argv[1], "--worker") == 0 ? lt_worker_run(fd) : lt_keeper_take_over(fd);
    }
    lt_config_init(&config);
    struct option *options = make_options();
    if (!options)
        return EXIT_FAILURE;
    int r = read_options(argc, argv, options, &arguments, NULL);
    if (r == 0 && arguments.config && lt_config_read(&config, arguments.config) < 0)
        r = 1 + fail("config");
    if (r == 0)
        r = read_options(argc, argv, options, &arguments, &config);
    free(options);
    if (r != 0)
        return r - 1;
    if (lt_place(arguments.bus, config.path, sizeof config.path) < 0)
        return fail("bus");
    if (choose_data(&arguments, &config) < 0)
        return fail("data");
    raise_descriptor_limit();
    return lt_keeper_run(&config, arguments.die_fd);
}
