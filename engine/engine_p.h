/* The engine's tables, for its own files. A row never moves while it lives, so slot numbers are references; slot 0 is none everywhere. */
#ifndef HF_ENGINE_ENGINE_P_H
#define HF_ENGINE_ENGINE_P_H

#include "engine/engine.h"
#include "engine/index.h"
#include "engine/wheel.h"
#include "wire/command_check.h"

enum {
    HF_NAME_BYTES_MAX = 40,
    HF_LOCATIONS_MAX = 65536,
    HF_EXTENSIONS_MAX = 16,
};

#define HF_TTL_MS_MAX    2592000000u /* 30 days */
#define HF_MS_NS         1000000ull
#define HF_AGE_NS_MAX    (30ull * 86400 * 1000 * HF_MS_NS)
#define HF_FUTURE_MS_MAX (3600ull * 1000)
#define HF_WINDOW_NONE   UINT32_MAX    /* a line that is not counted for its customer */
#define HF_LOOK_AGAIN_NS 1000000000ull /* the mark moves at most once a second */

/* --- rows --- */

/* stamp: version << 8 | flags. safety is what holds for this cell: its own or the SKU's. */
struct hf_cell {
    struct hf_sku sku;
    uint32_t location;
    uint32_t sku_slot;
    int32_t sellable, damaged, quality_control, reserved, allocated, safety;
    uint64_t stamp;
    uint32_t next; /* cell of the same SKU, in order of creation */
    uint32_t side; /* source row among the lines, 0: it follows no source */
};

enum hf_cell_flag {
    HF_CELL_OVERSOLD = 1,   /* available to promise is below zero */
    HF_CELL_RULED = 2,      /* the SKU's policy has limits or a sale window: look at the SKU before granting */
    HF_CELL_OWN_SAFETY = 4, /* safety was set for this cell */
};

struct hf_sku_row {
    struct hf_sku sku;
    char name[HF_NAME_BYTES_MAX];
    uint32_t name_bytes;
    uint32_t per_order, per_customer, window_s, safety;
    uint32_t cells, cell_first, cell_last;
    uint64_t opens_ms, closes_ms;
    uint32_t window_serial; /* given to the counter that was started last */
    uint32_t reserve[5];
};

/* place: price << 16 | partition of the SKU. window: serial of the limit counter that it counts in. */
struct hf_order_line {
    struct hf_sku sku;
    uint32_t location, quantity;
    uint64_t place;
    uint32_t cell;
    uint32_t window;
};

struct hf_order {
    struct hf_id id;
    uint64_t digest;
    uint64_t customer;
    uint64_t due_ns, placed_ns, changed_ns;
    uint32_t version;
    uint16_t line_count;
    uint8_t order, payment;
    uint8_t fulfilment, extensions;
    uint16_t intents;
    uint32_t channel;
    struct hf_link timer;
    struct hf_order_line line; /* line 0 */
    uint32_t lines;            /* row of line 1 */
    uint32_t side;             /* hf_order_side, 0 until a command other than place was executed */
};

/* A row of the lines table: an order's further line, or the source that a cell follows. */
struct hf_line_row {
    struct hf_order_line line;
    uint32_t next;
    uint32_t reserve[5];
};

struct hf_source_row {
    uint64_t source, sequence;
    uint64_t reserve[6];
};

/* What an order has once a command other than its place was executed on it; counted with its order. */
struct hf_order_side {
    int64_t authorised, captured, refunded;
    int64_t open_amount;
    uint32_t open_number; /* intent without a result; 0: none */
    uint8_t open_kind;
    uint8_t currency[3];
    uint32_t history; /* newest remembered command */
    uint32_t remembered;
    uint32_t reserve[4];
};

/* A command that was executed: in a chain of its order's, or of the partition with a timer. */
struct hf_remembered {
    struct hf_id id;
    uint64_t digest;
    uint64_t value;
    uint16_t opcode, result;
    uint32_t next;
    struct hf_link timer;
    uint64_t reserve[2];
};

