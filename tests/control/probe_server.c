/*
 * probe_server LISTEN... [NAME=VALUE...]: a server of probe.v1.Probe on control/grpc/ alone.
 *
 * Prints `ready PORT...` and then obeys lines of its standard input, each answered by one line or, for counters, by several and `end`:
 *   counters | reports | serving SERVICE | failing SERVICE | drain MILLISECONDS | live | quit. It also ends when its input does.
 */
#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control/grpc/http.h"
#include "control/grpc/status.h"
#include "tests/control/interop.h"
#include "tests/control/probe.pb-c.h"

extern const unsigned char hf_probe_descriptors[];
extern const size_t hf_probe_descriptors_bytes;

/* ---- Echo, Count, Sum, Chat ---- */

static void probe_add_peer(struct hf_grpc_call *call)
{
    const struct hf_grpc_peer *peer = hf_grpc_peer(call);
    char text[128];
    int length = snprintf(text, sizeof text, "%s listener %u uid %d", peer->address, peer->listener, peer->is_unix ? (int)peer->uid : -1);
    hf_grpc_add_header(call, "x-peer", text, (size_t)length);
}

static void probe_copy_metadata(struct hf_grpc_call *call)
{
    struct hf_grpc_bytes name, value;
    char text[128];
    for (unsigned i = 0; hf_grpc_metadata_at(call, i, &name, &value); i++) {
        if (name.length >= sizeof text)
            continue;
        memcpy(text, name.bytes, name.length);
        text[name.length] = '\0';
        if (strncmp(text, "x-probe", 7) == 0)
            hf_grpc_add_header(call, text, value.bytes, value.length);
        else if (strncmp(text, "x-trailer", 9) == 0)
            hf_grpc_add_trailer(call, text, value.bytes, value.length);
        else if (strcmp(text, "x-compress") == 0)
            hf_grpc_compress(call, true);
        else if (strcmp(text, "x-peer") == 0)
            probe_add_peer(call);
    }
}

static void probe_echo(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    (void)context;
    probe_copy_metadata(call);
    hf_grpc_answer(call, message);
}

struct probe_counting {
    uint32_t left, size;
};

static void probe_count_on(struct hf_grpc_call *call, void *context)
{
    static uint8_t data[1 << 20];
    struct probe_counting *counting = hf_grpc_user(call);
    Probe__V1__Note note = PROBE__V1__NOTE__INIT;
    (void)context;
    while (counting->left > 0) {
        note.data = (ProtobufCBinaryData){counting->size, data};
        int failed = hf_grpc_send(call, &note.base);
        if (failed == HF_GRPC_E_FULL)
            return;
        if (failed)
            break;
        counting->left--;
    }
    hf_grpc_finish(call, counting->left ? HF_GRPC_RESOURCE_EXHAUSTED : HF_GRPC_OK, NULL);
}

static void probe_count(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Probe__V1__CountRequest *request = (const void *)message;
    struct probe_counting *counting = hf_grpc_alloc(call, sizeof *counting);
    counting->left = request->count;
    counting->size = request->size < 1u << 20 ? request->size : 1u << 20;
    hf_grpc_set_user(call, counting);
    hf_grpc_send_headers(call);
    probe_count_on(call, context);
}

static void probe_sum_start(struct hf_grpc_call *call, void *context)
{
    Probe__V1__SumResponse *sum = hf_grpc_alloc(call, sizeof *sum);
    (void)context;
    probe__v1__sum_response__init(sum);
    hf_grpc_set_user(call, sum);
}

static void probe_sum(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Probe__V1__Note *note = (const void *)message;
    Probe__V1__SumResponse *sum = hf_grpc_user(call);
    (void)context;
    sum->count++;
    sum->bytes += note->data.len;
}

static void probe_sum_end(struct hf_grpc_call *call, void *context)
{
    const Probe__V1__SumResponse *sum = hf_grpc_user(call);
    (void)context;
    hf_grpc_answer(call, &sum->base);
}

static void probe_chat(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    (void)context;
    hf_grpc_send(call, message);
    hf_grpc_pause_while_full(call);
}

