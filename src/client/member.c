/* member: see member.h. */
#include "client/member.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/group_admin.h"
#include "client/link.h"

#define NS_PER_MS 1000000ll
#define TAKE_TOGETHER 32u
#define ROUNDS 16       /* of SYNC in one turn */
#define WARM_MS 2000    /* that rings of what was released stay mapped for its return */
#define PAGE_TRIES 1000 /* an assignment that changes while its pages come */

static int no_memory(const char *what)
{
    return lt_fail(LEAT_ENOMEM, "memory for %s", what);
}

/* --- options --- */

static int check_interval(const char *name, int64_t ms, int64_t least)
{
    return ms >= least
               ? 0
               : lt_fail(LEAT_EINVAL, "%s %lld: at least %lld", name, (long long)ms, (long long)least);
}

int lt_member_check(const leat_consumer_options *options)
{
    int r = lt_group_name_check(options->group);
    if (r < 0)
        return r;
    if ((unsigned)options->assignor >= LEAT_ASSIGNORS)
        return lt_fail(LEAT_EINVAL, "assignor %d: 0 to %d", (int)options->assignor, LEAT_ASSIGNORS - 1);
    if (options->assignor == LEAT_CUSTOM && options->assign == NULL)
        return lt_fail(LEAT_EINVAL, "group \"%.60s\": a custom assignor without options.assign",
                       options->group);
    if (options->instance_id != NULL &&
        (options->instance_id[0] == 0 || strlen(options->instance_id) >= LT_CLIENT_ID_BYTES))
        return lt_fail(LEAT_EINVAL, "instance_id of %zu bytes: 1 to %u", strlen(options->instance_id),
                       LT_CLIENT_ID_BYTES - 1);
    r = check_interval("auto_commit_ms", options->auto_commit_ms, 0);
    r = r < 0 ? r : check_interval("max_poll_interval_ms", options->max_poll_interval_ms, 1);
    r = r < 0 ? r : check_interval("rebalance_timeout_ms", options->rebalance_timeout_ms, 1);
    r = r < 0 ? r : check_interval("session_timeout_ms", options->session_timeout_ms, 1);
    return r < 0 ? r : check_interval("join_delay_ms", options->join_delay_ms, 0);
}

/* The strings of the options outlive the caller's. */
static int keep_options(leat_consumer *c)
{
    leat_consumer_options *options = &c->options;
    const char *group = strdup(options->group);
    const char *instance = options->instance_id != NULL ? strdup(options->instance_id) : NULL;
    bool kept = group != NULL && (instance != NULL || options->instance_id == NULL);
    options->group = group;
    options->instance_id = instance;
    return kept ? 0 : no_memory("a group's name");
}

int lt_member_make(leat_consumer *c)
{
    struct lt_member *m = calloc(1, sizeof *m);
    if (m == NULL)
        return no_memory("a member");
    c->member = m;
    int r = keep_options(c);
    if (r < 0)
        return r;
    m->buffer = malloc(LT_ANSWER_MAX);
    if (m->buffer == NULL)
        return no_memory("answers");
    m->word = &m->nobody;
    m->box = &c->handle.bus->mailbox->members[c->bell_number];
    m->reports_end = &m->reports;
    if (c->options.max_poll_interval_ms < 3 * LT_SLEEP_NS / NS_PER_MS) /* it may be INT64_MAX */
        c->sleep_ns = c->options.max_poll_interval_ms * NS_PER_MS / 3;
    return 0;
}

void lt_member_free(leat_consumer *c)
{
    struct lt_member *m = c->member;
    if (m == NULL)
        return;
    lt_commit_forget(c);
    lt_subscription_free(&m->subscription);
    free((void *)(uintptr_t)c->options.group);
    free((void *)(uintptr_t)c->options.instance_id);
    free(m->standing);
    free(m->rows);
    free(m->warm);
    free(m->parts);
    free(m->intents);
    free(m->buffer);
    free(m);
    c->member = NULL;
}

/* --- requests --- */

