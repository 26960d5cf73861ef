/* Connections within the process. A pipe has a byte ring for each direction under one mutex; its owner counts are two: the client's handle
 * and the server's connection. */
#include "net/loopback.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "net/net.h"
#include "net/outbox.h"
#include "net/transport.h"

enum { HF_LOOPBACK_CHUNK = 4096, HF_LOOPBACK_LISTENERS_MAX = 8, HF_LOOPBACK_NAME_BYTES = 64, HF_LOOPBACK_WATCHES_MAX = 4 };

struct hf_byte_ring {
    uint8_t *bytes;
    size_t from, held;
};

struct hf_loopback {
    pthread_mutex_t lock;
    struct hf_byte_ring up, down; /* to the server, to the client */
    bool client_closed, server_closed, client_left, server_left;
    int event_fd;             /* the server's */
    struct hf_loopback *next; /* not accepted yet */
};

struct hf_loopback_transport;

struct hf_loopback_listener {
    char name[HF_LOOPBACK_NAME_BYTES];
    uint16_t port; /* 0: its name has none */
    struct hf_loopback_transport *transport;
    struct hf_loopback *waiting;
    struct hf_loopback_listener *next;
};

struct hf_loopback_transport {
    struct hf_transport transport;
    struct hf_loopback_listener *listeners[HF_LOOPBACK_LISTENERS_MAX];
    unsigned listener_count;
    int event_fd;
    struct pollfd watches[HF_LOOPBACK_WATCHES_MAX + 1];
    unsigned watch_count;
    bool accepting;
    uint32_t turn;
    uint8_t chunk[HF_LOOPBACK_CHUNK];
};

static pthread_mutex_t hf_loopback_registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hf_loopback_listener *hf_loopback_registry; /* the one that took a connection last stands last */

static size_t hf_byte_ring_put(struct hf_byte_ring *ring, const uint8_t *data, size_t bytes)
{
    size_t room = HF_LOOPBACK_BYTES - ring->held;
    bytes = bytes < room ? bytes : room;
    for (size_t done = 0; done < bytes;) {
        size_t to = (ring->from + ring->held) % HF_LOOPBACK_BYTES, run = HF_LOOPBACK_BYTES - to;
        run = run < bytes - done ? run : bytes - done;
        memcpy(ring->bytes + to, data + done, run);
        ring->held += run;
        done += run;
    }
    return bytes;
}

static size_t hf_byte_ring_get(struct hf_byte_ring *ring, uint8_t *data, size_t bytes)
{
    bytes = bytes < ring->held ? bytes : ring->held;
    for (size_t done = 0; done < bytes;) {
        size_t run = HF_LOOPBACK_BYTES - ring->from;
        run = run < bytes - done ? run : bytes - done;
        memcpy(data + done, ring->bytes + ring->from, run);
        ring->from = (ring->from + run) % HF_LOOPBACK_BYTES;
        ring->held -= run;
        done += run;
    }
    return bytes;
}

/* ---- The client's end ---- */

static void hf_loopback_ring_bell(int event_fd)
{
    const uint64_t one = 1;
    (void)!write(event_fd, &one, sizeof one);
}

static void hf_loopback_free(struct hf_loopback *pipe)
{
    pthread_mutex_destroy(&pipe->lock);
    free(pipe->up.bytes);
    free(pipe->down.bytes);
    free(pipe);
}

static struct hf_loopback *hf_loopback_make(void)
{
    struct hf_loopback *pipe = calloc(1, sizeof *pipe);
    if (!pipe)
        return NULL;
    pthread_mutex_init(&pipe->lock, NULL);
    pipe->up.bytes = malloc(HF_LOOPBACK_BYTES);
    pipe->down.bytes = malloc(HF_LOOPBACK_BYTES);
    if (pipe->up.bytes && pipe->down.bytes)
        return pipe;
    hf_loopback_free(pipe);
    return NULL;
}

/* Listeners of one name take turns, as those of one TCP port share its connections. */
static struct hf_loopback_listener *hf_loopback_find(const char *name)
{
    struct hf_loopback_listener **at = &hf_loopback_registry, *found;
    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    found = *at;
    if (!found)
        return NULL;
    *at = found->next;
    while (*at)
        at = &(*at)->next;
    found->next = NULL;
    return *at = found;
}

