/*
 * Commands from the control plane's loop to the shards, and their answers back: one pair of bounded rings a shard.
 *
 * Threads: hf_exchange_submit and hf_exchange_finished are the loop's; hf_exchange_take and hf_exchange_give are each shard's for its own
 * number; a pump, a thread of the exchange's own, carries answers from the rings to the loop, so that no shard ever makes a system call for
 * the control plane. create, start, stop and destroy are one other thread's. Memory: an item is its call's (hf_grpc_alloc); the call is
 * kept from submit until hf_exchange_finished.
 */
#ifndef HF_CONTROL_API_EXCHANGE_H
#define HF_CONTROL_API_EXCHANGE_H

#include "control/grpc/grpc.h"
#include "wire/answer.h"

#include <sched.h>

struct hf_exchange;

enum { HF_EXCHANGE_ENGINE_BYTES = 256 };

/* One command on its way. */
struct hf_exchange_item {
    struct hf_grpc_task task; /* run on the loop once the answer is there; set by the submitter */
    struct hf_grpc_call *call;
    const void *verb; /* the submitter's */
    unsigned shard;
    struct hf_command *command; /* 8-byte aligned, its length walked */
    struct hf_answer *answer;   /* hf_answer_bytes_max(command), 8-byte aligned */
    struct hf_exchange_item *before, *after;
    bool posted;       /* the pump's */
    uint64_t asked_ns; /* the submitter's */
    /* The shard's: engine time when it took the item, when the answer was made, when it was given back. */
    uint64_t taken_ns, stepped_ns, given_ns;
    _Alignas(16) uint8_t engine[HF_EXCHANGE_ENGINE_BYTES]; /* the shard's while it has the item */
};

/* `items_max` of one shard at once, a power of two. 0, HF_E_USAGE, HF_E_MEMORY, HF_E_IO. */
int hf_exchange_create(unsigned shard_count, uint32_t items_max, struct hf_exchange **out);
/* Starts the pump; `cpus`: where it may run, NULL: anywhere. 0 or HF_E_MEMORY. */
int hf_exchange_start(struct hf_exchange *exchange, const cpu_set_t *cpus);
/* After the shards' threads have ended: what is still out is answered DRAINING, and the pump ends. */
void hf_exchange_stop(struct hf_exchange *exchange);
void hf_exchange_destroy(struct hf_exchange *exchange);

/* Sends the item to its shard and keeps its call: HF_OK. HF_BUSY: as many as may be are out; HF_DRAINING: nobody answers any more. */
uint16_t hf_exchange_submit(struct hf_exchange *exchange, struct hf_exchange_item *item);
/* The item's answer was used; drops the call, with which the item goes. */
void hf_exchange_finished(struct hf_exchange *exchange, struct hf_exchange_item *item);

/* Up to `max` new items for this shard. */
unsigned hf_exchange_take(struct hf_exchange *exchange, unsigned shard, struct hf_exchange_item **out, unsigned max);
/* The item's answer is complete, and durable where it has to be. */
void hf_exchange_give(struct hf_exchange *exchange, struct hf_exchange_item *item);

#endif
