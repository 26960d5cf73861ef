/* Whether a client may have got this answer: by the record of its id, or by one of the states between sending and receiving. */
#include "tests/oracle/oracle_p.h"

enum { TIMES_MAX = 64 };

/* Results that only a record can give. */
static bool recorded_result(unsigned result)
{
    return result == HF_OK || result == HF_STOCK_LOST || result == HF_REFUND_DUE;
}

static bool fault_at(struct hf_asking *asking, const char *what)
{
    return hf_model_fault(asking->oracle, asking->answer->position, "%s; seen the answer %s%s", what,
                          hf_result_name(asking->answer->result), asking->answer->flags & HF_ANSWER_REPEATED ? " (REPEATED)" : "");
}

static bool states_differ(const struct hf_answer *answer, uint8_t order, uint8_t payment, uint8_t fulfilment)
{
    return answer->order != order || answer->payment != payment || answer->fulfilment != fulfilment;
}

static bool cell_answer(struct hf_asking *asking, const struct hf_view *view)
{
    const struct hf_line *line = hf_command_lines(asking->command);
    const struct hf_cell_item *item = (const struct hf_cell_item *)(const void *)(asking->answer + 1);
    if (asking->answer->item_count != 1)
        return fault_at(asking, "expected one cell as item");
    if (asking->answer->version != item->version)
        return fault_at(asking, "expected the cell's version in the answer's head as in its item");
    int64_t on_hand = (int64_t)item->sellable + item->damaged + item->quality_control;
    if ((int64_t)asking->answer->value != on_hand)
        return fault_at(asking, "expected in value what is on hand");
    return hf_model_cell_item_check(asking->oracle, view, item, &line->sku, line->location);
}

static bool first_answer(struct hf_asking *asking, const struct hf_m_id *known)
{
    const struct hf_answer *answer = asking->answer;
    struct hf_oracle *oracle = asking->oracle;
    unsigned family = hf_opcode_family(asking->command->opcode);
    if (known->position <= asking->span->from_position)
        return fault_at(asking, "expected REPEATED, as its record stood in the log before it was sent");
    if (answer->position != known->position)
        return hf_model_fault(oracle, known->position, "expected this position in the answer, seen %llu",
                              (unsigned long long)answer->position);
    if (states_differ(answer, known->state, known->payment, known->fulfilment))
        return hf_model_fault(oracle, known->position, "expected states %u, %u, %u as recorded, seen %u, %u, %u", known->state,
                              known->payment, known->fulfilment, answer->order, answer->payment, answer->fulfilment);
    if (family == HF_FAMILY_STOCK) {
        struct hf_view view = {oracle, oracle->options.history ? known->position : HF_NEWEST, known->time_ns};
        if (answer->value != known->value)
            return hf_model_fault(oracle, known->position, "expected %lld on hand, seen %lld", (long long)known->value,
                                  (long long)answer->value);
        return cell_answer(asking, &view);
    }
    if (answer->item_count != 0)
        return fault_at(asking, "expected no items");
    if (family == HF_FAMILY_ORDER && (answer->version != known->version || answer->due_ns != known->due_ns))
        return hf_model_fault(oracle, known->position, "expected version %llu and due %llu, seen %llu and %llu",
                              (unsigned long long)known->version, (unsigned long long)known->due_ns, (unsigned long long)answer->version,
                              (unsigned long long)answer->due_ns);
    if (asking->command->opcode == HF_SETTLE && answer->result == HF_OK && answer->value != known->value)
        return hf_model_fault(oracle, known->position, "expected intent %llu, seen %llu", (unsigned long long)known->value,
                              (unsigned long long)answer->value);
    return true;
}

/* A repeat gives the first result and the state as it is now. */
static bool repeat_at(struct hf_asking *asking, const struct hf_view *view, const struct hf_m_id *known)
{
    const struct hf_answer *answer = asking->answer;
    unsigned family = hf_opcode_family(asking->command->opcode);
    if (family == HF_FAMILY_STOCK)
        return cell_answer(asking, view);
    if (family != HF_FAMILY_ORDER || known->result == HF_REFUND_DUE)
        return true;
    const struct hf_m_order *order = hf_model_view_order(view, known->place ? known->command->id : known->order);
    if (!order)
        return hf_model_fault(asking->oracle, view->position, "a repeat, though its order is forgotten");
    if (states_differ(answer, order->state, order->payment, order->fulfilment) || answer->version != order->version)
        return hf_model_fault(asking->oracle, view->position,
                              "a repeat; expected states %u, %u, %u and version %llu, seen %u, %u, %u and %llu", order->state,
                              order->payment, order->fulfilment, (unsigned long long)order->version, answer->order, answer->payment,
                              answer->fulfilment, (unsigned long long)answer->version);
    if (answer->due_ns != order->due_ns)
        return hf_model_fault(asking->oracle, view->position, "a repeat; expected the hold to end at %llu, seen %llu",
                              (unsigned long long)order->due_ns, (unsigned long long)answer->due_ns);
    return asking->command->opcode != HF_SETTLE || known->result != HF_OK || answer->value == known->value ||
           fault_at(asking, "expected the number of the settle's intent");
}

