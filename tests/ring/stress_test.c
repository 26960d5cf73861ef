/*
 * The three structures under as much contention as their users can make, for real cores and ThreadSanitizer: the smallest ring, the fullest
 * log, the most crossed words. What is handed over is plain memory, so that a missing edge is a race to the sanitizer and a wrong sum to
 * all.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "ring/atomics.h"
#include "ring/log_buffer.h"
#include "ring/spsc.h"
#include "ring/word.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { KIB = 1024, PAGE = HF_LOG_BUFFER_ALIGN, THREADS = 4 };

static uint64_t mix(uint64_t n)
{
    n ^= n >> 31;
    n *= UINT64_C(0x9e3779b97f4a7c15);
    return n ^ n >> 29;
}

/* A ring of two elements: in place on one side, by copy on the other. */
enum { ELEMENTS = 200000, CAPACITY = 2 };

struct element {
    uint64_t number;
    uint64_t check;
};

static void *put_in_place(void *context)
{
    struct hf_spsc *ring = context;
    for (uint64_t next = 0; next < ELEMENTS;) {
        void *span = NULL;
        uint32_t room = hf_spsc_reserve(ring, 1 + (uint32_t)(mix(next) % 2), &span);
        struct element *elements = span;
        for (uint32_t i = 0; i < room; i++)
            elements[i] = (struct element){.number = next + i, .check = mix(next + i)};
        hf_spsc_commit(ring, room);
        next += room;
        if (room == 0)
            sched_yield();
    }
    return NULL;
}

static void a_ring_of_two_elements_keeps_its_two_sides_apart(void **state)
{
    (void)state;
    void *memory = aligned_alloc(HF_CACHE_PAD_BYTES, hf_spsc_bytes(CAPACITY, sizeof(struct element)));
    struct hf_spsc *ring = hf_spsc_init(memory, CAPACITY, sizeof(struct element), UINT64_MAX - ELEMENTS / 2);
    pthread_t producer;
    assert_int_equal(pthread_create(&producer, NULL, put_in_place, ring), 0);
    uint64_t wrong = 0;
    for (uint64_t next = 0; next < ELEMENTS;) {
        struct element elements[CAPACITY];
        uint32_t got = hf_spsc_get(ring, elements, CAPACITY, sizeof(struct element));
        for (uint32_t i = 0; i < got; i++)
            wrong += elements[i].number != next + i || elements[i].check != mix(next + i);
        next += got;
        if (got == 0)
            sched_yield();
    }
    pthread_join(producer, NULL);
    assert_int_equal(wrong, 0);
    free(memory);
}

/* The smallest log for its shards: nearly every look for room fails, and each byte is used again at once. */
enum { CLAIMERS = 3, CLAIMS_EACH = 20000, HEADER = 128 };

struct log_stress {
    struct hf_log_buffer *buffer;
    struct hf_atomic_u32 *ended;
    uint32_t claimer;
    uint64_t refused;
};

/* Every 8 bytes of a claim say whose it is and which. */
static void claim_fill(const struct hf_log_claim *claim, uint32_t claimer, uint64_t number)
{
    for (uint32_t at = 0; at < claim->bytes; at += 8) {
        uint64_t word = (uint64_t)claim->bytes << 48 | (uint64_t)claimer << 40 | number;
        memcpy(claim->memory + at, &word, 8);
    }
}

static void *claim_under_pressure(void *context)
{
    struct log_stress *stress = context;
    for (uint64_t number = 0; number < CLAIMS_EACH;) {
        if (!hf_log_buffer_has_room(stress->buffer, 0)) {
            stress->refused++;
            sched_yield();
            continue;
        }
        uint64_t random = mix(number * CLAIMERS + stress->claimer);
        if (random % 8 == 0)
            sched_yield(); /* the look grows old */
        struct hf_log_claim claim = hf_log_buffer_claim(stress->buffer, (uint32_t)(8 + random % 64 * 8));
        if (random % 32 == 1)
            sched_yield(); /* and a block waits for its commit */
        claim_fill(&claim, stress->claimer, number++);
        hf_log_buffer_commit(stress->buffer, &claim);
    }
    hf_add_release_u32(stress->ended, 1);
    return NULL;
}

struct log_drain {
    uint64_t numbers[CLAIMERS];
    uint64_t wrong, position;
};

static void block_check(struct log_drain *drain, const struct hf_log_block *block)
{
    drain->wrong += block->position != drain->position;
    for (uint32_t at = HEADER; at < block->length;) {
        uint64_t word;
        memcpy(&word, block->memory + at, 8);
        uint32_t bytes = (uint32_t)(word >> 48), claimer = (uint32_t)(word >> 40 & 0xff);
        if (claimer >= CLAIMERS || bytes == 0 || bytes > block->length - at ||
            word != ((uint64_t)bytes << 48 | (uint64_t)claimer << 40 | drain->numbers[claimer])) {
            drain->wrong++;
            return;
        }
        for (uint32_t i = 0; i < bytes; i += 8)
            drain->wrong += memcmp(block->memory + at + i, &word, 8) != 0;
        drain->numbers[claimer]++;
        at += bytes;
    }
    memset(block->memory, 0xaa, block->padded_bytes);
    drain->position = block->next_position;
}

