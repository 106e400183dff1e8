/* subscription: names and patterns become the text that JOIN carries. */
#include <leat.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "client/subscription.h"
#include "test.h"

/* "=a ~b": the text with blanks for its zeros. */
static const char *text_of(const struct lt_subscription *s)
{
    static char text[4096];
    CHECK(s->text_bytes < sizeof text);
    for (uint32_t i = 0; i < s->text_bytes; i++)
        text[i] = s->text[i] != 0 ? s->text[i] : ' ';
    text[s->text_bytes != 0 ? s->text_bytes - 1 : 0] = 0;
    return text;
}

static struct lt_subscription make(const char *first, const char *second)
{
    struct lt_subscription s;
    const char *names[2] = { first, second };
    CHECK_EQ(lt_subscription_make(&s, names, second != NULL ? 2 : 1), 0);
    return s;
}

static char audit[] = "audit", orders[] = "orders", eu[] = "orders.eu", us[] = "orders.us",
            old[] = "old.orders";
static char *const topics[] = { audit, orders, eu, us, old };
enum { TOPICS = sizeof topics / sizeof *topics };

TEST(names_are_sorted_and_said_once)
{
    struct lt_subscription s;
    const char *const names[] = { "b", "a", "b" };
    CHECK_EQ(lt_subscription_make(&s, names, 3), 0);
    CHECK_STR(text_of(&s), "=a =b");
    CHECK_EQ(lt_subscription_expand(&s, topics, TOPICS), 0);
    CHECK(lt_subscription_has(&s, "a"));
    CHECK(!lt_subscription_has(&s, "orders"));
    lt_subscription_free(&s);
}

TEST(pattern_finds_what_begins_like_it)
{
    struct lt_subscription s = make("^orders\\.", NULL);
    CHECK_STR(text_of(&s), "");
    CHECK_EQ(lt_subscription_expand(&s, topics, TOPICS), 1);
    CHECK_STR(text_of(&s), "~orders.eu ~orders.us");
    CHECK(lt_subscription_has(&s, "orders.us"));
    lt_subscription_free(&s);
}

TEST(match_in_the_middle_of_a_name_does_not_count)
{
    struct lt_subscription s = make("^audit|orders", NULL);
    lt_subscription_expand(&s, topics, TOPICS);
    CHECK_STR(text_of(&s), "~audit ~orders ~orders.eu ~orders.us");
    lt_subscription_free(&s);
}

TEST(name_that_a_pattern_finds_too_was_asked_for_by_name)
{
    struct lt_subscription s = make("^orders", "orders.eu");
    lt_subscription_expand(&s, topics, TOPICS);
    CHECK_STR(text_of(&s), "=orders.eu ~orders ~orders.us");
    lt_subscription_free(&s);
}

TEST(expanding_says_whether_others_were_found)
{
    struct lt_subscription s = make("^orders", "audit");
    CHECK_EQ(lt_subscription_expand(&s, topics, TOPICS), 1);
    CHECK_EQ(lt_subscription_expand(&s, topics, TOPICS), 0);
    CHECK_EQ(lt_subscription_expand(&s, topics + 3, 2), 1);
    CHECK_STR(text_of(&s), "=audit ~orders.us");
    lt_subscription_free(&s);
}

TEST(what_is_neither_name_nor_pattern_is_refused_with_its_reason)
{
    struct lt_subscription s;
    CHECK_EQ(lt_subscription_make(&s, (const char *const[]){ "a", "^orders(" }, 2), LEAT_EINVAL);
    CHECK(strstr(lt_fail_text(), "pattern \"^orders(\": ") != NULL);
    CHECK_EQ(lt_subscription_make(&s, (const char *const[]){ "a/b" }, 1), LEAT_EINVAL);
    CHECK_EQ(lt_subscription_make(&s, (const char *const[]){ "" }, 1), LEAT_EINVAL);
    CHECK_EQ(lt_subscription_make(&s, (const char *const[]){ "a", NULL }, 2), LEAT_EINVAL);
    CHECK_STR(lt_fail_text(), "topic 1 of 2 is NULL");
}