struct hf_loopback *hf_loopback_connect(const char *name)
{
    struct hf_loopback *pipe = NULL;
    pthread_mutex_lock(&hf_loopback_registry_lock);
    struct hf_loopback_listener *listener = hf_loopback_find(name);
    if (listener && (pipe = hf_loopback_make())) {
        pipe->event_fd = listener->transport->event_fd;
        pipe->next = listener->waiting;
        listener->waiting = pipe;
        hf_loopback_ring_bell(pipe->event_fd);
    }
    pthread_mutex_unlock(&hf_loopback_registry_lock);
    return pipe;
}

long hf_loopback_push(struct hf_loopback *client, const void *data, size_t bytes)
{
    pthread_mutex_lock(&client->lock);
    long taken = client->server_closed ? -1 : (long)hf_byte_ring_put(&client->up, data, bytes);
    if (taken > 0)
        hf_loopback_ring_bell(client->event_fd);
    pthread_mutex_unlock(&client->lock);
    return taken;
}

long hf_loopback_pull(struct hf_loopback *client, void *data, size_t bytes)
{
    pthread_mutex_lock(&client->lock);
    long given = client->down.held == 0 && client->server_closed ? -1 : (long)hf_byte_ring_get(&client->down, data, bytes);
    if (given > 0 && !client->server_closed)
        hf_loopback_ring_bell(client->event_fd);
    pthread_mutex_unlock(&client->lock);
    return given;
}

void hf_loopback_close(struct hf_loopback *client)
{
    pthread_mutex_lock(&client->lock);
    client->client_closed = client->client_left = true;
    bool last = client->server_left;
    if (!last)
        hf_loopback_ring_bell(client->event_fd);
    pthread_mutex_unlock(&client->lock);
    if (last)
        hf_loopback_free(client);
}

/* ---- The server's end ---- */

static struct hf_loopback_transport *hf_loopback_of(struct hf_transport *transport)
{
    return (struct hf_loopback_transport *)(void *)transport;
}

static void hf_loopback_leave(struct hf_loopback *pipe)
{
    pthread_mutex_lock(&pipe->lock);
    pipe->server_closed = pipe->server_left = true;
    bool last = pipe->client_left;
    pthread_mutex_unlock(&pipe->lock);
    if (last)
        hf_loopback_free(pipe);
}

static void hf_loopback_accept(struct hf_loopback_transport *loopback)
{
    pthread_mutex_lock(&hf_loopback_registry_lock);
    for (unsigned i = 0; loopback->accepting && i < loopback->listener_count; i++) {
        struct hf_loopback *pipe;
        while ((pipe = loopback->listeners[i]->waiting)) {
            loopback->listeners[i]->waiting = pipe->next;
            struct hf_connection *connection = hf_connections_take(loopback->transport.connections, &loopback->transport);
            if (!connection) {
                loopback->transport.status->refused_sessions++;
                hf_loopback_leave(pipe);
                continue;
            }
            connection->peer = pipe;
            loopback->transport.status->accepted++;
        }
    }
    pthread_mutex_unlock(&hf_loopback_registry_lock);
}

static bool hf_loopback_poll(struct hf_loopback_transport *loopback, struct hf_connection *connection, struct hf_event *event)
{
    struct hf_loopback *pipe = connection->peer;
    pthread_mutex_lock(&pipe->lock);
    size_t bytes = hf_byte_ring_get(&pipe->up, loopback->chunk, sizeof loopback->chunk);
    bool ended = bytes == 0 && (pipe->client_closed || pipe->server_closed);
    pthread_mutex_unlock(&pipe->lock);
    if (bytes > 0)
        *event = (struct hf_event){.kind = HF_EVENT_BYTES, .bytes = (uint32_t)bytes, .connection = connection, .data = loopback->chunk};
    else if (ended)
        *event = (struct hf_event){.kind = HF_EVENT_CLOSED, .connection = connection};
    return bytes > 0 || ended;
}

