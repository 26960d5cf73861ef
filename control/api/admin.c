/* The service Admin. */
#include "control/api/verbs.h"

#include "holdfast/v1/admin.pb-c.h"

#include <inttypes.h>
#include <stdio.h>

static void hf_ask_status(struct hf_draft *draft, const ProtobufCMessage *message)
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

static const struct hf_verb hf_admin_rows[] = {
    {"Status", hf_ask_status, hf_answer_status},
    {"Digest", hf_ask_digest, hf_answer_digest},
    {"Audit", hf_ask_audit, hf_answer_audit},
};

const struct hf_verb_table hf_verbs_admin = {&holdfast__v1__admin__descriptor, hf_admin_rows,
                                             sizeof hf_admin_rows / sizeof hf_admin_rows[0]};
