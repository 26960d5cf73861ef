/* Doing again what the log says was done, and comparing. */
#include "engine/engine_p.h"
#include "wire/record_check.h"

/* The engine's own commands have no public form; queries are never logged, and what they answer has no room here. */
static bool command_sound(const struct hf_command *command)
{
    uint16_t detail;
    if (hf_opcode_family(command->opcode) <= HF_FAMILY_ORDER)
        return hf_command_check(command, command->length, &detail) == HF_OK;
    if (command->opcode < HF_EXPIRE || command->opcode > HF_PURGE_KEYS || command->version != HF_COMMAND_VERSION ||
        command->line_count > HF_LINES_MAX || command->ext_bytes != 0 ||
        command->length != sizeof *command + command->line_count * sizeof(struct hf_line))
        return false;
    if (command->opcode == HF_MARK)
        return command->body.mark.modulus > 0;
    return command->body.sweep.count <= 2u * command->line_count;
}

/* Of whole words, a few lines long: a call of memcmp() costs more. */
static bool words_equal(const uint8_t *a, const uint8_t *b, uint32_t bytes)
{
    uint64_t differs = 0, left, right;
    for (uint32_t i = 0; i < bytes; i += 8) {
        memcpy(&left, a + i, 8);
        memcpy(&right, b + i, 8);
        differs |= left ^ right;
    }
    return differs == 0;
}

int hf_engine_replay_take(const struct hf_engine *engine, const struct hf_record *record, uint32_t bytes, struct hf_replay_item *item)
{
    if (!hf_record_check(record, bytes, &item->command) || record->length != bytes || record->flags != 0 ||
        record->line_count > HF_LINES_MAX || !command_sound(item->command))
        return HF_E_DAMAGED;
    item->record = record;
    hf_engine_hint(engine, item->command, &item->hint);
    return 0;
}

int hf_engine_replay_item(struct hf_engine *engine, const struct hf_replay_item *item, struct hf_quota *quota, unsigned *table)
{
    _Alignas(8) uint8_t outcome[HF_RECORD_BYTES_MAX - HF_COMMAND_BYTES_MAX];
    _Alignas(8) uint8_t answer[sizeof(struct hf_answer) + HF_LINES_MAX * sizeof(struct hf_short_item)];
    struct hf_step step = {.command = item->command,
                           .hint = &item->hint,
                           .now_ns = item->record->time_ns,
                           .latest_ns = UINT64_MAX,
                           .quota = quota,
                           .record = (struct hf_record *)(void *)outcome,
                           .answer = (struct hf_answer *)(void *)answer};
    hf_engine_step(engine, &step);
    if (step.outcome_bytes == 0 && step.answer->result == HF_FULL) {
        *table = step.answer->detail;
        return HF_E_TOO_SMALL;
    }
    bool same = step.outcome_bytes + item->command->length == item->record->length &&
                words_equal(outcome, (const uint8_t *)item->record, step.outcome_bytes);
    return same ? 0 : HF_E_DIFFERS;
}

int hf_engine_replay(struct hf_engine *engine, const struct hf_record *record, uint32_t bytes, struct hf_quota *quota, unsigned *table)
{
    struct hf_replay_item item;
    int error = hf_engine_replay_take(engine, record, bytes, &item);
    return error != 0 ? error : hf_engine_replay_item(engine, &item, quota, table);
}
