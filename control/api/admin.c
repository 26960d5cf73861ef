/* The service Admin. */
#include "control/api/control.h"
#include "control/api/numbers.h"
#include "control/api/verbs.h"

#include "holdfast/v1/admin.pb-c.h"

#include <inttypes.h>
#include <stdio.h>

static void hf_ask_status(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__StatusRequest *request = (const Holdfast__V1__StatusRequest *)message;
    draft->command->opcode = HF_STATUS;
    draft->command->arg = request->first_shard;
}

static void hf_ask_shards(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__ShardsRequest *request = (const Holdfast__V1__ShardsRequest *)message;
    draft->command->opcode = HF_STATUS;
    draft->command->arg = request->first_shard;
}

static void hf_ask_stalls(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__StallsRequest *request = (const Holdfast__V1__StallsRequest *)message;
    draft->command->opcode = HF_STATUS;
    draft->command->arg = request->first_shard;
}

static void hf_ask_log(struct hf_draft *draft, const ProtobufCMessage *message)
{
    (void)message;
    draft->command->opcode = HF_STATUS;
}

static void hf_ask_digest(struct hf_draft *draft, const ProtobufCMessage *message)
{
    (void)message;
    draft->command->opcode = HF_DIGEST;
}

static void hf_ask_audit(struct hf_draft *draft, const ProtobufCMessage *message)
{
    (void)message;
    draft->command->opcode = HF_AUDIT;
}

static void hf_answer_status(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer)
{
    (void)command;
    const struct hf_counter_item *from = (const struct hf_counter_item *)(const void *)(answer + 1);
    Holdfast__V1__StatusResponse out = HOLDFAST__V1__STATUS_RESPONSE__INIT;
    Holdfast__V1__Counter *rows = hf_answer_rows(call, answer->item_count, sizeof *rows, &out.counters);
    bool good = rows != NULL;
    for (unsigned i = 0; good && i < answer->item_count; i++) {
        holdfast__v1__counter__init(&rows[i]);
        rows[i].name = hf_answer_text(call, from[i].name, strnlen(from[i].name, sizeof from[i].name));
        rows[i].shard = from[i].shard == UINT32_MAX ? -1 : (int32_t)from[i].shard;
        rows[i].value = from[i].value;
        good = rows[i].name != NULL;
    }
    out.n_counters = answer->item_count;
    out.more = (answer->flags & HF_ANSWER_MORE) != 0;
    out.next_shard = out.more ? (uint32_t)answer->value : 0;
    if (good)
        hf_grpc_answer(call, &out.base);
    else
        hf_answer_no_memory(call);
}

static void hf_answer_digest(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer)
{
    (void)command;
    const struct hf_digest_item *item = (const struct hf_digest_item *)(const void *)(answer + 1);
    Holdfast__V1__DigestResponse out = HOLDFAST__V1__DIGEST_RESPONSE__INIT;
    char digest[17];
    snprintf(digest, sizeof digest, "%016" PRIx64, item->digest);
    out.digest = digest;
    out.position = answer->position;
    out.held_ns = item->held_ns;
    hf_grpc_answer(call, &out.base);
}

static void hf_answer_audit(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer)
{
    (void)command;
    const struct hf_audit_item *item = (const struct hf_audit_item *)(const void *)(answer + 1);
    Holdfast__V1__AuditResponse out = HOLDFAST__V1__AUDIT_RESPONSE__INIT;
    char digest[17];
    uint64_t by_invariant[7];
    snprintf(digest, sizeof digest, "%016" PRIx64, item->digest);
    memcpy(by_invariant, item->by_invariant + 1, sizeof by_invariant);
    out.digest = digest;
    out.position = answer->position;
    out.held_ns = item->held_ns;
    out.violations = item->violations;
    out.oversold_cells = item->oversold_cells;
    out.cells = item->cells;
    out.orders = item->orders;
    out.by_invariant = by_invariant;
    out.n_by_invariant = sizeof by_invariant / sizeof by_invariant[0];
    hf_grpc_answer(call, &out.base);
}

/* ---- shards, stalls, log: parts of a status ---- */

#define HF_PLACE_OF(type, field)      \
    {                                 \
#field, offsetof(type, field) \
    }

static Holdfast__V1__Stage hf_stage_of(uint64_t number)
{
    return number < 8 ? (Holdfast__V1__Stage)(number + 1) : HOLDFAST__V1__STAGE__STAGE_UNSPECIFIED;
}

