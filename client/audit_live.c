#include "client/audit_live.h"

#include <inttypes.h>
#include <time.h>

static const uint64_t deadline_ns = 120ull * 1000000000;
static const unsigned busy_tries = 200; /* 20 s */

/* One command, sent again while the engine says BUSY. */
static int ask(const struct hf_tool *tool, struct hf_tool_call *call, uint16_t opcode, uint64_t position)
{
    for (unsigned tries = 0; tries < busy_tries; tries++) {
        struct hf_command *command = hf_tool_call_again(call, opcode, 0, 0);
        if (opcode == HF_FOLLOW)
            command->body.follow.position = position;
        int failed = hf_tool_call_send(tool, call);
        if (failed)
            return failed;
        if (call->answer->result == HF_OK)
            return 0;
        if (call->answer->result != HF_BUSY)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    return hf_tool_fail(tool, HF_EXIT_REFUSED, "%s: %s", hf_result_name(call->answer->result), hf_result_advice(call->answer->result));
}

/* Feeds one answer's records up to `until`; *last: the end of the last one fed. */
static int feed_answer(const struct hf_tool *tool, const struct hf_answer *answer, uint64_t until, struct hf_audit *audit, uint64_t *last)
{
    const uint8_t *at = (const uint8_t *)(answer + 1), *end = (const uint8_t *)answer + answer->length;
    while ((size_t)(end - at) >= sizeof(struct hf_follow_head) + sizeof(struct hf_record)) {
        struct hf_follow_head head;
        memcpy(&head, at, sizeof head);
        const struct hf_record *record = (const struct hf_record *)(const void *)(at + sizeof head);
        size_t room = (size_t)(end - at) - sizeof head;
        if (record->length < sizeof *record || record->length > room || record->length % 8 != 0)
            return hf_tool_fail(tool, HF_EXIT_REFUSED, "the records behind position %" PRIu64 " do not fill their answer", *last);
        if (head.end_position > until)
            return 0;
        if (hf_audit_feed(audit, record, room, head.end_position, head.term) != 0)
            return hf_tool_fail(tool, HF_EXIT_REFUSED, "no memory for the audit's tables");
        *last = head.end_position;
        at += sizeof head + record->length;
    }
    return 0;
}

static int follow(const struct hf_tool *tool, struct hf_tool_call *call, uint64_t until, struct hf_audit *audit)
{
    uint64_t position = 0;
    while (position < until) {
        uint64_t last = position;
        int failed = ask(tool, call, HF_FOLLOW, position);
        if (!failed)
            failed = feed_answer(tool, call->answer, until, audit, &last);
        if (failed)
            return failed;
        if (last <= position && call->answer->value <= position)
            return hf_tool_fail(tool, HF_EXIT_REFUSED, "the log ends at position %" PRIu64 ", before the state's position %" PRIu64,
                                position, until);
        position = call->answer->value > last ? call->answer->value : last;
    }
    return 0;
}

static int audit_connected(const struct hf_tool *tool, struct hf_tool_call *call, struct hf_audit_acked *acked, struct hf_audit_live *out)
{
    int failed = ask(tool, call, HF_AUDIT, 0);
    if (failed)
        return failed;
    if (call->answer->length < sizeof *call->answer + sizeof out->engine)
        return hf_tool_fail(tool, HF_EXIT_REFUSED, "the engine's answer is of a form this tool does not know");
    memcpy(&out->engine, call->answer + 1, sizeof out->engine);
    out->position = call->answer->position;
    if (hf_audit_create(hf_tool_call_partitions(call), acked, &out->audit) != 0)
        return hf_tool_fail(tool, HF_EXIT_REFUSED, "no memory for the audit's tables");
    failed = follow(tool, call, out->position, out->audit);
    if (failed)
        hf_audit_destroy(out->audit);
    return failed;
}

int hf_audit_live_run(const struct hf_tool *tool, struct hf_audit_acked *acked, struct hf_audit_live *out)
{
    struct hf_tool_call call;
    int failed = hf_tool_connect(tool, &call);
    if (failed)
        return failed;
    call.deadline_ns = deadline_ns;
    failed = audit_connected(tool, &call, acked, out);
    hf_tool_call_close(&call);
    return failed;
}
