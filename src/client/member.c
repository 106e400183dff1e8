/* member: see member.h. */
#include "client/member.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/assignment.h"
#include "client/group_admin.h"
#include "client/link.h"
#include "client/standby.h"

#define NS_PER_MS 1000000ll
#define ROUNDS 16 /* of SYNC in one turn */

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
    free(m->standbys);
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

/* The same join with its serial is what has to stand. Said only if a new worker came since, who would not know it. The one that
 * stood before is forgotten. */
static int stand(leat_consumer *c, struct lt_group_join *body, uint32_t size, uint32_t reached)
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
    lt_point("member.stand");
    int r = lt_link_stand(&c->handle.bus->link, &request, reached);
    if (r > 0)
        r = lt_link_call(&c->handle.bus->link, &request);
    free(m->standing);
    m->standing = body;
    m->standing_size = size;
    /* Evicted between the two: the fence says so, and the next turn sees it. */
    return r == LEAT_EFENCED || r > 0 ? 0 : r;
}

struct joining {
    struct lt_group_join *body;
    struct lt_group_join_answer answer;
    struct lt_request request;
};

/* What the subscription says: as a new member, or as the one that we are. end_join comes behind it, whatever became of it. */
static int begin_join(const leat_consumer *c, struct joining *j)
{
    uint32_t size = 0;
    if (sizeof j->answer + c->member->subscription.text_bytes > LT_ANSWER_MAX - sizeof(struct lt_group_join))
        return lt_fail(LEAT_ELIMIT, "group \"%s\": names of %u bytes: a subscription has %zu at most",
                       c->options.group, c->member->subscription.text_bytes,
                       LT_ANSWER_MAX - sizeof(struct lt_group_join) - sizeof j->answer);
    j->body = join_body(c, &size);
    if (j->body == NULL)
        return no_memory("a subscription");
    j->request = (struct lt_request){ .type = LT_MSG_GROUP_JOIN,
                                      .body = j->body,
                                      .body_size = size,
                                      .answer = &j->answer,
                                      .answer_size = sizeof j->answer };
    lt_point("member.join");
    return 0;
}

static int end_join(leat_consumer *c, struct joining *j, int r)
{
    if (r >= 0 && (j->request.got != sizeof j->answer || j->answer.serial == 0))
        r = lt_fail(LEAT_EPROTO, "group \"%s\": a join was answered with %u bytes, serial %u",
                    c->options.group, j->request.got,
                    j->request.got == sizeof j->answer ? j->answer.serial : 0);
    if (r < 0) {
        free(j->body);
        return r;
    }
    become(c, &j->answer);
    j->body->flags &= ~(
        uint32_t)LT_JOIN_MUST_EXIST; /* they may go, and a new worker shall know us nevertheless */
    return stand(c, j->body, j->request.body_size, j->request.reached);
}

