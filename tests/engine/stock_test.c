/* Receive, adjust and set: one cell and its version, and facts that break promises. */
#include "tests/engine/kit.h"

static struct kit *shop(void)
{
    struct kit *kit = kit_small();
    kit_stock(kit, 2, 10);
    return kit;
}

static void done(struct kit *kit)
{
    kit_audit(kit);
    kit_replay(kit);
    kit_free(kit);
}

static void a_receipt_answers_the_cell_it_made(void **state)
{
    (void)state;
    struct kit *kit = shop();
    assert_int_equal(kit_receive(kit, 1, 2, 7), HF_OK);
    assert_int_equal(kit_answer(kit)->version, 1);
    assert_int_equal(kit_answer(kit)->value, 7);
    const struct hf_cell_item *item = kit_items(kit);
    assert_int_equal(item->sellable, 7);
    const struct hf_named_touch *touch = (const void *)(kit_record(kit) + 1);
    assert_int_equal(touch->touch.quantity, 7);
    assert_int_equal(touch->touch.location, 2);
    struct hf_command *command = kit_begin(kit, HF_RECEIVE, kit_sku_id(kit, 1));
    kit_line(command, kit_sku(1), 2, 5);
    command->arg = HF_QUALITY_CONTROL;
    assert_int_equal(kit_step(kit, command), HF_OK);
    assert_int_equal(touch->touch.flags, HF_TOUCH_OTHER_BUCKET);
    assert_int_equal(kit_answer(kit)->value, 12);
    assert_int_equal(kit_cell(kit, 1, 2).available, 7);
    done(kit);
}

static void a_repeat_of_a_stock_command_changes_nothing(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_command *command = kit_begin(kit, HF_RECEIVE, kit_sku_id(kit, 1));
    struct hf_line *line = kit_line(command, kit_sku(1), 1, 5);
    assert_int_equal(kit_step(kit, command), HF_OK);
    kit_refused(kit, command, HF_OK);
    assert_int_equal(kit_answer(kit)->flags, HF_ANSWER_REPEATED);
    assert_int_equal(kit_answer(kit)->value, 15);
    assert_int_equal(((const struct hf_cell_item *)kit_items(kit))->sellable, 15);
    line->quantity = 6;
    kit_refused(kit, command, HF_ID_REUSED);
    done(kit);
}

static void a_command_id_that_is_an_orders_id_is_a_reuse(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = kit_sku_id(kit, 1);
    assert_int_equal(kit_place(kit, id, 1, 1, 1000), HF_OK);
    struct hf_command *command = kit_begin(kit, HF_RECEIVE, id);
    kit_line(command, kit_sku(1), 1, 5);
    kit_refused(kit, command, HF_ID_REUSED);
    done(kit);
}

