/* What a client gets for one command: 48 bytes, then items. Answers stand in the order of their frame's commands.
 *
 * hf_answer_bytes_max() bounds an answer from its command alone, so room for it is known before anything is executed. */
#ifndef HF_WIRE_ANSWER_H
#define HF_WIRE_ANSWER_H

#include "wire/command.h"

enum hf_answer_flag {
    HF_ANSWER_REPEATED = 1, /* the id was known: this is the first result with the current state */
    HF_ANSWER_ASYNC = 2,    /* --durability=async: not known to be on disk */
    HF_ANSWER_MORE = 4,     /* a page: ask again from where it ends */
    HF_ANSWER_KEYED = 8,    /* the request key was known: the last 16 bytes, behind the items, are the id that its first command had */
};

/*  offset size
 *    0      4   length      of the answer with its items, multiple of 8
 *    4      2   opcode
 *    6      2   result      enum hf_result
 *    8      2   detail      by result: number of the line at fault, enum hf_table for FULL
 *   10      1   flags       enum hf_answer_flag
 *   11      1   order       enum hf_order_state
 *   12      1   payment     enum hf_payment_state
 *   13      1   fulfilment  enum hf_fulfilment_state
 *   14      2   item_count
 *   16      8   position    log position that makes this answer durable; 0 where it rests on nothing
 *   24      8   version     of the order, or of the cell
 *   32      8   due_ns      when the hold ends (orders); engine time of the answer (queries)
 *   40      8   value       by opcode: settle: intent number; stock commands: on_hand of the cell; follow: next position */
struct hf_answer {
    uint32_t length;
    uint16_t opcode;
    uint16_t result;
    uint16_t detail;
    uint8_t flags;
    uint8_t order, payment, fulfilment;
    uint16_t item_count;
    uint64_t position;
    uint64_t version;
    uint64_t due_ns;
    uint64_t value;
};

/* Item of a place refused with SHORT: one for each short line. */
struct hf_short_item {
    uint16_t line;
    uint16_t reserved;
    uint32_t asked; /* all lines of this cell together */
    int64_t available;
};

/* Item of stock commands, GET_CELL and GET_SKU. */
struct hf_cell_item {
    struct hf_sku sku;
    uint32_t location;
    int32_t sellable, damaged, quality_control, reserved, allocated, safety_stock, incoming;
    int64_t available; /* to promise; can be negative on an OVERSOLD cell */
    uint64_t version;
    uint32_t oversold;
    uint32_t pad;
    uint64_t pad2;
};

/* First item of GET_SKU. */
struct hf_sku_item {
    struct hf_sku sku;
    uint32_t per_order, per_customer, window_s, safety_stock;
    uint64_t opens_ms, closes_ms;
    uint32_t cells; /* how many the SKU has */
    uint32_t name_bytes;
    char name[40];
};

/* First item of GET_ORDER; line items follow. */
struct hf_order_item {
    struct hf_id id;
    uint64_t customer;
    uint32_t channel;
    uint32_t line_count;
    uint64_t placed_ns, changed_ns;
    int64_t authorised, captured, refunded;
    uint8_t currency[3];
    uint8_t mode;
    uint32_t intents; /* made so far */
};

struct hf_order_line_item {
    struct hf_sku sku;
    uint32_t location, quantity;
    uint64_t price;
    uint32_t shipped, returned;
    uint64_t pad;
};

struct hf_location_item {
    uint32_t location;
    uint32_t name_bytes;
    char name[40];
};

/* Item of STATUS: a number by name; shard 0xffffffff: of the node. */
struct hf_counter_item {
    char name[40]; /* zero-padded ASCII */
    uint32_t shard;
    uint32_t pad;
    uint64_t value;
};

/* Item of DIGEST and AUDIT (answer.position: the state's position). */
struct hf_digest_item {
    uint64_t digest;
    uint64_t held_ns; /* how long every word was held */
};

struct hf_audit_item {
    uint64_t digest, held_ns;
    uint64_t violations, oversold_cells, cells, orders;
    uint64_t by_invariant[8]; /* violations of I1 to I7 at index 1 to 7 */
};

/* FOLLOW: after the answer, records, each behind the position where it ends and the term it was written in; no item_count limit applies
 * (item_count is 0, the answer's length bounds them). A record's next begins after its length. */
struct hf_follow_head {
    uint64_t end_position;
    uint64_t term;
};

_Static_assert(sizeof(struct hf_answer) == 48 && sizeof(struct hf_short_item) == 16 && sizeof(struct hf_cell_item) == 80 &&
                   sizeof(struct hf_sku_item) == 96 && sizeof(struct hf_order_item) == 80 && sizeof(struct hf_order_line_item) == 48 &&
                   sizeof(struct hf_location_item) == 48 && sizeof(struct hf_counter_item) == 56,
               "answer layouts");

enum { HF_SKU_PAGE = 64, HF_LOCATION_PAGE = 256, HF_ADMIN_ANSWER_BYTES_MAX = 60 * 1024 };

/* The most bytes that the answer to this command can take. For a command that failed its check: the plain 48. */
static inline uint32_t hf_answer_bytes_max(const struct hf_command *command)
{
    const uint32_t plain = sizeof(struct hf_answer);
    /* Room for the id behind a repeat by key; a place has it in that of its short lines. */
    const uint32_t keyed = command->ext_bytes >= HF_REQUEST_KEY_EXTENSION_BYTES ? sizeof(struct hf_id) : 0;
    /* Fails its check, whatever it asks; counted on, the lines could bound an answer far beyond a frame. */
    if (command->line_count > HF_LINES_MAX)
        return plain;
    switch (command->opcode) {
    case HF_PLACE:
        return plain + command->line_count * (uint32_t)sizeof(struct hf_short_item);
    case HF_RECEIVE:
    case HF_ADJUST:
    case HF_SET:
        return plain + (uint32_t)sizeof(struct hf_cell_item) + keyed;
    case HF_GET_CELL:
        return plain + (uint32_t)sizeof(struct hf_cell_item);
    case HF_GET_ORDER:
        return plain + (uint32_t)sizeof(struct hf_order_item) + HF_LINES_MAX * (uint32_t)sizeof(struct hf_order_line_item);
    case HF_GET_SKU:
        return plain + (uint32_t)sizeof(struct hf_sku_item) + HF_SKU_PAGE * (uint32_t)sizeof(struct hf_cell_item);
    case HF_LIST_LOCATIONS:
        return plain + HF_LOCATION_PAGE * (uint32_t)sizeof(struct hf_location_item);
    case HF_STATUS:
    case HF_DIGEST:
    case HF_AUDIT:
    case HF_FOLLOW:
        return HF_ADMIN_ANSWER_BYTES_MAX;
    default:
        return plain + keyed;
    }
}

/* The id that a write ran under: its own, or the first one's of its key. */
static inline struct hf_id hf_answer_command_id(const struct hf_answer *answer, const struct hf_command *command)
{
    struct hf_id id = command->id;
    if (answer->flags & HF_ANSWER_KEYED)
        memcpy(&id, (const uint8_t *)answer + answer->length - sizeof id, sizeof id);
    return id;
}

#endif
