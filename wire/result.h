/* Result codes: numbered once, never reused. docs/protocol.md holds the same table and is checked against this one. */
#ifndef HF_WIRE_RESULT_H
#define HF_WIRE_RESULT_H

#include <stddef.h>
#include <stdint.h>

enum hf_result {
    HF_OK = 0,
    /* The frame or the command is not of the documented form; nothing was looked up. */
    HF_BAD_FRAME = 1,
    HF_BAD_CRC = 2,
    HF_BAD_VERSION = 3,
    HF_BAD_LENGTH = 4,
    HF_UNKNOWN_OPCODE = 5,
    HF_RESERVED_NOT_ZERO = 6,
    HF_BAD_LINE_COUNT = 7,
    HF_BAD_QUANTITY = 8,
    HF_BAD_EXTENSION = 9,
    HF_BAD_ARGUMENT = 10,
    HF_SESSION_EXPIRED = 11,
    HF_CREDIT_OVERRUN = 12,
    HF_TOO_LARGE = 13,
    /* The engine cannot take it now; nothing was changed, the same id may be sent again. */
    HF_BUSY = 20,
    HF_FULL = 21,
    HF_NO_SPACE = 22,
    HF_DRAINING = 23,
    /* Ids. */
    HF_ID_REUSED = 30,
    HF_ID_TOO_OLD = 31,
    HF_ID_IN_FUTURE = 32,
    HF_WRONG_ROUTE = 33,
    HF_TOO_MANY = 34,
    /* The catalogue, the stock and the order say no. */
    HF_UNKNOWN_SKU = 40,
    HF_UNKNOWN_LOCATION = 41,
    HF_UNKNOWN_CHANNEL = 42,
    HF_UNKNOWN_ORDER = 43,
    HF_NOT_ON_SALE = 44,
    HF_LIMIT_PER_ORDER = 45,
    HF_LIMIT_PER_CUSTOMER = 46,
    HF_SHORT = 47,
    HF_STOCK_LOST = 48,
    HF_BAD_STATE = 49,
    HF_STALE_VERSION = 50,
    HF_NOT_APPLIED = 51,
    HF_BELOW_ZERO = 52,
    HF_OVERFLOW = 53,
    HF_UNKNOWN_INTENT = 54,
    HF_AMOUNT_MISMATCH = 55,
    HF_REFUND_DUE = 56,
    HF_NOT_FOUND = 57,
    /* The log cannot be followed from there. */
    HF_NOT_RETAINED = 58,
    HF_LOG_DAMAGED = 59,
};

enum { HF_RESULT_COUNT = 64 };

/* Name without the prefix ("ID_REUSED"), "UNKNOWN" for a number that has none. Static storage. */
static inline const char *hf_result_name(unsigned code)
{
    static const char *const names[HF_RESULT_COUNT] = {
        [HF_OK] = "OK",
        [HF_BAD_FRAME] = "BAD_FRAME",
        [HF_BAD_CRC] = "BAD_CRC",
        [HF_BAD_VERSION] = "BAD_VERSION",
        [HF_BAD_LENGTH] = "BAD_LENGTH",
        [HF_UNKNOWN_OPCODE] = "UNKNOWN_OPCODE",
        [HF_RESERVED_NOT_ZERO] = "RESERVED_NOT_ZERO",
        [HF_BAD_LINE_COUNT] = "BAD_LINE_COUNT",
        [HF_BAD_QUANTITY] = "BAD_QUANTITY",
        [HF_BAD_EXTENSION] = "BAD_EXTENSION",
        [HF_BAD_ARGUMENT] = "BAD_ARGUMENT",
        [HF_SESSION_EXPIRED] = "SESSION_EXPIRED",
        [HF_CREDIT_OVERRUN] = "CREDIT_OVERRUN",
        [HF_TOO_LARGE] = "TOO_LARGE",
        [HF_BUSY] = "BUSY",
        [HF_FULL] = "FULL",
        [HF_NO_SPACE] = "NO_SPACE",
        [HF_DRAINING] = "DRAINING",
        [HF_ID_REUSED] = "ID_REUSED",
        [HF_ID_TOO_OLD] = "ID_TOO_OLD",
        [HF_ID_IN_FUTURE] = "ID_IN_FUTURE",
        [HF_WRONG_ROUTE] = "WRONG_ROUTE",
        [HF_TOO_MANY] = "TOO_MANY",
        [HF_UNKNOWN_SKU] = "UNKNOWN_SKU",
        [HF_UNKNOWN_LOCATION] = "UNKNOWN_LOCATION",
        [HF_UNKNOWN_CHANNEL] = "UNKNOWN_CHANNEL",
        [HF_UNKNOWN_ORDER] = "UNKNOWN_ORDER",
        [HF_NOT_ON_SALE] = "NOT_ON_SALE",
        [HF_LIMIT_PER_ORDER] = "LIMIT_PER_ORDER",
        [HF_LIMIT_PER_CUSTOMER] = "LIMIT_PER_CUSTOMER",
        [HF_SHORT] = "SHORT",
        [HF_STOCK_LOST] = "STOCK_LOST",
        [HF_BAD_STATE] = "BAD_STATE",
        [HF_STALE_VERSION] = "STALE_VERSION",
        [HF_NOT_APPLIED] = "NOT_APPLIED",
        [HF_BELOW_ZERO] = "BELOW_ZERO",
        [HF_OVERFLOW] = "OVERFLOW",
        [HF_UNKNOWN_INTENT] = "UNKNOWN_INTENT",
        [HF_AMOUNT_MISMATCH] = "AMOUNT_MISMATCH",
        [HF_REFUND_DUE] = "REFUND_DUE",
        [HF_NOT_FOUND] = "NOT_FOUND",
        [HF_NOT_RETAINED] = "NOT_RETAINED",
        [HF_LOG_DAMAGED] = "LOG_DAMAGED",
    };
    return code < HF_RESULT_COUNT && names[code] ? names[code] : "UNKNOWN";
}

/* What a FULL answer's `detail` names: the table, and with it the option that sizes it. */
enum hf_table {
    HF_TABLE_SKUS = 1,
    HF_TABLE_CELLS,
    HF_TABLE_ORDERS,
    HF_TABLE_LINES,
    HF_TABLE_COMMAND_IDS,
    HF_TABLE_LIMITS,
    HF_TABLE_LOCATIONS,
    HF_TABLE_REQUEST_KEYS,
    HF_TABLE_COUNT
};

static inline const char *hf_table_option(unsigned table)
{
    static const char *const options[HF_TABLE_COUNT] = {
        [HF_TABLE_SKUS] = "--max-skus",
        [HF_TABLE_CELLS] = "--max-cells",
        [HF_TABLE_ORDERS] = "--max-orders",
        [HF_TABLE_LINES] = "--max-lines",
        [HF_TABLE_COMMAND_IDS] = "--max-command-ids",
        [HF_TABLE_LIMITS] = "--max-limits",
        [HF_TABLE_LOCATIONS] = "65536 locations",
        [HF_TABLE_REQUEST_KEYS] = "--max-request-keys",
    };
    return table < HF_TABLE_COUNT && options[table] ? options[table] : "unknown table";
}

#endif
