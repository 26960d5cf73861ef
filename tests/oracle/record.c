/* One record of the log: may this have happened, and what is so now? */
#include "tests/oracle/oracle_p.h"

#include "wire/record_check.h"

struct hf_m_cell *hf_model_write_cell(struct hf_oracle *oracle, const struct hf_sku *sku, uint32_t location)
{
    struct hf_key key = hf_model_key_cell(sku, location);
    return hf_model_store_write(&oracle->store[HF_CELLS], &key);
}

struct hf_m_order *hf_model_write_order(struct hf_oracle *oracle, struct hf_id id)
{
    struct hf_key key = hf_model_key_id(id);
    return hf_model_store_write(&oracle->store[HF_ORDERS], &key);
}

struct hf_touch hf_model_taking_touch(const struct hf_taking *taking, uint32_t i, struct hf_sku *sku)
{
    const uint8_t *at = (const uint8_t *)(taking->record + 1);
    if (taking->place) {
        *sku = hf_command_lines(taking->command)[i].sku;
        return ((const struct hf_touch *)(const void *)at)[i];
    }
    const struct hf_named_touch *named = (const struct hf_named_touch *)(const void *)at + i;
    *sku = named->sku;
    return named->touch;
}

bool hf_model_taking_touch_check(struct hf_taking *taking, uint32_t i)
{
    struct hf_oracle *oracle = taking->oracle;
    struct hf_sku sku;
    struct hf_touch touch = hf_model_taking_touch(taking, i, &sku);
    struct hf_view after = {oracle, HF_NEWEST, taking->record->time_ns};
    const struct hf_m_cell *cell = hf_model_view_cell(&after, &sku, touch.location);
    bool stock = hf_opcode_family(taking->command->opcode) == HF_FAMILY_STOCK;
    if (touch.flags & ~(HF_TOUCH_OVERSOLD | (stock ? HF_TOUCH_NEGATIVE | HF_TOUCH_OTHER_BUCKET : 0)))
        return hf_model_fault(oracle, taking->position, "touch %u has the unknown flags %u", i, touch.flags);
    if (!cell)
        return hf_model_fault(oracle, taking->position, "touch %u is of a cell at location %u that nothing was ever at", i, touch.location);
    if (touch.sellable != cell->bucket[HF_SELLABLE] || touch.reserved != cell->reserved || touch.allocated != cell->allocated)
        return hf_model_fault(oracle, taking->position,
                              "touch %u (location %u): expected sellable %lld, reserved %lld, allocated %lld, seen %d, %d, %d", i,
                              touch.location, (long long)cell->bucket[HF_SELLABLE], (long long)cell->reserved, (long long)cell->allocated,
                              touch.sellable, touch.reserved, touch.allocated);
    if (touch.cell_version != cell->version)
        return hf_model_fault(oracle, taking->position, "touch %u (location %u): expected cell version %llu, seen %llu", i, touch.location,
                              (unsigned long long)cell->version, (unsigned long long)touch.cell_version);
    bool oversold = hf_model_view_available(&after, &sku, touch.location) < 0;
    if (((touch.flags & HF_TOUCH_OVERSOLD) != 0) != oversold)
        return hf_model_fault(oracle, taking->position, "touch %u (location %u): expected the flag OVERSOLD %s, as %lld are available", i,
                              touch.location, oversold ? "set" : "clear", (long long)hf_model_view_available(&after, &sku, touch.location));
    if (cell->reserved < 0 || cell->allocated < 0)
        return hf_model_fault(oracle, taking->position, "I1: reserved %lld, allocated %lld at location %u", (long long)cell->reserved,
                              (long long)cell->allocated, touch.location);
    return true;
}

/* The partitions whose time the record moves: its home, that of every cell it touched, and that of its request key. */
static bool step_times(struct hf_taking *taking, bool apply)
{
    struct hf_oracle *oracle = taking->oracle;
    const struct hf_record *record = taking->record;
    /* A mark is not ordered in its home: it stands for partitions of its class alone. */
    if (taking->command->opcode == HF_MARK)
        return true;
    struct hf_request_key request;
    bool keyed = hf_command_request_key(taking->command, &request);
    for (uint32_t i = 0; i <= record->line_count + (keyed ? 1u : 0u); i++) {
        uint32_t partition = i == record->line_count ? record->home : 0;
        if (i > record->line_count)
            partition = hf_partition(hf_request_key_route(&request), oracle->options.partitions);
        if (i < record->line_count) {
            struct hf_sku sku;
            hf_model_taking_touch(taking, i, &sku);
            partition = hf_partition(hf_route(&sku), oracle->options.partitions);
        }
        struct hf_key key = hf_model_key_number(partition);
        const struct hf_m_partition *old = hf_model_store_at(&oracle->store[HF_PARTITIONS], &key, HF_NEWEST);
        if (old && old->time_ns > record->time_ns)
            return hf_model_fault(oracle, taking->position, "time went back within partition %u: from %llu to %llu ns", partition,
                                  (unsigned long long)old->time_ns, (unsigned long long)record->time_ns);
        if (apply && (!old || old->time_ns < record->time_ns))
            ((struct hf_m_partition *)hf_model_store_write(&oracle->store[HF_PARTITIONS], &key))->time_ns = record->time_ns;
    }
    return true;
}

static const struct hf_command *keep_command(struct hf_oracle *oracle, const struct hf_command *command)
{
    return memcpy(hf_oracle_take(oracle, command->length), command, command->length);
}

