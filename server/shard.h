/* A shard: a loop on a core that takes requests from its port, applies those of its partitions, and answers what is durable.
 *
 * Thread: everything belongs to the shard's own thread but hf_shard_start/join and the published status. Memory: reserved at create. */
#ifndef HF_SERVER_SHARD_H
#define HF_SERVER_SHARD_H

#include "net/net.h"
#include "ring/spsc.h"
#include "server/executor.h"
#include "server/lanes.h"
#include "server/node.h"
#include "server/stages.h"

#include <pthread.h>

/* A forwarded command that was executed: its answer is in the request's memory. */
struct hf_done {
    struct hf_request *request;
    uint64_t position;
};

/* Rings between this shard and another thread (a shard or the service): tasks out and their completions back. */
struct hf_channel {
    struct hf_spsc *tasks; /* this shard -> the other */
    struct hf_spsc *done;  /* the other -> this shard */
    uint32_t outstanding;  /* tasks sent and not yet done: never more than the done ring holds */
};

struct hf_shard_counters {
    uint64_t turns, idle_waits, commands, malformed, forwarded, taken_over, parked, busy, sweeps, expired, forgotten, marks;
    uint64_t sweep_lag_ns_max, answers, answer_wait_ns_sum;
};

/* What a shard copies out for STATUS when the service asks. */
struct hf_shard_status {
    struct hf_shard_counters counters;
    struct hf_stage_counters stages[HF_STAGE_KINDS];
    struct hf_executor_counters executor;
    struct hf_net_status net;
    struct hf_quota quota;
    uint64_t words_taken, words_tried_failed, words_waited, words_bound_failed, words_yielded;
    uint32_t parked_now, waiting_now, received_now, forwarded_now, service_now, control_now;
};

struct hf_exchange;

struct hf_queue {
    struct hf_request *first, *last;
    uint32_t count;
};

struct hf_shard {
    struct hf_node *node;
    unsigned number;
    int cpu; /* -1: not pinned */
    struct hf_net *net;
    struct hf_executor *executor;
    struct hf_lanes *lanes;
    struct hf_channel to[HF_SHARDS_MAX]; /* [self] unused */
    struct hf_channel service;
    struct hf_exchange *exchange;            /* with the control plane; NULL: there is none */
    uint32_t from_control;                   /* its commands that have no answer yet */
    struct hf_queue received;                /* requests with commands not yet gathered */
    struct hf_queue waiting;                 /* complete, waiting for durability */
    uint32_t at_command, at_byte, at_answer; /* where gathering of received.first stands */
    uint32_t ahead_count;
    struct hf_task ahead[HF_BATCH_MAX]; /* gathered for the next batch */
    uint64_t now_ns, latest_ns;
    uint64_t next_sweep_ns, next_mark_ns, steps_at_mark;
    uint32_t sweep_cursor, lane_cursor;
    uint64_t log_full_since_ns; /* 0: it is not */
    bool log_full;              /* for so long that waiting helps nobody: what would write gets BUSY */
    bool was_due;               /* something fell due since the last mark: it may wait for the next one to be forgotten */
    unsigned idle_turns;
    bool drained;
    struct hf_command *sweep_command;
    struct hf_answer *sweep_answer;
    struct hf_shard_counters counters;
    struct hf_stages stages;

    struct hf_atomic_u32 status_wanted, status_given; /* generations */
    struct hf_shard_status status;                    /* written by the shard between wanted and given */
    pthread_t thread;
    bool started;
};

/* Makes the shard with its port; rings are connected by the node. 0 or an error (hf_net_error() has the sentence). */
int hf_shard_create(struct hf_node *node, unsigned number, struct hf_shard **out);
void hf_shard_destroy(struct hf_shard *shard);
int hf_shard_start(struct hf_shard *shard);
/* Waits for the shard's thread, which ends once the node has finished. */
void hf_shard_join(struct hf_shard *shard);

/* Whether a batch may be stepped: the log has room for the worst that it can claim. */
bool hf_shard_has_room(const struct hf_shard *shard);

/* Notes which word the work of a home lacks (HF_LANES_NONE: none any more): it is wanted, what was lacking before is not. */
void hf_shard_set_lacking(struct hf_shard *shard, uint32_t home, uint32_t partition);

/* One turn of the loop; returns work done. The map of the system: shard.c begins with it. */
unsigned hf_shard_turn(struct hf_shard *shard);

#endif
