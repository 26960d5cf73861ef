#include "tests/property/draw.h"

#include <stdio.h>

uint64_t hf_draw_number(struct hf_draw *draw)
{
    uint64_t z = draw->random += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

uint64_t hf_draw_below(struct hf_draw *draw, uint64_t bound)
{
    return hf_draw_number(draw) % bound;
}

static bool one_in(struct hf_draw *draw, uint64_t n)
{
    return hf_draw_below(draw, n) == 0;
}

void hf_draw_begin(struct hf_draw *draw, uint64_t seed, struct hf_setting *setting)
{
    *draw = (struct hf_draw){.random = seed};
    static const uint32_t partitions[] = {1, 2, 4, 16};
    static const uint64_t retentions_ms[] = {50, 2000, 20000};
    /* A draw to a statement, here and below: a seed means the same to every compiler. */
    *setting = (struct hf_setting){.partitions = partitions[hf_draw_below(draw, 4)]};
    if (one_in(draw, 16))
        setting->partitions *= 16;
    setting->retention_ms = retentions_ms[hf_draw_below(draw, 3)];
    setting->wall_differs = one_in(draw, 4);
    setting->history = one_in(draw, 3);
    setting->small = one_in(draw, 4);
    setting->key[0] = hf_draw_number(draw);
    setting->key[1] = hf_draw_number(draw);
    draw->setting = *setting;
    draw->now_ns = START_NS;
    draw->favourites = one_in(draw, 4) ? 1 + (uint32_t)hf_draw_below(draw, 2) : HF_DRAW_ORDERS;
    draw->ahead_ms = 1 + (uint32_t)hf_draw_below(draw, one_in(draw, 3) ? 3600000 : 5000);
    draw->patient = one_in(draw, 4);
    draw->hurry = 1u << hf_draw_below(draw, 12);
    for (size_t i = 0; i < sizeof draw->weight / sizeof draw->weight[0]; i++)
        draw->weight[i] = 1 + (unsigned)hf_draw_below(draw, 12);
}

static struct hf_sku sku_number(uint64_t number)
{
    char text[17] = {0};
    struct hf_sku sku;
    int bytes = snprintf(text, sizeof text, "sku%llu", (unsigned long long)number);
    hf_sku_from_text(text, (size_t)bytes, &sku);
    return sku;
}

static struct hf_sku draw_sku(struct hf_draw *draw)
{
    return sku_number(one_in(draw, 60) ? 99 : hf_draw_below(draw, HF_DRAW_SKUS));
}

static uint32_t draw_location(struct hf_draw *draw)
{
    if (one_in(draw, 80))
        return one_in(draw, 2) ? 0 : 77;
    return 1 + (uint32_t)hf_draw_below(draw, HF_DRAW_LOCATIONS);
}

static uint32_t draw_quantity(struct hf_draw *draw)
{
    if (one_in(draw, 200))
        return HF_QUANTITY_MAX - (uint32_t)hf_draw_below(draw, 3);
    return 1 + (uint32_t)hf_draw_below(draw, one_in(draw, 4) ? 30 : 4);
}

static uint64_t now_ms(const struct hf_draw *draw)
{
    return draw->now_ns / MS_NS;
}

/* The time in an id: mostly now, now and then just at the mark's edge, past or future. */
static uint64_t draw_id_ms(struct hf_draw *draw)
{
    uint64_t now = now_ms(draw), retention = draw->setting.retention_ms;
    switch (hf_draw_below(draw, 40)) {
    case 0:
        return now - retention - hf_draw_below(draw, 3) + 1;
    case 1:
        return now + 3600000 - hf_draw_below(draw, 3) + 1;
    case 2:
        return now + hf_draw_below(draw, draw->ahead_ms);
    case 3:
        return now - hf_draw_below(draw, retention);
    case 4:
        return one_in(draw, 8) ? hf_draw_below(draw, 2) : now;
    default:
        return now;
    }
}

static struct hf_id draw_id(struct hf_draw *draw, uint16_t route)
{
    if (one_in(draw, 150))
        route = (uint16_t)hf_draw_number(draw);
    return hf_id_make(route, draw_id_ms(draw), ++draw->serial);
}

static struct hf_command *begin(struct hf_draw *draw, uint16_t opcode, uint16_t lines)
{
    struct hf_command *command = (struct hf_command *)(void *)draw->command;
    memset(draw->command, 0, sizeof *command + lines * sizeof(struct hf_line));
    command->opcode = opcode;
    command->version = HF_COMMAND_VERSION;
    command->line_count = lines;
    command->length = (uint32_t)(sizeof *command + lines * sizeof(struct hf_line));
    return command;
}

static struct hf_line *lines(struct hf_draw *draw)
{
    return (struct hf_line *)(void *)(draw->command + sizeof(struct hf_command));
}

static void extend_by(struct hf_draw *draw, uint16_t type, const char *text, size_t bytes)
{
    struct hf_command *command = (struct hf_command *)(void *)draw->command;
    uint8_t *at = draw->command + command->length;
    uint16_t head[2] = {type, (uint16_t)bytes};
    size_t padded = (sizeof head + bytes + 7) & ~(size_t)7;
    memset(at, 0, padded);
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, text, bytes);
    command->length += (uint32_t)padded;
    command->ext_bytes = (uint16_t)(command->ext_bytes + padded);
}

