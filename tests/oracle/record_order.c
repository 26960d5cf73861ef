/* Records of orders: placed, extended, settled, paid, shipped, cancelled. */
#include "tests/oracle/oracle_p.h"

#define MS_NS 1000000ull

struct hf_m_cell *hf_model_change_cell(struct hf_oracle *oracle, const struct hf_m_line *line, int64_t reserved, int64_t allocated,
                                       bool once)
{
    struct hf_m_cell *cell = hf_model_write_cell(oracle, &line->sku, line->location);
    cell->reserved += reserved;
    cell->allocated += allocated;
    cell->flag_loose = false;
    cell->version += !once || cell->changed_position != oracle->applying;
    cell->changed_position = oracle->applying;
    return cell;
}

/* The lines of an order that may be written: they are shared with the states before. */
static struct hf_m_line *own_lines(struct hf_oracle *oracle, struct hf_m_order *order)
{
    size_t bytes = order->line_count * sizeof *order->lines;
    struct hf_m_line *lines = memcpy(hf_oracle_take(oracle, bytes), order->lines, bytes);
    order->lines = lines;
    return lines;
}

static bool states_check(struct hf_taking *taking, const struct hf_m_order *order)
{
    const struct hf_record *record = taking->record;
    if (record->order != order->state || record->payment != order->payment || record->fulfilment != order->fulfilment)
        return hf_model_fault(taking->oracle, taking->position, "expected order, payment, fulfilment %u, %u, %u, seen %u, %u, %u",
                              order->state, order->payment, order->fulfilment, record->order, record->payment, record->fulfilment);
    if (record->state_version != order->version)
        return hf_model_fault(taking->oracle, taking->position, "expected version %llu of the order, seen %llu",
                              (unsigned long long)order->version, (unsigned long long)record->state_version);
    if (record->due_ns != order->due_ns)
        return hf_model_fault(taking->oracle, taking->position, "expected the hold to end at %llu, seen %llu",
                              (unsigned long long)order->due_ns, (unsigned long long)record->due_ns);
    return true;
}

/* Every line of the order once, whole; then the cells. */
static bool touches_check(struct hf_taking *taking, const struct hf_m_order *order, uint32_t expected)
{
    bool seen[HF_LINES_MAX] = {false};
    if (taking->record->line_count != expected)
        return hf_model_fault(taking->oracle, taking->position, "expected %u touched lines, seen %u", expected, taking->record->line_count);
    for (uint32_t i = 0; i < expected; i++) {
        struct hf_sku sku;
        struct hf_touch touch = hf_model_taking_touch(taking, i, &sku);
        if (touch.index >= order->line_count || seen[touch.index])
            return hf_model_fault(taking->oracle, taking->position, "touch %u names line %u, which is not there or was touched before", i,
                                  touch.index);
        const struct hf_m_line *line = &order->lines[touch.index];
        seen[touch.index] = true;
        if (!hf_sku_equal(&sku, &line->sku) || touch.location != line->location || touch.quantity != line->quantity)
            return hf_model_fault(taking->oracle, taking->position, "touch %u: expected %u units at location %u of line %u, seen %u at %u",
                                  i, line->quantity, line->location, touch.index, touch.quantity, touch.location);
        if (!hf_model_taking_touch_check(taking, i))
            return false;
    }
    return true;
}

static struct hf_m_line *lines_of(struct hf_oracle *oracle, const struct hf_command *command)
{
    const struct hf_line *asked = hf_command_lines(command);
    struct hf_m_line *lines = hf_oracle_take(oracle, command->line_count * sizeof *lines);
    for (uint32_t i = 0; i < command->line_count; i++)
        lines[i] = (struct hf_m_line){
            .sku = asked[i].sku, .location = asked[i].location, .quantity = asked[i].quantity, .price = asked[i].price};
    return lines;
}

