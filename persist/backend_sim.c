/* The operations of a process that has a simulated disk open. */
#include "persist/backend.h"
#include "persist/say.h"
#include "persist/sim_disk_p.h"
#include "wire/error.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sim {
    struct hf_backend base;
    struct hf_sim_disk *disk;
    struct hf_geometry geometry;
    uint64_t appended;
    bool shared, starts, failing;
};

static struct sim *sim_of(struct hf_backend *backend)
{
    return (struct sim *)(void *)backend;
}

static const struct sim *sim_of_const(const struct hf_backend *backend)
{
    return (const struct sim *)(const void *)backend;
}

/* Without latencies time goes on by one a poll. */
static bool counts_polls(const struct hf_sim_disk *disk)
{
    return disk->options.write_ns_max == 0;
}

static uint64_t duration(struct hf_sim_disk *disk)
{
    return 1 + hf_sim_random(disk) % (counts_polls(disk) ? disk->options.polls_max : disk->options.write_ns_max);
}

/* The writes of a killed process keep the lock until they are over. */
static int sim_lock(struct hf_backend *backend, bool shared, uint64_t wait_ms)
{
    struct sim *sim = sim_of(backend);
    struct hf_sim_disk *disk = sim->disk;
    uint64_t deadline_ns = disk->now_ns + wait_ms * 1000000;
    while (disk->write_count != 0 && !disk->locked && hf_sim_disk_next_ns(disk) <= deadline_ns)
        hf_sim_disk_set_now(disk, hf_sim_disk_next_ns(disk));
    if (disk->locked || disk->write_count != 0) {
        if (!disk->locked)
            hf_sim_disk_set_now(disk, deadline_ns);
        return hf_say(backend->error, HF_E_IN_USE, "the simulated disk is in use");
    }
    sim->shared = shared;
    disk->locked = !shared;
    return 0;
}

static int sim_manifest_read(struct hf_backend *backend, unsigned copy, void *buf, uint32_t *bytes)
{
    struct sim *sim = sim_of(backend);
    struct hf_sim_manifest *manifest = &sim->disk->manifest[copy];
    if (sim->disk->crashed)
        return hf_say(backend->error, HF_E_IO, "the simulated process is gone");
    if (!sim->shared)
        memcpy(manifest->medium, manifest->now, sizeof manifest->medium);
    *bytes = manifest->bytes;
    memcpy(buf, manifest->now, *bytes);
    return 0;
}

static int sim_manifest_write(struct hf_backend *backend, unsigned copy, const void *buf, uint32_t bytes)
{
    struct hf_sim_disk *disk = sim_of(backend)->disk;
    struct hf_sim_manifest *manifest = &disk->manifest[copy];
    assert(bytes == HF_MANIFEST_BYTES);
    if (disk->crashed)
        return hf_say(backend->error, HF_E_IO, "the simulated process is gone");
    memcpy(manifest->now, buf, bytes);
    manifest->bytes = bytes;
    if (hf_sim_meets(disk, HF_SIM_MANIFEST_ERROR)) {
        hf_sim_manifest_torn(disk, manifest);
        return hf_say(backend->error, HF_E_IO, "simulated failure to write manifest.%u", copy);
    }
    memcpy(manifest->truth, buf, bytes);
    if (hf_sim_gone(disk))
        return hf_say(backend->error, HF_E_IO, "the simulated process ended while it wrote manifest.%u", copy);
    memcpy(manifest->medium, buf, bytes);
    hf_sim_term_begins(disk, buf);
    return 0;
}

static int sim_attach(struct hf_backend *backend, const struct hf_geometry *geometry)
{
    struct sim *sim = sim_of(backend);
    sim->geometry = *geometry;
    backend->direct = !sim->disk->options.buffered;
    backend->dsync = backend->direct;
    return 0;
}

static uint64_t segments_end(const struct hf_sim_disk *disk)
{
    uint64_t segments = disk->segments;
    while (segments != 0 && disk->segment_have[segments - 1] == 0)
        segments--;
    return segments * disk->segment_bytes;
}

static void sim_extent(struct hf_backend *backend, uint64_t *first, uint64_t *end)
{
    const struct hf_sim_disk *disk = sim_of(backend)->disk;
    *first = 0;
    *end = segments_end(disk);
    while (*first < *end && disk->segment_have[*first / disk->segment_bytes] == 0)
        *first += disk->segment_bytes;
}

static int sim_read(struct hf_backend *backend, struct hf_read_cursor *cursor, uint64_t position, void *buf, uint32_t bytes, bool *absent)
{
    struct hf_sim_disk *disk = sim_of(backend)->disk;
    uint64_t segment = sim_of(backend)->geometry.segment_bytes;
    if (disk->crashed || hf_sim_meets(disk, HF_SIM_READ_ERROR)) {
        snprintf(cursor->error, sizeof cursor->error, "simulated failure to read at position %" PRIu64, position);
        return HF_E_IO;
    }
    bool whole = hf_sim_look(disk, position, buf, bytes);
    *absent = !whole && position - position % segment + segment < segments_end(disk);
    return 0;
}

