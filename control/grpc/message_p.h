/*
 * gRPC's messages on the wire: a flag, four bytes of length, the message; cut anywhere. And their compression, and what may be unpacked.
 *
 * Threads: the loop's. Memory: a message that comes in pieces is gathered in a buffer that grows with what came, not with what was
 * announced.
 */
#ifndef HF_CONTROL_GRPC_MESSAGE_P_H
#define HF_CONTROL_GRPC_MESSAGE_P_H

#include "control/grpc/server_p.h"

enum { HF_GRPC_PREFIX_BYTES = 5 };

struct hf_grpc_reader {
    uint8_t prefix[HF_GRPC_PREFIX_BYTES];
    unsigned prefix_bytes;
    struct hf_grpc_buffer gathered;
};

enum hf_grpc_read {
    HF_GRPC_READ_MORE,    /* all bytes taken, no message whole */
    HF_GRPC_READ_MESSAGE, /* one is whole */
    HF_GRPC_READ_TOO_LARGE,
    HF_GRPC_READ_BAD_FLAG,
    HF_GRPC_READ_MEMORY
};

/*
 * Reads on from *bytes, which it advances with *count. A whole message stands at *message until the reader is told hf_grpc_reader_next.
 */
enum hf_grpc_read hf_grpc_reader_read(struct hf_grpc_reader *reader, struct hf_grpc_worker *worker, const uint8_t **bytes, size_t *count,
                                      struct hf_grpc_bytes *message, bool *compressed);
void hf_grpc_reader_next(struct hf_grpc_reader *reader, struct hf_grpc_worker *worker);
/* Something of a message came, not all of it. */
bool hf_grpc_reader_is_within(const struct hf_grpc_reader *reader);
void hf_grpc_prefix_write(uint8_t *out, bool compressed, size_t message_bytes);

/* gzip (RFC 1952). The result lives in the worker until its next use. HF_GRPC_E_FULL: larger than allowed; HF_GRPC_E_USAGE: not gzip. */
int hf_grpc_gunzip(struct hf_grpc_worker *worker, struct hf_grpc_bytes in, struct hf_grpc_bytes *out);
/* Bytes written, 0: it did not fit (nothing is lost: send it plain). */
size_t hf_grpc_gzip(struct hf_grpc_worker *worker, struct hf_grpc_bytes in, uint8_t *out, size_t room);
void hf_grpc_gzip_end(struct hf_grpc_worker *worker);

enum hf_grpc_packed {
    HF_GRPC_PACKED_OK, /* or malformed, which unpacking finds */
    HF_GRPC_PACKED_DEEP,
    HF_GRPC_PACKED_TEXT
};

/* For protobuf-c: a message unpacked into an arena goes with it. */
ProtobufCAllocator hf_grpc_arena_allocator(struct hf_grpc_arena *arena);

enum { HF_GRPC_DEPTH_MAX = 100 };

/*
 * What protobuf-c does not look at: that a message nests at most HF_GRPC_DEPTH_MAX deep, so that unpacking cannot exhaust the stack, and
 * that strings are UTF-8 (proto3) without a NUL byte, at which a C string would end.
 */
enum hf_grpc_packed hf_grpc_packed_check(const ProtobufCMessageDescriptor *type, struct hf_grpc_bytes packed);

#endif
