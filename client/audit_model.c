#include "client/audit_model_p.h"

#include <stdlib.h>

#include "wire/error.h"
#include "wire/record_check.h"

static const uint64_t rows_max = 1ull << 28;

const char *hf_audit_kind_name(enum hf_audit_kind kind)
{
    static const char *const names[HF_AUDIT_KINDS] = {
        [HF_AUDIT_PROMISE] = "I1 promise",
        [HF_AUDIT_MOVEMENT] = "I2 movement",
        [HF_AUDIT_HOLDS] = "I3 holds",
        [HF_AUDIT_TRANSFER] = "I4 transfer",
        [HF_AUDIT_ENDS] = "I5 ends",
        [HF_AUDIT_LIMITS] = "I6 limits",
        [HF_AUDIT_MONEY] = "I7 money",
        [HF_AUDIT_ORDER_OF_TIME] = "order of time",
        [HF_AUDIT_ID] = "id",
        [HF_AUDIT_LINES] = "lines",
        [HF_AUDIT_FORM] = "form",
    };
    return kind < HF_AUDIT_KINDS && names[kind] ? names[kind] : "unknown";
}

int hf_audit_model_create(uint32_t partitions, struct hf_audit_model *model)
{
    *model = (struct hf_audit_model){.partitions = partitions};
    model->times = calloc(partitions, sizeof *model->times);
    model->marks = calloc(partitions, sizeof *model->marks);
    if (model->times && model->marks && hf_audit_rows_create(&model->cells, sizeof(struct hf_audit_cell), rows_max) == 0 &&
        hf_audit_rows_create(&model->skus, sizeof(struct hf_audit_sku), rows_max) == 0 &&
        hf_audit_rows_create(&model->locations, sizeof(struct hf_audit_key), HF_PARTITIONS_MAX) == 0 &&
        hf_audit_rows_create(&model->limits, sizeof(struct hf_audit_limit), rows_max) == 0 &&
        hf_audit_rows_create(&model->payments, sizeof(struct hf_audit_payment), rows_max) == 0 &&
        hf_audit_orders_create(&model->orders) == 0 && hf_audit_lines_create(&model->lines) == 0)
        return 0;
    hf_audit_model_destroy(model);
    return HF_E_MEMORY;
}

void hf_audit_model_destroy(struct hf_audit_model *model)
{
    struct hf_audit_rows *const rows[] = {&model->cells, &model->skus, &model->locations, &model->limits, &model->payments};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        hf_audit_rows_destroy(rows[i]);
    hf_audit_orders_destroy(&model->orders);
    hf_audit_lines_destroy(&model->lines);
    free(model->times);
    free(model->marks);
    model->times = model->marks = NULL;
}

void hf_audit_model_note(struct hf_audit_model *model, enum hf_audit_kind kind, uint64_t position, struct hf_id id, const char *what)
{
    struct hf_audit_report *report = &model->report;
    report->violations++;
    report->by_kind[kind]++;
    if (report->note_count < HF_AUDIT_NOTES_MAX)
        report->notes[report->note_count++] = (struct hf_audit_note){.position = position, .kind = kind, .id = id, .what = what};
}

static struct hf_audit_sku *sku_of(struct hf_audited *a, const struct hf_sku *sku)
{
    struct hf_audit_key key = hf_audit_key_of(sku, 0);
    struct hf_audit_sku *row = hf_audit_rows_add(&a->model->skus, &key);
    a->memory |= !row;
    return row;
}

struct hf_audit_cell *hf_audit_cell_of(struct hf_audited *a, const struct hf_sku *sku, uint32_t location, bool *made)
{
    struct hf_audit_key key = hf_audit_key_of(sku, location);
    struct hf_audit_cell *cell = hf_audit_rows_find(&a->model->cells, &key);
    *made = !cell;
    if (cell)
        return cell;
    const struct hf_audit_sku *row = sku_of(a, sku);
    cell = hf_audit_rows_add(&a->model->cells, &key);
    a->memory |= !cell;
    if (!row || !cell)
        return NULL;
    cell->sku = (uint32_t)hf_audit_row_number(&a->model->skus, row);
    return cell;
}

