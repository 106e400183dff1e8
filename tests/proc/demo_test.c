/* The demo, as a newcomer meets it.
 *
 * Goal: its last line is true, whatever its own checks say: what is in the store is counted here once more.
 * Method: the real program with a short story; SQLite's file is opened by SQLite, PostgreSQL is a cluster of this test's own,
 * reached by a Unix socket, and asked by psql.
 */
#include "bus.h"
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct said {
    uint64_t sent, stored, duplicates, lost, pause_us;
    uint64_t sent_before, stored_before; /* 0: did not say that it goes on */
};

/* Runs it; it has to end with this status, and the last line to be as promised. */
static struct said run_demo_to(int wanted, const char *const *argv)
{
    const char *output;
    struct said said = { 0 };
    int end = 0;
    int status = run_program(argv, &output);
    const char *last = strrchr(output, ':'); /* nothing behind the line's own has one */
    while (last && last > output && last[-1] != '\n')
        last--;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != wanted || !last)
        FAIL("status %d, and said:\n%s", status, output);
    CHECK_EQ(sscanf(last,
                    "demo: %" SCNu64 " sent, %" SCNu64 " stored, %" SCNu64 " duplicates, %" SCNu64
                    " lost, %" SCNu64 " us\n%n",
                    &said.sent, &said.stored, &said.duplicates, &said.lost, &said.pause_us, &end),
             5);
    CHECK_STR(last + end, "");
    const char *before = strstr(output, "goes on: ");
    if (before)
        CHECK_EQ(sscanf(before, "goes on: %" SCNu64 " orders sent and %" SCNu64 " stored before",
                        &said.sent_before, &said.stored_before),
                 2);
    return said;
}

static struct said run_demo(const char *const *argv)
{
    return run_demo_to(0, argv);
}

/* Less than half of what was to be sent would be no pipeline; no pause would mean that none was measured. */
static void check_said(struct said said, uint64_t planned)
{
    CHECK(said.sent > planned / 2);
    CHECK_EQ(said.stored, said.sent);
    CHECK_EQ(said.duplicates, 0);
    CHECK_EQ(said.lost, 0);
    CHECK(said.pause_us > 0);
}

/* Other ways than the demo's own. Customers some of whose orders are missing, or there twice: */
static const char gaps[] =
    "select count(*) from (select customer from leat_demo_orders group by customer"
    " having count(*) <> max(sequence) or count(distinct sequence) <> max(sequence)) as c";
/* Orders that were stored after the customer's next one: */
static const char backwards[] =
    "select count(*) from leat_demo_orders as o join leat_demo_orders as next"
    " on next.customer = o.customer and next.sequence = o.sequence + 1 where next.stored < o.stored";

/* ---- SQLite ---- */

