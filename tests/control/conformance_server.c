/*
 * The server that connectrpc's conformance suite runs against (its "Testing Servers" says how): ConformanceService on control/grpc/ alone.
 *
 * A call collects its requests and a plan (what the first request asks for), and then goes on step by step; a step that is to wait does so
 * on a thread of its own and is posted back.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/grpc/grpc.h"
#include "control/grpc/text.h"
#include "tests/control/conformance.pb-c.h"

extern const unsigned char hf_conformance_descriptors[];
extern const size_t hf_conformance_descriptors_bytes;

enum { REQUESTS_MAX = 256, HEADERS_MAX = 64, DETAILS_MAX = 16 };

struct plan {
    Conf__Header **headers, **trailers;
    size_t header_count, trailer_count, data_count;
    ProtobufCBinaryData *data, single;
    Conf__Error *error;
    uint32_t delay_ms;
};

struct exchange {
    struct hf_grpc_task task;
    struct hf_grpc_call *call;
    pthread_t thread;
    ProtobufCMessage *first; /* own copy, for its plan */
    struct plan plan;
    const char *type_url;
    Conf__AnyBytes requests[REQUESTS_MAX];
    size_t request_count, request_told; /* told: since the last response, for full duplex */
    size_t sent, allowed;
    bool streaming, full_duplex, ended, waiting, waited, over;
};

/* ---- The plan ---- */

static void plan_of_unary(struct plan *plan, const Conf__UnaryDefinition *definition)
{
    *plan = (struct plan){.data = &plan->single, .data_count = 1};
    if (!definition)
        return;
    plan->headers = definition->response_headers;
    plan->header_count = definition->n_response_headers;
    plan->trailers = definition->response_trailers;
    plan->trailer_count = definition->n_response_trailers;
    plan->delay_ms = definition->response_delay_ms;
    if (definition->response_case == CONF__UNARY_DEFINITION__RESPONSE_ERROR) {
        plan->error = definition->error;
        plan->data_count = 0;
    } else if (definition->response_case == CONF__UNARY_DEFINITION__RESPONSE_RESPONSE_DATA) {
        plan->single = definition->response_data;
    }
}

static void plan_of_stream(struct plan *plan, const Conf__StreamDefinition *definition)
{
    *plan = (struct plan){0};
    if (!definition)
        return;
    plan->headers = definition->response_headers;
    plan->header_count = definition->n_response_headers;
    plan->trailers = definition->response_trailers;
    plan->trailer_count = definition->n_response_trailers;
    plan->delay_ms = definition->response_delay_ms;
    plan->error = definition->error;
    plan->data = definition->response_data;
    plan->data_count = definition->n_response_data;
}

static void exchange_plan(struct exchange *exchange, const ProtobufCMessage *first)
{
    const Conf__BidiStreamRequest *bidi = (const void *)first;
    if (exchange->streaming) {
        plan_of_stream(&exchange->plan, ((const Conf__ServerStreamRequest *)first)->response_definition);
        exchange->full_duplex = first->descriptor == &conf__bidi_stream_request__descriptor && bidi->full_duplex;
    } else {
        plan_of_unary(&exchange->plan, ((const Conf__UnaryRequest *)first)->response_definition);
    }
}

/* ---- Metadata ---- */

static void add_fields(struct hf_grpc_call *call, Conf__Header **fields, size_t count,
                       int (*add)(struct hf_grpc_call *, const char *, const void *, size_t))
{
    for (size_t i = 0; i < count; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s", fields[i]->name);
        for (char *at = name; *at; at++)
            *at = *at >= 'A' && *at <= 'Z' ? (char)(*at + 32) : *at;
        for (size_t j = 0; j < fields[i]->n_value; j++) {
            const char *value = fields[i]->value[j];
            uint8_t bytes[1024];
            size_t length = strlen(value);
            if (hf_grpc_name_is_binary(name, strlen(name)) && length < sizeof bytes && hf_grpc_base64_decode(value, length, bytes, &length))
                add(call, name, bytes, length);
            else
                add(call, name, value, strlen(value));
        }
    }
}

static char *text_of(struct hf_grpc_call *call, struct hf_grpc_bytes bytes, bool binary)
{
    char *text = hf_grpc_alloc(call, HF_GRPC_BASE64_MAX(bytes.length) + bytes.length + 1);
    if (binary)
        hf_grpc_base64_encode(bytes.bytes, bytes.length, text);
    else if (bytes.length > 0)
        memcpy(text, bytes.bytes, bytes.length);
    return text;
}

