/* Placing an order: ALL_OR_NOTHING over any partitions, in one step. */
#include "engine/engine_p.h"

/* What one line wants. Lines of one cell form a group, named by its first line. */
struct want {
    struct hf_cell *cell;          /* NULL: known names, never any stock */
    const struct hf_sku_row *rule; /* NULL: the SKU has neither limits nor a sale window */
    struct hf_partition *partition;
    int64_t total; /* of the whole group, kept at its first line */
    uint32_t cell_slot;
    uint32_t sku_slot;  /* where there is a rule */
    uint32_t number;    /* of the partition */
    uint32_t window;    /* that the line counts in */
    uint16_t first;     /* of the group */
    uint16_t sku_first; /* first line with a rule of the same SKU */
};

struct basket {
    const struct hf_line *lines;
    unsigned count;
    bool ruled;
    uint32_t counters; /* limit counters to be made */
    struct want *wants;
};

/* A line whose cell does not exist: is it the SKU, the location, or just no stock? */
static bool judge_missing(struct hf_run *run, struct basket *basket)
{
    for (unsigned i = 0; i < basket->count; i++) {
        struct want *want = &basket->wants[i];
        if (want->cell)
            continue;
        want->sku_slot = hf_sku_find(run->engine, want->partition, &basket->lines[i].sku);
        if (want->sku_slot == 0)
            return hf_refuse(run, HF_UNKNOWN_SKU, i);
        const struct hf_sku_row *sku = hf_sku_at(want->partition, want->sku_slot);
        want->rule = hf_sku_ruled(sku) ? sku : NULL;
        basket->ruled |= want->rule != NULL;
    }
    for (unsigned i = 0; i < basket->count; i++)
        if (!basket->wants[i].cell && hf_location_find(run->engine, basket->lines[i].location) == 0)
            return hf_refuse(run, HF_UNKNOWN_LOCATION, i);
    return true;
}

/* Finds every line's cell and the time of the step. */
static bool locate(struct hf_run *run, struct basket *basket, uint32_t first_partition)
{
    struct hf_engine *engine = run->engine;
    bool missing = false;
    for (unsigned i = 0; i < basket->count; i++) {
        const struct hf_line *line = &basket->lines[i];
        struct want *want = &basket->wants[i];
        want->number = i == 0 ? first_partition : hf_partition_of_sku(engine, &line->sku);
        want->partition = &engine->partitions[want->number];
        want->cell_slot = hf_cell_find(want->partition, hf_hash_cell(engine, &line->sku, line->location), &line->sku, line->location);
        want->cell = want->cell_slot ? hf_cell_at(want->partition, want->cell_slot) : NULL;
        want->window = HF_WINDOW_NONE;
        want->rule = NULL;
        run->now_ns = hf_later(run->now_ns, want->partition->last_ns);
        if (!want->cell) {
            missing = true;
        } else if (__builtin_expect((want->cell->stamp & HF_CELL_RULED) != 0, 0)) {
            want->sku_slot = want->cell->sku_slot;
            want->rule = hf_sku_at(want->partition, want->sku_slot);
            basket->ruled = true;
        }
    }
    return !missing || judge_missing(run, basket);
}

/* The place of line i's cell in an open-addressed table of first lines, sized to twice the lines or more. */
static void group_cells(const struct basket *basket)
{
    uint16_t table[2 * HF_LINES_MAX];
    unsigned size = 2;
    while (size < 2 * basket->count)
        size *= 2;
    memset(table, 0xff, size * sizeof *table);
    for (unsigned i = 0; i < basket->count; i++) {
        struct want *want = &basket->wants[i];
        const struct hf_line *line = &basket->lines[i];
        unsigned at = (unsigned)(hf_fold_multiply(line->sku.word[0] ^ line->location, line->sku.word[1] ^ 0x9E3779B97F4A7C15ull)) &
                      (size - 1);
        while (table[at] != UINT16_MAX &&
               (!hf_sku_equal(&basket->lines[table[at]].sku, &line->sku) || basket->lines[table[at]].location != line->location))
            at = (at + 1) & (size - 1);
        if (table[at] == UINT16_MAX)
            table[at] = (uint16_t)i;
        want->first = table[at];
        want->total = 0;
        basket->wants[want->first].total += line->quantity;
    }
}

/* Adds the lines of each SKU that has rules up at the first of them. */
static void sum_units(struct basket *basket, uint64_t units[HF_LINES_MAX])
{
    for (unsigned i = 0; i < basket->count; i++) {
        unsigned first = i;
        if (basket->wants[i].rule)
            for (first = 0; basket->wants[first].rule != basket->wants[i].rule; first++)
                ;
        basket->wants[i].sku_first = (uint16_t)first;
        units[i] = 0;
        units[first] += basket->lines[i].quantity;
    }
}

