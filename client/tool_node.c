/* `holdfast status`, `shards`, `stalls`, `log` and `digest`: the node as a whole. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/tool.h"

static const uint64_t admin_deadline_ns = 60000000000;

/* Sends an administration command over the open connection, again while the engine says BUSY, for a few seconds. */
static int ask_again(const struct hf_tool *tool, struct hf_tool_call *call, uint16_t opcode, uint32_t arg)
{
    int failed = 0;
    call->deadline_ns = admin_deadline_ns;
    for (int tries = 0; tries < 50; tries++) {
        hf_tool_call_again(call, opcode, 0, 0)->arg = arg;
        failed = hf_tool_call_send(tool, call);
        if (failed || call->answer->result != HF_BUSY)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    return failed;
}

static int ask(const struct hf_tool *tool, struct hf_tool_call *call, uint16_t opcode)
{
    int failed = hf_tool_connect(tool, call);
    if (failed)
        return failed;
    failed = ask_again(tool, call, opcode, 0);
    if (failed)
        hf_tool_call_close(call);
    return failed;
}

/* "log.bytes" becomes bytes in the object log. */
static void put_by_path(json_t *object, const char *path, uint64_t value)
{
    char part[41];
    const char *dot;
    while ((dot = strchr(path, '.')) != NULL) {
        snprintf(part, sizeof part, "%.*s", (int)(dot - path), path);
        json_t *inner = json_object_get(object, part);
        if (!json_is_object(inner)) {
            inner = json_object();
            if (json_object_set_new(object, part, inner) != 0)
                return; /* a name that is no text, and `inner` is gone */
        }
        object = inner;
        path = dot + 1;
    }
    json_object_set_new(object, path, hf_json_u64(value));
}

static json_t *shard_object(json_t *shards, uint32_t shard)
{
    while (json_array_size(shards) <= shard)
        json_array_append_new(shards, json_pack("{s:I}", "shard", (json_int_t)json_array_size(shards)));
    return json_array_get(shards, shard);
}

/* The engine's version, which came as three numbers, as people write it. */
static void join_version(json_t *object)
{
    static const char *const parts[] = {"major", "minor", "patch"};
    unsigned long long numbers[3];
    char text[80];
    const json_t *version = json_object_get(object, "version");
    for (int i = 0; i < 3; i++)
        numbers[i] = (unsigned long long)json_integer_value(json_object_get(version, parts[i]));
    snprintf(text, sizeof text, "%llu.%llu.%llu", numbers[0], numbers[1], numbers[2]);
    json_object_set_new(object, "version", version ? json_string(text) : json_string("unknown"));
}

/* Adds a page of counters to the node's object, and to its shards. */
static void add_counters(json_t *object, json_t *shards, const struct hf_answer *answer)
{
    const uint8_t *at = (const uint8_t *)(answer + 1), *end = (const uint8_t *)answer + answer->length;
    for (; (size_t)(end - at) >= sizeof(struct hf_counter_item); at += sizeof(struct hf_counter_item)) {
        struct hf_counter_item item;
        char name[sizeof item.name + 1] = {0};
        memcpy(&item, at, sizeof item);
        memcpy(name, item.name, sizeof item.name);
        bool of_shard = item.shard < HF_CLIENT_SHARDS_MAX;
        put_by_path(of_shard ? shard_object(shards, item.shard) : object, name, item.value);
    }
}

int hf_tool_ask_status(const struct hf_tool *tool, struct hf_tool_call *call, json_t **out)
{
    json_t *object = json_object(), *shards = json_array();
    struct hf_tool_page page = {.more = true};
    int failed = 0;
    while (page.more && !failed) {
        failed = ask_again(tool, call, HF_STATUS, page.first);
        if (!failed && call->answer->result != HF_OK)
            failed = hf_tool_finish(tool, call->answer, NULL);
        if (failed)
            break;
        add_counters(object, shards, call->answer);
        page.next = page.listed = call->answer->value;
        failed = hf_tool_page_turn(tool, call->answer, &page);
    }
    join_version(object);
    json_object_set_new(object, "shards", shards);
    *out = object;
    if (failed)
        json_decref(object);
    return failed;
}

/* Asks for the status and prints what `make` makes of it, all of it where there is none. */
static int print_status(struct hf_tool *tool, int argc, char **argv, json_t *(*make)(const json_t *status))
{
    struct hf_tool_call call;
    json_t *status;
    int failed = hf_tool_options(tool, argc, argv, NULL, 0);
    if (!failed)
        failed = hf_tool_connect(tool, &call);
    if (failed)
        return failed < 0 ? 0 : failed;
    failed = hf_tool_ask_status(tool, &call, &status);
    if (!failed) {
        hf_tool_print(tool, make ? make(status) : json_incref(status));
        json_decref(status);
    }
    hf_tool_call_close(&call);
    return failed;
}

int hf_tool_status(struct hf_tool *tool, int argc, char **argv)
{
    return print_status(tool, argc, argv, NULL);
}

const char *hf_tool_stage_name(const json_t *shard)
{
    static const char *const names[] = {"receive", "run", "sweep", "drain", "answer", "flush", "turn", "idle"};
    return names[json_integer_value(json_object_get(shard, "stage_now")) & 7];
}

/* A copy of the shard without what another command shows, and its stage by name. */
static json_t *shard_row(const json_t *shard)
{
    static const char *const left_out[] = {"stages", "stage_now", "stage_now_us", "net", "results"};
    static const char *const of_net[] = {"connections", "sessions", "requests_in_flight", "frames_in",
                                         "frames_out",  "bytes_in", "bytes_out"};
    json_t *row = json_deep_copy(shard), *net = json_object_get(shard, "net");
    for (size_t i = 0; i < sizeof left_out / sizeof left_out[0]; i++)
        json_object_del(row, left_out[i]);
    json_object_set_new(row, "stage", json_string(hf_tool_stage_name(shard)));
    json_object_set(row, "stage_us", json_object_get(shard, "stage_now_us"));
    for (size_t i = 0; net && i < sizeof of_net / sizeof of_net[0]; i++)
        json_object_set(row, of_net[i], json_object_get(net, of_net[i]));
    return row;
}

static json_t *rows_of(const json_t *status, json_t *(*row_of)(const json_t *shard))
{
    json_t *rows = json_array(), *shard;
    size_t index;
    json_array_foreach(json_object_get(status, "shards"), index, shard) json_array_append_new(rows, row_of(shard));
    return json_pack("{s:i, s:o}", "count", (int)json_array_size(rows), "shards", rows);
}

static json_t *shards_of(const json_t *status)
{
    return rows_of(status, shard_row);
}

int hf_tool_shards(struct hf_tool *tool, int argc, char **argv)
{
    return print_status(tool, argc, argv, shards_of);
}

static json_t *stall_row(const json_t *shard)
{
    json_t *row = json_pack("{s:O, s:O, s:s, s:O, s:[]}", "shard", json_object_get(shard, "shard"), "answers_status",
                            json_object_get(shard, "answers_status"), "stage", hf_tool_stage_name(shard), "stage_us",
                            json_object_get(shard, "stage_now_us"), "stages");
    json_t *stages = json_object_get(row, "stages"), *stage;
    const char *name;
    json_object_foreach(json_object_get(shard, "stages"), name, stage)
    {
        json_t *copy = json_pack("{s:s}", "stage", name);
        json_object_update(copy, stage);
        json_array_append_new(stages, copy);
    }
    return row;
}

static json_t *stalls_of(const json_t *status)
{
    return rows_of(status, stall_row);
}

int hf_tool_stalls(struct hf_tool *tool, int argc, char **argv)
{
    return print_status(tool, argc, argv, stalls_of);
}

static json_t *log_of(const json_t *status)
{
    static const char *const keys[] = {"position", "durable_position", "term", "recovered_records", "replay_us"};
    json_t *row = json_object();
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        json_object_set(row, keys[i], json_object_get(status, keys[i]));
    json_object_update(row, json_object_get(status, "log"));
    return row;
}

int hf_tool_log(struct hf_tool *tool, int argc, char **argv)
{
    return print_status(tool, argc, argv, log_of);
}

int hf_tool_digest(struct hf_tool *tool, int argc, char **argv)
{
    struct hf_tool_call call;
    struct hf_digest_item item = {0};
    char text[17];
    int failed = hf_tool_options(tool, argc, argv, NULL, 0);
    if (!failed)
        failed = ask(tool, &call, HF_DIGEST);
    if (failed)
        return failed < 0 ? 0 : failed;
    if (call.answer->result == HF_OK && call.answer->length >= sizeof *call.answer + sizeof item) {
        memcpy(&item, call.answer + 1, sizeof item);
        snprintf(text, sizeof text, "%016" PRIx64, item.digest);
        hf_tool_print(tool, json_pack("{s:o, s:s, s:f}", "position", hf_json_u64(call.answer->position), "digest", text, "held_ms",
                                      (double)item.held_ns / 1e6));
    } else {
        failed = hf_tool_finish(tool, call.answer, NULL);
    }
    hf_tool_call_close(&call);
    return failed;
}
