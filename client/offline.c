#include "client/offline.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "server/replay.h"

static const uint64_t lock_wait_ms = 1000;

void hf_offline_option_rows(struct hf_offline_options *options, bool data_required, struct hf_tool_option *rows)
{
    const struct hf_tool_option all[HF_OFFLINE_OPTIONS] = {
        {"--data", HF_KIND_TEXT, &options->dir, .required = data_required},
        {"--max-skus", HF_KIND_U64, &options->skus_max},
        {"--max-orders", HF_KIND_U64, &options->orders_max},
        {"--max-cells", HF_KIND_U64, &options->cells_max},
        {"--max-lines", HF_KIND_U64, &options->lines_max},
        {"--max-command-ids", HF_KIND_U64, &options->command_ids_max},
        {"--max-limits", HF_KIND_U64, &options->limits_max},
        {"--max-request-keys", HF_KIND_U64, &options->request_keys_max},
        {"--prefault", HF_KIND_FLAG, &options->prefault},
    };
    memcpy(rows, all, sizeof all);
}

static uint64_t rows_of(uint64_t asked, uint64_t usual, unsigned times)
{
    return asked ? asked : usual * times;
}

/* Address space is all that unused rows cost; where even that is too much, fewer are tried, down to what holdfastd has by default. */
static int engine_make(const struct hf_offline_options *options, struct hf_offline *out)
{
    int status = HF_E_MEMORY;
    struct hf_engine_options engine = {.partitions = out->info.partitions, .retention_ns = 600000000000ull, .prefault = options->prefault};
    if (getrandom(engine.key, sizeof engine.key, 0) != sizeof engine.key)
        return HF_E_IO;
    for (unsigned times = options->prefault ? 1 : 8; times >= 1 && status == HF_E_MEMORY; times /= 2) {
        engine.skus_max = rows_of(options->skus_max, 1u << 20, times);
        engine.orders_max = rows_of(options->orders_max, 1u << 24, times);
        engine.cells_max = rows_of(options->cells_max, 1u << 21, times);
        engine.lines_max = rows_of(options->lines_max, 1u << 24, times);
        engine.command_ids_max = rows_of(options->command_ids_max, 1u << 22, times);
        engine.limits_max = rows_of(options->limits_max, 1u << 22, times);
        engine.request_keys_max = rows_of(options->request_keys_max, 1u << 22, times);
        status = hf_engine_create(&engine, &out->engine);
    }
    if (status == 0)
        hf_replay_quotas(&engine, out->quotas, out->shards);
    return status;
}

int hf_offline_open(const struct hf_tool *tool, const struct hf_offline_options *options, struct hf_offline *out)
{
    struct timespec now;
    *out = (struct hf_offline){.shards = options->shards ? (unsigned)options->shards : 1};
    if (options->shards > HF_OFFLINE_SHARDS_MAX)
        return hf_tool_usage(tool, "--shards is at most %d", HF_OFFLINE_SHARDS_MAX);
    clock_gettime(CLOCK_REALTIME, &now);
    struct hf_log_options log = {
        .dir = options->dir,
        .backend = HF_LOG_FILE,
        .shards = out->shards,
        .wall_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
        .accept_clock = true,
        .lock_wait_ms = lock_wait_ms,
        .read_only = true,
    };
    int status = hf_log_open(&log, &out->log, &out->info);
    if (status != 0)
        return hf_tool_fail(tool, hf_error_exit(status), "%s", hf_log_error(NULL));
    status = engine_make(options, out);
    if (status == 0)
        return 0;
    hf_offline_close(out);
    return hf_tool_fail(tool, hf_error_exit(status), "%s",
                        status == HF_E_USAGE ? "a size is out of range: every --max is from 1 to 2147483646"
                                             : "no address space for tables of these sizes; take smaller ones");
}

void hf_offline_close(struct hf_offline *offline)
{
    hf_engine_destroy(offline->engine);
    if (offline->log)
        hf_log_close(offline->log);
    offline->engine = NULL;
    offline->log = NULL;
}

json_t *hf_offline_digest(uint64_t digest)
{
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, digest);
    return json_string(text);
}