static void stock_rejects_come_in_their_documented_order(void **state)
{
    (void)state;
    struct kit *kit = shop();
    uint64_t now_ms = kit->now_ns / KIT_MS;
    kit_mark(kit, now_ms - 1000);
    struct hf_sku sku = kit_sku(99), known = kit_sku(1);
    struct hf_command *command = kit_set_begin(kit, 99, 9, INT64_MAX);
    struct hf_line *line = (struct hf_line *)(void *)(command + 1);
    command->arg = 3;
    command->body.stock.version = 77;
    command->id = kit_id_at(kit, 1, now_ms - 1000);
    kit_refused(kit, command, HF_ID_TOO_OLD);
    command->id = kit_id_at(kit, 1, now_ms + 3700000);
    kit_refused(kit, command, HF_ID_IN_FUTURE);
    command->id = kit_id_at(kit, (uint16_t)(hf_route(&sku) ^ 0x8000), now_ms);
    kit_refused(kit, command, HF_WRONG_ROUTE);
    command->id = kit_id_at(kit, hf_route(&sku), now_ms);
    kit_refused(kit, command, HF_BAD_ARGUMENT);
    command->arg = HF_SELLABLE;
    kit_refused(kit, command, HF_RESERVED_NOT_ZERO);
    command->flags = HF_FLAG_EXPECT_VERSION | HF_FLAG_SOURCE;
    kit_refused(kit, command, HF_UNKNOWN_SKU);
    line->sku = known;
    command->id = kit_sku_id(kit, 1);
    kit_refused(kit, command, HF_UNKNOWN_LOCATION);
    line->location = 1;
    kit_refused(kit, command, HF_STALE_VERSION);
    assert_int_equal(kit_answer(kit)->version, 1);
    command->body.stock.version = 1;
    kit_refused(kit, command, HF_OVERFLOW);
    command->body.stock.value = -1;
    kit_refused(kit, command, HF_BELOW_ZERO);
    command->body.stock.value = 4;
    kit->quota.left[HF_TABLE_LINES] = 0;
    kit_refused(kit, command, HF_FULL);
    assert_int_equal(kit_answer(kit)->detail, HF_TABLE_LINES);
    kit->quota.left[HF_TABLE_LINES] = 4 * 4096;
    assert_int_equal(kit_step(kit, command), HF_OK);
    line->location = 2;
    command->id = kit_sku_id(kit, 1);
    command->body.stock.version = 0;
    kit->quota.left[HF_TABLE_CELLS] = 0;
    kit_refused(kit, command, HF_FULL);
    assert_int_equal(kit_answer(kit)->detail, HF_TABLE_CELLS);
    done(kit);
}

static void an_adjustment_wants_a_reason_and_stays_above_zero(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_command *command = kit_begin(kit, HF_ADJUST, kit_sku_id(kit, 1));
    kit_line(command, kit_sku(1), 1, 0);
    command->body.stock.value = -4;
    kit_refused(kit, command, HF_BAD_EXTENSION);
    assert_int_equal(kit_adjust(kit, 1, 1, 0, 0), HF_BAD_ARGUMENT);
    assert_int_equal(kit_adjust(kit, 1, 1, -11, 0), HF_BELOW_ZERO);
    assert_int_equal(kit_adjust(kit, 1, 1, -11, HF_FLAG_FORCE), HF_OK);
    const struct hf_named_touch *touch = (const void *)(kit_record(kit) + 1);
    assert_int_equal(touch->touch.quantity, 11);
    assert_int_equal(touch->touch.flags, HF_TOUCH_NEGATIVE | HF_TOUCH_OVERSOLD);
    assert_int_equal(touch->touch.sellable, -1);
    assert_int_equal(kit_adjust(kit, 1, 1, 0x7fffffff, 0), HF_OK);
    assert_int_equal(kit_adjust(kit, 1, 1, 2, 0), HF_OVERFLOW);
    assert_int_equal(kit_receive(kit, 1, 1, 2), HF_OVERFLOW);
    done(kit);
}

static void lowering_stock_under_promises_flags_and_never_clamps(void **state)
{
    (void)state;
    struct kit *kit = shop();
    assert_int_equal(kit_place(kit, kit_sku_id(kit, 1), 1, 8, 100000), HF_OK);
    assert_int_equal(kit_step(kit, kit_set_begin(kit, 1, 1, 3)), HF_OK);
    const struct hf_named_touch *touch = (const void *)(kit_record(kit) + 1);
    assert_true(touch->touch.flags & HF_TOUCH_OVERSOLD);
    assert_int_equal(kit_cell(kit, 1, 1).available, -5);
    assert_int_equal(kit_cell(kit, 1, 1).reserved, 8);
    assert_int_equal(kit_place(kit, kit_sku_id(kit, 1), 1, 1, 1000), HF_SHORT);
    assert_int_equal(((const struct hf_short_item *)kit_items(kit))->available, -5);
    struct hf_audit_item audit;
    hf_engine_audit(kit->engine, &audit);
    assert_int_equal(audit.oversold_cells, 1);
    kit_receive(kit, 1, 1, 5);
    assert_false(touch->touch.flags & HF_TOUCH_OVERSOLD);
    done(kit);
}

