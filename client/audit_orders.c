/* What becomes of orders: their holds, their limits, their money, and the sweeps that end and forget them. */
#include "client/audit_model_p.h"

#define WINDOW_NONE UINT64_MAX /* a line that does not count for its customer */

static const uint64_t ms_ns = 1000000;

/* What a record does to the stock of an order's lines. */
enum movement { MOVE_NONE, MOVE_HOLD, MOVE_RELEASE, MOVE_COMMIT, MOVE_HOLD_COMMITTED, MOVE_UNCOMMIT, MOVE_SHIP };

static const struct {
    int reserved, allocated, sellable;
} movement_signs[] = {
    [MOVE_NONE] = {0, 0, 0},           [MOVE_HOLD] = {1, 0, 0},      [MOVE_RELEASE] = {-1, 0, 0}, [MOVE_COMMIT] = {-1, 1, 0},
    [MOVE_HOLD_COMMITTED] = {0, 1, 0}, [MOVE_UNCOMMIT] = {0, -1, 0}, [MOVE_SHIP] = {0, -1, -1},
};

/* The only ways from one order state to another, and what they move. */
static const struct transition {
    uint16_t opcode;
    uint8_t from, to;
    enum movement movement;
} transitions[] = {
    {HF_EXTEND, HF_HELD, HF_HELD, MOVE_NONE},
    {HF_SETTLE, HF_HELD, HF_CONFIRMED, MOVE_COMMIT},
    {HF_SETTLE, HF_EXPIRED, HF_CONFIRMED, MOVE_HOLD_COMMITTED},
    {HF_SETTLE, HF_EXPIRED, HF_EXPIRED, MOVE_NONE},
    {HF_SETTLE, HF_CONFIRMED, HF_CONFIRMED, MOVE_NONE},
    {HF_PAYMENT_RESULT, HF_CONFIRMED, HF_CONFIRMED, MOVE_NONE},
    {HF_PAYMENT_RESULT, HF_CLOSED, HF_CLOSED, MOVE_NONE},
    {HF_PAYMENT_RESULT, HF_CANCELLED, HF_CANCELLED, MOVE_NONE},
    {HF_PAYMENT_RESULT, HF_EXPIRED, HF_EXPIRED, MOVE_NONE},
    {HF_SHIP, HF_CONFIRMED, HF_CLOSED, MOVE_SHIP},
    {HF_CANCEL, HF_HELD, HF_CANCELLED, MOVE_RELEASE},
    {HF_CANCEL, HF_CONFIRMED, HF_CANCELLED, MOVE_UNCOMMIT},
};

/* Every named touch states its cell as it is now, and together they name what was moved. */
static void touches_compare(struct hf_audited *a)
{
    const struct hf_named_touch *touch = (const struct hf_named_touch *)(const void *)(a->record + 1);
    uint64_t units = 0;
    for (uint32_t i = 0; i < a->record->line_count; i++, touch++) {
        struct hf_audit_key key = hf_audit_key_of(&touch->sku, touch->touch.location);
        const struct hf_audit_cell *cell = hf_audit_rows_find(&a->model->cells, &key);
        units += touch->touch.quantity;
        hf_audit_require(a, cell != NULL, HF_AUDIT_MOVEMENT, "names a cell that never had stock");
        if (cell)
            hf_audit_touch(a, cell, &touch->touch);
    }
    hf_audit_require(a, units == a->units_moved, HF_AUDIT_LINES, "moves other units than the order holds");
}

/* --- limits --- */

static uint64_t window_ms(const struct hf_audit_sku *sku, uint64_t time_ns)
{
    uint64_t length = (uint64_t)sku->window_s * 1000, now = time_ns / ms_ns;
    if (length == 0)
        return 0;
    return now < sku->opens_ms ? sku->opens_ms : sku->opens_ms + (now - sku->opens_ms) / length * length;
}

