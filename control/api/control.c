#include "control/api/control.h"

#include "control/api/events.h"
#include "control/api/metrics.h"
#include "control/api/verbs.h"
#include "control/rest/rest.h"
#include "wire/error.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    HF_CONTROL_ITEMS = 1024,
    HF_CONTROL_MESSAGE_BYTES = 1 << 20,
    HF_CONTROL_GRACE_MS = 500,
    HF_CONTROL_TABLES = 4,
    HF_CONTROL_METHODS = 16,
    HF_CONTROL_LISTEN_MAX = 16,
    HF_CONTROL_PAGES = 1,
};

extern const unsigned char hf_api_descriptors[];
extern const size_t hf_api_descriptors_bytes;

/* One service: what the handlers get as their context. */
struct hf_control_service {
    struct hf_control *control;
    const struct hf_verb_table *table;
    struct hf_grpc_method methods[HF_CONTROL_METHODS];
    struct hf_grpc_service service;
};

struct hf_control {
    struct hf_control_options options;
    char *listen[HF_CONTROL_LISTEN_MAX];
    struct hf_grpc_server *server;
    struct hf_rest *rest;
    struct hf_rest_page pages[HF_CONTROL_PAGES];
    struct hf_exchange *exchange;
    struct hf_events *events;
    struct hf_slow slow;
    struct hf_metrics *metrics;
    struct hf_control_service services[HF_CONTROL_TABLES];
    bool started, draining;
    _Alignas(8) uint8_t scratch[HF_COMMAND_BYTES_MAX]; /* the loop's */
};

/* ---- a call ---- */

static const struct hf_verb *hf_control_verb(const struct hf_control_service *service, const char *path)
{
    const char *method = strrchr(path, '/') + 1;
    for (unsigned i = 0; i < service->table->count; i++)
        if (strcmp(service->table->verbs[i].method, method) == 0)
            return &service->table->verbs[i];
    return NULL;
}

static struct hf_control *hf_control_of(const struct hf_grpc_call *call)
{
    return hf_grpc_user(call);
}

static void hf_control_answered(struct hf_grpc_task *task)
{
    struct hf_exchange_item *item = (struct hf_exchange_item *)(void *)((char *)task - offsetof(struct hf_exchange_item, task));
    struct hf_grpc_call *call = item->call;
    const struct hf_verb *verb = item->verb;
    struct hf_control *control = hf_control_of(call);
    hf_slow_check(&control->slow, item, control->options.now_ns(control->options.context));
    if (!hf_grpc_ended(call)) {
        uint16_t result = item->answer->result;
        if (verb->bytes || result == HF_OK || (result == HF_NOT_APPLIED && item->command->opcode == HF_SET))
            verb->answer(call, item->command, item->answer);
        else
            hf_refuse_answer(call, item->command, item->answer);
    }
    hf_exchange_finished(control->exchange, item);
}

/* The item with a copy of the command and room for its answer, in the call's memory. */
static struct hf_exchange_item *hf_control_item(struct hf_grpc_call *call, const struct hf_draft *draft)
{
    struct hf_exchange_item *item = hf_grpc_alloc(call, sizeof *item);
    struct hf_command *command = hf_grpc_alloc(call, draft->command->length);
    struct hf_answer *answer = hf_grpc_alloc(call, hf_answer_bytes_max(draft->command));
    if (!item || !command || !answer)
        return NULL;
    memcpy(command, draft->command, draft->command->length);
    item->task.run = hf_control_answered;
    item->call = call;
    item->command = command;
    item->answer = answer;
    item->asked_ns = draft->now_ns;
    return item;
}

bool hf_call_traceparent(const struct hf_grpc_call *call, struct hf_grpc_bytes *out)
{
    struct hf_grpc_bytes name, value;
    unsigned count = 0;
    for (unsigned i = 0; hf_grpc_metadata_at(call, i, &name, &value); i++) {
        if (name.length != strlen("traceparent") || memcmp(name.bytes, "traceparent", name.length) != 0)
            continue;
        *out = value;
        count++;
    }
    return count == 1;
}

/* Writes carry it into the log. */
static void hf_control_trace(const struct hf_grpc_call *call, const struct hf_verb *verb, struct hf_draft *draft)
{
    struct hf_grpc_bytes value;
    if (!verb->bytes && hf_opcode_family(draft->command->opcode) <= HF_FAMILY_ORDER && hf_call_traceparent(call, &value))
        hf_draft_trace(draft, (const char *)value.bytes, value.length);
}

