/* Sequences of commands over few keys, checked and stepped as the shell would, then replayed.
 *
 * Input: one byte of sizes, one of partitions, then operations: a byte that says which, and what it needs. What breaks: a repeat that is
 * judged anew, a reject that leaves a trace, a table whose count is wrong, an audit with a violation, a record that does not check, a
 * replay that differs. */
#include "engine/engine.h"
#include "tests/fuzz/fuzz.h"
#include "wire/command_check.h"
#include "wire/record_check.h"

enum { SLOTS = 32, OPERATIONS_MAX = 600, RAW_BYTES_MAX = 1024, LINES_SMALL = 6, LOCATIONS_MAX = 65536 };

#define START_NS 1800000000000000000ull
#define MS_NS    1000000ull

struct shop {
    struct fuzz_input in;
    struct hf_engine_options options;
    struct hf_engine *engine;
    struct hf_quota quota;
    uint64_t now_ns, wall_ns;
    uint32_t serial;
    bool shed;
    uint16_t shed_result;
    uint8_t *log;
    size_t log_bytes, log_room;
    struct hf_id orders[SLOTS], ids[SLOTS];
    _Alignas(8) uint8_t command[HF_COMMAND_BYTES_MAX];
    _Alignas(8) uint8_t last[HF_COMMAND_BYTES_MAX];
    _Alignas(8) uint8_t record[HF_RECORD_BYTES_MAX];
    _Alignas(8) uint8_t answer[65536];
};

static struct hf_command *command_of(struct shop *shop)
{
    return (struct hf_command *)(void *)shop->command;
}

static struct hf_answer *answer_of(struct shop *shop)
{
    return (struct hf_answer *)(void *)shop->answer;
}

/* ---- Building ---- */

static struct hf_sku sku_of(uint8_t number)
{
    struct hf_sku sku = {{0, 0}};
    char text[17] = {0};
    if (number % 8 != 0)
        (void)hf_sku_from_text(text, (size_t)snprintf(text, sizeof text, "SKU%u", number % 8u), &sku);
    return sku;
}

static struct hf_sku take_sku(struct shop *shop)
{
    return sku_of(fuzz_take8(&shop->in));
}

/* One of few ids: bit 5 makes a new one in its slot, bit 6 with a wrong route, bit 7 of another time. */
static struct hf_id take_id(struct shop *shop, struct hf_id *slots, uint16_t route)
{
    uint8_t which = fuzz_take8(&shop->in);
    struct hf_id *slot = &slots[which % SLOTS];
    if (hf_id_none(*slot) || (which & 0x20) != 0) {
        int64_t apart_ms = which & 0x80 ? (int8_t)fuzz_take8(&shop->in) * 40000ll : 0;
        *slot = hf_id_make(which & 0x40 ? route ^ 1 : route, shop->now_ns / MS_NS + (uint64_t)apart_ms, ++shop->serial);
    }
    return *slot;
}

static struct hf_command *begin(struct shop *shop, uint16_t opcode)
{
    struct hf_command *command = command_of(shop);
    *command = (struct hf_command){.length = sizeof *command, .opcode = opcode, .version = HF_COMMAND_VERSION};
    return command;
}

static struct hf_line *add_line(struct hf_command *command, struct hf_sku sku, uint32_t location, uint32_t quantity)
{
    struct hf_line *line = (struct hf_line *)(void *)(command + 1) + command->line_count++;
    *line = (struct hf_line){.sku = sku, .location = location, .quantity = quantity};
    command->length += (uint32_t)sizeof *line;
    return line;
}

static void add_extension(struct shop *shop, uint16_t type)
{
    struct hf_command *command = command_of(shop);
    uint16_t bytes = fuzz_take8(&shop->in) % 60, fill = (uint16_t)('a' + bytes % 3);
    if (type == HF_EXT_IDEMPOTENCY_KEY && bytes < 56)
        bytes = sizeof(struct hf_request_key);
    uint16_t padded = (uint16_t)((4u + bytes + 7u) & ~7u);
    uint8_t *at = (uint8_t *)command + command->length;
    memset(at, 0, padded);
    memcpy(at, &type, sizeof type);
    memcpy(at + 2, &bytes, sizeof bytes);
    memset(at + 4, fill, bytes);
    command->ext_bytes = (uint16_t)(command->ext_bytes + padded);
    command->length += padded;
}

