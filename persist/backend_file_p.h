/* Inside of the file backend: shared by backend_file.c (directory, lock, manifest, reading), file_space.c (segments, zero-filling) and
 * file_ring.c (appends, the device probe). */
#ifndef HF_PERSIST_BACKEND_FILE_P_H
#define HF_PERSIST_BACKEND_FILE_P_H

#include "persist/backend.h"
#include "ring/atomics.h"

#include <liburing.h>
#include <pthread.h>

enum { HF_FILE_INFLIGHT_MAX = 8, HF_FILE_DIR_BYTES = 3072 };

/* A segment open for writing. The filler writes it before it publishes `filled` beyond the segment's start, the drainer reads it after. */
struct hf_file_segment {
    uint64_t number;
    int fd; /* -1: none */
};

struct hf_file_space {
    struct hf_file_segment *slots; /* segment n lies in slot n % slot_count */
    uint64_t slot_count;
    void *zeros;
    int fill_fd; /* the filler's own description of the segment it zeroes; -1: none */
    uint64_t fill_number;
    pthread_t filler;
    bool filler_runs;
    int wake_fd;
    struct hf_atomic_u64 filled;   /* written by the filler: space before it is zeroed and durable */
    struct hf_atomic_u64 appended; /* written by the drainer */
    struct hf_atomic_u64 retired;  /* segments below this number were given back by the drainer */
    struct hf_atomic_u64 woken_at; /* appended when the filler was last woken */
    struct hf_atomic_u32 failing;
    struct hf_atomic_u32 lost; /* set by the filler when a flush of its failed, with its sentence in error; it fills no more then */
    struct hf_atomic_u32 stop;
    char error[HF_ERROR_BYTES];
};

enum hf_file_write_state { HF_WRITE_FREE, HF_WRITE_UNDER_WAY, HF_WRITE_WRITTEN, HF_WRITE_FLUSHING, HF_WRITE_DURABLE, HF_WRITE_FAILED };

struct hf_file_write {
    enum hf_file_write_state state;
    uint64_t position;
    uint32_t bytes;
    int fd;
};

struct hf_file_ring {
    struct io_uring uring;
    bool open;
    int event_fd;
    bool fixed; /* the log buffer is registered */
    struct hf_file_write writes[HF_FILE_INFLIGHT_MAX];
    unsigned inflight;
    unsigned flushes; /* fdatasync requests under way */
};

struct hf_file {
    struct hf_backend base;
    char dir[HF_FILE_DIR_BYTES];
    int dir_fd;
    int lock_fd;
    bool read_only;
    struct hf_geometry geometry;
    uint64_t first, end; /* of the segments found by attach */
    uint64_t lock_deadline_ns;
    struct hf_file_space space;
    struct hf_file_ring ring;
};

/* "log-<16 hex digits of its first position>.seg" */
void hf_file_segment_name(uint64_t position, char name[32]);
/* flock with a deadline; HF_E_IN_USE when it passes. */
int hf_file_lock(int fd, int operation, uint64_t deadline_ns);
uint64_t hf_file_now_ns(void);

int hf_file_space_start(struct hf_file *file, uint64_t position);
void hf_file_space_used(struct hf_file *file, uint64_t appended, uint64_t durable);
int hf_file_space_fd(const struct hf_file *file, uint64_t position);
void hf_file_space_stop(struct hf_file *file);

int hf_file_ring_open(struct hf_file *file, void *memory, size_t bytes);
/* Tries ways of writing on the zeroed space from..end, which stays zeroed, and sets base.dsync and base.depth. */
int hf_file_ring_probe(struct hf_file *file, uint64_t from, uint64_t end);
int hf_file_ring_append(struct hf_backend *backend, uint64_t position, const void *data, uint32_t bytes);
int hf_file_ring_poll(struct hf_backend *backend, struct hf_append_done *done, unsigned max);
void hf_file_ring_close(struct hf_file *file);

#endif
