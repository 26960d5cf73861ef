#include "client/audit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/client/audit_records.h"

static struct shadow shadow;
static struct hf_audit *audit;
static uint64_t position;

static void feed(void)
{
    position += shadow_record(&shadow)->length;
    assert_int_equal(hf_audit_feed(audit, shadow_record(&shadow), sizeof shadow.bytes, position, 1), 0);
}

static const struct hf_audit_report *finish(void)
{
    const struct hf_audit_report *report;
    assert_int_equal(hf_audit_finish(audit, &report), 0);
    return report;
}

static void assert_clean(void)
{
    const struct hf_audit_report *report = finish();
    if (report->violations != 0)
        fail_msg("%s: %s", hf_audit_kind_name(report->notes[0].kind), report->notes[0].what);
}

/* At least one violation of this kind, first noted at the last record. */
static void assert_violates(enum hf_audit_kind kind)
{
    const struct hf_audit_report *report = finish();
    if (report->by_kind[kind] == 0)
        fail_msg("no violation of %s (%u others)", hf_audit_kind_name(kind), (unsigned)report->violations);
}

/* SKUs A and B with 10 units each at location 1. */
static int stocked(void **state)
{
    (void)state;
    shadow = (struct shadow){.time_ns = 1700000000000000000ull};
    position = 0;
    if (hf_audit_create(SHADOW_PARTITIONS, NULL, &audit) != 0)
        return -1;
    static const char *const skus[] = {"A", "B"};
    shadow_define_location(&shadow, 1);
    feed();
    for (size_t i = 0; i < 2; i++) {
        shadow_define_sku(&shadow, skus[i]);
        feed();
        shadow_stock(&shadow, HF_RECEIVE, skus[i], 1, 10);
        feed();
    }
    return 0;
}

static int destroyed(void **state)
{
    (void)state;
    hf_audit_destroy(audit);
    audit = NULL;
    return 0;
}

static struct hf_id placed(const char *sku, uint32_t quantity)
{
    struct hf_id id = shadow_place_one(&shadow, sku, 1, quantity);
    feed();
    return id;
}

static struct hf_id expired(const char *sku, uint32_t quantity)
{
    struct hf_id id = placed(sku, quantity);
    shadow.time_ns += 2000000000;
    shadow_sweep(&shadow, HF_EXPIRE, &id, 1);
    feed();
    return id;
}

/* --- right sequences --- */

static void a_life_of_orders_is_clean(void **state)
{
    (void)state;
    const struct hf_line lines[] = {{.sku = shadow_sku("A"), .location = 1, .quantity = 2},
                                    {.sku = shadow_sku("B"), .location = 1, .quantity = 3},
                                    {.sku = shadow_sku("A"), .location = 1, .quantity = 1}};
    struct hf_id first = shadow_place(&shadow, lines, 3);
    feed();
    struct hf_id second = placed("A", 4);
    shadow_settle(&shadow, first);
    feed();
    shadow_cancel(&shadow, second);
    feed();
    struct hf_command *result = shadow_verb(&shadow, HF_PAYMENT_RESULT, first, HF_CONFIRMED, shadow_nothing);
    result->body.verb.status = HF_STATUS_CAPTURED;
    feed();
    shadow_verb(&shadow, HF_SHIP, first, HF_CLOSED, shadow_ship);
    feed();
    struct hf_id third = expired("B", 7);
    shadow_verb(&shadow, HF_SETTLE, third, HF_CONFIRMED, shadow_rehold);
    feed();
    shadow_verb(&shadow, HF_CANCEL, third, HF_CANCELLED, shadow_uncommit);
    feed();
    assert_clean();
    const struct hf_audit_report *report = finish();
    assert_int_equal(report->cells, 2);
    assert_int_equal(report->orders, 3);
    assert_int_equal(report->live_orders, 0);
    assert_int_equal(report->oversold_cells, 0);
    assert_int_equal(report->position, position);
}

static void orders_up_to_the_last_unit_are_clean(void **state)
{
    (void)state;
    placed("A", 6);
    placed("A", 4);
    assert_clean();
    assert_int_equal(finish()->live_orders, 2);
}

