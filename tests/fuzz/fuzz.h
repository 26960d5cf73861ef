/* What every fuzz target and the driver share.
 *
 * A target is LLVMFuzzerTestOneInput(): it must hold for any bytes, keeps nothing from one input to the next, and ends the process where a
 * promise is broken. `make fuzz` links it with libFuzzer; everywhere else driver.c runs its corpus and mutations of its own. A target may
 * bring LLVMFuzzerCustomMutator() where plain mutations would seldom get past a length. */
#ifndef HF_TESTS_FUZZ_FUZZ_H
#define HF_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Weak in the driver: a target that has none gets LLVMFuzzerMutate() alone. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
/* Given by libFuzzer, or by the driver: changes the bytes in place, returns how many there are now (at most size_max). */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

/* A broken promise: says which, and ends the process so that both libFuzzer and the driver keep the input. */
#define FUZZ_CHECK(promise)                                                       \
    do {                                                                          \
        if (!(promise)) {                                                         \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #promise); \
            abort();                                                              \
        }                                                                         \
    } while (0)

/* The input, taken from the front; behind its end everything is zero. */
struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

static inline const uint8_t *fuzz_bytes(struct fuzz_input *input, size_t bytes)
{
    const uint8_t *at = input->at;
    input->at += bytes;
    input->left -= bytes;
    return at;
}

static inline uint64_t fuzz_take(struct fuzz_input *input, size_t bytes)
{
    uint64_t value = 0;
    if (bytes > input->left)
        bytes = input->left;
    if (bytes > 0)
        memcpy(&value, fuzz_bytes(input, bytes), bytes);
    return value;
}

static inline uint8_t fuzz_take8(struct fuzz_input *input)
{
    return (uint8_t)fuzz_take(input, 1);
}

static inline uint16_t fuzz_take16(struct fuzz_input *input)
{
    return (uint16_t)fuzz_take(input, 2);
}

#endif
