/* Settle, payment, ship, cancel, extend: one table of transitions, and what is remembered of them. */
#include "tests/engine/kit.h"

static struct hf_id held(struct kit *kit, uint32_t quantity, uint32_t ttl_ms)
{
    struct hf_id id = kit_sku_id(kit, 1);
    assert_int_equal(kit_place(kit, id, 1, quantity, ttl_ms), HF_OK);
    return id;
}

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

static void states_are(struct kit *kit, unsigned order, unsigned payment, unsigned fulfilment)
{
    assert_int_equal(kit_answer(kit)->order, order);
    assert_int_equal(kit_answer(kit)->payment, payment);
    assert_int_equal(kit_answer(kit)->fulfilment, fulfilment);
}

static void intent_is(struct kit *kit, uint32_t number, unsigned kind, int64_t amount)
{
    assert_int_equal(kit_record(kit)->intent_count, 1);
    const struct hf_intent *intent = (const void *)(kit->record + kit->step.outcome_bytes - sizeof *intent);
    assert_int_equal(intent->number, number);
    assert_int_equal(intent->kind, kind);
    assert_int_equal(intent->amount, amount);
    assert_memory_equal(intent->currency, "EUR", 3);
    assert_int_equal(kit_answer(kit)->value, number);
}

static void settle_capture_and_ship_take_an_order_to_its_end(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = held(kit, 4, 5000);
    assert_int_equal(kit_settle(kit, id, 7996), HF_OK);
    states_are(kit, HF_CONFIRMED, HF_PAY_CAPTURE_PENDING, 0);
    intent_is(kit, 1, HF_INTENT_CAPTURE, 7996);
    assert_int_equal(kit_answer(kit)->due_ns, 0);
    assert_int_equal(kit_answer(kit)->version, 2);
    assert_int_equal(kit_cell(kit, 1, 1).allocated, 4);
    assert_int_equal(kit_cell(kit, 1, 1).reserved, 0);
    assert_int_equal(kit_payment(kit, id, 1, HF_STATUS_CAPTURED, 7996), HF_OK);
    states_are(kit, HF_CONFIRMED, HF_PAY_CAPTURED, 0);
    assert_int_equal(kit_record(kit)->line_count, 0);
    assert_int_equal(kit_ship(kit, id), HF_OK);
    states_are(kit, HF_CLOSED, HF_PAY_CAPTURED, HF_SHIPPED);
    const struct hf_named_touch *touch = (const void *)(kit_record(kit) + 1);
    assert_int_equal(touch->touch.sellable, 6);
    assert_int_equal(touch->touch.allocated, 0);
    assert_int_equal(kit_get_order(kit, id), HF_OK);
    const struct hf_order_item *item = kit_items(kit);
    assert_int_equal(item->captured, 7996);
    assert_int_equal(((const struct hf_order_line_item *)(const void *)(item + 1))->shipped, 4);
    kit_forget_all(kit);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_ORDERS), 0);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_COMMAND_IDS), 0);
    done(kit);
}

static void every_other_transition_is_a_bad_state(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = held(kit, 1, 5000);
    kit_refused(kit, kit_verb_begin(kit, HF_SHIP, id), HF_BAD_STATE);
    kit_refused(kit, kit_verb_begin(kit, HF_PAYMENT_RESULT, id), HF_BAD_ARGUMENT);
    assert_int_equal(kit_payment(kit, id, 1, HF_STATUS_CAPTURED, 5), HF_UNKNOWN_INTENT);
    kit_settle(kit, id, 5);
    kit_refused(kit, kit_settle_begin(kit, id, 5), HF_BAD_STATE);
    states_are(kit, HF_CONFIRMED, HF_PAY_CAPTURE_PENDING, 0);
    assert_true(kit->step.reads_state);
    assert_int_equal(kit_extend(kit, id, 1000), HF_BAD_STATE);
    assert_int_equal(kit_payment(kit, id, 1, HF_STATUS_REFUNDED, 5), HF_BAD_STATE);
    assert_int_equal(kit_payment(kit, id, 2, HF_STATUS_CAPTURED, 5), HF_UNKNOWN_INTENT);
    assert_int_equal(kit_payment(kit, id, 1, HF_STATUS_CAPTURED, 6), HF_AMOUNT_MISMATCH);
    kit_ship(kit, id);
    assert_int_equal(kit_ship(kit, id), HF_BAD_STATE);
    assert_int_equal(kit_cancel(kit, id), HF_BAD_STATE);
    assert_int_equal(kit_payment(kit, id, 1, HF_STATUS_FAILED, 5), HF_OK);
    states_are(kit, HF_CLOSED, HF_PAY_FAILED, HF_SHIPPED);
    done(kit);
}

