/* topic: attaching, and mapping of rings. See topic.h.
 *
 * An attach is a standing request: it is said again to a new worker. What leatd holds for it (a writer's bit in the page,
 * the right to ask for rings) ends with the detach, or with this process.
 */
#include "client/topic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "client/bus.h"
#include "client/link.h"
#include "shm/region.h"

#define PAGES_AHEAD (64ull << 20) /* topics up to this are mapped with all their pages */

#define MAP_TOGETHER 32u

static void close_fds(const struct lt_request *request)
{
    for (int i = 0; i < request->fd_count; i++)
        close(request->fds[i]);
}

static struct lt_topic_attach attach_body(const char *name, bool write, bool exclusive)
{
    struct lt_topic_attach body;
    memset(&body, 0, sizeof body); /* it is compared as bytes */
    memcpy(body.name, name, strlen(name));
    body.write = write;
    body.exclusive = exclusive;
    return body;
}

static void detach(leat_bus *bus, const char *name, uint32_t topic_id, bool write, bool exclusive)
{
    struct lt_topic_attach attached = attach_body(name, write, exclusive);
    struct lt_topic_detach body = { .topic_id = topic_id, .write = write };
    struct lt_request request = { .type = LT_MSG_TOPIC_DETACH,
                                  .body = &body,
                                  .body_size = sizeof body,
                                  .forget = LT_MSG_TOPIC_ATTACH,
                                  .forget_body = &attached,
                                  .forget_size = sizeof attached,
                                  .forget_topic = topic_id };
    lt_link_call(&bus->link, &request); /* a bus that is gone holds nothing */
    close_fds(&request);
}

/* --- the page --- */

static void free_topic(struct lt_attached *topic)
{
    if (topic->page != NULL)
        lt_region_unmap(topic->page, topic->page_bytes, 0);
    free(topic->mapped);
    free(topic);
}

/* leatd wrote it; but it may be of another build, and then this says so. */
static int check_page(struct lt_attached *topic)
{
    int r = lt_region_check(topic->page, LT_REGION_TOPIC, topic->page_bytes, topic->topic_id);
    if (r < 0)
        return r;
    const struct lt_topic_head *head = lt_topic_head(topic->page);
    uint32_t partitions = head->partition_count;
    uint64_t ring_size = head->ring_size;
    if (partitions == 0 || partitions > LT_TOPIC_PARTITIONS_MAX ||
        lt_topic_bytes(partitions) > topic->page_bytes || ring_size < LT_RING_SIZE_MIN ||
        ring_size > LT_RING_SIZE_MAX || (ring_size & (ring_size - 1)) != 0 ||
        head->topic_id != topic->topic_id)
        return lt_fail(LEAT_EPROTO, "%s: a page of topic %u with %u partitions of %llu bytes", topic->name,
                       head->topic_id, partitions, (unsigned long long)ring_size);
    topic->head = head;
    topic->partition_count = partitions;
    topic->ring_size = ring_size;
    return 0;
}

static int map_page(struct lt_attached *topic, uint64_t bytes, int fd)
{
    int64_t size = lt_region_checked_size(fd);
    if (size < 0)
        return lt_fail_errno((int)-size, "%s: the topic's page", topic->name);
    if ((uint64_t)size != bytes || bytes < lt_topic_bytes(1))
        return lt_fail(LEAT_EPROTO, "%s: a page of %lld bytes, leatd said %llu", topic->name, (long long)size,
                       (unsigned long long)bytes);
    int r = lt_region_map(fd, bytes, 0, 1, 0, 0, &topic->page);
    if (r < 0)
        return lt_fail_errno(-r, "%s: mapping %llu bytes", topic->name, (unsigned long long)bytes);
    topic->page_bytes = bytes;
    r = check_page(topic);
    if (r < 0)
        return r;

    struct lt_ring view;
    lt_ring_view(&view, NULL, topic->ring_size, 0, &lt_attached_partition(topic, 0)->gate[0]);
    topic->record_max = lt_ring_record_max(&view);
    topic->mapped = calloc(topic->partition_count, sizeof *topic->mapped);
    return topic->mapped != NULL
               ? 0
               : lt_fail(LEAT_ENOMEM, "%s: %u partitions", topic->name, topic->partition_count);
}