void hf_audit_add(const struct hf_audited *a, int32_t *field, int64_t delta)
{
    int64_t sum = *field + delta;
    hf_audit_require(a, sum >= INT32_MIN && sum <= INT32_MAX, HF_AUDIT_MOVEMENT, "a quantity left the range of 32 bits");
    *field = (int32_t)(uint32_t)(uint64_t)sum;
}

void hf_audit_touch(const struct hf_audited *a, const struct hf_audit_cell *cell, const struct hf_touch *touch)
{
    hf_audit_require(a, touch->sellable == cell->sellable, HF_AUDIT_MOVEMENT, "sellable is not the sum of the movements");
    hf_audit_require(a, touch->reserved == cell->reserved && touch->allocated == cell->allocated, HF_AUDIT_HOLDS,
                     "reserved or allocated is not the sum over the holds");
}

/* --- definitions and stock --- */

static void define_sku(struct hf_audited *a)
{
    struct hf_audit_sku *sku = sku_of(a, &hf_command_lines(a->command)->sku);
    if (sku)
        sku->defined = true;
}

static void define_location(struct hf_audited *a)
{
    struct hf_audit_key key = {{0, 0, a->command->arg}};
    a->memory |= hf_audit_rows_add(&a->model->locations, &key) == NULL;
}

static void define_policy(struct hf_audited *a)
{
    const struct hf_line *line = hf_command_lines(a->command);
    const struct hf_command *command = a->command;
    bool made;
    a->model->policies = true;
    if (line->location != 0) {
        struct hf_audit_cell *cell = hf_audit_cell_of(a, &line->sku, line->location, &made);
        if (!cell)
            return;
        cell->safety = command->body.policy.safety_stock;
        cell->own_safety = 1;
        return;
    }
    struct hf_audit_sku *sku = sku_of(a, &line->sku);
    if (!sku)
        return;
    sku->per_order = command->body.policy.per_order;
    sku->per_customer = command->body.policy.per_customer;
    sku->window_s = command->body.policy.window_s;
    sku->safety = command->body.policy.safety_stock;
    sku->opens_ms = command->body.policy.opens_ms;
}

static int32_t *bucket_of(struct hf_audit_cell *cell, uint32_t bucket)
{
    int32_t *const buckets[] = {&cell->sellable, &cell->damaged, &cell->quality_control};
    return bucket < sizeof buckets / sizeof buckets[0] ? buckets[bucket] : NULL;
}

static void stock_touch(struct hf_audited *a, const struct hf_audit_cell *cell, int64_t delta)
{
    const struct hf_named_touch *touch = (const struct hf_named_touch *)(const void *)(a->record + 1);
    hf_audit_require(a, a->record->line_count == 1, HF_AUDIT_LINES, "a stock record touches one cell");
    if (a->record->line_count != 1)
        return;
    hf_audit_require(
        a, touch->sku.word[0] == cell->key.word[0] && touch->sku.word[1] == cell->key.word[1] && touch->touch.location == cell->key.word[2],
        HF_AUDIT_LINES, "a stock record touches another cell than it names");
    hf_audit_touch(a, cell, &touch->touch);
    if (a->command->opcode != HF_SET)
        hf_audit_require(a,
                         touch->touch.quantity == (uint64_t)(delta < 0 ? -delta : delta) &&
                             ((touch->touch.flags & HF_TOUCH_NEGATIVE) != 0) == (delta < 0),
                         HF_AUDIT_MOVEMENT, "a stock record moves other units than were asked");
    bool promised = cell->reserved > 0 || cell->allocated > 0;
    if (promised && hf_audit_available(a->model, cell) < 0)
        hf_audit_require(a, (touch->touch.flags & HF_TOUCH_OVERSOLD) != 0, HF_AUDIT_PROMISE,
                         "stock fell below what is promised and the cell was not flagged");
}