/* Values of one name stand together. */
static void add_header(struct hf_grpc_call *call, Conf__RequestInfo *info, Conf__Header **headers, struct hf_grpc_bytes name,
                       struct hf_grpc_bytes value)
{
    Conf__Header *header = NULL;
    for (size_t i = 0; i < info->n_request_headers && !header; i++) {
        if (strlen(headers[i]->name) == name.length && memcmp(headers[i]->name, name.bytes, name.length) == 0)
            header = headers[i];
    }
    if (!header && info->n_request_headers < HEADERS_MAX) {
        header = headers[info->n_request_headers++] = hf_grpc_alloc(call, sizeof *header);
        conf__header__init(header);
        header->name = text_of(call, name, false);
        header->value = hf_grpc_alloc(call, HEADERS_MAX * sizeof *header->value);
    }
    if (header && header->n_value < HEADERS_MAX)
        header->value[header->n_value++] = text_of(call, value, hf_grpc_name_is_binary((const char *)name.bytes, name.length));
}

/* What the server saw of the request; lives as long as the call. */
static Conf__RequestInfo *request_info(struct exchange *exchange, size_t from)
{
    struct hf_grpc_call *call = exchange->call;
    Conf__RequestInfo *info = hf_grpc_alloc(call, sizeof *info);
    Conf__Header **headers = hf_grpc_alloc(call, HEADERS_MAX * sizeof(Conf__Header *));
    Conf__AnyBytes **requests = hf_grpc_alloc(call, REQUESTS_MAX * sizeof(Conf__AnyBytes *));
    struct hf_grpc_bytes name, value;
    uint64_t timeout_ns;
    conf__request_info__init(info);
    for (unsigned i = 0; hf_grpc_metadata_at(call, i, &name, &value); i++)
        add_header(call, info, headers, name, value);
    info->request_headers = headers;
    if (hf_grpc_metadata(call, "grpc-timeout", &value) && hf_grpc_timeout_ns((const char *)value.bytes, value.length, &timeout_ns)) {
        info->timeout_case = CONF__REQUEST_INFO__TIMEOUT_TIMEOUT_MS;
        info->timeout_ms = (int64_t)(timeout_ns / 1000000);
    }
    for (size_t i = from; i < exchange->request_count; i++)
        requests[info->n_requests++] = &exchange->requests[i];
    info->requests = requests;
    return info;
}

/* ---- Going on ---- */

static void exchange_go(struct exchange *exchange);

static void exchange_waited(struct hf_grpc_task *task)
{
    struct exchange *exchange = (struct exchange *)task;
    struct hf_grpc_call *call = exchange->call;
    pthread_join(exchange->thread, NULL);
    exchange->waiting = false;
    exchange->waited = true;
    if (!hf_grpc_ended(call))
        exchange_go(exchange);
    hf_grpc_drop(call);
}

static void *exchange_wait(void *argument)
{
    struct exchange *exchange = argument;
    const uint32_t ms = exchange->plan.delay_ms;
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l}, NULL);
    hf_grpc_post(exchange->call, &exchange->task);
    return NULL;
}

/* False: it waits first. */
static bool exchange_is_due(struct exchange *exchange)
{
    if (exchange->plan.delay_ms == 0 || exchange->waited) {
        exchange->waited = false;
        return true;
    }
    exchange->waiting = true;
    hf_grpc_keep(exchange->call);
    exchange->task.run = exchange_waited;
    assert(pthread_create(&exchange->thread, NULL, exchange_wait, exchange) == 0);
    return false;
}

/* False: the send queue is full. */
static bool exchange_send(struct exchange *exchange)
{
    Conf__Response response = CONF__RESPONSE__INIT;
    Conf__Payload payload = CONF__PAYLOAD__INIT;
    payload.data = exchange->plan.data[exchange->sent];
    if (exchange->sent == 0) {
        payload.request_info = request_info(exchange, 0);
    } else if (exchange->full_duplex) {
        Conf__RequestInfo *info = hf_grpc_alloc(exchange->call, sizeof *info);
        Conf__RequestInfo *all = request_info(exchange, exchange->request_told);
        conf__request_info__init(info);
        info->requests = all->requests;
        info->n_requests = all->n_requests;
        payload.request_info = info;
    }
    response.payload = &payload;
    if (hf_grpc_send(exchange->call, &response.base) == HF_GRPC_E_FULL)
        return false;
    exchange->request_told = exchange->request_count;
    exchange->sent++;
    return true;
}

