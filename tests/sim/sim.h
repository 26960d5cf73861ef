/* What the parts of the simulator share: one world at a time, its clock, its dice, its trace, and how a failure ends it.
 *
 * Everything runs in one thread. The production code is linked as it is; what it asks of the system (threads, clocks, random numbers,
 * sockets) is answered from here by symbols that the linker wraps. Nothing here may depend on an address, on real time or on what an
 * earlier world left behind: the same seed gives the same trace hash. */
#ifndef HF_SIM_SIM_H
#define HF_SIM_SIM_H

#include "client/random.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Faults that the simulator itself injects; the disk counts its own. */
enum sim_fault {
    SIM_NET_DROP,
    SIM_NET_DUPLICATE,
    SIM_NET_REORDER,
    SIM_NET_DELAY,
    SIM_NET_TRUNCATE,
    SIM_NET_CORRUPT,
    SIM_NET_HALF_OPEN,
    SIM_NET_RESET,
    SIM_PAUSE,
    SIM_CLOCK_STEP,
    SIM_RESHARD,
    SIM_RESIZE,
    SIM_CLIENT_GONE,
    SIM_FAULTS
};

struct sim {
    uint64_t seed;
    struct hf_random random;  /* scheduling, faults, workload */
    struct hf_random entropy; /* what the system gives as random numbers */
    uint64_t now_ns;          /* CLOCK_MONOTONIC */
    int64_t wall_offset_ns;   /* CLOCK_REALTIME is that much ahead */
    uint64_t steps;
    uint64_t hash; /* of everything noted so far */
    bool tracing;
    bool failed;
    char failure[1024];
    uint64_t faults[SIM_FAULTS];
    uint32_t yield_per_256; /* how often a thread is interrupted at a place where it may be */
};

extern struct sim sim;

static inline uint64_t sim_below(uint64_t limit)
{
    return hf_random_below(&sim.random, limit);
}

/* True once in `n`. */
static inline bool sim_one_in(uint64_t n)
{
    return sim_below(n) == 0;
}

/* Goes into the trace hash, and into the readable trace when that is on. */
__attribute__((format(printf, 1, 2))) void sim_note(const char *format, ...);
/* The same for what is only worth its hash. */
void sim_mix(uint64_t a, uint64_t b);
void sim_mix_bytes(const void *data, size_t bytes);

/* The first failure is kept; the run ends at its next look. */
__attribute__((format(printf, 1, 2))) void sim_fail(const char *format, ...);

void sim_fault(enum sim_fault kind);
const char *sim_fault_name(enum sim_fault kind);

#endif
