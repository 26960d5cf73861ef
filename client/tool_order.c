/* `holdfast order ...`: one order at a time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/tool.h"

/* SKU:LOCATION:QUANTITY[:PRICE]; the SKU may hold colons, the numbers behind it are found from the end. */
static int read_line(const struct hf_tool *tool, const char *text, struct hf_line *out)
{
    char copy[128], sku[40];
    uint64_t numbers[3] = {0};
    int found = 0;
    size_t bytes = strlen(text);
    if (bytes >= sizeof copy)
        return hf_tool_usage(tool, "'%s' is no line: SKU:LOCATION:QUANTITY[:PRICE]", text);
    memcpy(copy, text, bytes + 1);
    while (found < 3) {
        char *colon = strrchr(copy, ':'), *end;
        if (!colon || colon == copy)
            break;
        errno = 0;
        numbers[found] = strtoull(colon + 1, &end, 10);
        if (errno || end == colon + 1 || *end || colon[1] == '-')
            break;
        *colon = 0;
        found++;
    }
    if (found < 2 || strlen(copy) >= sizeof sku)
        return hf_tool_usage(tool, "'%s' is no line: SKU:LOCATION:QUANTITY[:PRICE]", text);
    uint64_t location = numbers[found - 1], quantity = numbers[found - 2], price = found == 3 ? numbers[0] : 0;
    if (location == 0 || location > UINT32_MAX || quantity == 0 || quantity > HF_QUANTITY_MAX || price >> 48 != 0)
        return hf_tool_usage(tool, "'%s': a location is 1 to 4294967295, a quantity 1 to 2147483647, a price less than 2^48", text);
    *out = (struct hf_line){.location = (uint32_t)location, .quantity = (uint32_t)quantity, .price = price};
    return hf_tool_sku(tool, copy, &out->sku);
}

static json_t *order_keys(const struct hf_answer *answer, struct hf_id id)
{
    return json_pack("{s:o, s:s, s:s, s:s, s:o, s:o}", "id", hf_json_id(id), "order", hf_order_state_name(answer->order), "payment",
                     hf_payment_state_name(answer->payment), "fulfilment", hf_fulfilment_state_name(answer->fulfilment), "version",
                     hf_json_u64(answer->version), "due_ms", hf_json_u64(answer->due_ns / 1000000));
}

static json_t *short_lines(const struct hf_answer *answer)
{
    json_t *list = json_array();
    const struct hf_short_item *item = (const struct hf_short_item *)(const void *)(answer + 1);
    size_t room = (answer->length - sizeof *answer) / sizeof *item;
    for (size_t i = 0; i < answer->item_count && i < room; i++)
        json_array_append_new(list, json_pack("{s:i, s:I, s:I}", "line", item[i].line, "asked", (json_int_t)item[i].asked, "available",
                                              (json_int_t)item[i].available));
    return list;
}

struct place {
    uint64_t customer, channel, ttl_ms;
    const char *id_text;
    struct hf_line lines[HF_LINES_MAX];
    uint16_t count;
};

static int send_place(const struct hf_tool *tool, const struct place *place)
{
    struct hf_tool_call call;
    struct hf_command *command;
    struct hf_id id = {0, 0};
    int failed = place->id_text ? hf_tool_id(tool, place->id_text, &id) : 0;
    if (!failed)
        failed = hf_tool_call_open(tool, &call, HF_PLACE, place->count, 0, &command);
    if (failed)
        return failed;
    command->id = place->id_text ? id : hf_tool_call_id(&call, hf_route(&place->lines[0].sku));
    command->arg = (uint32_t)place->ttl_ms;
    command->body.place.customer = place->customer;
    command->body.place.channel = (uint32_t)place->channel;
    memcpy(hf_command_lines_rw(command), place->lines, place->count * sizeof(struct hf_line));
    id = command->id;
    failed = hf_tool_call_send(tool, &call);
    if (!failed) {
        json_t *more = order_keys(call.answer, id);
        if (call.answer->result == HF_SHORT)
            json_object_set_new(more, "short", short_lines(call.answer));
        failed = hf_tool_finish(tool, call.answer, more);
    }
    hf_tool_call_close(&call);
    return failed;
}

static int order_place(struct hf_tool *tool, int argc, char **argv)
{
    struct place place = {.channel = HF_CHANNEL_WEB, .ttl_ms = 900000};
    const struct hf_tool_option options[] = {
        {"--customer", HF_KIND_U64, &place.customer},
        {"--channel", HF_KIND_U64, &place.channel},
        {"--ttl", HF_KIND_U64, &place.ttl_ms},
        {"--id", HF_KIND_TEXT, &place.id_text},
    };
    int words = 0, failed = 0;
    while (words < argc && strncmp(argv[words], "--", 2) != 0)
        words++;
    if (words > HF_LINES_MAX)
        return hf_tool_usage(tool, "an order has at most %d lines", HF_LINES_MAX);
    for (int i = 0; i < words && !failed; i++)
        failed = read_line(tool, argv[i], &place.lines[place.count++]);
    if (!failed)
        failed = hf_tool_options(tool, argc - words, argv + words, options, sizeof options / sizeof options[0]);
    if (!failed && place.count == 0)
        failed = hf_tool_usage(tool, "an order needs a line: SKU:LOCATION:QUANTITY[:PRICE]");
    if (!failed && (place.ttl_ms > UINT32_MAX || place.channel > UINT32_MAX))
        failed = hf_tool_usage(tool, "--ttl and --channel are at most 4294967295");
    return failed ? failed < 0 ? 0 : failed : send_place(tool, &place);
}

