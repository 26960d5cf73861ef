/* The pure step: what a command does to the partitions it touches.
 *
 * No I/O, no clock, no allocation after hf_engine_create(), no thread, no atomics. The caller holds the word of every partition a call
 * touches; two threads may be inside at once when their partitions differ. A rejected command leaves every partition bit-identical. Nothing
 * depends on table walk order, hash keys or how many threads step.
 *
 * Memory: every table is reserved at create and touched on use; per partition, so that a partition's memory stays in one core's cache. How
 * much may be used in all is decided by counts (hf_quota), never by probe length. */
#ifndef HF_ENGINE_ENGINE_H
#define HF_ENGINE_ENGINE_H

#include "wire/answer.h"
#include "wire/command.h"
#include "wire/error.h"
#include "wire/record.h"
#include "wire/result.h"

struct hf_engine;

struct hf_engine_options {
    uint32_t partitions;                                                              /* power of two, 1 to HF_PARTITIONS_MAX */
    uint64_t skus_max, cells_max, orders_max, lines_max, command_ids_max, limits_max; /* of the node */
    uint64_t request_keys_max; /* of the node; 0: none, and every write with a key is FULL */
    uint64_t retention_ns;     /* how long a finished order or a command id is remembered: only used to time when to look at it again */
    /* Touch memory now, with huge pages where the system has them: an even share of the tables that partitions use alike; of orders and
     * lines half a share, and as much as all rows take in spare; of those that are seldom used nothing. */
    bool prefault;
    uint64_t key[2]; /* random per start: keys the table hashes */
};

/* Reserves everything. 0, HF_E_USAGE (a size of 0 or beyond 2^31 rows) or HF_E_MEMORY. */
int hf_engine_create(const struct hf_engine_options *options, struct hf_engine **out);
void hf_engine_destroy(struct hf_engine *engine);

uint32_t hf_engine_partitions(const struct hf_engine *engine);

/* One line of the itemised memory sum. */
struct hf_engine_size {
    const char *table; /* "cells", ... */
    uint64_t rows_max;
    uint32_t row_bytes; /* slot and its share of the index */
    uint64_t bytes_max; /* when full */
    uint64_t rows_used; /* now (0 from options alone) */
};
/* Fills rows[] for options (engine NULL) or a live engine (approximate while shards run); returns how many (at most `max`). */
unsigned hf_engine_sizes(const struct hf_engine *engine, const struct hf_engine_options *options, struct hf_engine_size *rows,
                         unsigned max);

/* Memory that was touched at start and belongs to no partition yet. */
struct hf_spare {
    uint8_t *at;
    uint64_t bytes;
};

/* What one stepping thread may still take from each table, by enum hf_table. Steps count down and freed rows count up; the shell moves
 * amounts between a quota and the node's totals. */
struct hf_quota {
    int64_t left[HF_TABLE_COUNT];
    struct hf_spare spare;
};

/* All of it, once (none without prefaulting), and one of `parts` equal parts, each for the quota of one stepping thread. What replaying
 * leaves in its quota may be dealt out again. */
struct hf_spare hf_engine_take_spare(struct hf_engine *engine);
struct hf_spare hf_spare_part(struct hf_spare spare, unsigned part, unsigned parts);

/* What hashing a command gives, kept with it so that it is done once. `plain`: a place of one line whose id is routed right; only then the
 * rest means something. All zero: nothing is known, everything is hashed again. */
struct hf_hint {
    uint32_t id_hash, cell_hash;
    uint32_t partition;
    uint32_t cell_slot; /* of stage 1 of the prefetch: where the cell seems to be, 0: nowhere */
    bool plain;
};

/* One step's in and out. */
struct hf_step {
    /* in */
    const struct hf_command *command; /* passed hf_command_check(), or made by hf_engine_sweep() / the shell; 8-byte aligned */
    uint64_t now_ns;                  /* engine time; the step uses the latest of it and the last times of the partitions it touches */
    uint64_t latest_ns;               /* later of engine time and wall clock: for ID_IN_FUTURE only */
    bool shed; /* new orders are to be refused: with the code in shed_result (BUSY, NO_SPACE, DRAINING), repeats are still answered */
    uint16_t shed_result;
    struct hf_record *record; /* room for HF_RECORD_BYTES_MAX - HF_COMMAND_BYTES_MAX bytes, 8-byte aligned: header, touches, intents */
    struct hf_answer *answer; /* room for hf_answer_bytes_max(command) */
    struct hf_quota *quota;
    const struct hf_hint *hint; /* of hf_engine_hint(), or NULL */
    /* out */
    uint32_t outcome_bytes; /* 0: nothing to log. Else the bytes written at record; record->length = outcome_bytes + command->length */
    bool reads_state;       /* the answer asserts existing state: it waits for the partitions' last positions */
};

