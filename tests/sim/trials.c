#include "tests/sim/trials.h"

#include "persist/block_check.h"
#include "persist/log.h"
#include "persist/manifest.h"
#include "tests/sim/history.h"
#include "tests/sim/memory.h"
#include "tests/sim/process.h"
#include "tests/sim/sim.h"
#include "wire/crc32c.h"
#include "wire/error.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum { KINDS_QUICK = 7 /* refused before the log is read */ };
enum { BLOCKS_MAX = 64, MANIFEST_CHECKSUM_AT = 24, MEMORY_REQUESTS = 120, ENOUGH = 77 };

int __real_hf_log_recover(struct hf_log *log, hf_log_visit *visit, void (*prefetch)(void *, const struct hf_record *, int), void *context,
                          uint64_t until, struct hf_log_info *info);

/* ---- starts ---- */

/* True: it was refused. One that serves in spite of it is killed. */
static bool start(const struct sim_trials *with, const struct hf_server_options *options, const struct hf_node_world *world,
                  uint64_t refused_memory, int *code)
{
    sim_process_start(options, world);
    sim_process_refuse_memory(refused_memory);
    while (sim_process_state() == SIM_STARTING && !sim.failed)
        with->step();
    bool refused = sim_process_state() == SIM_REFUSED;
    *code = refused ? sim_process_code() : 0;
    sim_note("trial: %s %d: %s", refused ? "refused" : "serves", *code, refused ? sim_process_error() : "");
    if (refused)
        sim_process_bury();
    else if (sim_process_state() == SIM_EXITED)
        sim_process_bury();
    else
        sim_process_kill(false);
    return refused;
}

static void try_options(const struct sim_trials *with)
{
    struct hf_server_options options = *with->options;
    struct hf_node_world world = *with->world;
    int code;
    switch (sim_below(8)) {
    case 0:
        options.partitions *= 2;
        break;
    case 1:
        options.partitions = options.partitions * 2 + 1;
        break;
    case 2:
        options.partitions = 1 << 17;
        break;
    case 3:
        options.block_max_bytes = sim_one_in(2) ? 8192 : 2 << 20;
        break;
    case 4:
        options.block_max_bytes = 3 << 15;
        break;
    case 5:
        options.segment_bytes = options.block_max_bytes + 4096;
        break;
    case 6:
        world.log_buffer_bytes = 3 << 20;
        break;
    default:
        options.skus_max = sim_one_in(2) ? UINT32_MAX : UINT64_MAX;
    }
    uint64_t kept;
    bool sound = hf_sim_disk_promise(with->disk, &kept) == HF_SIM_KEEPS;
    if (start(with, &options, &world, 0, &code) ? sound && code != HF_E_USAGE && code != HF_E_CLOCK : !sim.failed)
        sim_fail("a start with options that make no sense ends in %d", code);
}

static void try_memory(const struct sim_trials *with)
{
    struct hf_server_options options = *with->options;
    uint64_t nth = 1 + sim_below(sim_one_in(2) ? 16 : MEMORY_REQUESTS);
    int code;
    options.accept_clock = true;
    options.prefault = sim_one_in(2);
    uint64_t kept;
    bool sound = hf_sim_disk_promise(with->disk, &kept) == HF_SIM_KEEPS;
    if (start(with, &options, with->world, nth, &code) && sound && code != HF_E_MEMORY && code != HF_E_USAGE && code != HF_E_NO_SPACE)
        sim_fail("a start without memory ends in %d", code);
}

/* ---- what checks and makes no sense ---- */

struct forgery {
    uint8_t *at;
    uint32_t bytes;
    uint8_t was[HF_BLOCK_BYTES_MAX];
};

static struct forgery forged[HF_MANIFEST_COPIES];

static uint8_t *forge(unsigned number, uint8_t *at, uint32_t bytes)
{
    struct forgery *f = &forged[number];
    assert(bytes <= sizeof f->was);
    f->at = at;
    f->bytes = bytes;
    memcpy(f->was, at, bytes);
    return at;
}

static void take_back(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        memcpy(forged[i].at, forged[i].was, forged[i].bytes);
}

static void put_u64(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, sizeof value);
}

static void put_u32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof value);
}

