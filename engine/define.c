/* SKUs, locations and policies. */
#include "engine/engine_p.h"

/* The NAME extension, empty when there is none. False: it is too long. */
static bool name_of(struct hf_run *run, char name[HF_NAME_BYTES_MAX], uint32_t *bytes)
{
    uint16_t given = 0;
    const uint8_t *from = hf_command_extension(run->command, HF_EXT_NAME, &given);
    if (given > HF_NAME_BYTES_MAX)
        return hf_refuse(run, HF_BAD_EXTENSION, 0);
    memset(name, 0, HF_NAME_BYTES_MAX);
    if (from)
        memcpy(name, from, given);
    *bytes = from ? given : 0;
    return true;
}

static void defined(struct hf_run *run)
{
    hf_command_remember(run, HF_OK, 0);
    hf_outcome_write(run, &(struct hf_outcome){.result = HF_OK});
}

static uint32_t sku_make(struct hf_run *run, const struct hf_sku *sku)
{
    struct hf_partition *p = run->home;
    uint32_t slot = hf_pool_take(&p->skus, run->step->quota);
    *hf_sku_at(p, slot) = (struct hf_sku_row){.sku = *sku};
    hf_index_insert(&p->sku_index, hf_hash_words(run->engine, sku->word[0], sku->word[1]), slot);
    run->step->quota->left[HF_TABLE_SKUS]--;
    return slot;
}

/* Precedence: id results; WRONG_ROUTE; DRAINING; BAD_EXTENSION (a name of over 40 bytes); FULL. */
void hf_step_define_sku(struct hf_run *run)
{
    const struct hf_sku *sku = &hf_command_lines(run->command)->sku;
    char name[HF_NAME_BYTES_MAX] = {0};
    uint32_t bytes = 0;
    if (!hf_command_id_judge(run, hf_route(sku)) || !name_of(run, name, &bytes))
        return;
    uint32_t slot = hf_sku_find(run->engine, run->home, sku);
    if ((slot == 0 && !hf_room(run, HF_TABLE_SKUS, 1)) || !hf_room(run, HF_TABLE_COMMAND_IDS, 1))
        return;
    if (slot == 0)
        slot = sku_make(run, sku);
    struct hf_sku_row *row = hf_sku_at(run->home, slot);
    memcpy(row->name, name, sizeof row->name);
    row->name_bytes = bytes;
    defined(run);
}

