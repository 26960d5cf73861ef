/* What one write puts on disk: a 128-byte header, whole records back to back, zeros up to the next 4 KiB.
 *
 * A block starts on 4 KiB and never crosses a multiple of the log's block_max (a power of two, 16 KiB to 1 MiB). */
#ifndef HF_WIRE_BLOCK_H
#define HF_WIRE_BLOCK_H

#include "wire/types.h"

#define HF_BLOCK_MAGIC 0x314b4c4246465548ull /* "HUFFBLK1" little-endian */

enum { HF_BLOCK_FORMAT = 1, HF_BLOCK_ALIGN = 4096, HF_BLOCK_HEADER_BYTES = 128, HF_BLOCK_BYTES_MAX = 1 << 20 };

/*  offset size
 *    0      8   magic
 *    8      4   format      1
 *   12      4   length      header and records, without the padding
 *   16      8   term
 *   24      8   number      0 for the first block of the log, then one more each
 *   32      8   position    of the header's first byte
 *   40      8   durable     durable position known when it was submitted
 *   48      8   time_ns     engine time at submission
 *   56      4   previous    checksum of the block before; the directory's seed for the first
 *   60      4   checksum    CRC-32C of length bytes with this field 0, seeded with the directory's random number
 *   64      4   records     how many
 *   68     60   reserved    0 */
struct hf_block {
    uint64_t magic;
    uint32_t format;
    uint32_t length;
    uint64_t term;
    uint64_t number;
    uint64_t position;
    uint64_t durable;
    uint64_t time_ns;
    uint32_t previous;
    uint32_t checksum;
    uint32_t records;
    uint8_t reserved[60];
};

_Static_assert(sizeof(struct hf_block) == HF_BLOCK_HEADER_BYTES, "block layout");

#endif
