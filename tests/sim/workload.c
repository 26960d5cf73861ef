#include "tests/sim/workload.h"

#include "client/holdfast.h"
#include "tests/sim/check.h"
#include "tests/sim/history.h"
#include "tests/sim/network.h"
#include "tests/sim/process.h"
#include "tests/sim/sim.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS_MAX = 8, PENDING_MAX = 1024, ORDERS = 128, SENT = 128, TICK_NS = 5000000, COMMANDS_MAX = 64 };

struct client {
    struct hf_loop *loop;
    struct hf_client *client;
    uint64_t next_poll_ns, next_frame_ns;
    unsigned in_flight;
};

struct pending {
    bool used;
    struct client *client;
    struct sim_sent sent;
};

struct known_order {
    struct hf_id id;
    uint32_t intent;
    int64_t amount;
};

static struct sim_workload_options options;
static struct sim_workload_counts counts;
static struct client clients[CLIENTS_MAX];
static struct pending pendings[PENDING_MAX];
static struct known_order orders[ORDERS];
static unsigned order_count;
static struct hf_command *sent[SENT]; /* copies */
static unsigned sent_count;
static unsigned setup_next;
static uint64_t think_ns_max;
static uint64_t weight_sum;
static uint64_t followed; /* where the last FOLLOW ended */

/* ---- what is asked ---- */

static union {
    struct hf_command command;
    uint8_t bytes[HF_COMMAND_BYTES_MAX + 64];
} made;

static struct hf_command *make(uint16_t opcode, uint16_t lines)
{
    memset(made.bytes, 0, sizeof made.command + lines * sizeof(struct hf_line));
    made.command.length = (uint32_t)(sizeof made.command + lines * sizeof(struct hf_line));
    made.command.opcode = opcode;
    made.command.version = HF_COMMAND_VERSION;
    made.command.line_count = lines;
    return &made.command;
}

static void extend(uint16_t type, const char *text)
{
    struct hf_command *command = &made.command;
    uint16_t bytes = (uint16_t)strlen(text), padded = hf_extension_bytes(bytes);
    hf_extension_put(made.bytes + command->length, type, text, bytes);
    command->length += padded;
    command->ext_bytes = (uint16_t)(command->ext_bytes + padded);
}

static struct hf_sku sku_of(unsigned number)
{
    char text[17] = {0};
    struct hf_sku sku;
    int bytes = snprintf(text, sizeof text, "sku-%u", number);
    hf_sku_from_text(text, (size_t)bytes, &sku);
    return sku;
}

/* Mostly one of the seed's; now and then one that nobody defined. The first ones are asked for most. */
static struct hf_sku any_sku(void)
{
    if (sim_one_in(100))
        return sku_of(options.skus + 1);
    return sku_of((unsigned)sim_below(1 + sim_below(options.skus)));
}

static uint32_t any_location(void)
{
    return sim_one_in(200) ? 9999 : 1 + (uint32_t)sim_below(options.locations);
}

/* Mostly right; ids of another time or place must be refused, and never run. */
static struct hf_id make_id(struct client *client, uint16_t route)
{
    struct hf_id id = hf_client_id(client->client, route);
    switch (sim_below(400)) {
    case 0:
        return hf_id_make(route, hf_id_ms(id) - options.retention_ns / 1000000 - sim_below(10000), id.low);
    case 1:
        return hf_id_make(route, hf_id_ms(id) + 3600000 + sim_below(7200000), id.low);
    case 2:
        return hf_id_make((uint16_t)(route + 1), hf_id_ms(id), id.low);
    case 3:
        return hf_id_make(route, hf_id_ms(id) - sim_below(options.retention_ns / 1000000 + 1), id.low);
    default:
        return id;
    }
}

static struct hf_line *lines_of(struct hf_command *command)
{
    return hf_command_lines_rw(command);
}

static void make_stock(struct client *client, uint16_t opcode, struct hf_sku sku, uint32_t location)
{
    struct hf_command *command = make(opcode, 1);
    lines_of(command)[0] = (struct hf_line){.sku = sku, .location = location};
    command->id = make_id(client, hf_route(&sku));
    command->arg = sim_one_in(6) ? (uint32_t)sim_below(4) : HF_SELLABLE;
}

static const char *any_name(const char *usual)
{
    switch (sim_below(40)) {
    case 0:
        return "";
    case 1:
        return "a name that is longer than the forty bytes there are";
    case 2:
        return "a name that is exactly forty bytes long.";
    default:
        return sim_one_in(2) ? usual : "by another name";
    }
}

