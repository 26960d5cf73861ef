/* Connections: accepting, reading, writing, the limits of time, and closing, always at the end of a round and never within a callback. */
#include "control/grpc/connection_p.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    HF_GRPC_ACCEPTS_A_ROUND = 64,
    HF_GRPC_LINGER_MS = 1000, /* a shut connection whose client still sends */
};

static uint64_t hf_grpc_ms(unsigned ms)
{
    return (uint64_t)ms * 1000000u;
}

bool hf_grpc_bucket_take(struct hf_grpc_bucket *bucket, uint64_t now_ns, double burst, double rate)
{
    if (bucket->filled_ns == 0)
        bucket->tokens = burst;
    else
        bucket->tokens += (double)(now_ns - bucket->filled_ns) * 1e-9 * rate;
    bucket->filled_ns = now_ns;
    if (bucket->tokens > burst)
        bucket->tokens = burst;
    if (bucket->tokens < 1)
        return false;
    bucket->tokens -= 1;
    return true;
}

void hf_grpc_connection_touch(struct hf_grpc_connection *connection)
{
    struct hf_grpc_worker *worker = connection->worker;
    if (connection->dirty)
        return;
    connection->dirty = true;
    connection->next_dirty = worker->dirty;
    worker->dirty = connection;
}

void hf_grpc_connection_add_stream(struct hf_grpc_connection *connection, struct hf_grpc_stream *stream)
{
    stream->connection = connection;
    stream->next = connection->streams;
    if (stream->next)
        stream->next->previous = stream;
    connection->streams = stream;
    connection->stream_count++;
    connection->quiet_since_ns = 0;
}

void hf_grpc_connection_remove_stream(struct hf_grpc_connection *connection, struct hf_grpc_stream *stream)
{
    if (stream->previous)
        stream->previous->next = stream->next;
    else
        connection->streams = stream->next;
    if (stream->next)
        stream->next->previous = stream->previous;
    if (--connection->stream_count == 0)
        connection->quiet_since_ns = hf_grpc_loop_now_ns(connection->worker->loop);
    hf_grpc_connection_touch(connection);
}

/* ---- Closing ---- */

static void hf_grpc_connection_delete(struct hf_grpc_connection *connection)
{
    struct hf_grpc_worker *worker = connection->worker;
    if (connection->protocol)
        connection->protocol->close(connection);
    hf_grpc_loop_unwatch(worker->loop, &connection->watch);
    close(connection->watch.fd);
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        worker->connections = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    hf_grpc_memory_give(&worker->memory, connection->unsent, connection->unsent_room);
    hf_grpc_memory_give(&worker->memory, connection, sizeof *connection);
    hf_grpc_count(worker, HF_GRPC_CONNECTIONS_CLOSED);
    hf_add_relaxed_u64(&worker->server->connections, UINT64_MAX);
}

static void hf_grpc_connection_break(struct hf_grpc_connection *connection)
{
    connection->broken = true;
    hf_grpc_connection_touch(connection);
}

/* ---- Writing ---- */

static void hf_grpc_connection_watch_for(struct hf_grpc_connection *connection, bool write_armed, bool read_stopped)
{
    if (connection->write_armed == write_armed && connection->read_stopped == read_stopped)
        return;
    connection->write_armed = write_armed;
    connection->read_stopped = read_stopped;
    hf_grpc_loop_rewatch(connection->worker->loop, &connection->watch, (write_armed ? EPOLLOUT : 0u) | (read_stopped ? 0u : EPOLLIN));
}