static void drain_until_ended(struct hf_log_buffer *buffer, struct hf_atomic_u32 *ended, struct log_drain *drain)
{
    for (uint64_t turn = 0;; turn++) {
        bool last_turn = hf_load_acquire_u32(ended) == CLAIMERS, any = false;
        struct hf_log_block block;
        hf_log_buffer_close(buffer, mix(turn) % 4 == 0);
        while (hf_log_buffer_next(buffer, &block)) {
            block_check(drain, &block);
            hf_log_buffer_release(buffer, block.next_position);
            any = true;
        }
        if (last_turn && !any && !hf_log_buffer_pending(buffer))
            return;
        if (!any)
            sched_yield();
    }
}

static void the_fullest_log_hands_every_claim_over_whole_and_in_order(void **state)
{
    (void)state;
    struct hf_log_buffer_options options = {.size_bytes = 64 * KIB,
                                            .block_max_bytes = 16 * KIB,
                                            .header_bytes = HEADER,
                                            .shards = CLAIMERS,
                                            .batch_bytes_max = 512,
                                            .batch_claims_max = 1,
                                            .start_position = 12 * KIB,
                                            .start_sequence = (1 << 14) - 3};
    size_t bytes = hf_log_buffer_memory_bytes(&options);
    assert_int_not_equal(bytes, 0);
    void *memory = aligned_alloc(PAGE, bytes);
    struct hf_log_buffer *buffer = hf_log_buffer_init(memory, &options);
    struct hf_atomic_u32 ended = {0};
    struct log_stress stress[CLAIMERS];
    pthread_t threads[CLAIMERS];
    for (uint32_t i = 0; i < CLAIMERS; i++) {
        stress[i] = (struct log_stress){.buffer = buffer, .ended = &ended, .claimer = i};
        assert_int_equal(pthread_create(&threads[i], NULL, claim_under_pressure, &stress[i]), 0);
    }
    struct log_drain drain = {.position = options.start_position};
    drain_until_ended(buffer, &ended, &drain);
    for (uint32_t i = 0; i < CLAIMERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(drain.numbers[i], CLAIMS_EACH);
    }
    assert_int_equal(drain.wrong, 0);
    free(memory);
}

/* Steps on two of four partitions each, as batches of the shards take them: upwards within a bound, or tried; all let go on a failure. */
enum { WORDS = 4, STEPS_EACH = 60000, SPINS = 20, POLLS_MAX = 4 };

struct partition {
    struct hf_word word;
    alignas(HF_CACHE_PAD_BYTES) uint64_t steps; /* plain: only the word guards it */
    uint64_t marks;
};

static struct partition partitions[WORDS];

struct word_stress {
    struct hf_word_taker taker;
    uint64_t wrong;
};

static bool take_both(struct hf_word_taker *taker, struct partition *first, struct partition *second)
{
    if (!hf_word_take(&first->word, taker, SPINS)) {
        hf_word_want(&first->word, taker);
        return false;
    }
    bool held = first < second ? hf_word_take(&second->word, taker, SPINS) : hf_word_try(&second->word, taker);
    if (!held) {
        hf_word_release(&first->word, taker);
        hf_word_want(&second->word, taker);
    }
    return held;
}

static uint64_t step(struct partition *partition)
{
    uint64_t wrong = hf_word_position(&partition->word) != 8 * partition->steps || hf_word_mark(&partition->word) != partition->marks;
    partition->steps++;
    partition->marks += 3;
    hf_word_set_position(&partition->word, 8 * partition->steps);
    hf_word_set_mark(&partition->word, partition->marks);
    return wrong;
}

static void *step_on_two(void *context)
{
    struct word_stress *stress = context;
    for (uint64_t steps = 0; steps < STEPS_EACH;) {
        uint64_t random = mix(steps * THREADS + stress->taker.shard);
        struct partition *first = &partitions[random % WORDS], *second = &partitions[(random + 1 + random / WORDS % (WORDS - 1)) % WORDS];
        if (!take_both(&stress->taker, first, second)) {
            sched_yield();
            continue;
        }
        stress->wrong += step(first) + step(second);
        steps++;
        hf_word_release(&second->word, &stress->taker);
        hf_word_release(&first->word, &stress->taker);
    }
    for (uint32_t i = 0; i < WORDS; i++)
        hf_word_unwant(&partitions[i].word, &stress->taker);
    return NULL;
}

static void crossed_words_let_every_step_be_alone_on_both_its_partitions(void **state)
{
    (void)state;
    static struct word_stress stress[THREADS];
    pthread_t threads[THREADS];
    for (uint32_t i = 0; i < WORDS; i++)
        hf_word_init(&partitions[i].word, i, 0, 0, 0);
    for (uint32_t i = 0; i < THREADS; i++)
        hf_word_taker_init(&stress[i].taker, i, POLLS_MAX);
    for (uint32_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, step_on_two, &stress[i]), 0);
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(stress[i].wrong, 0);
    }
    uint64_t steps = 0;
    for (uint32_t i = 0; i < WORDS; i++) {
        assert_int_equal(hf_load_relaxed_u64(&partitions[i].word.wanted), 0);
        assert_int_equal(hf_load_relaxed_u32(&partitions[i].word.owner), 0);
        assert_int_equal(hf_word_position(&partitions[i].word), 8 * partitions[i].steps);
        steps += partitions[i].steps;
    }
    assert_int_equal(steps, 2 * THREADS * STEPS_EACH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_of_two_elements_keeps_its_two_sides_apart),
        cmocka_unit_test(the_fullest_log_hands_every_claim_over_whole_and_in_order),
        cmocka_unit_test(crossed_words_let_every_step_be_alone_on_both_its_partitions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
