/* Latencies with a bounded relative error, in the manner of HdrHistogram (G. Tene): buckets double, each with 128 equal steps, so that a
 * value is known to 1/128. One thread; no memory beyond the struct; nothing fails: values beyond 2^42 ns (73 min) count as that. */
#ifndef HF_CLIENT_HISTOGRAM_H
#define HF_CLIENT_HISTOGRAM_H

#include <stdint.h>

enum { HF_HISTOGRAM_STEP_BITS = 7, HF_HISTOGRAM_VALUE_BITS = 42 };
enum { HF_HISTOGRAM_BUCKETS = (HF_HISTOGRAM_VALUE_BITS - HF_HISTOGRAM_STEP_BITS + 1) << HF_HISTOGRAM_STEP_BITS };

struct hf_histogram {
    uint64_t count, max_ns;
    uint64_t buckets[HF_HISTOGRAM_BUCKETS];
};

void hf_histogram_add(struct hf_histogram *histogram, uint64_t value_ns, uint64_t times);
/* The value that `quantile` (0 to 1) of all are not above, rounded up to its step; 0 when nothing was added. */
uint64_t hf_histogram_at_ns(const struct hf_histogram *histogram, double quantile);

#endif
