/* readers: see readers.h.
 *
 * Bells stand in one of two lists of a partition: `bells`, which producers ring, and above level ring `acked_bells`, which leatd's
 * persister rings when more is visible. The persister's own bells stand in the first, and are nobody's here.
 *
 * A reader is an entry of its client's mailbox, which says which partition it reads and with which bell. leatd checks that once, when
 * it is opened, keeps what it found in client->idents, and puts the bell on the partition's list, where producers and
 * the next worker find it. What the entry's ident says later is not looked at again.
 *
 * Points, with what a death there leaves:
 *   reader.open     the bell is not listed: the client asks again
 *   reader.close    the bell is not listed any more, the entry says its ident still: it does not count
 *   consumer.open   nothing
 *   consumer.close  the bell is on no list, and still its client's
 */
#include "leatd/readers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/err.h"
#include <leat.h>
#include "leatd/groups.h"
#include "leatd/topics.h"
#include "leatd/warden.h"

#define ANY_BELL UINT32_MAX
#define IDENT_SET (1ull << 63)

static uint32_t ident_topic(uint64_t ident)
{
    return (uint32_t)((ident & ~IDENT_SET) >> 28);
}

static uint32_t ident_partition(uint64_t ident)
{
    return (uint32_t)(ident >> 12) & 0xffff;
}

static uint32_t ident_bell(uint64_t ident)
{
    return (uint32_t)ident & 0xfff;
}

static bool is_listed(const struct lt_partition *page, uint32_t bell)
{
    return (page->bells[bell / 64] | page->acked_bells[bell / 64]) >> bell % 64 & 1;
}

static void list_bell(struct lt_part *part, uint32_t bell)
{
    if (part->topic->head->level == LEAT_RING)
        lt_partition_bell_set(part->page, bell, 1);
    else
        lt_partition_acked_bell_set(part->page, bell, 1);
}

/* Off whichever list it is on. */
static void unlist_bell(struct lt_partition *page, uint32_t bell)
{
    if (page->bells[bell / 64] >> bell % 64 & 1)
        lt_partition_bell_set(page, bell, 0);
    if (page->acked_bells[bell / 64] >> bell % 64 & 1)
        lt_partition_acked_bell_set(page, bell, 0);
}

/* --- the lists of partitions --- */

static int enter(struct lt_part *part, uint32_t client, uint32_t entry, uint32_t bell, bool listed)
{
    if (part->reader_count == part->reader_room) {
        uint32_t room = part->reader_room ? part->reader_room * 2 : 4;
        struct lt_reader_ref *readers = realloc(part->readers, room * sizeof *readers);
        if (!readers)
            return lt_fail(LEAT_ENOMEM, "no memory for %u readers", room);
        part->readers = readers;
        part->reader_room = room;
    }
    part->readers[part->reader_count++] = (struct lt_reader_ref){
        .client = (uint16_t)client, .entry = (uint16_t)entry, .bell = (uint16_t)bell, .listed = listed
    };
    return 0;
}

static void unlist(struct lt_part *part, uint32_t client, uint32_t entry, uint32_t bell)
{
    bool bell_used = false;
    for (uint32_t i = 0; i < part->reader_count;) {
        struct lt_reader_ref *reader = &part->readers[i];
        if (reader->client == client && reader->entry == entry) {
            *reader = part->readers[--part->reader_count];
            continue;
        }
        bell_used |= reader->bell == bell && reader->listed;
        i++;
    }
    if (!bell_used)
        unlist_bell(part->page, bell);
    lt_point("reader.close");
}

void lt_readers_list(struct lt_part *part, uint32_t client, uint32_t bell, bool on)
{
    bool found = false;
    for (uint32_t i = 0; i < part->reader_count; i++) {
        struct lt_reader_ref *reader = &part->readers[i];
        if (reader->client != client || reader->bell != bell)
            continue;
        reader->listed = on;
        found = true;
    }
    if (found && on)
        list_bell(part, bell);
    else if (found)
        unlist_bell(part->page, bell);
}

bool lt_readers_is_listed(const struct lt_part *part, uint32_t client, uint32_t bell)
{
    for (uint32_t i = 0; i < part->reader_count; i++)
        if (part->readers[i].client == client && part->readers[i].bell == bell)
            return part->readers[i].listed;
    return false;
}

