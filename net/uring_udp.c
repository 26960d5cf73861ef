/* Datagrams over io_uring: UDP sockets, several a shard, one datagram a frame.
 *
 * Frames of one length for one peer leave in one send that the kernel cuts (UDP_SEGMENT), and what it has joined again on the way in
 * (UDP_GRO) is cut here: a system call and a walk through the network stack for up to 64 datagrams.
 *
 * A multishot receive brings each datagram, with its sender's address before it, into a provided buffer; where the kernel has no such
 * receive the socket is watched and read one by one. Sends are submitted with everything else when the loop flushes. The sockets do not
 * block, so a send is over when its submission is: what finds no room is lost and counted, as anywhere on its way, and asked for again. */
#include <assert.h>
#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "net/net.h"
#include "net/outbox.h"
#include "net/uring_p.h"

/* What stands before a datagram in its buffer: the kernel's header, and room for an address and for the length at which joined datagrams
 * are to be cut, that leaves the datagram aligned. */
enum {
    HF_UDP_NAME_BYTES = 32,
    HF_UDP_CONTROL_BYTES = 32,
    HF_UDP_HEAD_BYTES = (int)sizeof(struct io_uring_recvmsg_out) + HF_UDP_NAME_BYTES + HF_UDP_CONTROL_BYTES
};
enum { HF_UDP_BUFFERS = 256, HF_UDP_BUFFERS_FIRST = 64, HF_UDP_GROUP = 1 };
enum { HF_UDP_BUFFER_BYTES = ((HF_UDP_HEAD_BYTES + UINT16_MAX) / 64 + 2) / 2 * 128 + 64 };
_Static_assert(HF_UDP_NAME_BYTES >= (int)sizeof(struct sockaddr_in6) && HF_UDP_HEAD_BYTES % 16 == 0, "datagrams are aligned");
_Static_assert(HF_UDP_CONTROL_BYTES >= (int)CMSG_SPACE(sizeof(int)), "room for the length");
_Static_assert(HF_UDP_BUFFER_BYTES / 64 % 2 == 1, "beginnings of neighbours fall into different sets of the cache");

union hf_udp_name {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* One that is being sent: read by the kernel until it is submitted. */
struct hf_udp_send {
    struct msghdr message;
    struct iovec parts[HF_URING_RANGES];
    union hf_udp_name name;
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))];
    uint8_t frame[HF_REPLY_BYTES_MAX];
};

struct hf_udp {
    struct hf_uring_buffers buffers;
    struct msghdr receive; /* the form of every receive */
    struct hf_udp_send sends[HF_URING_DATAGRAM_SENDS];
    bool joins;           /* the kernel cuts what is sent */
    struct hf_event rest; /* of joined datagrams, what was not given yet */
    uint32_t segment;     /* their length */
    bool one_by_one;      /* the kernel has no multishot receive of messages, or a test says so */
};

static const uint8_t hf_udp_zeros[HF_DATAGRAM_BYTES_MAX];

/* ---- Addresses ---- */

static struct hf_peer hf_udp_peer(const union hf_udp_name *name, unsigned listener)
{
    struct hf_peer peer = {.listener = (uint16_t)listener};
    if (name->any.sa_family == AF_INET6) {
        memcpy(peer.address, &name->v6.sin6_addr, sizeof peer.address);
        peer.scope = name->v6.sin6_scope_id;
        peer.port = ntohs(name->v6.sin6_port);
    } else {
        peer.address[10] = peer.address[11] = 0xff;
        memcpy(peer.address + 12, &name->v4.sin_addr, 4);
        peer.port = ntohs(name->v4.sin_port);
    }
    return peer;
}

static socklen_t hf_udp_name(const struct hf_peer *peer, bool six, union hf_udp_name *out)
{
    if (six) {
        out->v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(peer->port), .sin6_scope_id = peer->scope};
        memcpy(&out->v6.sin6_addr, peer->address, sizeof peer->address);
        return sizeof out->v6;
    }
    out->v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(peer->port)};
    memcpy(&out->v4.sin_addr, peer->address + 12, 4);
    return sizeof out->v4;
}

/* ---- Receiving ---- */

