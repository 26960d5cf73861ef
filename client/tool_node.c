/* `holdfast status` and `holdfast digest`: the node as a whole. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/tool.h"

static const uint64_t admin_deadline_ns = 60000000000;

/* Sends an administration command, again while the engine says BUSY, for a few seconds. */
static int ask(const struct hf_tool *tool, struct hf_tool_call *call, uint16_t opcode)
{
    struct hf_command *command;
    int failed = hf_tool_call_open(tool, call, opcode, 0, 0, &command);
    if (failed)
        return failed;
    call->deadline_ns = admin_deadline_ns;
    for (int tries = 0; tries < 50; tries++) {
        failed = hf_tool_call_send(tool, call);
        if (failed || call->answer->result != HF_BUSY)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        hf_tool_call_again(call, opcode, 0, 0);
    }
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
            json_object_set_new(object, part, inner);
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

/* Asks for every page: 0 with *out, or an exit status after a sentence. */
static int ask_status(const struct hf_tool *tool, json_t **out)
{
    struct hf_tool_call call;
    json_t *object = json_object(), *shards = json_array();
    int failed = ask(tool, &call, HF_STATUS);
    if (failed) {
        json_decref(object);
        json_decref(shards);
        return failed;
    }
    while (call.answer->result == HF_OK) {
        add_counters(object, shards, call.answer);
        if (!(call.answer->flags & HF_ANSWER_MORE))
            break;
        uint32_t next = (uint32_t)call.answer->value;
        hf_tool_call_again(&call, HF_STATUS, 0, 0)->arg = next;
        failed = hf_tool_call_send(tool, &call);
        if (failed)
            break;
    }
    if (!failed && call.answer->result != HF_OK)
        failed = hf_tool_finish(tool, call.answer, NULL);
    hf_tool_call_close(&call);
    join_version(object);
    json_object_set_new(object, "shards", shards);
    *out = object;
    if (failed)
        json_decref(object);
    return failed;
}

int hf_tool_status(struct hf_tool *tool, int argc, char **argv)
{
    json_t *object;
    int failed = hf_tool_options(tool, argc, argv, NULL, 0);
    if (!failed)
        failed = ask_status(tool, &object);
    if (failed)
        return failed < 0 ? 0 : failed;
    hf_tool_print(tool, object);
    return HF_EXIT_DONE;
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
