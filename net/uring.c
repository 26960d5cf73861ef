/* The io_uring of a shard: sockets to listen on, completions taken apart, waits.
 *
 * With DEFER_TASKRUN all of this runs in the shard's own thread, inside the one system call of its loop; so after shutdown(2) nothing reads
 * the outbox for that connection any more. The ring is made disabled by whoever creates the port and enabled by the first call of the
 * thread that serves it: SINGLE_ISSUER binds it to that thread. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "net/net.h"
#include "net/uring_p.h"

enum { HF_STREAM_BUFFERS = 512, HF_STREAM_BUFFER_BYTES = 16384, HF_STREAM_BUFFERS_FIRST = 64 };

/* The kernel has read what the submissions point to: headers and ranges of sends may be used again. */
static void hf_uring_submitted(struct hf_uring *uring)
{
    if (io_uring_sq_ready(&uring->ring) == 0)
        uring->sends_prepared = uring->datagrams_prepared = 0;
}

void hf_uring_submit(struct hf_uring *uring)
{
    io_uring_submit(&uring->ring);
    hf_uring_submitted(uring);
}

struct io_uring_sqe *hf_uring_sqe(struct hf_uring *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    while (!sqe) {
        hf_uring_submit(uring);
        sqe = io_uring_get_sqe(&uring->ring);
    }
    return sqe;
}

/* ---- Buffers ---- */

static void hf_uring_give_buffer(struct hf_uring_buffers *buffers, unsigned id)
{
    io_uring_buf_ring_add(buffers->ring, hf_uring_buffer(buffers, id), buffers->bytes, (unsigned short)id,
                          io_uring_buf_ring_mask(buffers->count), 0);
    io_uring_buf_ring_advance(buffers->ring, 1);
    buffers->given++;
}

void hf_uring_fill_buffers(struct hf_uring_buffers *buffers)
{
    while (buffers->given < buffers->given_max && buffers->spare_count > 0)
        hf_uring_give_buffer(buffers, buffers->spare[--buffers->spare_count]);
}

void hf_uring_return_buffer(struct hf_uring_buffers *buffers, unsigned id)
{
    if (buffers->given < buffers->given_max)
        hf_uring_give_buffer(buffers, id);
    else
        buffers->spare[buffers->spare_count++] = (uint16_t)id;
}

void hf_uring_want_buffers(struct hf_uring_buffers *buffers)
{
    if (buffers->given_max < buffers->count)
        buffers->given_max *= 2;
}

int hf_uring_buffers_create(struct hf_uring *uring, struct hf_uring_buffers *buffers, unsigned count, unsigned first, uint32_t bytes,
                            unsigned short group)
{
    *buffers = (struct hf_uring_buffers){.bytes = bytes, .count = count, .given_max = first, .group = group};
    buffers->memory = hf_pages_map((size_t)count * bytes, true);
    buffers->ring = hf_pages_map(count * sizeof(struct io_uring_buf), false);
    buffers->spare = calloc(count, sizeof *buffers->spare);
    if (!buffers->memory || !buffers->ring || !buffers->spare)
        return hf_net_fail(HF_E_MEMORY, "no memory for receive buffers");
    for (unsigned i = 0; i < count; i++)
        buffers->spare[buffers->spare_count++] = (uint16_t)(count - 1 - i);
    struct io_uring_buf_reg registration = {.ring_addr = (uint64_t)(uintptr_t)buffers->ring, .ring_entries = count, .bgid = group};
    int error = io_uring_register_buf_ring(&uring->ring, &registration, 0);
    if (error)
        return hf_net_fail(HF_E_IO, "io_uring has no provided buffers here (%s): Linux 6.0 or newer is needed", strerror(-error));
    io_uring_buf_ring_init(buffers->ring);
    hf_uring_fill_buffers(buffers);
    return 0;
}

void hf_uring_buffers_destroy(struct hf_uring_buffers *buffers)
{
    hf_pages_unmap(buffers->memory, (size_t)buffers->count * buffers->bytes);
    hf_pages_unmap(buffers->ring, buffers->count * sizeof(struct io_uring_buf));
    free(buffers->spare);
}

/* ---- Submissions ---- */

static void hf_uring_arm_watch(struct hf_uring *uring, unsigned watch)
{
    struct io_uring_sqe *sqe = hf_uring_sqe(uring);
    io_uring_prep_poll_multishot(sqe, uring->watches[watch], POLLIN);
    io_uring_sqe_set_data64(sqe, hf_uring_tag(HF_URING_WATCH, watch));
    uring->watching[watch] = true;
}

static void hf_uring_arm(struct hf_uring *uring, unsigned listener)
{
    if (uring->listeners[listener].socket.carrier == HF_CARRIER_UDP)
        hf_uring_arm_datagrams(uring, listener);
    else if (uring->accepting)
        hf_uring_arm_accept(uring, listener);
}

