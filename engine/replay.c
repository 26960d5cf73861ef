/* Doing again what the log says was done, and comparing. */
#include "engine/engine_p.h"

/* Whether the bytes are one whole record of the documented form. */
static bool record_sound(const struct hf_record *record, uint32_t bytes, const struct hf_command **command)
{
    if (bytes < sizeof *record || record->length != bytes || record->version != HF_RECORD_VERSION || record->flags != 0 || bytes % 8 != 0 ||
        record->line_count > HF_LINES_MAX || record->intent_count > HF_INTENTS_MAX)
        return false;
    /* Only a place leaves an order HELD at its first version; looking for the opcode where each form would put it could be led astray by
     * keys that look like one. */
    bool place = hf_record_is_place(record);
    uint32_t outcome = hf_outcome_bytes(record, place);
    if (outcome + (uint64_t)sizeof **command > bytes)
        return false;
    *command = (const struct hf_command *)(const void *)((const uint8_t *)record + outcome);
    return ((*command)->opcode == HF_PLACE) == place && (*command)->length == bytes - outcome;
}

/* The engine's own commands have no public form. */
static bool command_sound(const struct hf_command *command)
{
    uint16_t detail;
    if (hf_opcode_family(command->opcode) != HF_FAMILY_INTERNAL)
        return hf_command_check(command, command->length, &detail) == HF_OK;
    if (command->version != HF_COMMAND_VERSION || command->line_count > HF_LINES_MAX || command->ext_bytes != 0 ||
        command->length != sizeof *command + command->line_count * sizeof(struct hf_line))
        return false;
    if (command->opcode == HF_MARK)
        return command->body.mark.modulus > 0;
    return command->body.sweep.count <= 2u * command->line_count;
}

int hf_engine_replay(struct hf_engine *engine, const struct hf_record *record, uint32_t bytes, struct hf_quota *quota, unsigned *table)
{
    _Alignas(8) uint8_t outcome[HF_RECORD_BYTES_MAX - HF_COMMAND_BYTES_MAX];
    _Alignas(8) uint8_t answer[sizeof(struct hf_answer) + HF_LINES_MAX * sizeof(struct hf_short_item)];
    const struct hf_command *command;
    if (!record_sound(record, bytes, &command) || !command_sound(command))
        return HF_E_DAMAGED;
    struct hf_hint hint;
    hf_engine_hint(engine, command, &hint);
    struct hf_step step = {.command = command,
                           .hint = &hint,
                           .now_ns = record->time_ns,
                           .latest_ns = UINT64_MAX,
                           .quota = quota,
                           .record = (struct hf_record *)(void *)outcome,
                           .answer = (struct hf_answer *)(void *)answer};
    hf_engine_step(engine, &step);
    if (step.outcome_bytes == 0 && step.answer->result == HF_FULL) {
        *table = step.answer->detail;
        return HF_E_TOO_SMALL;
    }
    return step.outcome_bytes + command->length == bytes && memcmp(outcome, record, step.outcome_bytes) == 0 ? 0 : HF_E_DIFFERS;
}

void hf_engine_replay_prefetch(const struct hf_engine *engine, const struct hf_record *record, struct hf_hint *hint, int stage)
{
    const struct hf_command *command;
    if (stage == 0)
        *hint = (struct hf_hint){0};
    if (!record_sound(record, record->length, &command))
        return;
    if (stage == 0)
        hf_engine_hint(engine, command, hint);
    hf_engine_prefetch(engine, command, hint, stage);
}
