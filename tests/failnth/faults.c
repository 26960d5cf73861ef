#include "tests/failnth/faults.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LIVE_SLOTS = 1 << 16 };

/* IORING_OP_NOP with a result of our choice (Linux 6.10). */
#define NOP_INJECT_RESULT 1u

static struct {
    pthread_mutex_t lock;
    struct faults_plan plan;
    pthread_t thread;
    bool armed, fired;
    uint64_t calls;
    uintptr_t live[LIVE_SLOTS]; /* 0: free, 1: was used */
    size_t live_count;
} faults = {.lock = PTHREAD_MUTEX_INITIALIZER};

void faults_arm(const struct faults_plan *plan)
{
    pthread_mutex_lock(&faults.lock);
    faults.plan = *plan;
    faults.thread = pthread_self();
    faults.armed = true;
    faults.fired = false;
    faults.calls = 0;
    pthread_mutex_unlock(&faults.lock);
}

bool faults_disarm(void)
{
    pthread_mutex_lock(&faults.lock);
    bool fired = faults.fired;
    faults.armed = false;
    pthread_mutex_unlock(&faults.lock);
    return fired;
}

uint64_t faults_calls(void)
{
    pthread_mutex_lock(&faults.lock);
    uint64_t calls = faults.calls;
    pthread_mutex_unlock(&faults.lock);
    return calls;
}

size_t faults_live(void)
{
    pthread_mutex_lock(&faults.lock);
    size_t count = faults.live_count;
    pthread_mutex_unlock(&faults.lock);
    return count;
}

static unsigned count_entries(const char *path)
{
    DIR *dir = opendir(path);
    unsigned count = 0;
    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return count;
}

unsigned faults_descriptors(void)
{
    return count_entries("/proc/self/fd");
}

unsigned faults_threads(void)
{
    return count_entries("/proc/self/task");
}

/* Whether this call is the one that fails. */
static bool fails(enum faults_kind kind)
{
    pthread_mutex_lock(&faults.lock);
    bool counts = faults.armed && faults.plan.kind == kind && (!faults.plan.own_thread || pthread_equal(faults.thread, pthread_self()));
    bool now = counts && ++faults.calls == faults.plan.nth;
    faults.fired |= now;
    pthread_mutex_unlock(&faults.lock);
    return now;
}

static int failure(void)
{
    pthread_mutex_lock(&faults.lock);
    int error = faults.plan.error;
    pthread_mutex_unlock(&faults.lock);
    return error;
}

/* ---- What is taken and not given back ---- */

static size_t slot_of(uintptr_t address)
{
    return (size_t)(address * 0x9E3779B97F4A7C15ull >> 48) % LIVE_SLOTS;
}

/* Only what is taken while armed is of interest. */
static void *taken(void *at)
{
    if (!at || at == MAP_FAILED)
        return at;
    pthread_mutex_lock(&faults.lock);
    if (faults.armed) {
        size_t slot = slot_of((uintptr_t)at);
        while (faults.live[slot] > 1)
            slot = (slot + 1) % LIVE_SLOTS;
        assert(faults.live_count < LIVE_SLOTS / 2);
        faults.live[slot] = (uintptr_t)at;
        faults.live_count++;
    }
    pthread_mutex_unlock(&faults.lock);
    return at;
}

static void given(const void *at)
{
    if (!at)
        return;
    pthread_mutex_lock(&faults.lock);
    size_t slot = slot_of((uintptr_t)at);
    while (faults.live[slot] != 0 && faults.live[slot] != (uintptr_t)at)
        slot = (slot + 1) % LIVE_SLOTS;
    if (faults.live[slot] != 0) {
        faults.live[slot] = 1;
        faults.live_count--;
    }
    pthread_mutex_unlock(&faults.lock);
}

/* ---- Taking ---- */

/* The linker gives __real_x and calls __wrap_x; neither has a header. */
#define WRAPPED(result, name, ...)     \
    result __real_##name(__VA_ARGS__); \
    result __wrap_##name(__VA_ARGS__); \
    result __wrap_##name(__VA_ARGS__)

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

WRAPPED(void *, malloc, size_t bytes)
{
    return fails(FAULTS_TAKING) ? no_memory() : taken(__real_malloc(bytes));
}

WRAPPED(void *, calloc, size_t count, size_t bytes)
{
    return fails(FAULTS_TAKING) ? no_memory() : taken(__real_calloc(count, bytes));
}

WRAPPED(void *, aligned_alloc, size_t alignment, size_t bytes)
{
    return fails(FAULTS_TAKING) ? no_memory() : taken(__real_aligned_alloc(alignment, bytes));
}

WRAPPED(void *, realloc, void *at, size_t bytes)
{
    if (fails(FAULTS_TAKING))
        return no_memory();
    given(at);
    return taken(__real_realloc(at, bytes));
}

WRAPPED(void *, reallocarray, void *at, size_t count, size_t bytes)
{
    if (fails(FAULTS_TAKING))
        return no_memory();
    given(at);
    return taken(__real_reallocarray(at, count, bytes));
}

WRAPPED(char *, strdup, const char *text)
{
    return fails(FAULTS_TAKING) ? no_memory() : taken(__real_strdup(text));
}

WRAPPED(void, free, void *at)
{
    given(at);
    __real_free(at);
}

WRAPPED(void *, mmap64, void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (!fails(FAULTS_TAKING))
        return taken(__real_mmap64(at, bytes, protection, flags, fd, offset));
    errno = ENOMEM;
    return MAP_FAILED;
}

