#include "persist/backend_sim.h"

#include "persist/backend.h"
#include "persist/manifest.h"
#include "persist/say.h"
#include "wire/error.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SIM_INFLIGHT_MAX = 8, SECTOR_BYTES = 512 };

struct sim_write {
    uint64_t position;
    uint32_t bytes;
    uint8_t *data;
    unsigned polls; /* until it ends */
    bool faulty;
};

struct hf_sim_disk {
    struct hf_sim_options options;
    uint64_t random;
    uint8_t *log;
    uint64_t bytes;
    uint8_t manifest[HF_MANIFEST_COPIES][HF_MANIFEST_BYTES];
    uint32_t manifest_bytes[HF_MANIFEST_COPIES];
    struct sim_write writes[SIM_INFLIGHT_MAX];
    unsigned count;
    uint64_t operations, crash_at, appends, fail_at;
    enum hf_sim_fault fault;
    bool crashed, locked;
};

struct sim {
    struct hf_backend base;
    struct hf_sim_disk *disk;
    struct hf_geometry geometry;
    uint64_t appended;
    bool shared;
};

static struct sim *sim_of(struct hf_backend *backend)
{
    return (struct sim *)(void *)backend;
}

/* xorshift64* (S. Vigna, 2016) */
static uint64_t next_random(struct hf_sim_disk *disk)
{
    disk->random ^= disk->random >> 12;
    disk->random ^= disk->random << 25;
    disk->random ^= disk->random >> 27;
    return disk->random * 0x2545F4914F6CDD1Dull;
}

static void grow(struct hf_sim_disk *disk, uint64_t end)
{
    if (end <= disk->bytes)
        return;
    uint64_t bytes = (end + (1 << 20) - 1) & ~(uint64_t)((1 << 20) - 1);
    disk->log = realloc(disk->log, bytes);
    assert(disk->log != NULL);
    memset(disk->log + disk->bytes, 0, bytes - disk->bytes);
    disk->bytes = bytes;
}

/* Counts an operation; true when the power is gone. */
static bool power_gone(struct hf_sim_disk *disk)
{
    disk->operations++;
    if (disk->crash_at != 0 && disk->operations >= disk->crash_at)
        disk->crashed = true;
    return disk->crashed;
}

static int sim_lock(struct hf_backend *backend, bool shared, uint64_t wait_ms)
{
    (void)wait_ms;
    struct sim *sim = sim_of(backend);
    if (sim->disk->locked)
        return hf_say(backend->error, HF_E_IN_USE, "the simulated disk is in use");
    sim->shared = shared;
    sim->disk->locked = !shared;
    return 0;
}

static int sim_manifest_read(struct hf_backend *backend, unsigned copy, void *buf, uint32_t *bytes)
{
    struct hf_sim_disk *disk = sim_of(backend)->disk;
    *bytes = disk->manifest_bytes[copy];
    memcpy(buf, disk->manifest[copy], *bytes);
    return 0;
}

static int sim_manifest_write(struct hf_backend *backend, unsigned copy, const void *buf, uint32_t bytes)
{
    struct hf_sim_disk *disk = sim_of(backend)->disk;
    bool gone = disk->crashed, goes = power_gone(disk) && !gone;
    assert(bytes == HF_MANIFEST_BYTES);
    for (uint32_t at = 0; !gone && at < bytes; at += SECTOR_BYTES)
        if (!goes || next_random(disk) % 2 == 0)
            memcpy(disk->manifest[copy] + at, (const uint8_t *)buf + at, SECTOR_BYTES);
    if (!gone)
        disk->manifest_bytes[copy] = bytes;
    return disk->crashed ? hf_say(backend->error, HF_E_IO, "simulated power cut in the manifest") : 0;
}

static int sim_attach(struct hf_backend *backend, const struct hf_geometry *geometry)
{
    sim_of(backend)->geometry = *geometry;
    return 0;
}

static void sim_extent(struct hf_backend *backend, uint64_t *first, uint64_t *end)
{
    struct sim *sim = sim_of(backend);
    uint64_t segment = sim->geometry.segment_bytes;
    *first = 0;
    *end = (sim->disk->bytes + segment - 1) / segment * segment;
}

