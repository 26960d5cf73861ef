/* What the text allows for orders: placing, and what is done with one that is there. */
#include "tests/oracle/oracle_p.h"

/* Extends of one order that are surely not too many, and the age that is surely not too far. */
enum { EXTENDS_SURE = 1, AGE_SURE_MS = 3600 * 1000, TTL_SURE_MS = 24 * 3600 * 1000 };

int64_t hf_model_place_asked(const struct hf_command *command, const struct hf_line *line)
{
    const struct hf_line *lines = hf_command_lines(command);
    int64_t asked = 0;
    for (uint32_t i = 0; i < command->line_count; i++)
        if (hf_sku_equal(&lines[i].sku, &line->sku) && lines[i].location == line->location)
            asked += lines[i].quantity;
    return asked;
}

static int64_t asked_of_sku(const struct hf_command *command, const struct hf_sku *sku)
{
    const struct hf_line *lines = hf_command_lines(command);
    int64_t asked = 0;
    for (uint32_t i = 0; i < command->line_count; i++)
        if (hf_sku_equal(&lines[i].sku, sku))
            asked += lines[i].quantity;
    return asked;
}

bool hf_model_place_line_short(const struct hf_view *view, const struct hf_command *command, const struct hf_line *line)
{
    return hf_model_place_asked(command, line) > hf_model_view_available(view, &line->sku, line->location);
}

static bool on_sale(const struct hf_view *view, const struct hf_m_sku *sku)
{
    uint64_t now_ms = view->time_ns / 1000000;
    return now_ms >= sku->opens_ms && (sku->closes_ms == 0 || now_ms < sku->closes_ms);
}

/* 0: within the limit; 1: within or beyond, as the text leaves open; 2: beyond. */
static int beyond_customer(const struct hf_view *view, const struct hf_command *command, const struct hf_line *line)
{
    const struct hf_m_sku *sku = hf_model_view_sku(view, &line->sku);
    if (!sku || sku->per_customer == 0)
        return 0;
    int64_t units, loose, asked = asked_of_sku(command, &line->sku);
    hf_model_view_units(view, &line->sku, sku, command->body.place.customer, &units, &loose);
    if (units + asked > sku->per_customer)
        return 2;
    return units + loose + asked > sku->per_customer ? 1 : 0;
}

static bool beyond_order(const struct hf_view *view, const struct hf_command *command, const struct hf_line *line)
{
    const struct hf_m_sku *sku = hf_model_view_sku(view, &line->sku);
    return sku && sku->per_order != 0 && asked_of_sku(command, &line->sku) > sku->per_order;
}

bool hf_model_place_line_fault(const struct hf_view *view, const struct hf_command *command, unsigned result, uint32_t at)
{
    if (at >= command->line_count)
        return false;
    const struct hf_line *line = hf_command_lines(command) + at;
    const struct hf_m_sku *sku = hf_model_view_sku(view, &line->sku);
    switch (result) {
    case HF_BAD_ARGUMENT:
        return false;
    case HF_UNKNOWN_SKU:
        return !sku;
    case HF_UNKNOWN_LOCATION:
        return !hf_model_view_location(view, line->location);
    case HF_NOT_ON_SALE:
        return sku && !on_sale(view, sku);
    case HF_LIMIT_PER_ORDER:
        return beyond_order(view, command, line);
    case HF_LIMIT_PER_CUSTOMER:
        return beyond_customer(view, command, line) > 0;
    case HF_SHORT:
        return hf_model_place_line_short(view, command, line);
    default:
        return false;
    }
}

static bool any_fault(const struct hf_view *view, const struct hf_command *command, unsigned result)
{
    for (uint32_t i = 0; i < command->line_count; i++)
        if (hf_model_place_line_fault(view, command, result, i))
            return true;
    return false;
}

uint64_t hf_model_judge_place(const struct hf_view *view, const struct hf_command *command)
{
    if (command->arg == 0 || command->body.place.mode != HF_ALL_OR_NOTHING || any_fault(view, command, HF_BAD_ARGUMENT))
        return hf_bit(HF_BAD_ARGUMENT);
    uint64_t loose = command->arg > TTL_SURE_MS ? hf_bit(HF_BAD_ARGUMENT) : 0;
    if (command->body.place.channel != HF_CHANNEL_WEB)
        return loose | hf_bit(HF_UNKNOWN_CHANNEL);
    static const enum hf_result plain[] = {HF_UNKNOWN_SKU, HF_UNKNOWN_LOCATION, HF_NOT_ON_SALE, HF_LIMIT_PER_ORDER};
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (any_fault(view, command, plain[i]))
            return loose | hf_bit(plain[i]);
    int beyond = 0;
    for (uint32_t i = 0; i < command->line_count; i++) {
        int here = beyond_customer(view, command, hf_command_lines(command) + i);
        beyond = here > beyond ? here : beyond;
    }
    if (beyond > 0)
        loose |= hf_bit(HF_LIMIT_PER_CUSTOMER);
    if (beyond > 1)
        return loose;
    if (any_fault(view, command, HF_SHORT))
        return loose | hf_bit(HF_SHORT);
    return loose | hf_bit(HF_OK) | hf_model_judge_full(view, command);
}