static void probe_chat_end(struct hf_grpc_call *call, void *context)
{
    (void)context;
    hf_grpc_finish(call, HF_GRPC_OK, NULL);
}

/* ---- Fail ---- */

static void probe_fail(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Probe__V1__FailRequest *request = (const void *)message;
    static const struct hf_grpc_pair metadata[] = {{"order", "4711"}}, violations[] = {{"lines[0].quantity", "must not be 0"}};
    uint8_t info[128], retry[32], bad[128];
    struct hf_grpc_detail details[] = {
        {HF_GRPC_TYPE_ERROR_INFO, {info, hf_grpc_error_info("SOLD_OUT", "probe", metadata, 1, info, sizeof info)}},
        {HF_GRPC_TYPE_RETRY_INFO, {retry, hf_grpc_retry_info(1500, retry, sizeof retry)}},
        {HF_GRPC_TYPE_BAD_REQUEST, {bad, hf_grpc_bad_request(violations, 1, bad, sizeof bad)}},
    };
    (void)context;
    probe_copy_metadata(call);
    hf_grpc_finish_status(call, &(struct hf_grpc_status){.code = (enum hf_grpc_code)request->code,
                                                         .message = request->message,
                                                         .details = details,
                                                         .detail_count = request->details ? 3 : 0});
}

/* ---- Sleep: answered by a thread of the application's own ---- */

struct probe_sleeper {
    struct hf_grpc_task task;
    struct probe_sleeper *next;
    struct hf_grpc_call *call;
    struct timespec due;
};

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct probe_sleeper *first;
    bool ending;
    unsigned live; /* calls that were begun and are not done, for the test to see that none leaks */
} probe_dormitory = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool probe_is_due(const struct timespec *due)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > due->tv_sec || (now.tv_sec == due->tv_sec && now.tv_nsec >= due->tv_nsec);
}

static void probe_wake(struct hf_grpc_task *task)
{
    struct probe_sleeper *sleeper = (struct probe_sleeper *)task;
    struct hf_grpc_call *call = sleeper->call;
    Probe__V1__Note note = PROBE__V1__NOTE__INIT;
    note.text = (char *)(uintptr_t) "slept well";
    hf_grpc_answer(call, &note.base);
    hf_grpc_drop(call);
    free(sleeper);
}

static void *probe_dormitory_main(void *argument)
{
    (void)argument;
    pthread_mutex_lock(&probe_dormitory.lock);
    while (!probe_dormitory.ending || probe_dormitory.first) {
        struct probe_sleeper **link = &probe_dormitory.first;
        while (*link) {
            struct probe_sleeper *sleeper = *link;
            if (!probe_dormitory.ending && !probe_is_due(&sleeper->due)) {
                link = &sleeper->next;
                continue;
            }
            *link = sleeper->next;
            hf_grpc_post(sleeper->call, &sleeper->task);
        }
        struct timespec soon;
        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_nsec += 2000000;
        soon.tv_sec += soon.tv_nsec / 1000000000;
        soon.tv_nsec %= 1000000000;
        if (!probe_dormitory.ending)
            pthread_cond_timedwait(&probe_dormitory.changed, &probe_dormitory.lock, &soon);
    }
    pthread_mutex_unlock(&probe_dormitory.lock);
    return NULL;
}

static void probe_live(int change)
{
    pthread_mutex_lock(&probe_dormitory.lock);
    probe_dormitory.live += (unsigned)change;
    pthread_mutex_unlock(&probe_dormitory.lock);
}

static void probe_begun(struct hf_grpc_call *call, void *context)
{
    (void)call;
    (void)context;
    probe_live(1);
}

static void probe_done(struct hf_grpc_call *call, enum hf_grpc_code code, void *context)
{
    (void)call;
    (void)code;
    (void)context;
    probe_live(-1);
}

