/*
 * A gRPC server over HTTP/2 (nghttp2) and protobuf-c. It knows nothing of what it serves.
 *
 * Followed: "gRPC over HTTP2" (PROTOCOL-HTTP2.md of the gRPC project), RFC 9113, grpc.health.v1, grpc.reflection.v1 and v1alpha.
 *
 * Threads: a server has one or more loops, each a thread of its own; a connection and its calls belong to one loop for life. Handlers run
 * on the loop's thread and must not block. Every function here that takes a call belongs to that thread, except the ones that say "any
 * thread". Another thread that has an answer posts a task (hf_grpc_post) which then runs on the loop.
 *
 * Memory: a call lives until its stream is over, `done` has returned and everybody who kept it has dropped it. Everything a client can make
 * grow is bounded by struct hf_grpc_options; what does not fit is answered RESOURCE_EXHAUSTED or closed, and counted.
 *
 * Failure: 0 or a negative HF_GRPC_E_*.
 */
#ifndef HF_CONTROL_GRPC_GRPC_H
#define HF_CONTROL_GRPC_GRPC_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "control/grpc/counters.h"

struct hf_grpc_server;
struct hf_grpc_call;
struct hf_grpc_loop;

/* Status codes of gRPC. */
enum hf_grpc_code {
    HF_GRPC_OK,
    HF_GRPC_CANCELLED,
    HF_GRPC_UNKNOWN,
    HF_GRPC_INVALID_ARGUMENT,
    HF_GRPC_DEADLINE_EXCEEDED,
    HF_GRPC_NOT_FOUND,
    HF_GRPC_ALREADY_EXISTS,
    HF_GRPC_PERMISSION_DENIED,
    HF_GRPC_RESOURCE_EXHAUSTED,
    HF_GRPC_FAILED_PRECONDITION,
    HF_GRPC_ABORTED,
    HF_GRPC_OUT_OF_RANGE,
    HF_GRPC_UNIMPLEMENTED,
    HF_GRPC_INTERNAL,
    HF_GRPC_UNAVAILABLE,
    HF_GRPC_DATA_LOSS,
    HF_GRPC_UNAUTHENTICATED,
    HF_GRPC_CODES
};

enum hf_grpc_error {
    HF_GRPC_E_USAGE = -1,  /* arguments make no sense */
    HF_GRPC_E_IO = -2,     /* socket, bind, thread; errno says which */
    HF_GRPC_E_MEMORY = -3, /* an allocation failed or the loop's memory bound is reached */
    HF_GRPC_E_FULL = -4,   /* the call's send queue is full: `writable` is called when it has room */
    HF_GRPC_E_ENDED = -5,  /* the call is over */
};

/* Bytes with a length; text is not terminated. */
struct hf_grpc_bytes {
    const uint8_t *bytes;
    size_t length;
};

/* One google.protobuf.Any of a status's details: `type_url` as in "type.googleapis.com/google.rpc.ErrorInfo". */
struct hf_grpc_detail {
    const char *type_url;
    struct hf_grpc_bytes value;
};

struct hf_grpc_status {
    enum hf_grpc_code code;
    const char *message; /* UTF-8 or NULL */
    const struct hf_grpc_detail *details;
    unsigned detail_count;
};

/* Who is at the other end. */
struct hf_grpc_peer {
    unsigned listener; /* in the order of options.listen */
    bool is_unix;
    uid_t uid; /* unix only */
    gid_t gid;
    pid_t pid;
    char address[64]; /* "127.0.0.1:4711", "[::1]:4711" or "unix" */
    char local[64];   /* the same of this end */
};

/* A piece of work for a loop. Its memory is the poster's until `run` is called, and again from then on; it may be in one queue once. */
struct hf_grpc_task {
    struct hf_grpc_task *next;
    void (*run)(struct hf_grpc_task *task);
};

/* What the application does for one method. Callbacks that are not set are skipped. */
struct hf_grpc_method {
    const char *name; /* as in the service's descriptor */

    /* Headers came; here metadata can be judged. Finishing the call here is allowed. */
    void (*start)(struct hf_grpc_call *call, void *context);

    /* One request message. Unary and server streaming: exactly once, after the client has ended its side; the message lives as long as the
     * call. Client and bidirectional streaming: once a message; it lives until this returns. */
    void (*message)(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context);

    /* The client has sent everything; after the last `message`. */
    void (*half_close)(struct hf_grpc_call *call, void *context);

    /* After HF_GRPC_E_FULL: the send queue has room. */
    void (*writable)(struct hf_grpc_call *call, void *context);

    /* Once, last: the call is over, finished or not. `code` is how it ended: CANCELLED for a reset or a lost connection, DEADLINE_EXCEEDED
     * when the deadline came first. Kept calls still exist; sending on them says HF_GRPC_E_ENDED. */
    void (*done)(struct hf_grpc_call *call, enum hf_grpc_code code, void *context);
};

/* Methods of the descriptor without a row in `methods` answer UNIMPLEMENTED. All of it must outlive the server. */
struct hf_grpc_service {
    const ProtobufCServiceDescriptor *descriptor;
    const char *name; /* as which it is served, with its package; NULL: the descriptor's */
    const struct hf_grpc_method *methods;
    unsigned method_count;
    void *context;
};