bool hf_model_taking_place(struct hf_taking *taking)
{
    struct hf_oracle *oracle = taking->oracle;
    const struct hf_command *command = taking->command;
    const uint64_t now = taking->record->time_ns;
    struct hf_m_line *lines = lines_of(oracle, command);
    for (uint32_t i = 0; i < command->line_count; i++) {
        hf_model_limit_grant(oracle, command->body.place.customer, &lines[i], now);
        hf_model_change_cell(oracle, &lines[i], lines[i].quantity, 0, true);
    }
    struct hf_m_order *order = hf_model_write_order(oracle, command->id);
    *order = (struct hf_m_order){.id = command->id,
                                 .customer = command->body.place.customer,
                                 .channel = command->body.place.channel,
                                 .line_count = command->line_count,
                                 .mode = command->body.place.mode,
                                 .state = HF_HELD,
                                 .version = 1,
                                 .due_ns = now + command->arg * MS_NS,
                                 .placed_ns = now,
                                 .changed_ns = now,
                                 .lines = lines};
    oracle->counts.lines += command->line_count;
    if (taking->record->intent_count != 0)
        return hf_model_fault(oracle, taking->position, "expected no intents of a place, seen %u", taking->record->intent_count);
    return states_check(taking, order) && touches_check(taking, order, order->line_count);
}

/* Takes the record's intents into the order: numbered on from its last, its own, of a kind in `kinds` (bits). */
static bool take_intents(struct hf_taking *taking, struct hf_m_order *order, uint32_t least, uint32_t most, unsigned kinds)
{
    uint32_t count = taking->record->intent_count;
    if (count < least || count > most)
        return hf_model_fault(taking->oracle, taking->position, "expected %u to %u intents, seen %u", least, most, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct hf_intent *intent = &taking->intents[i];
        bool known = intent->kind >= HF_INTENT_CAPTURE && intent->kind <= HF_INTENT_REFUND;
        if (!known || !(kinds & 1u << intent->kind) || intent->number != order->intents + 1 || !hf_id_equal(intent->order, order->id))
            return hf_model_fault(taking->oracle, taking->position,
                                  "intent %u (kind %u, number %u) does not follow from the step; expected number %u", i, intent->kind,
                                  intent->number, order->intents + 1);
        if (intent->amount <= 0 || memcmp(intent->currency, order->currency, 3) != 0)
            return hf_model_fault(taking->oracle, taking->position, "intent %u has amount %lld or a currency that is not the order's", i,
                                  (long long)intent->amount);
        if (order->open_count == HF_OPEN_INTENTS_MAX)
            return hf_model_fault(taking->oracle, taking->position, "more than %d open intents of one order", HF_OPEN_INTENTS_MAX);
        order->open[order->open_count++] = *intent;
        order->intents++;
    }
    return true;
}

static bool intent_amount(struct hf_taking *taking, int64_t amount)
{
    for (uint32_t i = 0; i < taking->record->intent_count; i++)
        if (taking->intents[i].amount != amount)
            return hf_model_fault(taking->oracle, taking->position, "expected an intent over %lld, seen %lld", (long long)amount,
                                  (long long)taking->intents[i].amount);
    return true;
}

static bool take_extend(struct hf_taking *taking, struct hf_m_order *order)
{
    order->due_ns = taking->record->time_ns + taking->command->arg * MS_NS;
    order->extends++;
    return take_intents(taking, order, 0, 0, 0) && states_check(taking, order) && touches_check(taking, order, 0);
}

static void hold_again(struct hf_taking *taking, struct hf_m_order *order)
{
    struct hf_m_line *lines = own_lines(taking->oracle, order);
    for (uint32_t i = 0; i < order->line_count; i++)
        hf_model_limit_grant(taking->oracle, order->customer, &lines[i], taking->record->time_ns);
}

static bool take_settle(struct hf_taking *taking, struct hf_m_order *order)
{
    struct hf_oracle *oracle = taking->oracle;
    const struct hf_command *command = taking->command;
    memcpy(order->currency, command->body.verb.currency, 3);
    order->due_ns = 0;
    if (taking->record->result == HF_STOCK_LOST) {
        order->payment = HF_PAY_REFUND_DUE;
        order->money_loose = true;
        return take_intents(taking, order, 0, 1, 1u << HF_INTENT_REFUND | 1u << HF_INTENT_VOID) &&
               intent_amount(taking, command->body.verb.amount) && states_check(taking, order) && touches_check(taking, order, 0);
    }
    bool again = order->state == HF_EXPIRED, anew = order->state == HF_CONFIRMED;
    if (again)
        hold_again(taking, order);
    for (uint32_t i = 0; !anew && i < order->line_count; i++) {
        int64_t units = order->lines[i].quantity;
        hf_model_change_cell(oracle, &order->lines[i], again ? 0 : -units, units, false);
    }
    order->state = HF_CONFIRMED;
    order->payment = HF_PAY_CAPTURE_PENDING;
    order->authorised = command->body.verb.amount;
    if (!take_intents(taking, order, 1, 1, 1u << HF_INTENT_CAPTURE) || !intent_amount(taking, command->body.verb.amount))
        return false;
    taking->id->value = order->intents;
    return states_check(taking, order) && touches_check(taking, order, anew ? 0 : order->line_count);
}

