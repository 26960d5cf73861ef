/* Memory of one loop. */
#include "control/grpc/memory.h"

#include <stdlib.h>
#include <string.h>

#include "control/grpc/grpc.h"

struct hf_grpc_chunk {
    struct hf_grpc_chunk *next;
    size_t bytes;
};

static const size_t HF_GRPC_ALIGN = 16;

void *hf_grpc_memory_take(struct hf_grpc_memory *memory, size_t bytes)
{
    void *taken;
    if (bytes > memory->max_bytes - memory->used_bytes)
        return NULL;
    if (bytes == HF_GRPC_BLOCK_BYTES && memory->spare) {
        taken = memory->spare;
        memcpy(&memory->spare, taken, sizeof memory->spare);
        memory->spare_count--;
    } else {
        taken = malloc(bytes);
    }
    if (taken)
        memory->used_bytes += bytes;
    return taken;
}

size_t hf_grpc_memory_bulk_left(const struct hf_grpc_memory *memory)
{
    size_t bulk = memory->max_bytes - memory->max_bytes / 4;
    return memory->used_bytes < bulk ? bulk - memory->used_bytes : 0;
}

void *hf_grpc_memory_take_bulk(struct hf_grpc_memory *memory, size_t bytes)
{
    return bytes > hf_grpc_memory_bulk_left(memory) ? NULL : hf_grpc_memory_take(memory, bytes);
}

void hf_grpc_memory_give(struct hf_grpc_memory *memory, void *taken, size_t bytes)
{
    if (!taken)
        return;
    memory->used_bytes -= bytes;
    if (bytes != HF_GRPC_BLOCK_BYTES || memory->spare_count == HF_GRPC_SPARE_BLOCKS_MAX) {
        free(taken);
        return;
    }
    memcpy(taken, &memory->spare, sizeof memory->spare);
    memory->spare = taken;
    memory->spare_count++;
}

void hf_grpc_memory_destroy(struct hf_grpc_memory *memory)
{
    while (memory->spare) {
        void *block = memory->spare;
        memcpy(&memory->spare, block, sizeof memory->spare);
        free(block);
    }
}

/* ---- Arena ---- */

void hf_grpc_arena_init(struct hf_grpc_arena *arena, struct hf_grpc_memory *memory, void *first, size_t first_bytes)
{
    *arena = (struct hf_grpc_arena){.memory = memory, .next = first, .left_bytes = first_bytes};
}

static void *hf_grpc_arena_grow(struct hf_grpc_arena *arena, size_t bytes)
{
    const size_t head = (sizeof(struct hf_grpc_chunk) + HF_GRPC_ALIGN - 1) / HF_GRPC_ALIGN * HF_GRPC_ALIGN;
    size_t wanted = head + bytes, size = HF_GRPC_BLOCK_BYTES;
    while (size < arena->total_bytes / 2)
        size *= 2;
    /* A large piece gets a chunk of its own size, so that it cannot double what the client made us take. */
    if (size < wanted)
        size = wanted;
    struct hf_grpc_chunk *chunk = size > HF_GRPC_BLOCK_BYTES ? hf_grpc_memory_take_bulk(arena->memory, size)
                                                             : hf_grpc_memory_take(arena->memory, size);
    if (!chunk)
        return NULL;
    *chunk = (struct hf_grpc_chunk){.next = arena->chunks, .bytes = size};
    arena->chunks = chunk;
    arena->total_bytes += size;
    if (size - wanted > arena->left_bytes) {
        arena->next = (uint8_t *)chunk + wanted;
        arena->left_bytes = size - wanted;
    }
    return (uint8_t *)chunk + head;
}

void *hf_grpc_arena_take(struct hf_grpc_arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + HF_GRPC_ALIGN - 1) / HF_GRPC_ALIGN * HF_GRPC_ALIGN;
    if (bytes > arena->left_bytes)
        return hf_grpc_arena_grow(arena, bytes);
    void *taken = arena->next;
    arena->next += bytes;
    arena->left_bytes -= bytes;
    return taken;
}

char *hf_grpc_arena_copy(struct hf_grpc_arena *arena, const void *bytes, size_t count)
{
    char *copy = hf_grpc_arena_take(arena, count + 1);
    if (!copy)
        return NULL;
    if (count > 0)
        memcpy(copy, bytes, count);
    copy[count] = '\0';
    return copy;
}

void hf_grpc_arena_clear(struct hf_grpc_arena *arena)
{
    while (arena->chunks) {
        struct hf_grpc_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        hf_grpc_memory_give(arena->memory, chunk, chunk->bytes);
    }
    arena->next = NULL;
    arena->left_bytes = arena->total_bytes = 0;
}

/* ---- Buffer ---- */

int hf_grpc_buffer_append(struct hf_grpc_memory *memory, struct hf_grpc_buffer *buffer, const void *bytes, size_t count)
{
    size_t held = buffer->end - buffer->begin;
    if (count == 0)
        return 0;
    if (buffer->begin > 0 && (count > buffer->room - buffer->end || held == 0)) {
        memmove(buffer->bytes, buffer->bytes + buffer->begin, held);
        buffer->begin = 0;
        buffer->end = held;
    }
    if (count > buffer->room - buffer->end) {
        size_t room = buffer->room ? buffer->room : HF_GRPC_BLOCK_BYTES;
        while (room < held + count)
            room *= 2;
        uint8_t *grown = hf_grpc_memory_take_bulk(memory, room);
        if (!grown)
            return HF_GRPC_E_MEMORY;
        if (held > 0)
            memcpy(grown, buffer->bytes, held);
        hf_grpc_memory_give(memory, buffer->bytes, buffer->room);
        buffer->bytes = grown;
        buffer->room = room;
    }
    memcpy(buffer->bytes + buffer->end, bytes, count);
    buffer->end += count;
    return 0;
}

void hf_grpc_buffer_clear(struct hf_grpc_memory *memory, struct hf_grpc_buffer *buffer)
{
    hf_grpc_memory_give(memory, buffer->bytes, buffer->room);
    *buffer = (struct hf_grpc_buffer){0};
}
