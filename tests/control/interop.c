/* grpc.testing.TestService. */
#include "tests/control/interop.h"

#include <string.h>

#include "tests/control/test.pb-c.h"

extern const unsigned char hf_interop_descriptors[];
extern const size_t hf_interop_descriptors_bytes;

enum { INTEROP_PAYLOAD_MAX = 4 << 20 };

static uint8_t interop_zeros[INTEROP_PAYLOAD_MAX];

static void interop_echo_metadata(struct hf_grpc_call *call)
{
    struct hf_grpc_bytes value;
    if (hf_grpc_metadata(call, "x-grpc-test-echo-initial", &value))
        hf_grpc_add_header(call, "x-grpc-test-echo-initial", value.bytes, value.length);
    if (hf_grpc_metadata(call, "x-grpc-test-echo-trailing-bin", &value))
        hf_grpc_add_trailer(call, "x-grpc-test-echo-trailing-bin", value.bytes, value.length);
}

static void interop_payload(Grpc__Testing__Payload *payload, int32_t size)
{
    grpc__testing__payload__init(payload);
    payload->body = (ProtobufCBinaryData){size < 0 || size > INTEROP_PAYLOAD_MAX ? 0 : (size_t)size, interop_zeros};
}

static bool interop_status(struct hf_grpc_call *call, const Grpc__Testing__EchoStatus *status)
{
    if (!status)
        return false;
    hf_grpc_finish(call, (enum hf_grpc_code)status->code, status->message);
    return true;
}

static void interop_empty(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    (void)context;
    hf_grpc_answer(call, message);
}

static void interop_unary(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Grpc__Testing__SimpleRequest *request = (const void *)message;
    Grpc__Testing__SimpleResponse response = GRPC__TESTING__SIMPLE_RESPONSE__INIT;
    Grpc__Testing__Payload payload;
    (void)context;
    interop_echo_metadata(call);
    if (interop_status(call, request->response_status))
        return;
    if (request->response_compressed && request->response_compressed->value)
        hf_grpc_compress(call, true);
    interop_payload(&payload, request->response_size);
    response.payload = &payload;
    hf_grpc_answer(call, &response.base);
}

static void interop_input_start(struct hf_grpc_call *call, void *context)
{
    Grpc__Testing__StreamingInputCallResponse *sum = hf_grpc_alloc(call, sizeof *sum);
    (void)context;
    grpc__testing__streaming_input_call_response__init(sum);
    hf_grpc_set_user(call, sum);
}

static void interop_input(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Grpc__Testing__StreamingInputCallRequest *request = (const void *)message;
    Grpc__Testing__StreamingInputCallResponse *sum = hf_grpc_user(call);
    (void)context;
    if (request->payload)
        sum->aggregated_payload_size += (int32_t)request->payload->body.len;
}

static void interop_input_end(struct hf_grpc_call *call, void *context)
{
    const Grpc__Testing__StreamingInputCallResponse *sum = hf_grpc_user(call);
    (void)context;
    hf_grpc_answer(call, &sum->base);
}

static void interop_output(struct hf_grpc_call *call, const Grpc__Testing__StreamingOutputCallRequest *request)
{
    Grpc__Testing__StreamingOutputCallResponse response = GRPC__TESTING__STREAMING_OUTPUT_CALL_RESPONSE__INIT;
    Grpc__Testing__Payload payload;
    response.payload = &payload;
    for (size_t i = 0; i < request->n_response_parameters; i++) {
        interop_payload(&payload, request->response_parameters[i]->size);
        if (hf_grpc_send(call, &response.base)) {
            hf_grpc_finish(call, HF_GRPC_RESOURCE_EXHAUSTED, "the client reads too slowly");
            return;
        }
    }
}

static void interop_stream_out(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    (void)context;
    interop_echo_metadata(call);
    interop_output(call, (const void *)message);
    hf_grpc_finish(call, HF_GRPC_OK, NULL);
}

static void interop_duplex_start(struct hf_grpc_call *call, void *context)
{
    (void)context;
    interop_echo_metadata(call);
}

static void interop_duplex(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Grpc__Testing__StreamingOutputCallRequest *request = (const void *)message;
    (void)context;
    if (interop_status(call, request->response_status))
        return;
    interop_output(call, request);
    hf_grpc_pause_while_full(call);
}

static void interop_duplex_end(struct hf_grpc_call *call, void *context)
{
    (void)context;
    hf_grpc_finish(call, HF_GRPC_OK, NULL);
}

static const struct hf_grpc_method INTEROP_METHODS[] = {
    {.name = "EmptyCall", .message = interop_empty},
    {.name = "UnaryCall", .message = interop_unary},
    {.name = "CacheableUnaryCall", .message = interop_unary},
    {.name = "StreamingInputCall", .start = interop_input_start, .message = interop_input, .half_close = interop_input_end},
    {.name = "StreamingOutputCall", .message = interop_stream_out},
    {.name = "FullDuplexCall",
     .start = interop_duplex_start,
     .message = interop_duplex,
     .half_close = interop_duplex_end,
     .writable = hf_grpc_resume_writable},
};

int interop_add(struct hf_grpc_server *server)
{
    static const struct hf_grpc_service service = {
        .descriptor = &grpc__testing__test_service__descriptor,
        .methods = INTEROP_METHODS,
        .method_count = sizeof INTEROP_METHODS / sizeof INTEROP_METHODS[0],
    };
    int failed = hf_grpc_server_add_descriptors(server, hf_interop_descriptors, hf_interop_descriptors_bytes);
    return failed ? failed : hf_grpc_server_add_service(server, &service);
}
