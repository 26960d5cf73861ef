/*
 * How it works, and why it is right.
 *
 * The tail is one word: (position - base) / 8 in 50 bits, block sequence modulo 2^14 in 14. It names the open block and where it ends
 * so far. The position in it only grows, so a CAS cannot mistake a later tail for an earlier one. base is the start position cut to
 * block_max, which gives each run of the process 2^53 bytes of log.
 *
 *   claim(n)   (p, s) -> (p + n, s)                if n fits before the next multiple of block_max, which p alone decides
 *              (p, s) -> (q + header + n, s + 1)   else: the claim closes block s at p and is the first of a block opened at q
 *   close      (p, s) -> (q + header, s + 1)       by the drainer
 *   where q is p up to 4 KiB or, if header + n would not fit between there and the next multiple of block_max, that multiple. A tail
 *   always lies behind a header, so p on a multiple of block_max means a full block, never an untouched one.
 *
 * Whoever's CAS raised the sequence from s, and nobody else, writes descriptor[s mod N]: next_position, then end. Claimers of block s only
 * add to its `committed`. The drainer alone reads descriptors and, handing block s over, resets its descriptor. An empty block is closed by
 * the drainer's seal, or by a claim too large for a block that the drainer opened near a multiple of block_max; both drain like any other.
 *
 * Drainable: block s is drained when its end is published and committed = end - start - header. After the CAS that closed it no claim can
 * enter it, and a claim commits once, so the sum reaches that figure exactly when the last claim is in. start is known to the drainer: it
 * is the next_position of block s - 1, or the start position.
 *
 * Edges
 *   [A] tail CAS of a claim (acq_rel) with all tail CASes before it: each is a read-modify-write, so the value that a claim acquires
 *       carries every earlier release. They carry edge D from whoever looked to all later claims. The drainer's CAS only releases:
 *       afterwards it touches its own fields and a descriptor that it reset itself, and earlier releases pass through it unacquired.
 *   [B] store-release of end by the closer      -> load-acquire by the drainer: next_position is there.
 *   [C] add-release to committed by claimers    -> load-acquire by the drainer: the records' bytes are there. Each add is a
 *       read-modify-write, so the last one's value carries all the earlier releases.
 *   [D] store-release of released by the drainer -> load-acquire in has_room: the drainer's reads of the memory, its resets of descriptors
 *       and its followers' reads are over before anyone writes there again.
 *
 * Room. Let W be the worst bytes: per shard one batch, plus one seal of the drainer, plus one close. A look succeeds if
 * T + W <= R + size for the tail T and released R it read. No tail exceeds R' + size, with R' read by some look that happens before it:
 *   Take a claim, and of all looks of batches that have a claim up to it (in the tail's modification order) the one that read the
 *   latest T. A shard has at most one batch with claims after T: a second one's look would have read a tail behind the first one's claims,
 *   later than T. So the tail is at most T + W (below), within R + size of that look. If the look is another shard's, that shard's claim
 *   precedes this one, and A brings its D along. A stale tail or released in a look is therefore harmless; only W must be whole.
 *   One claim of n moves the tail by up to close + (header + n) + n, where close is the padding to 4 KiB and a header, and the second term
 *   is what it leaves unused before a multiple of block_max. The drainer closes a block with bytes only after a claim into it, so each
 *   claim pays for one such close, and one more is paid for a claim before T. A seal asks for room itself, like a batch.
 *
 * Descriptors. A block takes at least 4 KiB, N = size / 4 KiB. Block s + N starts at least `size` behind start(s), so its tail exists only
 * with a released position behind start(s); the drainer releases no further than what it has handed over, so block s was handed over, its
 * descriptor reset, and D and A order that before the first add or store for s + N. For the same reason fewer than N <= 2^14 blocks
 * lie between the drainer's and the open one, and 14 bits of sequence tell them apart.
 */
#include "ring/log_buffer.h"

#include "ring/atomics.h"

#include <assert.h>
#include <stdalign.h>
#include <string.h>

enum { SEQUENCE_BITS = 14, UNIT_BYTES = 8, BLOCK_MAX_LEAST = 16 << 10, BLOCK_MAX_MOST = 1 << 20, HEADER_MOST = 2048 };

#define SEQUENCE_MASK ((UINT64_C(1) << SEQUENCE_BITS) - 1)
#define RUN_BYTES_MAX (UINT64_C(1) << 53)

