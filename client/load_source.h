/* Where a run's orders come from: a trace, or a generator. */
#ifndef HF_CLIENT_LOAD_SOURCE_H
#define HF_CLIENT_LOAD_SOURCE_H

#include "client/load.h"
#include "client/zipf.h"

struct hf_load_source {
    const struct hf_load_options *options;
    struct hf_random random;
    struct hf_zipf zipf;
    uint64_t made; /* orders taken so far */
    struct hf_line lines[HF_LINES_MAX];
    uint64_t ranks[HF_LINES_MAX];
    double gap_ns; /* between orders at a rate */
};

struct hf_load_order {
    const struct hf_line *lines; /* valid until the next order */
    uint64_t customer;
    uint16_t line_count;
};

void hf_load_source_init(struct hf_load_source *source, const struct hf_load_options *options);
/* When order number `number` (from 0) is due, in ns after the run's start; 0 in a closed loop. */
uint64_t hf_load_source_due_ns(const struct hf_load_source *source, uint64_t number);
/* How many orders there are in all: UINT64_MAX while only time ends the run. */
uint64_t hf_load_source_total(const struct hf_load_source *source);
void hf_load_source_next(struct hf_load_source *source, struct hf_load_order *out);
/* The synthetic name of a rank: `SKU%06u`. */
struct hf_sku hf_load_sku(uint64_t rank);

#endif