static void cancel_gives_back_what_was_held_or_allocated(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = held(kit, 4, 5000);
    assert_int_equal(kit_cancel(kit, id), HF_OK);
    states_are(kit, HF_CANCELLED, 0, 0);
    assert_int_equal(kit_cell(kit, 1, 1).available, 10);
    id = held(kit, 4, 5000);
    kit_settle(kit, id, 100);
    kit_payment(kit, id, 1, HF_STATUS_CAPTURED, 100);
    assert_int_equal(kit_cancel(kit, id), HF_OK);
    states_are(kit, HF_CANCELLED, HF_PAY_REFUND_DUE, 0);
    intent_is(kit, 2, HF_INTENT_REFUND, 100);
    assert_int_equal(kit_cell(kit, 1, 1).available, 10);
    assert_int_equal(kit_payment(kit, id, 2, HF_STATUS_FAILED, 100), HF_BAD_STATE);
    assert_int_equal(kit_payment(kit, id, 2, HF_STATUS_REFUNDED, 100), HF_OK);
    states_are(kit, HF_CANCELLED, HF_PAY_REFUNDED, 0);
    done(kit);
}

static void a_capture_that_comes_after_the_cancel_is_refunded(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = held(kit, 4, 5000);
    kit_settle(kit, id, 100);
    assert_int_equal(kit_cancel(kit, id), HF_OK);
    states_are(kit, HF_CANCELLED, HF_PAY_CAPTURE_PENDING, 0);
    kit_forget_all(kit);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_ORDERS), 1); /* its money is still open */
    assert_int_equal(kit_payment(kit, id, 1, HF_STATUS_CAPTURED, 100), HF_OK);
    states_are(kit, HF_CANCELLED, HF_PAY_REFUND_DUE, 0);
    intent_is(kit, 2, HF_INTENT_REFUND, 100);
    assert_int_equal(kit_payment(kit, id, 2, HF_STATUS_REFUNDED, 100), HF_OK);
    kit_forget_all(kit);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_ORDERS), 0);
    done(kit);
}

static void a_failed_payment_can_be_settled_again(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = held(kit, 4, 5000);
    kit_settle(kit, id, 100);
    assert_int_equal(kit_payment(kit, id, 1, HF_STATUS_FAILED, 100), HF_OK);
    states_are(kit, HF_CONFIRMED, HF_PAY_FAILED, 0);
    assert_int_equal(kit_ship(kit, id), HF_BAD_STATE);
    assert_int_equal(kit_settle(kit, id, 90), HF_OK);
    intent_is(kit, 2, HF_INTENT_CAPTURE, 90);
    assert_int_equal(kit_payment(kit, id, 2, HF_STATUS_CAPTURED, 90), HF_OK);
    assert_int_equal(kit_cell(kit, 1, 1).allocated, 4);
    done(kit);
}