static void extend_name(const char *usual)
{
    if (!sim_one_in(20))
        extend(HF_EXT_NAME, any_name(usual));
}

static void make_definition(struct client *client, enum sim_act act, struct hf_sku sku, uint32_t location)
{
    if (act == ACT_LOCATION) {
        struct hf_command *command = make(HF_DEFINE_LOCATION, 0);
        command->id = make_id(client, 0);
        command->arg = sim_one_in(100) ? 0 : location;
        extend_name("somewhere");
        return;
    }
    struct hf_command *command = make(act == ACT_SKU ? HF_DEFINE_SKU : HF_DEFINE_POLICY, 1);
    lines_of(command)[0] = (struct hf_line){.sku = sku};
    command->id = make_id(client, hf_route(&sku));
    if (act == ACT_SKU) {
        extend_name("a thing");
    } else if (sim_one_in(3)) {
        lines_of(command)[0].location = any_location();
        command->body.policy.safety_stock = (uint32_t)sim_below(4);
        if (sim_one_in(10))
            command->body.policy.per_order = 1;
    } else {
        command->body.policy.per_order = sim_one_in(2) ? (uint32_t)sim_below(8) : 0;
        command->body.policy.per_customer = sim_one_in(2) ? 1 + (uint32_t)sim_below(12) : 0;
        command->body.policy.window_s = (uint32_t)sim_below(3);
        command->body.policy.safety_stock = (uint32_t)sim_below(3);
        if (sim_one_in(4))
            command->body.policy.opens_ms = hf_client_time_ms(client->client) - 1000 + sim_below(2000);
        if (sim_one_in(8))
            command->body.policy.closes_ms = hf_client_time_ms(client->client) + sim_below(2000);
        if (sim_one_in(40))
            command->body.policy.safety_stock = UINT32_MAX - (uint32_t)sim_below(2) * (UINT32_MAX / 2);
        if (sim_one_in(40))
            command->body.policy.opens_ms = UINT64_MAX - sim_below(2) * (UINT64_MAX / 2);
    }
}

static void make_place(struct client *client)
{
    uint64_t dice = sim_below(64);
    unsigned most = dice < 48 ? 3 : dice < 62 ? 12 : options.lines_max, count;
    count = 1 + (unsigned)sim_below(most < options.lines_max ? most : options.lines_max);
    struct hf_command *command = make(HF_PLACE, (uint16_t)count);
    for (unsigned i = 0; i < count; i++)
        lines_of(command)[i] = (struct hf_line){.sku = any_sku(),
                                                .location = any_location(),
                                                .quantity = 1 + (uint32_t)sim_below(sim_one_in(20) ? 1000 : 3),
                                                .price = sim_below(500)};
    command->id = make_id(client, hf_route(&lines_of(command)[0].sku));
    command->arg = sim_one_in(100) ? 0 : 1 + (uint32_t)sim_below(options.ttl_ms_max);
    command->body.place.customer = sim_below(options.customers);
    command->body.place.mode = sim_one_in(300) ? 1 : HF_ALL_OR_NOTHING;
    if (sim_one_in(300))
        command->arg = UINT32_MAX;
    command->body.place.channel = sim_one_in(200) ? 7 : HF_CHANNEL_WEB;
    if (sim_one_in(8))
        extend(HF_EXT_REFERENCE, "web");
}

static int64_t amount_of(const struct hf_command *command)
{
    int64_t amount = 0;
    for (unsigned i = 0; i < command->line_count; i++)
        amount += (int64_t)(hf_command_lines(command)[i].price * hf_command_lines(command)[i].quantity);
    return amount;
}

