/* A fast generator for ids, samples and jitter; not for secrets.
 *
 * SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014). */
#ifndef HF_CLIENT_RANDOM_H
#define HF_CLIENT_RANDOM_H

#include <stdint.h>

struct hf_random {
    uint64_t state;
};

static inline uint64_t hf_random_next(struct hf_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* Uniform in [0, bound); the bias of less than bound / 2^64 does not matter here. */
static inline uint64_t hf_random_below(struct hf_random *random, uint64_t bound)
{
    return (uint64_t)((unsigned __int128)hf_random_next(random) * bound >> 64);
}

/* Uniform in [0, 1). */
static inline double hf_random_unit(struct hf_random *random)
{
    return (double)(hf_random_next(random) >> 11) * 0x1p-53;
}

#endif
