#include "persist/inspect.h"

#include "persist/log_p.h"

#include <string.h>

enum { LOCK_WAIT_MS = 1000 };

static int open_for_reading(const char *dir, struct hf_log **log)
{
    struct hf_log_options options = {.dir = dir, .read_only = true, .lock_wait_ms = LOCK_WAIT_MS};
    struct hf_log_info info;
    return hf_log_open(&options, log, &info);
}

static void close_after(struct hf_log *log)
{
    memcpy(hf_log_thread_error(), log->error, HF_ERROR_BYTES);
    hf_log_close(log);
}

int hf_inspect_info(const char *dir, struct hf_inspect_info *out)
{
    struct hf_log *log;
    int e = open_for_reading(dir, &log);
    if (e != 0)
        return e;
    const struct hf_manifest *manifest = &log->manifest;
    const struct hf_beginning *newest = hf_manifest_newest(manifest);
    *out = (struct hf_inspect_info){.format = HF_MANIFEST_FORMAT,
                                    .partitions = manifest->partitions,
                                    .block_max = manifest->block_max,
                                    .segment_bytes = manifest->segment_bytes,
                                    .created_ns = manifest->created_ns,
                                    .term = newest == NULL ? 0 : newest->term,
                                    .term_position = newest == NULL ? 0 : newest->position,
                                    .manifest_sequence = manifest->sequence,
                                    .clean = manifest->clean,
                                    .clean_end = manifest->clean_end,
                                    .segments = log->backend->ops->segments(log->backend)};
    log->backend->ops->extent(log->backend, &out->first_position, &out->end_position);
    close_after(log);
    return 0;
}

static int count_block(void *context, const struct hf_block *block)
{
    struct hf_inspect_verify *out = context;
    out->blocks++;
    out->records += block->records;
    return 0;
}

int hf_inspect_verify(const char *dir, struct hf_inspect_verify *out)
{
    struct hf_log *log;
    struct hf_inspect_verify found = {0};
    int e = open_for_reading(dir, &log);
    if (e != 0)
        return e;
    struct hf_recovery_calls calls = {.block = count_block, .context = &found, .until = UINT64_MAX};
    e = hf_recover_run(log, &calls, &found.damaged_position);
    found.damaged = e == HF_E_DAMAGED;
    found.end_position = log->info.end_position;
    found.torn_tail_bytes = log->info.torn_tail_bytes;
    close_after(log);
    if (e != 0 && e != HF_E_DAMAGED)
        return e;
    *out = found;
    return 0;
}

int hf_inspect_walk(const char *dir, int (*block)(void *context, const struct hf_block *block), hf_log_visit *visit, void *context,
                    uint64_t until)
{
    struct hf_log *log;
    uint64_t damaged;
    int e = open_for_reading(dir, &log);
    if (e != 0)
        return e;
    struct hf_recovery_calls calls = {.block = block, .visit = visit, .context = context, .until = until};
    e = hf_recover_run(log, &calls, &damaged);
    close_after(log);
    return e;
}
