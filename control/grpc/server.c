/* The server: options, methods, loops and their threads, draining and stopping. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "control/grpc/message_p.h"
#include "control/grpc/server_p.h"

/* ---- Options ---- */

static void hf_grpc_default_size(size_t *value, size_t fallback)
{
    if (*value == 0)
        *value = fallback;
}

static void hf_grpc_default_number(unsigned *value, unsigned fallback)
{
    if (*value == 0)
        *value = fallback;
}

static void hf_grpc_default_limits(struct hf_grpc_options *options)
{
    hf_grpc_default_number(&options->loops, 1);
    hf_grpc_default_number(&options->connections_max, 1024);
    hf_grpc_default_number(&options->streams_max, 100);
    hf_grpc_default_number(&options->calls_max, 16384);
    hf_grpc_default_number(&options->stream_window_bytes, 256 * 1024);
    hf_grpc_default_number(&options->connection_window_bytes, 1024 * 1024);
    hf_grpc_default_size(&options->memory_max_bytes, 256u << 20);
    hf_grpc_default_size(&options->message_max_bytes, 4u << 20);
    hf_grpc_default_size(&options->header_list_max_bytes, 16 * 1024);
    hf_grpc_default_size(&options->send_queue_max_bytes, 64 * 1024);
    hf_grpc_default_size(&options->compress_min_bytes, 512);
    if (options->unix_mode == 0)
        options->unix_mode = 0600;
}

static void hf_grpc_default_times(struct hf_grpc_options *options)
{
    hf_grpc_default_number(&options->handshake_timeout_ms, 10000);
    hf_grpc_default_number(&options->idle_timeout_ms, 15 * 60000);
    hf_grpc_default_number(&options->header_timeout_ms, 10000);
    hf_grpc_default_number(&options->receive_timeout_ms, 60000);
    hf_grpc_default_number(&options->send_timeout_ms, 60000);
    hf_grpc_default_number(&options->keepalive_time_ms, 2 * 3600000);
    hf_grpc_default_number(&options->keepalive_timeout_ms, 20000);
    hf_grpc_default_number(&options->ping_interval_min_ms, 5 * 60000);
    hf_grpc_default_number(&options->age_grace_ms, 60000);
}

/* A quarter of the shortest limit, so that none is overrun by more than that. */
static uint64_t hf_grpc_sweep_ns(const struct hf_grpc_options *options)
{
    const unsigned limits[] = {options->handshake_timeout_ms, options->idle_timeout_ms,
                               options->header_timeout_ms,    options->receive_timeout_ms,
                               options->send_timeout_ms,      options->keepalive_time_ms,
                               options->keepalive_timeout_ms, options->age_max_ms ? options->age_max_ms : UINT32_MAX,
                               options->age_grace_ms};
    unsigned least = 4000;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        least = limits[i] < least ? limits[i] : least;
    return (least < 40 ? 10 : least / 4) * 1000000ull;
}

/* ---- Methods ---- */

static uint32_t hf_grpc_hash(struct hf_grpc_bytes path)
{
    uint32_t hash = 2166136261u; /* FNV-1a; the table holds only the server's own paths */
    for (size_t i = 0; i < path.length; i++)
        hash = (hash ^ path.bytes[i]) * 16777619u;
    return hash;
}

static struct hf_grpc_route *hf_grpc_route_place(const struct hf_grpc_server *server, struct hf_grpc_bytes path)
{
    for (uint32_t at = hf_grpc_hash(path);; at++) {
        struct hf_grpc_route *route = &server->routes[at & (server->route_room - 1)];
        if (!route->path || (strlen(route->path) == path.length && memcmp(route->path, path.bytes, path.length) == 0))
            return route;
    }
}

const struct hf_grpc_route *hf_grpc_server_route(const struct hf_grpc_server *server, struct hf_grpc_bytes path)
{
    const struct hf_grpc_route *route = server->route_room > 0 && path.length > 0 ? hf_grpc_route_place(server, path) : NULL;
    return route && route->path ? route : NULL;
}

static int hf_grpc_routes_grow(struct hf_grpc_server *server)
{
    struct hf_grpc_route *old = server->routes;
    unsigned old_room = server->route_room, room = old_room ? 2 * old_room : 64;
    if (2 * (server->route_count + 1) <= old_room)
        return 0;
    struct hf_grpc_route *routes = calloc(room, sizeof *routes);
    if (!routes)
        return HF_GRPC_E_MEMORY;
    server->routes = routes;
    server->route_room = room;
    for (unsigned i = 0; i < old_room; i++) {
        if (old[i].path)
            *hf_grpc_route_place(server, (struct hf_grpc_bytes){(const uint8_t *)old[i].path, strlen(old[i].path)}) = old[i];
    }
    free(old);
    return 0;
}

