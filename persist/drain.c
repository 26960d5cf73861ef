/* The drainer's turn: start of a term, blocks out of the log buffer, the durable position, seals, the clean stop. */
#include "persist/block_check.h"
#include "persist/log_p.h"
#include "persist/say.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

enum { GROWN_BYTES = 64 << 10 /* an open block of this size need not wait for its turn in the stagger */ };

#define SEAL_AFTER_NS 5000000u

static int fatal(struct hf_log *log, int code)
{
    log->fatal = code;
    return code;
}

static int check_clock(struct hf_log *log)
{
    const struct hf_log_options *o = &log->options;
    uint64_t last_ns = log->tip.time_ns;
    if (last_ns == 0 || o->accept_clock || o->wall_ns <= last_ns || o->wall_ns - last_ns <= o->max_clock_gap_ns)
        return 0;
    return hf_say(log->error, HF_E_CLOCK,
                  "the wall clock is %" PRIu64 " s ahead of the log's last entry, more than the %" PRIu64
                  " s allowed: every hold of that time would expire; set the clock right, or say --accept-clock if it is",
                  (o->wall_ns - last_ns) / 1000000000u, o->max_clock_gap_ns / 1000000000u);
}

static int make_buffer(struct hf_log *log)
{
    const struct hf_log_options *o = &log->options;
    struct hf_log_buffer_options options = {.size_bytes = o->buffer_bytes,
                                            .block_max_bytes = log->geometry.block_max,
                                            .header_bytes = HF_BLOCK_HEADER_BYTES,
                                            .shards = o->shards,
                                            .batch_bytes_max = o->batch_bytes_max,
                                            .batch_claims_max = o->batch_claims_max,
                                            .start_position = log->tip.position,
                                            .start_sequence = log->tip.number};
    log->worst_bytes = hf_log_buffer_worst_bytes(&options);
    log->memory_bytes = hf_log_buffer_memory_bytes(&options);
    if (log->memory_bytes == 0)
        return hf_say(log->error, HF_E_USAGE,
                      "a log buffer of %" PRIu64 " bytes does not fit: a power of two up to 64 MiB is needed that holds %" PRIu64
                      " bytes, the worst case of %u shards, and one block of %" PRIu32,
                      o->buffer_bytes, log->worst_bytes, o->shards, log->geometry.block_max);
    void *memory = mmap(NULL, log->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        log->memory = NULL;
        return hf_say(log->error, HF_E_MEMORY, "no memory for a log buffer of %" PRIu64 " bytes", o->buffer_bytes);
    }
    log->memory = memory;
    log->buffer = hf_log_buffer_init(memory, &options);
    assert(log->buffer != NULL);
    return 0;
}

static int begin_term(struct hf_log *log)
{
    struct hf_beginning beginning = {.term = log->info.term + 1,
                                     .position = log->tip.position,
                                     .number = log->tip.number,
                                     .durable = log->tip.durable,
                                     .chain = log->tip.chain};
    hf_manifest_begin(&log->manifest, &beginning);
    int e = hf_log_manifest_write(log);
    if (e == 0)
        log->tip.term = log->info.term = beginning.term;
    return e;
}

/* The space kept ahead must at least cover what may be claimed before the watermark is looked at again. */
static int start_space(struct hf_log *log)
{
    uint64_t least = 4 * (log->worst_bytes + log->geometry.block_max), size_bytes;
    uint64_t ahead = log->geometry.ahead_bytes < least ? least : log->geometry.ahead_bytes;
    ahead = (ahead + log->geometry.block_max - 1) & ~((uint64_t)log->geometry.block_max - 1);
    if (log->geometry.ahead_bytes != ahead) {
        log->geometry.ahead_bytes = ahead;
        int e = log->backend->ops->attach(log->backend, &log->geometry);
        if (e != 0)
            return hf_say(log->error, e, "%s", log->backend->error);
    }
    void *base = hf_log_buffer_base(log->buffer, &size_bytes);
    int e = log->backend->ops->space_start(log->backend, log->tip.position, base, size_bytes);
    return e == 0 ? 0 : hf_say(log->error, e, "%s", log->backend->error);
}