static void make_verb(struct client *client, uint16_t opcode)
{
    /* One order in so many hears far more than it can remember. */
    const struct known_order *order = &orders[sim_one_in(options.fond) ? 0 : sim_below(order_count)];
    struct hf_command *command = make(opcode, 0);
    command->id = opcode == HF_GET_ORDER ? (struct hf_id){0, 0} : make_id(client, hf_id_route(order->id));
    command->body.verb.order = order->id;
    if (sim_one_in(100))
        command->body.verb.order.low ^= 1;
    /* Not a payment: of an order that is not there it would be remembered, and its id taken. */
    if (sim_one_in(200) && opcode != HF_GET_ORDER && opcode != HF_SETTLE)
        command->id = order->id;
    if (opcode == HF_EXTEND)
        command->arg = sim_one_in(40)   ? 0
                       : sim_one_in(40) ? UINT32_MAX
                       : sim_one_in(40) ? 2592000000u
                                        : 1 + (uint32_t)sim_below(options.ttl_ms_max);
    if (opcode == HF_SETTLE || opcode == HF_PAYMENT_RESULT) {
        command->body.verb.amount = sim_one_in(30) ? order->amount + 1 : order->amount;
        memcpy(command->body.verb.currency, sim_one_in(60) ? "eur" : sim_one_in(60) ? "USD" : "EUR", 3);
        if (sim_one_in(60))
            command->body.verb.amount = 0;
    }
    if (opcode == HF_SETTLE && !sim_one_in(40))
        extend(HF_EXT_PAYMENT_REFERENCE, sim_one_in(40) ? "" : "card");
    if (opcode == HF_PAYMENT_RESULT) {
        command->arg = sim_one_in(100) ? 0 : order->intent + (sim_one_in(20) ? 1 : 0);
        command->body.verb.status = (uint8_t)(sim_one_in(3) ? sim_below(8) : HF_STATUS_CAPTURED);
    }
}

static void make_query(enum sim_act act)
{
    struct hf_sku sku = any_sku();
    struct hf_command *command;
    if (act == ACT_LIST) {
        command = make(HF_LIST_LOCATIONS, 0);
        command->arg = (uint32_t)sim_below(options.locations + 2);
    } else {
        command = make(act == ACT_GET_CELL ? HF_GET_CELL : HF_GET_SKU, 1);
        lines_of(command)[0] = (struct hf_line){.sku = sku, .location = act == ACT_GET_CELL ? any_location() : 0};
    }
    if (act == ACT_GET_SKU)
        command->arg = (uint32_t)sim_below(3);
    if (sim_one_in(4))
        command->flags = HF_FLAG_STALE_OK;
}

static void make_admin(void)
{
    static const uint16_t opcodes[] = {HF_STATUS, HF_DIGEST, HF_AUDIT, HF_FOLLOW, HF_FOLLOW, HF_FOLLOW};
    struct hf_command *command = make(opcodes[sim_below(6)], 0);
    if (command->opcode != HF_FOLLOW)
        return;
    command->body.follow.position = sim_one_in(4) ? 0 : sim_one_in(8) ? sim_below(sim_history_position() + 8192) : followed;
    command->arg = sim_one_in(4) ? (uint32_t)sim_below(2000) : 0;
}

static void make_stock_change(struct client *client, enum sim_act act)
{
    static const uint16_t opcodes[] = {[ACT_RECEIVE] = HF_RECEIVE, [ACT_ADJUST] = HF_ADJUST, [ACT_SET] = HF_SET};
    make_stock(client, opcodes[act], any_sku(), any_location());
    struct hf_command *command = &made.command;
    if (act == ACT_RECEIVE) {
        lines_of(command)[0].quantity = 1 + (uint32_t)sim_below(40);
        return;
    }
    command->body.stock.value = (int64_t)sim_below(60) - (act == ACT_ADJUST ? 20 : 5);
    if (sim_one_in(60)) /* far below: a shipment may then have no room in its number */
        command->body.stock.value = INT32_MIN + (int64_t)sim_below(60);
    if (sim_one_in(5))
        command->flags |= HF_FLAG_FORCE;
    if (sim_one_in(60)) {
        command->body.stock.value = (int64_t)hf_random_next(&sim.random);
        command->body.stock.value >>= sim_below(64);
    }
    if (act == ACT_ADJUST) {
        if (!sim_one_in(40))
            extend(HF_EXT_REASON, sim_one_in(40) ? "" : "counted");
        return;
    }
    if (sim_one_in(60))
        command->body.stock.version = command->body.stock.source = 1;
    if (sim_one_in(3)) {
        command->flags |= HF_FLAG_EXPECT_VERSION;
        command->body.stock.version = 1 + sim_below(10);
    }
    if (sim_one_in(2)) {
        command->flags |= HF_FLAG_SOURCE;
        command->body.stock.source = 1 + sim_below(3);
        command->body.stock.sequence = sim_below(20) + counts.sent / 40;
    }
}

static void make_again(bool changed)
{
    const struct hf_command *old = sent[sim_below(sent_count)];
    memcpy(made.bytes, old, old->length);
    if (changed)
        made.command.arg ^= 1;
}

