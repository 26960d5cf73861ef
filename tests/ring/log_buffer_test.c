#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "ring/log_buffer.h"
#include "ring/atomics.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { KIB = 1024, MIB = 1024 * KIB, HEADER = 128, PAGE = HF_LOG_BUFFER_ALIGN };

static struct hf_log_buffer_options small_options(void)
{
    return (struct hf_log_buffer_options){.size_bytes = 64 * KIB,
                                          .block_max_bytes = 16 * KIB,
                                          .header_bytes = HEADER,
                                          .shards = 1,
                                          .batch_bytes_max = 4 * KIB,
                                          .batch_claims_max = 1,
                                          .start_position = 0,
                                          .start_sequence = 0};
}

static struct hf_log_buffer *buffer_make(const struct hf_log_buffer_options *options)
{
    size_t bytes = hf_log_buffer_memory_bytes(options);
    assert_int_not_equal(bytes, 0);
    void *memory = aligned_alloc(PAGE, bytes);
    memset(memory, 0xee, bytes);
    return hf_log_buffer_init(memory, options);
}

static struct hf_log_claim claim_filled(struct hf_log_buffer *buffer, uint32_t bytes, int byte)
{
    struct hf_log_claim claim = hf_log_buffer_claim(buffer, bytes);
    assert_int_equal(claim.bytes, bytes);
    memset(claim.memory, byte, bytes);
    return claim;
}

static uint64_t claim_commit(struct hf_log_buffer *buffer, uint32_t bytes)
{
    struct hf_log_claim claim = claim_filled(buffer, bytes, 0x11);
    hf_log_buffer_commit(buffer, &claim);
    return claim.position;
}

static struct hf_log_block block_next(struct hf_log_buffer *buffer)
{
    struct hf_log_block block;
    assert_true(hf_log_buffer_next(buffer, &block));
    return block;
}

static void drain_all(struct hf_log_buffer *buffer)
{
    struct hf_log_block block;
    hf_log_buffer_close(buffer, false);
    while (hf_log_buffer_next(buffer, &block))
        hf_log_buffer_release(buffer, block.next_position);
}

static void options_that_are_not_valid_are_refused(void **state)
{
    (void)state;
    struct hf_log_buffer_options good = small_options(), bad;
    assert_int_not_equal(hf_log_buffer_memory_bytes(&good), 0);
    bad = good, bad.size_bytes = 60 * KIB;
    assert_int_equal(hf_log_buffer_memory_bytes(&bad), 0);
    bad = good, bad.size_bytes = 2 * HF_LOG_BUFFER_SIZE_MAX;
    assert_int_equal(hf_log_buffer_memory_bytes(&bad), 0);
    bad = good, bad.block_max_bytes = 8 * KIB;
    assert_int_equal(hf_log_buffer_memory_bytes(&bad), 0);
    bad = good, bad.block_max_bytes = 128 * KIB;
    assert_int_equal(hf_log_buffer_memory_bytes(&bad), 0);
    bad = good, bad.header_bytes = 100;
    assert_int_equal(hf_log_buffer_memory_bytes(&bad), 0);
    bad = good, bad.start_position = 512;
    assert_int_equal(hf_log_buffer_memory_bytes(&bad), 0);
    bad = good, bad.shards = 8;
    assert_int_equal(hf_log_buffer_memory_bytes(&bad), 0);
    assert_null(hf_log_buffer_init(&bad, &good));
}

static void claims_follow_each_other_and_fill_one_block(void **state)
{
    (void)state;
    struct hf_log_buffer_options options = small_options();
    struct hf_log_buffer *buffer = buffer_make(&options);
    assert_false(hf_log_buffer_pending(buffer));
    assert_int_equal(claim_commit(buffer, 64), HEADER);
    assert_int_equal(claim_commit(buffer, 200), HEADER + 64);
    assert_int_equal(hf_log_buffer_position(buffer), HEADER + 264);
    assert_true(hf_log_buffer_pending(buffer));
    struct hf_log_block block;
    assert_false(hf_log_buffer_next(buffer, &block));
    assert_true(hf_log_buffer_close(buffer, false));
    block = block_next(buffer);
    assert_int_equal(block.position, 0);
    assert_int_equal(block.sequence, 0);
    assert_int_equal(block.length, HEADER + 264);
    assert_int_equal(block.padded_bytes, PAGE);
    assert_int_equal(block.next_position, PAGE);
    for (uint32_t i = HEADER; i < PAGE; i++)
        assert_int_equal(block.memory[i], i < HEADER + 264 ? 0x11 : 0);
    assert_false(hf_log_buffer_next(buffer, &block));
    assert_false(hf_log_buffer_pending(buffer));
    assert_int_equal(claim_commit(buffer, 8), PAGE + HEADER);
    free(buffer);
}

