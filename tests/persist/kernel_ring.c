/* An io_uring in memory: requests are taken at submission, end one by one when they are asked for, in any order, and may fail. */
#include "kernel_p.h"
#include "kernel_wrap.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { ENTRIES = 64 };

struct request {
    struct io_uring_sqe sqe;
    uint64_t stamp;
    int result;
};

static struct io_uring_sqe sqes[ENTRIES];
static struct io_uring_cqe cqes[2 * ENTRIES];
static unsigned sq_head, sq_tail, cq_head, cq_tail;
static struct request requests[ENTRIES];
static unsigned request_count;
static int event_fd = -1;
static bool real;

int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *params)
{
    int call = kernel_enter(__func__, false);
    real = call == KERNEL_UNARMED;
    if (real)
        return __real_io_uring_queue_init_params(entries, ring, params);
    if (call == 0) {
        assert(entries == ENTRIES);
        memset(ring, 0, sizeof *ring);
        ring->sq = (struct io_uring_sq){
            .khead = &sq_head, .ktail = &sq_tail, .sqes = sqes, .ring_mask = ENTRIES - 1, .ring_entries = ENTRIES};
        ring->cq = (struct io_uring_cq){
            .khead = &cq_head, .ktail = &cq_tail, .cqes = cqes, .ring_mask = 2 * ENTRIES - 1, .ring_entries = 2 * ENTRIES};
        sq_head = sq_tail = cq_head = cq_tail = request_count = 0;
        event_fd = -1;
    }
    kernel_leave();
    return -call;
}

static int register_call(void)
{
    int call = kernel_enter("__wrap_ring_register", false);
    assert(call != KERNEL_UNARMED);
    kernel_leave();
    return -call;
}

int __wrap_io_uring_register_files(struct io_uring *ring, const int *fds, unsigned count)
{
    return real ? __real_io_uring_register_files(ring, fds, count) : register_call();
}

int __wrap_io_uring_register_buffers(struct io_uring *ring, const struct iovec *buffers, unsigned count)
{
    return real ? __real_io_uring_register_buffers(ring, buffers, count) : register_call();
}

int __wrap_io_uring_register_eventfd(struct io_uring *ring, int fd)
{
    if (real)
        return __real_io_uring_register_eventfd(ring, fd);
    int e = register_call();
    event_fd = e == 0 ? fd : -1;
    return e;
}

void __wrap_io_uring_queue_exit(struct io_uring *ring)
{
    if (real)
        __real_io_uring_queue_exit(ring);
}

/* The data is on its way from here: readable, and kept by a cut or not. */
static void take(const struct io_uring_sqe *sqe)
{
    assert(request_count < ENTRIES);
    struct request *request = &requests[request_count++];
    bool flushes = sqe->opcode == IORING_OP_FSYNC;
    int call = kernel_enter(flushes ? "__wrap_ring_flush" : "__wrap_ring_write", !flushes);
    *request = (struct request){.sqe = *sqe, .stamp = disk_stamp(), .result = (int)sqe->len};
    if (call > 0)
        request->result = -call;
    else if (call == KERNEL_SHORT)
        request->result = KERNEL_SECTOR_BYTES;
    if (!flushes && request->result > 0) {
        const void *data = (const void *)(uintptr_t)sqe->addr;
        ssize_t n = __real_pwrite64(sqe->fd, data, (size_t)request->result, (off_t)sqe->off);
        assert(n == request->result);
        disk_written(sqe->fd, data, (uint64_t)request->result, sqe->off, DISK_UNDER_WAY);
    } else if (flushes && call == 0) {
        request->result = 0;
    }
    kernel_leave();
}

int __wrap_io_uring_submit(struct io_uring *ring)
{
    if (real)
        return __real_io_uring_submit(ring);
    int call = kernel_enter(__func__, false);
    kernel_leave();
    if (call > 0)
        return -call;
    int count = 0;
    for (; sq_head != ring->sq.sqe_tail; sq_head++, count++)
        take(&sqes[sq_head & (ENTRIES - 1)]);
    ring->sq.sqe_head = sq_head;
    return count;
}

/* One request ends: what it speaks for is durable now. */
static void end_one(void)
{
    int call = kernel_enter("__wrap_ring_end", false);
    unsigned index = (unsigned)(disk_stamp() % request_count);
    struct request request = requests[index];
    requests[index] = requests[--request_count];
    int result = call > 0 ? -call : request.result;
    if (request.sqe.opcode == IORING_OP_FSYNC && !kernel_gone_while_locked())
        disk_flushed(request.sqe.fd, request.stamp, result < 0);
    else if (request.result > 0 && !kernel_gone_while_locked())
        disk_over(request.sqe.fd, (uint64_t)request.result, request.sqe.off, result > 0 && (request.sqe.rw_flags & RWF_DSYNC) != 0);
    cqes[cq_tail & (2 * ENTRIES - 1)] = (struct io_uring_cqe){.user_data = request.sqe.user_data, .res = result};
    cq_tail++;
    kernel_leave();
    uint64_t one = 1;
    if (event_fd >= 0 && write(event_fd, &one, sizeof one) < 0)
        assert(errno == EAGAIN);
}

int __wrap___io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned submit, unsigned wait, sigset_t *mask)
{
    if (real)
        return __real___io_uring_get_cqe(ring, cqe, submit, wait, mask);
    static unsigned asked;
    if (request_count == 0 || (wait == 0 && ++asked % 2 == 0))
        return -EAGAIN;
    end_one();
    *cqe = &cqes[cq_head & (2 * ENTRIES - 1)];
    return 0;
}
