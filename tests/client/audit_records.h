/* Records made by hand for the audit's tests: a shadow of the cells fills the touches, so that a sequence is right unless a test bends it.
 *
 * Only included by tests/client/audit_test.c and tests/client/audit_acked_test.c; one thread. */
#ifndef HF_TESTS_CLIENT_AUDIT_RECORDS_H
#define HF_TESTS_CLIENT_AUDIT_RECORDS_H

#include "wire/record.h"
#include "wire/result.h"

enum { SHADOW_CELLS = 16, SHADOW_ORDERS = 64, SHADOW_LINES = 8, SHADOW_PARTITIONS = 16 };

struct shadow_cell {
    struct hf_sku sku;
    uint32_t location;
    int32_t sellable, reserved, allocated;
};

struct shadow_order {
    struct hf_id id;
    unsigned count;
    struct hf_line lines[SHADOW_LINES];
};

/* The record that was made last stands in `bytes`, to be bent before it is fed. */
struct shadow {
    struct shadow_cell cells[SHADOW_CELLS];
    unsigned cell_count;
    struct shadow_order orders[SHADOW_ORDERS];
    unsigned order_count;
    uint64_t time_ns, serial;
    _Alignas(8) uint8_t bytes[HF_RECORD_BYTES_MAX];
};

static inline struct hf_record *shadow_record(struct shadow *s)
{
    return (struct hf_record *)(void *)s->bytes;
}

static inline struct hf_sku shadow_sku(const char *text)
{
    struct hf_sku sku = {{0, 0}};
    hf_sku_from_text(text, strlen(text), &sku);
    return sku;
}

static inline struct shadow_cell *shadow_cell(struct shadow *s, const struct hf_sku *sku, uint32_t location)
{
    for (unsigned i = 0; i < s->cell_count; i++)
        if (hf_sku_equal(&s->cells[i].sku, sku) && s->cells[i].location == location)
            return &s->cells[i];
    assert(s->cell_count < SHADOW_CELLS);
    s->cells[s->cell_count] = (struct shadow_cell){.sku = *sku, .location = location};
    return &s->cells[s->cell_count++];
}

static inline struct hf_id shadow_id(struct shadow *s, uint16_t route)
{
    return hf_id_make(route, s->time_ns / 1000000, ++s->serial);
}

static inline uint16_t shadow_home(uint16_t route)
{
    return (uint16_t)hf_partition(route, SHADOW_PARTITIONS);
}

/* Begins a record with room for its touches; the command stands behind them, its lines still to be filled. */
static inline struct hf_command *shadow_begin(struct shadow *s, uint16_t opcode, unsigned touches, unsigned lines, uint16_t home)
{
    struct hf_record *record = shadow_record(s);
    memset(s->bytes, 0, sizeof s->bytes);
    *record = (struct hf_record){
        .version = HF_RECORD_VERSION, .time_ns = s->time_ns += 1000, .line_count = (uint16_t)touches, .home = home};
    uint32_t outcome = hf_outcome_bytes(record, opcode == HF_PLACE);
    struct hf_command *command = (struct hf_command *)(void *)(s->bytes + outcome);
    command->length = (uint32_t)(sizeof *command + lines * sizeof(struct hf_line));
    command->opcode = opcode;
    command->version = HF_COMMAND_VERSION;
    command->line_count = (uint16_t)lines;
    record->length = outcome + command->length;
    return command;
}

static inline struct hf_line *shadow_lines(struct hf_command *command)
{
    return (struct hf_line *)(void *)(command + 1);
}

static inline struct hf_touch *shadow_touch(struct shadow *s, unsigned i)
{
    return (struct hf_touch *)(void *)(s->bytes + sizeof(struct hf_record)) + i;
}

static inline struct hf_named_touch *shadow_named(struct shadow *s, unsigned i)
{
    return (struct hf_named_touch *)(void *)(s->bytes + sizeof(struct hf_record)) + i;
}

