/* The test harness: a test is a sentence and a block.
 *
 *     #include "test.h"
 *
 *     TEST(full_ring_refuses_a_claim)
 *     {
 *         struct lt_ring ring = ring_with(.tail = 64, .limit = 0);
 *         CHECK_EQ(lt_ring_claim(&ring, 1), LT_FULL);
 *     }
 *
 * There is no main to write and no list to keep. Each test runs in a forked child, which leads a process group
 * and has a time limit; when it ends, whatever it left running is killed and its directory is removed, so a
 * test can kill -9, leak and crash without harming the next one. It passes by returning.
 *
 * A failure ends the calling *process*. In a child that a test forked itself that is the child, so the test
 * has to look at its exit status. Any thread may fail.
 *
 * Knows nothing of leat; what tests share about leat lives in files of its own beside this one.
 */
#ifndef TEST_H
#define TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* TEST(sentence_as_a_name) { ... }: at most 60 seconds.
 * TEST_SLOW(name, seconds) { ... }: a limit of its own.
 * TEST_LONG(name, seconds) { ... }: only run by `zig build test:long`, otherwise skipped. */
#define TEST(name) TEST_DEFINE(name, TEST_LIMIT_SECONDS, false)
#define TEST_SLOW(name, seconds) TEST_DEFINE(name, seconds, false)
#define TEST_LONG(name, seconds) TEST_DEFINE(name, seconds, true)

#define TEST_LIMIT_SECONDS 60

/* ROLE(name) { ... }: what another process of a test does: the same program, executed afresh as
 * `PROGRAM --role NAME ...`. It ends well by returning. Who starts it and how they talk is not the harness's business:
 * tests/lib/bus.h. */
#define ROLE(name) ROLE_DEFINE(name)

#define CHECK(expr)                                            \
    do {                                                       \
        if (!(expr))                                           \
            test_fail(__FILE__, __LINE__, "CHECK(%s)", #expr); \
    } while (0)

/* Integers of any width and sign; both are printed. */
#define CHECK_EQ(got, wanted)                                                                   \
    do {                                                                                        \
        __typeof__((got) + 0) test_got_ = (got);                                                \
        __typeof__((wanted) + 0) test_wanted_ = (wanted);                                       \
        test_check_eq(__FILE__, __LINE__, #got, TEST_WIDE(test_got_), TEST_WIDE(test_wanted_)); \
    } while (0)

/* Strings; NULL equals only NULL. */
#define CHECK_STR(got, wanted) test_check_str(__FILE__, __LINE__, #got, (got), (wanted))

/* Bytes: the first difference is printed. */
#define CHECK_MEM(got, wanted, size_bytes) \
    test_check_mem(__FILE__, __LINE__, #got, (got), (wanted), (size_bytes))

#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)
#define SKIP(...) test_skip(__VA_ARGS__)

/* The seed of this run: random, printed with every failure, given back by --seed. */
uint64_t test_seed(void);

/* Next number of a stream that depends on the seed and the test's name only. One stream a process: a test that
 * wants one a thread seeds its own from here. */
uint64_t test_random(void);

/* An empty directory for this test, removed after it; its path is short enough for socket names. */
const char *test_dir(void);

/* Whether this is a `test:long` run: for loops that can be worth more time. */
bool test_long(void);

/* How much slower than usual this run may be (1, or more under a sanitizer): multiply own time limits by it. */
int test_slowdown(void);

/* In a role: what follows its name on the command line, NULL behind the last. */
const char *const *test_role_arguments(void);

/* ---- behind the macros ---- */

struct test_case {
    const char *name;
    const char *file;
    void (*run)(void);
    int limit_seconds;
    bool only_long;
    struct test_case *next;
};

struct test_role {
    const char *name;
    void (*run)(void);
    struct test_role *next;
};

void test_register(struct test_case *test);
void test_register_role(struct test_role *role);
__attribute__((noreturn, format(printf, 3, 4))) void test_fail(const char *file, int line, const char *format,
                                                               ...);
__attribute__((noreturn, format(printf, 1, 2))) void test_skip(const char *format, ...);

/* Widened so that -1 and UINT64_MAX stay different. */
struct test_wide {
    bool negative;
    uint64_t bits;
};
#define TEST_WIDE(value) \
    ((struct test_wide){ (value) < 1 && (value) != 0, (uint64_t)(value) }) /* no -Wtype-limits */

void test_check_eq(const char *file, int line, const char *what, struct test_wide got,
                   struct test_wide wanted);
void test_check_str(const char *file, int line, const char *what, const char *got, const char *wanted);
void test_check_mem(const char *file, int line, const char *what, const void *got, const void *wanted,
                    size_t size_bytes);

#define TEST_DEFINE(name_, seconds_, only_long_)                      \
    static void test_body_##name_(void);                              \
    __attribute__((constructor)) static void test_add_##name_(void)   \
    {                                                                 \
        static struct test_case test = { .name = #name_,              \
                                         .file = __FILE__,            \
                                         .run = test_body_##name_,    \
                                         .limit_seconds = (seconds_), \
                                         .only_long = (only_long_) }; \
        test_register(&test);                                         \
    }                                                                 \
    static void test_body_##name_(void)

#define ROLE_DEFINE(name_)                                                           \
    static void role_body_##name_(void);                                             \
    __attribute__((constructor)) static void role_add_##name_(void)                  \
    {                                                                                \
        static struct test_role role = { .name = #name_, .run = role_body_##name_ }; \
        test_register_role(&role);                                                   \
    }                                                                                \
    static void role_body_##name_(void)

#endif
