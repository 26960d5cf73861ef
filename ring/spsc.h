/*
 * The ring between two threads: one puts, one gets.
 *
 * Purpose: what crosses cores between shards (forwarded commands, answers, hand-overs) goes through these and nothing else.
 * Threads: exactly one producer and one consumer at a time; each function says whose it is. Different threads may take the two
 *   parts over the ring's life if something else orders the change of hands.
 * Memory: all of it is the caller's, given at init (hf_spsc_bytes says how much) and to be kept until nobody uses the ring.
 * Failure: a full ring takes fewer than asked and says how many; it never blocks, overwrites or drops.
 *
 * Why it is right
 *   tail counts the elements ever put, head the ones ever got; both run freely through 2^64 and are only ever compared by
 *   difference, so no value is special and used = tail - head holds across the wrap. The slot of index i is i & mask.
 *   Producer-owned: tail, head_seen. Consumer-owned: head, tail_seen. Each *_seen is an old copy of the other side's index: the
 *   indices only grow, so an old copy understates what one may do and never overstates it; the line of the other side is read only when
 *   the copy does not suffice.
 *     [P1] store-release of tail (commit)    -> [C1] load-acquire of tail: the consumer sees the elements written before the commit.
 *     [C2] store-release of head (release)   -> [P2] load-acquire of head: the producer writes a slot only after the consumer's reads
 *                                               of its old element.
 */
#ifndef HF_RING_SPSC_H
#define HF_RING_SPSC_H

#include "ring/atomics.h"

#include <assert.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct hf_spsc {
    /* constant after init */
    alignas(HF_CACHE_PAD_BYTES) unsigned char *slots;
    uint64_t mask;
    size_t element_bytes;

    /* the producer's */
    alignas(HF_CACHE_PAD_BYTES) struct hf_atomic_u64 tail;
    uint64_t head_seen;

    /* the consumer's */
    alignas(HF_CACHE_PAD_BYTES) struct hf_atomic_u64 head;
    uint64_t tail_seen;
};

/* Bytes that hf_spsc_init needs for `capacity` elements (a power of two, 1 to 2^31) of `element_bytes` bytes; 0 if these are not valid. */
size_t hf_spsc_bytes(uint32_t capacity, size_t element_bytes);

/*
 * Makes an empty ring in `memory` (hf_spsc_bytes of it, aligned to HF_CACHE_PAD_BYTES; stays the caller's) whose indices start at
 * `first_index` (0, except in tests of the wrap). Returns the ring, at the start of `memory`; NULL if the arguments are not valid.
 */
struct hf_spsc *hf_spsc_init(void *memory, uint32_t capacity, size_t element_bytes, uint64_t first_index);

/* Elements that fit, fixed at init. Any thread. */
static inline uint32_t hf_spsc_capacity(const struct hf_spsc *ring)
{
    return (uint32_t)(ring->mask + 1);
}

/* Elements in the ring at some moment during the call: for counters and status only. Any thread. */
uint32_t hf_spsc_used(const struct hf_spsc *ring);

static inline void *hf_spsc_slot(const struct hf_spsc *ring, uint64_t index, size_t element_bytes)
{
    return ring->slots + (index & ring->mask) * element_bytes;
}

/* min(wanted, what lies between `index` and the end of the slots): a span never wraps. */
static inline uint32_t hf_spsc_contiguous(const struct hf_spsc *ring, uint64_t index, uint32_t wanted)
{
    uint64_t to_end = ring->mask + 1 - (index & ring->mask);
    return wanted < to_end ? wanted : (uint32_t)to_end;
}

/* Free slots, looked up to `wanted`: at least min(wanted, free), possibly from an old copy of head. Producer. */
static inline uint32_t hf_spsc_room(struct hf_spsc *ring, uint32_t wanted)
{
    uint64_t tail = hf_load_relaxed_u64(&ring->tail);
    uint64_t room = ring->mask + 1 - (tail - ring->head_seen);
    if (room < wanted) {
        ring->head_seen = hf_load_acquire_u64(&ring->head); /* [P2], partner C2 */
        room = ring->mask + 1 - (tail - ring->head_seen);
    }
    return room < wanted ? (uint32_t)room : wanted;
}

/* Elements ready, looked up to `wanted`. Consumer. */
static inline uint32_t hf_spsc_ready(struct hf_spsc *ring, uint32_t wanted)
{
    uint64_t head = hf_load_relaxed_u64(&ring->head);
    uint64_t ready = ring->tail_seen - head;
    if (ready < wanted) {
        ring->tail_seen = hf_load_acquire_u64(&ring->tail); /* [C1], partner P1 */
        ready = ring->tail_seen - head;
    }
    return ready < wanted ? (uint32_t)ready : wanted;
}