static bool short_items(struct hf_asking *asking, const struct hf_view *view)
{
    const struct hf_command *command = asking->command;
    const struct hf_short_item *item = (const struct hf_short_item *)(const void *)(asking->answer + 1);
    uint32_t at = 0;
    for (uint32_t i = 0; i < command->line_count; i++) {
        const struct hf_line *line = hf_command_lines(command) + i;
        if (!hf_model_place_line_short(view, command, line))
            continue;
        if (at >= asking->answer->item_count || item[at].line != i)
            return hf_model_fault(asking->oracle, view->position, "expected line %u among the short ones", i);
        int64_t asked = hf_model_place_asked(command, line), available = hf_model_view_available(view, &line->sku, line->location);
        bool sum = item[at].asked == asked || (asked > UINT32_MAX && item[at].asked == UINT32_MAX);
        /* Of a cell that has never held anything the safety stock may go unsaid. */
        bool nothing = item[at].available == 0 && !hf_model_view_cell(view, &line->sku, line->location);
        if (!sum || (item[at].available != available && !nothing))
            return hf_model_fault(asking->oracle, view->position, "line %u: expected %lld asked and %lld available, seen %u and %lld", i,
                                  (long long)asked, (long long)available, item[at].asked, (long long)item[at].available);
        at++;
    }
    return at == asking->answer->item_count || fault_at(asking, "more short lines than there are");
}

/* What a refusal says besides its code. */
static bool refusal_at(struct hf_asking *asking, const struct hf_view *view)
{
    const struct hf_answer *answer = asking->answer;
    const struct hf_command *command = asking->command;
    if (answer->result == HF_SHORT && !short_items(asking, view))
        return false;
    if (answer->result != HF_SHORT && answer->item_count != 0)
        return fault_at(asking, "expected no items");
    if (command->opcode == HF_PLACE && answer->result >= HF_UNKNOWN_SKU && answer->result <= HF_SHORT &&
        answer->result != HF_UNKNOWN_CHANNEL && !hf_model_place_line_fault(view, command, answer->result, answer->detail))
        return hf_model_fault(asking->oracle, view->position, "detail names line %u, which is not at fault for %s", answer->detail,
                              hf_result_name(answer->result));
    if (answer->result == HF_FULL && (answer->detail == 0 || answer->detail >= HF_TABLE_COUNT))
        return fault_at(asking, "expected a table in detail");
    if (answer->result == HF_BAD_STATE) {
        const struct hf_m_order *order = hf_model_view_order(view, command->body.verb.order);
        if (order && states_differ(answer, order->state, order->payment, order->fulfilment))
            return hf_model_fault(asking->oracle, view->position, "BAD_STATE; expected states %u, %u, %u, seen %u, %u, %u", order->state,
                                  order->payment, order->fulfilment, answer->order, answer->payment, answer->fulfilment);
    }
    return true;
}

static bool answer_at(struct hf_asking *asking, const struct hf_view *view, const struct hf_m_id *known)
{
    const struct hf_answer *answer = asking->answer;
    struct hf_oracle_allowed allowed;
    if (known && answer->flags & HF_ANSWER_REPEATED) {
        if (known->position > view->position)
            return fault_at(asking, "a repeat of what had not happened yet");
        return repeat_at(asking, view, known);
    }
    hf_model_judge(view, asking->command, &allowed);
    if (!(allowed.results & hf_bit(answer->result)))
        return hf_model_fault(asking->oracle, view->position == HF_NEWEST ? asking->oracle->position : view->position,
                              "expected %s, seen %s", hf_model_results_text(allowed.results), hf_result_name(answer->result));
    unsigned family = hf_opcode_family(asking->command->opcode);
    return family == HF_FAMILY_QUERY && answer->result == HF_OK ? hf_model_asking_query(asking, view) : refusal_at(asking, view);
}