static void settle_after_expiry_holds_again_when_there_is_stock(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = held(kit, 4, 1000);
    kit->now_ns += 2 * KIT_S;
    kit_sweep(kit);
    assert_int_equal(kit_cell(kit, 1, 1).available, 10);
    assert_int_equal(kit_settle(kit, id, 100), HF_OK);
    states_are(kit, HF_CONFIRMED, HF_PAY_CAPTURE_PENDING, 0);
    assert_int_equal(kit_cell(kit, 1, 1).allocated, 4);
    done(kit);
}

static void settle_after_expiry_without_stock_owes_the_money_back(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_command *command = kit_place_begin(kit, kit_sku_id(kit, 1), 1000);
    struct hf_id id = command->id;
    kit_line(command, kit_sku(1), 1, 3);
    kit_line(command, kit_sku(1), 1, 3);
    assert_int_equal(kit_step(kit, command), HF_OK);
    kit->now_ns += 2 * KIT_S;
    kit_sweep(kit);
    held(kit, 5, 100000); /* 5 left: each line would fit, both together do not */
    struct hf_command *settle = kit_settle_begin(kit, id, 100);
    assert_int_equal(kit_step(kit, settle), HF_STOCK_LOST);
    states_are(kit, HF_EXPIRED, HF_PAY_REFUND_DUE, 0);
    intent_is(kit, 1, HF_INTENT_REFUND, 100);
    assert_int_equal(kit_record(kit)->result, HF_STOCK_LOST);
    assert_int_equal(kit_step(kit, settle), HF_STOCK_LOST);
    assert_int_equal(kit_answer(kit)->flags, HF_ANSWER_REPEATED);
    assert_int_equal(kit_answer(kit)->value, 1);
    assert_int_equal(kit_settle(kit, id, 100), HF_BAD_STATE);
    assert_int_equal(kit_payment(kit, id, 1, HF_STATUS_REFUNDED, 100), HF_OK);
    done(kit);
}

static void limit_customer(struct kit *kit, uint32_t units)
{
    struct hf_command *command = kit_begin(kit, HF_DEFINE_POLICY, kit_sku_id(kit, 1));
    kit_line(command, kit_sku(1), 0, 0);
    command->body.policy.per_customer = units;
    assert_int_equal(kit_step(kit, command), HF_OK);
}

static void units_held_again_count_for_their_customer(void **state)
{
    (void)state;
    struct kit *kit = shop();
    limit_customer(kit, 3);
    struct hf_command *command = kit_place_begin(kit, kit_sku_id(kit, 1), 1000);
    struct hf_id id = command->id;
    kit_line(command, kit_sku(1), 1, 1);
    kit_line(command, kit_sku(1), 1, 1);
    assert_int_equal(kit_step(kit, command), HF_OK);
    kit->now_ns += 2 * KIT_S;
    kit_sweep(kit);
    assert_int_equal(kit_settle(kit, id, 100), HF_OK);
    assert_int_equal(kit_place(kit, kit_sku_id(kit, 1), 1, 2, 1000), HF_LIMIT_PER_CUSTOMER);
    assert_int_equal(kit_place(kit, kit_sku_id(kit, 1), 1, 1, 1000), HF_OK);
    assert_int_equal(kit_cancel(kit, id), HF_OK);
    assert_int_equal(kit_place(kit, kit_sku_id(kit, 1), 1, 2, 1000), HF_OK);
    done(kit);
}

static void settle_after_expiry_beyond_the_limit_of_its_customer_owes_the_money_back(void **state)
{
    (void)state;
    struct kit *kit = shop();
    limit_customer(kit, 3);
    struct hf_id id = held(kit, 3, 1000);
    kit->now_ns += 2 * KIT_S;
    kit_sweep(kit);
    struct hf_id second = held(kit, 3, 1000);
    assert_int_equal(kit_settle(kit, id, 100), HF_STOCK_LOST);
    states_are(kit, HF_EXPIRED, HF_PAY_REFUND_DUE, 0);
    assert_int_equal(kit_settle(kit, second, 100), HF_OK);
    assert_int_equal(kit_cell(kit, 1, 1).allocated, 3);
    done(kit);
}

