/*
 * Plain HTTP beside gRPC: requests whose content type is not gRPC's go to one handler, whatever HTTP version carried them.
 *
 * Threads and memory: as for calls (grpc.h): callbacks run on the loop, a request lives until `done` has returned.
 * An answer is either hf_http_reply, or hf_http_begin_answer, any number of hf_http_write, hf_http_end.
 */
#ifndef HF_CONTROL_GRPC_HTTP_H
#define HF_CONTROL_GRPC_HTTP_H

#include "control/grpc/grpc.h"

struct hf_http_request;

struct hf_http_handler {
    void (*head)(struct hf_http_request *request, void *context);                                     /* the head is whole */
    void (*body)(struct hf_http_request *request, const uint8_t *bytes, size_t count, void *context); /* a part of the body */
    void (*end)(struct hf_http_request *request, void *context);                                      /* the request is whole */
    void (*writable)(struct hf_http_request *request, void *context);                                 /* after HF_GRPC_E_FULL */
    void (*done)(struct hf_http_request *request, void *context);                                     /* last; answered or not */
    void *context;
};

struct hf_grpc_bytes hf_http_method(const struct hf_http_request *request);
struct hf_grpc_bytes hf_http_target(const struct hf_http_request *request);    /* path and query as sent */
struct hf_grpc_bytes hf_http_authority(const struct hf_http_request *request); /* :authority, else the host field */
/* A field by its lower-case name; false: the request has none. */
bool hf_http_field(const struct hf_http_request *request, const char *name, struct hf_grpc_bytes *value);
/* Adds to a counter of what the handler judges (HF_GRPC_HTTP_...). */
void hf_http_count(const struct hf_http_request *request, enum hf_grpc_counter counter);
const struct hf_grpc_peer *hf_http_peer(const struct hf_http_request *request);

struct hf_http_field {
    const char *name, *value; /* lower case; copied */
};

/* A whole answer; to HEAD its body is left out. `content_type` may be NULL when there is none. HF_GRPC_E_ENDED, HF_GRPC_E_MEMORY. */
int hf_http_reply(struct hf_http_request *request, unsigned status, const char *content_type, const void *body, size_t body_bytes);
enum { HF_HTTP_FIELDS_MAX = 16 };

/* The same with up to HF_HTTP_FIELDS_MAX fields; content-length is added. */
int hf_http_reply_fields(struct hf_http_request *request, unsigned status, const struct hf_http_field *fields, unsigned field_count,
                         const void *body, size_t body_bytes);
int hf_http_begin_answer(struct hf_http_request *request, unsigned status, const struct hf_http_field *fields, unsigned field_count);
/* HF_GRPC_E_FULL: not taken, `writable` will be called. */
int hf_http_write(struct hf_http_request *request, const void *bytes, size_t count);
void hf_http_end(struct hf_http_request *request);
/* Ends with last words, for which there is room whatever is queued; without memory they are left out. */
void hf_http_end_with(struct hf_http_request *request, const void *bytes, size_t count);
/* Gives the request up: the client sees a broken stream. */
void hf_http_abort(struct hf_http_request *request);
bool hf_http_ended(const struct hf_http_request *request);

/* ---- A gRPC method behind an HTTP request ---- */

/* Who takes what a method answers, instead of gRPC's own frames. */
struct hf_http_taker {
    /* One message, which lives until this returns. HF_GRPC_E_FULL: not taken, the method is told when there is room. */
    int (*message)(struct hf_http_request *request, const ProtobufCMessage *message, void *context);
    /* Once, last. */
    void (*finish)(struct hf_http_request *request, const struct hf_grpc_status *status, void *context);
};

/*
 * Runs a method of the server's services as a call with this request message: its handler sees the request's fields as metadata, and its
 * call ends with the request. `message` must live as long as the request. HF_GRPC_E_USAGE: no such method, or it takes a stream of
 * messages.
 */
int hf_http_call(struct hf_http_request *request, const char *path, const ProtobufCMessage *message, const struct hf_http_taker *taker,
                 void *context);

/* As hf_grpc_alloc, set_user and user. */
void *hf_http_alloc(struct hf_http_request *request, size_t bytes);
void hf_http_set_user(struct hf_http_request *request, void *user);
void *hf_http_user(const struct hf_http_request *request);

#endif
