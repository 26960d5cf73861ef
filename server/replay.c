#include "server/replay.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    WINDOW_RECORDS = 64,
    LEAD = HF_PREFETCH_LEAD,
    BURST = HF_PREFETCH_BURST,
    WINDOW_BYTES = 64 * 1024, /* one largest record always fits */
    LOCATIONS_MAX = 65536,
};

_Static_assert((int)HF_RECORD_BYTES_MAX <= (int)WINDOW_BYTES, "a window holds the largest record");

struct window {
    uint32_t count, used;
    struct hf_replay_item items[WINDOW_RECORDS];
    uint64_t end_position[WINDOW_RECORDS];
    _Alignas(64) uint8_t bytes[WINDOW_BYTES];
};

struct hf_replay {
    struct hf_engine *engine;
    struct hf_quota *quotas;
    unsigned shards;
    int failed;
    bool measures; /* keeps least_left[] of quotas[0] */
    int64_t least_left[HF_TABLE_COUNT];
    struct window *filling, *waiting; /* waiting: prefetched, replayed when the other is full */
    uint64_t begin_ns;
    struct hf_replay_result result;
    struct window windows[2];
};

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void hf_replay_quotas(const struct hf_engine_options *options, struct hf_quota *quotas, unsigned shards)
{
    const uint64_t rows[HF_TABLE_COUNT] = {
        [HF_TABLE_SKUS] = options->skus_max,
        [HF_TABLE_CELLS] = options->cells_max,
        [HF_TABLE_ORDERS] = options->orders_max,
        [HF_TABLE_LINES] = options->lines_max,
        [HF_TABLE_COMMAND_IDS] = options->command_ids_max,
        [HF_TABLE_LIMITS] = options->limits_max,
        [HF_TABLE_LOCATIONS] = LOCATIONS_MAX,
        [HF_TABLE_REQUEST_KEYS] = options->request_keys_max,
    };
    for (unsigned shard = 0; shard < shards; shard++) {
        quotas[shard].spare = (struct hf_spare){0};
        for (unsigned table = 0; table < HF_TABLE_COUNT; table++)
            quotas[shard].left[table] = (int64_t)(rows[table] / shards + (shard == 0 ? rows[table] % shards : 0));
    }
}

/* Moves what the other shards have left of a table to one of them; whether that was anything. */
static bool quota_gather(struct hf_replay *replay, unsigned to, unsigned table)
{
    int64_t moved = 0;
    for (unsigned shard = 0; shard < replay->shards; shard++) {
        int64_t *left = &replay->quotas[shard].left[table];
        if (shard == to || *left <= 0)
            continue;
        moved += *left;
        *left = 0;
    }
    replay->quotas[to].left[table] += moved;
    return moved > 0;
}

static void quotas_even(struct hf_replay *replay)
{
    for (unsigned table = 0; table < HF_TABLE_COUNT; table++) {
        int64_t sum = 0, shards = replay->shards;
        for (unsigned shard = 0; shard < replay->shards; shard++)
            sum += replay->quotas[shard].left[table];
        for (unsigned shard = 0; shard < replay->shards; shard++)
            replay->quotas[shard].left[table] = sum / shards + (shard == 0 ? sum % shards : 0);
    }
}

static void failure_describe(struct hf_replay *replay, int error, uint64_t end_position)
{
    struct hf_replay_result *result = &replay->result;
    result->failed_position = end_position;
    if (error == HF_E_TOO_SMALL)
        snprintf(result->error, sizeof result->error,
                 "%s is too small for what the directory holds (full at position %" PRIu64 "); start with more",
                 hf_table_option(result->table), end_position);
    else if (error == HF_E_DIFFERS)
        snprintf(result->error, sizeof result->error,
                 "the record that ends at position %" PRIu64
                 " says another outcome than its replay; keep the directory and look at it with "
                 "`holdfast journal dump`",
                 end_position);
    else
        snprintf(result->error, sizeof result->error,
                 "the record that ends at position %" PRIu64 " is not of the documented form; keep the directory and restore a copy",
                 end_position);
}

