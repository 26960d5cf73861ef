/* A small engine with a log in memory, and commands in one call. What it steps is logged as the shell would, so that any test can be
 * replayed. */
#ifndef HF_TESTS_ENGINE_KIT_H
#define HF_TESTS_ENGINE_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/engine_p.h"

#define KIT_START_NS 1800000000000000000ull
#define KIT_S        1000000000ull
#define KIT_MS       1000000ull

struct kit {
    struct hf_engine *engine;
    struct hf_quota quota;
    uint64_t now_ns, random;
    bool shed;
    uint16_t shed_result;
    uint8_t *log;
    size_t log_bytes, log_room;
    struct hf_hint hint;
    struct hf_step step; /* the last one */
    _Alignas(8) uint8_t command[HF_COMMAND_BYTES_MAX];
    _Alignas(8) uint8_t record[HF_RECORD_BYTES_MAX];
    _Alignas(8) uint8_t answer[65536];
};

static inline uint64_t kit_draw(struct kit *kit)
{
    uint64_t z = kit->random += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

static inline struct hf_engine_options kit_options(uint32_t partitions, uint64_t rows)
{
    return (struct hf_engine_options){.partitions = partitions,
                                      .skus_max = rows,
                                      .cells_max = rows,
                                      .orders_max = rows,
                                      .lines_max = rows * 4,
                                      .command_ids_max = rows * 4,
                                      .limits_max = rows,
                                      .request_keys_max = rows,
                                      .retention_ns = 10 * KIT_S,
                                      .key = {0x1234, 0x5678}};
}

static inline struct hf_quota kit_quota(const struct hf_engine_options *options)
{
    return (struct hf_quota){.left = {[HF_TABLE_SKUS] = (int64_t)options->skus_max,
                                      [HF_TABLE_CELLS] = (int64_t)options->cells_max,
                                      [HF_TABLE_ORDERS] = (int64_t)options->orders_max,
                                      [HF_TABLE_LINES] = (int64_t)options->lines_max,
                                      [HF_TABLE_COMMAND_IDS] = (int64_t)options->command_ids_max,
                                      [HF_TABLE_LIMITS] = (int64_t)options->limits_max,
                                      [HF_TABLE_LOCATIONS] = HF_LOCATIONS_MAX,
                                      [HF_TABLE_REQUEST_KEYS] = (int64_t)options->request_keys_max}};
}

static inline struct kit *kit_new(const struct hf_engine_options *options)
{
    struct kit *kit = calloc(1, sizeof *kit);
    assert_non_null(kit);
    assert_int_equal(hf_engine_create(options, &kit->engine), 0);
    kit->quota = kit_quota(options);
    kit->now_ns = KIT_START_NS;
    kit->random = 1;
    return kit;
}

static inline struct kit *kit_small(void)
{
    struct hf_engine_options options = kit_options(16, 4096);
    return kit_new(&options);
}

static inline void kit_free(struct kit *kit)
{
    hf_engine_destroy(kit->engine);
    free(kit->log);
    free(kit);
}

static inline struct hf_answer *kit_answer(struct kit *kit)
{
    return (struct hf_answer *)(void *)kit->answer;
}

static inline struct hf_record *kit_record(struct kit *kit)
{
    return (struct hf_record *)(void *)kit->record;
}

static inline void *kit_items(struct kit *kit)
{
    return kit_answer(kit) + 1;
}

static inline void kit_append(struct kit *kit, const void *bytes, size_t count)
{
    if (kit->log_bytes + count > kit->log_room) {
        kit->log_room = (kit->log_room + count) * 2;
        kit->log = realloc(kit->log, kit->log_room);
        assert_non_null(kit->log);
    }
    memcpy(kit->log + kit->log_bytes, bytes, count);
    kit->log_bytes += count;
}

/* Steps a command and logs what it did. The result. */
static inline unsigned kit_step(struct kit *kit, const struct hf_command *command)
{
    uint32_t reach[HF_REACH_MAX];
    assert_true(hf_engine_reach(kit->engine, command, reach) <= HF_REACH_MAX);
    hf_engine_hint(kit->engine, command, &kit->hint);
    hf_engine_prefetch(kit->engine, command, &kit->hint, 0);
    hf_engine_prefetch(kit->engine, command, &kit->hint, 1);
    kit->step = (struct hf_step){.command = command,
                                 .hint = &kit->hint,
                                 .now_ns = kit->now_ns,
                                 .latest_ns = kit->now_ns,
                                 .shed = kit->shed,
                                 .shed_result = kit->shed_result,
                                 .record = kit_record(kit),
                                 .answer = kit_answer(kit),
                                 .quota = &kit->quota};
    hf_engine_step(kit->engine, &kit->step);
    assert_true(kit_answer(kit)->length <= (hf_opcode_family(command->opcode) == HF_FAMILY_INTERNAL ? 48 : hf_answer_bytes_max(command)));
    assert_int_equal(kit_answer(kit)->opcode, command->opcode);
    if (kit->step.outcome_bytes > 0) {
        assert_int_equal(kit_record(kit)->length, kit->step.outcome_bytes + command->length);
        assert_int_equal(hf_outcome_bytes(kit_record(kit), command->opcode == HF_PLACE), kit->step.outcome_bytes);
        kit_append(kit, kit->record, kit->step.outcome_bytes);
        kit_append(kit, command, command->length);
    }
    return kit_answer(kit)->result;
}

/* --- building --- */

static inline struct hf_command *kit_begin(struct kit *kit, uint16_t opcode, struct hf_id id)
{
    struct hf_command *command = (struct hf_command *)(void *)kit->command;
    memset(command, 0, sizeof *command);
    command->length = sizeof *command;
    command->opcode = opcode;
    command->version = HF_COMMAND_VERSION;
    command->id = id;
    return command;
}

static inline struct hf_line *kit_line(struct hf_command *command, struct hf_sku sku, uint32_t location, uint32_t quantity)
{
    struct hf_line *line = (struct hf_line *)(void *)(command + 1) + command->line_count++;
    *line = (struct hf_line){.sku = sku, .location = location, .quantity = quantity};
    command->length += (uint32_t)sizeof *line;
    return line;
}

/* After the lines. */
static inline void kit_extend_with(struct hf_command *command, uint16_t type, const char *text)
{
    uint16_t bytes = (uint16_t)strlen(text), padded = (uint16_t)((4u + bytes + 7u) & ~7u);
    uint8_t *at = (uint8_t *)command + command->length;
    memset(at, 0, padded);
    memcpy(at, &type, 2);
    memcpy(at + 2, &bytes, 2);
    memcpy(at + 4, text, bytes);
    command->ext_bytes = (uint16_t)(command->ext_bytes + padded);
    command->length += padded;
}

/* The same text, the same key. */
static inline struct hf_request_key kit_key_of(const char *text)
{
    return (struct hf_request_key){{hf_digest_bytes(1, text, strlen(text)), hf_digest_bytes(2, text, strlen(text))}};
}

static inline void kit_key(struct hf_command *command, const char *text)
{
    struct hf_request_key key = kit_key_of(text);
    uint16_t head[2] = {HF_EXT_IDEMPOTENCY_KEY, sizeof key};
    uint8_t *at = (uint8_t *)command + command->length;
    memset(at, 0, HF_REQUEST_KEY_EXTENSION_BYTES);
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, &key, sizeof key);
    command->ext_bytes = (uint16_t)(command->ext_bytes + HF_REQUEST_KEY_EXTENSION_BYTES);
    command->length += HF_REQUEST_KEY_EXTENSION_BYTES;
}