static void extend_by_name(struct hf_draw *draw)
{
    static const char text[] = "a name that is longer than the forty bytes which an answer has";
    if (!one_in(draw, 40))
        extend_by(draw, HF_EXT_NAME, text, one_in(draw, 30) ? hf_draw_below(draw, sizeof text) : 1 + hf_draw_below(draw, 40));
}

static void draw_policy(struct hf_draw *draw, struct hf_command *command)
{
    struct hf_line *line = lines(draw);
    line->location = one_in(draw, 3) ? draw_location(draw) : 0;
    uint64_t now = now_ms(draw);
    if (one_in(draw, 2))
        command->body.policy.per_order = 1 + (uint32_t)hf_draw_below(draw, 20);
    if (one_in(draw, 2))
        command->body.policy.per_customer = 1 + (uint32_t)hf_draw_below(draw, 30);
    if (one_in(draw, 2))
        command->body.policy.window_s = 1 + (uint32_t)hf_draw_below(draw, 5);
    if (one_in(draw, 4))
        command->body.policy.safety_stock = (uint32_t)hf_draw_below(draw, 6);
    if (one_in(draw, 3)) {
        command->body.policy.opens_ms = now - hf_draw_below(draw, 20000);
        if (one_in(draw, 3))
            command->body.policy.opens_ms += 2000;
    }
    if (one_in(draw, 6))
        command->body.policy.closes_ms = now + hf_draw_below(draw, 4000);
}

static void draw_define(struct hf_draw *draw)
{
    uint16_t opcode = HF_DEFINE_SKU + (uint16_t)hf_draw_below(draw, 3);
    struct hf_command *command = begin(draw, opcode, opcode != HF_DEFINE_LOCATION);
    if (opcode == HF_DEFINE_LOCATION) {
        command->arg = draw_location(draw);
        command->id = draw_id(draw, 0);
        extend_by_name(draw);
        return;
    }
    lines(draw)->sku = draw_sku(draw);
    command->id = draw_id(draw, hf_route(&lines(draw)->sku));
    if (opcode == HF_DEFINE_POLICY)
        draw_policy(draw, command);
    else
        extend_by_name(draw);
}

static void draw_set(struct hf_draw *draw, struct hf_command *command)
{
    command->body.stock.value = (int64_t)hf_draw_below(draw, 60);
    if (one_in(draw, 20))
        command->body.stock.value -= 30;
    if (one_in(draw, 4)) {
        command->flags |= HF_FLAG_EXPECT_VERSION;
        command->body.stock.version = hf_draw_below(draw, 20);
    }
    if (one_in(draw, 3)) {
        command->flags |= HF_FLAG_SOURCE;
        command->body.stock.source = 1 + hf_draw_below(draw, 2);
        command->body.stock.sequence = hf_draw_below(draw, 100) + now_ms(draw) % 100000;
    }
    if (one_in(draw, 100))
        command->body.stock.version = 3;
}

