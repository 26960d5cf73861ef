/* gRPC's messages on the wire. */
#include "control/grpc/message_p.h"

#include <string.h>

#include "control/grpc/text.h"

/* ---- Framing ---- */

static size_t hf_grpc_reader_length(const struct hf_grpc_reader *reader)
{
    const uint8_t *at = reader->prefix;
    return (size_t)at[1] << 24 | (size_t)at[2] << 16 | (size_t)at[3] << 8 | at[4];
}

void hf_grpc_prefix_write(uint8_t *out, bool compressed, size_t message_bytes)
{
    out[0] = compressed;
    out[1] = (uint8_t)(message_bytes >> 24);
    out[2] = (uint8_t)(message_bytes >> 16);
    out[3] = (uint8_t)(message_bytes >> 8);
    out[4] = (uint8_t)message_bytes;
}

bool hf_grpc_reader_is_within(const struct hf_grpc_reader *reader)
{
    return reader->prefix_bytes > 0;
}

void hf_grpc_reader_next(struct hf_grpc_reader *reader, struct hf_grpc_worker *worker)
{
    reader->prefix_bytes = 0;
    hf_grpc_buffer_clear(&worker->memory, &reader->gathered);
}

enum hf_grpc_read hf_grpc_reader_read(struct hf_grpc_reader *reader, struct hf_grpc_worker *worker, const uint8_t **bytes, size_t *count,
                                      struct hf_grpc_bytes *message, bool *compressed)
{
    while (reader->prefix_bytes < HF_GRPC_PREFIX_BYTES) {
        if (*count == 0)
            return HF_GRPC_READ_MORE;
        reader->prefix[reader->prefix_bytes++] = *(*bytes)++;
        --*count;
    }
    size_t length = hf_grpc_reader_length(reader), held = reader->gathered.end - reader->gathered.begin;
    if (reader->prefix[0] > 1)
        return HF_GRPC_READ_BAD_FLAG;
    if (length > worker->server->options.message_max_bytes)
        return HF_GRPC_READ_TOO_LARGE;
    *compressed = reader->prefix[0] == 1;
    if (held == 0 && *count >= length) {
        *message = (struct hf_grpc_bytes){*bytes, length};
        *bytes += length;
        *count -= length;
        return HF_GRPC_READ_MESSAGE;
    }
    size_t wanted = length - held < *count ? length - held : *count;
    if (hf_grpc_buffer_append(&worker->memory, &reader->gathered, *bytes, wanted))
        return HF_GRPC_READ_MEMORY;
    *bytes += wanted;
    *count -= wanted;
    if (held + wanted < length)
        return HF_GRPC_READ_MORE;
    *message = (struct hf_grpc_bytes){reader->gathered.bytes + reader->gathered.begin, length};
    return HF_GRPC_READ_MESSAGE;
}

/* ---- Compression ---- */

enum { HF_GRPC_GZIP_WINDOW = 15 + 16 /* zlib: 16 more asks for gzip's header */, HF_GRPC_GZIP_MEMORY = 8, HF_GRPC_GZIP_LEVEL = 1 };

static int hf_grpc_inflate_all(struct hf_grpc_worker *worker, struct hf_grpc_bytes in)
{
    uint8_t step[HF_GRPC_BLOCK_BYTES];
    z_stream *zip = &worker->inflate;
    size_t total = 0;
    int state = Z_OK;
    zip->next_in = (Bytef *)(uintptr_t)in.bytes;
    zip->avail_in = (uInt)in.length;
    while (state == Z_OK) {
        zip->next_out = step;
        zip->avail_out = sizeof step;
        state = inflate(zip, Z_NO_FLUSH);
        size_t got = sizeof step - zip->avail_out;
        total += got;
        if (total > worker->server->options.message_max_bytes)
            return HF_GRPC_E_FULL;
        if (hf_grpc_buffer_append(&worker->memory, &worker->unpacked, step, got))
            return HF_GRPC_E_MEMORY;
    }
    return state == Z_STREAM_END && zip->avail_in == 0 ? 0 : HF_GRPC_E_USAGE;
}

