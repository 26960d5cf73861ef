/* SKUs, locations, policies, and the queries that show them. */
#include "tests/engine/kit.h"

static void done(struct kit *kit)
{
    kit_audit(kit);
    kit_replay(kit);
    kit_free(kit);
}

static struct hf_command *policy(struct kit *kit, unsigned sku, uint32_t location)
{
    struct hf_command *command = kit_begin(kit, HF_DEFINE_POLICY, kit_sku_id(kit, sku));
    kit_line(command, kit_sku(sku), location, 0);
    return command;
}

static unsigned buy(struct kit *kit, uint64_t customer, uint32_t quantity, uint32_t ttl_ms, struct hf_id *id)
{
    struct hf_command *command = kit_place_begin(kit, kit_sku_id(kit, 1), ttl_ms);
    command->body.place.customer = customer;
    kit_line(command, kit_sku(1), 1, quantity);
    *id = command->id;
    return kit_step(kit, command);
}

static void defining_a_sku_again_changes_its_name_only(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 5);
    struct hf_command *command = policy(kit, 1, 0);
    command->body.policy.per_order = 3;
    assert_int_equal(kit_step(kit, command), HF_OK);
    command = kit_begin(kit, HF_DEFINE_SKU, kit_sku_id(kit, 1));
    kit_line(command, kit_sku(1), 0, 0);
    kit_extend_with(command, HF_EXT_NAME, "other");
    assert_int_equal(kit_step(kit, command), HF_OK);
    command = kit_begin(kit, HF_GET_SKU, (struct hf_id){0, 0});
    kit_line(command, kit_sku(1), 0, 0);
    assert_int_equal(kit_step(kit, command), HF_OK);
    const struct hf_sku_item *item = kit_items(kit);
    assert_int_equal(item->per_order, 3);
    assert_int_equal(item->name_bytes, 5);
    assert_memory_equal(item->name, "other", 6);
    assert_int_equal(item->cells, 1);
    assert_int_equal(kit_answer(kit)->item_count, 2);
    command = kit_begin(kit, HF_DEFINE_SKU, kit_sku_id(kit, 1));
    kit_line(command, kit_sku(1), 0, 0);
    kit_extend_with(command, HF_EXT_NAME, "a name of forty-one bytes, which is a lot");
    kit_refused(kit, command, HF_BAD_EXTENSION);
    done(kit);
}

static void locations_are_listed_in_order_and_by_pages(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    assert_int_equal(kit_define_location(kit, 0), HF_BAD_ARGUMENT);
    for (uint32_t i = 0; i < 300; i++)
        assert_int_equal(kit_define_location(kit, 1 + i * 7919 % 3001), HF_OK);
    struct hf_command *command = kit_begin(kit, HF_DEFINE_LOCATION, kit_id(kit, 1));
    command->arg = 5;
    kit_refused(kit, command, HF_WRONG_ROUTE);
    command = kit_begin(kit, HF_LIST_LOCATIONS, (struct hf_id){0, 0});
    uint32_t seen = 0, last = 0;
    do {
        command->arg = last + 1;
        assert_int_equal(kit_step(kit, command), HF_OK);
        const struct hf_location_item *item = kit_items(kit);
        for (unsigned i = 0; i < kit_answer(kit)->item_count; i++, seen++) {
            assert_true(item[i].location > last);
            last = item[i].location;
        }
    } while (kit_answer(kit)->flags & HF_ANSWER_MORE);
    assert_int_equal(seen, 300);
    done(kit);
}

static void the_cells_of_a_sku_come_in_pages(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    assert_int_equal(kit_define_sku(kit, 1), HF_OK);
    for (uint32_t location = 1; location <= 150; location++) {
        kit_define_location(kit, location);
        assert_int_equal(kit_receive(kit, 1, location, location), HF_OK);
    }
    struct hf_command *command = kit_begin(kit, HF_GET_SKU, (struct hf_id){0, 0});
    kit_line(command, kit_sku(1), 0, 0);
    command->arg = 128;
    assert_int_equal(kit_step(kit, command), HF_OK);
    assert_int_equal(kit_answer(kit)->item_count, 1 + 22);
    assert_int_equal(kit_answer(kit)->flags, 0);
    command->arg = 64;
    assert_int_equal(kit_step(kit, command), HF_OK);
    assert_int_equal(kit_answer(kit)->item_count, 1 + HF_SKU_PAGE);
    assert_int_equal(kit_answer(kit)->flags, HF_ANSWER_MORE);
    const struct hf_cell_item *cell = (const void *)((const struct hf_sku_item *)kit_items(kit) + 1);
    assert_int_equal(cell->location, 65);
    done(kit);
}

