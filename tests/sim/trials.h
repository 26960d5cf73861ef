/* Starts that must be refused, and looks at the stopped log, between two lives. Each leaves the disk as it was. */
#ifndef HF_SIM_TRIALS_H
#define HF_SIM_TRIALS_H

#include "persist/backend_sim.h"
#include "server/node.h"

struct sim_trials {
    struct hf_sim_disk *disk;
    const struct hf_server_options *options; /* with which it served last */
    const struct hf_node_world *world;
    void (*step)(void);
    bool clean; /* it was stopped, and all it wrote lies on the medium */
};

/* One of them, by dice. The process is down. */
void sim_trial(const struct sim_trials *with);
/* A manifest that checks and makes no sense. */
void sim_trial_manifest(const struct sim_trials *with);
/* Looks where nothing was ever written. */
void sim_trial_empty(const struct sim_trials *with);
/* Looks at the log without taking it; on a disk that keeps what it was given, all of it must be there. */
void sim_trial_look(const struct sim_trials *with);

#endif