static int sim_read(struct hf_backend *backend, struct hf_read_cursor *cursor, uint64_t position, void *buf, uint32_t bytes, bool *absent)
{
    (void)cursor;
    struct hf_sim_disk *disk = sim_of(backend)->disk;
    uint64_t segment = sim_of(backend)->geometry.segment_bytes;
    uint64_t have = position < disk->bytes ? disk->bytes - position : 0;
    uint32_t part = have < bytes ? (uint32_t)have : bytes;
    if (part != 0)
        memcpy(buf, disk->log + position, part);
    memset((uint8_t *)buf + part, 0, bytes - part);
    *absent = position - position % segment >= disk->bytes;
    return 0;
}

static void sim_read_end(struct hf_backend *backend, struct hf_read_cursor *cursor)
{
    (void)backend, (void)cursor;
}

static int sim_flush(struct hf_backend *backend, uint64_t position)
{
    (void)position;
    return power_gone(sim_of(backend)->disk) ? hf_say(backend->error, HF_E_IO, "simulated power cut in a flush") : 0;
}

static int sim_space_start(struct hf_backend *backend, uint64_t position, void *memory, size_t bytes)
{
    (void)memory, (void)bytes;
    struct sim *sim = sim_of(backend);
    sim->appended = position;
    backend->depth = sim->disk->options.depth;
    return 0;
}

static uint64_t sim_space_end(const struct hf_backend *backend)
{
    const struct sim *sim = (const struct sim *)(const void *)backend;
    uint64_t end = sim->appended + sim->geometry.ahead_bytes, capacity = sim->disk->options.capacity_bytes;
    return capacity != 0 && end > capacity ? capacity : end;
}

static bool sim_space_failing(const struct hf_backend *backend)
{
    const struct sim *sim = (const struct sim *)(const void *)backend;
    uint64_t capacity = sim->disk->options.capacity_bytes;
    return capacity != 0 && sim->appended + sim->geometry.ahead_bytes > capacity;
}

static void sim_space_used(struct hf_backend *backend, uint64_t appended, uint64_t durable)
{
    (void)durable;
    sim_of(backend)->appended = appended;
}

static int sim_append(struct hf_backend *backend, uint64_t position, const void *data, uint32_t bytes)
{
    struct hf_sim_disk *disk = sim_of(backend)->disk;
    assert(disk->count < SIM_INFLIGHT_MAX && bytes % 4096 == 0 && position % 4096 == 0);
    if (power_gone(disk))
        return hf_say(backend->error, HF_E_IO, "simulated power cut at position %" PRIu64, position);
    struct sim_write *write = &disk->writes[disk->count++];
    *write = (struct sim_write){.position = position, .bytes = bytes, .data = malloc(bytes)};
    assert(write->data != NULL);
    memcpy(write->data, data, bytes);
    write->polls = 1 + (unsigned)(next_random(disk) % disk->options.polls_max);
    write->faulty = ++disk->appends == disk->fail_at;
    return 0;
}

/* Each sector of what was under way is there or not; all, none and any mixture are equally likely kinds of cut. */
static void keep_some(struct hf_sim_disk *disk, const struct sim_write *write)
{
    uint64_t kind = next_random(disk) % 3;
    grow(disk, write->position + write->bytes);
    for (uint32_t at = 0; at < write->bytes; at += SECTOR_BYTES)
        if (kind == 0 || (kind == 1 && next_random(disk) % 2 == 0))
            memcpy(disk->log + write->position + at, write->data + at, SECTOR_BYTES);
}

static int sim_fault(struct hf_backend *backend, const struct sim_write *write, struct hf_append_done *done)
{
    struct hf_sim_disk *disk = sim_of(backend)->disk;
    if (disk->fault == HF_SIM_FENCED) {
        *done = (struct hf_append_done){.position = write->position, .outcome = HF_APPEND_FENCED};
        return 1;
    }
    keep_some(disk, write);
    return hf_say(backend->error, HF_E_IO, "simulated %s write at position %" PRIu64,
                  disk->fault == HF_SIM_WRITE_SHORT ? "short" : "failed", write->position);
}

static void write_gone(struct hf_sim_disk *disk, unsigned index)
{
    free(disk->writes[index].data);
    disk->writes[index] = disk->writes[--disk->count];
}

