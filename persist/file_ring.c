/* Appends through an io_uring of the log's own, and the probe that chooses how. The drainer's.
 *
 * Two ways to be durable: each write with RWF_DSYNC, or plain writes followed by fdatasync. A flush speaks only for writes that had
 * completed before it was submitted, so those are marked FLUSHING then and no others. The lock file is registered with the ring: a killed
 * process keeps the directory until its last request is over, because only then does the kernel let go of the ring's files. */
#include "persist/backend_file_p.h"
#include "persist/say.h"
#include "wire/block.h"
#include "wire/error.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RING_ENTRIES = 64, FLUSH_TAG = 1 << 16, PROBE_BYTES = 192 << 10, PROBE_SPACE_LEAST = 4 << 20, PROBE_WRITES_MAX = 64 };

#define PROBE_NS 20000000u

static struct hf_file *file_of(struct hf_backend *backend)
{
    return (struct hf_file *)(void *)backend;
}

int hf_file_ring_open(struct hf_file *file, void *memory, size_t bytes)
{
    struct hf_file_ring *ring = &file->ring;
    struct io_uring_params params = {.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG};
    int e = io_uring_queue_init_params(RING_ENTRIES, &ring->uring, &params);
    if (e == -EINVAL) {
        params = (struct io_uring_params){0};
        e = io_uring_queue_init_params(RING_ENTRIES, &ring->uring, &params);
    }
    if (e < 0)
        return hf_say(file->base.error, HF_E_IO, "the kernel gives no io_uring (%s); allow it (kernel.io_uring_disabled, container policy)",
                      strerror(-e));
    ring->open = true;
    e = io_uring_register_files(&ring->uring, &file->lock_fd, 1);
    if (e < 0)
        return hf_say(file->base.error, HF_E_IO, "cannot tie the lock of %s to the log's writes: %s", file->dir, strerror(-e));
    struct iovec buffer = {.iov_base = memory, .iov_len = bytes};
    ring->fixed = file->base.direct && io_uring_register_buffers(&ring->uring, &buffer, 1) == 0;
    return 0;
}

static int prepare_write(struct hf_file *file, unsigned index, const void *data)
{
    struct hf_file_ring *ring = &file->ring;
    struct hf_file_write *write = &ring->writes[index];
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    if (sqe == NULL)
        return HF_E_FULL;
    uint64_t offset = write->position % file->geometry.segment_bytes;
    if (ring->fixed)
        io_uring_prep_write_fixed(sqe, write->fd, data, write->bytes, offset, 0);
    else
        io_uring_prep_write(sqe, write->fd, data, write->bytes, offset);
    sqe->rw_flags = file->base.dsync ? RWF_DSYNC : 0;
    io_uring_sqe_set_data64(sqe, index);
    return 0;
}

static int ring_submit(struct hf_file *file)
{
    int n = io_uring_submit(&file->ring.uring);
    if (n >= 0 || n == -EAGAIN || n == -EBUSY || n == -EINTR)
        return 0;
    return hf_say(file->base.error, HF_E_IO, "cannot submit a log write in %s: %s; exit and start again", file->dir, strerror(-n));
}

int hf_file_ring_append(struct hf_backend *backend, uint64_t position, const void *data, uint32_t bytes)
{
    struct hf_file *file = file_of(backend);
    unsigned index = 0;
    while (index < HF_FILE_INFLIGHT_MAX && file->ring.writes[index].state != HF_WRITE_FREE)
        index++;
    assert(index < HF_FILE_INFLIGHT_MAX);
    file->ring.writes[index] = (struct hf_file_write){
        .state = HF_WRITE_UNDER_WAY, .position = position, .bytes = bytes, .fd = hf_file_space_fd(file, position)};
    int e = prepare_write(file, index, data);
    assert(e == 0);
    file->ring.inflight++;
    return ring_submit(file);
}

/* Starts one flush for all that is written, if none is under way: one request for each file concerned. */
static int flush_written(struct hf_file *file)
{
    struct hf_file_ring *ring = &file->ring;
    if (file->base.dsync || ring->flushes != 0)
        return 0;
    int fds[HF_FILE_INFLIGHT_MAX] = {0};
    unsigned count = 0;
    for (unsigned i = 0; i < HF_FILE_INFLIGHT_MAX; i++) {
        struct hf_file_write *write = &ring->writes[i];
        if (write->state != HF_WRITE_WRITTEN)
            continue;
        write->state = HF_WRITE_FLUSHING;
        unsigned same = 0;
        while (same < count && fds[same] != write->fd)
            same++;
        fds[same] = write->fd;
        count += same == count;
    }
    for (unsigned i = 0; i < count; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
        assert(sqe != NULL);
        io_uring_prep_fsync(sqe, fds[i], IORING_FSYNC_DATASYNC);
        io_uring_sqe_set_data64(sqe, FLUSH_TAG);
        ring->flushes++;
    }
    return count == 0 ? 0 : ring_submit(file);
}

