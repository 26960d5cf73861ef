/* `holdfast audit`: of a data directory, or of an engine that runs; with what clients were told. */
#include <time.h>

#include "client/audit_live.h"
#include "client/offline.h"
#include "server/replay.h"

/* What an audit ends with, wherever the records came from. */
struct outcome {
    const struct hf_audit_report *report;
    struct hf_audit_item engine;
    uint64_t position;
    double seconds;
    bool live;
};

static double clock_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static json_t *notes_json(const struct hf_audit_report *report)
{
    json_t *notes = json_array();
    for (unsigned i = 0; i < report->note_count; i++)
        json_array_append_new(notes, json_pack("{s:s, s:o, s:o, s:s}", "kind", hf_audit_kind_name(report->notes[i].kind), "position",
                                               hf_json_u64(report->notes[i].position), "id", hf_json_id(report->notes[i].id), "what",
                                               report->notes[i].what));
    return notes;
}

static json_t *kinds_json(const struct outcome *outcome)
{
    json_t *kinds = json_object();
    for (unsigned kind = 1; kind < HF_AUDIT_KINDS; kind++)
        if (outcome->report->by_kind[kind])
            json_object_set_new(kinds, hf_audit_kind_name(kind), hf_json_u64(outcome->report->by_kind[kind]));
    if (outcome->engine.violations)
        json_object_set_new(kinds, "engine's own walk", hf_json_u64(outcome->engine.violations));
    return kinds;
}

static json_t *acked_notes_json(const struct hf_audit_acked_counts *counts)
{
    json_t *notes = json_array();
    for (unsigned i = 0; i < counts->note_count; i++)
        json_array_append_new(notes,
                              json_pack("{s:o, s:s, s:s}", "id", hf_json_id(counts->notes[i].id), "verb",
                                        hf_audit_verb_name(counts->notes[i].verb), "is", counts->notes[i].wrong ? "wrong" : "missing"));
    return notes;
}

/* Prints and judges: 1 unless nothing was violated, missing or wrong. */
static int conclude(const struct hf_tool *tool, const struct outcome *outcome, const struct hf_audit_acked *acked)
{
    const struct hf_audit_report *report = outcome->report;
    struct hf_audit_acked_counts counts = {0};
    if (acked)
        hf_audit_acked_count(acked, &counts);
    uint64_t violations = report->violations + outcome->engine.violations;
    json_t *object = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "violations", hf_json_u64(violations), "oversold_cells",
                               hf_json_u64(report->oversold_cells), "acked", hf_json_u64(counts.acked), "acked_missing",
                               hf_json_u64(counts.missing), "acked_wrong", hf_json_u64(counts.wrong), "position",
                               hf_json_u64(outcome->position), "digest", hf_offline_digest(outcome->engine.digest));
    json_t *more = json_pack("{s:o, s:o, s:o, s:o, s:o, s:f, s:f}", "records", hf_json_u64(report->records), "cells",
                             hf_json_u64(report->cells), "orders", hf_json_u64(report->orders), "live_orders",
                             hf_json_u64(report->live_orders), "acked_unreadable", hf_json_u64(counts.unreadable), "seconds",
                             outcome->seconds, "records_per_s", outcome->seconds > 0 ? (double)report->records / outcome->seconds : 0.0);
    json_object_update(object, more);
    json_decref(more);
    if (outcome->live)
        json_object_set_new(object, "held_ms", json_real((double)outcome->engine.held_ns / 1e6));
    if (violations) {
        json_object_set_new(object, "by_kind", kinds_json(outcome));
        json_object_set_new(object, "first", notes_json(report));
    }
    if (counts.note_count)
        json_object_set_new(object, "first_acked", acked_notes_json(&counts));
    hf_tool_print(tool, object);
    return violations || counts.missing || counts.wrong ? HF_EXIT_REFUSED : HF_EXIT_DONE;
}

static int live(const struct hf_tool *tool, struct hf_audit_acked *acked)
{
    struct hf_audit_live walked;
    double began = clock_s();
    int failed = hf_audit_live_run(tool, acked, &walked);
    if (failed)
        return failed;
    struct outcome outcome = {.engine = walked.engine, .position = walked.position, .live = true};
    if (hf_audit_finish(walked.audit, &outcome.report) != 0) {
        failed = hf_tool_fail(tool, HF_EXIT_REFUSED, "no memory for the audit's tables");
    } else {
        outcome.seconds = clock_s() - began;
        failed = conclude(tool, &outcome, acked);
    }
    hf_audit_destroy(walked.audit);
    return failed;
}

/* --- of a directory: every record goes to the engine's replay and to the model --- */

struct both {
    struct hf_replay *replay;
    struct hf_audit *audit;
};

static int visit(void *context, const struct hf_record *record, uint64_t end_position, uint64_t term)
{
    struct both *both = context;
    int status = hf_audit_feed(both->audit, record, record->length, end_position, term);
    return status != 0 ? status : hf_replay_feed(both->replay, record, end_position);
}

