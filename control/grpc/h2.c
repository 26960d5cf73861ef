/*
 * HTTP/2 over nghttp2: frames become streams, streams' answers become frames, and clients that only make work are told to go.
 *
 * nghttp2 1.52 as Debian ships it bounds CONTINUATION frames (8), entries of SETTINGS (32), unsent acknowledgements (1,000) and resets by
 * a rate; here are counted, each with its own bucket or limit: resets received (RFC 9113, 10.5; CVE-2023-44487), resets that a client makes
 * us send (CVE-2025-8671), SETTINGS, PING, empty DATA and PRIORITY frames, and invalid frames.
 */
#include <string.h>

#include "control/grpc/connection_p.h"

const char HF_GRPC_PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum {
    HF_GRPC_PING_STRIKES = 2,
    HF_GRPC_H2_FIELDS_MAX = 256, /* of one response head or trailers */
};

static const uint8_t HF_GRPC_DRAIN_PING[8] = {'d', 'r', 'a', 'i', 'n', 'i', 'n', 'g'};
static const uint8_t HF_GRPC_ALIVE_PING[8] = {'a', 'l', 'i', 'v', 'e', '?', ' ', ' '};

static uint64_t hf_grpc_h2_now_ns(const struct hf_grpc_connection *connection)
{
    return hf_grpc_loop_now_ns(connection->worker->loop);
}

/* ---- Ending a connection ---- */

static void hf_grpc_h2_end(struct hf_grpc_connection *connection, uint32_t error, const char *why)
{
    nghttp2_session *session = connection->session;
    connection->goaway_sent = true;
    nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session), error, (const uint8_t *)why,
                          strlen(why));
    connection->closing = true;
    hf_grpc_connection_touch(connection);
}

/* False: the connection was told to go, for that. */
static bool hf_grpc_h2_police(struct hf_grpc_connection *connection, struct hf_grpc_bucket *bucket, double burst, double rate,
                              enum hf_grpc_counter counter, const char *why)
{
    if (connection->closing)
        return false;
    if (hf_grpc_bucket_take(bucket, hf_grpc_h2_now_ns(connection), burst, rate))
        return true;
    hf_grpc_count(connection->worker, counter);
    hf_grpc_h2_end(connection, NGHTTP2_ENHANCE_YOUR_CALM, why);
    return false;
}

/* As gRPC's servers do: a ping is a strike when it comes sooner than allowed after the last one and nothing was sent since. */
static void hf_grpc_h2_client_ping(struct hf_grpc_connection *connection)
{
    uint64_t now = hf_grpc_h2_now_ns(connection);
    uint64_t least = (uint64_t)connection->worker->server->options.ping_interval_min_ms * 1000000u;
    bool early = connection->client_ping_ns && now - connection->client_ping_ns < least;
    connection->client_ping_ns = now;
    if (early && ++connection->ping_strikes > HF_GRPC_PING_STRIKES && !connection->closing) {
        hf_grpc_count(connection->worker, HF_GRPC_PING_FLOODS);
        hf_grpc_h2_end(connection, NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings");
    }
}

/* After the peer has seen the notice, so that nothing it sent before is lost. */
static void hf_grpc_h2_last_goaway(struct hf_grpc_connection *connection)
{
    nghttp2_session *session = connection->session;
    if (connection->goaway_sent)
        return;
    connection->goaway_sent = true;
    nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session), NGHTTP2_NO_ERROR, NULL, 0);
    hf_grpc_connection_touch(connection);
}

static void hf_grpc_h2_drain(struct hf_grpc_connection *connection)
{
    nghttp2_submit_shutdown_notice(connection->session);
    nghttp2_submit_ping(connection->session, NGHTTP2_FLAG_NONE, HF_GRPC_DRAIN_PING);
    connection->drain_pinged = true;
    hf_grpc_connection_touch(connection);
}

static void hf_grpc_h2_ping(struct hf_grpc_connection *connection)
{
    nghttp2_submit_ping(connection->session, NGHTTP2_FLAG_NONE, HF_GRPC_ALIVE_PING);
    hf_grpc_connection_touch(connection);
}

/* ---- What comes ---- */

static const struct hf_grpc_carrier HF_GRPC_H2_CARRIER;