static inline void shadow_touch_fill(struct hf_touch *touch, const struct shadow_cell *cell, uint32_t quantity, unsigned index)
{
    *touch = (struct hf_touch){.location = cell->location,
                               .quantity = quantity,
                               .cell_version = 1,
                               .sellable = cell->sellable,
                               .reserved = cell->reserved,
                               .allocated = cell->allocated,
                               .index = (uint16_t)index};
}

static inline void shadow_define_sku(struct shadow *s, const char *text)
{
    struct hf_sku sku = shadow_sku(text);
    struct hf_command *command = shadow_begin(s, HF_DEFINE_SKU, 0, 1, shadow_home(hf_route(&sku)));
    command->id = shadow_id(s, hf_route(&sku));
    shadow_lines(command)->sku = sku;
}

static inline void shadow_define_location(struct shadow *s, uint32_t location)
{
    struct hf_command *command = shadow_begin(s, HF_DEFINE_LOCATION, 0, 0, 0);
    command->id = shadow_id(s, 0);
    command->arg = location;
}

static inline struct hf_command *shadow_define_policy(struct shadow *s, const char *text, uint32_t location)
{
    struct hf_sku sku = shadow_sku(text);
    struct hf_command *command = shadow_begin(s, HF_DEFINE_POLICY, 0, 1, shadow_home(hf_route(&sku)));
    command->id = shadow_id(s, hf_route(&sku));
    shadow_lines(command)->sku = sku;
    shadow_lines(command)->location = location;
    return command;
}

/* opcode RECEIVE or ADJUST of sellable by `delta`. */
static inline struct hf_command *shadow_stock(struct shadow *s, uint16_t opcode, const char *text, uint32_t location, int32_t delta)
{
    struct hf_sku sku = shadow_sku(text);
    struct shadow_cell *cell = shadow_cell(s, &sku, location);
    struct hf_command *command = shadow_begin(s, opcode, 1, 1, shadow_home(hf_route(&sku)));
    command->id = shadow_id(s, hf_route(&sku));
    *shadow_lines(command) = (struct hf_line){.sku = sku, .location = location, .quantity = opcode == HF_RECEIVE ? (uint32_t)delta : 0};
    if (opcode == HF_ADJUST)
        command->body.stock.value = delta;
    cell->sellable += delta;
    shadow_named(s, 0)->sku = sku;
    shadow_touch_fill(&shadow_named(s, 0)->touch, cell, (uint32_t)(delta < 0 ? -delta : delta), 0);
    shadow_named(s, 0)->touch.flags = delta < 0 ? HF_TOUCH_NEGATIVE : 0;
    return command;
}

/* A place of `count` lines (at most SHADOW_LINES); hold of one second. */
static inline struct hf_id shadow_place(struct shadow *s, const struct hf_line *lines, unsigned count)
{
    assert(count <= SHADOW_LINES && s->order_count < SHADOW_ORDERS);
    uint16_t route = hf_route(&lines[0].sku);
    struct hf_command *command = shadow_begin(s, HF_PLACE, count, count, shadow_home(route));
    struct shadow_order *order = &s->orders[s->order_count++];
    command->id = order->id = shadow_id(s, route);
    command->body.place.channel = HF_CHANNEL_WEB;
    order->count = count;
    memcpy(order->lines, lines, count * sizeof *lines);
    memcpy(shadow_lines(command), lines, count * sizeof *lines);
    shadow_record(s)->order = HF_HELD;
    shadow_record(s)->state_version = 1;
    shadow_record(s)->due_ns = s->time_ns + 1000000000;
    for (unsigned i = 0; i < count; i++)
        shadow_cell(s, &lines[i].sku, lines[i].location)->reserved += (int32_t)lines[i].quantity;
    for (unsigned i = 0; i < count; i++)
        shadow_touch_fill(shadow_touch(s, i), shadow_cell(s, &lines[i].sku, lines[i].location), lines[i].quantity, i);
    return order->id;
}

