/* Result codes as gRPC statuses. */
#include "control/api/verbs.h"
#include "control/grpc/status.h"
#include "control/grpc/text.h"

#include "holdfast/v1/common.pb-c.h"

#include <inttypes.h>
#include <stdio.h>

enum { HF_REFUSE_BYTES = 1024, HF_REFUSE_RETRY_MS = 50, HF_REFUSE_AWAY_MS = 1000, HF_REFUSE_PAIRS = 8 };

static enum hf_grpc_code hf_refuse_code(uint16_t result)
{
    static const uint8_t codes[HF_RESULT_COUNT] = {
        [HF_BUSY] = HF_GRPC_RESOURCE_EXHAUSTED,
        [HF_FULL] = HF_GRPC_RESOURCE_EXHAUSTED,
        [HF_NO_SPACE] = HF_GRPC_RESOURCE_EXHAUSTED,
        [HF_DRAINING] = HF_GRPC_UNAVAILABLE,
        [HF_ID_REUSED] = HF_GRPC_INVALID_ARGUMENT,
        [HF_ID_TOO_OLD] = HF_GRPC_FAILED_PRECONDITION,
        [HF_ID_IN_FUTURE] = HF_GRPC_INVALID_ARGUMENT,
        [HF_WRONG_ROUTE] = HF_GRPC_INVALID_ARGUMENT,
        [HF_TOO_MANY] = HF_GRPC_FAILED_PRECONDITION,
        [HF_UNKNOWN_SKU] = HF_GRPC_NOT_FOUND,
        [HF_UNKNOWN_LOCATION] = HF_GRPC_NOT_FOUND,
        [HF_UNKNOWN_CHANNEL] = HF_GRPC_NOT_FOUND,
        [HF_UNKNOWN_ORDER] = HF_GRPC_NOT_FOUND,
        [HF_UNKNOWN_INTENT] = HF_GRPC_NOT_FOUND,
        [HF_NOT_FOUND] = HF_GRPC_NOT_FOUND,
        [HF_NOT_ON_SALE] = HF_GRPC_FAILED_PRECONDITION,
        [HF_LIMIT_PER_ORDER] = HF_GRPC_FAILED_PRECONDITION,
        [HF_LIMIT_PER_CUSTOMER] = HF_GRPC_FAILED_PRECONDITION,
        [HF_SHORT] = HF_GRPC_FAILED_PRECONDITION,
        [HF_STOCK_LOST] = HF_GRPC_FAILED_PRECONDITION,
        [HF_BAD_STATE] = HF_GRPC_FAILED_PRECONDITION,
        [HF_NOT_APPLIED] = HF_GRPC_FAILED_PRECONDITION,
        [HF_BELOW_ZERO] = HF_GRPC_FAILED_PRECONDITION,
        [HF_AMOUNT_MISMATCH] = HF_GRPC_FAILED_PRECONDITION,
        [HF_REFUND_DUE] = HF_GRPC_FAILED_PRECONDITION,
        [HF_STALE_VERSION] = HF_GRPC_ABORTED,
        [HF_OVERFLOW] = HF_GRPC_OUT_OF_RANGE,
    };
    if (result >= HF_BAD_FRAME && result <= HF_TOO_LARGE)
        return HF_GRPC_INVALID_ARGUMENT;
    return result < HF_RESULT_COUNT && codes[result] != 0 ? (enum hf_grpc_code)codes[result] : HF_GRPC_UNKNOWN;
}

/* What goes into the status beside the result's name. */
struct hf_refusal {
    uint16_t result;
    const char *field, *what;
    struct hf_grpc_pair pairs[HF_REFUSE_PAIRS];
    unsigned pair_count;
    struct hf_grpc_detail more; /* without type_url: none */
};

static void hf_refuse_add(struct hf_refusal *refusal, const char *name, const char *value)
{
    refusal->pairs[refusal->pair_count++] = (struct hf_grpc_pair){name, value};
}

static void hf_refuse_with(struct hf_grpc_call *call, const struct hf_refusal *refusal)
{
    uint8_t info[HF_REFUSE_BYTES], hint[64], fields[HF_REFUSE_BYTES];
    char message[256];
    const char *name = hf_result_name(refusal->result);
    struct hf_grpc_detail details[4];
    unsigned count = 0;
    size_t bytes = hf_grpc_error_info(name, "holdfast", refusal->pairs, refusal->pair_count, info, sizeof info);
    details[count++] = (struct hf_grpc_detail){HF_GRPC_TYPE_ERROR_INFO, {info, bytes}};
    if (refusal->result == HF_BUSY || refusal->result == HF_DRAINING) {
        bytes = hf_grpc_retry_info(refusal->result == HF_BUSY ? HF_REFUSE_RETRY_MS : HF_REFUSE_AWAY_MS, hint, sizeof hint);
        details[count++] = (struct hf_grpc_detail){HF_GRPC_TYPE_RETRY_INFO, {hint, bytes}};
    }
    if (refusal->field) {
        bytes = hf_grpc_bad_request(&(struct hf_grpc_pair){refusal->field, refusal->what}, 1, fields, sizeof fields);
        details[count++] = (struct hf_grpc_detail){HF_GRPC_TYPE_BAD_REQUEST, {fields, bytes}};
    }
    if (refusal->more.type_url)
        details[count++] = refusal->more;
    snprintf(message, sizeof message, "%s%s%s%s%s", name, refusal->field ? ": " : "", refusal->field ? refusal->field : "",
             refusal->what ? ": " : "", refusal->what ? refusal->what : "");
    hf_grpc_finish_status(call, &(struct hf_grpc_status){hf_refuse_code(refusal->result), message, details, count});
}