static uint32_t get_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* The first blocks of the log, in order; the last one of the list may be the log's last. */
static unsigned blocks_of(const struct sim_trials *with, const struct hf_manifest *manifest, uint64_t *positions)
{
    unsigned count = 0;
    uint64_t end = manifest->clean_end, position = 0;
    while (position < end && count < BLOCKS_MAX) {
        uint64_t room = manifest->block_max - position % manifest->block_max;
        const uint8_t *at = hf_sim_disk_at(with->disk, position);
        if (!at || hf_block_judge(at, position, room, manifest->seed) != HF_BLOCK_SOUND) {
            position += room;
            continue;
        }
        positions[count++] = position;
        position += hf_block_padded_bytes(((const struct hf_block *)(const void *)at)->length);
    }
    return count;
}

static void reseal_block(uint8_t *at, uint32_t seed)
{
    struct hf_block head;
    memcpy(&head, at, sizeof head);
    head.checksum = hf_block_checksum(at, head.length, seed);
    memcpy(at, &head, sizeof head);
}

static uint8_t *some_record(uint8_t *block)
{
    const struct hf_block *head = (const struct hf_block *)(const void *)block;
    uint32_t offset = sizeof *head;
    for (uint64_t skip = sim_below(head->records); skip > 0; skip--)
        offset += get_u32(block + offset);
    return block + offset;
}

/* A record's numbers that no engine wrote. */
static void forge_record(uint8_t *block)
{
    uint8_t *record = some_record(block);
    uint32_t length = get_u32(record), command = hf_outcome_bytes((const struct hf_record *)(const void *)record,
                                                                  hf_record_is_place((const struct hf_record *)(const void *)record));
    switch (sim_below(10)) {
    case 0:
        put_u32(record, sim_one_in(2) ? 8 : length + 4);
        break;
    case 1:
        put_u32(record, 1 << 21);
        break;
    case 2:
        record[6]++; /* version */
        break;
    case 3:
        record[7] = 1; /* flags */
        break;
    case 4:
        record[8 + 8 + 3] = 200; /* intents */
        break;
    case 5:
        record[4] ^= 1; /* result */
        break;
    case 6:
        record[command + sim_below(16)] ^= 0x40;
        break;
    case 7:
        put_u64(record + 24, UINT64_MAX - 7); /* due */
        break;
    case 8:
        record[21] = 0x40; /* lines */
        break;
    default:
        record += command + sim_below(length - command);
        *record ^= (uint8_t)(1u << sim_below(8));
    }
}

static void forge_head(uint8_t *block)
{
    struct hf_block head;
    memcpy(&head, block, sizeof head);
    switch (sim_below(6)) {
    case 0:
        head.format++;
        break;
    case 1:
        head.records++;
        break;
    case 2:
        head.term += sim_one_in(2) ? 1000 : 1;
        break;
    case 3:
        head.number += 1 + sim_below(5);
        break;
    case 4:
        head.previous ^= 1;
        break;
    default:
        head.time_ns ^= 1;
    }
    memcpy(block, &head, sizeof head);
}

static void try_block(const struct sim_trials *with, const struct hf_manifest *manifest)
{
    uint64_t positions[BLOCKS_MAX];
    unsigned count = blocks_of(with, manifest, positions);
    struct hf_server_options options = *with->options;
    int code;
    if (count == 0)
        return;
    uint64_t position = positions[sim_below(sim_one_in(4) ? count : 1 + sim_below(count))];
    uint8_t *at = hf_sim_disk_at(with->disk, position);
    const struct hf_block *head = (const struct hf_block *)(const void *)at;
    forge(0, at, head->length);
    if (head->records != 0 && !sim_one_in(3))
        forge_record(at);
    else
        forge_head(at);
    reseal_block(at, manifest->seed);
    sim_note("trial: the block at %" PRIu64 " is forged", position);
    options.accept_clock = true;
    sim_process_forged(true);
    bool refused = start(with, &options, with->world, 0, &code);
    sim_process_forged(false);
    take_back(1);
    if (!sim.failed && (!refused || (code != HF_E_DAMAGED && code != HF_E_NEWER && code != HF_E_DIFFERS && code != HF_E_TOO_SMALL)))
        sim_fail("a start on a forged block at %" PRIu64 " ends in %d", position, code);
}

