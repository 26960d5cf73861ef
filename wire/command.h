/* What a client asks: one little-endian form from packet to disk.
 *
 *   64-byte header | line_count lines of 32 bytes | ext_bytes of typed extensions
 *
 * Reserved bytes are zero or the command is refused (RESERVED_NOT_ZERO). `length` is the sum of the three parts and a multiple of 8.
 * An extension is type u16, length u16, that many bytes, zeros up to a multiple of 8; unknown types are kept and logged. */
#ifndef HF_WIRE_COMMAND_H
#define HF_WIRE_COMMAND_H

#include "wire/types.h"

enum { HF_COMMAND_VERSION = 1 };

enum hf_opcode {
    /* Definitions: command id in `id`. SKU and policy: route of the SKU. Location: route 0. */
    HF_DEFINE_SKU = 0x0101,      /* line 0: sku; extension NAME. Defining again changes the name only. */
    HF_DEFINE_LOCATION = 0x0102, /* arg: location, not 0; extension NAME */
    HF_DEFINE_POLICY = 0x0103,   /* line 0: sku, location (0: the SKU's own policy; else only safety_stock of that cell); body.policy */
    /* Stock: command id in `id`, route of the SKU; line 0: sku, location; arg: bucket (enum hf_bucket). */
    HF_RECEIVE = 0x0201, /* line 0 quantity: bucket += quantity (sellable or quality control) */
    HF_ADJUST = 0x0202,  /* body.stock.value: signed delta; extension REASON required; below zero only with HF_FLAG_FORCE */
    HF_SET = 0x0203,     /* body.stock.value: absolute; HF_FLAG_EXPECT_VERSION: body.stock.version; HF_FLAG_SOURCE: source, sequence */
    /* Orders. Place: order id in `id`. All others: command id in `id` (route of the order), order id in body.verb.order. */
    HF_PLACE = 0x0301,          /* lines; arg: ttl in ms; body.place */
    HF_EXTEND = 0x0302,         /* arg: new ttl in ms from now */
    HF_SETTLE = 0x0303,         /* body.verb.amount, currency; extension PAYMENT_REFERENCE */
    HF_PAYMENT_RESULT = 0x0304, /* arg: intent number; body.verb.status (enum hf_payment_status); amount, currency as in the intent */
    HF_SHIP = 0x0305,           /* whole order */
    HF_CANCEL = 0x0306,         /* whole order */
    /* Queries: no id (zero); one answer, nothing logged. */
    HF_GET_ORDER = 0x0401,      /* arg: first line, body.verb.order */
    HF_GET_CELL = 0x0402,       /* line 0: sku, location */
    HF_GET_SKU = 0x0403,        /* line 0: sku; arg: first cell to list (0-based), a page of at most 64 */
    HF_LIST_LOCATIONS = 0x0404, /* arg: first location number to list from, a page of at most 256 in ascending order */
    /* Administration: no id. Each travels alone in its frame. */
    HF_STATUS = 0x0501,
    HF_DIGEST = 0x0502,
    HF_AUDIT = 0x0503,
    HF_FOLLOW = 0x0504, /* body.follow.position: durable records that end beyond it; arg: most bytes wanted */
    /* Written by the engine itself into the log; refused (UNKNOWN_OPCODE) from a client. */
    HF_EXPIRE = 0x0601,       /* body.sweep; 2 order ids a line, in (due, id) order */
    HF_MARK = 0x0602,         /* body.mark: partitions p with p mod modulus == residue get this mark, where it is later than theirs */
    HF_FORGET = 0x0603,       /* body.sweep; 2 ids a line: terminal orders and command ids not newer than the partition's mark */
    HF_PURGE_LIMITS = 0x0604, /* body.sweep; a line a counter of a past window: sku, price = customer */
    HF_PURGE_KEYS = 0x0605,   /* body.sweep; 2 request keys a line: those whose order or command is forgotten go */
};

/* The family of an opcode is its high byte. */
enum { HF_FAMILY_DEFINE = 1, HF_FAMILY_STOCK = 2, HF_FAMILY_ORDER = 3, HF_FAMILY_QUERY = 4, HF_FAMILY_ADMIN = 5, HF_FAMILY_INTERNAL = 6 };