static void remember(struct hf_taking *taking)
{
    struct hf_oracle *oracle = taking->oracle;
    const struct hf_command *command = taking->command;
    struct hf_key key = hf_model_key_scope(oracle, command), bare = hf_model_key_id(command->id);
    struct hf_m_seen *seen = hf_model_store_write(&oracle->store[HF_SEEN], &bare);
    struct hf_m_id *id = hf_model_store_write(&oracle->store[HF_IDS], &key);
    *id = (struct hf_m_id){.command = keep_command(oracle, command),
                           .position = taking->position,
                           .time_ns = taking->record->time_ns,
                           .due_ns = taking->record->due_ns,
                           .version = taking->record->state_version,
                           .result = taking->record->result,
                           .state = taking->record->order,
                           .payment = taking->record->payment,
                           .fulfilment = taking->record->fulfilment,
                           .place = taking->place};
    bool verb = hf_opcode_family(command->opcode) == HF_FAMILY_ORDER && !taking->place && taking->record->result != HF_REFUND_DUE;
    if (verb)
        id->order = command->body.verb.order;
    else if (!taking->place)
        *seen = (struct hf_m_seen){key, true};
    taking->id = id;
    struct hf_request_key request;
    if (!hf_command_request_key(command, &request))
        return;
    key = hf_model_key_request(&request);
    ((struct hf_m_key *)hf_model_store_write(&oracle->store[HF_KEYS], &key))->command = id->command;
}

static bool take_family(struct hf_taking *taking)
{
    switch (hf_opcode_family(taking->command->opcode)) {
    case HF_FAMILY_DEFINE:
        return hf_model_taking_define(taking);
    case HF_FAMILY_STOCK:
        return hf_model_taking_stock(taking);
    case HF_FAMILY_ORDER:
        return taking->place ? hf_model_taking_place(taking) : hf_model_taking_verb(taking);
    default:
        return hf_model_taking_internal(taking);
    }
}

/* A client's command: the outcome must be one that is allowed, and one that is worth a record. */
static bool judge_client(struct hf_taking *taking)
{
    struct hf_oracle *oracle = taking->oracle;
    const struct hf_record *record = taking->record;
    const struct hf_command *command = taking->command;
    uint16_t detail;
    int form = hf_command_check(command, command->length, &detail);
    if (form != HF_OK)
        return hf_model_fault(oracle, taking->position, "a command of bad form (%s) was recorded", hf_result_name((unsigned)form));
    struct hf_oracle_allowed allowed;
    hf_model_judge(&taking->before, command, &allowed);
    allowed.results &= ~oracle->options.allowed_from_client;
    const struct hf_m_id *known = hf_model_view_id(&taking->before, command);
    if (known)
        return hf_model_fault(oracle, taking->position, "%s recorded as its outcome, though its id had its effect at position %llu (%s)",
                              hf_result_name(record->result), (unsigned long long)known->position,
                              hf_model_opcode_name(known->command->opcode));
    if (allowed.repeated)
        return hf_model_fault(oracle, taking->position, "%s recorded as its outcome, though its request key stands for another id",
                              hf_result_name(record->result));
    uint64_t worth = hf_bit(HF_OK) | hf_bit(HF_STOCK_LOST) | hf_bit(HF_REFUND_DUE);
    if (record->result >= HF_RESULT_COUNT || !(allowed.results & worth & hf_bit(record->result)))
        return hf_model_fault(oracle, taking->position, "expected %s, seen %s recorded", hf_model_results_text(allowed.results),
                              hf_result_name(record->result));
    uint32_t home = hf_partition(hf_id_route(command->id), oracle->options.partitions);
    if (record->home != home)
        return hf_model_fault(oracle, taking->position, "expected home %u by the id's route, seen %u", home, record->home);
    return true;
}

static void note_moment(struct hf_oracle *oracle, uint64_t position, uint64_t time_ns)
{
    oracle->position = position;
    if (time_ns > oracle->time_ns)
        oracle->time_ns = time_ns;
    hf_oracle_note(oracle, position, time_ns);
}

bool hf_oracle_record(struct hf_oracle *oracle, const void *bytes, size_t available, uint64_t end_position)
{
    struct hf_taking taking = {.oracle = oracle, .record = bytes, .position = end_position};
    oracle->subject = NULL;
    if (end_position <= oracle->position)
        return hf_model_fault(oracle, end_position, "expected a record beyond position %llu", (unsigned long long)oracle->position);
    if (!hf_record_check(taking.record, available, &taking.command))
        return hf_model_fault(oracle, end_position, "the bytes are no record of the documented form");
    oracle->subject = taking.command;
    oracle->applying = end_position;
    taking.place = taking.command->opcode == HF_PLACE;
    taking.before = (struct hf_view){oracle, HF_NEWEST, taking.record->time_ns};
    taking.intents = (const struct hf_intent *)(const void *)((const uint8_t *)bytes +
                                                              hf_outcome_bytes(&(struct hf_record){.line_count = taking.record->line_count},
                                                                               taking.place));
    bool internal = hf_opcode_family(taking.command->opcode) == HF_FAMILY_INTERNAL;
    if (taking.record->flags != 0)
        return hf_model_fault(oracle, end_position, "expected no flags of the record, seen %u", taking.record->flags);
    if (!step_times(&taking, false) || (!internal && !judge_client(&taking)))
        return false;
    if (!internal)
        remember(&taking);
    if (!take_family(&taking) || !step_times(&taking, true))
        return false;
    oracle->counts.records++;
    oracle->counts.by_opcode[hf_opcode_family(taking.command->opcode) & 7][taking.command->opcode & 15]++;
    note_moment(oracle, end_position, taking.record->time_ns);
    return true;
}
