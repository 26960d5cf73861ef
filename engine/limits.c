/* What a customer took of a SKU in one window of its policy. A counter lives with its SKU and outlives its orders; one that counts nothing
 * is dropped. */
#include "engine/engine_p.h"

static uint32_t limit_hash(const struct hf_engine *engine, uint64_t customer, uint32_t sku_slot)
{
    return hf_hash_words(engine, customer, 0x6c696d6974ull + sku_slot);
}

struct hf_window hf_limit_window(const struct hf_sku_row *sku, uint64_t now_ns)
{
    if (sku->window_s == 0)
        return (struct hf_window){0, 0};
    uint64_t now_ms = now_ns / HF_MS_NS, length_ms = sku->window_s * 1000ull;
    uint64_t passed_ms = now_ms > sku->opens_ms ? now_ms - sku->opens_ms : 0;
    uint64_t start_ms = sku->opens_ms + passed_ms / length_ms * length_ms;
    return (struct hf_window){.starts_ms = start_ms, .ends_ms = start_ms + length_ms};
}

uint32_t hf_limit_find(const struct hf_engine *engine, const struct hf_partition *p, uint64_t customer, uint32_t sku_slot)
{
    struct hf_index_cursor cursor;
    uint32_t slot = hf_index_first(&p->limit_index, limit_hash(engine, customer, sku_slot), &cursor);
    while (slot != 0 && (hf_limit_at(p, slot)->customer != customer || hf_limit_at(p, slot)->sku_slot != sku_slot))
        slot = hf_index_next(&p->limit_index, &cursor);
    return slot;
}

static bool in_window(const struct hf_limit *limit, struct hf_window window)
{
    return limit->starts_ms == window.starts_ms && limit->ends_ms == window.ends_ms;
}

uint64_t hf_limit_units(const struct hf_partition *p, uint32_t slot, struct hf_window window)
{
    return slot != 0 && in_window(hf_limit_at(p, slot), window) ? hf_limit_at(p, slot)->units : 0;
}

static void limit_start(struct hf_partition *p, uint32_t slot, struct hf_window window, uint64_t now_ns)
{
    struct hf_limit *limit = hf_limit_at(p, slot);
    struct hf_sku_row *sku = hf_sku_at(p, limit->sku_slot);
    hf_timer_remove(&p->limit_timers, slot);
    if (++sku->window_serial == HF_WINDOW_NONE)
        sku->window_serial = 1;
    limit->serial = sku->window_serial;
    limit->units = 0;
    limit->starts_ms = window.starts_ms;
    limit->ends_ms = window.ends_ms;
    if (window.ends_ms != 0)
        hf_timer_insert(&p->limit_timers, slot, hf_ms_to_ns(window.ends_ms), now_ns);
}

uint32_t hf_limit_count(struct hf_engine *engine, struct hf_partition *p, uint64_t customer, uint32_t sku_slot, uint32_t units,
                        struct hf_quota *quota, uint64_t now_ns)
{
    uint32_t slot = hf_limit_find(engine, p, customer, sku_slot);
    struct hf_window window = hf_limit_window(hf_sku_at(p, sku_slot), now_ns);
    if (slot == 0) {
        slot = hf_pool_take(&p->limits, quota);
        *hf_limit_at(p, slot) = (struct hf_limit){.customer = customer, .sku_slot = sku_slot};
        hf_index_insert(&p->limit_index, limit_hash(engine, customer, sku_slot), slot);
        quota->left[HF_TABLE_LIMITS]--;
    }
    if (hf_limit_at(p, slot)->units == 0 || !in_window(hf_limit_at(p, slot), window))
        limit_start(p, slot, window, now_ns);
    hf_limit_at(p, slot)->units += units;
    return hf_limit_at(p, slot)->serial;
}

void hf_limit_drop(struct hf_engine *engine, struct hf_partition *p, uint32_t slot, struct hf_quota *quota)
{
    const struct hf_limit *limit = hf_limit_at(p, slot);
    hf_timer_remove(&p->limit_timers, slot);
    hf_index_erase(&p->limit_index, limit_hash(engine, limit->customer, limit->sku_slot), slot);
    hf_pool_give(&p->limits, slot);
    quota->left[HF_TABLE_LIMITS]++;
}

void hf_limit_give_back(struct hf_engine *engine, struct hf_partition *p, uint64_t customer, const struct hf_order_line *line,
                        struct hf_quota *quota)
{
    if (line->window == HF_WINDOW_NONE)
        return;
    uint32_t slot = hf_limit_find(engine, p, customer, hf_cell_at(p, line->cell)->sku_slot);
    if (slot == 0 || hf_limit_at(p, slot)->serial != line->window)
        return;
    struct hf_limit *limit = hf_limit_at(p, slot);
    limit->units -= limit->units < line->quantity ? limit->units : line->quantity;
    if (limit->units == 0)
        hf_limit_drop(engine, p, slot, quota);
}
