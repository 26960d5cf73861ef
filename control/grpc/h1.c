/*
 * HTTP/1.1 over llhttp (RFC 9110, RFC 9112), for plain HTTP requests only: gRPC needs HTTP/2.
 *
 * One request at a time: what comes behind it is held, up to one read, and the socket is not read until the answer is out. A request whose
 * end nobody can tell for sure (both lengths, a chunked 1.0, two hosts) ends its connection, so that nothing of it can pass for another
 * one.
 */
#include <llhttp/llhttp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "control/grpc/connection_p.h"

enum {
    HF_GRPC_H1_PART_BYTES = 8192, /* of an answer's body, framed at once */
    HF_GRPC_H1_WASTE_BYTES = 4096,
    HF_GRPC_H1_WASTE_RATE = 8, /* bytes of chunk headers for each byte of a body, beyond the above */
};

struct hf_grpc_h1 {
    llhttp_t parser;
    struct hf_grpc_stream *stream; /* of the request that is read or answered; NULL: none */
    struct hf_grpc_buffer text;    /* of the target, then of a field: its name and its value */
    size_t name_bytes;
    struct hf_grpc_buffer out;  /* to be sent */
    struct hf_grpc_buffer held; /* came behind the request that is answered */
    uint64_t waste_bytes, body_bytes;
    unsigned hosts;
    unsigned refused; /* status of a request that cannot be read on; 0: none */
    bool head_read, has_body, keep, chunked, bodiless, last_made, half_closed, over;
    bool failed; /* nothing that comes is read any more */
};

static struct hf_grpc_h1 *hf_grpc_h1_of(llhttp_t *parser)
{
    struct hf_grpc_connection *connection = parser->data;
    return connection->h1;
}

static struct hf_grpc_memory *hf_grpc_h1_memory(llhttp_t *parser)
{
    struct hf_grpc_connection *connection = parser->data;
    return &connection->worker->memory;
}

static int hf_grpc_h1_refuse(struct hf_grpc_h1 *h1, unsigned status)
{
    h1->refused = status;
    return -1;
}

/* ---- What goes ---- */

static const char *hf_grpc_h1_reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *reason;
    } reasons[] = {{200, "OK"},
                   {201, "Created"},
                   {204, "No Content"},
                   {304, "Not Modified"},
                   {400, "Bad Request"},
                   {401, "Unauthorized"},
                   {403, "Forbidden"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {408, "Request Timeout"},
                   {409, "Conflict"},
                   {412, "Precondition Failed"},
                   {413, "Content Too Large"},
                   {415, "Unsupported Media Type"},
                   {417, "Expectation Failed"},
                   {421, "Misdirected Request"},
                   {422, "Unprocessable Content"},
                   {429, "Too Many Requests"},
                   {431, "Request Header Fields Too Large"},
                   {500, "Internal Server Error"},
                   {501, "Not Implemented"},
                   {503, "Service Unavailable"},
                   {504, "Gateway Timeout"},
                   {505, "HTTP Version Not Supported"}};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].status == status)
            return reasons[i].reason;
    }
    return "";
}

static void hf_grpc_h1_put(struct hf_grpc_connection *connection, const void *bytes, size_t count)
{
    if (hf_grpc_buffer_append(&connection->worker->memory, &connection->h1->out, bytes, count)) {
        hf_grpc_count(connection->worker, HF_GRPC_MEMORY_FULL);
        connection->broken = true;
    }
}

static void hf_grpc_h1_put_text(struct hf_grpc_connection *connection, const char *text)
{
    hf_grpc_h1_put(connection, text, strlen(text));
}

static void hf_grpc_h1_put_status(struct hf_grpc_connection *connection, unsigned status)
{
    char line[64];
    int bytes = snprintf(line, sizeof line, "HTTP/1.1 %u %s\r\n", status, hf_grpc_h1_reason(status));
    hf_grpc_h1_put(connection, line, (size_t)bytes);
}

