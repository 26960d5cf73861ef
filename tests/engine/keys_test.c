/* A write and its key: one effect, whatever the ids; no trace of a refusal; gone with the id that it stands for. */
#include "tests/engine/kit.h"

static struct hf_id first_id(struct kit *kit)
{
    struct hf_id id = {0, 0};
    assert_true(kit_answer(kit)->flags & HF_ANSWER_KEYED);
    memcpy(&id, kit->answer + kit_answer(kit)->length - sizeof id, sizeof id);
    return id;
}

static void assert_id(struct hf_id id, struct hf_id expected)
{
    assert_int_equal(id.high, expected.high);
    assert_int_equal(id.low, expected.low);
}

static unsigned place(struct kit *kit, struct hf_id id, unsigned sku, uint32_t quantity, const char *key)
{
    struct hf_command *command = kit_place_begin(kit, id, 60000);
    kit_line(command, kit_sku(sku), 1, quantity)->price = 1999;
    kit_key(command, key);
    return kit_step(kit, command);
}

/* Steps a write, then the same under another id: nothing happens, and the answer is that of the first with its id. */
static void twice(struct kit *kit, struct hf_command *command, unsigned result)
{
    kit_key(command, "twice");
    assert_string_equal(hf_result_name(kit_step(kit, command)), hf_result_name(result));
    struct hf_answer first = *kit_answer(kit);
    assert_int_equal(first.flags, 0);
    assert_true(kit->step.outcome_bytes > 0);
    struct hf_id id = command->id;
    uint64_t digest = hf_engine_digest(kit->engine);
    command->id = kit_id(kit, hf_id_route(id));
    kit_refused(kit, command, result);
    assert_int_equal(kit_answer(kit)->flags, HF_ANSWER_REPEATED | HF_ANSWER_KEYED);
    assert_id(first_id(kit), id);
    assert_true(kit->step.reads_state);
    assert_int_equal(kit_answer(kit)->length, first.length + sizeof id);
    assert_int_equal(kit_answer(kit)->value, first.value);
    assert_true(kit_answer(kit)->version == first.version || hf_opcode_family(command->opcode) == HF_FAMILY_DEFINE);
    assert_int_equal(kit_answer(kit)->order, first.order);
    assert_int_equal(kit_answer(kit)->payment, first.payment);
    assert_int_equal(hf_engine_digest(kit->engine), digest);
}

static void a_place_under_another_id_is_the_first_order_again(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 2, 100);
    struct hf_id id = kit_sku_id(kit, 1);
    assert_int_equal(place(kit, id, 1, 3, "basket 1"), HF_OK);
    assert_int_equal(kit_answer(kit)->flags, 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(place(kit, kit_sku_id(kit, 1), 1, 3, "basket 1"), HF_OK);
        assert_int_equal(kit_answer(kit)->flags, HF_ANSWER_REPEATED | HF_ANSWER_KEYED);
        assert_id(first_id(kit), id);
    }
    assert_int_equal(kit_cell(kit, 1, 1).reserved, 3);
    assert_int_equal(place(kit, kit_sku_id(kit, 1), 1, 3, "basket 2"), HF_OK);
    assert_int_equal(kit_cell(kit, 1, 1).reserved, 6);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_REQUEST_KEYS), 2);
    kit_replay(kit);
    kit_free(kit);
}

static void a_repeat_says_the_state_of_now(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 100);
    struct hf_id id = kit_sku_id(kit, 1);
    assert_int_equal(place(kit, id, 1, 3, "basket"), HF_OK);
    assert_int_equal(kit_cancel(kit, id), HF_OK);
    assert_int_equal(place(kit, kit_sku_id(kit, 1), 1, 3, "basket"), HF_OK);
    assert_int_equal(kit_answer(kit)->order, HF_CANCELLED);
    assert_int_equal(kit_cell(kit, 1, 1).reserved, 0);
    kit_free(kit);
}

