/* The generator's parts that are plain arithmetic: histogram, Zipf ranks, synthetic orders. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>

#include "client/histogram.h"
#include "client/load_source.h"
#include "client/zipf.h"

static void percentiles_are_known_to_one_part_in_128(void **state)
{
    (void)state;
    static const double quantiles[] = {0.01, 0.5, 0.9, 0.99, 0.999};
    struct hf_histogram *histogram = calloc(1, sizeof *histogram);
    for (uint64_t v = 1; v <= 100000; v++)
        hf_histogram_add(histogram, v * 10, 1);
    for (unsigned i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++) {
        double exact = quantiles[i] * 1e6, got = (double)hf_histogram_at_ns(histogram, quantiles[i]);
        assert_true(got >= exact && got <= exact * (1 + 1.0 / 128) + 1);
    }
    assert_int_equal(hf_histogram_at_ns(histogram, 1), 1000000);
    assert_int_equal(histogram->max_ns, 1000000);
    free(histogram);
}

static void small_values_are_exact_and_huge_ones_are_kept(void **state)
{
    (void)state;
    struct hf_histogram *histogram = calloc(1, sizeof *histogram);
    assert_int_equal(hf_histogram_at_ns(histogram, 0.5), 0);
    for (uint64_t v = 0; v < 256; v++)
        hf_histogram_add(histogram, v, 1);
    for (uint64_t v = 0; v < 256; v++)
        assert_int_equal(hf_histogram_at_ns(histogram, (double)(v + 1) / 256), v);
    hf_histogram_add(histogram, UINT64_MAX, 1000);
    assert_int_equal(histogram->max_ns, UINT64_MAX);
    assert_true(hf_histogram_at_ns(histogram, 0.9) >= (1ull << HF_HISTOGRAM_VALUE_BITS) - 1);
    free(histogram);
}

static void one_value_many_times_counts_as_many(void **state)
{
    (void)state;
    struct hf_histogram *histogram = calloc(1, sizeof *histogram);
    hf_histogram_add(histogram, 10, 99);
    hf_histogram_add(histogram, 20, 1);
    assert_int_equal(hf_histogram_at_ns(histogram, 0.99), 10);
    assert_int_equal(hf_histogram_at_ns(histogram, 0.991), 20);
    assert_int_equal(histogram->count, 100);
    free(histogram);
}

/* Every rank's share stands within six standard deviations of its probability. */
static void check_zipf(uint64_t n, double s)
{
    enum { DRAWS = 400000 };
    struct hf_zipf zipf;
    struct hf_random random = {42};
    uint64_t *counts = calloc(n + 1, sizeof *counts);
    double sum = 0;
    hf_zipf_init(&zipf, n, s);
    for (uint64_t k = 1; k <= n; k++)
        sum += pow((double)k, -s);
    for (int i = 0; i < DRAWS; i++) {
        uint64_t k = hf_zipf_next(&zipf, &random);
        assert_in_range(k, 1, n);
        counts[k]++;
    }
    for (uint64_t k = 1; k <= n; k++) {
        double expected = DRAWS * pow((double)k, -s) / sum;
        assert_true(fabs((double)counts[k] - expected) <= 6 * sqrt(expected) + 6);
    }
    free(counts);
}

static void zipf_ranks_come_in_their_proportions(void **state)
{
    (void)state;
    static const double exponents[] = {0, 0.5, 0.99, 1, 1.2, 2};
    for (unsigned i = 0; i < sizeof exponents / sizeof exponents[0]; i++) {
        check_zipf(1, exponents[i]);
        check_zipf(2, exponents[i]);
        check_zipf(100, exponents[i]);
        check_zipf(1000, exponents[i]);
    }
}

static void synthetic_orders_have_exactly_so_many_distinct_skus(void **state)
{
    (void)state;
    struct hf_load_options options = {.skus = 10, .lines = 10, .quantity = 3, .zipf = 1.5, .seed = 7, .has_rate = true, .rate = 1000};
    struct hf_load_source *source = malloc(sizeof *source);
    hf_load_source_init(source, &options);
    for (int i = 0; i < 200; i++) {
        struct hf_load_order order;
        hf_load_source_next(source, &order);
        assert_int_equal(order.line_count, 10);
        for (unsigned a = 0; a < 10; a++) {
            assert_in_range(order.lines[a].quantity, 1, 3);
            assert_int_equal(order.lines[a].location, 1);
            for (unsigned b = 0; b < a; b++)
                assert_false(hf_sku_equal(&order.lines[a].sku, &order.lines[b].sku));
        }
    }
    free(source);
}

static void synthetic_skus_have_six_digits_or_more(void **state)
{
    (void)state;
    static const struct {
        uint64_t rank;
        const char *name;
    } cases[] = {{1, "SKU000001"}, {42, "SKU000042"}, {999999, "SKU999999"}, {1000000, "SKU1000000"}, {1000000000, "SKU1000000000"}};
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hf_sku wanted = {{0, 0}}, got = hf_load_sku(cases[i].rank);
        assert_true(hf_sku_from_text(cases[i].name, strlen(cases[i].name), &wanted));
        assert_true(hf_sku_equal(&wanted, &got));
    }
}

static void a_trace_repeats_after_its_own_length(void **state)
{
    (void)state;
    struct hf_trace_order orders[3] = {{.time_ms = 0}, {.time_ms = 100}, {.time_ms = 300}};
    struct hf_trace trace = {.orders = orders, .order_count = 3, .length_ms = 300};
    struct hf_load_options options = {.trace = &trace, .speed = 2, .orders = 5};
    struct hf_load_source *source = malloc(sizeof *source);
    hf_load_source_init(source, &options);
    assert_int_equal(hf_load_source_due_ns(source, 0), 0);
    assert_int_equal(hf_load_source_due_ns(source, 2), 150000000);
    assert_int_equal(hf_load_source_due_ns(source, 3), 200500000);
    assert_int_equal(hf_load_source_total(source), 5);
    options.orders = 0;
    assert_int_equal(hf_load_source_total(source), 3);
    options.seconds = 1;
    assert_true(hf_load_source_total(source) == UINT64_MAX);
    free(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_known_to_one_part_in_128),
        cmocka_unit_test(small_values_are_exact_and_huge_ones_are_kept),
        cmocka_unit_test(one_value_many_times_counts_as_many),
        cmocka_unit_test(zipf_ranks_come_in_their_proportions),
        cmocka_unit_test(synthetic_orders_have_exactly_so_many_distinct_skus),
        cmocka_unit_test(synthetic_skus_have_six_digits_or_more),
        cmocka_unit_test(a_trace_repeats_after_its_own_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
