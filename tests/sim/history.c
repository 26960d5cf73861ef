#include "tests/sim/history.h"

#include "tests/sim/check.h"
#include "tests/sim/process.h"
#include "tests/sim/sim.h"
#include "wire/result.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { CLAIMS_MAX = 1 << 12, SLOTS = 1 << 16 };

struct claim {
    uint64_t position;
    uint32_t bytes;
    size_t offset; /* of the copy, once committed */
    bool committed;
};

static struct sim_entry *entries;
static uint64_t count, room, acknowledged;
static uint8_t *bytes;
static size_t bytes_used, bytes_room;
static struct claim claims[CLAIMS_MAX];
static uint32_t claim_first, claim_count;
static uint32_t slots[SLOTS]; /* 1 + index of an entry, by its id */
static uint64_t recovered;

void sim_history_begin(void)
{
    count = acknowledged = recovered = 0;
    bytes_used = 0;
    claim_first = claim_count = 0;
    memset(slots, 0, sizeof slots);
}

void sim_history_end(void)
{
    free(entries);
    free(bytes);
    entries = NULL;
    bytes = NULL;
    room = bytes_room = 0;
}

static size_t keep(const void *from, uint32_t size)
{
    if (bytes_used + size > bytes_room) {
        bytes_room = (bytes_used + size) * 2;
        uint8_t *grown = realloc(bytes, bytes_room);
        assert(grown);
        bytes = grown;
    }
    memcpy(bytes + bytes_used, from, size);
    bytes_used += size;
    return bytes_used - size;
}

/* ---- ids ---- */

static uint32_t *slot_of(struct hf_id id)
{
    uint64_t hash = (id.high * 0x9e3779b97f4a7c15ull) ^ (id.low * 0xc2b2ae3d27d4eb4full);
    for (uint32_t at = (uint32_t)(hash >> 40);; at++) {
        uint32_t *slot = &slots[at % SLOTS];
        if (*slot == 0 || hf_id_equal(entries[*slot - 1].id, id))
            return slot;
    }
}

static void remember(uint64_t index)
{
    struct hf_id id = entries[index].id;
    if (hf_id_none(id))
        return;
    uint32_t *slot = slot_of(id);
    if (*slot != 0)
        sim_fail("id %016" PRIx64 "%016" PRIx64 " ran twice: records that end at %" PRIu64 " and %" PRIu64, id.high, id.low,
                 entries[*slot - 1].end_position, entries[index].end_position);
    *slot = (uint32_t)index + 1;
}

const struct hf_record *sim_history_find(struct hf_id id, uint64_t *index)
{
    if (hf_id_none(id) || count == 0)
        return NULL;
    uint32_t slot = *slot_of(id);
    if (slot == 0)
        return NULL;
    if (index)
        *index = slot - 1;
    return sim_history_record(slot - 1);
}

/* ---- records ---- */

const struct hf_command *sim_history_command(const struct hf_record *record)
{
    const uint8_t *at = (const uint8_t *)record;
    return (const struct hf_command *)(const void *)(at + hf_outcome_bytes(record, hf_record_is_place(record)));
}

static void add_record(const struct hf_record *record, size_t offset, uint64_t end_position)
{
    const struct hf_command *command = sim_history_command(record);
    if (count == room) {
        room = room ? room * 2 : 4096;
        struct sim_entry *grown = realloc(entries, room * sizeof *entries);
        assert(grown);
        entries = grown;
    }
    assert(count < SLOTS / 2);
    bool client = hf_opcode_family(command->opcode) <= HF_FAMILY_ORDER;
    entries[count] = (struct sim_entry){
        .end_position = end_position, .term = sim_process_term(), .offset = offset, .id = client ? command->id : (struct hf_id){0, 0}};
    sim_mix_bytes(record, record->length);
    sim_note("record %04x %016" PRIx64 "%016" PRIx64 " %s home %u time %" PRIu64 " ends %" PRIu64, command->opcode, command->id.high,
             command->id.low, hf_result_name(record->result), record->home, record->time_ns, end_position);
    remember(count++);
    sim_check_record(record, end_position);
}

/* Every claim whose bytes are whole, up to the first whose are not. */
static void take_committed(void)
{
    while (claim_count > 0 && claims[claim_first].committed) {
        struct claim claim = claims[claim_first];
        claim_first = (claim_first + 1) % CLAIMS_MAX;
        claim_count--;
        for (uint32_t at = 0; at < claim.bytes;) {
            const struct hf_record *record = (const struct hf_record *)(const void *)(bytes + claim.offset + at);
            at += record->length;
            add_record(record, claim.offset + at - record->length, claim.position + at);
        }
    }
}

void sim_history_claimed(const struct hf_log_claim *claim)
{
    assert(claim_count < CLAIMS_MAX);
    claims[(claim_first + claim_count++) % CLAIMS_MAX] = (struct claim){.position = claim->position, .bytes = claim->bytes};
}

void sim_history_committed(const struct hf_log_claim *claim)
{
    for (uint32_t i = 0; i < claim_count; i++) {
        struct claim *known = &claims[(claim_first + i) % CLAIMS_MAX];
        if (known->position != claim->position)
            continue;
        known->offset = keep(claim->memory, claim->bytes);
        known->committed = true;
        take_committed();
        if (claim_count == 0)
            sim_check_whole();
        return;
    }
    sim_fail("a commit at position %" PRIu64 " that nobody claimed", claim->position);
}

void sim_history_process_died(void)
{
    if (claim_count > 0)
        sim_check_torn();
    claim_count = 0;
}

bool sim_history_is_whole(void)
{
    return claim_count == 0;
}

uint64_t sim_history_count(void)
{
    return count;
}

uint64_t sim_history_position(void)
{
    return count == 0 ? 0 : entries[count - 1].end_position;
}

const struct sim_entry *sim_history_entry(uint64_t index)
{
    return &entries[index];
}

const struct hf_record *sim_history_record(uint64_t index)
{
    return (const struct hf_record *)(const void *)(bytes + entries[index].offset);
}

/* ---- recovery ---- */

void sim_history_recovery_begins(void)
{
    recovered = 0;
}

void sim_history_recovered(const struct hf_record *record, uint64_t end_position)
{
    if (recovered >= count) {
        sim_fail("recovery found a record that ends at %" PRIu64 ", beyond the %" PRIu64 " that were ever made", end_position, count);
        return;
    }
    const struct sim_entry *entry = &entries[recovered];
    const struct hf_record *made = sim_history_record(recovered);
    if (entry->end_position != end_position || made->length != record->length || memcmp(made, record, record->length) != 0)
        sim_fail("record %" PRIu64 " was recovered at %" PRIu64 " other than it was made at %" PRIu64, recovered, end_position,
                 entry->end_position);
    recovered++;
}

static void forget_from(uint64_t kept)
{
    count = kept;
    memset(slots, 0, sizeof slots);
    for (uint64_t i = 0; i < count; i++)
        remember(i);
}

uint64_t sim_history_restarted(void)
{
    uint64_t cut = count - recovered;
    sim_note("recovered %" PRIu64 " of %" PRIu64 " records", recovered, count);
    if (cut > 0) {
        forget_from(recovered);
        sim_check_cut();
    }
    if (sim_history_position() < acknowledged)
        sim_fail("recovery ends at position %" PRIu64 ", but a client was told of changes up to %" PRIu64, sim_history_position(),
                 acknowledged);
    return cut;
}

void sim_history_acknowledged(uint64_t position)
{
    if (position > acknowledged)
        acknowledged = position;
}

uint64_t sim_history_acknowledged_position(void)
{
    return acknowledged;
}