static void hf_fill_shard(const struct hf_answer *answer, uint32_t number, Holdfast__V1__Shard *out)
{
    typedef Holdfast__V1__Shard shard;
    static const struct hf_number_place places[] = {
        {"stage_now_us", offsetof(shard, stage_us)},
        HF_PLACE_OF(shard, turns),
        HF_PLACE_OF(shard, idle_waits),
        HF_PLACE_OF(shard, batches),
        HF_PLACE_OF(shard, commands),
        HF_PLACE_OF(shard, malformed),
        HF_PLACE_OF(shard, forwarded),
        HF_PLACE_OF(shard, taken_over),
        HF_PLACE_OF(shard, parked),
        HF_PLACE_OF(shard, busy),
        HF_PLACE_OF(shard, received_now),
        HF_PLACE_OF(shard, parked_now),
        HF_PLACE_OF(shard, waiting_now),
        HF_PLACE_OF(shard, forwarded_now),
        HF_PLACE_OF(shard, service_now),
        HF_PLACE_OF(shard, control_now),
        {"words.taken", offsetof(shard, words_taken)},
        {"words.tried_failed", offsetof(shard, words_tried_failed)},
        {"words.waited", offsetof(shard, words_waited)},
        {"words.bound_failed", offsetof(shard, words_bound_failed)},
        {"words.yielded", offsetof(shard, words_yielded)},
        {"words.looked_again", offsetof(shard, words_looked_again)},
        HF_PLACE_OF(shard, records),
        HF_PLACE_OF(shard, record_bytes),
        HF_PLACE_OF(shard, answers),
        HF_PLACE_OF(shard, answer_wait_us_mean),
        HF_PLACE_OF(shard, sweeps),
        HF_PLACE_OF(shard, expired),
        HF_PLACE_OF(shard, forgotten),
        HF_PLACE_OF(shard, sweep_lag_us_max),
        {"net.connections", offsetof(shard, connections)},
        {"net.sessions", offsetof(shard, sessions)},
        {"net.requests_in_flight", offsetof(shard, requests_in_flight)},
        {"net.frames_in", offsetof(shard, frames_in)},
        {"net.frames_out", offsetof(shard, frames_out)},
        {"net.bytes_in", offsetof(shard, bytes_in)},
        {"net.bytes_out", offsetof(shard, bytes_out)},
    };
    const struct hf_counter_item *items;
    unsigned count = hf_numbers_of(answer, number, &items);
    holdfast__v1__shard__init(out);
    hf_numbers_fill(items, count, places, sizeof places / sizeof places[0], out);
    out->shard = number;
    out->responsive = hf_numbers_get(items, count, "answers_status") != 0;
    out->stage = hf_stage_of(hf_numbers_get(items, count, "stage_now"));
}

static void hf_answer_shards(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer)
{
    Holdfast__V1__ShardsResponse out = HOLDFAST__V1__SHARDS_RESPONSE__INIT;
    uint32_t first = 0;
    unsigned count = hf_numbers_shards(answer, &first);
    (void)command;
    Holdfast__V1__Shard *rows = hf_answer_rows(call, count, sizeof *rows, &out.shards);
    if (!rows) {
        hf_answer_no_memory(call);
        return;
    }
    for (unsigned i = 0; i < count; i++)
        hf_fill_shard(answer, first + i, &rows[i]);
    out.n_shards = count;
    out.more = (answer->flags & HF_ANSWER_MORE) != 0;
    out.next_shard = out.more ? (uint32_t)answer->value : 0;
    hf_grpc_answer(call, &out.base);
}

static uint64_t hf_stage_number(const struct hf_counter_item *items, unsigned count, const char *stage, const char *what)
{
    char name[sizeof items->name + 1];
    snprintf(name, sizeof name, "stages.%s.%s", stage, what);
    return hf_numbers_get(items, count, name);
}

enum { HF_STALL_BUCKETS = 12 };