static inline struct hf_sku kit_sku(unsigned number)
{
    char text[17];
    struct hf_sku sku = {{0, 0}};
    int bytes = snprintf(text, sizeof text, "SKU%06u", number);
    assert_true(hf_sku_from_text(text, (size_t)bytes, &sku));
    return sku;
}

static inline struct hf_id kit_id_at(struct kit *kit, uint16_t route, uint64_t ms)
{
    return hf_id_make(route, ms, kit_draw(kit));
}

static inline struct hf_id kit_id(struct kit *kit, uint16_t route)
{
    return kit_id_at(kit, route, kit->now_ns / KIT_MS);
}

static inline struct hf_id kit_sku_id(struct kit *kit, unsigned sku)
{
    struct hf_sku key = kit_sku(sku);
    return kit_id(kit, hf_route(&key));
}

/* --- commands --- */

static inline unsigned kit_define_sku(struct kit *kit, unsigned sku)
{
    struct hf_command *command = kit_begin(kit, HF_DEFINE_SKU, kit_sku_id(kit, sku));
    kit_line(command, kit_sku(sku), 0, 0);
    kit_extend_with(command, HF_EXT_NAME, "a name");
    return kit_step(kit, command);
}

static inline unsigned kit_define_location(struct kit *kit, uint32_t location)
{
    struct hf_command *command = kit_begin(kit, HF_DEFINE_LOCATION, kit_id(kit, 0));
    command->arg = location;
    kit_extend_with(command, HF_EXT_NAME, "a place");
    return kit_step(kit, command);
}