static int write_failed(struct hf_file *file, const struct hf_file_write *write, int result)
{
    char name[32];
    hf_file_segment_name(write->position - write->position % file->geometry.segment_bytes, name);
    if (result >= 0)
        return hf_say(file->base.error, HF_E_IO,
                      "a log write at position %" PRIu64 " (%s/%s) wrote %d of %" PRIu32
                      " bytes; what it left is unknown, so the engine stops: check the disk and start again",
                      write->position, file->dir, name, result, write->bytes);
    return hf_say(file->base.error, HF_E_IO,
                  "a log write at position %" PRIu64 " (%s/%s) failed: %s; the engine stops: check the disk and start again",
                  write->position, file->dir, name, strerror(-result));
}

static int on_flush(struct hf_file *file, int result)
{
    struct hf_file_ring *ring = &file->ring;
    ring->flushes--;
    if (result < 0)
        return hf_say(file->base.error, HF_E_IO, "a flush of the log in %s failed: %s; the engine stops: check the disk and start again",
                      file->dir, strerror(-result));
    for (unsigned i = 0; ring->flushes == 0 && i < HF_FILE_INFLIGHT_MAX; i++)
        if (ring->writes[i].state == HF_WRITE_FLUSHING)
            ring->writes[i].state = HF_WRITE_DURABLE;
    return 0;
}

static int on_write(struct hf_file *file, struct hf_file_write *write, int result)
{
    if (result != (int)write->bytes) {
        write->state = HF_WRITE_FAILED;
        return write_failed(file, write, result);
    }
    write->state = file->base.dsync ? HF_WRITE_DURABLE : HF_WRITE_WRITTEN;
    return 0;
}

static int reap(struct hf_file *file)
{
    struct hf_file_ring *ring = &file->ring;
    struct io_uring_cqe *cqe;
    unsigned reaped = 0;
    int e = 0;
    while (io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
        uint64_t tag = io_uring_cqe_get_data64(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&ring->uring, cqe);
        int failed = tag == FLUSH_TAG ? on_flush(file, result) : on_write(file, &ring->writes[tag], result);
        e = e == 0 ? failed : e;
        reaped++;
    }
    uint64_t count;
    if (reaped != 0 && ring->event_fd >= 0 && read(ring->event_fd, &count, sizeof count) < 0)
        assert(errno == EAGAIN || errno == EINTR);
    return e;
}

int hf_file_ring_poll(struct hf_backend *backend, struct hf_append_done *done, unsigned max)
{
    struct hf_file *file = file_of(backend);
    struct hf_file_ring *ring = &file->ring;
    int e = ring->inflight != 0 && io_uring_sq_ready(&ring->uring) != 0 ? ring_submit(file) : 0;
    if (e == 0 && ring->inflight != 0)
        e = reap(file);
    if (e == 0 && hf_load_acquire_u32(&file->space.lost) != 0) /* [L], partner flush_failed */
        e = hf_say(file->base.error, HF_E_IO, "%s; the engine stops, because the disk may have lost what was written to it",
                   file->space.error);
    if (e == 0 && ring->inflight != 0)
        e = flush_written(file);
    if (e != 0)
        return e;
    unsigned count = 0;
    for (unsigned i = 0; i < HF_FILE_INFLIGHT_MAX && count < max; i++) {
        struct hf_file_write *write = &ring->writes[i];
        if (write->state != HF_WRITE_DURABLE)
            continue;
        done[count++] = (struct hf_append_done){.position = write->position, .outcome = HF_APPEND_DURABLE};
        write->state = HF_WRITE_FREE;
        ring->inflight--;
    }
    return (int)count;
}

static int wait_once(struct hf_file *file)
{
    struct io_uring_cqe *cqe;
    int e = io_uring_wait_cqe(&file->ring.uring, &cqe);
    return e == 0 || e == -EINTR ? 0 : hf_say(file->base.error, HF_E_IO, "cannot wait for log writes in %s: %s", file->dir, strerror(-e));
}

struct probe {
    struct hf_file *file;
    uint64_t from, end;
    void *zeros;
    uint32_t bytes; /* of a write */
};

static uint64_t probe_place(const struct probe *probe, unsigned n)
{
    uint64_t segment = probe->file->geometry.segment_bytes, rooms = (probe->end - probe->from) / probe->bytes;
    uint64_t at = probe->from + n % rooms * probe->bytes;
    bool crosses = at / segment != (at + probe->bytes - 1) / segment;
    return crosses ? at - at % segment + segment - probe->bytes : at;
}

