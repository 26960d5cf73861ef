/* Inside of the log: shared by log.c (open, close, status), drain.c (start, append, stop), recover.c and inspect.c. */
#ifndef HF_PERSIST_LOG_P_H
#define HF_PERSIST_LOG_P_H

#include "persist/backend.h"
#include "persist/log.h"
#include "persist/manifest.h"
#include "ring/atomics.h"

#include <stdalign.h>

enum {
    HF_LOG_FLIGHTS_MAX = 4,
    HF_LOG_WINDOW_BYTES = 8 << 20,   /* no block is submitted that ends further behind the durable position */
    HF_LOG_TAIL_MOST_BYTES = 9 << 20 /* so what lies further behind a hole is no torn tail of it */
};

/* Where the log stands: everything the next block's header continues. */
struct hf_log_tip {
    uint64_t position;
    uint64_t number;  /* of the next block */
    uint64_t term;    /* of the last block, or of a beginning at position */
    uint32_t chain;   /* checksum of the last block; the seed before the first */
    uint64_t durable; /* largest durable position that was stated */
    uint64_t time_ns; /* latest time seen */
};

/* A block that was submitted, oldest first. */
struct hf_log_flight {
    uint64_t position;
    uint64_t end;           /* position + padded bytes: what becomes durable */
    uint64_t next_position; /* of the next block */
    uint64_t submit_ns;
    bool done;
};

struct hf_log {
    struct hf_log_options options;
    struct hf_backend *backend;
    struct hf_geometry geometry;
    struct hf_manifest manifest;
    unsigned manifest_copy; /* the copy that was believed */
    struct hf_log_tip tip;
    struct hf_log_info info;
    bool recovered, started, stopped;
    int fatal; /* the error that ended it; 0: none */
    char error[HF_ERROR_BYTES];

    /* the drainer's */
    struct hf_log_buffer *buffer;
    void *memory;
    size_t memory_bytes;
    uint64_t worst_bytes; /* what all shards can claim between two looks at the watermark */
    struct hf_log_flight flights[HF_LOG_FLIGHTS_MAX];
    unsigned flight_first, flight_count;
    struct hf_log_block held; /* taken from the buffer, waiting for the window or for space */
    bool holds;
    bool closing;  /* a closed block waits for its commits */
    bool unsealed; /* the last block with records is not yet stated durable by a later one */
    uint64_t last_claim_ns, last_submit_ns, last_position;
    uint64_t write_ns; /* moving average of one write, submission to completion */
    uint64_t segments_seen;

    /* written by the drainer, read by any thread */
    alignas(HF_CACHE_PAD_BYTES) struct hf_atomic_u64 durable;
    struct hf_atomic_u32 watermark;
    alignas(HF_CACHE_PAD_BYTES) struct hf_atomic_u64 appended;
    struct hf_atomic_u64 bytes, records, blocks, padding_bytes, seals, write_ns_sum, write_ns_max, inflight, inflight_max;
};

/* A block that was accepted, before its records are visited; nonzero ends recovery and is returned. */
typedef int hf_recover_block(void *context, const struct hf_block *block);

struct hf_recovery_calls {
    hf_recover_block *block; /* may be NULL, and each of the others too */
    hf_log_visit *visit;
    void (*prefetch)(void *context, const struct hf_record *record, int stage);
    void *context;
    uint64_t until;
};

/* The recovery rule. Fills log->tip and log->info, changes nothing on disk. HF_E_DAMAGED leaves the position in *damaged. */
int hf_recover_run(struct hf_log *log, const struct hf_recovery_calls *calls, uint64_t *damaged);

/* Writes both copies of the manifest, each durable before the next, and the one that was believed last: a cut leaves one that checks. */
int hf_log_manifest_write(struct hf_log *log);

/* The calling thread's own sentence buffer, HF_ERROR_BYTES, where hf_log_error(NULL) reads. */
char *hf_log_thread_error(void);

#endif
