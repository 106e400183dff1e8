/* story: see story.h. The parent's part of it, which sees the bus through leat_group_describe and what its child processes
 * tell of themselves.
 */
#include "story.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "board.h"

enum { PATIENCE_S = 60, LOOK_MS = 20 };

static const struct plan *plan;
static struct outcome *outcome;
static struct crew crew;
static struct board board;
static int64_t killed_ns; /* 0: nobody yet */
static unsigned begun;    /* killed partitions that have brought their heir a record */
static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
    interrupted = sig;
}

void story_catch_signals(void)
{
    static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };
    struct sigaction action = { .sa_handler = on_signal };
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++)
        sigaction(caught[i], &action, NULL);
}

static bool fail(const char *what, const char *who)
{
    board_say(&board, "FAILED: %s%s", what, who);
    return false;
}

/* ---- news ---- */

static void tell_partitions(const struct hand *hand, const char *what, const struct news *news)
{
    board_say(&board, "%-10s  %s %s", hand->name, what, partition_names(news->partitions).text);
}

/* Nobody may have what another one has. What one lets go of it tells before another gets it. */
static void look_for_sharing(const struct news *news)
{
    for (int i = FIRST_WORKER; i < HANDS; i++)
        outcome->shared |= i != news->who && (crew.hands[i].owns & news->partitions);
}

/* Partitions of the killed consumer at their heirs. */
static void note_heir(const struct news *news)
{
    int64_t after_us = (news->at_ns - killed_ns) / 1000;
    unsigned news_to_us = news->partitions & outcome->killed & ~begun;
    for (int p = 0; p < PARTITIONS && killed_ns; p++) {
        struct pause *pause = &outcome->pauses[p];
        if (!(news_to_us & 1u << p))
            continue;
        pause->heir = (unsigned)(news->who - FIRST_WORKER + 1);
        if (news->kind == NEWS_ASSIGNED)
            pause->assigned_us = after_us;
        else
            pause->first_us = after_us;
    }
    if (killed_ns && news->kind == NEWS_FIRST)
        begun |= news_to_us;
}

static void take(const struct news *news)
{
    const struct hand *hand = &crew.hands[news->who];
    if (news->kind == NEWS_ASSIGNED)
        tell_partitions(hand, "assigned", news);
    else if (news->kind == NEWS_REVOKED)
        tell_partitions(hand, "revoked ", news);
    else if (news->kind == NEWS_LOST)
        tell_partitions(hand, "lost    ", news);
    if (news->kind == NEWS_ASSIGNED && news->who >= FIRST_WORKER)
        look_for_sharing(news);
    if (news->kind == NEWS_ASSIGNED || news->kind == NEWS_FIRST)
        note_heir(news);
}

/* Takes news until it is so, or until the time is over; says whether it is. */
static bool await(bool (*is_so)(void), double seconds)
{
    int64_t until_ns = now_ns() + (int64_t)(seconds * 1e9);
    for (;;) {
        struct news news;
        if (is_so && is_so())
            return true;
        int64_t left_ms = (until_ns - now_ns() + 999999) / 1000000;
        if (left_ms <= 0 || interrupted)
            return false;
        if (crew_hear(&crew, &news, left_ms < LOOK_MS ? (int)left_ms : LOOK_MS))
            take(&news);
        const struct hand *missing = crew_missing(&crew);
        if (missing)
            return fail("ended unasked: ", missing->name);
        board_refresh(&board);
    }
}

/* What was told by those who have ended. */
static void take_rest(void)
{
    struct news news;
    while (crew_hear(&crew, &news, 0))
        take(&news);
}

/* A part of the stream's time goes by; then the table. */
static bool go_on(double share)
{
    await(NULL, plan->seconds * share);
    if (interrupted || crew_missing(&crew))
        return false;
    board_table(&board);
    return true;
}

/* ---- how things stand ---- */

static bool is_ready(void)
{
    for (int i = 0; i < HANDS; i++)
        if (crew.hands[i].pid && !crew.hands[i].ready)
            return false;
    return true;
}

static bool is_counter_assigned(void)
{
    return crew.hands[COUNTER].ready && crew.hands[COUNTER].owns == ALL_PARTITIONS;
}