static void draw_stock(struct hf_draw *draw)
{
    uint16_t opcode = HF_RECEIVE + (uint16_t)hf_draw_below(draw, 3);
    struct hf_command *command = begin(draw, opcode, 1);
    struct hf_line *line = lines(draw);
    line->sku = draw_sku(draw);
    line->location = draw_location(draw);
    command->id = draw_id(draw, hf_route(&line->sku));
    command->arg = one_in(draw, 5) ? (uint32_t)hf_draw_below(draw, 4) : HF_SELLABLE;
    if (opcode == HF_RECEIVE) {
        line->quantity = draw_quantity(draw);
        return;
    }
    command->flags = one_in(draw, 4) ? HF_FLAG_FORCE : 0;
    if (opcode == HF_SET) {
        draw_set(draw, command);
        return;
    }
    command->body.stock.value = (int64_t)hf_draw_below(draw, 40) - 20;
    if (one_in(draw, 100)) {
        command->body.stock.value = (int64_t)hf_draw_number(draw);
        command->body.stock.value >>= hf_draw_below(draw, 40);
    }
    if (!one_in(draw, 40))
        extend_by(draw, HF_EXT_REASON, "count", 5);
}

static uint32_t draw_ttl(struct hf_draw *draw)
{
    if (one_in(draw, 100))
        return one_in(draw, 2) ? 0 : (uint32_t)hf_draw_number(draw);
    return 1 + (uint32_t)hf_draw_below(draw, draw->patient ? 100000000 : one_in(draw, 3) ? 30000 : 500);
}

static void draw_place(struct hf_draw *draw)
{
    uint16_t count = one_in(draw, 2) ? 1 : 1 + (uint16_t)hf_draw_below(draw, one_in(draw, 50) ? HF_LINES_MAX : 5);
    struct hf_command *command = begin(draw, HF_PLACE, count);
    for (struct hf_line *line = lines(draw); line < lines(draw) + count; line++) {
        line->sku = draw_sku(draw);
        line->location = draw_location(draw);
        line->quantity = draw_quantity(draw);
        line->price = hf_draw_below(draw, 1000);
    }
    command->id = draw_id(draw, hf_route(&lines(draw)->sku));
    command->arg = draw_ttl(draw);
    command->body.place.customer = hf_draw_below(draw, 4);
    command->body.place.channel = one_in(draw, 100) ? 2 : HF_CHANNEL_WEB;
    command->body.place.mode = one_in(draw, 200) ? 1 : HF_ALL_OR_NOTHING;
    if (one_in(draw, 10))
        extend_by(draw, HF_EXT_TRACE_CONTEXT, "0123456789abcdefghijklmn", hf_draw_below(draw, 24));
}

static struct hf_id draw_order(struct hf_draw *draw)
{
    draw->at = 0;
    if (draw->orders == 0 || one_in(draw, 40))
        return draw_id(draw, (uint16_t)hf_draw_number(draw));
    if (draw->burst > 0) {
        draw->at = draw->burst_at % (draw->orders < HF_DRAW_ORDERS ? draw->orders : HF_DRAW_ORDERS);
        return draw->order[draw->at];
    }
    uint32_t newest = draw->orders - 1, span = draw->orders < draw->favourites ? draw->orders : draw->favourites;
    draw->at = (newest - (uint32_t)hf_draw_below(draw, span)) % HF_DRAW_ORDERS;
    return draw->order[draw->at];
}

static void draw_money(struct hf_draw *draw, struct hf_command *command)
{
    command->body.verb.amount = one_in(draw, 60) ? (int64_t)hf_draw_below(draw, 3) - 1 : 1 + (int64_t)hf_draw_below(draw, 1000);
    memcpy(command->body.verb.currency, one_in(draw, 60) ? "\0\0" : one_in(draw, 20) ? "USD" : "EUR", 3);
    if (command->opcode != HF_PAYMENT_RESULT) {
        if (!one_in(draw, 30))
            extend_by(draw, HF_EXT_PAYMENT_REFERENCE, "pay-17", 6);
        return;
    }
    command->arg = one_in(draw, 10) ? (uint32_t)hf_draw_below(draw, 4) : draw->last_intent[draw->at];
    command->body.verb.status = (uint8_t)(one_in(draw, 2) ? HF_STATUS_CAPTURED : hf_draw_below(draw, 6));
    if (!one_in(draw, 10)) {
        command->body.verb.amount = draw->amount[draw->at];
        memcpy(command->body.verb.currency, "EUR", 3);
    }
}

