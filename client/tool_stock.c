/* `holdfast stock receive|adjust|set|get`: one cell at a time. */
#include <string.h>

#include "client/tool.h"

struct stock_call {
    const char *sku_text, *bucket_text, *reason, *reference, *actor;
    uint64_t location, quantity, version, source, sequence;
    int64_t value;
    bool force, has_version, has_source, has_sequence;
    struct hf_sku sku;
    uint32_t bucket;
};

static int read_bucket(const struct hf_tool *tool, struct stock_call *stock)
{
    static const char *const names[] = {"sellable", "damaged", "quality_control"};
    for (uint32_t i = 0; i < 3; i++)
        if (!stock->bucket_text || strcmp(stock->bucket_text, names[i]) == 0) {
            stock->bucket = i;
            return 0;
        }
    return hf_tool_usage(tool, "'%s' is no bucket: sellable, damaged or quality_control", stock->bucket_text);
}

static int read_cell(const struct hf_tool *tool, struct stock_call *stock)
{
    int failed = hf_tool_sku(tool, stock->sku_text, &stock->sku);
    if (!failed && (stock->location == 0 || stock->location > UINT32_MAX))
        failed = hf_tool_usage(tool, "a location is a number from 1 to 4294967295");
    if (!failed)
        failed = read_bucket(tool, stock);
    return failed;
}

static uint8_t *put_text(uint8_t *at, uint16_t type, const char *text)
{
    return text ? hf_extension_put(at, type, text, (uint16_t)strlen(text)) : at;
}

static uint16_t text_bytes(const char *text)
{
    return text ? hf_extension_bytes((uint16_t)strlen(text)) : 0;
}

static json_t *first_cell(const struct hf_answer *answer)
{
    struct hf_cell_item item;
    if (answer->item_count < 1 || answer->length < sizeof *answer + sizeof item)
        return NULL;
    memcpy(&item, answer + 1, sizeof item);
    return hf_json_cell(&item);
}

/* Sends one stock command or cell query made of `stock` and prints the cell. */
static int run(const struct hf_tool *tool, struct stock_call *stock, uint16_t opcode)
{
    struct hf_tool_call call;
    struct hf_command *command;
    uint16_t ext_bytes = (uint16_t)(text_bytes(stock->reason) + text_bytes(stock->reference) + text_bytes(stock->actor));
    if ((stock->reason && strlen(stock->reason) > 128) || (stock->reference && strlen(stock->reference) > 128) ||
        (stock->actor && strlen(stock->actor) > 128))
        return hf_tool_usage(tool, "reason, reference and actor have at most 128 bytes each");
    int failed = hf_tool_call_open(tool, &call, opcode, 1, ext_bytes, &command);
    if (failed)
        return failed;
    if (opcode != HF_GET_CELL)
        command->id = hf_tool_call_id(&call, hf_route(&stock->sku));
    *hf_command_lines_rw(command) = (struct hf_line){
        .sku = stock->sku, .location = (uint32_t)stock->location, .quantity = (uint32_t)stock->quantity};
    command->arg = stock->bucket;
    command->flags = (uint8_t)((stock->force ? HF_FLAG_FORCE : 0) | (stock->has_version ? HF_FLAG_EXPECT_VERSION : 0) |
                               (stock->has_source ? HF_FLAG_SOURCE : 0));
    if (opcode == HF_ADJUST || opcode == HF_SET)
        command->body.stock.value = stock->value;
    command->body.stock.version = stock->version;
    command->body.stock.source = stock->source;
    command->body.stock.sequence = stock->sequence;
    uint8_t *at = put_text(hf_command_extensions_rw(command), HF_EXT_ACTOR, stock->actor);
    at = put_text(at, HF_EXT_REASON, stock->reason);
    put_text(at, HF_EXT_REFERENCE, stock->reference);
    failed = hf_tool_call_send(tool, &call);
    if (!failed)
        failed = hf_tool_finish(tool, call.answer, first_cell(call.answer));
    hf_tool_call_close(&call);
    return failed;
}

#define HF_CELL_OPTIONS(stock)                                       \
    {"SKU", HF_KIND_TEXT, &(stock).sku_text, .required = true},      \
    {                                                                \
        "LOCATION", HF_KIND_U64, &(stock).location, .required = true \
    }
