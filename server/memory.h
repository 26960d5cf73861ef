/* Memory that is taken at start and kept: zeroed, on cache-pad boundaries, from jemalloc. Any thread. */
#ifndef HF_SERVER_MEMORY_H
#define HF_SERVER_MEMORY_H

#include <stdlib.h>
#include <string.h>

/* NULL when there is none; the caller frees it with hf_memory_free(). */
static inline void *hf_memory_zeroed(size_t bytes)
{
    size_t rounded = (bytes + 127) & ~(size_t)127;
    void *memory = aligned_alloc(128, rounded);
    return memory ? memset(memory, 0, rounded) : NULL;
}

static inline void hf_memory_free(void *memory)
{
    free(memory);
}

#endif
