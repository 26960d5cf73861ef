/* Log space: segments made, zeroed by writes and made durable ahead of the log, by a thread of its own ("the filler").
 *
 * Zeros are written, not only allocated, because a write into allocated but unwritten space makes the file system commit its journal.
 * `filled` is published by store-release [F] after the segment's slot was set and its zeros flushed; the drainer's load-acquire of it lets
 * it read the slot. `retired` goes the other way [R]: the drainer closed a slot's descriptor before the filler uses the slot again. Space
 * that cannot be had is asked for again; a flush that failed is not, and ends the log [L]: the disk may have dropped what the log wrote. */
#include "persist/backend_file_p.h"
#include "persist/say.h"
#include "wire/block.h"
#include "wire/error.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    ZEROS_BYTES = 1 << 20,
    SLICE_BYTES = 4 << 20,
    READY_BYTES = 16 << 20,
    WINDOW_BYTES = 8 << 20,
    RATE_LEAST_BYTES_S = 192 << 20,
    RETRY_MS = 500
};

#define READY_NS 500000000u

static struct hf_file_segment *slot_of(const struct hf_file *file, uint64_t position)
{
    return &file->space.slots[position / file->geometry.segment_bytes % file->space.slot_count];
}

int hf_file_space_fd(const struct hf_file *file, uint64_t position)
{
    const struct hf_file_segment *slot = slot_of(file, position);
    assert(slot->fd >= 0 && slot->number == position / file->geometry.segment_bytes);
    return slot->fd;
}

static int space_failed(struct hf_file *file, const char *what, const char *name, int error)
{
    bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    return hf_say(file->space.error, full ? HF_E_NO_SPACE : HF_E_IO, "cannot %s log space in %s/%s: %s; %s", what, file->dir, name,
                  strerror(error), full ? "make room on the disk (or raise the file size limit)" : "check the disk");
}

static int flush_failed(struct hf_file *file, const char *what, const char *name)
{
    int e = space_failed(file, what, name, errno);
    hf_store_release_u32(&file->space.lost, 1); /* [L], partner hf_file_ring_poll */
    return e;
}

/* Reserved at full size first, so that running out is known long before the log gets there. Where that cannot be had (a small disk, a file
 * size limit, a file system without it) the segment grows as it is zeroed, and what was taken is given back. */
static int segment_reserve(struct hf_file *file, int fd, const char *name)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return space_failed(file, "look at", name, errno);
    if (fallocate(fd, 0, 0, (off_t)file->geometry.segment_bytes) == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSPC && errno != EDQUOT && errno != EFBIG)
        return space_failed(file, "reserve", name, errno);
    return ftruncate(fd, st.st_size) == 0 ? 0 : space_failed(file, "give back", name, errno);
}

static int segment_open(struct hf_file *file, uint64_t position)
{
    struct hf_file_segment *slot = slot_of(file, position);
    uint64_t number = position / file->geometry.segment_bytes;
    if (slot->fd >= 0 && slot->number == number)
        return 0;
    assert(slot->fd < 0);
    char name[32];
    hf_file_segment_name(number * file->geometry.segment_bytes, name);
    int fd = openat(file->dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | (file->base.direct ? O_DIRECT : 0), 0640);
    if (fd < 0)
        return space_failed(file, "make", name, errno);
    int e = hf_file_lock(fd, LOCK_EX, file->lock_deadline_ns);
    if (e != 0)
        e = hf_say(file->space.error, e, "%s/%s is still held by the last writes of another process", file->dir, name);
    if (e == 0)
        e = segment_reserve(file, fd, name);
    if (e == 0 && (fsync(fd) != 0 || fsync(file->dir_fd) != 0))
        e = flush_failed(file, "record", name);
    if (e != 0) {
        close(fd);
        return e;
    }
    *slot = (struct hf_file_segment){.number = number, .fd = fd};
    return 0;
}

/* The kernel reports a write that was lost in the page cache once to each description. The filler has one of its own, so that a loss which
 * the log's flush must hear of is never reported to the filler's instead. */
static int fill_open(struct hf_file *file, uint64_t position)
{
    struct hf_file_space *space = &file->space;
    uint64_t number = position / file->geometry.segment_bytes;
    if (space->fill_fd >= 0 && space->fill_number == number)
        return 0;
    if (space->fill_fd >= 0)
        close(space->fill_fd);
    char name[32];
    hf_file_segment_name(number * file->geometry.segment_bytes, name);
    space->fill_fd = openat(file->dir_fd, name, O_WRONLY | O_CLOEXEC | (file->base.direct ? O_DIRECT : 0));
    space->fill_number = number;
    return space->fill_fd >= 0 ? 0 : space_failed(file, "open", name, errno);
}

