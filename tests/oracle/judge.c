/* What the text allows as the answer to a command at one moment. The order of the checks is "Precedence" of docs/protocol.md. */
#include "tests/oracle/oracle_p.h"

enum { AHEAD_MS_MAX = 3600 * 1000 };

static uint64_t shed(const struct hf_view *view)
{
    return view->oracle->options.allowed_from_client;
}

/* FULL, where a table can be full. */
uint64_t hf_model_judge_full(const struct hf_view *view, const struct hf_command *command)
{
    const uint64_t *from = view->oracle->options.full_from;
    const struct hf_store *store = view->oracle->store;
    uint64_t lines = command->opcode == HF_PLACE ? command->line_count : 1;
    bool full = false;
    full |= store[HF_SKUS].live >= from[HF_TABLE_SKUS] && command->opcode == HF_DEFINE_SKU;
    full |= store[HF_CELLS].live >= from[HF_TABLE_CELLS] && hf_opcode_family(command->opcode) <= HF_FAMILY_STOCK;
    full |= store[HF_ORDERS].live >= from[HF_TABLE_ORDERS] && command->opcode == HF_PLACE;
    full |= view->oracle->counts.lines + lines >= from[HF_TABLE_LINES];
    full |= store[HF_IDS].live >= from[HF_TABLE_COMMAND_IDS] && command->opcode != HF_PLACE;
    full |= store[HF_LIMITS].live + lines > from[HF_TABLE_LIMITS] && (command->opcode == HF_PLACE || command->opcode == HF_SETTLE);
    full |= store[HF_LOCATIONS].live >= from[HF_TABLE_LOCATIONS] && command->opcode == HF_DEFINE_LOCATION;
    return full ? hf_bit(HF_FULL) : 0;
}

static uint16_t route_due(const struct hf_command *command)
{
    if (command->opcode == HF_DEFINE_LOCATION)
        return 0;
    return command->line_count > 0 ? hf_route(&hf_command_lines(command)->sku) : hf_id_route(command->body.verb.order);
}

static bool has_extension(const struct hf_command *command, uint16_t type, uint16_t *bytes)
{
    *bytes = 0;
    return hf_command_extension(command, type, bytes) != NULL;
}

static uint64_t judge_name(const struct hf_command *command)
{
    uint16_t bytes;
    if (!has_extension(command, HF_EXT_NAME, &bytes))
        return hf_bit(HF_OK);
    return bytes == 0 || bytes > 40 ? hf_bit(HF_OK) | hf_bit(HF_BAD_EXTENSION) : hf_bit(HF_OK);
}

static uint64_t judge_policy(const struct hf_view *view, const struct hf_command *command)
{
    const struct hf_line *line = hf_command_lines(command);
    uint64_t loose = 0, opens_ms = command->body.policy.opens_ms, closes_ms = command->body.policy.closes_ms;
    bool odd = command->body.policy.safety_stock > HF_QUANTITY_MAX || command->body.policy.per_order > HF_QUANTITY_MAX ||
               command->body.policy.per_customer > HF_QUANTITY_MAX || (closes_ms != 0 && closes_ms <= opens_ms) ||
               (opens_ms | closes_ms) >> 44 != 0;
    /* Of a cell's policy only the safety stock counts: whether the rest is ignored or refused is not said. */
    odd |= line->location != 0 && ((opens_ms | closes_ms) != 0 || (command->body.policy.per_order | command->body.policy.per_customer |
                                                                   command->body.policy.window_s) != 0);
    if (odd)
        loose |= hf_bit(HF_BAD_ARGUMENT) | hf_bit(HF_OVERFLOW);
    if (!hf_model_view_sku(view, &line->sku))
        return loose | hf_bit(HF_UNKNOWN_SKU);
    if (line->location != 0 && !hf_model_view_location(view, line->location))
        return loose | hf_bit(HF_UNKNOWN_LOCATION);
    return loose | hf_bit(HF_OK) | hf_model_judge_full(view, command);
}

static uint64_t judge_define(const struct hf_view *view, const struct hf_command *command)
{
    if (command->opcode == HF_DEFINE_POLICY)
        return judge_policy(view, command);
    if (command->opcode == HF_DEFINE_LOCATION && command->arg == 0)
        return hf_bit(HF_BAD_ARGUMENT);
    uint64_t results = judge_name(command);
    return results & hf_bit(HF_OK) ? results | hf_model_judge_full(view, command) : results;
}