static int hf_grpc_h2_on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct hf_grpc_connection *connection = user;
    connection->header_since_ns = hf_grpc_h2_now_ns(connection);
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST || connection->closing)
        return 0;
    struct hf_grpc_stream *stream = hf_grpc_stream_create(connection->worker, &HF_GRPC_H2_CARRIER);
    if (!stream) {
        hf_grpc_count(connection->worker, HF_GRPC_MEMORY_FULL);
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    stream->id = frame->hd.stream_id;
    stream->peer = connection->peer;
    hf_grpc_connection_add_stream(connection, stream);
    nghttp2_session_set_stream_user_data(session, stream->id, stream);
    return 0;
}

static int hf_grpc_h2_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_bytes,
                                const uint8_t *value, size_t value_bytes, uint8_t flags, void *user)
{
    (void)flags;
    (void)user;
    struct hf_grpc_stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (stream && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        hf_grpc_stream_field(stream, (struct hf_grpc_bytes){name, name_bytes}, (struct hf_grpc_bytes){value, value_bytes});
    return 0;
}

static void hf_grpc_h2_request_end(struct hf_grpc_stream *stream)
{
    stream->request_ended = true;
    if (stream->speaker)
        stream->speaker->end(stream);
}

static void hf_grpc_h2_headers(struct hf_grpc_connection *connection, const nghttp2_frame *frame, struct hf_grpc_stream *stream)
{
    connection->header_since_ns = 0;
    if (!stream)
        return;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        hf_grpc_dispatch(stream);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        hf_grpc_h2_request_end(stream);
}

static void hf_grpc_h2_data(struct hf_grpc_connection *connection, const nghttp2_frame *frame, struct hf_grpc_stream *stream)
{
    bool last = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (frame->hd.length == 0 && !last)
        hf_grpc_h2_police(connection, &connection->empties, 1000, 100, HF_GRPC_FRAME_FLOODS, "too many empty frames");
    if (stream && last)
        hf_grpc_h2_request_end(stream);
}

static void hf_grpc_h2_pong(struct hf_grpc_connection *connection, const nghttp2_frame *frame)
{
    if (memcmp(frame->ping.opaque_data, HF_GRPC_DRAIN_PING, sizeof HF_GRPC_DRAIN_PING) == 0 && connection->drain_pinged)
        hf_grpc_h2_last_goaway(connection);
    connection->pinged_ns = 0;
}

static int hf_grpc_h2_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct hf_grpc_connection *connection = user;
    struct hf_grpc_stream *stream = frame->hd.stream_id ? nghttp2_session_get_stream_user_data(session, frame->hd.stream_id) : NULL;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        hf_grpc_h2_headers(connection, frame, stream);
        break;
    case NGHTTP2_DATA:
        hf_grpc_h2_data(connection, frame, stream);
        break;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            hf_grpc_h2_pong(connection, frame);
        else
            hf_grpc_h2_client_ping(connection);
        break;
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            hf_grpc_h2_police(connection, &connection->settings, 100, 1, HF_GRPC_SETTINGS_FLOODS, "too many settings");
        break;
    case NGHTTP2_RST_STREAM:
        hf_grpc_count(connection->worker, HF_GRPC_RESETS_RECEIVED);
        hf_grpc_h2_police(connection, &connection->resets_in, 1000, 200, HF_GRPC_RESET_FLOODS, "too many resets");
        break;
    case NGHTTP2_PRIORITY:
        hf_grpc_h2_police(connection, &connection->empties, 1000, 100, HF_GRPC_FRAME_FLOODS, "too many priorities");
        break;
    default:
        break;
    }
    return 0;
}

static int hf_grpc_h2_on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t count, void *user)
{
    (void)user;
    (void)flags;
    struct hf_grpc_stream *stream = nghttp2_session_get_stream_user_data(session, id);
    /* The connection's window is never held back, so that a paused stream stops only itself. */
    nghttp2_session_consume_connection(session, count);
    if (stream && stream->speaker)
        stream->speaker->data(stream, bytes, count);
    else
        nghttp2_session_consume_stream(session, id, count);
    return 0;
}

static int hf_grpc_h2_on_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    struct hf_grpc_connection *connection = user;
    struct hf_grpc_stream *stream = nghttp2_session_get_stream_user_data(session, id);
    (void)error;
    if (!stream)
        return 0;
    nghttp2_session_set_stream_user_data(session, id, NULL);
    hf_grpc_connection_remove_stream(connection, stream);
    hf_grpc_stream_closed(stream);
    return 0;
}