/* A value that is small most of the time. */
static uint32_t take_quantity(struct shop *shop)
{
    uint8_t value = fuzz_take8(&shop->in);
    return value < 0xf0 ? value : (uint32_t)fuzz_take(&shop->in, 4);
}

static void build_place(struct shop *shop)
{
    struct hf_command *command = begin(shop, HF_PLACE);
    uint8_t shape = fuzz_take8(&shop->in), first = fuzz_take8(&shop->in);
    unsigned lines = shape % 16 == 15 ? HF_LINES_MAX : 1 + shape % LINES_SMALL;
    struct hf_sku sku = sku_of(first);
    command->id = take_id(shop, shop->orders, hf_route(&sku));
    command->arg = (uint32_t)fuzz_take16(&shop->in) << (shape >> 6) * 4;
    command->body.place.customer = fuzz_take8(&shop->in) % 4;
    command->body.place.channel = shape & 0x20 ? fuzz_take8(&shop->in) : HF_CHANNEL_WEB;
    for (unsigned i = 0; i < lines; i++) {
        uint8_t where = fuzz_take8(&shop->in);
        struct hf_line *line = add_line(command, i == 0 ? sku : sku_of(where >> 4), where % 4, take_quantity(shop));
        line->price = where & 8 ? fuzz_take16(&shop->in) : 100;
    }
    if (shape & 0x10)
        add_extension(shop, HF_EXT_IDEMPOTENCY_KEY);
}

static void build_stock(struct shop *shop)
{
    static const uint16_t opcodes[] = {HF_RECEIVE, HF_ADJUST, HF_SET, HF_RECEIVE};
    uint8_t shape = fuzz_take8(&shop->in);
    struct hf_command *command = begin(shop, opcodes[shape % 4]);
    struct hf_sku sku = take_sku(shop);
    command->id = take_id(shop, shop->ids, hf_route(&sku));
    command->arg = shape >> 6;
    if (command->opcode == HF_RECEIVE) {
        add_line(command, sku, fuzz_take8(&shop->in) % 4, take_quantity(shop));
        return;
    }
    add_line(command, sku, fuzz_take8(&shop->in) % 4, 0);
    command->flags = shape >> 2 & 1 ? HF_FLAG_FORCE : 0;
    uint8_t value = fuzz_take8(&shop->in);
    command->body.stock.value = value < 0xf0 ? (int8_t)value : (int64_t)fuzz_take(&shop->in, 8);
    if (command->opcode == HF_ADJUST) {
        add_extension(shop, HF_EXT_REASON);
        return;
    }
    if (shape & 8) {
        command->flags |= HF_FLAG_EXPECT_VERSION;
        command->body.stock.version = fuzz_take8(&shop->in);
    }
    if (shape & 16) {
        command->flags |= HF_FLAG_SOURCE;
        command->body.stock.source = fuzz_take8(&shop->in) % 4;
        command->body.stock.sequence = fuzz_take8(&shop->in);
    }
}