static void units_held_again_count_under_a_limit_that_came_later(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = held(kit, 2, 1000);
    kit->now_ns += 2 * KIT_S;
    kit_sweep(kit);
    limit_customer(kit, 2);
    assert_int_equal(kit_settle(kit, id, 100), HF_OK);
    assert_int_equal(kit_place(kit, kit_sku_id(kit, 1), 1, 1, 1000), HF_LIMIT_PER_CUSTOMER);
    limit_customer(kit, 0);
    assert_int_equal(kit_place(kit, kit_sku_id(kit, 1), 1, 1, 1000), HF_OK);
    done(kit);
}

/* Goes to the nanosecond at which the home has an EXPIRE to give, and makes it. */
static void until_expiry(struct kit *kit, struct hf_id id, struct hf_command *expire)
{
    uint32_t home = hf_id_route(id) & 15;
    do {
        kit->now_ns = hf_engine_due(kit->engine, home);
    } while (!hf_engine_sweep(kit->engine, home, kit->now_ns, 64, expire));
    assert_int_equal(expire->opcode, HF_EXPIRE);
}

static void expiry_and_settle_at_the_same_nanosecond_have_one_end(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        struct kit *kit = shop();
        struct hf_id id = held(kit, 10, 1000);
        _Alignas(8) uint8_t room[HF_COMMAND_BYTES_MAX];
        struct hf_command *expire = (struct hf_command *)(void *)room;
        until_expiry(kit, id, expire);
        if (first == 0) {
            kit_step(kit, expire);
            assert_true(kit->step.outcome_bytes > 0);
        }
        assert_int_equal(kit_settle(kit, id, 100), HF_OK);
        if (first == 1)
            kit_refused(kit, expire, HF_OK);
        assert_int_equal(kit_cell(kit, 1, 1).allocated, 10);
        assert_int_equal(kit_cell(kit, 1, 1).reserved, 0);
        done(kit);
    }
}

static void expiry_and_cancel_at_the_same_nanosecond_have_one_end(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        struct kit *kit = shop();
        struct hf_id id = held(kit, 10, 1000);
        _Alignas(8) uint8_t room[HF_COMMAND_BYTES_MAX];
        struct hf_command *expire = (struct hf_command *)(void *)room;
        until_expiry(kit, id, expire);
        if (first == 0)
            kit_step(kit, expire);
        assert_int_equal(kit_cancel(kit, id), first == 0 ? HF_BAD_STATE : HF_OK);
        states_are(kit, first == 0 ? HF_EXPIRED : HF_CANCELLED, 0, 0);
        if (first == 1)
            kit_refused(kit, expire, HF_OK);
        assert_int_equal(kit_cell(kit, 1, 1).available, 10);
        done(kit);
    }
}

static void a_hold_past_its_end_lives_until_its_record(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = held(kit, 4, 1000), other = held(kit, 1, 1000);
    kit->now_ns += 10 * KIT_S;
    assert_int_equal(kit_extend(kit, id, 5000), HF_OK);
    assert_int_equal(kit_answer(kit)->due_ns, kit->now_ns + 5 * KIT_S);
    assert_int_equal(kit_settle(kit, other, 100), HF_OK);
    assert_int_equal(kit_sweep(kit), 0);
    assert_int_equal(kit_cell(kit, 1, 1).reserved, 4);
    done(kit);
}

static void extend_has_a_count_and_an_age(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = held(kit, 4, 1000);
    assert_int_equal(kit_extend(kit, id, 0), HF_BAD_ARGUMENT);
    assert_int_equal(kit_extend(kit, id, 2592000001u), HF_BAD_ARGUMENT);
    kit->now_ns += KIT_MS;
    assert_int_equal(kit_extend(kit, id, 2592000000u), HF_TOO_MANY);
    for (int i = 0; i < 16; i++)
        assert_int_equal(kit_extend(kit, id, 1000), HF_OK);
    assert_int_equal(kit_extend(kit, id, 1000), HF_TOO_MANY);
    done(kit);
}

