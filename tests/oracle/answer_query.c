/* The items of queries and stock commands against the state of one moment. */
#include "tests/oracle/oracle_p.h"

/* Loops read their clocks once a turn, each at its own: the time in an answer can be a little beside what its span was told to be. */
#define CLOCK_READ_NS 1000000000ull

static bool differs(struct hf_oracle *oracle, const struct hf_view *view, const char *what, int64_t expected, int64_t seen)
{
    uint64_t position = view->position == HF_NEWEST ? oracle->position : view->position;
    return hf_model_fault(oracle, position, "%s: expected %lld, seen %lld", what, (long long)expected, (long long)seen);
}

struct hf_pair {
    const char *what;
    int64_t expected, seen;
};

static bool pairs_check(struct hf_oracle *oracle, const struct hf_view *view, const struct hf_pair *pair, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (pair[i].expected != pair[i].seen)
            return differs(oracle, view, pair[i].what, pair[i].expected, pair[i].seen);
    return true;
}

#define PAIRS_CHECK(oracle, view, pair) pairs_check(oracle, view, pair, sizeof(pair) / sizeof(pair)[0])

bool hf_model_cell_item_check(struct hf_oracle *oracle, const struct hf_view *view, const struct hf_cell_item *item,
                              const struct hf_sku *sku, uint32_t location)
{
    const struct hf_m_cell *cell = hf_model_view_cell(view, sku, location);
    if (!cell || item->location != location || !hf_sku_equal(&item->sku, sku))
        return differs(oracle, view, "item of a cell at location", cell ? location : 0, item->location);
    int64_t available = hf_model_view_available(view, sku, location);
    const struct hf_pair pair[] = {
        {"sellable", cell->bucket[HF_SELLABLE], item->sellable},
        {"damaged", cell->bucket[HF_DAMAGED], item->damaged},
        {"quality control", cell->bucket[HF_QUALITY_CONTROL], item->quality_control},
        {"reserved", cell->reserved, item->reserved},
        {"allocated", cell->allocated, item->allocated},
        {"safety stock", hf_model_view_safety(view, sku, cell), item->safety_stock},
        {"incoming", 0, item->incoming},
        {"available", available, item->available},
        {"cell version", (int64_t)cell->version, (int64_t)item->version},
    };
    if (!PAIRS_CHECK(oracle, view, pair))
        return false;
    bool oversold = available < 0;
    return cell->flag_loose || (item->oversold != 0) == oversold || differs(oracle, view, "oversold", oversold, item->oversold);
}

static bool query_cell(struct hf_asking *asking, const struct hf_view *view)
{
    const struct hf_line *line = hf_command_lines(asking->command);
    const struct hf_cell_item *item = (const struct hf_cell_item *)(const void *)(asking->answer + 1);
    const struct hf_pair pair[] = {{"items", 1, asking->answer->item_count},
                                   {"version of the answer", (int64_t)item->version, (int64_t)asking->answer->version}};
    return PAIRS_CHECK(asking->oracle, view, pair) && hf_model_cell_item_check(asking->oracle, view, item, &line->sku, line->location);
}

static bool name_check(struct hf_oracle *oracle, const struct hf_view *view, const struct hf_name *name, uint32_t bytes, const char *text)
{
    if (name->loose)
        return true;
    if (bytes != name->bytes || memcmp(text, name->text, sizeof name->text) != 0)
        return differs(oracle, view, "name of other text or bytes", name->bytes, bytes);
    return true;
}

static bool cells_check(struct hf_asking *asking, const struct hf_view *view, const struct hf_sku *sku, const struct hf_cell_item *item,
                        uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < i; k++)
            if (item[k].location == item[i].location)
                return differs(asking->oracle, view, "one cell listed twice, at location", 0, item[i].location);
        if (!hf_model_cell_item_check(asking->oracle, view, &item[i], sku, item[i].location))
            return false;
    }
    return true;
}

