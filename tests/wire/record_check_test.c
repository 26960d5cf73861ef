/* Records whose bytes were chosen so that the wrong form of them looks right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "wire/record_check.h"

enum { LINES = 4 };

/* Four lines of a place: their touches as named ones would reach 64 bytes further, which is where the command's lines begin. */
struct crafted {
    struct hf_record record;
    struct hf_touch touches[LINES];
    struct hf_command command;
    struct hf_line lines[LINES];
};

static struct crafted crafted_place(void)
{
    struct crafted place = {
        .record = {.length = sizeof place,
                   .version = HF_RECORD_VERSION,
                   .order = HF_HELD,
                   .payment = HF_PAY_NONE,
                   .line_count = LINES,
                   .state_version = 1},
        .command = {
            .length = sizeof place.command + sizeof place.lines, .opcode = HF_PLACE, .version = HF_COMMAND_VERSION, .line_count = LINES}};
    for (unsigned i = 0; i < LINES; i++)
        place.lines[i] = (struct hf_line){.sku = {{i + 1, 0}}, .location = 1, .quantity = 1};
    return place;
}

/* A SETTLE's header in the SKU of the first line: what a reader finds who takes the touches for named ones. */
static void craft_first_sku(struct crafted *place)
{
    struct hf_command fake = {.length = sizeof place->lines, .opcode = HF_SETTLE, .version = HF_COMMAND_VERSION};
    memcpy(&place->lines[0].sku, &fake, sizeof place->lines[0].sku);
    place->lines[0].price = (uint64_t)(sizeof place->lines - sizeof fake) / sizeof(struct hf_line);
}

static void a_place_is_found_whatever_its_skus_look_like(void **state)
{
    (void)state;
    struct crafted place = crafted_place();
    craft_first_sku(&place);
    assert_int_equal(hf_outcome_bytes(&place.record, false), offsetof(struct crafted, lines));
    const struct hf_command *command = NULL;
    assert_true(hf_record_check(&place.record, sizeof place, &command));
    assert_ptr_equal(command, &place.command);
}

static void a_record_of_another_command_is_found_whatever_its_touches_look_like(void **state)
{
    (void)state;
    struct {
        struct hf_record record;
        struct hf_named_touch touch;
        struct hf_command command;
    } settle = {
        .record = {.length = sizeof settle, .version = HF_RECORD_VERSION, .order = HF_CONFIRMED, .line_count = 1, .state_version = 2},
        .command = {.length = sizeof settle.command, .opcode = HF_SETTLE, .version = HF_COMMAND_VERSION}};
    struct hf_command fake = {
        .length = sizeof settle - sizeof settle.record - sizeof(struct hf_touch), .opcode = HF_PLACE, .version = HF_COMMAND_VERSION};
    memcpy((uint8_t *)&settle.touch + sizeof(struct hf_touch), &fake, sizeof(struct hf_sku));
    const struct hf_command *command = NULL;
    assert_true(hf_record_check(&settle.record, sizeof settle, &command));
    assert_ptr_equal(command, &settle.command);
}

static void a_command_that_its_record_contradicts_is_refused(void **state)
{
    (void)state;
    const struct hf_command *command = NULL;
    struct crafted place = crafted_place();
    place.record.state_version = 2;
    assert_false(hf_record_check(&place.record, sizeof place, &command));
    place = crafted_place();
    place.record.order = HF_CONFIRMED;
    assert_false(hf_record_check(&place.record, sizeof place, &command));
    place = crafted_place();
    place.command.opcode = HF_EXTEND;
    assert_false(hf_record_check(&place.record, sizeof place, &command));
    assert_null(command);
}

static void a_record_whose_lengths_do_not_add_up_is_refused(void **state)
{
    (void)state;
    const struct hf_command *command = NULL;
    struct crafted place = crafted_place();
    for (size_t available = 0; available < sizeof place; available += 8)
        assert_false(hf_record_check(&place.record, available, &command));
    for (unsigned lines = 0; lines < 2 * HF_LINES_MAX; lines++) {
        place.record.line_count = (uint16_t)lines;
        assert_int_equal(hf_record_check(&place.record, sizeof place, &command), lines == LINES);
    }
    place = crafted_place();
    place.record.length -= 8;
    assert_false(hf_record_check(&place.record, sizeof place, &command));
    place = crafted_place();
    place.command.line_count--;
    assert_false(hf_record_check(&place.record, sizeof place, &command));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_is_found_whatever_its_skus_look_like),
        cmocka_unit_test(a_record_of_another_command_is_found_whatever_its_touches_look_like),
        cmocka_unit_test(a_command_that_its_record_contradicts_is_refused),
        cmocka_unit_test(a_record_whose_lengths_do_not_add_up_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