/* Writes zeros onto zeros, `depth` at a time, for PROBE_NS; *write_ns gets the time per write (from begin to durable, divided by depth). */
static int probe_way(struct probe *probe, bool dsync, unsigned depth, uint64_t *write_ns)
{
    struct hf_file *file = probe->file;
    file->base.dsync = dsync;
    uint64_t start_ns = hf_file_now_ns(), now_ns = start_ns;
    unsigned sent = 0, finished = 0;
    bool more = true;
    while (more || file->ring.inflight != 0) {
        while (more && file->ring.inflight < depth) {
            int e = hf_file_ring_append(&file->base, probe_place(probe, sent++), probe->zeros, probe->bytes);
            if (e != 0)
                return e;
        }
        struct hf_append_done done[HF_FILE_INFLIGHT_MAX];
        int n = hf_file_ring_poll(&file->base, done, HF_FILE_INFLIGHT_MAX);
        if (n < 0)
            return n;
        finished += (unsigned)n;
        int e = n == 0 ? wait_once(file) : 0;
        if (e != 0)
            return e;
        now_ns = hf_file_now_ns();
        more = now_ns - start_ns < PROBE_NS && sent < PROBE_WRITES_MAX;
    }
    assert(finished > 0);
    *write_ns = (now_ns - start_ns) / finished;
    return 0;
}

/* The better of two tries each, in turns: a moment's noise should not choose. */
static int probe_twice(struct probe *probe, const bool dsync[2], const unsigned depth[2], uint64_t best_ns[2])
{
    best_ns[0] = best_ns[1] = UINT64_MAX;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t ns = 0;
        int e = probe_way(probe, dsync[i % 2], depth[i % 2], &ns);
        if (e != 0)
            return e;
        best_ns[i % 2] = ns < best_ns[i % 2] ? ns : best_ns[i % 2];
    }
    return 0;
}

/* Two in flight let checksums and copies overlap with the device, so one only where two make it slower; four where they clearly pay. A
 * flush is a second request to the device, so it has to be clearly better. */
static int probe_run(struct probe *probe)
{
    struct hf_file *file = probe->file;
    uint64_t one_ns[2], more_ns[2];
    int e = probe_twice(probe, (const bool[2]){true, false}, (const unsigned[2]){1, 1}, one_ns);
    if (e != 0)
        return e;
    bool dsync = one_ns[0] <= one_ns[1] + one_ns[1] / 2;
    uint64_t single_ns = dsync ? one_ns[0] : one_ns[1];
    e = probe_twice(probe, (const bool[2]){dsync, dsync}, (const unsigned[2]){2, 4}, more_ns);
    if (e != 0)
        return e;
    file->base.dsync = dsync;
    file->base.depth = more_ns[0] > single_ns + single_ns / 2 ? 1 : more_ns[1] < more_ns[0] - more_ns[0] / 5 ? 4 : 2;
    return 0;
}

static int event_fd_open(struct hf_file *file)
{
    struct hf_file_ring *ring = &file->ring;
    ring->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int e = ring->event_fd < 0 ? -errno : io_uring_register_eventfd(&ring->uring, ring->event_fd);
    return e == 0 ? 0 : hf_say(file->base.error, HF_E_IO, "cannot register the log's event descriptor: %s", strerror(-e));
}

int hf_file_ring_probe(struct hf_file *file, uint64_t from, uint64_t end)
{
    file->base.dsync = file->base.direct;
    file->base.depth = 2;
    struct probe probe = {
        .file = file, .from = (from + HF_BLOCK_ALIGN - 1) & ~(uint64_t)(HF_BLOCK_ALIGN - 1), .end = end, .bytes = PROBE_BYTES};
    if (file->base.direct && end - from >= PROBE_SPACE_LEAST && file->geometry.segment_bytes >= PROBE_SPACE_LEAST) {
        bool fixed = file->ring.fixed;
        void *zeros = mmap(NULL, PROBE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (zeros == MAP_FAILED)
            return hf_say(file->base.error, HF_E_MEMORY, "no memory for the log's device probe");
        probe.zeros = zeros;
        file->ring.fixed = false;
        int e = probe_run(&probe);
        file->ring.fixed = fixed;
        munmap(zeros, PROBE_BYTES);
        if (e != 0)
            return e;
    }
    return event_fd_open(file);
}

/* Requests read the caller's memory, so they end before it can go; what they report no longer matters. */
void hf_file_ring_close(struct hf_file *file)
{
    struct hf_file_ring *ring = &file->ring;
    if (!ring->open)
        return;
    unsigned writes = 0;
    for (unsigned i = 0; i < HF_FILE_INFLIGHT_MAX; i++)
        writes += ring->writes[i].state == HF_WRITE_UNDER_WAY;
    for (unsigned left = writes + ring->flushes - io_uring_sq_ready(&ring->uring); left > 0; left--) {
        struct io_uring_cqe *cqe;
        int e = io_uring_wait_cqe(&ring->uring, &cqe);
        while (e == -EINTR)
            e = io_uring_wait_cqe(&ring->uring, &cqe);
        if (e != 0)
            break;
        io_uring_cqe_seen(&ring->uring, cqe);
    }
    io_uring_queue_exit(&ring->uring);
    if (ring->event_fd >= 0)
        close(ring->event_fd);
    ring->open = false;
}
