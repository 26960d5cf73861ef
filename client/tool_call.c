/* One command, one answer: what most of the tool's commands need. */
#include <stdio.h>

#include "client/tool.h"

static const uint64_t connect_timeout_ns = 5000000000;

int hf_tool_connect(const struct hf_tool *tool, struct hf_client **out)
{
    struct hf_client_options options = {.server = tool->server, .connect_timeout_ns = connect_timeout_ns, .one_session = true};
    char error[256];
    int failed = hf_client_create(NULL, &options, out, error, sizeof error);
    if (failed)
        return hf_tool_fail(tool, failed == HF_E_USAGE ? HF_EXIT_USAGE : HF_EXIT_UNREACHABLE, "%s", error);
    if (hf_client_connect(*out, connect_timeout_ns, true) == 0)
        return 0;
    hf_tool_fail(tool, HF_EXIT_UNREACHABLE, "%s; is holdfastd running there? (--server or $HOLDFAST_SERVER names another)",
                 hf_client_error(*out));
    hf_client_destroy(*out);
    *out = NULL;
    return HF_EXIT_UNREACHABLE;
}

struct hf_command *hf_tool_call_again(struct hf_tool_call *call, uint16_t opcode, uint16_t lines, uint16_t ext_bytes)
{
    call->batch = hf_client_batch(call->client, 0);
    assert(call->batch);
    struct hf_command *command = hf_batch_add(call->batch, opcode, lines, ext_bytes);
    assert(command);
    return command;
}

int hf_tool_call_open(const struct hf_tool *tool, struct hf_tool_call *call, uint16_t opcode, uint16_t lines, uint16_t ext_bytes,
                      struct hf_command **command)
{
    int failed = hf_tool_connect(tool, &call->client);
    call->deadline_ns = 0;
    call->answer = (struct hf_answer *)(void *)call->room;
    if (!failed)
        *command = hf_tool_call_again(call, opcode, lines, ext_bytes);
    return failed;
}

int hf_tool_call_send(const struct hf_tool *tool, struct hf_tool_call *call)
{
    uint16_t refused = 0;
    int failed = hf_client_call(call->client, call->batch, call->deadline_ns, call->answer, sizeof call->room, &refused);
    if (!failed)
        return 0;
    if (refused)
        return hf_tool_fail(tool, HF_EXIT_REFUSED, "%s: %s", hf_result_name(refused), hf_result_advice(refused));
    return hf_tool_fail(tool, HF_EXIT_UNREACHABLE, "no answer in time; whether it was done is not known%s%s",
                        *hf_client_error(call->client) ? ": " : "", hf_client_error(call->client));
}

void hf_tool_call_close(struct hf_tool_call *call)
{
    hf_client_destroy(call->client);
}