static int zero_write(struct hf_file *file, int fd, uint64_t position, uint64_t bytes)
{
    char name[32];
    uint64_t offset = position % file->geometry.segment_bytes, done = 0;
    hf_file_segment_name(position - offset, name);
    while (done < bytes) {
        size_t part = bytes - done < ZEROS_BYTES ? (size_t)(bytes - done) : ZEROS_BYTES;
        ssize_t n = pwrite(fd, file->space.zeros, part, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || n % HF_BLOCK_ALIGN != 0)
            return space_failed(file, "zero", name, n < 0 ? errno : ENOSPC);
        done += (uint64_t)n;
    }
    return fdatasync(fd) == 0 ? 0 : flush_failed(file, "flush", name);
}

/* One slice, within one segment, towards `target`; publishes it. */
static int fill_slice(struct hf_file *file, uint64_t target)
{
    struct hf_file_space *space = &file->space;
    uint64_t at = hf_load_relaxed_u64(&space->filled), segment = file->geometry.segment_bytes;
    uint64_t end = at + SLICE_BYTES < target ? at + SLICE_BYTES : target;
    uint64_t segment_end = at - at % segment + segment;
    if (end > segment_end)
        end = segment_end;
    int e = segment_open(file, at);
    if (e == 0)
        e = fill_open(file, at);
    if (e == 0)
        e = zero_write(file, space->fill_fd, at, end - at);
    if (e == 0)
        hf_store_release_u64(&space->filled, end); /* [F], partners file_space_end */
    hf_store_relaxed_u32(&space->failing, e != 0);
    return e;
}

static bool slot_is_free(const struct hf_file *file, uint64_t position)
{
    uint64_t retired = hf_load_acquire_u64(&file->space.retired); /* [R], partner hf_file_space_used */
    return position / file->geometry.segment_bytes < retired + file->space.slot_count;
}

static uint64_t fill_target(const struct hf_file *file)
{
    uint64_t target = hf_load_relaxed_u64(&file->space.appended) + file->geometry.ahead_bytes;
    return target & ~(uint64_t)(HF_BLOCK_ALIGN - 1);
}

/* Milliseconds to stay quiet after a slice: filling follows the log's own rate, a little faster, and runs free when little is left. */
static int pause_after_slice_ms(const struct hf_file *file, uint64_t slice_bytes, uint64_t used_bytes, uint64_t took_ns)
{
    uint64_t left = hf_load_relaxed_u64(&file->space.filled) - hf_load_relaxed_u64(&file->space.appended);
    if (left < file->geometry.ahead_bytes / 8)
        return 0;
    uint64_t rate = RATE_LEAST_BYTES_S + (took_ns == 0 ? 0 : used_bytes * 1250000000u / took_ns);
    uint64_t ms = slice_bytes * 1000 / rate, took_ms = took_ns / 1000000;
    return ms > took_ms ? (int)(ms - took_ms) : 0;
}

static void filler_wait(struct hf_file *file, int timeout_ms)
{
    struct pollfd wake = {.fd = file->space.wake_fd, .events = POLLIN};
    uint64_t count;
    if (poll(&wake, 1, timeout_ms) > 0 && read(wake.fd, &count, sizeof count) < 0)
        return;
}

static void *filler_main(void *context)
{
    struct hf_file *file = context;
    struct hf_file_space *space = &file->space;
    uint64_t seen = hf_load_relaxed_u64(&space->appended), since_ns = hf_file_now_ns();
    while (hf_load_acquire_u32(&space->stop) == 0) {
        uint64_t at = hf_load_relaxed_u64(&space->filled), target = fill_target(file);
        if (hf_load_relaxed_u32(&space->lost) != 0 || at >= target || !slot_is_free(file, at)) {
            filler_wait(file, -1);
            continue;
        }
        int wait_ms = RETRY_MS;
        if (fill_slice(file, target) == 0) {
            uint64_t used = hf_load_relaxed_u64(&space->appended), now_ns = hf_file_now_ns();
            wait_ms = pause_after_slice_ms(file, hf_load_relaxed_u64(&space->filled) - at, used - seen, now_ns - since_ns);
            seen = used;
        }
        if (wait_ms > 0)
            filler_wait(file, wait_ms);
        since_ns = hf_file_now_ns();
    }
    return NULL;
}

static int filler_start(struct hf_file *file)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int e = pthread_create(&file->space.filler, NULL, filler_main, file);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    file->space.filler_runs = e == 0;
    return e == 0 ? 0 : hf_say(file->base.error, HF_E_MEMORY, "cannot start the thread that fills log space ahead: %s", strerror(e));
}