static struct lt_part *part_of(struct lt_worker *w, uint64_t ident)
{
    struct lt_topic *topic = lt_topics_by_id(w, ident_topic(ident));
    uint32_t partition = ident_partition(ident);
    return topic && partition < topic->partition_count ? &topic->parts[partition] : NULL;
}

/* --- consumers --- */

static int count_bells(struct lt_worker *w, uint32_t uid)
{
    int count = 0;
    for (uint32_t c = 1; c < LT_CLIENTS_MAX; c++)
        if (w->clients[c] && w->clients[c]->uid == uid)
            count += (int)w->clients[c]->bell_count;
    return count;
}

int lt_readers_open_consumer(struct lt_worker *w, struct lt_client *client,
                             const struct lt_consumer_open *request, uint32_t *bell)
{
    struct lt_bell_entry *bells = w->coordinator->bells;
    uint32_t free_bell = LT_BELLS;
    if (request->consumer == 0)
        return lt_fail(LEAT_EINVAL, "a consumer's number is not 0");
    for (uint32_t b = 0; b < LT_BELL_GATHER; b++) {
        if (bells[b].client == client->id && bells[b].consumer == request->consumer) {
            *bell = b;
            return request->bell == ANY_BELL || request->bell == b
                       ? 0
                       : lt_fail(LEAT_EINVAL, "consumer %u of client %u has bell %u, not %u",
                                 request->consumer, client->id, b, request->bell);
        }
        if (bells[b].client == 0 && free_bell == LT_BELLS)
            free_bell = b;
    }
    if (request->bell != ANY_BELL)
        return lt_fail(LEAT_EINVAL, "consumer %u of client %u has no bell %u", request->consumer, client->id,
                       request->bell);
    if (free_bell == LT_BELLS)
        return lt_fail(LEAT_ELIMIT, "all of the bus's %u consumers are in use", LT_BELL_GATHER);
    if (client->uid != 0 && client->uid != geteuid() && count_bells(w, client->uid) >= (int)LT_BELLS / 2)
        return lt_fail(LEAT_ELIMIT, "uid %u has %u consumers, half of what the bus can have", client->uid,
                       LT_BELLS / 2);
    if (request->client_id[0])
        snprintf(w->coordinator->clients[client->id].client_id, sizeof request->client_id, "%.*s",
                 (int)sizeof request->client_id - 1, request->client_id);
    lt_point("consumer.open");
    bells[free_bell].consumer = request->consumer;
    lt_store_release32(&bells[free_bell].client, client->id);
    client->bell_count++;
    *bell = free_bell;
    return 0;
}

static void close_readers_of(struct lt_worker *w, struct lt_client *client, uint32_t bell)
{
    for (uint32_t e = 0; client->idents && e < LT_READERS_MAX && client->reader_count != 0; e++)
        if (client->idents[e] != 0 && ident_bell(client->idents[e]) == bell)
            lt_readers_close(w, client, e);
}

int lt_readers_close_consumer(struct lt_worker *w, struct lt_client *client, uint32_t bell)
{
    if (bell >= LT_BELLS)
        return lt_fail(LEAT_EINVAL, "bell %u; there are %u", bell, LT_BELLS);
    struct lt_bell_entry *entry = &w->coordinator->bells[bell];
    if (entry->client != client->id)
        return 0; /* closed before a reconnect */
    lt_groups_bell_gone(w, bell);
    close_readers_of(w, client, bell);
    lt_point("consumer.close");
    lt_store_release32(&entry->client, 0);
    client->bell_count--;
    return 0;
}

/* --- readers --- */

static int note_reader(struct lt_client *client, uint32_t entry, uint64_t ident)
{
    if (!client->idents && !(client->idents = calloc(LT_READERS_MAX, sizeof *client->idents)))
        return lt_fail(LEAT_ENOMEM, "no memory for %u readers", LT_READERS_MAX);
    client->idents[entry] = ident;
    return 0;
}