#define HF_TEXT_OPTIONS(stock)                                                                     \
    {"--bucket", HF_KIND_TEXT, &(stock).bucket_text}, {"--reason", HF_KIND_TEXT, &(stock).reason}, \
        {"--reference", HF_KIND_TEXT, &(stock).reference},                                         \
    {                                                                                              \
        "--actor", HF_KIND_TEXT, &(stock).actor                                                    \
    }

static int receive(struct hf_tool *tool, int argc, char **argv)
{
    struct stock_call stock = {0};
    const struct hf_tool_option options[] = {
        HF_CELL_OPTIONS(stock), {"QUANTITY", HF_KIND_U64, &stock.quantity, .required = true}, HF_TEXT_OPTIONS(stock)};
    int failed = hf_tool_options(tool, argc, argv, options, sizeof options / sizeof options[0]);
    if (!failed)
        failed = read_cell(tool, &stock);
    if (!failed && (stock.quantity == 0 || stock.quantity > HF_QUANTITY_MAX))
        failed = hf_tool_usage(tool, "a quantity is a number from 1 to 2147483647");
    return failed ? failed < 0 ? 0 : failed : run(tool, &stock, HF_RECEIVE);
}

static int adjust(struct hf_tool *tool, int argc, char **argv)
{
    struct stock_call stock = {0};
    const struct hf_tool_option options[] = {HF_CELL_OPTIONS(stock),
                                             {"DELTA", HF_KIND_I64, &stock.value, .required = true},
                                             {"--force", HF_KIND_FLAG, &stock.force},
                                             HF_TEXT_OPTIONS(stock)};
    int failed = hf_tool_options(tool, argc, argv, options, sizeof options / sizeof options[0]);
    if (!failed)
        failed = read_cell(tool, &stock);
    if (!failed && !stock.reason)
        failed = hf_tool_usage(tool, "an adjustment needs --reason TEXT");
    return failed ? failed < 0 ? 0 : failed : run(tool, &stock, HF_ADJUST);
}

static int set(struct hf_tool *tool, int argc, char **argv)
{
    struct stock_call stock = {0};
    const struct hf_tool_option options[] = {HF_CELL_OPTIONS(stock),
                                             {"VALUE", HF_KIND_I64, &stock.value, .required = true},
                                             {"--expect-version", HF_KIND_U64, &stock.version, .given = &stock.has_version},
                                             {"--source", HF_KIND_U64, &stock.source, .given = &stock.has_source},
                                             {"--sequence", HF_KIND_U64, &stock.sequence, .given = &stock.has_sequence},
                                             {"--force", HF_KIND_FLAG, &stock.force},
                                             HF_TEXT_OPTIONS(stock)};
    int failed = hf_tool_options(tool, argc, argv, options, sizeof options / sizeof options[0]);
    if (!failed)
        failed = read_cell(tool, &stock);
    if (!failed && stock.has_source != stock.has_sequence)
        failed = hf_tool_usage(tool, "--source and --sequence belong together");
    return failed ? failed < 0 ? 0 : failed : run(tool, &stock, HF_SET);
}

static int get(struct hf_tool *tool, int argc, char **argv)
{
    struct stock_call stock = {0};
    const struct hf_tool_option options[] = {HF_CELL_OPTIONS(stock)};
    int failed = hf_tool_options(tool, argc, argv, options, sizeof options / sizeof options[0]);
    if (!failed)
        failed = read_cell(tool, &stock);
    return failed ? failed < 0 ? 0 : failed : run(tool, &stock, HF_GET_CELL);
}

int hf_tool_stock(struct hf_tool *tool, int argc, char **argv)
{
    static const struct hf_tool_command rows[] = {
        {"import", hf_tool_import, "stock import FILE.csv    header: sku,location,quantity"},
        {"receive", receive,
         "stock receive SKU LOCATION QUANTITY [--bucket sellable|quality_control] [--reason TEXT] [--reference TEXT] [--actor TEXT]"},
        {"adjust", adjust,
         "stock adjust SKU LOCATION DELTA --reason TEXT [--bucket sellable|damaged|quality_control] [--force] [--reference TEXT] [--actor "
         "TEXT]"},
        {"set", set,
         "stock set SKU LOCATION VALUE [--expect-version N] [--source N --sequence N] [--bucket B] [--force] [--reason TEXT] [--reference "
         "TEXT] [--actor TEXT]"},
        {"get", get, "stock get SKU LOCATION"},
        {NULL, NULL, NULL},
    };
    return hf_tool_dispatch(tool, rows, argc, argv);
}