/* How many known locations have a smaller number. */
static uint32_t location_rank(const struct hf_engine *engine, uint32_t location)
{
    uint32_t low = 0, high = engine->location_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (engine->locations[engine->location_order[middle]].location < location)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t hf_location_find(const struct hf_engine *engine, uint32_t location)
{
    uint32_t rank = location_rank(engine, location);
    if (rank == engine->location_count || engine->locations[engine->location_order[rank]].location != location)
        return 0;
    return engine->location_order[rank] + 1;
}

static uint32_t location_make(struct hf_run *run, uint32_t location)
{
    struct hf_engine *engine = run->engine;
    uint32_t rank = location_rank(engine, location), *order = engine->location_order;
    memmove(&order[rank + 1], &order[rank], (engine->location_count - rank) * sizeof *order);
    order[rank] = engine->location_count++;
    engine->locations[order[rank]] = (struct hf_location){.location = location};
    run->step->quota->left[HF_TABLE_LOCATIONS]--;
    return order[rank] + 1;
}

/* Its time is the latest of all partitions, as it comes before whatever any of them does with the location. */
static void all_times(struct hf_run *run)
{
    for (uint32_t i = 0; i <= run->engine->mask; i++)
        run->now_ns = hf_later(run->now_ns, run->engine->partitions[i].last_ns);
}

/* Precedence: id results; WRONG_ROUTE (its route is 0); DRAINING; BAD_ARGUMENT (number 0); BAD_EXTENSION; FULL. */
void hf_step_define_location(struct hf_run *run)
{
    uint32_t location = run->command->arg, bytes = 0;
    char name[HF_NAME_BYTES_MAX] = {0};
    if (!hf_command_id_judge(run, 0))
        return;
    if (location == 0) {
        hf_refuse(run, HF_BAD_ARGUMENT, 0);
        return;
    }
    if (!name_of(run, name, &bytes))
        return;
    uint32_t at = hf_location_find(run->engine, location);
    if (at == 0 && run->engine->location_count == HF_LOCATIONS_MAX) {
        hf_refuse(run, HF_FULL, HF_TABLE_LOCATIONS);
        return;
    }
    if ((at == 0 && !hf_room(run, HF_TABLE_LOCATIONS, 1)) || !hf_room(run, HF_TABLE_COMMAND_IDS, 1))
        return;
    all_times(run);
    if (at == 0)
        at = location_make(run, location);
    memcpy(run->engine->locations[at - 1].name, name, sizeof name);
    run->engine->locations[at - 1].name_bytes = bytes;
    defined(run);
}

/* The SKU's rules reach its cells: whether to look at them, and the safety stock of those that have none of their own. */
static void policy_spread(struct hf_partition *p, const struct hf_sku_row *sku)
{
    for (uint32_t at = sku->cell_first; at != 0; at = hf_cell_at(p, at)->next) {
        struct hf_cell *cell = hf_cell_at(p, at);
        cell->stamp = (cell->stamp & ~(uint64_t)HF_CELL_RULED) | (hf_sku_ruled(sku) ? HF_CELL_RULED : 0);
        if (!(cell->stamp & HF_CELL_OWN_SAFETY))
            cell->safety = (int32_t)sku->safety;
        hf_cell_stamp(cell, false);
    }
}

static void policy_of_sku(struct hf_run *run, uint32_t sku_slot)
{
    const struct hf_command *command = run->command;
    struct hf_sku_row *sku = hf_sku_at(run->home, sku_slot);
    if (!hf_room(run, HF_TABLE_COMMAND_IDS, 1))
        return;
    sku->per_order = command->body.policy.per_order;
    sku->per_customer = command->body.policy.per_customer;
    sku->window_s = command->body.policy.window_s;
    sku->safety = command->body.policy.safety_stock;
    sku->opens_ms = command->body.policy.opens_ms;
    sku->closes_ms = command->body.policy.closes_ms;
    policy_spread(run->home, sku);
    defined(run);
}

static void policy_of_cell(struct hf_run *run, uint32_t sku_slot)
{
    const struct hf_command *command = run->command;
    const struct hf_line *line = hf_command_lines(command);
    if (hf_location_find(run->engine, line->location) == 0) {
        hf_refuse(run, HF_UNKNOWN_LOCATION, 0);
        return;
    }
    uint32_t slot = hf_cell_find(run->home, hf_hash_cell(run->engine, &line->sku, line->location), &line->sku, line->location);
    if ((slot == 0 && !hf_room(run, HF_TABLE_CELLS, 1)) || !hf_room(run, HF_TABLE_COMMAND_IDS, 1))
        return;
    struct hf_cell *cell = slot ? hf_cell_at(run->home, slot)
                                : hf_cell_make(run->engine, run->home, &line->sku, sku_slot, line->location, run->step->quota);
    cell->safety = (int32_t)command->body.policy.safety_stock;
    cell->stamp |= HF_CELL_OWN_SAFETY;
    hf_cell_stamp(cell, true);
    hf_touches(run)->sku = line->sku;
    hf_touch_fill(&hf_touches(run)->touch, cell, 0, 0, 0);
    hf_command_remember(run, HF_OK, 0);
    run->answer->version = hf_cell_version(cell);
    hf_outcome_write(run, &(struct hf_outcome){.result = HF_OK, .touches = 1, .state_version = hf_cell_version(cell)});
}

/* Precedence: id results; WRONG_ROUTE; DRAINING; BAD_ARGUMENT (a safety stock beyond i32, a sale window that closes before it opens, times
 * beyond the clock, or for one cell anything but a safety stock); UNKNOWN_SKU; UNKNOWN_LOCATION; FULL. */
void hf_step_define_policy(struct hf_run *run)
{
    const struct hf_command *command = run->command;
    const struct hf_line *line = hf_command_lines(command);
    if (!hf_command_id_judge(run, hf_route(&line->sku)))
        return;
    uint64_t opens_ms = command->body.policy.opens_ms, closes_ms = command->body.policy.closes_ms;
    bool limits = (command->body.policy.per_order | command->body.policy.per_customer | command->body.policy.window_s | opens_ms |
                   closes_ms) != 0;
    if (command->body.policy.safety_stock > INT32_MAX || (closes_ms != 0 && closes_ms <= opens_ms) || (opens_ms | closes_ms) >> 48 != 0 ||
        (line->location != 0 && limits)) {
        hf_refuse(run, HF_BAD_ARGUMENT, 0);
        return;
    }
    uint32_t slot = hf_sku_find(run->engine, run->home, &line->sku);
    if (slot == 0)
        hf_refuse(run, HF_UNKNOWN_SKU, 0);
    else if (line->location == 0)
        policy_of_sku(run, slot);
    else
        policy_of_cell(run, slot);
}
