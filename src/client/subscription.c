/* subscription: see subscription.h. */
#include "client/subscription.h"

#include <stdlib.h>
#include <string.h>

#include <leat.h>

#include "base/err.h"
#include "shm/topic.h"

static int no_memory(const char *what)
{
    return lt_fail(LEAT_ENOMEM, "memory for %s", what);
}

/* --- names and patterns --- */

static int add_pattern(struct lt_subscription *s, const char *pattern)
{
    char why[128];
    regex_t *regex = &s->patterns[s->pattern_count];
    int error = regcomp(regex, pattern, REG_EXTENDED);
    if (error != 0) {
        regerror(error, regex, why, sizeof why);
        return lt_fail(LEAT_EINVAL, "pattern \"%.100s\": %s", pattern, why);
    }
    s->pattern_count++;
    return 0;
}

static int add_name(struct lt_subscription *s, const char *name)
{
    int r = lt_topic_name_check(name, strlen(name));
    if (r < 0)
        return r;
    s->names[s->name_count] = strdup(name);
    if (s->names[s->name_count] == NULL)
        return no_memory("a subscription");
    s->name_count++;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_names(struct lt_subscription *s)
{
    int kept = 0;
    qsort(s->names, (size_t)s->name_count, sizeof *s->names, by_name);
    for (int i = 0; i < s->name_count; i++) {
        if (kept != 0 && strcmp(s->names[kept - 1], s->names[i]) == 0)
            free(s->names[i]);
        else
            s->names[kept++] = s->names[i];
    }
    s->name_count = kept;
}

static int take(struct lt_subscription *s, const char *const *names, int count)
{
    s->names = calloc((size_t)count + 1, sizeof *s->names);
    s->patterns = calloc((size_t)count + 1, sizeof *s->patterns);
    if (s->names == NULL || s->patterns == NULL)
        return no_memory("a subscription");
    for (int i = 0; i < count; i++) {
        int r = names[i] == NULL     ? lt_fail(LEAT_EINVAL, "topic %d of %d is NULL", i, count)
                : names[i][0] == '^' ? add_pattern(s, names[i])
                                     : add_name(s, names[i]);
        if (r < 0)
            return r;
    }
    sort_names(s);
    return lt_subscription_expand(s, NULL, 0);
}

int lt_subscription_make(struct lt_subscription *s, const char *const *names, int count)
{
    memset(s, 0, sizeof *s);
    int r = take(s, names, count);
    if (r < 0)
        lt_subscription_free(s);
    return r < 0 ? r : 0;
}

void lt_subscription_free(struct lt_subscription *s)
{
    for (int i = 0; i < s->name_count; i++)
        free(s->names[i]);
    for (int i = 0; i < s->pattern_count; i++)
        regfree(&s->patterns[i]);
    free(s->names);
    free(s->patterns);
    free(s->text);
    memset(s, 0, sizeof *s);
}

/* --- the text --- */

static bool is_named(const struct lt_subscription *s, const char *topic)
{
    return s->name_count != 0 && bsearch(&topic, s->names, (size_t)s->name_count, sizeof *s->names, by_name);
}

/* "^a|b" finds b in the middle of a name, and that does not count. */
static bool is_matched(const struct lt_subscription *s, const char *topic)
{
    regmatch_t match;
    for (int i = 0; i < s->pattern_count; i++)
        if (regexec(&s->patterns[i], topic, 1, &match, 0) == 0 && match.rm_so == 0)
            return true;
    return false;
}

static char *put(char *at, char kind, const char *name)
{
    size_t size = strlen(name) + 1;
    *at = kind;
    memcpy(at + 1, name, size);
    return at + 1 + size;
}

int lt_subscription_expand(struct lt_subscription *s, char *const *topics, int count)
{
    size_t room = 1;
    for (int i = 0; i < s->name_count; i++)
        room += strlen(s->names[i]) + 2;
    for (int i = 0; i < count; i++)
        room += strlen(topics[i]) + 2;
    char *text = malloc(room), *end = text;
    if (text == NULL)
        return no_memory("a subscription");
    for (int i = 0; i < s->name_count; i++)
        end = put(end, '=', s->names[i]);
    for (int i = 0; i < count; i++)
        if (!is_named(s, topics[i]) && is_matched(s, topics[i]))
            end = put(end, '~', topics[i]);
    uint32_t bytes = (uint32_t)(end - text);
    bool changed = s->text == NULL || bytes != s->text_bytes || memcmp(text, s->text, bytes) != 0;
    free(s->text);
    s->text = text;
    s->text_bytes = bytes;
    return changed;
}

bool lt_subscription_has(const struct lt_subscription *s, const char *topic)
{
    for (const char *at = s->text, *end = at + s->text_bytes; at < end; at += strlen(at) + 1)
        if (strcmp(at + 1, topic) == 0)
            return true;
    return false;
}