static void draw_verb(struct hf_draw *draw)
{
    static const uint16_t opcodes[] = {HF_EXTEND,         HF_SETTLE, HF_SETTLE, HF_SETTLE, HF_PAYMENT_RESULT,
                                       HF_PAYMENT_RESULT, HF_SHIP,   HF_SHIP,   HF_CANCEL};
    struct hf_command *command = begin(draw, opcodes[hf_draw_below(draw, 9)], 0);
    command->body.verb.order = draw_order(draw);
    command->id = draw_id(draw, hf_id_route(command->body.verb.order));
    if (one_in(draw, 200))
        command->id = command->body.verb.order;
    if (command->opcode == HF_EXTEND)
        command->arg = draw_ttl(draw);
    if (command->opcode == HF_SETTLE || command->opcode == HF_PAYMENT_RESULT)
        draw_money(draw, command);
}

static void draw_query(struct hf_draw *draw)
{
    uint16_t opcode = HF_GET_ORDER + (uint16_t)hf_draw_below(draw, 4);
    bool line = opcode == HF_GET_CELL || opcode == HF_GET_SKU;
    struct hf_command *command = begin(draw, opcode, line);
    if (opcode == HF_GET_ORDER)
        command->body.verb.order = draw_order(draw);
    if (line)
        lines(draw)->sku = draw_sku(draw);
    if (opcode == HF_GET_CELL)
        lines(draw)->location = draw_location(draw);
    if (opcode != HF_GET_CELL && one_in(draw, 4))
        command->arg = (uint32_t)hf_draw_below(draw, 6);
}

static struct hf_command *past(struct hf_draw *draw)
{
    uint32_t most = one_in(draw, 2) ? 16 : HF_DRAW_SENT, span = draw->sent < most ? draw->sent : most;
    return (struct hf_command *)(void *)draw->past[(draw->sent - 1 - hf_draw_below(draw, span)) % HF_DRAW_SENT].bytes;
}

/* A command sent before, as it was, under another trace, or with another body. */
static void draw_again(struct hf_draw *draw)
{
    const struct hf_command *old = past(draw);
    memcpy(draw->command, old, old->length);
    struct hf_command *command = (struct hf_command *)(void *)draw->command;
    switch (hf_draw_below(draw, 12)) {
    case 0:
        if (command->ext_bytes < HF_EXTENSION_BYTES_MAX - 32)
            extend_by(draw, HF_EXT_TRACE_CONTEXT, "again and again", hf_draw_below(draw, 15));
        break;
    case 1:
        command->arg ^= 1;
        break;
    case 2:
        if (command->line_count > 0)
            lines(draw)[hf_draw_below(draw, command->line_count)].quantity ^= 1;
        break;
    case 3:
        command->body.bytes[hf_draw_below(draw, 8)] ^= 1;
        break;
    default:
        break;
    }
}

static void draw_reused(struct hf_draw *draw)
{
    const struct hf_command *old = past(draw);
    struct hf_command *command = (struct hf_command *)(void *)draw->command;
    if (!hf_id_none(old->id) && !hf_id_none(command->id))
        command->id = old->id;
}

/* A write gets a key; few of them, so that they meet. */
static void draw_key(struct hf_draw *draw)
{
    struct hf_command *command = (struct hf_command *)(void *)draw->command;
    struct hf_request_key key = {{hf_draw_below(draw, 40) * 0x9E3779B97F4A7C15ull, 0}};
    if (one_in(draw, 2))
        key.word[1] = draw->serial;
    if (hf_opcode_family(command->opcode) <= HF_FAMILY_ORDER &&
        command->ext_bytes + HF_REQUEST_KEY_EXTENSION_BYTES <= HF_EXTENSION_BYTES_MAX && !hf_command_request_key(command, &key))
        extend_by(draw, HF_EXT_IDEMPOTENCY_KEY, (const char *)&key, sizeof key);
}

