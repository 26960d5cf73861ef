/* The metrics that are one number of the engine each. */
#ifndef HF_CONTROL_API_METRICS_ROWS_H
#define HF_CONTROL_API_METRICS_ROWS_H

#include <stdbool.h>
#include <stdint.h>

struct hf_metric_row {
    const char *name, *type, *help; /* rows of one name stand together */
    const char *number, *label;     /* label: `name="value"`, NULL: none beside the shard */
    uint64_t divisor;               /* to the base unit; 0 and 1: a count */
    bool of_shard;
};

/* Ends with a NULL name. */
extern const struct hf_metric_row hf_metric_rows[];

#endif
