/* Between audit_model.c (records, definitions, stock, the whole) and audit_orders.c (orders, limits, sweeps). */
#ifndef HF_CLIENT_AUDIT_MODEL_P_H
#define HF_CLIENT_AUDIT_MODEL_P_H

#include "client/audit_model.h"
#include "wire/record.h"
#include "wire/result.h"

struct hf_audit_sku {
    struct hf_audit_key key;
    uint32_t per_order, per_customer, window_s, safety;
    uint64_t opens_ms;
    bool defined;
    bool unsure; /* an order of unknown customer was held again under limits: what its customer may still have is not known */
};

struct hf_audit_limit {
    struct hf_audit_key key; /* SKU and customer */
    uint64_t window_ms, units;
    uint32_t window_s; /* its length: a policy may change it */
};

struct hf_audit_payment {
    struct hf_audit_key key;
    int64_t authorised, captured, refunded;
    uint64_t customer;
};

/* One record on its way through. */
struct hf_audited {
    struct hf_audit_model *model;
    const struct hf_record *record;
    const struct hf_command *command;
    uint64_t position;
    uint64_t units_moved; /* over all lines, to be compared with the touches */
    bool memory;
};

static inline struct hf_audit_cell *hf_audit_cell_at(const struct hf_audit_model *model, uint32_t number)
{
    return hf_audit_row(&model->cells, number);
}

static inline struct hf_audit_sku *hf_audit_sku_at(const struct hf_audit_model *model, uint32_t number)
{
    return hf_audit_row(&model->skus, number);
}

static inline struct hf_audit_line *hf_audit_order_lines(const struct hf_audit_model *model, const struct hf_audit_order *order)
{
    return (struct hf_audit_line *)(void *)(model->lines.units + order->lines);
}

/* Counts a violation of this record unless it holds. */
static inline void hf_audit_require(const struct hf_audited *a, bool holds, enum hf_audit_kind kind, const char *what)
{
    if (__builtin_expect(!holds, 0))
        hf_audit_model_note(a->model, kind, a->position, a->command->id, what);
}

static inline int64_t hf_audit_available(const struct hf_audit_model *model, const struct hf_audit_cell *cell)
{
    int64_t safety = cell->own_safety ? cell->safety : model->policies ? hf_audit_sku_at(model, cell->sku)->safety : 0;
    return (int64_t)cell->sellable - safety - cell->reserved - cell->allocated;
}

/* The cell, made when it is not there yet: the model follows the log whatever it says. NULL only without memory. */
struct hf_audit_cell *hf_audit_cell_of(struct hf_audited *a, const struct hf_sku *sku, uint32_t location, bool *made);
void hf_audit_add(const struct hf_audited *a, int32_t *field, int64_t delta);
/* The touch states its cell as the model has it. */
void hf_audit_touch(const struct hf_audited *a, const struct hf_audit_cell *cell, const struct hf_touch *touch);

void hf_audit_place(struct hf_audited *a);
void hf_audit_verb(struct hf_audited *a);
void hf_audit_expire(struct hf_audited *a);
void hf_audit_forget(struct hf_audited *a);
void hf_audit_mark(struct hf_audited *a);

#endif