static void every_write_has_one_effect_under_its_key(void **state)
{
    (void)state;
    static const uint16_t verbs[] = {HF_EXTEND, HF_SETTLE, HF_PAYMENT_RESULT, HF_SHIP, HF_CANCEL};
    struct hf_command *command;
    for (unsigned i = 0; i < 12; i++) {
        struct kit *kit = kit_small();
        kit_stock(kit, 1, 100);
        struct hf_id order = kit_sku_id(kit, 1);
        assert_int_equal(kit_place(kit, order, 1, 2, 60000), HF_OK);
        if (i < 5) {
            if (i == 2 || i == 3)
                assert_int_equal(kit_settle(kit, order, 500), HF_OK);
            command = verbs[i] == HF_SETTLE ? kit_settle_begin(kit, order, 500) : kit_verb_begin(kit, verbs[i], order);
            command->arg = verbs[i] == HF_EXTEND ? 90000 : verbs[i] == HF_PAYMENT_RESULT ? 1 : 0;
            if (verbs[i] == HF_PAYMENT_RESULT) {
                command->body.verb.status = HF_STATUS_CAPTURED;
                command->body.verb.amount = 500;
                memcpy(command->body.verb.currency, "EUR", 3);
            }
        } else if (i < 8) {
            command = kit_begin(kit, i == 5 ? HF_RECEIVE : i == 6 ? HF_ADJUST : HF_SET, kit_sku_id(kit, 1));
            kit_line(command, kit_sku(1), 2, i == 5 ? 9 : 0);
            command->body.stock.value = i == 5 ? 0 : 9;
            kit_extend_with(command, HF_EXT_REASON, "count");
        } else if (i == 8) {
            command = kit_begin(kit, HF_DEFINE_LOCATION, kit_id(kit, 0));
            command->arg = 77;
        } else {
            command = kit_begin(kit, i == 9 ? HF_DEFINE_SKU : HF_DEFINE_POLICY, kit_sku_id(kit, 1));
            kit_line(command, kit_sku(1), i == 11 ? 2 : 0, 0);
            command->body.policy.safety_stock = i >= 10 ? 5 : 0;
        }
        twice(kit, command, HF_OK);
        kit_audit(kit);
        kit_replay(kit);
        kit_free(kit);
    }
}

static void a_payment_that_is_to_go_back_is_told_once(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 1);
    twice(kit, kit_settle_begin(kit, kit_sku_id(kit, 1), 700), HF_REFUND_DUE);
    struct hf_id order = kit_sku_id(kit, 1);
    assert_int_equal(kit_place(kit, order, 1, 1, 1000), HF_OK);
    kit->now_ns += 2 * KIT_S;
    kit_sweep(kit);
    assert_int_equal(kit_adjust(kit, 1, 1, -1, 0), HF_OK);
    struct hf_command *command = kit_settle_begin(kit, order, 700);
    kit_key(command, "lost");
    assert_int_equal(kit_step(kit, command), HF_STOCK_LOST);
    command->id = kit_id(kit, hf_id_route(order));
    kit_refused(kit, command, HF_STOCK_LOST);
    assert_int_equal(kit_answer(kit)->flags, HF_ANSWER_REPEATED | HF_ANSWER_KEYED);
    kit_replay(kit);
    kit_free(kit);
}

static void another_body_under_a_key_is_refused(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 40, 100);
    struct hf_id id = kit_sku_id(kit, 1);
    assert_int_equal(place(kit, id, 1, 3, "basket"), HF_OK);
    for (unsigned sku = 1; sku <= 40; sku++) { /* other homes, too */
        struct hf_command *command = kit_place_begin(kit, kit_sku_id(kit, sku), 60000);
        kit_line(command, kit_sku(sku), 1, sku == 1 ? 4 : 3)->price = 1999;
        kit_key(command, "basket");
        kit_refused(kit, command, HF_ID_REUSED);
        assert_true(kit->step.reads_state);
        assert_int_equal(kit_answer(kit)->flags, 0);
    }
    struct hf_command *command = kit_verb_begin(kit, HF_CANCEL, id);
    kit_key(command, "basket");
    kit_refused(kit, command, HF_ID_REUSED);
    /* The key is a part of the body: the id alone cannot lend itself to another. */
    command = kit_place_begin(kit, id, 60000);
    kit_line(command, kit_sku(1), 1, 3)->price = 1999;
    kit_key(command, "another basket");
    kit_refused(kit, command, HF_ID_REUSED);
    kit_free(kit);
}

