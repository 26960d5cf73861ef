/* I1 to I7 over the whole state, each sum made anew from what it is a sum of. */
#include "tests/oracle/oracle_p.h"

static const void *newest(const struct hf_entry *entry)
{
    return entry->newest && !entry->newest->gone ? entry->newest->value : NULL;
}

struct hf_sum {
    int64_t reserved, allocated;
};

/* Sums by cell or by (SKU, customer), in a store of their own. */
static void add_up(struct hf_store *sums, struct hf_key key, int64_t reserved, int64_t allocated)
{
    struct hf_sum *sum = hf_model_store_write(sums, &key);
    sum->reserved += reserved;
    sum->allocated += allocated;
}

/* Units of orders that are not over, by window: the counter must have them (it may have more: it outlives orders). */
static bool limits_check(struct hf_oracle *oracle, const struct hf_store *by_window)
{
    for (const struct hf_entry *entry = by_window->first; entry; entry = entry->next) {
        const struct hf_sum *sum = newest(entry);
        struct hf_key key = {{entry->key.word[0], entry->key.word[1], entry->key.word[2]}};
        const struct hf_m_limit *limit = hf_model_store_at(&oracle->store[HF_LIMITS], &key, HF_NEWEST);
        const struct hf_m_window *window = limit ? hf_model_limit_window(limit, entry->key.word[3], (uint32_t)entry->key.word[4]) : NULL;
        if (window && window->units + window->loose < sum->reserved)
            return hf_model_fault(
                oracle, oracle->position, "I6: customer %llu has %lld units of a SKU in a window, counted are %lld and %lld",
                (unsigned long long)key.word[2], (long long)sum->reserved, (long long)window->units, (long long)window->loose);
    }
    return true;
}

static void count_units(const struct hf_m_order *order, struct hf_store *by_window)
{
    for (uint32_t i = 0; i < order->line_count; i++) {
        const struct hf_m_line *line = &order->lines[i];
        if (line->counted)
            add_up(by_window, (struct hf_key){{line->sku.word[0], line->sku.word[1], order->customer, line->start_ms, line->length_s}},
                   line->quantity, 0);
    }
}

static bool order_check(struct hf_oracle *oracle, const struct hf_m_order *order, struct hf_store *by_cell, struct hf_store *by_window)
{
    const bool live = order->state == HF_HELD || order->state == HF_CONFIRMED;
    if ((order->state == HF_HELD) != (order->due_ns != 0) && order->state != HF_EXPIRED)
        return hf_model_fault(oracle, oracle->position, "I5: an order in state %u with a hold that ends at %llu", order->state,
                              (unsigned long long)order->due_ns);
    if (!order->money_loose && (order->refunded < 0 || order->refunded > order->captured || order->captured > order->authorised))
        return hf_model_fault(oracle, oracle->position, "I7: refunded %lld, captured %lld, authorised %lld", (long long)order->refunded,
                              (long long)order->captured, (long long)order->authorised);
    if (live || order->state == HF_CLOSED)
        count_units(order, by_window);
    for (uint32_t i = 0; live && i < order->line_count; i++) {
        const struct hf_m_line *line = &order->lines[i];
        int64_t units = line->quantity;
        add_up(by_cell, hf_model_key_cell(&line->sku, line->location), order->state == HF_HELD ? units : 0,
               order->state == HF_HELD ? 0 : units);
    }
    return true;
}

static bool cell_check(struct hf_oracle *oracle, const struct hf_entry *entry, const struct hf_store *by_cell)
{
    static const struct hf_sum none;
    const struct hf_m_cell *cell = newest(entry);
    const struct hf_sum *sum = cell ? hf_model_store_at(by_cell, &entry->key, HF_NEWEST) : NULL;
    if (!cell)
        return true;
    if (!sum)
        sum = &none;
    uint32_t location = (uint32_t)entry->key.word[2];
    if (cell->reserved != sum->reserved || cell->allocated != sum->allocated)
        return hf_model_fault(oracle, oracle->position,
                              "I3: location %u has reserved %lld, allocated %lld, but its live orders %lld and %lld", location,
                              (long long)cell->reserved, (long long)cell->allocated, (long long)sum->reserved, (long long)sum->allocated);
    for (int i = 0; i < 3; i++)
        if (cell->bucket[i] != cell->moved[i])
            return hf_model_fault(oracle, oracle->position, "I2: bucket %d at location %u has %lld, moved were %lld", i, location,
                                  (long long)cell->bucket[i], (long long)cell->moved[i]);
    return true;
}

bool hf_oracle_invariants(struct hf_oracle *oracle)
{
    struct hf_store by_cell, by_window;
    bool good = true;
    oracle->subject = NULL;
    hf_model_store_open(&by_cell, oracle, sizeof(struct hf_sum));
    hf_model_store_open(&by_window, oracle, sizeof(struct hf_sum));
    for (struct hf_entry *entry = oracle->store[HF_ORDERS].first; good && entry; entry = entry->next)
        good = !newest(entry) || order_check(oracle, newest(entry), &by_cell, &by_window);
    for (struct hf_entry *entry = oracle->store[HF_CELLS].first; good && entry; entry = entry->next)
        good = cell_check(oracle, entry, &by_cell);
    good = good && limits_check(oracle, &by_window);
    hf_model_store_close(&by_cell);
    hf_model_store_close(&by_window);
    return good;
}
