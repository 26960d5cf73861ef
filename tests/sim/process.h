/* The engine's process: the node as holdfastd starts it, on threads that are coroutines, on a disk that outlives it. */
#ifndef HF_SIM_PROCESS_H
#define HF_SIM_PROCESS_H

#include "persist/backend_sim.h"
#include "server/node.h"

enum sim_process_state {
    SIM_DOWN,     /* there is none */
    SIM_STARTING, /* within hf_node_start() */
    SIM_UP,
    SIM_STOPPING,
    SIM_STOPPED, /* cleanly */
    SIM_REFUSED, /* hf_node_start() failed */
    SIM_EXITED,  /* it ended itself, or its stop failed */
};

void sim_process_begin(struct hf_sim_disk *disk);
/* Ends whatever is left of it. */
void sim_process_end(void);

void sim_process_start(const struct hf_server_options *options, const struct hf_node_world *world);
/* For the starts that follow: their `nth` request for memory is refused (0: none); what they recover is not what was made. */
void sim_process_refuse_memory(uint64_t nth);
void sim_process_forged(bool forged);
bool sim_process_is_forged(void);
/* Asks it to stop, as SIGTERM does. */
void sim_process_stop(void);
/* SIGKILL, or with the machine's power. */
void sim_process_kill(bool power);
/* Frees what an ended process left; the state is SIM_DOWN then. */
void sim_process_bury(void);

enum sim_process_state sim_process_state(void);
int sim_process_code(void);          /* enum hf_error of REFUSED; exit status of EXITED */
const char *sim_process_error(void); /* the sentence of REFUSED */
struct hf_node *sim_process_node(void);
bool sim_process_listens(void);
uint64_t sim_process_term(void);
/* Engine time now; while there is no engine, its last one. */
uint64_t sim_process_engine_ns(void);
/* The largest there ever was: a new engine may begin before the end of the one before, whose last seconds were not logged. */
uint64_t sim_process_latest_ns(void);

/* When the disk will have something to report; UINT64_MAX: nothing is under way. */
uint64_t sim_process_disk_next_ns(void);

/* For the wrapped _exit(). */
void sim_process_exits(int status);

#endif
