/* The services Catalog and Inventory. */
#include "control/api/verbs.h"

#include "holdfast/v1/catalog.pb-c.h"
#include "holdfast/v1/inventory.pb-c.h"

enum { HF_NAME_TEXT_MAX = 40 };

#define AS(type, message) ((const Holdfast__V1__##type *)(const void *)(message))

static void hf_ask_sku(struct hf_draft *draft, uint16_t opcode, const char *sku, uint32_t location, uint32_t quantity)
{
    draft->command->opcode = opcode;
    hf_draft_line(draft, sku, location, quantity, 0);
    hf_draft_route_sku(draft);
}

static void hf_ask_put_sku(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__PutSkuRequest *request = AS(PutSkuRequest, message);
    hf_ask_sku(draft, HF_DEFINE_SKU, request->sku, 0, 0);
    hf_draft_id(draft, "command_id", request->command_id);
    hf_draft_text(draft, HF_EXT_NAME, "name", request->name, HF_NAME_TEXT_MAX);
    hf_draft_request_id(draft, request->request_id);
}

static void hf_ask_define_location(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__DefineLocationRequest *request = AS(DefineLocationRequest, message);
    draft->command->opcode = HF_DEFINE_LOCATION;
    draft->command->arg = request->location;
    hf_draft_id(draft, "command_id", request->command_id);
    hf_draft_text(draft, HF_EXT_NAME, "name", request->name, HF_NAME_TEXT_MAX);
    hf_draft_request_id(draft, request->request_id);
}

static void hf_ask_set_policy(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__SetPolicyRequest *request = AS(SetPolicyRequest, message);
    const Holdfast__V1__Policy *policy = request->policy;
    hf_ask_sku(draft, HF_DEFINE_POLICY, request->sku, request->location, 0);
    hf_draft_id(draft, "command_id", request->command_id);
    if (!policy) {
        hf_draft_fail(draft, HF_BAD_ARGUMENT, "policy", "is missing; an empty one lifts every limit");
        return;
    }
    draft->command->body.policy.per_order = policy->per_order;
    draft->command->body.policy.per_customer = policy->per_customer;
    draft->command->body.policy.window_s = policy->window_s;
    draft->command->body.policy.safety_stock = policy->safety_stock;
    draft->command->body.policy.opens_ms = policy->opens_ms;
    draft->command->body.policy.closes_ms = policy->closes_ms;
    hf_draft_request_id(draft, request->request_id);
}

static void hf_ask_get_sku(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__GetSkuRequest *request = AS(GetSkuRequest, message);
    hf_ask_sku(draft, HF_GET_SKU, request->sku, 0, 0);
    draft->command->arg = request->first_cell;
    draft->command->flags = request->stale_ok ? HF_FLAG_STALE_OK : 0;
}

static void hf_ask_list_locations(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__ListLocationsRequest *request = AS(ListLocationsRequest, message);
    draft->command->opcode = HF_LIST_LOCATIONS;
    draft->command->arg = request->first_location;
    draft->command->flags = request->stale_ok ? HF_FLAG_STALE_OK : 0;
}

static uint32_t hf_ask_bucket(struct hf_draft *draft, Holdfast__V1__Bucket bucket)
{
    switch (bucket) {
    case HOLDFAST__V1__BUCKET__BUCKET_UNSPECIFIED:
    case HOLDFAST__V1__BUCKET__BUCKET_SELLABLE:
        return HF_SELLABLE;
    case HOLDFAST__V1__BUCKET__BUCKET_DAMAGED:
        return HF_DAMAGED;
    case HOLDFAST__V1__BUCKET__BUCKET_QUALITY_CONTROL:
        return HF_QUALITY_CONTROL;
    default:
        hf_draft_fail(draft, HF_BAD_ARGUMENT, "bucket", "there is no such bucket");
        return HF_SELLABLE;
    }
}

static void hf_ask_receive(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__ReceiveRequest *request = AS(ReceiveRequest, message);
    hf_ask_sku(draft, HF_RECEIVE, request->sku, request->location, request->quantity);
    hf_draft_id(draft, "command_id", request->command_id);
    draft->command->arg = hf_ask_bucket(draft, request->bucket);
    hf_draft_request_id(draft, request->request_id);
}

