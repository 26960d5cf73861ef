/* Looking at a stopped directory without changing a byte: what `holdfast journal info|verify|dump` needs.
 *
 * Threads: any one. Memory: its own while it runs. Failure: enum hf_error, the sentence in hf_log_error(NULL). Every call takes the
 * directory's lock shared: several may look at once, and a running engine makes it HF_E_IN_USE. */
#ifndef HF_PERSIST_INSPECT_H
#define HF_PERSIST_INSPECT_H

#include "persist/log.h"

#include <stdbool.h>

struct hf_inspect_info {
    uint32_t format, partitions, block_max;
    uint64_t segment_bytes;
    uint64_t created_ns;    /* wall clock when it was formatted */
    uint64_t term;          /* of the newest start; 0: never started */
    uint64_t term_position; /* where it began */
    uint64_t manifest_sequence;
    bool clean; /* stopped cleanly at clean_end */
    uint64_t clean_end;
    uint64_t first_position, end_position; /* of the segments that exist */
    uint64_t segments;
};

struct hf_inspect_verify {
    uint64_t records, blocks;
    uint64_t end_position;
    uint64_t torn_tail_bytes;
    bool damaged;
    uint64_t damaged_position; /* if damaged */
};

int hf_inspect_info(const char *dir, struct hf_inspect_info *out);

/* Reads every block. 0 also when it found damage, which then stands in *out and its sentence in hf_log_error(NULL). */
int hf_inspect_verify(const char *dir, struct hf_inspect_verify *out);

/* Calls `block` (may be NULL) for each block in order and `visit` (may be NULL) for each of its records that ends at or before `until`.
 * What either returns nonzero ends it and is returned. */
int hf_inspect_walk(const char *dir, int (*block)(void *context, const struct hf_block *block), hf_log_visit *visit, void *context,
                    uint64_t until);

#endif
