/* Stages of a loop: what falls into which bucket, and what is counted of a turn. */
#include "server/stages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void a_bucket_ends_with_its_bound(void **state)
{
    (void)state;
    assert_int_equal(hf_stage_bucket(0), 0);
    for (unsigned bucket = 0; bucket < HF_STAGE_BUCKETS - 1; bucket++) {
        uint64_t bound = (uint64_t)1024 << 2 * bucket;
        assert_int_equal(hf_stage_bucket(bound), bucket);
        assert_int_equal(hf_stage_bucket(bound + 1), bucket + 1);
    }
    assert_int_equal(hf_stage_bucket(UINT64_MAX), HF_STAGE_BUCKETS - 1);
}

static void every_stage_and_the_turn_are_counted_once_a_turn(void **state)
{
    (void)state;
    struct hf_stages stages = {.ns_per_cycle = (uint64_t)1 << 32};
    /* began: a turn of 8 + 16 + 32 + 64 + 2048 + 256 cycles */
    const uint64_t took[HF_STAGES] = {8, 16, 32, 64, 2048, 256};
    for (unsigned i = 0; i < HF_STAGES; i++)
        stages.began[i + 1] = stages.began[i] + took[i];
    hf_stages_count(&stages, 77);
    uint64_t all = 0;
    for (unsigned i = 0; i < HF_STAGES; i++) {
        assert_int_equal(stages.counters[i].sum_cycles, took[i]);
        assert_int_equal(stages.counters[i].max_cycles, took[i]);
        assert_int_equal(stages.counters[i].max_at_ns, 77);
        assert_int_equal(stages.counters[i].buckets[took[i] > 1024], 1);
        all += took[i];
    }
    assert_int_equal(stages.counters[HF_STAGE_TURN].sum_cycles, all);
    hf_stages_count(&stages, 78);
    assert_int_equal(stages.counters[HF_STAGE_TURN].sum_cycles, 2 * all);
    assert_int_equal(stages.counters[HF_STAGE_TURN].max_at_ns, 77);
}

static void where_the_loop_is_can_be_read_from_outside(void **state)
{
    (void)state;
    struct hf_stages stages = {.ns_per_cycle = 0};
    for (unsigned stage = 0; stage <= HF_STAGES; stage++) {
        unsigned kind = stage < HF_STAGES ? stage : HF_STAGE_IDLE;
        hf_stages_enter(&stages, kind);
        assert_int_equal(hf_load_relaxed_u64(&stages.at) & 7, kind);
        assert_true(stage == 0 || stages.began[stage] >= stages.began[stage - 1]);
    }
}

static void the_counter_has_a_rate(void **state)
{
    (void)state;
    struct hf_cycles_mark mark = hf_cycles_mark();
    uint64_t rate = hf_cycles_rate(&mark), cycles = hf_cycles() - mark.cycles;
    assert_int_equal(rate == 0, hf_cycles() == 0);
    assert_true(rate == 0 || hf_cycles_to_ns(cycles, rate) >= HF_CYCLES_APART_NS / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_ends_with_its_bound),
        cmocka_unit_test(every_stage_and_the_turn_are_counted_once_a_turn),
        cmocka_unit_test(where_the_loop_is_can_be_read_from_outside),
        cmocka_unit_test(the_counter_has_a_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
