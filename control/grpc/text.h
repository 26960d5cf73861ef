/* The encodings of gRPC's header fields. Pure functions; nothing allocates. */
#ifndef HF_CONTROL_GRPC_TEXT_H
#define HF_CONTROL_GRPC_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that hf_grpc_percent_encode writes at most for `bytes` of input. */
#define HF_GRPC_PERCENT_MAX(bytes)  (3 * (bytes))
/* Bytes that hf_grpc_base64_encode writes at most, and hf_grpc_base64_decode. */
#define HF_GRPC_BASE64_MAX(bytes)   (((bytes) + 2) / 3 * 4)
#define HF_GRPC_UNBASE64_MAX(bytes) ((bytes) / 4 * 3 + 3)

/* grpc-message: bytes outside 0x20 to 0x7E, and '%', become %XX. Returns the length written. */
size_t hf_grpc_percent_encode(const void *in, size_t in_bytes, char *out);
/* RFC 4648 base64 without padding, as gRPC asks of -bin fields. Returns the length written. */
size_t hf_grpc_base64_encode(const void *in, size_t in_bytes, char *out);
/* With or without padding. False: not base64. */
bool hf_grpc_base64_decode(const char *in, size_t in_bytes, uint8_t *out, size_t *out_bytes);
/* grpc-timeout: one to eight digits and one of H M S m u n. False: not that. */
bool hf_grpc_timeout_ns(const char *value, size_t value_bytes, uint64_t *out_ns);
/* Whether `name` may be a metadata name (0-9 a-z _ - .), and whether its values are base64 on the wire. */
bool hf_grpc_name_ok(const char *name, size_t name_bytes);
bool hf_grpc_name_is_binary(const char *name, size_t name_bytes);
/* Whether a text value has only printable ASCII (0x20 to 0x7E), and no blank at its ends. */
bool hf_grpc_value_ok(const char *value, size_t value_bytes);
/* Whether the bytes are UTF-8 as RFC 3629 has it (nothing overlong, no surrogates), without a NUL byte. */
bool hf_grpc_is_text(const uint8_t *bytes, size_t count);
/* Whether the comma-separated list has `token`. */
bool hf_grpc_list_has(const char *list, size_t list_bytes, const char *token);

#endif
