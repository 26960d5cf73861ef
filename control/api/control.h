/*
 * The control plane of one node: Holdfast's services on a gRPC server, whose handlers send commands to the shards over an exchange.
 *
 * Threads: create to destroy are one thread's (the node's); the server's loop and the exchange's pump are threads of its own.
 */
#ifndef HF_CONTROL_API_CONTROL_H
#define HF_CONTROL_API_CONTROL_H

#include "control/api/exchange.h"
#include "control/api/slow.h"

struct hf_control;

struct hf_control_options {
    const char *const *listen; /* tcp://HOST:PORT or unix://PATH, at most 16; copied */
    unsigned listen_count;
    unsigned shard_count;
    uint32_t partitions;
    uint32_t items_max;                /* commands out at one shard; a power of two, 0: 1024 */
    bool pinned;                       /* `cpus` counts: the only ones where its threads run */
    cpu_set_t cpus;                    /* those without a shard */
    uint64_t (*now_ns)(void *context); /* engine time; any thread */
    /* Durable end of the log and the engine's term; any thread. */
    uint64_t (*durable)(void *context, uint64_t *term);
    struct hf_slow_options slow; /* which calls are reported, and how */
    unsigned follower_stall_ms;  /* a follower that takes too little for so long is dropped; 0: 30 s */
    /* The engine's newest numbers: up to `max` are copied, how many there are is returned. Any thread; must not block. */
    unsigned (*numbers)(void *context, struct hf_counter_item *out, unsigned max);
    void (*drain)(void *context); /* ends the node as SIGTERM does, without waiting for it; NULL: nobody can. Any thread */
    /* Of the log on stderr: 0 debug, 1 info, 2 warn; less than 0: as it is. Returns the one before; any thread. */
    int (*log_level)(void *context, int level);
    void *context;
};

/* 0 or an enum hf_error. */
int hf_control_create(const struct hf_control_options *options, struct hf_control **out);
struct hf_exchange *hf_control_exchange(struct hf_control *control);
/* Binds and serves; health says NOT_SERVING. HF_E_USAGE: an address that cannot be (a path too long); HF_E_IO: errno says why. */
int hf_control_start(struct hf_control *control);
/* Of a tcp listener. */
uint16_t hf_control_port(const struct hf_control *control, unsigned listener);
/* The control plane's own numbers, in order: false at the end. `name` is static. Any thread. */
bool hf_control_number(const struct hf_control *control, unsigned index, const char **name, uint64_t *value);
/* Health says SERVING. */
void hf_control_ready(struct hf_control *control);
/* Health says NOT_SERVING, clients are told to go; does not wait. */
void hf_control_drain(struct hf_control *control);
/* After the shards' threads have ended: answers what is out, gives clients a moment to take it, and ends the threads. NULL is fine. */
void hf_control_destroy(struct hf_control *control);

#endif