struct descriptor {
    alignas(64) struct hf_atomic_u64 committed;
    struct hf_atomic_u64 end; /* 0: block not closed; an end lies behind a header, so it is never 0 */
    uint64_t next_position;
};

struct hf_log_buffer {
    /* constant after init */
    alignas(HF_CACHE_PAD_BYTES) unsigned char *ring;
    struct descriptor *descriptors;
    uint64_t size_bytes;
    uint64_t base;
    uint64_t worst_bytes;
    uint32_t descriptor_mask;
    uint32_t block_max_bytes;
    uint32_t header_bytes;

    /* all shards and the drainer */
    alignas(HF_CACHE_PAD_BYTES) struct hf_atomic_u64 tail;

    /* written by the drainer, read by the shards before a batch */
    alignas(HF_CACHE_PAD_BYTES) struct hf_atomic_u64 released;

    /* the drainer's: the next block to hand over, and the furthest one whose start it knows (not before that one) */
    alignas(HF_CACHE_PAD_BYTES) uint64_t next_sequence;
    uint64_t next_position;
    uint64_t known_sequence;
    uint64_t known_position;
};

static bool is_power_of_two(uint64_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

static uint64_t align_up(uint64_t n, uint64_t power_of_two)
{
    return (n + power_of_two - 1) & ~(power_of_two - 1);
}

static uint64_t tail_position(const struct hf_log_buffer *buffer, uint64_t tail)
{
    return buffer->base + (tail >> SEQUENCE_BITS) * UNIT_BYTES;
}

static uint64_t tail_pack(const struct hf_log_buffer *buffer, uint64_t position, uint64_t sequence)
{
    assert(position - buffer->base < RUN_BYTES_MAX);
    return ((position - buffer->base) / UNIT_BYTES) << SEQUENCE_BITS | (sequence & SEQUENCE_MASK);
}

static struct descriptor *descriptor_of(struct hf_log_buffer *buffer, uint64_t sequence)
{
    return &buffer->descriptors[sequence & buffer->descriptor_mask];
}

static uint64_t close_bytes(uint32_t header_bytes)
{
    return (uint64_t)HF_LOG_BUFFER_ALIGN + header_bytes;
}

uint64_t hf_log_buffer_worst_bytes(const struct hf_log_buffer_options *options)
{
    uint64_t close = close_bytes(options->header_bytes);
    uint64_t per_claim = 2 * close + options->header_bytes;
    uint64_t per_shard = 2 * (uint64_t)options->batch_bytes_max + options->batch_claims_max * per_claim;
    return options->shards * per_shard + 2 * close;
}

static bool options_are_valid(const struct hf_log_buffer_options *o)
{
    bool blocks = is_power_of_two(o->block_max_bytes) && o->block_max_bytes >= BLOCK_MAX_LEAST && o->block_max_bytes <= BLOCK_MAX_MOST;
    bool header = o->header_bytes != 0 && o->header_bytes % UNIT_BYTES == 0 && o->header_bytes <= HEADER_MOST;
    bool claims = o->shards != 0 && o->batch_claims_max != 0 && o->batch_bytes_max != 0;
    bool size = is_power_of_two(o->size_bytes) && o->size_bytes >= o->block_max_bytes && o->size_bytes <= HF_LOG_BUFFER_SIZE_MAX;
    bool start = o->start_position % HF_LOG_BUFFER_ALIGN == 0 && o->start_position <= UINT64_MAX - RUN_BYTES_MAX;
    return blocks && header && claims && size && start && hf_log_buffer_worst_bytes(o) + close_bytes(o->header_bytes) <= o->size_bytes;
}

static size_t head_bytes(uint64_t size_bytes)
{
    size_t descriptors = size_bytes / HF_LOG_BUFFER_ALIGN * sizeof(struct descriptor);
    return align_up(sizeof(struct hf_log_buffer) + descriptors, HF_LOG_BUFFER_ALIGN);
}

size_t hf_log_buffer_memory_bytes(const struct hf_log_buffer_options *options)
{
    return options_are_valid(options) ? head_bytes(options->size_bytes) + options->size_bytes : 0;
}

struct hf_log_buffer *hf_log_buffer_init(void *memory, const struct hf_log_buffer_options *options)
{
    if (memory == NULL || (uintptr_t)memory % HF_LOG_BUFFER_ALIGN != 0 || !options_are_valid(options))
        return NULL;
    size_t head = head_bytes(options->size_bytes);
    memset(memory, 0, head);
    struct hf_log_buffer *buffer = memory;
    buffer->ring = (unsigned char *)memory + head;
    buffer->descriptors = (struct descriptor *)(buffer + 1);
    buffer->size_bytes = options->size_bytes;
    buffer->base = options->start_position & ~((uint64_t)options->block_max_bytes - 1);
    buffer->worst_bytes = hf_log_buffer_worst_bytes(options);
    buffer->descriptor_mask = (uint32_t)(options->size_bytes / HF_LOG_BUFFER_ALIGN - 1);
    buffer->block_max_bytes = options->block_max_bytes;
    buffer->header_bytes = options->header_bytes;
    buffer->next_sequence = buffer->known_sequence = options->start_sequence;
    buffer->next_position = buffer->known_position = options->start_position;
    hf_store_relaxed_u64(&buffer->released, options->start_position);
    hf_store_relaxed_u64(&buffer->tail, tail_pack(buffer, options->start_position + options->header_bytes, options->start_sequence));
    return buffer;
}

unsigned char *hf_log_buffer_base(struct hf_log_buffer *buffer, uint64_t *size_bytes)
{
    *size_bytes = buffer->size_bytes;
    return buffer->ring;
}

uint32_t hf_log_buffer_claim_max(const struct hf_log_buffer *buffer)
{
    return buffer->block_max_bytes - buffer->header_bytes;
}

uint64_t hf_log_buffer_position(const struct hf_log_buffer *buffer)
{
    return tail_position(buffer, hf_load_relaxed_u64(&buffer->tail));
}

/* released is read first: whatever it is, the tail read after its acquire lies behind it, so `used` cannot be negative. */
bool hf_log_buffer_has_room(const struct hf_log_buffer *buffer, uint64_t spare_bytes)
{
    uint64_t released = hf_load_acquire_u64(&buffer->released); /* [D], partner hf_log_buffer_release */
    uint64_t used = hf_log_buffer_position(buffer) - released;
    return spare_bytes <= buffer->size_bytes && used + buffer->worst_bytes + spare_bytes <= buffer->size_bytes;
}

/* Bytes from `position` to the next multiple of block_max; 0 on one. */
static uint64_t bytes_to_boundary(const struct hf_log_buffer *buffer, uint64_t position)
{
    return -position & (buffer->block_max_bytes - 1);
}

/* Where a block goes that follows one ending at `end` and has to hold a claim of `bytes`. */
static uint64_t next_block_position(const struct hf_log_buffer *buffer, uint64_t end, uint64_t bytes)
{
    uint64_t position = align_up(end, HF_LOG_BUFFER_ALIGN);
    uint64_t room = bytes_to_boundary(buffer, position);
    return room == 0 || room >= buffer->header_bytes + bytes ? position : position + room;
}

static void publish_closed(struct hf_log_buffer *buffer, uint64_t sequence, uint64_t end, uint64_t next_position)
{
    struct descriptor *descriptor = descriptor_of(buffer, sequence);
    descriptor->next_position = next_position;
    hf_store_release_u64(&descriptor->end, end); /* [B], partner block_closed_end */
}

struct hf_log_claim hf_log_buffer_claim(struct hf_log_buffer *buffer, uint32_t bytes)
{
    assert(bytes != 0 && bytes % UNIT_BYTES == 0 && bytes <= hf_log_buffer_claim_max(buffer));
    uint64_t tail = hf_load_relaxed_u64(&buffer->tail);
    uint64_t end, block, first, sequence;
    do {
        end = tail_position(buffer, tail);
        sequence = tail & SEQUENCE_MASK;
        block = 0;
        first = end;
        if (bytes > bytes_to_boundary(buffer, end)) {
            block = next_block_position(buffer, end, bytes);
            first = block + buffer->header_bytes;
            sequence++;
        }
    } while (!hf_cas_weak_acq_rel_u64(&buffer->tail, &tail, tail_pack(buffer, first + bytes, sequence))); /* [A] */
    assert(first + bytes - hf_load_relaxed_u64(&buffer->released) <= buffer->size_bytes);
    if (first != end)
        publish_closed(buffer, sequence - 1, end, block);
    return (struct hf_log_claim){.position = first,
                                 .memory = buffer->ring + (first & (buffer->size_bytes - 1)),
                                 .bytes = bytes,
                                 .sequence = (uint32_t)(sequence & SEQUENCE_MASK)};
}

void hf_log_buffer_commit(struct hf_log_buffer *buffer, const struct hf_log_claim *claim)
{
    hf_add_release_u64(&descriptor_of(buffer, claim->sequence)->committed, claim->bytes); /* [C], partner hf_log_buffer_next */
}

/* End of block `sequence` if it is closed and its closer has said so; else 0. */
static uint64_t block_closed_end(struct hf_log_buffer *buffer, uint64_t sequence)
{
    return hf_load_acquire_u64(&descriptor_of(buffer, sequence)->end); /* [B], partner publish_closed */
}

/* Follows the published descriptors as far as they go: a closer may still be between its CAS and its store. */
static void learn_starts(struct hf_log_buffer *buffer, uint64_t tail_sequence)
{
    while ((buffer->known_sequence & SEQUENCE_MASK) != tail_sequence && block_closed_end(buffer, buffer->known_sequence) != 0) {
        buffer->known_position = descriptor_of(buffer, buffer->known_sequence)->next_position;
        buffer->known_sequence++;
    }
}

/* Ends when it wins or has nothing to close; each lost CAS is a claim, and those fill the block within block_max / 8 of them. */
bool hf_log_buffer_close(struct hf_log_buffer *buffer, bool seal)
{
    bool may_seal = seal && hf_log_buffer_has_room(buffer, 0);
    uint64_t tail = hf_load_relaxed_u64(&buffer->tail);
    for (;;) {
        uint64_t sequence = tail & SEQUENCE_MASK;
        learn_starts(buffer, sequence);
        if ((buffer->known_sequence & SEQUENCE_MASK) != sequence)
            return true;
        uint64_t end = tail_position(buffer, tail);
        if (end == buffer->known_position + buffer->header_bytes && !may_seal)
            return buffer->known_sequence != buffer->next_sequence;
        uint64_t next = next_block_position(buffer, end, UNIT_BYTES);
        if (hf_cas_weak_release_u64(&buffer->tail, &tail, tail_pack(buffer, next + buffer->header_bytes, sequence + 1))) { /* [A] */
            publish_closed(buffer, sequence, end, next);
            return true;
        }
    }
}

bool hf_log_buffer_next(struct hf_log_buffer *buffer, struct hf_log_block *block)
{
    struct descriptor *descriptor = descriptor_of(buffer, buffer->next_sequence);
    uint64_t end = block_closed_end(buffer, buffer->next_sequence);
    if (end == 0)
        return false;
    uint32_t length = (uint32_t)(end - buffer->next_position);
    if (hf_load_acquire_u64(&descriptor->committed) != length - buffer->header_bytes) /* [C], partner hf_log_buffer_commit */
        return false;
    *block = (struct hf_log_block){.position = buffer->next_position,
                                   .sequence = buffer->next_sequence,
                                   .next_position = descriptor->next_position,
                                   .memory = buffer->ring + (buffer->next_position & (buffer->size_bytes - 1)),
                                   .length = length,
                                   .padded_bytes = (uint32_t)align_up(length, HF_LOG_BUFFER_ALIGN)};
    memset(block->memory + length, 0, block->padded_bytes - length);
    hf_store_relaxed_u64(&descriptor->committed, 0);
    hf_store_relaxed_u64(&descriptor->end, 0);
    if (buffer->known_sequence == buffer->next_sequence) {
        buffer->known_sequence++;
        buffer->known_position = block->next_position;
    }
    buffer->next_sequence++;
    buffer->next_position = block->next_position;
    return true;
}

bool hf_log_buffer_pending(const struct hf_log_buffer *buffer)
{
    return hf_log_buffer_position(buffer) != buffer->next_position + buffer->header_bytes;
}

uint64_t hf_log_buffer_next_position(const struct hf_log_buffer *buffer)
{
    return buffer->next_position;
}

void hf_log_buffer_release(struct hf_log_buffer *buffer, uint64_t position)
{
    assert(position >= hf_load_relaxed_u64(&buffer->released) && position <= buffer->next_position);
    hf_store_release_u64(&buffer->released, position); /* [D], partner hf_log_buffer_has_room */
}

uint64_t hf_log_buffer_released(const struct hf_log_buffer *buffer)
{
    return hf_load_relaxed_u64(&buffer->released);
}

const unsigned char *hf_log_buffer_at(const struct hf_log_buffer *buffer, uint64_t position)
{
    return buffer->ring + (position & (buffer->size_bytes - 1));
}
