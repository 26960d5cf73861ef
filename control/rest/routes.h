/* The table of routes: which request runs which method. Everything else about it (the OpenAPI document, what is allowed where) is made from
 * it.
 *
 * Threads: constant. */
#ifndef HF_CONTROL_REST_ROUTES_H
#define HF_CONTROL_REST_ROUTES_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "control/grpc/grpc.h"

enum hf_rest_kind {
    HF_REST_READ,
    HF_REST_WRITE,
    HF_REST_CREATE, /* a write that answers 201 */
    HF_REST_FOLLOW, /* server-sent events */
};

struct hf_rest_route {
    enum hf_rest_kind kind;
    const char *verb;     /* of HTTP */
    const char *path;     /* {name} is a field of the request message */
    const char *method;   /* "/package.Service/Method" */
    const char *summary;  /* one sentence */
    const char *example;  /* of the body; of the parameters where there is none */
    const char *tag;      /* a number of the answer that is its ETag; NULL: none */
    const char *match;    /* a message of the request that If-Match fills: its field and the number within; NULL: none */
    const char *location; /* of what a CREATE made: its path, to which the answer's `id` is added */
    /* Where the answer has more: the number to ask for next, as `page` of the request. */
    const char *page;
    bool (*next)(const ProtobufCMessage *request, const ProtobufCMessage *answer, uint64_t *out);
};

extern const struct hf_rest_route hf_rest_routes[];
extern const unsigned hf_rest_route_count;

/* Messages that a refusal carries beside google.rpc's own. */
extern const ProtobufCMessageDescriptor *const hf_rest_details[];
extern const unsigned hf_rest_detail_count;

enum { HF_REST_PARAMETERS_MAX = 4 };

struct hf_rest_parameter {
    struct hf_grpc_bytes name, value; /* the value as sent, percent-encoded */
};

/* Whether a path (without a query) is this pattern; parameters in its order, `*count` of them. */
bool hf_rest_path_is(const char *pattern, struct hf_grpc_bytes path, struct hf_rest_parameter *out, unsigned *count);

#endif
