/* The audit's own memory: tables that grow by address space, so that nothing moves but the indexes.
 *
 * One thread. Independent of engine/ on purpose: an auditor that shared its tables would share its mistakes. */
#ifndef HF_CLIENT_AUDIT_TABLE_H
#define HF_CLIENT_AUDIT_TABLE_H

#include "wire/types.h"

/* Zeroed address space that takes memory when touched, or NULL. */
void *hf_audit_reserve(uint64_t bytes);
void hf_audit_release(void *memory, uint64_t bytes);

/* What a row is found by: (SKU, location), (SKU, customer), or an id in the place of the SKU. */
struct hf_audit_key {
    uint64_t word[3];
};

static inline struct hf_audit_key hf_audit_key_of(const struct hf_sku *sku, uint64_t extra)
{
    return (struct hf_audit_key){{sku->word[0], sku->word[1], extra}};
}

static inline struct hf_audit_key hf_audit_key_of_id(struct hf_id id)
{
    return (struct hf_audit_key){{id.high, id.low, 0}};
}

/* Rows that stay where they are, each beginning with its key, and an open-addressing index of their numbers. Rows are never removed. */
struct hf_audit_rows {
    uint8_t *rows;
    uint64_t row_bytes, count, max;
    uint64_t *slots; /* high half of the hash, then row number + 1; 0: empty */
    uint64_t mask;
};

/* 0 or HF_E_MEMORY. */
int hf_audit_rows_create(struct hf_audit_rows *rows, uint64_t row_bytes, uint64_t rows_max);
void hf_audit_rows_destroy(struct hf_audit_rows *rows);
void *hf_audit_rows_find(const struct hf_audit_rows *rows, const struct hf_audit_key *key);
/* The row, made zeroed when missing; NULL when there is no memory. */
void *hf_audit_rows_add(struct hf_audit_rows *rows, const struct hf_audit_key *key);
/* stage 0: the index slot; stage 1: the row it leads to. */
void hf_audit_rows_prefetch(const struct hf_audit_rows *rows, const struct hf_audit_key *key, int stage);

static inline void *hf_audit_row(const struct hf_audit_rows *rows, uint64_t number)
{
    return rows->rows + number * rows->row_bytes;
}

static inline uint64_t hf_audit_row_number(const struct hf_audit_rows *rows, const void *row)
{
    return (uint64_t)((const uint8_t *)row - rows->rows) / rows->row_bytes;
}

/* A remembered order: 32 bytes, kept in the table itself. */
struct hf_audit_order {
    struct hf_id id;
    uint64_t due_ns;
    uint32_t lines; /* where its lines stand */
    uint16_t line_count;
    uint8_t state; /* enum hf_order_state */
    uint8_t flags; /* enum hf_audit_order_flag */
};

enum hf_audit_order_flag { HF_AUDIT_SHIPPED = 1, HF_AUDIT_COUNTED = 2 /* line_count windows stand behind the lines */ };

/* Pointers into it end with the next add or remove. */
struct hf_audit_orders {
    struct hf_audit_order *slots;
    uint64_t mask, count;
};

int hf_audit_orders_create(struct hf_audit_orders *orders);
void hf_audit_orders_destroy(struct hf_audit_orders *orders);
struct hf_audit_order *hf_audit_orders_find(const struct hf_audit_orders *orders, struct hf_id id);
/* A new order of this id, which is not there yet; NULL when there is no memory. */
struct hf_audit_order *hf_audit_orders_add(struct hf_audit_orders *orders, struct hf_id id);
void hf_audit_orders_remove(struct hf_audit_orders *orders, struct hf_audit_order *order);
void hf_audit_orders_prefetch(const struct hf_audit_orders *orders, struct hf_id id);

/* Lines of orders in units of 8 bytes; freed blocks are used again for blocks of their size. */
struct hf_audit_line {
    uint32_t cell;
    uint32_t quantity;
};

enum { HF_AUDIT_UNITS_MAX = 2 * HF_LINES_MAX };

struct hf_audit_lines {
    uint64_t *units;
    uint64_t used;
    uint64_t free[HF_AUDIT_UNITS_MAX + 1]; /* first free block of each size, 0: none; a block's first unit leads to the next */
};

int hf_audit_lines_create(struct hf_audit_lines *lines);
void hf_audit_lines_destroy(struct hf_audit_lines *lines);
/* Where a block of 1 to HF_AUDIT_UNITS_MAX units stands; 0: there is no room. */
uint32_t hf_audit_lines_take(struct hf_audit_lines *lines, uint32_t units);
void hf_audit_lines_give(struct hf_audit_lines *lines, uint32_t at, uint32_t units);

#endif
