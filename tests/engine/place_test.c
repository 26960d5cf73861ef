/* Placing: holds over any partitions, sums, rejects in their order. */
#include "tests/engine/kit.h"

static struct hf_command *one_line(struct kit *kit, unsigned sku, uint32_t quantity)
{
    struct hf_command *command = kit_place_begin(kit, kit_sku_id(kit, sku), 1000);
    kit_line(command, kit_sku(sku), 1, quantity);
    return command;
}

static void a_place_holds_the_units_and_answers_when_the_hold_ends(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 3, 10);
    struct hf_id id = kit_sku_id(kit, 2);
    assert_int_equal(kit_place(kit, id, 2, 4, 5000), HF_OK);
    assert_int_equal(kit_answer(kit)->order, HF_HELD);
    assert_int_equal(kit_answer(kit)->version, 1);
    assert_int_equal(kit_answer(kit)->due_ns, kit->now_ns + 5 * KIT_S);
    const struct hf_touch *touch = (const struct hf_touch *)(void *)(kit_record(kit) + 1);
    assert_int_equal(touch->reserved, 4);
    assert_int_equal(touch->sellable, 10);
    assert_int_equal(touch->cell_version, 2);
    assert_int_equal(kit_cell(kit, 2, 1).available, 6);
    assert_int_equal(kit_get_order(kit, id), HF_OK);
    const struct hf_order_item *item = kit_items(kit);
    const struct hf_order_line_item *line = (const void *)(item + 1);
    assert_int_equal(item->line_count, 1);
    assert_int_equal(item->customer, 7);
    assert_int_equal(line->quantity, 4);
    assert_int_equal(line->price, 1999);
    kit_audit(kit);
    kit_replay(kit);
    kit_free(kit);
}

static void a_repeat_gets_the_first_answer_and_another_body_is_a_reuse(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 10);
    struct hf_id id = kit_sku_id(kit, 1);
    assert_int_equal(kit_place(kit, id, 1, 4, 5000), HF_OK);
    uint64_t digest = hf_engine_digest(kit->engine);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(kit_place(kit, id, 1, 4, 5000), HF_OK);
        assert_int_equal(kit_answer(kit)->flags, HF_ANSWER_REPEATED);
        assert_int_equal(kit->step.outcome_bytes, 0);
        assert_true(kit->step.reads_state);
    }
    assert_int_equal(hf_engine_digest(kit->engine), digest);
    struct hf_command *other = kit_place_begin(kit, id, 5000);
    kit_line(other, kit_sku(1), 1, 5);
    kit_refused(kit, other, HF_ID_REUSED);
    kit_cancel(kit, id);
    assert_int_equal(kit_place(kit, id, 1, 4, 5000), HF_OK);
    assert_int_equal(kit_answer(kit)->order, HF_CANCELLED);
    kit_free(kit);
}

static void a_retry_under_another_trace_is_the_same_body(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 10);
    struct hf_id id = kit_sku_id(kit, 1);
    for (int i = 0; i < 2; i++) {
        struct hf_command *command = kit_place_begin(kit, id, 1000);
        kit_line(command, kit_sku(1), 1, 4);
        kit_extend_with(command, HF_EXT_TRACE_CONTEXT, i ? "another trace" : "one");
        assert_int_equal(kit_step(kit, command), HF_OK);
    }
    assert_int_equal(kit_answer(kit)->flags, HF_ANSWER_REPEATED);
    kit_free(kit);
}

static void a_retry_after_a_reject_is_judged_anew(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 3);
    struct hf_id id = kit_sku_id(kit, 1);
    assert_int_equal(kit_place(kit, id, 1, 4, 5000), HF_SHORT);
    kit_receive(kit, 1, 1, 1);
    assert_int_equal(kit_place(kit, id, 1, 4, 5000), HF_OK);
    assert_int_equal(kit_answer(kit)->flags, 0);
    kit_free(kit);
}

static void lines_of_one_cell_are_summed_before_the_check(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 2, 10);
    struct hf_command *command = kit_place_begin(kit, kit_sku_id(kit, 1), 1000);
    kit_line(command, kit_sku(1), 1, 6);
    kit_line(command, kit_sku(2), 1, 1);
    kit_line(command, kit_sku(1), 1, 5);
    kit_refused(kit, command, HF_SHORT);
    const struct hf_short_item *item = kit_items(kit);
    assert_int_equal(kit_answer(kit)->item_count, 2);
    assert_int_equal(item[0].line, 0);
    assert_int_equal(item[0].asked, 11);
    assert_int_equal(item[0].available, 10);
    assert_int_equal(item[1].line, 2);
    ((struct hf_line *)(void *)(command + 1))[2].quantity = 4;
    assert_int_equal(kit_step(kit, command), HF_OK);
    const struct hf_touch *touch = (const struct hf_touch *)(void *)(kit_record(kit) + 1);
    assert_int_equal(touch[0].reserved, 10);
    assert_int_equal(touch[2].reserved, 10);
    assert_int_equal(touch[2].quantity, 4);
    assert_int_equal(touch[0].cell_version, touch[2].cell_version);
    kit_audit(kit);
    kit_replay(kit);
    kit_free(kit);
}