static void probe_sleep(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Probe__V1__SleepRequest *request = (const void *)message;
    struct probe_sleeper *sleeper = calloc(1, sizeof *sleeper);
    (void)context;
    assert(sleeper);
    *sleeper = (struct probe_sleeper){.task.run = probe_wake, .call = call};
    clock_gettime(CLOCK_MONOTONIC, &sleeper->due);
    sleeper->due.tv_sec += request->milliseconds / 1000;
    sleeper->due.tv_nsec += request->milliseconds % 1000 * 1000000l;
    sleeper->due.tv_sec += sleeper->due.tv_nsec / 1000000000;
    sleeper->due.tv_nsec %= 1000000000;
    hf_grpc_keep(call);
    pthread_mutex_lock(&probe_dormitory.lock);
    sleeper->next = probe_dormitory.first;
    probe_dormitory.first = sleeper;
    pthread_cond_signal(&probe_dormitory.changed);
    pthread_mutex_unlock(&probe_dormitory.lock);
}

/* ---- Depth, Lazy ---- */

static void probe_depth(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    Probe__V1__SumResponse sum = PROBE__V1__SUM_RESPONSE__INIT;
    (void)context;
    for (const Probe__V1__Tree *tree = (const void *)message; tree; tree = tree->child)
        sum.count++;
    hf_grpc_answer(call, &sum.base);
}

struct probe_lazy {
    struct hf_grpc_task task;
    struct hf_grpc_call *call;
    Probe__V1__SumResponse sum;
    pthread_t thread;
};

static void probe_lazy_on(struct hf_grpc_task *task)
{
    struct probe_lazy *lazy = (struct probe_lazy *)task;
    pthread_join(lazy->thread, NULL);
    hf_grpc_resume(lazy->call);
    hf_grpc_drop(lazy->call);
}

static void *probe_lazy_main(void *argument)
{
    struct probe_lazy *lazy = argument;
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    hf_grpc_post(lazy->call, &lazy->task);
    return NULL;
}

static void probe_lazy_message(struct hf_grpc_call *call, const ProtobufCMessage *message, void *context)
{
    const Probe__V1__Note *note = (const void *)message;
    struct probe_lazy *lazy = hf_grpc_user(call);
    (void)context;
    if (!lazy) {
        lazy = hf_grpc_alloc(call, sizeof *lazy);
        probe__v1__sum_response__init(&lazy->sum);
        lazy->task.run = probe_lazy_on;
        lazy->call = call;
        hf_grpc_set_user(call, lazy);
        hf_grpc_keep(call);
        hf_grpc_pause(call);
        assert(pthread_create(&lazy->thread, NULL, probe_lazy_main, lazy) == 0);
    }
    lazy->sum.count++;
    lazy->sum.bytes += note->data.len;
}

static void probe_lazy_end(struct hf_grpc_call *call, void *context)
{
    const struct probe_lazy *lazy = hf_grpc_user(call);
    (void)context;
    hf_grpc_answer(call, &lazy->sum.base);
}

/* ---- Plain HTTP ---- */

static void probe_http_body(struct hf_http_request *request, const uint8_t *bytes, size_t count, void *context)
{
    size_t *total = hf_http_user(request);
    (void)bytes;
    (void)context;
    if (!total) {
        total = hf_http_alloc(request, sizeof *total);
        hf_http_set_user(request, total);
    }
    *total += count;
}

static void probe_http_end(struct hf_http_request *request, void *context)
{
    struct hf_grpc_bytes method = hf_http_method(request), target = hf_http_target(request);
    const size_t *total = hf_http_user(request);
    char text[256];
    (void)context;
    int length = snprintf(text, sizeof text, "%.*s %.*s %zu bytes\n", (int)method.length, (const char *)method.bytes,
                          target.length > 100 ? 100 : (int)target.length, (const char *)target.bytes, total ? *total : 0);
    if (target.length >= 6 && memcmp(target.bytes, "/empty", 6) == 0)
        hf_http_reply(request, 204, NULL, NULL, 0);
    else
        hf_http_reply(request, 200, "text/plain", text, (size_t)length);
}

static const struct hf_http_handler PROBE_HTTP = {.body = probe_http_body, .end = probe_http_end};

/* ---- The program ---- */