/* RFC 9112, 6: how the client finds the body's end. */
static void hf_grpc_h1_put_framing(struct hf_grpc_connection *connection, const struct hf_grpc_stream *stream, bool end, bool length_known)
{
    struct hf_grpc_h1 *h1 = connection->h1;
    bool old = h1->parser.http_minor == 0;
    h1->chunked = false;
    if (!length_known && end && !h1->bodiless)
        hf_grpc_h1_put_text(connection, "content-length: 0\r\n");
    if (!length_known && !end && old)
        h1->keep = false;
    if (!length_known && !end && !old) {
        h1->chunked = !hf_grpc_bytes_are(stream->method, "HEAD");
        hf_grpc_h1_put_text(connection, "transfer-encoding: chunked\r\n");
    }
    if (!h1->keep)
        hf_grpc_h1_put_text(connection, "connection: close\r\n");
    else if (old)
        hf_grpc_h1_put_text(connection, "connection: keep-alive\r\n");
    hf_grpc_h1_put_text(connection, "\r\n");
}

static void hf_grpc_h1_respond(struct hf_grpc_stream *stream, unsigned status, const struct hf_grpc_fields *fields, bool end)
{
    struct hf_grpc_connection *connection = stream->connection;
    struct hf_grpc_h1 *h1 = connection->h1;
    bool length_known = false;
    stream->head_sent = true;
    /* An answer before the request's end is the last: what else comes is not read. */
    h1->keep = h1->keep && (stream->request_ended || !h1->has_body) && connection->drain_until_ns == 0;
    h1->bodiless = status == 204 || status == 304 || hf_grpc_bytes_are(stream->method, "HEAD");
    hf_grpc_h1_put_status(connection, status);
    for (const struct hf_grpc_field *field = fields->first; field; field = field->next) {
        length_known |= hf_grpc_bytes_are(field->name, "content-length");
        hf_grpc_h1_put(connection, field->name.bytes, field->name.length);
        hf_grpc_h1_put(connection, ": ", 2);
        hf_grpc_h1_put(connection, field->value.bytes, field->value.length);
        hf_grpc_h1_put(connection, "\r\n", 2);
    }
    hf_grpc_h1_put_framing(connection, stream, end, length_known);
    hf_grpc_connection_touch(connection);
}

static void hf_grpc_h1_resume(struct hf_grpc_stream *stream)
{
    hf_grpc_connection_touch(stream->connection);
}

static void hf_grpc_h1_reset(struct hf_grpc_stream *stream)
{
    stream->connection->broken = true;
    hf_grpc_count(stream->worker, HF_GRPC_RESETS_SENT);
    hf_grpc_connection_touch(stream->connection);
}

static void hf_grpc_h1_consume(struct hf_grpc_stream *stream, size_t bytes)
{
    (void)stream;
    (void)bytes;
}

static const struct hf_grpc_carrier HF_GRPC_H1_CARRIER = {
    .respond = hf_grpc_h1_respond,
    .resume = hf_grpc_h1_resume,
    .reset = hf_grpc_h1_reset,
    .consume = hf_grpc_h1_consume,
    .plain = true,
};

/* ---- What comes ---- */

static int hf_grpc_h1_on_begin(llhttp_t *parser)
{
    struct hf_grpc_connection *connection = parser->data;
    struct hf_grpc_h1 *h1 = connection->h1;
    struct hf_grpc_stream *stream = hf_grpc_stream_create(connection->worker, &HF_GRPC_H1_CARRIER);
    if (!stream)
        return hf_grpc_h1_refuse(h1, 503);
    stream->peer = connection->peer;
    hf_grpc_connection_add_stream(connection, stream);
    h1->stream = stream;
    h1->waste_bytes = h1->body_bytes = 0;
    h1->hosts = 0;
    h1->head_read = h1->has_body = h1->last_made = false;
    connection->header_since_ns = hf_grpc_loop_now_ns(connection->worker->loop);
    return 0;
}

/* More of the target or a field, however it was cut. */
static int hf_grpc_h1_gather(llhttp_t *parser, const char *bytes, size_t count)
{
    struct hf_grpc_connection *connection = parser->data;
    struct hf_grpc_h1 *h1 = connection->h1;
    if (h1->text.end - h1->text.begin + count > connection->worker->server->options.header_list_max_bytes)
        return hf_grpc_h1_refuse(h1, 431);
    return hf_grpc_buffer_append(&connection->worker->memory, &h1->text, bytes, count) ? hf_grpc_h1_refuse(h1, 503) : 0;
}

