/* The sketch of hot SKUs: nothing hot is missed, and no row claims more than its error allows. */
#include "client/sketch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "client/random.h"

enum { SKUS = 5000, DRAWS = 200000 };

static struct hf_sku sku_of(unsigned number)
{
    char text[17];
    struct hf_sku sku;
    int bytes = snprintf(text, sizeof text, "SKU%u", number);
    assert_true(hf_sku_from_text(text, (size_t)bytes, &sku));
    return sku;
}

static void few_skus_are_counted_exactly(void **state)
{
    (void)state;
    struct hf_sketch sketch = {0};
    struct hf_sketch_row rows[HF_SKETCH_ROWS];
    for (unsigned number = 0; number < 100; number++) {
        struct hf_sku sku = sku_of(number);
        for (unsigned hit = 0; hit <= number; hit++)
            hf_sketch_add(&sketch, &sku, 1);
    }
    assert_int_equal(hf_sketch_top(&sketch, rows, HF_SKETCH_ROWS), 100);
    assert_int_equal(sketch.total, 100 * 101 / 2);
    for (unsigned i = 0; i < 100; i++) {
        struct hf_sku sku = sku_of(99 - i);
        assert_true(hf_sku_equal(&rows[i].sku, &sku));
        assert_int_equal(rows[i].hits, 100 - i);
        assert_int_equal(rows[i].error, 0);
    }
}

/* The paper's two bounds, on a skewed stream over many more SKUs than rows. */
static void every_hot_sku_is_a_row_and_no_row_exceeds_its_error(void **state)
{
    (void)state;
    struct hf_sketch sketch = {0};
    static uint64_t truth[SKUS];
    struct hf_random random = {42};
    for (unsigned i = 0; i < DRAWS; i++) {
        uint64_t drawn = hf_random_next(&random), spread = hf_random_next(&random) % 12;
        unsigned number = (unsigned)(drawn % SKUS) >> spread;
        struct hf_sku sku = sku_of(number);
        truth[number]++;
        hf_sketch_add(&sketch, &sku, 1);
    }
    struct hf_sketch_row rows[HF_SKETCH_ROWS];
    assert_int_equal(hf_sketch_top(&sketch, rows, HF_SKETCH_ROWS), HF_SKETCH_ROWS);
    assert_int_equal(sketch.total, DRAWS);
    unsigned hot = 0;
    for (unsigned number = 0; number < SKUS; number++) {
        struct hf_sku sku = sku_of(number);
        const struct hf_sketch_row *found = NULL;
        for (unsigned i = 0; i < HF_SKETCH_ROWS; i++)
            if (hf_sku_equal(&rows[i].sku, &sku))
                found = &rows[i];
        if (truth[number] > DRAWS / HF_SKETCH_ROWS) {
            hot++;
            assert_non_null(found);
        }
        if (found) {
            assert_true(found->hits >= truth[number]);
            assert_true(found->hits - found->error <= truth[number]);
        }
    }
    assert_true(hot > 3);
}

static void what_is_asked_for_no_more_fades_away(void **state)
{
    (void)state;
    struct hf_sketch sketch = {0};
    struct hf_sku old = sku_of(1), fresh = sku_of(2);
    hf_sketch_add(&sketch, &old, 1000);
    for (unsigned i = 0; i < 9; i++) {
        hf_sketch_fade(&sketch);
        hf_sketch_add(&sketch, &fresh, 4);
    }
    struct hf_sketch_row row;
    assert_int_equal(hf_sketch_top(&sketch, &row, 1), 1);
    assert_true(hf_sku_equal(&row.sku, &fresh));
    hf_sketch_fade(&sketch);
    assert_int_equal(hf_sketch_top(&sketch, &row, 1), 1);
    assert_int_equal(sketch.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_skus_are_counted_exactly),
        cmocka_unit_test(every_hot_sku_is_a_row_and_no_row_exceeds_its_error),
        cmocka_unit_test(what_is_asked_for_no_more_fades_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