static int add_topic(leat_bus *bus, const char *name, const struct lt_topic_attach_answer *answer, int fd,
                     struct lt_attached **out)
{
    struct lt_attached *topic = calloc(1, sizeof *topic);
    if (topic == NULL)
        return lt_fail(LEAT_ENOMEM, "%s: %zu bytes", name, sizeof *topic);
    topic->bus = bus;
    topic->topic_id = answer->topic_id;
    snprintf(topic->name, sizeof topic->name, "%s", name);
    int r = map_page(topic, answer->page_bytes, fd);
    if (r < 0) {
        free_topic(topic);
        return r;
    }
    topic->next = bus->topics;
    bus->topics = topic;
    *out = topic;
    return 0;
}

/* --- attach --- */

static struct lt_attached *find_name(leat_bus *bus, const char *name)
{
    struct lt_attached *topic = bus->topics;
    while (topic != NULL && (strcmp(topic->name, name) != 0 || lt_attached_deleted(topic)))
        topic = topic->next;
    return topic;
}

static struct lt_attached *find_id(leat_bus *bus, uint32_t topic_id)
{
    struct lt_attached *topic = bus->topics;
    while (topic != NULL && topic->topic_id != topic_id)
        topic = topic->next;
    return topic;
}

/* Another request that travels with it. */
struct ride {
    struct lt_request *request;
    int *result;
};

static int call_with(leat_bus *bus, struct lt_request *request, const struct ride *ride)
{
    if (ride->request == NULL)
        return lt_link_call(&bus->link, request);
    struct lt_request both[2] = { *request, *ride->request };
    int results[2];
    lt_link_call_all(&bus->link, both, results, 2);
    *request = both[0];
    *ride->request = both[1];
    *ride->result = results[1];
    return results[0];
}

/* Asks leatd; finds or maps the page of what it answers. */
static int attach(leat_bus *bus, const char *name, bool write, bool exclusive, const struct ride *ride,
                  struct lt_attached **out)
{
    struct lt_topic_attach body = attach_body(name, write, exclusive);
    struct lt_topic_attach_answer answer = { 0 };
    struct lt_request request = { .type = LT_MSG_TOPIC_ATTACH,
                                  .body = &body,
                                  .body_size = sizeof body,
                                  .answer = &answer,
                                  .answer_size = sizeof answer,
                                  .remember = true };
    int r = call_with(bus, &request, ride);
    if (r < 0)
        return r;
    r = 0;
    if (request.got != sizeof answer || request.fd_count != 1)
        r = lt_fail(LEAT_EPROTO, "%s: attach was answered with %u bytes and %d descriptors", name,
                    request.got, request.fd_count);
    else if ((*out = find_id(bus, answer.topic_id)) == NULL)
        r = add_topic(bus, name, &answer, request.fds[0], out);
    close_fds(&request);
    if (r < 0)
        detach(bus, name, answer.topic_id, write, exclusive);
    return r;
}

static int open_locked(leat_bus *bus, const char *name, bool write, bool exclusive, const struct ride *ride,
                       struct lt_attached **out)
{
    struct lt_attached *topic = find_name(bus, name);
    if (topic != NULL && write && topic->exclusive)
        return lt_fail(LEAT_EEXCLUSIVE, "%s: a producer of this process holds it exclusively", name);
    if (topic != NULL && exclusive && topic->writers > 0)
        return lt_fail(LEAT_EEXCLUSIVE, "%s: %u producers of this process are attached", name,
                       topic->writers);
    if (topic == NULL || (write ? topic->writers : topic->readers) == 0) {
        topic = NULL;
        int r = attach(bus, name, write, exclusive, ride, &topic);
        if (r < 0 || topic == NULL)
            return r;
    }
    if (write)
        topic->writers++;
    else
        topic->readers++;
    if (exclusive)
        topic->exclusive = true;
    *out = topic;
    return 0;
}

static int open_topic(leat_bus *bus, const char *name, bool write, bool exclusive, const struct ride *ride,
                      struct lt_attached **topic)
{
    if (name == NULL)
        return lt_fail(LEAT_EINVAL, "the topic's name is NULL");
    int r = lt_topic_name_check(name, strlen(name));
    if (r < 0)
        return r;
    pthread_mutex_lock(&bus->mutex);
    r = open_locked(bus, name, write, exclusive, ride, topic);
    pthread_mutex_unlock(&bus->mutex);
    return r;
}

