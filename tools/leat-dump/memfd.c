/* memfd: the ring in a memfd, or in a copy of one, of a bus that is dead or stopped: read into memory of our own. There is no gate:
 * that lies in the topic's page, and nobody moves it any more. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "dump.h"
#include "shm/region.h"

/* Payload bytes of a ring whose memfd has this size, or 0: none has. */
static uint64_t payload_of(uint64_t bytes)
{
    for (uint64_t payload = LT_RING_SIZE_MIN; payload <= LT_RING_SIZE_MAX; payload *= 2)
        if (lt_ring_bytes(payload) == bytes)
            return payload;
    return 0;
}

static void print_region(struct dump *dump, const struct lt_region *region)
{
    out_begin(dump, "region");
    out_uint(dump, "version", region->version);
    out_hex(dump, "fingerprint", region->fingerprint);
    out_uint(dump, "size", region->size);
    out_uint(dump, "ring_id", region->id);
    out_uint(dump, "topic_id", region->owner_id >> 32);
    out_uint(dump, "partition", region->owner_id & UINT32_MAX);
    out_end(dump);
}

static void dump_memory(struct dump *dump, unsigned char *base, uint64_t payload, uint64_t base_offset)
{
    struct lt_ring_gate none = { .end_offset = UINT64_MAX };
    struct lt_ring ring;
    lt_ring_view(&ring, base, payload, base_offset, &none);
    memcpy(base + ring.payload_at + payload, base + ring.payload_at, payload);
    ring_dump(dump, &ring, NULL);
}

static void dump_opened(struct dump *dump, struct dump_file *file, uint64_t base_offset)
{
    struct lt_region region;
    if (!file_read(dump, file, &region, sizeof region, 0))
        return;
    int error = lt_region_check(&region, LT_REGION_RING, file->size, region.id);
    if (error < 0) {
        dump_say(dump, error == LEAT_EVERSION ? DUMP_UNREAD : DUMP_DAMAGED, "%s", lt_fail_text());
        return;
    }
    uint64_t payload = payload_of(region.size);
    if (payload == 0) {
        dump_say(dump, DUMP_DAMAGED, "no ring has %" PRIu64 " bytes", region.size);
        return;
    }
    print_region(dump, &region);
    unsigned char *base = aligned_alloc(4096,
                                        region.size + payload); /* payload twice, so that nothing wraps */
    if (!base)
        dump_say(dump, DUMP_UNREAD, "no memory for %" PRIu64 " bytes", region.size + payload);
    else if (file_read(dump, file, base, region.size, 0))
        dump_memory(dump, base, payload, base_offset);
    free(base);
}

void memfd_dump(struct dump *dump, const char *path, uint64_t base_offset)
{
    struct dump_file file = { .fd = -1 };
    if (file_open_path(dump, path, &file))
        dump_opened(dump, &file, base_offset);
    file_close(dump, &file);
}
