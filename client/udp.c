/* A session's UDP socket: what carries its datagrams. */
#include <errno.h>
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
    const int bytes = UDP_SOCKET_BYTES, four = IP_PMTUDISC_DO, six = IPV6_PMTUDISC_DO;
    session->fd = socket(address->ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (session->fd < 0)
        return errno;
    setsockopt(session->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    setsockopt(session->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
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

static int udp_send(struct hf_session *session, struct iovec *frames, int count)
{
    struct mmsghdr messages[HF_SEND_FRAMES_MAX];
    memset(messages, 0, (size_t)count * sizeof messages[0]);
    for (int i = 0; i < count; i++) {
        messages[i].msg_hdr.msg_iov = &frames[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int sent = sendmmsg(session->fd, messages, (unsigned)count, MSG_NOSIGNAL);
    return sent >= 0 ? sent : -errno;
}

static int udp_receive(struct hf_session *session, struct iovec *frames, int count)
{
    struct mmsghdr messages[HF_DATAGRAMS_MAX];
    memset(messages, 0, (size_t)count * sizeof messages[0]);
    for (int i = 0; i < count; i++) {
        messages[i].msg_hdr.msg_iov = &frames[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int got = recvmmsg(session->fd, messages, (unsigned)count, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++)
        frames[i].iov_len = messages[i].msg_len;
    return got >= 0 ? got : -errno;
}

static void udp_close(struct hf_session *session)
{
    close(session->fd);
    session->fd = -1;
}

const struct hf_datagram_ops hf_udp_ops = {
    .open = udp_open, .bytes_max = udp_bytes_max, .send = udp_send, .receive = udp_receive, .close = udp_close};
