/* Which SKUs are asked for most, in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and
 * Top-k Elements in Data Streams", ICDT 2005). Every SKU with more than total / HF_SKETCH_ROWS of the hits is among the rows; a row's hits
 * are too many by at most its `error`. */
#ifndef HF_CLIENT_SKETCH_H
#define HF_CLIENT_SKETCH_H

#include "wire/types.h"

enum { HF_SKETCH_ROWS = 128 };

struct hf_sketch_row {
    struct hf_sku sku;
    uint64_t hits, error;
};

/* All zero: empty. */
struct hf_sketch {
    uint64_t total;
    unsigned count;
    struct hf_sketch_row rows[HF_SKETCH_ROWS];
};

void hf_sketch_add(struct hf_sketch *sketch, const struct hf_sku *sku, uint64_t hits);
/* Halves everything, so that what was asked for long ago fades. */
void hf_sketch_fade(struct hf_sketch *sketch);
/* Copies the `max` rows with most hits, most first; how many. */
unsigned hf_sketch_top(const struct hf_sketch *sketch, struct hf_sketch_row *out, unsigned max);

#endif