static int hf_grpc_h2_on_invalid(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user)
{
    struct hf_grpc_connection *connection = user;
    (void)session;
    (void)error;
    if (frame->hd.type == NGHTTP2_HEADERS)
        connection->header_since_ns = 0;
    hf_grpc_count(connection->worker, HF_GRPC_PROTOCOL_ERRORS);
    hf_grpc_h2_police(connection, &connection->invalid, 2000, 400, HF_GRPC_FRAME_FLOODS, "too many invalid frames");
    return 0;
}

/* ---- What goes ---- */

static int hf_grpc_h2_on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct hf_grpc_connection *connection = user;
    uint8_t type = frame->hd.type;
    if (type == NGHTTP2_RST_STREAM && frame->rst_stream.error_code != NGHTTP2_NO_ERROR) {
        hf_grpc_count(connection->worker, HF_GRPC_RESETS_SENT);
        hf_grpc_h2_police(connection, &connection->resets_out, 1000, 200, HF_GRPC_RESET_FLOODS, "too many resets provoked");
    }
    if (type != NGHTTP2_HEADERS && type != NGHTTP2_DATA)
        return 0;
    connection->ping_strikes = 0;
    connection->client_ping_ns = 0;
    /* RFC 9113, 8.1: a whole answer before the request's end asks the client to stop sending. */
    struct hf_grpc_stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (stream && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        stream->response_ended = true;
        if (!stream->request_ended)
            nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR);
    }
    return 0;
}

static unsigned hf_grpc_h2_fields(const struct hf_grpc_fields *fields, nghttp2_nv *out, unsigned room)
{
    unsigned count = 0;
    for (const struct hf_grpc_field *field = fields->first; field && count < room; field = field->next) {
        /* nghttp2 does not write to them. */
        out[count++] = (nghttp2_nv){(uint8_t *)(uintptr_t)field->name.bytes, (uint8_t *)(uintptr_t)field->value.bytes, field->name.length,
                                    field->value.length, NGHTTP2_NV_FLAG_NONE};
    }
    return count;
}

static ssize_t hf_grpc_h2_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t room, uint32_t *flags,
                               nghttp2_data_source *source, void *user)
{
    struct hf_grpc_stream *stream = source->ptr;
    (void)user;
    size_t moved = hf_grpc_stream_take(stream, out, room);
    if (stream->wants_room && stream->queued_bytes <= stream->worker->server->options.send_queue_max_bytes / 2) {
        stream->wants_room = false;
        stream->speaker->room(stream);
        moved += hf_grpc_stream_take(stream, out + moved, room - moved);
    }
    if (stream->first || !stream->complete)
        return moved > 0 ? (ssize_t)moved : NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream->trailers.first) {
        nghttp2_nv fields[HF_GRPC_H2_FIELDS_MAX];
        unsigned count = hf_grpc_h2_fields(&stream->trailers, fields, HF_GRPC_H2_FIELDS_MAX);
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, id, fields, count))
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return (ssize_t)moved;
}

/* ---- The carrier ---- */

static void hf_grpc_h2_respond(struct hf_grpc_stream *stream, unsigned status, const struct hf_grpc_fields *fields, bool end)
{
    nghttp2_nv list[HF_GRPC_H2_FIELDS_MAX];
    char digits[3] = {(char)('0' + status / 100 % 10), (char)('0' + status / 10 % 10), (char)('0' + status % 10)};
    nghttp2_data_provider provider = {.source.ptr = stream, .read_callback = hf_grpc_h2_read};
    stream->head_sent = true;
    list[0] = (nghttp2_nv){(uint8_t *)(uintptr_t) ":status", (uint8_t *)digits, 7, 3, NGHTTP2_NV_FLAG_NO_COPY_NAME};
    unsigned count = 1 + hf_grpc_h2_fields(fields, list + 1, HF_GRPC_H2_FIELDS_MAX - 1);
    if (nghttp2_submit_response(stream->connection->session, stream->id, list, count, end ? NULL : &provider))
        nghttp2_submit_rst_stream(stream->connection->session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_INTERNAL_ERROR);
    hf_grpc_connection_touch(stream->connection);
}

static void hf_grpc_h2_resume(struct hf_grpc_stream *stream)
{
    /* Fails when the stream was not deferred, which is as well. */
    nghttp2_session_resume_data(stream->connection->session, stream->id);
    hf_grpc_connection_touch(stream->connection);
}

static void hf_grpc_h2_reset(struct hf_grpc_stream *stream)
{
    nghttp2_submit_rst_stream(stream->connection->session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_CANCEL);
    hf_grpc_connection_touch(stream->connection);
}

