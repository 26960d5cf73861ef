/* What the parts of the server share: the server, one worker a loop, and the table of methods. Threads: see each field. */
#ifndef HF_CONTROL_GRPC_SERVER_P_H
#define HF_CONTROL_GRPC_SERVER_P_H

#include <nghttp2/nghttp2.h>
#include <pthread.h>
#include <zlib.h>

#include "control/grpc/descriptors.h"
#include "control/grpc/grpc.h"
#include "control/grpc/http.h"
#include "control/grpc/loop.h"
#include "control/grpc/memory.h"
#include "ring/atomics.h"

struct hf_grpc_connection;
struct hf_grpc_call;

enum {
    HF_GRPC_LISTENERS_MAX = 16,
    HF_GRPC_LOOPS_MAX = 64,
    HF_GRPC_SERVICES_MAX = 64,
    HF_GRPC_HEALTH_MAX = 64,
    HF_GRPC_HEALTH_NAME_BYTES = 128,
    HF_GRPC_SCRATCH_BYTES = 64 * 1024,
};

/* One method that can be called. Constant after start. */
struct hf_grpc_route {
    const char *path; /* "/package.Service/Method" */
    const struct hf_grpc_service *service;
    const struct hf_grpc_method *method; /* NULL: declared, not implemented */
    const char *service_name, *method_name;
    const ProtobufCMessageDescriptor *input, *output;
    bool client_streaming, server_streaming;
};

struct hf_grpc_listener {
    struct hf_grpc_watch watch;
    struct hf_grpc_worker *worker;
    unsigned index;
};

/* One loop and what belongs to it. All but the last two groups is the loop's thread's. */
struct hf_grpc_worker {
    struct hf_grpc_server *server;
    struct hf_grpc_loop *loop;
    unsigned index;
    pthread_t thread;
    bool started;
    struct hf_grpc_memory memory;
    struct hf_grpc_listener listeners[HF_GRPC_LISTENERS_MAX];
    bool listening, accept_paused, stopping, ended_loop;
    struct hf_grpc_connection *connections, *dirty;
    unsigned stream_count, call_count;
    struct hf_grpc_timer sweep;
    uint64_t sweep_ns;
    bool draining;
    uint64_t drain_until_ns;
    struct hf_grpc_watcher *watchers; /* of health */
    z_stream inflate, deflate;
    bool inflate_ready, deflate_ready;
    uint8_t *in, *out;              /* HF_GRPC_SCRATCH_BYTES each */
    struct hf_grpc_buffer unpacked; /* of one decompressed message */

    /* written by the loop's thread, read by any */
    struct hf_atomic_u64 counters[HF_GRPC_COUNTERS], ended[HF_GRPC_CODES];

    /* any thread, under the lock: what others ask of the loop, told by the one task that can be posted once at a time */
    pthread_mutex_t lock;
    struct hf_grpc_task order_task;
    bool order_posted, drain_ordered, stop_ordered, health_ordered;
    unsigned drain_grace_ms;
};

struct hf_grpc_health_entry {
    char service[HF_GRPC_HEALTH_NAME_BYTES];
    bool serving;
};

struct hf_grpc_server {
    struct hf_grpc_options options; /* defaults filled in */
    struct hf_grpc_worker *workers;
    unsigned worker_count;
    int listen_fds[HF_GRPC_LISTENERS_MAX];
    uint16_t ports[HF_GRPC_LISTENERS_MAX];
    char *unix_paths[HF_GRPC_LISTENERS_MAX];
    struct hf_grpc_route *routes; /* open addressing by path; a power of two */
    unsigned route_count, route_room;
    const char *service_names[HF_GRPC_SERVICES_MAX];
    unsigned service_count;
    struct hf_grpc_service health_service, reflection_services[2];
    struct hf_grpc_descriptors *descriptors;
    nghttp2_session_callbacks *h2_callbacks;
    nghttp2_option *h2_options;
    struct hf_atomic_u64 connections;
    bool started;

    /* any thread, under the lock */
    pthread_mutex_t health_lock;
    struct hf_grpc_health_entry health[HF_GRPC_HEALTH_MAX];
    unsigned health_count;
    bool health_draining;
};

static inline void hf_grpc_count(struct hf_grpc_worker *worker, enum hf_grpc_counter counter)
{
    hf_bump_relaxed_u64(&worker->counters[counter], 1);
}

static inline void hf_grpc_count_many(struct hf_grpc_worker *worker, enum hf_grpc_counter counter, uint64_t many)
{
    hf_bump_relaxed_u64(&worker->counters[counter], many);
}

/* NULL: no such method. */
const struct hf_grpc_route *hf_grpc_server_route(const struct hf_grpc_server *server, struct hf_grpc_bytes path);

/* Decides who speaks over a stream whose request head is whole: a gRPC call, the HTTP handler, or a refusal. */
struct hf_grpc_stream;
void hf_grpc_dispatch(struct hf_grpc_stream *stream);
/* Answers with a status and nothing else. */
void hf_grpc_refuse(struct hf_grpc_stream *stream, unsigned status, const char *name, const char *value);
void hf_http_begin(struct hf_grpc_stream *stream);

/* listen.c: opens options.listen; 0 or HF_GRPC_E_*. Closing removes the socket files. */
int hf_grpc_listen(struct hf_grpc_server *server);
void hf_grpc_listen_close(struct hf_grpc_server *server);
/* connection.c: what a worker does with its connections. */
int hf_grpc_worker_listen(struct hf_grpc_worker *worker);
void hf_grpc_worker_unlisten(struct hf_grpc_worker *worker);
void hf_grpc_worker_flush(struct hf_grpc_worker *worker);
void hf_grpc_worker_sweep(struct hf_grpc_worker *worker);
void hf_grpc_worker_drain(struct hf_grpc_worker *worker);
void hf_grpc_worker_cut(struct hf_grpc_worker *worker);
/* health.c: tells this worker's watchers what is so now. */
void hf_grpc_health_tell(struct hf_grpc_worker *worker);
/* Has every worker do so. Any thread. */
void hf_grpc_server_tell_health(struct hf_grpc_server *server);
/* h2.c: what all sessions share. */
int hf_grpc_h2_setup(struct hf_grpc_server *server);
void hf_grpc_h2_teardown(struct hf_grpc_server *server);

#endif
