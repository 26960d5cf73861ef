/* Receive, adjust and set: one cell, one bucket. */
#include "engine/engine_p.h"

struct change {
    const struct hf_line *line;
    uint32_t sku_slot, cell_slot; /* cell_slot 0: the cell comes into being */
    const struct hf_cell *before; /* NULL with it */
    int64_t value;                /* of the bucket after it */
    int64_t moved;                /* what the touch says: delta, or the value of a set */
    bool sourced, source_row;     /* follows a source; needs a row to remember it in */
};

struct hf_cell *hf_cell_make(struct hf_engine *engine, struct hf_partition *p, const struct hf_sku *sku, uint32_t sku_slot,
                             uint32_t location, struct hf_quota *quota)
{
    struct hf_sku_row *row = hf_sku_at(p, sku_slot);
    uint32_t slot = hf_pool_take(&p->cells, quota);
    struct hf_cell *cell = hf_cell_at(p, slot);
    *cell = (struct hf_cell){.sku = *sku,
                             .location = location,
                             .sku_slot = sku_slot,
                             .safety = (int32_t)row->safety,
                             .stamp = hf_sku_ruled(row) ? HF_CELL_RULED : 0};
    if (row->cell_last != 0)
        hf_cell_at(p, row->cell_last)->next = slot;
    else
        row->cell_first = slot;
    row->cell_last = slot;
    row->cells++;
    hf_index_insert(&p->cell_index, hf_hash_cell(engine, sku, location), slot);
    quota->left[HF_TABLE_CELLS]--;
    return cell;
}

static int32_t *bucket_at(struct hf_cell *cell, uint32_t bucket)
{
    return bucket == HF_SELLABLE ? &cell->sellable : bucket == HF_DAMAGED ? &cell->damaged : &cell->quality_control;
}

static int32_t bucket_of(const struct hf_cell *cell, uint32_t bucket)
{
    if (!cell)
        return 0;
    return bucket == HF_SELLABLE ? cell->sellable : bucket == HF_DAMAGED ? cell->damaged : cell->quality_control;
}

static bool judge_form(struct hf_run *run)
{
    const struct hf_command *command = run->command;
    uint16_t bytes = 0;
    if (command->arg > HF_QUALITY_CONTROL || (command->opcode == HF_RECEIVE && command->arg == HF_DAMAGED))
        return hf_refuse(run, HF_BAD_ARGUMENT, 0);
    if (command->opcode == HF_ADJUST && command->body.stock.value == 0)
        return hf_refuse(run, HF_BAD_ARGUMENT, 0);
    if (command->opcode == HF_ADJUST && (!hf_command_extension(command, HF_EXT_REASON, &bytes) || bytes == 0))
        return hf_refuse(run, HF_BAD_EXTENSION, 0);
    bool version_unasked = !(command->flags & HF_FLAG_EXPECT_VERSION) && command->body.stock.version != 0;
    bool source_unasked = !(command->flags & HF_FLAG_SOURCE) && (command->body.stock.source | command->body.stock.sequence) != 0;
    if (command->opcode == HF_SET && (version_unasked || source_unasked))
        return hf_refuse(run, HF_RESERVED_NOT_ZERO, 0);
    return true;
}

static bool judge_names(struct hf_run *run, struct change *change)
{
    const struct hf_line *line = change->line;
    change->cell_slot = hf_cell_find(run->home, hf_hash_cell(run->engine, &line->sku, line->location), &line->sku, line->location);
    if (change->cell_slot != 0) {
        change->before = hf_cell_at(run->home, change->cell_slot);
        change->sku_slot = change->before->sku_slot;
        return true;
    }
    change->sku_slot = hf_sku_find(run->engine, run->home, &line->sku);
    if (change->sku_slot == 0)
        return hf_refuse(run, HF_UNKNOWN_SKU, 0);
    return hf_location_find(run->engine, line->location) != 0 || hf_refuse(run, HF_UNKNOWN_LOCATION, 0);
}

/* A set's conditions: the version it was read at, and the newest word of the one source that the cell follows. */
static bool judge_set(struct hf_run *run, struct change *change)
{
    const struct hf_command *command = run->command;
    uint64_t version = change->before ? hf_cell_version(change->before) : 0;
    run->answer->version = version;
    if (command->flags & HF_FLAG_EXPECT_VERSION && command->body.stock.version != version)
        return hf_refuse(run, HF_STALE_VERSION, 0);
    change->sourced = (command->flags & HF_FLAG_SOURCE) != 0;
    change->source_row = change->sourced && (!change->before || change->before->side == 0);
    if (!change->sourced || change->source_row)
        return true;
    const struct hf_source_row *known = hf_source_at(run->home, change->before->side);
    bool newer = known->source == command->body.stock.source ? command->body.stock.sequence > known->sequence
                                                             : (command->flags & HF_FLAG_FORCE) != 0;
    return newer || hf_refuse(run, HF_NOT_APPLIED, 0);
}

