/* An order's life after it was placed: the table of its transitions, and what each of them does. */
#include "engine/engine_p.h"

#include <limits.h>

/* --- lines --- */

struct hf_order_line *hf_order_line_first(struct hf_order_walk *walk, const struct hf_partition *home, struct hf_order *order)
{
    *walk = (struct hf_order_walk){.home = home, .order = order, .next = order->lines, .index = 0};
    return &order->line;
}

struct hf_order_line *hf_order_line_next(struct hf_order_walk *walk)
{
    if (walk->next == 0)
        return NULL;
    struct hf_line_row *row = hf_line_at(walk->home, walk->next);
    walk->next = row->next;
    walk->index++;
    return &row->line;
}

uint64_t hf_order_time(const struct hf_run *run, struct hf_order *order)
{
    uint64_t now_ns = run->now_ns;
    struct hf_order_walk walk;
    for (struct hf_order_line *line = hf_order_line_first(&walk, run->home, order); line; line = hf_order_line_next(&walk))
        now_ns = hf_later(now_ns, hf_line_partition(run->engine, line)->last_ns);
    return now_ns;
}

static void move_units(struct hf_cell *cell, int32_t units, enum hf_move move)
{
    switch (move) {
    case HF_MOVE_RELEASE:
        cell->reserved -= units;
        break;
    case HF_MOVE_ALLOCATE:
        cell->reserved -= units;
        cell->allocated += units;
        break;
    case HF_MOVE_REHOLD:
        cell->allocated += units;
        break;
    case HF_MOVE_SHIP:
        cell->sellable -= units;
        cell->allocated -= units;
        break;
    case HF_MOVE_UNALLOCATE:
        cell->allocated -= units;
        break;
    case HF_MOVE_NONE:
        break;
    }
    assert(cell->reserved >= 0 && cell->allocated >= 0);
}

void hf_order_move(struct hf_run *run, struct hf_order *order, enum hf_move move)
{
    struct hf_order_walk walk;
    bool back = move == HF_MOVE_RELEASE || move == HF_MOVE_UNALLOCATE;
    for (struct hf_order_line *line = hf_order_line_first(&walk, run->home, order); line; line = hf_order_line_next(&walk)) {
        struct hf_partition *p = hf_line_partition(run->engine, line);
        struct hf_cell *cell = hf_cell_at(p, line->cell);
        p->last_ns = run->now_ns;
        move_units(cell, (int32_t)line->quantity, move);
        hf_cell_stamp(cell, true);
        if (back && line->window != HF_WINDOW_NONE) {
            hf_limit_give_back(run->engine, p, order->customer, line, run->step->quota);
            line->window = HF_WINDOW_NONE;
        } else if (move == HF_MOVE_REHOLD && hf_sku_at(p, cell->sku_slot)->per_customer != 0) {
            line->window = hf_limit_count(run->engine, p, order->customer, cell->sku_slot, line->quantity, run->step->quota, run->now_ns);
        }
    }
}

unsigned hf_order_touch(struct hf_run *run, struct hf_order *order, struct hf_named_touch *touch, unsigned index)
{
    struct hf_order_walk walk;
    for (struct hf_order_line *line = hf_order_line_first(&walk, run->home, order); line; line = hf_order_line_next(&walk)) {
        struct hf_cell *cell = hf_cell_at(hf_line_partition(run->engine, line), line->cell);
        touch[walk.index].sku = line->sku;
        hf_touch_fill(&touch[walk.index].touch, cell, line->quantity, index == UINT_MAX ? walk.index : index, 0);
    }
    return order->line_count;
}

/* --- the end of an order --- */

bool hf_order_terminal(const struct hf_partition *home, const struct hf_order *order)
{
    const unsigned ends = 1u << HF_CLOSED | 1u << HF_CANCELLED | 1u << HF_EXPIRED;
    const unsigned settled = 1u << HF_PAY_NONE | 1u << HF_PAY_VOIDED | 1u << HF_PAY_CAPTURED | 1u << HF_PAY_REFUNDED | 1u << HF_PAY_FAILED;
    if (!(ends >> order->order & 1) || !(settled >> order->payment & 1))
        return false;
    return order->side == 0 || hf_side_at(home, order->side)->open_number == 0;
}