static void a_hold_that_was_extended_may_end_later(void **state)
{
    (void)state;
    struct hf_id id = placed("A", 1);
    shadow.time_ns += 900000000;
    shadow_verb(&shadow, HF_EXTEND, id, HF_HELD, shadow_nothing);
    shadow_record(&shadow)->due_ns = shadow.time_ns + 1000000000;
    feed();
    shadow.time_ns += 1100000000;
    shadow_sweep(&shadow, HF_EXPIRE, &id, 1);
    feed();
    assert_clean();
}

static void a_forgotten_order_leaves_the_model(void **state)
{
    (void)state;
    struct hf_id id = expired("A", 2);
    shadow_mark(&shadow, shadow.time_ns / 1000000);
    feed();
    shadow_sweep(&shadow, HF_FORGET, &id, 1);
    feed();
    shadow.time_ns += 5000000;
    placed("A", 2);
    assert_clean();
    assert_int_equal(finish()->orders, 1);
}

static void a_forced_adjustment_that_is_flagged_is_no_violation(void **state)
{
    (void)state;
    placed("A", 10);
    shadow_stock(&shadow, HF_ADJUST, "A", 1, -3)->flags = HF_FLAG_FORCE;
    shadow_named(&shadow, 0)->touch.flags |= HF_TOUCH_OVERSOLD;
    feed();
    assert_clean();
    assert_int_equal(finish()->oversold_cells, 1);
}

static void a_settle_without_stock_loses_it_and_owes_the_money(void **state)
{
    (void)state;
    struct hf_id id = expired("A", 10);
    placed("A", 5);
    shadow_verb(&shadow, HF_SETTLE, id, HF_EXPIRED, shadow_nothing);
    shadow_record(&shadow)->result = HF_STOCK_LOST;
    feed();
    struct hf_command *refund = shadow_verb(&shadow, HF_PAYMENT_RESULT, id, HF_EXPIRED, shadow_nothing);
    refund->body.verb.status = HF_STATUS_REFUNDED;
    feed();
    assert_clean();
}

static void limits_count_in_their_window_and_are_given_back(void **state)
{
    (void)state;
    struct hf_command *policy = shadow_define_policy(&shadow, "A", 0);
    policy->body.policy.per_order = 3;
    policy->body.policy.per_customer = 3;
    policy->body.policy.window_s = 3600;
    feed();
    struct hf_id first = placed("A", 2);
    shadow_cancel(&shadow, first);
    feed();
    placed("A", 3);
    shadow.time_ns += 3600ull * 1000000000;
    placed("A", 3);
    assert_clean();
}

static void thousands_of_orders_pass_through_growing_tables(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        shadow.order_count = 0;
        struct hf_id id = placed(i % 2 ? "A" : "B", 1 + i % 10);
        shadow_cancel(&shadow, id);
        feed();
    }
    assert_clean();
    assert_int_equal(finish()->orders, 100000);
}

/* --- wrong sequences: one for each kind --- */

static void a_grant_beyond_what_is_there_breaks_i1(void **state)
{
    (void)state;
    placed("A", 6);
    placed("A", 5);
    assert_violates(HF_AUDIT_PROMISE);
}

static void two_lines_of_one_cell_are_summed_for_i1(void **state)
{
    (void)state;
    const struct hf_line lines[] = {{.sku = shadow_sku("A"), .location = 1, .quantity = 6},
                                    {.sku = shadow_sku("A"), .location = 1, .quantity = 6}};
    shadow_place(&shadow, lines, 2);
    feed();
    assert_violates(HF_AUDIT_PROMISE);
}

static void a_grant_into_the_safety_stock_breaks_i1(void **state)
{
    (void)state;
    shadow_define_policy(&shadow, "A", 0)->body.policy.safety_stock = 2;
    feed();
    placed("A", 8);
    shadow_define_policy(&shadow, "B", 1)->body.policy.safety_stock = 4;
    feed();
    assert_int_equal(finish()->violations, 0);
    placed("B", 7);
    assert_violates(HF_AUDIT_PROMISE);
}

