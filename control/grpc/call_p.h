/* A gRPC call: what its two halves share (call.c: the request and its life; answer.c: the response). */
#ifndef HF_CONTROL_GRPC_CALL_P_H
#define HF_CONTROL_GRPC_CALL_P_H

#include "control/grpc/message_p.h"
#include "control/grpc/server_p.h"
#include "control/grpc/stream_p.h"

struct hf_grpc_call {
    struct hf_grpc_stream *stream;
    const struct hf_grpc_route *route;
    void *user;
    struct hf_grpc_timer deadline;
    uint64_t begun_ns, messages_in, messages_out;

    /* request */
    struct hf_grpc_reader reader;
    struct hf_grpc_arena message_arena; /* of a streamed message */
    struct hf_grpc_buffer held;         /* came while paused */
    ProtobufCMessage *single;
    bool gzip_request, paused, feeding, end_held;

    /* response */
    struct hf_grpc_fields headers;
    bool accepts_gzip, gzip_response, finished;

    /* not gRPC's frames: who takes the answer (http.c) */
    const struct hf_http_taker *taker;
    struct hf_http_request *request;
    void *taker_context;

    bool accepted /* the application knows of it */, over /* done was called */;
    enum hf_grpc_code code;
};

/* http.c's: a call on its stream. NULL: out of memory. What it hears of the stream goes to the next three. */
struct hf_grpc_call *hf_grpc_call_borrow(struct hf_grpc_stream *stream, const struct hf_grpc_route *route);
void hf_grpc_call_run(struct hf_grpc_call *call, const ProtobufCMessage *message);
void hf_grpc_call_room(struct hf_grpc_call *call);
void hf_grpc_call_closed(struct hf_grpc_call *call);
/* The call is over for the application. */
void hf_grpc_call_over(struct hf_grpc_call *call, enum hf_grpc_code code);

#endif