bool hf_order_forgettable(const struct hf_partition *home, const struct hf_order *order)
{
    if (!hf_order_terminal(home, order) || hf_id_ms(order->id) > home->mark_ms || order->changed_ns > hf_ms_to_ns(home->mark_ms))
        return false;
    /* A repeat of a command that is newer than the mark must still find its answer. */
    uint32_t at = order->side ? hf_side_at(home, order->side)->history : 0;
    for (; at != 0; at = hf_remembered_at(home, at)->next)
        if (hf_id_ms(hf_remembered_at(home, at)->id) > home->mark_ms)
            return false;
    return true;
}

uint64_t hf_order_look_ns(const struct hf_engine *engine, const struct hf_order *order)
{
    return hf_later(hf_ms_to_ns(hf_id_ms(order->id)), order->changed_ns) + engine->retention_ns;
}

void hf_order_arm(struct hf_engine *engine, struct hf_partition *home, uint32_t slot, uint64_t now_ns)
{
    struct hf_order *order = hf_order_at(home, slot);
    hf_timer_remove(&home->order_timers, slot);
    if (order->order == HF_HELD)
        hf_timer_insert(&home->order_timers, slot, order->due_ns, now_ns);
    else if (hf_order_terminal(home, order))
        hf_timer_insert(&home->order_timers, slot, hf_order_look_ns(engine, order), now_ns);
}

void hf_order_forget(struct hf_engine *engine, struct hf_partition *home, uint32_t slot, struct hf_quota *quota)
{
    struct hf_order *order = hf_order_at(home, slot);
    for (uint32_t at = order->lines, next; at != 0; at = next) {
        next = hf_line_at(home, at)->next;
        hf_pool_give(&home->lines, at);
        quota->left[HF_TABLE_LINES]++;
    }
    for (uint32_t at = order->side ? hf_side_at(home, order->side)->history : 0, next; at != 0; at = next) {
        next = hf_remembered_at(home, at)->next;
        hf_pool_give(&home->remembered, at);
        quota->left[HF_TABLE_COMMAND_IDS]++;
    }
    if (order->side != 0)
        hf_pool_give(&home->sides, order->side);
    hf_timer_remove(&home->order_timers, slot);
    hf_index_erase(&home->order_index, hf_hash_id(engine, order->id), slot);
    hf_pool_give(&home->orders, slot);
    quota->left[HF_TABLE_ORDERS]++;
}

/* --- transitions --- */

#define PAY(state) (1u << HF_PAY_##state)
#define ORD(state) (1u << HF_##state)

/* First row that fits the command and the states; none: BAD_STATE. `status` 0: not a payment result. */
static const struct transition {
    uint16_t opcode;
    uint8_t status;
    uint16_t from_order, from_payment; /* sets of states */
    uint8_t to_order, to_payment;      /* 0: as it was (no transition leads to NONE) */
    uint8_t to_fulfilment;
    uint8_t move;   /* enum hf_move */
    uint8_t intent; /* made */
    uint8_t closes; /* kind of the open intent that this is the result of */
} transitions[] = {
    {HF_EXTEND, 0, ORD(HELD), PAY(NONE), 0, 0, 0, HF_MOVE_NONE, 0, 0},
    {HF_SETTLE, 0, ORD(HELD), PAY(NONE), HF_CONFIRMED, HF_PAY_CAPTURE_PENDING, 0, HF_MOVE_ALLOCATE, HF_INTENT_CAPTURE, 0},
    {HF_SETTLE, 0, ORD(EXPIRED), PAY(NONE), HF_CONFIRMED, HF_PAY_CAPTURE_PENDING, 0, HF_MOVE_REHOLD, HF_INTENT_CAPTURE, 0},
    {HF_SETTLE, 0, ORD(CONFIRMED), PAY(FAILED), 0, HF_PAY_CAPTURE_PENDING, 0, HF_MOVE_NONE, HF_INTENT_CAPTURE, 0},
    {HF_PAYMENT_RESULT, HF_STATUS_CAPTURED, ORD(CONFIRMED) | ORD(CLOSED), PAY(CAPTURE_PENDING), 0, HF_PAY_CAPTURED, 0, HF_MOVE_NONE, 0,
     HF_INTENT_CAPTURE},
    {HF_PAYMENT_RESULT, HF_STATUS_CAPTURED, ORD(CANCELLED), PAY(CAPTURE_PENDING), 0, HF_PAY_REFUND_DUE, 0, HF_MOVE_NONE, HF_INTENT_REFUND,
     HF_INTENT_CAPTURE},
    {HF_PAYMENT_RESULT, HF_STATUS_FAILED, ORD(CONFIRMED) | ORD(CLOSED) | ORD(CANCELLED), PAY(CAPTURE_PENDING), 0, HF_PAY_FAILED, 0,
     HF_MOVE_NONE, 0, HF_INTENT_CAPTURE},
    {HF_PAYMENT_RESULT, HF_STATUS_REFUNDED, ORD(CANCELLED) | ORD(EXPIRED), PAY(REFUND_DUE), 0, HF_PAY_REFUNDED, 0, HF_MOVE_NONE, 0,
     HF_INTENT_REFUND},
    {HF_PAYMENT_RESULT, HF_STATUS_VOIDED, ORD(CANCELLED) | ORD(EXPIRED), PAY(REFUND_DUE), 0, HF_PAY_VOIDED, 0, HF_MOVE_NONE, 0,
     HF_INTENT_VOID},
    {HF_SHIP, 0, ORD(CONFIRMED), PAY(CAPTURE_PENDING) | PAY(CAPTURED), HF_CLOSED, 0, HF_SHIPPED, HF_MOVE_SHIP, 0, 0},
    {HF_CANCEL, 0, ORD(HELD), PAY(NONE), HF_CANCELLED, 0, 0, HF_MOVE_RELEASE, 0, 0},
    {HF_CANCEL, 0, ORD(CONFIRMED), PAY(CAPTURE_PENDING) | PAY(FAILED), HF_CANCELLED, 0, 0, HF_MOVE_UNALLOCATE, 0, 0},
    {HF_CANCEL, 0, ORD(CONFIRMED), PAY(CAPTURED), HF_CANCELLED, HF_PAY_REFUND_DUE, 0, HF_MOVE_UNALLOCATE, HF_INTENT_REFUND, 0},
};