struct verb {
    const char *order_text, *id_text, *currency, *payment, *status;
    uint64_t ttl_ms, intent;
    int64_t amount;
};

static int read_status(const struct hf_tool *tool, const char *text, uint8_t *out)
{
    static const char *const names[] = {"", "captured", "failed", "refunded", "voided"};
    for (uint8_t i = 1; text && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return 0;
        }
    return hf_tool_usage(tool, "--status is captured, failed, refunded or voided");
}

static int fill_verb(const struct hf_tool *tool, const struct verb *verb, struct hf_command *command)
{
    command->body.verb.amount = verb->amount;
    if (verb->currency && strlen(verb->currency) != 3)
        return hf_tool_usage(tool, "--currency has 3 letters");
    if (verb->currency)
        memcpy(command->body.verb.currency, verb->currency, 3);
    if (command->opcode == HF_EXTEND)
        command->arg = (uint32_t)verb->ttl_ms;
    if (command->opcode == HF_PAYMENT_RESULT) {
        command->arg = (uint32_t)verb->intent;
        return read_status(tool, verb->status, &command->body.verb.status);
    }
    if (verb->payment)
        hf_extension_put(hf_command_extensions_rw(command), HF_EXT_PAYMENT_REFERENCE, verb->payment, (uint16_t)strlen(verb->payment));
    return 0;
}

static int send_verb(const struct hf_tool *tool, const struct verb *verb, uint16_t opcode)
{
    struct hf_tool_call call;
    struct hf_command *command;
    struct hf_id order, id = {0, 0};
    int failed = hf_tool_id(tool, verb->order_text, &order);
    if (!failed && verb->id_text)
        failed = hf_tool_id(tool, verb->id_text, &id);
    if (!failed && verb->payment && strlen(verb->payment) > 256)
        failed = hf_tool_usage(tool, "--payment has at most 256 bytes");
    uint16_t ext_bytes = verb->payment ? hf_extension_bytes((uint16_t)strlen(verb->payment)) : 0;
    if (!failed)
        failed = hf_tool_call_open(tool, &call, opcode, 0, ext_bytes, &command);
    if (failed)
        return failed;
    command->id = verb->id_text ? id : hf_tool_call_id(&call, hf_id_route(order));
    command->body.verb.order = order;
    failed = fill_verb(tool, verb, command);
    if (!failed)
        failed = hf_tool_call_send(tool, &call);
    else
        hf_tool_call_discard(&call);
    if (!failed) {
        json_t *more = order_keys(call.answer, order);
        if (opcode == HF_SETTLE)
            json_object_set_new(more, "intent", hf_json_u64(call.answer->value));
        failed = hf_tool_finish(tool, call.answer, more);
    }
    hf_tool_call_close(&call);
    return failed;
}

static int run_verb(struct hf_tool *tool, int argc, char **argv, uint16_t opcode)
{
    struct verb verb = {0};
    bool settles = opcode == HF_SETTLE, results = opcode == HF_PAYMENT_RESULT, money = settles || results;
    struct hf_tool_option options[10] = {{"ID", HF_KIND_TEXT, &verb.order_text, .required = true},
                                         {"--command-id", HF_KIND_TEXT, &verb.id_text}};
    size_t count = 2;
    if (money) {
        options[count++] = (struct hf_tool_option){"--amount", HF_KIND_I64, &verb.amount, .required = true};
        options[count++] = (struct hf_tool_option){"--currency", HF_KIND_TEXT, &verb.currency, .required = true};
    }
    if (settles)
        options[count++] = (struct hf_tool_option){"--payment", HF_KIND_TEXT, &verb.payment, .required = true};
    if (results) {
        options[count++] = (struct hf_tool_option){"--intent", HF_KIND_U64, &verb.intent, .required = true};
        options[count++] = (struct hf_tool_option){"--status", HF_KIND_TEXT, &verb.status, .required = true};
    }
    if (opcode == HF_EXTEND)
        options[count++] = (struct hf_tool_option){"--ttl", HF_KIND_U64, &verb.ttl_ms, .required = true};
    int failed = hf_tool_options(tool, argc, argv, options, count);
    if (!failed && (verb.ttl_ms > UINT32_MAX || verb.intent > UINT32_MAX || verb.amount < 0))
        failed = hf_tool_usage(tool, "a number is out of its range");
    return failed ? failed < 0 ? 0 : failed : send_verb(tool, &verb, opcode);
}