static const struct hf_grpc_method PROBE_METHODS[] = {
    {.name = "Echo", .start = probe_begun, .message = probe_echo, .done = probe_done},
    {.name = "Count", .message = probe_count, .writable = probe_count_on},
    {.name = "Sum", .start = probe_sum_start, .message = probe_sum, .half_close = probe_sum_end},
    {.name = "Chat",
     .start = probe_begun,
     .message = probe_chat,
     .half_close = probe_chat_end,
     .writable = hf_grpc_resume_writable,
     .done = probe_done},
    {.name = "Fail", .message = probe_fail},
    {.name = "Sleep", .start = probe_begun, .message = probe_sleep, .done = probe_done},
    {.name = "Depth", .message = probe_depth},
    {.name = "Lazy", .message = probe_lazy_message, .half_close = probe_lazy_end},
};

static const struct hf_grpc_service PROBE_SERVICE = {
    .descriptor = &probe__v1__probe__descriptor,
    .methods = PROBE_METHODS,
    .method_count = sizeof PROBE_METHODS / sizeof PROBE_METHODS[0],
};

static enum hf_grpc_code probe_authorize(void *context, struct hf_grpc_call *call, const char **message)
{
    struct hf_grpc_bytes value;
    (void)context;
    if (!hf_grpc_metadata(call, "authorization", &value) || value.length != 10 || memcmp(value.bytes, "Bearer bad", 10) != 0)
        return HF_GRPC_OK;
    *message = "bad token";
    return HF_GRPC_UNAUTHENTICATED;
}

static struct {
    unsigned forbid_unix, http1;
    pthread_mutex_t lock;
    uint64_t count, messages_in, messages_out;
    char last[128];
} probe_reports = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool probe_admit(void *context, const struct hf_grpc_peer *peer)
{
    (void)context;
    return !probe_reports.forbid_unix || !peer->is_unix;
}

static void probe_report(void *context, const struct hf_grpc_call_report *report)
{
    (void)context;
    pthread_mutex_lock(&probe_reports.lock);
    probe_reports.count++;
    probe_reports.messages_in += report->messages_in;
    probe_reports.messages_out += report->messages_out;
    snprintf(probe_reports.last, sizeof probe_reports.last, "%s %s %s %s", report->service, report->method, hf_grpc_code_name(report->code),
             report->peer->is_unix ? "unix" : "tcp");
    pthread_mutex_unlock(&probe_reports.lock);
}

static bool probe_option(struct hf_grpc_options *options, const char *argument)
{
    struct {
        const char *name;
        unsigned *number;
        size_t *size;
    } all[] = {
        {"forbid_unix", &probe_reports.forbid_unix, NULL},
        {"http1", &probe_reports.http1, NULL},
        {"loops", &options->loops, NULL},
        {"connections_max", &options->connections_max, NULL},
        {"streams_max", &options->streams_max, NULL},
        {"calls_max", &options->calls_max, NULL},
        {"memory_max", NULL, &options->memory_max_bytes},
        {"message_max", NULL, &options->message_max_bytes},
        {"header_list_max", NULL, &options->header_list_max_bytes},
        {"handshake_timeout", &options->handshake_timeout_ms, NULL},
        {"idle_timeout", &options->idle_timeout_ms, NULL},
        {"header_timeout", &options->header_timeout_ms, NULL},
        {"receive_timeout", &options->receive_timeout_ms, NULL},
        {"send_timeout", &options->send_timeout_ms, NULL},
        {"keepalive_time", &options->keepalive_time_ms, NULL},
        {"keepalive_timeout", &options->keepalive_timeout_ms, NULL},
        {"age_max", &options->age_max_ms, NULL},
        {"age_grace", &options->age_grace_ms, NULL},
    };
    const char *equals = strchr(argument, '=');
    for (size_t i = 0; equals && i < sizeof all / sizeof all[0]; i++) {
        if (strlen(all[i].name) != (size_t)(equals - argument) || strncmp(all[i].name, argument, (size_t)(equals - argument)) != 0)
            continue;
        unsigned long value = strtoul(equals + 1, NULL, 10);
        if (all[i].number)
            *all[i].number = (unsigned)value;
        else
            *all[i].size = value;
        return true;
    }
    return false;
}

