/* Encodings of gRPC's header fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "control/grpc/text.h"

static void messages_are_percent_encoded_outside_printable_ascii(void **state)
{
    char out[HF_GRPC_PERCENT_MAX(16)];
    (void)state;
    assert_int_equal(hf_grpc_percent_encode("a b~", 4, out), 4);
    assert_memory_equal(out, "a b~", 4);
    assert_int_equal(hf_grpc_percent_encode("%\n\x7F\xC3\xBC", 5, out), 15);
    assert_memory_equal(out, "%25%0A%7F%C3%BC", 15);
    assert_int_equal(hf_grpc_percent_encode("", 0, out), 0);
}

static void base64_comes_back_with_and_without_padding(void **state)
{
    uint8_t bytes[64], back[HF_GRPC_UNBASE64_MAX(HF_GRPC_BASE64_MAX(64))];
    char text[HF_GRPC_BASE64_MAX(64)];
    size_t length;
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + 200);
    for (size_t count = 0; count <= sizeof bytes; count++) {
        size_t chars = hf_grpc_base64_encode(bytes, count, text);
        assert_true(hf_grpc_base64_decode(text, chars, back, &length));
        assert_int_equal(length, count);
        assert_memory_equal(back, bytes, count);
        while (chars % 4 != 0)
            text[chars++] = '=';
        assert_true(hf_grpc_base64_decode(text, chars, back, &length));
        assert_int_equal(length, count);
    }
}

static void base64_follows_rfc_4648_and_nothing_else_passes(void **state)
{
    static const char *const wrong[] = {"A", "AAAAA", "AA=A", "A===", "====", "A-__", "AA A", "AA="};
    uint8_t back[16];
    char text[16];
    size_t length;
    (void)state;
    assert_int_equal(hf_grpc_base64_encode("foobar", 6, text), 8);
    assert_memory_equal(text, "Zm9vYmFy", 8);
    assert_int_equal(hf_grpc_base64_encode("\xFB\xFF", 2, text), 3);
    assert_memory_equal(text, "+/8", 3);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(hf_grpc_base64_decode(wrong[i], strlen(wrong[i]), back, &length));
}

static void timeouts_have_one_to_eight_digits_and_a_unit(void **state)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } good[] = {{"1n", 1},
                {"1u", 1000},
                {"1m", 1000000},
                {"1S", 1000000000},
                {"1M", 60000000000},
                {"1H", 3600000000000ull},
                {"99999999n", 99999999},
                {"0S", 0},
                {"00000007m", 7000000}};
    static const char *const wrong[] = {"", "1", "S", "123456789n", "-1S", "+1S", "1 S", "1s", "1.0S", "0x1S"};
    uint64_t ns;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(hf_grpc_timeout_ns(good[i].text, strlen(good[i].text), &ns));
        assert_int_equal(ns, good[i].ns);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(hf_grpc_timeout_ns(wrong[i], strlen(wrong[i]), &ns));
    assert_true(hf_grpc_timeout_ns("99999999H", 9, &ns));
    assert_true(ns > 1ull << 60 && ns < 1ull << 62);
}

static void names_and_values_are_what_http2_can_carry(void **state)
{
    (void)state;
    assert_true(hf_grpc_name_ok("x-a_b.c-0", 9));
    assert_false(hf_grpc_name_ok("", 0));
    assert_false(hf_grpc_name_ok("X-a", 3));
    assert_false(hf_grpc_name_ok(":path", 5));
    assert_true(hf_grpc_name_is_binary("a-bin", 5));
    assert_false(hf_grpc_name_is_binary("-bin", 4));
    assert_false(hf_grpc_name_is_binary("a-bi", 4));
    assert_true(hf_grpc_value_ok("a b", 3));
    assert_true(hf_grpc_value_ok("", 0));
    assert_false(hf_grpc_value_ok(" a", 2));
    assert_false(hf_grpc_value_ok("a\n", 2));
    assert_false(hf_grpc_value_ok("\x7F", 1));
}

static void lists_are_searched_by_whole_tokens(void **state)
{
    (void)state;
    assert_true(hf_grpc_list_has("gzip", 4, "gzip"));
    assert_true(hf_grpc_list_has("identity, deflate ,gzip", 23, "gzip"));
    assert_true(hf_grpc_list_has("identity, deflate ,gzip", 23, "deflate"));
    assert_false(hf_grpc_list_has("gzipped,xgzip", 13, "gzip"));
    assert_false(hf_grpc_list_has("", 0, "gzip"));
    assert_false(hf_grpc_list_has(",,", 2, "gzip"));
}

static void text_is_utf8_of_rfc_3629_without_nul(void **state)
{
    static const char *const good[] = {"",
                                       "plain",
                                       "\xC2\x80",
                                       "\xDF\xBF",
                                       "\xE0\xA0\x80",
                                       "\xED\x9F\xBF",
                                       "\xEE\x80\x80",
                                       "\xEF\xBF\xBF",
                                       "\xF0\x90\x80\x80",
                                       "\xF4\x8F\xBF\xBF",
                                       "a\xC3\xBC b"};
    static const char *const wrong[] = {
        "\x80", "\xC0\xAF", "\xC1\xBF",     "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xC3", "\xE2\x82", "\xF0\x90\x80", "a\xFF",        "\xE2\x28\xA1", "\xC3\x28"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(hf_grpc_is_text((const uint8_t *)good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(hf_grpc_is_text((const uint8_t *)wrong[i], strlen(wrong[i])));
    assert_false(hf_grpc_is_text((const uint8_t *)"a\0b", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_percent_encoded_outside_printable_ascii),
        cmocka_unit_test(base64_comes_back_with_and_without_padding),
        cmocka_unit_test(base64_follows_rfc_4648_and_nothing_else_passes),
        cmocka_unit_test(timeouts_have_one_to_eight_digits_and_a_unit),
        cmocka_unit_test(names_and_values_are_what_http2_can_carry),
        cmocka_unit_test(lists_are_searched_by_whole_tokens),
        cmocka_unit_test(text_is_utf8_of_rfc_3629_without_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