static void a_rehold_beyond_what_is_there_breaks_i1(void **state)
{
    (void)state;
    struct hf_id id = expired("A", 6);
    placed("A", 6);
    shadow_verb(&shadow, HF_SETTLE, id, HF_CONFIRMED, shadow_rehold);
    feed();
    assert_violates(HF_AUDIT_PROMISE);
}

static void lowering_below_what_is_promised_without_a_flag_breaks_i1(void **state)
{
    (void)state;
    placed("A", 10);
    shadow_stock(&shadow, HF_ADJUST, "A", 1, -3)->flags = HF_FLAG_FORCE;
    feed();
    assert_violates(HF_AUDIT_PROMISE);
}

static void a_sellable_that_is_no_sum_breaks_i2(void **state)
{
    (void)state;
    shadow_place_one(&shadow, "A", 1, 1);
    shadow_touch(&shadow, 0)->sellable++;
    feed();
    assert_violates(HF_AUDIT_MOVEMENT);
}

static void a_receipt_of_other_units_breaks_i2(void **state)
{
    (void)state;
    shadow_stock(&shadow, HF_RECEIVE, "A", 1, 5);
    shadow_named(&shadow, 0)->touch.quantity = 6;
    feed();
    assert_violates(HF_AUDIT_MOVEMENT);
}

static void stock_below_zero_without_force_breaks_i2(void **state)
{
    (void)state;
    shadow_stock(&shadow, HF_ADJUST, "A", 1, -11);
    feed();
    assert_violates(HF_AUDIT_MOVEMENT);
}

static void a_reserved_that_is_no_sum_of_holds_breaks_i3(void **state)
{
    (void)state;
    shadow_place_one(&shadow, "A", 1, 2);
    shadow_touch(&shadow, 0)->reserved = 1;
    feed();
    assert_violates(HF_AUDIT_HOLDS);
}

static void a_hold_that_ends_twice_breaks_i5(void **state)
{
    (void)state;
    struct hf_id id = expired("A", 2);
    shadow_cancel(&shadow, id);
    feed();
    assert_violates(HF_AUDIT_ENDS);
}

static void an_order_that_expires_twice_breaks_i5(void **state)
{
    (void)state;
    struct hf_id id = expired("A", 2);
    shadow_sweep(&shadow, HF_EXPIRE, &id, 1);
    feed();
    assert_violates(HF_AUDIT_ENDS);
}

static void an_order_that_expires_before_its_time_breaks_i5(void **state)
{
    (void)state;
    struct hf_id id = placed("A", 2);
    shadow_sweep(&shadow, HF_EXPIRE, &id, 1);
    feed();
    assert_violates(HF_AUDIT_ENDS);
}

static void shipping_twice_breaks_i5(void **state)
{
    (void)state;
    struct hf_id id = placed("A", 2);
    shadow_settle(&shadow, id);
    feed();
    shadow_verb(&shadow, HF_SHIP, id, HF_CLOSED, shadow_ship);
    feed();
    shadow_verb(&shadow, HF_SHIP, id, HF_CLOSED, shadow_ship);
    feed();
    assert_violates(HF_AUDIT_ENDS);
}

static void a_verb_on_an_order_that_never_was_breaks_i5(void **state)
{
    (void)state;
    struct hf_id id = shadow_place_one(&shadow, "A", 1, 2);
    shadow_cell(&shadow, &shadow.orders[0].lines[0].sku, 1)->reserved -= 2;
    shadow_settle(&shadow, id);
    feed();
    assert_violates(HF_AUDIT_ENDS);
}

static void forgetting_a_live_order_breaks_i5(void **state)
{
    (void)state;
    struct hf_id id = placed("A", 2);
    shadow_mark(&shadow, shadow.time_ns / 1000000 + 1);
    feed();
    shadow_sweep(&shadow, HF_FORGET, &id, 1);
    feed();
    assert_violates(HF_AUDIT_ENDS);
}

