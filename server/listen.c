#include "server/listen.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static const char unix_scheme[] = "unix://", tcp_scheme[] = "tcp://", udp_scheme[] = "udp://", dpdk_scheme[] = "dpdk://";

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Whether it is a port; any number of zeros may stand before it. */
static bool is_port(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    unsigned port = 0;
    if (digits == 0 || text[digits] != '\0')
        return false;
    for (; *text && port <= UINT16_MAX; text++)
        port = port * 10 + (unsigned)(*text - '0');
    return port <= UINT16_MAX;
}

/* Splits SCHEME://HOST:PORT; host gets the part between, brackets taken off. */
static bool split(const char *text, char *host, size_t host_bytes)
{
    if (!begins(text, tcp_scheme) && !begins(text, udp_scheme))
        return false;
    const char *begin = text + sizeof tcp_scheme - 1, *colon = strrchr(begin, ':');
    if (!colon || colon == begin || !is_port(colon + 1))
        return false;
    size_t length = (size_t)(colon - begin);
    if (*begin == '[') {
        if (length < 3 || begin[length - 1] != ']')
            return false;
        begin++;
        length -= 2;
    }
    if (length >= host_bytes)
        return false;
    memcpy(host, begin, length);
    host[length] = '\0';
    struct in6_addr address;
    return strcmp(host, "localhost") == 0 || inet_pton(colon[-1] == ']' ? AF_INET6 : AF_INET, host, &address) == 1;
}

bool hf_listen_valid(const char *address)
{
    char host[HF_LISTEN_BYTES];
    if (strlen(address) + strlen("65535") > HF_LISTEN_BYTES)
        return false;
    /* What stands behind it is the device's matter, and judged when it is opened. */
    if (begins(address, dpdk_scheme))
        return address[sizeof dpdk_scheme - 1] != '\0';
    return begins(address, unix_scheme) ? address[sizeof unix_scheme - 1] != '\0' : split(address, host, sizeof host);
}

bool hf_listen_is_loopback(const char *address)
{
    char host[HF_LISTEN_BYTES];
    struct in_addr four;
    struct in6_addr six;
    if (begins(address, unix_scheme))
        return true;
    if (!split(address, host, sizeof host))
        return false;
    if (inet_pton(AF_INET, host, &four) == 1)
        return ntohl(four.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &six) == 1)
        return IN6_IS_ADDR_LOOPBACK(&six);
    return true;
}

void hf_listen_own(const char *shared, unsigned number, char out[HF_LISTEN_BYTES])
{
    if (begins(shared, dpdk_scheme)) {
        snprintf(out, HF_LISTEN_BYTES, "%s", shared);
        return;
    }
    bool is_unix = begins(shared, unix_scheme);
    const char *end = is_unix ? shared + strlen(shared) : strrchr(shared, ':');
    int length = (int)(end - shared);
    if (!is_unix)
        snprintf(out, HF_LISTEN_BYTES, "%.*s:0", length, shared);
    else if (number == 0)
        snprintf(out, HF_LISTEN_BYTES, "%s", shared);
    else
        snprintf(out, HF_LISTEN_BYTES, "%.*s.%u", length < HF_LISTEN_BYTES - 12 ? length : HF_LISTEN_BYTES - 12, shared, number);
}

void hf_listen_settle(char address[HF_LISTEN_BYTES], uint16_t port, const char *path)
{
    char *colon = begins(address, dpdk_scheme) ? NULL : strrchr(address, ':');
    if (path)
        snprintf(address, HF_LISTEN_BYTES, "%s%s", unix_scheme, path);
    else if (colon && colon[1 + strspn(colon + 1, "0")] == '\0')
        snprintf(colon, (size_t)(address + HF_LISTEN_BYTES - colon), ":%u", port);
}