/* Run by the first call of the serving thread. */
static void hf_uring_enable(struct hf_uring *uring)
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
        hf_uring_arm(uring, i);
    for (unsigned i = 0; i < uring->watch_count; i++)
        hf_uring_arm_watch(uring, i);
    io_uring_submit(&uring->ring);
}

/* ---- The loop ---- */

static void hf_uring_send(struct hf_transport *transport, struct hf_connection *connection)
{
    hf_uring_queue(hf_uring_of(transport), connection);
}

static bool hf_uring_flush(struct hf_transport *transport)
{
    struct hf_uring *uring = hf_uring_of(transport);
    hf_uring_enable(uring);
    hf_uring_prepare_sends(uring);
    if (io_uring_sq_ready(&uring->ring) == 0)
        return false;
    io_uring_submit_and_get_events(&uring->ring);
    hf_uring_submitted(uring);
    return true;
}

static bool hf_uring_take(struct hf_uring *uring, const struct io_uring_cqe *cqe, struct hf_event *event)
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
        return false;
    case HF_URING_WATCH:
        if (!(cqe->flags & IORING_CQE_F_MORE))
            uring->watching[index] = false;
        /* After an error tick() tries again: at once it could end at once, for ever. */
        if (!uring->watching[index] && cqe->res >= 0)
            hf_uring_arm_watch(uring, index);
        return false;
    case HF_URING_DATAGRAM:
        return hf_uring_datagram(uring, index, cqe, event);
    case HF_URING_READABLE:
        hf_uring_readable(uring, index, cqe);
        return false;
    case HF_URING_DATAGRAM_SENT:
        hf_uring_datagram_unsent(uring, cqe->res);
        return false;
    case HF_URING_CANCEL:
        break;
    }
    return false;
}

static bool hf_uring_next(struct hf_transport *transport, struct hf_event *event)
{
    struct hf_uring *uring = hf_uring_of(transport);
    hf_uring_enable(uring);
    if (hf_uring_cut(uring, event))
        return true;
    for (;;) {
        if (uring->reaped_at == uring->reaped_count) {
            io_uring_cq_advance(&uring->ring, uring->reaped_count);
            uring->reaped_at = 0;
            if (uring->starved_count > 0)
                hf_uring_feed_starved(uring);
            uring->reaped_count = io_uring_peek_batch_cqe(&uring->ring, uring->reaped, HF_URING_REAP);
            if (uring->reaped_count == 0)
                return hf_uring_read_one(uring, event);
        }
        if (hf_uring_take(uring, uring->reaped[uring->reaped_at++], event))
            return true;
    }
}

static void hf_uring_release(struct hf_transport *transport, const struct hf_event *event)
{
    if (event->kind == HF_EVENT_DATAGRAM)
        hf_uring_datagram_released(hf_uring_of(transport), event);
    else
        hf_uring_stream_released(hf_uring_of(transport), event);
}

static void hf_uring_shut(struct hf_transport *transport, struct hf_connection *connection)
{
    struct hf_uring *uring = hf_uring_of(transport);
    if (!connection->datagrams) {
        shutdown(connection->fd, SHUT_RDWR);
        return;
    }
    for (uint32_t i = 0; i < uring->queue_count; i++) {
        if (uring->queue[i] != connection->index)
            continue;
        uring->queue[i] = uring->queue[--uring->queue_count];
        break;
    }
}

/* ---- The rest ---- */