static void note_time(const struct hf_oracle_span *span, uint64_t ns, uint64_t *times, uint32_t *count)
{
    if (*count < TIMES_MAX && ns >= span->from_ns && ns <= span->to_ns)
        times[(*count)++] = ns;
}

/* The engine times at which an outcome can differ within the span: its ends, and where a sale or a window begins or ends. */
static uint32_t candidate_times(const struct hf_asking *asking, const struct hf_view *view, uint64_t *times)
{
    const struct hf_oracle_span *span = asking->span;
    uint32_t count = 0;
    note_time(span, span->from_ns, times, &count);
    if (span->to_ns != span->from_ns)
        note_time(span, span->to_ns, times, &count);
    for (uint32_t i = 0; asking->command->opcode == HF_PLACE && i < asking->command->line_count; i++) {
        const struct hf_m_sku *sku = hf_model_view_sku(view, &hf_command_lines(asking->command)[i].sku);
        uint64_t start_ms;
        uint32_t length_s;
        if (!sku || span->to_ns == span->from_ns)
            continue;
        hf_model_window_now(sku, span->to_ns, &start_ms, &length_s);
        const uint64_t edges_ms[] = {sku->opens_ms, sku->closes_ms, start_ms};
        for (uint32_t k = 0; k < 3; k++) {
            note_time(span, edges_ms[k] * 1000000, times, &count);
            note_time(span, edges_ms[k] * 1000000 - 1, times, &count);
        }
    }
    return count;
}

static bool any_time(struct hf_asking *asking, uint64_t position, const struct hf_m_id *known)
{
    const struct hf_answer *answer = asking->answer;
    uint64_t times[TIMES_MAX];
    struct hf_view view = {asking->oracle, position, asking->span->to_ns};
    uint32_t count = candidate_times(asking, &view, times);
    uint64_t least = hf_model_view_time(&view, hf_id_route(asking->command->id));
    for (uint32_t i = 0; i < count; i++) {
        view.time_ns = times[i] < least ? least : times[i];
        if (answer_at(asking, &view, known))
            return true;
        /* Whether an id is of the future goes by the clock, which may have been read before the partition's last step. */
        view.time_ns = times[i];
        if (times[i] < least && answer->result == HF_ID_IN_FUTURE && answer_at(asking, &view, known))
            return true;
    }
    return false;
}

/* Right for one state of the span? */
static bool any_moment(struct hf_asking *asking, const struct hf_m_id *known)
{
    struct hf_oracle *oracle = asking->oracle;
    uint64_t from = asking->span->from_position, to = asking->span->to_position;
    if (!oracle->options.history)
        return any_time(asking, HF_NEWEST, known);
    if (any_time(asking, from, known))
        return true;
    size_t low = 0, high = oracle->moment_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (oracle->moments[middle].position > from)
            high = middle;
        else
            low = middle + 1;
    }
    for (; low < oracle->moment_count && oracle->moments[low].position <= to; low++)
        if (any_time(asking, oracle->moments[low].position, known))
            return true;
    return false;
}

/* The id's effect as of the span's end, also if forgotten since. */
static const struct hf_m_id *known_id(const struct hf_asking *asking)
{
    struct hf_key key = hf_model_key_scope(asking->oracle, asking->command);
    struct hf_entry *entry = hf_model_store_entry(&asking->oracle->store[HF_IDS], &key);
    struct hf_state *state = entry ? entry->newest : NULL;
    while (state && asking->oracle->options.history && state->position > asking->span->to_position)
        state = state->older;
    return state ? (const struct hf_m_id *)(const void *)state->value : NULL;
}

/* Who was refused has no effect in the log. What is shed is shed before the id is looked at, and an old one may be forgotten. */
static bool refused_clean(struct hf_asking *asking, const struct hf_m_id *known)
{
    uint64_t free = asking->oracle->options.allowed_from_client | hf_bit(HF_ID_REUSED) | hf_bit(HF_ID_TOO_OLD);
    if (!known || !asking->span->only_sending || known->position <= asking->span->from_position ||
        (free & hf_bit(asking->answer->result)) || !hf_model_same_body(known->command, asking->command))
        return true;
    return hf_model_fault(asking->oracle, known->position, "refused with %s, though its effect (%s) stands in the log",
                          hf_result_name(asking->answer->result), hf_result_name(known->result));
}