bool hf_model_order_stock_there(const struct hf_view *view, const struct hf_m_order *order)
{
    for (uint32_t i = 0; i < order->line_count; i++) {
        const struct hf_m_line *line = &order->lines[i];
        int64_t asked = 0;
        for (uint32_t k = 0; k < order->line_count; k++)
            if (hf_sku_equal(&order->lines[k].sku, &line->sku) && order->lines[k].location == line->location)
                asked += order->lines[k].quantity;
        if (asked > hf_model_view_available(view, &line->sku, line->location))
            return false;
    }
    return true;
}

static bool currency_given(const struct hf_command *command)
{
    const uint8_t *c = command->body.verb.currency;
    return c[0] >= 'A' && c[0] <= 'Z' && c[1] >= 'A' && c[1] <= 'Z' && c[2] >= 'A' && c[2] <= 'Z';
}

static uint64_t judge_unknown_order(const struct hf_view *view, const struct hf_command *command)
{
    struct hf_id order = command->body.verb.order;
    uint16_t bytes = 0;
    bool reference = hf_command_extension(command, HF_EXT_PAYMENT_REFERENCE, &bytes) != NULL;
    uint64_t refused = hf_id_ms(order) <= hf_model_view_mark(view, hf_id_route(order)) ? hf_bit(HF_ID_TOO_OLD) : hf_bit(HF_UNKNOWN_ORDER);
    if (hf_id_none(order))
        refused |= hf_bit(HF_BAD_ARGUMENT);
    if (command->opcode != HF_SETTLE || !reference || command->body.verb.amount <= 0)
        return refused;
    /* An amount without a currency is hardly one. */
    uint64_t odd = currency_given(command) && bytes > 0 ? 0 : refused | hf_bit(HF_BAD_ARGUMENT) | hf_bit(HF_BAD_EXTENSION);
    return hf_bit(HF_REFUND_DUE) | odd | hf_model_judge_full(view, command);
}

/* Whether an expired order can be held again: its stock must be there, and its customer's limits have room for it. */
static uint64_t judge_again(const struct hf_view *view, const struct hf_m_order *order)
{
    uint64_t results = hf_bit(HF_OK);
    if (!hf_model_order_stock_there(view, order))
        return hf_bit(HF_STOCK_LOST);
    for (uint32_t i = 0; i < order->line_count; i++) {
        const struct hf_m_line *line = &order->lines[i];
        const struct hf_m_sku *sku = hf_model_view_sku(view, &line->sku);
        int64_t units, loose, asked = 0;
        for (uint32_t k = 0; k < order->line_count; k++)
            asked += hf_sku_equal(&order->lines[k].sku, &line->sku) ? order->lines[k].quantity : 0;
        hf_model_view_units(view, &line->sku, sku, order->customer, &units, &loose);
        if (sku->per_customer != 0 && units + asked > sku->per_customer)
            return hf_bit(HF_STOCK_LOST);
        if (sku->per_customer != 0 && units + loose + asked > sku->per_customer)
            results |= hf_bit(HF_STOCK_LOST);
    }
    return results;
}

static uint64_t judge_settle(const struct hf_view *view, const struct hf_command *command, const struct hf_m_order *order)
{
    uint64_t loose = hf_model_judge_full(view, command);
    if (command->body.verb.amount <= 0 || !currency_given(command))
        return hf_bit(HF_BAD_ARGUMENT);
    for (uint32_t i = 0; i < order->line_count; i++) {
        const struct hf_m_cell *cell = hf_model_view_cell(view, &order->lines[i].sku, order->lines[i].location);
        if (cell && cell->allocated + cell->reserved > INT32_MAX / 2)
            loose |= hf_bit(HF_OVERFLOW);
    }
    if (order->state == HF_HELD)
        return loose | hf_bit(HF_OK);
    if (order->state == HF_EXPIRED && order->payment == HF_PAY_NONE)
        return loose | judge_again(view, order);
    /* After a failed capture the customer may pay otherwise. */
    if (order->state == HF_CONFIRMED && order->payment == HF_PAY_FAILED)
        return loose | hf_bit(HF_OK) | hf_bit(HF_BAD_STATE);
    return hf_bit(HF_BAD_STATE);
}

