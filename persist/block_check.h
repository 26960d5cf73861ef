/* What makes 4 KiB-aligned bytes a block: one place for recovery, followers and inspection. Pure; any thread. */
#ifndef HF_PERSIST_BLOCK_CHECK_H
#define HF_PERSIST_BLOCK_CHECK_H

#include "wire/block.h"
#include "wire/crc32c.h"

#include <stddef.h>

enum hf_block_verdict {
    HF_BLOCK_ABSENT, /* no header that stands at its own position, or one that does not check */
    HF_BLOCK_SOUND,
    HF_BLOCK_NEWER, /* checks, and has a format newer than ours */
};

/* CRC-32C of the block's `length` bytes with the checksum field taken as 0, seeded. */
static inline uint32_t hf_block_checksum(const uint8_t *at, uint32_t length, uint32_t seed)
{
    struct hf_block head;
    memcpy(&head, at, sizeof head);
    head.checksum = 0;
    return hf_crc32c(hf_crc32c(seed, &head, sizeof head), at + sizeof head, length - sizeof head);
}

/* Bytes on disk of a block: its length up to the next 4 KiB. */
static inline uint64_t hf_block_padded_bytes(uint32_t length)
{
    return ((uint64_t)length + HF_BLOCK_ALIGN - 1) & ~(uint64_t)(HF_BLOCK_ALIGN - 1);
}

/* Judges the bytes at `at` as the block at `position`; `room` bytes are readable, up to the next multiple of block_max. */
static inline enum hf_block_verdict hf_block_judge(const uint8_t *at, uint64_t position, uint64_t room, uint32_t seed)
{
    struct hf_block head;
    memcpy(&head, at, sizeof head);
    if (head.magic != HF_BLOCK_MAGIC || head.position != position || head.length < sizeof head || head.length > room)
        return HF_BLOCK_ABSENT;
    if (hf_block_checksum(at, head.length, seed) != head.checksum)
        return HF_BLOCK_ABSENT;
    return head.format > HF_BLOCK_FORMAT ? HF_BLOCK_NEWER : HF_BLOCK_SOUND;
}

#endif