static void stock_lost_on_a_live_hold_breaks_i5(void **state)
{
    (void)state;
    struct hf_id id = placed("A", 2);
    shadow_settle(&shadow, id);
    shadow_record(&shadow)->result = HF_STOCK_LOST;
    feed();
    assert_violates(HF_AUDIT_ENDS);
}

static void more_than_a_customer_may_have_breaks_i6(void **state)
{
    (void)state;
    shadow_define_policy(&shadow, "A", 0)->body.policy.per_customer = 3;
    feed();
    placed("A", 2);
    placed("A", 2);
    assert_violates(HF_AUDIT_LIMITS);
}

static void more_than_one_order_may_have_breaks_i6(void **state)
{
    (void)state;
    shadow_define_policy(&shadow, "A", 0)->body.policy.per_order = 3;
    feed();
    placed("A", 4);
    assert_violates(HF_AUDIT_LIMITS);
}

static void capturing_more_than_was_authorised_breaks_i7(void **state)
{
    (void)state;
    struct hf_id id = placed("A", 2);
    shadow_settle(&shadow, id);
    feed();
    struct hf_command *result = shadow_verb(&shadow, HF_PAYMENT_RESULT, id, HF_CONFIRMED, shadow_nothing);
    result->body.verb.status = HF_STATUS_CAPTURED;
    result->body.verb.amount = 101;
    feed();
    assert_violates(HF_AUDIT_MONEY);
}

static void an_id_granted_twice_is_found(void **state)
{
    (void)state;
    placed("A", 1);
    struct hf_id first = shadow.orders[0].id;
    shadow_place_one(&shadow, "A", 1, 1);
    ((struct hf_command *)(void *)(shadow.bytes + hf_outcome_bytes(shadow_record(&shadow), true)))->id = first;
    feed();
    assert_violates(HF_AUDIT_ID);
}

static void an_id_that_is_not_newer_than_the_mark_is_found(void **state)
{
    (void)state;
    shadow_mark(&shadow, shadow.time_ns / 1000000 + 5);
    feed();
    placed("A", 1);
    assert_violates(HF_AUDIT_ID);
}

static void time_that_goes_back_within_a_home_is_found(void **state)
{
    (void)state;
    placed("A", 1);
    shadow.time_ns -= 1000000;
    placed("A", 1);
    assert_violates(HF_AUDIT_ORDER_OF_TIME);
}

static void a_term_that_goes_back_is_found(void **state)
{
    (void)state;
    shadow_place_one(&shadow, "A", 1, 1);
    position += 512;
    assert_int_equal(hf_audit_feed(audit, shadow_record(&shadow), sizeof shadow.bytes, position, 0), 0);
    assert_violates(HF_AUDIT_ORDER_OF_TIME);
}

static void a_line_granted_in_part_is_found(void **state)
{
    (void)state;
    shadow_place_one(&shadow, "A", 1, 2);
    shadow_touch(&shadow, 0)->quantity = 1;
    feed();
    assert_violates(HF_AUDIT_LINES);
}

static void a_settle_of_some_lines_only_is_found(void **state)
{
    (void)state;
    struct hf_id id = placed("A", 2);
    shadow_settle(&shadow, id);
    shadow_named(&shadow, 0)->touch.quantity = 1;
    feed();
    assert_violates(HF_AUDIT_LINES);
}

static void a_record_in_another_home_is_found(void **state)
{
    (void)state;
    shadow_place_one(&shadow, "A", 1, 2);
    shadow_record(&shadow)->home ^= 1;
    feed();
    assert_violates(HF_AUDIT_FORM);
}

static void bytes_that_are_no_record_are_found(void **state)
{
    (void)state;
    shadow_place_one(&shadow, "A", 1, 2);
    shadow_record(&shadow)->length -= 8;
    feed();
    assert_violates(HF_AUDIT_FORM);
}

static void stock_of_a_sku_that_was_never_defined_is_found(void **state)
{
    (void)state;
    shadow_stock(&shadow, HF_RECEIVE, "C", 1, 5);
    feed();
    assert_violates(HF_AUDIT_FORM);
}

