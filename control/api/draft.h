/* A command being made from a request's fields. What a field may not hold ends it with a result and the field's name; the first counts.
 *
 * Threads: pure. Memory: the caller's scratch of HF_COMMAND_BYTES_MAX bytes, 8-byte aligned; texts are only read. */
#ifndef HF_CONTROL_API_DRAFT_H
#define HF_CONTROL_API_DRAFT_H

#include "wire/command.h"
#include "wire/result.h"

#define HF_SKU_TEXT_BYTES 35 /* with its end */
#define HF_ID_TEXT_BYTES  33
enum { HF_DRAFT_TEXT_MAX = 200, HF_DRAFT_KEY_BYTES_MAX = 255 };

struct hf_draft {
    struct hf_command *command;
    uint64_t now_ns; /* engine time */
    uint16_t route;
    uint16_t result;   /* HF_OK: no fault so far */
    const char *field; /* at fault */
    const char *what;  /* one sentence */
};

void hf_draft_begin(struct hf_draft *draft, void *scratch, uint64_t now_ns, uint16_t opcode);
void hf_draft_fail(struct hf_draft *draft, uint16_t result, const char *field, const char *what);

/* Adds a line. Before any extension. */
void hf_draft_line(struct hf_draft *draft, const char *sku, uint32_t location, uint32_t quantity, uint64_t price);
/* Sets the route by a line's SKU, by an order's id. */
void hf_draft_route_sku(struct hf_draft *draft);
/* The order that a verb or a query is about. */
void hf_draft_order(struct hf_draft *draft, const char *text);
/* The write's own id; empty: one is made. After the route is known. */
void hf_draft_id(struct hf_draft *draft, const char *field, const char *text);
/* Amount and currency of a verb. */
void hf_draft_money(struct hf_draft *draft, int64_t amount, const char *currency);
/* Adds an extension unless `text` is empty; at most `bytes_max`, itself at most HF_DRAFT_TEXT_MAX. */
void hf_draft_text(struct hf_draft *draft, uint16_t type, const char *field, const char *text, size_t bytes_max);

/* The write's key, from the request's field `request_id`: none where it is empty. Every write's ask() ends with it. */
void hf_draft_request_id(struct hf_draft *draft, const char *text);

/* The write's trace, from a header's value; one that is no traceparent is ignored, as W3C Trace Context says, and one that the command has
 * no room for. After ask(). */
void hf_draft_trace(struct hf_draft *draft, const char *traceparent, size_t bytes);

/* ---- texts, both ways ---- */

/* 1 to 16 bytes of text, or "0x" and 32 hex digits. */
bool hf_sku_read(const char *text, struct hf_sku *out);
void hf_sku_write(const struct hf_sku *sku, char out[HF_SKU_TEXT_BYTES]);
/* 32 hex digits, not all zero. */
bool hf_id_read(const char *text, struct hf_id *out);
void hf_id_write(struct hf_id id, char out[HF_ID_TEXT_BYTES]);

#endif