/* A client that died and forgot which id it had used. */
static bool make_keyed(struct client *client)
{
    struct hf_request_key key;
    for (unsigned tries = 0; tries < 16 && sent_count > 0; tries++) {
        const struct hf_command *old = sent[sim_below(sent_count)];
        if (!hf_command_request_key(old, &key))
            continue;
        memcpy(made.bytes, old, old->length);
        made.command.id = make_id(client, hf_id_route(old->id));
        if (sim_one_in(20))
            made.command.arg ^= 1;
        return true;
    }
    return false;
}

/* Of few, so that strangers meet. */
static void extend_key(void)
{
    struct hf_request_key key = {{sim_below(50) * 0x9e3779b97f4a7c15ull, sim_one_in(8) ? 0 : counts.sent}};
    struct hf_command *command = &made.command;
    if (hf_opcode_family(command->opcode) > HF_FAMILY_ORDER || command->ext_bytes + HF_REQUEST_KEY_EXTENSION_BYTES > HF_EXTENSION_BYTES_MAX)
        return;
    hf_extension_put(made.bytes + command->length, HF_EXT_IDEMPOTENCY_KEY, (const char *)&key, sizeof key);
    command->length += HF_REQUEST_KEY_EXTENSION_BYTES;
    command->ext_bytes = (uint16_t)(command->ext_bytes + HF_REQUEST_KEY_EXTENSION_BYTES);
}

static void make_bad(struct client *client)
{
    make_place(client);
    switch (sim_below(6)) {
    case 0:
        made.command.version = 2;
        break;
    case 1:
        made.command.opcode = (uint16_t)(sim_one_in(2) ? HF_EXPIRE : sim_below(65536));
        break;
    case 2:
        made.command.body.place.reserved[sim_below(19)] = 1;
        break;
    case 3:
        lines_of(&made.command)[0].quantity = 0;
        break;
    case 4:
        made.command.flags = (uint8_t)(1u << sim_below(8));
        break;
    default:
        lines_of(&made.command)[0].sku = (struct hf_sku){{0, 0}};
    }
}

static enum sim_act draw_act(void)
{
    uint64_t dice = sim_below(weight_sum);
    enum sim_act act = 0;
    while (dice >= options.weights[act])
        dice -= options.weights[act++];
    bool order = act == ACT_EXTEND || act == ACT_SETTLE || act == ACT_RESULT || act == ACT_SHIP || act == ACT_CANCEL ||
                 act == ACT_GET_ORDER;
    bool again = act == ACT_AGAIN || act == ACT_CHANGED;
    return (order && order_count == 0) || (again && sent_count == 0) ? ACT_PLACE : act;
}

/* First a shop: locations, SKUs, some stock. */
static bool make_setup(struct client *client)
{
    unsigned at = setup_next++;
    if (at < options.locations) {
        make_definition(client, ACT_LOCATION, (struct hf_sku){{0, 0}}, 1 + at);
        return true;
    }
    at -= options.locations;
    if (at < options.skus) {
        make_definition(client, ACT_SKU, sku_of(at), 0);
        return true;
    }
    at -= options.skus;
    if (at < options.skus * options.locations) {
        make_stock(client, HF_RECEIVE, sku_of(at % options.skus), 1 + at / options.skus);
        made.command.arg = HF_SELLABLE;
        lines_of(&made.command)[0].quantity = 1 + (uint32_t)sim_below(100);
        return true;
    }
    setup_next--;
    return false;
}

static enum sim_act make_any(struct client *client)
{
    static const uint16_t verbs[] = {[ACT_EXTEND] = HF_EXTEND, [ACT_SETTLE] = HF_SETTLE, [ACT_RESULT] = HF_PAYMENT_RESULT,
                                     [ACT_SHIP] = HF_SHIP,     [ACT_CANCEL] = HF_CANCEL, [ACT_GET_ORDER] = HF_GET_ORDER};
    if (make_setup(client))
        return ACT_SKU;
    enum sim_act act = draw_act();
    if (act == ACT_KEYED && make_keyed(client))
        return act;
    act = act == ACT_KEYED ? ACT_PLACE : act;
    if (act <= ACT_POLICY)
        make_definition(client, act, any_sku(), any_location());
    else if (act <= ACT_SET)
        make_stock_change(client, act);
    else if (act == ACT_PLACE)
        make_place(client);
    else if (act <= ACT_GET_ORDER)
        make_verb(client, verbs[act]);
    else if (act <= ACT_LIST)
        make_query(act);
    else if (act == ACT_ADMIN)
        make_admin();
    else if (act == ACT_BAD)
        make_bad(client);
    else
        make_again(act == ACT_CHANGED);
    if (act <= ACT_CANCEL && options.keyed > 0 && sim_one_in(options.keyed))
        extend_key();
    return act;
}

