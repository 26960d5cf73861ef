#include "control/api/draft.h"

#include "control/grpc/text.h"
#include "wire/trace.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <sys/random.h>

void hf_draft_begin(struct hf_draft *draft, void *scratch, uint64_t now_ns, uint16_t opcode)
{
    *draft = (struct hf_draft){.command = scratch, .now_ns = now_ns};
    *draft->command = (struct hf_command){.length = sizeof *draft->command, .opcode = opcode, .version = HF_COMMAND_VERSION};
}

void hf_draft_fail(struct hf_draft *draft, uint16_t result, const char *field, const char *what)
{
    if (draft->result != HF_OK)
        return;
    draft->result = result;
    draft->field = field;
    draft->what = what;
}

static void *hf_draft_append(struct hf_draft *draft, size_t bytes)
{
    uint8_t *at = (uint8_t *)draft->command + draft->command->length;
    memset(at, 0, bytes);
    draft->command->length += (uint32_t)bytes;
    return at;
}

void hf_draft_line(struct hf_draft *draft, const char *sku, uint32_t location, uint32_t quantity, uint64_t price)
{
    struct hf_line line = {.location = location, .quantity = quantity, .price = price};
    if (!hf_sku_read(sku, &line.sku)) {
        hf_draft_fail(draft, HF_BAD_ARGUMENT, "sku", "a SKU has 1 to 16 bytes, or is 0x and 32 hex digits");
        return;
    }
    if (draft->command->line_count == HF_LINES_MAX) {
        hf_draft_fail(draft, HF_BAD_LINE_COUNT, "lines", "an order has 1 to 256 lines");
        return;
    }
    memcpy(hf_draft_append(draft, sizeof line), &line, sizeof line);
    draft->command->line_count++;
}

void hf_draft_route_sku(struct hf_draft *draft)
{
    if (draft->command->line_count != 0)
        draft->route = hf_route(&hf_command_lines(draft->command)->sku);
    else
        hf_draft_fail(draft, HF_BAD_LINE_COUNT, "lines", "an order has 1 to 256 lines");
}

void hf_draft_order(struct hf_draft *draft, const char *text)
{
    if (!hf_id_read(text, &draft->command->body.verb.order))
        hf_draft_fail(draft, HF_BAD_ARGUMENT, "id", "an id is 32 hex digits, not all zero");
    draft->route = hf_id_route(draft->command->body.verb.order);
}

void hf_draft_id(struct hf_draft *draft, const char *field, const char *text)
{
    uint64_t random = 0;
    if (*text != '\0') {
        if (!hf_id_read(text, &draft->command->id))
            hf_draft_fail(draft, HF_BAD_ARGUMENT, field, "an id is 32 hex digits, not all zero");
        return;
    }
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        hf_draft_fail(draft, HF_BUSY, field, "no random bytes from the kernel");
    draft->command->id = hf_id_make(draft->route, draft->now_ns / 1000000, random);
}

void hf_draft_money(struct hf_draft *draft, int64_t amount, const char *currency)
{
    draft->command->body.verb.amount = amount;
    size_t bytes = strlen(currency);
    if (amount < 0)
        hf_draft_fail(draft, HF_BAD_ARGUMENT, "amount", "an amount is not negative");
    if (bytes != sizeof draft->command->body.verb.currency)
        hf_draft_fail(draft, HF_BAD_ARGUMENT, "currency", "a currency is three letters");
    else
        memcpy(draft->command->body.verb.currency, currency, bytes);
}

void hf_draft_text(struct hf_draft *draft, uint16_t type, const char *field, const char *text, size_t bytes_max)
{
    size_t bytes = strlen(text);
    uint16_t head[2] = {type, (uint16_t)bytes};
    if (bytes == 0)
        return;
    if (bytes > bytes_max || bytes > HF_DRAFT_TEXT_MAX) {
        hf_draft_fail(draft, HF_BAD_EXTENSION, field, bytes_max < HF_DRAFT_TEXT_MAX ? "at most 40 bytes" : "at most 200 bytes");
        return;
    }
    size_t padded = (sizeof head + bytes + 7) & ~(size_t)7;
    uint8_t *at = hf_draft_append(draft, padded);
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, text, bytes);
    draft->command->ext_bytes = (uint16_t)(draft->command->ext_bytes + padded);
}

