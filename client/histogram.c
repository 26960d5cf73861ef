#include "client/histogram.h"

static unsigned bucket_of(uint64_t value)
{
    const unsigned steps = 1u << HF_HISTOGRAM_STEP_BITS;
    if (value < steps)
        return (unsigned)value;
    if (value >> HF_HISTOGRAM_VALUE_BITS)
        return HF_HISTOGRAM_BUCKETS - 1;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HF_HISTOGRAM_STEP_BITS;
    return (shift << HF_HISTOGRAM_STEP_BITS) + (unsigned)(value >> shift);
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_end(unsigned bucket)
{
    const unsigned steps = 1u << HF_HISTOGRAM_STEP_BITS;
    if (bucket < 2 * steps)
        return bucket;
    unsigned shift = (bucket >> HF_HISTOGRAM_STEP_BITS) - 1;
    uint64_t step = steps + (bucket & (steps - 1));
    return ((step + 1) << shift) - 1;
}

void hf_histogram_add(struct hf_histogram *histogram, uint64_t value_ns, uint64_t times)
{
    histogram->buckets[bucket_of(value_ns)] += times;
    histogram->count += times;
    if (times && value_ns > histogram->max_ns)
        histogram->max_ns = value_ns;
}

uint64_t hf_histogram_at_ns(const struct hf_histogram *histogram, double quantile)
{
    double exact = quantile * (double)histogram->count;
    uint64_t wanted = (uint64_t)exact, seen = 0;
    if ((double)wanted < exact || wanted == 0)
        wanted++;
    for (unsigned i = 0; i < HF_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= wanted) {
            uint64_t end = bucket_end(i);
            return end < histogram->max_ns ? end : histogram->max_ns;
        }
    }
    return histogram->max_ns;
}