static void an_order_keeps_64_answers_newer_than_the_mark(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = held(kit, 4, 1000);
    assert_int_equal(kit_settle(kit, id, 100), HF_OK);
    for (uint32_t intent = 1; intent <= 31; intent++) {
        assert_int_equal(kit_payment(kit, id, intent, HF_STATUS_FAILED, 100), HF_OK);
        assert_int_equal(kit_settle(kit, id, 100), HF_OK);
    }
    assert_int_equal(kit_payment(kit, id, 32, HF_STATUS_FAILED, 100), HF_OK);
    kit_refused(kit, kit_settle_begin(kit, id, 100), HF_TOO_MANY);
    kit->now_ns += KIT_S;
    kit_mark(kit, kit->now_ns / KIT_MS - 500);
    assert_int_equal(kit_settle(kit, id, 100), HF_OK);
    assert_int_equal(hf_side_at(&kit->engine->partitions[hf_id_route(id) & 15], 1)->remembered, 1);
    done(kit);
}

static void a_repeat_of_a_command_gets_its_first_result_and_the_states_of_now(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = held(kit, 4, 1000);
    struct hf_command *settle = kit_settle_begin(kit, id, 100);
    _Alignas(8) uint8_t copy[256];
    memcpy(copy, settle, settle->length);
    assert_int_equal(kit_step(kit, settle), HF_OK);
    kit_payment(kit, id, 1, HF_STATUS_CAPTURED, 100);
    assert_int_equal(kit_step(kit, (struct hf_command *)(void *)copy), HF_OK);
    assert_int_equal(kit_answer(kit)->flags, HF_ANSWER_REPEATED);
    assert_int_equal(kit_answer(kit)->value, 1);
    states_are(kit, HF_CONFIRMED, HF_PAY_CAPTURED, 0);
    ((struct hf_command *)(void *)copy)->body.verb.amount = 101;
    kit_refused(kit, (struct hf_command *)(void *)copy, HF_ID_REUSED);
    struct hf_command *cancel = kit_verb_begin(kit, HF_CANCEL, id);
    cancel->id = id;
    kit_refused(kit, cancel, HF_ID_REUSED);
    cancel->id = kit_id(kit, (uint16_t)(hf_id_route(id) + 1));
    kit_refused(kit, cancel, HF_WRONG_ROUTE);
    cancel->id = kit_id_at(kit, hf_id_route(id), kit->now_ns / KIT_MS + 3700000);
    kit_refused(kit, cancel, HF_ID_IN_FUTURE);
    done(kit);
}

static void settling_a_forgotten_order_owes_the_money_back_once(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = held(kit, 4, 1000);
    kit->now_ns += 2 * KIT_S;
    kit_forget_all(kit);
    struct hf_command *settle = kit_settle_begin(kit, id, 100);
    assert_int_equal(kit_step(kit, settle), HF_REFUND_DUE);
    intent_is(kit, 1, HF_INTENT_REFUND, 100);
    assert_int_equal(kit_record(kit)->payment, HF_PAY_REFUND_DUE);
    assert_int_equal(kit_step(kit, settle), HF_REFUND_DUE);
    assert_int_equal(kit_answer(kit)->flags, HF_ANSWER_REPEATED);
    assert_int_equal(kit->step.outcome_bytes, 0);
    settle->ext_bytes = 0;
    settle->length = sizeof *settle;
    settle->id = kit_id(kit, hf_id_route(id));
    kit_refused(kit, settle, HF_ID_TOO_OLD);
    kit_refused(kit, kit_verb_begin(kit, HF_CANCEL, id), HF_ID_TOO_OLD);
    kit_refused(kit, kit_verb_begin(kit, HF_CANCEL, kit_sku_id(kit, 1)), HF_UNKNOWN_ORDER);
    struct hf_command *place = kit_place_begin(kit, id, 1000);
    kit_line(place, kit_sku(1), 1, 4);
    kit_refused(kit, place, HF_ID_TOO_OLD);
    done(kit);
}

