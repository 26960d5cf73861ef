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

void hf_frame_seal_zeros(struct hf_frame *frame, uint32_t present, uint32_t bytes)
{
    static const uint8_t zeros[4096];
    assert(present >= sizeof *frame && present <= bytes && bytes % 8 == 0 && bytes <= HF_FRAME_BYTES_MAX);
    frame->magic = HF_FRAME_MAGIC;
    frame->version = HF_FRAME_VERSION;
    frame->length = bytes;
    frame->crc = 0;
    uint32_t crc = hf_crc32c(0, frame, present);
    for (uint32_t left = bytes - present, part; left > 0; left -= part) {
        part = left < sizeof zeros ? left : (uint32_t)sizeof zeros;
        crc = hf_crc32c(crc, zeros, part);
    }
    frame->crc = crc;
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

int hf_frame_walk_commands(const uint8_t *payload, uint32_t bytes, unsigned count, uint32_t answer_frame_bytes_max, uint32_t *answer_bytes)
{
    if (count < 1 || count > HF_FRAME_COMMANDS_MAX)
        return HF_BAD_FRAME;
    uint64_t answers = sizeof(struct hf_frame);
    const uint8_t *at = payload, *end = payload + bytes;
    bool only_reads = true;
    for (unsigned i = 0; i < count; i++) {
        struct hf_command command;
        if ((size_t)(end - at) < sizeof command)
            return HF_BAD_FRAME;
        memcpy(&command, at, sizeof command);
        if (command.length < sizeof command || command.length % 8 != 0 || command.length > (size_t)(end - at))
            return HF_BAD_FRAME;
        unsigned family = hf_opcode_family(command.opcode);
        if (family == HF_FAMILY_ADMIN && count > 1)
            return HF_BAD_FRAME;
        only_reads = only_reads && (family == HF_FAMILY_ADMIN || family == HF_FAMILY_QUERY);
        /* More lines than there can be: its check will fail, and then the plain answer is all it gets. */
        answers += command.line_count > HF_LINES_MAX ? sizeof(struct hf_answer) : hf_answer_bytes_max(&command);
        at += command.length;
    }
    if (at != end)
        return HF_BAD_FRAME;
    if (answers > (only_reads ? HF_FRAME_ANSWER_BYTES_MAX : answer_frame_bytes_max))
        return HF_TOO_LARGE;
    *answer_bytes = (uint32_t)answers - (uint32_t)sizeof(struct hf_frame);
    return HF_OK;
}
