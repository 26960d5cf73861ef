/*
 * File descriptors of protobuf, as protoc writes them (google/protobuf/descriptor.proto), indexed by file, symbol and extension.
 *
 * Threads: built by one, read by any. Memory: the index only; the sets themselves are the caller's and must outlive it.
 * Failure: a set that is not well formed is refused as a whole.
 */
#ifndef HF_CONTROL_GRPC_DESCRIPTORS_H
#define HF_CONTROL_GRPC_DESCRIPTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hf_grpc_descriptors;

struct hf_grpc_file {
    const uint8_t *bytes; /* a FileDescriptorProto */
    size_t length;
    const char *name; /* terminated */
};

struct hf_grpc_descriptors *hf_grpc_descriptors_create(void);
void hf_grpc_descriptors_destroy(struct hf_grpc_descriptors *descriptors);
/* A FileDescriptorSet; files known by name already are skipped. 0, HF_GRPC_E_USAGE (malformed) or HF_GRPC_E_MEMORY. */
int hf_grpc_descriptors_add(struct hf_grpc_descriptors *descriptors, const void *set, size_t set_bytes);

/* NULL: unknown. A symbol is a message, field, oneof, enum, enum value, extension, service or method by its full name without a leading
 * dot. */
const struct hf_grpc_file *hf_grpc_descriptors_file(const struct hf_grpc_descriptors *descriptors, const char *name);
const struct hf_grpc_file *hf_grpc_descriptors_symbol(const struct hf_grpc_descriptors *descriptors, const char *symbol);
const struct hf_grpc_file *hf_grpc_descriptors_extension(const struct hf_grpc_descriptors *descriptors, const char *extendee,
                                                         int32_t number);
/* Calls `each` for every extension number of the type. */
void hf_grpc_descriptors_extensions(const struct hf_grpc_descriptors *descriptors, const char *extendee,
                                    void (*each)(void *context, int32_t number), void *context);
/* The i-th import of a file; NULL at the end, or if that file is not known (then `*more` is true). */
const struct hf_grpc_file *hf_grpc_descriptors_import(const struct hf_grpc_descriptors *descriptors, const struct hf_grpc_file *file,
                                                      unsigned i, bool *more);

/* Which ways of a method stream, by its full name "package.Service.Method". False: no such method. */
bool hf_grpc_descriptors_method(const struct hf_grpc_descriptors *descriptors, const char *method, bool *client_streaming,
                                bool *server_streaming);

#endif
