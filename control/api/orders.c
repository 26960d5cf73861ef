/* The service Orders. */
#include "control/api/verbs.h"

#include "holdfast/v1/orders.pb-c.h"

#include <inttypes.h>
#include <stdio.h>

enum { HF_TTL_DEFAULT_MS = 15 * 60 * 1000 };

static void hf_ask_place(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__PlaceOrderRequest *request = (const Holdfast__V1__PlaceOrderRequest *)(const void *)message;
    struct hf_command *command = draft->command;
    command->opcode = HF_PLACE;
    for (size_t i = 0; i < request->n_lines && draft->result == HF_OK; i++) {
        const Holdfast__V1__OrderLine *line = request->lines[i];
        if (line->shipped != 0 || line->returned != 0)
            hf_draft_fail(draft, HF_RESERVED_NOT_ZERO, "lines", "shipped and returned are only in answers");
        hf_draft_line(draft, line->sku, line->location, line->quantity, line->unit_price);
    }
    hf_draft_route_sku(draft);
    hf_draft_id(draft, "id", request->id);
    command->arg = request->ttl_ms != 0 ? request->ttl_ms : HF_TTL_DEFAULT_MS;
    command->body.place.customer = request->customer;
    command->body.place.channel = HF_CHANNEL_WEB;
    command->body.place.mode = HF_ALL_OR_NOTHING;
    if (request->channel[0] != '\0' && strcmp(request->channel, "WEB") != 0)
        hf_draft_fail(draft, HF_UNKNOWN_CHANNEL, "channel", "there is no such channel; WEB exists from the start");
    if ((unsigned)request->mode > HOLDFAST__V1__PLACE_MODE__PLACE_MODE_ALL_OR_NOTHING)
        hf_draft_fail(draft, HF_BAD_ARGUMENT, "mode", "there is no such mode");
    hf_draft_request_id(draft, request->request_id);
}

static void hf_ask_get_order(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__GetOrderRequest *request = (const Holdfast__V1__GetOrderRequest *)(const void *)message;
    draft->command->opcode = HF_GET_ORDER;
    draft->command->flags = request->stale_ok ? HF_FLAG_STALE_OK : 0;
    hf_draft_order(draft, request->id);
}

static void hf_ask_verb(struct hf_draft *draft, uint16_t opcode, const char *order, const char *command_id)
{
    draft->command->opcode = opcode;
    hf_draft_order(draft, order);
    hf_draft_id(draft, "command_id", command_id);
}

static void hf_ask_settle(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__SettleOrderRequest *request = (const Holdfast__V1__SettleOrderRequest *)(const void *)message;
    hf_ask_verb(draft, HF_SETTLE, request->id, request->command_id);
    hf_draft_money(draft, request->amount, request->currency);
    hf_draft_text(draft, HF_EXT_PAYMENT_REFERENCE, "payment_reference", request->payment_reference, HF_DRAFT_TEXT_MAX);
    hf_draft_request_id(draft, request->request_id);
}

static void hf_ask_cancel(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__CancelOrderRequest *request = (const Holdfast__V1__CancelOrderRequest *)(const void *)message;
    hf_ask_verb(draft, HF_CANCEL, request->id, request->command_id);
    hf_draft_text(draft, HF_EXT_REASON, "reason", request->reason, HF_DRAFT_TEXT_MAX);
    hf_draft_request_id(draft, request->request_id);
}

static void hf_ask_extend(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__ExtendOrderRequest *request = (const Holdfast__V1__ExtendOrderRequest *)(const void *)message;
    hf_ask_verb(draft, HF_EXTEND, request->id, request->command_id);
    draft->command->arg = request->ttl_ms;
    hf_draft_request_id(draft, request->request_id);
}

static void hf_ask_ship(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__ShipOrderRequest *request = (const Holdfast__V1__ShipOrderRequest *)(const void *)message;
    hf_ask_verb(draft, HF_SHIP, request->id, request->command_id);
    hf_draft_request_id(draft, request->request_id);
}

static void hf_ask_report(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__ReportPaymentRequest *request = (const Holdfast__V1__ReportPaymentRequest *)(const void *)message;
    hf_ask_verb(draft, HF_PAYMENT_RESULT, request->id, request->command_id);
    hf_draft_money(draft, request->amount, request->currency);
    draft->command->arg = request->intent;
    draft->command->body.verb.status = (unsigned)request->outcome <= UINT8_MAX ? (uint8_t)request->outcome : 0;
    hf_draft_request_id(draft, request->request_id);
}

