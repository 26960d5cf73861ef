/* The network between the clients' sockets and the engine's loopback ports: byte streams that are cut into chunks, delayed, and hurt.
 *
 * The client library's system calls (socket, connect, recv, sendmsg, epoll...) end here. A chunk is what one call sent, or a part of it, so
 * whole frames are often lost, doubled or swapped. */
#ifndef HF_SIM_NETWORK_H
#define HF_SIM_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

struct sim_network_options {
    uint64_t delay_ns_max;
    uint32_t drop, duplicate, reorder, delay, truncate, corrupt; /* chances of a chunk, per 65536 */
    uint32_t reset, half_open;                                   /* chances of a connection at each chunk, per 65536 */
    uint32_t split;                                              /* a chunk is cut in two: no fault */
};

void sim_network_begin(void);
void sim_network_end(void);
void sim_network_set(const struct sim_network_options *options);

/* Moves what is due; returns whether anything moved. */
bool sim_network_run(void);
/* When something will be due; UINT64_MAX: nothing is under way. */
uint64_t sim_network_next_ns(void);
/* The engine's process ended: its connections are gone, which the clients learn, perhaps. */
void sim_network_engine_gone(void);
/* Whether a client has something to receive or may send again. */
bool sim_network_client_ready(int epoll_fd);
/* Half-open connections end: the keep-alive has found them. */
void sim_network_heal(void);

#endif