static bool take_ship(struct hf_taking *taking, struct hf_m_order *order)
{
    for (uint32_t i = 0; i < order->line_count; i++) {
        int64_t units = order->lines[i].quantity;
        struct hf_m_cell *cell = hf_model_change_cell(taking->oracle, &order->lines[i], 0, -units, false);
        cell->bucket[HF_SELLABLE] -= units;
        cell->moved[HF_SELLABLE] -= units;
    }
    order->state = HF_CLOSED;
    order->fulfilment = HF_SHIPPED;
    return take_intents(taking, order, 0, 0, 0) && states_check(taking, order) && touches_check(taking, order, order->line_count);
}

void hf_model_release_order(struct hf_oracle *oracle, struct hf_m_order *order, uint8_t state, uint64_t time_ns)
{
    bool held = order->state == HF_HELD;
    for (uint32_t i = 0; i < order->line_count; i++) {
        const struct hf_m_line *line = &order->lines[i];
        int64_t units = line->quantity;
        hf_model_change_cell(oracle, line, held ? -units : 0, held ? 0 : -units, false);
        hf_model_limit_give_back(oracle, order->customer, line, time_ns);
    }
    order->state = state;
    order->due_ns = 0;
}

/* The payment that the record says, where the text allows several: it must be one of `set` (bits). */
static bool adopt_payment(struct hf_taking *taking, struct hf_m_order *order, unsigned set)
{
    if (taking->record->payment > HF_PAY_UNKNOWN || !(set & 1u << taking->record->payment))
        return hf_model_fault(taking->oracle, taking->position, "payment %u after payment %u, which this step cannot make",
                              taking->record->payment, order->payment);
    order->payment = taking->record->payment;
    return true;
}

static bool take_cancel(struct hf_taking *taking, struct hf_m_order *order)
{
    hf_model_release_order(taking->oracle, order, HF_CANCELLED, taking->record->time_ns);
    bool good;
    switch (order->payment) {
    case HF_PAY_CAPTURE_PENDING:
        /* Either way the money is watched: the capture stays open, or an intent calls it back. */
        good = take_intents(taking, order, 0, 1, 1u << HF_INTENT_VOID | 1u << HF_INTENT_REFUND) &&
               adopt_payment(taking, order, 1u << HF_PAY_CAPTURE_PENDING | 1u << HF_PAY_VOIDED | 1u << HF_PAY_REFUND_DUE);
        break;
    case HF_PAY_CAPTURED:
        order->payment = HF_PAY_REFUND_DUE;
        good = take_intents(taking, order, 1, 1, 1u << HF_INTENT_REFUND) && intent_amount(taking, order->captured - order->refunded);
        break;
    case HF_PAY_FAILED:
        good = take_intents(taking, order, 0, 0, 0) &&
               adopt_payment(taking, order, 1u << HF_PAY_FAILED | 1u << HF_PAY_VOIDED | 1u << HF_PAY_NONE);
        break;
    default:
        good = take_intents(taking, order, 0, 0, 0);
    }
    return good && states_check(taking, order) && touches_check(taking, order, order->line_count);
}

static struct hf_intent close_intent(struct hf_m_order *order, uint32_t number)
{
    struct hf_intent closed = *hf_model_order_open_intent(order, number);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < order->open_count; i++)
        if (order->open[i].number != number)
            order->open[kept++] = order->open[i];
    order->open_count = kept;
    return closed;
}

