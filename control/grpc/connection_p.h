/*
 * A connection: a socket, what is unsent, the limits of time; and the protocol spoken over it, behind struct hf_grpc_protocol.
 *
 * Threads: the loop's. Memory: a connection that says nothing holds no buffers; what is unsent when the socket is full is copied.
 */
#ifndef HF_CONTROL_GRPC_CONNECTION_P_H
#define HF_CONTROL_GRPC_CONNECTION_P_H

#include "control/grpc/server_p.h"
#include "control/grpc/stream_p.h"

struct hf_grpc_connection;

struct hf_grpc_protocol {
    /* The connection begins; bytes already read follow by `feed`. HF_GRPC_E_*. */
    int (*open)(struct hf_grpc_connection *connection);
    /* Takes all bytes. Negative: the connection is to be closed after what it still has to say. */
    int (*feed)(struct hf_grpc_connection *connection, const uint8_t *bytes, size_t count);
    /* The next bytes to send, valid until the next call: their count, 0: none, negative: close. */
    ssize_t (*produce)(struct hf_grpc_connection *connection, const uint8_t **bytes);
    /* Nothing will be read or sent any more. */
    bool (*over)(struct hf_grpc_connection *connection);
    /* Begins to drain; `why` goes to the client. */
    void (*drain)(struct hf_grpc_connection *connection);
    void (*ping)(struct hf_grpc_connection *connection);
    /* Ends it with a reason, after which it is over once that is sent. */
    void (*end)(struct hf_grpc_connection *connection, uint32_t error, const char *why);
    /* The client will send nothing more: whether there is something to answer still. NULL: never. */
    bool (*half_closed)(struct hf_grpc_connection *connection);
    /* Closes the streams and frees what is the protocol's. */
    void (*close)(struct hf_grpc_connection *connection);
};

extern const struct hf_grpc_protocol hf_grpc_h2, hf_grpc_h1;
extern const char HF_GRPC_PREFACE[];
enum { HF_GRPC_PREFACE_BYTES = 24 };

/* A token bucket: `tokens` left of `burst`, `rate` a second coming back. */
struct hf_grpc_bucket {
    uint64_t filled_ns;
    double tokens;
};

struct hf_grpc_connection {
    struct hf_grpc_watch watch;
    struct hf_grpc_worker *worker;
    struct hf_grpc_connection *next, *previous, *next_dirty;
    struct hf_grpc_peer peer;
    const struct hf_grpc_protocol *protocol; /* NULL: the preface is not whole */
    nghttp2_session *session;                /* h2.c's */
    struct hf_grpc_h1 *h1;                   /* h1.c's */
    struct hf_grpc_stream *streams;
    unsigned stream_count;
    uint8_t preface[HF_GRPC_PREFACE_BYTES];
    unsigned preface_bytes;
    bool dirty, closing /* after what is unsent */, broken /* at once */, half_shut, read_stopped, write_armed,
        hold_reading /* the protocol has enough for now */;

    uint8_t *unsent; /* the socket was full */
    size_t unsent_bytes, unsent_at, unsent_room;

    uint64_t accepted_ns, heard_ns, quiet_since_ns /* no streams; 0: some */, header_since_ns /* 0: no open header block */;
    uint64_t blocked_since_ns /* the socket takes nothing; 0: it does */, pinged_ns /* 0: no ping unanswered */, shut_ns;
    uint64_t drain_until_ns; /* 0: not draining */
    bool drain_pinged, goaway_sent;

    /* policing (h2.c) */
    uint64_t client_ping_ns;
    unsigned ping_strikes;
    struct hf_grpc_bucket resets_in, resets_out, settings, empties, invalid;
};

/* Takes a token; false: none left. */
bool hf_grpc_bucket_take(struct hf_grpc_bucket *bucket, uint64_t now_ns, double burst, double rate);
/* Has the connection flushed at the end of the round. */
void hf_grpc_connection_touch(struct hf_grpc_connection *connection);
void hf_grpc_connection_add_stream(struct hf_grpc_connection *connection, struct hf_grpc_stream *stream);
void hf_grpc_connection_remove_stream(struct hf_grpc_connection *connection, struct hf_grpc_stream *stream);

#endif
