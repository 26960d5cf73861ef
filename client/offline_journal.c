/* `holdfast journal`: the log in a data directory, looked at without an engine that serves. */
#include <inttypes.h>
#include <stdio.h>

#include "client/offline.h"
#include "persist/inspect.h"
#include "server/replay.h"
#include "wire/record_check.h"

static int data_option(const struct hf_tool *tool, int argc, char **argv, const char **dir)
{
    const struct hf_tool_option rows[] = {{"--data", HF_KIND_TEXT, dir, .required = true}};
    return hf_tool_options(tool, argc, argv, rows, 1);
}

static int log_failed(const struct hf_tool *tool, int error)
{
    return hf_tool_fail(tool, hf_error_exit(error), "%s", hf_log_error(NULL));
}

static int info(struct hf_tool *tool, int argc, char **argv)
{
    const char *dir = NULL;
    struct hf_inspect_info i;
    tool->usage = "journal info --data DIR";
    int failed = data_option(tool, argc, argv, &dir);
    if (failed)
        return failed < 0 ? 0 : failed;
    int status = hf_inspect_info(dir, &i);
    if (status != 0)
        return log_failed(tool, status);
    json_t *object = json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o}", "format", (json_int_t)i.format,
                               "partitions", (json_int_t)i.partitions, "block_max", (json_int_t)i.block_max, "segment_bytes",
                               hf_json_u64(i.segment_bytes), "created_ms", hf_json_u64(i.created_ns / 1000000), "term", hf_json_u64(i.term),
                               "term_position", hf_json_u64(i.term_position), "manifest_sequence", hf_json_u64(i.manifest_sequence),
                               "clean", (int)i.clean, "clean_end", i.clean ? hf_json_u64(i.clean_end) : json_null(), "first_position",
                               hf_json_u64(i.first_position), "end_position", hf_json_u64(i.end_position), "segments",
                               hf_json_u64(i.segments));
    hf_tool_print(tool, object);
    return 0;
}

static int verify(struct hf_tool *tool, int argc, char **argv)
{
    const char *dir = NULL;
    struct hf_inspect_verify v;
    tool->usage = "journal verify --data DIR        reads every block; exit 0 sound, 4 damaged";
    int failed = data_option(tool, argc, argv, &dir);
    if (failed)
        return failed < 0 ? 0 : failed;
    int status = hf_inspect_verify(dir, &v);
    if (status != 0)
        return log_failed(tool, status);
    hf_tool_print(tool, json_pack("{s:o, s:o, s:o, s:o, s:o}", "records", hf_json_u64(v.records), "blocks", hf_json_u64(v.blocks),
                                  "end_position", hf_json_u64(v.end_position), "torn_tail_bytes", hf_json_u64(v.torn_tail_bytes), "damaged",
                                  v.damaged ? hf_json_u64(v.damaged_position) : json_null()));
    return v.damaged ? log_failed(tool, HF_E_DAMAGED) : 0;
}

static int dump_record(void *context, const struct hf_record *record, uint64_t end_position, uint64_t term)
{
    const struct hf_tool *tool = context;
    const struct hf_follow_head head = {.end_position = end_position, .term = term};
    const struct hf_command *command;
    if (hf_record_check(record, record->length, &command))
        hf_tool_print_record(tool, &head, record, command);
    else
        hf_tool_print(tool, json_pack("{s:o, s:s}", "position", hf_json_u64(end_position), "command", "not of the documented form"));
    return ferror(stdout) ? HF_E_IO : 0;
}

static int dump(struct hf_tool *tool, int argc, char **argv)
{
    const char *dir = NULL;
    uint64_t until = UINT64_MAX;
    const struct hf_tool_option rows[] = {{"--data", HF_KIND_TEXT, &dir, .required = true}, {"--until", HF_KIND_U64, &until}};
    tool->usage = "journal dump --data DIR [--until POSITION]        every record's outcome, one a line";
    int failed = hf_tool_options(tool, argc, argv, rows, sizeof rows / sizeof rows[0]);
    if (failed)
        return failed < 0 ? 0 : failed;
    int status = hf_inspect_walk(dir, NULL, dump_record, tool, until);
    return status == 0 ? 0 : log_failed(tool, status);
}

static json_t *replay_json(const struct hf_offline *offline, const struct hf_replay_result *result)
{
    double seconds = (double)result->time_ns / 1e9;
    return json_pack("{s:o, s:o, s:o, s:f, s:f, s:I, s:o, s:o}", "records", hf_json_u64(result->records), "position",
                     hf_json_u64(result->position), "digest", hf_offline_digest(hf_engine_digest(offline->engine)), "seconds", seconds,
                     "records_per_s", result->time_ns ? (double)result->records / seconds : 0.0, "shards", (json_int_t)offline->shards,
                     "log_bytes", hf_json_u64(result->info.bytes), "torn_tail_bytes", hf_json_u64(result->info.torn_tail_bytes));
}

static int replay(struct hf_tool *tool, int argc, char **argv)
{
    struct hf_offline_options options = {0};
    struct hf_tool_option rows[HF_OFFLINE_OPTIONS + 2];
    uint64_t until = UINT64_MAX;
    struct hf_offline offline;
    struct hf_replay_result result = {0};
    hf_offline_option_rows(&options, true, rows);
    rows[HF_OFFLINE_OPTIONS] = (struct hf_tool_option){"--shards", HF_KIND_U64, &options.shards};
    rows[HF_OFFLINE_OPTIONS + 1] = (struct hf_tool_option){"--until", HF_KIND_U64, &until};
    tool->usage = "journal replay --data DIR [--shards N] [--until POSITION] [--prefault] [--max-orders N ... as for holdfastd]";
    int failed = hf_tool_options(tool, argc, argv, rows, HF_OFFLINE_OPTIONS + 2);
    if (failed)
        return failed < 0 ? 0 : failed;
    failed = hf_offline_open(tool, &options, &offline);
    if (failed)
        return failed;
    int status = hf_replay_run(offline.log, offline.engine, offline.quotas, offline.shards, until, &result);
    if (status == 0)
        hf_tool_print(tool, replay_json(&offline, &result));
    else
        failed = hf_tool_fail(tool, hf_error_exit(status), "%s", result.error);
    hf_offline_close(&offline);
    return failed;
}

int hf_tool_journal(struct hf_tool *tool, int argc, char **argv)
{
    static const struct hf_tool_command rows[] = {
        {"info", info, "journal info --data DIR      what the directory is: format, terms, segments"},
        {"verify", verify, "journal verify --data DIR    reads every block; exit 0 sound, 4 damaged"},
        {"dump", dump, "journal dump --data DIR [--until POSITION]    every record's outcome"},
        {"replay", replay, "journal replay --data DIR [--shards N] [--until POSITION]    the state's digest after all records"},
        {NULL, NULL, NULL},
    };
    return hf_tool_dispatch(tool, rows, argc, argv);
}
