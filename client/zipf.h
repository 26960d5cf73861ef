/* Ranks 1..n with probability proportional to 1 / rank^s, in constant time and memory: rejection-inversion (W. Hörmann, G. Derflinger,
 * "Rejection-inversion to generate variates from monotone discrete distributions", ACM TOMACS 6(3), 1996). s = 0 is uniform. */
#ifndef HF_CLIENT_ZIPF_H
#define HF_CLIENT_ZIPF_H

#include "client/random.h"

struct hf_zipf {
    uint64_t n;
    double s, h_first, h_last, squeeze;
};

/* n >= 1, s >= 0. */
void hf_zipf_init(struct hf_zipf *zipf, uint64_t n, double s);
uint64_t hf_zipf_next(const struct hf_zipf *zipf, struct hf_random *random);

#endif