int lt_member_ask(leat_consumer *c, enum lt_msg_type type, const void *body, uint32_t size, uint32_t *got)
{
    struct lt_request request = { .type = type,
                                  .body = body,
                                  .body_size = size,
                                  .answer = c->member->buffer,
                                  .answer_size = LT_ANSWER_MAX };
    int r = lt_link_call(&c->handle.bus->link, &request);
    if (got != NULL)
        *got = request.got;
    return r;
}

/* --- joining --- */

static struct lt_group_join *join_body(const leat_consumer *c, uint32_t *size)
{
    const leat_consumer_options *options = &c->options;
    const struct lt_subscription *s = &c->member->subscription;
    const char *client_id = c->client_id[0] != 0 ? c->client_id : c->handle.bus->link.hello.client_id;
    struct lt_group_join *body = calloc(1, sizeof *body + s->text_bytes);
    if (body == NULL)
        return NULL;
    snprintf(body->group, sizeof body->group, "%s", options->group);
    snprintf(body->client_id, sizeof body->client_id, "%s", client_id);
    if (options->instance_id != NULL)
        snprintf(body->instance_id, sizeof body->instance_id, "%s", options->instance_id);
    body->bell = c->bell_number;
    body->serial = c->member->joined ? c->member->serial : 0;
    body->assignor = (uint32_t)options->assignor;
    body->flags = (options->alone != 0 ? LT_JOIN_ALONE : 0) | (options->gate != 0 ? LT_JOIN_GATE : 0);
    body->max_poll_interval_ms = options->max_poll_interval_ms;
    body->rebalance_timeout_ms = options->rebalance_timeout_ms;
    body->session_timeout_ms = options->session_timeout_ms;
    body->join_delay_ms = options->join_delay_ms;
    body->topic_bytes = s->text_bytes;
    memcpy(body + 1, s->text, s->text_bytes);
    *size = (uint32_t)sizeof *body + s->text_bytes;
    return body;
}

static void become(leat_consumer *c, const struct lt_group_join_answer *answer)
{
    struct lt_member *m = c->member;
    m->serial = answer->serial;
    m->generation = m->joined ? m->generation : 0;
    snprintf(m->member_id, sizeof m->member_id, "%.*s", (int)sizeof answer->member_id - 1, answer->member_id);
    m->word = &c->handle.bus->coordinator->members[c->bell_number];
    m->fence = answer->fence;
    m->version = lt_load_relaxed32(&m->word->version) - 1; /* whatever it is: the first turn asks */
    m->joined = true;
    m->evicted = false;
    m->due_ms = lt_clock_mono_coarse_ms() + c->options.auto_commit_ms;
}

/* Once more with the serial in it: the same join, in the words in which it has to stand. The one that stood before is forgotten. */
static int stand(leat_consumer *c, struct lt_group_join *body, uint32_t size)
{
    struct lt_member *m = c->member;
    struct lt_group_join_answer answer;
    struct lt_request request = { .type = LT_MSG_GROUP_JOIN,
                                  .body = body,
                                  .body_size = size,
                                  .answer = &answer,
                                  .answer_size = sizeof answer,
                                  .remember = true };
    if (m->standing != NULL) {
        request.forget = LT_MSG_GROUP_JOIN;
        request.forget_body = m->standing;
        request.forget_size = m->standing_size;
    }
    body->serial = m->serial;
    int r = lt_link_call(&c->handle.bus->link, &request);
    free(m->standing);
    m->standing = body;
    m->standing_size = size;
    /* Evicted between the two: the fence says so, and the next turn sees it. */
    return r == LEAT_EFENCED || r > 0 ? 0 : r;
}

/* Says what the subscription says: as a new member, or as the one that we are. */
static int join(leat_consumer *c)
{
    struct lt_group_join_answer answer;
    uint32_t size = 0;
    if (sizeof answer + c->member->subscription.text_bytes > LT_ANSWER_MAX - sizeof(struct lt_group_join))
        return lt_fail(LEAT_ELIMIT, "group \"%s\": names of %u bytes: a subscription has %zu at most",
                       c->options.group, c->member->subscription.text_bytes,
                       LT_ANSWER_MAX - sizeof(struct lt_group_join) - sizeof answer);
    struct lt_group_join *body = join_body(c, &size);
    if (body == NULL)
        return no_memory("a subscription");
    struct lt_request request = { .type = LT_MSG_GROUP_JOIN,
                                  .body = body,
                                  .body_size = size,
                                  .answer = &answer,
                                  .answer_size = sizeof answer };
    lt_point("member.join");
    int r = lt_link_call(&c->handle.bus->link, &request);
    if (r >= 0 && (request.got != sizeof answer || answer.serial == 0))
        r = lt_fail(LEAT_EPROTO, "group \"%s\": a join was answered with %u bytes, serial %u",
                    c->options.group, request.got, request.got == sizeof answer ? answer.serial : 0);
    if (r < 0) {
        free(body);
        return r;
    }
    become(c, &answer);
    return stand(c, body, size);
}