static struct hf_audit_limit *limit_of(const struct hf_audit_model *model, const struct hf_audit_cell *cell, uint64_t customer)
{
    struct hf_audit_key key = {{cell->key.word[0], cell->key.word[1], customer}};
    return hf_audit_rows_find(&model->limits, &key);
}

/* Counts a line for its customer; gives the window it counts in. */
static uint64_t limit_count(struct hf_audited *a, const struct hf_audit_cell *cell, uint64_t customer, uint32_t quantity)
{
    const struct hf_audit_sku *sku = hf_audit_sku_at(a->model, cell->sku);
    struct hf_audit_key key = {{cell->key.word[0], cell->key.word[1], customer}};
    if (sku->per_customer == 0)
        return WINDOW_NONE;
    struct hf_audit_limit *limit = hf_audit_rows_add(&a->model->limits, &key);
    if (!limit) {
        a->memory = true;
        return WINDOW_NONE;
    }
    uint64_t window = window_ms(sku, a->record->time_ns);
    if (limit->window_ms != window || limit->window_s != sku->window_s)
        limit->units = 0;
    limit->window_ms = window;
    limit->window_s = sku->window_s;
    limit->units += quantity;
    hf_audit_require(a, sku->unsure || limit->units <= sku->per_customer, HF_AUDIT_LIMITS,
                     "a customer was granted more in one window than the policy allows");
    return window;
}

static void limit_give_back(const struct hf_audit_model *model, const struct hf_audit_cell *cell, uint64_t customer, uint64_t window,
                            uint32_t quantity)
{
    struct hf_audit_limit *limit = window == WINDOW_NONE ? NULL : limit_of(model, cell, customer);
    if (limit && limit->window_ms == window)
        limit->units -= quantity < limit->units ? quantity : limit->units;
}

/* --- orders --- */

/* The lines, then the windows of those that count and the customer they count for. */
static uint32_t order_units(uint32_t line_count, bool counted)
{
    return counted ? 2 * line_count : line_count;
}

static void order_move(struct hf_audited *a, const struct hf_audit_order *order, enum movement movement)
{
    struct hf_audit_model *model = a->model;
    const struct hf_audit_line *line = hf_audit_order_lines(model, order);
    for (uint32_t i = 0; movement != MOVE_NONE && i < order->line_count; i++, line++) {
        struct hf_audit_cell *cell = hf_audit_cell_at(model, line->cell);
        int64_t quantity = line->quantity;
        hf_audit_add(a, &cell->reserved, movement_signs[movement].reserved * quantity);
        hf_audit_add(a, &cell->allocated, movement_signs[movement].allocated * quantity);
        hf_audit_add(a, &cell->sellable, movement_signs[movement].sellable * quantity);
        a->units_moved += line->quantity;
        hf_audit_require(a, cell->reserved >= 0 && cell->allocated >= 0, HF_AUDIT_PROMISE, "more was given back than was held");
    }
}

/* After all lines: a hold or allocation may not reach beyond what was there to promise. */
static void order_require_promise(const struct hf_audited *a, const struct hf_audit_order *order)
{
    const struct hf_audit_line *line = hf_audit_order_lines(a->model, order);
    for (uint32_t i = 0; i < order->line_count; i++, line++)
        hf_audit_require(a, hf_audit_available(a->model, hf_audit_cell_at(a->model, line->cell)) >= 0, HF_AUDIT_PROMISE,
                         "granted more than was available to promise");
}

static void order_limits_give_back(struct hf_audited *a, const struct hf_audit_order *order)
{
    if ((order->flags & HF_AUDIT_COUNTED) == 0)
        return;
    struct hf_audit_key key = hf_audit_key_of_id(order->id);
    const struct hf_audit_payment *payment = hf_audit_rows_find(&a->model->payments, &key);
    const struct hf_audit_line *line = hf_audit_order_lines(a->model, order);
    uint64_t *windows = a->model->lines.units + order->lines + order->line_count;
    for (uint32_t i = 0; payment && i < order->line_count; i++) {
        limit_give_back(a->model, hf_audit_cell_at(a->model, line[i].cell), payment->customer, windows[i], line[i].quantity);
        windows[i] = WINDOW_NONE;
    }
}