static void hf_ask_adjust(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__AdjustRequest *request = AS(AdjustRequest, message);
    hf_ask_sku(draft, HF_ADJUST, request->sku, request->location, 0);
    hf_draft_id(draft, "command_id", request->command_id);
    draft->command->arg = hf_ask_bucket(draft, request->bucket);
    draft->command->body.stock.value = request->delta;
    draft->command->flags = request->force ? HF_FLAG_FORCE : 0;
    if (request->reason[0] == '\0')
        hf_draft_fail(draft, HF_BAD_EXTENSION, "reason", "is missing");
    hf_draft_text(draft, HF_EXT_REASON, "reason", request->reason, HF_DRAFT_TEXT_MAX);
    hf_draft_request_id(draft, request->request_id);
}

static void hf_ask_set(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__SetRequest *request = AS(SetRequest, message);
    struct hf_command *command = draft->command;
    hf_ask_sku(draft, HF_SET, request->sku, request->location, 0);
    hf_draft_id(draft, "command_id", request->command_id);
    command->arg = hf_ask_bucket(draft, request->bucket);
    command->body.stock.value = request->quantity;
    command->flags = (uint8_t)((request->force ? HF_FLAG_FORCE : 0) | (request->expected_version ? HF_FLAG_EXPECT_VERSION : 0) |
                               (request->source ? HF_FLAG_SOURCE : 0));
    if (request->expected_version)
        command->body.stock.version = request->expected_version->version;
    if (request->source) {
        command->body.stock.source = request->source->source;
        command->body.stock.sequence = request->source->sequence;
    }
    hf_draft_request_id(draft, request->request_id);
}

static void hf_ask_get_cell(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__GetCellRequest *request = AS(GetCellRequest, message);
    hf_ask_sku(draft, HF_GET_CELL, request->sku, request->location, 0);
    draft->command->flags = request->stale_ok ? HF_FLAG_STALE_OK : 0;
}

/* ---- answers ---- */

/* False: no memory. */
static bool hf_answer_receipt(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer,
                              Holdfast__V1__Receipt *out)
{
    holdfast__v1__receipt__init(out);
    out->id = hf_answer_id(call, hf_answer_command_id(answer, command));
    out->repeated = (answer->flags & HF_ANSWER_REPEATED) != 0;
    out->durable = (answer->flags & HF_ANSWER_ASYNC) == 0;
    out->position = answer->position;
    return out->id != NULL;
}

static void hf_answer_catalog(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer)
{
    Holdfast__V1__CatalogReceipt out = HOLDFAST__V1__CATALOG_RECEIPT__INIT;
    Holdfast__V1__Receipt receipt;
    out.receipt = &receipt;
    if (hf_answer_receipt(call, command, answer, &receipt))
        hf_grpc_answer(call, &out.base);
    else
        hf_answer_no_memory(call);
}

static bool hf_answer_cell_of(struct hf_grpc_call *call, const struct hf_cell_item *item, Holdfast__V1__Cell *out)
{
    holdfast__v1__cell__init(out);
    out->sku = hf_answer_sku(call, &item->sku);
    out->location = item->location;
    out->sellable = item->sellable;
    out->damaged = item->damaged;
    out->quality_control = item->quality_control;
    out->reserved = item->reserved;
    out->allocated = item->allocated;
    out->safety_stock = item->safety_stock;
    out->incoming = item->incoming;
    out->available = item->available;
    out->version = item->version;
    out->oversold = item->oversold != 0;
    return out->sku != NULL;
}

static void hf_answer_cell(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer)
{
    (void)command;
    Holdfast__V1__Cell out;
    if (hf_answer_cell_of(call, (const struct hf_cell_item *)(const void *)(answer + 1), &out))
        hf_grpc_answer(call, &out.base);
    else
        hf_answer_no_memory(call);
}

