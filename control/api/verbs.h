/* One row for each method: how a request becomes a command, and an answer a message. Whatever carries requests uses these rows.
 *
 * Threads: the loop's. Memory: messages are made in the call's (hf_grpc_alloc). */
#ifndef HF_CONTROL_API_VERBS_H
#define HF_CONTROL_API_VERBS_H

#include "control/api/draft.h"
#include "control/api/exchange.h"

struct hf_control_options;

struct hf_verb {
    const char *method; /* as in the service's descriptor */
    void (*ask)(struct hf_draft *draft, const ProtobufCMessage *request);
    /* Sends the message of an answer with result OK (or NOT_APPLIED). */
    void (*answer)(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer);
    /* Instead of both: answers at once, without a command. */
    void (*act)(struct hf_grpc_call *call, const struct hf_control_options *options, const ProtobufCMessage *request);
    bool bytes; /* the command is the client's own bytes: nothing is added to it, and `answer` also gets what says no */
};

/* A service and its rows. */
struct hf_verb_table {
    const ProtobufCServiceDescriptor *descriptor;
    const struct hf_verb *verbs;
    unsigned count;
};

extern const struct hf_verb_table hf_verbs_orders, hf_verbs_catalog, hf_verbs_inventory, hf_verbs_admin;

/* Texts in the call's memory; NULL when it has none left. */
char *hf_answer_id(struct hf_grpc_call *call, struct hf_id id);
char *hf_answer_sku(struct hf_grpc_call *call, const struct hf_sku *sku);
char *hf_answer_text(struct hf_grpc_call *call, const void *bytes, size_t count);
/* `count` messages of `bytes` each, and pointers to them as a repeated field has them. */
void *hf_answer_rows(struct hf_grpc_call *call, size_t count, size_t bytes, void *pointers);
/* Its header `traceparent`. False: none; more than one of the name count as none (W3C Trace Context, 3.2.2.5). */
bool hf_call_traceparent(const struct hf_grpc_call *call, struct hf_grpc_bytes *out);
/* The call's memory is used up. */
void hf_answer_no_memory(struct hf_grpc_call *call);

/* Ends the call with the status of a result and, in the details, Holdfast's own name of it. `field` and `what` may be NULL. */
void hf_refuse_call(struct hf_grpc_call *call, uint16_t result, const char *field, const char *what);
/* The same for an answer, whose states, line or table at fault and short lines go with it. */
void hf_refuse_answer(struct hf_grpc_call *call, const struct hf_command *command, const struct hf_answer *answer);

#endif