static bool hf_loopback_next(struct hf_transport *transport, struct hf_event *event)
{
    struct hf_loopback_transport *loopback = hf_loopback_of(transport);
    struct hf_connections *connections = transport->connections;
    uint64_t rung;
    (void)!read(loopback->event_fd, &rung, sizeof rung);
    hf_loopback_accept(loopback);
    for (uint32_t i = 0; i < connections->count; i++) {
        struct hf_connection *connection = &connections->all[loopback->turn];
        loopback->turn = (loopback->turn + 1) % connections->count;
        if (connection->transport == transport && hf_loopback_poll(loopback, connection, event))
            return true;
    }
    return false;
}

static void hf_loopback_release(struct hf_transport *transport, const struct hf_event *event)
{
    if (event->kind != HF_EVENT_CLOSED)
        return;
    hf_loopback_leave(event->connection->peer);
    hf_connections_give(transport->connections, event->connection);
}

static void hf_loopback_send(struct hf_transport *transport, struct hf_connection *connection)
{
    (void)transport;
    (void)connection;
}

static void hf_loopback_shut(struct hf_transport *transport, struct hf_connection *connection)
{
    (void)transport;
    struct hf_loopback *pipe = connection->peer;
    pthread_mutex_lock(&pipe->lock);
    pipe->server_closed = true;
    pthread_mutex_unlock(&pipe->lock);
}

static bool hf_loopback_send_some(struct hf_transport *transport, struct hf_connection *connection)
{
    struct hf_loopback *pipe = connection->peer;
    struct iovec range;
    bool any = false;
    pthread_mutex_lock(&pipe->lock);
    while (!pipe->server_closed && hf_outbox_gather(transport->outbox, connection, &range, 1) == 1) {
        size_t bytes = hf_byte_ring_put(&pipe->down, range.iov_base, range.iov_len);
        if (bytes == 0)
            break;
        any = true;
        hf_outbox_sent(transport->outbox, connection, bytes);
        transport->status->bytes_out += bytes;
    }
    if (connection->condemned && connection->unsent_first == 0)
        pipe->server_closed = true;
    pthread_mutex_unlock(&pipe->lock);
    return any;
}

static bool hf_loopback_flush(struct hf_transport *transport)
{
    bool any = false;
    for (uint32_t i = 0; i < transport->connections->count; i++) {
        struct hf_connection *connection = &transport->connections->all[i];
        if (connection->transport == transport && (connection->unsent_first != 0 || connection->condemned))
            any |= hf_loopback_send_some(transport, connection);
    }
    return any;
}