/* Instead of a REHOLD that finds no stock, or beyond what the customer may have: the money is to go back. */
static const struct transition stock_lost = {.opcode = HF_SETTLE, .to_payment = HF_PAY_REFUND_DUE, .intent = HF_INTENT_REFUND};

static const struct transition *transition_of(const struct hf_command *command, const struct hf_order *order)
{
    uint8_t status = command->opcode == HF_PAYMENT_RESULT ? command->body.verb.status : 0;
    for (size_t i = 0; i < sizeof transitions / sizeof transitions[0]; i++) {
        const struct transition *t = &transitions[i];
        if (t->opcode == command->opcode && t->status == status && t->from_order >> order->order & 1 &&
            t->from_payment >> order->payment & 1)
            return t;
    }
    return NULL;
}

/* Whether every cell has room for all of the order's lines on it together. Walks the lines twice for orders of several; both orders of
 * lines and their number are small. */
static bool rehold_fits(const struct hf_run *run, struct hf_order *order)
{
    struct hf_order_walk walk, other;
    for (struct hf_order_line *line = hf_order_line_first(&walk, run->home, order); line; line = hf_order_line_next(&walk)) {
        int64_t wanted = 0;
        for (struct hf_order_line *same = hf_order_line_first(&other, run->home, order); same; same = hf_order_line_next(&other))
            if (same->cell == line->cell && (same->place & 0xffff) == (line->place & 0xffff))
                wanted += same->quantity;
        if (wanted > hf_cell_available(hf_cell_at(hf_line_partition(run->engine, line), line->cell)))
            return false;
    }
    return true;
}

/* Whether the customer may have all of the order's units once more; *counters are then to be made. The sum stands at a SKU's last line. */
static bool rehold_allowed(const struct hf_run *run, struct hf_order *order, uint32_t *counters)
{
    struct hf_order_walk walk, other;
    for (struct hf_order_line *line = hf_order_line_first(&walk, run->home, order); line; line = hf_order_line_next(&walk)) {
        const struct hf_partition *p = hf_line_partition(run->engine, line);
        uint32_t sku_slot = hf_cell_at(p, line->cell)->sku_slot;
        const struct hf_sku_row *sku = hf_sku_at(p, sku_slot);
        uint64_t wanted = 0;
        bool last = true;
        if (sku->per_customer == 0)
            continue;
        for (struct hf_order_line *same = hf_order_line_first(&other, run->home, order); same; same = hf_order_line_next(&other)) {
            if (!hf_sku_equal(&same->sku, &line->sku))
                continue;
            wanted += same->quantity;
            last = other.index <= walk.index;
        }
        uint32_t slot = hf_limit_find(run->engine, p, order->customer, sku_slot);
        if (last && hf_limit_units(p, slot, hf_limit_window(sku, run->now_ns)) + wanted > sku->per_customer)
            return false;
        *counters += last && slot == 0;
    }
    return true;
}

