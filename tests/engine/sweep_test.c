/* Expiry, forgetting and the mark; and replay's judgement of records. */
#include "tests/engine/kit.h"

#include <sys/mman.h>

static void done(struct kit *kit)
{
    kit_audit(kit);
    kit_replay(kit);
    kit_free(kit);
}

static void a_hold_is_given_back_within_ten_milliseconds_of_its_end(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 40, 1000);
    for (int round = 0; round < 300; round++) {
        struct hf_id id = kit_sku_id(kit, 1 + (unsigned)(kit_draw(kit) % 40));
        struct hf_command *command = kit_place_begin(kit, id, 1 + (uint32_t)(kit_draw(kit) % 3000));
        kit_line(command, kit_sku(1), 1, 1);
        command->id = kit_sku_id(kit, 1);
        assert_int_equal(kit_step(kit, command), HF_OK);
    }
    uint64_t last_ns = kit->now_ns;
    while (kit_cell(kit, 1, 1).reserved > 0) {
        kit->now_ns += KIT_MS;
        struct hf_command *command = (struct hf_command *)(void *)kit->command;
        for (uint32_t p = 0; p < 16; p++)
            while (hf_engine_sweep(kit->engine, p, kit->now_ns, 64, command)) {
                uint64_t earlier_ns = 0;
                for (uint32_t i = 0; command->opcode == HF_EXPIRE && i < command->body.sweep.count; i++) {
                    struct hf_id id = hf_sweep_id(command, i);
                    uint64_t due_ns = hf_order_at(&kit->engine->partitions[p],
                                                  hf_order_find(&kit->engine->partitions[p], hf_hash_id(kit->engine, id), id))
                                          ->due_ns;
                    assert_true(due_ns <= kit->now_ns && kit->now_ns - due_ns < 10 * KIT_MS);
                    assert_true(due_ns >= earlier_ns);
                    earlier_ns = due_ns;
                }
                kit_step(kit, command);
            }
        assert_true(kit->now_ns - last_ns < 4 * KIT_S);
    }
    done(kit);
}

static void nothing_expires_early_and_an_hours_jump_expires_what_is_due(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 1000);
    struct hf_id soon = kit_sku_id(kit, 1), late = kit_sku_id(kit, 1);
    assert_int_equal(kit_place(kit, soon, 1, 1, 60000), HF_OK);
    assert_int_equal(kit_place(kit, late, 1, 1, 7200000), HF_OK);
    kit->now_ns += 59 * KIT_S;
    kit_sweep(kit);
    assert_int_equal(kit_cell(kit, 1, 1).reserved, 2);
    kit->now_ns += 3600 * KIT_S;
    kit_sweep(kit);
    assert_int_equal(kit_cell(kit, 1, 1).reserved, 1);
    kit->now_ns -= 3600 * KIT_S; /* a step's time never goes back within a partition */
    assert_int_equal(kit_cancel(kit, late), HF_OK);
    assert_int_equal(kit_record(kit)->time_ns, kit->now_ns + 3600 * KIT_S);
    done(kit);
}

static void one_record_names_at_most_256_lines(void **state)
{
    (void)state;
    struct hf_engine_options options = kit_options(1, 4096);
    struct kit *kit = kit_new(&options);
    kit_stock(kit, 100, 1000);
    for (int i = 0; i < 20; i++) {
        struct hf_command *command = kit_place_begin(kit, kit_sku_id(kit, 1), 1000);
        for (unsigned sku = 1; sku <= 100; sku++)
            kit_line(command, kit_sku(sku), 1, 1);
        assert_int_equal(kit_step(kit, command), HF_OK);
    }
    kit->now_ns += 2 * KIT_S;
    assert_int_equal(kit_sweep(kit), 10);
    assert_int_equal(kit_cell(kit, 100, 1).reserved, 0);
    done(kit);
}

static void a_flood_of_holds_that_end_together_is_swept_in_bounded_calls(void **state)
{
    (void)state;
    struct hf_engine_options options = kit_options(1, 30000);
    struct kit *kit = kit_new(&options);
    kit_stock(kit, 1, 1000000);
    for (int i = 0; i < 20000; i++)
        assert_int_equal(kit_place(kit, kit_sku_id(kit, 1), 1, 1, 3000000), HF_OK);
    kit->now_ns += 3001 * KIT_S;
    kit_sweep(kit);
    assert_int_equal(kit_cell(kit, 1, 1).reserved, 0);
    kit->now_ns += 20 * KIT_S;
    kit_mark(kit, kit->now_ns / KIT_MS - 10000);
    kit_sweep(kit);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_ORDERS), 0);
    done(kit);
}

