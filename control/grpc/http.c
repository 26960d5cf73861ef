/* Plain HTTP requests over a stream. */
#include "control/grpc/http.h"

#include <assert.h>
#include <string.h>

#include "control/grpc/call_p.h"

struct hf_http_request {
    struct hf_grpc_stream *stream;
    const struct hf_http_handler *handler;
    void *user;
    struct hf_grpc_call *call; /* it runs a method; NULL: none */
    bool done;
};

struct hf_grpc_bytes hf_http_method(const struct hf_http_request *request)
{
    return request->stream->method;
}

struct hf_grpc_bytes hf_http_target(const struct hf_http_request *request)
{
    return request->stream->path;
}

bool hf_http_field(const struct hf_http_request *request, const char *name, struct hf_grpc_bytes *value)
{
    const struct hf_grpc_field *field = hf_grpc_stream_find(request->stream, name);
    if (field)
        *value = field->value;
    return field != NULL;
}

struct hf_grpc_bytes hf_http_authority(const struct hf_http_request *request)
{
    struct hf_grpc_bytes authority = request->stream->authority;
    if (authority.length == 0)
        hf_http_field(request, "host", &authority);
    return authority;
}

void hf_http_count(const struct hf_http_request *request, enum hf_grpc_counter counter)
{
    hf_grpc_count(request->stream->worker, counter);
}

const struct hf_grpc_peer *hf_http_peer(const struct hf_http_request *request)
{
    return &request->stream->peer;
}

/* ---- Answering ---- */

static int hf_http_respond(struct hf_http_request *request, unsigned status, const struct hf_http_field *fields, unsigned field_count,
                           bool end)
{
    struct hf_grpc_stream *stream = request->stream;
    struct hf_grpc_fields list = {.last = &list.first};
    if (hf_http_ended(request) || stream->head_sent)
        return HF_GRPC_E_ENDED;
    for (unsigned i = 0; i < field_count; i++) {
        struct hf_grpc_bytes name = hf_grpc_bytes_of(fields[i].name), value = hf_grpc_bytes_of(fields[i].value);
        name.bytes = (const uint8_t *)hf_grpc_arena_copy(&stream->arena, name.bytes, name.length);
        value.bytes = (const uint8_t *)hf_grpc_arena_copy(&stream->arena, value.bytes, value.length);
        if (!name.bytes || !value.bytes || hf_grpc_fields_add(stream, &list, name, value))
            return HF_GRPC_E_MEMORY;
    }
    stream->complete = end;
    stream->carrier->respond(stream, status, &list, end);
    return 0;
}

int hf_http_begin_answer(struct hf_http_request *request, unsigned status, const struct hf_http_field *fields, unsigned field_count)
{
    return hf_http_respond(request, status, fields, field_count, false);
}

static int hf_http_queue(struct hf_grpc_stream *stream, const void *bytes, size_t count)
{
    struct hf_grpc_piece *piece = hf_grpc_piece_take(stream, count, false);
    if (!piece)
        return HF_GRPC_E_MEMORY;
    memcpy(piece->data, bytes, count);
    hf_grpc_stream_queue(stream, piece);
    stream->carrier->resume(stream);
    return 0;
}

int hf_http_write(struct hf_http_request *request, const void *bytes, size_t count)
{
    struct hf_grpc_stream *stream = request->stream;
    if (hf_http_ended(request) || stream->complete || !stream->head_sent)
        return HF_GRPC_E_ENDED;
    if (count == 0)
        return 0;
    if (stream->queued_bytes >= stream->worker->server->options.send_queue_max_bytes) {
        stream->wants_room = true;
        return HF_GRPC_E_FULL;
    }
    return hf_http_queue(stream, bytes, count);
}

void hf_http_end(struct hf_http_request *request)
{
    struct hf_grpc_stream *stream = request->stream;
    if (hf_http_ended(request) || stream->complete)
        return;
    stream->complete = true;
    stream->carrier->resume(stream);
}

void hf_http_end_with(struct hf_http_request *request, const void *bytes, size_t count)
{
    struct hf_grpc_stream *stream = request->stream;
    if (count > 0 && !hf_http_ended(request) && !stream->complete && stream->head_sent)
        hf_http_queue(stream, bytes, count);
    hf_http_end(request);
}