/* A cell forced far below zero may have no room in its number for what leaves it. */
static bool ship_fits(const struct hf_run *run, struct hf_order *order)
{
    struct hf_order_walk walk;
    for (struct hf_order_line *line = hf_order_line_first(&walk, run->home, order); line; line = hf_order_line_next(&walk)) {
        const struct hf_cell *cell = hf_cell_at(hf_line_partition(run->engine, line), line->cell);
        if (!hf_fits_i32((int64_t)cell->sellable - cell->allocated))
            return false;
    }
    return true;
}

/* --- what an order remembers of its commands --- */

static const struct hf_remembered *history_find(const struct hf_partition *home, const struct hf_order *order, struct hf_id id)
{
    for (uint32_t at = order->side ? hf_side_at(home, order->side)->history : 0; at != 0; at = hf_remembered_at(home, at)->next)
        if (hf_id_equal(hf_remembered_at(home, at)->id, id))
            return hf_remembered_at(home, at);
    return NULL;
}

static unsigned history_kept(const struct hf_partition *home, const struct hf_order *order)
{
    unsigned kept = 0;
    for (uint32_t at = order->side ? hf_side_at(home, order->side)->history : 0; at != 0; at = hf_remembered_at(home, at)->next)
        kept += hf_id_ms(hf_remembered_at(home, at)->id) > home->mark_ms;
    return kept;
}

static void history_prune(struct hf_run *run, struct hf_order_side *side)
{
    struct hf_partition *home = run->home;
    uint32_t *link = &side->history;
    while (*link != 0) {
        struct hf_remembered *known = hf_remembered_at(home, *link);
        if (hf_id_ms(known->id) > home->mark_ms) {
            link = &known->next;
            continue;
        }
        hf_pool_give(&home->remembered, *link);
        *link = known->next;
        side->remembered--;
        run->step->quota->left[HF_TABLE_COMMAND_IDS]++;
    }
}

static struct hf_order_side *side_of(struct hf_run *run, struct hf_order *order)
{
    struct hf_partition *home = run->home;
    if (order->side == 0) {
        order->side = hf_pool_take(&home->sides, run->step->quota);
        memset(hf_side_at(home, order->side), 0, sizeof(struct hf_order_side));
    }
    return hf_side_at(home, order->side);
}

static void history_add(struct hf_run *run, struct hf_order_side *side, unsigned result, uint64_t value)
{
    struct hf_partition *home = run->home;
    history_prune(run, side);
    uint32_t slot = hf_pool_take(&home->remembered, run->step->quota);
    *hf_remembered_at(home, slot) = (struct hf_remembered){.id = run->command->id,
                                                           .digest = run->digest,
                                                           .value = value,
                                                           .opcode = run->command->opcode,
                                                           .result = (uint16_t)result,
                                                           .next = side->history};
    side->history = slot;
    side->remembered++;
    run->step->quota->left[HF_TABLE_COMMAND_IDS]--;
}

/* --- money --- */

static bool currency_sound(const uint8_t currency[3])
{
    for (unsigned i = 0; i < 3; i++)
        if (currency[i] < 'A' || currency[i] > 'Z')
            return false;
    return true;
}

static bool reference_given(const struct hf_command *command)
{
    uint16_t bytes = 0;
    return hf_command_extension(command, HF_EXT_PAYMENT_REFERENCE, &bytes) != NULL && bytes > 0;
}

static void pay(struct hf_order *order, struct hf_order_side *side, const struct hf_command *command, const struct transition *t)
{
    if (command->opcode == HF_SETTLE) {
        side->authorised = command->body.verb.amount;
        memcpy(side->currency, command->body.verb.currency, sizeof side->currency);
        /* Nobody can undo the payment any more but a refund. */
        if (t == &stock_lost)
            side->captured = side->authorised;
    }
    if (t->closes != 0)
        side->open_number = side->open_kind = 0;
    if (t->closes == HF_INTENT_CAPTURE && command->body.verb.status == HF_STATUS_CAPTURED)
        side->captured = side->open_amount;
    if (t->closes == HF_INTENT_REFUND)
        side->refunded = side->open_amount;
    if (t->closes != 0)
        side->open_amount = 0;
    if (t->intent == 0)
        return;
    side->open_number = ++order->intents;
    side->open_kind = t->intent;
    side->open_amount = t->intent == HF_INTENT_REFUND ? side->captured - side->refunded : side->authorised;
}

