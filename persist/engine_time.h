/* Engine time = max(last logged, wall clock at start) + CLOCK_MONOTONIC since. A wall clock that steps while running changes nothing. */
#ifndef HF_PERSIST_ENGINE_TIME_H
#define HF_PERSIST_ENGINE_TIME_H

#include <stdint.h>

/* Where time comes from; replaced as a whole by tests. */
struct hf_clock {
    uint64_t (*wall_ns)(void *context);
    uint64_t (*monotonic_ns)(void *context);
    void *context;
};

/* The machine's own: CLOCK_REALTIME and CLOCK_MONOTONIC. */
extern const struct hf_clock hf_clock_system;

struct hf_engine_time {
    const struct hf_clock *clock;
    uint64_t start_ns; /* engine time at start */
    uint64_t start_monotonic_ns;
};

void hf_engine_time_start(struct hf_engine_time *time, const struct hf_clock *clock, uint64_t last_logged_ns);
uint64_t hf_engine_time_now(const struct hf_engine_time *time);

#endif
