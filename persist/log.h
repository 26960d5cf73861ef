/* The log of a node on disk: open, recover, append, become durable, close.
 *
 * One thread (the drainer: shard 0, or a thread of its own) calls every function but hf_log_durable() and hf_log_status(), which any thread
 * may call. Rules, byte tables and write order: docs/journal.md. Errors are enum hf_error; a failed log write or flush ends in *fatal, is
 * never retried, and the process must exit. Every error leaves a sentence for a person in hf_log_error(). */
#ifndef HF_PERSIST_LOG_H
#define HF_PERSIST_LOG_H

#include "ring/log_buffer.h"
#include "wire/block.h"
#include "wire/error.h"
#include "wire/record.h"

struct hf_log;

enum hf_log_backend { HF_LOG_FILE = 0, HF_LOG_SIM = 1, HF_LOG_NULL = 2 };

struct hf_log_options {
    const char *dir; /* made when missing (its parent must exist); formatted when empty */
    enum hf_log_backend backend;
    const void *backend_options; /* sim: struct hf_sim_disk * (persist/backend_sim.h); else NULL */
    uint32_t partitions;         /* for a new directory; 0: 256. An existing one says its own (info.partitions) */
    uint32_t block_max;          /* for a new directory; 0: 1 MiB. Power of two, 16 KiB to 1 MiB */
    uint64_t segment_bytes;      /* for a new directory; 0: 64 MiB. Multiple of block_max */
    uint64_t ahead_bytes;        /* zero-filled log kept ahead of the tail; 0: 128 MiB */
    uint64_t buffer_bytes;       /* of the log buffer; 0: 32 MiB. Power of two */
    unsigned shards;             /* that will claim */
    uint32_t batch_bytes_max;    /* most that one shard claims between two checks for room */
    uint32_t batch_claims_max;   /* in at most this many claims; 0: 64 */
    uint64_t wall_ns;            /* wall clock now */
    uint64_t max_clock_gap_ns;   /* start refused (HF_E_CLOCK) when the wall clock is further than this ahead of the log; 0: 1 h */
    bool accept_clock;
    uint64_t lock_wait_ms; /* how long to wait for the directory's lock: 5000 */
    bool read_only;        /* inspection: no lock beyond a shared one, nothing written, no tail cut on disk */
};

/* What an opened directory says. */
struct hf_log_info {
    uint32_t partitions;
    uint32_t block_max;
    uint64_t segment_bytes;
    uint64_t term;            /* of the newest start before this one; 0: fresh */
    uint64_t last_time_ns;    /* latest block or record time that was recovered; 0: none */
    uint64_t records, bytes;  /* recovered */
    uint64_t end_position;    /* where the next block will start */
    uint64_t torn_tail_bytes; /* cut */
    bool fresh;               /* was formatted by this call */
    bool direct;              /* O_DIRECT works here */
    bool clock_behind;        /* wall clock is behind the log: time goes on from the log's */
};

/* Locks, formats or reads the manifest. 0 or an error; on error *out is NULL and hf_log_error(NULL) has the sentence. */
int hf_log_open(const struct hf_log_options *options, struct hf_log **out, struct hf_log_info *info);

/* Called for each record in log order; end_position is the position of the first byte behind it. A nonzero return stops recovery and is
 * returned. */
typedef int hf_log_visit(void *context, const struct hf_record *record, uint64_t end_position, uint64_t term);

/* Reads the log to its end by the recovery rule (torn tail against damage) and calls visit for every record up to `until` (UINT64_MAX:
 * all). With `prefetch`, up to 16 records of a block are first handed to it one by one, all with stage 0, then all with stage 1. Ends with
 * a flush of what was read beyond the last stated durable position. Fills info. 0, HF_E_DAMAGED (hf_log_error names the position and what
 * an operator can do), HF_E_IO, or what visit returned. */
int hf_log_recover(struct hf_log *log, hf_log_visit *visit, void (*prefetch)(void *context, const struct hf_record *record, int stage),
                   void *context, uint64_t until, struct hf_log_info *info);

/* Begins a new term: checks the clock, writes the manifest twice and durably, fills the first log space, probes the device. After it
 * records may be claimed in *buffer (owned by the log). 0, HF_E_CLOCK, HF_E_IO, HF_E_NO_SPACE. */
int hf_log_start(struct hf_log *log, struct hf_log_buffer **buffer, uint64_t *term);

/* One turn of the drainer: reaps completions, moves the durable position, closes the open block and submits what is complete when a write
 * slot is free, seals after 5 ms without a claim, fills log space ahead. Never waits. Returns work done (0: nothing). Negative: fatal, exit
 * with the reason. */
int hf_log_drain(struct hf_log *log, uint64_t now_ns);

/* Durable position: every record that ends at or before it is on disk. Any thread. */
uint64_t hf_log_durable(const struct hf_log *log);

/* Whether reserved space is running out: 0 fine; 1: new orders get NO_SPACE, the rest goes on; 2: nothing fits any more (BUSY for all). Any
 * thread. */
int hf_log_watermark(const struct hf_log *log);

/* Whether what all shards may claim in a batch each fits the buffer and the reserved space. A shard asks before it steps a batch, as of
 * hf_log_buffer_has_room: the watermark is only as new as the drainer's last turn. Any thread. */
bool hf_log_has_room(const struct hf_log *log);

/* A file descriptor that becomes readable when a write of this log completes (eventfd), for a loop that sleeps; -1: none. */
int hf_log_event_fd(const struct hf_log *log);
/* Writes in flight or bytes claimed and not yet submitted: there is a reason to come back soon. Drainer's thread. */
bool hf_log_pending(const struct hf_log *log);

struct hf_log_status {
    uint64_t position, durable, term, bytes, segments, records, blocks, writes, padding_bytes, seals;
    uint64_t write_ns_sum, write_ns_max, inflight_max;
    uint32_t inflight;
    bool direct, dsync;
    uint64_t ahead_bytes; /* filled and not yet used */
    int watermark;
};
void hf_log_status(const struct hf_log *log, struct hf_log_status *out);

/* Clean stop: everything claimed is written and flushed, the end recorded twice. 0 or HF_E_IO. The log stays open for reading. */
int hf_log_stop(struct hf_log *log);
void hf_log_close(struct hf_log *log);

/* Reads durable records after `position` (an end position of a record, or 0) into buf: struct hf_follow_head, record, repeated. *bytes in:
 * room, out: used; *next: end position of the last one written (== position when there is none). Safe from any one other thread while the
 * log runs: reads the segments by itself, never beyond hf_log_durable(). 0, HF_E_IO, HF_E_DAMAGED, HF_E_ABSENT (its segment is gone),
 * HF_E_USAGE (position is beyond it, or no record's end). */
struct hf_log_reader;
int hf_log_reader_open(const struct hf_log *log, struct hf_log_reader **out);
int hf_log_reader_read(struct hf_log_reader *reader, uint64_t position, void *buf, uint32_t *bytes, uint64_t *next);
void hf_log_reader_close(struct hf_log_reader *reader);

/* The last error's sentence: of the log, or of a failed open when NULL (thread's own). Never NULL. */
const char *hf_log_error(const struct hf_log *log);

#endif