static void an_order_of_256_lines_over_partitions_is_held_whole_or_not_at_all(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 256, 2);
    struct hf_command *command = kit_place_begin(kit, kit_sku_id(kit, 1), 1000);
    for (unsigned sku = 1; sku <= 256; sku++)
        kit_line(command, kit_sku(sku), 1, sku == 200 ? 3 : 1);
    uint32_t reach[HF_REACH_MAX];
    unsigned count = hf_engine_reach(kit->engine, command, reach);
    assert_int_equal(count, 16);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(reach[i], i);
    kit_refused(kit, command, HF_SHORT);
    assert_int_equal(kit_answer(kit)->detail, 199);
    assert_int_equal(kit_answer(kit)->item_count, 1);
    ((struct hf_line *)(void *)(command + 1))[199].quantity = 2;
    assert_int_equal(kit_step(kit, command), HF_OK);
    assert_int_equal(kit_cell(kit, 200, 1).reserved, 2);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_LINES), 255);
    kit->now_ns += 2 * KIT_S;
    assert_int_equal(kit_sweep(kit), 1);
    for (unsigned sku = 1; sku <= 256; sku++)
        assert_int_equal(kit_cell(kit, sku, 1).reserved, 0);
    kit_audit(kit);
    kit_replay(kit);
    kit_free(kit);
}

static void exactly_the_stock_is_granted_to_ten_thousand(void **state)
{
    (void)state;
    struct hf_engine_options options = kit_options(16, 16384);
    struct kit *kit = kit_new(&options);
    kit_stock(kit, 1, 100);
    unsigned granted = 0;
    for (int i = 0; i < 10000; i++)
        granted += kit_place(kit, kit_sku_id(kit, 1), 1, 1, 100000) == HF_OK;
    assert_int_equal(granted, 100);
    kit_audit(kit);
    kit_free(kit);
}

/* Each command breaks the rule under test and all those that stand after it, so that a wrong order would answer something else. */
static void rejects_come_in_their_documented_order(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 3, 10);
    uint64_t now_ms = kit->now_ns / KIT_MS;
    struct hf_sku none = kit_sku(999);
    struct hf_command *command = kit_begin(kit, HF_DEFINE_POLICY, kit_sku_id(kit, 2));
    kit_line(command, kit_sku(2), 0, 0);
    command->body.policy.per_order = 3;
    command->body.policy.per_customer = 2;
    command->body.policy.closes_ms = now_ms - 1;
    assert_int_equal(kit_step(kit, command), HF_OK);
    kit_mark(kit, now_ms - 10000);

    command = kit_place_begin(kit, kit_id_at(kit, 0, now_ms - 10000), 0);
    kit_line(command, kit_sku(2), 1, 100);
    kit_line(command, kit_sku(3), 9, 100);
    kit_line(command, none, 1, 100);
    command->body.place.channel = 9;
    kit->shed = true;
    kit->shed_result = HF_BUSY;
    kit_refused(kit, command, HF_ID_TOO_OLD);
    command->id = kit_id_at(kit, 1, now_ms + 3600001);
    kit_refused(kit, command, HF_ID_IN_FUTURE);
    struct hf_sku second = kit_sku(2);
    uint16_t route = hf_route(&second);
    command->id = kit_id_at(kit, (uint16_t)(route + 1), now_ms + 3600000);
    kit_refused(kit, command, HF_WRONG_ROUTE);
    command->id = kit_id_at(kit, (uint16_t)(route + 16), now_ms);
    kit_refused(kit, command, HF_WRONG_ROUTE);
    command->id = kit_id_at(kit, route, now_ms);
    kit_refused(kit, command, HF_BUSY);
    kit->shed = false;
    kit_refused(kit, command, HF_BAD_ARGUMENT);
    command->arg = 2592000001u;
    kit_refused(kit, command, HF_BAD_ARGUMENT);
    command->arg = 2592000000u;
    command->body.place.mode = 1;
    kit_refused(kit, command, HF_BAD_ARGUMENT);
    command->body.place.mode = 0;
    kit_refused(kit, command, HF_UNKNOWN_CHANNEL);
    command->body.place.channel = HF_CHANNEL_WEB;
    kit_refused(kit, command, HF_UNKNOWN_SKU);
    assert_int_equal(kit_answer(kit)->detail, 2);
    struct hf_line *line = (struct hf_line *)(void *)(command + 1);
    line[2].sku = kit_sku(1);
    kit_refused(kit, command, HF_UNKNOWN_LOCATION);
    assert_int_equal(kit_answer(kit)->detail, 1);
    line[1].location = 1;
    kit_refused(kit, command, HF_NOT_ON_SALE);
    line[0].location = 3; /* a cell that never had stock: the SKU's rules hold all the same */
    kit_refused(kit, command, HF_NOT_ON_SALE);

    struct hf_command *policy = kit_begin(kit, HF_DEFINE_POLICY, kit_sku_id(kit, 2));
    kit_line(policy, kit_sku(2), 0, 0);
    policy->body.policy.per_order = 3;
    policy->body.policy.per_customer = 2;
    assert_int_equal(kit_step(kit, policy), HF_OK);
    command = kit_place_begin(kit, kit_sku_id(kit, 2), 1000);
    line = kit_line(command, kit_sku(2), 1, 2);
    kit_line(command, kit_sku(2), 2, 2);
    kit_line(command, kit_sku(3), 1, 11);
    kit_refused(kit, command, HF_LIMIT_PER_ORDER);
    line[1].quantity = 1;
    kit_refused(kit, command, HF_LIMIT_PER_CUSTOMER);
    line[0].quantity = 1;
    kit_refused(kit, command, HF_SHORT); /* location 2 has none, line 2 asks too much */
    assert_int_equal(kit_answer(kit)->item_count, 2);
    assert_int_equal(kit_answer(kit)->detail, 1);
    line[1].location = 1;
    line[2].quantity = 10;
    struct hf_quota before = kit->quota;
    kit->quota.left[HF_TABLE_ORDERS] = kit->quota.left[HF_TABLE_LINES] = kit->quota.left[HF_TABLE_LIMITS] = 0;
    kit_refused(kit, command, HF_FULL);
    assert_int_equal(kit_answer(kit)->detail, HF_TABLE_ORDERS);
    kit->quota.left[HF_TABLE_ORDERS] = 1;
    kit->quota.left[HF_TABLE_LINES] = 1;
    kit_refused(kit, command, HF_FULL);
    assert_int_equal(kit_answer(kit)->detail, HF_TABLE_LINES);
    kit->quota.left[HF_TABLE_LINES] = 2;
    kit_refused(kit, command, HF_FULL);
    assert_int_equal(kit_answer(kit)->detail, HF_TABLE_LIMITS);
    kit->quota = before;
    assert_int_equal(kit_step(kit, command), HF_OK);
    kit_audit(kit);
    kit_replay(kit);
    kit_free(kit);
}

