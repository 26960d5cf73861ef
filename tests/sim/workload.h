/* The clients: libholdfast itself, over the simulated network, with a mix of commands that each seed draws anew. */
#ifndef HF_SIM_WORKLOAD_H
#define HF_SIM_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

enum sim_act {
    ACT_LOCATION,
    ACT_SKU,
    ACT_POLICY,
    ACT_RECEIVE,
    ACT_ADJUST,
    ACT_SET,
    ACT_PLACE,
    ACT_EXTEND,
    ACT_SETTLE,
    ACT_RESULT,
    ACT_SHIP,
    ACT_CANCEL,
    ACT_GET_ORDER,
    ACT_GET_CELL,
    ACT_GET_SKU,
    ACT_LIST,
    ACT_ADMIN,
    ACT_AGAIN,   /* a command sent before, to the byte */
    ACT_CHANGED, /* the id of one sent before, with another body */
    ACT_KEYED,   /* one sent before with a request key, under that key and another id */
    ACT_BAD,     /* of bad form */
    ACTS
};

struct sim_workload_options {
    unsigned clients, skus, locations, customers, lines_max, frames_max, commands_max /* of a frame */;
    uint32_t weights[ACTS];
    unsigned keyed; /* one write in so many has a request key; 0: none has */
    unsigned fond;  /* one verb in so many is for one and the same order */
    uint64_t ttl_ms_max, deadline_ns, retention_ns;
    bool one_session;
};

struct sim_workload_counts {
    uint64_t keyed; /* answers that name the first id of their request key */
    uint64_t sent, answered, refused, failed, frames, accepted, rejected;
};

void sim_workload_begin(const struct sim_workload_options *options);
void sim_workload_end(void);

/* Between two frames of a client at most this; UINT64_MAX: nothing new is asked. */
void sim_workload_pace(uint64_t think_ns_max);
/* Lets one client poll and submit, if it has reason to; false: none has. */
bool sim_workload_run(void);
uint64_t sim_workload_next_ns(void);
/* Frames without an answer. */
unsigned sim_workload_outstanding(void);
/* The earliest end of the log at which one of them was sent. */
uint64_t sim_workload_oldest_position(void);
/* One client loses all it knows and a new one takes its place. */
void sim_workload_replace_client(void);
const struct sim_workload_counts *sim_workload_counts(void);

#endif