int hf_log_start(struct hf_log *log, struct hf_log_buffer **buffer, uint64_t *term)
{
    assert(!log->started && !log->options.read_only);
    int e = log->recovered || log->info.fresh ? check_clock(log)
                                              : hf_say(log->error, HF_E_USAGE, "a log is recovered before it is started");
    if (e == 0 && log->info.fresh && !log->recovered)
        log->tip.chain = log->manifest.seed;
    if (e == 0)
        e = make_buffer(log);
    if (e == 0)
        e = begin_term(log);
    if (e == 0)
        e = start_space(log);
    if (e != 0)
        return e;
    hf_store_release_u64(&log->durable, log->tip.position); /* partner hf_log_durable */
    hf_store_relaxed_u64(&log->appended, log->tip.position);
    log->last_position = hf_log_buffer_position(log->buffer);
    log->write_ns = 200000;
    log->started = true;
    *buffer = log->buffer;
    *term = log->tip.term;
    return 0;
}

static uint64_t durable_of(const struct hf_log *log)
{
    return hf_load_relaxed_u64(&log->durable);
}

static void count_max(struct hf_atomic_u64 *counter, uint64_t value)
{
    if (value > hf_load_relaxed_u64(counter))
        hf_store_relaxed_u64(counter, value);
}

static void flight_ended(struct hf_log *log, uint64_t position, uint64_t now_ns)
{
    for (unsigned i = 0; i < log->flight_count; i++) {
        struct hf_log_flight *flight = &log->flights[(log->flight_first + i) % HF_LOG_FLIGHTS_MAX];
        if (flight->position != position)
            continue;
        uint64_t took_ns = now_ns > flight->submit_ns ? now_ns - flight->submit_ns : 0;
        flight->done = true;
        log->write_ns = (7 * log->write_ns + took_ns) / 8;
        hf_bump_relaxed_u64(&log->write_ns_sum, took_ns);
        count_max(&log->write_ns_max, took_ns);
        return;
    }
    assert(false); /* a write ended that was never submitted */
}

/* Durable is the contiguous prefix of what ended: a later block that overtook an earlier one waits for it. */
static void advance_durable(struct hf_log *log)
{
    uint64_t durable = 0, release = 0;
    while (log->flight_count != 0 && log->flights[log->flight_first].done) {
        durable = log->flights[log->flight_first].end;
        release = log->flights[log->flight_first].next_position;
        log->flight_first = (log->flight_first + 1) % HF_LOG_FLIGHTS_MAX;
        log->flight_count--;
    }
    if (durable == 0)
        return;
    hf_store_release_u64(&log->durable, durable); /* partner hf_log_durable */
    hf_store_relaxed_u64(&log->inflight, log->flight_count);
    hf_log_buffer_release(log->buffer, release);
    log->backend->ops->space_used(log->backend, hf_load_relaxed_u64(&log->appended), durable);
}

static int reap(struct hf_log *log, uint64_t now_ns)
{
    struct hf_append_done done[HF_LOG_FLIGHTS_MAX];
    int n = log->backend->ops->poll(log->backend, done, HF_LOG_FLIGHTS_MAX);
    if (n < 0)
        return hf_say(log->error, fatal(log, n), "%s", log->backend->error);
    for (int i = 0; i < n; i++) {
        if (done[i].outcome != HF_APPEND_DURABLE)
            return hf_say(log->error, fatal(log, HF_E_IO),
                          "the block at position %" PRIu64 " ended as %s: this process may not serve any more", done[i].position,
                          done[i].outcome == HF_APPEND_FENCED ? "fenced by another writer" : "unknown");
        flight_ended(log, done[i].position, now_ns);
    }
    if (n > 0)
        advance_durable(log);
    return n;
}