static int hf_grpc_h1_on_target(llhttp_t *parser)
{
    struct hf_grpc_h1 *h1 = hf_grpc_h1_of(parser);
    struct hf_grpc_bytes target = {h1->text.bytes + h1->text.begin, h1->text.end - h1->text.begin}, path = target;
    static const char scheme[] = "http://";
    /* RFC 9112, 3.2.2: a client may name the whole address, as to a proxy. */
    if (target.length >= sizeof scheme - 1 && strncasecmp((const char *)target.bytes, scheme, sizeof scheme - 1) == 0) {
        struct hf_grpc_bytes rest = {target.bytes + sizeof scheme - 1, target.length - (sizeof scheme - 1)};
        const uint8_t *slash = memchr(rest.bytes, '/', rest.length);
        path = slash ? (struct hf_grpc_bytes){slash, (size_t)(rest.bytes + rest.length - slash)} : hf_grpc_bytes_of("/");
        rest.length -= slash ? path.length : 0;
        hf_grpc_stream_field(h1->stream, hf_grpc_bytes_of(":authority"), rest);
    } else if (target.bytes[0] != '/' && !(target.length == 1 && target.bytes[0] == '*' && parser->method == HTTP_OPTIONS)) {
        return hf_grpc_h1_refuse(h1, 400);
    }
    hf_grpc_stream_field(h1->stream, hf_grpc_bytes_of(":path"), path);
    hf_grpc_buffer_clear(hf_grpc_h1_memory(parser), &h1->text);
    return 0;
}

