#include "client/audit_table.h"

#include <sys/mman.h>

#include "wire/command_check.h"
#include "wire/error.h"

enum { FIRST_SLOTS = 1 << 16 };

static const uint64_t lines_units_max = 1ull << 32;

void *hf_audit_reserve(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    /* A hint: without huge pages every random look-up also misses the page tables. */
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

void hf_audit_release(void *memory, uint64_t bytes)
{
    if (memory)
        munmap(memory, bytes);
}

static uint64_t key_hash(const struct hf_audit_key *key)
{
    uint64_t h = hf_fold_multiply(key->word[0] ^ 0x9ae16a3b2f90404full, key->word[1] ^ 0xc3a5c85c97cb3127ull);
    return hf_fold_multiply(h ^ key->word[2], 0xb492b66fbe98f273ull);
}

static uint64_t id_hash(struct hf_id id)
{
    return hf_fold_multiply(id.high ^ 0x9ae16a3b2f90404full, id.low ^ 0xc3a5c85c97cb3127ull);
}

int hf_audit_rows_create(struct hf_audit_rows *rows, uint64_t row_bytes, uint64_t rows_max)
{
    *rows = (struct hf_audit_rows){.row_bytes = row_bytes, .max = rows_max, .mask = FIRST_SLOTS - 1};
    rows->rows = hf_audit_reserve(row_bytes * rows_max);
    rows->slots = hf_audit_reserve(FIRST_SLOTS * sizeof *rows->slots);
    if (rows->rows && rows->slots)
        return 0;
    hf_audit_rows_destroy(rows);
    return HF_E_MEMORY;
}

void hf_audit_rows_destroy(struct hf_audit_rows *rows)
{
    hf_audit_release(rows->rows, rows->row_bytes * rows->max);
    hf_audit_release(rows->slots, (rows->mask + 1) * sizeof *rows->slots);
    *rows = (struct hf_audit_rows){0};
}

/* The slot that holds the key, or the empty one where it would stand. */
static uint64_t *rows_slot(const struct hf_audit_rows *rows, const struct hf_audit_key *key, uint64_t hash)
{
    for (uint64_t at = hash & rows->mask;; at = (at + 1) & rows->mask) {
        uint64_t slot = rows->slots[at];
        if (slot == 0 || (slot >> 32 == hash >> 32 && memcmp(hf_audit_row(rows, (uint32_t)slot - 1), key, sizeof *key) == 0))
            return &rows->slots[at];
    }
}

void *hf_audit_rows_find(const struct hf_audit_rows *rows, const struct hf_audit_key *key)
{
    uint64_t slot = *rows_slot(rows, key, key_hash(key));
    return slot ? hf_audit_row(rows, (uint32_t)slot - 1) : NULL;
}

static bool rows_grow(struct hf_audit_rows *rows)
{
    struct hf_audit_rows bigger = *rows;
    bigger.mask = 2 * rows->mask + 1;
    bigger.slots = hf_audit_reserve((bigger.mask + 1) * sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    for (uint64_t i = 0; i < rows->count; i++) {
        const struct hf_audit_key *key = hf_audit_row(rows, i);
        uint64_t hash = key_hash(key), at = hash & bigger.mask;
        while (bigger.slots[at])
            at = (at + 1) & bigger.mask;
        bigger.slots[at] = hash >> 32 << 32 | (i + 1);
    }
    hf_audit_release(rows->slots, (rows->mask + 1) * sizeof *rows->slots);
    *rows = bigger;
    return true;
}

void *hf_audit_rows_add(struct hf_audit_rows *rows, const struct hf_audit_key *key)
{
    uint64_t hash = key_hash(key), *slot = rows_slot(rows, key, hash);
    if (*slot)
        return hf_audit_row(rows, (uint32_t)*slot - 1);
    if (rows->count == rows->max)
        return NULL;
    if (rows->count >= rows->mask / 2) {
        if (!rows_grow(rows))
            return NULL;
        slot = rows_slot(rows, key, hash);
    }
    void *row = hf_audit_row(rows, rows->count);
    memcpy(row, key, sizeof *key);
    *slot = hash >> 32 << 32 | ++rows->count;
    return row;
}

void hf_audit_rows_prefetch(const struct hf_audit_rows *rows, const struct hf_audit_key *key, int stage)
{
    uint64_t hash = key_hash(key), *slot = &rows->slots[hash & rows->mask];
    if (stage == 0)
        __builtin_prefetch(slot);
    else if (*slot >> 32 == hash >> 32 && *slot)
        __builtin_prefetch(hf_audit_row(rows, (uint32_t)*slot - 1), 1);
}

int hf_audit_orders_create(struct hf_audit_orders *orders)
{
    *orders = (struct hf_audit_orders){.mask = FIRST_SLOTS - 1};
    orders->slots = hf_audit_reserve(FIRST_SLOTS * sizeof *orders->slots);
    return orders->slots ? 0 : HF_E_MEMORY;
}

void hf_audit_orders_destroy(struct hf_audit_orders *orders)
{
    hf_audit_release(orders->slots, (orders->mask + 1) * sizeof *orders->slots);
    *orders = (struct hf_audit_orders){0};
}

/* The order's slot, or the empty one where it would stand. */
static struct hf_audit_order *orders_slot(const struct hf_audit_orders *orders, struct hf_id id)
{
    uint64_t at = id_hash(id) & orders->mask;
    while (!hf_id_none(orders->slots[at].id) && !hf_id_equal(orders->slots[at].id, id))
        at = (at + 1) & orders->mask;
    return &orders->slots[at];
}

struct hf_audit_order *hf_audit_orders_find(const struct hf_audit_orders *orders, struct hf_id id)
{
    struct hf_audit_order *slot = orders_slot(orders, id);
    return hf_id_none(slot->id) ? NULL : slot;
}

static bool orders_grow(struct hf_audit_orders *orders)
{
    struct hf_audit_orders bigger = {.mask = 2 * orders->mask + 1, .count = orders->count};
    bigger.slots = hf_audit_reserve((bigger.mask + 1) * sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    for (uint64_t i = 0; i <= orders->mask; i++)
        if (!hf_id_none(orders->slots[i].id))
            *orders_slot(&bigger, orders->slots[i].id) = orders->slots[i];
    hf_audit_orders_destroy(orders);
    *orders = bigger;
    return true;
}

struct hf_audit_order *hf_audit_orders_add(struct hf_audit_orders *orders, struct hf_id id)
{
    if (orders->count >= orders->mask / 8 * 5 && !orders_grow(orders))
        return NULL;
    struct hf_audit_order *slot = orders_slot(orders, id);
    *slot = (struct hf_audit_order){.id = id};
    orders->count++;
    return slot;
}

/* Linear probing without tombstones (Knuth, TAOCP vol. 3, 6.4, algorithm R): whatever may stand nearer to its home moves back. */
void hf_audit_orders_remove(struct hf_audit_orders *orders, struct hf_audit_order *order)
{
    uint64_t hole = (uint64_t)(order - orders->slots);
    for (uint64_t at = hole;;) {
        at = (at + 1) & orders->mask;
        if (hf_id_none(orders->slots[at].id))
            break;
        uint64_t home = id_hash(orders->slots[at].id) & orders->mask;
        if (((at - home) & orders->mask) < ((at - hole) & orders->mask))
            continue;
        orders->slots[hole] = orders->slots[at];
        hole = at;
    }
    orders->slots[hole] = (struct hf_audit_order){0};
    orders->count--;
}

void hf_audit_orders_prefetch(const struct hf_audit_orders *orders, struct hf_id id)
{
    __builtin_prefetch(&orders->slots[id_hash(id) & orders->mask], 1);
}

int hf_audit_lines_create(struct hf_audit_lines *lines)
{
    /* Unit 0 stays unused, so that 0 can mean none. */
    *lines = (struct hf_audit_lines){.used = 1};
    lines->units = hf_audit_reserve(lines_units_max * sizeof *lines->units);
    return lines->units ? 0 : HF_E_MEMORY;
}

void hf_audit_lines_destroy(struct hf_audit_lines *lines)
{
    hf_audit_release(lines->units, lines_units_max * sizeof *lines->units);
    *lines = (struct hf_audit_lines){0};
}

uint32_t hf_audit_lines_take(struct hf_audit_lines *lines, uint32_t units)
{
    uint64_t at = lines->free[units];
    if (at) {
        lines->free[units] = lines->units[at];
        return (uint32_t)at;
    }
    if (lines->used + units > lines_units_max)
        return 0;
    at = lines->used;
    lines->used += units;
    return (uint32_t)at;
}

void hf_audit_lines_give(struct hf_audit_lines *lines, uint32_t at, uint32_t units)
{
    lines->units[at] = lines->free[units];
    lines->free[units] = at;
}
