/* Flushes that fail, and what they leave in the page cache. The C library's calls are replaced here, because a file system that loses
 * writes on order is not at hand. */
#include "log_help.h"

#include "ring/atomics.h"

#include <errno.h>
#include <fcntl.h>
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
    for (unsigned i = 0; e >= 0 && i < 5000; i++) {
        if (hf_log_watermark(help->log) == 0 && hf_log_buffer_has_room(help->buffer, 0))
            help_write(help, 4096);
        e = hf_log_drain(help->log, help->now_ns += 10000);
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    assert_int_equal(e, HF_E_IO);
    hf_store_release_u32(&flushes_fail, 0);
    assert_int_equal(hf_log_drain(help->log, help->now_ns), HF_E_IO);
    assert_int_equal(hf_log_stop(help->log), HF_E_IO);
    assert_non_null(strstr(hf_log_error(help->log), "flush"));
}

int main(void)
{
#define IN_MEMORY(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        IN_MEMORY(log_space_is_never_flushed_through_a_description_that_the_log_writes_with),
        IN_MEMORY(a_failed_flush_of_log_space_ends_the_log_and_is_not_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
