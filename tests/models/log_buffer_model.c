/*
 * Models of the log in memory: two claimers and the drainer.
 *
 * Claims carry their claimer and number in their first and last 8 bytes; the drainer reads both of every claim, writes the header as the
 * log does, and releases. Where a claim falls on memory that was read before, only the edges of log_buffer.c keep the two apart.
 */
#include "ring/log_buffer.h"

#include "ring/atomics.h"
#include "tests/models/checker.h"

#include <assert.h>

enum { KIB = 1024, HEADER = 128, SMALL = 64, LARGE = 8 * KIB + 64, CLAIMERS = 2, FLAGS_BYTES = 4 * KIB };

struct flags {
    struct hf_atomic_u32 go;
};

static struct hf_log_buffer *buffer;
static uint32_t claim_bytes, claims_each;

static struct flags *flags(void)
{
    return (struct flags *)(void *)hf_model_arena;
}

static void make(uint64_t size_bytes, uint32_t shards, uint32_t bytes, uint32_t each)
{
    struct hf_log_buffer_options options = {.size_bytes = size_bytes,
                                            .block_max_bytes = 16 * KIB,
                                            .header_bytes = HEADER,
                                            .shards = shards,
                                            .batch_bytes_max = bytes,
                                            .batch_claims_max = 1,
                                            .start_position = 0,
                                            .start_sequence = (1 << 14) - 1};
    size_t needed = hf_log_buffer_memory_bytes(&options);
    assert(needed != 0 && needed <= HF_MODEL_ARENA_BYTES - FLAGS_BYTES);
    buffer = hf_log_buffer_init(hf_model_arena + FLAGS_BYTES, &options);
    unsigned char *ring = hf_log_buffer_base(buffer, &size_bytes);
    memset(ring, 0xee, size_bytes);
    claim_bytes = bytes;
    claims_each = each;
}

static uint64_t *word_at(const unsigned char *memory, uint32_t offset)
{
    return (uint64_t *)(void *)(uintptr_t)(memory + offset);
}

static uint64_t stamp_of(uint32_t claimer, uint32_t number)
{
    return (uint64_t)(claimer + 1) << 32 | number;
}

static void claim_and_commit(uint32_t claimer, uint32_t number)
{
    struct hf_log_claim claim = hf_log_buffer_claim(buffer, claim_bytes);
    *word_at(claim.memory, 0) = stamp_of(claimer, number);
    *word_at(claim.memory, claim_bytes - 8) = stamp_of(claimer, number);
    hf_log_buffer_commit(buffer, &claim);
}

static void wait_for_room(void)
{
    while (!hf_log_buffer_has_room(buffer, 0))
        hf_model_pause();
}

static void claims(uint32_t claimer)
{
    for (uint32_t number = 0; number < claims_each; number++) {
        wait_for_room();
        claim_and_commit(claimer, number);
    }
}

static void claims_of_0(void)
{
    claims(0);
}

static void claims_of_1(void)
{
    claims(1);
}

/* What the drainer has seen so far; on its own stack. */
struct drain {
    uint64_t position, sequence;
    uint32_t numbers[CLAIMERS];
};

static struct drain drain_begin(void)
{
    return (struct drain){.position = 0, .sequence = (1 << 14) - 1};
}

static void block_read(struct drain *drain, const struct hf_log_block *block)
{
    assert(block->position == drain->position && block->sequence == drain->sequence);
    assert((block->length - HEADER) % claim_bytes == 0 && block->next_position >= block->position + block->padded_bytes);
    for (uint32_t at = HEADER; at < block->length; at += claim_bytes) {
        uint64_t stamp = *word_at(block->memory, at);
        uint32_t claimer = (uint32_t)(stamp >> 32) - 1;
        assert(claimer < CLAIMERS && stamp == stamp_of(claimer, drain->numbers[claimer]));
        assert(*word_at(block->memory, at + claim_bytes - 8) == stamp);
        drain->numbers[claimer]++;
    }
    for (uint32_t at = block->length; at < block->padded_bytes; at += 512)
        assert(*word_at(block->memory, at) == 0);
    memset(block->memory, 0xaa, HEADER);
    drain->position = block->next_position;
    drain->sequence++;
}

