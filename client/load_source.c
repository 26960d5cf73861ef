#include "client/load_source.h"

#include <string.h>

void hf_load_source_init(struct hf_load_source *source, const struct hf_load_options *options)
{
    *source = (struct hf_load_source){.options = options, .random = {options->seed}};
    if (!options->trace)
        hf_zipf_init(&source->zipf, options->skus, options->zipf);
    if (options->has_rate && options->rate > 0)
        source->gap_ns = 1e9 / options->rate;
}

uint64_t hf_load_source_due_ns(const struct hf_load_source *source, uint64_t number)
{
    const struct hf_trace *trace = source->options->trace;
    if (source->options->has_rate)
        return (uint64_t)((double)number * source->gap_ns);
    if (!trace)
        return 0;
    /* A round ends one average gap after its last order. */
    uint64_t round = number / trace->order_count, round_ms = trace->length_ms + trace->length_ms / trace->order_count + 1;
    uint64_t ms = round * round_ms + trace->orders[number % trace->order_count].time_ms;
    return (uint64_t)((double)ms * 1e6 / source->options->speed);
}

uint64_t hf_load_source_total(const struct hf_load_source *source)
{
    if (source->options->orders)
        return source->options->orders;
    return source->options->trace && source->options->seconds <= 0 ? source->options->trace->order_count : UINT64_MAX;
}

struct hf_sku hf_load_sku(uint64_t rank)
{
    char digits[20];
    unsigned count = 0;
    struct hf_sku sku = {{0, 0}};
    char *at = (char *)&sku;
    do {
        digits[count++] = (char)('0' + rank % 10);
        rank /= 10;
    } while (rank > 0 || count < 6);
    memcpy(at, "SKU", 3);
    for (at += 3; count > 0; at++)
        *at = digits[--count];
    return sku;
}

/* A rank that the order's first `count` lines do not have. A skewed draw that keeps hitting what is there moves on to the next free rank.
 */
static uint64_t distinct_rank(struct hf_load_source *source, unsigned count)
{
    uint64_t rank = 0;
    for (unsigned tries = 0;; tries++) {
        bool taken = false;
        rank = tries < 16 ? hf_zipf_next(&source->zipf, &source->random) : rank % source->zipf.n + 1;
        for (unsigned i = 0; i < count; i++)
            taken |= source->ranks[i] == rank;
        if (!taken)
            return rank;
    }
}

static void generate(struct hf_load_source *source, struct hf_load_order *out)
{
    const struct hf_load_options *options = source->options;
    unsigned count = (unsigned)options->lines;
    for (unsigned i = 0; i < count; i++) {
        uint64_t rank = count == 1 ? hf_zipf_next(&source->zipf, &source->random) : distinct_rank(source, i);
        uint32_t quantity = options->quantity == 1 ? 1 : 1 + (uint32_t)hf_random_below(&source->random, options->quantity);
        source->ranks[i] = rank;
        source->lines[i] = (struct hf_line){.sku = hf_load_sku(rank), .location = 1, .quantity = quantity, .price = 100 + rank % 900};
    }
    *out = (struct hf_load_order){
        .lines = source->lines, .customer = 1 + hf_random_below(&source->random, 1000000), .line_count = (uint16_t)count};
}

void hf_load_source_next(struct hf_load_source *source, struct hf_load_order *out)
{
    const struct hf_trace *trace = source->options->trace;
    uint64_t number = source->made++;
    if (!trace) {
        generate(source, out);
        return;
    }
    const struct hf_trace_order *order = &trace->orders[number % trace->order_count];
    *out = (struct hf_load_order){.lines = trace->lines + order->first_line, .customer = order->customer, .line_count = order->line_count};
}
