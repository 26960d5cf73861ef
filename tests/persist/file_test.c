/* The log on real files. */
#include "log_help.h"

#include "persist/backend.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void what_was_durable_comes_back_after_a_clean_stop(void **state)
{
    struct help *help = *state;
    help_start(help);
    assert_true(help->info.fresh);
    assert_int_equal(help_write_many(help, 500, 160), 0);
    assert_int_equal(help_settle(help), 0);
    assert_true(hf_log_durable(help->log) >= help->end_position);
    help_stop(help);
    help_start(help);
    assert_int_equal(help->seen, 500);
    assert_int_equal(help->info.torn_tail_bytes, 0);
    assert_false(help->info.fresh);
    assert_int_equal(help->term, 2);
}

static void what_was_durable_comes_back_without_a_stop(void **state)
{
    struct help *help = *state;
    for (unsigned round = 0; round < 5; round++) {
        help_start(help);
        assert_int_equal(help->seen, round * 300);
        assert_int_equal(help_write_many(help, 300, 48 + 8 * round), 0);
        assert_int_equal(help_settle(help), 0);
        help_close(help);
    }
    help_start(help);
    assert_int_equal(help->seen, 1500);
}

static void segments_of_one_block_are_crossed_many_times(void **state)
{
    struct help *help = *state;
    help_start(help);
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(help_write_many(help, 10, 4096), 0);
    assert_int_equal(help_settle(help), 0);
    help_stop(help);
    help_start(help);
    assert_int_equal(help->seen, 400);
    struct hf_log_status status;
    hf_log_status(help->log, &status);
    assert_true(status.segments > 100);
}

static void an_idle_log_is_sealed_once(void **state)
{
    struct help *help = *state;
    help_start(help);
    assert_int_equal(help_write_many(help, 1, 160), 0);
    assert_int_equal(help_settle(help), 0);
    struct hf_log_status status;
    for (unsigned i = 0; i < 10; i++) {
        help->now_ns += 6000000;
        assert_true(hf_log_drain(help->log, help->now_ns) >= 0);
        assert_int_equal(help_settle(help), 0);
    }
    hf_log_status(help->log, &status);
    assert_int_equal(status.seals, 1);
}

static void a_second_engine_is_told_that_the_directory_is_in_use(void **state)
{
    struct help *help = *state;
    help_start(help);
    struct help other = {.options = help->options};
    other.options.lock_wait_ms = 30;
    assert_int_equal(help_open(&other), HF_E_IN_USE);
    assert_non_null(strstr(hf_log_error(NULL), "in use"));
    other.options.read_only = true;
    assert_int_equal(help_open(&other), HF_E_IN_USE);
}

static void manifest_bytes(const struct help *help, char bytes[4096])
{
    char path[512];
    snprintf(path, sizeof path, "%s/manifest.0", help->dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, bytes, 4096), 4096);
    close(fd);
}

/* What is removed as "stale": a second engine would write the manifest, and zeros over what the first one still promises. */
static void a_removed_lock_file_lets_no_second_engine_in(void **state)
{
    struct help *help = *state;
    char path[512], before[4096], after[4096];
    help_start(help);
    assert_int_equal(help_write_many(help, 10, 160), 0);
    snprintf(path, sizeof path, "%s/lock", help->dir);
    assert_int_equal(unlink(path), 0);
    manifest_bytes(help, before);
    struct help other = {.options = help->options};
    other.options.lock_wait_ms = 30;
    assert_int_equal(help_open(&other), HF_E_IN_USE);
    assert_non_null(strstr(hf_log_error(NULL), "in use"));
    manifest_bytes(help, after);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(help_write_many(help, 10, 160), 0);
    help_stop(help);
    help_start(help);
    assert_int_equal(help->seen, 20);
}

static void two_readers_share_a_stopped_directory_and_change_nothing(void **state)
{
    struct help *help = *state;
    help_start(help);
    assert_int_equal(help_write_many(help, 50, 160), 0);
    help_stop(help);
    struct help a = {.options = help->options}, b = {.options = help->options};
    a.options.read_only = b.options.read_only = true;
    assert_int_equal(help_open(&a), 0);
    assert_int_equal(help_open(&b), 0);
    assert_int_equal(a.seen, 50);
    assert_int_equal(b.seen, 50);
    help->options.lock_wait_ms = 10;
    assert_int_equal(help_open(help), HF_E_IN_USE);
    help_close(&a);
    help_close(&b);
}