static int item_replay(struct hf_replay *replay, const struct hf_replay_item *item, uint64_t end_position)
{
    unsigned shard = replay->shards == 1 ? 0 : item->record->home % replay->shards;
    int status = hf_engine_replay_item(replay->engine, item, &replay->quotas[shard], &replay->result.table);
    while (status == HF_E_TOO_SMALL && quota_gather(replay, shard, replay->result.table))
        status = hf_engine_replay_item(replay->engine, item, &replay->quotas[shard], &replay->result.table);
    if (status != 0) {
        failure_describe(replay, status, end_position);
        return status;
    }
    replay->result.records++;
    replay->result.position = end_position;
    for (unsigned table = 0; replay->measures && table < HF_TABLE_COUNT; table++)
        if (replay->quotas[0].left[table] < replay->least_left[table])
            replay->least_left[table] = replay->quotas[0].left[table];
    return 0;
}

static void prefetch(const struct hf_replay *replay, struct window *window, uint32_t first, uint32_t end, int stage)
{
    for (uint32_t i = first; i < end && i < window->count; i++)
        hf_engine_prefetch(replay->engine, window->items[i].command, &window->items[i].hint, stage);
}

static int window_replay(struct hf_replay *replay, struct window *window)
{
    prefetch(replay, window, 0, BURST, 1);
    for (uint32_t i = 0; i < window->count && replay->failed == 0; i++) {
        if (i % BURST == 0) {
            prefetch(replay, window, i + BURST + LEAD, i + 2 * BURST + LEAD, 0);
            prefetch(replay, window, i + BURST, i + 2 * BURST, 1);
        }
        replay->failed = item_replay(replay, &window->items[i], window->end_position[i]);
    }
    window->count = window->used = 0;
    return replay->failed;
}

/* What the window that is full will touch is on its way while the one before is replayed. */
static int windows_turn(struct hf_replay *replay)
{
    struct window *full = replay->filling;
    prefetch(replay, full, 0, BURST + LEAD, 0);
    replay->filling = replay->waiting;
    replay->waiting = full;
    return window_replay(replay, replay->filling);
}

int hf_replay_create(struct hf_engine *engine, struct hf_quota *quotas, unsigned shards, struct hf_replay **out)
{
    struct hf_replay *replay = aligned_alloc(64, (sizeof *replay + 63) & ~(size_t)63);
    if (!replay)
        return HF_E_MEMORY;
    *replay = (struct hf_replay){.engine = engine, .quotas = quotas, .shards = shards, .begin_ns = clock_ns()};
    struct hf_spare spare = hf_engine_take_spare(engine);
    for (unsigned shard = 0; shard < shards; shard++)
        quotas[shard].spare = hf_spare_part(spare, shard, shards);
    replay->filling = &replay->windows[0];
    replay->waiting = &replay->windows[1];
    *out = replay;
    return 0;
}

void hf_replay_destroy(struct hf_replay *replay)
{
    free(replay);
}

int hf_replay_feed(struct hf_replay *replay, const struct hf_record *record, uint64_t end_position)
{
    struct window *window = replay->filling;
    if (replay->failed == 0 && (window->count == WINDOW_RECORDS || window->used + record->length > WINDOW_BYTES))
        windows_turn(replay);
    if (replay->failed != 0)
        return replay->failed;
    window = replay->filling;
    struct hf_record *copy = (struct hf_record *)(void *)(window->bytes + window->used);
    if (record->length <= HF_RECORD_BYTES_MAX)
        memcpy(copy, record, record->length);
    if (record->length > HF_RECORD_BYTES_MAX ||
        hf_engine_replay_take(replay->engine, copy, record->length, &window->items[window->count]) != 0) {
        replay->failed = HF_E_DAMAGED;
        failure_describe(replay, replay->failed, end_position);
        return replay->failed;
    }
    window->end_position[window->count++] = end_position;
    window->used += (record->length + 7u) & ~7u;
    return 0;
}

int hf_replay_finish(struct hf_replay *replay, struct hf_replay_result *out)
{
    if (replay->failed == 0 && window_replay(replay, replay->waiting) == 0)
        window_replay(replay, replay->filling);
    quotas_even(replay);
    struct hf_log_info info = out->info;
    *out = replay->result;
    out->info = info;
    out->time_ns = clock_ns() - replay->begin_ns;
    return replay->failed;
}