static void hf_loopback_wait(struct hf_transport *transport, uint64_t timeout_ns)
{
    struct hf_loopback_transport *loopback = hf_loopback_of(transport);
    (void)hf_loopback_flush(transport);
    struct timespec timeout = {(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
    loopback->watches[loopback->watch_count] = (struct pollfd){.fd = loopback->event_fd, .events = POLLIN};
    (void)ppoll(loopback->watches, loopback->watch_count + 1, &timeout, NULL);
}

static int hf_loopback_watch(struct hf_transport *transport, int fd)
{
    struct hf_loopback_transport *loopback = hf_loopback_of(transport);
    if (loopback->watch_count == HF_LOOPBACK_WATCHES_MAX)
        return hf_net_fail(HF_E_FULL, "at most %d event descriptors can be watched", HF_LOOPBACK_WATCHES_MAX);
    loopback->watches[loopback->watch_count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    return 0;
}

static uint16_t hf_loopback_port(const struct hf_transport *transport, unsigned listener)
{
    const struct hf_loopback_transport *loopback = (const struct hf_loopback_transport *)(const void *)transport;
    return loopback->listeners[listener]->port;
}

static void hf_loopback_stop_accepting(struct hf_transport *transport)
{
    hf_loopback_of(transport)->accepting = false;
}

static void hf_loopback_tick(struct hf_transport *transport)
{
    (void)transport;
}

static void hf_loopback_end_listener(struct hf_loopback_listener *listener)
{
    pthread_mutex_lock(&hf_loopback_registry_lock);
    struct hf_loopback_listener **at = &hf_loopback_registry;
    while (*at != listener)
        at = &(*at)->next;
    *at = listener->next;
    struct hf_loopback *pipe = listener->waiting;
    pthread_mutex_unlock(&hf_loopback_registry_lock);
    while (pipe) {
        struct hf_loopback *next = pipe->next;
        hf_loopback_leave(pipe);
        pipe = next;
    }
    free(listener);
}

static void hf_loopback_destroy(struct hf_transport *transport)
{
    struct hf_loopback_transport *loopback = hf_loopback_of(transport);
    for (unsigned i = 0; i < loopback->listener_count; i++)
        hf_loopback_end_listener(loopback->listeners[i]);
    for (uint32_t i = 0; i < transport->connections->count; i++)
        if (transport->connections->all[i].transport == transport)
            hf_loopback_leave(transport->connections->all[i].peer);
    close(loopback->event_fd);
    free(loopback);
}

/* NAME:0 becomes NAME and the lowest port that no listener of that name has. The registry's lock is held. */
static bool hf_loopback_name(struct hf_loopback_listener *listener, const char *name)
{
    const char *colon = strchr(name, ':');
    unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 0;
    if (colon && port == 0) {
        bool taken = true;
        while (taken && ++port <= UINT16_MAX) {
            snprintf(listener->name, sizeof listener->name, "%.*s:%lu", (int)(colon - name), name, port);
            taken = false;
            for (const struct hf_loopback_listener *other = hf_loopback_registry; other && !taken; other = other->next)
                taken = strcmp(other->name, listener->name) == 0;
        }
    } else {
        memcpy(listener->name, name, strlen(name) + 1);
    }
    listener->port = (uint16_t)port;
    return port <= UINT16_MAX;
}

int hf_loopback_listen(struct hf_transport *transport, const char *address)
{
    struct hf_loopback_transport *loopback = hf_loopback_of(transport);
    const char *name = address + strlen("loopback://");
    if (*name == '\0' || strlen(name) >= HF_LOOPBACK_NAME_BYTES - 5 || loopback->listener_count == HF_LOOPBACK_LISTENERS_MAX)
        return hf_net_fail(HF_E_USAGE, "cannot listen on '%s': write loopback://NAME or loopback://NAME:PORT, up to %d of them", address,
                           HF_LOOPBACK_LISTENERS_MAX);
    struct hf_loopback_listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return hf_net_fail(HF_E_MEMORY, "no memory for a listener");
    listener->transport = loopback;
    pthread_mutex_lock(&hf_loopback_registry_lock);
    bool named = hf_loopback_name(listener, name);
    if (named) {
        listener->next = hf_loopback_registry;
        hf_loopback_registry = listener;
    }
    pthread_mutex_unlock(&hf_loopback_registry_lock);
    if (!named) {
        free(listener);
        return hf_net_fail(HF_E_USAGE, "cannot listen on '%s': a port is a number up to 65535", address);
    }
    loopback->listeners[loopback->listener_count++] = listener;
    return 0;
}

int hf_loopback_event_fd(const struct hf_transport *transport)
{
    return ((const struct hf_loopback_transport *)(const void *)transport)->event_fd;
}

static const struct hf_transport_ops hf_loopback_ops = {
    .destroy = hf_loopback_destroy,
    .next = hf_loopback_next,
    .release = hf_loopback_release,
    .send = hf_loopback_send,
    .shut = hf_loopback_shut,
    .flush = hf_loopback_flush,
    .wait = hf_loopback_wait,
    .watch = hf_loopback_watch,
    .port = hf_loopback_port,
    .stop_accepting = hf_loopback_stop_accepting,
    .tick = hf_loopback_tick,
};

int hf_loopback_create(const struct hf_transport_options *options, struct hf_transport **out)
{
    struct hf_loopback_transport *loopback = calloc(1, sizeof *loopback);
    int event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (!loopback || event_fd < 0) {
        free(loopback);
        if (event_fd >= 0)
            close(event_fd);
        return hf_net_fail(HF_E_MEMORY, "no memory for a transport");
    }
    loopback->transport = (struct hf_transport){&hf_loopback_ops, options->outbox, options->connections, options->status};
    loopback->event_fd = event_fd;
    loopback->accepting = true;
    *out = &loopback->transport;
    return 0;
}
