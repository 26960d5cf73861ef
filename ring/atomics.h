/*
 * Every atomic operation of the project.
 *
 * Purpose: one place that says which memory orders are in use, and one header to replace when the rings are put under a model
 * checker: no other file uses _Atomic, <stdatomic.h> or a compiler's atomic builtin; they use the types and functions below.
 *
 * Orders: C11 acquire and release (ISO/IEC 9899:2018, 7.17.3), and relaxed where no other memory is handed over. There is no
 * sequentially consistent operation and no stand-alone fence: every edge is between two named accesses of one variable.
 *
 * Names: hf_<operation>_<order>_<type>. A u32 or u64 lives in a struct of its own, so that a plain access does not compile.
 *
 * Memory and failure: nothing allocates, nothing fails; alignment is the type's own.
 */
#ifndef HF_RING_ATOMICS_H
#define HF_RING_ATOMICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Bytes that keep two owners apart: two 64-byte lines, because x86 cores fetch lines in pairs. */
#define HF_CACHE_PAD_BYTES 128

struct hf_atomic_u32 {
    _Atomic uint32_t v;
};

struct hf_atomic_u64 {
    _Atomic uint64_t v;
};

/* Loads. Acquire: what the writer of the value did before its release is seen by what follows. */

static inline uint32_t hf_load_relaxed_u32(const struct hf_atomic_u32 *a)
{
    return atomic_load_explicit(&a->v, memory_order_relaxed);
}

static inline uint32_t hf_load_acquire_u32(const struct hf_atomic_u32 *a)
{
    return atomic_load_explicit(&a->v, memory_order_acquire);
}

static inline uint64_t hf_load_relaxed_u64(const struct hf_atomic_u64 *a)
{
    return atomic_load_explicit(&a->v, memory_order_relaxed);
}

static inline uint64_t hf_load_acquire_u64(const struct hf_atomic_u64 *a)
{
    return atomic_load_explicit(&a->v, memory_order_acquire);
}

/* Stores. Release: everything done before is seen by whoever loads the value with acquire. */

static inline void hf_store_relaxed_u32(struct hf_atomic_u32 *a, uint32_t value)
{
    atomic_store_explicit(&a->v, value, memory_order_relaxed);
}

static inline void hf_store_release_u32(struct hf_atomic_u32 *a, uint32_t value)
{
    atomic_store_explicit(&a->v, value, memory_order_release);
}

static inline void hf_store_relaxed_u64(struct hf_atomic_u64 *a, uint64_t value)
{
    atomic_store_explicit(&a->v, value, memory_order_relaxed);
}

static inline void hf_store_release_u64(struct hf_atomic_u64 *a, uint64_t value)
{
    atomic_store_explicit(&a->v, value, memory_order_release);
}

/*
 * Compare and set: *a becomes `desired` if it is *expected; else *expected becomes what *a is (a relaxed load) and false is returned.
 * `weak` may fail without a reason and belongs in a loop; `strong` fails only for another value.
 */

static inline bool hf_cas_strong_acquire_u32(struct hf_atomic_u32 *a, uint32_t *expected, uint32_t desired)
{
    return atomic_compare_exchange_strong_explicit(&a->v, expected, desired, memory_order_acquire, memory_order_relaxed);
}

static inline bool hf_cas_weak_release_u64(struct hf_atomic_u64 *a, uint64_t *expected, uint64_t desired)
{
    return atomic_compare_exchange_weak_explicit(&a->v, expected, desired, memory_order_release, memory_order_relaxed);
}

static inline bool hf_cas_weak_acq_rel_u64(struct hf_atomic_u64 *a, uint64_t *expected, uint64_t desired)
{
    return atomic_compare_exchange_weak_explicit(&a->v, expected, desired, memory_order_acq_rel, memory_order_relaxed);
}

/* Read, change, write; each returns the value before. */

static inline uint32_t hf_add_release_u32(struct hf_atomic_u32 *a, uint32_t value)
{
    return atomic_fetch_add_explicit(&a->v, value, memory_order_release);
}

static inline uint64_t hf_add_relaxed_u64(struct hf_atomic_u64 *a, uint64_t value)
{
    return atomic_fetch_add_explicit(&a->v, value, memory_order_relaxed);
}

static inline uint64_t hf_add_release_u64(struct hf_atomic_u64 *a, uint64_t value)
{
    return atomic_fetch_add_explicit(&a->v, value, memory_order_release);
}

static inline uint64_t hf_or_relaxed_u64(struct hf_atomic_u64 *a, uint64_t bits)
{
    return atomic_fetch_or_explicit(&a->v, bits, memory_order_relaxed);
}

static inline uint64_t hf_and_relaxed_u64(struct hf_atomic_u64 *a, uint64_t bits)
{
    return atomic_fetch_and_explicit(&a->v, bits, memory_order_relaxed);
}

/* A counter with one writer and any reader: no locked instruction, so two writers would lose counts. */
static inline void hf_bump_relaxed_u64(struct hf_atomic_u64 *a, uint64_t value)
{
    hf_store_relaxed_u64(a, hf_load_relaxed_u64(a) + value);
}

/* Tells the core that this is a spin: gives the pipeline, and a sibling thread, to others for a moment. */
static inline void hf_cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
