#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "ring/word.h"

#include <pthread.h>
#include <sched.h>

enum { HOME = 0, GUEST = 1, THIRD = 2, POLLS_MAX = 5 };

static struct hf_word word;
static struct hf_word_taker takers[3];

static int fresh_word(void **state)
{
    (void)state;
    hf_word_init(&word, HOME, 4096, 17, 3);
    for (uint32_t shard = 0; shard < 3; shard++)
        hf_word_taker_init(&takers[shard], shard, POLLS_MAX);
    return 0;
}

static void a_free_word_is_taken_once_until_it_is_let_go(void **state)
{
    (void)state;
    assert_true(hf_word_try(&word, &takers[HOME]));
    assert_true(hf_word_is_held_by(&word, &takers[HOME]));
    assert_false(hf_word_try(&word, &takers[GUEST]));
    assert_false(hf_word_try(&word, &takers[HOME]));
    hf_word_release(&word, &takers[HOME]);
    assert_true(hf_word_try(&word, &takers[GUEST]));
    hf_word_release(&word, &takers[GUEST]);
    assert_int_equal(hf_load_relaxed_u64(&word.taken), 2);
    assert_int_equal(hf_load_relaxed_u64(&takers[HOME].taken), 1);
    assert_int_equal(hf_load_relaxed_u64(&takers[HOME].tried_failed), 1);
    assert_int_equal(hf_load_relaxed_u64(&takers[GUEST].tried_failed), 1);
}

static void a_take_ends_at_its_bound_when_the_word_stays_held(void **state)
{
    (void)state;
    assert_true(hf_word_take(&word, &takers[HOME], 0));
    assert_false(hf_word_take(&word, &takers[GUEST], 0));
    assert_false(hf_word_take(&word, &takers[GUEST], 100));
    assert_int_equal(hf_load_relaxed_u64(&takers[GUEST].bound_failed), 2);
    assert_int_equal(hf_load_relaxed_u64(&takers[GUEST].waited), 0);
    hf_word_release(&word, &takers[HOME]);
    assert_true(hf_word_take(&word, &takers[GUEST], 0));
    assert_int_equal(hf_load_relaxed_u64(&takers[GUEST].waited), 0);
    hf_word_release(&word, &takers[GUEST]);
}

static void the_home_shard_stays_off_a_wanted_word_until_the_wanter_took_it(void **state)
{
    (void)state;
    hf_word_want(&word, &takers[GUEST]);
    hf_word_want(&word, &takers[GUEST]);
    assert_int_equal(hf_load_relaxed_u64(&takers[GUEST].wanted_set), 1);
    assert_false(hf_word_try(&word, &takers[HOME]));
    assert_false(hf_word_take(&word, &takers[HOME], 1000));
    assert_int_equal(hf_load_relaxed_u64(&takers[HOME].yielded), 2);
    assert_int_equal(hf_load_relaxed_u64(&takers[HOME].tried_failed), 0);
    assert_true(hf_word_try(&word, &takers[GUEST]));
    hf_word_release(&word, &takers[GUEST]);
    assert_true(hf_word_try(&word, &takers[HOME]));
    hf_word_release(&word, &takers[HOME]);
}

static void every_wanter_gets_its_turn_before_the_home_shard(void **state)
{
    (void)state;
    hf_word_want(&word, &takers[GUEST]);
    hf_word_want(&word, &takers[THIRD]);
    assert_true(hf_word_try(&word, &takers[THIRD]));
    hf_word_release(&word, &takers[THIRD]);
    assert_false(hf_word_try(&word, &takers[HOME]));
    assert_true(hf_word_try(&word, &takers[GUEST]));
    hf_word_release(&word, &takers[GUEST]);
    assert_true(hf_word_try(&word, &takers[HOME]));
    hf_word_release(&word, &takers[HOME]);
}

static void a_wanter_that_never_comes_costs_the_home_shard_a_bounded_wait(void **state)
{
    (void)state;
    hf_word_want(&word, &takers[GUEST]);
    for (int round = 0; round < 3; round++) {
        for (int poll = 0; poll < POLLS_MAX; poll++)
            assert_false(hf_word_try(&word, &takers[HOME]));
        assert_true(hf_word_try(&word, &takers[HOME]));
        hf_word_release(&word, &takers[HOME]);
    }
    hf_word_unwant(&word, &takers[GUEST]);
    assert_true(hf_word_try(&word, &takers[HOME]));
    hf_word_release(&word, &takers[HOME]);
}