/* ---- answers ---- */

static void hf_answer_order_receipt(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer)
{
    Holdfast__V1__OrderReceipt out = HOLDFAST__V1__ORDER_RECEIPT__INIT;
    Holdfast__V1__Receipt receipt = HOLDFAST__V1__RECEIPT__INIT;
    struct hf_id id = hf_answer_command_id(answer, command);
    out.id = hf_answer_id(call, command->opcode == HF_PLACE ? id : command->body.verb.order);
    receipt.id = hf_answer_id(call, id);
    if (!out.id || !receipt.id) {
        hf_answer_no_memory(call);
        return;
    }
    receipt.repeated = (answer->flags & HF_ANSWER_REPEATED) != 0;
    receipt.durable = (answer->flags & HF_ANSWER_ASYNC) == 0;
    receipt.position = answer->position;
    out.receipt = &receipt;
    out.state = (Holdfast__V1__OrderState)answer->order;
    out.payment = (Holdfast__V1__PaymentState)answer->payment;
    out.fulfilment = (Holdfast__V1__FulfilmentState)answer->fulfilment;
    out.version = answer->version;
    out.hold_ends_ns = answer->due_ns;
    out.intent = answer->value;
    hf_grpc_answer(call, &out.base);
}

static bool hf_answer_lines(struct hf_grpc_call *call, const struct hf_order_item *item, Holdfast__V1__Order *out)
{
    const struct hf_order_line_item *from = (const struct hf_order_line_item *)(const void *)(item + 1);
    Holdfast__V1__OrderLine *lines = hf_answer_rows(call, item->line_count, sizeof *lines, &out->lines);
    bool good = lines != NULL;
    for (uint32_t i = 0; good && i < item->line_count; i++) {
        holdfast__v1__order_line__init(&lines[i]);
        lines[i].sku = hf_answer_sku(call, &from[i].sku);
        lines[i].location = from[i].location;
        lines[i].quantity = from[i].quantity;
        lines[i].unit_price = from[i].price;
        lines[i].shipped = from[i].shipped;
        lines[i].returned = from[i].returned;
        good = lines[i].sku != NULL;
    }
    out->n_lines = item->line_count;
    return good;
}

static char *hf_answer_channel(struct hf_grpc_call *call, uint32_t channel)
{
    char text[16];
    snprintf(text, sizeof text, "%" PRIu32, channel);
    const char *name = channel == HF_CHANNEL_WEB ? "WEB" : text;
    return hf_answer_text(call, name, strlen(name));
}

static void hf_answer_order(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer)
{
    (void)command;
    const struct hf_order_item *item = (const struct hf_order_item *)(const void *)(answer + 1);
    Holdfast__V1__Order out = HOLDFAST__V1__ORDER__INIT;
    out.id = hf_answer_id(call, item->id);
    out.channel = hf_answer_channel(call, item->channel);
    out.currency = hf_answer_text(call, item->currency, item->currency[0] ? sizeof item->currency : 0);
    if (!out.id || !out.channel || !out.currency || !hf_answer_lines(call, item, &out)) {
        hf_answer_no_memory(call);
        return;
    }
    out.state = (Holdfast__V1__OrderState)answer->order;
    out.payment = (Holdfast__V1__PaymentState)answer->payment;
    out.fulfilment = (Holdfast__V1__FulfilmentState)answer->fulfilment;
    out.version = answer->version;
    out.hold_ends_ns = answer->due_ns;
    out.customer = item->customer;
    out.placed_ns = item->placed_ns;
    out.changed_ns = item->changed_ns;
    out.authorised = item->authorised;
    out.captured = item->captured;
    out.refunded = item->refunded;
    out.intents = item->intents;
    hf_grpc_answer(call, &out.base);
}

static const struct hf_verb hf_orders_rows[] = {
    {"PlaceOrder", hf_ask_place, hf_answer_order_receipt},     {"GetOrder", hf_ask_get_order, hf_answer_order},
    {"SettleOrder", hf_ask_settle, hf_answer_order_receipt},   {"CancelOrder", hf_ask_cancel, hf_answer_order_receipt},
    {"ExtendOrder", hf_ask_extend, hf_answer_order_receipt},   {"ShipOrder", hf_ask_ship, hf_answer_order_receipt},
    {"ReportPayment", hf_ask_report, hf_answer_order_receipt},
};

const struct hf_verb_table hf_verbs_orders = {&holdfast__v1__orders__descriptor, hf_orders_rows,
                                              sizeof hf_orders_rows / sizeof hf_orders_rows[0]};
