#include "control/rest/routes.h"

#include <string.h>

#include "holdfast/v1/admin.pb-c.h"
#include "holdfast/v1/catalog.pb-c.h"
#include "holdfast/v1/common.pb-c.h"

/* ---- Pages ---- */

static bool hf_rest_next_cell(const ProtobufCMessage *request, const ProtobufCMessage *answer, uint64_t *out)
{
    const Holdfast__V1__Sku *sku = (const Holdfast__V1__Sku *)(const void *)answer;
    *out = ((const Holdfast__V1__GetSkuRequest *)(const void *)request)->first_cell + (uint64_t)sku->n_cells;
    return sku->more;
}

static bool hf_rest_next_location(const ProtobufCMessage *request, const ProtobufCMessage *answer, uint64_t *out)
{
    const Holdfast__V1__ListLocationsResponse *list = (const Holdfast__V1__ListLocationsResponse *)(const void *)answer;
    (void)request;
    if (!list->more || list->n_locations == 0)
        return false;
    *out = list->locations[list->n_locations - 1]->location + (uint64_t)1;
    return true;
}

static bool hf_rest_next_status(const ProtobufCMessage *request, const ProtobufCMessage *answer, uint64_t *out)
{
    const Holdfast__V1__StatusResponse *status = (const Holdfast__V1__StatusResponse *)(const void *)answer;
    (void)request;
    *out = status->next_shard;
    return status->more;
}

static bool hf_rest_next_shard(const ProtobufCMessage *request, const ProtobufCMessage *answer, uint64_t *out)
{
    const Holdfast__V1__ShardsResponse *shards = (const Holdfast__V1__ShardsResponse *)(const void *)answer;
    (void)request;
    *out = shards->next_shard;
    return shards->more;
}

static bool hf_rest_next_stall(const ProtobufCMessage *request, const ProtobufCMessage *answer, uint64_t *out)
{
    const Holdfast__V1__StallsResponse *stalls = (const Holdfast__V1__StallsResponse *)(const void *)answer;
    (void)request;
    *out = stalls->next_shard;
    return stalls->more;
}

/* ---- The table ---- */

#define HF_ORDERS    "/holdfast.v1.Orders/"
#define HF_CATALOG   "/holdfast.v1.Catalog/"
#define HF_INVENTORY "/holdfast.v1.Inventory/"
#define HF_ADMIN     "/holdfast.v1.Admin/"
#define HF_EVENTS    "/holdfast.v1.Events/"

static const char HF_LINES[] =
    "{\"customer\": \"42\", \"channel\": \"WEB\", \"lines\": [{\"sku\": \"apple\", \"location\": 1, \"quantity\": 2, "
    "\"unitPrice\": \"199\"}], \"ttlMs\": 900000, \"mode\": \"PLACE_MODE_ALL_OR_NOTHING\"}";