/* --- executing --- */

static bool judge_argument(struct hf_run *run)
{
    const struct hf_command *command = run->command;
    if (command->opcode == HF_EXTEND && (command->arg == 0 || command->arg > HF_TTL_MS_MAX))
        return hf_refuse(run, HF_BAD_ARGUMENT, 0);
    if (command->opcode == HF_SETTLE && (command->body.verb.amount <= 0 || !currency_sound(command->body.verb.currency)))
        return hf_refuse(run, HF_BAD_ARGUMENT, 0);
    if (command->opcode == HF_PAYMENT_RESULT &&
        (command->arg == 0 || command->body.verb.status < HF_STATUS_CAPTURED || command->body.verb.status > HF_STATUS_VOIDED))
        return hf_refuse(run, HF_BAD_ARGUMENT, 0);
    return true;
}

static bool judge_intent(struct hf_run *run, const struct hf_order *order)
{
    const struct hf_command *command = run->command;
    const struct hf_order_side *side = order->side ? hf_side_at(run->home, order->side) : NULL;
    if (command->opcode != HF_PAYMENT_RESULT)
        return true;
    if (!side || side->open_number != command->arg)
        return hf_refuse(run, HF_UNKNOWN_INTENT, 0);
    if (side->open_amount != command->body.verb.amount || memcmp(side->currency, command->body.verb.currency, sizeof side->currency) != 0)
        return hf_refuse(run, HF_AMOUNT_MISMATCH, 0);
    return true;
}

static bool judge_extend(struct hf_run *run, const struct hf_order *order)
{
    if (run->command->opcode != HF_EXTEND)
        return true;
    uint64_t due_ns = run->now_ns + run->command->arg * HF_MS_NS;
    return (order->extensions < HF_EXTENSIONS_MAX && due_ns - order->placed_ns <= HF_AGE_NS_MAX) || hf_refuse(run, HF_TOO_MANY, 0);
}

static bool judge_verb(struct hf_run *run, struct hf_order *order, const struct transition **t)
{
    const struct hf_command *command = run->command;
    hf_answer_order(run->answer, order);
    if (!judge_argument(run) || !judge_intent(run, order))
        return false;
    *t = transition_of(command, order);
    if (!*t || ((*t)->closes != 0 && hf_side_at(run->home, order->side)->open_kind != (*t)->closes) || order->intents == UINT16_MAX)
        return hf_refuse(run, HF_BAD_STATE, 0);
    if (!judge_extend(run, order))
        return false;
    if (history_kept(run->home, order) >= HF_HISTORY_MAX)
        return hf_refuse(run, HF_TOO_MANY, 0);
    if ((*t)->move == HF_MOVE_SHIP && !ship_fits(run, order))
        return hf_refuse(run, HF_OVERFLOW, 0);
    uint32_t counters = 0;
    if ((*t)->move == HF_MOVE_REHOLD && (!rehold_fits(run, order) || !rehold_allowed(run, order, &counters)))
        *t = &stock_lost;
    return hf_room(run, HF_TABLE_COMMAND_IDS, 1) && hf_room(run, HF_TABLE_LIMITS, (*t)->move == HF_MOVE_REHOLD ? counters : 0);
}

static void change_states(struct hf_order *order, const struct transition *t, uint64_t now_ns)
{
    if (t->to_order != 0)
        order->order = t->to_order;
    if (t->to_payment != 0)
        order->payment = t->to_payment;
    if (t->to_fulfilment != 0)
        order->fulfilment = t->to_fulfilment;
    if (order->order != HF_HELD)
        order->due_ns = 0;
    order->version++;
    order->changed_ns = now_ns;
}

