/* Flushes that fail, and what they leave in the page cache. The C library's calls are replaced here, because a file system that loses
 * writes on order is not at hand. */
#include "log_help.h"

#include "ring/atomics.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct hf_atomic_u32 flushes, flushes_of_writers, flushes_fail;

/* The log's own descriptions hold an exclusive lock: taking it succeeds on those and fails on any other. */
int fdatasync(int fd)
{
    hf_add_release_u32(&flushes, 1);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        hf_add_release_u32(&flushes_of_writers, 1);
    if (hf_load_acquire_u32(&flushes_fail) == 0)
        return (int)syscall(SYS_fdatasync, fd);
    errno = EIO;
    return -1;
}

/* What the disk has where a write was lost and the page cache still shows it: zeros, seen once the pages are dropped. */
static uint64_t lost_bytes;

int posix_fadvise(int fd, off_t offset, off_t bytes, int advice)
{
    static const uint8_t zeros[16384];
    char path[64], name[256] = "";
    assert_int_equal(offset, 0);
    assert_int_equal(bytes, 0);
    assert_int_equal(advice, POSIX_FADV_DONTNEED);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    bool segment = readlink(path, name, sizeof name - 1) > 0 && strstr(name, "/log-") != NULL && strstr(name, ".seg") != NULL;
    int again = lost_bytes == 0 || !segment ? -1 : open(path, O_WRONLY | O_CLOEXEC);
    if (again >= 0) {
        assert_int_equal(pwrite(again, zeros, lost_bytes, (off_t)(sizeof zeros - lost_bytes)), lost_bytes);
        close(again);
        lost_bytes = 0;
    }
    return 0;
}

static bool signals;
static unsigned waits, left_behind;

/* Every other wait is ended by a signal. */
int __io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned submit, unsigned wait, sigset_t *mask)
{
    if (signals && waits++ % 2 == 0)
        return -EINTR;
    int (*next)(struct io_uring *, struct io_uring_cqe **, unsigned, unsigned, sigset_t *);
    void *symbol = dlsym(RTLD_NEXT, "__io_uring_get_cqe");
    memcpy(&next, &symbol, sizeof next);
    return next(ring, cqe, submit, wait, mask);
}

void io_uring_queue_exit(struct io_uring *ring)
{
    void (*next)(struct io_uring *);
    void *symbol = dlsym(RTLD_NEXT, "io_uring_queue_exit");
    memcpy(&next, &symbol, sizeof next);
    left_behind += ring->sq.sqe_tail - *ring->cq.khead;
    next(ring);
}

/* On a memory file system the log writes through the page cache. */
static int setup(void **state)
{
    struct help *help = calloc(1, sizeof *help);
    help->options = help_small();
    help_dir_make(help, "/dev/shm");
    hf_store_release_u32(&flushes, 0);
    hf_store_release_u32(&flushes_of_writers, 0);
    *state = help;
    return 0;
}

static int teardown(void **state)
{
    struct help *help = *state;
    hf_store_release_u32(&flushes_fail, 0);
    help_close(help);
    help_dir_remove(help);
    free(help);
    return 0;
}

static void log_space_is_never_flushed_through_a_description_that_the_log_writes_with(void **state)
{
    struct help *help = *state;
    help_start(help);
    assert_int_equal(help_write_many(help, 100, 4096), 0);
    assert_int_equal(help_settle(help), 0);
    help_stop(help);
    assert_true(hf_load_acquire_u32(&flushes) > 10);
    assert_int_equal(hf_load_acquire_u32(&flushes_of_writers), 0);
}

static void a_failed_flush_of_log_space_ends_the_log_and_is_not_tried_again(void **state)
{
    struct help *help = *state;
    help_start(help);
    assert_int_equal(help_write_many(help, 10, 4096), 0);
    assert_int_equal(help_settle(help), 0);
    hf_store_release_u32(&flushes_fail, 1);
    int e = 0;
    for (unsigned i = 0; e >= 0 && i < 30000; i++) {
        if (hf_log_watermark(help->log) == 0 && hf_log_buffer_has_room(help->buffer, 0))
            help_write(help, 4096);
        e = hf_log_drain(help->log, help->now_ns += 10000);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_int_equal(e, HF_E_IO);
    hf_store_release_u32(&flushes_fail, 0);
    assert_int_equal(hf_log_drain(help->log, help->now_ns), HF_E_IO);
    assert_int_equal(hf_log_stop(help->log), HF_E_IO);
    assert_non_null(strstr(hf_log_error(help->log), "flush"));
}

/* 16 KiB of segment take four blocks of one record, unsealed because no time passes; the last one was lost by a flush that failed and ended
 * the engine. */
static void what_a_failed_flush_left_in_the_page_cache_is_not_read_as_the_log(void **state)
{
    struct help *help = *state;
    help_start(help);
    for (unsigned i = 0; i < 4; i++) {
        help_write(help, 160);
        while (hf_log_pending(help->log))
            assert_true(hf_log_drain(help->log, help->now_ns) >= 0);
    }
    help_close(help);
    lost_bytes = 4096;
    int e = help_open(help);
    if (e != 0)
        fail_msg("error %d: %s", e, hf_log_error(help->log));
    assert_int_equal(lost_bytes, 0);
    assert_int_equal(help->seen, 3);
    assert_int_equal(help->info.end_position, 3 * 4096);
}

/* The lock is given up right after, so a request that is left behind would write beside the next engine. */
static void a_signal_while_the_log_is_closed_leaves_no_request_under_way(void **state)
{
    struct help *help = *state;
    for (unsigned i = 0; i < 20; i++) {
        help_start(help);
        help_write(help, 160);
        for (unsigned turn = 0; turn < 2; turn++)
            assert_true(hf_log_drain(help->log, help->now_ns) >= 0);
        signals = true;
        help_close(help);
        signals = false;
        assert_int_equal(left_behind, 0);
    }
}

int main(void)
{
#define IN_MEMORY(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        IN_MEMORY(log_space_is_never_flushed_through_a_description_that_the_log_writes_with),
        IN_MEMORY(a_failed_flush_of_log_space_ends_the_log_and_is_not_tried_again),
        IN_MEMORY(what_a_failed_flush_left_in_the_page_cache_is_not_read_as_the_log),
        IN_MEMORY(a_signal_while_the_log_is_closed_leaves_no_request_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