/* Bytes the socket took; -1: it is broken. */
static ssize_t hf_grpc_connection_push(struct hf_grpc_connection *connection, const uint8_t *bytes, size_t count)
{
    size_t sent = 0;
    while (sent < count) {
        ssize_t now = send(connection->watch.fd, bytes + sent, count - sent, MSG_NOSIGNAL);
        if (now < 0 && errno == EINTR)
            continue;
        if (now < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (now < 0)
            return -1;
        sent += (size_t)now;
    }
    hf_grpc_count_many(connection->worker, HF_GRPC_BYTES_OUT, sent);
    return (ssize_t)sent;
}

/* Keeps what the socket did not take. */
static bool hf_grpc_connection_keep_unsent(struct hf_grpc_connection *connection, const uint8_t *bytes, size_t count)
{
    struct hf_grpc_memory *memory = &connection->worker->memory;
    if (connection->unsent_room - connection->unsent_bytes < count) {
        uint8_t *grown = hf_grpc_memory_take_bulk(memory, connection->unsent_bytes + count);
        if (!grown)
            return false;
        if (connection->unsent_bytes > 0)
            memcpy(grown, connection->unsent, connection->unsent_bytes);
        hf_grpc_memory_give(memory, connection->unsent, connection->unsent_room);
        connection->unsent = grown;
        connection->unsent_room = connection->unsent_bytes + count;
    }
    memcpy(connection->unsent + connection->unsent_bytes, bytes, count);
    connection->unsent_bytes += count;
    return true;
}

/* Sends `count` bytes or keeps their rest. False: broken, or the socket is full. */
static bool hf_grpc_connection_send(struct hf_grpc_connection *connection, const uint8_t *bytes, size_t count)
{
    ssize_t sent = hf_grpc_connection_push(connection, bytes, count);
    if (sent < 0 || ((size_t)sent < count && !hf_grpc_connection_keep_unsent(connection, bytes + sent, count - (size_t)sent))) {
        connection->broken = true;
        return false;
    }
    return (size_t)sent == count;
}

/* False: something is still unsent. */
static bool hf_grpc_connection_send_unsent(struct hf_grpc_connection *connection)
{
    if (connection->unsent_bytes == 0)
        return true;
    size_t left = connection->unsent_bytes - connection->unsent_at;
    ssize_t sent = hf_grpc_connection_push(connection, connection->unsent + connection->unsent_at, left);
    if (sent < 0) {
        connection->broken = true;
        return false;
    }
    connection->unsent_at += (size_t)sent;
    if (sent > 0)
        connection->blocked_since_ns = hf_grpc_loop_now_ns(connection->worker->loop);
    if (connection->unsent_at < connection->unsent_bytes)
        return false;
    hf_grpc_memory_give(&connection->worker->memory, connection->unsent, connection->unsent_room);
    connection->unsent = NULL;
    connection->unsent_bytes = connection->unsent_at = connection->unsent_room = 0;
    return true;
}

/* Frames are gathered, so that what one round answered on a connection goes out with one system call. */
static void hf_grpc_connection_write(struct hf_grpc_connection *connection)
{
    struct hf_grpc_worker *worker = connection->worker;
    size_t gathered = 0;
    bool open = hf_grpc_connection_send_unsent(connection);
    while (open && connection->protocol) {
        const uint8_t *bytes;
        ssize_t count = connection->protocol->produce(connection, &bytes);
        if (count < 0)
            connection->broken = true;
        if (count <= 0)
            break;
        if (gathered + (size_t)count > HF_GRPC_SCRATCH_BYTES) {
            open = hf_grpc_connection_send(connection, worker->out, gathered);
            gathered = 0;
        }
        if (!open) {
            connection->broken |= !connection->broken && !hf_grpc_connection_keep_unsent(connection, bytes, (size_t)count);
            break;
        }
        memcpy(worker->out + gathered, bytes, (size_t)count);
        gathered += (size_t)count;
    }
    if (open && gathered > 0)
        open = hf_grpc_connection_send(connection, worker->out, gathered);
    if (open)
        connection->blocked_since_ns = 0;
    else if (connection->blocked_since_ns == 0)
        connection->blocked_since_ns = hf_grpc_loop_now_ns(worker->loop);
    /* A client that does not read is not read from either: what it makes us say stays bounded. */
    if (!connection->broken)
        hf_grpc_connection_watch_for(connection, !open, (!open || connection->hold_reading) && !connection->half_shut);
}

/* Says what is left to say, then half closes, so that the last frames reach a client that is still sending. */
static void hf_grpc_connection_finish(struct hf_grpc_connection *connection)
{
    if (connection->half_shut)
        return;
    hf_grpc_connection_write(connection);
    bool over = connection->closing || (connection->protocol && connection->protocol->over(connection));
    if (connection->broken || !over || connection->unsent_bytes > 0)
        return;
    connection->half_shut = true;
    hf_grpc_connection_watch_for(connection, false, false);
    connection->shut_ns = hf_grpc_loop_now_ns(connection->worker->loop);
    shutdown(connection->watch.fd, SHUT_WR);
    /* Its calls are over now, not when the client is done talking to nobody. */
    if (connection->protocol)
        connection->protocol->close(connection);
    connection->protocol = NULL;
}

void hf_grpc_worker_flush(struct hf_grpc_worker *worker)
{
    while (worker->dirty) {
        struct hf_grpc_connection *connection = worker->dirty;
        worker->dirty = connection->next_dirty;
        /* It stays marked meanwhile: what its callbacks ask for is done here, and it must not be listed when it goes. */
        if (!connection->broken)
            hf_grpc_connection_finish(connection);
        if (connection->broken)
            hf_grpc_connection_delete(connection);
        else
            connection->dirty = false;
    }
}

/* ---- Reading ---- */

static bool hf_grpc_connection_speak(struct hf_grpc_connection *connection, const struct hf_grpc_protocol *protocol)
{
    connection->quiet_since_ns = hf_grpc_loop_now_ns(connection->worker->loop);
    connection->protocol = protocol;
    if (protocol->open(connection) ||
        (connection->preface_bytes > 0 && protocol->feed(connection, connection->preface, connection->preface_bytes))) {
        hf_grpc_connection_break(connection);
        return false;
    }
    if (connection->worker->draining)
        protocol->drain(connection);
    return true;
}

/* Returns how many of the bytes belonged to the preface; negative: not HTTP/2. */
static ssize_t hf_grpc_connection_preface(struct hf_grpc_connection *connection, const uint8_t *bytes, size_t count)
{
    size_t wanted = HF_GRPC_PREFACE_BYTES - connection->preface_bytes;
    if (wanted > count)
        wanted = count;
    if (memcmp(HF_GRPC_PREFACE + connection->preface_bytes, bytes, wanted) != 0)
        return -1;
    memcpy(connection->preface + connection->preface_bytes, bytes, wanted);
    connection->preface_bytes += (unsigned)wanted;
    return (ssize_t)wanted;
}

static void hf_grpc_connection_feed(struct hf_grpc_connection *connection, const uint8_t *bytes, size_t count)
{
    if (!connection->protocol) {
        ssize_t taken = hf_grpc_connection_preface(connection, bytes, count);
        if (taken < 0 && !connection->worker->server->options.http1) {
            hf_grpc_count(connection->worker, HF_GRPC_BAD_PREFACE);
            hf_grpc_connection_break(connection);
            return;
        }
        if (taken >= 0 && connection->preface_bytes < HF_GRPC_PREFACE_BYTES)
            return;
        if (!hf_grpc_connection_speak(connection, taken < 0 ? &hf_grpc_h1 : &hf_grpc_h2))
            return;
        bytes += taken < 0 ? 0 : taken;
        count -= taken < 0 ? 0 : (size_t)taken;
    }
    if (count > 0 && connection->protocol->feed(connection, bytes, count))
        connection->closing = true;
}

/* Whether a client that has finished sending still waits for something; one that hung up does not. */
static bool hf_grpc_connection_half_closed(struct hf_grpc_connection *connection, uint32_t events)
{
    const struct hf_grpc_protocol *protocol = connection->protocol;
    return protocol && protocol->half_closed && !(events & (EPOLLHUP | EPOLLERR)) && !connection->closing &&
           protocol->half_closed(connection);
}

static void hf_grpc_connection_ready(struct hf_grpc_watch *watch, uint32_t events)
{
    struct hf_grpc_connection *connection = (struct hf_grpc_connection *)watch;
    struct hf_grpc_worker *worker = connection->worker;
    if (connection->broken)
        return;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        ssize_t count = recv(watch->fd, worker->in, HF_GRPC_SCRATCH_BYTES, 0);
        if (count == 0 && hf_grpc_connection_half_closed(connection, events)) {
            hf_grpc_connection_touch(connection);
            return;
        }
        if (count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
            hf_grpc_connection_break(connection);
            return;
        }
        if (count > 0 && !connection->closing && !connection->half_shut) {
            connection->heard_ns = hf_grpc_loop_now_ns(worker->loop);
            hf_grpc_count_many(worker, HF_GRPC_BYTES_IN, (uint64_t)count);
            hf_grpc_connection_feed(connection, worker->in, (size_t)count);
        }
    }
    hf_grpc_connection_touch(connection);
}