WRAPPED(int, munmap, void *at, size_t bytes)
{
    given(at);
    return __real_munmap(at, bytes);
}

WRAPPED(int, pthread_create, pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *context)
{
    return fails(FAULTS_TAKING) ? EAGAIN : __real_pthread_create(thread, attributes, start, context);
}

WRAPPED(int, eventfd, unsigned count, int flags)
{
    if (!fails(FAULTS_TAKING))
        return __real_eventfd(count, flags);
    errno = EMFILE;
    return -1;
}

WRAPPED(int, epoll_create1, int flags)
{
    if (!fails(FAULTS_TAKING))
        return __real_epoll_create1(flags);
    errno = EMFILE;
    return -1;
}

WRAPPED(int, socket, int domain, int type, int protocol)
{
    if (!fails(FAULTS_TAKING))
        return __real_socket(domain, type, protocol);
    errno = EMFILE;
    return -1;
}

/* ---- io_uring ---- */

WRAPPED(int, io_uring_queue_init_params, unsigned entries, struct io_uring *ring, struct io_uring_params *parameters)
{
    return fails(FAULTS_RING) ? failure() : __real_io_uring_queue_init_params(entries, ring, parameters);
}

WRAPPED(int, io_uring_register_files, struct io_uring *ring, const int *files, unsigned count)
{
    return fails(FAULTS_RING) ? failure() : __real_io_uring_register_files(ring, files, count);
}

WRAPPED(int, io_uring_register_buffers, struct io_uring *ring, const struct iovec *buffers, unsigned count)
{
    return fails(FAULTS_RING) ? failure() : __real_io_uring_register_buffers(ring, buffers, count);
}

WRAPPED(int, io_uring_register_eventfd, struct io_uring *ring, int fd)
{
    return fails(FAULTS_RING) ? failure() : __real_io_uring_register_eventfd(ring, fd);
}

WRAPPED(int, io_uring_register_buf_ring, struct io_uring *ring, struct io_uring_buf_reg *buffers, unsigned flags)
{
    return fails(FAULTS_RING) ? failure() : __real_io_uring_register_buf_ring(ring, buffers, flags);
}

WRAPPED(int, io_uring_register_ring_fd, struct io_uring *ring)
{
    return fails(FAULTS_RING) ? failure() : __real_io_uring_register_ring_fd(ring);
}

static bool nop_takes_a_result(void)
{
    static int known; /* 0: not asked yet */
    struct io_uring ring;
    struct io_uring_cqe *cqe;
    if (known != 0 || __real_io_uring_queue_init_params(2, &ring, &(struct io_uring_params){0}) != 0)
        return known == 1;
    int __real_io_uring_submit(struct io_uring *);
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    io_uring_prep_nop(sqe);
    sqe->rw_flags = NOP_INJECT_RESULT;
    sqe->len = (unsigned)-ENOBUFS;
    known = __real_io_uring_submit(&ring) == 1 && io_uring_wait_cqe(&ring, &cqe) == 0 && cqe->res == -ENOBUFS ? 1 : 2;
    io_uring_queue_exit(&ring);
    return known == 1;
}

/* A request that the kernel ends at once with the error, and without what it would have done. */
static void spoil(struct io_uring_sqe *sqe, int error)
{
    const uint64_t tag = sqe->user_data;
    if (nop_takes_a_result()) {
        io_uring_prep_nop(sqe);
        sqe->rw_flags = NOP_INJECT_RESULT;
        sqe->len = (unsigned)error;
        sqe->flags = 0;
        sqe->buf_group = 0;
    } else {
        sqe->fd = -1;
        sqe->flags &= (uint8_t)~IOSQE_FIXED_FILE;
    }
    sqe->user_data = tag;
}

/* What waits between the ring's two ends and was not looked at yet is about to be submitted. */
static void look_at_requests(struct io_uring *ring)
{
    const struct io_uring_sq *queue = &ring->sq;
    pthread_mutex_lock(&faults.lock);
    const struct faults_plan plan = faults.plan;
    bool wanted = faults.armed && plan.kind == FAULTS_REQUEST;
    pthread_mutex_unlock(&faults.lock);
    if (!wanted)
        return;
    for (unsigned at = queue->sqe_head; at != queue->sqe_tail; at++) {
        struct io_uring_sqe *sqe = &queue->sqes[at & queue->ring_mask];
        if ((plan.operation == 255 || plan.operation == sqe->opcode) && fails(FAULTS_REQUEST))
            spoil(sqe, plan.error);
    }
}

WRAPPED(int, io_uring_submit, struct io_uring *ring)
{
    look_at_requests(ring);
    return fails(FAULTS_SUBMIT) ? failure() : __real_io_uring_submit(ring);
}

WRAPPED(int, io_uring_submit_and_get_events, struct io_uring *ring)
{
    look_at_requests(ring);
    return fails(FAULTS_SUBMIT) ? failure() : __real_io_uring_submit_and_get_events(ring);
}

WRAPPED(int, io_uring_submit_and_wait_timeout, struct io_uring *ring, struct io_uring_cqe **cqe, unsigned count,
        struct __kernel_timespec *timeout, sigset_t *mask)
{
    look_at_requests(ring);
    return fails(FAULTS_SUBMIT) ? failure() : __real_io_uring_submit_and_wait_timeout(ring, cqe, count, timeout, mask);
}