static bool query_sku(struct hf_asking *asking, const struct hf_view *view)
{
    const struct hf_sku *key = &hf_command_lines(asking->command)->sku;
    const struct hf_answer *answer = asking->answer;
    const struct hf_sku_item *item = (const struct hf_sku_item *)(const void *)(answer + 1);
    const struct hf_m_sku *sku = hf_model_view_sku(view, key);
    uint32_t first = asking->command->arg, cells = item->cells, left = first < cells ? cells - first : 0;
    uint32_t page = left < HF_SKU_PAGE ? left : HF_SKU_PAGE;
    const struct hf_pair pair[] = {
        {"SKU of the item", 1, hf_sku_equal(&item->sku, key)},
        {"units per order", sku->per_order, item->per_order},
        {"units per customer", sku->per_customer, item->per_customer},
        {"window", sku->window_s, item->window_s},
        {"safety stock of the SKU", sku->safety_stock, item->safety_stock},
        {"opens", (int64_t)sku->opens_ms, (int64_t)item->opens_ms},
        {"closes", (int64_t)sku->closes_ms, (int64_t)item->closes_ms},
        {"items", 1 + page, answer->item_count},
        {"MORE", left > page, (answer->flags & HF_ANSWER_MORE) != 0},
    };
    if (cells < sku->cells || cells > sku->cells + sku->cells_loose)
        return differs(asking->oracle, view, "cells of the SKU", sku->cells, cells);
    return PAIRS_CHECK(asking->oracle, view, pair) && name_check(asking->oracle, view, &sku->name, item->name_bytes, item->name) &&
           cells_check(asking, view, key, (const struct hf_cell_item *)(const void *)(item + 1), page);
}

static bool order_lines(struct hf_asking *asking, const struct hf_view *view, const struct hf_m_order *order,
                        const struct hf_order_line_item *item)
{
    for (uint32_t i = 0, first = asking->command->arg; first + i < order->line_count; i++) {
        const struct hf_m_line *line = &order->lines[first + i];
        const struct hf_pair pair[] = {
            {"SKU of an order's line", 1, hf_sku_equal(&item[i].sku, &line->sku)},
            {"location of an order's line", line->location, item[i].location},
            {"quantity of an order's line", line->quantity, item[i].quantity},
            {"price of an order's line", (int64_t)line->price, (int64_t)item[i].price},
            {"shipped of an order's line", order->fulfilment == HF_SHIPPED ? line->quantity : 0, item[i].shipped},
            {"returned of an order's line", 0, item[i].returned},
        };
        if (!PAIRS_CHECK(asking->oracle, view, pair))
            return false;
    }
    return true;
}

static bool order_money(struct hf_asking *asking, const struct hf_view *view, const struct hf_m_order *order,
                        const struct hf_order_item *item)
{
    const struct hf_pair pair[] = {{"authorised", order->authorised, item->authorised},
                                   {"captured", order->captured, item->captured},
                                   {"refunded", order->refunded, item->refunded},
                                   {"currency", 0, memcmp(order->currency, item->currency, 3)}};
    if (item->refunded < 0 || item->refunded > item->captured || item->captured > item->authorised)
        return differs(asking->oracle, view, "I7 is broken; captured", item->authorised, item->captured);
    return order->money_loose || PAIRS_CHECK(asking->oracle, view, pair);
}

