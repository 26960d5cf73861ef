/* Each call that the log's file backend makes fails once, or from then on: no crash, no leak, a clear error, nothing acknowledged lost. */
#include "log_help.h"

#include "kernel.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RECORDS = 40, TURNS_MOST = 3000 };

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static int turn(struct help *help)
{
    int work = hf_log_drain(help->log, help->now_ns += 10000);
    if (work == 0)
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    return work < 0 ? work : 0;
}

/* One life up to its stop; *acknowledged: records known to be durable. The error that ended it, or 0. */
static int live(struct help *help, uint64_t *acknowledged)
{
    uint64_t ends[RECORDS] = {0}, first;
    int e = help_open(help);
    if (e == 0)
        e = hf_log_start(help->log, &help->buffer, &help->term);
    if (e != 0)
        return e;
    first = help->written;
    if (first < *acknowledged)
        fail_msg("%s failed: a log of %u records was served with %u", kernel_failed_call(), (unsigned)*acknowledged, (unsigned)first);
    *acknowledged = first;
    help->now_ns = help->now_ns > help->options.wall_ns ? help->now_ns : help->options.wall_ns;
    for (unsigned i = 0; e == 0 && i < TURNS_MOST && help->written - first < RECORDS; i++) {
        if (hf_log_has_room(help->log)) {
            uint64_t number = help->written - first;
            ends[number] = help_write(help, 1000);
        }
        e = turn(help);
    }
    for (unsigned i = 0; e == 0 && i < TURNS_MOST && hf_log_pending(help->log); i++)
        e = turn(help);
    while (*acknowledged < help->written && ends[*acknowledged - first] <= hf_log_durable(help->log))
        (*acknowledged)++;
    return e == 0 ? hf_log_stop(help->log) : e;
}

static void make_directory(struct help *help, bool old, bool large)
{
    *help = (struct help){.options = help_small()};
    help->options.ahead_bytes = 64 << 10;
    help->options.batch_bytes_max = 1024;
    help->options.batch_claims_max = 1;
    help->options.buffer_bytes = 128 << 10;
    help->options.lock_wait_ms = 20;
    if (large) { /* the device is probed only where there is room for it */
        help->options.segment_bytes = 16 << 20;
        help->options.ahead_bytes = 10 << 20;
    }
    help_dir_make(help, "/dev/shm");
    if (!old)
        return;
    help_start(help);
    assert_int_equal(help_write_many(help, 20, 1000), 0);
    assert_int_equal(help_settle(help), 0);
    help_close(help);
}

static void check_error(const struct help *help, int e, const struct kernel_plan *plan)
{
    const char *error = hf_log_error(help->log);
    if (!kernel_failed())
        fail_msg("nothing failed, and yet: error %d, \"%s\"", e, error);
    bool clear = strlen(error) > 20 && strstr(error, "Success") == NULL && e != HF_E_DAMAGED;
    if (!clear)
        fail_msg("call %u (%s) with errno %d: error %d, \"%s\"", (unsigned)plan->nth, kernel_failed_call(), plan->error, e, error);
}

/* False: the call was never made, so all of them failed in their turn. */
static bool fail_one(const struct kernel_plan *plan, bool old)
{
    struct help help;
    uint64_t acknowledged = 0;
    make_directory(&help, old, plan->untracked);
    acknowledged = help.written;
    unsigned before = open_descriptors();
    kernel_arm(help.dir, plan);
    int e = live(&help, &acknowledged);
    if (e != 0)
        check_error(&help, e, plan);
    help_close(&help);
    kernel_disarm();
    if (kernel_allocations() != 0 || open_descriptors() != before)
        fail_msg("call %u (%s) with errno %d: %d allocations and %d descriptors are left over", (unsigned)plan->nth, kernel_failed_call(),
                 plan->error, (int)kernel_allocations(), (int)(open_descriptors() - before));
    e = help_open(&help);
    if (e != 0 || help.seen < acknowledged)
        fail_msg("call %u (%s) with errno %d: %u records of %u came back, error %d: %s", (unsigned)plan->nth, kernel_failed_call(),
                 plan->error, (unsigned)help.seen, (unsigned)acknowledged, e, hf_log_error(help.log));
    help_close(&help);
    help_dir_remove(&help);
    return kernel_failed();
}

static void fail_each(const char *what, struct kernel_plan plan, unsigned stride, bool old)
{
    const char *scale = getenv("HF_TEST_SCALE");
    stride = scale != NULL && strcmp(scale, "full") == 0 ? 1 : stride;
    unsigned tried = 0;
    for (plan.nth = 1; fail_one(&plan, old); plan.nth += stride)
        tried++;
    printf("%s, %s directory, %s: %u of %u calls failed\n", what, old ? "an old" : "a new", plan.onwards ? "onwards" : "once", tried,
           (unsigned)plan.nth);
    assert_true(tried > 10);
}

static void each_call_fails_once_with_an_io_error(void **state)
{
    (void)state;
    fail_each("EIO", (struct kernel_plan){.error = EIO}, 1, false);
    fail_each("EIO", (struct kernel_plan){.error = EIO, .seed = 1}, 2, true);
}

static void every_call_from_one_on_fails(void **state)
{
    (void)state;
    fail_each("EIO", (struct kernel_plan){.error = EIO, .onwards = true}, 9, false);
    fail_each("ENOSPC", (struct kernel_plan){.error = ENOSPC, .onwards = true, .seed = 1}, 9, true);
}

static void each_call_fails_once_for_want_of_space_or_descriptors(void **state)
{
    (void)state;
    fail_each("ENOSPC", (struct kernel_plan){.error = ENOSPC}, 3, true);
    fail_each("EMFILE", (struct kernel_plan){.error = EMFILE, .seed = 1}, 5, true);
}

static void each_call_of_the_device_probe_fails_once(void **state)
{
    (void)state;
    fail_each("EIO, with a probe", (struct kernel_plan){.error = EIO, .untracked = true}, 83, false);
}

static void each_read_and_write_is_short_once(void **state)
{
    (void)state;
    fail_each("short", (struct kernel_plan){.error = 0}, 3, true);
    fail_each("short", (struct kernel_plan){.error = 0, .seed = 1}, 5, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_fails_once_with_an_io_error),
        cmocka_unit_test(every_call_from_one_on_fails),
        cmocka_unit_test(each_call_fails_once_for_want_of_space_or_descriptors),
        cmocka_unit_test(each_call_of_the_device_probe_fails_once),
        cmocka_unit_test(each_read_and_write_is_short_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