static void queries_say_what_is_missing(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 5);
    struct hf_command *command = kit_begin(kit, HF_GET_CELL, (struct hf_id){0, 0});
    struct hf_line *line = kit_line(command, kit_sku(1), 2, 0);
    kit_refused(kit, command, HF_NOT_FOUND);
    assert_true(kit->step.reads_state);
    line->location = 77;
    kit_refused(kit, command, HF_UNKNOWN_LOCATION);
    line->sku = kit_sku(2);
    kit_refused(kit, command, HF_UNKNOWN_SKU);
    command->flags = HF_FLAG_STALE_OK;
    kit_refused(kit, command, HF_UNKNOWN_SKU);
    assert_false(kit->step.reads_state);
    assert_int_equal(kit_get_order(kit, kit_sku_id(kit, 1)), HF_UNKNOWN_ORDER);
    command = kit_begin(kit, HF_STATUS, (struct hf_id){0, 0});
    kit_refused(kit, command, HF_UNKNOWN_OPCODE);
    kit_free(kit);
}

static void safety_stock_is_never_promised(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 10);
    struct hf_id id;
    struct hf_command *command = policy(kit, 1, 0);
    command->body.policy.safety_stock = 4;
    assert_int_equal(kit_step(kit, command), HF_OK);
    assert_int_equal(buy(kit, 1, 7, 1000, &id), HF_SHORT);
    command = policy(kit, 1, 1);
    command->body.policy.safety_stock = 2;
    assert_int_equal(kit_step(kit, command), HF_OK);
    assert_int_equal(kit_cell(kit, 1, 1).available, 8);
    command = policy(kit, 1, 0);
    command->body.policy.safety_stock = 9;
    assert_int_equal(kit_step(kit, command), HF_OK);
    assert_int_equal(kit_cell(kit, 1, 1).available, 8); /* it has its own */
    kit_receive(kit, 1, 2, 10);
    assert_int_equal(kit_cell(kit, 1, 2).available, 1);
    command = policy(kit, 1, 3);
    command->body.policy.safety_stock = 1;
    assert_int_equal(kit_step(kit, command), HF_OK); /* a cell of its own */
    assert_int_equal(kit_cell(kit, 1, 3).oversold, 1);
    done(kit);
}

static void a_policy_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 10);
    struct hf_command *command = policy(kit, 1, 1);
    command->body.policy.per_order = 1;
    kit_refused(kit, command, HF_BAD_ARGUMENT);
    command = policy(kit, 1, 0);
    command->body.policy.safety_stock = 0x80000000u;
    kit_refused(kit, command, HF_BAD_ARGUMENT);
    command = policy(kit, 1, 0);
    command->body.policy.opens_ms = command->body.policy.closes_ms = 5;
    kit_refused(kit, command, HF_BAD_ARGUMENT);
    kit_refused(kit, policy(kit, 2, 0), HF_UNKNOWN_SKU);
    kit_refused(kit, policy(kit, 1, 9), HF_UNKNOWN_LOCATION);
    done(kit);
}

static void a_sale_opens_and_closes_to_the_millisecond(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 10);
    struct hf_id id;
    struct hf_command *command = policy(kit, 1, 0);
    command->body.policy.opens_ms = kit->now_ns / KIT_MS + 1000;
    command->body.policy.closes_ms = kit->now_ns / KIT_MS + 2000;
    assert_int_equal(kit_step(kit, command), HF_OK);
    kit->now_ns += 999 * KIT_MS + 999999;
    assert_int_equal(buy(kit, 1, 1, 1000, &id), HF_NOT_ON_SALE);
    kit->now_ns += 1;
    assert_int_equal(buy(kit, 1, 1, 1000, &id), HF_OK);
    kit->now_ns += 999 * KIT_MS + 999999;
    assert_int_equal(buy(kit, 1, 1, 1000, &id), HF_OK);
    kit->now_ns += 1;
    assert_int_equal(buy(kit, 1, 1, 1000, &id), HF_NOT_ON_SALE);
    done(kit);
}

