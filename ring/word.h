/*
 * The partition word: whoever steps a command holds the word of every partition it touches.
 *
 * Purpose: mutual exclusion per partition, fair enough that no shard starves, and the home of the few facts that go with a partition.
 * Threads: any shard takes any word. A partition's owner shard (the one that keeps it in its cache, `home_shard`) is fixed at init.
 *   A taker belongs to one shard's thread.
 * Memory: 128 bytes a word, aligned to as much; an array of them is the caller's. Nothing allocates.
 * Failure: a try fails at once, a take within its bound; the caller then lets go of all it holds, parks its command and calls
 *   hf_word_want. Nothing here waits without a bound.
 *
 * Why it is right
 *   `owner` is 0 (free) or the holder's shard number + 1, and changes only by the taker's CAS from 0 and by the holder's store of 0.
 *     [W1] CAS-acquire of owner 0 -> shard + 1  <- [W2] store-release of 0 by the holder before: the new holder sees all that was
 *          done to the partition under the word.
 *   `wanted` has a bit per shard that parked a command for want of this word. It hands nothing over, so it is relaxed throughout.
 *   While another shard's bit stands, the home shard's try and take fail without touching `owner`: it is the one that takes the word at
 *   every batch, so with it off the word a wanter finds it free as soon as the present holder lets go. A wanter that takes the word
 *   clears its own bit, in passing. The home shard waits at most `polls_max` calls in a row, then competes again whatever the bits say:
 *   a wanter that comes no more costs it polls, never its progress. Other shards are not kept off: they come rarely, and each
 *   holds the word for one batch only, so among them the CAS decides.
 *   `home_polls` is touched by the home shard's thread alone, held or not.
 *   Counters of failures happen without the word, so they live in the taker, with one writer and no locked instruction.
 */
#ifndef HF_RING_WORD_H
#define HF_RING_WORD_H

#include "ring/atomics.h"

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#define HF_WORD_BYTES      128
#define HF_WORD_SHARDS_MAX 64

struct hf_word {
    alignas(HF_WORD_BYTES) struct hf_atomic_u32 owner; /* 0 = free, else shard number + 1 */
    uint32_t home_shard;                               /* constant after init */
    struct hf_atomic_u64 wanted;                       /* bit s: shard s has a command parked for this word */
    struct hf_atomic_u64 position;                     /* log position: end of the claim of the partition's last record */
    struct hf_atomic_u64 time_ns;                      /* engine time of the partition's last step */
    struct hf_atomic_u64 mark;                         /* the partition's mark, in the unit that the engine gives it */
    struct hf_atomic_u64 taken;                        /* times taken, by anybody: shows hot partitions */
    uint32_t home_polls;                               /* the home shard's own: calls refused in a row for a wanter's sake */
};

_Static_assert(sizeof(struct hf_word) == HF_WORD_BYTES, "a word shares its lines with nobody");

/* One shard's side of all words. The counters are written by its thread and may be read by any (hf_load_relaxed_u64). */
struct hf_word_taker {
    alignas(HF_CACHE_PAD_BYTES) uint32_t shard;
    uint32_t polls_max;
    struct hf_atomic_u64 taken;        /* takes and tries that got the word */
    struct hf_atomic_u64 tried_failed; /* tries that found it held */
    struct hf_atomic_u64 waited;       /* takes that found it held and got it within the bound */
    struct hf_atomic_u64 bound_failed; /* takes that did not */
    struct hf_atomic_u64 yielded;      /* calls refused to the home shard for a wanter's sake */
    struct hf_atomic_u64 wanted_set;   /* wanted bits set that were not set before */
};

/*
 * Makes a free word of a partition that lives on shard `home_shard` (< HF_WORD_SHARDS_MAX), with the facts that recovery found:
 * log position in bytes, engine time in ns, mark. Before any other thread sees it.
 */
void hf_word_init(struct hf_word *word, uint32_t home_shard, uint64_t position, uint64_t time_ns, uint64_t mark);

/* Makes shard `shard`'s taker (< HF_WORD_SHARDS_MAX); `polls_max` bounds the calls in a row in which it gives way on a word of its own. */
void hf_word_taker_init(struct hf_word_taker *taker, uint32_t shard, uint32_t polls_max);

/* The waiting half of hf_word_take: spins up to `spins_max` pauses for the word. */
bool hf_word_wait(struct hf_word *word, struct hf_word_taker *taker, uint32_t spins_max);