static void sim_read_end(struct hf_backend *backend, struct hf_read_cursor *cursor)
{
    (void)backend, (void)cursor;
}

static int flush_failed(struct hf_backend *backend, uint64_t position)
{
    struct hf_sim_disk *disk = sim_of(backend)->disk;
    for (uint64_t at = position / HF_SIM_SECTOR_BYTES; at < disk->bytes / HF_SIM_SECTOR_BYTES; at++)
        if (disk->options.buffered && disk->sectors[at] == HF_SIM_DIRTY && hf_sim_random(disk) % 2 == 0)
            disk->sectors[at] = HF_SIM_STALE;
    return hf_say(backend->error, HF_E_IO, "simulated failure of a flush; the start is refused");
}

static int sim_flush(struct hf_backend *backend, uint64_t position)
{
    struct sim *sim = sim_of(backend);
    uint64_t segment = sim->geometry.segment_bytes, from = position - position % segment;
    if (hf_sim_gone(sim->disk))
        return hf_say(backend->error, HF_E_IO, "the simulated process ended in a flush");
    if (hf_sim_meets(sim->disk, HF_SIM_FLUSH_ERROR))
        return flush_failed(backend, from);
    hf_sim_settle(sim->disk, from);
    return 0;
}

/* ---- space ---- */

static bool disk_is_full(struct hf_sim_disk *disk)
{
    if (disk->full_until_ns <= disk->now_ns && hf_sim_meets(disk, HF_SIM_NO_SPACE))
        disk->full_until_ns = disk->now_ns + 1 + hf_sim_random(disk) % (counts_polls(disk) ? 50 : 500000000);
    return disk->full_until_ns > disk->now_ns;
}

static uint64_t slice_end(const struct sim *sim, uint64_t target)
{
    const struct hf_sim_disk *disk = sim->disk;
    uint64_t from = disk->slice.from, end = target;
    uint64_t segment_end = from - from % disk->segment_bytes + disk->segment_bytes;
    if (disk->options.fill_bytes != 0 && from + disk->options.fill_bytes < end)
        end = from + disk->options.fill_bytes;
    return end < segment_end ? end : segment_end;
}

/* A new segment is an entry of its directory before anything is written there, and lasts from when the slice ends. */
static void slice_begin(struct sim *sim, uint64_t target)
{
    struct hf_sim_disk *disk = sim->disk;
    uint64_t segment = disk->slice.from / disk->segment_bytes;
    assert(segment < HF_SIM_SEGMENTS_MAX);
    disk->slice.end = slice_end(sim, target);
    disk->slice.under_way = true;
    disk->slice.due_ns = disk->now_ns + (disk->options.fill_ns_max == 0 ? 0 : 1 + hf_sim_random(disk) % disk->options.fill_ns_max);
    if (segment >= disk->segments)
        disk->segments = segment + 1;
    disk->segment_have[segment] = disk->segment_bytes;
}

static void slice_over(struct hf_sim_disk *disk)
{
    struct hf_sim_slice *slice = &disk->slice;
    uint64_t end = slice->end < disk->bytes ? slice->end : disk->bytes;
    if (!disk->options.keeps_old && slice->from < end) {
        memset(disk->medium + slice->from, 0, end - slice->from);
        hf_sim_harm(disk, slice->from, end - slice->from, false);
        memset(disk->sectors + slice->from / HF_SIM_SECTOR_BYTES, HF_SIM_CLEAN, (end - slice->from) / HF_SIM_SECTOR_BYTES);
    }
    slice->under_way = false;
    slice->from = slice->end;
    if (disk->settled < (slice->end + disk->segment_bytes - 1) / disk->segment_bytes)
        disk->settled = (slice->end + disk->segment_bytes - 1) / disk->segment_bytes;
}

static void fill(struct sim *sim)
{
    struct hf_sim_disk *disk = sim->disk;
    uint64_t target = sim->appended + sim->geometry.ahead_bytes, capacity = disk->options.capacity_bytes;
    bool bounded = capacity != 0 && target > capacity;
    target = (bounded ? capacity : target) & ~(uint64_t)4095;
    sim->failing = bounded && disk->slice.from >= target;
    while (sim->starts && !disk->crashed && (disk->slice.under_way || disk->slice.from < target)) {
        if (!disk->slice.under_way && disk_is_full(disk)) {
            sim->failing = true;
            return;
        }
        if (!disk->slice.under_way)
            slice_begin(sim, target);
        if (disk->slice.due_ns > disk->now_ns || hf_sim_gone(disk))
            return;
        slice_over(disk);
    }
}

