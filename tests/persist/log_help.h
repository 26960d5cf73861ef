/* What the tests of the log share: numbered records written through a log and checked when they come back. */
#ifndef HF_TESTS_PERSIST_LOG_HELP_H
#define HF_TESTS_PERSIST_LOG_HELP_H

#include "persist/backend_sim.h"
#include "persist/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define HELP_WALL_NS 1700000000000000000ull

/* A log under test and what was written to it. */
struct help {
    struct hf_log_options options;
    struct hf_log *log;
    struct hf_log_buffer *buffer;
    struct hf_log_info info;
    uint64_t term;
    uint64_t now_ns;
    uint64_t written;      /* records claimed, numbered from 0 */
    uint64_t seen;         /* records that came back */
    uint64_t end_position; /* of the last one written */
    char dir[96];
};

/* Small sizes: 16 KiB blocks and segments, 1 MiB of buffer. */
struct hf_log_options help_small(void);
/* A temporary directory under $TMPDIR or /tmp (or `under`), removed with all in it by help_dir_remove. */
void help_dir_make(struct help *help, const char *under);
void help_dir_remove(struct help *help);

/* Opens and recovers, checking that the records come back numbered from 0; the error of whichever failed. */
int help_open(struct help *help);
int help_recover(struct help *help);
/* Opens, recovers and starts; fails the test if that does not work. */
void help_start(struct help *help);
/* Claims, fills and commits one record of `bytes` bytes (multiple of 8, at least 48); returns its end position. */
uint64_t help_write(struct help *help, uint32_t bytes);
/* Drains until all is durable or the log fails; returns 0 or the error. */
int help_settle(struct help *help);
/* help_write and one turn of the drainer, `count` times; 0 or the drainer's error. */
int help_write_many(struct help *help, unsigned count, uint32_t bytes);
void help_stop(struct help *help);
void help_close(struct help *help);
/* For cmocka: a small log's help with a directory of its own, and the end of both. */
int help_begin(void **state);
int help_end(void **state);

#endif
