/* Over a control plane: commands as bytes, and what only it does: drain, log level. */
#include "client/tool_control.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/control.h"

#include "holdfast/v1/admin.pb-c.h"

static const uint64_t connect_timeout_ns = 5000000000, deadline_ns = 10000000000;
enum { PACKED_BYTES = HF_COMMAND_BYTES_MAX + 16 };

/* ---- one call ---- */

struct waited {
    bool done;
    int status;
    uint16_t refused;
    char message[256];
    ProtobufCMessage *answer; /* the receiver's */
    const ProtobufCMessageDescriptor *form;
};

/* Refusals of Holdfast begin with the name of their result. */
static uint16_t refusal(const char *message)
{
    size_t bytes = strcspn(message, ":");
    for (unsigned code = 1; code < HF_RESULT_COUNT; code++) {
        const char *name = hf_result_name(code);
        if (strlen(name) == bytes && memcmp(name, message, bytes) == 0 && strcmp(name, "UNKNOWN") != 0)
            return (uint16_t)code;
    }
    return 0;
}

static void on_reply(void *context, const struct hf_control_reply *reply)
{
    struct waited *waited = context;
    waited->done = true;
    waited->status = reply->status;
    waited->refused = reply->status > 0 ? refusal(reply->message) : 0;
    snprintf(waited->message, sizeof waited->message, "%s", reply->message);
    if (reply->status == 0) {
        waited->answer = protobuf_c_message_unpack(waited->form, NULL, reply->answer_bytes, reply->answer);
        waited->status = waited->answer ? 0 : -1;
    }
}

/* Calls a method of Admin and waits: the answer, which protobuf_c_message_free_unpacked() frees, or NULL with *waited saying why. */
static ProtobufCMessage *call_admin(struct hf_control_client *control, const char *method, const ProtobufCMessage *request,
                                    const ProtobufCMessageDescriptor *form, uint64_t deadline, struct waited *waited)
{
    uint8_t packed[PACKED_BYTES];
    char path[64];
    *waited = (struct waited){.status = -1, .form = form};
    snprintf(path, sizeof path, "/holdfast.v1.Admin/%s", method);
    size_t bytes = protobuf_c_message_get_packed_size(request);
    assert(bytes <= sizeof packed);
    protobuf_c_message_pack(request, packed);
    if (!hf_control_begin(control, path, packed, bytes, deadline, on_reply, waited))
        return NULL;
    while (!waited->done)
        hf_control_poll(control, 1000000000);
    return waited->answer;
}

static int say_failed(const struct hf_tool *tool, const struct hf_control_client *control, const struct waited *waited)
{
    if (waited->refused)
        return hf_tool_fail(tool, HF_EXIT_REFUSED, "%s: %s", hf_result_name(waited->refused), hf_result_advice(waited->refused));
    if (waited->status > 0)
        return hf_tool_fail(tool, HF_EXIT_REFUSED, "refused with status %d: %s", waited->status, waited->message);
    return hf_tool_fail(tool, HF_EXIT_UNREACHABLE, "%s has no answer: %s", tool->control, hf_control_error(control));
}