static void a_claim_that_does_not_fit_closes_the_block_and_opens_one_at_the_boundary(void **state)
{
    (void)state;
    struct hf_log_buffer_options options = small_options();
    options.batch_bytes_max = 12 * KIB;
    struct hf_log_buffer *buffer = buffer_make(&options);
    claim_commit(buffer, 9000);
    assert_int_equal(claim_commit(buffer, 12 * KIB), 16 * KIB + HEADER);
    struct hf_log_block block = block_next(buffer);
    assert_int_equal(block.length, HEADER + 9000);
    assert_int_equal(block.padded_bytes, 12 * KIB);
    assert_int_equal(block.next_position, 16 * KIB);
    hf_log_buffer_close(buffer, false);
    block = block_next(buffer);
    assert_int_equal(block.position, 16 * KIB);
    assert_int_equal(block.length, HEADER + 12 * KIB);
    assert_int_equal(block.sequence, 1);
    free(buffer);
}

static void a_claim_that_fits_at_the_next_4_kib_goes_there_after_a_close(void **state)
{
    (void)state;
    struct hf_log_buffer_options options = small_options();
    struct hf_log_buffer *buffer = buffer_make(&options);
    claim_commit(buffer, 5000);
    hf_log_buffer_close(buffer, false);
    assert_int_equal(claim_commit(buffer, 8 * KIB - HEADER), 8 * KIB + HEADER);
    assert_int_equal(hf_log_buffer_position(buffer), 16 * KIB);
    assert_int_equal(claim_commit(buffer, 8), 16 * KIB + HEADER);
    struct hf_log_block block = block_next(buffer);
    assert_int_equal(block.length, HEADER + 5000);
    block = block_next(buffer);
    assert_int_equal(block.position, 8 * KIB);
    assert_int_equal(block.length, 8 * KIB);
    assert_int_equal(block.next_position, 16 * KIB);
    free(buffer);
}

static void the_largest_claim_fills_a_block_to_the_byte(void **state)
{
    (void)state;
    static const uint32_t block_max[] = {16 * KIB, 1 * MIB};
    for (int i = 0; i < 2; i++) {
        struct hf_log_buffer_options options = small_options();
        options.block_max_bytes = block_max[i];
        options.size_bytes = 8 * (uint64_t)block_max[i];
        options.batch_bytes_max = block_max[i];
        struct hf_log_buffer *buffer = buffer_make(&options);
        uint32_t most = hf_log_buffer_claim_max(buffer);
        assert_int_equal(most, block_max[i] - HEADER);
        for (uint64_t n = 0; n < 20; n++) {
            assert_true(hf_log_buffer_has_room(buffer, 0));
            assert_int_equal(claim_commit(buffer, most), n * block_max[i] + HEADER);
            hf_log_buffer_close(buffer, false);
            struct hf_log_block block = block_next(buffer);
            assert_int_equal(block.position, n * block_max[i]);
            assert_int_equal(block.length, block_max[i]);
            assert_int_equal(block.padded_bytes, block_max[i]);
            hf_log_buffer_release(buffer, block.next_position);
        }
        free(buffer);
    }
}

static void an_empty_block_is_closed_only_to_seal(void **state)
{
    (void)state;
    struct hf_log_buffer_options options = small_options();
    struct hf_log_buffer *buffer = buffer_make(&options);
    struct hf_log_block block;
    assert_false(hf_log_buffer_close(buffer, false));
    assert_false(hf_log_buffer_next(buffer, &block));
    assert_true(hf_log_buffer_close(buffer, true));
    block = block_next(buffer);
    assert_int_equal(block.length, HEADER);
    assert_int_equal(block.padded_bytes, PAGE);
    assert_int_equal(block.next_position, PAGE);
    assert_false(hf_log_buffer_close(buffer, false));
    assert_int_equal(claim_commit(buffer, 8), PAGE + HEADER);
    free(buffer);
}

static void seals_stop_before_they_take_room_that_was_promised(void **state)
{
    (void)state;
    struct hf_log_buffer_options options = small_options();
    struct hf_log_buffer *buffer = buffer_make(&options);
    uint64_t seals = 0;
    while (hf_log_buffer_close(buffer, true)) {
        assert_int_equal(block_next(buffer).position, seals * PAGE);
        assert_true(++seals < 16);
    }
    assert_true(seals > 0);
    assert_false(hf_log_buffer_has_room(buffer, 0));
    hf_log_buffer_release(buffer, hf_log_buffer_next_position(buffer));
    assert_true(hf_log_buffer_close(buffer, true));
    free(buffer);
}