static void the_trace_is_no_part_of_the_body(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 100);
    for (unsigned i = 0; i < 3; i++) {
        struct hf_command *command = kit_place_begin(kit, kit_sku_id(kit, 1), 60000);
        kit_line(command, kit_sku(1), 1, 3);
        if (i > 0)
            kit_extend_with(command, HF_EXT_TRACE_CONTEXT, i == 1 ? "00-trace" : "00-another-trace-of-other-length");
        kit_key(command, "basket");
        assert_int_equal(kit_step(kit, command), HF_OK);
        assert_int_equal(kit_answer(kit)->flags, i > 0 ? HF_ANSWER_REPEATED | HF_ANSWER_KEYED : 0);
    }
    kit_replay(kit);
    kit_free(kit);
}

static void a_refusal_frees_the_key(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 2);
    struct hf_command *command = kit_place_begin(kit, kit_sku_id(kit, 1), 60000);
    kit_line(command, kit_sku(1), 1, 3);
    kit_key(command, "basket");
    kit_refused(kit, command, HF_SHORT);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_REQUEST_KEYS), 0);
    assert_int_equal(place(kit, kit_sku_id(kit, 1), 1, 2, "basket"), HF_OK);
    assert_int_equal(kit_answer(kit)->flags, 0);
    kit_free(kit);
}

static void a_wrong_route_is_told_before_the_first_answer(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 2, 100);
    assert_int_equal(place(kit, kit_sku_id(kit, 1), 1, 1, "basket"), HF_OK);
    struct hf_command *command = kit_place_begin(kit, kit_sku_id(kit, 2), 60000);
    kit_line(command, kit_sku(1), 1, 1)->price = 1999;
    kit_key(command, "basket");
    kit_refused(kit, command, HF_WRONG_ROUTE);
    kit_free(kit);
}

static void a_repeat_is_answered_however_old_its_own_id_is(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 100);
    struct hf_id id = kit_sku_id(kit, 1);
    assert_int_equal(place(kit, id, 1, 1, "basket"), HF_OK);
    kit_mark(kit, kit->now_ns / KIT_MS + 5);
    kit->shed = true;
    kit->shed_result = HF_NO_SPACE;
    assert_int_equal(place(kit, kit_id_at(kit, hf_id_route(id), 1), 1, 1, "basket"), HF_OK);
    assert_id(first_id(kit), id);
    assert_int_equal(place(kit, kit_id_at(kit, hf_id_route(id), kit->now_ns / KIT_MS + 6), 1, 1, "new"), HF_NO_SPACE);
    kit_free(kit);
}

static void a_key_lives_as_long_as_its_order(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 100);
    char name[16];
    struct hf_id held = kit_sku_id(kit, 1), ids[64];
    struct hf_command *command = kit_place_begin(kit, held, 3600000);
    kit_line(command, kit_sku(1), 1, 1)->price = 1999;
    kit_key(command, "held");
    assert_int_equal(kit_step(kit, command), HF_OK);
    for (int i = 0; i < 64; i++) {
        snprintf(name, sizeof name, "ended %d", i);
        ids[i] = kit_sku_id(kit, 1);
        assert_int_equal(place(kit, ids[i], 1, 1, name), HF_OK);
        assert_int_equal(kit_cancel(kit, ids[i]), HF_OK);
    }
    kit->now_ns += 5 * KIT_S;
    kit_sweep(kit);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_REQUEST_KEYS), 65);
    kit_forget_all(kit);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_ORDERS), 1);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_REQUEST_KEYS), 1);
    assert_int_equal(kit->quota.left[HF_TABLE_REQUEST_KEYS], 4095);
    assert_int_equal(place(kit, kit_sku_id(kit, 1), 1, 1, "ended 3"), HF_OK);
    assert_int_equal(kit_answer(kit)->flags, 0);
    command = kit_place_begin(kit, kit_sku_id(kit, 1), 3600000);
    kit_line(command, kit_sku(1), 1, 1)->price = 1999;
    kit_key(command, "held");
    assert_int_equal(kit_step(kit, command), HF_OK);
    assert_id(first_id(kit), held);
    assert_int_equal(kit_cancel(kit, held), HF_OK);
    for (int i = 0; i < 10; i++)
        kit_forget_all(kit);
    assert_int_equal(kit_cell(kit, 1, 1).reserved, 0);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_REQUEST_KEYS), 0);
    kit_replay(kit);
    kit_free(kit);
}

