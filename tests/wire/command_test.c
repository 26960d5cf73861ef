/* hf_command_check() finds every fault by its documented code, and the digest means what a command means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "wire/answer.h"
#include "wire/command_check.h"

static uint8_t memory[HF_COMMAND_BYTES_MAX + 64] __attribute__((aligned(8)));
static struct hf_command *const command = (struct hf_command *)(void *)memory;

static struct hf_line *line(unsigned i)
{
    return (struct hf_line *)(void *)(memory + sizeof *command) + i;
}

static void set_length(void)
{
    command->length = (uint32_t)(sizeof *command + command->line_count * sizeof(struct hf_line) + command->ext_bytes);
}

static void make_place(uint16_t lines)
{
    memset(memory, 0, sizeof memory);
    command->opcode = HF_PLACE;
    command->version = HF_COMMAND_VERSION;
    command->id = (struct hf_id){1, 2};
    command->line_count = lines;
    command->arg = 1000;
    command->body.place.customer = 7;
    command->body.place.channel = HF_CHANNEL_WEB;
    for (unsigned i = 0; i < lines && i < HF_LINES_MAX; i++)
        *line(i) = (struct hf_line){.sku = {{i + 1, 0}}, .location = 1, .quantity = 1, .price = 100};
    set_length();
}

/* Adds an extension behind what is there. */
static void add_extension(uint16_t type, const void *data, uint16_t bytes)
{
    uint8_t *at = memory + command->length;
    memcpy(at, &type, 2);
    memcpy(at + 2, &bytes, 2);
    memcpy(at + 4, data, bytes);
    command->ext_bytes = (uint16_t)(command->ext_bytes + ((4 + bytes + 7) & ~7));
    set_length();
}

static void expect(int result, uint16_t detail)
{
    uint16_t got = 99;
    assert_string_equal(hf_result_name((unsigned)hf_command_check(command, command->length, &got)), hf_result_name((unsigned)result));
    assert_int_equal(got, detail);
}

static void places_of_1_to_256_lines_pass(void **state)
{
    (void)state;
    static const uint16_t lines[] = {1, 2, 255, 256};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        make_place(lines[i]);
        expect(HF_OK, 0);
    }
}

static void the_smallest_form_of_every_opcode_passes(void **state)
{
    (void)state;
    unsigned known = 0;
    for (unsigned opcode = 0; opcode < 0x10000; opcode++) {
        const struct hf_command_form *form = hf_command_form((uint16_t)opcode);
        if (!form)
            continue;
        known++;
        make_place(form->lines_min);
        command->opcode = (uint16_t)opcode;
        command->arg = form->has_arg ? 1 : 0;
        memset(&command->body, 0, sizeof command->body);
        if (!form->has_id)
            command->id = (struct hf_id){0, 0};
        for (unsigned i = 0; i < form->lines_min; i++)
            *line(i) = (struct hf_line){.sku = {{1, 0}}, .location = form->has_location, .quantity = form->has_quantity};
        expect(HF_OK, 0);
        command->flags = (uint8_t)~form->flags;
        expect(HF_RESERVED_NOT_ZERO, 0);
        command->flags = form->flags;
        if (form->body_bytes < sizeof command->body) {
            command->body.bytes[form->body_bytes] = 1;
            expect(HF_RESERVED_NOT_ZERO, 0);
            command->body.bytes[form->body_bytes] = 0;
            command->body.bytes[31] = 1;
            expect(HF_RESERVED_NOT_ZERO, 0);
            command->body.bytes[31] = 0;
        }
        command->arg = 1;
        expect(form->has_arg ? HF_OK : HF_RESERVED_NOT_ZERO, 0);
        command->arg = 0;
        command->id.low = 1;
        expect(form->has_id ? HF_OK : HF_RESERVED_NOT_ZERO, 0);
        command->id.low = 0;
        command->line_count = (uint16_t)(form->lines_max + 1);
        set_length();
        expect(command->length > HF_COMMAND_BYTES_MAX ? HF_BAD_LENGTH : HF_BAD_LINE_COUNT, 0);
    }
    assert_int_equal(known, 3 + 3 + 6 + 4 + 4);
}

static void lengths_that_do_not_fit_are_bad_length(void **state)
{
    (void)state;
    uint16_t detail;
    make_place(2);
    for (size_t available = 0; available < command->length; available++)
        assert_int_equal(hf_command_check(command, available, &detail), HF_BAD_LENGTH);
    static const uint32_t lengths[] = {0, 8, 63, 64, 96, 120, 129, 136, 4096, 65536, UINT32_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        make_place(2);
        command->length = lengths[i];
        assert_int_equal(hf_command_check(command, sizeof memory, &detail), HF_BAD_LENGTH);
    }
}

static void another_version_is_bad_version(void **state)
{
    (void)state;
    make_place(1);
    command->version = 0;
    expect(HF_BAD_VERSION, 0);
    command->version = 2;
    command->opcode = 0xffff;
    expect(HF_BAD_VERSION, 0);
}

