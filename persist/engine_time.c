#include "persist/engine_time.h"

#include <time.h>

static uint64_t clock_read_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t system_wall_ns(void *context)
{
    (void)context;
    return clock_read_ns(CLOCK_REALTIME);
}

static uint64_t system_monotonic_ns(void *context)
{
    (void)context;
    return clock_read_ns(CLOCK_MONOTONIC);
}

const struct hf_clock hf_clock_system = {.wall_ns = system_wall_ns, .monotonic_ns = system_monotonic_ns};

void hf_engine_time_start(struct hf_engine_time *time, const struct hf_clock *clock, uint64_t last_logged_ns)
{
    uint64_t wall_ns = clock->wall_ns(clock->context);
    time->clock = clock;
    time->start_ns = wall_ns > last_logged_ns ? wall_ns : last_logged_ns;
    time->start_monotonic_ns = clock->monotonic_ns(clock->context);
}

uint64_t hf_engine_time_now(const struct hf_engine_time *time)
{
    return time->start_ns + (time->clock->monotonic_ns(time->clock->context) - time->start_monotonic_ns);
}
