/* Memory for the requests in flight and for frames of which a part has come. Fixed at start, touched on use, owned by the shard's thread.
 *
 * Requests come in two sizes: nearly all frames of one to a few commands fit the small one, which keeps thousands of them within the
 * caches and a few huge pages. */
#ifndef HF_NET_REQUEST_POOL_H
#define HF_NET_REQUEST_POOL_H

#include "net/net.h"

struct hf_blobs {
    uint8_t *memory;
    uint32_t *free;
    uint32_t free_count, count;
    size_t stride;
};

struct hf_request_pool {
    struct hf_blobs small, large, assemblies;
    uint32_t in_flight, max;
};

/* 0 or HF_E_MEMORY. */
int hf_request_pool_create(struct hf_request_pool *pool, uint32_t requests_max, uint32_t assemblies_max);
void hf_request_pool_destroy(struct hf_request_pool *pool);

/* A request with room for so many bytes of commands and of answers; only `commands` and `answers` are set. NULL when requests_max are out.
 */
struct hf_request *hf_request_take(struct hf_request_pool *pool, uint32_t command_bytes, uint32_t answer_bytes);
void hf_request_give(struct hf_request_pool *pool, struct hf_request *request);

/* HF_FRAME_BYTES_MAX bytes, 8-byte aligned; NULL when all are out. */
uint8_t *hf_assembly_take(struct hf_request_pool *pool);
void hf_assembly_give(struct hf_request_pool *pool, uint8_t *assembly);

#endif
