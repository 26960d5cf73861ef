/* grpc.health.v1.Health: Check and Watch. A watcher is told on its own loop whenever what it saw last is no longer so. */
#include <string.h>

#include "control/grpc/health.pb-c.h"
#include "control/grpc/server_p.h"

extern const unsigned char hf_grpc_health_descriptors[];
extern const size_t hf_grpc_health_descriptors_bytes;

enum {
    HF_GRPC_UNKNOWN_SERVICE = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN,
    HF_GRPC_SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING,
    HF_GRPC_NOT_SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING,
};

struct hf_grpc_watcher {
    struct hf_grpc_watcher *next, **link;
    struct hf_grpc_call *call;
    const char *service; /* the request's */
    int told;            /* -1: nothing yet */
};

static struct hf_grpc_health_entry *hf_grpc_health_find(struct hf_grpc_server *server, const char *service)
{
    for (unsigned i = 0; i < server->health_count; i++) {
        if (strcmp(server->health[i].service, service) == 0)
            return &server->health[i];
    }
    return NULL;
}

static int hf_grpc_health_now(struct hf_grpc_server *server, const char *service)
{
    pthread_mutex_lock(&server->health_lock);
    const struct hf_grpc_health_entry *entry = hf_grpc_health_find(server, service);
    int status = !entry ? HF_GRPC_UNKNOWN_SERVICE : entry->serving && !server->health_draining ? HF_GRPC_SERVING : HF_GRPC_NOT_SERVING;
    pthread_mutex_unlock(&server->health_lock);
    return status;
}

static void hf_grpc_health_message(struct hf_grpc_call *call, int status, bool last)
{
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
    if (last)
        hf_grpc_answer(call, &response.base);
    else
        hf_grpc_send(call, &response.base);
}

static void hf_grpc_health_check(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    int status = hf_grpc_health_now(context, ((const Grpc__Health__V1__HealthCheckRequest *)message)->service);
    if (status == HF_GRPC_UNKNOWN_SERVICE)
        hf_grpc_finish(call, HF_GRPC_NOT_FOUND, "unknown service");
    else
        hf_grpc_health_message(call, status, true);
}

static void hf_grpc_watcher_tell(struct hf_grpc_watcher *watcher, struct hf_grpc_server *server)
{
    int status = hf_grpc_health_now(server, watcher->service);
    if (status == watcher->told)
        return;
    watcher->told = status;
    hf_grpc_health_message(watcher->call, status, false);
}

static void hf_grpc_health_watch(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct hf_grpc_server *server = context;
    struct hf_grpc_worker *worker = &server->workers[hf_grpc_loop_index(call)];
    struct hf_grpc_watcher *watcher = hf_grpc_alloc(call, sizeof *watcher);
    if (!watcher) {
        hf_grpc_finish(call, HF_GRPC_RESOURCE_EXHAUSTED, "no memory for a watcher");
        return;
    }
    *watcher = (struct hf_grpc_watcher){.next = worker->watchers, .link = &worker->watchers, .call = call, .told = -1};
    watcher->service = ((const Grpc__Health__V1__HealthCheckRequest *)message)->service;
    if (watcher->next)
        watcher->next->link = &watcher->next;
    worker->watchers = watcher;
    hf_grpc_set_user(call, watcher);
    hf_grpc_watcher_tell(watcher, server);
}

static void hf_grpc_health_watch_done(struct hf_grpc_call *call, enum hf_grpc_code code, void *context)
{
    struct hf_grpc_watcher *watcher = hf_grpc_user(call);
    (void)code;
    (void)context;
    if (!watcher)
        return;
    *watcher->link = watcher->next;
    if (watcher->next)
        watcher->next->link = watcher->link;
}

void hf_grpc_health_tell(struct hf_grpc_worker *worker)
{
    for (struct hf_grpc_watcher *watcher = worker->watchers; watcher; watcher = watcher->next)
        hf_grpc_watcher_tell(watcher, worker->server);
}

bool hf_grpc_health_serving(struct hf_grpc_server *server, const char *service)
{
    return hf_grpc_health_now(server, service) == HF_GRPC_SERVING;
}

int hf_grpc_health_set(struct hf_grpc_server *server, const char *service, bool serving)
{
    int failed = 0;
    pthread_mutex_lock(&server->health_lock);
    struct hf_grpc_health_entry *entry = hf_grpc_health_find(server, service);
    if (!entry && (server->health_count == HF_GRPC_HEALTH_MAX || strlen(service) >= HF_GRPC_HEALTH_NAME_BYTES)) {
        failed = HF_GRPC_E_FULL;
    } else {
        if (!entry) {
            entry = &server->health[server->health_count++];
            memcpy(entry->service, service, strlen(service) + 1);
        }
        entry->serving = serving;
    }
    pthread_mutex_unlock(&server->health_lock);
    if (!failed)
        hf_grpc_server_tell_health(server);
    return failed;
}

int hf_grpc_server_add_health(struct hf_grpc_server *server)
{
    static const struct hf_grpc_method methods[] = {
        {.name = "Check", .message = hf_grpc_health_check},
        {.name = "Watch", .message = hf_grpc_health_watch, .done = hf_grpc_health_watch_done},
    };
    int failed = hf_grpc_server_add_descriptors(server, hf_grpc_health_descriptors, hf_grpc_health_descriptors_bytes);
    if (failed)
        return failed;
    server->health_service = (struct hf_grpc_service){.descriptor = &grpc__health__v1__health__descriptor,
                                                      .methods = methods,
                                                      .method_count = sizeof methods / sizeof methods[0],
                                                      .context = server};
    return hf_grpc_server_add_service(server, &server->health_service);
}