/* The partition in which the command is ordered and its id lives: place: of the id's route; other order verbs and GET_ORDER: of the order's
 * route; stock, SKU, policy, cell and SKU queries: of the SKU; sweeps: body.sweep.partition. DEFINE_LOCATION, LIST_LOCATIONS, MARK, admin:
 * 0. */
uint32_t hf_engine_home(const struct hf_engine *engine, const struct hf_command *command);

/* Every partition the step will touch, ascending, without repeats, home and that of a request key included. Known from the command alone
 * for all but order verbs, EXPIRE and PURGE_KEYS, for which the home's word must be held (hf_engine_reach_known() says false) because the
 * order's lines are looked at. Returns the count (at most 2 x HF_LINES_MAX + 1; partitions[] has room for that), or 0 when all partitions
 * are needed (DEFINE_LOCATION). MARK is never asked about: the shell holds the words of its residue class. */
enum { HF_REACH_MAX = 2 * HF_LINES_MAX + 1 };
bool hf_engine_reach_known(const struct hf_command *command);
unsigned hf_engine_reach(const struct hf_engine *engine, const struct hf_command *command, uint32_t *partitions);

/* Hashes a command once for all that follows: reach, prefetch and step. Needs no word; stays true as long as the engine lives. Returns
 * hf_engine_home(). */
uint32_t hf_engine_hint(const struct hf_engine *engine, const struct hf_command *command, struct hf_hint *hint);

/* Brings to cache what a step will touch. stage 0: only addresses computed from hashes (no word needed); stage 1: what those lead to (words
 * held), and notes in the hint what it found. Both are hints: a no-op is correct. What is asked for much earlier than the
 * distances below say is out of the first-level cache again before its turn (docs/performance.md). */
enum {
    HF_PREFETCH_LEAD = 16, /* steps between stage 0 and stage 1 of a command */
    HF_PREFETCH_BURST = 4, /* steps between stage 1 and the step, and commands asked for in a row so that the page walks overlap */
};
void hf_engine_prefetch(const struct hf_engine *engine, const struct hf_command *command, struct hf_hint *hint, int stage);

/* Executes. All partitions of hf_engine_reach() are held. Fills answer always (position left 0: the shell's), outcome when something
 * changed. */
void hf_engine_step(struct hf_engine *engine, struct hf_step *step);

/* Due work of one partition, for its owner. hf_engine_due() needs no word beyond being the only thread that steps commands with this home;
 * it gives the engine time at which something may be due (UINT64_MAX: nothing), cheap enough to ask every loop. */
uint64_t hf_engine_due(const struct hf_engine *engine, uint32_t partition);

/* Under the partition's word: makes the next sweep command that is due at now_ns into *command (room for HF_COMMAND_BYTES_MAX): EXPIRE with
 * at most `ids_max` orders in (due, id) order; else FORGET; else PURGE_LIMITS; else PURGE_KEYS; returns false when nothing is due. Nothing
 * changes until it is stepped. */
bool hf_engine_sweep(struct hf_engine *engine, uint32_t partition, uint64_t now_ns, uint32_t ids_max, struct hf_command *command);

/* A logged record on its way through replay; it and its command stay in the caller's memory, 8-byte aligned. */
struct hf_replay_item {
    const struct hf_record *record;
    const struct hf_command *command;
    struct hf_hint hint; /* for hf_engine_prefetch() */
};

/* Looks whether `bytes` bytes are one record of the documented form, and hashes its command for all that follows. 0 and *item, or
 * HF_E_DAMAGED. */
int hf_engine_replay_take(const struct hf_engine *engine, const struct hf_record *record, uint32_t bytes, struct hf_replay_item *item);
/* Recomputes it with the record's time and compares the outcome's bytes. 0, HF_E_DIFFERS, or HF_E_TOO_SMALL (*table gets enum hf_table). */
int hf_engine_replay_item(struct hf_engine *engine, const struct hf_replay_item *item, struct hf_quota *quota, unsigned *table);
/* Both, for a record by itself. */
int hf_engine_replay(struct hf_engine *engine, const struct hf_record *record, uint32_t bytes, struct hf_quota *quota, unsigned *table);

/* Order-free sum over the canonical bytes of every cell, order, limit counter, command id, request key, mark and definition; layout, hash
 * keys, sizes and thread count do not enter. All words held. */
uint64_t hf_engine_digest(const struct hf_engine *engine);

/* Recomputes I1, I3, I5, I6, I7 from the tables (all words held). */
void hf_engine_audit(const struct hf_engine *engine, struct hf_audit_item *out);

/* Latest time_ns over all partitions, and latest mark in ms (after replay, for the clock). */
uint64_t hf_engine_last_time_ns(const struct hf_engine *engine);
uint64_t hf_engine_mark_ms(const struct hf_engine *engine, uint32_t partition);

/* Rows in use, by enum hf_table (all words held or nobody stepping). */
uint64_t hf_engine_rows(const struct hf_engine *engine, unsigned table);

#endif