int hf_http_reply_fields(struct hf_http_request *request, unsigned status, const struct hf_http_field *more, unsigned more_count,
                         const void *body, size_t body_bytes)
{
    char length[24];
    struct hf_http_field fields[1 + HF_HTTP_FIELDS_MAX] = {{"content-length", length}};
    size_t digits = sizeof length - 1, rest = body_bytes;
    length[digits] = '\0';
    do {
        length[--digits] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    fields[0].value = length + digits;
    assert(more_count <= HF_HTTP_FIELDS_MAX);
    if (more_count > 0)
        memcpy(fields + 1, more, more_count * sizeof *more);
    /* RFC 9110: 204 and 304 have no body and 8.6 no length of one either; an answer to HEAD has the length only. */
    bool bare = status == 204 || status == 304, silent = body_bytes == 0 || hf_grpc_bytes_are(request->stream->method, "HEAD");
    int failed = hf_http_respond(request, status, fields + bare, more_count + !bare, bare || silent);
    if (!failed && !bare && !silent)
        failed = hf_http_write(request, body, body_bytes);
    if (failed == HF_GRPC_E_MEMORY)
        hf_http_abort(request);
    hf_http_end(request);
    return failed;
}

int hf_http_reply(struct hf_http_request *request, unsigned status, const char *content_type, const void *body, size_t body_bytes)
{
    return hf_http_reply_fields(request, status, &(struct hf_http_field){"content-type", content_type}, content_type ? 1 : 0, body,
                                body_bytes);
}

void hf_http_abort(struct hf_http_request *request)
{
    if (!hf_http_ended(request))
        request->stream->carrier->reset(request->stream);
}

bool hf_http_ended(const struct hf_http_request *request)
{
    return request->done || !request->stream->connection;
}

/* ---- A method behind it ---- */

int hf_http_call(struct hf_http_request *request, const char *path, const ProtobufCMessage *message, const struct hf_http_taker *taker,
                 void *context)
{
    const struct hf_grpc_route *route = hf_grpc_server_route(request->stream->worker->server, hf_grpc_bytes_of(path));
    if (!route || route->client_streaming || request->call)
        return HF_GRPC_E_USAGE;
    request->call = hf_grpc_call_borrow(request->stream, route);
    if (!request->call)
        return HF_GRPC_E_MEMORY;
    request->call->taker = taker;
    request->call->taker_context = context;
    request->call->request = request;
    hf_grpc_call_run(request->call, message);
    return 0;
}

/* ---- Life ---- */

void *hf_http_alloc(struct hf_http_request *request, size_t bytes)
{
    void *memory = hf_grpc_arena_take(&request->stream->arena, bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

void hf_http_set_user(struct hf_http_request *request, void *user)
{
    request->user = user;
}

void *hf_http_user(const struct hf_http_request *request)
{
    return request->user;
}

/* ---- What the stream says ---- */

static void hf_http_on_data(struct hf_grpc_stream *stream, const uint8_t *bytes, size_t count)
{
    struct hf_http_request *request = stream->speaking;
    stream->carrier->consume(stream, count);
    if (request->handler->body && !stream->complete)
        request->handler->body(request, bytes, count, request->handler->context);
}

static void hf_http_on_end(struct hf_grpc_stream *stream)
{
    struct hf_http_request *request = stream->speaking;
    stream->receiving_since_ns = 0;
    if (request->handler->end && !stream->complete)
        request->handler->end(request, request->handler->context);
}

static void hf_http_on_room(struct hf_grpc_stream *stream)
{
    struct hf_http_request *request = stream->speaking;
    if (request->call)
        hf_grpc_call_room(request->call);
    else if (request->handler->writable && !stream->complete)
        request->handler->writable(request, request->handler->context);
}

static void hf_http_on_late(struct hf_grpc_stream *stream)
{
    if (stream->head_sent)
        stream->carrier->reset(stream);
    else
        hf_http_reply(stream->speaking, 408, NULL, NULL, 0);
}

static void hf_http_on_closed(struct hf_grpc_stream *stream)
{
    struct hf_http_request *request = stream->speaking;
    request->done = true;
    if (request->call)
        hf_grpc_call_closed(request->call);
    if (request->handler->done)
        request->handler->done(request, request->handler->context);
}

static void hf_http_on_deleted(struct hf_grpc_stream *stream)
{
    const struct hf_http_request *request = stream->speaking;
    if (request->call)
        hf_grpc_arena_clear(&request->call->message_arena);
}

static const struct hf_grpc_speaker HF_HTTP_SPEAKER = {
    .data = hf_http_on_data,
    .end = hf_http_on_end,
    .room = hf_http_on_room,
    .late = hf_http_on_late,
    .closed = hf_http_on_closed,
    .deleted = hf_http_on_deleted,
};

void hf_http_begin(struct hf_grpc_stream *stream)
{
    struct hf_http_request *request = hf_grpc_arena_take(&stream->arena, sizeof *request);
    if (!request || stream->out_of_memory) {
        hf_grpc_count(stream->worker, HF_GRPC_MEMORY_FULL);
        hf_grpc_refuse(stream, 503, NULL, NULL);
        return;
    }
    hf_grpc_count(stream->worker, HF_GRPC_HTTP_REQUESTS);
    *request = (struct hf_http_request){.stream = stream, .handler = stream->worker->server->options.http};
    stream->speaking = request;
    stream->speaker = &HF_HTTP_SPEAKER;
    stream->receiving_since_ns = hf_grpc_loop_now_ns(stream->worker->loop);
    if (request->handler->head)
        request->handler->head(request, request->handler->context);
}