static unsigned extend(struct kit *kit, struct hf_id id, struct hf_id order)
{
    struct hf_command *command = kit_verb_begin(kit, HF_EXTEND, order);
    command->id = id;
    command->arg = 3600000;
    kit_key(command, "longer");
    return kit_step(kit, command);
}

static void a_key_of_a_command_lives_as_long_as_its_id(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 100);
    struct hf_id order = kit_sku_id(kit, 1);
    assert_int_equal(kit_place(kit, order, 1, 2, 3600000), HF_OK);
    uint64_t ms = kit->now_ns / KIT_MS;
    assert_int_equal(extend(kit, kit_id_at(kit, hf_id_route(order), ms), order), HF_OK);
    kit_mark(kit, ms - 1);
    assert_int_equal(extend(kit, kit_id_at(kit, hf_id_route(order), ms + 1), order), HF_OK);
    assert_int_equal(kit_answer(kit)->flags, HF_ANSWER_REPEATED | HF_ANSWER_KEYED);
    kit_mark(kit, ms);
    assert_int_equal(extend(kit, kit_id_at(kit, hf_id_route(order), ms + 1), order), HF_OK);
    assert_int_equal(kit_answer(kit)->flags, 0);
    assert_int_equal(kit_answer(kit)->version, 3);
    kit_forget_all(kit);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_REQUEST_KEYS), 0);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_ORDERS), 1);
    kit_replay(kit);
    kit_free(kit);
}

/* Between the order's forgetting and its key's. */
static void a_key_whose_order_is_forgotten_is_free(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 100);
    struct hf_id id = kit_sku_id(kit, 1);
    assert_int_equal(place(kit, id, 1, 1, "basket"), HF_OK);
    assert_int_equal(kit_cancel(kit, id), HF_OK);
    kit->now_ns += 20 * KIT_S;
    kit_mark(kit, kit->now_ns / KIT_MS - 1000);
    _Alignas(8) uint8_t forget[128];
    struct hf_command *command = (struct hf_command *)(void *)forget;
    *command = (struct hf_command){.length = 96, .opcode = HF_FORGET, .version = HF_COMMAND_VERSION, .line_count = 1};
    command->body.sweep.partition = hf_id_route(id) & kit->engine->mask;
    command->body.sweep.count = 1;
    memset(command + 1, 0, 32);
    memcpy(command + 1, &id, sizeof id);
    assert_int_equal(kit_step(kit, command), HF_OK);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_ORDERS), 0);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_REQUEST_KEYS), 1);
    assert_int_equal(place(kit, kit_sku_id(kit, 1), 1, 2, "basket"), HF_ID_REUSED);
    id = kit_sku_id(kit, 1);
    assert_int_equal(place(kit, id, 1, 1, "basket"), HF_OK);
    assert_int_equal(kit_answer(kit)->flags, 0);
    assert_int_equal(place(kit, kit_sku_id(kit, 1), 1, 1, "basket"), HF_OK);
    assert_id(first_id(kit), id);
    assert_int_equal(hf_engine_rows(kit->engine, HF_TABLE_REQUEST_KEYS), 1);
    kit_replay(kit);
    kit_free(kit);
}