static void a_claim_too_large_for_the_empty_rest_before_a_boundary_leaves_an_empty_block(void **state)
{
    (void)state;
    struct hf_log_buffer_options options = small_options();
    options.batch_bytes_max = 8 * KIB;
    struct hf_log_buffer *buffer = buffer_make(&options);
    claim_commit(buffer, 10 * KIB);
    hf_log_buffer_close(buffer, false);
    assert_int_equal(claim_commit(buffer, 8 * KIB), 16 * KIB + HEADER);
    assert_int_equal(block_next(buffer).length, HEADER + 10 * KIB);
    struct hf_log_block block = block_next(buffer);
    assert_int_equal(block.position, 12 * KIB);
    assert_int_equal(block.length, HEADER);
    assert_int_equal(block.next_position, 16 * KIB);
    free(buffer);
}

static void a_missing_commit_holds_its_block_and_all_later_ones_back(void **state)
{
    (void)state;
    struct hf_log_buffer_options options = small_options();
    struct hf_log_buffer *buffer = buffer_make(&options);
    struct hf_log_block block;
    struct hf_log_claim first = claim_filled(buffer, 64, 1);
    struct hf_log_claim second = claim_filled(buffer, 64, 2);
    hf_log_buffer_commit(buffer, &second);
    assert_true(hf_log_buffer_close(buffer, false));
    claim_commit(buffer, 64);
    assert_true(hf_log_buffer_close(buffer, false));
    assert_false(hf_log_buffer_next(buffer, &block));
    hf_log_buffer_commit(buffer, &first);
    assert_int_equal(block_next(buffer).sequence, 0);
    assert_int_equal(block_next(buffer).sequence, 1);
    assert_false(hf_log_buffer_next(buffer, &block));
    free(buffer);
}

static void room_is_refused_before_it_ends_and_comes_back_with_the_release(void **state)
{
    (void)state;
    struct hf_log_buffer_options options = small_options();
    struct hf_log_buffer *buffer = buffer_make(&options);
    uint64_t worst = hf_log_buffer_worst_bytes(&options);
    int batches = 0;
    while (hf_log_buffer_has_room(buffer, 0)) {
        claim_commit(buffer, 4 * KIB);
        batches++;
    }
    assert_true(batches >= 2);
    assert_true(hf_log_buffer_position(buffer) + worst > options.size_bytes);
    drain_all(buffer);
    assert_true(hf_log_buffer_has_room(buffer, 0));
    assert_false(hf_log_buffer_has_room(buffer, options.size_bytes - worst));
    assert_false(hf_log_buffer_has_room(buffer, UINT64_MAX));
    assert_int_equal(hf_log_buffer_released(buffer), hf_log_buffer_next_position(buffer));
    free(buffer);
}

static void the_log_goes_on_from_any_4_kib_and_any_sequence(void **state)
{
    (void)state;
    struct hf_log_buffer_options options = small_options();
    options.start_position = (UINT64_C(1) << 52) + 12 * KIB;
    options.start_sequence = UINT64_C(1) << 40 | 12345;
    struct hf_log_buffer *buffer = buffer_make(&options);
    assert_int_equal(hf_log_buffer_released(buffer), options.start_position);
    assert_int_equal(claim_commit(buffer, 3000), options.start_position + HEADER);
    assert_int_equal(claim_commit(buffer, 3000), options.start_position + 4 * KIB + HEADER);
    struct hf_log_block block = block_next(buffer);
    assert_int_equal(block.position, options.start_position);
    assert_int_equal(block.sequence, options.start_sequence);
    assert_ptr_equal(block.memory, hf_log_buffer_at(buffer, options.start_position));
    free(buffer);
}

static void sequences_run_through_2_to_the_14_and_positions_never_jump(void **state)
{
    (void)state;
    struct hf_log_buffer_options options = small_options();
    options.start_sequence = 16000;
    struct hf_log_buffer *buffer = buffer_make(&options);
    uint64_t position = 0;
    for (uint64_t n = 0; n < 40000; n++) {
        assert_true(hf_log_buffer_has_room(buffer, 0));
        assert_int_equal(claim_commit(buffer, 8 + 8 * (uint32_t)(n % 400)), position + HEADER);
        assert_true(hf_log_buffer_close(buffer, false));
        struct hf_log_block block = block_next(buffer);
        assert_int_equal(block.position, position);
        assert_int_equal(block.sequence, 16000 + n);
        position = block.next_position;
        hf_log_buffer_release(buffer, position);
    }
    free(buffer);
}