static char *hf_grpc_route_path(const char *service, const char *method)
{
    size_t bytes = strlen(service) + strlen(method) + 3;
    char *path = malloc(bytes);
    if (!path)
        return NULL;
    size_t service_bytes = strlen(service);
    path[0] = '/';
    memcpy(path + 1, service, service_bytes);
    path[1 + service_bytes] = '/';
    memcpy(path + 2 + service_bytes, method, strlen(method) + 1);
    return path;
}

/* By the name that the descriptors know the service by, whatever it is served as. */
static bool hf_grpc_route_kinds(const struct hf_grpc_server *server, struct hf_grpc_route *route)
{
    const char *service = route->service->descriptor->name;
    char *name = hf_grpc_route_path(service, route->method_name);
    if (!name)
        return false;
    name[1 + strlen(service)] = '.';
    bool found = hf_grpc_descriptors_method(server->descriptors, name + 1, &route->client_streaming, &route->server_streaming);
    free(name);
    return found;
}

static int hf_grpc_add_route(struct hf_grpc_server *server, const struct hf_grpc_service *service, const char *service_name,
                             const ProtobufCMethodDescriptor *descriptor)
{
    struct hf_grpc_route route = {.service = service,
                                  .service_name = service_name,
                                  .method_name = descriptor->name,
                                  .input = descriptor->input,
                                  .output = descriptor->output};
    for (unsigned i = 0; i < service->method_count; i++) {
        if (strcmp(service->methods[i].name, descriptor->name) == 0)
            route.method = &service->methods[i];
    }
    char *path = hf_grpc_route_path(service_name, descriptor->name);
    if (!path || hf_grpc_routes_grow(server)) {
        free(path);
        return HF_GRPC_E_MEMORY;
    }
    route.path = path;
    struct hf_grpc_route *place = hf_grpc_route_place(server, (struct hf_grpc_bytes){(const uint8_t *)path, strlen(path)});
    if (place->path || !hf_grpc_route_kinds(server, &route)) {
        free(path);
        return HF_GRPC_E_USAGE;
    }
    *place = route;
    server->route_count++;
    return 0;
}

int hf_grpc_server_add_service(struct hf_grpc_server *server, const struct hf_grpc_service *service)
{
    const char *name = service->name ? service->name : service->descriptor->name;
    int failed = server->started || server->service_count == HF_GRPC_SERVICES_MAX ? HF_GRPC_E_USAGE : 0;
    for (unsigned i = 0; i < service->descriptor->n_methods && !failed; i++)
        failed = hf_grpc_add_route(server, service, name, &service->descriptor->methods[i]);
    for (unsigned i = 0; i < service->method_count && !failed; i++) {
        if (!protobuf_c_service_descriptor_get_method_by_name(service->descriptor, service->methods[i].name))
            failed = HF_GRPC_E_USAGE;
    }
    if (!failed)
        server->service_names[server->service_count++] = name;
    return failed;
}

int hf_grpc_server_add_descriptors(struct hf_grpc_server *server, const void *set, size_t set_bytes)
{
    return hf_grpc_descriptors_add(server->descriptors, set, set_bytes);
}

/* ---- Workers ---- */

static void hf_grpc_worker_orders(struct hf_grpc_task *task)
{
    struct hf_grpc_worker *worker = (struct hf_grpc_worker *)((uint8_t *)task - offsetof(struct hf_grpc_worker, order_task));
    pthread_mutex_lock(&worker->lock);
    bool drain = worker->drain_ordered, stop = worker->stop_ordered, health = worker->health_ordered;
    unsigned grace_ms = worker->drain_grace_ms;
    worker->order_posted = worker->drain_ordered = worker->stop_ordered = worker->health_ordered = false;
    pthread_mutex_unlock(&worker->lock);
    if (drain || stop) {
        worker->draining = true;
        worker->drain_until_ns = hf_grpc_loop_now_ns(worker->loop) + grace_ms * 1000000ull;
        hf_grpc_worker_unlisten(worker);
    }
    if (health)
        hf_grpc_health_tell(worker);
    if (drain) {
        hf_grpc_worker_drain(worker);
        if (worker->sweep.due_ns > worker->drain_until_ns)
            hf_grpc_loop_set_timer(worker->loop, &worker->sweep, worker->drain_until_ns + 1);
    }
    if (stop) {
        worker->stopping = true;
        hf_grpc_worker_cut(worker);
    }
}