static int join(leat_consumer *c)
{
    struct joining j;
    int r = begin_join(c, &j);
    return r < 0 ? r : end_join(c, &j, lt_link_call(&c->handle.bus->link, &j.request));
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

/* --- idle moments --- */

int64_t lt_member_nap_ns(const leat_consumer *c)
{
    const struct lt_member *m = c->member;
    int64_t nap_ns = c->sleep_ns, at_ms = INT64_MAX;
    if (m->dirty)
        at_ms = m->due_ms;
    if (m->preparing && m->prepare_at_ms < at_ms)
        at_ms = m->prepare_at_ms;
    if (at_ms == INT64_MAX)
        return nap_ns;
    int64_t left_ms = at_ms - lt_clock_mono_coarse_ms();
    int64_t left_ns = left_ms > 0 ? left_ms * NS_PER_MS + NS_PER_MS : NS_PER_MS; /* the clock is coarse */
    return left_ns < nap_ns ? left_ns : nap_ns;
}

void lt_member_idle(leat_consumer *c)
{
    struct lt_member *m = c->member;
    if (m->dirty && lt_clock_mono_coarse_ms() >= m->due_ms)
        lt_commit_auto(c);
    lt_standby_freshen(c);
    lt_member_spare(c);
}

void lt_member_spare(leat_consumer *c)
{
    if (c->member->preparing)
        lt_standby_step(c);
}

void lt_member_tidy(leat_consumer *c)
{
    lt_standby_freshen(c);
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
    lt_assignment_doom(c, LT_FATE_LOST);
    int r = lt_assignment_tell(c, c->options.on_lost, LT_FATE_LOST, true);
    say_leave(c, false);
    lt_standby_drop_all(c);
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
    lt_assignment_doom(c, LT_FATE_REVOKED);
    r = lt_assignment_tell(c, c->options.on_revoked, LT_FATE_REVOKED, true);
    lt_point("member.revoke");
    say_leave(c, keep); /* leatd reads what we have committed; nothing needs a RELEASE of its own */
    resign(m);
    lt_standby_drop_all(c);
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

/* The consumer's from here on, once. */
static int keep_topic(leat_consumer *c, struct lt_attached *topic)
{
    uint32_t k = 0;
    while (k < c->topic_count && c->topics[k] != topic)
        k++;
    int r = k == c->topic_count ? lt_consumer_keep_topic(c, topic) : 1;
    if (r != 0)
        lt_attached_close(topic, false);
    return r < 0 ? r : 0;
}

/* Names that are asked for have to be there now. They stay attached: what is granted of them begins at once. */
static int attach_named(leat_consumer *c, const struct lt_subscription *s)
{
    for (int i = 0; i < s->name_count; i++) {
        struct lt_attached *topic;
        int r = lt_attached_open(c->handle.bus, s->names[i], false, false, &topic);
        if (r >= 0)
            r = keep_topic(c, topic);
        if (r < 0)
            return r;
    }
    return 0;
}

/* One topic by its name, the most frequent case: attaching and joining are one go. 0; an error; 1: it is attached here already, so join. */
static int attach_and_join(leat_consumer *c)
{
    const struct lt_subscription *s = &c->member->subscription;
    struct lt_attached *topic;
    struct joining j;
    int joined = 1;
    int r = begin_join(c, &j);
    if (r < 0)
        return r;
    j.body->flags |= LT_JOIN_MUST_EXIST;
    r = lt_attached_open_with(c->handle.bus, s->names[0], &j.request, &joined, &topic);
    if (r >= 0)
        r = keep_topic(c, topic);
    if (joined > 0) {
        free(j.body);
        return r < 0 ? r : 1;
    }
    int attached = r;
    r = end_join(c, &j, joined);
    if (attached < 0 && r >= 0) { /* no memory for its page, say */
        say_leave(c, false);
        resign(c->member);
    }
    return attached < 0 ? attached : r;
}

static int enter(leat_consumer *c)
{
    const struct lt_subscription *s = &c->member->subscription;
    int r = 1;
    if (!c->member->joined && s->pattern_count == 0 && s->name_count == 1)
        r = attach_and_join(c);
    if (r <= 0)
        return r;
    r = attach_named(c, s);
    if (r >= 0)
        r = expand(c);
    return r < 0 ? r : join(c);
}

static int take_subscription(leat_consumer *c, struct lt_subscription *taken)
{
    struct lt_member *m = c->member;
    struct lt_subscription before = m->subscription;
    m->subscription = *taken;
    c->topics_seq = lt_load_acquire64(&c->handle.bus->coordinator->topics_seq); /* [topics.seq] */
    int r = enter(c);
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
    r = take_subscription(c, &s);
    lt_subscription_free(&s);
    if (r < 0 && !m->joined) {
        lt_consumer_unassign(c);
        m->evicted |= evicted;
    }
    lt_bridge_nudge(c);
    return r < 0 ? r : 0;
}

/* --- the turn --- */

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
    int r = lt_assignment_sync(c);
    return r == LEAT_EFENCED ? evict(c) : r;
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
