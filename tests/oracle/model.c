#include "tests/oracle/oracle_p.h"

#include <stdarg.h>
#include <stdio.h>

struct hf_key hf_model_key_sku(const struct hf_sku *sku)
{
    return (struct hf_key){{sku->word[0], sku->word[1]}};
}

struct hf_key hf_model_key_number(uint64_t number)
{
    return (struct hf_key){{number}};
}

struct hf_key hf_model_key_cell(const struct hf_sku *sku, uint32_t location)
{
    return (struct hf_key){{sku->word[0], sku->word[1], location}};
}

struct hf_key hf_model_key_limit(const struct hf_sku *sku, uint64_t customer)
{
    return (struct hf_key){{sku->word[0], sku->word[1], customer}};
}

struct hf_key hf_model_key_id(struct hf_id id)
{
    return (struct hf_key){{id.high, id.low}};
}

struct hf_key hf_model_key_request(const struct hf_request_key *key)
{
    return (struct hf_key){{key->word[0], key->word[1]}};
}

static const void *look(const struct hf_view *view, enum hf_thing thing, struct hf_key key)
{
    return hf_model_store_at(&view->oracle->store[thing], &key, view->position);
}

const struct hf_m_sku *hf_model_view_sku(const struct hf_view *view, const struct hf_sku *sku)
{
    return look(view, HF_SKUS, hf_model_key_sku(sku));
}

const struct hf_m_location *hf_model_view_location(const struct hf_view *view, uint32_t location)
{
    return look(view, HF_LOCATIONS, hf_model_key_number(location));
}

const struct hf_m_cell *hf_model_view_cell(const struct hf_view *view, const struct hf_sku *sku, uint32_t location)
{
    return look(view, HF_CELLS, hf_model_key_cell(sku, location));
}

const struct hf_m_order *hf_model_view_order(const struct hf_view *view, struct hf_id id)
{
    return look(view, HF_ORDERS, hf_model_key_id(id));
}

struct hf_key hf_model_key_scope(const struct hf_oracle *oracle, const struct hf_command *command)
{
    struct hf_key key = hf_model_key_id(command->id);
    struct hf_id order = command->body.verb.order;
    uint16_t route = command->line_count > 0 ? hf_route(&hf_command_lines(command)->sku) : 0;
    if (hf_opcode_family(command->opcode) != HF_FAMILY_ORDER)
        return (struct hf_key){{key.word[0], key.word[1], ~0ull, hf_partition(route, oracle->options.partitions)}};
    return command->opcode == HF_PLACE ? key : (struct hf_key){{key.word[0], key.word[1], order.high, order.low}};
}

const struct hf_m_seen *hf_model_view_seen(const struct hf_view *view, struct hf_id id)
{
    return look(view, HF_SEEN, hf_model_key_id(id));
}

const struct hf_m_id *hf_model_view_id(const struct hf_view *view, const struct hf_command *command)
{
    return look(view, HF_IDS, hf_model_key_scope(view->oracle, command));
}

const struct hf_m_key *hf_model_view_key(const struct hf_view *view, const struct hf_request_key *key)
{
    return look(view, HF_KEYS, hf_model_key_request(key));
}

bool hf_model_view_key_held(const struct hf_view *view, const struct hf_m_key *key)
{
    struct hf_id id = key->command->id;
    if (key->command->opcode == HF_PLACE)
        return hf_model_view_order(view, id) != NULL;
    return hf_id_ms(id) > hf_model_view_mark(view, hf_id_route(id));
}

static const struct hf_m_partition *partition_of(const struct hf_view *view, uint16_t route)
{
    return look(view, HF_PARTITIONS, hf_model_key_number(hf_partition(route, view->oracle->options.partitions)));
}

uint64_t hf_model_view_mark(const struct hf_view *view, uint16_t route)
{
    const struct hf_m_partition *partition = partition_of(view, route);
    return partition ? partition->mark_ms : 0;
}

uint64_t hf_model_view_time(const struct hf_view *view, uint16_t route)
{
    const struct hf_m_partition *partition = partition_of(view, route);
    return partition ? partition->time_ns : 0;
}

int64_t hf_model_view_safety(const struct hf_view *view, const struct hf_sku *sku, const struct hf_m_cell *cell)
{
    if (cell && cell->own_safety)
        return cell->safety_stock;
    const struct hf_m_sku *policy = hf_model_view_sku(view, sku);
    return policy ? policy->safety_stock : 0;
}

int64_t hf_model_view_available(const struct hf_view *view, const struct hf_sku *sku, uint32_t location)
{
    const struct hf_m_cell *cell = hf_model_view_cell(view, sku, location);
    int64_t safety = hf_model_view_safety(view, sku, cell);
    return cell ? cell->bucket[HF_SELLABLE] - safety - cell->reserved - cell->allocated : -safety;
}

