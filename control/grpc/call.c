/* A gRPC call: its request, its deadline, its end. */
#include <string.h>

#include "control/grpc/call_p.h"
#include "control/grpc/text.h"

/* ---- Life ---- */

void hf_grpc_post(struct hf_grpc_call *call, struct hf_grpc_task *task)
{
    hf_grpc_loop_post(call->stream->worker->loop, task);
}

void hf_grpc_keep(struct hf_grpc_call *call)
{
    hf_grpc_stream_keep(call->stream);
}

void hf_grpc_drop(struct hf_grpc_call *call)
{
    hf_grpc_stream_drop(call->stream);
}

void *hf_grpc_alloc(struct hf_grpc_call *call, size_t bytes)
{
    void *memory = hf_grpc_arena_take(&call->stream->arena, bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

void hf_grpc_set_user(struct hf_grpc_call *call, void *user)
{
    call->user = user;
}

void *hf_grpc_user(const struct hf_grpc_call *call)
{
    return call->user;
}

const char *hf_grpc_path(const struct hf_grpc_call *call)
{
    return call->route ? call->route->path : (const char *)call->stream->path.bytes;
}

const struct hf_grpc_peer *hf_grpc_peer(const struct hf_grpc_call *call)
{
    return &call->stream->peer;
}

uint64_t hf_grpc_deadline_ns(const struct hf_grpc_call *call)
{
    return call->deadline.due_ns;
}

bool hf_grpc_ended(const struct hf_grpc_call *call)
{
    return call->over || !call->stream->connection;
}

struct hf_grpc_loop *hf_grpc_call_loop(const struct hf_grpc_call *call)
{
    return call->stream->worker->loop;
}

unsigned hf_grpc_loop_index(const struct hf_grpc_call *call)
{
    return call->stream->worker->index;
}

static void hf_grpc_call_report(struct hf_grpc_call *call, enum hf_grpc_code code)
{
    struct hf_grpc_worker *worker = call->stream->worker;
    const struct hf_grpc_options *options = &worker->server->options;
    hf_bump_relaxed_u64(&worker->ended[code], 1);
    if (!options->call_done)
        return;
    const struct hf_grpc_call_report report = {
        .service = call->route ? call->route->service_name : "?",
        .method = call->route ? call->route->method_name : "?",
        .code = code,
        .duration_ns = hf_grpc_loop_now_ns(worker->loop) - call->begun_ns,
        .messages_in = call->messages_in,
        .messages_out = call->messages_out,
        .peer = &call->stream->peer,
    };
    options->call_done(options->context, &report);
}

void hf_grpc_call_over(struct hf_grpc_call *call, enum hf_grpc_code code)
{
    if (call->over)
        return;
    call->over = true;
    call->stream->worker->call_count--;
    hf_grpc_loop_clear_timer(call->stream->worker->loop, &call->deadline);
    hf_grpc_call_report(call, code);
    const struct hf_grpc_method *method = call->accepted ? call->route->method : NULL;
    if (method && method->done)
        method->done(call, code, call->route->service->context);
}

void hf_grpc_call_closed(struct hf_grpc_call *call)
{
    struct hf_grpc_stream *stream = call->stream;
    hf_grpc_call_over(call, call->finished && stream->response_ended ? call->code : HF_GRPC_CANCELLED);
    hf_grpc_reader_next(&call->reader, stream->worker);
    hf_grpc_buffer_clear(&stream->worker->memory, &call->held);
}

static void hf_grpc_on_closed(struct hf_grpc_stream *stream)
{
    hf_grpc_call_closed(stream->speaking);
}

static void hf_grpc_on_deleted(struct hf_grpc_stream *stream)
{
    struct hf_grpc_call *call = stream->speaking;
    hf_grpc_arena_clear(&call->message_arena);
}

/* Ends a call for what the server found; the application, if it knows the call, hears `done`. */
static void hf_grpc_call_fail(struct hf_grpc_call *call, enum hf_grpc_code code, const char *message)
{
    if (call->over || call->finished)
        return;
    hf_grpc_stream_drop_queue(call->stream);
    hf_grpc_finish(call, code, message);
    hf_grpc_call_over(call, code);
}

static void hf_grpc_call_fail_memory(struct hf_grpc_call *call)
{
    hf_grpc_count(call->stream->worker, HF_GRPC_MEMORY_FULL);
    hf_grpc_call_fail(call, HF_GRPC_RESOURCE_EXHAUSTED, "the server's memory for requests is used up");
}

static void hf_grpc_call_deadline(struct hf_grpc_timer *timer)
{
    struct hf_grpc_call *call = (struct hf_grpc_call *)((uint8_t *)timer - offsetof(struct hf_grpc_call, deadline));
    hf_grpc_call_fail(call, HF_GRPC_DEADLINE_EXCEEDED, "the deadline came first");
}

/* ---- Metadata ---- */

static bool hf_grpc_metadata_value(const struct hf_grpc_call *call, const struct hf_grpc_field *field, struct hf_grpc_bytes *out)
{
    size_t length;
    if (!hf_grpc_name_is_binary((const char *)field->name.bytes, field->name.length)) {
        *out = field->value;
        return true;
    }
    uint8_t *bytes = hf_grpc_arena_take(&call->stream->arena, HF_GRPC_UNBASE64_MAX(field->value.length));
    if (!bytes || !hf_grpc_base64_decode((const char *)field->value.bytes, field->value.length, bytes, &length))
        return false;
    *out = (struct hf_grpc_bytes){bytes, length};
    return true;
}

bool hf_grpc_metadata(const struct hf_grpc_call *call, const char *name, struct hf_grpc_bytes *out)
{
    const struct hf_grpc_field *field = hf_grpc_stream_find(call->stream, name);
    return field && hf_grpc_metadata_value(call, field, out);
}

bool hf_grpc_metadata_at(const struct hf_grpc_call *call, unsigned index, struct hf_grpc_bytes *name, struct hf_grpc_bytes *value)
{
    const struct hf_grpc_field *field = call->stream->fields.first;
    while (field && index-- > 0)
        field = field->next;
    if (!field)
        return false;
    *name = field->name;
    if (!hf_grpc_metadata_value(call, field, value))
        *value = field->value;
    return true;
}

/* ---- Messages of the request ---- */

static ProtobufCMessage *hf_grpc_call_unpack(struct hf_grpc_call *call, struct hf_grpc_arena *arena, struct hf_grpc_bytes packed)
{
    ProtobufCAllocator allocator = hf_grpc_arena_allocator(arena);
    static const uint8_t nothing[1];
    const struct hf_grpc_memory *memory = arena->memory;
    switch (hf_grpc_packed_check(call->route->input, packed)) {
    case HF_GRPC_PACKED_DEEP:
        hf_grpc_count(call->stream->worker, HF_GRPC_MESSAGES_TOO_DEEP);
        hf_grpc_call_fail(call, HF_GRPC_RESOURCE_EXHAUSTED, "the request message is nested too deeply");
        return NULL;
    case HF_GRPC_PACKED_TEXT:
        hf_grpc_call_fail(call, HF_GRPC_INVALID_ARGUMENT, "a string of the request message is not UTF-8, or holds a NUL byte");
        return NULL;
    default:
        break;
    }
    ProtobufCMessage *message = protobuf_c_message_unpack(call->route->input, &allocator, packed.length,
                                                          packed.bytes ? packed.bytes : nothing);
    if (message)
        return message;
    /* The only other cause of failure is malformed input; protobuf-c does not say which. */
    if (hf_grpc_memory_bulk_left(memory) < packed.length + HF_GRPC_SCRATCH_BYTES)
        hf_grpc_call_fail_memory(call);
    else
        hf_grpc_call_fail(call, HF_GRPC_INTERNAL, "the request message cannot be unpacked");
    return NULL;
}

/* False: the call failed. */
static bool hf_grpc_call_decompress(struct hf_grpc_call *call, struct hf_grpc_bytes *message)
{
    if (!call->gzip_request) {
        hf_grpc_call_fail(call, HF_GRPC_INTERNAL, "a message is marked compressed, but no grpc-encoding was given");
        return false;
    }
    switch (hf_grpc_gunzip(call->stream->worker, *message, message)) {
    case 0:
        return true;
    case HF_GRPC_E_FULL:
        hf_grpc_count(call->stream->worker, HF_GRPC_MESSAGES_TOO_LARGE);
        hf_grpc_call_fail(call, HF_GRPC_RESOURCE_EXHAUSTED, "the request message is larger than allowed when decompressed");
        return false;
    case HF_GRPC_E_MEMORY:
        hf_grpc_call_fail_memory(call);
        return false;
    default:
        hf_grpc_call_fail(call, HF_GRPC_INTERNAL, "a compressed message cannot be decompressed");
        return false;
    }
}

static void hf_grpc_call_message(struct hf_grpc_call *call, struct hf_grpc_bytes packed, bool compressed)
{
    const struct hf_grpc_route *route = call->route;
    call->messages_in++;
    hf_grpc_count(call->stream->worker, HF_GRPC_MESSAGES_IN);
    if (compressed && !hf_grpc_call_decompress(call, &packed))
        return;
    if (!route->client_streaming) {
        if (call->single)
            hf_grpc_call_fail(call, HF_GRPC_UNIMPLEMENTED, "more than one request message for a method that takes one");
        else
            call->single = hf_grpc_call_unpack(call, &call->stream->arena, packed);
        return;
    }
    hf_grpc_arena_clear(&call->message_arena);
    ProtobufCMessage *message = hf_grpc_call_unpack(call, &call->message_arena, packed);
    if (message && route->method->message)
        route->method->message(call, message, route->service->context);
}

/* False: the call failed, or is paused with `*bytes` left. */
static bool hf_grpc_call_feed_one(struct hf_grpc_call *call, const uint8_t **bytes, size_t *count)
{
    struct hf_grpc_worker *worker = call->stream->worker;
    struct hf_grpc_bytes message;
    bool compressed;
    switch (hf_grpc_reader_read(&call->reader, worker, bytes, count, &message, &compressed)) {
    case HF_GRPC_READ_MORE:
        return false;
    case HF_GRPC_READ_MESSAGE:
        hf_grpc_call_message(call, message, compressed);
        hf_grpc_reader_next(&call->reader, worker);
        return true;
    case HF_GRPC_READ_TOO_LARGE:
        hf_grpc_count(worker, HF_GRPC_MESSAGES_TOO_LARGE);
        hf_grpc_call_fail(call, HF_GRPC_RESOURCE_EXHAUSTED, "the request message is larger than allowed");
        return false;
    case HF_GRPC_READ_BAD_FLAG:
        hf_grpc_call_fail(call, HF_GRPC_INTERNAL, "the flag of a message is neither 0 nor 1");
        return false;
    default:
        hf_grpc_call_fail_memory(call);
        return false;
    }
}

/* The time of a message runs from its first byte, however slowly the others drip in; a paused call has none. */
static void hf_grpc_call_time_message(struct hf_grpc_call *call, bool all_taken, bool another)
{
    struct hf_grpc_stream *stream = call->stream;
    if (!hf_grpc_reader_is_within(&call->reader) || !all_taken)
        stream->receiving_since_ns = 0;
    else if (another || !stream->receiving_since_ns)
        stream->receiving_since_ns = hf_grpc_loop_now_ns(stream->worker->loop);
}

/* Returns how many bytes were taken: all, unless a handler paused. */
static size_t hf_grpc_call_feed(struct hf_grpc_call *call, const uint8_t *bytes, size_t count)
{
    size_t left = count;
    uint64_t before = call->messages_in;
    call->feeding = true;
    while (!call->over && !call->finished && !call->paused && left > 0 && hf_grpc_call_feed_one(call, &bytes, &left)) {
    }
    call->feeding = false;
    if (call->over || call->finished)
        left = 0;
    if (call->route->client_streaming)
        hf_grpc_call_time_message(call, left == 0, call->messages_in != before);
    return count - left;
}

static void hf_grpc_call_end(struct hf_grpc_call *call)
{
    const struct hf_grpc_route *route = call->route;
    call->stream->receiving_since_ns = 0;
    if (call->over || call->finished)
        return;
    if (hf_grpc_reader_is_within(&call->reader)) {
        hf_grpc_call_fail(call, HF_GRPC_INTERNAL, "the request ended within a message");
        return;
    }
    if (!route->client_streaming) {
        if (!call->single) {
            hf_grpc_call_fail(call, HF_GRPC_UNIMPLEMENTED, "no request message for a method that takes one");
            return;
        }
        if (route->method->message)
            route->method->message(call, call->single, route->service->context);
    }
    if (route->method->half_close && !call->over)
        route->method->half_close(call, route->service->context);
}

static void hf_grpc_on_data(struct hf_grpc_stream *stream, const uint8_t *bytes, size_t count)
{
    struct hf_grpc_call *call = stream->speaking;
    size_t taken = 0;
    if (call->over || call->finished)
        taken = count;
    else if (call->held.end == call->held.begin && !call->feeding)
        taken = hf_grpc_call_feed(call, bytes, count);
    if (taken < count && hf_grpc_buffer_append(&stream->worker->memory, &call->held, bytes + taken, count - taken))
        hf_grpc_call_fail_memory(call);
    if (stream->connection)
        stream->carrier->consume(stream, taken);
}

static void hf_grpc_on_end(struct hf_grpc_stream *stream)
{
    struct hf_grpc_call *call = stream->speaking;
    if (call->held.end > call->held.begin || call->paused)
        call->end_held = true;
    else
        hf_grpc_call_end(call);
}

void hf_grpc_pause(struct hf_grpc_call *call)
{
    call->paused = true;
}

void hf_grpc_resume(struct hf_grpc_call *call)
{
    struct hf_grpc_buffer *held = &call->held;
    call->paused = false;
    if (call->feeding || call->over)
        return;
    hf_grpc_keep(call);
    if (held->end > held->begin) {
        size_t taken = hf_grpc_call_feed(call, held->bytes + held->begin, held->end - held->begin);
        if (call->stream->connection)
            call->stream->carrier->consume(call->stream, taken);
        held->begin += taken;
        if (held->begin == held->end)
            hf_grpc_buffer_clear(&call->stream->worker->memory, held);
    }
    if (call->end_held && !call->paused && held->end == held->begin) {
        call->end_held = false;
        hf_grpc_call_end(call);
    }
    hf_grpc_drop(call);
}

void hf_grpc_call_room(struct hf_grpc_call *call)
{
    if (call->accepted && !call->over && !call->finished && call->route->method->writable)
        call->route->method->writable(call, call->route->service->context);
}

static void hf_grpc_on_room(struct hf_grpc_stream *stream)
{
    hf_grpc_call_room(stream->speaking);
}

static void hf_grpc_on_late(struct hf_grpc_stream *stream)
{
    hf_grpc_call_fail(stream->speaking, HF_GRPC_DEADLINE_EXCEEDED, "the request message did not come whole in time");
}

static const struct hf_grpc_speaker HF_GRPC_CALL_SPEAKER = {
    .data = hf_grpc_on_data,
    .end = hf_grpc_on_end,
    .room = hf_grpc_on_room,
    .late = hf_grpc_on_late,
    .closed = hf_grpc_on_closed,
    .deleted = hf_grpc_on_deleted,
};

/* ---- The beginning ---- */

void hf_grpc_refuse(struct hf_grpc_stream *stream, unsigned status, const char *name, const char *value)
{
    struct hf_grpc_fields fields = {.last = &fields.first};
    if (name)
        hf_grpc_fields_add(stream, &fields, hf_grpc_bytes_of(name), hf_grpc_bytes_of(value));
    stream->complete = true;
    stream->carrier->respond(stream, status, &fields, true);
}

/* NULL: nothing wrong. */
static const char *hf_grpc_call_encodings(struct hf_grpc_call *call)
{
    const struct hf_grpc_field *encoding = hf_grpc_stream_find(call->stream, "grpc-encoding");
    const struct hf_grpc_field *accepts = hf_grpc_stream_find(call->stream, "grpc-accept-encoding");
    call->accepts_gzip = accepts && hf_grpc_list_has((const char *)accepts->value.bytes, accepts->value.length, "gzip");
    if (!encoding || hf_grpc_bytes_are(encoding->value, "identity"))
        return NULL;
    call->gzip_request = hf_grpc_bytes_are(encoding->value, "gzip");
    call->gzip_response = call->gzip_request && call->accepts_gzip;
    return call->gzip_request ? NULL : "the request's grpc-encoding is not supported";
}

/* False: grpc-timeout is malformed. */
static bool hf_grpc_call_set_deadline(struct hf_grpc_call *call)
{
    const struct hf_grpc_field *field = hf_grpc_stream_find(call->stream, "grpc-timeout");
    uint64_t timeout_ns;
    if (!field)
        return true;
    if (!hf_grpc_timeout_ns((const char *)field->value.bytes, field->value.length, &timeout_ns))
        return false;
    hf_grpc_loop_set_timer(call->stream->worker->loop, &call->deadline, call->begun_ns + timeout_ns);
    return true;
}

static void hf_grpc_call_begin(struct hf_grpc_call *call)
{
    struct hf_grpc_worker *worker = call->stream->worker;
    const struct hf_grpc_options *options = &worker->server->options;
    /* A borrowed call's request is no gRPC: fields that would say so mean nothing in it. */
    const char *wrong = call->taker ? NULL : hf_grpc_call_encodings(call);
    enum hf_grpc_code code = HF_GRPC_OK;
    if (wrong) {
        hf_grpc_fields_add(call->stream, &call->headers, hf_grpc_bytes_of("grpc-accept-encoding"), hf_grpc_bytes_of("identity,gzip"));
        code = HF_GRPC_UNIMPLEMENTED;
    } else if (!call->route || !call->route->method) {
        code = HF_GRPC_UNIMPLEMENTED;
        wrong = call->route ? "the method is not implemented" : "no such method";
    } else if (worker->call_count > options->calls_max) {
        hf_grpc_count(worker, HF_GRPC_CALLS_FULL);
        code = HF_GRPC_RESOURCE_EXHAUSTED;
        wrong = "too many calls in flight";
    } else if (!call->taker && !hf_grpc_call_set_deadline(call)) {
        code = HF_GRPC_INTERNAL;
        wrong = "grpc-timeout is malformed";
    } else if (options->authorize) {
        code = options->authorize(options->context, call, &wrong);
    }
    if (code != HF_GRPC_OK) {
        hf_grpc_call_fail(call, code, wrong);
        return;
    }
    call->accepted = true;
    if (!call->route->client_streaming && !call->taker)
        call->stream->receiving_since_ns = call->begun_ns;
    if (call->route->method->start)
        call->route->method->start(call, call->route->service->context);
}

struct hf_grpc_call *hf_grpc_call_borrow(struct hf_grpc_stream *stream, const struct hf_grpc_route *route)
{
    struct hf_grpc_worker *worker = stream->worker;
    struct hf_grpc_call *call = stream->out_of_memory ? NULL : hf_grpc_arena_take(&stream->arena, sizeof *call);
    if (!call) {
        hf_grpc_count(worker, HF_GRPC_MEMORY_FULL);
        return NULL;
    }
    *call = (struct hf_grpc_call){.stream = stream, .route = route};
    call->deadline = (struct hf_grpc_timer){.place = HF_GRPC_TIMER_OFF, .fire = hf_grpc_call_deadline};
    call->begun_ns = hf_grpc_loop_now_ns(worker->loop);
    call->headers.last = &call->headers.first;
    hf_grpc_arena_init(&call->message_arena, &worker->memory, NULL, 0);
    worker->call_count++;
    hf_grpc_count(worker, HF_GRPC_CALLS);
    return call;
}

void hf_grpc_call_run(struct hf_grpc_call *call, const ProtobufCMessage *message)
{
    const struct hf_grpc_route *route = call->route;
    hf_grpc_call_begin(call);
    if (call->over || call->finished)
        return;
    call->messages_in++;
    if (route->method->message)
        route->method->message(call, message, route->service->context);
    if (route->method->half_close && !call->over)
        route->method->half_close(call, route->service->context);
}

static void hf_grpc_call_create(struct hf_grpc_stream *stream)
{
    struct hf_grpc_call *call = hf_grpc_call_borrow(stream, hf_grpc_server_route(stream->worker->server, stream->path));
    if (!call) {
        stream->carrier->reset(stream);
        return;
    }
    stream->speaking = call;
    stream->speaker = &HF_GRPC_CALL_SPEAKER;
    hf_grpc_call_begin(call);
}

/* Whether it is application/grpc, alone, with +proto, or with parameters. Others, such as application/grpc-web, are other protocols. */
static bool hf_grpc_is_grpc_type(struct hf_grpc_bytes type, bool *known)
{
    static const char grpc[] = "application/grpc", proto[] = "+proto";
    size_t at = sizeof grpc - 1;
    *known = false;
    if (type.length < at || memcmp(type.bytes, grpc, at) != 0 || (type.length > at && type.bytes[at] != '+' && type.bytes[at] != ';'))
        return false;
    if (type.length >= at + sizeof proto - 1 && memcmp(type.bytes + at, proto, sizeof proto - 1) == 0)
        at += sizeof proto - 1;
    *known = type.length == at || type.bytes[at] == ';';
    return true;
}

void hf_grpc_dispatch(struct hf_grpc_stream *stream)
{
    const struct hf_grpc_field *type = hf_grpc_stream_find(stream, "content-type");
    bool known, grpc = type && !stream->carrier->plain && hf_grpc_is_grpc_type(type->value, &known);
    if (stream->fields_too_large) {
        hf_grpc_count(stream->worker, HF_GRPC_HEADERS_TOO_LARGE);
        hf_grpc_refuse(stream, 431, "grpc-status", "8");
    } else if (grpc && !known) {
        hf_grpc_refuse(stream, 415, NULL, NULL);
    } else if (grpc && !hf_grpc_bytes_are(stream->method, "POST")) {
        hf_grpc_refuse(stream, 405, "allow", "POST");
    } else if (grpc) {
        hf_grpc_call_create(stream);
    } else if (stream->worker->server->options.http) {
        hf_http_begin(stream);
    } else {
        hf_grpc_refuse(stream, 415, NULL, NULL);
    }
}