static inline unsigned hf_opcode_family(uint16_t opcode)
{
    return opcode >> 8;
}

enum hf_flag {
    HF_FLAG_FORCE = 1, /* adjust and set: below zero is allowed; set: by another source than the cell's, which it is from then on */
    HF_FLAG_EXPECT_VERSION = 2, /* set: refuse with STALE_VERSION unless the cell has this version */
    HF_FLAG_SOURCE = 4,         /* set: NOT_APPLIED unless the cell follows this source, or none yet, and the sequence is newer */
    HF_FLAG_STALE_OK = 8,       /* queries: answer at once, without waiting for the durability of what was read */
};

enum hf_bucket { HF_SELLABLE = 0, HF_DAMAGED = 1, HF_QUALITY_CONTROL = 2 };
enum hf_mode { HF_ALL_OR_NOTHING = 0 };
enum { HF_CHANNEL_WEB = 1 }; /* exists from the start */

enum hf_order_state { HF_ORDER_NONE = 0, HF_HELD = 1, HF_CONFIRMED = 2, HF_CLOSED = 3, HF_CANCELLED = 4, HF_EXPIRED = 5 };
enum hf_payment_state {
    HF_PAY_NONE = 0,
    HF_PAY_AUTHORISED = 1,
    HF_PAY_CAPTURE_PENDING = 2,
    HF_PAY_CAPTURED = 3,
    HF_PAY_FAILED = 4,
    HF_PAY_VOIDED = 5,
    HF_PAY_REFUND_DUE = 6,
    HF_PAY_REFUNDED = 7,
    HF_PAY_PARTIALLY_REFUNDED = 8,
    HF_PAY_UNKNOWN = 9,
};
enum hf_fulfilment_state {
    HF_FULFIL_NONE = 0,
    HF_FULFIL_PARTIAL = 1,
    HF_SHIPPED = 2,
    HF_DELIVERED = 3,
    HF_RETURNED = 4,
    HF_PARTIALLY_RETURNED = 5,
};

/* What became of an intent: body.verb.status of HF_PAYMENT_RESULT. */
enum hf_payment_status { HF_STATUS_CAPTURED = 1, HF_STATUS_FAILED = 2, HF_STATUS_REFUNDED = 3, HF_STATUS_VOIDED = 4 };

enum hf_extension_type {
    HF_EXT_ACTOR = 1,
    HF_EXT_REASON = 2,
    HF_EXT_REFERENCE = 3,
    HF_EXT_PAYMENT_REFERENCE = 4,
    HF_EXT_IDEMPOTENCY_KEY = 5, /* exactly 16 bytes, struct hf_request_key */
    HF_EXT_TRACE_CONTEXT = 6,
    HF_EXT_NAME = 7,
};

/*  offset size
 *    0     16   sku
 *   16      4   location   u32, never 0 where a cell is meant
 *   20      4   quantity   u32, 1 to 2^31 - 1 where a quantity is meant, else 0
 *   24      8   price      per unit in minor units; 0 where no price is meant */
struct hf_line {
    struct hf_sku sku;
    uint32_t location;
    uint32_t quantity;
    uint64_t price;
};

/*  offset size
 *    0      4   length      whole command in bytes
 *    4      2   opcode
 *    6      1   version     1
 *    7      1   flags       enum hf_flag; bits that the opcode does not know must be 0
 *    8     16   id
 *   24      2   line_count
 *   26      2   ext_bytes   multiple of 8, at most 512
 *   28      4   arg
 *   32     32   body        by opcode; what a body does not use is reserved */
