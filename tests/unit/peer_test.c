/* peer: what a user may do with a topic, by its owner, group and mode. */
#include "test.h"

#include <sys/socket.h>
#include <unistd.h>

#include "leatd/peer.h"

enum { READ = 4, WRITE = 2 };

static const gid_t groups[] = { 50, 60 };
static const struct lt_peer anna = {
    .uid = 1000, .gid = 1000, .groups = (gid_t *)(uintptr_t)groups, .group_count = 2, .pidfd = -1
};
static const struct lt_peer root = { .uid = 0, .gid = 0, .pidfd = -1 };

TEST(owner_has_the_owners_bits_and_no_others)
{
    CHECK(lt_peer_may(&anna, 1000, 7, 0600, READ | WRITE));
    CHECK(!lt_peer_may(&anna, 1000, 7, 0400, WRITE));
    CHECK(!lt_peer_may(&anna, 1000, 50, 0077, READ)); /* as for a file: the first that fits decides */
}

TEST(group_counts_when_it_is_primary_or_supplementary)
{
    CHECK(lt_peer_may(&anna, 7, 1000, 0040, READ));
    CHECK(lt_peer_may(&anna, 7, 60, 0020, WRITE));
    CHECK(!lt_peer_may(&anna, 7, 60, 0047, WRITE));
    CHECK(!lt_peer_may(&anna, 7, 61, 0060, READ));
}

TEST(others_have_the_others_bits)
{
    CHECK(lt_peer_may(&anna, 7, 8, 0004, READ));
    CHECK(!lt_peer_may(&anna, 7, 8, 0664, WRITE));
    CHECK(!lt_peer_may(&anna, 7, 8, 0660, READ));
}

TEST(root_may_all)
{
    CHECK(lt_peer_may(&root, 7, 8, 0, READ | WRITE));
}

TEST(other_end_of_a_socket_is_known)
{
    int pair[2];
    struct lt_peer peer, copy;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    CHECK_EQ(lt_peer_read(&peer, pair[0]), 0);
    CHECK_EQ(peer.pid, getpid());
    CHECK_EQ(peer.uid, geteuid());
    CHECK_EQ(peer.gid, getegid());
    CHECK_EQ(peer.pidfd, -1);
    CHECK_EQ(lt_peer_watch(&peer, pair[0]), 0);
    CHECK(!lt_pidfd_fired(peer.pidfd));
    CHECK_EQ((int)peer.group_count, getgroups(0, NULL));
    CHECK_EQ(lt_peer_copy(&copy, &peer), 0);
    CHECK_EQ(copy.group_count, peer.group_count);
    CHECK_EQ(copy.pidfd, -1);
    lt_peer_free(&copy);
    lt_peer_free(&peer);
}