static void build_definition(struct shop *shop)
{
    uint8_t shape = fuzz_take8(&shop->in);
    struct hf_sku sku = take_sku(shop);
    if (shape % 4 == 0) {
        struct hf_command *command = begin(shop, HF_DEFINE_LOCATION);
        command->id = take_id(shop, shop->ids, 0);
        command->arg = shape >> 4 < 14 ? shape >> 4 : (uint32_t)fuzz_take(&shop->in, 4);
        add_extension(shop, HF_EXT_NAME);
        return;
    }
    if (shape % 4 == 1) {
        struct hf_command *command = begin(shop, HF_DEFINE_SKU);
        command->id = take_id(shop, shop->ids, hf_route(&sku));
        add_line(command, sku, 0, 0);
        add_extension(shop, shape & 0x80 ? HF_EXT_ACTOR : HF_EXT_NAME);
        return;
    }
    struct hf_command *command = begin(shop, HF_DEFINE_POLICY);
    command->id = take_id(shop, shop->ids, hf_route(&sku));
    add_line(command, sku, shape & 8 ? 1 + (shape >> 4) % 4u : 0, 0);
    command->body.policy.safety_stock = take_quantity(shop);
    if (shape & 8)
        return;
    command->body.policy.per_order = shape & 0x10 ? take_quantity(shop) : 0;
    command->body.policy.per_customer = shape & 0x20 ? take_quantity(shop) : 0;
    command->body.policy.window_s = shape & 0x40 ? fuzz_take16(&shop->in) : 0;
    if (shape & 0x80) {
        command->body.policy.opens_ms = shop->now_ns / MS_NS - 30000 + fuzz_take16(&shop->in);
        command->body.policy.closes_ms = fuzz_take8(&shop->in) ? command->body.policy.opens_ms + fuzz_take16(&shop->in) : 0;
    }
}

static void build_verb(struct shop *shop)
{
    static const uint16_t opcodes[] = {HF_SETTLE, HF_PAYMENT_RESULT, HF_SHIP,           HF_CANCEL,
                                       HF_EXTEND, HF_SETTLE,         HF_PAYMENT_RESULT, HF_CANCEL};
    uint8_t shape = fuzz_take8(&shop->in);
    struct hf_command *command = begin(shop, opcodes[shape % 8]);
    command->body.verb.order = take_id(shop, shop->orders, 0);
    command->id = take_id(shop, shop->ids, hf_id_route(command->body.verb.order));
    if (command->opcode == HF_EXTEND) {
        command->arg = (uint32_t)fuzz_take16(&shop->in) << (shape >> 6) * 4;
    } else if (command->opcode == HF_SETTLE || command->opcode == HF_PAYMENT_RESULT) {
        uint8_t amount = fuzz_take8(&shop->in);
        command->body.verb.amount = amount < 0xf0 ? amount : (int64_t)fuzz_take(&shop->in, 8);
        memcpy(command->body.verb.currency, shape & 0x20 ? "USD" : "EUR", 3);
        if (command->opcode == HF_PAYMENT_RESULT) {
            command->arg = shape >> 6;
            command->body.verb.status = fuzz_take8(&shop->in) % 6;
        } else if ((shape & 8) == 0) {
            add_extension(shop, HF_EXT_PAYMENT_REFERENCE);
        }
    }
}

static void build_query(struct shop *shop)
{
    uint8_t shape = fuzz_take8(&shop->in);
    struct hf_command *command = begin(shop, (uint16_t)(HF_GET_ORDER + shape % 4));
    if (command->opcode == HF_GET_ORDER) {
        command->body.verb.order = take_id(shop, shop->orders, 0);
        command->arg = shape >> 4 & 7;
    } else if (command->opcode == HF_GET_CELL) {
        add_line(command, take_sku(shop), shape >> 4, 0);
    } else {
        command->arg = fuzz_take16(&shop->in);
    }
    if (command->opcode == HF_GET_SKU)
        add_line(command, take_sku(shop), 0, 0);
    command->flags = shape & 8 ? HF_FLAG_STALE_OK : 0;
}

/* Bytes as they come. Only the length is set right, half of the time. */
static void build_raw(struct shop *shop)
{
    uint8_t shape = fuzz_take8(&shop->in);
    size_t bytes = fuzz_take16(&shop->in) % RAW_BYTES_MAX;
    bytes = bytes < shop->in.left ? bytes : shop->in.left;
    memset(shop->command, 0, sizeof(struct hf_command) + bytes);
    memcpy(shop->command, fuzz_bytes(&shop->in, bytes), bytes);
    struct hf_command *command = command_of(shop);
    if (shape & 1)
        return;
    command->version = HF_COMMAND_VERSION;
    command->line_count %= 8;
    command->ext_bytes = 0;
    command->length = (uint32_t)(sizeof *command + command->line_count * sizeof(struct hf_line));
}

/* The last command once more: a repeat, or a reject that is judged anew. */
static void build_again(struct shop *shop)
{
    memcpy(shop->command, shop->last, sizeof shop->command);
}

