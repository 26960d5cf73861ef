#include "client/control.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "wire/error.h"

enum { FRAME_HEAD = 5, STREAM_WINDOW = 1 << 20, READ_BYTES = 32 << 10 };

struct control_call {
    struct control_call *next;
    int32_t stream;
    uint64_t deadline_ns;
    uint8_t *request; /* head and message */
    size_t request_bytes, sent;
    uint8_t *answer;
    size_t answer_bytes, answer_room;
    int status;
    char message[256];
    bool over;
    void (*done)(void *context, const struct hf_control_reply *reply);
    void *context;
};

struct hf_control_client {
    int fd;
    nghttp2_session *session;
    struct control_call *calls;
    unsigned out;
    bool gone;
    char authority[128], error[256];
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- the connection ---- */

static int wait_connected(int fd, uint64_t timeout_ns)
{
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    int failed = 0;
    socklen_t bytes = sizeof failed;
    if (poll(&wait, 1, (int)(timeout_ns / 1000000)) != 1)
        return ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &bytes) != 0 ? errno : failed;
}

static int try_connect(int family, const struct sockaddr *address, socklen_t bytes, uint64_t timeout_ns, int *out)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), failed;
    if (fd < 0)
        return errno;
    failed = connect(fd, address, bytes) == 0 ? 0 : errno;
    if (failed == EINPROGRESS)
        failed = wait_connected(fd, timeout_ns);
    if (failed)
        close(fd);
    else
        *out = fd;
    return failed;
}

static int connect_unix(const char *path, uint64_t timeout_ns, int *out)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (strlen(path) == 0 || strlen(path) >= sizeof name.sun_path)
        return -1;
    memcpy(name.sun_path, path, strlen(path));
    return try_connect(AF_UNIX, (const struct sockaddr *)(const void *)&name, sizeof name, timeout_ns, out);
}

static int connect_tcp(const char *at, uint64_t timeout_ns, int *out)
{
    char host[108];
    const char *colon = strrchr(at, ':');
    if (!colon || colon == at || colon[1] == 0 || (size_t)(colon - at) >= sizeof host)
        return -1;
    bool bracketed = at[0] == '[' && colon - at > 2 && colon[-1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(colon - at) - 2 * bracketed, at + bracketed);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
        return -1;
    int failed = try_connect(found->ai_family, found->ai_addr, found->ai_addrlen, timeout_ns, out);
    freeaddrinfo(found);
    return failed;
}

/* 0, an errno, or -1: no address. */
static int connect_to(const char *address, uint64_t timeout_ns, int *out)
{
    char path[4096];
    if (strncmp(address, "tcp://", 6) == 0)
        return connect_tcp(address + 6, timeout_ns, out);
    if (strncmp(address, "unix://", 7) == 0)
        return connect_unix(address + 7, timeout_ns, out);
    if (strstr(address, "://") || *address == 0)
        return -1;
    snprintf(path, sizeof path, "%s/control.sock", address);
    return connect_unix(path, timeout_ns, out);
}

/* ---- calls ---- */

static void finish(struct hf_control_client *client, struct control_call *call)
{
    const uint8_t *answer = call->answer;
    size_t bytes = call->answer_bytes;
    struct hf_control_reply reply = {.status = call->status, .message = call->message};
    for (struct control_call **at = &client->calls; *at; at = &(*at)->next)
        if (*at == call) {
            *at = call->next;
            break;
        }
    client->out--;
    if (bytes >= FRAME_HEAD && answer[0] == 0) {
        reply.answer = answer + FRAME_HEAD;
        reply.answer_bytes = bytes - FRAME_HEAD;
    } else if (reply.status == 0) {
        reply.status = -1;
    }
    call->done(call->context, &reply);
    free(call->answer);
    free(call->request);
    free(call);
}

static ssize_t read_request(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room, uint32_t *flags,
                            nghttp2_data_source *source, void *user)
{
    struct control_call *call = source->ptr;
    size_t left = call->request_bytes - call->sent, bytes = left < room ? left : room;
    (void)session;
    (void)stream;
    (void)user;
    memcpy(to, call->request + call->sent, bytes);
    call->sent += bytes;
    if (call->sent == call->request_bytes)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)bytes;
}

