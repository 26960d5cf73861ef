#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "wire/crc32c.h"

static uint32_t bitwise(uint32_t state, const uint8_t *at, size_t bytes)
{
    for (; bytes > 0; at++, bytes--) {
        state ^= *at;
        for (int bit = 0; bit < 8; bit++)
            state = state >> 1 ^ (state & 1 ? 0x82f63b78u : 0);
    }
    return state;
}

static uint8_t buffer[1 << 18];

static void fill(void)
{
    uint64_t x = 88172645463325252ull;
    for (size_t i = 0; i < sizeof buffer; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        buffer[i] = (uint8_t)x;
    }
}

static void the_known_vectors_of_rfc_3720_hold(void **state)
{
    (void)state;
    uint8_t data[32];
    memset(data, 0, sizeof data);
    assert_int_equal(hf_crc32c(0, data, 32), 0x8a9136aa);
    memset(data, 0xff, sizeof data);
    assert_int_equal(hf_crc32c(0, data, 32), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        data[i] = i;
    assert_int_equal(hf_crc32c(0, data, 32), 0x46dd794e);
    for (uint8_t i = 0; i < 32; i++)
        data[i] = (uint8_t)(31 - i);
    assert_int_equal(hf_crc32c(0, data, 32), 0x113fdb5c);
    assert_int_equal(hf_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(hf_crc32c(0, "", 0), 0);
}

static void every_length_up_to_4096_agrees_with_the_bitwise_definition(void **state)
{
    (void)state;
    fill();
    uint32_t expected = ~0u;
    for (size_t bytes = 0; bytes <= 4096; bytes++) {
        assert_int_equal(hf_crc32c(0, buffer, bytes), ~expected);
        assert_int_equal(~hf_crc32c_software(~0u, buffer, bytes), ~expected);
        expected = bitwise(expected, buffer + bytes, 1);
    }
}

static void every_alignment_agrees_with_the_bitwise_definition(void **state)
{
    (void)state;
    fill();
    static const size_t lengths[] = {1, 7, 8, 63, 64, 119, 120, 121, 168, 576, 583, 3072, 4095, 6144, 262000};
    for (size_t from = 0; from < 16; from++)
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            uint32_t expected = ~bitwise(~0u, buffer + from, lengths[i]);
            assert_int_equal(hf_crc32c(0, buffer + from, lengths[i]), expected);
            assert_int_equal(~hf_crc32c_software(~0u, buffer + from, lengths[i]), expected);
        }
}

static void parts_compose_to_the_whole(void **state)
{
    (void)state;
    fill();
    uint32_t whole = hf_crc32c(0, buffer, 5000);
    for (size_t cut = 0; cut <= 5000; cut += 7)
        assert_int_equal(hf_crc32c(hf_crc32c(0, buffer, cut), buffer + cut, 5000 - cut), whole);
}

static void the_table_is_the_one_of_the_polynomial(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 8; k++)
        for (unsigned b = 0; b < 256; b++) {
            uint8_t bytes[8] = {(uint8_t)b};
            assert_int_equal(hf_crc32c_table[k][b], bitwise(0, bytes, k + 1));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_known_vectors_of_rfc_3720_hold),
        cmocka_unit_test(every_length_up_to_4096_agrees_with_the_bitwise_definition),
        cmocka_unit_test(every_alignment_agrees_with_the_bitwise_definition),
        cmocka_unit_test(parts_compose_to_the_whole),
        cmocka_unit_test(the_table_is_the_one_of_the_polynomial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