static bool take_captured(struct hf_taking *taking, struct hf_m_order *order, int64_t amount)
{
    order->captured += amount;
    if (order->state != HF_CANCELLED && order->state != HF_EXPIRED) {
        order->payment = HF_PAY_CAPTURED;
        return take_intents(taking, order, 0, 0, 0);
    }
    order->payment = HF_PAY_REFUND_DUE;
    if (!take_intents(taking, order, 0, 1, 1u << HF_INTENT_REFUND) || !intent_amount(taking, amount))
        return false;
    return order->open_count > 0 ||
           hf_model_fault(taking->oracle, taking->position, "captured for an order that is cancelled, and no intent brings the money back");
}

static bool take_failed(struct hf_taking *taking, struct hf_m_order *order, uint8_t kind)
{
    static const unsigned after[] = {
        [HF_INTENT_CAPTURE] = 1u << HF_PAY_FAILED | 1u << HF_PAY_VOIDED,
        [HF_INTENT_VOID] = 1u << HF_PAY_REFUND_DUE | 1u << HF_PAY_UNKNOWN | 1u << HF_PAY_CAPTURE_PENDING | 1u << HF_PAY_CAPTURED,
        [HF_INTENT_REFUND] = 1u << HF_PAY_REFUND_DUE | 1u << HF_PAY_UNKNOWN,
    };
    return take_intents(taking, order, 0, 1, 1u << HF_INTENT_REFUND | 1u << HF_INTENT_VOID) && adopt_payment(taking, order, after[kind]);
}

static bool take_result(struct hf_taking *taking, struct hf_m_order *order)
{
    struct hf_intent closed = close_intent(order, taking->command->arg);
    bool good = true;
    switch (taking->command->body.verb.status) {
    case HF_STATUS_CAPTURED:
        good = take_captured(taking, order, closed.amount);
        break;
    case HF_STATUS_FAILED:
        good = take_failed(taking, order, closed.kind);
        break;
    case HF_STATUS_REFUNDED:
        order->refunded += closed.amount;
        order->payment = HF_PAY_REFUNDED;
        good = take_intents(taking, order, 0, 0, 0);
        break;
    default:
        order->payment = HF_PAY_VOIDED;
        good = take_intents(taking, order, 0, 0, 0);
    }
    return good && states_check(taking, order) && touches_check(taking, order, 0);
}

/* A settle for an order that is not here: its money is written down, nothing else. */
static bool take_refund_due(struct hf_taking *taking)
{
    const struct hf_command *command = taking->command;
    struct hf_m_order nobody = {.id = command->body.verb.order, .payment = HF_PAY_REFUND_DUE};
    memcpy(nobody.currency, command->body.verb.currency, 3);
    bool good = take_intents(taking, &nobody, 0, 1, 1u << HF_INTENT_REFUND) && intent_amount(taking, command->body.verb.amount);
    return good && states_check(taking, &nobody) && touches_check(taking, &nobody, 0);
}

static void note_command(struct hf_oracle *oracle, struct hf_m_order *order, struct hf_id command)
{
    struct hf_view view = {oracle, HF_NEWEST, 0};
    uint64_t mark = hf_model_view_mark(&view, hf_id_route(order->id));
    uint32_t kept = 0;
    for (uint32_t i = 0; i < order->command_count; i++)
        if (order->command_ms[i] > mark)
            order->command_ms[kept++] = order->command_ms[i];
    order->command_ms[kept++] = hf_id_ms(command);
    order->command_count = kept;
}

bool hf_model_taking_verb(struct hf_taking *taking)
{
    const struct hf_command *command = taking->command;
    if (taking->record->result == HF_REFUND_DUE)
        return take_refund_due(taking);
    struct hf_m_order *order = hf_model_write_order(taking->oracle, command->body.verb.order);
    note_command(taking->oracle, order, command->id);
    order->version++;
    order->changed_ns = taking->record->time_ns;
    switch (command->opcode) {
    case HF_EXTEND:
        return take_extend(taking, order);
    case HF_SETTLE:
        return take_settle(taking, order);
    case HF_PAYMENT_RESULT:
        return take_result(taking, order);
    case HF_SHIP:
        return take_ship(taking, order);
    default:
        return take_cancel(taking, order);
    }
}