static int64_t ask_sqlite(const char *path, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *question;
    CHECK_EQ(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    CHECK_EQ(sqlite3_prepare_v2(db, sql, -1, &question, NULL), SQLITE_OK);
    CHECK_EQ(sqlite3_step(question), SQLITE_ROW);
    int64_t answer = sqlite3_column_int64(question, 0);
    sqlite3_finalize(question);
    sqlite3_close(db);
    return answer;
}

static void check_sqlite(const char *path, struct said said)
{
    CHECK_EQ(ask_sqlite(path, "select count(*) from leat_demo_orders"), said.stored);
    CHECK_EQ(ask_sqlite(path, "select count(distinct order_id) from leat_demo_orders"), said.sent);
    CHECK_EQ(ask_sqlite(path, "select count(distinct customer) from leat_demo_orders"), 100);
    /* Orders are numbered from 1 on: those that were sent, and no others. */
    CHECK_EQ(ask_sqlite(path, "select max(cast(substr(order_id, 7) as integer)) from leat_demo_orders"),
             said.sent);
    CHECK_EQ(ask_sqlite(path, gaps), 0);
    CHECK_EQ(ask_sqlite(path, backwards), 0);
}

TEST_SLOW(quick_demo_stores_each_order_once_and_in_order, 120)
{
    const char *keep = text("%s/kept", test_dir());
    const char *demo = test_program("LEAT_TEST_DEMO");
    struct said said = run_demo((const char *const[]){ demo, "--quick", "--keep", keep, NULL });
    check_said(said, 12000);
    CHECK_EQ(said.sent_before, 0);
    check_sqlite(text("%s/orders.db", keep), said);
}

/* ---- several lives ---- */

enum { PROCESSES_MAX = 64 };

struct processes {
    pid_t pids[PROCESSES_MAX];
    int count;
};

/* Its state, and its parent; false: it is no more. */
static bool read_stat(pid_t pid, char *state, pid_t *parent)
{
    char stat[512];
    FILE *file = fopen(text("/proc/%d/stat", (int)pid), "r");
    if (!file)
        return false;
    stat[fread(stat, 1, sizeof stat - 1, file)] = 0;
    fclose(file);
    const char *end = strrchr(stat, ')'); /* the name may hold anything */
    return end && sscanf(end + 1, " %c %d", state, parent) == 2;
}

static bool descends_from(pid_t pid, pid_t elder)
{
    char state;
    while (pid > 1 && pid != elder)
        if (!read_stat(pid, &state, &pid))
            return false;
    return pid == elder;
}

/* Stops those that it finds and had not found before; whether there were any. */
static bool stop_more(struct processes *all, pid_t elder)
{
    int before = all->count;
    DIR *proc = opendir("/proc");
    CHECK(proc);
    for (struct dirent *entry; (entry = readdir(proc));) {
        pid_t pid = atoi(entry->d_name);
        bool known = pid <= 0 || !descends_from(pid, elder);
        for (int i = 0; i < before && !known; i++)
            known = all->pids[i] == pid;
        if (known)
            continue;
        CHECK(all->count < PROCESSES_MAX);
        all->pids[all->count++] = pid;
        kill(pid, SIGSTOP);
    }
    closedir(proc);
    return all->count > before;
}

static bool is_stopped(pid_t pid)
{
    char state;
    pid_t parent;
    return !read_stat(pid, &state, &parent) || state == 'T' || state == 'Z';
}

/* kill -9 of this process and all that descend from it. All stand still before the first one dies: none sees another's death
 * and does something about it, as a worker does that starts another keeper. */
static void kill_family(pid_t elder)
{
    struct processes all = { .count = 0 };
    while (stop_more(&all, elder))
        for (int i = 0; i < all.count; i++)
            WAIT_UNTIL(is_stopped(all.pids[i]), 20); /* and can have no more children */
    /* The demo, keeper and worker, producer, counter and a consumer at least. */
    CHECK(all.count >= 6);
    for (int i = 0; i < all.count; i++)
        kill(all.pids[i], SIGKILL);
    for (int i = 0; i < all.count; i++)
        pid_wait_gone(all.pids[i]); /* a zombie is */
    CHECK_EQ(waitpid(elder, NULL, 0), elder);
}

/* -1: none can be counted yet. */
static int64_t count_so_far(const char *path)
{
    sqlite3 *db;
    sqlite3_stmt *question = NULL;
    int64_t count = -1;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "select count(*) from leat_demo_orders", -1, &question, NULL) == SQLITE_OK &&
        sqlite3_step(question) == SQLITE_ROW)
        count = sqlite3_column_int64(question, 0);
    sqlite3_finalize(question);
    sqlite3_close(db);
    return count;
}

/* One word a customer, by the producer's own hand: tools/demo/ledger.h. */
static uint64_t sum_ledger(const char *keep)
{
    uint32_t words[100];
    uint64_t sum = 0;
    int fd = open(text("%s/ledger", keep), O_RDONLY | O_CLOEXEC);
    CHECK_EQ(read(fd, words, sizeof words), sizeof words);
    close(fd);
    for (int i = 0; i < 100; i++)
        sum += words[i];
    return sum;
}

/* A life that is cut short once so many orders are stored. Returns how many the producer knew to be acknowledged. */
static uint64_t live_until(const char *const *argv, const char *keep, int64_t stored)
{
    const char *path = text("%s/orders.db", keep);
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDOUT_FILENO);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    WAIT_UNTIL(count_so_far(path) >= stored, 60);
    kill_family(pid);
    return sum_ledger(keep);
}

