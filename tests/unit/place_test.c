/* place: which directory a bus's name means. */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "leat.h"
#include "shm/place.h"

static char out[LT_PLACE_MAX];

TEST(absolute_path_is_itself)
{
    CHECK_EQ(lt_place("/a/b", out, sizeof out), 4);
    CHECK_STR(out, "/a/b");
    CHECK_EQ(lt_place("/a/b///", out, sizeof out), 4);
    CHECK_STR(out, "/a/b");
    CHECK_EQ(lt_place("/", out, sizeof out), LEAT_EINVAL);
}

TEST(name_lives_in_the_runtime_directory)
{
    setenv("XDG_RUNTIME_DIR", "/xdg", 1);
    if (geteuid() != 0) {
        CHECK_EQ(lt_place("one", out, sizeof out), 13);
        CHECK_STR(out, "/xdg/leat/one");
    } else {
        CHECK_EQ(lt_place("one", out, sizeof out), 13);
        CHECK_STR(out, "/run/leat/one"); /* root's, whatever the variable says */
        CHECK_EQ(seteuid(65534), 0);
        CHECK_EQ(lt_place("one", out, sizeof out), 13);
        CHECK_STR(out, "/xdg/leat/one");
        unsetenv("XDG_RUNTIME_DIR");
        CHECK(lt_place("one", out, sizeof out) > 0);
        CHECK_STR(out, "/run/user/65534/leat/one");
        CHECK_EQ(seteuid(0), 0); /* a leak checker that looks when this ends wants its rights back */
    }
}

TEST(data_of_a_path_lies_in_it_and_of_a_name_with_the_state)
{
    CHECK_EQ(lt_place_data("/a/b/", out, sizeof out), 9);
    CHECK_STR(out, "/a/b/data");
    CHECK_EQ(lt_place_data("a/b", out, sizeof out), LEAT_EINVAL);
    setenv("XDG_STATE_HOME", "/state", 1);
    setenv("HOME", "/home/me", 1);
    bool is_root = geteuid() == 0;
    if (is_root) {
        CHECK(lt_place_data("one", out, sizeof out) > 0);
        CHECK_STR(out, "/var/lib/leat/one");
        CHECK_EQ(seteuid(65534), 0);
    }
    CHECK(lt_place_data("one", out, sizeof out) > 0);
    CHECK_STR(out, "/state/leat/one");
    unsetenv("XDG_STATE_HOME");
    CHECK(lt_place_data("one", out, sizeof out) > 0);
    CHECK_STR(out, "/home/me/.local/state/leat/one");
    unsetenv("HOME");
    CHECK_EQ(lt_place_data("one", out, sizeof out), LEAT_EINVAL);
    if (is_root)
        CHECK_EQ(seteuid(0), 0);
}

TEST(no_name_is_what_the_environment_says)
{
    setenv("LEAT_BUS", "/from/there", 1);
    CHECK_EQ(lt_place(NULL, out, sizeof out), 11);
    CHECK_STR(out, "/from/there");
    setenv("LEAT_BUS", "", 1);
    CHECK(lt_place(NULL, out, sizeof out) > 0);
    CHECK_STR(strrchr(out, '/'), "/default");
}

TEST(name_that_is_none_is_refused_with_its_values)
{
    char name[128];
    memset(name, 'n', sizeof name);
    name[101] = 0;
    CHECK_EQ(lt_place(name, out, sizeof out), LEAT_EINVAL);
    CHECK(strstr(lt_fail_text(), "101"));
    name[100] = 0;
    CHECK(lt_place(name, out, sizeof out) > 100);
    CHECK_EQ(lt_place("a/b", out, sizeof out), LEAT_EINVAL);
    CHECK_EQ(lt_place("", out, sizeof out), LEAT_EINVAL);
    CHECK_EQ(lt_place(".", out, sizeof out), LEAT_EINVAL);
    CHECK_EQ(lt_place("..", out, sizeof out), LEAT_EINVAL);
}

TEST(path_without_room_for_it_is_refused)
{
    char small[8];
    CHECK_EQ(lt_place("/1234567", small, sizeof small), LEAT_EINVAL);
    CHECK_EQ(lt_place("/123456", small, sizeof small), 7);
    CHECK_STR(small, "/123456");
}

/* A name of 100 bytes makes a path that no socket address holds. */
TEST(socket_of_a_long_path_can_be_bound_and_reached)
{
    char directory[LT_PLACE_MAX];
    struct sockaddr_un address;
    int dir_fd;
    snprintf(directory, sizeof directory, "%s/%0100d", test_dir(), 7);
    CHECK_EQ(mkdir(directory, 0700), 0);
    int server = socket(AF_UNIX, SOCK_SEQPACKET, 0), client = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    CHECK_EQ(lt_place_socket(directory, "control", &address, &dir_fd), 0);
    CHECK(dir_fd >= 0);
    CHECK_EQ(bind(server, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_EQ(listen(server, 1), 0);
    close(dir_fd);
    CHECK_EQ(lt_place_socket(directory, "control", &address, &dir_fd), 0);
    CHECK_EQ(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    close(dir_fd);
    snprintf(directory, sizeof directory, "%s/gone/%0100d", test_dir(), 7);
    CHECK_EQ(lt_place_socket(directory, "control", &address, &dir_fd), LEAT_EGONE);
}