/* Units of the order's SKUs, summed over its lines, against what one order may have. */
static void place_require_per_order(const struct hf_audited *a, const struct hf_audit_order *order)
{
    const struct hf_audit_line *line = hf_audit_order_lines(a->model, order);
    for (uint32_t i = 0; i < order->line_count; i++) {
        uint32_t sku = hf_audit_cell_at(a->model, line[i].cell)->sku, most = hf_audit_sku_at(a->model, sku)->per_order;
        uint64_t units = 0;
        for (uint32_t k = 0; most != 0 && k < order->line_count; k++)
            units += hf_audit_cell_at(a->model, line[k].cell)->sku == sku ? line[k].quantity : 0;
        hf_audit_require(a, units <= most, HF_AUDIT_LIMITS, "one order was granted more than the policy allows");
    }
}

static void order_limits_count(struct hf_audited *a, struct hf_audit_order *order, uint64_t customer)
{
    const struct hf_audit_line *line = hf_audit_order_lines(a->model, order);
    uint64_t *windows = a->model->lines.units + order->lines + order->line_count;
    for (uint32_t i = 0; i < order->line_count; i++)
        windows[i] = limit_count(a, hf_audit_cell_at(a->model, line[i].cell), customer, line[i].quantity);
}

/* Held again after it expired. Of an order from before there were any policies the customer is not kept. */
static void order_limits_count_again(struct hf_audited *a, struct hf_audit_order *order)
{
    struct hf_audit_key key = hf_audit_key_of_id(order->id);
    const struct hf_audit_payment *payment = hf_audit_rows_find(&a->model->payments, &key);
    const struct hf_audit_line *line = hf_audit_order_lines(a->model, order);
    if (payment && (order->flags & HF_AUDIT_COUNTED) != 0)
        order_limits_count(a, order, payment->customer);
    else
        for (uint32_t i = 0; i < order->line_count; i++)
            hf_audit_sku_at(a->model, hf_audit_cell_at(a->model, line[i].cell)->sku)->unsure = true;
}

static bool place_limits(struct hf_audited *a, struct hf_audit_order *order)
{
    struct hf_audit_key key = hf_audit_key_of_id(order->id);
    struct hf_audit_payment *payment = hf_audit_rows_add(&a->model->payments, &key);
    a->memory |= !payment;
    if (!payment)
        return false;
    payment->customer = a->command->body.place.customer;
    place_require_per_order(a, order);
    order_limits_count(a, order, payment->customer);
    return true;
}

/* The order's lines as the model keeps them; false without memory. */
static bool place_lines(struct hf_audited *a, struct hf_audit_order *order)
{
    const struct hf_line *asked = hf_command_lines(a->command);
    const struct hf_touch *touch = (const struct hf_touch *)(const void *)(a->record + 1);
    for (uint32_t i = 0; i < order->line_count; i++) {
        bool made;
        const struct hf_audit_cell *cell = hf_audit_cell_of(a, &asked[i].sku, asked[i].location, &made);
        if (!cell)
            return false;
        hf_audit_require(a, !made, HF_AUDIT_PROMISE, "granted from a cell that never had stock");
        hf_audit_require(a, touch[i].quantity == asked[i].quantity && touch[i].location == asked[i].location && touch[i].index == i,
                         HF_AUDIT_LINES, "a line was not granted as it was asked");
        hf_audit_order_lines(a->model, order)[i] = (struct hf_audit_line){.cell = (uint32_t)hf_audit_row_number(&a->model->cells, cell),
                                                                          .quantity = asked[i].quantity};
    }
    return true;
}

