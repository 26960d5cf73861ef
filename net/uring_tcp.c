/* TCP over io_uring: one ring for a shard.
 *
 * Accepts and receives are multishot: one submission serves until the kernel clears F_MORE. Received bytes land in a ring of provided
 * buffers; a buffer is lent to the session layer with its event and goes back after. Sends read the outbox in place, at most one at a time
 * for a connection, of everything that its queue held when the loop flushed. With DEFER_TASKRUN all of this runs in the shard's own thread,
 * inside the one system call of its loop; so after shutdown(2) nothing reads the outbox for that connection any more.
 *
 * The ring is made disabled by whoever creates the port and enabled by the first call of the thread that serves it: SINGLE_ISSUER binds it
 * to that thread. A connection's record is given back only when its receive and its send have both come to an end. */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "net/address.h"
#include "net/frame.h"
#include "net/net.h"
#include "net/outbox.h"
#include "net/transport.h"

enum {
    HF_URING_ENTRIES = 1024,
    HF_URING_COMPLETIONS = 8192,
    HF_URING_REAP = 64,
    HF_URING_LISTENERS_MAX = 16,
    HF_URING_WATCHES_MAX = 4,
    HF_URING_BUFFERS = 512, /* a power of two */
    HF_URING_BUFFER_BYTES = 16384,
    HF_URING_BUFFERS_FIRST = 64, /* given to the kernel until that was too few: few buffers stay in the cache */
    HF_URING_SENDS = 128,        /* prepared between two submissions */
    HF_URING_RANGES = 64,        /* of one send */
};

enum hf_uring_kind { HF_URING_ACCEPT = 1, HF_URING_RECEIVE, HF_URING_SEND, HF_URING_WATCH, HF_URING_CANCEL };

struct hf_uring_listener {
    int fd;
    uint16_t port;
    bool armed;
};

struct hf_uring_send {
    struct msghdr message;
    struct iovec ranges[HF_URING_RANGES];
};

struct hf_uring_tcp {
    struct hf_transport transport;
    struct io_uring ring;
    bool ring_made, enabled, accepting;
    bool insecure_listen;
    enum hf_sharing sharing;
    struct hf_uring_listener listeners[HF_URING_LISTENERS_MAX];
    unsigned listener_count;
    int watches[HF_URING_WATCHES_MAX];
    unsigned watch_count;

    struct io_uring_buf_ring *buffer_ring;
    uint8_t *buffers;
    uint16_t spare[HF_URING_BUFFERS]; /* not given to the kernel */
    unsigned spare_count, given, given_max;

    struct io_uring_cqe *reaped[HF_URING_REAP];
    unsigned reaped_count, reaped_at;

    uint32_t *queue; /* connections with something to send */
    uint32_t queue_count;
    uint32_t *starved; /* connections that wait for a buffer to receive into */
    uint32_t starved_count;
    struct hf_uring_send *sends;
    unsigned sends_prepared;
};

static struct hf_uring_tcp *hf_uring(struct hf_transport *transport)
{
    return (struct hf_uring_tcp *)(void *)transport;
}

static uint64_t hf_uring_tag(enum hf_uring_kind kind, uint32_t index)
{
    return (uint64_t)kind << 32 | index;
}

/* The kernel has read what the submissions point to: headers and ranges of sends may be used again. */
static void hf_uring_submitted(struct hf_uring_tcp *uring)
{
    if (io_uring_sq_ready(&uring->ring) == 0)
        uring->sends_prepared = 0;
}

static void hf_uring_submit(struct hf_uring_tcp *uring)
{
    io_uring_submit(&uring->ring);
    hf_uring_submitted(uring);
}

/* A free submission entry; the caller prepares it and then sets its tag (preparing clears it). */
static struct io_uring_sqe *hf_uring_sqe(struct hf_uring_tcp *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    while (!sqe) {
        hf_uring_submit(uring);
        sqe = io_uring_get_sqe(&uring->ring);
    }
    return sqe;
}

/* ---- Buffers ---- */

