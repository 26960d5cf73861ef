#include "net/tail.h"

enum { HF_TAIL_SUB_BITS = 3, HF_TAIL_UNIT_BITS = 10 };

void hf_tail_init(struct hf_tail *tail, uint64_t first_guess_ns)
{
    *tail = (struct hf_tail){.p99_ns = first_guess_ns};
}

static unsigned hf_tail_bucket(uint64_t ns)
{
    uint64_t units = ns >> HF_TAIL_UNIT_BITS;
    if (units < 1u << HF_TAIL_SUB_BITS)
        return (unsigned)units;
    unsigned octave = 63 - (unsigned)__builtin_clzll(units) - HF_TAIL_SUB_BITS;
    unsigned bucket = ((octave + 1) << HF_TAIL_SUB_BITS) + (unsigned)(units >> octave & ((1u << HF_TAIL_SUB_BITS) - 1));
    return bucket < HF_TAIL_BUCKETS ? bucket : HF_TAIL_BUCKETS - 1;
}

/* The lowest time of the next bucket. */
static uint64_t hf_tail_upper_ns(unsigned bucket)
{
    unsigned next = bucket + 1, octave = next >> HF_TAIL_SUB_BITS;
    uint64_t sub = next & ((1u << HF_TAIL_SUB_BITS) - 1);
    uint64_t units = octave == 0 ? sub : ((1u << HF_TAIL_SUB_BITS) + sub) << (octave - 1);
    return units << HF_TAIL_UNIT_BITS;
}

void hf_tail_add(struct hf_tail *tail, uint64_t ns)
{
    tail->counts[hf_tail_bucket(ns)]++;
}

void hf_tail_settle(struct hf_tail *tail)
{
    uint64_t total = 0, above = 0;
    for (unsigned i = 0; i < HF_TAIL_BUCKETS; i++)
        total += tail->counts[i];
    if (total < HF_TAIL_SAMPLES_MIN)
        return;
    unsigned bucket = HF_TAIL_BUCKETS - 1;
    for (above = tail->counts[bucket]; bucket > 0 && above <= total / 100;)
        above += tail->counts[--bucket];
    tail->p99_ns = hf_tail_upper_ns(bucket);
    for (unsigned i = 0; i < HF_TAIL_BUCKETS; i++)
        tail->counts[i] /= 2;
}