/* A start waits for its first space. */
static int sim_space_start(struct hf_backend *backend, uint64_t position, void *memory, size_t bytes)
{
    (void)memory, (void)bytes;
    struct sim *sim = sim_of(backend);
    struct hf_sim_disk *disk = sim->disk;
    uint64_t first = position + sim->geometry.ahead_bytes / 2;
    if (disk->options.capacity_bytes != 0 && first > disk->options.capacity_bytes)
        first = disk->options.capacity_bytes;
    assert(disk->segment_bytes == 0 || disk->segment_bytes == sim->geometry.segment_bytes);
    disk->segment_bytes = sim->geometry.segment_bytes;
    disk->slice = (struct hf_sim_slice){.from = position};
    sim->appended = position;
    sim->starts = true;
    backend->depth = disk->options.depth;
    for (fill(sim); disk->slice.from < first && !disk->crashed && !sim->failing; fill(sim))
        if (disk->slice.due_ns > disk->now_ns)
            hf_sim_disk_set_now(disk, disk->slice.due_ns);
    if (disk->crashed)
        return hf_say(backend->error, HF_E_IO, "the simulated process ended while it made log space");
    return disk->slice.from >= first ? 0 : hf_say(backend->error, HF_E_NO_SPACE, "the simulated disk is full");
}

static uint64_t sim_space_end(const struct hf_backend *backend)
{
    return sim_of_const(backend)->disk->slice.from;
}

static bool sim_space_failing(const struct hf_backend *backend)
{
    return sim_of_const(backend)->failing;
}

static void sim_space_used(struct hf_backend *backend, uint64_t appended, uint64_t durable)
{
    (void)durable;
    sim_of(backend)->appended = appended;
    fill(sim_of(backend));
}

/* ---- appends ---- */

static enum hf_sim_fault fault_of_append(struct hf_sim_disk *disk)
{
    static const enum hf_sim_fault faults[] = {HF_SIM_WRITE_ERROR, HF_SIM_WRITE_SHORT, HF_SIM_FLUSH_ERROR, HF_SIM_FENCED,
                                               HF_SIM_LOST_WRITE,  HF_SIM_MISDIRECTED, HF_SIM_SLOW_WRITE};
    for (unsigned i = 0; i < sizeof faults / sizeof faults[0]; i++)
        if (hf_sim_meets(disk, faults[i]))
            return faults[i];
    return HF_SIM_FAULTS;
}

static int sim_append(struct hf_backend *backend, uint64_t position, const void *data, uint32_t bytes)
{
    struct hf_sim_disk *disk = sim_of(backend)->disk;
    assert(disk->write_count < HF_SIM_INFLIGHT_MAX && bytes % 4096 == 0 && position % 4096 == 0);
    assert(position + bytes <= disk->slice.from || disk->crashed);
    if (hf_sim_gone(disk))
        return hf_say(backend->error, HF_E_IO, "the simulated process ended at position %" PRIu64, position);
    struct hf_sim_write *write = &disk->writes[disk->write_count++];
    *write = (struct hf_sim_write){.position = position, .bytes = bytes, .data = malloc(bytes), .fault = fault_of_append(disk)};
    assert(write->data != NULL);
    memcpy(write->data, data, bytes);
    uint64_t took_ns = duration(disk) * (write->fault == HF_SIM_SLOW_WRITE ? 20 + hf_sim_random(disk) % 181 : 1);
    write->due_ns = disk->now_ns + took_ns;
    write->cached_ns = disk->now_ns + hf_sim_random(disk) % took_ns;
    return 0;
}

/* Of a write that failed, or whose flush did, each sector may be anywhere: where it was, lost, or readable and not durable. */
static void land_failed(struct hf_sim_disk *disk, const struct hf_sim_write *write, uint32_t bytes)
{
    for (uint32_t at = 0; at < bytes; at += HF_SIM_SECTOR_BYTES) {
        enum hf_sim_sector as = disk->options.buffered ? HF_SIM_STALE : hf_sim_random(disk) % 2 == 0 ? HF_SIM_DIRTY : HF_SIM_CLEAN;
        if (disk->options.buffered || hf_sim_random(disk) % 3 != 0)
            hf_sim_land(disk, write->position + at, write->data + at, HF_SIM_SECTOR_BYTES, as);
    }
}

static int append_failed(struct hf_backend *backend, const struct hf_sim_write *write)
{
    struct hf_sim_disk *disk = sim_of(backend)->disk;
    bool is_short = write->fault == HF_SIM_WRITE_SHORT;
    uint32_t bytes = is_short ? (uint32_t)(hf_sim_random(disk) % (write->bytes / HF_SIM_SECTOR_BYTES)) * HF_SIM_SECTOR_BYTES : write->bytes;
    if (is_short && bytes != 0)
        hf_sim_land(disk, write->position, write->data, bytes, HF_SIM_DIRTY);
    else if (!is_short)
        land_failed(disk, write, bytes);
    return hf_say(backend->error, HF_E_IO, "simulated %s at position %" PRIu64, hf_sim_fault_name(write->fault), write->position);
}