void hf_uring_arm_datagrams(struct hf_uring *uring, unsigned listener)
{
    struct hf_udp *udp = uring->udp;
    struct io_uring_sqe *sqe = hf_uring_sqe(uring);
    const int fd = uring->listeners[listener].socket.fd;
    if (udp->one_by_one) {
        io_uring_prep_poll_multishot(sqe, fd, POLLIN);
        io_uring_sqe_set_data64(sqe, hf_uring_tag(HF_URING_READABLE, listener));
    } else {
        io_uring_prep_recvmsg_multishot(sqe, fd, &udp->receive, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = udp->buffers.group;
        io_uring_sqe_set_data64(sqe, hf_uring_tag(HF_URING_DATAGRAM, listener));
    }
    uring->listeners[listener].armed = true;
}

/* The length at which a message is to be cut, 0: it is one datagram. */
static uint32_t hf_udp_segment(struct msghdr *message, struct cmsghdr *control)
{
    for (; control; control = CMSG_NXTHDR(message, control)) {
        int bytes;
        if (control->cmsg_level != SOL_UDP || control->cmsg_type != UDP_GRO || control->cmsg_len < CMSG_LEN(sizeof bytes))
            continue;
        memcpy(&bytes, CMSG_DATA(control), sizeof bytes);
        return bytes > 0 ? (uint32_t)bytes : 0;
    }
    return 0;
}

/* Gives the first datagram of the rest; the buffer goes back with the last. */
static void hf_udp_cut(struct hf_udp *udp, struct hf_event *event)
{
    *event = udp->rest;
    if (event->bytes > udp->segment) {
        event->bytes = udp->segment;
        event->buffer = HF_NONE;
    }
    udp->rest.data += event->bytes;
    udp->rest.bytes -= event->bytes;
}

/* What is in a buffer, of which `message` tells. */
static void hf_udp_found(struct hf_udp *udp, struct hf_event whole, uint32_t segment, struct hf_event *event)
{
    whole.kind = HF_EVENT_DATAGRAM;
    whole.carrier = HF_CARRIER_UDP;
    udp->rest = whole;
    udp->segment = segment > 0 ? segment : whole.bytes;
    hf_udp_cut(udp, event);
}

/* Whether there is a datagram in the buffer. */
static bool hf_udp_unpack(const struct hf_uring *uring, unsigned listener, unsigned id, int bytes, struct hf_event *event)
{
    struct hf_udp *udp = uring->udp;
    uint8_t *buffer = hf_uring_buffer(&udp->buffers, id);
    struct io_uring_recvmsg_out *out = io_uring_recvmsg_validate(buffer, bytes, &udp->receive);
    if (!out || out->namelen == 0 || (out->flags & MSG_TRUNC))
        return false;
    union hf_udp_name name;
    memcpy(&name, io_uring_recvmsg_name(out), sizeof name);
    /* As recvmsg(2) would have told it. */
    struct msghdr told = {.msg_control = (uint8_t *)io_uring_recvmsg_name(out) + HF_UDP_NAME_BYTES, .msg_controllen = out->controllen};
    hf_udp_found(udp,
                 (struct hf_event){.bytes = io_uring_recvmsg_payload_length(out, bytes, &udp->receive),
                                   .buffer = id,
                                   .from = hf_udp_peer(&name, listener),
                                   .data = buffer + HF_UDP_HEAD_BYTES},
                 hf_udp_segment(&told, CMSG_FIRSTHDR(&told)), event);
    return true;
}

bool hf_uring_datagram(struct hf_uring *uring, unsigned listener, const struct io_uring_cqe *cqe, struct hf_event *event)
{
    struct hf_udp *udp = uring->udp;
    bool found = false;
    if (!(cqe->flags & IORING_CQE_F_MORE))
        uring->listeners[listener].armed = false;
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        udp->buffers.given--;
        found = cqe->res >= 0 && hf_udp_unpack(uring, listener, id, cqe->res, event);
        if (!found)
            hf_uring_return_buffer(&udp->buffers, id);
    }
    if (cqe->res == -ENOBUFS) {
        uring->transport.status->receive_buffers_short++;
        hf_uring_want_buffers(&udp->buffers);
        hf_uring_fill_buffers(&udp->buffers);
    } else if (cqe->res == -EINVAL || cqe->res == -EOPNOTSUPP) {
        udp->one_by_one = true;
    }
    /* Whatever ended it: tick() would only be later. */
    if (!uring->listeners[listener].armed && uring->listeners[listener].socket.fd >= 0 && udp->buffers.given > 0)
        hf_uring_arm_datagrams(uring, listener);
    return found;
}

