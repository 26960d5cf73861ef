/* What lies on a simulated disk, what is on its way there, and how a life of its user ends. */
#include "persist/sim_disk_p.h"
#include "wire/block.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const char *const fault_names[HF_SIM_FAULTS] = {
    [HF_SIM_POWER_CUT] = "power_cut",
    [HF_SIM_KILL] = "kill",
    [HF_SIM_TORN_WRITE] = "torn_write",
    [HF_SIM_LOST_CACHE] = "lost_cache",
    [HF_SIM_LATE_WRITE] = "late_write",
    [HF_SIM_SLOW_WRITE] = "slow_write",
    [HF_SIM_NO_SPACE] = "no_space",
    [HF_SIM_SEGMENT_LOST] = "segment_lost",
    [HF_SIM_MANIFEST_TORN] = "manifest_torn",
    [HF_SIM_MANIFEST_ROT] = "manifest_rot",
    [HF_SIM_WRITE_ERROR] = "write_error",
    [HF_SIM_WRITE_SHORT] = "write_short",
    [HF_SIM_FLUSH_ERROR] = "flush_error",
    [HF_SIM_FENCED] = "fenced",
    [HF_SIM_MANIFEST_ERROR] = "manifest_error",
    [HF_SIM_READ_ERROR] = "read_error",
    [HF_SIM_ROT] = "rot",
    [HF_SIM_LOST_WRITE] = "lost_write",
    [HF_SIM_MISDIRECTED] = "misdirected",
    [HF_SIM_SEGMENT_GONE] = "segment_gone",
};

const char *hf_sim_fault_name(enum hf_sim_fault fault)
{
    assert(fault < HF_SIM_FAULTS);
    return fault_names[fault];
}

/* xorshift64* (S. Vigna, 2016) */
uint64_t hf_sim_random(struct hf_sim_disk *disk)
{
    disk->random ^= disk->random >> 12;
    disk->random ^= disk->random << 25;
    disk->random ^= disk->random >> 27;
    return disk->random * 0x2545F4914F6CDD1Dull;
}

static uint8_t *grown(uint8_t *image, uint64_t from, uint64_t to)
{
    image = realloc(image, to);
    assert(image != NULL);
    memset(image + from, 0, to - from);
    return image;
}

void hf_sim_grow(struct hf_sim_disk *disk, uint64_t end)
{
    if (end <= disk->bytes)
        return;
    uint64_t bytes = disk->bytes == 0 ? 1 << 18 : disk->bytes;
    while (bytes < end)
        bytes *= 2;
    disk->medium = grown(disk->medium, disk->bytes, bytes);
    disk->cache = grown(disk->cache, disk->bytes, bytes);
    disk->truth = grown(disk->truth, disk->bytes, bytes);
    disk->sectors = grown(disk->sectors, disk->bytes / HF_SIM_SECTOR_BYTES, bytes / HF_SIM_SECTOR_BYTES);
    disk->harmed = grown(disk->harmed, disk->bytes / HF_SIM_SECTOR_BYTES, bytes / HF_SIM_SECTOR_BYTES);
    disk->bytes = bytes;
}

bool hf_sim_gone(struct hf_sim_disk *disk)
{
    if (disk->crashed)
        return true;
    disk->operations++;
    if (disk->crash_at != 0 && disk->operations >= disk->crash_at)
        hf_sim_disk_power_cut(disk);
    else if (disk->kill_at != 0 && disk->operations >= disk->kill_at)
        hf_sim_disk_kill(disk);
    return disk->crashed;
}

bool hf_sim_meets(struct hf_sim_disk *disk, enum hf_sim_fault fault)
{
    bool planned = disk->plans[fault] != 0 && --disk->plans[fault] == 0;
    bool drawn = disk->rates[fault] != 0 && hf_sim_random(disk) % 1000000 < disk->rates[fault];
    disk->counts[fault] += planned || drawn;
    return planned || drawn;
}

/* ---- sectors ---- */

void hf_sim_land(struct hf_sim_disk *disk, uint64_t position, const uint8_t *data, uint32_t bytes, enum hf_sim_sector as)
{
    hf_sim_grow(disk, position + bytes);
    memcpy((as == HF_SIM_CLEAN ? disk->medium : disk->cache) + position, data, bytes);
    memset(disk->sectors + position / HF_SIM_SECTOR_BYTES, (int)as, bytes / HF_SIM_SECTOR_BYTES);
    hf_sim_harm(disk, position, bytes, false);
}