static unsigned feed(struct kit *kit, uint64_t source, uint64_t sequence, int64_t value, uint8_t flags)
{
    struct hf_command *command = kit_set_begin(kit, 1, 1, value);
    command->flags = HF_FLAG_SOURCE | flags;
    command->body.stock.source = source;
    command->body.stock.sequence = sequence;
    return kit_step(kit, command);
}

static void a_stale_sequence_is_answered_and_never_applied(void **state)
{
    (void)state;
    struct kit *kit = shop();
    assert_int_equal(feed(kit, 5, 100, 50, 0), HF_OK);
    assert_int_equal(kit_place(kit, kit_sku_id(kit, 1), 1, 8, 100000), HF_OK);
    assert_int_equal(feed(kit, 5, 100, 40, 0), HF_NOT_APPLIED);
    assert_int_equal(kit->step.outcome_bytes, 0);
    assert_int_equal(feed(kit, 5, 99, 40, HF_FLAG_FORCE), HF_NOT_APPLIED);
    assert_int_equal(feed(kit, 6, 200, 40, 0), HF_NOT_APPLIED);
    assert_int_equal(kit_cell(kit, 1, 1).sellable, 50);
    assert_int_equal(feed(kit, 5, 101, 40, 0), HF_OK);
    assert_int_equal(feed(kit, 6, 1, 30, HF_FLAG_FORCE), HF_OK);
    assert_int_equal(feed(kit, 5, 102, 20, 0), HF_NOT_APPLIED);
    assert_int_equal(kit_cell(kit, 1, 1).sellable, 30);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_LINES), 1);
    done(kit);
}

static void compare_and_set_sees_every_change(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_command *command = kit_set_begin(kit, 1, 1, 20);
    command->flags = HF_FLAG_EXPECT_VERSION;
    command->body.stock.version = kit_cell(kit, 1, 1).version;
    kit_place(kit, kit_sku_id(kit, 1), 1, 1, 1000);
    command = kit_set_begin(kit, 1, 1, 20);
    command->flags = HF_FLAG_EXPECT_VERSION;
    command->body.stock.version = 1;
    kit_refused(kit, command, HF_STALE_VERSION);
    command->body.stock.version = 2;
    assert_int_equal(kit_step(kit, command), HF_OK);
    assert_int_equal(kit_answer(kit)->version, 3);
    assert_int_equal(kit_step(kit, kit_set_begin(kit, 1, 1, 20)), HF_OK);
    assert_int_equal(kit_answer(kit)->version, 3); /* it was 20 already */
    done(kit);
}

static void command_ids_are_remembered_until_the_mark_passes_them(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_command *command = kit_begin(kit, HF_RECEIVE, kit_sku_id(kit, 1));
    kit_line(command, kit_sku(1), 1, 5);
    assert_int_equal(kit_step(kit, command), HF_OK);
    _Alignas(8) uint8_t copy[96];
    memcpy(copy, command, sizeof copy);
    kit_forget_all(kit);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_COMMAND_IDS), 0);
    kit_refused(kit, (struct hf_command *)(void *)copy, HF_ID_TOO_OLD);
    done(kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_receipt_answers_the_cell_it_made),
        cmocka_unit_test(a_repeat_of_a_stock_command_changes_nothing),
        cmocka_unit_test(a_command_id_that_is_an_orders_id_is_a_reuse),
        cmocka_unit_test(stock_rejects_come_in_their_documented_order),
        cmocka_unit_test(an_adjustment_wants_a_reason_and_stays_above_zero),
        cmocka_unit_test(lowering_stock_under_promises_flags_and_never_clamps),
        cmocka_unit_test(a_stale_sequence_is_answered_and_never_applied),
        cmocka_unit_test(compare_and_set_sees_every_change),
        cmocka_unit_test(command_ids_are_remembered_until_the_mark_passes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