/* What a bucket may become: OK, OVERFLOW, BELOW_ZERO. */
static uint64_t judge_bucket(const struct hf_view *view, const struct hf_command *command, const struct hf_m_cell *cell, __int128 becomes)
{
    int64_t was = cell ? cell->bucket[command->arg] : 0, sum = 0;
    for (int i = 0; cell && i < 3; i++)
        sum += cell->bucket[i];
    __int128 on_hand = sum - was + becomes;
    if (becomes > INT32_MAX || becomes < INT32_MIN)
        return hf_bit(HF_OVERFLOW);
    uint64_t results = on_hand > INT32_MAX || on_hand < INT32_MIN ? hf_bit(HF_OVERFLOW) : 0;
    if (command->opcode == HF_RECEIVE || (command->flags & HF_FLAG_FORCE))
        return results | hf_bit(HF_OK) | hf_model_judge_full(view, command);
    if (becomes < 0)
        return results | hf_bit(HF_BELOW_ZERO) | (becomes >= was ? hf_bit(HF_OK) : 0);
    return results | hf_bit(HF_OK) | hf_model_judge_full(view, command);
}

/* What stands against a set, or 0. A cell follows the source that set it first, until another takes its place by force. */
static uint64_t judge_set_order(const struct hf_command *command, const struct hf_m_cell *cell)
{
    uint64_t version = cell ? cell->version : 0;
    bool force = command->flags & HF_FLAG_FORCE;
    if ((command->flags & HF_FLAG_EXPECT_VERSION) && command->body.stock.version != version)
        return hf_bit(HF_STALE_VERSION);
    if (!(command->flags & HF_FLAG_SOURCE) || !cell || !cell->followed)
        return 0;
    if (cell->source != command->body.stock.source)
        return force ? 0 : hf_bit(HF_NOT_APPLIED);
    return command->body.stock.sequence <= cell->sequence ? hf_bit(HF_NOT_APPLIED) : 0;
}

static bool set_reserved(const struct hf_command *command)
{
    bool version = command->flags & HF_FLAG_EXPECT_VERSION, source = command->flags & HF_FLAG_SOURCE;
    return (!version && command->body.stock.version != 0) || (!source && (command->body.stock.source | command->body.stock.sequence) != 0);
}

static uint64_t judge_stock(const struct hf_view *view, const struct hf_command *command)
{
    const struct hf_line *line = hf_command_lines(command);
    uint16_t bytes;
    if (command->arg > HF_QUALITY_CONTROL || (command->opcode == HF_RECEIVE && command->arg == HF_DAMAGED))
        return hf_bit(HF_BAD_ARGUMENT);
    /* An adjustment by nothing may be one too few. */
    uint64_t loose = command->opcode == HF_ADJUST && command->body.stock.value == 0 ? hf_bit(HF_BAD_ARGUMENT) : 0;
    if (command->opcode == HF_ADJUST && (!has_extension(command, HF_EXT_REASON, &bytes) || bytes == 0))
        return loose | hf_bit(HF_BAD_EXTENSION);
    if (command->opcode == HF_SET && set_reserved(command))
        return hf_bit(HF_RESERVED_NOT_ZERO);
    if (!hf_model_view_sku(view, &line->sku))
        return loose | hf_bit(HF_UNKNOWN_SKU);
    if (!hf_model_view_location(view, line->location))
        return loose | hf_bit(HF_UNKNOWN_LOCATION);
    const struct hf_m_cell *cell = hf_model_view_cell(view, &line->sku, line->location);
    if (command->opcode == HF_SET) {
        uint64_t stale = judge_set_order(command, cell);
        return stale ? stale : loose | judge_bucket(view, command, cell, command->body.stock.value);
    }
    __int128 was = cell ? cell->bucket[command->arg] : 0;
    return loose |
           judge_bucket(view, command, cell, was + (command->opcode == HF_RECEIVE ? line->quantity : (__int128)command->body.stock.value));
}

static uint64_t judge_query(const struct hf_view *view, const struct hf_command *command)
{
    const struct hf_line *line = hf_command_lines(command);
    switch (command->opcode) {
    case HF_GET_ORDER:
        if (hf_model_view_order(view, command->body.verb.order))
            return hf_bit(HF_OK);
        return hf_bit(HF_UNKNOWN_ORDER);
    case HF_GET_CELL: {
        if (!hf_model_view_sku(view, &line->sku))
            return hf_bit(HF_UNKNOWN_SKU);
        if (!hf_model_view_location(view, line->location))
            return hf_bit(HF_UNKNOWN_LOCATION);
        const struct hf_m_cell *cell = hf_model_view_cell(view, &line->sku, line->location);
        if (!cell)
            return hf_bit(HF_NOT_FOUND);
        return hf_bit(HF_OK) | (cell->stocked ? 0 : hf_bit(HF_NOT_FOUND));
    }
    case HF_GET_SKU:
        return hf_model_view_sku(view, &line->sku) ? hf_bit(HF_OK) : hf_bit(HF_UNKNOWN_SKU);
    default:
        return hf_bit(HF_OK);
    }
}