void hf_refuse_call(struct hf_grpc_call *call, uint16_t result, const char *field, const char *what)
{
    hf_refuse_with(call, &(struct hf_refusal){.result = result, .field = field, .what = what});
}

static void hf_refuse_short(struct hf_grpc_call *call, const struct hf_answer *answer, struct hf_refusal *refusal)
{
    const struct hf_short_item *items = (const struct hf_short_item *)(const void *)(answer + 1);
    Holdfast__V1__Shortage shortage = HOLDFAST__V1__SHORTAGE__INIT;
    Holdfast__V1__ShortLine *rows = hf_answer_rows(call, answer->item_count, sizeof *rows, &shortage.lines);
    if (!rows)
        return;
    shortage.n_lines = answer->item_count;
    for (unsigned i = 0; i < answer->item_count; i++) {
        holdfast__v1__short_line__init(&rows[i]);
        rows[i].line = items[i].line;
        rows[i].asked = items[i].asked;
        rows[i].available = items[i].available;
    }
    size_t bytes = holdfast__v1__shortage__get_packed_size(&shortage);
    uint8_t *packed = hf_grpc_alloc(call, bytes + 1);
    if (!packed)
        return;
    holdfast__v1__shortage__pack(&shortage, packed);
    refusal->more = (struct hf_grpc_detail){"type.googleapis.com/holdfast.v1.Shortage", {packed, bytes}};
}

void hf_refuse_answer(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer)
{
    static const char *const orders[] = {NULL, "HELD", "CONFIRMED", "CLOSED", "CANCELLED", "EXPIRED"};
    static const char *const payments[] = {NULL,     "AUTHORISED", "CAPTURE_PENDING", "CAPTURED",           "FAILED",
                                           "VOIDED", "REFUND_DUE", "REFUNDED",        "PARTIALLY_REFUNDED", "UNKNOWN"};
    struct hf_refusal refusal = {.result = answer->result};
    char line[16], intent[24];
    snprintf(line, sizeof line, "%u", answer->detail);
    snprintf(intent, sizeof intent, "%" PRIu64, answer->value);
    if (answer->result == HF_FULL)
        hf_refuse_add(&refusal, "table", hf_table_option(answer->detail));
    else if (command->line_count > 0)
        hf_refuse_add(&refusal, "line", line);
    if (answer->order < sizeof orders / sizeof orders[0] && orders[answer->order])
        hf_refuse_add(&refusal, "state", orders[answer->order]);
    if (answer->payment < sizeof payments / sizeof payments[0] && payments[answer->payment])
        hf_refuse_add(&refusal, "payment", payments[answer->payment]);
    if (answer->opcode == HF_SETTLE && answer->value != 0)
        hf_refuse_add(&refusal, "intent", intent);
    if (answer->result == HF_SHORT)
        hf_refuse_short(call, answer, &refusal);
    hf_refuse_with(call, &refusal);
}

/* ---- what answers are made of ---- */

char *hf_answer_id(struct hf_grpc_call *call, struct hf_id id)
{
    char *text = hf_grpc_alloc(call, HF_ID_TEXT_BYTES);
    if (text)
        hf_id_write(id, text);
    return text;
}

char *hf_answer_sku(struct hf_grpc_call *call, const struct hf_sku *sku)
{
    char *text = hf_grpc_alloc(call, HF_SKU_TEXT_BYTES);
    if (text)
        hf_sku_write(sku, text);
    return text;
}

char *hf_answer_text(struct hf_grpc_call *call, const void *bytes, size_t count)
{
    char *text = hf_grpc_alloc(call, count + 1);
    if (text && hf_grpc_is_text(bytes, count))
        memcpy(text, bytes, count);
    return text;
}

void *hf_answer_rows(struct hf_grpc_call *call, size_t count, size_t bytes, void *pointers)
{
    uint8_t *rows = hf_grpc_alloc(call, count * bytes + 1), **at = hf_grpc_alloc(call, (count + 1) * sizeof *at);
    if (!rows || !at)
        return NULL;
    for (size_t i = 0; i < count; i++)
        at[i] = rows + i * bytes;
    memcpy(pointers, &at, sizeof at);
    return rows;
}

void hf_answer_no_memory(struct hf_grpc_call *call)
{
    hf_refuse_call(call, HF_BUSY, NULL, "no memory for the answer");
}