static inline uint64_t hf_word_bit(const struct hf_word_taker *taker)
{
    return UINT64_C(1) << taker->shard;
}

static inline bool hf_word_is_held_by(const struct hf_word *word, const struct hf_word_taker *taker)
{
    return hf_load_relaxed_u32(&word->owner) == taker->shard + 1;
}

static inline bool hf_word_must_yield(struct hf_word *word, struct hf_word_taker *taker)
{
    uint64_t others = hf_load_relaxed_u64(&word->wanted) & ~hf_word_bit(taker);
    if (others == 0 || word->home_shard != taker->shard || word->home_polls >= taker->polls_max)
        return false;
    word->home_polls++;
    hf_bump_relaxed_u64(&taker->yielded, 1);
    return true;
}

static inline bool hf_word_acquire(struct hf_word *word, struct hf_word_taker *taker)
{
    uint32_t expected = 0;
    if (!hf_cas_strong_acquire_u32(&word->owner, &expected, taker->shard + 1)) /* [W1], partner W2 */
        return false;
    if (word->home_shard == taker->shard)
        word->home_polls = 0;
    if (hf_load_relaxed_u64(&word->wanted) & hf_word_bit(taker))
        hf_and_relaxed_u64(&word->wanted, ~hf_word_bit(taker));
    hf_bump_relaxed_u64(&word->taken, 1);
    hf_bump_relaxed_u64(&taker->taken, 1);
    return true;
}

/*
 * Takes the word if it is free and not to be left to a wanter; never waits. True: the caller holds it until hf_word_release. The taker's
 * shard must not hold it already (that is a failed try like any other).
 */
static inline bool hf_word_try(struct hf_word *word, struct hf_word_taker *taker)
{
    if (hf_word_must_yield(word, taker))
        return false;
    if (hf_word_acquire(word, taker))
        return true;
    hf_bump_relaxed_u64(&taker->tried_failed, 1);
    return false;
}

/*
 * As hf_word_try, but a word that is held is waited for through at most `spins_max` pauses. Only for a word above the highest one that
 * the shard holds: that order is what keeps two shards from waiting for each other. A word left to a wanter is not waited for.
 */
static inline bool hf_word_take(struct hf_word *word, struct hf_word_taker *taker, uint32_t spins_max)
{
    if (hf_word_must_yield(word, taker))
        return false;
    return hf_word_acquire(word, taker) || hf_word_wait(word, taker, spins_max);
}

/* Lets the word go. The caller holds it. */
static inline void hf_word_release(struct hf_word *word, const struct hf_word_taker *taker)
{
    assert(hf_word_is_held_by(word, taker));
    (void)taker;
    hf_store_release_u32(&word->owner, 0); /* [W2], partner W1 */
}

/* Says that the taker's shard has a command parked for this word; taking the word takes that back. Again is the same as once. */
void hf_word_want(struct hf_word *word, struct hf_word_taker *taker);

/* Takes a hf_word_want back without taking the word: for a parked command that was dropped or no longer touches the partition. */
void hf_word_unwant(struct hf_word *word, const struct hf_word_taker *taker);

/* The facts below are written by the holder only. Read under the word they are exact; read without, they are some recent value. */

static inline uint64_t hf_word_position(const struct hf_word *word)
{
    return hf_load_relaxed_u64(&word->position);
}

static inline void hf_word_set_position(struct hf_word *word, uint64_t position)
{
    assert(position >= hf_load_relaxed_u64(&word->position));
    hf_store_relaxed_u64(&word->position, position);
}

static inline uint64_t hf_word_time_ns(const struct hf_word *word)
{
    return hf_load_relaxed_u64(&word->time_ns);
}

static inline void hf_word_set_time_ns(struct hf_word *word, uint64_t time_ns)
{
    assert(time_ns >= hf_load_relaxed_u64(&word->time_ns));
    hf_store_relaxed_u64(&word->time_ns, time_ns);
}

static inline uint64_t hf_word_mark(const struct hf_word *word)
{
    return hf_load_relaxed_u64(&word->mark);
}

static inline void hf_word_set_mark(struct hf_word *word, uint64_t mark)
{
    assert(mark >= hf_load_relaxed_u64(&word->mark));
    hf_store_relaxed_u64(&word->mark, mark);
}

#endif