static void hf_grpc_h2_consume(struct hf_grpc_stream *stream, size_t bytes)
{
    if (bytes == 0)
        return;
    nghttp2_session_consume_stream(stream->connection->session, stream->id, bytes);
    hf_grpc_connection_touch(stream->connection);
}

static const struct hf_grpc_carrier HF_GRPC_H2_CARRIER = {
    .respond = hf_grpc_h2_respond,
    .resume = hf_grpc_h2_resume,
    .reset = hf_grpc_h2_reset,
    .consume = hf_grpc_h2_consume,
};

/* ---- The protocol ---- */

int hf_grpc_h2_setup(struct hf_grpc_server *server)
{
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&server->h2_callbacks) || nghttp2_option_new(&server->h2_options))
        return HF_GRPC_E_MEMORY;
    callbacks = server->h2_callbacks;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, hf_grpc_h2_on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, hf_grpc_h2_on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, hf_grpc_h2_on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, hf_grpc_h2_on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, hf_grpc_h2_on_close);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, hf_grpc_h2_on_invalid);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, hf_grpc_h2_on_sent);
    nghttp2_option_set_no_auto_window_update(server->h2_options, 1);
    /* Looser than the buckets above, which count and say why. */
    nghttp2_option_set_stream_reset_rate_limit(server->h2_options, 2000, 400);
    return 0;
}

void hf_grpc_h2_teardown(struct hf_grpc_server *server)
{
    nghttp2_session_callbacks_del(server->h2_callbacks);
    nghttp2_option_del(server->h2_options);
}

static int hf_grpc_h2_open(struct hf_grpc_connection *connection)
{
    const struct hf_grpc_options *options = &connection->worker->server->options;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options->streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options->stream_window_bytes},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)options->header_list_max_bytes},
    };
    struct hf_grpc_server *server = connection->worker->server;
    if (nghttp2_session_server_new2(&connection->session, server->h2_callbacks, connection, server->h2_options))
        return HF_GRPC_E_MEMORY;
    if (nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof settings[0]) ||
        nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0, (int32_t)options->connection_window_bytes))
        return HF_GRPC_E_MEMORY;
    return 0;
}

static int hf_grpc_h2_feed(struct hf_grpc_connection *connection, const uint8_t *bytes, size_t count)
{
    ssize_t taken = nghttp2_session_mem_recv(connection->session, bytes, count);
    if (taken >= 0)
        return 0;
    struct hf_grpc_worker *worker = connection->worker;
    if (taken == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS) {
        hf_grpc_count(worker, HF_GRPC_CONTINUATION_FLOODS);
        hf_grpc_h2_end(connection, NGHTTP2_ENHANCE_YOUR_CALM, "too many continuations");
    } else if (taken == NGHTTP2_ERR_FLOODED) {
        hf_grpc_count(worker, HF_GRPC_FRAME_FLOODS);
        hf_grpc_h2_end(connection, NGHTTP2_ENHANCE_YOUR_CALM, "too many frames to acknowledge");
    } else {
        hf_grpc_count(worker, HF_GRPC_PROTOCOL_ERRORS);
        hf_grpc_h2_end(connection, NGHTTP2_PROTOCOL_ERROR, "");
    }
    return HF_GRPC_E_IO;
}

static ssize_t hf_grpc_h2_produce(struct hf_grpc_connection *connection, const uint8_t **bytes)
{
    return nghttp2_session_mem_send(connection->session, bytes);
}

static bool hf_grpc_h2_over(struct hf_grpc_connection *connection)
{
    return !nghttp2_session_want_read(connection->session) && !nghttp2_session_want_write(connection->session);
}

static void hf_grpc_h2_close(struct hf_grpc_connection *connection)
{
    while (connection->streams) {
        struct hf_grpc_stream *stream = connection->streams;
        nghttp2_session_set_stream_user_data(connection->session, stream->id, NULL);
        hf_grpc_connection_remove_stream(connection, stream);
        hf_grpc_stream_closed(stream);
    }
    nghttp2_session_del(connection->session);
}

const struct hf_grpc_protocol hf_grpc_h2 = {
    .open = hf_grpc_h2_open,
    .feed = hf_grpc_h2_feed,
    .produce = hf_grpc_h2_produce,
    .over = hf_grpc_h2_over,
    .drain = hf_grpc_h2_drain,
    .ping = hf_grpc_h2_ping,
    .end = hf_grpc_h2_end,
    .close = hf_grpc_h2_close,
};
