/* keep: the table of descriptors that keeper and worker hold, and the link between them. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "leatd/keep.h"

static int some_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static int is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

TEST(pair_is_found_by_kind_and_id)
{
    static struct lt_keep_table table;
    struct lt_keep_note note = { .topic_id = 7, .bytes = 4096 };
    int fd = some_fd(), other = some_fd();
    CHECK_EQ(lt_keep_add(&table, LT_KEEP_RING, 1, &note, fd), 0);
    CHECK_EQ(lt_keep_add(&table, LT_KEEP_TOPIC, 1, NULL, other), 0);
    CHECK_EQ(lt_keep_find(&table, LT_KEEP_RING, 1)->fd, fd);
    CHECK_EQ(lt_keep_find(&table, LT_KEEP_RING, 1)->note.topic_id, 7);
    CHECK_EQ(lt_keep_find(&table, LT_KEEP_TOPIC, 1)->fd, other);
    CHECK(!lt_keep_find(&table, LT_KEEP_RING, 2));
    lt_keep_remove(&table, LT_KEEP_RING, 1);
    CHECK(!is_open(fd));
    CHECK(!lt_keep_find(&table, LT_KEEP_RING, 1));
    CHECK_EQ(lt_keep_find(&table, LT_KEEP_TOPIC, 1)->fd, other);
    lt_keep_clear(&table);
    CHECK(!is_open(other));
}

TEST(same_key_again_replaces_and_closes_the_older)
{
    static struct lt_keep_table table;
    int fd = some_fd(), other = some_fd();
    CHECK_EQ(lt_keep_add(&table, LT_KEEP_RING, 1, NULL, fd), 0);
    CHECK_EQ(lt_keep_add(&table, LT_KEEP_RING, 1, NULL, other), 0);
    CHECK(!is_open(fd));
    CHECK_EQ(table.count, 1);
    CHECK_EQ(lt_keep_find(&table, LT_KEEP_RING, 1)->fd, other);
    lt_keep_clear(&table);
}

TEST(table_of_many_says_the_same_as_a_plain_list)
{
    enum { KEYS = 9000, STEPS = 60000 };
    static struct lt_keep_table table;
    static bool there[KEYS];
    uint32_t count = 0;
    for (int i = 0; i < STEPS; i++) {
        uint32_t key = (uint32_t)(test_random() % KEYS);
        uint64_t id = (uint64_t)(key / 9) << 32 | key;
        struct lt_keep_note note = { .ring = key };
        CHECK_EQ(lt_keep_find(&table, key % 9, id) != NULL, there[key]);
        if (there[key]) {
            CHECK_EQ(lt_keep_find(&table, key % 9, id)->note.ring, key);
            lt_keep_remove(&table, key % 9, id);
            count--;
        } else {
            CHECK_EQ(lt_keep_add(&table, key % 9, id, &note, -1), 0); /* no descriptor: there are too few */
            count++;
        }
        there[key] = !there[key];
        CHECK_EQ(table.count, count);
    }
    lt_keep_clear(&table);
}

TEST(everything_is_handed_over_and_then_said_to_be_done)
{
    static struct lt_keep_table table, received;
    static struct lt_config config, received_config;
    struct lt_keep_note note = { .pid = 12, .uid = 34 };
    int32_t keeper, worker;
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    lt_config_init(&config);
    strcpy(config.path, "/some/where");
    for (uint64_t i = 0; i < 20; i++)
        CHECK_EQ(lt_keep_add(&table, LT_KEEP_PIDFD, i, &note, some_fd()), 0);
    CHECK_EQ(lt_keep_send_all(pair[0], &table, &config, 100, 200), 0);
    CHECK_EQ(lt_keep_receive_all(pair[1], &received, &received_config, &keeper, &worker), 0);
    CHECK_EQ(keeper, 100);
    CHECK_EQ(worker, 200);
    CHECK_STR(received_config.path, "/some/where");
    CHECK_EQ(received.count, 20);
    for (uint64_t i = 0; i < 20; i++) {
        struct lt_keep_pair *found = lt_keep_find(&received, LT_KEEP_PIDFD, i);
        CHECK(found);
        CHECK_EQ(found->note.pid, 12);
        CHECK(is_open(found->fd));
        CHECK(fcntl(found->fd, F_GETFD) & FD_CLOEXEC);
    }
}

TEST(handover_that_breaks_off_is_noticed)
{
    static struct lt_keep_table table, received;
    static struct lt_config config;
    int32_t keeper, worker;
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    struct lt_keep_msg msg = { .verb = LT_KEEP_STORE, .kind = LT_KEEP_RING, .id = 1 };
    CHECK_EQ(lt_keep_send(pair[0], &msg, NULL, some_fd()), 0);
    close(pair[0]);
    CHECK_EQ(lt_keep_receive_all(pair[1], &received, &config, &keeper, &worker), 1);
    lt_keep_clear(&received);
    lt_keep_clear(&table);
    CHECK_EQ(lt_keep_send(pair[1], &msg, NULL, -1), -EPIPE);
}
