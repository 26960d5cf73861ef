#include "net/address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/net.h"
#include "net/transport.h"

enum { HF_LISTEN_BACKLOG = 4096, HF_PORT_TRIES = 100, HF_PORT_PAUSE_MS = 50, HF_DATAGRAM_SOCKET_BYTES = 8 << 20 };

/* HOST and PORT of tcp://HOST:PORT; brackets around an IPv6 host are taken off. */
static bool hf_address_split(const char *address, char *host, size_t host_max, char *port, size_t port_max)
{
    const char *from = address + strlen("tcp://"), *colon = strrchr(from, ':');
    if (!colon || colon == from || colon[1] == '\0' || strlen(colon + 1) >= port_max ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return false;
    const char *end = colon;
    if (*from == '[') {
        from++;
        end--;
        if (*end != ']')
            return false;
    }
    if (end <= from || (size_t)(end - from) >= host_max)
        return false;
    memcpy(host, from, (size_t)(end - from));
    host[end - from] = '\0';
    memcpy(port, colon + 1, strlen(colon + 1) + 1);
    return true;
}

static bool hf_address_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 == 127;
    return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

/* Whoever binds with SO_REUSEPORT joins any other engine of the same user on that port, and they would share its clients. So the first
 * shard binds and listens without it, and then allows it to those that follow: two engines that start at once may both be bound, but the
 * kernel lets only one of them listen. */
static int hf_address_bind(int fd, const struct addrinfo *info, enum hf_sharing sharing)
{
    const int on = 1;
    bool bound = false;
    if (sharing == HF_PORT_JOINED)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    for (int i = 0; i < HF_PORT_TRIES; i++) {
        bound = bound || bind(fd, info->ai_addr, info->ai_addrlen) == 0;
        if (bound && (info->ai_socktype == SOCK_DGRAM || listen(fd, HF_LISTEN_BACKLOG) == 0)) {
            if (sharing == HF_PORT_FIRST)
                setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
            return 0;
        }
        if (errno != EADDRINUSE)
            return -1;
        nanosleep(&(struct timespec){0, HF_PORT_PAUSE_MS * 1000000l}, NULL);
    }
    errno = EADDRINUSE;
    return -1;
}

static uint16_t hf_address_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } bound;
    memset(&bound, 0, sizeof bound);
    socklen_t bytes = sizeof bound;
    if (getsockname(fd, &bound.any, &bytes) != 0)
        return 0;
    return ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port);
}

/* Accepted sockets inherit these from the one that listens. A peer that vanished without a word is noticed within 90 s. */
static void hf_address_tune_stream(int fd)
{
    const int on = 1, idle_s = 60, interval_s = 10, probes = 3;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

/* Datagrams leave whole or not at all, as many as may be wait for the loop, and come joined where the kernel can. */
static void hf_address_tune_datagrams(int fd, int family)
{
    const int on = 1, bytes = HF_DATAGRAM_SOCKET_BYTES, four = IP_PMTUDISC_DO, six = IPV6_PMTUDISC_DO;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on);
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &six, sizeof six);
    else
        setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &four, sizeof four);
}

bool hf_socket_is_six(const struct hf_socket *socket)
{
    int domain = 0;
    socklen_t bytes = sizeof domain;
    return getsockopt(socket->fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0 && domain == AF_INET6;
}

static int hf_address_open(const char *address, const struct addrinfo *info, enum hf_sharing sharing, struct hf_socket *out)
{
    const int on = 1;
    int fd = socket(info->ai_family, info->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return hf_net_fail(HF_E_IO, "cannot listen on %s: no socket: %s", address, strerror(errno));
    if (info->ai_socktype == SOCK_STREAM)
        hf_address_tune_stream(fd);
    else
        hf_address_tune_datagrams(fd, info->ai_family);
    if (info->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (hf_address_bind(fd, info, sharing) != 0) {
        int error = errno;
        close(fd);
        if (error == EADDRINUSE)
            return hf_net_fail(
                HF_E_IO, "cannot listen on %s: the port is in use; stop the program that has it or choose another with --listen", address);
        return hf_net_fail(HF_E_IO, "cannot listen on %s: %s", address, strerror(error));
    }
    *out = (struct hf_socket){
        .fd = fd, .carrier = info->ai_socktype == SOCK_DGRAM ? HF_CARRIER_UDP : HF_CARRIER_TCP, .port = hf_address_port(fd), .lock_fd = -1};
    return 0;
}

static int hf_address_listen_ip(const char *address, int type, bool insecure, enum hf_sharing sharing, struct hf_socket *out)
{
    char host[256], service[8];
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = type, .ai_flags = AI_PASSIVE};
    struct addrinfo *info = NULL;
    if (!hf_address_split(address, host, sizeof host, service, sizeof service))
        return hf_net_fail(HF_E_USAGE, "cannot listen on '%s': write tcp://HOST:PORT or udp://HOST:PORT, an IPv6 address in brackets",
                           address);
    if (strtoul(service, NULL, 10) > UINT16_MAX)
        return hf_net_fail(HF_E_USAGE, "cannot listen on '%s': a port is a number up to 65535", address);
    int failed = getaddrinfo(host, service, &hints, &info);
    if (failed)
        return hf_net_fail(HF_E_USAGE, "cannot listen on '%s': %s", address, gai_strerror(failed));
    int error;
    if (!insecure && !hf_address_is_loopback(info->ai_addr))
        error = hf_net_fail(
            HF_E_USAGE,
            "will not listen on %s: there is no authentication yet, and other machines could reach it; listen on 127.0.0.1 or "
            "[::1], or say --insecure-listen on a network you trust",
            address);
    else
        error = hf_address_open(address, info, sharing, out);
    freeaddrinfo(info);
    return error;
}

int hf_address_listen(const char *address, bool insecure, enum hf_sharing sharing, struct hf_socket *out)
{
    switch (hf_carrier_of(address)) {
    case HF_CARRIER_TCP:
        return hf_address_listen_ip(address, SOCK_STREAM, insecure, sharing, out);
    case HF_CARRIER_UDP:
        return hf_address_listen_ip(address, SOCK_DGRAM, insecure, sharing, out);
    case HF_CARRIER_UNIX:
        return hf_unix_listen(address, sharing, out);
    default:
        return hf_net_fail(HF_E_USAGE, "cannot listen on '%s': an address is tcp://HOST:PORT, udp://HOST:PORT or unix://PATH", address);
    }
}
