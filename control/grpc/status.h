/*
 * google.rpc.Status and the details most services send (google/rpc/error_details.proto), packed by hand: their protos are in no Debian
 * package.
 *
 * Threads: pure. Memory: written to what the caller gives; a function that finds too little room returns 0.
 */
#ifndef HF_CONTROL_GRPC_STATUS_H
#define HF_CONTROL_GRPC_STATUS_H

#include "control/grpc/grpc.h"

#define HF_GRPC_TYPE_ERROR_INFO  "type.googleapis.com/google.rpc.ErrorInfo"
#define HF_GRPC_TYPE_RETRY_INFO  "type.googleapis.com/google.rpc.RetryInfo"
#define HF_GRPC_TYPE_BAD_REQUEST "type.googleapis.com/google.rpc.BadRequest"

struct hf_grpc_pair {
    const char *first, *second;
};

/* "OK", "NOT_FOUND", ... */
const char *hf_grpc_code_name(enum hf_grpc_code code);
/* Length of the packed google.rpc.Status, and the packing itself into that many bytes. */
size_t hf_grpc_status_bytes(const struct hf_grpc_status *status);
void hf_grpc_status_pack(const struct hf_grpc_status *status, uint8_t *out);

/* ErrorInfo: metadata are key and value. Bytes written, 0: no room. */
size_t hf_grpc_error_info(const char *reason, const char *domain, const struct hf_grpc_pair *metadata, unsigned count, uint8_t *out,
                          size_t room);
/* RetryInfo. */
size_t hf_grpc_retry_info(uint64_t delay_ms, uint8_t *out, size_t room);
/* BadRequest: violations are field path and description. */
size_t hf_grpc_bad_request(const struct hf_grpc_pair *violations, unsigned count, uint8_t *out, size_t room);

#endif