/* --- tables --- */

static void removed_orders_leave_the_others_in_reach(void **state)
{
    (void)state;
    struct hf_audit_orders orders;
    enum { COUNT = 60000 };
    assert_int_equal(hf_audit_orders_create(&orders), 0);
    for (uint64_t i = 1; i <= COUNT; i++)
        assert_non_null(hf_audit_orders_add(&orders, hf_id_make(1, i % 7, i)));
    for (uint64_t i = 1; i <= COUNT; i += 2)
        hf_audit_orders_remove(&orders, hf_audit_orders_find(&orders, hf_id_make(1, i % 7, i)));
    for (uint64_t i = 1; i <= COUNT; i++)
        assert_int_equal(hf_audit_orders_find(&orders, hf_id_make(1, i % 7, i)) != NULL, i % 2 == 0);
    assert_int_equal(orders.count, COUNT / 2);
    hf_audit_orders_destroy(&orders);
}

#define AUDIT_TEST(name) cmocka_unit_test_setup_teardown(name, stocked, destroyed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        AUDIT_TEST(a_life_of_orders_is_clean),
        AUDIT_TEST(orders_up_to_the_last_unit_are_clean),
        AUDIT_TEST(a_hold_that_was_extended_may_end_later),
        AUDIT_TEST(a_forgotten_order_leaves_the_model),
        AUDIT_TEST(a_forced_adjustment_that_is_flagged_is_no_violation),
        AUDIT_TEST(a_settle_without_stock_loses_it_and_owes_the_money),
        AUDIT_TEST(limits_count_in_their_window_and_are_given_back),
        AUDIT_TEST(thousands_of_orders_pass_through_growing_tables),
        AUDIT_TEST(a_grant_beyond_what_is_there_breaks_i1),
        AUDIT_TEST(two_lines_of_one_cell_are_summed_for_i1),
        AUDIT_TEST(a_grant_into_the_safety_stock_breaks_i1),
        AUDIT_TEST(a_rehold_beyond_what_is_there_breaks_i1),
        AUDIT_TEST(lowering_below_what_is_promised_without_a_flag_breaks_i1),
        AUDIT_TEST(a_sellable_that_is_no_sum_breaks_i2),
        AUDIT_TEST(a_receipt_of_other_units_breaks_i2),
        AUDIT_TEST(stock_below_zero_without_force_breaks_i2),
        AUDIT_TEST(a_reserved_that_is_no_sum_of_holds_breaks_i3),
        AUDIT_TEST(a_hold_that_ends_twice_breaks_i5),
        AUDIT_TEST(an_order_that_expires_twice_breaks_i5),
        AUDIT_TEST(an_order_that_expires_before_its_time_breaks_i5),
        AUDIT_TEST(shipping_twice_breaks_i5),
        AUDIT_TEST(a_verb_on_an_order_that_never_was_breaks_i5),
        AUDIT_TEST(forgetting_a_live_order_breaks_i5),
        AUDIT_TEST(stock_lost_on_a_live_hold_breaks_i5),
        AUDIT_TEST(more_than_a_customer_may_have_breaks_i6),
        AUDIT_TEST(more_than_one_order_may_have_breaks_i6),
        AUDIT_TEST(capturing_more_than_was_authorised_breaks_i7),
        AUDIT_TEST(an_id_granted_twice_is_found),
        AUDIT_TEST(an_id_that_is_not_newer_than_the_mark_is_found),
        AUDIT_TEST(time_that_goes_back_within_a_home_is_found),
        AUDIT_TEST(a_term_that_goes_back_is_found),
        AUDIT_TEST(a_line_granted_in_part_is_found),
        AUDIT_TEST(a_settle_of_some_lines_only_is_found),
        AUDIT_TEST(a_record_in_another_home_is_found),
        AUDIT_TEST(bytes_that_are_no_record_are_found),
        AUDIT_TEST(stock_of_a_sku_that_was_never_defined_is_found),
        cmocka_unit_test(removed_orders_leave_the_others_in_reach),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
