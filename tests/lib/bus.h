/* bus: real processes on a real bus, so that a test reads as a script.
 *
 *     ROLE(victim)
 *     {
 *         leat_bus *bus = role_open();
 *         ...
 *         say("sent %d", n);                    // to the test
 *         hear("go on");                        // until the test says so
 *     }
 *
 *     TEST(killed_producer_blocks_nobody)
 *     {
 *         struct bus *bus = bus_start("--stall-limit", "60000");
 *         bus_topic(bus, "t", .partitions = 2);
 *         struct child *victim = bus_spawn(bus, victim, .kill = bus_kill_at("ring.commit", 3));
 *         child_expect(victim, "sent 2");
 *         child_killed(victim, SIGKILL);
 *     }
 *
 * The test itself may be a client (bus_open). Its other processes are roles of the same program, always executed
 * afresh: none inherits a handle, and each reads its own LEAT_KILL. Nothing here sleeps to let something happen: a
 * test waits for a message, for a death or a stop, for leatd's answer, or (WAIT_UNTIL) for a word in memory.
 *
 * Every call fails the test when it cannot do what its name says. Kill points need a program of tests/fault.
 */
#ifndef TESTS_BUS_H
#define TESTS_BUS_H

#include "control.h"
#include "leat.h"
#include "test.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- leatd ---- */

struct bus {
    char path[96];
    pid_t keeper; /* as started by us; a worker may have replaced it since */
    int ready;    /* leatd's stdout */
    char kill_file[128];
};

/* bus_start(): leatd on a directory of its own, once it says that it is ready. bus_start("--max-clients", "8", ...): with
 * these options. Its log goes to this program's stderr. */
#define bus_start(...) bus_start_as("LEAT_TEST_LEATD", NULL, (const char *const[]){ "", ##__VA_ARGS__, NULL })
/* The same with the leatd that has kill points; `kill` as bus_kill_at gives it, or several with commas. Each acts once,
 * over all restarts. */
