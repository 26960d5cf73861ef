/* Routes against the xxHash project's own implementation (XXH64, seed 0), ids, and the table of results. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "wire/block.h"
#include "wire/frame.h"
#include "wire/record.h"
#include "wire/result.h"
#include "wire/types.h"

/* Computed with version 3 of the xxhash package for Python: xxh64_intdigest(text padded with zeros to 16 bytes). */
static const struct {
    const char *text;
    uint64_t hash;
} vectors[] = {
    {"SKU000001", 0x9d1602a8dc7bf83b},
    {"A", 0xe7560d9594b6e1ff},
    {"0123456789ABCDEF", 0x50ee91a9dd7aeaa6},
    {"\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff", 0x9500eaf0190f12a1},
    {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 0xa721445d6a57c444},
    {"milk 1l", 0x18f424a7463e5d2b},
};

static void routes_are_the_low_bits_of_xxh64(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        struct hf_sku sku = {{0, 0}};
        assert_true(hf_sku_from_text(vectors[i].text, strlen(vectors[i].text), &sku));
        assert_true(hf_xxh64_16(sku.word) == vectors[i].hash);
        assert_int_equal(hf_route(&sku), vectors[i].hash & 0xffff);
        assert_int_equal(hf_partition(hf_route(&sku), 256), vectors[i].hash & 0xff);
    }
    assert_true(hf_xxh64_16((const uint64_t[2]){0, 0}) == 0xaf09f71516247c32);
}

static void a_sku_has_1_to_16_bytes(void **state)
{
    (void)state;
    struct hf_sku sku = {{5, 5}};
    assert_false(hf_sku_from_text("", 0, &sku));
    assert_false(hf_sku_from_text("12345678901234567", 17, &sku));
    assert_int_equal(sku.word[0], 5);
    assert_true(hf_sku_none(&(struct hf_sku){{0, 0}}));
    assert_true(hf_sku_from_text("1234567890123456", 16, &sku));
    assert_memory_equal(&sku, "1234567890123456", 16);
}

static void an_id_holds_its_route_and_its_time(void **state)
{
    (void)state;
    struct hf_id id = hf_id_make(0xbeef, 0x123456789abc, 42);
    assert_int_equal(hf_id_route(id), 0xbeef);
    assert_true(hf_id_ms(id) == 0x123456789abc && id.low == 42);
    assert_true(hf_id_ms(hf_id_make(1, UINT64_MAX, 0)) == 0xffffffffffff);
    assert_int_equal(hf_id_route(hf_id_make(1, UINT64_MAX, 0)), 1);
    assert_int_equal(hf_id_compare(id, id), 0);
    assert_int_equal(hf_id_compare((struct hf_id){1, 9}, (struct hf_id){2, 0}), -1);
    assert_int_equal(hf_id_compare((struct hf_id){1, 9}, (struct hf_id){1, 8}), 1);
    assert_true(hf_id_none((struct hf_id){0, 0}) && !hf_id_none((struct hf_id){0, 1}));
}

static void every_result_has_a_name_of_its_own(void **state)
{
    (void)state;
    unsigned named = 0;
    for (unsigned code = 0; code < HF_RESULT_COUNT + 100; code++) {
        const char *name = hf_result_name(code);
        named += strcmp(name, "UNKNOWN") != 0;
        for (unsigned other = 0; other < code; other++)
            assert_true(strcmp(name, "UNKNOWN") == 0 || strcmp(name, hf_result_name(other)) != 0);
    }
    assert_true(named >= 41);
    assert_string_equal(hf_result_name(HF_OK), "OK");
    assert_string_equal(hf_result_name(HF_LOG_DAMAGED), "LOG_DAMAGED");
}

static void every_table_names_its_option(void **state)
{
    (void)state;
    for (unsigned table = 1; table < HF_TABLE_COUNT; table++)
        assert_string_not_equal(hf_table_option(table), "unknown table");
    assert_string_equal(hf_table_option(0), "unknown table");
    assert_string_equal(hf_table_option(HF_TABLE_COUNT), "unknown table");
    assert_string_equal(hf_table_option(HF_TABLE_ORDERS), "--max-orders");
}

static void a_frame_starts_with_its_name_and_a_record_holds_the_largest_command(void **state)
{
    (void)state;
    const uint32_t magic = HF_FRAME_MAGIC;
    assert_memory_equal(&magic, "HFF1", 4);
    struct hf_record record = {.line_count = HF_LINES_MAX, .intent_count = HF_INTENTS_MAX};
    assert_int_equal(hf_outcome_bytes(&record, false) + HF_COMMAND_BYTES_MAX, HF_RECORD_BYTES_MAX);
    assert_int_equal(hf_outcome_bytes(&record, true), 40 + HF_LINES_MAX * 32 + HF_INTENTS_MAX * 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_are_the_low_bits_of_xxh64),
        cmocka_unit_test(a_sku_has_1_to_16_bytes),
        cmocka_unit_test(an_id_holds_its_route_and_its_time),
        cmocka_unit_test(every_result_has_a_name_of_its_own),
        cmocka_unit_test(every_table_names_its_option),
        cmocka_unit_test(a_frame_starts_with_its_name_and_a_record_holds_the_largest_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
