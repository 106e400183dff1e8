/* region: memory shared by descriptor. Every region is a sealed memfd that starts with struct lt_region.
 *
 * Sealed: SHRINK, GROW, SEAL, so that nobody can truncate it under a reader (never SIGBUS); fully allocated before it is
 * handed out; mode 0600, so that a read-only descriptor cannot be reopened for writing by another user.
 * A client maps nothing whose head it has not checked; leatd trusts only heads that it wrote.
 */
#ifndef LT_SHM_REGION_H
#define LT_SHM_REGION_H

#include <stddef.h>
#include <stdint.h>

#define LT_REGION_MAGIC 0x6c65617472656731ull
#define LT_LAYOUT_VERSION 1u

enum lt_region_kind {
    LT_REGION_COORDINATOR = 1,
    LT_REGION_BELLS = 2,
    LT_REGION_MAILBOX = 3,
    LT_REGION_TOPIC = 4,
    LT_REGION_RING = 5,
    LT_REGION_GROUP = 6,
};

/* at 0 of every region; 64 bytes; written by leatd once, `ready` last. */
struct lt_region {
    uint64_t magic;
    uint32_t version;
    uint32_t kind;
    uint64_t fingerprint; /* of all shared sizes and places: lt_fingerprint() */
    uint64_t size;        /* of the memfd */
    uint64_t id;          /* mailbox: client; topic: topic id; ring: ring id */
    uint64_t owner_id;    /* ring: topic id << 32 | partition; else 0 */
    uint64_t reserved;
    uint32_t reserved2;
    uint32_t ready; /* [region.ready] LT_REGION_READY, stored last with release */
};
#define LT_REGION_READY 0x79646572u

/* Differs between builds whose shared structures differ. layout.c */
uint64_t lt_fingerprint(void);

/* A new memfd of `size` bytes (rounded up to pages), allocated in full, sealed, 0600. Returns the descriptor or
 * -errno (ENOMEM: also when the machine has less available; ENFILE ...). *size_out, when given, is the rounded size. */
int lt_region_create(const char *name, uint64_t size, uint64_t *size_out);
/* A read-only descriptor of the same memfd, or -errno. */
int lt_region_reopen_readonly(int fd);
/* Maps all of it. For a ring, `twice_at`/`twice_size` maps that part once more right behind (0: not).
 * populate: touch every page now. Mappings are MADV_DONTFORK. 0 or -errno. */
int lt_region_map(int fd, uint64_t size, int writable, int populate, uint64_t twice_at, uint64_t twice_size,
                  void **base);
void lt_region_unmap(void *base, uint64_t size, uint64_t twice_size);
/* The memfd's size, having checked that it is a memfd with the seals above. Or -errno (EBADF: seals are missing). */
int64_t lt_region_checked_size(int fd);
/* Writes the head; then [region.ready]. */
void lt_region_init(void *base, enum lt_region_kind kind, uint64_t size, uint64_t id, uint64_t owner_id);
/* 0, or LEAT_EVERSION (another build), or LEAT_EPROTO (not that region), with a message via lt_fail. */
int lt_region_check(const void *base, enum lt_region_kind kind, uint64_t size, uint64_t id);

#endif
