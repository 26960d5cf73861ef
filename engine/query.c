/* What the tables hold, read for an answer. Nothing is changed or logged. */
#include "engine/engine_p.h"

static void *items(const struct hf_run *run)
{
    return run->answer + 1;
}

static void items_count(struct hf_run *run, unsigned count, uint32_t bytes)
{
    run->answer->item_count = (uint16_t)(run->answer->item_count + count);
    run->answer->length += bytes;
}

static void fill_order(struct hf_order_item *item, const struct hf_partition *home, const struct hf_order *order)
{
    *item = (struct hf_order_item){.id = order->id,
                                   .customer = order->customer,
                                   .channel = order->channel,
                                   .line_count = order->line_count,
                                   .placed_ns = order->placed_ns,
                                   .changed_ns = order->changed_ns,
                                   .mode = HF_ALL_OR_NOTHING,
                                   .intents = order->intents};
    if (order->side == 0)
        return;
    const struct hf_order_side *side = hf_side_at(home, order->side);
    item->authorised = side->authorised;
    item->captured = side->captured;
    item->refunded = side->refunded;
    memcpy(item->currency, side->currency, sizeof item->currency);
}

static void get_order(struct hf_run *run)
{
    struct hf_id id = run->command->body.verb.order;
    uint32_t slot = hf_order_find(run->home, hf_hash_id(run->engine, id), id);
    if (slot == 0) {
        hf_refuse(run, HF_UNKNOWN_ORDER, 0);
        return;
    }
    struct hf_order *order = hf_order_at(run->home, slot);
    struct hf_order_item *item = items(run);
    struct hf_order_line_item *out = (struct hf_order_line_item *)(void *)(item + 1);
    struct hf_order_walk walk;
    uint32_t first = run->command->arg < order->line_count ? run->command->arg : order->line_count, count = order->line_count - first;
    fill_order(item, run->home, order);
    for (struct hf_order_line *line = hf_order_line_first(&walk, run->home, order); line; line = hf_order_line_next(&walk)) {
        if (walk.index < first)
            continue;
        out[walk.index - first] = (struct hf_order_line_item){.sku = line->sku,
                                                              .location = line->location,
                                                              .quantity = line->quantity,
                                                              .price = line->place >> 16,
                                                              .shipped = order->fulfilment == HF_SHIPPED ? line->quantity : 0};
    }
    hf_answer_order(run->answer, order);
    items_count(run, 1u + count, (uint32_t)(sizeof *item + count * sizeof *out));
}

static void get_cell(struct hf_run *run)
{
    const struct hf_line *line = hf_command_lines(run->command);
    uint32_t slot = hf_cell_find(run->home, hf_hash_cell(run->engine, &line->sku, line->location), &line->sku, line->location);
    run->answer->due_ns = run->now_ns;
    if (slot != 0) {
        const struct hf_cell *cell = hf_cell_at(run->home, slot);
        hf_cell_item_fill(items(run), cell);
        run->answer->version = hf_cell_version(cell);
        run->answer->value = (uint64_t)((int64_t)cell->sellable + cell->damaged + cell->quality_control);
        items_count(run, 1, sizeof(struct hf_cell_item));
    } else if (hf_sku_find(run->engine, run->home, &line->sku) == 0) {
        hf_refuse(run, HF_UNKNOWN_SKU, 0);
    } else {
        hf_refuse(run, hf_location_find(run->engine, line->location) == 0 ? HF_UNKNOWN_LOCATION : HF_NOT_FOUND, 0);
    }
}

static void get_sku(struct hf_run *run)
{
    uint32_t slot = hf_sku_find(run->engine, run->home, &hf_command_lines(run->command)->sku), skip = run->command->arg, count = 0;
    run->answer->due_ns = run->now_ns;
    if (slot == 0) {
        hf_refuse(run, HF_UNKNOWN_SKU, 0);
        return;
    }
    const struct hf_sku_row *sku = hf_sku_at(run->home, slot);
    struct hf_sku_item *item = items(run);
    *item = (struct hf_sku_item){.sku = sku->sku,
                                 .per_order = sku->per_order,
                                 .per_customer = sku->per_customer,
                                 .window_s = sku->window_s,
                                 .safety_stock = sku->safety,
                                 .opens_ms = sku->opens_ms,
                                 .closes_ms = sku->closes_ms,
                                 .cells = sku->cells,
                                 .name_bytes = sku->name_bytes};
    memcpy(item->name, sku->name, sizeof item->name);
    struct hf_cell_item *out = (struct hf_cell_item *)(void *)(item + 1);
    uint32_t at = sku->cell_first;
    for (; at != 0 && count < HF_SKU_PAGE; at = hf_cell_at(run->home, at)->next)
        if (skip > 0)
            skip--;
        else
            hf_cell_item_fill(&out[count++], hf_cell_at(run->home, at));
    if (at != 0)
        run->answer->flags |= HF_ANSWER_MORE;
    items_count(run, 1 + count, (uint32_t)(sizeof *item + count * sizeof *out));
}

static void list_locations(struct hf_run *run)
{
    const struct hf_engine *engine = run->engine;
    struct hf_location_item *out = items(run);
    uint32_t count = 0, rank = 0;
    while (rank < engine->location_count && engine->locations[engine->location_order[rank]].location < run->command->arg)
        rank++;
    for (; rank < engine->location_count && count < HF_LOCATION_PAGE; rank++, count++) {
        const struct hf_location *from = &engine->locations[engine->location_order[rank]];
        out[count] = (struct hf_location_item){.location = from->location, .name_bytes = from->name_bytes};
        memcpy(out[count].name, from->name, sizeof out[count].name);
    }
    if (rank < engine->location_count)
        run->answer->flags |= HF_ANSWER_MORE;
    run->answer->due_ns = run->now_ns;
    items_count(run, count, count * (uint32_t)sizeof *out);
}

void hf_step_query(struct hf_run *run)
{
    switch (run->command->opcode) {
    case HF_GET_ORDER:
        get_order(run);
        break;
    case HF_GET_CELL:
        get_cell(run);
        break;
    case HF_GET_SKU:
        get_sku(run);
        break;
    case HF_LIST_LOCATIONS:
        list_locations(run);
        break;
    default:
        hf_refuse(run, HF_UNKNOWN_OPCODE, 0);
        return;
    }
    run->step->reads_state = !(run->command->flags & HF_FLAG_STALE_OK);
}