static uint64_t judge_payment_result(const struct hf_command *command, const struct hf_m_order *order)
{
    unsigned status = command->body.verb.status;
    if (status < HF_STATUS_CAPTURED || status > HF_STATUS_VOIDED)
        return hf_bit(HF_BAD_ARGUMENT);
    uint64_t loose = command->body.verb.amount <= 0 || command->arg == 0 || !currency_given(command) ? hf_bit(HF_BAD_ARGUMENT) : 0;
    const struct hf_intent *intent = hf_model_order_open_intent(order, command->arg);
    if (!intent)
        return loose | hf_bit(HF_UNKNOWN_INTENT);
    if (intent->amount != command->body.verb.amount || memcmp(intent->currency, command->body.verb.currency, 3) != 0)
        return loose | hf_bit(HF_AMOUNT_MISMATCH);
    static const unsigned fits[] = {
        [HF_INTENT_CAPTURE] = HF_STATUS_CAPTURED, [HF_INTENT_VOID] = HF_STATUS_VOIDED, [HF_INTENT_REFUND] = HF_STATUS_REFUNDED};
    if (status == fits[intent->kind])
        return loose | hf_bit(HF_OK);
    /* A refund or a recall that failed may be recorded, or stay to be done. */
    return loose | (status == HF_STATUS_FAILED ? hf_bit(HF_OK) : 0) |
           (intent->kind != HF_INTENT_CAPTURE || status != HF_STATUS_FAILED ? hf_bit(HF_BAD_STATE) : 0);
}

static uint64_t judge_extend(const struct hf_view *view, const struct hf_command *command, const struct hf_m_order *order)
{
    if (command->arg == 0)
        return hf_bit(HF_BAD_ARGUMENT);
    uint64_t loose = command->arg > TTL_SURE_MS ? hf_bit(HF_BAD_ARGUMENT) : 0;
    if (order->state != HF_HELD)
        return loose | hf_bit(HF_BAD_STATE);
    uint64_t age_ms = (view->time_ns - order->placed_ns) / 1000000 + command->arg;
    if (order->extends >= EXTENDS_SURE || age_ms > AGE_SURE_MS)
        loose |= hf_bit(HF_TOO_MANY);
    return loose | hf_bit(HF_OK);
}

/* What leaves a cell that was forced far below zero: OVERFLOW where the order itself has no room in its number; it may be refused as soon
 * as all that the cell has allocated would have none. */
static uint64_t judge_leaving(const struct hf_view *view, const struct hf_m_order *order)
{
    uint64_t results = hf_bit(HF_OK);
    for (uint32_t i = 0; i < order->line_count; i++) {
        const struct hf_m_line *line = &order->lines[i];
        const struct hf_m_cell *cell = hf_model_view_cell(view, &line->sku, line->location);
        int64_t leaves = 0;
        for (uint32_t k = 0; k < order->line_count; k++)
            if (hf_sku_equal(&order->lines[k].sku, &line->sku) && order->lines[k].location == line->location)
                leaves += order->lines[k].quantity;
        if (cell && cell->bucket[HF_SELLABLE] - leaves < INT32_MIN)
            return hf_bit(HF_OVERFLOW);
        if (cell && cell->bucket[HF_SELLABLE] - cell->allocated < INT32_MIN)
            results |= hf_bit(HF_OVERFLOW);
    }
    return results;
}

static uint64_t judge_ship(const struct hf_view *view, const struct hf_m_order *order)
{
    if (order->state != HF_CONFIRMED || order->fulfilment != HF_FULFIL_NONE)
        return hf_bit(HF_BAD_STATE);
    return judge_leaving(view, order) | (order->payment == HF_PAY_CAPTURED ? 0 : hf_bit(HF_BAD_STATE));
}

static uint64_t judge_cancel(const struct hf_m_order *order)
{
    bool live = order->state == HF_HELD || (order->state == HF_CONFIRMED && order->fulfilment == HF_FULFIL_NONE);
    return live ? hf_bit(HF_OK) : hf_bit(HF_BAD_STATE);
}

static uint64_t judge_state(const struct hf_view *view, const struct hf_command *command, const struct hf_m_order *order)
{
    switch (command->opcode) {
    case HF_EXTEND:
        return judge_extend(view, command, order);
    case HF_SETTLE:
        return judge_settle(view, command, order);
    case HF_PAYMENT_RESULT:
        return judge_payment_result(command, order);
    case HF_SHIP:
        return judge_ship(view, order);
    default:
        return judge_cancel(order);
    }
}

/* Ids of the order's commands that are newer than the mark. */
static uint32_t commands_kept(const struct hf_view *view, const struct hf_m_order *order)
{
    uint64_t mark = hf_model_view_mark(view, hf_id_route(order->id));
    uint32_t kept = 0;
    for (uint32_t i = 0; i < order->command_count; i++)
        kept += order->command_ms[i] > mark;
    return kept;
}

uint64_t hf_model_judge_verb(const struct hf_view *view, const struct hf_command *command)
{
    const struct hf_m_order *order = hf_model_view_order(view, command->body.verb.order);
    if (!order)
        return judge_unknown_order(view, command);
    uint64_t results = judge_state(view, command, order), done = hf_bit(HF_OK) | hf_bit(HF_STOCK_LOST);
    if ((results & (done | hf_bit(HF_OVERFLOW))) && commands_kept(view, order) >= HF_HISTORY_MAX)
        results = (results & ~done) | hf_bit(HF_TOO_MANY);
    else if (results & done)
        results |= hf_model_judge_full(view, command);
    return results;
}
