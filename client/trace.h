/* A trace of orders in memory: header exactly `time,order,customer,store,sku,quantity,price`, the lines of an order adjacent. */
#ifndef HF_CLIENT_TRACE_H
#define HF_CLIENT_TRACE_H

#include "client/csv.h"
#include "wire/command.h"

struct hf_trace_order {
    uint64_t time_ms; /* since the trace's first order; never below 0 */
    uint64_t customer;
    uint32_t first_line;
    uint16_t line_count;
};

struct hf_trace {
    struct hf_trace_order *orders;
    struct hf_line *lines;
    uint64_t order_count, line_count;
    uint64_t length_ms; /* from the first to the latest time */
};

/* Reads the whole file: 0, HF_E_IO, HF_E_USAGE (file and line in `error`, HF_CSV_ERROR_BYTES), HF_E_MEMORY. Free it after success. */
int hf_trace_read(const char *path, struct hf_trace *out, char *error);
void hf_trace_free(struct hf_trace *trace);

#endif
