#include "ring/spsc.h"

static bool capacity_is_valid(uint32_t capacity, size_t element_bytes)
{
    bool power_of_two = capacity != 0 && (capacity & (capacity - 1)) == 0;
    return power_of_two && element_bytes != 0 && element_bytes <= (SIZE_MAX - sizeof(struct hf_spsc)) / 2 / capacity;
}

size_t hf_spsc_bytes(uint32_t capacity, size_t element_bytes)
{
    if (!capacity_is_valid(capacity, element_bytes))
        return 0;
    size_t bytes = sizeof(struct hf_spsc) + capacity * element_bytes;
    return (bytes + HF_CACHE_PAD_BYTES - 1) & ~(size_t)(HF_CACHE_PAD_BYTES - 1);
}

struct hf_spsc *hf_spsc_init(void *memory, uint32_t capacity, size_t element_bytes, uint64_t first_index)
{
    if (memory == NULL || (uintptr_t)memory % HF_CACHE_PAD_BYTES != 0 || !capacity_is_valid(capacity, element_bytes))
        return NULL;
    struct hf_spsc *ring = memory;
    ring->slots = (unsigned char *)memory + sizeof(*ring);
    ring->mask = capacity - 1;
    ring->element_bytes = element_bytes;
    ring->head_seen = first_index;
    ring->tail_seen = first_index;
    hf_store_relaxed_u64(&ring->tail, first_index);
    hf_store_relaxed_u64(&ring->head, first_index);
    return ring;
}

/* head is read first, with acquire (partner C2): the tail it was read against is there then, so the difference cannot be negative. Nobody
 * reads an element for this count, so tail needs no order. It is cut to the capacity. */
uint32_t hf_spsc_used(const struct hf_spsc *ring)
{
    uint64_t head = hf_load_acquire_u64(&ring->head);
    uint64_t used = hf_load_relaxed_u64(&ring->tail) - head;
    return used > ring->mask ? hf_spsc_capacity(ring) : (uint32_t)used;
}
