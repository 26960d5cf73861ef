/* What the parts of REST share. Threads: the loop's, but for what create and attach fill in. */
#ifndef HF_CONTROL_REST_REST_P_H
#define HF_CONTROL_REST_REST_P_H

#include "control/rest/json.h"
#include "control/rest/rest.h"
#include "control/rest/routes.h"

enum { HF_REST_LISTEN_MAX = 16, HF_REST_FIELD_BYTES = 192 };

/* A route and its method's messages. */
struct hf_rest_method {
    const ProtobufCMessageDescriptor *input, *output;
};

struct hf_rest {
    struct hf_rest_options options;
    struct hf_http_handler handler;
    struct hf_grpc_server *server;
    struct hf_rest_method *methods; /* as hf_rest_routes */
    struct hf_json_text document;   /* OpenAPI */
};

/* A request that is being read, run or answered; in its memory. */
struct hf_rest_exchange {
    struct hf_rest *rest;
    struct hf_http_request *request;
    const struct hf_rest_route *route; /* NULL: none, or a page */
    const struct hf_rest_method *method;
    const struct hf_rest_page *page; /* NULL: none */
    struct hf_grpc_bytes path, query;
    struct hf_rest_parameter parameters[HF_REST_PARAMETERS_MAX];
    unsigned parameter_count;
    unsigned refused; /* status found with the head; 0: none */
    const char *refused_name, *refused_what;
    char allow[48];
    uint8_t *body;
    size_t body_bytes, body_room;
    bool answered, matched /* If-Match was given */;

    ProtobufCMessage *message;
    struct hf_json_text answer; /* of a method; free() */
    unsigned answer_status;
    char tag[32], link[HF_REST_FIELD_BYTES], location[HF_REST_FIELD_BYTES];
    bool streaming;
};

/* ---- rest.c ---- */

/* A whole answer with the fields that every answer has, and those of `more`. */
void hf_rest_reply(struct hf_rest_exchange *exchange, unsigned status, const char *type, const struct hf_http_field *more,
                   unsigned more_count, const void *body, size_t bytes);
/* As hf_http_alloc, for the reader of JSON. */
void *hf_rest_take(void *request, size_t bytes);

/* ---- problem.c: RFC 9457 ---- */

/* A refusal that no method made: `name` as in the table of docs/api.md, `field` may be NULL. */
void hf_rest_refuse(struct hf_rest_exchange *exchange, unsigned status, const char *name, const char *what, const char *field);
/* A method's status. */
void hf_rest_refuse_status(struct hf_rest_exchange *exchange, const struct hf_grpc_status *status);

/* ---- request.c: what a request says ---- */

/* The message of a request: its body, then its path, its query and its fields. False: it was refused. */
bool hf_rest_read(struct hf_rest_exchange *exchange);
/* Whether the host and the origin, if any, are this server's; refuses in `refused`. `unnamed`: the request may have no host, as HTTP/1.0.
 */
void hf_rest_judge_origin(struct hf_rest_exchange *exchange, bool unnamed);
/* The query as sent, with an & behind each parameter, but for those that are the field, in whichever spelling. False: no room for it. */
bool hf_rest_query_without(const struct hf_rest_exchange *exchange, const char *field, char *out, size_t room);
/* Whether If-None-Match has the tag: any of a list, compared weakly, or `*` (RFC 9110, 13.1.2). */
bool hf_rest_tag_known(struct hf_grpc_bytes list, const char *tag);

/* ---- events.c: server-sent events ---- */

/* One message of a followed stream. As hf_http_write. */
int hf_rest_stream(struct hf_rest_exchange *exchange, const ProtobufCMessage *message);
/* The stream is over. */
void hf_rest_stream_end(struct hf_rest_exchange *exchange, const struct hf_grpc_status *status);

/* ---- openapi.c ---- */

/* Writes rest->document. 0 or HF_GRPC_E_MEMORY. */
int hf_rest_openapi(struct hf_rest *rest);

#endif