static int space_memory(struct hf_file *file)
{
    struct hf_file_space *space = &file->space;
    space->slot_count = (file->geometry.ahead_bytes + WINDOW_BYTES + 2u * file->geometry.block_max) / file->geometry.segment_bytes + 8;
    space->slots = malloc(space->slot_count * sizeof *space->slots);
    for (uint64_t i = 0; space->slots != NULL && i < space->slot_count; i++)
        space->slots[i].fd = -1;
    void *zeros = mmap(NULL, ZEROS_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    space->zeros = zeros == MAP_FAILED ? NULL : zeros;
    space->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (space->slots == NULL || space->zeros == NULL || space->wake_fd < 0)
        return hf_say(file->base.error, HF_E_MEMORY, "no memory for the table of %" PRIu64 " log segments", space->slot_count);
    return 0;
}

/* What a start waits for: some room and, if that is quick, the rest of its segment, because writes into a file whose extents the filler
 * still changes wait for the file system's journal. */
static int fill_before_start(struct hf_file *file, uint64_t position)
{
    uint64_t least = position + (file->geometry.ahead_bytes < READY_BYTES ? file->geometry.ahead_bytes : READY_BYTES);
    uint64_t segment = file->geometry.segment_bytes, rest = (least + segment - 1) / segment * segment;
    uint64_t deadline_ns = hf_file_now_ns() + READY_NS;
    if (rest > position + file->geometry.ahead_bytes)
        rest = position + file->geometry.ahead_bytes;
    int e = 0;
    for (uint64_t filled = position; e == 0 && (filled < least || (filled < rest && hf_file_now_ns() < deadline_ns));) {
        e = fill_slice(file, rest);
        filled = hf_load_relaxed_u64(&file->space.filled);
    }
    return e;
}

int hf_file_space_start(struct hf_file *file, uint64_t position)
{
    struct hf_file_space *space = &file->space;
    int e = space_memory(file);
    if (e != 0)
        return e;
    hf_store_relaxed_u64(&space->filled, position);
    hf_store_relaxed_u64(&space->appended, position);
    hf_store_relaxed_u64(&space->woken_at, position);
    hf_store_relaxed_u64(&space->retired, position / file->geometry.segment_bytes);
    e = fill_before_start(file, position);
    uint64_t filled = hf_load_relaxed_u64(&space->filled);
    if (e != 0 && (e == HF_E_IN_USE || hf_load_relaxed_u32(&space->lost) != 0 || filled - position < 2u * file->geometry.block_max)) {
        memcpy(file->base.error, space->error, sizeof file->base.error);
        return e;
    }
    e = hf_file_ring_probe(file, position + (filled - position) / 2, filled);
    return e != 0 ? e : filler_start(file);
}

static void wake_filler(struct hf_file_space *space)
{
    uint64_t one = 1;
    if (write(space->wake_fd, &one, sizeof one) < 0)
        assert(errno == EAGAIN);
}

void hf_file_space_used(struct hf_file *file, uint64_t appended, uint64_t durable)
{
    struct hf_file_space *space = &file->space;
    uint64_t keep = durable / file->geometry.segment_bytes, retired = hf_load_relaxed_u64(&space->retired);
    bool freed = retired < keep;
    for (; retired < keep; retired++) {
        struct hf_file_segment *slot = &space->slots[retired % space->slot_count];
        assert(slot->number == retired && slot->fd >= 0);
        close(slot->fd);
        slot->fd = -1;
    }
    if (freed)
        hf_store_release_u64(&space->retired, keep); /* [R], partner slot_is_free */
    hf_store_relaxed_u64(&space->appended, appended);
    uint64_t woken_at = hf_load_relaxed_u64(&space->woken_at);
    uint64_t step = file->geometry.ahead_bytes / 64 < ZEROS_BYTES ? file->geometry.ahead_bytes / 64 : ZEROS_BYTES;
    if (freed || appended - woken_at > step) {
        hf_store_relaxed_u64(&space->woken_at, appended);
        wake_filler(space);
    }
}

void hf_file_space_stop(struct hf_file *file)
{
    struct hf_file_space *space = &file->space;
    if (space->filler_runs) {
        hf_store_release_u32(&space->stop, 1);
        wake_filler(space);
        pthread_join(space->filler, NULL);
    }
    for (uint64_t i = 0; space->slots != NULL && i < space->slot_count; i++)
        if (space->slots[i].fd >= 0)
            close(space->slots[i].fd);
    if (space->fill_fd >= 0)
        close(space->fill_fd);
    if (space->wake_fd >= 0)
        close(space->wake_fd);
    if (space->zeros != NULL)
        munmap(space->zeros, ZEROS_BYTES);
    free(space->slots);
}