static void hf_control_message(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    struct hf_control_service *service = context;
    struct hf_control *control = service->control;
    const struct hf_verb *verb = hf_control_verb(service, hf_grpc_path(call));
    struct hf_draft draft;
    hf_grpc_set_user(call, control);
    if (verb->act) {
        verb->act(call, &control->options, message);
        return;
    }
    hf_draft_begin(&draft, control->scratch, control->options.now_ns(control->options.context), 0);
    verb->ask(&draft, message);
    hf_control_trace(call, verb, &draft);
    if (draft.result != HF_OK) {
        hf_refuse_call(call, draft.result, draft.field, draft.what);
        return;
    }
    struct hf_exchange_item *item = hf_control_item(call, &draft);
    if (!item) {
        hf_answer_no_memory(call);
        return;
    }
    item->verb = verb;
    item->shard = hf_partition(draft.route, control->options.partitions) % control->options.shard_count;
    uint16_t result = hf_exchange_submit(control->exchange, item);
    if (result != HF_OK)
        hf_refuse_call(call, result, NULL, result == HF_BUSY ? "too many calls are waiting" : NULL);
}

/* ---- the server ---- */

/* Whoever may read and write the process's files may steer it: its own user and root. */
static bool hf_control_admit(void *context, const struct hf_grpc_peer *peer)
{
    (void)context;
    return !peer->is_unix || peer->uid == geteuid() || peer->uid == 0;
}

static void hf_control_thread(void *context, unsigned loop)
{
    const struct hf_control *control = context;
    char name[16];
    snprintf(name, sizeof name, "hf-control-%u", loop % 100);
    pthread_setname_np(pthread_self(), name);
    if (control->options.pinned)
        pthread_setaffinity_np(pthread_self(), sizeof control->options.cpus, &control->options.cpus);
}

/* gRPC's and REST's alike, on their loop. */
static void hf_control_call_done(void *context, const struct hf_grpc_call_report *report)
{
    hf_metrics_called(((struct hf_control *)context)->metrics, report);
}

static size_t hf_control_write_metrics(void *context, char *out, size_t room)
{
    return hf_metrics_write(((struct hf_control *)context)->metrics, out, room);
}

/* Every method of the descriptor is counted. */
static void hf_control_count(struct hf_control *control, const ProtobufCServiceDescriptor *service)
{
    for (unsigned m = 0; m < service->n_methods; m++)
        hf_metrics_add_method(control->metrics, service->name, service->methods[m].name);
}

static int hf_control_add(struct hf_control *control, unsigned i, const struct hf_verb_table *table)
{
    struct hf_control_service *service = &control->services[i];
    service->control = control;
    service->table = table;
    assert(table->count <= HF_CONTROL_METHODS);
    hf_control_count(control, table->descriptor);
    for (unsigned m = 0; m < table->count; m++)
        service->methods[m] = (struct hf_grpc_method){.name = table->verbs[m].method, .message = hf_control_message};
    service->service = (struct hf_grpc_service){
        .descriptor = table->descriptor, .methods = service->methods, .method_count = table->count, .context = service};
    return hf_grpc_server_add_service(control->server, &service->service);
}

static int hf_control_error(int failed)
{
    return failed == HF_GRPC_E_USAGE ? HF_E_USAGE : failed == HF_GRPC_E_MEMORY ? HF_E_MEMORY : failed != 0 ? HF_E_IO : 0;
}

static int hf_control_make_server(struct hf_control *control)
{
    const struct hf_verb_table *const tables[HF_CONTROL_TABLES] = {&hf_verbs_catalog, &hf_verbs_inventory, &hf_verbs_orders,
                                                                   &hf_verbs_admin};
    struct hf_grpc_options options = {
        .listen = control->options.listen,
        .listen_count = control->options.listen_count,
        .message_max_bytes = HF_CONTROL_MESSAGE_BYTES,
        .thread_start = hf_control_thread,
        .admit = hf_control_admit,
        .call_done = hf_control_call_done,
        .context = control,
        .http1 = true,
    };
    const struct hf_rest_options rest = {
        .listen = control->options.listen,
        .listen_count = control->options.listen_count,
        .pages = control->pages,
        .page_count = HF_CONTROL_PAGES,
    };
    control->pages[0] = (struct hf_rest_page){"/metrics", HF_METRICS_CONTENT_TYPE, "Metrics in Prometheus' text format.",
                                              hf_control_write_metrics, control};
    int failed = hf_rest_create(&rest, &control->rest);
    if (failed)
        return hf_control_error(failed);
    options.http = hf_rest_handler(control->rest);
    failed = hf_grpc_server_create(&options, &control->server);
    if (!failed)
        failed = hf_grpc_server_add_descriptors(control->server, hf_api_descriptors, hf_api_descriptors_bytes);
    for (unsigned i = 0; i < HF_CONTROL_TABLES && !failed; i++)
        failed = hf_control_add(control, i, tables[i]);
    if (!failed)
        failed = hf_grpc_server_add_service(control->server, hf_events_service(control->events));
    hf_control_count(control, hf_events_service(control->events)->descriptor);
    if (!failed)
        failed = hf_grpc_server_add_health(control->server);
    if (!failed)
        failed = hf_grpc_server_add_reflection(control->server);
    if (!failed)
        failed = hf_rest_attach(control->rest, control->server);
    return hf_control_error(failed);
}