static void hf_grpc_worker_order(struct hf_grpc_worker *worker, bool drain, bool stop, unsigned grace_ms)
{
    pthread_mutex_lock(&worker->lock);
    worker->drain_ordered |= drain;
    worker->stop_ordered |= stop;
    worker->health_ordered = true;
    if (drain)
        worker->drain_grace_ms = grace_ms;
    bool post = !worker->order_posted;
    worker->order_posted = true;
    pthread_mutex_unlock(&worker->lock);
    if (post)
        hf_grpc_loop_post(worker->loop, &worker->order_task);
}

static void hf_grpc_worker_round_end(void *context)
{
    struct hf_grpc_worker *worker = context;
    hf_grpc_worker_flush(worker);
    if (worker->stopping && !worker->connections && worker->stream_count == 0 && !worker->ended_loop) {
        worker->ended_loop = true;
        hf_grpc_loop_stop(worker->loop);
    }
}

static void hf_grpc_worker_sweep_due(struct hf_grpc_timer *timer)
{
    struct hf_grpc_worker *worker = (struct hf_grpc_worker *)((uint8_t *)timer - offsetof(struct hf_grpc_worker, sweep));
    hf_grpc_worker_sweep(worker);
    hf_grpc_loop_set_timer(worker->loop, timer, hf_grpc_loop_now_ns(worker->loop) + worker->sweep_ns);
}

static void *hf_grpc_worker_main(void *argument)
{
    struct hf_grpc_worker *worker = argument;
    const struct hf_grpc_options *options = &worker->server->options;
    if (options->thread_start)
        options->thread_start(options->context, worker->index);
    hf_grpc_loop_run(worker->loop);
    return NULL;
}

static int hf_grpc_worker_create(struct hf_grpc_server *server, unsigned index)
{
    struct hf_grpc_worker *worker = &server->workers[index];
    worker->server = server;
    worker->index = index;
    worker->memory.max_bytes = server->options.memory_max_bytes;
    worker->sweep = (struct hf_grpc_timer){.place = HF_GRPC_TIMER_OFF, .fire = hf_grpc_worker_sweep_due};
    worker->sweep_ns = hf_grpc_sweep_ns(&server->options);
    worker->order_task.run = hf_grpc_worker_orders;
    pthread_mutex_init(&worker->lock, NULL);
    worker->in = malloc(HF_GRPC_SCRATCH_BYTES);
    worker->out = malloc(HF_GRPC_SCRATCH_BYTES);
    if (!worker->in || !worker->out)
        return HF_GRPC_E_MEMORY;
    return hf_grpc_loop_create(hf_grpc_worker_round_end, worker, &worker->loop);
}

static void hf_grpc_worker_destroy(struct hf_grpc_worker *worker)
{
    hf_grpc_gzip_end(worker);
    hf_grpc_loop_destroy(worker->loop);
    hf_grpc_memory_destroy(&worker->memory);
    pthread_mutex_destroy(&worker->lock);
    free(worker->in);
    free(worker->out);
}

static int hf_grpc_worker_start(struct hf_grpc_worker *worker)
{
    int failed = hf_grpc_worker_listen(worker);
    if (!failed)
        failed = hf_grpc_loop_set_timer(worker->loop, &worker->sweep, hf_grpc_loop_now_ns(worker->loop) + worker->sweep_ns);
    if (failed)
        return failed;
    errno = pthread_create(&worker->thread, NULL, hf_grpc_worker_main, worker);
    if (errno)
        return HF_GRPC_E_IO;
    worker->started = true;
    return 0;
}

/* ---- The server ---- */

int hf_grpc_server_create(const struct hf_grpc_options *options, struct hf_grpc_server **out)
{
    struct hf_grpc_server *server = calloc(1, sizeof *server);
    if (!server)
        return HF_GRPC_E_MEMORY;
    server->options = *options;
    hf_grpc_default_limits(&server->options);
    hf_grpc_default_times(&server->options);
    pthread_mutex_init(&server->health_lock, NULL);
    for (unsigned i = 0; i < HF_GRPC_LISTENERS_MAX; i++)
        server->listen_fds[i] = -1;
    /* nghttp2 holds a header block of up to 64 KiB; above that it ends the connection instead of the request. */
    int failed = options->listen_count > HF_GRPC_LISTENERS_MAX || server->options.loops > HF_GRPC_LOOPS_MAX ||
                         server->options.header_list_max_bytes > 60 * 1024
                     ? HF_GRPC_E_USAGE
                     : 0;
    if (!failed && (!(server->descriptors = hf_grpc_descriptors_create()) ||
                    !(server->workers = calloc(server->options.loops, sizeof *server->workers))))
        failed = HF_GRPC_E_MEMORY;
    if (!failed)
        failed = hf_grpc_h2_setup(server);
    for (; !failed && server->worker_count < server->options.loops; server->worker_count++)
        failed = hf_grpc_worker_create(server, server->worker_count);
    if (failed) {
        hf_grpc_server_destroy(server);
        return failed;
    }
    *out = server;
    return 0;
}