/* A path's parameters have no colon, so that no two rows with the same verb match one path. */
const struct hf_rest_route hf_rest_routes[] = {
    {HF_REST_CREATE, "POST", "/v1/orders", HF_ORDERS "PlaceOrder", "Holds all lines or none, under a new id unless the body has one.",
     .example = HF_LINES, .tag = "version", .location = "/v1/orders/"},
    {HF_REST_WRITE, "POST", "/v1/orders/{id}:settle", HF_ORDERS "SettleOrder", "The payment was authorised: confirms the order.",
     .example = "{\"amount\": \"398\", \"currency\": \"EUR\", \"paymentReference\": \"pi_1\"}", .tag = "version"},
    {HF_REST_WRITE, "POST", "/v1/orders/{id}:cancel", HF_ORDERS "CancelOrder", "Ends an order that is not shipped and frees its stock.",
     .example = "{\"reason\": \"changed my mind\"}", .tag = "version"},
    {HF_REST_WRITE, "POST", "/v1/orders/{id}:extend", HF_ORDERS "ExtendOrder", "Lets the hold end `ttlMs` from now.",
     .example = "{\"ttlMs\": 1200000}", .tag = "version"},
    {HF_REST_WRITE, "POST", "/v1/orders/{id}:ship", HF_ORDERS "ShipOrder", "The whole order has left.", .example = "{}", .tag = "version"},
    {HF_REST_WRITE, "POST", "/v1/orders/{id}:reportPayment", HF_ORDERS "ReportPayment", "What became of an intent at the payment provider.",
     .example = "{\"intent\": 1, \"outcome\": \"PAYMENT_OUTCOME_CAPTURED\", \"amount\": \"398\", \"currency\": \"EUR\"}", .tag = "version"},
    {HF_REST_CREATE, "PUT", "/v1/orders/{id}", HF_ORDERS "PlaceOrder", "Holds all lines or none, under the id of the path.",
     .example = HF_LINES, .tag = "version", .location = "/v1/orders/"},
    {HF_REST_READ, "GET", "/v1/orders/{id}", HF_ORDERS "GetOrder", "The order as it is.", .tag = "version"},

    {HF_REST_WRITE, "PUT", "/v1/skus/{sku}", HF_CATALOG "PutSku", "Defines a SKU or changes its name.",
     .example = "{\"name\": \"An apple\"}"},
    {HF_REST_READ, "GET", "/v1/skus/{sku}", HF_CATALOG "GetSku", "A SKU, its policy and a page of its cells.", .page = "firstCell",
     .next = hf_rest_next_cell},
    {HF_REST_WRITE, "PUT", "/v1/skus/{sku}/policy", HF_CATALOG "SetPolicy",
     "Limits, sale window and safety stock of a SKU; with `location` the safety stock of one cell.",
     .example = "{\"policy\": {\"perOrder\": 5, \"safetyStock\": 0}}"},
    {HF_REST_READ, "GET", "/v1/skus/{sku}/cells", HF_CATALOG "GetSku", "The cells of a SKU, a page at a time.", .page = "firstCell",
     .next = hf_rest_next_cell},
    {HF_REST_WRITE, "POST", "/v1/skus/{sku}/cells/{location}:receive", HF_INVENTORY "Receive", "Goods came in.",
     .example = "{\"quantity\": 100}", .tag = "cell.version"},
    {HF_REST_WRITE, "POST", "/v1/skus/{sku}/cells/{location}:adjust", HF_INVENTORY "Adjust", "A signed change, with a reason.",
     .example = "{\"delta\": \"-2\", \"reason\": \"broken\"}", .tag = "cell.version"},
    {HF_REST_WRITE, "POST", "/v1/skus/{sku}/cells/{location}:set", HF_INVENTORY "Set",
     "An absolute number; with If-Match only if the cell has that version.",
     .example = "{\"quantity\": \"90\", \"source\": {\"source\": \"7\", \"sequence\": \"1\"}}", .tag = "cell.version",
     .match = "expectedVersion.version"},
    {HF_REST_READ, "GET", "/v1/skus/{sku}/cells/{location}", HF_INVENTORY "GetCell", "One cell.", .tag = "version"},
    {HF_REST_WRITE, "PUT", "/v1/locations/{location}", HF_CATALOG "DefineLocation", "Defines a location or changes its name.",
     .example = "{\"name\": \"Warehouse\"}"},
    {HF_REST_READ, "GET", "/v1/locations", HF_CATALOG "ListLocations", "Locations in ascending order, a page at a time.",
     .page = "firstLocation", .next = hf_rest_next_location},

    {HF_REST_FOLLOW, "GET", "/v1/events", HF_EVENTS "Follow",
     "What happened, as server-sent events: each with its cursor as id, from which Last-Event-ID goes on."},

    {HF_REST_READ, "GET", "/v1/admin/status", HF_ADMIN "Status", "Every counter of the node and its shards.", .page = "firstShard",
     .next = hf_rest_next_status},
    {HF_REST_READ, "GET", "/v1/admin/shards", HF_ADMIN "Shards", "What each shard does.", .page = "firstShard", .next = hf_rest_next_shard},
    {HF_REST_READ, "GET", "/v1/admin/stalls", HF_ADMIN "Stalls", "Where each shard's loop is, and how long its stages took at most.",
     .page = "firstShard", .next = hf_rest_next_stall},
    {HF_REST_READ, "GET", "/v1/admin/log", HF_ADMIN "Log", "The log: its end, what of it is on disk, how much room is left."},
    {HF_REST_WRITE, "POST", "/v1/admin:digest", HF_ADMIN "Digest", "The digest of the whole state; every shard stands still meanwhile.",
     .example = "{}"},
    {HF_REST_WRITE, "POST", "/v1/admin:audit", HF_ADMIN "Audit",
     "Checks the invariants of the whole state; every shard stands still meanwhile.", .example = "{}"},
    {HF_REST_WRITE, "POST", "/v1/admin:drain", HF_ADMIN "Drain", "Stops the engine as SIGTERM does.", .example = "{}"},
    {HF_REST_WRITE, "PUT", "/v1/admin/logLevel", HF_ADMIN "SetLogLevel", "Which lines of the engine's own log are left out.",
     .example = "{\"level\": \"LOG_LEVEL_INFO\"}"},
};
const unsigned hf_rest_route_count = sizeof hf_rest_routes / sizeof hf_rest_routes[0];

const ProtobufCMessageDescriptor *const hf_rest_details[] = {&holdfast__v1__shortage__descriptor};
const unsigned hf_rest_detail_count = sizeof hf_rest_details / sizeof hf_rest_details[0];

/* ---- Matching ---- */

bool hf_rest_path_is(const char *pattern, struct hf_grpc_bytes path, struct hf_rest_parameter *out, unsigned *count)
{
    const uint8_t *at = path.bytes, *end = path.bytes + path.length;
    *count = 0;
    while (*pattern) {
        if (*pattern != '{') {
            if (at == end || *at != (uint8_t)*pattern)
                return false;
            pattern++;
            at++;
            continue;
        }
        const char *close = strchr(pattern, '}');
        const uint8_t *begin = at;
        /* A colon of its own is sent as %3A: a bare one begins a verb. */
        while (at < end && *at != '/' && *at != ':')
            at++;
        if (at == begin || *count == HF_REST_PARAMETERS_MAX)
            return false;
        out[(*count)++] = (struct hf_rest_parameter){.name = {(const uint8_t *)pattern + 1, (size_t)(close - pattern - 1)},
                                                     .value = {begin, (size_t)(at - begin)}};
        pattern = close + 1;
    }
    return at == end;
}
