#include "control/api/slow.h"

#include "control/api/verbs.h"
#include "wire/trace.h"

enum { HF_SLOW_REPORTS_A_SECOND = 10, HF_SLOW_TRACE_ID_AT = 3, HF_SLOW_TRACE_ID_DIGITS = 32 };

static bool hf_slow_order(const struct hf_command *command, char out[HF_ID_TEXT_BYTES])
{
    bool about = hf_opcode_family(command->opcode) == HF_FAMILY_ORDER || command->opcode == HF_GET_ORDER;
    if (about)
        hf_id_write(command->opcode == HF_PLACE ? command->id : command->body.verb.order, out);
    return about;
}

/* A command that came as bytes may say more lines than it has; its answer then says so. */
static bool hf_slow_sku(const struct hf_command *command, char out[HF_SKU_TEXT_BYTES])
{
    bool has = command->line_count > 0 && command->length >= sizeof *command + sizeof(struct hf_line);
    if (has)
        hf_sku_write(&hf_command_lines(command)->sku, out);
    return has;
}

static bool hf_slow_trace(const struct hf_grpc_call *call, char out[HF_SLOW_TRACE_ID_DIGITS + 1])
{
    struct hf_grpc_bytes value;
    uint8_t trace[HF_TRACE_BYTES];
    char text[HF_TRACE_TEXT_BYTES];
    if (!hf_call_traceparent(call, &value) || !hf_trace_read((const char *)value.bytes, value.length, trace))
        return false;
    hf_trace_write(trace, text);
    memcpy(out, text + HF_SLOW_TRACE_ID_AT, HF_SLOW_TRACE_ID_DIGITS);
    out[HF_SLOW_TRACE_ID_DIGITS] = '\0';
    return true;
}

/* Clocks of a turn are read once, so a later stamp may be the same as an earlier one, and one not made counts as the one before. */
static uint64_t hf_slow_span(uint64_t *from, uint64_t to)
{
    uint64_t span = to > *from ? to - *from : 0;
    *from = to > *from ? to : *from;
    return span;
}

static void hf_slow_report(struct hf_slow *slow, const struct hf_exchange_item *item, uint64_t now_ns)
{
    char order[HF_ID_TEXT_BYTES], sku[HF_SKU_TEXT_BYTES], trace[HF_SLOW_TRACE_ID_DIGITS + 1];
    uint64_t at = item->asked_ns;
    struct hf_slow_report report = {
        .method = hf_grpc_path(item->call),
        .order = hf_slow_order(item->command, order) ? order : NULL,
        .sku = hf_slow_sku(item->command, sku) ? sku : NULL,
        .trace = hf_slow_trace(item->call, trace) ? trace : NULL,
        .result = hf_result_name(item->answer->result),
        .total_ns = now_ns - item->asked_ns,
        .left = hf_grpc_ended(item->call),
        .suppressed = slow->unreported,
    };
    report.queued_ns = hf_slow_span(&at, item->taken_ns);
    report.engine_ns = hf_slow_span(&at, item->stepped_ns);
    report.durable_ns = hf_slow_span(&at, item->given_ns);
    report.answered_ns = hf_slow_span(&at, now_ns);
    slow->options.report(slow->options.context, &report);
    slow->unreported = 0;
}

void hf_slow_check(struct hf_slow *slow, const struct hf_exchange_item *item, uint64_t now_ns)
{
    if (slow->options.threshold_ns == 0 || now_ns < item->asked_ns + slow->options.threshold_ns)
        return;
    hf_bump_relaxed_u64(&slow->slow, 1);
    if (slow->second != now_ns / 1000000000u)
        slow->reported = 0;
    slow->second = now_ns / 1000000000u;
    if (slow->reported++ < HF_SLOW_REPORTS_A_SECOND) {
        hf_slow_report(slow, item, now_ns);
        return;
    }
    slow->unreported++;
    hf_bump_relaxed_u64(&slow->suppressed, 1);
}
