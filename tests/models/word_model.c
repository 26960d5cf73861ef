/* Models of the partition word: who holds it is alone, and sees what the holder before did; who was refused says so and gets his turn. */
#include "ring/word.h"

#include "tests/models/checker.h"

#include <assert.h>

enum { TURNS = 3, SPINS = 2, POLLS_MAX = 2 };

/* What lies in the arena; `steps` and `twice` are plain: only the word guards them. */
struct shared {
    struct hf_word word;
    struct hf_word second;
    struct hf_word_taker takers[HF_MODEL_THREADS];
    uint64_t steps;
    uint64_t twice;
};

static struct shared *shared(void)
{
    return (struct shared *)(void *)hf_model_arena;
}

static void setup(void)
{
    assert(sizeof(struct shared) <= HF_MODEL_ARENA_BYTES);
    hf_word_init(&shared()->word, 0, 0, 0, 0);
    hf_word_init(&shared()->second, 1, 0, 0, 0);
    for (uint32_t shard = 0; shard < HF_MODEL_THREADS; shard++)
        hf_word_taker_init(&shared()->takers[shard], shard, POLLS_MAX);
}

/* One step on the partition: the facts of the word are exact while it is held. */
static void step(struct hf_word *word)
{
    assert(hf_word_position(word) == shared()->steps * 8);
    assert(hf_word_mark(word) == shared()->twice);
    shared()->steps++;
    shared()->twice += 2;
    hf_word_set_position(word, shared()->steps * 8);
    hf_word_set_mark(word, shared()->twice);
    hf_word_set_time_ns(word, hf_word_time_ns(word) + 1);
}

static void turns(uint32_t shard)
{
    struct hf_word *word = &shared()->word;
    struct hf_word_taker *taker = &shared()->takers[shard];
    for (uint32_t turn = 0; turn < TURNS;) {
        bool held = (turn + shard) % 2 == 0 ? hf_word_take(word, taker, SPINS) : hf_word_try(word, taker);
        if (!held) {
            hf_word_want(word, taker);
            hf_model_pause();
            continue;
        }
        assert(hf_word_is_held_by(word, taker) && !hf_word_try(word, taker));
        step(word);
        turn++;
        hf_word_release(word, taker);
    }
}

static void turns_of_0(void)
{
    turns(0);
}

static void turns_of_1(void)
{
    turns(1);
}

static void turns_of_2(void)
{
    turns(2);
}

static void finish(void)
{
    assert(shared()->steps == HF_MODEL_THREADS * TURNS && shared()->twice == 2 * shared()->steps);
    assert(hf_word_position(&shared()->word) == 8 * shared()->steps);
    assert(hf_load_relaxed_u64(&shared()->word.taken) == shared()->steps);
    assert(hf_load_relaxed_u64(&shared()->word.wanted) == 0);
    for (uint32_t shard = 0; shard < HF_MODEL_THREADS; shard++)
        assert(hf_load_relaxed_u64(&shared()->takers[shard].taken) >= TURNS);
}

/* Both words for one step: the lower one waited for first, the other tried or waited for; a failure lets go of all. */
static void pairs(uint32_t shard)
{
    struct hf_word *first = &shared()->word, *second = &shared()->second;
    struct hf_word_taker *taker = &shared()->takers[shard];
    for (uint32_t turn = 0; turn < 2;) {
        bool upwards = (turn + shard) % 2 == 0;
        struct hf_word *here = upwards ? first : second, *there = upwards ? second : first;
        if (!hf_word_take(here, taker, SPINS)) {
            hf_word_want(here, taker);
            hf_model_pause();
            continue;
        }
        bool both = upwards ? hf_word_take(there, taker, SPINS) : hf_word_try(there, taker);
        if (both) {
            step(first);
            turn++;
            hf_word_release(there, taker);
        }
        hf_word_release(here, taker);
        if (!both) {
            hf_word_want(there, taker);
            hf_model_pause();
        }
    }
    hf_word_unwant(first, taker);
    hf_word_unwant(second, taker);
}

static void pairs_of_0(void)
{
    pairs(0);
}

static void pairs_of_1(void)
{
    pairs(1);
}

static void pairs_of_2(void)
{
    pairs(2);
}

static void pairs_finish(void)
{
    assert(shared()->steps == 2 * HF_MODEL_THREADS);
    assert(hf_load_relaxed_u64(&shared()->word.wanted) == 0 && hf_load_relaxed_u64(&shared()->second.wanted) == 0);
    assert(hf_load_relaxed_u32(&shared()->word.owner) == 0 && hf_load_relaxed_u32(&shared()->second.owner) == 0);
}

const struct hf_model hf_word_models[] = {
    {.name = "word: holders are alone, see each other's steps, and all get their turns",
     .setup = setup,
     .threads = {turns_of_0, turns_of_1, turns_of_2},
     .finish = finish,
     .switches = 1},
    {.name = "word: two words for one step, taken upwards or tried",
     .setup = setup,
     .threads = {pairs_of_0, pairs_of_1, pairs_of_2},
     .finish = pairs_finish,
     .switches = 0},
    {.name = NULL},
};