static bool hf_fill_stages(struct hf_grpc_call *call, const struct hf_counter_item *items, unsigned count, Holdfast__V1__ShardStalls *out)
{
    static const char *const stages[HF_STAGES] = {HF_STAGE_NAMES};
    static const char *const bounds[HF_STALL_BUCKETS] = {HF_STAGE_BUCKET_NAMES};
    Holdfast__V1__StageTime *rows = hf_answer_rows(call, HF_STAGES, sizeof *rows, &out->stages);
    uint64_t *buckets = hf_grpc_alloc(call, sizeof *buckets * HF_STAGES * HF_STALL_BUCKETS);
    if (!rows || !buckets)
        return false;
    out->n_stages = HF_STAGES;
    for (unsigned i = 0; i < HF_STAGES; i++) {
        holdfast__v1__stage_time__init(&rows[i]);
        rows[i].stage = hf_stage_of(i);
        rows[i].longest_ns = hf_stage_number(items, count, stages[i], "ns_max");
        rows[i].longest_at_ms = hf_stage_number(items, count, stages[i], "max_at_ms");
        rows[i].total_ns = hf_stage_number(items, count, stages[i], "ns_sum");
        rows[i].buckets = buckets + (size_t)i * HF_STALL_BUCKETS;
        rows[i].n_buckets = HF_STALL_BUCKETS;
        for (unsigned b = 0; b < HF_STALL_BUCKETS; b++)
            rows[i].buckets[b] = hf_stage_number(items, count, stages[i], bounds[b]);
    }
    return true;
}

static void hf_answer_stalls(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer)
{
    Holdfast__V1__StallsResponse out = HOLDFAST__V1__STALLS_RESPONSE__INIT;
    uint32_t first = 0;
    unsigned count = hf_numbers_shards(answer, &first);
    (void)command;
    Holdfast__V1__ShardStalls *rows = hf_answer_rows(call, count, sizeof *rows, &out.shards);
    bool good = rows != NULL;
    for (unsigned i = 0; good && i < count; i++) {
        const struct hf_counter_item *items;
        unsigned item_count = hf_numbers_of(answer, first + i, &items);
        holdfast__v1__shard_stalls__init(&rows[i]);
        rows[i].shard = first + i;
        rows[i].responsive = hf_numbers_get(items, item_count, "answers_status") != 0;
        rows[i].stage = hf_stage_of(hf_numbers_get(items, item_count, "stage_now"));
        rows[i].stage_us = hf_numbers_get(items, item_count, "stage_now_us");
        good = !rows[i].responsive || hf_fill_stages(call, items, item_count, &rows[i]);
    }
    out.n_shards = count;
    out.more = (answer->flags & HF_ANSWER_MORE) != 0;
    out.next_shard = out.more ? (uint32_t)answer->value : 0;
    if (good)
        hf_grpc_answer(call, &out.base);
    else
        hf_answer_no_memory(call);
}

static void hf_answer_log(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer)
{
    typedef Holdfast__V1__LogResponse log;
    static const struct hf_number_place places[] = {
        HF_PLACE_OF(log, position),
        HF_PLACE_OF(log, durable_position),
        HF_PLACE_OF(log, term),
        {"log.lag_bytes", offsetof(log, lag_bytes)},
        {"log.bytes", offsetof(log, bytes)},
        {"log.segments", offsetof(log, segments)},
        {"log.records", offsetof(log, records)},
        {"log.blocks", offsetof(log, blocks)},
        {"log.writes", offsetof(log, writes)},
        {"log.write_us_mean", offsetof(log, write_us_mean)},
        {"log.write_us_max", offsetof(log, write_us_max)},
        {"log.inflight_max", offsetof(log, inflight_max)},
        {"log.padding_bytes", offsetof(log, padding_bytes)},
        {"log.seals", offsetof(log, seals)},
        {"log.ahead_bytes", offsetof(log, ahead_bytes)},
        {"log.free_bytes", offsetof(log, free_bytes)},
        {"log.watermark", offsetof(log, watermark)},
        {"log.bytes_per_order", offsetof(log, bytes_per_order)},
        {"log.bytes_per_record", offsetof(log, bytes_per_record)},
        HF_PLACE_OF(log, recovered_records),
        HF_PLACE_OF(log, replay_us),
    };
    const struct hf_counter_item *items;
    unsigned count = hf_numbers_of(answer, HF_NUMBERS_NODE, &items);
    Holdfast__V1__LogResponse out = HOLDFAST__V1__LOG_RESPONSE__INIT;
    (void)command;
    hf_numbers_fill(items, count, places, sizeof places / sizeof places[0], &out);
    out.direct = hf_numbers_get(items, count, "log.direct") != 0;
    out.dsync = hf_numbers_get(items, count, "log.dsync") != 0;
    hf_grpc_answer(call, &out.base);
}

/* ---- steering ---- */

