#include "log_help.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct hf_log_options help_small(void)
{
    return (struct hf_log_options){.partitions = 16,
                                   .block_max = 16384,
                                   .segment_bytes = 16384,
                                   .ahead_bytes = 256 << 10,
                                   .buffer_bytes = 1 << 20,
                                   .shards = 1,
                                   .batch_bytes_max = 4096,
                                   .batch_claims_max = 4,
                                   .lock_wait_ms = 2000,
                                   .wall_ns = HELP_WALL_NS,
                                   .max_clock_gap_ns = 3600000000000ull};
}

void help_dir_make(struct help *help, const char *under)
{
    const char *base = under != NULL ? under : getenv("TMPDIR");
    snprintf(help->dir, sizeof help->dir, "%s/hf-log-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(help->dir));
    help->options.dir = help->dir;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void help_dir_remove(struct help *help)
{
    assert_int_equal(nftw(help->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static int visit(void *context, const struct hf_record *record, uint64_t end_position, uint64_t term)
{
    struct help *help = context;
    uint64_t number;
    memcpy(&number, record + 1, sizeof number);
    assert_int_equal(number, help->seen);
    assert_true(end_position > help->end_position || help->seen == 0);
    assert_true(term >= 1);
    for (const uint8_t *at = (const uint8_t *)(record + 1) + 8; at < (const uint8_t *)record + record->length; at++)
        assert_int_equal(*at, (uint8_t)(number * 31 + 7));
    help->end_position = end_position;
    help->seen++;
    return 0;
}

int help_recover(struct help *help)
{
    help->seen = 0;
    help->end_position = 0;
    return hf_log_recover(help->log, visit, NULL, help, UINT64_MAX, &help->info);
}

int help_open(struct help *help)
{
    int e = hf_log_open(&help->options, &help->log, &help->info);
    if (e != 0) {
        help->log = NULL;
        return e;
    }
    e = help_recover(help);
    if (e == 0)
        help->written = help->seen;
    return e;
}

void help_start(struct help *help)
{
    int e = help_open(help);
    if (e == 0)
        e = hf_log_start(help->log, &help->buffer, &help->term);
    if (e != 0)
        fail_msg("error %d: %s", e, hf_log_error(help->log));
    if (help->now_ns == 0)
        help->now_ns = help->options.wall_ns;
}

uint64_t help_write(struct help *help, uint32_t bytes)
{
    assert_true(hf_log_buffer_has_room(help->buffer, 0));
    struct hf_log_claim claim = hf_log_buffer_claim(help->buffer, bytes);
    struct hf_record record = {.length = bytes, .version = HF_RECORD_VERSION, .time_ns = help->now_ns};
    memcpy(claim.memory, &record, sizeof record);
    memcpy(claim.memory + sizeof record, &help->written, 8);
    memset(claim.memory + sizeof record + 8, (uint8_t)(help->written * 31 + 7), bytes - sizeof record - 8);
    hf_log_buffer_commit(help->buffer, &claim);
    help->written++;
    help->end_position = claim.position + bytes;
    return help->end_position;
}

int help_settle(struct help *help)
{
    while (hf_log_pending(help->log)) {
        help->now_ns += 10000;
        int e = hf_log_drain(help->log, help->now_ns);
        if (e < 0)
            return e;
    }
    return 0;
}

int help_write_many(struct help *help, unsigned count, uint32_t bytes)
{
    for (unsigned i = 0; i < count; i++) {
        while (!hf_log_buffer_has_room(help->buffer, 0)) {
            help->now_ns += 10000;
            int e = hf_log_drain(help->log, help->now_ns);
            if (e < 0)
                return e;
        }
        help_write(help, bytes);
        help->now_ns += 10000;
        int e = hf_log_drain(help->log, help->now_ns);
        if (e < 0)
            return e;
    }
    return 0;
}

void help_stop(struct help *help)
{
    int e = hf_log_stop(help->log);
    if (e != 0)
        fail_msg("error %d: %s", e, hf_log_error(help->log));
    help_close(help);
}

void help_close(struct help *help)
{
    hf_log_close(help->log);
    help->log = NULL;
}

int help_begin(void **state)
{
    struct help *help = calloc(1, sizeof *help);
    help->options = help_small();
    help_dir_make(help, NULL);
    *state = help;
    return 0;
}

int help_end(void **state)
{
    struct help *help = *state;
    help_close(help);
    help_dir_remove(help);
    free(help);
    return 0;
}
