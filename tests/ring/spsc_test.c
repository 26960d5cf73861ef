#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "ring/spsc.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

static struct hf_spsc *ring_make(uint32_t capacity, size_t element_bytes, uint64_t first_index)
{
    size_t bytes = hf_spsc_bytes(capacity, element_bytes);
    assert_int_not_equal(bytes, 0);
    return hf_spsc_init(aligned_alloc(HF_CACHE_PAD_BYTES, bytes), capacity, element_bytes, first_index);
}

static void numbers_put(struct hf_spsc *ring, uint64_t from, uint32_t count)
{
    uint64_t numbers[64];
    for (uint32_t i = 0; i < count; i++)
        numbers[i] = from + i;
    assert_int_equal(hf_spsc_put(ring, numbers, count, sizeof(numbers[0])), count);
}

static void numbers_get(struct hf_spsc *ring, uint64_t from, uint32_t count)
{
    uint64_t numbers[64];
    assert_int_equal(hf_spsc_get(ring, numbers, count, sizeof(numbers[0])), count);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(numbers[i], from + i);
}

static void sizes_that_are_not_valid_are_refused(void **state)
{
    (void)state;
    alignas(HF_CACHE_PAD_BYTES) unsigned char memory[1024];
    assert_int_equal(hf_spsc_bytes(0, 8), 0);
    assert_int_equal(hf_spsc_bytes(3, 8), 0);
    assert_int_equal(hf_spsc_bytes(8, 0), 0);
    assert_int_equal(hf_spsc_bytes(UINT32_C(1) << 31, SIZE_MAX / 4), 0);
    assert_null(hf_spsc_init(memory, 3, 8, 0));
    assert_null(hf_spsc_init(memory + 8, 4, 8, 0));
    assert_null(hf_spsc_init(NULL, 4, 8, 0));
}