struct late_claimer {
    struct hf_log_buffer *buffer;
    struct hf_atomic_u32 stage;
};

static void *claim_late(void *context)
{
    struct late_claimer *late = context;
    bool room = hf_log_buffer_has_room(late->buffer, 0);
    hf_store_relaxed_u32(&late->stage, 1);
    while (hf_load_relaxed_u32(&late->stage) != 2)
        sched_yield();
    if (room)
        claim_commit(late->buffer, 4 * KIB);
    return NULL;
}

/* The stages are relaxed on purpose: only the tail orders the late claim after the release that its memory rests on (the thread
 * sanitizer tells). */
static void a_claim_may_rest_on_the_room_that_another_shard_saw(void **state)
{
    (void)state;
    struct hf_log_buffer_options options = small_options();
    options.shards = 2;
    struct late_claimer late = {.buffer = buffer_make(&options)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, claim_late, &late), 0);
    while (hf_load_relaxed_u32(&late.stage) != 1)
        sched_yield();
    for (int n = 0; n < 64; n++) {
        assert_true(hf_log_buffer_has_room(late.buffer, 0));
        claim_commit(late.buffer, 4 * KIB);
        drain_all(late.buffer);
    }
    hf_store_relaxed_u32(&late.stage, 2);
    pthread_join(thread, NULL);
    assert_true(hf_log_buffer_pending(late.buffer));
    free(late.buffer);
}

/* A record of the stress run: bytes, claimer, number, then words made of both. */
struct stress_record {
    uint32_t bytes;
    uint32_t claimer;
    uint64_t number;
};

enum { CLAIMERS = 3, CLAIMS_EACH = 6000, BATCH_CLAIMS = 4 };

struct stress {
    struct hf_log_buffer *buffer;
    struct hf_atomic_u32 *ended;
    uint32_t claimer;
    uint64_t wrong_order;
};

static uint64_t mix(uint64_t n)
{
    n ^= n >> 31;
    n *= UINT64_C(0x9e3779b97f4a7c15);
    return n ^ n >> 29;
}

/* Most claims are small; some take most of a 16 KiB block, so that blocks are left early. */
static uint32_t stress_claim_bytes(uint32_t claimer, uint64_t number)
{
    uint64_t random = mix(number * CLAIMERS + claimer + 1);
    uint32_t most = random % 16 == 0 ? 12 * KIB : 800;
    return (uint32_t)(sizeof(struct stress_record) + (random >> 8) % most / 8 * 8);
}

static void record_write(unsigned char *to, uint32_t bytes, uint32_t claimer, uint64_t number)
{
    struct stress_record record = {.bytes = bytes, .claimer = claimer, .number = number};
    memcpy(to, &record, sizeof(record));
    for (uint32_t at = sizeof(record); at < bytes; at += 8) {
        uint64_t word = mix(number + at) ^ claimer;
        memcpy(to + at, &word, 8);
    }
}

/* 0 if the record at `from` is whole. */
static uint64_t record_wrong(const unsigned char *from, const struct stress_record *record)
{
    for (uint32_t at = sizeof(*record); at < record->bytes; at += 8) {
        uint64_t word;
        memcpy(&word, from + at, 8);
        if (word != (mix(record->number + at) ^ record->claimer))
            return 1;
    }
    return 0;
}

static void *stress_claims(void *context)
{
    struct stress *stress = context;
    uint64_t last = 0;
    for (uint64_t number = 0; number < CLAIMS_EACH;) {
        if (!hf_log_buffer_has_room(stress->buffer, 0)) {
            sched_yield();
            continue;
        }
        struct hf_log_claim claims[BATCH_CLAIMS];
        uint32_t count = 0;
        for (; count < BATCH_CLAIMS && number + count < CLAIMS_EACH; count++) {
            claims[count] = hf_log_buffer_claim(stress->buffer, stress_claim_bytes(stress->claimer, number + count));
            stress->wrong_order += claims[count].position <= last;
            last = claims[count].position;
        }
        for (uint32_t i = count; i-- > 0;) {
            record_write(claims[i].memory, claims[i].bytes, stress->claimer, number + i);
            hf_log_buffer_commit(stress->buffer, &claims[i]);
        }
        number += count;
    }
    hf_add_release_u32(stress->ended, 1);
    return NULL;
}

struct stress_drain {
    uint64_t next_number[CLAIMERS];
    uint64_t records, blocks, wrong, position, sequence;
};