/* ---- Stepping ---- */

static void keep(struct shop *shop, const void *bytes, size_t count)
{
    if (shop->log_bytes + count > shop->log_room) {
        shop->log_room = (shop->log_room + count) * 2;
        shop->log = realloc(shop->log, shop->log_room);
        FUZZ_CHECK(shop->log != NULL);
    }
    memcpy(shop->log + shop->log_bytes, bytes, count);
    shop->log_bytes += count;
}

static void check_reach(const struct shop *shop, const struct hf_command *command)
{
    uint32_t reach[HF_REACH_MAX];
    unsigned count = hf_engine_reach(shop->engine, command, reach), home = 0;
    FUZZ_CHECK(count <= HF_REACH_MAX);
    for (unsigned i = 0; i < count; i++) {
        FUZZ_CHECK(reach[i] < shop->options.partitions && (i == 0 || reach[i] > reach[i - 1]));
        home += reach[i] == hf_engine_home(shop->engine, command);
    }
    FUZZ_CHECK(count == 0 || home == 1);
}

/* Steps; the bytes of the outcome, 0: nothing to log. */
static uint32_t step_once(struct shop *shop, const struct hf_command *command)
{
    bool internal = hf_opcode_family(command->opcode) == HF_FAMILY_INTERNAL;
    struct hf_hint hint;
    if (!internal)
        check_reach(shop, command);
    hf_engine_hint(shop->engine, command, &hint);
    hf_engine_prefetch(shop->engine, command, &hint, 0);
    hf_engine_prefetch(shop->engine, command, &hint, 1);
    struct hf_step step = {.command = command,
                           .now_ns = shop->now_ns,
                           .latest_ns = shop->wall_ns > shop->now_ns ? shop->wall_ns : shop->now_ns,
                           .shed = shop->shed && !internal,
                           .shed_result = shop->shed_result,
                           .record = (struct hf_record *)(void *)shop->record,
                           .answer = answer_of(shop),
                           .quota = &shop->quota,
                           .hint = &hint};
    hf_engine_step(shop->engine, &step);
    FUZZ_CHECK(answer_of(shop)->opcode == command->opcode && answer_of(shop)->length % 8 == 0);
    FUZZ_CHECK(answer_of(shop)->length <= (internal ? sizeof(struct hf_answer) : hf_answer_bytes_max(command)));
    return step.outcome_bytes;
}

static void log_step(struct shop *shop, const struct hf_command *command, uint32_t outcome_bytes)
{
    const struct hf_command *found = NULL;
    size_t at = shop->log_bytes;
    keep(shop, shop->record, outcome_bytes);
    keep(shop, command, command->length);
    const struct hf_record *record = (const struct hf_record *)(const void *)(shop->log + at);
    FUZZ_CHECK(hf_record_check(record, outcome_bytes + command->length, &found));
    FUZZ_CHECK((const uint8_t *)found == shop->log + at + outcome_bytes && record->length == outcome_bytes + command->length);
}

/* What was executed is not judged again; what is asked again gets the first result. */
static void check_repeat(struct shop *shop, const struct hf_command *command)
{
    uint64_t digest = hf_engine_digest(shop->engine);
    unsigned first = answer_of(shop)->result;
    uint32_t outcome_bytes = step_once(shop, command);
    FUZZ_CHECK(outcome_bytes == 0 && answer_of(shop)->result == first && (answer_of(shop)->flags & HF_ANSWER_REPEATED) != 0);
    FUZZ_CHECK(hf_engine_digest(shop->engine) == digest);
}

static void step(struct shop *shop)
{
    const struct hf_command *command = command_of(shop);
    uint16_t detail;
    if (hf_command_check(command, sizeof shop->command, &detail) != HF_OK)
        return;
    if (hf_opcode_family(command->opcode) == HF_FAMILY_ADMIN)
        return; /* the shell's */
    memcpy(shop->last, command, command->length);
    uint64_t digest = hf_engine_digest(shop->engine);
    uint32_t outcome_bytes = step_once(shop, command);
    if (outcome_bytes == 0) {
        FUZZ_CHECK(hf_engine_digest(shop->engine) == digest);
        return;
    }
    log_step(shop, command, outcome_bytes);
    check_repeat(shop, command);
}

