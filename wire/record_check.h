/* Whether bytes that came from a log are one record of the documented form, so that its parts may be read in place. */
#ifndef HF_WIRE_RECORD_CHECK_H
#define HF_WIRE_RECORD_CHECK_H

#include "wire/record.h"

/* The command of a record that passed hf_record_check(). */
static inline const struct hf_command *hf_record_command(const struct hf_record *record, bool place)
{
    return (const struct hf_command *)(const void *)((const uint8_t *)record + hf_outcome_bytes(record, place));
}

/* `available` bytes, 8-byte aligned, start with a record whose counts add up: header, touches, intents and command fill record->length.
 * *command gets its command. What the numbers mean is not judged. */
static inline bool hf_record_check(const struct hf_record *record, size_t available, const struct hf_command **command)
{
    if (available < sizeof *record || record->length > available || record->length % 8 != 0 || record->length > HF_RECORD_BYTES_MAX ||
        record->version != HF_RECORD_VERSION || record->intent_count > HF_INTENTS_MAX)
        return false;
    /* Only the command says which of the two sizes the touches have: a place is where the shorter ones lead to one. */
    for (int place = 0; place < 2; place++) {
        uint32_t outcome = hf_outcome_bytes(record, place != 0);
        if (outcome + sizeof(struct hf_command) > record->length)
            continue;
        const struct hf_command *found = hf_record_command(record, place != 0);
        if (found->length == record->length - outcome && (found->opcode == HF_PLACE) == (place != 0) &&
            found->version == HF_COMMAND_VERSION &&
            found->length == sizeof *found + (size_t)found->line_count * sizeof(struct hf_line) + found->ext_bytes &&
            (!place || record->line_count == found->line_count)) {
            *command = found;
            return true;
        }
    }
    return false;
}

#endif