static void a_customers_limit_counts_granted_units_in_a_window(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 1000);
    struct hf_id id, first;
    struct hf_command *command = policy(kit, 1, 0);
    command->body.policy.per_customer = 5;
    command->body.policy.window_s = 10;
    assert_int_equal(kit_step(kit, command), HF_OK);
    assert_int_equal(buy(kit, 1, 3, 100000, &first), HF_OK);
    assert_int_equal(buy(kit, 1, 3, 100000, &id), HF_LIMIT_PER_CUSTOMER);
    assert_int_equal(buy(kit, 2, 5, 100000, &id), HF_OK);
    assert_int_equal(buy(kit, 1, 2, 1000, &id), HF_OK);
    assert_int_equal(buy(kit, 1, 1, 100000, &id), HF_LIMIT_PER_CUSTOMER);
    kit->now_ns += 2 * KIT_S;
    kit_sweep(kit); /* two units expire: the window is the same and gets them back */
    assert_int_equal(buy(kit, 1, 2, 100000, &id), HF_OK);
    assert_int_equal(kit_settle(kit, id, 5), HF_OK);
    assert_int_equal(kit_cancel(kit, id), HF_OK);
    assert_int_equal(buy(kit, 1, 2, 100000, &id), HF_OK);
    kit->now_ns += 10 * KIT_S;
    assert_int_equal(buy(kit, 1, 5, 100000, &id), HF_OK); /* next window */
    assert_int_equal(kit_cancel(kit, first), HF_OK);      /* gives nothing back to this one */
    assert_int_equal(buy(kit, 1, 1, 100000, &id), HF_LIMIT_PER_CUSTOMER);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_LIMITS), 2);
    kit->now_ns += 20 * KIT_S;
    assert_true(kit_sweep(kit) > 0);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_LIMITS), 0);
    assert_int_equal(kit->quota.left[HF_TABLE_LIMITS], 4096);
    done(kit);
}

static void a_limit_without_a_window_holds_for_ever(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 1000);
    struct hf_id id;
    struct hf_command *command = policy(kit, 1, 0);
    command->body.policy.per_customer = 1;
    assert_int_equal(kit_step(kit, command), HF_OK);
    assert_int_equal(buy(kit, 1, 1, 100000, &id), HF_OK);
    kit_settle(kit, id, 5);
    kit_payment(kit, id, 1, HF_STATUS_CAPTURED, 5);
    kit_ship(kit, id);
    kit_forget_all(kit);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_ORDERS), 0);
    for (int i = 0; i < 20; i++) {
        kit->now_ns += 86400 * KIT_S;
        kit_sweep(kit);
        assert_int_equal(buy(kit, 1, 1, 1000, &id), HF_LIMIT_PER_CUSTOMER);
    }
    done(kit);
}

static void parallel_orders_of_one_customer_stay_within_the_limit(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 1000);
    struct hf_id id;
    struct hf_command *command = policy(kit, 1, 0);
    command->body.policy.per_customer = 4;
    assert_int_equal(kit_step(kit, command), HF_OK);
    unsigned granted = 0;
    for (int i = 0; i < 100; i++)
        granted += buy(kit, 9, 1, 100000, &id) == HF_OK;
    assert_int_equal(granted, 4);
    done(kit);
}

static void definitions_name_the_table_that_is_full(void **state)
{
    (void)state;
    struct hf_engine_options options = kit_options(4, 2);
    struct kit *kit = kit_new(&options);
    kit_define_location(kit, 1);
    assert_int_equal(kit_define_sku(kit, 1), HF_OK);
    assert_int_equal(kit_define_sku(kit, 2), HF_OK);
    assert_int_equal(kit_define_sku(kit, 3), HF_FULL);
    assert_int_equal(kit_answer(kit)->detail, HF_TABLE_SKUS);
    for (int i = 0; i < 5; i++)
        assert_int_equal(kit_define_sku(kit, 1), HF_OK);
    assert_int_equal(kit_define_sku(kit, 1), HF_FULL);
    assert_int_equal(kit_answer(kit)->detail, HF_TABLE_COMMAND_IDS);
    kit_forget_all(kit);
    assert_int_equal(kit_define_sku(kit, 1), HF_OK);
    done(kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defining_a_sku_again_changes_its_name_only),
        cmocka_unit_test(locations_are_listed_in_order_and_by_pages),
        cmocka_unit_test(the_cells_of_a_sku_come_in_pages),
        cmocka_unit_test(queries_say_what_is_missing),
        cmocka_unit_test(safety_stock_is_never_promised),
        cmocka_unit_test(a_policy_that_makes_no_sense_is_refused),
        cmocka_unit_test(a_sale_opens_and_closes_to_the_millisecond),
        cmocka_unit_test(a_customers_limit_counts_granted_units_in_a_window),
        cmocka_unit_test(a_limit_without_a_window_holds_for_ever),
        cmocka_unit_test(parallel_orders_of_one_customer_stay_within_the_limit),
        cmocka_unit_test(definitions_name_the_table_that_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