void hf_audit_place(struct hf_audited *a)
{
    struct hf_audit_model *model = a->model;
    const struct hf_touch *touch = (const struct hf_touch *)(const void *)(a->record + 1);
    struct hf_id id = a->command->id;
    hf_audit_require(a, a->record->result == HF_OK && a->record->order == HF_HELD, HF_AUDIT_FORM,
                     "a place that was not granted is in the log");
    hf_audit_require(a, hf_id_ms(id) > model->marks[a->record->home], HF_AUDIT_ID, "granted an id that is not newer than the mark");
    if (hf_audit_orders_find(&model->orders, id)) {
        hf_audit_require(a, false, HF_AUDIT_ID, "an id was granted twice");
        return;
    }
    uint32_t count = a->command->line_count;
    hf_audit_require(a, count > 0 && a->record->line_count == count, HF_AUDIT_LINES, "not all lines were granted");
    uint32_t lines = count ? hf_audit_lines_take(&model->lines, order_units(count, model->policies)) : 0;
    struct hf_audit_order *order = lines ? hf_audit_orders_add(&model->orders, id) : NULL;
    a->memory |= count != 0 && !order;
    if (!order)
        return;
    *order = (struct hf_audit_order){.id = id,
                                     .due_ns = a->record->due_ns,
                                     .lines = lines,
                                     .line_count = (uint16_t)count,
                                     .state = HF_HELD,
                                     .flags = model->policies ? HF_AUDIT_COUNTED : 0};
    if (!place_lines(a, order) || (model->policies && !place_limits(a, order)))
        return;
    order_move(a, order, MOVE_HOLD);
    order_require_promise(a, order);
    for (uint32_t i = 0; i < count; i++)
        hf_audit_touch(a, hf_audit_cell_at(model, hf_audit_order_lines(model, order)[i].cell), &touch[i]);
}

static const struct transition *transition_find(uint16_t opcode, uint8_t from, uint8_t to)
{
    for (size_t i = 0; i < sizeof transitions / sizeof transitions[0]; i++)
        if (transitions[i].opcode == opcode && transitions[i].from == from && transitions[i].to == to)
            return &transitions[i];
    return NULL;
}

/* Captured and refunded stay within what was authorised. */
static void money(struct hf_audited *a, struct hf_id id)
{
    struct hf_audit_key key = hf_audit_key_of_id(id);
    struct hf_audit_payment *payment = hf_audit_rows_add(&a->model->payments, &key);
    const struct hf_command *command = a->command;
    a->memory |= !payment;
    if (!payment)
        return;
    if (command->opcode == HF_SETTLE) {
        payment->authorised = command->body.verb.amount;
        /* Stock lost: nobody can undo that payment any more but a refund. */
        if (a->record->result == HF_STOCK_LOST)
            payment->captured = payment->authorised;
    } else if (command->body.verb.status == HF_STATUS_CAPTURED) {
        payment->captured = command->body.verb.amount;
    } else if (command->body.verb.status == HF_STATUS_REFUNDED) {
        payment->refunded += command->body.verb.amount;
    }
    hf_audit_require(a, payment->captured <= payment->authorised, HF_AUDIT_MONEY, "captured more than was authorised");
    hf_audit_require(a, payment->refunded <= payment->captured, HF_AUDIT_MONEY, "refunded more than was captured");
}

/* A payment may still come for an order that left memory: then nothing moves and the money is owed back. */
static void verb_forgotten(struct hf_audited *a)
{
    bool fine = a->record->line_count == 0 && a->command->opcode == HF_SETTLE && a->record->result == HF_REFUND_DUE;
    hf_audit_require(a, fine, HF_AUDIT_ENDS, "changes an order that does not exist");
}