static int hf_control_make_events(struct hf_control *control)
{
    const struct hf_events_options options = {
        .exchange = control->exchange,
        .stall_ms = control->options.follower_stall_ms,
        .durable = control->options.durable,
        .context = control->options.context,
    };
    return hf_events_create(&options, &control->events);
}

static int hf_control_make_metrics(struct hf_control *control)
{
    const struct hf_metrics_options options = {
        .shard_count = control->options.shard_count,
        .numbers = control->options.numbers,
        .context = control->options.context,
        .events = control->events,
    };
    return hf_metrics_create(&options, &control->metrics);
}

static void hf_control_health(struct hf_control *control, bool serving)
{
    hf_grpc_health_set(control->server, "", serving);
    for (unsigned i = 0; i < HF_CONTROL_TABLES; i++)
        hf_grpc_health_set(control->server, control->services[i].table->descriptor->name, serving);
    hf_grpc_health_set(control->server, hf_events_service(control->events)->descriptor->name, serving);
}

/* The caller writes the port that it was given into its own; REST reads these in its threads. */
static int hf_control_copy_listen(struct hf_control *control)
{
    bool copied = true;
    for (unsigned i = 0; i < control->options.listen_count; i++) {
        control->listen[i] = strdup(control->options.listen[i]);
        copied = copied && control->listen[i];
    }
    control->options.listen = (const char *const *)control->listen;
    return copied ? 0 : HF_E_MEMORY;
}

int hf_control_create(const struct hf_control_options *options, struct hf_control **out)
{
    struct hf_control *control = calloc(1, sizeof *control);
    if (!control)
        return HF_E_MEMORY;
    control->options = *options;
    control->slow.options = options->slow;
    if (options->listen_count > HF_CONTROL_LISTEN_MAX) {
        free(control);
        return HF_E_USAGE;
    }
    int code = hf_control_copy_listen(control);
    if (code == 0)
        code = hf_exchange_create(options->shard_count, options->items_max ? options->items_max : HF_CONTROL_ITEMS, &control->exchange);
    if (code == 0)
        code = hf_control_make_events(control);
    if (code == 0)
        code = hf_control_make_metrics(control);
    if (code == 0)
        code = hf_control_make_server(control);
    if (code != 0) {
        hf_control_destroy(control);
        return code;
    }
    hf_metrics_set_server(control->metrics, control->server);
    hf_control_health(control, false);
    *out = control;
    return 0;
}

struct hf_exchange *hf_control_exchange(struct hf_control *control)
{
    return control->exchange;
}

int hf_control_start(struct hf_control *control)
{
    int code = hf_exchange_start(control->exchange, control->options.pinned ? &control->options.cpus : NULL);
    if (code == 0)
        code = hf_control_error(hf_grpc_server_start(control->server));
    control->started = code == 0;
    return code;
}

uint16_t hf_control_port(const struct hf_control *control, unsigned listener)
{
    return hf_grpc_server_port(control->server, listener);
}

bool hf_control_number(const struct hf_control *control, unsigned index, const char **name, uint64_t *value)
{
    switch (index) {
    case HF_EVENTS_COUNTERS:
        *name = "control.slow_requests";
        *value = hf_load_relaxed_u64(&control->slow.slow);
        return true;
    case HF_EVENTS_COUNTERS + 1:
        *name = "control.slow_suppressed";
        *value = hf_load_relaxed_u64(&control->slow.suppressed);
        return true;
    default:
        if (index > HF_EVENTS_COUNTERS)
            return false;
        *name = hf_events_counter_name((enum hf_events_counter)index);
        *value = hf_events_count(control->events, (enum hf_events_counter)index);
        return true;
    }
}

void hf_control_ready(struct hf_control *control)
{
    hf_control_health(control, true);
}

void hf_control_drain(struct hf_control *control)
{
    hf_control_health(control, false);
    hf_events_drain(control->events);
    hf_grpc_server_drain(control->server, HF_CONTROL_GRACE_MS);
    control->draining = true;
}

/* Answers that were just posted still have to reach their clients. */
static void hf_control_linger(const struct hf_control *control)
{
    for (int waited = 0; waited < HF_CONTROL_GRACE_MS && hf_grpc_server_connections(control->server) > 0; waited++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

void hf_control_destroy(struct hf_control *control)
{
    if (!control)
        return;
    if (control->exchange)
        hf_exchange_stop(control->exchange);
    if (control->started && control->draining)
        hf_control_linger(control);
    if (control->started)
        hf_grpc_server_stop(control->server);
    if (control->server)
        hf_grpc_server_destroy(control->server);
    hf_rest_destroy(control->rest);
    hf_metrics_destroy(control->metrics);
    hf_events_destroy(control->events);
    if (control->exchange)
        hf_exchange_destroy(control->exchange);
    for (unsigned i = 0; i < HF_CONTROL_LISTEN_MAX; i++)
        free(control->listen[i]);
    free(control);
}
