/* One node: what its shards share, and its life from an empty directory to a clean stop. */
#ifndef HF_SERVER_NODE_H
#define HF_SERVER_NODE_H

#include "engine/engine.h"
#include "persist/engine_time.h"
#include "persist/log.h"
#include "ring/atomics.h"
#include "ring/word.h"
#include "server/options.h"

#include <pthread.h>

struct hf_board;
struct hf_control;
struct hf_executor;
struct hf_shard;
struct hf_sim_disk;
struct hf_service;

/* Rows of a table that no thread has in its quota. */
struct hf_row_pool {
    _Alignas(HF_CACHE_PAD_BYTES) struct hf_atomic_u64 left;
    struct hf_atomic_u32 missed; /* 1: a thread found too few; who has some gives half back */
    uint64_t rows_max, share;
};

/* What a node stands on besides its options; all zero: its directory, and the sizes of a real machine. Filled before the start. Another
 * disk and sizes so small that everything fills and wraps are for tests. */
struct hf_node_world {
    struct hf_sim_disk *disk; /* instead of options.data */
    uint64_t log_buffer_bytes, answer_cache_bytes;
    uint32_t channel_tasks, service_tasks, parked_max; /* the first two: powers of two */
    uint32_t sessions_max, requests_max, credits_max;  /* of a shard; credits: of a session */
};

struct hf_node {
    /* constant once shards run */
    struct hf_node_world world;
    struct hf_server_options options;
    struct hf_engine *engine;
    struct hf_engine_options sizes;
    struct hf_spare spare; /* what the replay left of it, dealt out to the shards */
    struct hf_log *log;
    struct hf_log_buffer *buffer;
    struct hf_word *words;
    uint32_t partitions, claim_bytes_max;
    unsigned shard_count;
    struct hf_shard *shards[HF_SHARDS_MAX];
    struct hf_service *service;
    struct hf_board *board;     /* refreshed by the service, read by the control plane */
    struct hf_control *control; /* NULL: none was asked for */
    struct hf_engine_time time;
    struct hf_log_info info;
    uint64_t term, replay_ns, ns_per_cycle /* << 32, as of hf_cycles_rate() */;
    pthread_t drainer;
    bool drainer_started;

    /* shared */
    struct hf_row_pool pools[HF_TABLE_COUNT];
    struct hf_atomic_u32 stopping; /* 1: admit nothing, finish what is in flight */
    struct hf_atomic_u32 paused;   /* the service wants every word: shards start no batch */
    struct hf_atomic_u32 drained;  /* shards that have nothing in flight any more */
    struct hf_atomic_u32 finished; /* 1: the log has been stopped; shards may end */
};

/* Opens, replays, starts a term, binds ports and starts the threads. *node is zero but for `world`. 0, or an enum hf_error with one
 * sentence in error[], and nothing is left. */
int hf_node_start(struct hf_node *node, const struct hf_server_options *options, char *error, size_t error_bytes);

/* What was started serves: health of the control plane says so. */
void hf_node_ready(struct hf_node *node);

/* Drains and stops cleanly: answers what is in flight, seals the log. 0 or HF_E_IO. */
int hf_node_stop(struct hf_node *node, char *error, size_t error_bytes);

/* Ends the threads and frees what the node holds, as a killed process would: the log is left where it is. After it only hf_memory_free().
 */
void hf_node_destroy(struct hf_node *node);

/* An executor over what the node shares, for the thread that takes words as number `taker`. 0 or HF_E_MEMORY. */
int hf_node_make_executor(struct hf_node *node, unsigned taker, struct hf_executor **out);

/* Evens a thread's quota with the pools: tops up what runs low to the pool's share, gives back what is plenty or missed by others. Any
 * thread, for its own quota. */
void hf_node_even_quota(struct hf_node *node, struct hf_quota *quota);

/* Moves up to `rows` rows of one table from the pool to a thread's quota, between two evenings; false: the pool has none, and the others
 * are told that they are missed. Any thread, for its own quota. */
bool hf_node_take_rows(struct hf_node *node, struct hf_quota *quota, unsigned table, uint64_t rows);

/* The same for an executor whose step found FULL: a share, at least what the largest order takes. `context`: struct hf_node *. */
bool hf_node_find_rows(void *context, struct hf_quota *quota, unsigned table);

/* The later of engine time and wall clock. */
uint64_t hf_node_latest_ns(const struct hf_node *node, uint64_t now_ns);

/* Ends the process because the log can no longer keep its promise; says why. */
_Noreturn void hf_node_fatal(struct hf_node *node, int error, const char *what);

#endif
