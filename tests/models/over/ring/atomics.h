/*
 * The second version of ring/atomics.h: every operation goes to a model checker instead of the processor.
 *
 * Purpose: the files of ring/ are compiled as they are, with this folder before the root in the include path; `#include "ring/atomics.h"`
 * then finds this file. Each use of an operation becomes a site that knows its file, line and order, so that a check can weaken one of
 * them. Also here: memcpy, memset and memmove, whose accesses the compiler's own instrumentation does not see. Memory and failure: as in
 * ring/atomics.h; a failed check ends the checker's iteration.
 */
#ifndef HF_RING_ATOMICS_H
#define HF_RING_ATOMICS_H

#include "tests/models/checker.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define HF_CACHE_PAD_BYTES 128

/* The number of the checker's atomic that stands for this one; 0: none yet, and the value is 0. As large as what it replaces. */
struct hf_atomic_u32 {
    uint32_t cell;
};

struct hf_atomic_u64 {
    alignas(8) uint32_t cell;
};

#define HF_MODEL_SITE(name, site_order)                                                                                      \
    (__extension__({                                                                                                         \
        static struct hf_model_site site = {.file = __FILE__, .operation = (name), .line = __LINE__, .order = (site_order)}; \
        __attribute__((section("hf_model_sites"), used)) static struct hf_model_site *const listed = &site;                  \
        (void)listed;                                                                                                        \
        &site;                                                                                                               \
    }))

#define hf_load_relaxed_u32(a)         ((uint32_t)hf_model_load(&(a)->cell, HF_MODEL_SITE("load", HF_MODEL_RELAXED)))
#define hf_load_acquire_u32(a)         ((uint32_t)hf_model_load(&(a)->cell, HF_MODEL_SITE("load", HF_MODEL_ACQUIRE)))
#define hf_load_relaxed_u64(a)         hf_model_load(&(a)->cell, HF_MODEL_SITE("load", HF_MODEL_RELAXED))
#define hf_load_acquire_u64(a)         hf_model_load(&(a)->cell, HF_MODEL_SITE("load", HF_MODEL_ACQUIRE))

#define hf_store_relaxed_u32(a, value) hf_model_store(&(a)->cell, (value), HF_MODEL_SITE("store", HF_MODEL_RELAXED))
#define hf_store_release_u32(a, value) hf_model_store(&(a)->cell, (value), HF_MODEL_SITE("store", HF_MODEL_RELEASE))
#define hf_store_relaxed_u64(a, value) hf_model_store(&(a)->cell, (value), HF_MODEL_SITE("store", HF_MODEL_RELAXED))
#define hf_store_release_u64(a, value) hf_model_store(&(a)->cell, (value), HF_MODEL_SITE("store", HF_MODEL_RELEASE))

#define hf_cas_strong_acquire_u32(a, expected, desired) \
    hf_model_cas_u32(&(a)->cell, (expected), (desired), false, HF_MODEL_SITE("cas", HF_MODEL_ACQUIRE))
#define hf_cas_weak_release_u64(a, expected, desired) \
    hf_model_cas(&(a)->cell, (expected), (desired), true, HF_MODEL_SITE("cas", HF_MODEL_RELEASE))
#define hf_cas_weak_acq_rel_u64(a, expected, desired) \
    hf_model_cas(&(a)->cell, (expected), (desired), true, HF_MODEL_SITE("cas", HF_MODEL_ACQ_REL))

#define hf_add_release_u32(a, value)  ((uint32_t)hf_model_add(&(a)->cell, (value), HF_MODEL_SITE("add", HF_MODEL_RELEASE)))
#define hf_add_relaxed_u64(a, value)  hf_model_add(&(a)->cell, (value), HF_MODEL_SITE("add", HF_MODEL_RELAXED))
#define hf_add_release_u64(a, value)  hf_model_add(&(a)->cell, (value), HF_MODEL_SITE("add", HF_MODEL_RELEASE))
#define hf_or_relaxed_u64(a, bits)    hf_model_or(&(a)->cell, (bits), HF_MODEL_SITE("or", HF_MODEL_RELAXED))
#define hf_and_relaxed_u64(a, bits)   hf_model_and(&(a)->cell, (bits), HF_MODEL_SITE("and", HF_MODEL_RELAXED))

#define hf_bump_relaxed_u64(a, value) hf_store_relaxed_u64((a), hf_load_relaxed_u64(a) + (value))
#define hf_cpu_pause()                hf_model_pause()

#undef memcpy
#undef memset
#undef memmove
#define memcpy  hf_model_memcpy
#define memset  hf_model_memset
#define memmove hf_model_memmove

#endif
