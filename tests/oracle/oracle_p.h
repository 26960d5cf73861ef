/* The model inside the oracle: a store of things by key, each with its states by log position; a view is a moment in it. */
#ifndef HF_ORACLE_P_H
#define HF_ORACLE_P_H

#include "tests/oracle/oracle.h"

#include "wire/command_check.h"

enum { HF_OPEN_INTENTS_MAX = 8 };

#define HF_NEWEST UINT64_MAX

/* --- store.c: things by key, with their past ------------------------------------------------------------------------------------- */

/* Up to 40 bytes of key, the rest zero. */
struct hf_key {
    uint64_t word[5];
};

struct hf_state {
    struct hf_state *older;
    uint64_t position; /* of the record that made it so */
    bool gone;
    uint64_t value[]; /* as its store's value_bytes say */
};

struct hf_entry {
    struct hf_key key;
    struct hf_state *newest;
    struct hf_entry *chain; /* of its bucket */
    struct hf_entry *next;  /* in order of first appearance */
};

struct hf_chunk;

struct hf_store {
    struct hf_oracle *oracle;
    size_t value_bytes;
    struct hf_entry **bucket;
    uint64_t buckets, entries, live;
    struct hf_entry *first, *last;
    struct hf_state *spare;
};

void *hf_oracle_take(struct hf_oracle *oracle, size_t bytes); /* zeroed, until the oracle ends; never NULL */
void hf_oracle_give_all(struct hf_oracle *oracle);
void hf_model_store_open(struct hf_store *store, struct hf_oracle *oracle, size_t value_bytes);
void hf_model_store_close(struct hf_store *store);
struct hf_entry *hf_model_store_entry(const struct hf_store *store, const struct hf_key *key);
/* The value as of `position`, or NULL. */
const void *hf_model_store_at(const struct hf_store *store, const struct hf_key *key, uint64_t position);
/* The value to be changed by the record that is being applied; zeroed when new. */
void *hf_model_store_write(struct hf_store *store, const struct hf_key *key);
void hf_model_store_remove(struct hf_store *store, const struct hf_key *key);
void hf_model_store_cut(struct hf_store *store, uint64_t position);

/* --- what there is --------------------------------------------------------------------------------------------------------------- */

struct hf_name {
    uint16_t bytes;
    char text[40];
    bool loose; /* longer than an answer's field: how it is cut is not said */
};

struct hf_m_sku {
    struct hf_name name;
    uint32_t per_order, per_customer, window_s, safety_stock;
    uint64_t opens_ms, closes_ms;
    uint32_t cells;       /* that have had stock */
    uint32_t cells_loose; /* that have only had a policy */
};

struct hf_m_location {
    struct hf_name name;
};

struct hf_m_cell {
    int64_t bucket[3]; /* by enum hf_bucket */
    int64_t moved[3];  /* sum of movements, kept apart for I2 */
    int64_t reserved, allocated;
    uint64_t version;
    uint64_t changed_position; /* of the step that changed it last */
    uint64_t source, sequence; /* that it follows, if `followed` */
    bool followed;
    uint32_t safety_stock; /* its own */
    bool own_safety, stocked;
    bool flag_loose; /* the policy changed since the cell was last touched: the flag may be as it was */
};

/* Units of one customer and SKU in the window [start, start + length). */
struct hf_m_window {
    uint64_t start_ms;
    uint32_t length_s;
    int64_t units;         /* that certainly count */
    int64_t loose;         /* that may count: granted without a limit, or left over from another policy's time */
    uint64_t certain_from; /* units granted before this position are among the loose ones */
};

enum { HF_WINDOWS_MAX = 12 };

struct hf_m_limit {
    uint32_t count;
    bool dropped; /* a window that could come back had no room */
    struct hf_m_window window[HF_WINDOWS_MAX];
};

struct hf_m_line {
    struct hf_sku sku;
    uint32_t location, quantity;
    uint64_t price;
    uint64_t start_ms; /* of the window that its units count in */
    uint32_t length_s;
    bool counted;
    uint64_t granted; /* position of the record that did */
};

struct hf_m_order {
    struct hf_id id;
    uint64_t customer;
    uint32_t channel, line_count;
    uint8_t mode, state, payment, fulfilment;
    uint64_t version, due_ns, placed_ns, changed_ns;
    int64_t authorised, captured, refunded;
    uint8_t currency[3];
    bool money_loose; /* what these sums are after a stock lost or a second settle is not said */
    uint32_t intents;
    uint32_t open_count;
    uint32_t extends;
    uint32_t command_count;
    uint64_t command_ms[HF_HISTORY_MAX]; /* id times of its commands, those not newer than the mark dropped at need */
    struct hf_intent open[HF_OPEN_INTENTS_MAX];
    const struct hf_m_line *lines; /* never changed in place */
};

