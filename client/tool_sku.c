/* `holdfast sku` and `holdfast location`: definitions. */
#include <stdio.h>
#include <string.h>

#include "client/tool.h"

static int check_name(const struct hf_tool *tool, const char *name)
{
    size_t bytes = strlen(name);
    return bytes >= 1 && bytes <= sizeof((struct hf_sku_item *)0)->name ? 0 : hf_tool_usage(tool, "a name has 1 to 40 bytes");
}

static void put_name(struct hf_command *command, const char *name)
{
    hf_extension_put(hf_command_extensions_rw(command), HF_EXT_NAME, name, (uint16_t)strlen(name));
}

struct policy {
    uint64_t per_order, per_customer, window_s, safety_stock, opens_ms, closes_ms, location;
    bool given;
};

static int send_policy(const struct hf_tool *tool, struct hf_tool_call *call, const struct hf_sku *sku, const struct policy *policy)
{
    struct hf_command *command = hf_tool_call_again(call, HF_DEFINE_POLICY, 1, 0);
    command->id = hf_tool_call_id(call, hf_route(sku));
    *hf_command_lines_rw(command) = (struct hf_line){.sku = *sku, .location = (uint32_t)policy->location};
    command->body.policy.per_order = (uint32_t)policy->per_order;
    command->body.policy.per_customer = (uint32_t)policy->per_customer;
    command->body.policy.window_s = (uint32_t)policy->window_s;
    command->body.policy.safety_stock = (uint32_t)policy->safety_stock;
    command->body.policy.opens_ms = policy->opens_ms;
    command->body.policy.closes_ms = policy->closes_ms;
    return hf_tool_call_send(tool, call);
}

static int define_sku(const struct hf_tool *tool, struct hf_tool_call *call, const struct hf_sku *sku, const char *name,
                      const struct policy *policy)
{
    struct hf_command *command;
    int failed = hf_tool_call_open(tool, call, HF_DEFINE_SKU, 1, hf_extension_bytes((uint16_t)strlen(name)), &command);
    if (failed)
        return failed;
    command->id = hf_tool_call_id(call, hf_route(sku));
    hf_command_lines_rw(command)->sku = *sku;
    put_name(command, name);
    failed = hf_tool_call_send(tool, call);
    if (!failed && call->answer->result == HF_OK && policy->given)
        failed = send_policy(tool, call, sku, policy);
    if (!failed)
        failed = hf_tool_finish(tool, call->answer, json_pack("{s:o, s:s}", "sku", hf_json_sku(sku), "name", name));
    hf_tool_call_close(call);
    return failed;
}

static int sku_define(struct hf_tool *tool, int argc, char **argv)
{
    struct hf_tool_call call;
    struct policy p = {0};
    const char *text = "", *name = NULL;
    const struct hf_tool_option options[] = {
        {"SKU", HF_KIND_TEXT, &text, .required = true},
        {"--name", HF_KIND_TEXT, &name},
        {"--per-order", HF_KIND_U64, &p.per_order, .given = &p.given},
        {"--per-customer", HF_KIND_U64, &p.per_customer, .given = &p.given},
        {"--window", HF_KIND_U64, &p.window_s, .given = &p.given},
        {"--safety-stock", HF_KIND_U64, &p.safety_stock, .given = &p.given},
        {"--opens", HF_KIND_U64, &p.opens_ms, .given = &p.given},
        {"--closes", HF_KIND_U64, &p.closes_ms, .given = &p.given},
        {"--location", HF_KIND_U64, &p.location, .given = &p.given},
    };
    struct hf_sku sku;
    int failed = hf_tool_options(tool, argc, argv, options, sizeof options / sizeof options[0]);
    if (!failed)
        failed = hf_tool_sku(tool, text, &sku);
    name = name ? name : text;
    if (!failed)
        failed = check_name(tool, name);
    if (!failed && (p.per_order | p.per_customer | p.window_s | p.safety_stock | p.location) > UINT32_MAX)
        failed = hf_tool_usage(tool, "a policy number is at most 4294967295");
    return failed ? failed < 0 ? 0 : failed : define_sku(tool, &call, &sku, name, &p);
}

static json_t *sku_json(const struct hf_answer *answer)
{
    struct hf_sku_item item;
    if (answer->result != HF_OK || answer->item_count < 1 || answer->length < sizeof *answer + sizeof item)
        return NULL;
    memcpy(&item, answer + 1, sizeof item);
    size_t name_bytes = item.name_bytes < sizeof item.name ? item.name_bytes : sizeof item.name;
    return json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:[]}", "sku", hf_json_sku(&item.sku), "name",
                     json_stringn(item.name, name_bytes), "per_order", (json_int_t)item.per_order, "per_customer",
                     (json_int_t)item.per_customer, "window_s", (json_int_t)item.window_s, "safety_stock", (json_int_t)item.safety_stock,
                     "opens_ms", (json_int_t)item.opens_ms, "closes_ms", (json_int_t)item.closes_ms, "cells", (json_int_t)item.cells,
                     "cell_list");
}

/* Appends the cells of one page; returns how many. */
static size_t append_cells(json_t *object, const struct hf_answer *answer)
{
    json_t *list = json_object_get(object, "cell_list");
    size_t count;
    const struct hf_cell_item *cell = hf_tool_items(answer, sizeof(struct hf_sku_item), sizeof *cell, &count);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, hf_json_cell(&cell[i]));
    return count;
}