static void opcodes_without_a_meaning_and_the_engines_own_are_unknown(void **state)
{
    (void)state;
    static const uint16_t opcodes[] = {0,         0x0100,  0x0104,    0x0204,          0x0300,        0x0307, 0x0405, 0x0505,
                                       HF_EXPIRE, HF_MARK, HF_FORGET, HF_PURGE_LIMITS, HF_PURGE_KEYS, 0x0606, 0x0701, 0xffff};
    for (size_t i = 0; i < sizeof opcodes / sizeof opcodes[0]; i++) {
        make_place(1);
        command->opcode = opcodes[i];
        expect(HF_UNKNOWN_OPCODE, 0);
    }
}

static void no_line_and_257_lines_are_bad_line_count(void **state)
{
    (void)state;
    make_place(0);
    expect(HF_BAD_LINE_COUNT, 0);
    make_place(257);
    command->length = HF_COMMAND_BYTES_MAX;
    expect(HF_BAD_LINE_COUNT, 0);
    make_place(2);
    command->opcode = HF_RECEIVE;
    expect(HF_BAD_LINE_COUNT, 0);
}

static void extensions_that_do_not_fill_their_room_are_bad_extension(void **state)
{
    (void)state;
    make_place(1);
    add_extension(HF_EXT_ACTOR, "till 4", 6);
    add_extension(999, "kept", 4);
    expect(HF_OK, 0);
    uint16_t bytes = 0;
    assert_memory_equal(hf_command_extension(command, 999, &bytes), "kept", 4);
    assert_int_equal(bytes, 4);
    assert_null(hf_command_extension(command, HF_EXT_REASON, &bytes));

    uint8_t *first = memory + 96;
    first[11] = 1; /* padding of the first */
    expect(HF_BAD_EXTENSION, 0);

    make_place(1);
    add_extension(HF_EXT_ACTOR, "till", 4);
    first[7] = 'x';
    add_extension(HF_EXT_ACTOR, "abc", 3);
    first[15] = 1; /* the padding byte of the second */
    expect(HF_BAD_EXTENSION, 0);
    first[15] = 0;
    first[8] = first[9] = 0; /* type 0 */
    expect(HF_BAD_EXTENSION, 0);
    first[8] = 1;
    first[10] = 200; /* beyond the room */
    expect(HF_BAD_EXTENSION, 0);

    make_place(1);
    command->ext_bytes = 4;
    expect(HF_BAD_EXTENSION, 0);
    command->ext_bytes = HF_EXTENSION_BYTES_MAX + 8;
    expect(HF_BAD_EXTENSION, 0);
}

static void the_largest_extensions_pass(void **state)
{
    (void)state;
    uint8_t blob[HF_EXTENSION_BYTES_MAX - 4] = {0};
    make_place(HF_LINES_MAX);
    add_extension(HF_EXT_REFERENCE, blob, sizeof blob);
    assert_int_equal(command->length, HF_COMMAND_BYTES_MAX);
    expect(HF_OK, 0);
}

static void faults_of_a_line_name_the_line(void **state)
{
    (void)state;
    make_place(4);
    line(3)->quantity = 0;
    expect(HF_BAD_QUANTITY, 3);
    line(3)->quantity = 0x80000000u;
    expect(HF_BAD_QUANTITY, 3);
    line(3)->quantity = HF_QUANTITY_MAX;
    expect(HF_OK, 0);
    line(2)->sku = (struct hf_sku){{0, 0}};
    expect(HF_BAD_ARGUMENT, 2);
    line(1)->price = 1ull << 48;
    expect(HF_BAD_ARGUMENT, 1);
    line(1)->price = (1ull << 48) - 1;
    expect(HF_BAD_ARGUMENT, 2);

    make_place(1);
    command->opcode = HF_RECEIVE;
    memset(&command->body, 0, sizeof command->body);
    expect(HF_RESERVED_NOT_ZERO, 0);
    line(0)->price = 0;
    expect(HF_OK, 0);
    command->opcode = HF_ADJUST;
    expect(HF_BAD_QUANTITY, 0);
    line(0)->quantity = 0;
    expect(HF_OK, 0);
    command->opcode = HF_DEFINE_SKU;
    expect(HF_RESERVED_NOT_ZERO, 0);
}

static void the_digest_ignores_the_trace_alone(void **state)
{
    (void)state;
    make_place(3);
    add_extension(HF_EXT_ACTOR, "till 4", 6);
    uint64_t plain = hf_command_digest(command);
    add_extension(HF_EXT_TRACE_CONTEXT, "00-4bf92f3577b34da6a3ce929d0e0e4736", 35);
    assert_true(hf_command_digest(command) == plain);
    add_extension(HF_EXT_REFERENCE, "x", 1);
    assert_true(hf_command_digest(command) != plain);
}

static void the_digest_differs_with_every_byte_that_means_something(void **state)
{
    (void)state;
    make_place(3);
    add_extension(HF_EXT_ACTOR, "till", 4);
    uint64_t plain = hf_command_digest(command);
    for (uint32_t i = 4; i < command->length; i++) {
        /* Counts, and the lengths of extensions, would move what stands behind them. */
        if ((i >= 24 && i < 28) || (i >= 64 + 96 && i < 64 + 96 + 4))
            continue;
        memory[i] ^= 1;
        assert_true(hf_command_digest(command) != plain);
        memory[i] ^= 1;
    }
    assert_true(hf_command_digest(command) == plain);
}

