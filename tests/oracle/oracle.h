/* What Holdfast must do, said a second time: a deliberately simple model that knows the wire formats and nothing of engine/.
 *
 * It is fed the records of the log in log order and the answers that clients got, and says of each whether the domain's text allows it.
 * Where the text leaves freedom a set of answers is allowed (README.md lists every such place). One thread owns an oracle; all memory is
 * its own, from malloc, and grows with the run: this is for tests. Every function that returns false leaves a sentence in
 * hf_oracle_fault() that says what was expected, what was seen, and of which command at which position. */
#ifndef HF_ORACLE_H
#define HF_ORACLE_H

#include "wire/answer.h"
#include "wire/record.h"
#include "wire/result.h"

struct hf_oracle;

struct hf_oracle_options {
    uint32_t partitions;          /* of the directory; a power of two */
    uint64_t retention_ms;        /* marks stand at least that far behind their record's time; 0: not checked */
    uint64_t expire_late_ns_max;  /* the latest that a hold may be given back after its time; 0: not checked */
    uint64_t allowed_from_client; /* bit r: result r is allowed to any command at any time, as BUSY, NO_SPACE and DRAINING are */
    /* FULL naming this table is allowed once the model counts so many of its rows; 0: at any time; UINT64_MAX: never. */
    uint64_t full_from[HF_TABLE_COUNT];
    bool wall_clock_differs; /* the wall clock may be ahead of engine time, so ids over an hour ahead of engine time may be taken */
    bool history; /* keep past states, so that hf_oracle_answer() can look back and hf_oracle_restart() can cut; else only the newest */
};

/* An oracle of an empty directory, or NULL without memory. The caller ends it with hf_oracle_destroy() (NULL is fine). */
struct hf_oracle *hf_oracle_create(const struct hf_oracle_options *options);
void hf_oracle_destroy(struct hf_oracle *oracle);

/* The sentence of the last mismatch; empty before the first. Valid until the next call. */
const char *hf_oracle_fault(const struct hf_oracle *oracle);

/* What a well-formed command may be answered, were it the next step. */
struct hf_oracle_allowed {
    uint64_t results; /* bit r (1 << r): result r is allowed */
    bool repeated;    /* the id is known: an answer of this id's first result carries HF_ANSWER_REPEATED */
};

/* What the command, which has passed hf_command_check(), may be answered in the newest state, stepped at time_ns. BUSY and its like are in
 * the set where the options allow them. Changes nothing. Never fails. */
void hf_oracle_predict(struct hf_oracle *oracle, const struct hf_command *command, uint64_t time_ns, struct hf_oracle_allowed *allowed);

/* Takes the next record of the log, `available` bytes at an 8-byte aligned address of which it is the first; end_position: where it ends,
 * above that of the record before. Judges the outcome in full (result, states, due, versions, every touch, every intent; sweeps: that
 * each id was due, terminal or old enough), applies it, and checks I1 to I7 on what it touched. False: a mismatch; the oracle is of no
 * further use but for hf_oracle_fault(). The bytes are not kept. */
bool hf_oracle_record(struct hf_oracle *oracle, const void *record, size_t available, uint64_t end_position);

/* Between what states and when a command can have been stepped. */
struct hf_oracle_span {
    uint64_t from_position;  /* all records that end at or below it had happened before: the end of the log when the command was sent */
    uint64_t to_position;    /* no record that ends beyond it had: the end of the log when the answer arrived */
    uint64_t from_ns, to_ns; /* bounds of the engine time at the step */
    /* No other sending of this id was under way meanwhile: whoever was refused then has no effect in the span. False: not known. */
    bool only_sending;
};

/* Whether `answer`, with its items, may be the answer to `command` (any opcode but those of administration; one that fails
 * hf_command_check() is judged too), stepped anywhere in the span. All records up to span->to_position have been fed. An answer that rests
 * on a recorded outcome is compared with the record of its id; rejects and queries must be right for one state in the span. An accepted
 * one counts as acknowledged from here on (hf_oracle_restart()). */
bool hf_oracle_answer(struct hf_oracle *oracle, const struct hf_command *command, const struct hf_answer *answer,
                      const struct hf_oracle_span *span);

/* The engine was started again and its log now ends at `position`: all later records never were, and are undone. False if one of them had
 * been acknowledged. Needs options.history where records are to be undone. */
bool hf_oracle_restart(struct hf_oracle *oracle, uint64_t position);

/* No answer will be judged by a state before `position`, and no restart goes back before it: older states are dropped. */
void hf_oracle_keep_from(struct hf_oracle *oracle, uint64_t position);

/* I1 to I7 over everything, from first principles: reserved and allocated as sums over live orders, on_hand over movements, units per
 * customer over grants. Reads the whole newest state: for the end of a run or now and then. */
bool hf_oracle_invariants(struct hf_oracle *oracle);

/* All of the newest state, for a comparison with the engine's own queries: ask the engine with GET_ORDER, GET_CELL, GET_SKU or
 * LIST_LOCATIONS and hand the answer to hf_oracle_answer() with both positions at hf_oracle_position(). A visitor that returns false ends
 * the walk, which then returns false. A visitor must not feed records. Gone orders (forgotten) are walked by hf_oracle_each_gone(): the
 * engine must not know them. */
bool hf_oracle_each_order(struct hf_oracle *oracle, bool (*visit)(void *context, struct hf_id order), void *context);
bool hf_oracle_each_gone(struct hf_oracle *oracle, bool (*visit)(void *context, struct hf_id order), void *context);
bool hf_oracle_each_cell(struct hf_oracle *oracle, bool (*visit)(void *context, struct hf_sku sku, uint32_t location), void *context);
bool hf_oracle_each_sku(struct hf_oracle *oracle, bool (*visit)(void *context, struct hf_sku sku), void *context);

/* End of the newest record fed, and the largest engine time among the records. */
uint64_t hf_oracle_position(const struct hf_oracle *oracle);
uint64_t hf_oracle_time_ns(const struct hf_oracle *oracle);
/* Of partition p: the mark, in ms since 1970: ids not newer are refused as ID_TOO_OLD unless still known. */
uint64_t hf_oracle_mark_ms(const struct hf_oracle *oracle, uint32_t partition);

/* When the earliest hold of partition p ends, in engine time; UINT64_MAX: it has none. Reads all orders. */
uint64_t hf_oracle_next_due_ns(const struct hf_oracle *oracle, uint32_t partition);

/* Whether all that the marks allow is forgotten: terminal orders, command ids, and the request keys of both. For a time after the engine
 * could sweep at its leisure.
 */
bool hf_oracle_all_forgotten(struct hf_oracle *oracle);

struct hf_oracle_counts {
    uint64_t records, answers, skus, cells, orders, lines, ids, keys, gone;
    uint64_t by_opcode[8][16];           /* records by family and number */
    uint64_t by_result[HF_RESULT_COUNT]; /* answers */
    uint64_t keyed;                      /* of them, repeats by a request key */
};
void hf_oracle_counts(const struct hf_oracle *oracle, struct hf_oracle_counts *out);

#endif