#define bus_start_fault(kill, ...) \
    bus_start_as("LEAT_TEST_LEATD_FAULT", kill, (const char *const[]){ "", ##__VA_ARGS__, NULL })
struct bus *bus_start_as(const char *program, const char *kill, const char *const *options);
/* For one that may die before anybody could be told that it is there: then NULL. */
struct bus *bus_try_fault(const char *kill, const char *const *options);
/* leatd on this directory, of an earlier bus or one that leatd is to make. */
struct bus *bus_start_in(const char *path, const char *const *options);
struct bus *bus_start_fault_in(const char *path, const char *kill, const char *const *options);
/* SIGTERM; it ends with 0, and nobody answers any more. */
void bus_stop(struct bus *bus);

/* leatd's own word, asked over a connection of its own. */
struct lt_status_answer bus_status(const struct bus *bus);
/* kill -9 of the worker that serves now; returns its incarnation. */
uint64_t bus_kill_worker(const struct bus *bus);
/* Until a worker of a later incarnation than `after` serves. */
struct lt_status_answer bus_wait_worker(const struct bus *bus, uint64_t after);
/* kill -9 of the keeper, and it is gone; returns its pid. */
pid_t bus_kill_keeper(struct bus *bus);
/* Until a keeper other than `before` holds the bus. */
struct lt_status_answer bus_wait_keeper(const struct bus *bus, pid_t before);
/* Both, at once. */
void bus_kill_both(struct bus *bus);
/* Whether leatd of a bus_start_fault died (or stopped) at this point, by its own note. */
bool bus_died_at(const struct bus *bus, const char *kill);
/* The process is no more. It need not be our child. */
void pid_wait_gone(pid_t pid);

/* ---- topics, counters, handles of the test itself ---- */

/* bus_topic(bus, "t", .partitions = 4): with 64 KiB (512 records) a partition unless said otherwise, and
 * without a log unless .level or .segment_bytes asks for one. */
#define bus_topic(bus, name, ...) \
    bus_topic_as(bus, name, (leat_topic_options){ BUS_TOPIC_DEFAULTS, ##__VA_ARGS__ })
#define BUS_TOPIC_DEFAULTS .size = sizeof(leat_topic_options)
/* Zeros stand for one partition, 64 KiB, xxh3, mode 0660, and a log of which all is kept in segments as leatd makes them. */
void bus_topic_as(const struct bus *bus, const char *name, leat_topic_options options);
/* To be freed with leat_topic_info_free. */
leat_topic_info *bus_describe(leat_bus *bus, const char *topic);

leat_bus *bus_open(const struct bus *bus);
leat_producer *open_producer(leat_bus *bus, const char *topic, const leat_producer_options *options);
/* A consumer of all partitions of a topic, from the first record on. */
leat_consumer *open_reader(leat_bus *bus, const char *topic, const leat_consumer_options *options);

/* A counter, after leatd (when it lives) has folded the clients' in. Of a topic: this partition, or all of them with -1. Topic
 * NULL: this client's, or the bus's total with -1. */
int64_t bus_counter(const struct bus *bus, const char *name, const char *topic, int partition, int client);

/* Fails with the library's own words. */
#define CHECK_OK(call)                                                                             \
    ({                                                                                             \
        __typeof__(call) check_ok_ = (call);                                                       \
        if (check_ok_ < 0)                                                                         \
            test_fail(__FILE__, __LINE__, "%s: %s (%d): %s", #call, leat_strerror((int)check_ok_), \
                      (int)check_ok_, leat_last_error(NULL));                                      \
        check_ok_;                                                                                 \
    })

/* ---- processes ---- */

struct child {
    pid_t pid;
    int channel;
    const char *role;
    bool reaped;
    int status;
};

struct spawn {
    const char *kill; /* LEAT_KILL */
    const char *args[12];
    uid_t uid; /* 0: as we are */
    gid_t gid;
    bool no_bus; /* without LEAT_BUS */
    int nothing; /* so that the macro has something to say */
};

/* bus_spawn(bus, role, .args = { "t" }): a process that runs ROLE(role), with LEAT_BUS set. */
#define bus_spawn(bus, role, ...) bus_spawn_as(bus, #role, (struct spawn){ .nothing = 0, ##__VA_ARGS__ })
struct child *bus_spawn_as(const struct bus *bus, const char *role, struct spawn spawn);

/* "ring.commit", 3 -> "ring.commit:3" (dies at the third pass); the other raises SIGSTOP there. */
const char *bus_kill_at(const char *point, int pass);
const char *bus_stop_at(const char *point, int pass);

void child_tell(struct child *child, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The next message; holds until the next call. */
const char *child_hear(struct child *child);
/* The next message is this one. */
void child_expect(struct child *child, const char *message);
/* The next message is "WORD number"; returns the number. */
int64_t child_number(struct child *child, const char *word);
/* Whether a message is there, or the end, or comes within so many milliseconds. */
bool child_talks(struct child *child, int within_ms);
/* Ends by itself with exit status 0. */
void child_end(struct child *child);
/* The same for one that may take longer than a test usually waits. */
void child_end_in(struct child *child, double seconds);
void child_exit(struct child *child, int status);
/* Ends, or has ended, by this signal. */
void child_killed(struct child *child, int sig);
/* SIGKILL, and gone. */
void child_kill(struct child *child);
/* Stops, or has stopped, by itself. */
void child_wait_stopped(struct child *child);
/* SIGSTOP, and stopped. */
void child_stop(struct child *child);
void child_continue(struct child *child);
bool child_lives(struct child *child);

/* In a role. */
leat_bus *role_open(void);
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The test's next message; holds until the next call. When the test is gone, so is the role. */
const char *hear_any(void);
void hear(const char *message);
/* Whether the test has said something meanwhile. */
bool heard(void);
const char *role_arg(int i);
int64_t role_number(int i);

/* ---- words in memory that all processes of a test share, for progress ---- */

enum { BOARD_WORDS = 1 << 16 };
uint64_t *board(void);
uint64_t board_get(uint32_t word);
void board_set(uint32_t word, uint64_t value);
uint64_t board_add(uint32_t word, uint64_t value);

/* ---- small things ---- */

double now_s(void);
/* printf into memory that lives as long as the process. */
const char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* For conditions that nobody signals: words in memory, /proc, another process's view of the bus. Looks every
 * millisecond; the test goes on with the first true. */
#define WAIT_UNTIL(condition, seconds)                                                               \
    do {                                                                                             \
        double wait_until_ = now_s() + (seconds)*test_slowdown();                                    \
        while (!(condition)) {                                                                       \
            if (now_s() > wait_until_)                                                               \
                test_fail(__FILE__, __LINE__, "%d s and still not: %s", (int)(seconds), #condition); \
            bus_pause();                                                                             \
        }                                                                                            \
    } while (0)
void bus_pause(void);

/* Runs a program to its end; its stdout and stderr, together, into a text. Returns its wait status. */
int run_program(const char *const *argv, const char **output);
/* The path in this variable of the environment; skips the test when the build did not set it. */
const char *test_program(const char *variable);

#endif