/* ---- Accepting ---- */

/* False: it is no IP address. */
static bool hf_grpc_address_write(const struct sockaddr_storage *address, char *out, size_t room)
{
    char host[INET6_ADDRSTRLEN] = "";
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        snprintf(out, room, "%s:%u", host, ntohs(in->sin_port));
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)address;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        snprintf(out, room, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        snprintf(out, room, "unix");
    }
    return address->ss_family == AF_INET || address->ss_family == AF_INET6;
}

static void hf_grpc_peer_read(int fd, unsigned listener, const struct sockaddr_storage *from, struct hf_grpc_peer *peer)
{
    struct sockaddr_storage to = {.ss_family = AF_UNIX};
    socklen_t to_bytes = sizeof to;
    *peer = (struct hf_grpc_peer){.listener = listener, .uid = (uid_t)-1, .gid = (gid_t)-1};
    peer->is_unix = !hf_grpc_address_write(from, peer->address, sizeof peer->address);
    if (getsockname(fd, (struct sockaddr *)&to, &to_bytes) == 0)
        hf_grpc_address_write(&to, peer->local, sizeof peer->local);
    if (peer->is_unix) {
        struct ucred credentials;
        socklen_t bytes = sizeof credentials;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) == 0) {
            peer->uid = credentials.uid;
            peer->gid = credentials.gid;
            peer->pid = credentials.pid;
        }
    }
}