static void probe_counters(const struct hf_grpc_server *server)
{
    for (int i = 0; i < HF_GRPC_COUNTERS; i++)
        printf("%s %" PRIu64 "\n", hf_grpc_counter_name((enum hf_grpc_counter)i), hf_grpc_server_counter(server, (enum hf_grpc_counter)i));
    for (int i = 0; i < HF_GRPC_CODES; i++)
        printf("ended_%s %" PRIu64 "\n", hf_grpc_code_name((enum hf_grpc_code)i), hf_grpc_server_ended(server, (enum hf_grpc_code)i));
    printf("connections %" PRIu64 "\nend\n", hf_grpc_server_connections(server));
}

/* False: quit. */
static bool probe_obey(struct hf_grpc_server *server, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    char *argument = strchr(line, ' ');
    if (argument)
        *argument++ = '\0';
    if (strcmp(line, "quit") == 0)
        return false;
    if (strcmp(line, "counters") == 0) {
        probe_counters(server);
    } else if (strcmp(line, "reports") == 0) {
        pthread_mutex_lock(&probe_reports.lock);
        printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %s\n", probe_reports.count, probe_reports.messages_in, probe_reports.messages_out,
               probe_reports.last);
        pthread_mutex_unlock(&probe_reports.lock);
    } else if (strcmp(line, "live") == 0) {
        pthread_mutex_lock(&probe_dormitory.lock);
        printf("%u\n", probe_dormitory.live);
        pthread_mutex_unlock(&probe_dormitory.lock);
    } else if (strcmp(line, "drain") == 0) {
        hf_grpc_server_drain(server, argument ? (unsigned)strtoul(argument, NULL, 10) : 0);
        puts("ok");
    } else {
        puts(hf_grpc_health_set(server, argument ? argument : "", strcmp(line, "serving") == 0) ? "failed" : "ok");
    }
    return true;
}

static void probe_serve(struct hf_grpc_server *server, const struct hf_grpc_options *options)
{
    char line[256];
    pthread_create(&probe_dormitory.thread, NULL, probe_dormitory_main, NULL);
    printf("ready");
    for (unsigned i = 0; i < options->listen_count; i++)
        printf(" %u", hf_grpc_server_port(server, i));
    puts("");
    while (fgets(line, sizeof line, stdin) && probe_obey(server, line)) {
    }
    pthread_mutex_lock(&probe_dormitory.lock);
    probe_dormitory.ending = true;
    pthread_cond_signal(&probe_dormitory.changed);
    pthread_mutex_unlock(&probe_dormitory.lock);
    pthread_join(probe_dormitory.thread, NULL);
    hf_grpc_server_stop(server);
}

int main(int argc, char **argv)
{
    const char *listen[8];
    struct hf_grpc_options options = {
        .listen = listen, .http = &PROBE_HTTP, .authorize = probe_authorize, .admit = probe_admit, .call_done = probe_report};
    struct hf_grpc_server *server;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        if (probe_option(&options, argv[i]))
            continue;
        if (!strstr(argv[i], "://") || options.listen_count == 8) {
            fprintf(stderr, "probe_server: what is %s?\n", argv[i]);
            return 2;
        }
        listen[options.listen_count++] = argv[i];
    }
    options.http1 = probe_reports.http1 != 0;
    pthread_cond_init(&probe_dormitory.changed, NULL);
    int failed = hf_grpc_server_create(&options, &server);
    if (failed) {
        fprintf(stderr, "probe_server: %d\n", failed);
        return 1;
    }
    if (!failed)
        failed = hf_grpc_server_add_descriptors(server, hf_probe_descriptors, hf_probe_descriptors_bytes);
    if (!failed)
        failed = hf_grpc_server_add_service(server, &PROBE_SERVICE);
    if (!failed)
        failed = interop_add(server);
    if (!failed)
        failed = hf_grpc_server_add_health(server);
    if (!failed)
        failed = hf_grpc_server_add_reflection(server);
    if (!failed)
        failed = hf_grpc_health_set(server, "", true);
    if (!failed)
        failed = hf_grpc_server_start(server);
    if (failed)
        perror("probe_server");
    else
        probe_serve(server, &options);
    hf_grpc_server_destroy(server);
    return failed ? 1 : 0;
}