static uint64_t judge_body(const struct hf_view *view, const struct hf_command *command)
{
    switch (hf_opcode_family(command->opcode)) {
    case HF_FAMILY_DEFINE:
        return judge_define(view, command);
    case HF_FAMILY_STOCK:
        return judge_stock(view, command);
    case HF_FAMILY_ORDER:
        return command->opcode == HF_PLACE ? hf_model_judge_place(view, command) : hf_model_judge_verb(view, command);
    case HF_FAMILY_QUERY:
        return judge_query(view, command);
    default:
        return hf_bit(HF_OK);
    }
}

/* Whether a known id may already have been dropped without a record: an order keeps its commands' ids only while newer than the mark. */
static bool may_be_dropped(const struct hf_view *view, const struct hf_m_id *known)
{
    if (known->maybe_gone)
        return true;
    return !hf_id_none(known->order) && hf_id_ms(known->command->id) <= hf_model_view_mark(view, hf_id_route(known->order));
}

static bool judge_known(const struct hf_view *view, const struct hf_command *command, struct hf_oracle_allowed *allowed)
{
    const struct hf_m_id *known = hf_model_view_id(view, command);
    bool verb = hf_opcode_family(command->opcode) == HF_FAMILY_ORDER && command->opcode != HF_PLACE;
    /* An order knows its own id. */
    if (verb && hf_id_equal(command->id, command->body.verb.order) && hf_model_view_order(view, command->id)) {
        allowed->results |= hf_bit(HF_ID_REUSED);
        return true;
    }
    if (!known) {
        /* One id for two commands in different places is the client's fault; that it is found out is not certain. */
        if (hf_model_view_seen(view, command->id) || hf_model_view_order(view, command->id))
            allowed->results |= hf_bit(HF_ID_REUSED);
        return false;
    }
    bool same = hf_model_same_body(known->command, command);
    allowed->repeated = same;
    allowed->results |= same ? hf_bit(known->result) : hf_bit(HF_ID_REUSED);
    const struct hf_m_seen *seen = hf_model_view_seen(view, command->id);
    /* Once it is dropped, what else bears the id is what is found. */
    bool another = (seen && seen->in_table) || hf_model_view_order(view, command->id);
    if (may_be_dropped(view, known))
        allowed->results |= hf_bit(HF_ID_TOO_OLD) | (another ? hf_bit(HF_ID_REUSED) : 0);
    return true;
}

/* A write under a key that stands for another, or for the same under another id. */
static bool judge_key(const struct hf_view *view, const struct hf_command *command, struct hf_oracle_allowed *allowed)
{
    struct hf_request_key key;
    if (!hf_command_request_key(command, &key))
        return false;
    const struct hf_m_key *known = hf_model_view_key(view, &key);
    if (!known) {
        bool full = view->oracle->store[HF_KEYS].live >= view->oracle->options.full_from[HF_TABLE_REQUEST_KEYS];
        allowed->results |= full ? hf_bit(HF_FULL) : 0;
        return false;
    }
    if (!hf_model_same_write(known->command, command)) {
        allowed->results |= hf_bit(HF_ID_REUSED);
        return true;
    }
    if (hf_id_route(command->id) != hf_id_route(known->command->id)) {
        allowed->results |= hf_bit(HF_WRONG_ROUTE);
        return true;
    }
    if (!hf_model_view_key_held(view, known))
        return false;
    const struct hf_m_id *first = hf_model_view_id(view, known->command);
    allowed->repeated = true;
    allowed->results |= first ? hf_bit(first->result) : 0;
    return true;
}

void hf_model_judge(const struct hf_view *view, const struct hf_command *command, struct hf_oracle_allowed *allowed)
{
    *allowed = (struct hf_oracle_allowed){.results = shed(view)};
    unsigned family = hf_opcode_family(command->opcode);
    if (family == HF_FAMILY_QUERY || family == HF_FAMILY_ADMIN) {
        allowed->results |= judge_body(view, command);
        return;
    }
    if (judge_key(view, command, allowed) || judge_known(view, command, allowed))
        return;
    uint64_t ms = hf_id_ms(command->id);
    /* The mark is that of the home: a place's is by its id, any other's by what it is about. */
    uint16_t home = command->opcode == HF_PLACE ? hf_id_route(command->id) : route_due(command);
    if (ms <= hf_model_view_mark(view, home)) {
        allowed->results |= hf_bit(HF_ID_TOO_OLD);
        return;
    }
    if (ms > view->time_ns / 1000000 + AHEAD_MS_MAX) {
        allowed->results |= hf_bit(HF_ID_IN_FUTURE);
        if (!view->oracle->options.wall_clock_differs)
            return;
    }
    allowed->results |= hf_id_route(command->id) != route_due(command) ? hf_bit(HF_WRONG_ROUTE) : judge_body(view, command);
}
