/* An HTTP exchange between its carrier and its speaker. */
#include "control/grpc/stream_p.h"

#include <string.h>

#include "control/grpc/server_p.h"

struct hf_grpc_bytes hf_grpc_bytes_of(const char *text)
{
    return (struct hf_grpc_bytes){(const uint8_t *)text, strlen(text)};
}

bool hf_grpc_bytes_are(struct hf_grpc_bytes bytes, const char *text)
{
    return bytes.length == strlen(text) && (bytes.length == 0 || memcmp(bytes.bytes, text, bytes.length) == 0);
}

/* ---- Life ---- */

struct hf_grpc_stream *hf_grpc_stream_create(struct hf_grpc_worker *worker, const struct hf_grpc_carrier *carrier)
{
    struct hf_grpc_stream *stream = hf_grpc_memory_take(&worker->memory, HF_GRPC_BLOCK_BYTES);
    if (!stream)
        return NULL;
    const size_t head = (sizeof *stream + 15) / 16 * 16;
    *stream = (struct hf_grpc_stream){.worker = worker, .carrier = carrier, .references = 1};
    stream->fields.last = &stream->fields.first;
    stream->trailers.last = &stream->trailers.first;
    stream->last = &stream->first;
    hf_grpc_arena_init(&stream->arena, &worker->memory, (uint8_t *)stream + head, HF_GRPC_BLOCK_BYTES - head);
    worker->stream_count++;
    hf_grpc_count(worker, HF_GRPC_STREAMS);
    return stream;
}

void hf_grpc_stream_keep(struct hf_grpc_stream *stream)
{
    stream->references++;
}

void hf_grpc_stream_drop(struct hf_grpc_stream *stream)
{
    struct hf_grpc_worker *worker = stream->worker;
    if (--stream->references > 0)
        return;
    if (stream->speaker)
        stream->speaker->deleted(stream);
    hf_grpc_stream_drop_queue(stream);
    hf_grpc_arena_clear(&stream->arena);
    hf_grpc_memory_give(&worker->memory, stream, HF_GRPC_BLOCK_BYTES);
    worker->stream_count--;
}

void hf_grpc_stream_closed(struct hf_grpc_stream *stream)
{
    stream->connection = NULL;
    stream->complete = true;
    hf_grpc_stream_drop_queue(stream);
    if (stream->speaker)
        stream->speaker->closed(stream);
    hf_grpc_stream_drop(stream);
}

/* ---- Fields ---- */

int hf_grpc_fields_add(struct hf_grpc_stream *stream, struct hf_grpc_fields *fields, struct hf_grpc_bytes name, struct hf_grpc_bytes value)
{
    struct hf_grpc_field *field = hf_grpc_arena_take(&stream->arena, sizeof *field);
    if (!field)
        return HF_GRPC_E_MEMORY;
    *field = (struct hf_grpc_field){.name = name, .value = value};
    *fields->last = field;
    fields->last = &field->next;
    fields->count++;
    return 0;
}

static struct hf_grpc_bytes *hf_grpc_stream_pseudo(struct hf_grpc_stream *stream, struct hf_grpc_bytes name)
{
    if (hf_grpc_bytes_are(name, ":method"))
        return &stream->method;
    if (hf_grpc_bytes_are(name, ":path"))
        return &stream->path;
    if (hf_grpc_bytes_are(name, ":authority"))
        return &stream->authority;
    return hf_grpc_bytes_are(name, ":scheme") ? &stream->scheme : NULL;
}

void hf_grpc_stream_field(struct hf_grpc_stream *stream, struct hf_grpc_bytes name, struct hf_grpc_bytes value)
{
    /* RFC 9113, 6.5.2: a field counts its name, its value and 32. */
    stream->field_bytes += name.length + value.length + 32;
    if (stream->field_bytes > stream->worker->server->options.header_list_max_bytes)
        stream->fields_too_large = true;
    if (stream->fields_too_large || stream->out_of_memory)
        return;
    value.bytes = (const uint8_t *)hf_grpc_arena_copy(&stream->arena, value.bytes, value.length);
    struct hf_grpc_bytes *pseudo = name.length > 0 && name.bytes[0] == ':' ? hf_grpc_stream_pseudo(stream, name) : NULL;
    if (pseudo && value.bytes) {
        *pseudo = value;
        return;
    }
    name.bytes = (const uint8_t *)hf_grpc_arena_copy(&stream->arena, name.bytes, name.length);
    if (!name.bytes || !value.bytes || hf_grpc_fields_add(stream, &stream->fields, name, value))
        stream->out_of_memory = true;
}

const struct hf_grpc_field *hf_grpc_stream_find(const struct hf_grpc_stream *stream, const char *name)
{
    const struct hf_grpc_field *field = stream->fields.first;
    while (field && !hf_grpc_bytes_are(field->name, name))
        field = field->next;
    return field;
}

/* ---- The queue of what is to be sent ---- */

struct hf_grpc_piece *hf_grpc_piece_take(struct hf_grpc_stream *stream, size_t bytes, bool once)
{
    size_t total = sizeof(struct hf_grpc_piece) + bytes;
    bool in_arena = once && total <= HF_GRPC_BLOCK_BYTES / 2;
    struct hf_grpc_piece *piece = in_arena ? hf_grpc_arena_take(&stream->arena, total)
                                           : hf_grpc_memory_take_bulk(&stream->worker->memory, total);
    if (piece)
        *piece = (struct hf_grpc_piece){.bytes = bytes, .in_arena = in_arena};
    return piece;
}

void hf_grpc_piece_give(struct hf_grpc_stream *stream, struct hf_grpc_piece *piece)
{
    if (!piece->in_arena)
        hf_grpc_memory_give(&stream->worker->memory, piece, sizeof *piece + piece->bytes);
}

void hf_grpc_stream_queue(struct hf_grpc_stream *stream, struct hf_grpc_piece *piece)
{
    if (!stream->first)
        stream->sending_since_ns = hf_grpc_loop_now_ns(stream->worker->loop);
    *stream->last = piece;
    stream->last = &piece->next;
    stream->queued_bytes += piece->bytes;
}

void hf_grpc_stream_drop_queue(struct hf_grpc_stream *stream)
{
    while (stream->first) {
        struct hf_grpc_piece *piece = stream->first;
        stream->first = piece->next;
        hf_grpc_piece_give(stream, piece);
    }
    stream->last = &stream->first;
    stream->queued_bytes = 0;
    stream->sending_since_ns = 0;
}

size_t hf_grpc_stream_take(struct hf_grpc_stream *stream, uint8_t *out, size_t room)
{
    size_t moved = 0;
    while (stream->first && moved < room) {
        struct hf_grpc_piece *piece = stream->first;
        size_t count = piece->bytes - piece->sent < room - moved ? piece->bytes - piece->sent : room - moved;
        memcpy(out + moved, piece->data + piece->sent, count);
        moved += count;
        piece->sent += count;
        if (piece->sent < piece->bytes)
            break;
        stream->first = piece->next;
        if (!stream->first)
            stream->last = &stream->first;
        hf_grpc_piece_give(stream, piece);
    }
    stream->queued_bytes -= moved;
    stream->sending_since_ns = stream->first ? hf_grpc_loop_now_ns(stream->worker->loop) : 0;
    return moved;
}