/* Offsets: docs/journal.md. False: the copy that is left says nothing that a start could find wrong. */
static void forge_manifest(struct hf_manifest *manifest, uint8_t *image, unsigned kind)
{
    unsigned last = manifest->beginning_count - 1;
    switch (kind) {
    case 0:
        put_u32(image + 8, HF_MANIFEST_FORMAT + 1);
        break;
    case 1:
        put_u32(image + 8, 0);
        break;
    case 2:
        put_u32(image + 12, sim_one_in(2) ? 4095 : 1 << 30);
        return;
    case 3:
        image[0] ^= 1;
        break;
    case 4:
        manifest->block_max = (uint32_t)(sim_one_in(2) ? 8192 : sim_one_in(2) ? 2 << 20 : 3 << 15);
        hf_manifest_encode(manifest, image);
        break;
    case 5:
        manifest->partitions = sim_one_in(2) ? 0 : sim_one_in(2) ? 3 : 1 << 17;
        hf_manifest_encode(manifest, image);
        break;
    case 6:
        manifest->segment_bytes = sim_one_in(2) ? 0 : manifest->segment_bytes + 4096;
        hf_manifest_encode(manifest, image);
        break;
    case 7:
        manifest->clean_chain ^= 1;
        hf_manifest_encode(manifest, image);
        break;
    case 8:
        manifest->beginnings[last].chain ^= 1;
        hf_manifest_encode(manifest, image);
        break;
    case 9:
        manifest->beginnings[last].number++;
        hf_manifest_encode(manifest, image);
        break;
    case 10:
        manifest->clean_end += 1 << 24;
        hf_manifest_encode(manifest, image);
        break;
    default:
        manifest->beginnings[last].position -= manifest->beginnings[last].position == 0 ? 0 : 8;
        manifest->beginnings[last].number++;
        hf_manifest_encode(manifest, image);
    }
}

static void try_manifest(const struct sim_trials *with, struct hf_manifest *manifest, unsigned kind)
{
    struct hf_server_options options = *with->options;
    uint8_t *copies[HF_MANIFEST_COPIES];
    int code;
    options.accept_clock = true;
    for (unsigned i = 0; i < HF_MANIFEST_COPIES; i++)
        copies[i] = forge(i, hf_sim_disk_manifest(with->disk, i), HF_MANIFEST_BYTES);
    forge_manifest(manifest, copies[0], kind);
    put_u32(copies[0] + MANIFEST_CHECKSUM_AT, 0);
    put_u32(copies[0] + MANIFEST_CHECKSUM_AT, hf_crc32c(0, copies[0], HF_MANIFEST_BYTES));
    memcpy(copies[1], copies[0], HF_MANIFEST_BYTES);
    sim_note("trial: the manifest is forged");
    sim_process_forged(true);
    bool refused = start(with, &options, with->world, 0, &code);
    sim_process_forged(false);
    take_back(HF_MANIFEST_COPIES);
    if (!sim.failed && (!refused || (code != HF_E_DAMAGED && code != HF_E_NEWER)))
        sim_fail("a start on a forged manifest ends in %d", code);
}

static bool manifest_of(const struct sim_trials *with, struct hf_manifest *out)
{
    return hf_manifest_decode(hf_sim_disk_manifest(with->disk, 0), HF_MANIFEST_BYTES, out) == 0 && out->clean && out->beginning_count != 0;
}

/* ---- looking ---- */

struct look {
    uint64_t records, until;
    bool judged, ends_early;
};

static int see(void *context, const struct hf_record *record, uint64_t end_position, uint64_t term)
{
    struct look *look = context;
    (void)term;
    if (end_position > look->until)
        sim_fail("a look until %" PRIu64 " was shown the record that ends at %" PRIu64, look->until, end_position);
    if (look->records < sim_history_count()) {
        const struct hf_record *made = sim_history_record(look->records);
        if (made->length != record->length || memcmp(made, record, record->length) != 0)
            sim_fail("a look at the log finds another record %" PRIu64 " than was made", look->records);
    }
    look->records++;
    return look->ends_early && look->records == 3 ? ENOUGH : 0;
}

static void no_prefetch(void *context, const struct hf_record *record, int stage)
{
    (void)context, (void)record, (void)stage;
}

