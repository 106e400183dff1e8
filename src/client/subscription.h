/* subscription: what a member of a group wants to read: names, and patterns over the names that there are. Pure.
 *
 * leatd never runs a pattern: the member does, over the list of topics, each time that changes, and says the names that it found.
 * The text that JOIN carries: each name with a '=' (asked for by name) or a '~' (found by a pattern) in front and a 0 behind.
 */
#ifndef LT_CLIENT_SUBSCRIPTION_H
#define LT_CLIENT_SUBSCRIPTION_H

#include <regex.h>
#include <stdbool.h>
#include <stdint.h>

struct lt_subscription {
    char **names; /* sorted, each once */
    int name_count;
    regex_t *patterns;
    int pattern_count;
    char *text; /* as JOIN says it */
    uint32_t text_bytes;
};

/* Names, and patterns with a '^' in front (POSIX extended; a match counts when it begins at the first byte). The text has the names
 * only, until lt_subscription_expand. On failure there is nothing to free.
 * Errors: LEAT_EINVAL (a name that no topic can have, a pattern that is none; the message says why), LEAT_ENOMEM. */
int lt_subscription_make(struct lt_subscription *s, const char *const *names, int count);
/* The text anew, over all topics that there are. 1: it has changed; 0: not; LEAT_ENOMEM. */
int lt_subscription_expand(struct lt_subscription *s, char *const *topics, int count);
/* Whether the text has this topic. */
bool lt_subscription_has(const struct lt_subscription *s, const char *topic);
void lt_subscription_free(struct lt_subscription *s);

#endif