void hf_sim_harm(struct hf_sim_disk *disk, uint64_t position, uint64_t bytes, bool harmed)
{
    uint64_t from = position / HF_SIM_SECTOR_BYTES, end = (position + bytes + HF_SIM_SECTOR_BYTES - 1) / HF_SIM_SECTOR_BYTES;
    hf_sim_grow(disk, end * HF_SIM_SECTOR_BYTES);
    memset(disk->harmed + from, harmed, end - from);
}

static uint64_t segment_have(const struct hf_sim_disk *disk, uint64_t segment)
{
    return segment < disk->segments ? disk->segment_have[segment] : 0;
}

static void look_at_sector(const struct hf_sim_disk *disk, uint64_t position, uint8_t *to)
{
    if (position >= disk->bytes)
        memset(to, 0, HF_SIM_SECTOR_BYTES);
    else if (disk->sectors[position / HF_SIM_SECTOR_BYTES] == HF_SIM_CLEAN)
        memcpy(to, disk->medium + position, HF_SIM_SECTOR_BYTES);
    else
        memcpy(to, disk->cache + position, HF_SIM_SECTOR_BYTES);
}

bool hf_sim_look(const struct hf_sim_disk *disk, uint64_t position, uint8_t *to, uint64_t bytes)
{
    bool whole = true;
    for (uint64_t at = 0; at < bytes; at += HF_SIM_SECTOR_BYTES) {
        uint64_t segment = disk->segment_bytes == 0 ? 0 : (position + at) / disk->segment_bytes;
        bool there = disk->segment_bytes != 0 && (position + at) % disk->segment_bytes < segment_have(disk, segment);
        if (there)
            look_at_sector(disk, position + at, to + at);
        else
            memset(to + at, 0, HF_SIM_SECTOR_BYTES);
        whole = whole && there;
    }
    return whole;
}

void hf_sim_settle(struct hf_sim_disk *disk, uint64_t position)
{
    for (uint64_t at = position; at < disk->bytes; at += HF_SIM_SECTOR_BYTES) {
        uint8_t *sector = &disk->sectors[at / HF_SIM_SECTOR_BYTES];
        if (*sector == HF_SIM_DIRTY)
            memcpy(disk->medium + at, disk->cache + at, HF_SIM_SECTOR_BYTES);
        *sector = HF_SIM_CLEAN;
    }
}

/* ---- writes under way ---- */

void hf_sim_write_gone(struct hf_sim_disk *disk, unsigned index)
{
    free(disk->writes[index].data);
    disk->writes[index] = disk->writes[--disk->write_count];
}

/* A write that will be reported as a success, and what the disk makes of it. */
static void write_lands(struct hf_sim_disk *disk, const struct hf_sim_write *write, enum hf_sim_sector as)
{
    if (write->fault != HF_SIM_LOST_WRITE && write->fault != HF_SIM_MISDIRECTED) {
        hf_sim_land(disk, write->position, write->data, write->bytes, as);
        return;
    }
    hf_sim_harm(disk, write->position, write->bytes, true);
    if (write->fault == HF_SIM_LOST_WRITE || as != HF_SIM_CLEAN)
        return;
    uint64_t to = hf_sim_random(disk) % (disk->bytes / 4096) * 4096;
    to = to == write->position ? to + 4096 : to;
    hf_sim_land(disk, to, write->data, write->bytes, as);
    hf_sim_harm(disk, to, write->bytes, true);
}

static bool lands_whole(const struct hf_sim_write *write)
{
    return write->fault == HF_SIM_FAULTS || write->fault == HF_SIM_SLOW_WRITE || write->fault == HF_SIM_LOST_WRITE ||
           write->fault == HF_SIM_MISDIRECTED;
}

void hf_sim_advance(struct hf_sim_disk *disk)
{
    for (unsigned i = 0; i < disk->write_count;) {
        struct hf_sim_write *write = &disk->writes[i];
        if (!write->cached && disk->now_ns >= write->cached_ns && lands_whole(write)) {
            write->cached = true;
            write_lands(disk, write, HF_SIM_DIRTY);
            disk->counts[HF_SIM_LATE_WRITE] += write->late;
        }
        bool ends = !write->over && disk->now_ns >= write->due_ns;
        if (ends && lands_whole(write) && !write->unflushed)
            write_lands(disk, write, HF_SIM_CLEAN);
        write->over = write->over || ends;
        if (write->over && write->orphan)
            hf_sim_write_gone(disk, i);
        else
            i++;
    }
}

/* ---- the end of a life ---- */

