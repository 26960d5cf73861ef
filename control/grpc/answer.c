/* The response of a call: metadata, messages, status. */
#include <string.h>

#include "control/grpc/call_p.h"
#include "control/grpc/status.h"
#include "control/grpc/text.h"

enum {
    HF_GRPC_RESPONSE_FIELDS_MAX = 100,
    HF_GRPC_STATUS_MESSAGE_MAX = 4096, /* of a grpc-message: clients bound their header lists too */
};

/* ---- Metadata ---- */

static int hf_grpc_add_field(struct hf_grpc_call *call, struct hf_grpc_fields *fields, const char *name, const void *value,
                             size_t value_bytes)
{
    struct hf_grpc_arena *arena = &call->stream->arena;
    size_t name_bytes = strlen(name);
    bool binary = hf_grpc_name_is_binary(name, name_bytes);
    if (!hf_grpc_name_ok(name, name_bytes) || strncmp(name, "grpc-", 5) == 0 || (!binary && !hf_grpc_value_ok(value, value_bytes)) ||
        fields->count >= HF_GRPC_RESPONSE_FIELDS_MAX)
        return HF_GRPC_E_USAGE;
    char *text = binary ? hf_grpc_arena_take(arena, HF_GRPC_BASE64_MAX(value_bytes) + 1) : hf_grpc_arena_copy(arena, value, value_bytes);
    char *copy = hf_grpc_arena_copy(arena, name, name_bytes);
    if (!text || !copy)
        return HF_GRPC_E_MEMORY;
    size_t text_bytes = binary ? hf_grpc_base64_encode(value, value_bytes, text) : value_bytes;
    return hf_grpc_fields_add(call->stream, fields, (struct hf_grpc_bytes){(const uint8_t *)copy, name_bytes},
                              (struct hf_grpc_bytes){(const uint8_t *)text, text_bytes});
}

int hf_grpc_add_header(struct hf_grpc_call *call, const char *name, const void *value, size_t value_bytes)
{
    if (hf_grpc_ended(call) || call->finished || call->stream->head_sent)
        return HF_GRPC_E_ENDED;
    return hf_grpc_add_field(call, &call->headers, name, value, value_bytes);
}

int hf_grpc_add_trailer(struct hf_grpc_call *call, const char *name, const void *value, size_t value_bytes)
{
    if (hf_grpc_ended(call) || call->finished)
        return HF_GRPC_E_ENDED;
    return hf_grpc_add_field(call, &call->stream->trailers, name, value, value_bytes);
}

/* The fields of gRPC itself in front of the application's; without memory the application's are left out. */
static void hf_grpc_head_begin(struct hf_grpc_call *call, struct hf_grpc_fields *head)
{
    struct hf_grpc_stream *stream = call->stream;
    const struct hf_grpc_field *type = hf_grpc_stream_find(stream, "content-type");
    *head = (struct hf_grpc_fields){.last = &head->first};
    hf_grpc_fields_add(stream, head, hf_grpc_bytes_of("content-type"), type ? type->value : hf_grpc_bytes_of("application/grpc"));
}

static void hf_grpc_fields_join(struct hf_grpc_fields *to, const struct hf_grpc_fields *more)
{
    if (!more->first)
        return;
    *to->last = more->first;
    to->last = more->last;
    to->count += more->count;
}

static void hf_grpc_send_head(struct hf_grpc_call *call)
{
    struct hf_grpc_fields head;
    hf_grpc_head_begin(call, &head);
    if (call->gzip_response)
        hf_grpc_fields_add(call->stream, &head, hf_grpc_bytes_of("grpc-encoding"), hf_grpc_bytes_of("gzip"));
    hf_grpc_fields_join(&head, &call->headers);
    call->stream->carrier->respond(call->stream, 200, &head, false);
}

int hf_grpc_send_headers(struct hf_grpc_call *call)
{
    if (hf_grpc_ended(call) || call->finished)
        return HF_GRPC_E_ENDED;
    if (!call->stream->head_sent && !call->taker)
        hf_grpc_send_head(call);
    return 0;
}

void hf_grpc_compress(struct hf_grpc_call *call, bool compress)
{
    if (!call->stream->head_sent)
        call->gzip_response = compress && call->accepts_gzip;
}

/* ---- Messages ---- */

static int hf_grpc_may_send(struct hf_grpc_call *call, size_t bytes)
{
    struct hf_grpc_stream *stream = call->stream;
    if (hf_grpc_ended(call) || call->finished)
        return HF_GRPC_E_ENDED;
    if (bytes > UINT32_MAX - HF_GRPC_PREFIX_BYTES)
        return HF_GRPC_E_USAGE;
    if (stream->queued_bytes < stream->worker->server->options.send_queue_max_bytes)
        return 0;
    stream->wants_room = true;
    return HF_GRPC_E_FULL;
}