/* Takes what is ready; keeps the newest block back from the release, as a write in flight does, if there were several. */
static bool drain_ready(struct drain *drain)
{
    struct hf_log_block block;
    uint64_t release = 0;
    bool any = false;
    while (hf_log_buffer_next(buffer, &block)) {
        block_read(drain, &block);
        if (any)
            hf_log_buffer_release(buffer, release);
        release = block.next_position;
        any = true;
    }
    if (any)
        hf_log_buffer_release(buffer, release);
    return any;
}

static void drain_all(void)
{
    struct drain drain = drain_begin();
    for (uint32_t turn = 0; drain.numbers[0] + drain.numbers[1] < CLAIMERS * claims_each; turn++) {
        hf_log_buffer_close(buffer, turn % 4 == 3);
        if (!drain_ready(&drain))
            hf_model_pause();
    }
    assert(drain.numbers[0] == claims_each && drain.numbers[1] == claims_each);
}

static void finish_drained(void)
{
    struct hf_log_block block;
    while (hf_log_buffer_next(buffer, &block))
        assert(block.length == HEADER);
    assert(hf_log_buffer_next_position(buffer) + HEADER == hf_log_buffer_position(buffer) && !hf_log_buffer_pending(buffer));
}

static void setup_small(void)
{
    make(32 * KIB, CLAIMERS, SMALL, 8);
}

static void setup_large(void)
{
    make(128 * KIB, CLAIMERS, LARGE, 5);
}

/* Claims of more than half a block, each of which closes the block before: the drainer never touches the tail. */
enum { ROUNDS = 8 };

static void setup_chain(void)
{
    make(128 * KIB, CLAIMERS, LARGE, ROUNDS);
}

static void claim_a_whole_ring(void)
{
    claims(0);
    hf_store_relaxed_u32(&flags()->go, 1);
}

/* The flag orders nothing: that the memory is free, this claimer knows only from the tail. */
static void look_early_claim_late(void)
{
    wait_for_room();
    while (hf_load_relaxed_u32(&flags()->go) == 0)
        hf_model_pause();
    claim_and_commit(1, 0);
}

static void drain_closed_ones(void)
{
    struct drain drain = drain_begin();
    while (drain.numbers[0] < ROUNDS)
        if (!drain_ready(&drain))
            hf_model_pause();
}

static void finish_chain(void)
{
    struct hf_log_block block;
    assert(hf_log_buffer_close(buffer, false) && hf_log_buffer_next(buffer, &block));
    assert(*word_at(block.memory, HEADER) == stamp_of(1, 0) && !hf_log_buffer_pending(buffer));
}

static void setup_seals(void)
{
    make(32 * KIB, 1, SMALL, 1);
}

/* Seals until their blocks, 4 KiB each, and with them the descriptors have gone round the ring. */
static void seal_a_whole_ring(void)
{
    struct drain drain = drain_begin();
    for (uint32_t seal = 0; seal < 10; seal++) {
        assert(hf_log_buffer_close(buffer, true));
        drain_ready(&drain);
    }
    hf_store_relaxed_u32(&flags()->go, 1);
}

static void idle(void)
{
}

const struct hf_model hf_log_buffer_models[] = {
    {.name = "log buffer: small claims, closed and sealed by the drainer, arrive once and in order",
     .setup = setup_small,
     .threads = {claims_of_0, claims_of_1, drain_all},
     .finish = finish_drained,
     .switches = 0},
    {.name = "log buffer: large claims close blocks while the drainer does, round the ring",
     .setup = setup_large,
     .threads = {claims_of_0, claims_of_1, drain_all},
     .finish = finish_drained,
     .switches = -1},
    {.name = "log buffer: a late claim rests on the room that another shard saw",
     .setup = setup_chain,
     .threads = {claim_a_whole_ring, look_early_claim_late, drain_closed_ones},
     .finish = finish_chain,
     .switches = -1},
    {.name = "log buffer: a late claim rests on the room that a seal saw",
     .setup = setup_seals,
     .threads = {idle, look_early_claim_late, seal_a_whole_ring},
     .finish = finish_chain,
     .switches = 0},
    {.name = NULL},
};