static void exchange_finish(struct exchange *exchange)
{
    const struct plan *plan = &exchange->plan;
    const Conf__Error *error = plan->error;
    struct hf_grpc_detail details[DETAILS_MAX];
    struct hf_grpc_status status = {.details = details};
    exchange->over = true;
    add_fields(exchange->call, plan->trailers, plan->trailer_count, hf_grpc_add_trailer);
    if (error) {
        status.code = (enum hf_grpc_code)error->code;
        status.message = error->message;
        for (size_t i = 0; i < error->n_details && i + 1 < DETAILS_MAX; i++)
            details[status.detail_count++] = (struct hf_grpc_detail){error->details[i]->type_url,
                                                                     {error->details[i]->value.data, error->details[i]->value.len}};
        if (exchange->sent == 0) {
            const Conf__RequestInfo *info = request_info(exchange, 0);
            size_t bytes = protobuf_c_message_get_packed_size(&info->base);
            uint8_t *packed = hf_grpc_alloc(exchange->call, bytes);
            protobuf_c_message_pack(&info->base, packed);
            details[status.detail_count++] = (struct hf_grpc_detail){
                "type.googleapis.com/connectrpc.conformance.v1.ConformancePayload.RequestInfo", {packed, bytes}};
        }
    }
    hf_grpc_finish_status(exchange->call, &status);
}

static void exchange_go(struct exchange *exchange)
{
    while (!exchange->waiting && exchange->sent < exchange->allowed && exchange->sent < exchange->plan.data_count) {
        if (!exchange_is_due(exchange))
            return;
        if (!exchange_send(exchange)) {
            exchange->waited = true;
            return;
        }
    }
    if (exchange->waiting || exchange->over)
        return;
    bool nothing_left = exchange->full_duplex && exchange->allowed > exchange->plan.data_count && exchange->plan.error;
    if (!exchange->ended && !nothing_left) {
        hf_grpc_resume(exchange->call);
        return;
    }
    /* An error that is the whole answer waits like an answer. */
    if (!exchange->streaming && exchange->plan.error && !exchange_is_due(exchange))
        return;
    exchange_finish(exchange);
}

/* ---- Callbacks ---- */

static void exchange_start(struct hf_grpc_call *call, void *context)
{
    struct exchange *exchange = hf_grpc_alloc(call, sizeof *exchange);
    const char *method = strrchr(hf_grpc_path(call), '/') + 1;
    static const struct {
        const char *method, *type_url;
    } types[] = {
        {"Unary", "type.googleapis.com/connectrpc.conformance.v1.UnaryRequest"},
        {"IdempotentUnary", "type.googleapis.com/connectrpc.conformance.v1.IdempotentUnaryRequest"},
        {"ServerStream", "type.googleapis.com/connectrpc.conformance.v1.ServerStreamRequest"},
        {"ClientStream", "type.googleapis.com/connectrpc.conformance.v1.ClientStreamRequest"},
        {"BidiStream", "type.googleapis.com/connectrpc.conformance.v1.BidiStreamRequest"},
    };
    (void)context;
    exchange->call = call;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(types[i].method, method) == 0)
            exchange->type_url = types[i].type_url;
    }
    exchange->streaming = strcmp(method, "ServerStream") == 0 || strcmp(method, "BidiStream") == 0;
    if (!exchange->streaming)
        plan_of_unary(&exchange->plan, NULL);
    hf_grpc_set_user(call, exchange);
}