/* ---- what is kept of it ---- */

static void keep_sent(const struct hf_command *command)
{
    unsigned at = sent_count < SENT ? sent_count++ : (unsigned)sim_below(SENT);
    free(sent[at]);
    sent[at] = malloc(command->length);
    assert(sent[at]);
    memcpy(sent[at], command, command->length);
}

static void keep_order(const struct hf_command *command)
{
    /* In some worlds one order is kept for long, to hear of everything. */
    unsigned at = order_count < ORDERS ? order_count++ : (unsigned)sim_below(ORDERS);
    if (at == 0 && order_count == ORDERS && options.fond < 6 && !sim_one_in(8))
        return;
    orders[at] = (struct known_order){.id = command->id, .amount = amount_of(command), .intent = 1};
}

static void learn_intent(struct hf_id order, uint32_t intent)
{
    for (unsigned i = 0; i < order_count; i++)
        if (hf_id_equal(orders[i].id, order))
            orders[i].intent = intent;
}

static void take_answer(const struct hf_command *command, const struct hf_answer *answer, const struct pending *pending, bool async)
{
    counts.answered++;
    counts.keyed += (answer->flags & HF_ANSWER_KEYED) != 0;
    sim_note("answer %04x %016" PRIx64 "%016" PRIx64 " %s flags %x position %" PRIu64, command->opcode, command->id.high, command->id.low,
             hf_result_name(answer->result), answer->flags, answer->position);
    if (answer->result == HF_OK)
        counts.accepted++;
    else
        counts.rejected++;
    if (command->opcode == HF_SETTLE && answer->result == HF_OK)
        learn_intent(command->body.verb.order, (uint32_t)answer->value);
    if (command->opcode == HF_FOLLOW && answer->result == HF_OK) {
        sim_check_followed(command, answer);
        followed = answer->value;
    }
    sim_check_answer(command, answer, pending->sent, async);
}

static void done(void *context, const struct hf_reply *reply)
{
    struct pending *pending = context;
    const struct hf_command *command = reply->commands;
    struct hf_client_status status;
    pending->client->in_flight--;
    pending->used = false;
    if (reply->error != 0 || reply->refused != 0) {
        sim_note("frame of %u: error %d refused %s", reply->count, reply->error, hf_result_name(reply->refused));
        /* Who is refused comes back a little later. */
        pending->client->next_frame_ns = sim.now_ns + 1000000 + sim_below(20000000);
        counts.failed += reply->error != 0 ? reply->count : 0;
        counts.refused += reply->error == 0 ? reply->count : 0;
        return;
    }
    hf_client_status(pending->client->client, &status);
    const struct hf_answer *answer = reply->answers;
    for (unsigned i = 0; i < reply->count && !sim.failed; i++) {
        take_answer(command, answer, pending, status.async_durability);
        command = hf_command_next(command);
        answer = hf_answer_next(answer);
    }
}

/* ---- frames ---- */

static struct pending *free_pending(void)
{
    for (unsigned i = 0; i < PENDING_MAX; i++)
        if (!pendings[i].used)
            return &pendings[i];
    return NULL;
}

static bool add_made(struct hf_batch *batch)
{
    const struct hf_command *command = &made.command;
    struct hf_command *to = hf_batch_add(batch, command->opcode, command->line_count, command->ext_bytes);
    if (!to)
        return false;
    memcpy(to, command, command->length);
    counts.sent++;
    if (hf_opcode_family(command->opcode) <= HF_FAMILY_ORDER)
        keep_sent(command);
    if (command->opcode == HF_PLACE)
        keep_order(command);
    return true;
}

static uint16_t route_of(const struct hf_command *command)
{
    return command->line_count > 0 ? hf_route(&hf_command_lines(command)[0].sku) : hf_id_route(command->body.verb.order);
}