static inline struct hf_id shadow_place_one(struct shadow *s, const char *text, uint32_t location, uint32_t quantity)
{
    struct hf_line line = {.sku = shadow_sku(text), .location = location, .quantity = quantity};
    return shadow_place(s, &line, 1);
}

static inline struct shadow_order *shadow_order(struct shadow *s, struct hf_id id)
{
    for (unsigned i = 0; i < s->order_count; i++)
        if (hf_id_equal(s->orders[i].id, id))
            return &s->orders[i];
    return NULL;
}

/* What a step moves for each unit of an order's lines. */
struct shadow_move {
    int32_t sellable, reserved, allocated;
};

static inline void shadow_move(struct shadow *s, const struct shadow_order *order, struct shadow_move move, unsigned touch, int index)
{
    for (unsigned i = 0; i < order->count; i++) {
        struct shadow_cell *cell = shadow_cell(s, &order->lines[i].sku, order->lines[i].location);
        int32_t quantity = (int32_t)order->lines[i].quantity;
        cell->sellable += move.sellable * quantity;
        cell->reserved += move.reserved * quantity;
        cell->allocated += move.allocated * quantity;
    }
    for (unsigned i = 0; i < order->count; i++) {
        const struct shadow_cell *cell = shadow_cell(s, &order->lines[i].sku, order->lines[i].location);
        shadow_named(s, touch + i)->sku = cell->sku;
        shadow_touch_fill(&shadow_named(s, touch + i)->touch, cell, order->lines[i].quantity, index < 0 ? i : (unsigned)index);
    }
}

static inline struct hf_command *shadow_verb(struct shadow *s, uint16_t opcode, struct hf_id id, uint8_t state, struct shadow_move move)
{
    bool moves = (move.sellable | move.reserved | move.allocated) != 0;
    const struct shadow_order *order = shadow_order(s, id);
    struct hf_command *command = shadow_begin(s, opcode, moves ? order->count : 0, 0, shadow_home(hf_id_route(id)));
    command->id = shadow_id(s, hf_id_route(id));
    command->body.verb.order = id;
    command->body.verb.amount = 100;
    shadow_record(s)->order = state;
    if (moves)
        shadow_move(s, order, move, 0, -1);
    return command;
}

static const struct shadow_move shadow_commit = {0, -1, 1}, shadow_release = {0, -1, 0}, shadow_uncommit = {0, 0, -1},
                                shadow_ship = {-1, 0, -1}, shadow_rehold = {0, 0, 1}, shadow_nothing = {0, 0, 0};

static inline void shadow_settle(struct shadow *s, struct hf_id id)
{
    shadow_verb(s, HF_SETTLE, id, HF_CONFIRMED, shadow_commit);
}

static inline void shadow_cancel(struct shadow *s, struct hf_id id)
{
    shadow_verb(s, HF_CANCEL, id, HF_CANCELLED, shadow_release);
}

/* EXPIRE or FORGET of `count` ids, which share a home. */
static inline struct hf_command *shadow_sweep(struct shadow *s, uint16_t opcode, const struct hf_id *ids, unsigned count)
{
    unsigned touches = 0, at = 0;
    uint16_t home = shadow_home(hf_id_route(ids[0]));
    for (unsigned i = 0; opcode == HF_EXPIRE && i < count; i++)
        touches += shadow_order(s, ids[i])->count;
    struct hf_command *command = shadow_begin(s, opcode, touches, (count + 1) / 2, home);
    command->body.sweep.partition = home;
    command->body.sweep.count = count;
    memcpy(command + 1, ids, count * sizeof *ids);
    for (unsigned i = 0; opcode == HF_EXPIRE && i < count; i++) {
        shadow_move(s, shadow_order(s, ids[i]), shadow_release, at, (int)i);
        at += shadow_order(s, ids[i])->count;
    }
    return command;
}

static inline void shadow_mark(struct shadow *s, uint64_t mark_ms)
{
    struct hf_command *command = shadow_begin(s, HF_MARK, 0, 0, 0);
    command->body.mark.mark_ms = mark_ms;
    command->body.mark.modulus = 1;
}

#endif