static void a_full_ring_takes_what_fits_and_an_empty_one_gives_nothing(void **state)
{
    (void)state;
    struct hf_spsc *ring = ring_make(8, sizeof(uint64_t), 0);
    uint64_t numbers[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    assert_int_equal(hf_spsc_get(ring, numbers, 10, sizeof(uint64_t)), 0);
    assert_int_equal(hf_spsc_put(ring, numbers, 10, sizeof(uint64_t)), 8);
    assert_int_equal(hf_spsc_put(ring, numbers, 1, sizeof(uint64_t)), 0);
    assert_int_equal(hf_spsc_used(ring), 8);
    assert_int_equal(hf_spsc_room(ring, 1), 0);
    numbers_get(ring, 0, 8);
    assert_int_equal(hf_spsc_get(ring, numbers, 1, sizeof(uint64_t)), 0);
    assert_int_equal(hf_spsc_used(ring), 0);
    assert_int_equal(hf_spsc_room(ring, 100), 8);
    free(ring);
}

static void a_ring_of_one_element_alternates(void **state)
{
    (void)state;
    struct hf_spsc *ring = ring_make(1, sizeof(uint64_t), UINT64_MAX - 2);
    for (uint64_t n = 0; n < 8; n++) {
        numbers_put(ring, n, 1);
        assert_int_equal(hf_spsc_put(ring, &n, 1, sizeof(n)), 0);
        numbers_get(ring, n, 1);
    }
    free(ring);
}

static void batches_keep_their_order_across_the_end_of_the_slots(void **state)
{
    (void)state;
    struct hf_spsc *ring = ring_make(16, sizeof(uint64_t), 0);
    uint64_t next = 0;
    for (uint32_t round = 0; round < 100; round++) {
        uint32_t count = 1 + round % 16;
        numbers_put(ring, next, count);
        numbers_get(ring, next, count);
        next += count;
    }
    free(ring);
}

static void wrap_is_invisible_from(uint64_t first_index)
{
    struct hf_spsc *ring = ring_make(8, sizeof(uint64_t), first_index);
    numbers_put(ring, 0, 5);
    for (uint64_t n = 0; n < 40; n += 3) {
        numbers_put(ring, n + 5, 3);
        assert_int_equal(hf_spsc_used(ring), 8);
        assert_int_equal(hf_spsc_room(ring, 1), 0);
        numbers_get(ring, n, 3);
        assert_int_equal(hf_spsc_used(ring), 5);
    }
    free(ring);
}

static void indices_run_through_2_to_the_64(void **state)
{
    (void)state;
    for (uint64_t before = 0; before < 24; before++)
        wrap_is_invisible_from(UINT64_MAX - before);
}

static void indices_run_through_2_to_the_32(void **state)
{
    (void)state;
    for (uint64_t before = 0; before < 24; before++)
        wrap_is_invisible_from(UINT32_MAX - before);
}

static void elements_of_odd_sizes_are_kept_whole(void **state)
{
    (void)state;
    struct {
        unsigned char bytes[13];
    } in, out;
    struct hf_spsc *ring = ring_make(4, sizeof(in), 2);
    for (unsigned char n = 0; n < 20; n++) {
        memset(&in, n, sizeof(in));
        assert_int_equal(hf_spsc_put(ring, &in, 1, sizeof(in)), 1);
        assert_int_equal(hf_spsc_get(ring, &out, 1, sizeof(out)), 1);
        assert_memory_equal(&in, &out, sizeof(in));
    }
    free(ring);
}

static void spans_in_place_never_wrap_and_may_be_used_in_part(void **state)
{
    (void)state;
    struct hf_spsc *ring = ring_make(8, sizeof(uint64_t), 6);
    void *span = NULL;
    assert_int_equal(hf_spsc_peek(ring, 8, &span), 0);
    assert_null(span);
    assert_int_equal(hf_spsc_reserve(ring, 8, &span), 2);
    ((uint64_t *)span)[0] = 0;
    ((uint64_t *)span)[1] = 1;
    hf_spsc_commit(ring, 2);
    assert_int_equal(hf_spsc_reserve(ring, 8, &span), 6);
    ((uint64_t *)span)[0] = 2;
    hf_spsc_commit(ring, 1);
    assert_int_equal(hf_spsc_used(ring), 3);
    assert_int_equal(hf_spsc_peek(ring, 8, &span), 2);
    assert_int_equal(((uint64_t *)span)[1], 1);
    hf_spsc_release(ring, 1);
    assert_int_equal(hf_spsc_peek(ring, 8, &span), 1);
    assert_int_equal(((uint64_t *)span)[0], 1);
    hf_spsc_release(ring, 1);
    numbers_get(ring, 2, 1);
    free(ring);
}

enum { STRESS_ELEMENTS = 200000 };

struct stress_element {
    uint64_t number;
    uint64_t check;
};

static uint64_t mix(uint64_t n)
{
    n ^= n >> 31;
    n *= UINT64_C(0x9e3779b97f4a7c15);
    return n ^ n >> 29;
}

static void *stress_produce(void *context)
{
    struct hf_spsc *ring = context;
    struct stress_element batch[32];
    for (uint64_t next = 0; next < STRESS_ELEMENTS;) {
        uint32_t count = 1 + (uint32_t)(mix(next) % 32);
        if (count > STRESS_ELEMENTS - next)
            count = (uint32_t)(STRESS_ELEMENTS - next);
        for (uint32_t i = 0; i < count; i++)
            batch[i] = (struct stress_element){.number = next + i, .check = mix(next + i)};
        uint32_t put = hf_spsc_put(ring, batch, count, sizeof(batch[0]));
        next += put;
        if (put == 0)
            sched_yield();
    }
    return NULL;
}

static uint32_t stress_check_span(struct hf_spsc *ring, uint64_t next, uint64_t *wrong)
{
    void *span = NULL;
    uint32_t count = hf_spsc_peek(ring, 48, &span);
    const struct stress_element *elements = span;
    for (uint32_t i = 0; i < count; i++)
        *wrong += elements[i].number != next + i || elements[i].check != mix(next + i);
    if (count != 0)
        hf_spsc_release(ring, count);
    return count;
}

static void two_threads_hand_over_every_element_once_whole_and_in_order(void **state)
{
    (void)state;
    struct hf_spsc *ring = ring_make(64, sizeof(struct stress_element), UINT64_MAX - 1000);
    pthread_t producer;
    assert_int_equal(pthread_create(&producer, NULL, stress_produce, ring), 0);
    uint64_t wrong = 0;
    for (uint64_t next = 0; next < STRESS_ELEMENTS;) {
        uint32_t count = stress_check_span(ring, next, &wrong);
        next += count;
        if (count == 0)
            sched_yield();
    }
    pthread_join(producer, NULL);
    assert_int_equal(wrong, 0);
    assert_int_equal(hf_spsc_used(ring), 0);
    free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_that_are_not_valid_are_refused),
        cmocka_unit_test(a_full_ring_takes_what_fits_and_an_empty_one_gives_nothing),
        cmocka_unit_test(a_ring_of_one_element_alternates),
        cmocka_unit_test(batches_keep_their_order_across_the_end_of_the_slots),
        cmocka_unit_test(indices_run_through_2_to_the_64),
        cmocka_unit_test(indices_run_through_2_to_the_32),
        cmocka_unit_test(elements_of_odd_sizes_are_kept_whole),
        cmocka_unit_test(spans_in_place_never_wrap_and_may_be_used_in_part),
        cmocka_unit_test(two_threads_hand_over_every_element_once_whole_and_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
