/* Followers, inspection and engine time. */
#include "log_help.h"

#include "persist/engine_time.h"
#include "persist/inspect.h"
#include "wire/answer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROOM = 64 << 10 };

/* Reads on from *position until nothing more is durable; checks the numbers from *number on. */
static int read_on(struct hf_log_reader *reader, uint64_t *position, uint64_t *number)
{
    static _Thread_local uint8_t buf[ROOM];
    for (;;) {
        uint32_t bytes = ROOM;
        uint64_t next;
        int e = hf_log_reader_read(reader, *position, buf, &bytes, &next);
        if (e != 0)
            return e;
        if (bytes == 0)
            return next == *position ? 0 : 1;
        for (uint32_t at = 0; at < bytes; (*number)++) {
            struct hf_follow_head head;
            struct hf_record record;
            uint64_t found;
            memcpy(&head, buf + at, sizeof head);
            memcpy(&record, buf + at + sizeof head, sizeof record);
            memcpy(&found, buf + at + sizeof head + sizeof record, sizeof found);
            if (found != *number || head.end_position <= *position)
                return 2;
            *position = head.end_position;
            at += (uint32_t)sizeof head + record.length;
        }
        if (next != *position)
            return 3;
    }
}

static void a_follower_gets_every_durable_record_once(void **state)
{
    struct help *help = *state;
    struct hf_log_reader *reader;
    uint64_t position = 0, number = 0;
    help_start(help);
    assert_int_equal(hf_log_reader_open(help->log, &reader), 0);
    assert_int_equal(read_on(reader, &position, &number), 0);
    assert_int_equal(number, 0);
    for (unsigned round = 0; round < 30; round++) {
        assert_int_equal(help_write_many(help, 40, 48 + 104 * round), 0);
        assert_int_equal(help_settle(help), 0);
        assert_int_equal(read_on(reader, &position, &number), 0);
        assert_int_equal(number, help->written);
        assert_int_equal(position, help->end_position);
    }
    hf_log_reader_close(reader);
}

static void a_follower_goes_on_from_any_record_also_over_a_restart(void **state)
{
    struct help *help = *state;
    struct hf_log_reader *reader;
    uint64_t positions[200];
    for (unsigned term = 0; term < 2; term++) {
        help_start(help);
        for (unsigned i = 0; i < 100; i++) {
            positions[term * 100 + i] = help_write(help, 48 + 8 * (i * 13 % 300));
            if (i % 3 == 0)
                assert_int_equal(help_settle(help), 0);
        }
        assert_int_equal(help_settle(help), 0);
        if (term == 0)
            help_close(help);
    }
    for (unsigned i = 0; i < 200; i += 7) {
        uint64_t position = positions[i], number = i + 1;
        assert_int_equal(hf_log_reader_open(help->log, &reader), 0);
        assert_int_equal(read_on(reader, &position, &number), 0);
        assert_int_equal(number, 200);
        uint32_t bytes = ROOM;
        uint8_t buf[ROOM];
        uint64_t next;
        assert_int_equal(hf_log_reader_read(reader, positions[i] - 8, buf, &bytes, &next), HF_E_USAGE);
        hf_log_reader_close(reader);
    }
}