int lt_readers_open(struct lt_worker *w, struct lt_conn *conn, uint32_t entry, bool member)
{
    struct lt_client *client = conn->client;
    if (entry >= LT_READERS_MAX)
        return lt_fail(LEAT_EINVAL, "reader %u; a client has %u", entry, LT_READERS_MAX);
    /* [reader.ident] acquire: the client's own words; what they name is checked here, once. */
    uint64_t ident = lt_load_acquire64(&client->mailbox->readers[entry].ident);
    if (!(ident & IDENT_SET))
        return lt_fail(LEAT_EINVAL, "reader %u of client %u has no ident", entry, client->id);
    struct lt_topic *topic = lt_topics_by_id(w, ident_topic(ident));
    uint32_t partition = ident_partition(ident), bell = ident_bell(ident);
    if (!topic)
        return lt_fail(LEAT_ENOTOPIC, "no topic with id %u on this bus", ident_topic(ident));
    if (partition >= topic->partition_count)
        return lt_fail(LEAT_ENOPART, "topic %s has partitions 0..%u, not %u", topic->name,
                       topic->partition_count - 1, partition);
    if (bell >= LT_BELLS || w->coordinator->bells[bell].client != client->id)
        return lt_fail(LEAT_EINVAL, "bell %u is not client %u's", bell, client->id);
    if (!lt_peer_may(&conn->peer, topic->head->uid, topic->head->gid, topic->head->mode, 4))
        return lt_fail(LEAT_EPERM, "topic %s: uid %u may not consume", topic->name, conn->peer.uid);

    struct lt_part *part = &topic->parts[partition];
    bool listed = !member || lt_groups_owns(w, bell, topic->id, partition);
    if (client->idents && client->idents[entry] == ident) { /* asked before a reconnect, or adopted */
        if (listed) /* never off: it may be an evicted member's, with views still */
            lt_readers_list(part, client->id, bell, true);
        return 0;
    }
    /* What it was before, the client has closed: whoever gives up waiting for that answer uses the entry again. */
    lt_readers_close(w, client, entry);
    int r = note_reader(client, entry, ident);
    if (r < 0)
        return r;
    r = enter(part, client->id, entry, bell, listed);
    if (r < 0) {
        client->idents[entry] = 0;
        return r;
    }
    client->reader_count++;
    lt_point("reader.open");
    if (listed)
        list_bell(part, bell);
    return 0;
}

int lt_readers_close(struct lt_worker *w, struct lt_client *client, uint32_t entry)
{
    if (entry >= LT_READERS_MAX)
        return lt_fail(LEAT_EINVAL, "reader %u; a client has %u", entry, LT_READERS_MAX);
    uint64_t ident = client->idents ? client->idents[entry] : 0;
    if (ident == 0)
        return 0; /* closed before a reconnect, or never open */
    lt_groups_reader_gone(w, ident_bell(ident), ident_topic(ident), ident_partition(ident));
    client->idents[entry] = 0;
    client->reader_count--;
    struct lt_part *part = part_of(w, ident);
    if (part) {
        unlist(part, client->id, entry, ident_bell(ident));
        lt_warden_knock(w, part); /* it may have been what others wait for */
    }
    return 0;
}

/* --- deaths and adoption --- */

/* Off every partition's list: what is left of a client that this worker never knew, too. */
static void unlist_everywhere(struct lt_worker *w, uint32_t bell)
{
    for (struct lt_topic *topic = lt_topics_next(w, NULL); topic; topic = lt_topics_next(w, topic))
        for (uint32_t p = 0; p < topic->partition_count; p++)
            unlist_bell(topic->parts[p].page, bell);
}

void lt_readers_close_all(struct lt_worker *w, uint32_t client_id)
{
    struct lt_client *client = w->clients[client_id];
    if (client && client->idents)
        for (uint32_t e = 0; e < LT_READERS_MAX && client->reader_count != 0; e++)
            lt_readers_close(w, client, e);
    for (uint32_t b = 0; b < LT_BELLS; b++) {
        struct lt_bell_entry *entry = &w->coordinator->bells[b];
        if (entry->client != client_id)
            continue;
        if (!client)
            unlist_everywhere(w, b);
        lt_store_release32(&entry->client, 0);
    }
    if (client)
        client->bell_count = 0;
}