static bool payment_at_rest(uint8_t payment)
{
    return payment == HF_PAY_NONE || payment == HF_PAY_VOIDED || payment == HF_PAY_CAPTURED || payment == HF_PAY_REFUNDED ||
           payment == HF_PAY_FAILED;
}

bool hf_model_order_terminal(const struct hf_m_order *order)
{
    bool over = order->state == HF_CLOSED || order->state == HF_CANCELLED || order->state == HF_EXPIRED;
    return over && payment_at_rest(order->payment) && order->open_count == 0;
}

const struct hf_intent *hf_model_order_open_intent(const struct hf_m_order *order, uint32_t number)
{
    for (uint32_t i = 0; i < order->open_count; i++)
        if (order->open[i].number == number)
            return &order->open[i];
    return NULL;
}

/* The next extension that is not TRACE_CONTEXT, or `end`. */
static const uint8_t *skip_trace(const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        uint16_t head[2];
        memcpy(head, at, sizeof head);
        if (head[0] != HF_EXT_TRACE_CONTEXT)
            break;
        at += (sizeof head + head[1] + 7u) & ~(size_t)7;
    }
    return at;
}

static size_t extension_bytes(const uint8_t *at)
{
    uint16_t head[2];
    memcpy(head, at, sizeof head);
    return (sizeof head + head[1] + 7u) & ~(size_t)7;
}

static bool same_extensions(const struct hf_command *a, const struct hf_command *b)
{
    const uint8_t *x = hf_command_extensions(a), *x_end = x + a->ext_bytes;
    const uint8_t *y = hf_command_extensions(b), *y_end = y + b->ext_bytes;
    for (x = skip_trace(x, x_end), y = skip_trace(y, y_end); x < x_end && y < y_end; x = skip_trace(x, x_end), y = skip_trace(y, y_end)) {
        size_t bytes = extension_bytes(x);
        if (bytes != extension_bytes(y) || memcmp(x, y, bytes) != 0)
            return false;
        x += bytes;
        y += bytes;
    }
    return x == x_end && y == y_end;
}

bool hf_model_same_body(const struct hf_command *a, const struct hf_command *b)
{
    return hf_id_equal(a->id, b->id) && hf_model_same_write(a, b);
}

bool hf_model_same_write(const struct hf_command *a, const struct hf_command *b)
{
    return a->opcode == b->opcode && a->version == b->version && a->flags == b->flags && a->line_count == b->line_count &&
           a->arg == b->arg && memcmp(a->body.bytes, b->body.bytes, sizeof a->body) == 0 &&
           memcmp(hf_command_lines(a), hf_command_lines(b), a->line_count * sizeof(struct hf_line)) == 0 && same_extensions(a, b);
}

const char *hf_model_opcode_name(uint16_t opcode)
{
    static const char *const names[7][8] = {
        {NULL},
        {NULL, "DEFINE_SKU", "DEFINE_LOCATION", "DEFINE_POLICY"},
        {NULL, "RECEIVE", "ADJUST", "SET"},
        {NULL, "PLACE", "EXTEND", "SETTLE", "PAYMENT_RESULT", "SHIP", "CANCEL"},
        {NULL, "GET_ORDER", "GET_CELL", "GET_SKU", "LIST_LOCATIONS"},
        {NULL, "STATUS", "DIGEST", "AUDIT", "FOLLOW"},
        {NULL, "EXPIRE", "MARK", "FORGET", "PURGE_LIMITS", "PURGE_KEYS"},
    };
    unsigned family = hf_opcode_family(opcode), number = opcode & 0xff;
    return family < 7 && number < 8 && names[family][number] ? names[family][number] : "command of unknown opcode";
}

const char *hf_model_results_text(uint64_t results)
{
    static char text[512];
    size_t used = 0;
    text[0] = 0;
    for (unsigned r = 0; r < HF_RESULT_COUNT && used < sizeof text - 24; r++)
        if (results & hf_bit(r))
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? "|" : "", hf_result_name(r));
    return used ? text : "nothing";
}

bool hf_model_fault(struct hf_oracle *oracle, uint64_t position, const char *format, ...)
{
    char sentence[768];
    if (position == HF_NEWEST)
        position = oracle->position;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    const struct hf_command *of = oracle->subject;
    if (of)
        snprintf(oracle->fault, sizeof oracle->fault, "position %llu, %s %016llx%016llx: %s", (unsigned long long)position,
                 hf_model_opcode_name(of->opcode), (unsigned long long)of->id.high, (unsigned long long)of->id.low, sentence);
    else
        snprintf(oracle->fault, sizeof oracle->fault, "position %llu: %s", (unsigned long long)position, sentence);
    return false;
}