static uint8_t *hf_uring_buffer(const struct hf_uring_tcp *uring, unsigned id)
{
    return uring->buffers + (size_t)id * HF_URING_BUFFER_BYTES;
}

static void hf_uring_give_buffer(struct hf_uring_tcp *uring, unsigned id)
{
    io_uring_buf_ring_add(uring->buffer_ring, hf_uring_buffer(uring, id), HF_URING_BUFFER_BYTES, (unsigned short)id,
                          io_uring_buf_ring_mask(HF_URING_BUFFERS), 0);
    io_uring_buf_ring_advance(uring->buffer_ring, 1);
    uring->given++;
}

static void hf_uring_fill_buffers(struct hf_uring_tcp *uring)
{
    while (uring->given < uring->given_max && uring->spare_count > 0)
        hf_uring_give_buffer(uring, uring->spare[--uring->spare_count]);
}

static void hf_uring_return_buffer(struct hf_uring_tcp *uring, unsigned id)
{
    if (uring->given < uring->given_max)
        hf_uring_give_buffer(uring, id);
    else
        uring->spare[uring->spare_count++] = (uint16_t)id;
}

/* ---- Submissions ---- */

static void hf_uring_arm_accept(struct hf_uring_tcp *uring, unsigned listener)
{
    struct io_uring_sqe *sqe = hf_uring_sqe(uring);
    io_uring_prep_multishot_accept(sqe, uring->listeners[listener].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    io_uring_sqe_set_data64(sqe, hf_uring_tag(HF_URING_ACCEPT, listener));
    uring->listeners[listener].armed = true;
}

static void hf_uring_arm_receive(struct hf_uring_tcp *uring, struct hf_connection *connection)
{
    struct io_uring_sqe *sqe = hf_uring_sqe(uring);
    io_uring_prep_recv_multishot(sqe, connection->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
    io_uring_sqe_set_data64(sqe, hf_uring_tag(HF_URING_RECEIVE, connection->index));
    connection->receiving = true;
}

static void hf_uring_arm_watch(struct hf_uring_tcp *uring, unsigned watch)
{
    struct io_uring_sqe *sqe = hf_uring_sqe(uring);
    io_uring_prep_poll_multishot(sqe, uring->watches[watch], POLLIN);
    io_uring_sqe_set_data64(sqe, hf_uring_tag(HF_URING_WATCH, watch));
}

/* Run by the first call of the serving thread. */
static void hf_uring_enable(struct hf_uring_tcp *uring)
{
    if (uring->enabled)
        return;
    /* liburing 2.3 of Debian 12 declares io_uring_enable_rings() and does not have it. */
    long failed = syscall(__NR_io_uring_register, uring->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    assert(failed == 0);
    (void)failed;
    uring->enabled = true;
    (void)io_uring_register_ring_fd(&uring->ring);
    for (unsigned i = 0; i < uring->listener_count; i++)
        hf_uring_arm_accept(uring, i);
    for (unsigned i = 0; i < uring->watch_count; i++)
        hf_uring_arm_watch(uring, i);
    io_uring_submit(&uring->ring);
}

/* ---- Sending ---- */

static void hf_uring_prepare_send(struct hf_uring_tcp *uring, struct hf_connection *connection)
{
    while (uring->sends_prepared == HF_URING_SENDS)
        hf_uring_submit(uring);
    struct io_uring_sqe *sqe = hf_uring_sqe(uring);
    struct hf_uring_send *send = &uring->sends[uring->sends_prepared++];
    unsigned count = hf_outbox_gather(uring->transport.outbox, connection, send->ranges, HF_URING_RANGES);
    if (count == 1) {
        io_uring_prep_send(sqe, connection->fd, send->ranges[0].iov_base, send->ranges[0].iov_len, MSG_NOSIGNAL);
    } else {
        send->message = (struct msghdr){.msg_iov = send->ranges, .msg_iovlen = count};
        io_uring_prep_sendmsg(sqe, connection->fd, &send->message, MSG_NOSIGNAL);
    }
    io_uring_sqe_set_data64(sqe, hf_uring_tag(HF_URING_SEND, connection->index));
    connection->sending = true;
}

static void hf_uring_tcp_send(struct hf_transport *transport, struct hf_connection *connection)
{
    struct hf_uring_tcp *uring = hf_uring(transport);
    if (connection->queued || connection->sending || connection->gone)
        return;
    connection->queued = true;
    uring->queue[uring->queue_count++] = connection->index;
}

/* The connection's record goes back when nothing of it is left in the kernel. */
static void hf_uring_let_go(struct hf_uring_tcp *uring, struct hf_connection *connection)
{
    if (!connection->gone || connection->receiving || connection->sending || connection->queued || connection->starved)
        return;
    close(connection->fd);
    hf_connections_give(uring->transport.connections, connection);
}

static void hf_uring_prepare_sends(struct hf_uring_tcp *uring)
{
    for (uint32_t i = 0; i < uring->queue_count; i++) {
        struct hf_connection *connection = &uring->transport.connections->all[uring->queue[i]];
        connection->queued = false;
        if (connection->gone)
            hf_uring_let_go(uring, connection);
        else if (connection->unsent_first != 0)
            hf_uring_prepare_send(uring, connection);
        else if (connection->condemned)
            shutdown(connection->fd, SHUT_WR);
    }
    uring->queue_count = 0;
}

static bool hf_uring_tcp_flush(struct hf_transport *transport)
{
    struct hf_uring_tcp *uring = hf_uring(transport);
    hf_uring_enable(uring);
    hf_uring_prepare_sends(uring);
    if (io_uring_sq_ready(&uring->ring) == 0)
        return false;
    io_uring_submit_and_get_events(&uring->ring);
    hf_uring_submitted(uring);
    return true;
}

/* ---- Completions ---- */

/* Where there is no room for another connection it is told so, without a record of its own. */
static void hf_uring_turn_away(struct hf_uring_tcp *uring, int fd)
{
    struct hf_frame refused = {.type = HF_REFUSED, .result = HF_BUSY};
    hf_frame_seal(&refused, sizeof refused);
    (void)!send(fd, &refused, sizeof refused, MSG_DONTWAIT | MSG_NOSIGNAL);
    close(fd);
    uring->transport.status->refused_sessions++;
}

static void hf_uring_accepted(struct hf_uring_tcp *uring, unsigned listener, const struct io_uring_cqe *cqe)
{
    if (!(cqe->flags & IORING_CQE_F_MORE))
        uring->listeners[listener].armed = false;
    /* Out of descriptors or the like: tick() tries again. */
    if (cqe->res < 0)
        return;
    if (!uring->listeners[listener].armed && uring->accepting)
        hf_uring_arm_accept(uring, listener);
    struct hf_connection *connection = uring->accepting ? hf_connections_take(uring->transport.connections, &uring->transport) : NULL;
    if (!connection) {
        hf_uring_turn_away(uring, cqe->res);
        return;
    }
    connection->fd = cqe->res;
    uring->transport.status->accepted++;
    hf_uring_arm_receive(uring, connection);
}

static void hf_uring_sent(struct hf_uring_tcp *uring, struct hf_connection *connection, int result)
{
    connection->sending = false;
    if (result > 0) {
        uring->transport.status->bytes_out += (uint64_t)result;
        hf_outbox_sent(uring->transport.outbox, connection, (size_t)result);
    } else if (result != -EINTR && result != -EAGAIN && !connection->gone) {
        /* The receive ends too and closes the connection. */
        shutdown(connection->fd, SHUT_RDWR);
        return;
    }
    if (connection->unsent_first != 0 || connection->condemned)
        hf_uring_tcp_send(&uring->transport, connection);
}

static void hf_uring_starve(struct hf_uring_tcp *uring, struct hf_connection *connection)
{
    uring->transport.status->receive_buffers_short++;
    if (uring->given_max < HF_URING_BUFFERS)
        uring->given_max *= 2;
    connection->starved = true;
    uring->starved[uring->starved_count++] = connection->index;
}

static void hf_uring_feed_starved(struct hf_uring_tcp *uring)
{
    hf_uring_fill_buffers(uring);
    if (uring->given == 0)
        return;
    for (uint32_t i = 0; i < uring->starved_count; i++) {
        struct hf_connection *connection = &uring->transport.connections->all[uring->starved[i]];
        connection->starved = false;
        hf_uring_arm_receive(uring, connection);
    }
    uring->starved_count = 0;
}

/* Whether there is an event in it. */
static bool hf_uring_received(struct hf_uring_tcp *uring, struct hf_connection *connection, const struct io_uring_cqe *cqe,
                              struct hf_event *event)
{
    if (!(cqe->flags & IORING_CQE_F_MORE))
        connection->receiving = false;
    if (cqe->flags & IORING_CQE_F_BUFFER)
        uring->given--;
    if (cqe->res > 0) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        if (!connection->receiving)
            hf_uring_arm_receive(uring, connection);
        *event = (struct hf_event){.kind = HF_EVENT_BYTES,
                                   .bytes = (uint32_t)cqe->res,
                                   .buffer = id,
                                   .connection = connection,
                                   .data = hf_uring_buffer(uring, id)};
        return true;
    }
    if (cqe->flags & IORING_CQE_F_BUFFER)
        hf_uring_return_buffer(uring, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    if (cqe->res == -ENOBUFS) {
        hf_uring_starve(uring, connection);
        return false;
    }
    if (cqe->res == -EINTR || cqe->res == -EAGAIN) {
        if (!connection->receiving)
            hf_uring_arm_receive(uring, connection);
        return false;
    }
    *event = (struct hf_event){.kind = HF_EVENT_CLOSED, .connection = connection};
    return true;
}

static bool hf_uring_take(struct hf_uring_tcp *uring, const struct io_uring_cqe *cqe, struct hf_event *event)
{
    uint32_t index = (uint32_t)cqe->user_data;
    struct hf_connection *connections = uring->transport.connections->all;
    switch ((enum hf_uring_kind)(cqe->user_data >> 32)) {
    case HF_URING_ACCEPT:
        hf_uring_accepted(uring, index, cqe);
        return false;
    case HF_URING_RECEIVE:
        return hf_uring_received(uring, &connections[index], cqe, event);
    case HF_URING_SEND:
        hf_uring_sent(uring, &connections[index], cqe->res);
        hf_uring_let_go(uring, &connections[index]);
        return false;
    case HF_URING_WATCH:
        if (!(cqe->flags & IORING_CQE_F_MORE) && cqe->res >= 0)
            hf_uring_arm_watch(uring, index);
        return false;
    case HF_URING_CANCEL:
        break;
    }
    return false;
}

static bool hf_uring_tcp_next(struct hf_transport *transport, struct hf_event *event)
{
    struct hf_uring_tcp *uring = hf_uring(transport);
    hf_uring_enable(uring);
    for (;;) {
        if (uring->reaped_at == uring->reaped_count) {
            io_uring_cq_advance(&uring->ring, uring->reaped_count);
            uring->reaped_at = 0;
            if (uring->starved_count > 0)
                hf_uring_feed_starved(uring);
            uring->reaped_count = io_uring_peek_batch_cqe(&uring->ring, uring->reaped, HF_URING_REAP);
            if (uring->reaped_count == 0)
                return false;
        }
        if (hf_uring_take(uring, uring->reaped[uring->reaped_at++], event))
            return true;
    }
}

static void hf_uring_tcp_release(struct hf_transport *transport, const struct hf_event *event)
{
    struct hf_uring_tcp *uring = hf_uring(transport);
    if (event->kind == HF_EVENT_BYTES) {
        hf_uring_return_buffer(uring, event->buffer);
        return;
    }
    struct hf_connection *connection = event->connection;
    connection->gone = true;
    shutdown(connection->fd, SHUT_RDWR);
    hf_uring_let_go(uring, connection);
}

static void hf_uring_tcp_shut(struct hf_transport *transport, struct hf_connection *connection)
{
    (void)transport;
    shutdown(connection->fd, SHUT_RDWR);
}

/* ---- The rest ---- */

static void hf_uring_tcp_wait(struct hf_transport *transport, uint64_t timeout_ns)
{
    struct hf_uring_tcp *uring = hf_uring(transport);
    hf_uring_enable(uring);
    hf_uring_prepare_sends(uring);
    if (uring->reaped_at < uring->reaped_count || uring->starved_count > 0) {
        hf_uring_submit(uring);
        return;
    }
    io_uring_cq_advance(&uring->ring, uring->reaped_count);
    uring->reaped_at = uring->reaped_count = 0;
    struct __kernel_timespec timeout = {.tv_sec = (long long)(timeout_ns / 1000000000u), .tv_nsec = (long long)(timeout_ns % 1000000000u)};
    struct io_uring_cqe *cqe;
    (void)io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1, &timeout, NULL);
    hf_uring_submitted(uring);
}

static int hf_uring_tcp_watch(struct hf_transport *transport, int fd)
{
    struct hf_uring_tcp *uring = hf_uring(transport);
    if (uring->watch_count == HF_URING_WATCHES_MAX)
        return hf_net_fail(HF_E_FULL, "at most %d event descriptors can be watched", HF_URING_WATCHES_MAX);
    uring->watches[uring->watch_count++] = fd;
    if (uring->enabled)
        hf_uring_arm_watch(uring, uring->watch_count - 1);
    return 0;
}

static uint16_t hf_uring_tcp_port(const struct hf_transport *transport, unsigned listener)
{
    const struct hf_uring_tcp *uring = (const struct hf_uring_tcp *)(const void *)transport;
    return listener < uring->listener_count ? uring->listeners[listener].port : 0;
}

/* The ring may hold the socket a little longer; shut, it gives its port and its peer free now. */
static void hf_uring_end_socket(int fd)
{
    if (fd < 0)
        return;
    shutdown(fd, SHUT_RDWR);
    close(fd);
}

static void hf_uring_tcp_stop_accepting(struct hf_transport *transport)
{
    struct hf_uring_tcp *uring = hf_uring(transport);
    uring->accepting = false;
    hf_uring_enable(uring);
    for (unsigned i = 0; i < uring->listener_count; i++) {
        if (uring->listeners[i].fd < 0)
            continue;
        struct io_uring_sqe *sqe = hf_uring_sqe(uring);
        io_uring_prep_cancel64(sqe, hf_uring_tag(HF_URING_ACCEPT, i), 0);
        io_uring_sqe_set_data64(sqe, hf_uring_tag(HF_URING_CANCEL, i));
        io_uring_submit(&uring->ring);
        hf_uring_end_socket(uring->listeners[i].fd);
        uring->listeners[i].fd = -1;
    }
}

static void hf_uring_tcp_tick(struct hf_transport *transport)
{
    struct hf_uring_tcp *uring = hf_uring(transport);
    hf_uring_enable(uring);
    for (unsigned i = 0; uring->accepting && i < uring->listener_count; i++)
        if (!uring->listeners[i].armed)
            hf_uring_arm_accept(uring, i);
}

static void hf_uring_tcp_destroy(struct hf_transport *transport)
{
    struct hf_uring_tcp *uring = hf_uring(transport);
    struct hf_connections *connections = transport->connections;
    for (uint32_t i = 0; i < connections->count; i++)
        if (connections->all[i].transport == transport)
            hf_uring_end_socket(connections->all[i].fd);
    for (unsigned i = 0; i < uring->listener_count; i++)
        hf_uring_end_socket(uring->listeners[i].fd);
    if (uring->ring_made)
        io_uring_queue_exit(&uring->ring);
    hf_pages_unmap(uring->buffers, (size_t)HF_URING_BUFFERS * HF_URING_BUFFER_BYTES);
    hf_pages_unmap(uring->buffer_ring, HF_URING_BUFFERS * sizeof(struct io_uring_buf));
    free(uring->queue);
    free(uring->starved);
    free(uring->sends);
    free(uring);
}

int hf_uring_tcp_listen(struct hf_transport *transport, const char *address)
{
    struct hf_uring_tcp *uring = hf_uring(transport);
    assert(!uring->enabled && uring->listener_count < HF_URING_LISTENERS_MAX);
    struct hf_uring_listener *listener = &uring->listeners[uring->listener_count];
    int error = hf_address_listen(address, uring->insecure_listen, uring->sharing, &listener->fd, &listener->port);
    if (!error)
        uring->listener_count++;
    return error;
}

/* The newest kind of ring that the kernel gives: deferred task runs keep all work in the serving thread. */
static int hf_uring_make_ring(struct hf_uring_tcp *uring)
{
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    };
    int error = -EINVAL;
    for (unsigned i = 0; error == -EINVAL && i < sizeof flags / sizeof flags[0]; i++) {
        struct io_uring_params params = {.flags = flags[i] | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
                                         .cq_entries = HF_URING_COMPLETIONS};
        error = io_uring_queue_init_params(HF_URING_ENTRIES, &uring->ring, &params);
    }
    if (error)
        return hf_net_fail(
            HF_E_IO,
            "io_uring is not available (%s): Linux 6.0 or newer is needed, with kernel.io_uring_disabled=0 and, in a container, a "
            "profile that allows its system calls",
            strerror(-error));
    uring->ring_made = true;
    struct io_uring_buf_reg buffers = {.ring_addr = (uint64_t)(uintptr_t)uring->buffer_ring, .ring_entries = HF_URING_BUFFERS};
    error = io_uring_register_buf_ring(&uring->ring, &buffers, 0);
    if (error)
        return hf_net_fail(HF_E_IO, "io_uring has no provided buffers here (%s): Linux 6.0 or newer is needed", strerror(-error));
    io_uring_buf_ring_init(uring->buffer_ring);
    hf_uring_fill_buffers(uring);
    return 0;
}

static const struct hf_transport_ops hf_uring_tcp_ops = {
    .destroy = hf_uring_tcp_destroy,
    .next = hf_uring_tcp_next,
    .release = hf_uring_tcp_release,
    .send = hf_uring_tcp_send,
    .shut = hf_uring_tcp_shut,
    .flush = hf_uring_tcp_flush,
    .wait = hf_uring_tcp_wait,
    .watch = hf_uring_tcp_watch,
    .port = hf_uring_tcp_port,
    .stop_accepting = hf_uring_tcp_stop_accepting,
    .tick = hf_uring_tcp_tick,
};

int hf_uring_tcp_create(const struct hf_transport_options *options, struct hf_transport **out)
{
    struct hf_uring_tcp *uring = calloc(1, sizeof *uring);
    if (!uring)
        return hf_net_fail(HF_E_MEMORY, "no memory for a transport");
    uring->transport = (struct hf_transport){&hf_uring_tcp_ops, options->outbox, options->connections, options->status};
    uring->accepting = true;
    uring->insecure_listen = options->insecure_listen;
    uring->sharing = options->sharing;
    uring->given_max = HF_URING_BUFFERS_FIRST;
    for (unsigned i = 0; i < HF_URING_BUFFERS; i++)
        uring->spare[uring->spare_count++] = (uint16_t)(HF_URING_BUFFERS - 1 - i);
    uring->queue = calloc(options->connections->count, sizeof *uring->queue);
    uring->starved = calloc(options->connections->count, sizeof *uring->starved);
    uring->sends = calloc(HF_URING_SENDS, sizeof *uring->sends);
    uring->buffers = hf_pages_map((size_t)HF_URING_BUFFERS * HF_URING_BUFFER_BYTES, true);
    uring->buffer_ring = hf_pages_map(HF_URING_BUFFERS * sizeof(struct io_uring_buf), false);
    int error;
    if (!uring->queue || !uring->starved || !uring->sends || !uring->buffers || !uring->buffer_ring)
        error = hf_net_fail(HF_E_MEMORY, "no memory for receive buffers");
    else
        error = hf_uring_make_ring(uring);
    if (error) {
        hf_uring_tcp_destroy(&uring->transport);
        return error;
    }
    *out = &uring->transport;
    return 0;
}
