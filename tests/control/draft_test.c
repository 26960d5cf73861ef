/* What a request's fields become in a command. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "control/api/draft.h"

static _Alignas(8) uint8_t scratch[HF_COMMAND_BYTES_MAX];

/* Python: hashlib.sha256(text).digest()[:16]. */
static void a_request_id_is_the_first_half_of_its_sha256(void **state)
{
    (void)state;
    char longest[HF_DRAFT_KEY_BYTES_MAX + 1] = {0};
    memset(longest, 'a', HF_DRAFT_KEY_BYTES_MAX);
    static const uint8_t of_abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23};
    static const uint8_t of_longest[] = {0xb0, 0xf3, 0x32, 0x3e, 0x7a, 0x3c, 0xad, 0x8a, 0xe6, 0x77, 0x83, 0x40, 0xcc, 0x2a, 0x17, 0xae};
    const struct {
        const char *text;
        const uint8_t *key;
    } vectors[] = {{"abc", of_abc}, {longest, of_longest}};
    for (unsigned i = 0; i < 2; i++) {
        struct hf_draft draft;
        struct hf_request_key key;
        hf_draft_begin(&draft, scratch, 0, HF_PLACE);
        hf_draft_request_id(&draft, vectors[i].text);
        assert_int_equal(draft.result, HF_OK);
        assert_true(hf_command_request_key(draft.command, &key));
        assert_memory_equal(&key, vectors[i].key, sizeof key);
    }
}

static void a_request_id_that_is_too_long_is_refused_and_an_empty_one_is_none(void **state)
{
    (void)state;
    char text[HF_DRAFT_KEY_BYTES_MAX + 2] = {0};
    memset(text, 'a', HF_DRAFT_KEY_BYTES_MAX + 1);
    struct hf_draft draft;
    hf_draft_begin(&draft, scratch, 0, HF_PLACE);
    hf_draft_request_id(&draft, "");
    assert_int_equal(draft.command->ext_bytes, 0);
    assert_int_equal(draft.result, HF_OK);
    hf_draft_request_id(&draft, text);
    assert_int_equal(draft.command->ext_bytes, 0);
    assert_int_equal(draft.result, HF_BAD_EXTENSION);
    assert_string_equal(draft.field, "request_id");
}

static void a_trace_is_left_out_where_the_command_has_no_room_for_it(void **state)
{
    (void)state;
    static const char trace[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    struct hf_draft draft;
    hf_draft_begin(&draft, scratch, 0, HF_PLACE);
    draft.command->length = HF_COMMAND_BYTES_MAX - 24;
    hf_draft_trace(&draft, trace, sizeof trace - 1);
    assert_int_equal(draft.command->length, HF_COMMAND_BYTES_MAX - 24);
    assert_int_equal(draft.command->ext_bytes, 0);
    draft.command->length = HF_COMMAND_BYTES_MAX - 32;
    hf_draft_trace(&draft, trace, sizeof trace - 1);
    assert_int_equal(draft.command->length, HF_COMMAND_BYTES_MAX);
    assert_int_equal(draft.command->ext_bytes, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_id_is_the_first_half_of_its_sha256),
        cmocka_unit_test(a_request_id_that_is_too_long_is_refused_and_an_empty_one_is_none),
        cmocka_unit_test(a_trace_is_left_out_where_the_command_has_no_room_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