void hf_draft_request_id(struct hf_draft *draft, const char *text)
{
    size_t bytes = strlen(text);
    if (bytes == 0)
        return;
    if (bytes > HF_DRAFT_KEY_BYTES_MAX) {
        hf_draft_fail(draft, HF_BAD_EXTENSION, "request_id", "at most 255 bytes");
        return;
    }
    uint8_t digest[SHA256_DIGEST_LENGTH];
    uint16_t head[2] = {HF_EXT_IDEMPOTENCY_KEY, sizeof(struct hf_request_key)};
    uint8_t *at = hf_draft_append(draft, HF_REQUEST_KEY_EXTENSION_BYTES);
    SHA256((const uint8_t *)text, bytes, digest);
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, digest, sizeof(struct hf_request_key));
    draft->command->ext_bytes = (uint16_t)(draft->command->ext_bytes + HF_REQUEST_KEY_EXTENSION_BYTES);
}

void hf_draft_trace(struct hf_draft *draft, const char *traceparent, size_t bytes)
{
    struct {
        uint16_t type, bytes;
        uint8_t trace[HF_TRACE_BYTES], padding[3];
    } extension = {.type = HF_EXT_TRACE_CONTEXT, .bytes = HF_TRACE_BYTES};
    _Static_assert(sizeof extension == 32, "a multiple of 8, without holes");
    if (!hf_trace_read(traceparent, bytes, extension.trace) || draft->command->ext_bytes + sizeof extension > HF_EXTENSION_BYTES_MAX ||
        draft->command->length + sizeof extension > HF_COMMAND_BYTES_MAX)
        return;
    memcpy(hf_draft_append(draft, sizeof extension), &extension, sizeof extension);
    draft->command->ext_bytes = (uint16_t)(draft->command->ext_bytes + sizeof extension);
}

/* ---- texts ---- */

static int hf_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Exactly 16 bytes of hex digits with nothing behind them. */
static bool hf_hex_read(const char *text, uint8_t out[16])
{
    if (strlen(text) != 32)
        return false;
    for (int i = 0; i < 16; i++) {
        int high = hf_digit(text[2 * i]), low = hf_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

bool hf_sku_read(const char *text, struct hf_sku *out)
{
    uint8_t bytes[16];
    if (strncmp(text, "0x", 2) == 0 && hf_hex_read(text + 2, bytes)) {
        memcpy(out, bytes, sizeof bytes);
        return !hf_sku_none(out);
    }
    return hf_sku_from_text(text, strlen(text), out);
}

void hf_sku_write(const struct hf_sku *sku, char out[HF_SKU_TEXT_BYTES])
{
    uint8_t bytes[16];
    memcpy(bytes, sku, sizeof bytes);
    size_t length = strnlen((const char *)bytes, sizeof bytes);
    bool text = length > 0;
    for (size_t i = length; i < sizeof bytes; i++)
        text = text && bytes[i] == 0;
    if (text && hf_grpc_is_text(bytes, length)) {
        memcpy(out, bytes, length);
        out[length] = '\0';
        return;
    }
    memcpy(out, "0x", 2);
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 + 2 * i, 3, "%02x", bytes[i]);
}

bool hf_id_read(const char *text, struct hf_id *out)
{
    uint8_t bytes[16];
    struct hf_id id = {0, 0};
    if (!hf_hex_read(text, bytes))
        return false;
    for (int i = 0; i < 8; i++) {
        id.high = id.high << 8 | bytes[i];
        id.low = id.low << 8 | bytes[8 + i];
    }
    *out = id;
    return !hf_id_none(id);
}

void hf_id_write(struct hf_id id, char out[HF_ID_TEXT_BYTES])
{
    snprintf(out, HF_ID_TEXT_BYTES, "%016" PRIx64 "%016" PRIx64, id.high, id.low);
}