/* Stable by leatd, and by what the members were told; at most one partition more with one than with another. */
static bool is_settled(void)
{
    leat_group_info *info;
    int workers = crew_workers(&crew), busy = workers < PARTITIONS ? workers : PARTITIONS;
    if (!is_ready() || crew_owned(&crew) != ALL_PARTITIONS || crew_owners(&crew) != busy ||
        leat_group_describe(board.bus, DEMO_GROUP, &info) < 0)
        return false;
    bool stable = info->member_count == workers && *info->state == 's';
    leat_group_info_free(info);
    return stable;
}

static bool is_taken_over(void)
{
    return begun == outcome->killed && is_settled();
}

static bool is_drained_of(const char *group)
{
    leat_group_info *info;
    if (leat_group_describe(board.bus, group, &info) < 0)
        return false;
    bool drained = info->partition_count == PARTITIONS;
    for (int i = 0; i < info->partition_count; i++)
        drained &= info->partitions[i].lag == 0;
    leat_group_info_free(info);
    return drained;
}

static bool is_drained(void)
{
    return is_drained_of(DEMO_GROUP) && is_drained_of(DEMO_COUNTERS) &&
           crew.hands[COUNTER].last.orders >= outcome->sent; /* it tells now and then */
}

/* ---- chapters ---- */

/* Durable: who has been told that an order is taken gets it delivered, whatever dies. That costs the pace nothing, as nobody waits for
 * each order: those of some milliseconds share a flush. A consumer that falls behind the ring reads the log, so the
 * ring need not hold the whole run, and nobody holds the producer up. */
static bool make_topic(void)
{
    leat_topic_options options = LEAT_TOPIC_OPTIONS;
    options.partitions = PARTITIONS;
    options.level = LEAT_DURABLE;
    options.segment_bytes = 2 << 20; /* so that there are several */
    int r = leat_open(&board.bus, plan->bus);
    if (r >= 0 && !plan->goes_on)
        r = leat_topic_create(board.bus, DEMO_TOPIC, &options);
    if (r < 0)
        complain("topic", board.bus, r);
    return r >= 0;
}

/* The store is asked before anybody stores, the log is read before anybody sends. What is stored has been in the log. */
static void tell_what_was(void)
{
    const struct news *found = &crew.hands[PRODUCER].last;
    uint64_t stored = (uint64_t)plan->stored_before;
    outcome->missing = found->missing;
    if (stored > found->orders && stored - found->orders > found->missing)
        outcome->missing = stored - found->orders;
    if (plan->goes_on)
        board_say(&board, "goes on: %" PRIu64 " orders sent and %" PRIu64 " stored before", found->orders,
                  stored);
}

static bool start_producer_and_counter(void)
{
    char rate[32];
    snprintf(rate, sizeof rate, "%.3f", plan->rate);
    if (!crew_start(&crew, COUNTER, (const char *const[]){ "leat-demo", "counter", NULL }))
        return false;
    if (!await(is_counter_assigned, PATIENCE_S))
        return fail("the counter got no partitions", "");
    if (!crew_start(&crew, PRODUCER, (const char *const[]){ "leat-demo", "producer", rate, NULL }))
        return false;
    if (!await(is_ready, PATIENCE_S))
        return fail("the producer does not start", "");
    tell_what_was();
    board_say(&board, "producer    %s orders a second, keyed by customer",
              grouped((uint64_t)plan->rate).text);
    return true;
}

/* Those who are not there are started, up to consumer-`count`. */
static bool have_workers(int count)
{
    for (int i = 0; i < count; i++) {
        char number[16];
        if (crew.hands[FIRST_WORKER + i].pid)
            continue;
        snprintf(number, sizeof number, "%d", i + 1);
        if (!crew_start(&crew, FIRST_WORKER + i,
                        (const char *const[]){ "leat-demo", "consumer", number, plan->sink->name, NULL }))
            return false;
    }
    return await(is_settled, PATIENCE_S) || fail("the group does not become stable", "");
}

/* The last consumer that has work. */
static int find_victim(void)
{
    int victim = HANDS - 1;
    while (victim > FIRST_WORKER && !crew.hands[victim].owns)
        victim--;
    return victim;
}

static void tell_pauses(void)
{
    for (int p = 0; p < PARTITIONS; p++) {
        const struct pause *pause = &outcome->pauses[p];
        if (outcome->killed & 1u << p)
            board_say(&board,
                      DEMO_TOPIC "-%d    from the kill %" PRId64 " us until consumer-%u had it, %" PRId64
                                 " us until its first record",
                      p, pause->assigned_us, pause->heir, pause->first_us);
    }
}