bool hf_grpc_server_method(const struct hf_grpc_server *server, const char *path, const ProtobufCMessageDescriptor **input,
                           const ProtobufCMessageDescriptor **output)
{
    const struct hf_grpc_route *route = hf_grpc_server_route(server, (struct hf_grpc_bytes){(const uint8_t *)path, strlen(path)});
    if (!route)
        return false;
    *input = route->input;
    *output = route->output;
    return true;
}

int hf_grpc_server_start(struct hf_grpc_server *server)
{
    int failed = hf_grpc_listen(server);
    if (failed)
        return failed;
    server->started = true;
    for (unsigned i = 0; i < server->worker_count && !failed; i++)
        failed = hf_grpc_worker_start(&server->workers[i]);
    if (failed) {
        int why = errno;
        hf_grpc_server_stop(server);
        errno = why;
    }
    return failed;
}

uint16_t hf_grpc_server_port(const struct hf_grpc_server *server, unsigned listener)
{
    return listener < HF_GRPC_LISTENERS_MAX ? server->ports[listener] : 0;
}

static void hf_grpc_server_order(struct hf_grpc_server *server, bool drain, bool stop, unsigned grace_ms)
{
    for (unsigned i = 0; i < server->worker_count; i++)
        hf_grpc_worker_order(&server->workers[i], drain, stop, grace_ms);
}

void hf_grpc_server_tell_health(struct hf_grpc_server *server)
{
    hf_grpc_server_order(server, false, false, 0);
}

static void hf_grpc_server_not_serving(struct hf_grpc_server *server)
{
    pthread_mutex_lock(&server->health_lock);
    server->health_draining = true;
    pthread_mutex_unlock(&server->health_lock);
}

void hf_grpc_server_drain(struct hf_grpc_server *server, unsigned grace_ms)
{
    hf_grpc_server_not_serving(server);
    /* From here on connecting is refused; the descriptors stay open until stop, because the loops still watch them. */
    for (unsigned i = 0; i < server->options.listen_count; i++)
        shutdown(server->listen_fds[i], SHUT_RDWR);
    hf_grpc_server_order(server, true, false, grace_ms);
}

uint64_t hf_grpc_server_connections(const struct hf_grpc_server *server)
{
    return hf_load_relaxed_u64(&server->connections);
}

void hf_grpc_server_stop(struct hf_grpc_server *server)
{
    hf_grpc_server_not_serving(server);
    hf_grpc_server_order(server, false, true, 0);
    for (unsigned i = 0; i < server->worker_count; i++) {
        if (server->workers[i].started)
            pthread_join(server->workers[i].thread, NULL);
        server->workers[i].started = false;
    }
    hf_grpc_listen_close(server);
}

void hf_grpc_server_destroy(struct hf_grpc_server *server)
{
    if (!server)
        return;
    hf_grpc_listen_close(server);
    for (unsigned i = 0; server->workers && i < server->options.loops; i++) {
        if (server->workers[i].server)
            hf_grpc_worker_destroy(&server->workers[i]);
    }
    for (unsigned i = 0; i < server->route_room; i++)
        free((char *)(uintptr_t)server->routes[i].path);
    free(server->routes);
    free(server->workers);
    hf_grpc_descriptors_destroy(server->descriptors);
    hf_grpc_h2_teardown(server);
    pthread_mutex_destroy(&server->health_lock);
    free(server);
}

uint64_t hf_grpc_server_counter(const struct hf_grpc_server *server, enum hf_grpc_counter counter)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < server->worker_count; i++)
        sum += hf_load_relaxed_u64(&server->workers[i].counters[counter]);
    return sum;
}

uint64_t hf_grpc_server_ended(const struct hf_grpc_server *server, enum hf_grpc_code code)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < server->worker_count; i++)
        sum += hf_load_relaxed_u64(&server->workers[i].ended[code]);
    return sum;
}