static int visit(void *context, const struct hf_record *record, uint64_t end_position, uint64_t term)
{
    (void)term;
    return hf_replay_feed(context, record, end_position);
}

/* An engine with room for whatever a directory may hold: address space is all that unused rows cost. */
static int roomy_engine(uint32_t partitions, struct hf_engine **engine, struct hf_quota *quota)
{
    int status = HF_E_MEMORY;
    for (uint64_t rows = 1ull << 28; rows >= 1u << 20 && status == HF_E_MEMORY; rows /= 2) {
        struct hf_engine_options options = {.partitions = partitions,
                                            .skus_max = rows,
                                            .cells_max = rows,
                                            .orders_max = rows,
                                            .lines_max = rows,
                                            .command_ids_max = rows,
                                            .limits_max = rows,
                                            .request_keys_max = rows,
                                            .retention_ns = 1};
        status = hf_engine_create(&options, engine);
        hf_replay_quotas(&options, quota, 1);
    }
    return status;
}

/* The most rows of each table that were used at once, or that a step asked for. */
static int needs_measure(struct hf_log *log, uint32_t partitions, uint64_t until, uint64_t needs[HF_TABLE_COUNT])
{
    struct hf_engine *engine;
    struct hf_replay *replay;
    struct hf_quota quota, all;
    struct hf_replay_result result = {0};
    int status = roomy_engine(partitions, &engine, &quota);
    if (status != 0)
        return status;
    all = quota;
    status = hf_replay_create(engine, &quota, 1, &replay);
    if (status == 0) {
        replay->measures = true;
        memcpy(replay->least_left, quota.left, sizeof quota.left);
        status = hf_log_recover(log, visit, NULL, replay, until, &result.info);
        int finished = hf_replay_finish(replay, &result);
        status = status != 0 ? status : finished;
        for (unsigned table = 0; table < HF_TABLE_COUNT; table++)
            needs[table] = (uint64_t)(all.left[table] - replay->least_left[table]);
        /* A step asks for its own id's row before it gives back those that it no longer needs. */
        needs[HF_TABLE_COMMAND_IDS]++;
        hf_replay_destroy(replay);
    }
    hf_engine_destroy(engine);
    return status;
}

/* Names the least sizes that fit, by replaying once more with room for all. The sentence stays as it was when that does not work. */
static void needs_describe(struct hf_log *log, uint32_t partitions, uint64_t until, const struct hf_quota *given,
                           struct hf_replay_result *out)
{
    uint64_t needs[HF_TABLE_COUNT];
    if (needs_measure(log, partitions, until, needs) != 0)
        return;
    int used = snprintf(out->error, sizeof out->error, "the tables are too small for what the directory holds; start with at least");
    for (unsigned table = HF_TABLE_SKUS; table < HF_TABLE_COUNT; table++)
        if (table != HF_TABLE_LOCATIONS && (int64_t)needs[table] > given->left[table] && used < (int)sizeof out->error)
            used += snprintf(out->error + used, sizeof out->error - (size_t)used, " %s %" PRIu64, hf_table_option(table), needs[table]);
}

int hf_replay_run(struct hf_log *log, struct hf_engine *engine, struct hf_quota *quotas, unsigned shards, uint64_t until,
                  struct hf_replay_result *out)
{
    struct hf_replay *replay;
    struct hf_log_info info = {0};
    struct hf_quota given = {0};
    for (unsigned shard = 0; shard < shards; shard++)
        for (unsigned table = 0; table < HF_TABLE_COUNT; table++)
            given.left[table] += quotas[shard].left[table];
    *out = (struct hf_replay_result){0};
    int status = hf_replay_create(engine, quotas, shards, &replay);
    if (status != 0) {
        snprintf(out->error, sizeof out->error, "no memory to replay the log");
        return status;
    }
    int recovered = hf_log_recover(log, visit, NULL, replay, until, &info);
    status = hf_replay_finish(replay, out);
    out->info = info;
    if (status == 0 && recovered != 0) {
        snprintf(out->error, sizeof out->error, "%s", hf_log_error(log));
        status = recovered;
    }
    hf_replay_destroy(replay);
    if (status == HF_E_TOO_SMALL)
        needs_describe(log, hf_engine_partitions(engine), until, &given, out);
    return status;
}