static void shedding_still_answers_repeats_and_lets_facts_through(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 10);
    struct hf_id id = kit_sku_id(kit, 1);
    assert_int_equal(kit_place(kit, id, 1, 4, 5000), HF_OK);
    kit->shed = true;
    kit->shed_result = HF_NO_SPACE;
    kit_refused(kit, one_line(kit, 1, 1), HF_NO_SPACE);
    assert_int_equal(kit_place(kit, id, 1, 4, 5000), HF_OK);
    assert_int_equal(kit_receive(kit, 1, 1, 5), HF_OK);
    kit->shed_result = HF_DRAINING;
    assert_int_equal(kit_receive(kit, 1, 1, 5), HF_DRAINING);
    assert_int_equal(kit_settle(kit, id, 100), HF_DRAINING);
    kit->shed_result = HF_BUSY;
    assert_int_equal(kit_settle(kit, id, 100), HF_OK);
    kit_free(kit);
}

static void room_comes_back_when_orders_are_forgotten(void **state)
{
    (void)state;
    struct hf_engine_options options = kit_options(4, 64);
    options.orders_max = 8;
    struct kit *kit = kit_new(&options);
    kit_stock(kit, 2, 1000);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 8; i++)
            assert_int_equal(kit_place(kit, kit_sku_id(kit, 1), 1, 1, 100), HF_OK);
        assert_int_equal(kit_place(kit, kit_sku_id(kit, 1), 1, 1, 100), HF_FULL);
        assert_int_equal(kit_answer(kit)->detail, HF_TABLE_ORDERS);
        assert_string_equal(hf_table_option(kit_answer(kit)->detail), "--max-orders");
        kit->now_ns += KIT_S;
        kit_sweep(kit);
        assert_int_equal(kit_place(kit, kit_sku_id(kit, 1), 1, 1, 100), HF_FULL);
        kit_forget_all(kit);
        assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_ORDERS), 0);
        assert_int_equal(kit->quota.left[HF_TABLE_ORDERS], 8);
    }
    kit_audit(kit);
    kit_replay(kit);
    kit_free(kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_holds_the_units_and_answers_when_the_hold_ends),
        cmocka_unit_test(a_repeat_gets_the_first_answer_and_another_body_is_a_reuse),
        cmocka_unit_test(a_retry_under_another_trace_is_the_same_body),
        cmocka_unit_test(a_retry_after_a_reject_is_judged_anew),
        cmocka_unit_test(lines_of_one_cell_are_summed_before_the_check),
        cmocka_unit_test(an_order_of_256_lines_over_partitions_is_held_whole_or_not_at_all),
        cmocka_unit_test(exactly_the_stock_is_granted_to_ten_thousand),
        cmocka_unit_test(rejects_come_in_their_documented_order),
        cmocka_unit_test(shedding_still_answers_repeats_and_lets_facts_through),
        cmocka_unit_test(room_comes_back_when_orders_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