static void a_mark_never_goes_back_and_keeps_to_its_partitions(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    struct hf_command *command = kit_begin(kit, HF_MARK, (struct hf_id){0, 0});
    command->body.mark.mark_ms = 1000;
    command->body.mark.modulus = 3;
    command->body.mark.residue = 1;
    assert_int_equal(kit_step(kit, command), HF_OK);
    for (uint32_t p = 0; p < 16; p++)
        assert_int_equal(hf_engine_mark_ms(kit->engine, p), p % 3 == 1 ? 1000 : 0);
    command->body.mark.mark_ms = 999;
    kit_refused(kit, command, HF_OK);
    done(kit);
}

static void an_order_that_is_not_over_is_never_forgotten(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 1000);
    struct hf_id live = kit_sku_id(kit, 1), open = kit_sku_id(kit, 1);
    assert_int_equal(kit_place(kit, live, 1, 1, 2000000000), HF_OK);
    assert_int_equal(kit_place(kit, open, 1, 1, 1000), HF_OK);
    assert_int_equal(kit_settle(kit, open, 5), HF_OK);
    kit_forget_all(kit);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_ORDERS), 2);
    struct hf_command *forget = kit_begin(kit, HF_FORGET, (struct hf_id){0, 0});
    forget->line_count = 1;
    forget->length += 32;
    forget->body.sweep.partition = hf_id_route(live) & 15;
    forget->body.sweep.count = 2;
    memcpy(forget + 1, &live, sizeof live);
    memcpy((uint8_t *)(forget + 1) + sizeof live, &open, sizeof open);
    kit_refused(kit, forget, HF_OK);
    done(kit);
}

static void replay_stops_at_a_record_that_says_otherwise(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 10);
    size_t last = kit->log_bytes;
    kit_place(kit, kit_sku_id(kit, 1), 1, 4, 1000);
    struct hf_engine *other;
    assert_int_equal(hf_engine_create(&kit->engine->options, &other), 0);
    struct hf_quota quota = kit_quota(&kit->engine->options);
    unsigned table = 0;
    for (size_t at = 0; at < last; at += ((struct hf_record *)(void *)(kit->log + at))->length)
        assert_int_equal(
            hf_engine_replay(other, (void *)(kit->log + at), ((struct hf_record *)(void *)(kit->log + at))->length, &quota, &table), 0);
    struct hf_record *record = (struct hf_record *)(void *)(kit->log + last);
    struct hf_touch *touch = (struct hf_touch *)(void *)(record + 1);
    quota.left[HF_TABLE_ORDERS] = 0;
    assert_int_equal(hf_engine_replay(other, record, record->length, &quota, &table), HF_E_TOO_SMALL);
    assert_int_equal(table, HF_TABLE_ORDERS);
    quota.left[HF_TABLE_ORDERS] = 10;
    assert_int_equal(hf_engine_replay(other, record, record->length - 8, &quota, &table), HF_E_DAMAGED);
    record->flags = 1;
    assert_int_equal(hf_engine_replay(other, record, record->length, &quota, &table), HF_E_DAMAGED);
    record->flags = 0;
    touch->reserved++;
    assert_int_equal(hf_engine_replay(other, record, record->length, &quota, &table), HF_E_DIFFERS);
    hf_engine_destroy(other);
    kit_free(kit);
}

/* SKUs of a client's choosing can look like a command; the record's header says where the command is. */
static void keys_that_look_like_a_command_do_not_lead_replay_astray(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_define_location(kit, 1);
    struct hf_command fake = {.length = 64 + 4 * 32 - 64, .opcode = HF_MARK, .version = 1};
    struct hf_sku sku;
    memcpy(&sku, &fake, sizeof sku);
    sku.word[1] = 1;
    for (int stock = 0; stock < 2; stock++) {
        struct hf_command *command = kit_begin(kit, stock ? HF_RECEIVE : HF_DEFINE_SKU, kit_id(kit, hf_route(&sku)));
        kit_line(command, sku, stock ? 1 : 0, stock ? 10 : 0);
        assert_int_equal(kit_step(kit, command), HF_OK);
    }
    struct hf_command *command = kit_place_begin(kit, kit_id(kit, hf_route(&sku)), 1000);
    for (int i = 0; i < 4; i++)
        kit_line(command, sku, 1, 1);
    assert_int_equal(kit_step(kit, command), HF_OK);
    done(kit);
}

