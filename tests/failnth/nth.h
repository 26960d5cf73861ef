/* The loop of every test here: the first, the second... call fails, until the attempt needs no further one. */
#ifndef HF_TESTS_FAILNTH_NTH_H
#define HF_TESTS_FAILNTH_NTH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "persist/log.h"
#include "tests/failnth/faults.h"
#include "wire/error.h"

enum { NTH_SENTENCE_BYTES = 1024 };

/* One attempt at something: 0, or an enum hf_error with its sentence. It gives back all that it took. */
typedef int nth_attempt(char *sentence, size_t bytes);

static inline void nth_say(char *sentence, size_t bytes, const char *what)
{
    snprintf(sentence, bytes, "%s", what);
}

/* A small log in a directory. */
static inline struct hf_log_options nth_log_options(const char *directory)
{
    return (struct hf_log_options){.dir = directory,
                                   .partitions = 4,
                                   .block_max = 16384,
                                   .segment_bytes = 65536,
                                   .ahead_bytes = 256 << 10,
                                   .buffer_bytes = 1 << 20,
                                   .batch_bytes_max = 4096,
                                   .batch_claims_max = 4,
                                   .lock_wait_ms = 2000,
                                   .wall_ns = 1700000000000000000ull};
}

/* A refusal says why, leaves no memory, descriptor or thread behind, and a next try works. `error`: for rings. */
void nth_for_every(const char *name, nth_attempt *try, enum faults_kind kind, int error, bool own_thread);

#endif