struct hf_limit {
    uint64_t customer;
    uint64_t units;
    uint64_t ends_ms; /* 0: never */
    uint64_t starts_ms;
    uint32_t sku_slot;
    uint32_t serial; /* of this window's start, unique within the SKU, so that a changed policy mixes nothing up */
    struct hf_link timer;
};

/* A write that had a key: under which id it ran, and the digest of its body with that id. */
struct hf_key_row {
    struct hf_request_key key;
    struct hf_id id;
    uint64_t digest;
    uint64_t look_ns; /* when to see whether the id is still known; no part of the state */
    struct hf_link timer;
    uint16_t opcode;
    uint16_t reserve[3];
};

_Static_assert(sizeof(struct hf_cell) == 64 && sizeof(struct hf_sku_row) == 128 && sizeof(struct hf_order_line) == 40, "row sizes");
_Static_assert(sizeof(struct hf_line_row) == 64 && sizeof(struct hf_source_row) == 64 && sizeof(struct hf_order_side) == 64, "row sizes");
_Static_assert(sizeof(struct hf_remembered) == 64 && sizeof(struct hf_limit) == 48 && sizeof(struct hf_order) == 128, "row sizes");
_Static_assert(sizeof(struct hf_key_row) == 64, "row sizes");

/* --- tables --- */

struct hf_pool {
    uint8_t *rows;
    uint32_t *free; /* slots given back, last in first out */
    uint32_t used, free_count;
    uint32_t row_bytes, rows_max;
    uint32_t backed; /* rows up to here have their memory, or get it by being touched */
};

struct hf_partition {
    /* The first line is all that a place is hashed with, the next two are the rest of what it needs. */
    struct hf_index order_index, cell_index;
    uint64_t last_ns;
    uint64_t mark_ms;
    struct hf_pool orders, cells;
    struct hf_timers order_timers;
    struct hf_pool skus, lines, sides, remembered, limits;
    struct hf_index sku_index, remembered_index, limit_index;
    struct hf_timers remembered_timers, limit_timers;
    struct hf_pool keys;
    struct hf_index key_index;
    struct hf_timers key_timers;
} __attribute__((aligned(128)));

struct hf_location {
    uint32_t location;
    uint32_t name_bytes;
    char name[HF_NAME_BYTES_MAX];
};

struct hf_engine {
    struct hf_partition *partitions;
    uint32_t mask; /* partitions - 1 */
    uint32_t location_count;
    uint64_t key[2];
    uint64_t retention_ns;
    struct hf_location *locations; /* in order of definition */
    uint32_t *location_order;      /* their indices, by number */
    struct hf_engine_options options;
    uint8_t *memory;
    size_t memory_bytes;
    struct hf_spare spare;
};

/* Some rows more are backed: by memory out of `spare` while it lasts, else by their first touch. */
void hf_pool_outgrown(struct hf_pool *pool, struct hf_spare *spare);

static inline uint32_t hf_pool_take(struct hf_pool *pool, struct hf_quota *quota)
{
    if (pool->free_count > 0)
        return pool->free[--pool->free_count];
    if (__builtin_expect(pool->used == pool->backed, 0))
        hf_pool_outgrown(pool, &quota->spare);
    return ++pool->used;
}

static inline void hf_pool_give(struct hf_pool *pool, uint32_t slot)
{
    pool->free[pool->free_count++] = slot;
}

static inline struct hf_order *hf_order_at(const struct hf_partition *p, uint32_t slot)
{
    return (struct hf_order *)(void *)(p->orders.rows + (size_t)slot * sizeof(struct hf_order));
}

static inline struct hf_cell *hf_cell_at(const struct hf_partition *p, uint32_t slot)
{
    return (struct hf_cell *)(void *)(p->cells.rows + (size_t)slot * sizeof(struct hf_cell));
}

static inline struct hf_sku_row *hf_sku_at(const struct hf_partition *p, uint32_t slot)
{
    return (struct hf_sku_row *)(void *)(p->skus.rows + (size_t)slot * sizeof(struct hf_sku_row));
}

static inline struct hf_line_row *hf_line_at(const struct hf_partition *p, uint32_t slot)
{
    return (struct hf_line_row *)(void *)(p->lines.rows + (size_t)slot * sizeof(struct hf_line_row));
}