/* Patterns over the topics that there are now. 1: others than before. */
static int expand(leat_consumer *c)
{
    struct lt_member *m = c->member;
    char **topics;
    m->expand = false;
    if (m->subscription.pattern_count == 0)
        return 0;
    int count = leat_topic_list(c->handle.bus, &topics);
    int r = count < 0 ? count : lt_subscription_expand(&m->subscription, topics, count);
    if (count >= 0)
        leat_names_free(topics, count);
    m->expand = r < 0; /* again */
    return r;
}

/* --- callbacks --- */

enum fate { FATE_STAYS = 0, FATE_LOST = 1, FATE_REVOKED = 2 };

static int room_for_parts(struct lt_member *m, uint32_t count)
{
    if (count <= m->parts_room)
        return 0;
    leat_partition *parts = realloc(m->parts, count * sizeof *parts);
    if (parts == NULL)
        return no_memory("a list of partitions");
    m->parts = parts;
    m->parts_room = count;
    return 0;
}

/* Calls back with the cursors of this fate that on_assigned was told of, or not. */
static int tell(leat_consumer *c, leat_partitions_fn *callback, enum fate fate, bool told)
{
    struct lt_member *m = c->member;
    int count = 0;
    int r = room_for_parts(m, c->cursor_count);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < c->cursor_count; i++) {
        struct lt_cursor *cursor = c->cursors[i];
        if (cursor->fate != fate || cursor->told != told)
            continue;
        cursor->told = !told;
        m->parts[count++] = (leat_partition){ cursor->topic->name, cursor->partition };
    }
    if (count == 0 || callback == NULL)
        return 0;
    lt_consumer_call(c);
    callback(c, m->parts, count, c->options.user);
    lt_consumer_called(c);
    return 0;
}

static bool has_fate(const struct lt_cursor *cursor, uint32_t fate)
{
    return cursor->fate == fate;
}

static void doom_all(leat_consumer *c, enum fate fate)
{
    for (uint32_t i = 0; i < c->cursor_count; i++)
        c->cursors[i]->fate = fate;
}

/* --- warm rings --- */

static void cool(struct lt_member *m)
{
    while (m->warm_count != 0)
        lt_mapped_drop(m->warm[--m->warm_count]);
}

int64_t lt_member_nap_ns(const leat_consumer *c)
{
    const struct lt_member *m = c->member;
    int64_t nap_ns = c->sleep_ns;
    if (m->dirty) {
        int64_t left_ms = m->due_ms - lt_clock_mono_coarse_ms();
        int64_t left_ns = left_ms > 0 ? left_ms * NS_PER_MS + NS_PER_MS : NS_PER_MS; /* the clock is coarse */
        nap_ns = left_ns < nap_ns ? left_ns : nap_ns;
    }
    return nap_ns;
}

void lt_member_idle(leat_consumer *c)
{
    struct lt_member *m = c->member;
    if (m->dirty && lt_clock_mono_coarse_ms() >= m->due_ms)
        lt_commit_auto(c);
    if (m->warm_count != 0 && lt_clock_mono_coarse_ms() >= m->warm_until_ms)
        cool(m);
}