static int sim_poll(struct hf_backend *backend, struct hf_append_done *done, unsigned max)
{
    struct hf_sim_disk *disk = sim_of(backend)->disk;
    unsigned n = 0;
    if (disk->count != 0 && power_gone(disk))
        return hf_say(backend->error, HF_E_IO, "simulated power cut while writing");
    for (unsigned i = 0; i < disk->count && n < max;) {
        struct sim_write *write = &disk->writes[i];
        if (--write->polls != 0) {
            i++;
            continue;
        }
        if (write->faulty)
            return sim_fault(backend, write, done);
        grow(disk, write->position + write->bytes);
        memcpy(disk->log + write->position, write->data, write->bytes);
        done[n++] = (struct hf_append_done){.position = write->position, .outcome = HF_APPEND_DURABLE};
        write_gone(disk, i);
    }
    return (int)n;
}

static int sim_event_fd(const struct hf_backend *backend)
{
    (void)backend;
    return -1;
}

static uint64_t sim_segments(const struct hf_backend *backend)
{
    const struct sim *sim = (const struct sim *)(const void *)backend;
    return sim->geometry.segment_bytes == 0 ? 0 : (sim->disk->bytes + sim->geometry.segment_bytes - 1) / sim->geometry.segment_bytes;
}

static void sim_close(struct hf_backend *backend)
{
    struct sim *sim = sim_of(backend);
    if (!sim->shared)
        sim->disk->locked = false;
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
    sim->shared = true;
    sim->disk = disk;
    *out = &sim->base;
    return 0;
}

struct hf_sim_disk *hf_sim_disk_new(const struct hf_sim_options *options)
{
    struct hf_sim_disk *disk = calloc(1, sizeof *disk);
    assert(disk != NULL);
    disk->options = *options;
    disk->options.depth = options->depth != 0 ? options->depth : 1;
    disk->options.polls_max = options->polls_max != 0 ? options->polls_max : 1;
    disk->random = options->seed * 2 + 1;
    return disk;
}

void hf_sim_disk_restart(struct hf_sim_disk *disk)
{
    while (disk->count != 0) {
        keep_some(disk, &disk->writes[disk->count - 1]);
        write_gone(disk, disk->count - 1);
    }
    disk->crashed = disk->locked = false;
    disk->crash_at = 0;
    disk->fail_at = 0;
}

void hf_sim_disk_free(struct hf_sim_disk *disk)
{
    hf_sim_disk_restart(disk);
    free(disk->log);
    free(disk);
}

void hf_sim_disk_crash_after(struct hf_sim_disk *disk, uint64_t operations)
{
    disk->crash_at = disk->operations + operations;
}

bool hf_sim_disk_crashed(const struct hf_sim_disk *disk)
{
    return disk->crashed;
}

void hf_sim_disk_fail_append(struct hf_sim_disk *disk, uint64_t appends, enum hf_sim_fault fault)
{
    disk->fail_at = disk->appends + appends;
    disk->fault = fault;
}

void hf_sim_disk_set_capacity(struct hf_sim_disk *disk, uint64_t bytes)
{
    disk->options.capacity_bytes = bytes;
}

void hf_sim_disk_flip(struct hf_sim_disk *disk, uint64_t position, uint8_t mask)
{
    assert(position < disk->bytes);
    disk->log[position] ^= mask;
}

void hf_sim_disk_flip_manifest(struct hf_sim_disk *disk, unsigned copy, uint32_t offset, uint8_t mask)
{
    assert(copy < HF_MANIFEST_COPIES && offset < HF_MANIFEST_BYTES);
    disk->manifest[copy][offset] ^= mask;
}

void hf_sim_disk_wipe(struct hf_sim_disk *disk, uint64_t position, uint64_t bytes)
{
    if (position + bytes > disk->bytes)
        bytes = disk->bytes - position;
    memset(disk->log + position, 0, bytes);
}

uint8_t *hf_sim_disk_at(struct hf_sim_disk *disk, uint64_t position)
{
    return position < disk->bytes ? disk->log + position : NULL;
}

uint8_t *hf_sim_disk_manifest(struct hf_sim_disk *disk, unsigned copy)
{
    return disk->manifest[copy];
}

uint64_t hf_sim_disk_bytes(const struct hf_sim_disk *disk)
{
    return disk->bytes;
}
