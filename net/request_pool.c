#include "net/request_pool.h"

#include <stdlib.h>

#include "net/transport.h"

/* Strides are odd numbers of cache lines, so that the beginnings of neighbours fall into different sets. */
enum {
    HF_LINE = 64,
    HF_REQUEST_HEAD_BYTES = (int)((sizeof(struct hf_request) + HF_LINE - 1) / HF_LINE * HF_LINE),
    HF_SMALL_BYTES = 1024,
    HF_SMALL_STRIDE = HF_REQUEST_HEAD_BYTES + 2 * HF_SMALL_BYTES + (int)sizeof(struct hf_frame) +
                      HF_LINE * (HF_REQUEST_HEAD_BYTES / HF_LINE % 2),
    HF_LARGE_STRIDE = HF_REQUEST_HEAD_BYTES + HF_FRAME_BYTES_MAX + HF_FRAME_ANSWER_BYTES_MAX + HF_LINE * 12 +
                      HF_LINE * (1 - HF_REQUEST_HEAD_BYTES / HF_LINE % 2),
};

_Static_assert(HF_SMALL_STRIDE / HF_LINE % 2 == 1 && HF_SMALL_STRIDE % HF_LINE == 0, "an odd number of lines");
_Static_assert(HF_LARGE_STRIDE / HF_LINE % 2 == 1 && HF_LARGE_STRIDE % HF_LINE == 0, "an odd number of lines");

static bool hf_blobs_create(struct hf_blobs *blobs, uint32_t count, size_t stride, bool huge)
{
    *blobs = (struct hf_blobs){.count = count, .stride = stride, .free_count = count};
    blobs->memory = hf_pages_map(count * stride, huge);
    blobs->free = calloc(count, sizeof *blobs->free);
    if (!blobs->memory || !blobs->free)
        return false;
    for (uint32_t i = 0; i < count; i++)
        blobs->free[i] = count - 1 - i;
    return true;
}

static void hf_blobs_destroy(struct hf_blobs *blobs)
{
    hf_pages_unmap(blobs->memory, blobs->count * blobs->stride);
    free(blobs->free);
}

/* The one given back last goes out first: its lines are still in the cache. */
static uint8_t *hf_blob_take(struct hf_blobs *blobs)
{
    return blobs->free_count == 0 ? NULL : blobs->memory + blobs->free[--blobs->free_count] * blobs->stride;
}

static bool hf_blob_give(struct hf_blobs *blobs, const void *blob)
{
    size_t from = (size_t)((const uint8_t *)blob - blobs->memory);
    if ((const uint8_t *)blob < blobs->memory || from >= blobs->count * blobs->stride)
        return false;
    assert(from % blobs->stride == 0 && blobs->free_count < blobs->count);
    blobs->free[blobs->free_count++] = (uint32_t)(from / blobs->stride);
    return true;
}

int hf_request_pool_create(struct hf_request_pool *pool, uint32_t requests_max, uint32_t assemblies_max)
{
    *pool = (struct hf_request_pool){.max = requests_max};
    if (hf_blobs_create(&pool->small, requests_max, HF_SMALL_STRIDE, true) &&
        hf_blobs_create(&pool->large, requests_max, HF_LARGE_STRIDE, false) &&
        hf_blobs_create(&pool->assemblies, assemblies_max, HF_FRAME_BYTES_MAX, false))
        return 0;
    hf_request_pool_destroy(pool);
    return hf_net_fail(HF_E_MEMORY, "no memory for %u requests in flight", requests_max);
}

void hf_request_pool_destroy(struct hf_request_pool *pool)
{
    hf_blobs_destroy(&pool->small);
    hf_blobs_destroy(&pool->large);
    hf_blobs_destroy(&pool->assemblies);
    *pool = (struct hf_request_pool){0};
}

struct hf_request *hf_request_take(struct hf_request_pool *pool, uint32_t command_bytes, uint32_t answer_bytes)
{
    if (pool->in_flight == pool->max)
        return NULL;
    bool small = command_bytes <= HF_SMALL_BYTES && answer_bytes <= HF_SMALL_BYTES;
    uint8_t *blob = hf_blob_take(small ? &pool->small : &pool->large);
    assert(blob);
    pool->in_flight++;
    struct hf_request *request = (struct hf_request *)(void *)blob;
    request->commands = blob + HF_REQUEST_HEAD_BYTES;
    request->answers = request->commands + (small ? HF_SMALL_BYTES : HF_FRAME_BYTES_MAX) + sizeof(struct hf_frame);
    return request;
}

void hf_request_give(struct hf_request_pool *pool, struct hf_request *request)
{
    assert(pool->in_flight > 0);
    pool->in_flight--;
    bool ours = hf_blob_give(&pool->small, request) || hf_blob_give(&pool->large, request);
    assert(ours);
    (void)ours;
}

uint8_t *hf_assembly_take(struct hf_request_pool *pool)
{
    return hf_blob_take(&pool->assemblies);
}

void hf_assembly_give(struct hf_request_pool *pool, uint8_t *assembly)
{
    bool ours = hf_blob_give(&pool->assemblies, assembly);
    assert(ours);
    (void)ours;
}