/* ---- What is no client's command ---- */

static void step_internal(struct shop *shop)
{
    uint32_t outcome_bytes = step_once(shop, command_of(shop));
    if (outcome_bytes > 0)
        log_step(shop, command_of(shop), outcome_bytes);
}

static void pass_time(struct shop *shop)
{
    uint8_t shape = fuzz_take8(&shop->in);
    uint64_t unit_ns = shape & 1 ? 1000 * MS_NS : MS_NS;
    if ((shape & 2) == 0)
        shop->now_ns += fuzz_take16(&shop->in) * unit_ns;
    else
        shop->wall_ns = shop->now_ns + fuzz_take16(&shop->in) * unit_ns;
}

static void sweep(struct shop *shop)
{
    uint32_t ids_max = fuzz_take8(&shop->in);
    for (uint32_t p = 0; p < shop->options.partitions; p++)
        for (unsigned turns = 0; turns < 8 && hf_engine_due(shop->engine, p) <= shop->now_ns; turns++)
            if (hf_engine_sweep(shop->engine, p, shop->now_ns, ids_max, command_of(shop)))
                step_internal(shop);
}

static void mark(struct shop *shop)
{
    struct hf_command *command = begin(shop, HF_MARK);
    uint8_t shape = fuzz_take8(&shop->in);
    uint64_t now_ms = (shop->now_ns - shop->options.retention_ns) / MS_NS;
    command->body.mark.mark_ms = shape & 1 ? now_ms : now_ms - fuzz_take16(&shop->in);
    command->body.mark.modulus = 1 + (shape >> 1 & 3);
    command->body.mark.residue = (shape >> 3) % command->body.mark.modulus;
    step_internal(shop);
}

static void shed(struct shop *shop)
{
    static const uint16_t results[] = {HF_BUSY, HF_NO_SPACE, HF_DRAINING, HF_BUSY};
    uint8_t shape = fuzz_take8(&shop->in);
    shop->shed = shape & 1;
    shop->shed_result = results[shape >> 1 & 3];
}

/* ---- A whole input ---- */

static void check_counts(const struct shop *shop, const struct hf_engine *engine, const struct hf_quota *quota)
{
    const struct hf_engine_options *o = &shop->options;
    const uint64_t most[HF_TABLE_COUNT] = {[HF_TABLE_SKUS] = o->skus_max,
                                           [HF_TABLE_CELLS] = o->cells_max,
                                           [HF_TABLE_ORDERS] = o->orders_max,
                                           [HF_TABLE_LINES] = o->lines_max,
                                           [HF_TABLE_COMMAND_IDS] = o->command_ids_max,
                                           [HF_TABLE_LIMITS] = o->limits_max,
                                           [HF_TABLE_LOCATIONS] = LOCATIONS_MAX,
                                           [HF_TABLE_REQUEST_KEYS] = o->request_keys_max};
    for (unsigned table = HF_TABLE_SKUS; table < HF_TABLE_COUNT; table++)
        FUZZ_CHECK(quota->left[table] >= 0 && (uint64_t)quota->left[table] + hf_engine_rows(engine, table) == most[table]);
}

static struct hf_quota quota_of(const struct hf_engine_options *o)
{
    return (struct hf_quota){.left = {[HF_TABLE_SKUS] = (int64_t)o->skus_max,
                                      [HF_TABLE_CELLS] = (int64_t)o->cells_max,
                                      [HF_TABLE_ORDERS] = (int64_t)o->orders_max,
                                      [HF_TABLE_LINES] = (int64_t)o->lines_max,
                                      [HF_TABLE_COMMAND_IDS] = (int64_t)o->command_ids_max,
                                      [HF_TABLE_LIMITS] = (int64_t)o->limits_max,
                                      [HF_TABLE_LOCATIONS] = LOCATIONS_MAX,
                                      [HF_TABLE_REQUEST_KEYS] = (int64_t)o->request_keys_max}};
}

