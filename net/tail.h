/* The tail of a row of times: what 99 of 100 stayed below, of late. Pure; owned by the shard's thread. */
#ifndef HF_NET_TAIL_H
#define HF_NET_TAIL_H

#include <stdint.h>

enum { HF_TAIL_BUCKETS = 256, HF_TAIL_SAMPLES_MIN = 100 };

/* Buckets of an eighth of an octave from 1 us on: what is told is at most 12 % too much. */
struct hf_tail {
    uint32_t counts[HF_TAIL_BUCKETS];
    uint64_t p99_ns;
};

void hf_tail_init(struct hf_tail *tail, uint64_t first_guess_ns);
void hf_tail_add(struct hf_tail *tail, uint64_t ns);
/* Now and then: takes the estimate anew when there are samples enough, and lets what is old count half. */
void hf_tail_settle(struct hf_tail *tail);

#endif