static void what_is_not_kept_any_more_is_told_from_damage_and_the_rest_can_be_read(void **state)
{
    struct help *help = *state;
    struct hf_log_reader *reader;
    char path[160];
    uint8_t buf[ROOM];
    uint32_t bytes = ROOM;
    uint64_t next = 0, number = 40, position;
    help_start(help);
    assert_int_equal(help_write_many(help, 40, 2048), 0);
    position = help->end_position;
    assert_int_equal(help_write_many(help, 40, 2048), 0);
    assert_int_equal(help_settle(help), 0);
    snprintf(path, sizeof path, "%s/log-%016x.seg", help->dir, 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(hf_log_reader_open(help->log, &reader), 0);
    assert_int_equal(hf_log_reader_read(reader, 0, buf, &bytes, &next), HF_E_ABSENT);
    assert_int_equal(read_on(reader, &position, &number), 0);
    assert_int_equal(number, 80);
    assert_int_equal(hf_log_reader_read(reader, 0, buf, &bytes, &next), HF_E_ABSENT);
    hf_log_reader_close(reader);
}

struct follower {
    struct hf_log_reader *reader;
    uint64_t wanted, number;
    int error;
};

static void *follow(void *context)
{
    struct follower *follower = context;
    uint64_t position = 0;
    while (follower->error == 0 && follower->number < follower->wanted)
        follower->error = read_on(follower->reader, &position, &follower->number);
    return NULL;
}

static void a_follower_in_another_thread_keeps_up_while_the_log_runs(void **state)
{
    struct help *help = *state;
    help->options.block_max = 65536;
    help->options.segment_bytes = 1 << 20;
    help->options.ahead_bytes = 4 << 20;
    help_start(help);
    struct follower follower = {.wanted = 5000};
    pthread_t thread;
    assert_int_equal(hf_log_reader_open(help->log, &follower.reader), 0);
    assert_int_equal(pthread_create(&thread, NULL, follow, &follower), 0);
    int e = help_write_many(help, 5000, 400);
    e = e == 0 ? help_settle(help) : e;
    pthread_join(thread, NULL);
    hf_log_reader_close(follower.reader);
    assert_int_equal(e, 0);
    assert_int_equal(follower.error, 0);
    assert_int_equal(follower.number, 5000);
}

static void inspection_says_what_stands_and_what_is_damaged(void **state)
{
    struct help *help = *state;
    struct hf_inspect_info info;
    struct hf_inspect_verify verify;
    help_start(help);
    assert_int_equal(help_write_many(help, 60, 1000), 0);
    assert_int_equal(hf_inspect_info(help->dir, &info), HF_E_IN_USE);
    help_stop(help);
    assert_int_equal(hf_inspect_info(help->dir, &info), 0);
    assert_int_equal(info.partitions, 16);
    assert_int_equal(info.term, 1);
    assert_true(info.clean);
    assert_int_equal(hf_inspect_verify(help->dir, &verify), 0);
    assert_int_equal(verify.records, 60);
    assert_false(verify.damaged);
    assert_int_equal(verify.torn_tail_bytes, 0);
    assert_int_equal(verify.end_position, info.clean_end);
    char path[160];
    snprintf(path, sizeof path, "%s/log-%016x.seg", help->dir, 16384);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    fseek(file, 100, SEEK_SET);
    fputc(0xff, file);
    fclose(file);
    assert_int_equal(hf_inspect_verify(help->dir, &verify), 0);
    assert_true(verify.damaged);
    assert_int_equal(verify.damaged_position, 16384);
}

struct clock_at {
    uint64_t wall, monotonic;
};

static uint64_t wall_of(void *context)
{
    return ((struct clock_at *)context)->wall;
}

static uint64_t monotonic_of(void *context)
{
    return ((struct clock_at *)context)->monotonic;
}

static void engine_time_follows_the_monotonic_clock_from_the_later_start(void **state)
{
    (void)state;
    struct clock_at at = {.wall = 1000, .monotonic = 50};
    const struct hf_clock clock = {.wall_ns = wall_of, .monotonic_ns = monotonic_of, .context = &at};
    struct hf_engine_time time;
    hf_engine_time_start(&time, &clock, 400);
    assert_int_equal(hf_engine_time_now(&time), 1000);
    at.wall = 5;
    at.monotonic = 60;
    assert_int_equal(hf_engine_time_now(&time), 1010);
    hf_engine_time_start(&time, &clock, 2000);
    at.wall = 3600000000000u;
    assert_int_equal(hf_engine_time_now(&time), 2000);
    hf_engine_time_start(&time, &hf_clock_system, 0);
    assert_true(hf_engine_time_now(&time) > HELP_WALL_NS);
}

int main(void)
{
#define ON_FILES(name) cmocka_unit_test_setup_teardown(name, help_begin, help_end)
    const struct CMUnitTest tests[] = {
        ON_FILES(a_follower_gets_every_durable_record_once),
        ON_FILES(a_follower_goes_on_from_any_record_also_over_a_restart),
        ON_FILES(what_is_not_kept_any_more_is_told_from_damage_and_the_rest_can_be_read),
        ON_FILES(a_follower_in_another_thread_keeps_up_while_the_log_runs),
        ON_FILES(inspection_says_what_stands_and_what_is_damaged),
        cmocka_unit_test(engine_time_follows_the_monotonic_clock_from_the_later_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
