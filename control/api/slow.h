/* The slow-request log: which calls took longer than an operator wants to see, and where the time went.
 *
 * Threads: the loop's; count any thread's. Memory: the reporter's texts are valid during the call. */
#ifndef HF_CONTROL_API_SLOW_H
#define HF_CONTROL_API_SLOW_H

#include "control/api/exchange.h"
#include "ring/atomics.h"

/* One slow call. Times in ns; queued + engine + durable + answered = total. */
struct hf_slow_report {
    const char *method; /* "/holdfast.v1.Orders/PlaceOrder" */
    const char *order;  /* NULL: it is about none */
    const char *sku;    /* of its first line; NULL: it has none */
    const char *trace;  /* trace-id of W3C trace context; NULL: it came without */
    const char *result;
    uint64_t total_ns;
    uint64_t queued_ns;   /* until its shard took it */
    uint64_t engine_ns;   /* until it was stepped, or answered by the service */
    uint64_t durable_ns;  /* until what it rests on was on disk */
    uint64_t answered_ns; /* until the answer was back here */
    bool left;            /* nobody waited for the answer any more */
    uint64_t suppressed;  /* slow calls that were not reported since the last report */
};

struct hf_slow_options {
    uint64_t threshold_ns; /* 0: nothing is slow */
    void (*report)(void *context, const struct hf_slow_report *report);
    void *context;
};

struct hf_slow {
    struct hf_slow_options options;
    uint64_t second; /* of engine time */
    unsigned reported;
    uint64_t unreported;
    struct hf_atomic_u64 slow, suppressed;
};

/* The answer is back. `now_ns`: engine time. At most 10 calls a second are reported. */
void hf_slow_check(struct hf_slow *slow, const struct hf_exchange_item *item, uint64_t now_ns);

#endif