static void hf_uring_wait(struct hf_transport *transport, uint64_t timeout_ns)
{
    struct hf_uring *uring = hf_uring_of(transport);
    hf_uring_enable(uring);
    hf_uring_prepare_sends(uring);
    if (uring->reaped_at < uring->reaped_count || uring->starved_count > 0 || hf_uring_has_readable(uring)) {
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

static int hf_uring_watch(struct hf_transport *transport, int fd)
{
    struct hf_uring *uring = hf_uring_of(transport);
    if (uring->watch_count == HF_URING_WATCHES_MAX)
        return hf_net_fail(HF_E_FULL, "at most %d event descriptors can be watched", HF_URING_WATCHES_MAX);
    uring->watches[uring->watch_count++] = fd;
    if (uring->enabled)
        hf_uring_arm_watch(uring, uring->watch_count - 1);
    return 0;
}

static uint16_t hf_uring_port(const struct hf_transport *transport, unsigned listener)
{
    const struct hf_uring *uring = (const struct hf_uring *)(const void *)transport;
    return listener < uring->listener_count ? uring->listeners[listener].socket.port : 0;
}

static const char *hf_uring_path(const struct hf_transport *transport, unsigned listener)
{
    const struct hf_uring *uring = (const struct hf_uring *)(const void *)transport;
    return listener < uring->listener_count ? uring->listeners[listener].socket.path : NULL;
}

static void hf_uring_stop_accepting(struct hf_transport *transport)
{
    struct hf_uring *uring = hf_uring_of(transport);
    uring->accepting = false;
    hf_uring_enable(uring);
    for (unsigned i = 0; i < uring->listener_count; i++) {
        if (uring->listeners[i].socket.fd < 0 || uring->listeners[i].socket.carrier == HF_CARRIER_UDP)
            continue;
        struct io_uring_sqe *sqe = hf_uring_sqe(uring);
        io_uring_prep_cancel64(sqe, hf_uring_tag(HF_URING_ACCEPT, i), 0);
        io_uring_sqe_set_data64(sqe, hf_uring_tag(HF_URING_CANCEL, i));
        io_uring_submit(&uring->ring);
        hf_socket_shut(&uring->listeners[i].socket);
    }
}

static void hf_uring_tick(struct hf_transport *transport)
{
    struct hf_uring *uring = hf_uring_of(transport);
    hf_uring_enable(uring);
    for (unsigned i = 0; i < uring->listener_count; i++)
        if (!uring->listeners[i].armed)
            hf_uring_arm(uring, i);
    hf_uring_count_overrun(uring);
    for (unsigned i = 0; i < uring->watch_count; i++)
        if (!uring->watching[i])
            hf_uring_arm_watch(uring, i);
}

/* The ring may hold the socket a little longer; shut, it sets its peer free now. */
static void hf_uring_end_connection(int fd)
{
    if (fd < 0)
        return;
    shutdown(fd, SHUT_RDWR);
    close(fd);
}

static void hf_uring_destroy(struct hf_transport *transport)
{
    struct hf_uring *uring = hf_uring_of(transport);
    struct hf_connections *connections = transport->connections;
    for (uint32_t i = 0; i < connections->count; i++)
        if (connections->all[i].transport == transport)
            hf_uring_end_connection(connections->all[i].fd);
    for (unsigned i = 0; i < uring->listener_count; i++)
        hf_socket_end(&uring->listeners[i].socket);
    if (uring->ring_made)
        io_uring_queue_exit(&uring->ring);
    hf_uring_buffers_destroy(&uring->stream_buffers);
    hf_uring_udp_destroy(uring);
    free(uring->queue);
    free(uring->starved);
    free(uring->sends);
    free(uring);
}

int hf_uring_listen(struct hf_transport *transport, const char *address)
{
    struct hf_uring *uring = hf_uring_of(transport);
    assert(!uring->enabled && uring->listener_count < HF_URING_LISTENERS_MAX);
    struct hf_uring_listener *listener = &uring->listeners[uring->listener_count];
    int error = hf_address_listen(address, uring->insecure_listen, uring->sharing, &listener->socket);
    if (error)
        return error;
    listener->six = hf_socket_is_six(&listener->socket);
    uring->listener_count++;
    return listener->socket.carrier == HF_CARRIER_UDP && !uring->udp ? hf_uring_udp_create(uring) : 0;
}

/* The newest kind of ring that the kernel gives: deferred task runs keep all work in the serving thread. */
static int hf_uring_make_ring(struct hf_uring *uring)
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
    return hf_uring_buffers_create(uring, &uring->stream_buffers, HF_STREAM_BUFFERS, HF_STREAM_BUFFERS_FIRST, HF_STREAM_BUFFER_BYTES, 0);
}

static const struct hf_transport_ops hf_uring_ops = {
    .destroy = hf_uring_destroy,
    .next = hf_uring_next,
    .release = hf_uring_release,
    .send = hf_uring_send,
    .reply = hf_uring_reply,
    .shut = hf_uring_shut,
    .flush = hf_uring_flush,
    .wait = hf_uring_wait,
    .watch = hf_uring_watch,
    .port = hf_uring_port,
    .path = hf_uring_path,
    .stop_accepting = hf_uring_stop_accepting,
    .tick = hf_uring_tick,
};

int hf_uring_create(const struct hf_transport_options *options, struct hf_transport **out)
{
    struct hf_uring *uring = calloc(1, sizeof *uring);
    if (!uring)
        return hf_net_fail(HF_E_MEMORY, "no memory for a transport");
    uring->transport = (struct hf_transport){&hf_uring_ops, options->outbox, options->connections, options->status};
    uring->accepting = true;
    uring->insecure_listen = options->insecure_listen;
    uring->one_by_one = options->one_by_one;
    uring->sharing = options->sharing;
    uring->queue = calloc(options->connections->count, sizeof *uring->queue);
    uring->starved = calloc(options->connections->count, sizeof *uring->starved);
    uring->sends = calloc(HF_URING_SENDS, sizeof *uring->sends);
    int error;
    if (!uring->queue || !uring->starved || !uring->sends)
        error = hf_net_fail(HF_E_MEMORY, "no memory for a transport");
    else
        error = hf_uring_make_ring(uring);
    if (error) {
        hf_uring_destroy(&uring->transport);
        return error;
    }
    *out = &uring->transport;
    return 0;
}