void lt_readers_adopt(struct lt_worker *w, struct lt_client *client)
{
    for (uint32_t b = 0; b < LT_BELLS; b++)
        client->bell_count += w->coordinator->bells[b].client == client->id;
    for (uint32_t e = 0; e < LT_READERS_MAX; e++) {
        uint64_t ident = lt_load_acquire64(&client->mailbox->readers[e].ident);
        uint32_t bell = ident_bell(ident);
        struct lt_part *part = ident & IDENT_SET ? part_of(w, ident) : NULL;
        /* Listed with a bell of this client's: so it was allowed, by the last worker. */
        if (!part || bell >= LT_BELLS || w->coordinator->bells[bell].client != client->id ||
            !is_listed(part->page, bell))
            continue;
        if (note_reader(client, e, ident) == 0 && enter(part, client->id, e, bell, true) == 0)
            client->reader_count++;
        else if (client->idents)
            client->idents[e] = 0;
    }
}

static bool has_reader(const struct lt_part *part, uint32_t bell)
{
    for (uint32_t i = 0; i < part->reader_count; i++)
        if (part->readers[i].bell == bell)
            return true;
    return false;
}

void lt_readers_adopt_done(struct lt_worker *w)
{
    for (struct lt_topic *topic = lt_topics_next(w, NULL); topic; topic = lt_topics_next(w, topic)) {
        for (uint32_t p = 0; p < topic->partition_count; p++) {
            struct lt_part *part = &topic->parts[p];
            for (uint32_t word = 0; word < LT_BELL_WORDS; word++)
                for (uint64_t bits = part->page->bells[word] | part->page->acked_bells[word]; bits != 0;
                     bits &= bits - 1) {
                    uint32_t bell = word * 64 + (uint32_t)__builtin_ctzll(bits);
                    if (bell < LT_BELL_GATHER && !has_reader(part, bell)) /* above are the persister's */
                        unlist_bell(part->page, bell);
                }
        }
    }
}

void lt_readers_knock(struct lt_worker *w, const struct lt_client *client)
{
    for (uint32_t e = 0; client->idents && e < LT_READERS_MAX; e++) {
        struct lt_part *part = client->idents[e] != 0 ? part_of(w, client->idents[e]) : NULL;
        if (part)
            lt_warden_knock(w, part);
    }
}

void lt_readers_forget_topic(struct lt_worker *w, struct lt_topic *topic)
{
    for (uint32_t p = 0; p < topic->partition_count; p++) {
        struct lt_part *part = &topic->parts[p];
        for (uint32_t i = 0; i < part->reader_count; i++) {
            struct lt_client *client = w->clients[part->readers[i].client];
            if (client && client->idents && client->idents[part->readers[i].entry] != 0) {
                client->idents[part->readers[i].entry] = 0;
                client->reader_count--;
            }
        }
        part->reader_count = 0;
    }
}

/* --- what holds reclaim up --- */

uint64_t lt_readers_pin(struct lt_worker *w, const struct lt_part *part, uint64_t limit)
{
    uint64_t lowest = LT_PIN_NONE;
    for (uint32_t i = 0; i < part->reader_count; i++) {
        const struct lt_client *client = w->clients[part->readers[i].client];
        /* [reader.pin] acquire: unpinned means that its reads are over. Pairs with the reader's release. */
        uint64_t pin = lt_load_acquire64(&client->mailbox->readers[part->readers[i].entry].pin);
        if (pin >= limit && pin < lowest)
            lowest = pin;
    }
    return lowest;
}

uint64_t lt_readers_keep(struct lt_worker *w, const struct lt_part *part)
{
    uint64_t lowest = LT_PIN_NONE;
    for (uint32_t i = 0; i < part->reader_count; i++) {
        const struct lt_client *client = w->clients[part->readers[i].client];
        /* Whoever has left will not poll again, and may stay in its process as another program: it keeps nothing. */
        if (w->fate[part->readers[i].client] != LT_OWNER_ALIVE)
            continue;
        /* [reader.keep] acquire: what lies below is done with. */
        uint64_t keep = lt_load_acquire64(&client->mailbox->readers[part->readers[i].entry].keep);
        if (keep < lowest)
            lowest = keep;
    }
    uint64_t of_groups = lt_groups_keep(part);
    return of_groups < lowest ? of_groups : lowest;
}
