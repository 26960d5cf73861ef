/*
 * How long each stage of a shard's loop takes, and where the loop is right now.
 *
 * Threads: counters are the shard's own and leave it as the rest of its status does. `at` is written by the shard and read by anybody, so
 * that a loop that stands can be seen from outside: it is what tells a stall from an idle shard.
 */
#ifndef HF_SERVER_STAGES_H
#define HF_SERVER_STAGES_H

#include "ring/atomics.h"
#include "server/cycles.h"

/* In the order of a turn. IDLE is no stage: between two turns. */
enum hf_stage {
    HF_STAGE_RECEIVE, /* from the network, the control plane and other threads */
    HF_STAGE_RUN,     /* batches: words, steps, claim, copy */
    HF_STAGE_SWEEP,
    HF_STAGE_DRAIN, /* the log's writes, on shard 0 */
    HF_STAGE_ANSWER,
    HF_STAGE_FLUSH, /* to the network */
    HF_STAGES,
    HF_STAGE_TURN = HF_STAGES, /* the whole loop */
    HF_STAGE_KINDS,
    HF_STAGE_IDLE = HF_STAGE_KINDS
};

/* Bucket b counts what took at most 2^(10 + 2b) ns: 1 us, 4 us, ... 1.07 s; the last one all beyond. */
enum { HF_STAGE_BUCKETS = 12 };

/* Of turns that found work. Cycles are hf_cycles(). */
struct hf_stage_counters {
    uint64_t sum_cycles, max_cycles;
    uint64_t max_at_ns; /* engine time of the turn with the most */
    uint64_t buckets[HF_STAGE_BUCKETS];
};

struct hf_stages {
    struct hf_atomic_u64 at; /* cycles when this stage began, its lowest three bits the enum hf_stage */
    uint64_t ns_per_cycle;   /* << 32, as of hf_cycles_rate() */
    uint64_t began[HF_STAGES + 1];
    struct hf_stage_counters counters[HF_STAGE_KINDS];
};

static inline unsigned hf_stage_bucket(uint64_t ns)
{
    if (ns <= 1024)
        return 0;
    unsigned bits = 64u - (unsigned)__builtin_clzll((ns - 1) >> 10), bucket = (bits + 1) / 2;
    return bucket < HF_STAGE_BUCKETS ? bucket : HF_STAGE_BUCKETS - 1;
}

/* The loop goes on to `stage`, the next one after the one before; a turn begins with HF_STAGE_RECEIVE and ends with HF_STAGE_IDLE. */
static inline void hf_stages_enter(struct hf_stages *stages, unsigned stage)
{
    uint64_t now = hf_cycles();
    stages->began[stage < HF_STAGES ? stage : HF_STAGES] = now;
    hf_store_relaxed_u64(&stages->at, (now & ~(uint64_t)7) | stage);
}

/* Counts the turn that ended; after hf_stages_enter(IDLE). */
static inline void hf_stages_count(struct hf_stages *stages, uint64_t now_ns)
{
    for (unsigned stage = 0; stage < HF_STAGE_KINDS; stage++) {
        struct hf_stage_counters *to = &stages->counters[stage];
        uint64_t cycles = stage == HF_STAGE_TURN ? stages->began[HF_STAGES] - stages->began[0]
                                                 : stages->began[stage + 1] - stages->began[stage];
        to->sum_cycles += cycles;
        to->buckets[hf_stage_bucket(hf_cycles_to_ns(cycles, stages->ns_per_cycle))]++;
        if (cycles > to->max_cycles) {
            to->max_cycles = cycles;
            to->max_at_ns = now_ns;
        }
    }
}

#endif
