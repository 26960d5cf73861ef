/* What --server and hf_client_options.server say, as a socket's address. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "client/client_p.h"
#ifdef HF_DPDK
#include "client/dpdk.h"
#endif

static int no_address(const char *text, char *error, size_t error_bytes)
{
    snprintf(error, error_bytes, "'%.100s' is no address: write tcp://HOST:PORT, udp://HOST:PORT, unix://PATH or dpdk://DEVICE?ip=…&to=…",
             text);
    return HF_E_USAGE;
}

static int parse_unix(const char *text, const char *path, struct sockaddr_storage *address, socklen_t *bytes, char *error,
                      size_t error_bytes)
{
    struct sockaddr_un *name = (struct sockaddr_un *)(void *)address;
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof name->sun_path) {
        snprintf(error, error_bytes,
                 "'%.80s' is no address: a socket's path has 1 to %zu bytes; the engine logs the one that it listens on", text,
                 sizeof name->sun_path - 1);
        return HF_E_USAGE;
    }
    memset(address, 0, sizeof *address);
    name->sun_family = AF_UNIX;
    memcpy(name->sun_path, path, length);
    *bytes = sizeof *name;
    return 0;
}

static int resolve(const char *text, const char *at, struct sockaddr_storage *address, socklen_t *bytes, char *error, size_t error_bytes)
{
    const char *colon = strrchr(at, ':');
    char host[108];
    if (!colon || colon == at || colon[1] == 0 || (size_t)(colon - at) >= sizeof host)
        return no_address(text, error, error_bytes);
    size_t count = (size_t)(colon - at);
    bool bracketed = at[0] == '[' && count > 2 && at[count - 1] == ']';
    memcpy(host, at + bracketed, count - 2u * bracketed);
    host[count - 2u * bracketed] = 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
    int failed = getaddrinfo(host, colon + 1, &hints, &found);
    if (failed) {
        snprintf(error, error_bytes, "'%s' is no address that can be resolved: %s", text, gai_strerror(failed));
        return HF_E_USAGE;
    }
    memcpy(address, found->ai_addr, found->ai_addrlen);
    *bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static int parse_device(const char *text, struct hf_client *client, char *error, size_t error_bytes)
{
#ifdef HF_DPDK
    struct hf_device device;
    client->datagram_ops = &hf_dpdk_ops;
    return hf_dpdk_parse(text, &device, &client->address, &client->address_bytes, error, error_bytes);
#else
    (void)client;
    snprintf(error, error_bytes, "'%.100s' cannot be used: this program was built without DPDK", text);
    return HF_E_USAGE;
#endif
}

int hf_address_parse(const char *text, struct hf_client *client, char *error, size_t error_bytes)
{
    static const char tcp[] = "tcp://", udp[] = "udp://", local[] = "unix://", dpdk[] = "dpdk://";
    if (strncmp(text, local, sizeof local - 1) == 0)
        return parse_unix(text, text + sizeof local - 1, &client->address, &client->address_bytes, error, error_bytes);
    if (strncmp(text, dpdk, sizeof dpdk - 1) == 0)
        return parse_device(text, client, error, error_bytes);
    bool datagrams = strncmp(text, udp, sizeof udp - 1) == 0;
    if (!datagrams && strncmp(text, tcp, sizeof tcp - 1) != 0)
        return no_address(text, error, error_bytes);
    client->datagram_ops = datagrams ? &hf_udp_ops : NULL;
    return resolve(text, text + sizeof tcp - 1, &client->address, &client->address_bytes, error, error_bytes);
}

void hf_address_of_shard(struct sockaddr_storage *address, unsigned shard, uint16_t port)
{
    struct sockaddr_un *name = (struct sockaddr_un *)(void *)address;
    if (address->ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = htons(port);
    } else if (address->ss_family == AF_INET) {
        ((struct sockaddr_in *)(void *)address)->sin_port = htons(port);
    } else {
        size_t length = strlen(name->sun_path);
        snprintf(name->sun_path + length, sizeof name->sun_path - length, ".%u", shard);
    }
}