int hf_tool_connect_control(const struct hf_tool *tool, struct hf_tool_call *call)
{
    const Holdfast__V1__WelcomeRequest request = HOLDFAST__V1__WELCOME_REQUEST__INIT;
    struct waited waited;
    struct timespec now;
    char error[256];
    int failed = hf_control_connect(tool->control, connect_timeout_ns, &call->control, error, sizeof error);
    if (failed)
        return hf_tool_fail(tool, failed == HF_E_USAGE ? HF_EXIT_USAGE : HF_EXIT_UNREACHABLE, "%s", error);
    Holdfast__V1__WelcomeResponse *welcome = (Holdfast__V1__WelcomeResponse *)call_admin(
        call->control, "Welcome", &request.base, &holdfast__v1__welcome_response__descriptor, deadline_ns, &waited);
    if (!welcome) {
        failed = say_failed(tool, call->control, &waited);
        hf_control_close(call->control);
        call->control = NULL;
        return failed;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    call->time_at_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    call->time_ms = welcome->time_ms;
    call->partitions = welcome->partitions;
    protobuf_c_message_free_unpacked(&welcome->base, NULL);
    return 0;
}

/* ---- commands as bytes ---- */

/* Whether the bytes are one answer to the command. */
static bool is_answer(const ProtobufCBinaryData *bytes, uint16_t opcode)
{
    struct hf_answer answer;
    if (bytes->len < sizeof answer || bytes->len > HF_FRAME_ANSWER_BYTES_MAX)
        return false;
    memcpy(&answer, bytes->data, sizeof answer);
    return answer.length == bytes->len && answer.opcode == opcode;
}

/* Whether a status leaves open if the command was run: those that say no more than that nobody waits for it. Of the others the command's
 * client may be told that it was refused. */
static bool is_open(const struct waited *waited)
{
    enum { CANCELLED = 1, UNKNOWN = 2, DEADLINE_EXCEEDED = 4 }; /* of gRPC */
    return waited->status <= 0 || waited->status == CANCELLED || waited->status == UNKNOWN || waited->status == DEADLINE_EXCEEDED;
}

int hf_tool_execute_one(const struct hf_tool *tool, struct hf_tool_call *call)
{
    Holdfast__V1__ExecuteRequest request = HOLDFAST__V1__EXECUTE_REQUEST__INIT;
    struct waited waited;
    request.command.data = call->command_room;
    request.command.len = call->command->length;
    Holdfast__V1__ExecuteResponse *response = (Holdfast__V1__ExecuteResponse *)call_admin(
        call->control, "Execute", &request.base, &holdfast__v1__execute_response__descriptor,
        call->deadline_ns ? call->deadline_ns : deadline_ns, &waited);
    bool good = response && is_answer(&response->answer, call->command->opcode);
    if (good)
        memcpy(call->answer, response->answer.data, response->answer.len);
    if (response)
        protobuf_c_message_free_unpacked(&response->base, NULL);
    if (good)
        return 0;
    return waited.refused || !is_open(&waited) ? say_failed(tool, call->control, &waited)
                                               : hf_tool_fail_unknown(tool, hf_control_error(call->control));
}

struct executed {
    void (*done)(void *context, const struct hf_answer *answer, uint16_t refused);
    void *context;
    uint16_t opcode;
};

static void on_executed(void *context, const struct hf_control_reply *reply)
{
    struct executed *executed = context;
    Holdfast__V1__ExecuteResponse *response = reply->status == 0
                                                  ? holdfast__v1__execute_response__unpack(NULL, reply->answer_bytes, reply->answer)
                                                  : NULL;
    /* malloc'd by protobuf-c: aligned for any type */
    bool good = response && is_answer(&response->answer, executed->opcode);
    executed->done(executed->context, good ? (const struct hf_answer *)(const void *)response->answer.data : NULL,
                   reply->status > 0 ? refusal(reply->message) : 0);
    if (response)
        holdfast__v1__execute_response__free_unpacked(response, NULL);
    free(executed);
}

bool hf_tool_execute(struct hf_tool_call *call, const struct hf_command *command,
                     void (*done)(void *context, const struct hf_answer *answer, uint16_t refused), void *context)
{
    Holdfast__V1__ExecuteRequest request = HOLDFAST__V1__EXECUTE_REQUEST__INIT;
    uint8_t packed[PACKED_BYTES];
    struct executed *executed = malloc(sizeof *executed);
    if (!executed)
        return false;
    *executed = (struct executed){done, context, command->opcode};
    request.command.data = (uint8_t *)(uintptr_t)command;
    request.command.len = command->length;
    size_t bytes = holdfast__v1__execute_request__pack(&request, packed);
    if (hf_control_begin(call->control, "/holdfast.v1.Admin/Execute", packed, bytes, deadline_ns, on_executed, executed))
        return true;
    free(executed);
    return false;
}

int hf_tool_execute_poll(const struct hf_tool *tool, struct hf_tool_call *call)
{
    if (hf_control_poll(call->control, 10000000) == 0)
        return 0;
    return hf_tool_fail(tool, HF_EXIT_UNREACHABLE, "%s", hf_control_error(call->control));
}

/* ---- what only a control plane does ---- */

static int connect_only(const struct hf_tool *tool, struct hf_control_client **out)
{
    char error[256];
    if (!tool->control)
        return hf_tool_usage(tool, "this needs --control ADDR: a data directory, unix://PATH or tcp://HOST:PORT");
    int failed = hf_control_connect(tool->control, connect_timeout_ns, out, error, sizeof error);
    return failed ? hf_tool_fail(tool, failed == HF_E_USAGE ? HF_EXIT_USAGE : HF_EXIT_UNREACHABLE, "%s", error) : 0;
}

int hf_tool_drain(struct hf_tool *tool, int argc, char **argv)
{
    const Holdfast__V1__DrainRequest request = HOLDFAST__V1__DRAIN_REQUEST__INIT;
    struct hf_control_client *control = NULL;
    struct waited waited;
    int failed = hf_tool_options(tool, argc, argv, NULL, 0);
    if (!failed)
        failed = connect_only(tool, &control);
    if (failed)
        return failed < 0 ? 0 : failed;
    ProtobufCMessage *answer = call_admin(control, "Drain", &request.base, &holdfast__v1__drain_response__descriptor, deadline_ns, &waited);
    if (answer)
        hf_tool_print(tool, json_pack("{s:b}", "draining", 1));
    else
        failed = say_failed(tool, control, &waited);
    if (answer)
        protobuf_c_message_free_unpacked(answer, NULL);
    hf_control_close(control);
    return failed;
}

int hf_tool_log_level(struct hf_tool *tool, int argc, char **argv)
{
    static const char *const names[] = {"unknown", "debug", "info", "warn"};
    Holdfast__V1__SetLogLevelRequest request = HOLDFAST__V1__SET_LOG_LEVEL_REQUEST__INIT;
    struct hf_control_client *control = NULL;
    struct waited waited;
    const char *level = NULL;
    const struct hf_tool_option options[] = {{"LEVEL", HF_KIND_TEXT, &level}};
    int failed = hf_tool_options(tool, argc, argv, options, 1), number = 0;
    for (int i = 1; level && i < 4; i++)
        number = strcmp(level, names[i]) == 0 ? i : number;
    if (!failed && level && number == 0)
        failed = hf_tool_usage(tool, "'%s' is no level: debug, info or warn", level);
    if (!failed)
        failed = connect_only(tool, &control);
    if (failed)
        return failed < 0 ? 0 : failed;
    request.level = (Holdfast__V1__LogLevel)number;
    Holdfast__V1__SetLogLevelResponse *answer = (Holdfast__V1__SetLogLevelResponse *)call_admin(
        control, "SetLogLevel", &request.base, &holdfast__v1__set_log_level_response__descriptor, deadline_ns, &waited);
    if (answer)
        hf_tool_print(tool, json_pack("{s:s, s:s}", "level", names[answer->level & 3], "previous", names[answer->previous & 3]));
    else
        failed = say_failed(tool, control, &waited);
    if (answer)
        protobuf_c_message_free_unpacked(&answer->base, NULL);
    hf_control_close(control);
    return failed;
}
