#include "ring/word.h"

#include <string.h>

void hf_word_init(struct hf_word *word, uint32_t home_shard, uint64_t position, uint64_t time_ns, uint64_t mark)
{
    assert((uintptr_t)word % HF_WORD_BYTES == 0);
    assert(home_shard < HF_WORD_SHARDS_MAX);
    memset(word, 0, sizeof(*word));
    word->home_shard = home_shard;
    hf_store_relaxed_u64(&word->position, position);
    hf_store_relaxed_u64(&word->time_ns, time_ns);
    hf_store_relaxed_u64(&word->mark, mark);
}

void hf_word_taker_init(struct hf_word_taker *taker, uint32_t shard, uint32_t polls_max)
{
    assert(shard < HF_WORD_SHARDS_MAX);
    memset(taker, 0, sizeof(*taker));
    taker->shard = shard;
    taker->polls_max = polls_max;
}

/* Only reads while the word is held: a failing CAS would pull the line away from the holder at every spin. */
bool hf_word_wait(struct hf_word *word, struct hf_word_taker *taker, uint32_t spins_max)
{
    for (uint32_t spins = 0; spins < spins_max; spins++) {
        hf_cpu_pause();
        if (hf_load_relaxed_u32(&word->owner) == 0 && hf_word_acquire(word, taker)) {
            hf_bump_relaxed_u64(&taker->waited, 1);
            return true;
        }
    }
    hf_bump_relaxed_u64(&taker->bound_failed, 1);
    return false;
}

void hf_word_want(struct hf_word *word, struct hf_word_taker *taker)
{
    uint64_t bit = hf_word_bit(taker);
    if (hf_load_relaxed_u64(&word->wanted) & bit)
        return;
    hf_or_relaxed_u64(&word->wanted, bit);
    hf_bump_relaxed_u64(&taker->wanted_set, 1);
}

void hf_word_unwant(struct hf_word *word, const struct hf_word_taker *taker)
{
    if (hf_load_relaxed_u64(&word->wanted) & hf_word_bit(taker))
        hf_and_relaxed_u64(&word->wanted, ~hf_word_bit(taker));
}