static inline unsigned kit_receive(struct kit *kit, unsigned sku, uint32_t location, uint32_t quantity)
{
    struct hf_command *command = kit_begin(kit, HF_RECEIVE, kit_sku_id(kit, sku));
    kit_line(command, kit_sku(sku), location, quantity);
    return kit_step(kit, command);
}

static inline unsigned kit_adjust(struct kit *kit, unsigned sku, uint32_t location, int64_t delta, uint8_t flags)
{
    struct hf_command *command = kit_begin(kit, HF_ADJUST, kit_sku_id(kit, sku));
    kit_line(command, kit_sku(sku), location, 0);
    command->body.stock.value = delta;
    command->flags = flags;
    kit_extend_with(command, HF_EXT_REASON, "count");
    return kit_step(kit, command);
}

static inline struct hf_command *kit_set_begin(struct kit *kit, unsigned sku, uint32_t location, int64_t value)
{
    struct hf_command *command = kit_begin(kit, HF_SET, kit_sku_id(kit, sku));
    kit_line(command, kit_sku(sku), location, 0);
    command->body.stock.value = value;
    return command;
}

static inline struct hf_command *kit_place_begin(struct kit *kit, struct hf_id id, uint32_t ttl_ms)
{
    struct hf_command *command = kit_begin(kit, HF_PLACE, id);
    command->arg = ttl_ms;
    command->body.place.customer = 7;
    command->body.place.channel = HF_CHANNEL_WEB;
    return command;
}

/* One line at location 1. */
static inline unsigned kit_place(struct kit *kit, struct hf_id id, unsigned sku, uint32_t quantity, uint32_t ttl_ms)
{
    struct hf_command *command = kit_place_begin(kit, id, ttl_ms);
    kit_line(command, kit_sku(sku), 1, quantity)->price = 1999;
    return kit_step(kit, command);
}

static inline struct hf_command *kit_verb_begin(struct kit *kit, uint16_t opcode, struct hf_id order)
{
    struct hf_command *command = kit_begin(kit, opcode, opcode == HF_GET_ORDER ? (struct hf_id){0, 0} : kit_id(kit, hf_id_route(order)));
    command->body.verb.order = order;
    return command;
}

static inline struct hf_command *kit_settle_begin(struct kit *kit, struct hf_id order, int64_t amount)
{
    struct hf_command *command = kit_verb_begin(kit, HF_SETTLE, order);
    command->body.verb.amount = amount;
    memcpy(command->body.verb.currency, "EUR", 3);
    kit_extend_with(command, HF_EXT_PAYMENT_REFERENCE, "pay-1");
    return command;
}

static inline unsigned kit_settle(struct kit *kit, struct hf_id order, int64_t amount)
{
    return kit_step(kit, kit_settle_begin(kit, order, amount));
}

static inline unsigned kit_payment(struct kit *kit, struct hf_id order, uint32_t intent, unsigned status, int64_t amount)
{
    struct hf_command *command = kit_verb_begin(kit, HF_PAYMENT_RESULT, order);
    command->arg = intent;
    command->body.verb.status = (uint8_t)status;
    command->body.verb.amount = amount;
    memcpy(command->body.verb.currency, "EUR", 3);
    return kit_step(kit, command);
}

