/* A hash index from 32-bit keyed hashes to slots: linear hashing (W. Litwin, VLDB 1980).
 *
 * It grows by one bucket at a time, so no insert ever stalls for a rehash; an entry holds the whole 32-bit hash, so a split reads nothing
 * but index lines, and a lookup of an absent key almost never reads a slot. A bucket is one cache line of 7 entries; what does not fit goes
 * to overflow buckets. Chains are kept dense (an erase moves the chain's last entry into the hole), so inserts and erases leave no trace
 * and nothing decays. All-zero memory is a valid empty bucket: nothing is touched before use. Not thread-safe: a partition's word guards
 * it. */
#ifndef HF_ENGINE_INDEX_H
#define HF_ENGINE_INDEX_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { HF_BUCKET_ENTRIES = 7, HF_BUCKET_LOAD = 4 /* rows a bucket, on average, beyond which the index grows */ };

struct hf_index_bucket {
    uint32_t tag[HF_BUCKET_ENTRIES];
    uint32_t next; /* overflow bucket, 0: none */
    uint32_t slot[HF_BUCKET_ENTRIES];
    uint32_t count;
};

_Static_assert(sizeof(struct hf_index_bucket) == 64, "a bucket is a cache line");

/* Of the overflow buckets; stands in the place of their first, which no chain uses, so that an index is half a cache line. */
struct hf_index_spares {
    uint32_t free, used, live;
    uint32_t unused[13];
};

struct hf_index {
    struct hf_index_bucket *buckets;  /* mask + 1 + split of them are in use */
    struct hf_index_bucket *overflow; /* [0]: hf_index_spares */
    uint32_t mask, split;
    uint32_t rows, unused;
};

_Static_assert(sizeof(struct hf_index_spares) == 64 && sizeof(struct hf_index) == 32, "a bucket, and half a line");

static inline struct hf_index_spares *hf_index_spares(const struct hf_index *index)
{
    return (struct hf_index_spares *)(void *)index->overflow;
}

/* Buckets and overflow buckets that `rows_max` rows can need: beyond its primary bucket a chain has one overflow bucket for each 7 full
 * entries before it. */
static inline uint64_t hf_index_buckets_max(uint64_t rows_max, uint64_t buckets_first)
{
    uint64_t grown = rows_max / HF_BUCKET_LOAD + 2;
    return grown > buckets_first ? grown : buckets_first;
}

static inline uint64_t hf_index_overflow_max(uint64_t rows_max)
{
    return rows_max / HF_BUCKET_ENTRIES + 3;
}

static inline uint32_t hf_index_bucket_of(uint32_t mask, uint32_t split, uint32_t hash)
{
    uint32_t at = hash & mask;
    return at < split ? hash & (mask * 2 + 1) : at;
}

struct hf_index_cursor {
    const struct hf_index_bucket *bucket;
    uint32_t matches; /* bits of entries not yet looked at */
    uint32_t hash;
};

/* A bit for each entry of this hash. */
static inline uint32_t hf_bucket_matches(const struct hf_index_bucket *bucket, uint32_t hash)
{
#ifdef __SSE2__
    const __m128i *tags = (const __m128i *)(const void *)bucket->tag, wanted = _mm_set1_epi32((int)hash);
    uint32_t low = (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(_mm_load_si128(&tags[0]), wanted)));
    uint32_t high = (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(_mm_load_si128(&tags[1]), wanted)));
    uint32_t bits = low | high << 4;
#else
    uint32_t bits = 0;
    for (unsigned i = 0; i < HF_BUCKET_ENTRIES; i++)
        bits |= (uint32_t)(bucket->tag[i] == hash) << i;
#endif
    return bits & ((1u << bucket->count) - 1);
}

/* The next slot whose hash is the cursor's, 0 when there is none left. */
static inline uint32_t hf_index_next(const struct hf_index *index, struct hf_index_cursor *cursor)
{
    while (cursor->matches == 0) {
        if (cursor->bucket->next == 0)
            return 0;
        cursor->bucket = &index->overflow[cursor->bucket->next];
        cursor->matches = hf_bucket_matches(cursor->bucket, cursor->hash);
    }
    unsigned i = (unsigned)__builtin_ctz(cursor->matches);
    cursor->matches &= cursor->matches - 1;
    return cursor->bucket->slot[i];
}

static inline uint32_t hf_index_first(const struct hf_index *index, uint32_t hash, struct hf_index_cursor *cursor)
{
    cursor->bucket = &index->buckets[hf_index_bucket_of(index->mask, index->split, hash)];
    cursor->hash = hash;
    cursor->matches = hf_bucket_matches(cursor->bucket, hash);
    return hf_index_next(index, cursor);
}

/* The address that a lookup will read first, without the word: another thread may be growing the index meanwhile, then the hint is stale
 * and harmless. Hence the volatile reads and no sanitizer. */
__attribute__((no_sanitize("thread"))) static inline const struct hf_index_bucket *hf_index_hint(const struct hf_index *index,
                                                                                                 uint32_t hash)
{
    uint32_t mask = *(const volatile uint32_t *)&index->mask, split = *(const volatile uint32_t *)&index->split;
    return &index->buckets[hf_index_bucket_of(mask, split, hash)];
}

/* Empty, over zeroed memory; `buckets_first` is a power of two. */
void hf_index_init(struct hf_index *index, struct hf_index_bucket *buckets, struct hf_index_bucket *overflow, uint32_t buckets_first);
/* The caller knows that no entry with this key exists. */
void hf_index_insert(struct hf_index *index, uint32_t hash, uint32_t slot);
/* The entry exists. */
void hf_index_erase(struct hf_index *index, uint32_t hash, uint32_t slot);
/* Longest chain in buckets, for tests and status. Walks everything. */
uint32_t hf_index_chain_max(const struct hf_index *index);

#endif
