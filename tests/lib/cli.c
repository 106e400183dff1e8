/* The leat program in tests: see cli.h. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *have(void *memory)
{
    if (!memory)
        FAIL("no memory");
    return memory;
}

/* ---- a running command ---- */

struct command *command_start(const struct bus *bus, const char *const *argv)
{
    struct command *command = have(calloc(1, sizeof *command));
    const char *program = test_program("LEAT_TEST_LEAT");
    int in[2], out[2], err[2];
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
        FAIL("pipe: %s", strerror(errno));
    fcntl(in[1], F_SETPIPE_SZ, 1 << 20);
    command->pid = fork();
    if (command->pid < 0)
        FAIL("fork: %s", strerror(errno));
    if (command->pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        if (bus)
            setenv("LEAT_BUS", bus->path, 1);
        else
            unsetenv("LEAT_BUS");
        execv(program, (char *const *)argv);
        FAIL("%s: %s", program, strerror(errno));
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    command->in = in[1];
    command->out = out[0];
    command->err = err[0];
    command->said.out = have(calloc(1, 1));
    command->said.err = have(calloc(1, 1));
    return command;
}

static void hear_some(int *fd, char **text, size_t *size)
{
    *text = have(realloc(*text, *size + 65536 + 1));
    ssize_t got = read(*fd, *text + *size, 65536);
    if (got > 0) {
        *size += (size_t)got;
    } else {
        close(*fd);
        *fd = -1;
    }
    (*text)[*size] = 0;
}

/* Takes in what it says, and gives it what there is of `input`; false: it has closed both and takes no more. */
static bool step(struct command *command, const char **input, size_t *left)
{
    struct pollfd fds[] = {
        { .fd = command->out, .events = POLLIN },
        { .fd = command->err, .events = POLLIN },
        { .fd = *left ? command->in : -1, .events = POLLOUT },
    };
    if (command->out < 0 && command->err < 0)
        return false;
    if (poll(fds, 3, -1) < 0)
        FAIL("poll: %s", strerror(errno));
    if (fds[0].revents)
        hear_some(&command->out, &command->said.out, &command->said.out_size);
    if (fds[1].revents)
        hear_some(&command->err, &command->said.err, &command->said.err_size);
    if (fds[2].revents) {
        ssize_t put = write(command->in, *input, *left);
        if (put <= 0)
            *left = 0; /* it reads no more */
        else
            *input += put, *left -= (size_t)put;
    }
    return true;
}

static void write_all(struct command *command, const char *input, size_t size)
{
    signal(SIGPIPE, SIG_IGN);
    fcntl(command->in, F_SETFL, O_NONBLOCK);
    while (size > 0 && step(command, &input, &size))
        ;
}

void command_write(struct command *command, const char *text)
{
    write_all(command, text, strlen(text));
}

void command_close_in(struct command *command)
{
    if (command->in >= 0)
        close(command->in);
    command->in = -1;
}

static void wait_for(struct command *command, char *const *said, const char *text)
{
    size_t none = 0;
    const char *nothing = NULL;
    while (!strstr(*said, text))
        if (!step(command, &nothing, &none))
            FAIL("ended without saying '%s'; stdout '%.300s', stderr '%.300s'", text, command->said.out,
                 command->said.err);
}

void command_wait_out_size(struct command *command, size_t size)
{
    size_t none = 0;
    const char *nothing = NULL;
    while (command->said.out_size < size)
        if (!step(command, &nothing, &none))
            FAIL("ended after %zu of %zu bytes; stderr '%.300s'", command->said.out_size, size,
                 command->said.err);
}

void command_wait_out(struct command *command, const char *text)
{
    wait_for(command, &command->said.out, text);
}

void command_wait_err(struct command *command, const char *text)
{
    wait_for(command, &command->said.err, text);
}

void command_signal(struct command *command, int sig)
{
    if (kill(command->pid, sig) < 0)
        FAIL("kill: %s", strerror(errno));
}

struct said command_end(struct command *command)
{
    size_t none = 0;
    const char *nothing = NULL;
    int status;
    command_close_in(command);
    while (step(command, &nothing, &none))
        ;
    while (waitpid(command->pid, &status, 0) < 0)
        if (errno != EINTR)
            FAIL("waitpid: %s", strerror(errno));
    struct said said = command->said;
    said.exit = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    free(command);
    return said;
}

struct said leat_run(const struct bus *bus, const char *input, size_t input_size, const char *const *argv)
{
    struct command *command = command_start(bus, argv);
    write_all(command, input, input_size);
    return command_end(command);
}

struct said leat_text(const struct bus *bus, const char *input, const char *const *argv)
{
    return leat_run(bus, input, input ? strlen(input) : 0, argv);
}

/* ---- what it said ---- */

bool has_line(const char *text, const char *line)
{
    size_t size = strlen(line);
    for (const char *at = text; (at = strstr(at, line)); at++)
        if ((at == text || at[-1] == '\n') && (at[size] == '\n' || at[size] == 0))
            return true;
    return false;
}

bool is_complaint(const char *text, const char *what)
{
    char begin[128];
    snprintf(begin, sizeof begin, "leat: %s: ", what);
    const char *end = strchr(text, '\n');
    return strncmp(text, begin, strlen(begin)) == 0 && end && end[1] == 0;
}

/* ---- JSON ---- */

struct json {
    const char *text, *at;
    const char *found, *found_end;
};

static void read_value(struct json *json, const char *path);

__attribute__((noreturn)) static void no_json(const struct json *json, const char *wanted)
{
    FAIL("no JSON: %s is wanted at byte %zu, '%.40s', of '%.300s'", wanted, (size_t)(json->at - json->text),
         json->at, json->text);
}

static void skip_space(struct json *json)
{
    json->at += strspn(json->at, " \t\r\n");
}

static void expect(struct json *json, char c)
{
    skip_space(json);
    char wanted[2] = { c, 0 };
    if (*json->at != c)
        no_json(json, wanted);
    json->at++;
}

static void read_string(struct json *json)
{
    expect(json, '"');
    while (*json->at != '"') {
        if ((unsigned char)*json->at < 0x20)
            no_json(json, "the end of a string");
        if (*json->at == '\\') {
            json->at++;
            if (*json->at == 'u' && strspn(json->at + 1, "0123456789abcdefABCDEF") < 4)
                no_json(json, "four hexadecimal digits");
            if (!*json->at || !strchr("\"\\/bfnrtu", *json->at))
                no_json(json, "an escape");
        }
        json->at++;
    }
    json->at++;
}

/* What of the path is left behind its first piece, when that is this name; NULL otherwise. */
static const char *follow(const char *path, const char *name, size_t size)
{
    if (!path || strncmp(path, name, size) != 0 || (path[size] != '.' && path[size] != 0))
        return NULL;
    return path[size] == '.' ? path + size + 1 : path + size;
}

static void read_members(struct json *json, const char *path, char close_with)
{
    char number[16];
    json->at++;
    skip_space(json);
    for (int i = 0; *json->at != close_with; i++) {
        const char *name = number;
        size_t size = (size_t)snprintf(number, sizeof number, "%d", i);
        if (i > 0)
            expect(json, ',');
        if (close_with == '}') {
            skip_space(json);
            name = json->at + 1;
            read_string(json);
            size = (size_t)(json->at - 1 - name);
            expect(json, ':');
        }
        read_value(json, follow(path, name, size));
        skip_space(json);
    }
    json->at++;
}

static void read_value(struct json *json, const char *path)
{
    skip_space(json);
    const char *begin = json->at;
    if (*begin == '{') {
        read_members(json, path, '}');
    } else if (*begin == '[') {
        read_members(json, path, ']');
    } else if (*begin == '"') {
        read_string(json);
    } else {
        char *end;
        strtod(begin, &end);
        for (int i = 0; i < 3; i++) {
            const char *word = (const char *const[]){ "true", "false", "null" }[i];
            if (strncmp(begin, word, strlen(word)) == 0)
                end = (char *)begin + strlen(word);
        }
        if (end == begin)
            no_json(json, "a value");
        json->at = end;
    }
    if (path && !*path) {
        json->found = begin;
        json->found_end = json->at;
    }
}

static struct json look_up(const char *text, const char *path)
{
    struct json json = { .text = text, .at = text };
    read_value(&json, path);
    skip_space(&json);
    if (*json.at)
        no_json(&json, "the end");
    return json;
}

const char *json_at(const char *text, const char *path)
{
    struct json json = look_up(text, path);
    if (!json.found)
        FAIL("nothing at %s in '%.500s'", path, text);
    return have(strndup(json.found, (size_t)(json.found_end - json.found)));
}

bool json_has(const char *text, const char *path)
{
    return look_up(text, path).found != NULL;
}