static void the_digest_is_the_same_for_ever(void **state)
{
    (void)state;
    make_place(2);
    assert_true(hf_command_digest(command) == 0x67465506bedc43afull);
}

static void a_request_key_has_16_bytes_and_writes_alone_have_one(void **state)
{
    (void)state;
    struct hf_request_key key = {{0, 0}};
    for (uint16_t bytes = 0; bytes < 40; bytes++) {
        make_place(1);
        add_extension(HF_EXT_IDEMPOTENCY_KEY, "0123456789abcdef0123456789abcdef01234567", bytes);
        expect(bytes == 16 ? HF_OK : HF_BAD_EXTENSION, 0);
    }
    make_place(1);
    add_extension(HF_EXT_ACTOR, "somebody with a longer name", 27);
    assert_false(hf_command_request_key(command, &key));
    add_extension(HF_EXT_IDEMPOTENCY_KEY, "0123456789abcdef", 16);
    assert_true(hf_command_request_key(command, &key));
    assert_memory_equal(&key, "0123456789abcdef", 16);
    command->opcode = HF_GET_CELL;
    assert_false(hf_command_request_key(command, &key));
    command->opcode = HF_EXPIRE;
    assert_false(hf_command_request_key(command, &key));
}

static void a_request_key_is_routed_as_a_sku_of_its_bytes(void **state)
{
    (void)state;
    /* Python: hashlib.sha256(b'abc').digest()[:16] */
    static const uint8_t abc[16] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23};
    struct hf_request_key key;
    memcpy(&key, abc, sizeof key);
    assert_int_equal(hf_request_key_route(&key), 0x8232);
}

static void a_repeat_by_key_has_room_for_the_first_id(void **state)
{
    (void)state;
    static const uint16_t opcodes[] = {HF_DEFINE_SKU, HF_DEFINE_LOCATION, HF_DEFINE_POLICY,  HF_RECEIVE, HF_ADJUST, HF_SET,
                                       HF_EXTEND,     HF_SETTLE,          HF_PAYMENT_RESULT, HF_SHIP,    HF_CANCEL};
    for (size_t i = 0; i < sizeof opcodes / sizeof opcodes[0]; i++) {
        make_place(1);
        command->opcode = opcodes[i];
        uint32_t plain = hf_answer_bytes_max(command);
        add_extension(HF_EXT_IDEMPOTENCY_KEY, "0123456789abcdef", 16);
        assert_int_equal(hf_answer_bytes_max(command), plain + sizeof(struct hf_id));
    }
    make_place(1);
    assert_true(hf_answer_bytes_max(command) >= sizeof(struct hf_answer) + sizeof(struct hf_id));
    struct {
        struct hf_answer answer;
        struct hf_id id;
    } keyed = {{.length = sizeof keyed, .flags = HF_ANSWER_REPEATED | HF_ANSWER_KEYED}, {1, 2}};
    assert_true(hf_id_equal(hf_answer_command_id(&keyed.answer, command), keyed.id));
    keyed.answer.flags = HF_ANSWER_REPEATED;
    assert_true(hf_id_equal(hf_answer_command_id(&keyed.answer, command), command->id));
}

static void every_answer_has_a_bound_that_fits_a_frame(void **state)
{
    (void)state;
    for (unsigned opcode = 0; opcode < 0x10000; opcode++) {
        make_place(HF_LINES_MAX);
        command->opcode = (uint16_t)opcode;
        uint32_t bytes = hf_answer_bytes_max(command);
        assert_true(bytes >= sizeof(struct hf_answer) && bytes % 8 == 0 && bytes <= 65536 - 64);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_of_1_to_256_lines_pass),
        cmocka_unit_test(the_smallest_form_of_every_opcode_passes),
        cmocka_unit_test(lengths_that_do_not_fit_are_bad_length),
        cmocka_unit_test(another_version_is_bad_version),
        cmocka_unit_test(opcodes_without_a_meaning_and_the_engines_own_are_unknown),
        cmocka_unit_test(no_line_and_257_lines_are_bad_line_count),
        cmocka_unit_test(extensions_that_do_not_fill_their_room_are_bad_extension),
        cmocka_unit_test(the_largest_extensions_pass),
        cmocka_unit_test(faults_of_a_line_name_the_line),
        cmocka_unit_test(the_digest_ignores_the_trace_alone),
        cmocka_unit_test(the_digest_differs_with_every_byte_that_means_something),
        cmocka_unit_test(the_digest_is_the_same_for_ever),
        cmocka_unit_test(a_request_key_has_16_bytes_and_writes_alone_have_one),
        cmocka_unit_test(a_request_key_is_routed_as_a_sku_of_its_bytes),
        cmocka_unit_test(a_repeat_by_key_has_room_for_the_first_id),
        cmocka_unit_test(every_answer_has_a_bound_that_fits_a_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
