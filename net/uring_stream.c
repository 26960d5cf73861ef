/* Connections over io_uring: TCP and unix sockets.
 *
 * Accepts and receives are multishot: one submission serves until the kernel clears F_MORE. Received bytes land in provided buffers; a
 * buffer is lent to the session layer with its event and goes back after. Sends read the outbox in place, at most one at a time for a
 * connection, of everything that its queue held when the loop flushed. A connection's record is given back only when its receive and its
 * send have both come to an end. */
#include <errno.h>
#include <unistd.h>

#include "net/frame.h"
#include "net/net.h"
#include "net/outbox.h"
#include "net/uring_p.h"

void hf_uring_arm_accept(struct hf_uring *uring, unsigned listener)
{
    struct io_uring_sqe *sqe = hf_uring_sqe(uring);
    io_uring_prep_multishot_accept(sqe, uring->listeners[listener].socket.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    io_uring_sqe_set_data64(sqe, hf_uring_tag(HF_URING_ACCEPT, listener));
    uring->listeners[listener].armed = true;
}

static void hf_uring_arm_receive(struct hf_uring *uring, struct hf_connection *connection)
{
    struct io_uring_sqe *sqe = hf_uring_sqe(uring);
    io_uring_prep_recv_multishot(sqe, connection->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = uring->stream_buffers.group;
    io_uring_sqe_set_data64(sqe, hf_uring_tag(HF_URING_RECEIVE, connection->index));
    connection->receiving = true;
}

/* ---- Sending ---- */

static void hf_uring_prepare_send(struct hf_uring *uring, struct hf_connection *connection)
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

void hf_uring_queue(struct hf_uring *uring, struct hf_connection *connection)
{
    if (connection->queued || connection->sending || connection->gone)
        return;
    connection->queued = true;
    uring->queue[uring->queue_count++] = connection->index;
}

/* The connection's record goes back when nothing of it is left in the kernel. */
static void hf_uring_let_go(struct hf_uring *uring, struct hf_connection *connection)
{
    if (!connection->gone || connection->receiving || connection->sending || connection->queued || connection->starved)
        return;
    close(connection->fd);
    hf_connections_give(uring->transport.connections, connection);
}

void hf_uring_prepare_sends(struct hf_uring *uring)
{
    for (uint32_t i = 0; i < uring->queue_count; i++) {
        struct hf_connection *connection = &uring->transport.connections->all[uring->queue[i]];
        connection->queued = false;
        if (connection->gone)
            hf_uring_let_go(uring, connection);
        else if (connection->datagrams)
            hf_uring_prepare_datagrams(uring, connection);
        else if (connection->unsent_first != 0)
            hf_uring_prepare_send(uring, connection);
        else if (connection->condemned)
            shutdown(connection->fd, SHUT_WR);
    }
    uring->queue_count = 0;
}

void hf_uring_sent(struct hf_uring *uring, struct hf_connection *connection, int result)
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
        hf_uring_queue(uring, connection);
    hf_uring_let_go(uring, connection);
}

/* ---- Receiving ---- */

/* Where there is no room for another connection it is told so, without a record of its own. */
static void hf_uring_turn_away(struct hf_uring *uring, int fd)
{
    struct hf_frame refused = {.type = HF_REFUSED, .result = HF_BUSY};
    hf_frame_seal(&refused, sizeof refused);
    (void)!send(fd, &refused, sizeof refused, MSG_DONTWAIT | MSG_NOSIGNAL);
    close(fd);
    uring->transport.status->refused_sessions++;
}

void hf_uring_accepted(struct hf_uring *uring, unsigned listener, const struct io_uring_cqe *cqe)
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
    connection->carrier = uring->listeners[listener].socket.carrier;
    uring->transport.status->accepted++;
    hf_uring_arm_receive(uring, connection);
}

static void hf_uring_starve(struct hf_uring *uring, struct hf_connection *connection)
{
    uring->transport.status->receive_buffers_short++;
    hf_uring_want_buffers(&uring->stream_buffers);
    connection->starved = true;
    uring->starved[uring->starved_count++] = connection->index;
}

void hf_uring_feed_starved(struct hf_uring *uring)
{
    hf_uring_fill_buffers(&uring->stream_buffers);
    if (uring->stream_buffers.given == 0)
        return;
    for (uint32_t i = 0; i < uring->starved_count; i++) {
        struct hf_connection *connection = &uring->transport.connections->all[uring->starved[i]];
        connection->starved = false;
        hf_uring_arm_receive(uring, connection);
    }
    uring->starved_count = 0;
}

bool hf_uring_received(struct hf_uring *uring, struct hf_connection *connection, const struct io_uring_cqe *cqe, struct hf_event *event)
{
    struct hf_uring_buffers *buffers = &uring->stream_buffers;
    if (!(cqe->flags & IORING_CQE_F_MORE))
        connection->receiving = false;
    if (cqe->flags & IORING_CQE_F_BUFFER)
        buffers->given--;
    if (cqe->res > 0) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        if (!connection->receiving)
            hf_uring_arm_receive(uring, connection);
        *event = (struct hf_event){.kind = HF_EVENT_BYTES,
                                   .bytes = (uint32_t)cqe->res,
                                   .buffer = id,
                                   .connection = connection,
                                   .data = hf_uring_buffer(buffers, id)};
        return true;
    }
    if (cqe->flags & IORING_CQE_F_BUFFER)
        hf_uring_return_buffer(buffers, cqe->flags >> IORING_CQE_BUFFER_SHIFT);
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

void hf_uring_stream_released(struct hf_uring *uring, const struct hf_event *event)
{
    if (event->kind == HF_EVENT_BYTES) {
        hf_uring_return_buffer(&uring->stream_buffers, event->buffer);
        return;
    }
    struct hf_connection *connection = event->connection;
    connection->gone = true;
    shutdown(connection->fd, SHUT_RDWR);
    hf_uring_let_go(uring, connection);
}