/* Without memory for it they are just mapped anew. */
static void keep_warm(leat_consumer *c)
{
    struct lt_member *m = c->member;
    uint32_t room = m->warm_count + c->cursor_count;
    if (c->options.assignor > LEAT_STICKY)
        return; /* what a cooperative one takes stays away */
    m->warm_until_ms = lt_clock_mono_coarse_ms() + WARM_MS;
    if (room > m->warm_room) {
        struct lt_mapped **warm = realloc(m->warm, room * sizeof(struct lt_mapped *));
        if (warm == NULL)
            return;
        m->warm = warm;
        m->warm_room = room;
    }
    for (uint32_t i = 0; i < c->cursor_count; i++) {
        if (c->cursors[i]->fate != FATE_REVOKED || c->cursors[i]->mapped == NULL)
            continue;
        lt_mapped_keep(c->cursors[i]->mapped);
        m->warm[m->warm_count++] = c->cursors[i]->mapped;
    }
}

/* --- leaving --- */

/* No member any more, as far as this side goes. */
static void resign(struct lt_member *m)
{
    m->joined = m->dirty = m->expand = false;
    m->word = &m->nobody;
    m->version = m->fence = 0;
    m->generation = 0;
    m->member_id[0] = 0;
    cool(m);
}

static void say_leave(leat_consumer *c, bool keep)
{
    struct lt_member *m = c->member;
    struct lt_group_leave body = { .member = lt_membership(c), .keep = keep };
    struct lt_request request = { .type = LT_MSG_GROUP_LEAVE, .body = &body, .body_size = sizeof body };
    if (m->standing != NULL) {
        request.forget = LT_MSG_GROUP_JOIN;
        request.forget_body = m->standing;
        request.forget_size = m->standing_size;
    }
    lt_point("member.leave");
    lt_link_call(&c->handle.bus->link, &request); /* refused: no member, which is what was wanted */
    free(m->standing);
    m->standing = NULL;
    m->standing_size = 0;
}

/* leatd has taken everything from us. What is committed from here on counts no more. */
static int evict(leat_consumer *c)
{
    struct lt_member *m = c->member;
    lt_consumer_release(c);
    m->evicted = true;
    resign(m);
    doom_all(c, FATE_LOST);
    int r = tell(c, c->options.on_lost, FATE_LOST, true);
    say_leave(c, false);
    lt_consumer_unassign(c);
    return r;
}

static bool is_fenced(const struct lt_member *m)
{
    return !lt_member_holds(m->word, m->fence); /* [group.fence] */
}

static int leave(leat_consumer *c, bool keep)
{
    struct lt_member *m = c->member;
    int r = 0;
    lt_consumer_release(c);
    if (m->joined && is_fenced(m))
        r = evict(c);
    m->evicted = false;
    lt_commit_auto(c);
    if (!m->joined) { /* what leat_consumer_assign gave */
        lt_consumer_unassign(c);
        return r;
    }
    doom_all(c, FATE_REVOKED);
    r = tell(c, c->options.on_revoked, FATE_REVOKED, true);
    lt_point("member.revoke");
    say_leave(c, keep); /* leatd reads what we have committed; nothing needs a RELEASE of its own */
    resign(m);
    lt_consumer_unassign(c);
    return r;
}

int lt_member_leave(leat_consumer *c)
{
    int r = leave(c, false);
    lt_subscription_free(&c->member->subscription);
    return r;
}

void lt_member_close(leat_consumer *c)
{
    leave(c, c->options.instance_id != NULL);
    lt_commit_report(c);
}

/* --- subscribing --- */

/* Names that are asked for have to be there now. They stay attached: what is granted of them begins at once. */
static int attach_named(leat_consumer *c, const struct lt_subscription *s)
{
    for (int i = 0; i < s->name_count; i++) {
        struct lt_attached *topic;
        uint32_t k = 0;
        int r = lt_attached_open(c->handle.bus, s->names[i], false, false, &topic);
        if (r < 0)
            return r;
        while (k < c->topic_count && c->topics[k] != topic)
            k++;
        r = k == c->topic_count ? lt_consumer_keep_topic(c, topic) : 1;
        if (r != 0)
            lt_attached_close(topic, false);
        if (r < 0)
            return r;
    }
    return 0;
}