/* What a finished call was, for metrics and a request log. Valid during the callback. */
struct hf_grpc_call_report {
    const char *service, *method; /* "?" for an unknown one */
    enum hf_grpc_code code;
    uint64_t duration_ns;
    uint64_t messages_in, messages_out;
    const struct hf_grpc_peer *peer;
};

struct hf_http_handler;

/* 0 or NULL means the default in brackets. Times in milliseconds. */
struct hf_grpc_options {
    const char *const *listen; /* tcp://HOST:PORT (a name's first address; port 0: any free one), unix://PATH */
    unsigned listen_count;
    unsigned loops;                                            /* [1] */
    mode_t unix_mode;                                          /* of the socket file [0600] */
    unsigned connections_max;                                  /* of all loops [1024] */
    unsigned streams_max;                                      /* concurrent, of one connection [100] */
    unsigned calls_max;                                        /* in flight in one loop [16384] */
    size_t memory_max_bytes;                                   /* of one loop: messages, queues, unpacked messages [256 MiB] */
    size_t message_max_bytes;                                  /* uncompressed [4 MiB] */
    size_t header_list_max_bytes;                              /* RFC 9113 6.5.2 [16 KiB, at most 60 KiB] */
    size_t send_queue_max_bytes;                               /* of one call; it may exceed it by one message [64 KiB] */
    size_t compress_min_bytes;                                 /* smaller messages are not compressed [512] */
    uint32_t stream_window_bytes;                              /* [256 KiB] */
    uint32_t connection_window_bytes;                          /* [1 MiB] */
    unsigned handshake_timeout_ms;                             /* until the preface is whole [10 s] */
    unsigned idle_timeout_ms;                                  /* without a stream [15 min] */
    unsigned header_timeout_ms;                                /* a header block begun and not ended [10 s] */
    unsigned receive_timeout_ms;                               /* a message begun, or a unary request, and not ended [60 s] */
    unsigned send_timeout_ms;                                  /* a reader that takes nothing of what is queued for it [60 s] */
    unsigned keepalive_time_ms;                                /* silence after which the server pings [2 h] */
    unsigned keepalive_timeout_ms;                             /* without an answer to that ping [20 s] */
    unsigned ping_interval_min_ms;                             /* of the client's pings; two nearer ones are forgiven [5 min] */
    unsigned age_max_ms;                                       /* of a connection, then it is drained [never] */
    unsigned age_grace_ms;                                     /* for streams of a drained connection [1 min] */
    void (*thread_start)(void *context, unsigned loop);        /* first on each loop's thread: name, affinity */
    bool (*admit)(void *context, const struct hf_grpc_peer *); /* of a new connection, on its loop; false closes it */
    void (*call_done)(void *context, const struct hf_grpc_call_report *report); /* on the call's loop */
    /* before `start` of each call; a code other than OK ends the call with it, `*message` is static text */
    enum hf_grpc_code (*authorize)(void *context, struct hf_grpc_call *call, const char **message);
    void *context;                      /* of the four above */
    const struct hf_http_handler *http; /* requests that are not gRPC (http.h); NULL: they get 415. Must outlive the server */
    bool http1;                         /* a connection that does not begin with HTTP/2's preface speaks HTTP/1.1, for `http` only */
};

/* Copies the options (not what they point to). Binds nothing yet. */
int hf_grpc_server_create(const struct hf_grpc_options *options, struct hf_grpc_server **out);

/*
 * A serialised google.protobuf.FileDescriptorSet with imports (protoc --include_imports --descriptor_set_out), which must outlive the
 * server. protobuf-c keeps neither the kinds of methods nor files, so a service's set is added before the service; reflection serves it.
 * HF_GRPC_E_USAGE: not a descriptor set.
 */
int hf_grpc_server_add_descriptors(struct hf_grpc_server *server, const void *set, size_t set_bytes);
/* Before start. HF_GRPC_E_USAGE: known already, or not in any descriptor set added. */
int hf_grpc_server_add_service(struct hf_grpc_server *server, const struct hf_grpc_service *service);
/* grpc.health.v1.Health; services set later with hf_grpc_health_set. Before start. */
int hf_grpc_server_add_health(struct hf_grpc_server *server);
/* grpc.reflection.v1 and v1alpha over all descriptors added. Before start. */
int hf_grpc_server_add_reflection(struct hf_grpc_server *server);

/* Binds the listeners and starts the loops. HF_GRPC_E_USAGE: an address that cannot be read; HF_GRPC_E_IO: errno says why. */
int hf_grpc_server_start(struct hf_grpc_server *server);
/* The TCP port that listener got, 0 for unix. After start; any thread. */
uint16_t hf_grpc_server_port(const struct hf_grpc_server *server, unsigned listener);
/* Closes the listeners, says NOT_SERVING, tells clients to go (GOAWAY) and lets calls end; after `grace_ms` the rest is cut. Any thread;
 * does not wait. */