static void hf_answer_stock(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer)
{
    Holdfast__V1__CellReceipt out = HOLDFAST__V1__CELL_RECEIPT__INIT;
    Holdfast__V1__Receipt receipt;
    Holdfast__V1__Cell cell;
    bool good = hf_answer_receipt(call, command, answer, &receipt);
    out.receipt = &receipt;
    out.applied = answer->result == HF_OK;
    if (answer->item_count > 0) {
        good = good && hf_answer_cell_of(call, (const struct hf_cell_item *)(const void *)(answer + 1), &cell);
        out.cell = &cell;
    }
    if (good)
        hf_grpc_answer(call, &out.base);
    else
        hf_answer_no_memory(call);
}

static void hf_answer_sku_page(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer)
{
    (void)command;
    const struct hf_sku_item *item = (const struct hf_sku_item *)(const void *)(answer + 1);
    const struct hf_cell_item *from = (const struct hf_cell_item *)(const void *)(item + 1);
    size_t count = answer->item_count > 0 ? answer->item_count - 1u : 0;
    Holdfast__V1__Sku out = HOLDFAST__V1__SKU__INIT;
    Holdfast__V1__Policy policy = HOLDFAST__V1__POLICY__INIT;
    Holdfast__V1__Cell *cells = hf_answer_rows(call, count, sizeof *cells, &out.cells);
    bool good = cells != NULL;
    for (size_t i = 0; good && i < count; i++)
        good = hf_answer_cell_of(call, &from[i], &cells[i]);
    out.sku = hf_answer_sku(call, &item->sku);
    out.name = hf_answer_text(call, item->name, item->name_bytes);
    if (!good || !out.sku || !out.name) {
        hf_answer_no_memory(call);
        return;
    }
    policy.per_order = item->per_order;
    policy.per_customer = item->per_customer;
    policy.window_s = item->window_s;
    policy.safety_stock = item->safety_stock;
    policy.opens_ms = item->opens_ms;
    policy.closes_ms = item->closes_ms;
    out.policy = &policy;
    out.cell_count = item->cells;
    out.n_cells = count;
    out.more = (answer->flags & HF_ANSWER_MORE) != 0;
    hf_grpc_answer(call, &out.base);
}

static void hf_answer_locations(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer)
{
    (void)command;
    const struct hf_location_item *from = (const struct hf_location_item *)(const void *)(answer + 1);
    Holdfast__V1__ListLocationsResponse out = HOLDFAST__V1__LIST_LOCATIONS_RESPONSE__INIT;
    Holdfast__V1__Location *rows = hf_answer_rows(call, answer->item_count, sizeof *rows, &out.locations);
    bool good = rows != NULL;
    for (unsigned i = 0; good && i < answer->item_count; i++) {
        holdfast__v1__location__init(&rows[i]);
        rows[i].location = from[i].location;
        rows[i].name = hf_answer_text(call, from[i].name, from[i].name_bytes);
        good = rows[i].name != NULL;
    }
    out.n_locations = answer->item_count;
    out.more = (answer->flags & HF_ANSWER_MORE) != 0;
    if (good)
        hf_grpc_answer(call, &out.base);
    else
        hf_answer_no_memory(call);
}

static const struct hf_verb hf_catalog_rows[] = {
    {"PutSku", hf_ask_put_sku, hf_answer_catalog},
    {"DefineLocation", hf_ask_define_location, hf_answer_catalog},
    {"SetPolicy", hf_ask_set_policy, hf_answer_catalog},
    {"GetSku", hf_ask_get_sku, hf_answer_sku_page},
    {"ListLocations", hf_ask_list_locations, hf_answer_locations},
};

static const struct hf_verb hf_inventory_rows[] = {
    {"Receive", hf_ask_receive, hf_answer_stock},
    {"Adjust", hf_ask_adjust, hf_answer_stock},
    {"Set", hf_ask_set, hf_answer_stock},
    {"GetCell", hf_ask_get_cell, hf_answer_cell},
};

const struct hf_verb_table hf_verbs_catalog = {&holdfast__v1__catalog__descriptor, hf_catalog_rows,
                                               sizeof hf_catalog_rows / sizeof hf_catalog_rows[0]};
const struct hf_verb_table hf_verbs_inventory = {&holdfast__v1__inventory__descriptor, hf_inventory_rows,
                                                 sizeof hf_inventory_rows / sizeof hf_inventory_rows[0]};