static void execute(struct hf_run *run, uint32_t slot, struct hf_order *order, const struct transition *t)
{
    const struct hf_command *command = run->command;
    struct hf_order_side *side = side_of(run, order);
    unsigned touches = 0, result = t == &stock_lost ? HF_STOCK_LOST : HF_OK;
    if (t->move != HF_MOVE_NONE) {
        hf_order_move(run, order, t->move);
        touches = hf_order_touch(run, order, hf_touches(run), UINT_MAX);
    }
    change_states(order, t, run->now_ns);
    if (command->opcode == HF_EXTEND) {
        order->due_ns = run->now_ns + command->arg * HF_MS_NS;
        order->extensions++;
    }
    pay(order, side, command, t);
    history_add(run, side, result, t->intent ? side->open_number : 0);
    hf_order_arm(run->engine, run->home, slot, run->now_ns);
    struct hf_intent intent = {.number = side->open_number, .kind = t->intent, .amount = side->open_amount, .order = order->id};
    memcpy(intent.currency, side->currency, sizeof intent.currency);
    hf_answer_order(run->answer, order);
    run->answer->value = t->intent ? side->open_number : 0;
    hf_outcome_write(run, &(struct hf_outcome){.result = (uint16_t)result,
                                               .order = order->order,
                                               .payment = order->payment,
                                               .fulfilment = order->fulfilment,
                                               .touches = (uint16_t)touches,
                                               .intent = t->intent ? &intent : NULL,
                                               .due_ns = order->due_ns,
                                               .state_version = order->version});
}

/* A payment for an order that is not here: it was forgotten, or never came. Its money is to go back, and the log says so. */
static void settle_unknown(struct hf_run *run)
{
    const struct hf_command *command = run->command;
    if (!judge_argument(run) || !hf_room(run, HF_TABLE_COMMAND_IDS, 1))
        return;
    struct hf_intent intent = {
        .number = 1, .kind = HF_INTENT_REFUND, .amount = command->body.verb.amount, .order = command->body.verb.order};
    memcpy(intent.currency, command->body.verb.currency, sizeof intent.currency);
    hf_command_remember(run, HF_REFUND_DUE, intent.number);
    run->answer->payment = HF_PAY_REFUND_DUE;
    run->answer->value = intent.number;
    hf_outcome_write(run, &(struct hf_outcome){.result = HF_REFUND_DUE, .payment = HF_PAY_REFUND_DUE, .intent = &intent});
}

static void verb_unknown(struct hf_run *run)
{
    const struct hf_command *command = run->command;
    if (command->opcode == HF_SETTLE && command->body.verb.amount > 0 && reference_given(command))
        settle_unknown(run);
    else if (hf_id_ms(command->body.verb.order) <= run->home->mark_ms)
        hf_refuse(run, HF_ID_TOO_OLD, 0);
    else
        hf_refuse(run, HF_UNKNOWN_ORDER, 0);
}

/* A command that this order executed before: its first result with the states of now. */
static void answer_remembered(struct hf_run *run, const struct hf_order *order, const struct hf_remembered *known)
{
    hf_answer_order(run->answer, order);
    if (known->digest != run->digest) {
        hf_refuse(run, HF_ID_REUSED, 0);
        return;
    }
    run->step->reads_state = true;
    run->answer->flags |= HF_ANSWER_REPEATED;
    run->answer->result = known->result;
    run->answer->value = known->value;
}

/* Precedence of results, first that applies: the id is remembered: the first result with REPEATED for the same body, else ID_REUSED;
 * ID_TOO_OLD; ID_IN_FUTURE; WRONG_ROUTE; DRAINING; for an order that is not here: settle with payment reference and amount: BAD_ARGUMENT,
 * FULL, REFUND_DUE; else ID_TOO_OLD or UNKNOWN_ORDER; BAD_ARGUMENT; UNKNOWN_INTENT; AMOUNT_MISMATCH; BAD_STATE; TOO_MANY; OVERFLOW; FULL;
 * then OK or STOCK_LOST. */
void hf_step_verb(struct hf_run *run)
{
    const struct hf_command *command = run->command;
    struct hf_id id = command->body.verb.order;
    run->digest = hf_command_digest(command);
    uint32_t slot = hf_order_find(run->home, hf_hash_id(run->engine, id), id);
    struct hf_order *order = slot ? hf_order_at(run->home, slot) : NULL;
    const struct hf_remembered *known = order ? history_find(run->home, order, command->id) : NULL;
    if (known) {
        answer_remembered(run, order, known);
        return;
    }
    if (!hf_command_id_judge(run, hf_id_route(id)))
        return;
    if (!order) {
        verb_unknown(run);
        return;
    }
    const struct transition *t;
    if (!hf_engine_reach_known(command))
        run->now_ns = hf_order_time(run, order);
    if (judge_verb(run, order, &t))
        execute(run, slot, order, t);
}