static void the_home_shards_own_want_does_not_keep_it_off(void **state)
{
    (void)state;
    hf_word_want(&word, &takers[HOME]);
    assert_true(hf_word_try(&word, &takers[HOME]));
    hf_word_release(&word, &takers[HOME]);
    assert_int_equal(hf_load_relaxed_u64(&word.wanted), 0);
}

static void shard_63_has_a_bit_of_its_own(void **state)
{
    (void)state;
    struct hf_word_taker last;
    hf_word_taker_init(&last, HF_WORD_SHARDS_MAX - 1, POLLS_MAX);
    hf_word_want(&word, &last);
    assert_false(hf_word_try(&word, &takers[HOME]));
    assert_true(hf_word_try(&word, &last));
    hf_word_release(&word, &last);
    assert_int_equal(hf_load_relaxed_u64(&word.wanted), 0);
}

static void the_facts_of_a_partition_stay_with_its_word(void **state)
{
    (void)state;
    assert_int_equal(hf_word_position(&word), 4096);
    assert_int_equal(hf_word_time_ns(&word), 17);
    assert_int_equal(hf_word_mark(&word), 3);
    assert_true(hf_word_try(&word, &takers[GUEST]));
    hf_word_set_position(&word, 8192);
    hf_word_set_time_ns(&word, 18);
    hf_word_set_mark(&word, 4);
    hf_word_release(&word, &takers[GUEST]);
    assert_int_equal(hf_word_position(&word), 8192);
    assert_int_equal(hf_word_time_ns(&word), 18);
    assert_int_equal(hf_word_mark(&word), 4);
}

enum { STRESS_ROUNDS = 100000, STRESS_THREADS = 3 };

struct stress {
    struct hf_word_taker *taker;
    uint64_t *shared; /* plain on purpose: only the word guards it */
    uint64_t turns;
};

/* Every thread goes on until all its rounds had the word, wanting it when refused: one that starves hangs the test. */
static void *stress_turns(void *context)
{
    struct stress *stress = context;
    while (stress->turns < STRESS_ROUNDS) {
        bool with_bound = stress->turns % 2 == 0;
        bool held = with_bound ? hf_word_take(&word, stress->taker, 50) : hf_word_try(&word, stress->taker);
        if (!held) {
            hf_word_want(&word, stress->taker);
            sched_yield();
            continue;
        }
        stress->shared[0]++;
        stress->shared[1] = stress->shared[0] * 3;
        hf_word_set_position(&word, hf_word_position(&word) + 8);
        stress->turns++;
        hf_word_release(&word, stress->taker);
    }
    hf_word_unwant(&word, stress->taker);
    return NULL;
}

static void threads_exclude_each_other_and_none_starves(void **state)
{
    (void)state;
    uint64_t shared[2] = {0, 0};
    struct stress stress[STRESS_THREADS];
    pthread_t threads[STRESS_THREADS];
    for (int i = 0; i < STRESS_THREADS; i++) {
        stress[i] = (struct stress){.taker = &takers[i], .shared = shared};
        assert_int_equal(pthread_create(&threads[i], NULL, stress_turns, &stress[i]), 0);
    }
    for (int i = 0; i < STRESS_THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(shared[0], STRESS_ROUNDS * STRESS_THREADS);
    assert_int_equal(shared[1], STRESS_ROUNDS * STRESS_THREADS * 3);
    assert_int_equal(hf_word_position(&word), 4096 + 8 * STRESS_ROUNDS * STRESS_THREADS);
    assert_int_equal(hf_load_relaxed_u64(&word.taken), STRESS_ROUNDS * STRESS_THREADS);
    assert_int_equal(hf_load_relaxed_u64(&word.wanted), 0);
    for (int i = 0; i < STRESS_THREADS; i++)
        assert_int_equal(hf_load_relaxed_u64(&takers[i].taken), STRESS_ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_free_word_is_taken_once_until_it_is_let_go, fresh_word),
        cmocka_unit_test_setup(a_take_ends_at_its_bound_when_the_word_stays_held, fresh_word),
        cmocka_unit_test_setup(the_home_shard_stays_off_a_wanted_word_until_the_wanter_took_it, fresh_word),
        cmocka_unit_test_setup(every_wanter_gets_its_turn_before_the_home_shard, fresh_word),
        cmocka_unit_test_setup(a_wanter_that_never_comes_costs_the_home_shard_a_bounded_wait, fresh_word),
        cmocka_unit_test_setup(the_home_shards_own_want_does_not_keep_it_off, fresh_word),
        cmocka_unit_test_setup(shard_63_has_a_bit_of_its_own, fresh_word),
        cmocka_unit_test_setup(the_facts_of_a_partition_stay_with_its_word, fresh_word),
        cmocka_unit_test_setup(threads_exclude_each_other_and_none_starves, fresh_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
