/* The auditor's own model: recomputes from the log's records, from first principles, what must hold (I1 to I7 and what follows from them).
 *
 * It knows commands and outcomes and nothing of the engine. One thread. It never stops at a violation: it counts it, keeps a sentence of
 * the first few, and goes on with what the record says was done. Memory: 32 bytes an order and 8 a line while remembered, 64 a cell; it
 * grows as needed. */
#ifndef HF_CLIENT_AUDIT_MODEL_H
#define HF_CLIENT_AUDIT_MODEL_H

#include "client/audit_table.h"
#include "wire/record.h"

enum hf_audit_kind {
    HF_AUDIT_PROMISE = 1,   /* I1: granted beyond what was available to promise */
    HF_AUDIT_MOVEMENT = 2,  /* I2: quantities are not the sum of the movements */
    HF_AUDIT_HOLDS = 3,     /* I3: reserved and allocated are not the sum over live orders */
    HF_AUDIT_TRANSFER = 4,  /* I4: no transfers exist yet */
    HF_AUDIT_ENDS = 5,      /* I5: a hold ends exactly once, by a transition that exists */
    HF_AUDIT_LIMITS = 6,    /* I6 */
    HF_AUDIT_MONEY = 7,     /* I7 */
    HF_AUDIT_ORDER_OF_TIME, /* term, position or time of a home went back */
    HF_AUDIT_ID,            /* an id granted twice, or not newer than the mark */
    HF_AUDIT_LINES,         /* not all lines of an order were granted or moved */
    HF_AUDIT_FORM,          /* a record that nothing could have written */
    HF_AUDIT_KINDS,
};

enum { HF_AUDIT_NOTES_MAX = 20 };

struct hf_audit_note {
    uint64_t position; /* end of the record; 0: of the whole log */
    enum hf_audit_kind kind;
    struct hf_id id;  /* of the command */
    const char *what; /* static */
};

struct hf_audit_report {
    uint64_t records, position, term;
    uint64_t violations, by_kind[HF_AUDIT_KINDS];
    uint64_t cells, orders, live_orders, oversold_cells;
    unsigned note_count;
    struct hf_audit_note notes[HF_AUDIT_NOTES_MAX];
};

struct hf_audit_cell {
    struct hf_audit_key key; /* SKU and location */
    uint32_t sku;            /* row of skus */
    int32_t sellable, damaged, quality_control, reserved, allocated;
    uint32_t safety; /* its own, if own_safety */
    uint32_t own_safety;
    uint64_t pad;
};

struct hf_audit_model {
    uint32_t partitions;
    bool policies; /* some SKU has limits or a safety stock */
    struct hf_audit_rows cells, skus, locations, limits, payments;
    struct hf_audit_orders orders;
    struct hf_audit_lines lines;
    uint64_t *times, *marks; /* by partition: ns of its last record, ms of its mark */
    struct hf_audit_report report;
};

/* partitions: of the log that will be fed. 0 or HF_E_MEMORY. */
int hf_audit_model_create(uint32_t partitions, struct hf_audit_model *model);
void hf_audit_model_destroy(struct hf_audit_model *model);

/* The next record in log order, of at most `bytes`; end_position: of the first byte behind it. 0 or HF_E_MEMORY. */
int hf_audit_model_apply(struct hf_audit_model *model, const struct hf_record *record, size_t bytes, uint64_t end_position, uint64_t term);

/* Hints for a record that will be applied soon. stage 0: addresses from hashes; stage 1: what those lead to. */
void hf_audit_model_prefetch(const struct hf_audit_model *model, const struct hf_record *record, int stage);

/* What holds for the whole: sums over live orders against cells. Fills report.cells, orders, live_orders, oversold_cells. 0 or HF_E_MEMORY.
 */
int hf_audit_model_close(struct hf_audit_model *model);

/* One violation; `id` and `what` (static storage) go into the first notes. */
void hf_audit_model_note(struct hf_audit_model *model, enum hf_audit_kind kind, uint64_t position, struct hf_id id, const char *what);

/* "I1 promise", ... Static storage. */
const char *hf_audit_kind_name(enum hf_audit_kind kind);

#endif