static int take_subscription(leat_consumer *c, struct lt_subscription *taken)
{
    struct lt_member *m = c->member;
    struct lt_subscription before = m->subscription;
    m->subscription = *taken;
    c->topics_seq = lt_load_acquire64(&c->handle.bus->coordinator->topics_seq); /* [topics.seq] */
    int r = expand(c);
    if (r >= 0)
        r = join(c);
    if (r == LEAT_EFENCED && m->joined) { /* evicted, and had not noticed */
        r = evict(c);
        r = r < 0 ? r : attach_named(c, &m->subscription);
        r = r < 0 ? r : join(c);
    }
    if (r < 0) {
        *taken = m->subscription;
        m->subscription = before;
    } else {
        *taken = before;
    }
    return r;
}

int lt_member_subscribe(leat_consumer *c, const char *const *names, int count)
{
    struct lt_member *m = c->member;
    struct lt_subscription s;
    bool evicted = m->evicted;
    if (count == 0)
        return lt_member_leave(c);
    int r = lt_subscription_make(&s, names, count);
    if (r < 0)
        return r;
    lt_consumer_release(c);
    if (!m->joined)
        leave(c, false);
    if (r >= 0)
        r = attach_named(c, &s);
    if (r >= 0)
        r = take_subscription(c, &s);
    lt_subscription_free(&s);
    if (r < 0 && !m->joined) {
        lt_consumer_unassign(c);
        m->evicted |= evicted;
    }
    lt_bridge_nudge(c);
    return r < 0 ? r : 0;
}

/* --- SYNC --- */

static int by_part(const void *a_void, const void *b_void)
{
    const struct lt_group_sync_row *a = a_void, *b = b_void;
    if (a->topic_id != b->topic_id)
        return a->topic_id < b->topic_id ? -1 : 1;
    return a->partition < b->partition ? -1 : a->partition > b->partition;
}

static int room_for_rows(struct lt_member *m, uint32_t count)
{
    if (count <= m->rows_room)
        return 0;
    struct lt_group_sync_row *rows = realloc(m->rows, count * sizeof *rows);
    if (rows == NULL)
        return no_memory("an assignment");
    m->rows = rows;
    m->rows_room = count;
    return 0;
}

/* One page of what leatd says we own. 1: there is more; 0: that was all. */
static int fetch_page(leat_consumer *c, uint32_t *version)
{
    struct lt_member *m = c->member;
    struct lt_group_sync body = { .member = lt_membership(c), .from = m->row_count };
    const struct lt_group_sync_answer *answer = (const void *)m->buffer;
    uint32_t got;
    int count = lt_member_ask(c, LT_MSG_GROUP_SYNC, &body, sizeof body, &got);
    if (count < 0)
        return count;
    if (got < sizeof *answer || (got - sizeof *answer) / sizeof answer->rows[0] < (uint32_t)count ||
        answer->total > LT_PARTITIONS_MAX)
        return lt_fail(LEAT_EPROTO, "group \"%s\": %d partitions from %u on in %u bytes", c->options.group,
                       count, body.from, got);
    if (m->row_count != 0 && answer->version != *version) {
        m->row_count = 0; /* another assignment by now */
        return 1;
    }
    *version = answer->version;
    m->generation = answer->generation;
    m->sync_flags = answer->flags;
    int r = room_for_rows(m, m->row_count + (uint32_t)count);
    if (r < 0)
        return r;
    memcpy(m->rows + m->row_count, answer->rows, (uint32_t)count * sizeof answer->rows[0]);
    m->row_count += (uint32_t)count;
    return m->row_count < answer->total;
}

static int fetch(leat_consumer *c, uint32_t *version)
{
    struct lt_member *m = c->member;
    int r = 1;
    m->row_count = 0;
    lt_point("member.sync");
    for (int tries = 0; r > 0; tries++) {
        r = tries < PAGE_TRIES ? fetch_page(c, version)
                               : lt_fail(LEAT_EPROTO, "group \"%s\": an assignment that never stands still",
                                         c->options.group);
    }
    if (r == 0)
        qsort(m->rows, m->row_count, sizeof *m->rows, by_part);
    return r;
}

/* A flag of our own in a row: there is a cursor that goes on, or goes, under this row. */
#define ROW_HAS_CURSOR (1u << 31)

