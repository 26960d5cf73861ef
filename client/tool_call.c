/* One command, one answer: what most of the tool's commands need. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "client/control.h"
#include "client/tool.h"
#include "client/tool_control.h"

static const uint64_t connect_timeout_ns = 5000000000;

/* No list is longer: an engine has as many locations, and a SKU a cell in each. */
enum { LISTED_MAX = 65536 };

static int connect_data(const struct hf_tool *tool, struct hf_client **out)
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

int hf_tool_connect(const struct hf_tool *tool, struct hf_tool_call *call)
{
    call->client = NULL;
    call->control = NULL;
    call->deadline_ns = 0;
    call->answer = (struct hf_answer *)(void *)call->room;
    return tool->control ? hf_tool_connect_control(tool, call) : connect_data(tool, &call->client);
}

struct hf_command *hf_tool_blank_command(void *room, uint16_t opcode, uint16_t lines, uint16_t ext_bytes)
{
    struct hf_command *command = room;
    uint32_t length = (uint32_t)sizeof *command + lines * (uint32_t)sizeof(struct hf_line) + ext_bytes;
    assert(length <= HF_COMMAND_BYTES_MAX);
    memset(room, 0, length);
    command->length = length;
    command->opcode = opcode;
    command->version = HF_COMMAND_VERSION;
    command->line_count = lines;
    command->ext_bytes = ext_bytes;
    return command;
}

struct hf_command *hf_tool_call_again(struct hf_tool_call *call, uint16_t opcode, uint16_t lines, uint16_t ext_bytes)
{
    if (call->control) {
        call->command = hf_tool_blank_command(call->command_room, opcode, lines, ext_bytes);
        return call->command;
    }
    call->batch = hf_client_batch(call->client, 0);
    assert(call->batch);
    struct hf_command *command = hf_batch_add(call->batch, opcode, lines, ext_bytes);
    assert(command);
    return command;
}

int hf_tool_call_open(const struct hf_tool *tool, struct hf_tool_call *call, uint16_t opcode, uint16_t lines, uint16_t ext_bytes,
                      struct hf_command **command)
{
    int failed = hf_tool_connect(tool, call);
    if (!failed)
        *command = hf_tool_call_again(call, opcode, lines, ext_bytes);
    return failed;
}

int hf_tool_call_send(const struct hf_tool *tool, struct hf_tool_call *call)
{
    uint16_t refused = 0;
    if (call->control)
        return hf_tool_execute_one(tool, call);
    if (hf_client_call(call->client, call->batch, call->deadline_ns, call->answer, sizeof call->room, &refused) == 0)
        return 0;
    if (refused)
        return hf_tool_fail(tool, HF_EXIT_REFUSED, "%s: %s", hf_result_name(refused), hf_result_advice(refused));
    return hf_tool_fail_unknown(tool, hf_client_error(call->client));
}

int hf_tool_fail_unknown(const struct hf_tool *tool, const char *why)
{
    return hf_tool_fail(tool, HF_EXIT_UNREACHABLE, "no answer in time; whether it was done is not known%s%s", *why ? ": " : "", why);
}

void hf_tool_call_discard(struct hf_tool_call *call)
{
    if (!call->control)
        hf_batch_discard(call->batch);
}

void hf_tool_call_close(struct hf_tool_call *call)
{
    if (call->client)
        hf_client_destroy(call->client);
    hf_control_close(call->control);
}

const void *hf_tool_items(const struct hf_answer *answer, size_t head_bytes, size_t each_bytes, size_t *count)
{
    size_t bytes = answer->length - sizeof *answer;
    *count = answer->result == HF_OK && bytes > head_bytes ? (bytes - head_bytes) / each_bytes : 0;
    return (const uint8_t *)(answer + 1) + (*count > 0 ? head_bytes : 0);
}

int hf_tool_page_turn(const struct hf_tool *tool, const struct hf_answer *answer, struct hf_tool_page *page)
{
    page->more = answer->result == HF_OK && (answer->flags & HF_ANSWER_MORE) != 0;
    if (page->more && (page->next <= page->first || page->next > UINT32_MAX || page->listed > LISTED_MAX))
        return hf_tool_fail(tool, HF_EXIT_REFUSED, "the engine says that a list goes on behind %" PRIu64 " items, but not where",
                            page->listed);
    page->first = (uint32_t)page->next;
    return 0;
}

struct hf_id hf_tool_call_id(struct hf_tool_call *call, uint16_t route)
{
    struct timespec now;
    uint64_t random = 0;
    if (!call->control)
        return hf_client_id(call->client, route);
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t since_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - call->time_at_ns;
    ssize_t got = getrandom(&random, sizeof random, 0);
    assert(got == sizeof random); /* cannot be short or fail at 8 bytes (getrandom(2)) */
    (void)got;
    return hf_id_make(route, call->time_ms + since_ns / 1000000, random);
}

uint32_t hf_tool_call_partitions(const struct hf_tool_call *call)
{
    struct hf_client_status status;
    if (call->control)
        return call->partitions;
    hf_client_status(call->client, &status);
    return status.partitions;
}

unsigned hf_tool_call_frame_bytes_max(const struct hf_tool_call *call)
{
    return call->control ? HF_FRAME_BYTES_MAX : hf_client_frame_bytes_max(call->client);
}
