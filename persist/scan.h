/* The log read forward in large pieces, by threads that stay a few pieces ahead.
 *
 * Owner: one thread; the reading threads are the scan's own, and where there are none the owner reads. Memory: a few chunks, freed by
 * close. Spans handed out stay valid until a span two chunks further is asked for. Failure: enum hf_error, sentence in `error`. */
#ifndef HF_PERSIST_SCAN_H
#define HF_PERSIST_SCAN_H

#include "persist/backend.h"

struct hf_scan;

/* Begins at `from` (rounded down to a chunk) of a backend that is attached with this geometry. */
int hf_scan_open(struct hf_backend *backend, const struct hf_geometry *geometry, uint64_t from, struct hf_scan **out, char *error);

/* The bytes at `position` (multiple of 4 KiB, at most one chunk before the furthest asked for): *at, readable up to the next multiple of
 * block_max. *at is NULL behind the last segment; a segment that is missing before others reads as zeros, and *missing. */
int hf_scan_at(struct hf_scan *scan, uint64_t position, const uint8_t **at, bool *missing, char *error);

void hf_scan_close(struct hf_scan *scan);

#endif