static void stock(struct hf_audited *a)
{
    const struct hf_command *command = a->command;
    const struct hf_line *line = hf_command_lines(command);
    struct hf_audit_key location = {{0, 0, line->location}};
    bool made, forced = (command->flags & HF_FLAG_FORCE) != 0;
    struct hf_audit_cell *cell = hf_audit_cell_of(a, &line->sku, line->location, &made);
    int32_t *bucket = cell ? bucket_of(cell, command->arg) : NULL;
    if (!cell)
        return;
    hf_audit_require(a, bucket != NULL && a->record->result == HF_OK, HF_AUDIT_FORM, "a stock record that nothing could have written");
    if (!bucket)
        return;
    hf_audit_require(a, hf_audit_sku_at(a->model, cell->sku)->defined && hf_audit_rows_find(&a->model->locations, &location), HF_AUDIT_FORM,
                     "stock of a SKU or at a location that was never defined");
    int64_t delta = command->opcode == HF_RECEIVE ? (int64_t)line->quantity
                    : command->opcode == HF_SET   ? command->body.stock.value - *bucket
                                                  : command->body.stock.value;
    hf_audit_add(a, bucket, delta);
    hf_audit_require(a, *bucket >= 0 || delta >= 0 || forced, HF_AUDIT_MOVEMENT, "stock fell below zero without force");
    stock_touch(a, cell, delta);
}

/* --- one record --- */

static void (*handler_of(uint16_t opcode))(struct hf_audited *)
{
    static void (*const define[])(struct hf_audited *) = {NULL, define_sku, define_location, define_policy};
    static void (*const internal[])(struct hf_audited *) = {NULL, hf_audit_expire, hf_audit_mark, hf_audit_forget, NULL, NULL};
    unsigned number = opcode & 0xff;
    switch (hf_opcode_family(opcode)) {
    case HF_FAMILY_DEFINE:
        return number < 4 ? define[number] : NULL;
    case HF_FAMILY_STOCK:
        return number >= 1 && number <= 3 ? stock : NULL;
    case HF_FAMILY_ORDER:
        return opcode == HF_PLACE ? hf_audit_place : number >= 2 && number <= 6 ? hf_audit_verb : NULL;
    case HF_FAMILY_INTERNAL:
        return number < 6 ? internal[number] : NULL;
    default:
        return NULL;
    }
}

/* The partition a record must stand in; that of a mark is not one. */
static uint32_t home_expected(const struct hf_audit_model *model, const struct hf_command *command)
{
    switch (command->opcode) {
    case HF_PLACE:
        return hf_partition(hf_id_route(command->id), model->partitions);
    case HF_DEFINE_LOCATION:
        return 0;
    case HF_EXPIRE:
    case HF_FORGET:
    case HF_PURGE_LIMITS:
    case HF_PURGE_KEYS:
        return command->body.sweep.partition;
    default:
        if (hf_opcode_family(command->opcode) == HF_FAMILY_ORDER)
            return hf_partition(hf_id_route(command->body.verb.order), model->partitions);
        return hf_partition(hf_route(&hf_command_lines(command)->sku), model->partitions);
    }
}

static void sequence_check(struct hf_audited *a, uint64_t term)
{
    struct hf_audit_model *model = a->model;
    const struct hf_record *record = a->record;
    hf_audit_require(a, a->position > model->report.position && term >= model->report.term, HF_AUDIT_ORDER_OF_TIME,
                     "position or term went back");
    model->report.position = a->position;
    model->report.term = term;
    if (a->command->opcode == HF_MARK)
        return;
    hf_audit_require(a, record->home == home_expected(model, a->command), HF_AUDIT_FORM, "a record stands in another home than its ids");
    hf_audit_require(a, record->time_ns >= model->times[record->home], HF_AUDIT_ORDER_OF_TIME, "time went back within a home");
    model->times[record->home] = record->time_ns;
}

static bool needs_lines(uint16_t opcode)
{
    unsigned family = hf_opcode_family(opcode);
    return family == HF_FAMILY_STOCK || opcode == HF_DEFINE_SKU || opcode == HF_DEFINE_POLICY;
}