int hf_grpc_gunzip(struct hf_grpc_worker *worker, struct hf_grpc_bytes in, struct hf_grpc_bytes *out)
{
    if (!worker->inflate_ready && inflateInit2(&worker->inflate, HF_GRPC_GZIP_WINDOW) != Z_OK)
        return HF_GRPC_E_MEMORY;
    worker->inflate_ready = true;
    inflateReset(&worker->inflate);
    worker->unpacked.begin = worker->unpacked.end = 0;
    int failed = hf_grpc_inflate_all(worker, in);
    *out = (struct hf_grpc_bytes){worker->unpacked.bytes, worker->unpacked.end};
    return failed;
}

size_t hf_grpc_gzip(struct hf_grpc_worker *worker, struct hf_grpc_bytes in, uint8_t *out, size_t room)
{
    z_stream *zip = &worker->deflate;
    if (!worker->deflate_ready &&
        deflateInit2(zip, HF_GRPC_GZIP_LEVEL, Z_DEFLATED, HF_GRPC_GZIP_WINDOW, HF_GRPC_GZIP_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
        return 0;
    worker->deflate_ready = true;
    deflateReset(zip);
    zip->next_in = (Bytef *)(uintptr_t)in.bytes;
    zip->avail_in = (uInt)in.length;
    zip->next_out = out;
    zip->avail_out = (uInt)room;
    return deflate(zip, Z_FINISH) == Z_STREAM_END ? room - zip->avail_out : 0;
}

void hf_grpc_gzip_end(struct hf_grpc_worker *worker)
{
    if (worker->inflate_ready)
        inflateEnd(&worker->inflate);
    if (worker->deflate_ready)
        deflateEnd(&worker->deflate);
    hf_grpc_buffer_clear(&worker->memory, &worker->unpacked);
}

/* ---- What may be unpacked ---- */

/* False: cut short, which unpacking will say better. */
static bool hf_grpc_skip_varint(const uint8_t **at, const uint8_t *end, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        *out |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

static enum hf_grpc_packed hf_grpc_packed_within(const ProtobufCMessageDescriptor *type, const uint8_t *at, const uint8_t *end,
                                                 unsigned depth)
{
    while (at < end) {
        uint64_t tag, length = 0;
        if (!hf_grpc_skip_varint(&at, end, &tag))
            return HF_GRPC_PACKED_OK;
        switch (tag & 7) {
        case 0:
            if (!hf_grpc_skip_varint(&at, end, &length))
                return HF_GRPC_PACKED_OK;
            continue;
        case 1:
            length = 8;
            break;
        case 5:
            length = 4;
            break;
        case 2:
            if (!hf_grpc_skip_varint(&at, end, &length))
                return HF_GRPC_PACKED_OK;
            break;
        default:
            return HF_GRPC_PACKED_OK;
        }
        if (length > (uint64_t)(end - at))
            return HF_GRPC_PACKED_OK;
        const ProtobufCFieldDescriptor *field = (tag & 7) == 2 ? protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3)) : NULL;
        enum hf_grpc_packed found = HF_GRPC_PACKED_OK;
        if (field && field->type == PROTOBUF_C_TYPE_STRING && !hf_grpc_is_text(at, (size_t)length))
            found = HF_GRPC_PACKED_TEXT;
        else if (field && field->type == PROTOBUF_C_TYPE_MESSAGE)
            found = depth == 0 ? HF_GRPC_PACKED_DEEP : hf_grpc_packed_within(field->descriptor, at, at + length, depth - 1);
        if (found != HF_GRPC_PACKED_OK)
            return found;
        at += length;
    }
    return HF_GRPC_PACKED_OK;
}

enum hf_grpc_packed hf_grpc_packed_check(const ProtobufCMessageDescriptor *type, struct hf_grpc_bytes packed)
{
    return packed.length == 0 ? HF_GRPC_PACKED_OK
                              : hf_grpc_packed_within(type, packed.bytes, packed.bytes + packed.length, HF_GRPC_DEPTH_MAX);
}

/* ---- Memory ---- */

static void *hf_grpc_unpack_take(void *arena, size_t bytes)
{
    return hf_grpc_arena_take(arena, bytes);
}

static void hf_grpc_unpack_give(void *arena, void *taken)
{
    (void)arena;
    (void)taken;
}

ProtobufCAllocator hf_grpc_arena_allocator(struct hf_grpc_arena *arena)
{
    return (ProtobufCAllocator){hf_grpc_unpack_take, hf_grpc_unpack_give, arena};
}