static bool judge_value(struct hf_run *run, struct change *change)
{
    const struct hf_command *command = run->command;
    int64_t before = bucket_of(change->before, command->arg), asked = command->body.stock.value;
    if (command->opcode == HF_RECEIVE)
        change->moved = change->line->quantity;
    else if (asked > UINT32_MAX || asked < -(int64_t)UINT32_MAX)
        return hf_refuse(run, HF_OVERFLOW, 0);
    else
        change->moved = asked;
    change->value = command->opcode == HF_SET ? asked : before + change->moved;
    if (!hf_fits_i32(change->value))
        return hf_refuse(run, HF_OVERFLOW, 0);
    /* A receipt into a bucket that stands below zero is a fact that makes it better. */
    if (change->value < 0 && command->opcode != HF_RECEIVE && !(command->flags & HF_FLAG_FORCE))
        return hf_refuse(run, HF_BELOW_ZERO, 0);
    return true;
}

static bool judge_room(struct hf_run *run, const struct change *change)
{
    return hf_room(run, HF_TABLE_CELLS, change->before ? 0 : 1) && hf_room(run, HF_TABLE_LINES, change->source_row ? 1 : 0) &&
           hf_room(run, HF_TABLE_COMMAND_IDS, 1);
}

static void follow_source(struct hf_run *run, struct hf_cell *cell)
{
    const struct hf_command *command = run->command;
    if (cell->side == 0) {
        cell->side = hf_pool_take(&run->home->lines, run->step->quota);
        run->step->quota->left[HF_TABLE_LINES]--;
    }
    *hf_source_at(run->home, cell->side) = (struct hf_source_row){.source = command->body.stock.source,
                                                                  .sequence = command->body.stock.sequence};
}

static void apply(struct hf_run *run, const struct change *change)
{
    const struct hf_command *command = run->command;
    struct hf_cell *cell = change->cell_slot ? hf_cell_at(run->home, change->cell_slot)
                                             : hf_cell_make(run->engine, run->home, &change->line->sku, change->sku_slot,
                                                            change->line->location, run->step->quota);
    if (change->sourced)
        follow_source(run, cell);
    /* Setting what is there already is not a change of the cell. */
    bool differs = bucket_of(cell, command->arg) != change->value || !change->before;
    *bucket_at(cell, command->arg) = (int32_t)change->value;
    hf_cell_stamp(cell, differs);
    unsigned flags = (change->moved < 0 ? HF_TOUCH_NEGATIVE : 0) | (command->arg != HF_SELLABLE ? HF_TOUCH_OTHER_BUCKET : 0);
    hf_touches(run)->sku = cell->sku;
    hf_touch_fill(&hf_touches(run)->touch, cell, (uint32_t)(change->moved < 0 ? -change->moved : change->moved), 0, flags);
    int64_t on_hand = (int64_t)cell->sellable + cell->damaged + cell->quality_control;
    hf_command_remember(run, HF_OK, (uint64_t)on_hand);
    run->answer->version = hf_cell_version(cell);
    run->answer->value = (uint64_t)on_hand;
    run->answer->item_count = 1;
    run->answer->length += (uint32_t)sizeof(struct hf_cell_item);
    hf_cell_item_fill((struct hf_cell_item *)(void *)(run->answer + 1), cell);
    hf_outcome_write(run, &(struct hf_outcome){.result = HF_OK, .touches = 1, .state_version = hf_cell_version(cell)});
}

/* Precedence: id results; WRONG_ROUTE; DRAINING; BAD_ARGUMENT (bucket, a delta of 0), BAD_EXTENSION (no reason), RESERVED_NOT_ZERO (a
 * condition without its flag); UNKNOWN_SKU; UNKNOWN_LOCATION; STALE_VERSION; NOT_APPLIED; OVERFLOW; BELOW_ZERO; FULL. */
void hf_step_stock(struct hf_run *run)
{
    struct change change = {.line = hf_command_lines(run->command)};
    if (!hf_command_id_judge(run, hf_route(&change.line->sku)) || !judge_form(run) || !judge_names(run, &change))
        return;
    if (run->command->opcode == HF_SET && !judge_set(run, &change))
        return;
    if (judge_value(run, &change) && judge_room(run, &change))
        apply(run, &change);
}