TEST_SLOW(demo_goes_on_after_a_kill_of_all_its_processes, 240)
{
    const char *keep = text("%s/kept", test_dir()), *path = text("%s/orders.db", keep);
    const char *const life[] = { test_program("LEAT_TEST_DEMO"), "--seconds", "3", "--keep", keep, NULL };
    uint64_t first = live_until(life, keep, 2000);
    /* And the next one, when its own consumer has been killed or soon will be. */
    uint64_t both = live_until(life, keep, 2000 + 5000);
    CHECK(both > first);
    struct said third = run_demo(life);
    check_said(third, 9000);
    check_sqlite(path, third);
    CHECK(third.stored_before >= 7000);
    CHECK(third.sent_before >= third.stored_before);
    CHECK(third.sent_before >= both);
    CHECK(third.sent > third.sent_before + 9000 / 2);
    /* After a good end nothing is left to be found out. */
    struct said fourth = run_demo(life);
    check_said(fourth, 9000);
    check_sqlite(path, fourth);
    CHECK_EQ(fourth.sent_before, third.sent);
    CHECK_EQ(fourth.stored_before, third.stored);
    CHECK(fourth.sent > third.sent + 9000 / 2);
}

TEST_SLOW(order_that_was_acknowledged_and_is_not_in_the_log_counts_as_lost, 180)
{
    const char *keep = text("%s/kept", test_dir());
    const char *const life[] = { test_program("LEAT_TEST_DEMO"), "--seconds", "2", "--keep", keep, NULL };
    run_demo(life);
    /* As if the first customer's last order had been acknowledged, and the log had lost it. */
    int fd = open(text("%s/ledger", keep), O_RDWR | O_CLOEXEC);
    uint32_t word;
    CHECK_EQ(pread(fd, &word, sizeof word, 0), sizeof word);
    CHECK(word > 0);
    word++;
    CHECK_EQ(pwrite(fd, &word, sizeof word, 0), sizeof word);
    close(fd);
    struct said second = run_demo_to(1, life);
    CHECK_EQ(second.lost, 1);
    CHECK_EQ(second.stored, second.sent); /* it was sent again */
}

/* ---- PostgreSQL ---- */

struct cluster {
    char bin[256]; /* where its programs are */
    const char *directory, *data;
    uid_t uid; /* whom it runs as: it refuses to be root's */
    gid_t gid;
    pid_t pid;
};

static void find_postgres(struct cluster *cluster)
{
    glob_t found;
    if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) != 0)
        SKIP("there is no PostgreSQL here (Debian's package postgresql)");
    const char *initdb = found.gl_pathv[found.gl_pathc - 1];
    snprintf(cluster->bin, sizeof cluster->bin, "%.*s", (int)(strrchr(initdb, '/') - initdb), initdb);
    globfree(&found);
}

static void choose_user(struct cluster *cluster)
{
    const struct passwd *user = getpwnam("postgres");
    cluster->uid = geteuid();
    cluster->gid = getegid();
    if (cluster->uid != 0)
        return;
    if (!user && !(user = getpwnam("nobody")))
        SKIP("PostgreSQL does not run as root, and there is no other user here");
    cluster->uid = user->pw_uid;
    cluster->gid = user->pw_gid;
}

/* In a child that is about to be one of its programs. */
static void become_user(const struct cluster *cluster)
{
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setgid(cluster->gid) < 0 || setuid(cluster->uid) < 0))
        FAIL("setuid: %s", strerror(errno));
    if (chdir(cluster->directory) < 0)
        FAIL("%s: %s", cluster->directory, strerror(errno));
}

/* What it says goes into a file of the cluster's directory. */
static pid_t start_tool(const struct cluster *cluster, const char *tool, const char *const *arguments)
{
    const char *path = text("%s/%s", cluster->bin, tool);
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid > 0)
        return pid;
    become_user(cluster);
    int log = open(text("%s/%s.log", cluster->directory, tool), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execv(path, (char *const *)(uintptr_t)arguments);
    _exit(127);
}