void hf_audit_verb(struct hf_audited *a)
{
    const struct hf_command *command = a->command;
    struct hf_audit_order *order = hf_audit_orders_find(&a->model->orders, command->body.verb.order);
    if (!order) {
        verb_forgotten(a);
        return;
    }
    const struct transition *transition = transition_find(command->opcode, order->state, a->record->order);
    bool again = transition && transition->movement == MOVE_SHIP && (order->flags & HF_AUDIT_SHIPPED) != 0;
    hf_audit_require(a, transition && !again, HF_AUDIT_ENDS, "an order changed in a way that does not exist");
    if (!transition || again)
        return;
    bool lost = order->state == HF_EXPIRED && command->opcode == HF_SETTLE && a->record->order == HF_EXPIRED;
    hf_audit_require(a, a->record->result == (lost ? HF_STOCK_LOST : HF_OK), HF_AUDIT_ENDS,
                     "the result does not go with what became of the order");
    order->state = a->record->order;
    if (command->opcode == HF_EXTEND)
        order->due_ns = a->record->due_ns;
    order_move(a, order, transition->movement);
    if (transition->movement == MOVE_SHIP)
        order->flags |= HF_AUDIT_SHIPPED;
    if (transition->movement == MOVE_RELEASE || transition->movement == MOVE_UNCOMMIT)
        order_limits_give_back(a, order);
    if (transition->movement == MOVE_HOLD_COMMITTED) {
        order_require_promise(a, order);
        order_limits_count_again(a, order);
    }
    if (command->opcode == HF_SETTLE || command->opcode == HF_PAYMENT_RESULT)
        money(a, order->id);
    touches_compare(a);
}

/* --- the engine's own records --- */

static bool sweep_count(struct hf_audited *a, uint32_t *count)
{
    *count = a->command->body.sweep.count;
    bool fits = *count <= 2u * a->command->line_count;
    hf_audit_require(a, fits, HF_AUDIT_FORM, "a sweep names more ids than it has room for");
    return fits;
}

void hf_audit_expire(struct hf_audited *a)
{
    uint32_t count;
    uint64_t due_ns = 0;
    if (!sweep_count(a, &count))
        return;
    for (uint32_t i = 0; i < count; i++) {
        struct hf_audit_order *order = hf_audit_orders_find(&a->model->orders, hf_sweep_id(a->command, i));
        bool live = order && order->state == HF_HELD;
        hf_audit_require(a, live, HF_AUDIT_ENDS, "a hold expired that was not live");
        if (!live)
            continue;
        hf_audit_require(a, order->due_ns <= a->record->time_ns, HF_AUDIT_ENDS, "a hold expired before its time");
        hf_audit_require(a, order->due_ns >= due_ns, HF_AUDIT_ORDER_OF_TIME, "a sweep is not in the order in which its holds were due");
        due_ns = order->due_ns;
        order->state = HF_EXPIRED;
        order_move(a, order, MOVE_RELEASE);
        order_limits_give_back(a, order);
    }
    touches_compare(a);
}

/* Ids of commands are among them; the model keeps none. */
void hf_audit_forget(struct hf_audited *a)
{
    uint32_t count;
    if (!sweep_count(a, &count))
        return;
    for (uint32_t i = 0; i < count; i++) {
        struct hf_audit_order *order = hf_audit_orders_find(&a->model->orders, hf_sweep_id(a->command, i));
        if (!order)
            continue;
        hf_audit_require(a, order->state != HF_HELD && order->state != HF_CONFIRMED, HF_AUDIT_ENDS, "a live order was forgotten");
        hf_audit_require(a, hf_id_ms(order->id) <= a->model->marks[a->record->home], HF_AUDIT_ID,
                         "an order newer than the mark was forgotten");
        hf_audit_lines_give(&a->model->lines, order->lines, order_units(order->line_count, (order->flags & HF_AUDIT_COUNTED) != 0));
        hf_audit_orders_remove(&a->model->orders, order);
    }
}

void hf_audit_mark(struct hf_audited *a)
{
    uint32_t modulus = a->command->body.mark.modulus;
    hf_audit_require(a, modulus != 0, HF_AUDIT_FORM, "a mark without a modulus");
    for (uint64_t p = a->command->body.mark.residue; modulus != 0 && p < a->model->partitions; p += modulus)
        if (a->model->marks[p] < a->command->body.mark.mark_ms)
            a->model->marks[p] = a->command->body.mark.mark_ms;
}