static bool query_order(struct hf_asking *asking, const struct hf_view *view)
{
    const struct hf_answer *answer = asking->answer;
    const struct hf_m_order *order = hf_model_view_order(view, asking->command->body.verb.order);
    const struct hf_order_item *item = (const struct hf_order_item *)(const void *)(answer + 1);
    const struct hf_pair pair[] = {
        {"items", 1 + (asking->command->arg < order->line_count ? order->line_count - asking->command->arg : 0), answer->item_count},
        {"order state", order->state, answer->order},
        {"payment state", order->payment, answer->payment},
        {"fulfilment state", order->fulfilment, answer->fulfilment},
        {"version of the order", (int64_t)order->version, (int64_t)answer->version},
        {"id of the item", 1, hf_id_equal(item->id, order->id)},
        {"customer", (int64_t)order->customer, (int64_t)item->customer},
        {"channel", order->channel, item->channel},
        {"lines", order->line_count, item->line_count},
        {"placed", (int64_t)order->placed_ns, (int64_t)item->placed_ns},
        {"changed", (int64_t)order->changed_ns, (int64_t)item->changed_ns},
        {"mode", order->mode, item->mode},
        {"intents", order->intents, item->intents},
    };
    return PAIRS_CHECK(asking->oracle, view, pair) && order_money(asking, view, order, item) &&
           order_lines(asking, view, order, (const struct hf_order_line_item *)(const void *)(item + 1));
}

/* The next defined location number from `from` on, or 0. */
static uint32_t next_location(const struct hf_view *view, uint64_t from)
{
    const struct hf_store *store = &view->oracle->store[HF_LOCATIONS];
    uint32_t least = 0;
    for (const struct hf_entry *entry = store->first; entry; entry = entry->next) {
        uint64_t number = entry->key.word[0];
        if (number >= from && (least == 0 || number < least) && hf_model_view_location(view, (uint32_t)number))
            least = (uint32_t)number;
    }
    return least;
}

static bool query_locations(struct hf_asking *asking, const struct hf_view *view)
{
    const struct hf_answer *answer = asking->answer;
    const struct hf_location_item *item = (const struct hf_location_item *)(const void *)(answer + 1);
    uint64_t from = asking->command->arg;
    uint32_t at = 0, number = next_location(view, from);
    for (; number != 0 && at < HF_LOCATION_PAGE; at++, number = next_location(view, (uint64_t)number + 1)) {
        if (at >= answer->item_count || item[at].location != number)
            return differs(asking->oracle, view, "location listed", number, at < answer->item_count ? item[at].location : 0);
        if (!name_check(asking->oracle, view, &hf_model_view_location(view, number)->name, item[at].name_bytes, item[at].name))
            return false;
    }
    const struct hf_pair pair[] = {{"locations listed", at, answer->item_count},
                                   {"MORE", number != 0, (answer->flags & HF_ANSWER_MORE) != 0}};
    return PAIRS_CHECK(asking->oracle, view, pair);
}

/* A query says the engine time at which it was answered, one of an order when its hold ends. */
static bool query_time(struct hf_asking *asking, const struct hf_view *view)
{
    const struct hf_m_order *order = asking->command->opcode == HF_GET_ORDER ? hf_model_view_order(view, asking->command->body.verb.order)
                                                                             : NULL;
    uint64_t seen = asking->answer->due_ns, last = hf_oracle_time_ns(asking->oracle);
    uint64_t to_ns = asking->span->to_ns > last ? asking->span->to_ns : last;
    if (order)
        return seen == order->due_ns || differs(asking->oracle, view, "end of the order's hold", (int64_t)order->due_ns, (int64_t)seen);
    if (seen + CLOCK_READ_NS >= asking->span->from_ns && seen <= to_ns + CLOCK_READ_NS)
        return true;
    return hf_model_fault(asking->oracle, view->position, "expected the engine time, from %llu to %llu, seen %llu",
                          (unsigned long long)asking->span->from_ns, (unsigned long long)to_ns, (unsigned long long)seen);
}

bool hf_model_asking_query(struct hf_asking *asking, const struct hf_view *view)
{
    if (!query_time(asking, view))
        return false;
    switch (asking->command->opcode) {
    case HF_GET_ORDER:
        return query_order(asking, view);
    case HF_GET_CELL:
        return query_cell(asking, view);
    case HF_GET_SKU:
        return query_sku(asking, view);
    default:
        return query_locations(asking, view);
    }
}