static void a_memory_file_system_is_written_through_the_page_cache(void **state)
{
    (void)state;
    struct help help = {.options = help_small()};
    help_dir_make(&help, "/dev/shm");
    help_start(&help);
    assert_false(help.info.direct);
    assert_int_equal(help_write_many(&help, 200, 160), 0);
    help_stop(&help);
    help_start(&help);
    assert_int_equal(help.seen, 200);
    help_close(&help);
    help_dir_remove(&help);
}

/* In a process of its own, so no assertion of cmocka's: the step that failed is the exit status. */
static int run_into_file_size_limit(struct help *help)
{
    const struct rlimit limit = {.rlim_cur = 7 << 20, .rlim_max = 7 << 20};
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (sigaction(SIGXFSZ, &ignore, NULL) != 0)
        return 7;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        return 2;
    help->options.segment_bytes = 8 << 20;
    help->options.ahead_bytes = 6 << 20;
    if (help_open(help) != 0 || hf_log_start(help->log, &help->buffer, &help->term) != 0)
        return 1;
    help->now_ns = help->options.wall_ns;
    while (hf_log_watermark(help->log) == 0)
        if (help_write_many(help, 1, 4096) != 0)
            return 3;
    if (hf_log_watermark(help->log) != 1)
        return 4;
    while (hf_log_watermark(help->log) < 2)
        if (help_write_many(help, 1, 4096) != 0)
            return 5;
    return help_settle(help) == 0 ? 0 : 6;
}

static void a_file_size_limit_lowers_the_watermark_and_loses_nothing(void **state)
{
    struct help *help = *state;
    pid_t child = fork();
    if (child == 0)
        _exit(run_into_file_size_limit(help));
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    help_start(help);
    assert_true(help->seen > 10);
}

/* Writes until it is killed; says in shared memory how many records are durable. */
static int write_until_killed(struct help *help, volatile uint64_t *durable_records)
{
    if (help_open(help) != 0 || hf_log_start(help->log, &help->buffer, &help->term) != 0)
        return 1;
    help->now_ns = help->options.wall_ns;
    uint64_t ends[64], first = help->written;
    *durable_records = first;
    for (;;) {
        if (help->written - *durable_records < 64) {
            uint64_t slot = help->written % 64;
            ends[slot] = help_write(help, 48 + 8 * (uint32_t)(slot * 37 % 300));
        }
        if (hf_log_drain(help->log, help->now_ns += 1000) < 0)
            return 2;
        while (*durable_records < help->written && ends[*durable_records % 64] <= hf_log_durable(help->log))
            (*durable_records)++;
    }
}

static void kills_at_any_moment_lose_nothing_durable(void **state)
{
    struct help *help = *state;
    volatile uint64_t *durable = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(durable != MAP_FAILED);
    help->options.segment_bytes = 1 << 20;
    help->options.ahead_bytes = 2 << 20;
    for (unsigned round = 0; round < 20; round++) {
        uint64_t before = *durable;
        pid_t child = fork();
        if (child == 0)
            _exit(write_until_killed(help, durable));
        for (unsigned i = 0; i < 60000 && *durable < before + 1 + round * 17; i++)
            nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
        kill(child, SIGKILL);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        help_start(help);
        assert_true(help->seen >= *durable);
        help_close(help);
        *durable = help->seen;
    }
    assert_true(*durable > 100);
    munmap((void *)(uintptr_t)durable, 4096);
}

static void the_wall_clock_may_not_jump_far_ahead(void **state)
{
    struct help *help = *state;
    help_start(help);
    assert_int_equal(help_write_many(help, 5, 160), 0);
    help_stop(help);
    help->options.wall_ns += 7200000000000ull;
    assert_int_equal(help_open(help), 0);
    assert_int_equal(hf_log_start(help->log, &help->buffer, &help->term), HF_E_CLOCK);
    assert_non_null(strstr(hf_log_error(help->log), "--accept-clock"));
    help_close(help);
    help->options.accept_clock = true;
    help_start(help);
    help_stop(help);
    help->options.wall_ns = HELP_WALL_NS - 7200000000000ull;
    help_start(help);
    assert_true(help->info.clock_behind);
}