static void a_full_table_of_keys_is_named(void **state)
{
    (void)state;
    struct hf_engine_options options = kit_options(16, 4096);
    options.request_keys_max = 2;
    struct kit *kit = kit_new(&options);
    kit_stock(kit, 1, 100);
    struct hf_id id = kit_sku_id(kit, 1);
    assert_int_equal(place(kit, id, 1, 1, "one"), HF_OK);
    assert_int_equal(place(kit, kit_sku_id(kit, 1), 1, 1, "two"), HF_OK);
    struct hf_command *command = kit_place_begin(kit, kit_sku_id(kit, 1), 60000);
    kit_line(command, kit_sku(1), 1, 1);
    kit_key(command, "three");
    kit_refused(kit, command, HF_FULL);
    assert_int_equal(kit_answer(kit)->detail, HF_TABLE_REQUEST_KEYS);
    assert_int_equal(place(kit, kit_sku_id(kit, 1), 1, 1, "one"), HF_OK);
    assert_int_equal(kit_cancel(kit, id), HF_OK);
    kit_forget_all(kit);
    assert_int_equal(place(kit, kit_sku_id(kit, 1), 1, 1, "three"), HF_OK);
    kit_free(kit);
}

static void an_engine_without_keys_refuses_them(void **state)
{
    (void)state;
    struct hf_engine_options options = kit_options(16, 4096);
    options.request_keys_max = 0;
    struct kit *kit = kit_new(&options);
    kit_stock(kit, 1, 100);
    assert_int_equal(place(kit, kit_sku_id(kit, 1), 1, 1, "one"), HF_FULL);
    assert_int_equal(kit_answer(kit)->detail, HF_TABLE_REQUEST_KEYS);
    assert_int_equal(kit_place(kit, kit_sku_id(kit, 1), 1, 1, 1000), HF_OK);
    kit_free(kit);
}

static void the_keys_partition_is_reached_and_keeps_its_time(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 100);
    uint32_t reach[HF_REACH_MAX], others = 0;
    char name[16];
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "key %d", i);
        struct hf_request_key key = kit_key_of(name);
        uint32_t partition = hf_request_key_route(&key) & kit->engine->mask;
        kit->engine->partitions[partition].last_ns += i % 2 ? KIT_S : 0;
        uint64_t latest_ns = kit->engine->partitions[partition].last_ns;
        struct hf_command *command = kit_place_begin(kit, kit_sku_id(kit, 1), 60000);
        kit_line(command, kit_sku(1), 1, 1)->price = 1999;
        kit_key(command, name);
        unsigned count = hf_engine_reach(kit->engine, command, reach), found = 0;
        for (unsigned k = 0; k < count; k++) {
            found += reach[k] == partition;
            assert_true(k == 0 || reach[k] > reach[k - 1]);
        }
        assert_int_equal(found, 1);
        others += count == 2;
        assert_int_equal(kit_step(kit, command), HF_OK);
        assert_false(kit->hint.plain);
        assert_true(kit_record(kit)->time_ns >= latest_ns);
        assert_int_equal(kit->engine->partitions[partition].last_ns, kit_record(kit)->time_ns);
    }
    assert_true(others > 30);
    kit_free(kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_under_another_id_is_the_first_order_again),
        cmocka_unit_test(a_repeat_says_the_state_of_now),
        cmocka_unit_test(every_write_has_one_effect_under_its_key),
        cmocka_unit_test(a_payment_that_is_to_go_back_is_told_once),
        cmocka_unit_test(another_body_under_a_key_is_refused),
        cmocka_unit_test(the_trace_is_no_part_of_the_body),
        cmocka_unit_test(a_refusal_frees_the_key),
        cmocka_unit_test(a_wrong_route_is_told_before_the_first_answer),
        cmocka_unit_test(a_repeat_is_answered_however_old_its_own_id_is),
        cmocka_unit_test(a_key_lives_as_long_as_its_order),
        cmocka_unit_test(a_key_of_a_command_lives_as_long_as_its_id),
        cmocka_unit_test(a_key_whose_order_is_forgotten_is_free),
        cmocka_unit_test(a_full_table_of_keys_is_named),
        cmocka_unit_test(an_engine_without_keys_refuses_them),
        cmocka_unit_test(the_keys_partition_is_reached_and_keeps_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