/* One write that is over: reported, or the error it ended with. */
static int report(struct hf_backend *backend, unsigned index, struct hf_append_done *done)
{
    struct hf_sim_disk *disk = sim_of(backend)->disk;
    const struct hf_sim_write *write = &disk->writes[index];
    int e = 0;
    *done = (struct hf_append_done){.position = write->position, .outcome = HF_APPEND_DURABLE};
    if (write->fault == HF_SIM_FENCED)
        done->outcome = HF_APPEND_FENCED;
    else if (write->fault == HF_SIM_WRITE_ERROR || write->fault == HF_SIM_WRITE_SHORT || write->fault == HF_SIM_FLUSH_ERROR)
        e = append_failed(backend, write);
    else
        hf_sim_block_add(disk, write);
    hf_sim_write_gone(disk, index);
    return e;
}

static int sim_poll(struct hf_backend *backend, struct hf_append_done *done, unsigned max)
{
    struct hf_sim_disk *disk = sim_of(backend)->disk;
    unsigned n = 0;
    if (disk->crashed || (disk->write_count != 0 && hf_sim_gone(disk)))
        return hf_say(backend->error, HF_E_IO, "the simulated process ended while it was writing");
    disk->now_ns += counts_polls(disk);
    hf_sim_advance(disk);
    for (unsigned i = 0; i < disk->write_count && n < max;) {
        if (!disk->writes[i].over) {
            i++;
            continue;
        }
        int e = report(backend, i, &done[n++]);
        if (e != 0)
            return e;
    }
    fill(sim_of(backend));
    return disk->crashed ? hf_say(backend->error, HF_E_IO, "the simulated process ended while it made log space") : (int)n;
}

static int sim_event_fd(const struct hf_backend *backend)
{
    (void)backend;
    return -1;
}

static uint64_t sim_now_ns(const struct hf_backend *backend)
{
    return sim_of_const(backend)->disk->now_ns;
}

static void sim_wait(struct hf_backend *backend, bool under_way)
{
    struct hf_sim_disk *disk = sim_of(backend)->disk;
    uint64_t next_ns = hf_sim_disk_next_ns(disk), most_ns = disk->now_ns + (under_way ? 1000000 : 20000);
    if (!counts_polls(disk))
        hf_sim_disk_set_now(disk, next_ns < most_ns && next_ns > disk->now_ns ? next_ns : most_ns);
}

static uint64_t sim_segments(const struct hf_backend *backend)
{
    return sim_of_const(backend)->disk->segments;
}

/* A process that lives ends its writes before it lets go of the lock; what they report no longer matters. */
static void sim_close(struct hf_backend *backend)
{
    struct sim *sim = sim_of(backend);
    struct hf_sim_disk *disk = sim->disk;
    while (sim->starts && !disk->crashed && disk->write_count != 0) {
        disk->writes[0].cached_ns = disk->writes[0].due_ns = disk->now_ns;
        disk->writes[0].orphan = true;
        hf_sim_advance(disk);
    }
    if (sim->starts && !disk->crashed)
        disk->slice.under_way = false;
    if (!sim->shared)
        disk->locked = false;
    free(sim);
}

static const struct hf_backend_ops sim_ops = {
    .name = "sim",
    .lock = sim_lock,
    .manifest_read = sim_manifest_read,
    .manifest_write = sim_manifest_write,
    .attach = sim_attach,
    .extent = sim_extent,
    .read = sim_read,
    .read_end = sim_read_end,
    .flush = sim_flush,
    .space_start = sim_space_start,
    .space_end = sim_space_end,
    .space_failing = sim_space_failing,
    .space_used = sim_space_used,
    .append = sim_append,
    .poll = sim_poll,
    .event_fd = sim_event_fd,
    .now_ns = sim_now_ns,
    .wait = sim_wait,
    .segments = sim_segments,
    .close = sim_close,
};

int hf_backend_sim_open(struct hf_sim_disk *disk, struct hf_backend **out, char *error)
{
    struct sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL || disk == NULL) {
        free(sim);
        return hf_say(error, HF_E_USAGE, "a simulated log needs its disk");
    }
    sim->base.ops = &sim_ops;
    sim->base.depth = 1;
    sim->base.reads_alone = true;
    sim->base.seed = (uint32_t)disk->options.seed | 1;
    sim->shared = true;
    sim->disk = disk;
    *out = &sim->base;
    return 0;
}