static void sizes_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct hf_engine *engine = NULL;
    struct hf_engine_options options = kit_options(3, 10);
    assert_int_equal(hf_engine_create(&options, &engine), HF_E_USAGE);
    options = kit_options(4, 10);
    options.limits_max = 0;
    assert_int_equal(hf_engine_create(&options, &engine), HF_E_USAGE);
    options = kit_options(4, 10);
    options.orders_max = 1ull << 32;
    assert_int_equal(hf_engine_create(&options, &engine), HF_E_USAGE);
    options = kit_options(65536, 16u << 20);
    assert_int_equal(hf_engine_create(&options, &engine), HF_E_MEMORY);
    assert_null(engine);
}

static void the_memory_sum_is_itemised_and_within_its_goals(void **state)
{
    (void)state;
    struct hf_engine_options options = kit_options(256, 1u << 20);
    struct hf_engine_size rows[16];
    unsigned count = hf_engine_sizes(NULL, &options, rows, 16);
    uint32_t order_bytes = 0, cell_bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(rows[i].bytes_max, rows[i].rows_max * rows[i].row_bytes);
        if (strcmp(rows[i].table, "orders") == 0)
            order_bytes = rows[i].row_bytes;
        if (strcmp(rows[i].table, "cells") == 0)
            cell_bytes = rows[i].row_bytes;
    }
    assert_in_range(order_bytes, 128, 192);
    assert_in_range(cell_bytes, 64, 96);
}

static void prefaulted_tables_behave_the_same(void **state)
{
    (void)state;
    struct hf_engine_options options = kit_options(4, 4096);
    options.prefault = true;
    struct kit *kit = kit_new(&options);
    kit_stock(kit, 20, 100);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(kit_place(kit, kit_sku_id(kit, 1 + i % 20), 1 + i % 20, 1, 1000), HF_OK);
    done(kit);
}

/* All orders in one partition of four: most of them lie in memory that was spare at first. */
static void a_partition_that_outgrows_its_share_takes_spare_memory(void **state)
{
    (void)state;
    enum { ORDERS = 60000 };
    struct hf_engine_options options = kit_options(4, ORDERS);
    options.prefault = true;
    struct kit *kit = kit_new(&options);
    struct hf_spare all = hf_engine_take_spare(kit->engine), other = hf_spare_part(all, 1, 2), before = hf_spare_part(all, 0, 2);
    kit->quota.spare = before;
    assert_int_equal(hf_engine_take_spare(kit->engine).bytes, 0);
    assert_true(before.bytes > 0 && before.bytes == other.bytes && other.at == before.at + before.bytes);
    kit_stock(kit, 1, ORDERS);
    for (unsigned i = 0; i < ORDERS; i++)
        assert_int_equal(kit_place(kit, kit_sku_id(kit, 1), 1, 1, 1000), HF_OK);
    assert_true(kit->quota.spare.bytes < before.bytes);
    assert_ptr_equal(kit->quota.spare.at + kit->quota.spare.bytes, before.at + before.bytes);
    /* Nobody else's memory comes to lie where the pages were: it would end with the engine. */
    unsigned char present;
    assert_int_equal(mincore(before.at, 4096, &present), 0);
    done(kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hold_is_given_back_within_ten_milliseconds_of_its_end),
        cmocka_unit_test(nothing_expires_early_and_an_hours_jump_expires_what_is_due),
        cmocka_unit_test(one_record_names_at_most_256_lines),
        cmocka_unit_test(a_flood_of_holds_that_end_together_is_swept_in_bounded_calls),
        cmocka_unit_test(a_mark_never_goes_back_and_keeps_to_its_partitions),
        cmocka_unit_test(an_order_that_is_not_over_is_never_forgotten),
        cmocka_unit_test(replay_stops_at_a_record_that_says_otherwise),
        cmocka_unit_test(keys_that_look_like_a_command_do_not_lead_replay_astray),
        cmocka_unit_test(sizes_that_make_no_sense_are_refused),
        cmocka_unit_test(the_memory_sum_is_itemised_and_within_its_goals),
        cmocka_unit_test(prefaulted_tables_behave_the_same),
        cmocka_unit_test(a_partition_that_outgrows_its_share_takes_spare_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