static struct lt_group_sync_row *find_row(const struct lt_member *m, const struct lt_cursor *cursor)
{
    struct lt_group_sync_row key = { .topic_id = cursor->topic->topic_id, .partition = cursor->partition };
    return m->row_count == 0 ? NULL : bsearch(&key, m->rows, m->row_count, sizeof key, by_part);
}

static enum fate fate_of(const struct lt_member *m, const struct lt_cursor *cursor)
{
    struct lt_group_sync_row *row = find_row(m, cursor);
    if (row == NULL)
        return FATE_REVOKED; /* its topic was deleted, say */
    if (row->grant != cursor->grant)
        return FATE_LOST; /* it was taken from us, and given to us again */
    row->flags |= ROW_HAS_CURSOR;
    return (row->flags & LT_SYNC_RELEASE) != 0 ? FATE_REVOKED : FATE_STAYS;
}

/* --- letting go --- */

#define RELEASE_PARTS \
    ((LT_ANSWER_MAX - (uint32_t)sizeof(struct lt_group_release)) / (uint32_t)sizeof(struct lt_topic_part))

static int say_release(leat_consumer *c, struct lt_group_release *body)
{
    struct lt_request request = { .type = LT_MSG_GROUP_RELEASE,
                                  .body = body,
                                  .body_size = (uint32_t)(sizeof *body +
                                                          body->count * sizeof(struct lt_topic_part)) };
    int r = body->count == 0 ? 0 : lt_link_call(&c->handle.bus->link, &request);
    body->count = 0;
    return r < 0 ? r : 0;
}

static int release_part(leat_consumer *c, struct lt_group_release *body, uint32_t topic_id,
                        uint32_t partition)
{
    struct lt_topic_part *parts = (struct lt_topic_part *)(void *)(body + 1);
    parts[body->count++] = (struct lt_topic_part){ topic_id, partition };
    return body->count == RELEASE_PARTS ? say_release(c, body) : 0;
}

/* All cursors that are revoked, and what was asked back before it had one. */
static int release_parts(leat_consumer *c)
{
    struct lt_member *m = c->member;
    struct lt_group_release *body = (void *)m->buffer; /* whose answer is over */
    int r = 0;
    *body = (struct lt_group_release){ .member = lt_membership(c) };
    for (uint32_t i = 0; r >= 0 && i < c->cursor_count; i++)
        if (c->cursors[i]->fate == FATE_REVOKED)
            r = release_part(c, body, c->cursors[i]->topic->topic_id, c->cursors[i]->partition);
    for (uint32_t i = 0; r >= 0 && i < m->row_count; i++)
        if ((m->rows[i].flags & (LT_SYNC_RELEASE | ROW_HAS_CURSOR)) == LT_SYNC_RELEASE)
            r = release_part(c, body, m->rows[i].topic_id, m->rows[i].partition);
    return r < 0 ? r : say_release(c, body);
}

static int let_go(leat_consumer *c)
{
    struct lt_member *m = c->member;
    uint32_t counts[3] = { 0 };
    int r = 0;
    for (uint32_t i = 0; i < c->cursor_count; i++) {
        c->cursors[i]->fate = fate_of(m, c->cursors[i]);
        counts[c->cursors[i]->fate]++;
    }
    for (uint32_t i = 0; i < m->row_count; i++)
        counts[FATE_REVOKED] += (m->rows[i].flags & (LT_SYNC_RELEASE | ROW_HAS_CURSOR)) == LT_SYNC_RELEASE;
    if (counts[FATE_LOST] != 0) {
        r = tell(c, c->options.on_lost, FATE_LOST, true);
        lt_consumer_shed(c, has_fate, FATE_LOST);
    }
    if (r < 0 || counts[FATE_REVOKED] == 0)
        return r;
    lt_commit_auto(c);
    r = tell(c, c->options.on_revoked, FATE_REVOKED, true);
    lt_point("member.revoke");
    if (r >= 0)
        r = release_parts(c);
    lt_point("member.release.after");
    if (r < 0)
        return r;
    keep_warm(c);
    lt_consumer_shed(c, has_fate, FATE_REVOKED);
    return 0;
}

/* --- taking --- */