static void exchange_message(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct exchange *exchange = hf_grpc_user(call);
    size_t bytes = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = hf_grpc_alloc(call, bytes + 1);
    (void)context;
    protobuf_c_message_pack(message, packed);
    if (exchange->request_count == REQUESTS_MAX)
        return;
    Conf__AnyBytes *request = &exchange->requests[exchange->request_count++];
    conf__any_bytes__init(request);
    request->type_url = (char *)(uintptr_t)exchange->type_url;
    request->value = (ProtobufCBinaryData){bytes, packed};
    if (exchange->request_count == 1) {
        exchange->first = protobuf_c_message_unpack(message->descriptor, NULL, bytes, packed);
        exchange_plan(exchange, exchange->first);
        add_fields(call, exchange->plan.headers, exchange->plan.header_count, hf_grpc_add_header);
        if (exchange->streaming)
            hf_grpc_send_headers(call);
    }
    if (exchange->full_duplex) {
        exchange->allowed++;
        hf_grpc_pause(call);
        exchange_go(exchange);
    }
}

static void exchange_half_close(struct hf_grpc_call *call, void *context)
{
    struct exchange *exchange = hf_grpc_user(call);
    (void)context;
    exchange->ended = true;
    exchange->allowed = SIZE_MAX;
    exchange_go(exchange);
}

static void exchange_writable(struct hf_grpc_call *call, void *context)
{
    (void)context;
    exchange_go(hf_grpc_user(call));
}

static void exchange_done(struct hf_grpc_call *call, enum hf_grpc_code code, void *context)
{
    struct exchange *exchange = hf_grpc_user(call);
    (void)code;
    (void)context;
    /* A waiting thread reads the plan's delay only, which stays. */
    if (exchange->first)
        protobuf_c_message_free_unpacked(exchange->first, NULL);
    exchange->first = NULL;
}

/* ---- The program ---- */

static ProtobufCMessage *read_framed(const ProtobufCMessageDescriptor *type)
{
    uint32_t length;
    uint8_t bytes[65536];
    if (fread(&length, sizeof length, 1, stdin) != 1 || ntohl(length) > sizeof bytes ||
        fread(bytes, 1, ntohl(length), stdin) != ntohl(length))
        return NULL;
    return protobuf_c_message_unpack(type, NULL, ntohl(length), bytes);
}

static void write_framed(const ProtobufCMessage *message)
{
    uint8_t bytes[4096];
    uint32_t length = htonl((uint32_t)protobuf_c_message_pack(message, bytes));
    fwrite(&length, sizeof length, 1, stdout);
    fwrite(bytes, 1, ntohl(length), stdout);
    fflush(stdout);
}

#define EXCHANGE                                                                                                            \
    .start = exchange_start, .message = exchange_message, .half_close = exchange_half_close, .writable = exchange_writable, \
    .done = exchange_done

static const struct hf_grpc_method METHODS[] = {
    {.name = "Unary", EXCHANGE},        {.name = "IdempotentUnary", EXCHANGE}, {.name = "ServerStream", EXCHANGE},
    {.name = "ClientStream", EXCHANGE}, {.name = "BidiStream", EXCHANGE},
};

static const struct hf_grpc_service SERVICE = {.descriptor = &conf__conformance_service__descriptor,
                                               .name = "connectrpc.conformance.v1.ConformanceService",
                                               .methods = METHODS,
                                               .method_count = sizeof METHODS / sizeof METHODS[0]};

int main(void)
{
    static const char *const listen[] = {"tcp://127.0.0.1:0"};
    Conf__ServerResponse response = CONF__SERVER_RESPONSE__INIT;
    Conf__ServerRequest *request = (void *)read_framed(&conf__server_request__descriptor);
    struct hf_grpc_server *server;
    sigset_t ending;
    int signal_number;
    if (!request)
        return 2;
    /* The suite closes our input at once and ends us by a signal. Blocked before there are threads, it comes to sigwait. */
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ending, NULL);
    struct hf_grpc_options options = {.listen = listen, .listen_count = 1, .message_max_bytes = request->message_receive_limit};
    protobuf_c_message_free_unpacked(&request->base, NULL);
    if (hf_grpc_server_create(&options, &server))
        return 1;
    if (hf_grpc_server_add_descriptors(server, hf_conformance_descriptors, hf_conformance_descriptors_bytes) ||
        hf_grpc_server_add_service(server, &SERVICE) || hf_grpc_server_start(server)) {
        hf_grpc_server_destroy(server);
        return 1;
    }
    response.host = (char *)(uintptr_t) "127.0.0.1";
    response.port = hf_grpc_server_port(server, 0);
    write_framed(&response.base);
    sigwait(&ending, &signal_number);
    hf_grpc_server_stop(server);
    hf_grpc_server_destroy(server);
    return 0;
}
