/*
 * The log in memory: where shards put records and from where the drainer writes blocks.
 *
 * Purpose: one ordered sequence of bytes, addressed by log position, cut into blocks that one write can put on disk. A claim gives a shard
 *   its place in that order and the memory to copy to; a block whose claims are all committed is handed to the drainer.
 * Threads: shards claim and commit, and ask for room. One thread is the drainer: it closes, takes and releases blocks. Functions say whose
 *   they are; "any" may be called by all.
 * Memory: the caller's, given at init and kept until nobody uses the buffer. Nothing allocates afterwards.
 * Failure: back-pressure is asked for (hf_log_buffer_has_room) before anything is claimed; after it a claim cannot fail. Nothing waits.
 *
 * Layout of the log: a block starts on 4 KiB with `header_bytes` that belong to the drainer, then whole claims back to back, then zeros up
 * to the next 4 KiB. It never crosses a multiple of block_max_bytes. The next block starts at the next 4 KiB or, if the claim that opens
 * it would not fit there, at the next multiple of block_max_bytes: a block's own length and position say where it lies, and the gap in
 * between belongs to no block. How it works and why it is right stands in log_buffer.c.
 */
#ifndef HF_RING_LOG_BUFFER_H
#define HF_RING_LOG_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HF_LOG_BUFFER_ALIGN    4096
#define HF_LOG_BUFFER_SIZE_MAX (UINT64_C(64) << 20)

struct hf_log_buffer;

struct hf_log_buffer_options {
    uint64_t size_bytes;       /* of the ring: power of two, a multiple of block_max_bytes, at most HF_LOG_BUFFER_SIZE_MAX, and at least
                                  hf_log_buffer_worst_bytes() */
    uint32_t block_max_bytes;  /* power of two, 16 KiB to 1 MiB */
    uint32_t header_bytes;     /* multiple of 8, 8 to 2048 */
    uint32_t shards;           /* threads that claim, at least 1 */
    uint32_t batch_bytes_max;  /* most that one of them claims after one check for room */
    uint32_t batch_claims_max; /* in at most this many claims */
    uint64_t start_position;   /* of the first block: multiple of 4 KiB */
    uint64_t start_sequence;   /* of the first block */
};

/* A run of whole records in the log, still to be written to and committed. */
struct hf_log_claim {
    uint64_t position;     /* of the first byte */
    unsigned char *memory; /* `bytes` of it, the claimer's until the commit */
    uint32_t bytes;
    uint32_t sequence; /* of the block, modulo 2^14 */
};

/* A closed block, all of whose claims are committed. */
struct hf_log_block {
    uint64_t position;      /* of the header: multiple of 4 KiB */
    uint64_t sequence;      /* start_sequence for the first, then one more each */
    uint64_t next_position; /* of the next block */
    unsigned char *memory;  /* contiguous, 4 KiB aligned, the drainer's until it releases it */
    uint32_t length;        /* header and claims; header_bytes alone if the block is empty */
    uint32_t padded_bytes;  /* length up to the next 4 KiB: what a write covers; the padding is zero */
};

/* Room in bytes that all shards and the drainer can need between two checks, padding included; size_bytes is not looked at. Any. */
uint64_t hf_log_buffer_worst_bytes(const struct hf_log_buffer_options *options);

/* Bytes of memory that hf_log_buffer_init needs; 0 if the options are not valid. Any. */
size_t hf_log_buffer_memory_bytes(const struct hf_log_buffer_options *options);

/*
 * Makes an empty buffer in `memory`, which is 4 KiB aligned and stays the caller's; its first block is open. Returns the buffer, which
 * lies in that memory; NULL if the options are not valid. Before any other thread sees it.
 */
struct hf_log_buffer *hf_log_buffer_init(void *memory, const struct hf_log_buffer_options *options);

/* The ring's bytes, for registering them with the kernel: size_bytes from here. Any. */
unsigned char *hf_log_buffer_base(struct hf_log_buffer *buffer, uint64_t *size_bytes);

/* The most one claim may ask for: block_max_bytes - header_bytes. Any. */
uint32_t hf_log_buffer_claim_max(const struct hf_log_buffer *buffer);

/*
 * Whether the worst case of all shards, and `spare_bytes` more, fits into what is not in use. A shard asks before it steps a batch; true
 * means that all claims of that batch (at most batch_claims_max, batch_bytes_max together) will find room. spare_bytes lets commands that
 * can be shed stop earlier than those that cannot; 0 for the latter. Shards.
 */
bool hf_log_buffer_has_room(const struct hf_log_buffer *buffer, uint64_t spare_bytes);

/*
 * Claims the next `bytes` of the log (multiple of 8, 8 to hf_log_buffer_claim_max): positions are given out in the order of the claims.
 * Needs a hf_log_buffer_has_room that covers it. The claimer fills the memory and commits; until then no block from this one on is
 * drained. Shards.
 */
struct hf_log_claim hf_log_buffer_claim(struct hf_log_buffer *buffer, uint32_t bytes);

/* Ends a claim: its bytes are written and are the drainer's from here. Once per claim. Shards. */
void hf_log_buffer_commit(struct hf_log_buffer *buffer, const struct hf_log_claim *claim);

/* End of the last claim or, where a block was opened after it, the place of the next: the tail. Any; old as soon as it is read. */
uint64_t hf_log_buffer_position(const struct hf_log_buffer *buffer);

/*
 * Closes the open block if it has bytes, or also without if `seal` (unless an empty block would take room that shards were promised).
 * True if a closed block lies before the open one afterwards, by whomever it was closed; hf_log_buffer_next hands it over once it is
 * committed. Drainer.
 */
bool hf_log_buffer_close(struct hf_log_buffer *buffer, bool seal);

/*
 * The next block in order, if it is closed and committed: true, *block filled and its padding zeroed; the header's bytes are whatever
 * was there before and the drainer's to write. Else false, *block untouched. Never waits. Drainer.
 */
bool hf_log_buffer_next(struct hf_log_buffer *buffer, struct hf_log_block *block);

/* Whether there are claims that hf_log_buffer_next has not handed over yet, or closed blocks. Drainer. */
bool hf_log_buffer_pending(const struct hf_log_buffer *buffer);

/* Position of the block that hf_log_buffer_next will hand over next. Drainer. */
uint64_t hf_log_buffer_next_position(const struct hf_log_buffer *buffer);

/*
 * Gives the memory before `position` back to the shards: everything before it is durable and read by who wanted to read it. At most
 * hf_log_buffer_next_position, never less than before. Drainer.
 */
void hf_log_buffer_release(struct hf_log_buffer *buffer, uint64_t position);

/* Where the released part ends: memory from here on may be read by a follower that the drainer waits for. Any. */
uint64_t hf_log_buffer_released(const struct hf_log_buffer *buffer);

/* The memory of a position between hf_log_buffer_released and the tail; contiguous to the end of its block. Any. */
const unsigned char *hf_log_buffer_at(const struct hf_log_buffer *buffer, uint64_t position);

#endif