static int name_of(leat_consumer *c, uint32_t topic_id, char name[256])
{
    struct lt_topic_name body = { .topic_id = topic_id };
    uint32_t got;
    int r = lt_member_ask(c, LT_MSG_TOPIC_NAME, &body, sizeof body, &got);
    if (r < 0)
        return r;
    if (got < sizeof(struct lt_name))
        return lt_fail(LEAT_EPROTO, "the name of topic %u has %u bytes", topic_id, got);
    memcpy(name, c->member->buffer, sizeof(struct lt_name));
    name[255] = 0;
    return 0;
}

/* LEAT_ENOTOPIC: deleted meanwhile, and maybe made anew. */
static int topic_of(leat_consumer *c, uint32_t topic_id, struct lt_attached **topic)
{
    char name[256];
    for (uint32_t i = c->topic_count; i-- != 0;) {
        *topic = c->topics[i];
        if ((*topic)->topic_id == topic_id)
            return 0;
    }
    int r = name_of(c, topic_id, name);
    if (r >= 0)
        r = lt_attached_open(c->handle.bus, name, false, false, topic);
    if (r < 0)
        return r;
    r = (*topic)->topic_id == topic_id ? lt_consumer_keep_topic(c, *topic)
                                       : lt_fail(LEAT_ENOTOPIC, "%s: topic %u was deleted", name, topic_id);
    if (r < 0)
        lt_attached_close(*topic, false);
    return r;
}

static int place(leat_consumer *c, struct lt_cursor *cursor, const struct lt_group_sync_row *row)
{
    int r = row->committed != LT_COMMIT_NONE
                ? lt_consumer_place(c, cursor, row->committed)
                : lt_consumer_start(c, cursor, (row->flags & LT_SYNC_FRESH) != 0);
    if (r < 0)
        return r;
    lt_point("member.assign");
    cursor->origin = cursor->position;
    /* [group.commit] Stored at once, so that the next owner does not reset again. Nowhere is LT_COMMIT_NONE too. */
    lt_member_start(cursor->entry, row->grant, cursor->position);
    return 0;
}

/* What is taken in one go: requests of one kind travel together, since what stays is not read meanwhile. */
struct taking {
    const struct lt_group_sync_row *rows[TAKE_TOGETHER];
    struct lt_cursor *cursors[TAKE_TOGETHER];
    uint32_t count;
};

static int take_row(leat_consumer *c, const struct lt_group_sync_row *row, struct taking *taking)
{
    struct lt_attached *topic;
    int r = topic_of(c, row->topic_id, &topic);
    if (r < 0)
        return r == LEAT_ENOTOPIC ? 0 : r; /* leatd will say so with the next version */
    if (row->partition >= topic->partition_count)
        return lt_fail(LEAT_EPROTO, "%s: partition %u was assigned; there are %u", topic->name,
                       row->partition, topic->partition_count);
    r = lt_cursor_new(c, topic, row->partition, &taking->cursors[taking->count]);
    if (r < 0)
        return r;
    taking->cursors[taking->count]->grant = row->grant;
    taking->cursors[taking->count]->lazy = true;
    taking->rows[taking->count++] = row;
    return 0;
}

/* Those that leatd refuses, because their topic is gone, are left out. */
static int open_all(leat_consumer *c, struct taking *taking)
{
    int results[TAKE_TOGETHER], r = 0;
    uint32_t kept = 0;
    lt_cursors_open(c, taking->cursors, results, taking->count);
    for (uint32_t i = 0; i < taking->count; i++) {
        if (results[i] < 0 && results[i] != LEAT_ENOTOPIC && results[i] != LEAT_EDELETED)
            r = results[i];
        if (taking->cursors[i] == NULL)
            continue;
        taking->cursors[kept] = taking->cursors[i];
        taking->rows[kept++] = taking->rows[i];
    }
    taking->count = kept;
    return r;
}

static int take_all(leat_consumer *c, struct taking *taking)
{
    int r = open_all(c, taking);
    uint32_t placed = 0;
    lt_cursors_map(taking->cursors, taking->count);
    for (; placed < taking->count; placed++) {
        int failed = place(c, taking->cursors[placed], taking->rows[placed]);
        if (failed < 0) {
            r = failed;
            break;
        }
        lt_consumer_add(c, taking->cursors[placed]);
    }
    lt_cursors_close(c, taking->cursors + placed, taking->count - placed);
    taking->count = 0;
    return r;
}