/*
 * In place, in: points *span at up to `count` free slots that lie together and returns how many (0: full, *span untouched; fewer also
 * at the end of the slots: ask again after the commit). The producer owns them until hf_spsc_commit. Producer.
 */
static inline uint32_t hf_spsc_reserve(struct hf_spsc *ring, uint32_t count, void **span)
{
    uint64_t tail = hf_load_relaxed_u64(&ring->tail);
    uint32_t room = hf_spsc_contiguous(ring, tail, hf_spsc_room(ring, count));
    if (room != 0)
        *span = hf_spsc_slot(ring, tail, ring->element_bytes);
    return room;
}

/* Hands the first `count` reserved slots to the consumer; at most as many as were reserved. Producer. */
static inline void hf_spsc_commit(struct hf_spsc *ring, uint32_t count)
{
    uint64_t tail = hf_load_relaxed_u64(&ring->tail);
    assert(tail + count - ring->head_seen <= ring->mask + 1);
    hf_store_release_u64(&ring->tail, tail + count); /* [P1], partner C1 */
}

/*
 * In place, out: points *span at up to `count` elements that lie together, oldest first, and returns how many (0: empty, *span
 * untouched). The consumer may read and write them until hf_spsc_release. Consumer.
 */
static inline uint32_t hf_spsc_peek(struct hf_spsc *ring, uint32_t count, void **span)
{
    uint64_t head = hf_load_relaxed_u64(&ring->head);
    uint32_t ready = hf_spsc_contiguous(ring, head, hf_spsc_ready(ring, count));
    if (ready != 0)
        *span = hf_spsc_slot(ring, head, ring->element_bytes);
    return ready;
}

/* Gives the first `count` peeked slots back to the producer; at most as many as were peeked. Consumer. */
static inline void hf_spsc_release(struct hf_spsc *ring, uint32_t count)
{
    uint64_t head = hf_load_relaxed_u64(&ring->head);
    assert(count <= ring->tail_seen - head);
    hf_store_release_u64(&ring->head, head + count); /* [C2], partner P2 */
}

/* A run seldom wraps, so it is one copy nearly always; a run of one element is a copy of constant size. */

static inline void hf_spsc_copy_in(struct hf_spsc *ring, uint64_t index, const unsigned char *from, uint32_t count, size_t element_bytes)
{
    uint32_t first = hf_spsc_contiguous(ring, index, count);
    if (count == 1) {
        memcpy(hf_spsc_slot(ring, index, element_bytes), from, element_bytes);
        return;
    }
    memcpy(hf_spsc_slot(ring, index, element_bytes), from, first * element_bytes);
    if (first < count)
        memcpy(ring->slots, from + first * element_bytes, (count - first) * element_bytes);
}

static inline void hf_spsc_copy_out(const struct hf_spsc *ring, uint64_t index, unsigned char *to, uint32_t count, size_t element_bytes)
{
    uint32_t first = hf_spsc_contiguous(ring, index, count);
    if (count == 1) {
        memcpy(to, hf_spsc_slot(ring, index, element_bytes), element_bytes);
        return;
    }
    memcpy(to, hf_spsc_slot(ring, index, element_bytes), first * element_bytes);
    if (first < count)
        memcpy(to + first * element_bytes, ring->slots, (count - first) * element_bytes);
}

/*
 * Batch in: copies up to `count` elements of `element_bytes` bytes (the ring's own size; a constant at the call makes the copy cheap)
 * and returns how many fitted, the first ones. `elements` stays the caller's. Producer.
 */
static inline uint32_t hf_spsc_put(struct hf_spsc *ring, const void *elements, uint32_t count, size_t element_bytes)
{
    assert(element_bytes == ring->element_bytes);
    uint64_t tail = hf_load_relaxed_u64(&ring->tail);
    uint32_t room = hf_spsc_room(ring, count);
    if (room != 0) {
        hf_spsc_copy_in(ring, tail, elements, room, element_bytes);
        hf_store_release_u64(&ring->tail, tail + room); /* [P1], partner C1 */
    }
    return room;
}

/* Batch out: copies up to `count` elements, oldest first, to `elements` (the caller's) and returns how many. Consumer. */
static inline uint32_t hf_spsc_get(struct hf_spsc *ring, void *elements, uint32_t count, size_t element_bytes)
{
    assert(element_bytes == ring->element_bytes);
    uint64_t head = hf_load_relaxed_u64(&ring->head);
    uint32_t ready = hf_spsc_ready(ring, count);
    if (ready != 0) {
        hf_spsc_copy_out(ring, head, elements, ready, element_bytes);
        hf_store_release_u64(&ring->head, head + ready); /* [C2], partner P2 */
    }
    return ready;
}

#endif