/* The cell as the engine answers a query for it; false: it knows none. */
static bool engine_cell(struct hf_engine *engine, const struct hf_audit_cell *cell, struct hf_quota *quota, struct hf_cell_item *item)
{
    _Alignas(8) uint8_t asked[sizeof(struct hf_command) + sizeof(struct hf_line)] = {0};
    _Alignas(8) uint8_t answer[sizeof(struct hf_answer) + sizeof(struct hf_cell_item)], record[sizeof(struct hf_record) + 64];
    struct hf_command *command = (struct hf_command *)(void *)asked;
    *command = (struct hf_command){
        .length = sizeof asked, .opcode = HF_GET_CELL, .version = HF_COMMAND_VERSION, .flags = HF_FLAG_STALE_OK, .line_count = 1};
    *(struct hf_line *)(void *)(command + 1) = (struct hf_line){.sku = {{cell->key.word[0], cell->key.word[1]}},
                                                                .location = (uint32_t)cell->key.word[2]};
    struct hf_step step = {.command = command,
                           .latest_ns = UINT64_MAX,
                           .quota = quota,
                           .record = (struct hf_record *)(void *)record,
                           .answer = (struct hf_answer *)(void *)answer};
    hf_engine_step(engine, &step);
    if (step.answer->result != HF_OK || step.answer->item_count != 1)
        return false;
    memcpy(item, step.answer + 1, sizeof *item);
    return true;
}

static void cells_compare(struct hf_offline *offline, struct hf_audit *audit)
{
    const struct hf_audit_model *model = hf_audit_model_of(audit);
    for (uint64_t i = 0; i < model->cells.count; i++) {
        const struct hf_audit_cell *cell = hf_audit_row(&model->cells, i);
        struct hf_cell_item item = {0};
        engine_cell(offline->engine, cell, &offline->quotas[0], &item);
        if (item.sellable != cell->sellable || item.damaged != cell->damaged || item.quality_control != cell->quality_control ||
            item.reserved != cell->reserved || item.allocated != cell->allocated)
            hf_audit_note(audit, HF_AUDIT_MOVEMENT, 0,
                          "a cell of the engine's replay holds other quantities than the sum of the movements");
    }
    if (hf_engine_rows(offline->engine, HF_TABLE_CELLS) > model->cells.count)
        hf_audit_note(audit, HF_AUDIT_MOVEMENT, 0, "the engine's replay has cells that no record made");
    if (hf_engine_rows(offline->engine, HF_TABLE_ORDERS) != model->orders.count)
        hf_audit_note(audit, HF_AUDIT_HOLDS, 0, "the engine's replay remembers another number of orders");
}

static int directory_finish(const struct hf_tool *tool, struct hf_offline *offline, struct both *both, int recovered, double began,
                            const struct hf_audit_acked *acked)
{
    struct hf_replay_result result = {0};
    struct outcome outcome = {0};
    int status = hf_replay_finish(both->replay, &result);
    if (status != 0)
        return hf_tool_fail(tool, hf_error_exit(status), "%s", result.error);
    if (recovered != 0)
        return hf_tool_fail(tool, hf_error_exit(recovered), "%s",
                            recovered == HF_E_MEMORY ? "no memory for the audit's tables" : hf_log_error(offline->log));
    if (hf_audit_finish(both->audit, &outcome.report) != 0)
        return hf_tool_fail(tool, hf_error_exit(HF_E_MEMORY), "no memory for the audit's tables");
    outcome.seconds = clock_s() - began;
    cells_compare(offline, both->audit);
    hf_engine_audit(offline->engine, &outcome.engine);
    outcome.engine.digest = hf_engine_digest(offline->engine);
    outcome.position = result.position;
    return conclude(tool, &outcome, acked);
}

static int directory(const struct hf_tool *tool, const struct hf_offline_options *options, struct hf_audit_acked *acked)
{
    struct hf_offline offline;
    struct both both = {0};
    double began = clock_s();
    int failed = hf_offline_open(tool, options, &offline);
    if (failed)
        return failed;
    if (hf_audit_create(offline.info.partitions, acked, &both.audit) != 0 ||
        hf_replay_create(offline.engine, offline.quotas, offline.shards, &both.replay) != 0) {
        failed = hf_tool_fail(tool, hf_error_exit(HF_E_MEMORY), "no memory for the audit's tables");
    } else {
        struct hf_log_info info;
        int recovered = hf_log_recover(offline.log, visit, NULL, &both, UINT64_MAX, &info);
        failed = directory_finish(tool, &offline, &both, recovered, began, acked);
    }
    hf_replay_destroy(both.replay);
    hf_audit_destroy(both.audit);
    hf_offline_close(&offline);
    return failed;
}

int hf_tool_audit(struct hf_tool *tool, int argc, char **argv)
{
    struct hf_offline_options options = {0};
    struct hf_tool_option rows[HF_OFFLINE_OPTIONS + 1];
    const char *acked_path = NULL;
    struct hf_audit_acked *acked = NULL;
    char error[320];
    hf_offline_option_rows(&options, false, rows);
    rows[HF_OFFLINE_OPTIONS] = (struct hf_tool_option){"--acked", HF_KIND_TEXT, &acked_path};
    tool->usage = "audit [--data DIR [--max-orders N ... as for holdfastd]] [--acked FILE]\n"
                  "  --data DIR     of a stopped engine's directory; else of the engine that runs, which stands still for its walk\n"
                  "  --acked FILE   what clients were told, as `holdfast load --acked` wrote it\n"
                  "exit status: 1 unless violations, acked_missing and acked_wrong are 0";
    int failed = hf_tool_options(tool, argc, argv, rows, HF_OFFLINE_OPTIONS + 1);
    if (failed)
        return failed < 0 ? 0 : failed;
    if (acked_path && hf_audit_acked_read(acked_path, &acked, error, sizeof error) != 0)
        return hf_tool_fail(tool, HF_EXIT_USAGE, "%s", error);
    failed = options.dir ? directory(tool, &options, acked) : live(tool, acked);
    hf_audit_acked_destroy(acked);
    return failed;
}
