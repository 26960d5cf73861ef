/* A session's UDP socket: what carries its datagrams. */
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/client_p.h"

enum { UDP_SOCKET_BYTES = 4 << 20, UDP4_HEADERS = 28, UDP6_HEADERS = 48 };

static bool is_six(const struct hf_session *session)
{
    return session->client->address.ss_family == AF_INET6;
}

static int udp_open(struct hf_session *session, const struct sockaddr_storage *address, socklen_t address_bytes)
{
    const int on = 1, bytes = UDP_SOCKET_BYTES, four = IP_PMTUDISC_DO, six = IPV6_PMTUDISC_DO;
    session->fd = socket(address->ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (session->fd < 0)
        return errno;
    setsockopt(session->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    setsockopt(session->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    setsockopt(session->fd, SOL_UDP, UDP_GRO, &on, sizeof on);
    if (is_six(session))
        setsockopt(session->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &six, sizeof six);
    else
        setsockopt(session->fd, IPPROTO_IP, IP_MTU_DISCOVER, &four, sizeof four);
    return connect(session->fd, (const struct sockaddr *)address, address_bytes) == 0 ? 0 : errno;
}

static uint32_t udp_bytes_max(const struct hf_session *session)
{
    int mtu = 0, headers = is_six(session) ? UDP6_HEADERS : UDP4_HEADERS;
    socklen_t bytes = sizeof mtu;
    int failed = is_six(session) ? getsockopt(session->fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &bytes)
                                 : getsockopt(session->fd, IPPROTO_IP, IP_MTU, &mtu, &bytes);
    if (failed || mtu < HF_DATAGRAM_BYTES_MIN + headers)
        return HF_DATAGRAM_BYTES_MIN;
    return mtu - headers < HF_DATAGRAM_BYTES_MAX ? (uint32_t)(mtu - headers) & ~7u : HF_DATAGRAM_BYTES_MAX;
}

/* Room for one number beside a message. */
union control {
    struct cmsghdr head;
    uint8_t bytes[CMSG_SPACE(sizeof(int))];
};

/* Frames of one length, but for the last one, leave as one message that the kernel cuts. Returns how many those are. */
static int join(struct msghdr *message, union control *control, struct iovec *frames, int count)
{
    size_t bytes = frames[0].iov_len;
    uint16_t length = (uint16_t)bytes;
    int run = 1;
    while (run < count && frames[run].iov_len <= length && frames[run - 1].iov_len == length &&
           bytes + frames[run].iov_len <= HF_DATAGRAM_BYTES_MAX)
        bytes += frames[run++].iov_len;
    *message = (struct msghdr){.msg_iov = frames, .msg_iovlen = (size_t)run};
    if (run > 1) {
        control->head = (struct cmsghdr){.cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof length)};
        memcpy(CMSG_DATA(&control->head), &length, sizeof length);
        message->msg_control = control;
        message->msg_controllen = CMSG_SPACE(sizeof length);
    }
    return run;
}

static int udp_send(struct hf_session *session, struct iovec *frames, int count)
{
    struct mmsghdr messages[HF_SEND_FRAMES_MAX];
    union control controls[HF_SEND_FRAMES_MAX];
    int made = 0, frames_sent = 0;
    for (int at = 0; at < count; made++)
        at += session->joins_not ? join(&messages[made].msg_hdr, &controls[made], frames + at, 1)
                                 : join(&messages[made].msg_hdr, &controls[made], frames + at, count - at);
    int sent = sendmmsg(session->fd, messages, (unsigned)made, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EIO || errno == EINVAL) && !session->joins_not) {
        /* A device that cannot cut, nor have it cut. */
        session->joins_not = true;
        return udp_send(session, frames, count);
    }
    for (int i = 0; i < sent; i++)
        frames_sent += (int)messages[i].msg_hdr.msg_iovlen;
    return sent >= 0 ? frames_sent : -errno;
}

/* The length at which a message is to be cut; all of it: it is one datagram. */
static size_t segment(struct msghdr *message, size_t bytes)
{
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
        int length;
        if (control->cmsg_level != SOL_UDP || control->cmsg_type != UDP_GRO || control->cmsg_len < CMSG_LEN(sizeof length))
            continue;
        memcpy(&length, CMSG_DATA(control), sizeof length);
        return length > 0 ? (size_t)length : bytes;
    }
    return bytes;
}

static void cut(struct hf_session *session, struct msghdr *message, size_t bytes)
{
    uint8_t *data = message->msg_iov->iov_base;
    size_t each = segment(message, bytes);
    for (size_t at = 0; at < bytes && session->fd >= 0; at += each)
        hf_datagram_take(session, data + at, bytes - at < each ? bytes - at : each);
}

static int udp_receive(struct hf_session *session)
{
    struct mmsghdr messages[HF_DATAGRAMS_MAX];
    union control controls[HF_DATAGRAMS_MAX];
    struct iovec parts[HF_DATAGRAMS_MAX];
    int got;
    do {
        for (unsigned i = 0; i < HF_DATAGRAMS_MAX; i++) {
            parts[i] = (struct iovec){session->client->loop->datagrams + (size_t)i * HF_FRAME_BYTES_MAX, HF_FRAME_BYTES_MAX};
            messages[i].msg_hdr = (struct msghdr){
                .msg_iov = &parts[i], .msg_iovlen = 1, .msg_control = &controls[i], .msg_controllen = sizeof controls[i]};
        }
        got = recvmmsg(session->fd, messages, HF_DATAGRAMS_MAX, MSG_DONTWAIT, NULL);
        if (got < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : errno;
        session->client->loop->now_ns = hf_clock_ns();
        for (int i = 0; i < got; i++)
            cut(session, &messages[i].msg_hdr, messages[i].msg_len);
    } while (got == HF_DATAGRAMS_MAX && session->fd >= 0);
    return 0;
}

static void udp_close(struct hf_session *session)
{
    close(session->fd);
    session->fd = -1;
}

const struct hf_datagram_ops hf_udp_ops = {
    .open = udp_open, .bytes_max = udp_bytes_max, .send = udp_send, .receive = udp_receive, .close = udp_close};
