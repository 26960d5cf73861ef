/*
 * An HTTP exchange: one request and its response, whatever carries it (HTTP/2, HTTP/1.1) and whoever speaks over it (a gRPC call, a plain
 * HTTP handler). The carrier is reached through struct hf_grpc_carrier, the speaker through struct hf_grpc_speaker.
 *
 * Threads: the loop's. Memory: a stream, its fields and its speaker live in one block and an arena that begins in it; reference counted.
 */
#ifndef HF_CONTROL_GRPC_STREAM_P_H
#define HF_CONTROL_GRPC_STREAM_P_H

#include "control/grpc/grpc.h"
#include "control/grpc/memory.h"

struct hf_grpc_stream;
struct hf_grpc_connection;
struct hf_grpc_worker;

struct hf_grpc_field {
    struct hf_grpc_field *next;
    struct hf_grpc_bytes name, value;
};

struct hf_grpc_fields {
    struct hf_grpc_field *first, **last;
    unsigned count;
};

/* Bytes queued to be sent. */
struct hf_grpc_piece {
    struct hf_grpc_piece *next;
    size_t bytes, sent;
    bool in_arena; /* else taken from the loop's memory */
    uint8_t data[];
};

struct hf_grpc_carrier {
    /* Sends the response's head: `status` and the fields; the body comes from the queue unless `end`. */
    void (*respond)(struct hf_grpc_stream *stream, unsigned status, const struct hf_grpc_fields *fields, bool end);
    /* The queue has more, or is complete. */
    void (*resume)(struct hf_grpc_stream *stream);
    /* Gives the stream up. */
    void (*reset)(struct hf_grpc_stream *stream);
    /* `bytes` of the body were taken: the client may send as many more. */
    void (*consume)(struct hf_grpc_stream *stream, size_t bytes);
    bool plain; /* it has no trailers after an answer, and so no gRPC */
};

struct hf_grpc_speaker {
    void (*data)(struct hf_grpc_stream *stream, const uint8_t *bytes, size_t count);
    void (*end)(struct hf_grpc_stream *stream);     /* of the request */
    void (*room)(struct hf_grpc_stream *stream);    /* the queue was full and has room */
    void (*late)(struct hf_grpc_stream *stream);    /* what began to come did not come whole in time */
    void (*closed)(struct hf_grpc_stream *stream);  /* last; the carrier is gone */
    void (*deleted)(struct hf_grpc_stream *stream); /* its memory goes */
};

struct hf_grpc_stream {
    struct hf_grpc_worker *worker;
    struct hf_grpc_connection *connection;  /* NULL once closed */
    struct hf_grpc_stream *next, *previous; /* of the connection */
    const struct hf_grpc_carrier *carrier;
    const struct hf_grpc_speaker *speaker; /* NULL until the request's head is whole */
    void *speaking;                        /* the speaker's */
    struct hf_grpc_peer peer;
    struct hf_grpc_arena arena;
    unsigned references;
    int32_t id;

    /* request */
    struct hf_grpc_fields fields; /* without pseudo-header fields */
    struct hf_grpc_bytes method, path, authority, scheme;
    size_t field_bytes;
    bool fields_too_large, out_of_memory, request_ended;
    uint64_t receiving_since_ns; /* something began to come and is not whole; 0: no */

    /* response */
    struct hf_grpc_piece *first, **last;
    size_t queued_bytes;
    struct hf_grpc_fields trailers;
    bool head_sent, complete /* nothing is queued any more */, wants_room, response_ended;
    uint64_t sending_since_ns; /* something is queued and nothing of it was taken since; 0: nothing queued */
};

/* NULL: out of memory. It has one reference, the carrier's. */
struct hf_grpc_stream *hf_grpc_stream_create(struct hf_grpc_worker *worker, const struct hf_grpc_carrier *carrier);
void hf_grpc_stream_keep(struct hf_grpc_stream *stream);
void hf_grpc_stream_drop(struct hf_grpc_stream *stream);
/* The carrier's side is over: tells the speaker, empties the queue and drops the carrier's reference. */
void hf_grpc_stream_closed(struct hf_grpc_stream *stream);

/* One field of the request's head: copied. A pseudo-header field is kept apart. */
void hf_grpc_stream_field(struct hf_grpc_stream *stream, struct hf_grpc_bytes name, struct hf_grpc_bytes value);
/* NULL: the request has no such field. */
const struct hf_grpc_field *hf_grpc_stream_find(const struct hf_grpc_stream *stream, const char *name);

/* Appends to a list in the stream's arena without copying the bytes. HF_GRPC_E_MEMORY. */
int hf_grpc_fields_add(struct hf_grpc_stream *stream, struct hf_grpc_fields *fields, struct hf_grpc_bytes name, struct hf_grpc_bytes value);
struct hf_grpc_bytes hf_grpc_bytes_of(const char *text);
bool hf_grpc_bytes_are(struct hf_grpc_bytes bytes, const char *text);

/* Room for a piece of `bytes`, to be filled and queued by hf_grpc_stream_queue (or forgotten by hf_grpc_piece_give). NULL: out of memory.
 */
struct hf_grpc_piece *hf_grpc_piece_take(struct hf_grpc_stream *stream, size_t bytes, bool once);
void hf_grpc_piece_give(struct hf_grpc_stream *stream, struct hf_grpc_piece *piece);
void hf_grpc_stream_queue(struct hf_grpc_stream *stream, struct hf_grpc_piece *piece);
void hf_grpc_stream_drop_queue(struct hf_grpc_stream *stream);
/* Moves up to `room` queued bytes to `out`; for the carrier. */
size_t hf_grpc_stream_take(struct hf_grpc_stream *stream, uint8_t *out, size_t room);

#endif