static void submit(struct client *client)
{
    struct pending *pending = free_pending();
    struct hf_client_status status;
    hf_client_status(client->client, &status);
    if (!pending)
        return;
    enum sim_act act = make_any(client);
    unsigned shard = hf_client_shard(client->client, route_of(&made.command));
    if (status.shard_count > 1 && sim_one_in(8))
        shard = (unsigned)sim_below(status.shard_count);
    struct hf_batch *batch = hf_client_batch(client->client, shard);
    if (!batch)
        return;
    unsigned wanted = 1 + (unsigned)sim_below(options.commands_max), count = 0;
    while (add_made(batch) && ++count < wanted && act != ACT_ADMIN) {
        do
            act = make_any(client);
        while (act == ACT_ADMIN);
    }
    *pending = (struct pending){.used = true, .client = client, .sent = sim_check_sent()};
    client->in_flight++;
    counts.frames++;
    if (hf_client_submit(client->client, batch, 0, done, pending) != 0)
        sim_fail("a batch could not be submitted");
}

/* ---- their life ---- */

static void open_client(struct client *client)
{
    char error[256] = "";
    struct hf_client_options wanted = {.server = "tcp://127.0.0.1:7420",
                                       .frames_max = options.frames_max,
                                       .deadline_ns = options.deadline_ns,
                                       .connect_timeout_ns = 1000000000,
                                       .one_session = options.one_session};
    *client = (struct client){0};
    if (hf_loop_create(&client->loop) != 0 || hf_client_create(client->loop, &wanted, &client->client, error, sizeof error) != 0)
        sim_fail("a client could not be made: %s", error);
}

static void close_client(struct client *client)
{
    hf_client_destroy(client->client);
    hf_loop_destroy(client->loop);
}

void sim_workload_begin(const struct sim_workload_options *wanted)
{
    options = *wanted;
    counts = (struct sim_workload_counts){0};
    memset(pendings, 0, sizeof pendings);
    order_count = sent_count = setup_next = 0;
    think_ns_max = 0;
    followed = 0;
    weight_sum = 0;
    for (unsigned i = 0; i < ACTS; i++)
        weight_sum += options.weights[i];
    for (unsigned i = 0; i < options.clients; i++)
        open_client(&clients[i]);
}

void sim_workload_end(void)
{
    for (unsigned i = 0; i < options.clients; i++)
        close_client(&clients[i]);
    for (unsigned i = 0; i < SENT; i++) {
        free(sent[i]);
        sent[i] = NULL;
    }
}

void sim_workload_pace(uint64_t wanted_ns_max)
{
    think_ns_max = wanted_ns_max;
}

static bool may_submit(const struct client *client)
{
    struct hf_client_status status;
    hf_client_status(client->client, &status);
    return think_ns_max != UINT64_MAX && client->in_flight < options.frames_max && status.ever_connected;
}

bool sim_workload_run(void)
{
    struct client *client = &clients[sim_below(options.clients)];
    bool submits = client->next_frame_ns <= sim.now_ns && may_submit(client);
    if (!submits && client->next_poll_ns > sim.now_ns && !sim_network_client_ready(hf_loop_fd(client->loop)))
        return false;
    if (submits) {
        submit(client);
        uint64_t next_ns = sim.now_ns + sim_below(think_ns_max + 1);
        client->next_frame_ns = next_ns > client->next_frame_ns ? next_ns : client->next_frame_ns;
    }
    if (hf_loop_poll(client->loop, 0) < 0)
        sim_fail("a client's loop failed");
    client->next_poll_ns = sim.now_ns + TICK_NS;
    return true;
}

uint64_t sim_workload_next_ns(void)
{
    uint64_t next = UINT64_MAX;
    for (unsigned i = 0; i < options.clients; i++) {
        next = clients[i].next_poll_ns < next ? clients[i].next_poll_ns : next;
        if (may_submit(&clients[i]) && clients[i].next_frame_ns < next)
            next = clients[i].next_frame_ns;
    }
    return next;
}

uint64_t sim_workload_oldest_position(void)
{
    uint64_t oldest = sim_history_position();
    for (unsigned i = 0; i < PENDING_MAX; i++)
        if (pendings[i].used && pendings[i].sent.position < oldest)
            oldest = pendings[i].sent.position;
    return oldest;
}

unsigned sim_workload_outstanding(void)
{
    unsigned outstanding = 0;
    for (unsigned i = 0; i < options.clients; i++)
        outstanding += clients[i].in_flight;
    return outstanding;
}

void sim_workload_replace_client(void)
{
    struct client *client = &clients[sim_below(options.clients)];
    sim_fault(SIM_CLIENT_GONE);
    close_client(client);
    open_client(client);
}

const struct sim_workload_counts *sim_workload_counts(void)
{
    return &counts;
}
