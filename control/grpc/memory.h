/*
 * Memory of one loop: everything that clients can make grow is taken here and counted against one bound.
 *
 * Threads: one loop's. Memory: blocks of HF_GRPC_BLOCK_BYTES are kept for reuse (a stream lives in one), larger ones come from malloc.
 * An arena gives memory piecewise and takes it back as a whole.
 */
#ifndef HF_CONTROL_GRPC_MEMORY_H
#define HF_CONTROL_GRPC_MEMORY_H

#include <stddef.h>
#include <stdint.h>

enum { HF_GRPC_BLOCK_BYTES = 4096, HF_GRPC_SPARE_BLOCKS_MAX = 4096 };

struct hf_grpc_memory {
    size_t used_bytes, max_bytes;
    void *spare;
    unsigned spare_count;
};

/* NULL: the bound is reached, or malloc failed. Give back with the same size. */
void *hf_grpc_memory_take(struct hf_grpc_memory *memory, size_t bytes);
/* The same for messages and what waits to be sent, which leave a quarter alone: clients that fill memory with those must not keep the small
 * calls of others from being served. */
void *hf_grpc_memory_take_bulk(struct hf_grpc_memory *memory, size_t bytes);
/* What bulk may still take. */
size_t hf_grpc_memory_bulk_left(const struct hf_grpc_memory *memory);
void hf_grpc_memory_give(struct hf_grpc_memory *memory, void *taken, size_t bytes);
void hf_grpc_memory_destroy(struct hf_grpc_memory *memory);

struct hf_grpc_chunk;

struct hf_grpc_arena {
    struct hf_grpc_memory *memory;
    struct hf_grpc_chunk *chunks; /* newest first */
    uint8_t *next;
    size_t left_bytes, total_bytes;
};

/* Begins with `first_bytes` of memory that is not the arena's to give back. */
void hf_grpc_arena_init(struct hf_grpc_arena *arena, struct hf_grpc_memory *memory, void *first, size_t first_bytes);
/* 16-byte aligned, not zeroed; NULL as above. */
void *hf_grpc_arena_take(struct hf_grpc_arena *arena, size_t bytes);
/* A copy with a NUL behind it; NULL as above. */
char *hf_grpc_arena_copy(struct hf_grpc_arena *arena, const void *bytes, size_t count);
/* Gives back everything but the first memory, which is no longer used. */
void hf_grpc_arena_clear(struct hf_grpc_arena *arena);

/* Bytes that grow at the end and are taken at the front. */
struct hf_grpc_buffer {
    uint8_t *bytes;
    size_t begin, end, room;
};

/* 0 or HF_GRPC_E_MEMORY; grows to at least twice its size. */
int hf_grpc_buffer_append(struct hf_grpc_memory *memory, struct hf_grpc_buffer *buffer, const void *bytes, size_t count);
void hf_grpc_buffer_clear(struct hf_grpc_memory *memory, struct hf_grpc_buffer *buffer);

#endif