static int look_through(const struct sim_trials *with, struct look *look)
{
    struct hf_log_options options = {
        .dir = sim_one_in(2) ? "sim" : NULL, .backend = HF_LOG_SIM, .backend_options = with->disk, .read_only = true};
    struct hf_log *log;
    struct hf_log_info info;
    int code = hf_log_open(&options, &log, &info);
    if (code != 0)
        return code;
    bool counts = sim_one_in(3);
    code = __real_hf_log_recover(log, counts ? NULL : see, sim_one_in(2) ? no_prefetch : NULL, look, look->until, &info);
    if (code == 0 && counts)
        look->records = info.records;
    struct hf_log_status status;
    hf_log_status(log, &status);
    if (code == 0 && status.position != info.end_position)
        sim_fail("a look at the log ends at %" PRIu64 " and says %" PRIu64, info.end_position, status.position);
    hf_log_close(log);
    return code;
}

static uint64_t records_until(uint64_t position)
{
    uint64_t count = 0;
    while (count < sim_history_count() && sim_history_entry(count)->end_position <= position)
        count++;
    return count;
}

void sim_trial_look(const struct sim_trials *with)
{
    uint64_t kept;
    enum hf_sim_promise promise = hf_sim_disk_promise(with->disk, &kept);
    uint64_t faults = hf_sim_disk_counts(with->disk)[HF_SIM_READ_ERROR];
    struct look look = {.until = sim_one_in(2) ? UINT64_MAX : sim_below(sim_history_position() + 1), .ends_early = sim_one_in(8)};
    int code = look_through(with, &look);
    sim_note("look: %d, %" PRIu64 " records", code, look.records);
    bool hurt = hf_sim_disk_counts(with->disk)[HF_SIM_READ_ERROR] != faults;
    if (sim.failed || (code == HF_E_IO && hurt) || (code == HF_E_IN_USE) || (code == ENOUGH && look.ends_early))
        return;
    if (sim_history_count() == 0)
        return;
    if (promise == HF_SIM_REFUSES && code == 0 && look.until == UINT64_MAX)
        sim_fail("a look finds nothing wrong with a log whose damage it should have found");
    uint64_t acknowledged = sim_history_acknowledged_position();
    if (promise == HF_SIM_KEEPS && code != 0)
        sim_fail("a look at a sound log ends in %d: %s", code, hf_log_error(NULL));
    else if (promise == HF_SIM_KEEPS && look.records < records_until(look.until < acknowledged ? look.until : acknowledged))
        sim_fail("a look at a sound log finds %" PRIu64 " records, fewer than were acknowledged", look.records);
}

void sim_trial_empty(const struct sim_trials *with)
{
    struct look look = {.until = UINT64_MAX};
    int code = look_through(with, &look);
    if (code != HF_E_USAGE)
        sim_fail("a look at an empty directory ends in %d", code);
}

/* A log that is started before it was recovered, and one of no known kind. */
static void try_log(const struct sim_trials *with)
{
    struct hf_log_options options = {.dir = "sim", .backend = HF_LOG_SIM, .backend_options = with->disk};
    struct hf_log_buffer *buffer;
    struct hf_log_info info;
    struct hf_log *log;
    uint64_t term;
    if (hf_log_open(&options, &log, &info) != 0)
        return;
    int code = info.fresh ? HF_E_USAGE : hf_log_start(log, &buffer, &term);
    if (code != HF_E_USAGE)
        sim_fail("a log that was not recovered is started: %d", code);
    if (hf_log_stop(log) != 0)
        sim_fail("a log that was not started cannot be stopped");
    hf_log_close(log);
    options.backend = (enum hf_log_backend)9;
    if (hf_log_open(&options, &log, &info) != HF_E_USAGE)
        sim_fail("a log of an unknown kind is opened");
}

void sim_trial_manifest(const struct sim_trials *with)
{
    struct hf_manifest manifest;
    uint64_t kept;
    if (hf_sim_disk_promise(with->disk, &kept) == HF_SIM_KEEPS && manifest_of(with, &manifest))
        try_manifest(with, &manifest, (unsigned)sim_below(KINDS_QUICK));
}

void sim_trial(const struct sim_trials *with)
{
    struct hf_manifest manifest;
    uint64_t kept;
    bool whole = with->clean && hf_sim_disk_promise(with->disk, &kept) == HF_SIM_KEEPS && manifest_of(with, &manifest);
    switch (sim_below(whole ? 7 : 3)) {
    case 0:
        try_options(with);
        break;
    case 1:
        try_memory(with);
        break;
    case 2:
        try_log(with);
        break;
    case 3:
        try_manifest(with, &manifest, (unsigned)sim_below(12));
        break;
    default:
        try_block(with, &manifest);
    }
}