/* The same under the same key, by somebody who does not know under which id it was sent before. */
static void draw_keyed_again(struct hf_draw *draw)
{
    struct hf_request_key key;
    for (unsigned tries = 0; tries < 8; tries++) {
        const struct hf_command *old = past(draw);
        if (!hf_command_request_key(old, &key))
            continue;
        memcpy(draw->command, old, old->length);
        struct hf_command *command = (struct hf_command *)(void *)draw->command;
        command->id = draw_id(draw, hf_id_route(old->id));
        if (one_in(draw, 20))
            command->arg ^= 1;
        if (one_in(draw, 20) && command->ext_bytes < HF_EXTENSION_BYTES_MAX - 32)
            extend_by(draw, HF_EXT_TRACE_CONTEXT, "again and again", hf_draw_below(draw, 15));
        return;
    }
}

/* A customer who cannot let an order be. */
static void draw_burst(struct hf_draw *draw)
{
    draw->burst--;
    if (one_in(draw, 8)) {
        draw_verb(draw);
        return;
    }
    struct hf_command *command = begin(draw, HF_EXTEND, 0);
    command->body.verb.order = draw_order(draw);
    command->id = draw_id(draw, hf_id_route(command->body.verb.order));
    command->arg = draw_ttl(draw);
}

static void draw_command(struct hf_draw *draw)
{
    if (one_in(draw, 1500)) {
        draw->burst = (uint32_t)hf_draw_below(draw, 90);
        draw->burst_at = draw->orders - 1 - (uint32_t)hf_draw_below(draw, 3);
    }
    if (draw->burst > 0) {
        draw_burst(draw);
        return;
    }
    void (*const draws[])(struct hf_draw *) = {draw_define, draw_stock, draw_place, draw_place, draw_verb, draw_verb, draw_query};
    unsigned sum = 0, at = 0;
    for (unsigned i = 0; i < 7; i++)
        sum += draw->weight[i] * (i > 0 ? 3 : 1);
    for (uint64_t left = hf_draw_below(draw, sum); left >= draw->weight[at] * (at > 0 ? 3 : 1); at++)
        left -= draw->weight[at] * (at > 0 ? 3 : 1);
    if (draw->sent > 0 && one_in(draw, 12)) {
        draw_again(draw);
        return;
    }
    draws[at](draw);
    if (one_in(draw, 4))
        draw_key(draw);
    if (draw->sent > 0 && one_in(draw, 60))
        draw_reused(draw);
    if (draw->sent > 0 && one_in(draw, 12))
        draw_keyed_again(draw);
}

static void draw_setup(struct hf_draw *draw)
{
    /* First of all things to sell, so that an episode does not pass among unknown SKUs. */
    uint64_t n = draw->serial;
    if (n < HF_DRAW_SKUS) {
        struct hf_command *command = begin(draw, HF_DEFINE_SKU, 1);
        lines(draw)->sku = sku_number(n);
        command->id = hf_id_make(hf_route(&lines(draw)->sku), now_ms(draw), ++draw->serial);
    } else {
        struct hf_command *command = begin(draw, HF_DEFINE_LOCATION, 0);
        command->arg = (uint32_t)(n - HF_DRAW_SKUS) + 1;
        command->id = hf_id_make(0, now_ms(draw), ++draw->serial);
    }
    extend_by(draw, HF_EXT_NAME, "first", 5);
}

static void draw_mark(struct hf_draw *draw, struct hf_deed *deed)
{
    struct hf_command *command = begin(draw, HF_MARK, 0);
    deed->kind = HF_DEED_MARK;
    command->body.mark.mark_ms = now_ms(draw) - draw->setting.retention_ms - (one_in(draw, 4) ? hf_draw_below(draw, 1000) : 0);
    command->body.mark.modulus = one_in(draw, 2) || draw->setting.partitions == 1 ? 1 : 2;
    command->body.mark.residue = (uint32_t)hf_draw_below(draw, command->body.mark.modulus);
}