static void an_order_stays_while_it_remembers_a_command_newer_than_the_mark(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = held(kit, 4, 1000);
    struct hf_command *cancel = kit_verb_begin(kit, HF_CANCEL, id);
    cancel->id = kit_id_at(kit, hf_id_route(id), kit->now_ns / KIT_MS + 60000);
    assert_int_equal(kit_step(kit, cancel), HF_OK);
    kit_forget_all(kit);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_ORDERS), 1);
    kit->now_ns += 60 * KIT_S;
    kit_forget_all(kit);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_ORDERS), 0);
    done(kit);
}

static void a_settle_wants_an_amount_and_a_currency(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = held(kit, 4, 1000);
    kit_refused(kit, kit_settle_begin(kit, id, 0), HF_BAD_ARGUMENT);
    kit_refused(kit, kit_settle_begin(kit, id, -5), HF_BAD_ARGUMENT);
    struct hf_command *settle = kit_settle_begin(kit, id, 5);
    settle->body.verb.currency[2] = 'r';
    kit_refused(kit, settle, HF_BAD_ARGUMENT);
    done(kit);
}

static void settling_always_succeeds_on_an_oversold_cell(void **state)
{
    (void)state;
    struct kit *kit = shop();
    struct hf_id id = held(kit, 8, 100000);
    assert_int_equal(kit_adjust(kit, 1, 1, -7, 0), HF_OK);
    assert_int_equal(kit_cell(kit, 1, 1).oversold, 1);
    assert_int_equal(kit_cell(kit, 1, 1).available, -5);
    assert_int_equal(kit_settle(kit, id, 5), HF_OK);
    assert_int_equal(kit_ship(kit, id), HF_OK);
    assert_int_equal(kit_cell(kit, 1, 1).sellable, -5);
    assert_int_equal(kit_receive(kit, 1, 1, 5), HF_OK);
    assert_int_equal(kit_cell(kit, 1, 1).oversold, 0);
    done(kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settle_capture_and_ship_take_an_order_to_its_end),
        cmocka_unit_test(every_other_transition_is_a_bad_state),
        cmocka_unit_test(cancel_gives_back_what_was_held_or_allocated),
        cmocka_unit_test(a_capture_that_comes_after_the_cancel_is_refunded),
        cmocka_unit_test(a_failed_payment_can_be_settled_again),
        cmocka_unit_test(settle_after_expiry_holds_again_when_there_is_stock),
        cmocka_unit_test(settle_after_expiry_without_stock_owes_the_money_back),
        cmocka_unit_test(units_held_again_count_for_their_customer),
        cmocka_unit_test(settle_after_expiry_beyond_the_limit_of_its_customer_owes_the_money_back),
        cmocka_unit_test(units_held_again_count_under_a_limit_that_came_later),
        cmocka_unit_test(expiry_and_settle_at_the_same_nanosecond_have_one_end),
        cmocka_unit_test(expiry_and_cancel_at_the_same_nanosecond_have_one_end),
        cmocka_unit_test(a_hold_past_its_end_lives_until_its_record),
        cmocka_unit_test(extend_has_a_count_and_an_age),
        cmocka_unit_test(an_order_keeps_64_answers_newer_than_the_mark),
        cmocka_unit_test(a_repeat_of_a_command_gets_its_first_result_and_the_states_of_now),
        cmocka_unit_test(settling_a_forgotten_order_owes_the_money_back_once),
        cmocka_unit_test(an_order_stays_while_it_remembers_a_command_newer_than_the_mark),
        cmocka_unit_test(a_settle_wants_an_amount_and_a_currency),
        cmocka_unit_test(settling_always_succeeds_on_an_oversold_cell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
