/* rotate: see rotate.h.
 *
 * Points, with what a death there leaves:
 *   rotation.ring           nothing, or an orphan ring
 *   rotation.freeze         an orphan ring
 *   rotation.freeze.after   a frozen gate without successor: the next worker looks at it and starts from step 1
 *   rotation.seal           (shm/rotation.c) the same, sealed or not
 *   rotation.publish        the same; the next gate is filled, and filled anew
 *   rotation.publish.after  the ring is there, the old gate does not say where it ends: lt_rotate_adopt
 *   rotation.after          all but the wake-ups: producers and readers wait with bounds
 */
#include "leatd/rotate.h"

#include <string.h>

#include "base/atomic.h"
#include "base/err.h"
#include "base/futex.h"
#include <leat.h>
#include "leatd/kept.h"
#include "leatd/topics.h"
#include "leatd/warden.h"
#include "shm/rotation.h"

static struct lt_ring_gate *current_gate(struct lt_part *part)
{
    return lt_partition_gate(part->page, part->page->current_ring);
}

/* Room may have come back while memory was taken. */
static bool is_needed(struct lt_part *part)
{
    struct lt_room room;
    if (part->topic->gone || part->page->current_ring - part->page->first_ring >= LT_RINGS_RETIRED)
        return false;
    if (current_gate(part)->frozen)
        return true;
    return !lt_warden_room(lt_part_ring(part, part->page->current_ring), &room) || room.is_short;
}

static int check_memory(struct lt_worker *w, const struct lt_part *part)
{
    uint64_t bytes = lt_ring_bytes(part->topic->head->ring_size), available = lt_memory_available();
    if (w->memory_bytes + bytes > w->config.max_memory)
        return lt_fail(LEAT_ELIMIT, "%llu bytes, %llu of %llu are in use (max-memory)",
                       (unsigned long long)bytes, (unsigned long long)w->memory_bytes,
                       (unsigned long long)w->config.max_memory);
    if (bytes > available - available / 16)
        return lt_fail(LEAT_ENOMEM, "%llu bytes, %llu can be had", (unsigned long long)bytes,
                       (unsigned long long)available);
    return 0;
}

/* Steps 2 and 3: nobody claims in the old ring any more. Where the next one begins. */
static void leave_ring(struct lt_worker *w, struct lt_part *part, uint64_t *base_offset, uint32_t *epoch)
{
    struct lt_kept_ring *kept = lt_part_ring(part, part->page->current_ring);
    struct lt_ring_gate *gate = current_gate(part);
    lt_point("rotation.freeze");
    /* [rotation.freeze] release, then the membarrier: an exclusive holder claims by plain stores and then looks here. */
    lt_store_release32(&gate->frozen, 1);
    lt_point("rotation.freeze.after");
    lt_membarrier();
    if (lt_rotation_seal(&kept->view, part->topic->head->exclusive_client != 0, base_offset, epoch) == 0)
        return;
    /* Damaged by a producer of this topic. The next ring begins behind all that this one can have had. */
    *base_offset = kept->limit_offset + kept->view.slot_count;
    *epoch = part->topic->head->map_epoch;
    lt_worker_log(w, LT_LOG_ERROR,
                  "topic %s, partition %u: ring %u is damaged; offsets up to %llu may be lost",
                  part->topic->name, part->index, part->page->current_ring, (unsigned long long)*base_offset);
}

/* Steps 4 to 6. */
static void enter_ring(struct lt_worker *w, struct lt_part *part, const struct lt_kept_ring *made,
                       uint64_t base_offset, uint32_t epoch)
{
    struct lt_partition *page = part->page;
    struct lt_topic *topic = part->topic;
    struct lt_ring_gate *old = current_gate(part);
    uint32_t ring = page->current_ring + 1;
    struct lt_ring_gate *gate = lt_partition_gate(page, ring);
    struct lt_kept_ring *kept = lt_part_ring(part, ring);

    *kept = *made;
    lt_topics_gate_init(gate, made->id, base_offset);
    lt_ring_view(&kept->view, kept->base, topic->head->ring_size, base_offset, gate);
    lt_ring_genesis(&kept->view, epoch);
    lt_kept_view(kept, topic->head->ring_size, gate);
    lt_point("rotation.publish");
    /* [rotation.publish] release: whoever sees the number sees its gate, and a ring that can be claimed in. Then the old
     * gate's end, so that who sees an end finds the ring behind it. */
    lt_store_release32(&page->current_ring, ring);
    lt_point("rotation.publish.after");
    lt_store_release64(&old->end_offset, base_offset);
    lt_point("rotation.after");

    topic->memory_bytes += kept->bytes;
    topic->descriptors++;
    w->memory_bytes += kept->bytes;
    part->counted[LT_PART_ROTATIONS]++;
    part->blocked_ns = 0;
    if (page->starving)
        lt_store_release32(&page->starving, 0);
    lt_part_wake_room(page);
    lt_partition_ring_bells(page, w->bells);
    lt_worker_log(w, LT_LOG_INFO, "topic %s, partition %u: on to ring %u at offset %llu; %u retired",
                  topic->name, part->index, ring, (unsigned long long)base_offset, ring - page->first_ring);
}

static void discard(struct lt_worker *w, struct lt_kept_ring *made)
{
    lt_region_unmap(made->base, made->bytes, 0);
    lt_keep_drop(&w->keep, LT_KEEP_RING, made->id);
}

void lt_rotate(struct lt_worker *w, struct lt_part *part)
{
    struct lt_topic *topic = part->topic;
    struct lt_kept_ring made;
    uint64_t base_offset;
    uint32_t epoch;

    lt_worker_lock(w);
    bool needed = is_needed(part);
    uint32_t ring = part->page->current_ring + 1;
    uint64_t ring_id = lt_topic_ring_id(topic, topic->head->next_ring_id);
    int r = needed ? check_memory(w, part) : 0;
    if (needed)
        topic->head->next_ring_id++; /* read by leatd only */
    lt_worker_unlock(w);

    lt_point("rotation.ring");
    if (needed && r == 0)
        r = lt_topics_make_ring(w, topic, part->index, ring, ring_id, &made);

    lt_worker_lock(w);
    bool have = needed && r == 0;
    if (have && is_needed(part)) {
        leave_ring(w, part, &base_offset, &epoch);
        enter_ring(w, part, &made, base_offset, epoch);
        part->rotate_failed_said = false;
        have = false;
    } else if (r < 0 && !part->rotate_failed_said) {
        lt_worker_log(w, LT_LOG_WARN, "topic %s, partition %u: no new ring: %s", topic->name, part->index,
                      lt_fail_text());
        part->rotate_failed_said = true;
    }
    lt_topics_unref(w, topic);
    lt_worker_unlock(w);
    if (have)
        discard(w, &made);
}

void lt_rotate_adopt(struct lt_part *part)
{
    struct lt_partition *page = part->page;
    for (uint32_t ring = page->first_ring; ring != page->current_ring; ring++) {
        struct lt_ring_gate *gate = lt_partition_gate(page, ring);
        if (gate->end_offset == UINT64_MAX)
            lt_store_release64(&gate->end_offset, lt_partition_gate(page, ring + 1)->base_offset);
    }
}
