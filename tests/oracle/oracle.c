/* The oracle as a whole: its life, its memory of moments, walks over everything. */
#include "tests/oracle/oracle_p.h"

#include <stdlib.h>

static const size_t value_bytes[HF_THINGS] = {
    [HF_SKUS] = sizeof(struct hf_m_sku),     [HF_LOCATIONS] = sizeof(struct hf_m_location),   [HF_CELLS] = sizeof(struct hf_m_cell),
    [HF_LIMITS] = sizeof(struct hf_m_limit), [HF_ORDERS] = sizeof(struct hf_m_order),         [HF_IDS] = sizeof(struct hf_m_id),
    [HF_SEEN] = sizeof(struct hf_m_seen),    [HF_PARTITIONS] = sizeof(struct hf_m_partition), [HF_KEYS] = sizeof(struct hf_m_key),
};

struct hf_oracle *hf_oracle_create(const struct hf_oracle_options *options)
{
    struct hf_oracle *oracle = calloc(1, sizeof *oracle);
    if (!oracle)
        return NULL;
    oracle->options = *options;
    for (int thing = 0; thing < HF_THINGS; thing++)
        hf_model_store_open(&oracle->store[thing], oracle, (value_bytes[thing] + 7) & ~(size_t)7);
    return oracle;
}

void hf_oracle_destroy(struct hf_oracle *oracle)
{
    if (!oracle)
        return;
    for (int thing = 0; thing < HF_THINGS; thing++)
        hf_model_store_close(&oracle->store[thing]);
    hf_oracle_give_all(oracle);
    free(oracle->moments);
    free(oracle);
}

const char *hf_oracle_fault(const struct hf_oracle *oracle)
{
    return oracle->fault;
}

void hf_oracle_predict(struct hf_oracle *oracle, const struct hf_command *command, uint64_t time_ns, struct hf_oracle_allowed *allowed)
{
    hf_model_judge(&(struct hf_view){oracle, HF_NEWEST, time_ns}, command, allowed);
}

void hf_oracle_note(struct hf_oracle *oracle, uint64_t position, uint64_t time_ns)
{
    if (!oracle->options.history)
        return;
    if (oracle->moment_count == oracle->moment_room) {
        oracle->moment_room = oracle->moment_room ? oracle->moment_room * 2 : 1024;
        oracle->moments = realloc(oracle->moments, oracle->moment_room * sizeof *oracle->moments);
        if (!oracle->moments)
            abort();
    }
    oracle->moments[oracle->moment_count++] = (struct hf_moment){position, time_ns};
}

bool hf_oracle_restart(struct hf_oracle *oracle, uint64_t position)
{
    oracle->subject = NULL;
    if (position < oracle->acknowledged)
        return hf_model_fault(oracle, position, "the log ends here after a restart, but what ended at %llu had been acknowledged",
                              (unsigned long long)oracle->acknowledged);
    if (position >= oracle->position)
        return true;
    if (!oracle->options.history || position < oracle->keep_from)
        return hf_model_fault(oracle, position, "the oracle keeps no states so old");
    for (int thing = 0; thing < HF_THINGS; thing++)
        hf_model_store_cut(&oracle->store[thing], position);
    while (oracle->moment_count > 0 && oracle->moments[oracle->moment_count - 1].position > position)
        oracle->moment_count--;
    oracle->position = position;
    oracle->time_ns = 0;
    for (size_t i = 0; i < oracle->moment_count; i++)
        if (oracle->moments[i].time_ns > oracle->time_ns)
            oracle->time_ns = oracle->moments[i].time_ns;
    oracle->counts.lines = 0;
    for (struct hf_entry *entry = oracle->store[HF_ORDERS].first; entry; entry = entry->next)
        if (entry->newest && !entry->newest->gone)
            oracle->counts.lines += ((const struct hf_m_order *)(const void *)entry->newest->value)->line_count;
    return true;
}

void hf_oracle_keep_from(struct hf_oracle *oracle, uint64_t position)
{
    if (position > oracle->keep_from)
        oracle->keep_from = position;
}

static bool walk_orders(struct hf_oracle *oracle, bool gone, bool (*visit)(void *context, struct hf_id order), void *context)
{
    for (struct hf_entry *entry = oracle->store[HF_ORDERS].first; entry; entry = entry->next)
        if (entry->newest && entry->newest->gone == gone && !visit(context, (struct hf_id){entry->key.word[0], entry->key.word[1]}))
            return false;
    return true;
}

