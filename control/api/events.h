/* The service Events: followers of the log, who share what is read of it.
 *
 * The log is reached by the command FOLLOW, over the exchange, which the engine's service thread answers from the disk: never a record that
 * is not durable, never a byte of the engine's memory. At most two FOLLOWs are out at a time, one for those at the log's end and one for
 * those behind it, however many follow.
 *
 * Threads: create and destroy are the node's; drain and counter any thread's; everything else is the loop's. Memory: 2,048 followers, each
 * with one queue bounded by the loop; what was read is kept in two bounded caches. */
#ifndef HF_CONTROL_API_EVENTS_H
#define HF_CONTROL_API_EVENTS_H

#include "control/api/exchange.h"

struct hf_events;

struct hf_events_options {
    struct hf_exchange *exchange;
    unsigned stall_ms; /* a follower that takes nothing for so long is dropped; 0: 30 s */
    /* Durable end of the log and the engine's term; any thread. */
    uint64_t (*durable)(void *context, uint64_t *term);
    void *context;
};

enum hf_events_counter {
    HF_EVENTS_FOLLOWERS, /* now; the others only grow */
    HF_EVENTS_FOLLOWS,
    HF_EVENTS_TOLD,
    HF_EVENTS_MESSAGES,
    HF_EVENTS_READS,
    HF_EVENTS_READS_BEHIND,
    HF_EVENTS_SLOW_DROPPED,
    HF_EVENTS_REFUSED,
    HF_EVENTS_COUNTERS
};

/* HF_E_MEMORY. */
int hf_events_create(const struct hf_events_options *options, struct hf_events **out);
/* After the server has stopped. NULL is fine. */
void hf_events_destroy(struct hf_events *events);
/* To be added to the server; lives as long as `events`. */
const struct hf_grpc_service *hf_events_service(const struct hf_events *events);
/* Ends every follower with DRAINING within a moment, and each new one. */
void hf_events_drain(struct hf_events *events);

uint64_t hf_events_count(const struct hf_events *events, enum hf_events_counter counter);
/* Name like "control.events.followers", and what it counts in one sentence. Static. */
const char *hf_events_counter_name(enum hf_events_counter counter);
const char *hf_events_counter_help(enum hf_events_counter counter);

#endif
