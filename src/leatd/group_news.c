/* group_news: what leatd tells members, all at once behind a step of their group: news (shm/news.h), version, bell.
 *
 * Points, with what a death there leaves:
 *   group.news   news are half written, and no version says so: members that look ask, the next worker
 *   group.tell   some do not know what is theirs, or to be let go: every version moves at adoption
 */
#include "base/atomic.h"
#include "leatd/groups.h"

/* It owns it, or will as soon as its owner has let go. */
bool lt_groups_concerns(const struct lt_kept_group *g, uint32_t p, uint32_t m)
{
    const struct lt_group_part *part = &g->machine.parts[p];
    return part->topic_id != 0 && (part->owner == m || (part->target == m && part->owner != LT_NOBODY));
}

struct lt_group_sync_row lt_groups_row(struct lt_kept_group *g, uint32_t p, uint32_t m)
{
    const struct lt_group_part *part = &g->machine.parts[p];
    const struct lt_group_place *place = lt_place_of(g, p);
    uint32_t flags = LT_SYNC_COMING;
    if (part->owner == m)
        flags = (part->release ? LT_SYNC_RELEASE : 0) | (place->fresh ? LT_SYNC_FRESH : 0) |
                (lt_groups_is_listed(g, p, m) ? LT_SYNC_LISTED : 0);
    return (struct lt_group_sync_row){ .topic_id = part->topic_id,
                                       .partition = part->partition,
                                       .flags = flags,
                                       .grant = place->grant,
                                       .committed = place->committed };
}

static struct lt_news *news_of(struct lt_kept_group *g, uint32_t m)
{
    return &g->w->coordinator->news[g->agents[m].bell];
}

static void add(struct lt_kept_group *g, uint32_t p, uint32_t m)
{
    struct lt_agent *agent = &g->agents[m];
    if (!agent->to_tell)
        return;
    if (agent->news_rows < LT_NEWS_ROWS) {
        struct lt_group_sync_row row = lt_groups_row(g, p, m);
        lt_news_add(news_of(g, m), agent->news_rows, &row);
    }
    agent->news_rows++;
}

static void end(struct lt_kept_group *g, uint32_t m)
{
    const struct lt_agent *agent = &g->agents[m];
    struct lt_news_head head = { .version = g->w->coordinator->members[agent->bell].version + 1,
                                 .count = agent->news_rows <= LT_NEWS_ROWS ? agent->news_rows : LT_NEWS_ASK,
                                 .serial = agent->serial,
                                 .flags = g->machine.leader == m ? LT_SYNC_COMPUTE : 0,
                                 .generation = g->machine.generation };
    lt_news_end(news_of(g, m), &head);
}

static void tell(struct lt_kept_group *g, uint32_t m)
{
    uint32_t bell = g->agents[m].bell;
    struct lt_member_word *word = &g->w->coordinator->members[bell];
    /* [group.version] release, then the bell as any waker: the member looks at this word before it sleeps. */
    lt_store_release32(&word->version, word->version + 1);
    lt_fence_light();
    lt_bell_ring(&g->w->bells->bells[bell]);
}

/* One walk over the parts, however many members there are. */
static void write_news(struct lt_kept_group *g)
{
    const struct lt_group *machine = &g->machine;
    for (uint32_t m = 0; m < machine->member_room; m++) {
        g->agents[m].news_rows = 0;
        if (g->agents[m].to_tell)
            lt_news_begin(news_of(g, m));
    }
    lt_point("group.news");
    for (uint32_t p = 0; p < machine->part_room; p++) {
        const struct lt_group_part *part = &machine->parts[p];
        if (part->topic_id == 0 || part->owner == LT_NOBODY)
            continue;
        add(g, p, part->owner);
        if (part->target != LT_NOBODY && part->target != part->owner)
            add(g, p, part->target);
    }
    for (uint32_t m = 0; m < machine->member_room; m++)
        if (g->agents[m].to_tell)
            end(g, m);
}

void lt_groups_tell(struct lt_kept_group *g)
{
    if (!g->has_news)
        return;
    g->has_news = false;
    write_news(g);
    for (uint32_t m = 0; m < g->machine.member_room; m++) {
        if (!g->agents[m].to_tell)
            continue;
        g->agents[m].to_tell = false;
        lt_point("group.tell");
        tell(g, m);
    }
}

void lt_groups_no_news(struct lt_kept_group *g, uint32_t m)
{
    struct lt_news_head head = { .count = LT_NEWS_ASK };
    lt_news_begin(news_of(g, m));
    lt_news_end(news_of(g, m), &head);
}
