#include "net/frame.h"

#include "wire/answer.h"
#include "wire/command.h"
#include "wire/crc32c.h"

static uint32_t hf_frame_crc(const struct hf_frame *head, const uint8_t *payload)
{
    struct hf_frame copy = *head;
    copy.crc = 0;
    return hf_crc32c(hf_crc32c(0, &copy, sizeof copy), payload, head->length - sizeof copy);
}

void hf_frame_seal(struct hf_frame *frame, uint32_t bytes)
{
    assert(bytes >= sizeof *frame && bytes % 8 == 0 && bytes <= HF_FRAME_BYTES_MAX);
    frame->magic = HF_FRAME_MAGIC;
    frame->version = HF_FRAME_VERSION;
    frame->length = bytes;
    frame->crc = 0;
    frame->crc = hf_crc32c(0, frame, bytes);
}

int hf_frame_check_head(const struct hf_frame *head)
{
    if (head->magic != HF_FRAME_MAGIC)
        return HF_BAD_FRAME;
    if (head->version != HF_FRAME_VERSION)
        return HF_BAD_VERSION;
    if (head->length < sizeof *head || head->length % 8 != 0)
        return HF_BAD_FRAME;
    return head->length > HF_FRAME_BYTES_MAX ? HF_TOO_LARGE : HF_OK;
}

bool hf_frame_check_crc(const struct hf_frame *head, const uint8_t *payload)
{
    return hf_frame_crc(head, payload) == head->crc;
}

bool hf_frame_reserved_zero(const struct hf_frame *head)
{
    uint64_t tag[2];
    memcpy(tag, head->tag, sizeof tag);
    return (head->flags | head->result | head->reserved | head->nonce | tag[0] | tag[1]) == 0;
}

int hf_frame_walk_commands(const uint8_t *payload, uint32_t bytes, unsigned count, uint32_t *answer_bytes)
{
    if (count < 1 || count > HF_FRAME_COMMANDS_MAX)
        return HF_BAD_FRAME;
    uint64_t answers = sizeof(struct hf_frame);
    const uint8_t *at = payload, *end = payload + bytes;
    for (unsigned i = 0; i < count; i++) {
        struct hf_command command;
        if ((size_t)(end - at) < sizeof command)
            return HF_BAD_FRAME;
        memcpy(&command, at, sizeof command);
        if (command.length < sizeof command || command.length % 8 != 0 || command.length > (size_t)(end - at))
            return HF_BAD_FRAME;
        if (hf_opcode_family(command.opcode) == HF_FAMILY_ADMIN && count > 1)
            return HF_BAD_FRAME;
        /* More lines than there can be: its check will fail, and then the plain answer is all it gets. */
        answers += command.line_count > HF_LINES_MAX ? sizeof(struct hf_answer) : hf_answer_bytes_max(&command);
        at += command.length;
    }
    if (at != end)
        return HF_BAD_FRAME;
    if (answers > HF_FRAME_ANSWER_BYTES_MAX)
        return HF_TOO_LARGE;
    *answer_bytes = (uint32_t)answers - (uint32_t)sizeof(struct hf_frame);
    return HF_OK;
}
