/* group_oracle: what must hold of a group, whatever the schedule. */
#include "model.h"

static struct coordinator *notes(void)
{
    return &the_leatd()->coordinator;
}

static bool is_eager(void)
{
    return config->assignor == LEAT_RANGE || config->assignor == LEAT_ROUNDROBIN ||
           config->assignor == LEAT_STICKY;
}

void group_told(struct actor *member, uint32_t p, uint64_t start)
{
    struct coordinator *n = notes();
    uint8_t others = n->told[p] & (uint8_t) ~(1u << member->id);
    uint64_t from = start != LT_COMMIT_NONE ? start : 0;
    if (others != 0)
        model_fail("two owners: %c is told that it owns %u, and %c has not let go", 'a' + (int)member->id, p,
                   'a' + __builtin_ctz(others));
    if (n->told[p] != 0)
        return; /* it goes on */
    if (from < n->reported[p])
        model_fail("lost commit: %c begins %u at %llu, and %u was reported as committed",
                   'a' + (int)member->id, p, (unsigned long long)from, n->reported[p]);
    if (from > n->stored[p])
        model_fail("start: %c begins %u at %llu, which nobody ever committed", 'a' + (int)member->id, p,
                   (unsigned long long)from);
    n->told[p] |= (uint8_t)(1u << member->id);
}

void group_let_go(uint32_t actor, uint8_t parts)
{
    for (uint32_t p = 0; p < config->parts; p++)
        if (parts & 1u << p)
            notes()->told[p] &= (uint8_t) ~(1u << actor);
}

void group_stored(uint32_t p, uint64_t offset)
{
    struct coordinator *n = notes();
    if (offset > n->stored[p])
        n->stored[p] = (uint8_t)offset;
}

void group_reported(struct actor *member, uint32_t p, uint64_t offset)
{
    struct coordinator *n = notes();
    uint64_t kept = memory_latest(&shared->places[p].committed);
    if (offset > n->reported[p])
        n->reported[p] = (uint8_t)offset;
    if ((uint32_t)memory_latest(&shared->places[p].owner) == member->member.serial)
        return; /* it will be read */
    if (kept == LT_COMMIT_NONE || kept < offset)
        model_fail("lost commit: %c is told that %llu of %u is committed, which was taken from it at %lld",
                   'a' + (int)member->id, (unsigned long long)offset, p, (long long)kept);
}

void group_saved(uint32_t p, uint64_t before, uint64_t after)
{
    if (before != LT_COMMIT_NONE && after < before)
        model_fail("back: %llu of %u was committed, and now it is %llu", (unsigned long long)before, p,
                   (unsigned long long)after);
}

void group_taken(uint32_t p)
{
    notes()->sweep &= (uint8_t) ~(1u << p);
}

void group_granted(uint32_t p, uint32_t m)
{
    const struct coordinator *n = notes();
    uint64_t kept = memory_latest(&shared->places[p].committed);
    if (memory_latest(&shared->places[p].owner) != 0)
        model_fail("two owners: %u is granted to seat %u, and was not taken from its owner", p, m);
    if (memory_latest(&shared->seats[m].serial) == 0)
        model_fail("grant: %u goes to seat %u, where nobody sits", p, m);
    if (n->planned[p] != m + 1)
        model_fail("generation: %u is granted to seat %u, and no generation said so", p, m);
    if (n->sweep != 0)
        model_fail("sweep: %u is granted before everything is released (%#x)", p, n->sweep);
    if ((kept != LT_COMMIT_NONE ? kept : 0) < n->reported[p])
        model_fail("lost commit: %u is granted from %lld on, and %u was reported as committed", p,
                   (long long)kept, n->reported[p]);
}

void group_gone(uint32_t m)
{
    const struct coordinator *n = notes();
    for (uint32_t p = 0; p < config->parts; p++)
        if (n->serial[m] != 0 && (uint32_t)memory_latest(&shared->places[p].owner) == n->serial[m])
            model_fail("gone: seat %u is freed, and owns %u", m, p);
}

void group_generation(uint64_t number)
{
    struct coordinator *n = notes();
    uint8_t owned = 0;
    bool moves = false;
    if (number <= n->generation)
        model_fail("generation: %llu behind %llu", (unsigned long long)number,
                   (unsigned long long)n->generation);
    for (uint32_t p = 0; p < config->parts; p++) {
        const struct lt_group_part *part = &n->parts[p];
        moves |= part->owner != part->target;
        n->planned[p] = (uint8_t)(part->target + 1);
        if (part->owner != LT_NOBODY && !n->members[part->owner].away)
            owned |= (uint8_t)(1u << p);
    }
    n->sweep = is_eager() && moves ? owned : 0;
}

/* --- at rest --- */

static bool is_here(uint32_t actor, uint32_t stopped)
{
    return world.actors[actor].kind == MEMBER && world.actors[actor].life == LIVES &&
           world.actors[actor].op.kind != OP_DONE && !(stopped & 1u << actor);
}

static void check_part(uint32_t p, uint32_t stopped)
{
    const struct coordinator *n = notes();
    uint32_t owner = n->parts[p].owner;
    bool any = false;
    for (uint32_t a = 0; a < config->members; a++)
        any |= is_here(a, stopped);
    if (owner == LT_NOBODY) {
        if (any)
            model_fail("stuck: everybody rests, and nobody owns %u", p);
        return;
    }
    if ((uint32_t)memory_latest(&shared->places[p].owner) != n->serial[owner])
        model_fail("page: %u is owned by seat %u, and the page says otherwise", p, owner);
    if (n->members[owner].away)
        return; /* until its session is over */
    uint32_t actor = n->bell[owner] - 1u;
    if (!is_here(actor, stopped))
        model_fail("stuck: everybody rests, and %u is owned by %c, which is not there", p, 'a' + (int)actor);
    if (!(world.actors[actor].member.held & 1u << p))
        model_fail("stuck: everybody rests, and %c does not know that it owns %u", 'a' + (int)actor, p);
}

static void check_member(const struct actor *actor)
{
    const struct coordinator *n = notes();
    const struct member *m = &actor->member;
    if (!m->joined || m->desk.state != DESK_EMPTY)
        model_fail("stuck: %c waits for an answer", 'a' + (int)actor->id);
    for (uint32_t p = 0; p < config->parts; p++)
        if ((m->held & 1u << p) &&
            (n->parts[p].owner == LT_NOBODY || n->bell[n->parts[p].owner] != actor->id + 1))
            model_fail("stuck: everybody rests, and %c still reads %u", 'a' + (int)actor->id, p);
}

void group_rest(uint32_t stopped)
{
    const struct coordinator *n = notes();
    if (n->machine.state != LEAT_GROUP_STABLE && n->machine.state != LEAT_GROUP_EMPTY)
        model_fail("stuck: everybody rests, and the group is in state %d", n->machine.state);
    for (uint32_t a = 0; a < config->members; a++)
        if (is_here(a, stopped))
            check_member(&world.actors[a]);
    for (uint32_t p = 0; p < config->parts; p++)
        check_part(p, stopped);
}
