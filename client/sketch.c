#include "client/sketch.h"

#include <stdlib.h>
#include <string.h>

/* The SKU's row, else a fresh one, else the one with fewest hits, which it takes over. */
static struct hf_sketch_row *row_of(struct hf_sketch *sketch, const struct hf_sku *sku)
{
    struct hf_sketch_row *fewest = &sketch->rows[0];
    for (unsigned i = 0; i < sketch->count; i++) {
        if (hf_sku_equal(&sketch->rows[i].sku, sku))
            return &sketch->rows[i];
        if (sketch->rows[i].hits < fewest->hits)
            fewest = &sketch->rows[i];
    }
    if (sketch->count < HF_SKETCH_ROWS) {
        fewest = &sketch->rows[sketch->count++];
        *fewest = (struct hf_sketch_row){.hits = 0};
    }
    fewest->error = fewest->hits;
    fewest->sku = *sku;
    return fewest;
}

void hf_sketch_add(struct hf_sketch *sketch, const struct hf_sku *sku, uint64_t hits)
{
    row_of(sketch, sku)->hits += hits;
    sketch->total += hits;
}

void hf_sketch_fade(struct hf_sketch *sketch)
{
    unsigned kept = 0;
    sketch->total /= 2;
    for (unsigned i = 0; i < sketch->count; i++) {
        struct hf_sketch_row row = sketch->rows[i];
        row.hits /= 2;
        row.error /= 2;
        if (row.hits > 0)
            sketch->rows[kept++] = row;
    }
    sketch->count = kept;
}

static int by_hits(const void *a, const void *b)
{
    const struct hf_sketch_row *x = a, *y = b;
    if (x->hits != y->hits)
        return x->hits < y->hits ? 1 : -1;
    return memcmp(&x->sku, &y->sku, sizeof x->sku);
}

unsigned hf_sketch_top(const struct hf_sketch *sketch, struct hf_sketch_row *out, unsigned max)
{
    struct hf_sketch_row rows[HF_SKETCH_ROWS];
    unsigned count = sketch->count < max ? sketch->count : max;
    memcpy(rows, sketch->rows, sketch->count * sizeof rows[0]);
    qsort(rows, sketch->count, sizeof rows[0], by_hits);
    memcpy(out, rows, count * sizeof rows[0]);
    return count;
}