/* A command that had its effect. */
struct hf_m_id {
    const struct hf_command *command;
    uint64_t position, time_ns, due_ns, version, value;
    struct hf_id order; /* whose command it was; none: it stands for itself */
    uint16_t result;
    uint8_t state, payment, fulfilment;
    bool maybe_gone; /* forgotten with the order of the same id, or not */
    bool place;
};

/* Of a bare id: where among HF_IDS the partition's own table has it, if it does. */
struct hf_m_seen {
    struct hf_key table;
    bool in_table;
};

struct hf_m_partition {
    uint64_t mark_ms, time_ns;
};

struct hf_moment {
    uint64_t position, time_ns;
};

/* Of a request key: the write that had its effect under it. */
struct hf_m_key {
    const struct hf_command *command;
};

enum hf_thing { HF_SKUS, HF_LOCATIONS, HF_CELLS, HF_LIMITS, HF_ORDERS, HF_IDS, HF_SEEN, HF_PARTITIONS, HF_KEYS, HF_THINGS };

struct hf_oracle {
    struct hf_oracle_options options;
    struct hf_store store[HF_THINGS];
    struct hf_chunk *chunks;
    uint64_t position, applying, time_ns, acknowledged, keep_from;
    struct hf_moment *moments; /* every record's end, while history is kept */
    size_t moment_count, moment_room;
    struct hf_oracle_counts counts;
    const struct hf_command *subject; /* of the sentence */
    char fault[1024];
};

/* A moment: the state after the record that ended at `position`, stepped at time_ns. */
struct hf_view {
    const struct hf_oracle *oracle;
    uint64_t position, time_ns;
};

static inline uint64_t hf_bit(unsigned result)
{
    return 1ull << result;
}

/* --- model.c: reading and naming ------------------------------------------------------------------------------------------------- */

struct hf_key hf_model_key_sku(const struct hf_sku *sku);
struct hf_key hf_model_key_number(uint64_t number);
struct hf_key hf_model_key_cell(const struct hf_sku *sku, uint32_t location);
struct hf_key hf_model_key_limit(const struct hf_sku *sku, uint64_t customer);
struct hf_key hf_model_key_id(struct hf_id id);
struct hf_key hf_model_key_request(const struct hf_request_key *key);
/* Where a command's id is looked for: among orders, among the commands of one order, or in the table of its home. */
struct hf_key hf_model_key_scope(const struct hf_oracle *oracle, const struct hf_command *command);

const struct hf_m_sku *hf_model_view_sku(const struct hf_view *view, const struct hf_sku *sku);
const struct hf_m_location *hf_model_view_location(const struct hf_view *view, uint32_t location);
const struct hf_m_cell *hf_model_view_cell(const struct hf_view *view, const struct hf_sku *sku, uint32_t location);
const struct hf_m_order *hf_model_view_order(const struct hf_view *view, struct hf_id id);
const struct hf_m_id *hf_model_view_id(const struct hf_view *view, const struct hf_command *command);
const struct hf_m_seen *hf_model_view_seen(const struct hf_view *view, struct hf_id id);
/* What a request key stands for, or NULL; and whether it still does: as long as the id of that write is known. */
const struct hf_m_key *hf_model_view_key(const struct hf_view *view, const struct hf_request_key *key);
bool hf_model_view_key_held(const struct hf_view *view, const struct hf_m_key *key);
uint64_t hf_model_view_mark(const struct hf_view *view, uint16_t route);
uint64_t hf_model_view_time(const struct hf_view *view, uint16_t route);

int64_t hf_model_view_safety(const struct hf_view *view, const struct hf_sku *sku, const struct hf_m_cell *cell);
/* Available to promise; of a cell that is not there: minus its safety stock. */
int64_t hf_model_view_available(const struct hf_view *view, const struct hf_sku *sku, uint32_t location);

const char *hf_model_order_kept(const struct hf_m_order *order, uint64_t mark);
bool hf_model_order_terminal(const struct hf_m_order *order);
const struct hf_intent *hf_model_order_open_intent(const struct hf_m_order *order, uint32_t number);

/* Same body: same bytes but for the extension TRACE_CONTEXT. */
bool hf_model_same_body(const struct hf_command *a, const struct hf_command *b);
/* The same but for the id. */
bool hf_model_same_write(const struct hf_command *a, const struct hf_command *b);

/* Writes the sentence: "position P, OPCODE id: ..." and returns false. */
bool hf_model_fault(struct hf_oracle *oracle, uint64_t position, const char *format, ...) __attribute__((format(printf, 3, 4)));
const char *hf_model_opcode_name(uint16_t opcode);
/* "OK|SHORT" of a set of results; static storage. */
const char *hf_model_results_text(uint64_t results);