static bool judge_customer(struct hf_run *run, struct basket *basket, const uint64_t units[HF_LINES_MAX])
{
    for (unsigned i = 0; i < basket->count; i++) {
        struct want *want = &basket->wants[i];
        if (!want->rule || want->rule->per_customer == 0)
            continue;
        struct hf_window window = hf_limit_window(want->rule, run->now_ns);
        uint32_t slot = hf_limit_find(run->engine, want->partition, run->command->body.place.customer, want->sku_slot);
        if (hf_limit_units(want->partition, slot, window) + units[want->sku_first] > want->rule->per_customer)
            return hf_refuse(run, HF_LIMIT_PER_CUSTOMER, i);
        want->window = 0; /* the counter's serial, once it is held */
        basket->counters += slot == 0 && want->sku_first == i;
    }
    return true;
}

static bool judge_rules(struct hf_run *run, struct basket *basket)
{
    uint64_t now_ms = run->now_ns / HF_MS_NS, units[HF_LINES_MAX];
    for (unsigned i = 0; i < basket->count; i++) {
        const struct hf_sku_row *sku = basket->wants[i].rule;
        if (sku && (now_ms < sku->opens_ms || (sku->closes_ms != 0 && now_ms >= sku->closes_ms)))
            return hf_refuse(run, HF_NOT_ON_SALE, i);
    }
    sum_units(basket, units);
    for (unsigned i = 0; i < basket->count; i++) {
        const struct hf_sku_row *sku = basket->wants[i].rule;
        if (sku && sku->per_order != 0 && units[basket->wants[i].sku_first] > sku->per_order)
            return hf_refuse(run, HF_LIMIT_PER_ORDER, i);
    }
    return judge_customer(run, basket, units);
}

static int64_t available(const struct want *want)
{
    return want->cell ? hf_cell_available(want->cell) : 0;
}

/* Every short line is listed; false when there is one. */
static bool judge_stock(struct hf_run *run, const struct basket *basket)
{
    struct hf_short_item *item = (struct hf_short_item *)(void *)(run->answer + 1);
    for (unsigned i = 0; i < basket->count; i++) {
        const struct want *first = &basket->wants[basket->wants[i].first];
        if (__builtin_expect(first->total <= available(first), 1))
            continue;
        if (run->answer->item_count == 0)
            hf_refuse(run, HF_SHORT, i);
        item[run->answer->item_count++] = (struct hf_short_item){
            .line = (uint16_t)i, .available = available(first), .asked = first->total > UINT32_MAX ? UINT32_MAX : (uint32_t)first->total};
    }
    run->answer->length += run->answer->item_count * (uint32_t)sizeof *item;
    return run->answer->item_count == 0;
}

static bool judge_room(struct hf_run *run, const struct basket *basket)
{
    return hf_room(run, HF_TABLE_ORDERS, 1) && hf_room(run, HF_TABLE_LINES, basket->count - 1) &&
           hf_room(run, HF_TABLE_LIMITS, basket->counters);
}

static struct hf_order_line order_line(const struct hf_line *asked, const struct want *want)
{
    return (struct hf_order_line){.sku = asked->sku,
                                  .location = asked->location,
                                  .quantity = asked->quantity,
                                  .place = asked->price << 16 | want->number,
                                  .cell = want->cell_slot,
                                  .window = want->window};
}

/* Lines 1 and on, in a chain of rows of the home. */
static void add_lines(struct hf_run *run, const struct basket *basket, struct hf_order *order)
{
    struct hf_partition *home = run->home;
    uint32_t *link = &order->lines;
    for (unsigned i = 1; i < basket->count; i++) {
        uint32_t slot = hf_pool_take(&home->lines, run->step->quota);
        struct hf_line_row *row = hf_line_at(home, slot);
        memset(row, 0, sizeof *row);
        row->line = order_line(&basket->lines[i], &basket->wants[i]);
        *link = slot;
        link = &row->next;
    }
    run->step->quota->left[HF_TABLE_LINES] -= basket->count - 1;
}

static void hold(struct hf_run *run, const struct basket *basket)
{
    for (unsigned i = 0; i < basket->count; i++) {
        struct want *want = &basket->wants[i];
        want->partition->last_ns = run->now_ns;
        if (want->first == i) {
            want->cell->reserved += (int32_t)want->total;
            hf_cell_stamp(want->cell, true);
        }
        if (__builtin_expect(want->window != HF_WINDOW_NONE, 0))
            want->window = hf_limit_count(run->engine, want->partition, run->command->body.place.customer, want->sku_slot,
                                          basket->lines[i].quantity, run->step->quota, run->now_ns);
    }
    struct hf_touch *touch = (struct hf_touch *)(void *)(run->step->record + 1);
    for (unsigned i = 0; i < basket->count; i++)
        hf_touch_fill(&touch[i], basket->wants[i].cell, basket->lines[i].quantity, i, 0);
}