static inline struct hf_source_row *hf_source_at(const struct hf_partition *p, uint32_t slot)
{
    return (struct hf_source_row *)(void *)(p->lines.rows + (size_t)slot * sizeof(struct hf_source_row));
}

static inline struct hf_remembered *hf_remembered_at(const struct hf_partition *p, uint32_t slot)
{
    return (struct hf_remembered *)(void *)(p->remembered.rows + (size_t)slot * sizeof(struct hf_remembered));
}

static inline struct hf_limit *hf_limit_at(const struct hf_partition *p, uint32_t slot)
{
    return (struct hf_limit *)(void *)(p->limits.rows + (size_t)slot * sizeof(struct hf_limit));
}

static inline struct hf_key_row *hf_key_at(const struct hf_partition *p, uint32_t slot)
{
    return (struct hf_key_row *)(void *)(p->keys.rows + (size_t)slot * sizeof(struct hf_key_row));
}

static inline struct hf_order_side *hf_side_at(const struct hf_partition *p, uint32_t slot)
{
    return (struct hf_order_side *)(void *)(p->sides.rows + (size_t)slot * sizeof(struct hf_order_side));
}

/* --- keys --- */

static inline uint32_t hf_hash_words(const struct hf_engine *engine, uint64_t a, uint64_t b)
{
    uint64_t h = hf_fold_multiply(a ^ engine->key[0], b ^ engine->key[1]);
    h = hf_fold_multiply(h ^ engine->key[1], 0x9E3779B97F4A7C15ull);
    return (uint32_t)h;
}

static inline uint32_t hf_hash_id(const struct hf_engine *engine, struct hf_id id)
{
    return hf_hash_words(engine, id.high, id.low);
}

static inline uint32_t hf_hash_cell(const struct hf_engine *engine, const struct hf_sku *sku, uint32_t location)
{
    return hf_hash_words(engine, sku->word[0] ^ (uint64_t)location << 32, sku->word[1] + location * 0xC2B2AE3D27D4EB4Full);
}

static inline uint32_t hf_partition_of_sku(const struct hf_engine *engine, const struct hf_sku *sku)
{
    return hf_route(sku) & engine->mask;
}

static inline uint32_t hf_partition_of_id(const struct hf_engine *engine, struct hf_id id)
{
    return hf_id_route(id) & engine->mask;
}

static inline uint32_t hf_order_find(const struct hf_partition *p, uint32_t hash, struct hf_id id)
{
    struct hf_index_cursor cursor;
    uint32_t slot = hf_index_first(&p->order_index, hash, &cursor);
    while (slot != 0 && !hf_id_equal(hf_order_at(p, slot)->id, id))
        slot = hf_index_next(&p->order_index, &cursor);
    return slot;
}

/* Slot 0 is nobody's: an empty row, and no SKU is empty. */
static inline bool hf_cell_is(const struct hf_cell *cell, const struct hf_sku *sku, uint32_t location)
{
    return cell->location == location && hf_sku_equal(&cell->sku, sku);
}

static inline uint32_t hf_cell_find(const struct hf_partition *p, uint32_t hash, const struct hf_sku *sku, uint32_t location)
{
    struct hf_index_cursor cursor;
    uint32_t slot = hf_index_first(&p->cell_index, hash, &cursor);
    while (slot != 0 && !hf_cell_is(hf_cell_at(p, slot), sku, location))
        slot = hf_index_next(&p->cell_index, &cursor);
    return slot;
}

uint32_t hf_sku_find(const struct hf_engine *engine, const struct hf_partition *p, const struct hf_sku *sku);
uint32_t hf_remembered_find(const struct hf_engine *engine, const struct hf_partition *p, struct hf_id id);
/* Index into engine->locations + 1, 0: unknown. */
uint32_t hf_location_find(const struct hf_engine *engine, uint32_t location);

/* --- arithmetic --- */

static inline bool hf_sku_ruled(const struct hf_sku_row *sku)
{
    return (sku->per_order | sku->per_customer | sku->opens_ms | sku->closes_ms) != 0;
}

static inline int64_t hf_cell_available(const struct hf_cell *cell)
{
    return (int64_t)cell->sellable - cell->safety - cell->reserved - cell->allocated;
}

