/* The straight way for a plain place and the general one write the same: outcome, answer, state. */
#include "tests/engine/kit.h"

/* What hf_engine_step() does with a place, without the straight way. */
static void step_generally(struct kit *kit, const struct hf_command *command)
{
    uint32_t number = hf_engine_home(kit->engine, command);
    kit->step = (struct hf_step){.command = command,
                                 .now_ns = kit->now_ns,
                                 .latest_ns = kit->now_ns,
                                 .shed = kit->shed,
                                 .shed_result = kit->shed_result,
                                 .record = kit_record(kit),
                                 .answer = kit_answer(kit),
                                 .quota = &kit->quota};
    struct hf_run run = {.engine = kit->engine,
                         .step = &kit->step,
                         .command = command,
                         .answer = kit_answer(kit),
                         .home = &kit->engine->partitions[number],
                         .home_number = number,
                         .now_ns = hf_later(kit->now_ns, kit->engine->partitions[number].last_ns)};
    *run.answer = (struct hf_answer){.length = sizeof *run.answer, .opcode = HF_PLACE};
    hf_step_place(&run);
    if (kit->step.outcome_bytes != 0)
        run.home->last_ns = run.now_ns;
}

static void same(struct kit *one, struct kit *other, const struct hf_command *command)
{
    _Alignas(8) uint8_t copy[256];
    assert_true(command->length <= sizeof copy);
    memcpy(copy, command, command->length);
    const struct hf_command *again = (const struct hf_command *)(const void *)copy;
    kit_step(one, command);
    step_generally(other, again);
    assert_int_equal(one->step.outcome_bytes, other->step.outcome_bytes);
    assert_int_equal(one->step.reads_state, other->step.reads_state);
    assert_memory_equal(one->record, other->record, one->step.outcome_bytes);
    assert_memory_equal(one->answer, other->answer, kit_answer(one)->length);
    assert_memory_equal(&one->quota, &other->quota, sizeof one->quota);
}

static struct hf_command *draw_place(struct kit *kit)
{
    uint64_t r = kit_draw(kit);
    uint32_t sku = 1 + (uint32_t)(r % 9), few = (uint32_t)(r % 3);
    struct hf_command *command = kit_place_begin(kit, kit_sku_id(kit, r >> 8 & 31 ? sku : sku + 1), 1 + (uint32_t)(r % 5000));
    kit_line(command, kit_sku(sku), r >> 16 & 15 ? 1 : 2 + few, 1 + few)->price = r & 0xffff;
    command->body.place.customer = r >> 20 & 7;
    if ((r >> 24 & 31) == 0)
        command->arg = 0;
    if ((r >> 29 & 31) == 0)
        command->body.place.channel = 2;
    if ((r >> 34 & 31) == 0)
        command->id.high += 3700000;
    if ((r >> 39 & 31) == 0)
        command->id.high -= 3700000;
    kit->shed = (r >> 44 & 31) == 0;
    kit->shed_result = HF_BUSY;
    return command;
}

static void both_ways_of_a_place_write_the_same(void **state)
{
    (void)state;
    struct kit *one = kit_small(), *other = kit_small();
    kit_stock(one, 8, 400);
    kit_stock(other, 8, 400);
    struct kit *both[] = {one, other};
    for (unsigned i = 0; i < 2; i++) {
        struct hf_command *command = kit_begin(both[i], HF_DEFINE_POLICY, kit_sku_id(both[i], 8));
        kit_line(command, kit_sku(8), 0, 0);
        command->body.policy.per_order = 2;
        assert_int_equal(kit_step(both[i], command), HF_OK);
        kit_mark(both[i], both[i]->now_ns / KIT_MS - 1000);
    }
    for (unsigned i = 0; i < 3000; i++) {
        struct hf_command *command = draw_place(one);
        other->shed = one->shed;
        other->shed_result = one->shed_result;
        same(one, other, command);
        if (i % 7 == 0)
            same(one, other, command);
        other->now_ns = one->now_ns += i % 3;
    }
    assert_int_equal(hf_engine_digest(one->engine), hf_engine_digest(other->engine));
    for (uint32_t p = 0; p < 16; p++)
        assert_int_equal(hf_engine_due(one->engine, p), hf_engine_due(other->engine, p));
    kit_free(one);
    kit_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(both_ways_of_a_place_write_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