static void hf_grpc_connection_open(struct hf_grpc_worker *worker, int fd, const struct hf_grpc_peer *peer)
{
    struct hf_grpc_connection *connection = hf_grpc_memory_take(&worker->memory, sizeof *connection);
    if (!connection) {
        hf_grpc_count(worker, HF_GRPC_MEMORY_FULL);
        hf_add_relaxed_u64(&worker->server->connections, UINT64_MAX);
        close(fd);
        return;
    }
    *connection = (struct hf_grpc_connection){.watch = {.fd = fd, .ready = hf_grpc_connection_ready}, .worker = worker, .peer = *peer};
    connection->accepted_ns = connection->heard_ns = hf_grpc_loop_now_ns(worker->loop);
    connection->next = worker->connections;
    if (connection->next)
        connection->next->previous = connection;
    worker->connections = connection;
    hf_grpc_count(worker, HF_GRPC_CONNECTIONS_ACCEPTED);
    if (hf_grpc_loop_watch(worker->loop, &connection->watch, EPOLLIN))
        hf_grpc_connection_break(connection);
}

static void hf_grpc_admit(struct hf_grpc_worker *worker, unsigned listener, int fd, const struct sockaddr_storage *from)
{
    const struct hf_grpc_options *options = &worker->server->options;
    struct hf_grpc_peer peer;
    int one = 1;
    hf_grpc_peer_read(fd, listener, from, &peer);
    if (hf_add_relaxed_u64(&worker->server->connections, 1) >= options->connections_max) {
        hf_grpc_count(worker, HF_GRPC_CONNECTIONS_REFUSED);
    } else if (options->admit && !options->admit(options->context, &peer)) {
        hf_grpc_count(worker, HF_GRPC_CONNECTIONS_FORBIDDEN);
    } else {
        if (!peer.is_unix)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        hf_grpc_connection_open(worker, fd, &peer);
        return;
    }
    hf_add_relaxed_u64(&worker->server->connections, UINT64_MAX);
    close(fd);
}