static int sku_get(struct hf_tool *tool, int argc, char **argv)
{
    struct hf_tool_call call;
    const char *text = "";
    const struct hf_tool_option options[] = {{"SKU", HF_KIND_TEXT, &text, .required = true}};
    struct hf_sku sku;
    struct hf_command *command;
    json_t *object = NULL;
    int failed = hf_tool_options(tool, argc, argv, options, 1);
    if (!failed)
        failed = hf_tool_sku(tool, text, &sku);
    if (!failed)
        failed = hf_tool_call_open(tool, &call, HF_GET_SKU, 1, 0, &command);
    if (failed)
        return failed < 0 ? 0 : failed;
    for (struct hf_tool_page page = {0};;) {
        hf_command_lines_rw(command)->sku = sku;
        command->arg = page.first;
        failed = hf_tool_call_send(tool, &call);
        if (failed)
            break;
        object = object ? object : sku_json(call.answer);
        page.next = page.listed += append_cells(object, call.answer);
        failed = hf_tool_page_turn(tool, call.answer, &page);
        if (failed || !page.more)
            break;
        command = hf_tool_call_again(&call, HF_GET_SKU, 1, 0);
    }
    if (!failed)
        failed = hf_tool_finish(tool, call.answer, object);
    else
        json_decref(object);
    hf_tool_call_close(&call);
    return failed;
}

int hf_tool_sku_command(struct hf_tool *tool, int argc, char **argv)
{
    static const struct hf_tool_command rows[] = {
        {"define", sku_define,
         "sku define SKU [--name TEXT] [--per-order N] [--per-customer N] [--window SECONDS] [--safety-stock N] [--opens MS] [--closes MS] "
         "[--location N]"},
        {"get", sku_get, "sku get SKU"},
        {NULL, NULL, NULL},
    };
    return hf_tool_dispatch(tool, rows, argc, argv);
}

static int location_define(struct hf_tool *tool, int argc, char **argv)
{
    struct hf_tool_call call;
    uint64_t location = 0;
    const char *name = NULL;
    char made[32];
    const struct hf_tool_option options[] = {{"LOCATION", HF_KIND_U64, &location, .required = true}, {"--name", HF_KIND_TEXT, &name}};
    struct hf_command *command;
    int failed = hf_tool_options(tool, argc, argv, options, 2);
    if (!failed && (location == 0 || location > UINT32_MAX))
        failed = hf_tool_usage(tool, "a location is a number from 1 to 4294967295");
    snprintf(made, sizeof made, "location %u", (unsigned)location);
    name = name ? name : made;
    if (!failed)
        failed = check_name(tool, name);
    if (!failed)
        failed = hf_tool_call_open(tool, &call, HF_DEFINE_LOCATION, 0, hf_extension_bytes((uint16_t)strlen(name)), &command);
    if (failed)
        return failed < 0 ? 0 : failed;
    command->id = hf_tool_call_id(&call, 0);
    command->arg = (uint32_t)location;
    put_name(command, name);
    failed = hf_tool_call_send(tool, &call);
    if (!failed)
        failed = hf_tool_finish(tool, call.answer, json_pack("{s:I, s:s}", "location", (json_int_t)location, "name", name));
    hf_tool_call_close(&call);
    return failed;
}

/* Appends a page of locations. */
static void append_locations(json_t *list, const struct hf_answer *answer, struct hf_tool_page *page)
{
    size_t count;
    const struct hf_location_item *item = hf_tool_items(answer, 0, sizeof *item, &count);
    for (size_t i = 0; i < count; i++, item++) {
        size_t bytes = item->name_bytes < sizeof item->name ? item->name_bytes : sizeof item->name;
        json_array_append_new(list,
                              json_pack("{s:o, s:o}", "location", hf_json_u64(item->location), "name", json_stringn(item->name, bytes)));
        page->next = item->location + 1ull;
    }
    page->listed += count;
}

static int location_list(struct hf_tool *tool, int argc, char **argv)
{
    struct hf_tool_call call;
    struct hf_command *command;
    int failed = hf_tool_options(tool, argc, argv, NULL, 0);
    if (!failed)
        failed = hf_tool_call_open(tool, &call, HF_LIST_LOCATIONS, 0, 0, &command);
    if (failed)
        return failed < 0 ? 0 : failed;
    json_t *list = json_array();
    for (struct hf_tool_page page = {0};;) {
        command->arg = page.first;
        failed = hf_tool_call_send(tool, &call);
        if (failed)
            break;
        append_locations(list, call.answer, &page);
        failed = hf_tool_page_turn(tool, call.answer, &page);
        if (failed || !page.more)
            break;
        command = hf_tool_call_again(&call, HF_LIST_LOCATIONS, 0, 0);
    }
    json_t *object = json_pack("{s:i, s:o}", "count", (int)json_array_size(list), "locations", list);
    if (!failed)
        failed = hf_tool_finish(tool, call.answer, object);
    else
        json_decref(object);
    hf_tool_call_close(&call);
    return failed;
}

int hf_tool_location(struct hf_tool *tool, int argc, char **argv)
{
    static const struct hf_tool_command rows[] = {
        {"define", location_define, "location define LOCATION [--name TEXT]"},
        {"list", location_list, "location list"},
        {NULL, NULL, NULL},
    };
    return hf_tool_dispatch(tool, rows, argc, argv);
}