void hf_uring_readable(struct hf_uring *uring, unsigned listener, const struct io_uring_cqe *cqe)
{
    if (!(cqe->flags & IORING_CQE_F_MORE))
        uring->listeners[listener].armed = false;
    uring->listeners[listener].readable = true;
    if (!uring->listeners[listener].armed && uring->listeners[listener].socket.fd >= 0)
        hf_uring_arm_datagrams(uring, listener);
}

static ssize_t hf_udp_read(const struct hf_uring_listener *listener, struct msghdr *message, uint8_t *buffer, union hf_udp_name *name)
{
    struct iovec part = {buffer + HF_UDP_HEAD_BYTES, UINT16_MAX};
    *message = (struct msghdr){.msg_name = name,
                               .msg_namelen = sizeof *name,
                               .msg_iov = &part,
                               .msg_iovlen = 1,
                               .msg_control = buffer,
                               .msg_controllen = HF_UDP_CONTROL_BYTES};
    return recvmsg(listener->socket.fd, message, MSG_DONTWAIT);
}

bool hf_uring_read_one(struct hf_uring *uring, struct hf_event *event)
{
    struct hf_udp *udp = uring->udp;
    for (unsigned i = 0; i < uring->listener_count && udp && udp->one_by_one && udp->buffers.spare_count > 0; i++) {
        struct hf_uring_listener *listener = &uring->listeners[i];
        if (!listener->readable || listener->socket.fd < 0)
            continue;
        unsigned id = udp->buffers.spare[udp->buffers.spare_count - 1];
        uint8_t *buffer = hf_uring_buffer(&udp->buffers, id);
        union hf_udp_name name;
        struct msghdr message;
        ssize_t bytes = hf_udp_read(listener, &message, buffer, &name);
        listener->readable = bytes >= 0;
        if (bytes < 0)
            continue;
        udp->buffers.spare_count--;
        hf_udp_found(
            udp,
            (struct hf_event){.bytes = (uint32_t)bytes, .buffer = id, .from = hf_udp_peer(&name, i), .data = buffer + HF_UDP_HEAD_BYTES},
            hf_udp_segment(&message, CMSG_FIRSTHDR(&message)), event);
        return true;
    }
    return false;
}

bool hf_uring_cut(struct hf_uring *uring, struct hf_event *event)
{
    if (!uring->udp || uring->udp->rest.bytes == 0)
        return false;
    hf_udp_cut(uring->udp, event);
    return true;
}

bool hf_uring_has_readable(const struct hf_uring *uring)
{
    bool any = uring->udp && uring->udp->rest.bytes > 0;
    for (unsigned i = 0; i < uring->listener_count; i++)
        any = any || uring->listeners[i].readable;
    return any;
}

void hf_uring_datagram_released(struct hf_uring *uring, const struct hf_event *event)
{
    if (event->buffer != HF_NONE)
        hf_uring_return_buffer(&uring->udp->buffers, event->buffer);
}

/* ---- Sending ---- */

/* A send to fill in, with its submission entry: taken together, as a submission between the two would give the send's memory to another. */
static struct hf_udp_send *hf_udp_next(struct hf_uring *uring, const struct hf_peer *to)
{
    while (uring->datagrams_prepared == HF_URING_DATAGRAM_SENDS)
        hf_uring_submit(uring);
    struct io_uring_sqe *sqe = hf_uring_sqe(uring);
    const struct hf_uring_listener *listener = &uring->listeners[to->listener];
    struct hf_udp_send *send = &uring->udp->sends[uring->datagrams_prepared++];
    send->message = (struct msghdr){
        .msg_name = &send->name, .msg_namelen = hf_udp_name(to, listener->six, &send->name), .msg_iov = send->parts};
    io_uring_prep_sendmsg(sqe, listener->socket.fd, &send->message, MSG_DONTWAIT | MSG_NOSIGNAL);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, hf_uring_tag(HF_URING_DATAGRAM_SENT, to->listener));
    return send;
}

static void hf_udp_fill(struct hf_uring *uring, struct hf_udp_send *send, unsigned parts)
{
    for (unsigned i = 0; i < parts; i++)
        uring->transport.status->bytes_out += send->parts[i].iov_len;
    send->message.msg_iovlen = parts;
}