static int run_tool(const struct cluster *cluster, const char *tool, const char *const *arguments)
{
    int status;
    pid_t pid = start_tool(cluster, tool, arguments);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

static void show(const struct cluster *cluster, const char *tool)
{
    const char *output;
    run_program((const char *const[]){ "/bin/cat", text("%s/%s.log", cluster->directory, tool), NULL },
                &output);
    fprintf(stderr, "%s: %s\n", tool, output);
}

static bool is_up(const struct cluster *cluster)
{
    return run_tool(cluster, "pg_isready",
                    (const char *const[]){ "pg_isready", "-q", "-h", cluster->directory, NULL }) == 0;
}

static void cluster_start(struct cluster *cluster)
{
    find_postgres(cluster);
    choose_user(cluster);
    cluster->directory = text("%s/pg", test_dir());
    cluster->data = text("%s/data", cluster->directory);
    CHECK_EQ(chmod(test_dir(), 0711), 0);
    CHECK_EQ(mkdir(cluster->directory, 0755), 0);
    CHECK_EQ(chown(cluster->directory, cluster->uid, cluster->gid), 0);
    const char *const initdb[] = { "initdb", "-D", cluster->data, "-U",         "postgres",  "-A",
                                   "trust",  "-E", "UTF8",        "--locale=C", "--no-sync", NULL };
    if (run_tool(cluster, "initdb", initdb) != 0) {
        show(cluster, "initdb");
        FAIL("initdb failed");
    }
    /* No address of the network; what a power cut would take is not worth waiting for. */
    const char *const postgres[] = { "postgres",          "-D", cluster->data, "-k", cluster->directory, "-c",
                                     "listen_addresses=", "-F", NULL };
    cluster->pid = start_tool(cluster, "postgres", postgres);
    WAIT_UNTIL(is_up(cluster), 30);
}

static void cluster_stop(struct cluster *cluster)
{
    int status;
    kill(cluster->pid, SIGINT);
    CHECK_EQ(waitpid(cluster->pid, &status, 0), cluster->pid);
    CHECK_EQ(status, 0);
}

static int64_t ask_postgres(const struct cluster *cluster, const char *sql)
{
    const char *output;
    const char *const psql[] = { text("%s/psql", cluster->bin),
                                 "-XAtq",
                                 "-h",
                                 cluster->directory,
                                 "-U",
                                 "postgres",
                                 "-c",
                                 sql,
                                 "postgres",
                                 NULL };
    CHECK_EQ(run_program(psql, &output), 0);
    return strtoll(output, NULL, 10);
}

TEST_SLOW(demo_stores_each_order_once_and_in_order_in_postgres, 180)
{
    struct cluster cluster = { .pid = 0 };
    const char *demo = test_program("LEAT_TEST_DEMO");
    cluster_start(&cluster);
    const char *connection = text("host=%s user=postgres dbname=postgres", cluster.directory);
    struct said said = run_demo((const char *const[]){ demo, "--seconds", "3", "--rate", "1000", "--sink",
                                                       "postgres", "--postgres", connection, NULL });
    check_said(said, 3000);
    CHECK_EQ(ask_postgres(&cluster, "select count(*) from leat_demo_orders"), said.stored);
    CHECK_EQ(ask_postgres(&cluster, "select count(distinct order_id) from leat_demo_orders"), said.sent);
    CHECK_EQ(ask_postgres(&cluster, gaps), 0);
    CHECK_EQ(ask_postgres(&cluster, backwards), 0);
    cluster_stop(&cluster);
}

/* ---- what it refuses ---- */

TEST(demo_says_what_it_cannot_do)
{
    const char *demo = test_program("LEAT_TEST_DEMO");
    const char *output;
    int status = run_program((const char *const[]){ demo, "--sink", "paper", NULL }, &output);
    CHECK_EQ(WEXITSTATUS(status), 2);
    CHECK_STR(output, "demo: sink 'paper': sqlite or postgres\n");
    status = run_program((const char *const[]){ demo, "--keep", text("%s/no/such", test_dir()), NULL },
                         &output);
    CHECK_EQ(WEXITSTATUS(status), 1);
    CHECK(strstr(output, "No such file or directory"));
}