static uint32_t count_records(const struct hf_log_block *block)
{
    uint32_t records = 0;
    for (uint32_t at = HF_BLOCK_HEADER_BYTES; at < block->length; records++) {
        uint32_t length;
        memcpy(&length, block->memory + at, sizeof length);
        assert(length >= sizeof(struct hf_record) && length % 8 == 0 && length <= block->length - at);
        at += length;
    }
    return records;
}

static void write_header(struct hf_log *log, const struct hf_log_block *block, uint64_t now_ns)
{
    struct hf_block head = {.magic = HF_BLOCK_MAGIC,
                            .format = HF_BLOCK_FORMAT,
                            .length = block->length,
                            .term = log->tip.term,
                            .number = log->tip.number,
                            .position = block->position,
                            .durable = durable_of(log),
                            .time_ns = now_ns,
                            .previous = log->tip.chain,
                            .records = count_records(block)};
    memcpy(block->memory, &head, sizeof head);
    head.checksum = hf_block_checksum(block->memory, block->length, log->manifest.seed);
    memcpy(block->memory, &head, sizeof head);
    log->tip.chain = head.checksum;
    log->tip.number++;
    hf_bump_relaxed_u64(&log->records, head.records);
}

static int submit(struct hf_log *log, const struct hf_log_block *block, uint64_t now_ns)
{
    assert(block->sequence == log->tip.number && block->position >= log->tip.position);
    bool empty = block->length == HF_BLOCK_HEADER_BYTES;
    uint64_t end = block->position + block->padded_bytes;
    log->unsealed = !empty || durable_of(log) < log->tip.position;
    write_header(log, block, now_ns);
    log->tip.position = end;
    log->flights[(log->flight_first + log->flight_count++) % HF_LOG_FLIGHTS_MAX] = (struct hf_log_flight){
        .position = block->position, .end = end, .next_position = block->next_position, .submit_ns = now_ns};
    log->last_submit_ns = now_ns;
    hf_store_relaxed_u64(&log->appended, end);
    hf_store_relaxed_u64(&log->inflight, log->flight_count);
    count_max(&log->inflight_max, log->flight_count);
    hf_bump_relaxed_u64(&log->blocks, 1);
    hf_bump_relaxed_u64(&log->bytes, block->length);
    hf_bump_relaxed_u64(&log->padding_bytes, block->padded_bytes - block->length);
    hf_bump_relaxed_u64(&log->seals, empty);
    int e = log->backend->ops->append(log->backend, block->position, block->memory, block->padded_bytes);
    return e == 0 ? 0 : hf_say(log->error, fatal(log, e), "%s", log->backend->error);
}

/* Idle means write now. While writes are in flight the open block grows, until its turn in the stagger comes or it is large. */
static bool close_is_due(const struct hf_log *log, uint64_t now_ns)
{
    if (log->flight_count == 0)
        return true;
    if (hf_log_buffer_position(log->buffer) - hf_log_buffer_next_position(log->buffer) >= GROWN_BYTES)
        return true;
    return now_ns - log->last_submit_ns >= log->write_ns / log->backend->depth;
}

static bool take_block(struct hf_log *log, uint64_t now_ns)
{
    if (log->holds)
        return true;
    log->holds = hf_log_buffer_next(log->buffer, &log->held);
    if (!log->holds && !log->closing && hf_log_buffer_pending(log->buffer) && close_is_due(log, now_ns)) {
        log->closing = hf_log_buffer_close(log->buffer, false);
        log->holds = hf_log_buffer_next(log->buffer, &log->held);
    }
    if (log->holds)
        log->closing = false;
    return log->holds;
}

static bool fits(const struct hf_log *log, const struct hf_log_block *block)
{
    uint64_t end = block->position + block->padded_bytes;
    return end - durable_of(log) <= HF_LOG_WINDOW_BYTES && end <= log->backend->ops->space_end(log->backend);
}

