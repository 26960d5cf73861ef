/* Opening, closing and asking: what is neither recovery (recover.c) nor the drainer's turn (drain.c). */
#include "persist/log_p.h"
#include "persist/say.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

enum {
    PARTITIONS_DEFAULT = 256,
    BLOCK_MAX_DEFAULT = 1 << 20,
    SEGMENT_DEFAULT = 64 << 20,
    AHEAD_DEFAULT = 128 << 20,
    BUFFER_DEFAULT = 32 << 20,
    BATCH_DEFAULT = 64 << 10,
    CLAIMS_DEFAULT = 64
};

#define CLOCK_GAP_DEFAULT_NS 3600000000000u

static _Thread_local char thread_error[HF_ERROR_BYTES];

char *hf_log_thread_error(void)
{
    return thread_error;
}

const char *hf_log_error(const struct hf_log *log)
{
    return log == NULL ? thread_error : log->error;
}

static bool power_of_two(uint64_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

static void fill_defaults(struct hf_log_options *o)
{
    o->partitions = o->partitions != 0 ? o->partitions : PARTITIONS_DEFAULT;
    o->block_max = o->block_max != 0 ? o->block_max : BLOCK_MAX_DEFAULT;
    o->segment_bytes = o->segment_bytes != 0 ? o->segment_bytes : SEGMENT_DEFAULT;
    o->ahead_bytes = o->ahead_bytes != 0 ? o->ahead_bytes : AHEAD_DEFAULT;
    o->buffer_bytes = o->buffer_bytes != 0 ? o->buffer_bytes : BUFFER_DEFAULT;
    o->batch_bytes_max = o->batch_bytes_max != 0 ? o->batch_bytes_max : BATCH_DEFAULT;
    o->batch_claims_max = o->batch_claims_max != 0 ? o->batch_claims_max : CLAIMS_DEFAULT;
    o->max_clock_gap_ns = o->max_clock_gap_ns != 0 ? o->max_clock_gap_ns : CLOCK_GAP_DEFAULT_NS;
    o->shards = o->shards != 0 ? o->shards : 1;
}

static int check_options(const struct hf_log_options *o)
{
    if (!power_of_two(o->partitions) || o->partitions > HF_PARTITIONS_MAX)
        return hf_say(thread_error, HF_E_USAGE, "partitions must be a power of two up to %d, not %" PRIu32, HF_PARTITIONS_MAX,
                      o->partitions);
    if (!power_of_two(o->block_max) || o->block_max < 16384 || o->block_max > HF_BLOCK_BYTES_MAX)
        return hf_say(thread_error, HF_E_USAGE, "block_max must be a power of two from 16384 to %d, not %" PRIu32, HF_BLOCK_BYTES_MAX,
                      o->block_max);
    if (o->segment_bytes % o->block_max != 0)
        return hf_say(thread_error, HF_E_USAGE, "segment_bytes must be a multiple of block_max");
    return 0;
}

/* Both copies are read before any is believed: the newest writing that checks counts. *any: there is at least something. */
static int manifest_read(struct hf_log *log, bool *found, bool *any)
{
    uint8_t *copy = malloc(HF_MANIFEST_BYTES_MAX);
    if (copy == NULL)
        return hf_say(log->error, HF_E_MEMORY, "no memory to read the manifest");
    int e = 0, newer = 0;
    *found = *any = false;
    for (unsigned i = 0; e == 0 && i < HF_MANIFEST_COPIES; i++) {
        struct hf_manifest manifest;
        uint32_t bytes = HF_MANIFEST_BYTES_MAX;
        e = log->backend->ops->manifest_read(log->backend, i, copy, &bytes);
        int verdict = e != 0 ? e : hf_manifest_decode(copy, bytes, &manifest);
        *any = *any || bytes != 0;
        newer |= verdict == HF_E_NEWER;
        if (verdict == 0 && (!*found || manifest.sequence > log->manifest.sequence)) {
            log->manifest = manifest;
            log->manifest_copy = i;
            *found = true;
        }
    }
    free(copy);
    if (e != 0)
        return hf_say(log->error, e, "%s", log->backend->error);
    return newer ? hf_say(log->error, HF_E_NEWER, "the manifest in %s was written by a newer format than %d; use a newer program",
                          log->options.dir, HF_MANIFEST_FORMAT)
                 : 0;
}

int hf_log_manifest_write(struct hf_log *log)
{
    uint8_t image[HF_MANIFEST_BYTES];
    log->manifest.sequence++;
    hf_manifest_encode(&log->manifest, image);
    for (unsigned i = 1; i <= HF_MANIFEST_COPIES; i++) {
        unsigned copy = (log->manifest_copy + i) % HF_MANIFEST_COPIES;
        int e = log->backend->ops->manifest_write(log->backend, copy, image, sizeof image);
        if (e != 0)
            return hf_say(log->error, e, "%s", log->backend->error);
    }
    return 0;
}

static int format(struct hf_log *log)
{
    const struct hf_log_options *o = &log->options;
    log->manifest = (struct hf_manifest){
        .partitions = o->partitions, .block_max = o->block_max, .segment_bytes = o->segment_bytes, .created_ns = o->wall_ns};
    log->manifest.seed = log->backend->seed;
    if (log->manifest.seed == 0 && getrandom(&log->manifest.seed, sizeof log->manifest.seed, 0) != sizeof log->manifest.seed)
        return hf_say(log->error, HF_E_IO, "the system gives no random numbers");
    log->info.fresh = true;
    return hf_log_manifest_write(log);
}

static int attach(struct hf_log *log)
{
    log->geometry = (struct hf_geometry){
        .block_max = log->manifest.block_max, .segment_bytes = log->manifest.segment_bytes, .ahead_bytes = log->options.ahead_bytes};
    int e = log->backend->ops->attach(log->backend, &log->geometry);
    return e == 0 ? 0 : hf_say(log->error, e, "%s", log->backend->error);
}

/* Without a manifest a directory is empty or its format was interrupted, unless log segments stand in it. */
static int read_or_format(struct hf_log *log)
{
    bool found = false, any = false;
    int e = manifest_read(log, &found, &any);
    if (e != 0 || found)
        return e;
    log->manifest.segment_bytes = log->manifest.block_max = 4096;
    e = attach(log);
    if (e != 0)
        return e;
    uint64_t first, end;
    log->backend->ops->extent(log->backend, &first, &end);
    if (first != end)
        return hf_say(log->error, HF_E_DAMAGED,
                      "%s holds log segments but neither copy of its manifest checks; restore manifest.0 or manifest.1 from a copy",
                      log->options.dir);
    if (log->options.read_only)
        return any ? hf_say(log->error, HF_E_DAMAGED, "neither copy of the manifest in %s checks", log->options.dir)
                   : hf_say(log->error, HF_E_USAGE, "%s is no data directory of this engine: it has no manifest; check --data",
                            log->options.dir);
    return format(log);
}

static int open_backend(struct hf_log *log)
{
    const struct hf_log_options *o = &log->options;
    switch (o->backend) {
    case HF_LOG_FILE:
        return hf_backend_file_open(o->dir, o->read_only, &log->backend, log->error);
    case HF_LOG_SIM:
        return hf_backend_sim_open((struct hf_sim_disk *)(uintptr_t)o->backend_options, &log->backend, log->error);
    case HF_LOG_NULL:
        return hf_backend_null_open(&log->backend, log->error);
    }
    return hf_say(log->error, HF_E_USAGE, "unknown log backend %d", (int)o->backend);
}

static int open_all(struct hf_log *log)
{
    int e = open_backend(log);
    if (e != 0)
        return e;
    e = log->backend->ops->lock(log->backend, log->options.read_only, log->options.lock_wait_ms);
    if (e != 0)
        return hf_say(log->error, e, "%s", log->backend->error);
    e = read_or_format(log);
    return e != 0 ? e : attach(log);
}

int hf_log_open(const struct hf_log_options *options, struct hf_log **out, struct hf_log_info *info)
{
    struct hf_log_options filled = *options;
    fill_defaults(&filled);
    int e = check_options(&filled);
    if (e != 0)
        return e;
    struct hf_log *log = aligned_alloc(HF_CACHE_PAD_BYTES,
                                       (sizeof *log + HF_CACHE_PAD_BYTES - 1) / HF_CACHE_PAD_BYTES * HF_CACHE_PAD_BYTES);
    if (log == NULL)
        return hf_say(thread_error, HF_E_MEMORY, "no memory for the log");
    memset(log, 0, sizeof *log);
    log->options = filled;
    e = open_all(log);
    if (e != 0) {
        memcpy(thread_error, log->error, sizeof thread_error);
        hf_log_close(log);
        return e;
    }
    const struct hf_beginning *newest = hf_manifest_newest(&log->manifest);
    log->info.partitions = log->manifest.partitions;
    log->info.block_max = log->manifest.block_max;
    log->info.segment_bytes = log->manifest.segment_bytes;
    log->info.term = newest == NULL ? 0 : newest->term;
    log->info.direct = log->backend->direct;
    *info = log->info;
    *out = log;
    return 0;
}

void hf_log_close(struct hf_log *log)
{
    if (log == NULL)
        return;
    if (log->backend != NULL)
        log->backend->ops->close(log->backend);
    if (log->memory != NULL)
        munmap(log->memory, log->memory_bytes);
    free(log);
}

uint64_t hf_log_durable(const struct hf_log *log)
{
    return hf_load_acquire_u64(&log->durable); /* partner: advance_durable */
}

int hf_log_watermark(const struct hf_log *log)
{
    return (int)hf_load_relaxed_u32(&log->watermark);
}

bool hf_log_has_room(const struct hf_log *log)
{
    uint64_t end = log->backend->ops->space_end(log->backend);
    return hf_log_watermark(log) < 2 && hf_log_buffer_has_room(log->buffer, 0) &&
           hf_log_buffer_position(log->buffer) + log->worst_bytes <= end;
}

int hf_log_event_fd(const struct hf_log *log)
{
    return log->backend->ops->event_fd(log->backend);
}

bool hf_log_pending(const struct hf_log *log)
{
    return log->flight_count != 0 || log->holds || hf_log_buffer_pending(log->buffer);
}

void hf_log_status(const struct hf_log *log, struct hf_log_status *out)
{
    uint64_t space_end = log->started ? log->backend->ops->space_end(log->backend) : 0, appended = hf_load_relaxed_u64(&log->appended);
    *out = (struct hf_log_status){.position = log->started ? hf_log_buffer_position(log->buffer) : log->tip.position,
                                  .durable = hf_load_relaxed_u64(&log->durable),
                                  .term = log->started ? hf_manifest_newest(&log->manifest)->term : log->info.term,
                                  .bytes = appended,
                                  .segments = log->backend->ops->segments(log->backend),
                                  .records = hf_load_relaxed_u64(&log->records),
                                  .blocks = hf_load_relaxed_u64(&log->blocks),
                                  .writes = hf_load_relaxed_u64(&log->blocks),
                                  .padding_bytes = hf_load_relaxed_u64(&log->padding_bytes),
                                  .seals = hf_load_relaxed_u64(&log->seals),
                                  .write_ns_sum = hf_load_relaxed_u64(&log->write_ns_sum),
                                  .write_ns_max = hf_load_relaxed_u64(&log->write_ns_max),
                                  .inflight_max = hf_load_relaxed_u64(&log->inflight_max),
                                  .inflight = (uint32_t)hf_load_relaxed_u64(&log->inflight),
                                  .direct = log->backend->direct,
                                  .dsync = log->backend->dsync,
                                  .ahead_bytes = space_end > appended ? space_end - appended : 0,
                                  .watermark = hf_log_watermark(log)};
}
