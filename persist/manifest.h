/* The manifest: what a log's directory is, where its newest terms begin, and where it was stopped cleanly.
 *
 * Purpose: pure coding and decoding of 4096 bytes; where the two copies lie is the backend's business.
 * Threads: no state; any thread. Memory: the caller's. Failure: enum hf_error, the sentence is the caller's.
 * Format: the byte table below; docs/journal.md says when it is written.
 *
 *  offset size
 *    0      8   magic        "HUFFMAN1"
 *    8      4   format       1
 *   12      4   bytes        4096: what the checksum covers, a multiple of 4096 up to 64 KiB, also in later formats
 *   16      8   sequence     of this writing; both copies of one writing have the same
 *   24      4   checksum     CRC-32C of `bytes` bytes with this field 0
 *   28      4   seed         the directory's random number: seeds the checksums of blocks
 *   32      4   partitions
 *   36      4   block_max
 *   40      8   segment_bytes
 *   48      8   created_ns   wall clock at format
 *   56      4   clean        1: stopped cleanly at clean_end, after the newest beginning
 *   60      4   beginnings   how many stand in the list
 *   64      8   clean_end    position where the next block would start
 *   72      4   clean_chain  checksum of the last block before clean_end
 *   76      4   reserved     0
 *   80    432   reserved     0; the place of two snapshots later
 *  512   64*40  beginnings of the newest terms, oldest first: term 8, position 8, number 8 (of its first block), durable 8 (the durable
 *               position stated by what came before), chain 4 (checksum of the block before position), reserved 4
 * 3072   1024   reserved     0 */
#ifndef HF_PERSIST_MANIFEST_H
#define HF_PERSIST_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#define HF_MANIFEST_MAGIC 0x314e414d46465548ull /* "HUFFMAN1" little-endian */

enum {
    HF_MANIFEST_FORMAT = 1,
    HF_MANIFEST_BYTES = 4096,
    HF_MANIFEST_BYTES_MAX = 65536, /* that a later format may take */
    HF_MANIFEST_COPIES = 2,
    HF_MANIFEST_BEGINNINGS_MAX = 64,
};

/* Blocks of older terms at or beyond `position` do not exist. */
struct hf_beginning {
    uint64_t term;
    uint64_t position;
    uint64_t number;
    uint64_t durable;
    uint32_t chain;
    uint32_t reserved;
};

struct hf_manifest {
    uint64_t sequence;
    uint32_t seed;
    uint32_t partitions;
    uint32_t block_max;
    uint64_t segment_bytes;
    uint64_t created_ns;
    bool clean;
    uint64_t clean_end;
    uint32_t clean_chain;
    uint32_t beginning_count;
    struct hf_beginning beginnings[HF_MANIFEST_BEGINNINGS_MAX];
};

/* Writes the manifest's HF_MANIFEST_BYTES bytes. */
void hf_manifest_encode(const struct hf_manifest *manifest, uint8_t out[HF_MANIFEST_BYTES]);

/* Reads one copy of `bytes` bytes. The checksum is believed before anything else: HF_E_DAMAGED for what does not check, HF_E_NEWER only for
 * a copy that checks and has a larger format. 0 and *out filled, else *out untouched. */
int hf_manifest_decode(const uint8_t *copy, uint32_t bytes, struct hf_manifest *out);

/* The newest beginning; NULL for a directory that was never started. */
const struct hf_beginning *hf_manifest_newest(const struct hf_manifest *manifest);

/* Appends a beginning (the oldest leaves a full list) and takes the clean end back. */
void hf_manifest_begin(struct hf_manifest *manifest, const struct hf_beginning *beginning);

#endif