static void pass_time(struct hf_draw *draw)
{
    if (one_in(draw, 3))
        draw->now_ns += hf_draw_below(draw, draw->hurry * MS_NS / 64 + 2);
    if (one_in(draw, 500))
        draw->now_ns += hf_draw_below(draw, 3 * draw->setting.retention_ms * MS_NS);
    if (one_in(draw, 8000))
        draw->now_ns += hf_draw_below(draw, 200000 * S_NS);
    if (one_in(draw, 50))
        draw->now_ns = (draw->now_ns + MS_NS) / MS_NS * MS_NS;
    draw->latest_ns = draw->now_ns + (draw->setting.wall_differs && one_in(draw, 2) ? hf_draw_below(draw, 7200 * S_NS) : 0);
}

void hf_draw_next(struct hf_draw *draw, struct hf_deed *deed)
{
    static const uint16_t refusals[] = {HF_BUSY, HF_NO_SPACE, HF_DRAINING};
    *deed = (struct hf_deed){.kind = HF_DEED_COMMAND};
    pass_time(draw);
    deed->now_ns = draw->now_ns;
    deed->latest_ns = draw->latest_ns;
    deed->hint = one_in(draw, 2);
    deed->digest = one_in(draw, 512) && draw->setting.partitions <= 16;
    if (draw->serial < HF_DRAW_SKUS + HF_DRAW_LOCATIONS) {
        draw_setup(draw);
    } else if (one_in(draw, 6)) {
        deed->kind = HF_DEED_SWEEP;
        struct hf_sku sku = draw_sku(draw);
        deed->digest = one_in(draw, 8);
        deed->partition = one_in(draw, 8) ? 0 : hf_partition(hf_route(&sku), draw->setting.partitions);
        deed->ids_max = 1 + (uint32_t)hf_draw_below(draw, 64);
    } else if (one_in(draw, 60)) {
        draw_mark(draw, deed);
    } else if (draw->setting.history && one_in(draw, 400)) {
        deed->kind = HF_DEED_CRASH;
        deed->draw = hf_draw_number(draw);
    } else {
        deed->late = draw->setting.history && one_in(draw, 2) ? 1 + (uint32_t)hf_draw_below(draw, 40) : 0;
        deed->shed = one_in(draw, 100) ? refusals[hf_draw_below(draw, 3)] : 0;
        /* Another shard's clock was read a little earlier. */
        deed->now_ns -= one_in(draw, 20) ? hf_draw_below(draw, 50000) : 0;
        if (!draw->setting.wall_differs)
            deed->latest_ns = deed->now_ns;
        draw_command(draw);
    }
}

static uint32_t order_slot(const struct hf_draw *draw, struct hf_id order)
{
    uint32_t at = 0;
    while (at < HF_DRAW_ORDERS && !hf_id_equal(draw->order[at], order))
        at++;
    return at;
}

void hf_draw_learn(struct hf_draw *draw, const struct hf_command *command, const struct hf_answer *answer)
{
    memcpy(draw->past[draw->sent++ % HF_DRAW_SENT].bytes, command, command->length);
    if (command->opcode == HF_PLACE && answer->result == HF_OK && order_slot(draw, command->id) == HF_DRAW_ORDERS)
        draw->order[draw->orders++ % HF_DRAW_ORDERS] = command->id;
    uint32_t at = hf_opcode_family(command->opcode) == HF_FAMILY_ORDER ? order_slot(draw, command->body.verb.order) : HF_DRAW_ORDERS;
    if (command->opcode == HF_SETTLE && answer->result == HF_OK && at < HF_DRAW_ORDERS) {
        draw->last_intent[at] = (uint32_t)answer->value;
        draw->amount[at] = command->body.verb.amount;
    }
    if (command->opcode == HF_CANCEL && answer->result == HF_OK && at < HF_DRAW_ORDERS)
        draw->last_intent[at] += !(answer->flags & HF_ANSWER_REPEATED) && answer->payment != HF_PAY_NONE;
}