/* A repeat by its request key: judged as one of the write that the answer names, which had its effect under the key before. */
static bool keyed_answer(struct hf_asking *asking)
{
    const struct hf_answer *answer = asking->answer;
    struct hf_request_key request;
    struct hf_id id = hf_answer_command_id(answer, asking->command);
    if (!hf_command_request_key(asking->command, &request) || !(answer->flags & HF_ANSWER_REPEATED) ||
        answer->length < sizeof *answer + sizeof id)
        return fault_at(asking, "expected the first id of a key only as a repeat of a write with one");
    struct hf_key key = hf_model_key_request(&request);
    const struct hf_entry *entry = hf_model_store_entry(&asking->oracle->store[HF_KEYS], &key);
    for (const struct hf_state *state = entry ? entry->newest : NULL; state; state = state->older) {
        struct hf_asking first = *asking;
        first.command = ((const struct hf_m_key *)(const void *)state->value)->command;
        const struct hf_m_id *known = hf_id_equal(first.command->id, id) ? known_id(&first) : NULL;
        if (!known || !hf_model_same_write(first.command, asking->command))
            continue;
        if (known->result != answer->result)
            return hf_model_fault(asking->oracle, known->position, "expected %s as recorded, seen %s", hf_result_name(known->result),
                                  hf_result_name(answer->result));
        asking->oracle->counts.keyed++;
        return any_moment(&first, known);
    }
    return fault_at(asking, "expected the id of a write that had its effect under this key");
}

static bool write_answer(struct hf_asking *asking)
{
    const struct hf_answer *answer = asking->answer;
    if (answer->flags & HF_ANSWER_KEYED)
        return keyed_answer(asking);
    const struct hf_m_id *known = known_id(asking);
    bool repeated = answer->flags & HF_ANSWER_REPEATED;
    if (!repeated && !recorded_result(answer->result))
        return refused_clean(asking, known) && any_moment(asking, known);
    if (!known)
        return fault_at(asking, "expected a record of this id, there is none");
    if (!hf_model_same_body(known->command, asking->command))
        return fault_at(asking, "expected ID_REUSED, as the id's record has another body");
    if (known->result != answer->result)
        return hf_model_fault(asking->oracle, known->position, "expected %s as recorded, seen %s", hf_result_name(known->result),
                              hf_result_name(answer->result));
    return repeated ? any_moment(asking, known) : first_answer(asking, known);
}

static bool form_check(struct hf_asking *asking, int form, uint16_t detail)
{
    const struct hf_answer *answer = asking->answer;
    if (asking->oracle->options.allowed_from_client & hf_bit(answer->result))
        return true;
    if (answer->result != form || answer->detail != detail)
        return hf_model_fault(asking->oracle, 0, "expected %s with detail %u by its form, seen %s with %u", hf_result_name((unsigned)form),
                              detail, hf_result_name(answer->result), answer->detail);
    return true;
}

static bool head_check(struct hf_asking *asking)
{
    const struct hf_answer *answer = asking->answer;
    if (answer->opcode != asking->command->opcode || answer->result >= HF_RESULT_COUNT || answer->length < sizeof *answer ||
        answer->length % 8 != 0 || answer->length > hf_answer_bytes_max(asking->command))
        return fault_at(asking, "expected the command's opcode and a length within its bound");
    if (asking->span->from_position > asking->span->to_position || asking->span->from_ns > asking->span->to_ns)
        return fault_at(asking, "expected a span that ends where it begins or later");
    if (asking->oracle->options.history && answer->position > asking->span->to_position)
        return fault_at(asking, "expected a position that the log had reached");
    return true;
}

bool hf_oracle_answer(struct hf_oracle *oracle, const struct hf_command *command, const struct hf_answer *answer,
                      const struct hf_oracle_span *span)
{
    struct hf_asking asking = {oracle, command, answer, span};
    uint16_t detail;
    oracle->subject = command;
    if (!head_check(&asking))
        return false;
    oracle->counts.answers++;
    oracle->counts.by_result[answer->result]++;
    int form = hf_command_check(command, command->length, &detail);
    if (form != HF_OK)
        return form_check(&asking, form, detail);
    unsigned family = hf_opcode_family(command->opcode);
    if (family == HF_FAMILY_ADMIN)
        return true;
    if (!(family == HF_FAMILY_QUERY ? any_moment(&asking, NULL) : write_answer(&asking)))
        return false;
    bool durable = !(answer->flags & HF_ANSWER_ASYNC) && !(command->flags & HF_FLAG_STALE_OK);
    if (durable && answer->position > oracle->acknowledged)
        oracle->acknowledged = answer->position;
    return true;
}
