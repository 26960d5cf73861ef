/* What replay takes for a record, and what it makes of bytes that only look like one. */
#include "tests/engine/kit.h"

/* A record around a command, in memory of just its size: what is read beyond it is found out. */
static struct hf_record *record_around(const struct hf_command *command)
{
    struct hf_record head = {
        .length = (uint32_t)sizeof head + command->length, .version = HF_RECORD_VERSION, .result = HF_OK, .time_ns = KIT_START_NS};
    uint8_t *bytes = malloc(head.length);
    assert_non_null(bytes);
    memcpy(bytes, &head, sizeof head);
    memcpy(bytes + sizeof head, command, command->length);
    return (struct hf_record *)(void *)bytes;
}

static int replayed(struct kit *kit, const struct hf_record *record)
{
    unsigned table = 0;
    return hf_engine_replay(kit->engine, record, record->length, &kit->quota, &table);
}

static void command_is_damage(struct kit *kit, const struct hf_command *command)
{
    uint64_t memory = kit_memory(kit);
    struct hf_record *record = record_around(command);
    assert_int_equal(replayed(kit, record), HF_E_DAMAGED);
    assert_int_equal(kit_memory(kit), memory);
    free(record);
}

/* Their answers can be far longer than that of any command that is logged. */
static void a_query_is_never_taken_for_a_record(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 1000);
    for (uint32_t location = 4; location <= HF_LOCATION_PAGE; location++)
        assert_int_equal(kit_define_location(kit, location), HF_OK);
    command_is_damage(kit, kit_begin(kit, HF_LIST_LOCATIONS, (struct hf_id){0, 0}));
    struct hf_command *place = kit_place_begin(kit, kit_sku_id(kit, 1), 1000);
    struct hf_id id = place->id;
    for (unsigned i = 0; i < HF_LINES_MAX; i++)
        kit_line(place, kit_sku(1), 1, 1);
    assert_int_equal(kit_step(kit, place), HF_OK);
    command_is_damage(kit, kit_verb_begin(kit, HF_GET_ORDER, id));
    for (unsigned opcode = HF_STATUS; opcode <= HF_FOLLOW; opcode++)
        command_is_damage(kit, kit_begin(kit, (uint16_t)opcode, (struct hf_id){0, 0}));
    kit_free(kit);
}

static void an_opcode_of_the_engine_that_does_not_exist_is_damage(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    const uint16_t opcodes[] = {0x0600, HF_PURGE_KEYS + 1, 0x06ff};
    for (unsigned i = 0; i < sizeof opcodes / sizeof opcodes[0]; i++)
        command_is_damage(kit, kit_begin(kit, opcodes[i], (struct hf_id){0, 0}));
    kit_free(kit);
}

static void a_record_cut_anywhere_is_damage(void **state)
{
    (void)state;
    struct kit *kit = kit_small();
    kit_stock(kit, 1, 10);
    assert_int_equal(kit_place(kit, kit_sku_id(kit, 1), 1, 1, 1000), HF_OK);
    const struct hf_record *whole = kit_record(kit);
    memcpy(kit->record + kit->step.outcome_bytes, kit->command, whole->length - kit->step.outcome_bytes);
    for (uint32_t bytes = 0; bytes < whole->length; bytes++) {
        uint8_t *cut = malloc(bytes + 1u);
        struct hf_replay_item item;
        assert_non_null(cut);
        memcpy(cut, whole, bytes);
        for (int mended = 0; mended < 2; mended++) {
            assert_int_equal(hf_engine_replay_take(kit->engine, (const void *)cut, bytes, &item), HF_E_DAMAGED);
            if (bytes >= sizeof bytes)
                memcpy(cut, &bytes, sizeof bytes);
        }
        free(cut);
    }
    kit_free(kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_query_is_never_taken_for_a_record),
        cmocka_unit_test(an_opcode_of_the_engine_that_does_not_exist_is_damage),
        cmocka_unit_test(a_record_cut_anywhere_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