static inline uint64_t hf_cell_version(const struct hf_cell *cell)
{
    return cell->stamp >> 8;
}

/* Sets OVERSOLD to what the quantities say; with `change` the version grows by one. */
static inline void hf_cell_stamp(struct hf_cell *cell, bool change)
{
    uint64_t oversold = hf_cell_available(cell) < 0 ? HF_CELL_OVERSOLD : 0;
    cell->stamp = ((cell->stamp & ~(uint64_t)HF_CELL_OVERSOLD) | oversold) + (change ? 256 : 0);
}

static inline bool hf_fits_i32(int64_t value)
{
    return value >= INT32_MIN && value <= INT32_MAX;
}

static inline uint64_t hf_later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline uint64_t hf_ms_to_ns(uint64_t ms)
{
    return ms > UINT64_MAX / 2 / HF_MS_NS ? UINT64_MAX / 2 : ms * HF_MS_NS;
}

/* --- one step --- */

struct hf_run {
    struct hf_engine *engine;
    struct hf_step *step;
    const struct hf_command *command;
    struct hf_answer *answer;
    struct hf_partition *home;
    uint32_t home_number;
    uint64_t now_ns;
    uint64_t digest; /* of the command, once an id was judged */
};

/* The answer without effect. Always returns false, so that a check can end with it. */
bool hf_refuse(struct hf_run *run, unsigned result, unsigned detail);
/* False and FULL when the quota has not `rows` left. */
static inline bool hf_room(struct hf_run *run, unsigned table, uint32_t rows)
{
    return rows == 0 || run->step->quota->left[table] >= (int64_t)rows || hf_refuse(run, HF_FULL, table);
}
/* What every id is judged by after the tables did not know it: age, future, route, then draining. False: refused. */
bool hf_id_judge(struct hf_run *run, uint16_t route);
/* The same for a command id that lives in the partition's table (definitions and stock), that table and the orders' first. False: answered.
 */
bool hf_command_id_judge(struct hf_run *run, uint16_t route);
/* Keeps this command's id and answer in the partition; room was checked. */
void hf_command_remember(struct hf_run *run, unsigned result, uint64_t value);
void hf_remembered_forget(struct hf_engine *engine, struct hf_partition *p, uint32_t slot);

/* The record's header, after the touches were written; brings the answer into line with it. */
struct hf_outcome {
    uint16_t result;
    uint8_t order, payment, fulfilment;
    uint16_t touches;
    const struct hf_intent *intent; /* one or none */
    uint64_t due_ns, state_version;
};
void hf_outcome_write(struct hf_run *run, const struct hf_outcome *outcome);

static inline struct hf_named_touch *hf_touches(const struct hf_run *run)
{
    return (struct hf_named_touch *)(void *)(run->step->record + 1);
}

static inline void hf_touch_fill(struct hf_touch *touch, const struct hf_cell *cell, uint32_t quantity, unsigned index, unsigned flags)
{
    *touch = (struct hf_touch){.location = cell->location,
                               .quantity = quantity,
                               .cell_version = hf_cell_version(cell),
                               .sellable = cell->sellable,
                               .reserved = cell->reserved,
                               .allocated = cell->allocated,
                               .index = (uint16_t)index,
                               .flags = (uint16_t)(flags | (cell->stamp & HF_CELL_OVERSOLD ? HF_TOUCH_OVERSOLD : 0))};
}

/* An answer's states, version and due time from the order. */
void hf_answer_order(struct hf_answer *answer, const struct hf_order *order);
void hf_cell_item_fill(struct hf_cell_item *item, const struct hf_cell *cell);

/* --- an order's lines --- */

struct hf_order_walk {
    const struct hf_partition *home;
    struct hf_order *order;
    uint32_t next;
    uint16_t index; /* of the line given last */
};
/* Line 0, then hf_order_line_next() until NULL. */
struct hf_order_line *hf_order_line_first(struct hf_order_walk *walk, const struct hf_partition *home, struct hf_order *order);
struct hf_order_line *hf_order_line_next(struct hf_order_walk *walk);