struct hf_command {
    uint32_t length;
    uint16_t opcode;
    uint8_t version;
    uint8_t flags;
    struct hf_id id;
    uint16_t line_count;
    uint16_t ext_bytes;
    uint32_t arg;
    union {
        struct {
            uint64_t customer;
            uint32_t channel;
            uint8_t mode;
            uint8_t reserved[19];
        } place;
        struct {
            struct hf_id order;
            int64_t amount;      /* minor units, >= 0 */
            uint8_t currency[3]; /* ISO 4217 letters, or zeros where no amount is meant */
            uint8_t status;
            uint32_t reserved;
        } verb;
        struct {
            int64_t value;
            uint64_t version;
            uint64_t source;
            uint64_t sequence;
        } stock;
        struct {
            uint32_t per_order;    /* units of the SKU in one order; 0: no limit */
            uint32_t per_customer; /* units of the SKU for one customer in one window; 0: no limit */
            uint32_t window_s;     /* length of a window; 0: for ever */
            uint32_t safety_stock; /* of the cell, or of every cell of the SKU that has none of its own */
            uint64_t opens_ms;     /* engine time in ms since 1970; 0: always open */
            uint64_t closes_ms;    /* 0: never closes */
        } policy;
        struct {
            uint64_t position;
            uint8_t reserved[24];
        } follow;
        struct {
            uint32_t partition;
            uint32_t count;
            uint8_t reserved[24];
        } sweep;
        struct {
            uint64_t mark_ms;
            uint32_t modulus;
            uint32_t residue;
            uint8_t reserved[16];
        } mark;
        uint8_t bytes[32];
        uint64_t words[4];
    } body;
};

_Static_assert(sizeof(struct hf_line) == 32, "a line is 32 bytes");
_Static_assert(sizeof(struct hf_command) == 64, "a command header is 64 bytes");
_Static_assert(offsetof(struct hf_command, id) == 8 && offsetof(struct hf_command, body) == 32, "command header layout");

/* What a client calls a write, 128 bits of the client's choice (docs/protocol.md says how to make them from text). Of two writes under one
 * key only the first has an effect, whatever their ids. It lives in a partition of its own: hf_request_key_route(). */
struct hf_request_key {
    uint64_t word[2];
};

enum { HF_REQUEST_KEY_EXTENSION_BYTES = 24 }; /* header, key, padding */

enum { HF_COMMAND_BYTES_MAX = 64 + HF_LINES_MAX * 32 + HF_EXTENSION_BYTES_MAX };

static inline const struct hf_line *hf_command_lines(const struct hf_command *command)
{
    return (const struct hf_line *)(const void *)(command + 1);
}

static inline const uint8_t *hf_command_extensions(const struct hf_command *command)
{
    return (const uint8_t *)(command + 1) + (size_t)command->line_count * sizeof(struct hf_line);
}

/* The sweeps' packed ids: id i of a command whose lines hold two ids each. */
static inline struct hf_id hf_sweep_id(const struct hf_command *command, uint32_t i)
{
    struct hf_id id;
    memcpy(&id, (const uint8_t *)(command + 1) + (size_t)i * sizeof id, sizeof id);
    return id;
}

/* The bytes of the first extension of `type`, or NULL; *bytes gets its length. The command has passed hf_command_check(). */
static inline const uint8_t *hf_command_extension(const struct hf_command *command, uint16_t type, uint16_t *bytes)
{
    const uint8_t *at = hf_command_extensions(command), *end = at + command->ext_bytes;
    while (at < end) {
        uint16_t head[2];
        memcpy(head, at, sizeof head);
        if (head[0] == type) {
            *bytes = head[1];
            return at + sizeof head;
        }
        at += (sizeof head + head[1] + 7u) & ~(size_t)7;
    }
    return NULL;
}

/* Whether a write has a key, and which; queries and the engine's own commands have none. The command has passed hf_command_check(). */
static inline bool hf_command_request_key(const struct hf_command *command, struct hf_request_key *key)
{
    uint16_t bytes = 0;
    if (command->ext_bytes < HF_REQUEST_KEY_EXTENSION_BYTES || hf_opcode_family(command->opcode) > HF_FAMILY_ORDER)
        return false;
    const uint8_t *at = hf_command_extension(command, HF_EXT_IDEMPOTENCY_KEY, &bytes);
    if (!at || bytes != sizeof *key)
        return false;
    memcpy(key, at, sizeof *key);
    return true;
}

/* Its partition's: the low 16 bits of XXH64, as of a SKU of the same bytes. */
static inline uint16_t hf_request_key_route(const struct hf_request_key *key)
{
    return (uint16_t)hf_xxh64_16(key->word);
}

#endif