static void damage_file(const struct help *help, uint64_t position, uint8_t mask)
{
    char path[160];
    uint64_t segment = help->options.segment_bytes;
    snprintf(path, sizeof path, "%s/log-%016" PRIx64 ".seg", help->dir, position - position % segment);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, (off_t)(position % segment)), 1);
    byte ^= mask;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)(position % segment)), 1);
    close(fd);
}

static void a_flipped_bit_before_the_end_is_damage_and_names_its_position(void **state)
{
    struct help *help = *state;
    help_start(help);
    assert_int_equal(help_write_many(help, 30, 4096), 0);
    help_stop(help);
    damage_file(help, 16384 + 200, 4);
    assert_int_equal(help_open(help), HF_E_DAMAGED);
    assert_non_null(strstr(hf_log_error(help->log), "position 16384 "));
}

static void a_missing_segment_is_damage(void **state)
{
    struct help *help = *state;
    help_start(help);
    assert_int_equal(help_write_many(help, 30, 4096), 0);
    help_stop(help);
    char path[160];
    snprintf(path, sizeof path, "%s/log-%016x.seg", help->dir, 32768);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(help_open(help), HF_E_DAMAGED);
    assert_non_null(strstr(hf_log_error(help->log), "position 32768 "));
}

/* Segments are made in order, so what is missing before another was there; the zeros of a torn tail are there too. */
static void a_missing_or_short_segment_before_others_is_damage_however_large(void **state)
{
    struct help *help = *state;
    help->options.segment_bytes = 10 << 20;
    help->options.block_max = 1 << 20;
    help->options.buffer_bytes = 4 << 20;
    help->options.batch_bytes_max = 256 << 10;
    help_start(help);
    assert_int_equal(help_write_many(help, 60, 256 << 10), 0);
    assert_int_equal(help_settle(help), 0);
    help_close(help);
    char path[160];
    snprintf(path, sizeof path, "%s/log-%016x.seg", help->dir, 0);
    assert_int_equal(truncate(path, 4096), 0);
    assert_int_equal(help_open(help), HF_E_DAMAGED);
    help_close(help);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(help_open(help), HF_E_DAMAGED);
    assert_non_null(strstr(hf_log_error(help->log), "position 0 "));
}

static void segments_without_a_manifest_are_damage(void **state)
{
    struct help *help = *state;
    help_start(help);
    help_stop(help);
    char path[160];
    for (unsigned copy = 0; copy < 2; copy++) {
        snprintf(path, sizeof path, "%s/manifest.%u", help->dir, copy);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(help_open(help), HF_E_DAMAGED);
}

static void a_directory_that_is_not_there_is_not_made_for_reading(void **state)
{
    struct help *help = *state;
    struct help other = {.options = help->options};
    char path[160];
    snprintf(path, sizeof path, "%s/none", help->dir);
    other.options.dir = path;
    other.options.read_only = true;
    assert_int_equal(help_open(&other), HF_E_USAGE);
    assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
#define ON_FILES(name) cmocka_unit_test_setup_teardown(name, help_begin, help_end)
    const struct CMUnitTest tests[] = {
        ON_FILES(what_was_durable_comes_back_after_a_clean_stop),
        ON_FILES(what_was_durable_comes_back_without_a_stop),
        ON_FILES(segments_of_one_block_are_crossed_many_times),
        ON_FILES(an_idle_log_is_sealed_once),
        ON_FILES(a_second_engine_is_told_that_the_directory_is_in_use),
        ON_FILES(a_removed_lock_file_lets_no_second_engine_in),
        ON_FILES(two_readers_share_a_stopped_directory_and_change_nothing),
        cmocka_unit_test(a_memory_file_system_is_written_through_the_page_cache),
        ON_FILES(a_file_size_limit_lowers_the_watermark_and_loses_nothing),
        ON_FILES(kills_at_any_moment_lose_nothing_durable),
        ON_FILES(the_wall_clock_may_not_jump_far_ahead),
        ON_FILES(a_flipped_bit_before_the_end_is_damage_and_names_its_position),
        ON_FILES(a_missing_segment_is_damage),
        ON_FILES(a_missing_or_short_segment_before_others_is_damage_however_large),
        ON_FILES(segments_without_a_manifest_are_damage),
        ON_FILES(a_directory_that_is_not_there_is_not_made_for_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