static void open_order(struct hf_run *run, const struct basket *basket, uint32_t hash)
{
    const struct hf_command *command = run->command;
    struct hf_partition *home = run->home;
    uint32_t slot = hf_pool_take(&home->orders, run->step->quota);
    struct hf_order *order = hf_order_at(home, slot);
    /* Every field is named: what is left out would be cleared first, by a slower way. */
    *order = (struct hf_order){.id = command->id,
                               .digest = run->digest,
                               .customer = command->body.place.customer,
                               .due_ns = run->now_ns + command->arg * HF_MS_NS,
                               .placed_ns = run->now_ns,
                               .changed_ns = run->now_ns,
                               .version = 1,
                               .line_count = command->line_count,
                               .order = HF_HELD,
                               .payment = HF_PAY_NONE,
                               .fulfilment = HF_FULFIL_NONE,
                               .extensions = 0,
                               .intents = 0,
                               .channel = command->body.place.channel,
                               .timer = {0, 0},
                               .line = order_line(&basket->lines[0], &basket->wants[0]),
                               .lines = 0,
                               .side = 0};
    if (basket->count > 1)
        add_lines(run, basket, order);
    hf_index_insert(&home->order_index, hash, slot);
    hf_timer_insert(&home->order_timers, slot, order->due_ns, run->now_ns);
    run->step->quota->left[HF_TABLE_ORDERS]--;
    hf_answer_order(run->answer, order);
    hf_outcome_write(run,
                     &(struct hf_outcome){
                         .result = HF_OK, .order = HF_HELD, .touches = command->line_count, .due_ns = order->due_ns, .state_version = 1});
}

/* The id's own order: a repeat of the same body, or a reuse. */
static void answer_known(struct hf_run *run, uint32_t slot)
{
    const struct hf_order *order = hf_order_at(run->home, slot);
    if (order->digest != run->digest) {
        hf_refuse(run, HF_ID_REUSED, 0);
        return;
    }
    run->step->reads_state = true;
    run->answer->flags |= HF_ANSWER_REPEATED;
    hf_answer_order(run->answer, order);
}

static bool judge_arguments(struct hf_run *run)
{
    const struct hf_command *command = run->command;
    if (command->arg == 0 || command->arg > HF_TTL_MS_MAX || command->body.place.mode != HF_ALL_OR_NOTHING)
        return hf_refuse(run, HF_BAD_ARGUMENT, 0);
    return command->body.place.channel == HF_CHANNEL_WEB || hf_refuse(run, HF_UNKNOWN_CHANNEL, 0);
}

/* Precedence of results, first that applies: the id is in the table: OK with REPEATED for the same body, else ID_REUSED; ID_TOO_OLD;
 * ID_IN_FUTURE; WRONG_ROUTE; what the shell sheds with; BAD_ARGUMENT; UNKNOWN_CHANNEL; UNKNOWN_SKU; UNKNOWN_LOCATION; NOT_ON_SALE;
 * LIMIT_PER_ORDER; LIMIT_PER_CUSTOMER; SHORT; FULL. `detail` is the first line at fault, for FULL the table. */
void hf_step_place(struct hf_run *run)
{
    struct want wants[HF_LINES_MAX];
    struct basket basket = {.lines = hf_command_lines(run->command), .count = run->command->line_count, .wants = wants};
    uint32_t hash = hf_hash_id(run->engine, run->command->id);
    run->digest = hf_command_digest(run->command);
    uint32_t known = hf_order_find(run->home, hash, run->command->id);
    if (__builtin_expect(known != 0, 0)) {
        answer_known(run, known);
        return;
    }
    uint16_t route = hf_route(&basket.lines[0].sku);
    if (!hf_id_judge(run, route) || !judge_arguments(run) || !locate(run, &basket, route & run->engine->mask))
        return;
    if (basket.ruled && !judge_rules(run, &basket))
        return;
    if (basket.count == 1) {
        wants[0].first = 0;
        wants[0].total = basket.lines[0].quantity;
    } else {
        group_cells(&basket);
    }
    if (!judge_stock(run, &basket) || !judge_room(run, &basket))
        return;
    hold(run, &basket);
    open_order(run, &basket, hash);
}
