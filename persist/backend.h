/* Where blocks go: the one small interface under the log. Nothing above it knows of files.
 *
 * Purpose: append(block) ends as durable, fenced or unknown; the last two end the process's right to serve. Reading delivers spans of the
 * log. Threads: the drainer calls everything but read(), which any thread may call with a cursor of its own, and
 * space_end()/space_failing(), which any thread may call. Failure: enum hf_error, with a sentence in backend->error. A failed append is
 * reported by poll and never retried. */
#ifndef HF_PERSIST_BACKEND_H
#define HF_PERSIST_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hf_append_outcome { HF_APPEND_DURABLE = 0, HF_APPEND_FENCED = 1, HF_APPEND_UNKNOWN = 2 };

struct hf_append_done {
    uint64_t position;
    enum hf_append_outcome outcome;
};

/* A reader's own place and descriptor; zero before the first use, ended by read_end. */
struct hf_read_cursor {
    uint64_t segment; /* number + 1 of what fd is; 0: none */
    int fd;
    bool missing; /* no segment stands where the last read began */
    char error[256];
};

struct hf_geometry {
    uint32_t block_max;
    uint64_t segment_bytes;
    uint64_t ahead_bytes;
};

enum { HF_ERROR_BYTES = 512 };

struct hf_backend {
    const struct hf_backend_ops *ops;
    bool direct, dsync;
    bool reads_alone; /* a scan reads with the thread that asks, because several at once would not be faster */
    uint32_t seed;    /* of a new directory; 0: a random one */
    unsigned depth;   /* appends worth having in flight; set by space_start */
    char error[HF_ERROR_BYTES];
};

struct hf_backend_ops {
    const char *name;
    /* Takes the right to write (or, shared, to read) for as long as the backend lives and writes of it are under way; HF_E_IN_USE after
     * wait_ms. */
    int (*lock)(struct hf_backend *backend, bool shared, uint64_t wait_ms);
    /* One copy of the manifest; *bytes: in room, out what is there (0: none). Unless the lock is shared, what it delivers is durable: it
     * may be all that is left when the other copy's writing is cut. */
    int (*manifest_read)(struct hf_backend *backend, unsigned copy, void *buf, uint32_t *bytes);
    /* Durable when it returns 0. */
    int (*manifest_write)(struct hf_backend *backend, unsigned copy, const void *buf, uint32_t bytes);
    /* What a manifest said, before any of the following; looks at what exists. */
    int (*attach)(struct hf_backend *backend, const struct hf_geometry *geometry);
    /* First position that exists and position behind the last; equal: nothing. */
    void (*extent)(struct hf_backend *backend, uint64_t *first, uint64_t *end);
    /* Reads `bytes` (multiple of 4096, within one segment) at `position` into 4 KiB aligned memory; what does not exist is zeros, and
     * *absent if later segments do. Any thread. */
    int (*read)(struct hf_backend *backend, struct hf_read_cursor *cursor, uint64_t position, void *buf, uint32_t bytes, bool *absent);
    void (*read_end)(struct hf_backend *backend, struct hf_read_cursor *cursor);
    /* Makes everything from `position` on durable, whoever wrote it; without `direct` what is read after it comes from the disk. */
    int (*flush)(struct hf_backend *backend, uint64_t position);
    /* Zeroed space from `position` on, at least a first part; the rest follows by itself. Appends come from memory..memory + bytes. Probes.
     */
    int (*space_start)(struct hf_backend *backend, uint64_t position, void *memory, size_t bytes);
    /* Where the space ends that appends may go to. Any thread. */
    uint64_t (*space_end)(const struct hf_backend *backend);
    /* More space is wanted and cannot be had. Any thread. */
    bool (*space_failing)(const struct hf_backend *backend);
    /* The log was appended to up to `appended` and is durable up to `durable`. */
    void (*space_used)(struct hf_backend *backend, uint64_t appended, uint64_t durable);
    /* Submits a block; `data` stays untouched until poll reports it. `bytes`: multiple of 4096, within one block_max. */
    int (*append)(struct hf_backend *backend, uint64_t position, const void *data, uint32_t bytes);
    /* What ended since the last call, in any order, at most `max`; negative: an error that ends it all. Never waits. */
    int (*poll)(struct hf_backend *backend, struct hf_append_done *done, unsigned max);
    /* Readable when poll has something; -1: none. */
    int (*event_fd)(const struct hf_backend *backend);
    /* The clock that goes on while the drainer waits, ns. */
    uint64_t (*now_ns)(const struct hf_backend *backend);
    /* Waits for what poll may have next, a millisecond at most; for space, if nothing is under way. */
    void (*wait)(struct hf_backend *backend, bool under_way);
    uint64_t (*segments)(const struct hf_backend *backend);
    void (*close)(struct hf_backend *backend);
};

struct hf_log_options;
struct hf_sim_disk;

/* 0 and a backend the caller ends by ops->close; or an error and its sentence in error (HF_ERROR_BYTES). File: makes the directory unless
 * read_only. */
int hf_backend_file_open(const char *dir, bool read_only, struct hf_backend **out, char *error);
int hf_backend_sim_open(struct hf_sim_disk *disk, struct hf_backend **out, char *error);
int hf_backend_null_open(struct hf_backend **out, char *error);

#endif