static inline struct hf_partition *hf_line_partition(const struct hf_engine *engine, const struct hf_order_line *line)
{
    return &engine->partitions[line->place & 0xffff];
}

/* Terminal, without an open intent, and nothing of it newer than the mark. */
bool hf_order_forgettable(const struct hf_partition *home, const struct hf_order *order);
bool hf_order_terminal(const struct hf_partition *home, const struct hf_order *order);
void hf_order_forget(struct hf_engine *engine, struct hf_partition *home, uint32_t slot, struct hf_quota *quota);
/* Puts the order's timer where its state wants it: end of the hold, time to forget, or none. */
void hf_order_arm(struct hf_engine *engine, struct hf_partition *home, uint32_t slot, uint64_t now_ns);
uint64_t hf_order_look_ns(const struct hf_engine *engine, const struct hf_order *order);
/* How the units of an order's lines move. */
enum hf_move { HF_MOVE_NONE, HF_MOVE_RELEASE, HF_MOVE_ALLOCATE, HF_MOVE_REHOLD, HF_MOVE_UNALLOCATE, HF_MOVE_SHIP };
void hf_order_move(struct hf_run *run, struct hf_order *order, enum hf_move move);
/* Writes a touch for every line, after the whole step; `index` for all of them, or UINT_MAX for the line's own number. Returns how many. */
unsigned hf_order_touch(struct hf_run *run, struct hf_order *order, struct hf_named_touch *touch, unsigned index);
/* The latest of run->now_ns and the times of the lines' partitions. */
uint64_t hf_order_time(const struct hf_run *run, struct hf_order *order);

/* --- limits --- */

struct hf_window {
    uint64_t starts_ms, ends_ms; /* both 0: for ever */
};
struct hf_window hf_limit_window(const struct hf_sku_row *sku, uint64_t now_ns);
uint32_t hf_limit_find(const struct hf_engine *engine, const struct hf_partition *p, uint64_t customer, uint32_t sku_slot);
/* Units that count for the customer in the window. */
uint64_t hf_limit_units(const struct hf_partition *p, uint32_t slot, struct hf_window window);
/* Counts units; makes the counter (room was checked) or starts it anew for a new window. Returns its serial. */
uint32_t hf_limit_count(struct hf_engine *engine, struct hf_partition *p, uint64_t customer, uint32_t sku_slot, uint32_t units,
                        struct hf_quota *quota, uint64_t now_ns);
void hf_limit_give_back(struct hf_engine *engine, struct hf_partition *p, uint64_t customer, const struct hf_order_line *line,
                        struct hf_quota *quota);
void hf_limit_drop(struct hf_engine *engine, struct hf_partition *p, uint32_t slot, struct hf_quota *quota);

/* --- what hf_engine_step() chooses from --- */

void hf_step_define_sku(struct hf_run *run);
void hf_step_define_location(struct hf_run *run);
void hf_step_define_policy(struct hf_run *run);
void hf_step_stock(struct hf_run *run);
void hf_step_place(struct hf_run *run);
/* A place of one line: does it if it is granted without rules or repeats; else false, nothing was touched and hf_step_place() is to judge.
 */
bool hf_place_plain(struct hf_engine *engine, struct hf_step *step);
void hf_step_verb(struct hf_run *run);
void hf_step_query(struct hf_run *run);
void hf_step_expire(struct hf_run *run);
void hf_step_mark(struct hf_run *run);
void hf_step_forget(struct hf_run *run);
void hf_step_purge_limits(struct hf_run *run);
void hf_step_purge_keys(struct hf_run *run);
/* A write with a key: `verb` is its own function. */
void hf_step_keyed(struct hf_run *run, const struct hf_request_key *key, void (*verb)(struct hf_run *run));
/* Where the id lives that key i of a purge names. */
uint32_t hf_key_home(const struct hf_engine *engine, const struct hf_command *command, uint32_t i);

/* The cell, made when it does not exist; sku_slot and the location are known, room was checked. */
struct hf_cell *hf_cell_make(struct hf_engine *engine, struct hf_partition *p, const struct hf_sku *sku, uint32_t sku_slot,
                             uint32_t location, struct hf_quota *quota);

#endif
