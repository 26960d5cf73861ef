/* How the tool shows things: JSON, text, names. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/tool.h"

json_t *hf_json_u64(uint64_t value)
{
    return json_integer((json_int_t)value);
}

void hf_id_text(struct hf_id id, char out[33])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        out[i] = digits[id.high >> (60 - 4 * i) & 15];
        out[16 + i] = digits[id.low >> (60 - 4 * i) & 15];
    }
    out[32] = 0;
}

json_t *hf_json_id(struct hf_id id)
{
    char text[33];
    hf_id_text(id, text);
    return json_string(text);
}

json_t *hf_json_sku(const struct hf_sku *sku)
{
    char text[17] = {0}, hex[35] = "0x";
    bool printable = true;
    memcpy(text, sku, sizeof *sku);
    size_t bytes = strlen(text);
    for (size_t i = 0; i < 16; i++) {
        uint8_t byte = ((const uint8_t *)sku)[i];
        printable = printable && (i < bytes ? byte > 32 && byte < 127 : byte == 0);
        snprintf(hex + 2 + 2 * i, 3, "%02x", byte);
    }
    return json_string(printable && bytes ? text : hex);
}

json_t *hf_json_cell(const struct hf_cell_item *cell)
{
    return json_pack("{s:o, s:o, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:o, s:b}", "sku", hf_json_sku(&cell->sku), "location",
                     hf_json_u64(cell->location), "sellable", cell->sellable, "damaged", cell->damaged, "quality_control",
                     cell->quality_control, "reserved", cell->reserved, "allocated", cell->allocated, "safety_stock", cell->safety_stock,
                     "incoming", cell->incoming, "available", (json_int_t)cell->available, "version", hf_json_u64(cell->version),
                     "oversold", cell->oversold != 0);
}

int hf_tool_sku(const struct hf_tool *tool, const char *text, struct hf_sku *out)
{
    size_t bytes = strlen(text);
    if (bytes == 34 && strncmp(text, "0x", 2) == 0) {
        for (int i = 0; i < 16; i++) {
            char pair[3] = {text[2 + 2 * i], text[3 + 2 * i], 0}, *end;
            ((uint8_t *)out)[i] = (uint8_t)strtoul(pair, &end, 16);
            if (*end)
                return hf_tool_usage(tool, "'%s' is no SKU: 0x and 32 hex digits, or 1 to 16 bytes of text", text);
        }
        return 0;
    }
    return hf_sku_from_text(text, bytes, out) ? 0 : hf_tool_usage(tool, "'%s' is no SKU: it has 1 to 16 bytes", text);
}

int hf_tool_id(const struct hf_tool *tool, const char *text, struct hf_id *out)
{
    uint64_t words[2];
    for (int i = 0; i < 2; i++) {
        char half[17] = {0}, *end = half;
        if (strlen(text) == 32)
            memcpy(half, text + 16 * i, 16);
        words[i] = strtoull(half, &end, 16);
        if (end != half + 16 || strspn(half, "0123456789abcdefABCDEF") != 16)
            return hf_tool_usage(tool, "'%s' is no id: it has 32 hex digits", text);
    }
    *out = (struct hf_id){words[0], words[1]};
    return 0;
}

static const char *name_of(const char *const *names, size_t count, unsigned state)
{
    return state < count ? names[state] : "UNKNOWN";
}

const char *hf_order_state_name(unsigned state)
{
    static const char *const names[] = {"NONE", "HELD", "CONFIRMED", "CLOSED", "CANCELLED", "EXPIRED"};
    return name_of(names, sizeof names / sizeof names[0], state);
}

const char *hf_payment_state_name(unsigned state)
{
    static const char *const names[] = {"NONE",   "AUTHORISED", "CAPTURE_PENDING", "CAPTURED",           "FAILED",
                                        "VOIDED", "REFUND_DUE", "REFUNDED",        "PARTIALLY_REFUNDED", "UNKNOWN"};
    return name_of(names, sizeof names / sizeof names[0], state);
}

const char *hf_fulfilment_state_name(unsigned state)
{
    static const char *const names[] = {"NONE", "PARTIAL", "SHIPPED", "DELIVERED", "RETURNED", "PARTIALLY_RETURNED"};
    return name_of(names, sizeof names / sizeof names[0], state);
}

const char *hf_opcode_name(unsigned opcode)
{
    static const struct {
        unsigned opcode;
        const char *name;
    } names[] = {
        {HF_DEFINE_SKU, "DEFINE_SKU"},
        {HF_DEFINE_LOCATION, "DEFINE_LOCATION"},
        {HF_DEFINE_POLICY, "DEFINE_POLICY"},
        {HF_RECEIVE, "RECEIVE"},
        {HF_ADJUST, "ADJUST"},
        {HF_SET, "SET"},
        {HF_PLACE, "PLACE"},
        {HF_EXTEND, "EXTEND"},
        {HF_SETTLE, "SETTLE"},
        {HF_PAYMENT_RESULT, "PAYMENT_RESULT"},
        {HF_SHIP, "SHIP"},
        {HF_CANCEL, "CANCEL"},
        {HF_GET_ORDER, "GET_ORDER"},
        {HF_GET_CELL, "GET_CELL"},
        {HF_GET_SKU, "GET_SKU"},
        {HF_LIST_LOCATIONS, "LIST_LOCATIONS"},
        {HF_STATUS, "STATUS"},
        {HF_DIGEST, "DIGEST"},
        {HF_AUDIT, "AUDIT"},
        {HF_FOLLOW, "FOLLOW"},
        {HF_EXPIRE, "EXPIRE"},
        {HF_MARK, "MARK"},
        {HF_FORGET, "FORGET"},
        {HF_PURGE_LIMITS, "PURGE_LIMITS"},
        {HF_PURGE_KEYS, "PURGE_KEYS"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].opcode == opcode)
            return names[i].name;
    return "UNKNOWN";
}

static void print_text(const json_t *value, int depth);

static void print_scalar(const json_t *value)
{
    if (json_is_string(value)) {
        printf("%s\n", json_string_value(value));
        return;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    printf("%s\n", text ? text : "");
    free(text);
}

static void print_member(const char *key, const json_t *value, int depth)
{
    bool nested = json_is_object(value) || json_is_array(value);
    printf("%*s%-*s%s", 2 * depth, "", nested ? 0 : 20 - 2 * depth, key, nested ? ":\n" : " ");
    print_text(value, depth + 1);
}

static void print_text(const json_t *value, int depth)
{
    const char *key;
    json_t *member;
    size_t index;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)value, key, member) print_member(key, member, depth);
    } else if (json_is_array(value)) {
        json_array_foreach(value, index, member)
        {
            char *line = json_dumps(member, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
            printf("%*s%s\n", 2 * depth, "", line ? line : "");
            free(line);
        }
    } else {
        print_scalar(value);
    }
}

void hf_tool_print(const struct hf_tool *tool, json_t *object)
{
    if (tool->json) {
        json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
    } else {
        print_text(object, 0);
    }
    json_decref(object);
}

void hf_tool_answer_keys(json_t *object, const struct hf_answer *answer)
{
    json_object_set_new(object, "result", json_string(hf_result_name(answer->result)));
    if (answer->result == HF_FULL)
        json_object_set_new(object, "table", json_string(hf_table_option(answer->detail)));
    else if (answer->detail)
        json_object_set_new(object, "line", json_integer(answer->detail));
    json_object_set_new(object, "position", hf_json_u64(answer->position));
    if (answer->flags & HF_ANSWER_REPEATED)
        json_object_set_new(object, "repeated", json_true());
    if (answer->flags & HF_ANSWER_ASYNC)
        json_object_set_new(object, "async", json_true());
}

int hf_tool_finish(const struct hf_tool *tool, const struct hf_answer *answer, json_t *more)
{
    json_t *object = json_object();
    unsigned result = answer->result;
    hf_tool_answer_keys(object, answer);
    if (more) {
        json_object_update(object, more);
        json_decref(more);
    }
    hf_tool_print(tool, object);
    if (result == HF_OK)
        return HF_EXIT_DONE;
    if (result == HF_FULL)
        return hf_tool_fail(tool, HF_EXIT_REFUSED, "FULL: start holdfastd with a larger %s", hf_table_option(answer->detail));
    return hf_tool_fail(tool, HF_EXIT_REFUSED, "%s: %s", hf_result_name(result), hf_result_advice(result));
}