static bool kill_one(void)
{
    int who = find_victim();
    struct hand *victim = &crew.hands[who];
    pid_t pid = victim->pid;
    outcome->killed = victim->owns;
    killed_ns = now_ns();
    crew_signal(&crew, who, SIGKILL);
    victim->owns = 0;
    int status = crew_await(&crew, who);
    /* A death waits for the system call that it comes in. */
    int64_t gone_us = (now_ns() - killed_ns) / 1000;
    board_say(&board, "%-10s  killed: process %d, which had %s; gone after %" PRId64 " us", victim->name, pid,
              partition_names(outcome->killed).text, gone_us);
    if (!WIFSIGNALED(status) || !await(is_taken_over, PATIENCE_S))
        return fail("nobody took over from ", victim->name);
    tell_pauses();
    return true;
}

static bool end_clean(int who)
{
    return crew_await(&crew, who) == 0 || fail("did not end as it should: ", crew.hands[who].name);
}

/* All but one go, together. */
static bool send_home(void)
{
    bool clean = true;
    unsigned going = 0;
    for (int i = FIRST_WORKER + 1; i < HANDS; i++) {
        going |= crew.hands[i].pid ? 1u << i : 0;
        crew_signal(&crew, i, SIGTERM);
    }
    for (int i = FIRST_WORKER + 1; i < HANDS; i++)
        if (going & 1u << i)
            clean &= end_clean(i);
    return clean && (await(is_settled, PATIENCE_S) || fail("the group does not become stable", ""));
}

/* No more orders; those that are there are handled. */
static bool finish(void)
{
    crew_signal(&crew, PRODUCER, SIGTERM);
    bool clean = end_clean(PRODUCER);
    take_rest();
    outcome->sent = crew.hands[PRODUCER].last.orders; /* its last word */
    board_say(&board, "producer    ends after %s orders", grouped(outcome->sent).text);
    if (!await(is_drained, PATIENCE_S))
        return fail("orders are left in the topic", "");
    board_table(&board);
    board.shown = 0;
    return clean;
}

static void note_counter_rebalances(void)
{
    leat_group_info *info;
    if (leat_group_describe(board.bus, DEMO_COUNTERS, &info) < 0)
        return;
    outcome->counter_rebalances = info->rebalances;
    leat_group_info_free(info);
}

static bool dismiss_all(void)
{
    note_counter_rebalances();
    leat_close(board.bus); /* no table from here on */
    board.bus = NULL;
    crew_signal(&crew, FIRST_WORKER, SIGTERM);
    crew_signal(&crew, COUNTER, SIGTERM);
    bool clean = end_clean(FIRST_WORKER);
    clean &= end_clean(COUNTER);
    take_rest();
    return clean;
}

static bool chapters(void)
{
    if (!make_topic() || !start_producer_and_counter())
        return false;
    board_title(&board, "one consumer");
    if (!have_workers(1) || !go_on(0.15))
        return false;
    board_title(&board, "three consumers");
    if (!have_workers(3) || !go_on(0.2))
        return false;
    board_title(&board, "five consumers, of which two have nothing to do");
    if (!have_workers(5) || !go_on(0.2))
        return false;
    board_title(&board, "kill -9 of one that has work");
    if (!kill_one() || !go_on(0.2))
        return false;
    board_title(&board, "back to one consumer");
    return send_home() && go_on(0.25) && finish() && dismiss_all();
}

static void note_counts(void)
{
    const struct news *counted = &crew.hands[COUNTER].last;
    outcome->sent = crew.hands[PRODUCER].last.orders;
    outcome->counted = counted->orders;
    outcome->customers = counted->customers;
    outcome->cents = counted->cents;
    outcome->disorder = counted->disorder;
    for (int i = FIRST_WORKER; i < HANDS; i++)
        outcome->again += crew.hands[i].last.again;
}

void story_tell(const struct plan *the_plan, struct outcome *the_outcome)
{
    plan = the_plan;
    outcome = the_outcome;
    *outcome = (struct outcome){ 0 };
    board_open(&board, &crew);
    outcome->told = crew_make(&crew) && chapters();
    crew_kill(&crew);
    take_rest();
    note_counts();
    leat_close(board.bus);
    board.bus = NULL;
    outcome->interrupted = interrupted != 0;
    if (interrupted)
        board_say(&board, "interrupted");
}