static int hex(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* grpc-message is percent-encoded. */
static void decode(const uint8_t *from, size_t bytes, char *to, size_t room)
{
    size_t at = 0;
    for (size_t i = 0; i < bytes && at + 1 < room; i++) {
        int high = i + 2 < bytes ? hex(from[i + 1]) : -1, low = i + 2 < bytes ? hex(from[i + 2]) : -1;
        uint8_t byte = from[i];
        if (byte == '%' && high >= 0 && low >= 0) {
            byte = (uint8_t)(16 * high + low);
            i += 2;
        }
        to[at++] = (char)byte;
    }
    to[at] = 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_bytes, const uint8_t *value,
                     size_t value_bytes, uint8_t flags, void *user)
{
    struct control_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    (void)flags;
    (void)user;
    if (!call)
        return 0;
    if (name_bytes == strlen("grpc-status") && memcmp(name, "grpc-status", name_bytes) == 0 && value_bytes <= 2) {
        call->status = 0;
        for (size_t i = 0; i < value_bytes; i++)
            call->status = call->status * 10 + (value[i] - '0');
    } else if (name_bytes == strlen("grpc-message") && memcmp(name, "grpc-message", name_bytes) == 0) {
        decode(value, value_bytes, call->message, sizeof call->message);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t bytes, void *user)
{
    struct control_call *call = nghttp2_session_get_stream_user_data(session, stream);
    (void)flags;
    (void)user;
    if (!call)
        return 0;
    if (call->answer_bytes + bytes > call->answer_room) {
        size_t room = 2 * (call->answer_bytes + bytes);
        uint8_t *grown = room <= HF_CONTROL_ANSWER_BYTES_MAX ? realloc(call->answer, room) : NULL;
        if (!grown)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        call->answer = grown;
        call->answer_room = room;
    }
    memcpy(call->answer + call->answer_bytes, data, bytes);
    call->answer_bytes += bytes;
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t code, void *user)
{
    struct control_call *call = nghttp2_session_get_stream_user_data(session, stream);
    (void)code;
    (void)user;
    if (call)
        call->over = true;
    return 0;
}

static bool make_session(struct hf_control_client *client)
{
    nghttp2_session_callbacks *callbacks = NULL;
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}, {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW}};
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return false;
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    int failed = nghttp2_session_client_new(&client->session, callbacks, client);
    nghttp2_session_callbacks_del(callbacks);
    return failed == 0 && nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, settings, 2) == 0 &&
           nghttp2_session_set_local_window_size(client->session, NGHTTP2_FLAG_NONE, 0, 4 * STREAM_WINDOW) == 0;
}

int hf_control_connect(const char *address, uint64_t timeout_ns, struct hf_control_client **out, char *error, size_t error_bytes)
{
    struct hf_control_client *client = calloc(1, sizeof *client);
    int fd = -1, failed = client ? connect_to(address, timeout_ns, &fd) : ENOMEM;
    if (failed) {
        if (failed < 0)
            snprintf(error, error_bytes, "'%.200s' is no address of a control plane: tcp://HOST:PORT, unix://PATH or a data directory",
                     address);
        else
            snprintf(error, error_bytes, "%.200s cannot be reached: %s", address, strerror(failed));
        free(client);
        return failed < 0 ? HF_E_USAGE : HF_E_CLOSED;
    }
    client->fd = fd;
    snprintf(client->authority, sizeof client->authority, "%.120s", strncmp(address, "tcp://", 6) == 0 ? address + 6 : "localhost");
    if (!make_session(client)) {
        snprintf(error, error_bytes, "no memory");
        hf_control_close(client);
        return HF_E_CLOSED;
    }
    *out = client;
    return 0;
}

const char *hf_control_error(const struct hf_control_client *client)
{
    return client->error;
}