static void hf_act_drain(struct hf_grpc_call *call, const struct hf_control_options *options, const ProtobufCMessage *message)
{
    Holdfast__V1__DrainResponse out = HOLDFAST__V1__DRAIN_RESPONSE__INIT;
    (void)message;
    if (!options->drain) {
        hf_grpc_finish(call, HF_GRPC_UNIMPLEMENTED, "this engine cannot be ended from here");
        return;
    }
    options->drain(options->context);
    hf_grpc_answer(call, &out.base);
}

static void hf_act_log_level(struct hf_grpc_call *call, const struct hf_control_options *options, const ProtobufCMessage *message)
{
    const Holdfast__V1__SetLogLevelRequest *request = (const Holdfast__V1__SetLogLevelRequest *)message;
    Holdfast__V1__SetLogLevelResponse out = HOLDFAST__V1__SET_LOG_LEVEL_RESPONSE__INIT;
    if (!options->log_level) {
        hf_grpc_finish(call, HF_GRPC_UNIMPLEMENTED, "this engine has no levels");
        return;
    }
    if (request->level < 0 || request->level > HOLDFAST__V1__LOG_LEVEL__LOG_LEVEL_WARN) {
        hf_refuse_call(call, HF_BAD_ARGUMENT, "level", "debug, info or warn");
        return;
    }
    out.previous = (Holdfast__V1__LogLevel)(options->log_level(options->context, (int)request->level - 1) + 1);
    out.level = request->level != 0 ? request->level : out.previous;
    hf_grpc_answer(call, &out.base);
}

/* ---- commands as bytes ---- */

static void hf_act_welcome(struct hf_grpc_call *call, const struct hf_control_options *options, const ProtobufCMessage *message)
{
    Holdfast__V1__WelcomeResponse out = HOLDFAST__V1__WELCOME_RESPONSE__INIT;
    (void)message;
    out.time_ms = options->now_ns(options->context) / 1000000;
    out.partitions = options->partitions;
    hf_grpc_answer(call, &out.base);
}

/* Only what room for the answer depends on is judged here: the shard looks at the rest as if it had come to the data port. */
static void hf_ask_execute(struct hf_draft *draft, const ProtobufCMessage *message)
{
    const Holdfast__V1__ExecuteRequest *request = (const Holdfast__V1__ExecuteRequest *)message;
    uint32_t length = 0;
    size_t bytes = request->command.len;
    if (bytes >= sizeof length)
        memcpy(&length, request->command.data, sizeof length);
    if (bytes < sizeof *draft->command || bytes > HF_COMMAND_BYTES_MAX || bytes % 8 != 0 || length != bytes) {
        hf_draft_fail(draft, HF_BAD_LENGTH, "command", "its length is that of its bytes");
        return;
    }
    memcpy(draft->command, request->command.data, bytes);
    if (draft->command->line_count > 0 && bytes >= sizeof *draft->command + sizeof(struct hf_line))
        draft->route = hf_route(&hf_command_lines(draft->command)->sku);
    else if (hf_opcode_family(draft->command->opcode) == HF_FAMILY_ORDER)
        draft->route = hf_id_route(draft->command->body.verb.order);
}

static void hf_answer_execute(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer)
{
    Holdfast__V1__ExecuteResponse out = HOLDFAST__V1__EXECUTE_RESPONSE__INIT;
    (void)command;
    out.answer.len = answer->length;
    out.answer.data = (uint8_t *)(uintptr_t)answer;
    hf_grpc_answer(call, &out.base);
}

static const struct hf_verb hf_admin_rows[] = {
    {"Status", hf_ask_status, hf_answer_status},
    {"Shards", hf_ask_shards, hf_answer_shards},
    {"Stalls", hf_ask_stalls, hf_answer_stalls},
    {"Log", hf_ask_log, hf_answer_log},
    {"Digest", hf_ask_digest, hf_answer_digest},
    {"Audit", hf_ask_audit, hf_answer_audit},
    {"Drain", .act = hf_act_drain},
    {"SetLogLevel", .act = hf_act_log_level},
    {"Welcome", .act = hf_act_welcome},
    {"Execute", hf_ask_execute, hf_answer_execute, .bytes = true},
};

const struct hf_verb_table hf_verbs_admin = {&holdfast__v1__admin__descriptor, hf_admin_rows,
                                             sizeof hf_admin_rows / sizeof hf_admin_rows[0]};
