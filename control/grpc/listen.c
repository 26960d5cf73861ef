/* Addresses to listen on: tcp://HOST:PORT and unix://PATH. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/grpc/server_p.h"

static const char HF_GRPC_TCP[] = "tcp://", HF_GRPC_UNIX[] = "unix://";

static bool hf_grpc_starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* Cuts "HOST:PORT" or "[HOST]:PORT". */
static int hf_grpc_split_host(char *text, char **host, char **port)
{
    char *colon = strrchr(text, ':');
    if (!colon || colon == text)
        return HF_GRPC_E_USAGE;
    *colon = '\0';
    *port = colon + 1;
    *host = text;
    size_t length = strlen(text);
    if (text[0] == '[') {
        if (text[length - 1] != ']')
            return HF_GRPC_E_USAGE;
        text[length - 1] = '\0';
        *host = text + 1;
    }
    return 0;
}

static int hf_grpc_bind_tcp(const struct addrinfo *address, uint16_t *port)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } bound = {.in6 = {0}};
    socklen_t bytes = sizeof bound;
    int one = 1, fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, address->ai_addr, address->ai_addrlen) || listen(fd, SOMAXCONN) || getsockname(fd, &bound.any, &bytes)) {
        int failed = errno;
        close(fd);
        errno = failed;
        return -1;
    }
    *port = ntohs(bound.any.sa_family == AF_INET6 ? bound.in6.sin6_port : bound.in.sin_port);
    return fd;
}

static int hf_grpc_listen_tcp(const char *address, int *fd, uint16_t *port)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
    char *copy = strdup(address), *host = NULL, *service = NULL;
    if (!copy)
        return HF_GRPC_E_MEMORY;
    int failed = hf_grpc_split_host(copy, &host, &service);
    if (!failed && getaddrinfo(host, service, &hints, &found))
        failed = HF_GRPC_E_USAGE;
    free(copy);
    if (failed)
        return failed;
    *fd = hf_grpc_bind_tcp(found, port);
    freeaddrinfo(found);
    return *fd < 0 ? HF_GRPC_E_IO : 0;
}

/* A socket file that nobody listens on is what a killed process left. */
static void hf_grpc_remove_stale(const struct sockaddr_un *name)
{
    struct stat found;
    if (stat(name->sun_path, &found) || !S_ISSOCK(found.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)name, sizeof *name) && errno == ECONNREFUSED)
        unlink(name->sun_path);
    close(fd);
}

static int hf_grpc_listen_unix(const char *path, mode_t mode, int *out)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof name.sun_path)
        return HF_GRPC_E_USAGE;
    memcpy(name.sun_path, path, length);
    hf_grpc_remove_stale(&name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return HF_GRPC_E_IO;
    /* Linux makes the socket file with the socket's own mode: there is no moment at which it is open to more. */
    if (fchmod(fd, mode) || bind(fd, (const struct sockaddr *)&name, sizeof name) || listen(fd, SOMAXCONN)) {
        int failed = errno;
        close(fd);
        errno = failed;
        return HF_GRPC_E_IO;
    }
    *out = fd;
    return 0;
}

static int hf_grpc_listen_one(struct hf_grpc_server *server, unsigned i)
{
    const char *address = server->options.listen[i];
    if (hf_grpc_starts_with(address, HF_GRPC_TCP))
        return hf_grpc_listen_tcp(address + strlen(HF_GRPC_TCP), &server->listen_fds[i], &server->ports[i]);
    if (!hf_grpc_starts_with(address, HF_GRPC_UNIX))
        return HF_GRPC_E_USAGE;
    const char *path = address + strlen(HF_GRPC_UNIX);
    int failed = hf_grpc_listen_unix(path, server->options.unix_mode, &server->listen_fds[i]);
    if (!failed && !(server->unix_paths[i] = strdup(path)))
        failed = HF_GRPC_E_MEMORY;
    return failed;
}

int hf_grpc_listen(struct hf_grpc_server *server)
{
    for (unsigned i = 0; i < server->options.listen_count; i++) {
        int failed = hf_grpc_listen_one(server, i);
        if (failed) {
            int why = errno;
            hf_grpc_listen_close(server);
            errno = why;
            return failed;
        }
    }
    return 0;
}

void hf_grpc_listen_close(struct hf_grpc_server *server)
{
    for (unsigned i = 0; i < HF_GRPC_LISTENERS_MAX; i++) {
        if (server->listen_fds[i] >= 0)
            close(server->listen_fds[i]);
        server->listen_fds[i] = -1;
        if (server->unix_paths[i])
            unlink(server->unix_paths[i]);
        free(server->unix_paths[i]);
        server->unix_paths[i] = NULL;
    }
}
