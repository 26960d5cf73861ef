/* The most common command of all, straight through: a place of one line that is granted, on a SKU without rules. Anything else about it,
 * every refusal and every repeat, is left to place.c before a byte was changed. Both must write the same; tests/engine/plain_test.c holds
 * them together. */
#include "engine/engine_p.h"

static bool judge(const struct hf_step *step, const struct hf_partition *home)
{
    const struct hf_command *command = step->command;
    uint64_t ms = hf_id_ms(command->id), latest_ms = step->latest_ns / HF_MS_NS;
    return ms > home->mark_ms && (ms <= latest_ms || ms - latest_ms <= HF_FUTURE_MS_MAX) && !step->shed &&
           command->arg - 1u < HF_TTL_MS_MAX && command->body.place.mode == HF_ALL_OR_NOTHING &&
           command->body.place.channel == HF_CHANNEL_WEB && step->quota->left[HF_TABLE_ORDERS] >= 1;
}

static void write_order(struct hf_order *order, const struct hf_command *command, uint64_t now_ns, uint32_t partition, uint32_t cell_slot)
{
    const struct hf_line *line = hf_command_lines(command);
    order->id = command->id;
    order->digest = hf_command_digest(command);
    order->customer = command->body.place.customer;
    order->due_ns = now_ns + command->arg * HF_MS_NS;
    order->placed_ns = now_ns;
    order->changed_ns = now_ns;
    order->version = 1;
    order->line_count = 1;
    order->order = HF_HELD;
    order->payment = HF_PAY_NONE;
    order->fulfilment = HF_FULFIL_NONE;
    order->extensions = 0;
    order->intents = 0;
    order->channel = command->body.place.channel;
    order->timer = (struct hf_link){0, 0};
    order->line = (struct hf_order_line){.sku = line->sku,
                                         .location = line->location,
                                         .quantity = line->quantity,
                                         .place = line->price << 16 | partition,
                                         .cell = cell_slot,
                                         .window = HF_WINDOW_NONE};
    order->lines = 0;
    order->side = 0;
}

static void write_outcome(struct hf_step *step, const struct hf_order *order, const struct hf_cell *cell, uint32_t partition)
{
    struct hf_record *record = step->record;
    const uint32_t bytes = sizeof *record + sizeof(struct hf_touch);
    *record = (struct hf_record){.length = bytes + step->command->length,
                                 .result = HF_OK,
                                 .version = HF_RECORD_VERSION,
                                 .flags = 0,
                                 .time_ns = order->placed_ns,
                                 .order = HF_HELD,
                                 .payment = 0,
                                 .fulfilment = 0,
                                 .intent_count = 0,
                                 .line_count = 1,
                                 .home = (uint16_t)partition,
                                 .due_ns = order->due_ns,
                                 .state_version = 1};
    hf_touch_fill((struct hf_touch *)(void *)(record + 1), cell, order->line.quantity, 0, 0);
    *step->answer = (struct hf_answer){.length = sizeof(struct hf_answer),
                                       .opcode = HF_PLACE,
                                       .result = HF_OK,
                                       .detail = 0,
                                       .flags = 0,
                                       .order = HF_HELD,
                                       .payment = 0,
                                       .fulfilment = 0,
                                       .item_count = 0,
                                       .position = 0,
                                       .version = 1,
                                       .due_ns = order->due_ns,
                                       .value = 0};
    step->outcome_bytes = bytes;
    step->reads_state = false;
}

bool hf_place_plain(struct hf_engine *engine, struct hf_step *step)
{
    const struct hf_command *command = step->command;
    const struct hf_line *line = hf_command_lines(command);
    const struct hf_hint *hint = step->hint;
    struct hf_partition *home = &engine->partitions[hint->partition];
    if (hf_order_find(home, hint->id_hash, command->id) != 0 || !judge(step, home))
        return false;
    uint32_t cell_slot = hint->cell_slot;
    if (!hf_cell_is(hf_cell_at(home, cell_slot), &line->sku, line->location))
        cell_slot = hf_cell_find(home, hint->cell_hash, &line->sku, line->location);
    struct hf_cell *cell = hf_cell_at(home, cell_slot);
    if (cell_slot == 0 || cell->stamp & HF_CELL_RULED || hf_cell_available(cell) < (int64_t)line->quantity)
        return false;
    uint64_t now_ns = hf_later(step->now_ns, home->last_ns);
    cell->reserved += (int32_t)line->quantity;
    hf_cell_stamp(cell, true);
    uint32_t slot = hf_pool_take(&home->orders, step->quota);
    struct hf_order *order = hf_order_at(home, slot);
    write_order(order, command, now_ns, hint->partition, cell_slot);
    hf_index_insert(&home->order_index, hint->id_hash, slot);
    hf_timer_insert(&home->order_timers, slot, order->due_ns, now_ns);
    step->quota->left[HF_TABLE_ORDERS]--;
    home->last_ns = now_ns;
    write_outcome(step, order, cell, hint->partition);
    return true;
}
