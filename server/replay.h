/* Brings an engine to the state of a log: every record is recomputed and compared.
 *
 * Used by holdfastd at its start and by the offline half of the `holdfast` tool. One thread, which holds all the engine there is. Records
 * are copied into two small windows: while one is replayed, what the other will touch is on its way to the cache. */
#ifndef HF_SERVER_REPLAY_H
#define HF_SERVER_REPLAY_H

#include "engine/engine.h"
#include "persist/log.h"

struct hf_replay;

struct hf_replay_result {
    uint64_t records;
    uint64_t position;        /* end of the last replayed record; 0: none */
    uint64_t failed_position; /* end of the record that could not be replayed; 0: none */
    uint64_t time_ns;         /* CLOCK_MONOTONIC time taken, reading included */
    unsigned table;           /* HF_E_TOO_SMALL: enum hf_table */
    struct hf_log_info info;  /* by hf_replay_run() only: what recovery said */
    char error[320];          /* a sentence for a person where a function failed, else "" */
};

/* quotas[0..shards-1]: what may still be used. A record takes from that of the shard its home belongs to (home mod shards); when it runs
 * dry the others' rest is moved to it, so the sums alone decide. Nothing is owned but the windows. 0 or HF_E_MEMORY. */
int hf_replay_create(struct hf_engine *engine, struct hf_quota *quotas, unsigned shards, struct hf_replay **out);
void hf_replay_destroy(struct hf_replay *replay);

/* Takes the next record of the log (copied; replayed up to 64 records later). 0, or what hf_engine_replay() says of this record or of an
 * earlier one; once failed, every later call fails the same way and does nothing. */
int hf_replay_feed(struct hf_replay *replay, const struct hf_record *record, uint64_t end_position);

/* Replays what is still in the windows, evens the quotas out and fills *out but for `info`. 0 or the first failure. */
int hf_replay_finish(struct hf_replay *replay, struct hf_replay_result *out);

/* Recovers the log (hf_log_recover) up to `until` into the engine. 0, or the error of either; out->error has the sentence. For
 * HF_E_TOO_SMALL that names the least sizes that fit: the log is then replayed once more, into an engine of its own. */
int hf_replay_run(struct hf_log *log, struct hf_engine *engine, struct hf_quota *quotas, unsigned shards, uint64_t until,
                  struct hf_replay_result *out);

/* Quotas of a new engine of these sizes, shared out evenly; the first gets what does not divide. */
void hf_replay_quotas(const struct hf_engine_options *options, struct hf_quota *quotas, unsigned shards);

#endif
