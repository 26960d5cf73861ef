/* Records of definitions and of stock commands. */
#include "tests/oracle/oracle_p.h"

static bool count_check(struct hf_taking *taking, uint32_t lines, uint32_t intents)
{
    if (taking->record->line_count != lines || taking->record->intent_count != intents)
        return hf_model_fault(taking->oracle, taking->position, "expected %u touched lines and %u intents, seen %u and %u", lines, intents,
                              taking->record->line_count, taking->record->intent_count);
    return true;
}

static bool no_order(struct hf_taking *taking)
{
    const struct hf_record *record = taking->record;
    if ((record->order | record->payment | record->fulfilment) != 0 || record->due_ns != 0)
        return hf_model_fault(taking->oracle, taking->position, "expected no states of an order, seen %u, %u, %u, due %llu", record->order,
                              record->payment, record->fulfilment, (unsigned long long)record->due_ns);
    return true;
}

static struct hf_name name_of(const struct hf_command *command)
{
    struct hf_name name = {.bytes = 0};
    const uint8_t *text = hf_command_extension(command, HF_EXT_NAME, &name.bytes);
    name.loose = name.bytes > sizeof name.text;
    if (text && !name.loose)
        memcpy(name.text, text, name.bytes);
    return name;
}

static struct hf_m_sku *write_sku(struct hf_oracle *oracle, const struct hf_sku *sku)
{
    struct hf_key key = hf_model_key_sku(sku);
    return hf_model_store_write(&oracle->store[HF_SKUS], &key);
}

static void loosen_flags(struct hf_oracle *oracle, const struct hf_sku *sku)
{
    for (struct hf_entry *entry = oracle->store[HF_CELLS].first; entry; entry = entry->next)
        if (entry->newest && !entry->newest->gone && entry->key.word[0] == sku->word[0] && entry->key.word[1] == sku->word[1])
            hf_model_write_cell(oracle, sku, (uint32_t)entry->key.word[2])->flag_loose = true;
}

static bool version_is(struct hf_taking *taking, uint64_t version)
{
    return taking->record->state_version == version ||
           hf_model_fault(taking->oracle, taking->position, "expected version %llu, seen %llu", (unsigned long long)version,
                          (unsigned long long)taking->record->state_version);
}

static bool touch_says(struct hf_taking *taking, int64_t delta)
{
    struct hf_sku sku;
    struct hf_touch touch = hf_model_taking_touch(taking, 0, &sku);
    const struct hf_line *line = hf_command_lines(taking->command);
    int64_t said = touch.flags & HF_TOUCH_NEGATIVE ? -(int64_t)touch.quantity : (int64_t)touch.quantity;
    bool other = touch.flags & HF_TOUCH_OTHER_BUCKET, stock = hf_opcode_family(taking->command->opcode) == HF_FAMILY_STOCK;
    if (!hf_sku_equal(&sku, &line->sku) || touch.location != line->location || touch.index != 0)
        return hf_model_fault(taking->oracle, taking->position, "the touch is not of the command's cell at location %u", line->location);
    if (said != delta || other != (stock && taking->command->arg != HF_SELLABLE))
        return hf_model_fault(taking->oracle, taking->position, "expected a change by %lld of bucket %u, seen %lld%s", (long long)delta,
                              taking->command->arg, (long long)said, other ? " of another bucket" : "");
    return hf_model_taking_touch_check(taking, 0);
}

static bool take_cell_policy(struct hf_taking *taking, const struct hf_line *line)
{
    struct hf_oracle *oracle = taking->oracle;
    bool fresh = !hf_model_view_cell(&taking->before, &line->sku, line->location);
    struct hf_m_cell *cell = hf_model_write_cell(oracle, &line->sku, line->location);
    cell->own_safety = true;
    cell->safety_stock = taking->command->body.policy.safety_stock;
    cell->flag_loose = true;
    if (fresh)
        write_sku(oracle, &line->sku)->cells_loose++;
    cell->version++;
    return version_is(taking, cell->version) && touch_says(taking, 0);
}

bool hf_model_taking_define(struct hf_taking *taking)
{
    struct hf_oracle *oracle = taking->oracle;
    const struct hf_command *command = taking->command;
    const struct hf_line *line = hf_command_lines(command);
    bool cell = command->opcode == HF_DEFINE_POLICY && line->location != 0;
    if (!no_order(taking) || !count_check(taking, cell ? 1 : 0, 0))
        return false;
    if (cell)
        return take_cell_policy(taking, line);
    if (!version_is(taking, 0))
        return false;
    if (command->opcode == HF_DEFINE_LOCATION) {
        struct hf_key key = hf_model_key_number(command->arg);
        ((struct hf_m_location *)hf_model_store_write(&oracle->store[HF_LOCATIONS], &key))->name = name_of(command);
        return true;
    }
    struct hf_m_sku *sku = write_sku(oracle, &line->sku);
    if (command->opcode == HF_DEFINE_SKU) {
        sku->name = name_of(command);
        return true;
    }
    if (sku->safety_stock != command->body.policy.safety_stock)
        loosen_flags(oracle, &line->sku);
    sku->per_order = command->body.policy.per_order;
    sku->per_customer = command->body.policy.per_customer;
    sku->window_s = command->body.policy.window_s;
    sku->safety_stock = command->body.policy.safety_stock;
    sku->opens_ms = command->body.policy.opens_ms;
    sku->closes_ms = command->body.policy.closes_ms;
    return true;
}

static int64_t delta_of(const struct hf_command *command, const struct hf_m_cell *cell)
{
    switch (command->opcode) {
    case HF_RECEIVE:
        return hf_command_lines(command)->quantity;
    case HF_ADJUST:
        return command->body.stock.value;
    default:
        return command->body.stock.value - cell->bucket[command->arg];
    }
}

bool hf_model_taking_stock(struct hf_taking *taking)
{
    struct hf_oracle *oracle = taking->oracle;
    const struct hf_command *command = taking->command;
    const struct hf_line *line = hf_command_lines(command);
    if (!no_order(taking) || !count_check(taking, 1, 0))
        return false;
    const struct hf_m_cell *old = hf_model_view_cell(&taking->before, &line->sku, line->location);
    bool fresh = !old, first = !old || !old->stocked;
    struct hf_m_cell *cell = hf_model_write_cell(oracle, &line->sku, line->location);
    int64_t delta = delta_of(command, cell);
    cell->bucket[command->arg] += delta;
    cell->moved[command->arg] += delta;
    /* To set what is there already may be no change. */
    cell->version += delta != 0 || taking->record->state_version == cell->version + 1;
    cell->stocked = true;
    cell->flag_loose = false;
    if (first) {
        struct hf_m_sku *sku = write_sku(oracle, &line->sku);
        sku->cells++;
        sku->cells_loose -= !fresh;
    }
    if (command->opcode == HF_SET && (command->flags & HF_FLAG_SOURCE)) {
        cell->followed = true;
        cell->source = command->body.stock.source;
        cell->sequence = command->body.stock.sequence;
    }
    for (int i = 0; i < 3; i++)
        taking->id->value += (uint64_t)cell->bucket[i];
    /* A set says what it set, an adjustment by how much. */
    return version_is(taking, cell->version) && touch_says(taking, command->opcode == HF_SET ? command->body.stock.value : delta);
}