static void keep_sector(struct hf_sim_disk *disk, uint64_t position, const uint8_t *data, bool keep, unsigned *kept)
{
    if (keep) {
        memcpy(disk->medium + position, data, HF_SIM_SECTOR_BYTES);
        hf_sim_harm(disk, position, HF_SIM_SECTOR_BYTES, false);
    }
    disk->sectors[position / HF_SIM_SECTOR_BYTES] = HF_SIM_CLEAN;
    *kept += keep;
}

/* Each sector of what was under way is there or not; all, none and any mixture are equally likely kinds of cut. */
static void keep_some_of_write(struct hf_sim_disk *disk, const struct hf_sim_write *write)
{
    uint64_t kind = hf_sim_random(disk) % 3;
    unsigned kept = 0;
    if (write->fault == HF_SIM_LOST_WRITE || write->fault == HF_SIM_MISDIRECTED)
        kind = 2;
    hf_sim_grow(disk, write->position + write->bytes);
    for (uint32_t at = 0; at < write->bytes; at += HF_SIM_SECTOR_BYTES)
        keep_sector(disk, write->position + at, write->data + at, kind == 0 || (kind == 1 && hf_sim_random(disk) % 2 == 0), &kept);
    bool all = kept == write->bytes / HF_SIM_SECTOR_BYTES;
    disk->counts[HF_SIM_TORN_WRITE] += kept != 0 && !all;
    disk->counts[HF_SIM_LOST_CACHE] += write->cached && !all;
}

static void keep_some_of_cache(struct hf_sim_disk *disk)
{
    uint64_t kind = hf_sim_random(disk) % 3;
    for (uint64_t at = 0; at < disk->bytes; at += HF_SIM_SECTOR_BYTES) {
        unsigned kept = 0;
        bool dirty = disk->sectors[at / HF_SIM_SECTOR_BYTES] == HF_SIM_DIRTY;
        if (disk->sectors[at / HF_SIM_SECTOR_BYTES] != HF_SIM_CLEAN)
            keep_sector(disk, at, disk->cache + at, dirty && (kind == 0 || (kind == 1 && hf_sim_random(disk) % 2 == 0)), &kept);
        disk->counts[HF_SIM_LOST_CACHE] += dirty && kept == 0;
    }
}

void hf_sim_manifest_torn(struct hf_sim_disk *disk, struct hf_sim_manifest *copy)
{
    if (memcmp(copy->now, copy->medium, sizeof copy->now) == 0)
        return;
    for (uint32_t at = 0; at < HF_MANIFEST_BYTES; at += HF_SIM_SECTOR_BYTES)
        if (hf_sim_random(disk) % 2 == 0)
            memcpy(copy->medium + at, copy->now + at, HF_SIM_SECTOR_BYTES);
    disk->counts[HF_SIM_MANIFEST_TORN] += memcmp(copy->now, copy->medium, sizeof copy->now) != 0;
    memcpy(copy->now, copy->medium, sizeof copy->now);
    memcpy(copy->truth, copy->medium, sizeof copy->truth);
}

/* A part of the slice was zeroed; of a segment that was being made there is nothing, a part or all. */
static void slice_cut(struct hf_sim_disk *disk)
{
    const struct hf_sim_slice *slice = &disk->slice;
    for (uint64_t at = slice->from; slice->under_way && !disk->options.keeps_old && at < slice->end && at < disk->bytes;
         at += HF_SIM_SECTOR_BYTES)
        if (hf_sim_random(disk) % 2 == 0)
            memset(disk->medium + at, 0, HF_SIM_SECTOR_BYTES);
    disk->slice.under_way = false;
}

static void unsettled_segments_cut(struct hf_sim_disk *disk)
{
    if (disk->settled >= disk->segments)
        return;
    uint64_t kind = hf_sim_random(disk) % 3, whole = disk->segment_bytes;
    disk->segments = kind == 0 ? disk->settled : disk->settled + 1;
    disk->segment_have[disk->settled] = kind == 0 ? 0 : kind == 1 ? whole : 4096 * (hf_sim_random(disk) % (whole / 4096) + 1);
    disk->counts[HF_SIM_SEGMENT_LOST] += kind != 1;
    disk->settled = disk->segments;
}

void hf_sim_disk_power_cut(struct hf_sim_disk *disk)
{
    hf_sim_advance(disk);
    while (disk->write_count != 0) {
        if (!disk->writes[disk->write_count - 1].over)
            keep_some_of_write(disk, &disk->writes[disk->write_count - 1]);
        hf_sim_write_gone(disk, disk->write_count - 1);
    }
    keep_some_of_cache(disk);
    for (unsigned i = 0; i < HF_MANIFEST_COPIES; i++)
        hf_sim_manifest_torn(disk, &disk->manifest[i]);
    slice_cut(disk);
    unsettled_segments_cut(disk);
    disk->counts[HF_SIM_POWER_CUT]++;
    disk->crashed = true;
}

