/* member: a consumer that is a member of a group. What it says and stores is in the order of src/client/member.c and commit.c; each
 * function names the one that it repeats. Its commits are shm/member.h as it ships. */
#include <string.h>

#include "actors.h"
#include "shm/member.h"

static struct lt_member_word *word_of(const struct actor *me)
{
    return &shared->words[me->id];
}

static struct lt_reader *entry_of(const struct actor *me, uint32_t p)
{
    return &shared->entries[me->id][p];
}

/* Once it has stored its request it sleeps until that is answered; a dying worker's successor is asked again. */
static int ask(struct actor *me, enum request_kind kind, uint8_t parts)
{
    struct desk *desk = &me->member.desk;
    memset(desk, 0, sizeof *desk);
    desk->kind = (uint8_t)kind;
    desk->parts = parts;
    desk->said = kind == ASK_JOIN ? 0 : me->member.serial;
    desk->state = DESK_ASKED;
    memory_flush(me->id); /* a system call on a socket */
    model_yield(OP_WAIT, 0, MODEL_ACQUIRE);
    desk->state = DESK_EMPTY;
    memory_join(me->id, the_leatd()->id);
    return desk->result;
}

bool member_can_go_on(const struct actor *actor)
{
    const struct member *m = &actor->member;
    const struct lt_member_word *word = &shared->words[actor->id];
    if (m->desk.state != DESK_EMPTY)
        return m->desk.state == DESK_ANSWERED;
    return (uint32_t)memory_latest(&word->version) != m->version ||
           (uint32_t)memory_latest(&word->fence) != m->fence ||
           !memory_is_current(actor->id, &word->version) || !memory_is_current(actor->id, &word->fence);
}

/* lt_member_has_news */
static bool has_news(const struct actor *me)
{
    uint32_t version = lt_load_acquire32(&word_of(me)->version);
    uint32_t fence = lt_load_acquire32(&word_of(me)->fence);
    return version != me->member.version || fence != me->member.fence;
}

/* join, become, stand */
static void join(struct actor *me)
{
    struct member *m = &me->member;
    ask(me, ASK_JOIN, 0);
    m->serial = m->desk.serial;
    m->fence = m->desk.fence;
    m->version = lt_load_relaxed32(&word_of(me)->version) - 1;
    m->joined = 1;
    ask(me, ASK_STAND, 0); /* evicted between the two: the fence says so */
}

/* lt_cursors_close */
static void close_cursors(struct actor *me, uint8_t parts)
{
    struct member *m = &me->member;
    if (parts == 0)
        return;
    for (uint32_t p = 0; p < config->parts; p++)
        if (parts & 1u << p)
            lt_store_release64(&entry_of(me, p)->committed, LT_COMMIT_NONE);
    ask(me, ASK_CLOSE, parts);
    m->idents &= (uint8_t)~parts;
    m->held &= (uint8_t)~parts;
    for (uint32_t p = 0; p < config->parts; p++)
        if (parts & 1u << p)
            m->position[p] = m->grant[p] = 0;
}

/* resign */
static void resign(struct member *m)
{
    m->joined = 0;
    m->version = m->fence = 0;
}

static void say_leave(struct actor *me, enum request_kind kind)
{
    ask(me, kind, 0);
    me->member.serial = 0;
}

static void evict(struct actor *me)
{
    resign(&me->member);
    say_leave(me, ASK_LEAVE);
    close_cursors(me, me->member.held);
}

/* commit_handed: one record of each further. false: it does not count. */
static bool commit(struct actor *me, uint8_t parts)
{
    struct member *m = &me->member;
    m->commits--;
    for (uint32_t p = 0; p < config->parts; p++) {
        if (!(parts & 1u << p))
            continue;
        m->position[p]++;
        group_stored(p, m->position[p]);
        lt_member_store(entry_of(me, p), m->position[p]); /* [group.commit] */
    }
    if (!lt_member_holds(word_of(me), m->fence)) /* [group.fence] */
        return false;
    for (uint32_t p = 0; p < config->parts; p++)
        if (parts & 1u << p)
            group_reported(me, p, m->position[p]);
    return true;
}

/* take: lt_cursor_new of each, lt_cursors_open, place of each */
static void take_rows(struct actor *me, const struct desk *rows, uint8_t parts)
{
    struct member *m = &me->member;
    if (parts == 0)
        return;
    for (uint32_t p = 0; p < config->parts; p++)
        if (parts & 1u << p)
            lt_store_relaxed64(&entry_of(me, p)->committed, LT_COMMIT_NONE);
    m->idents |= parts;
    ask(me, ASK_OPEN, parts);
    for (uint32_t p = 0; p < config->parts; p++) {
        if (!(parts & 1u << p))
            continue;
        m->grant[p] = rows->grant[p];
        m->position[p] = (uint8_t)(rows->committed[p] != LT_COMMIT_NONE ? rows->committed[p] : 0);
        group_stored(p, m->position[p]);
        lt_member_start(entry_of(me, p), m->grant[p], m->position[p]); /* [group.begin], [group.commit] */
        m->held |= (uint8_t)(1u << p);
    }
}

/* sync: fetch, let_go, take */
static void sync(struct actor *me)
{
    struct member *m = &me->member;
    uint8_t lost = 0, revoked = 0, released;
    if (ask(me, ASK_SYNC, 0) < 0) {
        evict(me);
        return;
    }
    struct desk rows = m->desk;
    for (uint32_t p = 0; p < config->parts; p++) {
        uint8_t bit = (uint8_t)(1u << p);
        if (!(m->held & bit))
            continue;
        if (!(rows.owned & bit))
            revoked |= bit;
        else if (rows.grant[p] != m->grant[p])
            lost |= bit;
        else if (rows.released & bit)
            revoked |= bit;
    }
    close_cursors(me, lost);
    released = revoked | (rows.released & ~m->held);
    if (released != 0) {
        if (revoked != 0 && m->commits > 0)
            commit(me, revoked); /* lt_commit_auto; when it does not count, RELEASE says so too */
        group_let_go(me->id, released);
        if (ask(me, ASK_RELEASE, released) < 0) {
            evict(me);
            return;
        }
        close_cursors(me, revoked);
    }
    take_rows(me, &rows, rows.owned & (uint8_t) ~(rows.released | m->held));
    m->version = rows.version;
}

/* step */
static void turn(struct actor *me)
{
    if (!lt_member_holds(word_of(me), me->member.fence))
        evict(me);
    else
        sync(me);
}

/* leave */
static void leave(struct actor *me)
{
    struct member *m = &me->member;
    bool is_static = config->member[me->id].is_static;
    if (!lt_member_holds(word_of(me), m->fence)) {
        evict(me);
    } else {
        group_let_go(me->id, 0xff);
        say_leave(me, is_static ? ASK_AWAY : ASK_LEAVE);
        resign(m);
        close_cursors(me, m->held);
    }
    m->over = m->lives == 0;
    m->lives -= m->lives > 0;
    m->commits = m->over ? 0 : config->member[me->id].commits;
}

bool member_once(struct actor *me)
{
    struct member *m = &me->member;
    if (m->over)
        return false;
    if (!m->joined)
        join(me);
    else if (has_news(me))
        turn(me);
    else if (m->commits > 0 && m->held != 0) {
        if (!commit(me, m->held))
            evict(me);
    } else if (m->commits == 0 && config->member[me->id].leaves)
        leave(me);
    else
        model_yield(OP_WAIT, 0, MODEL_RELAXED);
    return true;
}