#define HF_FIELD(name, value)                                                                                          \
    {                                                                                                                  \
        (uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE \
    }

static bool submit(struct hf_control_client *client, struct control_call *call, const char *method, uint64_t deadline_ns)
{
    char timeout[24];
    snprintf(timeout, sizeof timeout, "%llum", (unsigned long long)(deadline_ns / 1000000));
    const nghttp2_nv fields[] = {
        HF_FIELD(":method", "POST"),        HF_FIELD(":scheme", "http"),
        HF_FIELD(":path", method),          HF_FIELD(":authority", client->authority),
        HF_FIELD("te", "trailers"),         HF_FIELD("content-type", "application/grpc"),
        HF_FIELD("user-agent", "holdfast"), HF_FIELD("grpc-timeout", timeout),
    };
    nghttp2_data_provider provider = {.source.ptr = call, .read_callback = read_request};
    call->stream = nghttp2_submit_request(client->session, NULL, fields, sizeof fields / sizeof fields[0], &provider, call);
    return call->stream > 0;
}

bool hf_control_begin(struct hf_control_client *client, const char *method, const void *message, size_t bytes, uint64_t deadline_ns,
                      void (*done)(void *context, const struct hf_control_reply *reply), void *context)
{
    struct control_call *call = client->out < HF_CONTROL_CALLS_MAX && !client->gone ? calloc(1, sizeof *call) : NULL;
    if (!call)
        return false;
    call->request = malloc(FRAME_HEAD + bytes);
    if (!call->request) {
        free(call);
        return false;
    }
    const uint8_t head[FRAME_HEAD] = {0, (uint8_t)(bytes >> 24), (uint8_t)(bytes >> 16), (uint8_t)(bytes >> 8), (uint8_t)bytes};
    memcpy(call->request, head, FRAME_HEAD);
    if (bytes > 0)
        memcpy(call->request + FRAME_HEAD, message, bytes);
    call->request_bytes = FRAME_HEAD + bytes;
    call->status = -1;
    call->deadline_ns = now_ns() + deadline_ns;
    call->done = done;
    call->context = context;
    if (!submit(client, call, method, deadline_ns)) {
        free(call->request);
        free(call);
        return false;
    }
    call->next = client->calls;
    client->calls = call;
    client->out++;
    return true;
}

/* ---- the loop ---- */

/* What is out ends without an answer; the first reason counts. */
static void lose(struct hf_control_client *client, const char *why)
{
    if (client->gone)
        return;
    snprintf(client->error, sizeof client->error, "%s", why);
    client->gone = true;
    for (struct control_call *call = client->calls; call; call = call->next)
        call->over = true;
}

static void send_all(struct hf_control_client *client)
{
    const uint8_t *data;
    ssize_t bytes;
    while (!client->gone && (bytes = nghttp2_session_mem_send(client->session, &data)) > 0) {
        for (ssize_t sent = 0; sent < bytes && !client->gone;) {
            ssize_t went = send(client->fd, data + sent, (size_t)(bytes - sent), MSG_NOSIGNAL);
            if (went > 0)
                sent += went;
            else if (went < 0 && errno == EAGAIN)
                poll(&(struct pollfd){.fd = client->fd, .events = POLLOUT}, 1, 1000);
            else if (errno != EINTR)
                lose(client, strerror(errno));
        }
    }
}

static void receive(struct hf_control_client *client)
{
    uint8_t bytes[READ_BYTES];
    while (!client->gone) {
        ssize_t came = recv(client->fd, bytes, sizeof bytes, 0);
        if (came < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (came <= 0)
            lose(client, came == 0 ? "the engine closed the connection" : strerror(errno));
        else if (nghttp2_session_mem_recv(client->session, bytes, (size_t)came) != came)
            lose(client, "what answers there is no control plane");
    }
}

static void finish_calls(struct hf_control_client *client)
{
    uint64_t now = now_ns();
    for (struct control_call *call = client->calls, *next; call; call = next) {
        next = call->next;
        if (!call->over && now < call->deadline_ns)
            continue;
        if (!call->over) {
            lose(client, "no answer in time");
            next = client->calls;
            continue;
        }
        finish(client, call);
        next = client->calls; /* `done` may have begun others */
    }
}

int hf_control_poll(struct hf_control_client *client, uint64_t timeout_ns)
{
    struct pollfd wait = {.fd = client->fd, .events = POLLIN};
    struct timespec time = {(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
    send_all(client);
    if (!client->gone && ppoll(&wait, 1, &time, NULL) > 0)
        receive(client);
    send_all(client);
    if (!client->gone && !nghttp2_session_want_read(client->session) && !nghttp2_session_want_write(client->session))
        lose(client, "the engine ended the connection");
    finish_calls(client);
    return client->gone ? HF_E_CLOSED : 0;
}

void hf_control_close(struct hf_control_client *client)
{
    if (!client)
        return;
    lose(client, "closed");
    finish_calls(client);
    assert(client->out == 0);
    nghttp2_session_del(client->session);
    close(client->fd);
    free(client);
}
