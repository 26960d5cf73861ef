/* One seed: a world is drawn, lives through faults and restarts, comes to rest, and is judged. */
#ifndef HF_SIM_RUN_H
#define HF_SIM_RUN_H

#include "persist/backend_sim.h"
#include "tests/sim/sim.h"

struct sim_result {
    uint64_t seed, hash, steps, commands, keyed, records, restarts, virtual_ns;
    uint64_t faults[SIM_FAULTS], disk_faults[HF_SIM_FAULTS];
    bool failed;
    char failure[1024];
};

/* `faults` off: a world in which nothing goes wrong. */
void sim_run(uint64_t seed, bool tracing, struct sim_result *out);

#endif
