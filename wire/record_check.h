/* Whether bytes that came from a log are one record of the documented form, so that its parts may be read in place. */
#ifndef HF_WIRE_RECORD_CHECK_H
#define HF_WIRE_RECORD_CHECK_H

#include "wire/record.h"

/* Whether `available` bytes, 8-byte aligned, start with a record whose counts add up: header, touches, intents and command fill
 * record->length, and the command's lengths fill the command. *command then gets its command. What the numbers mean is not judged. */
static inline bool hf_record_check(const struct hf_record *record, size_t available, const struct hf_command **command)
{
    if (available < sizeof *record || record->length > available || record->length % 8 != 0 || record->length > HF_RECORD_BYTES_MAX ||
        record->version != HF_RECORD_VERSION || record->intent_count > HF_INTENTS_MAX)
        return false;
    bool place = hf_record_is_place(record);
    uint32_t outcome = hf_outcome_bytes(record, place);
    if (outcome + sizeof(struct hf_command) > record->length)
        return false;
    const struct hf_command *found = (const struct hf_command *)(const void *)((const uint8_t *)record + outcome);
    if (found->length != record->length - outcome || (found->opcode == HF_PLACE) != place || found->version != HF_COMMAND_VERSION ||
        found->length != sizeof *found + (size_t)found->line_count * sizeof(struct hf_line) + found->ext_bytes ||
        (place && record->line_count != found->line_count))
        return false;
    *command = found;
    return true;
}

#endif
