/* Whether bytes that came from outside are a command, and what a command means in 64 bits. */
#ifndef HF_WIRE_COMMAND_CHECK_H
#define HF_WIRE_COMMAND_CHECK_H

#include "wire/command.h"
#include "wire/result.h"

static inline uint64_t hf_fold_multiply(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hf_digest_bytes(uint64_t seed, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    uint64_t h = seed ^ 0x2d358dccaa6c78a5ull, word[2];
    for (; bytes >= 16; at += 16, bytes -= 16) {
        memcpy(word, at, 16);
        h = hf_fold_multiply(word[0] ^ 0x8bb84b93962eacc9ull, word[1] ^ h);
    }
    word[0] = word[1] = 0;
    if (bytes > 0) /* rarely: what is digested is mostly of whole steps */
        memcpy(word, at, bytes);
    return hf_fold_multiply(word[0] ^ 0x4b33a62ed433d4a3ull ^ bytes, word[1] ^ h);
}

/* 64-bit digest of a command's meaning: header, lines and every extension but TRACE_CONTEXT, so that a retry under another trace is the
 * same body. Stable for ever (it is logged state). The fold-multiply step is that of wyhash (Wang Yi, public domain). `command` has passed
 * hf_command_check(). */
static inline uint64_t hf_command_digest(const struct hf_command *command)
{
    size_t plain = sizeof *command + (size_t)command->line_count * sizeof(struct hf_line);
    const uint8_t *at = (const uint8_t *)command + plain, *end = at + command->ext_bytes;
    uint64_t head[2];
    memcpy(head, command, sizeof head);
    /* length and ext_bytes differ with the trace: the opcode, version and flags stay, the sums do not. */
    uint64_t h = hf_digest_bytes(head[0] >> 32, (const uint8_t *)command + 8, 16);
    h = hf_digest_bytes(h ^ command->line_count ^ (uint64_t)command->arg << 16, (const uint8_t *)command + 32, plain - 32);
    while (at < end) {
        uint16_t item[2];
        memcpy(item, at, sizeof item);
        if (item[0] != HF_EXT_TRACE_CONTEXT)
            h = hf_digest_bytes(h ^ item[0], at + sizeof item, item[1]);
        at += (sizeof item + item[1] + 7u) & ~(size_t)7;
    }
    return h;
}

/* What each opcode's fields may hold. Lines: least and most. */
struct hf_command_form {
    uint16_t lines_min, lines_max;
    uint8_t flags;      /* the bits it knows */
    uint8_t body_bytes; /* of the 32: those beyond are reserved */
    bool has_id, has_arg, has_location, has_quantity, has_price;
};

static inline const struct hf_command_form *hf_command_form(uint16_t opcode)
{
    static const struct hf_command_form define[] = {
        {0},
        {.lines_min = 1, .lines_max = 1, .has_id = true},
        {.has_id = true, .has_arg = true},
        {.lines_min = 1, .lines_max = 1, .body_bytes = 32, .has_id = true, .has_location = true},
    };
    static const struct hf_command_form stock[] = {
        {0},
        {.lines_min = 1, .lines_max = 1, .has_id = true, .has_arg = true, .has_location = true, .has_quantity = true},
        {.lines_min = 1, .lines_max = 1, .flags = HF_FLAG_FORCE, .body_bytes = 8, .has_id = true, .has_arg = true, .has_location = true},
        {.lines_min = 1,
         .lines_max = 1,
         .flags = HF_FLAG_FORCE | HF_FLAG_EXPECT_VERSION | HF_FLAG_SOURCE,
         .body_bytes = 32,
         .has_id = true,
         .has_arg = true,
         .has_location = true},
    };
    static const struct hf_command_form order[] = {
        {0},
        {.lines_min = 1,
         .lines_max = HF_LINES_MAX,
         .body_bytes = 13,
         .has_id = true,
         .has_arg = true,
         .has_location = true,
         .has_quantity = true,
         .has_price = true},
        {.body_bytes = 16, .has_id = true, .has_arg = true},
        {.body_bytes = 27, .has_id = true},
        {.body_bytes = 28, .has_id = true, .has_arg = true},
        {.body_bytes = 16, .has_id = true},
        {.body_bytes = 16, .has_id = true},
    };
    static const struct hf_command_form query[] = {
        {0},
        {.flags = HF_FLAG_STALE_OK, .body_bytes = 16, .has_arg = true},
        {.lines_min = 1, .lines_max = 1, .flags = HF_FLAG_STALE_OK, .has_location = true},
        {.lines_min = 1, .lines_max = 1, .flags = HF_FLAG_STALE_OK, .has_arg = true},
        {.flags = HF_FLAG_STALE_OK, .has_arg = true},
    };
    static const struct hf_command_form admin[] = {{0}, {.has_arg = true}, {0}, {0}, {.body_bytes = 8, .has_arg = true}};
    static const struct {
        const struct hf_command_form *forms;
        unsigned count;
    } families[] = {{NULL, 0}, {define, 4}, {stock, 4}, {order, 7}, {query, 5}, {admin, 5}};
    unsigned family = hf_opcode_family(opcode), number = opcode & 0xff;
    if (family < 1 || family > HF_FAMILY_ADMIN || number < 1 || number >= families[family].count)
        return NULL;
    return &families[family].forms[number];
}

static inline bool hf_bytes_zero(const uint8_t *at, size_t bytes)
{
    uint64_t any = 0, word;
    for (; bytes >= 8; at += 8, bytes -= 8) {
        memcpy(&word, at, 8);
        any |= word;
    }
    for (; bytes > 0; at++, bytes--)
        any |= *at;
    return any == 0;
}

/* HF_OK, or HF_BAD_EXTENSION: every item fits, its padding is zero, a request key has its size, and they fill ext_bytes exactly. */
static inline int hf_extensions_check(const uint8_t *at, size_t bytes)
{
    while (bytes > 0) {
        uint16_t item[2];
        memcpy(item, at, sizeof item);
        size_t plain = sizeof item + item[1], padded = (plain + 7) & ~(size_t)7;
        if (item[0] == 0 || padded > bytes || !hf_bytes_zero(at + plain, padded - plain) ||
            (item[0] == HF_EXT_IDEMPOTENCY_KEY && item[1] != sizeof(struct hf_request_key)))
            return HF_BAD_EXTENSION;
        at += padded;
        bytes -= padded;
    }
    return HF_OK;
}

/* HF_OK, or what is wrong with the lines; *detail gets the line's number. */
static inline int hf_lines_check(const struct hf_command *command, const struct hf_command_form *form, uint16_t *detail)
{
    const struct hf_line *line = hf_command_lines(command);
    for (uint16_t i = 0; i < command->line_count; i++, line++) {
        *detail = i;
        if ((!form->has_location && line->location != 0) || (!form->has_price && line->price != 0))
            return HF_RESERVED_NOT_ZERO;
        if (hf_sku_none(&line->sku) || (form->has_price && line->price >> 48 != 0))
            return HF_BAD_ARGUMENT;
        if (form->has_quantity ? line->quantity < 1 || line->quantity > HF_QUANTITY_MAX : line->quantity != 0)
            return HF_BAD_QUANTITY;
    }
    *detail = 0;
    return HF_OK;
}

/* Whether `available` bytes start with one well-formed command of a client: HF_OK, or the first fault in this order: BAD_LENGTH,
 * BAD_VERSION, UNKNOWN_OPCODE, BAD_LINE_COUNT, BAD_EXTENSION, RESERVED_NOT_ZERO, then per line RESERVED_NOT_ZERO, BAD_ARGUMENT,
 * BAD_QUANTITY. `command` is 8-byte aligned private memory of at least `available` bytes. *detail gets the number of the line at fault,
 * else 0. Only the form is judged here: whether the numbers make sense (a location of 0, a bucket, a ttl) is the engine's to say. */
static inline int hf_command_check(const struct hf_command *command, size_t available, uint16_t *detail)
{
    *detail = 0;
    if (available < sizeof *command || command->length < sizeof *command || command->length > available || command->length % 8 != 0 ||
        command->length > HF_COMMAND_BYTES_MAX)
        return HF_BAD_LENGTH;
    if (command->version != HF_COMMAND_VERSION)
        return HF_BAD_VERSION;
    const struct hf_command_form *form = hf_command_form(command->opcode);
    if (!form)
        return HF_UNKNOWN_OPCODE;
    if (command->line_count < form->lines_min || command->line_count > form->lines_max)
        return HF_BAD_LINE_COUNT;
    if (command->ext_bytes > HF_EXTENSION_BYTES_MAX || command->ext_bytes % 8 != 0)
        return HF_BAD_EXTENSION;
    if (command->length != sizeof *command + (size_t)command->line_count * sizeof(struct hf_line) + command->ext_bytes)
        return HF_BAD_LENGTH;
    if (hf_extensions_check(hf_command_extensions(command), command->ext_bytes) != HF_OK)
        return HF_BAD_EXTENSION;
    if ((command->flags & ~form->flags) != 0 || (!form->has_arg && command->arg != 0) || (!form->has_id && !hf_id_none(command->id)) ||
        !hf_bytes_zero(command->body.bytes + form->body_bytes, sizeof command->body - form->body_bytes))
        return HF_RESERVED_NOT_ZERO;
    return hf_lines_check(command, form, detail);
}

#endif