/* --- limits.c -------------------------------------------------------------------------------------------------------------------- */

/* The current window of a SKU's policy. */
void hf_model_window_now(const struct hf_m_sku *sku, uint64_t time_ns, uint64_t *start_ms, uint32_t *length_s);
const struct hf_m_window *hf_model_limit_window(const struct hf_m_limit *limit, uint64_t start_ms, uint32_t length_s);
/* A customer's units of the SKU in the window of the moment: certain ones, and those that may count besides. */
void hf_model_view_units(const struct hf_view *view, const struct hf_sku *sku, const struct hf_m_sku *policy, uint64_t customer,
                         int64_t *units, int64_t *loose);
/* Counts the line's units in the current window, which the line remembers. */
void hf_model_limit_grant(struct hf_oracle *oracle, uint64_t customer, struct hf_m_line *line, uint64_t time_ns);
void hf_model_limit_give_back(struct hf_oracle *oracle, uint64_t customer, const struct hf_m_line *line, uint64_t time_ns);
/* False if there is nothing of a past window to purge. */
bool hf_model_limit_purge(struct hf_oracle *oracle, uint64_t customer, const struct hf_sku *sku, uint64_t time_ns);

/* --- judge*.c: what is allowed --------------------------------------------------------------------------------------------------- */

void hf_model_judge(const struct hf_view *view, const struct hf_command *command, struct hf_oracle_allowed *allowed);
uint64_t hf_model_judge_place(const struct hf_view *view, const struct hf_command *command);
uint64_t hf_model_judge_verb(const struct hf_view *view, const struct hf_command *command);
uint64_t hf_model_judge_full(const struct hf_view *view, const struct hf_command *command);

/* Units asked of the line's cell by all lines. */
int64_t hf_model_place_asked(const struct hf_command *command, const struct hf_line *line);
bool hf_model_place_line_short(const struct hf_view *view, const struct hf_command *command, const struct hf_line *line);
/* Whether line number `at` has the fault that `result` names. */
bool hf_model_place_line_fault(const struct hf_view *view, const struct hf_command *command, unsigned result, uint32_t at);
/* Whether the stock is there for all lines of an expired order to be held again. */
bool hf_model_order_stock_there(const struct hf_view *view, const struct hf_m_order *order);

/* --- record*.c: one record, judged and applied ----------------------------------------------------------------------------------- */

struct hf_taking {
    struct hf_oracle *oracle;
    const struct hf_record *record;
    const struct hf_command *command;
    const struct hf_intent *intents;
    uint64_t position;
    bool place;
    struct hf_view before; /* the newest state before the record, at its time */
    struct hf_m_id *id;
};

struct hf_touch hf_model_taking_touch(const struct hf_taking *taking, uint32_t i, struct hf_sku *sku);
/* One touch against the state after the step, and what every touch must say. */
bool hf_model_taking_touch_check(struct hf_taking *taking, uint32_t i);
bool hf_model_taking_define(struct hf_taking *taking);
bool hf_model_taking_stock(struct hf_taking *taking);
bool hf_model_taking_place(struct hf_taking *taking);
bool hf_model_taking_verb(struct hf_taking *taking);
bool hf_model_taking_internal(struct hf_taking *taking);

void hf_oracle_note(struct hf_oracle *oracle, uint64_t position, uint64_t time_ns);
struct hf_m_cell *hf_model_write_cell(struct hf_oracle *oracle, const struct hf_sku *sku, uint32_t location);
struct hf_m_order *hf_model_write_order(struct hf_oracle *oracle, struct hf_id id);
/* One line's part in a step. Lines of one cell are one change when placed (`once`), each its own afterwards. */
struct hf_m_cell *hf_model_change_cell(struct hf_oracle *oracle, const struct hf_m_line *line, int64_t reserved, int64_t allocated,
                                       bool once);
/* Gives an order's holds or allocations back. */
void hf_model_release_order(struct hf_oracle *oracle, struct hf_m_order *order, uint8_t state, uint64_t time_ns);
/* --- answer*.c ------------------------------------------------------------------------------------------------------------------- */

struct hf_asking {
    struct hf_oracle *oracle;
    const struct hf_command *command;
    const struct hf_answer *answer;
    const struct hf_oracle_span *span;
};

/* Whether a query's answer is right at this moment; writes the sentence if not. */
bool hf_model_asking_query(struct hf_asking *asking, const struct hf_view *view);
bool hf_model_cell_item_check(struct hf_oracle *oracle, const struct hf_view *view, const struct hf_cell_item *item,
                              const struct hf_sku *sku, uint32_t location);

#endif