int lt_attached_open(leat_bus *bus, const char *name, bool write, bool exclusive, struct lt_attached **topic)
{
    return open_topic(bus, name, write, exclusive, &(struct ride){ 0 }, topic);
}

int lt_attached_open_with(leat_bus *bus, const char *name, struct lt_request *other, int *result,
                          struct lt_attached **topic)
{
    return open_topic(bus, name, false, false, &(struct ride){ other, result }, topic);
}

void lt_attached_close(struct lt_attached *topic, bool write)
{
    leat_bus *bus = topic->bus;
    pthread_mutex_lock(&bus->mutex);
    uint32_t *references = write ? &topic->writers : &topic->readers;
    if (--*references == 0) {
        detach(bus, topic->name, topic->topic_id, write, write && topic->exclusive);
        if (write)
            topic->exclusive = false;
    }
    if (topic->writers == 0 && topic->readers == 0) {
        struct lt_attached **at = &bus->topics;
        while (*at != topic)
            at = &(*at)->next;
        *at = topic->next;
        free_topic(topic);
    }
    pthread_mutex_unlock(&bus->mutex);
}

/* --- rings --- */

static int map_ring(struct lt_mapped *m, const struct lt_ring_attach_answer *answer, int fd, bool lazy)
{
    struct lt_attached *topic = m->topic;
    const struct lt_ring_gate *gate = lt_partition_gate(lt_attached_partition(topic, m->partition), m->ring);
    void *base;

    lt_ring_view(&m->view, NULL, topic->ring_size, answer->base_offset, gate);
    /* The payload's second mapping begins where the first one ends. */
    m->bytes = m->view.payload_at + m->view.payload_size;
    m->twice_bytes = m->view.payload_size;
    int64_t size = lt_region_checked_size(fd);
    if (size < 0)
        return lt_fail_errno((int)-size, "%s: partition %u: ring %u", topic->name, m->partition, m->ring);
    if ((uint64_t)size != answer->bytes || (uint64_t)size < m->bytes)
        return lt_fail(LEAT_EPROTO,
                       "%s: partition %u: a ring of %lld bytes, leatd said %llu, at least %llu are needed",
                       topic->name, m->partition, (long long)size, (unsigned long long)answer->bytes,
                       (unsigned long long)m->bytes);
    int populate = !lazy && m->bytes <= PAGES_AHEAD / topic->partition_count;
    int r = lt_region_map(fd, m->bytes, m->write, populate, m->view.payload_at, m->twice_bytes, &base);
    if (r < 0)
        return lt_fail_errno(-r, "%s: partition %u: mapping %llu bytes", topic->name, m->partition,
                             (unsigned long long)m->bytes + m->twice_bytes);
    r = lt_region_check(base, LT_REGION_RING, answer->bytes, answer->ring_id);
    if (r < 0) {
        lt_region_unmap(base, m->bytes, m->twice_bytes);
        return r;
    }
    m->view.base = base;
    return 0;
}

/* What leatd has answered. */
static int take_ring(struct lt_attached *topic, uint32_t partition, uint32_t ring, enum lt_map_how how,
                     struct lt_request *request, struct lt_mapped **out)
{
    const struct lt_ring_attach_answer *answer = request->answer;
    bool write = how == LT_MAP_WRITE;
    struct lt_mapped *m = NULL;
    int r = 0;
    if (request->got != sizeof *answer || request->fd_count != 1) {
        r = lt_fail(LEAT_EPROTO, "%s: partition %u: ring %u was answered with %u bytes and %d descriptors",
                    topic->name, partition, ring, request->got, request->fd_count);
    } else if ((m = calloc(1, sizeof *m)) == NULL) {
        r = lt_fail(LEAT_ENOMEM, "%s: %zu bytes", topic->name, sizeof *m);
    } else {
        m->topic = topic;
        m->partition = partition;
        m->ring = ring;
        m->write = write;
        m->references = 1;
        r = map_ring(m, answer, request->fds[0], how == LT_MAP_LAZY);
    }
    close_fds(request);
    if (r < 0 || m == NULL) {
        free(m);
        return r;
    }
    m->next = topic->mapped[partition];
    topic->mapped[partition] = m;
    *out = m;
    return 0;
}