void hf_grpc_pause_while_full(struct hf_grpc_call *call)
{
    if (hf_grpc_may_send(call, 0) == HF_GRPC_E_FULL)
        hf_grpc_pause(call);
}

void hf_grpc_resume_writable(struct hf_grpc_call *call, void *context)
{
    (void)context;
    hf_grpc_resume(call);
}

/* A piece with the compressed message; NULL: it does not get smaller, or there is no memory to try. */
static struct hf_grpc_piece *hf_grpc_compressed_piece(struct hf_grpc_call *call, struct hf_grpc_bytes packed)
{
    struct hf_grpc_stream *stream = call->stream;
    if (!call->gzip_response || packed.length < stream->worker->server->options.compress_min_bytes)
        return NULL;
    uint8_t *room = hf_grpc_memory_take_bulk(&stream->worker->memory, packed.length);
    if (!room)
        return NULL;
    size_t length = hf_grpc_gzip(stream->worker, packed, room, packed.length);
    struct hf_grpc_piece *piece = length > 0 ? hf_grpc_piece_take(stream, HF_GRPC_PREFIX_BYTES + length, false) : NULL;
    if (piece) {
        hf_grpc_prefix_write(piece->data, true, length);
        memcpy(piece->data + HF_GRPC_PREFIX_BYTES, room, length);
    }
    hf_grpc_memory_give(&stream->worker->memory, room, packed.length);
    return piece;
}

static void hf_grpc_queue_piece(struct hf_grpc_call *call, struct hf_grpc_piece *piece)
{
    struct hf_grpc_stream *stream = call->stream;
    if (!stream->head_sent)
        hf_grpc_send_head(call);
    hf_grpc_stream_queue(stream, piece);
    call->messages_out++;
    hf_grpc_count(stream->worker, HF_GRPC_MESSAGES_OUT);
    stream->carrier->resume(stream);
}

static int hf_grpc_hand_over(struct hf_grpc_call *call, const ProtobufCMessage *message)
{
    int failed = call->taker->message(call->request, message, call->taker_context);
    if (failed == HF_GRPC_E_FULL)
        call->stream->wants_room = true;
    if (failed)
        return failed;
    call->messages_out++;
    hf_grpc_count(call->stream->worker, HF_GRPC_MESSAGES_OUT);
    return 0;
}

static int hf_grpc_hand_over_packed(struct hf_grpc_call *call, const void *packed, size_t bytes)
{
    ProtobufCAllocator allocator = hf_grpc_arena_allocator(&call->message_arena);
    const ProtobufCMessage *message = protobuf_c_message_unpack(call->route->output, &allocator, bytes, packed);
    int failed = message ? hf_grpc_hand_over(call, message) : HF_GRPC_E_MEMORY;
    hf_grpc_arena_clear(&call->message_arena);
    return failed;
}

/* Packs straight into what will be sent, unless it is to be compressed. */
int hf_grpc_send(struct hf_grpc_call *call, const ProtobufCMessage *message)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    int failed = hf_grpc_may_send(call, bytes);
    if (failed || call->taker)
        return failed ? failed : hf_grpc_hand_over(call, message);
    struct hf_grpc_piece *piece = hf_grpc_piece_take(call->stream, HF_GRPC_PREFIX_BYTES + bytes, !call->route->server_streaming);
    if (!piece) {
        hf_grpc_count(call->stream->worker, HF_GRPC_MEMORY_FULL);
        return HF_GRPC_E_MEMORY;
    }
    hf_grpc_prefix_write(piece->data, false, bytes);
    protobuf_c_message_pack(message, piece->data + HF_GRPC_PREFIX_BYTES);
    struct hf_grpc_piece *smaller = hf_grpc_compressed_piece(call, (struct hf_grpc_bytes){piece->data + HF_GRPC_PREFIX_BYTES, bytes});
    if (smaller)
        hf_grpc_piece_give(call->stream, piece);
    hf_grpc_queue_piece(call, smaller ? smaller : piece);
    return 0;
}

int hf_grpc_send_packed(struct hf_grpc_call *call, const void *message, size_t message_bytes)
{
    int failed = hf_grpc_may_send(call, message_bytes);
    if (failed || call->taker)
        return failed ? failed : hf_grpc_hand_over_packed(call, message, message_bytes);
    struct hf_grpc_piece *piece = hf_grpc_compressed_piece(call, (struct hf_grpc_bytes){message, message_bytes});
    if (!piece) {
        piece = hf_grpc_piece_take(call->stream, HF_GRPC_PREFIX_BYTES + message_bytes, !call->route->server_streaming);
        if (!piece) {
            hf_grpc_count(call->stream->worker, HF_GRPC_MEMORY_FULL);
            return HF_GRPC_E_MEMORY;
        }
        hf_grpc_prefix_write(piece->data, false, message_bytes);
        if (message_bytes > 0)
            memcpy(piece->data + HF_GRPC_PREFIX_BYTES, message, message_bytes);
    }
    hf_grpc_queue_piece(call, piece);
    return 0;
}

