#include "net/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "net/net.h"
#include "net/outbox.h"

enum { HF_SESSION_INDEX_BITS = 16 };

int hf_sessions_create(struct hf_sessions *table, uint32_t count, uint32_t credits_max)
{
    assert(count > 0 && count <= 1u << HF_SESSION_INDEX_BITS && credits_max > 0 && credits_max <= UINT16_MAX);
    *table = (struct hf_sessions){.count = count, .credits_max = credits_max, .oldest = HF_NONE, .newest = HF_NONE};
    table->slots_bytes = (size_t)count * credits_max * sizeof *table->slots;
    table->all = calloc(count, sizeof *table->all);
    table->free = calloc(count, sizeof *table->free);
    table->slots = hf_pages_map(table->slots_bytes, false);
    if (!table->all || !table->free || !table->slots) {
        hf_sessions_destroy(table);
        return hf_net_fail(HF_E_MEMORY, "no memory for %u sessions of %u credits", count, credits_max);
    }
    table->free_count = count;
    for (uint32_t i = 0; i < count; i++) {
        table->all[i].index = i;
        table->free[i] = count - 1 - i;
    }
    return 0;
}

void hf_sessions_destroy(struct hf_sessions *table)
{
    free(table->all);
    free(table->free);
    hf_pages_unmap(table->slots, table->slots_bytes);
    *table = (struct hf_sessions){0};
}

struct hf_session *hf_session_find(const struct hf_sessions *table, uint64_t id)
{
    uint32_t index = id & ((1u << HF_SESSION_INDEX_BITS) - 1);
    return id != 0 && index < table->count && table->all[index].id == id ? &table->all[index] : NULL;
}

static void hf_session_unlink(struct hf_sessions *table, struct hf_session *session)
{
    if (session->connection)
        return;
    *(session->older == HF_NONE ? &table->oldest : &table->all[session->older].newer) = session->newer;
    *(session->newer == HF_NONE ? &table->newest : &table->all[session->newer].older) = session->older;
}

static void hf_session_link(struct hf_sessions *table, struct hf_session *session)
{
    session->older = table->newest;
    session->newer = HF_NONE;
    *(table->newest == HF_NONE ? &table->oldest : &table->all[table->newest].newer) = session->index;
    table->newest = session->index;
}

static uint64_t hf_session_random(void)
{
    uint64_t random;
    while (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        ;
    return random;
}

struct hf_session *hf_session_open(struct hf_sessions *table, uint16_t credits_wanted, uint64_t first)
{
    if (table->free_count == 0 && table->oldest != HF_NONE)
        hf_session_close(table, &table->all[table->oldest]);
    if (table->free_count == 0)
        return NULL;
    struct hf_session *session = &table->all[table->free[--table->free_count]];
    const uint32_t index = session->index;
    const uint64_t high = hf_session_random() >> HF_SESSION_INDEX_BITS | 1;
    uint32_t credits = credits_wanted == 0 || credits_wanted > table->credits_max ? table->credits_max : credits_wanted;
    *session = (struct hf_session){
        .id = high << HF_SESSION_INDEX_BITS | index, .first = first ? first : 1, .next = 1, .index = index, .credits = (uint16_t)credits};
    memset(table->slots + (size_t)index * table->credits_max, 0, credits * sizeof *table->slots);
    hf_session_link(table, session);
    return session;
}

void hf_session_close(struct hf_sessions *table, struct hf_session *session)
{
    assert(session->id != 0);
    hf_session_unlink(table, session);
    if (session->connection)
        session->connection->session = HF_NONE;
    session->id = 0;
    session->connection = NULL;
    table->free[table->free_count++] = session->index;
}

void hf_session_attach(struct hf_sessions *table, struct hf_session *session, struct hf_connection *connection)
{
    assert(!session->connection && connection->session == HF_NONE);
    hf_session_unlink(table, session);
    session->connection = connection;
    connection->session = session->index;
}

void hf_session_detach(struct hf_sessions *table, struct hf_session *session, uint64_t now_ns)
{
    assert(session->connection);
    session->connection->session = HF_NONE;
    session->connection = NULL;
    session->left_ns = now_ns;
    hf_session_link(table, session);
}

void hf_sessions_expire(struct hf_sessions *table, uint64_t before_ns)
{
    while (table->oldest != HF_NONE && table->all[table->oldest].left_ns < before_ns)
        hf_session_close(table, &table->all[table->oldest]);
}

struct hf_slot *hf_session_slot(const struct hf_sessions *table, const struct hf_session *session, uint64_t serial)
{
    return table->slots + (size_t)session->index * table->credits_max + serial % session->credits;
}

/* One that was sent again, or came again. */
static enum hf_admission hf_session_admit_again(const struct hf_session *session, struct hf_slot *slot, const struct hf_outbox *outbox,
                                                uint64_t *entry)
{
    if (slot->entry == HF_SLOT_WAITING)
        return HF_ADMIT_WAITING;
    *entry = slot->entry;
    if (slot->entry != HF_SLOT_OPEN && hf_outbox_holds(outbox, slot->entry))
        return HF_ADMIT_ANSWERED;
    if (session->datagrams)
        return HF_ADMIT_LOST;
    enum hf_admission admission = slot->entry == HF_SLOT_OPEN ? HF_ADMIT_NEW : HF_ADMIT_LOST;
    slot->entry = HF_SLOT_WAITING;
    return admission;
}

/* The serial that a datagram session's slot takes next. */
static uint64_t hf_session_expected(const struct hf_session *session, const struct hf_slot *slot, uint64_t serial)
{
    if (slot->number != 0)
        return slot->number + session->credits;
    return serial % session->credits ? serial % session->credits : session->credits;
}

enum hf_admission hf_session_admit(struct hf_sessions *table, struct hf_session *session, uint64_t serial, const struct hf_outbox *outbox,
                                   uint64_t *entry)
{
    struct hf_slot *slot = hf_session_slot(table, session, serial);
    const uint64_t expected = session->datagrams ? hf_session_expected(session, slot, serial) : session->next;
    if (serial == 0)
        return HF_ADMIT_OVERRUN;
    if (slot->number == serial)
        return hf_session_admit_again(session, slot, outbox, entry);
    if (serial != expected)
        return serial < expected ? HF_ADMIT_PAST : HF_ADMIT_OVERRUN;
    if (slot->number != 0 && slot->entry == HF_SLOT_WAITING)
        return HF_ADMIT_OVERRUN;
    *slot = (struct hf_slot){.number = serial, .entry = HF_SLOT_WAITING};
    if (serial >= session->next)
        session->next = serial + 1;
    return HF_ADMIT_NEW;
}