static void hf_grpc_accept(struct hf_grpc_watch *watch, uint32_t events)
{
    struct hf_grpc_listener *listener = (struct hf_grpc_listener *)watch;
    (void)events;
    for (unsigned i = 0; i < HF_GRPC_ACCEPTS_A_ROUND; i++) {
        struct sockaddr_storage from = {.ss_family = AF_UNIX};
        socklen_t bytes = sizeof from;
        int fd = accept4(watch->fd, (struct sockaddr *)&from, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            hf_grpc_admit(listener->worker, listener->index, fd, &from);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* The waiting connection keeps the listener ready: look again at the next sweep, not in a circle. */
            hf_grpc_count(listener->worker, HF_GRPC_ACCEPT_ERRORS);
            hf_grpc_worker_unlisten(listener->worker);
            listener->worker->accept_paused = true;
            return;
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

int hf_grpc_worker_listen(struct hf_grpc_worker *worker)
{
    for (unsigned i = 0; i < worker->server->options.listen_count; i++) {
        worker->listeners[i] = (struct hf_grpc_listener){
            .watch = {.fd = worker->server->listen_fds[i], .ready = hf_grpc_accept}, .worker = worker, .index = i};
        if (hf_grpc_loop_watch(worker->loop, &worker->listeners[i].watch, EPOLLIN | EPOLLEXCLUSIVE))
            return HF_GRPC_E_IO;
    }
    worker->listening = true;
    return 0;
}

void hf_grpc_worker_unlisten(struct hf_grpc_worker *worker)
{
    if (!worker->listening)
        return;
    worker->listening = false;
    for (unsigned i = 0; i < worker->server->options.listen_count; i++)
        hf_grpc_loop_unwatch(worker->loop, &worker->listeners[i].watch);
}

/* ---- Limits of time ---- */

static void hf_grpc_connection_end(struct hf_grpc_connection *connection, enum hf_grpc_counter counter, const char *why)
{
    hf_grpc_count(connection->worker, counter);
    if (connection->protocol && why)
        connection->protocol->end(connection, NGHTTP2_NO_ERROR, why);
    else
        hf_grpc_connection_break(connection);
}

static void hf_grpc_connection_begin_drain(struct hf_grpc_connection *connection, uint64_t until_ns)
{
    if (connection->drain_until_ns && connection->drain_until_ns <= until_ns)
        return;
    bool first = connection->drain_until_ns == 0;
    connection->drain_until_ns = until_ns;
    if (!connection->protocol)
        hf_grpc_connection_break(connection);
    else if (first)
        connection->protocol->drain(connection);
}

static void hf_grpc_sweep_stream(struct hf_grpc_stream *stream, const struct hf_grpc_options *options, uint64_t now)
{
    hf_grpc_stream_keep(stream);
    if (stream->receiving_since_ns && now - stream->receiving_since_ns > hf_grpc_ms(options->receive_timeout_ms)) {
        hf_grpc_count(stream->worker, HF_GRPC_RECEIVE_TIMEOUTS);
        stream->receiving_since_ns = 0;
        if (stream->speaker)
            stream->speaker->late(stream);
    }
    if (stream->sending_since_ns && now - stream->sending_since_ns > hf_grpc_ms(options->send_timeout_ms)) {
        hf_grpc_count(stream->worker, HF_GRPC_SEND_TIMEOUTS);
        stream->sending_since_ns = 0;
        if (stream->connection)
            stream->carrier->reset(stream);
    }
    hf_grpc_stream_drop(stream);
}

static void hf_grpc_sweep_quiet(struct hf_grpc_connection *connection, const struct hf_grpc_options *options, uint64_t now)
{
    if (connection->quiet_since_ns && now - connection->quiet_since_ns > hf_grpc_ms(options->idle_timeout_ms)) {
        hf_grpc_connection_end(connection, HF_GRPC_IDLE_TIMEOUTS, "idle");
    } else if (connection->pinged_ns && now - connection->pinged_ns > hf_grpc_ms(options->keepalive_timeout_ms)) {
        hf_grpc_connection_end(connection, HF_GRPC_KEEPALIVE_TIMEOUTS, NULL);
    } else if (!connection->pinged_ns && now - connection->heard_ns > hf_grpc_ms(options->keepalive_time_ms)) {
        connection->pinged_ns = now;
        connection->protocol->ping(connection);
    }
    if (options->age_max_ms && !connection->drain_until_ns && now - connection->accepted_ns > hf_grpc_ms(options->age_max_ms)) {
        hf_grpc_count(connection->worker, HF_GRPC_AGED);
        hf_grpc_connection_begin_drain(connection, now + hf_grpc_ms(options->age_grace_ms));
    }
}

static void hf_grpc_sweep_connection(struct hf_grpc_connection *connection, uint64_t now)
{
    const struct hf_grpc_options *options = &connection->worker->server->options;
    if (connection->broken)
        return;
    if (connection->half_shut) {
        if (now - connection->shut_ns > hf_grpc_ms(HF_GRPC_LINGER_MS))
            hf_grpc_connection_break(connection);
        return;
    }
    if (connection->blocked_since_ns && now - connection->blocked_since_ns > hf_grpc_ms(options->send_timeout_ms)) {
        hf_grpc_connection_end(connection, HF_GRPC_SEND_TIMEOUTS, NULL);
        return;
    }
    if (connection->closing)
        return;
    if (!connection->protocol) {
        if (now - connection->accepted_ns > hf_grpc_ms(options->handshake_timeout_ms))
            hf_grpc_connection_end(connection, HF_GRPC_HANDSHAKE_TIMEOUTS, NULL);
        return;
    }
    if (connection->header_since_ns && now - connection->header_since_ns > hf_grpc_ms(options->header_timeout_ms)) {
        hf_grpc_connection_end(connection, HF_GRPC_HEADER_TIMEOUTS, "headers too slow");
        return;
    }
    if (connection->drain_until_ns && now > connection->drain_until_ns) {
        hf_grpc_connection_end(connection, HF_GRPC_GRACE_CUTS, "grace is over");
        return;
    }
    for (struct hf_grpc_stream *stream = connection->streams, *next; stream; stream = next) {
        next = stream->next;
        hf_grpc_sweep_stream(stream, options, now);
    }
    hf_grpc_sweep_quiet(connection, options, now);
}

void hf_grpc_worker_sweep(struct hf_grpc_worker *worker)
{
    uint64_t now = hf_grpc_loop_now_ns(worker->loop);
    if (worker->accept_paused && !worker->draining) {
        worker->accept_paused = false;
        hf_grpc_worker_listen(worker);
    }
    for (struct hf_grpc_connection *connection = worker->connections, *next; connection; connection = next) {
        next = connection->next;
        hf_grpc_sweep_connection(connection, now);
    }
}

void hf_grpc_worker_drain(struct hf_grpc_worker *worker)
{
    for (struct hf_grpc_connection *connection = worker->connections; connection; connection = connection->next)
        hf_grpc_connection_begin_drain(connection, worker->drain_until_ns);
}

void hf_grpc_worker_cut(struct hf_grpc_worker *worker)
{
    for (struct hf_grpc_connection *connection = worker->connections; connection; connection = connection->next)
        hf_grpc_connection_break(connection);
}
