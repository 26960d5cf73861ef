/*
 * What a model of a structure of ring/ is, and what it may use of the checker (checker.cpp).
 *
 * A model is C: it uses the structure as its users do, from three threads, and asserts what must hold. Model and structure are compiled
 * over the second version of ring/atomics.h and with the compiler's instrumentation of plain accesses, so that the checker sees each
 * access. Threads: three, all models; the checker runs them on one thread of the system, and decides at each atomic operation who goes on
 * and, for a load, which of the values that C11 allows it sees. Memory: what the threads share lies in the arena, zeroed before each
 * iteration; only there plain accesses are checked for races. Failure: assert; a race, an assert and a thread that never ends each end the
 * iteration.
 */
#ifndef HF_TESTS_MODELS_CHECKER_H
#define HF_TESTS_MODELS_CHECKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { HF_MODEL_THREADS = 3, HF_MODEL_ARENA_BYTES = 192 << 10 };

enum hf_model_order { HF_MODEL_RELAXED, HF_MODEL_ACQUIRE, HF_MODEL_RELEASE, HF_MODEL_ACQ_REL };

/* One use of an atomic operation in a source file. `order` is what stands there, `weakened` what the checker makes of it. */
struct hf_model_site {
    const char *file, *operation;
    uint32_t line;
    enum hf_model_order order, weakened;
    bool is_weakened;
    uint32_t models; /* bit m: model m came here */
};

struct hf_model {
    const char *name;
    void (*setup)(void); /* makes everything in the arena; happens before the threads */
    void (*threads[HF_MODEL_THREADS])(void);
    void (*finish)(void); /* after the threads */
    int switches;         /* besides random runs: all runs with at most so many forced switches of thread; -1: too many to run */
};

/* The models, from spsc_model.c, word_model.c and log_buffer_model.c; each list ends with a model without a name. */
extern const struct hf_model hf_spsc_models[], hf_word_models[], hf_log_buffer_models[];

/* HF_MODEL_ARENA_BYTES, aligned to 4 KiB. */
extern unsigned char hf_model_arena[];

/* Inside an endless wait for another thread. */
void hf_model_pause(void);

/* The operations behind ring/atomics.h; `cell` is what stands in the structure. */
uint64_t hf_model_load(const uint32_t *cell, struct hf_model_site *site);
void hf_model_store(uint32_t *cell, uint64_t value, struct hf_model_site *site);
bool hf_model_cas(uint32_t *cell, uint64_t *expected, uint64_t desired, bool weak, struct hf_model_site *site);
bool hf_model_cas_u32(uint32_t *cell, uint32_t *expected, uint32_t desired, bool weak, struct hf_model_site *site);
uint64_t hf_model_add(uint32_t *cell, uint64_t value, struct hf_model_site *site);
uint64_t hf_model_or(uint32_t *cell, uint64_t bits, struct hf_model_site *site);
uint64_t hf_model_and(uint32_t *cell, uint64_t bits, struct hf_model_site *site);

void *hf_model_memcpy(void *to, const void *from, size_t bytes);
void *hf_model_memmove(void *to, const void *from, size_t bytes);
void *hf_model_memset(void *to, int byte, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
