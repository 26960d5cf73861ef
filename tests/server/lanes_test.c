#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/lanes.h"

enum { PARTITIONS = 8, TASKS_MAX = 16 };

static struct hf_task task_of(uint32_t home, uint32_t number)
{
    return (struct hf_task){.home = home, .origin = number};
}

static int make(void **state)
{
    *state = hf_lanes_create(PARTITIONS, TASKS_MAX);
    return *state ? 0 : -1;
}

static int destroy(void **state)
{
    hf_lanes_destroy(*state);
    return 0;
}

static void a_lane_gives_its_tasks_in_the_order_in_which_they_came(void **state)
{
    struct hf_lanes *lanes = *state;
    for (uint32_t i = 0; i < 10; i++) {
        struct hf_task task = task_of(i % 2, i);
        assert_true(hf_lanes_park(lanes, &task));
    }
    assert_int_equal(hf_lanes_count(lanes), 2);
    for (uint32_t home = 0; home < 2; home++)
        for (uint32_t i = home; i < 10; i += 2) {
            assert_int_equal(hf_lanes_first(lanes, home)->origin, i);
            hf_lanes_take(lanes, home);
        }
    assert_null(hf_lanes_first(lanes, 0));
    assert_false(hf_lanes_busy(lanes, 1));
    assert_int_equal(hf_lanes_count(lanes), 0);
}

static void a_full_store_refuses_and_takes_again_when_one_has_left(void **state)
{
    struct hf_lanes *lanes = *state;
    struct hf_task task = task_of(3, 0);
    for (int i = 0; i < TASKS_MAX; i++)
        assert_true(hf_lanes_park(lanes, &task));
    assert_false(hf_lanes_park(lanes, &task));
    assert_int_equal(hf_lanes_parked(lanes), TASKS_MAX);
    hf_lanes_take(lanes, 3);
    assert_true(hf_lanes_park(lanes, &task));
    assert_false(hf_lanes_park(lanes, &task));
}

static void what_a_lane_lacks_is_kept_by_home(void **state)
{
    struct hf_lanes *lanes = *state;
    for (uint32_t home = 0; home < PARTITIONS; home++)
        assert_true(hf_lanes_lacking(lanes, home) == HF_LANES_NONE);
    hf_lanes_set_lacking(lanes, 2, 7);
    assert_int_equal(hf_lanes_lacking(lanes, 2), 7);
    assert_true(hf_lanes_lacking(lanes, 7) == HF_LANES_NONE);
}

/* Each home stands in the list once while its lane is busy. */
static void check_listed(const struct hf_lanes *lanes, const uint32_t parked[PARTITIONS])
{
    uint32_t busy = 0, sum = 0, listed[PARTITIONS] = {0};
    for (uint32_t i = 0; i < hf_lanes_count(lanes); i++)
        listed[hf_lanes_home(lanes, i)]++;
    for (uint32_t home = 0; home < PARTITIONS; home++) {
        assert_int_equal(listed[home], parked[home] > 0);
        assert_int_equal(hf_lanes_busy(lanes, home), parked[home] > 0);
        busy += parked[home] > 0;
        sum += parked[home];
    }
    assert_int_equal(hf_lanes_count(lanes), busy);
    assert_int_equal(hf_lanes_parked(lanes), sum);
}

static void any_order_of_parking_and_taking_agrees_with_a_model(void **state)
{
    struct hf_lanes *lanes = *state;
    uint32_t parked[PARTITIONS] = {0}, came[PARTITIONS] = {0}, left[PARTITIONS] = {0};
    uint64_t random = 7;
    for (int i = 0; i < 20000; i++) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t home = (uint32_t)(random >> 40) % PARTITIONS;
        if (random >> 62 != 0) {
            struct hf_task task = task_of(home, came[home]);
            bool room = hf_lanes_parked(lanes) < TASKS_MAX;
            assert_int_equal(hf_lanes_park(lanes, &task), room);
            came[home] += room;
            parked[home] += room;
        } else if (parked[home] > 0) {
            assert_int_equal(hf_lanes_first(lanes, home)->origin, left[home]++);
            hf_lanes_take(lanes, home);
            parked[home]--;
        }
        check_listed(lanes, parked);
        if (i % 64 == 0)
            for (uint32_t each = 0; each < PARTITIONS; each++)
                for (; parked[each] > 0; parked[each]--, left[each]++)
                    hf_lanes_take(lanes, each);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_lane_gives_its_tasks_in_the_order_in_which_they_came, make, destroy),
        cmocka_unit_test_setup_teardown(a_full_store_refuses_and_takes_again_when_one_has_left, make, destroy),
        cmocka_unit_test_setup_teardown(what_a_lane_lacks_is_kept_by_home, make, destroy),
        cmocka_unit_test_setup_teardown(any_order_of_parking_and_taking_agrees_with_a_model, make, destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