static bool is_used(const leat_consumer *c, const struct lt_attached *topic)
{
    for (uint32_t i = 0; i < c->cursor_count; i++)
        if (c->cursors[i]->topic == topic)
            return true;
    return false;
}

/* Deleted topics are let go; the others stay attached, since what was released may come back. */
static void sweep_topics(leat_consumer *c)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->topic_count; i++) {
        struct lt_attached *topic = c->topics[i];
        if (lt_attached_deleted(topic) && !is_used(c, topic))
            lt_attached_close(topic, false);
        else
            c->topics[kept++] = topic;
    }
    c->topic_count = kept;
}

static int take(leat_consumer *c)
{
    struct lt_member *m = c->member;
    uint32_t before = c->cursor_count;
    struct taking taking = { .count = 0 };
    int r = lt_consumer_room(c, c->cursor_count + m->row_count);
    for (uint32_t i = 0; r >= 0 && i < m->row_count; i++) {
        if ((m->rows[i].flags & (LT_SYNC_RELEASE | ROW_HAS_CURSOR)) == 0)
            r = take_row(c, &m->rows[i], &taking);
        if (r >= 0 && taking.count == TAKE_TOGETHER)
            r = take_all(c, &taking);
    }
    int taken = take_all(c, &taking); /* also when there is no more than that */
    r = r < 0 ? r : taken;
    if (c->cursor_count != before)
        cool(m);
    if (m->warm_count == 0)
        sweep_topics(c);
    /* Those that came in before one failed are told of now: they are read by the next poll. */
    int told = tell(c, c->options.on_assigned, FATE_STAYS, false);
    return r < 0 ? r : told;
}

/* --- the turn --- */

static int sync(leat_consumer *c)
{
    struct lt_member *m = c->member;
    uint32_t version = 0;
    int r = fetch(c, &version);
    if (r >= 0)
        r = let_go(c);
    if (r >= 0)
        r = take(c);
    if (r == LEAT_EFENCED)
        return evict(c);
    if (r < 0)
        return r;
    m->version = version; /* as it was before leatd made the rows: what has come since is another one */
    if ((m->sync_flags & LT_SYNC_COMPUTE) == 0)
        return 0;
    r = lt_leader_compute(c);
    if (r < 0)
        lt_member_leave(c);
    return r;
}

static int rejoin(leat_consumer *c)
{
    if (c->options.rejoin == 0)
        return lt_fail(LEAT_EFENCED, "group \"%s\": this member was evicted", c->options.group);
    c->topics_seq = lt_load_acquire64(&c->handle.bus->coordinator->topics_seq); /* [topics.seq] */
    int r = expand(c);
    return r < 0 ? r : join(c);
}

static int step(leat_consumer *c)
{
    struct lt_member *m = c->member;
    if (m->evicted)
        return rejoin(c);
    if (is_fenced(m))
        return evict(c);
    if (m->expand) {
        int r = expand(c);
        if (r > 0)
            r = join(c);
        return r == LEAT_EFENCED ? evict(c) : r;
    }
    return sync(c);
}

int lt_member_turn(leat_consumer *c)
{
    int kept = errno, r = 0;
    lt_consumer_release(c);
    for (int round = 0; r >= 0 && round < ROUNDS && lt_member_has_news(c->member); round++)
        r = step(c);
    errno = kept;
    return r < 0 ? r : 0;
}

/* --- questions --- */

const char *leat_consumer_member_id(leat_consumer *c)
{
    return c == NULL || c->member == NULL || lt_consumer_enter(c) < 0
               ? ""
               : (lt_consumer_leave(c), c->member->member_id);
}

int64_t leat_consumer_generation(leat_consumer *c)
{
    if (c == NULL)
        return lt_fail(LEAT_EINVAL, "the consumer is NULL");
    int r = lt_consumer_enter(c);
    if (r < 0)
        return r;
    int64_t generation = c->member != NULL ? (int64_t)c->member->generation : 0;
    lt_consumer_leave(c);
    return generation;
}