int hf_audit_model_apply(struct hf_audit_model *model, const struct hf_record *record, size_t bytes, uint64_t end_position, uint64_t term)
{
    struct hf_audited a = {.model = model, .record = record, .position = end_position};
    model->report.records++;
    void (*handler)(struct hf_audited *) = NULL;
    bool formed = hf_record_check(record, bytes, &a.command) && record->home < model->partitions &&
                  (!needs_lines(a.command->opcode) || a.command->line_count >= 1);
    if (formed)
        handler = handler_of(a.command->opcode);
    if (!handler && !(formed && (a.command->opcode == HF_PURGE_LIMITS || a.command->opcode == HF_PURGE_KEYS))) {
        hf_audit_model_note(model, HF_AUDIT_FORM, end_position, (struct hf_id){0, 0}, "not a record of the documented form");
        return 0;
    }
    sequence_check(&a, term);
    if (handler)
        handler(&a);
    return a.memory ? HF_E_MEMORY : 0;
}

void hf_audit_model_prefetch(const struct hf_audit_model *model, const struct hf_record *record, int stage)
{
    const struct hf_command *command;
    if (!hf_record_check(record, HF_RECORD_BYTES_MAX, &command))
        return;
    if (command->opcode == HF_PLACE) {
        const struct hf_line *line = hf_command_lines(command);
        if (stage == 0)
            hf_audit_orders_prefetch(&model->orders, command->id);
        for (uint32_t i = 0; i < command->line_count; i++) {
            struct hf_audit_key key = hf_audit_key_of(&line[i].sku, line[i].location);
            hf_audit_rows_prefetch(&model->cells, &key, stage);
        }
        return;
    }
    if (hf_opcode_family(command->opcode) == HF_FAMILY_ORDER && stage == 0)
        hf_audit_orders_prefetch(&model->orders, command->body.verb.order);
    if (command->opcode == HF_EXPIRE || command->opcode == HF_FORGET)
        for (uint32_t i = 0; stage == 0 && i < command->body.sweep.count && i < 2u * command->line_count; i++)
            hf_audit_orders_prefetch(&model->orders, hf_sweep_id(command, i));
}

/* --- the whole --- */

struct promised {
    int64_t reserved, allocated;
};

static void holds_sum(struct hf_audit_model *model, struct promised *sums)
{
    for (uint64_t i = 0; i <= model->orders.mask; i++) {
        const struct hf_audit_order *order = &model->orders.slots[i];
        if (hf_id_none(order->id) || (order->state != HF_HELD && order->state != HF_CONFIRMED))
            continue;
        const struct hf_audit_line *line = hf_audit_order_lines(model, order);
        model->report.live_orders++;
        for (uint32_t k = 0; k < order->line_count; k++)
            *(order->state == HF_HELD ? &sums[line[k].cell].reserved : &sums[line[k].cell].allocated) += line[k].quantity;
    }
}

int hf_audit_model_close(struct hf_audit_model *model)
{
    uint64_t count = model->cells.count, bytes = (count + 1) * sizeof(struct promised);
    struct promised *sums = hf_audit_reserve(bytes);
    if (!sums)
        return HF_E_MEMORY;
    model->report.cells = count;
    model->report.orders = model->orders.count;
    model->report.live_orders = model->report.oversold_cells = 0;
    holds_sum(model, sums);
    for (uint64_t i = 0; i < count; i++) {
        const struct hf_audit_cell *cell = hf_audit_cell_at(model, (uint32_t)i);
        struct hf_id none = {0, 0};
        if (cell->reserved != sums[i].reserved || cell->allocated != sums[i].allocated)
            hf_audit_model_note(model, HF_AUDIT_HOLDS, 0, none, "a cell's holds are not the sum over the live orders at the end");
        if (hf_audit_available(model, cell) < 0)
            model->report.oversold_cells++;
    }
    hf_audit_release(sums, bytes);
    return 0;
}