static int attach_ring(struct lt_attached *topic, uint32_t partition, uint32_t ring, enum lt_map_how how,
                       struct lt_mapped **out)
{
    struct lt_ring_attach body = { topic->topic_id, partition, ring, how == LT_MAP_WRITE };
    struct lt_ring_attach_answer answer = { 0 };
    struct lt_request request = { .type = LT_MSG_RING_ATTACH,
                                  .body = &body,
                                  .body_size = sizeof body,
                                  .answer = &answer,
                                  .answer_size = sizeof answer };
    int r = lt_link_call(&topic->bus->link, &request);
    return r < 0 ? r : take_ring(topic, partition, ring, how, &request, out);
}

static struct lt_mapped *find_ring(const struct lt_attached *topic, uint32_t partition, uint32_t ring,
                                   bool write)
{
    struct lt_mapped *m = topic->mapped[partition];
    while (m != NULL && (m->ring != ring || m->write != write))
        m = m->next;
    return m;
}

void lt_attached_map_all(struct lt_ring_wanted *wanted, uint32_t count, const struct lt_request *others,
                         int *other_results, uint32_t other_count)
{
    struct lt_ring_attach bodies[MAP_TOGETHER];
    struct lt_ring_attach_answer answers[MAP_TOGETHER] = { 0 };
    struct lt_request all[2 * MAP_TOGETHER], *requests = all + other_count;
    int results[2 * MAP_TOGETHER];
    uint32_t asked[MAP_TOGETHER], n = 0;
    if (count == 0)
        return;
    for (uint32_t i = 0; i < other_count; i++)
        all[i] = others[i];
    leat_bus *bus = wanted[0].topic->bus;
    pthread_mutex_lock(&bus->mutex);
    for (uint32_t i = 0; i < count; i++) {
        struct lt_ring_wanted *ring = &wanted[i];
        ring->mapped = find_ring(ring->topic, ring->partition, ring->ring, false);
        if (ring->mapped != NULL) {
            ring->mapped->references++;
            continue;
        }
        if (n == MAP_TOGETHER)
            continue;
        bodies[n] = (struct lt_ring_attach){ ring->topic->topic_id, ring->partition, ring->ring, false };
        requests[n] = (struct lt_request){ .type = LT_MSG_RING_ATTACH,
                                           .body = &bodies[n],
                                           .body_size = sizeof bodies[n],
                                           .answer = &answers[n],
                                           .answer_size = sizeof answers[n] };
        asked[n++] = i;
    }
    lt_link_call_all(&bus->link, all, results, other_count + n);
    for (uint32_t i = 0; i < other_count; i++)
        other_results[i] = results[i];
    for (uint32_t i = 0; i < n; i++) {
        struct lt_ring_wanted *ring = &wanted[asked[i]];
        if (results[other_count + i] >= 0 &&
            take_ring(ring->topic, ring->partition, ring->ring, LT_MAP_LAZY, &requests[i], &ring->mapped) < 0)
            ring->mapped = NULL;
    }
    pthread_mutex_unlock(&bus->mutex);
}

int lt_attached_map(struct lt_attached *topic, uint32_t partition, uint32_t ring, enum lt_map_how how,
                    struct lt_mapped **mapped)
{
    int r = 0;
    pthread_mutex_lock(&topic->bus->mutex);
    struct lt_mapped *m = find_ring(topic, partition, ring, how == LT_MAP_WRITE);
    if (m != NULL) {
        m->references++;
        *mapped = m;
    } else {
        r = attach_ring(topic, partition, ring, how, mapped);
    }
    pthread_mutex_unlock(&topic->bus->mutex);
    return r;
}

void lt_mapped_keep(struct lt_mapped *mapped)
{
    pthread_mutex_lock(&mapped->topic->bus->mutex);
    mapped->references++;
    pthread_mutex_unlock(&mapped->topic->bus->mutex);
}

void lt_mapped_drop(struct lt_mapped *mapped)
{
    struct lt_attached *topic = mapped->topic;
    pthread_mutex_lock(&topic->bus->mutex);
    if (--mapped->references == 0) {
        struct lt_mapped **at = &topic->mapped[mapped->partition];
        while (*at != mapped)
            at = &(*at)->next;
        *at = mapped->next;
        lt_region_unmap(mapped->view.base, mapped->bytes, mapped->twice_bytes);
        free(mapped);
    }
    pthread_mutex_unlock(&topic->bus->mutex);
}