void hf_grpc_server_drain(struct hf_grpc_server *server, unsigned grace_ms);
/* Connections left. Any thread. */
uint64_t hf_grpc_server_connections(const struct hf_grpc_server *server);
/* Cuts what is left, waits until every kept call was dropped, and ends the threads. Not from a loop. */
void hf_grpc_server_stop(struct hf_grpc_server *server);
/* After stop, or without start. */
void hf_grpc_server_destroy(struct hf_grpc_server *server);
/* One counter over all loops. Any thread. */
uint64_t hf_grpc_server_counter(const struct hf_grpc_server *server, enum hf_grpc_counter counter);
/* Calls ended with `code`. Any thread. */
uint64_t hf_grpc_server_ended(const struct hf_grpc_server *server, enum hf_grpc_code code);

/* What a method takes and gives. False: there is no such path ("/package.Service/Method"). After the services were added. */
bool hf_grpc_server_method(const struct hf_grpc_server *server, const char *path, const ProtobufCMessageDescriptor **input,
                           const ProtobufCMessageDescriptor **output);
/* Whether SERVING is said of `service` now. Any thread. */
bool hf_grpc_health_serving(struct hf_grpc_server *server, const char *service);
/* Health of `service` ("" for the whole server; at first SERVING is not said of any). Any thread; up to 64 services, else HF_GRPC_E_FULL.
 */
int hf_grpc_health_set(struct hf_grpc_server *server, const char *service, bool serving);

/* ---- A call ---- */

/* Runs `task` on the call's loop. Any thread, for a call that it kept. */
void hf_grpc_post(struct hf_grpc_call *call, struct hf_grpc_task *task);
void hf_grpc_keep(struct hf_grpc_call *call);
void hf_grpc_drop(struct hf_grpc_call *call);

/* Zeroed memory that lives as long as the call; NULL when the loop's memory is used up. */
void *hf_grpc_alloc(struct hf_grpc_call *call, size_t bytes);
void hf_grpc_set_user(struct hf_grpc_call *call, void *user);
void *hf_grpc_user(const struct hf_grpc_call *call);

const char *hf_grpc_path(const struct hf_grpc_call *call); /* "/package.Service/Method" */
const struct hf_grpc_peer *hf_grpc_peer(const struct hf_grpc_call *call);
uint64_t hf_grpc_deadline_ns(const struct hf_grpc_call *call); /* CLOCK_MONOTONIC; 0: none */
bool hf_grpc_ended(const struct hf_grpc_call *call);
unsigned hf_grpc_loop_index(const struct hf_grpc_call *call);
/* The call's loop, for timers and tasks that are no one call's (loop.h). */
struct hf_grpc_loop *hf_grpc_call_loop(const struct hf_grpc_call *call);

/* The request's metadata. Names are lower case; a value of a name ending in -bin is what its base64 stood for. False: no such one. */
bool hf_grpc_metadata(const struct hf_grpc_call *call, const char *name, struct hf_grpc_bytes *out);
/* All of it in order, pseudo-header fields excluded: false at the end. */
bool hf_grpc_metadata_at(const struct hf_grpc_call *call, unsigned index, struct hf_grpc_bytes *name, struct hf_grpc_bytes *value);

/* Response metadata: copied; -bin values are encoded here. Headers must come before the first message. HF_GRPC_E_USAGE: not a legal name or
 * value. */
int hf_grpc_add_header(struct hf_grpc_call *call, const char *name, const void *value, size_t value_bytes);
int hf_grpc_add_trailer(struct hf_grpc_call *call, const char *name, const void *value, size_t value_bytes);
/* Sends the headers now; otherwise they go with the first message. */
int hf_grpc_send_headers(struct hf_grpc_call *call);
/* Messages from now on are compressed if the client takes gzip; before the headers. By default they are if the request was. */
void hf_grpc_compress(struct hf_grpc_call *call, bool compress);

/* Queues one response message (packed at once). HF_GRPC_E_FULL: not taken, `writable` will be called; HF_GRPC_E_ENDED. */
int hf_grpc_send(struct hf_grpc_call *call, const ProtobufCMessage *message);
/* The same for a message that is packed already. */
int hf_grpc_send_packed(struct hf_grpc_call *call, const void *message, size_t message_bytes);
/* Ends the call after what is queued; later ones are ignored. The status is copied. */
void hf_grpc_finish(struct hf_grpc_call *call, enum hf_grpc_code code, const char *message);
void hf_grpc_finish_status(struct hf_grpc_call *call, const struct hf_grpc_status *status);
/* One message and OK. */
void hf_grpc_answer(struct hf_grpc_call *call, const ProtobufCMessage *message);

/* Stops and restarts taking request messages: a paused client soon meets its flow-control window. */
void hf_grpc_pause(struct hf_grpc_call *call);
void hf_grpc_resume(struct hf_grpc_call *call);
/* Pauses if the send queue is full; for handlers that answer each message: the other is their `writable`. */
void hf_grpc_pause_while_full(struct hf_grpc_call *call);
void hf_grpc_resume_writable(struct hf_grpc_call *call, void *context);

#endif