/* How many frames from here on can be joined: all of one length but the last, which may be shorter. */
static unsigned hf_udp_run(const struct hf_udp *udp, const struct iovec *frames, unsigned count)
{
    size_t bytes = frames[0].iov_len;
    unsigned run = 1;
    while (udp->joins && run < count && frames[run].iov_len <= frames[0].iov_len && frames[run - 1].iov_len == frames[0].iov_len &&
           bytes + frames[run].iov_len <= HF_DATAGRAM_BYTES_MAX)
        bytes += frames[run++].iov_len;
    return run;
}

static void hf_udp_join(struct hf_udp_send *send, size_t bytes)
{
    uint16_t length = (uint16_t)bytes;
    struct cmsghdr *control = (struct cmsghdr *)(void *)send->control;
    *control = (struct cmsghdr){.cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof length)};
    memcpy(CMSG_DATA(control), &length, sizeof length);
    send->message.msg_control = send->control;
    send->message.msg_controllen = sizeof send->control;
}

void hf_uring_prepare_datagrams(struct hf_uring *uring, struct hf_connection *connection)
{
    struct iovec frames[HF_URING_RANGES];
    unsigned count;
    while ((count = hf_outbox_gather_frames(uring->transport.outbox, connection, frames, HF_URING_RANGES)) > 0) {
        for (unsigned at = 0, run; at < count; at += run) {
            struct hf_udp_send *send = hf_udp_next(uring, &connection->peer_address);
            run = hf_udp_run(uring->udp, frames + at, count - at);
            memcpy(send->parts, frames + at, run * sizeof frames[0]);
            if (run > 1)
                hf_udp_join(send, frames[at].iov_len);
            hf_udp_fill(uring, send, run);
            for (unsigned i = 0; i < run; i++)
                hf_outbox_sent(uring->transport.outbox, connection, frames[at + i].iov_len);
        }
    }
}

void hf_uring_reply(struct hf_transport *transport, const struct hf_peer *to, const void *frame, uint32_t bytes, uint32_t zeros)
{
    struct hf_uring *uring = hf_uring_of(transport);
    assert(bytes <= HF_REPLY_BYTES_MAX && bytes + zeros <= HF_DATAGRAM_BYTES_MAX);
    struct hf_udp_send *send = hf_udp_next(uring, to);
    memcpy(send->frame, frame, bytes);
    send->parts[0] = (struct iovec){send->frame, bytes};
    send->parts[1] = (struct iovec){(void *)(uintptr_t)hf_udp_zeros, zeros};
    hf_udp_fill(uring, send, zeros > 0 ? 2 : 1);
}

void hf_uring_datagram_unsent(struct hf_uring *uring, int error)
{
    uring->transport.status->datagrams_unsent++;
    /* A device that cannot cut, nor have it cut. Too long a datagram is EMSGSIZE or EINVAL, and that peer's own loss. */
    if (error == -EIO)
        uring->udp->joins = false;
}

/* ---- Beginning, now and then, and end ---- */

void hf_uring_count_overrun(struct hf_uring *uring)
{
    for (unsigned i = 0; i < uring->listener_count; i++) {
        struct hf_uring_listener *listener = &uring->listeners[i];
        uint32_t told[SK_MEMINFO_VARS];
        socklen_t bytes = sizeof told;
        if (listener->socket.carrier != HF_CARRIER_UDP || getsockopt(listener->socket.fd, SOL_SOCKET, SO_MEMINFO, told, &bytes) != 0 ||
            bytes <= SK_MEMINFO_DROPS * sizeof told[0])
            continue;
        uring->transport.status->datagrams_overrun += told[SK_MEMINFO_DROPS] - listener->overrun;
        listener->overrun = told[SK_MEMINFO_DROPS];
    }
}

int hf_uring_udp_create(struct hf_uring *uring)
{
    uring->udp = calloc(1, sizeof *uring->udp);
    if (!uring->udp)
        return hf_net_fail(HF_E_MEMORY, "no memory for datagrams");
    uring->udp->joins = true;
    uring->udp->receive.msg_namelen = HF_UDP_NAME_BYTES;
    uring->udp->receive.msg_controllen = HF_UDP_CONTROL_BYTES;
    uring->udp->one_by_one = uring->one_by_one;
    return hf_uring_buffers_create(uring, &uring->udp->buffers, HF_UDP_BUFFERS, HF_UDP_BUFFERS_FIRST, HF_UDP_BUFFER_BYTES, HF_UDP_GROUP);
}

void hf_uring_udp_destroy(struct hf_uring *uring)
{
    if (uring->udp)
        hf_uring_buffers_destroy(&uring->udp->buffers);
    free(uring->udp);
}
