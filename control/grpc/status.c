/* google.rpc.Status and its details on the wire. */
#include "control/grpc/status.h"

#include <string.h>

static const char *const HF_GRPC_CODE_NAMES[HF_GRPC_CODES] = {
    "OK",        "CANCELLED",       "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS",  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",    "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED",
};

/* Writes while there is room and counts on, so that one walk measures and another fills. */
struct hf_grpc_packer {
    uint8_t *out;
    size_t room, length;
};

const char *hf_grpc_code_name(enum hf_grpc_code code)
{
    return (unsigned)code < HF_GRPC_CODES ? HF_GRPC_CODE_NAMES[code] : "UNKNOWN";
}

static void hf_grpc_pack_raw(struct hf_grpc_packer *packer, const void *bytes, size_t count)
{
    if (packer->out && count > 0 && packer->length <= packer->room && count <= packer->room - packer->length)
        memcpy(packer->out + packer->length, bytes, count);
    packer->length += count;
}

static void hf_grpc_pack_varint(struct hf_grpc_packer *packer, uint64_t value)
{
    uint8_t bytes[10];
    size_t count = 0;
    do {
        bytes[count++] = (uint8_t)((value & 0x7F) | (value > 0x7F ? 0x80 : 0));
        value >>= 7;
    } while (value > 0);
    hf_grpc_pack_raw(packer, bytes, count);
}

static void hf_grpc_pack_number(struct hf_grpc_packer *packer, unsigned field, uint64_t value)
{
    if (value == 0)
        return;
    hf_grpc_pack_varint(packer, field << 3);
    hf_grpc_pack_varint(packer, value);
}

static void hf_grpc_pack_bytes(struct hf_grpc_packer *packer, unsigned field, const void *bytes, size_t count)
{
    hf_grpc_pack_varint(packer, field << 3 | 2);
    hf_grpc_pack_varint(packer, count);
    hf_grpc_pack_raw(packer, bytes, count);
}

static void hf_grpc_pack_text(struct hf_grpc_packer *packer, unsigned field, const char *text)
{
    if (text && *text)
        hf_grpc_pack_bytes(packer, field, text, strlen(text));
}

static void hf_grpc_pack_detail(struct hf_grpc_packer *packer, const struct hf_grpc_detail *detail)
{
    hf_grpc_pack_text(packer, 1, detail->type_url);
    if (detail->value.length > 0)
        hf_grpc_pack_bytes(packer, 2, detail->value.bytes, detail->value.length);
}

static size_t hf_grpc_pack_status(const struct hf_grpc_status *status, uint8_t *out, size_t room)
{
    struct hf_grpc_packer packer = {.out = out, .room = room};
    hf_grpc_pack_number(&packer, 1, (uint64_t)status->code);
    hf_grpc_pack_text(&packer, 2, status->message);
    for (unsigned i = 0; i < status->detail_count; i++) {
        struct hf_grpc_packer inner = {0};
        hf_grpc_pack_detail(&inner, &status->details[i]);
        hf_grpc_pack_varint(&packer, 3 << 3 | 2);
        hf_grpc_pack_varint(&packer, inner.length);
        hf_grpc_pack_detail(&packer, &status->details[i]);
    }
    return packer.length;
}

size_t hf_grpc_status_bytes(const struct hf_grpc_status *status)
{
    return hf_grpc_pack_status(status, NULL, 0);
}

void hf_grpc_status_pack(const struct hf_grpc_status *status, uint8_t *out)
{
    hf_grpc_pack_status(status, out, SIZE_MAX);
}

/* A repeated message of two texts, 1 and 2. */
static void hf_grpc_pack_pair(struct hf_grpc_packer *packer, unsigned field, const struct hf_grpc_pair *pair)
{
    struct hf_grpc_packer inner = {0};
    hf_grpc_pack_text(&inner, 1, pair->first);
    hf_grpc_pack_text(&inner, 2, pair->second);
    hf_grpc_pack_varint(packer, field << 3 | 2);
    hf_grpc_pack_varint(packer, inner.length);
    hf_grpc_pack_text(packer, 1, pair->first);
    hf_grpc_pack_text(packer, 2, pair->second);
}

static size_t hf_grpc_packed(const struct hf_grpc_packer *packer)
{
    return packer->length <= packer->room ? packer->length : 0;
}

size_t hf_grpc_error_info(const char *reason, const char *domain, const struct hf_grpc_pair *metadata, unsigned count, uint8_t *out,
                          size_t room)
{
    struct hf_grpc_packer packer = {.out = out, .room = room};
    hf_grpc_pack_text(&packer, 1, reason);
    hf_grpc_pack_text(&packer, 2, domain);
    for (unsigned i = 0; i < count; i++)
        hf_grpc_pack_pair(&packer, 3, &metadata[i]);
    return hf_grpc_packed(&packer);
}

size_t hf_grpc_retry_info(uint64_t delay_ms, uint8_t *out, size_t room)
{
    struct hf_grpc_packer packer = {.out = out, .room = room}, duration = {0};
    hf_grpc_pack_number(&duration, 1, delay_ms / 1000);
    hf_grpc_pack_number(&duration, 2, delay_ms % 1000 * 1000000);
    hf_grpc_pack_varint(&packer, 1 << 3 | 2);
    hf_grpc_pack_varint(&packer, duration.length);
    hf_grpc_pack_number(&packer, 1, delay_ms / 1000);
    hf_grpc_pack_number(&packer, 2, delay_ms % 1000 * 1000000);
    return hf_grpc_packed(&packer);
}

size_t hf_grpc_bad_request(const struct hf_grpc_pair *violations, unsigned count, uint8_t *out, size_t room)
{
    struct hf_grpc_packer packer = {.out = out, .room = room};
    for (unsigned i = 0; i < count; i++)
        hf_grpc_pack_pair(&packer, 1, &violations[i]);
    return hf_grpc_packed(&packer);
}