static int hf_grpc_h1_on_name(llhttp_t *parser)
{
    struct hf_grpc_h1 *h1 = hf_grpc_h1_of(parser);
    const uint8_t *name = h1->text.bytes + h1->text.begin;
    h1->name_bytes = h1->text.end - h1->text.begin;
    /* RFC 9110, 5.6.2; a blank before the colon has made two servers see two requests where there was one. */
    for (size_t i = 0; i < h1->name_bytes; i++) {
        if (name[i] <= ' ' || name[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", name[i]))
            return hf_grpc_h1_refuse(h1, 400);
    }
    return h1->name_bytes > 0 ? 0 : hf_grpc_h1_refuse(h1, 400);
}

static int hf_grpc_h1_on_field(llhttp_t *parser)
{
    struct hf_grpc_h1 *h1 = hf_grpc_h1_of(parser);
    uint8_t *name = h1->text.bytes + h1->text.begin;
    struct hf_grpc_bytes value = {name + h1->name_bytes, h1->text.end - h1->text.begin - h1->name_bytes};
    /* What follows a body (trailers) is read and forgotten. */
    if (!h1->head_read) {
        for (size_t i = 0; i < h1->name_bytes; i++)
            name[i] |= name[i] >= 'A' && name[i] <= 'Z' ? 0x20 : 0;
        while (value.length > 0 && (value.bytes[value.length - 1] == ' ' || value.bytes[value.length - 1] == '\t'))
            value.length--;
        struct hf_grpc_bytes lower = {name, h1->name_bytes};
        h1->hosts += hf_grpc_bytes_are(lower, "host");
        hf_grpc_stream_field(h1->stream, lower, value);
    }
    h1->text.begin = h1->text.end = 0;
    h1->name_bytes = 0;
    return h1->stream->fields_too_large ? hf_grpc_h1_refuse(h1, 431) : 0;
}

/* 0, or the status of a head that cannot be served. */
static unsigned hf_grpc_h1_head_fault(const struct hf_grpc_h1 *h1, const llhttp_t *parser, bool *waits)
{
    const struct hf_grpc_field *expect = hf_grpc_stream_find(h1->stream, "expect");
    bool old = parser->http_minor == 0;
    if (parser->http_major != 1)
        return 505;
    if (h1->hosts > 1 || (h1->hosts == 0 && !old))
        return 400;
    if (old && (parser->flags & F_CHUNKED))
        return 400;
    if (!expect || old)
        return 0;
    *waits = expect->value.length == 12 && strncasecmp((const char *)expect->value.bytes, "100-continue", 12) == 0;
    return *waits ? 0 : 417;
}

static int hf_grpc_h1_on_head(llhttp_t *parser)
{
    struct hf_grpc_connection *connection = parser->data;
    struct hf_grpc_h1 *h1 = connection->h1;
    bool waits = false;
    hf_grpc_buffer_clear(&connection->worker->memory, &h1->text);
    h1->head_read = true;
    connection->header_since_ns = 0;
    unsigned fault = hf_grpc_h1_head_fault(h1, parser, &waits);
    if (fault)
        return hf_grpc_h1_refuse(h1, fault);
    /* Nothing is upgraded to here: h2c begins with its preface. */
    parser->upgrade = 0;
    h1->keep = llhttp_should_keep_alive(parser) && !h1->half_closed;
    h1->has_body = (parser->flags & F_CHUNKED) || parser->content_length > 0;
    hf_grpc_stream_field(h1->stream, hf_grpc_bytes_of(":method"), hf_grpc_bytes_of(llhttp_method_name(parser->method)));
    hf_grpc_dispatch(h1->stream);
    if (waits && h1->has_body && !h1->stream->head_sent)
        hf_grpc_h1_put_text(connection, "HTTP/1.1 100 Continue\r\n\r\n");
    return 0;
}

static int hf_grpc_h1_on_body(llhttp_t *parser, const char *bytes, size_t count)
{
    struct hf_grpc_h1 *h1 = hf_grpc_h1_of(parser);
    h1->body_bytes += count;
    if (h1->stream->speaker)
        h1->stream->speaker->data(h1->stream, (const uint8_t *)bytes, count);
    return 0;
}

static int hf_grpc_h1_on_end(llhttp_t *parser)
{
    struct hf_grpc_h1 *h1 = hf_grpc_h1_of(parser);
    h1->stream->request_ended = true;
    if (h1->stream->speaker)
        h1->stream->speaker->end(h1->stream);
    return HPE_PAUSED;
}

static const llhttp_settings_t HF_GRPC_H1_SETTINGS = {
    .on_message_begin = hf_grpc_h1_on_begin,
    .on_url = hf_grpc_h1_gather,
    .on_url_complete = hf_grpc_h1_on_target,
    .on_header_field = hf_grpc_h1_gather,
    .on_header_field_complete = hf_grpc_h1_on_name,
    .on_header_value = hf_grpc_h1_gather,
    .on_header_value_complete = hf_grpc_h1_on_field,
    .on_headers_complete = hf_grpc_h1_on_head,
    .on_body = hf_grpc_h1_on_body,
    .on_message_complete = hf_grpc_h1_on_end,
};

/* ---- The connection ---- */

static void hf_grpc_h1_finish(struct hf_grpc_connection *connection)
{
    connection->h1->over = true;
    hf_grpc_connection_touch(connection);
}

/* Says what was wrong, unless an answer has begun, and ends; behind the answer where all of it is queued. */
static void hf_grpc_h1_fail(struct hf_grpc_connection *connection, unsigned status)
{
    struct hf_grpc_h1 *h1 = connection->h1;
    struct hf_grpc_stream *stream = h1->stream;
    h1->failed = true;
    if (stream && stream->head_sent && stream->complete) {
        h1->keep = false;
        return;
    }
    if (!stream || !stream->head_sent) {
        hf_grpc_h1_put_status(connection, status);
        hf_grpc_h1_put_text(connection, "content-length: 0\r\nconnection: close\r\n\r\n");
        if (stream)
            stream->head_sent = stream->complete = true;
    }
    connection->header_since_ns = 0;
    hf_grpc_h1_finish(connection);
}

/* Chunk headers, their extensions and trailers are no body: a request may not consist of them. */
static bool hf_grpc_h1_wasteful(struct hf_grpc_connection *connection, size_t count, uint64_t body_before)
{
    struct hf_grpc_h1 *h1 = connection->h1;
    if (!h1->stream || !h1->head_read)
        return false;
    uint64_t body = h1->body_bytes > body_before ? h1->body_bytes - body_before : 0;
    h1->waste_bytes += count > body ? count - body : 0;
    return h1->waste_bytes > connection->worker->server->options.header_list_max_bytes + HF_GRPC_H1_WASTE_BYTES + HF_GRPC_SCRATCH_BYTES +
                                 HF_GRPC_H1_WASTE_RATE * h1->body_bytes;
}

static void hf_grpc_h1_hold(struct hf_grpc_connection *connection, const uint8_t *bytes, size_t count)
{
    if (count == 0)
        return;
    connection->hold_reading = true;
    if (hf_grpc_buffer_append(&connection->worker->memory, &connection->h1->held, bytes, count)) {
        hf_grpc_count(connection->worker, HF_GRPC_MEMORY_FULL);
        connection->broken = true;
    }
}

/* Reads up to the end of one request and holds the rest. */
static void hf_grpc_h1_execute(struct hf_grpc_connection *connection, const uint8_t *bytes, size_t count)
{
    struct hf_grpc_h1 *h1 = connection->h1;
    uint64_t body_before = h1->stream ? h1->body_bytes : 0;
    enum llhttp_errno found = llhttp_execute(&h1->parser, (const char *)bytes, count);
    if (found == HPE_PAUSED) {
        size_t taken = (size_t)(llhttp_get_error_pos(&h1->parser) - (const char *)bytes);
        llhttp_resume(&h1->parser);
        hf_grpc_h1_hold(connection, bytes + taken, count - taken);
        return;
    }
    bool wasteful = found == HPE_OK && hf_grpc_h1_wasteful(connection, count, body_before);
    if (found == HPE_OK && !wasteful)
        return;
    hf_grpc_count(connection->worker, h1->refused == 431   ? HF_GRPC_HEADERS_TOO_LARGE
                                      : h1->refused == 503 ? HF_GRPC_MEMORY_FULL
                                                           : HF_GRPC_HTTP1_ERRORS);
    hf_grpc_h1_fail(connection, wasteful ? 413 : h1->refused ? h1->refused : 400);
}

static int hf_grpc_h1_feed(struct hf_grpc_connection *connection, const uint8_t *bytes, size_t count)
{
    struct hf_grpc_h1 *h1 = connection->h1;
    if (h1->over || h1->failed)
        return 0;
    if ((h1->stream && h1->stream->request_ended) || h1->held.end > h1->held.begin)
        hf_grpc_h1_hold(connection, bytes, count);
    else
        hf_grpc_h1_execute(connection, bytes, count);
    return 0;
}

/* The answer is out: the next request, or the end. */
static void hf_grpc_h1_next(struct hf_grpc_connection *connection)
{
    struct hf_grpc_h1 *h1 = connection->h1;
    struct hf_grpc_stream *stream = h1->stream;
    struct hf_grpc_memory *memory = &connection->worker->memory;
    stream->response_ended = true;
    h1->keep = h1->keep && stream->request_ended;
    if (!h1->keep) {
        hf_grpc_h1_finish(connection);
        return;
    }
    h1->stream = NULL;
    hf_grpc_connection_remove_stream(connection, stream);
    hf_grpc_stream_closed(stream);
    struct hf_grpc_buffer held = h1->held;
    h1->held = (struct hf_grpc_buffer){0};
    connection->hold_reading = h1->half_closed;
    if (held.end > held.begin)
        hf_grpc_h1_execute(connection, held.bytes + held.begin, held.end - held.begin);
    hf_grpc_buffer_clear(memory, &held);
    if (h1->half_closed && !(h1->stream && h1->stream->request_ended))
        hf_grpc_h1_finish(connection);
}

/* Frames a part of the answer's body. False: there is nothing of it now. */
static bool hf_grpc_h1_frame(struct hf_grpc_connection *connection)
{
    struct hf_grpc_h1 *h1 = connection->h1;
    struct hf_grpc_stream *stream = h1->stream;
    uint8_t part[HF_GRPC_H1_PART_BYTES];
    char line[24];
    size_t count = hf_grpc_stream_take(stream, part, sizeof part);
    if (count > 0 && !h1->bodiless) {
        if (h1->chunked)
            hf_grpc_h1_put(connection, line, (size_t)snprintf(line, sizeof line, "%zx\r\n", count));
        hf_grpc_h1_put(connection, part, count);
        if (h1->chunked)
            hf_grpc_h1_put(connection, "\r\n", 2);
    }
    if (stream->wants_room && stream->queued_bytes <= stream->worker->server->options.send_queue_max_bytes / 2) {
        stream->wants_room = false;
        stream->speaker->room(stream);
    }
    if (count > 0)
        return true;
    if (stream->first || !stream->complete || h1->last_made)
        return stream->first != NULL;
    h1->last_made = true;
    if (h1->chunked)
        hf_grpc_h1_put(connection, "0\r\n\r\n", 5);
    return true;
}

static ssize_t hf_grpc_h1_produce(struct hf_grpc_connection *connection, const uint8_t **bytes)
{
    struct hf_grpc_h1 *h1 = connection->h1;
    while (h1->out.end == h1->out.begin && !h1->over && h1->stream && h1->stream->head_sent && !connection->broken) {
        if (h1->last_made)
            hf_grpc_h1_next(connection);
        else if (!hf_grpc_h1_frame(connection))
            break;
    }
    size_t count = h1->out.end - h1->out.begin;
    if (connection->broken)
        return -1;
    if (count == 0) {
        hf_grpc_buffer_clear(&connection->worker->memory, &h1->out);
        return 0;
    }
    count = count < HF_GRPC_SCRATCH_BYTES ? count : HF_GRPC_SCRATCH_BYTES;
    *bytes = h1->out.bytes + h1->out.begin;
    h1->out.begin += count;
    return (ssize_t)count;
}

static int hf_grpc_h1_open(struct hf_grpc_connection *connection)
{
    struct hf_grpc_h1 *h1 = hf_grpc_memory_take(&connection->worker->memory, sizeof *h1);
    if (!h1) {
        hf_grpc_count(connection->worker, HF_GRPC_MEMORY_FULL);
        return HF_GRPC_E_MEMORY;
    }
    *h1 = (struct hf_grpc_h1){.keep = true};
    llhttp_init(&h1->parser, HTTP_REQUEST, &HF_GRPC_H1_SETTINGS);
    h1->parser.data = connection;
    connection->h1 = h1;
    /* There are no pings: the kernel finds out that a client has vanished. */
    setsockopt(connection->watch.fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
    hf_grpc_count(connection->worker, HF_GRPC_HTTP1_CONNECTIONS);
    return 0;
}

static bool hf_grpc_h1_over(struct hf_grpc_connection *connection)
{
    const struct hf_grpc_h1 *h1 = connection->h1;
    return h1->over && h1->out.end == h1->out.begin;
}

static void hf_grpc_h1_drain(struct hf_grpc_connection *connection)
{
    connection->h1->keep = false;
    if (!connection->h1->stream)
        hf_grpc_h1_finish(connection);
}

/* There are no pings: a connection without a request has its idle time, and a request its own limits. */
static void hf_grpc_h1_ping(struct hf_grpc_connection *connection)
{
    connection->pinged_ns = 0;
    connection->heard_ns = hf_grpc_loop_now_ns(connection->worker->loop);
}

static void hf_grpc_h1_end(struct hf_grpc_connection *connection, uint32_t error, const char *why)
{
    (void)error;
    (void)why;
    if (connection->header_since_ns)
        hf_grpc_h1_fail(connection, 408);
    else
        hf_grpc_h1_finish(connection);
}

static bool hf_grpc_h1_half_closed(struct hf_grpc_connection *connection)
{
    struct hf_grpc_h1 *h1 = connection->h1;
    const struct hf_grpc_stream *stream = h1->stream;
    bool unsent = connection->unsent_bytes > 0 || h1->out.end > h1->out.begin;
    /* Nobody would ever say that the reader of an answer without end is gone. */
    bool endless = stream && stream->head_sent && !stream->complete;
    if (h1->over || !stream ? !unsent : !stream->request_ended || endless)
        return false;
    h1->half_closed = connection->hold_reading = true;
    h1->over |= !h1->stream;
    if (h1->held.end == h1->held.begin)
        h1->keep = false;
    return true;
}

static void hf_grpc_h1_close(struct hf_grpc_connection *connection)
{
    struct hf_grpc_h1 *h1 = connection->h1;
    struct hf_grpc_memory *memory = &connection->worker->memory;
    struct hf_grpc_stream *stream = h1 ? h1->stream : NULL;
    if (!h1)
        return;
    h1->stream = NULL;
    if (stream) {
        hf_grpc_connection_remove_stream(connection, stream);
        hf_grpc_stream_closed(stream);
    }
    hf_grpc_buffer_clear(memory, &h1->text);
    hf_grpc_buffer_clear(memory, &h1->out);
    hf_grpc_buffer_clear(memory, &h1->held);
    hf_grpc_memory_give(memory, h1, sizeof *h1);
    connection->h1 = NULL;
    connection->hold_reading = false;
}

const struct hf_grpc_protocol hf_grpc_h1 = {
    .open = hf_grpc_h1_open,
    .feed = hf_grpc_h1_feed,
    .produce = hf_grpc_h1_produce,
    .over = hf_grpc_h1_over,
    .drain = hf_grpc_h1_drain,
    .ping = hf_grpc_h1_ping,
    .end = hf_grpc_h1_end,
    .half_closed = hf_grpc_h1_half_closed,
    .close = hf_grpc_h1_close,
};