static void check_audit(const struct hf_engine *engine)
{
    struct hf_audit_item audit;
    hf_engine_audit(engine, &audit);
    for (unsigned i = 0; i < 8; i++)
        if (audit.by_invariant[i] != 0)
            fprintf(stderr, "I%u is broken %llu times\n", i, (unsigned long long)audit.by_invariant[i]);
    FUZZ_CHECK(audit.violations == 0);
}

static void replay(const struct shop *shop)
{
    struct hf_engine_options options = shop->options;
    struct hf_engine *engine;
    struct hf_quota quota = quota_of(&options);
    struct hf_replay_item item;
    unsigned table;
    options.key[0] ^= 0x5555;
    FUZZ_CHECK(hf_engine_create(&options, &engine) == 0);
    for (size_t at = 0; at < shop->log_bytes;) {
        const struct hf_record *record = (const struct hf_record *)(const void *)(shop->log + at);
        FUZZ_CHECK(hf_engine_replay_take(engine, record, record->length, &item) == 0);
        hf_engine_prefetch(engine, item.command, &item.hint, 0);
        hf_engine_prefetch(engine, item.command, &item.hint, 1);
        FUZZ_CHECK(hf_engine_replay_item(engine, &item, &quota, &table) == 0);
        at += record->length;
    }
    FUZZ_CHECK(hf_engine_digest(engine) == hf_engine_digest(shop->engine));
    check_counts(shop, engine, &quota);
    hf_engine_destroy(engine);
}

static void open_shop(struct shop *shop)
{
    static const uint32_t rows[] = {3, 12, 60, 400};
    uint8_t sizes = fuzz_take8(&shop->in), shape = fuzz_take8(&shop->in);
    shop->options = (struct hf_engine_options){.partitions = 1u << shape % 3,
                                               .skus_max = rows[sizes & 3] + 4,
                                               .cells_max = rows[sizes & 3] + 6,
                                               .orders_max = rows[sizes >> 2 & 3],
                                               .lines_max = rows[sizes >> 4 & 3] * 2,
                                               .command_ids_max = rows[sizes >> 6] * 8,
                                               .limits_max = rows[shape >> 2 & 3],
                                               .request_keys_max = rows[shape >> 2 & 3],
                                               .retention_ns = (uint64_t)(1 + (shape >> 4)) * 10000 * MS_NS,
                                               .key = {0x1234, 0x5678}};
    FUZZ_CHECK(hf_engine_create(&shop->options, &shop->engine) == 0);
    shop->quota = quota_of(&shop->options);
    shop->now_ns = START_NS;
    struct hf_command *command = begin(shop, HF_DEFINE_SKU);
    memcpy(shop->last, command, sizeof *command);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const builders[])(struct shop *) = {build_place, build_stock, build_definition, build_verb,
                                                      build_query, build_raw,   build_again};
    static void (*const others[])(struct shop *) = {pass_time, sweep, mark, shed};
    enum { BUILDERS = sizeof builders / sizeof builders[0], OTHERS = sizeof others / sizeof others[0] };
    static struct shop shop;
    memset(&shop, 0, offsetof(struct shop, command));
    shop.in = (struct fuzz_input){data, size};
    open_shop(&shop);
    for (unsigned i = 0; i < OPERATIONS_MAX && shop.in.left > 0; i++) {
        uint8_t operation = fuzz_take8(&shop.in), kind = operation % 16 % (BUILDERS + OTHERS);
        if (kind >= BUILDERS) {
            others[kind - BUILDERS](&shop);
            continue;
        }
        builders[kind](&shop);
        if (operation & 0x80) {
            uint32_t bytes = command_of(&shop)->length, at = fuzz_take16(&shop.in);
            shop.command[bytes > 0 && bytes < sizeof shop.command ? at % bytes : at % sizeof(struct hf_command)] = fuzz_take8(&shop.in);
        }
        step(&shop);
    }
    check_audit(shop.engine);
    check_counts(&shop, shop.engine, &shop.quota);
    replay(&shop);
    hf_engine_destroy(shop.engine);
    free(shop.log);
    return 0;
}