static int submit_ready(struct hf_log *log, uint64_t now_ns)
{
    int work = 0;
    while (log->flight_count < log->backend->depth && take_block(log, now_ns) && fits(log, &log->held)) {
        log->holds = false;
        int e = submit(log, &log->held, now_ns);
        if (e != 0)
            return e;
        work++;
    }
    return work;
}

/* Says in an empty block that all before it is durable, so that damage to the last block with records can be told from a torn tail. */
static void seal_if_quiet(struct hf_log *log, uint64_t now_ns)
{
    uint64_t position = hf_log_buffer_position(log->buffer);
    if (position != log->last_position) {
        log->last_position = position;
        log->last_claim_ns = now_ns;
    }
    bool quiet = log->unsealed && log->flight_count == 0 && !log->holds && !log->closing && !hf_log_buffer_pending(log->buffer);
    if (quiet && now_ns - log->last_claim_ns >= SEAL_AFTER_NS)
        log->closing = hf_log_buffer_close(log->buffer, true);
}

static void update_watermark(struct hf_log *log)
{
    uint64_t end = log->backend->ops->space_end(log->backend), position = hf_log_buffer_position(log->buffer);
    uint64_t left = end > position ? end - position : 0, least = 2 * log->worst_bytes + log->geometry.block_max;
    uint64_t reserve = log->geometry.ahead_bytes / 4 > 2 * least ? log->geometry.ahead_bytes / 4 : 2 * least;
    uint32_t level = left < least ? 2 : left < reserve && log->backend->ops->space_failing(log->backend) ? 1 : 0;
    if (level != hf_load_relaxed_u32(&log->watermark))
        hf_store_relaxed_u32(&log->watermark, level);
}

int hf_log_drain(struct hf_log *log, uint64_t now_ns)
{
    if (log->fatal != 0)
        return log->fatal;
    if (log->stopped) /* recovery ends at the clean end: what came behind it would be lost */
        return 0;
    int reaped = reap(log, now_ns);
    if (reaped < 0)
        return reaped;
    seal_if_quiet(log, now_ns);
    int sent = submit_ready(log, now_ns);
    if (sent < 0)
        return sent;
    update_watermark(log);
    return reaped + sent;
}

/* Drains until nothing is left; engine time goes on from the last submission. Space that cannot be had any more ends the wait. */
static int drain_all(struct hf_log *log, uint64_t base_ns, uint64_t start_ns)
{
    while (hf_log_pending(log)) {
        int work = hf_log_drain(log, base_ns + (log->backend->ops->now_ns(log->backend) - start_ns));
        if (work < 0)
            return work;
        if (log->holds && !fits(log, &log->held) && log->flight_count == 0 && log->backend->ops->space_failing(log->backend))
            return hf_say(log->error, fatal(log, HF_E_NO_SPACE),
                          "no log space is left for what was claimed at position %" PRIu64 "; make room on the disk", log->held.position);
        if (work == 0)
            log->backend->ops->wait(log->backend, log->flight_count != 0);
    }
    return 0;
}

int hf_log_stop(struct hf_log *log)
{
    if (log->fatal != 0)
        return log->fatal;
    if (!log->started || log->stopped)
        return 0;
    uint64_t base_ns = log->last_submit_ns > log->tip.time_ns ? log->last_submit_ns : log->tip.time_ns;
    uint64_t start_ns = log->backend->ops->now_ns(log->backend);
    int e = drain_all(log, base_ns, start_ns);
    if (e == 0 && log->unsealed) {
        log->closing = hf_log_buffer_close(log->buffer, true);
        e = drain_all(log, base_ns, start_ns);
    }
    if (e != 0)
        return e;
    log->manifest.clean = true;
    log->manifest.clean_end = log->tip.position;
    log->manifest.clean_chain = log->tip.chain;
    e = hf_log_manifest_write(log);
    log->stopped = true;
    return e == 0 ? 0 : fatal(log, e);
}