static inline unsigned kit_ship(struct kit *kit, struct hf_id order)
{
    return kit_step(kit, kit_verb_begin(kit, HF_SHIP, order));
}

static inline unsigned kit_cancel(struct kit *kit, struct hf_id order)
{
    return kit_step(kit, kit_verb_begin(kit, HF_CANCEL, order));
}

static inline unsigned kit_extend(struct kit *kit, struct hf_id order, uint32_t ttl_ms)
{
    struct hf_command *command = kit_verb_begin(kit, HF_EXTEND, order);
    command->arg = ttl_ms;
    return kit_step(kit, command);
}

static inline unsigned kit_get_order(struct kit *kit, struct hf_id order)
{
    return kit_step(kit, kit_verb_begin(kit, HF_GET_ORDER, order));
}

static inline struct hf_cell_item kit_cell(struct kit *kit, unsigned sku, uint32_t location)
{
    struct hf_command *command = kit_begin(kit, HF_GET_CELL, (struct hf_id){0, 0});
    kit_line(command, kit_sku(sku), location, 0);
    assert_int_equal(kit_step(kit, command), HF_OK);
    return *(struct hf_cell_item *)kit_items(kit);
}

static inline unsigned kit_mark(struct kit *kit, uint64_t mark_ms)
{
    struct hf_command *command = kit_begin(kit, HF_MARK, (struct hf_id){0, 0});
    command->body.mark.mark_ms = mark_ms;
    command->body.mark.modulus = 1;
    return kit_step(kit, command);
}

/* Steps every sweep that is due now, over all partitions. How many. */
static inline unsigned kit_sweep(struct kit *kit)
{
    unsigned sweeps = 0;
    for (uint32_t p = 0; p <= kit->engine->mask; p++)
        while (hf_engine_due(kit->engine, p) <= kit->now_ns)
            if (hf_engine_sweep(kit->engine, p, kit->now_ns, 64, (struct hf_command *)(void *)kit->command)) {
                kit_step(kit, (struct hf_command *)(void *)kit->command);
                /* Whether a key's order is still there is for the step to see. */
                assert_true(kit->step.outcome_bytes > 0 || kit_answer(kit)->opcode == HF_PURGE_KEYS);
                sweeps++;
            }
    return sweeps;
}

/* Whole retention later: everything that may be forgotten is. */
static inline void kit_forget_all(struct kit *kit)
{
    kit_sweep(kit);
    kit->now_ns += kit->engine->retention_ns + 5 * KIT_S;
    kit_mark(kit, (kit->now_ns - 2 * KIT_S) / KIT_MS);
    kit_sweep(kit);
    kit->now_ns += 3 * KIT_S;
    kit_sweep(kit);
}

/* A small shop: SKUs 1 to `skus`, locations 1 to 3, `stock` units of each at location 1. */
static inline void kit_stock(struct kit *kit, unsigned skus, uint32_t stock)
{
    for (uint32_t location = 1; location <= 3; location++)
        assert_int_equal(kit_define_location(kit, location), HF_OK);
    for (unsigned sku = 1; sku <= skus; sku++) {
        assert_int_equal(kit_define_sku(kit, sku), HF_OK);
        assert_int_equal(kit_receive(kit, sku, 1, stock), HF_OK);
    }
}

/* --- judging --- */

static inline void kit_audit(struct kit *kit)
{
    struct hf_audit_item audit;
    hf_engine_audit(kit->engine, &audit);
    for (unsigned i = 0; i < 8; i++)
        if (audit.by_invariant[i] != 0)
            print_message("I%u broken %llu times\n", i, (unsigned long long)audit.by_invariant[i]);
    assert_int_equal(audit.violations, 0);
}

static inline uint64_t kit_hash_pool(uint64_t h, const struct hf_pool *pool)
{
    h = hf_digest_bytes(h, pool->rows, (size_t)(pool->used + 1) * pool->row_bytes);
    return hf_digest_bytes(h, pool->free, pool->free_count * sizeof *pool->free);
}