/* ---- Status ---- */

static void hf_grpc_status_field(struct hf_grpc_call *call, struct hf_grpc_fields *out, const char *name, const char *value,
                                 size_t value_bytes)
{
    if (value)
        hf_grpc_fields_add(call->stream, out, hf_grpc_bytes_of(name), (struct hf_grpc_bytes){(const uint8_t *)value, value_bytes});
}

static void hf_grpc_status_details(struct hf_grpc_call *call, const struct hf_grpc_status *status, struct hf_grpc_fields *out)
{
    struct hf_grpc_arena *arena = &call->stream->arena;
    size_t bytes = hf_grpc_status_bytes(status);
    uint8_t *packed = hf_grpc_arena_take(arena, bytes);
    char *text = hf_grpc_arena_take(arena, HF_GRPC_BASE64_MAX(bytes));
    if (!packed || !text)
        return;
    hf_grpc_status_pack(status, packed);
    hf_grpc_status_field(call, out, "grpc-status-details-bin", text, hf_grpc_base64_encode(packed, bytes, text));
}

static void hf_grpc_status_fields(struct hf_grpc_call *call, const struct hf_grpc_status *status, struct hf_grpc_fields *out)
{
    static const char *const numbers[HF_GRPC_CODES] = {"0", "1",  "2",  "3",  "4",  "5",  "6",  "7", "8",
                                                       "9", "10", "11", "12", "13", "14", "15", "16"};
    size_t length = status->message ? strlen(status->message) : 0;
    *out = (struct hf_grpc_fields){.last = &out->first};
    hf_grpc_status_field(call, out, "grpc-status", numbers[status->code], strlen(numbers[status->code]));
    if (length > HF_GRPC_STATUS_MESSAGE_MAX)
        length = HF_GRPC_STATUS_MESSAGE_MAX;
    if (length > 0) {
        char *text = hf_grpc_arena_take(&call->stream->arena, HF_GRPC_PERCENT_MAX(length));
        hf_grpc_status_field(call, out, "grpc-message", text, text ? hf_grpc_percent_encode(status->message, length, text) : 0);
    }
    if (status->detail_count > 0)
        hf_grpc_status_details(call, status, out);
}

void hf_grpc_finish_status(struct hf_grpc_call *call, const struct hf_grpc_status *status)
{
    struct hf_grpc_stream *stream = call->stream;
    struct hf_grpc_status sent = *status;
    struct hf_grpc_fields fields;
    if (hf_grpc_ended(call) || call->finished)
        return;
    if ((unsigned)sent.code >= HF_GRPC_CODES)
        sent.code = HF_GRPC_UNKNOWN;
    call->finished = true;
    call->code = sent.code;
    hf_grpc_loop_clear_timer(stream->worker->loop, &call->deadline);
    if (call->taker) {
        call->taker->finish(call->request, &sent, call->taker_context);
        return;
    }
    hf_grpc_status_fields(call, &sent, &fields);
    hf_grpc_fields_join(&fields, &stream->trailers);
    stream->complete = true;
    if (!stream->head_sent) {
        /* Trailers-Only of PROTOCOL-HTTP2.md: one head that ends the stream. */
        struct hf_grpc_fields head;
        hf_grpc_head_begin(call, &head);
        hf_grpc_fields_join(&head, &fields);
        hf_grpc_fields_join(&head, &call->headers);
        stream->carrier->respond(stream, 200, &head, true);
        return;
    }
    stream->trailers = fields;
    stream->carrier->resume(stream);
}

void hf_grpc_finish(struct hf_grpc_call *call, enum hf_grpc_code code, const char *message)
{
    hf_grpc_finish_status(call, &(struct hf_grpc_status){.code = code, .message = message});
}

void hf_grpc_answer(struct hf_grpc_call *call, const ProtobufCMessage *message)
{
    int failed = hf_grpc_send(call, message);
    if (failed == HF_GRPC_E_MEMORY || failed == HF_GRPC_E_USAGE)
        hf_grpc_finish(call, HF_GRPC_RESOURCE_EXHAUSTED, "no memory for the answer");
    else
        hf_grpc_finish(call, HF_GRPC_OK, NULL);
}