bool hf_oracle_each_order(struct hf_oracle *oracle, bool (*visit)(void *context, struct hf_id order), void *context)
{
    return walk_orders(oracle, false, visit, context);
}

bool hf_oracle_each_gone(struct hf_oracle *oracle, bool (*visit)(void *context, struct hf_id order), void *context)
{
    return walk_orders(oracle, true, visit, context);
}

bool hf_oracle_each_cell(struct hf_oracle *oracle, bool (*visit)(void *context, struct hf_sku sku, uint32_t location), void *context)
{
    for (struct hf_entry *entry = oracle->store[HF_CELLS].first; entry; entry = entry->next)
        if (entry->newest && !entry->newest->gone &&
            !visit(context, (struct hf_sku){{entry->key.word[0], entry->key.word[1]}}, (uint32_t)entry->key.word[2]))
            return false;
    return true;
}

bool hf_oracle_each_sku(struct hf_oracle *oracle, bool (*visit)(void *context, struct hf_sku sku), void *context)
{
    for (struct hf_entry *entry = oracle->store[HF_SKUS].first; entry; entry = entry->next)
        if (entry->newest && !entry->newest->gone && !visit(context, (struct hf_sku){{entry->key.word[0], entry->key.word[1]}}))
            return false;
    return true;
}

uint64_t hf_oracle_position(const struct hf_oracle *oracle)
{
    return oracle->position;
}

uint64_t hf_oracle_time_ns(const struct hf_oracle *oracle)
{
    return oracle->time_ns;
}

uint64_t hf_oracle_mark_ms(const struct hf_oracle *oracle, uint32_t partition)
{
    return hf_model_view_mark(&(struct hf_view){oracle, HF_NEWEST, 0}, (uint16_t)partition);
}

uint64_t hf_oracle_next_due_ns(const struct hf_oracle *oracle, uint32_t partition)
{
    uint64_t least = UINT64_MAX;
    for (const struct hf_entry *entry = oracle->store[HF_ORDERS].first; entry; entry = entry->next) {
        const struct hf_m_order *order = entry->newest && !entry->newest->gone ? (const void *)entry->newest->value : NULL;
        if (order && order->state == HF_HELD && order->due_ns < least &&
            hf_partition(hf_id_route(order->id), oracle->options.partitions) == partition)
            least = order->due_ns;
    }
    return least;
}

bool hf_oracle_all_forgotten(struct hf_oracle *oracle)
{
    const struct hf_view view = {oracle, HF_NEWEST, 0};
    oracle->subject = NULL;
    for (const struct hf_entry *entry = oracle->store[HF_IDS].first; entry; entry = entry->next) {
        const struct hf_m_id *id = entry->newest && !entry->newest->gone ? (const void *)entry->newest->value : NULL;
        if (!id || id->maybe_gone || !hf_id_none(id->order))
            continue;
        uint64_t mark = hf_model_view_mark(&view, hf_id_route(id->command->id));
        oracle->subject = id->command;
        const struct hf_m_order *order = id->place ? hf_model_view_order(&view, id->command->id) : NULL;
        if (hf_id_ms(id->command->id) <= mark && !(order && hf_model_order_kept(order, mark)))
            return hf_model_fault(oracle, id->position, "still remembered, though its time has come");
    }
    for (const struct hf_entry *entry = oracle->store[HF_KEYS].first; entry; entry = entry->next) {
        const struct hf_m_key *key = entry->newest && !entry->newest->gone ? (const void *)entry->newest->value : NULL;
        oracle->subject = key ? key->command : NULL;
        if (key && !hf_model_view_key_held(&view, key))
            return hf_model_fault(oracle, oracle->position, "its request key is still there, though its id is forgotten");
    }
    return true;
}

void hf_oracle_counts(const struct hf_oracle *oracle, struct hf_oracle_counts *out)
{
    *out = oracle->counts;
    out->skus = oracle->store[HF_SKUS].live;
    out->cells = oracle->store[HF_CELLS].live;
    out->orders = oracle->store[HF_ORDERS].live;
    out->ids = oracle->store[HF_IDS].live;
    out->keys = oracle->store[HF_KEYS].live;
    out->gone = oracle->store[HF_ORDERS].entries - oracle->store[HF_ORDERS].live;
}