static void stress_check_block(struct stress_drain *drain, const struct hf_log_block *block)
{
    drain->wrong += block->position != drain->position || block->sequence != drain->sequence;
    drain->wrong += block->position / (16 * KIB) != (block->position + block->length - 1) / (16 * KIB);
    drain->position = block->next_position;
    drain->sequence++;
    drain->blocks++;
    uint32_t at = HEADER;
    while (at < block->length) {
        struct stress_record record;
        memcpy(&record, block->memory + at, sizeof(record));
        if (record.claimer >= CLAIMERS || record.bytes > block->length - at || record.number != drain->next_number[record.claimer]) {
            drain->wrong++;
            return;
        }
        drain->wrong += record_wrong(block->memory + at, &record);
        drain->next_number[record.claimer]++;
        drain->records++;
        at += record.bytes;
    }
    memset(block->memory, 0xaa, HEADER);
}

/* Holds up to three blocks back before it releases, as writes in flight do. */
static void stress_drain_all(struct hf_log_buffer *buffer, struct hf_atomic_u32 *ended, struct stress_drain *drain)
{
    uint64_t held[3];
    uint32_t turn = 0, count = 0;
    for (;;) {
        bool last_turn = hf_load_acquire_u32(ended) == CLAIMERS;
        hf_log_buffer_close(buffer, turn++ % 8 == 0);
        struct hf_log_block block;
        bool any = false;
        while (hf_log_buffer_next(buffer, &block)) {
            any = true;
            stress_check_block(drain, &block);
            if (count >= 3)
                hf_log_buffer_release(buffer, held[count % 3]);
            held[count++ % 3] = block.next_position;
        }
        if (!any)
            hf_log_buffer_release(buffer, hf_log_buffer_next_position(buffer)), count = 0;
        if (last_turn && !hf_log_buffer_pending(buffer) && !any)
            return;
        sched_yield();
    }
}

static void every_record_of_three_claimers_arrives_once_whole_and_in_claim_order(void **state)
{
    (void)state;
    struct hf_log_buffer_options options = small_options();
    options.size_bytes = 1 * MIB;
    options.shards = CLAIMERS;
    options.batch_bytes_max = BATCH_CLAIMS * 13 * KIB;
    options.batch_claims_max = BATCH_CLAIMS;
    options.start_position = 20 * KIB;
    options.start_sequence = (1 << 14) - 5;
    struct hf_log_buffer *buffer = buffer_make(&options);
    struct hf_atomic_u32 ended = {0};
    struct stress stress[CLAIMERS];
    pthread_t threads[CLAIMERS];
    for (uint32_t i = 0; i < CLAIMERS; i++) {
        stress[i] = (struct stress){.buffer = buffer, .ended = &ended, .claimer = i};
        assert_int_equal(pthread_create(&threads[i], NULL, stress_claims, &stress[i]), 0);
    }
    struct stress_drain drain = {.position = options.start_position, .sequence = options.start_sequence};
    stress_drain_all(buffer, &ended, &drain);
    for (uint32_t i = 0; i < CLAIMERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(stress[i].wrong_order, 0);
        assert_int_equal(drain.next_number[i], CLAIMS_EACH);
    }
    assert_int_equal(drain.wrong, 0);
    assert_int_equal(drain.records, CLAIMERS * CLAIMS_EACH);
    free(buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_that_are_not_valid_are_refused),
        cmocka_unit_test(claims_follow_each_other_and_fill_one_block),
        cmocka_unit_test(a_claim_that_does_not_fit_closes_the_block_and_opens_one_at_the_boundary),
        cmocka_unit_test(a_claim_that_fits_at_the_next_4_kib_goes_there_after_a_close),
        cmocka_unit_test(the_largest_claim_fills_a_block_to_the_byte),
        cmocka_unit_test(an_empty_block_is_closed_only_to_seal),
        cmocka_unit_test(seals_stop_before_they_take_room_that_was_promised),
        cmocka_unit_test(a_claim_too_large_for_the_empty_rest_before_a_boundary_leaves_an_empty_block),
        cmocka_unit_test(a_missing_commit_holds_its_block_and_all_later_ones_back),
        cmocka_unit_test(room_is_refused_before_it_ends_and_comes_back_with_the_release),
        cmocka_unit_test(the_log_goes_on_from_any_4_kib_and_any_sequence),
        cmocka_unit_test(sequences_run_through_2_to_the_14_and_positions_never_jump),
        cmocka_unit_test(a_claim_may_rest_on_the_room_that_another_shard_saw),
        cmocka_unit_test(every_record_of_three_claimers_arrives_once_whole_and_in_claim_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