static int order_settle(struct hf_tool *tool, int argc, char **argv)
{
    return run_verb(tool, argc, argv, HF_SETTLE);
}

static int order_result(struct hf_tool *tool, int argc, char **argv)
{
    return run_verb(tool, argc, argv, HF_PAYMENT_RESULT);
}

static int order_ship(struct hf_tool *tool, int argc, char **argv)
{
    return run_verb(tool, argc, argv, HF_SHIP);
}

static int order_cancel(struct hf_tool *tool, int argc, char **argv)
{
    return run_verb(tool, argc, argv, HF_CANCEL);
}

static int order_extend(struct hf_tool *tool, int argc, char **argv)
{
    return run_verb(tool, argc, argv, HF_EXTEND);
}

/* Adds the lines of one page; their count. */
static size_t append_lines(json_t *object, const struct hf_answer *answer)
{
    json_t *list = json_object_get(object, "lines");
    size_t count;
    const struct hf_order_line_item *line = hf_tool_items(answer, sizeof(struct hf_order_item), sizeof *line, &count);
    for (size_t i = 0; i < count; i++, line++)
        json_array_append_new(list, json_pack("{s:o, s:I, s:I, s:I, s:I, s:I}", "sku", hf_json_sku(&line->sku), "location",
                                              (json_int_t)line->location, "quantity", (json_int_t)line->quantity, "price",
                                              (json_int_t)line->price, "shipped", (json_int_t)line->shipped, "returned",
                                              (json_int_t)line->returned));
    return count;
}

static json_t *whole_order(const struct hf_answer *answer, struct hf_id id)
{
    json_t *object = order_keys(answer, id);
    struct hf_order_item item;
    if (answer->result != HF_OK || answer->item_count < 1 || answer->length < sizeof *answer + sizeof item)
        return object;
    memcpy(&item, answer + 1, sizeof item);
    char currency[4] = {(char)item.currency[0], (char)item.currency[1], (char)item.currency[2], 0};
    json_t *more = json_pack("{s:o, s:I, s:o, s:o, s:I, s:I, s:I, s:s, s:I, s:[]}", "customer", hf_json_u64(item.customer), "channel",
                             (json_int_t)item.channel, "placed_ms", hf_json_u64(item.placed_ns / 1000000), "changed_ms",
                             hf_json_u64(item.changed_ns / 1000000), "authorised", (json_int_t)item.authorised, "captured",
                             (json_int_t)item.captured, "refunded", (json_int_t)item.refunded, "currency", currency, "intents",
                             (json_int_t)item.intents, "lines");
    if (!more)
        return object;
    json_object_update(object, more);
    json_decref(more);
    return object;
}

static int order_get(struct hf_tool *tool, int argc, char **argv)
{
    struct hf_tool_call call;
    const char *text = "";
    const struct hf_tool_option options[] = {{"ID", HF_KIND_TEXT, &text, .required = true}};
    struct hf_command *command;
    struct hf_id id;
    int failed = hf_tool_options(tool, argc, argv, options, 1);
    if (!failed)
        failed = hf_tool_id(tool, text, &id);
    if (!failed)
        failed = hf_tool_call_open(tool, &call, HF_GET_ORDER, 0, 0, &command);
    if (failed)
        return failed < 0 ? 0 : failed;
    json_t *object = NULL;
    for (struct hf_tool_page page = {0};;) {
        command->body.verb.order = id;
        command->arg = page.first;
        failed = hf_tool_call_send(tool, &call);
        if (failed)
            break;
        object = object ? object : whole_order(call.answer, id);
        page.next = page.listed += append_lines(object, call.answer);
        failed = hf_tool_page_turn(tool, call.answer, &page);
        if (failed || !page.more)
            break;
        command = hf_tool_call_again(&call, HF_GET_ORDER, 0, 0);
    }
    if (!failed)
        failed = hf_tool_finish(tool, call.answer, object);
    else
        json_decref(object);
    hf_tool_call_close(&call);
    return failed;
}

int hf_tool_order(struct hf_tool *tool, int argc, char **argv)
{
    static const struct hf_tool_command rows[] = {
        {"place", order_place, "order place SKU:LOCATION:QUANTITY[:PRICE]... [--customer N] [--ttl MS] [--channel N] [--id ID]"},
        {"get", order_get, "order get ID"},
        {"settle", order_settle, "order settle ID --amount N --currency EUR --payment REFERENCE [--command-id ID]"},
        {"result", order_result,
         "order result ID --intent N --status captured|failed|refunded|voided --amount N --currency EUR [--command-id ID]"},
        {"ship", order_ship, "order ship ID [--command-id ID]"},
        {"cancel", order_cancel, "order cancel ID [--command-id ID]"},
        {"extend", order_extend, "order extend ID --ttl MS [--command-id ID]"},
        {NULL, NULL, NULL},
    };
    return hf_tool_dispatch(tool, rows, argc, argv);
}