static inline uint64_t kit_hash_index(uint64_t h, const struct hf_index *index)
{
    h = hf_digest_bytes(h, index->buckets, (index->mask + (size_t)1 + index->split) * sizeof *index->buckets);
    return hf_digest_bytes(h, index->overflow, (hf_index_spares(index)->used + (size_t)1) * sizeof *index->overflow);
}

/* Every byte that a step could have changed. */
static inline uint64_t kit_memory(const struct kit *kit)
{
    uint64_t h = hf_digest_bytes(1, &kit->quota, sizeof kit->quota);
    h = hf_digest_bytes(h, kit->engine, sizeof *kit->engine);
    for (uint32_t i = 0; i <= kit->engine->mask; i++) {
        const struct hf_partition *p = &kit->engine->partitions[i];
        h = hf_digest_bytes(h, p, sizeof *p);
        const struct hf_pool *pools[] = {&p->orders, &p->cells, &p->skus, &p->lines, &p->sides, &p->remembered, &p->limits, &p->keys};
        const struct hf_index *indices[] = {&p->order_index,      &p->cell_index,  &p->sku_index,
                                            &p->remembered_index, &p->limit_index, &p->key_index};
        const struct hf_timers *timers[] = {&p->order_timers, &p->remembered_timers, &p->limit_timers, &p->key_timers};
        for (unsigned k = 0; k < sizeof pools / sizeof pools[0]; k++)
            h = kit_hash_pool(h, pools[k]);
        for (unsigned k = 0; k < sizeof indices / sizeof indices[0]; k++)
            h = kit_hash_index(h, indices[k]);
        for (unsigned k = 0; k < sizeof timers / sizeof timers[0]; k++)
            h = hf_digest_bytes(h, timers[k]->wheel, sizeof *timers[k]->wheel);
    }
    return hf_digest_bytes(h, kit->engine->locations, kit->engine->location_count * sizeof *kit->engine->locations);
}

/* Steps a command that must be refused with `result`, and looks at every byte before and after. */
static inline void kit_refused(struct kit *kit, const struct hf_command *command, unsigned result)
{
    uint64_t digest = hf_engine_digest(kit->engine), memory = kit_memory(kit);
    assert_string_equal(hf_result_name(kit_step(kit, command)), hf_result_name(result));
    assert_int_equal(kit->step.outcome_bytes, 0);
    assert_int_equal(hf_engine_digest(kit->engine), digest);
    assert_int_equal(kit_memory(kit), memory);
}

/* Replays the log into another engine of other sizes and keys: the digests agree. */
static inline void kit_replay(struct kit *kit)
{
    struct hf_engine_options options = kit->engine->options;
    options.key[0] = ~options.key[0];
    options.key[1] *= 3;
    options.orders_max *= 2;
    options.cells_max += 77;
    struct hf_engine *other;
    assert_int_equal(hf_engine_create(&options, &other), 0);
    struct hf_quota quota = kit_quota(&options);
    for (size_t at = 0; at < kit->log_bytes;) {
        const struct hf_record *record = (const struct hf_record *)(void *)(kit->log + at);
        unsigned table = 0;
        struct hf_replay_item item;
        int error = hf_engine_replay_take(other, record, record->length, &item);
        assert_int_equal(error, 0);
        hf_engine_prefetch(other, item.command, &item.hint, 0);
        hf_engine_prefetch(other, item.command, &item.hint, 1);
        error = hf_engine_replay_item(other, &item, &quota, &table);
        if (error != 0)
            print_message("replay stops at byte %zu of %zu: %d\n", at, kit->log_bytes, error);
        assert_int_equal(error, 0);
        at += record->length;
    }
    assert_int_equal(hf_engine_digest(other), hf_engine_digest(kit->engine));
    for (unsigned table = HF_TABLE_SKUS; table < HF_TABLE_COUNT; table++)
        assert_int_equal(hf_engine_rows(other, table), hf_engine_rows(kit->engine, table));
    hf_engine_destroy(other);
}

#endif
