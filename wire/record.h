/* What the log keeps of one step: outcome and command, in that order, so that a follower reads outcomes and skips the rest.
 *
 *   40-byte record header | line_count touched lines | intent_count intents of 32 bytes | the command as it was asked
 *
 * A touched line is 32 bytes (hf_touch) in the record of a PLACE, one for each of the command's lines in their order (the SKU stands
 * there); in every other record it is 48 bytes: the SKU, then the same 32 bytes. Quantities in a touch are those of the cell after the
 * whole step. */
#ifndef HF_WIRE_RECORD_H
#define HF_WIRE_RECORD_H

#include "wire/command.h"

/*  offset size
 *    0      4   length        whole record in bytes, multiple of 8
 *    4      2   result        enum hf_result: OK, STOCK_LOST, NOT_APPLIED is never logged, REFUND_DUE
 *    6      1   version       1
 *    7      1   flags         reserved, 0
 *    8      8   time_ns       engine time of the step, ns since 1970; never goes back within a partition
 *   16      1   order         enum hf_order_state after the step (0 where no order is meant)
 *   17      1   payment       enum hf_payment_state
 *   18      1   fulfilment    enum hf_fulfilment_state
 *   19      1   intent_count
 *   20      2   line_count    touched lines
 *   22      2   home          partition in which the record's id lives
 *   24      8   due_ns        when the hold ends; 0 where there is none
 *   32      8   state_version of the order (changes since it was placed, first 1) or, for stock commands, of the cell */
struct hf_record {
    uint32_t length;
    uint16_t result;
    uint8_t version;
    uint8_t flags;
    uint64_t time_ns;
    uint8_t order, payment, fulfilment;
    uint8_t intent_count;
    uint16_t line_count;
    uint16_t home;
    uint64_t due_ns;
    uint64_t state_version;
};

enum { HF_RECORD_VERSION = 1 };

/*  offset size
 *    0      4   location
 *    4      4   quantity      units this line granted, released, shipped, received...; magnitude of an adjust or set
 *    8      8   cell_version  changes of the cell, first 1; lines of one cell are one change when placed, each its own afterwards
 *   16      4   sellable      i32, after the step
 *   20      4   reserved
 *   24      4   allocated
 *   28      2   index         place: the line's number; sweep: which of the swept ids; else the order's line number
 *   30      2   flags         enum hf_touch_flag */
struct hf_touch {
    uint32_t location;
    uint32_t quantity;
    uint64_t cell_version;
    int32_t sellable, reserved, allocated;
    uint16_t index;
    uint16_t flags;
};

enum hf_touch_flag {
    HF_TOUCH_OVERSOLD = 1,
    HF_TOUCH_NEGATIVE = 2,     /* quantity is to be subtracted */
    HF_TOUCH_OTHER_BUCKET = 4, /* not sellable: see the command's arg */
};

struct hf_named_touch {
    struct hf_sku sku;
    struct hf_touch touch;
};

enum hf_intent_kind { HF_INTENT_CAPTURE = 1, HF_INTENT_VOID = 2, HF_INTENT_REFUND = 3 };

/*  offset size
 *    0      4   number     within the order, from 1
 *    4      1   kind       enum hf_intent_kind
 *    5      3   currency
 *    8      8   amount     minor units
 *   16     16   order */
struct hf_intent {
    uint32_t number;
    uint8_t kind;
    uint8_t currency[3];
    int64_t amount;
    struct hf_id order;
};

_Static_assert(sizeof(struct hf_record) == 40 && sizeof(struct hf_touch) == 32 && sizeof(struct hf_named_touch) == 48 &&
                   sizeof(struct hf_intent) == 32,
               "record layouts");

/* The most that a record can take: 256 touched lines by name, 4 intents, and the largest command. */
enum {
    HF_INTENTS_MAX = 4,
    HF_RECORD_BYTES_MAX = 40 + HF_LINES_MAX * 48 + HF_INTENTS_MAX * 32 + HF_COMMAND_BYTES_MAX,
};

/* Whether the record is a PLACE's, so that its touches are the short ones: only a place leaves an order HELD at its first version. Nothing
 * else may decide it: SKUs are bytes of the client's choice, and could be made to look like a command where the other form has one. */
static inline bool hf_record_is_place(const struct hf_record *record)
{
    return record->order == HF_HELD && record->state_version == 1;
}

/* Bytes from the record's start to its command, by the counts in its header and whether it is a place: hf_record_is_place(). */
static inline uint32_t hf_outcome_bytes(const struct hf_record *record, bool place)
{
    uint32_t touch = place ? sizeof(struct hf_touch) : sizeof(struct hf_named_touch);
    return (uint32_t)sizeof *record + record->line_count * touch + record->intent_count * (uint32_t)sizeof(struct hf_intent);
}

#endif