/* Requests of a killed process are cancelled, or run to their end: then their flush may come or not. None lands in another place, so that
 * the next start's promise can be asked for before it. */
void hf_sim_disk_kill(struct hf_sim_disk *disk)
{
    hf_sim_advance(disk);
    for (unsigned i = 0; i < disk->write_count;) {
        struct hf_sim_write *write = &disk->writes[i];
        write->orphan = write->late = true;
        write->unflushed = hf_sim_random(disk) % 2 == 0;
        if (write->over || !lands_whole(write) || write->fault == HF_SIM_MISDIRECTED || (!write->cached && hf_sim_random(disk) % 3 == 0))
            hf_sim_write_gone(disk, i);
        else
            i++;
    }
    slice_cut(disk);
    disk->counts[HF_SIM_KILL]++;
    disk->crashed = true;
}

void hf_sim_disk_restart(struct hf_sim_disk *disk)
{
    disk->crashed = disk->locked = false;
    disk->crash_at = disk->kill_at = 0;
    memset(disk->plans, 0, sizeof disk->plans);
}

/* ---- what is asked from outside ---- */

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

void hf_sim_disk_free(struct hf_sim_disk *disk)
{
    while (disk->write_count != 0)
        hf_sim_write_gone(disk, disk->write_count - 1);
    free(disk->medium);
    free(disk->cache);
    free(disk->truth);
    free(disk->sectors);
    free(disk->harmed);
    free(disk->blocks);
    free(disk);
}

void hf_sim_disk_set_now(struct hf_sim_disk *disk, uint64_t now_ns)
{
    assert(now_ns >= disk->now_ns);
    disk->now_ns = now_ns;
    hf_sim_advance(disk);
}

uint64_t hf_sim_disk_now(const struct hf_sim_disk *disk)
{
    return disk->now_ns;
}

uint64_t hf_sim_disk_next_ns(const struct hf_sim_disk *disk)
{
    uint64_t next_ns = disk->slice.under_way ? disk->slice.due_ns : UINT64_MAX;
    if (disk->full_until_ns > disk->now_ns && disk->full_until_ns < next_ns)
        next_ns = disk->full_until_ns;
    for (unsigned i = 0; i < disk->write_count; i++)
        if (disk->writes[i].due_ns < next_ns)
            next_ns = disk->writes[i].due_ns;
    return next_ns;
}

void hf_sim_disk_crash_after(struct hf_sim_disk *disk, uint64_t operations)
{
    disk->crash_at = disk->operations + operations;
}

void hf_sim_disk_kill_after(struct hf_sim_disk *disk, uint64_t operations)
{
    disk->kill_at = disk->operations + operations;
}

bool hf_sim_disk_crashed(const struct hf_sim_disk *disk)
{
    return disk->crashed;
}

void hf_sim_disk_plan(struct hf_sim_disk *disk, enum hf_sim_fault fault, uint64_t nth)
{
    disk->plans[fault] = nth;
}

void hf_sim_disk_set_rate(struct hf_sim_disk *disk, enum hf_sim_fault fault, uint32_t per_million)
{
    disk->rates[fault] = per_million;
}

void hf_sim_disk_calm(struct hf_sim_disk *disk)
{
    memset(disk->rates, 0, sizeof disk->rates);
    memset(disk->plans, 0, sizeof disk->plans);
    disk->full_until_ns = disk->crash_at = disk->kill_at = 0;
}

void hf_sim_disk_set_capacity(struct hf_sim_disk *disk, uint64_t bytes)
{
    disk->options.capacity_bytes = bytes;
}

void hf_sim_disk_fill_up(struct hf_sim_disk *disk, uint64_t until_ns)
{
    disk->full_until_ns = until_ns;
    disk->counts[HF_SIM_NO_SPACE]++;
}

const uint64_t *hf_sim_disk_counts(const struct hf_sim_disk *disk)
{
    return disk->counts;
}

uint8_t *hf_sim_disk_at(struct hf_sim_disk *disk, uint64_t position)
{
    return position < disk->bytes ? disk->medium + position : NULL;
}

uint8_t *hf_sim_disk_manifest(struct hf_sim_disk *disk, unsigned copy)
{
    return disk->manifest[copy].now;
}

uint64_t hf_sim_disk_bytes(const struct hf_sim_disk *disk)
{
    return disk->bytes;
}
