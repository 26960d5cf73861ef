/* Words, steps and one claim: how one thread applies a batch of commands and gets them into the log buffer.
 *
 * Thread: an executor belongs to one thread; many executors share the engine, the words and the log buffer. Memory: all of it is reserved
 * at create.
 *
 * A batch goes begin → admit… → run. Words are taken in admit and let go in run, right after the claim that covers every step made under
 * them; copy and commit follow. Rule of the words: only a word above the highest one held is waited for, within a bound; any other is
 * tried. A command that cannot have its words is not admitted, and the word it lacks is marked as wanted. */
#ifndef HF_SERVER_EXECUTOR_H
#define HF_SERVER_EXECUTOR_H

#include "engine/engine.h"
#include "net/net.h"
#include "ring/log_buffer.h"
#include "ring/word.h"
#include "wire/block.h"

enum { HF_BATCH_MAX = 64 };

/* One command on its way: it stays in its request's memory, and so does its answer. */
struct hf_task {
    const struct hf_command *command;
    struct hf_answer *answer;
    struct hf_request *request; /* NULL: the engine's own (sweeps) */
    uint32_t home;              /* partition */
    uint32_t origin;            /* shard that received it */
    struct hf_hint hint;        /* all zero is right, only slower */
};

/* A task of the batch and what became of it. */
struct hf_slot {
    struct hf_task task;
    uint64_t position; /* out: log position its answer waits for; 0: rests on nothing */
    struct hf_record *record;
    uint32_t outcome_bytes; /* 0: nothing to log */
    bool reads_state;
};

struct hf_executor_counters {
    uint64_t batches, steps, records, record_bytes, not_admitted, looked_again;
    uint64_t granted, granted_bytes; /* orders placed and what their records take */
    uint64_t results[HF_RESULT_COUNT];
};

struct hf_executor_options {
    struct hf_engine *engine;
    struct hf_word *words;
    uint32_t partitions;
    struct hf_log_buffer *buffer;
    uint32_t claim_bytes_max; /* most that one claim may take: what fits one block */
    unsigned taker;           /* this thread's number among those that take words */
    /* Finds more rows of a table (enum hf_table) for this thread's quota; false: there are none. Asked before FULL is answered. NULL:
     * never. */
    bool (*find_rows)(void *context, struct hf_quota *quota, unsigned table);
    void *context;
};

struct hf_executor {
    struct hf_engine *engine;
    struct hf_word *words;
    struct hf_log_buffer *buffer;
    struct hf_word_taker taker;
    struct hf_quota quota;
    bool (*find_rows)(void *context, struct hf_quota *quota, unsigned table);
    void *context;
    uint32_t claim_bytes_max;

    /* the batch */
    struct hf_step step;              /* what all of them have in common, filled for the one being stepped */
    uint32_t count, stepped, flushed; /* slots admitted, stepped, and claimed */
    uint32_t unlogged;                /* stepped without a record */
    uint32_t staged_bytes;
    uint64_t claimed_end;         /* end of the batch's last claim; 0: none yet */
    uint32_t held_count, highest; /* highest: 1 + the highest partition held */
    uint32_t lacking;             /* after HF_NOT_NOW: the partition whose word could not be had and is marked as wanted */
    uint32_t *held;
    uint64_t *held_bits;
    uint8_t *outcomes;
    uint32_t outcomes_used;
    struct hf_slot slots[HF_BATCH_MAX];
    struct hf_executor_counters counters;
};

enum hf_admission { HF_ADMITTED, HF_NOT_NOW, HF_BATCH_FULL };

/* 0 or HF_E_MEMORY. */
int hf_executor_create(const struct hf_executor_options *options, struct hf_executor **out);
void hf_executor_destroy(struct hf_executor *executor);

/* The most bytes that one executor claims between two checks of the log buffer's room. */
uint32_t hf_executor_batch_bytes_max(uint32_t block_max);

/* Asks for what the first tasks of the batch after this one will touch; run() asks for the rest in its time. Their hints are filled. */
void hf_executor_prefetch(const struct hf_executor *executor, struct hf_task *tasks, uint32_t count);

/* Starts a batch. `latest_ns`: later of engine time and wall clock. shed: new orders get shed_result. The log buffer has room for it. */
void hf_executor_begin(struct hf_executor *executor, uint64_t now_ns, uint64_t latest_ns, bool shed, uint16_t shed_result);

/* Takes one word ahead of an admit (to look at a partition first). False: it could not be had and is wanted. */
bool hf_executor_hold(struct hf_executor *executor, uint32_t partition);

/* Takes back every want of this thread: it will not come again for what it could not have. A want left standing would slow its owner down
 * for ever. */
void hf_executor_give_up(struct hf_executor *executor);

/* Takes the words that the task needs. HF_NOT_NOW: one (`lacking`) could not be had and is wanted, none was kept for it, a word
 * held ahead may be gone too; HF_BATCH_FULL: run first. */
enum hf_admission hf_executor_admit(struct hf_executor *executor, const struct hf_task *task);

/* Admits a command of all partitions (a definition of a location) or of a residue class (MARK) whose words it takes ascending. Nothing else
 * is in the batch. */
enum hf_admission hf_executor_admit_class(struct hf_executor *executor, const struct hf_task *task, uint32_t modulus, uint32_t residue);

/* Steps what is not stepped yet, claims, lets every word go, copies and commits. slots[0..count) hold the outcome; answers are complete but
 * for waiting until `position` is durable. */
void hf_executor_run(struct hf_executor *executor);

/* Takes every word ascending, for a walk over all tables, within `spins` each; false: none is held. Nothing is in the batch. */
bool hf_executor_take_all(struct hf_executor *executor, uint32_t spins);
void hf_executor_release_all(struct hf_executor *executor);

#endif
